//! What every integration test stands on: a local vault, and a builder that runs the real binary.
//!
//! A test reads as a sentence: a [`Scenario`] with secrets, a [`Launch`] with options and a command,
//! an [`Outcome`] to look at. Nothing of the outer environment reaches the binary.

#![allow(dead_code)]

pub mod containers;
pub mod core_pattern;
pub mod docker;
pub mod engines;
pub mod journal;
pub mod nspawn;
pub mod podman;
pub mod proc;
pub mod recorder;
pub mod sealed;
pub mod seccomp;
pub mod terminal;
pub mod tmux;
pub mod vault;

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use uuid::Uuid;
use vault::{Access, Options, Vault};

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_bws-exec");
/// What every wait in a test ends by; long enough for a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A vault with one project, one account that reads it, and one token of that account.
pub struct Scenario {
    pub vault: Vault,
    pub project: Uuid,
    pub account: Uuid,
    pub token: String,
}

impl Scenario {
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    pub fn with(options: Options) -> Self {
        let vault = Vault::start(options);
        let owner = vault.owner();
        let project = owner.create_project("web");
        let account = owner.create_account("launcher");
        owner.grant(account, project, Access::Read);
        let token = owner.create_token(account, "test", None);
        Self { vault, project, account, token }
    }

    /// Adds a secret to the project.
    pub fn secret(self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.vault.owner().create_secret(self.project, key, value);
        self
    }

    /// A launch that gets the token by `BWS_ACCESS_TOKEN`.
    pub fn launch(&self) -> Launch {
        self.launch_without_token().env("BWS_ACCESS_TOKEN", &self.token)
    }

    /// A launch that knows the server and its authority and nothing else.
    pub fn launch_without_token(&self) -> Launch {
        Launch::new()
            .options(["--identity-url", self.vault.identity_url(), "--api-url", self.vault.api_url()])
            .option("--ca-file")
            .option(self.vault.ca_file())
    }
}

/// One run of the binary, before it starts.
pub struct Launch {
    options: Vec<OsString>,
    command: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    stdin: Option<Vec<u8>>,
    directory: Option<PathBuf>,
    wrapper: Vec<OsString>,
    descriptors: Vec<(i32, OwnedFd)>,
    binary: OsString,
}

impl Launch {
    pub fn new() -> Self {
        Self {
            options: Vec::new(),
            command: Vec::new(),
            environment: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".into())],
            stdin: None,
            directory: None,
            wrapper: Vec::new(),
            descriptors: Vec::new(),
            binary: BINARY.into(),
        }
    }

    pub fn option(mut self, option: impl AsRef<OsStr>) -> Self {
        self.options.push(option.as_ref().into());
        self
    }

    pub fn options<I: AsRef<OsStr>>(self, options: impl IntoIterator<Item = I>) -> Self {
        options.into_iter().fold(self, Self::option)
    }

    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.retain(|(known, _)| known != name.as_ref());
        self.environment.push((name.as_ref().into(), value.as_ref().into()));
        self
    }

    pub fn without_env(mut self, name: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self
    }

    pub fn stdin(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.stdin = Some(bytes.as_ref().to_vec());
        self
    }

    pub fn directory(mut self, path: impl AsRef<Path>) -> Self {
        self.directory = Some(path.as_ref().into());
        self
    }

    /// Puts a program in front of the binary: `unshare …`, `nohup`, `sh -c '… exec "$@"' sh`.
    pub fn under<I: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = I>) -> Self {
        self.wrapper = wrapper.into_iter().map(|word| word.as_ref().into()).collect();
        self
    }

    /// Hands a descriptor over under this number.
    pub fn descriptor(mut self, number: i32, fd: impl Into<OwnedFd>) -> Self {
        // High up, so that none of them is replaced by another one before its turn.
        let high = nix::fcntl::fcntl(fd.into(), nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(200));
        // SAFETY: fcntl has just made it, for nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(high.expect("a descriptor can be copied")) };
        self.descriptors.push((number, fd));
        self
    }

    /// Another binary with the same arguments and the same surroundings.
    pub fn binary(mut self, binary: impl AsRef<OsStr>) -> Self {
        self.binary = binary.as_ref().into();
        self
    }

    pub fn command<I: AsRef<OsStr>>(mut self, command: impl IntoIterator<Item = I>) -> Self {
        self.command = command.into_iter().map(|word| word.as_ref().into()).collect();
        self
    }

    /// The same process without the launcher: the command itself.
    pub fn direct(self) -> Command {
        let words = self.command.clone();
        self.process(words)
    }

    /// The prepared process, for what this builder has no word for.
    pub fn launcher(self) -> Command {
        let mut words = vec![self.binary.clone()];
        words.extend(self.options.iter().cloned());
        if !self.command.is_empty() {
            words.push("--".into());
        }
        words.extend(self.command.iter().cloned());
        self.process(words)
    }

    fn process(self, words: Vec<OsString>) -> Command {
        let words: Vec<OsString> = self.wrapper.into_iter().chain(words).collect();
        let mut process = Command::new(&words[0]);
        process.args(&words[1..]).env_clear().envs(self.environment);
        process.stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        process.stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(directory) = self.directory {
            process.current_dir(directory);
        }
        let descriptors = self.descriptors;
        // SAFETY: system calls are async-signal-safe; the descriptors live in the closure.
        unsafe {
            process.pre_exec(move || {
                // Whoever runs the tests may ignore some, under nohup for example. The kernel's own
                // call, for glibc would leave out 32 and 33.
                for signal in 1..=64 {
                    libc::syscall(libc::SYS_rt_sigaction, signal, &[0_u64; 4], 0, size_of::<u64>());
                }
                // Or leave descriptors open.
                libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as i32);
                for (number, fd) in &descriptors {
                    use std::os::fd::AsRawFd;
                    if libc::dup2(fd.as_raw_fd(), *number) == -1 {
                        return Err(std::io::Error::last_os_error());
                    }
                    // dup2 onto itself leaves CLOEXEC set.
                    libc::fcntl(*number, libc::F_SETFD, 0);
                }
                Ok(())
            });
        }
        process
    }

    /// Starts it and leaves it running.
    pub fn start(self) -> Running {
        let stdin = self.stdin.clone();
        Running::new(self.launcher(), stdin)
    }

    /// Runs it to its end.
    pub fn run(self) -> Outcome {
        self.start().finish()
    }

    /// Runs the command without the launcher.
    pub fn run_direct(self) -> Outcome {
        let stdin = self.stdin.clone();
        Running::new(self.direct(), stdin).finish()
    }
}

/// A run that has begun. It is killed if the test ends before it does.
pub struct Running {
    child: Option<Child>,
    pid: i32,
    started: Instant,
}

impl Running {
    pub fn new(mut process: Command, stdin: Option<Vec<u8>>) -> Self {
        let started = Instant::now();
        let mut child = process.spawn().expect("the process starts");
        if let (Some(bytes), Some(mut pipe)) = (stdin, child.stdin.take()) {
            // Whoever does not read its input is not at fault.
            std::thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
        let pid = child.id() as i32;
        Self { child: Some(child), pid, started }
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: the child is not reaped before `finish`, so the pid is still its own.
        assert_eq!(unsafe { libc::kill(self.pid, signal) }, 0, "the process is there to be signalled");
    }

    /// Waits until it has become this program and sleeps in it, ready to be looked at.
    #[track_caller]
    pub fn asleep_in(self, program: &str) -> Self {
        let began = Instant::now();
        loop {
            match proc::state(self.pid) {
                Some(('S', name)) if name == program => return self,
                None | Some(('Z', _)) => panic!("it has ended: {:?}", self.finish()),
                Some(_) => {}
            }
            assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {program} sleeps");
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }

    /// Waits for its end and all its output.
    pub fn finish(mut self) -> Outcome {
        let mut child = self.child.take().expect("finished once");
        let read = |pipe: Option<Box<dyn Read + Send>>| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                if let Some(mut pipe) = pipe {
                    pipe.read_to_end(&mut bytes).expect("a pipe can be read");
                }
                bytes
            })
        };
        let stdout = read(child.stdout.take().map(|pipe| Box::new(pipe) as _));
        let stderr = read(child.stderr.take().map(|pipe| Box::new(pipe) as _));
        let pid = self.pid;
        let (done, watch) = std::sync::mpsc::channel::<()>();
        let watchdog = std::thread::spawn(move || {
            if watch.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                // SAFETY: not reaped yet, since nobody said that it has ended.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        });
        let status = child.wait().expect("a child can be waited for");
        let took = self.started.elapsed();
        let _ = done.send(());
        watchdog.join().expect("the watchdog does not panic");
        Outcome {
            status,
            stdout: stdout.join().expect("stdout was read"),
            stderr: String::from_utf8_lossy(&stderr.join().expect("stderr was read")).into_owned(),
            took,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
    pub took: Duration,
}

impl Outcome {
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The command ran, ended well, and nothing was said.
    #[track_caller]
    pub fn succeeded(&self) -> &Self {
        assert_eq!((self.code(), self.stderr.as_str()), (Some(0), ""), "stdout: {}", self.text());
        self
    }

    /// We failed with this code and these very words.
    #[track_caller]
    pub fn failed(&self, code: i32, stderr: &str) -> &Self {
        assert_eq!(self.stderr, stderr);
        assert_eq!(self.code(), Some(code));
        assert_eq!(self.text(), "", "the command must not have run");
        self
    }

    /// We failed with this code and slug.
    #[track_caller]
    pub fn failed_with(&self, code: i32, slug: &str) -> &Self {
        assert!(self.stderr.contains(&format!("bws-exec: error[{slug}]: ")), "stderr: {}", self.stderr);
        assert_eq!(self.code(), Some(code), "stderr: {}", self.stderr);
        self
    }
}

/// Writes an executable script. Another process does: a copy of a descriptor open for writing, in
/// the child of a test that runs beside this one, would keep the kernel from executing it.
pub fn script(path: &Path, text: &str) {
    let mut writer = Command::new("sh");
    writer.args(["-c", "printf %s \"$1\" >\"$2\" && chmod 755 \"$2\"", "sh", text]).arg(path);
    assert!(writer.status().expect("sh is there").success(), "{} can be written", path.display());
}

/// The reading end of a pipe in which this is written, and nothing more to come.
pub fn pipe(content: impl AsRef<[u8]>) -> OwnedFd {
    let (read, mut write) = std::io::pipe().expect("a pipe");
    write.write_all(content.as_ref()).expect("it fits into a pipe");
    read.into()
}

/// Any six characters in a row of the client secret or the key of this token that stand in these
/// bytes.
pub fn leaked(token: &str, bytes: &[u8]) -> Vec<String> {
    let (left, key) = token.rsplit_once(':').expect("a token has a key");
    let client_secret = left.rsplit_once('.').expect("a token has a client secret").1;
    let text = String::from_utf8_lossy(bytes);
    let pieces = [client_secret, key].map(|part| (6..=part.len()).map(move |end| &part[end - 6..end]));
    pieces.into_iter().flatten().filter(|piece| text.contains(piece)).map(str::to_owned).collect()
}

/// Waits until a condition holds.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        // Lets others work; the condition decides, not the time.
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
