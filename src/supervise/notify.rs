//! systemd is told which process is the service, so that `NotifyAccess=main` accepts what that one says.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::env_vars;
use crate::host::Host;

/// The socket of sd_notify(3).
pub struct Notify {
    address: SocketAddr,
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
        let send = || {
            let socket = UnixDatagram::unbound()?;
            // A manager that does not read must not keep the command from starting.
            socket.set_write_timeout(Some(Duration::from_secs(1)))?;
            socket.send_to_addr(format!("MAINPID={pid}\n").as_bytes(), &self.address)
        };
        // Without it the service still runs.
        let _: io::Result<usize> = send();
    }
}

fn address(text: &OsStr) -> io::Result<SocketAddr> {
    match text.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(text),
    }
}
