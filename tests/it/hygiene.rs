//! The access token and our own options end with us.

use std::ffi::CString;
use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::vault::{Endpoint, Fault};
use crate::support::{Launch, Outcome, PATIENCE, Running, Scenario, leaked, pipe, proc};

const WARNING: &str = "bws-exec: warning: the access token stood on the command line, where ps and the shell's \
                       history show it\n";

fn scenario() -> Scenario {
    Scenario::new().secret("KEY", "value")
}

/// Names of the command's variables, as the kernel has them.
fn names(outcome: &Outcome) -> Vec<String> {
    let entries = outcome.stdout.split(|&byte| byte == 0).filter(|entry| !entry.is_empty());
    let name =
        |entry: &[u8]| String::from_utf8_lossy(entry.split(|&byte| byte == b'=').next().unwrap()).into();
    let mut names: Vec<_> = entries.map(name).collect();
    names.sort();
    names
}

const PRINT_ENVIRONMENT: [&str; 2] = ["cat", "/proc/self/environ"];

#[test]
fn our_variables_never_reach_the_command_whichever_source_won() {
    let scenario = scenario();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bws-access-token");
    fs::write(&path, &scenario.token).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
    let with_variables = || {
        let launch = scenario.launch().env("BWS_ACCESS_TOKEN_FILE", &path).env("BWS_EXEC_DEADLINE", "50s");
        launch
            .env("CREDENTIALS_DIRECTORY", directory.path())
            .env("BWS_EXEC_PROJECT", "web")
            .env("BWS_EXECUTE", "1")
    };
    let flag = path.to_str().unwrap();
    let sources = [
        with_variables().options(["--access-token-fd", "5"]).descriptor(5, pipe(&scenario.token)),
        with_variables().options(["--access-token-file", flag]),
        with_variables().options(["-q", "-t", &scenario.token]),
        with_variables(),
        with_variables().env("BWS_ACCESS_TOKEN", ""),
        with_variables().without_env("BWS_ACCESS_TOKEN"),
        with_variables().without_env("BWS_ACCESS_TOKEN").without_env("BWS_ACCESS_TOKEN_FILE"),
        with_variables().options(["--no-inherit-env", "--keep", "*"]),
        with_variables().options([
            "--no-inherit-env",
            "--keep",
            "BWS_ACCESS_TOKEN",
            "--keep",
            "B*",
            "--keep",
            "C*",
        ]),
    ];
    for (number, launch) in sources.into_iter().enumerate() {
        let outcome = launch.command(PRINT_ENVIRONMENT).run();
        outcome.succeeded();
        assert_eq!(
            names(&outcome),
            ["BWS_EXECUTE", "CREDENTIALS_DIRECTORY", "KEY", "PATH"],
            "source {number}"
        );
        assert_eq!(leaked(&scenario.token, &outcome.stdout), [""; 0]);
    }
}

#[test]
fn unknown_variables_of_ours_are_named_and_removed() {
    let outcome = scenario().launch().env("BWS_EXEC_PROJETC", "web").command(PRINT_ENVIRONMENT).run();
    let warning =
        "bws-exec: warning: variable BWS_EXEC_PROJETC has no meaning for this version and is ignored\n";
    assert_eq!((outcome.code(), &*outcome.stderr), (Some(0), warning));
    assert_eq!(names(&outcome), ["KEY", "PATH"]);
}

#[test]
fn they_do_not_come_back_through_a_secret() {
    let scenario = scenario();
    let ours = ["BWS_ACCESS_TOKEN", "BWS_ACCESS_TOKEN_FILE", "BWS_EXEC_MAX_STALE"];
    for name in ours {
        scenario.vault.owner().create_secret(scenario.project, name, "back");
    }
    for source in [scenario.launch(), scenario.launch_without_token().options(["-t", &scenario.token])] {
        let outcome = source.command(PRINT_ENVIRONMENT).run();
        assert_eq!((outcome.code(), names(&outcome)), (Some(0), vec!["KEY".into(), "PATH".into()]));
        for name in ours {
            let end = format!("is left out: '{name}' is reserved for bws-exec itself");
            let warned = outcome.stderr.lines().filter(|line| line.ends_with(&end)).count();
            assert_eq!(warned, 1, "{}", outcome.stderr);
        }
    }
    for name in ours {
        let outcome = scenario.launch().options(["--allow-name", name]).command(["true"]).run();
        outcome.failed_with(125, "usage");
    }
}

/// `execve` as it is: an environment that no library has tidied up.
fn with_raw_environment(launch: Launch, entries: &[&str]) -> Command {
    let mut process = launch.launcher();
    let mut words = vec![process.get_program().to_owned()];
    words.extend(process.get_args().map(ToOwned::to_owned));
    let words: Vec<_> = words.iter().map(|word| CString::new(word.as_bytes()).unwrap()).collect();
    let entries: Vec<_> = entries.iter().map(|entry| CString::new(*entry).unwrap()).collect();
    // SAFETY: execve is async-signal-safe; the vectors are made before the fork and end with null.
    unsafe {
        let [argv, envp] = [&words, &entries].map(|strings| {
            let pointers = strings.iter().map(|text| text.as_ptr() as usize).chain([0]);
            pointers.collect::<Vec<usize>>()
        });
        process.pre_exec(move || {
            libc::execve(words[0].as_ptr(), argv.as_ptr().cast(), envp.as_ptr().cast());
            let _alive = &entries;
            Err(std::io::Error::last_os_error())
        });
    }
    process
}

#[test]
fn duplicates_of_the_token_variable_are_all_overwritten_and_dropped() {
    let scenario = scenario();
    let other = scenario.vault.owner().create_token(scenario.account, "other", None);
    let variables = [
        "BWS_ACCESS_TOKEN=",
        &format!("BWS_ACCESS_TOKEN={}", scenario.token),
        "A=first",
        "A=second",
        "PATH=/usr/bin:/bin",
        "nameless",
        &format!("BWS_ACCESS_TOKEN={other}"),
        "BWS_ACCESS_TOKEN_FILE=/1",
        "BWS_ACCESS_TOKEN_FILE=/2",
        "=empty name",
    ];
    scenario.vault.fault_times(1, Endpoint::Login, Fault::Stall);
    let process =
        with_raw_environment(scenario.launch_without_token().command(PRINT_ENVIRONMENT), &variables);
    let running = Running::new(process, None);
    stalled(&scenario);
    assert_memory_shows_nothing(&running, &[&scenario.token, &other]);
    scenario.vault.release();
    let outcome = running.finish();
    outcome.succeeded();
    assert_eq!(outcome.text(), "A=first\0PATH=/usr/bin:/bin\0KEY=value\0");
}

#[track_caller]
fn stalled(scenario: &Scenario) {
    let at_login =
        |requests: &[crate::support::vault::Request]| requests.iter().any(|r| r.endpoint == Endpoint::Login);
    assert!(scenario.vault.wait_for(PATIENCE, at_login));
}

/// Of the launcher, as root sees it. Anybody else must not even be let in, for it is not dumpable.
#[track_caller]
fn assert_memory_shows_nothing(running: &Running, tokens: &[&str]) {
    let environ = proc::read(running.pid(), "environ");
    // SAFETY: it has no preconditions.
    let is_root = unsafe { libc::geteuid() } == 0;
    match environ {
        Ok(environ) if is_root => {
            assert!(environ.windows(5).any(|window| window == b"PATH="), "this is its environment");
            tokens.iter().for_each(|token| assert_eq!(leaked(token, &environ), [""; 0]));
        }
        result => {
            assert_eq!(result.map_err(|error| error.kind()), Err(ErrorKind::PermissionDenied));
            assert!(!is_root);
        }
    }
    let cmdline = proc::read(running.pid(), "cmdline").expect("everybody may read it");
    assert!(cmdline.windows(11).any(|window| window == b"--ca-file\0/"), "this is its command line");
    tokens.iter().for_each(|token| assert_eq!(leaked(token, &cmdline), [""; 0]));
}

#[test]
fn a_stalled_launchers_memory_does_not_show_the_token_variable() {
    let scenario = scenario();
    scenario.vault.fault(Endpoint::Login, Fault::Stall);
    for extra in [&[][..], &["--allow-core"]] {
        scenario.vault.clear_log();
        let running = scenario.launch().options(extra).command(["true"]).start();
        stalled(&scenario);
        assert_memory_shows_nothing(&running, &[&scenario.token]);
    }
}

#[test]
fn a_stalled_launchers_command_line_does_not_show_the_token_in_any_spelling() {
    let scenario = scenario();
    let token = &scenario.token;
    let spellings: [&[&str]; 9] = [
        &["-t", token],
        &[&format!("-t{token}")],
        &[&format!("-t={token}")],
        &["-vt", token],
        &[&format!("-vvt{token}")],
        &["--access-token", token],
        &[&format!("--access-token={token}")],
        &["--deadline", "50s", "-t", token, "-v"],
        &["-t", &format!(" {token}\n")],
    ];
    for spelling in spellings {
        scenario.vault.clear_log();
        scenario.vault.fault_times(1, Endpoint::Login, Fault::Stall);
        let running = scenario.launch_without_token().options(spelling).command(["printenv", "KEY"]).start();
        stalled(&scenario);
        assert_memory_shows_nothing(&running, &[token]);
        scenario.vault.release();
        let outcome = running.finish();
        assert_eq!((outcome.code(), outcome.text()), (Some(0), "value\n".into()), "{}", outcome.stderr);
        assert_eq!(outcome.stderr, WARNING);
    }
}

#[test]
fn the_tokens_descriptor_is_closed_and_standard_input_becomes_null() {
    let scenario = scenario();
    let launch = |number: i32| {
        let launch = scenario.launch_without_token().options(["--access-token-fd", &number.to_string()]);
        let running = launch.descriptor(number, pipe(&scenario.token)).command(["sleep", "1000"]).start();
        let running = running.asleep_in("sleep");
        proc::descriptors(running.pid())
    };
    assert_eq!(launch(7).into_keys().collect::<Vec<_>>(), [0, 1, 2]);
    let descriptors = launch(0);
    assert!(descriptors[&0].starts_with("/dev/null "), "{descriptors:?}");
    assert_eq!(descriptors.into_keys().collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn the_status_descriptor_ends_at_exec() {
    let scenario = scenario();
    let (mut read, write) = std::io::pipe().unwrap();
    let launch = scenario.launch().options(["--status-fd", "9"]).descriptor(9, write);
    let running = launch.command(["sleep", "1000"]).start();
    let mut lines = String::new();
    // The command runs on: that this returns shows that it does not have the other end.
    read.read_to_string(&mut lines).unwrap();
    let running = running.asleep_in("sleep");
    assert_eq!(proc::descriptors(running.pid()).into_keys().collect::<Vec<_>>(), [0, 1, 2]);
    let phases =
        ["start", "login", "fetch", "resolve", "exec"].map(|phase| format!("{{\"phase\":\"{phase}\"}}"));
    assert_eq!(lines.lines().collect::<Vec<_>>(), phases);
}

/// Places that are looked at late, and the words that are not on stderr; `token_secrecy` has the rest.
#[test]
fn a_token_among_the_selectors_is_not_echoed() {
    let scenario = scenario();
    let token = &scenario.token;
    for option in ["--project", "--only", "--exclude", "--allow-name"] {
        let (mut read, write) = std::io::pipe().unwrap();
        let launch = scenario.launch().options(["-v", "--dry-run=json", "--status-fd", "9", option, token]);
        let outcome = launch.descriptor(9, write).command(["echo", token]).run();
        let mut status = Vec::new();
        read.read_to_end(&mut status).unwrap();
        let said = [&outcome.stdout[..], outcome.stderr.as_bytes(), &status].concat();
        assert!(said.windows(11).any(|window| window == b".[redacted]"), "{option}: {outcome:?}");
        assert_eq!(leaked(token, &said), [""; 0], "{option}: {outcome:?}");
    }
}
