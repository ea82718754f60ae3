//! The command finds everything as if it had been started without us.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::proc::{self, Surroundings};
use crate::support::{Launch, Running, Scenario, script};

const SLEEP: [&str; 2] = ["sleep", "1000"];

/// `sh`, which prints its whole argument vector, as the kernel has it, and leaves the rest alone.
const PRINT_ARGV: &str = "cat /proc/$$/cmdline; :";

fn scenario() -> Scenario {
    Scenario::new().secret("KEY", "value")
}

fn argv<I: AsRef<OsStr>>(words: impl IntoIterator<Item = I>) -> Vec<u8> {
    words.into_iter().flat_map(|word| [word.as_ref().as_bytes(), b"\0"].concat()).collect()
}

/// The surroundings of `sleep`, started by us and started without us.
fn wrapped_and_direct(launch: impl Fn() -> Launch, prepare: impl Fn(&mut Command)) -> [Surroundings; 2] {
    [launch().command(SLEEP).launcher(), launch().command(SLEEP).direct()].map(|mut process| {
        prepare(&mut process);
        let running = Running::new(process, None).asleep_in("sleep");
        Surroundings::of(running.pid())
    })
}

#[test]
fn arguments_reach_the_command_byte_for_byte() {
    let words: [&[u8]; 16] = [
        b"sh",
        b"-c",
        PRINT_ARGV.as_bytes(),
        b"two words",
        b"",
        b" ",
        b"'\"`\\",
        b"$HOME ${KEY} $(id) !*?",
        b"line\nline\ttab\r",
        b"\xff\xfe\x80",
        b"--allow-core",
        b"-t",
        b"--",
        b"--dry-run",
        b"-",
        b"",
    ];
    let words = words.map(OsStr::from_bytes);
    let outcome = scenario().launch().command(words).run();
    outcome.succeeded();
    assert_eq!(outcome.stdout, argv(words));
}

#[test]
fn options_after_the_command_are_the_commands_own() {
    let token_like =
        "0.ec2c1d46-6a4b-4751-a310-af9601317f2d.C2IgxjjLF7qSshsbwe8JGcbM075YXw:X8vbvA0bduihIDe/qrzIQQ==";
    let words = [
        "sh",
        "-c",
        PRINT_ARGV,
        "-t",
        token_like,
        "--access-token=x",
        "-q",
        "--",
        "-v",
        "--help",
        "--nonsense",
        "--",
        "--",
    ];
    // Without `--` in front, unlike everywhere else.
    let outcome = scenario().launch().options(words).run();
    outcome.succeeded();
    assert_eq!(outcome.stdout, argv(words));
}

#[test]
fn the_command_is_called_as_it_was_typed() {
    let directory = tempfile::tempdir().unwrap();
    let shell = fs::canonicalize("/bin/sh").unwrap();
    let other_name = OsString::from_vec(b"a \xff shell".to_vec());
    symlink(&shell, directory.path().join(&other_name)).unwrap();
    let relative = [OsStr::new("./../"), directory.path().file_name().unwrap(), OsStr::new("/"), &other_name]
        .iter()
        .fold(OsString::new(), |mut path, part| {
            path.push(part);
            path
        });
    let absolute = directory.path().join(&other_name).into_os_string();
    let scenario = scenario();
    for name in ["sh".into(), shell.into_os_string(), other_name, relative, absolute] {
        let words = [name, "-c".into(), PRINT_ARGV.into()];
        let path = [directory.path().as_os_str().as_bytes(), b":/usr/bin:/bin"].concat();
        let launch = scenario.launch().directory(directory.path()).env("PATH", OsStr::from_bytes(&path));
        let outcome = launch.command(&words).run();
        outcome.succeeded();
        assert_eq!(outcome.stdout, argv(&words));
    }
}

#[test]
fn a_script_is_told_the_same_path() {
    let directory = tempfile::tempdir().unwrap();
    script(&directory.path().join("tell"), "#!/bin/sh\nprintf %s \"$0\"\n");
    let scenario = scenario();
    let absolute = format!("{}:/usr/bin:/bin", directory.path().display());
    for (path, name) in [(&*absolute, "tell"), ("/usr/bin:", "tell"), ("/usr/bin:.", "tell"), ("", "./tell")]
    {
        let launch = || scenario.launch().directory(directory.path()).env("PATH", path).command([name]);
        let (wrapped, direct) = (launch().run(), launch().run_direct());
        wrapped.succeeded();
        assert_eq!(wrapped.text(), direct.text(), "PATH={path}");
    }
}

#[test]
fn the_command_is_the_process_that_was_started() {
    let scenario = scenario();
    let running = scenario.launch().command(["sh", "-c", "echo $$ $PPID"]).start();
    let expected = format!("{} {}\n", running.pid(), std::process::id());
    let outcome = running.finish();
    outcome.succeeded();
    assert_eq!(outcome.text(), expected);
}

/// Whatever has a default is set to something else; descriptors 1, 2, 5 and 42 are this file.
pub fn unusual(scenario: &Scenario, file: &File) -> Launch {
    let shell = "umask 027; ulimit -n 600; ulimit -s 4096; ulimit -t 500; cd /usr
        echo 0x31 >/proc/self/coredump_filter; echo 100 >/proc/self/oom_score_adj; exec \"$@\"";
    let mut launch = scenario.launch().under([
        "setsid",
        "nice",
        "-n",
        "5",
        "chrt",
        "--batch",
        "0",
        "prlimit",
        "--core=2:8192",
        "sh",
        "-c",
        shell,
        "sh",
        "env",
        "--ignore-signal=PIPE,USR1",
        "--block-signal=USR2,TERM",
    ]);
    for number in [1, 2, 5, 42] {
        launch = launch.descriptor(number, file.try_clone().unwrap());
    }
    launch
}

#[test]
fn with_allow_core_nothing_at_all_is_different() {
    let (scenario, file) = (scenario(), tempfile::tempfile().unwrap());
    let [wrapped, direct] = wrapped_and_direct(|| unusual(&scenario, &file).option("--allow-core"), |_| {});
    assert_eq!(wrapped.differences(&direct), Default::default());
    // It is unusual indeed.
    let expected = [
        ("Umask", "0027"),
        ("session", "self"),
        ("process group", "self"),
        ("nice", "5"),
        ("Max open files", "600                  600                  files"),
        ("cwd", "/usr"),
        ("scheduling policy", "3"),
        ("oom_score_adj", "100"),
        ("coredump_filter", "00000031"),
        ("SigIgn", "0000000000001200"),
        ("SigBlk", "0000000000004800"),
    ];
    for (name, value) in expected {
        let got = wrapped.get(name).map(|got| got.split_whitespace().collect::<Vec<_>>());
        assert_eq!(got, Some(value.split_whitespace().collect()), "{name}");
    }
    assert!(wrapped.get("descriptor 42").is_some());
}

#[test]
fn without_it_only_core_dumps_are_different() {
    let (scenario, file) = (scenario(), tempfile::tempfile().unwrap());
    let [wrapped, direct] = wrapped_and_direct(|| unusual(&scenario, &file), |_| {});
    let different: Vec<_> = wrapped.differences(&direct).into_keys().collect();
    assert_eq!(different, ["Max core file size", "coredump_filter"]);
}

#[test]
fn the_process_group_stays() {
    let (scenario, file) = (scenario(), tempfile::tempfile().unwrap());
    let launch = || {
        let launch = scenario.launch().option("--allow-core");
        [1, 2].iter().fold(launch, |launch, &n| launch.descriptor(n, file.try_clone().unwrap()))
    };
    // SAFETY: it has no preconditions.
    let ours = unsafe { libc::getpgrp() };
    for (group, expected) in [(None, ours.to_string()), (Some(0), "self".into())] {
        let [wrapped, direct] = wrapped_and_direct(launch, |process| {
            group.map(|group| process.process_group(group));
        });
        assert_eq!(wrapped.differences(&direct), Default::default());
        assert_eq!(wrapped.get("process group"), Some(&*expected));
    }
}

#[test]
fn ignored_signals_stay_ignored_and_the_others_stay_default() {
    let scenario = scenario();
    for ignored in [vec![], vec![libc::SIGPIPE], vec![libc::SIGHUP], vec![libc::SIGHUP, libc::SIGPIPE], all()]
    {
        let mut process = scenario.launch().command(["cat", "/proc/self/status"]).launcher();
        let wanted = ignored.clone();
        // SAFETY: signal is async-signal-safe.
        unsafe {
            process.pre_exec(move || {
                for &signal in &wanted {
                    libc::signal(signal, libc::SIG_IGN);
                }
                Ok(())
            });
        }
        let outcome = Running::new(process, None).finish();
        outcome.succeeded();
        assert_eq!(proc::signals(&outcome.text(), "SigIgn"), ignored);
        assert_eq!(proc::signals(&outcome.text(), "SigCgt"), [0; 0]);
    }
}

/// Those that can be ignored and blocked, but the two that glibc keeps for itself.
pub fn all() -> Vec<i32> {
    let not = [libc::SIGKILL, libc::SIGSTOP, 32, 33];
    (1..=64).filter(|signal| !not.contains(signal)).collect()
}

#[test]
fn blocked_signals_stay_blocked_and_the_others_are_not() {
    let scenario = scenario();
    let really_all: Vec<i32> = (1..=64).filter(|&n| n != libc::SIGKILL && n != libc::SIGSTOP).collect();
    for blocked in [vec![], vec![libc::SIGPIPE, libc::SIGTERM], vec![34, 64], all(), really_all] {
        let mut process = scenario.launch().command(["cat", "/proc/self/status"]).launcher();
        let mask = blocked.iter().fold(0_u64, |mask, signal| mask | 1 << (signal - 1));
        // SAFETY: a system call with a mask of the kernel's size, past glibc, which has opinions.
        unsafe {
            process.pre_exec(move || {
                libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &mask, 0, size_of::<u64>());
                Ok(())
            });
        }
        let outcome = Running::new(process, None).finish();
        outcome.succeeded();
        assert_eq!(proc::signals(&outcome.text(), "SigBlk"), blocked);
    }
}

#[test]
fn nohup_is_honoured() {
    let outcome = scenario().launch().under(["nohup"]).command(["cat", "/proc/self/status"]).run();
    outcome.succeeded();
    assert_eq!(proc::signals(&outcome.text(), "SigIgn"), [libc::SIGHUP]);
}

#[test]
fn the_rest_of_the_environment_arrives_unchanged() {
    let entries: [(&[u8], &[u8]); 8] = [
        (b"Z_LAST_LETTER", b"first in line"),
        (b"EMPTY", b""),
        (b"EQUALS", b"=a=b="),
        (b"LINES", b"1\n2\r\n\t3"),
        (b"BYTES", b"\xff\xc3\x28\x80"),
        (b"N\xffME", b"\xfe"),
        (b"with-dash.and dot", b"x"),
        (b"BASH_FUNC_f%%", b"() { :\n}"),
    ];
    let scenario = scenario();
    let launch = entries.iter().fold(scenario.launch(), |launch, (name, value)| {
        launch.env(OsStr::from_bytes(name), OsStr::from_bytes(value))
    });
    let running = launch.command(SLEEP).start().asleep_in("sleep");
    let entry = |(name, value): &(&[u8], &[u8])| [name, &b"="[..], value, b"\0"].concat();
    let expected = [
        b"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin\0".to_vec(),
        entries.iter().flat_map(entry).collect(),
        b"KEY=value\0".to_vec(),
    ];
    // std's Command sorts what it hands over.
    let sorted = |block: &[u8]| {
        let mut entries: Vec<_> = block.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect();
        entries.sort();
        entries
    };
    assert_eq!(sorted(&proc::read(running.pid(), "environ").unwrap()), sorted(&expected.concat()));
}

#[test]
fn a_directory_that_is_gone_stays_the_working_directory() {
    let directory = tempfile::tempdir().unwrap();
    let shell = "mkdir gone; cd gone; rmdir ../gone; exec \"$@\"";
    let scenario = scenario();
    let launch = scenario.launch().directory(directory.path()).under(["sh", "-c", shell, "sh"]);
    let outcome = launch.command(["readlink", "/proc/self/cwd"]).run();
    outcome.succeeded();
    assert_eq!(outcome.text(), format!("{}/gone (deleted)\n", directory.path().display()));
}
