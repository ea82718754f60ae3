//! `--user` and `--no-new-privs`: the command is that user, with nothing left of who started it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::files::is_its_own_pipe;
use crate::support::proc::Surroundings;
use crate::support::{BINARY, Launch, Outcome, Running, Scenario};

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:1234:1235:Web:/srv/web:/bin/false\n\
                      homeless:x:1300:1300:::\n";
const GROUP: &str = "root:x:0:\nweb:x:1235:\ntls:x:77:other,web\nlog:x:5:web\nother:x:6:webmaster\n";

fn scenario() -> Scenario {
    Scenario::new().secret("KEY", "value")
}

/// With users of our own, in a mount namespace.
pub fn with_users(launch: Launch, place: &Path) -> Launch {
    fs::write(place.join("passwd"), PASSWD).unwrap();
    fs::write(place.join("group"), GROUP).unwrap();
    let own = "cd \"$0\"; mount --bind passwd /etc/passwd; mount --bind group /etc/group; cd /; exec \"$@\"";
    launch.under(["unshare", "--mount", "sh", "-euc", own, place.to_str().unwrap()])
}

/// A directory that everybody may enter, with what a launcher who is not root needs.
pub fn open_place(scenario: &Scenario) -> (TempDir, Launch) {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut copy = Command::new("sh");
    let copied = copy.args(["-euc", "cp \"$1\" bws-exec; install -m 644 \"$2\" ca.pem", "sh", BINARY]);
    assert!(copied.arg(scenario.vault.ca_file()).current_dir(place.path()).status().unwrap().success());
    let launch = Launch::new()
        .binary(place.path().join("bws-exec"))
        .options(["--identity-url", scenario.vault.identity_url(), "--api-url", scenario.vault.api_url()])
        .option("--ca-file")
        .option(place.path().join("ca.pem"))
        .env("BWS_ACCESS_TOKEN", &scenario.token);
    (place, launch)
}

fn asleep(launch: Launch) -> Running {
    launch.command(["sleep", "1000"]).start().asleep_in("sleep")
}

fn surroundings(launch: Launch) -> Surroundings {
    Surroundings::of(asleep(launch).pid())
}

/// Four equal ids, groups, and no capability but in the bounding set.
#[track_caller]
fn is(found: &Surroundings, uid: u32, gid: u32, groups: &str) {
    let four = |id: u32| [id; 4].map(|id| id.to_string()).join("\t");
    assert_eq!(found.get("Uid"), Some(four(uid).as_str()));
    assert_eq!(found.get("Gid"), Some(four(gid).as_str()));
    assert_eq!(found.get("Groups").map(str::trim), Some(groups));
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(found.get(set), Some("0000000000000000"), "{set}");
    }
}

#[test]
#[ignore = "needs root"]
fn ids_groups_and_capabilities_are_the_users() {
    let (scenario, place) = (scenario(), tempfile::tempdir().unwrap());
    for (user, uid, gid, groups) in [
        ("web", 1234, 1235, "5 77 1235"),
        ("1234", 1234, 1235, "5 77 1235"),
        ("web:77", 1234, 77, "5 77"),
        ("web:other", 1234, 6, "5 6 77"),
        ("4242:4343", 4242, 4343, "4343"),
        ("4242:tls", 4242, 77, "77"),
        ("homeless", 1300, 1300, "1300"),
    ] {
        let launch = with_users(scenario.launch(), place.path()).options(["--user", user]);
        is(&surroundings(launch), uid, gid, groups);
    }
}

#[test]
#[ignore = "needs root"]
fn nothing_else_is_different() {
    let (scenario, place) = (scenario(), tempfile::tempdir().unwrap());
    let launch = || with_users(scenario.launch(), place.path());
    let without = surroundings(launch());
    let differences = |options: &[&str]| -> Vec<String> {
        let differences = without.differences(&surroundings(launch().options(options)));
        // Each launch has a namespace of its own from `unshare`.
        differences.into_keys().filter(|name| !is_its_own_pipe(name) && name != "ns/mnt").collect()
    };
    assert_eq!(differences(&["--no-new-privs"]), ["NoNewPrivs"]);
    let ids = ["CapEff", "CapPrm", "Gid", "Groups", "Uid"];
    assert_eq!(differences(&["--user", "web"]), ids, "the bounding set stays");
    let all = ["CapEff", "CapPrm", "Gid", "Groups", "NoNewPrivs", "Uid"];
    assert_eq!(differences(&["--user=web", "--no-new-privs"]), all);
}

/// The kernel gives uid 0 what is in the bounding set, at every exec.
#[test]
#[ignore = "needs root"]
fn root_without_capabilities_gets_none_back() {
    let scenario = scenario();
    let found = surroundings(scenario.launch().options(["--user", "root"]));
    is(&found, 0, 0, "0");
    assert_eq!(found.get("CapBnd"), Some("0000000000000000"));
}

/// Ambient capabilities survive a change of uid between two that are not 0, and exec.
#[test]
#[ignore = "needs root"]
fn from_a_user_with_ambient_capabilities() {
    let scenario = scenario();
    let (_place, launch) = open_place(&scenario);
    let caps = "+setuid,+setgid,+net_bind_service";
    let (ambient, inherited) = (format!("--ambient-caps={caps}"), format!("--inh-caps={caps}"));
    let words = ["setpriv", "--reuid=65534", "--regid=65534", "--groups=7", &inherited, &ambient];
    let launch = launch.under(words);
    let found = surroundings(launch.options(["--user", "4242:4343"]));
    is(&found, 4242, 4343, "4343");
}

/// `runAsUser` in a cluster, or a unit with `User=`: there is nothing to change, and no right is needed.
#[test]
#[ignore = "needs root"]
fn ones_own_user_takes_no_right() {
    let scenario = scenario();
    for groups in ["--clear-groups", "--groups=4343"] {
        let (_place, launch) = open_place(&scenario);
        let launch = launch.under(["setpriv", "--reuid=4242", "--regid=4343", groups]);
        let found = surroundings(launch.options(["--user", "4242:4343"]));
        let expected = if groups == "--clear-groups" { "" } else { "4343" };
        is(&found, 4242, 4343, expected);
    }
}

fn variables(outcome: &Outcome) -> Vec<String> {
    let text = outcome.succeeded().text();
    let of_login = |line: &&str| ["HOME=", "USER=", "LOGNAME="].iter().any(|name| line.starts_with(name));
    let mut lines: Vec<String> = text.lines().filter(of_login).map(Into::into).collect();
    lines.sort();
    lines
}

#[test]
#[ignore = "needs root"]
fn the_variables_of_a_login() {
    let place = tempfile::tempdir().unwrap();
    let scenario = Scenario::new().secret("HOME", "/from/vault").secret("KEY", "value");
    let run = |options: &[&str]| {
        let launch = with_users(scenario.launch(), place.path());
        let launch = launch.env("HOME", "/root").env("USER", "root").env("LOGNAME", "root");
        variables(&launch.options(options).command(["env"]).run())
    };
    let key = "--map=K=KEY";
    let web = ["HOME=/srv/web", "LOGNAME=web", "USER=web"];
    assert_eq!(run(&[key]), ["HOME=/root", "LOGNAME=root", "USER=root"]);
    assert_eq!(run(&[key, "--user=web"]), web);
    assert_eq!(run(&[key, "--user=1234"]), web);
    assert_eq!(run(&[key, "--user=web:tls", "--no-new-privs"]), web);
    assert_eq!(run(&[key, "--user=homeless"]), ["HOME=/", "LOGNAME=homeless", "USER=homeless"]);
    assert_eq!(run(&[key, "--user=4242:4242"]), ["HOME=/"]);
    // They are inherited ones.
    assert_eq!(run(&[key, "--user=web", "--no-inherit-env"]), [""; 0]);
    assert_eq!(run(&[key, "--user=web", "--no-inherit-env", "--keep=HOME"]), ["HOME=/srv/web"]);
    assert_eq!(run(&[key, "--user=web", "--unset=LOGNAME"]), ["HOME=/srv/web", "USER=web"]);
    let given = ["--map=HOME=HOME", "--user=web"];
    assert_eq!(run(&given), ["HOME=/from/vault", "LOGNAME=web", "USER=web"]);
    assert_eq!(run(&[&given[..], &["--on-conflict=inherited"]].concat()), web);
}

/// A set-user-ID program is root's again, unless it was forbidden.
#[test]
#[ignore = "needs root"]
fn what_no_new_privs_is_for() {
    let scenario = scenario();
    // Not in the way of a `nosuid` of the machine's own directories.
    let own = "mount -t tmpfs -o mode=755 none /mnt; cp /usr/bin/id /mnt/id; chmod 4755 /mnt/id; exec \"$@\"";
    let run = |options: &[&str]| {
        let launch = scenario.launch().under(["unshare", "--mount", "sh", "-euc", own, "sh"]);
        launch.options(options).command(["/mnt/id", "-u"]).run().succeeded().text()
    };
    assert_eq!(run(&["--user=65534:65534"]), "0\n", "the bounding set is as it was");
    assert_eq!(run(&["--user=65534:65534", "--no-new-privs"]), "65534\n");
}

/// Groups, gid, uid, capabilities, and what came of it; then exec. A trial of the same comes first.
#[test]
#[ignore = "needs root"]
fn the_order_of_the_last_system_calls() {
    let (scenario, place) = (scenario(), tempfile::tempdir().unwrap());
    let trace = place.path().join("trace");
    let calls = "trace=setgroups,setresgid,setresuid,capset,capget,getresuid,getresgid,getgroups,prctl,execve,connect";
    let launch = scenario.launch().under(["strace", "-f", "-qq", "-o", trace.to_str().unwrap(), "-e", calls]);
    launch.options(["--user=4242:4343", "--no-new-privs"]).command(["/bin/true"]).run().succeeded();
    let trace = fs::read_to_string(trace).unwrap();
    let main = trace.split(' ').next().unwrap();
    let own: Vec<&str> = trace.lines().filter(|line| line.split(' ').next() == Some(main)).collect();
    let at = |start: &str| {
        let found = own.iter().position(|line| line[main.len()..].trim_start().starts_with(start));
        found.unwrap_or_else(|| panic!("{start}: {trace}"))
    };
    let order = [
        "connect(",
        "setgroups(1, [4343])",
        "setresgid(4343, 4343, 4343)",
        "setresuid(4242, 4242, 4242)",
        "prctl(PR_SET_DUMPABLE, SUID_DUMP_DISABLE",
        "prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL",
        "capset(",
        "capget(",
        "getresgid(",
        "getresuid(",
        "prctl(PR_SET_NO_NEW_PRIVS, 1",
        "prctl(PR_GET_NO_NEW_PRIVS",
        "execve(\"/bin/true\"",
    ];
    // The flag that keeps our memory closed is set at start, too.
    let last_flag = own.iter().rposition(|line| line.contains("PR_SET_DUMPABLE")).unwrap();
    let places = order.map(|call| if call.contains("DUMPABLE") { last_flag } else { at(call) });
    assert!(places.is_sorted(), "{places:?}: {trace}");
    // The trial is another thread's, before the first packet.
    let connect = trace.find("connect(").unwrap();
    assert!(trace.find("setresuid(").is_some_and(|trial| trial < connect), "{trace}");
}

#[test]
#[ignore = "needs root"]
fn a_dry_run_shows_who_it_would_be() {
    let (scenario, place) = (scenario(), tempfile::tempdir().unwrap());
    let launch = || with_users(scenario.launch(), place.path()).option("--map=K=KEY").command(["true"]);
    let outcome = launch().options(["--user=web", "--no-new-privs", "--dry-run"]).run();
    let line = "\nuser      web, uid 1234, gid 1235, groups 5 77 1235; no capabilities\n\
                rights    no new ones, by no program\n";
    assert!(outcome.succeeded().text().contains(line), "{}", outcome.text());
    let json = |options: &[&str]| -> Value {
        let outcome = launch().options(options).option("--dry-run=json").run();
        serde_json::from_slice(&outcome.succeeded().stdout).unwrap()
    };
    let shown = json(&["--user=4242:77"]);
    assert_eq!(shown["user"], json!({ "name": null, "uid": 4242, "gid": 77, "groups": [77] }));
    assert_eq!(shown["no_new_privs"], false);
    assert_eq!(json(&[])["user"], Value::Null);
}

/// It takes no right, and says what a real run would lack.
#[test]
#[ignore = "needs root"]
fn a_dry_run_without_the_right() {
    let scenario = scenario();
    let (_place, launch) = open_place(&scenario);
    let launch = launch.under(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    let options = ["--user=4242:4343", "--file=K=KEY", "--dry-run=json"];
    let outcome = launch.options(options).command(["true"]).run();
    outcome.failed_with(125, "user");
    let shown: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    assert_eq!(
        (&shown["user"]["uid"], &shown["files"][0]["user"], &shown["files"][0]["group"]),
        (&json!(4242), &json!(4242), &json!(4343))
    );
    assert_eq!(
        (&shown["problems"][0]["slug"], &shown["exit_code"], shown["problems"].as_array().unwrap().len()),
        (&json!("user"), &json!(125), 1)
    );
}
