//! `--container`: what is refused before anything is started, and what the engine's client may say.

use std::fs;

use tempfile::TempDir;

use super::errors::{error, untouched};
use crate::support::{BINARY, Launch, Outcome, Scenario, script};

/// Clients that answer from files: `docker image inspect` prints `image.json`, if that is there.
fn clients(image: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let text = "#!/bin/sh
        cd \"${0%/*}\"
        case \"$*\" in
        *'context inspect'*) cat context || exit 1 ;;
        *'image inspect'*) cat image.json 2>/dev/null || { echo 'No such image' >&2; exit 1; } ;;
        *pull*) echo \"pulling: $*\" >&2; mv later.json image.json 2>/dev/null || exit 3 ;;
        *) echo \"the client ran: $*\" ;;
        esac";
    for name in ["docker", "podman", "other"] {
        script(&directory.path().join(name), text);
    }
    fs::write(directory.path().join("context"), "unix:///var/run/docker.sock\n").unwrap();
    if !image.is_empty() {
        fs::write(directory.path().join("image.json"), image).unwrap();
    }
    directory
}

const IMAGE: &str =
    r#"[{"Architecture": "amd64", "Os": "linux", "Config": {"Cmd": ["/serve"], "Entrypoint": null}}]"#;

fn launch(scenario: &Scenario, clients: &TempDir, options: &[&str], command: &str) -> Launch {
    let path = format!("{}:/usr/bin:/bin", clients.path().display());
    let launch = scenario.launch().env("PATH", path).options(options);
    launch.command(command.split(' ').map(|word| word.replace('_', " ")))
}

/// Nothing was asked of the vault, and the container's client did not run.
#[track_caller]
fn refused(options: &[&str], command: &str, message: &str, hint: &str) {
    let (scenario, clients) = (Scenario::new().secret("NAME", "value"), clients(IMAGE));
    launch(&scenario, &clients, options, command).run().failed(125, &error("usage", message, hint));
    untouched(&scenario.vault);
}

const SOCKET: &[&str] = &["--container"];
const EXAMPLE: &str = "for example: bws-exec --container -- docker run --rm IMAGE";
const TOKEN: &str = "use --container=token, which logs in from inside at every start";

#[test]
fn command_lines_that_make_no_container() {
    for (command, message) in [
        ("other run app", "--container is for a command that is docker or podman"),
        ("docker", "--container found no 'run' behind the engine's options"),
        ("docker -D container", "--container found no 'run' behind the engine's options"),
        ("docker compose up", "--container is for 'run' and 'create', not for 'compose'"),
        ("docker run --rm", "--container found no image behind the options of 'run'"),
    ] {
        refused(SOCKET, command, message, EXAMPLE);
    }
    refused(SOCKET, "docker run -- --rm", "--container found no image behind the options of 'run'", EXAMPLE);
    refused(SOCKET, "docker run -it --name", "the engine's option --name has no value", EXAMPLE);
    refused(
        SOCKET,
        "docker run --quite-new app",
        "the engine's option --quite-new is not known, so that nobody can tell where the image stands",
        "write a long option with its value attached: --name=value, or --name=true",
    );
}

#[test]
fn a_file_has_no_way_through_the_socket() {
    refused(
        &["--container", "--file", "KEY=NAME"],
        "docker run app",
        "--file does not reach into a container by --container=socket",
        "use --container=token, or inject it as a variable by --map",
    );
}

/// The container's user has to run the very file that runs here.
#[test]
fn a_binary_that_is_ours_alone() {
    let (scenario, clients) = (Scenario::new().secret("NAME", "value"), clients(IMAGE));
    let binary = clients.path().join("bws-exec");
    let mut copy = std::process::Command::new("install");
    assert!(copy.args(["-m", "700", BINARY]).arg(&binary).status().unwrap().success());
    let message = format!(
        "this bws-exec cannot be mounted into a container: not everybody may read and execute {}",
        binary.display()
    );
    let hint = "install it as a file that everybody may execute: install -m 755 bws-exec /usr/local/bin/";
    let launch = launch(&scenario, &clients, SOCKET, "docker run app").binary(&binary);
    launch.run().failed(125, &error("usage", &message, hint));
}

#[test]
fn what_a_single_start_cannot_serve() {
    let create = "--container=socket serves a container that starts now, and docker create starts none";
    refused(SOCKET, "docker create app", create, TOKEN);
    refused(SOCKET, "docker container create app", create, TOKEN);
    for restart in ["--restart always", "--restart=always"] {
        let message = "--container=socket serves one start, and --restart always asks for more";
        refused(SOCKET, &format!("docker run {restart} app"), message, TOKEN);
    }
    refused(
        SOCKET,
        "podman run --cgroups=disabled app",
        "--container=socket knows the container by its control group, and --cgroups=disabled takes it away",
        "use --container=token, or leave that option out",
    );
    refused(
        SOCKET,
        "docker run --cidfile /etc/passwd app",
        "--cidfile /etc/passwd is there already, for another container",
        "remove it if that container is gone",
    );
}

#[test]
fn what_no_mode_can_do() {
    refused(
        SOCKET,
        "podman run --rootfs /tree sh",
        "--container needs an image, and --rootfs names a directory",
        "run bws-exec as the command of the container instead",
    );
    refused(
        SOCKET,
        "docker run --entrypoint a --entrypoint b app",
        "--entrypoint stands there twice",
        "give it once",
    );
    refused(
        SOCKET,
        "docker run --entrypoint= app",
        "image app names no command, and none was given",
        "put one behind the image: docker run … IMAGE COMMAND",
    );
    refused(
        &["--container=token"],
        "docker run app",
        "--container=token needs --access-token-file PATH",
        "the container reads that very file at each start, so it has to stay where it is",
    );
    refused(
        &["--container=token", "--access-token-file", "/dev/null"],
        "docker run app",
        "/dev/null cannot be mounted into a container: it is not a file",
        "give a file that stays where it is",
    );
    refused(
        &["--container=both"],
        "docker run app",
        "invalid value 'both' for '--container[=<MODE>]' [possible values: socket, token]",
        "bws-exec --help lists the options",
    );
}

#[test]
fn a_path_that_a_mount_cannot_name() {
    let (scenario, clients) = (Scenario::new().secret("NAME", "value"), clients(IMAGE));
    let token = clients.path().join("token,readonly=false");
    fs::write(&token, &scenario.token).unwrap();
    fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
    let options = ["--container=token", "--access-token-file", token.to_str().unwrap()];
    let message = format!("{} cannot be mounted into a container", token.display());
    let hint = "use a path without comma, quote and newline";
    launch(&scenario, &clients, &options, "docker run app")
        .run()
        .failed(125, &error("usage", &message, hint));
}

#[test]
fn an_engine_elsewhere() {
    let refused = |outcome: Outcome, engine: &str, endpoint: &str| {
        let hint = "--container mounts files of this machine: run it where the engine is, or make bws-exec the entrypoint";
        let message = format!("{engine} is not on this machine but at {endpoint}");
        outcome.failed(125, &error("remote-engine", &message, hint));
    };
    let (scenario, clients) = (Scenario::new().secret("NAME", "value"), clients(IMAGE));
    let launch = |command| launch(&scenario, &clients, SOCKET, command);
    refused(launch("docker run app").env("DOCKER_HOST", "tcp://far:2376").run(), "docker", "tcp://far:2376");
    refused(launch("docker -H ssh://u@far run app").run(), "docker", "ssh://u@far");
    refused(launch("docker --host=tcp://127.0.0.1:1 run app").run(), "docker", "tcp://127.0.0.1:1");
    refused(launch("podman --url ssh://far run app").run(), "podman", "ssh://far");
    refused(launch("podman -c far run app").run(), "podman", "connection far");
    refused(launch("podman run --remote app").run(), "podman", "--remote");
    refused(launch("podman run app").env("CONTAINER_HOST", "tcp://far:1").run(), "podman", "tcp://far:1");
    let by_name = launch("podman run app").env("CONTAINER_CONNECTION", "far").run();
    refused(by_name, "podman", "connection far");
    fs::write(clients.path().join("context"), "ssh://u@far\n").unwrap();
    refused(launch("docker run app").run(), "docker", "ssh://u@far");
    // A context that was typed wins over the variable.
    let launch = launch("docker -c far run app").env("DOCKER_HOST", "unix:///here");
    refused(launch.run(), "docker", "ssh://u@far");
    untouched(&scenario.vault);
}

#[test]
fn an_image_for_another_machine() {
    let scenario = Scenario::new().secret("NAME", "value");
    for (architecture, os) in [("arm64", "linux"), ("amd64", "windows")] {
        let image = IMAGE.replace("amd64", architecture).replace("linux", os);
        let outcome = launch(&scenario, &clients(&image), SOCKET, "docker run app").run();
        outcome.failed(
            125,
            &error(
                "image-architecture",
                &format!("image app is for {os}/{architecture}, and this bws-exec for linux/amd64"),
                "use an image for this machine, or put a fitting bws-exec into the image as its entrypoint",
            ),
        );
    }
    // The client would take another image of that name than the one that is here.
    let outcome = launch(&scenario, &clients(IMAGE), SOCKET, "docker run --platform linux/arm64 app").run();
    outcome.failed_with(125, "image-architecture");
    assert!(outcome.stderr.contains("image app is for linux/arm64"), "{}", outcome.stderr);
    untouched(&scenario.vault);
}

const WORDS: &str =
    "its own words stand above; check that the engine runs and that the image's name is right";

#[test]
fn the_client_fails() {
    let scenario = Scenario::new().secret("NAME", "value");
    let failed = |clients: &TempDir, command: &str, said: &str, message: &str| {
        let outcome = launch(&scenario, clients, SOCKET, command).run();
        outcome.failed(75, &format!("{said}{}", error("engine", message, WORDS)));
    };
    failed(
        &clients(""),
        "docker run --platform linux/amd64 -q app",
        "pulling: pull --platform=linux/amd64 --quiet app\n",
        "'docker pull' failed: exit status: 3",
    );
    failed(
        &clients(""),
        "podman run --pull=never app",
        "No such image\n",
        "'podman image inspect' failed: it ended with exit status: 1",
    );
    failed(&clients("[]"), "podman run app", "", "'podman image inspect' failed: its answer is empty");
    failed(
        &clients("?"),
        "podman run app",
        "",
        "'podman image inspect' failed: its answer is not understood",
    );
    let no_context = clients(IMAGE);
    fs::remove_file(no_context.path().join("context")).unwrap();
    let said = "cat: context: No such file or directory\n";
    let message = "'docker context inspect' failed: it ended with exit status: 1";
    failed(&no_context, "docker run app", said, message);
    untouched(&scenario.vault);
}

/// It is pulled by the client itself, once, and its progress is on stderr.
#[test]
fn a_missing_image_is_pulled() {
    let scenario = Scenario::new().secret("NAME", "value");
    for command in ["docker run app", "docker run --pull always app"] {
        let clients = clients("");
        fs::write(clients.path().join("later.json"), IMAGE).unwrap();
        let outcome = launch(&scenario, &clients, SOCKET, command).run();
        assert_eq!((outcome.code(), outcome.stderr.as_str()), (Some(0), "pulling: pull app\n"));
        let text = outcome.text();
        assert!(text.starts_with("the client ran: run --mount ") && !text.contains("--pull"), "{text}");
        assert!(text.ends_with(" app --container-inner -- /serve\n"), "{text}");
    }
}

/// However long it takes, the time for the login is what it would have been.
#[test]
fn a_pull_has_its_own_time() {
    let (scenario, clients) = (Scenario::new().secret("NAME", "value"), clients(""));
    fs::write(clients.path().join("later.json"), IMAGE).unwrap();
    let slow = "#!/bin/sh\nsleep 5; exec \"${0%/*}/podman\" \"$@\"";
    let only_pull =
        "#!/bin/sh\ncase \"$1\" in pull) exec \"${0%/*}/slow\" \"$@\";; esac; exec \"${0%/*}/podman\" \"$@\"";
    script(&clients.path().join("slow"), slow);
    script(&clients.path().join("docker"), only_pull);
    let launch = launch(&scenario, &clients, &["--container", "--deadline", "4s"], "docker run app");
    let outcome = launch.run();
    assert_eq!((outcome.code(), outcome.stderr.as_str()), (Some(0), "pulling: pull app\n"));
    assert!(outcome.took.as_secs() >= 5);
}

#[test]
fn an_engine_that_never_answers() {
    let (scenario, clients) = (Scenario::new().secret("NAME", "value"), clients(IMAGE));
    script(&clients.path().join("podman"), "#!/bin/sh\nexec sleep 1000");
    let launch = launch(&scenario, &clients, SOCKET, "podman run app").options(["--deadline", "300ms"]);
    let message = "'podman image inspect' failed: it was not complete within --deadline";
    launch.run().failed(75, &error("engine", message, WORDS));
}

/// One that has answered, and stays.
#[test]
fn an_engine_client_that_never_ends() {
    let (scenario, clients) = (Scenario::new().secret("NAME", "value"), clients(IMAGE));
    script(&clients.path().join("podman"), "#!/bin/sh\ncat \"${0%/*}/image.json\"\nexec sleep 20 >&-");
    let launch = launch(&scenario, &clients, SOCKET, "podman run app").options(["--deadline", "300ms"]);
    let message = "'podman image inspect' failed: it did not end within --deadline";
    launch.run().failed(75, &error("engine", message, WORDS));
}

const RESTART: &str =
    "--container=socket serves one start; for docker start and restarts use --container=token";

#[test]
fn the_inner_copy_outside_of_a_container() {
    let inner = |command: &[&str]| Launch::new().option("--container-inner").command(command).run();
    let message = "no environment was handed over: there is no socket at /.bws-exec.sock";
    inner(&["true"]).failed(125, &error("hand-over", message, RESTART));
    inner(&[]).failed(125, &error("usage", "no command was given", "this option is for --container alone"));
    // Found out before anything is asked for.
    inner(&["no-such-command"]).failed_with(127, "command-not-found");
}

#[test]
#[ignore = "needs root"]
fn no_tmpfs_anywhere() {
    let (scenario, clients) = (Scenario::new().secret("NAME", "value"), clients(IMAGE));
    let disk = "mount --bind /var /run; mount --bind /var /dev/shm; exec \"$@\"";
    let launch = launch(&scenario, &clients, SOCKET, "docker run app").env("XDG_RUNTIME_DIR", "/var");
    launch.under(["unshare", "--mount", "sh", "-ec", disk, "sh"]).run().failed(
        125,
        &error(
            "hand-over-place",
            "the environment cannot be handed over: no directory is on a tmpfs",
            "it needs a tmpfs that this user may write to: XDG_RUNTIME_DIR, /run or /dev/shm",
        ),
    );
}

/// No run trusts a place where the socket could be exchanged, were it the only one.
#[test]
#[ignore = "needs root"]
fn a_tmpfs_of_others_alone() {
    let (scenario, clients) = (Scenario::new().secret("NAME", "value"), clients(IMAGE));
    let theirs = "mount --bind /var /run; mount -t tmpfs -o mode=777 none /dev/shm; exec \"$@\"";
    let launch = launch(&scenario, &clients, SOCKET, "docker run app");
    launch.under(["unshare", "--mount", "sh", "-ec", theirs, "sh"]).run().failed(
        125,
        &error(
            "hand-over-place",
            "the environment cannot be handed over: /dev/shm: another user may exchange what is in there",
            "it needs a tmpfs that this user may write to: XDG_RUNTIME_DIR, /run or /dev/shm",
        ),
    );
}

/// A bare `NAME` in an env file of the engine's is the same as `-e NAME`.
#[test]
fn an_env_file_of_the_engine_is_looked_into() {
    let clients = clients(IMAGE);
    let scenario = Scenario::new().secret("ONE", "1").secret("TWO", "2").secret("THREE", "3");
    let file = |name: &str, text: &[u8]| fs::write(clients.path().join(name), text).unwrap();
    file("plain", b"\xef\xbb\xbfONE\n# TWO\nTHREE=3\n \t TWO\r\nONEMORE");
    file("star", b"FOUR\nTH*");
    file("none", b"ONE=1\n#TWO\n\n=THREE\n\xff\0");
    nix::unistd::mkfifo(&clients.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    file("huge", &[b"ONE\n".as_slice(), &vec![b'#'; 1024 * 1024]].concat());
    let run =
        |command: &str| launch(&scenario, &clients, &[], command).directory(clients.path()).run().stderr;
    let text = |engine: &str, names: &str| {
        format!(
            "bws-exec: warning: {engine} stores the value of {names} on its disk and shows it in 'inspect'; \
                 --container keeps it out of there\n"
        )
    };
    for (command, expected) in [
        ("docker run --env-file plain app", text("docker", "'ONE', 'TWO'")),
        ("docker run --env-file none --env-file=plain -e THREE app", text("docker", "'ONE', 'THREE', 'TWO'")),
        ("docker run --env-file star app", String::new()),
        ("podman run --env-file star app", text("podman", "'THREE'")),
        ("podman run --env-file none,plain app", text("podman", "'ONE', 'TWO'")),
        ("docker run --env-file none app", String::new()),
        // What is wrong with them is the client's to say.
        ("docker run --env-file missing app", String::new()),
        ("docker run --env-file . app", String::new()),
        ("docker run --env-file huge app", String::new()),
        ("docker run --env-file fifo app", String::new()),
    ] {
        assert_eq!(run(command), expected, "{command}");
    }
    // A pipe can be read once, and the client is to do that.
    script(&clients.path().join("docker"), "#!/bin/sh\nexec cat /dev/stdin");
    let piped = launch(&scenario, &clients, &[], "docker run --env-file /dev/stdin app").stdin("ONE\n");
    let outcome = piped.run();
    assert_eq!((outcome.text().as_str(), outcome.stderr.as_str()), ("ONE\n", ""));
}

/// The warning needs no engine, and is one however many they are.
#[test]
fn a_plain_run_is_warned_about() {
    let clients = clients(IMAGE);
    let scenario = Scenario::new().secret("ONE", "1").secret("TWO", "2").secret("THREE", "3");
    let warning = |command: &str| launch(&scenario, &clients, &[], command).run().stderr;
    let text = |engine: &str, names: &str| {
        format!(
            "bws-exec: warning: {engine} stores the value of {names} on its disk and shows it in 'inspect'; \
             --container keeps it out of there\n"
        )
    };
    assert_eq!(warning("docker run -e ONE -it --env=TWO -e FOUR app"), text("docker", "'ONE', 'TWO'"));
    assert_eq!(warning("docker -D container create -eONE app"), text("docker", "'ONE'"));
    assert_eq!(warning("podman run --env T* app"), text("podman", "'THREE', 'TWO'"));
    assert_eq!(warning("podman run --env-host app"), text("podman", "'ONE', 'THREE', 'TWO'"));
    // `*` is podman's alone.
    assert_eq!(warning("docker run -e T* app"), "");
    for quiet in
        ["docker run app -e ONE", "docker ps -e ONE", "docker run -e ONE=x app", "other run -e ONE app"]
    {
        assert_eq!(warning(quiet), "", "{quiet}");
    }
}

/// A dry run asks the engine's client, and makes nothing.
#[test]
fn a_dry_run() {
    let (scenario, clients) = (Scenario::new().secret("NAME", "value"), clients(IMAGE));
    let outcome = launch(&scenario, &clients, &["--container", "--dry-run"], "docker run app").run();
    outcome.succeeded();
    assert!(
        outcome.text().contains("NAME") && !outcome.text().contains("the client ran"),
        "{}",
        outcome.text()
    );
}
