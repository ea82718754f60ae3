//! What an engine keeps of a value, searched for while the container runs, after it was stopped and after it
//! was removed; and what bws-exec is to a container as its entrypoint.
//!
//! Each run has a marker beside the canary: in its labels, in base64 and hex, and in what the application is
//! called with and says. It must be found in every place, so that a canary which is found in none is not
//! there. A plain `-e` shows the same of the canary.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use tempfile::TempDir;

use crate::support::containers::canary;
use crate::support::docker::{Docker, docker};
use crate::support::podman::Podman;
use crate::support::{BINARY, Launch, Running, Scenario, docker as support, eventually, podman, proc};

/// An engine that says all that it can say: what it would hand to a journal is in files of its directory.
enum Engine {
    Docker(&'static Docker),
    Podman(Podman),
}

impl Engine {
    fn directory(&self) -> &Path {
        match self {
            Self::Docker(docker) => &docker.directory,
            Self::Podman(podman) => podman.path(),
        }
    }

    fn base(&self) -> &'static str {
        match self {
            Self::Docker(_) => support::BASE,
            Self::Podman(_) => podman::BASE,
        }
    }

    fn try_run(&self, words: &[&str]) -> Output {
        match self {
            Self::Docker(docker) => docker.try_run(words),
            Self::Podman(podman) => podman.try_run(words),
        }
    }

    #[track_caller]
    fn run(&self, words: &[&str]) -> String {
        let output = self.try_run(words);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// The client up to `run` and what this machine asks for.
    fn words(&self) -> Vec<String> {
        let mut words = match self {
            Self::Docker(_) => vec!["docker".to_owned(), "--debug".into(), "run".into()],
            Self::Podman(podman) => {
                let mut words = podman.run_words();
                words.splice(1..1, ["--log-level".to_owned(), "debug".into()]);
                words
            }
        };
        words.extend(["--network", "host"].map(str::to_owned));
        words
    }

    /// The client's own words go to a file of the engine's directory.
    fn launch(&self, launch: Launch) -> Launch {
        let launch = match self {
            Self::Docker(docker) => docker.launch(launch),
            Self::Podman(podman) => launch.env("HOME", podman.path()),
        };
        let to_a_file = "file=$1; shift; exec \"$@\" 2>>\"$file\"";
        let file = self.directory().join("client.log").display().to_string();
        launch.under(["sh", "-c", to_a_file, "sh", &file])
    }

    fn pid(&self, name: &str) -> i32 {
        self.run(&["inspect", "-f", "{{.State.Pid}}", name]).parse().unwrap()
    }

    /// The base with this entrypoint, and the binary.
    fn entrypoint(&self, image: &str, instruction: &str) {
        let tree = tempfile::tempdir().unwrap();
        support::tree(tree.path());
        let copied = Command::new("cp").arg(BINARY).arg(tree.path().join("bws-exec")).status();
        assert!(copied.unwrap().success());
        match self {
            Self::Docker(docker) => docker.import(image, tree.path(), &[instruction]),
            Self::Podman(podman) => {
                let script = "tar -C \"$1\" -c . | { shift; \"$@\"; }";
                let mut import = Command::new("sh");
                import.args(["-ec", script, "sh"]).arg(tree.path()).args(podman.client());
                let output = import.args(["import", "--change", instruction, "-", image]).output().unwrap();
                assert!(output.status.success(), "{output:?}");
            }
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD_NO_PAD.encode(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A text as it is, in hex, and in base64 wherever in a group of three it begins, without the characters that
/// depend on what stands beside it.
fn forms(text: &str) -> Vec<String> {
    let mut forms = vec![text.to_owned(), hex(text.as_bytes()), hex(text.as_bytes()).to_uppercase()];
    for before in 0..3 {
        let bytes = [&[0; 2][..before], text.as_bytes()].concat();
        let whole = &bytes[..bytes.len() / 3 * 3];
        forms.push(base64(whole)[[0, 2, 3][before]..].to_owned());
    }
    forms
}

/// Where the engine and the processes of this machine have a text, in any of its forms.
fn places(engine: &Engine, name: &str, text: &str) -> BTreeSet<String> {
    let forms = forms(text);
    let mut grep = Command::new("grep");
    grep.args(["-rlaF", "-D", "skip"]);
    for form in &forms {
        grep.args(["-e", form]);
    }
    let output = grep.arg(engine.directory()).output().unwrap();
    let files = String::from_utf8_lossy(&output.stdout).into_owned();
    // Of a path, the directory of this engine and ids are nothing to tell.
    let mut places: BTreeSet<String> =
        files.lines().map(|path| format!("file {}", path.rsplit('/').next().unwrap())).collect();
    let said = |words: &[&str]| {
        let output = engine.try_run(words);
        [output.stdout, output.stderr].concat()
    };
    // To the nanosecond: "0s" is the second's begin.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let now = format!("{}.{:09}", now.as_secs(), now.subsec_nanos());
    let events: &[&str] = match engine {
        Engine::Docker(_) => &["events", "--since", "1h", "--until", &now],
        Engine::Podman(_) => &["events", "--stream=false"],
    };
    let arguments = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok())
        .collect::<Vec<_>>()
        .concat();
    for (what, bytes) in [
        ("inspect", said(&["container", "inspect", name])),
        ("logs", said(&["logs", name])),
        ("events", said(events)),
        ("arguments", arguments),
    ] {
        let bytes = String::from_utf8_lossy(&bytes);
        if forms.iter().any(|form| bytes.contains(form)) {
            places.insert(what.to_owned());
        }
    }
    places
}

/// What the vault has, and files for a container: a token and the vault's authority.
struct World {
    scenario: Scenario,
    canary: String,
    files: TempDir,
}

impl World {
    fn new(name: &str) -> Self {
        let canary = canary(name);
        let scenario = Scenario::new().secret("CANARY", &canary);
        let files = tempfile::tempdir().unwrap();
        let world = Self { scenario, canary, files };
        fs::write(world.path("token"), &world.scenario.token).unwrap();
        fs::copy(world.scenario.vault.ca_file(), world.path("ca.pem")).unwrap();
        for name in ["token", "ca.pem"] {
            fs::set_permissions(world.path(name), fs::Permissions::from_mode(0o444)).unwrap();
        }
        // Of the token, only we can read it.
        fs::set_permissions(world.path("token"), fs::Permissions::from_mode(0o400)).unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn launch(&self, way: Way) -> Launch {
        match way {
            Way::Plain => self.scenario.launch(),
            Way::Socket => self.scenario.launch().option("--container=socket"),
            Way::Token => self
                .scenario
                .launch_without_token()
                .options(["--container=token", "--access-token-file"])
                .option(self.path("token")),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Plain,
    Socket,
    Token,
}

/// Says what it is called with and waits; ends by TERM with a code of its own.
const APPLICATION: &str = "trap 'exit 7' TERM; echo $0; sleep 1000 & wait";

/// Where the canary is while the container runs, after its end, and after its removal.
fn found(engine: &Engine, way: Way) -> [BTreeSet<String>; 3] {
    let name = format!("bws-traces-{way:?}").to_lowercase();
    let (world, marker) = (World::new("traces"), canary("marker"));
    let (_, key) = world.scenario.token.rsplit_once(':').unwrap();
    let mut words = engine.words();
    let labels = [
        format!("one={}", base64(format!("x{marker}yz").as_bytes())),
        format!("two={}", hex(marker.as_bytes())),
    ];
    words.extend(["--name", &name, "--label", &labels[0], "--label", &labels[1]].map(str::to_owned));
    if way == Way::Plain {
        words.extend(["-e", "CANARY"].map(str::to_owned));
    }
    words.extend([engine.base(), "sh", "-c", APPLICATION, &marker].map(str::to_owned));
    // Not in the background: the client can be looked at as well.
    let running = engine.launch(world.launch(way)).command(&words).start();
    eventually("the application has begun", || {
        let output = engine.try_run(&["logs", &name]);
        output.status.success() && String::from_utf8_lossy(&output.stdout).trim_end() == marker
    });
    let environ = proc::read(engine.pid(&name), "environ").unwrap();
    assert!(String::from_utf8_lossy(&environ).contains(&world.canary), "{way:?}: the container has it");

    let look = |everywhere: &[&str]| {
        let seen = places(engine, &name, &marker);
        for place in everywhere {
            assert!(seen.contains(*place), "{way:?}: the search does not see {place}: {seen:?}");
        }
        assert!(seen.iter().any(|place| place.starts_with("file ")), "{way:?}: nor files: {seen:?}");
        assert_eq!(places(engine, &name, key), BTreeSet::new(), "{way:?}: the token's key");
        places(engine, &name, &world.canary)
    };
    let while_it_runs = look(&["inspect", "logs", "events", "arguments"]);
    engine.run(&["stop", "--time", "60", &name]);
    let outcome = running.finish();
    assert_eq!((outcome.code(), outcome.text()), (Some(7), format!("{marker}\n")), "{way:?}");
    let afterwards = look(&["inspect", "logs", "events"]);
    engine.run(&["rm", &name]);
    [while_it_runs, afterwards, look(&["events"])]
}

fn nothing_but_of_a_plain_variable(engine: &Engine, running: &[&str], removed: &[&str]) {
    for way in [Way::Socket, Way::Token] {
        assert_eq!(found(engine, way), [const { BTreeSet::new() }; 3], "{way:?}");
    }
    let [while_it_runs, afterwards, at_last] = found(engine, Way::Plain);
    // At least there: what a database drops, it may overwrite.
    for (places, seen) in [(running, while_it_runs), (running, afterwards), (removed, at_last)] {
        let missing: Vec<_> = places.iter().filter(|place| !seen.contains(**place)).collect();
        assert!(missing.is_empty(), "not in {missing:?}: {seen:?}");
    }
}

#[test]
#[ignore = "needs docker"]
fn what_docker_keeps() {
    let engine = Engine::Docker(docker());
    let running = ["file config.v2.json", "file log", "inspect"];
    nothing_but_of_a_plain_variable(&engine, &running, &["file log"]);
}

#[test]
#[ignore = "needs podman"]
fn what_podman_keeps() {
    let engine = Engine::Podman(Podman::new());
    let running = ["file bolt_state.db", "file config.json", "inspect"];
    nothing_but_of_a_plain_variable(&engine, &running, &["file bolt_state.db"]);
}

/// Name and state of all that runs in the container of this process.
fn inside(pid: i32) -> BTreeSet<(String, bool)> {
    let space = |pid: i32| fs::read_link(proc::path(pid, "ns/pid")).ok();
    let here = space(pid);
    assert!(here.is_some(), "{pid} is there");
    let numbers =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let members = numbers.filter(|&pid: &i32| space(pid) == here);
    members.filter_map(proc::state).map(|(state, name)| (name, state == 'Z')).collect()
}

/// PID 1 is the application: nothing of ours stays, dead or alive, and it ends by TERM, with its own code,
/// within the second after which the engine would kill it (137).
fn as_entrypoint(engine: &Engine) {
    let world = World::new("entrypoint");
    let image = "bws-exec-traces:1";
    let vault = &world.scenario.vault;
    let options = ["--identity-url", vault.identity_url(), "--api-url", vault.api_url()];
    let rest = ["--ca-file", "/ca.pem", "--access-token-file", "/token", "--", "sh", "-c"];
    let words = [&["/bws-exec"], &options[..], &rest].concat();
    engine.entrypoint(image, &format!("ENTRYPOINT {}", serde_json::to_string(&words).unwrap()));
    let run = |name: &str, application: &str, members: &[(&str, bool)]| {
        let mount =
            |file: &str| format!("type=bind,source={},target=/{file},readonly", world.path(file).display());
        let mut words = engine.words();
        words.extend(
            ["--name", name, "--mount", &mount("token"), "--mount", &mount("ca.pem")].map(str::to_owned),
        );
        words.extend([image, application].map(str::to_owned));
        let running = Running::new(engine.launch(Launch::new()).command(&words).direct(), None);
        eventually("the application has begun", || {
            let output = engine.try_run(&["logs", name]);
            String::from_utf8_lossy(&output.stdout) == format!("{} is 1\n", world.canary)
        });
        let members = members.iter().map(|&(name, dead)| (name.to_owned(), dead)).collect();
        let pid = engine.pid(name);
        eventually("it is complete", || inside(pid) == members);
        engine.run(&["stop", "--time", "1", name]);
        let outcome = running.finish();
        assert_eq!(engine.run(&["inspect", "-f", "{{.State.ExitCode}}", name]).parse().ok(), outcome.code());
        engine.run(&["rm", name]);
        outcome.code()
    };
    let application = "trap 'exit 7' TERM; echo $CANARY is $$; sleep 1000 & wait";
    assert_eq!(run("bws-ends", application, &[("sh", false), ("sleep", false)]), Some(7));
    // The same look sees a zombie, and the same measure an application that does not listen.
    let deaf = "trap '' TERM; echo $CANARY is $$; true & exec sleep 1000";
    assert_eq!(run("bws-deaf", deaf, &[("sleep", false), ("sh", true)]), Some(137));
}

#[test]
#[ignore = "needs docker"]
fn the_entrypoint_with_docker() {
    as_entrypoint(&Engine::Docker(docker()));
}

#[test]
#[ignore = "needs podman"]
fn the_entrypoint_with_podman() {
    as_entrypoint(&Engine::Podman(Podman::new()));
}
