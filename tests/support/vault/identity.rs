//! The identity service: `POST /connect/token`.
//!
//! Every refusal that concerns the token itself is the same `invalid_client`: unknown, revoked,
//! expired, wrong secret, account gone, organization disabled.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::answer::Answer;
use super::crypto;
use super::date::Timestamp;
use super::form;
use super::jwt::{self, Claims};
use super::store::State;

const SCOPE: &str = "api.secrets";

/// A login as it arrived.
pub struct Login<'a> {
    pub method: &'a str,
    pub content_type: &'a str,
    pub body: &'a [u8],
    /// The identity URL, which becomes the bearer's issuer.
    pub issuer: &'a str,
    /// How long the bearer is valid.
    pub life: Duration,
}

pub fn login(login: &Login<'_>, state: &State, now: Timestamp) -> Answer {
    match grant(login, state, now) {
        Ok(body) => Answer::json(200, &body).with("Cache-Control", "no-store"),
        Err(error) => Answer::json(400, &json!({ "error": error })),
    }
}

fn grant(login: &Login<'_>, state: &State, now: Timestamp) -> Result<Value, &'static str> {
    if login.method != "POST" || !login.content_type.starts_with("application/x-www-form-urlencoded") {
        return Err("invalid_request");
    }
    let fields: HashMap<String, String> = form::parse(login.body).into_iter().collect();
    let field = |name: &str| fields.get(name).map(String::as_str).filter(|value| !value.is_empty());

    let client = field("client_id").ok_or("invalid_client")?;
    let client: Uuid =
        client.strip_prefix("apikey.").unwrap_or(client).parse().map_err(|_| "invalid_client")?;
    let secret = field("client_secret").ok_or("invalid_client")?;
    let token = state.tokens.get(&client).ok_or("invalid_client")?;
    let expired = token.expires.is_some_and(|expires| expires <= now);
    let welcome = state.organization.enabled && state.accounts.contains_key(&token.account) && !expired;
    if !welcome || token.secret_hash != crypto::secret_hash(secret) {
        return Err("invalid_client");
    }
    match field("grant_type").ok_or("invalid_request")? {
        "client_credentials" => {}
        "authorization_code" | "password" | "refresh_token" => return Err("unauthorized_client"),
        _ => return Err("unsupported_grant_type"),
    }
    if field("scope").ok_or("invalid_request")? != SCOPE {
        return Err("invalid_scope");
    }

    let claims = Claims {
        nbf: now.unix_seconds(),
        exp: now.plus(login.life).unix_seconds(),
        iat: now.unix_seconds(),
        jti: crypto::random_uuid().simple().to_string(),
        iss: login.issuer.to_owned(),
        client_id: client,
        sub: token.account,
        organization: state.organization.id,
        kind: "ServiceAccount".to_owned(),
        scope: vec![SCOPE.to_owned()],
    };
    let mut body = json!({
        "access_token": jwt::sign(&claims, state.signing_key.as_bytes()),
        "expires_in": login.life.as_secs(),
        "token_type": "Bearer",
        "scope": SCOPE,
    });
    if let Some(payload) = &token.encrypted_payload {
        body["encrypted_payload"] = json!(payload);
    }
    Ok(body)
}
