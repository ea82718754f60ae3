//! What holds for any secrets, any policy and any inherited environment.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::names::{self, Verdict};
use super::pattern::{self, Pattern};
use super::*;

/// In every value and in nothing else, so that it tells a value wherever it appears.
pub const CANARY: &str = "\u{1f511}canary";

#[derive(Clone, Debug)]
pub struct Given {
    id: u128,
    key: String,
    value: String,
    projects: Vec<(u128, String)>,
}

/// Names that collide often, and any text.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[AB]_?[12]?",
        1 => Just("PATH".to_owned()),
        1 => Just("BWS_ACCESS_TOKEN".to_owned()),
        1 => "[a=\\x00 1]{0,3}",
        1 => any::<String>(),
    ]
}

pub fn secrets() -> impl Strategy<Value = Vec<Given>> {
    let projects = proptest::collection::vec((0u128..3).prop_map(|id| (id, format!("p{id}"))), 0..3);
    let value = (any::<String>(), any::<String>()).prop_map(|(a, b)| format!("{a}{CANARY}{b}"));
    let one = (key(), value, projects);
    proptest::collection::vec(one, 0..6).prop_map(|all| {
        let given = |(id, (key, value, projects))| Given { id: id as u128 + 100, key, value, projects };
        all.into_iter().enumerate().map(given).collect()
    })
}

fn globs() -> impl Strategy<Value = Vec<Pattern>> {
    proptest::collection::vec("[AB*?]{1,2}".prop_map(Pattern::new), 0..2)
}

pub fn policy() -> impl Strategy<Value = Policy> {
    let projects = proptest::collection::vec("p[0-3]", 0..2);
    let conflict =
        prop_oneof![Just(OnConflict::Secret), Just(OnConflict::Inherited), Just(OnConflict::Error)];
    let allowed = proptest::collection::vec(prop_oneof![Just("PATH".to_owned()), Just(" ".to_owned())], 0..2);
    (projects, globs(), globs(), any::<bool>(), (any::<bool>(), globs(), globs()), conflict, allowed)
        .prop_map(|(projects, only, exclude, uuids, (clean, keep, unset), on_conflict, allowed_names)| {
            Policy {
                selection: Selection { projects, only, exclude, all: false },
                naming: Naming { uuids, ..Naming::default() },
                inherit: Inherit { clean, keep, unset },
                on_conflict,
                allowed_names,
                ..Policy::default()
            }
        })
}

pub fn inherited() -> impl Strategy<Value = Vec<Entry>> {
    let entry = prop_oneof![
        4 => ("[AB]_?[12]?|PATH|BWS_EXEC_X", "[x-z]{0,2}").prop_map(|(n, v)| format!("{n}={v}").into_bytes()),
        1 => proptest::collection::vec(1u8.., 0..4),
    ];
    proptest::collection::vec(entry.prop_map(Cow::Owned), 0..6)
}

pub fn snapshot(secrets: &[Given]) -> Snapshot {
    Snapshot::of(secrets.iter().map(|s| (s.id, s.key.clone(), s.value.clone(), s.projects.clone())))
}

/// The environment by the words of the contract, one secret and one entry at a time; `None` where
/// it says that this is an error.
fn model(secrets: &[Given], policy: &Policy, inherited: &[Entry]) -> Option<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut environment = BTreeMap::new();
    for entry in inherited {
        let Some(at) = entry.iter().position(|&byte| byte == b'=') else { continue };
        let (name, value) = (&entry[..at], &entry[at + 1..]);
        let ours = name.starts_with(b"BWS_EXEC_")
            || [&b""[..], b"BWS_ACCESS_TOKEN", b"BWS_ACCESS_TOKEN_FILE"].contains(&name);
        let kept = !policy.inherit.clean || name == b"PATH" || pattern::any(&policy.inherit.keep, name);
        if !ours && kept && !pattern::any(&policy.inherit.unset, name) {
            environment.entry(name.to_vec()).or_insert(value.to_vec());
        }
    }
    let before: BTreeSet<Vec<u8>> = environment.keys().cloned().collect();
    let selection = &policy.selection;
    let in_project = |secret: &Given, name: &String| secret.projects.iter().any(|(_, other)| other == name);
    let in_projects = |secret: &&Given| {
        selection.projects.is_empty() || selection.projects.iter().any(|name| in_project(secret, name))
    };
    for name in &selection.projects {
        secrets.iter().find(|secret| in_project(secret, name))?;
    }
    for pattern in selection.only.iter().chain(&selection.exclude) {
        secrets.iter().filter(in_projects).find(|secret| pattern.matches(secret.key.as_bytes()))?;
    }
    let mut taken = BTreeSet::new();
    for secret in secrets.iter().filter(in_projects) {
        let key = secret.key.as_bytes();
        if !selection.only.is_empty() && !pattern::any(&selection.only, key)
            || pattern::any(&selection.exclude, key)
        {
            continue;
        }
        let name = if policy.naming.uuids {
            format!("_{}", uuid::Uuid::from_u128(secret.id)).replace('-', "_")
        } else {
            match names::judge(&secret.key) {
                Verdict::Ours => continue,
                Verdict::Impossible(_) => return None,
                Verdict::Dangerous | Verdict::Unusual(_) if !policy.allowed_names.contains(&secret.key) => {
                    return None;
                }
                _ => secret.key.clone(),
            }
        };
        let name = name.into_bytes();
        if !taken.insert(name.clone()) {
            return None;
        }
        match policy.on_conflict {
            OnConflict::Inherited if before.contains(&name) => continue,
            OnConflict::Error if before.contains(&name) => return None,
            _ => {}
        }
        if secret.value.contains('\0') {
            return None;
        }
        environment.insert(name, secret.value.clone().into_bytes());
    }
    Some(environment)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_environment_is_that_of_the_model(secrets in secrets(), policy in policy(), inherited in inherited()) {
        let snapshot = snapshot(&secrets);
        let plan = EnvPlan::build(&snapshot, &policy, &inherited);

        let mut names = BTreeSet::new();
        let mut built = BTreeMap::new();
        for variable in &plan.variables {
            prop_assert!(names.insert(variable.name.clone()), "each name once");
            let value = match &variable.value {
                Value::Inherited(entry) => entry[variable.name.len() + 1..].to_vec(),
                Value::Given { value, .. } => value.expose().to_vec(),
            };
            prop_assert_eq!(variable.size(), variable.name.len() + 1 + value.len());
            built.insert(variable.name.clone(), value);
        }
        let expected = model(&secrets, &policy, &inherited);
        prop_assert_eq!(plan.problems.is_empty(), expected.is_some(), "{:?}", plan.problems);
        if let Some(expected) = expected {
            prop_assert_eq!(built, expected);
        }

        let problems = plan.problems.iter().map(|problem| format!("{problem} {} {problem:?}", problem.hint()));
        let words: Vec<String> = problems.chain(plan.warnings.clone()).chain(plan.notices.clone()).collect();
        prop_assert!(!words.iter().any(|words| words.contains(CANARY)), "{words:?}");
        let debug = format!("{plan:?} {snapshot:?}");
        prop_assert!(!debug.contains(CANARY), "{debug}");
    }
}
