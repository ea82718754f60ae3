//! The JSON of Identity and API. Unknown fields are skipped, names of old servers (PascalCase) are
//! understood, and what a future server may leave out is optional where we can do without.

use base64::Engine;
use secrecy::SecretString;
use serde::Deserialize;

use crate::ids::{OrganizationId, ProjectId, SecretId};
use crate::snapshot::{EncryptedProject, EncryptedSecret};

/// Answer of `POST /connect/token`.
#[derive(Deserialize)]
pub struct Login {
    pub access_token: SecretString,
    /// Seconds; OAuth only recommends it (RFC 6749, section 5.1).
    pub expires_in: Option<u64>,
    pub encrypted_payload: Option<String>,
}

/// Refusal of `POST /connect/token` (OAuth), or of the rate limiter in front of it.
#[derive(Deserialize, Default)]
pub struct LoginFailure {
    pub error: Option<String>,
    pub error_description: Option<String>,
}

/// The decrypted payload of a login.
#[derive(Deserialize)]
pub struct Payload {
    #[serde(rename = "encryptionKey")]
    pub encryption_key: SecretString,
}

/// The claims of the bearer that matter. It came over TLS from the server itself, so its signature
/// tells nothing more.
#[derive(Deserialize)]
pub struct Claims {
    pub organization: OrganizationId,
}

impl Claims {
    /// Reads the middle part of a JWT.
    pub fn of(bearer: &str) -> Option<Self> {
        let mut parts = bearer.split('.');
        let (_, Some(claims), Some(_), None) = (parts.next()?, parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let claims =
            base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
        serde_json::from_slice(&claims).ok()
    }
}

/// Answer of `GET …/secrets/sync`.
#[derive(Deserialize)]
pub struct Sync {
    #[serde(alias = "hasChanges", alias = "HasChanges")]
    pub has_changes: Option<bool>,
    #[serde(alias = "Secrets")]
    pub secrets: Option<SecretList>,
}

/// Answer of `POST /secrets/get-by-ids`, and the inside of a sync.
#[derive(Deserialize)]
pub struct SecretList {
    #[serde(alias = "Data")]
    pub data: Vec<Secret>,
}

/// A secret with its value. Notes are skipped without being stored.
#[derive(Deserialize)]
pub struct Secret {
    #[serde(alias = "Id")]
    id: SecretId,
    #[serde(alias = "Key")]
    key: String,
    /// Without it the secret cannot be read; the others can.
    #[serde(alias = "Value")]
    value: Option<String>,
    #[serde(alias = "Projects")]
    projects: Option<Vec<Project>>,
}

#[derive(Deserialize)]
struct Project {
    #[serde(alias = "Id")]
    id: ProjectId,
    #[serde(alias = "Name")]
    name: Option<String>,
}

impl From<Secret> for EncryptedSecret {
    fn from(secret: Secret) -> Self {
        let projects = secret.projects.unwrap_or_default();
        Self {
            id: secret.id,
            key: secret.key,
            value: secret.value.unwrap_or_default(),
            projects: projects
                .into_iter()
                .map(|Project { id, name }| EncryptedProject { id, name })
                .collect(),
        }
    }
}

/// Answer of `GET …/secrets`: ids only matter here.
#[derive(Deserialize)]
pub struct Listing {
    #[serde(alias = "Secrets")]
    pub secrets: Vec<Listed>,
}

#[derive(Deserialize)]
pub struct Listed {
    #[serde(alias = "Id")]
    pub id: SecretId,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_old_servers_are_understood() {
        let text = r#"{"HasChanges":true,"Secrets":{"Data":[{"Id":"ec2c1d46-6a4b-4751-a310-af9601317f2d",
            "Key":"2.a|b|c","Value":"2.d|e|f","Note":null,"Projects":null}]}}"#;
        let sync: Sync = serde_json::from_str(text).unwrap();
        let secret: EncryptedSecret = sync.secrets.unwrap().data.remove(0).into();
        assert_eq!((secret.key.as_str(), secret.value.as_str()), ("2.a|b|c", "2.d|e|f"));
        assert!(secret.projects.is_empty());
    }

    #[test]
    fn claims_need_three_parts_and_an_organization() {
        let encode = |json: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json);
        let good = encode(r#"{"organization":"f4e44a7f-1190-432a-9d4a-af96013127cb","scope":"api.secrets"}"#);
        assert!(Claims::of(&format!("h.{good}.s")).is_some());
        assert!(Claims::of(&format!("h.{good}")).is_none());
        assert!(Claims::of(&format!("h.{}.s", encode("{}"))).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_parsed(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = serde_json::from_slice::<Sync>(&bytes);
            let _ = serde_json::from_slice::<Login>(&bytes);
            let _ = serde_json::from_slice::<Listing>(&bytes);
            let _ = Claims::of(&String::from_utf8_lossy(&bytes));
        }
    }
}
