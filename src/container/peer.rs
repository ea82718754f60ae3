//! Whether somebody at the other end of the socket is the container that was made for this run.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::unistd::geteuid;

use crate::deadline::Deadline;
use crate::{read, sys};

/// An id is 64 digits, and the engine may end the line.
const LONGEST: usize = 65;

/// The id in the file, once the engine's client has written it: before it starts the container.
pub fn container_id(cidfile: &Path) -> Option<String> {
    let file = read::open(cidfile).ok()?;
    let status = file.metadata().ok()?;
    // The client runs as we do, and nobody else says which container it is.
    if status.uid() != geteuid().as_raw() || status.len() > LONGEST as u64 {
        return None;
    }
    let mut text = [0; LONGEST];
    let length = read::fill(file.as_fd(), &mut text, Deadline::new(Instant::now(), Duration::ZERO)).ok()?;
    let id = std::str::from_utf8(&text[..length]).ok()?.trim_end();
    (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.to_owned())
}

/// Whether the process at the other end runs in that container.
pub fn is_of_container(peer: &UnixStream, id: &str) -> bool {
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
