//! From a snapshot and what was inherited to the command's environment. Pure.
//!
//! Nothing here stops at the first problem: all of them are collected, so that `--dry-run` shows all.

pub mod inherit;
mod names;
pub mod pattern;
#[cfg(test)]
pub mod properties;
mod select;
pub mod size;

pub use inherit::{Entry, Inherit};
pub use select::Selection;

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use crate::error::Error;
use crate::ids::{ProjectId, SecretId};
use crate::secret::SecretValue;
use crate::snapshot::{Secret, Snapshot};
use names::Verdict;

/// Who wins where a secret and an inherited variable have one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    #[default]
    Secret,
    Inherited,
    Error,
}

/// Everything the operator said about the environment.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    pub selection: Selection,
    pub uuids_as_names: bool,
    pub inherit: Inherit,
    pub on_conflict: OnConflict,
    pub allowed_names: Vec<String>,
}

/// One variable of the command.
pub struct Variable {
    pub name: Vec<u8>,
    pub value: Value,
}

/// What a variable holds and where it comes from.
pub enum Value {
    /// The whole entry, as it was inherited.
    Inherited(Entry),
    Secret {
        value: SecretValue,
        source: Source,
    },
}

/// Which secret a variable comes from, as it may be shown.
#[derive(Clone, Debug)]
pub struct Source {
    pub id: SecretId,
    pub key: String,
    pub projects: Vec<String>,
    pub project_ids: Vec<ProjectId>,
    /// Whether it replaces an inherited variable.
    pub overrides: bool,
}

/// The command's environment, and everything there is to say about it.
#[derive(Default)]
pub struct EnvPlan {
    /// Inherited ones first, in their order, then those from secrets. Each name once.
    pub variables: Vec<Variable>,
    pub problems: Vec<Error>,
    pub warnings: Vec<String>,
    pub notices: Vec<String>,
    /// What the token can read and this run does not use.
    pub unused: Vec<SecretId>,
}

/// Names only: a value's `Debug` is redacted, but an inherited one is not ours to judge.
impl fmt::Debug for EnvPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.variables.iter().map(|v| String::from_utf8_lossy(&v.name))).finish()
    }
}

impl EnvPlan {
    pub fn build(snapshot: &Snapshot, policy: &Policy, inherited: &[Entry]) -> Self {
        let mut plan = Self::default();
        if snapshot.secrets.is_empty() {
            plan.warnings.push("this machine account can read no secrets".into());
        }
        let selected = policy.selection.apply(snapshot);
        if selected.secrets.is_empty() && selected.problems.is_empty() && !snapshot.secrets.is_empty() {
            plan.warnings.push(format!(
                "the selectors together leave none of the {} secrets that this token can read",
                snapshot.secrets.len()
            ));
        }
        plan.problems.extend(selected.problems);
        plan.notices.extend(selected.notices);

        let mut named: BTreeMap<String, Vec<&Secret>> = BTreeMap::new();
        for &secret in &selected.secrets {
            if let Some(name) = plan.name(snapshot, policy, secret) {
                named.entry(name).or_default().push(secret);
            }
        }
        let mut used: HashSet<SecretId> = named.values().flatten().map(|secret| secret.id).collect();
        let inherited = policy.inherit.apply(inherited, &mut plan.notices);
        let inherited_names: HashSet<&[u8]> = inherited.iter().map(|(name, _)| *name).collect();
        let mut from_secrets = Vec::with_capacity(named.len());
        for (name, secrets) in named {
            let [secret] = secrets[..] else {
                let secrets = secrets.iter().map(|secret| snapshot.describe(secret)).collect();
                plan.problems.push(Error::DuplicateName { name, secrets });
                continue;
            };
            let conflicts = inherited_names.contains(name.as_bytes());
            match policy.on_conflict {
                OnConflict::Inherited if conflicts => {
                    let described = snapshot.describe(secret);
                    plan.notices.push(format!("'{name}' keeps its inherited value, not that of {described}"));
                    used.remove(&secret.id);
                    continue;
                }
                OnConflict::Error if conflicts => {
                    plan.problems.push(Error::Conflict { name, secret: snapshot.describe(secret) });
                    continue;
                }
                OnConflict::Secret if conflicts => {
                    let described = snapshot.describe(secret);
                    plan.notices.push(format!("the inherited '{name}' is replaced by {described}"));
                }
                OnConflict::Secret | OnConflict::Inherited | OnConflict::Error => {}
            }
            match value(snapshot, secret, &name) {
                Ok(value) => {
                    let source = Source {
                        id: secret.id,
                        key: secret.key.clone().unwrap_or_default(),
                        projects: secret.project_ids.iter().map(|&id| snapshot.project_name(id)).collect(),
                        project_ids: secret.project_ids.clone(),
                        overrides: conflicts,
                    };
                    from_secrets
                        .push(Variable { name: name.into_bytes(), value: Value::Secret { value, source } });
                }
                Err(error) => plan.problems.push(error),
            }
        }
        plan.unused =
            snapshot.secrets.iter().map(|secret| secret.id).filter(|id| !used.contains(id)).collect();
        let replaced: HashSet<&[u8]> = from_secrets.iter().map(|variable| &variable.name[..]).collect();
        let mut variables: Vec<Variable> = inherited
            .into_iter()
            .filter(|(name, _)| !replaced.contains(name))
            .map(|(name, entry)| Variable { name: name.to_vec(), value: Value::Inherited(entry.clone()) })
            .collect();
        variables.append(&mut from_secrets);
        plan.variables = variables;
        plan
    }

    /// The variable's name for a secret that was selected, or why it gets none.
    fn name(&mut self, snapshot: &Snapshot, policy: &Policy, secret: &Secret) -> Option<String> {
        let key = match &secret.key {
            Ok(key) => key,
            Err(problem) => {
                self.problems.push(snapshot.undecryptable(secret, "key", *problem));
                return None;
            }
        };
        if policy.uuids_as_names {
            return Some(names::from_id(secret.id));
        }
        let name = key.clone();
        let allowed = policy.allowed_names.contains(&name);
        let problem = match names::judge(&name) {
            Verdict::Dangerous | Verdict::Unusual(_) if allowed => None,
            Verdict::Fine => None,
            Verdict::Ours => {
                let described = snapshot.describe(secret);
                self.warnings
                    .push(format!("{described}, is left out: '{name}' is reserved for bws-exec itself"));
                return None;
            }
            Verdict::Dangerous => {
                Some(Error::DangerousName { name: name.clone(), secret: snapshot.describe(secret) })
            }
            Verdict::Unusual(problem) | Verdict::Impossible(problem) => Some(Error::InvalidName {
                secret: snapshot.describe(secret),
                problem,
                unusual_but_possible: can_be_allowed(&name),
                name: name.clone(),
            }),
        };
        if let Some(problem) = problem {
            self.problems.push(problem);
            return None;
        }
        if names::is_noteworthy(&name) {
            let described = snapshot.describe(secret);
            self.notices.push(format!("'{name}', a proxy to other programs, is set by {described}"));
        }
        Some(name)
    }
}

fn value(snapshot: &Snapshot, secret: &Secret, name: &str) -> Result<SecretValue, Error> {
    let value = snapshot.value(secret)?;
    if value.expose().contains(&0) {
        return Err(Error::NulInValue { name: name.into(), secret: snapshot.describe(secret) });
    }
    Ok(value)
}

impl Variable {
    /// Length of `NAME=value`.
    pub fn size(&self) -> usize {
        match &self.value {
            Value::Inherited(entry) => entry.len(),
            Value::Secret { value, .. } => self.name.len() + 1 + value.expose().len(),
        }
    }

    /// For a message about its size.
    pub fn measured(&self) -> size::Measured {
        let origin = match &self.value {
            Value::Inherited(_) => "inherited".into(),
            Value::Secret { source, .. } => {
                Error::secret_name(Some(&source.key), source.id, &source.projects)
            }
        };
        size::Measured { name: String::from_utf8_lossy(&self.name).into_owned(), origin, size: self.size() }
    }
}

/// Whether `--allow-name` may name it at all.
pub fn can_be_allowed(name: &str) -> bool {
    !matches!(names::judge(name), Verdict::Impossible(_) | Verdict::Ours)
}
