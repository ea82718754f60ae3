//! Our only words: stderr, the status descriptor, and what `--dry-run` prints.
//!
//! Three levels: *error* always, *warning* (something unsafe or stale) unless `-q`, *notice* with `-v`.
//! Whatever comes from outside is shown with its control characters escaped, so that a secret's name
//! cannot speak to the terminal, and with anything that looks like an access token taken out.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};

use crate::error::Error;
use crate::exit::Exit;
use crate::token;

/// How much is said on stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// `-q`: errors only.
    Quiet,
    #[default]
    Normal,
    /// `-v`: notices too.
    Verbose,
}

/// Where this run speaks. A copy speaks to the same place.
#[derive(Clone, Debug, Default)]
pub struct Report {
    verbosity: Verbosity,
    status: Arc<Mutex<Option<File>>>,
}

/// Steps of a run, as `--status-fd` names them.
#[derive(Clone, Copy, Debug)]
pub enum Phase {
    Start,
    Login,
    Fetch,
    Resolve,
    Exec,
    /// The command runs beside us.
    Spawn {
        pid: i32,
    },
    /// Secrets have changed.
    Changed,
    /// It has ended, and so shall we.
    End(Exit),
}

impl Report {
    pub fn new(verbosity: Verbosity, status: Option<File>) -> Self {
        Self { verbosity, status: Arc::new(Mutex::new(status)) }
    }

    pub fn error(&self, error: &Error) {
        let exit = error.exit().code();
        speak(&format!(
            "bws-exec: error[{}]: {}\nbws-exec: hint: {}\n",
            error.slug(),
            shown(&error.to_string()),
            shown(&error.hint())
        ));
        self.status_line(json!({
            "phase": "error", "slug": error.slug(), "exit_code": exit, "message": shown(&error.to_string()),
        }));
    }

    pub fn warning(&self, text: &str) {
        if self.verbosity != Verbosity::Quiet {
            line("warning", text);
        }
    }

    pub fn warnings(&self, texts: &[String]) {
        texts.iter().for_each(|text| self.warning(text));
    }

    pub fn notice(&self, text: &str) {
        if self.verbosity == Verbosity::Verbose {
            line("notice", text);
        }
    }

    /// A dry run says what a run would only say with `-v`.
    pub fn dry_run_notice(&self, text: &str) {
        if self.verbosity != Verbosity::Quiet {
            line("notice", text);
        }
    }

    pub fn phase(&self, phase: Phase) {
        self.status_line(match phase {
            Phase::Start => json!({ "phase": "start" }),
            Phase::Login => json!({ "phase": "login" }),
            Phase::Fetch => json!({ "phase": "fetch" }),
            Phase::Resolve => json!({ "phase": "resolve" }),
            Phase::Exec => json!({ "phase": "exec" }),
            Phase::Spawn { pid } => json!({ "phase": "spawn", "pid": pid }),
            Phase::Changed => json!({ "phase": "changed" }),
            Phase::End(Exit::Killed(signal)) => json!({ "phase": "end", "signal": signal }),
            Phase::End(exit) => json!({ "phase": "end", "exit_code": exit.code() }),
        });
    }

    /// That the secrets of this run are a copy's, and why.
    pub fn copy(&self, because: &str, fetched: Duration, proved: Duration) {
        self.status_line(json!({
            "phase": "copy",
            "because": because,
            "fetched_seconds_ago": fetched.as_secs(),
            "login_seconds_ago": proved.as_secs(),
        }));
    }

    /// One JSON line. A reader that is gone or does not read must not hold up the launch, so a line
    /// that does not fit at once is dropped, and with it the rest.
    fn status_line(&self, line: Value) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = status.as_mut() else { return };
        let mut ready = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
        let writable = poll(&mut ready, PollTimeout::ZERO).is_ok_and(|n| n > 0)
            && ready[0].revents().is_some_and(|events| events.contains(PollFlags::POLLOUT));
        if !writable || file.write_all(format!("{line}\n").as_bytes()).is_err() {
            *status = None;
        }
    }
}

/// Text on stdout: `--help`, `--version`, `--dry-run`. A reader that went away is no error.
pub fn print(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(cause) if cause.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::Output { cause }),
        _ => Ok(()),
    }
}

/// Lines for the runner of GitHub Actions, on stderr: the one thing ever said that holds values, for it is
/// how the runner learns of them. Byte by byte, and all of it, or nothing would be masked.
pub fn github_masks(lines: &[u8]) -> Result<(), Error> {
    std::io::stderr().write_all(lines).map_err(|cause| Error::Output { cause })
}

/// Says where a bug struck, and nothing of the panic's message, which may quote data.
pub fn panicked(info: &std::panic::PanicHookInfo<'_>) {
    let place = info.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
    Report::default().error(&Error::Internal(format!("a bug at {place}")));
}

fn line(level: &str, text: &str) {
    speak(&format!("bws-exec: {level}: {}\n", shown(text)));
}

/// One write, so that lines of many launches do not mix. There is nobody to tell if it fails.
fn speak(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// A server decides how long its names and lists are. With every character escaped, a status line
/// with such a text still is one that a pipe takes whole or not at all (`PIPE_BUF`).
const LONGEST: usize = 1900;

/// Text as it may be shown.
pub fn shown(text: &str) -> String {
    let mut safe = String::with_capacity(text.len().min(LONGEST));
    for c in token::redact(text).chars() {
        if safe.len() >= LONGEST {
            safe.push('…');
            break;
        }
        if is_unsafe(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Control characters, and the bidirectional and invisible marks that reorder or hide text on a terminal.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_endless() {
        assert!(shown(&"\0".repeat(10_000_000)).len() < LONGEST + 10);
        let list = "'\"' ".repeat(10_000);
        assert!(json!({ "phase": "error", "message": shown(&list) }).to_string().len() < 4000);
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(shown("a\x1b[31m\nb\u{202e}c'ü"), "a\\u{1b}[31m\\nb\\u{202e}c'ü");
    }
}
