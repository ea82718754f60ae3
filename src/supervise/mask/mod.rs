//! `--mask`: the values of secrets, and the usual forms of them, replaced in what the command writes.
//!
//! ```text
//! values ──forms──▶ Patterns ──Masker, one per stream──▶ pump: the command's pipe ──▶ our stdout, stderr
//! ```
//!
//! The rule is leftmost-longest: from the left, at each place the longest pattern that stands there becomes
//! [`REPLACEMENT`], however the text was cut into writes. Bytes that may be the beginning of a pattern wait
//! for what follows, and nothing else waits, so that a whole line, a prompt and a progress bar pass at once.
//!
//! What waits when the command pauses is where two promises meet: a prompt must not wait forever for being
//! the beginning of a value, and a value must not pass for having been written in two parts. So after
//! [`pump::PAUSE`] the *first half* of what may become a value is shown, at most, and it is remembered: if
//! the value does come, the rest of it is replaced. A prompt shows, a value never does.
//!
//! Patterns are found by a filter over their first four bytes and compared as a whole where it hits. The
//! aho-corasick crate was measured beside it and lost: with 100 values 314 MB/s by a DFA of 10 MiB and 238 by
//! a compact NFA against 1,400, for 215 KiB more of binary; its streams cannot search leftmost-longest, and
//! its tables, made of the values, cannot be wiped.

mod forms;
mod masker;
mod patterns;
#[cfg(test)]
mod properties;
pub mod pump;

pub use masker::Masker;
pub use patterns::Patterns;

/// What stands in a value's place: what readers of CI logs know, and as long for every value.
pub const REPLACEMENT: &[u8] = b"***";
