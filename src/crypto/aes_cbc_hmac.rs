//! AES-256-CBC with PKCS#7 and HMAC-SHA256 over `iv || ciphertext`, encrypt-then-MAC.

use aes::cipher::{BlockModeDecrypt, InnerIvInit, block_padding::Pkcs7};
use hmac::Mac;
use zeroize::Zeroizing;

use super::SymmetricKey;
use crate::error::CryptoProblem;

/// Decrypts in place and returns the same buffer. The MAC is checked first and in constant time
/// (`verify_slice`), so that nothing is ever decrypted that was not made with this key.
pub fn decrypt(
    key: &SymmetricKey,
    iv: &[u8; 16],
    mut buffer: Zeroizing<Vec<u8>>,
    mac: &[u8; 32],
) -> Result<Zeroizing<Vec<u8>>, CryptoProblem> {
    let mut hmac = key.mac.clone();
    hmac.update(iv);
    hmac.update(&buffer);
    hmac.verify_slice(mac).map_err(|_| CryptoProblem::Failed)?;

    let length = cbc::Decryptor::inner_iv_init(key.cipher.clone(), iv.into())
        .decrypt_padded::<Pkcs7>(&mut buffer)
        .map_err(|_| CryptoProblem::Failed)?
        .len();
    buffer.truncate(length);
    Ok(buffer)
}
