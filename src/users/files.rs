//! Lines of passwd(5) and group(5), as far as they are needed.

pub struct User<'a> {
    pub name: &'a [u8],
    pub id: u32,
    pub group: u32,
    pub home: &'a [u8],
}

pub struct Group<'a> {
    pub name: &'a [u8],
    pub id: u32,
    members: &'a [u8],
}

impl Group<'_> {
    pub fn has(&self, user: &[u8]) -> bool {
        self.members.split(|&byte| byte == b',').any(|member| member == user)
    }
}

/// `name:password:uid:gid:comment:home:…`. A line that is not so is nobody, as for the C library.
pub fn users(file: &[u8]) -> impl Iterator<Item = User<'_>> {
    lines(file).filter_map(|fields| match fields[..] {
        [name, _, id, group, ref rest @ ..] if !name.is_empty() => {
            let home = rest.get(1).copied().unwrap_or_default();
            Some(User { name, id: number(id)?, group: number(group)?, home })
        }
        _ => None,
    })
}

/// `name:password:gid:user,user…`.
pub fn groups(file: &[u8]) -> impl Iterator<Item = Group<'_>> {
    lines(file).filter_map(|fields| match fields[..] {
        [name, _, id, ref rest @ ..] if !name.is_empty() => {
            Some(Group { name, id: number(id)?, members: rest.first().copied().unwrap_or_default() })
        }
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
