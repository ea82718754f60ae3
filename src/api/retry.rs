//! When to try again: a pure schedule. Exponential back-off with jitter, a server's `Retry-After`
//! obeyed, nothing beyond the deadline.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(8);

/// What to do after a failure that may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send the request again after this pause.
    After(Duration),
    /// No further attempt fits; end after this pause. It is not zero after a `Retry-After` beyond the
    /// deadline: whoever restarts us in a loop would otherwise keep the limit exhausted.
    GiveUp(Duration),
}

/// The schedule of one request.
#[derive(Debug, Default)]
pub struct Schedule {
    failures: u32,
}

impl Schedule {
    /// Attempts that have failed.
    pub fn attempts(&self) -> u32 {
        self.failures
    }

    /// Records a failure. `left` is what remains of the deadline, `jitter` lies in 0.0 to 1.0.
    pub fn failed(&mut self, left: Duration, retry_after: Option<Duration>, jitter: f64) -> Next {
        let backoff = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures += 1;
        // Half of the pause is fixed, so that it grows; half is random, so that many differ.
        let backoff = backoff.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        let pause = match retry_after {
            // Everybody was told the same second: spread beyond it, never before it.
            // A server that asks for nothing, or whose clock is behind ours, is no reason to hurry.
            Some(asked) => asked.max(backoff).saturating_add(FIRST.mul_f64(jitter.clamp(0.0, 1.0))),
            None => backoff,
        };
        match retry_after {
            _ if pause < left => Next::After(pause),
            Some(_) => Next::GiveUp(left),
            None => Next::GiveUp(Duration::ZERO),
        }
    }
}

/// `Retry-After` in either of its forms (RFC 9110, section 10.2.3).
pub fn parse_retry_after(value: &str, now: std::time::SystemTime) -> Option<Duration> {
    let value = value.trim();
    match value.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let at = httpdate::parse_http_date(value).ok()?;
            Some(at.duration_since(now).unwrap_or(Duration::ZERO))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut schedule = Schedule::default();
        let pauses: Vec<u128> = (0..8)
            .map(|_| match schedule.failed(MINUTE, None, 1.0) {
                Next::After(pause) => pause.as_millis(),
                Next::GiveUp(_) => panic!("a minute is enough"),
            })
            .collect();
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 8000, 8000, 8000]);
        assert_eq!(schedule.attempts(), 8);
        assert_eq!(Schedule::default().failed(MINUTE, None, 0.0), Next::After(Duration::from_millis(125)));
    }

    #[test]
    fn a_pause_that_does_not_fit_ends_it() {
        let left = Duration::from_millis(200);
        assert_eq!(Schedule::default().failed(left, None, 1.0), Next::GiveUp(Duration::ZERO));
        assert_eq!(Schedule::default().failed(left, Some(MINUTE), 1.0), Next::GiveUp(left));
        assert_eq!(Schedule::default().failed(left, Some(Duration::MAX), 1.0), Next::GiveUp(left));
    }

    #[test]
    fn a_retry_after_of_nothing_does_not_end_the_back_off() {
        let mut schedule = Schedule::default();
        let pause = |schedule: &mut Schedule| schedule.failed(MINUTE, Some(Duration::ZERO), 0.0);
        assert_eq!(pause(&mut schedule), Next::After(Duration::from_millis(125)));
        assert_eq!(pause(&mut schedule), Next::After(Duration::from_millis(250)));
        assert_eq!(pause(&mut schedule), Next::After(Duration::from_millis(500)));
    }

    #[test]
    fn both_forms_of_retry_after() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        assert_eq!(parse_retry_after(" 7 ", now), Some(Duration::from_secs(7)));
        assert_eq!(parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(7)));
        assert_eq!(parse_retry_after("Sun, 06 Nov 1994 08:49:20 GMT", now), Some(Duration::ZERO));
        assert_eq!(parse_retry_after("soon", now), None);
        assert_eq!(parse_retry_after("-1", now), None);
    }

    proptest! {
        #[test]
        fn never_before_retry_after_and_never_beyond_the_deadline(
            failures in 0u32..40, left in 0u64..100_000, asked in proptest::option::of(0u64..100_000), jitter in 0.0f64..1.0
        ) {
            let mut schedule = Schedule { failures };
            let (left, asked) = (Duration::from_millis(left), asked.map(Duration::from_millis));
            match schedule.failed(left, asked, jitter) {
                Next::After(pause) => {
                    prop_assert!(pause < left);
                    prop_assert!(asked.is_none_or(|asked| pause >= asked));
                }
                Next::GiveUp(pause) => prop_assert!(pause <= left),
            }
        }
    }
}
