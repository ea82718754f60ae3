//! `examples/systemd`: what every unit promises, and that each does its job. What systemd thinks of them.

use std::fs;
use std::path::Path;

use crate::support::eventually;
use crate::support::nspawn::{Machine, Unit, example, vault};
use crate::support::vault::{Endpoint, Fault, Where};

const KEY: &str = "sixteen bytes...";

fn unit(example: &str, stem: &str) -> Unit {
    Unit::new(Machine::shared(), example, stem, vault().secret("API_KEY", KEY))
}

fn examples() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/systemd");
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

/// Has the machine learned the length of the key?
fn greets(unit: &Unit) {
    let greeting = format!("API_KEY has {} bytes", KEY.len());
    eventually(&format!("{} greets: {}", unit.name, unit.journal()), || unit.journal().contains(&greeting));
}

#[test]
fn every_service_restarts_as_it_should() {
    let mut services = 0;
    for name in examples().iter().filter(|name| !name.ends_with(".socket") && !name.ends_with(".timer")) {
        let text = example(name);
        let has = |line: &str| assert!(text.lines().any(|found| found == line), "{name}: {line}");
        ["StartLimitIntervalSec=0", "Restart=on-failure", "RestartSec=5s", "RestartPreventExitStatus=125"]
            .into_iter()
            .chain(["ProtectProc=invisible"])
            .for_each(has);
        assert!(text.contains("\nExecStart=/usr/bin/bws-exec "), "{name}");
        let token =
            ["\nLoadCredential=bws-access-token:/", " --access-token-file=/etc/app/bws-access-token "];
        assert_eq!(token.iter().filter(|way| text.contains(*way)).count(), 1, "{name}");
        // For these the fetch is a part of the start.
        if text.contains("Type=notify") || text.contains("Type=oneshot") {
            assert!(text.contains(" --deadline=30s "), "{name}");
            assert!(["60s", "10min"].iter().any(|time| text.contains(&format!("TimeoutStartSec={time}"))));
        }
        services += 1;
    }
    assert_eq!(services, 7, "{:?}", examples());
}

#[test]
#[ignore = "needs root and systemd-nspawn"]
fn systemd_has_nothing_to_say_about_them() {
    let machine = Machine::shared();
    // Under their own names, but not where others are started from.
    for name in examples().iter().filter(|name| !name.ends_with(".conf")) {
        machine.write(&format!("/etc/verified/{name}"), &example(name), 0o644);
    }
    machine.write("/etc/verified/existing.service", "[Service]\nExecStart=/usr/bin/true\n", 0o644);
    machine.write("/etc/verified/existing.service.d/10.conf", &example("10-bws-exec.conf"), 0o644);
    // There has to be something to start.
    let script = "cp /usr/bin/true /etc/verified/app && mkdir -p /usr/local/bin && ln -sf /etc/verified/app /usr/local/bin/app
        cd /etc/verified && SYSTEMD_UNIT_PATH=/etc/verified: systemd-analyze verify --man=no ./*.service ./*.socket ./*.timer bws-exec@app.service";
    let output = machine.try_run(["sh", "-ec", script]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
}

/// From 0 (nothing can be done) to 10; the limit is what `systemd-analyze` itself calls OK with room to spare.
/// A unit that starts as root is not given more than what that takes.
#[test]
#[ignore = "needs root and systemd-nspawn"]
fn they_are_hardened() {
    let machine = Machine::shared();
    for name in examples().iter().filter(|name| name.ends_with(".service")) {
        machine.write(&format!("/etc/hardened/{name}"), &example(name), 0o644);
        let limit = if name == "app-user.service" { "--threshold=23" } else { "--threshold=20" };
        let words = ["systemd-analyze", "security", "--offline=yes", limit, "--no-pager"];
        let output = machine.try_run(words.iter().copied().chain([format!("/etc/hardened/{name}").as_str()]));
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

/// The second start finds no server: the copy is in a directory that systemd made for a user of the moment.
#[test]
#[ignore = "needs root and systemd-nspawn"]
fn a_service_starts_again_without_its_server() {
    for (example, stem) in [("app.service", "kept"), ("app-notify.service", "kept2")] {
        let unit = unit(example, stem);
        unit.systemctl("start");
        unit.runs(&unit.program());
        unit.systemctl("stop");
        let before = unit.scenario.vault.requests().len();
        unit.scenario.vault.fault(Where::Any, Fault::status(503));
        unit.systemctl("start");
        unit.runs(&unit.program());
        assert!(unit.scenario.vault.requests().len() > before, "it was asked first");
        assert!(unit.journal().contains("bws-exec: warning: "), "{}", unit.journal());
        let stat = unit.machine.run([
            "sh",
            "-c",
            &format!("stat -c '%F %a %u' /var/cache/private/{stem}*/bws-exec.*"),
        ]);
        assert_eq!(stat, format!("directory 700 {}\n", unit.show("UID")));
    }
}

#[test]
#[ignore = "needs root and systemd-nspawn"]
fn a_job_runs_when_its_timer_says() {
    let unit =
        unit("app-job.service", "nightly").script("#!/bin/sh\necho \"API_KEY has ${#API_KEY} bytes\"\n");
    unit.add("app-job.timer");
    let soon = "[Timer]\nOnCalendar=\nOnActiveSec=1ms\nAccuracySec=1ms\nRandomizedDelaySec=0\n";
    unit.machine.write("/etc/systemd/system/nightly-job.timer.d/soon.conf", soon, 0o644);
    unit.reload();
    unit.machine.run(["systemctl", "start", "nightly-job.timer"]);
    greets(&unit);
    unit.becomes(&[("ActiveState", "inactive"), ("Result", "success"), ("ExecMainStatus", "0")]);
    assert_ne!(unit.show_of("nightly-job.timer", "LastTriggerUSec"), "");
}

#[test]
#[ignore = "needs root and systemd-nspawn"]
fn the_template_runs_a_program_under_its_name() {
    let scenario = vault().secret("API_KEY", KEY);
    let unit = Unit::of_template(Machine::shared(), "templated", scenario);
    unit.systemctl("start");
    unit.runs(&unit.program());
    greets(&unit);
    assert_eq!(unit.show("FragmentPath"), "/lib/systemd/system/bws-exec@.service", "it is the package's");
}

#[test]
#[ignore = "needs root and systemd-nspawn"]
fn the_drop_in_gives_an_existing_service_its_secrets() {
    let machine = Machine::shared();
    let existing = "[Service]\nType=notify\nUser=daemon\nExecStart=/usr/local/bin/existing\n";
    machine.write("/etc/systemd/system/existing.service", existing, 0o644);
    let unit = Unit::existing(machine, "existing", vault().secret("API_KEY", KEY));
    machine.write(
        "/etc/systemd/system/existing.service.d/10-bws-exec.conf",
        &example("10-bws-exec.conf").replace("app", "existing"),
        0o644,
    );
    unit.reload();
    unit.systemctl("start");
    let pid = unit.runs(&unit.program());
    greets(&unit);
    assert_eq!(machine.run(["stat", "-c", "%U", &format!("/proc/{pid}")]), "daemon\n");
}

/// On disk is only what this machine can open.
#[test]
#[ignore = "needs root and systemd-nspawn"]
fn a_token_can_be_encrypted_on_disk() {
    let unit = unit("app.service", "encrypted");
    let encrypt =
        "cd /etc/encrypted && systemd-creds encrypt --name=bws-access-token bws-access-token token.cred
        rm bws-access-token";
    unit.machine.run(["sh", "-ec", encrypt]);
    let unit =
        unit.with("LoadCredential=\nLoadCredentialEncrypted=bws-access-token:/etc/encrypted/token.cred");
    unit.systemctl("start");
    unit.runs(&unit.program());
    let kept = fs::read(unit.machine.path("/etc/encrypted/token.cred")).unwrap();
    assert_eq!(crate::support::leaked(&unit.scenario.token, &kept), Vec::<String>::new());
    assert_eq!(unit.scenario.vault.count(Endpoint::Login), 1);
}

/// Names are looked up in the files of the machine, under all the restrictions.
#[test]
#[ignore = "needs root and systemd-nspawn"]
fn a_hardened_service_can_look_up_names() {
    let unit = unit("app.service", "named");
    let url = unit.scenario.vault.server_url().replace("127.0.0.1", "localhost");
    let unit = unit.with(&format!("Environment=BWS_SERVER_URL={url}"));
    unit.systemctl("start");
    unit.runs(&unit.program());
    greets(&unit);
}

#[test]
#[ignore = "needs root and systemd-nspawn"]
fn a_hardened_service_can_have_a_secret_in_a_file() {
    let script = "#!/bin/sh\necho \"API_KEY has $(wc -c <\"$KEY_FILE\") bytes\"\nexec sleep infinity\n";
    let unit = unit("app.service", "filed").script(script);
    let unit =
        unit.with("ExecStart=\nExecStart=/usr/bin/bws-exec --file KEY_FILE=API_KEY -- /usr/local/bin/filed");
    unit.systemctl("start");
    unit.runs("/usr/bin/sleep");
    greets(&unit);
}
