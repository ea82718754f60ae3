//! This machine's end of the socket: a process of its own that gives the environment to one peer, the
//! container that was made for it, and ends.
//!
//! Three things stand between the environment and anybody else. The socket is in a directory that only
//! our user may enter, and reaches the container as a mounted file. Who connects is asked for by the
//! kernel's own record, and its control group must name the container of `--cidfile`. And it is given once.

use std::fs::{self, DirBuilder, Permissions};
use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::random;
use crate::report::Report;
use crate::sys;

/// How long the container may take from when it was made until it asks.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often we look whether the engine has written the container's id.
const INTERVAL: Duration = Duration::from_millis(50);

/// A directory of this run alone, in memory, with the socket. Removed when dropped.
#[derive(Debug)]
pub struct Place {
    directory: PathBuf,
    pub socket: PathBuf,
    /// Where the engine writes the container's id, unless the operator named a place.
    pub cidfile: PathBuf,
    listener: UnixListener,
}

impl Place {
    pub fn make(runtime_directory: Option<PathBuf>) -> Result<Self, Error> {
        let mut problem = "no directory is on a tmpfs".to_owned();
        let usual = ["/run", "/dev/shm"].map(PathBuf::from);
        for parent in runtime_directory.into_iter().chain(usual) {
            let in_memory = statfs(&parent).is_ok_and(|fs| fs.filesystem_type() == TMPFS_MAGIC);
            if !in_memory || !parent.is_absolute() || !is_safe(&parent) {
                continue;
            }
            match Self::inside(&parent) {
                Ok(place) => return Ok(place),
                Err(cause) => problem = format!("{}: {cause}", parent.display()),
            }
        }
        Err(Error::HandOverPlace { problem })
    }

    fn inside(parent: &Path) -> std::io::Result<Self> {
        let directory = parent.join(format!("bws-exec.{:032x}", u128::from_ne_bytes(random::bytes()?)));
        DirBuilder::new().mode(0o700).create(&directory)?;
        // Whatever the umask took away.
        fs::set_permissions(&directory, Permissions::from_mode(0o700))?;
        let socket = directory.join("socket");
        let listener = UnixListener::bind(&socket)?;
        // The container's user may be anybody; nobody else comes through the directory.
        fs::set_permissions(&socket, Permissions::from_mode(0o666))?;
        listener.set_nonblocking(true)?;
        Ok(Self { cidfile: directory.join("cid"), directory, socket, listener })
    }
}

/// Whether nobody but root and us can exchange what we make in there.
fn is_safe(parent: &Path) -> bool {
    fs::metadata(parent).is_ok_and(|status| {
        let (owner, mode) = (status.uid(), status.mode());
        let ours = owner == 0 || owner == nix::unistd::geteuid().as_raw();
        ours && (mode & 0o022 == 0 || mode & 0o1000 != 0)
    })
}

impl Place {
    fn remove(&self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The helper, before it is one.
pub struct Helper<'a> {
    pub place: Place,
    pub cidfile: PathBuf,
    pub frame: Zeroizing<Vec<u8>>,
    /// Whether the client ends as soon as the container runs.
    pub detached: bool,
    pub report: &'a Report,
}

impl Helper<'_> {
    /// Leaves a process behind that serves the container for as long as this process runs, which is about
    /// to become the engine's client. It is no child of the client, so that it needs no reaping.
    pub fn start(self) -> Result<(), Error> {
        let fault = |cause: std::io::Error| Error::HandOverPlace { problem: cause.to_string() };
        let client = sys::open_process(std::process::id()).map_err(fault)?;
        let kept = [self.place.listener.as_raw_fd(), client.as_raw_fd()];
        // Whoever waits for the end of a client's output must not wait for us.
        sys::in_background(&kept, !self.detached, || {
            self.serve(client.as_fd());
            self.place.remove();
        })
        .map_err(fault)?;
        // It is the helper's to remove now.
        std::mem::forget(self.place);
        Ok(())
    }

    fn serve(&self, client: BorrowedFd<'_>) {
        let mut until = None;
        let mut refused = false;
        loop {
            let id = container_id(&self.cidfile);
            if id.is_some() && until.is_none() {
                until = Some(Instant::now() + PATIENCE);
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                self.report.warning("the container did not ask for its environment within 30s");
                return;
            }
            // A client that makes a container in the background ends before the container asks.
            if sys::has_ended(client) && !(self.detached && container_id(&self.cidfile).is_some()) {
                return;
            }
            let left = until.map_or(INTERVAL, |until| until.saturating_duration_since(Instant::now()));
            if !self.wait(left.min(PATIENCE), client) {
                continue;
            }
            let Ok((peer, _)) = self.place.listener.accept() else { continue };
            if container_id(&self.cidfile).is_some_and(|id| is_of_container(&peer, &id)) {
                if self.give(peer).is_err() {
                    self.report.warning("the container did not take the whole of its environment");
                }
                return;
            }
            if !refused {
                self.report
                    .warning("a process that is not the container asked for its environment and got nothing");
                refused = true;
            }
        }
    }

    /// Whether somebody asks, within this time or before the client ends.
    fn wait(&self, time: Duration, client: BorrowedFd<'_>) -> bool {
        let listener = PollFd::new(self.place.listener.as_fd(), PollFlags::POLLIN);
        let mut both = [listener, PollFd::new(client, PollFlags::POLLIN)];
        // Once the client is gone it would wake us for ever.
        let watched = if sys::has_ended(client) { &mut both[..1] } else { &mut both[..] };
        // Rounded up: a wait of nothing would turn in circles.
        let timeout = PollTimeout::try_from(time.as_millis() + 1).unwrap_or(PollTimeout::MAX);
        poll(watched, timeout).is_ok()
            && watched[0].revents().is_some_and(|events| events.contains(PollFlags::POLLIN))
    }

    fn give(&self, mut peer: UnixStream) -> std::io::Result<()> {
        peer.set_nonblocking(false)?;
        peer.set_write_timeout(Some(PATIENCE))?;
        // EXPOSE: to the one process that it is for.
        peer.write_all(&self.frame)
    }
}

/// The id in the file, once the engine has written it: before it starts the container.
fn container_id(cidfile: &Path) -> Option<String> {
    let text = fs::read_to_string(cidfile).ok()?;
    let id = text.trim_end();
    (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.to_owned())
}

/// Whether the process at the other end runs in that container.
fn is_of_container(peer: &UnixStream, id: &str) -> bool {
    let Ok((pid, process)) = sys::peer_process(peer.as_fd()) else { return false };
    let Ok(groups) = fs::read_to_string(format!("/proc/{pid}/cgroup")) else { return false };
    // If it still runs, its number was its own while we looked.
    names_container(&groups, id) && !sys::has_ended(process.as_fd())
}

/// `/docker/ID`, `/system.slice/docker-ID.scope`, `/libpod_parent/libpod-ID`, `…/libpod-ID.scope/container`.
fn names_container(groups: &str, id: &str) -> bool {
    groups.lines().filter_map(|line| line.splitn(3, ':').nth(2)).flat_map(|path| path.split('/')).any(
        |part| {
            let part = part.strip_suffix(".scope").unwrap_or(part);
            // Not podman's `libpod-conmon-ID.scope`: that one is outside.
            let known = ["", "docker-", "libpod-", "libpod-payload-"];
            part.strip_suffix(id).is_some_and(|before| known.contains(&before))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_groups_name_the_container() {
        let id = "ab".repeat(32);
        let other = "cd".repeat(32);
        for path in [
            "0::/docker/ID",
            "0::/system.slice/docker-ID.scope",
            "9:name=systemd:/libpod_parent/libpod-ID\n8:pids:/",
            "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
            "0::/../../docker/ID",
            "0::/docker/ID/nested",
        ] {
            assert!(names_container(&path.replace("ID", &id), &id), "{path}");
            assert!(!names_container(&path.replace("ID", &other), &id), "{path}");
        }
        for path in [
            "",
            "0::/",
            "0::/docker/xID",
            "0::/x/libpod-conmon-ID.scope",
            "0::/docker/IDx",
            "9:ID:/",
            "ID",
            "0::/docker/ID.slice",
        ] {
            assert!(!names_container(&path.replace("ID", &id), &id), "{path}");
        }
    }
}
