//! An HTTP answer before it is sent, and the error shapes of the API.

use serde_json::{Value, json};

/// Status, headers and body. `Content-Length` and `Date` are added when it is sent.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    pub fn json(status: u16, body: &Value) -> Self {
        Self::text(status, "application/json; charset=utf-8", body.to_string())
    }

    pub fn text(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::empty(status) }.with("Content-Type", content_type)
    }

    /// The page of something that is not the API: a proxy, or the web vault's own 404.
    pub fn html(status: u16) -> Self {
        let body = format!(
            "<!DOCTYPE html>\n<html><head><title>{status}</title></head><body>{status}</body></html>\n"
        );
        Self::text(status, "text/html; charset=utf-8", body)
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The API's error shape.
    pub fn error(status: u16, message: &str) -> Self {
        Self::error_with(status, message, &Value::Null)
    }

    /// A refused field of a request.
    pub fn invalid(field: &str, problem: &str) -> Self {
        Self::error_with(400, "The model state is invalid.", &json!({ field: [problem] }))
    }

    /// Missing and forbidden look the same to a machine account.
    pub fn not_found() -> Self {
        Self::error(404, "Resource not found.")
    }

    /// No bearer, or none that is valid.
    pub fn unauthorized(bearer_given: bool) -> Self {
        let challenge = if bearer_given { "Bearer error=\"invalid_token\"" } else { "Bearer" };
        Self::empty(401).with("WWW-Authenticate", challenge)
    }

    fn error_with(status: u16, message: &str, validation_errors: &Value) -> Self {
        Self::json(
            status,
            &json!({
                "object": "error",
                "message": message,
                "validationErrors": validation_errors,
                "exceptionMessage": null,
                "exceptionStackTrace": null,
                "innerExceptionMessage": null,
            }),
        )
    }
}
