//! Where a snapshot comes from: the servers, or what an earlier run has kept.

mod ask;
mod freshness;
mod kept;
mod turn;
mod watch;

pub use watch::{Link, Watch};

use std::time::Duration;

use crate::api::{Contact, Servers};
use crate::cache::{Cache, Generation, Problem, SavedSnapshot, Settings, Unusable, path_in};
use crate::error::{Error, Stage};
use crate::plan::RunPlan;
use crate::report::Report;
use crate::snapshot::{Freshness, Snapshot};
use crate::token::AccessToken;
use ask::{Asked, Question};

/// Everything that a launch asks of servers and of its cache.
pub struct Source<'a> {
    plan: &'a RunPlan,
    servers: &'a Servers,
    token: AccessToken,
    report: &'a Report,
}

/// Secrets, and how to ask again.
pub struct Loaded {
    pub snapshot: Snapshot,
    /// None if they are another run's.
    pub link: Option<Link>,
}

impl<'a> Source<'a> {
    pub fn new(plan: &'a RunPlan, servers: &'a Servers, token: AccessToken, report: &'a Report) -> Self {
        Self { plan, servers, token, report }
    }

    pub fn into_token(self) -> AccessToken {
        self.token
    }

    /// The secrets, as fresh as was asked for, or the reason why there are none.
    pub fn load(&self) -> Result<Loaded, Error> {
        if let Some(settings) = &self.plan.cache
            && let Some(cache) = self.open_cache(settings)?
        {
            return self.load_with(&cache, settings);
        }
        let contact = self.contact(&|_, _| {});
        fetched(self.ask(contact, &mut None, Question::default(), None, &|| {})?, None)
    }

    /// `None` if the run has to do without.
    fn open_cache(&self, settings: &Settings) -> Result<Option<Cache<'_>>, Error> {
        let path = path_in(&settings.directory);
        let problem = match Cache::open(settings, self.servers, &self.token) {
            Ok(cache) => return Ok(Some(cache)),
            Err(Unusable::Io(error)) if settings.offline && error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NoCopy { path });
            }
            Err(problem) => problem,
        };
        let text = format!("{}: {problem}", path.display());
        if settings.offline {
            return Err(Error::CopyUnusable { problem: text });
        }
        self.report.warning(&format!("the cache is not used: {text}"));
        Ok(None)
    }

    fn contact<'b>(&'b self, limited: &'b dyn Fn(Stage, Duration)) -> Contact<'b> {
        Contact { deadline: self.plan.deadline, once: false, limited, report: self.report }
    }

    /// A cache that cannot be read or written costs nothing but what it would have saved.
    fn note<T>(&self, result: Result<T, Problem>, what: &str) -> Option<T> {
        result.map_err(|problem| self.report.notice(&format!("cannot {what} {problem}"))).ok()
    }
}

/// What the servers have just said, to a run that knew of this refusal of its token.
fn fetched(asked: Asked, refusal: Option<Generation>) -> Result<Loaded, Error> {
    let Asked { saved, session, date } = asked;
    let saved = saved.ok_or_else(|| Error::Internal("everything was asked for and nothing came".into()))?;
    Ok(Loaded {
        snapshot: snapshot(saved, Freshness::Fetched),
        link: Some(Link::new(session, date, refusal)),
    })
}

fn snapshot(saved: SavedSnapshot, freshness: Freshness) -> Snapshot {
    Snapshot::new(saved.key.expand(), saved.secrets, freshness)
}
