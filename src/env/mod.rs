//! From a snapshot and what was inherited to the command's environment. Pure.
//!
//! One name, one value. From the strongest: `--map` and `--file`, env files (the later wins), `--resolve-env`, bulk,
//! inherited. Nothing here stops at the first problem: all are collected, so that `--dry-run` shows all.

mod build;
mod bulk;
mod digest;
pub mod inherit;
mod names;
pub mod pattern;
mod pointer;
#[cfg(test)]
pub mod properties;
mod reference;
mod select;
mod size;
mod template;

pub use digest::Digest;
pub use inherit::{Entry, Inherit};
pub use select::Selection;
pub use size::Limits;
pub use template::Template;

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::error::Error;
use crate::ids::{ProjectId, SecretId};
use crate::secret::SecretValue;
use crate::snapshot::{Secret, Snapshot};
use crate::users::Owner;
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
    pub naming: Naming,
    /// `--map`: names and references.
    pub maps: Vec<(String, Template)>,
    /// `--file`; no name is in `maps` too.
    pub files: Vec<FileRule>,
    /// `--env-file`, in the order given.
    pub env_files: Vec<EnvFile>,
    /// `--resolve-env`: which inherited variables may be references.
    pub resolve_env: Option<pattern::Pattern>,
    pub required: Vec<String>,
    pub optional: Vec<String>,
    pub inherit: Inherit,
    pub on_conflict: OnConflict,
    pub allowed_names: Vec<String>,
}

/// `--file`: one secret that goes into a file, whose path its variable gets.
#[derive(Clone, Debug)]
pub struct FileRule {
    pub name: String,
    pub template: Template,
    pub mode: u32,
    /// Ours, if nobody else's.
    pub owner: Option<Owner>,
    /// Absolute. Without it the file is a descriptor.
    pub path: Option<PathBuf>,
}

/// How bulk secrets are called.
#[derive(Clone, Debug, Default)]
pub struct Naming {
    pub uuids: bool,
    pub upper: bool,
    pub prefix: String,
}

/// An env file that was read.
#[derive(Clone, Debug)]
pub struct EnvFile {
    pub path: String,
    pub assignments: Vec<Assignment>,
}

/// One line of an env file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub name: String,
    pub value: Assigned,
    pub line: usize,
}

/// What an env file gives a name.
#[derive(Clone, PartialEq, Eq)]
pub enum Assigned {
    Text(String),
    Template(Template),
}

/// People put secrets into env files, too.
impl fmt::Debug for Assigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text([redacted])"),
            Self::Template(_) => f.write_str("Template([redacted])"),
        }
    }
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
    Given {
        value: SecretValue,
        source: Source,
    },
    File {
        content: SecretValue,
        /// None until it is there.
        delivered: Option<Delivered>,
        source: Source,
    },
}

/// A file as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    pub path: PathBuf,
    pub mode: u32,
    pub user: u32,
    pub group: u32,
}

/// Why a variable has its value, as it may be shown.
#[derive(Clone, Debug)]
pub struct Source {
    pub rule: Rule,
    /// None for a plain value of an env file, several for a template.
    pub secrets: Vec<Origin>,
    /// What weaker levels would have set: `inherited`, or the name of a rule.
    pub overrides: Vec<String>,
}

/// Which rule put a variable there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    Map,
    File,
    EnvFile { path: String, line: usize },
    ResolveEnv,
    Bulk,
    HandedOver,
}

/// A secret as it may be shown.
#[derive(Clone, Debug)]
pub struct Origin {
    pub id: SecretId,
    pub key: Option<String>,
    pub project_ids: Vec<ProjectId>,
    pub described: String,
}

/// The command's environment, and everything there is to say about it.
#[derive(Default)]
pub struct EnvPlan {
    /// Inherited ones first, in their order, then the others by name. Each name once.
    pub variables: Vec<Variable>,
    pub problems: Vec<Error>,
    pub warnings: Vec<String>,
    pub notices: Vec<String>,
    /// What the token can read and this run does not use.
    pub unused: Vec<SecretId>,
    /// Secrets that stand inside the text of a variable: who masks its value masks them too.
    pub inserted: Vec<(String, SecretValue)>,
}

impl EnvPlan {
    pub fn build(snapshot: &Snapshot, policy: &Policy, inherited: &[Entry]) -> Self {
        build::build(snapshot, policy, inherited)
    }

    /// The values that come from secrets, with the variable that each is for. A plain value of an env file
    /// is none: who masked `PORT=8080` would mask every 8080.
    pub fn secrets(&self) -> impl Iterator<Item = (Cow<'_, str>, &SecretValue)> {
        let values = self.variables.iter().filter_map(|variable| match &variable.value {
            Value::Given { value, source } | Value::File { content: value, source, .. } => {
                source.is_secret().then(|| (String::from_utf8_lossy(&variable.name), value))
            }
            Value::Inherited(_) => None,
        });
        values.chain(self.inserted.iter().map(|(name, value)| (name.as_str().into(), value)))
    }

    /// Checks it against COMMAND's arguments and what the kernel allows.
    pub fn check(&mut self, arguments: &[OsString], limits: Limits) {
        self.problems.extend(size::check(limits, &self.variables, arguments));
        for variable in self.variables.iter().filter(|variable| variable.is_visible_in(arguments)) {
            let name = variable.shown_name();
            self.warnings
                .push(format!("the value of '{name}' stands in the command's arguments, where ps shows it"));
        }
    }
}

/// Names only: a value's `Debug` is redacted, but an inherited one is not ours to judge.
impl fmt::Debug for EnvPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.variables.iter().map(|v| String::from_utf8_lossy(&v.name))).finish()
    }
}

impl Origin {
    fn new(snapshot: &Snapshot, secret: &Secret) -> Self {
        Self {
            id: secret.id,
            key: secret.key.clone().ok(),
            project_ids: secret.project_ids.clone(),
            described: snapshot.describe(secret),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map => f.write_str("--map"),
            Self::File => f.write_str("--file"),
            Self::EnvFile { path, line } => write!(f, "{path}:{line}"),
            Self::ResolveEnv => f.write_str("--resolve-env"),
            Self::Bulk => f.write_str("bulk"),
            Self::HandedOver => f.write_str("handed over"),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rule != Rule::Bulk {
            write!(f, "{}: ", self.rule)?;
        }
        let secrets: Vec<&str> = self.secrets.iter().map(|secret| secret.described.as_str()).collect();
        f.write_str(if secrets.is_empty() { "plain value" } else { "" })?;
        f.write_str(&secrets.join(" and "))
    }
}

impl Source {
    /// Whether it is more than text of an env file.
    fn is_secret(&self) -> bool {
        self.rule == Rule::HandedOver || !self.secrets.is_empty()
    }
}

impl Variable {
    /// Length of `NAME=value`.
    pub fn size(&self) -> usize {
        match &self.value {
            Value::Inherited(entry) => entry.len(),
            Value::Given { value, .. } => self.name.len() + 1 + value.expose().len(),
            Value::File { delivered, .. } => self.name.len() + 1 + path(delivered.as_ref()).len(),
        }
    }

    /// Its name for a message.
    pub fn shown_name(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }

    /// Whether its value, of 12 bytes or more, is one of the arguments or ends one after '='.
    fn is_visible_in(&self, arguments: &[OsString]) -> bool {
        const SHORTEST: usize = 12;
        // EXPOSE: compared, not shown.
        let value = match &self.value {
            Value::Given { value, .. } | Value::File { content: value, .. } => value.expose(),
            Value::Inherited(_) => return false,
        };
        if value.len() < SHORTEST {
            return false;
        }
        arguments
            .iter()
            .filter_map(|argument| argument.as_bytes().strip_suffix(value))
            .any(|before| before.is_empty() || before.ends_with(b"="))
    }
}

/// What the variable of a file holds.
pub fn path(delivered: Option<&Delivered>) -> &[u8] {
    delivered.map_or(&[], |file| file.path.as_os_str().as_bytes())
}

/// Whether the operator may choose this name, by `--allow-name`, `--map` or `--file`.
pub fn can_be_chosen(name: &str) -> bool {
    !matches!(names::judge(name), Verdict::Impossible(_) | Verdict::Ours)
}
