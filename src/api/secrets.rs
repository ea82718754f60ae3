//! Fetching everything the account may read.

use reqwest::Url;
use zeroize::Zeroizing;

use super::auth::Session;
use super::http::{Http, Request};
use super::wire::{Listing, SecretList, Sync};
use crate::error::{Error, Stage};
use crate::ids::SecretId;
use crate::snapshot::EncryptedSecret;

/// One GET that brings all secrets with their values. A server that does not have it (404, 405) is
/// old and is asked for the list, then for the secrets of that list.
pub async fn fetch(http: &Http<'_>, api: &Url, session: &Session) -> Result<Vec<EncryptedSecret>, Error> {
    let organization = session.organization.to_string();
    let list = ["organizations", &organization, "secrets"];
    let request = get(super::join(api, &[&list[..], &["sync"]].concat()), session);
    let sync = http
        .send(&request, |answer| {
            if matches!(answer.status, 404 | 405) && !answer.web_page {
                return Ok(None);
            }
            answer.check()?;
            let sync: Sync = answer.json()?;
            // Without a date everything is sent, whatever `hasChanges` says.
            sync.secrets.map(Some).ok_or_else(|| answer.not_the_protocol("a full sync without secrets"))
        })
        .await?;
    let secrets = match sync {
        Some(secrets) => secrets,
        None => list_and_get(http, api, session, super::join(api, &list)).await?,
    };
    Ok(secrets.data.into_iter().map(EncryptedSecret::from).collect())
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
