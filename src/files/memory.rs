//! A file that is a descriptor: sealed memory.

use std::fs::File;
use std::io::{self, Seek};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::sys;

/// Out of the way of what programs number themselves: shells take 10 and up, systemd hands over 3 and up.
const LOWEST: RawFd = 100;

/// An empty one, and the path by which its holder opens it.
pub fn create() -> io::Result<(File, PathBuf)> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // Since Linux 6.3, and by vm.memfd_noexec=2 the only kind that there is: no mode makes it a program.
    let never_a_program = MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    // Its name is for the eyes of whoever lists descriptors.
    let memory = match memfd_create(c"bws-exec", flags | never_a_program) {
        Err(Errno::EINVAL) => memfd_create(c"bws-exec", flags),
        result => result,
    }?;
    let file = File::from(sys::duplicate_above(memory.as_fd(), LOWEST)?);
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    path.symlink_metadata()?;
    Ok((file, path))
}

/// Nobody can change it any more, not even root, and the command inherits it.
pub fn seal(mut file: &File) -> io::Result<()> {
    // Whoever reads the descriptor itself, without opening it again, begins at the beginning.
    file.rewind()?;
    let seals =
        SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(file, FcntlArg::F_ADD_SEALS(seals))?;
    fcntl(file, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}
