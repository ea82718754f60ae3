//! What one thread sends to another that waits by poll(2).

use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{self, Receiver, Sender};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

pub struct Inbox<T> {
    found: Receiver<T>,
    /// Readable when there is something to be received. None once nobody sends any more.
    wake: Option<PipeReader>,
}

pub struct Outbox<T> {
    found: Sender<T>,
    wake: PipeWriter,
}

pub fn boxes<T>() -> io::Result<(Outbox<T>, Inbox<T>)> {
    let (sender, receiver) = mpsc::channel();
    let (wake, waker) = io::pipe()?;
    // Something can be here before the byte that tells of it, which must not make the reader wait.
    fcntl(&wake, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((Outbox { found: sender, wake: waker }, Inbox { found: receiver, wake: Some(wake) }))
}

impl<T> Outbox<T> {
    /// False if nobody receives any more.
    pub fn send(&mut self, found: T) -> bool {
        self.found.send(found).is_ok() && self.wake.write_all(&[1]).is_ok()
    }
}

impl<T> Inbox<T> {
    /// The next one, if there is one: the latest, should there be more.
    pub fn next(&mut self) -> Option<T> {
        // The bytes first: one that nobody reads would wake us for ever. What comes between the two wakes us
        // once more.
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

    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.wake.as_ref().map(AsFd::as_fd)
    }
}

#[cfg(test)]
mod tests {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    fn wakes<T>(inbox: &Inbox<T>) -> bool {
        let mut ready: Vec<_> =
            inbox.as_fd().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).into_iter().collect();
        poll(&mut ready, PollTimeout::ZERO).unwrap() > 0
    }

    #[test]
    fn the_latest_is_received_and_nothing_wakes_for_ever() {
        let (mut outbox, mut inbox) = boxes().unwrap();
        assert_eq!((wakes(&inbox), inbox.next()), (false, None));
        // One more is here than bytes that tell of them.
        assert!(outbox.send(1) && outbox.found.send(2).is_ok());
        assert_eq!((wakes(&inbox), inbox.next(), wakes(&inbox)), (true, Some(2), false));
        outbox.wake.write_all(&[1]).unwrap();
        assert_eq!((wakes(&inbox), inbox.next(), wakes(&inbox)), (true, None, false));
        // Nothing was told of yet.
        outbox.found.send(3).unwrap();
        assert_eq!(inbox.next(), Some(3));
    }

    #[test]
    fn a_sender_that_is_gone_wakes_once() {
        let (mut outbox, mut inbox) = boxes().unwrap();
        assert!(outbox.send(1));
        drop(outbox);
        assert_eq!(inbox.next(), Some(1));
        assert_eq!((wakes(&inbox), inbox.next(), wakes(&inbox)), (true, None, false));
    }
}
