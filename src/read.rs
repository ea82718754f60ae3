//! Files that others name: read within bounds of time and size, whatever they turn out to be; whether they
//! are in memory, and whether somebody else may exchange them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::statfs::{FsType, TMPFS_MAGIC, fstatfs};
use nix::unistd::{geteuid, read};

use crate::deadline::Deadline;

/// Room for most files at once.
const FIRST: usize = 256 * 1024;

/// The whole of a file of at most `largest` bytes.
pub fn whole(path: &Path, largest: usize, deadline: Deadline) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let (mut bytes, mut length) = (Vec::new(), 0);
    while length == bytes.len() {
        if length > largest {
            return Err(io::Error::other(format!("it is larger than {largest} bytes")));
        }
        bytes.resize((2 * length).clamp(FIRST, largest + 1), 0);
        length += fill(file.as_fd(), &mut bytes[length..], deadline)?;
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// Without blocking: a FIFO without a writer must not hold us beyond the deadline.
pub fn open(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_dir() {
        return Err(Errno::EISDIR.into());
    }
    Ok(file)
}

/// Whether it lies on no disk.
pub fn is_in_memory(file: &File) -> bool {
    /// `RAMFS_MAGIC` of linux/magic.h, which systemd uses for credentials where it can.
    const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);
    fstatfs(file).is_ok_and(|fs| matches!(fs.filesystem_type(), TMPFS_MAGIC | RAMFS_MAGIC))
}

/// What on the way to `path`, itself included, another user may put something else in the place of. Only
/// root's directories and ours are safe, and only where nobody else may write, or may remove what is ours
/// (the sticky bit). Whoever owns `/` could do it anyway: in a user namespace that is not 0.
pub fn exchangeable(path: &Path) -> io::Result<Option<PathBuf>> {
    let path = path.canonicalize()?;
    let root = path.ancestors().last().unwrap_or(&path).metadata()?.uid();
    let trusted = |owner: u32| [0, root, geteuid().as_raw()].contains(&owner);
    for (below, directory) in path.ancestors().zip(path.ancestors().skip(1)) {
        let status = directory.metadata()?;
        let safe = match status.mode() & 0o1022 {
            0 | 0o1000 => true,
            mode => mode & 0o1000 != 0 && trusted(below.symlink_metadata()?.uid()),
        };
        if !(safe && trusted(status.uid())) {
            return Ok(Some(below.into()));
        }
    }
    Ok(None)
}

/// Reads to the end, or until the buffer is full. The buffer never moves, so that no copy stays behind.
pub fn fill(fd: BorrowedFd<'_>, buffer: &mut [u8], deadline: Deadline) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        // poll first: a FIFO that nobody has opened for writing yet reads as if it had ended. What is
        // there already is taken, however little time is left.
        let left = deadline.left();
        let milliseconds = if left.is_zero() { 0 } else { left.as_millis().max(1) };
        let timeout = PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout) {
            Ok(0) if left.is_zero() => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it was not complete within --deadline"));
            }
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        match read(fd, &mut buffer[length..]) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(length)
}
