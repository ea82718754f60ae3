//! The two services and what can be asked of them.

use uuid::Uuid;

use super::answer::Answer;

/// The two halves of the server, on ports of their own in the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    Identity,
    Api,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    Login,
    Sync,
    List,
    ListByProject,
    Get,
    GetByIds,
    Create,
    Update,
    Delete,
    ListProjects,
    CreateProject,
    GetProject,
    RenameProject,
    DeleteProjects,
    /// No route of either service.
    Unknown,
}

/// An endpoint, and the id that stands in its path.
#[derive(Clone, Copy)]
pub struct Route<'a> {
    pub endpoint: Endpoint,
    id: &'a str,
}

impl<'a> Route<'a> {
    /// The route of a path, which is relative to the service's base URL.
    pub fn find(service: Option<Service>, method: &str, path: &'a str) -> Self {
        let Some(service) = service else { return Self { endpoint: Endpoint::Unknown, id: "" } };
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let (endpoint, id) = match (service, method, parts.as_slice()) {
            (Service::Identity, _, ["connect", "token"]) => (Endpoint::Login, ""),
            (Service::Api, "GET", ["organizations", id, "secrets", "sync"]) => (Endpoint::Sync, *id),
            (Service::Api, "GET", ["organizations", id, "secrets"]) => (Endpoint::List, *id),
            (Service::Api, "POST", ["organizations", id, "secrets"]) => (Endpoint::Create, *id),
            (Service::Api, "GET", ["projects", id, "secrets"]) => (Endpoint::ListByProject, *id),
            (Service::Api, "POST", ["secrets", "get-by-ids"]) => (Endpoint::GetByIds, ""),
            (Service::Api, "POST", ["secrets", "delete"]) => (Endpoint::Delete, ""),
            (Service::Api, "GET", ["secrets", id]) => (Endpoint::Get, *id),
            (Service::Api, "PUT", ["secrets", id]) => (Endpoint::Update, *id),
            (Service::Api, "GET", ["organizations", id, "projects"]) => (Endpoint::ListProjects, *id),
            (Service::Api, "POST", ["organizations", id, "projects"]) => (Endpoint::CreateProject, *id),
            (Service::Api, "POST", ["projects", "delete"]) => (Endpoint::DeleteProjects, ""),
            (Service::Api, "GET", ["projects", id]) => (Endpoint::GetProject, *id),
            (Service::Api, "PUT", ["projects", id]) => (Endpoint::RenameProject, *id),
            _ => (Endpoint::Unknown, ""),
        };
        Self { endpoint, id }
    }

    /// The id in the path, or the answer to one that is no uuid.
    pub fn id(&self) -> Result<Uuid, Answer> {
        self.id.parse().map_err(|_| Answer::invalid("id", &format!("The value '{}' is not valid.", self.id)))
    }
}
