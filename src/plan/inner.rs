//! Which of our own options travel into a container, and how.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::cli::Args;
use crate::container::{Inner, Mode};
use crate::env::OnConflict;
use crate::env_vars;
use crate::error::Error;
use crate::host::Host;

/// Where in the container the files are that our options name.
const TOKEN: &str = "/.bws-exec.token";
const CA: &str = "/.bws-exec.ca";
const ENV_FILE: &str = "/.bws-exec.env";

/// The options of the inner copy.
pub fn inner(mode: Mode, args: &Args, host: &Host) -> Result<Inner, Error> {
    // Without `..`, so that a new option has to say here whether it travels.
    let Args {
        // Replaced by what they led to.
        access_token_fd: _,
        access_token_file,
        access_token: _,
        server_url: _,
        region: _,
        api_url: _,
        identity_url: _,
        config_file: _,
        profile: _,
        // Of this run alone.
        container: _,
        container_inner: _,
        dry_run: _,
        status_fd: _,
        generate: _,
        command: _,
        github_mask,
        // Refused beside --container: see `supervise`.
        init: _,
        watch: _,
        on_change: _,
        mask: _,
        kill_after: _,
        signal_group: _,
        // The directory is one of this machine.
        cache_dir: _,
        max_stale: _,
        max_age: _,
        offline: _,
        no_session_cache: _,
        // These travel.
        ca_file,
        deadline,
        project,
        only,
        exclude,
        all,
        map,
        file,
        env_file,
        resolve_env,
        require,
        optional,
        upper,
        prefix,
        uuids_as_keynames,
        allow_name,
        no_inherit_env,
        keep,
        unset,
        on_conflict,
        // Of the command inside, where the names are looked up too.
        user,
        no_new_privs,
        allow_core,
        quiet,
        verbose,
    } = args;
    let mut inner = Travelling::default();
    inner.values("--user", user);
    inner.flag("--no-new-privs", *no_new_privs);
    inner.flag("--allow-core", *allow_core);
    inner.flag("--quiet", *quiet);
    inner.flag("--verbose", *verbose > 0);
    inner.flag("--no-inherit-env", *no_inherit_env);
    inner.values("--keep", keep);
    inner.values("--unset", unset);
    let who = match on_conflict {
        OnConflict::Secret => None,
        OnConflict::Inherited => Some("inherited"),
        OnConflict::Error => Some("error"),
    };
    inner.values("--on-conflict", who);
    if mode == Mode::Socket {
        if !file.is_empty() {
            return Err(Error::usage(
                "--file does not reach into a container by --container=socket",
                "use --container=token, or inject it as a variable by --map",
            ));
        }
        return Ok(inner.0);
    }
    if *github_mask {
        return Err(Error::usage(
            "--github-mask knows no value with --container=token, which logs in inside",
            "use --container=socket, or take --github-mask away",
        ));
    }
    let Some(token) = access_token_file else {
        return Err(Error::usage(
            "--container=token needs --access-token-file PATH",
            "the container reads that very file at each start, so it has to stay where it is",
        ));
    };
    inner.file("--access-token-file", token, TOKEN.into())?;
    if let Some(file) = ca_file {
        inner.file("--ca-file", file, CA.into())?;
    }
    for (number, file) in env_file.iter().enumerate() {
        inner.file("--env-file", file, format!("{ENV_FILE}.{number}"))?;
    }
    let deadline = deadline.map(|budget| format!("{}ms", budget.as_millis()));
    inner.values("--deadline", deadline.or_else(|| host.text(env_vars::DEADLINE)));
    inner.values("--project", project);
    if project.is_empty() && !*all {
        inner.values("--project", host.text(env_vars::PROJECT));
    }
    inner.values("--only", only);
    inner.values("--exclude", exclude);
    inner.flag("--all", *all);
    inner.values("--map", map);
    inner.values("--file", file);
    inner.values("--resolve-env", resolve_env);
    inner.values("--require", require);
    inner.values("--optional", optional);
    inner.flag("--upper", *upper);
    inner.values("--prefix", prefix);
    let by_variable = host.text(env_vars::UUIDS_AS_KEYNAMES);
    inner.flag(
        "--uuids-as-keynames",
        *uuids_as_keynames || by_variable.is_some_and(|text| super::boolean(text.trim()) == Some(true)),
    );
    inner.values("--allow-name", allow_name);
    Ok(inner.0)
}

#[derive(Default)]
struct Travelling(Inner);

impl Travelling {
    fn flag(&mut self, name: &str, given: bool) {
        self.0.options.extend(given.then(|| OsString::from(name)));
    }

    fn values<T: AsRef<str>>(&mut self, name: &str, values: impl IntoIterator<Item = T>) {
        self.0.options.extend(values.into_iter().map(|value| format!("{name}={}", value.as_ref()).into()));
    }

    /// As it stands now, not where links lead to: a restart shall see the file that is there then.
    fn file(&mut self, name: &str, path: &Path, inside: String) -> Result<(), Error> {
        let absolute: PathBuf = std::path::absolute(path).map_err(|cause| {
            Error::usage(format!("{name} {}: {cause}", path.display()), "give a full path")
        })?;
        self.0.options.push(format!("{name}={inside}").into());
        self.0.files.push((absolute, inside));
        Ok(())
    }
}
