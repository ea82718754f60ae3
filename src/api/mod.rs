//! Bitwarden's Identity and API servers: the only module that speaks HTTP.
//!
//! A cold start is two requests: the login and one sync.

mod answer;
mod auth;
mod fault;
mod http;
mod resolver;
pub mod retry;
mod secrets;
mod tls;
mod wire;

pub use auth::Session;
pub use tls::Trust;

use reqwest::Url;

use crate::deadline::Deadline;
use crate::error::Error;
use crate::report::Report;
use crate::snapshot::EncryptedSecret;
use crate::token::AccessToken;

/// Where the servers are and how they are reached.
#[derive(Clone, Debug)]
pub struct Connection {
    pub identity: Url,
    pub api: Url,
    pub trust: Trust,
    /// `HTTPS_PROXY` and `NO_PROXY`.
    pub proxy: Option<String>,
    pub no_proxy: Option<String>,
    /// Whether a wait that cannot succeed is skipped: a person is watching.
    pub fail_at_once: bool,
}

/// Both servers, ready to be asked. Building it reads the trust roots and sends nothing.
pub struct Api<'a> {
    http: http::Http<'a>,
    connection: &'a Connection,
}

impl<'a> Api<'a> {
    pub fn new(connection: &'a Connection, deadline: Deadline, report: &'a Report) -> Result<Self, Error> {
        Ok(Self { http: http::Http::new(connection, deadline, report)?, connection })
    }

    /// Exchanges the token for a session.
    pub async fn login(&self, token: &AccessToken) -> Result<Session, Error> {
        auth::login(&self.http, &self.connection.identity, token).await
    }

    /// Every secret the session may read.
    pub async fn fetch(&self, session: &Session) -> Result<Vec<EncryptedSecret>, Error> {
        secrets::fetch(&self.http, &self.connection.api, session).await
    }
}

/// `base` with path segments added to whatever path it has.
fn join(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}
