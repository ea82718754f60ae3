//! What a process that stays asks of the kernel: signals as data, its children, its own stop and its end.

use std::ffi::c_int;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::{exchange_mask, set_disposition};

/// A signal that was sent to us, and by whom as far as this PID namespace shows it.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    pub signal: c_int,
    pub sender: u32,
}

/// How a child changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Exited(u8),
    Killed(c_int),
    Stopped(c_int),
}

/// Blocks every signal, and gives a descriptor from which they are read. What the kernel raises for a
/// fault of ours ends us nevertheless. The kernel's own calls, because glibc leaves out signals 32 and 33.
pub fn signals_as_data() -> io::Result<OwnedFd> {
    // Ignored children are never told of.
    set_disposition(libc::SIGCHLD, libc::SIG_DFL);
    exchange_mask(Some(u64::MAX));
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the mask has the size that is passed; the descriptor is new.
    unsafe {
        match libc::syscall(libc::SYS_signalfd4, -1, &u64::MAX, size_of::<u64>(), flags) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd as RawFd)),
        }
    }
}

/// The next signal, if there is one.
pub fn next_signal(descriptor: &OwnedFd) -> Option<Received> {
    const SIZE: usize = size_of::<libc::signalfd_siginfo>();
    // SAFETY: any bytes make one; the kernel writes a whole one or nothing.
    let (length, info) = unsafe {
        let mut info: libc::signalfd_siginfo = std::mem::zeroed();
        (libc::read(descriptor.as_raw_fd(), (&raw mut info).cast(), SIZE), info)
    };
    (length == SIZE as isize).then_some(Received { signal: info.ssi_signo as c_int, sender: info.ssi_pid })
}

/// The next child that ended or stopped. One that ended is gone with this. `nix` knows no real-time
/// signals, and would lose the child that one has killed.
pub fn next_change() -> Option<(i32, Change)> {
    let mut status = 0;
    // SAFETY: `status` is written before it is read.
    let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG | libc::WUNTRACED) };
    if pid <= 0 {
        return None;
    }
    Some((
        pid,
        if libc::WIFSTOPPED(status) {
            Change::Stopped(libc::WSTOPSIG(status))
        } else if libc::WIFSIGNALED(status) {
            Change::Killed(libc::WTERMSIG(status))
        } else {
            Change::Exited(libc::WEXITSTATUS(status) as u8)
        },
    ))
}

/// Sends a signal, real-time ones too: to a process, or to a group by its number made negative.
pub fn send(to: i32, signal: c_int) -> io::Result<()> {
    // SAFETY: two numbers.
    match unsafe { libc::kill(to, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Stops us, and with `everyone` our process group, as this signal does by default, and returns when we
/// are continued. Where nobody could continue us (a session's leader, PID 1) the kernel drops the signal;
/// false says so. Every other signal stays blocked.
pub fn stop(signal: c_int, everyone: bool) -> bool {
    let to = if everyone { 0 } else { std::process::id() as i32 };
    let _ = send(to, signal);
    exchange_mask(Some(u64::MAX & !super::bit(signal)));
    exchange_mask(Some(u64::MAX));
    let mut pending = 0_u64;
    // SAFETY: a mask of the size that is passed. A stop takes back an earlier SIGCONT, so this one is later.
    unsafe { libc::syscall(libc::SYS_rt_sigpending, &mut pending, size_of::<u64>()) };
    pending & super::bit(libc::SIGCONT) != 0
}

/// Whether this signal was ignored when we started.
pub fn was_ignored(signal: c_int) -> bool {
    super::IGNORED.load(super::Relaxed) & super::bit(signal) != 0
}

/// Dies of this signal. There is no second core dump, for we are not dumpable. Returns only as PID 1,
/// whom the kernel lets no signal kill from inside.
pub fn die_of(signal: c_int) {
    if signal != libc::SIGKILL {
        set_disposition(signal, libc::SIG_DFL);
    }
    let _ = send(std::process::id() as i32, signal);
    exchange_mask(Some(u64::MAX & !super::bit(signal)));
}

/// Closes what the command has inherited and we need no more: whoever waits for the last reader or
/// writer of a pipe waits for the command, not for us. Standard input and output become `/dev/null`.
pub fn let_go_of_inherited() {
    // SAFETY: dup2 and close touch only numbers that nothing here owns: whatever is ours is closed by exec.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        if null != -1 {
            libc::dup2(null, 0);
            libc::dup2(null, 1);
            libc::close(null);
        }
        // A process may always list its own, also one that is not dumpable (proc_fd_permission).
        let Ok(list) = fs::read_dir("/proc/self/fd") else { return };
        let open: Vec<RawFd> =
            list.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        for fd in open.into_iter().filter(|&fd| fd > 2) {
            if libc::fcntl(fd, libc::F_GETFD) == 0 {
                libc::close(fd);
            }
        }
    }
}

/// Orphans among our descendants become our children, to be reaped.
pub fn adopt_orphans() {
    // SAFETY: numbers; a kernel that refuses leaves them to PID 1, as without us.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}
