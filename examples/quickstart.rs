//! The main job, start to end, without a server or an account of your own: `cargo run --example quickstart`.
//!
//! It starts the local vault, makes a machine account with an access token, stores secrets, launches
//! commands through the real binary, then revokes the token and shows the refusal.

#[path = "../tests/support/vault/mod.rs"]
mod vault;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use vault::{Access, Options, Vault};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn main() -> Result<(), Box<dyn Error>> {
    let binary = build()?;

    step("Start a Secrets Manager server on the loopback interface, over TLS");
    let vault = Vault::try_start(Options::default())?;
    let owner = vault.owner();
    println!("  identity  {}\n  api       {}", vault.identity_url(), vault.api_url());

    step("Make a project, a machine account that reads it, and an access token for 30 days");
    let project = owner.create_project("web");
    let account = owner.create_account("quickstart");
    owner.grant(account, project, Access::Read);
    let token = owner.create_token(account, "quickstart", Some(30 * DAY));
    println!("  {token}\n  It is shown this once; the server keeps a hash of it.");

    step("Store two secrets. The server sees ciphertext only");
    owner.create_secret(project, "DATABASE_URL", "postgres://app:s3cr3t@db/app");
    owner.create_secret(project, "GREETING", "two words, \"quotes\" and a $dollar");
    for secret in owner.state().secrets.values() {
        println!("  {}…", &secret.value[..40]);
    }

    let launch = |options: &[&str], command: &[&str]| -> Result<ExitStatus, Box<dyn Error>> {
        let typed: String = options.iter().map(|option| format!("{option} ")).collect();
        println!("  $ bws-exec {typed}-- {}", quoted(command));
        Ok(Command::new(&binary)
            .env("BWS_ACCESS_TOKEN", &token)
            .args(["--identity-url", vault.identity_url(), "--api-url", vault.api_url()])
            .arg("--ca-file")
            .arg(vault.ca_file())
            .args(options)
            .arg("--")
            .args(command)
            .status()?)
    };

    step("Launch a shell with the secrets in its environment");
    expect(launch(&[], &["sh", "-c", "echo \"  DATABASE_URL is $DATABASE_URL\""])?, 0)?;

    step("Launch a command with awkward arguments: they arrive as they were given");
    expect(launch(&[], &["printf", "  [%s]\n", "a  b", "$GREETING", "", "it's \"quoted\""])?, 0)?;

    step("Look for the token in the command's environment: it is gone");
    expect(launch(&[], &["sh", "-c", "echo \"  BWS_ACCESS_TOKEN is ${BWS_ACCESS_TOKEN-not set}\""])?, 0)?;

    step("Exit codes are the command's own");
    let status = launch(&[], &["sh", "-c", "exit 7"])?;
    println!("  exit code {}", status.code().unwrap_or_default());
    expect(status, 7)?;

    step("Ask what would happen, without a single value");
    expect(launch(&["--dry-run"], &["true"])?, 0)?;

    step("Revoke the token: the next launch is refused");
    owner.revoke_token(&token);
    let status = launch(&[], &["sh", "-c", "echo this never runs"])?;
    println!("  exit code {}", status.code().unwrap_or_default());
    expect(status, 125)?;

    println!("\nThat is all of it. Requests that the server saw: {}", vault.requests().len());
    Ok(())
}

fn step(what: &str) {
    println!("\n{what}.");
}

/// The command as one would type it.
fn quoted(words: &[&str]) -> String {
    let quote = |word: &&str| match word {
        word if !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c)) => {
            (*word).to_owned()
        }
        word => format!("'{}'", word.replace('\'', r"'\''").replace('\n', r"\n")),
    };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}

fn expect(status: ExitStatus, code: i32) -> Result<(), Box<dyn Error>> {
    if status.code() == Some(code) {
        Ok(())
    } else {
        Err(format!("expected exit code {code}, got {status}").into())
    }
}

/// `cargo run --example` builds examples only; the launcher itself is a binary beside them.
fn build() -> Result<PathBuf, Box<dyn Error>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--bin", "bws-exec", "--manifest-path"]);
    build.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    if !build.status()?.success() {
        return Err("the launcher could not be built".into());
    }
    let example = std::env::current_exe()?;
    let directory =
        example.parent().and_then(Path::parent).ok_or("the example is not in target/…/examples")?;
    Ok(directory.join("bws-exec"))
}
