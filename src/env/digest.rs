//! Whether two environments differ in what was injected, told without keeping either.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{EnvPlan, Value};

/// Of what this run injects: names, values, the content of files. Keyed, because a plain digest of a short
/// value can be guessed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl EnvPlan {
    pub fn digest(&self, key: &[u8; 64]) -> Digest {
        let mut mac = Hmac::<Sha256>::new(&(*key).into());
        for variable in &self.variables {
            // EXPOSE: into the digest.
            let (kind, value) = match &variable.value {
                Value::Given { value, .. } => (0, value.expose()),
                Value::File { content, .. } => (1, content.expose()),
                Value::Inherited(_) => continue,
            };
            mac.update(&[kind]);
            for part in [&variable.name[..], value] {
                // The lengths keep the end of one from being the beginning of the next.
                mac.update(&(part.len() as u64).to_be_bytes());
                mac.update(part);
            }
        }
        Digest(mac.finalize().into_bytes().into())
    }
}
