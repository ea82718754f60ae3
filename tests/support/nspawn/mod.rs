//! A machine with a real systemd, booted by `systemd-nspawn`, for the tests of units.
//!
//! Its root is a Debian 12 by debootstrap, made once and kept under `target/`; every boot has a layer of
//! its own in memory over it. The network is the host's, so that a test's vault is on 127.0.0.1 here and
//! there. Commands get in by `nsenter`: a host without systemd has nobody to register machines with.
//!
//! A machine ends with whoever has started it, by whatever end: a shell waits for that, and removes
//! mounts, control groups and files.

mod root;
mod unit;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

use super::{BINARY, PATIENCE, proc};

pub use unit::{Unit, example, service, vault};

pub struct Machine {
    directory: PathBuf,
    /// Its PID 1, as the host numbers it.
    pub leader: i32,
    /// When this side is closed, by whatever end of this process, the machine ends and is removed.
    _alive: ChildStdin,
}

/// What runs it: in namespaces and control groups of its own, until its standard input ends.
const SUPERVISOR: &str = r#"
cd "$1" || exit 1
name=${1##*/}
# nspawn leaves directories in /run.
mount -t tmpfs none /run || exit 1
unified=$(findmnt -rn -t cgroup2 -o TARGET | head -n 1)
[ "$unified" ] || { echo "no cgroup2 is mounted" >console; exit 1; }
unified=$unified/$name
named=$(findmnt -rn -t cgroup -O name=systemd -o TARGET | head -n 1)
groups="$unified ${named:+$named/$name}"
mkdir $groups || exit 1
(
  for group in $groups; do echo 0 >"$group/cgroup.procs"; done
  exec systemd-nspawn --quiet --register=no --keep-unit --boot --directory="$2" --volatile=overlay \
    --machine="$name" --console=pipe --link-journal=no --resolv-conf=off
) >console 2>&1 </dev/null &
echo $! >nspawn.part && mv nspawn.part nspawn
read -r _
echo 1 >"$unified/cgroup.kill"
wait
for group in $groups; do
  tries=0
  # Who was killed leaves when it is reaped.
  while [ -d "$group" ] && [ $((tries += 1)) -lt 500 ]; do
    find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.01
  done
done
rm -rf "$1"
"#;

impl Machine {
    /// One with our package installed, for all tests of this process that need not be alone in it.
    pub fn shared() -> &'static Self {
        static MACHINE: OnceLock<Machine> = OnceLock::new();
        MACHINE.get_or_init(|| {
            let machine = Self::boot();
            machine.run(["dpkg", "--install", &machine.receive(package())]);
            machine
        })
    }

    /// One with nothing but systemd.
    pub fn boot() -> Self {
        let root = root::debian();
        let directory = tempfile::Builder::new().prefix("bws-exec-nspawn.").tempdir().unwrap().keep();
        let mut supervisor = Command::new("setsid")
            .args(["unshare", "--mount", "sh", "-c", SUPERVISOR, "sh"])
            .args([directory.as_path(), root])
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            // Its own control groups as cgroup v2, whatever the host has.
            .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
            .stdin(Stdio::piped())
            .spawn()
            .expect("setsid is there");
        let alive = supervisor.stdin.take().expect("it is piped");
        // Waited for by init: it outlives this process on purpose.
        drop(supervisor);
        let mut machine = Self { directory, leader: 0, _alive: alive };
        let began = Instant::now();
        while !machine.is_up() {
            assert!(began.elapsed() < PATIENCE, "no machine (it needs root): {}", machine.console());
            // Lets it boot; the answer decides, not the time.
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
        machine
    }

    fn is_up(&mut self) -> bool {
        let nspawn = fs::read_to_string(self.directory.join("nspawn")).unwrap_or_default();
        let Ok(nspawn) = nspawn.trim().parse() else { return false };
        let Some(leader) = proc::children(nspawn).first().copied() else { return false };
        self.leader = leader;
        let state = self.try_run(["systemctl", "is-system-running"]);
        ["running\n", "degraded\n"].contains(&String::from_utf8_lossy(&state.stdout).as_ref())
    }

    /// What its systemd has said while it booted.
    fn console(&self) -> String {
        fs::read_to_string(self.directory.join("console")).unwrap_or_default()
    }

    /// A command inside, as root, not yet started.
    pub fn command<I: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = I>) -> Command {
        let mut command = Command::new("timeout");
        command.arg(PATIENCE.as_secs().to_string()).arg("nsenter");
        let namespaces = ["--mount", "--uts", "--ipc", "--pid", "--cgroup", "--root", "--wdns=/root"];
        command.arg(format!("--target={}", self.leader)).args(namespaces).arg("--").args(words);
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", "/root").stdin(Stdio::null());
        command
    }

    pub fn try_run<I: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = I>) -> Output {
        self.command(words).output().expect("nsenter is there")
    }

    /// Its output.
    #[track_caller]
    pub fn run<I: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = I>) -> String {
        let output = self.try_run(words);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A file inside, as the host reaches it. No part of it may be a symlink.
    pub fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        let inside = inside.as_ref().strip_prefix("/").expect("an absolute path");
        PathBuf::from(format!("/proc/{}/root", self.leader)).join(inside)
    }

    /// Writes a file, with the directories above it.
    #[track_caller]
    pub fn write(&self, inside: &str, text: &str, mode: u32) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        fs::write(&path, text).unwrap();
    }

    /// Copies a file of the host to `/root` and returns its path there.
    pub fn receive(&self, file: &Path) -> String {
        let inside = format!("/root/{}", file.file_name().unwrap().to_str().unwrap());
        self.install(file, &inside);
        inside
    }

    /// Copies an executable. Another process does: see [`super::script`].
    pub fn install(&self, file: &Path, inside: &str) {
        let copied =
            Command::new("install").args(["-D", "-m", "755"]).arg(file).arg(self.path(inside)).status();
        assert!(copied.unwrap().success(), "{}", file.display());
    }

    /// Where one of these stands in what the machine keeps of its units: the journal as it is printed and
    /// as it lies on disk, core dumps, what systemd knows of each unit.
    pub fn traces(&self, canaries: &[&str]) -> Vec<&'static str> {
        self.run(["journalctl", "--sync"]);
        let places: [(&str, &[&str]); 7] = [
            ("journal", &["journalctl", "--all", "--output=export", "--merge"]),
            ("journal's files", &["sh", "-c", "find /var/log /run/log -type f -exec cat {} +"]),
            ("systemctl status", &["sh", "-c", "systemctl status --all --full --lines=1000 '*'; true"]),
            ("systemctl show", &["systemctl", "show", "*"]),
            (
                "the manager",
                &["sh", "-c", "systemctl show; systemctl show-environment; systemd-analyze dump"],
            ),
            ("coredumpctl", &["sh", "-c", "coredumpctl --all info; true"]),
            (
                "core dumps",
                &[
                    "sh",
                    "-c",
                    "cd /var/lib/systemd/coredump && for f in *; do zstdcat \"$f\" || cat \"$f\"; done; true",
                ],
            ),
        ];
        let found = |words: &[&str]| {
            let output = self.try_run(words);
            assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
            let text = String::from_utf8_lossy(&output.stdout);
            canaries.iter().any(|canary| text.contains(canary))
        };
        places.into_iter().filter(|(_, words)| found(words)).map(|(place, _)| place).collect()
    }
}

/// The package under test: `BWS_EXEC_DEB`, or one made of the binary under test.
pub fn package() -> &'static Path {
    static PACKAGE: OnceLock<PathBuf> = OnceLock::new();
    PACKAGE.get_or_init(|| {
        if let Some(package) = std::env::var_os("BWS_EXEC_DEB") {
            return package.into();
        }
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("deb");
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/deb");
        let made = Command::new(script).args([Path::new(BINARY), &directory]).arg("--fast").output().unwrap();
        assert!(made.status.success(), "cargo-deb is installed: {made:?}");
        let mut files = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
        files.next().expect("it has made one")
    })
}
