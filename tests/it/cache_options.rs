//! The variables that stand for options of the cache, and the options that need it.

use std::path::PathBuf;

use crate::cache::{Cached, directory, files, ours};
use crate::errors::{error, untouched};
use crate::support::vault::Endpoint::{Login, Sync};
use crate::support::{Launch, Scenario};

fn printenv(scenario: &Scenario) -> Launch {
    scenario.launch().command(["printenv", "NAME"])
}

#[test]
fn variables_stand_for_options_and_options_win() {
    let cached = Cached::new();
    let other = directory();
    let launch = || printenv(&cached.scenario).env("BWS_EXEC_CACHE_DIR", other.path());
    launch().run().succeeded();
    assert_eq!(cached.asked(), [Login, Sync]);
    launch().run().succeeded();
    assert_eq!(cached.asked(), [Sync]);
    assert_eq!(files(other.path()), [ours(other.path())]);

    launch().env("BWS_EXEC_MAX_AGE", "1h").run().succeeded();
    assert_eq!(cached.asked(), []);
    launch().env("BWS_EXEC_MAX_AGE", "1h").options(["--max-age", "0"]).run().succeeded();
    assert_eq!(cached.asked(), [Sync]);

    let offline = || launch().option("--offline").env("BWS_EXEC_MAX_STALE", "0");
    offline().run().failed_with(75, "copy-too-old");
    offline().options(["--max-stale", "1h"]).run().succeeded();

    let directory = |launch: Launch| launch.option("--cache-dir").option(cached.directory.path());
    directory(launch()).run().succeeded();
    assert_eq!(cached.asked(), [Login, Sync], "there was nothing in it");
    assert!(cached.file("snapshot").is_some());
}

#[test]
fn the_command_never_sees_them() {
    let cached = Cached::new();
    let launch = cached.scenario.launch().env("BWS_EXEC_CACHE_DIR", cached.directory.path());
    let launch = launch.env("BWS_EXEC_MAX_AGE", "1h").env("BWS_EXEC_MAX_STALE", "2h");
    let environment = launch.command(["env"]).run().succeeded().text();
    assert!(environment.contains("NAME=value\n"), "{environment}");
    assert!(!environment.contains("BWS_"), "{environment}");
    assert!(cached.file("snapshot").is_some(), "they were used");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let scenario = Scenario::new().secret("NAME", "value");
    let example = "for example: --cache-dir /var/cache/app";
    for option in [&["--offline"][..], &["--max-age", "1h"], &["--max-stale", "1h"]] {
        let message = format!("{} needs --cache-dir: there is no copy without it", option[0]);
        printenv(&scenario).options(option).run().failed(125, &error("usage", &message, example));
    }
    printenv(&scenario).options(["--cache-dir", ""]).run().failed_with(125, "usage");
    printenv(&scenario).options(["--cache-dir="]).run().failed_with(125, "usage");
    for variable in ["BWS_EXEC_MAX_AGE", "BWS_EXEC_MAX_STALE"] {
        let message = format!("invalid value 'soon' for {variable}");
        let hint = "expected a number with ms, s, m, h or d, such as 30s";
        let launch = printenv(&scenario).env("BWS_EXEC_CACHE_DIR", "/nonexistent").env(variable, "soon");
        launch.run().failed(125, &error("usage", &message, hint));
    }
    untouched(&scenario.vault);
    printenv(&scenario).env("BWS_EXEC_CACHE_DIR", "").run().succeeded();
}

/// Without the option or its variable nothing is written: not at home, not here, not elsewhere.
#[test]
fn nothing_is_written_without_a_directory() {
    let cached = Cached::new();
    let places = [directory(), directory(), directory(), directory()];
    let [home, here, temporary, runtime] = &places;
    let launch = || {
        let launch = cached.scenario.launch().directory(here.path()).env("HOME", home.path());
        let launch = launch.env("TMPDIR", temporary.path()).env("XDG_RUNTIME_DIR", runtime.path());
        launch.env("XDG_CACHE_HOME", runtime.path()).command(["printenv", "NAME"])
    };
    launch().run().succeeded();
    // Variables that only matter with a directory do not make one.
    launch().env("BWS_EXEC_MAX_STALE", "1h").env("BWS_EXEC_MAX_AGE", "1h").run().succeeded();
    assert_eq!(cached.asked(), [Login, Sync, Login, Sync]);
    let found: Vec<PathBuf> = places.iter().flat_map(|place| files(place.path())).collect();
    assert!(found.is_empty(), "{found:?}");

    launch().option("--cache-dir").option(temporary.path()).run().succeeded();
    let found: Vec<PathBuf> = places.iter().flat_map(|place| files(place.path())).collect();
    assert_eq!(found, [ours(temporary.path())], "and with one there only");
}
