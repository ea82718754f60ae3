//! Bytes that must not be seen: wiped when dropped, without a `Display`, with a `Debug` that says nothing.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The decrypted value of a secret.
#[derive(Clone, PartialEq, Eq, Hash, Zeroize, ZeroizeOnDrop)]
pub struct SecretValue(Vec<u8>);

/// Shorter values are not masked in output: they stand in ordinary text too often.
pub const SHORTEST_MASKED: usize = 4;

impl SecretValue {
    /// Takes over the buffer; nothing is copied.
    pub fn new(mut bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(std::mem::take(&mut *bytes))
    }

    /// EXPOSE: for the environment block, for files and for comparison with arguments.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// EXPOSE: what of it is masked in output: the whole, and each line, since programs and the readers of
    /// their output work by lines.
    pub fn masked(&self) -> impl Iterator<Item = &[u8]> {
        let lines = self.0.split(|byte| matches!(byte, b'\r' | b'\n'));
        let lines = lines.filter(|line| line.len() < self.0.len());
        std::iter::once(&self.0[..]).chain(lines).filter(|text| text.len() >= SHORTEST_MASKED)
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_is_redacted() {
        let value = SecretValue::new(Zeroizing::new(b"hunter2".to_vec()));
        assert_eq!(format!("{value:?}"), "SecretValue([redacted])");
        assert_eq!(value.expose(), b"hunter2");
    }
}
