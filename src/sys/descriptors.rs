//! Descriptors that were handed to us by number.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::was_closed;

/// Takes over a descriptor that the caller opened for us, or says that there is none. From now on it
/// ends with us: COMMAND could read the token again from a descriptor that is a file.
pub fn adopt(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl with F_SETFD changes one flag of the descriptor, and nothing if it is not open.
    if was_closed(fd) || unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: it is open, it was named on our command line or handed over by systemd for our use,
    // and each such descriptor is adopted once.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Another descriptor for the same, numbered `floor` or higher, which exec closes.
pub fn duplicate_above(from: BorrowedFd<'_>, floor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC returns a descriptor that is new and so nobody else's.
    unsafe {
        match libc::fcntl(from.as_raw_fd(), libc::F_DUPFD_CLOEXEC, floor) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// Makes `to` refer to what `from` refers to, inheritable. `to` must not be owned by anything here.
pub fn duplicate_onto(from: BorrowedFd<'_>, to: RawFd) -> io::Result<()> {
    // SAFETY: dup2 touches only descriptor numbers; the caller answers for `to`.
    match unsafe { libc::dup2(from.as_raw_fd(), to) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// A borrowed view of an inherited descriptor that stays open for the command.
pub fn inherited(fd: RawFd) -> Option<BorrowedFd<'static>> {
    // SAFETY: F_GETFD only asks; inherited descriptors are closed by nobody but their adopter.
    unsafe { (libc::fcntl(fd, libc::F_GETFD) != -1).then(|| BorrowedFd::borrow_raw(fd)) }
}

/// Whether the open file is itself a mount point (`STATX_ATTR_MOUNT_ROOT`), as a Docker secret is.
pub fn is_mount_point(file: BorrowedFd<'_>) -> bool {
    // SAFETY: an empty path with AT_EMPTY_PATH asks about the descriptor; `answer` is only read
    // after success.
    unsafe {
        let mut answer: libc::statx = std::mem::zeroed();
        libc::statx(file.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH, 0, &mut answer) == 0
            && answer.stx_attributes & libc::STATX_ATTR_MOUNT_ROOT as u64 != 0
    }
}
