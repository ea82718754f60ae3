//! The life of a supervised command as a pure state machine: events in, actions out. It opens nothing and
//! reads no clock; the loop tells it the time and does what it says.
//!
//! A change of secrets ends the command and starts it anew, ends both of us, or is told by a signal.

use std::time::{Duration, Instant};

use crate::exit::Exit;
use crate::plan::OnChange;
use crate::sys::Change;

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Everything is prepared.
    Begin,
    /// A signal was sent to us.
    Signal(i32),
    /// The command ended or stopped; who has the terminal at that moment.
    Command(Change, Terminal),
    /// What this run injects has changed.
    Changed,
    /// The kernel did not stop us when we wanted to be: nobody could continue us.
    NotStopped,
    /// The time that [`Machine::due`] named has come.
    Due,
}

/// Which process group is in the terminal's foreground.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// There is none.
    Absent,
    Ours,
    Commands,
    Others,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Start,
    /// Send the command this signal.
    Forward(i32),
    Kill,
    /// Stop ourselves, and with `everyone` our whole process group, as the command has stopped.
    Stop {
        signal: i32,
        everyone: bool,
    },
    /// Let the command go on, and in our place in the foreground if it had or wants that.
    Resume {
        foreground: bool,
    },
    End(Exit),
}

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Between the signal that asks the command to end and the one that makes it end; never, if there is none.
    pub kill_after: Option<Duration>,
    /// SIGTERM and SIGINT were inherited as ignored: they are no request to end.
    pub term_ignored: bool,
    pub int_ignored: bool,
    pub on_change: OnChange,
}

pub struct Machine {
    rules: Rules,
    state: State,
    kill_at: Option<Instant>,
    interrupted_at: Option<Instant>,
    /// How the command stopped, and we with it.
    stopped: Option<Stopped>,
    /// Somebody else than us wants the command to end.
    ending: bool,
    then: Then,
}

/// What follows the command's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// Ours, in the same way.
    End,
    /// Its start.
    Again,
    /// Ours, for somebody to start us again.
    Leave,
}

#[derive(Clone, Copy, Debug)]
struct Stopped {
    signal: i32,
    had_terminal: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Running,
    /// SIGKILL was sent, after which nothing else can matter to it.
    Killed,
    Ended,
}

impl Machine {
    pub const fn new(rules: Rules) -> Self {
        Self {
            rules,
            state: State::Idle,
            kill_at: None,
            interrupted_at: None,
            stopped: None,
            ending: false,
            then: Then::End,
        }
    }

    /// When [`Event::Due`] is wanted.
    pub const fn due(&self) -> Option<Instant> {
        self.kill_at
    }

    pub const fn on_change(&self) -> OnChange {
        self.rules.on_change
    }

    /// Whether the command is to be started with what it is given next.
    pub fn starts_again(&self) -> bool {
        self.then == Then::Again
    }

    pub fn on(&mut self, event: Event, now: Instant) -> Option<Action> {
        match (self.state, event) {
            (State::Idle, Event::Begin) => {
                self.state = State::Running;
                Some(Action::Start)
            }
            (State::Running | State::Killed, Event::Command(Change::Exited(code), _)) => {
                self.end(Exit::Command(code))
            }
            (State::Running | State::Killed, Event::Command(Change::Killed(signal), _)) => {
                self.end(Exit::Killed(signal))
            }
            (State::Running, Event::Command(Change::Stopped(signal), terminal)) => {
                self.command_stopped(signal, terminal)
            }
            (State::Running, Event::Signal(signal)) => self.signal(signal, now),
            (State::Running, Event::Changed) => self.changed(now),
            (State::Running, Event::NotStopped) => {
                // It would not have stopped without us either. Whoever is kept from the terminal would only
                // stop again.
                let stopped = self.stopped.take().filter(|stopped| stopped.signal == libc::SIGTSTP)?;
                Some(Action::Resume { foreground: stopped.had_terminal })
            }
            (State::Running, Event::Due) if self.kill_at.is_some_and(|at| at <= now) => self.kill(),
            _ => None,
        }
    }

    fn changed(&mut self, now: Instant) -> Option<Action> {
        let then = match self.rules.on_change {
            OnChange::Signal(signal) => return Some(Action::Forward(signal)),
            // It is about to end already, and not for us to come back.
            _ if self.ending || self.then != Then::End => return None,
            OnChange::Restart => Then::Again,
            OnChange::Exit => Then::Leave,
        };
        self.then = then;
        self.kill_at = self.rules.kill_after.and_then(|after| now.checked_add(after));
        Some(Action::Forward(libc::SIGTERM))
    }

    fn signal(&mut self, signal: i32, now: Instant) -> Option<Action> {
        let term = signal == libc::SIGTERM && !self.rules.term_ignored;
        let int = signal == libc::SIGINT && !self.rules.int_ignored;
        // Whoever asks for it gets the command's own end.
        if (term || int) && self.then != Then::End {
            self.then = Then::End;
        }
        self.ending |= term;
        if signal == libc::SIGCONT
            && let Some(stopped) = self.stopped.take()
        {
            return Some(Action::Resume { foreground: stopped.had_terminal });
        }
        let Some(kill_after) = self.rules.kill_after else { return Some(Action::Forward(signal)) };
        if term && self.kill_at.is_none() {
            // Beyond the clock's range is never.
            self.kill_at = now.checked_add(kill_after);
        }
        if int {
            let again = self.interrupted_at.is_some_and(|at| now.saturating_duration_since(at) <= kill_after);
            self.interrupted_at = Some(now);
            if again {
                return self.kill();
            }
        }
        Some(Action::Forward(signal))
    }

    /// Job control. A shell sees only our own process group, so what stops the command has to stop us.
    fn command_stopped(&mut self, signal: i32, terminal: Terminal) -> Option<Action> {
        let had_terminal = terminal == Terminal::Commands;
        let ours = match (signal, terminal) {
            (_, Terminal::Absent) => return None,
            // It asks for the terminal, and the terminal is ours to give.
            (libc::SIGTTIN | libc::SIGTTOU, Terminal::Ours) => {
                return Some(Action::Resume { foreground: true });
            }
            (libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU, _) => signal,
            // `suspend` of a shell.
            (libc::SIGSTOP, Terminal::Commands) => libc::SIGTSTP,
            _ => return None,
        };
        self.stopped = Some(Stopped { signal, had_terminal });
        // Ctrl-Z reached the foreground group alone; in exec mode that would have been our whole group.
        Some(Action::Stop { signal: ours, everyone: had_terminal })
    }

    fn kill(&mut self) -> Option<Action> {
        self.state = State::Killed;
        self.kill_at = None;
        Some(Action::Kill)
    }

    fn end(&mut self, exit: Exit) -> Option<Action> {
        let exit = match self.then {
            Then::End => exit,
            Then::Leave => Exit::Unavailable,
            Then::Again => {
                *self = Self { state: State::Running, ..Self::new(self.rules) };
                return Some(Action::Start);
            }
        };
        self.state = State::Ended;
        self.kill_at = None;
        Some(Action::End(exit))
    }
}

#[cfg(test)]
mod tests;
