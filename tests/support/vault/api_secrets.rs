//! Secrets: sync, the lists, get, get-by-ids, create, update and delete.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::answer::Answer;
use super::api::{Call, encrypted};
use super::date::Timestamp;
use super::store::{Access, Secret, State};
use super::{crypto, form, models};

type Result = std::result::Result<Answer, Answer>;

/// The limits of the EncString texts.
const KEY_LIMIT: usize = 1_000;
const VALUE_LIMIT: usize = 35_000;
const NOTE_LIMIT: usize = 10_000;

/// Everything the account can read, or the news that nothing has changed. Never a part.
pub fn sync(call: &Call<'_>, state: &State) -> Result {
    let last_synced = last_synced_date(call.query)?;
    if last_synced.is_some_and(|date| date > call.now) {
        return Err(Answer::error(400, "Last synced date must be in the past."));
    }
    call.own_organization()?;
    if let Some(date) = last_synced {
        let account = state.accounts.get(&call.account).ok_or_else(Answer::not_found)?;
        if date > account.revised {
            return Ok(Answer::json(
                200,
                &json!({ "object": "secretsSync", "hasChanges": false, "secrets": null }),
            ));
        }
    }
    let secrets: Vec<Value> = state
        .readable_secrets(call.account)
        .into_iter()
        .map(|(id, secret)| models::base_secret(state, id, secret))
        .collect();
    let body = json!({ "object": "secretsSync", "hasChanges": true, "secrets": models::list(&secrets) });
    Ok(Answer::json(200, &body))
}

fn last_synced_date(query: &str) -> std::result::Result<Option<Timestamp>, Answer> {
    let mut fields = form::parse(query.as_bytes()).into_iter();
    let date = fields.find(|(name, value)| name.eq_ignore_ascii_case("lastSyncedDate") && !value.is_empty());
    let Some((name, date)) = date else { return Ok(None) };
    match Timestamp::parse(&date) {
        Some(date) => Ok(Some(date)),
        None => Err(Answer::invalid(&name, &format!("The value '{date}' is not valid."))),
    }
}

pub fn list(call: &Call<'_>, state: &State) -> Result {
    call.own_organization()?;
    let secrets = state.readable_secrets(call.account);
    Ok(Answer::json(200, &models::secrets_with_projects(state, call.account, &secrets)))
}

/// A project that exists but is not the account's is empty, and not missing.
pub fn list_by_project(call: &Call<'_>, state: &State) -> Result {
    let project = call.route.id()?;
    if !state.projects.contains_key(&project) {
        return Err(Answer::not_found());
    }
    let mut secrets = Vec::new();
    if state.access(call.account, project).is_some() {
        secrets = state.readable_secrets(call.account);
        secrets.retain(|(_, secret)| secret.projects.contains(&project));
    }
    Ok(Answer::json(200, &models::secrets_with_projects(state, call.account, &secrets)))
}

pub fn get(call: &Call<'_>, state: &State) -> Result {
    let (id, secret, access) = find(call, state, call.route.id()?)?;
    Ok(Answer::json(200, &models::full_secret(state, id, secret, access)))
}

/// All of the secrets asked for, or none.
pub fn get_by_ids(call: &Call<'_>, state: &State) -> Result {
    #[derive(Deserialize)]
    struct Body {
        ids: Vec<Uuid>,
    }
    let Body { ids } = call.json()?;
    if let Err(twice) = Call::distinct(&ids) {
        let twice: Vec<String> = twice.iter().map(Uuid::to_string).collect();
        return Err(Answer::error(400, &format!("Ids were given twice: {}", twice.join(" "))));
    }
    if ids.is_empty() {
        return Err(Answer::not_found());
    }
    let secrets = ids
        .into_iter()
        .map(|id| find(call, state, id).map(|(id, secret, _)| models::base_secret(state, id, secret)))
        .collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(Answer::json(200, &models::list(&secrets)))
}

/// The body of create and update.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SecretBody {
    key: Option<String>,
    value: Option<String>,
    note: Option<String>,
    project_ids: Option<BTreeSet<Uuid>>,
}

impl SecretBody {
    fn texts(&mut self) -> std::result::Result<(String, String, String), Answer> {
        Ok((
            encrypted("key", self.key.take(), KEY_LIMIT)?,
            encrypted("value", self.value.take(), VALUE_LIMIT)?,
            encrypted("note", self.note.take(), NOTE_LIMIT)?,
        ))
    }
}

/// A machine account creates in exactly one project, which it can write.
pub fn create(call: &Call<'_>, state: &mut State) -> Result {
    let mut body: SecretBody = call.json()?;
    let (key, value, note) = body.texts()?;
    let projects = body.project_ids.unwrap_or_default();
    if projects.len() > 1 {
        return Err(Answer::invalid("projectIds", "Only one project assignment is supported."));
    }
    call.own_organization()?;
    if projects.is_empty() || !may_write_all(call, state, &projects) {
        return Err(Answer::not_found());
    }
    let id = crypto::random_uuid();
    let secret = Secret { key, value, note, projects, created: call.now, revised: call.now };
    let answer = Answer::json(200, &models::full_secret(state, id, &secret, Access::ReadWrite));
    state.put_secret(id, secret);
    Ok(answer)
}

/// Without `projectIds` the secret stays where it is.
pub fn update(call: &Call<'_>, state: &mut State) -> Result {
    let mut body: SecretBody = call.json()?;
    let (key, value, note) = body.texts()?;
    let moved_to = body.project_ids;
    if moved_to.as_ref().is_some_and(|projects| projects.len() > 1) {
        return Err(Answer::invalid("projectIds", "Only one project assignment is supported."));
    }
    let (id, old, access) = find(call, state, call.route.id()?)?;
    let may_move =
        moved_to.as_ref().is_none_or(|projects| !projects.is_empty() && may_write_all(call, state, projects));
    if access != Access::ReadWrite || !may_move {
        return Err(Answer::not_found());
    }
    let projects = moved_to.unwrap_or_else(|| old.projects.clone());
    let secret = Secret { key, value, note, projects, created: old.created, revised: call.now };
    let answer = Answer::json(200, &models::full_secret(state, id, &secret, access));
    state.put_secret(id, secret);
    Ok(answer)
}

pub fn delete(call: &Call<'_>, state: &mut State) -> Result {
    let ids: Vec<Uuid> = call.json()?;
    let known = ids.iter().all(|id| state.secrets.contains_key(id));
    if ids.is_empty() || !known || Call::distinct(&ids).is_err() {
        return Err(Answer::not_found());
    }
    let mut lines = Vec::new();
    for id in ids {
        let allowed = find(call, state, id).is_ok_and(|(_, _, access)| access == Access::ReadWrite);
        if allowed {
            state.remove_secret(id, call.now);
        }
        lines.push(models::deletion(id, (!allowed).then_some("access denied")));
    }
    Ok(Answer::json(200, &models::list(&lines)))
}

fn find<'s>(
    call: &Call<'_>,
    state: &'s State,
    id: Uuid,
) -> std::result::Result<(Uuid, &'s Secret, Access), Answer> {
    let secret = state.secrets.get(&id).ok_or_else(Answer::not_found)?;
    let access = state.access_to_secret(call.account, secret).ok_or_else(Answer::not_found)?;
    Ok((id, secret, access))
}

fn may_write_all(call: &Call<'_>, state: &State, projects: &BTreeSet<Uuid>) -> bool {
    projects.iter().all(|project| state.access(call.account, *project) == Some(Access::ReadWrite))
}
