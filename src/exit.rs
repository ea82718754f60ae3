//! Exit codes, as the man page lists them. COMMAND's own end passes through here only if we stay: else we
//! have become COMMAND.

use std::process::{ExitCode, Termination};

use crate::sys;

/// How this process ends when it does not become COMMAND.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// `--help`, `--version`, or a `--dry-run` that found nothing wrong.
    Success,
    /// We failed and trying again may help (`EX_TEMPFAIL` of sysexits.h).
    Unavailable,
    /// We failed and trying again will not help.
    Failed,
    /// COMMAND was found but cannot be executed.
    NotExecutable,
    /// COMMAND was not found.
    NotFound,
    /// COMMAND, beside which we stayed, ended with this code.
    Command(u8),
    /// It died of this signal, and so do we.
    Killed(i32),
}

impl Exit {
    /// All but success.
    pub const FAILURES: [Self; 4] = [Self::Unavailable, Self::Failed, Self::NotExecutable, Self::NotFound];

    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Success => "--help, --version, --generate, or a --dry-run that found nothing wrong",
            Self::Unavailable => "we failed, and trying again may help",
            Self::Failed => "we failed, and trying again will not help",
            Self::NotExecutable => "COMMAND was found and cannot be executed",
            Self::NotFound => "COMMAND was not found",
            Self::Command(_) => "COMMAND's own",
            Self::Killed(_) => "COMMAND died of a signal, 128 less than this",
        }
    }

    /// The code the parent sees.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Unavailable => 75,
            Self::Failed => 125,
            Self::NotExecutable => 126,
            Self::NotFound => 127,
            Self::Command(code) => code,
            // What a shell reports. There is no signal beyond 64.
            Self::Killed(signal) => 128_u8.wrapping_add(signal as u8),
        }
    }
}

impl Termination for Exit {
    /// By the very signal, so that a shell's loop stops and `systemctl stop` is clean; PID 1, which no
    /// signal kills, ends with the code.
    fn report(self) -> ExitCode {
        if let Self::Killed(signal) = self {
            sys::die_of(signal);
        }
        self.code().into()
    }
}
