//! `USER[:GROUP]`, and what its names mean: by `/etc/passwd` and `/etc/group` and nothing else. A static
//! glibc would `dlopen` the modules that nsswitch.conf names, from a glibc that is not ours.

use std::fmt;
use std::io;
use std::path::Path;

use crate::deadline::Deadline;
use crate::read;

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
                let group = groups(&file).find(|(group, _)| *group == name.as_bytes());
                Some(group.ok_or_else(|| format!("there is no group '{name}' in {GROUP}"))?.1)
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

/// A line of passwd(5), as far as it is needed.
struct User<'a> {
    name: &'a [u8],
    id: u32,
    group: u32,
}

/// `name:password:uid:gid:…`. A line that is not so is nobody, as for the C library.
fn users(file: &[u8]) -> impl Iterator<Item = User<'_>> {
    lines(file).filter_map(|fields| match fields[..] {
        [name, _, id, group, ..] => Some(User { name, id: number(id)?, group: number(group)? }),
        _ => None,
    })
}

/// `name:password:gid:…`.
fn groups(file: &[u8]) -> impl Iterator<Item = (&[u8], u32)> {
    lines(file).filter_map(|fields| match fields[..] {
        [name, _, id, ..] => Some((name, number(id)?)),
        _ => None,
    })
}

fn lines(file: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    file.split(|&byte| byte == b'\n').map(|line| line.split(|&byte| byte == b':').collect())
}

fn number(field: &[u8]) -> Option<u32> {
    let is_number = field.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(field).ok()?.parse().ok().filter(|&id| is_number && id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\n+::::::\nweb:x:1000:1001:Web:/srv:/bin/false\n\
                         neg:x:-1:5::/:\nall:x:4294967295:5::/:\nplus:x:+7:5::/:\nweb:x:9:9::/:\nlast:x:7:8";
    const GROUPS: &str = "root:x:0:\nweb:x:1001:web\ntls:x:77:web,other\nbad:x:x:\n";

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
                let _ = owner.look_up(|_| Ok(file.clone().into_bytes()));
                prop_assert_eq!(owner.to_string().replace('0', ""), name.replace('0', ""));
            }
        }
    }
}
