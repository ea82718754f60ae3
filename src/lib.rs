//! The launcher bws-exec: run a command with its secrets from Bitwarden Secrets Manager.
//!
//! # Architecture
//!
//! One way of data, and [`run()`] is the place to read it: what the process was started with becomes
//! what was typed, what it means, what the server says, what the command gets, and the command.
//!
//! ```text
//! Host -> Args -> RunPlan -> Identity -> Program located -> Source -> Snapshot -> EnvPlan -> ExecPlan -> execve,
//!     or supervise
//! ```
//!
//! Modules import downward only; a test holds them to this order, top first:
//!
//! | module | its one job |
//! |---|---|
//! | `run` | the pipeline, one line a stage |
//! | `dry_run` | what `--dry-run` shows |
//! | `supervise` | `--init`, `--watch`: staying beside COMMAND |
//! | `generate` | the man page, completions, from the definition of the command line |
//! | `github_mask` | `--github-mask`: what the runner of GitHub Actions is told |
//! | `source` | where a snapshot comes from |
//! | `plan` | typed + variables -> what it means |
//! | `config` | what is read besides: tokens, profiles of `bws`, env files, the status descriptor |
//! | `cli` | what was typed |
//! | `container` | `--container`: the engine's command line, the hand-over |
//! | `exec` | locate COMMAND, become it or start it |
//! | `files` | `--file`: sealed memory or a private mount |
//! | `identity` | who COMMAND runs as |
//! | `host` | the outside world, read once; hardening |
//! | `env` | snapshot + inherited -> the command's environment |
//! | `cache` | what is kept sealed on disk, if asked to |
//! | `api` | HTTP: login, sync, retries |
//! | `snapshot` | what a token can read |
//! | `report` | our only words |
//! | `token` | the access token |
//! | `users` | names of users and groups |
//! | `read` | files that others name, bounded |
//! | `crypto` | keys, `EncString`, derivation |
//! | `error`, `exit`, `ids`, `secret`, `deadline`, `random`, `env_vars` | vocabulary |
//! | `sys` | the kernel, and the only `unsafe` |
#![deny(unsafe_code)]
// One place that prints (`report`), one that ends the process (`main`), no panic by convenience.
#![deny(clippy::print_stdout, clippy::print_stderr, clippy::exit, clippy::unwrap_used)]

mod api;
mod cache;
mod cli;
mod config;
mod container;
mod crypto;
mod deadline;
mod dry_run;
mod env;
mod env_vars;
mod error;
mod exec;
mod exit;
mod files;
mod generate;
mod github_mask;
mod host;
mod identity;
mod ids;
mod plan;
mod random;
mod read;
pub mod report;
mod run;
mod secret;
mod snapshot;
mod source;
mod supervise;
mod sys;
mod token;
mod users;
#[cfg(test)]
mod vectors;

pub use exit::Exit;
pub use run::run;
