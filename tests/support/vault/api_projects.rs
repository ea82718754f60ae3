//! Projects: list, create, get, rename and delete.

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::answer::Answer;
use super::api::{Call, encrypted};
use super::store::{Access, Project, State};
use super::{crypto, models};

type Result = std::result::Result<Answer, Answer>;

const NAME_LIMIT: usize = 1_000;

#[derive(Deserialize)]
struct ProjectBody {
    name: Option<String>,
}

pub fn list(call: &Call<'_>, state: &State) -> Result {
    call.own_organization()?;
    let projects: Vec<Value> = state
        .projects
        .iter()
        .filter_map(|(id, project)| {
            state.access(call.account, *id).map(|access| models::project(state, *id, project, access))
        })
        .collect();
    Ok(Answer::json(200, &models::list(&projects)))
}

/// The account that creates a project may write it.
pub fn create(call: &Call<'_>, state: &mut State) -> Result {
    let name = encrypted("name", call.json::<ProjectBody>()?.name, NAME_LIMIT)?;
    call.own_organization()?;
    let id = crypto::random_uuid();
    let project = Project { name, created: call.now, revised: call.now };
    let answer = Answer::json(200, &models::project(state, id, &project, Access::ReadWrite));
    let account = state.accounts.get_mut(&call.account).ok_or_else(Answer::not_found)?;
    account.grants.insert(id, Access::ReadWrite);
    account.revised = call.now;
    state.projects.insert(id, project);
    Ok(answer)
}

pub fn get(call: &Call<'_>, state: &State) -> Result {
    let id = call.route.id()?;
    let access = state.access(call.account, id).ok_or_else(Answer::not_found)?;
    let project = state.projects.get(&id).ok_or_else(Answer::not_found)?;
    Ok(Answer::json(200, &models::project(state, id, project, access)))
}

/// A new name does not move the accounts' revision dates, so no sync reports it.
pub fn rename(call: &Call<'_>, state: &mut State) -> Result {
    let name = encrypted("name", call.json::<ProjectBody>()?.name, NAME_LIMIT)?;
    let id = call.route.id()?;
    if state.access(call.account, id) != Some(Access::ReadWrite) {
        return Err(Answer::not_found());
    }
    let project = state.projects.get_mut(&id).ok_or_else(Answer::not_found)?;
    project.name = name;
    project.revised = call.now;
    let project = project.clone();
    Ok(Answer::json(200, &models::project(state, id, &project, Access::ReadWrite)))
}

pub fn delete(call: &Call<'_>, state: &mut State) -> Result {
    let ids: Vec<Uuid> = call.json()?;
    let known = ids.iter().all(|id| state.projects.contains_key(id));
    if ids.is_empty() || !known || Call::distinct(&ids).is_err() {
        return Err(Answer::not_found());
    }
    let mut lines = Vec::new();
    for id in ids {
        let allowed = state.access(call.account, id) == Some(Access::ReadWrite);
        if allowed {
            state.remove_project(id, call.now);
        }
        lines.push(models::deletion(id, (!allowed).then_some("access denied")));
    }
    Ok(Answer::json(200, &models::list(&lines)))
}
