//! The weakest level that comes from the vault: selected secrets under their own names.

use std::collections::BTreeMap;

use super::build::Builder;
use super::names::{self, Verdict};
use super::{Origin, Rule, Source, can_be_chosen};
use crate::error::Error;
use crate::snapshot::Secret;

impl Builder<'_> {
    /// Everything selected, under its own name.
    pub(super) fn bulk(&mut self) {
        let selected = self.policy.selection.apply(self.snapshot);
        let total = self.snapshot.secrets.len();
        if selected.secrets.is_empty() && selected.problems.is_empty() && total > 0 {
            self.plan.warnings.push(format!(
                "the selectors together leave none of the {total} secrets that this token can read"
            ));
        }
        self.plan.problems.extend(selected.problems);
        self.plan.notices.extend(selected.notices);
        let mut named: BTreeMap<String, Vec<&Secret>> = BTreeMap::new();
        let in_files = std::mem::take(&mut self.in_files);
        for secret in selected.secrets.into_iter().filter(|secret| !in_files.contains(&secret.id)) {
            if let Some(name) = self.bulk_name(secret) {
                named.entry(name).or_default().push(secret);
            }
        }
        for (name, secrets) in named {
            match secrets[..] {
                [secret] => self.secret(name, secret),
                _ => {
                    let secrets = secrets.iter().map(|secret| self.snapshot.describe(secret)).collect();
                    self.plan.problems.push(Error::DuplicateName { name, secrets });
                }
            }
        }
    }

    fn secret(&mut self, name: String, secret: &Secret) {
        let origin = Origin::new(self.snapshot, secret);
        let source = Source { rule: Rule::Bulk, secrets: vec![origin], overrides: self.overridden(&name) };
        if self.lets_inherited_win(&name, &source) {
            return;
        }
        let value = self.snapshot.value(secret);
        self.settle(name, source, value);
    }

    /// The variable's name for a secret that was selected, or why it gets none.
    fn bulk_name(&mut self, secret: &Secret) -> Option<String> {
        let key = match &secret.key {
            Ok(key) => key,
            Err(problem) => {
                self.plan.problems.push(self.snapshot.undecryptable(secret, "key", *problem));
                return None;
            }
        };
        let name = self.policy.naming.apply(key, secret.id);
        // Whatever is wrong with it, a stronger level has it.
        if self.loses(&name, &Rule::Bulk) {
            return None;
        }
        let allowed = self.policy.allowed_names.contains(&name);
        let problem = match names::judge(&name) {
            Verdict::Dangerous | Verdict::Unusual(_) if allowed => None,
            Verdict::Fine => None,
            Verdict::Ours => {
                let described = self.snapshot.describe(secret);
                let warning = format!("{described}, is left out: '{name}' is reserved for bws-exec itself");
                self.plan.warnings.push(warning);
                return None;
            }
            Verdict::Dangerous => {
                Some(Error::DangerousName { name: name.clone(), secret: self.snapshot.describe(secret) })
            }
            Verdict::Unusual(problem) | Verdict::Impossible(problem) => Some(Error::InvalidName {
                secret: self.snapshot.describe(secret),
                problem,
                unusual_but_possible: can_be_chosen(&name),
                id: secret.id,
                name: name.clone(),
            }),
        };
        if let Some(problem) = problem {
            self.plan.problems.push(problem);
            return None;
        }
        if names::is_noteworthy(&name) {
            let described = self.snapshot.describe(secret);
            self.plan.notices.push(format!("'{name}', a proxy to other programs, is set by {described}"));
        }
        Some(name)
    }
}
