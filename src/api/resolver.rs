//! Host names.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::oneshot;

/// `getaddrinfo` on a thread of its own, with an error that can be told from others. It cannot be
/// interrupted, but nobody waits for its thread: exec or exit ends it.
#[derive(Clone, Default)]
pub struct Resolver {
    asking: Arc<Mutex<Option<String>>>,
}

#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct DnsError {
    /// The server's, or the proxy's.
    pub name: String,
    pub cause: String,
}

impl Resolver {
    /// Forgets the question that was left without an answer, and tells its name.
    pub fn take_unanswered(&self) -> Option<String> {
        self.asking().take()
    }

    fn asking(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look_up(&self, name: &str) -> Result<Vec<SocketAddr>, DnsError> {
        // This very machine, to which plain http is spoken: no hosts file may be missing, and no DNS
        // server may say otherwise (RFC 6761, section 6.3).
        if name == "localhost" {
            return Ok(vec![(Ipv4Addr::LOCALHOST, 0).into(), (Ipv6Addr::LOCALHOST, 0).into()]);
        }
        let fault = |error: io::Error| {
            let cause = error.to_string();
            let cause = cause.strip_prefix("failed to lookup address information: ").unwrap_or(&cause);
            DnsError { name: name.into(), cause: cause.into() }
        };
        let (tell, told) = oneshot::channel();
        let asked = name.to_owned();
        *self.asking() = Some(asked.clone());
        let thread = std::thread::Builder::new().spawn(move || {
            let answer = (asked.as_str(), 0).to_socket_addrs().map(Iterator::collect);
            // Whoever asked may have given up.
            let _ = tell.send(answer);
        });
        let answer = match thread {
            Ok(_) => {
                told.await.unwrap_or_else(|_| Err(io::Error::other("the look-up ended without an answer")))
            }
            Err(error) => Err(io::Error::other(format!("no thread can be started for it: {error}"))),
        };
        *self.asking() = None;
        answer.map_err(fault)
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let addresses = resolver.look_up(name.as_str()).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
