//! What is tried again, when, and until when.

use std::os::fd::{FromRawFd, OwnedFd};
use std::time::{Duration, SystemTime};

use crate::errors::{DEADLINE, GAVE_UP, MORE_TIME, echo, error, host, without_count};
use crate::support::vault::{Answer, Endpoint, Fault, Service, Where};
use crate::support::{Outcome, Running, Scenario};

/// Enough for many attempts: what is expected needs only a few.
const LONG: [&str; 2] = ["--deadline", "50s"];

fn start(scenario: &Scenario) -> Running {
    scenario.launch().options(LONG).command(["printenv", "NAME"]).start()
}

/// Every fault that may pass, once and then twice, at the login and at the sync.
#[test]
fn a_fault_that_passes_is_survived() {
    let faults = || {
        let minute = Some("0");
        vec![
            Fault::Reset,
            Fault::ResetMidBody,
            Fault::CloseMidBody,
            Fault::TlsCut,
            Fault::Truncated,
            Fault::status(408),
            Fault::too_many_requests(None),
            Fault::too_many_requests(minute),
            Fault::error(500, "An unhandled server error has occurred."),
            Fault::html(502),
            Fault::html(503),
            Fault::status(504),
            Fault::html(403),
        ]
    };
    for (times, endpoint) in [(1, Endpoint::Login), (2, Endpoint::Sync)] {
        let started: Vec<_> = faults()
            .into_iter()
            .map(|fault| {
                let scenario = Scenario::new().secret("NAME", "value");
                scenario.vault.fault_times(times, endpoint, fault.clone());
                let run = start(&scenario);
                (scenario, run, fault)
            })
            .collect();
        for (scenario, run, fault) in started {
            let outcome = run.finish();
            println!("{fault:?} at {endpoint:?}, {times} times: {outcome:?}");
            assert_eq!(outcome.succeeded().text(), "value\n");
            let other = if endpoint == Endpoint::Login { Endpoint::Sync } else { Endpoint::Login };
            assert_eq!(scenario.vault.count(endpoint), times + 1, "each fault costs one request");
            assert_eq!(scenario.vault.count(other), 1, "what succeeded is not done again");
        }
    }
}

#[test]
fn a_connection_that_fails_is_made_again() {
    for service in [Service::Identity, Service::Api] {
        let scenario = Scenario::new().secret("NAME", "value");
        scenario.vault.fault_times(2, Where::Connect(service), Fault::Reset);
        assert_eq!(start(&scenario).finish().succeeded().text(), "value\n");
        assert_eq!(scenario.vault.connections(), 4, "two that failed, and one for each service");
    }
}

/// Neither before the time that the server asks for, nor much later.
#[test]
fn retry_after_is_obeyed() {
    // Whole seconds only, so that up to one of the four is lost, and another to the way there.
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(4));
    let maintenance = Fault::Answer(Answer::empty(503).with("Retry-After", "2"));
    let faults = [Fault::too_many_requests(Some("2")), Fault::too_many_requests(Some(&date)), maintenance];
    let least = Duration::from_secs(2);
    let started: Vec<_> = faults
        .into_iter()
        .flat_map(|fault| [(Endpoint::Login, fault.clone()), (Endpoint::Sync, fault)])
        .map(|(endpoint, fault)| {
            let scenario = Scenario::new().secret("NAME", "value");
            scenario.vault.fault_times(1, endpoint, fault);
            let run = start(&scenario);
            (scenario, run, endpoint)
        })
        .collect();
    for (scenario, run, endpoint) in started {
        run.finish().succeeded();
        let requests = scenario.vault.requests();
        let times: Vec<_> = requests.iter().filter(|it| it.endpoint == endpoint).map(|it| it.at).collect();
        let [first, second] = times[..] else { panic!("two requests were made: {requests:?}") };
        let pause = second - first;
        assert!(pause >= least && pause < Duration::from_secs(10), "{pause:?}");
    }
}

/// Waiting out the deadline keeps a restart loop from using up the limit for good.
#[test]
fn retry_after_beyond_the_deadline_is_waited_for_until_the_deadline() {
    let scenario = Scenario::new().secret("NAME", "value");
    scenario.vault.fault(Endpoint::Login, Fault::too_many_requests(Some("3600")));
    let outcome = echo(scenario.launch().options(["--deadline", DEADLINE])).run();
    outcome.failed(75, &rate_limited(&scenario));
    assert!(outcome.took >= Duration::from_secs(2), "{:?}", outcome.took);
    assert!(outcome.took < Duration::from_secs(5), "{:?}", outcome.took);
    assert_eq!(scenario.vault.requests().len(), 1, "{:?}", scenario.vault.requests());
}

/// A person learns more from the message than from the wait.
#[test]
fn on_a_terminal_nobody_waits_in_vain() {
    let scenario = Scenario::new().secret("NAME", "value");
    scenario.vault.fault(Endpoint::Login, Fault::too_many_requests(Some("3600")));
    let (terminal, end) = open_terminal();
    let mut process = echo(scenario.launch().options(LONG)).launcher();
    process.stderr(end);
    let outcome = Running::new(process, None).finish();
    let mut screen = vec![0; 4096];
    let size =
        std::io::Read::read(&mut std::fs::File::from(terminal), &mut screen).expect("it was written to");
    let screen = String::from_utf8_lossy(&screen[..size]).replace("\r\n", "\n");
    // What is shown while waiting may stand before it.
    assert!(screen.ends_with(&rate_limited(&scenario)), "{screen:?}");
    assert_eq!((outcome.code(), outcome.text().as_str()), (Some(75), ""));
    assert!(outcome.took < Duration::from_secs(25), "{:?}", outcome.took);
}

fn rate_limited(scenario: &Scenario) -> String {
    let host = host(scenario.vault.identity_url());
    error(
        "rate-limited",
        &format!("{host} has had too many requests from this address (logging in)"),
        "not a fault of the token; the server asks to wait 3600s; logins are limited to 10 a minute an address",
    )
}

/// Our end of a terminal, and the one for a process.
pub fn open_terminal() -> (OwnedFd, OwnedFd) {
    let (mut ours, mut theirs) = (-1, -1);
    let null = std::ptr::null_mut();
    // SAFETY: two descriptors are written; the other results are not asked for.
    let opened = unsafe { libc::openpty(&mut ours, &mut theirs, null, null.cast(), null.cast()) };
    assert_eq!(opened, 0, "a terminal can be had");
    // SAFETY: both are new and nobody else's.
    unsafe { (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) }
}

#[test]
fn what_will_not_pass_is_not_tried_again() {
    for (endpoint, fault) in [
        (Endpoint::Login, Fault::json("{}")),
        (Endpoint::Login, Fault::status(400)),
        (Endpoint::Login, Fault::status(401)),
        (Endpoint::Login, Fault::status(403)),
        (Endpoint::Login, Fault::html(200)),
        (Endpoint::Login, Fault::redirect(302, "/")),
        (Endpoint::Sync, Fault::status(401)),
        (Endpoint::Sync, Fault::status(403)),
        (Endpoint::Sync, Fault::html(404)),
        (Endpoint::Sync, Fault::json("[]")),
    ] {
        let scenario = Scenario::new().secret("NAME", "value");
        // It would pass at once, if it were tried again.
        scenario.vault.fault_times(1, endpoint, fault.clone());
        let outcome = echo(scenario.launch().options(LONG)).run();
        assert_eq!((outcome.code(), outcome.text().as_str()), (Some(125), ""), "{fault:?}: {outcome:?}");
        let requests: Vec<_> = scenario.vault.requests().iter().map(|request| request.endpoint).collect();
        let expected =
            if endpoint == Endpoint::Login { vec![Endpoint::Login] } else { vec![Endpoint::Login, endpoint] };
        assert_eq!(requests, expected, "{fault:?}");
    }
}

/// The last attempt may be cut; what made it necessary is what is told.
#[test]
fn the_cause_of_the_attempts_outlives_the_deadline() {
    let scenario = Scenario::new().secret("NAME", "value");
    scenario.vault.fault_times(1, Endpoint::Sync, Fault::status(500));
    scenario.vault.fault(Endpoint::Sync, Fault::Stall);
    let outcome = echo(scenario.launch().options(["--deadline", DEADLINE])).run();
    let host = host(scenario.vault.api_url());
    let message = format!("{host} is unavailable: HTTP status 500 while fetching secrets{GAVE_UP}");
    Outcome { stderr: without_count(&outcome.stderr), ..outcome }
        .failed(75, &error("unavailable", &message, "try again later"));
}

/// Everything shares one budget: what the login used up, the sync does not have.
#[test]
fn the_deadline_is_one_for_all() {
    let scenario = Scenario::new().secret("NAME", "value");
    scenario.vault.fault(Endpoint::Login, Fault::Delay(Duration::from_millis(1200)));
    scenario.vault.fault(Endpoint::Sync, Fault::Delay(Duration::from_millis(1200)));
    let outcome = echo(scenario.launch().options(["--deadline", DEADLINE])).run();
    let message = format!("{} did not answer in time while fetching secrets", host(scenario.vault.api_url()));
    outcome.failed(75, &error("timeout", &message, MORE_TIME));
    assert!(outcome.took < Duration::from_secs(5), "{:?}", outcome.took);

    let launch = echo(scenario.launch().env("BWS_EXEC_DEADLINE", "500ms"));
    let message = format!("{} did not answer in time while logging in", host(scenario.vault.identity_url()));
    launch.run().failed(75, &error("timeout", &message, MORE_TIME));
}

/// With `-v` each pause is told.
#[test]
fn attempts_are_noticed() {
    let scenario = Scenario::new().secret("NAME", "value");
    scenario.vault.fault_times(1, Endpoint::Login, Fault::status(503));
    let outcome = scenario.launch().option("-v").command(["printenv", "NAME"]).run();
    let host = host(scenario.vault.identity_url());
    let told = format!(
        "bws-exec: notice: {host} is unavailable: HTTP status 503 while logging in; trying again in 0."
    );
    assert!(outcome.stderr.starts_with(&told), "{}", outcome.stderr);
    assert_eq!(outcome.text(), "value\n");
}
