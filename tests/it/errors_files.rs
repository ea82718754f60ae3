//! `--file` that cannot be had: all of it is known before the first packet.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use nix::unistd::geteuid;
use tempfile::TempDir;

use crate::errors::{echo, error, untouched};
use crate::support::seccomp::without_system_call;
use crate::support::{BINARY, Launch, Scenario};

/// A launch that would reach a vault, and must not.
#[track_caller]
fn refused(scenario: &Scenario, options: &[&str], slug: &str, message: &str, hint: &str) {
    echo(scenario.launch().options(options)).run().failed(125, &error(slug, message, hint));
    // A dry run finds it out as well.
    scenario.launch().options(options).option("--dry-run").run().failed(125, &error(slug, message, hint));
}

/// A launch by somebody without any rights, from a place where everybody may read.
pub fn as_nobody() -> (TempDir, Launch) {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let launch = Launch::new().env("BWS_ACCESS_TOKEN", "none is needed");
    if !geteuid().is_root() {
        return (directory, launch);
    }
    // Another process copies it: see `script`.
    let binary = directory.path().join("bws-exec");
    assert!(Command::new("cp").arg(BINARY).arg(&binary).status().unwrap().success());
    let change = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    (directory, launch.binary(binary).under(change))
}

#[test]
fn options_that_make_no_sense() {
    let scenario = Scenario::new().secret("KEY", "value");
    let usage =
        |options: &[&str], message: &str, hint: &str| refused(&scenario, options, "usage", message, hint);
    let twice = "a name has one value: give each name once";
    usage(&["--file", "K"], "--file 'K' has no '='", "for example: --file TLS_KEY=web/tls-key,mode=0440");
    usage(&["--file=K=KEY", "--file=K=KEY"], "--file gives 'K' twice", twice);
    usage(&["--file=K=KEY", "--map=K=KEY"], "--map and --file both give 'K'", twice);
    let never = "a name is never empty, has no '=' or NUL, and is none of the token's variables";
    for name in ["", "BWS_ACCESS_TOKEN", "BWS_EXEC_PROJECT"] {
        let message = format!("--file '{name}' cannot be the name of a variable here");
        usage(&["--file", &format!("{name}=KEY")], &message, never);
    }
    let option = |text: &str, message: &str, hint: &str| {
        usage(&["--file", &format!("K=KEY,{text}")], &format!("--file K: {message}"), hint);
    };
    let options = "there are mode=, owner= and path=; a comma inside REF is written %2C";
    option("mod=0400", "'mod' is no option of a file", options);
    option("", "'' is no option of a file", options);
    option("mode=0400,mode=0400", "mode= is given twice", "give it once");
    option("owner=0,path=/a/b,owner=0", "owner= is given twice", "give it once");
    let modes = "for example mode=0440, for owner and group to read; no secret is a program";
    for mode in ["", "4", "0500", "0777", "4400", "00400", "+400", "rw", "0x1"] {
        option(
            &format!("mode={mode}"),
            &format!("mode '{mode}' is not an octal number from 0000 to 0666"),
            modes,
        );
    }
    let owners = "for example owner=postgres, owner=web:tls or owner=1000:1000";
    for (owner, problem) in [
        ("", "a user or a group is missing"),
        ("web:", "a user or a group is missing"),
        (":web", "a user or a group is missing"),
        ("a:b:c", "it has more than one ':'"),
        ("4294967295", "no id is as large as this"),
    ] {
        option(&format!("owner={owner}"), &format!("owner '{owner}': {problem}"), owners);
    }
    let paths = "for example path=/run/app/tls.key; without path= the file is a descriptor";
    for (path, problem) in [
        ("", "is not absolute"),
        ("key", "is not absolute"),
        ("./run/app/key", "is not absolute"),
        ("/run/app/../key", "has '..' in it"),
        ("/run/app/", "names a directory"),
        ("/run/app/.", "names a directory"),
        ("/", "names a directory"),
        ("/key", "is not inside a directory that memory can be mounted over"),
    ] {
        option(&format!("path={path}"), &format!("path '{path}' {problem}"), paths);
    }
    for (one, two) in [("/a/b", "/a/b"), ("/a/b", "/a/b/c"), ("/a/b/c", "/a//b")] {
        let files = [format!("--file=K=KEY,path={one}"), format!("--file=L=KEY,path={two}")];
        let message = format!("--file K and --file L cannot be {one} and {}", two.replace("//", "/"));
        usage(&[&files[0], &files[1]], &message, "give each file a path of its own");
    }
    let reference = "a reference is ID, KEY or PROJECT/KEY, then #/json/pointer if wanted; / # | } % inside a name \
                     are percent-encoded";
    let message = "the reference of --file K is malformed: it names no secret";
    refused(&scenario, &["--file=K=,mode=0400"], "reference", message, reference);
    untouched(&scenario.vault);
}

#[test]
fn a_reference_of_a_file_says_so() {
    let scenario = Scenario::new().secret("KEY", "value");
    let message = "--file K: 'NONE' refers to no secret that this token can read";
    let hint = "check its spelling and the account's projects, or allow its absence by --optional NAME";
    echo(scenario.launch().option("--file=K=NONE"))
        .run()
        .failed(125, &error("missing-secret", message, hint));
}

#[test]
fn users_that_are_not_there() {
    let scenario = Scenario::new();
    let hint = "names are looked up in /etc/passwd and /etc/group only; a number needs no entry there";
    for (owner, problem) in [
        ("no-such-user", "there is no user 'no-such-user' in /etc/passwd"),
        ("root:no-such-group", "there is no group 'no-such-group' in /etc/group"),
    ] {
        let file = format!("--file=K=KEY,owner={owner}");
        refused(&scenario, &[&file], "unknown-user", &format!("--file K: {problem}"), hint);
    }
    untouched(&scenario.vault);
}

#[test]
#[ignore = "needs root"]
fn directories_that_cannot_be_used() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().display();
    fs::write(directory.path().join("file"), "").unwrap();
    let scenario = Scenario::new();
    let hint = "path= needs a directory that is empty, or that can be created, and that the command's user may enter";
    for (path, used, problem) in [
        ("key", "", "it is not empty"),
        ("file", "", "it is not empty"),
        ("file/key", "/file", "it is not a directory"),
        ("file/dir/key", "/file/dir", "it is not a directory"),
    ] {
        let message = format!("cannot use {place}{used} for files: {problem}");
        // In a namespace of its own, should it be mounted after all.
        let caged = scenario.launch().under(["unshare", "--mount"]);
        let launch = caged.option(format!("--file=K=KEY,path={place}/{path}"));
        echo(launch).run().failed(125, &error("file-directory", &message, hint));
    }
    let read_only = format!("mount -t tmpfs -o ro none {place} && exec \"$@\"");
    let message = format!(
        "cannot use {place}/a/b for files: it cannot be created: Read-only file system (os error 30)"
    );
    for option in ["-v", "--dry-run"] {
        let launch = scenario.launch().options([option, &format!("--file=K=KEY,path={place}/a/b/key")]);
        let launch = launch.under(["unshare", "--mount", "sh", "-c", &read_only, "sh"]);
        echo(launch).run().failed(125, &error("file-directory", &message, hint));
    }
    untouched(&scenario.vault);
}

/// And nothing is made on a disk instead.
#[test]
fn without_the_right_to_mount() {
    let (directory, launch) = as_nobody();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let path = directory.path().join("secrets");
    let option = format!("--file=K=KEY,path={}/key", path.display());
    let message = format!(
        "cannot mount memory over {} for the command alone: Operation not permitted (os error 1)",
        path.display()
    );
    let hint = "path= needs CAP_SYS_ADMIN, as root has it; without path= the file is a descriptor and needs no right";
    echo(launch.option(option)).run().failed(125, &error("private-mount", &message, hint));
    assert!(!path.exists());
}

#[test]
fn without_the_right_to_give_a_file_away() {
    let hint = "owner= needs CAP_CHOWN, as root has it, or must be the user who runs this";
    for owner in ["root", "0:0"] {
        let (_keep, launch) = as_nobody();
        let message = format!("cannot give the file of 'K' to {owner}: Operation not permitted (os error 1)");
        let launch = launch.options(["--file", &format!("K=KEY,owner={owner}")]);
        echo(launch).run().failed(125, &error("file-owner", &message, hint));
    }
}

const NOT_MADE: &str =
    "check limits (ulimit -n, ulimit -f, memory), the seccomp profile, and that /proc is mounted";

#[test]
fn without_a_descriptor_to_spare() {
    let scenario = Scenario::new();
    for (limit, name, cause) in
        [(64, "K", "Invalid argument (os error 22)"), (101, "L", "Too many open files (os error 24)")]
    {
        let limited = format!("ulimit -n {limit}; exec \"$@\"");
        let launch =
            scenario.launch().under(["sh", "-c", &limited, "sh"]).options(["--file=K=A", "--file=L=B"]);
        let message = format!("cannot make the file of '{name}': {cause}");
        echo(launch).run().failed(125, &error("file", &message, NOT_MADE));
    }
    untouched(&scenario.vault);
}

#[test]
fn where_the_kernel_refuses_memory() {
    let scenario = Scenario::new();
    let launch = echo(scenario.launch().option("--file=K=A"));
    let outcome = without_system_call(launch, libc::SYS_memfd_create);
    let message = "cannot make the file of 'K': Operation not permitted (os error 1)";
    outcome.failed(125, &error("file", message, NOT_MADE));
    untouched(&scenario.vault);
}

#[test]
#[ignore = "needs root"]
fn where_proc_is_not_mounted() {
    let scenario = Scenario::new();
    let without = ["unshare", "--mount", "sh", "-c", "umount --recursive --lazy /proc && exec \"$@\"", "sh"];
    let launch = echo(scenario.launch().option("--file=K=A").under(without));
    let message = "cannot make the file of 'K': No such file or directory (os error 2)";
    launch.run().failed(125, &error("file", message, NOT_MADE));
    untouched(&scenario.vault);
}

/// The soft limit is the command's, and stays; the hard one is not ours to raise.
#[test]
fn limits_of_file_sizes() {
    let scenario = Scenario::new().secret("KEY", "x".repeat(2000));
    let limited = |limit: &str| {
        let limited = format!("ulimit {limit}; exec \"$@\"");
        scenario.launch().under(["sh", "-c", &limited, "sh"]).option("--file=K=KEY")
    };
    let outcome = limited("-S -f 1").command(["sh", "-c", "wc -c <$K; ulimit -S -f; ulimit -H -f"]).run();
    assert_eq!(outcome.succeeded().text(), "2000\n1\nunlimited\n");
    let message = "cannot make the file of 'K': File too large (os error 27)";
    echo(limited("-f 1")).run().failed(125, &error("file", message, NOT_MADE));
}
