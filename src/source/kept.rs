//! A run with a cache: use what is fresh, ask once for many, fall back on what is not too old.

use std::time::Duration;

use super::freshness::Ages;
use super::turn::{Kept, Turn, wait_for_the_crowd};
use super::{Source, snapshot};
use crate::api::Contact;
use crate::cache::{Cache, Limit, SavedSession, SavedSnapshot, Settings, Stamp, path_in};
use crate::deadline::rough;
use crate::error::{Class, Error, Stage, seconds};
use crate::random;
use crate::snapshot::{Freshness, Snapshot};

/// What an outage may cost a run that has something to fall back on.
const PATIENCE_WITH_A_COPY: Duration = Duration::from_secs(5);
/// Added to a wait that many were told to make.
const SPREAD: Duration = Duration::from_millis(250);

impl Source<'_> {
    pub(super) fn load_with(&self, cache: &Cache<'_>, settings: &Settings) -> Result<Snapshot, Error> {
        let started = Stamp::now().earlier(self.plan.deadline.started.elapsed());
        if settings.offline {
            return self.offline(cache, settings);
        }
        if !settings.keep_session {
            self.note(cache.forget_session(), "delete");
        }
        let mut copy = self.read(cache);
        let ages = self.ages(&copy, settings);
        if ages.is_some_and(|ages| ages.are_young(settings))
            && let Some(fresh) = self.serve(&mut copy, settings, "fresh")
        {
            return Ok(fresh);
        }
        let (deadline, once) = match ages {
            Some(_) => (self.plan.deadline.within(PATIENCE_WITH_A_COPY), true),
            None => (self.plan.deadline, false),
        };
        let limited = |stage, wait| {
            self.note(cache.save_limit(stage, Limit::new(Stamp::now(), wait)), "keep");
        };
        let contact = Contact { deadline, once, ..self.contact(&limited) };
        let asked = self.wait_and_ask(cache, settings, contact, &started, &mut copy);
        match asked {
            Ok(None) => match copy.saved.take() {
                Some(shared) => Ok(snapshot(shared, Freshness::Fetched)),
                None => Err(Error::Internal("a shared snapshot was not there".into())),
            },
            Ok(Some(saved)) => Ok(snapshot(saved, Freshness::Fetched)),
            Err(error) if error.class() == Class::Unavailable => {
                match self.serve(&mut copy, settings, error.slug()) {
                    Some(stale) => {
                        self.report.warning(&format!("{error}; {}", described(stale.freshness)));
                        Ok(stale)
                    }
                    None => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// The copy or an error, and nobody is asked.
    fn offline(&self, cache: &Cache<'_>, settings: &Settings) -> Result<Snapshot, Error> {
        let path = path_in(&settings.directory);
        let saved = cache
            .snapshot()
            .map_err(|problem| Error::CopyUnusable { problem: problem.to_string() })?
            .ok_or_else(|| Error::NoCopy { path: path.clone() })?;
        Ages::of(&saved, &Stamp::now(), settings).map_err(|age| Error::CopyTooOld { path, age })?;
        let mut copy = Kept { generation: None, saved: Some(saved) };
        self.serve(&mut copy, settings, "offline")
            .ok_or_else(|| Error::Internal("a copy aged at once".into()))
    }

    /// Waits while the server wants it, and for a run that asks already; then asks, and keeps what
    /// comes. `None` if another run's answer counts as ours.
    fn wait_and_ask(
        &self,
        cache: &Cache<'_>,
        settings: &Settings,
        contact: Contact<'_>,
        started: &Stamp,
        copy: &mut Kept,
    ) -> Result<Option<SavedSnapshot>, Error> {
        let lock = loop {
            self.wait_out_limits(cache, settings, contact)?;
            let lock = match self.take_turn(cache, settings, contact.deadline, started, copy) {
                Turn::Shared => return Ok(None),
                Turn::Ask(lock) => lock,
            };
            // Whoever had the turn before may have been told to wait.
            if self.limit(cache, settings).is_none() {
                break lock;
            }
        };
        let gather = || lock.iter().for_each(|lock| wait_for_the_crowd(lock, contact.deadline));
        let saved = self.ask(contact, self.session(cache, settings), Some(cache), &gather)?;
        // A copy that could serve for nothing need not lie around.
        if !settings.max_stale.is_zero() {
            self.note(cache.save_snapshot(&saved), "keep");
        }
        Ok(Some(saved))
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
    fn limit(&self, cache: &Cache<'_>, settings: &Settings) -> Option<(Stage, Duration)> {
        let now = Stamp::now();
        let [login, fetch] = [Stage::Login, Stage::Fetch]
            .map(|stage| cache.limit(stage).and_then(|limit| Some((stage, limit.left(&now)?))));
        let login = login.filter(|_| self.session(cache, settings).is_none());
        login.into_iter().chain(fetch).max_by_key(|(_, wait)| *wait)
    }

    fn session(&self, cache: &Cache<'_>, settings: &Settings) -> Option<SavedSession> {
        if !settings.keep_session {
            return None;
        }
        self.note(cache.session(), "use").flatten().filter(|session| session.is_alive(&Stamp::now()))
    }

    pub(super) fn read(&self, cache: &Cache<'_>) -> Kept {
        // Before the content: what is written between the two is read again.
        let generation = cache.snapshot_generation();
        Kept { generation, saved: self.note(cache.snapshot(), "use").flatten() }
    }

    pub(super) fn ages(&self, copy: &Kept, settings: &Settings) -> Option<Ages> {
        let saved = copy.saved.as_ref()?;
        Ages::of(saved, &Stamp::now(), settings)
            .map_err(|why| self.report.notice(&format!("the kept copy is not used: {why}")))
            .ok()
    }

    /// The copy, if it still may serve. Ages go on while we wait.
    fn serve(&self, copy: &mut Kept, settings: &Settings, because: &str) -> Option<Snapshot> {
        let Ages { fetched, proved } = self.ages(copy, settings)?;
        self.report.copy(because, fetched, proved);
        Some(snapshot(copy.saved.take()?, Freshness::Copied { fetched, proved }))
    }
}

fn described(freshness: Freshness) -> String {
    match freshness {
        Freshness::Fetched => "using what was fetched now".into(),
        Freshness::Copied { fetched, proved } => {
            format!("using the copy fetched {} ago, with a login {} ago", rough(fetched), rough(proved))
        }
    }
}
