//! The pipeline, one line a stage: each takes what the one before has made.

use crate::api::Servers;
use crate::cli::{Args, CommandLine, Parsed};
use crate::config;
use crate::dry_run::DryRun;
use crate::env::EnvPlan;
use crate::error::Error;
use crate::exec::{self, ExecPlan, Program};
use crate::exit::Exit;
use crate::files::Files;
use crate::host::Host;
use crate::plan::{self, RunPlan};
use crate::report::{self, Phase, Report};
use crate::snapshot::Snapshot;
use crate::source::Source;
use crate::token::TokenText;
use crate::{env_vars, sys};

/// Runs as the process that we are. Returns only if we do not become COMMAND.
pub fn run() -> Exit {
    sys::end_on_signals_as_pid_1();
    let mut host = Host::take();
    let mut command_line = CommandLine::take(&mut host);
    host.harden(command_line.allow_core);
    let token = command_line.token.take();
    match command_line.parse() {
        Ok(Parsed::Print(text)) => match report::print(&text) {
            Ok(()) => Exit::Success,
            Err(error) => failed(&Report::default(), &error),
        },
        Ok(Parsed::Run(args)) => launch(*args, token, host),
        Err(error) => failed(&Report::default(), &error),
    }
}

fn launch(args: Args, token: Option<TokenText>, host: Host) -> Exit {
    let status = args.status_fd.map(config::status_descriptor).transpose();
    let report = match status {
        Ok(status) => Report::new(plan::verbosity(&args), status),
        Err(error) => return failed(&Report::default(), &error),
    };
    stages(args, token, host, &report).unwrap_or_else(|error| failed(&report, &error))
}

fn failed(report: &Report, error: &Error) -> Exit {
    report.error(error);
    error.exit()
}

fn stages(args: Args, token: Option<TokenText>, mut host: Host, report: &Report) -> Result<Exit, Error> {
    report.phase(Phase::Start);
    let tokens = config::token_sources(&args, token, &mut host)?;
    let deadline = plan::deadline(&args, &host)?;
    let env_files = config::env_files(&args.env_file, deadline)?;
    let plan = RunPlan::new(args, tokens, env_files, deadline, &host)?;
    report.warnings(&plan.warnings);
    let program = exec::locate(plan.command.first(), host.var(env_vars::PATH))?;
    let mut files = Files::prepare(&plan.environment.files, plan.dry_run.is_some(), plan.deadline)?;
    let token = config::read_token(&plan.tokens, plan.deadline, |text| report.warning(text))?;
    let servers = plan.servers.choose(token.id, plan.deadline)?;
    let snapshot = Source::new(&plan, &servers, token, report).load()?;
    report.phase(Phase::Resolve);
    let mut environment = EnvPlan::build(&snapshot, &plan.environment, &host.environment);
    files.deliver(&mut environment);
    environment.check(&plan.command, host.limits);
    report.warnings(&environment.warnings);
    match (plan.dry_run.is_some(), program) {
        (false, Some(program)) => Err(become_command(plan, program, environment, report)),
        (_, program) => show(&plan, &servers, program.as_ref(), &snapshot, &environment, report),
    }
}

/// Prints what would happen and ends as it would have ended.
fn show(
    plan: &RunPlan,
    servers: &Servers,
    program: Option<&Program>,
    snapshot: &Snapshot,
    environment: &EnvPlan,
    report: &Report,
) -> Result<Exit, Error> {
    report::print(&DryRun { plan, servers, program, snapshot, environment }.render())?;
    environment.notices.iter().for_each(|text| report.dry_run_notice(text));
    environment.problems.iter().for_each(|problem| report.error(problem));
    Ok(environment.problems.first().map_or(Exit::Success, Error::exit))
}

/// Returns only if we do not become it.
fn become_command(plan: RunPlan, program: Program, environment: EnvPlan, report: &Report) -> Error {
    environment.notices.iter().for_each(|text| report.notice(text));
    let mut problems = environment.problems.into_iter();
    if let Some(problem) = problems.next() {
        if problems.len() > 0 {
            let all = problems.len() + 1;
            report.warning(&format!("there are {all} problems; the first follows, --dry-run shows all"));
        }
        return problem;
    }
    let exec = match ExecPlan::new(program, plan.command, &environment.variables) {
        Ok(exec) => exec,
        Err(error) => return error,
    };
    drop(environment.variables);
    report.phase(Phase::Exec);
    exec.replace()
}
