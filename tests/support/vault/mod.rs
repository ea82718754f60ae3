//! A Secrets Manager server for tests and for work without a network.
//!
//! [`Vault::start`] opens an identity and an API service on the loopback interface, over TLS with
//! an authority made for this run. They behave as Bitwarden's: logins and their refusals, bearers
//! that outlive the tokens they came from, grants, syncs, lists, rate limits. Bitwarden's own
//! client works with it, which `tests/oracle` checks.
//!
//! ```text
//! Owner ──encrypts──▶ Store ◀──ciphertext── Server ◀──TLS── clients
//! (organization key)            (no key)
//! ```
//!
//! The [`Owner`] is the human side: it holds the organization key, and makes projects, secrets,
//! accounts and tokens. The server has only what the owner or a client encrypted. A test sets the
//! scene through the owner, scripts faults, runs the launcher, and looks at [`Vault::requests`].
//!
//! Callers are synchronous; the server runs on a thread of its own until the vault is dropped.

// Every test binary and example has this module for itself and uses a part of it.
#![allow(dead_code, unused_imports)]

mod answer;
mod api;
mod api_projects;
mod api_secrets;
pub mod crypto;
pub mod date;
mod endpoint;
mod faults;
mod form;
mod identity;
mod jwt;
mod limits;
mod log;
mod models;
mod owner;
mod server;
pub mod store;
#[cfg(test)]
mod tests;
mod tls;
mod wire;

use std::fs;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use uuid::Uuid;

pub use answer::Answer;
pub use crypto::Key;
pub use endpoint::{Endpoint, Service};
pub use faults::{Fault, Where};
pub use log::Request;
pub use owner::{IssuedToken, NewToken, Owner, Payload, PlainSecret};
pub use store::Access;
pub use tls::NAME;

use date::Clock;
use server::{Door, Server};
use store::{State, Store};

/// Where the two services are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Layout {
    /// On two ports, as on two hosts of the cloud.
    #[default]
    Cloud,
    /// Under `/identity` and `/api` of one port.
    SelfHosted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Transport {
    #[default]
    Tls,
    Plain,
}

/// The server's certificate, which the vault's authority has signed in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Certificate {
    #[default]
    Good,
    Expired,
    WrongName,
}

pub struct Options {
    pub layout: Layout,
    pub transport: Transport,
    pub certificate: Certificate,
    /// Limit requests as the cloud does.
    pub rate_limits: bool,
    /// Without it, the sync route is not there, as on an old server.
    pub sync_supported: bool,
    /// How long a login is good for.
    pub bearer_life: Duration,
    pub organization_id: Option<Uuid>,
    pub organization_key: Option<Key>,
    /// Keep the state in a file, and notice what others change in it.
    pub state_file: Option<PathBuf>,
    /// Where the authority's certificate goes, if not to a temporary file.
    pub ca_file: Option<PathBuf>,
    /// The ports; 0 takes a free one. A self-hosted server has only the first.
    pub ports: [u16; 2],
}

impl Default for Options {
    fn default() -> Self {
        Self {
            layout: Layout::default(),
            transport: Transport::default(),
            certificate: Certificate::default(),
            rate_limits: false,
            sync_supported: true,
            bearer_life: jwt::LIFE,
            organization_id: None,
            organization_key: None,
            state_file: None,
            ca_file: None,
            ports: [0, 0],
        }
    }
}

/// A running server. It ends when this is dropped.
pub struct Vault {
    server: Arc<Server>,
    owner: Option<Owner>,
    ca_pem: String,
    ca_file: PathBuf,
    /// Keeps the authority's file as long as the vault.
    _ca_temporary: Option<tempfile::TempPath>,
    server_url: Option<String>,
    api_url: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Vault {
    /// Starts a vault, or panics: for tests.
    pub fn start(options: Options) -> Self {
        Self::try_start(options).expect("a vault starts on a free port")
    }

    pub fn try_start(options: Options) -> io::Result<Self> {
        let clock = Arc::new(Clock::default());
        let organization = options.organization_id.unwrap_or_else(crypto::random_uuid);
        let (store, key) = match &options.state_file {
            Some(path) => (Store::open(path, || State::new(organization))?, options.organization_key),
            None => (
                Store::in_memory(State::new(organization)),
                Some(options.organization_key.unwrap_or_else(Key::random)),
            ),
        };
        let store = Arc::new(store);
        let owner = key.map(|key| Owner::new(key, Arc::clone(&store), Arc::clone(&clock)));

        let identity = tls::make(options.certificate).map_err(io::Error::other)?;
        let (ca_file, ca_temporary) = write_ca(&identity.ca_pem, options.ca_file)?;
        let (doors, urls) = open_doors(options.layout, options.transport, options.ports)?;
        let tls = (options.transport == Transport::Tls).then_some(identity.acceptor);
        let server = Arc::new(Server {
            store,
            clock,
            log: log::Log::default(),
            faults: faults::Faults::default(),
            limiter: options.rate_limits.then(limits::Limiter::default),
            sync_supported: options.sync_supported,
            bearer_life: options.bearer_life,
            identity_url: urls.identity,
        });

        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        {
            let _context = runtime.enter();
            server::open(&server, doors, tls.as_ref())?;
        }
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("local-vault".to_owned()).spawn(move || {
            // An error means that the vault is gone, which is the same message.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Self {
            server,
            owner,
            ca_pem: identity.ca_pem,
            ca_file,
            _ca_temporary: ca_temporary,
            server_url: urls.server,
            api_url: urls.api,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The owner of the vault's organization.
    ///
    /// A vault with a state file has one only if it was given the organization key.
    pub fn owner(&self) -> &Owner {
        self.owner.as_ref().expect("the vault was given its organization key")
    }

    /// The certificate a client has to trust, as PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The same in a file, which is there as long as the vault.
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    pub fn identity_url(&self) -> &str {
        &self.server.identity_url
    }

    pub fn api_url(&self) -> &str {
        &self.api_url
    }

    /// The base URL of both services, if they share one.
    pub fn server_url(&self) -> &str {
        self.server_url.as_deref().expect("only a self-hosted layout has one base URL")
    }

    /// Moves the vault's clock forward.
    pub fn advance(&self, by: Duration) {
        self.server.clock.advance(by);
    }

    // Observation.

    /// All requests since the start or the last `clear_log`, in order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.server.log.requests()
    }

    /// How many requests an endpoint got.
    pub fn count(&self, endpoint: Endpoint) -> usize {
        self.requests().iter().filter(|request| request.endpoint == endpoint).count()
    }

    /// How many TCP connections were accepted, whatever became of them.
    pub fn connections(&self) -> usize {
        self.server.log.connections()
    }

    /// Forgets requests and connections.
    pub fn clear_log(&self) {
        self.server.log.clear();
    }

    /// Waits until the requests are as wished. False if they are not within `limit`.
    #[must_use]
    pub fn wait_for(&self, limit: Duration, wished: impl Fn(&[Request]) -> bool) -> bool {
        self.server.log.wait_for(limit, |requests, _| wished(requests))
    }

    /// Waits for a number of connections, for faults that keep requests from arriving.
    #[must_use]
    pub fn wait_for_connections(&self, limit: Duration, count: usize) -> bool {
        self.server.log.wait_for(limit, |_, connections| connections >= count)
    }

    // Faults. The earliest that applies is the one that happens.

    /// Makes a fault happen from now on, always.
    pub fn fault(&self, at: impl Into<Where>, fault: Fault) {
        self.server.faults.add(at.into(), fault, None);
    }

    /// Makes a fault happen the next `times` times only.
    pub fn fault_times(&self, times: usize, at: impl Into<Where>, fault: Fault) {
        self.server.faults.add(at.into(), fault, Some(times));
    }

    /// Ends the scripted faults. What stalls goes on stalling.
    pub fn clear_faults(&self) {
        self.server.faults.clear();
    }

    /// Lets everything that stalls now go on as if nothing had been.
    pub fn release(&self) {
        self.server.faults.release();
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // A panic of the server's thread was printed; a second one here would abort.
            let _ = thread.join();
        }
    }
}

struct Urls {
    server: Option<String>,
    identity: String,
    api: String,
}

fn open_doors(layout: Layout, transport: Transport, ports: [u16; 2]) -> io::Result<(Vec<Door>, Urls)> {
    let scheme = if transport == Transport::Tls { "https" } else { "http" };
    let open = |port: u16, services: &'static [Service]| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let url = format!("{scheme}://{}", listener.local_addr()?);
        io::Result::Ok((Door { listener, services }, url))
    };
    match layout {
        Layout::Cloud => {
            let (identity_door, identity) = open(ports[0], &[Service::Identity])?;
            let (api_door, api) = open(ports[1], &[Service::Api])?;
            Ok((vec![identity_door, api_door], Urls { server: None, identity, api }))
        }
        Layout::SelfHosted => {
            let (door, server) = open(ports[0], &[Service::Identity, Service::Api])?;
            let (identity, api) = (format!("{server}/identity"), format!("{server}/api"));
            Ok((vec![door], Urls { server: Some(server), identity, api }))
        }
    }
}

fn write_ca(pem: &str, path: Option<PathBuf>) -> io::Result<(PathBuf, Option<tempfile::TempPath>)> {
    if let Some(path) = path {
        fs::write(&path, pem)?;
        return Ok((path, None));
    }
    let mut file = tempfile::Builder::new().prefix("local-vault-ca-").suffix(".pem").tempfile()?;
    file.write_all(pem.as_bytes())?;
    let path = file.into_temp_path();
    Ok((path.to_path_buf(), Some(path)))
}
