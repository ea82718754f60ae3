//! The kernel and libc, and the only `unsafe` of the crate.
//!
//! Two things here must run at unusual moments. [`record`] runs before Rust's runtime, because the
//! runtime opens `/dev/null` on closed descriptors 0 to 2 and ignores SIGPIPE before `main` begins;
//! what was inherited could not be known afterwards. [`end_on_signal`] runs inside a signal handler.
#![allow(unsafe_code)]

mod credentials;
mod descriptors;
mod exec;
mod process;
mod spawn;
mod supervise;

use std::ffi::{CStr, c_char, c_int};
use std::os::fd::RawFd;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering::Relaxed};

use zeroize::{Zeroize, Zeroizing};

pub use credentials::{Credentials, Refused, Step, may_signal_everybody};
pub use descriptors::{adopt, duplicate_above, duplicate_onto, inherited, is_mount_point};
pub use process::{has_ended, in_background, open_process, peer_process};
pub use spawn::{EnvString, Image, NotSpawned, NotStarted, PidVariable, execve, spawn};
pub use supervise::{
    Change, Received, adopt_orphans, die_of, let_go_of_inherited, next_change, next_signal, send,
    signals_as_data, stop, was_ignored,
};

static IGNORED: AtomicU64 = AtomicU64::new(0);
static BLOCKED: AtomicU64 = AtomicU64::new(0);
static CLOSED: AtomicU8 = AtomicU8::new(0);
static ARGV: AtomicPtr<*mut c_char> = AtomicPtr::new(ptr::null_mut());
static ENVP: AtomicPtr<*mut c_char> = AtomicPtr::new(ptr::null_mut());

/// Signals that end us before exec, and that we handle as PID 1.
const ENDING: [c_int; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];
/// Those whose disposition somebody else here changes: the runtime SIGPIPE's, and whoever supervises SIGCHLD's.
const RESTORED: [c_int; 2] = [libc::SIGPIPE, libc::SIGCHLD];

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
    for signal in ENDING.into_iter().chain(RESTORED) {
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

/// Whether descriptor 0, 1 or 2 was closed when we started (the runtime has put `/dev/null` there).
pub fn was_closed(fd: RawFd) -> bool {
    (0..3).contains(&fd) && CLOSED.load(Relaxed) & (1 << fd) != 0
}

/// Host names come from `/etc/hosts` and `/etc/resolv.conf` only. A static glibc would otherwise
/// `dlopen` whatever other module the host's nsswitch.conf names, from a glibc that is not ours.
pub fn resolve_names_by_files_and_dns() {
    unsafe extern "C" {
        fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
    }
    static ONCE: Once = Once::new();
    // SAFETY: glibc copies nothing and keeps neither pointer beyond parsing; both are static. It is
    // called once, before any thread has looked a name up.
    ONCE.call_once(|| unsafe {
        __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr());
    });
}

/// The longest single string `execve` takes (`MAX_ARG_STRLEN`), its NUL included: 32 pages.
pub fn longest_exec_string() -> usize {
    // SAFETY: sysconf has no preconditions.
    32 * usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}
