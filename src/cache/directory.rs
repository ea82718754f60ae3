//! Our directory, and how files get there and back: whole or not at all.
//!
//! Everything happens relative to a descriptor of the directory, so that nobody who may write to its
//! parent can put another one in its place between two steps.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, open, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use crate::random;

/// A snapshot of the greatest answer that is accepted, with its padding. Anything larger is not ours.
const LARGEST: u64 = 256 * 1024 * 1024;
/// No write takes so long: what is older was left behind by a launch that was killed.
const LEFT_BEHIND: Duration = Duration::from_secs(60);

/// Why the directory is not used.
#[derive(Debug)]
pub enum Unusable {
    /// Somebody else may have made what is there.
    Unsafe(&'static str),
    Io(io::Error),
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unsafe(problem) => f.write_str(problem),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl From<Errno> for Unusable {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

/// `DIR/bws-exec.<uid>`: a real directory of ours that nobody else may look into.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    pub path: PathBuf,
}

/// Where it is under the directory that the operator chose.
pub fn path_in(parent: &Path) -> PathBuf {
    parent.join(format!("bws-exec.{}", geteuid()))
}

impl Directory {
    /// The operator's directory may be anything: systemd's `DynamicUser=` makes it a symlink,
    /// Kubernetes gives everybody all rights in an emptyDir. Ours is made if it is not there and something may be
    /// written.
    pub fn open(parent: &Path, make: bool) -> Result<Self, Unusable> {
        let path = path_in(parent);
        let name = path.file_name().unwrap_or_default();
        let parent = open(parent, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        let open_ours = || {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            openat(&parent, name, flags, Mode::empty())
        };
        let fd = match open_ours() {
            Err(Errno::ENOENT) if make => {
                match mkdirat(&parent, name, Mode::S_IRWXU) {
                    // Another launch has just made it.
                    Ok(()) | Err(Errno::EEXIST) => open_ours(),
                    Err(error) => Err(error),
                }
            }
            other => other,
        };
        let fd = match fd {
            // With O_NOFOLLOW and O_DIRECTORY a symlink gives either.
            Err(Errno::ENOTDIR | Errno::ELOOP) => {
                return Err(Unusable::Unsafe("it is a symlink or no directory"));
            }
            other => other?,
        };
        let status = fstat(&fd)?;
        if status.st_uid != geteuid().as_raw() {
            return Err(Unusable::Unsafe("it belongs to another user"));
        }
        if status.st_mode & 0o777 != 0o700 {
            return Err(Unusable::Unsafe("its mode is not 0700"));
        }
        Ok(Self { fd, path })
    }

    /// The whole of a file; `None` if there is none.
    pub fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let mut file = match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP) => return Err(io::Error::other("it is a symlink")),
            Err(error) => return Err(error.into()),
        };
        let size = check(&fstat(&file)?)?;
        let mut bytes = Vec::with_capacity(size + 1);
        // Not beyond what was there: nobody changes a file in place.
        (&mut file).take(size as u64).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Something that changes whenever a file of this name is replaced.
    pub fn generation(&self, name: &str) -> Option<Generation> {
        let status = fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
        Some(Generation(status.st_ino, status.st_ctime, status.st_ctime_nsec))
    }

    /// Replaces a file. After a crash at any moment there is either the old one or the new one, whole,
    /// and possibly a temporary file, which a later write takes away.
    pub fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.remove_temporary(name, LEFT_BEHIND);
        let temporary = format!("{name}.{:016x}.tmp", u64::from_ne_bytes(random::bytes()?));
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file =
            File::from(openat(&self.fd, temporary.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
        let written = file
            .write_all(content)
            .and_then(|()| file.sync_all())
            .and_then(|()| Ok(renameat(&self.fd, temporary.as_str(), &self.fd, name)?));
        if written.is_err() {
            let _ = unlinkat(&self.fd, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        written?;
        self.sync()
    }

    /// Makes sure that a file is gone, and what was about to become it.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.remove_temporary(name, Duration::ZERO);
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => self.sync(),
            Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The queue for the lock of this name. Its file is never deleted: whoever waits would wait for a
    /// file that nobody else sees any more.
    pub fn queue(&self, name: &str) -> io::Result<Queue> {
        let flags = OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(&self.fd, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        Ok(Queue { file: File::from(file), has_lined_up: false })
    }

    /// A rename is not on disk before its directory is.
    fn sync(&self) -> io::Result<()> {
        Ok(nix::unistd::fsync(self.fd.as_fd())?)
    }

    /// Removes temporary files of this name: of writers that were killed, if they are older than any
    /// write takes. A writer whose file is taken away says that it could not write.
    fn remove_temporary(&self, name: &str, older_than: Duration) {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let Ok(mut entries) = Dir::openat(&self.fd, ".", flags, Mode::empty()) else { return };
        for entry in entries.iter().flatten() {
            let Ok(entry) = entry.file_name().to_str() else { continue };
            let ours =
                entry.strip_prefix(name).is_some_and(|rest| rest.starts_with('.') && rest.ends_with(".tmp"));
            if ours && (older_than.is_zero() || self.is_older(entry, older_than)) {
                let _ = unlinkat(&self.fd, entry, UnlinkatFlags::NoRemoveDir);
            }
        }
    }

    fn is_older(&self, name: &str, than: Duration) -> bool {
        let Ok(status) = fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) else { return false };
        let written = SystemTime::UNIX_EPOCH + Duration::from_secs(status.st_mtime.unsigned_abs());
        written.elapsed().is_ok_and(|age| age > than)
    }
}

/// A place in front of a lock.
#[derive(Debug)]
pub struct Queue {
    file: File,
    has_lined_up: bool,
}

impl Queue {
    /// The lock, unless somebody has it.
    pub fn try_lock(&mut self) -> io::Result<Option<Lock>> {
        match Flock::lock(self.file.try_clone()?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => {
                // Those who came before are here already; who comes now is counted.
                let _ = lock.set_len(0);
                Ok(Some(Lock(lock)))
            }
            Err((_, Errno::EWOULDBLOCK)) => {
                if !std::mem::replace(&mut self.has_lined_up, true) {
                    // A byte for each; on a full disk nobody is counted.
                    let _ = (&self.file).write(b".");
                }
                Ok(None)
            }
            Err((_, error)) => Err(error.into()),
        }
    }
}

/// Held until it is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub struct Lock(Flock<File>);

impl Lock {
    /// How many have lined up since it was taken.
    pub fn waiting(&self) -> u64 {
        self.0.metadata().map_or(0, |status| status.len())
    }
}

/// Which file it was: inode and time of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(u64, i64, i64);

/// A plain file of ours that nobody else may touch, and its size.
fn check(status: &FileStat) -> io::Result<usize> {
    if SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return Err(io::Error::other("it is no plain file"));
    }
    if status.st_uid != geteuid().as_raw() || status.st_mode & 0o077 != 0 {
        return Err(io::Error::other("others may read or change it"));
    }
    match usize::try_from(status.st_size) {
        Ok(size) if size as u64 <= LARGEST => Ok(size),
        _ => Err(io::Error::other("it is too large")),
    }
}
