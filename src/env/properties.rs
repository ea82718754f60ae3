//! What holds for any secrets, any policy and any inherited environment.

mod model;
mod written;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::pattern::Pattern;
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

/// A reference before it is written.
#[derive(Clone, Debug)]
enum Reference {
    Id { id: u128, field: Option<String> },
    Key { project: Option<String>, key: String, field: Option<String> },
}

/// A piece of a value before it is written.
#[derive(Clone, Debug)]
enum Part {
    Text(String),
    /// `bws://REF`, alone.
    Whole(Reference),
    /// `${bws://REF}`.
    Inside {
        reference: Reference,
        urlencode: bool,
    },
}

/// A policy before it is written.
#[derive(Clone, Debug)]
struct Asked {
    selection: Selection,
    naming: Naming,
    maps: BTreeMap<String, Reference>,
    /// `--file`; their names are not among the maps.
    delivered: BTreeMap<String, Reference>,
    files: Vec<Vec<(String, Vec<Part>)>>,
    resolve_env: Option<Pattern>,
    required: Vec<String>,
    optional: Vec<String>,
    inherit: Inherit,
    on_conflict: OnConflict,
    allowed_names: Vec<String>,
}

fn is_id(text: &str, id: u128) -> bool {
    uuid::Uuid::try_parse(text) == Ok(uuid::Uuid::from_u128(id))
}

fn is_any_id(text: &str) -> bool {
    uuid::Uuid::try_parse(text).is_ok()
}

fn id_text(id: u128) -> String {
    uuid::Uuid::from_u128(id).to_string()
}

/// Names that collide often.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![20 => "[A-D]_?[12]?", 1 => Just("PATH".to_owned())]
}

/// The same, and any text.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        30 => name(),
        1 => prop::sample::select(vec!["BWS_ACCESS_TOKEN", "a/b#c|d}e%f", "\u{fc} .-a", "%41"]).prop_map_into(),
        1 => "[a=\\x00 1]{0,3}",
        1 => any::<String>(),
    ]
}

/// Names of projects: their usual ones, one another's, the id of another one, any text.
fn project_name(id: u128) -> impl Strategy<Value = String> {
    prop_oneof![6 => Just(format!("p{id}")), 1 => "p[0-3]", 1 => Just(id_text(1)), 1 => any::<String>()]
}

fn value() -> impl Strategy<Value = String> {
    let text = (any::<String>(), any::<String>()).prop_map(|(a, b)| format!("{a}{CANARY}{b}"));
    let json = (text.clone(), -9..9).prop_map(|(text, number)| {
        serde_json::json!({ "a": text, "b": number, "c": null, "d": [text, { "e": true }] }).to_string()
    });
    prop_oneof![2 => text, 1 => json]
}

pub fn secrets() -> impl Strategy<Value = Vec<Given>> {
    let one = (key(), value(), vec(0usize..3, 0..3));
    ([project_name(0), project_name(1), project_name(2)], vec(one, 0..6)).prop_map(|(names, all)| {
        let projects =
            |places: Vec<usize>| places.into_iter().map(|at| (at as u128, names[at].clone())).collect();
        let given = |(id, (key, value, places))| Given {
            id: id as u128 + 100,
            key,
            value,
            projects: projects(places),
        };
        all.into_iter().enumerate().map(given).collect()
    })
}

/// None, more often than not.
fn few<S: Strategy>(one: S) -> impl Strategy<Value = Vec<S::Value>> {
    option::weighted(0.2, vec(one, 1..3)).prop_map(Option::unwrap_or_default)
}

fn globs() -> impl Strategy<Value = Vec<Pattern>> {
    let glob = prop_oneof![6 => "[A-D]?\\*", 1 => "[AB*?]{1,2}"];
    few(glob.prop_map(Pattern::new))
}

fn project() -> impl Strategy<Value = String> {
    prop_oneof![6 => "p[0-3]", 1 => (0u128..4).prop_map(id_text)]
}

/// References to what is there, for the most part.
fn reference(known: &[Given]) -> impl Strategy<Value = Reference> + use<> {
    let field = || option::weighted(0.1, "[a-e]");
    let written = key().prop_filter("an empty key cannot be written", |key| !key.is_empty());
    let random = (option::weighted(0.3, project()), written, field());
    let random = random.prop_map(|(project, key, field)| Reference::Key { project, key, field });
    let to_be_written = known.iter().filter(|secret| !secret.key.is_empty()).cloned().collect::<Vec<_>>();
    if to_be_written.is_empty() {
        return random.boxed();
    }
    let of_one = (prop::sample::select(to_be_written), 0..3, field());
    let of_one =
        of_one.prop_map(|(Given { id, key, projects, .. }, manner, field)| match (manner, &projects[..]) {
            (0, _) => Reference::Id { id, field },
            (1, [(_, name), ..]) if !name.is_empty() => {
                Reference::Key { project: Some(name.clone()), key, field }
            }
            (2, [(project, _), ..]) => Reference::Key { project: Some(id_text(*project)), key, field },
            _ => Reference::Key { project: None, key, field },
        });
    prop_oneof![8 => of_one, 1 => random].boxed()
}

fn parts(known: &[Given]) -> impl Strategy<Value = Vec<Part>> + use<> {
    let text = || "[a-z$ ]{1,3}".prop_map(Part::Text);
    let inside = || {
        let part = |(reference, urlencode)| Part::Inside { reference, urlencode };
        (reference(known), any::<bool>()).prop_map(part)
    };
    prop_oneof![
        text().prop_map(|part| vec![part]),
        reference(known).prop_map(|reference| vec![Part::Whole(reference)]),
        (text(), inside(), text(), inside()).prop_map(|(a, b, c, d)| vec![a, b, c, d]),
    ]
}

fn asked(known: &[Given]) -> impl Strategy<Value = Asked> + use<> {
    let selection = (few(project()), globs(), globs(), prop::bool::weighted(0.3))
        .prop_map(|(projects, only, exclude, all)| Selection { projects, only, exclude, all });
    let prefix =
        prop_oneof![8 => Just(""), 2 => Just("A"), 2 => Just("P_"), 1 => Just("LD_"), 1 => Just("=")];
    let naming = (prop::bool::weighted(0.2), any::<bool>(), prefix)
        .prop_map(|(uuids, upper, prefix)| Naming { uuids, upper, prefix: prefix.into() });
    let mapped = prop_oneof![9 => name(), 1 => Just("a-b".to_owned())];
    let written = prop_oneof![9 => name(), 1 => Just("BWS_EXEC_X".to_owned())];
    let references = (
        proptest::collection::btree_map(mapped, (reference(known), prop::bool::weighted(0.3)), 0..3),
        vec(vec((written, parts(known)), 0..3), 0..3),
        option::of(prop::sample::select(vec!["*", "A*"]).prop_map(Pattern::new)),
    );
    let names = (
        few(prop_oneof![name(), Just("A".to_owned())]),
        vec(prop_oneof![name(), Just("A".to_owned())], 0..12),
        vec(prop::sample::select(vec!["PATH", " "]), 0..2),
    );
    let conflict = prop_oneof![2 => Just(OnConflict::Secret), 2 => Just(OnConflict::Inherited), 1 => Just(OnConflict::Error)];
    let inherit =
        (any::<bool>(), globs(), globs()).prop_map(|(clean, keep, unset)| Inherit { clean, keep, unset });
    (selection, naming, references, names, inherit, conflict).prop_map(
        |(
            selection,
            naming,
            (maps, files, resolve_env),
            (required, optional, allowed),
            inherit,
            on_conflict,
        )| {
            let allowed_names = allowed.into_iter().map(str::to_owned).collect();
            let (delivered, maps): (Vec<_>, Vec<_>) =
                maps.into_iter().partition(|(_, (_, in_file))| *in_file);
            let references = |list: Vec<(String, (Reference, bool))>| {
                list.into_iter().map(|(name, (reference, _))| (name, reference)).collect()
            };
            let (delivered, maps) = (references(delivered), references(maps));
            Asked {
                selection,
                naming,
                maps,
                delivered,
                files,
                resolve_env,
                required,
                optional,
                inherit,
                on_conflict,
                allowed_names,
            }
        },
    )
}

pub fn policy() -> impl Strategy<Value = Policy> {
    asked(&[]).prop_map(|asked| asked.policy())
}

pub fn inherited() -> impl Strategy<Value = Vec<Entry>> {
    let value = prop_oneof![9 => "[x-z]{0,2}", 3 => "bws://(p[0-3]/)?[A-D]", 1 => "bws://(a/b/c)?"];
    let entry = prop_oneof![
        4 => ("[AB]_?[12]?|PATH|BWS_EXEC_X", value).prop_map(|(n, v)| format!("{n}={v}").into_bytes()),
        1 => vec(1u8.., 0..4),
    ];
    vec(entry.prop_map(Cow::Owned), 0..6)
}

pub fn snapshot(secrets: &[Given]) -> Snapshot {
    Snapshot::of(secrets.iter().map(|s| (s.id, s.key.clone(), s.value.clone(), s.projects.clone())))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_environment_is_that_of_the_model(
        (secrets, asked) in secrets().prop_flat_map(|secrets| (Just(secrets.clone()), asked(&secrets))),
        inherited in inherited(),
    ) {
        let snapshot = snapshot(&secrets);
        let plan = EnvPlan::build(&snapshot, &asked.policy(), &inherited);

        let mut names = BTreeSet::new();
        let mut built = BTreeMap::new();
        for variable in &plan.variables {
            prop_assert!(names.insert(variable.name.clone()), "each name once");
            let value = match &variable.value {
                Value::Inherited(entry) => entry[variable.name.len() + 1..].to_vec(),
                Value::Given { value, .. } => value.expose().to_vec(),
                // Its path is not known yet.
                Value::File { content, .. } => {
                    prop_assert_eq!(variable.size(), variable.name.len() + 1);
                    built.insert(variable.name.clone(), content.expose().to_vec());
                    continue;
                }
            };
            prop_assert_eq!(variable.size(), variable.name.len() + 1 + value.len());
            built.insert(variable.name.clone(), value);
        }
        let expected = model::model(&secrets, &asked, &inherited);
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
