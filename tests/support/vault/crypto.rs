//! The vault's own cryptography: keys, EncStrings of type 2 and the hash of a client secret.
//!
//! It is written apart from the launcher's on purpose: where both agree, each is a check of the
//! other. Keys here protect test data only, so nothing is wiped.

use aes::Aes256;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// An AES-256 key and an HMAC-SHA256 key, as every 64-byte Bitwarden key is.
#[derive(Clone)]
pub struct Key([u8; 64]);

impl Key {
    pub fn random() -> Self {
        Self(random_bytes())
    }

    pub fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The 64 bytes as base64, or nothing if the text is not that.
    pub fn from_base64(text: &str) -> Option<Self> {
        Some(Self(STANDARD.decode(text).ok()?.try_into().ok()?))
    }

    /// The key that an access token's 16 secret bytes stand for.
    pub fn of_token(secret: &[u8; 16]) -> Self {
        let mut okm = [0; 64];
        hkdf::Hkdf::<Sha256>::new(Some(b"bitwarden-accesstoken"), secret)
            .expand(b"sm-access-token", &mut okm)
            .expect("HKDF-SHA256 gives up to 8160 bytes");
        Self(okm)
    }

    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// The EncString of `plaintext` under a new iv.
    pub fn encrypt(&self, plaintext: &[u8]) -> String {
        self.encrypt_with_iv(plaintext, random_bytes())
    }

    /// As [`Key::encrypt`], for a ciphertext that must be the same every time.
    pub fn encrypt_with_iv(&self, plaintext: &[u8], iv: [u8; 16]) -> String {
        let (enc, _) = self.halves();
        let ciphertext =
            cbc::Encryptor::<Aes256>::new(&enc.into(), &iv.into()).encrypt_padded_vec::<Pkcs7>(plaintext);
        let mac = self.mac(&iv, &ciphertext).finalize().into_bytes();
        format!("2.{}|{}|{}", STANDARD.encode(iv), STANDARD.encode(ciphertext), STANDARD.encode(mac))
    }

    /// The plaintext of an EncString of type 2, if this key made it.
    pub fn decrypt(&self, text: &str) -> Option<Vec<u8>> {
        let mut parts = text.strip_prefix("2.")?.split('|').map(|part| STANDARD.decode(part).ok());
        let (iv, ciphertext, mac) = (parts.next()??, parts.next()??, parts.next()??);
        self.mac(&iv, &ciphertext).verify_slice(&mac).ok()?;
        let iv: [u8; 16] = iv.try_into().ok()?;
        let (enc, _) = self.halves();
        cbc::Decryptor::<Aes256>::new(&enc.into(), &iv.into()).decrypt_padded_vec::<Pkcs7>(&ciphertext).ok()
    }

    fn mac(&self, iv: &[u8], ciphertext: &[u8]) -> Hmac<Sha256> {
        let (_, mac) = self.halves();
        let mut hmac = Hmac::<Sha256>::new_from_slice(&mac).expect("HMAC takes a key of any length");
        hmac.update(iv);
        hmac.update(ciphertext);
        hmac
    }

    fn halves(&self) -> ([u8; 32], [u8; 32]) {
        let (mut enc, mut mac) = ([0; 32], [0; 32]);
        enc.copy_from_slice(&self.0[..32]);
        mac.copy_from_slice(&self.0[32..]);
        (enc, mac)
    }
}

/// What the server keeps of a client secret.
pub fn secret_hash(client_secret: &str) -> String {
    STANDARD.encode(Sha256::digest(client_secret))
}

/// Whether the server takes a text as encrypted: a known type and its number of base64 parts.
/// It holds no key, so it can know no more than that.
pub fn looks_encrypted(text: &str) -> bool {
    let (kind, body) = match text.split_once('.') {
        Some((kind, body)) => (kind, body),
        None if text.split('|').count() == 3 => ("1", text),
        None => ("0", text),
    };
    let parts = match kind {
        "0" | "5" | "6" => 2,
        "1" | "2" => 3,
        "3" | "4" | "7" => 1,
        _ => return false,
    };
    body.split('|').count() == parts
        && body.split('|').all(|part| !part.is_empty() && STANDARD.decode(part).is_ok())
}

pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

pub fn random_uuid() -> Uuid {
    uuid::Builder::from_random_bytes(random_bytes()).into_uuid()
}

/// A client secret as the server makes them: 30 letters and digits.
pub fn random_client_secret() -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    random_bytes::<30>().iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % 62])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN_SECRET: [u8; 16] =
        [0x5f, 0xcb, 0xdb, 0xbc, 0x0d, 0x1b, 0x76, 0xe8, 0xa1, 0x20, 0x37, 0xbf, 0xaa, 0xbc, 0xc8, 0x41];
    const TOKEN_KEY: &str =
        "H9/oIRLtL9nGCQOVDjSMoEbJsjWXSOCb3qeyDt6ckzS3FhyboEDWyTP/CQfbIszNmAVg2ExFganG1FVFGXO/Jg==";
    const ORGANIZATION_KEY: &str =
        "k/6PcwG7Hm/eZfvvOvP6EqGx1JKgbzYrWwpOIHsxbJHQMpIMg5Ud94AQHduSR+XMMaFiSB+nszbO4JPXj04YwA==";

    #[test]
    fn keys_and_ciphertexts_are_bitwardens() {
        assert_eq!(Key::of_token(&TOKEN_SECRET).to_base64(), TOKEN_KEY);
        let key = Key::from_base64(ORGANIZATION_KEY).expect("64 bytes");
        let text = "2.pMS6/icTQABtulw52pq2lg==|XXbxKxDTh+mWiN1HjH2N1w==|Q6PkuT+KX/axrgN9ubD5Ajk2YNwxQkgs3WJM0S0wtG8=";
        assert_eq!(key.decrypt(text).as_deref(), Some(b"TEST".as_slice()));
        let iv = std::array::from_fn(|index| u8::try_from(index).expect("below 16"));
        let empty = "2.AAECAwQFBgcICQoLDA0ODw==|t5CRZfm/UGy3ikJdRZxKnw==|qAps4AM+dnkLvjnrvqtlN2zV6K2TIWJIqEUYfrtBojk=";
        assert_eq!(key.encrypt_with_iv(b"", iv), empty);
        assert_eq!(Key::random().decrypt(text), None);
    }

    #[test]
    fn only_known_forms_look_encrypted() {
        assert!(looks_encrypted(&Key::random().encrypt(b"value")));
        for text in ["", "value", "2.AA==|AA==", "8.AA==", "2.AA==|not base64|AA=="] {
            assert!(!looks_encrypted(text), "{text}");
        }
    }
}
