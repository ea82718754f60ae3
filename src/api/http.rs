//! Requests over HTTPS: bounded in time and size, retried by the schedule, every failure classified.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};
use zeroize::{Zeroize, Zeroizing};

use super::answer::Answer;
use super::fault::{classify, innermost};
use super::resolver::Resolver;
use super::retry::{Next, Schedule, parse_retry_after};
use super::{Contact, Transport, tls};
use crate::error::{Error, Stage, seconds};
use crate::random::jitter;

/// Bodies beyond this are an error. An account of 2,000 secrets of the greatest size fits.
const BODY_LIMIT: usize = 64 * 1024 * 1024;
/// A lost packet at connect, or a connection that fell silent, leaves time for another attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// At least; half of the budget if that is more, so that a slow server can be given time.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a rate limit is taken to last if it does not say so.
const UNSAID: Duration = Duration::from_secs(10);

/// What is sent. It is built anew for every attempt.
pub struct Request<'a> {
    pub stage: Stage,
    pub url: Url,
    pub bearer: Option<&'a SecretString>,
    /// A POST with this body and content type; otherwise a GET.
    pub body: Option<(&'static str, Zeroizing<Vec<u8>>)>,
}

/// A client for both servers.
pub struct Http<'a> {
    client: reqwest::Client,
    resolver: Resolver,
    contact: Contact<'a>,
    /// On a terminal a person waits, who learns more from the message than from the wait.
    fail_at_once: bool,
}

impl<'a> Http<'a> {
    pub fn new(transport: &Transport, contact: Contact<'a>) -> Result<Self, Error> {
        let deadline = contact.deadline;
        let resolver = Resolver::default();
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_config(&transport.trust, deadline)?)
            .dns_resolver(Arc::new(resolver.clone()))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .http1_only()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE_TIMEOUT.max(deadline.budget / 2))
            .user_agent(concat!("bws-exec/", env!("CARGO_PKG_VERSION")))
            .no_proxy();
        // reqwest takes `*` for all names, but not for addresses.
        let without = transport.no_proxy.as_deref().is_some_and(|exceptions| exceptions.trim() == "*");
        if let Some(proxy) = transport.proxy.as_ref().filter(|_| !without) {
            let exceptions = transport.no_proxy.as_deref().and_then(reqwest::NoProxy::from_string);
            // What stands before an '@' may be a password, in a URL that is none too.
            let shown = if proxy.contains('@') { "(not shown)" } else { proxy };
            let fault = |problem: String| Error::Proxy { url: shown.into(), problem };
            // Without a scheme it is http, as curl and others have it.
            let with_scheme = match proxy.split_once("://") {
                Some(("http" | "https", _)) => proxy.clone(),
                Some(_) => return Err(fault("only http:// and https:// proxies are supported".into())),
                None => format!("http://{proxy}"),
            };
            // For https only: plain http is for this very machine and must not leave it.
            let proxy = reqwest::Proxy::https(with_scheme).map_err(|error| fault(innermost(&error)))?;
            builder = builder.proxy(proxy.no_proxy(exceptions));
        }
        let client = builder.build().map_err(|error| Error::Internal(innermost(&error)))?;
        Ok(Self { client, resolver, contact, fail_at_once: transport.fail_at_once })
    }

    /// Sends until there is a result, an error that will not pass, or no time left.
    pub async fn send<T>(
        &self,
        request: &Request<'_>,
        read: impl Fn(Answer) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Contact { deadline, once, report, .. } = self.contact;
        let mut schedule = Schedule::default();
        let mut before = None;
        loop {
            let error = match self.attempt(request).await.and_then(&read) {
                Ok(result) => return Ok(result),
                Err(error) if !error.class().may_retry() => return Err(error),
                Err(error) if once => {
                    self.remember_limit(request.stage, &error);
                    return Err(error);
                }
                // That the deadline cut the last attempt says less than why there was one.
                Err(error @ (Error::Timeout { .. } | Error::Dns { .. })) if deadline.left().is_zero() => {
                    before.take().unwrap_or(error)
                }
                Err(error) => error,
            };
            self.remember_limit(request.stage, &error);
            match schedule.failed(deadline.left(), error.retry_after(), jitter()) {
                Next::After(pause) => {
                    report.notice(&format!("{error}; trying again in {}", seconds(pause)));
                    tokio::time::sleep(pause).await;
                    before = Some(error);
                }
                Next::GiveUp(pause) => {
                    if !self.fail_at_once {
                        tokio::time::sleep(pause).await;
                    }
                    let attempts = schedule.attempts();
                    if attempts == 1 {
                        return Err(error);
                    }
                    return Err(Error::GaveUp { last: error.into(), attempts, deadline: deadline.budget });
                }
            }
        }
    }

    fn remember_limit(&self, stage: Stage, error: &Error) {
        if let Error::RateLimited { retry_after, .. } = error {
            (self.contact.limited)(stage, retry_after.unwrap_or(UNSAID));
        }
    }

    async fn attempt(&self, request: &Request<'_>) -> Result<Answer, Error> {
        let (host, stage) = (host(&request.url), request.stage);
        let exchange = self.exchange(request, &host);
        let result = tokio::time::timeout_at(self.contact.deadline.at.into(), exchange).await;
        match (result, self.resolver.take_unanswered()) {
            (Ok(Ok(answer)), _) => Ok(answer),
            // However the time ended, it was spent here.
            (_, Some(host)) => Err(Error::Dns { host, cause: "no answer in time".into() }),
            (Ok(Err(error)), None) => Err(error),
            (Err(_), None) => Err(Error::Timeout { host, stage }),
        }
    }

    async fn exchange(&self, request: &Request<'_>, host: &str) -> Result<Answer, Error> {
        let stage = request.stage;
        let fault = |error| classify(error, host, stage);
        let method = if request.body.is_some() { Method::POST } else { Method::GET };
        let mut builder = self.client.request(method, request.url.clone()).header(ACCEPT, "application/json");
        if let Some(bearer) = request.bearer {
            // EXPOSE: the bearer goes into the header, marked so that it is never printed.
            let text = Zeroizing::new(format!("Bearer {}", bearer.expose_secret()));
            let mut value = HeaderValue::from_str(&text).map_err(|_| Error::Protocol {
                host: host.into(),
                stage,
                problem: "the session cannot be sent in a header".into(),
            })?;
            value.set_sensitive(true);
            builder = builder.header(AUTHORIZATION, value);
        }
        if let Some((content_type, body)) = &request.body {
            // `from_owner` drops the copy when it is sent, and dropping wipes it.
            builder = builder.header(CONTENT_TYPE, *content_type).body(Bytes::from_owner(body.clone()));
        }
        let mut response = builder.send().await.map_err(fault)?;

        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let declared_web_page = header(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/html"));
        let location = header(LOCATION).filter(|target| !target.is_empty()).map(without_credentials);
        let retry_after = header(RETRY_AFTER).and_then(|value| parse_retry_after(value, SystemTime::now()));
        let date = header(DATE).and_then(|value| httpdate::parse_http_date(value).ok());
        let status = response.status().as_u16();

        let oversize = || Error::Oversize { host: host.into(), limit: BODY_LIMIT };
        let announced = usize::try_from(response.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
        if announced > BODY_LIMIT {
            return Err(oversize());
        }
        let mut body = Zeroizing::new(Vec::with_capacity(announced));
        while let Some(chunk) = response.chunk().await.map_err(fault)? {
            if body.len() + chunk.len() > BODY_LIMIT {
                return Err(oversize());
            }
            append(&mut body, &chunk);
        }
        let web_page = declared_web_page || body.trim_ascii_start().starts_with(b"<");
        Ok(Answer { host: host.into(), stage, status, body, web_page, location, retry_after, date })
    }
}

/// Grows by hand: `Vec` would free its old buffer without wiping it.
fn append(body: &mut Zeroizing<Vec<u8>>, chunk: &[u8]) {
    if body.capacity() - body.len() < chunk.len() {
        let mut larger = Vec::with_capacity((body.capacity() * 2).max(body.len() + chunk.len()));
        larger.extend_from_slice(body);
        body.zeroize();
        **body = larger;
    }
    body.extend_from_slice(chunk);
}

/// `host` or `host:port`, as the user would write it.
pub fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The target of a redirect for a message: neither credentials nor a query are shown.
fn without_credentials(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = text.split_at(text.find("//").map_or(0, |at| at + 2));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    format!("{scheme}{}{path}", authority.rsplit_once('@').map_or(authority, |(_, shown)| shown))
}

#[cfg(test)]
mod tests {
    use super::without_credentials;

    #[test]
    fn what_is_shown_of_a_redirect() {
        for (target, shown) in [
            ("https://vault.example.org/login", "https://vault.example.org/login"),
            ("https://user:pass@vault.example.org/", "https://vault.example.org/"),
            ("//user:pass@vault.example.org?a@b", "//vault.example.org"),
            ("/login?ticket=secret", "/login"),
            (
                "https://vault.example.org/login/@bitwarden.com",
                "https://vault.example.org/login/@bitwarden.com",
            ),
            ("https://idp.example.org/#access_token=secret", "https://idp.example.org/"),
        ] {
            assert_eq!(without_credentials(target), shown);
        }
    }
}
