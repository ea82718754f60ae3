//! The loop: waits for events, asks the machine, and does what it says. It decides nothing.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::changes::Changes;
use super::machine::{self, Action, Event, Machine, Rules};
use super::streams::{self, Outputs, Pipes, Pumps};
use super::terminal::Terminal;
use crate::env::EnvPlan;
use crate::error::Error;
use crate::exec::ExecPlan;
use crate::exit::Exit;
use crate::plan::{OnChange, Supervision};
use crate::report::{Phase, Report};
use crate::sys::{self, Change, Received};

pub struct Supervisor<'a> {
    machine: Machine,
    signals: OwnedFd,
    terminal: Option<Terminal>,
    signal_group: bool,
    report: &'a Report,
    command: i32,
    /// How it ended, while what it wrote is still on its way.
    ended: Option<(Change, machine::Terminal)>,
    /// Somebody has asked us to end. Then nobody waits for long for whoever does not read that.
    asked_to_end: bool,
    patience: Duration,
    give_up: Option<Instant>,
    outputs: Option<Outputs>,
    pumps: Option<Pumps>,
    changes: Option<Changes>,
    /// What the command is to be started with after the next change.
    next: Option<EnvPlan>,
    end: Option<Result<Exit, Error>>,
}

impl<'a> Supervisor<'a> {
    /// From here on no signal is lost: what arrives before the command is there, it gets then.
    pub fn new(settings: Supervision, report: &'a Report) -> Result<Self, Error> {
        let signals = sys::signals_as_data().map_err(|cause| Error::Spawn { cause })?;
        sys::adopt_orphans();
        let rules = Rules {
            kill_after: Some(settings.kill_after).filter(|after| !after.is_zero()),
            term_ignored: sys::was_ignored(libc::SIGTERM),
            int_ignored: sys::was_ignored(libc::SIGINT),
            on_change: settings.watch.map(|watch| watch.on_change).unwrap_or_default(),
        };
        Ok(Self {
            machine: Machine::new(rules),
            signals,
            terminal: Terminal::open(),
            signal_group: settings.signal_group,
            report,
            command: 0,
            ended: None,
            asked_to_end: false,
            patience: settings.kill_after,
            give_up: None,
            outputs: settings.mask.then(Outputs::take).transpose().map_err(|cause| Error::Spawn { cause })?,
            pumps: None,
            changes: None,
            next: None,
            end: None,
        })
    }

    pub fn start(&mut self, exec: &ExecPlan, environment: &EnvPlan) -> Result<(), Error> {
        match self.machine.on(Event::Begin, Instant::now()) {
            Some(Action::Start) => self.spawn(exec, environment),
            _ => Ok(()),
        }
    }

    fn spawn(&mut self, exec: &ExecPlan, environment: &EnvPlan) -> Result<(), Error> {
        let fault = |cause| Error::Spawn { cause };
        let pipes =
            self.outputs.as_ref().map(|outputs| outputs.pipes(environment)).transpose().map_err(fault)?;
        let streams = pipes.as_ref().map(Pipes::streams).unwrap_or_default();
        let mut child = 0;
        let started = exec.spawn(&streams::numbers(&streams), |pid| {
            child = pid;
            if let Some(terminal) = self.terminal.as_ref().filter(|terminal| terminal.is_for_us_alone()) {
                terminal.give(pid);
            }
        });
        self.command = child;
        if started.is_err() {
            self.command_is_gone();
        }
        self.report.phase(Phase::Spawn { pid: started? });
        drop(streams);
        self.pumps = pipes.map(Pipes::pump).transpose().map_err(fault)?;
        Ok(())
    }

    /// With `changes`, the command gets those too.
    pub fn until_end(mut self, changes: Option<Changes>) -> Result<Exit, Error> {
        self.changes = changes;
        loop {
            while let Some(Received { signal, sender }) = sys::next_signal(&self.signals) {
                if signal == libc::SIGCHLD {
                    continue;
                }
                // What we did ourselves: a write to a status descriptor that nobody reads any more.
                if sender != std::process::id() {
                    self.tell(Event::Signal(signal));
                    self.asked_to_end |= [libc::SIGTERM, libc::SIGINT].contains(&signal);
                    self.hurry();
                }
            }
            while let Some((pid, change)) = sys::next_change() {
                // Others are orphans that were left to us. They are gone now, and that is all.
                if pid == self.command {
                    let holder = self.terminal.as_ref().map(|terminal| terminal.holder(pid));
                    self.command_changed(change, holder.unwrap_or(machine::Terminal::Absent));
                }
            }
            let given_up = self.give_up.is_some_and(|at| at <= Instant::now());
            if (given_up || self.pumps.as_ref().is_none_or(Pumps::are_done))
                && let Some((change, holder)) = self.ended.take()
            {
                (self.pumps, self.give_up) = (None, None);
                self.tell(Event::Command(change, holder));
                if let Some(end) = self.end {
                    return end;
                }
            }
            while let Some(environment) = self.changes.as_mut().and_then(Changes::next) {
                self.changed(environment);
            }
            self.tell(Event::Due);
            self.wait();
        }
    }

    fn command_changed(&mut self, change: Change, holder: machine::Terminal) {
        if let Change::Stopped(_) = change {
            self.tell(Event::Command(change, holder));
            return;
        }
        self.ended = Some((change, holder));
        self.pumps.iter_mut().for_each(Pumps::end);
        self.hurry();
    }

    fn hurry(&mut self) {
        if self.asked_to_end && self.ended.is_some() && self.give_up.is_none() {
            self.give_up = Instant::now().checked_add(self.patience);
        }
    }

    fn wait(&self) {
        let left = self
            .machine
            .due()
            .into_iter()
            .chain(self.give_up)
            .min()
            .map(|at| at.saturating_duration_since(Instant::now()));
        // Not before the moment has come, or the loop would turn until then.
        let millis = left.map(|left| i32::try_from(left.as_millis() + 1).unwrap_or(i32::MAX));
        let timeout = millis.and_then(|millis| PollTimeout::try_from(millis).ok());
        let done = self.pumps.as_ref().filter(|_| self.ended.is_some()).map(Pumps::done);
        let descriptors = [Some(self.signals.as_fd()), self.changes.as_ref().and_then(Changes::as_fd), done];
        let mut ready: Vec<_> =
            descriptors.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let _ = poll(&mut ready, timeout.unwrap_or(PollTimeout::NONE));
    }

    fn changed(&mut self, mut environment: EnvPlan) {
        self.report.phase(Phase::Changed);
        match self.machine.on_change() {
            OnChange::Restart => self.next = Some(environment),
            OnChange::Exit => {}
            OnChange::Signal(_) => {
                // Files with a path can change under a command that runs; its variables cannot.
                let delivered = self.changes.as_mut().map(|changes| changes.replace_files(&mut environment));
                if let Some(Err(error)) = delivered {
                    self.report.warning(&format!("secrets have changed, and their files have not: {error}"));
                }
            }
        }
        self.tell(Event::Changed);
        // It ends, and does not come back.
        self.next = self.next.take().filter(|_| self.machine.starts_again());
    }

    fn start_again(&mut self) -> Result<(), Error> {
        let (Some(mut environment), Some(changes)) = (self.next.take(), &mut self.changes) else {
            return Err(Error::Internal("there is nothing to start the command with".into()));
        };
        let exec = changes.deliver(&mut environment)?;
        self.spawn(&exec, &environment)?;
        if let Some(changes) = &mut self.changes {
            changes.delivered();
        }
        Ok(())
    }

    fn tell(&mut self, event: Event) {
        match self.machine.on(event, Instant::now()) {
            None => {}
            Some(Action::Start) => {
                if let Some(terminal) = &self.terminal {
                    terminal.restore(self.command);
                }
                self.command_is_gone();
                if let Err(error) = self.start_again() {
                    self.end = Some(Err(error));
                }
            }
            Some(Action::Forward(signal)) => self.send(signal),
            Some(Action::Kill) => self.send(libc::SIGKILL),
            Some(Action::Stop { signal, everyone }) if !sys::stop(signal, everyone) => {
                self.tell(Event::NotStopped);
            }
            Some(Action::Stop { .. }) => {}
            Some(Action::Resume { foreground }) => {
                if let Some(terminal) = self.terminal.as_ref().filter(|_| foreground) {
                    terminal.give(self.command);
                }
                // All of it has stopped.
                let _ = sys::send(-self.command, libc::SIGCONT);
            }
            Some(Action::End(exit)) => {
                self.command_is_gone();
                self.report.phase(Phase::End(exit));
                self.end = Some(Ok(exit));
            }
        }
    }

    /// To the command. Once it is reaped its number may be somebody else's.
    fn send(&self, signal: i32) {
        if self.ended.is_some() {
            return;
        }
        if !self.signal_group || sys::send(-self.command, signal).is_err() {
            let _ = sys::send(self.command, signal);
        }
    }

    fn command_is_gone(&self) {
        if let Some(terminal) = &self.terminal {
            terminal.take_back(self.command);
        }
    }
}
