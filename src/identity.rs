//! Who COMMAND runs as: `--user` and `--no-new-privs`.
//!
//! Until exec we stay who we are, so that the token, the cache and the mounts need not be COMMAND's to use.
//! What it will be allowed to do is tried out before, in a thread that becomes that user.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;

use crate::deadline::Deadline;
use crate::env::inherit::{self, Entry};
use crate::env_vars;
use crate::error::Error;
use crate::sys::{self, Credentials, Refused, Step};
use crate::users::{Account, Ids, NoAccount, Owner};

/// What was typed.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub user: Option<Owner>,
    pub no_new_privs: bool,
}

/// What that means on this machine.
#[derive(Clone, Debug)]
pub struct Identity {
    pub account: Option<Account>,
    pub no_new_privs: bool,
    credentials: Credentials,
    option: String,
}

impl Identity {
    pub fn look_up(wanted: &Wanted, deadline: Deadline) -> Result<Self, Error> {
        let option = wanted.user.as_ref().map(|owner| format!("--user {owner}")).unwrap_or_default();
        let account = wanted.user.as_ref().map(|owner| owner.account(deadline)).transpose();
        let account = account.map_err(|none| match none {
            NoAccount::Unknown(problem) => Error::UnknownUser { origin: option.clone(), problem },
            NoAccount::NoGroup(uid) => Error::usage(
                format!("{option}: this number is not in /etc/passwd, so its group is not known"),
                format!("give the group too, for example: --user {uid}:{uid}"),
            ),
        })?;
        let user = account.as_ref().map(|account| (account.uid, account.gid, account.groups.clone()));
        let credentials = Credentials::new(user, wanted.no_new_privs);
        Ok(Self { account, no_new_privs: wanted.no_new_privs, credentials, option })
    }

    /// Whose files are COMMAND's.
    pub fn ids(&self) -> Option<Ids> {
        self.account.as_ref().map(|account| Ids { user: account.uid, group: Some(account.gid) })
    }

    /// Who stays beside COMMAND passes signals on, and must be allowed to (kill(2)).
    pub fn check_signals(&self) -> Result<(), Error> {
        let Some(account) = &self.account else { return Ok(()) };
        let ours = [nix::unistd::getuid(), nix::unistd::geteuid()];
        if ours.iter().any(|uid| uid.as_raw() == account.uid) || sys::may_signal_everybody() {
            return Ok(());
        }
        Err(Error::User {
            option: self.option.clone(),
            problem: "without CAP_KILL no signal could be passed on to the command".into(),
            hint: "add CAP_KILL, or do without --init, --watch and --mask",
        })
    }

    /// What is inherited, with the variables of a login changed to the user's, as systemd's `User=` does.
    pub fn log_in<'a>(&self, inherited: &'a [Entry]) -> Cow<'a, [Entry]> {
        let Some(account) = &self.account else { return Cow::Borrowed(inherited) };
        let name = account.name.as_deref();
        let of_login = [
            (env_vars::HOME, Some(account.home.as_os_str())),
            (env_vars::USER, name),
            (env_vars::LOGNAME, name),
        ];
        let is_of_login =
            |entry: &&Entry| of_login.iter().any(|(name, _)| inherit::name(entry) == Some(name.as_bytes()));
        let others = inherited.iter().filter(|entry| !is_of_login(entry)).cloned();
        let entry = |name: &str, value: &OsStr| {
            let entry: OsString = [OsStr::new(name), OsStr::new("="), value].into_iter().collect();
            Cow::Owned(entry.as_bytes().to_vec())
        };
        others.chain(of_login.iter().filter_map(|(name, value)| Some(entry(name, (*value)?)))).collect()
    }

    /// Does this with the rights that COMMAND will have, or says why it cannot have them.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        if self.account.is_none() && !self.no_new_privs {
            return Ok(work());
        }
        let done = self.credentials.within(work).map_err(|cause| Error::Resources { cause })?;
        done.map_err(|refused| self.error(refused))
    }

    /// What is applied at the last moment, in our place or in a child's.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// After it nothing of COMMAND's may run.
    pub fn error(&self, refused: Refused) -> Error {
        const RIGHTS: &str =
            "start as root, or with CAP_SETUID and CAP_SETGID; in a container, leave out the image's USER";
        const ROOT: &str =
            "without CAP_SETPCAP root would get capabilities back: choose another user, or leave out --user";
        const MAP: &str =
            "map this id into the user namespace (newuidmap, newgidmap), or choose one that is there";
        let Refused { step, errno } = refused;
        let what = match step {
            Step::Groups => "the supplementary groups",
            Step::GroupId => "the group id",
            Step::UserId => "the user id",
            Step::BoundingSet => "the bounding set of capabilities",
            Step::AmbientSet => "the ambient capabilities",
            Step::Capabilities => "the capabilities",
            Step::NoNewPrivs => "the flag",
        };
        let option = if step == Step::NoNewPrivs { "--no-new-privs" } else { self.option.as_str() };
        let error = |problem: String, hint| Error::User { option: option.into(), problem, hint };
        let Some(errno) = errno else {
            return error(
                format!("the kernel agreed to set {what}, and they are something else"),
                "check the seccomp profile, or whatever else answers for the kernel here",
            );
        };
        let cause = io::Error::from_raw_os_error(errno);
        let mut problem = format!("{what} cannot be set: {cause}");
        let hint = match (step, Errno::from_raw(errno)) {
            (Step::Groups, Errno::EPERM) if groups_are_denied() => {
                problem.push_str(", as /proc/self/setgroups says 'deny' for this user namespace");
                "let newgidmap map the groups of the user namespace, or do without --user"
            }
            (Step::Groups | Step::GroupId | Step::UserId, Errno::EINVAL) => MAP,
            (Step::Groups | Step::GroupId | Step::UserId, _) => RIGHTS,
            (Step::BoundingSet, _) => ROOT,
            (Step::AmbientSet | Step::Capabilities | Step::NoNewPrivs, _) => "check the seccomp profile",
        };
        error(problem, hint)
    }
}

/// Whoever made this user namespace without a right to the groups of the one around it (user_namespaces(7)).
fn groups_are_denied() -> bool {
    fs::read("/proc/self/setgroups").is_ok_and(|text| text.trim_ascii() == b"deny")
}
