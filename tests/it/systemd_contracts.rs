//! What services rely on, seen by a real systemd: the main process is the command, and all that systemd gives
//! a main process has arrived.

use crate::support::eventually;
use crate::support::nspawn::{Machine, Unit, vault};
use crate::support::vault::{Endpoint, Fault};

const KEY: &str = "sixteen bytes...";

fn unit(example: &str, stem: &str) -> Unit {
    Unit::new(Machine::shared(), example, stem, vault().secret("API_KEY", KEY))
}

/// What the service says of itself.
fn answer(pid: &str) -> String {
    format!("API_KEY has {} bytes, I am {pid}\n", KEY.len())
}

#[test]
#[ignore = "needs root and systemd-nspawn"]
fn the_main_process_is_the_command() {
    let unit = unit("app.service", "plain");
    unit.systemctl("start");
    let pid = unit.runs(&unit.program());
    eventually("it has its secret", || unit.journal().contains(&answer(&pid)));
    let processes = unit.machine.run(["sh", "-c", "cat /sys/fs/cgroup/system.slice/plain.service/cgroup.procs"]);
    assert_eq!(processes, format!("{pid}\n"), "nobody else is there");
}
