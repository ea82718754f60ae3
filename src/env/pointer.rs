//! JSON pointers (RFC 6901) into a secret's value, without ever building a tree of copies: every step
//! reads one level and borrows the text below it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::error::PointerProblem;
use crate::secret::SecretValue;

/// Splits a pointer into its tokens.
pub fn parse(text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let Some(rest) = text.strip_prefix('/') else {
        return Err("what follows '#' is a JSON pointer and begins with '/'".into());
    };
    rest.split('/')
        .map(|token| {
            let mut escapes = token.split('~').skip(1);
            if escapes.any(|escape| !escape.starts_with(['0', '1'])) {
                return Err("in a JSON pointer '~' is written ~0 and '/' is written ~1".into());
            }
            Ok(token.replace("~1", "/").replace("~0", "~"))
        })
        .collect()
}

/// The value at the pointer: a string's content, a number's or boolean's text, compact JSON of the rest.
pub fn find(value: &SecretValue, pointer: &[String]) -> Result<SecretValue, PointerProblem> {
    // EXPOSE: read as JSON; serde_json's messages quote data and are not passed on.
    let mut at: &RawValue = serde_json::from_slice(value.expose()).map_err(|_| PointerProblem::NotJson)?;
    for (depth, token) in pointer.iter().enumerate() {
        at = step(at.get(), token).ok_or_else(|| {
            PointerProblem::Absent(format!("/{}", pointer.get(..=depth).unwrap_or_default().join("/")))
        })?;
    }
    let text = at.get();
    if text.starts_with('"') {
        let text: Zeroizing<String> = serde_json::from_str::<String>(text)
            .map(Zeroizing::new)
            .map_err(|_| PointerProblem::InvalidString)?;
        return Ok(SecretValue::new(Zeroizing::new(text.as_bytes().to_vec())));
    }
    if text == "null" {
        return Err(PointerProblem::Null);
    }
    Ok(SecretValue::new(compact(text)))
}

fn step<'a>(text: &'a str, token: &str) -> Option<&'a RawValue> {
    if text.starts_with('[') {
        // RFC 6901: no leading zeros, and '-' names what is not there.
        let canonical =
            token == "0" || (!token.starts_with('0') && token.bytes().all(|b| b.is_ascii_digit()));
        let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
        return canonical.then(|| items.get(token.parse::<usize>().ok()?).copied())?;
    }
    let mut members: BTreeMap<Key<'a>, &RawValue> = serde_json::from_str(text).ok()?;
    members.remove(token)
}

/// A member's name, borrowed unless it has escapes.
#[derive(PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl std::borrow::Borrow<str> for Key<'_> {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Valid JSON without the white space between its parts.
fn compact(text: &str) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let (mut in_string, mut escaped) = (false, false);
    for &byte in text.as_bytes() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte.is_ascii_whitespace() {
            continue;
        } else {
            in_string = byte == b'"';
        }
        bytes.push(byte);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DOCUMENT: &str = r#" { "user" : "app", "n": 1.50e3, "big": 123456789012345678901, "on": true, "no": null,
        "a/b": {"~": "tilde"}, "list": [ {"x" : " y\" z " } , 2 ], "esc\u0061pe": "1\n\u00fc", "": "empty" } "#;

    fn at(pointer: &str) -> Result<String, String> {
        let value = SecretValue::new(Zeroizing::new(DOCUMENT.as_bytes().to_vec()));
        find(&value, &parse(pointer)?)
            .map(|found| String::from_utf8(found.expose().to_vec()).unwrap())
            .map_err(|problem| problem.to_string())
    }

    #[test]
    fn table() {
        for (pointer, expected) in [
            ("/user", "app"),
            ("/n", "1.50e3"),
            ("/big", "123456789012345678901"),
            ("/on", "true"),
            ("/a~1b/~0", "tilde"),
            ("/list/0/x", " y\" z "),
            ("/list/1", "2"),
            ("/list", r#"[{"x":" y\" z "},2]"#),
            ("/list/0", r#"{"x":" y\" z "}"#),
            ("/escape", "1\nü"),
            ("/", "empty"),
        ] {
            assert_eq!(at(pointer).as_deref(), Ok(expected), "{pointer}");
        }
        for wrong in
            ["/none", "/no", "/list/2", "/list/00", "/list/-", "/user/x", "/list/x", "user", "/a~2b", "/~"]
        {
            assert!(at(wrong).is_err(), "{wrong}");
        }
        // No step goes deeper than one level, so no depth is too deep.
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
        let deep = SecretValue::new(Zeroizing::new(deep.into_bytes()));
        assert_eq!(find(&deep, &["a".into()]).map(|found| found.expose().len()).ok(), Some(400_000));
        let not_json = SecretValue::new(Zeroizing::new(b"hunter2".to_vec()));
        assert_eq!(find(&not_json, &[]), Err(PointerProblem::NotJson));
    }

    proptest! {
        #[test]
        fn compact_text_means_the_same(
            list in proptest::collection::vec("\\PC{0,8}|[ \"\\\\]{0,4}", 0..6), space in "[ \t\n]{0,3}"
        ) {
            let parts: Vec<String> = list.iter().map(|text| serde_json::to_string(text).unwrap()).collect();
            let text = format!("{space}[{space}{}{space}]{space}", parts.join(&format!("{space},{space}")));
            prop_assert_eq!(String::from_utf8(compact(&text).to_vec()).unwrap(), format!("[{}]", parts.join(",")));
        }

        #[test]
        fn never_panics_and_never_quotes(value in "\\PC{0,40}", pointer in "(/\\PC{0,5}){0,3}") {
            if let Ok(tokens) = parse(&pointer) {
                let _ = find(&SecretValue::new(Zeroizing::new(value.into_bytes())), &tokens);
            }
        }
    }
}
