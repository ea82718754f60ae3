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
pub fn without_system_call(launch: Launch, number: libc::c_long) -> Outcome {
    with_answer(launch, number, libc::EPERM)
}

/// The kernel gives this error for this system call; 0 is a success that did nothing.
pub fn with_answer(launch: Launch, number: libc::c_long, errno: i32) -> Outcome {
    let mut process = launch.launcher();
    let load = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let filter = [
        load(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter { jf: 1, ..load(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number as u32) },
        load(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32),
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

/// `getaddrinfo` reads `/etc/hosts` first, and here that never ends.
#[test]
#[ignore = "needs root"]
fn a_look_up_without_an_answer_is_no_silent_server() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let launch = Launch::new()
        .env("BWS_ACCESS_TOKEN", "0.ec2c1d46-6a4b-4751-a310-af9601317f2d.secret:X8vbvA0bduihIDe/qrzIQQ==")
        .options(["--deadline", "1s", "-u", "https://vault.example.org"])
        .command(["true"]);
    let outcome = with_hosts(launch, fifo(directory.path())).run();
    let message = "cannot find the address of vault.example.org: no answer in time";
    outcome.failed(75, &error("dns", message, DNS_HINT));
}

#[test]
fn a_proxy_without_an_address_is_named() {
    let scenario = scenario();
    let launch = scenario.launch().env("HTTPS_PROXY", "http://proxy.invalid:3128");
    let outcome = launch.env("RES_OPTIONS", "timeout:1 attempts:1").options(["--deadline", "1s"]);
    let outcome = outcome.command(["true"]).run();
    outcome.failed_with(75, "dns");
    assert!(outcome.stderr.contains("cannot find the address of proxy.invalid: "), "{}", outcome.stderr);
}

/// Plain http is spoken to `localhost`, so nobody may say that it is elsewhere.
#[test]
#[ignore = "needs root"]
fn localhost_is_this_machine_whatever_names_say() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let hosts = directory.path().join("hosts");
    let scenario = scenario();
    let launch = || {
        let url = |url: &str| url.replace("127.0.0.1", "localhost");
        Launch::new()
            .env("BWS_ACCESS_TOKEN", &scenario.token)
            .option(format!("--identity-url={}", url(scenario.vault.identity_url())))
            .option(format!("--api-url={}", url(scenario.vault.api_url())))
            .option("--ca-file")
            .option(scenario.vault.ca_file())
    };
    for text in ["", "192.0.2.1 localhost\n"] {
        fs::write(&hosts, text).expect("a file can be written");
        gets_its_secret(with_hosts(launch(), &hosts));
    }
}

/// A limit of processes, or a seccomp profile older than `clone3`.
#[test]
fn a_thread_that_cannot_be_started_is_no_bug_of_ours() {
    let scenario = scenario();
    let launch = Launch::new()
        .env("BWS_ACCESS_TOKEN", &scenario.token)
        .options(["--deadline", "1s", "-u", "https://vault.invalid"])
        .command(["true"]);
    let outcome = without_system_call(launch, libc::SYS_clone3);
    let message = "cannot find the address of vault.invalid: no thread can be started for it: \
                   Operation not permitted (os error 1) (N attempts within --deadline 1s)";
    assert_eq!(without_count(&outcome.stderr), error("dns", message, DNS_HINT));
    assert_eq!(outcome.code(), Some(75));
}

#[test]
fn a_seccomp_profile_older_than_faccessat2() {
    let scenario = scenario();
    let launch = scenario.launch().command(["true"]);
    without_system_call(launch, libc::SYS_faccessat2).succeeded();
    let outcome = without_system_call(Launch::new().command(["/etc/passwd"]), libc::SYS_faccessat2);
    outcome.failed_with(126, "command-not-executable");
}

/// The server decides how long lists and names are.
#[test]
fn an_endless_error_holds_nobody_up() {
    let scenario = Scenario::new();
    for _ in 0..1000 {
        scenario.vault.owner().create_secret(scenario.project, "SAME", "value");
    }
    let (reader, writer) = std::io::pipe().expect("a pipe can be made");
    let launch = scenario.launch().options(["--status-fd", "9"]).descriptor(9, writer);
    let outcome = launch.command(["true"]).run();
    outcome.failed_with(125, "duplicate-name");
    assert!(
        outcome.stderr.starts_with("bws-exec: error[duplicate-name]: 'SAME' would be set by 1000 secrets: ")
    );
    assert!(outcome.stderr.len() < 4000, "{}", outcome.stderr.len());
    let status = std::io::read_to_string(reader).expect("the pipe can be read");
    let last: Value = serde_json::from_str(status.lines().last().expect("there are lines")).expect("JSON");
    assert_eq!((&last["phase"], &last["slug"]), (&"error".into(), &"duplicate-name".into()));
}

#[test]
fn no_output_speaks_to_the_terminal() {
    const KEY: &str = "A\u{1b}[31m\u{9b}31m\u{7f}\u{202e}\u{feff}";
    let scenario = Scenario::new().secret(KEY, "value");
    for format in ["--dry-run", "--dry-run=json"] {
        let outcome = scenario.launch().option(format).run();
        outcome.failed_with(125, "invalid-name");
        for text in [&outcome.text(), &outcome.stderr] {
            let speaks = |c: char| KEY[1..].replace("[31m", "").replace("31m", "").contains(c);
            assert!(!text.contains(speaks), "{text:?}");
        }
    }
    let json = scenario.launch().options(["--dry-run=json", "--uuids-as-keynames"]).run();
    let json: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["variables"][0]["secrets"][0]["key"], KEY);
}

#[test]
fn an_at_sign_in_a_path_hides_no_host() {
    let scenario = scenario();
    let target = "https://vault.example.org/login/@bitwarden.com";
    scenario.vault.fault(Endpoint::Login, Fault::redirect(302, target));
    let outcome = scenario.launch().command(["true"]).run();
    outcome.failed_with(125, "redirect");
    assert!(outcome.stderr.contains(&format!(" redirects to {target} while ")), "{}", outcome.stderr);
}

#[test]
fn a_script_that_names_no_interpreter() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let script = directory.path().join("script");
    fs::write(&script, "#! \necho\n").expect("a file can be written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("its mode can be set");
    let script = script.to_str().expect("its name is text");
    let message = format!("command cannot be executed: {script}: its '#!' line names no interpreter");
    let hint = "check its mode; a script needs '#!' on its first line, or name its interpreter";
    Launch::new().command([script]).run().failed(126, &error("command-not-executable", &message, hint));
}

#[test]
fn slashes_at_the_end_of_a_url() {
    let vault = Scenario::with(Options { layout: Layout::SelfHosted, ..Options::default() });
    let scenario = vault.secret("NAME", "value");
    let launch = Launch::new().env("BWS_ACCESS_TOKEN", &scenario.token);
    let launch = launch.option("--ca-file").option(scenario.vault.ca_file());
    gets_its_secret(launch.option("-u").option(format!("{}///", scenario.vault.server_url())));
}
