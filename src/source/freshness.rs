//! What a kept snapshot is good for. Pure.

use std::time::Duration;

use crate::cache::{SavedSnapshot, Settings, Stamp};
use crate::deadline::rough;

/// How old a snapshot is that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ages {
    /// Since it was fetched: what has changed since is not in it.
    pub fetched: Duration,
    /// Since the login behind it: a token revoked since is still good for it.
    pub proved: Duration,
}

impl Ages {
    /// The ages of a snapshot that may serve, or why it may not.
    pub fn of(saved: &SavedSnapshot, now: &Stamp, settings: &Settings) -> Result<Self, String> {
        let (Some(fetched), Some(proved)) = (saved.fetched.age(now), saved.proved.age(now)) else {
            return Err("this machine's clock is before the time it was made".into());
        };
        if proved > settings.max_stale {
            let (age, limit) = (rough(proved), rough(settings.max_stale));
            return Err(format!("its login was {age} ago, and --max-stale is {limit}"));
        }
        Ok(Self { fetched, proved })
    }

    /// Whether nobody needs to be asked.
    pub fn are_young(&self, settings: &Settings) -> bool {
        self.fetched < settings.max_age
    }
}

/// Whether its fetch counts as one of a run that started then: nothing that was changed before the run
/// started can be missing in it.
pub fn is_own_fetch(saved: &SavedSnapshot, started: &Stamp) -> bool {
    saved.began.is_at_or_after(started)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::OrganizationKey;
    use crate::ids::OrganizationId;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(hours: u32) -> Stamp {
        Stamp { wall: hours * HOUR, boot: hours * HOUR, boot_id: Some([1; 16]) }
    }

    fn saved(began: u32, fetched: u32, proved: u32) -> SavedSnapshot {
        SavedSnapshot {
            began: at(began),
            fetched: at(fetched),
            proved: at(proved),
            organization: OrganizationId::from_bytes([0; 16]),
            key: OrganizationKey::from_slice(&[0; 64]).unwrap(),
            secrets: Vec::new(),
        }
    }

    fn settings(max_stale: Duration, max_age: Duration) -> Settings {
        Settings { directory: "/".into(), max_stale, max_age, offline: false, keep_session: true }
    }

    #[test]
    fn the_login_decides_whether_it_may_serve_at_all() {
        let settings = settings(24 * HOUR, HOUR);
        let ages = |fetched, proved, now| Ages::of(&saved(fetched, fetched, proved), &at(now), &settings);
        assert_eq!(ages(100, 100, 124), Ok(Ages { fetched: 24 * HOUR, proved: 24 * HOUR }));
        assert_eq!(ages(124, 100, 124), Ok(Ages { fetched: Duration::ZERO, proved: 24 * HOUR }));
        let too_old = "its login was 1d 1h ago, and --max-stale is 1d";
        assert_eq!(ages(125, 100, 125), Err(too_old.into()), "however young its content");
        assert!(ages(100, 100, 99).is_err(), "the clock was set back");
    }

    #[test]
    fn content_that_is_young_needs_no_server() {
        let young = |fetched, max_age| Ages { fetched, proved: HOUR }.are_young(&settings(HOUR, max_age));
        assert!(young(HOUR - Duration::from_nanos(1), HOUR));
        assert!(!young(HOUR, HOUR));
        assert!(!young(Duration::ZERO, Duration::ZERO), "never, unless asked for");
    }

    #[test]
    fn a_fetch_that_began_after_the_start_is_everybodys() {
        assert!(is_own_fetch(&saved(100, 100, 90), &at(100)));
        assert!(!is_own_fetch(&saved(99, 101, 101), &at(100)), "it may have missed a change");
    }
}
