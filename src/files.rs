//! Files for `--file`: in memory, never on a disk, gone with the last process that has them.
//!
//! Whatever may be refused is tried before the first packet: descriptors, mounts, modes and owners.
//! What is left for later is to write.

mod memory;
mod mount;

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, fchown};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{getegid, geteuid};

use crate::deadline::Deadline;
use crate::env::{Delivered, EnvPlan, FileRule, Value};
use crate::error::Error;
use crate::identity::Identity;
use crate::users::Ids;
use mount::Mount;

/// Files that are there and still empty. They must live until exec: what is a descriptor is closed
/// with this.
pub struct Files {
    files: Vec<Empty>,
    mounts: Vec<Mount>,
}

/// A file with its mode and owner, and nothing in it yet.
struct Empty {
    name: String,
    delivered: Delivered,
    body: Body,
}

enum Body {
    /// A descriptor, which the command inherits.
    Memory(File),
    /// On a mount of ours.
    Mounted(File),
    /// A dry run makes no directory on a disk.
    Nowhere,
}

impl Files {
    /// Makes room for them. A dry run does the same, but for directories that are not there.
    pub fn prepare(
        rules: &[FileRule],
        identity: &Identity,
        dry_run: bool,
        deadline: Deadline,
    ) -> Result<Self, Error> {
        let mut directories: Vec<&Path> =
            rules.iter().filter_map(|rule| rule.path.as_ref()?.parent()).collect();
        // Outer ones first, for an inner one is made inside.
        directories.sort_unstable();
        directories.dedup();
        let mut files = Self { files: Vec::new(), mounts: mount::all(&directories, dry_run)? };
        // Directories that we made have the umask's mode, and those above them their own.
        if !files.mounts.is_empty() {
            match identity.within(|| files.mounts.iter().try_for_each(Mount::check_entry)) {
                // Said already.
                Err(_) if dry_run => {}
                entered => entered??,
            }
        }
        files.make(rules, identity, dry_run, deadline)?;
        Ok(files)
    }

    /// Makes room for all of them once more, beside those that are there, for other content.
    pub fn prepare_again(
        &mut self,
        rules: &[FileRule],
        identity: &Identity,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let writable = self.mounts.iter().try_for_each(Mount::make_writable);
        let made = writable.and_then(|()| self.make(rules, identity, false, deadline));
        if made.is_err() {
            // The command that runs goes on, and so does what holds for its files.
            self.places(rules).for_each(|(mount, name)| mount.remove_unfinished(name));
            self.mounts.iter().rev().for_each(|mount| drop(mount.make_read_only()));
        }
        made
    }

    fn places<'a>(&'a self, rules: &'a [FileRule]) -> impl Iterator<Item = (&'a Mount, &'a OsStr)> {
        rules.iter().filter_map(|rule| self.place(rule.path.as_ref()?))
    }

    fn make(
        &mut self,
        rules: &[FileRule],
        identity: &Identity,
        dry_run: bool,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let make =
            |rule: &FileRule| Empty::new(rule, owner(rule, identity, deadline)?, &self.mounts, dry_run);
        self.files = rules.iter().map(make).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// The command has them now.
    pub fn close_descriptors(&mut self) {
        self.files.clear();
    }

    fn place<'a>(&'a self, path: &'a Path) -> Option<(&'a Mount, &'a OsStr)> {
        let mount = self.mounts.iter().find(|mount| Some(mount.path()) == path.parent())?;
        Some((mount, path.file_name()?))
    }

    /// Writes them, and tells their variables the paths. From then on nobody can change them.
    pub fn deliver(&mut self, environment: &mut EnvPlan) {
        let mut mounted = Vec::new();
        for file in std::mem::take(&mut self.files) {
            let of_it = |name: &[u8]| name == file.name.as_bytes();
            let value = environment.variables.iter_mut().find(|variable| of_it(&variable.name));
            let there = match value.map(|variable| &mut variable.value) {
                Some(Value::File { content, delivered, .. }) => {
                    *delivered = Some(file.delivered.clone());
                    Some(content)
                }
                // Optional, and missing.
                _ => None,
            };
            if let Body::Mounted(_) = file.body {
                mounted.push((file.name.clone(), file.delivered.path.clone(), there.is_some()));
            }
            // EXPOSE: into memory that is the command's.
            match there.map_or(Ok(None), |content| file.write(content.expose())) {
                Ok(kept) => self.files.extend(kept),
                Err(error) => environment.problems.push(error),
            }
        }
        // All of them or none: a command may run that keeps what it has if one does not fit.
        let complete = environment.problems.is_empty();
        for (name, path, there) in mounted {
            let Some((mount, file)) = self.place(&path) else { continue };
            match (complete, there) {
                (true, true) => environment
                    .problems
                    .extend(mount.put(file).err().map(|cause| Error::File { name, cause })),
                (true, false) => mount.remove(file),
                (false, _) => mount.remove_unfinished(file),
            }
        }
        environment.warnings.extend(self.mounts.iter_mut().filter_map(|mount| mount.warning.take()));
        // Inner ones first; a file that is open for writing would be in the way.
        for mount in self.mounts.iter().rev() {
            if let Err(error) = mount.make_read_only() {
                environment.problems.push(error);
            }
        }
    }
}

impl Empty {
    fn new(rule: &FileRule, owner: Option<NewOwner>, mounts: &[Mount], dry_run: bool) -> Result<Self, Error> {
        let failed = |cause: io::Error| Error::File { name: rule.name.clone(), cause };
        let (path, body) = match &rule.path {
            None => {
                let (file, path) = memory::create().map_err(failed)?;
                (path, Body::Memory(file))
            }
            Some(path) => {
                let mount = mounts.iter().find(|mount| Some(mount.path()) == path.parent());
                let name = path.file_name().unwrap_or(OsStr::from_bytes(b"."));
                let file = mount.and_then(|mount| mount.create(name)).transpose().map_err(failed)?;
                (path.clone(), file.map_or(Body::Nowhere, Body::Mounted))
            }
        };
        if let Body::Memory(file) | Body::Mounted(file) = &body {
            // Before the owner: afterwards it would take CAP_FOWNER.
            file.set_permissions(Permissions::from_mode(rule.mode)).map_err(failed)?;
            if let Some(owner) = &owner {
                match fchown(file, Some(owner.ids.user), owner.ids.group) {
                    // A dry run without the right to be that user has said so already.
                    Err(_) if dry_run && rule.owner.is_none() => {}
                    given => given.map_err(|cause| Error::FileOwner {
                        name: rule.name.clone(),
                        owner: owner.shown.clone(),
                        cause,
                    })?,
                }
            }
        }
        let ids = owner.map(|owner| owner.ids);
        let user = ids.map_or(geteuid().as_raw(), |ids| ids.user);
        let group = ids.and_then(|ids| ids.group).unwrap_or(getegid().as_raw());
        Ok(Self {
            name: rule.name.clone(),
            delivered: Delivered { path, mode: rule.mode, user, group },
            body,
        })
    }

    /// What is to be kept open for the command.
    fn write(self, content: &[u8]) -> Result<Option<Self>, Error> {
        match &self.body {
            Body::Nowhere => return Ok(None),
            Body::Mounted(file) => write(file, content).map(|()| false),
            Body::Memory(file) => write(file, content).and_then(|()| memory::seal(file)).map(|()| true),
        }
        .map_err(|cause| Error::File { name: self.name.clone(), cause })
        .map(|keep| keep.then_some(self))
    }
}

/// A service may be forbidden to write files (`LimitFSIZE=0`), and the kernel counts memory as one. What
/// goes beyond the limit would end us by SIGXFSZ; as far as we may, the limit is set aside.
fn write(mut file: &File, content: &[u8]) -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_FSIZE)?;
    let size = content.len() as u64;
    if size > hard {
        return Err(Errno::EFBIG.into());
    }
    if size <= soft {
        return file.write_all(content);
    }
    setrlimit(Resource::RLIMIT_FSIZE, hard, hard)?;
    let written = file.write_all(content);
    setrlimit(Resource::RLIMIT_FSIZE, soft, hard)?;
    written
}

/// Whose a file becomes.
struct NewOwner {
    ids: Ids,
    shown: String,
}

/// The one that is named, else COMMAND's user. None: it stays ours.
fn owner(rule: &FileRule, identity: &Identity, deadline: Deadline) -> Result<Option<NewOwner>, Error> {
    let Some(owner) = &rule.owner else {
        return Ok(identity.ids().map(|ids| NewOwner { ids, shown: ids.user.to_string() }));
    };
    match owner.ids(deadline) {
        Ok(ids) => Ok(Some(NewOwner { ids, shown: owner.to_string() })),
        Err(problem) => Err(Error::UnknownUser { origin: format!("--file {}", rule.name), problem }),
    }
}
