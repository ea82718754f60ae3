//! Changes of secrets, as the watching thread finds them, and what starts the command with them.

use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::inbox::Inbox;
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
    command: Command,
    found: Inbox<EnvPlan>,
}

impl Changes {
    pub fn new(command: Command, found: Inbox<EnvPlan>) -> Self {
        Self { command, found }
    }

    pub fn next(&mut self) -> Option<EnvPlan> {
        self.found.next()
    }

    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.found.as_fd()
    }

    /// Replaces the files that have a path. A command that runs has its descriptors already, and they are
    /// sealed.
    pub fn replace_files(&mut self, environment: &mut EnvPlan) -> Result<(), Error> {
        let rules = self.command.rules.iter().filter(|rule| rule.path.is_some()).cloned();
        self.write(&rules.collect::<Vec<_>>(), environment)
    }

    /// Writes its files, and makes it ready to be started with.
    pub fn deliver(&mut self, environment: &mut EnvPlan) -> Result<ExecPlan, Error> {
        let rules = self.command.rules.clone();
        self.write(&rules, environment)?;
        let command = &self.command;
        environment.check(&command.words, command.limits);
        no_problems(environment)?;
        let (program, identity) = (command.program.clone(), Some(command.identity.clone()));
        ExecPlan::new(program, command.words.clone(), &environment.variables, identity)
    }

    fn write(&mut self, rules: &[FileRule], environment: &mut EnvPlan) -> Result<(), Error> {
        let Command { files, identity, .. } = &mut self.command;
        files.prepare_again(rules, identity, Deadline::new(Instant::now(), PATIENCE))?;
        files.deliver(environment);
        no_problems(environment)?;
        if self.command.github_mask {
            report::github_masks(&github_mask::lines(environment))?;
        }
        Ok(())
    }

    pub fn delivered(&mut self) {
        self.command.files.close_descriptors();
    }
}

fn no_problems(environment: &mut EnvPlan) -> Result<(), Error> {
    if environment.problems.is_empty() { Ok(()) } else { Err(environment.problems.swap_remove(0)) }
}
