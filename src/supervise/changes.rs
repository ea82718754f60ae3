//! Changes of secrets, as the watching thread finds them, and what starts the command with them.

use std::ffi::OsString;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use crate::deadline::Deadline;
use crate::env::{EnvPlan, FileRule, Limits};
use crate::error::Error;
use crate::exec::{ExecPlan, Program};
use crate::files::Files;
use crate::identity::Identity;
use crate::{github_mask, report};

/// For the names of owners, which are read from files of this machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// Everything about the command that outlives one environment.
pub struct Command {
    pub program: Program,
    pub identity: Identity,
    pub words: Vec<OsString>,
    pub files: Files,
    pub rules: Vec<FileRule>,
    pub limits: Limits,
    /// `--github-mask`: each new value is told too.
    pub github_mask: bool,
}

pub struct Changes {
    pub command: Command,
    pub found: Receiver<EnvPlan>,
    /// Readable when there is something to be received.
    pub wake: PipeReader,
}

impl Changes {
    /// The next one, if there is one: the latest, should there be more.
    pub fn next(&self) -> Option<EnvPlan> {
        let found = self.found.try_iter().last()?;
        // As many as fit; what is left wakes us once more for nothing.
        let _: io::Result<usize> = (&self.wake).read(&mut [0; 64]);
        Some(found)
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Writes its files, and makes it ready to be started with.
    pub fn deliver(&mut self, environment: &mut EnvPlan) -> Result<ExecPlan, Error> {
        let command = &mut self.command;
        let deadline = Deadline::new(Instant::now(), PATIENCE);
        command.files.prepare_again(&command.rules, &command.identity, deadline)?;
        command.files.deliver(environment);
        environment.check(&command.words, command.limits);
        if !environment.problems.is_empty() {
            return Err(environment.problems.swap_remove(0));
        }
        if command.github_mask {
            report::github_masks(&github_mask::lines(environment))?;
        }
        let (program, identity) = (command.program.clone(), Some(command.identity.clone()));
        ExecPlan::new(program, command.words.clone(), &environment.variables, identity)
    }

    pub fn delivered(&mut self) {
        self.command.files.close_descriptors();
    }
}
