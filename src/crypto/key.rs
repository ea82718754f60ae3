//! A key for Bitwarden's type-2 encryption: 32 bytes for AES-256 and 32 for HMAC-SHA256.

use std::fmt;

use aes::Aes256;
use aes::cipher::KeyInit;
use hmac::Hmac;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::error::CryptoProblem;

/// Both halves, already expanded: an account has thousands of strings under one key. The states are
/// wiped on drop by the `zeroize` features of `aes` and `sha2`.
pub struct SymmetricKey {
    pub(super) cipher: Aes256,
    pub(super) mac: Hmac<Sha256>,
}

impl SymmetricKey {
    /// Both halves, encryption first. The caller's copy is wiped by its own type.
    pub fn new(bytes: &[u8; 64]) -> Self {
        let (encryption, authentication) = bytes.split_at(32);
        Self {
            cipher: Aes256::new_from_slice(encryption).expect("half of 64 bytes is an AES-256 key"),
            mac: Hmac::new_from_slice(authentication).expect("HMAC takes a key of any length"),
        }
    }
}

/// The organization's key as the server sent it, in the form that can be kept.
#[derive(Clone)]
pub struct OrganizationKey(Zeroizing<[u8; 64]>);

impl OrganizationKey {
    /// 32 bytes are the legacy kind without a MAC, more than 64 a COSE key: both are refused rather
    /// than guessed at.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, CryptoProblem> {
        let mut key = Zeroizing::new([0; 64]);
        if bytes.len() != key.len() {
            return Err(CryptoProblem::KeyKind(bytes.len()));
        }
        key.copy_from_slice(bytes);
        Ok(Self(key))
    }

    /// Ready to decrypt with.
    pub fn expand(&self) -> SymmetricKey {
        SymmetricKey::new(&self.0)
    }

    /// EXPOSE: for the sealed files of a cache.
    pub fn expose(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Debug for OrganizationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OrganizationKey([redacted])")
    }
}

impl fmt::Debug for SymmetricKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SymmetricKey([redacted])")
    }
}
