//! One static binary: it runs where there is nothing else, and lets nothing of the host in.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::support::docker::{docker, tree};
use crate::support::vault::NAME;
use crate::support::{BINARY, Launch, Outcome, Running, Scenario};

/// An address that is ours alone, so that port 53 is free there.
const NAME_SERVER: &str = "127.0.0.77";

fn scenario() -> Scenario {
    Scenario::new().secret("FOUND", "in an empty place")
}

/// The vault under its name, from within a place that has `/ca.pem`.
fn by_name(scenario: &Scenario) -> Vec<String> {
    let url = |url: &str| url.replace("127.0.0.1", NAME);
    let (identity, api) = (url(scenario.vault.identity_url()), url(scenario.vault.api_url()));
    assert!(api.contains(NAME), "{api}");
    ["--identity-url", &identity, "--api-url", &api, "--ca-file", "/ca.pem"].map(str::to_owned).to_vec()
}

/// A command that needs nothing but the static shell.
const SAY: [&str; 3] = ["/sh", "-c", "echo \"$FOUND\""];

/// A directory with the binary, the vault's authority, and busybox as the only other program.
fn empty_place(scenario: &Scenario) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    let script = "cp \"$1\" bws-exec; install -m 644 \"$2\" ca.pem; cp /bin/busybox sh";
    let mut copy = Command::new("sh");
    copy.args(["-euc", script, "sh", BINARY]).arg(scenario.vault.ca_file()).current_dir(place.path());
    assert!(copy.status().unwrap().success(), "busybox-static is installed");
    place
}

fn in_chroot(scenario: &Scenario, place: &Path, options: &[String]) -> Outcome {
    let launch = Launch::new().env("BWS_ACCESS_TOKEN", &scenario.token).without_env("PATH");
    launch
        .under([Path::new("/usr/sbin/chroot"), place])
        .binary("/bws-exec")
        .options(options)
        .command(SAY)
        .run()
}

#[test]
#[ignore = "needs root"]
fn an_empty_chroot_with_a_hosts_file() {
    let scenario = scenario();
    let place = empty_place(&scenario);
    fs::create_dir(place.path().join("etc")).unwrap();
    fs::write(place.path().join("etc/hosts"), format!("127.0.0.1 {NAME}\n")).unwrap();
    let outcome = in_chroot(&scenario, place.path(), &by_name(&scenario));
    assert_eq!(outcome.succeeded().text(), "in an empty place\n");
    // There is no store of certificates here: the roots that are built in serve, and do not know the vault's.
    let mut options = by_name(&scenario);
    options.truncate(4);
    let outcome = in_chroot(&scenario, place.path(), &options);
    outcome.failed_with(125, "certificate");
    assert!(outcome.stderr.contains("not issued by a trusted authority"), "{}", outcome.stderr);
}

/// Answers with 127.0.0.1 for the vault's name, and with nothing for every other question.
fn name_server() -> UdpSocket {
    let socket = UdpSocket::bind((NAME_SERVER, 53)).expect("port 53 of that address is free");
    let server = socket.try_clone().unwrap();
    std::thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = server.recv_from(&mut question) {
            let question = &question[..length];
            let labels: Vec<u8> =
                NAME.split('.').flat_map(|l| [&[l.len() as u8], l.as_bytes()].concat()).collect();
            // A name, its end, and then the type: A is 1.
            let asked = &question[12..];
            let known = asked.starts_with(&labels) && asked[labels.len()..].starts_with(&[0, 0, 1]);
            let end = 12 + asked.iter().position(|&byte| byte == 0).unwrap() + 5;
            let mut answer = question[..end].to_vec();
            answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(known), 0, 0, 0, 0]);
            if known {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
            }
            server.send_to(&answer, from).unwrap();
        }
    });
    socket
}

#[test]
#[ignore = "needs root"]
fn an_empty_chroot_with_a_name_server() {
    let scenario = scenario();
    let place = empty_place(&scenario);
    let _server = name_server();
    fs::create_dir(place.path().join("etc")).unwrap();
    fs::write(place.path().join("etc/resolv.conf"), format!("nameserver {NAME_SERVER}\n")).unwrap();
    let outcome = in_chroot(&scenario, place.path(), &by_name(&scenario));
    assert_eq!(outcome.succeeded().text(), "in an empty place\n");
}

#[test]
#[ignore = "needs docker"]
fn a_container_from_scratch() {
    let (docker, scenario) = (docker(), scenario());
    let place = empty_place(&scenario);
    let instructions = ["ENTRYPOINT [\"/bws-exec\"]", "USER 1000"];
    docker.import("bws-exec-scratch:1", place.path(), &instructions);
    let token = tempfile::tempdir_in("/dev/shm").unwrap();
    let token = token.path().join("token");
    fs::write(&token, &scenario.token).unwrap();
    let mount = format!("type=bind,source={},target=/token,readonly", token.display());
    let host = format!("{NAME}:127.0.0.1");
    let mut words = vec!["run", "--rm", "--network", "host", "--read-only", "--cap-drop", "ALL"];
    words.extend(["--add-host", &host, "--mount", &mount, "bws-exec-scratch:1"]);
    let options = by_name(&scenario);
    words.extend(options.iter().map(String::as_str));
    words.extend(["--access-token-file", "/token", "--"]);
    words.extend(SAY);
    assert_eq!(docker.run(&words), "in an empty place");
    // The same tree, and nothing of the engine: no passwd, no certificates, no library.
    let names: Vec<_> = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

/// A host whose nsswitch.conf names a module of its own; a program that is not static asks for it.
#[test]
#[ignore = "needs root"]
fn no_nss_module_of_the_host_is_opened() {
    let scenario = scenario();
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("nsswitch.conf"), "hosts: canary files dns\npasswd: canary files\n").unwrap();
    fs::write(place.path().join("hosts"), format!("127.0.0.1 {NAME}\n")).unwrap();
    let script = "mount --bind nsswitch.conf /etc/nsswitch.conf; mount --bind hosts /etc/hosts; \
                  exec strace -f -qq -e trace=openat -o \"$@\"";
    let traced = |file: &str, launch: Launch, direct: bool| {
        let words = ["unshare", "--mount", "sh", "-euc", script, "sh", file];
        let launch = launch.directory(place.path()).under(words);
        let process = if direct { launch.direct() } else { launch.launcher() };
        let outcome = Running::new(process, None).finish();
        outcome.succeeded();
        (outcome.text(), fs::read_to_string(place.path().join(file)).unwrap())
    };
    let (_, trace) = traced("control", Launch::new().command(["getent", "hosts", NAME]), true);
    assert!(trace.contains("libnss_canary.so"), "the search finds what it looks for: {trace}");

    fs::copy(scenario.vault.ca_file(), place.path().join("ca.pem")).unwrap();
    let mut options = by_name(&scenario);
    *options.last_mut().unwrap() = "ca.pem".into();
    let launch = Launch::new().env("BWS_ACCESS_TOKEN", &scenario.token).options(options);
    // A static one, for the command's libraries are its own affair.
    tree(place.path());
    let (text, trace) = traced("ours", launch.command(["bin/sh", "-c", SAY[2]]), false);
    assert_eq!(text, "in an empty place\n");
    assert!(trace.contains("\"/etc/hosts\""), "{trace}");
    assert!(!trace.contains("libnss") && !trace.contains(".so"), "{trace}");
    assert!(!trace.contains("/etc/passwd"), "{trace}");
}
