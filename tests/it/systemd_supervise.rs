//! `--init` and `--watch` in units: what `docs/supervise.md` says about systemd, seen by a real one.

use std::io::Read as _;
use std::os::unix::net::UnixStream;

use uuid::Uuid;

use crate::support::nspawn::{Machine, Unit, vault};
use crate::support::{PATIENCE, eventually};

const KEY: &str = "sixteen bytes...";
const BWS_EXEC: &str = "/usr/bin/bws-exec";

/// An example with these options of ours, and the secret to change.
fn unit(example: &str, stem: &str, options: &str) -> (Unit, Uuid) {
    let scenario = vault();
    let secret = scenario.vault.owner().create_secret(scenario.project, "API_KEY", KEY);
    let unit = Unit::new(Machine::shared(), example, stem, scenario);
    let command = unit.program();
    (unit.with(&format!("ExecStart=\nExecStart={BWS_EXEC} {options} -- {command}\nRestartSec=100ms")), secret)
}

fn greeting(bytes: usize, pid: &str) -> String {
    format!("API_KEY has {bytes} bytes, I am {pid}\n")
}

#[track_caller]
fn says(unit: &Unit, words: &str) {
    eventually(&format!("{words}: {}", unit.journal()), || unit.journal().contains(words));
}

#[track_caller]
fn is(unit: &Unit, expected: &[(&str, &str)]) {
    let found: Vec<_> = expected.iter().map(|(property, _)| unit.show(property)).collect();
    let values: Vec<_> = expected.iter().map(|(_, value)| *value).collect();
    assert_eq!(found, values, "{}", unit.journal());
}

#[test]
#[ignore = "needs root and systemd-nspawn"]
fn without_notify_the_main_process_is_us_and_ends_as_the_command() {
    let (unit, _) = unit("app.service", "initial", "--init");
    let unit = unit.with("Restart=no").script("#!/bin/sh\nread -r line <\"$CACHE_DIRECTORY/go\"; exit 42\n");
    unit.machine.run([
        "sh",
        "-c",
        "mkdir -p /var/cache/private/initial && mkfifo -m 666 /var/cache/private/initial/go",
    ]);
    unit.systemctl("start");
    unit.runs(BWS_EXEC);
    unit.machine.run(["sh", "-c", "echo >/var/cache/private/initial/go"]);
    unit.becomes(&[("ActiveState", "failed"), ("Result", "exit-code"), ("ExecMainStatus", "42")]);
}

fn kill(unit: &Unit, signal: &str, pid: &str) {
    unit.machine.run(["sh", "-c", &format!("kill -{signal} {pid}")]);
}

/// The program's process, below us.
fn command(unit: &Unit) -> String {
    let main = unit.runs(BWS_EXEC);
    let mut command = String::new();
    eventually(&format!("{} is there", unit.program()), || {
        let child = unit.machine.run(["cat", &format!("/proc/{main}/task/{main}/children")]);
        command = child.trim().to_owned();
        let link = unit.machine.try_run(["readlink", &format!("/proc/{command}/exe")]);
        String::from_utf8_lossy(&link.stdout).trim() == unit.program()
    });
    command
}

#[test]
#[ignore = "needs root and systemd-nspawn"]
fn with_notify_access_main_nobody_hears_the_command() {
    let (unit, _) = unit("app-notify.service", "unheard", "--init");
    let unit = unit.with("TimeoutStartSec=1s\nRestart=no");
    assert!(!unit.machine.try_run(["systemctl", "start", &unit.name]).status.success());
    is(&unit, &[("Result", "timeout")]);
    assert!(unit.journal().contains("reception only permitted for main PID"), "{}", unit.journal());
}

#[test]
#[ignore = "needs root and systemd-nspawn"]
fn the_command_is_ready_and_its_end_is_the_unit_s() {
    let (unit, _) = unit("app-notify.service", "heard", "--init");
    let unit = unit.with("NotifyAccess=all");
    unit.systemctl("start");
    let first = command(&unit);
    says(&unit, &greeting(KEY.len(), &first));
    kill(&unit, "KILL", &first);
    eventually("it is started again", || unit.show("NRestarts") == "1");
    unit.becomes(&[("ActiveState", "active")]);
    assert_ne!(command(&unit), first);
    assert!(unit.journal().contains("status=9/KILL"), "{}", unit.journal());
    // With a code of its own, right after it was ready.
    let unit = unit.with("Restart=no").script("#!/bin/sh\nsystemd-notify --ready\nexit 42\n");
    unit.systemctl("stop");
    unit.begin();
    unit.becomes(&[("ActiveState", "failed"), ("Result", "exit-code"), ("ExecMainStatus", "42")]);
}

/// Counts how often it is told to end, and says so a while after the last time.
const COUNTER: &str = "#!/usr/bin/perl
$| = 1;
$SIG{TERM} = sub { $count += 1; };
system 'systemd-notify', '--ready' if $ENV{NOTIFY_SOCKET};
print \"ready\\n\";
while (1) { $left = select(undef, undef, undef, $count ? 0.5 : 3600); last if $count && $left == 0; }
print \"ended by $count\\n\";
exit 3;
";

/// How often a command was told to end by `systemctl stop`.
fn told(unit: &Unit) -> String {
    unit.systemctl("start");
    says(unit, "ready\n");
    unit.systemctl("stop");
    let journal = unit.journal();
    let line =
        journal.lines().rev().find(|line| line.starts_with("ended by ")).unwrap_or(&journal).to_owned();
    unit.machine.run(["journalctl", "--rotate"]);
    line
}

#[test]
#[ignore = "needs root and systemd-nspawn"]
fn stop_tells_the_command_once_with_kill_mode_mixed() {
    for (example, stem, settings) in [
        ("app.service", "mixed", "KillMode=mixed"),
        ("app-notify.service", "mixed2", "KillMode=mixed\nNotifyAccess=all\nWatchdogSec=0"),
    ] {
        let (unit, _) = unit(example, stem, "--init");
        let unit = unit.with(settings).script(COUNTER);
        assert_eq!(told(&unit), "ended by 1", "{example}: {}", unit.journal());
        is(&unit, &[("ExecMainStatus", "3"), ("NRestarts", "0")]);
    }
}

#[test]
#[ignore = "needs root and systemd-nspawn"]
fn stop_tells_the_command_twice_with_the_default_kill_mode() {
    let (unit, _) = unit("app.service", "everyone", "--init");
    let unit = unit.script(COUNTER);
    // Two that meet in the queue are one.
    eventually("twice", || told(&unit) == "ended by 2");
}

#[test]
#[ignore = "needs root and systemd-nspawn"]
fn the_watchdog_watches_the_command_and_not_us() {
    let (unit, _) = unit("app-notify.service", "guarded", "--init");
    let unit = unit.with("NotifyAccess=all\nWatchdogSec=2s");
    unit.systemctl("start");
    let pid = command(&unit);
    is_seen_for_long(&unit);
    assert_eq!(command(&unit), pid);
    is(&unit, &[("NRestarts", "0")]);
    kill(&unit, "STOP", &pid);
    eventually("it is started again", || unit.show("NRestarts") != "0");
    unit.becomes(&[("ActiveState", "active")]);
    assert_ne!(command(&unit), pid);
    assert!(unit.journal().contains("Watchdog timeout"), "{}", unit.journal());
}

/// Twice as long as a watchdog of 2 s has patience.
fn is_seen_for_long(unit: &Unit) {
    let seen = || unit.show("WatchdogTimestampMonotonic").parse::<u64>().unwrap();
    let began = seen();
    eventually("it was seen for twice as long", || seen() > began + 4_000_000);
}

#[test]
#[ignore = "needs root and systemd-nspawn"]
fn a_socket_of_systemd_is_served_by_the_command() {
    let (unit, _) = unit("app-socket.service", "served", "--init");
    unit.add("app-socket.socket");
    unit.reload();
    unit.machine.run(["systemctl", "start", "served-socket.socket"]);
    let mut said = String::new();
    let mut client = UnixStream::connect(unit.machine.path("/run/served.sock")).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.read_to_string(&mut said).unwrap();
    assert_eq!(said, greeting(KEY.len(), &command(&unit)));
}

/// The word of the new command counts as that of the old one did: the watchdog goes on.
#[test]
#[ignore = "needs root and systemd-nspawn"]
fn a_change_replaces_the_command_of_an_active_unit() {
    let (unit, secret) = unit("app-notify.service", "rotated", "--watch=1s");
    let unit = unit.with("NotifyAccess=all\nKillMode=mixed\nWatchdogSec=2s");
    unit.systemctl("start");
    let [main, since] = ["MainPID", "ActiveEnterTimestampMonotonic"].map(|property| unit.show(property));
    let first = command(&unit);
    unit.scenario.vault.owner().update_secret(secret, "twenty bytes long...");
    says(&unit, "API_KEY has 20 bytes");
    let second = command(&unit);
    assert_ne!(second, first);
    says(&unit, &greeting(20, &second));
    is_seen_for_long(&unit);
    is(&unit, &[("MainPID", &main), ("NRestarts", "0"), ("ActiveEnterTimestampMonotonic", &since)]);
    unit.systemctl("stop");
    is(&unit, &[("Result", "success")]);
}

#[test]
#[ignore = "needs root and systemd-nspawn"]
fn a_change_lets_systemd_start_the_unit_again() {
    for (example, stem, settings) in
        [("app.service", "exiting", ""), ("app-notify.service", "exiting2", "NotifyAccess=all")]
    {
        let (unit, secret) = unit(example, stem, "--watch=1s --on-change=exit");
        let unit = unit.with(settings);
        unit.systemctl("start");
        says(&unit, &format!("API_KEY has {} bytes", KEY.len()));
        unit.scenario.vault.owner().update_secret(secret, "twenty bytes long...");
        says(&unit, "API_KEY has 20 bytes");
        is(&unit, &[("ActiveState", "active"), ("NRestarts", "1")]);
        assert!(unit.journal().contains("status=75"), "{}", unit.journal());
    }
}
