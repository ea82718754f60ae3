//! The configuration of Bitwarden's `bws`: profiles with the server's address. Its state keys mean
//! nothing here.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::LARGEST;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::ids::TokenId;
use crate::read;

/// The server of a profile, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Profile {
    pub server_base: Option<String>,
    pub server_api: Option<String>,
    pub server_identity: Option<String>,
}

#[derive(Debug, Deserialize)]
struct File {
    profiles: BTreeMap<String, Profile>,
}

/// Reads the profile that is meant: the named one, else the one called like the token's id, else
/// `default`, else none. A name must exist; so must a file that was named.
pub fn load(
    path: &Path,
    must_exist: bool,
    name: Option<&str>,
    token: TokenId,
    deadline: Deadline,
) -> Result<Option<Profile>, Error> {
    let fault = |problem: String| Error::ConfigFile { path: path.into(), problem };
    // Where it cannot even be looked for (a HOME of another user) it is as absent as for `bws`.
    if !must_exist && name.is_none() && std::fs::metadata(path).is_err() {
        return Ok(None);
    }
    let bytes = read::whole(path, LARGEST, deadline).map_err(|error| fault(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| fault("it is not UTF-8".into()))?;
    select(parse(&text).map_err(fault)?, name, token).map_err(fault)
}

fn parse(text: &str) -> Result<File, String> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let line = error
            .span()
            .and_then(|span| text.get(..span.start))
            .map(|before| before.matches('\n').count() + 1);
        let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        // serde quotes a text that stands in the wrong place.
        let quotes = error.message().starts_with("invalid type: string");
        format!("{place}{}", if quotes { "a text stands where a table is expected" } else { error.message() })
    })
}

fn select(mut file: File, name: Option<&str>, token: TokenId) -> Result<Option<Profile>, String> {
    let Some(name) = name else {
        let token = token.to_string();
        return Ok(file.profiles.remove(&token).or_else(|| file.profiles.remove("default")));
    };
    let known: Vec<String> = file.profiles.keys().map(|name| format!("'{name}'")).collect();
    let missing = || match &known[..] {
        [] => "it has no profile".to_owned(),
        known => format!("it has no profile '{name}', only {}", known.join(", ")),
    };
    file.profiles.remove(name).map(Some).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "ec2c1d46-6a4b-4751-a310-af9601317f2d";

    fn selected(text: &str, name: Option<&str>) -> Result<Option<String>, String> {
        let profile = select(parse(text)?, name, TOKEN.parse().unwrap())?;
        Ok(profile.and_then(|profile| profile.server_base))
    }

    #[test]
    fn which_profile() {
        let text = format!(
            "[profiles.default]\nserver_base = 'd'\n[profiles.eu]\nserver_base = 'e'\n[profiles.{TOKEN}]\nserver_base = 't'"
        );
        let without_token = "[profiles.default]\nserver_base = 'd'\nstate_opt_out = 'true'\nunknown = 1";
        assert_eq!(selected(&text, Some("eu")), Ok(Some("e".into())));
        assert_eq!(selected(&text, None), Ok(Some("t".into())));
        assert_eq!(selected(without_token, None), Ok(Some("d".into())));
        assert_eq!(selected("[profiles.eu]\nserver_base = 'e'", None), Ok(None));
        assert_eq!(selected("[profiles]", None), Ok(None));
        assert!(selected(&text, Some("us")).unwrap_err().contains("'default'"));
    }

    #[test]
    fn what_is_no_configuration() {
        for text in ["", "x", "profiles = 1", "[profiles.a]\nserver_base = 1", "[other]"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("[profiles.a]\n\nserver_base = 1").unwrap_err().starts_with("line 3: "));
    }
}
