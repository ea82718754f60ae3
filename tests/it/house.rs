//! Rules of the house that a reader could check by eye, checked by a test.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(directory: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found
}

/// The top-level module a file belongs to.
fn module(path: &Path) -> String {
    let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let first = inside.iter().next().unwrap().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// Module names in the order of the table in the crate's documentation, top first.
fn documented_order() -> BTreeMap<String, usize> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | `"));
    let names = rows.flat_map(|row| {
        let cell = row.split(" |").next().unwrap().to_owned();
        cell.split(", ").map(|name| name.trim_matches('`').to_owned()).collect::<Vec<_>>()
    });
    names.enumerate().map(|(place, name)| (name, place)).collect()
}

/// Every `crate::name` of a line, also inside `use crate::{a, b::c}`.
fn imported(line: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        let list = rest.strip_prefix('{').map(|list| list.split('}').next().unwrap()).unwrap_or(rest);
        let items = if rest.starts_with('{') { list.split(',').collect() } else { vec![rest] };
        for item in items {
            let name: String = item.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !name.is_empty() {
                names.push(name);
            }
        }
    }
    names
}

#[test]
fn modules_import_downward_only() {
    let order = documented_order();
    let mut arrows = 0;
    for (path, text) in sources() {
        let from = module(&path);
        // Entry points, and the test of the vectors, stand on top of everything.
        if ["lib", "main", "vectors"].contains(&from.as_str()) {
            continue;
        }
        let place = order.get(&from).unwrap_or_else(|| panic!("{from} is not in the table of src/lib.rs"));
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for to in imported(line).into_iter().filter(|to| *to != from) {
                let below = order.get(&to).unwrap_or_else(|| panic!("{}: {to} is no module", path.display()));
                assert!(
                    below > place,
                    "{}: {from} must not import {to}, which stands above it",
                    path.display()
                );
                arrows += 1;
            }
        }
    }
    assert!(arrows > 50, "the scan sees the imports: {arrows}");
}

#[test]
fn one_place_each_for_unsafe_http_and_words() {
    for (path, text) in sources() {
        let module = module(&path);
        let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let has = |needle: &str| code.iter().any(|line| line.contains(needle));
        assert!(module == "sys" || !(has("unsafe {") || has("unsafe fn")), "{}: unsafe", path.display());
        assert!(module == "api" || !has("reqwest::Client"), "{}: HTTP", path.display());
        assert!(
            module == "report"
                || !["println!", "eprintln!", "stdout().", "stderr().write", "stderr().lock"]
                    .iter()
                    .any(|w| has(w)),
            "{}: prints",
            path.display()
        );
        assert!(
            ["main", "sys"].contains(&module.as_str()) || !(has("process::exit") || has("_exit(")),
            "{}: ends the process",
            path.display()
        );
        assert!(
            module == "api" || !has("Serialize"),
            "{}: nothing of ours can be serialised",
            path.display()
        );
    }
}

#[test]
fn main_stays_small() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/main.rs")).unwrap();
    assert!(text.lines().count() <= 40);
}
