//! Changes of secrets, as the watching thread finds them, and what starts the command with them.

use std::ffi::OsString;
use std::io::{self, ErrorKind, PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

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
    found: Receiver<EnvPlan>,
    /// Readable when there is something to be received.
    wake: Option<PipeReader>,
}

impl Changes {
    /// The pipe must not make us wait: a change can be here before the byte that tells of it.
    pub fn new(command: Command, found: Receiver<EnvPlan>, wake: PipeReader) -> io::Result<Self> {
        let flags = OFlag::from_bits_retain(fcntl(&wake, FcntlArg::F_GETFL)?);
        fcntl(&wake, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Self { command, found, wake: Some(wake) })
    }

    /// The next one, if there is one: the latest, should there be more.
    pub fn next(&mut self) -> Option<EnvPlan> {
        // The bytes first: what comes between the two wakes us once more, and one that nobody reads would
        // wake us for ever.
        let read = self.wake.as_mut().map(|wake| wake.read(&mut [0; 64]));
        let ended = match read {
            Some(Ok(length)) => length == 0,
            Some(Err(error)) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
            None => false,
        };
        if ended {
            self.wake = None;
        }
        self.found.try_iter().last()
    }

    /// None if nobody looks for changes any more.
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.wake.as_ref().map(AsFd::as_fd)
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
