//! docker and podman by one set of words, for tests that want the same of both.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use super::containers::canary;
use super::docker::{self, Docker};
use super::podman::{self, Podman};
use super::{BINARY, Launch, Scenario};

/// An engine that says all that it can say, to a journal of its own in its directory.
pub enum Engine {
    Docker(&'static Docker),
    Podman(Podman),
}

impl Engine {
    pub fn directory(&self) -> &Path {
        match self {
            Self::Docker(docker) => &docker.directory,
            Self::Podman(podman) => podman.path(),
        }
    }

    pub fn base(&self) -> &'static str {
        match self {
            Self::Docker(_) => docker::BASE,
            Self::Podman(_) => podman::BASE,
        }
    }

    pub fn try_run(&self, words: &[&str]) -> Output {
        match self {
            Self::Docker(docker) => docker.try_run(words),
            Self::Podman(podman) => podman.try_run(words),
        }
    }

    #[track_caller]
    pub fn run(&self, words: &[&str]) -> String {
        let output = self.try_run(words);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// The client up to `run` and what this machine asks for.
    pub fn words(&self) -> Vec<String> {
        let mut words = match self {
            Self::Docker(_) => vec!["docker".to_owned(), "--debug".into(), "run".into()],
            Self::Podman(podman) => {
                let mut words = podman.run_words();
                words.splice(1..1, ["--log-level".to_owned(), "debug".into()]);
                words
            }
        };
        words.extend(["--network", "host"].map(str::to_owned));
        words
    }

    /// The client's own words go to a file of the engine's directory, or to its journal.
    pub fn launch(&self, launch: Launch) -> Launch {
        match self {
            Self::Docker(docker) => {
                let to_a_file = "file=$1; shift; exec \"$@\" 2>>\"$file\"";
                let file = self.directory().join("client.log").display().to_string();
                docker.launch(launch).under(["sh", "-c", to_a_file, "sh", &file])
            }
            Self::Podman(podman) => {
                let to_the_journal = "exec 3>&1; exec systemd-cat sh -c 'exec \"$@\" >&3 3>&-' sh \"$@\"";
                let words = ["sh", "-c", to_the_journal, "sh"].map(str::to_owned);
                launch.env("HOME", podman.path()).under(podman.enter().into_iter().chain(words))
            }
        }
    }

    pub fn pid(&self, name: &str) -> i32 {
        self.run(&["inspect", "-f", "{{.State.Pid}}", name]).parse().unwrap()
    }

    /// The base with this entrypoint, and the binary.
    pub fn entrypoint(&self, image: &str, instruction: &str) {
        let tree = tempfile::tempdir().unwrap();
        docker::tree(tree.path());
        let copied = Command::new("cp").arg(BINARY).arg(tree.path().join("bws-exec")).status();
        assert!(copied.unwrap().success());
        match self {
            Self::Docker(docker) => docker.import(image, tree.path(), &[instruction]),
            Self::Podman(podman) => {
                let script = "tar -C \"$1\" -c . | { shift; \"$@\"; }";
                let mut import = Command::new("sh");
                import.args(["-ec", script, "sh"]).arg(tree.path()).args(podman.client());
                let output = import.args(["import", "--change", instruction, "-", image]).output().unwrap();
                assert!(output.status.success(), "{output:?}");
            }
        }
    }
}

/// What the vault has, and files for a container: a token and the vault's authority.
pub struct World {
    pub scenario: Scenario,
    pub canary: String,
    files: TempDir,
}

impl World {
    pub fn new(name: &str) -> Self {
        let canary = canary(name);
        let scenario = Scenario::new().secret("CANARY", &canary);
        let files = tempfile::tempdir().unwrap();
        let world = Self { scenario, canary, files };
        fs::write(world.path("token"), &world.scenario.token).unwrap();
        fs::copy(world.scenario.vault.ca_file(), world.path("ca.pem")).unwrap();
        for name in ["token", "ca.pem"] {
            fs::set_permissions(world.path(name), fs::Permissions::from_mode(0o444)).unwrap();
        }
        // Of the token, only we can read it.
        fs::set_permissions(world.path("token"), fs::Permissions::from_mode(0o400)).unwrap();
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    pub fn launch(&self, way: Way) -> Launch {
        match way {
            Way::Plain => self.scenario.launch(),
            Way::Socket => self.scenario.launch().option("--container=socket"),
            Way::Token => self
                .scenario
                .launch_without_token()
                .options(["--container=token", "--access-token-file"])
                .option(self.path("token")),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    Plain,
    Socket,
    Token,
}
