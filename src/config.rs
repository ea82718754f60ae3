//! Where the access token comes from.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::statfs::{FsType, TMPFS_MAGIC, fstatfs};
use nix::unistd::read;

use crate::deadline::Deadline;
use crate::error::{Error, TokenProblem};
use crate::sys;
use crate::token::{AccessToken, TokenText, is_blank};

/// Longer than any token; systemd's credentials may be a MiB.
const LONGEST: usize = 16 * 1024;
/// `RAMFS_MAGIC` of linux/magic.h, which systemd uses for credentials where it can.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

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
            Self::Descriptor { fd, origin } => (read_all(fd, deadline, origin)?, origin.clone()),
            Self::File { path, origin, check_place } => {
                let origin = format!("{origin} {}", path.display());
                let unreadable = |cause| Error::TokenUnreadable { origin: origin.clone(), cause };
                let file = open(path).map_err(unreadable)?;
                if *check_place && is_exposed(&file) {
                    warn(&format!(
                        "{origin} is on a disk and every user of this machine may read it: chmod 0400"
                    ));
                }
                (read_all(&file.into(), deadline, &origin)?, origin)
            }
        };
        if is_blank(&text) {
            return Ok(None);
        }
        AccessToken::parse(&text).map(Some).map_err(|problem| Error::TokenMalformed { origin, problem })
    }
}

/// Without blocking: a FIFO without a writer must not hold us beyond the deadline.
fn open(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_dir() {
        return Err(Errno::EISDIR.into());
    }
    Ok(file)
}

/// World-readable, not in memory, and not put there for us alone by a mount. A pipe is on no disk.
fn is_exposed(file: &File) -> bool {
    let world_readable = file.metadata().is_ok_and(|status| status.is_file() && status.mode() & 0o004 != 0);
    let in_memory = fstatfs(file).is_ok_and(|fs| matches!(fs.filesystem_type(), TMPFS_MAGIC | RAMFS_MAGIC));
    world_readable && !in_memory && !sys::is_mount_point(file.as_fd())
}

/// Reads to the end, in a buffer that never moves, so that no copy stays behind.
fn read_all(fd: &OwnedFd, deadline: Deadline, origin: &str) -> Result<TokenText, Error> {
    let unreadable = |cause: io::Error| Error::TokenUnreadable { origin: origin.into(), cause };
    let mut text = TokenText::new(vec![0; LONGEST + 1]);
    let mut length = 0;
    loop {
        if length > LONGEST {
            let problem = TokenProblem::TooLong(LONGEST);
            return Err(Error::TokenMalformed { origin: origin.into(), problem });
        }
        let left = deadline.left();
        if left.is_zero() {
            return Err(Error::TokenLate { origin: origin.into(), deadline: deadline.budget });
        }
        // poll first: a FIFO that nobody has opened for writing yet reads as if it had ended.
        let timeout = PollTimeout::try_from(left.as_millis().max(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(unreadable(error.into())),
        }
        match read(fd, &mut text[length..]) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(error) => return Err(unreadable(error.into())),
        }
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
