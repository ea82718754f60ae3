//! `--container`: secrets for a container that `docker run` or `podman run` makes, without the engine ever
//! seeing a value.
//!
//! The command line of the engine's client is rewritten so that the container begins with this very
//! binary, mounted into it, which then becomes what the image would have run. Where its environment comes
//! from is the mode: over a socket from a helper of this run, or by a login of its own with a mounted token.
//!
//! ```text
//! EngineCall ──checks──▶ ImageCommand ──rewrite──▶ the client, which we become
//! Helper (a process of ours) ──frame over the mounted socket──▶ inner copy ──execve──▶ the image's command
//! ```

mod command_line;
mod engine;
mod frame;
mod hand_over;
mod options;
mod peer;
mod place;
mod receive;
mod rewrite;
mod stored;

pub use receive::receive;
pub use stored::stored_by_engine;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::deadline::Deadline;
use crate::env::inherit::{self, Entry, Inherit};
use crate::env::{Value, Variable};
use crate::env_vars;
use crate::error::Error;
use crate::report::Report;
use command_line::{EngineCall, Problem};
use engine::Client;
use hand_over::Helper;
use place::Place;
use rewrite::Mount;

/// Where the container finds us, the socket, and files that travel along. At the top, for every image has
/// that; on a read-only root file system the engine makes mount points before it is one.
const BINARY: &str = "/.bws-exec";
const SOCKET: &str = "/.bws-exec.sock";

/// `--container=MODE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Socket,
    Token,
}

/// Whose command line it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Docker,
    Podman,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Run,
    Create,
}

impl Engine {
    /// By the name of the client.
    fn of(program: &OsStr) -> Option<Self> {
        match Path::new(program).file_name()?.as_bytes() {
            b"docker" => Some(Self::Docker),
            b"podman" => Some(Self::Podman),
            _ => None,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

/// What was typed, understood and possible as far as that can be said without asking anybody.
#[derive(Debug)]
pub struct Container {
    pub mode: Mode,
    call: EngineCall,
    /// Options for the inner copy, and the files that they name.
    inner: Inner,
}

/// What travels into the container.
#[derive(Clone, Debug, Default)]
pub struct Inner {
    pub options: Vec<OsString>,
    pub files: Vec<(PathBuf, String)>,
}

/// A container about to be made.
pub struct Prepared {
    pub mode: Mode,
    /// Inherited variables that may be references: of what is inherited here, only they can reach inside.
    pub references: Vec<Entry>,
    call: EngineCall,
    inner: Inner,
    process: Vec<OsString>,
    binary: PathBuf,
    environment: Vec<Entry>,
}

/// What is left to become.
pub struct ClientCall {
    pub command: Vec<OsString>,
    /// What the client would have inherited without us: no value of a secret.
    pub environment: Vec<Variable>,
}

impl Container {
    pub fn new(mode: Mode, command: &[OsString], inner: Inner) -> Result<Self, Error> {
        let call = EngineCall::parse(command).map_err(usage)?;
        let name = call.engine.name();
        let again = "use --container=token, which logs in from inside at every start";
        if call.is_set("rootfs") {
            return Err(Error::usage(
                "--container needs an image, and --rootfs names a directory",
                "run bws-exec as the command of the container instead",
            ));
        }
        if call.values("entrypoint").count() > 1 {
            return Err(Error::usage("--entrypoint stands there twice", "give it once"));
        }
        if mode == Mode::Socket {
            if call.verb == Verb::Create {
                return Err(Error::usage(
                    format!(
                        "--container=socket serves a container that starts now, and {name} create starts none"
                    ),
                    again,
                ));
            }
            if let Some(policy) = call.value("restart").filter(|policy| !policy.is_empty() && *policy != "no")
            {
                return Err(Error::usage(
                    format!(
                        "--container=socket serves one start, and --restart {} asks for more",
                        policy.display()
                    ),
                    again,
                ));
            }
            if call.value("cgroups").is_some_and(|value| value == "disabled") {
                return Err(Error::usage(
                    "--container=socket knows the container by its control group, and --cgroups=disabled takes it away",
                    "use --container=token, or leave that option out",
                ));
            }
        }
        Ok(Self { mode, call, inner })
    }

    /// Asks the engine's client. Nothing was sent to a server so far, and no container was made. A pull has
    /// its own time, which is added to the deadline.
    pub fn prepare(
        self,
        program: &Path,
        environment: &[Entry],
        deadline: &mut Deadline,
    ) -> Result<Prepared, Error> {
        let Self { mode, call, inner } = self;
        // What is said about inherited variables is meant for the container.
        let environment: Vec<Entry> = Inherit::default()
            .apply(environment, &mut Vec::new())
            .into_iter()
            .map(|(_, entry)| entry.clone())
            .collect();
        let binary = own_binary()?;
        for (file, _) in &inner.files {
            if !file.is_file() {
                return Err(Error::usage(
                    format!("{} cannot be mounted into a container: it is not a file", file.display()),
                    "give a file that stays where it is",
                ));
            }
        }
        if let Some(cidfile) =
            call.value("cidfile").filter(|path| mode == Mode::Socket && Path::new(path).exists())
        {
            return Err(Error::usage(
                format!("--cidfile {} is there already, for another container", cidfile.display()),
                "remove it if that container is gone",
            ));
        }
        let mut client = Client { call: &call, program, environment: &environment, deadline: *deadline };
        client.check_local()?;
        let process = rewrite::process(&call, &client.image()?)?;
        *deadline = client.deadline;
        let references = environment.iter().filter(|entry| is_reference(entry)).cloned().collect();
        Ok(Prepared { mode, references, call, inner, process, binary, environment })
    }
}

impl Prepared {
    /// For `token`: the inner copy logs in by itself.
    pub fn with_token(self, servers: [&str; 2]) -> Result<ClientCall, Error> {
        let [identity, api] = servers;
        let mut inner: Vec<OsString> =
            ["--identity-url", identity, "--api-url", api].map(Into::into).to_vec();
        inner.extend(self.inner.options.iter().cloned());
        let mut mounts = vec![Mount { source: &self.binary, target: BINARY }];
        mounts.extend(self.inner.files.iter().map(|(source, target)| Mount { source, target }));
        let command = rewrite::rewrite(&self.call, &mounts, None, &inner, &self.process)?;
        Ok(self.client(command))
    }

    /// For `socket`, with the helper running that will answer.
    pub fn with_socket(self, variables: &[Variable], report: &Report) -> Result<ClientCall, Error> {
        let place = Place::make(self.var(env_vars::XDG_RUNTIME_DIR).map(PathBuf::from))?;
        let mounts =
            [Mount { source: &self.binary, target: BINARY }, Mount { source: &place.socket, target: SOCKET }];
        let typed = self.call.value("cidfile").map(PathBuf::from);
        let ours = typed.is_none().then_some(place.cidfile.as_path());
        let mut inner = vec![OsString::from(INNER)];
        inner.extend(self.inner.options.iter().cloned());
        let command = rewrite::rewrite(&self.call, &mounts, ours, &inner, &self.process)?;
        let cidfile = std::path::absolute(typed.as_deref().unwrap_or(&place.cidfile))
            .map_err(|cause| Error::HandOverPlace { problem: cause.to_string() })?;
        let detached = self.call.is_set("detach");
        let speaks = !detached || hand_over::nobody_waits_for_stderr(self.var(env_vars::JOURNAL_STREAM));
        Helper { cidfile, place, frame: frame::write(variables), detached, speaks, report }.start()?;
        Ok(self.client(command))
    }

    fn var(&self, name: &str) -> Option<&OsStr> {
        engine::variable(&self.environment, name)
    }

    fn client(self, command: Vec<OsString>) -> ClientCall {
        let variable = |entry: Entry| {
            let name = inherit::name(&entry).unwrap_or_default().to_vec();
            Variable { name, value: Value::Inherited(entry) }
        };
        ClientCall { command, environment: self.environment.into_iter().map(variable).collect() }
    }
}

/// The option that makes a copy of us the inner one.
const INNER: &str = "--container-inner";

/// The file that we run from, which every user of the container has to be able to run.
fn own_binary() -> Result<PathBuf, Error> {
    let unusable = |problem: String| {
        Error::usage(
            format!("this bws-exec cannot be mounted into a container: {problem}"),
            "install it as a file that everybody may execute: install -m 755 bws-exec /usr/local/bin/",
        )
    };
    let path = std::env::current_exe().map_err(|cause| unusable(cause.to_string()))?;
    let status =
        std::fs::metadata(&path).map_err(|cause| unusable(format!("{}: {cause}", path.display())))?;
    if status.permissions().mode() & 0o005 != 0o005 {
        return Err(unusable(format!("not everybody may read and execute {}", path.display())));
    }
    Ok(path)
}

fn usage(problem: Problem) -> Error {
    let example = "for example: bws-exec --container -- docker run --rm IMAGE";
    match problem {
        Problem::NoEngine => Error::usage("--container is for a command that is docker or podman", example),
        Problem::NoSubcommand => {
            Error::usage("--container found no 'run' behind the engine's options", example)
        }
        Problem::OtherSubcommand(name) => {
            Error::usage(format!("--container is for 'run' and 'create', not for '{name}'"), example)
        }
        Problem::NoImage => Error::usage("--container found no image behind the options of 'run'", example),
        Problem::NoValue(option) => {
            Error::usage(format!("the engine's option {option} has no value"), example)
        }
        Problem::UnknownOption(option) => Error::usage(
            format!(
                "the engine's option {option} is not known, so that nobody can tell where the image stands"
            ),
            "write a long option with its value attached: --name=value, or --name=true",
        ),
    }
}

fn is_reference(entry: &Entry) -> bool {
    inherit::name(entry).is_some_and(|name| entry[name.len() + 1..].starts_with(b"bws://"))
}
