//! What is kept from one launch to the next: the sealed copy and the session.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::vault::{Endpoint, Fault, Request, Where};
use crate::support::{Launch, Outcome, PATIENCE, Scenario};

/// A scenario with a directory for the cache.
pub struct Cached {
    pub scenario: Scenario,
    pub directory: TempDir,
}

impl Cached {
    pub fn new() -> Self {
        Self::of(Scenario::new().secret("NAME", "value"))
    }

    pub fn of(scenario: Scenario) -> Self {
        Self { scenario, directory: TempDir::new().expect("a directory") }
    }

    /// A launch that prints NAME.
    pub fn launch(&self) -> Launch {
        let launch = self.scenario.launch().option("--cache-dir").option(self.directory.path());
        launch.command(["printenv", "NAME"])
    }

    pub fn run(&self, options: &[&str]) -> Outcome {
        self.launch().options(options).run()
    }

    /// Ours, below the operator's.
    pub fn ours(&self) -> PathBuf {
        // SAFETY: it only asks.
        self.directory.path().join(format!("bws-exec.{}", unsafe { libc::geteuid() }))
    }

    /// The files in it, by what follows the dot.
    pub fn file(&self, kind: &str) -> Option<PathBuf> {
        files(&self.ours()).into_iter().find(|path| path.extension().is_some_and(|it| it == kind))
    }

    /// The requests since the last look.
    pub fn asked(&self) -> Vec<Endpoint> {
        let asked = self.scenario.vault.requests().iter().map(|request| request.endpoint).collect();
        self.scenario.vault.clear_log();
        asked
    }

    pub fn outage(&self) {
        self.scenario.vault.fault(Where::Any, Fault::status(503));
    }
}

pub fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    files.sort();
    files
}

use Endpoint::{Login, Sync};

#[test]
fn a_warm_start_is_one_request_and_a_fresh_copy_none() {
    let cached = Cached::new();
    assert_eq!(cached.run(&[]).succeeded().text(), "value\n");
    assert_eq!(cached.asked(), [Login, Sync]);
    assert_eq!(cached.run(&[]).succeeded().text(), "value\n");
    assert_eq!(cached.asked(), [Sync]);
    assert_eq!(cached.run(&["--max-age", "1h"]).succeeded().text(), "value\n");
    assert_eq!(cached.asked(), []);
    assert_eq!(cached.run(&["--max-age", "1ms"]).succeeded().text(), "value\n");
    assert_eq!(cached.asked(), [Sync]);
    assert_eq!(cached.run(&["--no-session-cache"]).succeeded().text(), "value\n");
    assert_eq!(cached.asked(), [Login, Sync]);
    assert_eq!(cached.file("session"), None);
}

#[test]
fn two_hundred_at_once() {
    let cached = Cached::new();
    let launches: Vec<_> = (0..200).map(|_| cached.launch().start()).collect();
    let outcomes: Vec<_> = launches.into_iter().map(|run| run.finish()).collect();
    let asked = cached.asked();
    let count = |it| asked.iter().filter(|&&endpoint| endpoint == it).count();
    println!(
        "{} logins, {} syncs; slowest {:?}",
        count(Login),
        count(Sync),
        outcomes.iter().map(|o| o.took).max()
    );
    for outcome in outcomes {
        assert_eq!(outcome.succeeded().text(), "value\n");
    }
    let _ = (PATIENCE, Duration::ZERO);
    let _ = |request: &Request| request.endpoint;
}

#[test]
fn an_outage_is_survived_and_said() {
    let cached = Cached::new();
    cached.run(&[]).succeeded();
    cached.outage();
    let outcome = cached.run(&[]);
    println!("{outcome:?}");
    assert_eq!(outcome.text(), "value\n");
    let outcome = cached.run(&["--offline"]);
    println!("{outcome:?}");
    let outcome = cached.run(&["--max-stale", "1ms", "--deadline", "1s"]);
    println!("{outcome:?}");
}
