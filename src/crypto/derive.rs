//! HKDF-SHA256 (RFC 5869).

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::SymmetricKey;

/// `HKDF-SHA256(salt = "bitwarden-accesstoken", ikm = secret, info = "sm-access-token", L = 64)`:
/// the key that opens the login answer.
pub fn token_key(secret: &[u8; 16]) -> SymmetricKey {
    SymmetricKey::new(&token_key_bytes(secret))
}

pub(crate) fn token_key_bytes(secret: &[u8; 16]) -> Zeroizing<[u8; 64]> {
    expand(b"bitwarden-accesstoken", secret, b"sm-access-token")
}

fn expand(salt: &[u8], secret: &[u8], info: &[u8]) -> Zeroizing<[u8; 64]> {
    let mut output = Zeroizing::new([0; 64]);
    Hkdf::<Sha256>::new(Some(salt), secret)
        .expand(info, &mut *output)
        .expect("64 bytes are fewer than the 255 * 32 that HKDF can give");
    output
}
