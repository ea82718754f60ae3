//! Finding COMMAND before the first packet.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, access, faccessat};

use crate::error::Error;

/// An executable file that was found.
#[derive(Clone, Debug)]
pub struct Program {
    pub path: PathBuf,
}

/// Searched when PATH is not set (`_PATH_DEFPATH` without the current directory).
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Finds COMMAND, if there is one, as `execvp` would: with our own PATH, never with one that a secret sets.
pub fn locate(command: Option<&OsString>, path: Option<&OsStr>) -> Result<Option<Program>, Error> {
    command.map(|command| search(command, path)).transpose()
}

fn search(command: &OsStr, path: Option<&OsStr>) -> Result<Program, Error> {
    let shown = command.to_string_lossy().into_owned();
    if command.is_empty() {
        return Err(Error::CommandNotFound { command: "''".into(), because: None });
    }
    if command.as_bytes().contains(&b'/') {
        return match executable(Path::new(command)) {
            Ok(()) => Ok(Program { path: command.into() }),
            Err(Refusal::Absent) => Err(Error::CommandNotFound { command: shown, because: None }),
            Err(refusal) => Err(refusal.into_error(Path::new(command))),
        };
    }
    let mut refused = None;
    for directory in path.unwrap_or(OsStr::new(DEFAULT_PATH)).as_bytes().split(|&byte| byte == b':') {
        // An empty element is the current directory, and leaves the name as it is: scripts see it.
        let candidate = Path::new(OsStr::from_bytes(directory)).join(command);
        match executable(&candidate) {
            Ok(()) => return Ok(Program { path: candidate }),
            Err(Refusal::Absent) => {}
            Err(refusal) => refused = refused.or(Some(refusal.into_error(&candidate))),
        }
    }
    // The habit of `bws run -- COMMAND`.
    let because = (command == "run").then(|| "there are no subcommands: bws-exec -- COMMAND".into());
    Err(refused.unwrap_or(Error::CommandNotFound { command: shown, because }))
}

enum Refusal {
    Absent,
    NoInterpreter(String),
    Unusable(String),
}

impl Refusal {
    fn into_error(self, path: &Path) -> Error {
        match self {
            Self::Absent => Error::CommandNotFound { command: path.display().to_string(), because: None },
            Self::NoInterpreter(interpreter) => Error::CommandNotFound {
                command: path.display().to_string(),
                because: Some(format!("its '#!' line names {interpreter}, which is not there")),
            },
            Self::Unusable(problem) => Error::CommandNotExecutable { path: path.into(), problem },
        }
    }
}

fn executable(path: &Path) -> Result<(), Refusal> {
    let status = match fs::metadata(path) {
        Ok(status) => status,
        Err(error) => {
            return Err(match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ENOENT | Errno::ENOTDIR) => Refusal::Absent,
                _ => Refusal::Unusable(error.to_string()),
            });
        }
    };
    let kind = status.file_type();
    if kind.is_dir() {
        return Err(Refusal::Unusable("it is a directory".into()));
    }
    if !kind.is_file() {
        let what = if kind.is_fifo() || kind.is_socket() { "a pipe or socket" } else { "a device" };
        return Err(Refusal::Unusable(format!("it is {what}")));
    }
    // As the user we will run it as: AT_EACCESS asks for the effective ids.
    match faccessat(AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS) {
        // Seccomp profiles older than `faccessat2` refuse it so; nobody sets us set-user-ID.
        Err(Errno::EPERM) => access(path, AccessFlags::X_OK),
        result => result,
    }
    .map_err(|error| Refusal::Unusable(io::Error::from(error).to_string()))?;
    recognised(path)
}

/// Whether the kernel will know what to do with it. A script without `#!` is run by shells and by
/// `execvp` as a courtesy; we never start a shell that was not asked for.
fn recognised(path: &Path) -> Result<(), Refusal> {
    let mut start = Vec::with_capacity(256);
    // Executable need not mean readable; then exec will tell.
    let Ok(file) = fs::File::open(path) else { return Ok(()) };
    if file.take(256).read_to_end(&mut start).is_err() || start.starts_with(b"\x7fELF") {
        return Ok(());
    }
    if let Some(line) = start.strip_prefix(b"#!") {
        // The kernel skips blanks and tabs only: a '\r' belongs to the name, which then is not there.
        let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let mut words = line.split(|&byte| byte == b' ' || byte == b'\t').filter(|word| !word.is_empty());
        let Some(interpreter) = words.next() else {
            return Err(Refusal::Unusable("its '#!' line names no interpreter".into()));
        };
        let interpreter = Path::new(OsStr::from_bytes(interpreter));
        return match fs::metadata(interpreter) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Refusal::NoInterpreter(interpreter.display().to_string()))
            }
            _ => Ok(()),
        };
    }
    if other_formats_registered() {
        return Ok(());
    }
    Err(Refusal::Unusable("it is neither a program nor a script that begins with '#!'".into()))
}

/// binfmt_misc may give any file a meaning.
fn other_formats_registered() -> bool {
    fs::read_dir("/proc/sys/fs/binfmt_misc").is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name() != "register" && entry.file_name() != "status")
    })
}
