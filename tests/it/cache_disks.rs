//! Disks that take nothing: the cache serves as it can, and no launch fails for it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::cache::{Cached, files};
use crate::errors::error;
use crate::support::vault::Endpoint::{Login, Sync};
use crate::support::{BINARY, Launch, Outcome};

/// Runs shell commands in a mount namespace of their own, with `$dir` for the cache's directory and
/// `"$@"` for the launcher.
fn mounted(cached: &Cached, launch: Launch, commands: &str) -> Outcome {
    let commands = format!("set -e; dir=$0; {commands}");
    let directory = cached.directory.path().to_str().expect("its name is text").to_owned();
    launch.under(["unshare", "--mount", "sh", "-c", &commands, &directory]).run()
}

fn notices(ours: &Path, kinds: &[(&str, &str)], problem: &str) -> String {
    let name = |kind: &str| {
        let files = files(ours);
        let lock = files.iter().find(|path| path.extension().is_some_and(|it| it == "lock"));
        lock.expect("there is a lock").with_extension(kind).display().to_string()
    };
    let line = |(what, kind): &(&str, &str)| {
        let after = if *kind == "lock" { "; other launches are not waited for" } else { "" };
        format!("bws-exec: notice: cannot {what} {}: {problem}{after}\n", name(kind))
    };
    kinds.iter().map(line).collect()
}

#[test]
#[ignore = "needs root"]
fn a_disk_that_is_read_only() {
    let readonly = "mount --bind \"$dir\" \"$dir\"; mount -o remount,bind,ro \"$dir\"; exec \"$@\"";
    let cached = Cached::new();
    let problem = format!("{}: Read-only file system (os error 30)", cached.ours().display());
    let outcome = mounted(&cached, cached.launch(), readonly);
    assert_eq!(outcome.text(), "value\n");
    assert_eq!(outcome.stderr, format!("bws-exec: warning: the cache is not used: {problem}\n"));

    cached.run(&[]).succeeded();
    let before = fs::read(cached.file("snapshot").expect("there is one")).expect("it can be read");
    cached.asked();
    let run = |options: &[&str]| mounted(&cached, cached.launch().options(options), readonly);
    let read_only = "Read-only file system (os error 30)";
    let outcome = run(&["-v"]);
    assert_eq!(outcome.text(), "value\n");
    let lines = notices(&cached.ours(), &[("lock", "lock"), ("keep", "snapshot")], read_only);
    assert_eq!(outcome.stderr, lines);
    assert_eq!(cached.asked(), [Sync], "what is there is used");
    run(&[]).succeeded();
    assert_eq!(run(&["--offline", "-v"]).succeeded().text(), "value\n");
    assert_eq!(run(&["--max-age", "1h", "-v"]).succeeded().text(), "value\n");
    cached.asked();
    let outcome = run(&["--no-session-cache", "-v"]);
    let lines = [("delete", "session"), ("lock", "lock"), ("keep", "snapshot")];
    assert_eq!(outcome.stderr, notices(&cached.ours(), &lines, read_only));
    assert_eq!(cached.asked(), [Login, Sync]);
    assert_eq!(fs::read(cached.file("snapshot").expect("it is there")).expect("it can be read"), before);
}

#[test]
#[ignore = "needs root"]
fn a_disk_that_is_full() {
    let full = "cp -a \"$dir\" \"$dir.kept\"; mount -t tmpfs -o size=256k,mode=755 none \"$dir\"; \
                cp -a \"$dir.kept\"/. \"$dir\"; rm -r \"$dir.kept\"; \
                head -c 1000000 /dev/zero >\"$dir/fill\" 2>/dev/null || :; \"$@\"; find \"$dir\" -name '*.tmp'";
    let no_space = "No space left on device (os error 28)";
    // With nothing kept, and with a copy, which stays.
    let cached = Cached::new();
    let launch = |options: &[&str]| cached.launch().options(options);
    let outcome = mounted(&cached, launch(&["-v"]), &format!("{full}; ls \"$dir\"/bws-exec.*"));
    fs::create_dir(cached.ours()).expect("a directory can be made");
    let name = crate::support::sealed::Sealer::of(&cached.scenario).name();
    fs::write(cached.ours().join(format!("{name}.lock")), "").expect("it can be written");
    let lines = notices(&cached.ours(), &[("keep", "session"), ("keep", "snapshot")], no_space);
    assert_eq!((outcome.text(), outcome.stderr), (format!("value\n{name}.lock\n"), lines));
    fs::set_permissions(cached.ours(), fs::Permissions::from_mode(0o700)).expect("a mode can be set");
    cached.run(&[]).succeeded();

    let owner = cached.scenario.vault.owner();
    let secret = owner.secrets()[0].id;
    owner.update_secret(secret, "new");
    let outcome = mounted(&cached, launch(&["-v"]), full);
    let lines = notices(&cached.ours(), &[("keep", "snapshot")], no_space);
    assert_eq!((outcome.text().as_str(), outcome.stderr), ("new\n", lines));
    mounted(&cached, launch(&[]), full).succeeded();
    assert_eq!(mounted(&cached, launch(&["--offline"]), full).succeeded().text(), "value\n");
    // The old copy is still there, whole, after a write that failed.
    let twice = full.replace("\"$@\";", "\"$@\"; \"$@\" 2>&1; BWS_EXEC_MAX_AGE=1d \"$@\";");
    let outcome = mounted(&cached, launch(&[]), &twice);
    assert_eq!(outcome.succeeded().text(), "new\nnew\nvalue\n", "what was kept is young enough");
}

/// As a service without rights would find the directory of somebody else.
#[test]
#[ignore = "needs root"]
fn a_directory_in_which_we_may_not_write() {
    let cached = Cached::new();
    let public = |path: &Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode can be set");
    };
    public(cached.directory.path());
    // Where this user may read it, and the authority.
    let place = tempfile::tempdir().expect("a directory can be made");
    public(place.path());
    let binary = place.path().join("bws-exec");
    fs::copy(BINARY, &binary).expect("it can be copied");
    public(&binary);
    let authority = place.path().join("ca.pem");
    fs::copy(cached.scenario.vault.ca_file(), &authority).expect("it can be copied");
    public(&authority);
    let launch = |options: &[&str]| {
        let vault = &cached.scenario.vault;
        let servers = ["--identity-url", vault.identity_url(), "--api-url", vault.api_url(), "--ca-file"];
        let launch = Launch::new().binary(&binary).options(servers).option(&authority).options(options);
        let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
        let launch = launch.option("--cache-dir").option(cached.directory.path()).under(nobody);
        launch.env("BWS_ACCESS_TOKEN", &cached.scenario.token).command(["printenv", "NAME"]).run()
    };
    let ours = cached.directory.path().join("bws-exec.65534");
    let problem = format!("{}: Permission denied (os error 13)", ours.display());
    let outcome = launch(&[]);
    assert_eq!(outcome.text(), "value\n");
    assert_eq!(outcome.stderr, format!("bws-exec: warning: the cache is not used: {problem}\n"));
    let message = format!("{} holds no copy for this token and server", ours.display());
    let hint = "run once without --offline while the server can be reached";
    launch(&["--offline"]).failed(75, &error("no-copy", &message, hint));
    assert!(!ours.exists());

    // One that was made for it is fine, whoever the parent belongs to.
    fs::create_dir(&ours).expect("a directory can be made");
    fs::set_permissions(&ours, fs::Permissions::from_mode(0o700)).expect("a mode can be set");
    std::os::unix::fs::chown(&ours, Some(65534), Some(65534)).expect("root may");
    assert_eq!(launch(&[]).succeeded().text(), "value\n");
    assert_eq!(launch(&["--offline", "-v"]).succeeded().text(), "value\n");
}
