//! What the tests of errors share, and the check that none of them is without a test.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::vault::{Endpoint, Fault, Options, Vault, Where};
use crate::support::{Launch, Outcome, PATIENCE, Running, Scenario};

/// Time for several attempts, also on a loaded machine.
pub const DEADLINE: &str = "2s";
/// What is added to an error after several attempts, with N for their number.
pub const GAVE_UP: &str = " (N attempts within --deadline 2s)";

pub const AGAIN: &str = "try again later";
pub const MORE_TIME: &str = "check the network, or give more time by --deadline";
pub const BASE_URL: &str =
    "check --server-url, --api-url and --identity-url: they must be the base URLs of Bitwarden's API";

/// `127.0.0.1:port`, as messages name a server.
pub fn host(url: &str) -> &str {
    let (_, rest) = url.split_once("://").expect("a URL has a scheme");
    rest.split('/').next().expect("split gives at least one part")
}

/// The two lines of an error.
pub fn error(slug: &str, message: &str, hint: &str) -> String {
    format!("bws-exec: error[{slug}]: {message}\nbws-exec: hint: {hint}\n")
}

/// Puts N in place of the number of attempts, which depends on chance.
pub fn without_count(stderr: &str) -> String {
    let Some((before, after)) = stderr.split_once(" attempts within") else { return stderr.to_owned() };
    let (before, count) = before.rsplit_once('(').expect("the number follows a bracket");
    let count: u32 = count.parse().expect("there is a number");
    assert!(count >= 2, "a single attempt is not counted");
    format!("{before}(N attempts within{after}")
}

/// A command that would show that it ran.
pub fn echo(launch: Launch) -> Launch {
    launch.command(["echo", "the command ran"])
}

/// A vault with one secret and one fault, and what comes of it.
pub struct Case {
    pub options: Options,
    pub at: Where,
    pub fault: Fault,
    pub deadline: &'static str,
    pub code: i32,
    /// With `{identity}` and `{api}` for the addresses.
    pub stderr: String,
}

impl Case {
    /// Trying again will not help, and is not tried.
    pub fn permanent(at: impl Into<Where>, fault: Fault, slug: &str, message: &str, hint: &str) -> Self {
        let stderr = error(slug, message, hint);
        Self { options: Options::default(), at: at.into(), fault, deadline: DEADLINE, code: 125, stderr }
    }

    /// Tried again until the time is over.
    pub fn transient(at: impl Into<Where>, fault: Fault, slug: &str, message: &str, hint: &str) -> Self {
        let stderr = error(slug, &format!("{message}{GAVE_UP}"), hint);
        Self { options: Options::default(), at: at.into(), fault, deadline: DEADLINE, code: 75, stderr }
    }

    /// The only attempt ends with the deadline.
    pub fn cut_short(at: impl Into<Where>, fault: Fault, message: &str) -> Self {
        let stderr = error("timeout", message, MORE_TIME);
        Self { options: Options::default(), at: at.into(), fault, deadline: DEADLINE, code: 75, stderr }
    }

    pub fn at(self, at: Endpoint) -> Self {
        Self { at: at.into(), ..self }
    }

    pub fn with(self, options: Options) -> Self {
        Self { options, ..self }
    }
}

/// Runs all cases side by side, each with a vault of its own.
#[track_caller]
pub fn check(cases: Vec<Case>) {
    let started: Vec<(Scenario, Running, Case)> = cases
        .into_iter()
        .map(|mut case| {
            let scenario = Scenario::with(std::mem::take(&mut case.options)).secret("NAME", "value");
            scenario.vault.fault(case.at, case.fault.clone());
            let run = echo(scenario.launch().options(["--deadline", case.deadline])).start();
            (scenario, run, case)
        })
        .collect();
    for (scenario, run, case) in started {
        let outcome = run.finish();
        println!("{:?} {:?}: {:?}", case.at, case.fault, outcome);
        let stderr = case
            .stderr
            .replace("{identity}", host(scenario.vault.identity_url()))
            .replace("{api}", host(scenario.vault.api_url()));
        Outcome { stderr: without_count(&outcome.stderr), ..outcome }.failed(case.code, &stderr);
    }
}

/// No port of the vault was as much as touched.
#[track_caller]
pub fn untouched(vault: &Vault) {
    // A connection that the launcher made is in the queue of the port before the launcher ends, and a
    // later one behind it: once this one was accepted, all were.
    for url in [vault.identity_url(), vault.api_url()] {
        std::net::TcpStream::connect(host(url)).expect("the vault listens");
    }
    assert!(vault.wait_for_connections(PATIENCE, 2));
    assert_eq!(vault.connections(), 2, "two are ours, and there is no other");
}

/// Every slug of src/error.rs stands in a test that drives the binary.
#[test]
fn every_error_has_a_test() {
    /// Not to be had from outside.
    const UNREACHABLE: [&str; 1] = ["internal"]; // by definition a bug of ours

    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &Path| std::fs::read_to_string(path).expect("the sources are there");
    let source = read(&root.join("src/error.rs"));
    let (_, function) = source.split_once("fn slug(").expect("there is a function of slugs");
    let function = function.split("\n    }\n").next().expect("split gives at least one part");
    let slugs: BTreeSet<&str> = function.split('"').skip(1).step_by(2).collect();
    assert!(slugs.len() > 30, "the function was understood: {slugs:?}");

    let tests: String = std::fs::read_dir(root.join("tests/it"))
        .expect("the tests are there")
        .map(|entry| entry.expect("the directory can be read").path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("errors_")))
        .map(|path| read(&path))
        .collect();
    let tested = |slug: &str| tests.contains(&format!("\"{slug}\"")) || tests.contains(&format!("[{slug}]"));
    let untested: Vec<&str> =
        slugs.iter().copied().filter(|slug| !UNREACHABLE.contains(slug) && !tested(slug)).collect();
    assert!(untested.is_empty(), "no test names {untested:?}");
    assert!(UNREACHABLE.iter().all(|slug| slugs.contains(slug) && !tested(slug)), "the list is up to date");
}
