//! Stops and restarts: what systemd makes of our exit codes, and of a signal that meets us while we fetch.

use std::io::Read as _;
use std::os::unix::net::UnixStream;

use crate::support::nspawn::{Machine, Unit, vault};
use crate::support::vault::{Endpoint, Fault, Request, Where};
use crate::support::{PATIENCE, eventually};

fn unit(example: &str, stem: &str) -> Unit {
    // No test waits for systemd to lose its patience.
    Unit::new(Machine::shared(), example, stem, vault().secret("API_KEY", "value"))
        .with("TimeoutStopSec=infinity")
}

#[track_caller]
fn killed_by_term(unit: &Unit) {
    let properties = ["ActiveState", "Result", "ExecMainCode", "ExecMainStatus", "NRestarts"];
    let found = properties.map(|property| unit.show(property));
    // CLD_KILLED, SIGTERM
    assert_eq!(found, ["inactive", "success", "2", "15", "0"].map(str::to_owned), "{}", unit.journal());
}

#[test]
#[ignore = "needs root and systemd-nspawn"]
fn stop_ends_the_command() {
    let unit = unit("app.service", "stopped");
    unit.systemctl("start");
    unit.runs(&unit.program());
    unit.systemctl("stop");
    killed_by_term(&unit);
}

#[test]
#[ignore = "needs root and systemd-nspawn"]
fn stop_during_the_fetch_is_a_clean_end() {
    for example in ["app.service", "app-notify.service"] {
        for endpoint in [Endpoint::Login, Endpoint::Sync] {
            let stem = format!("fetching{}", endpoint as u8);
            let unit = unit(example, &stem);
            unit.scenario.vault.fault(endpoint, Fault::Stall);
            unit.begin();
            let reached = |requests: &[Request]| requests.iter().any(|request| request.endpoint == endpoint);
            assert!(unit.scenario.vault.wait_for(PATIENCE, reached));
            unit.systemctl("stop");
            killed_by_term(&unit);
        }
    }
}

/// For a job, systemd counts no signal as a clean end: it has not done what it was for.
#[test]
#[ignore = "needs root and systemd-nspawn"]
fn stop_during_the_fetch_of_a_job_ends_it_at_once() {
    let unit = unit("app-job.service", "unfinished");
    unit.scenario.vault.fault(Endpoint::Login, Fault::Stall);
    unit.begin();
    assert!(unit.scenario.vault.wait_for(PATIENCE, |requests| !requests.is_empty()));
    unit.systemctl("stop");
    let found = ["Result", "ExecMainCode", "ExecMainStatus", "NRestarts"].map(|property| unit.show(property));
    assert_eq!(found, ["signal", "2", "15", "0"].map(str::to_owned), "{}", unit.journal());
}

#[test]
#[ignore = "needs root and systemd-nspawn"]
fn a_refused_token_ends_the_restarts() {
    for example in ["app.service", "app-notify.service", "app-job.service"] {
        let unit = unit(example, "refused").with("RestartSec=0");
        unit.scenario.vault.owner().revoke_token(&unit.scenario.token);
        unit.begin();
        unit.becomes(&[("SubState", "failed")]);
        let found = ["Result", "ExecMainStatus", "NRestarts"].map(|property| unit.show(property));
        assert_eq!(found, ["exit-code", "125", "0"].map(str::to_owned), "{example}: {}", unit.journal());
        assert!(unit.journal().contains("bws-exec: error[invalid-client]: "), "{}", unit.journal());
        assert_eq!(unit.scenario.vault.count(Endpoint::Login), 1, "{example}");
    }
}

/// Many more times than systemd's own limit of starts, and then the service is there.
#[test]
#[ignore = "needs root and systemd-nspawn"]
fn a_server_that_is_away_is_waited_for() {
    for example in ["app.service", "app-notify.service"] {
        let unit = unit(example, "waiting").with("RestartSec=0");
        let unit =
            unit.with("ExecStart=\nExecStart=/usr/bin/bws-exec --deadline=50ms -- /usr/local/bin/waiting");
        unit.scenario.vault.fault(Where::Any, Fault::status(503));
        unit.begin();
        eventually("it is started again and again", || unit.show("NRestarts").parse::<u32>().unwrap() > 12);
        unit.becomes(&[("ExecMainStatus", "75")]);
        unit.scenario.vault.clear_faults();
        unit.becomes(&[("SubState", "running")]);
        unit.runs(&unit.program());
        unit.systemctl("stop");
    }
}

/// A client that waits starts the service again as soon as it has ended.
#[test]
#[ignore = "needs root and systemd-nspawn"]
fn a_socket_gives_up_before_the_server_s_patience_does() {
    let unit = unit("app-socket.service", "hopeless").with("RestartSec=0");
    unit.add("app-socket.socket");
    unit.reload();
    unit.scenario.vault.owner().revoke_token(&unit.scenario.token);
    let socket = "hopeless-socket.socket";
    unit.machine.run(["systemctl", "start", socket]);
    let mut client = UnixStream::connect(unit.machine.path("/run/hopeless.sock")).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    // The socket is closed, and with it the connection that waited. Whoever reloads systemd meanwhile,
    // as other tests do, makes it count anew.
    let _ = client.read_to_end(&mut Vec::new());
    assert_eq!(unit.show_of(socket, "Result"), "trigger-limit-hit", "{}", unit.journal());
    assert!(unit.scenario.vault.count(Endpoint::Login) >= 5);
}

#[test]
#[ignore = "needs root and systemd-nspawn"]
fn the_command_s_own_end_is_the_unit_s() {
    let unit = unit("app.service", "ending").with("Restart=no").script("#!/bin/sh\nexit 42\n");
    unit.begin();
    unit.becomes(&[("ActiveState", "failed"), ("Result", "exit-code"), ("ExecMainStatus", "42")]);
}

/// What `systemctl status` shows where bws-exec had no word, as `docs/systemd.md` lists it.
#[test]
#[ignore = "needs root and systemd-nspawn"]
fn what_is_missing_is_told_by_systemd() {
    let unit = unit("app.service", "lacking").with("Restart=no");
    let ends_with = |status: &str| {
        unit.begin();
        unit.becomes(&[("ActiveState", "failed"), ("ExecMainStatus", status)]);
    };
    unit.machine.run(["rm", &unit.program()]);
    ends_with("127");
    unit.machine.run(["rm", "/etc/lacking/bws-access-token"]);
    ends_with("243");
    let unit = unit.with("LoadCredential=\nExecStart=\nExecStart=/usr/bin/bws-exec -- /usr/bin/true");
    unit.begin();
    unit.becomes(&[("ActiveState", "failed"), ("ExecMainStatus", "125")]);
    assert!(unit.journal().contains("bws-exec: error[token-missing]: "), "{}", unit.journal());
}
