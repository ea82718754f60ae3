//! How old a copy is: two ages on two clocks.

use std::fs;
use std::time::Duration;

use crate::cache::Cached;
use crate::errors::error;
use crate::support::sealed::{Kind, Moment, Sealer, set};
use crate::support::vault::Endpoint::{Login, Sync};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const HINT: &str = "run once without --offline while the server can be reached";

/// Changes a moment of the kept copy, which the token's holder alone can.
fn plant(cached: &Cached, moments: &[Moment], before: Duration, after: Duration) {
    let path = cached.file("snapshot").expect("there is a copy");
    let sealer = Sealer::of(&cached.scenario);
    let mut content = sealer.open(Kind::Snapshot, &fs::read(&path).expect("it can be read")).expect("ours");
    moments.iter().for_each(|&moment| set(&mut content, Kind::Snapshot, moment, before, after));
    fs::write(&path, sealer.seal(Kind::Snapshot, &content)).expect("it can be written");
}

#[track_caller]
fn is_used_for_nothing(cached: &Cached, why: &str) {
    let ours = cached.ours().display().to_string();
    let message = format!("the copy in {ours} is too old: {why}");
    cached.run(&["--offline"]).failed(75, &error("copy-too-old", &message, HINT));
    cached.outage();
    cached.run(&["--deadline", "500ms"]).failed_with(75, "unavailable");
    cached.scenario.vault.clear_faults();
    cached.asked();
    let outcome = cached.run(&["-v", "--max-age", "100d"]);
    let notice = format!("bws-exec: notice: the kept copy is not used: {why}\n");
    assert_eq!((outcome.text().as_str(), outcome.stderr), ("value\n", notice));
    assert_eq!(cached.asked(), [Sync], "the session is young");
}

#[test]
fn a_copy_from_the_future_is_used_for_nothing() {
    let why = "this machine's clock is before the time it was made";
    for moment in [Moment::Fetched, Moment::Proved] {
        let cached = Cached::warm();
        plant(&cached, &[moment], Duration::ZERO, 4 * MINUTE);
        assert_eq!(cached.run(&["--offline"]).succeeded().text(), "value\n", "clocks differ a little");
        plant(&cached, &[moment], Duration::ZERO, 6 * MINUTE);
        is_used_for_nothing(&cached, why);
    }
}

/// A kept bearer renews the content and proves nothing.
#[test]
fn the_login_behind_it_decides_however_young_the_content_is() {
    let cached = Cached::warm();
    plant(&cached, &[Moment::Proved], 25 * HOUR, Duration::ZERO);
    is_used_for_nothing(&cached, "its login was 1d 1h ago, and --max-stale is 1d");
}

#[test]
fn old_content_serves_while_the_login_is_young() {
    let cached = Cached::warm();
    plant(&cached, &[Moment::Began, Moment::Fetched], 5 * HOUR, Duration::ZERO);
    plant(&cached, &[Moment::Proved], 6 * HOUR, Duration::ZERO);
    cached.run(&["--offline", "--max-stale", "5h"]).failed_with(75, "copy-too-old");
    assert_eq!(cached.run(&["--offline", "--max-stale", "7h"]).succeeded().text(), "value\n");
    cached.outage();
    let outcome = cached.run(&[]);
    let ages = "; using the copy fetched 5h ago, with a login 6h ago\n";
    assert!(outcome.text() == "value\n" && outcome.stderr.ends_with(ages), "{outcome:?}");
    cached.scenario.vault.clear_faults();
    cached.asked();
    assert_eq!(cached.run(&["--max-age", "6h"]).succeeded().text(), "value\n");
    assert_eq!(cached.asked(), []);
    cached.run(&["--max-age", "4h"]).succeeded();
    assert_eq!(cached.asked(), [Sync]);
}

/// The wall clock may be set back; this one may not.
#[test]
#[ignore = "needs root"]
fn the_clock_that_nobody_sets_counts_too() {
    let cached = Cached::warm();
    let later = |seconds: u64| {
        let wrapper = ["unshare", "--time", "--fork", "--boottime", &seconds.to_string()].map(str::to_owned);
        cached.launch().under(wrapper)
    };
    let outcome = later(23 * 3600).option("--offline").run();
    assert_eq!(outcome.succeeded().text(), "value\n");
    let message = format!(
        "the copy in {} is too old: its login was 1d 1h ago, and --max-stale is 1d",
        cached.ours().display()
    );
    let outcome = later(25 * 3600).option("--offline").run();
    outcome.failed(75, &error("copy-too-old", &message, HINT));
    cached.asked();
    // And the bearer is dead by then.
    assert_eq!(later(25 * 3600).run().succeeded().text(), "value\n");
    assert_eq!(cached.asked(), [Login, Sync]);
}
