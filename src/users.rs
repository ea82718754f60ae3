//! `USER[:GROUP]`, and what its names mean: by `/etc/passwd` and `/etc/group` and nothing else. A static
//! glibc would `dlopen` the modules that nsswitch.conf names, from a glibc that is not ours.

mod files;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use crate::deadline::Deadline;
use crate::read;
use files::{groups, users};

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";
/// More than any such file has: a hundred thousand lines.
const LARGEST: usize = 16 * 1024 * 1024;

/// `USER[:GROUP]` as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    user: Who,
    group: Option<Who>,
}

/// A name, or the number itself.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Who {
    Id(u32),
    Name(String),
}

/// What the kernel knows an [`Owner`] by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    pub user: u32,
    /// The one given, else the user's own. None if only a number is known, which stands in no file.
    pub group: Option<u32>,
}

/// Everything that a process of a user has of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// None for a number that stands in no file.
    pub name: Option<OsString>,
    pub uid: u32,
    pub gid: u32,
    /// As initgroups(3) sets them: `gid`, and every group that lists the user. In order, each once.
    pub groups: Vec<u32>,
    /// `/` if there is none.
    pub home: OsString,
}

/// Why there is no such account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAccount {
    /// A number alone does not say in which group it is.
    NoGroup(u32),
    Unknown(String),
}

impl Owner {
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match text.split_once(':') {
            Some((user, group)) => Ok(Self { user: Who::parse(user)?, group: Some(Who::parse(group)?) }),
            None => Ok(Self { user: Who::parse(text)?, group: None }),
        }
    }

    /// Looks names up. Numbers need no file, and none of theirs need be there.
    pub fn ids(&self, deadline: Deadline) -> Result<Ids, String> {
        self.look_up(|path| read::whole(Path::new(path), LARGEST, deadline))
    }

    /// Looks up what a process of that user has.
    pub fn account(&self, deadline: Deadline) -> Result<Account, NoAccount> {
        self.look_up_account(|path| read::whole(Path::new(path), LARGEST, deadline))
    }

    fn look_up_account(&self, read: impl Fn(&str) -> io::Result<Vec<u8>>) -> Result<Account, NoAccount> {
        let ids = self.look_up(&read).map_err(NoAccount::Unknown)?;
        let gid = ids.group.ok_or(NoAccount::NoGroup(ids.user))?;
        // It was there a moment ago, if it has to be.
        let passwd = read(PASSWD).unwrap_or_default();
        let mut found = users(&passwd).filter(|user| user.id == ids.user);
        let user = match &self.user {
            Who::Name(name) => found.find(|user| user.name == name.as_bytes()),
            Who::Id(_) => found.next(),
        };
        let mut numbers = vec![gid];
        if let Some(user) = &user {
            let file = match read(GROUP) {
                // Without the file there are no groups to be in.
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => Vec::new(),
                file => file.map_err(|cause| NoAccount::Unknown(format!("cannot read {GROUP}: {cause}")))?,
            };
            numbers.extend(groups(&file).filter(|group| group.has(user.name)).map(|group| group.id));
        }
        numbers.sort_unstable();
        numbers.dedup();
        let home = user.as_ref().map_or(&b""[..], |user| user.home);
        let home = if home.starts_with(b"/") { home } else { b"/" };
        Ok(Account {
            name: user.as_ref().map(|user| OsString::from_vec(user.name.to_vec())),
            uid: ids.user,
            gid,
            groups: numbers,
            home: OsString::from_vec(home.to_vec()),
        })
    }

    fn look_up(&self, read: impl Fn(&str) -> io::Result<Vec<u8>>) -> Result<Ids, String> {
        let file = |path: &str| read(path).map_err(|cause| format!("cannot read {path}: {cause}"));
        let (user, own_group) = match (&self.user, &self.group) {
            (Who::Id(id), Some(_)) => (*id, None),
            (Who::Id(id), None) => {
                let passwd = read(PASSWD).unwrap_or_default();
                (*id, users(&passwd).find(|user| user.id == *id).map(|user| user.group))
            }
            (Who::Name(name), _) => {
                let passwd = file(PASSWD)?;
                let user = users(&passwd).find(|user| user.name == name.as_bytes());
                let user = user.ok_or_else(|| format!("there is no user '{name}' in {PASSWD}"))?;
                (user.id, Some(user.group))
            }
        };
        let group = match &self.group {
            None => own_group,
            Some(Who::Id(id)) => Some(*id),
            Some(Who::Name(name)) => {
                let file = file(GROUP)?;
                let group = groups(&file).find(|group| group.name == name.as_bytes());
                Some(group.ok_or_else(|| format!("there is no group '{name}' in {GROUP}"))?.id)
            }
        };
        Ok(Ids { user, group })
    }
}

impl Who {
    fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("a user or a group is missing");
        }
        if text.contains(':') {
            return Err("it has more than one ':'");
        }
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self::Name(text.into()));
        }
        match text.parse() {
            // To chown(2) and setresuid(2), -1 means: leave it as it is.
            Ok(u32::MAX) | Err(_) => Err("no id is as large as this"),
            Ok(id) => Ok(Self::Id(id)),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.user.fmt(f)?;
        self.group.iter().try_for_each(|group| write!(f, ":{group}"))
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\n+::::::\nweb:x:1000:1001:Web:/srv:/bin/false\n\
                         neg:x:-1:5::/:\nall:x:4294967295:5::/:\nplus:x:+7:5::/:\nweb:x:9:9::/:\n\
                         twin:x:1000:77::relative:\nlast:x:7:8\n:x:1:1::/:";
    const GROUPS: &str = "root:x:0:\nweb:x:1001:web\ntls:x:77:web,other\nbad:x:x:\nmore:x:5:twin,web\n\
                          web-data:x:6:website,last\n";

    fn ids(text: &str) -> Result<(u32, Option<u32>), String> {
        let read = |path: &str| Ok(if path == PASSWD { USERS } else { GROUPS }.as_bytes().to_vec());
        Owner::parse(text)?.look_up(read).map(|ids| (ids.user, ids.group))
    }

    #[test]
    fn names_and_numbers() {
        for (text, expected) in [
            ("web", (1000, Some(1001))),
            ("web:tls", (1000, Some(77))),
            ("web:5", (1000, Some(5))),
            ("last", (7, Some(8))),
            ("1000", (1000, Some(1001))),
            ("1000:tls", (1000, Some(77))),
            ("0:0", (0, Some(0))),
            ("4294967294", (4_294_967_294, None)),
        ] {
            assert_eq!(ids(text), Ok(expected), "{text}");
        }
        for wrong in [
            "",
            ":",
            "web:",
            ":tls",
            "a:b:c",
            "4294967295",
            "9999999999",
            "no",
            "web:no",
            "broken",
            "neg",
            "all",
            "plus",
            "+",
            "bad",
            "web:bad",
            "Web",
        ] {
            assert!(ids(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn accounts() {
        let account = |text: &str| {
            let read = |path: &str| Ok(if path == PASSWD { USERS } else { GROUPS }.as_bytes().to_vec());
            let account = Owner::parse(text).unwrap().look_up_account(read)?;
            let name = account.name.map(|name| name.into_string().unwrap()).unwrap_or_default();
            Ok((name, account.uid, account.gid, account.groups, account.home.into_string().unwrap()))
        };
        let is = |text: &str, name: &str, uid: u32, gid: u32, groups: &[u32], home: &str| {
            assert_eq!(account(text), Ok((name.into(), uid, gid, groups.to_vec(), home.into())), "{text}");
        };
        is("web", "web", 1000, 1001, &[5, 77, 1001], "/srv");
        is("1000", "web", 1000, 1001, &[5, 77, 1001], "/srv");
        // The group that is given stands in for the user's own.
        is("web:9", "web", 1000, 9, &[5, 9, 77, 1001], "/srv");
        is("web:more", "web", 1000, 5, &[5, 77, 1001], "/srv");
        // A second name of one number is its own.
        is("twin", "twin", 1000, 77, &[5, 77], "/");
        is("last", "last", 7, 8, &[6, 8], "/");
        is("4242:77", "", 4242, 77, &[77], "/");
        is("4242:tls", "", 4242, 77, &[77], "/");
        assert_eq!(account("1"), Err(NoAccount::NoGroup(1)), "a line without a name is nobody");
        assert_eq!(account("4242"), Err(NoAccount::NoGroup(4242)));
        assert!(matches!(account("no"), Err(NoAccount::Unknown(_))));
        let none = |_: &str| Err(io::Error::from(io::ErrorKind::NotFound));
        let account = Owner::parse("1000:7").unwrap().look_up_account(none).unwrap();
        assert_eq!((account.name, account.groups), (None, vec![7]));
    }

    /// In an image `FROM scratch` there is no such file.
    #[test]
    fn numbers_need_no_file() {
        let none = |_: &str| Err(io::Error::from(io::ErrorKind::NotFound));
        let look_up = |text: &str| Owner::parse(text).unwrap().look_up(none).map(|ids| (ids.user, ids.group));
        assert_eq!(look_up("1000"), Ok((1000, None)));
        assert_eq!(look_up("1000:1001"), Ok((1000, Some(1001))));
        assert_eq!(look_up("web").unwrap_err(), "cannot read /etc/passwd: entity not found");
        assert_eq!(look_up("1:web").unwrap_err(), "cannot read /etc/group: entity not found");
    }

    proptest! {
        #[test]
        fn any_file_is_read(file in "([a-c:0-9\\n]|\\PC){0,60}", name in "[a-c0-9:]{1,3}") {
            if let Ok(owner) = Owner::parse(&name) {
                let _ = owner.look_up_account(|_| Ok(file.clone().into_bytes()));
                prop_assert_eq!(owner.to_string().replace('0', ""), name.replace('0', ""));
            }
        }
    }
}
