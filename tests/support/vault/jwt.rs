//! Bearers: the JWT that a login gives and the API asks for.
//!
//! The cloud signs with RS256. Clients do not check the signature, so an HMAC does here.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use uuid::Uuid;

use super::date::Timestamp;

/// How long a bearer is valid.
pub const LIFE: Duration = Duration::from_secs(3_600);
/// The API's tolerance at both ends of a bearer's life: the default of its library.
const CLOCK_SKEW_SECONDS: i64 = 300;

#[derive(Serialize, Deserialize)]
pub struct Claims {
    pub nbf: i64,
    pub exp: i64,
    pub iat: i64,
    pub jti: String,
    pub iss: String,
    pub client_id: Uuid,
    /// The machine account.
    pub sub: Uuid,
    pub organization: Uuid,
    #[serde(rename = "type")]
    pub kind: String,
    pub scope: Vec<String>,
}

pub fn sign(claims: &Claims, key: &[u8]) -> String {
    let header = r#"{"alg":"HS256","kid":"local-vault","typ":"at+jwt"}"#;
    let claims = serde_json::to_vec(claims).expect("claims are plain JSON");
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = mac(&signed, key).finalize().into_bytes();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The claims of a bearer that was signed with `key` and is valid at `now`.
pub fn verify(bearer: &str, key: &[u8], now: Timestamp) -> Option<Claims> {
    let (signed, signature) = bearer.rsplit_once('.')?;
    mac(signed, key).verify_slice(&URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
    let (_, claims) = signed.split_once('.')?;
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    let now = now.unix_seconds();
    let valid = claims.nbf - CLOCK_SKEW_SECONDS <= now && now < claims.exp + CLOCK_SKEW_SECONDS;
    valid.then_some(claims)
}

fn mac(signed: &str, key: &[u8]) -> Hmac<Sha256> {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    hmac.update(signed.as_bytes());
    hmac
}
