//! The cloud's rate limits: fixed windows for each address, method and path.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::answer::Answer;
use super::date::Timestamp;
use super::endpoint::Service;

/// So many requests in a period.
#[derive(Clone, Copy)]
struct Rule {
    period: Duration,
    /// The period as the service writes it.
    text: &'static str,
    limit: u32,
}

const fn per_second(limit: u32) -> Rule {
    Rule { period: Duration::from_secs(1), text: "1s", limit }
}

const fn per_minute(limit: u32) -> Rule {
    Rule { period: Duration::from_secs(60), text: "1m", limit }
}

/// The rules for a request, the shorter period first.
fn rules(service: Service, method: &str, path: &str) -> &'static [Rule] {
    const LOGIN: &[Rule] = &[per_second(5), per_minute(10)];
    const OTHER: &[Rule] = &[per_second(5), per_minute(60)];
    const READ: &[Rule] = &[per_minute(200)];
    match (service, method) {
        (Service::Identity, "POST") if path == "/connect/token" => LOGIN,
        (Service::Identity, _) | (Service::Api, "POST" | "PUT" | "DELETE") => OTHER,
        (Service::Api, "GET") => READ,
        (Service::Api, _) => &[],
    }
}

type Counter = (IpAddr, &'static str, Service, String, String);

struct Window {
    opened: Timestamp,
    count: u32,
}

#[derive(Default)]
pub struct Limiter {
    windows: Mutex<HashMap<Counter, Window>>,
}

impl Limiter {
    /// Counts a request. Gives the headers of a success, or the refusal of one request too many,
    /// which is not counted.
    pub fn check(
        &self,
        now: Timestamp,
        from: IpAddr,
        service: Service,
        method: &str,
        path: &str,
    ) -> Result<Vec<(String, String)>, Answer> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let rules = rules(service, method, path);
        let counter = |rule: &Rule| (from, rule.text, service, method.to_owned(), path.to_owned());
        for rule in rules {
            let window = windows.entry(counter(rule)).or_insert(Window { opened: now, count: 0 });
            if now.since(window.opened) >= rule.period {
                *window = Window { opened: now, count: 0 };
            }
            if window.count >= rule.limit {
                return Err(refusal(rule, rule.period - now.since(window.opened)));
            }
        }
        let mut headers = Vec::new();
        for rule in rules {
            if let Some(window) = windows.get_mut(&counter(rule)) {
                window.count += 1;
                headers = vec![
                    ("X-Rate-Limit-Limit".to_owned(), rule.text.to_owned()),
                    ("X-Rate-Limit-Remaining".to_owned(), (rule.limit - window.count).to_string()),
                    ("X-Rate-Limit-Reset".to_owned(), window.opened.plus(rule.period).to_string()),
                ];
            }
        }
        Ok(headers)
    }
}

/// The API's error shape, from the identity service too.
fn refusal(rule: &Rule, wait: Duration) -> Answer {
    let seconds = wait.as_secs_f64().ceil().max(1.0);
    Answer::error(429, &format!("Slow down! Too many requests. Try again in {}.", rule.text))
        .with("Retry-After", &format!("{seconds:.0}"))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_window_fills_and_opens_again() {
        let limiter = Limiter::default();
        let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let start = Timestamp::from_unix_seconds(1_000);
        let login = |after: u64| {
            let now = start.plus(Duration::from_secs(after));
            limiter
                .check(now, from, Service::Identity, "POST", "/connect/token")
                .map_err(|refusal| refusal.headers)
        };
        let waits = |seconds: &str| Some(("Retry-After".to_owned(), seconds.to_owned()));
        assert!((0..5).all(|_| login(0).is_ok()));
        assert_eq!(login(0).err().and_then(|mut headers| headers.pop()), waits("1"));
        assert!((0..5).all(|_| login(2).is_ok()));
        assert_eq!(login(30).err().and_then(|mut headers| headers.pop()), waits("30"));
        assert!(login(60).is_ok());
    }
}
