//! The key under which a cache directory holds what a token can read: AES-256-GCM and HKDF-SHA256.

use std::fmt;

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::error::CryptoProblem;

/// What follows the ciphertext.
pub const TAG_LENGTH: usize = 16;
/// Fresh for each file that is written.
pub type Salt = [u8; 32];

/// Made from all of a token that is secret, so that a token with one wrong character neither opens nor
/// so much as finds what belongs to the right one. It never encrypts anything itself.
#[derive(PartialEq)]
pub struct CacheKey(Zeroizing<Vec<u8>>);

impl CacheKey {
    pub fn new(client_secret: &str, encryption_key: &[u8; 16]) -> Self {
        // The fixed length comes first, so that no two tokens give one text.
        let mut secret = Zeroizing::new(Vec::with_capacity(encryption_key.len() + client_secret.len()));
        secret.extend_from_slice(encryption_key);
        secret.extend_from_slice(client_secret.as_bytes());
        Self(secret)
    }

    /// A name for the files of this token, from which nothing can be learnt about it.
    pub fn name(&self, purpose: &[u8]) -> [u8; 16] {
        let mut name = [0; 16];
        self.expand(b"bws-exec cache name", purpose, &mut name);
        name
    }

    /// Encrypts in place and returns the tag. With a random salt each key is used once, so that its
    /// nonce, derived with it, cannot repeat.
    pub fn encrypt(
        &self,
        salt: &Salt,
        purpose: &[u8],
        header: &[u8],
        buffer: &mut [u8],
    ) -> Option<[u8; TAG_LENGTH]> {
        let (cipher, nonce) = self.cipher(salt, purpose);
        let tag = cipher.encrypt_inout_detached(&nonce.into(), header, buffer.into()).ok()?;
        Some(tag.into())
    }

    /// Decrypts in place, if header, ciphertext and tag are as they were made with this key.
    pub fn decrypt(
        &self,
        salt: &Salt,
        purpose: &[u8],
        header: &[u8],
        buffer: &mut [u8],
        tag: &[u8; TAG_LENGTH],
    ) -> Result<(), CryptoProblem> {
        let (cipher, nonce) = self.cipher(salt, purpose);
        cipher
            .decrypt_inout_detached(&nonce.into(), header, buffer.into(), tag.into())
            .map_err(|_| CryptoProblem::Failed)
    }

    fn cipher(&self, salt: &Salt, purpose: &[u8]) -> (Aes256Gcm, [u8; 12]) {
        let mut output = Zeroizing::new([0; 44]);
        self.expand(salt, purpose, &mut *output);
        let (key, rest) = output.split_at(32);
        let mut nonce = [0; 12];
        nonce.copy_from_slice(rest);
        (Aes256Gcm::new_from_slice(key).expect("32 bytes are an AES-256 key"), nonce)
    }

    fn expand(&self, salt: &[u8], purpose: &[u8], output: &mut [u8]) {
        Hkdf::<Sha256>::new(Some(salt), &self.0)
            .expand(purpose, output)
            .expect("fewer bytes than the 255 * 32 that HKDF can give");
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CacheKey([redacted])")
    }
}
