//! Where the access token comes from.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::cli::Args;
use crate::deadline::Deadline;
use crate::error::{Error, TokenProblem};
use crate::host::Host;
use crate::token::{AccessToken, TokenText, is_blank};
use crate::{env_vars, read, sys};

/// Longer than any token; systemd's credentials may be a MiB.
const LONGEST: usize = 16 * 1024;

/// One place a token may come from.
#[derive(Debug)]
pub enum TokenSource {
    /// `-t`, or `BWS_ACCESS_TOKEN`.
    Text { text: TokenText, origin: &'static str },
    /// `--access-token-fd`, or systemd's `OpenFile=`.
    Descriptor { fd: OwnedFd, origin: String },
    /// Read again at each login, so that a rotated token is picked up.
    File { path: PathBuf, origin: &'static str, check_place: bool },
}

impl TokenSource {
    /// The descriptor of `--access-token-fd N`. Standard input becomes /dev/null, so that whatever
    /// the command opens next does not become its standard input.
    pub fn descriptor(number: i32) -> Result<Self, Error> {
        let origin = format!("descriptor {number}");
        let unreadable = |cause| Error::TokenUnreadable { origin: origin.clone(), cause };
        if number == 0 {
            if sys::was_closed(0) {
                return Err(unreadable(Errno::EBADF.into()));
            }
            let fd = io::stdin().as_fd().try_clone_to_owned().map_err(unreadable)?;
            let null = File::open("/dev/null").map_err(unreadable)?;
            sys::duplicate_onto(null.as_fd(), 0).map_err(unreadable)?;
            return Ok(Self::Descriptor { fd, origin });
        }
        let fd = sys::adopt(number).map_err(unreadable)?;
        Ok(Self::Descriptor { fd, origin })
    }

    /// Reads and parses the token; `None` if nothing but white space is there.
    pub fn read(&self, deadline: Deadline, warn: impl Fn(&str)) -> Result<Option<AccessToken>, Error> {
        let (text, origin) = match self {
            Self::Text { text, origin } => (text.clone(), (*origin).to_owned()),
            Self::Descriptor { fd, origin } => (read_all(fd.as_fd(), deadline, origin)?, origin.clone()),
            Self::File { path, origin, check_place } => {
                let origin = format!("{origin} {}", path.display());
                let unreadable = |cause| Error::TokenUnreadable { origin: origin.clone(), cause };
                let file = read::open(path).map_err(unreadable)?;
                if *check_place && is_exposed(&file) {
                    warn(&format!(
                        "{origin} is on a disk and every user of this machine may read it: chmod 0400"
                    ));
                }
                (read_all(file.as_fd(), deadline, &origin)?, origin)
            }
        };
        if is_blank(&text) {
            return Ok(None);
        }
        AccessToken::parse(&text).map(Some).map_err(|problem| Error::TokenMalformed { origin, problem })
    }
}

/// Everything that may hold a token, the strongest first. Takes over the descriptors among them.
pub fn sources(args: &Args, token: Option<TokenText>, host: &mut Host) -> Result<Vec<TokenSource>, Error> {
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
        if number == 0 && args.env_file.iter().any(|path| is_standard_input(path)) {
            return Err(Error::usage(
                "--access-token-fd 0 and --env-file both read standard input",
                "give the token by --access-token-file or another descriptor",
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

/// By the time the env file was read it would be /dev/null, which sets nothing.
fn is_standard_input(path: &Path) -> bool {
    ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"].iter().any(|stdin| path == Path::new(stdin))
}

/// World-readable, not in memory, and not put there for us alone by a mount. A pipe is on no disk.
fn is_exposed(file: &File) -> bool {
    let world_readable = file.metadata().is_ok_and(|status| status.is_file() && status.mode() & 0o004 != 0);
    world_readable && !read::is_in_memory(file) && !sys::is_mount_point(file.as_fd())
}

/// Reads to the end, in a buffer that is wiped.
fn read_all(fd: BorrowedFd<'_>, deadline: Deadline, origin: &str) -> Result<TokenText, Error> {
    let mut text = TokenText::new(vec![0; LONGEST + 1]);
    let length = read::fill(fd, &mut text, deadline).map_err(|cause| match cause.kind() {
        io::ErrorKind::TimedOut => Error::TokenLate { origin: origin.into(), deadline: deadline.budget },
        _ => Error::TokenUnreadable { origin: origin.into(), cause },
    })?;
    if length > LONGEST {
        let problem = TokenProblem::TooLong(LONGEST);
        return Err(Error::TokenMalformed { origin: origin.into(), problem });
    }
    text.truncate(length);
    Ok(text)
}

/// The descriptor of `--status-fd N`: ours until exec, when it closes and so tells its reader that
/// we are gone. Descriptors 0 to 2 belong to the command.
pub fn status_descriptor(number: i32) -> Result<File, Error> {
    if number < 3 {
        return Err(Error::usage(
            format!("--status-fd {number} is one of the command's own descriptors"),
            "use 3 or more, for example: --status-fd 3 3>status.jsonl",
        ));
    }
    let fd = sys::adopt(number).map_err(|cause| {
        Error::usage(
            format!("--status-fd {number}: {cause}"),
            format!("open it before, for example: bws-exec --status-fd {number} … {number}>status.jsonl"),
        )
    })?;
    Ok(fd.into())
}
