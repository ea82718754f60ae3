//! What went wrong on the way, told by the error at the root of reqwest's.

use std::error::Error as _;

use super::resolver::DnsError;
use crate::error::{Error, Stage};

/// Turns a transport error into ours by what lies at its root.
pub fn classify(error: reqwest::Error, host: &str, stage: Stage) -> Error {
    let host = host.to_owned();
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(DnsError { name, cause }) = cause.downcast_ref() {
            return Error::Dns { host: name.clone(), cause: cause.clone() };
        }
        if let Some(tls) = carried(cause).downcast_ref() {
            return classify_tls(tls, host, stage);
        }
        if let Some(http) = cause.downcast_ref::<hyper::Error>()
            && (http.is_parse() || http.is_parse_status())
        {
            return Error::Protocol { host, stage, problem: "it does not speak HTTP".into() };
        }
        source = cause.source();
    }
    let cause = innermost(&error);
    match (error.is_connect(), error.is_timeout()) {
        (true, _) => Error::Connect { host, cause },
        (false, true) => Error::Timeout { host, stage },
        (false, false) => Error::Broken { host, stage, cause },
    }
}

fn classify_tls(error: &rustls::Error, host: String, stage: Stage) -> Error {
    use rustls::CertificateError as C;
    let problem = match error {
        rustls::Error::InvalidCertificate(problem) => match problem {
            C::UnknownIssuer => "it is not issued by a trusted authority".to_owned(),
            C::Expired | C::ExpiredContext { .. } => "it has expired".to_owned(),
            C::NotValidYet | C::NotValidYetContext { .. } => "it is not valid yet".to_owned(),
            // A certificate authority made anew under its old name.
            C::BadSignature => "its signature is not by the trusted authority of that name".to_owned(),
            C::NotValidForName | C::NotValidForNameContext { .. } => "it is for another name".to_owned(),
            other => other.to_string(),
        },
        rustls::Error::AlertReceived(_) => {
            return Error::Broken { host, stage, cause: error.to_string() };
        }
        _ => return Error::Protocol { host, stage, problem: format!("no TLS connection: {error}") },
    };
    Error::Certificate { host, problem }
}

/// What an `io::Error` carries, which its `source` skips. They may be wrapped several times.
fn carried<'a>(mut error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    while let Some(inner) = error.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref()) {
        error = inner;
    }
    error
}

/// The message at the bottom of a chain, which is the one that tells something.
pub fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
