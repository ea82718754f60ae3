//! How often the server is asked whether anything has changed. Pure.

use std::time::Duration;

/// Between two polls while the server cannot be asked, at most; the interval itself if that is longer.
const LONGEST: Duration = Duration::from_secs(5 * 60);
/// What a server may ask for. Not an error of its own, or of whoever answers in its place, for ever; and a
/// duration that cannot be multiplied would be a panic, which ends the command too.
const LONGEST_ASKED: Duration = Duration::from_secs(60 * 60);
/// A longer interval is this one.
const LONGEST_INTERVAL: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// What many that have seen one change wait, at most, so that they do not all restart at one moment.
const SPLAY: Duration = Duration::from_secs(10);
/// A person changes several secrets one after the other.
const SETTLE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    failures: u32,
    asked: Duration,
}

impl Pace {
    pub fn new(interval: Duration) -> Self {
        Self { interval: interval.min(LONGEST_INTERVAL), failures: 0, asked: Duration::ZERO }
    }

    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.asked = Duration::ZERO;
    }

    /// Whether it is the first in a row. `asked` is how long the server wants to be left alone.
    pub fn failed(&mut self, asked: Option<Duration>) -> bool {
        self.asked = asked.unwrap_or_default().min(LONGEST_ASKED);
        self.failures = self.failures.saturating_add(1);
        self.failures == 1
    }

    /// From now to the next poll: the interval, a fifth more or less; longer after failures. `jitter` lies in
    /// 0.0 to 1.0.
    pub fn next(&self, jitter: f64) -> Duration {
        let longer = self.interval.saturating_mul(1 << self.failures.min(16));
        let pause = longer.min(LONGEST.max(self.interval));
        let spread = 0.8 + 0.4 * jitter.clamp(0.0, 1.0);
        // What the server asks for is spread beyond its end, never before it.
        pause.mul_f64(spread).max(self.asked.mul_f64(spread + 0.2))
    }

    /// From a change that was seen to the look whether there are more.
    pub fn settle(&self) -> Duration {
        SETTLE.min(self.interval)
    }

    /// Before a change has its effect.
    pub fn splay(&self, jitter: f64) -> Duration {
        SPLAY.min(self.interval / 10).mul_f64(jitter.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_interval_is_spread_by_a_fifth() {
        let pace = Pace::new(5 * MINUTE);
        assert_eq!((pace.next(0.0), pace.next(0.5), pace.next(1.0)), (4 * MINUTE, 5 * MINUTE, 6 * MINUTE));
    }

    #[test]
    fn failures_slow_it_down_to_five_minutes() {
        let mut pace = Pace::new(MINUTE);
        let fail = |pace: &mut Pace| (pace.failed(None), pace.next(0.5));
        assert_eq!(fail(&mut pace), (true, 2 * MINUTE));
        assert_eq!(fail(&mut pace), (false, 4 * MINUTE));
        assert_eq!(fail(&mut pace), (false, 5 * MINUTE));
        for _ in 0..100 {
            assert_eq!(fail(&mut pace).1, 5 * MINUTE);
        }
        pace.succeeded();
        assert_eq!(pace.next(0.5), MINUTE);
        let mut slow = Pace::new(60 * MINUTE);
        assert_eq!(fail(&mut slow).1, 60 * MINUTE);
    }

    #[test]
    fn what_the_server_asks_for_is_kept() {
        let mut pace = Pace::new(Duration::from_secs(1));
        pace.failed(Some(10 * MINUTE));
        assert!(pace.next(0.0) >= 10 * MINUTE && pace.next(1.0) <= 15 * MINUTE);
    }

    #[test]
    fn nothing_is_too_long_to_reckon_with() {
        let mut pace = Pace::new(Duration::MAX);
        pace.failed(Some(Duration::MAX));
        assert!(pace.next(1.0) < 2 * LONGEST_INTERVAL && pace.splay(1.0) <= SPLAY);
        let mut pace = Pace::new(5 * MINUTE);
        pace.failed(Some(Duration::MAX));
        assert!(pace.next(1.0) < 2 * LONGEST_ASKED, "a server's mistake does not last for ever");
    }

    #[test]
    fn changes_have_their_effect_soon() {
        assert_eq!(Pace::new(5 * MINUTE).splay(1.0), Duration::from_secs(10));
        assert_eq!(Pace::new(Duration::from_secs(1)).splay(1.0), Duration::from_millis(100));
        assert_eq!(Pace::new(Duration::from_secs(1)).settle(), Duration::from_secs(1));
    }
}
