//! What is said where the sealed copy is all there is, and about the options of the cache.

use std::fs;

use crate::cache::Cached;
use crate::errors::{echo, error, untouched};
use crate::support::Scenario;

const RUN_ONCE: &str = "run once without --offline while the server can be reached";
const WRITES: &str = "check who may write there; a run without --offline writes a new copy";

#[test]
fn copies_that_are_all_there_is() {
    let cached = Cached::new();
    let ours = cached.ours().display().to_string();
    let none = error("no-copy", &format!("{ours} holds no copy for this token and server"), RUN_ONCE);
    let offline = ["--offline"];
    // Without the directory, with an empty one, and with copies of others.
    let missing = cached.directory.path().join("missing");
    let name = cached.ours().file_name().expect("it has a name").to_owned();
    let message = format!("{} holds no copy for this token and server", missing.join(name).display());
    cached.run(&offline).failed(75, &none);
    assert!(!cached.ours().exists(), "whoever asks nobody writes nothing");
    let launch = cached.scenario.launch().options(["--offline", "--cache-dir"]).option(&missing);
    echo(launch).run().failed(75, &error("no-copy", &message, RUN_ONCE));
    assert!(!missing.exists());
    cached.run(&offline).failed(75, &none);
    cached.run(&offline).failed(75, &none);
    let owner = cached.scenario.vault.owner();
    let other = owner.create_token(cached.scenario.account, "other", None);
    echo(cached.launch().env("BWS_ACCESS_TOKEN", &other)).run().succeeded();
    cached.run(&offline).failed(75, &none);
    assert!(cached.file("snapshot").is_some());

    cached.run(&[]).succeeded();
    let message = format!("the copy in {ours} is too old: its login was 0s ago, and --max-stale is 0s");
    cached.run(&["--offline", "--max-stale", "1ms"]).failed(75, &error("copy-too-old", &message, RUN_ONCE));
    assert_eq!(cached.run(&offline).succeeded().text(), "value\n");
    fs::remove_file(cached.scenario.vault.ca_file()).expect("nobody needs it");
    assert_eq!(cached.asked().len(), 4, "two launches asked, and nobody else");
}

#[test]
fn copies_that_are_broken() {
    let cached = Cached::new();
    cached.run(&[]).succeeded();
    let path = cached.file("snapshot").expect("there is one");
    fs::write(&path, "nothing of ours").expect("it can be written");
    let message = format!("cannot use the copy in {}: it is not a file of bws-exec", path.display());
    cached.run(&["--offline"]).failed(125, &error("copy-unusable", &message, WRITES));
}

#[test]
fn options_of_the_cache() {
    let scenario = Scenario::new();
    for options in [&["--offline"][..], &["--max-stale", "1h"], &["--max-age", "1h"]] {
        let message = format!("{} needs --cache-dir: there is no copy without it", options[0]);
        let hint = "for example: --cache-dir /var/cache/app";
        echo(scenario.launch().options(options)).run().failed(125, &error("usage", &message, hint));
    }
    let message = "a value is required for '--cache-dir <DIR>' but none was supplied";
    let help = "bws-exec --help lists the options";
    let empty = scenario.launch().options(["--cache-dir", ""]);
    echo(empty).run().failed(125, &error("usage", message, help));
    // As with every other variable.
    let empty = scenario.launch().env("BWS_EXEC_CACHE_DIR", "").option("--offline");
    echo(empty).run().failed_with(125, "usage");

    let directory = tempfile::tempdir().expect("a directory can be made");
    let duration = "expected a number with ms, s, m, h or d, such as 30s";
    for name in ["BWS_EXEC_MAX_AGE", "BWS_EXEC_MAX_STALE"] {
        let launch = scenario.launch().env("BWS_EXEC_CACHE_DIR", directory.path()).env(name, "soon");
        let message = format!("invalid value 'soon' for {name}");
        echo(launch).run().failed(125, &error("usage", &message, duration));
        let option = name.replace("BWS_EXEC_", "--").replace('_', "-").to_lowercase();
        let launch = scenario.launch().options(["--cache-dir", "/x", &option, "soon"]);
        let message = format!("invalid value 'soon' for '{option} <DURATION>': {duration}");
        echo(launch).run().failed(125, &error("usage", &message, help));
    }
    assert_eq!(fs::read_dir(directory.path()).expect("it is there").count(), 0);
    untouched(&scenario.vault);
}
