//! Host names.

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// `getaddrinfo` on tokio's blocking pool, with an error that can be told from others. It cannot be
/// interrupted, but nobody waits for its thread.
pub struct Resolver;

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DnsError(pub String);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            match tokio::net::lookup_host((name.as_str(), 0)).await {
                Ok(addresses) => Ok(Box::new(addresses.collect::<Vec<_>>().into_iter()) as Addrs),
                Err(error) => {
                    let cause = error.to_string();
                    let cause =
                        cause.strip_prefix("failed to lookup address information: ").unwrap_or(&cause);
                    Err(DnsError(cause.to_owned()).into())
                }
            }
        })
    }
}
