//! Asking again for as long as the command runs: has anything changed?
//!
//! A poll is one GET that names a moment of the server's own clock: that of the last full answer, less a
//! margin, because the server stamps a change before it commits it. What falls through nevertheless, and what
//! moves no stamp (a project's name, an import), an unconditional fetch finds every hour.

use std::time::{Duration, Instant, SystemTime};

use super::ask::Asked;
use super::{Source, snapshot};
use crate::api::Contact;
use crate::cache::{Cache, Limit, SavedSession, Stamp};
use crate::config;
use crate::deadline::Deadline;
use crate::error::{Class, Error};
use crate::snapshot::{Freshness, Snapshot};

/// How far before the last answer a change may have been stamped that was not in it.
const MARGIN: Duration = Duration::from_secs(60);
const UNCONDITIONAL: Duration = Duration::from_secs(60 * 60);

/// How to ask again: the session, and since when.
pub struct Link {
    session: SavedSession,
    since: Option<SystemTime>,
}

impl Link {
    pub(super) fn new(session: SavedSession, date: Option<SystemTime>) -> Self {
        Self { session, since: date.and_then(|date| date.checked_sub(MARGIN)) }
    }
}

/// A source that is asked again and again.
pub struct Watch<'a> {
    source: Source<'a>,
    link: Option<Link>,
    /// When everything was asked for.
    asked: Instant,
    /// The server has refused the token, and it has not been changed since.
    refused: bool,
}

impl<'a> Watch<'a> {
    pub fn new(source: Source<'a>, link: Option<Link>) -> Self {
        Self { source, link, asked: Instant::now(), refused: false }
    }

    /// Asks once, without waiting for anything: everything that can be read now, whether it differs or not, or
    /// `None` if the server says that nothing has changed. A token that the server refuses is an error once; then
    /// nothing is asked until its file has another one.
    pub fn poll(&mut self) -> Result<Option<Snapshot>, Error> {
        let deadline = Deadline::new(Instant::now(), self.source.plan.deadline.budget);
        self.read_token_again(deadline)?;
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
        let alive = |session: &SavedSession| session.is_alive(&Stamp::now());
        let (mut session, since) = match self.link.take().filter(|link| alive(&link.session)) {
            Some(link) => (Some(link.session), link.since),
            None => (kept.and_then(|(cache, settings)| source.session(cache, settings)), None),
        };
        let limited = |stage, wait| {
            if let Some(cache) = &cache {
                source.note(cache.save_limit(stage, Limit::new(Stamp::now(), wait)), "keep");
            }
        };
        let contact = Contact { deadline, once: true, ..source.contact(&limited) };
        let asked = source.ask(contact, &mut session, since.filter(|_| !due), cache.as_ref(), &|| {});
        if asked.is_err() {
            self.link = session.map(|session| Link { session, since });
        }
        let Asked { saved, session, date } = asked?;
        let Some(saved) = saved else {
            self.link = Some(Link { session, since });
            return Ok(None);
        };
        if let Some((cache, settings)) = kept {
            source.keep(cache, settings, &saved, &mut source.read(cache));
        }
        self.asked = Instant::now();
        self.link = Some(Link::new(session, date));
        Ok(Some(snapshot(saved, Freshness::Fetched)))
    }

    /// One that was put into the place of the other is used at once: the other may be revoked any moment.
    fn read_token_again(&mut self, deadline: Deadline) -> Result<(), Error> {
        let source = &mut self.source;
        if let Some(token) = config::read_token_again(&source.plan.tokens, deadline)?
            && token != source.token
        {
            source.token = token;
            self.link = None;
            self.refused = false;
        }
        Ok(())
    }
}
