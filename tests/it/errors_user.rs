//! `--user` that cannot be had: known before the first packet, and nothing runs with half of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::errors::{echo, error, untouched};
use crate::errors_files::as_nobody;
use crate::support::seccomp::{with_answer, without_system_call};
use crate::support::{Launch, Scenario, script};
use crate::user::with_users;

const RIGHTS: &str =
    "start as root, or with CAP_SETUID and CAP_SETGID; in a container, leave out the image's USER";

fn not_possible(problem: &str, hint: &str) -> String {
    error("user", &format!("--user 4242:4343 is not possible: {problem}"), hint)
}

#[test]
fn users_that_make_no_sense() {
    let hint = "for example --user nobody, --user web:tls or --user 1000:1000";
    for (user, problem) in [
        ("", "a user or a group is missing"),
        ("web:", "a user or a group is missing"),
        (":web", "a user or a group is missing"),
        ("a:b:c", "it has more than one ':'"),
        ("4294967295", "no id is as large as this"),
    ] {
        let message = format!("--user '{user}': {problem}");
        let launch = || echo(Launch::new().env("BWS_ACCESS_TOKEN", "x").options(["--user", user]));
        launch().run().failed(125, &error("usage", &message, hint));
        launch().option("--dry-run").run().failed(125, &error("usage", &message, hint));
    }
}

#[test]
#[ignore = "needs root"]
fn users_that_are_not_there() {
    let (scenario, place) = (Scenario::new(), tempfile::tempdir().unwrap());
    let names = "names are looked up in /etc/passwd and /etc/group only; a number needs no entry there";
    let group = "give the group too, for example: --user 4242:4242";
    for (user, slug, message, hint) in [
        ("no-such", "unknown-user", "--user no-such: there is no user 'no-such' in /etc/passwd", names),
        (
            "web:no-such",
            "unknown-user",
            "--user web:no-such: there is no group 'no-such' in /etc/group",
            names,
        ),
        ("4242", "usage", "--user 4242: this number is not in /etc/passwd, so its group is not known", group),
    ] {
        let launch = || echo(with_users(scenario.launch(), place.path()).options(["--user", user]));
        launch().run().failed(125, &error(slug, message, hint));
        launch().option("--dry-run").run().failed(125, &error(slug, message, hint));
    }
    untouched(&scenario.vault);
}

const USER: &str = "--user=4242:4343";

#[test]
fn without_any_right() {
    let (_keep, launch) = as_nobody();
    // With no group but its own there is none to take away.
    let problem = "the group id cannot be set: Operation not permitted (os error 1)";
    echo(launch.option(USER)).run().failed(125, &not_possible(problem, RIGHTS));
}

/// Who may change one of them only would leave the other behind.
#[test]
#[ignore = "needs root"]
fn with_half_of_the_rights() {
    let refused = "Operation not permitted (os error 1)";
    for (caps, groups, problem) in [
        ("+setuid", "--groups=7", "the supplementary groups"),
        ("+setuid", "--clear-groups", "the group id"),
        ("+setgid", "--groups=7", "the user id"),
    ] {
        let (_keep, launch) = as_nobody();
        let (inherited, ambient) = (format!("--inh-caps={caps}"), format!("--ambient-caps={caps}"));
        let words = ["setpriv", "--reuid=65534", "--regid=65534", groups, &inherited, &ambient];
        let message = format!("{problem} cannot be set: {refused}");
        echo(launch.under(words).option(USER)).run().failed(125, &not_possible(&message, RIGHTS));
    }
}

#[test]
#[ignore = "needs root"]
fn root_that_would_get_its_capabilities_back() {
    let scenario = Scenario::new();
    let launch = scenario.launch().under(["setpriv", "--bounding-set=-setpcap"]);
    let message = "--user root is not possible: the bounding set of capabilities cannot be set: \
                   Operation not permitted (os error 1)";
    let hint =
        "without CAP_SETPCAP root would get capabilities back: choose another user, or leave out --user";
    echo(launch.options(["--user", "root"])).run().failed(125, &error("user", message, hint));
    untouched(&scenario.vault);
}

#[test]
#[ignore = "needs root"]
fn in_a_user_namespace() {
    let scenario = Scenario::new();
    let launch = |groups: &str, user: &str| {
        let namespace = ["setpriv", groups, "unshare", "--user", "--map-root-user"];
        echo(scenario.launch().under(namespace).options(["--user", user])).run()
    };
    let problem = "the supplementary groups cannot be set: Operation not permitted (os error 1), as \
                   /proc/self/setgroups says 'deny' for this user namespace";
    let hint = "let newgidmap map the groups of the user namespace, or do without --user";
    launch("--groups=7", "4242:4343").failed(125, &not_possible(problem, hint));
    let message = "--user 4242:0 is not possible: the user id cannot be set: Invalid argument (os error 22)";
    let hint = "map this id into the user namespace (newuidmap, newgidmap), or choose one that is there";
    launch("--clear-groups", "4242:0").failed(125, &error("user", message, hint));
    untouched(&scenario.vault);
}

/// A seccomp profile may refuse any step of it.
#[test]
#[ignore = "needs root"]
fn any_step_that_is_refused() {
    let (scenario, place) = (Scenario::new().secret("KEY", "value"), tempfile::tempdir().unwrap());
    for (call, what, hint) in [
        (libc::SYS_setgroups, "the supplementary groups", RIGHTS),
        (libc::SYS_setresgid, "the group id", RIGHTS),
        (libc::SYS_setresuid, "the user id", RIGHTS),
        (libc::SYS_capset, "the capabilities", "check the seccomp profile"),
        (libc::SYS_capget, "the capabilities", "check the seccomp profile"),
    ] {
        let message =
            format!("--user web is not possible: {what} cannot be set: Operation not permitted (os error 1)");
        let launch = echo(with_users(scenario.launch(), place.path()).option("--user=web"));
        without_system_call(launch, call).failed(125, &error("user", &message, hint));
    }
    untouched(&scenario.vault);
}

/// What answers for the kernel may say yes and do nothing.
#[test]
#[ignore = "needs root"]
fn any_step_that_is_not_done() {
    let (scenario, place) = (Scenario::new().secret("KEY", "value"), tempfile::tempdir().unwrap());
    let hint = "check the seccomp profile, or whatever else answers for the kernel here";
    for (call, user, what) in [
        (libc::SYS_setgroups, "web", "the supplementary groups"),
        (libc::SYS_getgroups, "web", "the supplementary groups"),
        (libc::SYS_setresgid, "web", "the group id"),
        (libc::SYS_getresgid, "web", "the group id"),
        (libc::SYS_setresuid, "web", "the user id"),
        (libc::SYS_getresuid, "web", "the user id"),
        (libc::SYS_capset, "root", "the capabilities"),
    ] {
        let message = format!(
            "--user {user} is not possible: the kernel agreed to set {what}, and they are something else"
        );
        let launch = echo(with_users(scenario.launch(), place.path()).options(["--user", user]));
        with_answer(launch, call, 0).failed(125, &error("user", &message, hint));
    }
    let message =
        "--no-new-privs is not possible: the flag cannot be set: Operation not permitted (os error 1)";
    let outcome = without_system_call(echo(scenario.launch().option("--no-new-privs")), libc::SYS_prctl);
    outcome.failed(125, &error("user", message, "check the seccomp profile"));
    untouched(&scenario.vault);
}

/// The search is that user's: directories, execute permission, what is read of a script.
#[test]
#[ignore = "needs root"]
fn a_command_that_the_user_may_not_run() {
    let (scenario, place) = (Scenario::new(), tempfile::tempdir().unwrap());
    let open =
        |path: &std::path::Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    open(place.path(), 0o755).unwrap();
    let path = |name: &str| place.path().join(name);
    for name in ["closed", "bin", "later"] {
        fs::create_dir(path(name)).unwrap();
    }
    script(&path("closed/tool"), "#!/bin/sh\n");
    script(&path("bin/mine"), "#!/bin/sh\n");
    script(&path("later/tool"), "#!/bin/sh\necho found later $(id -u)\n");
    open(&path("closed"), 0o700).unwrap();
    open(&path("bin/mine"), 0o700).unwrap();
    let [closed, bin, later] = ["closed", "bin", "later"].map(|name| path(name).display().to_string());
    let launch = |words: &str, path: &str| {
        let launch = scenario.launch().option(USER).env("PATH", format!("{path}:/usr/bin:/bin"));
        launch.command([words.to_owned()]).run()
    };
    let hint = "check its mode; a script needs '#!' on its first line, or name its interpreter";
    let denied = |path: &str| {
        let message = format!("command cannot be executed: {path}: Permission denied (os error 13)");
        error("command-not-executable", &message, hint)
    };
    let mine = format!("{bin}/mine");
    let tool = format!("{closed}/tool");
    launch(&mine, "").failed(126, &denied(&mine));
    launch("mine", &bin).failed(126, &denied(&mine));
    launch(&tool, "").failed(126, &denied(&tool));
    launch("tool", &closed).failed(126, &denied(&tool));
    let missing = "check the spelling and PATH; shell syntax needs: sh -c '…'";
    let message = "command not found: no-such-tool";
    launch("no-such-tool", &bin).failed(127, &error("command-not-found", message, missing));
    untouched(&scenario.vault);
    // And what root would find first is not what that user finds.
    let scenario = Scenario::new().secret("KEY", "value");
    let found = scenario.launch().option(USER).env("PATH", format!("{closed}:{later}:/usr/bin:/bin"));
    assert_eq!(found.command(["tool"]).run().succeeded().text(), "found later 4242\n");
}

#[test]
#[ignore = "needs root"]
fn a_mount_that_the_user_cannot_reach() {
    let (scenario, place) = (Scenario::new(), tempfile::tempdir().unwrap());
    // Made by us, with the umask's mode, above the one that is mounted.
    let path = place.path().join("a/b");
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let umask = ["unshare", "--mount", "sh", "-c", "umask 077; exec \"$@\"", "sh"];
    let launch = scenario.launch().under(umask).option(USER);
    let message = format!(
        "cannot use {} for files: the command's user cannot enter it: Permission denied (os error 13)",
        path.display()
    );
    let hint = "path= needs a directory that is empty, or that can be created, and that the command's user may enter";
    let launch = launch.option(format!("--file=K=KEY,path={}/key", path.display()));
    echo(launch).run().failed(125, &error("file-directory", &message, hint));
    untouched(&scenario.vault);
}

/// What was possible at the trial may not be at the end: strace follows the main thread alone.
#[test]
#[ignore = "needs root"]
fn a_step_that_is_refused_at_the_last_moment() {
    let (scenario, place) = (Scenario::new().secret("KEY", "value"), tempfile::tempdir().unwrap());
    for (call, what) in [
        ("setgroups", "the supplementary groups"),
        ("setresgid", "the group id"),
        ("setresuid", "the user id"),
        ("capset", "the capabilities"),
    ] {
        let trace = place.path().join(call);
        let (output, inject) = (trace.to_str().unwrap(), format!("inject={call}:error=EPERM"));
        // Who is in no other group needs no right to leave it.
        let words = ["setpriv", "--groups=7", "strace", "-qq", "-o", output, "-e", &inject];
        let outcome = echo(scenario.launch().under(words).option("--user=4242:4343")).run();
        outcome.failed_with(125, "user");
        assert!(outcome.stderr.contains(what), "{}", outcome.stderr);
        assert_eq!(outcome.text(), "", "{call}");
    }
    assert!(!scenario.vault.requests().is_empty(), "the trial went well");
}

/// Otherwise `docker stop` would wait for its SIGKILL, and the command would never hear of it.
#[test]
#[ignore = "needs root"]
fn who_stays_must_be_allowed_to_send_signals() {
    let scenario = Scenario::new().secret("KEY", "value");
    for (caps, allowed) in [("-all,+setuid,+setgid", false), ("-all,+setuid,+setgid,+kill", true)] {
        let launch = scenario.launch().options(["--init", "--user", "4242:4343"]).command(["true"]);
        let outcome = launch.under(["setpriv", &format!("--bounding-set={caps}")]).run();
        if allowed {
            outcome.succeeded();
        } else {
            let problem = "--user 4242:4343 is not possible: without CAP_KILL no signal could be passed on to the command";
            let hint = "add CAP_KILL, or do without --init, --watch and --mask";
            outcome.failed(125, &error("user", problem, hint));
        }
    }
    let exec = scenario.launch().options(["--user", "4242:4343"]).command(["true"]);
    exec.under(["setpriv", "--bounding-set=-all,+setuid,+setgid"]).run().succeeded();
}
