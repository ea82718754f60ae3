//! `examples/`: the images are built and run, docker-compose runs its file, and what Kubernetes would start is
//! started by the engine that is here, with the very words of the file.
//!
//! Not by `podman play kube`, which does not get through this file in podman 4.3: it dereferences a null pointer at a
//! Secret without `optional:`, knows neither `fsGroup` nor readiness probes, and gives up removing an init container
//! ("cannot remove container … as it is running") after 20 seconds.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::docker::{BASE, docker};
use crate::support::vault::{Layout, Options};
use crate::support::{BINARY, Scenario, eventually};

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(file)
}

/// Stands for the service and for its check: PID 1 ends by TERM with 7; a check passes if it has the key.
const PROGRAM: &str = r#"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void end(int signal) { (void)signal; _exit(7); }
int main(int count, char **words) {
  const char *key = getenv("API_KEY");
  (void)count;
  if (strstr(words[0], "check")) return key ? 0 : 1;
  signal(SIGTERM, end);
  printf("%s as %d\n", key ? key : "nothing", getpid());
  fflush(stdout);
  for (;;) pause();
}
"#;

struct World {
    scenario: Scenario,
    directory: TempDir,
}

impl World {
    fn new() -> Self {
        let options = Options { layout: Layout::SelfHosted, ..Options::default() };
        let scenario = Scenario::with(options).secret("API_KEY", "the-key").secret("OTHER", "x");
        let world = Self { scenario, directory: tempfile::tempdir().unwrap() };
        fs::set_permissions(world.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(world.path("token"), &world.scenario.token).unwrap();
        fs::set_permissions(world.path("token"), fs::Permissions::from_mode(0o440)).unwrap();
        chown(world.path("token"), Some(1000), Some(1000)).unwrap();
        fs::copy(world.scenario.vault.ca_file(), world.path("ca.pem")).unwrap();
        fs::set_permissions(world.path("ca.pem"), fs::Permissions::from_mode(0o444)).unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What this machine needs and the cloud would not: where the vault is, and its authority.
    fn vault(&self) -> Vec<String> {
        let url = self.scenario.vault.api_url().strip_suffix("/api").unwrap();
        let ca = self.mount("ca.pem", "/ca.pem");
        let words = ["--network", "host", "--env", "SSL_CERT_FILE=/ca.pem", "--mount", &ca, "--env"];
        words.map(str::to_owned).into_iter().chain([format!("BWS_SERVER_URL={url}")]).collect()
    }

    fn mount(&self, name: &str, target: &str) -> String {
        format!("type=bind,source={},target={target},readonly", self.path(name).display())
    }

    /// Starts one with these options and sees it serve; and that a check passes only if it is wrapped.
    fn serves(&self, name: &str, options: &[&str], image: &[&str], check: &[String], direct: &str) {
        let docker = docker();
        let mut words: Vec<String> = ["run", "--detach", "--name", name].map(str::to_owned).to_vec();
        words.extend(self.vault());
        words.extend(options.iter().chain(image).map(|word| (*word).to_owned()));
        docker.run(&words);
        eventually("it serves", || docker.run(["logs", name]) == "the-key as 1");
        let exec = |command: &[String]| {
            let words = ["exec", name].map(str::to_owned).into_iter().chain(command.iter().cloned());
            docker.try_run(words).status.code()
        };
        assert_eq!(exec(check), Some(0), "{check:?}");
        assert_eq!(exec(&[direct.to_owned()]), Some(1), "it has nothing of the service's");
    }

    /// PID 1 is the service itself, which ends when it is told to.
    fn ends(&self, name: &str) {
        let docker = docker();
        let began = std::time::Instant::now();
        docker.run(["stop", "--time", "60", name]);
        assert!(began.elapsed().as_secs() < 30, "it was not killed");
        assert_eq!(docker.run(["inspect", "-f", "{{.State.ExitCode}}", name]), "7");
        docker.run(["rm", name]);
    }
}

/// What stands beside a Dockerfile.
fn context(directory: &Path) {
    let script =
        "cp \"$1\" bws-exec; printf %s \"$2\" >p.c; cc -static -o server p.c; cp server check; rm p.c";
    let mut make = Command::new("sh");
    make.args(["-euc", script, "sh", BINARY, PROGRAM]).current_dir(directory);
    assert!(make.status().unwrap().success(), "gcc is installed");
}

/// The image of an example, built once.
fn build(dockerfile: &Path) -> String {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _alone = BUILDING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let name = format!("bws-exec-{}", dockerfile.extension().unwrap().to_str().unwrap());
    let docker = docker();
    if !docker.try_run(["image", "inspect", &name]).status.success() {
        let directory = tempfile::tempdir().unwrap();
        context(directory.path());
        docker.run(["tag", BASE, "debian:bookworm-slim"]);
        let words = ["build", "--network", "host", "-t", &name, "-f", dockerfile.to_str().unwrap()];
        docker.run(words.iter().chain([&directory.path().to_str().unwrap()]));
    }
    name
}

fn strings(list: &Value) -> Vec<String> {
    let list = list.as_array().unwrap_or_else(|| panic!("a list: {list}"));
    list.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

#[test]
#[ignore = "needs docker"]
fn the_dockerfiles() {
    let world = World::new();
    for (variant, check) in [("scratch", "/check"), ("debian", "check")] {
        let image = build(&example(&format!("docker/Dockerfile.{variant}")));
        let config = docker().run(["inspect", "-f", "{{json .Config}}", &image]);
        let config: Value = serde_json::from_str(&config).unwrap();
        let name = format!("bws-{variant}");
        let token = world.mount("token", "/run/secrets/bws-access-token");
        // Sooner than once a minute; the check itself is the image's.
        let options = ["--mount", &token, "--health-interval", "200ms"];
        let test = strings(&config["Healthcheck"]["Test"]);
        assert_eq!(test[0], "CMD");
        world.serves(&name, &options, &[&image], &test[1..], check);
        let health = || docker().run(["inspect", "-f", "{{.State.Health.Status}}", &name]);
        eventually("the engine calls it healthy", || health() == "healthy");
        world.ends(&name);
    }
}

/// A YAML file as JSON, one element a document.
fn yaml(path: &Path) -> Value {
    let script = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(open(sys.argv[1]))), sys.stdout)";
    let output = Command::new("/usr/bin/python3").args(["-c", script]).arg(path).output().unwrap();
    assert!(output.status.success(), "python3-yaml is installed: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// docker-compose itself, with the file as it is; a second one says what this machine needs and the cloud would not.
#[test]
#[ignore = "needs docker"]
fn the_compose_file() {
    let (docker, world) = (docker(), World::new());
    for (directory, file) in [("compose", "compose.yaml"), ("docker", "Dockerfile.debian")] {
        fs::create_dir(world.path(directory)).unwrap();
        let copy = fs::copy(example(directory).join(file), world.path(directory).join(file));
        copy.unwrap();
    }
    context(&world.path("docker"));
    docker.run(["tag", BASE, "debian:bookworm-slim"]);
    let mut copy = Command::new("cp");
    copy.arg("--preserve").arg(world.path("token")).arg(world.path("compose/bws-access-token"));
    assert!(copy.status().unwrap().success());
    let url = world.scenario.vault.api_url().strip_suffix("/api").unwrap();
    let here = format!(
        "services: {{app: {{network_mode: host, build: {{network: host}}, healthcheck: {{interval: 200ms}},
           environment: {{BWS_SERVER_URL: '{url}', SSL_CERT_FILE: /ca.pem}}, volumes: ['{}:/ca.pem:ro']}}}}",
        world.path("ca.pem").display()
    );
    fs::write(world.path("here.yaml"), here).unwrap();
    let compose = |words: &[&str]| {
        let mut compose = Command::new("docker-compose");
        compose.args(["-p", "bws-compose", "-f", "compose.yaml", "-f", "../here.yaml"]).args(words);
        compose.env("DOCKER_HOST", docker.host()).env("HOME", world.directory.path());
        compose.env("DOCKER_BUILDKIT", "0").env("COMPOSE_DOCKER_CLI_BUILD", "0");
        let output =
            compose.current_dir(world.path("compose")).output().expect("docker-compose is installed");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    };
    compose(&["up", "--detach"]);
    let id = compose(&["ps", "--quiet", "app"]);
    eventually("it serves", || docker.run(["logs", &id]) == "the-key as 1");
    let state = |format: &str| docker.run(["inspect", "-f", format, &id]);
    eventually("its check passes", || state("{{.State.Health.Status}}") == "healthy");
    assert_eq!(docker.try_run(["exec", &id, "check"]).status.code(), Some(1), "that one is not wrapped");
    assert_eq!(state("{{.HostConfig.RestartPolicy}}"), "{on-failure 5}");
    assert!(!docker.run(["inspect", &id]).contains("the-key"));
    compose(&["stop", "--timeout", "60"]);
    assert_eq!(state("{{.State.ExitCode}}"), "7");
    compose(&["down", "--rmi", "all"]);
}

#[test]
#[ignore = "needs docker"]
fn the_kubernetes_deployment() {
    let (docker, world) = (docker(), World::new());
    let deployment = &yaml(&example("kubernetes/deployment.yaml"))[0];
    let pod = &deployment["spec"]["template"]["spec"];
    let (init, app) = (&pod["initContainers"][0], &pod["containers"][0]);
    let image = build(&example("docker/Dockerfile.debian"));

    // The volumes: an empty directory for the pod's group, and the Secret.
    let names: Vec<&str> =
        pod["volumes"].as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap()).collect();
    for name in &names {
        fs::create_dir(world.path(&format!("volume-{name}"))).unwrap();
        chown(world.path(&format!("volume-{name}")), None, Some(1000)).unwrap();
        fs::set_permissions(world.path(&format!("volume-{name}")), fs::Permissions::from_mode(0o775))
            .unwrap();
    }
    let secret = world.path("volume-token/token");
    fs::copy(world.path("token"), &secret).unwrap();
    chown(&secret, Some(0), pod["securityContext"]["fsGroup"].as_u64().map(|id| u32::try_from(id).unwrap()))
        .unwrap();
    let mode = pod["volumes"][1]["secret"]["defaultMode"].as_u64().unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(u32::try_from(mode).unwrap())).unwrap();
    let mounts = |container: &Value| -> Vec<String> {
        let mount = |mount: &Value| {
            let source = world.path(&format!("volume-{}", mount["name"].as_str().unwrap()));
            let option = format!(
                "type=bind,source={},target={}",
                source.display(),
                mount["mountPath"].as_str().unwrap()
            );
            if mount["readOnly"] == true { format!("{option},readonly") } else { option }
        };
        let list = container["volumeMounts"].as_array().unwrap().iter();
        list.flat_map(|volume| ["--mount".to_owned(), mount(volume)]).collect()
    };
    let user = format!("{0}:{0}", pod["securityContext"]["runAsUser"]);

    let command = strings(&init["command"]);
    let mut words: Vec<String> = ["run", "--rm", "--user", &user].map(str::to_owned).to_vec();
    words.extend(mounts(init));
    words.extend(["--entrypoint".to_owned(), command[0].clone(), image.clone()]);
    words.extend_from_slice(&command[1..]);
    docker.run(&words);

    let context = &app["securityContext"];
    assert!(context["readOnlyRootFilesystem"] == true && context["allowPrivilegeEscalation"] == false);
    let variable = &app["env"][0];
    let variable = format!("{}={}", variable["name"].as_str().unwrap(), variable["value"].as_str().unwrap());
    let command = strings(&app["command"]);
    let mut options = mounts(app);
    options.extend(["--user", &user, "--read-only", "--cap-drop", "ALL"].map(str::to_owned));
    options.extend(["--security-opt", "no-new-privileges", "--env", &variable].map(str::to_owned));
    options.extend(["--entrypoint".to_owned(), command[0].clone()]);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mut started = vec![image.as_str()];
    started.extend(command[1..].iter().map(String::as_str));
    let probe = strings(&app["readinessProbe"]["exec"]["command"]);
    world.serves("bws-kubernetes", &options, &started, &probe, "check");
    // A container that ends starts again in its pod, with the volumes as they are.
    docker.run(["restart", "--time", "60", "bws-kubernetes"]);
    eventually("it serves again", || docker.run(["logs", "bws-kubernetes"]) == "the-key as 1\nthe-key as 1");
    world.ends("bws-kubernetes");
}
