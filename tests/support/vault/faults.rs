//! Scripted faults: what the vault does wrong, where, and how often.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::answer::Answer;
use super::endpoint::{Endpoint, Service};

/// What a fault applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// A new connection, before TLS and before any request.
    Connect(Service),
    Endpoint(Endpoint),
    /// Any request to the service.
    Service(Service),
    /// Any request.
    Any,
}

impl From<Endpoint> for Where {
    fn from(endpoint: Endpoint) -> Self {
        Self::Endpoint(endpoint)
    }
}

/// What happens there. Faults that are about the form of an answer keep its true content, and
/// close the connection after it.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing: in front of another fault, it lets the first requests through.
    Pass,
    /// Another answer; the request has no effect.
    Answer(Answer),
    /// The true answer, after a time. On a connection, the handshake comes late.
    Delay(Duration),
    /// No answer until `Vault::release` or the vault's end. On a connection, no handshake.
    Stall,
    /// A TCP reset in place of the answer or the handshake.
    Reset,
    /// A TCP reset after half of the body.
    ResetMidBody,
    /// A clean end, of TLS too, after half of the body.
    CloseMidBody,
    /// The end of TCP after half of the body, without TLS's `close_notify`.
    TlsCut,
    /// The status line at once, everything else after a time.
    SlowHeaders(Duration),
    /// The headers at once, then the body in pieces with a pause before each.
    SlowBody { chunk: usize, pause: Duration },
    /// Half of the body, as if it were all.
    Truncated,
    /// Bytes that are no HTTP; on a connection, no TLS.
    Garbage,
    /// A JSON body of so many bytes.
    Oversize { bytes: usize, chunked: bool },
}

impl Fault {
    /// An error status with an empty body.
    pub fn status(status: u16) -> Self {
        Self::Answer(Answer::empty(status))
    }

    /// An error status in the API's error shape.
    pub fn error(status: u16, message: &str) -> Self {
        Self::Answer(Answer::error(status, message))
    }

    /// A rate limit, with or without the advice when to come back.
    pub fn too_many_requests(retry_after: Option<&str>) -> Self {
        let answer = Answer::error(429, "Slow down! Too many requests. Try again in 1m.");
        Self::Answer(match retry_after {
            Some(when) => answer.with("Retry-After", when),
            None => answer,
        })
    }

    /// The page of a proxy or of another server.
    pub fn html(status: u16) -> Self {
        Self::Answer(Answer::html(status))
    }

    /// A success with another body.
    pub fn json(body: &str) -> Self {
        Self::Answer(Answer::text(200, "application/json; charset=utf-8", body))
    }

    pub fn redirect(status: u16, location: &str) -> Self {
        Self::Answer(Answer::empty(status).with("Location", location))
    }
}

struct Scripted {
    at: Where,
    fault: Fault,
    /// How often it is still to happen; always if not said.
    left: Option<usize>,
}

pub struct Faults {
    script: Mutex<Vec<Scripted>>,
    /// Counts the releases; what stalls waits for the next one.
    released: watch::Sender<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { script: Mutex::default(), released: watch::Sender::new(0) }
    }
}

impl Faults {
    pub fn add(&self, at: Where, fault: Fault, times: Option<usize>) {
        let fits = !matches!(at, Where::Connect(_))
            || matches!(fault, Fault::Pass | Fault::Delay(_) | Fault::Stall | Fault::Reset | Fault::Garbage);
        assert!(fits, "{fault:?} needs a request, so it cannot happen to a connection");
        self.lock().push(Scripted { at, fault, left: times });
    }

    pub fn clear(&self) {
        self.lock().clear();
    }

    /// The fault a new connection to one of `services` meets.
    pub fn for_connection(&self, services: &[Service]) -> Fault {
        self.take(|at| matches!(at, Where::Connect(service) if services.contains(&service)))
    }

    /// The fault a request meets.
    pub fn for_request(&self, service: Option<Service>, endpoint: Endpoint) -> Fault {
        self.take(|at| match at {
            Where::Connect(_) => false,
            Where::Endpoint(at) => at == endpoint,
            Where::Service(at) => Some(at) == service,
            Where::Any => true,
        })
    }

    pub fn release(&self) {
        self.released.send_modify(|releases| *releases += 1);
    }

    /// Changes at the next release. To be had before a caller can know that something stalls, or
    /// its release could come first.
    pub fn releases(&self) -> watch::Receiver<u64> {
        self.released.subscribe()
    }

    /// The earliest scripted fault that applies and has not happened often enough.
    fn take(&self, applies: impl Fn(Where) -> bool) -> Fault {
        let mut script = self.lock();
        let Some(scripted) =
            script.iter_mut().find(|scripted| scripted.left != Some(0) && applies(scripted.at))
        else {
            return Fault::Pass;
        };
        if let Some(left) = &mut scripted.left {
            *left -= 1;
        }
        scripted.fault.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Scripted>> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
