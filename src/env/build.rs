//! How an [`EnvPlan`] comes about: level by level, the strongest first.

use std::collections::{BTreeMap, HashSet};

use zeroize::Zeroizing;

use super::reference::SCHEME;
use super::{Assigned, Entry, EnvPlan, OnConflict, Origin, Policy, Rule, Source, Template, Value, Variable};
use crate::env_vars;
use crate::error::Error;
use crate::ids::SecretId;
use crate::secret::SecretValue;
use crate::snapshot::Snapshot;

pub fn build(snapshot: &Snapshot, policy: &Policy, inherited: &[Entry]) -> EnvPlan {
    let mut plan = EnvPlan::default();
    let inherited = policy.inherit.apply(inherited, &mut plan.notices);
    let mut builder = Builder {
        snapshot,
        policy,
        in_files: HashSet::new(),
        inherited: inherited
            .iter()
            .filter(|(name, entry)| in_place(policy, name, entry).is_none())
            .map(|(name, _)| *name)
            .collect(),
        missing_in_place: HashSet::new(),
        settled: BTreeMap::new(),
        used: HashSet::new(),
        plan,
    };
    if snapshot.secrets.is_empty() {
        builder.plan.warnings.push("this machine account can read no secrets".into());
    }
    let named = builder.maps() | builder.files();
    let env_files = builder.env_files();
    let resolved = builder.resolve_env(&inherited);
    if policy.selection.is_given() || !(named || env_files || resolved) {
        builder.bulk();
        builder.say_that_everything_is_injected();
        return builder.finish(&inherited);
    }
    for secret in &snapshot.secrets {
        if let Err(problem) = &secret.key {
            let described = snapshot.describe(secret);
            builder.plan.notices.push(format!("{described}: its key cannot be decrypted: {problem}"));
        }
    }
    if policy.naming.upper || !policy.naming.prefix.is_empty() {
        let notice =
            "--upper and --prefix are for selected secrets; beside references none is selected without --all";
        builder.plan.notices.push(notice.into());
    }
    builder.finish(&inherited)
}

/// The name and the reference of an inherited variable that `--resolve-env` is about.
fn in_place<'a>(policy: &Policy, name: &'a [u8], entry: &'a Entry) -> Option<(&'a str, &'a [u8])> {
    let reference = reference_in(name, entry)?;
    let asked = policy.resolve_env.as_ref().is_some_and(|pattern| pattern.matches(name));
    asked.then_some((std::str::from_utf8(name).ok()?, reference))
}

/// What follows `bws://` in an inherited value that begins so.
fn reference_in<'a>(name: &[u8], entry: &'a Entry) -> Option<&'a [u8]> {
    entry.get(name.len() + 1..)?.strip_prefix(SCHEME.as_bytes())
}

/// What is being built. `bulk` has the weakest of its levels.
pub(super) struct Builder<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) policy: &'a Policy,
    /// Names that go on as they were inherited if nothing sets them. What is resolved in place is a
    /// secret, and no conflict with another one.
    inherited: HashSet<&'a [u8]>,
    /// Optional ones whose secret is missing: their reference does not go on in its place.
    missing_in_place: HashSet<&'a [u8]>,
    /// Names that a level has spoken about; weaker levels are not asked.
    settled: BTreeMap<String, Settled>,
    used: HashSet<SecretId>,
    /// Secrets that `--file` names: whoever wants one in a file does not want it in the environment.
    pub(super) in_files: HashSet<SecretId>,
    pub(super) plan: EnvPlan,
}

enum Settled {
    Given {
        value: SecretValue,
        source: Source,
    },
    /// The inherited variable stays, or there is a problem and nothing will run.
    AsInherited,
}

impl<'a> Builder<'a> {
    /// Whether there was any.
    fn maps(&mut self) -> bool {
        for (name, template) in &self.policy.maps {
            self.reference(name, Rule::Map, template);
        }
        !self.policy.maps.is_empty()
    }

    /// Whether there was any.
    fn files(&mut self) -> bool {
        for rule in &self.policy.files {
            let secrets = rule.template.secrets(self.snapshot).unwrap_or_default();
            self.in_files.extend(secrets.iter().map(|secret| secret.id));
            self.reference(&rule.name, Rule::File, &rule.template);
        }
        !self.policy.files.is_empty()
    }

    /// Whether there was any reference in them. The last file, and in a file the last line, is strongest.
    fn env_files(&mut self) -> bool {
        let mut any_reference = false;
        let before = self.plan.problems.len();
        for file in self.policy.env_files.iter().rev() {
            if file.assignments.is_empty() {
                self.plan.warnings.push(format!("the env file {} sets nothing", file.path));
            }
            for assignment in file.assignments.iter().rev() {
                let rule = Rule::EnvFile { path: file.path.clone(), line: assignment.line };
                any_reference |= matches!(assignment.value, Assigned::Template(_));
                if env_vars::is_ours(assignment.name.as_bytes()) {
                    let warning = format!(
                        "{}:{}: '{}' is reserved for bws-exec itself and left out",
                        file.path, assignment.line, assignment.name
                    );
                    self.plan.warnings.push(warning);
                    continue;
                }
                match &assignment.value {
                    Assigned::Template(template) => self.reference(&assignment.name, rule, template),
                    Assigned::Text(text) => self.plain(&assignment.name, rule, text),
                }
            }
        }
        // People read a file from its top.
        if let Some(problems) = self.plan.problems.get_mut(before..) {
            problems.reverse();
        }
        any_reference
    }

    /// Whether there was any. What is inherited may come from strangers, so it takes an option.
    fn resolve_env(&mut self, inherited: &[(&'a [u8], &'a Entry)]) -> bool {
        let mut any = false;
        for &(name, entry) in inherited {
            let Some((name, reference)) = in_place(self.policy, name, entry) else { continue };
            any = true;
            if self.loses(name, &Rule::ResolveEnv) {
                continue;
            }
            let template = std::str::from_utf8(reference)
                .map_err(|_| "it is not UTF-8".to_owned())
                .and_then(Template::reference);
            match template {
                Ok(template) => {
                    self.reference(name, Rule::ResolveEnv, &template);
                    if !self.settled.contains_key(name) {
                        self.missing_in_place.insert(name.as_bytes());
                    }
                }
                Err(problem) => {
                    let origin = format!("the inherited '{name}'");
                    self.plan.problems.push(Error::Reference { origin, problem });
                    self.settled.insert(name.into(), Settled::AsInherited);
                }
            }
        }
        if self.policy.resolve_env.is_some() && !any {
            self.plan
                .warnings
                .push(format!("--resolve-env found no inherited value that begins with {SCHEME}"));
        }
        any
    }

    fn reference(&mut self, name: &str, rule: Rule, template: &Template) {
        if self.loses(name, &rule) {
            return;
        }
        let mut source = Source { rule, secrets: Vec::new(), overrides: self.overridden(name) };
        // A name that is mistyped is an error even where the inherited variable would win.
        let value = template.secrets(self.snapshot).map(|secrets| {
            source.secrets = secrets.iter().map(|secret| Origin::new(self.snapshot, secret)).collect();
        });
        if value.is_ok() && self.lets_inherited_win(name, &source) {
            return;
        }
        let resolve = match source.rule {
            Rule::File => Template::content,
            _ => Template::resolve,
        };
        match value.and_then(|()| resolve(template, self.snapshot)) {
            Err(error) if error.is_missing_reference() && self.policy.optional.iter().any(|o| o == name) => {
                let notice = format!("'{name}' is optional and not set by {}: {error}", source.rule);
                self.plan.notices.push(notice);
            }
            result => {
                if let Ok(inserted) = template.inserted(self.snapshot) {
                    self.plan.inserted.extend(inserted.into_iter().map(|value| (name.into(), value)));
                }
                let origin = format!("{} {name}", source.rule);
                let result = result.map_err(|error| Error::Of { origin, error: error.into() });
                self.settle(name.into(), source, result);
            }
        }
    }

    /// Without a reference all is injected. Where one was meant, that must not go unnoticed.
    fn say_that_everything_is_injected(&mut self) {
        let policy = self.policy;
        if policy.selection.is_given() || (policy.resolve_env.is_none() && policy.env_files.is_empty()) {
            return;
        }
        let text = format!(
            "no reference was found, so all {} secrets are injected; a selector narrows that, --all says it aloud",
            self.snapshot.secrets.len()
        );
        let meant =
            policy.resolve_env.is_some() || policy.env_files.iter().any(|file| file.assignments.is_empty());
        if meant { self.plan.warnings.push(text) } else { self.plan.notices.push(text) }
    }

    /// A value of an env file that is no secret of the vault; it needs no rule to replace another.
    fn plain(&mut self, name: &str, rule: Rule, text: &str) {
        if !self.loses(name, &rule) {
            if text.contains("bws:") {
                self.plan.warnings.push(format!(
                    "{rule}: the value of '{name}' is no reference, though it has 'bws:' in it; write {SCHEME}REF, \
                     or ${{{SCHEME}REF}} inside text"
                ));
            }
            let source = Source { rule, secrets: Vec::new(), overrides: self.overridden(name) };
            let value = SecretValue::new(Zeroizing::new(text.as_bytes().to_vec()));
            self.settle(name.into(), source, Ok(value));
        }
    }

    pub(super) fn settle(&mut self, name: String, source: Source, value: Result<SecretValue, Error>) {
        let value = value.and_then(|value| {
            if source.rule != Rule::File && value.expose().contains(&0) {
                return Err(Error::NulInValue { name: name.clone(), secret: source.to_string() });
            }
            Ok(value)
        });
        match value {
            Ok(value) => {
                self.used.extend(source.secrets.iter().map(|secret| secret.id));
                if !source.overrides.is_empty() {
                    self.plan.notices.push(format!("the inherited '{name}' is replaced by {source}"));
                }
                self.settled.insert(name, Settled::Given { value, source });
            }
            Err(error) => {
                self.plan.problems.push(error);
                self.settled.insert(name, Settled::AsInherited);
            }
        }
    }

    /// `--on-conflict`, for a secret whose name was inherited too.
    pub(super) fn lets_inherited_win(&mut self, name: &str, source: &Source) -> bool {
        if !self.is_inherited(name) || self.policy.on_conflict == OnConflict::Secret {
            return false;
        }
        if self.policy.on_conflict == OnConflict::Error {
            self.plan.problems.push(Error::Conflict { name: name.into(), secret: source.to_string() });
        } else {
            self.plan.notices.push(format!("'{name}' keeps its inherited value, not that of {source}"));
        }
        self.settled.insert(name.into(), Settled::AsInherited);
        true
    }

    fn is_inherited(&self, name: &str) -> bool {
        self.inherited.contains(name.as_bytes())
    }

    pub(super) fn overridden(&self, name: &str) -> Vec<String> {
        if self.is_inherited(name) { vec!["inherited".into()] } else { Vec::new() }
    }

    /// Whether a stronger level has the name. It then remembers this one, for `--dry-run`.
    pub(super) fn loses(&mut self, name: &str, weaker: &Rule) -> bool {
        let settled = self.settled.get_mut(name);
        if let Some(Settled::Given { source, .. }) = settled {
            let weaker = weaker.to_string();
            if source.overrides.last() != Some(&weaker) {
                source.overrides.push(weaker);
            }
            return true;
        }
        settled.is_some()
    }

    fn finish(mut self, inherited: &[(&[u8], &Entry)]) -> EnvPlan {
        for (name, entry) in inherited {
            let settled = std::str::from_utf8(name).ok().and_then(|name| self.settled.get(name));
            if matches!(settled, Some(Settled::Given { .. })) || self.missing_in_place.contains(name) {
                continue;
            }
            let variable = Variable { name: name.to_vec(), value: Value::Inherited((*entry).clone()) };
            if reference_in(name, entry).is_some() && in_place(self.policy, name, entry).is_none() {
                self.plan.warnings.push(format!(
                    "the inherited '{}' begins with {SCHEME} and is passed on as it is; see --resolve-env",
                    variable.shown_name()
                ));
            }
            self.plan.variables.push(variable);
        }
        for (name, settled) in std::mem::take(&mut self.settled) {
            if let Settled::Given { value, source } = settled {
                let value = match source.rule {
                    Rule::File => Value::File { content: value, delivered: None, source },
                    _ => Value::Given { value, source },
                };
                self.plan.variables.push(Variable { name: name.into_bytes(), value });
            }
        }
        let set: HashSet<&[u8]> = self.plan.variables.iter().map(|variable| &variable.name[..]).collect();
        let unset = self.policy.required.iter().filter(|name| !set.contains(name.as_bytes()));
        // Last: if something is wrong already, that is the reason, and a run ends with the first.
        let unset: Vec<Error> = unset.map(|name| Error::Required { name: name.clone() }).collect();
        self.plan.problems.extend(unset);
        let ids = self.snapshot.secrets.iter().map(|secret| secret.id);
        self.plan.unused = ids.filter(|id| !self.used.contains(id)).collect();
        self.plan
    }
}
