//! Bitwarden's cryptography, as far as Secrets Manager needs it. Pure: no I/O, no clock.
//!
//! A secret's field is an [`EncString`] under the organization key; the organization key comes in the
//! login answer, as an `EncString` under a key derived from the access token.

mod aes_cbc_hmac;
pub(crate) mod derive;
mod enc_string;
mod key;

pub use derive::token_key;
pub use enc_string::EncString;
pub use key::SymmetricKey;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
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
