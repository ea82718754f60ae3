//! A server that asks to be left alone is left alone, by the launches that come later too.

use std::io::Read as _;
use std::time::{Duration, Instant};

use crate::cache::{Cached, without_ages};
use crate::errors::{error, untouched};
use crate::retries::open_terminal;
use crate::support::vault::{Answer, Endpoint, Fault, Options, Request};
use crate::support::{Outcome, PATIENCE, Running, Scenario, eventually};

use Endpoint::{Login, Sync};

/// Told to every launch that asks.
fn limit(cached: &Cached, at: Endpoint, retry_after: &str) {
    cached.scenario.vault.fault(at, Fault::too_many_requests(Some(retry_after)));
}

/// The words for a time that is left, with N for the number, and that number.
#[track_caller]
fn time_left(stderr: &str) -> (String, f64) {
    let (before, rest) = stderr.split_once("asks to wait ").expect("the hint tells the time");
    let (left, after) = rest.split_once("s; ").expect("in seconds");
    (format!("{before}asks to wait Ns; {after}"), left.parse().expect("it is a number"))
}

#[track_caller]
fn rate_limited(cached: &Cached, stage: &str) -> String {
    let host = if stage == "logging in" { cached.identity_host() } else { cached.api_host() };
    error(
        "rate-limited",
        &format!("{host} has had too many requests from this address ({stage})"),
        "not a fault of the token; the server asks to wait Ns; logins are limited to 10 a minute an address",
    )
}

/// Fails after its deadline, without a connection, with this much of the time left.
#[track_caller]
fn is_held_back(cached: &Cached, outcome: &Outcome, stage: &str, left: std::ops::Range<f64>) {
    let (stderr, seconds) = time_left(&outcome.stderr);
    assert!(left.contains(&seconds), "{seconds}");
    assert_eq!(stderr, rate_limited(cached, stage));
    assert_eq!((outcome.code(), outcome.text().as_str()), (Some(75), ""));
    untouched(&cached.scenario.vault);
    cached.scenario.vault.clear_log();
}

#[test]
fn a_limit_outlives_the_launch_that_met_it() {
    for (at, stage) in [(Login, "logging in"), (Sync, "fetching secrets")] {
        let cached = Cached::new();
        limit(&cached, at, "60");
        cached.run(&["--deadline", "1s"]).failed_with(75, "rate-limited");
        cached.scenario.vault.clear_faults();
        cached.scenario.vault.clear_log();
        // Two seconds of this launch's own are gone when it ends.
        let outcome = cached.run(&["--deadline", "2s"]);
        is_held_back(&cached, &outcome, stage, 30.0..57.5);
        assert!(outcome.took >= Duration::from_secs(2), "a loop is slowed down: {:?}", outcome.took);
        assert!(outcome.took < Duration::from_secs(6), "{:?}", outcome.took);
    }
}

/// What fits into the deadline is waited for, and then the server is asked.
#[test]
fn a_limit_that_ends_in_time_is_waited_out() {
    let cached = Cached::new();
    cached.scenario.vault.fault_times(1, Login, Fault::too_many_requests(Some("3")));
    cached.run(&["--deadline", "500ms"]).failed_with(75, "rate-limited");
    let outcome = cached.run(&["-v"]);
    assert_eq!(outcome.text(), "value\n");
    let notice =
        format!("bws-exec: notice: {} has asked to be left alone; trying again in ", cached.identity_host());
    assert!(outcome.stderr.starts_with(&notice), "{}", outcome.stderr);
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    let requests = cached.scenario.vault.requests();
    never_too_early(&requests);
    assert_eq!(cached.asked(), [Login, Login, Sync]);
}

/// A server's mistake, or a proxy's, does not take a service away for a day.
#[test]
fn nothing_is_remembered_for_more_than_five_minutes() {
    let cached = Cached::new();
    limit(&cached, Login, "86400");
    let outcome = cached.run(&["--deadline", "500ms"]);
    assert_eq!(time_left(&outcome.stderr).1, 86400.0, "what it said is told");
    cached.scenario.vault.clear_log();
    let outcome = cached.run(&["--deadline", "500ms"]);
    is_held_back(&cached, &outcome, "logging in", 270.0..300.0);
}

/// The same on the clock: held back before the five minutes are over, and not afterwards.
#[test]
#[ignore = "needs root"]
fn after_five_minutes_the_server_is_asked_again() {
    let cached = Cached::new();
    limit(&cached, Login, "86400");
    cached.run(&["--deadline", "500ms"]).failed_with(75, "rate-limited");
    cached.scenario.vault.clear_faults();
    cached.scenario.vault.clear_log();
    let after = |seconds: u32| {
        let boot = format!("--boottime={seconds}");
        cached.launch().under(["unshare", "--time", &boot]).options(["--deadline", "2s"]).run()
    };
    is_held_back(&cached, &after(270), "logging in", 0.0..28.0);
    assert_eq!(after(301).succeeded().text(), "value\n");
}

/// It is not the login that a kept session needs.
#[test]
fn a_limit_on_the_login_does_not_stop_a_kept_session() {
    let cached = Cached::warm();
    let other = cached.scenario.vault.owner().create_token(cached.scenario.account, "other", None);
    limit(&cached, Login, "60");
    let others = || cached.launch().env("BWS_ACCESS_TOKEN", &other).options(["--deadline", "500ms"]);
    others().run().failed_with(75, "rate-limited");
    cached.asked();
    cached.change_to("new");
    assert_eq!(cached.run(&[]).succeeded().text(), "new\n");
    assert_eq!(cached.asked(), [Sync]);
    is_held_back(&cached, &others().run(), "logging in", 30.0..60.0);
}

/// A session that is refused wants a login, which has to wait as any other.
#[test]
fn a_limit_on_the_login_holds_for_the_one_after_a_refused_session() {
    let cached = Cached::warm();
    let other = cached.scenario.vault.owner().create_token(cached.scenario.account, "other", None);
    limit(&cached, Login, "60");
    let others = cached.launch().env("BWS_ACCESS_TOKEN", &other).options(["--deadline", "500ms"]);
    others.run().failed_with(75, "rate-limited");
    cached.scenario.vault.clear_faults();
    cached.asked();
    cached.scenario.vault.fault(Sync, Fault::Answer(Answer::empty(401)));
    let outcome = cached.run(&["--max-stale", "0", "--deadline", "1s"]);
    println!("{outcome:?}");
    assert_eq!(cached.asked(), [Sync], "and no login");
    let (stderr, left) = time_left(&outcome.stderr);
    assert_eq!((outcome.code(), stderr), (Some(75), rate_limited(&cached, "logging in")));
    assert!((30.0..59.5).contains(&left), "{left}");
    assert!(outcome.took >= Duration::from_secs(1), "{:?}", outcome.took);
}

/// With a copy there is nothing to wait for.
#[test]
fn with_a_copy_a_limit_costs_nothing() {
    let cached = Cached::warm();
    limit(&cached, Sync, "60");
    let warning = format!(
        "bws-exec: warning: {} has had too many requests from this address (fetching secrets); \
         using the copy fetched Ns ago, with a login Ns ago\n",
        cached.api_host()
    );
    for requests in [&[Sync][..], &[], &[]] {
        let outcome = cached.run(&[]);
        assert_eq!((outcome.code(), outcome.text().as_str()), (Some(0), "value\n"));
        assert_eq!(without_ages(&outcome.stderr), warning);
        assert!(outcome.took < Duration::from_secs(3), "{:?}", outcome.took);
        assert_eq!(cached.asked(), requests);
    }
    assert_eq!(cached.scenario.vault.connections(), 0);
}

#[test]
fn on_a_terminal_a_remembered_limit_is_told_at_once() {
    let cached = Cached::new();
    limit(&cached, Login, "60");
    cached.run(&["--deadline", "500ms"]).failed_with(75, "rate-limited");
    cached.scenario.vault.clear_log();
    let (terminal, end) = open_terminal();
    let mut process = cached.launch().options(["--deadline", "50s"]).launcher();
    process.stderr(end);
    let outcome = Running::new(process, None).finish();
    let mut screen = vec![0; 4096];
    let size = std::fs::File::from(terminal).read(&mut screen).expect("it was written to");
    let stderr = String::from_utf8_lossy(&screen[..size]).replace("\r\n", "\n");
    assert!(outcome.took < Duration::from_secs(20), "{:?}", outcome.took);
    is_held_back(&cached, &Outcome { stderr, ..outcome }, "logging in", 30.0..60.0);
}

/// After each 429 nothing comes before its time is over.
#[track_caller]
fn never_too_early(requests: &[Request]) {
    for (place, request) in requests.iter().enumerate() {
        let Some(wait) = request.retry_after else { continue };
        for later in &requests[place + 1..] {
            assert!(
                later.at - request.at >= wait,
                "{:?} after {request:?}: {later:?}",
                later.at - request.at
            );
        }
    }
}

/// A container that ends at once and is started again, against limits as the cloud has them.
#[test]
fn a_restart_loop_does_not_keep_a_limit_exhausted() {
    for (stale, all_run) in [("0", false), ("24h", true)] {
        let cached = Cached::of(
            Scenario::with(Options { rate_limits: true, ..Options::default() }).secret("NAME", "value"),
        );
        let began = Instant::now();
        let options = ["--no-session-cache", "--deadline", "200ms", "--max-stale", stale];
        let outcomes: Vec<Outcome> = (0..60).map(|_| cached.run(&options)).collect();
        let requests = cached.scenario.vault.requests();
        let logins: Vec<&Request> = requests.iter().filter(|request| request.endpoint == Login).collect();
        let refused = logins.iter().filter(|request| request.status == Some(429)).count();
        println!("{stale}: {} logins, {refused} refused, {:?}", logins.len(), began.elapsed());
        assert!((1..=4).contains(&refused), "the limit was met, and then left alone: {refused}");
        never_too_early(&requests);
        for outcome in outcomes {
            match outcome.code() {
                Some(0) => assert_eq!(outcome.text(), "value\n"),
                _ => {
                    assert!(!all_run, "{outcome:?}");
                    outcome.failed_with(75, "rate-limited");
                }
            }
        }
    }
}

/// Those who wait for the one that is refused learn it from there.
#[test]
fn launches_that_wait_hear_of_the_limit() {
    let cached = Cached::new();
    cached.scenario.vault.fault_times(1, Login, Fault::Stall);
    let first = cached.launch().options(["--deadline", "4s"]).start();
    assert!(cached.scenario.vault.wait_for(PATIENCE, |requests| !requests.is_empty()));
    limit(&cached, Login, "60");
    let others: Vec<Running> =
        (0..5).map(|_| cached.launch().options(["--deadline", "10s"]).start()).collect();
    let lock = cached.file("lock").expect("there is one");
    eventually("all have lined up", || std::fs::metadata(&lock).is_ok_and(|it| it.len() == 5));
    first.signal(libc::SIGKILL);
    for other in others {
        other.finish().failed_with(75, "rate-limited");
    }
    assert_eq!(cached.asked(), [Login, Login], "one of them asks, and none after it");
}
