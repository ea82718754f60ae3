use std::borrow::Cow;
use std::time::Instant;

use super::*;
use crate::cli::{CommandLine, Parsed};
use crate::env::Limits;

/// The plan for these options, in a process with these variables.
pub fn plan(options: &[&str], variables: &[(&str, &str)]) -> Result<RunPlan, Error> {
    let entry = |(name, value): &(&str, &str)| Cow::Owned(format!("{name}={value}").into_bytes());
    let host = Host {
        started: Instant::now(),
        token_variable: None,
        token_descriptor: None,
        arguments: Vec::new(),
        environment: variables.iter().map(entry).collect(),
        stderr_is_terminal: false,
        stderr_is_read: true,
        limits: Limits::new(0, 0),
    };
    let words = options.iter().chain(&["--", "true"]).map(OsString::from).collect();
    match CommandLine::new(words).parse()? {
        Parsed::Run(args) => {
            let deadline = deadline(&args, &host)?;
            RunPlan::new(*args, Vec::new(), Vec::new(), deadline, &host)
        }
        Parsed::Print(_) | Parsed::Generate(_) => panic!("nothing was asked"),
    }
}

/// Identity and API, or the slug of the error.
fn servers(options: &[&str], variables: &[(&str, &str)]) -> (String, String) {
    // Any token will do: these tests have no configuration file.
    let token = "ec2c1d46-6a4b-4751-a310-af9601317f2d".parse().unwrap();
    match plan(options, variables).and_then(|plan| plan.servers.choose(token, plan.deadline)) {
        Ok(servers) => (servers.identity.into(), servers.api.into()),
        Err(error) => (error.slug().into(), String::new()),
    }
}

fn pair(identity: &str, api: &str) -> (String, String) {
    (identity.into(), api.into())
}

fn us() -> (String, String) {
    pair("https://identity.bitwarden.com/", "https://api.bitwarden.com/")
}

fn eu() -> (String, String) {
    pair("https://identity.bitwarden.eu/", "https://api.bitwarden.eu/")
}

fn own() -> (String, String) {
    pair("https://bw.test/identity", "https://bw.test/api")
}

#[test]
fn the_order_of_server_options() {
    const URL: (&str, &str) = ("BWS_SERVER_URL", "https://bw.test");
    const REGION: (&str, &str) = ("BWS_REGION", "eu");
    const BOTH: [&str; 4] = ["--identity-url", "https://i.test", "--api-url", "https://a.test/x"];
    assert_eq!(servers(&[], &[]), us());
    assert_eq!(servers(&[], &[REGION]), eu());
    assert_eq!(servers(&[], &[REGION, URL]), own());
    assert_eq!(servers(&[], &[REGION, ("BWS_SERVER_URL", "")]), eu());
    assert_eq!(servers(&[], &[("BWS_REGION", "")]), us());
    assert_eq!(servers(&["--region", "us"], &[REGION, URL]), us());
    assert_eq!(servers(&["--region", "eu"], &[URL]), eu());
    assert_eq!(servers(&["-u", "https://bw.test"], &[REGION]), own());
    assert_eq!(servers(&BOTH, &[REGION, URL]), pair("https://i.test/", "https://a.test/x"));
    // What was typed wins before what was inherited is looked at.
    assert_eq!(servers(&["--region", "eu"], &[("BWS_SERVER_URL", "junk")]), eu());
    assert_eq!(servers(&[], &[("BWS_SERVER_URL", "junk")]).0, "server-url");
    for two in [["--region=us", "-uhttps://bw.test"], ["--api-url=https://a.test", "--region=us"]] {
        assert_eq!(servers(&two, &[]).0, "usage", "{two:?}");
    }
    for half in ["--api-url=https://a.test", "--identity-url=https://i.test"] {
        assert_eq!(servers(&[half], &[URL]).0, "usage", "{half}");
    }
}

#[test]
fn regions_and_the_web_vaults() {
    for text in ["us", "US", " us "] {
        assert_eq!(servers(&["--region", text], &[]), us(), "{text}");
        assert_eq!(servers(&[], &[("BWS_REGION", text)]), us(), "{text}");
    }
    for text in
        ["https://vault.bitwarden.com", "https://vault.bitwarden.com/", "https://VAULT.bitwarden.com/x"]
    {
        assert_eq!(servers(&["-u", text], &[]), us(), "{text}");
    }
    assert_eq!(servers(&[], &[("BWS_SERVER_URL", "https://vault.bitwarden.eu")]), eu());
    assert_eq!(servers(&["--region", ""], &[]).0, "usage");
    assert_eq!(servers(&["--region", "uk"], &[]).0, "usage");
}

#[test]
fn base_urls() {
    let base = |url: &str| servers(&["-u", url], &[]);
    for url in ["https://bw.test", "https://bw.test/", " https://bw.test\n", "HTTPS://BW.test:443"] {
        assert_eq!(base(url), own(), "{url}");
    }
    for url in ["https://bw.test/base", "https://bw.test/base/"] {
        assert_eq!(base(url), pair("https://bw.test/base/identity", "https://bw.test/base/api"), "{url}");
    }
    for url in [
        "http://127.0.0.1:8080",
        "http://127.9.9.9",
        "http://[::1]:80",
        "http://localhost",
        "http://LOCALHOST/",
    ] {
        assert_ne!(base(url).0, "server-url", "{url}");
    }
    for url in [
        "",
        "bw.test",
        "http://bw.test",
        "http://128.0.0.1",
        "http://[::2]",
        "http://localhost.test",
        "http://127.0.0.1.test",
        "http://[::ffff:127.0.0.1]",
        "ftp://bw.test",
        "file:///etc/passwd",
        "https://",
        "https://me@bw.test",
        "https://me:password@bw.test",
        "https://bw.test?x",
        "https://bw.test/#x",
    ] {
        assert_eq!(base(url).0, "server-url", "{url}");
    }
}

#[test]
fn the_deadline() {
    let deadline = |options: &[&str], value: &str| {
        plan(options, &[("BWS_EXEC_DEADLINE", value)]).map(|plan| plan.deadline.budget.as_millis()).ok()
    };
    assert_eq!(deadline(&[], ""), Some(30_000));
    assert_eq!(deadline(&[], "5m"), Some(300_000));
    assert_eq!(deadline(&["--deadline", "250ms"], "5m"), Some(250));
    assert_eq!(deadline(&["--deadline", "1"], "junk"), Some(1000));
    assert_eq!(deadline(&[], "junk"), None);
    assert_eq!(deadline(&[], "0"), None);
}

#[test]
fn projects_and_unknown_variables() {
    let projects = |options: &[&str], value: &str| {
        plan(options, &[("BWS_EXEC_PROJECT", value)]).unwrap().environment.selection.projects
    };
    assert_eq!(projects(&[], ""), [""; 0]);
    assert_eq!(projects(&[], "a"), ["a"]);
    assert_eq!(projects(&["--project", "b", "--project-id", "c"], "a"), ["b", "c"]);
    assert_eq!(projects(&["--all"], "a"), [""; 0], "what is typed wins");
    let variables =
        [("BWS_EXEC_PROJCET", "a"), ("BWS_EXEC_", "b"), ("BWS_EXECUTE", "c"), ("BWS_EXEC_PROJECT", "d")];
    assert_eq!(
        plan(&[], &variables).unwrap().warnings,
        ["PROJCET", ""]
            .map(|name| format!("variable BWS_EXEC_{name} has no meaning for this version and is ignored"))
    );
}
