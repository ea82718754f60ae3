//! The container's end of the socket: the inner copy of us, before it becomes what the image runs.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use zeroize::Zeroizing;

use super::{SOCKET, frame};
use crate::deadline::Deadline;
use crate::env::inherit::{Entry, Inherit};
use crate::env::{EnvPlan, OnConflict, Rule, Source, Value, Variable};
use crate::error::Error;
use crate::read;

/// The container's own environment with what is handed over in it. The place is fixed: whoever can give
/// us options gains nothing by it.
pub fn receive(
    inherited: &[Entry],
    inherit: &Inherit,
    on_conflict: OnConflict,
    deadline: Deadline,
) -> Result<EnvPlan, Error> {
    let problem = |problem: &str| Error::HandOver { problem: problem.into() };
    let given = take(deadline).map_err(|cause| match cause.kind() {
        ErrorKind::NotFound => problem("there is no socket at /.bws-exec.sock"),
        // Reset: it ended before our turn came.
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => {
            problem("whoever would give it has ended")
        }
        ErrorKind::UnexpectedEof => problem("it was given to another process or is not for this one"),
        ErrorKind::TimedOut => problem("it did not arrive in time"),
        _ => problem(&cause.to_string()),
    })?;
    let given = frame::read(&given).map_err(problem)?;
    let mut plan = EnvPlan::default();
    let inherited = inherit.apply(inherited, &mut plan.notices);
    let is_inherited = |name: &[u8]| inherited.iter().any(|(other, _)| *other == name);
    let mut variables = Vec::new();
    for (name, value) in given {
        if is_inherited(&name) && on_conflict != OnConflict::Secret {
            if on_conflict == OnConflict::Error {
                let name = String::from_utf8_lossy(&name).into_owned();
                plan.problems.push(Error::Conflict { name, secret: "handed over".into() });
            }
            continue;
        }
        let source = Source { rule: Rule::HandedOver, secrets: Vec::new(), overrides: Vec::new() };
        variables.push(Variable { name, value: Value::Given { value, source } });
    }
    for (name, entry) in inherited {
        if !variables.iter().any(|variable| variable.name == name) {
            plan.variables.push(Variable { name: name.to_vec(), value: Value::Inherited(entry.clone()) });
        }
    }
    plan.variables.extend(variables);
    Ok(plan)
}

fn take(deadline: Deadline) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let stream = UnixStream::connect(SOCKET)?;
    let mut header = [0; frame::HEADER];
    if read::fill(stream.as_fd(), &mut header, deadline)? < header.len() {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let mut body = Zeroizing::new(vec![0; frame::body_length(&header).map_err(std::io::Error::other)?]);
    if read::fill(stream.as_fd(), &mut body, deadline)? < body.len() {
        return Err(std::io::Error::other("what was received is cut short"));
    }
    Ok(body)
}
