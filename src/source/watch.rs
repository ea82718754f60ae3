//! Asking again for as long as the command runs: has anything changed?
//!
//! A poll is one GET that names a moment of the server's own clock: that of the last full answer, less a
//! margin, because the server stamps a change before it commits it. What falls through nevertheless, and what
//! moves no stamp (a project's name, an import), an unconditional fetch finds every hour.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::ask::{Asked, Question};
use super::{Source, snapshot};
use crate::api::Contact;
use crate::cache::{Cache, Generation, Limit, SavedSession, Stamp};
use crate::config;
use crate::deadline::Deadline;
use crate::error::{Class, Error};
use crate::snapshot::{Freshness, Snapshot};

/// How far before the last answer a change may have been stamped that was not in it.
const MARGIN: Duration = Duration::from_secs(60);
const UNCONDITIONAL: Duration = Duration::from_secs(60 * 60);
/// Between two logins that are made because nothing can be read: an address gets ten a minute.
const DOUBT: Duration = Duration::from_secs(5 * 60);

/// How to ask again: the session, and since when.
pub struct Link {
    session: SavedSession,
    since: Option<SystemTime>,
    /// The last one of the token that was known of: after another, the session proves nothing.
    refusal: Option<Generation>,
}

impl Link {
    pub(super) fn new(session: SavedSession, date: Option<SystemTime>, refusal: Option<Generation>) -> Self {
        Self { session, since: date.and_then(since), refusal }
    }
}

/// What a poll names after an answer of that date. A clock that begins in 1970 has not been set.
fn since(date: SystemTime) -> Option<SystemTime> {
    date.checked_sub(MARGIN).filter(|since| *since >= UNIX_EPOCH)
}

/// A source that is asked again and again.
pub struct Watch<'a> {
    source: Source<'a>,
    link: Option<Link>,
    /// When everything was asked for.
    asked: Instant,
    /// The server has refused the token, and it has not been changed since.
    refused: bool,
    /// The server has not taken a moment that it had named itself.
    conditional: bool,
    /// When a login was made because nothing could be read.
    doubted: Option<Instant>,
}

impl<'a> Watch<'a> {
    pub fn new(source: Source<'a>, link: Option<Link>) -> Self {
        Self { source, link, asked: Instant::now(), refused: false, conditional: true, doubted: None }
    }

    /// Asks once, without waiting for anything: everything that can be read now, whether it differs or not, or
    /// `None` if the server says that nothing has changed. A token that the server refuses is an error once; then
    /// nothing is asked until its file has another one.
    pub fn poll(&mut self) -> Result<Option<Snapshot>, Error> {
        let deadline = Deadline::new(Instant::now(), self.source.plan.deadline.budget);
        self.read_token_again(deadline);
        if self.refused {
            return Ok(None);
        }
        let polled = self.ask(deadline);
        self.refused = matches!(&polled, Err(error) if error.class() == Class::TokenRefused);
        polled
    }

    fn ask(&mut self, deadline: Deadline) -> Result<Option<Snapshot>, Error> {
        let source = &self.source;
        let settings = source.plan.cache.as_ref();
        // What cannot be written was said at the start.
        let cache = settings.and_then(|settings| Cache::open(settings, source.servers, &source.token).ok());
        let kept = cache.as_ref().zip(settings);
        if let Some((cache, settings)) = kept
            && let Some((stage, wait)) = source.limit(cache, settings)
        {
            return Err(Error::RateLimited {
                host: source.servers.host(stage),
                stage,
                retry_after: Some(wait),
            });
        }
        let due = self.asked.elapsed() >= UNCONDITIONAL;
        // Before the session is used: whatever is kept by it has to be deleted if this changes.
        let refusal = cache.as_ref().and_then(Cache::refusal);
        let good = |link: &Link| {
            link.session.is_alive(&Stamp::now()) && (cache.is_none() || link.refusal == refusal)
        };
        let (mut session, since) = match self.link.take().filter(good) {
            Some(link) => (Some(link.session), link.since),
            None => (kept.and_then(|(cache, settings)| source.session(cache, settings)), None),
        };
        let limited = |stage, wait| {
            if let Some(cache) = &cache {
                source.note(cache.save_limit(stage, Limit::new(Stamp::now(), wait)), "keep");
            }
        };
        let contact = Contact { deadline, once: true, ..source.contact(&limited) };
        let question = Question {
            since: since.filter(|_| !due && self.conditional),
            may_be_empty: self.doubted.is_some_and(|at| at.elapsed() < DOUBT),
        };
        let before = session.as_ref().map(|session| session.proved);
        let mut asked = source.ask(contact, &mut session, question, cache.as_ref(), &|| {});
        if question.since.is_some()
            && session.is_some()
            && matches!(&asked, Err(error) if error.class() == Class::Permanent)
        {
            // Whoever wrote the date has a clock ahead of the server's own. Without it the same can be asked.
            let question = Question { since: None, ..question };
            asked = source.ask(contact, &mut session, question, cache.as_ref(), &|| {});
            self.conditional = asked.is_err();
        }
        if asked.is_err() {
            self.link = session.map(|session| Link { session, since, refusal });
        }
        let Asked { saved, session, date } = asked?;
        let Some(saved) = saved else {
            self.link = Some(Link { session, since, refusal });
            return Ok(None);
        };
        if let Some((cache, settings)) = kept {
            source.keep(cache, settings, &saved, &mut source.read(cache));
            if cache.refusal() != refusal {
                for forgotten in [cache.forget_snapshot(), cache.forget_session()] {
                    source.note(forgotten, "delete");
                }
            }
        }
        self.asked = Instant::now();
        let logged_in = before != Some(session.proved);
        if saved.secrets.is_empty() && logged_in {
            self.doubted = Some(Instant::now());
        }
        self.link = Some(Link::new(session, date, refusal));
        Ok(Some(snapshot(saved, Freshness::Fetched)))
    }

    /// One that was put into the place of the other is used at once: the other may be revoked any moment.
    /// A file that is gone, or half written at this moment, takes nothing from the one that is known.
    fn read_token_again(&mut self, deadline: Deadline) {
        let source = &mut self.source;
        let read = config::read_token_again(&source.plan.tokens, deadline);
        let read =
            read.map_err(|error| source.report.notice(&format!("the token is still the old one: {error}")));
        if let Ok(Some(token)) = read
            && token != source.token
        {
            source.token = token;
            self.link = None;
            self.refused = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_not_set_names_no_moment() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(since(at(1_000_000)), Some(at(1_000_000 - 60)));
        assert_eq!((since(at(60)), since(at(59)), since(at(0))), (Some(at(0)), None, None));
    }
}
