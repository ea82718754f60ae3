//! The inner copy of `--container`, in a place of its own instead of a container, with a helper that is
//! not ours at the other end of the socket.

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use super::errors::error;
use crate::support::{BINARY, Launch, Outcome};

const HINT: &str = "--container=socket serves one start; for docker start and restarts use --container=token";

/// What a helper sends for these.
fn frame(variables: &[(&str, &str)]) -> Vec<u8> {
    let part = |text: &str| [&u32::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat();
    let body: Vec<u8> =
        variables.iter().flat_map(|(name, value)| [part(name), part(value)].concat()).collect();
    [b"bws-env1", &u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()
}

/// Runs the copy against a peer that sends this, and then hangs up or stays.
fn inner(sent: &[u8], stays: bool, options: &[&str]) -> Outcome {
    let place = tempfile::tempdir().unwrap();
    let mut copy = Command::new("sh");
    let copied = copy.args(["-euc", "cp \"$1\" bws-exec; cp /bin/busybox sh", "sh", BINARY]);
    assert!(copied.current_dir(place.path()).status().unwrap().success(), "busybox-static is installed");
    let listener = UnixListener::bind(place.path().join(".bws-exec.sock")).unwrap();
    let launch = Launch::new().env("KEPT", "own").env("BWS_EXEC_DEADLINE", "5s").env("BWS_ACCESS_TOKEN", "x");
    let launch = launch.under([Path::new("/usr/sbin/chroot"), place.path()]).binary("/bws-exec");
    let launch = launch.option("--container-inner").options(options);
    let running = launch.command(["/sh", "-c", "export -p"]).start();
    let (mut peer, _) = listener.accept().unwrap();
    // Whoever has read enough may have hung up.
    let _ = peer.write_all(sent);
    if !stays {
        drop(peer);
        return running.finish();
    }
    let outcome = running.finish();
    drop(peer);
    outcome
}

#[test]
#[ignore = "needs root"]
fn what_is_sent_is_set() {
    let outcome = inner(&frame(&[("ONE", "1"), ("EMPTY", ""), ("KEPT", "other")]), false, &[]);
    outcome.succeeded();
    let text = outcome.text();
    for line in ["export ONE='1'", "export EMPTY=''", "export KEPT='other'"] {
        assert!(text.lines().any(|shown| shown == line), "{line}: {text}");
    }
    assert!(!text.contains("BWS_"), "{text}");
}

/// Looked up in here, where there is no passwd.
#[test]
#[ignore = "needs root"]
fn the_command_inside_is_another_user() {
    let outcome = inner(&frame(&[("ONE", "1")]), false, &["--user", "4242:4343", "--no-new-privs"]);
    let text = outcome.succeeded().text();
    for line in ["export ONE='1'", "export HOME='/'"] {
        assert!(text.lines().any(|shown| shown == line), "{line}: {text}");
    }
    // Before anything is taken from the socket.
    let unknown = Launch::new().options(["--container-inner", "--user", "no-such"]).command(["true"]).run();
    unknown.failed_with(125, "unknown-user");
}

#[test]
#[ignore = "needs root"]
fn what_is_no_environment() {
    let frame = frame(&[("ONE", "1")]);
    let longer = [b"bws-env1", &u32::MAX.to_be_bytes()[..]].concat();
    let inconsistent = [b"bws-env1", &8_u32.to_be_bytes()[..], &[0, 0, 0, 1, b'A', 0, 0, 9]].concat();
    let impossible = |name, value| self::frame(&[(name, value)]);
    let nothing = "it was given to another process or is not for this one";
    let no_environment = "what was received is no environment";
    let cut = "what was received is cut short";
    let not_possible = "what was received has a name or value that is not possible";
    for (sent, problem) in [
        (vec![], nothing),
        (b"bws-env".to_vec(), nothing),
        (b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), no_environment),
        (longer, no_environment),
        (frame[..frame.len() - 1].to_vec(), cut),
        (inconsistent, cut),
        (impossible("", "x"), not_possible),
        (impossible("A=B", "x"), not_possible),
        (impossible("A", "x\0y"), not_possible),
        (impossible("BWS_ACCESS_TOKEN", "x"), not_possible),
        (impossible("BWS_EXEC_PROJECT", "x"), not_possible),
    ] {
        let message = format!("no environment was handed over: {problem}");
        inner(&sent, false, &[]).failed(125, &error("hand-over", &message, HINT));
    }
}

/// A peer that takes the connection and says no more.
#[test]
#[ignore = "needs root"]
fn the_wait_ends() {
    let message = "no environment was handed over: it did not arrive in time";
    let frame = frame(&[("ONE", "1")]);
    for sent in [&[][..], &frame[..5], &frame[..frame.len() - 1]] {
        let outcome = inner(sent, true, &["--deadline", "300ms"]);
        outcome.failed(125, &error("hand-over", message, HINT));
    }
}
