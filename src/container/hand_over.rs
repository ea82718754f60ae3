//! This machine's end of the socket: a process of its own that gives the environment to one peer, the
//! container that was made for it, and ends.
//!
//! Three things stand between the environment and anybody else. The socket is in a directory that only
//! our user may enter, and reaches the container as a mounted file. Who connects is asked for by the
//! kernel's own record, and its control group must name the container of `--cidfile`. And it is given once.

use std::ffi::OsStr;
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{SFlag, fstat};
use zeroize::Zeroizing;

use super::peer;
use super::place::Place;
use crate::error::Error;
use crate::report::Report;
use crate::sys;

/// How long the container may take from when it was made until it has its environment.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often we look whether the engine's client has written the container's id.
const INTERVAL: Duration = Duration::from_millis(50);

/// The helper, before it is one.
pub struct Helper<'a> {
    pub place: Place,
    pub cidfile: PathBuf,
    pub frame: Zeroizing<Vec<u8>>,
    /// Whether the client ends as soon as the container runs.
    pub detached: bool,
    /// Whether stderr stays open after the client's end.
    pub speaks: bool,
    pub report: &'a Report,
}

impl Helper<'_> {
    /// Leaves a process behind that serves the container for as long as this process runs, which is about
    /// to become the engine's client. It is no child of the client, so that it needs no reaping.
    pub fn start(self) -> Result<(), Error> {
        let fault = |cause: io::Error| Error::HandOverPlace { problem: cause.to_string() };
        let client = sys::open_process(std::process::id()).map_err(fault)?;
        let kept = [self.place.listener().as_raw_fd(), client.as_raw_fd()];
        sys::in_background(&kept, self.speaks, || {
            self.serve(client.as_fd());
            self.place.remove();
        })
        .map_err(fault)?;
        // It is the helper's to remove now.
        std::mem::forget(self.place);
        Ok(())
    }

    fn serve(&self, client: BorrowedFd<'_>) {
        // Whoever connects meanwhile waits: nobody can be told from others yet.
        let Some((id, until)) = self.made(client) else { return };
        // A client that makes a container in the background ends before the container asks.
        let end = Until { at: until, client: (!self.detached).then_some(client) };
        let mut refused = false;
        loop {
            match end.wait(self.place.listener(), PollFlags::POLLIN) {
                Ok(()) => {}
                Err(ErrorKind::TimedOut) => {
                    return self.report.warning("the container did not ask for its environment within 30s");
                }
                Err(_) => return,
            }
            let Ok((peer, _)) = self.place.listener.accept() else { continue };
            if peer::is_of_container(&peer, &id) {
                if end.give(peer, &self.frame).is_err() {
                    self.report.warning("the container did not take the whole of its environment");
                }
                return;
            }
            if !refused {
                self.report
                    .warning("a process that is not the container asked for its environment and got nothing");
                refused = true;
            }
        }
    }

    /// The container's id once there is one, and when the offer ends. None if the client ends without.
    fn made(&self, client: BorrowedFd<'_>) -> Option<(String, Instant)> {
        loop {
            // In this order: it may write the id and end in between.
            let ended = sys::has_ended(client);
            if let Some(id) = peer::container_id(&self.cidfile) {
                return Some((id, Instant::now() + PATIENCE));
            }
            if ended {
                return None;
            }
            let interval = PollTimeout::try_from(INTERVAL).unwrap_or(PollTimeout::MAX);
            let _ = poll(&mut [PollFd::new(client, PollFlags::POLLIN)], interval);
        }
    }
}

/// Whether stderr can stay open when the client has ended. Whoever called us may wait for the end of a pipe or
/// of a socket; only the journal, whose socket systemd names as `DEVICE:INODE`, does not.
pub fn nobody_waits_for_stderr(journal: Option<&OsStr>) -> bool {
    let Ok(status) = fstat(std::io::stderr()) else { return false };
    match SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFIFO => false,
        SFlag::S_IFSOCK => {
            journal.is_some_and(|file| *file == *format!("{}:{}", status.st_dev, status.st_ino))
        }
        _ => true,
    }
}

/// What every wait ends by: a moment, and the end of the client where that is a reason to end.
struct Until<'a> {
    at: Instant,
    client: Option<BorrowedFd<'a>>,
}

impl Until<'_> {
    /// Until something can be done with `fd`, or the reason why that is over.
    fn wait(&self, fd: BorrowedFd<'_>, event: PollFlags) -> Result<(), ErrorKind> {
        loop {
            let left = self.at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut);
            }
            let mut watched = vec![PollFd::new(fd, event)];
            watched.extend(self.client.map(|client| PollFd::new(client, PollFlags::POLLIN)));
            // Rounded up: a wait of nothing would turn in circles.
            let timeout = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
            match poll(&mut watched, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return Err(ErrorKind::Other),
            }
            if watched.get(1).and_then(PollFd::any).unwrap_or_default() {
                return Err(ErrorKind::BrokenPipe);
            }
            // An error of `fd` is for whoever uses it next to find.
            if watched[0].any().unwrap_or_default() {
                return Ok(());
            }
        }
    }

    /// However slowly the peer takes it, the end is the same.
    fn give(&self, mut peer: UnixStream, mut rest: &[u8]) -> io::Result<()> {
        peer.set_nonblocking(true)?;
        while !rest.is_empty() {
            self.wait(peer.as_fd(), PollFlags::POLLOUT)?;
            // EXPOSE: to the one process that it is for.
            match peer.write(rest) {
                Ok(length) => rest = &rest[length..],
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    const MUCH: usize = 4 * 1024 * 1024;

    fn until(milliseconds: u64, client: Option<BorrowedFd<'_>>) -> Until<'_> {
        Until { at: Instant::now() + Duration::from_millis(milliseconds), client }
    }

    /// Takes a little whenever there is something, so that no single write waits for long.
    fn slow_reader(mut peer: UnixStream) {
        let mut little = vec![0; 64 * 1024];
        while matches!(peer.read(&mut little), Ok(1..)) {
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    #[test]
    fn a_peer_that_drains_slowly_gains_no_time() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let reader = std::thread::spawn(|| slow_reader(theirs));
        let began = Instant::now();
        let error = until(300, None).give(ours, &vec![0; MUCH]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        reader.join().unwrap();
    }

    #[test]
    fn the_end_of_the_client_ends_it() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut client = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let handle = sys::open_process(client.id()).unwrap();
        let giving =
            std::thread::spawn(move || until(60_000, Some(handle.as_fd())).give(ours, &vec![0; MUCH]));
        client.kill().unwrap();
        client.wait().unwrap();
        assert_eq!(giving.join().unwrap().unwrap_err().kind(), ErrorKind::BrokenPipe);
    }

    #[test]
    fn all_of_it_arrives_and_a_peer_that_left_is_noticed() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let bytes: Vec<u8> = (0..MUCH).map(|n| n as u8).collect();
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).map(|_| all)
        });
        until(60_000, None).give(ours, &bytes).unwrap();
        assert!(reader.join().unwrap().unwrap() == bytes);
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert_eq!(until(60_000, None).give(ours, &bytes).unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
}
