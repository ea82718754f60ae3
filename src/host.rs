//! The outside world, read once: environment, descriptors handed over, terminal, clock.
//!
//! Reading it also takes out what must not stay: the token variable and systemd's token descriptor.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Instant;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::env::Limits;
use crate::env::inherit::{self, Entry};
use crate::token::TokenText;
use crate::{env_vars, sys};

/// First descriptor of the socket activation protocol (`SD_LISTEN_FDS_START`).
const LISTEN_FDS_START: i32 = 3;

/// Everything a run knows of the process it was started as.
#[derive(Debug)]
pub struct Host {
    pub started: Instant,
    /// `BWS_ACCESS_TOKEN`, whose memory is overwritten by now.
    pub token_variable: Option<TokenText>,
    /// The descriptor named `bws-access-token`.
    pub token_descriptor: Option<OwnedFd>,
    /// The arguments after argv\[0\].
    pub arguments: Vec<OsString>,
    pub environment: Vec<Entry>,
    pub stderr_is_terminal: bool,
    /// A pipe or a socket: whoever reads it is a process.
    pub stderr_is_read: bool,
    pub limits: Limits,
}

impl Host {
    /// Must run before anything else, and once: it changes what it reads.
    pub fn take() -> Self {
        let started = Instant::now();
        let (token_variable, entries) = sys::environment(env_vars::ACCESS_TOKEN);
        let mut host = Self {
            started,
            token_variable,
            token_descriptor: None,
            arguments: sys::arguments().into_iter().map(OsString::from_vec).collect(),
            environment: entries.into_iter().map(Cow::Borrowed).collect(),
            stderr_is_terminal: std::io::stderr().is_terminal(),
            stderr_is_read: nix::sys::stat::fstat(std::io::stderr())
                .is_ok_and(|status| matches!(status.st_mode & libc::S_IFMT, libc::S_IFIFO | libc::S_IFSOCK)),
            limits: Limits::new(
                sys::longest_exec_string(),
                getrlimit(Resource::RLIMIT_STACK).map_or(0, |(soft, _)| soft),
            ),
        };
        host.take_token_descriptors();
        host
    }

    /// Keeps plaintext out of crash dumps, for us and for the command.
    ///
    /// `RLIMIT_CORE` 1 rather than 0: with a pipe in core_pattern the kernel ignores the limit but for
    /// this value, which aborts the dump (fs/coredump.c), and systemd-coredump would put the environment
    /// into the journal. `coredump_filter` 0 leaves a dump that is made nevertheless without memory. Both
    /// survive exec. The filter comes before `PR_SET_DUMPABLE`: afterwards our own /proc files belong to
    /// root.
    pub fn harden(&self, allow_core: bool) {
        if !allow_core {
            let _ = std::fs::write("/proc/self/coredump_filter", "0");
            if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_CORE)
                && hard >= 1
                && soft != 1
            {
                let _ = setrlimit(Resource::RLIMIT_CORE, 1, hard);
            }
        }
        // What cannot be had (no /proc, a kernel without it) is no reason not to start a service.
        let _ = nix::sys::prctl::set_dumpable(false);
    }

    /// A variable that is set and not empty.
    pub fn var(&self, name: &str) -> Option<&OsStr> {
        let mut found = self.environment.iter().filter(|entry| inherit::name(entry) == Some(name.as_bytes()));
        let value = OsStr::from_bytes(&found.next()?[name.len() + 1..]);
        (!value.is_empty()).then_some(value)
    }

    /// The same for text. Bytes that are not UTF-8 become U+FFFD, which then fails as a value.
    pub fn text(&self, name: &str) -> Option<String> {
        self.var(name).map(|value| value.to_string_lossy().into_owned())
    }

    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.var(name).map(PathBuf::from)
    }

    /// `OpenFile=` of systemd hands the token over as one of the activation descriptors. It is taken
    /// out whichever source wins, and the rest moves down, so that the service sees its own sockets.
    fn take_token_descriptors(&mut self) {
        while let Some(token) = self.take_token_descriptor() {
            // A second one has no meaning, and must not stay either.
            self.token_descriptor.get_or_insert(token);
        }
    }

    fn take_token_descriptor(&mut self) -> Option<OwnedFd> {
        let number = |name| self.text(name).and_then(|text| text.parse::<u32>().ok());
        if number(env_vars::LISTEN_PID) != Some(std::process::id()) {
            return None;
        }
        let (count, names) = (number(env_vars::LISTEN_FDS)?, self.var(env_vars::LISTEN_FDNAMES)?);
        let taken = without_token(count, names.as_bytes())?;
        let last = LISTEN_FDS_START + count as i32 - 1;
        let first = LISTEN_FDS_START + taken.index as i32;
        // Above them all: one that was announced need not be open, and its number is not free.
        let token = sys::duplicate_above(sys::inherited(first)?, last + 1).ok()?;
        for fd in first..last {
            let next = sys::inherited(fd + 1);
            if next.is_none_or(|next| sys::duplicate_onto(next, fd).is_err()) {
                // Nothing comes here, but the token must not stay.
                drop(sys::adopt(fd));
            }
        }
        drop(sys::adopt(last));
        if count == 1 {
            for name in [env_vars::LISTEN_PID, env_vars::LISTEN_FDS, env_vars::LISTEN_FDNAMES] {
                self.set(name, None);
            }
        } else {
            self.set(env_vars::LISTEN_FDS, Some((count - 1).to_string().into()));
            self.set(env_vars::LISTEN_FDNAMES, Some(OsString::from_vec(taken.names)));
        }
        Some(token)
    }

    fn set(&mut self, name: &str, value: Option<OsString>) {
        self.environment.retain(|entry| inherit::name(entry) != Some(name.as_bytes()));
        if let Some(value) = value {
            let mut entry = format!("{name}=").into_bytes();
            entry.extend_from_slice(value.as_bytes());
            self.environment.push(Cow::Owned(entry));
        }
    }
}

/// Which of the activation descriptors is the token, and the names of the others.
#[derive(Debug, PartialEq, Eq)]
struct Taken {
    index: usize,
    names: Vec<u8>,
}

fn without_token(count: u32, names: &[u8]) -> Option<Taken> {
    let mut names: Vec<&[u8]> = names.split(|&byte| byte == b':').collect();
    let index = names.iter().position(|&name| name == env_vars::CREDENTIAL.as_bytes())?;
    if names.len() != count as usize {
        return None;
    }
    names.remove(index);
    Some(Taken { index, names: names.join(&b':') })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_taken_out_of_the_names() {
        let taken = |count, names: &str| without_token(count, names.as_bytes());
        let expected = |index, names: &str| Some(Taken { index, names: names.into() });
        assert_eq!(taken(1, "bws-access-token"), expected(0, ""));
        assert_eq!(taken(3, "http:bws-access-token:https"), expected(1, "http:https"));
        assert_eq!(taken(2, "http:https"), None);
        assert_eq!(taken(2, "bws-access-token"), None, "names and count disagree");
        assert_eq!(taken(0, ""), None);
    }
}
