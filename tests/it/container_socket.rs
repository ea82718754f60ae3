//! `--container=socket` with a real Docker Engine: the container has the values, the engine never does.

use crate::support::containers::{Case, ENVIRONMENT, SAY, SAY_AND_GROUPS, is_named_by_version_2_alone};
use crate::support::docker::{BASE, remapped_docker, unified_docker};
use crate::support::{eventually, proc};

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

/// Control groups of version 2, as all newer systems have them alone.
#[test]
#[ignore = "needs docker"]
fn an_engine_with_one_hierarchy_of_control_groups() {
    let case = Case::with("unified", unified_docker());
    let outcome = case.run(&["--rm", "--cgroupns", "host"], BASE, &["sh", "-c", SAY_AND_GROUPS]).run();
    outcome.succeeded();
    is_named_by_version_2_alone(&outcome.text(), &case.canary);
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

    // The same search finds what is stored: a plain -e, and a bare name in an env file.
    let list = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&list, "# names\nOTHER=1\n  CANARY\n").unwrap();
    for passed in [["-e", "CANARY"], ["--env-file", list.path().to_str().unwrap()]] {
        let words = ["docker", "run", "-d", "--network", "none", "--name", "bws-plain"];
        let outcome = case.launch().command([&words[..], &passed, &[BASE, "true"]].concat()).run();
        assert_eq!(
            outcome.stderr,
            "bws-exec: warning: docker stores the value of 'CANARY' on its disk and shows it in 'inspect'; \
             --container keeps it out of there\n",
            "{passed:?}"
        );
        assert!(case.docker.run(["inspect", "bws-plain"]).contains(&case.canary), "{passed:?}");
        assert!(case.found().iter().any(|path| path.ends_with("/config.v2.json")), "{:?}", case.found());
        case.docker.run(["rm", "-f", "bws-plain"]);
    }
}

fn everybodys_arguments() -> String {
    let processes = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read(entry.unwrap().path().join("cmdline")).ok());
    processes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect()
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
