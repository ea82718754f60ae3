//! Bytes that must not be seen: wiped when dropped, without a `Display`, with a `Debug` that says nothing.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The decrypted value of a secret.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct SecretValue(Vec<u8>);

impl SecretValue {
    /// Takes over the buffer; nothing is copied.
    pub fn new(mut bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(std::mem::take(&mut *bytes))
    }

    /// EXPOSE: for the environment block, for files and for comparison with arguments.
    pub fn expose(&self) -> &[u8] {
        &self.0
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
