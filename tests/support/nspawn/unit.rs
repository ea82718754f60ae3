//! A unit of `examples/systemd` in the machine, under a name of its own, with a vault of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Instant;

use super::Machine;
use crate::support::vault::{Layout, Options};
use crate::support::{PATIENCE, Scenario, eventually};

/// The text of an example.
pub fn example(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/systemd").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A vault that a unit finds by one URL.
pub fn vault() -> Scenario {
    Scenario::with(Options { layout: Layout::SelfHosted, ..Options::default() })
}

/// A service, and what belongs to it.
pub struct Unit {
    pub machine: &'static Machine,
    pub scenario: Scenario,
    /// Stands where the examples have `app`.
    pub stem: String,
    /// `STEM.service`, say.
    pub name: String,
}

impl Unit {
    /// An example's service; `stem` takes the place of the word `app` wherever the file has it, so that each
    /// test has units, directories and a program to itself.
    pub fn new(machine: &'static Machine, example_file: &str, stem: &str, scenario: Scenario) -> Self {
        let name = renamed(example_file, stem);
        let path = format!("/etc/systemd/system/{name}");
        machine.write(&path, &renamed(&example(example_file), stem), 0o644);
        Self { machine, scenario, stem: stem.into(), name }.prepared()
    }

    /// A service that is there already, as `STEM.service`.
    pub fn existing(machine: &'static Machine, stem: &str, scenario: Scenario) -> Self {
        Self { machine, scenario, stem: stem.into(), name: format!("{stem}.service") }.prepared()
    }

    /// The package's template, for `STEM`.
    pub fn of_template(machine: &'static Machine, stem: &str, scenario: Scenario) -> Self {
        machine.write(&format!("/etc/bws-exec/{stem}.token"), &scenario.token, 0o600);
        Self { machine, scenario, stem: stem.into(), name: format!("bws-exec@{stem}.service") }.prepared()
    }

    /// With a token, a vault and a program.
    fn prepared(self) -> Self {
        self.token(&self.scenario.token);
        self.knows_the_vault(&self.name);
        self.machine.install(service(), &self.program());
        // What nothing wants is forgotten when it has ended, with how it has ended.
        self.machine.run(["systemctl", "add-wants", "multi-user.target", &self.name]);
        self
    }

    /// Puts another file of the examples beside it.
    pub fn add(&self, example_file: &str) {
        let path = format!("/etc/systemd/system/{}", renamed(example_file, &self.stem));
        self.machine.write(&path, &renamed(&example(example_file), &self.stem), 0o644);
    }

    /// Where the vault is and its authority: what the cloud would not need.
    pub fn knows_the_vault(&self, unit: &str) {
        let ca = format!("/etc/{}/vault.pem", self.stem);
        self.machine.write(&ca, self.scenario.vault.ca_pem(), 0o644);
        let url = self.scenario.vault.server_url();
        let text = format!("[Service]\nEnvironment=BWS_SERVER_URL={url} SSL_CERT_FILE={ca}\n");
        self.machine.write(&format!("/etc/systemd/system/{unit}.d/vault.conf"), &text, 0o644);
    }

    /// What the credential is made of.
    pub fn token(&self, token: &str) {
        self.machine.write(&format!("/etc/{}/bws-access-token", self.stem), token, 0o600);
    }

    pub fn program(&self) -> String {
        format!("/usr/local/bin/{}", self.stem)
    }

    /// Runs this script instead of the program.
    pub fn script(self, text: &str) -> Self {
        self.machine.write(&format!("/etc/{}/script", self.stem), text, 0o755);
        let copy = format!("cp /etc/{0}/script {1}.part && mv {1}.part {1}", self.stem, self.program());
        self.machine.run(["sh", "-c", &copy]);
        self
    }

    /// More settings for the service.
    pub fn with(self, settings: &str) -> Self {
        let path = format!("/etc/systemd/system/{}.d/test.conf", self.name);
        let before = fs::read_to_string(self.machine.path(&path)).unwrap_or("[Service]\n".into());
        self.machine.write(&path, &format!("{before}{settings}\n"), 0o644);
        self.reload();
        self
    }

    pub fn reload(&self) {
        self.machine.run(["systemctl", "daemon-reload"]);
    }

    #[track_caller]
    pub fn systemctl(&self, verb: &str) -> String {
        self.machine.run(["systemctl", verb, &self.name])
    }

    /// Starts it without waiting for what the unit's type waits for.
    #[track_caller]
    pub fn begin(&self) {
        self.machine.run(["systemctl", "start", "--no-block", &self.name]);
    }

    /// A property as `systemctl show` has it.
    #[track_caller]
    pub fn show(&self, property: &str) -> String {
        self.show_of(&self.name, property)
    }

    #[track_caller]
    pub fn show_of(&self, unit: &str, property: &str) -> String {
        self.machine.run(["systemctl", "show", "--value", "--property", property, unit]).trim().to_owned()
    }

    /// Waits until properties are so.
    #[track_caller]
    pub fn becomes(&self, expected: &[(&str, &str)]) {
        let began = Instant::now();
        loop {
            let found: Vec<_> = expected.iter().map(|(property, _)| self.show(property)).collect();
            if found.iter().zip(expected).all(|(found, (_, value))| found == value) {
                return;
            }
            let name = &self.name;
            let late = began.elapsed() > PATIENCE;
            assert!(!late, "{name} is {found:?}, not {expected:?}: {}", self.journal());
        }
    }

    /// Waits until its main process is this program and returns its number inside.
    #[track_caller]
    pub fn runs(&self, program: &str) -> String {
        let mut pid = String::new();
        eventually(&format!("{} runs {program}", self.name), || {
            pid = self.show("MainPID");
            let link = self.machine.try_run(["readlink", &format!("/proc/{pid}/exe")]);
            String::from_utf8_lossy(&link.stdout).trim() == program
        });
        pid
    }

    /// What stands in the journal about it, its own words too.
    pub fn journal(&self) -> String {
        self.machine.run(["journalctl", "--sync"]);
        self.machine.run(["journalctl", "--output=cat", "--unit", &self.name])
    }
}

fn renamed(text: &str, stem: &str) -> String {
    let mut words = String::new();
    for piece in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        match piece.strip_prefix("app") {
            Some(rest) if !rest.starts_with(|c: char| c.is_ascii_alphanumeric()) => {
                words.push_str(stem);
                words.push_str(rest);
            }
            _ => words.push_str(piece),
        }
    }
    words
}

/// `examples/service.rs`, as the static binary that every image has room for. It is compiled here: a run
/// of these tests alone builds no examples.
pub fn service() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("service");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/service.rs");
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition=2024", "-Ctarget-feature=+crt-static", "-Cstrip=symbols", source, "-o"]);
        assert!(rustc.arg(&program).status().expect("rustc is there").success());
        program
    })
}
