//! `--watch`: what a change of secrets leads to, and that nothing else does.

use std::fs;
use std::time::Duration;

use uuid::Uuid;

use crate::support::vault::{Access, Endpoint, Fault, Options, Request};
use crate::support::{Launch, PATIENCE, Running, Scenario, eventually};

/// A command that writes down what it gets: one line a start, and one for each HUP and TERM.
pub struct Written {
    pub scenario: Scenario,
    secret: Uuid,
    pub directory: tempfile::TempDir,
    pub log: String,
}

const COMMAND: &str = "trap 'echo hup >>\"$0\"' HUP; trap 'echo term >>\"$0\"; exit 3' TERM
    exec 9<>\"$0.wait\"; echo \"$KEY\" >>\"$0\"; while :; do read -r line <&9; done";

impl Written {
    pub fn new() -> Self {
        let scenario = Scenario::new();
        let secret = scenario.vault.owner().create_secret(scenario.project, "KEY", "first");
        let directory = tempfile::tempdir().unwrap();
        // Nobody ever writes to it, so a reader waits in the kernel for signals only.
        nix::unistd::mkfifo(&directory.path().join("log.wait"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let log = directory.path().join("log").to_str().unwrap().to_owned();
        Self { scenario, secret, directory, log }
    }

    pub fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub fn launch(&self, options: &[&str]) -> Launch {
        let command = ["sh", "-c", COMMAND, &self.log];
        self.scenario.launch().option("--watch=1s").options(options).command(command)
    }

    pub fn start(&self, options: &[&str]) -> Running {
        self.started(self.launch(options))
    }

    #[track_caller]
    pub fn started(&self, launch: Launch) -> Running {
        let running = launch.start();
        self.wait_for(&["first"]);
        running
    }

    #[track_caller]
    pub fn wait_for(&self, lines: &[&str]) {
        eventually(&format!("{lines:?}"), || self.lines() == lines);
    }

    pub fn change(&self, value: &str) {
        self.scenario.vault.owner().update_secret(self.secret, value);
    }

    /// What polls are asked from now on.
    #[track_caller]
    pub fn polls(&self, what: &str, wished: impl Fn(&[Request]) -> bool) {
        assert!(self.scenario.vault.wait_for(PATIENCE, wished), "{what}");
    }
}

pub fn syncs(requests: &[Request]) -> impl Iterator<Item = &Request> {
    requests.iter().filter(|request| request.endpoint == Endpoint::Sync)
}

#[test]
fn a_change_restarts_the_command_once() {
    let written = Written::new();
    let running = written.start(&[]);
    written.change("second");
    written.wait_for(&["first", "term", "second"]);
    written.change("third");
    written.wait_for(&["first", "term", "second", "term", "third"]);
    running.signal(libc::SIGTERM);
    let outcome = running.finish();
    assert_eq!((outcome.code(), outcome.stderr.as_str()), (Some(3), ""));
    assert_eq!(written.lines().len(), 6);
}

/// Who changes one secret after the other gets one restart, with the last of them.
#[test]
fn a_burst_of_changes_restarts_it_once() {
    let written = Written::new();
    // Two seconds to settle.
    let command = ["sh", "-c", COMMAND, &written.log];
    let running = written.started(written.scenario.launch().option("--watch=3s").command(command));
    written.scenario.vault.clear_log();
    written.change("second");
    // It has been seen, and settles.
    written.polls("the poll that sees it", |requests| syncs(requests).next().is_some());
    written.change("third");
    written.polls("the look after it", |requests| syncs(requests).count() >= 2);
    written.wait_for(&["first", "term", "third"]);
    written.scenario.vault.clear_log();
    written.polls("two more polls", |requests| syncs(requests).count() >= 2);
    assert_eq!(written.lines(), ["first", "term", "third"]);
    running.signal(libc::SIGTERM);
    running.finish();
}

/// A copy may be older than the last change.
#[test]
fn what_a_copy_did_not_know_is_seen_by_the_first_poll() {
    let written = Written::new();
    let cache = written.directory.path().join("cache");
    fs::create_dir(&cache).unwrap();
    let options = ["--cache-dir", cache.to_str().unwrap(), "--max-age=1h"];
    written.scenario.launch().options(options).command(["true"]).run().succeeded();
    written.change("second");
    written.scenario.vault.clear_log();
    let running = written.start(&options);
    written.wait_for(&["first", "term", "second"]);
    assert_eq!(syncs(&written.scenario.vault.requests()).next().unwrap().query, "", "it asks for everything");
    running.signal(libc::SIGTERM);
    running.finish();
}

#[test]
#[ignore = "needs root"]
fn each_start_is_the_users_own() {
    use std::os::unix::fs::PermissionsExt;
    let written = Written::new();
    // That user writes there.
    fs::set_permissions(written.directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(format!("{}.wait", written.log), fs::Permissions::from_mode(0o666)).unwrap();
    let script = "trap 'exit 3' TERM; exec 9<>\"$0.wait\"
        echo \"$KEY $(cat \"$FILE\") $(id -u):$(id -g)\" >>\"$0\"; while :; do read -r line <&9; done";
    let launch = written.scenario.launch().options([
        "--watch=1s",
        "--user=4242:4343",
        "--file=FILE=KEY",
        "--map=KEY=KEY",
    ]);
    let running = launch.command(["sh", "-c", script, &written.log]).start();
    written.wait_for(&["first first 4242:4343"]);
    written.change("second");
    written.wait_for(&["first first 4242:4343", "second second 4242:4343"]);
    running.signal(libc::SIGTERM);
    assert_eq!(running.finish().code(), Some(3));
}

#[test]
fn what_is_not_injected_restarts_nothing() {
    let written = Written::new();
    let owner = written.scenario.vault.owner();
    let other = owner.create_secret(written.scenario.project, "OTHER", "x");
    let running = written.start(&["--only", "KEY"]);
    written.scenario.vault.clear_log();
    owner.update_secret(other, "y");
    owner.create_secret(written.scenario.project, "ANOTHER", "z");
    owner.delete_secret(other);
    // The same value once more is a change to the server alone.
    written.change("first");
    written.polls("three polls", |requests| syncs(requests).count() >= 3);
    assert_eq!(written.lines(), ["first"]);
    written.change("second");
    written.wait_for(&["first", "term", "second"]);
    running.signal(libc::SIGTERM);
    running.finish();
}

#[test]
fn a_poll_names_the_servers_own_time_and_brings_nothing_if_nothing_has_changed() {
    let written = Written::new();
    // Older than the margin by which the time is set back.
    written.scenario.vault.advance(Duration::from_secs(120));
    let running = written.start(&[]);
    written.polls("two polls", |requests| syncs(requests).count() >= 3);
    let requests = written.scenario.vault.requests();
    let logins = requests.iter().filter(|request| request.endpoint == Endpoint::Login).count();
    assert_eq!(logins, 1, "the session of the start serves");
    let queries: Vec<&str> = syncs(&requests).map(|request| request.query.as_str()).collect();
    assert_eq!(queries[0], "");
    assert!(queries[1].starts_with("lastSyncedDate=20"), "{queries:?}");
    assert!(queries[1..].iter().all(|query| *query == queries[1]), "from the last full answer: {queries:?}");
    written.change("second");
    written.wait_for(&["first", "term", "second"]);
    running.signal(libc::SIGTERM);
    running.finish();
}

/// What moves no stamp of the server's: a project's new name. A session lives for an hour, and what comes
/// after it asks for everything; here it lives for seconds, with the minute that we keep clear of.
#[test]
fn a_change_without_a_stamp_is_seen_with_the_next_session() {
    let options = Options { bearer_life: Duration::from_secs(65), ..Options::default() };
    let scenario = Scenario::with(options).secret("KEY", "value");
    scenario.vault.advance(Duration::from_secs(120));
    let launch = scenario.launch().options(["--watch=1s", "--on-change=exit", "--map=K=web/KEY"]);
    let running = launch.command(["sleep", "1000"]).start();
    let logins = |requests: &[Request]| requests.iter().filter(|r| r.endpoint == Endpoint::Login).count();
    assert!(scenario.vault.wait_for(PATIENCE, |requests| syncs(requests).count() >= 2), "a poll");
    scenario.vault.owner().rename_project(scenario.project, "renamed");
    assert!(scenario.vault.wait_for(PATIENCE, |requests| logins(requests) >= 3), "two sessions later");
    let requests = scenario.vault.requests();
    for pair in requests.windows(2).filter(|pair| pair[0].endpoint == Endpoint::Login) {
        assert_eq!((pair[1].endpoint, pair[1].query.as_str()), (Endpoint::Sync, ""), "all is asked for");
    }
    assert!(syncs(&requests).any(|request| !request.query.is_empty()), "in between it is not");
    running.signal(libc::SIGTERM);
    let stderr = running.finish().stderr;
    assert_eq!(stderr.matches("'web/KEY' refers to no secret").count(), 1, "{stderr}");
}

#[test]
fn on_change_exit_ends_with_75() {
    let written = Written::new();
    let running = written.start(&["--on-change", "exit"]);
    written.change("second");
    let outcome = running.finish();
    assert_eq!((outcome.code(), outcome.stderr.as_str()), (Some(75), ""));
    assert_eq!(written.lines(), ["first", "term"]);
}

#[test]
fn on_change_signal_tells_it() {
    let written = Written::new();
    let running = written.start(&["--on-change", "signal:HUP"]);
    written.change("second");
    written.wait_for(&["first", "hup"]);
    written.change("third");
    written.wait_for(&["first", "hup", "hup"]);
    running.signal(libc::SIGTERM);
    assert_eq!(running.finish().code(), Some(3));
}

#[test]
fn a_command_that_does_not_end_is_killed_and_started_again() {
    let written = Written::new();
    let script =
        "trap '' TERM; exec 9<>\"$0.wait\"; echo \"$KEY\" >>\"$0\"; while :; do read -r line <&9; done";
    let command = ["sh", "-c", script, &written.log];
    let launch = written.scenario.launch().options(["--watch=1s", "--kill-after=200ms"]).command(command);
    let running = written.started(launch);
    written.change("second");
    written.wait_for(&["first", "second"]);
    running.signal(libc::SIGTERM);
    assert_eq!(running.finish().signal(), Some(libc::SIGKILL));
}

#[test]
fn the_commands_own_end_is_ours_and_starts_nothing() {
    let scenario = Scenario::new().secret("KEY", "value");
    let outcome = scenario.launch().option("--watch").command(["sh", "-c", "exit 7"]).run();
    assert_eq!((outcome.code(), outcome.stderr.as_str()), (Some(7), ""));
}

#[test]
fn an_outage_is_told_once_and_disturbs_nothing() {
    let written = Written::new();
    let running = written.start(&[]);
    written.scenario.vault.clear_log();
    written.scenario.vault.fault(Endpoint::Sync, Fault::status(503));
    written.polls("two polls", |requests| syncs(requests).count() >= 2);
    assert_eq!(written.lines(), ["first"]);
    written.scenario.vault.clear_faults();
    written.change("second");
    written.wait_for(&["first", "term", "second"]);
    running.signal(libc::SIGTERM);
    let outcome = running.finish();
    assert_eq!(outcome.stderr.matches("warning").count(), 1, "{}", outcome.stderr);
    assert!(outcome.stderr.ends_with("changes are not seen meanwhile\n"), "{}", outcome.stderr);
    let logins = written.scenario.vault.count(Endpoint::Login);
    assert_eq!(logins, 0, "the session outlives the outage");
}

#[test]
fn a_rate_limit_is_kept() {
    let written = Written::new();
    let running = written.start(&[]);
    written.scenario.vault.clear_log();
    written.scenario.vault.fault_times(1, Endpoint::Sync, Fault::too_many_requests(Some("4")));
    written.polls("the poll after it", |requests| syncs(requests).count() >= 2);
    let at: Vec<_> = syncs(&written.scenario.vault.requests()).map(|request| request.at).collect();
    assert!(at[1] - at[0] >= Duration::from_secs(4), "{:?}", at[1] - at[0]);
    assert_eq!(written.lines(), ["first"]);
    running.signal(libc::SIGTERM);
    running.finish();
}

#[test]
fn a_refused_token_is_told_once_and_the_command_stays() {
    let written = Written::new();
    let running = written.start(&[]);
    let vault = &written.scenario.vault;
    vault.owner().revoke_token(&written.scenario.token);
    // The bearer lives for an hour and five minutes, and nothing is refused before.
    vault.advance(Duration::from_secs(4000));
    eventually("it is refused", || vault.requests().iter().any(|request| request.status == Some(400)));
    vault.clear_log();
    assert!(
        !vault.wait_for(Duration::from_secs(3), |requests| !requests.is_empty()),
        "nothing more is asked"
    );
    assert_eq!(written.lines(), ["first"]);
    running.signal(libc::SIGTERM);
    let stderr = running.finish().stderr;
    assert_eq!(stderr.matches("(invalid_client)").count(), 1, "{stderr}");
    assert!(stderr.contains("the command keeps running with the secrets that it has"), "{stderr}");
}

#[test]
fn a_rotated_token_file_is_picked_up() {
    let written = Written::new();
    let scenario = &written.scenario;
    let file = written.directory.path().join("token");
    fs::write(&file, &scenario.token).unwrap();
    let launch = written.launch(&[]).without_env("BWS_ACCESS_TOKEN");
    let running = written.started(launch.env("BWS_ACCESS_TOKEN_FILE", &file));
    let other = scenario.vault.owner().create_token(scenario.account, "next", None);
    scenario.vault.clear_log();
    fs::write(&file, &other).unwrap();
    scenario.vault.owner().revoke_token(&scenario.token);
    written.polls("a login with it", |requests| {
        requests.iter().any(|request| request.endpoint == Endpoint::Login && request.status == Some(200))
    });
    written.change("second");
    written.wait_for(&["first", "term", "second"]);
    running.signal(libc::SIGTERM);
    let stderr = running.finish().stderr;
    assert!(!stderr.contains("invalid_client"), "{stderr}");
}

#[test]
fn a_change_that_cannot_be_started_with_keeps_the_old_one() {
    let written = Written::new();
    let running = written.start(&["--require", "KEY"]);
    written.scenario.vault.owner().ungrant(written.scenario.account, written.scenario.project);
    written.scenario.vault.clear_log();
    written.polls("some polls", |requests| syncs(requests).count() >= 5);
    assert_eq!(written.lines(), ["first"]);
    written.scenario.vault.owner().grant(written.scenario.account, written.scenario.project, Access::Read);
    written.change("second");
    written.wait_for(&["first", "term", "second"]);
    running.signal(libc::SIGTERM);
    let stderr = running.finish().stderr;
    assert_eq!(stderr.matches("warning").count(), 1, "{stderr}");
    assert!(stderr.contains("it keeps the old ones: 'KEY' is required and would not be set"), "{stderr}");
}

#[test]
fn descriptors_of_files_are_new_with_each_start() {
    let written = Written::new();
    let script = "cat \"$FILE\" >>\"$0\"; echo >>\"$0\"; trap 'exit 0' TERM; read -r line <>\"$0.wait\"";
    let command = ["sh", "-c", script, &written.log];
    let launch = written.scenario.launch().options(["--watch=1s", "--file", "FILE=KEY"]).command(command);
    let running = written.started(launch);
    written.change("second");
    written.wait_for(&["first", "second"]);
    running.signal(libc::SIGTERM);
    running.finish();
}

/// In a mount namespace of its own; what a server re-reads on SIGHUP is there before the signal.
#[test]
#[ignore = "needs root"]
fn files_with_a_path_change_before_the_signal_and_at_a_restart() {
    for (on_change, told) in
        [("signal:HUP", &["first", "second", "third"][..]), ("restart", &["first", "second", "third"])]
    {
        let written = Written::new();
        let place = written.directory.path().join("mounted");
        let path = place.join("secret");
        let script =
            "show() { cat \"$FILE\" >>\"$0\"; echo >>\"$0\"; }; show; trap show HUP; trap 'exit 0' TERM
            exec 9<>\"$0.wait\"; while :; do read -r line <&9; done";
        let command = ["sh", "-c", script, &written.log];
        let file = format!("FILE=KEY,path={}", path.display());
        let launch = written.scenario.launch();
        let launch =
            launch.options(["--watch=1s", "--on-change", on_change, "--file", &file]).command(command);
        let running = written.started(launch.under(["unshare", "--mount"]));
        written.change("second");
        written.wait_for(&told[..2]);
        written.change("third");
        written.wait_for(told);
        assert!(!path.exists(), "outside there is nothing");
        running.signal(libc::SIGTERM);
        running.finish();
    }
}

#[test]
fn with_a_cache_the_copy_follows() {
    let written = Written::new();
    let cache = written.directory.path().join("cache");
    fs::create_dir(&cache).unwrap();
    let options = ["--cache-dir", cache.to_str().unwrap()];
    let running = written.start(&options);
    written.change("second");
    written.wait_for(&["first", "term", "second"]);
    running.signal(libc::SIGTERM);
    running.finish();
    let offline = written.scenario.launch().options(options).option("--offline");
    assert_eq!(offline.command(["sh", "-c", "printf %s \"$KEY\""]).run().text(), "second");
}

#[test]
fn options_that_do_not_fit() {
    use crate::errors::error;
    let refused = |options: &[&str], message: &str, hint: &str| {
        let launch =
            Launch::new().env("BWS_ACCESS_TOKEN", "x").options(options).command(["docker", "run", "i"]);
        launch.run().failed(125, &error("usage", message, hint));
    };
    refused(
        &["--on-change", "exit"],
        "--on-change is for --watch",
        "for example: --watch=5m --on-change restart",
    );
    refused(
        &["--watch", "--on-change", "signal:NONE"],
        "invalid value 'signal:NONE' for --on-change",
        "use restart, exit, or signal:NAME such as signal:HUP",
    );
    refused(
        &["--watch=500ms"],
        "--watch asks at most once a second",
        "the server allows 200 requests a minute an address; the default is 5m",
    );
    refused(
        &["--watch", "--offline", "--cache-dir", "/nowhere"],
        "--watch asks the server, and --offline asks nobody",
        "give one of the two",
    );
    refused(
        &["--watch", "--container"],
        "--watch stays beside a command of this machine, and --container's runs in the engine",
        "make bws-exec the image's entrypoint and give it --watch there; see docs/containers.md",
    );
}

/// What comes while changes settle counts, also if nothing can be started with it.
#[test]
fn a_change_that_is_spoilt_while_it_settles_has_no_effect() {
    let written = Written::new();
    let running = written.start(&["--require", "KEY"]);
    written.scenario.vault.clear_log();
    written.change("second");
    written.polls("it is seen", |requests| syncs(requests).count() >= 1);
    written.scenario.vault.owner().delete_secret(written.secret);
    written.polls("and more polls", |requests| syncs(requests).count() >= 5);
    assert_eq!(written.lines(), ["first"]);
    running.signal(libc::SIGTERM);
    let stderr = running.finish().stderr;
    assert_eq!(stderr.matches("'KEY' is required and would not be set").count(), 1, "{stderr}");
}
