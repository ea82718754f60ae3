//! `--user` and `--no-new-privs` with `--container`: of the command inside, by the names of its image.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::docker::{BASE, docker};
use crate::support::{Launch, Scenario};

const SAY: &str =
    "echo $KEY $(id -u) $(id -g) $HOME; grep -E '^(CapPrm|CapEff|CapInh|NoNewPrivs)' /proc/self/status";

fn expected(ids: &str) -> String {
    let none = "0000000000000000";
    format!("value {ids}\nCapInh:\t{none}\nCapPrm:\t{none}\nCapEff:\t{none}\nNoNewPrivs:\t1\n")
}

fn run(launch: Launch, user: &str, words: &[&str]) -> String {
    let launch = docker().launch(launch).options(["--user", user, "--no-new-privs"]);
    let outcome = launch.command(words.iter().chain(&["sh", "-c", SAY])).run();
    outcome.succeeded().text()
}

#[test]
#[ignore = "needs docker"]
fn the_command_inside_is_that_user_and_the_client_is_not() {
    let scenario = Scenario::new().secret("KEY", "value");
    let launch = || scenario.launch().option("--container");
    let words = ["docker", "run", "--rm", "--network", "none", BASE];
    // `app` is no user of this machine.
    assert_eq!(run(launch(), "app", &words), expected("1000 1000 /home/app"));
    assert_eq!(run(launch(), "4242:4343", &words), expected("4242 4343 /"));
    let words = ["docker", "run", "--rm", "--network", "none", "--user", "1000:1000", BASE, "id"];
    let outcome = docker().launch(launch()).option("--user=4242:4343").command(words).run();
    outcome.failed_with(125, "user");
}

/// And the application inside cannot read the token, which it could as the container's root.
#[test]
#[ignore = "needs docker"]
fn with_a_token_of_its_own() {
    let scenario = Scenario::new().secret("KEY", "value");
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    fs::write(path("token"), &scenario.token).unwrap();
    fs::set_permissions(path("token"), fs::Permissions::from_mode(0o400)).unwrap();
    fs::copy(scenario.vault.ca_file(), path("ca.pem")).unwrap();
    let launch = || {
        let vault = &scenario.vault;
        Launch::new()
            .directory(place.path())
            .options(["--container=token", "--access-token-file", "token", "--ca-file", "ca.pem"])
            .options(["--identity-url", vault.identity_url(), "--api-url", vault.api_url()])
    };
    let words = ["docker", "run", "--rm", "--network", "host", BASE];
    assert_eq!(run(launch(), "4242:4343", &words), expected("4242 4343 /"));
    let cat = ["docker", "run", "--rm", "--network", "host", BASE, "cat", "/.bws-exec.token"];
    let outcome = docker().launch(launch()).option("--user=4242:4343").command(cat).run();
    assert_eq!((outcome.code(), outcome.text()), (Some(1), String::new()));
    assert!(outcome.stderr.contains("Permission denied"), "{}", outcome.stderr);
}
