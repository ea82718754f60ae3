//! The human owner: holds the organization key and administers the vault past its API.
//!
//! In the real service this is the web vault in somebody's browser. Everything is encrypted here,
//! before the store sees it. Wrong ids are mistakes of the caller and panic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use uuid::Uuid;

use super::crypto::{self, Key};
use super::date::{Clock, Timestamp};
use super::store::{Access, Account, Project, Secret, State, Store, Token};

pub struct Owner {
    key: Key,
    store: Arc<Store>,
    clock: Arc<Clock>,
}

/// An access token to be made. What is not given is random, or as the service does it.
#[derive(Default)]
pub struct NewToken {
    pub name: String,
    pub expires_in: Option<Duration>,
    pub id: Option<Uuid>,
    pub client_secret: Option<String>,
    pub key: Option<[u8; 16]>,
    pub payload: Payload,
}

/// What a login gives as `encrypted_payload`.
#[derive(Default)]
pub enum Payload {
    /// The organization key under the token's.
    #[default]
    OrganizationKey,
    /// Something else under the token's key.
    Plaintext(Vec<u8>),
    /// Any text at all.
    Raw(String),
    Missing,
}

/// A secret as its owner reads it. Texts under another key are `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainSecret {
    pub id: Uuid,
    pub key: Option<String>,
    pub value: Option<String>,
    pub note: Option<String>,
    pub projects: Vec<Uuid>,
}

/// What the owner sees of a token; the token itself was shown once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedToken {
    pub id: Uuid,
    pub account: Uuid,
    pub name: Option<String>,
    pub expires: Option<Timestamp>,
}

impl Owner {
    pub fn new(key: Key, store: Arc<Store>, clock: Arc<Clock>) -> Self {
        Self { key, store, clock }
    }

    /// The EncString of `plaintext` under the organization key.
    pub fn encrypt(&self, plaintext: impl AsRef<[u8]>) -> String {
        self.key.encrypt(plaintext.as_ref())
    }

    /// The text of an EncString, if it is one under the organization key.
    pub fn decrypt(&self, text: &str) -> Option<String> {
        String::from_utf8(self.key.decrypt(text)?).ok()
    }

    pub fn key(&self) -> &Key {
        &self.key
    }

    pub fn organization_id(&self) -> Uuid {
        self.with(|state, _| state.organization.id)
    }

    /// A disabled organization's tokens do not log in any more.
    pub fn set_organization_enabled(&self, enabled: bool) {
        self.with(|state, _| state.organization.enabled = enabled);
    }

    /// A copy of all the server has.
    pub fn state(&self) -> State {
        self.with(|state, _| state.clone())
    }

    // Projects.

    pub fn create_project(&self, name: &str) -> Uuid {
        self.create_project_raw(&self.encrypt(name))
    }

    /// A project whose name is any text, encrypted or not.
    pub fn create_project_raw(&self, name: &str) -> Uuid {
        let id = crypto::random_uuid();
        self.with(|state, now| {
            state.projects.insert(id, Project { name: name.to_owned(), created: now, revised: now });
        });
        id
    }

    pub fn rename_project(&self, project: Uuid, name: &str) {
        self.rename_project_raw(project, &self.encrypt(name));
    }

    pub fn rename_project_raw(&self, project: Uuid, name: &str) {
        self.with(|state, now| {
            let project = state.projects.get_mut(&project).expect("the project exists");
            project.name = name.to_owned();
            project.revised = now;
        });
    }

    pub fn delete_project(&self, project: Uuid) {
        self.with(|state, now| state.remove_project(project, now));
    }

    pub fn projects(&self) -> BTreeMap<Uuid, Option<String>> {
        self.with(|state, _| {
            state.projects.iter().map(|(id, project)| (*id, self.decrypt(&project.name))).collect()
        })
    }

    // Secrets.

    pub fn create_secret(&self, project: Uuid, key: &str, value: impl AsRef<[u8]>) -> Uuid {
        self.create_secret_in(&[project], key, value, "")
    }

    /// A secret with a note, in any number of projects.
    pub fn create_secret_in(
        &self,
        projects: &[Uuid],
        key: &str,
        value: impl AsRef<[u8]>,
        note: &str,
    ) -> Uuid {
        self.create_secret_raw(projects, &self.encrypt(key), &self.encrypt(value), &self.encrypt(note))
    }

    /// A secret of any three texts, encrypted or not.
    pub fn create_secret_raw(&self, projects: &[Uuid], key: &str, value: &str, note: &str) -> Uuid {
        let id = crypto::random_uuid();
        self.with(|state, now| {
            assert!(
                projects.iter().all(|project| state.projects.contains_key(project)),
                "the projects exist"
            );
            let (key, value, note) = (key.to_owned(), value.to_owned(), note.to_owned());
            let projects: BTreeSet<Uuid> = projects.iter().copied().collect();
            state.put_secret(id, Secret { key, value, note, projects, created: now, revised: now });
        });
        id
    }

    pub fn update_secret(&self, secret: Uuid, value: impl AsRef<[u8]>) {
        let value = self.encrypt(value);
        self.edit_secret(secret, |secret| secret.value = value);
    }

    pub fn rename_secret(&self, secret: Uuid, key: &str) {
        let key = self.encrypt(key);
        self.edit_secret(secret, |secret| secret.key = key);
    }

    pub fn move_secret(&self, secret: Uuid, projects: &[Uuid]) {
        self.edit_secret(secret, |secret| secret.projects = projects.iter().copied().collect());
    }

    /// Changes a secret's texts as they are stored.
    pub fn edit_secret(&self, secret: Uuid, edit: impl FnOnce(&mut Secret)) {
        self.with(|state, now| {
            let mut edited = state.secrets.get(&secret).expect("the secret exists").clone();
            edit(&mut edited);
            edited.revised = now;
            state.put_secret(secret, edited);
        });
    }

    pub fn delete_secret(&self, secret: Uuid) {
        self.with(|state, now| state.remove_secret(secret, now));
    }

    pub fn secrets(&self) -> Vec<PlainSecret> {
        let plain = |(id, secret): (&Uuid, &Secret)| PlainSecret {
            id: *id,
            key: self.decrypt(&secret.key),
            value: self.decrypt(&secret.value),
            note: self.decrypt(&secret.note),
            projects: secret.projects.iter().copied().collect(),
        };
        self.with(|state, _| state.secrets.iter().map(plain).collect())
    }

    // Machine accounts.

    pub fn create_account(&self, name: &str) -> Uuid {
        let id = crypto::random_uuid();
        let name = self.encrypt(name);
        self.with(|state, now| {
            state.accounts.insert(id, Account { name, grants: BTreeMap::new(), revised: now });
        });
        id
    }

    pub fn delete_account(&self, account: Uuid) {
        self.with(|state, _| {
            state.accounts.remove(&account);
            state.tokens.retain(|_, token| token.account != account);
        });
    }

    pub fn accounts(&self) -> BTreeMap<Uuid, Option<String>> {
        self.with(|state, _| {
            state.accounts.iter().map(|(id, account)| (*id, self.decrypt(&account.name))).collect()
        })
    }

    pub fn grant(&self, account: Uuid, project: Uuid, access: Access) {
        self.with(|state, now| {
            assert!(state.projects.contains_key(&project), "the project exists");
            let account = state.accounts.get_mut(&account).expect("the account exists");
            account.grants.insert(project, access);
            account.revised = now;
        });
    }

    pub fn ungrant(&self, account: Uuid, project: Uuid) {
        self.with(|state, now| {
            let account = state.accounts.get_mut(&account).expect("the account exists");
            account.grants.remove(&project);
            account.revised = now;
        });
    }

    // Access tokens.

    /// Makes an access token. This is the only time it is seen.
    pub fn create_token(&self, account: Uuid, name: &str, expires_in: Option<Duration>) -> String {
        self.create_token_from(account, NewToken { name: name.to_owned(), expires_in, ..NewToken::default() })
    }

    pub fn create_token_from(&self, account: Uuid, new: NewToken) -> String {
        let id = new.id.unwrap_or_else(crypto::random_uuid);
        let client_secret = new.client_secret.unwrap_or_else(crypto::random_client_secret);
        let key = new.key.unwrap_or_else(crypto::random_bytes);
        let token = Token {
            account,
            name: self.encrypt(&new.name),
            secret_hash: crypto::secret_hash(&client_secret),
            expires: None,
            encrypted_payload: self.payload(&key, new.payload),
        };
        self.with(|state, now| {
            assert!(state.accounts.contains_key(&account), "the account exists");
            let expires = new.expires_in.map(|life| now.plus(life));
            state.tokens.insert(id, Token { expires, ..token });
        });
        format!("0.{id}.{client_secret}:{}", STANDARD.encode(key))
    }

    /// Removes a token, given whole or by its id. Bearers it got stay valid.
    pub fn revoke_token(&self, token: &str) {
        let id = token_id(token);
        self.with(|state, _| state.tokens.remove(&id)).expect("the token exists");
    }

    /// Changes what the logins of a token get, which must be given whole.
    pub fn set_payload(&self, token: &str, payload: Payload) {
        let key = token.rsplit_once(':').and_then(|(_, key)| STANDARD.decode(key).ok()?.try_into().ok());
        let payload = self.payload(&key.expect("the token has a key"), payload);
        let id = token_id(token);
        self.with(|state, _| {
            state.tokens.get_mut(&id).expect("the token exists").encrypted_payload = payload
        });
    }

    pub fn tokens(&self) -> Vec<IssuedToken> {
        let issued = |(id, token): (&Uuid, &Token)| IssuedToken {
            id: *id,
            account: token.account,
            name: self.decrypt(&token.name),
            expires: token.expires,
        };
        self.with(|state, _| state.tokens.iter().map(issued).collect())
    }

    fn payload(&self, token_key: &[u8; 16], payload: Payload) -> Option<String> {
        let under_token_key = |plaintext: &[u8]| Some(Key::of_token(token_key).encrypt(plaintext));
        match payload {
            Payload::OrganizationKey => {
                under_token_key(json!({ "encryptionKey": self.key.to_base64() }).to_string().as_bytes())
            }
            Payload::Plaintext(plaintext) => under_token_key(&plaintext),
            Payload::Raw(text) => Some(text),
            Payload::Missing => None,
        }
    }

    fn with<R>(&self, use_state: impl FnOnce(&mut State, Timestamp) -> R) -> R {
        let now = self.clock.now();
        self.store.with(|state| use_state(state, now)).expect("the state file can be read and written")
    }
}

impl NewToken {
    /// A token with the parts of one that is written down.
    pub fn like(token: &str) -> Option<Self> {
        let (left, key) = token.split_once(':')?;
        let (left, client_secret) = left.rsplit_once('.')?;
        Some(Self {
            id: left.strip_prefix("0.")?.parse().ok(),
            client_secret: Some(client_secret.to_owned()),
            key: Some(STANDARD.decode(key).ok()?.try_into().ok()?),
            ..Self::default()
        })
    }
}

fn token_id(token: &str) -> Uuid {
    token.split('.').find_map(|part| part.parse().ok()).expect("a token or its id")
}
