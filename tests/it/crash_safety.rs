//! A launch that is killed while it writes leaves the old copy or the new one, whole.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::cache::Cached;
use crate::support::sealed::{Kind, Moment, Sealer, set};
use crate::support::vault::Endpoint;
use crate::support::{Launch, PATIENCE};

/// What a write consists of, for strace. The last renames.
const CALLS: &str = "trace=openat,write,fsync,unlinkat,/^rename";

/// A system call as a line of strace shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Call {
    name: String,
    /// What it is done to.
    on: &'static str,
}

/// The calls in the order in which they were made, each with its number among those of its name.
fn calls(log: &Path, ours: &Path) -> Vec<(Call, usize)> {
    let text = fs::read_to_string(log).expect("strace has written it");
    let ours = ours.to_str().expect("its name is text");
    let mut calls: Vec<(Call, usize)> = Vec::new();
    for line in text.lines() {
        let line = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
        let Some((name, arguments)) = line.split_once('(') else { continue };
        // What it returned is not known of the one that was the last.
        let arguments = arguments.rsplit_once(" = ").map_or(arguments, |(arguments, _)| arguments);
        if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
            continue;
        }
        let number = 1 + calls.iter().filter(|(call, _)| call.name == name).count();
        let on = match arguments {
            _ if !arguments.contains(ours) => "",
            _ if arguments.contains(".snapshot.") => "snapshot",
            _ if arguments.contains(".session.") => "session",
            _ => "directory",
        };
        calls.push((Call { name: name.to_owned(), on }, number));
    }
    calls
}

/// A cache whose secret changes with each round, and which every launch writes as a whole: its session
/// is made to have ended, and rests of an earlier write are there to be taken away.
struct Round {
    cached: Cached,
    sealer: Sealer,
    secret: Uuid,
    number: usize,
}

impl Round {
    fn new() -> Self {
        let cached = Cached::new();
        let sealer = Sealer::of(&cached.scenario);
        let secret = cached.scenario.vault.owner().secrets()[0].id;
        Self { cached, sealer, secret, number: 0 }
    }

    fn path(&self, kind: &str) -> std::path::PathBuf {
        self.cached.ours().join(format!("{}.{kind}", self.sealer.name()))
    }

    /// Now both files are old: what is there is `value <number - 1>`, and the vault has the next.
    fn next(&mut self) {
        let owner = self.cached.scenario.vault.owner();
        owner.update_secret(self.secret, format!("value {}", self.number));
        let outcome = self.cached.run(&["-v"]);
        assert_eq!(outcome.succeeded().text(), format!("value {}\n", self.number), "it works as before");
        let path = self.path("session");
        let session = fs::read(&path).expect("there is one");
        let mut session = self.sealer.open(Kind::Session, &session).expect("it is whole");
        set(&mut session, Kind::Session, Moment::Proved, Duration::from_secs(86_400), Duration::ZERO);
        fs::write(&path, self.sealer.seal(Kind::Session, &session)).expect("it can be written");
        for kind in ["snapshot", "session"] {
            let path = self.path(&format!("{kind}.0123456789abcdef.tmp"));
            let file = fs::File::create(&path).expect("it can be made");
            let old = std::time::SystemTime::now() - Duration::from_secs(120);
            file.set_modified(old).expect("its time can be set");
        }
        self.number += 1;
        owner.update_secret(self.secret, format!("value {}", self.number));
    }

    fn launch(&self) -> Launch {
        self.cached.launch()
    }

    /// Whether the copy is the new one. It is this or the old one, and both files open.
    #[track_caller]
    fn is_new(&self, told: &dyn std::fmt::Debug) -> bool {
        for (kind, name) in [(Kind::Snapshot, "snapshot"), (Kind::Session, "session")] {
            let file = fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}, {told:?}"));
            assert!(self.sealer.open(kind, &file).is_some(), "the {name} is whole, {told:?}");
        }
        let outcome = self.cached.run(&["--offline", "-v"]);
        let text = outcome.succeeded().text();
        let (old, new) = (format!("value {}\n", self.number - 1), format!("value {}\n", self.number));
        assert!(text == old || text == new, "{text:?} after {told:?}");
        text == new
    }
}

fn strace(log: &Path, inject: Option<String>) -> Vec<String> {
    let log = log.to_str().expect("its name is text");
    let mut words: Vec<String> =
        ["strace", "-f", "-qq", "-y", "-s", "16", "-o", log, "-e", CALLS, "-e", "signal=none"]
            .map(str::to_owned)
            .into();
    words.extend(inject.into_iter().flat_map(|inject| ["-e".to_owned(), inject]));
    words
}

/// The steps of a write of one file; the directory's follows.
const STEPS: [&str; 5] = ["unlinkat", "openat", "write", "fsync", "rename"];

/// The steps of one launch that concern our directory.
fn steps(log: &Path, ours: &Path) -> Vec<(Call, usize)> {
    let calls = calls(log, ours);
    calls.into_iter().filter(|(call, _)| !call.on.is_empty()).collect()
}

#[test]
#[ignore = "needs strace"]
fn killed_at_each_step_of_a_write() {
    let place = tempfile::tempdir().expect("a directory can be made");
    let log = place.path().join("log");
    let mut round = Round::new();
    round.next();
    let ours = round.cached.ours();
    round.launch().under(strace(&log, None)).run().succeeded();
    let reference = steps(&log, &ours);
    let is_step = |call: &Call, name: &str, on: &str| call.name.starts_with(name) && call.on == on;
    for on in ["snapshot", "session"] {
        for name in STEPS {
            assert!(reference.iter().any(|(call, _)| is_step(call, name, on)), "{name} {on}: {reference:?}");
        }
    }

    let mut seen = BTreeSet::new();
    for (step, number) in &reference {
        let began = Instant::now();
        loop {
            round.next();
            let inject = format!("inject={}:signal=SIGKILL:when={number}", step.name);
            let outcome = round.launch().under(strace(&log, Some(inject))).run();
            // Nothing comes after the call at which it was killed.
            let reached = calls(&log, &ours).pop().map(|(call, _)| call);
            let is_new = round.is_new(&reached);
            assert_eq!((outcome.signal(), outcome.text().as_str()), (Some(libc::SIGKILL), ""), "{reached:?}");
            // Another number of calls before it moves the step, once in a while.
            if reached.as_ref() == Some(step) {
                seen.insert((step.on, step.name.trim_end_matches(char::is_numeric).to_owned(), is_new));
                break;
            }
            assert!(began.elapsed() < PATIENCE / 6, "{step:?} is not reached, but {reached:?}");
        }
    }
    // Up to its renaming the copy is the old one, and from there on the new one.
    for (on, name, is_new) in &seen {
        // The directory is made certain after each renaming, and the snapshot is the last.
        assert!(!is_new || (*on, name.as_str()) == ("directory", "fsync"), "{name} {on}");
    }
    let of_directory = |is_new| seen.contains(&("directory", "fsync".to_owned(), is_new));
    assert!(of_directory(true) && of_directory(false), "after each of the two files: {seen:?}");
}

/// Without anything to fall back on there is nothing, or the first copy.
#[test]
#[ignore = "needs strace"]
fn killed_at_each_step_of_the_first_write() {
    let place = tempfile::tempdir().expect("a directory can be made");
    let log = place.path().join("log");
    let first = Cached::new();
    first.launch().under(strace(&log, None)).run().succeeded();
    let reference = steps(&log, &first.ours());
    assert!(reference.len() >= 10, "{reference:?}");
    let mut seen = BTreeSet::new();
    for (step, number) in &reference {
        let began = Instant::now();
        loop {
            let cached = Cached::of(crate::support::Scenario::new().secret("NAME", "value"));
            let inject = format!("inject={}:signal=SIGKILL:when={number}", step.name);
            let outcome = cached.launch().under(strace(&log, Some(inject))).run();
            let reached = calls(&log, &cached.ours()).pop().map(|(call, _)| call);
            assert_eq!((outcome.signal(), outcome.text().as_str()), (Some(libc::SIGKILL), ""), "{reached:?}");
            let offline = cached.run(&["--offline", "-v"]);
            let there = cached.file("snapshot").is_some();
            match there {
                true => assert_eq!(offline.succeeded().text(), "value\n"),
                false => assert!(offline.failed_with(75, "no-copy").text().is_empty()),
            }
            let outcome = cached.run(&["-v"]);
            assert_eq!(outcome.succeeded().text(), "value\n", "what was left is in nobody's way");
            if reached.as_ref() == Some(step) {
                seen.insert(there);
                break;
            }
            assert!(began.elapsed() < PATIENCE / 6, "{step:?} is not reached, but {reached:?}");
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [false, true]);
}

/// A hundred moments that a seed decides, half of them anywhere in a run, half of them after the
/// answer has come, when files are written.
#[test]
fn killed_at_random_moments() {
    let mut state: u64 = 0x5eed_c0de;
    let mut random = move || {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut round = Round::new();
    let synced = |round: &Round, what: &str| {
        let vault = &round.cached.scenario.vault;
        let answered = |requests: &[crate::support::vault::Request]| {
            requests.iter().any(|it| it.endpoint == Endpoint::Sync && it.status.is_some())
        };
        assert!(vault.wait_for(PATIENCE, answered), "{what}");
    };
    // How long a run takes, and how long it goes on after the answer.
    round.next();
    round.cached.asked();
    let began = Instant::now();
    let run = round.launch().start();
    synced(&round, "the launch asks");
    let answered = Instant::now();
    run.finish().succeeded();
    let (whole, after) = (began.elapsed(), answered.elapsed());

    let (mut killed, mut old, mut new) = (0, 0, 0);
    for moment in 0..100 {
        round.next();
        round.cached.asked();
        let run = round.launch().start();
        let of = if moment % 2 == 0 {
            whole
        } else {
            synced(&round, "the launch asks");
            after
        };
        let until = Instant::now() + of.mul_f64(1.2 * random());
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            std::thread::park_timeout(left);
        }
        run.signal(libc::SIGKILL);
        let outcome = run.finish();
        killed += usize::from(outcome.signal() == Some(libc::SIGKILL));
        match round.is_new(&(moment, &outcome)) {
            true => new += 1,
            false => old += 1,
        }
    }
    println!("{killed} were killed; {old} old copies, {new} new ones, {whole:?} {after:?}");
    assert!(killed >= 30 && old >= 10 && new >= 5, "{killed} killed, {old} old, {new} new");
}
