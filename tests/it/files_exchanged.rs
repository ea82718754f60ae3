//! `--file …,path=` where somebody else may exchange directories and links meanwhile.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::vault::{Endpoint, Fault};
use crate::support::{Launch, PATIENCE, Running, Scenario, eventually};

struct Place {
    directory: TempDir,
    scenario: Scenario,
}

impl Place {
    /// A link that leads to the directory `ours`, and one to be put in its place: to a mount with files of others.
    fn new() -> Self {
        let place = Self {
            directory: tempfile::tempdir().unwrap(),
            scenario: Scenario::new().secret("KEY", "value"),
        };
        for name in ["ours", "others"] {
            fs::create_dir(place.path(name)).unwrap();
        }
        symlink("ours", place.path("link")).unwrap();
        symlink("others", place.path("new")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// In a mount namespace where a tmpfs with a file stands for a file system of the machine. The link is
    /// exchanged after the mount and before the files are written. The command is followed by a look from outside.
    fn exchanged(&self, launch: impl FnOnce(Launch) -> Launch, command: &str, then: &str) -> String {
        self.scenario.vault.fault_times(1, Endpoint::Login, Fault::Stall);
        let begin = format!("mount -t tmpfs other {0}/others; echo theirs >{0}/others/key; ", self.at());
        let cage = format!("{begin} \"$@\"; {then}");
        let launch = launch(self.scenario.launch()).command(["sh", "-c", command]);
        let running: Running = launch.under(["unshare", "--mount", "sh", "-uc", &cage, "sh"]).start();
        let asked = |requests: &[_]| !requests.is_empty();
        assert!(self.scenario.vault.wait_for(PATIENCE, asked), "it has asked, and so has mounted");
        fs::rename(self.path("new"), self.path("link")).unwrap();
        self.scenario.vault.release();
        let outcome = running.finish();
        assert_eq!(outcome.stderr, "");
        outcome.text()
    }

    fn at(&self) -> std::path::Display<'_> {
        self.directory.path().display()
    }
}

/// What becomes read-only is our memory, and not what the path leads to by then: that would be so for all.
#[test]
#[ignore = "needs root"]
fn another_file_system_is_not_made_read_only() {
    let place = Place::new();
    let option = format!("--file=K=KEY,path={}/link/key", place.at());
    let command = format!("cat {0}/ours/key; echo; touch {0}/ours/x 2>&1 | grep -o Read-only", place.at());
    let then = format!("touch {0}/others/x && cat {0}/others/key", place.at());
    let text = place.exchanged(|launch| launch.option(option), &command, &then);
    assert_eq!(text, "value\nRead-only\ntheirs\n");
}

/// Nor is a file of others removed in the place of one that was optional and is missing.
#[test]
#[ignore = "needs root"]
fn another_file_is_not_removed() {
    let place = Place::new();
    let option = format!("--file=K=NONE,path={}/link/key", place.at());
    let command = format!("ls {}/ours", place.at());
    let then = format!("cat {}/others/key", place.at());
    let launch = |launch: Launch| launch.option(option).option("--optional=K");
    assert_eq!(place.exchanged(launch, &command, &then), "theirs\n");
}

/// Whoever removes the directory outside takes the mount away with it: that is said.
#[test]
#[ignore = "needs root"]
fn a_directory_that_others_may_exchange_is_warned_about() {
    let outer = tempfile::tempdir().unwrap();
    let inner = outer.path().join("inner");
    let said = |(outer_mode, outer_owner): (u32, u32), owner: Option<u32>| {
        fs::set_permissions(outer.path(), fs::Permissions::from_mode(outer_mode)).unwrap();
        chown(outer.path(), Some(outer_owner), None).unwrap();
        let _ = fs::remove_dir(&inner);
        if let Some(owner) = owner {
            fs::create_dir(&inner).unwrap();
            chown(&inner, Some(owner), None).unwrap();
        }
        let scenario = Scenario::new().secret("KEY", "value");
        let launch = scenario.launch().option(format!("--file=K=KEY,path={}/key", inner.display()));
        let outcome = launch.under(["unshare", "--mount"]).command(["sh", "-c", "cat $K"]).run();
        assert_eq!((outcome.code(), outcome.text().as_str()), (Some(0), "value"));
        outcome.stderr
    };
    let warning = |what: &Path| {
        let inner = inner.display();
        format!(
            "bws-exec: warning: another user may exchange {}, and with it the files in {inner}\n",
            what.display()
        )
    };
    let (ours, theirs) = (0, 4711);
    assert_eq!(said((0o755, ours), None), "");
    assert_eq!(said((0o755, ours), Some(theirs)), "");
    assert_eq!(said((0o1777, ours), Some(ours)), "");
    assert_eq!(said((0o1777, ours), None), "");
    assert_eq!(said((0o1777, ours), Some(theirs)), warning(&inner));
    assert_eq!(said((0o777, ours), Some(ours)), warning(&inner));
    assert_eq!(said((0o770, ours), None), warning(&inner));
    assert_eq!(said((0o755, theirs), None), warning(&inner));
}

/// A command that shows both its files and tries to write beside them: when it starts, and at each HUP.
struct Watching {
    scenario: Scenario,
    secrets: [uuid::Uuid; 2],
    directory: TempDir,
}

impl Watching {
    fn new() -> Self {
        let scenario = Scenario::new();
        let secrets =
            ["A", "B"].map(|key| scenario.vault.owner().create_secret(scenario.project, key, "first"));
        Self { scenario, secrets, directory: tempfile::tempdir().unwrap() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn start(&self, options: &str, under: &str) -> Running {
        let show = "show() { { cat \"$A\" \"$B\"; ls -A \"${A%/*}\"; touch \"${A%/*}/x\" 2>&1 | grep -o Read-only; } \
                    | tr '\\n' ' ' >>\"$0\"; echo >>\"$0\"; }; trap show HUP; trap 'exit 0' TERM
                    exec 9<>\"$0.wait\"; show; while :; do read -r line <&9; done";
        nix::unistd::mkfifo(&self.at("log.wait"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let file = |name: &str| format!("--file={name}={name},path={}/{name}", self.at("files").display());
        let options = ["--watch=1s", "--on-change=signal:HUP", &file("A"), &(file("B") + options)];
        let launch = self.scenario.launch().options(options);
        let launch =
            launch.command([OsStr::new("sh"), "-c".as_ref(), show.as_ref(), self.at("log").as_ref()]);
        launch.under(["unshare", "--mount", "sh", "-euc", &format!("{under} \"$@\""), "sh"]).start()
    }

    #[track_caller]
    fn shows(&self, expected: &[&str]) {
        let log = self.at("log");
        eventually(&format!("{expected:?}"), || {
            fs::read_to_string(&log).unwrap_or_default().matches('\n').count() >= expected.len()
        });
        assert_eq!(fs::read_to_string(&log).unwrap().lines().collect::<Vec<_>>(), expected);
    }

    fn change(&self, secret: usize, value: &str) {
        self.scenario.vault.owner().update_secret(self.secrets[secret], value);
    }

    #[track_caller]
    fn ends_with(&self, running: Running, warning: &str) {
        running.signal(libc::SIGTERM);
        let outcome = running.finish();
        let begin = "bws-exec: warning: secrets have changed, and their files have not: ";
        assert!(outcome.stderr.contains(&format!("{begin}{warning}")), "{}", outcome.stderr);
    }
}

const KEPT: &str = "firstfirstA B Read-only ";

/// At a change there are the files of one state, whole, or those of the other.
#[test]
#[ignore = "needs root"]
fn what_does_not_fit_changes_no_file() {
    let watching = Watching::new();
    let running = watching.start("", "exec prlimit --fsize=300:300");
    watching.shows(&[KEPT]);
    watching.change(1, &"x".repeat(301));
    watching.shows(&[KEPT, KEPT]);
    watching.change(0, "second");
    watching.shows(&[KEPT, KEPT, KEPT]);
    watching.change(1, "third");
    watching.shows(&[KEPT, KEPT, KEPT, "secondthirdA B Read-only "]);
    watching.ends_with(running, "cannot make the file of 'B': File too large");
}

/// Nor does a change that goes wrong early leave the place open to writing.
#[test]
#[ignore = "needs root"]
fn a_change_that_fails_leaves_it_read_only() {
    let watching = Watching::new();
    let passwd = watching.at("passwd");
    let root = "root:x:0:0::/:/bin/sh\n";
    fs::write(&passwd, format!("{root}owner:x:4711:4711::/:/bin/sh\n")).unwrap();
    let running =
        watching.start(",owner=owner", &format!("mount --bind {} /etc/passwd; exec", passwd.display()));
    watching.shows(&[KEPT]);
    fs::write(&passwd, root).unwrap();
    watching.change(0, "second");
    watching.shows(&[KEPT, KEPT]);
    watching.ends_with(running, "--file B: there is no user 'owner'");
}
