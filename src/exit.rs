//! Exit codes, as the man page lists them. COMMAND's own code never passes through here: by then we
//! have become COMMAND.

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
        }
    }
}
