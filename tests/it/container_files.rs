//! `--file` inside a container, with `--container=token`: a descriptor works in any, a fixed path needs rights.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::errors::error;
use crate::support::docker::{BASE, docker};
use crate::support::podman::{self, Podman};
use crate::support::{Launch, Outcome, Scenario};

struct Case {
    scenario: Scenario,
    token: tempfile::NamedTempFile,
}

impl Case {
    fn new() -> Self {
        let case = Self {
            scenario: Scenario::new().secret("KEY", "value"),
            token: tempfile::NamedTempFile::new().unwrap(),
        };
        fs::write(case.token.path(), &case.scenario.token).unwrap();
        fs::set_permissions(case.token.path(), fs::Permissions::from_mode(0o400)).unwrap();
        case
    }

    fn launch(&self, file: &str) -> Launch {
        let launch = self.scenario.launch_without_token().options(["--container=token", "--file", file]);
        launch.option("--access-token-file").option(self.token.path())
    }

    fn docker(&self, file: &str, options: &[&str]) -> Outcome {
        let words = ["docker", "run", "--rm", "--network", "host"].iter().chain(options).chain(&[BASE]);
        docker().launch(self.launch(file)).command(words.chain(&READ)).run()
    }
}

const READ: [&str; 3] = ["sh", "-c", "cat $K && echo && echo $K"];
const PATH: &str = "K=KEY,path=/run/secrets/web/key";

#[test]
#[ignore = "needs docker"]
fn a_descriptor_needs_no_right() {
    let case = Case::new();
    for options in [&[][..], &["--cap-drop=ALL", "--read-only", "--security-opt=no-new-privileges"]] {
        let outcome = case.docker("K=KEY", options);
        assert_eq!(outcome.succeeded().text(), "value\n/proc/self/fd/100\n", "{options:?}");
    }
}

/// A default container has no right to mount, and nothing is written to its disk instead.
#[test]
#[ignore = "needs docker"]
fn a_path_in_a_default_container_is_refused() {
    let case = Case::new();
    let message = "cannot mount memory over /run/secrets/web for the command alone: \
                   Operation not permitted (os error 1)";
    let hint = "path= needs CAP_SYS_ADMIN, as root has it; without path= the file is a descriptor and needs no right";
    let refused = error("private-mount", message, hint);
    case.docker(PATH, &[]).failed(125, &refused);
    // A tmpfs of the engine's brings no right with it, and is not taken in the place of ours.
    case.docker(PATH, &["--tmpfs", "/run/secrets/web"]).failed(125, &refused);
}

#[test]
#[ignore = "needs docker"]
fn a_path_with_the_right_to_mount() {
    let case = Case::new();
    let rights = ["--cap-add=SYS_ADMIN", "--security-opt=apparmor=unconfined"];
    let outcome = case.docker(PATH, &rights);
    assert_eq!(outcome.succeeded().text(), "value\n/run/secrets/web/key\n");
    // On a read-only root file system the directory has to be there.
    let outcome = case.docker(PATH, &[&rights[..], &["--read-only"]].concat());
    outcome.failed_with(125, "file-directory");
    let outcome = case.docker(PATH, &[&rights[..], &["--read-only", "--tmpfs", "/run/secrets"]].concat());
    assert_eq!(outcome.succeeded().text(), "value\n/run/secrets/web/key\n");
}

#[test]
#[ignore = "needs podman"]
fn a_path_with_podman() {
    let (case, podman) = (Case::new(), Podman::new());
    let run = |options: &[&str]| {
        let words = ["--rm", "--network", "host"].iter().chain(options).chain(&[podman::BASE]).chain(&READ);
        let words = podman.run_words().into_iter().chain(words.map(|word| (*word).to_owned()));
        case.launch(PATH).env("HOME", podman.path()).command(words).run()
    };
    run(&[]).failed_with(125, "private-mount");
    let outcome = run(&["--cap-add=SYS_ADMIN"]);
    assert_eq!(outcome.succeeded().text(), "value\n/run/secrets/web/key\n");
}
