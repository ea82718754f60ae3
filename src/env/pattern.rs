//! Globs for names: `*` stands for any text, `?` for one character, everything else for itself.
//!
//! Brackets are not special: a secret's key may contain them, a variable's name never does.

use std::fmt;

/// A pattern as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether the whole of `name` matches. Bytes, because inherited names need not be UTF-8.
    pub fn matches(&self, name: &[u8]) -> bool {
        let pattern = self.0.as_bytes();
        let (mut p, mut n) = (0, 0);
        // Where to resume if what follows the last `*` does not fit: the star takes one byte more.
        let mut resume = None;
        while n < name.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    resume = Some((p, n));
                    p += 1;
                }
                Some(b'?') => {
                    p += 1;
                    n += 1;
                    while n < name.len() && name[n] & 0xc0 == 0x80 {
                        n += 1; // the rest of a UTF-8 character
                    }
                }
                Some(byte) if *byte == name[n] => {
                    p += 1;
                    n += 1;
                }
                _ => match resume {
                    Some((star, from)) => {
                        resume = Some((star, from + 1));
                        (p, n) = (star + 1, from + 1);
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|&byte| byte == b'*')
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether one of them matches.
pub fn any(patterns: &[Pattern], name: &[u8]) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn table() {
        for (pattern, name, expected) in [
            ("DB_*", "DB_HOST", true),
            ("DB_*", "DB_", true),
            ("DB_*", "XDB_HOST", false),
            ("*_KEY", "A_KEY_KEY", true),
            ("A?C", "ABC", true),
            ("A?C", "AüC", true),
            ("A?C", "AC", false),
            ("*", "", true),
            ("", "", true),
            ("", "A", false),
            ("[a]", "[a]", true),
            ("[a]", "a", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    /// The obvious recursive definition.
    fn model(pattern: &[char], name: &[char]) -> bool {
        match (pattern.first(), name.first()) {
            (None, None) => true,
            (Some('*'), _) => model(&pattern[1..], name) || (!name.is_empty() && model(pattern, &name[1..])),
            (Some('?'), Some(_)) => model(&pattern[1..], &name[1..]),
            (Some(p), Some(n)) if p == n => model(&pattern[1..], &name[1..]),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn equals_the_model(pattern in "[ab*?ü]{0,8}", name in "[abü]{0,8}") {
            let expected = model(&pattern.chars().collect::<Vec<_>>(), &name.chars().collect::<Vec<_>>());
            prop_assert_eq!(Pattern::new(pattern).matches(name.as_bytes()), expected);
        }
    }
}
