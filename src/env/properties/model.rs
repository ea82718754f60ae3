//! The environment by the words of the contract, one name at a time. Slow, and written to be read
//! beside them.

use std::collections::{BTreeMap, BTreeSet};

use super::super::names::{self, Verdict};
use super::super::pattern::{self, Pattern};
use super::super::{Entry, OnConflict, Selection};
use super::{Asked, Given, Part, Reference};

type Environment = BTreeMap<Vec<u8>, Vec<u8>>;

/// What one level has for one name.
enum Level<'a> {
    /// A plain value of an env file.
    Text(&'a str),
    Template(Vec<Part>),
    File(&'a Reference),
    Malformed,
    /// The selected secrets that would have this name.
    Bulk(Vec<&'a Given>),
}

/// Why a level gives no value.
enum Failure {
    /// What `--optional` forgives.
    Missing,
    Wrong,
}

/// The environment; `None` where the contract says that this is an error.
pub fn model(secrets: &[Given], asked: &Asked, inherited: &[Entry]) -> Option<Environment> {
    let before = go_on(asked, inherited);
    let referred = |name: &[u8]| {
        let name = std::str::from_utf8(name).ok()?;
        let reference = before.get(name.as_bytes())?.strip_prefix(b"bws://")?;
        asked.resolve_env.as_ref()?.matches(name.as_bytes()).then_some(reference)
    };
    let levels = levels(secrets, asked, &before, &referred)?;
    let names: BTreeSet<&String> = levels.iter().flat_map(|level| level.keys()).collect();
    let mut environment = before.clone();
    for name in names {
        let is_in_place = referred(name.as_bytes()).is_some();
        // Resolved in place, it is no inherited value any more.
        if is_in_place {
            environment.remove(name.as_bytes());
        }
        let conflicts = before.contains_key(name.as_bytes()) && !is_in_place;
        for level in levels.iter().filter_map(|level| level.get(name)) {
            match level.value(secrets, asked, name, conflicts) {
                Ok(Some(value)) if value.contains(&0) && !matches!(level, Level::File(_)) => return None,
                Ok(Some(value)) => {
                    environment.insert(name.clone().into_bytes(), value);
                }
                Ok(None) => {}
                Err(Failure::Missing) if asked.optional.contains(name) => continue,
                Err(_) => return None,
            }
            break;
        }
    }
    asked.required.iter().all(|name| environment.contains_key(name.as_bytes())).then_some(environment)
}

/// What is inherited and goes on.
fn go_on(asked: &Asked, inherited: &[Entry]) -> Environment {
    let mut environment = Environment::new();
    for entry in inherited {
        let Some(at) = entry.iter().position(|&byte| byte == b'=') else { continue };
        let (name, value) = (&entry[..at], &entry[at + 1..]);
        let kept = !asked.inherit.clean || name == b"PATH" || pattern::any(&asked.inherit.keep, name);
        if !name.is_empty() && !is_ours(name) && kept && !pattern::any(&asked.inherit.unset, name) {
            environment.entry(name.to_vec()).or_insert(value.to_vec());
        }
    }
    environment
}

fn is_ours(name: &[u8]) -> bool {
    name.starts_with(b"BWS_EXEC_") || [&b"BWS_ACCESS_TOKEN"[..], b"BWS_ACCESS_TOKEN_FILE"].contains(&name)
}

/// All levels from the strongest: maps, every line of every env file from the last, `--resolve-env`, bulk.
fn levels<'a>(
    secrets: &'a [Given],
    asked: &'a Asked,
    before: &Environment,
    referred: &dyn Fn(&[u8]) -> Option<&'a [u8]>,
) -> Option<Vec<BTreeMap<String, Level<'a>>>> {
    let template = |parts: &[Part]| Level::Template(parts.to_vec());
    let whole = |reference: &Reference| Level::Template(vec![Part::Whole(reference.clone())]);
    let maps = asked.maps.iter().map(|(name, reference)| (name.clone(), whole(reference)));
    let files = asked.delivered.iter().map(|(name, reference)| (name.clone(), Level::File(reference)));
    let mut levels = vec![maps.chain(files).collect()];
    let mut has_reference = !(asked.maps.is_empty() && asked.delivered.is_empty());
    for (name, parts) in asked.files.iter().rev().flat_map(|file| file.iter().rev()) {
        let level = match &parts[..] {
            [Part::Text(text)] => Level::Text(text),
            parts => {
                has_reference = true;
                template(parts)
            }
        };
        if !is_ours(name.as_bytes()) {
            levels.push(BTreeMap::from([(name.clone(), level)]));
        }
    }
    let in_place: BTreeMap<String, Level> = before
        .keys()
        .filter_map(|name| {
            let reference = Reference::read(std::str::from_utf8(referred(name)?).ok()?);
            let level = reference.map_or(Level::Malformed, |reference| whole(&reference));
            Some((String::from_utf8(name.clone()).ok()?, level))
        })
        .collect();
    has_reference |= !in_place.is_empty();
    levels.push(in_place);
    let selection = &asked.selection;
    let has_selector = selection.all
        || !(selection.projects.is_empty() && selection.only.is_empty() && selection.exclude.is_empty());
    if has_selector || !has_reference {
        levels.push(bulk(secrets, asked)?);
    }
    Some(levels)
}

fn bulk<'a>(secrets: &'a [Given], asked: &Asked) -> Option<BTreeMap<String, Level<'a>>> {
    let mut named: BTreeMap<String, Vec<&Given>> = BTreeMap::new();
    let in_files: BTreeSet<u128> =
        asked.delivered.values().filter_map(|file| Some(file.secret(secrets).ok()?.id)).collect();
    for secret in selected(secrets, &asked.selection)? {
        if in_files.contains(&secret.id) {
            continue;
        }
        let mut name = secret.key.clone();
        if asked.naming.uuids {
            name = format!("_{}", uuid::Uuid::from_u128(secret.id)).replace('-', "_");
        }
        if asked.naming.upper {
            let upper = |c: char| if "-./ ".contains(c) { '_' } else { c.to_ascii_uppercase() };
            name = name.chars().map(upper).collect();
        }
        named.entry(asked.naming.prefix.clone() + &name).or_default().push(secret);
    }
    named.retain(|name, _| !is_ours(name.as_bytes()));
    Some(named.into_iter().map(|(name, secrets)| (name, Level::Bulk(secrets))).collect())
}

/// `None` if a selector matches nothing.
fn selected<'a>(secrets: &'a [Given], selection: &Selection) -> Option<Vec<&'a Given>> {
    let mut projects = BTreeSet::new();
    for text in &selection.projects {
        projects.insert(one_project(secrets, text)?);
    }
    let is_in_one = |secret: &&Given| {
        selection.projects.is_empty() || secret.projects.iter().any(|(id, _)| projects.contains(id))
    };
    let matches = |secret: &&Given, pattern: &Pattern| pattern.matches(secret.key.as_bytes());
    for pattern in selection.only.iter().chain(&selection.exclude) {
        secrets.iter().filter(is_in_one).find(|secret| matches(secret, pattern))?;
    }
    let wanted = |secret: &&Given| {
        selection.only.is_empty() || selection.only.iter().any(|pattern| matches(secret, pattern))
    };
    let excluded = |secret: &&Given| selection.exclude.iter().any(|pattern| matches(secret, pattern));
    Some(secrets.iter().filter(is_in_one).filter(wanted).filter(|secret| !excluded(secret)).collect())
}

/// What reads as an id is one; else the only project of this name.
fn one_project(secrets: &[Given], text: &str) -> Option<u128> {
    let all: BTreeSet<(u128, &str)> = secrets
        .iter()
        .flat_map(|secret| secret.projects.iter().map(|(id, name)| (*id, name.as_str())))
        .collect();
    if super::is_any_id(text) {
        return all.iter().find(|(id, _)| super::is_id(text, *id)).map(|(id, _)| *id);
    }
    let named: Vec<u128> = all.iter().filter(|(_, name)| *name == text).map(|(id, _)| *id).collect();
    if let [id] = named[..] { Some(id) } else { None }
}

impl Level<'_> {
    /// `None` where the inherited value stays.
    fn value(
        &self,
        secrets: &[Given],
        asked: &Asked,
        name: &str,
        conflicts: bool,
    ) -> Result<Option<Vec<u8>>, Failure> {
        match self {
            Level::Text(text) => return Ok(Some(text.as_bytes().to_vec())),
            Level::Malformed => return Err(Failure::Wrong),
            Level::Template(parts) => {
                for reference in parts.iter().filter_map(Part::reference) {
                    reference.secret(secrets)?;
                }
            }
            Level::File(reference) => {
                reference.secret(secrets)?;
            }
            Level::Bulk(named) => {
                let allowed = asked.allowed_names.iter().any(|other| other == name);
                let good = match names::judge(name) {
                    Verdict::Fine => true,
                    Verdict::Dangerous | Verdict::Unusual(_) => allowed,
                    Verdict::Ours | Verdict::Impossible(_) => false,
                };
                if !good || named.len() > 1 {
                    return Err(Failure::Wrong);
                }
            }
        }
        match asked.on_conflict {
            OnConflict::Inherited if conflicts => return Ok(None),
            OnConflict::Error if conflicts => return Err(Failure::Wrong),
            _ => {}
        }
        match self {
            Level::Bulk(named) => Ok(named.first().map(|secret| secret.value.clone().into_bytes())),
            Level::Template(parts) => {
                let parts: Result<Vec<String>, Failure> =
                    parts.iter().map(|part| part.text(secrets)).collect();
                Ok(Some(parts?.concat().into_bytes()))
            }
            Level::File(reference) => Ok(Some(reference.value(secrets)?.into_bytes())),
            Level::Text(_) | Level::Malformed => unreachable!("decided above"),
        }
    }
}

impl Part {
    fn reference(&self) -> Option<&Reference> {
        match self {
            Part::Text(_) => None,
            Part::Whole(reference) | Part::Inside { reference, .. } => Some(reference),
        }
    }

    fn text(&self, secrets: &[Given]) -> Result<String, Failure> {
        match self {
            Part::Text(text) => Ok(text.clone()),
            Part::Whole(reference) | Part::Inside { reference, urlencode: false } => reference.value(secrets),
            Part::Inside { reference, urlencode: true } => {
                let kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
                let encode =
                    |byte: u8| if kept(byte) { char::from(byte).into() } else { format!("%{byte:02X}") };
                Ok(reference.value(secrets)?.bytes().map(encode).collect())
            }
        }
    }
}

impl Reference {
    fn secret<'a>(&self, secrets: &'a [Given]) -> Result<&'a Given, Failure> {
        let found: Vec<&Given> = match self {
            Reference::Id { id, .. } => secrets.iter().filter(|secret| secret.id == *id).collect(),
            Reference::Key { project, key, .. } => secrets
                .iter()
                .filter(|secret| secret.key == *key)
                .filter(|secret| match project {
                    None => true,
                    Some(text) if super::is_any_id(text) => {
                        secret.projects.iter().any(|(id, _)| super::is_id(text, *id))
                    }
                    Some(text) => secret.projects.iter().any(|(_, name)| name == text),
                })
                .collect(),
        };
        match found[..] {
            [one] => Ok(one),
            [] => Err(Failure::Missing),
            _ => Err(Failure::Wrong),
        }
    }

    fn value(&self, secrets: &[Given]) -> Result<String, Failure> {
        let value = &self.secret(secrets)?.value;
        let Some(field) = self.field() else { return Ok(value.clone()) };
        let json: serde_json::Value = serde_json::from_str(value).map_err(|_| Failure::Wrong)?;
        match json.get(field) {
            None | Some(serde_json::Value::Null) => Err(Failure::Missing),
            Some(serde_json::Value::String(text)) => Ok(text.clone()),
            Some(other) => Ok(other.to_string()),
        }
    }
}
