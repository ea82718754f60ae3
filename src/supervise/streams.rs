//! The command's standard output and error on their way through the masker. What is a terminal stays the
//! command's own: no program behaves there as it would behind a pipe.

use std::io::{self, IsTerminal, PipeReader, PipeWriter};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::mask::Patterns;
use super::mask::pump::pump;
use crate::env::EnvPlan;
use crate::sys;

/// Where the command's output goes, by its descriptor: taken before we let go of ours.
pub struct Outputs(Vec<(RawFd, Arc<OwnedFd>)>);

impl Outputs {
    pub fn take() -> io::Result<Self> {
        let masked = [1, 2].into_iter().filter_map(|fd| {
            let output = sys::inherited(fd).filter(|_| !sys::was_closed(fd))?;
            // Out of the way of what the command inherits by number.
            (!output.is_terminal()).then(|| Ok((fd, Arc::new(sys::duplicate_above(output, 3)?))))
        });
        masked.collect::<io::Result<_>>().map(Self)
    }

    /// New pipes for one start, and what is replaced in them.
    pub fn pipes(&self, environment: &EnvPlan) -> io::Result<Pipes> {
        let patterns = Arc::new(Patterns::new(environment.secrets().map(|(_, value)| value)));
        let pipe = |(fd, output): &(RawFd, Arc<OwnedFd>)| {
            let (reader, writer) = io::pipe()?;
            Ok(Pipe { fd: *fd, output: output.clone(), reader, writer })
        };
        Ok(Pipes { pipes: self.0.iter().map(pipe).collect::<io::Result<_>>()?, patterns })
    }
}

/// Pipes that nobody reads yet.
pub struct Pipes {
    pipes: Vec<Pipe>,
    patterns: Arc<Patterns>,
}

struct Pipe {
    fd: RawFd,
    output: Arc<OwnedFd>,
    reader: PipeReader,
    writer: PipeWriter,
}

impl Pipes {
    /// What the command gets in the place of which descriptor.
    pub fn streams(&self) -> Vec<(BorrowedFd<'_>, RawFd)> {
        self.pipes.iter().map(|pipe| (pipe.writer.as_fd(), pipe.fd)).collect()
    }

    /// One thread for each.
    pub fn pump(self) -> io::Result<Pumps> {
        let (end, ending) = io::pipe()?;
        let (done, working) = io::pipe()?;
        let end = Arc::new(end);
        for Pipe { output, reader, writer, .. } in self.pipes {
            // The command's alone.
            drop(writer);
            let (end, working, patterns) = (end.clone(), working.try_clone()?, self.patterns.clone());
            thread::Builder::new().name("mask".into()).spawn(move || {
                let _working = working;
                // Whoever cannot be written to is the command's to notice: its next write fails.
                let _ = pump(reader.into(), output.as_fd(), end.as_fd(), &patterns);
            })?;
        }
        Ok(Pumps { ending: Some(ending), done })
    }
}

/// Threads at work.
pub struct Pumps {
    ending: Option<PipeWriter>,
    done: PipeReader,
}

impl Pumps {
    /// What is in the pipes now is to be moved, and nothing more waited for.
    pub fn end(&mut self) {
        self.ending = None;
    }

    pub fn are_done(&self) -> bool {
        let mut done = [PollFd::new(self.done.as_fd(), PollFlags::POLLIN)];
        poll(&mut done, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// Readable once all is moved.
    pub fn done(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }
}

/// For `sys::spawn`.
pub fn numbers(streams: &[(BorrowedFd<'_>, RawFd)]) -> Vec<(RawFd, RawFd)> {
    streams.iter().map(|(from, to)| (from.as_raw_fd(), *to)).collect()
}
