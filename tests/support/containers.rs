//! What the tests of `--container` stand on: a scenario with a canary and an engine, and a client that waits to be
//! let through.

use std::fs;
use std::path::{Path, PathBuf};

use super::docker::{Docker, docker};
use super::{Launch, Scenario, eventually, script};

/// In no file before; put together at run time, so that it is not in this program either.
pub fn canary(of: &str) -> String {
    let number = fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
    format!("canary-{of}-{}-in-a-coal-mine", number.trim_end())
}

pub struct Case {
    pub docker: &'static Docker,
    pub scenario: Scenario,
    pub canary: String,
}

impl Case {
    pub fn new(name: &str) -> Self {
        Self::with(name, docker())
    }

    pub fn with(name: &str, docker: &'static Docker) -> Self {
        let canary = canary(name);
        Self { docker, scenario: Scenario::new().secret("CANARY", &canary), canary }
    }

    pub fn launch(&self) -> Launch {
        self.docker.launch(self.scenario.launch())
    }

    /// `docker run` with these options and words, in a container.
    pub fn run(&self, options: &[&str], image: &str, command: &[&str]) -> Launch {
        let words =
            ["docker", "run", "--network", "none"].iter().chain(options).chain([&image]).chain(command);
        self.launch().option("--container").command(words)
    }

    /// Files of the engine that hold the canary.
    pub fn found(&self) -> Vec<String> {
        holding(&self.canary, &self.docker.directory)
    }
}

/// Files below that have this text in them.
pub fn holding(text: &str, directory: &Path) -> Vec<String> {
    let mut grep = std::process::Command::new("grep");
    let output = grep.args(["-rlaF", "-D", "skip", text]).arg(directory).output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

pub const ENVIRONMENT: [&str; 2] = ["cat", "/proc/self/environ"];
pub const SAY: [&str; 3] = ["sh", "-c", "echo $CANARY"];

pub const SAY_AND_GROUPS: &str = "echo $CANARY; cat /proc/self/cgroup";

/// The hierarchies of version 1 of this machine, if it has any, say nothing of the container.
#[track_caller]
pub fn is_named_by_version_2_alone(text: &str, canary: &str) {
    let (said, groups) = text.split_once('\n').expect("a line and the groups");
    assert_eq!(said, canary);
    let named = |line: &&str| line.split('/').any(|part| part.len() >= 64);
    let named: Vec<&str> = groups.lines().filter(named).collect();
    assert!(matches!(named[..], [line] if line.starts_with("0::/")), "{groups}");
}

/// A `docker` that stops in front of `run`, says what it was given, and waits.
pub struct Gate {
    pub directory: tempfile::TempDir,
}

impl Gate {
    /// `then` is what it does when it is let through, with the client's words as "$@".
    pub fn new(then: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().display();
        let text = format!(
            "#!/bin/sh\nPATH=/usr/local/bin:/usr/bin:/bin\n[ \"$1\" = run ] || exec docker \"$@\"\n\
             printf '%s\\n' \"$@\" >{at}/words.new; mv {at}/words.new {at}/words\n\
             mkfifo {at}/gate 2>/dev/null; read _ <{at}/gate\n{then}\n"
        );
        script(&directory.path().join("docker"), &text);
        let made = std::process::Command::new("mkfifo").arg(directory.path().join("gate")).status();
        assert!(made.unwrap().success());
        Self { directory }
    }

    pub fn path(&self) -> String {
        format!("{}:/usr/local/bin:/usr/bin:/bin", self.directory.path().display())
    }

    pub fn words(&self) -> Vec<String> {
        let file = self.directory.path().join("words");
        eventually("the client is at the gate", || file.exists());
        fs::read_to_string(file).unwrap().lines().map(Into::into).collect()
    }

    pub fn open(&self) {
        fs::write(self.directory.path().join("gate"), "go\n").unwrap();
    }
}

/// The socket among the client's words.
pub fn socket(words: &[String]) -> PathBuf {
    let mount = words.iter().find(|word| word.contains("target=/.bws-exec.sock")).expect("it is mounted");
    let source = mount.split(',').find_map(|field| field.strip_prefix("source=")).expect("it has a source");
    source.into()
}
