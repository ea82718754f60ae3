//! Which server: what was typed, then what was inherited, then a profile of `bws`, then the US cloud.

use std::net::IpAddr;
use std::path::PathBuf;

use reqwest::Url;
use rustls::pki_types::ServerName;

use super::profile::{self, Profile};
use crate::api::Servers;
use crate::cli::Args;
use crate::deadline::Deadline;
use crate::env_vars;
use crate::error::Error;
use crate::host::Host;
use crate::ids::TokenId;

/// What is known before the token is read: `bws` may have a profile called like the token's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerChoice {
    Given(Servers),
    Profile { path: Option<PathBuf>, path_was_named: bool, name: Option<String> },
}

impl ServerChoice {
    pub fn new(args: &Args, host: &Host) -> Result<Self, Error> {
        if let Some(servers) = typed(args)? {
            return Ok(Self::Given(servers));
        }
        if let Some(url) = host.text(env_vars::SERVER_URL) {
            return Servers::under_one_base(&url, env_vars::SERVER_URL).map(Self::Given);
        }
        if let Some(name) = host.text(env_vars::REGION) {
            return Servers::region(&name, env_vars::REGION).map(Self::Given);
        }
        let named = args.config_file.clone().or_else(|| host.path(env_vars::CONFIG_FILE));
        Ok(Self::Profile {
            path_was_named: named.is_some(),
            path: named.or_else(|| host.path(env_vars::HOME).map(|home| home.join(".config/bws/config"))),
            name: args.profile.clone().or_else(|| host.text(env_vars::PROFILE)),
        })
    }

    /// The servers for this token.
    pub fn choose(&self, token: TokenId, deadline: Deadline) -> Result<Servers, Error> {
        let (path, path_was_named, name) = match self {
            Self::Given(servers) => return Ok(servers.clone()),
            Self::Profile { path, path_was_named, name } => (path, path_was_named, name.as_deref()),
        };
        let Some(path) = path else {
            return match name {
                None => Servers::region("us", "the default region"),
                Some(name) => Err(Error::usage(
                    format!(
                        "profile '{name}' cannot be looked up: there is no HOME, so no configuration file"
                    ),
                    "name the file by --config-file, or the server by --server-url",
                )),
            };
        };
        match profile::load(path, *path_was_named, name, token, deadline)? {
            Some(profile) => Servers::of_profile(&profile)
                .map_err(|problem| Error::ConfigFile { path: path.clone(), problem }),
            None => Servers::region("us", "the default region"),
        }
    }
}

/// From the first of both URLs, one base, a region.
fn typed(args: &Args) -> Result<Option<Servers>, Error> {
    let split = args.api_url.is_some() || args.identity_url.is_some();
    let given = [split, args.server_url.is_some(), args.region.is_some()];
    if given.iter().filter(|&&given| given).count() > 1 {
        return Err(Error::usage(
            "the server was given in more than one way",
            "choose: --region, or --server-url, or --api-url with --identity-url",
        ));
    }
    let servers = match (&args.identity_url, &args.api_url, &args.server_url, &args.region) {
        (Some(identity), Some(api), ..) => {
            Servers { identity: base_url(identity, "--identity-url")?, api: base_url(api, "--api-url")? }
        }
        (None, None, Some(url), _) => Servers::under_one_base(url, "--server-url")?,
        (None, None, None, Some(name)) => Servers::region(name, "--region")?,
        (None, None, None, None) => return Ok(None),
        _ => {
            return Err(Error::usage(
                "--api-url and --identity-url belong together",
                "give both, or --server-url if both are under one address",
            ));
        }
    };
    Ok(Some(servers))
}

impl Servers {
    fn region(name: &str, what: &'static str) -> Result<Self, Error> {
        let domain = match name.trim().to_ascii_lowercase().as_str() {
            "us" => "bitwarden.com",
            "eu" => "bitwarden.eu",
            _ => {
                return Err(Error::usage(
                    format!("{what} '{name}' is not known"),
                    "the regions are us and eu",
                ));
            }
        };
        let url = |host: &str| base_url(&format!("https://{host}.{domain}"), what);
        Ok(Self { identity: url("identity")?, api: url("api")? })
    }

    fn under_one_base(text: &str, what: &'static str) -> Result<Self, Error> {
        let base = base_url(text, what)?;
        // The web vault's addresses have an API too, behind stricter protection against bots.
        match base.host_str() {
            Some("vault.bitwarden.com") => return Self::region("us", what),
            Some("vault.bitwarden.eu") => return Self::region("eu", what),
            _ => {}
        }
        let under = |segment: &str| {
            let mut url = base.clone();
            if let Ok(mut path) = url.path_segments_mut() {
                path.pop_if_empty().push(segment);
            }
            url
        };
        Ok(Self { identity: under("identity"), api: under("api") })
    }

    /// `server_api` and `server_identity` beat what `server_base` implies. One of the pair alone is
    /// not enough.
    fn of_profile(profile: &Profile) -> Result<Self, String> {
        let readable = |error: Error| error.to_string();
        let base = profile.server_base.as_deref().map(|base| Self::under_one_base(base, "server_base"));
        let base = base.transpose().map_err(readable)?;
        let half = |own: &Option<String>, what, implied: Option<Url>| match own {
            Some(url) => base_url(url, what).map_err(readable),
            None => implied.ok_or_else(|| format!("the profile has neither server_base nor {what}")),
        };
        Ok(Self {
            identity: half(
                &profile.server_identity,
                "server_identity",
                base.as_ref().map(|b| b.identity.clone()),
            )?,
            api: half(&profile.server_api, "server_api", base.map(|b| b.api))?,
        })
    }
}

/// A URL that credentials may be sent to: https, or http to this very machine.
fn base_url(text: &str, what: &'static str) -> Result<Url, Error> {
    // What stands before an '@' or after a '?' may be a password, in a URL that is none too.
    let shown = if text.contains(['@', '?']) { "(not shown)" } else { text };
    let problem = |problem| Error::ServerUrl { url: shown.into(), what, problem };
    let url = Url::parse(text.trim().trim_end_matches('/'))
        .map_err(|_| problem("it is not a URL with a scheme"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(problem("it carries a user name or password"));
    }
    match (url.scheme(), url.host_str()) {
        (_, None | Some("")) => return Err(problem("it names no host")),
        ("https", Some(host)) if ServerName::try_from(unbracketed(host)).is_err() => {
            return Err(problem("no host can have that name"));
        }
        ("https", _) => {}
        ("http", Some(host)) if is_this_machine(host) => {}
        ("http", _) => return Err(problem("plain http is only accepted for 127.0.0.0/8, ::1 and localhost")),
        _ => return Err(problem("only https is accepted")),
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(problem("a base URL has no '?' or '#'"));
    }
    Ok(url)
}

/// An IPv6 address stands in brackets in a URL only.
fn unbracketed(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || unbracketed(host).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
