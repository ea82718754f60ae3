//! A run with a cache: use what is fresh, ask once for many, fall back on what is not too old.

use std::time::{Duration, Instant};

use super::ask::{Asked, Question};
use super::freshness::Ages;
use super::turn::{Kept, Turn, wait_for_the_crowd};
use super::{Loaded, Source, fetched, snapshot};
use crate::api::Contact;
use crate::cache::{Cache, Limit, SavedSession, SavedSnapshot, Settings, Stamp, path_in};
use crate::deadline::rough;
use crate::error::{Class, Error, Stage, seconds};
use crate::random;
use crate::snapshot::Freshness;

/// What an outage may cost a run that has something to fall back on.
const PATIENCE_WITH_A_COPY: Duration = Duration::from_secs(5);
/// How long a fetch is put off at most, for more starts to come.
const LONGEST_GATHERING: Duration = Duration::from_secs(3);
/// Added to a wait that many were told to make.
const SPREAD: Duration = Duration::from_millis(250);

impl Source<'_> {
    pub(super) fn load_with(&self, cache: &Cache<'_>, settings: &Settings) -> Result<Loaded, Error> {
        let started = Stamp::now().earlier(self.plan.deadline.started.elapsed());
        if settings.offline {
            return self.offline(cache, settings);
        }
        if !settings.keep_session {
            self.note(cache.forget_session(), "delete");
        }
        let mut kept = self.read(cache);
        let ages = self.ages(&kept, settings);
        if let Some(ages) = ages.filter(|ages| ages.are_young(settings))
            && let Some(saved) = kept.saved.take()
        {
            return Ok(self.serve(saved, ages, "fresh"));
        }
        let (deadline, once) = match ages {
            Some(_) => (self.plan.deadline.within(PATIENCE_WITH_A_COPY), true),
            None => (self.plan.deadline, false),
        };
        let limited = |stage, wait| {
            self.note(cache.save_limit(stage, Limit::new(Stamp::now(), wait)), "keep");
        };
        let contact = Contact { deadline, once, ..self.contact(&limited) };
        match self.wait_and_ask(cache, settings, contact, &started, &mut kept) {
            Ok(loaded) => Ok(loaded),
            Err(error) if error.class() == Class::Unavailable => {
                // Another run may have been told meanwhile that the token is revoked, and ages go on.
                self.read_if_changed(cache, &mut kept);
                let Some(ages) = self.ages(&kept, settings) else { return Err(error) };
                let Some(saved) = kept.saved.take() else { return Err(error) };
                let (fetched, proved) = (rough(ages.fetched), rough(ages.proved));
                self.report.warning(&format!(
                    "{error}; using the copy fetched {fetched} ago, with a login {proved} ago"
                ));
                Ok(self.serve(saved, ages, error.slug()))
            }
            Err(error) => Err(error),
        }
    }

    /// The copy or an error, and nobody is asked.
    fn offline(&self, cache: &Cache<'_>, settings: &Settings) -> Result<Loaded, Error> {
        let path = path_in(&settings.directory);
        let saved = cache
            .snapshot()
            .map_err(|problem| Error::CopyUnusable { problem: problem.to_string() })?
            .ok_or_else(|| Error::NoCopy { path: path.clone() })?;
        let ages =
            Ages::of(&saved, &Stamp::now(), settings).map_err(|age| Error::CopyTooOld { path, age })?;
        Ok(self.serve(saved, ages, "offline"))
    }

    /// Waits while the server wants it, and for a run that asks already; then asks, and keeps what
    /// comes. Another run's answer may count as ours.
    fn wait_and_ask(
        &self,
        cache: &Cache<'_>,
        settings: &Settings,
        contact: Contact<'_>,
        started: &Stamp,
        kept: &mut Kept,
    ) -> Result<Loaded, Error> {
        // Before the session is looked at: whatever is kept by it has to be deleted if this changes.
        let refusal = cache.refusal();
        let lock = loop {
            self.wait_out_limits(cache, settings, contact)?;
            if settings.max_stale.is_zero() && self.session(cache, settings).is_some() {
                // No copy is kept that another run could share.
                break None;
            }
            let lock = match self.take_turn(cache, settings, contact.deadline, started, kept) {
                Turn::Shared(saved, ages) => {
                    self.report.copy("shared", ages.fetched, ages.proved);
                    return Ok(Loaded { snapshot: snapshot(*saved, Freshness::Fetched), link: None });
                }
                Turn::Refused => {
                    let host = self.servers.host(Stage::Login);
                    return Err(Error::InvalidClient { host, token: self.token.id });
                }
                Turn::Ask(lock) => lock,
            };
            // Whoever had the turn before may have been told to wait.
            if self.limit(cache, settings).is_none() {
                break lock;
            }
        };
        let until = Instant::now() + (contact.deadline.left() / 4).min(LONGEST_GATHERING);
        let gather = || lock.iter().for_each(|lock| wait_for_the_crowd(lock, until));
        let asked =
            self.ask(contact, &mut self.session(cache, settings), Question::default(), Some(cache), &gather);
        if let Ok(Asked { saved: Some(saved), .. }) = &asked {
            self.keep(cache, settings, saved, kept);
        }
        let by_us = matches!(&asked, Err(error) if error.class() == Class::TokenRefused);
        if cache.refusal() != refusal && !by_us {
            self.report.notice("another launch was told that the token is refused: nothing is kept");
            for forgotten in [cache.forget_snapshot(), cache.forget_session()] {
                self.note(forgotten, "delete");
            }
        }
        fetched(asked?, refusal)
    }

    pub(super) fn keep(
        &self,
        cache: &Cache<'_>,
        settings: &Settings,
        saved: &SavedSnapshot,
        kept: &mut Kept,
    ) {
        // A copy that could serve for nothing need not lie around.
        if settings.max_stale.is_zero() {
            self.note(cache.forget_snapshot(), "delete");
            return;
        }
        // A run that asked alone may have been faster, and known more.
        self.read_if_changed(cache, kept);
        if !kept.saved.as_ref().is_some_and(|other| other.began.is_at_or_after(&saved.began)) {
            self.note(cache.save_snapshot(saved), "keep");
        }
    }

    /// A start within a time that the server does not want to be asked in sends nothing.
    pub(super) fn wait_out_limits(
        &self,
        cache: &Cache<'_>,
        settings: &Settings,
        contact: Contact<'_>,
    ) -> Result<(), Error> {
        while let Some((stage, wait)) = self.limit(cache, settings) {
            let left = contact.deadline.left();
            let pause = wait + random::up_to(SPREAD);
            if contact.once || pause >= left {
                // Whoever restarts us in a loop is slowed down; a person is told at once.
                let slept = !contact.once && !self.plan.transport.fail_at_once;
                if slept {
                    std::thread::sleep(left);
                }
                let wait = if slept { wait.saturating_sub(left) } else { wait };
                let host = self.servers.host(stage);
                return Err(Error::RateLimited { host, stage, retry_after: Some(wait) });
            }
            self.report.notice(&format!(
                "{} has asked to be left alone; trying again in {}",
                self.servers.host(stage),
                seconds(pause)
            ));
            std::thread::sleep(pause);
        }
        Ok(())
    }

    /// The longer of the times that the coming requests have to wait, and which of them it is. A
    /// session needs no login.
    pub(super) fn limit(&self, cache: &Cache<'_>, settings: &Settings) -> Option<(Stage, Duration)> {
        let now = Stamp::now();
        let limits = cache.limits();
        let [login, fetch] = [(Stage::Login, limits.login), (Stage::Fetch, limits.fetch)]
            .map(|(stage, limit)| Some((stage, limit?.left(&now)?)));
        let login = login.filter(|_| self.session(cache, settings).is_none());
        login.into_iter().chain(fetch).max_by_key(|(_, wait)| *wait)
    }

    pub(super) fn session(&self, cache: &Cache<'_>, settings: &Settings) -> Option<SavedSession> {
        if !settings.keep_session {
            return None;
        }
        let now = Stamp::now();
        // What a login gave that is too old for a copy would lead to copies of no use.
        let serves = |session: &SavedSession| {
            settings.max_stale.is_zero()
                || session.proved.age(&now).is_some_and(|age| age <= settings.max_stale)
        };
        let session = self.note(cache.session(), "use").flatten();
        session.filter(|session| session.is_alive(&now) && serves(session))
    }

    pub(super) fn read(&self, cache: &Cache<'_>) -> Kept {
        // Before the content: what is written between the two is read again.
        let generation = cache.snapshot_generation();
        Kept { generation, saved: self.note(cache.snapshot(), "use").flatten() }
    }

    pub(super) fn read_if_changed(&self, cache: &Cache<'_>, kept: &mut Kept) {
        if cache.snapshot_generation() != kept.generation {
            *kept = self.read(cache);
        }
    }

    pub(super) fn ages(&self, kept: &Kept, settings: &Settings) -> Option<Ages> {
        let saved = kept.saved.as_ref()?;
        Ages::of(saved, &Stamp::now(), settings)
            .map_err(|why| self.report.notice(&format!("the kept copy is not used: {why}")))
            .ok()
    }

    fn serve(&self, saved: SavedSnapshot, ages: Ages, because: &str) -> Loaded {
        let Ages { fetched, proved } = ages;
        self.report.copy(because, fetched, proved);
        Loaded { snapshot: snapshot(saved, Freshness::Copied { fetched, proved }), link: None }
    }
}
