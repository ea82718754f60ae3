//! `--file …,path=`: memory mounted over a directory, for the command and its children alone.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::files::{is_its_own_pipe, noise};
use crate::support::proc::{self, Surroundings};
use crate::support::{Launch, Outcome, Running, Scenario, eventually};

const CANARY: &str = "canary-b3c8-value";

fn scenario() -> Scenario {
    Scenario::new().secret("KEY", CANARY).secret("OTHER", "other")
}

/// In a mount namespace of its own: what goes wrong with mounts must not stay on this machine.
fn caged(scenario: &Scenario) -> Launch {
    scenario.launch().under(CAGE)
}

const CAGE: [&str; 2] = ["unshare", "--mount"];

/// A directory that others may enter, and one in it that is not there.
fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = directory.path().join("secrets");
    (directory, path)
}

fn file(name: &str, reference: &str, path: &Path, options: &str) -> String {
    format!("--file={name}={reference},path={}{options}", path.display())
}

fn sh(launch: Launch, script: &str) -> Outcome {
    launch.command(["sh", "-c", script]).run()
}

fn asleep(launch: Launch) -> Running {
    launch.command(["sleep", "1000"]).start().asleep_in("sleep")
}

fn names(directory: impl AsRef<Path>) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What the process has mounted under this directory: device, place, options, type, source, in all.
fn mounts(pid: i32, directory: &Path) -> Vec<String> {
    let list = proc::read(pid, "mountinfo").unwrap_or_default();
    let list = String::from_utf8_lossy(&list).into_owned();
    let place =
        |line: &&str| line.split(' ').nth(4).is_some_and(|place| Path::new(place).starts_with(directory));
    list.lines().filter(place).map(str::to_owned).collect()
}

/// What the command sees, from outside.
fn inside(pid: i32, path: &Path) -> PathBuf {
    proc::path(pid, "root").join(path.strip_prefix("/").unwrap())
}

#[test]
#[ignore = "needs root"]
fn the_command_and_its_children_see_it_and_nobody_else_does() {
    let scenario = scenario();
    let (_keep, secrets) = place();
    let launch = || caged(&scenario).option(file("K", "KEY", &secrets.join("key.pem"), ""));
    let outcome = sh(launch(), "echo $K; cat $K; sh -c 'cat $K; cat $K; :'; stat -c '%F %a %u %g %s' $K");
    let path = secrets.join("key.pem");
    let expected = format!("{}\n{CANARY}{CANARY}{CANARY}regular file 400 0 0 17\n", path.display());
    assert_eq!(outcome.succeeded().text(), expected);
    let running = asleep(launch());
    assert_eq!(fs::read_to_string(inside(running.pid(), &path)).unwrap(), CANARY);
    assert_eq!(names(&secrets), [""; 0], "outside, where it was made");
    assert_eq!(mounts(std::process::id() as i32, &secrets), [""; 0]);
    assert_eq!(proc::descriptors(running.pid()).into_keys().collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
#[ignore = "needs root"]
fn nothing_but_the_mount_namespace_is_different() {
    let scenario = scenario();
    let (_keep, secrets) = place();
    let surroundings = |option: String| {
        let running = asleep(caged(&scenario).option(option));
        Surroundings::of(running.pid())
    };
    let mounted = surroundings(file("K", "KEY", &secrets.join("key"), ""));
    let differences = surroundings("--map=K=KEY".into()).differences(&mounted);
    let different: Vec<&String> = differences.keys().filter(|name| !is_its_own_pipe(name)).collect();
    // Each of the cages is one as well.
    assert_eq!(different, ["ns/mnt"]);
}

/// A mount of a shared directory would appear everywhere, and most systems share them all.
#[test]
#[ignore = "needs root"]
fn it_does_not_spread_and_what_is_mounted_outside_still_comes_in() {
    let scenario = scenario();
    let (directory, secrets) = place();
    let later = directory.path().join("later");
    fs::create_dir(&later).unwrap();
    let launch = caged(&scenario).option(file("K", "KEY", &secrets.join("key"), ""));
    let shared = ["unshare", "--mount", "--propagation=shared", "sh", "-c", "\"$@\"; exit $?", "sh"];
    let shared = CAGE.into_iter().chain(shared);
    let script = "cat $K; echo; \
        outside() { nsenter --mount=/proc/$PPID/ns/mnt \"$@\"; }; \
        outside grep -c \" $1 \" /proc/self/mountinfo; grep -c \" $1 \" /proc/self/mountinfo; \
        outside mount -t tmpfs later $2; grep -c \" $2 \" /proc/self/mountinfo";
    let words = [
        "sh".as_ref(),
        "-c".as_ref(),
        script.as_ref(),
        "sh".as_ref(),
        secrets.as_os_str(),
        later.as_os_str(),
    ];
    let outcome = launch.under(shared).command(words).run();
    assert_eq!((outcome.text(), outcome.stderr.as_str()), (format!("{CANARY}\n0\n1\n1\n"), ""));
}

#[test]
#[ignore = "needs root"]
fn files_of_one_directory_share_one_mount_that_is_read_only_and_never_swapped() {
    let scenario = scenario();
    let (_keep, secrets) = place();
    let launch = caged(&scenario)
        .option(file("A", "KEY", &secrets.join("a"), ",mode=0640,owner=4242:4343"))
        .option(file("B", "OTHER", &secrets.join("b"), ",mode=0444,owner=nobody"))
        .option(file("C", "KEY", &secrets.join("inner/c"), ""))
        .option("--file=D=OTHER");
    let running = asleep(launch);
    let found = mounts(running.pid(), &secrets);
    assert_eq!(found.len(), 2, "{found:?}");
    for line in &found {
        let (place, kind) = line.split_once(" - ").unwrap();
        assert!(place.ends_with(" ro,nosuid,nodev,noexec,relatime"), "a slave of nothing: {line}");
        assert_eq!(kind, "tmpfs bws-exec ro,size=131072k,mode=755,noswap");
    }
    let status = |name: &str| {
        let status = fs::metadata(inside(running.pid(), &secrets.join(name))).unwrap();
        (status.is_file(), status.mode() & 0o7777, status.uid(), status.gid(), status.len())
    };
    assert_eq!(status("a"), (true, 0o640, 4242, 4343, 17));
    assert_eq!(status("b"), (true, 0o444, 65534, 65534, 5));
    assert_eq!(status("inner/c"), (true, 0o400, 0, 0, 17));
    assert_eq!(status("."), (false, 0o755, 0, 0, 100));
    assert_eq!(names(inside(running.pid(), &secrets)), ["a", "b", "inner"]);
    let write = fs::write(inside(running.pid(), &secrets.join("new")), "x").unwrap_err();
    assert_eq!(write.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
}

#[test]
#[ignore = "needs root"]
fn its_owner_reads_it_after_a_change_of_user() {
    let scenario = scenario();
    let (_keep, secrets) = place();
    let read = |options: &str| {
        let launch = caged(&scenario).option(file("K", "KEY", &secrets.join("key"), options));
        let change = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", "cat $K"];
        // The directory is made whatever the umask is; where it stands is the operator's.
        launch
            .under(CAGE.into_iter().chain(["sh", "-c", "umask 077; exec \"$@\"", "sh"]))
            .command(change)
            .run()
    };
    assert_eq!(read(",owner=nobody").succeeded().text(), CANARY);
    assert_eq!(read(",owner=root:nogroup,mode=0040").succeeded().text(), CANARY);
    assert_eq!(read("").code(), Some(1));
}

#[test]
#[ignore = "needs root"]
fn it_is_gone_when_the_last_process_is_even_by_sigkill() {
    let scenario = scenario();
    let (_keep, secrets) = place();
    // The child ends when this test lets go of the other end, also by a panic.
    let (read, write) = std::io::pipe().unwrap();
    let launch = caged(&scenario).option(file("K", "KEY", &secrets.join("key"), "")).descriptor(3, read);
    let script = "cat <&3 >/dev/null 2>&1 & exec 3<&-; exec sleep 1000";
    let running = launch.command(["sh", "-c", script]).start().asleep_in("sleep");
    let found = mounts(running.pid(), &secrets);
    let device = found[0].split(' ').nth(2).unwrap().to_owned();
    let holders = || -> Vec<i32> {
        let pids = fs::read_dir("/proc").unwrap().filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
        let holds = |line: &String| line.split(' ').nth(2) == Some(&device);
        pids.filter(|&pid| mounts(pid, &secrets).iter().any(holds)).collect()
    };
    let [child] = proc::children(running.pid())[..] else { panic!("one child") };
    assert_eq!(holders().len(), 2);
    running.signal(libc::SIGKILL);
    assert_eq!(running.finish().signal(), Some(libc::SIGKILL));
    // The child still has it.
    assert_eq!(holders(), [child]);
    assert_eq!(fs::read_to_string(inside(child, &secrets.join("key"))).unwrap(), CANARY);
    drop(write);
    eventually("nobody has the mount", || holders().is_empty());
    assert_eq!(names(&secrets), [""; 0]);
}

#[test]
#[ignore = "needs root"]
fn nothing_is_written_to_a_disk() {
    let (directory, secrets) = place();
    fs::create_dir(&secrets).unwrap();
    let content = noise(1024 * 1024);
    let scenario = Scenario::new().secret("KEY", &content);
    let running = asleep(caged(&scenario).option(file("K", "KEY", &secrets.join("key"), "")));
    assert!(fs::read(inside(running.pid(), &secrets.join("key"))).unwrap() == content);
    assert!(
        proc::text(running.pid(), "io").contains("\nwrite_bytes: 0\n"),
        "{}",
        proc::text(running.pid(), "io")
    );
    assert_eq!((names(directory.path()), names(&secrets)), (vec!["secrets".to_owned()], vec![]));
}

#[test]
#[ignore = "needs root"]
fn directories_are_made_and_links_followed() {
    let scenario = scenario();
    let (directory, secrets) = place();
    let deep = secrets.join("a/b");
    let launch = |path: &Path| caged(&scenario).option(file("K", "KEY", path, ""));
    assert_eq!(sh(launch(&deep.join("key")), "cat $K").succeeded().text(), CANARY);
    assert_eq!(fs::metadata(&deep).unwrap().mode() & 0o777, 0o755);
    let link = directory.path().join("link");
    std::os::unix::fs::symlink("secrets/a/b", &link).unwrap();
    let outcome = sh(launch(&link.join("key")), &format!("cat $K {}/key", deep.display()));
    assert_eq!(outcome.succeeded().text(), CANARY.repeat(2));
    assert_eq!(names(&deep), [""; 0]);
}

#[test]
#[ignore = "needs root"]
fn an_optional_one_that_is_missing_is_not_there() {
    let scenario = scenario();
    let (_keep, secrets) = place();
    let launch = caged(&scenario).option(file("K", "NONE", &secrets.join("key"), "")).option("--optional=K");
    let outcome = sh(launch, &format!("echo ${{K-unset}}; ls -A {}", secrets.display()));
    assert_eq!(outcome.succeeded().text(), "unset\n");
}

/// Everything is tried, but no directory is made.
#[test]
#[ignore = "needs root"]
fn a_dry_run_makes_nothing() {
    let scenario = scenario();
    let (_keep, secrets) = place();
    let key = secrets.join("key");
    let launch = || caged(&scenario).option(file("K", "KEY", &key, ",owner=nobody:4343")).option("--dry-run");
    let shown = format!(
        "\n1 file\nNAME  BYTES  MODE  OWNER       PATH\nK        17  0400  65534:4343  {}\n",
        key.display()
    );
    let outcome = launch().run();
    assert!(outcome.succeeded().text().contains(&shown), "{}", outcome.text());
    assert!(!secrets.exists());
    fs::create_dir(&secrets).unwrap();
    let outcome = launch().run();
    assert!(outcome.succeeded().text().contains(&shown), "{}", outcome.text());
    fs::write(secrets.join("other"), "").unwrap();
    let outcome = launch().run();
    outcome.failed_with(125, "file-directory");
}

/// Without rights, but in a user namespace that the operator made: `noswap` is not to be had there.
#[test]
#[ignore = "needs root"]
fn in_a_user_namespace_of_the_callers() {
    let scenario = scenario();
    let (_keep, secrets) = place();
    let launch = caged(&scenario).option(file("K", "KEY", &secrets.join("key"), ""));
    let launch = launch.under(CAGE.into_iter().chain(["unshare", "--user", "--map-root-user"]));
    let outcome = sh(launch, &format!("cat $K; grep ' {} ' /proc/self/mountinfo", secrets.display()));
    assert!(outcome.succeeded().text().starts_with(CANARY), "{}", outcome.text());
    assert!(
        outcome.text().contains(" ro,nosuid,nodev,noexec,relatime - ramfs bws-exec ro"),
        "{}",
        outcome.text()
    );
}
