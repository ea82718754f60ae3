//! What is in a sealed file, as bytes. By hand and not by serde: nothing that holds a secret can be
//! serialised by accident, and nothing is copied on the way.
//!
//! Numbers are little endian; a text is its length (4 bytes) and its UTF-8; a list is its length and
//! its items; something optional is preceded by 0 or 1.

use std::time::Duration;

use secrecy::ExposeSecret;

use super::stamp::Stamp;
use super::{SavedSession, SavedSnapshot};
use crate::api::Session;
use crate::crypto::OrganizationKey;
use crate::ids::{OrganizationId, ProjectId, SecretId};
use crate::snapshot::{EncryptedProject, EncryptedSecret};

/// What can be written. `put` is called twice with the same result: to count, then to write.
pub trait Encode {
    fn put(&self, out: &mut dyn FnMut(&[u8]));

    fn length(&self) -> usize {
        let mut length = 0;
        self.put(&mut |bytes| length += bytes.len());
        length
    }

    /// Writes into a buffer of exactly that length.
    fn write(&self, buffer: &mut [u8]) {
        let mut at = 0;
        self.put(&mut |bytes| {
            buffer[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        });
    }
}

impl Encode for SavedSnapshot {
    fn put(&self, out: &mut dyn FnMut(&[u8])) {
        [self.began, self.fetched, self.proved].iter().for_each(|stamp| put_stamp(out, stamp));
        out(self.organization.as_bytes());
        // EXPOSE: into the buffer that is encrypted next.
        out(self.key.expose());
        put_count(out, self.secrets.len());
        for secret in &self.secrets {
            out(secret.id.as_bytes());
            put_text(out, &secret.key);
            put_text(out, &secret.value);
            put_count(out, secret.projects.len());
            for project in &secret.projects {
                out(project.id.as_bytes());
                out(&[u8::from(project.name.is_some())]);
                project.name.iter().for_each(|name| put_text(out, name));
            }
        }
    }
}

impl Encode for SavedSession {
    fn put(&self, out: &mut dyn FnMut(&[u8])) {
        put_stamp(out, &self.proved);
        out(&self.session.lifetime.as_secs().to_le_bytes());
        out(self.session.organization.as_bytes());
        // EXPOSE: into the buffer that is encrypted next, here and below.
        out(self.session.key.expose());
        put_text(out, self.session.bearer.expose_secret());
    }
}

fn put_stamp(out: &mut dyn FnMut(&[u8]), stamp: &Stamp) {
    for clock in [stamp.wall, stamp.boot] {
        out(&clock.as_secs().to_le_bytes());
        out(&clock.subsec_nanos().to_le_bytes());
    }
    out(&[u8::from(stamp.boot_id.is_some())]);
    out(&stamp.boot_id.unwrap_or_default());
}

/// No account comes near it: an answer of the server is bounded.
fn put_count(out: &mut dyn FnMut(&[u8]), count: usize) {
    out(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_text(out: &mut dyn FnMut(&[u8]), text: &str) {
    put_count(out, text.len());
    out(text.as_bytes());
}

/// Reads a snapshot. `None` means a bug, or another program with the same key: the envelope has
/// authenticated every byte.
pub fn snapshot(bytes: &[u8]) -> Option<SavedSnapshot> {
    let mut input = Input(bytes);
    let saved = SavedSnapshot {
        began: input.stamp()?,
        fetched: input.stamp()?,
        proved: input.stamp()?,
        organization: OrganizationId::from_bytes(input.array()?),
        key: OrganizationKey::from_slice(input.take(64)?).ok()?,
        secrets: input.list(|input| {
            Some(EncryptedSecret {
                id: SecretId::from_bytes(input.array()?),
                key: input.text()?.to_owned(),
                value: input.text()?.to_owned(),
                projects: input.list(|input| {
                    Some(EncryptedProject {
                        id: ProjectId::from_bytes(input.array()?),
                        name: input.optional(|input| input.text().map(str::to_owned))?,
                    })
                })?,
            })
        })?,
    };
    input.0.is_empty().then_some(saved)
}

/// Reads a session.
pub fn session(bytes: &[u8]) -> Option<SavedSession> {
    let mut input = Input(bytes);
    let saved = SavedSession {
        proved: input.stamp()?,
        session: Session {
            lifetime: Duration::from_secs(u64::from_le_bytes(input.array()?)),
            organization: OrganizationId::from_bytes(input.array()?),
            key: OrganizationKey::from_slice(input.take(64)?).ok()?,
            bearer: input.text()?.into(),
        },
    };
    input.0.is_empty().then_some(saved)
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn count(&mut self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.array()?)).ok()
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.count()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.take(1)? {
            [0] => Some(None),
            [1] => read(self).map(Some),
            _ => None,
        }
    }

    /// Item by item: a count that was made up takes no memory.
    fn list<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.count()?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(read(self)?);
        }
        Some(items)
    }

    fn clock(&mut self) -> Option<Duration> {
        let (seconds, nanos) = (u64::from_le_bytes(self.array()?), u32::from_le_bytes(self.array()?));
        // More would overflow `Duration::new`, and no clock shows it.
        (nanos < 1_000_000_000 && seconds < u64::MAX / 2).then(|| Duration::new(seconds, nanos))
    }

    fn stamp(&mut self) -> Option<Stamp> {
        let (wall, boot) = (self.clock()?, self.clock()?);
        let known: [u8; 1] = self.array()?;
        let boot_id = self.array()?;
        Some(Stamp { wall, boot, boot_id: (known == [1]).then_some(boot_id) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(encode: &impl Encode) -> Vec<u8> {
        let mut buffer = vec![0; encode.length()];
        encode.write(&mut buffer);
        buffer
    }

    fn stamps() -> impl Strategy<Value = Stamp> {
        (0u64..1 << 40, 0u32..1_000_000_000, 0u64..1 << 40, proptest::option::of(any::<[u8; 16]>())).prop_map(
            |(wall, nanos, boot, boot_id)| Stamp {
                wall: Duration::new(wall, nanos),
                boot: Duration::from_nanos(boot),
                boot_id,
            },
        )
    }

    fn secrets() -> impl Strategy<Value = Vec<EncryptedSecret>> {
        let projects =
            proptest::collection::vec((any::<[u8; 16]>(), proptest::option::of("\\PC{0,9}")), 0..3);
        let secret = (any::<[u8; 16]>(), "\\PC{0,20}", "\\PC{0,50}", projects).prop_map(
            |(id, key, value, projects)| EncryptedSecret {
                id: SecretId::from_bytes(id),
                key,
                value,
                projects: projects
                    .into_iter()
                    .map(|(id, name)| EncryptedProject { id: ProjectId::from_bytes(id), name })
                    .collect(),
            },
        );
        proptest::collection::vec(secret, 0..5)
    }

    proptest! {
        #[test]
        fn a_snapshot_comes_back_whole(
            began in stamps(), fetched in stamps(), proved in stamps(), secrets in secrets(), key in any::<[u8; 32]>()
        ) {
            let key = OrganizationKey::from_slice(&[key, key].concat()).unwrap();
            let organization = OrganizationId::from_bytes([5; 16]);
            let saved = SavedSnapshot { began, fetched, proved, organization, key, secrets };
            let written = bytes(&saved);
            let read = snapshot(&written).unwrap();
            prop_assert_eq!((read.began, read.fetched, read.proved), (began, fetched, proved));
            prop_assert_eq!(read.secrets.len(), saved.secrets.len());
            prop_assert_eq!(bytes(&read), &written[..], "and so does everything else");
            for length in 0..written.len() {
                prop_assert!(snapshot(&written[..length]).is_none());
            }
            prop_assert!(snapshot(&[&written[..], &[0]].concat()).is_none());
        }

        #[test]
        fn a_session_comes_back_whole(proved in stamps(), lifetime in 0u64..1 << 60, bearer in "\\PC{0,200}") {
            let session = Session {
                bearer: bearer.as_str().into(),
                lifetime: Duration::from_secs(lifetime),
                organization: OrganizationId::from_bytes([5; 16]),
                key: OrganizationKey::from_slice(&[9; 64]).unwrap(),
            };
            let saved = SavedSession { proved, session };
            let written = bytes(&saved);
            let read = super::session(&written).unwrap();
            prop_assert_eq!(read.session.bearer.expose_secret(), &bearer);
            prop_assert_eq!(bytes(&read), written);
        }

        #[test]
        fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = snapshot(&bytes);
            let _ = session(&bytes);
        }
    }
}
