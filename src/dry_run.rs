//! What `--dry-run` shows: every variable, where it comes from and how long it is. Never a value.

use std::collections::HashSet;
use std::fmt::Write;

use serde_json::{Value as Json, json};

use crate::api::Servers;
use crate::cli::DryRunFormat;
use crate::deadline::rough;
use crate::env::{self, Delivered, EnvPlan, Origin, Rule, Source, Value, Variable};
use crate::exec::Program;
use crate::identity::Identity;
use crate::ids::{ProjectId, SecretId};
use crate::plan::RunPlan;
use crate::report::{is_unsafe, shown};
use crate::snapshot::{Freshness, Snapshot};
use crate::token::redact;

/// Version of the JSON form. Fields may be added under one version, never changed or removed.
const VERSION: u32 = 1;

/// Everything a dry run has found out.
pub struct DryRun<'a> {
    pub plan: &'a RunPlan,
    pub servers: &'a Servers,
    pub program: Option<&'a Program>,
    pub identity: &'a Identity,
    pub snapshot: &'a Snapshot,
    pub environment: &'a EnvPlan,
}

impl DryRun<'_> {
    /// In the format that was asked for.
    pub fn render(&self) -> String {
        match self.plan.dry_run {
            Some(DryRunFormat::Json) => format!("{}\n", escaped(&self.json())),
            Some(DryRunFormat::Text) | None => self.text(),
        }
    }

    fn injected(&self) -> impl Iterator<Item = (&Variable, usize, &Source)> {
        self.environment.variables.iter().filter_map(|variable| match &variable.value {
            Value::Given { value, source } => Some((variable, value.expose().len(), source)),
            Value::File { delivered, source, .. } => {
                Some((variable, env::path(delivered.as_ref()).len(), source))
            }
            Value::Inherited(_) => None,
        })
    }

    /// Those that could be made.
    fn files(&self) -> impl Iterator<Item = (&Variable, usize, &Delivered)> {
        self.environment.variables.iter().filter_map(|variable| match &variable.value {
            Value::File { content, delivered: Some(file), .. } => {
                Some((variable, content.expose().len(), file))
            }
            _ => None,
        })
    }

    fn inherited(&self) -> usize {
        self.environment.variables.iter().filter(|v| matches!(v.value, Value::Inherited(_))).count()
    }

    fn unused(&self) -> impl Iterator<Item = &crate::snapshot::Secret> {
        let unused: HashSet<_> = self.environment.unused.iter().collect();
        self.snapshot.secrets.iter().filter(move |secret| unused.contains(&secret.id))
    }

    fn text(&self) -> String {
        let mut out = String::new();
        let mut line = |text: String| {
            let _ = writeln!(out, "{text}");
        };
        if let Some(program) = self.program {
            line(format!("command   {}", shown(&program.path.to_string_lossy())));
        }
        if let Some(account) = &self.identity.account {
            let name = account.name.as_ref().map(|name| shown(&name.to_string_lossy()));
            let name = name.map(|name| format!("{name}, ")).unwrap_or_default();
            let groups: Vec<String> = account.groups.iter().map(u32::to_string).collect();
            let (uid, gid, groups) = (account.uid, account.gid, groups.join(" "));
            line(format!("user      {name}uid {uid}, gid {gid}, groups {groups}; no capabilities"));
        }
        if self.identity.no_new_privs {
            line("rights    no new ones, by no program".into());
        }
        line(format!("identity  {}", self.servers.identity));
        line(format!("api       {}", self.servers.api));
        if let Freshness::Copied { fetched, proved } = self.snapshot.freshness {
            let (fetched, proved) = (rough(fetched), rough(proved));
            line(format!("secrets   a copy, fetched {fetched} ago with a login {proved} ago"));
        }
        let rows: Vec<[String; 3]> = self
            .injected()
            .map(|(variable, size, source)| {
                let overrides = match &source.overrides[..] {
                    [] => String::new(),
                    weaker => format!("; replaces {}", weaker.join(", ")),
                };
                [
                    shown(&String::from_utf8_lossy(&variable.name)),
                    size.to_string(),
                    shown(&format!("{source}{overrides}")),
                ]
            })
            .collect();
        line(format!("\n{} set, {} inherited", count(rows.len(), "variable"), self.inherited()));
        table("FROM", &rows).into_iter().for_each(&mut line);
        let owner = |file: &Delivered| format!("{}:{}", file.user, file.group);
        let width = self.files().map(|(_, _, file)| owner(file).len()).max().unwrap_or(0).max("OWNER".len());
        let files: Vec<[String; 3]> = self
            .files()
            .map(|(variable, size, file)| {
                let (mode, owner, path) = (file.mode, owner(file), shown(&file.path.to_string_lossy()));
                let place = format!("{mode:04o}  {owner:<width$}  {path}");
                [shown(&String::from_utf8_lossy(&variable.name)), size.to_string(), place]
            })
            .collect();
        if !files.is_empty() {
            line(format!("\n{}", count(files.len(), "file")));
            table(&format!("MODE  {:<width$}  PATH", "OWNER"), &files).into_iter().for_each(&mut line);
        }
        if !self.environment.unused.is_empty() {
            let unused = count(self.environment.unused.len(), "secret");
            line(format!("\n{unused} that the token can read, not used by this run"));
            for secret in self.unused() {
                line(format!("  {}", shown(&self.snapshot.describe(secret))));
            }
        }
        if !self.environment.problems.is_empty() {
            line(format!("\n{}", count(self.environment.problems.len(), "problem")));
            for problem in &self.environment.problems {
                line(format!("  [{}] {}", problem.slug(), shown(&problem.to_string())));
            }
        }
        out
    }

    fn json(&self) -> Json {
        let variables: Vec<Json> = self
            .injected()
            .map(|(variable, size, source)| {
                let (rule, file, line) = match &source.rule {
                    Rule::Map => ("map", None, None),
                    Rule::File => ("file", None, None),
                    Rule::EnvFile { path, line } => ("env-file", Some(path), Some(line)),
                    Rule::ResolveEnv => ("resolve-env", None, None),
                    Rule::Bulk => ("bulk", None, None),
                    Rule::HandedOver => ("handed-over", None, None),
                };
                let secret = |origin: &Origin| secret(origin.id, origin.key.as_deref(), &origin.project_ids);
                json!({
                    "name": String::from_utf8_lossy(&variable.name),
                    "rule": rule,
                    "file": file,
                    "line": line,
                    "secrets": source.secrets.iter().map(secret).collect::<Vec<_>>(),
                    "bytes": size,
                    "overrides": source.overrides,
                })
            })
            .collect();
        let files: Vec<Json> = self
            .files()
            .map(|(variable, size, file)| {
                json!({
                    "name": String::from_utf8_lossy(&variable.name),
                    "path": file.path.to_string_lossy(),
                    "bytes": size,
                    "mode": format!("{:04o}", file.mode),
                    "user": file.user,
                    "group": file.group,
                })
            })
            .collect();
        let unused: Vec<Json> =
            self.unused().map(|s| secret(s.id, s.key.as_deref().ok(), &s.project_ids)).collect();
        let problems: Vec<Json> = self
            .environment
            .problems
            .iter()
            .map(|problem| {
                json!({ "slug": problem.slug(), "message": problem.to_string(), "hint": problem.hint() })
            })
            .collect();
        json!({
            "version": VERSION,
            "command": self.program.map(|program| program.path.to_string_lossy()),
            "user": self.identity.account.as_ref().map(|account| json!({
                "name": account.name.as_ref().map(|name| name.to_string_lossy()),
                "uid": account.uid,
                "gid": account.gid,
                "groups": account.groups,
            })),
            "no_new_privs": self.identity.no_new_privs,
            "identity_url": self.servers.identity.as_str(),
            "api_url": self.servers.api.as_str(),
            "snapshot": match self.snapshot.freshness {
                Freshness::Fetched => json!({ "from": "server" }),
                Freshness::Copied { fetched, proved } => json!({
                    "from": "copy",
                    "fetched_seconds_ago": fetched.as_secs(),
                    "login_seconds_ago": proved.as_secs(),
                }),
            },
            "variables": variables,
            "files": files,
            "inherited": self.inherited(),
            "unused": unused,
            "warnings": self.plan.warnings.iter().chain(&self.environment.warnings).collect::<Vec<_>>(),
            "notices": self.environment.notices,
            "problems": problems,
            "exit_code": self.environment.problems.first().map_or(0, |problem| problem.exit().code()),
        })
    }
}

fn secret(id: SecretId, key: Option<&str>, projects: &[ProjectId]) -> Json {
    let projects: Vec<String> = projects.iter().map(ToString::to_string).collect();
    json!({ "id": id.to_string(), "key": key, "projects": projects })
}

/// The same JSON without what looks like an access token, and fit for a terminal too: such characters
/// are in its strings only.
fn escaped(json: &Json) -> String {
    let mut text = String::new();
    for c in redact(&json.to_string()).chars() {
        match is_unsafe(c) {
            // All of them are in the basic plane, so one escape holds them.
            true => {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            false => text.push(c),
        }
    }
    text
}

/// Lines with a name, a number and the rest.
fn table(rest: &str, rows: &[[String; 3]]) -> Vec<String> {
    if rows.is_empty() {
        return Vec::new();
    }
    let width = |column: usize, title: &str| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(title.len())
    };
    let (name, bytes) = (width(0, "NAME"), width(1, "BYTES"));
    let title = format!("{:<name$}  {:>bytes$}  {rest}", "NAME", "BYTES");
    let line = |[variable, size, rest]: &[String; 3]| format!("{variable:<name$}  {size:>bytes$}  {rest}");
    std::iter::once(title).chain(rows.iter().map(line)).collect()
}

/// "1 secret", "2 secrets".
fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::env::properties;
    use crate::plan::tests::plan;

    proptest! {
        #[test]
        fn no_value_is_ever_shown(
            secrets in properties::secrets(),
            policy in properties::policy(),
            inherited in properties::inherited(),
        ) {
            let snapshot = properties::snapshot(&secrets);
            let environment = EnvPlan::build(&snapshot, &policy, &inherited);
            let plan = plan(&["--dry-run"], &[]).unwrap();
            let servers = plan.servers.choose("ec2c1d46-6a4b-4751-a310-af9601317f2d".parse().unwrap(), plan.deadline).unwrap();
            let identity = Identity::look_up(&plan.identity, plan.deadline).unwrap();
            let shown = DryRun { plan: &plan, servers: &servers, program: None, identity: &identity, snapshot: &snapshot, environment: &environment };
            let (text, json) = (shown.text(), escaped(&shown.json()));
            prop_assert!(!text.contains(properties::CANARY), "{text}");
            prop_assert!(!json.contains(properties::CANARY), "{json}");
            prop_assert!(!text.contains(|c: char| is_unsafe(c) && c != '\n'), "{text:?}");
            prop_assert!(!json.trim_end().contains(is_unsafe), "{json:?}");
            let json: Json = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(json["variables"].as_array().unwrap().len(), shown.injected().count());
            prop_assert_eq!(json["problems"].as_array().unwrap().len(), environment.problems.len());
        }
    }
}
