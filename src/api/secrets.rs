//! Fetching everything the account may read.

use std::time::SystemTime;

use reqwest::Url;
use zeroize::Zeroizing;

use super::auth::Session;
use super::http::{Http, Request};
use super::wire::{Listing, SecretList, Sync};
use crate::error::{Error, Stage};
use crate::ids::SecretId;
use crate::snapshot::EncryptedSecret;

/// What a fetch brings.
pub struct Fetched {
    /// Everything that can be read, or `None` if nothing has changed.
    pub secrets: Option<Vec<EncryptedSecret>>,
    /// The server's clock at that moment, if it tells.
    pub date: Option<SystemTime>,
}

/// One GET that brings all secrets with their values, or nothing if nothing has changed since a moment of
/// the server's own clock. A server that does not have it (404, 405) is old and is asked for the list, then
/// for the secrets of that list.
pub async fn fetch(
    http: &Http<'_>,
    api: &Url,
    session: &Session,
    since: Option<SystemTime>,
) -> Result<Fetched, Error> {
    let organization = session.organization.to_string();
    let list = ["organizations", &organization, "secrets"];
    let mut url = super::join(api, &[&list[..], &["sync"]].concat());
    if let Some(since) = since {
        let date = humantime::format_rfc3339_seconds(since).to_string();
        url.query_pairs_mut().append_pair("lastSyncedDate", &date);
    }
    let request = get(url, session);
    let answer = http
        .send(&request, |answer| {
            if matches!(answer.status, 404 | 405) && !answer.web_page {
                return Ok(None);
            }
            answer.check()?;
            let sync: Sync = answer.json()?;
            // Without a date everything is sent, whatever `hasChanges` says.
            if sync.secrets.is_none() && (since.is_none() || sync.has_changes != Some(false)) {
                return Err(answer.not_the_protocol("a full sync without secrets"));
            }
            Ok(Some((sync.secrets, answer.date)))
        })
        .await?;
    let (secrets, date) = match answer {
        Some(answer) => answer,
        None => (Some(list_and_get(http, api, session, super::join(api, &list)).await?), None),
    };
    let decoded = |list: SecretList| list.data.into_iter().map(EncryptedSecret::from).collect();
    Ok(Fetched { secrets: secrets.map(decoded), date })
}

/// The older way. `get-by-ids` answers 404 for all if one of them has gone since the list was made,
/// so the list is made once more before that is believed.
async fn list_and_get(http: &Http<'_>, api: &Url, session: &Session, list: Url) -> Result<SecretList, Error> {
    let list = get(list, session);
    let mut result = Err(Error::Internal("no attempt was made".into()));
    for _ in 0..2 {
        let listing: Listing = http.send(&list, |answer| answer.check().and_then(|()| answer.json())).await?;
        let ids: Vec<SecretId> = listing.secrets.into_iter().map(|secret| secret.id).collect();
        if ids.is_empty() {
            return Ok(SecretList { data: Vec::new() });
        }
        result = get_by_ids(http, api, session, &ids).await;
        if !matches!(result, Err(Error::NotFound { .. })) {
            break;
        }
    }
    result
}

async fn get_by_ids(
    http: &Http<'_>,
    api: &Url,
    session: &Session,
    ids: &[SecretId],
) -> Result<SecretList, Error> {
    let ids: Vec<String> = ids.iter().map(SecretId::to_string).collect();
    let body = serde_json::json!({ "ids": ids }).to_string().into_bytes();
    let request = Request {
        stage: Stage::Fetch,
        url: super::join(api, &["secrets", "get-by-ids"]),
        bearer: Some(&session.bearer),
        body: Some(("application/json; charset=utf-8", Zeroizing::new(body))),
    };
    http.send(&request, |answer| answer.check().and_then(|()| answer.json())).await
}

fn get(url: Url, session: &Session) -> Request<'_> {
    Request { stage: Stage::Fetch, url, bearer: Some(&session.bearer), body: None }
}
