//! `--file`: secrets in sealed memory, which the command finds by a path.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::unistd::{getegid, geteuid};
use serde_json::{Value, json};

use crate::support::proc::{self, Surroundings};
use crate::support::{Launch, Outcome, Running, Scenario};

const CANARY: &str = "canary-4f1d-value";

fn scenario() -> Scenario {
    Scenario::new().secret("KEY", CANARY).secret("J", r#"{"a": "x", "b": {"c": 1}, "n": null}"#)
}

fn sh(launch: Launch, script: &str) -> Outcome {
    launch.command(["sh", "-c", script]).run()
}

/// What this shell script prints.
#[track_caller]
fn prints(launch: Launch, script: &str, expected: &str) {
    let outcome = sh(launch, script);
    assert_eq!(outcome.succeeded().text(), expected);
}

fn asleep(launch: Launch) -> Running {
    launch.command(["sleep", "1000"]).start().asleep_in("sleep")
}

/// Bytes of every kind, in no order.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(next).collect()
}

#[test]
fn the_variable_holds_a_path_that_can_be_opened_again_and_again() {
    let scenario = scenario();
    let launch = scenario.launch().option("--file=K=KEY");
    let expected = format!("/proc/self/fd/100 {CANARY} {CANARY} {CANARY}");
    prints(launch, "printf '%s' $K; for i in 1 2 3; do printf ' '; cat $K; done", &expected);
    let launch = scenario.launch().option("--file=K=KEY");
    prints(launch, "sh -c 'sh -c \"cat $K; :\"; :'", CANARY);
}

#[test]
fn whatever_the_bytes_and_however_many() {
    let all: Vec<u8> = (0..=255).collect();
    for content in [all, b"a\0b\0".to_vec(), Vec::new(), b"no line feed".to_vec(), noise(1024 * 1024)] {
        let scenario = Scenario::new().secret("KEY", &content);
        let outcome = sh(scenario.launch().option("--file=K=KEY"), "cat $K");
        assert!(outcome.succeeded().stdout == content, "{} bytes", content.len());
    }
}

#[test]
fn what_a_reference_may_be() {
    let scenario = scenario().secret("a,b", "comma");
    for (reference, expected) in [
        ("KEY", CANARY),
        ("web/KEY", CANARY),
        ("bws://web/KEY", CANARY),
        ("J#/a", "x"),
        ("web/J#/b", r#"{"c":1}"#),
        ("J#/b/c,mode=0444", "1"),
        ("a%2Cb,mode=400", "comma"),
    ] {
        prints(scenario.launch().options(["--file", &format!("K={reference}")]), "cat $K", expected);
    }
}

/// As `test -f`, OpenSSH and libpq look at it.
#[test]
fn it_is_a_regular_file_of_the_mode_and_owner_asked_for() {
    let me = format!("{} {}", geteuid(), getegid());
    let scenario = scenario();
    for (options, mode) in [
        ("", "400"),
        (",mode=0400", "400"),
        (",mode=440", "440"),
        (",mode=0666", "666"),
        (",mode=0000", "0"),
        (&format!(",owner={}:{}", geteuid(), getegid()), "400"),
        (&format!(",owner={}", geteuid()), "400"),
    ] {
        let launch = scenario.launch().options(["--file", &format!("K=KEY{options}")]);
        // Whatever the umask is.
        let launch = launch.under(["sh", "-c", "umask 077; exec \"$@\"", "sh"]);
        prints(
            launch,
            "stat -L -c '%F %a %u %g %s' $K",
            &format!("regular file {mode} {me} {}\n", CANARY.len()),
        );
    }
}

#[test]
fn descriptors_are_numbered_from_100_around_those_that_are_taken() {
    let scenario = scenario();
    let null = || File::open("/dev/null").unwrap();
    let launch = [3, 99, 100, 102, 107]
        .iter()
        .fold(scenario.launch(), |launch, &number| launch.descriptor(number, null()));
    let running = asleep(launch.options(["--file=A=KEY", "--file=B=J", "--file=C=J#/a"]));
    let memory = "/memfd:bws-exec (deleted) ";
    let open = proc::descriptors(running.pid());
    let of_memory: Vec<i32> =
        open.iter().filter(|(_, what)| what.starts_with(memory)).map(|(n, _)| *n).collect();
    assert_eq!(of_memory, [101, 103, 104], "{open:?}");
    // No other one of ours is left, and those of the caller are.
    assert_eq!(open.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3, 99, 100, 101, 102, 103, 104, 107]);
    let environ = proc::text(running.pid(), "environ");
    for entry in ["A=/proc/self/fd/101\0", "B=/proc/self/fd/103\0", "C=/proc/self/fd/104\0"] {
        assert!(environ.contains(entry), "{environ:?}");
    }
    let without = asleep(scenario.launch());
    assert_eq!(proc::descriptors(without.pid()).into_keys().collect::<Vec<_>>(), [0, 1, 2]);
}

/// The command itself, its children and root are readers.
#[test]
fn nobody_can_change_it() {
    let scenario = scenario();
    let running = asleep(scenario.launch().option("--file=K=KEY,mode=0666"));
    let path = proc::path(running.pid(), "fd/100");
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let all =
        SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    let seals = SealFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GET_SEALS).unwrap());
    assert!(seals.contains(all), "{seals:?}");
    let denied =
        |result: std::io::Result<()>| assert_eq!(result.unwrap_err().kind(), ErrorKind::PermissionDenied);
    denied((&file).write_all(b"x"));
    denied(file.write_all_at(b"x", 0));
    denied(file.set_len(1));
    denied(file.set_len(1000));
    assert_eq!(fs::read_to_string(&path).unwrap(), CANARY);
    // Whoever reads the descriptor as it is begins at the beginning.
    assert!(proc::text(running.pid(), "fdinfo/100").starts_with("pos:\t0\n"));
}

/// Everything else is as it is without.
#[test]
fn the_process_has_one_descriptor_more() {
    let scenario = scenario();
    let surroundings = |options: &[&str]| {
        let running = asleep(scenario.launch().options(options));
        Surroundings::of(running.pid())
    };
    let differences = surroundings(&["--map=K=KEY"]).differences(&surroundings(&["--file=K=KEY"]));
    let different: Vec<&String> = differences.keys().filter(|name| !is_its_own_pipe(name)).collect();
    assert_eq!(different, ["descriptor 100"]);
}

/// Standard output and error, of which each run has its own.
pub fn is_its_own_pipe(name: &str) -> bool {
    ["descriptor 1", "descriptor 2"].contains(&name)
}

#[test]
fn what_is_named_is_injected_and_nothing_else() {
    let scenario = scenario().secret("OTHER", "other").secret("no name", "value");
    let names = |options: &[&str]| {
        let outcome = scenario.launch().options(options).option("--exclude=no name").command(["env"]).run();
        let lines = outcome.text();
        let names = lines.lines().filter_map(|line| line.split('=').next()).filter(|name| *name != "PATH");
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.sort();
        assert!(!outcome.text().contains(CANARY) && outcome.code() == Some(0), "{outcome:?}");
        names
    };
    // Left out of bulk, whole or in part.
    assert_eq!(names(&["--all", "--file=K=KEY"]), ["J", "K", "OTHER"]);
    assert_eq!(names(&["--project=web", "--file=K=KEY", "--file=P=J#/a"]), ["K", "OTHER", "P"]);
    assert_eq!(names(&["--only=KEY", "--file=K=KEY"]), ["K"]);
    assert_eq!(names(&["--only=KEY", "--file=KEY=KEY"]), ["KEY"]);
    // What bulk could not name needs no exclusion.
    let launch = scenario.launch().options(["--all", "--file=K=no name"]);
    prints(launch, "cat $K; echo $OTHER", "valueother\n");
    // A reference alone turns bulk off.
    let outcome = scenario.launch().option("--file=K=KEY").command(["env"]).run();
    assert!(!outcome.succeeded().text().contains("OTHER"), "{}", outcome.text());
}

#[test]
fn it_is_as_strong_as_map() {
    let scenario = scenario().secret("OTHER", "other");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.env");
    fs::write(&path, "K=plain\nM=bws://OTHER\n").unwrap();
    let launch = || {
        scenario.launch().option("--env-file").option(&path).env("K", "inherited").options(["--file=K=KEY"])
    };
    prints(launch(), "cat $K; echo \" $M\"", &format!("{CANARY} other\n"));
    prints(
        launch().option("--on-conflict=inherited"),
        "echo $K; ls /proc/self/fd",
        "inherited\n0\n1\n2\n3\n",
    );
    sh(launch().option("--on-conflict=error"), "true").failed_with(125, "conflict");
}

#[test]
fn optional_and_missing() {
    let scenario = scenario();
    for missing in ["NONE", "J#/none", "J#/n"] {
        let launch = || scenario.launch().options(["--file", &format!("K={missing}")]).option("--file=L=KEY");
        let outcome = sh(launch().options(["--optional=K"]), "echo ${K-unset} $L; ls /proc/self/fd");
        // The number of the other one is not free again before all are made.
        assert_eq!(outcome.succeeded().text(), "unset /proc/self/fd/101\n0\n1\n101\n2\n3\n");
        assert_eq!(sh(launch(), "true").code(), Some(125));
        let outcome = sh(launch().options(["--optional=K", "--require=K"]), "true");
        outcome.failed_with(125, "required");
    }
}

#[test]
fn the_status_descriptor_says_what_it_says_without_files() {
    let scenario = scenario();
    let (mut read, write) = std::io::pipe().unwrap();
    let launch = scenario.launch().options(["--status-fd=9", "--file=K=KEY"]).descriptor(9, write);
    let running = launch.command(["sleep", "1000"]).start();
    let mut lines = String::new();
    read.read_to_string(&mut lines).unwrap();
    let running = running.asleep_in("sleep");
    assert_eq!(proc::descriptors(running.pid()).into_keys().collect::<Vec<_>>(), [0, 1, 2, 100]);
    let phases = ["start", "login", "fetch", "resolve", "exec"].map(|p| format!("{{\"phase\":\"{p}\"}}"));
    assert_eq!(lines.lines().collect::<Vec<_>>(), phases);
}

#[test]
fn a_dry_run_shows_everything_but_the_value() {
    let scenario = scenario();
    let launch = || scenario.launch().options(["--file=CERT=J#/a,mode=0440", "--file=K=KEY"]);
    let me = format!("{}:{}", geteuid(), getegid());
    let outcome = launch().option("--dry-run").run();
    let width = me.len().max(5);
    let expected = format!(
        "\n2 files\n\
         NAME  BYTES  MODE  {:<width$}  PATH\n\
         CERT      1  0440  {me:<width$}  /proc/self/fd/100\n\
         K        17  0400  {me:<width$}  /proc/self/fd/101\n",
        "OWNER"
    );
    assert!(outcome.succeeded().text().contains(&expected), "{}", outcome.text());
    assert!(outcome.text().contains("\nK        17  --file: secret 'KEY', id "), "{}", outcome.text());
    let json = launch().option("--dry-run=json").run();
    let shown: Value = serde_json::from_slice(&json.succeeded().stdout).unwrap();
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    let file = |name: &str, path: &str, bytes: u32, mode: &str| json!({ "name": name, "path": path, "bytes": bytes, "mode": mode, "user": user, "group": group });
    let files = [file("CERT", "/proc/self/fd/100", 1, "0440"), file("K", "/proc/self/fd/101", 17, "0400")];
    assert_eq!(shown["files"], json!(files));
    assert_eq!(
        (&shown["variables"][1]["rule"], &shown["variables"][1]["bytes"]),
        (&json!("file"), &json!(17))
    );
    for outcome in [outcome, json] {
        assert!(!outcome.text().contains(CANARY) && !outcome.stderr.contains(CANARY));
    }
}

#[test]
fn a_value_among_the_arguments_is_warned_about() {
    let scenario = scenario();
    let outcome = scenario.launch().option("--file=K=KEY").command(["true", CANARY]).run();
    let warning =
        "bws-exec: warning: the value of 'K' stands in the command's arguments, where ps shows it\n";
    assert_eq!((outcome.code(), outcome.stderr.as_str()), (Some(0), warning));
}

/// Not by another uid, unless it is made the owner.
#[test]
#[ignore = "needs root"]
fn it_is_its_owners_when_the_command_changes_user() {
    let scenario = scenario();
    let read = |options: &str, user: &str| {
        let launch = scenario.launch().options(["--file", &format!("K=KEY{options}")]);
        let change = [&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups"];
        launch.command(["setpriv"].into_iter().chain(change).chain(["sh", "-c", "cat $K && cat $K"])).run()
    };
    let twice = format!("{CANARY}{CANARY}");
    for (options, user) in [
        (",owner=65534", "65534"),
        (",owner=65534:65534,mode=0400", "65534"),
        (",owner=nobody", "65534"),
        (",owner=root:nogroup,mode=0440", "65534"),
        (",owner=4242:4242", "4242"),
        (",mode=0444", "65534"),
    ] {
        assert_eq!(read(options, user).text(), twice, "{options}");
    }
    for (options, user) in [("", "65534"), (",owner=4242", "65534"), (",owner=4242,mode=0440", "65534")] {
        let outcome = read(options, user);
        assert_eq!((outcome.code(), outcome.text()), (Some(1), String::new()), "{options}");
        assert!(outcome.stderr.contains("Permission denied"), "{}", outcome.stderr);
    }
}

/// The kernel counts what a process makes a disk write.
#[test]
fn nothing_is_written_to_a_disk() {
    let scenario = Scenario::new().secret("KEY", noise(1024 * 1024));
    let running = asleep(scenario.launch().option("--file=K=KEY"));
    assert_eq!(fs::metadata(proc::path(running.pid(), "fd/100")).unwrap().len(), 1024 * 1024);
    assert!(
        proc::text(running.pid(), "io").contains("\nwrite_bytes: 0\n"),
        "{}",
        proc::text(running.pid(), "io")
    );
}
