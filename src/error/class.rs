//! Whether trying again helps: the class table, and the exit codes that follow from it.

use std::io;

use super::Error;
use crate::exit::Exit;

/// What an error means for retries, for a cached copy and for the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The server or the way to it is away. A cached copy may serve.
    Unavailable,
    /// `invalid_client`: the token is refused. A cached copy must go.
    TokenRefused,
    /// HTTP 401: one new login if the session was a cached one.
    SessionRefused,
    /// Trying again will not help.
    Permanent,
    /// COMMAND cannot be executed.
    NotExecutable,
    /// COMMAND is not there.
    NotFound,
}

impl Class {
    /// Whether the same request may be sent again.
    pub const fn may_retry(self) -> bool {
        matches!(self, Self::Unavailable)
    }
}

impl Error {
    /// The class table: one exhaustive match, so that a new error has to choose.
    pub fn class(&self) -> Class {
        match self {
            Self::TokenLate { .. }
            | Self::Dns { .. }
            | Self::Connect { .. }
            | Self::Broken { .. }
            | Self::Timeout { .. }
            | Self::RateLimited { .. }
            | Self::Unavailable { .. }
            | Self::Intercepted { .. }
            | Self::NoCopy { .. }
            | Self::CopyTooOld { .. }
            | Self::Engine { .. } => Class::Unavailable,
            Self::GaveUp { last: error, .. } | Self::Of { error, .. } => error.class(),
            Self::InvalidClient { .. } => Class::TokenRefused,
            Self::Unauthorized { .. } => Class::SessionRefused,
            Self::CommandNotFound { .. } => Class::NotFound,
            Self::CommandNotExecutable { .. } => Class::NotExecutable,
            Self::Exec { cause, .. } => match cause.kind() {
                io::ErrorKind::NotFound => Class::NotFound,
                io::ErrorKind::ArgumentListTooLong | io::ErrorKind::OutOfMemory => Class::Permanent,
                _ => Class::NotExecutable,
            },
            Self::Usage { .. }
            | Self::TokenMissing
            | Self::TokenMalformed { .. }
            | Self::TokenUnreadable { .. }
            | Self::ServerUrl { .. }
            | Self::CaFile { .. }
            | Self::Proxy { .. }
            | Self::ConfigFile { .. }
            | Self::EnvFile { .. }
            | Self::Reference { .. }
            | Self::MissingSecret { .. }
            | Self::AmbiguousReference { .. }
            | Self::Pointer { .. }
            | Self::Required { .. }
            | Self::UnknownUser { .. }
            | Self::User { .. }
            | Self::FileDirectory { .. }
            | Self::PrivateMount { .. }
            | Self::FileOwner { .. }
            | Self::File { .. }
            | Self::Certificate { .. }
            | Self::CopyUnusable { .. }
            | Self::LoginRefused { .. }
            | Self::Forbidden { .. }
            | Self::NotFound { .. }
            | Self::Redirect { .. }
            | Self::WebPage { .. }
            | Self::Protocol { .. }
            | Self::Oversize { .. }
            | Self::NoPayload
            | Self::OrganizationKey { .. }
            | Self::Undecryptable { .. }
            | Self::NoMatch { .. }
            | Self::AmbiguousProject { .. }
            | Self::InvalidName { .. }
            | Self::DangerousName { .. }
            | Self::DuplicateName { .. }
            | Self::Conflict { .. }
            | Self::NulInValue { .. }
            | Self::VariableTooLarge { .. }
            | Self::EnvironmentTooLarge { .. }
            | Self::RemoteEngine { .. }
            | Self::ImageArchitecture { .. }
            | Self::HandOverPlace { .. }
            | Self::HandOver { .. }
            | Self::Spawn { .. }
            | Self::Output { .. }
            | Self::Resources { .. }
            | Self::Internal(_) => Class::Permanent,
        }
    }

    /// The code we end with.
    pub fn exit(&self) -> Exit {
        match self.class() {
            Class::Unavailable => Exit::Unavailable,
            Class::TokenRefused | Class::SessionRefused | Class::Permanent => Exit::Failed,
            Class::NotExecutable => Exit::NotExecutable,
            Class::NotFound => Exit::NotFound,
        }
    }
}
