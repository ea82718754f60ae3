//! From the pipe that the command writes to, masked, to where it would have written without us.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{read, write};

use super::{Masker, Patterns};

/// How long the writer may be silent before the beginning of a pattern is shown. Longer than a scheduler
/// keeps a writer away between two parts of a line, short for a person who waits for a prompt.
pub const PAUSE: Duration = Duration::from_millis(250);

/// Bytes read at once. Also what the pipe is asked to hold: each change of process moves more.
const BUFFER: usize = 256 * 1024;

/// Moves everything, until the last writer has closed the pipe. Blocks: each stream has a thread.
///
/// When `end` becomes readable or hangs up, the command has ended: what is in the pipe by then is moved, and
/// processes that it left behind are not waited for.
///
/// A reader that goes away is none of our business but the command's: the pipe is closed at once, so that
/// the next write of the command ends as it would have without us (SIGPIPE). SIGPIPE must be ignored here,
/// as Rust's runtime leaves it.
pub fn pump(
    input: OwnedFd,
    output: BorrowedFd<'_>,
    end: BorrowedFd<'_>,
    patterns: &Patterns,
) -> io::Result<()> {
    // This end of the pipe is ours alone, so nobody else sees the flag.
    fcntl(&input, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    // Refused beyond the user's share of pipe memory, which is no harm.
    let _ = fcntl(&input, FcntlArg::F_SETPIPE_SZ(BUFFER as i32));
    let mut stream = Stream { input, output, masker: Masker::new(patterns), masked: Vec::new() };
    match stream.run(end) {
        Err(cause) if cause == Errno::EPIPE => Ok(()),
        result => result.map_err(io::Error::from),
    }
}

struct Stream<'a> {
    input: OwnedFd,
    output: BorrowedFd<'a>,
    masker: Masker<'a>,
    /// What can be written; empty between two steps.
    masked: Vec<u8>,
}

enum Event {
    Input,
    Pause,
    /// The command has ended.
    End,
}

impl Stream<'_> {
    fn run(&mut self, end: BorrowedFd<'_>) -> nix::Result<()> {
        let mut buffer = vec![0; BUFFER];
        // After a pause only input brings news.
        let mut paused = false;
        let mut left = usize::MAX;
        while left > 0 {
            match read(&self.input, &mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    left = left.saturating_sub(count);
                    paused = false;
                    self.masker.feed(&buffer[..count], &mut self.masked);
                    self.write()?;
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if left < usize::MAX => break,
                Err(Errno::EAGAIN) => match self.wait(end, self.masker.holds() && !paused)? {
                    Event::Input => {}
                    Event::Pause => {
                        paused = true;
                        self.masker.pause(&mut self.masked);
                        self.write()?;
                    }
                    // A pipe holds no more than this, whoever goes on writing.
                    Event::End => left = self.capacity(),
                },
                Err(cause) => return Err(cause),
            }
            // A writer that never pauses must not hide the command's end.
            if left == usize::MAX && self.has_ended(end)? {
                left = self.capacity();
            }
        }
        self.masker.finish(&mut self.masked);
        self.write()
    }

    fn capacity(&self) -> usize {
        fcntl(&self.input, FcntlArg::F_GETPIPE_SZ)
            .ok()
            .and_then(|size| size.try_into().ok())
            .unwrap_or(BUFFER)
    }

    fn has_ended(&self, end: BorrowedFd<'_>) -> nix::Result<bool> {
        let mut watched = [PollFd::new(end, PollFlags::POLLIN)];
        match poll(&mut watched, PollTimeout::ZERO) {
            Err(Errno::EINTR) => Ok(false),
            result => Ok(result? > 0),
        }
    }

    fn wait(&self, end: BorrowedFd<'_>, briefly: bool) -> nix::Result<Event> {
        let timeout = match briefly {
            true => PollTimeout::try_from(PAUSE).unwrap_or(PollTimeout::MAX),
            false => PollTimeout::NONE,
        };
        let mut watched = [
            PollFd::new(self.input.as_fd(), PollFlags::POLLIN),
            PollFd::new(end, PollFlags::POLLIN),
            // Errors only: a reader that goes away is noticed before there is anything to write.
            PollFd::new(self.output, PollFlags::empty()),
        ];
        match poll(&mut watched, timeout) {
            Ok(0) => return Ok(Event::Pause),
            Ok(_) => {}
            // The time starts anew, which is no harm.
            Err(Errno::EINTR) => return Ok(Event::Input),
            Err(cause) => return Err(cause),
        }
        let happened = |index: usize| watched[index].revents().is_some_and(|events| !events.is_empty());
        if happened(0) {
            Ok(Event::Input)
        } else if happened(1) {
            Ok(Event::End)
        } else {
            Err(Errno::EPIPE)
        }
    }

    /// Everything, however slow the reader is. The output may be non-blocking: it is shared with others, and
    /// its flags are not ours to change.
    fn write(&mut self) -> nix::Result<()> {
        let mut rest = &self.masked[..];
        while !rest.is_empty() {
            match write(self.output, rest) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    match poll(&mut [PollFd::new(self.output, PollFlags::POLLOUT)], PollTimeout::NONE) {
                        Ok(_) | Err(Errno::EINTR) => {}
                        Err(cause) => return Err(cause),
                    }
                }
                Err(cause) => return Err(cause),
            }
        }
        self.masked.clear();
        Ok(())
    }
}
