//! Files with a path of their own: memory mounted over a directory, in a mount namespace that is the
//! command's. Outside, the directory stays as it is; the memory goes with the last process inside,
//! however that ends.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::unistd::{AccessFlags, UnlinkatFlags, faccessat, unlinkat};

use crate::error::Error;
use crate::read;

const NONE: Option<&str> = None;

/// Everyone may enter; each file has its own mode. The size is twice that of the largest answer we accept: at
/// a change the old files are there until the new ones are complete.
const OPTIONS: &str = "mode=0755,size=128m";

/// Kinds of memory, the best first; neither is ever swapped. tmpfs knows `noswap` since Linux 6.4, but not
/// in a user namespace. ramfs has no size, which does not matter once it is read-only.
const KINDS: [(&str, &str); 2] = [("tmpfs", ",noswap"), ("ramfs", "")];

/// Memory over a directory.
pub struct Mount {
    path: PathBuf,
    /// None in a dry run whose directory is not there.
    directory: Option<File>,
    /// Who removes or exchanges the directory outside takes our memory away with it (rename(2) and rmdir(2)
    /// detach what other namespaces have mounted there), and may put other files in its place.
    pub warning: Option<String>,
}

/// Mounts memory over each of them, for us and those who come after us.
pub fn all(directories: &[&Path], dry_run: bool) -> Result<Vec<Mount>, Error> {
    let Some(first) = directories.first() else { return Ok(Vec::new()) };
    leave_the_others().map_err(|cause| refused(first, cause))?;
    directories.iter().map(|directory| Mount::new(directory, dry_run)).collect()
}

/// No user namespace: that would change what the command is allowed to do and what it sees of itself.
fn leave_the_others() -> Result<(), Errno> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    // The copy of a shared mount is shared: what we mount would appear outside. As a slave it still gets
    // what is mounted and unmounted outside.
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE)
}

fn refused(directory: &Path, cause: Errno) -> Error {
    Error::PrivateMount { directory: directory.into(), cause: cause.into() }
}

const FLAGS: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

impl Mount {
    fn new(path: &Path, dry_run: bool) -> Result<Self, Error> {
        let unusable = |problem: String| Error::FileDirectory { directory: path.into(), problem };
        if !is_there(path).map_err(unusable)? {
            if dry_run {
                let made_in = path.ancestors().skip(1).find(|above| above.is_dir()).unwrap_or(path);
                let allowed =
                    faccessat(AT_FDCWD, made_in, AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::AT_EACCESS);
                allowed
                    .map_err(|cause| unusable(format!("it cannot be created: {}", io::Error::from(cause))))?;
                return Ok(Self { path: path.into(), directory: None, warning: None });
            }
            let made = DirBuilder::new().recursive(true).mode(0o755).create(path);
            made.map_err(|cause| unusable(format!("it cannot be created: {cause}")))?;
        }
        // Before it is covered: it is the owner outside who counts.
        let exchangeable = read::exchangeable(path).map_err(|cause| unusable(cause.to_string()))?;
        let device = |file: &Path| fs::metadata(file).map(|status| status.dev());
        let before = device(path).map_err(|cause| unusable(cause.to_string()))?;
        mount_memory(path).map_err(|cause| refused(path, cause))?;
        let directory = File::open(path).map_err(|cause| unusable(cause.to_string()))?;
        // Whoever may change the path's links could have led us past the mount, onto a disk.
        let elsewhere = directory.metadata().is_ok_and(|status| status.dev() != before);
        if !(elsewhere && read::is_in_memory(&directory)) {
            return Err(unusable("it was exchanged while it was mounted".into()));
        }
        let warning = exchangeable.map(|exchangeable| {
            let (what, files) = (exchangeable.display(), path.display());
            format!("another user may exchange {what}, and with it the files in {files}")
        });
        Ok(Self { path: path.into(), directory: Some(directory), warning })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether we may enter it. Asked by a thread that has COMMAND's rights.
    pub fn check_entry(&self) -> Result<(), Error> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let entered = fs::metadata(self.path.join(".")).and_then(|seen| {
            let same = seen.dev() == directory.metadata()?.dev();
            if same { Ok(()) } else { Err(Errno::ESTALE.into()) }
        });
        entered.map_err(|cause| Error::FileDirectory {
            directory: self.path.clone(),
            problem: format!("the command's user cannot enter it: {cause}"),
        })
    }

    /// A new file, which nobody but us can open yet, and which has its name by [`Mount::put`] only: in the
    /// place of the one that is there, all at once.
    pub fn create(&self, name: &OsStr) -> Option<io::Result<File>> {
        let directory = self.directory.as_ref()?;
        let name = &*unfinished(name);
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        Some(openat(directory, name, flags, Mode::empty()).map(File::from).map_err(io::Error::from))
    }

    /// Gives what was created its name.
    pub fn put(&self, name: &OsStr) -> io::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        Ok(renameat(directory, &*unfinished(name), directory, name)?)
    }

    /// Nothing can be added or changed without the right to mount.
    pub fn make_read_only(&self) -> Result<(), Error> {
        self.remount(MsFlags::MS_RDONLY)
    }

    /// For us to change what is in it. The command is in the same mount namespace, with its own rights.
    pub fn make_writable(&self) -> Result<(), Error> {
        self.remount(MsFlags::empty())
    }

    fn remount(&self, flags: MsFlags) -> Result<(), Error> {
        let Some(directory) = &self.directory else { return Ok(()) };
        // By its descriptor: meanwhile the path may lead to a file system of the machine, which would
        // become read-only for all.
        let flags = FLAGS | MsFlags::MS_REMOUNT | flags;
        let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
        mount(NONE, &path, NONE, flags, NONE).map_err(|cause| refused(&self.path, cause))
    }

    /// Takes a file away that was made here, finished or not.
    pub fn remove(&self, name: &OsStr) {
        if let Some(directory) = &self.directory {
            let _ = unlinkat(directory, name, UnlinkatFlags::NoRemoveDir);
        }
        self.remove_unfinished(name);
    }

    pub fn remove_unfinished(&self, name: &OsStr) {
        if let Some(directory) = &self.directory {
            let _ = unlinkat(directory, &*unfinished(name), UnlinkatFlags::NoRemoveDir);
        }
    }
}

fn unfinished(name: &OsStr) -> OsString {
    let mut unfinished = OsString::from(".bws-exec.");
    unfinished.push(name);
    unfinished
}

/// Whether there is a directory, which then is empty: what is in it would be hidden from the command.
fn is_there(path: &Path) -> Result<bool, String> {
    match fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(true),
        Ok(false) => Err("it is not empty".into()),
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(false),
        Err(cause) if cause.kind() == ErrorKind::NotADirectory => Err("it is not a directory".into()),
        Err(cause) => Err(cause.to_string()),
    }
}

fn mount_memory(path: &Path) -> Result<(), Errno> {
    let mut result = Err(Errno::ENODEV);
    for (kind, swap) in KINDS {
        let options = format!("{OPTIONS}{swap}");
        result = mount(Some("bws-exec"), path, Some(kind), FLAGS, Some(options.as_str()));
        // ENODEV: a kernel without tmpfs.
        if !matches!(result, Err(Errno::EINVAL | Errno::ENODEV)) {
            break;
        }
    }
    result
}
