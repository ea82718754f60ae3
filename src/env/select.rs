//! Which secrets of a snapshot are injected in bulk.

use super::pattern::{self, Pattern};
use crate::error::Error;
use crate::ids::ProjectId;
use crate::snapshot::{Secret, Snapshot};

/// The selectors as given. Without any, everything the token reads.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Ids or names; a text that reads as an id is one, and never a name.
    pub projects: Vec<String>,
    pub only: Vec<Pattern>,
    pub exclude: Vec<Pattern>,
    /// `--all`: everything, said aloud.
    pub all: bool,
}

/// What the selectors chose.
#[derive(Default)]
pub struct Selected<'a> {
    pub secrets: Vec<&'a Secret>,
    /// Selectors that chose nothing: a typo would otherwise pass as success.
    pub problems: Vec<Error>,
    /// Secrets that nothing could be said about.
    pub notices: Vec<String>,
}

impl Selection {
    /// Whether bulk runs beside references.
    pub fn is_given(&self) -> bool {
        self.all || !(self.projects.is_empty() && self.only.is_empty() && self.exclude.is_empty())
    }

    /// Applies projects first, then keys. Keys are matched as they are stored.
    pub fn apply<'a>(&self, snapshot: &'a Snapshot) -> Selected<'a> {
        let mut result = Selected::default();
        let mut projects = Vec::new();
        for selector in &self.projects {
            match find_project(snapshot, selector) {
                Ok(id) => projects.push(id),
                Err(error) => result.problems.push(error),
            }
        }
        let in_projects: Vec<&Secret> =
            snapshot.secrets.iter().filter(|secret| self.in_a_project(secret, &projects)).collect();
        // A project that was not found would make every other selector look wrong too.
        if result.problems.is_empty() {
            let patterns = [("--only", &self.only), ("--exclude", &self.exclude)];
            for (option, pattern) in
                patterns.into_iter().flat_map(|(o, list)| list.iter().map(move |p| (o, p)))
            {
                if !in_projects.iter().any(|secret| key_matches(secret, pattern)) {
                    result.problems.push(Error::NoMatch {
                        selector: format!("{option} '{pattern}'"),
                        hint:
                            "bws-exec --dry-run lists the keys; a glob is matched against the key as stored"
                                .into(),
                    });
                }
            }
        }
        for secret in &snapshot.secrets {
            let in_project = self.in_a_project(secret, &projects);
            match &secret.key {
                Ok(key) => {
                    let wanted = self.only.is_empty() || pattern::any(&self.only, key.as_bytes());
                    if in_project && wanted && !pattern::any(&self.exclude, key.as_bytes()) {
                        result.secrets.push(secret);
                    }
                }
                // Not chosen by its key, for it has none that can be read.
                Err(_) if in_project && self.only.is_empty() => result.secrets.push(secret),
                Err(problem) => result.notices.push(format!(
                    "{}, is not selected and its key cannot be decrypted: {problem}",
                    snapshot.describe(secret)
                )),
            }
        }
        result
    }

    fn in_a_project(&self, secret: &Secret, projects: &[ProjectId]) -> bool {
        self.projects.is_empty() || secret.project_ids.iter().any(|id| projects.contains(id))
    }
}

fn key_matches(secret: &Secret, pattern: &Pattern) -> bool {
    secret.key.as_ref().is_ok_and(|key| pattern.matches(key.as_bytes()))
}

/// A project by id, or by its name if exactly one has it.
fn find_project(snapshot: &Snapshot, selector: &str) -> Result<ProjectId, Error> {
    let id = selector.parse::<ProjectId>().ok();
    let is_meant = |other: ProjectId, name: &Option<String>| match id {
        Some(id) => other == id,
        None => name.as_deref() == Some(selector),
    };
    let named: Vec<ProjectId> =
        snapshot.projects.iter().filter(|(id, name)| is_meant(**id, name)).map(|(&id, _)| id).collect();
    match named[..] {
        [id] => Ok(id),
        [] => Err(Error::NoMatch { selector: format!("--project '{selector}'"), hint: projects(snapshot) }),
        _ => Err(Error::AmbiguousProject { name: selector.into(), candidates: join(named.iter()) }),
    }
}

fn projects(snapshot: &Snapshot) -> String {
    const SHOWN: usize = 10;
    if snapshot.projects.is_empty() {
        return "this token reads no project that has secrets".into();
    }
    let list: Vec<String> = snapshot
        .projects
        .iter()
        .take(SHOWN)
        .map(|(id, name)| name.as_ref().map_or_else(|| id.to_string(), |name| format!("'{name}' ({id})")))
        .collect();
    let more = snapshot.projects.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("projects with secrets that this token reads: {}{more}", list.join(", "))
}

fn join(ids: impl Iterator<Item = impl ToString>) -> String {
    ids.map(|id| id.to_string()).collect::<Vec<_>>().join(", ")
}
