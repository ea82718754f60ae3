//! The table of the engines' options against what the clients of this machine say.

use std::fs;
use std::process::Command;

use crate::support::{Launch, script};

/// Names, letters, and whether a value follows, as `--help` shows them.
fn documented(words: &[&str]) -> Vec<(String, Option<char>, bool)> {
    let output = Command::new(words[0]).args(&words[1..]).arg("--help").output().expect("it is installed");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter_map(|line| {
        let (start, rest) = line.split_once("--")?;
        let letter = match start.trim() {
            "" => None,
            letter => Some(letter.strip_prefix('-')?.strip_suffix(',')?.chars().next()?),
        };
        // Two blanks or more begin the description.
        let option = rest.split("  ").next()?;
        let mut words = option.split(' ');
        Some((words.next()?.to_owned(), letter, words.next().is_some()))
    });
    lines.collect()
}

const REFUSED: [&str; 4] = [
    "is not on this machine but at value\n",
    "is not on this machine but at connection value\n",
    "is not on this machine but at --remote\n",
    "--container needs an image, and --rootfs names a directory\n",
];

/// Whether our parser reads it so: an image stands behind the option, or behind its value.
fn understood(engine: &str, option: &str, takes_value: bool, at_client: bool) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let said = directory.path().join("said");
    // Both before and behind are words that would do as image, value or subcommand.
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in *'context inspect'*) echo unix:///x; exit 0;; *inspect*) printf '%s\\n' \"$@\" | tail -n 1 >{}; exit 1;; esac; exit 1",
        said.display()
    );
    let program = directory.path().join(engine);
    script(&program, &text);
    let path = program.to_str().unwrap();
    let mut words = vec![path];
    if at_client {
        words.push(option);
        words.extend(takes_value.then_some("value"));
        words.extend(["run", "image"]);
    } else {
        words.extend(["run", option]);
        words.extend(takes_value.then_some("value"));
        words.push("image");
    }
    words.push("rest");
    let launch = Launch::new().env("BWS_ACCESS_TOKEN", "x").options([
        "--container=token",
        "--access-token-file",
        "/etc/passwd",
    ]);
    let outcome = launch.command(&words).run();
    assert!(outcome.stderr.contains("bws-exec: error["), "{}", outcome.stderr);
    // What is refused for what it means says how it was read.
    let refused = REFUSED.iter().any(|message| outcome.stderr.contains(message));
    refused || fs::read_to_string(said).is_ok_and(|image| image.trim_end() == "image")
}

#[track_caller]
fn compare(engine: &str, words: &[&str], at_client: bool) {
    let documented = documented(words);
    assert!(documented.len() > 5, "the help was understood: {documented:?}");
    let mut wrong = Vec::new();
    for (name, letter, takes_value) in documented {
        let spellings = [Some(format!("--{name}")), letter.map(|letter| format!("-{letter}"))];
        for spelling in spellings.into_iter().flatten() {
            if !understood(engine, &spelling, takes_value, at_client) {
                wrong.push(format!("{engine} {spelling} (value: {takes_value})"));
            }
        }
    }
    assert!(wrong.is_empty(), "the table of src/container/options.rs is wrong about {wrong:#?}");
}

#[test]
#[ignore = "needs docker"]
fn docker_run() {
    compare("docker", &["docker", "run"], false);
}

#[test]
#[ignore = "needs docker"]
fn docker_itself() {
    compare("docker", &["docker"], true);
}

#[test]
#[ignore = "needs podman"]
fn podman_run() {
    compare("podman", &["podman", "run"], false);
}

#[test]
#[ignore = "needs podman"]
fn podman_itself() {
    compare("podman", &["podman"], true);
}
