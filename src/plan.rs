//! What the command line means, once the variables are known. Pure: it opens nothing.

use std::ffi::OsString;
use std::net::IpAddr;

use reqwest::Url;
use rustls::pki_types::ServerName;

use crate::api::{Connection, Trust};
use crate::cli::{Args, DryRunFormat};
use crate::config::TokenSource;
use crate::deadline::{Deadline, parse_duration};
use crate::env::pattern::Pattern;
use crate::env::{self, Inherit, Policy, Selection};
use crate::env_vars;
use crate::error::Error;
use crate::host::Host;
use crate::report::Verbosity;
use crate::token::TokenText;

/// Everything a run will do.
#[derive(Debug)]
pub struct RunPlan {
    /// In the order in which they are asked; the first that is not empty wins.
    pub tokens: Vec<TokenSource>,
    pub connection: Connection,
    pub deadline: Deadline,
    pub environment: Policy,
    pub dry_run: Option<DryRunFormat>,
    /// May be empty in a dry run only.
    pub command: Vec<OsString>,
    pub warnings: Vec<String>,
}

const DEADLINE: std::time::Duration = std::time::Duration::from_secs(30);

impl RunPlan {
    pub fn new(args: Args, token: Option<TokenText>, host: &mut Host) -> Result<Self, Error> {
        let mut warnings = unknown_variables(host);
        if token.is_some() {
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
        Ok(Self {
            connection: connection(&args, host)?,
            deadline: Deadline::new(host.started, deadline(&args, host)?),
            environment: environment(&args, host)?,
            tokens: tokens(&args, token, host)?,
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

/// A mistyped `BWS_EXEC_PROJECT` would silently inject everything.
fn unknown_variables(host: &Host) -> Vec<String> {
    host.environment
        .iter()
        .filter_map(|entry| std::str::from_utf8(env::inherit::name(entry)?).ok())
        .filter(|name| name.starts_with(env_vars::OWN_PREFIX) && !env_vars::OWN.contains(name))
        .map(|name| format!("variable {name} has no meaning for this version and is ignored"))
        .collect()
}

fn tokens(args: &Args, token: Option<TokenText>, host: &mut Host) -> Result<Vec<TokenSource>, Error> {
    let flags = [
        args.access_token_fd.map(|_| "--access-token-fd"),
        args.access_token_file.as_ref().map(|_| "--access-token-file"),
        args.access_token.as_ref().map(|_| "--access-token"),
    ];
    let flags: Vec<&str> = flags.into_iter().flatten().collect();
    if flags.len() > 1 {
        return Err(Error::usage(
            format!("{} were given together", flags.join(" and ")),
            "give the access token in one way only",
        ));
    }
    let mut sources = Vec::new();
    if let Some(number) = args.access_token_fd {
        if number < 0 || number == 1 || number == 2 {
            return Err(Error::usage(
                format!("--access-token-fd {number} cannot carry a token"),
                "use 0 for standard input, or 3 or more",
            ));
        }
        if args.status_fd == Some(number) {
            return Err(Error::usage(
                format!("--access-token-fd and --status-fd name one descriptor, {number}"),
                "the token is read from one and the phases are written to another",
            ));
        }
        sources.push(TokenSource::descriptor(number)?);
    }
    if let Some(path) = &args.access_token_file {
        sources.push(TokenSource::File { path: path.clone(), origin: "file", check_place: true });
    }
    if let Some(text) = token {
        sources.push(TokenSource::Text { text, origin: "--access-token" });
    }
    if let Some(text) = host.token_variable.take() {
        sources.push(TokenSource::Text { text, origin: env_vars::ACCESS_TOKEN });
    }
    if let Some(path) = host.path(env_vars::ACCESS_TOKEN_FILE) {
        sources.push(TokenSource::File { path, origin: "BWS_ACCESS_TOKEN_FILE", check_place: true });
    }
    if let Some(fd) = host.token_descriptor.take() {
        let origin = format!("the descriptor named {}", env_vars::CREDENTIAL);
        sources.push(TokenSource::Descriptor { fd, origin });
    }
    if let Some(directory) = host.path(env_vars::CREDENTIALS_DIRECTORY) {
        let path = directory.join(env_vars::CREDENTIAL);
        // Units have other credentials too: that this one is absent says nothing.
        if path.exists() {
            sources.push(TokenSource::File { path, origin: "credential", check_place: false });
        }
    }
    Ok(sources)
}

fn deadline(args: &Args, host: &Host) -> Result<std::time::Duration, Error> {
    let (budget, origin) = match (args.deadline, host.text(env_vars::DEADLINE)) {
        (Some(typed), _) => (typed, "--deadline"),
        (None, Some(text)) => {
            let problem =
                |problem| Error::usage(format!("invalid value '{text}' for {}", env_vars::DEADLINE), problem);
            (parse_duration(&text).map_err(problem)?, env_vars::DEADLINE)
        }
        (None, None) => (DEADLINE, "--deadline"),
    };
    if budget.is_zero() {
        return Err(Error::usage(format!("{origin} 0 leaves no time for anything"), "the default is 30s"));
    }
    Ok(budget)
}

fn connection(args: &Args, host: &Host) -> Result<Connection, Error> {
    let (identity, api) = servers(args, host)?;
    let either = |lower: &str, upper: &str| host.text(lower).or_else(|| host.text(upper));
    Ok(Connection {
        identity,
        api,
        trust: Trust {
            file: host.path(env_vars::SSL_CERT_FILE),
            directories: host.path(env_vars::SSL_CERT_DIR),
            extra: args.ca_file.clone(),
        },
        proxy: either("https_proxy", "HTTPS_PROXY").or_else(|| either("all_proxy", "ALL_PROXY")),
        no_proxy: either("no_proxy", "NO_PROXY"),
        fail_at_once: host.stderr_is_terminal,
    })
}

/// Identity and API, from the first of: both URLs, one base, a region; typed before inherited.
fn servers(args: &Args, host: &Host) -> Result<(Url, Url), Error> {
    let split = args.api_url.is_some() || args.identity_url.is_some();
    let given = [split, args.server_url.is_some(), args.region.is_some()];
    if given.iter().filter(|&&given| given).count() > 1 {
        return Err(Error::usage(
            "the server was given in more than one way",
            "choose: --region, or --server-url, or --api-url with --identity-url",
        ));
    }
    match (&args.identity_url, &args.api_url) {
        (Some(identity), Some(api)) => {
            return Ok((base_url(identity, "--identity-url")?, base_url(api, "--api-url")?));
        }
        (None, None) => {}
        _ => {
            return Err(Error::usage(
                "--api-url and --identity-url belong together",
                "give both, or --server-url if both are under one address",
            ));
        }
    }
    if let Some(url) = &args.server_url {
        return under_one_base(url, "--server-url");
    }
    if let Some(name) = &args.region {
        return region(name, "--region");
    }
    if let Some(url) = host.text(env_vars::SERVER_URL) {
        return under_one_base(&url, env_vars::SERVER_URL);
    }
    region(host.text(env_vars::REGION).as_deref().unwrap_or("us"), env_vars::REGION)
}

fn region(name: &str, what: &'static str) -> Result<(Url, Url), Error> {
    let domain = match name.trim().to_ascii_lowercase().as_str() {
        "us" => "bitwarden.com",
        "eu" => "bitwarden.eu",
        _ => {
            return Err(Error::usage(format!("{what} '{name}' is not known"), "the regions are us and eu"));
        }
    };
    let url = |host: &str| base_url(&format!("https://{host}.{domain}"), what);
    Ok((url("identity")?, url("api")?))
}

fn under_one_base(text: &str, what: &'static str) -> Result<(Url, Url), Error> {
    let base = base_url(text, what)?;
    // The web vault's addresses have an API too, behind stricter protection against bots.
    match base.host_str() {
        Some("vault.bitwarden.com") => return region("us", what),
        Some("vault.bitwarden.eu") => return region("eu", what),
        _ => {}
    }
    let under = |segment: &str| {
        let mut url = base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push(segment);
        }
        url
    };
    Ok((under("identity"), under("api")))
}

/// A URL that credentials may be sent to: https, or http to this very machine.
fn base_url(text: &str, what: &'static str) -> Result<Url, Error> {
    // What stands before an '@' may be a password, in a URL that is none too.
    let shown = if text.contains('@') { "(not shown)" } else { text };
    let problem = |problem| Error::ServerUrl { url: shown.into(), what, problem };
    let url = Url::parse(text.trim().trim_end_matches('/'))
        .map_err(|_| problem("it is not a URL with a scheme"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(problem("it carries a user name or password"));
    }
    match (url.scheme(), url.host_str()) {
        (_, None | Some("")) => return Err(problem("it names no host")),
        ("https", Some(host)) if ServerName::try_from(unbracketed(host)).is_err() => {
            return Err(problem("no host can have that name"));
        }
        ("https", _) => {}
        ("http", Some(host)) if is_this_machine(host) => {}
        ("http", _) => return Err(problem("plain http is only accepted for 127.0.0.0/8, ::1 and localhost")),
        _ => return Err(problem("only https is accepted")),
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(problem("a base URL has no '?' or '#'"));
    }
    Ok(url)
}

/// An IPv6 address stands in brackets in a URL only.
fn unbracketed(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || unbracketed(host).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn environment(args: &Args, host: &Host) -> Result<Policy, Error> {
    let patterns = |list: &[String]| list.iter().map(Pattern::new).collect::<Vec<_>>();
    let mut projects = args.project.clone();
    if projects.is_empty() {
        projects.extend(host.text(env_vars::PROJECT));
    }
    if let Some(name) = args.allow_name.iter().find(|name| !env::can_be_allowed(name)) {
        return Err(Error::usage(
            format!("--allow-name '{name}' cannot be allowed"),
            "a name is never empty, has no '=' or NUL, and is none of the token's variables",
        ));
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
    Ok(Policy {
        selection: Selection { projects, only: patterns(&args.only), exclude: patterns(&args.exclude) },
        uuids_as_names,
        inherit: Inherit {
            clean: args.no_inherit_env,
            keep: patterns(&args.keep),
            unset: patterns(&args.unset),
        },
        on_conflict: args.on_conflict,
        allowed_names: args.allow_name.clone(),
    })
}

/// The spellings clap accepts for a flag's variable, as `bws` uses them.
fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "t" | "yes" | "y" | "on" => Some(true),
        "0" | "false" | "f" | "no" | "n" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
pub mod tests;
