//! systemd is told which process is the service, so that `NotifyAccess=main` accepts what that one says.

use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};

use crate::env_vars;
use crate::host::Host;

/// A manager that does not read must not keep the command from starting, nor us from ending.
const PATIENCE: Duration = Duration::from_secs(1);

/// The socket of sd_notify(3).
pub struct Notify {
    address: UnixAddr,
}

impl Notify {
    /// Only if it is us whom systemd has started: a helper that inherited the variable must not make
    /// itself the service.
    pub fn new(host: &Host) -> Option<Self> {
        let started = host.text(env_vars::SYSTEMD_EXEC_PID)?;
        if started != std::process::id().to_string() {
            return None;
        }
        let address = address(host.var(env_vars::NOTIFY_SOCKET)?).ok()?;
        Some(Self { address })
    }

    pub fn main_process(&self, pid: u32) {
        // Without it the service still runs.
        let _ = self.send(&format!("MAINPID={pid}\n"), &[]);
    }

    /// Waits until what was said has been read: systemd takes no process for the main one that has ended
    /// meanwhile. This is sd_notify_barrier(3), which all have that set `SYSTEMD_EXEC_PID`.
    pub fn settle(&self) {
        let wait = || -> io::Result<()> {
            let (end, held) = io::pipe()?;
            self.send("BARRIER=1", &[ControlMessage::ScmRights(&[held.as_raw_fd()])])?;
            // What systemd has been sent is the last one, and it closes that.
            drop(held);
            poll(
                &mut [PollFd::new(end.as_fd(), PollFlags::empty())],
                PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::ZERO),
            )?;
            Ok(())
        };
        let _ = wait();
    }

    fn send(&self, text: &str, with: &[ControlMessage<'_>]) -> io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let text = [IoSlice::new(text.as_bytes())];
        sendmsg(socket.as_raw_fd(), &text, with, MsgFlags::empty(), Some(&self.address))?;
        Ok(())
    }
}

fn address(text: &OsStr) -> nix::Result<UnixAddr> {
    match text.as_bytes().strip_prefix(b"@") {
        Some(name) => UnixAddr::new_abstract(name),
        None => UnixAddr::new(text),
    }
}
