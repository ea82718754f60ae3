//! One run asks for all that start at the same time.

use std::time::{Duration, Instant};

use super::Source;
use super::freshness::{Ages, is_own_fetch};
use crate::cache::{Cache, Generation, Lock, SavedSnapshot, Settings, Stamp};
use crate::deadline::Deadline;
use crate::random;

/// Between two looks at a lock that another run holds. Many look, so never all at once.
const LOOK: [Duration; 2] = [Duration::from_millis(3), Duration::from_millis(20)];

/// The kept snapshot as it was last seen.
pub struct Kept {
    pub generation: Option<Generation>,
    pub saved: Option<SavedSnapshot>,
}

/// What came of waiting for the right to ask.
pub enum Turn {
    /// Another run has asked meanwhile.
    Shared(Box<SavedSnapshot>, Ages),
    /// Another run was told meanwhile that the token is not accepted.
    Refused,
    /// Ours; alone if there is no lock to be had.
    Ask(Option<Lock>),
}

impl Source<'_> {
    /// Waits for the lock, or for what the run that holds it brings. One that was stopped, or hangs,
    /// holds the others up for half of their time.
    pub(super) fn take_turn(
        &self,
        cache: &Cache<'_>,
        settings: &Settings,
        deadline: Deadline,
        started: &Stamp,
        kept: &mut Kept,
    ) -> Turn {
        let until = Instant::now() + deadline.left() / 2;
        let refusal = cache.refusal();
        let mut queue = None;
        loop {
            let lock = cache.try_lock(&mut queue);
            self.read_if_changed(cache, kept);
            if cache.refusal() != refusal {
                return Turn::Refused;
            }
            let counts = |saved: &SavedSnapshot| {
                is_own_fetch(saved, started)
                    // Whoever wants a login at each start gets one.
                    && (settings.keep_session || saved.proved.is_at_or_after(started))
            };
            if let Some(saved) = kept.saved.as_ref().filter(|saved| counts(saved))
                && let Ok(ages) = Ages::of(saved, &Stamp::now(), settings)
                && let Some(saved) = kept.saved.take()
            {
                return Turn::Shared(saved.into(), ages);
            }
            match lock {
                Ok(Some(lock)) => return Turn::Ask(Some(lock)),
                Ok(None) => {}
                Err(problem) => {
                    let alone = "other launches are not waited for";
                    self.report.notice(&format!("cannot lock {problem}; {alone}"));
                    return Turn::Ask(None);
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.report
                    .notice("another launch has asked the server for long; it is not waited for any more");
                return Turn::Ask(None);
            }
            std::thread::sleep((LOOK[0] + random::up_to(LOOK[1])).min(left));
        }
    }
}

/// A fetch serves those that have started before it begins. While many are starting it is better to
/// begin a little later than once for each few of them; with nobody waiting nothing is lost. They have
/// all come when none has for several times as long as between any two of them: on a busy machine they
/// are slow to come.
pub fn wait_for_the_crowd(lock: &Lock, until: Instant) {
    const LOOK: Duration = Duration::from_millis(5);
    const LEAST: Duration = Duration::from_millis(40);
    const LONGEST: Duration = Duration::from_millis(300);
    const SEVERAL: u32 = 5;

    let began = Instant::now();
    let (mut waiting, mut last, mut quiet) = (lock.waiting(), began, LEAST);
    while waiting > 0 && Instant::now() < until && last.elapsed() < quiet {
        std::thread::sleep(LOOK);
        let more = lock.waiting();
        if more != waiting {
            quiet = quiet.max(last.elapsed() * SEVERAL).min(LONGEST);
            (waiting, last) = (more, Instant::now());
        }
    }
}
