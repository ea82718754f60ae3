//! Starting another program beside us: fork and execve by hand, because what was inherited has to arrive as
//! it was, and because the child's own number goes into its environment.
//!
//! Between fork and exec the child makes system calls and writes to memory that was prepared, nothing more:
//! another thread may have held any lock at that moment.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

use super::exec::restore_inherited;

/// `NAME=` and the number of whatever process the program will be.
pub struct PidVariable {
    bytes: Vec<Cell<u8>>,
    digits: usize,
}

impl PidVariable {
    /// As long as any number is; what is not used of it is NUL.
    const LONGEST: usize = 10;

    pub fn new(name: &[u8]) -> Self {
        let bytes: Vec<_> = name.iter().chain(b"=").copied().map(Cell::new).collect();
        let digits = bytes.len();
        let slot = std::iter::repeat_n(Cell::new(0), Self::LONGEST + 1);
        Self { bytes: bytes.into_iter().chain(slot).collect(), digits }
    }

    /// Without allocation or locks: the child of a fork does this.
    fn fill(&self, pid: u32) {
        let length = pid.checked_ilog10().map_or(1, |log| log as usize + 1);
        let slot = self.bytes.iter().skip(self.digits);
        let digits = slot.zip((0..length as u32).rev().map(|place| pid / 10_u32.pow(place) % 10));
        for (byte, digit) in digits {
            byte.set(b'0' + digit as u8);
        }
    }
}

/// One string of an environment.
pub enum EnvString<'a> {
    Fixed(&'a CStr),
    Pid(&'a PidVariable),
}

impl EnvString<'_> {
    fn pointer(&self) -> *const c_char {
        match self {
            Self::Fixed(text) => text.as_ptr(),
            Self::Pid(variable) => variable.bytes.as_ptr().cast(),
        }
    }
}

/// What `execve` takes.
pub struct Image<'a> {
    pub path: &'a CStr,
    pub argv: &'a [&'a CStr],
    pub environment: &'a [EnvString<'a>],
}

/// The same with vectors of pointers; nothing has to be allocated from here on.
struct Ready<'a> {
    image: &'a Image<'a>,
    argv: Vec<*const c_char>,
    environment: Vec<*const c_char>,
}

impl<'a> Ready<'a> {
    fn new(image: &'a Image<'a>) -> Self {
        let end = [ptr::null()];
        Self {
            image,
            argv: image.argv.iter().map(|text| text.as_ptr()).chain(end).collect(),
            environment: image.environment.iter().map(EnvString::pointer).chain(end).collect(),
        }
    }

    /// Returns only when the kernel refuses.
    fn execute(&self) {
        let pid = std::process::id();
        for string in self.image.environment {
            if let EnvString::Pid(variable) = string {
                variable.fill(pid);
            }
        }
        restore_inherited();
        // SAFETY: both vectors end with a null pointer and point to strings that outlive the call.
        unsafe { libc::execve(self.image.path.as_ptr(), self.argv.as_ptr(), self.environment.as_ptr()) };
    }
}

/// Becomes this program. Returns only when the kernel refuses, with the reason.
pub fn execve(image: &Image<'_>) -> io::Error {
    Ready::new(image).execute();
    let error = io::Error::last_os_error();
    // We still have to say so: a write to a closed pipe must be an error, not our death.
    super::set_disposition(libc::SIGPIPE, libc::SIG_IGN);
    error
}

/// Why no program runs.
#[derive(Debug)]
pub enum NotSpawned {
    /// There is no process.
    Fork(io::Error),
    /// There was one, which could not become the program.
    Exec(io::Error),
}

/// Starts this program as a child in a process group of its own. It waits for `before_exec`, which is
/// given its number, so that whatever depends on that is settled before its first instruction. The
/// signals that the caller has blocked stay blocked until then.
pub fn spawn(image: &Image<'_>, before_exec: impl FnOnce(i32)) -> Result<i32, NotSpawned> {
    let ready = Ready::new(image);
    // All four are closed by exec, which is how the parent learns that it succeeded.
    let (go_ahead, mut start) = io::pipe().map_err(NotSpawned::Fork)?;
    let (mut failure, report) = io::pipe().map_err(NotSpawned::Fork)?;
    let parent = std::process::id();
    // SAFETY: the child makes async-signal-safe calls only, and ends without returning.
    let child = match unsafe { libc::fork() } {
        -1 => return Err(NotSpawned::Fork(io::Error::last_os_error())),
        // SAFETY: this is the child of that fork.
        0 => unsafe {
            // With this end open it would never learn that we are gone.
            libc::close(start.as_raw_fd());
            become_child(&ready, parent, go_ahead.as_raw_fd(), report.as_raw_fd())
        },
        child => child,
    };
    drop((go_ahead, report));
    // SAFETY: a number; the child waits for us, so it is neither gone nor another program.
    unsafe { libc::setpgid(child, child) };
    before_exec(child);
    // Whoever has been killed meanwhile tells by its status.
    let _ = start.write_all(&[1]);
    let mut errno = [0; size_of::<c_int>()];
    match failure.read_exact(&mut errno) {
        Err(_) => Ok(child),
        Ok(()) => {
            // SAFETY: a child of ours that is about to end; no status is asked for.
            unsafe { libc::waitpid(child, ptr::null_mut(), 0) };
            Err(NotSpawned::Exec(io::Error::from_raw_os_error(c_int::from_ne_bytes(errno))))
        }
    }
}

/// # Safety
/// Only in the child of a fork.
unsafe fn become_child(ready: &Ready<'_>, parent: u32, go_ahead: RawFd, report: RawFd) -> ! {
    // SAFETY: system calls with numbers and with buffers of the sizes named.
    unsafe {
        let mut byte = 0_u8;
        if libc::read(go_ahead, (&raw mut byte).cast(), 1) == 1 {
            // Who it runs as is changed here, before the next call: a change of ids takes that back.
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            // Too late for the signal if that has happened already.
            if libc::getppid() as u32 == parent {
                ready.execute();
                let errno = *libc::__errno_location();
                libc::write(report, (&raw const errno).cast(), size_of::<c_int>());
            }
        }
        libc::_exit(127)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_any_length_fit() {
        for pid in [1, 9, 10, 4_194_304, u32::MAX] {
            let variable = PidVariable::new(b"LISTEN_PID");
            variable.fill(pid);
            let bytes: Vec<u8> = variable.bytes.iter().map(Cell::get).collect();
            let text = CStr::from_bytes_until_nul(&bytes).unwrap();
            assert_eq!(text.to_str().unwrap(), format!("LISTEN_PID={pid}"));
        }
    }
}
