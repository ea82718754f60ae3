//! A Secrets Manager server on this machine, for work without a network or an account.
//!
//! ```text
//! local_vault project add web
//! local_vault secret add DB_PASSWORD --project web      # asks for the value, or reads stdin
//! local_vault account add laptop
//! local_vault grant laptop web
//! export BWS_ACCESS_TOKEN=$(local_vault token create laptop --expires 30d)
//! local_vault serve                                      # says what else to export
//! ```
//!
//! Three files: the state (`local-vault.json`) is what a server would have: ciphertext, hashes and
//! permissions. The organization key is not in it but in `local-vault.json.key`, which stands for
//! the owner: the commands that administer need it, `serve` does not. `local-vault.json.ca.pem` is
//! the certificate that clients have to trust, made anew by every `serve`. A running server sees
//! what the other commands change. It has nobody else's protection: keep no real secrets in it.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use uuid::Uuid;

#[path = "../tests/support/vault/mod.rs"]
mod vault;

use vault::date::Clock;
use vault::store::{State, Store, with_suffix};
use vault::{Access, Key, Layout, Options, Owner, Transport, Vault};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A Secrets Manager server on this machine, for work without a network or an account.
#[derive(Parser)]
struct Cli {
    /// The server's state; the owner's key is beside it, as FILE.key
    #[arg(long, global = true, value_name = "FILE", default_value = "local-vault.json")]
    state: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until interrupted
    Serve(Serve),
    /// Add, rename and list projects
    #[command(subcommand)]
    Project(ProjectCommand),
    /// Add, edit, list and delete secrets
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Add and list machine accounts
    #[command(subcommand)]
    Account(AccountCommand),
    /// Say what an account may do with a project
    Grant {
        account: String,
        project: String,
        #[arg(long, value_enum, default_value_t = Right::Read)]
        access: Right,
    },
    /// Create, list and revoke access tokens
    #[command(subcommand)]
    Token(TokenCommand),
}

#[derive(Args)]
struct Serve {
    /// The port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 8443)]
    port: u16,
    /// Plain HTTP in place of TLS
    #[arg(long)]
    plain: bool,
    /// Limit requests as the cloud does
    #[arg(long)]
    rate_limits: bool,
}

#[derive(Subcommand)]
enum ProjectCommand {
    Add { name: String },
    Rename { project: String, name: String },
    List,
}

#[derive(Subcommand)]
enum SecretCommand {
    /// The value is asked for, or read from stdin without its last line end
    Add {
        key: String,
        #[arg(long)]
        project: String,
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Change the value, which is asked for or read from stdin
    Edit {
        secret: String,
    },
    /// Names only
    List,
    Delete {
        secret: String,
    },
}

#[derive(Subcommand)]
enum AccountCommand {
    Add { name: String },
    List,
}

#[derive(Subcommand)]
enum TokenCommand {
    /// Print a new access token, this once
    Create {
        account: String,
        #[arg(long, default_value = "")]
        name: String,
        /// For example 30d, 12h, 15m or 90s; without it, never
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        expires: Option<Duration>,
    },
    /// Revoke the token with this id or name
    Revoke {
        token: String,
    },
    List,
}

#[derive(Clone, Copy, ValueEnum)]
enum Right {
    None,
    Read,
    Write,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("local_vault: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    match &cli.command {
        Command::Serve(options) => serve(&cli.state, options),
        Command::Project(command) => project(&cli.state, command),
        Command::Secret(command) => secret(&cli.state, command),
        Command::Account(command) => account(&cli.state, command),
        Command::Grant { account, project, access } => administer(&cli.state, |owner| {
            let account = find("account", account, owner.accounts())?;
            let project = find("project", project, owner.projects())?;
            match access {
                Right::None => owner.ungrant(account, project),
                Right::Read => owner.grant(account, project, Access::Read),
                Right::Write => owner.grant(account, project, Access::ReadWrite),
            }
            Ok(())
        }),
        Command::Token(command) => token(&cli.state, command),
    }
}

fn serve(state: &Path, options: &Serve) -> Result<()> {
    open(state)?;
    let ca_file = with_suffix(state, ".ca.pem");
    let vault = Vault::try_start(Options {
        layout: Layout::SelfHosted,
        transport: if options.plain { Transport::Plain } else { Transport::Tls },
        rate_limits: options.rate_limits,
        state_file: Some(state.to_owned()),
        ca_file: Some(ca_file.clone()),
        ports: [options.port, 0],
        ..Options::default()
    })
    .map_err(|error| format!("cannot serve on port {}: {error}", options.port))?;

    println!("Serving {} until interrupted. In another terminal:\n", state.display());
    println!("export BWS_SERVER_URL={}", vault.server_url());
    if !options.plain {
        println!("export SSL_CERT_FILE={}", ca_file.canonicalize()?.display());
    }
    println!("# and, with the name of an account:");
    println!("export BWS_ACCESS_TOKEN=$(local_vault token create ACCOUNT)");
    println!("bws-exec -- printenv");
    loop {
        std::thread::park();
    }
}

fn project(state: &Path, command: &ProjectCommand) -> Result<()> {
    administer(state, |owner| {
        match command {
            ProjectCommand::Add { name } => println!("{}", owner.create_project(name)),
            ProjectCommand::Rename { project, name } => {
                owner.rename_project(find("project", project, owner.projects())?, name);
            }
            ProjectCommand::List => print_names(owner.projects()),
        }
        Ok(())
    })
}

fn secret(state: &Path, command: &SecretCommand) -> Result<()> {
    // Asked for before the state is locked: a server must not wait for somebody's typing.
    let value = match command {
        SecretCommand::Add { .. } | SecretCommand::Edit { .. } => read_value()?,
        SecretCommand::List | SecretCommand::Delete { .. } => String::new(),
    };
    administer(state, |owner| {
        let by_name = || owner.secrets().into_iter().map(|secret| (secret.id, secret.key)).collect();
        match command {
            SecretCommand::Add { key, project, note } => {
                let project = find("project", project, owner.projects())?;
                println!("{}", owner.create_secret_in(&[project], key, value, note));
            }
            SecretCommand::Edit { secret } => owner.update_secret(find("secret", secret, by_name())?, value),
            SecretCommand::Delete { secret } => owner.delete_secret(find("secret", secret, by_name())?),
            SecretCommand::List => print_names(by_name()),
        }
        Ok(())
    })
}

fn account(state: &Path, command: &AccountCommand) -> Result<()> {
    administer(state, |owner| {
        match command {
            AccountCommand::Add { name } => println!("{}", owner.create_account(name)),
            AccountCommand::List => print_names(owner.accounts()),
        }
        Ok(())
    })
}

fn token(state: &Path, command: &TokenCommand) -> Result<()> {
    administer(state, |owner| {
        match command {
            TokenCommand::Create { account, name, expires } => {
                let account = find("account", account, owner.accounts())?;
                println!("{}", owner.create_token(account, name, *expires));
            }
            TokenCommand::Revoke { token } => {
                let tokens = owner.tokens().into_iter().map(|token| (token.id, token.name)).collect();
                owner.revoke_token(&find("token", token, tokens)?.to_string());
            }
            TokenCommand::List => {
                let accounts = owner.accounts();
                for token in owner.tokens() {
                    let account = accounts.get(&token.account).and_then(Option::as_deref).unwrap_or("?");
                    let name = token.name.as_deref().unwrap_or("?");
                    let expires = token.expires.map_or("never".to_owned(), |expires| expires.to_string());
                    println!("{}  account {account}  expires {expires}  {name}", token.id);
                }
            }
        }
        Ok(())
    })
}

/// Lets the owner work on a copy of the state, and keeps it if all went well.
fn administer(path: &Path, work: impl FnOnce(&Owner) -> Result<()>) -> Result<()> {
    let (store, key) = open(path)?;
    let worked = store.with(|state| {
        let copy = Arc::new(Store::in_memory(state.clone()));
        let owner = Owner::new(key, copy, Arc::new(Clock::default()));
        work(&owner).map(|()| *state = owner.state())
    });
    worked.map_err(|error| format!("{}: {error}", path.display()))?
}

/// Opens the state and the owner's key. If there is neither, a new organization is made.
fn open(path: &Path) -> Result<(Store, Key)> {
    let key_path = with_suffix(path, ".key");
    let in_key_file = |error: io::Error| format!("{}: {error}", key_path.display());
    let key = match fs::read_to_string(&key_path) {
        Ok(text) => Key::from_base64(text.trim())
            .ok_or_else(|| format!("{} does not hold an organization key", key_path.display()))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if path.exists() {
                let (state, key) = (path.display(), key_path.display());
                return Err(
                    format!("{state} is there but {key} is not: without the owner's key it is lost").into()
                );
            }
            let key = Key::random();
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&key_path)
                .map_err(in_key_file)?;
            writeln!(file, "{}", key.to_base64()).map_err(in_key_file)?;
            eprintln!("local_vault: made a new organization; its key is in {}", key_path.display());
            key
        }
        Err(error) => return Err(in_key_file(error).into()),
    };
    let store = Store::open(path, || State::new(vault::crypto::random_uuid()))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    Ok((store, key))
}

/// The id of the one thing that is meant by an id or a name.
fn find(kind: &str, wanted: &str, all: BTreeMap<Uuid, Option<String>>) -> Result<Uuid> {
    let is_meant =
        |id: &Uuid, name: &Option<String>| wanted == id.to_string() || name.as_deref() == Some(wanted);
    let found: Vec<Uuid> = all.iter().filter(|(id, name)| is_meant(id, name)).map(|(id, _)| *id).collect();
    match found.as_slice() {
        [id] => Ok(*id),
        [] => Err(format!("there is no {kind} '{wanted}'; see: local_vault {kind} list").into()),
        several => {
            let ids: Vec<String> = several.iter().map(Uuid::to_string).collect();
            Err(format!("several {kind}s are called '{wanted}', use an id: {}", ids.join(" ")).into())
        }
    }
}

fn print_names(names: BTreeMap<Uuid, Option<String>>) {
    for (id, name) in names {
        println!("{id}  {}", name.as_deref().unwrap_or("(under another key)"));
    }
}

fn read_value() -> Result<String> {
    let mut value = String::new();
    let stdin = io::stdin();
    if stdin.is_terminal() {
        eprint!("Value: ");
        let hidden = echo("-echo");
        let read = stdin.read_line(&mut value);
        if hidden {
            echo("echo");
            eprintln!();
        }
        read?;
    } else {
        stdin.lock().read_to_string(&mut value).map_err(|error| format!("the value on stdin: {error}"))?;
    }
    let one_line_end = value.strip_suffix('\n').map(|rest| rest.strip_suffix('\r').unwrap_or(rest).len());
    value.truncate(one_line_end.unwrap_or(value.len()));
    if value.is_empty() {
        return Err("a secret needs a value".into());
    }
    Ok(value)
}

/// Switches the terminal's echo. Without `stty`, the value is shown as it is typed.
fn echo(mode: &str) -> bool {
    std::process::Command::new("stty").arg(mode).status().is_ok_and(|status| status.success())
}

fn duration(text: &str) -> std::result::Result<Duration, String> {
    let wrong = || format!("'{text}' is no duration such as 30d, 12h, 15m or 90s");
    let seconds = match text.char_indices().next_back().ok_or_else(wrong)?.1 {
        'd' => 86_400,
        'h' => 3_600,
        'm' => 60,
        's' => 1,
        _ => return Err(wrong()),
    };
    let count: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(u64::from(count) * seconds))
}
