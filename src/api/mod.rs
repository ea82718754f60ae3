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
pub use secrets::Fetched;
pub use tls::Trust;

use std::time::{Duration, SystemTime};

use reqwest::Url;

use crate::deadline::Deadline;
use crate::error::{Error, Stage};
use crate::report::Report;
use crate::token::AccessToken;

/// Where the two servers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers {
    pub identity: Url,
    pub api: Url,
}

impl Servers {
    /// The one that is asked in this stage, as messages name it.
    pub fn host(&self, stage: Stage) -> String {
        http::host(match stage {
            Stage::Login => &self.identity,
            Stage::Fetch => &self.api,
        })
    }
}

/// How they are reached.
#[derive(Clone, Debug)]
pub struct Transport {
    pub trust: Trust,
    /// `HTTPS_PROXY` and `NO_PROXY`.
    pub proxy: Option<String>,
    pub no_proxy: Option<String>,
    /// Whether a wait that cannot succeed is skipped: a person is watching.
    pub fail_at_once: bool,
}

/// What asking them may cost, and whom to tell.
#[derive(Clone, Copy)]
pub struct Contact<'a> {
    pub deadline: Deadline,
    /// One attempt and no waiting: there is something to fall back on.
    pub once: bool,
    /// Hears of every rate limit, and how long it lasts.
    pub limited: &'a dyn Fn(Stage, Duration),
    pub report: &'a Report,
}

/// Both servers, ready to be asked. Building it reads the trust roots and sends nothing.
pub struct Api<'a> {
    http: http::Http<'a>,
    servers: &'a Servers,
}

impl<'a> Api<'a> {
    pub fn new(servers: &'a Servers, transport: &Transport, contact: Contact<'a>) -> Result<Self, Error> {
        Ok(Self { http: http::Http::new(transport, contact)?, servers })
    }

    /// Exchanges the token for a session.
    pub async fn login(&self, token: &AccessToken) -> Result<Session, Error> {
        auth::login(&self.http, &self.servers.identity, token).await
    }

    /// Every secret the session may read, or the news that nothing has changed since this moment of the
    /// server's clock.
    pub async fn fetch(&self, session: &Session, since: Option<SystemTime>) -> Result<Fetched, Error> {
        secrets::fetch(&self.http, &self.servers.api, session, since).await
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
