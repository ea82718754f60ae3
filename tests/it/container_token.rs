//! `--container=token` with a real Docker Engine: the container logs in by itself, at every start.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::support::containers::{canary, holding};
use crate::support::docker::{BASE, docker};
use crate::support::{Launch, Scenario, eventually, leaked, proc};

struct Case {
    scenario: Scenario,
    directory: TempDir,
}

impl Case {
    fn new() -> Self {
        let scenario = Scenario::new().secret("ONE", "first").secret("TWO", "second");
        let directory = tempfile::tempdir().unwrap();
        let case = Self { scenario, directory };
        case.write("token", &case.scenario.token);
        fs::copy(case.scenario.vault.ca_file(), case.path("ca.pem")).unwrap();
        fs::set_permissions(case.path("ca.pem"), fs::Permissions::from_mode(0o444)).unwrap();
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o400)).unwrap();
    }

    /// Files by relative names, from the directory that they are in.
    fn launch(&self, command: &[&str]) -> Launch {
        let vault = &self.scenario.vault;
        let launch = Launch::new().directory(self.directory.path());
        docker()
            .launch(launch)
            .options(["--container=token", "--access-token-file", "token", "--ca-file", "ca.pem"])
            .options(["--identity-url", vault.identity_url(), "--api-url", vault.api_url()])
            .command(["docker"].iter().chain(command))
    }
}

#[test]
#[ignore = "needs docker"]
fn it_survives_a_restart() {
    let (docker, case) = (docker(), Case::new());
    let run = ["run", "-d", "--network", "host", "--restart", "always", "--name", "bws-restarted", BASE];
    let say = "echo $ONE; exec sleep 1000";
    let outcome = case.launch(&[&run[..], &["sh", "-c", say]].concat()).run();
    outcome.succeeded();
    eventually("it has begun", || docker.run(["logs", "bws-restarted"]) == "first");
    docker.run(["restart", "--time", "0", "bws-restarted"]);
    eventually("it has begun again", || docker.run(["logs", "bws-restarted"]) == "first\nfirst");
    let inspected = docker.run(["inspect", "bws-restarted"]);
    assert_eq!(leaked(&case.scenario.token, inspected.as_bytes()), [""; 0]);
    assert!(!inspected.contains("first"), "{inspected}");
    docker.run(["rm", "-f", "bws-restarted"]);
    let logins =
        case.scenario.vault.requests().iter().filter(|request| request.path.contains("token")).count();
    assert_eq!(logins, 2, "one a start, and none outside");
}

/// Neither values nor token: the engine has paths.
#[test]
#[ignore = "needs docker"]
fn the_engine_never_has_a_value() {
    let (docker, case, canary) = (docker(), Case::new(), canary("token"));
    case.scenario.vault.owner().create_secret(case.scenario.project, "CANARY", &canary);
    let words = ["run", "-d", "--network", "host", "--name", "bws-canary", BASE, "sleep", "1000"];
    case.launch(&words).run().succeeded();
    let pid: i32 = docker.run(["inspect", "-f", "{{.State.Pid}}", "bws-canary"]).parse().unwrap();
    eventually("the command runs", || proc::state(pid).is_some_and(|(_, name)| name == "sleep"));
    let environ = proc::read(pid, "environ").unwrap();
    assert!(String::from_utf8_lossy(&environ).contains(&canary), "the container has it");
    assert_eq!(leaked(&case.scenario.token, &environ), [""; 0], "and not the token");
    let (_, key) = case.scenario.token.rsplit_once(':').unwrap();
    for text in [&canary, key] {
        assert_eq!(holding(text, &docker.directory), [""; 0]);
    }
    docker.run(["kill", "bws-canary"]);
    for text in [&canary, key] {
        assert_eq!(holding(text, &docker.directory), [""; 0]);
    }
    docker.run(["rm", "bws-canary"]);
}

#[test]
#[ignore = "needs docker"]
fn create_and_start() {
    let (docker, case) = (docker(), Case::new());
    let id = case.launch(&["create", "--network", "host", BASE, "sh", "-c", "echo $ONE $TWO"]).run();
    id.succeeded();
    assert_eq!(docker.run(["start", "-a", id.text().trim_end()]), "first second");
    docker.run(["rm", id.text().trim_end()]);
}

/// What was said about the selection, the environment and the process is said inside.
#[test]
#[ignore = "needs docker"]
fn options_travel() {
    let case = Case::new();
    fs::write(case.path("app.env"), "PLAIN=value\nMADE=\"<${bws://TWO}>\"\n").unwrap();
    fs::set_permissions(case.path("app.env"), fs::Permissions::from_mode(0o444)).unwrap();
    let said = |options: &[&str], engine: &[&str], command: &[&str]| {
        let words = [&["run", "--rm", "--network", "host"], engine, &[BASE], command].concat();
        let outcome = case.launch(&words).options(options).run();
        outcome.succeeded();
        outcome.text().trim_end().to_owned()
    };
    let names = ["sh", "-c", "env | sort | grep -vE '^(PATH|HOME|HOSTNAME|PWD|SHLVL|_)='"];
    assert_eq!(said(&["--only", "O*", "--prefix", "MY_"], &[], &names), "MY_ONE=first");
    assert_eq!(said(&["--map", "A=web/TWO", "--require=A"], &[], &names), "A=second");
    assert_eq!(said(&["--env-file", "app.env"], &[], &names), "MADE=<second>\nPLAIN=value");
    assert_eq!(said(&["--resolve-env"], &["-e", "B=bws://ONE"], &names), "B=first");
    let cleaned = said(&["--only=ONE", "--no-inherit-env"], &["-e", "GONE=1"], &["env"]);
    assert!(cleaned.contains("ONE=first") && !cleaned.contains("GONE"), "{cleaned}");
    let kept =
        said(&["--only=ONE", "--on-conflict=inherited"], &["-e", "ONE=typed"], &["sh", "-c", "echo $ONE"]);
    assert_eq!(kept, "typed");
    let words = ["run", "--rm", "--network", "host", BASE, "true"];
    let outcome = case.launch(&words).env("BWS_EXEC_PROJECT", "elsewhere").run();
    outcome.failed_with(125, "no-match");
    assert!(outcome.stderr.contains("'elsewhere'"), "{}", outcome.stderr);
}

/// A user of the container that may not read the token is told so, by us, in there.
#[test]
#[ignore = "needs docker"]
fn a_token_for_others() {
    let case = Case::new();
    let outcome = case.launch(&["run", "--rm", "--network", "host", "--user", "1000", BASE, "true"]).run();
    outcome.failed_with(125, "token-unreadable");
    assert!(outcome.stderr.contains("/.bws-exec.token: Permission denied"), "{}", outcome.stderr);
}
