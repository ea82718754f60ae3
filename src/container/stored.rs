//! What a plain `docker run` or `podman run` would leave with the engine.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Engine;
use super::command_line::EngineCall;
use crate::deadline::Deadline;
use crate::env::{Value, Variable};
use crate::read;

/// Of an env file, as of our own.
const LARGEST: usize = 1024 * 1024;

/// The warning about `-e NAME`, and about a line `NAME` of an `--env-file`: which values would be written
/// to the engine's disk.
pub fn stored_by_engine(command: &[OsString], variables: &[Variable], deadline: Deadline) -> Option<String> {
    let call = EngineCall::parse(command).ok()?;
    let all = call.is_set("env-host");
    let mut passed: Vec<Vec<u8>> = call.values("env").map(|name| name.as_bytes().to_vec()).collect();
    for typed in call.values("env-file") {
        for path in paths(call.engine, typed) {
            passed.extend(lines(Path::new(OsStr::from_bytes(path)), deadline));
        }
    }
    let stored: Vec<String> = variables
        .iter()
        .filter(|variable| matches!(variable.value, Value::Given { .. }))
        .filter(|variable| all || passed.iter().any(|typed| is_passed(call.engine, typed, &variable.name)))
        .map(|variable| format!("'{}'", variable.shown_name()))
        .collect();
    (!stored.is_empty()).then(|| {
        format!(
            "{} stores the value of {} on its disk and shows it in 'inspect'; --container keeps it out of there",
            call.engine.name(),
            stored.join(", ")
        )
    })
}

/// `-e NAME`, and podman's `-e NA*`.
fn is_passed(engine: Engine, typed: &[u8], name: &[u8]) -> bool {
    let start = typed.strip_suffix(b"*").filter(|_| engine == Engine::Podman);
    typed == name || start.is_some_and(|start| name.starts_with(start))
}

/// podman's option is a list, in one word.
fn paths(engine: Engine, typed: &OsStr) -> impl Iterator<Item = &[u8]> {
    typed.as_bytes().split(move |&byte| byte == b',' && engine == Engine::Podman)
}

/// The lines of an env file, as both clients read it (`opts/file.go`, `pkg/env/env.go`). What cannot be read
/// is the client's to complain about, and what can be read only once is the client's to read.
fn lines(path: &Path, deadline: Deadline) -> Vec<Vec<u8>> {
    if !path.is_file() {
        return Vec::new();
    }
    let text = read::whole(path, LARGEST, deadline).unwrap_or_default();
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    let line = |line: &[u8]| line.strip_suffix(b"\r").unwrap_or(line).trim_ascii_start().to_vec();
    text.split(|&byte| byte == b'\n').map(line).collect()
}
