//! One name, several levels: which one wins, for every combination of them, against a model in the words
//! of the contract. And when bulk runs at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::vault::Access;
use crate::support::{Launch, Outcome, Scenario};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum File {
    Without,
    Plain,
    Reference,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inherited {
    Unset,
    Plain,
    Reference,
}

/// What the levels have for one name.
#[derive(Clone, Copy, Debug)]
struct Levels {
    map: bool,
    first: File,
    second: File,
    inherited: Inherited,
    /// Whether `--resolve-env` is about this name.
    resolve: bool,
    bulk: bool,
}

/// Whose value the command sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Winner {
    Map,
    SecondFile,
    FirstFile,
    ResolveEnv,
    Bulk,
    Inherited,
    Nobody,
    /// An error.
    Conflict,
}

const FILES: [File; 3] = [File::Without, File::Plain, File::Reference];
const INHERITED: [Inherited; 3] = [Inherited::Unset, Inherited::Plain, Inherited::Reference];

fn all() -> BTreeMap<String, Levels> {
    let mut all = BTreeMap::new();
    for number in 0..2 * 3 * 3 * 3 * 2 * 2 {
        let mut rest = number;
        let mut digit = |base: usize| {
            let digit = rest % base;
            rest /= base;
            digit
        };
        let levels = Levels {
            map: digit(2) == 1,
            first: FILES[digit(3)],
            second: FILES[digit(3)],
            inherited: INHERITED[digit(3)],
            resolve: digit(2) == 1,
            bulk: digit(2) == 1,
        };
        all.insert(format!("{}{number}", if levels.resolve { "R" } else { "N" }), levels);
    }
    all
}

impl Levels {
    /// "One NAME: --map > env files (later wins) > --resolve-env > bulk > inherited; --on-conflict
    /// concerns only secret against inherited." What was resolved is no inherited value any more, and
    /// a plain value of an env file is no secret.
    fn winner(self, on_conflict: &str) -> Winner {
        let resolved = self.resolve && self.inherited == Inherited::Reference;
        let (winner, is_secret) = match self {
            Self { map: true, .. } => (Winner::Map, true),
            Self { second: File::Plain, .. } => (Winner::SecondFile, false),
            Self { second: File::Reference, .. } => (Winner::SecondFile, true),
            Self { first: File::Plain, .. } => (Winner::FirstFile, false),
            Self { first: File::Reference, .. } => (Winner::FirstFile, true),
            _ if resolved => (Winner::ResolveEnv, true),
            Self { bulk: true, .. } => (Winner::Bulk, true),
            Self { inherited: Inherited::Unset, .. } => (Winner::Nobody, false),
            _ => (Winner::Inherited, false),
        };
        let is_inherited = self.inherited != Inherited::Unset && !resolved;
        match on_conflict {
            "inherited" if is_secret && is_inherited => Winner::Inherited,
            "error" if is_secret && is_inherited => Winner::Conflict,
            _ => winner,
        }
    }

    /// What the command sees, each level with a value of its own.
    fn value(self, winner: Winner) -> Option<&'static str> {
        let of_file = |file, plain, secret| Some(if file == File::Plain { plain } else { secret });
        match winner {
            Winner::Map => Some("secret of map"),
            Winner::SecondFile => of_file(self.second, "text of second", "secret of second"),
            Winner::FirstFile => of_file(self.first, "text of first", "secret of first"),
            Winner::ResolveEnv => Some("secret of inherited"),
            Winner::Bulk => Some("secret of bulk"),
            Winner::Inherited if self.inherited == Inherited::Reference => Some("bws://INHERITED"),
            Winner::Inherited => Some("text of inherited"),
            Winner::Nobody | Winner::Conflict => None,
        }
    }
}

/// A vault with a secret for each level, and one launch in which every combination has a name.
struct Table {
    scenario: Scenario,
    directory: TempDir,
    all: BTreeMap<String, Levels>,
}

fn table() -> Table {
    let scenario = ["MAP", "FIRST", "SECOND", "INHERITED"].iter().fold(Scenario::new(), |scenario, key| {
        scenario.secret(key, format!("secret of {}", key.to_lowercase()))
    });
    let owner = scenario.vault.owner();
    let bulk = owner.create_project("bulk");
    owner.grant(scenario.account, bulk, Access::Read);
    let all = all();
    for (name, _) in all.iter().filter(|(_, levels)| levels.bulk) {
        owner.create_secret(bulk, name, "secret of bulk");
    }
    let directory = tempfile::tempdir().unwrap();
    for key in ["FIRST", "SECOND"] {
        let mut text = String::new();
        for (name, levels) in &all {
            match if key == "FIRST" { levels.first } else { levels.second } {
                File::Without => {}
                File::Plain => writeln!(text, "{name}=text of {}", key.to_lowercase()).unwrap(),
                File::Reference => writeln!(text, "{name}=bws://web/{key}").unwrap(),
            }
        }
        std::fs::write(directory.path().join(key), text).unwrap();
    }
    Table { scenario, directory, all }
}

impl Table {
    fn launch(&self, on_conflict: &str) -> Launch {
        let launch = self.scenario.launch().options(["--project=bulk", "--resolve-env=R*", "-q"]);
        let launch = launch.options(["--on-conflict", on_conflict]);
        let launch = launch.option("--env-file").option(self.directory.path().join("FIRST"));
        let launch = launch.option("--env-file").option(self.directory.path().join("SECOND"));
        self.all.iter().fold(launch, |launch, (name, levels)| {
            let launch = if levels.map { launch.option(format!("--map={name}=web/MAP")) } else { launch };
            match levels.inherited {
                Inherited::Unset => launch,
                Inherited::Plain => launch.env(name, "text of inherited"),
                Inherited::Reference => launch.env(name, "bws://INHERITED"),
            }
        })
    }
}

#[test]
fn every_combination_of_levels() {
    let table = table();
    for on_conflict in ["secret", "inherited"] {
        let outcome = table.launch(on_conflict).without_env("PATH").command(["/usr/bin/env"]).run();
        outcome.succeeded();
        let text = outcome.text();
        let seen: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
        for (name, levels) in &table.all {
            let expected = levels.value(levels.winner(on_conflict));
            assert_eq!(seen.get(name.as_str()).copied(), expected, "{on_conflict}: {name} {levels:?}");
        }
        assert_eq!(text.lines().count(), seen.len(), "each name once");
        assert!(seen.keys().all(|name| table.all.contains_key(*name)), "{seen:?}");
    }
}

#[test]
fn every_combination_as_a_dry_run_explains_it() {
    let table = table();
    for on_conflict in ["secret", "inherited", "error"] {
        let outcome = table.launch(on_conflict).option("--dry-run=json").run();
        let shown: Value = serde_json::from_slice(&outcome.stdout).unwrap();
        let rules: BTreeMap<&str, (&str, &str)> = shown["variables"]
            .as_array()
            .unwrap()
            .iter()
            .map(|variable| {
                let file =
                    variable["file"].as_str().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
                (variable["name"].as_str().unwrap(), (variable["rule"].as_str().unwrap(), file))
            })
            .collect();
        let problems = shown["problems"].as_array().unwrap();
        assert!(problems.iter().all(|problem| problem["slug"] == "conflict"), "{problems:?}");
        let conflicts: BTreeSet<&str> =
            problems.iter().map(|p| p["message"].as_str().unwrap().split('\'').nth(1).unwrap()).collect();
        for (name, levels) in &table.all {
            let winner = levels.winner(on_conflict);
            let expected = match winner {
                Winner::Map => Some(("map", "")),
                Winner::SecondFile => Some(("env-file", "SECOND")),
                Winner::FirstFile => Some(("env-file", "FIRST")),
                Winner::ResolveEnv => Some(("resolve-env", "")),
                Winner::Bulk => Some(("bulk", "")),
                Winner::Inherited | Winner::Nobody | Winner::Conflict => None,
            };
            let context = format!("{on_conflict}: {name} {levels:?}");
            assert_eq!(rules.get(name.as_str()).copied(), expected, "{context}");
            assert_eq!(conflicts.contains(name.as_str()), winner == Winner::Conflict, "{context}");
        }
        assert_eq!(outcome.code(), Some(if conflicts.is_empty() { 0 } else { 125 }));
        assert_eq!(conflicts.is_empty(), on_conflict != "error");
    }
}

/// What is overridden is listed from the inherited value to the strongest of the weaker levels.
#[test]
fn what_a_variable_overrides() {
    let scenario = Scenario::new().secret("X", "bulk").secret("K", "other");
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| -> PathBuf {
        let path = directory.path().join(name);
        std::fs::write(&path, "# first line\nX=bws://K\nX=plain\n").unwrap();
        path
    };
    let (one, two) = (file("one"), file("two"));
    let launch = scenario.launch().env("X", "inherited").options(["--all", "--map=X=K", "--dry-run=json"]);
    let outcome = launch.option("--env-file").option(&one).option("--env-file").option(&two).run();
    let shown: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    let variable = shown["variables"].as_array().unwrap().iter().find(|v| v["name"] == "X").unwrap();
    let (one, two) = (one.display(), two.display());
    let expected = [
        "inherited".to_owned(),
        format!("{two}:3"),
        format!("{two}:2"),
        format!("{one}:3"),
        format!("{one}:2"),
        "bulk".to_owned(),
    ];
    assert_eq!(variable["overrides"], serde_json::json!(expected));
}

/// "Bulk runs if there is a selector, or no reference at all (plain env-file values are not references)."
#[test]
fn bulk_beside_every_combination_of_references() {
    let scenario = Scenario::new().secret("BULK", "value").secret("OTHER", "value");
    let directory = tempfile::tempdir().unwrap();
    let (plain, reference) = (directory.path().join("plain"), directory.path().join("reference"));
    std::fs::write(&plain, "TEXT=no reference\n").unwrap();
    std::fs::write(&reference, "REF=bws://OTHER\n").unwrap();
    let selectors = ["--project=web", "--only=BULK", "--exclude=OTHER", "--all"];
    let combinations: Vec<(usize, usize)> = (0..16).flat_map(|s| (0..16).map(move |r| (s, r))).collect();
    for some in combinations.chunks(8) {
        let running = some.iter().map(|&(selected, referred)| {
            let given = |set: usize, bit: usize| set & 1 << bit != 0;
            let launch = scenario.launch();
            let launch =
                (0..4).filter(|&bit| given(selected, bit)).fold(launch, |l, bit| l.option(selectors[bit]));
            let launch = if given(referred, 0) { launch.option("--map=MAP=OTHER") } else { launch };
            let launch = launch.env("ENV", "bws://OTHER").option("-q");
            let launch = if given(referred, 1) { launch.option("--resolve-env") } else { launch };
            let files = [(2, &reference), (3, &plain)].into_iter().filter(|&(bit, _)| given(referred, bit));
            let launch = files.fold(launch, |l, (_, path)| l.option("--env-file").option(path));
            (selected, referred, launch.command(["printenv", "BULK"]).start())
        });
        for (selected, referred, run) in running.collect::<Vec<_>>() {
            let outcome: Outcome = run.finish();
            let has_reference = referred & 0b0111 != 0;
            let bulk = selected != 0 || !has_reference;
            let context = format!("selectors {selected:04b}, references {referred:04b}: {outcome:?}");
            assert_eq!(outcome.code(), Some(if bulk { 0 } else { 1 }), "{context}");
        }
    }
}

/// The variable is a selector as the option is.
#[test]
fn bulk_by_variable() {
    let scenario = Scenario::new().secret("BULK", "value");
    let launch = || scenario.launch().option("--map=MAP=BULK").command(["printenv", "BULK"]);
    assert_eq!(launch().run().code(), Some(1));
    assert_eq!(launch().env("BWS_EXEC_PROJECT", "web").run().succeeded().text(), "value\n");
}
