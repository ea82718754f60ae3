//! `--init`: what is said where it cannot be.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::errors::error;
use crate::supervise::{scenario, staying};
use crate::support::{BINARY, Launch, script};

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
    fs::set_permissions(directory.path(), Permissions::from_mode(0o711)).unwrap();
    let binary = directory.path().join("bws-exec");
    // By another process: see `script`.
    let copied = Command::new("cp").arg(BINARY).arg(&binary).status();
    assert!(copied.unwrap().success());
    let ca = directory.path().join("ca.pem");
    fs::copy(scenario.vault.ca_file(), &ca).unwrap();
    fs::set_permissions(&ca, Permissions::from_mode(0o444)).unwrap();
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
