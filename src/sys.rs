//! The kernel and libc, and the only `unsafe` of the crate.
//!
//! Two things here must run at unusual moments. [`record`] runs before Rust's runtime, because the
//! runtime opens `/dev/null` on closed descriptors 0 to 2 and ignores SIGPIPE before `main` begins;
//! what was inherited could not be known afterwards. [`end_on_signal`] runs inside a signal handler.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering::Relaxed};

use zeroize::{Zeroize, Zeroizing};

static IGNORED: AtomicU64 = AtomicU64::new(0);
static BLOCKED: AtomicU64 = AtomicU64::new(0);
static CLOSED: AtomicU8 = AtomicU8::new(0);
static ARGV: AtomicPtr<*mut c_char> = AtomicPtr::new(ptr::null_mut());
static ENVP: AtomicPtr<*mut c_char> = AtomicPtr::new(ptr::null_mut());

/// Signals whose action matters before exec: these end us, and the runtime changes SIGPIPE's.
const ENDING: [c_int; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];

#[used]
// SAFETY: glibc and musl's start code call every `.init_array` entry once, single-threaded, before
// `main`. glibc hands over (argc, argv, envp), also in static executables; musl does not, which is
// why `.init_array` is only used where `target_env = "gnu"` holds.
#[unsafe(link_section = ".init_array")]
static RECORD: extern "C" fn(c_int, *mut *mut c_char, *mut *mut c_char) = record;

#[cfg(not(target_env = "gnu"))]
compile_error!("bws-exec records what it inherited in .init_array, whose arguments only glibc passes");

extern "C" fn record(_argc: c_int, argv: *mut *mut c_char, envp: *mut *mut c_char) {
    ARGV.store(argv, Relaxed);
    ENVP.store(envp, Relaxed);
    for fd in 0..3 {
        // SAFETY: F_GETFD only asks; a closed descriptor answers -1.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1 {
            CLOSED.fetch_or(1 << fd, Relaxed);
        }
    }
    for signal in ENDING.into_iter().chain([libc::SIGPIPE]) {
        // SAFETY: a null `act` only asks; `old` is written before it is read, if the call succeeds.
        let ignored = unsafe {
            let mut old: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, ptr::null(), &mut old) == 0 && old.sa_sigaction == libc::SIG_IGN
        };
        if ignored {
            IGNORED.fetch_or(bit(signal), Relaxed);
        }
    }
    BLOCKED.store(exchange_mask(None), Relaxed);
}

/// The mask of blocked signals, which becomes `new` if that is given. The system call itself, because
/// glibc leaves the two signals that it uses out of every mask.
fn exchange_mask(new: Option<u64>) -> u64 {
    let new = new.as_ref().map_or(ptr::null(), ptr::from_ref);
    let mut old = 0_u64;
    // SAFETY: both masks have the size that is passed; a null `new` leaves the mask alone.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, new, &mut old, size_of::<u64>()) };
    old
}

const fn bit(signal: c_int) -> u64 {
    1 << (signal - 1)
}

/// Copies the arguments after argv\[0\].
pub fn arguments() -> Vec<Vec<u8>> {
    strings(ARGV.load(Relaxed)).skip(1).map(|text| text.to_bytes().to_vec()).collect()
}

/// Overwrites argument `index` (argv\[0\] is 0) from byte `from` on, so that `ps` shows it no more.
pub fn overwrite_argument(index: usize, from: usize) {
    let argv = ARGV.load(Relaxed);
    let Some(text) = strings(argv).nth(index) else { return };
    let length = text.to_bytes().len();
    // SAFETY: the bytes belong to this process's stack, are writable, and nothing borrows them:
    // `arguments` copies. The terminating NUL is not touched.
    unsafe {
        let start = (*argv.add(index)).cast::<u8>();
        std::slice::from_raw_parts_mut(start.add(from.min(length)), length - from.min(length))
    }
    .zeroize();
}

/// The inherited environment, as it lies in memory, with `token_variable` already taken out: its
/// first non-empty value is copied and every value of that name overwritten, since the kernel shows
/// this memory in `/proc/PID/environ` for as long as we run (`unsetenv` would not change that).
pub fn environment(token_variable: &str) -> (Option<Zeroizing<Vec<u8>>>, Vec<&'static [u8]>) {
    let envp = ENVP.load(Relaxed);
    let prefix = format!("{token_variable}=");
    let mut token = None;
    let mut entries = Vec::new();
    for (index, text) in strings(envp).enumerate() {
        let bytes = text.to_bytes();
        let Some(value) = bytes.strip_prefix(prefix.as_bytes()) else {
            entries.push(bytes);
            continue;
        };
        if token.is_none() && !value.is_empty() {
            token = Some(Zeroizing::new(value.to_vec()));
        }
        let (from, length) = (prefix.len(), value.len());
        // SAFETY: writable memory of this process; the borrow `value` ends above and this entry is
        // not among those returned.
        unsafe { std::slice::from_raw_parts_mut((*envp.add(index)).cast::<u8>().add(from), length) }
            .zeroize();
    }
    (token, entries)
}

/// The strings of a NULL-terminated vector that lives as long as the process.
fn strings(vector: *mut *mut c_char) -> impl Iterator<Item = &'static CStr> {
    let mut next = vector;
    std::iter::from_fn(move || {
        // SAFETY: `vector` is null (recorded by nobody) or the kernel's argv or envp: pointers to
        // NUL-terminated strings that end with a null pointer and are never freed.
        unsafe {
            if next.is_null() || (*next).is_null() {
                return None;
            }
            let text = CStr::from_ptr(*next);
            next = next.add(1);
            Some(text)
        }
    })
}

/// As PID 1 the kernel drops every signal whose action is the default one, so `docker stop` during
/// the fetch would wait for SIGKILL. Handlers are set only where the disposition was default, so
/// that `nohup` stays honoured; they vanish at exec. Any other process simply dies of the signal.
pub fn end_on_signals_as_pid_1() {
    if std::process::id() != 1 {
        return;
    }
    for signal in ENDING {
        if IGNORED.load(Relaxed) & bit(signal) == 0 {
            set_disposition(signal, end_on_signal as *const () as libc::sighandler_t);
        }
    }
}

extern "C" fn end_on_signal(signal: c_int) {
    // SAFETY: `_exit` is async-signal-safe and does not return.
    unsafe { libc::_exit(128 + signal) }
}

fn set_disposition(signal: c_int, handler: libc::sighandler_t) {
    // SAFETY: a zeroed sigaction is an empty mask without flags; the handler is SIG_IGN, SIG_DFL or
    // a function that is async-signal-safe. It cannot fail for the signals we pass.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        libc::sigaction(signal, &action, ptr::null_mut());
    }
}

/// Puts back what Rust's runtime changed: SIGPIPE, the mask, and descriptors 0 to 2 that were closed.
fn restore_inherited() {
    let ignored = IGNORED.load(Relaxed) & bit(libc::SIGPIPE) != 0;
    set_disposition(libc::SIGPIPE, if ignored { libc::SIG_IGN } else { libc::SIG_DFL });
    exchange_mask(Some(BLOCKED.load(Relaxed)));
    for fd in (0..3).filter(|fd| CLOSED.load(Relaxed) & (1 << fd) != 0) {
        // SAFETY: what was closed at start is ours to close.
        unsafe { libc::close(fd) };
    }
}

/// Whether descriptor 0, 1 or 2 was closed when we started (the runtime has put `/dev/null` there).
pub fn was_closed(fd: RawFd) -> bool {
    (0..3).contains(&fd) && CLOSED.load(Relaxed) & (1 << fd) != 0
}

/// Becomes `path`. Returns only when the kernel refuses, with the reason.
pub fn execve(path: &CStr, argv: &[&CStr], environment: &[&CStr]) -> io::Error {
    let pointers = |strings: &[&CStr]| -> Vec<*const c_char> {
        strings.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
    };
    let (argv, environment) = (pointers(argv), pointers(environment));
    restore_inherited();
    // SAFETY: both vectors end with a null pointer and point to strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), environment.as_ptr()) };
    let error = io::Error::last_os_error();
    // We still have to say so: a write to a closed pipe must be an error, not our death.
    set_disposition(libc::SIGPIPE, libc::SIG_IGN);
    error
}

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

/// Host names come from `/etc/hosts` and `/etc/resolv.conf` only. A static glibc would otherwise
/// `dlopen` whatever other module the host's nsswitch.conf names, from a glibc that is not ours.
pub fn resolve_names_by_files_and_dns() {
    unsafe extern "C" {
        fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
    }
    // SAFETY: glibc copies nothing and keeps neither pointer beyond parsing; both are static. It is
    // called before any other thread exists.
    unsafe { __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr()) };
}

/// The longest single string `execve` takes (`MAX_ARG_STRLEN`), its NUL included: 32 pages.
pub fn longest_exec_string() -> usize {
    // SAFETY: sysconf has no preconditions.
    32 * usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

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
        // SAFETY: as above. The one in between ends at once, with what it could do as its code.
        0 => match unsafe { libc::setsid().min(libc::fork()) } {
            0 => {
                let _end = End;
                keep_only(kept, stderr);
                work();
                Ok(())
            }
            // SAFETY: `_exit` does not return.
            other => unsafe { libc::_exit(c_int::from(other < 0)) },
        },
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
