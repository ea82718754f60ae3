//! A terminal with somebody who types and reads.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Arc, Mutex};

use super::{Running, eventually};

pub struct Terminal {
    master: File,
    shown: Arc<Mutex<String>>,
    read_to: Mutex<usize>,
}

/// Both ends of a new terminal.
pub fn pair() -> (File, File) {
    let (mut master, mut slave) = (-1, -1);
    let (no_name, default_mode, default_size) = (std::ptr::null_mut(), std::ptr::null(), std::ptr::null());
    // SAFETY: both descriptors are written on success, and are ours alone.
    unsafe {
        assert_eq!(libc::openpty(&mut master, &mut slave, no_name, default_mode, default_size), 0);
        for fd in [master, slave] {
            libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
        }
        (OwnedFd::from_raw_fd(master).into(), OwnedFd::from_raw_fd(slave).into())
    }
}

impl Terminal {
    /// Starts it as the leader of a session on a terminal of its own.
    pub fn start(mut process: Command) -> (Self, Running) {
        let (master, slave) = pair();
        let copy = || slave.try_clone().unwrap();
        process.stdin(copy()).stdout(copy()).stderr(copy());
        // SAFETY: system calls only.
        unsafe {
            process.pre_exec(|| {
                (libc::setsid() != -1 && libc::ioctl(0, libc::TIOCSCTTY, 0) != -1)
                    .then_some(())
                    .ok_or_else(std::io::Error::last_os_error)
            });
        }
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut from, to) = (master.try_clone().unwrap(), shown.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The terminal of a session that has ended gives EIO.
            while let Ok(length @ 1..) = from.read(&mut bytes) {
                to.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..length]));
            }
        });
        (Self { master, shown, read_to: Mutex::new(0) }, Running::new(process, None))
    }

    pub fn types(&self, text: &str) {
        (&self.master).write_all(text.as_bytes()).unwrap();
    }

    /// Waits for this text after what was waited for before.
    #[track_caller]
    pub fn shows(&self, text: &str) {
        let mut found = None;
        let mut shown = String::new();
        let from = *self.read_to.lock().unwrap();
        let deadline = std::time::Instant::now() + super::PATIENCE;
        while found.is_none() {
            shown = self.shown.lock().unwrap().clone();
            found = shown[from..].find(text);
            assert!(std::time::Instant::now() < deadline, "not shown: {text:?}\nin {:?}", &shown[from..]);
            std::thread::park_timeout(std::time::Duration::from_millis(2));
        }
        *self.read_to.lock().unwrap() = from + found.unwrap() + text.len();
        drop(shown);
    }

    pub fn everything(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    pub fn resize(&self, columns: u16) {
        let size = libc::winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: a struct that outlives the call.
        assert_eq!(unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &size) }, 0);
    }

    /// The process group in the foreground.
    pub fn foreground(&self) -> i32 {
        // SAFETY: it asks.
        unsafe { libc::tcgetpgrp(self.master.as_raw_fd()) }
    }

    #[track_caller]
    pub fn has_foreground(&self, group: i32) {
        eventually("the group is in the foreground", || self.foreground() == group);
    }
}
