//! The thread that asks whether secrets have changed. Nothing that goes wrong here disturbs the command.

use std::ffi::OsString;
use std::thread;

use super::inbox::Outbox;
use super::pace::Pace;
use crate::api::Servers;
use crate::env::{Digest, Entry, EnvPlan, Limits};
use crate::error::{Class, Error};
use crate::plan::RunPlan;
use crate::random;
use crate::report::Report;
use crate::snapshot::Snapshot;
use crate::source::{Link, Source, Watch};
use crate::token::AccessToken;

/// Looks for more changes at most so often: somebody who goes on for longer is not waited for.
const LOOKS: u32 = 10;

/// What the thread owns.
pub struct Watcher {
    pub plan: RunPlan,
    pub servers: Servers,
    pub token: AccessToken,
    pub link: Option<Link>,
    pub inherited: Vec<Entry>,
    pub words: Vec<OsString>,
    pub limits: Limits,
    pub report: Report,
    pub pace: Pace,
    /// Of this process alone.
    pub key: [u8; 64],
    /// What the command has.
    pub current: Digest,
}

impl Watcher {
    /// Ends with the process, or when nobody listens any more.
    pub fn run(self, mut found: Outbox<EnvPlan>) {
        let Self { plan, servers, token, link, inherited, words, limits, report, mut pace, key, mut current } =
            self;
        let mut watch = Watch::new(Source::new(&plan, &servers, token, &report), link);
        let mut look = Look {
            problem: None,
            plan: &plan,
            inherited: &inherited,
            words: &words,
            limits,
            report: &report,
        };
        loop {
            thread::sleep(pace.next(random::jitter()));
            let Some(mut environment) = look.at(&mut watch, &mut pace) else { continue };
            if environment.digest(&key) == current {
                continue;
            }
            for _ in 0..LOOKS {
                thread::sleep(pace.settle());
                let Some(next) = look.at(&mut watch, &mut pace) else { break };
                let settled = next.digest(&key) == environment.digest(&key);
                environment = next;
                if settled {
                    break;
                }
            }
            // What came meanwhile is what counts, also if it cannot be started with.
            if look.problem.is_some() {
                continue;
            }
            thread::sleep(pace.splay(random::jitter()));
            let digest = environment.digest(&key);
            if digest != current {
                current = digest;
                if !found.send(environment) {
                    return;
                }
            }
        }
    }
}

struct Look<'a> {
    plan: &'a RunPlan,
    inherited: &'a [Entry],
    words: &'a [OsString],
    limits: Limits,
    report: &'a Report,
    /// The one that was told last, until there is none.
    problem: Option<String>,
}

impl Look<'_> {
    /// What the command would get now, if that can be told and has no problems.
    fn at(&mut self, watch: &mut Watch<'_>, pace: &mut Pace) -> Option<EnvPlan> {
        match watch.poll() {
            Ok(None) => {
                pace.succeeded();
                None
            }
            Ok(Some(snapshot)) => {
                pace.succeeded();
                self.environment(&snapshot)
            }
            Err(error) => {
                if pace.failed(error.retry_after()) || error.class() == Class::TokenRefused {
                    self.failed(&error);
                }
                None
            }
        }
    }

    fn environment(&mut self, snapshot: &Snapshot) -> Option<EnvPlan> {
        let mut environment = EnvPlan::build(snapshot, &self.plan.environment, self.inherited);
        environment.check(self.words, self.limits);
        let problem = environment.problems.first().map(ToString::to_string);
        if let Some(problem) = problem.as_ref().filter(|_| problem != self.problem) {
            self.report.warning(&format!(
                "secrets have changed so that the command could not be started with them, and it keeps the old \
                 ones: {problem}"
            ));
        }
        self.problem = problem;
        self.problem.is_none().then_some(environment)
    }

    fn failed(&self, error: &Error) {
        let kept = match error.class() {
            Class::TokenRefused => "the command keeps running with the secrets that it has",
            _ => "changes are not seen meanwhile",
        };
        self.report.warning(&format!("{error}; {kept}"));
    }
}
