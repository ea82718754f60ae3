//! `--init`: orphans, our own death, what the command finds and what we keep.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::supervise::{child, scenario, staying};
use crate::support::proc::{self, Surroundings};
use crate::support::{Running, eventually};
use crate::transparent::{all, unusual};

/// A child that its parent does not reap, and a grandchild whose parent has ended. Their numbers go to stdout.
const FAMILY: &str = r#"
$| = 1;
my $unreaped = fork // die; exit 0 unless $unreaped;
my $between = fork // die;
unless ($between) { my $orphan = fork // die; if ($orphan) { print "$unreaped $orphan\n"; exit } sleep 1000; exit }
waitpid $between, 0;
sleep 1000;
"#;

#[track_caller]
fn orphans_are_reaped(running: Running, log: &std::path::Path, launcher: impl Fn(&Running) -> i32) {
    let numbers = || -> Vec<i32> {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        text.split_whitespace().map(|number| number.parse().unwrap()).collect()
    };
    eventually("the family is there", || numbers().len() == 2);
    let [unreaped, orphan] = numbers()[..] else { unreachable!() };
    let launcher = launcher(&running);
    let mut seen = 0;
    eventually("the orphan is ours", || {
        let ours = proc::children(launcher);
        seen = outside(launcher, orphan).unwrap_or_default();
        ours.contains(&seen)
    });
    // SAFETY: a process that lives until this.
    unsafe { libc::kill(seen, libc::SIGKILL) };
    eventually("the orphan is reaped", || proc::state(seen).is_none());
    // "Not reaping" is no fault where the parent lives: tini#138.
    let unreaped = outside(launcher, unreaped).expect("it is there");
    assert_eq!(proc::state(unreaped).map(|(state, _)| state), Some('Z'));
}

/// The number here of a process below this one that calls itself so in its own namespace.
fn outside(root: i32, inner: i32) -> Option<i32> {
    let mut found = proc::children(root);
    let mut at = 0;
    while at < found.len() {
        found.extend(proc::children(found[at]));
        at += 1;
    }
    let calls_itself = |pid: &i32| {
        // Some of them end meanwhile.
        let status = String::from_utf8(proc::read(*pid, "status").unwrap_or_default()).unwrap();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:\t")).unwrap_or_default();
        numbers.split('\t').next_back() == Some(&inner.to_string())
    };
    found.into_iter().find(calls_itself)
}

#[test]
fn orphans_are_reaped_as_subreaper() {
    let (scenario, log) = (scenario(), tempfile::NamedTempFile::new().unwrap());
    let launch = staying(&scenario).descriptor(1, log.reopen().unwrap()).command(["perl", "-e", FAMILY]);
    orphans_are_reaped(redirected(launch, 1, &log), log.path(), Running::pid);
}

/// The harness gives pipes; a file takes their place.
fn redirected(launch: crate::support::Launch, number: i32, to: &tempfile::NamedTempFile) -> Running {
    let mut process = launch.launcher();
    if number == 1 {
        process.stdout(to.reopen().unwrap());
    }
    Running::new(process, None)
}

#[test]
#[ignore = "needs root"]
fn orphans_are_reaped_as_pid_1() {
    let (scenario, log) = (scenario(), tempfile::NamedTempFile::new().unwrap());
    let unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let launch = staying(&scenario).under(unshare).command(["perl", "-e", FAMILY]);
    orphans_are_reaped(redirected(launch, 1, &log), log.path(), |running| proc::children(running.pid())[0]);
}

#[test]
fn an_orphan_does_not_keep_us() {
    let scenario = scenario();
    let log = tempfile::NamedTempFile::new().unwrap();
    let script = "sleep 1000 >/dev/null 2>&1 & echo $!; exit 3";
    let outcome = redirected(staying(&scenario).command(["sh", "-c", script]), 1, &log).finish();
    assert_eq!(outcome.code(), Some(3));
    let orphan: i32 = std::fs::read_to_string(log.path()).unwrap().trim().parse().unwrap();
    // SAFETY: the test's own.
    assert_eq!(unsafe { libc::kill(orphan, libc::SIGKILL) }, 0, "it lives on");
}

#[test]
fn what_kills_us_kills_the_command() {
    let scenario = scenario();
    let running = staying(&scenario).command(["sh", "-c", "exec sleep 1000 >/dev/null 2>&1"]).start();
    let command = child(running.pid(), "sleep");
    running.signal(libc::SIGKILL);
    assert_eq!(running.finish().signal(), Some(libc::SIGKILL));
    eventually("the command is gone", || proc::state(command).is_none_or(|(state, _)| state == 'Z'));
}

#[test]
fn only_the_family_is_different() {
    let (scenario, file) = (scenario(), tempfile::tempfile().unwrap());
    let sleep = ["sleep", "1000"];
    let launch = || unusual(&scenario, &file).option("--allow-core").command(sleep);
    let direct = Running::new(launch().direct(), None).asleep_in("sleep");
    let staying = launch().option("--init").start();
    let command = child(staying.pid(), "sleep");
    eventually("it sleeps", || proc::state(command).is_some_and(|(state, _)| state == 'S'));
    let differences = Surroundings::of(command).differences(&Surroundings::of(direct.pid()));
    let us = Some(staying.pid().to_string());
    let expected: BTreeMap<String, _> = [("NSsid", us.clone()), ("PPid", us.clone()), ("session", us)]
        .into_iter()
        .map(|(name, here)| {
            let there = if name == "PPid" { std::process::id().to_string() } else { "self".into() };
            (name.to_owned(), (here, Some(there)))
        })
        .collect();
    assert_eq!(differences, expected);
}

#[test]
fn dispositions_and_masks_arrive_as_inherited() {
    use std::os::unix::process::CommandExt;
    let scenario = scenario();
    let really_all: Vec<i32> = (1..=64).filter(|&n| n != libc::SIGKILL && n != libc::SIGSTOP).collect();
    for (ignored, blocked) in
        [(vec![], vec![]), (all(), vec![]), (vec![], really_all), (vec![libc::SIGCHLD], vec![libc::SIGCHLD])]
    {
        let mut process = staying(&scenario).command(["cat", "/proc/self/status"]).launcher();
        let wanted = ignored.clone();
        let mask = blocked.iter().fold(0_u64, |mask, signal| mask | 1 << (signal - 1));
        // SAFETY: signal is async-signal-safe, and the system call has a mask of the kernel's size.
        unsafe {
            process.pre_exec(move || {
                for &signal in &wanted {
                    libc::signal(signal, libc::SIG_IGN);
                }
                libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &mask, 0, size_of::<u64>());
                Ok(())
            });
        }
        let outcome = Running::new(process, None).finish();
        outcome.succeeded();
        assert_eq!(proc::signals(&outcome.text(), "SigIgn"), ignored);
        assert_eq!(proc::signals(&outcome.text(), "SigBlk"), blocked);
        assert_eq!(proc::signals(&outcome.text(), "SigCgt"), [0; 0]);
    }
}

#[test]
fn closed_descriptors_stay_closed() {
    let scenario = scenario();
    let launch = staying(&scenario).under(["sh", "-c", "exec 0<&- 1>&- 2>&-; exec \"$@\"", "sh"]);
    let running = launch.command(["sleep", "1000"]).start();
    let command = child(running.pid(), "sleep");
    assert_eq!(proc::descriptors(command), BTreeMap::new());
}

/// A reader waits for the command's end of a pipe, and a port is free when the command has left it.
#[test]
fn we_hold_nothing_that_is_the_commands() {
    let scenario = scenario();
    let (mut read, write) = std::io::pipe().unwrap();
    let file = File::open("/etc/passwd").unwrap();
    let running = staying(&scenario)
        .descriptor(7, write)
        .descriptor(8, file)
        .options(["--map", "K=KEY", "--file", "F=KEY"])
        .command(["sh", "-c", "exec 7>&- >&- <&-; exec sleep 1000"])
        .start();
    let mut ended = [PollFd::new(read.as_fd(), PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(crate::support::PATIENCE).unwrap();
    assert_eq!(poll(&mut ended, patience), Ok(1), "nobody holds the other end");
    let mut nothing = Vec::new();
    read.read_to_end(&mut nothing).unwrap();
    child(running.pid(), "sleep");
    // It runs before we have let go.
    let ours = || proc::descriptors(running.pid());
    let null = |what: Option<&String>| what.is_some_and(|what| what.starts_with("/dev/null "));
    eventually("input and output are nobody's", || {
        let ours = ours();
        null(ours.get(&0)) && null(ours.get(&1))
    });
    eventually("nothing inherited is left", || {
        ours().into_iter().filter(|(fd, _)| *fd > 2).all(|(_, what)| {
            let flags = what.rsplit_once("flags:").unwrap().1.trim();
            i64::from_str_radix(flags, 8).unwrap() & i64::from(libc::O_CLOEXEC) != 0
        })
    });
    assert!(!ours().values().any(|what| what.contains("memfd")), "{:?}", ours());
}

fn variables(pid: i32, prefix: &[&str]) -> Vec<String> {
    let text = proc::text(pid, "environ");
    let wanted = |entry: &&str| prefix.iter().any(|prefix| entry.starts_with(prefix));
    let mut all: Vec<String> = text.split('\0').filter(wanted).map(str::to_owned).collect();
    all.sort();
    all
}

#[test]
fn variables_that_name_us_name_the_command() {
    let scenario = scenario();
    let names = ["LISTEN_", "WATCHDOG_", "SYSTEMD_EXEC_PID"];
    let shell = "export LISTEN_PID=$$ WATCHDOG_PID=$$ SYSTEMD_EXEC_PID=$$; exec \"$@\"";
    let launch = staying(&scenario).under(["sh", "-c", shell, "sh"]).env("LISTEN_FDS", "1");
    let running = launch.descriptor(3, tempfile::tempfile().unwrap()).command(["sleep", "1000"]).start();
    let command = child(running.pid(), "sleep");
    let expected = [
        "LISTEN_FDS=1".to_owned(),
        format!("LISTEN_PID={command}"),
        format!("SYSTEMD_EXEC_PID={command}"),
        format!("WATCHDOG_PID={command}"),
    ];
    assert_eq!(variables(command, &names), expected);
    assert!(proc::descriptors(command).contains_key(&3));
    // Another process's are none of our business.
    let launch = staying(&scenario).env("LISTEN_PID", "1").env("WATCHDOG_PID", "077");
    let running = launch.command(["sleep", "1000"]).start();
    let command = child(running.pid(), "sleep");
    assert_eq!(variables(command, &names), ["LISTEN_PID=1", "WATCHDOG_PID=077"]);
}

/// With `MAINPID=` systemd would take its eyes off the one process whose end it sees, and with `KillMode=mixed` kill
/// the command at once: it waits for its own children alone.
#[test]
fn what_systemd_is_told_it_is_told_by_the_command() {
    let scenario = scenario();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    let shell = "export SYSTEMD_EXEC_PID=$$; exec \"$@\"";
    let ready = "use Socket; socket my $s, AF_UNIX, SOCK_DGRAM, 0;
        send $s, \"READY=1\", 0, pack('Sa*', AF_UNIX, $ENV{NOTIFY_SOCKET}) or die $!";
    let launch = staying(&scenario).env("NOTIFY_SOCKET", &path).under(["sh", "-c", shell, "sh"]);
    launch.command(["perl", "-e", ready]).run().succeeded();
    let mut bytes = [0; 100];
    let length = socket.recv(&mut bytes).unwrap();
    assert_eq!(&bytes[..length], b"READY=1");
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut bytes).is_err(), "and nothing else");
}

#[test]
fn the_status_descriptor_tells_start_and_end() {
    let scenario = scenario();
    for (script, end) in
        [("exit 3", r#"{"exit_code":3,"phase":"end"}"#), ("kill -TERM $$", r#"{"phase":"end","signal":15}"#)]
    {
        let (mut read, write) = std::io::pipe().unwrap();
        let running = staying(&scenario)
            .options(["--status-fd", "9"])
            .descriptor(9, write)
            .command(["sh", "-c", &format!("echo $$; {script}")])
            .start();
        let outcome = running.finish();
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        let lines: Vec<&str> = text.lines().rev().collect();
        assert_eq!(lines[0], end);
        assert_eq!(lines[1], format!(r#"{{"phase":"spawn","pid":{}}}"#, outcome.text().trim()));
    }
}
