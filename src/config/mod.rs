//! What is read beside the command line: the access token, `bws` profiles, env files.

mod env_file;
mod profile;
mod servers;
mod token;

pub use servers::ServerChoice;
pub use token::{TokenSource, sources as token_sources, status_descriptor};

use std::path::{Path, PathBuf};

use crate::deadline::Deadline;
use crate::env::EnvFile;
use crate::error::Error;
use crate::read;
use crate::token::{AccessToken, is_blank};

/// Of an env file or a configuration: more than any environment holds.
const LARGEST: usize = 1024 * 1024;

/// Reads the `--env-file`s.
pub fn env_files(paths: &[PathBuf], deadline: Deadline) -> Result<Vec<EnvFile>, Error> {
    paths.iter().map(|path| read_env_file(path, deadline)).collect()
}

fn read_env_file(path: &Path, deadline: Deadline) -> Result<EnvFile, Error> {
    let shown = path.display().to_string();
    let fault = |line, column, problem| Error::EnvFile { path: shown.clone(), line, column, problem };
    let bytes = read::whole(path, LARGEST, deadline).map_err(|error| fault(0, 0, error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = before.rsplit(|&byte| byte == b'\n').next().unwrap_or_default();
        let column = String::from_utf8_lossy(line).chars().count() + 1;
        fault(before.split(|&byte| byte == b'\n').count(), column, "it is not UTF-8".into())
    })?;
    let assignments = env_file::parse(&text).map_err(|f| fault(f.line, f.column, f.problem))?;
    Ok(EnvFile { path: shown, assignments })
}

/// The token of the first source that has one, if that can have changed.
pub fn read_token_again(sources: &[TokenSource], deadline: Deadline) -> Result<Option<AccessToken>, Error> {
    for source in sources {
        match source {
            TokenSource::Text { text, .. } if is_blank(text) => {}
            TokenSource::File { .. } => {
                if let Some(token) = source.read(deadline, |_| {})? {
                    return Ok(Some(token));
                }
            }
            // A descriptor was read to its end.
            TokenSource::Text { .. } | TokenSource::Descriptor { .. } => return Ok(None),
        }
    }
    Ok(None)
}

/// The token of the first source that has one.
pub fn read_token(
    sources: &[TokenSource],
    deadline: Deadline,
    warn: impl Fn(&str),
) -> Result<AccessToken, Error> {
    for source in sources {
        if let Some(token) = source.read(deadline, &warn)? {
            return Ok(token);
        }
    }
    Err(Error::TokenMissing)
}
