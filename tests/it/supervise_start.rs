//! `--init`: what is said where it cannot be, and what is left of secrets in a launcher that stays.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use crate::errors::error;
use crate::supervise::{child, scenario, staying};
use crate::support::{Launch, Scenario, eventually, leaked, proc, script};

#[test]
fn options_of_a_launcher_that_stays() {
    for option in ["--kill-after=1s", "--signal-group"] {
        let name = option.split('=').next().unwrap();
        let message = format!("{name} is for a launcher that stays, and this one becomes the command");
        let outcome = Launch::new().env("BWS_ACCESS_TOKEN", "x").option(option).command(["true"]).run();
        outcome.failed(125, &error("usage", &message, "add --init to stay"));
    }
    let outcome = scenario().launch().options(["--init", "--container"]).command(["docker", "run", "image"]);
    outcome.run().failed(
        125,
        &error(
            "usage",
            "--init stays beside a command of this machine, and --container's runs in the engine",
            "use the engine's own: docker run --init, podman run --init",
        ),
    );
}

/// What the kernel refuses is told in the same words, with the same code.
#[test]
fn a_command_that_the_kernel_refuses() {
    let (scenario, directory) = (scenario(), tempfile::tempdir().unwrap());
    let file = |name: &str, text: &str| {
        script(&directory.path().join(name), text);
        directory.path().join(name)
    };
    let broken = file("broken", "\u{7f}ELF of no kind");
    let inner = file("inner", "#!/nowhere/at/all\n");
    let looped = file("looped", &format!("#!{}\n", inner.display()));
    for (path, code) in [(broken, 126), (looped, 127)] {
        let becoming = scenario.launch().command([&path]).run();
        let beside = staying(&scenario).command([&path]).run();
        assert_eq!(becoming.code(), Some(code), "{}", becoming.stderr);
        beside.failed(code, &becoming.stderr);
    }
}

#[test]
#[ignore = "needs root"]
fn no_process_to_be_had() {
    let (scenario, directory) = (scenario(), tempfile::tempdir().unwrap());
    fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    let binary = directory.path().join("bws-exec");
    fs::copy(crate::support::BINARY, &binary).unwrap();
    let ca = directory.path().join("ca.pem");
    fs::copy(scenario.vault.ca_file(), &ca).unwrap();
    fs::set_permissions(&ca, std::os::unix::fs::PermissionsExt::from_mode(0o444)).unwrap();
    let launch = Launch::new()
        .binary(&binary)
        .options(["--identity-url", scenario.vault.identity_url(), "--api-url", scenario.vault.api_url()])
        .option("--ca-file")
        .option(&ca)
        .env("BWS_ACCESS_TOKEN", &scenario.token)
        .under(["setpriv", "--reuid=64999", "--clear-groups", "prlimit", "--nproc=1"]);
    let outcome = launch.option("--init").command(["true"]).run();
    outcome.failed(
        125,
        &error(
            "spawn",
            "cannot start another process: Resource temporarily unavailable (os error 11)",
            "check its limits (ulimit -u, the control group's pids.max) and its seccomp profile",
        ),
    );
}

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
