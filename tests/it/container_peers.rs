//! Who else asks for the environment of a container, and gets nothing.

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::support::containers::{Case, Gate, SAY, socket};
use crate::support::docker::BASE;
use crate::support::seccomp::without_socket_option;
use crate::support::{BINARY, PATIENCE, eventually};

fn received(socket: &Path) -> Vec<u8> {
    sent(UnixStream::connect(socket).expect("root may connect"))
}

fn sent(mut stream: UnixStream) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the other side closes it");
    bytes
}

const REFUSED: &str =
    "bws-exec: warning: a process that is not the container asked for its environment and got nothing\n";

/// Before the container is there, and while it is there but has not asked: a process of this machine, and
/// another container with the same socket and binary mounted.
#[test]
#[ignore = "needs docker"]
fn nobody_but_the_container_gets_anything() {
    let case = Case::new("others");
    let gate = Gate::new(&format!(
        "id=$({}) || exit 1\nread _ <\"${{0%/*}}/gate\"\nexec docker start -a \"$id\"",
        "shift; docker create \"$@\""
    ));
    let running = case.run(&["--name", "bws-rightful"], BASE, &SAY).env("PATH", gate.path()).start();
    let words = gate.words();
    let socket = socket(&words);

    use std::os::unix::fs::MetadataExt;
    let directory = socket.parent().unwrap();
    assert_eq!(fs::metadata(directory).unwrap().mode() & 0o7777, 0o700, "{}", directory.display());
    assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o666);
    // There is no container yet: nobody can be told from it, and everybody waits.
    let early = UnixStream::connect(&socket).expect("root may connect");
    gate.open();
    eventually("the container is made", || {
        case.docker.try_run(["inspect", "bws-rightful"]).status.success()
            && fs::read(directory.join("cid")).is_ok_and(|id| id.len() == 64)
    });
    assert_eq!(sent(early), b"", "a process that asked before");
    assert_eq!(received(&socket), b"", "a process of this machine");
    // Another user does not even come there.
    let path = socket.clone();
    let other = std::thread::spawn(move || {
        // SAFETY: the system call itself, which changes this thread alone.
        assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) }, 0);
        UnixStream::connect(path).map_err(|error| error.kind())
    });
    assert_eq!(other.join().unwrap().err(), Some(std::io::ErrorKind::PermissionDenied));

    let mount = |source: &Path, target: &str| {
        format!("type=bind,source={},target={target},readonly", source.display())
    };
    let (binary, mounted) = (mount(Path::new(BINARY), "/.bws-exec"), mount(&socket, "/.bws-exec.sock"));
    let inside = ["/.bws-exec", "--container-inner", "--"].iter().chain(&SAY);
    let mut words = vec!["run", "--rm", "--network", "none", "--mount", &binary, "--mount", &mounted, BASE];
    words.extend(inside);
    let output = case.docker.try_run(&words);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "bws-exec: error[hand-over]: no environment was handed over: it was given to another process or is not \
         for this one\n\
         bws-exec: hint: --container=socket serves one start; for docker start and restarts use \
         --container=token\n"
    );
    assert_eq!(output.status.code(), Some(125));

    // None of them took anything away from the one it is for.
    gate.open();
    let outcome = running.finish();
    assert_eq!(
        (outcome.code(), outcome.text().trim_end()),
        (Some(0), case.canary.as_str()),
        "{}",
        outcome.stderr
    );
    assert_eq!(outcome.stderr, REFUSED, "said once");
    eventually("nothing is left", || !directory.exists());
    case.docker.run(["rm", "-f", "bws-rightful"]);
}

/// The application, or whatever else runs in the container later, cannot ask again.
#[test]
#[ignore = "needs docker"]
fn it_is_given_once() {
    let case = Case::new("once");
    let again = "echo $CANARY; unset CANARY; exec /.bws-exec --container-inner -- env";
    let outcome = case.run(&["--rm"], BASE, &["sh", "-c", again]).run();
    assert_eq!(outcome.text().trim_end(), case.canary);
    assert_eq!(outcome.code(), Some(125));
    assert!(outcome.stderr.starts_with("bws-exec: error[hand-over]: "), "{}", outcome.stderr);
}

/// A kernel before 6.5 knows the peer by its number alone. Any other failure is about this very peer, which is
/// refused: it may have ended, and its number may be another's.
#[test]
#[ignore = "needs docker"]
fn where_the_kernel_has_no_handle_of_the_peer() {
    let case = Case::new("handle");
    let say = || case.run(&["--rm"], BASE, &SAY);
    let outcome = without_socket_option(say(), libc::SO_PEERPIDFD, libc::ENOPROTOOPT);
    assert_eq!(outcome.succeeded().text().trim_end(), case.canary);
    for errno in [libc::EINVAL, libc::ESRCH, libc::EPERM] {
        let outcome = without_socket_option(say(), libc::SO_PEERPIDFD, errno);
        assert_eq!((outcome.code(), outcome.text().as_str()), (Some(125), ""), "{errno}");
        assert!(outcome.stderr.starts_with(REFUSED), "{errno}: {}", outcome.stderr);
    }
}
