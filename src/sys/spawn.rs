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

use super::credentials::{Credentials, Refused};
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
    /// Who it runs as, if not as we do.
    pub credentials: Option<&'a Credentials>,
}

/// The same with vectors of pointers; nothing has to be allocated from here on.
struct Ready<'a> {
    image: &'a Image<'a>,
    argv: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    /// A copy, because to apply them writes to them.
    credentials: Option<Credentials>,
}

impl<'a> Ready<'a> {
    fn new(image: &'a Image<'a>) -> Self {
        let end = [ptr::null()];
        Self {
            image,
            argv: image.argv.iter().map(|text| text.as_ptr()).chain(end).collect(),
            environment: image.environment.iter().map(EnvString::pointer).chain(end).collect(),
            credentials: image.credentials.cloned(),
        }
    }

    /// Last, for until here we need what we may and the program may not.
    fn change_user(&mut self) -> Result<(), Refused> {
        self.credentials.as_mut().map_or(Ok(()), Credentials::apply)
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
pub fn execve(image: &Image<'_>) -> NotStarted {
    let mut ready = Ready::new(image);
    if let Err(refused) = ready.change_user() {
        return NotStarted::Refused(refused);
    }
    ready.execute();
    let error = io::Error::last_os_error();
    // We still have to say so: a write to a closed pipe must be an error, not our death.
    super::set_disposition(libc::SIGPIPE, libc::SIG_IGN);
    NotStarted::Exec(error)
}

/// Why a process did not become the program.
#[derive(Debug)]
pub enum NotStarted {
    /// It could not become its user, or not wholly.
    Refused(Refused),
    Exec(io::Error),
}

/// Why no program runs.
#[derive(Debug)]
pub enum NotSpawned {
    /// There is no process.
    Fork(io::Error),
    /// There was one, which could not become the program.
    Program(NotStarted),
}

/// Starts this program as a child in a process group of its own. It waits for `before_exec`, which is
/// given its number, so that whatever depends on that is settled before its first instruction. The
/// signals that the caller has blocked stay blocked until then.
///
/// `streams` are descriptors that it gets under other numbers.
pub fn spawn(
    image: &Image<'_>,
    streams: &[(RawFd, RawFd)],
    before_exec: impl FnOnce(i32),
) -> Result<i32, NotSpawned> {
    let mut ready = Ready::new(image);
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
            become_child(&mut ready, streams, parent, go_ahead.as_raw_fd(), report.as_raw_fd())
        },
        child => child,
    };
    drop((go_ahead, report));
    // SAFETY: a number; the child waits for us, so it is neither gone nor another program.
    unsafe { libc::setpgid(child, child) };
    before_exec(child);
    // Whoever has been killed meanwhile tells by its status.
    let _ = start.write_all(&[1]);
    let mut told = [0; TOLD];
    if failure.read_exact(&mut told).is_err() {
        return Ok(child);
    }
    // SAFETY: a child of ours that is about to end; no status is asked for.
    unsafe { libc::waitpid(child, ptr::null_mut(), 0) };
    let (step, errno) = told.split_at(size_of::<c_int>());
    let [step, errno] = [step, errno].map(|bytes| bytes.try_into().map_or(0, c_int::from_ne_bytes));
    Err(NotSpawned::Program(match Refused::from_numbers([step, errno]) {
        Some(refused) => NotStarted::Refused(refused),
        None => NotStarted::Exec(io::Error::from_raw_os_error(errno)),
    }))
}

/// What a child tells that could not become the program: the numbers of the step that was refused, or of
/// none and the error of exec.
const TOLD: usize = size_of::<[c_int; 2]>();
const NO_STEP: c_int = -1;

/// # Safety
/// Only in the child of a fork.
unsafe fn become_child(
    ready: &mut Ready<'_>,
    streams: &[(RawFd, RawFd)],
    parent: u32,
    go_ahead: RawFd,
    report: RawFd,
) -> ! {
    // SAFETY: system calls with numbers and with buffers of the sizes named.
    unsafe {
        let mut byte = 0_u8;
        if libc::read(go_ahead, (&raw mut byte).cast(), 1) == 1 {
            for (from, to) in streams {
                libc::dup2(*from, *to);
            }
            let told = match ready.change_user() {
                Err(refused) => Some(refused.to_numbers()),
                Ok(()) => {
                    // After the ids, whose change takes it back (prctl(2)).
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    // Too late for the signal if that has happened already.
                    (libc::getppid() as u32 == parent).then(|| {
                        ready.execute();
                        [NO_STEP, *libc::__errno_location()]
                    })
                }
            };
            if let Some(told) = told {
                libc::write(report, told.as_ptr().cast(), TOLD);
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
