//! One conversation with the servers: a fetch, and the login before it unless a session was kept.

use std::time::SystemTime;

use super::Source;
use crate::api::{Api, Contact};
use crate::cache::{Cache, SavedSession, SavedSnapshot, Stamp};
use crate::error::{Class, Error};
use crate::report::Phase;
use crate::sys;

/// What is asked.
#[derive(Clone, Copy, Default)]
pub struct Question {
    /// For what has changed since this moment of the server's clock. Everything, if there is none.
    pub since: Option<SystemTime>,
    /// A session that reads nothing was found to be good a moment ago.
    pub may_be_empty: bool,
}

/// What came of it.
pub struct Asked {
    /// `None` if nothing has changed.
    pub saved: Option<SavedSnapshot>,
    pub session: SavedSession,
    /// The server's clock when it answered.
    pub date: Option<SystemTime>,
}

impl Source<'_> {
    /// Asks for everything, or whatever the question is. `kept` is a bearer of an earlier login; whatever it is not believed for is decided by one login, and then
    /// everything is asked for; after an error it is still there if it is still good. `gather` is called before each fetch.
    pub(super) fn ask(
        &self,
        contact: Contact<'_>,
        kept: &mut Option<SavedSession>,
        question: Question,
        cache: Option<&Cache<'_>>,
        gather: &dyn Fn(),
    ) -> Result<Asked, Error> {
        sys::resolve_names_by_files_and_dns();
        let api = Api::new(self.servers, &self.plan.transport, contact)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|cause| Error::Resources { cause })?;
        let asked = runtime.block_on(async {
            gather();
            if kept.is_some() {
                if let Some(asked) = self.fetch_with_kept(&api, kept, question, cache).await? {
                    return Ok(asked);
                }
                // With a session no limit on logins was looked at.
                if let (Some(cache), Some(settings)) = (cache, &self.plan.cache) {
                    self.wait_out_limits(cache, settings, contact)?;
                }
            }
            self.report.phase(Phase::Login);
            let session = api.login(&self.token).await?;
            let session = SavedSession { proved: Stamp::now(), session };
            gather();
            let fetched = self.fetch(&api, &session, None).await;
            // Also if the fetch failed: the next start need not log in again. Not before it, for what
            // is written must reach the disk, and others wait for the fetch.
            if !matches!(&fetched, Err(error) if error.class() == Class::SessionRefused) {
                self.keep_session(cache, &session);
            }
            let (saved, date) = fetched?;
            Ok::<_, Error>(Asked { saved, session, date })
        });
        if let (Err(error), Some(cache)) = (&asked, cache)
            && error.class() == Class::TokenRefused
        {
            // Nothing that it could open stays, and that it does would be worth knowing.
            for problem in cache.forget_all() {
                self.report.warning(&format!("the token is refused and its files stay: {problem}"));
            }
        }
        asked
    }

    /// `None` if only a login can tell. A bearer outlives its token, and a deleted account gets 200 and
    /// an empty list.
    async fn fetch_with_kept(
        &self,
        api: &Api<'_>,
        kept: &mut Option<SavedSession>,
        Question { since, may_be_empty }: Question,
        cache: Option<&Cache<'_>>,
    ) -> Result<Option<Asked>, Error> {
        let Some(session) = kept.take() else { return Ok(None) };
        let doubt = match self.fetch(api, &session, since).await {
            Ok((Some(saved), _)) if saved.secrets.is_empty() && !may_be_empty => {
                "it reads nothing".to_owned()
            }
            Ok((saved, date)) => return Ok(Some(Asked { saved, session, date })),
            Err(Error::Unauthorized { host }) => format!("{host} did not accept it (HTTP status 401)"),
            Err(error @ (Error::Forbidden { .. } | Error::NotFound { .. })) => error.to_string(),
            Err(error) => {
                // It is still good.
                *kept = Some(session);
                return Err(error);
            }
        };
        self.report.notice(&format!("the kept session is not used any more: {doubt}"));
        cache.map(|cache| self.note(cache.forget_session(), "delete"));
        Ok(None)
    }

    async fn fetch(
        &self,
        api: &Api<'_>,
        session: &SavedSession,
        since: Option<SystemTime>,
    ) -> Result<(Option<SavedSnapshot>, Option<SystemTime>), Error> {
        self.report.phase(Phase::Fetch);
        let began = Stamp::now();
        let fetched = api.fetch(&session.session, since).await?;
        let saved = fetched.secrets.map(|secrets| SavedSnapshot {
            began,
            fetched: Stamp::now(),
            proved: session.proved,
            organization: session.session.organization,
            key: session.session.key.clone(),
            secrets,
        });
        Ok((saved, fetched.date))
    }

    fn keep_session(&self, cache: Option<&Cache<'_>>, session: &SavedSession) {
        let keep = self.plan.cache.as_ref().is_some_and(|settings| settings.keep_session);
        if let Some(cache) = cache.filter(|_| keep && session.is_alive(&session.proved)) {
            self.note(cache.save_session(session), "keep");
        }
    }
}
