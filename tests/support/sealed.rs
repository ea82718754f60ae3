//! Opens and makes files of the cache, as `src/cache/envelope.rs` and `src/cache/codec.rs` describe
//! them. Written apart from the launcher's own code: where both agree, each is a check of the other.

use std::time::{Duration, SystemTime};

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hkdf::Hkdf;
use sha2::Sha256;

use super::Scenario;
use super::vault::crypto::random_bytes;

const HEADER: usize = 42;
const TAG: usize = 16;
const STAMP: usize = 41;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Snapshot,
    Session,
}

/// Which of the moments in a snapshot; a session has only the last, and has it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Began,
    Fetched,
    Proved,
}

/// Whoever holds the token and knows the servers.
pub struct Sealer {
    secret: Vec<u8>,
    binding: Vec<u8>,
}

impl Sealer {
    pub fn of(scenario: &Scenario) -> Self {
        let (left, key) = scenario.token.split_once(':').expect("a token has a key");
        let parts: Vec<&str> = left.split('.').collect();
        let mut secret = STANDARD.decode(key).expect("the key is Base64");
        secret.extend_from_slice(parts[2].as_bytes());
        let mut binding = Vec::new();
        // A URL has a path, if only the shortest one.
        let [identity, api] =
            [scenario.vault.identity_url(), scenario.vault.api_url()].map(|url| format!("{url}/"));
        for text in [identity.as_str(), api.as_str(), parts[1]] {
            binding.extend_from_slice(&(text.len() as u64).to_le_bytes());
            binding.extend_from_slice(text.as_bytes());
        }
        Self { secret, binding }
    }

    /// What its files are called, up to the dot.
    pub fn name(&self) -> String {
        self.expand::<16>(b"bws-exec cache name", &self.binding).map(|byte| format!("{byte:02x}")).concat()
    }

    /// The content of a file, if this token made it.
    pub fn open(&self, kind: Kind, file: &[u8]) -> Option<Vec<u8>> {
        let (header, rest) = file.split_at_checked(HEADER)?;
        let (body, tag) = rest.split_at_checked(rest.len().checked_sub(TAG)?)?;
        if header[..10] != head(kind) || body.len() < 16_384 || !body.len().is_power_of_two() {
            return None;
        }
        let (cipher, nonce) = self.cipher(kind, &header[10..]);
        let mut body = body.to_vec();
        let tag: [u8; TAG] = tag.try_into().ok()?;
        let header = [header, &self.binding].concat();
        cipher
            .decrypt_inout_detached(&nonce.into(), &header, body.as_mut_slice().into(), &tag.into())
            .ok()?;
        let length = usize::try_from(u64::from_le_bytes(body[..8].try_into().ok()?)).ok()?;
        assert!(body[8 + length..].iter().all(|&byte| byte == 0), "what follows the content is zeros");
        Some(body[8..8 + length].to_vec())
    }

    pub fn seal(&self, kind: Kind, content: &[u8]) -> Vec<u8> {
        let mut body = (content.len() as u64).to_le_bytes().to_vec();
        body.extend_from_slice(content);
        body.resize(body.len().max(16_384).next_power_of_two(), 0);
        let header = [&head(kind)[..], &random_bytes::<32>()].concat();
        let (cipher, nonce) = self.cipher(kind, &header[10..]);
        let bound = [&header[..], &self.binding].concat();
        let tag = cipher
            .encrypt_inout_detached(&nonce.into(), &bound, body.as_mut_slice().into())
            .expect("it can be encrypted");
        [&header[..], &body, &tag].concat()
    }

    fn cipher(&self, kind: Kind, salt: &[u8]) -> (Aes256Gcm, [u8; 12]) {
        let purpose: &[u8] = match kind {
            Kind::Snapshot => b"bws-exec cache v1 snapshot",
            Kind::Session => b"bws-exec cache v1 session",
        };
        let output: [u8; 44] = self.expand(salt, purpose);
        let key = Aes256Gcm::new_from_slice(&output[..32]).expect("32 bytes are a key");
        (key, output[32..].try_into().expect("12 bytes are left"))
    }

    fn expand<const N: usize>(&self, salt: &[u8], info: &[u8]) -> [u8; N] {
        let mut output = [0; N];
        Hkdf::<Sha256>::new(Some(salt), &self.secret).expand(info, &mut output).expect("N is small");
        output
    }
}

fn head(kind: Kind) -> [u8; 10] {
    *match kind {
        Kind::Snapshot => b"bws-exec\x01\x01",
        Kind::Session => b"bws-exec\x01\x02",
    }
}

/// Puts a moment so long before now, or after it, on the wall clock, and takes away the boot it
/// belongs to, so that the wall clock alone counts.
pub fn set(content: &mut [u8], kind: Kind, moment: Moment, before: Duration, after: Duration) {
    let at = match (kind, moment) {
        (Kind::Session, _) => 0,
        (Kind::Snapshot, moment) => moment as usize * STAMP,
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970");
    content[at..at + 8].copy_from_slice(&(now + after - before).as_secs().to_le_bytes());
    content[at + 8..at + 12].fill(0);
    content[at + 24] = 0;
}

/// The bearer of a session.
pub fn bearer(session: &[u8]) -> String {
    let at = STAMP + 8 + 16 + 64;
    let length = u32::from_le_bytes(session[at..at + 4].try_into().expect("four bytes")) as usize;
    assert_eq!(session.len(), at + 4 + length, "the bearer is the last");
    String::from_utf8(session[at + 4..].to_vec()).expect("it is text")
}

/// The 64 bytes of the organization's key.
pub fn organization_key(session: &[u8]) -> &[u8] {
    &session[STAMP + 24..STAMP + 24 + 64]
}
