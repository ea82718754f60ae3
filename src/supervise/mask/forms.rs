//! The forms in which programs write a value: as it is, line by line, in base64, in URLs, in JSON.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use zeroize::Zeroizing;

use crate::secret::{SHORTEST_MASKED, SecretValue};

/// Encoded forms of shorter values are too likely to be something else.
const SHORTEST_ENCODED: usize = 12;
/// Beyond this only the commonest encoded forms: each is as long as the value, and there are dozens.
const LONGEST_IN_ALL_FORMS: usize = 2048;

/// What encoders leave unescaped in URLs besides letters and digits, the commonest first.
const URL_KEEP: [&[u8]; 6] = [
    b"-._~",                 // RFC 3986: Python's quote_plus, Go's QueryEscape, our own |urlencode
    b"-_.!~*'()",            // encodeURIComponent
    b"-._~/",                // Python's quote
    b"",                     // percent_encoding's NON_ALPHANUMERIC
    b"*-._",                 // HTML forms, URLSearchParams
    b"-_.!~*'();,/?:@&=+$#", // encodeURI
];

/// Everything to look for, each text once.
#[derive(Default)]
pub struct Forms(HashSet<SecretValue>);

impl Forms {
    pub fn add(&mut self, value: &SecretValue) {
        // EXPOSE: into texts that are wiped as the value is.
        for text in value.masked() {
            self.keep(text);
        }
        // Many take the line feed away before they encode, `$(…)` for one. Where it is left, it stays behind.
        self.encoded(value.expose().trim_ascii_end());
    }

    pub fn into_texts(self) -> impl Iterator<Item = SecretValue> {
        self.0.into_iter()
    }

    fn encoded(&mut self, value: &[u8]) {
        if value.len() < SHORTEST_ENCODED {
            return;
        }
        let all = value.len() <= LONGEST_IN_ALL_FORMS;
        self.base64(value);
        // Grown, it would leave pieces behind. No form of a byte is longer than \u001f.
        let mut buffer = Zeroizing::new(Vec::with_capacity(6 * value.len()));
        for keep in &URL_KEEP[..if all { URL_KEEP.len() } else { 2 }] {
            for space in [&b"%20"[..], b"+"] {
                for upper in [true, false] {
                    if all || upper {
                        url(value, keep, space, upper, &mut buffer);
                        self.keep(&buffer);
                    }
                }
            }
        }
        let Ok(text) = std::str::from_utf8(value) else { return };
        for choice in 0..16_u8 {
            let style = JsonStyle {
                slash: choice & 1 != 0,
                ascii: choice & 2 != 0,
                html: choice & 4 != 0,
                upper: choice & 8 != 0,
            };
            if all || choice < 4 {
                json(text, style, &mut buffer);
                self.keep(&buffer);
            }
        }
    }

    /// What stands in the base64 of any text that has the value in it. A character holds six bits, so at
    /// the edges some also depend on the neighbours, and there are three ways to lie across groups.
    fn base64(&mut self, value: &[u8]) {
        for before in 0..3 {
            let mut padded = Zeroizing::new(Vec::with_capacity(before + value.len()));
            padded.resize(before, 0);
            padded.extend_from_slice(value);
            let first = (8 * before).div_ceil(6);
            let end = 8 * padded.len() / 6;
            for engine in [&STANDARD, &URL_SAFE] {
                let text = Zeroizing::new(engine.encode(&*padded));
                self.keep(&text.as_bytes()[first..end]);
            }
        }
        // The value alone, so that the last character and the padding do not stay behind.
        for text in [STANDARD.encode(value), STANDARD_NO_PAD.encode(value), URL_SAFE.encode(value)] {
            self.keep(Zeroizing::new(text).as_bytes());
        }
    }

    fn keep(&mut self, text: &[u8]) {
        debug_assert!(text.len() >= SHORTEST_MASKED);
        self.0.insert(SecretValue::new(Zeroizing::new(text.to_vec())));
    }
}

fn url(value: &[u8], keep: &[u8], space: &[u8], upper: bool, out: &mut Vec<u8>) {
    out.clear();
    for &byte in value {
        match byte {
            b' ' => out.extend_from_slice(space),
            _ if byte.is_ascii_alphanumeric() || keep.contains(&byte) => out.push(byte),
            _ => {
                out.push(b'%');
                hex(byte, upper, out);
            }
        }
    }
}

/// How encoders of JSON differ.
#[derive(Clone, Copy)]
struct JsonStyle {
    /// `\/`, as PHP writes it.
    slash: bool,
    /// Nothing but printable ASCII: Python's ensure_ascii.
    ascii: bool,
    /// `<`, `>` and `&` as `\u003c`: Go.
    html: bool,
    /// Upper-case hexadecimal digits: .NET.
    upper: bool,
}

fn json(text: &str, style: JsonStyle, out: &mut Vec<u8>) {
    out.clear();
    for c in text.chars() {
        let short = match c {
            '"' => b'"',
            '\\' => b'\\',
            '\n' => b'n',
            '\r' => b'r',
            '\t' => b't',
            '\u{8}' => b'b',
            '\u{c}' => b'f',
            '/' if style.slash => b'/',
            _ => 0,
        };
        let html = style.html && matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}');
        if short != 0 {
            out.extend_from_slice(&[b'\\', short]);
        } else if c < ' ' || html || (style.ascii && !(' '..='~').contains(&c)) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(b"\\u");
                for byte in unit.to_be_bytes() {
                    hex(byte, style.upper, out);
                }
            }
        } else {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

fn hex(byte: u8, upper: bool, out: &mut Vec<u8>) {
    let digits = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    out.extend([byte >> 4, byte & 15].map(|digit| digits[usize::from(digit)]));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn forms(value: &[u8]) -> Vec<Vec<u8>> {
        let mut forms = Forms::default();
        forms.add(&SecretValue::new(Zeroizing::new(value.to_vec())));
        forms.into_texts().map(|text| text.expose().to_vec()).collect()
    }

    #[track_caller]
    fn has(forms: &[Vec<u8>], text: &str) {
        assert!(forms.iter().any(|form| form == text.as_bytes()), "{text}: {:?}", shown(forms));
    }

    fn shown(forms: &[Vec<u8>]) -> Vec<String> {
        forms.iter().map(|form| String::from_utf8_lossy(form).into_owned()).collect()
    }

    #[test]
    fn short_values_have_one_form_or_none() {
        assert!(forms(b"").is_empty());
        assert!(forms(b"abc").is_empty());
        assert_eq!(shown(&forms(b"a/ \"")), ["a/ \""]);
        assert_eq!(shown(&forms(b"0123456/ \"9")), ["0123456/ \"9"]);
    }

    #[test]
    fn lines() {
        let mut found = shown(&forms(b"first\r\n\nsec\n  indented"));
        found.retain(|form| form.bytes().all(|b| b.is_ascii_lowercase() || b == b' '));
        found.sort();
        assert_eq!(found, ["  indented", "first"]);
    }

    /// As printed by Python's `urllib.parse`, Node, `json.dumps`, PHP, Go.
    #[test]
    fn urls_and_json() {
        let forms = forms("pä/ss w\"or'd\n&<~".as_bytes());
        has(&forms, "p%C3%A4/ss%20w%22or%27d%0A%26%3C~"); // quote
        has(&forms, "p%C3%A4%2Fss+w%22or%27d%0A%26%3C~"); // quote_plus
        has(&forms, "p%C3%A4%2Fss%20w%22or'd%0A%26%3C~"); // encodeURIComponent
        has(&forms, "p%C3%A4/ss%20w%22or'd%0A&%3C~"); // encodeURI
        has(&forms, "p%C3%A4%2Fss+w%22or%27d%0A%26%3C%7E"); // URLSearchParams
        has(&forms, "p%C3%A4%2Fss%20w%22or%27d%0A%26%3C%7E"); // NON_ALPHANUMERIC
        has(&forms, "p%c3%a4%2fss+w%22or%27d%0a%26%3c~"); // .NET's UrlEncode
        has(&forms, "pä/ss w\\\"or'd\\n&<~"); // JSON.stringify
        has(&forms, "p\\u00e4/ss w\\\"or'd\\n&<~"); // json.dumps
        has(&forms, "p\\u00e4\\/ss w\\\"or'd\\n&<~"); // PHP
        has(&forms, "pä/ss w\\\"or'd\\n\\u0026\\u003c~"); // Go
        has(&forms, "p\\u00E4/ss w\\\"or'd\\n\\u0026\\u003C~");
    }

    #[test]
    fn json_of_every_character_is_serde_json_s() {
        let text: String = (0..=0x2fff_u32).chain([0x1f600, 0x10ffff]).filter_map(char::from_u32).collect();
        let mut out = Vec::new();
        json(&text, JsonStyle { slash: false, ascii: false, html: false, upper: false }, &mut out);
        assert_eq!(
            format!("\"{}\"", String::from_utf8(out.clone()).unwrap()),
            serde_json::json!(text).to_string()
        );
        json(&text, JsonStyle { slash: true, ascii: true, html: true, upper: true }, &mut out);
        assert!(out.is_ascii());
        let back: String = serde_json::from_str(&format!("\"{}\"", String::from_utf8(out).unwrap())).unwrap();
        assert!(back == text);
    }

    #[test]
    fn long_values_have_few_forms() {
        assert!(forms("a b/\"ä\n<~'".repeat(10).as_bytes()).len() > 30);
        let long = forms("a b/\"ä\n<~'".repeat(3000).as_bytes());
        assert!(long.len() < 20, "{}", long.len());
    }

    proptest! {
        /// Whatever stands before and after it, the base64 has one of the forms, and so has the value's alone.
        #[test]
        fn base64_at_any_place(
            value in prop::collection::vec(any::<u8>(), 12..60),
            before in prop::collection::vec(any::<u8>(), 0..7),
            after in prop::collection::vec(any::<u8>(), 0..7),
            url_safe: bool,
        ) {
            // White space at the end is left out of encoded forms.
            let value = [&value[..], b"."].concat();
            let forms = forms(&value);
            let engine = if url_safe { URL_SAFE } else { STANDARD };
            let text = engine.encode([&before[..], &value, &after].concat());
            // But for the two characters at the edges that also hold bits of others.
            let least = (8 * value.len() - 10) / 6;
            prop_assert!(
                forms.iter().any(|form| form.len() >= least && text.contains(&*String::from_utf8_lossy(form))),
                "{text}"
            );
            has(&forms, &engine.encode(&value));
        }
    }
}
