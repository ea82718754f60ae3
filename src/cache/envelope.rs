//! The form of a sealed file. Pure: bytes to bytes.
//!
//! ```text
//! offset  bytes
//!      0      8  "bws-exec"
//!      8      1  format, 1
//!      9      1  kind: 1 a snapshot, 2 a session
//!     10     32  salt, random for each write
//!     42    2^n  AES-256-GCM of: length of the content (8, little endian), content, zeros; n >= 14
//! 42+2^n     16  tag
//! ```
//!
//! Key and nonce: `HKDF-SHA256(salt, ikm = the token's secret parts, info = "bws-exec cache v1 <kind>", L = 44)`.
//! Authenticated with it: the header, both server URLs and the token's id, so that a file of one cannot
//! stand in for that of another.

use zeroize::Zeroizing;

use crate::crypto::{CacheKey, Salt, TAG_LENGTH};

const MAGIC: &[u8; 8] = b"bws-exec";
const FORMAT: u8 = 1;
const SALT_AT: usize = MAGIC.len() + 2;
const HEADER: usize = SALT_AT + size_of::<Salt>();
const LENGTH: usize = size_of::<u64>();
/// Small accounts cannot be told apart by the size of their files.
const SMALLEST: usize = 16 * 1024;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Snapshot,
    Session,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Snapshot => 1,
            Self::Session => 2,
        }
    }

    const fn purpose(self) -> &'static [u8] {
        match self {
            Self::Snapshot => b"bws-exec cache v1 snapshot",
            Self::Session => b"bws-exec cache v1 session",
        }
    }
}

/// Why a file is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("it is not a file of bws-exec")]
    NotOurs,
    #[error("it has format {0}, of a newer bws-exec")]
    Newer(u8),
    #[error("it was cut short")]
    Truncated,
    #[error("it was changed, or belongs to another token or server")]
    Failed,
}

/// Whose files they are.
#[derive(Debug)]
pub struct Owner<'a> {
    pub key: &'a CacheKey,
    /// Everything besides the token's secret that a file is bound to.
    pub binding: Vec<u8>,
}

/// Seals content of `length` bytes, which `write` puts into the buffer that it is given.
pub fn seal(
    owner: &Owner<'_>,
    kind: Kind,
    salt: &Salt,
    length: usize,
    write: impl FnOnce(&mut [u8]),
) -> Option<Vec<u8>> {
    let padded = (LENGTH + length).max(SMALLEST).checked_next_power_of_two()?;
    // Plaintext is in it until it is encrypted in place: it must not move.
    let mut file = Zeroizing::new(Vec::with_capacity(HEADER + padded + TAG_LENGTH));
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&[FORMAT, kind.byte()]);
    file.extend_from_slice(salt);
    let header = authenticated(&file, owner);
    file.resize(HEADER + padded, 0);
    let body = &mut file[HEADER..];
    body[..LENGTH].copy_from_slice(&(length as u64).to_le_bytes());
    write(&mut body[LENGTH..LENGTH + length]);
    let tag = owner.key.encrypt(salt, kind.purpose(), &header, body)?;
    file.extend_from_slice(&tag);
    Some(std::mem::take(&mut *file))
}

/// Opens a file in its own buffer and returns its content, which lies in that buffer.
pub fn open<'a>(owner: &Owner<'_>, kind: Kind, file: &'a mut [u8]) -> Result<&'a [u8], Problem> {
    if !file.starts_with(&MAGIC[..file.len().min(MAGIC.len())]) {
        return Err(Problem::NotOurs);
    }
    let (format, kind_byte) = (file.get(MAGIC.len()), file.get(MAGIC.len() + 1));
    match format.copied() {
        Some(newer) if newer > FORMAT => return Err(Problem::Newer(newer)),
        Some(FORMAT) | None => {}
        Some(_) => return Err(Problem::NotOurs),
    }
    let padded = file.len().saturating_sub(HEADER + TAG_LENGTH);
    if padded < SMALLEST || !padded.is_power_of_two() {
        return Err(Problem::Truncated);
    }
    if kind_byte != Some(&kind.byte()) {
        return Err(Problem::Failed);
    }
    let (header, rest) = file.split_at_mut(HEADER);
    let (body, tag) = rest.split_at_mut(padded);
    let (mut salt, mut expected) = (Salt::default(), [0; TAG_LENGTH]);
    salt.copy_from_slice(&header[SALT_AT..]);
    expected.copy_from_slice(tag);
    let header = authenticated(header, owner);
    owner.key.decrypt(&salt, kind.purpose(), &header, body, &expected).map_err(|_| Problem::Failed)?;
    let (length, content) = body.split_at(LENGTH);
    let length =
        length.try_into().map(u64::from_le_bytes).ok().and_then(|length| usize::try_from(length).ok());
    length.and_then(|length| content.get(..length)).ok_or(Problem::Failed)
}

/// Header and binding, each of a known length or preceded by it.
fn authenticated(header: &[u8], owner: &Owner<'_>) -> Vec<u8> {
    [header, &owner.binding].concat()
}

/// Texts as one sequence of bytes that no other texts give.
pub fn binding(texts: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in texts {
        bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> CacheKey {
        CacheKey::new("C2IgxjjLF7qSshsbwe8JGcbM075YXw", &[7; 16])
    }

    fn owner(key: &CacheKey) -> Owner<'_> {
        Owner { key, binding: binding(&["https://identity.example.org/", "https://api.example.org/"]) }
    }

    fn sealed(key: &CacheKey, content: &[u8]) -> Vec<u8> {
        let write = |buffer: &mut [u8]| buffer.copy_from_slice(content);
        seal(&owner(key), Kind::Snapshot, &[3; 32], content.len(), write).unwrap()
    }

    fn problem(owner: &Owner<'_>, kind: Kind, file: &[u8]) -> Option<Problem> {
        open(owner, kind, &mut file.to_vec()).err()
    }

    #[test]
    fn only_the_same_owner_and_kind_open_it() {
        let key = key();
        let file = sealed(&key, b"content");
        let mut copy = file.clone();
        assert_eq!(open(&owner(&key), Kind::Snapshot, &mut copy), Ok(&b"content"[..]));
        assert_eq!(problem(&owner(&key), Kind::Session, &file), Some(Problem::Failed));
        for other in [
            CacheKey::new("C2IgxjjLF7qSshsbwe8JGcbM075YXW", &[7; 16]),
            CacheKey::new("C2IgxjjLF7qSshsbwe8JGcbM075YXw", &[8; 16]),
        ] {
            assert_eq!(problem(&owner(&other), Kind::Snapshot, &file), Some(Problem::Failed));
        }
        let elsewhere = Owner { binding: binding(&["https://identity.example.org/"]), ..owner(&key) };
        assert_eq!(problem(&elsewhere, Kind::Snapshot, &file), Some(Problem::Failed));
        assert_ne!(binding(&["ab", "c"]), binding(&["a", "bc"]));
    }

    #[test]
    fn what_is_not_such_a_file_is_told_apart() {
        let key = key();
        let file = sealed(&key, b"content");
        let changed = |at: usize, byte: u8| {
            let mut file = file.clone();
            file[at] = byte;
            problem(&owner(&key), Kind::Snapshot, &file)
        };
        assert_eq!(changed(0, b'x'), Some(Problem::NotOurs));
        assert_eq!(changed(8, 2), Some(Problem::Newer(2)));
        assert_eq!(changed(8, 0), Some(Problem::NotOurs));
        assert_eq!(changed(9, 2), Some(Problem::Failed));
        for length in [0, 3, 8, 9, 10, 41, 58, 1000, file.len() - 1] {
            let found = problem(&owner(&key), Kind::Snapshot, &file[..length]);
            assert_eq!(found, Some(Problem::Truncated), "{length}");
        }
        assert_eq!(problem(&owner(&key), Kind::Snapshot, b"{}"), Some(Problem::NotOurs));
    }

    #[test]
    fn the_size_tells_only_a_power_of_two() {
        let key = key();
        let padded = |length: usize| sealed(&key, &vec![1; length]).len() - HEADER - TAG_LENGTH;
        assert_eq!(padded(0), 16 * 1024);
        assert_eq!(padded(16 * 1024 - 8), 16 * 1024);
        assert_eq!(padded(16 * 1024 - 7), 32 * 1024);
        assert_eq!(padded(100_000), 128 * 1024);
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(content in proptest::collection::vec(any::<u8>(), 0..40_000)) {
            let key = key();
            let mut file = sealed(&key, &content);
            prop_assert!(!file.windows(content.len().max(8)).any(|window| window == content));
            prop_assert_eq!(open(&owner(&key), Kind::Snapshot, &mut file), Ok(&content[..]));
        }

        #[test]
        fn a_flipped_bit_is_noticed(at in any::<proptest::sample::Index>(), bit in 0u8..8) {
            let key = key();
            let mut file = sealed(&key, b"content");
            let at = at.index(file.len());
            file[at] ^= 1 << bit;
            prop_assert!(open(&owner(&key), Kind::Snapshot, &mut file).is_err());
        }

        #[test]
        fn any_bytes_are_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), prefix in 0usize..11) {
            let key = key();
            let start = [&MAGIC[..], &[FORMAT, 1]].concat();
            bytes.splice(0..0, start[..prefix.min(start.len())].iter().copied());
            prop_assert!(open(&owner(&key), Kind::Snapshot, &mut bytes).is_err());
        }
    }
}
