//! Listeners, connections and the way of a request to its answer.

use std::fmt;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderName, USER_AGENT};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use super::answer::Answer;
use super::api::{self, Call};
use super::date::Clock;
use super::endpoint::{Endpoint, Route, Service};
use super::faults::{Fault, Faults};
use super::identity::{self, Login};
use super::limits::Limiter;
use super::log::{self, Log};
use super::store::Store;
use super::wire::{self, Wire};

/// What the web server in front of the services takes.
const BODY_LIMIT: usize = 30_000_000;

/// Everything the connections share.
pub struct Server {
    pub store: Arc<Store>,
    pub clock: Arc<Clock>,
    pub log: Log,
    pub faults: Faults,
    pub limiter: Option<Limiter>,
    pub sync_supported: bool,
    pub bearer_life: Duration,
    pub identity_url: String,
}

/// A listening port and what is behind it: one service at the root, or both under their prefixes.
pub struct Door {
    pub listener: StdListener,
    pub services: &'static [Service],
}

/// Serves the doors until the future is dropped. Must be called in a runtime.
pub fn open(server: &Arc<Server>, doors: Vec<Door>, tls: Option<&TlsAcceptor>) -> std::io::Result<()> {
    for door in doors {
        door.listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(door.listener)?;
        tokio::spawn(accept(Arc::clone(server), listener, door.services, tls.cloned()));
    }
    Ok(())
}

async fn accept(
    server: Arc<Server>,
    listener: TcpListener,
    services: &'static [Service],
    tls: Option<TlsAcceptor>,
) {
    loop {
        // An error concerns one connection, which is gone: the next may do better.
        let Ok((tcp, peer)) = listener.accept().await else { continue };
        let releases = server.faults.releases();
        server.log.connected();
        let connection = Connection { server: Arc::clone(&server), services, peer, broken: Mutex::default() };
        tokio::spawn(greet(connection, tcp, tls.clone(), releases));
    }
}

/// Brings a new connection to the point where it can speak HTTP. What it does not survive is the
/// client's to notice, so errors end it quietly.
async fn greet(
    connection: Connection,
    tcp: TcpStream,
    tls: Option<TlsAcceptor>,
    mut releases: watch::Receiver<u64>,
) {
    match connection.server.faults.for_connection(connection.services) {
        Fault::Reset => {
            let _ = wire::reset(tcp);
            return;
        }
        Fault::Garbage => {
            let _ = wire::garbage(tcp).await;
            return;
        }
        Fault::Stall => stall(&mut releases).await,
        Fault::Delay(time) => sleep(time).await,
        _ => {}
    }
    let _ = tcp.set_nodelay(true);
    match tls {
        None => connection.serve(tcp).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(tcp).await {
                connection.serve(stream).await;
            }
        }
    }
}

/// Waits for a release. The faults, which say so, live as long as the server.
async fn stall(releases: &mut watch::Receiver<u64>) {
    let _ = releases.changed().await;
}

struct Connection {
    server: Arc<Server>,
    services: &'static [Service],
    peer: SocketAddr,
    /// The answer that is to be played on the bare stream, once hyper has let go of it.
    broken: Mutex<Option<(Fault, Answer)>>,
}

impl Connection {
    async fn serve(self, stream: impl Wire) {
        // Boxed, because the stream can only be had back from a connection that is `Unpin`.
        let service = service_fn(|request| Box::pin(self.respond(request)));
        let mut http = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        let served = std::future::poll_fn(|context| http.poll_without_shutdown(context)).await;
        let stream = http.into_parts().io.into_inner();
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Whatever fails here, the connection is over.
        let _ = match (broken, served) {
            (Some((fault, answer)), _) => wire::play(stream, fault, &answer).await,
            (None, Ok(())) => wire::close(stream).await,
            (None, Err(_)) => Ok(()),
        };
    }

    async fn respond(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, ToBePlayed> {
        let (head, body) = request.into_parts();
        let Ok(body) = Limited::new(body, BODY_LIMIT).collect().await else {
            return Ok(response(&Answer::empty(413)));
        };
        let header =
            |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        let (service, path) = find_service(self.services, head.uri.path());
        let asked = Asked {
            service,
            path,
            method: head.method.as_str(),
            query: head.uri.query().unwrap_or(""),
            content_type: header(CONTENT_TYPE),
            authorization: header(AUTHORIZATION),
            body: &body.to_bytes(),
            from: self.peer.ip(),
        };
        let route = asked.route();
        let mut releases = self.server.faults.releases();
        let serial = self.server.log.arrived(log::Request {
            endpoint: route.endpoint,
            method: asked.method.to_owned(),
            path: asked.path.to_owned(),
            query: asked.query.to_owned(),
            authenticated: self.server.authenticated(&asked),
            status: None,
            retry_after: None,
            at: Instant::now(),
            user_agent: header(USER_AGENT).to_owned(),
        });

        let fault = self.server.faults.for_request(service, route.endpoint);
        match &fault {
            Fault::Stall => stall(&mut releases).await,
            Fault::Delay(time) => sleep(*time).await,
            _ => {}
        }
        let mut answer = match &fault {
            Fault::Answer(answer) => answer.clone(),
            Fault::Reset | Fault::Garbage | Fault::Oversize { .. } => Answer::empty(200),
            _ => self.server.answer(&asked),
        };
        let date = httpdate::fmt_http_date(self.server.clock.now().system_time());
        answer = answer.with(DATE.as_str(), &date);
        if matches!(fault, Fault::Truncated) {
            answer.body.truncate(answer.body.len() / 2);
        }
        if !matches!(fault, Fault::Reset | Fault::Garbage) {
            let retry_after = answer.headers.iter().find(|(name, _)| name == "Retry-After");
            let retry_after =
                retry_after.and_then(|(_, seconds)| Some(Duration::from_secs(seconds.parse().ok()?)));
            self.server.log.answered(serial, answer.status, retry_after);
        }
        if wire::is_for_the_wire(&fault) {
            *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some((fault, answer));
            return Err(ToBePlayed);
        }
        Ok(response(&answer))
    }
}

/// A request, taken apart.
struct Asked<'a> {
    /// None if a self-hosted server was asked outside of both.
    service: Option<Service>,
    path: &'a str,
    method: &'a str,
    query: &'a str,
    content_type: &'a str,
    authorization: &'a str,
    body: &'a [u8],
    from: IpAddr,
}

impl Asked<'_> {
    fn route(&self) -> Route<'_> {
        Route::find(self.service, self.method, self.path)
    }
}

impl Server {
    fn authenticated(&self, asked: &Asked<'_>) -> bool {
        let now = self.clock.now();
        let claims = self.store.with(|state| api::authenticate(asked.authorization, state, now));
        matches!(claims, Ok(Some(_)))
    }

    /// The true answer, if nothing is scripted.
    fn answer(&self, asked: &Asked<'_>) -> Answer {
        let Some(service) = asked.service else { return Answer::html(404) };
        let now = self.clock.now();
        let limit_headers = match &self.limiter {
            Some(limiter) => match limiter.check(now, asked.from, service, asked.method, asked.path) {
                Ok(headers) => headers,
                Err(refusal) => return refusal,
            },
            None => Vec::new(),
        };
        let mut answer = match service {
            Service::Identity => self.identity(asked),
            Service::Api => self.api(asked),
        };
        answer.headers.extend(limit_headers);
        answer
    }

    fn identity(&self, asked: &Asked<'_>) -> Answer {
        if asked.route().endpoint != Endpoint::Login {
            return Answer::empty(404);
        }
        let login = Login {
            method: asked.method,
            content_type: asked.content_type,
            body: asked.body,
            issuer: &self.identity_url,
            life: self.bearer_life,
        };
        self.store.with(|state| identity::login(&login, state, self.clock.now())).unwrap_or_else(broken_store)
    }

    fn api(&self, asked: &Asked<'_>) -> Answer {
        let route = asked.route();
        let unknown =
            route.endpoint == Endpoint::Unknown || (route.endpoint == Endpoint::Sync && !self.sync_supported);
        if unknown {
            return Answer::empty(404);
        }
        let answer = self.store.with(|state| {
            let now = self.clock.now();
            let Some(claims) = api::authenticate(asked.authorization, state, now) else {
                return Answer::unauthorized(!asked.authorization.is_empty());
            };
            let call = Call {
                route,
                query: asked.query,
                body: asked.body,
                account: claims.sub,
                organization: claims.organization,
                now,
            };
            api::answer(&call, state)
        });
        answer.unwrap_or_else(broken_store)
    }
}

fn broken_store(error: std::io::Error) -> Answer {
    eprintln!("local vault: the state file: {error}");
    Answer::error(500, "An unhandled server error has occurred.")
}

/// The service a path is for, and the path within it.
fn find_service<'a>(services: &[Service], path: &'a str) -> (Option<Service>, &'a str) {
    if let [service] = services {
        return (Some(*service), path);
    }
    for (service, prefix) in [(Service::Identity, "/identity"), (Service::Api, "/api")] {
        match path.strip_prefix(prefix) {
            Some(rest) if rest.starts_with('/') => return (Some(service), rest),
            _ => {}
        }
    }
    (None, path)
}

fn response(answer: &Answer) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    response.body(Full::new(Bytes::from(answer.body.clone()))).expect("a scripted answer is valid HTTP")
}

/// Makes hyper give up the connection without a word.
#[derive(Debug)]
struct ToBePlayed;

impl fmt::Display for ToBePlayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer is played on the bare stream")
    }
}

impl std::error::Error for ToBePlayed {}
