//! A service as systemd likes it, in a few lines: says when it is ready, answers on the socket that it was
//! given, and shows that it is alive. It tells the length of `API_KEY`, never its value.
//!
//! The units of `examples/systemd` run it in tests, as `/usr/local/bin/app`.

use std::env;
use std::io::{self, Write as _};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::process;
use std::thread;
use std::time::Duration;

fn main() -> io::Result<()> {
    let key = env::var("API_KEY").map_or(0, |key| key.len());
    let answer = format!("API_KEY has {key} bytes, I am {}\n", process::id());
    print!("{answer}");
    if let Some(listener) = activated() {
        thread::spawn(move || {
            for client in listener.incoming() {
                // One that has gone does not end the service.
                let _ = client.and_then(|mut client| client.write_all(answer.as_bytes()));
            }
        });
    }
    notify("READY=1")?;
    match watchdog() {
        Some(interval) => loop {
            notify("WATCHDOG=1")?;
            thread::sleep(interval / 2);
        },
        None => loop {
            thread::park();
        },
    }
}

/// A variable that names this very process.
fn is_us(name: &str) -> bool {
    env::var(name).is_ok_and(|pid| pid == process::id().to_string())
}

/// sd_listen_fds(3): the first descriptor.
fn activated() -> Option<UnixListener> {
    if !is_us("LISTEN_PID") || env::var("LISTEN_FDS").ok()? == "0" {
        return None;
    }
    // SAFETY: systemd has opened it for us, and nobody else here knows of it.
    Some(unsafe { OwnedFd::from_raw_fd(3) }.into())
}

/// sd_watchdog_enabled(3).
fn watchdog() -> Option<Duration> {
    let interval = env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    is_us("WATCHDOG_PID").then(|| Duration::from_micros(interval))
}

/// sd_notify(3).
fn notify(state: &str) -> io::Result<()> {
    let Ok(path) = env::var("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}
