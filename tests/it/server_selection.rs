//! Which server is asked, as far as a run shows it. What the cloud's regions mean is tested beside
//! the plan, where nothing has to be reached.

use std::time::Duration;

use crate::support::vault::{Fault, Layout, Options, Transport, Where};
use crate::support::{Launch, Scenario};

/// One address for both services, as a self-hosted server has it.
fn self_hosted() -> Scenario {
    Scenario::with(Options { layout: Layout::SelfHosted, ..Options::default() }).secret("KEY", "value")
}

/// Where nobody listens. If it were asked, the run would fail.
const NOBODY: &str = "https://127.0.0.1:1";

#[track_caller]
fn works(scenario: &Scenario, launch: Launch) {
    let launch = launch.option("--ca-file").option(scenario.vault.ca_file());
    let outcome = launch.env("BWS_ACCESS_TOKEN", &scenario.token).command(["printenv", "KEY"]).run();
    outcome.succeeded();
    assert_eq!(outcome.text(), "value\n");
}

#[test]
fn a_self_hosted_server() {
    let scenario = self_hosted();
    let url = scenario.vault.server_url();
    for url in [url.to_owned(), format!("{url}/"), format!(" {url} "), url.replace("https", "HTTPS")] {
        works(&scenario, Launch::new().option("-u").option(&url));
        works(&scenario, Launch::new().option("--server-url").option(&url));
        works(&scenario, Launch::new().env("BWS_SERVER_URL", &url));
    }
    // Typed wins over inherited, and the base URL over the region.
    works(
        &scenario,
        Launch::new().options(["-u", url]).env("BWS_SERVER_URL", NOBODY).env("BWS_REGION", "eu"),
    );
    works(&scenario, Launch::new().env("BWS_SERVER_URL", url).env("BWS_REGION", "nowhere"));
}

#[test]
fn two_addresses() {
    let scenario = Scenario::new().secret("KEY", "value");
    let (identity, api) = (scenario.vault.identity_url(), scenario.vault.api_url());
    for slash in ["", "/"] {
        let launch = Launch::new().option(format!("--api-url={api}{slash}"));
        let launch = launch.option(format!("--identity-url={identity}{slash}"));
        works(&scenario, launch.env("BWS_SERVER_URL", NOBODY).env("BWS_REGION", "nowhere"));
    }
}

#[test]
fn plain_http_to_this_machine_only() {
    let options = Options { layout: Layout::SelfHosted, transport: Transport::Plain, ..Options::default() };
    let scenario = Scenario::with(options).secret("KEY", "value");
    works(&scenario, Launch::new().options(["-u", scenario.vault.server_url()]));
    works(
        &scenario,
        Launch::new().options(["-u", &scenario.vault.server_url().replace("127.0.0.1", "localhost")]),
    );
    let outcome = Launch::new().options(["-u", "http://vault.example.org"]).command(["true"]).run();
    outcome.failed(
        125,
        "bws-exec: error[server-url]: cannot use 'http://vault.example.org' as --server-url: plain http is only \
         accepted for 127.0.0.0/8, ::1 and localhost\n\
         bws-exec: hint: give an https URL such as https://vault.example.org, or use --region us|eu for the cloud\n",
    );
}

#[test]
fn mistakes() {
    let usage = |options: &[&str], message: &str, hint: &str| {
        let expected = format!("bws-exec: error[usage]: {message}\nbws-exec: hint: {hint}\n");
        Launch::new().options(options).command(["true"]).run().failed(125, &expected);
    };
    let (api, identity) = ("--api-url=https://a.test", "--identity-url=https://i.test");
    let (server, region) = ("-uhttps://s.test", "--region=eu");
    let (more, choose) = (
        "the server was given in more than one way",
        "choose: --region, or --server-url, or --api-url with --identity-url",
    );
    usage(&[api, identity, server], more, choose);
    usage(&[api, identity, region], more, choose);
    usage(&[server, region], more, choose);
    usage(&[api, region], more, choose);
    let (half, both) = (
        "--api-url and --identity-url belong together",
        "give both, or --server-url if both are under one address",
    );
    usage(&[api], half, both);
    usage(&[identity], half, both);
    usage(&["--region", "uk"], "--region 'uk' is not known", "the regions are us and eu");
    let outcome = Launch::new().env("BWS_REGION", "uk").command(["true"]).run();
    outcome.failed(
        125,
        "bws-exec: error[usage]: BWS_REGION 'uk' is not known\nbws-exec: hint: the regions are us and eu\n",
    );
}

#[test]
fn a_password_in_a_url_is_not_shown() {
    for url in [
        "https://me:hunter2@s.test",
        "ftp://me:hunter2@s.test",
        "http://me:hunter2@s.test",
        "me:hunter2@s.test",
    ] {
        for launch in [Launch::new().options(["-u", url]), Launch::new().env("BWS_SERVER_URL", url)] {
            let outcome = launch.command(["true"]).run();
            outcome.failed_with(125, "server-url");
            assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
        }
    }
}

#[test]
fn the_deadline() {
    // The default is twice that.
    const ENOUGH: Duration = Duration::from_secs(15);
    let scenario = self_hosted();
    scenario.vault.fault(Where::Any, Fault::Stall);
    let launch = || {
        let launch = Launch::new()
            .options(["-u", scenario.vault.server_url()])
            .env("BWS_ACCESS_TOKEN", &scenario.token);
        launch.option("--ca-file").option(scenario.vault.ca_file()).command(["true"])
    };
    let outcome = launch().env("BWS_EXEC_DEADLINE", "300ms").run();
    outcome.failed_with(75, "timeout");
    assert!(outcome.took < ENOUGH, "{:?}", outcome.took);
    // The option wins, even over a value that means nothing.
    for variable in ["1h", "junk"] {
        let outcome = launch().option("--deadline=200ms").env("BWS_EXEC_DEADLINE", variable).run();
        outcome.failed_with(75, "timeout");
        assert!(outcome.took < ENOUGH, "{:?}", outcome.took);
    }
    let usage = |value: &str, message: &str, hint: &str| {
        let expected = format!("bws-exec: error[usage]: {message}\nbws-exec: hint: {hint}\n");
        Launch::new().env("BWS_EXEC_DEADLINE", value).command(["true"]).run().failed(125, &expected);
    };
    usage(
        "junk",
        "invalid value 'junk' for BWS_EXEC_DEADLINE",
        "expected a number with ms, s, m, h or d, such as 30s",
    );
    usage("0", "BWS_EXEC_DEADLINE 0 leaves no time for anything", "the default is 30s");
}

/// An empty variable is as good as none, and a mistyped one would silently do nothing.
#[test]
fn empty_and_unknown_variables() {
    let scenario = Scenario::new().secret("KEY", "value");
    let names =
        ["BWS_SERVER_URL", "BWS_REGION", "BWS_EXEC_DEADLINE", "BWS_EXEC_PROJECT", "BWS_ACCESS_TOKEN_FILE"];
    let launch = names.iter().fold(scenario.launch(), |launch, name| launch.env(name, ""));
    let launch = launch.env("CREDENTIALS_DIRECTORY", "").env("SSL_CERT_FILE", "").env("HTTPS_PROXY", "");
    launch.command(["printenv", "KEY"]).run().succeeded();

    let launch = || scenario.launch().env("BWS_EXEC_PROJCET", "web").command(["printenv", "KEY"]);
    let outcome = launch().run();
    let warning =
        "bws-exec: warning: variable BWS_EXEC_PROJCET has no meaning for this version and is ignored\n";
    assert_eq!((outcome.text().as_str(), outcome.stderr.as_str()), ("value\n", warning));
    launch().option("-q").run().succeeded();
}
