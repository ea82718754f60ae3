//! What was typed. One definition, from which `--help` comes too. No meaning, no I/O.

mod command_line;
pub mod help;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, ValueEnum, ValueHint};

pub use command_line::{CommandLine, Parsed};

use crate::container;
use crate::deadline::parse_duration;
use crate::env::OnConflict;

/// Run a command with its secrets from Bitwarden Secrets Manager in the environment.
///
/// Logs in with a machine account's access token, fetches and decrypts the secrets that account may
/// read, puts them in the environment of COMMAND and becomes COMMAND by execve. Plaintext never touches
/// disk, a command line or a shell history.
#[derive(Debug, Parser)]
#[command(
    name = "bws-exec",
    verbatim_doc_comment,
    version,
    max_term_width = 100,
    override_usage = "bws-exec [OPTIONS] [--] COMMAND [ARG]...",
    after_help = help::after_help()
)]
pub struct Args {
    /// Read the access token from descriptor N, to its end
    #[arg(long, value_name = "N", help_heading = TOKEN)]
    pub access_token_fd: Option<i32>,
    /// Read the access token from a file
    #[arg(long, value_name = "PATH", help_heading = TOKEN)]
    pub access_token_file: Option<PathBuf>,
    /// The access token itself: accepted as `bws` does, but `ps` and the shell's history show it
    #[arg(short = 't', long, value_name = "TOKEN", help_heading = TOKEN)]
    pub access_token: Option<OsString>,

    /// Base URL of a self-hosted server, with /api and /identity under it
    #[arg(short = 'u', long, value_name = "URL", help_heading = SERVER)]
    pub server_url: Option<String>,
    /// Cloud region
    #[arg(long, value_name = "us|eu", help_heading = SERVER)]
    pub region: Option<String>,
    /// URL of the API; with --identity-url
    #[arg(long, value_name = "URL", help_heading = SERVER)]
    pub api_url: Option<String>,
    /// URL of the identity server; with --api-url
    #[arg(long, value_name = "URL", help_heading = SERVER)]
    pub identity_url: Option<String>,
    /// Take the server from this configuration of `bws` [default: ~/.config/bws/config]
    #[arg(short = 'f', long, value_name = "FILE", help_heading = SERVER)]
    pub config_file: Option<PathBuf>,
    /// Its profile [default: one called like the token's id, else `default`]
    #[arg(short = 'p', long, value_name = "NAME", help_heading = SERVER)]
    pub profile: Option<String>,
    /// Trust the certificates in this file too
    #[arg(long, value_name = "PEM", help_heading = SERVER)]
    pub ca_file: Option<PathBuf>,
    /// One budget for everything before COMMAND runs [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = SERVER)]
    pub deadline: Option<Duration>,

    /// Keep a sealed copy of the secrets, and the session, in our own directory below DIR
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = CACHE)]
    pub cache_dir: Option<PathBuf>,
    /// Use no copy whose last successful login is longer ago [default: 24h]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = CACHE)]
    pub max_stale: Option<Duration>,
    /// Use a copy fetched less than this ago without asking the server [default: 0]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = CACHE)]
    pub max_age: Option<Duration>,
    /// Use the copy only
    #[arg(long, help_heading = CACHE)]
    pub offline: bool,
    /// Log in at each start: a revoked token is refused at once
    #[arg(long, help_heading = CACHE)]
    pub no_session_cache: bool,

    /// Inject the secrets of this project; repeatable
    #[arg(long, visible_alias = "project-id", value_name = "ID|NAME", help_heading = SECRETS)]
    pub project: Vec<String>,
    /// Inject secrets whose key matches; repeatable
    #[arg(long, value_name = "GLOB", help_heading = SECRETS)]
    pub only: Vec<String>,
    /// Leave out secrets whose key matches; repeatable
    #[arg(long, value_name = "GLOB", help_heading = SECRETS)]
    pub exclude: Vec<String>,
    /// Inject in bulk beside references too: everything, unless other selectors narrow it
    #[arg(long, help_heading = SECRETS)]
    pub all: bool,
    /// Set NAME to one secret: REF is an id, KEY or PROJECT/KEY, then #/json/pointer; repeatable
    #[arg(long, value_name = "NAME=REF", help_heading = SECRETS)]
    pub map: Vec<String>,
    /// Put one secret into a file in memory and its path into NAME; see docs/files.md; repeatable
    #[arg(
        long,
        value_name = "NAME=REF[,mode=0400][,owner=USER[:GROUP]][,path=/ABS/PATH]",
        help_heading = SECRETS
    )]
    pub file: Vec<String>,
    /// Set the variables of this file, with bws://REF and ${bws://REF} resolved; repeatable
    #[arg(long, value_name = "FILE", help_heading = SECRETS)]
    pub env_file: Vec<PathBuf>,
    /// Resolve inherited variables whose whole value is bws://REF
    #[arg(
        long,
        value_name = "GLOB",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "*",
        help_heading = SECRETS
    )]
    pub resolve_env: Option<String>,
    /// Fail if NAME would not be set; repeatable
    #[arg(long, value_name = "NAME", help_heading = SECRETS)]
    pub require: Vec<String>,
    /// Do not fail if what NAME refers to is missing: it is not set from there; repeatable
    #[arg(long, value_name = "NAME", help_heading = SECRETS)]
    pub optional: Vec<String>,
    /// Make names of selected secrets upper case, with `_` for `-`, `.`, `/` and space
    #[arg(long, help_heading = SECRETS)]
    pub upper: bool,
    /// Put P in front of the names of selected secrets
    #[arg(long, value_name = "P", help_heading = SECRETS)]
    pub prefix: Option<String>,
    /// Call each variable `_` and the secret's id, with `_` for `-`
    #[arg(long, help_heading = SECRETS)]
    pub uuids_as_keynames: bool,
    /// Let a secret set this dangerous or unusual name; repeatable
    #[arg(long, value_name = "NAME", help_heading = SECRETS)]
    pub allow_name: Vec<String>,

    /// Start from PATH and nothing else
    #[arg(long, help_heading = ENVIRONMENT)]
    pub no_inherit_env: bool,
    /// With --no-inherit-env: keep inherited variables that match; repeatable
    #[arg(long, value_name = "GLOB", requires = "no_inherit_env", help_heading = ENVIRONMENT)]
    pub keep: Vec<String>,
    /// Take away inherited variables that match; repeatable
    #[arg(long, value_name = "GLOB", help_heading = ENVIRONMENT)]
    pub unset: Vec<String>,
    /// Who wins between a secret and an inherited variable
    #[arg(long, value_enum, value_name = "WHO", default_value = "secret", help_heading = ENVIRONMENT)]
    pub on_conflict: OnConflict,

    /// COMMAND is `docker run` or `podman run`: inject into the container, past the engine
    #[arg(
        long,
        value_enum,
        value_name = "MODE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "socket",
        help_heading = PROCESS
    )]
    pub container: Option<container::Mode>,
    /// What --container puts in front of the image's command.
    #[arg(long, hide = true)]
    pub container_inner: bool,
    /// Stay as the parent of the command: pass signals on, reap orphans; see docs/supervise.md
    #[arg(long, help_heading = PROCESS)]
    pub init: bool,
    /// Stay, and look for changed secrets every INTERVAL [default: 5m]; see docs/supervise.md
    #[arg(
        long,
        value_name = "INTERVAL",
        value_parser = parse_duration,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "5m",
        help_heading = PROCESS
    )]
    pub watch: Option<Duration>,
    /// With --watch: restart, exit (with code 75) or signal:NAME [default: restart]
    #[arg(long, value_name = "WHAT", help_heading = PROCESS)]
    pub on_change: Option<String>,
    /// Stay, and replace secrets in the output, unless it is a terminal; see docs/masking.md
    #[arg(long, help_heading = PROCESS)]
    pub mask: bool,
    /// When we stay: time from SIGTERM to SIGKILL, 0 for never [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = PROCESS)]
    pub kill_after: Option<Duration>,
    /// When we stay: pass signals on to the command's whole process group
    #[arg(long, help_heading = PROCESS)]
    pub signal_group: bool,
    /// Run COMMAND as this user, without any capability; see docs/least-privilege.md
    #[arg(long, value_name = "USER[:GROUP]", help_heading = PROCESS)]
    pub user: Option<String>,
    /// No program that COMMAND starts gains rights by its file, such as set-user-ID
    #[arg(long, help_heading = PROCESS)]
    pub no_new_privs: bool,
    /// Let the command write core dumps
    #[arg(long, help_heading = PROCESS)]
    pub allow_core: bool,

    /// Do everything but run COMMAND; print names, sources and problems, never values
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "text",
        help_heading = DIAGNOSTICS
    )]
    pub dry_run: Option<DryRunFormat>,
    /// In GitHub Actions: tell the runner to mask every value, before COMMAND runs
    #[arg(long, help_heading = DIAGNOSTICS)]
    pub github_mask: bool,
    /// Write a JSON line per phase to descriptor N (3 or more)
    #[arg(long, value_name = "N", help_heading = DIAGNOSTICS)]
    pub status_fd: Option<i32>,
    /// Errors only
    #[arg(short, long, conflicts_with = "verbose", help_heading = DIAGNOSTICS)]
    pub quiet: bool,
    /// Notices too
    #[arg(short, long, action = ArgAction::Count, help_heading = DIAGNOSTICS)]
    pub verbose: u8,

    /// Print the man page, or what makes a shell complete our options and then COMMAND's
    #[arg(long, value_enum, value_name = "KIND", help_heading = DIAGNOSTICS)]
    pub generate: Option<Generated>,

    /// The command to become, and its arguments, which are handed on untouched
    #[arg(value_name = "COMMAND", trailing_var_arg = true, hide = true)]
    pub command: Vec<OsString>,
}

const TOKEN: &str = "Access token (the first that is given wins)";
const SERVER: &str = "Server";
const CACHE: &str = "Cache (without --cache-dir nothing is written anywhere)";
const SECRETS: &str = "Secrets (all that the token can read, unless some are selected or named)";
const ENVIRONMENT: &str = "Environment";
const PROCESS: &str = "Process";
const DIAGNOSTICS: &str = "Diagnostics";

/// `--dry-run=FORMAT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DryRunFormat {
    Text,
    Json,
}

/// `--generate KIND`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Generated {
    Man,
    CompleteBash,
    CompleteZsh,
    CompleteFish,
}

impl ValueEnum for OnConflict {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Secret, Self::Inherited, Self::Error]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(match self {
            Self::Secret => "secret",
            Self::Inherited => "inherited",
            Self::Error => "error",
        }))
    }
}

impl ValueEnum for container::Mode {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Socket, Self::Token]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(match self {
            Self::Socket => "socket",
            Self::Token => "token",
        }))
    }
}
