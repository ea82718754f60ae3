//! What a machine keeps of its units, searched for what must not be there.

use crate::support::core_pattern::CorePattern;
use crate::support::nspawn::{Machine, Unit, vault};
use crate::support::vault::{Endpoint, Fault, Where};
use crate::support::{eventually, script};

/// Found nowhere but in a secret; each with a name of its own.
fn canary(name: &str) -> String {
    format!("canary-5f1d93c8-{name}-in-a-coal-mine")
}

fn unit(example: &str, stem: &str) -> Unit {
    Unit::new(Machine::shared(), example, stem, vault().secret("API_KEY", canary(stem)))
}

/// Neither the value nor a half of the token.
#[track_caller]
fn left_nothing(unit: &Unit) {
    let (left, key) = unit.scenario.token.rsplit_once(':').unwrap();
    let client_secret = left.rsplit_once('.').unwrap().1;
    let found = unit.machine.traces(&[&canary(&unit.stem), client_secret, key]);
    assert_eq!(found, [] as [&str; 0], "{}", unit.name);
}

/// The search finds what is there: in a log, in a unit.
#[test]
#[ignore = "needs root and systemd-nspawn"]
fn the_search_finds_what_is_there() {
    let told = unit("app.service", "told").script("#!/bin/sh\necho \"$API_KEY\"\nexec sleep infinity\n");
    told.systemctl("start");
    told.runs("/usr/bin/sleep");
    eventually("it has spoken", || told.journal().contains(&canary("told")));
    let found = told.machine.traces(&[&canary("told")]);
    assert_eq!(found, ["journal", "journal's files", "systemctl status"]);

    let shown = unit("app.service", "shown").with(&format!("Environment=PLANTED={}", canary("planted")));
    shown.systemctl("start");
    let found = shown.machine.traces(&[&canary("planted")]);
    assert_eq!(found, ["systemctl show", "the manager"]);
}

#[test]
#[ignore = "needs root and systemd-nspawn"]
fn a_service_leaves_nothing_from_its_start_to_its_end() {
    for example in ["app.service", "app-notify.service", "app-job.service"] {
        let stem = format!("quiet{}", example.len());
        let unit = unit(example, &stem).with("Environment=BWS_EXEC_DEADLINE=1s\nRestart=no");
        let text = unit.machine.run(["systemctl", "cat", &unit.name]);
        let command = text.lines().rfind(|line| line.starts_with("ExecStart=")).unwrap();
        let command = command.replace("--deadline=30s ", "").replace("bws-exec ", "bws-exec -v ");
        let unit = unit.with(&format!("ExecStart=\n{command}"));
        unit.begin();
        unit.runs(&unit.program());
        left_nothing(&unit);
        unit.systemctl("stop");
        // A server that is away, then one that refuses, neither with a copy to fall back to.
        unit.scenario.vault.fault(Where::Any, Fault::status(503));
        let fails = |status: &str| {
            unit.machine.run(["sh", "-c", &format!("rm -rf /var/cache/private/{}*", unit.stem)]);
            unit.begin();
            unit.becomes(&[("ActiveState", "failed"), ("ExecMainStatus", status)]);
        };
        fails("75");
        unit.scenario.vault.clear_faults();
        unit.scenario.vault.owner().revoke_token(&unit.scenario.token);
        fails("125");
        assert!(unit.journal().contains("bws-exec: error["), "it has spoken: {}", unit.journal());
        left_nothing(&unit);
    }
}

/// systemd-coredump of the machine. The kernel would start the host's, whatever crashes.
fn to_coredump(machine: &Machine, directory: &std::path::Path) -> CorePattern {
    let handler = directory.join("handler");
    let leader = machine.leader;
    let text = format!(
        "#!/bin/sh
         [ \"$(readlink /proc/$1/ns/pid)\" = \"$(readlink /proc/{leader}/ns/pid)\" ] || exec cat >/dev/null
         shift
         exec /usr/bin/nsenter --target={leader} --mount --uts --ipc --pid --cgroup --root --wdns=/ \
           /lib/systemd/systemd-coredump \"$@\"\n"
    );
    script(&handler, &text);
    CorePattern::set(&format!("|{} %P %p %u %g %s %t %c %h", handler.display()))
}

/// A crash of its own, and one by the watchdog; and a third that is allowed to, by which the search is known
/// to find what lies in dumps and in what the journal says of them.
#[test]
#[ignore = "needs root and systemd-nspawn"]
fn a_crash_leaves_nothing() {
    let machine = Machine::shared();
    let directory = tempfile::tempdir().unwrap();
    let _pattern = to_coredump(machine, directory.path());
    let crashing = |stem: &str| {
        let crash = "#!/bin/sh\ncopy=$API_KEY\nkill -ABRT $$\n";
        unit("app.service", stem).script(crash).with("LimitCORE=infinity\nRestart=no\nSystemCallFilter=")
    };
    let quiet = crashing("crashed");
    quiet.begin();
    quiet.becomes(&[("Result", "signal"), ("ExecMainStatus", "6")]);
    let hung = unit("app-notify.service", "hung").with("LimitCORE=infinity\nWatchdogSec=1s\nRestart=no");
    hung.systemctl("start");
    machine.run(["systemctl", "kill", "--signal=STOP", &hung.name]);
    hung.becomes(&[("ActiveState", "failed")]);

    let allowed = crashing("allowed");
    let allowed =
        allowed.with("ExecStart=\nExecStart=/usr/bin/bws-exec --allow-core -- /usr/local/bin/allowed");
    allowed.begin();
    allowed.becomes(&[("Result", "core-dump")]);
    eventually("its dump is stored", || !machine.run(["sh", "-c", "coredumpctl --quiet || true"]).is_empty());
    let found = machine.traces(&[&canary("allowed")]);
    for place in ["journal", "core dumps"] {
        assert!(found.contains(&place), "{found:?}");
    }
    left_nothing(&quiet);
    left_nothing(&hung);
    assert_eq!(hung.scenario.vault.count(Endpoint::Login), 1);
}
