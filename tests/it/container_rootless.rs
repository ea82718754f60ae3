//! `--container` with podman of a user who is not root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::containers::{SAY_AND_GROUPS, canary, is_named_by_version_2_alone};
use crate::support::docker::{self, UNIFIED};
use crate::support::{BINARY, Outcome, Scenario};

/// In a mount namespace: a tmpfs with the user's home and runtime directory, the user in passwd and with a range of
/// ids, and a control group of the user's own. Then the rest as that user, and all of it away.
const WORLD: &str = r#"
cd "$1"; kind=$2; shift 2
mount -t tmpfs -o mode=755 none . && cd "$PWD" && mkdir home run
chmod 700 run; chown 4711:4711 home run
for file in passwd group subuid subgid; do
  cat /etc/$file >$file 2>/dev/null || :; touch /etc/$file
done
echo 'rootless:x:4711:4711::/:/bin/sh' >>passwd
echo 'rootless:x:4711:' >>group
for file in subuid subgid; do echo rootless:300000:65536 >>$file; done
for file in passwd group subuid subgid; do chmod 644 $file; mount --bind $file /etc/$file; done
groups=
if [ "$kind" = unified ]; then
  UNIFIED
  groups=/sys/fs/cgroup/bws-exec-test.$$
  mkdir -p $groups/user; chown -R 4711:4711 $groups; echo $$ >$groups/user/cgroup.procs
else
  umount --recursive --lazy /sys/fs/cgroup
  mount -t tmpfs none /sys/fs/cgroup && mkdir /sys/fs/cgroup/systemd /sys/fs/cgroup/devices
  mount -t cgroup -o none,name=systemd none /sys/fs/cgroup/systemd
  mount -t cgroup -o devices none /sys/fs/cgroup/devices
fi
code=0
setpriv --reuid=4711 --regid=4711 --clear-groups env HOME="$PWD/home" XDG_RUNTIME_DIR="$PWD/run" "$@" || code=$?
if [ "$groups" ]; then
  echo $$ >/sys/fs/cgroup/cgroup.procs
  until find $groups -depth -type d -exec rmdir {} +; do sleep 0.1; done 2>/dev/null
fi
exit $code
"#;

/// The image, the run, and the end of the process that keeps podman's namespaces.
const SESSION: &str = r#"
podman() { command podman --storage-driver vfs --cgroup-manager cgroupfs --runtime runc --events-backend file "$@"; }
podman import -q "$1" bws-exec-base:1 >/dev/null 2>&1; shift
code=0; "$@" || code=$?
podman system migrate >/dev/null 2>&1
exit $code
"#;

fn run(scenario: &Scenario, kind: &str) -> Outcome {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = |name: &str| place.path().join(name).display().to_string();
    fs::create_dir(path("world")).unwrap();
    docker::tree(&place.path().join("base"));
    let mut copy = Command::new("sh");
    let prepare = "install -m 755 \"$1\" bws-exec; chmod 644 \"$2\"; tar -C base -c . >base.tar";
    copy.args(["-euc", prepare, "sh", BINARY]).arg(scenario.vault.ca_file()).current_dir(place.path());
    assert!(copy.status().unwrap().success());

    let world = WORLD.replace("UNIFIED", UNIFIED);
    let wrapper = ["unshare", "--mount", "sh", "-euc", &world, "sh", &path("world"), kind];
    let session = ["sh", "-euc", SESSION, "sh", &path("base.tar")];
    let words = ["podman", "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--runtime", "runc"];
    let run = ["--events-backend", "file", "run", "--rm", "--network", "none", "--cgroupns", "host"];
    let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--pids-limit", "0"];
    let command = ["localhost/bws-exec-base:1", "sh", "-c", SAY_AND_GROUPS];
    let launch = scenario.launch().option("--container").binary(path("bws-exec"));
    launch
        .command(words.iter().chain(&run).chain(&limits).chain(&command))
        .under(wrapper.iter().chain(&session))
        .run()
}

#[test]
#[ignore = "needs podman"]
fn values_by_socket() {
    let canary = canary("rootless");
    let scenario = Scenario::new().secret("CANARY", &canary);
    let outcome = run(&scenario, "unified");
    assert_eq!(outcome.code(), Some(0), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("bws-exec: "), "{}", outcome.stderr);
    is_named_by_version_2_alone(&outcome.text(), &canary);
}

/// Where version 2 is not mounted, such a podman makes no control group: nobody can tell the container from others.
#[test]
#[ignore = "needs podman"]
fn without_a_control_group_of_its_own() {
    let scenario = Scenario::new().secret("CANARY", canary("rootless"));
    let outcome = run(&scenario, "none");
    outcome.failed_with(125, "hand-over");
    let refused = "bws-exec: warning: a process that is not the container asked";
    assert!(outcome.stderr.contains(refused), "{}", outcome.stderr);
    assert_eq!(outcome.text(), "");
}
