//! Everything that can go wrong, once: what is said, what to do next, and whether trying again helps.
//!
//! No variant holds a secret's value, a bearer or any part of the access token but its id.

mod class;
mod hint;
pub mod slugs;

pub use class::Class;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::ids::{SecretId, TokenId};

/// The one error type.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    // What was typed.
    #[error("{message}")]
    Usage { message: String, hint: String },
    #[error("no access token was given")]
    TokenMissing,
    #[error("the access token from {origin} is malformed: {problem}")]
    TokenMalformed { origin: String, problem: TokenProblem },
    #[error("cannot read the access token from {origin}: {cause}")]
    TokenUnreadable { origin: String, cause: io::Error },
    #[error("the access token from {origin} was not complete within --deadline {}", seconds(*.deadline))]
    TokenLate { origin: String, deadline: Duration },
    #[error("cannot use '{url}' as {what}: {problem}")]
    ServerUrl { url: String, what: &'static str, problem: &'static str },
    #[error("cannot use the CA certificates of {origin}: {problem}")]
    CaFile { origin: String, problem: String },
    #[error("cannot use the configuration {}: {problem}", path.display())]
    ConfigFile { path: PathBuf, problem: String },
    #[error("cannot use the env file {path}{}: {problem}", place(*line, *column))]
    EnvFile { path: String, line: usize, column: usize, problem: String },
    #[error("the reference of {origin} is malformed: {problem}")]
    Reference { origin: String, problem: String },
    #[error("cannot use the proxy '{url}': {problem}")]
    Proxy { url: String, problem: String },

    // Users and files.
    #[error("{origin}: {problem}")]
    UnknownUser { origin: String, problem: String },
    #[error("{option} is not possible: {problem}")]
    User { option: String, problem: String, hint: &'static str },
    #[error("cannot use {} for files: {problem}", directory.display())]
    FileDirectory { directory: PathBuf, problem: String },
    #[error("cannot mount memory over {} for the command alone: {cause}", directory.display())]
    PrivateMount { directory: PathBuf, cause: io::Error },
    #[error("cannot give the file of '{name}' to {owner}: {cause}")]
    FileOwner { name: String, owner: String, cause: io::Error },
    #[error("cannot make the file of '{name}': {cause}")]
    File { name: String, cause: io::Error },

    // COMMAND.
    #[error("command not found: {command}")]
    CommandNotFound { command: String, because: Option<String> },
    #[error("command cannot be executed: {path}: {problem}")]
    CommandNotExecutable { path: PathBuf, problem: String },
    #[error("the kernel would not start {path}: {cause}")]
    Exec { path: PathBuf, cause: io::Error },
    #[error("cannot start another process: {cause}")]
    Spawn { cause: io::Error },

    // The way to the server.
    #[error("cannot find the address of {host}: {cause}")]
    Dns { host: String, cause: String },
    #[error("cannot connect to {host}: {cause}")]
    Connect { host: String, cause: String },
    #[error("the connection to {host} broke while {stage}: {cause}")]
    Broken { host: String, stage: Stage, cause: String },
    #[error("{host} did not answer in time while {stage}")]
    Timeout { host: String, stage: Stage },
    #[error("{host} has had too many requests from this address ({stage})")]
    RateLimited { host: String, stage: Stage, retry_after: Option<Duration> },
    #[error("{host} is unavailable: HTTP status {status} while {stage}")]
    Unavailable { host: String, stage: Stage, status: u16, retry_after: Option<Duration> },
    #[error("{host} answered with HTTP status 403 and a web page while {stage}")]
    Intercepted { host: String, stage: Stage },
    #[error("the certificate of {host} was not accepted: {problem}")]
    Certificate { host: String, problem: String },
    #[error("{last} ({attempts} attempts within --deadline {})", seconds(*.deadline))]
    GaveUp { last: Box<Error>, attempts: u32, deadline: Duration },

    // The sealed copy, where it is all there is.
    #[error("{} holds no copy for this token and server", path.display())]
    NoCopy { path: PathBuf },
    #[error("the copy in {} is too old: {age}", path.display())]
    CopyTooOld { path: PathBuf, age: String },
    #[error("cannot use the copy in {problem}")]
    CopyUnusable { problem: String },

    // What the server said.
    #[error("{host} refused the access token {token} (invalid_client)")]
    InvalidClient { host: String, token: TokenId },
    #[error("{host} refused the login: {reason}")]
    LoginRefused { host: String, reason: String },
    #[error("{host} did not accept the session it had just given (HTTP status 401)")]
    Unauthorized { host: String },
    #[error("{host} forbids this machine account to read secrets (HTTP status 403)")]
    Forbidden { host: String },
    #[error("{host} knows no such resource (HTTP status 404 while {stage})")]
    NotFound { host: String, stage: Stage },
    #[error("{host} redirects to {target} while {stage}")]
    Redirect { host: String, stage: Stage, target: String },
    #[error("{host} answered with a web page, not with Bitwarden's API, while {stage}")]
    WebPage { host: String, stage: Stage, status: u16 },
    #[error("{host} gave an answer that is not Bitwarden's protocol while {stage}: {problem}")]
    Protocol { host: String, stage: Stage, problem: String },
    #[error("the answer of {host} is larger than {} MiB", .limit / (1024 * 1024))]
    Oversize { host: String, limit: usize },

    // Cryptography.
    #[error("the login answer carries no encrypted payload")]
    NoPayload,
    #[error("cannot open the organization key of the login answer: {problem}")]
    OrganizationKey { problem: CryptoProblem },
    #[error("cannot decrypt the {part} of {secret}: {problem}")]
    Undecryptable { secret: String, part: &'static str, problem: CryptoProblem },

    // What is to be injected.
    #[error("{selector} matches no secret that this token can read")]
    NoMatch { selector: String, hint: String },
    #[error("project name '{name}' is ambiguous: {candidates}")]
    AmbiguousProject { name: String, candidates: String },
    /// Which reference it was.
    #[error("{origin}: {error}")]
    Of { origin: String, error: Box<Error> },
    #[error("'{reference}' refers to no secret that this token can read")]
    MissingSecret { reference: String, candidates: Vec<String> },
    #[error("'{reference}' is ambiguous: {}", candidates.join("; "))]
    AmbiguousReference { reference: String, candidates: Vec<String> },
    #[error("'{reference}' leads to nothing in {secret}: {problem}")]
    Pointer { reference: String, secret: String, problem: PointerProblem },
    #[error("'{name}' is required and would not be set")]
    Required { name: String },
    #[error("'{name}' cannot name a variable ({secret}): {problem}")]
    InvalidName {
        name: String,
        secret: String,
        id: SecretId,
        problem: &'static str,
        unusual_but_possible: bool,
    },
    #[error("'{name}' would change how programs run, so a secret may not set it ({secret})")]
    DangerousName { name: String, secret: String },
    #[error("'{name}' would be set by {} secrets: {}", secrets.len(), secrets.join("; "))]
    DuplicateName { name: String, secrets: Vec<String> },
    #[error("'{name}' is set already and a secret would replace it ({secret})")]
    Conflict { name: String, secret: String },
    #[error("the value of '{name}' contains a NUL byte ({secret})")]
    NulInValue { name: String, secret: String },
    #[error("'{name}' takes {size} bytes and the kernel allows {limit} for one variable ({origin})")]
    VariableTooLarge { name: String, size: usize, limit: usize, origin: String },
    #[error("environment and arguments take {size} bytes and the kernel allows {limit}; largest: {largest}")]
    EnvironmentTooLarge { size: usize, limit: usize, largest: String },

    // Containers.
    #[error("{engine} is not on this machine but at {endpoint}")]
    RemoteEngine { engine: &'static str, endpoint: String },
    #[error("image {image} is for {theirs}, and this bws-exec for linux/{ours}")]
    ImageArchitecture { image: String, theirs: String, ours: &'static str },
    #[error("'{command}' failed: {problem}")]
    Engine { command: String, problem: String },
    #[error("the environment cannot be handed over: {problem}")]
    HandOverPlace { problem: String },
    #[error("no environment was handed over: {problem}")]
    HandOver { problem: String },

    #[error("cannot write to standard output: {cause}")]
    Output { cause: io::Error },
    #[error("the kernel gives this process too little to wait for the network: {cause}")]
    Resources { cause: io::Error },
    #[error("internal error: {0}")]
    Internal(String),
}

/// What we were doing, to be read after "while".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Login,
    Fetch,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Login => "logging in",
            Self::Fetch => "fetching secrets",
        })
    }
}

/// What is wrong with the text of an access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenProblem {
    #[error("there is no ':' followed by an encryption key")]
    NoKey,
    #[error("the part before ':' must have three pieces separated by '.'")]
    WrongParts,
    #[error("its version is not 0")]
    WrongVersion,
    #[error("its second piece is not a UUID")]
    InvalidId,
    #[error("the encryption key after ':' is not Base64")]
    InvalidBase64,
    #[error("the encryption key after ':' has {0} bytes instead of 16")]
    WrongKeyLength(usize),
    #[error("it is not text (UTF-8)")]
    NotText,
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
}

/// Why a ciphertext could not be opened. Failures of the cryptography itself are one case, so that
/// nothing can be learnt from which step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CryptoProblem {
    #[error("it is not an encrypted string")]
    Malformed,
    #[error("encryption type {0} is not accepted")]
    UnsupportedType(u8),
    #[error("the encryption type is unknown")]
    UnknownType,
    #[error("the key does not fit or the data was changed")]
    Failed,
    #[error("the decrypted bytes are not UTF-8")]
    NotUtf8,
    #[error("the payload has an unexpected form")]
    PayloadForm,
    #[error("a key of {0} bytes is of a kind this version does not know")]
    KeyKind(usize),
}

/// Why a JSON pointer leads to nothing. No part of the value is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointerProblem {
    #[error("its value is not JSON")]
    NotJson,
    #[error("there is no '{0}' in it")]
    Absent(String),
    #[error("what it names is null")]
    Null,
    #[error("the string it names is not valid")]
    InvalidString,
}

impl Error {
    /// A mistake on the command line or in a variable that stands for an option.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: hint.into() }
    }

    /// The stable word in brackets that scripts and the documentation refer to. A new one goes into
    /// [`slugs`] too.
    pub const fn slug(&self) -> &'static str {
        match self {
            Self::Usage { .. } => "usage",
            Self::TokenMissing => "token-missing",
            Self::TokenMalformed { .. } => "token-malformed",
            Self::TokenUnreadable { .. } => "token-unreadable",
            Self::TokenLate { .. } => "token-late",
            Self::ServerUrl { .. } => "server-url",
            Self::CaFile { .. } => "ca-file",
            Self::Proxy { .. } => "proxy",
            Self::ConfigFile { .. } => "config-file",
            Self::EnvFile { .. } => "env-file",
            Self::Reference { .. } => "reference",
            Self::MissingSecret { .. } => "missing-secret",
            Self::AmbiguousReference { .. } => "ambiguous-reference",
            Self::Pointer { .. } => "pointer",
            Self::Required { .. } => "required",
            Self::UnknownUser { .. } => "unknown-user",
            Self::User { .. } => "user",
            Self::FileDirectory { .. } => "file-directory",
            Self::PrivateMount { .. } => "private-mount",
            Self::FileOwner { .. } => "file-owner",
            Self::File { .. } => "file",
            Self::CommandNotFound { .. } => "command-not-found",
            Self::CommandNotExecutable { .. } => "command-not-executable",
            Self::Exec { .. } => "exec",
            Self::Spawn { .. } => "spawn",
            Self::Dns { .. } => "dns",
            Self::Connect { .. } => "connect",
            Self::Broken { .. } => "connection-broken",
            Self::Timeout { .. } => "timeout",
            Self::RateLimited { .. } => "rate-limited",
            Self::Unavailable { .. } => "unavailable",
            Self::Intercepted { .. } => "intercepted",
            Self::Certificate { .. } => "certificate",
            Self::GaveUp { last: error, .. } | Self::Of { error, .. } => error.slug(),
            Self::NoCopy { .. } => "no-copy",
            Self::CopyTooOld { .. } => "copy-too-old",
            Self::CopyUnusable { .. } => "copy-unusable",
            Self::InvalidClient { .. } => "invalid-client",
            Self::LoginRefused { .. } => "login-refused",
            Self::Unauthorized { .. } => "unauthorized",
            Self::Forbidden { .. } => "forbidden",
            Self::NotFound { .. } => "not-found",
            Self::Redirect { .. } => "redirect",
            Self::WebPage { .. } => "web-page",
            Self::Protocol { .. } => "protocol",
            Self::Oversize { .. } => "oversize",
            Self::NoPayload => "no-payload",
            Self::OrganizationKey { .. } => "organization-key",
            Self::Undecryptable { .. } => "undecryptable",
            Self::NoMatch { .. } => "no-match",
            Self::AmbiguousProject { .. } => "ambiguous-project",
            Self::InvalidName { .. } => "invalid-name",
            Self::DangerousName { .. } => "dangerous-name",
            Self::DuplicateName { .. } => "duplicate-name",
            Self::Conflict { .. } => "conflict",
            Self::NulInValue { .. } => "nul-in-value",
            Self::VariableTooLarge { .. } => "variable-too-large",
            Self::EnvironmentTooLarge { .. } => "environment-too-large",
            Self::RemoteEngine { .. } => "remote-engine",
            Self::ImageArchitecture { .. } => "image-architecture",
            Self::Engine { .. } => "engine",
            Self::HandOverPlace { .. } => "hand-over-place",
            Self::HandOver { .. } => "hand-over",
            Self::Output { .. } => "output",
            Self::Resources { .. } => "resources",
            Self::Internal(_) => "internal",
        }
    }

    /// Whether it says that what a reference names is not there: `--optional` forgives that.
    pub const fn is_missing_reference(&self) -> bool {
        // Asked before it is told whose reference it was.
        matches!(
            self,
            Self::MissingSecret { .. }
                | Self::Pointer { problem: PointerProblem::Absent(_) | PointerProblem::Null, .. }
        )
    }

    /// When the server wants to be asked again, if it said so.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } | Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// A duration as it is shown to people.
pub fn seconds(duration: Duration) -> String {
    match duration.as_millis() {
        millis if millis % 1000 == 0 => format!("{}s", millis / 1000),
        millis => format!("{}.{}s", millis / 1000, millis % 1000 / 100),
    }
}

/// `:line:column`, unless the file as a whole is meant.
fn place(line: usize, column: usize) -> String {
    if line == 0 { String::new() } else { format!(":{line}:{column}") }
}
