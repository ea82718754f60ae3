//! What bws-exec is to a container as its entrypoint.

use std::collections::BTreeSet;
use std::fs;

use crate::support::docker::docker;
use crate::support::engines::{Engine, World};
use crate::support::podman::Podman;
use crate::support::{Launch, Running, eventually, proc};

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
    as_entrypoint(&Engine::Podman(Podman::with_journal()));
}
