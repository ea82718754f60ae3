//! Where the socket of `--container=socket` is put, and what becomes of such places.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::{UnixDatagram, UnixListener};

use crate::support::containers::{Case, Gate, SAY, socket};
use crate::support::docker::BASE;
use crate::support::eventually;

/// Directories of runs that were killed with their helpers, and of no other.
#[test]
#[ignore = "needs docker"]
fn what_killed_runs_left_behind_is_removed() {
    let case = Case::new("left");
    let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
    let place = |name: &str| {
        let directory = runtime.path().join(name);
        fs::create_dir(&directory).unwrap();
        directory
    };
    let (dead, alive, others) = (place("bws-exec.dead"), place("bws-exec.alive"), place("other.dead"));
    drop(UnixListener::bind(dead.join("socket")).unwrap());
    fs::write(dead.join("cid"), "x").unwrap();
    drop(UnixListener::bind(others.join("socket")).unwrap());
    let listener = UnixListener::bind(alive.join("socket")).unwrap();
    listener.set_nonblocking(true).unwrap();
    let foreign = place("bws-exec.foreign");
    drop(UnixDatagram::bind(foreign.join("socket")).unwrap());
    std::os::unix::fs::chown(&foreign, Some(4711), None).unwrap();

    let gate = Gate::new("exit 0");
    let launch = case.run(&["--rm"], BASE, &SAY).env("PATH", gate.path());
    let running = launch.env("XDG_RUNTIME_DIR", runtime.path()).start();
    let ours = socket(&gate.words()).parent().unwrap().to_owned();
    assert_eq!(ours.parent(), Some(runtime.path()));
    assert!(!dead.exists());
    assert!(alive.exists() && others.exists() && foreign.exists());
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "not even asked");
    gate.open();
    eventually("ours goes by itself", || !ours.exists());
    running.finish();
}

/// Where somebody else may put another socket in the place of ours, the next directory is taken.
#[test]
#[ignore = "needs docker"]
fn directories_in_which_others_may_exchange_it() {
    use std::os::unix::fs::{PermissionsExt, chown};
    let case = Case::new("safe");
    let outer = tempfile::tempdir_in("/dev/shm").unwrap();
    let runtime = outer.path().join("runtime");
    fs::create_dir(&runtime).unwrap();
    let as_they_are = |(outer_mode, outer_owner): (u32, u32), (mode, owner): (u32, u32)| {
        for (directory, mode, owner) in [(outer.path(), outer_mode, outer_owner), (&runtime, mode, owner)] {
            chown(directory, Some(owner), Some(owner)).unwrap();
            fs::set_permissions(directory, fs::Permissions::from_mode(mode)).unwrap();
        }
        let gate = Gate::new("exit 0");
        let launch = case.run(&["--rm"], BASE, &SAY).env("PATH", gate.path());
        let running = launch.env("XDG_RUNTIME_DIR", &runtime).start();
        let used = socket(&gate.words()).starts_with(&runtime);
        gate.open();
        running.finish().succeeded();
        used
    };
    let (ours, theirs) = (0, 4711);
    for (outer, runtime, safe) in [
        ((0o700, ours), (0o700, ours), true),
        ((0o755, ours), (0o755, ours), true),
        ((0o1777, ours), (0o1777, ours), true),
        ((0o755, ours), (0o777, ours), false),
        ((0o755, ours), (0o770, ours), false),
        ((0o755, ours), (0o700, theirs), false),
        ((0o755, ours), (0o1777, theirs), false),
        ((0o755, theirs), (0o700, ours), false),
        ((0o777, ours), (0o700, ours), false),
        ((0o1777, ours), (0o755, theirs), false),
    ] {
        assert_eq!(as_they_are(outer, runtime), safe, "{outer:?} {runtime:?}");
    }
}
