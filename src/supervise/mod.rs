//! Staying beside the command instead of becoming it, with what exec gives kept: signals, job control,
//! exit status, systemd's contracts.
//!
//! ```text
//! signalfd, children, clock ──events──▶ Machine (pure) ──actions──▶ Supervisor
//! ```

mod machine;
mod notify;
mod supervisor;
mod terminal;

pub use notify::Notify;

use std::time::Duration;

use crate::error::Error;
use crate::exec::ExecPlan;
use crate::exit::Exit;
use crate::files::Files;
use crate::report::Report;
use supervisor::Supervisor;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `--kill-after`; zero is never.
    pub kill_after: Duration,
    /// `--signal-group`.
    pub signal_group: bool,
}

/// Runs the command to its end. Nothing of its environment or files stays with us while it runs.
pub fn run(
    exec: ExecPlan,
    files: Files,
    settings: Settings,
    notify: Option<Notify>,
    report: &Report,
) -> Result<Exit, Error> {
    let mut supervisor = Supervisor::new(settings, notify, report)?;
    supervisor.start(&exec)?;
    drop((exec, files));
    crate::sys::let_go_of_inherited();
    Ok(supervisor.until_end())
}
