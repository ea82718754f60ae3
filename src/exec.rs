//! COMMAND: finding it before the first packet, and becoming it or starting it at the end.

mod locate;

pub use locate::{Program, locate};

use std::ffi::{CStr, CString, OsString};
use std::ops::Range;
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use nix::errno::Errno;
use zeroize::Zeroizing;

use crate::env::{self, Value, Variable};
use crate::env_vars;
use crate::error::Error;
use crate::identity::Identity;
use crate::sys::{self, EnvString, Image, NotSpawned, NotStarted, PidVariable};

/// Ready to be executed: every string is in its final form and every size is checked.
pub struct ExecPlan {
    path: PathBuf,
    path_text: CString,
    arguments: Vec<CString>,
    environment: Block,
    identity: Option<Identity>,
}

/// The environment in one buffer, each entry with its NUL, but for those that name the command's own
/// process.
struct Block {
    bytes: Zeroizing<Vec<u8>>,
    entries: Vec<Entry>,
}

enum Entry {
    Text(Range<usize>),
    OwnPid(PidVariable),
}

/// Variables by which systemd tells a process that it is the one that is meant: sd_listen_fds(3),
/// sd_watchdog_enabled(3), systemd.exec(5).
const OWN_PID: [&str; 3] = [env_vars::LISTEN_PID, env_vars::WATCHDOG_PID, env_vars::SYSTEMD_EXEC_PID];

impl Block {
    fn new(variables: &[Variable]) -> Self {
        let own = std::process::id().to_string();
        let size = variables.iter().map(|variable| variable.size() + 1).sum();
        let mut block = Self { bytes: Zeroizing::new(Vec::with_capacity(size)), entries: Vec::new() };
        for variable in variables {
            let value = match &variable.value {
                Value::Inherited(entry) => {
                    let value = &entry[variable.name.len() + 1..];
                    if value == own.as_bytes() && OWN_PID.iter().any(|n| n.as_bytes() == variable.name) {
                        block.entries.push(Entry::OwnPid(PidVariable::new(&variable.name)));
                        continue;
                    }
                    value
                }
                // EXPOSE: this is what we are for.
                Value::Given { value, .. } => value.expose(),
                Value::File { delivered, .. } => env::path(delivered.as_ref()),
            };
            let start = block.bytes.len();
            for part in [&variable.name[..], b"=", value, b"\0"] {
                block.bytes.extend_from_slice(part);
            }
            block.entries.push(Entry::Text(start..block.bytes.len()));
        }
        block
    }

    fn strings(&self) -> Result<Vec<EnvString<'_>>, Error> {
        let strings = self.entries.iter().map(|entry| match entry {
            Entry::Text(range) => CStr::from_bytes_with_nul(&self.bytes[range.clone()])
                .map(EnvString::Fixed)
                .map_err(|_| Error::Internal("a variable contains NUL".into())),
            Entry::OwnPid(variable) => Ok(EnvString::Pid(variable)),
        });
        strings.collect()
    }
}

impl ExecPlan {
    /// Without an identity COMMAND is who we are.
    pub fn new(
        program: Program,
        command: Vec<OsString>,
        environment: &[Variable],
        identity: Option<Identity>,
    ) -> Result<Self, Error> {
        let text = |text: Vec<u8>, what: &str| {
            CString::new(text).map_err(|_| Error::Internal(format!("{what} contains NUL")))
        };
        let arguments = command
            .into_iter()
            .map(|argument| text(argument.into_vec(), "an argument"))
            .collect::<Result<_, _>>()?;
        let path_text = text(program.path.as_os_str().as_bytes().to_vec(), "the path")?;
        Ok(Self { path: program.path, path_text, arguments, environment: Block::new(environment), identity })
    }

    /// Becomes COMMAND. Returns only if the kernel refuses.
    pub fn replace(self) -> Error {
        self.with_image(sys::execve).map_or_else(|error| error, |cause| self.refused(cause))
    }

    /// Starts COMMAND beside us, as often as wished, and gives its number, which `before_exec` is told
    /// before its first instruction.
    pub fn spawn(&self, streams: &[(RawFd, RawFd)], before_exec: impl FnOnce(i32)) -> Result<i32, Error> {
        self.with_image(|image| sys::spawn(image, streams, before_exec))?.map_err(|error| match error {
            NotSpawned::Fork(cause) => Error::Spawn { cause },
            NotSpawned::Program(cause) => self.refused(cause),
        })
    }

    fn with_image<T>(&self, run: impl FnOnce(&Image<'_>) -> T) -> Result<T, Error> {
        let environment = self.environment.strings()?;
        let argv: Vec<_> = self.arguments.iter().map(CString::as_c_str).collect();
        let credentials = self.identity.as_ref().map(Identity::credentials);
        Ok(run(&Image { path: &self.path_text, argv: &argv, environment: &environment, credentials }))
    }

    fn refused(&self, cause: NotStarted) -> Error {
        let path = self.path.clone();
        let cause = match (cause, &self.identity) {
            (NotStarted::Exec(cause), _) => cause,
            (NotStarted::Refused(step), Some(identity)) => return identity.error(step),
            (NotStarted::Refused(_), None) => return Error::Internal("nobody else was to be run as".into()),
        };
        match Errno::from_raw(cause.raw_os_error().unwrap_or_default()) {
            Errno::ENOEXEC | Errno::EACCES => {
                Error::CommandNotExecutable { path, problem: cause.to_string() }
            }
            _ => Error::Exec { path, cause },
        }
    }
}
