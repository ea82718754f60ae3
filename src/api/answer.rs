//! What came back, and what its status means.

use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use crate::error::{Error, Stage};

/// What came back, whatever its status.
pub struct Answer {
    pub host: String,
    pub stage: Stage,
    pub status: u16,
    pub body: Zeroizing<Vec<u8>>,
    pub web_page: bool,
    pub location: Option<String>,
    pub retry_after: Option<Duration>,
    /// The server's clock when it answered.
    pub date: Option<SystemTime>,
}

impl Answer {
    /// Statuses that mean the same for every request. What a 400 or 404 says is for the caller.
    pub fn check(&self) -> Result<(), Error> {
        let (host, stage, status) = (self.host.clone(), self.stage, self.status);
        match status {
            200..=299 if self.web_page => Err(Error::WebPage { host, stage, status }),
            200..=299 => Ok(()),
            300..=399 => {
                let target = self.location.clone().unwrap_or_else(|| "an unnamed place".into());
                Err(Error::Redirect { host, stage, target })
            }
            401 => Err(Error::Unauthorized { host }),
            403 if self.web_page => Err(Error::Intercepted { host, stage }),
            403 => Err(Error::Forbidden { host }),
            408 | 500..=599 => Err(Error::Unavailable { host, stage, status, retry_after: self.retry_after }),
            429 => Err(Error::RateLimited { host, stage, retry_after: self.retry_after }),
            _ if self.web_page => Err(Error::WebPage { host, stage, status }),
            404 => Err(Error::NotFound { host, stage }),
            _ => Err(self.not_the_protocol(format!("HTTP status {status}"))),
        }
    }

    /// Reads the body. `serde_json`'s own message may quote data, so only the place is told.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let place = format!("line {} column {}", error.line(), error.column());
            if error.is_eof() {
                // Without a Content-Length a cut connection looks like this.
                let cause = format!("the answer ends early, at {place}");
                Error::Broken { host: self.host.clone(), stage: self.stage, cause }
            } else if error.is_data() {
                self.not_the_protocol(format!("a field is missing or of the wrong kind at {place}"))
            } else {
                self.not_the_protocol(format!("invalid JSON at {place}"))
            }
        })
    }

    pub fn not_the_protocol(&self, problem: impl Into<String>) -> Error {
        Error::Protocol { host: self.host.clone(), stage: self.stage, problem: problem.into() }
    }
}
