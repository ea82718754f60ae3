//! `--container=socket` with a real Docker Engine: the container has the values, the engine never does.

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::support::docker::{BASE, Docker, docker, remapped_docker};
use crate::support::{BINARY, Launch, PATIENCE, Scenario, eventually, proc, script};

/// In no file before; put together at run time, so that it is not in this program either.
pub fn canary(of: &str) -> String {
    let number = fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
    format!("canary-{of}-{}-in-a-coal-mine", number.trim_end())
}

struct Case {
    docker: &'static Docker,
    scenario: Scenario,
    canary: String,
}

impl Case {
    fn new(name: &str) -> Self {
        Self::with(name, docker())
    }

    fn with(name: &str, docker: &'static Docker) -> Self {
        let canary = canary(name);
        Self { docker, scenario: Scenario::new().secret("CANARY", &canary), canary }
    }

    fn launch(&self) -> Launch {
        self.docker.launch(self.scenario.launch())
    }

    /// `docker run` with these options and words, in a container.
    fn run(&self, options: &[&str], image: &str, command: &[&str]) -> Launch {
        let words =
            ["docker", "run", "--network", "none"].iter().chain(options).chain([&image]).chain(command);
        self.launch().option("--container").command(words)
    }

    /// Files of the engine that hold the canary.
    fn found(&self) -> Vec<String> {
        holding(&self.canary, &self.docker.directory)
    }
}

/// Files below that have this text in them.
pub fn holding(text: &str, directory: &Path) -> Vec<String> {
    let mut grep = std::process::Command::new("grep");
    let output = grep.args(["-rlaF", "-D", "skip", text]).arg(directory).output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

const ENVIRONMENT: [&str; 2] = ["cat", "/proc/self/environ"];
const SAY: [&str; 3] = ["sh", "-c", "echo $CANARY"];

#[test]
#[ignore = "needs docker"]
fn the_container_has_the_values_and_nothing_else_of_ours() {
    let case = Case::new("plain");
    let launch = case.run(&["--rm", "-e", "KEPT=1", "--hostname", "there"], BASE, &ENVIRONMENT);
    let outcome = launch.env("HOST_ONLY", "x").run();
    outcome.succeeded();
    let mut entries: Vec<String> = outcome.text().split_terminator('\0').map(Into::into).collect();
    entries.sort();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let expected = [&format!("CANARY={}", case.canary), "HOME=/root", "HOSTNAME=there", "KEPT=1", path]
        .map(str::to_owned);
    assert_eq!(entries, expected);
}

#[test]
#[ignore = "needs docker"]
fn all_ways_of_starting_one() {
    let case = Case::new("ways");
    let image = "bws-exec-ways:1";
    case.docker.image(
        image,
        &["ENTRYPOINT [\"sh\", \"-c\"]", "CMD [\"echo $CANARY $(id -u) from the image\"]", "USER app"],
    );
    let said = |options: &[&str], command: &[&str]| {
        let outcome = case.run(options, image, command).run();
        outcome.succeeded();
        outcome.text().trim_end().to_owned()
    };
    let canary = &case.canary;
    assert_eq!(said(&["--rm"], &[]), format!("{canary} 1000 from the image"));
    assert_eq!(said(&["--rm"], &["echo $CANARY typed"]), format!("{canary} typed"));
    assert_eq!(said(&["--rm", "--user", "4711:4712"], &["echo $CANARY $(id -u)"]), format!("{canary} 4711"));
    assert_eq!(
        said(&["--rm", "--read-only", "--cap-drop=ALL"], &[]),
        format!("{canary} 1000 from the image")
    );
    let under_init = said(&["--rm", "--init"], &["echo $CANARY; cat /proc/1/comm"]);
    assert_eq!(under_init, format!("{canary}\ndocker-init"));
    assert_eq!(said(&["--rm"], &["echo $CANARY $$"]), format!("{canary} 1"));
    assert_eq!(said(&["--rm", "--security-opt", "no-new-privileges"], &["echo $CANARY"]), *canary);
    let shell = said(&["--rm", "--entrypoint", "/bin/env"], &["sh", "-c", "echo $CANARY by env"]);
    assert_eq!(shell, format!("{canary} by env"));
    // The client's exit code is the command's own, and its streams are ours.
    let outcome = case.run(&["--rm", "-i"], image, &["cat; exit 42"]).stdin("through").run();
    assert_eq!((outcome.code(), outcome.text().as_str(), outcome.stderr.as_str()), (Some(42), "through", ""));
}

/// Root in there is nobody out here, and could not enter the directory that the socket is in.
#[test]
#[ignore = "needs docker"]
fn an_engine_with_user_namespaces() {
    let case = Case::with("remapped", remapped_docker());
    for user in ["0", "1000"] {
        let say = ["sh", "-c", "echo $CANARY $(id -u); cat /proc/self/uid_map"];
        let outcome = case.run(&["--rm", "--user", user], BASE, &say).run();
        outcome.succeeded();
        let text = outcome.text();
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(words, [&case.canary, user, "0", "200000", "65536"]);
    }
}

#[test]
#[ignore = "needs docker"]
fn in_the_background() {
    let case = Case::new("detached");
    let outcome = case
        .run(&["-d", "--name", "bws-detached"], BASE, &["sh", "-c", "echo $CANARY; exec sleep 1000"])
        .run();
    outcome.succeeded();
    assert_eq!(outcome.text().trim_end().len(), 64, "the client prints the id: {}", outcome.text());
    eventually("it has begun", || case.docker.run(["logs", "bws-detached"]) == case.canary);
    case.docker.run(["rm", "-f", "bws-detached"]);
}

/// A user who may use the engine, and is not root. Nobody reads the helper's memory, that user's other
/// processes neither.
#[test]
#[ignore = "needs docker"]
fn a_user_of_the_engine() {
    const USER: u32 = 4711;
    let case = Case::new("user");
    let place = tempfile::tempdir().unwrap();
    let mut copy = std::process::Command::new("sh");
    let readable = "chmod 755 .; install -m 755 \"$1\" bws-exec; chmod 644 \"$2\"; chmod 711 \"$3\"";
    copy.args(["-euc", readable, "sh", BINARY]).arg(case.scenario.vault.ca_file());
    let copied = copy.arg(&case.docker.directory).current_dir(place.path()).status().unwrap();
    assert!(copied.success());
    // What membership in the group `docker` gives.
    std::os::unix::fs::chown(case.docker.directory.join("socket"), None, Some(USER)).unwrap();
    let gate = Gate::new("exec docker \"$@\"");
    std::os::unix::fs::chown(gate.directory.path(), Some(USER), None).unwrap();
    let as_user = ["setpriv", &format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups"];
    let cidfile = gate.directory.path().join("cid");
    let options = ["--rm", "--cidfile", cidfile.to_str().unwrap()];
    let launch =
        case.run(&options, BASE, &["sh", "-c", "echo $CANARY; cat"]).binary(place.path().join("bws-exec"));
    let launch = launch.env("PATH", gate.path()).env("HOME", "/").under(as_user).env("XDG_RUNTIME_DIR", "/x");
    let running = launch.start();
    let socket = socket(&gate.words());

    let helpers: Vec<i32> = processes().filter(|&pid| is_helper(pid, USER)).collect();
    assert_eq!(helpers.len(), 1, "{helpers:?}");
    let helper = helpers[0];
    let read = move || {
        // SAFETY: the system call itself, which changes this thread alone.
        assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, USER, USER, USER) }, 0);
        ["environ", "mem", "maps"].map(|file| proc::read(helper, file).map_err(|error| error.kind()))
    };
    let read = std::thread::spawn(read).join().unwrap();
    assert!(read.iter().all(|file| matches!(file, Err(std::io::ErrorKind::PermissionDenied))), "{read:?}");
    assert_eq!(proc::descriptors(helper).len(), 5, "null, null, stderr, the socket, the client");

    gate.open();
    let outcome = running.finish();
    assert_eq!((outcome.text().trim_end(), outcome.stderr.as_str()), (case.canary.as_str(), ""));
    assert_eq!(fs::read(cidfile).unwrap().len(), 64, "where it was asked for");
    eventually("nothing is left", || !socket.exists() && proc::state(helper).is_none());
}

fn processes() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn is_helper(pid: i32, user: u32) -> bool {
    let status = String::from_utf8_lossy(&proc::read(pid, "status").unwrap_or_default()).into_owned();
    status.starts_with("Name:\tbws-exec\n") && status.contains(&format!("\nUid:\t{user}\t"))
}

/// On a terminal the container has one too.
#[test]
#[ignore = "needs docker"]
fn on_a_terminal() {
    let case = Case::new("terminal");
    let launcher = case.run(&["--rm", "-it"], BASE, &["sh", "-c", "test -t 0 && echo $CANARY"]).launcher();
    let words = [launcher.get_program()].into_iter().chain(launcher.get_args());
    let line: String = words.map(|word| format!("'{}' ", word.to_str().unwrap())).collect();
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).env_clear().stdin(std::process::Stdio::null());
    script.envs(launcher.get_envs().map(|(name, value)| (name, value.unwrap())));
    let output = script.output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains(&case.canary), "{output:?}");
}

/// A client that ends at once says nothing about a container that takes its time.
#[test]
#[ignore = "needs docker"]
fn in_the_background_and_late() {
    let case = Case::new("late");
    // run --network none -d, of which create does not know the last.
    let gate = Gate::new("shift 4; exec docker create --network none \"$@\"");
    let launch = case.run(&["-d"], BASE, &SAY).env("PATH", gate.path());
    let running = launch.start();
    let directory = socket(&gate.words()).parent().unwrap().to_owned();
    gate.open();
    let outcome = running.finish();
    outcome.succeeded();
    let id = outcome.text().trim_end().to_owned();
    assert_eq!(case.docker.run(["start", "-a", &id]), case.canary);
    eventually("nothing is left", || !directory.exists());
    case.docker.run(["rm", &id]);
}

/// A container that never asks, though it and the client are there.
#[test]
#[ignore = "needs docker"]
fn the_offer_ends_after_half_a_minute() {
    let case = Case::new("never");
    let gate = Gate::new("shift; docker create \"$@\"; read _ <\"${0%/*}/gate\"");
    let running = case.run(&["--name", "bws-never"], BASE, &SAY).env("PATH", gate.path()).start();
    let directory = socket(&gate.words()).parent().unwrap().to_owned();
    gate.open();
    eventually("it is over", || !directory.exists());
    gate.open();
    let outcome = running.finish();
    let warning = "bws-exec: warning: the container did not ask for its environment within 30s\n";
    assert_eq!(outcome.stderr, warning);
    assert!(outcome.took.as_secs() >= 30, "{:?}", outcome.took);
    assert!(!case.docker.try_run(["start", "-a", "bws-never"]).status.success());
    case.docker.run(["rm", "bws-never"]);
}

#[test]
#[ignore = "needs docker"]
fn the_engine_never_has_a_value() {
    let case = Case::new("stored");
    let outcome = case.run(&["-d", "--name", "bws-stored"], BASE, &["sleep", "1000"]).start();
    let outcome = outcome.finish();
    outcome.succeeded();
    let pid: i32 = case.docker.run(["inspect", "-f", "{{.State.Pid}}", "bws-stored"]).parse().unwrap();
    eventually("the command runs", || proc::state(pid).is_some_and(|(_, name)| name == "sleep"));
    let environ = String::from_utf8_lossy(&proc::read(pid, "environ").unwrap()).into_owned();
    assert!(environ.contains(&case.canary), "the container has it");
    let inspected = case.docker.run(["inspect", "bws-stored"]);
    assert!(inspected.contains("/.bws-exec.sock"), "{inspected}");
    for (what, text) in [
        ("inspect", inspected),
        ("events", case.docker.run(["events", "--since", "1h", "--until", "0s"])),
        ("arguments of all processes", everybodys_arguments()),
    ] {
        assert!(!text.contains(&case.canary), "{what}: {text}");
    }
    assert_eq!(case.found(), [""; 0], "in the engine's files");
    case.docker.run(["kill", "bws-stored"]);
    assert_eq!(case.found(), [""; 0], "in the engine's files, afterwards");
    case.docker.run(["rm", "bws-stored"]);

    // The same search finds what is stored: a plain -e.
    let words =
        ["docker", "run", "-d", "--network", "none", "-e", "CANARY", "--name", "bws-plain", BASE, "true"];
    let outcome = case.launch().command(words).run();
    assert_eq!(
        outcome.stderr,
        "bws-exec: warning: docker stores the value of 'CANARY' on its disk and shows it in 'inspect'; \
         --container keeps it out of there\n"
    );
    assert!(case.docker.run(["inspect", "bws-plain"]).contains(&case.canary));
    assert!(case.found().iter().any(|path| path.ends_with("/config.v2.json")), "{:?}", case.found());
    case.docker.run(["rm", "-f", "bws-plain"]);
}

fn everybodys_arguments() -> String {
    let processes = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read(entry.unwrap().path().join("cmdline")).ok());
    processes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect()
}

/// A `docker` that stops in front of `run`, says what it was given, and waits.
struct Gate {
    directory: tempfile::TempDir,
}

impl Gate {
    /// `then` is what it does when it is let through, with the client's words as "$@".
    fn new(then: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().display();
        let text = format!(
            "#!/bin/sh\nPATH=/usr/local/bin:/usr/bin:/bin\n[ \"$1\" = run ] || exec docker \"$@\"\n\
             printf '%s\\n' \"$@\" >{at}/words.new; mv {at}/words.new {at}/words\n\
             mkfifo {at}/gate 2>/dev/null; read _ <{at}/gate\n{then}\n"
        );
        script(&directory.path().join("docker"), &text);
        let made = std::process::Command::new("mkfifo").arg(directory.path().join("gate")).status();
        assert!(made.unwrap().success());
        Self { directory }
    }

    fn path(&self) -> String {
        format!("{}:/usr/local/bin:/usr/bin:/bin", self.directory.path().display())
    }

    fn words(&self) -> Vec<String> {
        let file = self.directory.path().join("words");
        eventually("the client is at the gate", || file.exists());
        fs::read_to_string(file).unwrap().lines().map(Into::into).collect()
    }

    fn open(&self) {
        fs::write(self.directory.path().join("gate"), "go\n").unwrap();
    }
}

/// The socket among the client's words.
fn socket(words: &[String]) -> PathBuf {
    let mount = words.iter().find(|word| word.contains("target=/.bws-exec.sock")).expect("it is mounted");
    let source = mount.split(',').find_map(|field| field.strip_prefix("source=")).expect("it has a source");
    source.into()
}

fn received(socket: &Path) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).expect("root may connect");
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
    assert_eq!(received(&socket), b"", "there is no container yet");
    gate.open();
    eventually("the container is made", || {
        case.docker.try_run(["inspect", "bws-rightful"]).status.success()
            && fs::read(directory.join("cid")).is_ok_and(|id| id.len() == 64)
    });
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

/// What is said about inherited variables is about the container's own.
#[test]
#[ignore = "needs docker"]
fn the_containers_own_variables() {
    let case = Case::new("own");
    let run = |options: &[&str], image_options: &[&str], command: &[&str]| {
        case.run(&[&["--rm"], image_options].concat(), BASE, command).options(options).run()
    };
    let outcome = run(&["--no-inherit-env"], &["-e", "GONE=1"], &ENVIRONMENT);
    let mut names: Vec<&str> = Vec::new();
    let text = outcome.text();
    names.extend(text.split_terminator('\0').filter_map(|entry| entry.split('=').next()));
    assert_eq!(names, ["PATH", "CANARY"]);
    let conflict = ["-e", "CANARY=typed"];
    assert_eq!(run(&[], &conflict, &SAY).text().trim_end(), case.canary);
    assert_eq!(run(&["--on-conflict=inherited"], &conflict, &SAY).text(), "typed\n");
    run(&["--on-conflict=error"], &conflict, &SAY).failed_with(125, "conflict");
    // What is inherited here reaches inside only as a reference that was asked for.
    let launch = case.run(&["--rm"], BASE, &["sh", "-c", "echo $B-$C"]).option("--resolve-env");
    let outcome = launch.env("B", "bws://CANARY").env("C", "here").run();
    assert_eq!(outcome.text(), format!("{}-\n", case.canary));
    // And does not count as set there.
    let outcome = run(&["--require", "HOME", "--only", "CANARY"], &[], &SAY);
    outcome.failed_with(125, "required");
}

/// The helper ends with the client, and is no child of it. The client itself has no value either.
#[test]
#[ignore = "needs docker"]
fn nothing_of_ours_stays() {
    let case = Case::new("stays");
    let gate = Gate::new("cat /proc/self/environ; exit 3");
    let running = case.run(&["--rm"], BASE, &SAY).env("PATH", gate.path()).start();
    let directory = socket(&gate.words()).parent().unwrap().to_owned();
    assert!(
        proc::children(running.pid())
            .iter()
            .all(|&child| proc::state(child).is_none_or(|(_, name)| name != "bws-exec"))
    );
    gate.open();
    eventually("the helper has ended and cleaned up", || !directory.exists());
    let outcome = running.finish();
    assert_eq!(outcome.code(), Some(3), "the client's own code");
    assert!(
        outcome.text().contains("DOCKER_HOST=")
            && !outcome.text().contains("BWS_")
            && !outcome.text().contains(&case.canary)
    );
}

/// A client that is killed takes the offer with it.
#[test]
#[ignore = "needs docker"]
fn the_offer_ends_with_the_client() {
    let case = Case::new("killed");
    let gate = Gate::new("exit 0");
    let running = case.run(&["--rm"], BASE, &SAY).env("PATH", gate.path()).start();
    let directory = socket(&gate.words()).parent().unwrap().to_owned();
    running.signal(libc::SIGKILL);
    // It would keep stderr open, which the end of a run waits for.
    eventually("the helper has ended and cleaned up", || !directory.exists());
    running.finish();
}
