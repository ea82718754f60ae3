//! The pipeline, one line a stage: each takes what the one before has made.

use std::borrow::Cow;
use std::ffi::OsString;

use crate::cli::{Args, CommandLine, Parsed};
use crate::config;
use crate::container::{self, Mode, Prepared};
use crate::dry_run::DryRun;
use crate::env::{EnvPlan, Variable};
use crate::error::Error;
use crate::exec::{self, ExecPlan, Program};
use crate::exit::Exit;
use crate::files::Files;
use crate::generate;
use crate::github_mask;
use crate::host::Host;
use crate::identity::Identity;
use crate::plan::{self, RunPlan};
use crate::report::{self, Phase, Report};
use crate::source::{Loaded, Source};
use crate::supervise::{Command, Origin, Supervised};
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
        Ok(Parsed::Print(text)) => print(&text),
        Ok(Parsed::Generate(what)) => print(&generate::text(what)),
        Ok(Parsed::Run(args)) => launch(*args, token, host),
        Err(error) => failed(&Report::default(), &error),
    }
}

fn print(text: &str) -> Exit {
    match report::print(text) {
        Ok(()) => Exit::Success,
        Err(error) => failed(&Report::default(), &error),
    }
}

fn launch(args: Args, token: Option<TokenText>, host: Host) -> Exit {
    let status = args.status_fd.map(config::status_descriptor).transpose();
    let report = match status {
        Ok(status) => Report::new(plan::verbosity(&args), status),
        Err(error) => return failed(&Report::default(), &error),
    };
    let end =
        if args.container_inner { inner(args, &host, &report) } else { stages(args, token, host, &report) };
    end.unwrap_or_else(|error| failed(&report, &error))
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
    let mut plan = RunPlan::new(args, tokens, env_files, deadline, &host)?;
    report.warnings(&plan.warnings);
    let identity = Identity::look_up(&plan.identity, plan.deadline)?;
    if plan.supervision.is_some() {
        identity.check_signals()?;
    }
    let (program, no_rights) = locate(&plan.command, &identity, plan.dry_run.is_some(), &host)?;
    // In a container they are its inner copy's to deliver.
    let here = if plan.container.is_some() { &[] } else { &plan.environment.files[..] };
    let mut files = Files::prepare(here, &identity, plan.dry_run.is_some(), plan.deadline)?;
    let container = match (plan.container.take(), &program) {
        (Some(typed), Some(program)) => {
            Some(typed.prepare(&program.path, &host.environment, &mut plan.deadline)?)
        }
        _ => None,
    };
    let token = config::read_token(&plan.tokens, plan.deadline, |text| report.warning(text))?;
    let servers = plan.servers.choose(token.id, plan.deadline)?;
    let (container, program) = match (container, program) {
        (Some(container), Some(program)) if container.mode == Mode::Token && plan.dry_run.is_none() => {
            let client = container.with_token([servers.identity.as_str(), servers.api.as_str()])?;
            return Err(replace(program, client.command, &client.environment, None, report));
        }
        other => other,
    };
    let source = Source::new(&plan, &servers, token, report);
    let Loaded { snapshot, link } = source.load()?;
    let token = source.into_token();
    report.phase(Phase::Resolve);
    let inherited = match &container {
        Some(container) => Cow::Borrowed(&container.references[..]),
        None => identity.log_in(&host.environment),
    };
    let mut environment = EnvPlan::build(&snapshot, &plan.environment, &inherited);
    environment.problems.splice(..0, no_rights);
    files.deliver(&mut environment);
    environment.check(&plan.command, host.limits);
    if container.is_none() {
        let stored = container::stored_by_engine(&plan.command, &environment.variables, plan.deadline);
        environment.warnings.extend(stored);
    }
    report.warnings(&environment.warnings);
    if plan.github_mask || plan.supervision.is_some_and(|supervision| supervision.mask) {
        let unmasked = github_mask::unmasked(&environment);
        let notices: Vec<_> =
            unmasked.map(|name| format!("the value of '{name}' is too short to be masked")).collect();
        environment.notices.extend(notices);
    }
    match (plan.dry_run.is_some(), program) {
        (false, Some(program)) => {
            // The helper of --container is a copy of us, and needs no more than it gives.
            drop(snapshot);
            no_problems(&mut environment, report)?;
            if plan.github_mask {
                report::github_masks(&github_mask::lines(&environment))?;
            }
            let Some(supervision) = plan.supervision else {
                let program = (program, Some(identity));
                return Err(become_command(plan.command, program, &environment.variables, container, report));
            };
            let (words, variables) = (plan.command.clone(), &environment.variables);
            let exec = ExecPlan::new(program.clone(), words.clone(), variables, Some(identity.clone()))?;
            let command = Command {
                program,
                identity,
                words,
                files,
                rules: plan.environment.files.clone(),
                limits: host.limits,
                github_mask: plan.github_mask,
            };
            let origin = Origin { plan, servers, token, link, inherited: inherited.into_owned() };
            Supervised { supervision, command, origin, environment }.run(exec, report)
        }
        (_, program) => show(
            DryRun {
                plan: &plan,
                servers: &servers,
                program: program.as_ref(),
                identity: &identity,
                snapshot: &snapshot,
                environment: &environment,
            },
            report,
        ),
    }
}

/// In a container: becomes what its image runs, with the environment that the launcher outside gives.
fn inner(args: Args, host: &Host, report: &Report) -> Result<Exit, Error> {
    let deadline = plan::deadline(&args, host)?;
    let identity = Identity::look_up(&plan::identity(&args)?, deadline)?;
    let (program, _) = locate(&args.command, &identity, false, host)?;
    let program = program
        .ok_or_else(|| Error::usage("no command was given", "this option is for --container alone"))?;
    let inherited = identity.log_in(&host.environment);
    let mut environment = container::receive(&inherited, &plan::inherit(&args), args.on_conflict, deadline)?;
    environment.check(&args.command, host.limits);
    report.warnings(&environment.warnings);
    no_problems(&mut environment, report)?;
    Err(become_command(args.command, (program, Some(identity)), &environment.variables, None, report))
}

/// Finds COMMAND as its user would. A dry run needs no right to be that user: that is one of its problems.
fn locate(
    command: &[OsString],
    identity: &Identity,
    dry_run: bool,
    host: &Host,
) -> Result<(Option<Program>, Option<Error>), Error> {
    let locate = || exec::locate(command.first(), host.var(env_vars::PATH));
    match identity.within(locate) {
        Err(error) if dry_run => Ok((locate()?, Some(error))),
        located => Ok((located??, None)),
    }
}

/// Prints what would happen and ends as it would have ended.
fn show(found: DryRun<'_>, report: &Report) -> Result<Exit, Error> {
    report::print(&found.render())?;
    let environment = found.environment;
    environment.notices.iter().for_each(|text| report.dry_run_notice(text));
    environment.problems.iter().for_each(|problem| report.error(problem));
    Ok(environment.problems.first().map_or(Exit::Success, Error::exit))
}

/// Says what there is to say about the environment in its final form.
fn no_problems(environment: &mut EnvPlan, report: &Report) -> Result<(), Error> {
    environment.notices.iter().for_each(|text| report.notice(text));
    let mut problems = environment.problems.drain(..);
    let Some(problem) = problems.next() else { return Ok(()) };
    if problems.len() > 0 {
        let all = problems.len() + 1;
        report.warning(&format!("there are {all} problems; the first follows, --dry-run shows all"));
    }
    Err(problem)
}

/// Returns only if we do not become it.
fn become_command(
    command: Vec<OsString>,
    (program, identity): (Program, Option<Identity>),
    variables: &[Variable],
    container: Option<Prepared>,
    report: &Report,
) -> Error {
    let Some(container) = container else { return replace(program, command, variables, identity, report) };
    match container.with_socket(variables, report) {
        Ok(client) => replace(program, client.command, &client.environment, None, report),
        Err(error) => error,
    }
}

fn replace(
    program: Program,
    command: Vec<OsString>,
    environment: &[Variable],
    identity: Option<Identity>,
    report: &Report,
) -> Error {
    match ExecPlan::new(program, command, environment, identity) {
        Ok(exec) => {
            report.phase(Phase::Exec);
            exec.replace()
        }
        Err(error) => error,
    }
}
