//! One fault with one state of the cache: the run, and what has to hold afterwards.

use std::fmt;
use std::time::Duration;

use super::rows::Row;
use super::world::{NEW, OLD, World};
use crate::support::Outcome;
use crate::support::vault::Endpoint;

/// What `--deadline` says where the time has to run out.
const DEADLINE: Duration = Duration::from_secs(2);
/// What an outage may cost with a copy that serves.
const WITH_A_COPY: Duration = Duration::from_secs(5);
/// For a machine that is busy with the other cells.
const SLACK: Duration = Duration::from_secs(3);

pub struct State {
    pub title: &'static str,
    pub options: &'static [&'static str],
    pub cache: bool,
    session: bool,
}

pub const STATES: [State; 5] = [
    State { title: "no cache", options: &[], cache: false, session: true },
    State { title: "fresh copy", options: &["--max-age", "1h"], cache: true, session: true },
    State { title: "stale copy, session kept", options: &[], cache: true, session: true },
    State { title: "stale copy, no session", options: &["--no-session-cache"], cache: true, session: false },
    State {
        title: "copy too old",
        options: &["--no-session-cache", "--max-stale", "1ms"],
        cache: true,
        session: false,
    },
];

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The command has what the server has now.
    Runs,
    /// The same, and a warning is given.
    RunsWarned,
    /// The command has what the copy holds; nothing is said.
    Copy,
    /// The same, with a warning that says how old it is.
    CopyWarned,
    /// The command does not run.
    Fails(i32, &'static str),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runs => f.write_str("runs"),
            Self::RunsWarned => f.write_str("runs, warns"),
            Self::Copy => f.write_str("copy"),
            Self::CopyWarned => f.write_str("copy, warns"),
            Self::Fails(code, slug) => write!(f, "{code} `{slug}`"),
        }
    }
}

/// Everything that is wrong with this cell.
pub fn check(row: &Row, state: usize) -> Vec<String> {
    let expected = row.expected[state];
    let state = &STATES[state];
    let mut world = World::new(row.sync_supported, state.cache);
    (row.script)(&mut world);
    let (deadline, limit) = match expected {
        End::Fails(75, _) => (Some(DEADLINE), DEADLINE),
        _ => (row.deadline, WITH_A_COPY),
    };
    let deadline = deadline.map(|deadline| format!("--deadline={}ms", deadline.as_millis()));
    let outcome = world.launch().options(state.options).options(deadline).run();

    let mut problems = judge(&outcome, expected);
    if outcome.took > limit + SLACK {
        problems.push(format!("it took {:?}", outcome.took));
    }
    problems.extend(requests(&world, state, expected));
    if row.files_are_ours {
        problems.extend(files(row, &world, state, expected));
    }
    if !problems.is_empty() {
        problems.push(format!("in all: {outcome:?}"));
    }
    problems
}

/// Code, slug, words and the command's environment.
fn judge(outcome: &Outcome, expected: End) -> Vec<String> {
    let mut problems = Vec::new();
    let mut holds = |what: &str, condition: bool| {
        if !condition {
            problems.push(format!("expected {expected}: {what}"));
        }
    };
    let text = outcome.text();
    let mut environment: Vec<&str> = text.lines().filter(|line| !line.starts_with("PATH=")).collect();
    environment.sort_unstable();
    let (code, secrets): (i32, &[&str]) = match expected {
        End::Runs | End::RunsWarned => (0, &NEW),
        End::Copy | End::CopyWarned => (0, &OLD),
        End::Fails(code, _) => (code, &[]),
    };
    holds("exit code", outcome.code() == Some(code));
    holds("exactly these secrets", environment == secrets);
    holds("nothing runs", !matches!(expected, End::Fails(..)) || text.is_empty());
    let stderr = outcome.stderr.as_str();
    let lines = stderr.lines().count();
    holds(
        "what is said",
        match expected {
            End::Runs | End::Copy => stderr.is_empty(),
            End::RunsWarned => lines == 1 && stderr.starts_with("bws-exec: warning: the cache is not used: "),
            End::CopyWarned => {
                let age = "; using the copy fetched ";
                lines == 1 && stderr.starts_with("bws-exec: warning: ") && stderr.contains(age)
            }
            End::Fails(_, slug) => stderr.contains(&format!("bws-exec: error[{slug}]: ")),
        },
    );
    holds("no value is said", [OLD, NEW].concat().iter().all(|secret| !stderr.contains(secret)));
    problems
}

/// A fresh copy asks nobody, and with a copy to fall back on there is one attempt.
fn requests(world: &World, state: &State, expected: End) -> Option<String> {
    let vault = &world.scenario.as_ref()?.vault;
    if expected == End::Copy && vault.connections() > 0 {
        return Some("a server was asked although the copy is fresh".into());
    }
    let asked = vault.requests();
    let count = |it: Endpoint| asked.iter().filter(|request| request.endpoint == it).count();
    let again = [Endpoint::Login, Endpoint::Sync, Endpoint::List].into_iter().find(|&it| count(it) > 1);
    let once = expected == End::CopyWarned && !state.session;
    again.filter(|_| once).map(|it| format!("{it:?} was tried again"))
}

/// A copy goes only if the token is refused; a session also if it is refused, or not wanted.
fn files(row: &Row, world: &World, state: &State, expected: End) -> Vec<String> {
    let mut problems = Vec::new();
    let revoked = state.cache && expected == End::Fails(125, "invalid-client");
    if world.file("snapshot").is_some() == revoked {
        problems.push(format!("the copy must {} there", if revoked { "not be" } else { "be" }));
    }
    let kept = match (state.cache, state.session) {
        _ if revoked => Some(false),
        (false, _) => Some(true),
        (true, false) => Some(false),
        // What a server says of the session may end it, and without a login there is no other.
        (true, true) if matches!(expected, End::Fails(125, _)) => None,
        (true, true) if row.place == "session" => Some(expected != End::CopyWarned),
        (true, true) => Some(true),
    };
    if let Some(kept) = kept
        && world.file("session").is_some() != kept
    {
        problems.push(format!("the session must {} there", if kept { "be" } else { "not be" }));
    }
    problems
}
