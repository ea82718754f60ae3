//! What an engine keeps of a value, searched for while the container runs, after it was stopped and after it
//! was removed: in all its files, in what it answers, and in the journal that it and its containers write to.
//!
//! Each run has a marker beside the canary: in its labels, in base64 and hex, and in what the application is
//! called with and says. It must be found in every place, so that a canary which is found in none is not
//! there. A plain `-e` shows the same of the canary.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::SystemTime;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;

use crate::support::containers::canary;
use crate::support::docker::docker;
use crate::support::engines::{Engine, Way, World};
use crate::support::podman::Podman;
use crate::support::{eventually, journal, proc};

fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD_NO_PAD.encode(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A text as it is, in hex, and in base64 wherever in a group of three it begins, without the characters that
/// depend on what stands beside it.
fn forms(text: &str) -> Vec<String> {
    let mut forms = vec![text.to_owned(), hex(text.as_bytes()), hex(text.as_bytes()).to_uppercase()];
    for before in 0..3 {
        let bytes = [&[0; 2][..before], text.as_bytes()].concat();
        let whole = &bytes[..bytes.len() / 3 * 3];
        forms.push(base64(whole)[[0, 2, 3][before]..].to_owned());
    }
    forms
}

/// Where the engine and the processes of this machine have a text, in any of its forms.
fn places(engine: &Engine, name: &str, text: &str) -> BTreeSet<String> {
    let forms = forms(text);
    let mut grep = Command::new("grep");
    grep.args(["-rlaF", "-D", "skip"]);
    for form in &forms {
        grep.args(["-e", form]);
    }
    let output = grep.arg(engine.directory()).output().unwrap();
    let files = String::from_utf8_lossy(&output.stdout).into_owned();
    // Of a path, the directory of this engine and ids are nothing to tell.
    let mut places: BTreeSet<String> =
        files.lines().map(|path| format!("file {}", path.rsplit('/').next().unwrap())).collect();
    let said = |words: &[&str]| {
        let output = engine.try_run(words);
        [output.stdout, output.stderr].concat()
    };
    // To the nanosecond: "0s" is the second's begin.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let now = format!("{}.{:09}", now.as_secs(), now.subsec_nanos());
    let events: &[&str] = match engine {
        Engine::Docker(_) => &["events", "--since", "1h", "--until", &now],
        Engine::Podman(_) => &["events", "--stream=false"],
    };
    let arguments = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok())
        .collect::<Vec<_>>()
        .concat();
    for (what, bytes) in [
        ("inspect", said(&["container", "inspect", name])),
        ("logs", said(&["logs", name])),
        ("events", said(events)),
        ("arguments", arguments),
        ("journal", journal::read(engine.directory())),
    ] {
        let bytes = String::from_utf8_lossy(&bytes);
        if forms.iter().any(|form| bytes.contains(form)) {
            places.insert(what.to_owned());
        }
    }
    places
}

/// Says what it is called with and waits; ends by TERM with a code of its own.
const APPLICATION: &str = "trap 'exit 7' TERM; echo $0; sleep 1000 & wait";

/// Where the canary is while the container runs, after its end, and after its removal.
fn found(engine: &Engine, way: Way) -> [BTreeSet<String>; 3] {
    let name = format!("bws-traces-{way:?}").to_lowercase();
    let (world, marker) = (World::new("traces"), canary("marker"));
    let (_, key) = world.scenario.token.rsplit_once(':').unwrap();
    let mut words = engine.words();
    let labels = [
        format!("one={}", base64(format!("x{marker}yz").as_bytes())),
        format!("two={}", hex(marker.as_bytes())),
    ];
    words.extend(
        ["--log-driver", "journald", "--name", &name, "--label", &labels[0], "--label", &labels[1]]
            .map(str::to_owned),
    );
    if way == Way::Plain {
        words.extend(["-e", "CANARY"].map(str::to_owned));
    }
    words.extend([engine.base(), "sh", "-c", APPLICATION, &marker].map(str::to_owned));
    // Not in the background: the client can be looked at as well.
    let running = engine.launch(world.launch(way)).command(&words).start();
    eventually("the application has begun", || {
        let output = engine.try_run(&["logs", &name]);
        output.status.success() && String::from_utf8_lossy(&output.stdout).trim_end() == marker
    });
    let environ = proc::read(engine.pid(&name), "environ").unwrap();
    assert!(String::from_utf8_lossy(&environ).contains(&world.canary), "{way:?}: the container has it");

    let look = |everywhere: &[&str]| {
        let seen = places(engine, &name, &marker);
        for place in everywhere {
            assert!(seen.contains(*place), "{way:?}: the search does not see {place}: {seen:?}");
        }
        assert!(seen.iter().any(|place| place.starts_with("file ")), "{way:?}: nor files: {seen:?}");
        assert_eq!(places(engine, &name, key), BTreeSet::new(), "{way:?}: the token's key");
        places(engine, &name, &world.canary)
    };
    let while_it_runs = look(&["inspect", "logs", "events", "arguments", "journal"]);
    engine.run(&["stop", "--time", "60", &name]);
    let outcome = running.finish();
    assert_eq!((outcome.code(), outcome.text()), (Some(7), format!("{marker}\n")), "{way:?}");
    let afterwards = look(&["inspect", "logs", "events", "journal"]);
    engine.run(&["rm", &name]);
    [while_it_runs, afterwards, look(&["events", "journal"])]
}

fn nothing_but_of_a_plain_variable(engine: &Engine, running: &[&str], removed: &[&str]) {
    for way in [Way::Socket, Way::Token] {
        assert_eq!(found(engine, way), [const { BTreeSet::new() }; 3], "{way:?}");
    }
    let [while_it_runs, afterwards, at_last] = found(engine, Way::Plain);
    // At least there: what a database drops, it may overwrite.
    for (places, seen) in [(running, while_it_runs), (running, afterwards), (removed, at_last)] {
        let missing: Vec<_> = places.iter().filter(|place| !seen.contains(**place)).collect();
        assert!(missing.is_empty(), "not in {missing:?}: {seen:?}");
    }
}

#[test]
#[ignore = "needs docker"]
fn what_docker_keeps() {
    let engine = Engine::Docker(docker());
    let running = ["file config.v2.json", "file system.journal", "inspect", "journal"];
    nothing_but_of_a_plain_variable(&engine, &running, &["journal"]);
}

#[test]
#[ignore = "needs podman"]
fn what_podman_keeps() {
    let engine = Engine::Podman(Podman::with_journal());
    let running = ["file bolt_state.db", "file config.json", "inspect"];
    nothing_but_of_a_plain_variable(&engine, &running, &["file bolt_state.db"]);
    // podman's own words have no values. What a container says of one is seen.
    let world = World::new("said");
    let mut words = engine.words();
    words.extend(["--rm", "--log-driver", "journald", "-e", "CANARY", engine.base()].map(str::to_owned));
    words.extend(["sh", "-c", "echo $CANARY"].map(str::to_owned));
    let outcome = engine.launch(world.launch(Way::Plain)).command(&words).run();
    assert_eq!(outcome.succeeded().text().trim_end(), world.canary);
    eventually("it is in the journal", || places(&engine, "none", &world.canary).contains("journal"));
}
