//! Values that lead to secrets: `bws://REF` as a whole, or text with `${bws://REF}` in it.
//!
//! Only what the operator wrote is read this way. Nothing else in braces or after `$` has a meaning,
//! and the value of a secret is inserted as it is.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

use super::reference::{Reference, SCHEME};
use crate::error::Error;
use crate::secret::SecretValue;
use crate::snapshot::{Secret, Snapshot};

/// A value that has at least one reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Secret { reference: Reference, urlencode: bool },
}

const OPEN: &str = "${bws://";
/// All but the unreserved characters of RFC 3986, section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl Template {
    /// A single reference, as `--map` takes it.
    pub fn reference(text: &str) -> Result<Self, String> {
        Ok(Self(vec![Part::Secret { reference: Reference::parse(text)?, urlencode: false }]))
    }

    /// Reads a value; `None` if it leads nowhere.
    pub fn parse(value: &str) -> Result<Option<Self>, String> {
        if let Some(reference) = value.strip_prefix(SCHEME) {
            return Self::reference(reference).map(Some);
        }
        if !value.contains(OPEN) {
            return Ok(None);
        }
        let mut parts = Vec::new();
        let mut rest = value;
        while let Some((before, inside)) = rest.split_once(OPEN) {
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            // What is not closed before something else begins may be any text, which is not for messages.
            let runs_on = |inside: &str| inside.contains("${") || inside.contains(char::is_control);
            let closed = inside.split_once('}').filter(|(inside, _)| !runs_on(inside));
            let (inside, after) = closed.ok_or("'${bws://' is not closed by '}'")?;
            let (reference, urlencode) = match inside.split_once('|') {
                None => (inside, false),
                Some((reference, "urlencode")) => (reference, true),
                // Not shown: what was meant to stand after the brace may be a password.
                Some(_) => return Err("after '|' only 'urlencode' is known".into()),
            };
            parts.push(Part::Secret { reference: Reference::parse(reference)?, urlencode });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Some(Self(parts)))
    }

    /// The secrets it leads to.
    pub fn secrets<'a>(&self, snapshot: &'a Snapshot) -> Result<Vec<&'a Secret>, Error> {
        self.references().map(|reference| reference.find(snapshot)).collect()
    }

    /// The value with every reference replaced.
    pub fn resolve(&self, snapshot: &Snapshot) -> Result<SecretValue, Error> {
        let mut resolved = Vec::with_capacity(self.0.len());
        for part in &self.0 {
            resolved.push(match part {
                Part::Text(text) => SecretValue::new(Zeroizing::new(text.clone().into_bytes())),
                Part::Secret { reference, urlencode } => {
                    let value = reference.resolve(snapshot)?;
                    if *urlencode { encode(&value) } else { value }
                }
            });
        }
        // Joined at its final size: a buffer that grew would leave pieces of values behind.
        let mut value =
            Zeroizing::new(Vec::with_capacity(resolved.iter().map(|part| part.expose().len()).sum()));
        for part in &resolved {
            // EXPOSE: inserted into a value that is as secret as itself.
            value.extend_from_slice(part.expose());
        }
        Ok(SecretValue::new(value))
    }

    /// The same for a file, which may also hold what is no text.
    pub fn content(&self, snapshot: &Snapshot) -> Result<SecretValue, Error> {
        match &self.0[..] {
            [Part::Secret { reference, urlencode: false }] => reference.content(snapshot),
            _ => self.resolve(snapshot),
        }
    }

    /// The values that stand in it beside other text, as they are stored. None where the whole value is one.
    pub fn inserted(&self, snapshot: &Snapshot) -> Result<Vec<SecretValue>, Error> {
        match &self.0[..] {
            [Part::Secret { urlencode: false, .. }] => Ok(Vec::new()),
            _ => self.references().map(|reference| reference.resolve(snapshot)).collect(),
        }
    }

    fn references(&self) -> impl Iterator<Item = &Reference> {
        self.0.iter().filter_map(|part| match part {
            Part::Secret { reference, .. } => Some(reference),
            Part::Text(_) => None,
        })
    }
}

fn encode(value: &SecretValue) -> SecretValue {
    // Values are UTF-8 by the time they are decrypted.
    let text = std::str::from_utf8(value.expose()).unwrap_or_default();
    let mut encoded = Zeroizing::new(Vec::with_capacity(text.len() * 3));
    for piece in utf8_percent_encode(text, RESERVED) {
        encoded.extend_from_slice(piece.as_bytes());
    }
    SecretValue::new(encoded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forms() {
        let secret =
            |text: &str, urlencode| Part::Secret { reference: Reference::parse(text).unwrap(), urlencode };
        let text = |text: &str| Part::Text(text.into());
        let parse = |value: &str| Template::parse(value).unwrap().map(|template| template.0);
        assert_eq!(parse("bws://web/DB"), Some(vec![secret("web/DB", false)]));
        assert_eq!(
            parse("pg://u:${bws://DB|urlencode}@h/${bws://N}"),
            Some(vec![text("pg://u:"), secret("DB", true), text("@h/"), secret("N", false)])
        );
        assert_eq!(parse("${bws://A}${bws://B}"), Some(vec![secret("A", false), secret("B", false)]));
        for plain in ["", "x", "$HOME", "${HOME}", "$bws://A", "x bws://A", "BWS://A", "${ bws://A}"] {
            assert_eq!(parse(plain), None, "{plain}");
        }
        for wrong in
            ["bws://", "${bws://A", "${bws://}", "${bws://A|base64}", "${bws://A|}", "bws://A|urlencode"]
        {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn reserved_characters_are_encoded() {
        let value = SecretValue::new(Zeroizing::new("a-b._~ü/@%".as_bytes().to_vec()));
        assert_eq!(encode(&value).expose(), b"a-b._~%C3%BC%2F%40%25");
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_parsed(text in "(\\$\\{bws://|bws://|\\||urlencode|\\}|\\PC){0,12}") {
            let _ = Template::parse(&text);
        }
    }
}
