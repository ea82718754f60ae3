//! References to one secret: `<uuid>`, `KEY` or `PROJECT/KEY`, then optionally `#/json/pointer`.
//!
//! `/ # | } %` inside a part are percent-encoded. What a secret holds is never read as a reference.

use std::fmt;

use percent_encoding::percent_decode_str;

use super::pointer;
use crate::error::Error;
use crate::ids::{ProjectId, SecretId};
use crate::secret::SecretValue;
use crate::snapshot::{Secret, Snapshot};

/// What a value that is a reference begins with.
pub const SCHEME: &str = "bws://";

/// A reference as it was written, and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    text: String,
    target: Target,
    /// Tokens of the JSON pointer, unescaped.
    pointer: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Id(SecretId),
    Key { project: Option<String>, key: String },
}

impl Reference {
    /// Reads what follows `bws://`, or the right side of `--map`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (target, pointer) = match text.split_once('#') {
            Some((target, pointer)) => (target, Some(pointer)),
            None => (text, None),
        };
        let pointer = pointer.map(|pointer| pointer::parse(&decode(pointer)?)).transpose()?;
        let target = match target.split_once('/') {
            None if target.is_empty() => return Err("it names no secret".into()),
            None => match target.parse() {
                Ok(id) => Target::Id(id),
                Err(_) => Target::Key { project: None, key: decode(target)? },
            },
            Some((_, key)) if key.contains('/') => {
                return Err("it has more than one '/': inside a name, write %2F".into());
            }
            Some(("", _) | (_, "")) => return Err("a project or a key is missing beside '/'".into()),
            Some((project, key)) => Target::Key { project: Some(decode(project)?), key: decode(key)? },
        };
        Ok(Self { text: text.to_owned(), target, pointer })
    }

    /// The one secret it means, among everything the token reads.
    pub fn find<'a>(&self, snapshot: &'a Snapshot) -> Result<&'a Secret, Error> {
        let found: Vec<&Secret> = match &self.target {
            Target::Id(id) => snapshot.secrets.iter().filter(|secret| secret.id == *id).collect(),
            Target::Key { project, key } => snapshot
                .secrets
                .iter()
                .filter(|secret| secret.key.as_ref() == Ok(key))
                .filter(|secret| project.as_ref().is_none_or(|name| is_in(snapshot, secret, name)))
                .collect(),
        };
        match found[..] {
            [secret] => Ok(secret),
            [] => Err(Error::MissingSecret {
                reference: self.text.clone(),
                candidates: self.elsewhere(snapshot),
            }),
            _ => Err(Error::AmbiguousReference {
                reference: self.text.clone(),
                candidates: found.iter().map(|secret| snapshot.describe(secret)).collect(),
            }),
        }
    }

    /// The value, or the part of it that the pointer names.
    pub fn resolve(&self, snapshot: &Snapshot) -> Result<SecretValue, Error> {
        self.read(snapshot, Snapshot::value)
    }

    /// The same; a whole value need not be text.
    pub fn content(&self, snapshot: &Snapshot) -> Result<SecretValue, Error> {
        self.read(snapshot, Snapshot::content)
    }

    fn read(
        &self,
        snapshot: &Snapshot,
        value: fn(&Snapshot, &Secret) -> Result<SecretValue, Error>,
    ) -> Result<SecretValue, Error> {
        let secret = self.find(snapshot)?;
        let value = match &secret.key {
            // Found by its id; that its key cannot be read is an error all the same.
            Err(problem) => Err(snapshot.undecryptable(secret, "key", *problem)),
            Ok(_) => value(snapshot, secret),
        }?;
        let Some(pointer) = &self.pointer else { return Ok(value) };
        pointer::find(&value, pointer).map_err(|problem| Error::Pointer {
            reference: self.text.clone(),
            secret: snapshot.describe(secret),
            problem,
        })
    }

    /// Secrets of that key in other projects: what was most likely meant.
    fn elsewhere(&self, snapshot: &Snapshot) -> Vec<String> {
        let Target::Key { key, .. } = &self.target else { return Vec::new() };
        let same = |secret: &&Secret| secret.key.as_ref().is_ok_and(|other| other.eq_ignore_ascii_case(key));
        snapshot.secrets.iter().filter(same).take(5).map(|secret| snapshot.describe(secret)).collect()
    }
}

fn is_in(snapshot: &Snapshot, secret: &Secret, project: &str) -> bool {
    // A uuid is an id: whoever may name projects must not stand in for one that is gone.
    if let Ok(id) = project.parse::<ProjectId>() {
        return secret.project_ids.contains(&id);
    }
    let is_called =
        |id: &ProjectId| snapshot.projects.get(id).is_some_and(|name| name.as_deref() == Some(project));
    secret.project_ids.iter().any(is_called)
}

fn decode(part: &str) -> Result<String, String> {
    if part.contains('|') || part.contains('}') {
        return Err("'|' and '}' inside a name are written %7C and %7D".into());
    }
    let bytes = part.as_bytes();
    let escaped =
        |at: usize| bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
    if bytes.iter().enumerate().any(|(at, &byte)| byte == b'%' && !escaped(at)) {
        return Err("'%' stands for itself only as %25".into());
    }
    percent_decode_str(part)
        .decode_utf8()
        .map(|text| text.into_owned())
        .map_err(|_| "its percent-encoding is not UTF-8".into())
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(project: Option<&str>, key: &str) -> Target {
        Target::Key { project: project.map(Into::into), key: key.into() }
    }

    #[test]
    fn forms() {
        let target = |text: &str| Reference::parse(text).map(|reference| reference.target);
        let id = "ec2c1d46-6a4b-4751-a310-af9601317f2d";
        assert_eq!(target(id), Ok(Target::Id(id.parse().unwrap())));
        assert_eq!(target("DB"), Ok(key(None, "DB")));
        assert_eq!(target("web/DB"), Ok(key(Some("web"), "DB")));
        assert_eq!(target("my web/my key"), Ok(key(Some("my web"), "my key")));
        assert_eq!(target("a%2Fb/c%2fd%23%25%7C%7D"), Ok(key(Some("a/b"), "c/d#%|}")));
        assert_eq!(target(&format!("{id}/DB")), Ok(key(Some(id), "DB")));
        for wrong in ["", "a/b/c", "/a", "a/", "100%", "%zz", "a|b", "a}b", "a%", "%ff", "a#x", "#/a"] {
            assert!(Reference::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pointers() {
        let pointer = |text: &str| Reference::parse(text).unwrap().pointer;
        assert_eq!(pointer("DB"), None);
        assert_eq!(pointer("DB#"), Some(vec![]));
        assert_eq!(
            pointer("DB#/a/b~1c/~0d/0"),
            Some(vec!["a".into(), "b/c".into(), "~d".into(), "0".into()])
        );
        assert_eq!(pointer("DB#/a%7Cb"), Some(vec!["a|b".into()]));
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_parsed(text in "\\PC{0,40}") {
            if let Ok(reference) = Reference::parse(&text) {
                prop_assert_eq!(reference.to_string(), text);
            }
        }
    }
}
