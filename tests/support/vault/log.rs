//! What was asked of the vault: no bodies, no bearers, nothing to protect.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::endpoint::Endpoint;

/// One request, from the moment its body was read.
#[derive(Clone, Debug)]
pub struct Request {
    pub endpoint: Endpoint,
    pub method: String,
    /// Relative to the service's base URL.
    pub path: String,
    pub query: String,
    /// It carried a bearer that was valid then.
    pub authenticated: bool,
    /// The status it was answered with; none yet, or none at all after some faults.
    pub status: Option<u16>,
    /// When that answer asked to come back.
    pub retry_after: Option<Duration>,
    pub at: Instant,
    pub user_agent: String,
}

#[derive(Default)]
pub struct Log {
    entries: Mutex<Entries>,
    changed: Condvar,
}

#[derive(Default)]
struct Entries {
    requests: Vec<Request>,
    connections: usize,
    /// How many requests were cleared away: serial numbers go on.
    cleared: usize,
}

impl Log {
    pub fn connected(&self) {
        self.lock().connections += 1;
        self.changed.notify_all();
    }

    /// Enters a request and gives its serial number.
    pub fn arrived(&self, request: Request) -> usize {
        let mut entries = self.lock();
        entries.requests.push(request);
        self.changed.notify_all();
        entries.cleared + entries.requests.len() - 1
    }

    pub fn answered(&self, serial: usize, status: u16, retry_after: Option<Duration>) {
        let mut entries = self.lock();
        let cleared = entries.cleared;
        if let Some(request) = serial.checked_sub(cleared).and_then(|index| entries.requests.get_mut(index)) {
            request.status = Some(status);
            request.retry_after = retry_after;
        }
        self.changed.notify_all();
    }

    pub fn requests(&self) -> Vec<Request> {
        self.lock().requests.clone()
    }

    pub fn connections(&self) -> usize {
        self.lock().connections
    }

    pub fn clear(&self) {
        let mut entries = self.lock();
        entries.cleared += entries.requests.len();
        entries.requests.clear();
        entries.connections = 0;
    }

    /// Waits until the log is as wished, at most for `limit`.
    pub fn wait_for(&self, limit: Duration, wished: impl Fn(&[Request], usize) -> bool) -> bool {
        let unwished = |entries: &mut Entries| !wished(&entries.requests, entries.connections);
        let waited = self.changed.wait_timeout_while(self.lock(), limit, unwished);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
