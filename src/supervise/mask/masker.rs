//! One stream, masked as it comes.

use std::fmt;

use zeroize::Zeroizing;

use super::REPLACEMENT;
use super::patterns::{At, Patterns};

/// How much of a chunk is looked at in one go, so that the buffer never has to grow.
const PIECE: usize = 64 * 1024;

/// The state between two chunks: what may be the beginning of a pattern.
pub struct Masker<'a> {
    patterns: &'a Patterns,
    /// Shorter than the longest pattern, between two calls.
    held: Zeroizing<Vec<u8>>,
    /// How many bytes of it were shown in a pause.
    shown: usize,
}

impl<'a> Masker<'a> {
    pub fn new(patterns: &'a Patterns) -> Self {
        // Grown, it would leave pieces of values behind.
        let held = Vec::with_capacity(patterns.longest() + PIECE);
        Self { patterns, held: Zeroizing::new(held), shown: 0 }
    }

    /// Takes what was read, and appends to `out` what can be written.
    pub fn feed(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        for piece in chunk.chunks(PIECE) {
            if self.held.is_empty() {
                let done = mask(self.patterns, piece, 0, true, out);
                self.held.extend_from_slice(&piece[done..]);
            } else {
                self.held.extend_from_slice(piece);
                let done = mask(self.patterns, &self.held, self.shown, true, out);
                self.held.drain(..done);
                self.shown = self.shown.saturating_sub(done);
            }
        }
    }

    /// The writer pauses: shows of what is held as much as can be, which is at most the first half of
    /// any pattern that it is, has in it, or may become. If one comes about after all, its rest is replaced.
    pub fn pause(&mut self, out: &mut Vec<u8>) {
        let mut end = self.held.len();
        let mut at = 0;
        while at < end {
            if let Some(length) = self.patterns.shortest(&self.held[at..]) {
                end = end.min(at + length / 2);
            }
            at += 1;
        }
        if end > self.shown {
            out.extend_from_slice(&self.held[self.shown..end]);
            self.shown = end;
        }
    }

    /// Whether something waits for what follows.
    pub fn holds(&self) -> bool {
        self.held.len() > self.shown
    }

    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Nothing follows: the beginning of a pattern is none.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        mask(self.patterns, &self.held, self.shown, false, out);
        self.held.clear();
        self.shown = 0;
    }
}

/// Appends `text`, masked, but for what was `shown` of its beginning. Returns from where on it takes `more`
/// text to go on.
fn mask(patterns: &Patterns, text: &[u8], shown: usize, more: bool, out: &mut Vec<u8>) -> usize {
    let mut written = shown;
    let mut at = 0;
    loop {
        at = patterns.candidate(text, at);
        match patterns.at(&text[at..], more) {
            At::Nothing if at < text.len() => at += 1,
            At::Pattern(length) => {
                out.extend_from_slice(text.get(written..at).unwrap_or_default());
                out.extend_from_slice(REPLACEMENT);
                at += length;
                written = written.max(at);
            }
            At::Nothing | At::Beginning => {
                out.extend_from_slice(text.get(written..at).unwrap_or_default());
                return at;
            }
        }
    }
}

impl fmt::Debug for Masker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Masker([redacted])")
    }
}
