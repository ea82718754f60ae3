//! Where the socket is: a directory of this run alone, in memory, which only our user may enter.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::geteuid;

use crate::error::Error;
use crate::{random, read};

const PREFIX: &str = "bws-exec.";
const SOCKET: &str = "socket";

/// Removed when dropped.
#[derive(Debug)]
pub struct Place {
    directory: PathBuf,
    pub socket: PathBuf,
    /// Where the engine writes the container's id, unless the operator named a place.
    pub cidfile: PathBuf,
    pub listener: UnixListener,
}

impl Place {
    pub fn make(runtime_directory: Option<PathBuf>) -> Result<Self, Error> {
        let mut problem = "no directory is on a tmpfs".to_owned();
        let usual = ["/run", "/dev/shm"].map(PathBuf::from);
        for parent in runtime_directory.into_iter().chain(usual) {
            let in_memory = File::open(&parent).is_ok_and(|directory| read::is_in_memory(&directory));
            if !in_memory || !parent.is_absolute() {
                continue;
            }
            match Self::inside(&parent) {
                Ok(place) => return Ok(place),
                Err(cause) => problem = format!("{}: {cause}", parent.display()),
            }
        }
        Err(Error::HandOverPlace { problem })
    }

    fn inside(parent: &Path) -> io::Result<Self> {
        sweep(parent);
        let directory = parent.join(format!("{PREFIX}{:032x}", u128::from_ne_bytes(random::bytes()?)));
        DirBuilder::new().mode(0o700).create(&directory)?;
        let made = Self::in_directory(&directory);
        if made.is_err() {
            let _ = fs::remove_dir_all(&directory);
        }
        made
    }

    fn in_directory(directory: &Path) -> io::Result<Self> {
        if read::exchangeable(directory)?.is_some() {
            return Err(io::Error::other("another user may exchange what is in there"));
        }
        // Whatever the umask took away.
        fs::set_permissions(directory, Permissions::from_mode(0o700))?;
        let socket = directory.join(SOCKET);
        let listener = UnixListener::bind(&socket)?;
        // The container's user may be anybody; nobody else comes through the directory.
        fs::set_permissions(&socket, Permissions::from_mode(0o666))?;
        listener.set_nonblocking(true)?;
        Ok(Self { cidfile: directory.join("cid"), directory: directory.into(), socket, listener })
    }

    pub fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    pub fn remove(&self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Removes what runs of ours have left behind that were killed. There is no value in it.
fn sweep(parent: &Path) {
    let ours = |directory: &PathBuf| {
        directory.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX))
            && directory
                .symlink_metadata()
                .is_ok_and(|status| status.is_dir() && status.uid() == geteuid().as_raw())
    };
    let entries = fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(ours).filter(|directory| is_dead(&directory.join(SOCKET))).for_each(|directory| {
        let _ = fs::remove_dir_all(directory);
    });
}

/// Whether nobody holds the socket any more. Asked with a socket of another kind, which one that is alive
/// refuses for that reason, without its owner being disturbed (unix(7), EPROTOTYPE).
fn is_dead(socket: &Path) -> bool {
    let answer = UnixDatagram::unbound().and_then(|probe| probe.connect(socket));
    answer.is_err_and(|error| error.raw_os_error() == Some(Errno::ECONNREFUSED as i32))
}
