//! `--file NAME=REF[,mode=0400][,owner=USER[:GROUP]][,path=/abs/path]`.

use std::path::{Component, Path, PathBuf};

use crate::env::{FileRule, Template};
use crate::error::Error;
use crate::users::Owner;

const MODE: u32 = 0o400;
/// Nothing that we deliver is a program, and memory that is sealed cannot become one.
const ANY_MODE: u32 = 0o666;

/// Reads them all. `maps` are of the same level, where each name is given once.
pub fn rules(typed: &[String], maps: &[(String, Template)]) -> Result<Vec<FileRule>, Error> {
    let mut rules: Vec<FileRule> = Vec::new();
    for text in typed {
        let rule = rule(text)?;
        if maps.iter().any(|(name, _)| *name == rule.name) {
            let message = format!("--map and --file both give '{}'", rule.name);
            return Err(Error::usage(message, "a name has one value: give each name once"));
        }
        for other in &rules {
            if other.name == rule.name {
                let message = format!("--file gives '{}' twice", rule.name);
                return Err(Error::usage(message, "a name has one value: give each name once"));
            }
            if let (Some(one), Some(two)) = (&other.path, &rule.path)
                && (one.starts_with(two) || two.starts_with(one))
            {
                let message = format!(
                    "--file {} and --file {} cannot be {} and {}",
                    other.name,
                    rule.name,
                    one.display(),
                    two.display()
                );
                return Err(Error::usage(message, "give each file a path of its own"));
            }
        }
        rules.push(rule);
    }
    Ok(rules)
}

fn rule(text: &str) -> Result<FileRule, Error> {
    let (name, rest) = super::named("--file", text, "for example: --file TLS_KEY=web/tls-key,mode=0440")?;
    let mut parts = rest.split(',');
    let reference = parts.next().unwrap_or_default();
    let template = super::reference_of("--file", name, reference)?;
    let (mut mode, mut owner, mut path) = (None, None, None);
    for option in parts {
        let wrong = |problem: String, hint: &str| Error::usage(format!("--file {name}: {problem}"), hint);
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let again = match key {
            "mode" => mode
                .replace(read_mode(value).ok_or_else(|| {
                    let problem = format!("mode '{value}' is not an octal number from 0000 to 0666");
                    wrong(
                        problem,
                        "for example mode=0440, for owner and group to read; no secret is a program",
                    )
                })?)
                .is_some(),
            "owner" => owner
                .replace(Owner::parse(value).map_err(|problem| {
                    wrong(
                        format!("owner '{value}': {problem}"),
                        "for example owner=postgres, owner=web:tls or owner=1000:1000",
                    )
                })?)
                .is_some(),
            "path" => path
                .replace(read_path(value).map_err(|problem| {
                    wrong(
                        format!("path '{value}' {problem}"),
                        "for example path=/run/app/tls.key; without path= the file is a descriptor",
                    )
                })?)
                .is_some(),
            _ => {
                let hint = "there are mode=, owner= and path=; a comma inside REF is written %2C";
                return Err(wrong(format!("'{key}' is no option of a file"), hint));
            }
        };
        if again {
            return Err(wrong(format!("{key}= is given twice"), "give it once"));
        }
    }
    Ok(FileRule { name: name.into(), template, mode: mode.unwrap_or(MODE), owner, path })
}

fn read_mode(text: &str) -> Option<u32> {
    let is_octal = (3..=4).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| is_octal)?;
    (mode & !ANY_MODE == 0).then_some(mode)
}

/// A path that means one place, whatever is mounted.
fn read_path(text: &str) -> Result<PathBuf, &'static str> {
    let path: PathBuf = Path::new(text).components().collect();
    if !path.is_absolute() {
        return Err("is not absolute");
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err("has '..' in it");
    }
    if text.ends_with('/') || text.ends_with("/.") {
        return Err("names a directory");
    }
    match path.parent().map(|parent| parent == Path::new("/")) {
        Some(false) => Ok(path),
        _ => Err("is not inside a directory that memory can be mounted over"),
    }
}
