//! `--init`: what is left of secrets in a launcher that stays.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use crate::supervise::{child, staying};
use crate::support::{Scenario, eventually, leaked, proc};

/// How often each of these stands in the memory of a process.
fn in_memory(pid: i32, needles: &[&str]) -> BTreeMap<String, usize> {
    let memory = File::open(proc::path(pid, "mem")).unwrap();
    let mut found: BTreeMap<_, _> = needles.iter().map(|&needle| (needle.to_owned(), 0)).collect();
    for line in proc::text(pid, "maps").lines().filter(|line| !line.contains("[v")) {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        let mut bytes = vec![0; (number(end) - number(start)) as usize];
        let length = memory.read_at(&mut bytes, number(start)).unwrap_or_default();
        for (needle, times) in &mut found {
            *times += bytes[..length].windows(needle.len()).filter(|part| *part == needle.as_bytes()).count();
        }
    }
    found
}

#[test]
#[ignore = "needs root"]
fn no_value_stays_in_our_memory() {
    const VALUES: [&str; 4] = [
        "canary-of-bulk-6f1e7ab0c94d",
        "canary-of-map-2b9c0f4e8d13",
        "canary-of-file-a7730bd51c26",
        "canary-of-template-91fe6d20b",
    ];
    const INHERITED: &str = "inherited-and-so-not-ours-55aa";
    let scenario = Scenario::new();
    let keys = ["BULK", "MAPPED", "FILED", "TEMPLATE"];
    let scenario =
        keys.iter().zip(VALUES).fold(scenario, |scenario, (key, value)| scenario.secret(key, value));
    let directory = tempfile::tempdir().unwrap();
    let env_file = directory.path().join("app.env");
    fs::write(&env_file, "URL=\"x://${bws://TEMPLATE}@host\"\n").unwrap();
    let launch = staying(&scenario)
        .options(["--all", "--map", "M=MAPPED", "--file", "F=FILED", "--env-file"])
        .option(&env_file)
        .env("INHERITED", INHERITED)
        .descriptor(1, File::create("/dev/null").unwrap());
    let running = launch.command(["sleep", "1000"]).start();
    let command = child(running.pid(), "sleep");
    let needles: Vec<&str> = VALUES.iter().copied().chain([INHERITED]).collect();
    // The search finds what is there: in the command, and in us what we have inherited.
    let theirs = in_memory(command, &needles);
    assert!(theirs[VALUES[0]] > 0 && theirs[VALUES[1]] > 0 && theirs[VALUES[3]] > 0, "{theirs:?}");
    eventually("nothing is left but what was inherited", || {
        let ours = in_memory(running.pid(), &needles);
        ours[INHERITED] > 0 && VALUES.iter().all(|&value| ours[value] == 0)
    });
    assert_eq!(leaked(&scenario.token, &proc::read(running.pid(), "environ").unwrap()), [""; 0]);
}
