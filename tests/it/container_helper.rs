//! The helper of `--container=socket`: whose it is, how long it stays, and what it leaves behind.

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::support::containers::{Case, Gate, SAY, socket};
use crate::support::docker::BASE;
use crate::support::{BINARY, Launch, Running, eventually, proc};

/// A user who may use the engine, and is not root. Nobody reads the helper's memory, that user's other
/// processes neither.
#[test]
#[ignore = "needs docker"]
fn a_user_of_the_engine() {
    const USER: u32 = 4711;
    let case = Case::new("user");
    let place = tempfile::tempdir().unwrap();
    let mut copy = std::process::Command::new("sh");
    let readable = "chmod 755 .; install -m 755 \"$1\" bws-exec; chmod 644 \"$2\"; chmod 711 \"$3\"";
    copy.args(["-euc", readable, "sh", BINARY]).arg(case.scenario.vault.ca_file());
    let copied = copy.arg(&case.docker.directory).current_dir(place.path()).status().unwrap();
    assert!(copied.success());
    // What membership in the group `docker` gives.
    std::os::unix::fs::chown(case.docker.directory.join("socket"), None, Some(USER)).unwrap();
    let gate = Gate::new("exec docker \"$@\"");
    std::os::unix::fs::chown(gate.directory.path(), Some(USER), None).unwrap();
    let as_user = ["setpriv", &format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups"];
    let cidfile = gate.directory.path().join("cid");
    let options = ["--rm", "--cidfile", cidfile.to_str().unwrap()];
    let launch =
        case.run(&options, BASE, &["sh", "-c", "echo $CANARY; cat"]).binary(place.path().join("bws-exec"));
    let launch = launch.env("PATH", gate.path()).env("HOME", "/").under(as_user).env("XDG_RUNTIME_DIR", "/x");
    let running = launch.start();
    let socket = socket(&gate.words());

    let helpers: Vec<i32> = processes().filter(|&pid| is_helper(pid, USER)).collect();
    assert_eq!(helpers.len(), 1, "{helpers:?}");
    let helper = helpers[0];
    let read = move || {
        // SAFETY: the system call itself, which changes this thread alone.
        assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, USER, USER, USER) }, 0);
        ["environ", "mem", "maps"].map(|file| proc::read(helper, file).map_err(|error| error.kind()))
    };
    let read = std::thread::spawn(read).join().unwrap();
    assert!(read.iter().all(|file| matches!(file, Err(std::io::ErrorKind::PermissionDenied))), "{read:?}");
    assert_eq!(proc::descriptors(helper).len(), 5, "null, null, stderr, the socket, the client");

    gate.open();
    let outcome = running.finish();
    assert_eq!((outcome.text().trim_end(), outcome.stderr.as_str()), (case.canary.as_str(), ""));
    assert_eq!(fs::read(cidfile).unwrap().len(), 64, "where it was asked for");
    eventually("nothing is left", || !socket.exists() && proc::state(helper).is_none());
}

fn processes() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn is_helper(pid: i32, user: u32) -> bool {
    let status = String::from_utf8_lossy(&proc::read(pid, "status").unwrap_or_default()).into_owned();
    status.starts_with("Name:\tbws-exec\n") && status.contains(&format!("\nUid:\t{user}\t"))
}

/// A client that ends at once says nothing about a container that takes its time.
#[test]
#[ignore = "needs docker"]
fn in_the_background_and_late() {
    let case = Case::new("late");
    let gate = detached();
    let launch = case.run(&["-d"], BASE, &SAY).env("PATH", gate.path());
    let running = launch.start();
    let directory = socket(&gate.words()).parent().unwrap().to_owned();
    gate.open();
    let outcome = running.finish();
    outcome.succeeded();
    let id = outcome.text().trim_end().to_owned();
    assert_eq!(case.docker.run(["start", "-a", &id]), case.canary);
    eventually("nothing is left", || !directory.exists());
    case.docker.run(["rm", &id]);
}

/// A container that never asks, though it and the client are there.
#[test]
#[ignore = "needs docker"]
fn the_offer_ends_after_half_a_minute() {
    let case = Case::new("never");
    let gate = Gate::new("shift; docker create \"$@\"; read _ <\"${0%/*}/gate\"");
    let running = case.run(&["--name", "bws-never"], BASE, &SAY).env("PATH", gate.path()).start();
    let directory = socket(&gate.words()).parent().unwrap().to_owned();
    gate.open();
    eventually("it is over", || !directory.exists());
    gate.open();
    let outcome = running.finish();
    let warning = "bws-exec: warning: the container did not ask for its environment within 30s\n";
    assert_eq!(outcome.stderr, warning);
    assert!(outcome.took.as_secs() >= 30, "{:?}", outcome.took);
    assert!(!case.docker.try_run(["start", "-a", "bws-never"]).status.success());
    case.docker.run(["rm", "bws-never"]);
}

/// The helper ends with the client, and is no child of it. The client itself has no value either.
#[test]
#[ignore = "needs docker"]
fn nothing_of_ours_stays() {
    let case = Case::new("stays");
    let gate = Gate::new("cat /proc/self/environ; exit 3");
    let running = case.run(&["--rm"], BASE, &SAY).env("PATH", gate.path()).start();
    let directory = socket(&gate.words()).parent().unwrap().to_owned();
    assert!(
        proc::children(running.pid())
            .iter()
            .all(|&child| proc::state(child).is_none_or(|(_, name)| name != "bws-exec"))
    );
    gate.open();
    eventually("the helper has ended and cleaned up", || !directory.exists());
    let outcome = running.finish();
    assert_eq!(outcome.code(), Some(3), "the client's own code");
    assert!(
        outcome.text().contains("DOCKER_HOST=")
            && !outcome.text().contains("BWS_")
            && !outcome.text().contains(&case.canary)
    );
}

/// A client that is killed takes the offer with it.
#[test]
#[ignore = "needs docker"]
fn the_offer_ends_with_the_client() {
    let case = Case::new("killed");
    let gate = Gate::new("exit 0");
    let running = case.run(&["--rm"], BASE, &SAY).env("PATH", gate.path()).start();
    let directory = socket(&gate.words()).parent().unwrap().to_owned();
    running.signal(libc::SIGKILL);
    // It would keep stderr open, which the end of a run waits for.
    eventually("the helper has ended and cleaned up", || !directory.exists());
    running.finish();
}

/// The process that holds the socket of this path.
fn holder(socket: &Path) -> i32 {
    let list = fs::read_to_string("/proc/net/unix").unwrap();
    let line = list.lines().find(|line| line.ends_with(socket.to_str().unwrap())).expect("it is bound");
    let link = format!("socket:[{}] ", line.split_whitespace().nth(6).unwrap());
    let holds = |pid: &i32| {
        proc::path(*pid, "exe").read_link().is_ok_and(|exe| exe == Path::new(BINARY))
            && proc::descriptors(*pid).values().any(|target| target.starts_with(&link))
    };
    processes().find(holds).expect("somebody holds it")
}

/// Takes what it is given a little at a time.
const SLOW: &str = r#"
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(void) {
  struct sockaddr_un address = {AF_UNIX, "/.bws-exec.sock"};
  char little[1024];
  int peer = socket(AF_UNIX, SOCK_STREAM, 0);
  if (connect(peer, (struct sockaddr *)&address, sizeof address) || read(peer, little, sizeof little) <= 0) return 1;
  puts("begun");
  fflush(stdout);
  while (read(peer, little, sizeof little) > 0) usleep(100000);
  for (;;) pause();
}
"#;

/// A container with that program in the place of the inner copy. Of much to give, most waits in the helper.
struct Slow {
    case: Case,
    gate: Gate,
    directory: tempfile::TempDir,
}

impl Slow {
    fn new(name: &str) -> Self {
        let mut case = Case::new(name);
        for number in 0..8 {
            case.scenario = case.scenario.secret(&format!("LARGE_{number}"), "x".repeat(100_000));
        }
        let directory = tempfile::tempdir().unwrap();
        let mut make = std::process::Command::new("sh");
        make.args(["-euc", "printf %s \"$1\" >slow.c; cc -static -o slow slow.c", "sh", SLOW]);
        assert!(make.current_dir(directory.path()).status().unwrap().success(), "gcc is installed");
        let gate = Gate::new(
            "for word; do shift; [ \"$word\" = /.bws-exec ] && word=/slow; set -- \"$@\" \"$word\"; done
            exec docker \"$@\"",
        );
        Self { case, gate, directory }
    }

    /// The client, once the program has something, and the helper's directory.
    fn start(&self, name: &str) -> (Running, PathBuf) {
        let source = self.directory.path().join("slow");
        let mount = format!("type=bind,source={},target=/slow,readonly", source.display());
        let launch = self.case.run(&["--name", name, "--mount", &mount], BASE, &SAY);
        let running = launch.env("PATH", self.gate.path()).start();
        let directory = socket(&self.gate.words()).parent().unwrap().to_owned();
        self.gate.open();
        eventually("it has begun", || self.case.docker.try_run(["logs", name]).stdout == b"begun\n");
        (running, directory)
    }
}

const CUT_SHORT: &str = "bws-exec: warning: the container did not take the whole of its environment\n";

/// However slowly it drains: half a minute after the container was made it is over.
#[test]
#[ignore = "needs docker"]
fn a_container_that_reads_slowly_gains_no_time() {
    let slow = Slow::new("slow");
    let began = std::time::Instant::now();
    let (running, directory) = slow.start("bws-slow");
    eventually("it is over", || !directory.exists());
    assert!((29..50).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    slow.case.docker.run(["rm", "-f", "bws-slow"]);
    assert_eq!(running.finish().stderr, CUT_SHORT);
}

/// The client's end is the end of a slow hand-over as well.
#[test]
#[ignore = "needs docker"]
fn a_container_that_reads_slowly_and_a_client_that_ends() {
    let slow = Slow::new("slower");
    let began = std::time::Instant::now();
    let (running, directory) = slow.start("bws-slower");
    running.signal(libc::SIGKILL);
    eventually("it is over", || !directory.exists());
    assert!(began.elapsed().as_secs() < 25, "{:?}", began.elapsed());
    assert_eq!(running.finish().stderr, CUT_SHORT);
    slow.case.docker.run(["rm", "-f", "bws-slower"]);
}

/// A client that makes the container and ends before it is started.
fn detached() -> Gate {
    // run --network none -d, of which create does not know the last.
    Gate::new("shift 4; exec docker create --network none \"$@\"")
}

/// The end of a unit or of a session signals all processes that are left of it.
#[test]
#[ignore = "needs docker"]
fn what_ends_a_unit_does_not_end_it() {
    let (case, gate) = (Case::new("unit"), detached());
    let running = case.run(&["-d"], BASE, &SAY).env("PATH", gate.path()).start();
    let socket = socket(&gate.words());
    let helper = holder(&socket);
    let signals = [libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGQUIT];
    let signal = |signal| {
        // SAFETY: a process that is there, for it holds a socket that is there.
        assert_eq!(unsafe { libc::kill(helper, signal) }, 0);
    };
    signals.into_iter().for_each(signal);
    gate.open();
    let outcome = running.finish();
    let id = outcome.succeeded().text();
    signals.into_iter().for_each(signal);
    assert_eq!(case.docker.run(["start", "-a", id.trim_end()]), case.canary);
    eventually("nothing is left", || !socket.exists() && proc::state(helper).is_none());
    case.docker.run(["rm", id.trim_end()]);
}

/// Its words behind the client's end: in a file and in the journal, and never in what a caller waits for the end of.
#[test]
#[ignore = "needs docker"]
fn its_words_when_the_client_has_ended() {
    const REFUSED: &str =
        "bws-exec: warning: a process that is not the container asked for its environment and got nothing\n";
    let case = Case::new("words");
    let refused = |launch: Launch, gate: Gate| {
        let running = launch.env("PATH", gate.path()).start();
        let socket = socket(&gate.words());
        gate.open();
        let outcome = running.finish();
        assert_eq!((outcome.code(), outcome.stderr.as_str()), (Some(0), ""));
        let mut peer = UnixStream::connect(&socket).unwrap();
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
        let id = outcome.text().trim_end().to_owned();
        assert_eq!(case.docker.run(["start", "-a", &id]), case.canary);
        eventually("nothing is left", || !socket.exists());
        case.docker.run(["rm", &id]);
    };
    let launch = || case.run(&["-d"], BASE, &SAY);

    let file = tempfile::NamedTempFile::new().unwrap();
    refused(launch().descriptor(2, file.reopen().unwrap()), detached());
    assert_eq!(fs::read_to_string(file.path()).unwrap(), REFUSED);

    for is_the_journal in [true, false] {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let status = nix::sys::stat::fstat(&theirs).unwrap();
        let number = if is_the_journal { status.st_ino } else { status.st_ino + 1 };
        let launch = launch().env("JOURNAL_STREAM", format!("{}:{number}", status.st_dev));
        refused(launch.descriptor(2, theirs), detached());
        let mut said = String::new();
        ours.read_to_string(&mut said).unwrap();
        assert_eq!(said, if is_the_journal { REFUSED } else { "" });
    }
}

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
