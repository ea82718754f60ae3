//! COMMAND: finding it before the first packet, and becoming it at the end.

mod locate;

pub use locate::{Program, locate};

use std::ffi::{CString, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use nix::errno::Errno;
use zeroize::{Zeroize, Zeroizing};

use crate::env::{self, Value, Variable};
use crate::error::Error;
use crate::identity::Identity;
use crate::sys;

/// Ready to be executed: every string is in its final form and every size is checked.
pub struct ExecPlan {
    path: PathBuf,
    arguments: Vec<CString>,
    environment: Block,
    identity: Option<Identity>,
}

/// The environment in one buffer, each entry with its NUL.
struct Block {
    bytes: Zeroizing<Vec<u8>>,
    ends: Vec<usize>,
}

impl Block {
    fn new(variables: &[Variable]) -> Self {
        let size = variables.iter().map(|variable| variable.size() + 1).sum();
        let mut block = Self { bytes: Zeroizing::new(Vec::with_capacity(size)), ends: Vec::new() };
        for variable in variables {
            let value = match &variable.value {
                Value::Inherited(entry) => &entry[variable.name.len() + 1..],
                // EXPOSE: this is what we are for.
                Value::Given { value, .. } => value.expose(),
                Value::File { delivered, .. } => env::path(delivered.as_ref()),
            };
            for part in [&variable.name[..], b"=", value, b"\0"] {
                block.bytes.extend_from_slice(part);
            }
            block.ends.push(block.bytes.len());
        }
        block
    }

    fn entries(&self) -> Option<Vec<&std::ffi::CStr>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, &end)| std::ffi::CStr::from_bytes_with_nul(&self.bytes[start..end]).ok())
            .collect()
    }
}

impl ExecPlan {
    /// Without an identity COMMAND is who we are.
    pub fn new(
        program: Program,
        command: Vec<OsString>,
        environment: &[Variable],
        identity: Option<Identity>,
    ) -> Result<Self, Error> {
        let arguments = command
            .into_iter()
            .map(|argument| CString::new(argument.into_vec()))
            .collect::<Result<_, _>>()
            .map_err(|_| Error::Internal("an argument contains NUL".into()))?;
        Ok(Self { path: program.path, arguments, environment: Block::new(environment), identity })
    }

    /// Becomes COMMAND. Returns only if the kernel refuses.
    pub fn replace(mut self) -> Error {
        let internal = |what: &str| Error::Internal(format!("{what} contains NUL"));
        let Ok(path) = CString::new(self.path.as_os_str().as_bytes()) else { return internal("the path") };
        let Some(environment) = self.environment.entries() else { return internal("a variable") };
        let arguments: Vec<_> = self.arguments.iter().map(CString::as_c_str).collect();
        // Last, for until here we need what we may and COMMAND may not.
        if let Some(Err(error)) = self.identity.map(Identity::assume) {
            drop(environment);
            self.environment.bytes.zeroize();
            return error;
        }
        let cause = sys::execve(&path, &arguments, &environment);
        drop(environment);
        self.environment.bytes.zeroize();
        match Errno::from_raw(cause.raw_os_error().unwrap_or_default()) {
            Errno::ENOEXEC | Errno::EACCES => {
                Error::CommandNotExecutable { path: self.path, problem: cause.to_string() }
            }
            _ => Error::Exec { path: self.path, cause },
        }
    }
}
