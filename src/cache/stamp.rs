//! When something happened, on both clocks of this machine.
//!
//! The wall clock can be set back and the boot-time clock begins anew with each boot. Taken together
//! they make things look older than they are at worst, which is the safe side.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};

/// How far a wall clock may have been set back before an age is not believed any more.
const TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// It stays the same for as long as any process lives.
static BOOT_ID: LazyLock<Option<[u8; 16]>> = LazyLock::new(|| {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    uuid::Uuid::try_parse(text.trim()).ok().map(|id| *id.as_bytes())
});

/// A moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Since 1970.
    pub wall: Duration,
    /// Since this boot, suspended time included.
    pub boot: Duration,
    /// Which boot; `None` where the kernel does not tell.
    pub boot_id: Option<[u8; 16]>,
}

impl Stamp {
    pub fn now() -> Self {
        Self {
            wall: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
            boot: clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default(),
            boot_id: *BOOT_ID,
        }
    }

    /// The same boot, `by` before.
    pub fn earlier(self, by: Duration) -> Self {
        Self { wall: self.wall.saturating_sub(by), boot: self.boot.saturating_sub(by), ..self }
    }

    /// Time since then: the larger of what the two clocks say. `None` if the wall clock was set back so
    /// far that nobody can tell.
    pub fn age(&self, now: &Self) -> Option<Duration> {
        if now.wall + TOLERANCE < self.wall {
            return None;
        }
        let by_wall = now.wall.saturating_sub(self.wall);
        match self.same_boot(now) {
            true => Some(by_wall.max(now.boot.saturating_sub(self.boot))),
            false => Some(by_wall),
        }
    }

    /// Whether it certainly was at `other` or later: on both clocks, for one can be set and the other
    /// is shifted in a time namespace.
    pub fn is_at_or_after(&self, other: &Self) -> bool {
        self.same_boot(other) && self.boot >= other.boot && self.wall >= other.wall
    }

    fn same_boot(&self, other: &Self) -> bool {
        self.boot_id.is_some() && self.boot_id == other.boot_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(wall: u32, boot: u32, boot_id: u8) -> Stamp {
        let boot_id = (boot_id > 0).then_some([boot_id; 16]);
        Stamp { wall: wall * HOUR, boot: boot * HOUR, boot_id }
    }

    #[test]
    fn the_larger_age_counts() {
        let then = at(100, 5, 1);
        assert_eq!(then.age(&at(103, 8, 1)), Some(3 * HOUR));
        assert_eq!(then.age(&at(101, 8, 1)), Some(3 * HOUR), "the wall clock was set back");
        assert_eq!(then.age(&at(103, 6, 1)), Some(3 * HOUR), "the wall clock was set forward");
        assert_eq!(then.age(&at(103, 1, 2)), Some(3 * HOUR), "another boot");
        assert_eq!(then.age(&at(103, 50, 2)), Some(3 * HOUR), "another boot");
        assert_eq!(at(100, 5, 0).age(&at(101, 50, 0)), Some(HOUR), "the boot is not known");
    }

    #[test]
    fn a_clock_far_before_the_stamp_tells_nothing() {
        let then = at(100, 5, 1);
        let now = |back: u64| Stamp { wall: then.wall - Duration::from_secs(back), ..at(0, 6, 1) };
        assert_eq!(then.age(&now(300)), Some(HOUR));
        assert_eq!(then.age(&now(301)), None);
        assert_eq!(then.age(&Stamp { boot_id: None, ..now(299) }), Some(Duration::ZERO));
    }

    #[test]
    fn an_order_is_believed_if_both_clocks_tell_it() {
        assert!(at(9, 5, 1).is_at_or_after(&at(9, 5, 1)));
        assert!(at(10, 6, 1).is_at_or_after(&at(9, 5, 1)));
        assert!(!at(8, 6, 1).is_at_or_after(&at(9, 5, 1)), "the wall clock was set");
        assert!(!at(10, 4, 1).is_at_or_after(&at(9, 5, 1)), "a time namespace");
        assert!(!at(10, 6, 2).is_at_or_after(&at(9, 5, 1)), "another boot");
        assert!(!at(10, 6, 0).is_at_or_after(&at(9, 5, 0)), "boots that are not known");
    }

    #[test]
    fn now_is_now() {
        let (first, second) = (Stamp::now(), Stamp::now());
        assert!(second.is_at_or_after(&first) && first.boot > Duration::ZERO);
        assert!(first.age(&second).is_some_and(|age| age < Duration::from_secs(60)));
        assert!(first.is_at_or_after(&second.earlier(HOUR)));
    }
}
