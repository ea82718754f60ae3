//! Giving up who we are: ids, capabilities, and the way back to them.
//!
//! Everything is prepared before, so that applying it allocates nothing and takes no lock: it may run in
//! the child of a process with several threads. And it is made of system calls alone: credentials belong
//! to a *thread*, and glibc's wrappers (nptl(7)) would change those of every other one too.

use std::ffi::{c_int, c_long, c_ulong};
use std::io;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("the system calls of these names take ids of 16 bits on machines of 32");

/// Who a process is to become. Plain data: a copy of it can be applied in any thread or child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    user: Option<User>,
    no_new_privs: bool,
    /// Room to read groups back.
    scratch: Vec<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct User {
    uid: u32,
    gid: u32,
    /// In order, each once.
    groups: Vec<u32>,
}

/// Which step was refused, or did not do what it said. COMMAND must not run then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    pub step: Step,
    /// None if the kernel agreed, and what was read back is something else.
    pub errno: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Step {
    Groups,
    GroupId,
    UserId,
    BoundingSet,
    AmbientSet,
    Capabilities,
    NoNewPrivs,
}

impl Refused {
    const STEPS: [Step; 7] = [
        Step::Groups,
        Step::GroupId,
        Step::UserId,
        Step::BoundingSet,
        Step::AmbientSet,
        Step::Capabilities,
        Step::NoNewPrivs,
    ];

    /// Two numbers, for a child to tell its parent.
    pub fn to_numbers(self) -> [i32; 2] {
        [self.step as i32, self.errno.unwrap_or(0)]
    }

    pub fn from_numbers([step, errno]: [i32; 2]) -> Option<Self> {
        let step = Self::STEPS.into_iter().find(|known| *known as i32 == step)?;
        Some(Self { step, errno: Some(errno).filter(|errno| *errno != 0) })
    }
}

type Done = Result<(), Refused>;

/// `struct __user_cap_header_struct` and `struct __user_cap_data_struct` of linux/capability.h.
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

impl Credentials {
    /// `user` is uid, gid and supplementary groups; without it ids and capabilities stay.
    pub fn new(user: Option<(u32, u32, Vec<u32>)>, no_new_privs: bool) -> Self {
        let user = user.map(|(uid, gid, mut groups)| {
            groups.sort_unstable();
            groups.dedup();
            User { uid, gid, groups }
        });
        // SAFETY: a length of 0 only asks how many there are.
        let current = unsafe { libc::syscall(libc::SYS_getgroups, 0, std::ptr::null_mut::<u32>()) };
        let room = user.as_ref().map_or(0, |user| user.groups.len());
        Self { user, no_new_privs, scratch: vec![0; room.max(usize::try_from(current).unwrap_or(0))] }
    }

    /// Becomes it, in the calling thread alone, and makes sure. After an error anything may be half done:
    /// the thread may still report, and then has to end.
    ///
    /// It takes away the parent-death signal (`prctl(2)`): set that afterwards.
    pub fn apply(&mut self) -> Done {
        if let Some(user) = &self.user {
            // Groups first, for afterwards the right to change them is gone; then gid; then uid.
            user.set_groups(&mut self.scratch)?;
            user.set_ids()?;
            // Other ids set the flag to fs.suid_dumpable, which may be 1 (commit_creds in kernel/cred.c).
            let _ = prctl(libc::PR_SET_DUMPABLE, 0, 0);
            if user.uid == 0 {
                empty_bounding_set()?;
            }
            empty_capabilities()?;
            user.read_ids_back()?;
            user.are_groups(&mut self.scratch).map_err(|errno| refused(Step::Groups, errno))?;
        }
        if self.no_new_privs {
            prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map_err(|errno| refused(Step::NoNewPrivs, Some(errno)))?;
            if prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0) != Ok(1) {
                return Err(refused(Step::NoNewPrivs, None));
            }
        }
        Ok(())
    }

    /// What `work` finds when it is done by who this says, in a thread that nothing else is done in.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<Result<T, Refused>> {
        let mut own = self.clone();
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new();
            let thread = thread.spawn_scoped(scope, move || own.apply().map(|()| work()))?;
            thread.join().map_err(|_| io::Error::other("it panicked"))
        })
    }
}

impl User {
    fn set_groups(&self, scratch: &mut [u32]) -> Done {
        let (length, list) = (self.groups.len(), self.groups.as_ptr());
        // SAFETY: the kernel reads `length` ids from the list, which are as many as it has.
        match call(unsafe { libc::syscall(libc::SYS_setgroups, length, list) }) {
            // Whoever is in just these groups needs no right to be.
            Err(errno) if self.are_groups(scratch).is_err() => Err(refused(Step::Groups, Some(errno))),
            _ => Ok(()),
        }
    }

    /// Whether the groups are these; the group id itself may stand among them or not, which gives the same rights.
    fn are_groups(&self, scratch: &mut [u32]) -> Result<(), Option<i32>> {
        // SAFETY: the kernel writes as many ids as there is room for, or refuses.
        let count = unsafe { libc::syscall(libc::SYS_getgroups, scratch.len(), scratch.as_mut_ptr()) };
        let count = call(count).map_err(Some)?;
        let Some(current) = usize::try_from(count).ok().and_then(|count| scratch.get_mut(..count)) else {
            return Err(None);
        };
        current.sort_unstable();
        let is_other = |group: &&u32| **group != self.gid;
        let has_all = self.groups.iter().filter(is_other).all(|group| current.binary_search(group).is_ok());
        let no_more = current.iter().filter(is_other).all(|group| self.groups.binary_search(group).is_ok());
        if has_all && no_more { Ok(()) } else { Err(None) }
    }

    /// Real, effective and saved, so that none is left to return to. Who is so already needs no right.
    fn set_ids(&self) -> Done {
        let (uid, gid) = (self.uid, self.gid);
        // SAFETY: three numbers.
        match call(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }) {
            Err(errno) if !self.is_group() => return Err(refused(Step::GroupId, Some(errno))),
            _ => {}
        }
        // SAFETY: three numbers.
        match call(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }) {
            Err(errno) if !self.is_user() => Err(refused(Step::UserId, Some(errno))),
            _ => Ok(()),
        }
    }

    fn read_ids_back(&self) -> Done {
        if !self.is_group() {
            return Err(refused(Step::GroupId, None));
        }
        if !self.is_user() {
            return Err(refused(Step::UserId, None));
        }
        Ok(())
    }

    fn is_user(&self) -> bool {
        ids(libc::SYS_getresuid) == Some([self.uid; 3])
    }

    fn is_group(&self) -> bool {
        ids(libc::SYS_getresgid) == Some([self.gid; 3])
    }
}

/// Real, effective and saved.
fn ids(getter: c_long) -> Option<[u32; 3]> {
    let mut ids = [0_u32; 3];
    let [real, effective, saved] = &mut ids;
    // SAFETY: the getters write one id to each of three places.
    let answer = unsafe {
        libc::syscall(
            getter,
            std::ptr::from_mut(real),
            std::ptr::from_mut(effective),
            std::ptr::from_mut(saved),
        )
    };
    call(answer).ok().map(|_| ids)
}

/// The kernel gives uid 0 every capability of this set at exec, whatever it had before (capabilities(7)).
/// For any other uid it stays: to take it away would break programs whose file gives them a capability.
fn empty_bounding_set() -> Done {
    let failed = |errno| refused(Step::BoundingSet, errno);
    for capability in capabilities() {
        if prctl(libc::PR_CAPBSET_READ, capability, 0) != Ok(0) {
            prctl(libc::PR_CAPBSET_DROP, capability, 0).map_err(|errno| failed(Some(errno)))?;
        }
    }
    let left = |capability| prctl(libc::PR_CAPBSET_READ, capability, 0) != Ok(0);
    if capabilities().any(left) { Err(failed(None)) } else { Ok(()) }
}

/// Numbers that mean a capability to this kernel, which may know more of them than we do.
fn capabilities() -> impl Iterator<Item = c_ulong> {
    (0..64).take_while(|&capability| prctl(libc::PR_CAPBSET_READ, capability, 0) != Err(libc::EINVAL))
}

/// Effective, permitted, inheritable and ambient: nothing is left to bring back.
fn empty_capabilities() -> Done {
    let clear = c_ulong::from(libc::PR_CAP_AMBIENT_CLEAR_ALL.unsigned_abs());
    match prctl(libc::PR_CAP_AMBIENT, clear, 0) {
        // Where there is no such set (before Linux 4.3, and kernels that only look like one), it is empty.
        Ok(_) | Err(libc::EINVAL) => {}
        Err(errno) => return Err(refused(Step::AmbientSet, Some(errno))),
    }
    let mut header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let mut sets = [CapabilityData::default(); 2];
    let failed = |errno| refused(Step::Capabilities, errno);
    // SAFETY: a header and two elements, as version 3 has them; pid 0 is the calling thread.
    let answer = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr()) };
    call(answer).map_err(|errno| failed(Some(errno)))?;
    // SAFETY: the same, written to.
    let answer = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) };
    call(answer).map_err(|errno| failed(Some(errno)))?;
    if sets != [CapabilityData::default(); 2] {
        return Err(failed(None));
    }
    let is_set = c_ulong::from(libc::PR_CAP_AMBIENT_IS_SET.unsigned_abs());
    let left =
        |capability| !matches!(prctl(libc::PR_CAP_AMBIENT, is_set, capability), Ok(0) | Err(libc::EINVAL));
    if capabilities().any(left) { Err(refused(Step::AmbientSet, None)) } else { Ok(()) }
}

/// Whether this process may send signals to those of any user. What cannot be asked is no reason to refuse.
pub fn may_signal_everybody() -> bool {
    /// `CAP_KILL` of linux/capability.h.
    const KILL: u32 = 1 << 5;
    let mut header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let mut sets = [CapabilityData::default(); 2];
    // SAFETY: a header and two elements, as version 3 has them, written to; pid 0 is the calling thread.
    let answer = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) };
    call(answer).is_err() || sets[0].effective & KILL != 0
}

fn prctl(option: c_int, first: c_ulong, second: c_ulong) -> Result<c_long, i32> {
    // SAFETY: none of the options used here takes a pointer; the kernel wants the unused ones to be zero.
    call(unsafe { libc::syscall(libc::SYS_prctl, option, first, second, 0_u64, 0_u64) })
}

fn call(answer: c_long) -> Result<c_long, i32> {
    match answer {
        // SAFETY: errno of this thread, which the failed call has just set.
        -1 => Err(unsafe { *libc::__errno_location() }),
        answer => Ok(answer),
    }
}

const fn refused(step: Step, errno: Option<i32>) -> Refused {
    Refused { step, errno }
}
