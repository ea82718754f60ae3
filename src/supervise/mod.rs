//! Staying beside the command instead of becoming it, with what exec gives kept: signals, job control,
//! exit status, systemd's contracts.
//!
//! ```text
//! signalfd, children, clock ──events──▶ Machine (pure) ──actions──▶ Supervisor
//! ```

mod changes;
mod inbox;
mod machine;
mod mask;
mod pace;
mod streams;
mod supervisor;
mod terminal;
mod watcher;

pub use changes::Command;

use std::io;

use changes::Changes;
use pace::Pace;

use crate::api::Servers;
use crate::env::{Entry, EnvPlan};
use crate::error::Error;
use crate::exec::ExecPlan;
use crate::exit::Exit;
use crate::plan::{OnChange, RunPlan, Supervision, Watching};
use crate::random;
use crate::report::Report;
use crate::source::Link;
use crate::token::AccessToken;
use supervisor::Supervisor;
use watcher::Watcher;

/// What to ask again, and what with.
pub struct Origin {
    pub plan: RunPlan,
    pub servers: Servers,
    pub token: AccessToken,
    pub link: Option<Link>,
    pub inherited: Vec<Entry>,
}

/// A command beside which we stay.
pub struct Supervised {
    pub supervision: Supervision,
    pub command: Command,
    pub origin: Origin,
    /// What it starts with.
    pub environment: EnvPlan,
}

impl Supervised {
    /// Runs it to its end. Nothing of its environment or files stays with us while it runs, but what keys
    /// and ciphertext it takes to ask again.
    pub fn run(self, exec: ExecPlan, report: &Report) -> Result<Exit, Error> {
        let Self { supervision, command, origin, environment } = self;
        let mut supervisor = Supervisor::new(supervision, report)?;
        // Whatever can fail comes before the command runs, whose end it would be. The thread sleeps first.
        let (mut changes, mut files) = (None, None);
        match supervision.watch {
            Some(watching) => changes = Some(watch(watching, command, origin, &environment, report)?),
            None => {
                drop(origin);
                files = Some(command.files);
            }
        }
        supervisor.start(&exec, &environment)?;
        drop((exec, files, environment));
        changes.iter_mut().for_each(Changes::delivered);
        if supervision.watch.is_none_or(|watch| watch.on_change != OnChange::Restart) {
            crate::sys::let_go_of_inherited();
        }
        supervisor.until_end(changes)
    }
}

/// Starts the thread that asks.
fn watch(
    watching: Watching,
    command: Command,
    origin: Origin,
    environment: &EnvPlan,
    report: &Report,
) -> Result<Changes, Error> {
    let fault = |cause: io::Error| Error::Spawn { cause };
    let key = random::bytes().map_err(fault)?;
    let (outbox, inbox) = inbox::boxes().map_err(fault)?;
    let Origin { plan, servers, token, link, inherited } = origin;
    let watcher = Watcher {
        current: environment.digest(&key),
        plan,
        servers,
        token,
        link,
        inherited,
        words: command.words.clone(),
        limits: command.limits,
        report: report.clone(),
        pace: Pace::new(watching.interval),
        key,
    };
    let thread = std::thread::Builder::new().name("watch".into());
    thread.spawn(move || watcher.run(outbox)).map_err(fault)?;
    Ok(Changes::new(command, inbox))
}
