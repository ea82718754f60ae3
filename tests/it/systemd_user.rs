//! `--user` in a unit: the token's file is root's, and the service is somebody who can never read it.

use crate::support::eventually;
use crate::support::nspawn::{Machine, Unit, vault};
use crate::support::vault::Endpoint;

const KEY: &str = "sixteen bytes...";

/// The example, for a user of the unit's own name.
fn unit(stem: &str) -> Unit {
    let machine = Machine::shared();
    machine.run(["useradd", "--system", stem]);
    let unit = Unit::new(machine, "app-user.service", stem, vault().secret("API_KEY", KEY));
    machine.run(["chmod", "400", &token_file(&unit)]);
    unit
}

fn token_file(unit: &Unit) -> String {
    format!("/etc/{}/bws-access-token", unit.stem)
}

/// Says whether it can read the token, then stays.
const READER: &str = "#!/bin/sh
[ -r TOKEN ] && echo \"it can read the token\"
echo \"API_KEY has ${#API_KEY} bytes, HOME is $HOME\"
exec sleep infinity
";

fn reads_no_token(unit: &Unit) {
    unit.systemctl("start");
    let pid = unit.runs("/usr/bin/sleep");
    let said = format!("API_KEY has {} bytes, HOME is /home/{}", KEY.len(), unit.stem);
    eventually(&format!("{said}: {}", unit.journal()), || unit.journal().contains(&said));
    assert!(!unit.journal().contains("it can read"), "{}", unit.journal());
    is_nobody_special(unit, &pid);
}

/// The user in every id, without a capability.
fn is_nobody_special(unit: &Unit, pid: &str) {
    let id = |what| unit.machine.run(["id", what, &unit.stem]).trim().to_owned();
    let (uid, gid) = (id("-u"), id("-g"));
    let status = unit.machine.run(["cat", &format!("/proc/{pid}/status")]);
    let line = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":"));
        line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("Uid"), [uid.as_str(); 4].join(" "));
    assert_eq!(line("Gid"), [gid.as_str(); 4].join(" "));
    assert_eq!(line("Groups"), gid);
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(line(set), "0000000000000000", "{set}");
    }
    assert_eq!(line("NoNewPrivs"), "1");
}

#[test]
#[ignore = "needs root and systemd-nspawn"]
fn the_service_is_its_user_and_cannot_read_the_token() {
    let unit = unit("lowly").script(&READER.replace("TOKEN", "/etc/lowly/bws-access-token"));
    reads_no_token(&unit);
    let stat = ["stat", "-c", "%a %U", "/etc/lowly/bws-access-token", "/var/cache/lowly-user"];
    assert_eq!(unit.machine.run(stat), "400 root\n700 root\n", "neither token nor copy");
    assert_eq!(unit.scenario.vault.count(Endpoint::Login), 1);
}

/// A unit without `User=` has its credentials as root's.
#[test]
#[ignore = "needs root and systemd-nspawn"]
fn a_credential_is_kept_from_the_user_too() {
    let unit = unit("sealed")
        .script(&READER.replace("TOKEN", "/run/credentials/sealed-user.service/bws-access-token"));
    let unit = unit.with(
        "LoadCredential=bws-access-token:/etc/sealed/bws-access-token
ExecStart=
ExecStart=/usr/bin/bws-exec --user=sealed -- /usr/local/bin/sealed",
    );
    reads_no_token(&unit);
}

#[test]
#[ignore = "needs root and systemd-nspawn"]
fn without_the_rights_to_become_the_user_nothing_is_started() {
    let unit = unit("powerless").with("CapabilityBoundingSet=\nCapabilityBoundingSet=CAP_CHOWN");
    unit.begin();
    unit.becomes(&[("ActiveState", "failed"), ("ExecMainStatus", "125"), ("NRestarts", "0")]);
    assert!(unit.journal().contains("bws-exec: error[user]: "), "{}", unit.journal());
    assert_eq!(unit.scenario.vault.count(Endpoint::Login), 0);
}

/// What the example says about capabilities: signals for somebody else's process take CAP_KILL, and files that are to be
/// somebody else's take CAP_CHOWN.
#[test]
#[ignore = "needs root and systemd-nspawn"]
fn with_init_and_a_file_it_takes_two_capabilities_more() {
    let script = "#!/bin/sh\ntrap 'echo told to end; exit 3' TERM
stat -L -c 'the file has %s bytes, is of %U' \"$KEY_FILE\"\nwhile :; do sleep 1; done\n";
    let unit = unit("waited").script(script).with(
        "CapabilityBoundingSet=CAP_KILL CAP_CHOWN
KillMode=mixed
SuccessExitStatus=
ExecStart=
ExecStart=/usr/bin/bws-exec --init --kill-after=0 --user=waited --file=KEY_FILE=API_KEY --access-token-file=/etc/waited/bws-access-token -- /usr/local/bin/waited",
    );
    unit.systemctl("start");
    let said = format!("the file has {} bytes, is of waited", KEY.len());
    eventually(&format!("{said}: {}", unit.journal()), || unit.journal().contains(&said));
    assert_eq!(
        unit.machine.run(["readlink", &format!("/proc/{}/exe", unit.show("MainPID"))]),
        "/usr/bin/bws-exec\n"
    );
    unit.systemctl("stop");
    assert_eq!(unit.show("ExecMainStatus"), "3", "{}", unit.journal());
}
