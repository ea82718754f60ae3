//! The access token of a machine account: `0.<uuid>.<client secret>:<base64 of 16 bytes>`.

use std::fmt;

use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::crypto::{CacheKey, SymmetricKey, decode_base64, token_key};
use crate::error::TokenProblem;
use crate::ids::TokenId;

/// A parsed token. Its text is not kept.
pub struct AccessToken {
    pub id: TokenId,
    pub client_secret: SecretString,
    /// Opens the login answer.
    pub key: SymmetricKey,
    /// Seals and opens what is kept for this token.
    pub cache_key: CacheKey,
}

impl AccessToken {
    /// Reads a token, with or without white space around it.
    pub fn parse(text: &[u8]) -> Result<Self, TokenProblem> {
        let text = std::str::from_utf8(text).map_err(|_| TokenProblem::NotText)?.trim();
        let (left, key) = text.split_once(':').ok_or(TokenProblem::NoKey)?;
        let mut pieces = left.split('.');
        let (Some(version), Some(id), Some(client_secret), None) =
            (pieces.next(), pieces.next(), pieces.next(), pieces.next())
        else {
            return Err(TokenProblem::WrongParts);
        };
        if version != "0" {
            return Err(TokenProblem::WrongVersion);
        }
        let id = id.parse().map_err(|_| TokenProblem::InvalidId)?;
        let bytes = decode_base64(key).ok_or(TokenProblem::InvalidBase64)?;
        let mut secret = Zeroizing::new([0; 16]);
        if bytes.len() != secret.len() {
            return Err(TokenProblem::WrongKeyLength(bytes.len()));
        }
        secret.copy_from_slice(&bytes);
        let cache_key = CacheKey::new(client_secret, &secret);
        Ok(Self { id, client_secret: client_secret.into(), key: token_key(&secret), cache_key })
    }
}

/// Whether it is the same token, all of it.
impl PartialEq for AccessToken {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.cache_key == other.cache_key
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccessToken({}, [redacted])", self.id)
    }
}

/// Replaces whatever looks like an access token by its id: the last line of defence for a token that
/// was typed where something else belongs (`--access-token-file 0.…`, a command, a URL).
pub fn redact(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, id, after)) = find_token(rest) {
        shown.push_str(before);
        shown.push_str(id);
        shown.push_str(".[redacted]");
        rest = after;
    }
    shown.push_str(rest);
    shown
}

fn find_token(text: &str) -> Option<(&str, &str, &str)> {
    /// With hyphens, and without.
    const IDS: [usize; 2] = [36, 32];
    /// The server makes them of 30 letters and digits; a host or file that begins with a UUID goes on
    /// with fewer.
    const CLIENT_SECRET: usize = 20;
    text.match_indices('.').find_map(|(dot, _)| {
        let is_id = |id: &str| id.parse::<TokenId>().is_ok();
        let mut starts = IDS.into_iter().filter_map(|length| dot.checked_sub(length));
        let start = starts.find(|&start| text.get(start..dot).is_some_and(is_id))?;
        let (before, id, after) = (&text[..start], &text[start..dot], &text[dot + 1..]);
        // Its version may have been lost on the way.
        let secret = after.bytes().take_while(u8::is_ascii_alphanumeric).count();
        if !before.ends_with('.') && secret < CLIENT_SECRET {
            return None;
        }
        let end = after
            .find(|c: char| !(c.is_ascii_alphanumeric() || ":+/=._-".contains(c)))
            .unwrap_or(after.len());
        // A colon at its end belongs to the sentence around it.
        let end = after[..end].trim_end_matches(':').len();
        Some((before, id, &after[end..]))
    })
}

/// Text of a token on its way from its source, wiped when dropped.
pub type TokenText = Zeroizing<Vec<u8>>;

/// Whether nothing but white space is there.
pub fn is_blank(text: &[u8]) -> bool {
    text.trim_ascii().is_empty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;

    const TOKEN: &str =
        "0.ec2c1d46-6a4b-4751-a310-af9601317f2d.C2IgxjjLF7qSshsbwe8JGcbM075YXw:X8vbvA0bduihIDe/qrzIQQ==";

    #[test]
    fn the_vector() {
        let token = AccessToken::parse(format!(" {TOKEN}\n").as_bytes()).unwrap();
        assert_eq!(token.id.to_string(), "ec2c1d46-6a4b-4751-a310-af9601317f2d");
        assert_eq!(token.client_secret.expose_secret(), "C2IgxjjLF7qSshsbwe8JGcbM075YXw");
        assert_eq!(format!("{token:?}"), "AccessToken(ec2c1d46-6a4b-4751-a310-af9601317f2d, [redacted])");
    }

    #[test]
    fn variations() {
        use TokenProblem::*;
        let problem = |text: &str| AccessToken::parse(text.as_bytes()).err();
        assert_eq!(problem(TOKEN.trim_end_matches('=')), None);
        assert_eq!(problem(&format!("{TOKEN}==")), None);
        assert_eq!(problem(&TOKEN.replace("qrzIQQ", "qrzIQR")), None, "spare bits are ignored");
        assert_eq!(problem(&TOKEN.replacen("0.", "1.", 1)), Some(WrongVersion));
        assert_eq!(problem(&TOKEN.replace(':', ".")), Some(NoKey));
        assert_eq!(problem(&TOKEN[2..]), Some(WrongParts));
        assert_eq!(problem(&TOKEN.replacen("ec2c", "zzzz", 1)), Some(InvalidId));
        assert_eq!(problem(&TOKEN.replace("X8vb", "X8 b")), Some(InvalidBase64));
        assert_eq!(problem(&TOKEN.replace("qrzIQQ", "qrzI")), Some(WrongKeyLength(15)));
        assert_eq!(problem("0.ec2c1d46-6a4b-4751-a310-af9601317f2d.:X8vbvA0bduihIDe/qrzIQQ=="), None);
        assert_eq!(AccessToken::parse(b"\xff:").err(), Some(NotText));
    }

    #[test]
    fn tokens_are_redacted_wherever_they_stand() {
        let shown = redact(&format!("cannot open '{TOKEN}': x, --t={TOKEN}"));
        let id = "0.ec2c1d46-6a4b-4751-a310-af9601317f2d.[redacted]";
        assert_eq!(shown, format!("cannot open '{id}': x, --t={id}"));
        assert_eq!(redact(&format!("file {TOKEN}: absent")), format!("file {id}: absent"));
        assert_eq!(redact(&TOKEN[2..]), id[2..]);
        assert_eq!(redact(&TOKEN.replace('-', "")), id.replace('-', ""));
        let no_token = "1.2.3, https://ec2c1d46-6a4b-4751-a310-af9601317f2d.example.org:8443/a.b.c";
        assert_eq!(redact(no_token), no_token);
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_parsed(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = AccessToken::parse(&bytes);
        }

        #[test]
        fn redaction_never_panics_and_hides_the_secret(before in "\\PC{0,20}", after in "\\PC{0,20}") {
            let shown = redact(&format!("{before} {TOKEN} {after}"));
            prop_assert!(!shown.contains("C2IgxjjLF7qSshsbwe8JGcbM075YXw"));
            prop_assert!(!shown.contains("X8vbvA0bduihIDe"));
        }
    }
}
