//! What is kept from one launch to the next: when it is used, how old it may be, and what is said.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::errors::{error, host, untouched};
use crate::support::vault::{Endpoint, Fault, Service, Where};
use crate::support::{Launch, Outcome, Running, Scenario, eventually};

use Endpoint::{Login, Sync};

/// A scenario with a directory for the cache.
pub struct Cached {
    pub scenario: Scenario,
    pub directory: TempDir,
}

impl Cached {
    pub fn new() -> Self {
        Self::of(Scenario::new().secret("NAME", "value"))
    }

    pub fn of(scenario: Scenario) -> Self {
        Self { scenario, directory: directory() }
    }

    /// One that has a copy and a session of an earlier launch.
    pub fn warm() -> Self {
        let cached = Self::new();
        cached.run(&[]).succeeded();
        cached.scenario.vault.clear_log();
        cached
    }

    /// A launch that prints NAME.
    pub fn launch(&self) -> Launch {
        let launch = self.scenario.launch().option("--cache-dir").option(self.directory.path());
        launch.command(["printenv", "NAME"])
    }

    pub fn run(&self, options: &[&str]) -> Outcome {
        self.launch().options(options).run()
    }

    /// Ours, below the operator's.
    pub fn ours(&self) -> PathBuf {
        ours(self.directory.path())
    }

    /// The files in it, by what follows the dot.
    pub fn file(&self, kind: &str) -> Option<PathBuf> {
        files(&self.ours()).into_iter().find(|path| path.extension().is_some_and(|it| it == kind))
    }

    /// The requests since the last look.
    pub fn asked(&self) -> Vec<Endpoint> {
        let asked = self.scenario.vault.requests().iter().map(|request| request.endpoint).collect();
        self.scenario.vault.clear_log();
        asked
    }

    pub fn outage(&self) {
        self.scenario.vault.fault(Where::Any, Fault::status(503));
    }

    pub fn identity_host(&self) -> &str {
        host(self.scenario.vault.identity_url())
    }

    pub fn api_host(&self) -> &str {
        host(self.scenario.vault.api_url())
    }

    /// Gives NAME another value.
    pub fn change_to(&self, value: &str) {
        let owner = self.scenario.vault.owner();
        let secret = owner.secrets().into_iter().find(|secret| secret.key.as_deref() == Some("NAME"));
        owner.update_secret(secret.expect("there is one").id, value);
    }
}

pub fn directory() -> TempDir {
    TempDir::new().expect("a directory")
}

pub fn ours(directory: &Path) -> PathBuf {
    // SAFETY: it only asks.
    directory.join(format!("bws-exec.{}", unsafe { libc::geteuid() }))
}

pub fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    files.sort();
    files
}

/// Runs it, and gives the lines of `--status-fd` too.
pub fn with_status(launch: Launch) -> (Outcome, Vec<String>) {
    let (mut read, write) = std::io::pipe().expect("a pipe");
    let outcome = launch.options(["--status-fd", "9"]).descriptor(9, write).run();
    let mut lines = String::new();
    read.read_to_string(&mut lines).expect("a pipe can be read");
    (outcome, lines.lines().map(without_ages).collect())
}

/// Puts N in place of ages of a few seconds, which depend on chance.
pub fn without_ages(text: &str) -> String {
    let (mut rest, mut shown) = (text, String::new());
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        let (digits, after) = from.split_at(from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len()));
        let age = before.ends_with("_ago\":") || after.starts_with("s ago");
        let few = digits.parse::<u32>().is_ok_and(|seconds| seconds < 30);
        shown += before;
        shown += if age && few { "N" } else { digits };
        rest = after;
    }
    shown + rest
}

#[test]
fn a_warm_start_is_one_request_and_a_fresh_copy_none() {
    let cached = Cached::new();
    assert_eq!(cached.run(&[]).succeeded().text(), "value\n");
    assert_eq!(cached.asked(), [Login, Sync]);
    cached.change_to("new");
    assert_eq!(cached.run(&[]).succeeded().text(), "new\n", "what is fetched is used");
    assert_eq!(cached.asked(), [Sync]);
    cached.change_to("newer");
    assert_eq!(cached.run(&["--max-age", "1h"]).succeeded().text(), "new\n", "nobody was asked");
    assert_eq!(cached.asked(), []);
    assert_eq!(cached.run(&["--max-age", "1ms"]).succeeded().text(), "newer\n");
    assert_eq!(cached.asked(), [Sync]);
    untouched_since(&cached, || cached.run(&["--max-age", "1h"]));
}

/// Not a connection is made.
fn untouched_since(cached: &Cached, run: impl FnOnce() -> Outcome) {
    cached.scenario.vault.clear_log();
    run().succeeded();
    untouched(&cached.scenario.vault);
}

#[test]
fn offline_sends_nothing() {
    let cached = Cached::warm();
    untouched_since(&cached, || cached.run(&["--offline"]));
    let (outcome, status) = with_status(cached.launch().option("--offline"));
    assert_eq!(outcome.succeeded().text(), "value\n");
    assert_eq!(status[1], copied("offline"));
}

#[test]
fn offline_without_a_copy_fails_and_sends_nothing() {
    let cached = Cached::new();
    let hint = "run once without --offline while the server can be reached";
    let message = format!("{} holds no copy for this token and server", cached.ours().display());
    cached.run(&["--offline"]).failed(75, &error("no-copy", &message, hint));
    untouched(&cached.scenario.vault);

    let cached = Cached::warm();
    let message = format!(
        "the copy in {} is too old: its login was 0s ago, and --max-stale is 0s",
        cached.ours().display()
    );
    cached.run(&["--offline", "--max-stale", "0"]).failed(75, &error("copy-too-old", &message, hint));
    let other = cached.scenario.vault.owner().create_token(cached.scenario.account, "other", None);
    let message = format!("{} holds no copy for this token and server", cached.ours().display());
    let launch = cached.launch().option("--offline").env("BWS_ACCESS_TOKEN", other);
    launch.run().failed(75, &error("no-copy", &message, hint));
    untouched(&cached.scenario.vault);
}

/// The line of a copy that was made just now.
fn copied(because: &str) -> String {
    format!(r#"{{"because":"{because}","fetched_seconds_ago":N,"login_seconds_ago":N,"phase":"copy"}}"#)
}

/// What runs on old secrets says so, and how old they are.
#[test]
fn an_outage_is_survived_and_said() {
    let cached = Cached::warm();
    cached.outage();
    cached.change_to("new");
    let (outcome, status) = with_status(cached.launch());
    let warning = format!(
        "bws-exec: warning: {} is unavailable: HTTP status 503 while fetching secrets; \
         using the copy fetched Ns ago, with a login Ns ago\n",
        cached.api_host()
    );
    assert_eq!((outcome.code(), outcome.text().as_str()), (Some(0), "value\n"));
    assert_eq!(without_ages(&outcome.stderr), warning);
    let phase = |name: &str| format!(r#"{{"phase":"{name}"}}"#);
    let copy = copied("unavailable");
    assert_eq!(status, [phase("start"), phase("fetch"), copy, phase("resolve"), phase("exec")]);
    assert_eq!(cached.asked(), [Sync], "one attempt");
    assert_eq!(cached.run(&["-q"]).succeeded().text(), "value\n");

    let (outcome, status) = with_status(cached.launch().options(["--max-age", "1h"]));
    assert_eq!(outcome.succeeded().text(), "value\n", "as fresh as was asked for: no warning");
    assert_eq!(status, [phase("start"), copied("fresh"), phase("resolve"), phase("exec")]);
}

/// The content is as young as the last fetch, the proof that the token is good only as its login.
#[test]
fn a_kept_session_renews_the_content_and_not_the_proof() {
    const LIMIT: &str = "500ms";
    let cached = Cached::warm();
    let offline = |limit| cached.run(&["--offline", "--max-stale", limit]).code();
    eventually("the login is too old", || offline(LIMIT) == Some(75));
    cached.change_to("new");
    assert_eq!(cached.run(&["--max-stale", "1h"]).succeeded().text(), "new\n");
    assert_eq!(cached.asked(), [Sync]);
    // The content is some milliseconds old now.
    assert_eq!(cached.run(&["--max-age", "1h"]).succeeded().text(), "new\n");
    assert_eq!(offline(LIMIT), Some(75), "it was no login");
    assert_eq!(offline("1h"), Some(0));
    assert_eq!(cached.asked(), []);
    // A session that would only lead to copies of no use is not used.
    assert_eq!(cached.run(&["--max-stale", LIMIT]).succeeded().text(), "new\n");
    assert_eq!(cached.asked(), [Login, Sync]);
}

/// The exact ages, with the boot-time clock set forward.
#[test]
#[ignore = "needs root"]
fn both_ages_go_on_and_are_told() {
    let cached = Cached::warm();
    let after = |minutes: u32| {
        let boot = format!("--boottime={}", minutes * 60);
        cached.launch().under(["unshare", "--time", &boot])
    };
    assert_eq!(after(30).run().succeeded().text(), "value\n");
    assert_eq!(cached.asked(), [Sync], "the session is kept for an hour");
    cached.outage();
    let (outcome, status) = with_status(after(90));
    let warning = format!(
        "bws-exec: warning: {} is unavailable: HTTP status 503 while logging in; \
         using the copy fetched 1h ago, with a login 1h 30m ago\n",
        cached.identity_host()
    );
    assert_eq!((outcome.stderr.as_str(), outcome.text().as_str()), (warning.as_str(), "value\n"));
    assert!(status[2].contains(r#""fetched_seconds_ago":360"#), "{status:?}");
    assert!(status[2].contains(r#""login_seconds_ago":540"#), "{status:?}");
    cached.asked();

    let offline = |minutes, limit| after(minutes).options(["--offline", "--max-stale", limit]).run();
    offline(59, "1h").succeeded();
    let message = format!(
        "the copy in {} is too old: its login was 1h 1m ago, and --max-stale is 1h",
        cached.ours().display()
    );
    let hint = "run once without --offline while the server can be reached";
    offline(61, "1h").failed(75, &error("copy-too-old", &message, hint));
    offline(24 * 60 - 1, "24h").succeeded();
    let outcome = after(24 * 60 + 1).options(["--deadline", "1s"]).run();
    outcome.failed_with(75, "unavailable");
    assert_eq!(after(89).options(["--max-age", "1h"]).run().succeeded().text(), "value\n");
    cached.asked();
    after(91).options(["--max-age", "1h"]).run();
    assert_eq!(cached.asked(), [Login], "the content is more than an hour old");
}

/// With something to fall back on, whatever hangs is given up soon, and tried once.
#[test]
fn with_a_copy_an_outage_costs_five_seconds_at_most() {
    let again = ["--no-session-cache"];
    let cases: [(Where, &[&str], &[Endpoint]); 5] = [
        (Where::Connect(Service::Api), &[], &[]),
        (Where::Connect(Service::Identity), &again, &[]),
        (Sync.into(), &[], &[Sync]),
        (Login.into(), &again, &[Login]),
        (Sync.into(), &again, &[Login, Sync]),
    ];
    let started: Vec<(Cached, Running, Where, &[Endpoint])> = cases
        .into_iter()
        .map(|(at, options, requests)| {
            let cached = Cached::warm();
            cached.scenario.vault.fault(at, Fault::Stall);
            let run = cached.launch().options(options).start();
            (cached, run, at, requests)
        })
        .collect();
    for (cached, run, at, requests) in started {
        let outcome = run.finish();
        println!("{at:?}: {outcome:?}");
        assert_eq!(outcome.text(), "value\n");
        assert!(outcome.stderr.contains(" did not answer in time while "), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("s ago, with a login "), "{}", outcome.stderr);
        // What is above the five is for the start of the process and of the command.
        let (least, most) = (Duration::from_millis(4500), Duration::from_secs(7));
        assert!(outcome.took > least && outcome.took < most, "{at:?}: {:?}", outcome.took);
        let connections = requests.len().max(1);
        assert_eq!(cached.scenario.vault.connections(), connections, "{at:?}: one attempt");
        assert_eq!(cached.asked(), requests, "{at:?}");
    }
}

/// Less, if the deadline is less; and without a copy it is the deadline.
#[test]
fn the_deadline_is_never_exceeded() {
    let cached = Cached::warm();
    cached.scenario.vault.fault(Sync, Fault::Stall);
    let outcome = cached.run(&["--deadline", "500ms"]);
    assert_eq!(outcome.text(), "value\n");
    assert!(outcome.took < Duration::from_secs(3), "{:?}", outcome.took);
    let outcome = cached.run(&["--deadline", "500ms", "--max-stale", "0"]);
    outcome.failed_with(75, "timeout");
    assert!(outcome.took < Duration::from_secs(3), "{:?}", outcome.took);
}

#[test]
fn a_session_is_kept_unless_forbidden() {
    let cached = Cached::warm();
    assert!(cached.file("session").is_some());
    assert_eq!(cached.run(&["--no-session-cache"]).succeeded().text(), "value\n");
    assert_eq!(cached.asked(), [Login, Sync], "the kept one is not used");
    assert_eq!(cached.file("session"), None, "nor left for others, nor is the new one kept");
    assert!(cached.file("snapshot").is_some(), "the copy is another matter");
    cached.run(&["--no-session-cache"]).succeeded();
    assert_eq!(cached.asked(), [Login, Sync]);

    cached.run(&[]).succeeded();
    assert!(cached.file("session").is_some());
    cached.asked();
    cached.run(&["--no-session-cache", "--max-age", "1h"]).succeeded();
    assert_eq!((cached.asked(), cached.file("session")), (vec![], None), "with a fresh copy too");
}

#[test]
fn no_copy_is_kept_that_could_serve_for_nothing() {
    let cached = Cached::new();
    cached.run(&["--max-stale", "0"]).succeeded();
    assert_eq!(cached.file("snapshot"), None);
    assert!(cached.file("session").is_some(), "the session is another matter");
    cached.outage();
    cached.run(&["--deadline", "1s"]).failed_with(75, "unavailable");
}
