//! What the server keeps: ciphertext, hashes and permissions, and never a key of the organization.
//!
//! With a state file, every use of the store is one locked read-modify-write of that file, so a
//! running server and the commands that edit its state see each other's changes at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::crypto;
use super::date::Timestamp;

/// All names, keys, values, notes and payloads are EncString texts.
#[derive(Clone, Serialize, Deserialize)]
pub struct State {
    pub organization: Organization,
    /// The server's own secret, with which it signs bearers.
    pub signing_key: String,
    pub projects: BTreeMap<Uuid, Project>,
    pub secrets: BTreeMap<Uuid, Secret>,
    pub accounts: BTreeMap<Uuid, Account>,
    pub tokens: BTreeMap<Uuid, Token>,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Organization {
    pub id: Uuid,
    pub enabled: bool,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Project {
    pub name: String,
    pub created: Timestamp,
    pub revised: Timestamp,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Secret {
    pub key: String,
    pub value: String,
    pub note: String,
    pub projects: BTreeSet<Uuid>,
    pub created: Timestamp,
    pub revised: Timestamp,
}

/// A machine account.
#[derive(Clone, Serialize, Deserialize)]
pub struct Account {
    pub name: String,
    pub grants: BTreeMap<Uuid, Access>,
    /// What a sync's date is compared with.
    pub revised: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    Read,
    ReadWrite,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Token {
    pub account: Uuid,
    pub name: String,
    /// SHA-256 of the client secret, as base64.
    pub secret_hash: String,
    pub expires: Option<Timestamp>,
    pub encrypted_payload: Option<String>,
}

impl State {
    pub fn new(organization: Uuid) -> Self {
        Self {
            organization: Organization { id: organization, enabled: true },
            signing_key: crypto::Key::random().to_base64(),
            projects: BTreeMap::new(),
            secrets: BTreeMap::new(),
            accounts: BTreeMap::new(),
            tokens: BTreeMap::new(),
        }
    }

    /// What an account may do with a project.
    pub fn access(&self, account: Uuid, project: Uuid) -> Option<Access> {
        self.accounts.get(&account)?.grants.get(&project).copied()
    }

    /// What an account may do with a secret: the best of its projects' grants.
    pub fn access_to_secret(&self, account: Uuid, secret: &Secret) -> Option<Access> {
        let grants = || secret.projects.iter().filter_map(|project| self.access(account, *project));
        grants().find(|access| *access == Access::ReadWrite).or_else(|| grants().next())
    }

    /// The secrets an account can read, oldest revision first.
    pub fn readable_secrets(&self, account: Uuid) -> Vec<(Uuid, &Secret)> {
        let readable = |secret: &Secret| self.access_to_secret(account, secret).is_some();
        let mut secrets: Vec<_> = self
            .secrets
            .iter()
            .filter(|(_, secret)| readable(secret))
            .map(|(id, secret)| (*id, secret))
            .collect();
        secrets.sort_by_key(|(_, secret)| secret.revised);
        secrets
    }

    /// Notes a change in some projects in the accounts that have a grant for one of them.
    pub fn revise_accounts(&mut self, projects: &BTreeSet<Uuid>, now: Timestamp) {
        for account in self.accounts.values_mut() {
            if account.grants.keys().any(|project| projects.contains(project)) {
                account.revised = now;
            }
        }
    }

    pub fn put_secret(&mut self, id: Uuid, secret: Secret) {
        let now = secret.revised;
        let mut touched = secret.projects.clone();
        if let Some(old) = self.secrets.insert(id, secret) {
            touched.extend(old.projects);
        }
        self.revise_accounts(&touched, now);
    }

    pub fn remove_secret(&mut self, id: Uuid, now: Timestamp) {
        if let Some(secret) = self.secrets.remove(&id) {
            self.revise_accounts(&secret.projects, now);
        }
    }

    /// Removes a project. Its secrets stay, outside of it.
    pub fn remove_project(&mut self, id: Uuid, now: Timestamp) {
        self.revise_accounts(&BTreeSet::from([id]), now);
        self.projects.remove(&id);
        for secret in self.secrets.values_mut() {
            secret.projects.remove(&id);
        }
        for account in self.accounts.values_mut() {
            account.grants.remove(&id);
        }
    }
}

/// The state, shared by the server's connections and the owner.
pub struct Store {
    inner: Mutex<Inner>,
    file: Option<PathBuf>,
}

struct Inner {
    state: State,
    /// The state file as it was last read or written here.
    seen: Option<Seen>,
}

struct Seen {
    stamp: (u64, i64, i64, u64),
    text: Vec<u8>,
}

impl Store {
    pub fn in_memory(state: State) -> Self {
        Self { inner: Mutex::new(Inner { state, seen: None }), file: None }
    }

    /// Opens a state file, or makes one of `new` if there is none.
    pub fn open(path: &Path, new: impl FnOnce() -> State) -> io::Result<Self> {
        let _lock = lock(path)?;
        let (state, seen) = match read(path) {
            Ok((state, seen)) => (state, seen),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let state = new();
                let seen = write(path, to_text(&state))?;
                (state, seen)
            }
            Err(error) => return Err(error),
        };
        Ok(Self { inner: Mutex::new(Inner { state, seen: Some(seen) }), file: Some(path.to_owned()) })
    }

    /// Uses the state, as it is in the file now if there is one, and keeps what was changed.
    pub fn with<R>(&self, use_state: impl FnOnce(&mut State) -> R) -> io::Result<R> {
        let mut inner = self.lock();
        let Some(path) = &self.file else { return Ok(use_state(&mut inner.state)) };
        let _lock = lock(path)?;
        if inner.seen.as_ref().map(|seen| seen.stamp) != Some(stamp(path)?) {
            let (state, seen) = read(path)?;
            *inner = Inner { state, seen: Some(seen) };
        }
        let result = use_state(&mut inner.state);
        let text = to_text(&inner.state);
        if inner.seen.as_ref().is_none_or(|seen| seen.text != text) {
            inner.seen = Some(write(path, text)?);
        }
        Ok(result)
    }

    // A panic while the lock was held is a failed test; what it left is still readable.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Locks a file beside `path`: the state file itself is replaced at every write.
fn lock(path: &Path) -> io::Result<File> {
    let lock_path = with_suffix(path, ".lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(lock_path)?;
    file.lock()?;
    Ok(file)
}

fn read(path: &Path) -> io::Result<(State, Seen)> {
    let stamp = stamp(path)?;
    let text = fs::read(path)?;
    let state = serde_json::from_slice(&text).map_err(|error| {
        io::Error::new(io::ErrorKind::InvalidData, format!("not a vault's state file: {error}"))
    })?;
    Ok((state, Seen { stamp, text }))
}

fn write(path: &Path, text: Vec<u8>) -> io::Result<Seen> {
    let new_path = with_suffix(path, ".new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new_path)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&new_path, path)?;
    Ok(Seen { stamp: stamp(path)?, text })
}

fn stamp(path: &Path) -> io::Result<(u64, i64, i64, u64)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
}

fn to_text(state: &State) -> Vec<u8> {
    serde_json::to_vec_pretty(state).expect("a state is plain JSON")
}

/// `path` with something more at the end of its file name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
