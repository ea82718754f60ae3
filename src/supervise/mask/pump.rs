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
        Err(Errno::EPIPE) => Ok(()),
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
        // Once the command has ended: how much there can be of what it wrote.
        let mut left: Option<usize> = None;
        while left != Some(0) {
            match read(&self.input, &mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    left = left.map(|left| left.saturating_sub(count));
                    paused = false;
                    self.masker.feed(&buffer[..count], &mut self.masked);
                    self.write()?;
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if left.is_some() => break,
                Err(Errno::EAGAIN) => match self.wait(end, self.masker.holds() && !paused)? {
                    Event::Input => {}
                    Event::Pause => {
                        paused = true;
                        self.masker.pause(&mut self.masked);
                        self.write()?;
                    }
                    // A pipe holds no more than this, whoever goes on writing.
                    Event::End => left = Some(self.capacity()),
                },
                Err(cause) => return Err(cause),
            }
            // A writer that never pauses must not hide the command's end.
            if left.is_none() && self.has_ended(end)? {
                left = Some(self.capacity());
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

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, PipeWriter, Read, Write};
    use std::sync::mpsc::{Receiver, channel};
    use std::thread;
    use std::time::Instant;

    use zeroize::Zeroizing;

    use super::*;
    use crate::secret::SecretValue;

    /// A pump of one value at work, with both ends of what stands around it.
    struct Pumped {
        /// Where the command writes.
        command: Option<PipeWriter>,
        /// Where our reader reads.
        reader: Option<PipeReader>,
        /// Dropped when the command has ended.
        alive: Option<PipeWriter>,
        result: Receiver<io::Result<()>>,
    }

    impl Pumped {
        fn start(value: &str, prepare: impl FnOnce(&PipeWriter)) -> Self {
            let (input, command) = io::pipe().unwrap();
            let (reader, output) = io::pipe().unwrap();
            let (end, alive) = io::pipe().unwrap();
            prepare(&output);
            let value = SecretValue::new(Zeroizing::new(value.into()));
            let (done, result) = channel();
            thread::spawn(move || {
                let patterns = Patterns::new([&value]);
                let result = pump(input.into(), output.as_fd(), end.as_fd(), &patterns);
                drop(output);
                done.send(result)
            });
            Self { command: Some(command), reader: Some(reader), alive: Some(alive), result }
        }

        fn write(&mut self, text: &[u8]) {
            self.command.as_mut().unwrap().write_all(text).unwrap();
        }

        fn read(&mut self, length: usize) -> String {
            let reader = self.reader.as_mut().unwrap();
            let mut text = Vec::new();
            while text.len() < length {
                let ready = poll(&mut [PollFd::new(reader.as_fd(), PollFlags::POLLIN)], 60_000_u16);
                assert_eq!(ready, Ok(1), "it comes: {}", String::from_utf8_lossy(&text));
                let mut piece = vec![0; length - text.len()];
                let count = reader.read(&mut piece).unwrap();
                assert!(count > 0, "it is all there: {}", String::from_utf8_lossy(&text));
                text.extend_from_slice(&piece[..count]);
            }
            String::from_utf8(text).unwrap()
        }

        /// What is left, once the pump has ended by itself.
        fn rest(&mut self) -> String {
            self.result.recv_timeout(Duration::from_secs(60)).expect("the pump ends").unwrap();
            let mut text = String::new();
            self.reader.as_mut().unwrap().read_to_string(&mut text).unwrap();
            text
        }
    }

    #[test]
    fn what_is_no_value_passes_at_once_and_a_prompt_after_a_pause() {
        let mut pumped = Pumped::start("secret", |_| ());
        pumped.write(b"10 %\r");
        assert_eq!(pumped.read(5), "10 %\r");
        let began = Instant::now();
        pumped.write(b"? se");
        assert_eq!(pumped.read(4), "? se");
        assert!(began.elapsed() >= PAUSE, "it could have become a value");
        pumped.write(b"cret secret");
        assert_eq!(pumped.read(7), "*** ***");
        drop(pumped.command.take());
        assert_eq!(pumped.rest(), "");
    }

    #[test]
    fn its_end_is_that_of_the_last_writer() {
        let mut pumped = Pumped::start("secret", |_| ());
        pumped.write(b"a secret and the beginning of a sec");
        drop(pumped.command.take());
        assert_eq!(pumped.rest(), "a *** and the beginning of a sec");
    }

    #[test]
    fn after_the_command_nobody_who_holds_the_pipe_is_waited_for() {
        let mut pumped = Pumped::start("secret", |_| ());
        pumped.write(b"a secret, its last w");
        assert_eq!(pumped.read(16), "a ***, its last ");
        pumped.write(b"ords secr");
        drop(pumped.alive.take());
        assert_eq!(pumped.rest(), "words secr");
        assert!(pumped.command.take().unwrap().write(b"x").is_err(), "the pipe is closed");
    }

    #[test]
    fn a_writer_that_never_pauses_does_not_keep_it() {
        let mut pumped = Pumped::start("secret", |_| ());
        let mut command = pumped.command.take().unwrap();
        fcntl(&command, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let mut moved = 0;
        while pumped.result.try_recv().is_err() {
            // Full whenever the pump looks: what it reads at once is more than its output holds.
            while command.write(&[b'.'; 4096]).is_ok() {}
            moved += pumped.reader.as_mut().unwrap().read(&mut [0; 4096]).unwrap();
            if moved > BUFFER * 4 {
                pumped.alive = None;
            }
            assert!(moved < BUFFER * 100, "the command has ended long ago");
        }
    }

    #[test]
    fn a_reader_that_goes_away_is_gone_for_the_command_too() {
        let mut pumped = Pumped::start("secret", |_| ());
        drop(pumped.reader.take());
        pumped.result.recv_timeout(Duration::from_secs(60)).expect("the pump ends").unwrap();
        let refused = pumped.command.take().unwrap().write(b"x").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_slow_reader_of_a_non_blocking_output_gets_everything() {
        let mut pumped = Pumped::start("secret", |output| {
            fcntl(output, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
            fcntl(output, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
        });
        let mut command = pumped.command.take().unwrap();
        let writer = thread::spawn(move || command.write_all(&b"a secret.".repeat(100_000)).unwrap());
        assert_eq!(pumped.read(6), "a ***.");
        assert_eq!(pumped.read(6 * 99_999), "a ***.".repeat(99_999));
        writer.join().unwrap();
        assert_eq!(pumped.rest(), "");
    }

    #[test]
    fn an_output_that_fails_is_an_error() {
        let (input, mut command) = io::pipe().unwrap();
        let (end, _alive) = io::pipe().unwrap();
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        command.write_all(b"text").unwrap();
        let result = pump(input.into(), full.as_fd(), end.as_fd(), &Patterns::new([]));
        assert_eq!(result.unwrap_err().raw_os_error(), Some(nix::libc::ENOSPC));
    }
}
