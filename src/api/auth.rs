//! Login: the access token becomes a session.

use std::fmt;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::answer::Answer;
use super::http::{Http, Request};
use super::wire::{Claims, Login, LoginFailure, Payload};
use crate::crypto::{EncString, OrganizationKey, SymmetricKey, decode_base64};
use crate::error::{CryptoProblem, Error, Stage};
use crate::ids::OrganizationId;
use crate::token::AccessToken;

/// What a login gives: a bearer for an hour, and the key of the organization.
pub struct Session {
    pub bearer: SecretString,
    /// How long the bearer lives, from when it was received.
    pub lifetime: Duration,
    pub organization: OrganizationId,
    pub key: OrganizationKey,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({}, [redacted])", self.organization)
    }
}

/// `POST {identity}/connect/token` with the client credentials grant (RFC 6749, section 4.4).
pub async fn login(http: &Http<'_>, identity: &Url, token: &AccessToken) -> Result<Session, Error> {
    // EXPOSE: the form is the one place where the client secret leaves us.
    let client_secret = utf8_percent_encode(token.client_secret.expose_secret(), NON_ALPHANUMERIC);
    let form = Zeroizing::new(format!(
        "grant_type=client_credentials&scope=api.secrets&client_id={}&client_secret={client_secret}",
        token.id
    ));
    let request = Request {
        stage: Stage::Login,
        url: super::join(identity, &["connect", "token"]),
        bearer: None,
        body: Some((
            "application/x-www-form-urlencoded; charset=utf-8",
            Zeroizing::new(form.as_bytes().to_vec()),
        )),
    };
    let (login, organization) = http.send(&request, |answer| read_login(&answer, token)).await?;
    let key = organization_key(login.encrypted_payload, &token.key)?;
    let lifetime = Duration::from_secs(login.expires_in.unwrap_or(0));
    Ok(Session { bearer: login.access_token, lifetime, organization, key })
}

fn read_login(answer: &Answer, token: &AccessToken) -> Result<(Login, OrganizationId), Error> {
    // OAuth allows 401 beside 400 for `invalid_client` (RFC 6749, section 5.2).
    if matches!(answer.status, 400 | 401)
        && let Ok(LoginFailure { error: Some(error), error_description }) = answer.json()
    {
        let host = answer.host.clone();
        return Err(match error.as_str() {
            "invalid_client" => Error::InvalidClient { host, token: token.id },
            _ => Error::LoginRefused { host, reason: reason(&error, error_description.as_deref()) },
        });
    }
    match answer.check() {
        // There is no session yet that could have been refused.
        Err(Error::Unauthorized { host } | Error::Forbidden { host }) => {
            Err(Error::LoginRefused { host, reason: format!("HTTP status {}", answer.status) })
        }
        other => other,
    }?;
    let login: Login = answer.json()?;
    let claims = Claims::of(login.access_token.expose_secret())
        .ok_or_else(|| answer.not_the_protocol("the bearer names no organization"))?;
    Ok((login, claims.organization))
}

/// The server's words, cut to a length that a message can bear.
fn reason(error: &str, description: Option<&str>) -> String {
    let text = description.map_or_else(|| error.to_owned(), |more| format!("{error}: {more}"));
    text.chars().take(200).collect()
}

/// Opens the payload of a login: `{"encryptionKey":"<base64>"}` under the token's key.
fn organization_key(payload: Option<String>, token_key: &SymmetricKey) -> Result<OrganizationKey, Error> {
    let problem = |problem| Error::OrganizationKey { problem };
    let payload = payload.filter(|text| !text.is_empty()).ok_or(Error::NoPayload)?;
    let payload = EncString::decrypt_text(&payload, token_key).map_err(problem)?;
    let payload: Payload =
        serde_json::from_slice(&payload).map_err(|_| problem(CryptoProblem::PayloadForm))?;
    // EXPOSE: the organization key goes into its own type.
    let bytes = decode_base64(payload.encryption_key.expose_secret())
        .ok_or_else(|| problem(CryptoProblem::PayloadForm))?;
    OrganizationKey::from_slice(&bytes).map_err(problem)
}
