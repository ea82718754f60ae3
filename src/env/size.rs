//! The kernel's limits on what `execve` takes, checked before it says E2BIG without naming anything.

use std::ffi::OsString;

use super::{Value, Variable};
use crate::error::Error;

/// Limits of this process (execve(2), "Limits on size of arguments and environment").
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// One string with its NUL.
    pub string: usize,
    /// Arguments and environment together, with their pointers.
    pub total: usize,
}

impl Limits {
    /// A quarter of the stack limit, at most 6 MiB (3/4 of `_STK_LIM`), at least `ARG_MAX`
    /// (fs/exec.c, `bprm_stack_limits`), less a margin for what the kernel adds for scripts.
    pub fn new(longest_string: usize, stack: u64) -> Self {
        const MARGIN: usize = 4096;
        let quarter = usize::try_from(stack / 4).unwrap_or(usize::MAX);
        Self { string: longest_string, total: quarter.clamp(128 * 1024, 6 * 1024 * 1024) - MARGIN }
    }
}

/// Checks the environment beside these arguments.
pub fn check(limits: Limits, variables: &[Variable], arguments: &[OsString]) -> Vec<Error> {
    const POINTER: usize = size_of::<*const u8>();
    let mut problems = Vec::new();
    let mut total: usize = arguments.iter().map(|argument| argument.len() + 1 + POINTER).sum();
    for variable in variables {
        let size = variable.size() + 1;
        total += size + POINTER;
        if size > limits.string {
            let origin = match &variable.value {
                Value::Inherited(_) => "inherited".into(),
                Value::Given { source, .. } | Value::File { source, .. } => source.to_string(),
            };
            let name = variable.shown_name();
            problems.push(Error::VariableTooLarge { name, size, limit: limits.string, origin });
        }
    }
    if total > limits.total {
        let mut all: Vec<&Variable> = variables.iter().collect();
        all.sort_by_key(|variable| std::cmp::Reverse(variable.size()));
        let largest: Vec<String> = all
            .iter()
            .take(5)
            .map(|variable| format!("'{}' {} bytes", variable.shown_name(), variable.size()))
            .collect();
        problems.push(Error::EnvironmentTooLarge {
            size: total,
            limit: limits.total,
            largest: largest.join(", "),
        });
    }
    problems
}
