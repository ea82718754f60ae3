//! What is kept from one launch to the next, if a directory is given for it: the only module that
//! writes to disk.
//!
//! | file | what | sealed under |
//! |---|---|---|
//! | `<token>.snapshot` | the secrets, as the server encrypted them, and the key that opens them | the token |
//! | `<token>.session` | the bearer and that key | the token |
//! | `<token>.lock` | nothing: who holds it asks the server for all | |
//! | `<token>.refused` | nothing: it is written anew when the server has refused the token | |
//! | `<server>.limits` | until when the server does not want to be asked | |
//!
//! `<token>` and `<server>` are derived by one-way functions. Only what has failed to be read or
//! written is told here; what follows from it is decided in `source`.

mod codec;
mod directory;
mod envelope;
mod limits;
mod stamp;

pub use directory::{Generation, Lock, Queue, Unusable, path_in};
pub use limits::{Limit, Limits};
pub use stamp::Stamp;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use codec::Encode;
use directory::Directory;
use envelope::{Kind, Owner};

use crate::api::{Servers, Session};
use crate::crypto::{self, OrganizationKey};
use crate::error::Stage;
use crate::ids::OrganizationId;
use crate::random;
use crate::snapshot::EncryptedSecret;
use crate::token::AccessToken;

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Settings {
    pub directory: PathBuf,
    /// A snapshot whose last successful login is older serves for nothing.
    pub max_stale: Duration,
    /// A snapshot fetched less than this ago is used without asking.
    pub max_age: Duration,
    /// Ask nobody.
    pub offline: bool,
    /// Whether the bearer may be kept.
    pub keep_session: bool,
}

/// What one fetch brought, and when.
pub struct SavedSnapshot {
    /// The request was about to be sent.
    pub began: Stamp,
    /// The answer had come.
    pub fetched: Stamp,
    /// The login behind it had succeeded: the last proof that the token is not revoked.
    pub proved: Stamp,
    pub organization: OrganizationId,
    pub key: OrganizationKey,
    pub secrets: Vec<EncryptedSecret>,
}

/// What one login brought, and when.
#[derive(Debug)]
pub struct SavedSession {
    pub proved: Stamp,
    pub session: Session,
}

/// A request takes its time, and the server's clock is not ours.
const BEARER_MARGIN: Duration = Duration::from_secs(60);

impl SavedSession {
    /// Whether the bearer will be accepted, as far as can be told from here.
    pub fn is_alive(&self, now: &Stamp) -> bool {
        self.proved.age(now).is_some_and(|age| age + BEARER_MARGIN < self.session.lifetime)
    }
}

/// Why a file was not read or written.
#[derive(Debug)]
pub struct Problem {
    pub path: PathBuf,
    problem: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.problem)
    }
}

/// The files of one token and one pair of servers.
#[derive(Debug)]
pub struct Cache<'a> {
    directory: Directory,
    owner: Owner<'a>,
    snapshot: String,
    session: String,
    lock: String,
    refused: String,
    limits: String,
}

impl<'a> Cache<'a> {
    /// Opens our directory in the one that was given, or makes it.
    pub fn open(settings: &Settings, servers: &Servers, token: &'a AccessToken) -> Result<Self, Unusable> {
        let servers = [servers.identity.as_str(), servers.api.as_str()];
        let binding = envelope::binding(&[servers[0], servers[1], &token.id.to_string()]);
        let of_token = hex(token.cache_key.name(&binding));
        let of_server = hex(crypto::fingerprint(&envelope::binding(&servers)));
        Ok(Self {
            directory: Directory::open(&settings.directory, !settings.offline)?,
            owner: Owner { key: &token.cache_key, binding },
            snapshot: format!("{of_token}.snapshot"),
            session: format!("{of_token}.session"),
            lock: format!("{of_token}.lock"),
            refused: format!("{of_token}.refused"),
            limits: format!("{of_server}.limits"),
        })
    }

    /// The snapshot, if there is one.
    pub fn snapshot(&self) -> Result<Option<SavedSnapshot>, Problem> {
        self.unseal(&self.snapshot, Kind::Snapshot, codec::snapshot)
    }

    /// The session, if there is one.
    pub fn session(&self) -> Result<Option<SavedSession>, Problem> {
        self.unseal(&self.session, Kind::Session, codec::session)
    }

    /// Which snapshot is there: changes when a launch writes another one.
    pub fn snapshot_generation(&self) -> Option<Generation> {
        self.directory.generation(&self.snapshot)
    }

    pub fn save_snapshot(&self, saved: &SavedSnapshot) -> Result<(), Problem> {
        self.seal(&self.snapshot, Kind::Snapshot, saved)
    }

    pub fn save_session(&self, saved: &SavedSession) -> Result<(), Problem> {
        self.seal(&self.session, Kind::Session, saved)
    }

    /// Which refusal of the token was the last: changes with each.
    pub fn refusal(&self) -> Option<Generation> {
        self.directory.generation(&self.refused)
    }

    /// Deletes everything that the token could open. The mark comes first, so that a launch that
    /// writes at this moment sees it afterwards and deletes what it wrote.
    pub fn forget_all(&self) -> Vec<Problem> {
        let marked = self.directory.write(&self.refused, b"");
        let marked = marked.map_err(|error| self.problem(&self.refused, error));
        [marked, self.forget_snapshot(), self.forget_session()].into_iter().filter_map(Result::err).collect()
    }

    pub fn forget_snapshot(&self) -> Result<(), Problem> {
        self.directory.remove(&self.snapshot).map_err(|error| self.problem(&self.snapshot, error))
    }

    pub fn forget_session(&self) -> Result<(), Problem> {
        self.directory.remove(&self.session).map_err(|error| self.problem(&self.session, error))
    }

    /// The right to ask the server for all launches with this token, unless another has it. `queue`
    /// is our place in front of it, taken at the first try.
    pub fn try_lock(&self, queue: &mut Option<Queue>) -> Result<Option<Lock>, Problem> {
        let tried = match queue {
            Some(queue) => queue.try_lock(),
            None => self.directory.queue(&self.lock).and_then(|new| queue.insert(new).try_lock()),
        };
        tried.map_err(|error| self.problem(&self.lock, error))
    }

    /// What the server has said to any launch of this user.
    pub fn limits(&self) -> Limits {
        let bytes = self.directory.read(&self.limits).ok().flatten().unwrap_or_default();
        Limits::from_text(&String::from_utf8_lossy(&bytes))
    }

    /// Two that write at once may lose one of two limits: the server will say it again.
    pub fn save_limit(&self, stage: Stage, limit: Limit) -> Result<(), Problem> {
        let mut limits = self.limits();
        limits.set(stage, limit);
        let written = self.directory.write(&self.limits, limits.to_text().as_bytes());
        written.map_err(|error| self.problem(&self.limits, error))
    }

    fn unseal<T>(
        &self,
        name: &str,
        kind: Kind,
        decode: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let bytes = self.directory.read(name).map_err(|error| self.problem(name, error))?;
        let Some(bytes) = bytes else { return Ok(None) };
        let mut bytes = zeroize::Zeroizing::new(bytes);
        let content =
            envelope::open(&self.owner, kind, &mut bytes).map_err(|error| self.problem(name, error))?;
        match decode(content) {
            Some(saved) => Ok(Some(saved)),
            None => Err(self.problem(name, "its content is not what this version writes")),
        }
    }

    fn seal(&self, name: &str, kind: Kind, content: &impl Encode) -> Result<(), Problem> {
        let write = |buffer: &mut [u8]| content.write(buffer);
        let sealed = random::bytes().and_then(|salt| {
            envelope::seal(&self.owner, kind, &salt, content.length(), write)
                .ok_or_else(|| io::Error::other("it is too large to be sealed"))
        });
        let written = sealed.and_then(|sealed| self.directory.write(name, &sealed));
        written.map_err(|error| self.problem(name, error))
    }

    fn problem(&self, name: &str, problem: impl fmt::Display) -> Problem {
        Problem { path: self.directory.path.join(name), problem: problem.to_string() }
    }
}

impl fmt::Debug for SavedSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SavedSnapshot({} secrets)", self.secrets.len())
    }
}

fn hex(bytes: [u8; 16]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
