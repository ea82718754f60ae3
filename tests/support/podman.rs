//! podman with a storage of its own, for the tests that need it. It has no daemon.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Output, Stdio};

use super::docker::tree;
use super::journal;

pub const BASE: &str = "localhost/bws-exec-base:1";

/// Its directory is removed when it is dropped.
pub struct Podman {
    directory: tempfile::TempDir,
    journal: Option<Journal>,
}

/// A journal in a mount namespace of its own, in which podman runs. It ends with this side of the pipe.
struct Journal {
    namespace: PathBuf,
    _alive: ChildStdin,
}

impl Journal {
    fn start(directory: &Path) -> Self {
        // The directory in no argument: by that, what works there is known.
        let script = format!("set -- \"$PWD\"; {}; echo; read _; kill $journal; wait", journal::START);
        let mut supervisor = Command::new("setsid")
            .args(["unshare", "--mount", "sh", "-c", &script])
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = supervisor.stdout.take().expect("it is piped").read(&mut [0]);
        assert_eq!(said.unwrap(), 1, "it needs root, and systemd is installed");
        let namespace = super::proc::path(supervisor.id() as i32, "ns/mnt");
        Self { namespace, _alive: supervisor.stdin.take().expect("it is piped") }
    }
}

impl Podman {
    /// With the base image in it.
    pub fn new() -> Self {
        Self::with(|_| None)
    }

    /// What it and its containers log goes to a journal in its directory.
    pub fn with_journal() -> Self {
        Self::with(|directory| Some(Journal::start(directory)))
    }

    fn with(journal: impl FnOnce(&Path) -> Option<Journal>) -> Self {
        let directory = tempfile::Builder::new().prefix("bws-exec-podman.").tempdir().unwrap();
        let journal = journal(directory.path());
        let podman = Self { directory, journal };
        let base = podman.path().join("base");
        tree(&base);
        let script = "tar -C \"$1\" -c . | { shift; \"$@\" import - bws-exec-base:1; }";
        let mut import = Command::new("sh");
        import.args(["-ec", script, "sh"]).arg(base).args(podman.client());
        let output = import.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        podman
    }

    /// Everything podman keeps.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The client with its options: nothing of the machine's own storage, and the runtime and manager that
    /// work without systemd and with control groups of either version.
    pub fn client(&self) -> Vec<String> {
        let place = |name: &str| -> PathBuf { self.path().join(name) };
        let (root, run) = (place("root"), place("run"));
        let words = ["podman", "--root", root.to_str().unwrap(), "--runroot", run.to_str().unwrap()];
        let rest = ["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--runtime", "runc"];
        let backend = if self.journal.is_some() { "journald" } else { "file" };
        let events = ["--events-backend", backend, "--tmpdir"].map(str::to_owned);
        let tmp = place("tmp").display().to_string();
        words.into_iter().chain(rest).map(str::to_owned).chain(events).chain([tmp]).collect()
    }

    /// What runs a program where the client runs.
    pub fn enter(&self) -> Vec<String> {
        let enter = |journal: &Journal| {
            vec!["nsenter".to_owned(), format!("--mount={}", journal.namespace.display())]
        };
        self.journal.as_ref().map(enter).unwrap_or_default()
    }

    /// `podman run` with limits that any machine allows.
    pub fn run_words(&self) -> Vec<String> {
        let run = ["run", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
        self.client().into_iter().chain(run.map(str::to_owned)).collect()
    }

    pub fn try_run<I: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = I>) -> Output {
        let client = [self.enter(), self.client()].concat();
        Command::new(&client[0]).args(&client[1..]).args(words).stdin(Stdio::null()).output().unwrap()
    }

    #[track_caller]
    pub fn run<I: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = I>) -> String {
        let output = self.try_run(words);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }
}

/// What cleans up behind a container would make its directories anew.
impl Drop for Podman {
    fn drop(&mut self) {
        let path = self.path().display().to_string();
        let works = |entry: std::fs::DirEntry| {
            let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&arguments).contains(&path)
        };
        let idle = || std::fs::read_dir("/proc").is_ok_and(|list| !list.flatten().any(works));
        // A test that fails leaves its containers running: nothing to wait for.
        if !std::thread::panicking() {
            super::eventually("podman has cleaned up", idle);
        }
    }
}
