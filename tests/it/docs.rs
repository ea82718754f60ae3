//! Every example that is documented: it runs, by the real binary, against a vault that has what it names.
//!
//! A block is run as a shell script with `bws-exec` on PATH, which is the binary with the options of the
//! scenario's server in front. The commands it launches are stand-ins, written into a directory of their
//! own. Ids in a document stand for those of the vault; ```dotenv FILE blocks become files.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::vault::Access;
use crate::support::{BINARY, Launch, Running, Scenario};

/// Blocks that are not run, by their first line, and why.
const NOT_RUN: [(&str, &str); 3] = [
    ("cargo run --example quickstart   # the main", "builds this package, which runs this test"),
    ("# Repeat the proof: ", "takes an engine of the machine; container_traces does the same with its own"),
    ("cargo run --example quickstart\n", "builds this package, which runs this test"),
];

/// Blocks that take rights: to be another user, to mount. Where they would make directories is a directory
/// of their own.
const NEEDS_ROOT: [&str; 2] = ["bws-exec --file TLS_KEY=web/TLS_KEY,path=", "bws-exec --user "];

/// Its blocks are for a machine with systemd: [`crate::systemd_docs`] runs them in one.
pub const IN_A_MACHINE: &str = "systemd.md";

/// Commands in the examples.
const STAND_INS: [&str; 4] = ["./server", "psql", "npm", "node"];
/// These are asked about the image first.
const ENGINES: [&str; 2] = ["docker", "podman"];

/// The ids that the documents use.
const DB_PASSWORD: &str = "00000000-0000-4000-8000-000000000001";
const PROJECT: &str = "00000000-0000-4000-8000-000000000002";
const SENTRY_DSN: &str = "00000000-0000-4000-8000-000000000003";

#[derive(Debug)]
pub struct Block {
    pub document: String,
    pub line: usize,
    pub info: String,
    pub text: String,
}

impl Block {
    fn needs_root(&self) -> bool {
        NEEDS_ROOT.iter().any(|start| self.text.starts_with(start))
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    all.push(root.join("README.md"));
    all.sort();
    all
}

/// The fenced blocks of a document.
pub fn blocks(path: &Path) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut inside = false;
    for (number, line) in read(path).lines().enumerate() {
        match line.strip_prefix("```") {
            Some(_) if inside => inside = false,
            Some(info) => {
                inside = true;
                let document = path.file_name().unwrap().to_string_lossy().into_owned();
                blocks.push(Block { document, line: number + 2, info: info.into(), text: String::new() });
            }
            None if inside => writeln!(blocks.last_mut().unwrap().text, "{line}").unwrap(),
            None => {}
        }
    }
    assert!(!inside, "{}: a block is never closed", path.display());
    blocks
}

/// What the documents talk about.
struct World {
    scenario: Scenario,
    directory: TempDir,
    ids: Vec<(&'static str, String)>,
}

impl World {
    fn new() -> Self {
        let scenario = Scenario::new()
            .secret("DB_URL", "postgres://app@db/app")
            .secret("DB_JSON", r#"{"user": "app", "password": "secret"}"#)
            .secret("API_KEY", "key")
            .secret("TEST_TOKEN", "token")
            .secret("PORT", "443")
            .secret("TLS_CERT", "certificate")
            .secret("TLS_KEY", "key");
        let owner = scenario.vault.owner();
        let password = owner.create_secret(scenario.project, "DB_PASSWORD", "p@ss");
        let dsn = owner.create_secret(scenario.project, "SENTRY_DSN", "https://sentry.test");
        // A key that is no name would stop every example that selects all, so it is another account's.
        let legacy = owner.create_project("legacy");
        owner.create_secret(legacy, "db-password", "p@ss");
        owner.create_secret(scenario.project, "DATABASE_URL", "postgres://app@db/app");
        let ids = vec![
            (DB_PASSWORD, password.to_string()),
            (PROJECT, scenario.project.to_string()),
            (SENTRY_DSN, dsn.to_string()),
        ];
        let world = Self { scenario, directory: tempfile::tempdir().unwrap(), ids };
        // Another user may enter; what is private in it has its own mode.
        fs::set_permissions(world.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        world.grant("legacy-token", &[legacy]);
        world.write("token", &world.scenario.token);
        world.write("local.env", "PORT=8081\n");
        fs::create_dir(world.path("cache")).unwrap();
        world.stand_ins();
        world
    }

    /// With the files that the documents show.
    fn of_documents() -> Self {
        let world = Self::new();
        // One of a later document, or below, is as good.
        for file in documents().iter().flat_map(|path| blocks(path)) {
            if let Some(name) = file.info.strip_prefix("dotenv ") {
                let _ = fs::remove_file(world.path(name));
                world.write(name, &world.with_ids(&file.text));
            }
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o400)).unwrap();
    }

    /// A token that reads these projects beside `web`.
    fn grant(&self, file: &str, projects: &[uuid::Uuid]) {
        let owner = self.scenario.vault.owner();
        let account = owner.create_account(file);
        for project in projects.iter().chain([&self.scenario.project]) {
            owner.grant(account, *project, Access::Read);
        }
        self.write(file, &owner.create_token(account, file, None));
    }

    /// The launcher and the commands. They are written by a shell, not by this process: while one thread
    /// writes a program, what another one forks has it open too, and then it cannot be executed (ETXTBSY).
    fn stand_ins(&self) {
        let vault = &self.scenario.vault;
        let mut script = String::from("umask 022; mkdir bin; ");
        let mut program = |path: &str, text: &str| {
            write!(script, "printf '%s\\n' '#!/bin/sh' '{text}' >{path}; chmod +x {path}; ").unwrap();
        };
        let options = [vault.identity_url(), vault.api_url(), vault.ca_file().to_str().unwrap()];
        let [identity, api, ca] = options;
        program(
            "bin/bws-exec",
            &format!("exec {BINARY} --identity-url {identity} --api-url {api} --ca-file {ca} \"$@\""),
        );
        for name in STAND_INS {
            let path = name.strip_prefix("./").map_or(format!("bin/{name}"), str::to_owned);
            program(&path, &format!("echo ran {name} >&3"));
        }
        for name in ENGINES {
            let text = "case \"$*\" in \\
                (*context*) echo unix:///socket;; \\
                (*inspect*) echo \"[{\\\"Config\\\": {\\\"Cmd\\\": [\\\"app\\\"]}}]\";; \\
                (*) echo ran \"$*\" >&3;; esac";
            program(&format!("bin/{name}"), text);
        }
        let status = Command::new("sh").args(["-euc", &script]).current_dir(self.directory.path()).status();
        assert!(status.unwrap().success(), "{script}");
    }

    fn with_ids(&self, text: &str) -> String {
        self.ids.iter().fold(text.to_owned(), |text, (written, real)| text.replace(written, real))
    }

    /// Runs it and returns how many commands were launched.
    fn run(&self, block: &Block, token_file: &str) -> usize {
        let place = format!("{}:{}", block.document, block.line);
        let mut text = self
            .with_ids(&block.text)
            .replace("/run/secrets/", &format!("{}/", self.directory.path().display()));
        text = text.replace("/var/cache/app", &self.path("cache").display().to_string());
        text = text.replace("BWS_ACCESS_TOKEN=…", "BWS_ACCESS_TOKEN=\"$(cat token)\"");
        let launched = self.path("launched");
        fs::write(&launched, "").unwrap();
        let script = format!("exec 3>>launched\nexport BWS_ACCESS_TOKEN=\"$(cat {token_file})\"\n{text}");
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", self.path("bin").display());
        let mut launch = Launch::new().env("PATH", path).directory(self.directory.path());
        if block.needs_root() {
            let own = "mount -t tmpfs none /run && exec \"$@\"";
            launch = launch.under(["unshare", "--mount", "sh", "-c", own, "sh"]);
        }
        let outcome = Running::new(launch.command(["sh", "-euc", &script]).direct(), None).finish();
        assert_eq!(
            (outcome.code(), outcome.stderr.as_str()),
            (Some(0), ""),
            "{place}: {text}\n{}",
            outcome.text()
        );
        read(&launched).lines().count()
    }
}

impl World {
    /// Runs it; every launch that it shows starts its command, but dry ones.
    fn launches_all(&self, block: &Block) {
        let place = format!("{}:{}", block.document, block.line);
        let token = if block.text.contains("legacy") { "legacy-token" } else { "token" };
        let launches = block.text.lines().filter(|line| line.contains("bws-exec ") && !line.starts_with('#'));
        let dry = |line: &&str| line.contains("--dry-run");
        let (all, dry) = (launches.clone().count(), launches.filter(dry).count());
        assert!(all > 0, "{place} shows no launch");
        assert_eq!(self.run(block, token), all - dry, "{place}: commands launched");
    }
}

#[test]
fn every_block_runs() {
    let mut not_run = BTreeSet::new();
    let mut ran = 0;
    for document in documents().into_iter().filter(|path| !path.ends_with(IN_A_MACHINE)) {
        let world = World::of_documents();
        for block in blocks(&document).iter().filter(|block| block.info == "sh" && !block.needs_root()) {
            if let Some((first, _)) = NOT_RUN.iter().find(|(first, _)| block.text.starts_with(first)) {
                not_run.insert(*first);
                continue;
            }
            world.launches_all(block);
            ran += 1;
        }
    }
    assert!(ran >= 10, "the documents were understood: {ran}");
    assert_eq!(not_run, NOT_RUN.iter().map(|(first, _)| *first).collect(), "the list is up to date");
}

#[test]
#[ignore = "needs root"]
fn every_block_that_needs_root_runs() {
    let world = World::of_documents();
    let all = documents().iter().flat_map(|path| blocks(path)).collect::<Vec<_>>();
    let needy = all.iter().filter(|block| block.info == "sh" && block.needs_root());
    assert_eq!(
        needy.map(|block| world.launches_all(block)).count(),
        NEEDS_ROOT.len(),
        "the list is up to date"
    );
}

#[test]
fn every_example_of_the_help_runs() {
    let help = Launch::new().option("--help").run().text();
    let (_, examples) = help.split_once("Examples:\n").unwrap();
    let text: String = examples.lines().map(|line| format!("{}\n", line.trim())).collect();
    let launches = text.lines().filter(|line| line.starts_with("bws-exec ")).count();
    assert!(launches >= 3, "{text}");
    World::new().launches_all(&Block { document: "--help".into(), line: 1, info: "sh".into(), text });
}

/// Each path of the JSON form stands in the table, and the other way round.
#[test]
fn the_documented_fields_of_a_dry_run_are_its_fields() {
    fn fields(value: &Value, path: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    fields(member, &path, found);
                    found.insert(path);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| fields(item, &format!("{path}[]"), found)),
            _ => {}
        }
    }
    let scenario = Scenario::new()
        .secret("ONE", "1")
        .secret("PATH", "dangerous")
        .secret("OTHER", "3")
        .secret("UNUSED", "4");
    let cache = tempfile::tempdir().unwrap();
    let mut shown = BTreeSet::new();
    // From the server, then from the copy.
    for options in [&[][..], &["--offline"]] {
        let launch = scenario.launch().option("--cache-dir").option(cache.path()).options(options);
        let launch =
            launch.options(["--only=ONE", "--only=PATH", "--file=F=OTHER", "--user=0:0", "--dry-run=json"]);
        let outcome = launch.command(["true"]).run();
        fields(&serde_json::from_slice(&outcome.stdout).unwrap(), "", &mut shown);
    }

    let text = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/selecting.md"));
    let (_, table) = text.split_once("### `--dry-run=json`").unwrap();
    let cells = table.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    let documented: BTreeSet<String> =
        cells.flat_map(|cell| cell.split(", ").map(|field| field.trim_matches('`').to_owned())).collect();
    assert_eq!(documented, shown);
}

/// From one document to another.
#[test]
fn links_lead_somewhere() {
    for document in documents() {
        let text = read(&document);
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split(')').next().unwrap();
            if !target.contains("://") {
                let path = document.parent().unwrap().join(target.split('#').next().unwrap());
                assert!(path.exists(), "{}: {target}", document.display());
            }
        }
    }
}

/// The container and the unit of the README: their variables and command lines, with a token and a
/// command of this machine.
#[test]
fn the_container_and_the_unit_of_the_readme() {
    let blocks = blocks(&Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"));
    let line = |info: &str, start: &str| -> String {
        let block = blocks.iter().find(|block| block.info == info).expect("the README has it");
        block.text.lines().find_map(|line| line.strip_prefix(start)).expect("it has such a line").to_owned()
    };
    let scenario = Scenario::new().secret("NAME", "value");
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("bws-access-token");
    fs::write(&token, &scenario.token).unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o400)).unwrap();
    let runs = |words: &[&str], launch: Launch| {
        assert_eq!((words[0].rsplit('/').next(), words[1], words.len()), (Some("bws-exec"), "--", 3));
        assert_eq!(launch.command(["printenv", "NAME"]).run().succeeded().text(), "value\n");
    };

    let (name, path) =
        line("dockerfile", "ENV ").split_once('=').map(|(n, p)| (n.to_owned(), p.to_owned())).unwrap();
    assert!(path.ends_with("/bws-access-token"));
    let entrypoint: Vec<String> = serde_json::from_str(&line("dockerfile", "ENTRYPOINT ")).unwrap();
    let words: Vec<&str> = entrypoint.iter().map(String::as_str).collect();
    runs(&words, scenario.launch_without_token().env(name, &token));

    assert!(line("ini", "LoadCredential=").starts_with("bws-access-token:"));
    let command = line("ini", "ExecStart=");
    let words: Vec<&str> = command.split(' ').collect();
    runs(&words, scenario.launch_without_token().env("CREDENTIALS_DIRECTORY", directory.path()));
}
