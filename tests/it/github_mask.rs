//! `--github-mask`: what the runner of GitHub Actions reads, undone by its own rules.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::process::{Output, Stdio};

use super::errors::{error, untouched};
use crate::support::{Launch, Scenario, script};

fn step(scenario: &Scenario) -> Launch {
    scenario.launch().env("GITHUB_ACTIONS", "true").option("--github-mask")
}

fn run(launch: Launch) -> Output {
    launch.launcher().output().expect("it starts")
}

/// Lines as .NET's `StreamReader.ReadLine` has them.
fn lines(stream: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| b"\r\n".contains(byte)).unwrap_or(rest.len());
        lines.push(&rest[..end]);
        rest = &rest[end..];
        rest = rest.strip_prefix(b"\r\n").unwrap_or_else(|| rest.get(1..).unwrap_or_default());
    }
    lines
}

/// `ActionCommand.TryParseV2` and `UnescapeData` of actions/runner, and what is printed to the log otherwise.
fn read(stream: &[u8]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let [mut masks, mut log] = [Vec::new(), Vec::new()];
    for line in lines(stream) {
        match line.trim_ascii_start().strip_prefix(b"::add-mask::") {
            Some(data) => masks.push(unescape(data)),
            None => log.push(line.to_vec()),
        }
    }
    (masks, log)
}

/// One after the other, as the runner does.
fn unescape(data: &[u8]) -> Vec<u8> {
    let replace = |text: Vec<u8>, from: &[u8], to: u8| {
        let mut replaced = Vec::new();
        let mut rest = &text[..];
        while let Some(first) = rest.first() {
            let (byte, length) = if rest.starts_with(from) { (to, 3) } else { (*first, 1) };
            replaced.push(byte);
            rest = &rest[length..];
        }
        replaced
    };
    [(b"%0D", b'\r'), (b"%0A", b'\n'), (b"%25", b'%')]
        .iter()
        .fold(data.to_vec(), |text, (from, to)| replace(text, *from, *to))
}

#[track_caller]
fn masked(output: &Output, expected: &[&[u8]]) {
    let (masks, log) = read(&output.stderr);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(log.iter().all(Vec::is_empty), "nothing else is said: {said}");
    assert_eq!(masks.iter().map(Vec::as_slice).collect::<BTreeSet<_>>(), expected.iter().copied().collect());
    assert_eq!(masks.len(), expected.len(), "each once: {said}");
}

#[test]
fn every_value_and_each_of_its_lines() {
    let scenario = Scenario::new()
        .secret("PLAIN", "hunter2-hunter2")
        .secret("AGAIN", "hunter2-hunter2")
        .secret("PERCENT", "100%, %25, %0A and %0D")
        .secret("LINES", "first\r\n%0A\n\nabc\n  indented \r\x1b[31mred::add-mask::x\n")
        .secret("LONGEST", "x".repeat(9000))
        .secret("COLONS", "::stop-commands::here");
    let launch = step(&scenario).env("INHERITED", "no secret of ours").command(["true"]);
    masked(
        &run(launch),
        &[
            b"hunter2-hunter2",
            b"100%, %25, %0A and %0D",
            b"first\r\n%0A\n\nabc\n  indented \r\x1b[31mred::add-mask::x\n",
            b"first",
            b"  indented ",
            b"\x1b[31mred::add-mask::x",
            "x".repeat(9000).as_bytes(),
            b"::stop-commands::here",
        ],
    );
}

#[test]
fn files_and_references_too() {
    let bytes = b"\xff\xfe raw % bytes\nwith a second line";
    let scenario = Scenario::new()
        .secret("RAW", bytes)
        .secret("PASSWORD", "p@ss word")
        .secret("JSON", r#"{"user": "the-user", "password": "the-password"}"#)
        .secret("UNUSED", "not injected");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("app.env");
    fs::write(&file, "URL=pg://app:${bws://PASSWORD|urlencode}@db\nPORT=no secret 8080\n").unwrap();
    let launch = step(&scenario).options(["--file", "RAW=RAW", "--map", "INNER=JSON#/password"]);
    masked(
        &run(launch.option("--env-file").option(file).command(["true"])),
        &[
            bytes,
            b"\xff\xfe raw % bytes",
            b"with a second line",
            b"the-password",
            b"pg://app:p%40ss%20word@db",
            b"p@ss word",
        ],
    );
}

#[test]
fn what_cannot_be_masked_is_named() {
    let scenario = Scenario::new()
        .secret("EMPTY", "")
        .secret("BLANK", "  \t \n")
        .secret("SHORT", "abc")
        .secret("SHORT_LINES", "abc\nd")
        .secret("FOUR", "four");
    masked(&run(step(&scenario).command(["true"])), &[b"abc\nd", b"four"]);
    let said = ["BLANK", "EMPTY", "SHORT"]
        .map(|name| format!("bws-exec: notice: the value of '{name}' is too short to be masked\n"))
        .concat();
    let output = run(step(&scenario).option("-v").command(["true"]));
    assert_eq!(String::from_utf8_lossy(&output.stderr), said + "\n::add-mask::four\n::add-mask::abc%0Ad\n");

    // A dry run says so too, and nothing to the runner.
    let output = run(step(&scenario).option("--dry-run"));
    let (masks, log) = read(&output.stderr);
    assert!(masks.is_empty() && output.status.success(), "{output:?}");
    let names = log.iter().filter(|line| line.ends_with(b"is too short to be masked"));
    assert_eq!(names.count(), 3, "{output:?}");
    for stream in [&output.stdout, &output.stderr] {
        assert!(!String::from_utf8_lossy(stream).contains("four"), "{output:?}");
    }
}

#[test]
fn masks_come_before_the_first_output_and_begin_a_line() {
    let scenario = Scenario::new().secret("VALUE", "the-value").secret("OTHER", "other-value");
    let talkative = ["sh", "-c", "echo $VALUE; echo $OTHER >&2"];
    // One pipe for both, in which half a line stands already.
    let launch = step(&scenario).under(["sh", "-c", "printf half; exec \"$@\" 2>&1", "sh"]);
    let output = run(launch.option("-q").command(talkative));
    let lines = lines(&output.stdout).into_iter().map(String::from_utf8_lossy).collect::<Vec<_>>();
    let masks = ["::add-mask::other-value", "::add-mask::the-value"];
    assert_eq!(lines, [&["half"], &masks[..], &["the-value", "other-value"]].concat());
    assert!(output.stderr.is_empty());
}

#[test]
fn outside_of_github_nothing_is_written() {
    let scenario = Scenario::new().secret("VALUE", "the-value");
    for value in ["", "1", "false", "TRUE"] {
        let launch = step(&scenario).env("GITHUB_ACTIONS", value).command(["echo", "ran"]);
        let outcome = launch.run();
        let warning = "bws-exec: warning: --github-mask does nothing: GITHUB_ACTIONS is not 'true'\n";
        assert_eq!((outcome.code(), &*outcome.text(), &*outcome.stderr), (Some(0), "ran\n", warning));
    }
    let outcome = step(&scenario).without_env("GITHUB_ACTIONS").option("-q").command(["true"]).run();
    outcome.succeeded();
    // And without the option nothing, wherever it runs.
    scenario.launch().env("GITHUB_ACTIONS", "true").command(["true"]).run().succeeded();
}

#[test]
fn values_go_into_no_file_and_to_no_terminal() {
    let scenario = Scenario::new().secret("VALUE", "the-value");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stderr");
    let expected = error(
        "usage",
        "--github-mask speaks to the runner by stderr, which leads elsewhere here",
        "do not redirect stderr of bws-exec; to redirect that of the command: bws-exec -- sh -c '… 2>file'",
    );
    let mut launcher = step(&scenario).command(["true"]).launcher();
    let status = launcher.stderr(Stdio::from(File::create(&path).unwrap())).status().unwrap();
    assert_eq!((status.code(), fs::read_to_string(&path).unwrap()), (Some(125), expected.clone()));

    let terminal = ["script", "-qec", "\"$BINARY\" --github-mask -- true", "/dev/null"];
    let launch = step(&scenario).env("BINARY", crate::support::BINARY).command(terminal);
    let outcome = launch.run_direct();
    assert_eq!(outcome.text().replace("\r\n", "\n"), expected);
    assert_eq!(outcome.code(), Some(125));

    for nowhere in ["exec \"$@\" 2>/dev/null", "exec \"$@\" 2>&-"] {
        let outcome = step(&scenario).under(["sh", "-c", nowhere, "sh"]).command(["echo", "ran"]).run();
        assert_eq!((outcome.code(), &*outcome.text()), (Some(125), ""), "{nowhere}");
    }
    untouched(&scenario.vault);
}

#[test]
fn a_runner_that_has_gone_is_told_nothing_and_nothing_runs() {
    let scenario = Scenario::new().secret("VALUE", "the-value");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = step(&scenario).command(["echo", "ran"]).launcher().stderr(writer).output().unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(125), &b""[..]));
}

#[test]
fn nothing_is_told_of_a_launch_that_fails() {
    let scenario = Scenario::new().secret("VALUE", "the-value").secret("PATH", "a-dangerous-value");
    let output = run(step(&scenario).command(["true"]));
    assert_eq!(output.status.code(), Some(125));
    assert!(read(&output.stderr).0.is_empty(), "{output:?}");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("value\n"), "{output:?}");
}

#[test]
fn containers() {
    let scenario = Scenario::new().secret("VALUE", "the-value");
    let directory = tempfile::tempdir().unwrap();
    let docker = directory.path().join("docker");
    let text = "#!/bin/sh\ncase \"$*\" in
        (*context*) echo unix:///socket;;
        (*inspect*) echo '[{\"Config\": {\"Cmd\": [\"app\"]}}]';;
        (*) echo the container runs >&2; env;; esac\n";
    script(&docker, text);
    let docker = docker.to_str().unwrap();
    let output = run(step(&scenario).option("--container").command([docker, "run", "--rm", "app"]));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "\n::add-mask::the-value\nthe container runs\n",
        "{output:?}"
    );
    assert!(!String::from_utf8_lossy(&output.stdout).contains("the-value"), "{output:?}");

    let launch = step(&scenario).options(["--container=token", "--access-token-file", "/dev/null"]);
    launch.command([docker, "run", "app"]).run().failed(
        125,
        &error(
            "usage",
            "--github-mask knows no value with --container=token, which logs in inside",
            "use --container=socket, or take --github-mask away",
        ),
    );
}
