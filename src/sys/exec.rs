//! Becoming another program, with what was inherited put back.

use std::ffi::{CStr, c_char};
use std::{io, ptr};

use super::{BLOCKED, CLOSED, IGNORED, Relaxed, bit, exchange_mask, set_disposition};

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
