//! Chance, from the kernel.

use std::io;
use std::time::Duration;

/// Bytes that nobody can guess. An error where the kernel has none: then nothing may be sealed.
pub fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// From 0.0 to 1.0, to keep many launches from doing the same at the same moment.
pub fn jitter() -> f64 {
    // Without randomness the pauses are merely equal.
    getrandom::u32().map_or(1.0, |n| f64::from(n) / f64::from(u32::MAX))
}

/// From nothing up to this long.
pub fn up_to(longest: Duration) -> Duration {
    longest.mul_f64(jitter())
}
