//! What a token can read at one moment: the secrets, still encrypted but for their keys, and the
//! organization key that opens them. Values are decrypted only for what is used; notes never are.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::crypto::{EncString, SymmetricKey};
use crate::error::{CryptoProblem, Error};
use crate::ids::{ProjectId, SecretId};
use crate::secret::SecretValue;

/// A secret as the server gives it.
pub struct EncryptedSecret {
    pub id: SecretId,
    pub key: String,
    pub value: String,
    pub projects: Vec<EncryptedProject>,
}

impl fmt::Debug for EncryptedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptedSecret({})", self.id)
    }
}

/// A project as it hangs on a secret. Some answers leave the name out.
pub struct EncryptedProject {
    pub id: ProjectId,
    pub name: Option<String>,
}

/// A secret whose key is readable; its value still is a ciphertext.
pub struct Secret {
    pub id: SecretId,
    pub key: Result<String, CryptoProblem>,
    value: String,
    pub project_ids: Vec<ProjectId>,
}

/// How a snapshot came here. What is done with it does not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Fetched by this run, or by another one that began to while this one waited.
    Fetched,
    /// The sealed copy of an earlier run: so long ago it was fetched, and so long ago was the login
    /// behind it.
    Copied { fetched: Duration, proved: Duration },
}

/// Everything one fetch brought.
pub struct Snapshot {
    pub secrets: Vec<Secret>,
    /// Names of the projects seen; `None` where a name could not be decrypted.
    pub projects: BTreeMap<ProjectId, Option<String>>,
    pub freshness: Freshness,
    key: SymmetricKey,
}

impl Snapshot {
    /// Decrypts keys and project names. What cannot be decrypted stays in the list, marked.
    pub fn new(key: SymmetricKey, encrypted: Vec<EncryptedSecret>, freshness: Freshness) -> Self {
        let text = |text: &str| -> Result<String, CryptoProblem> {
            let mut plaintext = EncString::decrypt_text(text, &key)?;
            String::from_utf8(std::mem::take(&mut plaintext)).map_err(|_| CryptoProblem::NotUtf8)
        };
        let mut projects = BTreeMap::new();
        let secrets = encrypted
            .into_iter()
            .map(|secret| {
                for project in &secret.projects {
                    let name = projects.entry(project.id).or_insert(None);
                    if name.is_none() {
                        *name = project.name.as_deref().and_then(|name| text(name).ok());
                    }
                }
                Secret {
                    id: secret.id,
                    key: text(&secret.key),
                    value: secret.value,
                    project_ids: secret.projects.iter().map(|project| project.id).collect(),
                }
            })
            .collect();
        Self { secrets, projects, freshness, key }
    }

    /// The value of one secret of this snapshot.
    pub fn value(&self, secret: &Secret) -> Result<SecretValue, Error> {
        EncString::decrypt_text(&secret.value, &self.key)
            .map(SecretValue::new)
            .map_err(|problem| self.undecryptable(secret, "value", problem))
    }

    /// The same, whether it is text or not.
    pub fn content(&self, secret: &Secret) -> Result<SecretValue, Error> {
        EncString::parse(&secret.value)
            .and_then(|text| text.decrypt(&self.key))
            .map(SecretValue::new)
            .map_err(|problem| self.undecryptable(secret, "value", problem))
    }

    /// The error for a part of a secret that cannot be read.
    pub fn undecryptable(&self, secret: &Secret, part: &'static str, problem: CryptoProblem) -> Error {
        Error::Undecryptable { secret: self.describe(secret), part, problem }
    }

    /// The secret as people know it: key, id and projects. Never its value.
    pub fn describe(&self, secret: &Secret) -> String {
        let key = secret.key.as_ref().map(|key| format!("'{key}', ")).unwrap_or_default();
        let projects: Vec<String> = secret.project_ids.iter().map(|&id| self.project_name(id)).collect();
        let projects = match &projects[..] {
            [] => "in no project".to_owned(),
            [one] => format!("in project {one}"),
            many => format!("in projects {}", many.join(", ")),
        };
        format!("secret {key}id {}, {projects}", secret.id)
    }

    /// A project's name, or its id where the name is not known.
    pub fn project_name(&self, id: ProjectId) -> String {
        match self.projects.get(&id) {
            Some(Some(name)) => format!("'{name}'"),
            _ => id.to_string(),
        }
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({} secrets)", self.secrets.len())
    }
}

/// A vault made of plaintext, for tests.
#[cfg(test)]
impl Snapshot {
    /// Takes id, key, value and projects of each secret, and encrypts what is text.
    pub fn of(secrets: impl IntoIterator<Item = (u128, String, String, Vec<(u128, String)>)>) -> Self {
        let key = std::array::from_fn(|index| index as u8);
        let encrypt = |text: String| tests::encrypt(&key, text.as_bytes());
        let id = |number: u128| uuid::Uuid::from_u128(number).to_string();
        let encrypted = secrets.into_iter().map(|(number, key, value, projects)| EncryptedSecret {
            id: id(number).parse().expect("an id"),
            key: encrypt(key),
            value: encrypt(value),
            projects: projects
                .into_iter()
                .map(|(number, name)| EncryptedProject {
                    id: id(number).parse().expect("an id"),
                    name: Some(encrypt(name)),
                })
                .collect(),
        });
        Self::new(SymmetricKey::new(&key), encrypted.collect(), Freshness::Fetched)
    }
}

#[cfg(test)]
mod tests {
    use aes::cipher::block_padding::Pkcs7;
    use aes::cipher::{BlockModeEncrypt, KeyIvInit};
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use hmac::{Hmac, KeyInit, Mac};

    /// The reverse of what the launcher ever does. Nothing here is secret, so one iv will do.
    pub fn encrypt(key: &[u8; 64], plaintext: &[u8]) -> String {
        let iv = [7; 16];
        let cipher = cbc::Encryptor::<aes::Aes256>::new_from_slices(&key[..32], &iv).unwrap();
        let ciphertext = cipher.encrypt_padded_vec::<Pkcs7>(plaintext);
        let mac = Hmac::<sha2::Sha256>::new_from_slice(&key[32..]).unwrap();
        let mac = mac.chain_update(iv).chain_update(&ciphertext).finalize().into_bytes();
        format!("2.{}|{}|{}", STANDARD.encode(iv), STANDARD.encode(ciphertext), STANDARD.encode(mac))
    }
}
