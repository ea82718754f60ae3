//! `--github-mask`: what the runner of GitHub Actions is told to mask. Pure.
//!
//! The runner reads both streams of a step by lines, and takes `::add-mask::` from either (`ScriptHandler.cs`
//! makes an `OutputManager` for each). Stderr is the one that a script does not capture, and of lines that
//! are there at the same time the runner handles those of stderr first (`ProcessInvoker.cs`).

use std::borrow::Cow;
use std::collections::HashSet;

use zeroize::Zeroizing;

use crate::env::EnvPlan;
use crate::secret::SecretValue;

/// The lines for these secrets. Nothing else that we ever write holds a value.
pub fn lines(environment: &EnvPlan) -> Zeroizing<Vec<u8>> {
    let mut masks: Vec<&[u8]> = Vec::new();
    let mut known = HashSet::new();
    for (_, value) in environment.secrets() {
        // EXPOSE: for the runner, which cannot mask what it does not know.
        masks.extend(value.masked().filter(|text| !is_blank(text) && known.insert(*text)));
    }
    if masks.is_empty() {
        return Zeroizing::default();
    }
    // Grown, it would leave pieces of values behind.
    let size: usize = masks.iter().map(|text| COMMAND.len() + 3 * text.len() + 1).sum();
    let mut lines = Zeroizing::new(Vec::with_capacity(1 + size));
    // What was written before may lack its line feed, and a command that does not begin a line is printed
    // to the log as it is (`ActionCommand.TryParseV2`).
    lines.push(b'\n');
    for text in masks {
        lines.extend_from_slice(COMMAND);
        text.iter().for_each(|byte| escape(*byte, &mut lines));
        lines.push(b'\n');
    }
    lines
}

/// The variables of which the runner cannot mask the value: what is masked is never as short, and it refuses
/// what is nothing but white space.
pub fn unmasked(environment: &EnvPlan) -> impl Iterator<Item = Cow<'_, str>> {
    let masked = |value: &SecretValue| value.masked().any(|text| !is_blank(text));
    environment.secrets().filter(move |(_, value)| !masked(value)).map(|(name, _)| name)
}

const COMMAND: &[u8] = b"::add-mask::";

/// `escapeData` of actions/toolkit, which `ActionCommand.UnescapeData` of the runner undoes. All other bytes
/// go as they are.
fn escape(byte: u8, out: &mut Vec<u8>) {
    match byte {
        b'%' => out.extend_from_slice(b"%25"),
        b'\r' => out.extend_from_slice(b"%0D"),
        b'\n' => out.extend_from_slice(b"%0A"),
        _ => out.push(byte),
    }
}

/// .NET's `IsNullOrWhiteSpace`, which the runner asks.
fn is_blank(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.chars().all(char::is_whitespace))
}
