//! A Docker Engine of its own for the tests that need one: with a data root that they can search, and
//! without a bridge or firewall rules, so that it disturbs no engine of the machine.
//!
//! It is started by the first test that asks, and ends with the test process. No image is pulled:
//! the base is made of busybox.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::{Launch, PATIENCE, journal};

/// busybox, its links, and a user `app` (1000).
pub const BASE: &str = "bws-exec-base:1";

/// Shell commands after which version 2 is the only one to be seen, whatever the machine has mounted.
pub const UNIFIED: &str =
    "mkdir unified && mount -t cgroup2 none unified && umount --recursive --lazy /sys/fs/cgroup
    mount --move unified /sys/fs/cgroup";

/// Programs of the base image.
const APPLETS: [&str; 13] =
    ["sh", "env", "cat", "sleep", "id", "true", "false", "ls", "kill", "test", "touch", "chmod", "cp"];

pub struct Docker {
    pub directory: PathBuf,
    /// When this side is closed, by whatever end of this process, the engine ends and is removed.
    _alive: ChildStdin,
}

/// The engine of this process.
pub fn docker() -> &'static Docker {
    static ENGINE: OnceLock<Docker> = OnceLock::new();
    ENGINE.get_or_init(|| Docker::start(Kind::Plain))
}

/// Another one, whose containers are in user namespaces: root there is nobody here.
pub fn remapped_docker() -> &'static Docker {
    static ENGINE: OnceLock<Docker> = OnceLock::new();
    ENGINE.get_or_init(|| Docker::start(Kind::Remapped))
}

/// Another one, which sees control groups of version 2 alone.
pub fn unified_docker() -> &'static Docker {
    static ENGINE: OnceLock<Docker> = OnceLock::new();
    ENGINE.get_or_init(|| Docker::start(Kind::Unified))
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Plain,
    Remapped,
    Unified,
}

impl Docker {
    fn start(kind: Kind) -> Self {
        let directory = tempfile::Builder::new().prefix("bws-exec-docker.").tempdir().unwrap().keep();
        // All of this is so in this mount namespace only. The engine's own words go to the journal.
        let script = format!(
            "cd \"$1\" || exit 1
            {journal}
            if [ \"$2\" = remapped ]; then
              echo nobody:200000:65536 >ranges
              for file in /etc/subuid /etc/subgid; do touch $file; mount --bind ranges $file; done
              set -- \"$1\" --userns-remap nobody:nogroup
            elif [ \"$2\" = unified ]; then
              {UNIFIED}
              set -- \"$1\"
            else
              set -- \"$1\"
            fi
            directory=$1; shift
            systemd-cat dockerd --debug \"$@\" --data-root \"$directory/data\" --exec-root \"$directory/exec\" \
              --pidfile \"$directory/pid\" -H \"unix://$directory/socket\" \
              --storage-driver vfs --bridge none --iptables=false </dev/null &
            read _
            kill $! 2>/dev/null
            wait $!
            kill $journal
            wait
            umount \"$directory\"/exec/netns/* 2>/dev/null
            rm -rf \"$directory\"",
            journal = journal::START
        );
        let kind = match kind {
            Kind::Plain => "",
            Kind::Remapped => "remapped",
            Kind::Unified => "unified",
        };
        let mut supervisor = Command::new("setsid")
            .args(["unshare", "--mount", "sh", "-c", &script, "sh"])
            .arg(&directory)
            .arg(kind)
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .stdin(Stdio::piped())
            .spawn()
            .expect("setsid is there");
        let docker = Self { directory, _alive: supervisor.stdin.take().expect("it is piped") };
        // Waited for by init: it outlives this process on purpose.
        drop(supervisor);
        let began = Instant::now();
        while !docker.try_run(["version"]).status.success() {
            let log = || String::from_utf8_lossy(&journal::read(&docker.directory)).into_owned();
            assert!(
                began.elapsed() < PATIENCE,
                "no engine (it needs root, and systemd's journal): {}",
                log()
            );
            // Lets it work; the answer decides, not the time.
            std::thread::park_timeout(Duration::from_millis(20));
        }
        tree(&docker.base());
        docker.import(BASE, &docker.base(), &[]);
        docker
    }

    pub fn host(&self) -> String {
        format!("unix://{}", self.directory.join("socket").display())
    }

    /// The tree of the base image.
    pub fn base(&self) -> PathBuf {
        self.directory.join("base")
    }

    /// Everything the engine keeps on disk.
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    pub fn client(&self) -> Command {
        let mut client = Command::new("docker");
        client.env("DOCKER_HOST", self.host()).env("DOCKER_BUILDKIT", "0").stdin(Stdio::null());
        client
    }

    pub fn try_run<I: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = I>) -> Output {
        self.client().args(words).output().expect("the client is there")
    }

    /// Its output, without white space at the end.
    #[track_caller]
    pub fn run<I: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = I>) -> String {
        let output = self.try_run(words);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// An image of this tree, with instructions such as `CMD ["/bin/sh"]`.
    #[track_caller]
    pub fn import(&self, name: &str, tree: &Path, instructions: &[&str]) {
        let changes: String = instructions.iter().map(|line| format!(" --change '{line}'")).collect();
        let script = format!("tar -C \"$1\" -c . | docker import{changes} - {name}");
        let mut shell = Command::new("sh");
        let output = shell.args(["-ec", &script, "sh"]).arg(tree).env("DOCKER_HOST", self.host()).output();
        let output = output.expect("a shell is there");
        assert!(output.status.success(), "{output:?}");
    }

    /// The base with instructions of its own.
    pub fn image(&self, name: &str, instructions: &[&str]) {
        self.import(name, &self.base(), instructions);
    }

    /// A launch whose `docker` is this engine's.
    pub fn launch(&self, launch: Launch) -> Launch {
        launch.env("DOCKER_HOST", self.host()).env("HOME", &self.directory)
    }
}

/// Makes the tree of the base image. It is written by a shell: see [`super::script`].
pub fn tree(at: &Path) {
    let mut script = String::from("mkdir -p -m 1777 tmp; mkdir -p bin etc; cp /bin/busybox bin; ");
    for applet in APPLETS {
        script.push_str(&format!("ln bin/busybox bin/{applet}; "));
    }
    script.push_str("printf 'root:x:0:0::/root:/bin/sh\\napp:x:1000:1000::/home/app:/bin/sh\\n' >etc/passwd");
    std::fs::create_dir_all(at).unwrap();
    let made = Command::new("sh").args(["-euc", &script]).current_dir(at).status();
    assert!(made.unwrap().success(), "busybox-static is installed");
}
