//! What the command line means, once the variables are known. Pure: it opens nothing.

mod files;
mod inner;
mod supervision;

pub use supervision::{OnChange, Supervision, Watching};

use std::ffi::OsString;
use std::time::Duration;

use crate::api::{Transport, Trust};
use crate::cache;
use crate::cli::{Args, DryRunFormat};
use crate::config::{ServerChoice, TokenSource};
use crate::container::Container;
use crate::deadline::{Deadline, parse_duration};
use crate::env::pattern::Pattern;
use crate::env::{self, EnvFile, Inherit, Naming, Policy, Selection, Template};
use crate::env_vars;
use crate::error::Error;
use crate::host::Host;
use crate::identity::Wanted;
use crate::report::Verbosity;
use crate::users::Owner;

/// Everything a run will do.
#[derive(Debug)]
pub struct RunPlan {
    /// In the order in which they are asked; the first that is not empty wins.
    pub tokens: Vec<TokenSource>,
    pub servers: ServerChoice,
    pub transport: Transport,
    pub deadline: Deadline,
    /// Without it nothing is written anywhere.
    pub cache: Option<cache::Settings>,
    pub environment: Policy,
    /// Who COMMAND runs as. Nothing with `--container`, whose inner copy asks for it in there.
    pub identity: Wanted,
    pub dry_run: Option<DryRunFormat>,
    /// Stay beside the command instead of becoming it.
    pub supervision: Option<Supervision>,
    /// `--github-mask`, where a runner listens.
    pub github_mask: bool,
    /// `--container`.
    pub container: Option<Container>,
    /// May be empty in a dry run only.
    pub command: Vec<OsString>,
    pub warnings: Vec<String>,
}

const CHOSEN_NAMES: &str = "a name is never empty, has no '=' or NUL, and is none of the token's variables";
const DEADLINE: Duration = Duration::from_secs(30);
const MAX_STALE: Duration = Duration::from_secs(24 * 60 * 60);

impl RunPlan {
    pub fn new(
        args: Args,
        tokens: Vec<TokenSource>,
        env_files: Vec<EnvFile>,
        deadline: Deadline,
        host: &Host,
    ) -> Result<Self, Error> {
        let mut warnings = unknown_variables(host);
        if args.access_token.is_some() {
            warnings.push(
                "the access token stood on the command line, where ps and the shell's history show it".into(),
            );
        }
        if args.command.is_empty() && args.dry_run.is_none() {
            return Err(Error::usage(
                "no command was given",
                "for example: bws-exec -- ./server --port 8080",
            ));
        }
        let servers = ServerChoice::new(&args, host)?;
        if matches!(servers, ServerChoice::Given(_)) && (args.profile.is_some() || args.config_file.is_some())
        {
            warnings.push(
                "--config-file and --profile are not looked at: the server is given by an option or variable"
                    .into(),
            );
        }
        let container = match args.container {
            Some(mode) => Some(Container::new(mode, &args.command, inner::inner(mode, &args, host)?)?),
            None => None,
        };
        let github_mask = github_mask(&args, host, &mut warnings)?;
        let identity = identity(&args)?;
        let supervision = supervision::of(&args)?;
        let environment = environment(&args, env_files, host)?;
        warnings.extend(supervision.and_then(|supervision| supervision.warning(&environment.files)));
        Ok(Self {
            servers,
            identity: if container.is_some() { Wanted::default() } else { identity },
            supervision,
            container,
            github_mask,
            transport: transport(&args, host),
            deadline,
            cache: cache(&args, host)?,
            environment,
            tokens,
            dry_run: args.dry_run,
            command: args.command,
            warnings,
        })
    }
}

/// What was typed about verbosity, needed before anything can be said.
pub fn verbosity(args: &Args) -> Verbosity {
    match (args.quiet, args.verbose) {
        (true, _) => Verbosity::Quiet,
        (false, 0) => Verbosity::Normal,
        (false, _) => Verbosity::Verbose,
    }
}

/// Values are written for the runner alone: never to a terminal, never to a file.
fn github_mask(args: &Args, host: &Host, warnings: &mut Vec<String>) -> Result<bool, Error> {
    if !args.github_mask {
        return Ok(false);
    }
    if host.text(env_vars::GITHUB_ACTIONS).as_deref() != Some("true") {
        warnings.push(format!("--github-mask does nothing: {} is not 'true'", env_vars::GITHUB_ACTIONS));
        return Ok(false);
    }
    if !host.stderr_is_read {
        return Err(Error::usage(
            "--github-mask speaks to the runner by stderr, which leads elsewhere here",
            "do not redirect stderr of bws-exec; to redirect that of the command: bws-exec -- sh -c '… 2>file'",
        ));
    }
    Ok(true)
}

/// A mistyped `BWS_EXEC_PROJECT` would silently inject everything.
fn unknown_variables(host: &Host) -> Vec<String> {
    host.environment
        .iter()
        .filter_map(|entry| std::str::from_utf8(env::inherit::name(entry)?).ok())
        .filter(|name| name.starts_with(env_vars::OWN_PREFIX) && !env_vars::OWN.contains(name))
        .map(|name| format!("variable {name} has no meaning for this version and is ignored"))
        .collect()
}

/// Needed before the rest, to read what the rest is made of.
pub fn deadline(args: &Args, host: &Host) -> Result<Deadline, Error> {
    let typed = args.deadline.is_some();
    let budget = duration(args.deadline, env_vars::DEADLINE, host)?.unwrap_or(DEADLINE);
    let origin = if typed { "--deadline" } else { env_vars::DEADLINE };
    if budget.is_zero() {
        return Err(Error::usage(format!("{origin} 0 leaves no time for anything"), "the default is 30s"));
    }
    Ok(Deadline::new(host.started, budget))
}

/// What was typed, else the variable.
fn duration(typed: Option<Duration>, variable: &str, host: &Host) -> Result<Option<Duration>, Error> {
    match (typed, host.text(variable)) {
        (Some(typed), _) => Ok(Some(typed)),
        (None, Some(text)) => parse_duration(&text)
            .map(Some)
            .map_err(|problem| Error::usage(format!("invalid value '{text}' for {variable}"), problem)),
        (None, None) => Ok(None),
    }
}

fn cache(args: &Args, host: &Host) -> Result<Option<cache::Settings>, Error> {
    let Some(directory) = args.cache_dir.clone().or_else(|| host.path(env_vars::CACHE_DIR)) else {
        // The variables may be those of an image that gets its directory, or none, when it is run.
        let alone = [
            args.offline.then_some("--offline"),
            args.max_stale.map(|_| "--max-stale"),
            args.max_age.map(|_| "--max-age"),
        ];
        return match alone.into_iter().flatten().next() {
            Some(option) => Err(Error::usage(
                format!("{option} needs --cache-dir: there is no copy without it"),
                "for example: --cache-dir /var/cache/app",
            )),
            None => Ok(None),
        };
    };
    Ok(Some(cache::Settings {
        directory,
        max_stale: duration(args.max_stale, env_vars::MAX_STALE, host)?.unwrap_or(MAX_STALE),
        max_age: duration(args.max_age, env_vars::MAX_AGE, host)?.unwrap_or_default(),
        offline: args.offline,
        keep_session: !args.no_session_cache,
    }))
}

fn transport(args: &Args, host: &Host) -> Transport {
    let either = |lower: &str, upper: &str| host.text(lower).or_else(|| host.text(upper));
    Transport {
        trust: Trust {
            file: host.path(env_vars::SSL_CERT_FILE),
            directories: host.path(env_vars::SSL_CERT_DIR),
            extra: args.ca_file.clone(),
        },
        proxy: either("https_proxy", "HTTPS_PROXY").or_else(|| either("all_proxy", "ALL_PROXY")),
        no_proxy: either("no_proxy", "NO_PROXY"),
        fail_at_once: host.stderr_is_terminal,
    }
}

/// Who the command runs as: here, or in a container what its image runs.
pub fn identity(args: &Args) -> Result<Wanted, Error> {
    let user = args.user.as_deref().map(|text| {
        Owner::parse(text).map_err(|problem| {
            Error::usage(
                format!("--user '{text}': {problem}"),
                "for example --user nobody, --user web:tls or --user 1000:1000",
            )
        })
    });
    Ok(Wanted { user: user.transpose()?, no_new_privs: args.no_new_privs })
}

/// Which inherited variables go on: here, or in a container to what its image runs.
pub fn inherit(args: &Args) -> Inherit {
    let patterns = |list: &[String]| list.iter().map(Pattern::new).collect();
    Inherit { clean: args.no_inherit_env, keep: patterns(&args.keep), unset: patterns(&args.unset) }
}

fn environment(args: &Args, env_files: Vec<EnvFile>, host: &Host) -> Result<Policy, Error> {
    let patterns = |list: &[String]| list.iter().map(Pattern::new).collect::<Vec<_>>();
    let mut projects = args.project.clone();
    // What is typed wins, `--all` too.
    if projects.is_empty() && !args.all {
        projects.extend(host.text(env_vars::PROJECT));
    }
    if let Some(name) = args.allow_name.iter().find(|name| !env::can_be_chosen(name)) {
        return Err(Error::usage(format!("--allow-name '{name}' cannot be allowed"), CHOSEN_NAMES));
    }
    let uuids_as_names = args.uuids_as_keynames
        || match host.text(env_vars::UUIDS_AS_KEYNAMES).as_deref().map(str::trim) {
            None => false,
            Some(text) => boolean(text).ok_or_else(|| {
                Error::usage(
                    format!("invalid value '{text}' for {}", env_vars::UUIDS_AS_KEYNAMES),
                    "use true or false",
                )
            })?,
        };
    let maps = maps(&args.map)?;
    Ok(Policy {
        selection: Selection {
            projects,
            only: patterns(&args.only),
            exclude: patterns(&args.exclude),
            all: args.all,
        },
        naming: Naming {
            uuids: uuids_as_names,
            upper: args.upper,
            prefix: args.prefix.clone().unwrap_or_default(),
        },
        files: files::rules(&args.file, &maps)?,
        maps,
        env_files,
        resolve_env: args.resolve_env.as_deref().map(Pattern::new),
        required: args.require.clone(),
        optional: args.optional.clone(),
        inherit: inherit(args),
        on_conflict: args.on_conflict,
        allowed_names: args.allow_name.clone(),
    })
}

/// `--map NAME=REF`. The operator chose the name, so only the impossible is refused.
fn maps(typed: &[String]) -> Result<Vec<(String, Template)>, Error> {
    let mut maps: Vec<(String, Template)> = Vec::new();
    for text in typed {
        let (name, reference) = named("--map", text, "for example: --map DB_PASSWORD=web/db-password")?;
        if maps.iter().any(|(other, _)| other == name) {
            return Err(Error::usage(format!("--map gives '{name}' twice"), "map each name once"));
        }
        maps.push((name.into(), reference_of("--map", name, reference)?));
    }
    Ok(maps)
}

/// The two sides of `NAME=…`.
fn named<'a>(option: &str, text: &'a str, example: &str) -> Result<(&'a str, &'a str), Error> {
    let Some((name, rest)) = text.split_once('=') else {
        return Err(Error::usage(format!("{option} '{text}' has no '='"), example));
    };
    if !env::can_be_chosen(name) {
        return Err(Error::usage(
            format!("{option} '{name}' cannot be the name of a variable here"),
            CHOSEN_NAMES,
        ));
    }
    Ok((name, rest))
}

fn reference_of(option: &str, name: &str, text: &str) -> Result<Template, Error> {
    // What people copy from an env file is understood as well.
    let text = text.strip_prefix("bws://").unwrap_or(text);
    Template::reference(text)
        .map_err(|problem| Error::Reference { origin: format!("{option} {name}"), problem })
}

/// Usual spellings of yes and no; `bws` itself takes `true` and `false`.
fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "t" | "yes" | "y" | "on" => Some(true),
        "0" | "false" | "f" | "no" | "n" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
pub mod tests;
