//! What was inherited, put back for the program that we or our child becomes.

use super::{BLOCKED, CLOSED, ENDING, IGNORED, RESTORED, Relaxed, bit, exchange_mask, set_disposition};

/// Puts back what was changed: dispositions, the mask, and descriptors 0 to 2 that were closed.
/// Async-signal-safe. Dispositions come first, for the mask may hold back a signal until now.
pub fn restore_inherited() {
    let ignored = IGNORED.load(Relaxed);
    for signal in ENDING.into_iter().chain(RESTORED) {
        let disposition = if ignored & bit(signal) != 0 { libc::SIG_IGN } else { libc::SIG_DFL };
        set_disposition(signal, disposition);
    }
    exchange_mask(Some(BLOCKED.load(Relaxed)));
    for fd in (0..3).filter(|fd| CLOSED.load(Relaxed) & (1 << fd) != 0) {
        // SAFETY: what was closed at start is ours to close.
        unsafe { libc::close(fd) };
    }
}
