//! What services rely on, seen by a real systemd: the main process is the command, and all that systemd gives
//! to a main process has arrived.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::support::nspawn::{Machine, Unit, vault};
use crate::support::vault::{Endpoint, Fault};
use crate::support::{PATIENCE, eventually, proc};

const KEY: &str = "sixteen bytes...";

fn unit(example: &str, stem: &str) -> Unit {
    Unit::new(Machine::shared(), example, stem, vault().secret("API_KEY", KEY))
}

/// What the program says on its socket and to the journal.
fn greeting(pid: &str) -> String {
    format!("API_KEY has {} bytes, I am {pid}\n", KEY.len())
}

#[test]
#[ignore = "needs root and systemd-nspawn"]
fn the_main_process_is_the_command_and_nobody_else_is_there() {
    let unit = unit("app.service", "plain");
    unit.systemctl("start");
    let pid = unit.runs(&unit.program());
    eventually("it has its secret", || unit.journal().contains(&greeting(&pid)));
    let group = unit.show("ControlGroup");
    let processes = unit.machine.run(["cat", &format!("/sys/fs/cgroup{group}/cgroup.procs")]);
    assert_eq!(processes, format!("{pid}\n"));
    assert_eq!(unit.machine.run(["cat", &format!("/proc/{pid}/comm")]), "plain\n");
}

#[test]
#[ignore = "needs root and systemd-nspawn"]
fn a_unit_is_active_when_the_command_says_that_it_is_ready() {
    let unit = unit("app-notify.service", "ready");
    assert_eq!(unit.show("NotifyAccess"), "main");
    unit.scenario.vault.fault_times(1, Endpoint::Login, Fault::Stall);
    unit.begin();
    assert!(unit.scenario.vault.wait_for(PATIENCE, |requests| !requests.is_empty()));
    assert_eq!(unit.show("ActiveState"), "activating", "the fetch is a part of the start");
    unit.scenario.vault.release();
    unit.becomes(&[("ActiveState", "active")]);
    unit.runs(&unit.program());
}

#[test]
#[ignore = "needs root and systemd-nspawn"]
fn a_command_that_is_never_ready_is_a_failed_start() {
    let unit = unit("app-notify.service", "mute").with("TimeoutStartSec=1s\nRestart=no");
    let unit = unit.with("ExecStart=\nExecStart=/usr/bin/bws-exec -- /usr/bin/sleep infinity");
    assert!(!unit.machine.try_run(["systemctl", "start", &unit.name]).status.success());
    assert_eq!(unit.show("Result"), "timeout", "READY=1 is the command's alone: {}", unit.journal());
}

#[test]
#[ignore = "needs root and systemd-nspawn"]
fn a_socket_of_systemd_is_served() {
    let unit = unit("app-socket.service", "web");
    unit.add("app-socket.socket");
    unit.reload();
    unit.machine.run(["systemctl", "start", "web-socket.socket"]);
    assert_eq!(unit.show("ActiveState"), "inactive", "nobody has asked yet");
    let ask = || {
        let mut said = String::new();
        let mut client = UnixStream::connect(unit.machine.path("/run/web.sock")).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.read_to_string(&mut said).unwrap();
        said
    };
    let first = ask();
    assert_eq!(first, greeting(&unit.show("MainPID")));
    assert_eq!(ask(), first, "the same process serves the next one");
    assert_eq!(unit.scenario.vault.count(Endpoint::Login), 1);
}

/// Of a service that becomes this program, with these settings.
fn signals(stem: &str, launcher: &str, settings: &str) -> [Vec<i32>; 3] {
    let unit = unit("app.service", stem).with(settings);
    let unit = unit.with(&format!("ExecStart=\nExecStart={launcher} /usr/bin/sleep infinity"));
    unit.systemctl("start");
    let pid = unit.runs("/usr/bin/sleep");
    let status = unit.machine.run(["cat", &format!("/proc/{pid}/status")]);
    ["SigIgn", "SigBlk", "SigCgt"].map(|line| proc::signals(&status, line))
}

#[test]
#[ignore = "needs root and systemd-nspawn"]
fn sigpipe_is_as_systemd_has_set_it() {
    for (stem, settings, ignored) in [("piped", "", true), ("unpiped", "IgnoreSIGPIPE=no", false)] {
        let ours = signals(stem, "/usr/bin/bws-exec --", settings);
        assert_eq!(ours[0].contains(&libc::SIGPIPE), ignored, "{settings}");
        assert_eq!(ours, signals(&format!("{stem}direct"), "", settings), "as without us: {settings}");
    }
}

#[test]
#[ignore = "needs root and systemd-nspawn"]
fn the_watchdog_watches_the_command() {
    let unit = unit("app-notify.service", "watched").with("WatchdogSec=2s\nRestartSec=100ms");
    unit.systemctl("start");
    let pid = unit.runs(&unit.program());
    let seen = || unit.show("WatchdogTimestampMonotonic").parse::<u64>().unwrap();
    let began = seen();
    eventually("it was seen for twice as long", || seen() > began + 4_000_000);
    assert_eq!((unit.show("MainPID"), unit.show("NRestarts")), (pid.clone(), "0".into()));
    // It hangs.
    unit.machine.run(["systemctl", "kill", "--signal=STOP", &unit.name]);
    eventually("it is started again", || unit.show("NRestarts") != "0");
    unit.becomes(&[("ActiveState", "active")]);
    assert_ne!(unit.runs(&unit.program()), pid);
    assert!(unit.journal().contains("Watchdog timeout"), "{}", unit.journal());
}

/// The fetch is not the command's fault: the watchdog begins to count when the command is there.
#[test]
#[ignore = "needs root and systemd-nspawn"]
fn the_watchdog_does_not_watch_the_fetch() {
    let unit = unit("app-notify.service", "slow").with("WatchdogSec=1s");
    unit.scenario.vault.fault_times(1, Endpoint::Login, Fault::Delay(Duration::from_secs(3)));
    unit.systemctl("start");
    unit.runs(&unit.program());
    assert_eq!((unit.show("NRestarts"), unit.show("Result")), ("0".into(), "success".into()));
}

/// Where secrets and credentials are, as `docs/systemd.md` tells it.
#[test]
#[ignore = "needs root and systemd-nspawn"]
fn the_commands_beside_the_main_process_have_no_secrets() {
    let unit =
        unit("app.service", "beside").script("#!/bin/sh\ntrap 'exit 0' TERM\nwhile :; do sleep 1; done\n");
    let record = |line: &str| {
        format!(
            "{line}=+/bin/sh -c 'test -e \"$CREDENTIALS_DIRECTORY/bws-access-token\" && echo {line} has the token; \
             test -n \"$API_KEY\" && echo {line} has the secret; true'"
        )
    };
    let lines = ["ExecStartPre", "ExecStartPost", "ExecReload", "ExecStop", "ExecStopPost"];
    let unit = unit.with(&lines.map(record).join("\n"));
    unit.systemctl("start");
    unit.systemctl("reload");
    unit.systemctl("stop");
    let journal = unit.journal();
    let has: Vec<&str> = journal.lines().filter(|line| line.starts_with("Exec")).collect();
    assert_eq!(has, ["ExecStartPre has the token"], "of systemd 252");
}
