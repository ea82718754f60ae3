//! `--file …,path=` where somebody else may exchange directories and links meanwhile.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::vault::{Endpoint, Fault};
use crate::support::{Launch, PATIENCE, Running, Scenario};

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
