//! `--mask`: what of the command's output is replaced, and that nothing else of it changes.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use crate::support::{Launch, Scenario, eventually};

const VALUE: &str = "correct horse battery staple";

fn scenario() -> Scenario {
    Scenario::new().secret("KEY", VALUE)
}

fn masked(scenario: &Scenario, script: &str) -> Launch {
    scenario.launch().option("--mask").command(["sh", "-c", script])
}

#[test]
fn both_streams_each_for_itself() {
    let outcome = masked(&scenario(), "echo \"out $KEY.\"; echo \"err $KEY.\" >&2; exit 7").run();
    assert_eq!((outcome.text().as_str(), outcome.stderr.as_str()), ("out ***.\n", "err ***.\n"));
    assert_eq!(outcome.code(), Some(7));
}

#[test]
fn usual_forms_and_single_lines() {
    let pem = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----\n";
    let scenario = scenario().secret("PEM", pem);
    let script =
        "printf %s \"$KEY\" | base64; printf %s \"x$KEY\" | base64; printf '%s\\n' \"$PEM\" | sed -n 2p
        echo correct%20horse%20battery%20staple correct+horse+battery+staple";
    let outcome = masked(&scenario, script).run();
    let text = outcome.text();
    assert!(!text.contains("Y29ycmVjd") && !text.contains("MIIE") && !text.contains("horse"), "{text}");
    assert_eq!(text.lines().last(), Some("*** ***"));
}

#[test]
fn a_value_in_many_writes() {
    let script = "for part in cor rect ' horse batt' 'ery sta' ple; do printf %s \"$part\"; done; echo";
    assert_eq!(masked(&scenario(), script).run().text(), "***\n");
}

#[test]
fn everything_else_passes_byte_by_byte() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("noise");
    let mut noise = vec![0_u8; 8 << 20];
    getrandom::fill(&mut noise).unwrap();
    std::fs::write(&path, &noise).unwrap();
    let scenario = scenario();
    let outcome = scenario.launch().option("--mask").command(["cat", path.to_str().unwrap()]).run();
    assert!(outcome.stdout == noise, "{} of {} bytes", outcome.stdout.len(), noise.len());
}

/// Nothing waits for a line's end.
#[test]
fn a_prompt_is_shown_before_its_answer() {
    let scenario = scenario();
    let script = "printf 'name: '; read -r name; echo \"hello $name\"";
    let mut process = masked(&scenario, script).launcher();
    let mut child = process.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut prompt = [0; 6];
    stdout.read_exact(&mut prompt).unwrap();
    assert_eq!(&prompt, b"name: ");
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"you\n").unwrap();
    let mut rest = String::new();
    stdout.read_line(&mut rest).unwrap();
    assert_eq!(rest, "hello you\n");
    assert!(child.wait().unwrap().success());
}

/// The beginning of a value is, too, if nothing follows: half of it at most.
#[test]
fn a_prompt_that_begins_like_a_value_is_shown_in_part() {
    let scenario = scenario();
    let mut process = masked(&scenario, "printf 'correct horse '; read -r name").launcher();
    let mut child = process.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut shown = [0; 7];
    child.stdout.as_mut().unwrap().read_exact(&mut shown).unwrap();
    assert_eq!(&shown, b"correct");
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn what_the_command_leaves_behind_is_not_waited_for() {
    let outcome = masked(&scenario(), "sleep 1000 & echo \"$! $KEY\"").run();
    let text = outcome.text();
    let (pid, rest) = text.split_once(' ').unwrap();
    assert_eq!((rest, outcome.code()), ("***\n", Some(0)));
    // SAFETY: a process that this test has started.
    unsafe { libc::kill(pid.parse().unwrap(), libc::SIGKILL) };
}

/// As without us: the writer dies of SIGPIPE, and we of the same.
#[test]
fn a_reader_that_goes_away_ends_the_command() {
    let scenario = scenario();
    let mut process = masked(&scenario, "while :; do echo line; done").launcher();
    let mut child = process.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = [0; 5];
    child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    drop(child.stdout.take());
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGPIPE), "{status}");
}

/// Nobody reads what is left in the pipe, and TERM still ends us.
#[test]
fn a_reader_that_stands_still_holds_nobody() {
    let scenario = scenario();
    let mut process = masked(&scenario, "yes & wait").option("--kill-after=500ms").launcher();
    let mut child = process.stdout(Stdio::piped()).spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    eventually("the pipe is full", || {
        let mut waiting = 0;
        // SAFETY: the kernel writes one number.
        unsafe { libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&stdout), libc::FIONREAD, &mut waiting) };
        waiting >= 1 << 16
    });
    // SAFETY: our own child, not reaped.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGTERM), "{status}");
}

#[test]
fn values_that_are_too_short_are_named() {
    let scenario = Scenario::new().secret("PIN", "123").secret("KEY", VALUE);
    let launch =
        |option: &str| scenario.launch().options(["--mask", option]).command(["sh", "-c", "echo $PIN"]);
    let outcome = launch("-v").run();
    assert_eq!(outcome.text(), "123\n");
    assert_eq!(outcome.stderr, "bws-exec: notice: the value of 'PIN' is too short to be masked\n");
}

#[test]
fn a_terminal_stays_the_commands_own() {
    let scenario = scenario();
    let (ours, theirs) = crate::support::terminal::pair();
    let mut process =
        masked(&scenario, "test -t 1 && echo \"tty $KEY\"; test -t 2 || echo \"$KEY\" >&2").launcher();
    let mut child = process.stdout(theirs).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(&ours).read_line(&mut line).unwrap();
    assert_eq!(line.trim_end(), format!("tty {VALUE}"));
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(stderr, "***\n");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_restart_masks_the_new_value() {
    let scenario = Scenario::new();
    let secret = scenario.vault.owner().create_secret(scenario.project, "KEY", "first value");
    let script = "trap 'exit 0' TERM; echo \"<$KEY>\"; while :; do sleep 0.1; done";
    let launch = scenario.launch().options(["--mask", "--watch=1s"]).command(["sh", "-c", script]);
    let mut child = launch.launcher().stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    scenario.vault.owner().update_secret(secret, "second value");
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "<***>\n<***>\n");
    // SAFETY: our own child, not reaped.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    assert!(child.wait().unwrap().success());
}

#[test]
fn options_that_do_not_fit() {
    let launch = Launch::new().env("BWS_ACCESS_TOKEN", "x").command(["true"]);
    launch.options(["--mask", "--watch", "--on-change=signal:HUP"]).run().failed(
        125,
        &crate::errors::error(
            "usage",
            "--mask learns no new values while the command runs, which --on-change signal may give it",
            "use --on-change restart, or do without --mask",
        ),
    );
}
