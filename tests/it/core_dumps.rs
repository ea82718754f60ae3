//! A crash leaves no plaintext behind: not the command's, and not our own.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::core_pattern::CorePattern;
use crate::support::proc::Surroundings;
use crate::support::vault::{Endpoint, Fault};
use crate::support::{Launch, Outcome, PATIENCE, Scenario, eventually, script};

/// Found nowhere but in a secret.
const CANARY: &str = "canary-5f1d93c8-in-a-coal-mine";

fn scenario() -> Scenario {
    Scenario::new().secret("CANARY", CANARY)
}

/// The limit on core dumps and what a dump may hold, as the command finds them.
fn core(launch: Launch) -> (String, String) {
    let running = launch.command(["sleep", "1000"]).start().asleep_in("sleep");
    let surroundings = Surroundings::of(running.pid());
    let limit = surroundings.get("Max core file size").expect("there is a limit");
    let words: Vec<&str> = limit.split_whitespace().filter(|&word| word != "bytes").collect();
    (words.join(":"), surroundings.get("coredump_filter").expect("there is a filter").into())
}

/// Before us in the same process: a limit, and a filter that is not the default.
fn under(launch: Launch, limit: &str) -> Launch {
    let shell = "echo 0x33 >/proc/self/coredump_filter; exec \"$@\"";
    launch.under(["prlimit", &format!("--core={limit}"), "sh", "-c", shell, "sh"])
}

#[test]
fn the_command_may_not_dump() {
    let scenario = scenario();
    for (before, after) in [("0:4096", "1:4096"), ("4096:8192", "1:8192"), ("1:1", "1:1")] {
        assert_eq!(core(under(scenario.launch(), before)), (after.into(), "00000000".into()));
    }
}

#[test]
fn a_hard_limit_of_nothing_is_respected() {
    assert_eq!(core(under(scenario().launch(), "0:0")), ("0:0".into(), "00000000".into()));
}

#[test]
fn allow_core_leaves_everything_as_it_was() {
    let scenario = scenario();
    for limit in ["0:0", "0:4096", "4096:8192"] {
        let launch = under(scenario.launch(), limit).option("--allow-core");
        assert_eq!(core(launch), (limit.into(), "00000033".into()));
    }
    // Behind COMMAND it is the command's own word.
    let launch = under(scenario.launch(), "0:4096").options([
        "sh",
        "-c",
        "grep core /proc/self/limits",
        "sh",
        "--allow-core",
    ]);
    let outcome = launch.run();
    outcome.succeeded();
    assert!(outcome.text().contains(" 1 "), "{}", outcome.text());
}

/// The kernel writes the dump.
fn to_files(directory: &Path) -> CorePattern {
    CorePattern::set(&format!("{}/core.%p", directory.display()))
}

/// The kernel starts a program, as systemd-coredump, which gets the dump on its standard input and
/// may read the process's environment.
fn to_a_program(directory: &Path) -> CorePattern {
    let (handler, there) = (directory.join("handler"), directory.display());
    script(
        &handler,
        &format!(
            "#!/bin/sh\ncat /proc/$1/environ >{there}/environ.$1\ncat >{there}/part.$1\nmv {there}/part.$1 {there}/core.$1\n"
        ),
    );
    CorePattern::set(&format!("|{} %p", handler.display()))
}

/// Files other than the handler.
fn dumps(directory: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| !path.ends_with("handler")).collect()
}

fn holds(path: &Path, text: &str) -> bool {
    fs::read(path).unwrap().windows(text.len()).any(|window| window == text.as_bytes())
}

/// Everything is allowed, as far as the caller is concerned.
fn dumpable(launch: Launch, directory: &Path) -> Launch {
    launch.directory(directory).under(["prlimit", "--core=unlimited:unlimited"])
}

/// The secret is in the environment of the shell that crashes, and copied into its memory.
const CRASH: [&str; 3] = ["sh", "-c", "copy=$CANARY; kill -ABRT $$"];

/// Crashes the command with the canary twice and returns what was left, first without a word, then
/// with `--allow-core`, which shows that there is something to be found.
fn crash(directory: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let scenario = scenario();
    let launch = || dumpable(scenario.launch(), directory).command(CRASH);
    let crashed = |outcome: Outcome| assert_eq!(outcome.signal(), Some(libc::SIGABRT), "{outcome:?}");
    crashed(launch().run());
    let left = dumps(directory);
    let running = launch().option("--allow-core").start();
    let core = directory.join(format!("core.{}", running.pid()));
    crashed(running.finish());
    // A program takes its time, and would have had it for the first one too.
    eventually("the dump is there", || core.exists());
    let all = dumps(directory);
    assert!(holds(&core, CANARY), "the search finds what is there");
    let first = |path: &PathBuf| left.contains(path) || path.extension() != core.extension();
    all.into_iter().partition(first)
}

#[test]
#[ignore = "needs root"]
fn a_crash_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let _pattern = to_files(directory.path());
    let (without_a_word, allowed) = crash(directory.path());
    assert_eq!(without_a_word, Vec::<PathBuf>::new());
    assert_eq!(allowed.len(), 1);
}

#[test]
#[ignore = "needs root"]
fn a_crash_starts_no_program() {
    let directory = tempfile::tempdir().unwrap();
    let _pattern = to_a_program(directory.path());
    let (without_a_word, allowed) = crash(directory.path());
    assert_eq!(without_a_word, Vec::<PathBuf>::new());
    assert_eq!(allowed.len(), 2);
    let environ = allowed.iter().find(|path| path.file_stem().is_some_and(|stem| stem == "environ"));
    assert!(holds(environ.unwrap(), CANARY), "which is what such a program puts into the journal");
}

/// A limit that cannot be raised to 1, and a program that is started whatever the limit is: the dump
/// holds no memory.
#[test]
#[ignore = "needs root"]
fn where_the_limit_does_not_help_the_dump_is_empty() {
    let directory = tempfile::tempdir().unwrap();
    let _pattern = to_a_program(directory.path());
    let scenario = scenario();
    let launch = scenario.launch().directory(directory.path()).under(["prlimit", "--core=0:0"]);
    let running = launch.command(CRASH).start();
    let core = directory.path().join(format!("core.{}", running.pid()));
    assert_eq!(running.finish().signal(), Some(libc::SIGABRT));
    eventually("the dump is there", || core.exists());
    assert!(!holds(&core, CANARY));
}

/// Crashes us while we hold the token, and then, as a measure, a command that is allowed to.
fn crash_us(directory: &Path) -> Vec<PathBuf> {
    let scenario = scenario();
    for options in [&[][..], &["--allow-core"]] {
        for signal in [libc::SIGQUIT, libc::SIGABRT] {
            for source in
                [scenario.launch(), scenario.launch_without_token().options(["-t", &scenario.token])]
            {
                scenario.vault.clear_log();
                scenario.vault.fault_times(1, Endpoint::Login, Fault::Stall);
                let running = dumpable(source, directory).options(options).command(["true"]).start();
                let stalled = scenario.vault.wait_for(PATIENCE, |requests| !requests.is_empty());
                assert!(stalled, "it has logged in with the token");
                running.signal(signal);
                let outcome = running.finish();
                assert_eq!(outcome.signal(), Some(signal), "{outcome:?}");
                scenario.vault.release();
            }
        }
    }
    let running = dumpable(scenario.launch(), directory).option("--allow-core").command(CRASH).start();
    let core = directory.join(format!("core.{}", running.pid()));
    assert_eq!(running.finish().signal(), Some(libc::SIGABRT));
    eventually("the command's dump is there", || core.exists());
    assert!(holds(&core, CANARY));
    let of_us = |path: &PathBuf| path.extension() != core.extension();
    dumps(directory).into_iter().filter(of_us).collect()
}

#[test]
#[ignore = "needs root"]
fn our_own_crash_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let _pattern = to_files(directory.path());
    assert_eq!(crash_us(directory.path()), Vec::<PathBuf>::new());
}

#[test]
#[ignore = "needs root"]
fn our_own_crash_starts_no_program() {
    let directory = tempfile::tempdir().unwrap();
    let _pattern = to_a_program(directory.path());
    assert_eq!(crash_us(directory.path()), Vec::<PathBuf>::new());
}
