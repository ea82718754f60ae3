//! The API service, as a machine account sees it: who asks, what for, and the reading of bodies.

use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::answer::Answer;
use super::date::Timestamp;
use super::endpoint::{Endpoint, Route};
use super::jwt::{self, Claims};
use super::store::State;
use super::{api_projects, api_secrets, crypto};

/// A request to the API with a valid bearer.
pub struct Call<'a> {
    pub route: Route<'a>,
    pub query: &'a str,
    pub body: &'a [u8],
    pub account: Uuid,
    /// The organization the bearer is for, whatever the path says.
    pub organization: Uuid,
    pub now: Timestamp,
}

/// The claims of an `Authorization` header's value, if the API takes it.
pub fn authenticate(header: &str, state: &State, now: Timestamp) -> Option<Claims> {
    let (scheme, bearer) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    jwt::verify(bearer.trim(), state.signing_key.as_bytes(), now)
}

pub fn answer(call: &Call<'_>, state: &mut State) -> Answer {
    let answer = match call.route.endpoint {
        Endpoint::Sync => api_secrets::sync(call, state),
        Endpoint::List => api_secrets::list(call, state),
        Endpoint::ListByProject => api_secrets::list_by_project(call, state),
        Endpoint::Get => api_secrets::get(call, state),
        Endpoint::GetByIds => api_secrets::get_by_ids(call, state),
        Endpoint::Create => api_secrets::create(call, state),
        Endpoint::Update => api_secrets::update(call, state),
        Endpoint::Delete => api_secrets::delete(call, state),
        Endpoint::ListProjects => api_projects::list(call, state),
        Endpoint::CreateProject => api_projects::create(call, state),
        Endpoint::GetProject => api_projects::get(call, state),
        Endpoint::RenameProject => api_projects::rename(call, state),
        Endpoint::DeleteProjects => api_projects::delete(call, state),
        Endpoint::Login | Endpoint::Unknown => Ok(Answer::empty(404)),
    };
    answer.unwrap_or_else(|refusal| refusal)
}

impl Call<'_> {
    /// The organization in the path, which has to be the bearer's.
    pub fn own_organization(&self) -> Result<Uuid, Answer> {
        let id = self.route.id()?;
        if id == self.organization { Ok(id) } else { Err(Answer::not_found()) }
    }

    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Answer> {
        serde_json::from_slice(self.body).map_err(|error| Answer::invalid("$", &error.to_string()))
    }

    /// The ids of a body that may name none twice and not be empty.
    pub fn distinct(ids: &[Uuid]) -> Result<(), Vec<Uuid>> {
        let mut sorted = ids.to_vec();
        sorted.sort_unstable();
        let mut twice: Vec<Uuid> =
            sorted.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        twice.dedup();
        if twice.is_empty() { Ok(()) } else { Err(twice) }
    }
}

/// Checks a field that must be an EncString of at most `limit` characters.
pub fn encrypted(field: &str, text: Option<String>, limit: usize) -> Result<String, Answer> {
    let text = text.ok_or_else(|| Answer::invalid(field, &format!("The {field} field is required.")))?;
    if text.chars().count() > limit {
        return Err(Answer::invalid(
            field,
            &format!("The field {field} exceeds the maximum length of {limit}."),
        ));
    }
    if !crypto::looks_encrypted(&text) {
        return Err(Answer::invalid(field, &format!("{field} is not a valid encrypted string.")));
    }
    Ok(text)
}
