//! Where a snapshot comes from.

use crate::api::{Api, Servers};
use crate::error::Error;
use crate::plan::RunPlan;
use crate::report::{Phase, Report};
use crate::snapshot::Snapshot;
use crate::sys;
use crate::token::AccessToken;

/// Everything that a launch asks of servers.
pub struct Source<'a> {
    api: Api<'a>,
    token: AccessToken,
    report: &'a Report,
}

impl<'a> Source<'a> {
    /// Reads the trust roots. Nothing is sent yet.
    pub fn new(
        plan: &RunPlan,
        servers: &'a Servers,
        token: AccessToken,
        report: &'a Report,
    ) -> Result<Self, Error> {
        Ok(Self { api: Api::new(servers, &plan.transport, plan.deadline, report)?, token, report })
    }

    /// Logs in and fetches.
    pub fn load(self) -> Result<Snapshot, Error> {
        sys::resolve_names_by_files_and_dns();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|cause| Error::Resources { cause })?;
        runtime.block_on(async {
            self.report.phase(Phase::Login);
            let session = self.api.login(&self.token).await?;
            self.report.phase(Phase::Fetch);
            let secrets = self.api.fetch(&session).await?;
            Ok(Snapshot::new(session.key, secrets))
        })
    }
}
