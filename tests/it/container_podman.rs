//! `--container` with podman: the same promises, another engine.

use std::fs;

use crate::support::containers::{canary, holding};
use crate::support::podman::{BASE, Podman};
use crate::support::{Launch, Scenario, eventually};

fn launch(podman: &Podman, launch: Launch, words: &[&str]) -> Launch {
    // A login needs one.
    let network = if words.contains(&"--network") { &[][..] } else { &["--network", "none"] };
    let words: Vec<String> = network.iter().chain(words).map(|word| (*word).to_owned()).collect();
    launch.env("HOME", podman.path()).command(podman.run_words().into_iter().chain(words))
}

#[test]
#[ignore = "needs podman"]
fn values_by_socket() {
    let (podman, canary) = (Podman::new(), canary("podman"));
    let scenario = Scenario::new().secret("CANARY", &canary);
    let socket = |words: &[&str]| launch(&podman, scenario.launch().option("--container"), words);
    let say = ["sh", "-c", "echo $CANARY $(id -u)"];
    for (options, user) in [
        (&["--rm"][..], "0"),
        (&["--rm", "--user", "app"], "1000"),
        (&["--rm", "--read-only", "--cap-drop=all"], "0"),
        (&["--rm", "--entrypoint", "[\"sh\",\"-c\"]"], "0"),
    ] {
        let command = if options.len() > 2 && options[1] == "--entrypoint" { &say[2..] } else { &say[..] };
        let outcome = socket(&[options, &[BASE], command].concat()).run();
        outcome.succeeded();
        assert_eq!(outcome.text().trim_end(), format!("{canary} {user}"), "{options:?}");
    }
    let outcome = socket(&["--rm", BASE, "sh", "-c", "exit 42"]).run();
    assert_eq!((outcome.code(), outcome.stderr.as_str()), (Some(42), ""));

    // In the background, and then what podman keeps of it. What the application writes would be found too.
    let seen = podman.path().join("seen");
    fs::create_dir(&seen).unwrap();
    let volume = format!("{}:/seen", seen.display());
    let command = ["sh", "-c", "[ \"$CANARY\" ] && touch /seen/it; exec sleep 1000"];
    let outcome = socket(&[&["-d", "--name", "kept", "-v", &volume, BASE][..], &command].concat()).run();
    outcome.succeeded();
    eventually("the command has its value", || seen.join("it").exists());
    assert!(!podman.run(["inspect", "kept"]).contains(&canary));
    assert_eq!(holding(&canary, podman.path()), [""; 0]);
    podman.run(["rm", "-f", "-t", "0", "kept"]);
    assert_eq!(holding(&canary, podman.path()), [""; 0]);

    // The same search finds a plain -e, which stays even after rm. An env file does the same by `*` too.
    let list = tempfile::NamedTempFile::new().unwrap();
    fs::write(&list, "CANAR*\n").unwrap();
    for passed in [["--env-file", list.path().to_str().unwrap()], ["-e", "CANARY"]] {
        let set = ["sh", "-c", "test \"$CANARY\""];
        let outcome =
            launch(&podman, scenario.launch(), &[&["--rm"], &passed[..], &[BASE], &set].concat()).run();
        let warning = "warning: podman stores the value of 'CANARY'";
        assert!(outcome.stderr.contains(warning), "{passed:?} {}", outcome.stderr);
        assert_eq!(outcome.code(), Some(0), "{passed:?}");
    }
    assert!(!holding(&canary, podman.path()).is_empty());
}

#[test]
#[ignore = "needs podman"]
fn a_second_start_gets_nothing() {
    let podman = Podman::new();
    let scenario = Scenario::new().secret("ONE", "1");
    let launch = launch(&podman, scenario.launch().option("--container"), &["--name", "twice", BASE, "true"]);
    launch.run().succeeded();
    let output = podman.try_run(["start", "-a", "twice"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("no such file or directory"), "{output:?}");
}

#[test]
#[ignore = "needs podman"]
fn by_token() {
    let podman = Podman::new();
    let scenario = Scenario::new().secret("ONE", "first");
    let token = podman.path().join("token");
    fs::write(&token, &scenario.token).unwrap();
    fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
    let options = ["--container=token", "--access-token-file", token.to_str().unwrap()];
    let launcher = scenario.launch_without_token().options(options);
    let words = ["--network", "host", "--name", "again", BASE, "sh", "-c", "echo $ONE"];
    let outcome = launch(&podman, launcher, &words).run();
    outcome.succeeded();
    assert_eq!(outcome.text(), "first\n");
    assert_eq!(podman.run(["start", "-a", "again"]), "first");
}
