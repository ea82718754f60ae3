//! Odd surroundings and ill will: files that never end, names that nobody answers for, kernels that
//! refuse, readers that do not read, servers that speak to the terminal.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::Value;

use crate::errors::{error, without_count};
use crate::support::vault::{Endpoint, Fault, Layout, Options};
use crate::support::{Launch, Outcome, Running, Scenario};

const DNS_HINT: &str = "check the server's name and /etc/resolv.conf";

fn scenario() -> Scenario {
    Scenario::new().secret("NAME", "value")
}

#[track_caller]
fn gets_its_secret(launch: Launch) {
    let outcome = launch.command(["printenv", "NAME"]).run();
    outcome.succeeded();
    assert_eq!(outcome.text(), "value\n");
}

fn fifo(directory: &Path) -> String {
    let path = directory.join("fifo");
    mkfifo(&path, Mode::from_bits_truncate(0o600)).expect("a FIFO can be made");
    path.to_str().expect("its name is text").to_owned()
}

/// Runs with a system call that is refused as by a seccomp profile that does not know it.
fn without_system_call(launch: Launch, number: libc::c_long) -> Outcome {
    let mut process = launch.launcher();
    let load = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let filter = [
        load(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter { jf: 1, ..load(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number as u32) },
        load(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        load(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    // SAFETY: prctl is async-signal-safe, and the program lives in the closure.
    unsafe {
        process.pre_exec(move || {
            let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
            let filtered = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0;
            if filtered { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        });
    }
    Running::new(process, None).finish()
}

/// With another file in the place of `/etc/hosts`, seen by this launch alone.
fn with_hosts(launch: Launch, hosts: impl AsRef<Path>) -> Launch {
    let hosts = hosts.as_ref().to_str().expect("its name is text");
    let mount = r#"mount --bind "$0" /etc/hosts && exec "$@""#;
    launch.under(["unshare", "--mount", "sh", "-c", mount, hosts])
}

#[test]
fn certificates_are_read_within_the_deadline_and_bounded() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let fifo = fifo(directory.path());
    let scenario = scenario();
    let refused = |launch: Launch, message: String| {
        let message = format!("cannot use the CA certificates of {message}");
        let hint = "give a file of PEM certificates that this user may read";
        launch
            .options(["--deadline", "1s"])
            .command(["true"])
            .run()
            .failed(125, &error("ca-file", &message, hint));
    };
    let launch = || Launch::new().env("BWS_ACCESS_TOKEN", &scenario.token);
    let incomplete = "it was not complete within --deadline";
    refused(launch().options(["--ca-file", &fifo]), format!("--ca-file {fifo}: {incomplete}"));
    refused(launch().env("SSL_CERT_FILE", &fifo), format!("SSL_CERT_FILE {fifo}: {incomplete}"));
    refused(
        launch().options(["--ca-file", "/dev/zero"]),
        "--ca-file /dev/zero: it is larger than 16777216 bytes".into(),
    );
    assert_eq!(scenario.vault.connections(), 0);
    // As from a process substitution.
    let pem = scenario.vault.ca_pem().to_owned();
    let path = fifo.clone();
    let writer = std::thread::spawn(move || {
        File::options().write(true).open(path).expect("it is opened for reading").write_all(pem.as_bytes())
    });
    gets_its_secret(
        launch()
            .options(["--identity-url", scenario.vault.identity_url(), "--api-url", scenario.vault.api_url()])
            .options(["--ca-file", &fifo]),
    );
    writer.join().expect("the writer does not panic").expect("all of it is read");
}

#[test]
fn a_directory_of_certificates_may_hold_anything() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    fifo(directory.path());
    let scenario = scenario();
    let pem = directory.path().join("ca.pem");
    fs::copy(scenario.vault.ca_file(), &pem).expect("the certificate can be copied");
    std::os::unix::fs::symlink(&pem, directory.path().join("0a1b2c3d.0")).expect("a link can be made");
    gets_its_secret(
        Launch::new().env("BWS_ACCESS_TOKEN", &scenario.token).env("SSL_CERT_DIR", directory.path()).options(
            ["--identity-url", scenario.vault.identity_url(), "--api-url", scenario.vault.api_url()],
        ),
    );
}
