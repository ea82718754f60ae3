//! The JSON of the API's objects. Names are camelCase, absent values are nulls.

use serde_json::{Value, json};
use uuid::Uuid;

use super::store::{Access, Project, Secret, State};

/// A secret with its value, as sync and get-by-ids give it.
pub fn base_secret(state: &State, id: Uuid, secret: &Secret) -> Value {
    let mut model = listed_secret(state, id, secret);
    model["object"] = json!("baseSecret");
    model["value"] = json!(secret.value);
    model["note"] = json!(secret.note);
    model
}

/// A secret with its value and the caller's rights.
pub fn full_secret(state: &State, id: Uuid, secret: &Secret, access: Access) -> Value {
    let mut model = with_access(base_secret(state, id, secret), access);
    model["object"] = json!("secret");
    model
}

/// The answer of both lists: names without values, and each project once.
pub fn secrets_with_projects(state: &State, account: Uuid, secrets: &[(Uuid, &Secret)]) -> Value {
    let mut projects: Vec<Uuid> = secrets.iter().flat_map(|(_, secret)| &secret.projects).copied().collect();
    projects.sort_unstable();
    projects.dedup();
    let secrets: Vec<Value> = secrets
        .iter()
        .filter_map(|(id, secret)| {
            let access = state.access_to_secret(account, secret)?;
            Some(with_access(listed_secret(state, *id, secret), access))
        })
        .collect();
    json!({
        "object": "SecretsWithProjectsList",
        "secrets": secrets,
        "projects": named_projects(state, &projects),
    })
}

pub fn project(state: &State, id: Uuid, project: &Project, access: Access) -> Value {
    let model = json!({
        "object": "project",
        "id": id,
        "organizationId": state.organization.id,
        "name": project.name,
        "creationDate": project.created,
        "revisionDate": project.revised,
    });
    with_access(model, access)
}

pub fn list(data: &[Value]) -> Value {
    json!({ "object": "list", "data": data, "continuationToken": null })
}

/// One line of the answer to a deletion of several things.
pub fn deletion(id: Uuid, error: Option<&str>) -> Value {
    json!({ "object": "BulkDeleteResponseModel", "id": id, "error": error })
}

fn listed_secret(state: &State, id: Uuid, secret: &Secret) -> Value {
    json!({
        "id": id,
        "organizationId": state.organization.id,
        "key": secret.key,
        "creationDate": secret.created,
        "revisionDate": secret.revised,
        "projects": named_projects(state, &secret.projects),
    })
}

fn named_projects<'a>(state: &State, ids: impl IntoIterator<Item = &'a Uuid>) -> Vec<Value> {
    ids.into_iter()
        .filter_map(|id| state.projects.get(id).map(|project| json!({ "id": id, "name": project.name })))
        .collect()
}

fn with_access(mut model: Value, access: Access) -> Value {
    model["read"] = json!(true);
    model["write"] = json!(access == Access::ReadWrite);
    model
}
