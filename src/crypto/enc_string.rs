//! `EncString`: Bitwarden's text form of a ciphertext, `<type>.<base64>|<base64>|…`.

use std::fmt;

use zeroize::Zeroizing;

use super::{SymmetricKey, aes_cbc_hmac, decode_base64};
use crate::error::CryptoProblem;

/// A parsed ciphertext of type 2, the only one that is accepted. Older types have no MAC, type 7
/// needs a kind of key that no organization is known to have; they are named in the error.
pub struct EncString {
    iv: [u8; 16],
    ciphertext: Zeroizing<Vec<u8>>,
    mac: [u8; 32],
}

impl EncString {
    /// Reads the text form. Without a type in front it is type 1 if it has three parts, else type 0.
    pub fn parse(text: &str) -> Result<Self, CryptoProblem> {
        let (kind, body) = match text.split_once('.') {
            Some((kind, body)) if !body.contains('.') => (kind, body),
            Some(_) => return Err(CryptoProblem::Malformed),
            None if text.matches('|').count() == 2 => ("1", text),
            None => ("0", text),
        };
        match kind {
            "2" => {}
            "0" | "1" | "3" | "4" | "5" | "6" | "7" => {
                return Err(CryptoProblem::UnsupportedType(kind.as_bytes()[0] - b'0'));
            }
            _ => return Err(CryptoProblem::UnknownType),
        }
        let mut parts = body.split('|');
        let mut part = || parts.next().and_then(decode_base64).ok_or(CryptoProblem::Malformed);
        let (iv, ciphertext, mac) = (part()?, part()?, part()?);
        if parts.next().is_some() {
            return Err(CryptoProblem::Malformed);
        }
        Ok(Self {
            iv: iv[..].try_into().map_err(|_| CryptoProblem::Malformed)?,
            ciphertext,
            mac: mac[..].try_into().map_err(|_| CryptoProblem::Malformed)?,
        })
    }

    /// The plaintext bytes.
    pub fn decrypt(self, key: &SymmetricKey) -> Result<Zeroizing<Vec<u8>>, CryptoProblem> {
        aes_cbc_hmac::decrypt(key, &self.iv, self.ciphertext, &self.mac)
    }

    /// Parses and decrypts a field of a secret, all of which are text.
    pub fn decrypt_text(text: &str, key: &SymmetricKey) -> Result<Zeroizing<Vec<u8>>, CryptoProblem> {
        let plaintext = Self::parse(text)?.decrypt(key)?;
        match std::str::from_utf8(&plaintext) {
            Ok(_) => Ok(plaintext),
            Err(_) => Err(CryptoProblem::NotUtf8),
        }
    }
}

impl fmt::Debug for EncString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncString({} bytes)", self.ciphertext.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_refused_or_parsed(text in "[0-9.|A-Za-z+/=]{0,80}|\\PC{0,40}") {
            let _ = EncString::parse(&text);
        }

        /// One flipped bit anywhere in iv, ciphertext or MAC is noticed.
        #[test]
        fn a_flipped_bit_is_noticed(position in 0usize..64, bit in 0u8..8) {
            let key = SymmetricKey::new(&std::array::from_fn(|i| i as u8));
            let text = "2.2NokAMS6llUxk26oueMqrA==|6k0QD71SJLy2WEBDkV4esiTrgkP/z7eoSedSesGLGYE=\
                        |PE4sb0jpAwZW+tnyPuW43eeWvSxjvdw3xMJlPGbDlYI=";
            let mut parsed = EncString::parse(text).unwrap();
            match position {
                0..16 => parsed.iv[position] ^= 1 << bit,
                16..32 => parsed.ciphertext[position - 16] ^= 1 << bit,
                _ => parsed.mac[position - 32] ^= 1 << bit,
            }
            prop_assert_eq!(parsed.decrypt(&key).unwrap_err(), CryptoProblem::Failed);
        }
    }
}
