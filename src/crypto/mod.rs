//! Bitwarden's cryptography, as far as Secrets Manager needs it. Pure: no I/O, no clock.
//!
//! A secret's field is an [`EncString`] under the organization key; the organization key comes in the
//! login answer, as an `EncString` under a key derived from the access token. What is kept on disk is
//! under a [`CacheKey`], which is derived from the token too, in another way.

mod aes_cbc_hmac;
mod cache_key;
pub(crate) mod derive;
mod enc_string;
mod key;

pub use cache_key::{CacheKey, Salt, TAG_LENGTH};
pub use derive::token_key;
pub use enc_string::EncString;
pub use key::{OrganizationKey, SymmetricKey};

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Base64 as Bitwarden's clients read it: standard alphabet, padding optional or in excess, spare
/// bits in the last character ignored, no white space.
pub fn decode_base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::RequireNone)
            .with_decode_allow_trailing_bits(true),
    );
    let text = text.trim_end_matches('=');
    let mut bytes = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
    let length = LENIENT.decode_slice(text, &mut bytes).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

/// A name for something that is not secret, of a fixed length: the first half of its SHA-256.
pub fn fingerprint(bytes: &[u8]) -> [u8; 16] {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    std::array::from_fn(|index| digest[index])
}
