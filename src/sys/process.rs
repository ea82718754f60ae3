//! Other processes: handles of them, who is at the other end of a socket, a copy of us in the background.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::{ENDING, set_disposition};

/// A handle of a process that stays its own when the number is given to another one (pidfd_open(2)).
pub fn open_process(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two numbers; the descriptor it returns is new and closed by exec.
    unsafe {
        match libc::syscall(libc::SYS_pidfd_open, pid, 0) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd as RawFd)),
        }
    }
}

/// Whether the process of this handle has ended.
pub fn has_ended(process: BorrowedFd<'_>) -> bool {
    let mut asked = libc::pollfd { fd: process.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one element, as it says, written to before the call returns; it does not wait.
    unsafe { libc::poll(&mut asked, 1, 0) == 1 && asked.revents & libc::POLLIN != 0 }
}

/// Who connected to the other end of this socket: the number the kernel recorded then, and a handle.
pub fn peer_process(socket: BorrowedFd<'_>) -> io::Result<(i32, OwnedFd)> {
    // SAFETY: as in its definition: any bytes make a `ucred`, and an `int`.
    let peer: libc::ucred = unsafe { socket_option(socket, libc::SO_PEERCRED) }?;
    if peer.pid <= 0 {
        // A process that this PID namespace does not show.
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    // SAFETY: the same.
    match unsafe { socket_option::<RawFd>(socket, libc::SO_PEERPIDFD) } {
        // SAFETY: the kernel has just made it, closed by exec, for nobody else.
        Ok(fd) => Ok((peer.pid, unsafe { OwnedFd::from_raw_fd(fd) })),
        // Before Linux 6.5 the number alone is known; a peer that ended since could have lent it on.
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {
            Ok((peer.pid, open_process(peer.pid.unsigned_abs())?))
        }
        // Later kernels say so if the peer has ended.
        Err(error) => Err(error),
    }
}

/// # Safety
/// Any bytes must make a `T`.
unsafe fn socket_option<T>(socket: BorrowedFd<'_>, option: c_int) -> io::Result<T> {
    let mut length = size_of::<T>() as libc::socklen_t;
    let mut answer = std::mem::MaybeUninit::<T>::zeroed();
    let to = answer.as_mut_ptr().cast();
    // SAFETY: the kernel writes at most `length` bytes; zeroes, too, make a `T`, as the caller says.
    unsafe {
        match libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, to, &mut length) {
            0 if length as usize == size_of::<T>() => Ok(answer.assume_init()),
            0 => Err(io::Error::from_raw_os_error(libc::EINVAL)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Does this work in a process of its own: in no session or group of ours, no child of ours, with no
/// descriptor but these and, if wished, stderr. It returns here only.
///
/// What ends all processes of a unit or a session at once (SIGTERM, SIGHUP) does not end this one: the work
/// itself has to end soon.
pub fn in_background(kept: &[RawFd], stderr: bool, work: impl FnOnce()) -> io::Result<()> {
    /// Ends the copy even if the work panics: it must never go on as if it were us.
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            // SAFETY: `_exit` does not return, and runs nothing of ours.
            unsafe { libc::_exit(0) }
        }
    }
    // SAFETY: glibc makes fork safe for what follows in the copy (memory, files); other threads, which
    // wait for names to be resolved, do not exist there.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            ENDING.into_iter().for_each(|signal| set_disposition(signal, libc::SIG_IGN));
            // SAFETY: as above. The one in between ends at once, with what it could do as its code.
            match unsafe { libc::setsid().min(libc::fork()) } {
                0 => {
                    let _end = End;
                    keep_only(kept, stderr);
                    work();
                    Ok(())
                }
                // SAFETY: `_exit` does not return.
                other => unsafe { libc::_exit(c_int::from(other < 0)) },
            }
        }
        between => {
            let mut status = 0;
            // SAFETY: it is a child of ours that nobody else waits for; `status` is written first.
            while unsafe { libc::waitpid(between, &mut status, 0) } == -1 {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            if status == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EAGAIN)) }
        }
    }
}

/// Leaves nothing open that somebody could wait for: no terminal, no pipe, no directory.
fn keep_only(kept: &[RawFd], stderr: bool) {
    // SAFETY: only in a copy that runs nothing but its work, which uses what is kept.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        for fd in 0..if stderr { 2 } else { 3 } {
            libc::dup2(null, fd);
        }
        let mut kept = kept.to_vec();
        kept.sort_unstable();
        let mut next = 3;
        for fd in kept.into_iter().map(RawFd::unsigned_abs) {
            if fd > next {
                libc::close_range(next, fd - 1, 0);
            }
            next = fd + 1;
        }
        libc::close_range(next, libc::c_uint::MAX, 0);
        libc::chdir(c"/".as_ptr());
    }
}
