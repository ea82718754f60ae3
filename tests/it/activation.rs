//! Socket activation: the command gets its descriptors, and never the token's.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;

use crate::support::{Launch, Outcome, Scenario, pipe, proc};

/// What arrived: descriptors from 3 on, by what is written in them, and the variables.
#[derive(Debug, PartialEq, Eq)]
struct Arrived {
    descriptors: BTreeMap<i32, String>,
    variables: Vec<String>,
}

fn scenario() -> Scenario {
    Scenario::new().secret("KEY", "value")
}

fn file(content: &str) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file
}

/// As systemd starts a service: `LISTEN_PID` is the process itself.
fn activated(launch: Launch, names: &str) -> Launch {
    launch.env("LISTEN_FDS", names.split(':').count().to_string()).env("LISTEN_FDNAMES", names).under([
        "sh",
        "-c",
        "export LISTEN_PID=$$; exec \"$@\"",
        "sh",
    ])
}

/// Starts it, looks at the command, and names its own process `self`.
fn arrived(launch: Launch) -> Arrived {
    let running = launch.command(["sleep", "1000"]).start().asleep_in("sleep");
    let pid = running.pid();
    let read = |(fd, target): (i32, String)| {
        if !target.starts_with('/') {
            // A pipe would keep us waiting, and no pipe should have arrived.
            return (fd, target);
        }
        // Opened anew, so that the offset is the start again.
        let content = proc::read(pid, &format!("fd/{fd}")).expect("a file of ours");
        (fd, String::from_utf8_lossy(&content).into_owned())
    };
    let environ = proc::text(pid, "environ");
    let variables = environ.split('\0').filter(|entry| entry.starts_with("LISTEN_"));
    let mut variables: Vec<_> = variables.map(|entry| entry.replace(&format!("={pid}"), "=self")).collect();
    variables.sort();
    Arrived {
        descriptors: proc::descriptors(pid).into_iter().filter(|&(fd, _)| fd > 2).map(read).collect(),
        variables,
    }
}

fn expected(descriptors: &[(i32, &str)], variables: &[&str]) -> Arrived {
    Arrived {
        descriptors: descriptors.iter().map(|&(fd, content)| (fd, content.into())).collect(),
        variables: variables.iter().map(|&text| text.into()).collect(),
    }
}

#[test]
fn sockets_pass_untouched() {
    let scenario = scenario();
    let launch = activated(scenario.launch(), "http:https").descriptor(3, file("A")).descriptor(4, file("B"));
    let variables = ["LISTEN_FDNAMES=http:https", "LISTEN_FDS=2", "LISTEN_PID=self"];
    assert_eq!(arrived(launch), expected(&[(3, "A"), (4, "B")], &variables));
}

#[test]
fn the_token_is_read_and_taken_out_and_the_others_move_down() {
    let scenario = scenario();
    let launch = activated(scenario.launch_without_token(), "http:bws-access-token:https:admin")
        .descriptor(3, file("A"))
        .descriptor(4, pipe(&scenario.token))
        .descriptor(5, file("B"))
        .descriptor(6, file("C"))
        .descriptor(7, file("not one of them"));
    let variables = ["LISTEN_FDNAMES=http:https:admin", "LISTEN_FDS=3", "LISTEN_PID=self"];
    let descriptors = [(3, "A"), (4, "B"), (5, "C"), (7, "not one of them")];
    assert_eq!(arrived(launch), expected(&descriptors, &variables));
}

#[test]
fn a_token_alone_leaves_nothing_behind() {
    let scenario = scenario();
    let launch = activated(scenario.launch_without_token(), "bws-access-token")
        .descriptor(3, file_at_start(&scenario.token));
    assert_eq!(arrived(launch), expected(&[], &[]));
}

/// As `OpenFile=` opens it.
fn file_at_start(content: &str) -> File {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file.reopen().unwrap()
}

#[test]
fn the_token_is_taken_out_even_if_another_source_wins() {
    let scenario = scenario();
    let launch = activated(scenario.launch(), "bws-access-token:http")
        .descriptor(3, pipe("not asked"))
        .descriptor(4, file("A"));
    let variables = ["LISTEN_FDNAMES=http", "LISTEN_FDS=1", "LISTEN_PID=self"];
    assert_eq!(arrived(launch), expected(&[(3, "A")], &variables));
}

/// One that is named twice is one too many, and nobody else's either.
#[test]
fn a_second_token_is_taken_out_too() {
    let scenario = scenario();
    let launch = activated(scenario.launch_without_token(), "bws-access-token:http:bws-access-token")
        .descriptor(3, file_at_start(&scenario.token))
        .descriptor(4, file("A"))
        .descriptor(5, file_at_start("0.other"));
    let variables = ["LISTEN_FDNAMES=http", "LISTEN_FDS=1", "LISTEN_PID=self"];
    assert_eq!(arrived(launch), expected(&[(3, "A")], &variables));
    let launch = activated(scenario.launch_without_token(), "bws-access-token:bws-access-token")
        .descriptor(3, file_at_start(&scenario.token))
        .descriptor(4, file_at_start("0.other"));
    assert_eq!(arrived(launch), expected(&[], &[]));
}

/// `OpenFile=` opened it as root; the service gets its own sockets, and could not open it again.
#[test]
#[ignore = "needs root"]
fn with_another_user_the_sockets_stay_and_the_token_does_not() {
    let scenario = scenario();
    let launch = activated(scenario.launch_without_token(), "http:bws-access-token:https")
        .option("--user=4242:4343")
        .descriptor(3, file("A"))
        .descriptor(4, file_at_start(&scenario.token))
        .descriptor(5, file("B"));
    let variables = ["LISTEN_FDNAMES=http:https", "LISTEN_FDS=2", "LISTEN_PID=self"];
    assert_eq!(arrived(launch), expected(&[(3, "A"), (4, "B")], &variables));
}

#[test]
fn the_token_does_not_stay_where_a_socket_is_missing() {
    let scenario = scenario();
    // Three are announced, and the second is not there.
    let launch = activated(scenario.launch_without_token(), "bws-access-token:http:https")
        .descriptor(3, file_at_start(&scenario.token))
        .descriptor(5, file("B"));
    let variables = ["LISTEN_FDNAMES=http:https", "LISTEN_FDS=2", "LISTEN_PID=self"];
    assert_eq!(arrived(launch), expected(&[(4, "B")], &variables));
}

#[test]
fn descriptors_for_another_process_are_none_of_our_business() {
    let scenario = scenario();
    let launch = || {
        scenario
            .launch_without_token()
            .env("LISTEN_FDS", "1")
            .env("LISTEN_FDNAMES", "bws-access-token")
            .env("LISTEN_PID", "1")
            .descriptor(3, file_at_start(&scenario.token))
    };
    let outcome: Outcome = launch().command(["true"]).run();
    outcome.failed_with(125, "token-missing");
    let variables = ["LISTEN_FDNAMES=bws-access-token", "LISTEN_FDS=1", "LISTEN_PID=1"];
    let with_token = launch().env("BWS_ACCESS_TOKEN", &scenario.token);
    assert_eq!(arrived(with_token), expected(&[(3, &scenario.token)], &variables));
}
