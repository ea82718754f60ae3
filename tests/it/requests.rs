//! What is asked of the servers, and how often.

use crate::errors::{GAVE_UP, echo, error, host, without_count};
use crate::support::vault::{Endpoint, Fault, Layout, Options, Request, Transport};
use crate::support::{Launch, Outcome, PATIENCE, Scenario, eventually};

use Endpoint::{GetByIds, List, Login, Sync};

#[track_caller]
fn asked(scenario: &Scenario, expected: &[Endpoint]) -> Vec<Request> {
    let requests = scenario.vault.requests();
    assert_eq!(requests.iter().map(|request| request.endpoint).collect::<Vec<_>>(), expected, "{requests:?}");
    requests
}

#[track_caller]
fn gets_its_secret(launch: Launch) {
    assert_eq!(launch.command(["printenv", "NAME"]).run().succeeded().text(), "value\n");
}

fn old_server() -> Options {
    Options { sync_supported: false, ..Options::default() }
}

#[test]
fn a_cold_start_is_a_login_and_a_sync() {
    let scenario = (0..30).fold(Scenario::new(), |scenario, n| scenario.secret(&format!("KEY_{n}"), "x"));
    gets_its_secret(scenario.secret("NAME", "value").launch().option("-q"));
    let scenario = Scenario::new().secret("NAME", "value");
    gets_its_secret(scenario.launch());
    let requests = asked(&scenario, &[Login, Sync]);
    assert_eq!(requests[0].method, "POST");
    assert!(!requests[0].authenticated);
    assert!(requests[1].authenticated);
    assert_eq!(requests[1].query, "", "nothing that makes it a question for changes");
    assert_eq!(scenario.vault.connections(), 2, "one to each service");
    for request in &requests {
        assert_eq!(request.user_agent, concat!("bws-exec/", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn old_servers_are_asked_for_a_list_and_its_secrets() {
    let scenario = Scenario::with(old_server()).secret("NAME", "value").secret("OTHER", "x");
    gets_its_secret(scenario.launch());
    let requests = asked(&scenario, &[Login, Sync, List, GetByIds]);
    assert!(requests[1..].iter().all(|request| request.authenticated));
    assert_eq!(scenario.vault.connections(), 2, "a connection is used again");
    // 405 says the same as 404.
    let scenario = Scenario::new().secret("NAME", "value");
    scenario.vault.fault(Sync, Fault::status(405));
    gets_its_secret(scenario.launch());
    asked(&scenario, &[Login, Sync, List, GetByIds]);
}

/// get-by-ids answers 404 for all if one has gone since the list was made.
#[test]
fn a_secret_deleted_after_the_list_leads_to_another_list() {
    let scenario = Scenario::with(old_server()).secret("NAME", "value");
    let gone = scenario.vault.owner().create_secret(scenario.project, "GONE", "x");
    scenario.vault.fault_times(1, GetByIds, Fault::Stall);
    let run = scenario.launch().command(["sh", "-c", "echo \"$NAME${GONE-.}\""]).start();
    let arrived = |requests: &[Request]| requests.iter().any(|request| request.endpoint == GetByIds);
    assert!(scenario.vault.wait_for(PATIENCE, arrived));
    scenario.vault.owner().delete_secret(gone);
    // The request is noted before it stalls: one release may come too early.
    eventually("another list", || {
        scenario.vault.release();
        scenario.vault.count(List) == 2
    });
    assert_eq!(run.finish().succeeded().text(), "value.\n");
    let requests = asked(&scenario, &[Login, Sync, List, GetByIds, List, GetByIds]);
    assert_eq!(requests[3].status, Some(404));

    scenario.vault.clear_log();
    scenario.vault.fault(GetByIds, Fault::error(404, "Resource not found."));
    let message = format!(
        "{} knows no such resource (HTTP status 404 while fetching secrets)",
        host(scenario.vault.api_url())
    );
    echo(scenario.launch()).run().failed(125, &error("not-found", &message, crate::errors::BASE_URL));
    asked(&scenario, &[Login, Sync, List, GetByIds, List, GetByIds]);
}

#[test]
fn an_account_without_secrets_is_a_warning() {
    let warning = "bws-exec: warning: this machine account can read no secrets\n";
    for (options, requests) in
        [(Options::default(), &[Login, Sync][..]), (old_server(), &[Login, Sync, List])]
    {
        let scenario = Scenario::with(options);
        let outcome = echo(scenario.launch()).run();
        assert_eq!((outcome.code(), outcome.stderr.as_str()), (Some(0), warning));
        assert_eq!(outcome.text(), "the command ran\n");
        asked(&scenario, requests);
        echo(scenario.launch().option("-q")).run().succeeded();
    }
    // One that may read nothing of what there is.
    let scenario = Scenario::new().secret("NAME", "value");
    scenario.vault.owner().ungrant(scenario.account, scenario.project);
    assert_eq!(echo(scenario.launch()).run().stderr, warning);
}

#[test]
fn one_base_url_for_both_services() {
    let layout = || Options { layout: Layout::SelfHosted, ..Options::default() };
    let scenario = Scenario::with(layout()).secret("NAME", "value");
    let launch = || {
        Launch::new()
            .option("--ca-file")
            .option(scenario.vault.ca_file())
            .env("BWS_ACCESS_TOKEN", &scenario.token)
    };
    let base = scenario.vault.server_url();
    for url in [base.to_owned(), format!("{base}/"), format!(" {base}//\n")] {
        gets_its_secret(launch().options(["--server-url", &url]));
        gets_its_secret(launch().env("BWS_SERVER_URL", &url));
    }
    gets_its_secret(launch().options(["-u", &base.replace("127.0.0.1", "localhost")]));
    // What was typed wins.
    gets_its_secret(launch().options(["-u", base]).env("BWS_SERVER_URL", "https://127.0.0.1:1"));
    let split = ["--identity-url", scenario.vault.identity_url(), "--api-url", scenario.vault.api_url()];
    scenario.vault.clear_log();
    gets_its_secret(launch().options(split).env("BWS_SERVER_URL", "https://127.0.0.1:1"));
    asked(&scenario, &[Login, Sync]);
    assert_eq!(scenario.vault.connections(), 1, "one server needs one connection");
}

#[test]
fn plain_http_to_this_machine() {
    let options = Options { layout: Layout::SelfHosted, transport: Transport::Plain, ..Options::default() };
    let scenario = Scenario::with(options).secret("NAME", "value");
    let base = scenario.vault.server_url();
    for url in [base.to_owned(), base.replace("127.0.0.1", "localhost")] {
        let launch = Launch::new().options(["--server-url", &url]).env("BWS_ACCESS_TOKEN", &scenario.token);
        gets_its_secret(launch);
    }
    asked(&scenario, &[Login, Sync, Login, Sync]);
}

/// The limit of the service itself: 5 logins a second, then the time to wait.
#[test]
fn the_rate_limit_of_the_service() {
    let scenario =
        Scenario::with(Options { rate_limits: true, ..Options::default() }).secret("NAME", "value");
    for _ in 0..10 {
        gets_its_secret(scenario.launch());
        scenario.vault.advance(std::time::Duration::from_secs(1));
    }
    let outcome = echo(scenario.launch().options(["--deadline", "1s"])).run();
    outcome.failed_with(75, "rate-limited");
    assert_eq!(scenario.vault.count(Login), 11);
    scenario.vault.advance(std::time::Duration::from_secs(60));
    gets_its_secret(scenario.launch());
}

/// A token that the vault does not know is never sent to the API, and a dead API is tried in vain.
#[test]
fn nothing_is_fetched_without_a_login() {
    let scenario = Scenario::new().secret("NAME", "value");
    scenario.vault.fault(Login, Fault::status(503));
    let outcome = echo(scenario.launch().options(["--deadline", "2s"])).run();
    let identity = host(scenario.vault.identity_url());
    let message = format!("{identity} is unavailable: HTTP status 503 while logging in{GAVE_UP}");
    Outcome { stderr: without_count(&outcome.stderr), ..outcome }
        .failed(75, &error("unavailable", &message, "try again later"));
    assert_eq!(scenario.vault.count(Sync), 0);
}
