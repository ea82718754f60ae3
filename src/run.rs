//! The pipeline, one line a stage: each takes what the one before has made.

use crate::cli::{Args, CommandLine, DryRunFormat, Parsed};
use crate::dry_run::DryRun;
use crate::env::EnvPlan;
use crate::error::Error;
use crate::exec::{self, ExecPlan, Program};
use crate::exit::Exit;
use crate::host::{self, Host};
use crate::plan::{self, RunPlan};
use crate::report::{self, Phase, Report};
use crate::snapshot::Snapshot;
use crate::source::Source;
use crate::{config, env_vars, sys};

/// Runs as the process that we are. Returns only if we do not become COMMAND.
pub fn run() -> Exit {
    sys::end_on_signals_as_pid_1();
    let mut host = Host::take();
    let mut typed = CommandLine::new(std::mem::take(&mut host.arguments));
    for position in &typed.positions {
        sys::overwrite_argument(position.index + 1, position.from);
    }
    host::harden(typed.allow_core);
    let token = typed.token.take();
    let mut report = Report::default();
    let result = typed.parse().and_then(|parsed| match parsed {
        Parsed::Print(text) => {
            report::print(&text)?;
            Ok(Exit::Success)
        }
        Parsed::Run(args) => {
            report = speaker(&args)?;
            report.phase(Phase::Start);
            let plan = RunPlan::new(*args, token, &mut host)?;
            launch(plan, &host, &report)
        }
    });
    result.unwrap_or_else(|error| {
        report.error(&error);
        error.exit()
    })
}

fn speaker(args: &Args) -> Result<Report, Error> {
    let status = args.status_fd.map(config::status_descriptor).transpose()?;
    Ok(Report::new(plan::verbosity(args), status))
}

fn launch(plan: RunPlan, host: &Host, report: &Report) -> Result<Exit, Error> {
    plan.warnings.iter().for_each(|text| report.warning(text));
    let path = host.var(env_vars::PATH);
    let program = plan.command.first().map(|name| exec::locate(name, path)).transpose()?;
    let snapshot = Source::new(&plan, report)?.load()?;
    report.phase(Phase::Resolve);
    let mut environment = EnvPlan::build(&snapshot, &plan.environment, &host.environment);
    environment.problems.extend(exec::check_sizes(&plan.command, &environment, host.limits));
    for name in exec::visible_secrets(&plan.command, &environment) {
        environment
            .warnings
            .push(format!("the value of '{name}' stands in the command's arguments, where ps shows it"));
    }
    environment.warnings.iter().for_each(|text| report.warning(text));
    match (plan.dry_run, program) {
        (Some(format), program) => show(format, &plan, program.as_ref(), &snapshot, &environment, report),
        (None, Some(program)) => Err(become_command(plan, program, environment, report)),
        (None, None) => Err(Error::Internal("no command".into())),
    }
}

/// Prints what would happen and ends as it would have ended.
fn show(
    format: DryRunFormat,
    plan: &RunPlan,
    program: Option<&Program>,
    snapshot: &Snapshot,
    environment: &EnvPlan,
    report: &Report,
) -> Result<Exit, Error> {
    report::print(&DryRun { plan, program, snapshot, environment }.render(format))?;
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
