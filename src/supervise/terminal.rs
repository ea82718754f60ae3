//! The controlling terminal, and whose process group is in its foreground.
//!
//! If we are a shell's foreground job of our own, the command's group takes our place from its first
//! instruction on: Ctrl-C then reaches it alone, and it once. In a pipeline or a script, others of our
//! group use the terminal too, so it is given away only when the command asks for it, which the kernel
//! tells by stopping it.

use std::fs::{File, OpenOptions};
use std::io::IsTerminal;
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::sys::signal::killpg;
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{Pid, getpgrp, getpid, tcgetpgrp, tcsetpgrp};

use super::machine;
use crate::sys;

/// The terminal of this session.
pub struct Terminal {
    device: File,
    group: Pid,
    /// As we found it.
    settings: Termios,
}

impl Terminal {
    pub fn open() -> Option<Self> {
        let options = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).clone();
        let device = options.open("/dev/tty").ok()?;
        tcgetpgrp(&device).ok()?;
        let settings = tcgetattr(&device).ok()?;
        Some(Self { device, group: getpgrp(), settings })
    }

    /// Whether nobody else here can want it: we lead our group, and are between no pipes.
    pub fn is_for_us_alone(&self) -> bool {
        self.group == getpid()
            && [0, 1].into_iter().all(|fd| sys::inherited(fd).is_some_and(|fd| fd.is_terminal()))
            && self.is_ours()
    }

    pub fn holder(&self, command: i32) -> machine::Terminal {
        match tcgetpgrp(&self.device) {
            Ok(group) if group == self.group => machine::Terminal::Ours,
            Ok(group) if group.as_raw() == command => machine::Terminal::Commands,
            _ => machine::Terminal::Others,
        }
    }

    fn is_ours(&self) -> bool {
        tcgetpgrp(&self.device) == Ok(self.group)
    }

    /// If it is ours. Every signal is blocked here, so that SIGTTOU stops nobody.
    pub fn give(&self, command: i32) {
        if self.is_ours() {
            let _ = tcsetpgrp(&self.device, Pid::from_raw(command));
        }
    }

    /// For the next command: one that was killed could not put its settings back, and no shell sees that
    /// it has ended. Not if the terminal is with others, whose settings they may be.
    pub fn restore(&self, command: i32) {
        if self.holder(command) == machine::Terminal::Commands {
            let _ = tcsetattr(&self.device, SetArg::TCSANOW, &self.settings);
        }
    }

    /// From a command that has ended; a shell that took it meanwhile keeps it. A script that goes on
    /// after us could not read from it otherwise.
    pub fn take_back(&self, command: i32) {
        let Ok(group) = tcgetpgrp(&self.device) else { return };
        if group.as_raw() == command || killpg(group, None) == Err(Errno::ESRCH) {
            let _ = tcsetpgrp(&self.device, self.group);
        }
    }
}
