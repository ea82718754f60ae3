//! `--dry-run`: everything a run would do but the last step, and nothing of any value.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::vault::{Access, Endpoint};
use crate::support::{Launch, Outcome, Scenario};

const CANARY: &str = "canary-9c27-value";

#[track_caller]
fn parsed(outcome: &Outcome) -> Value {
    assert!(outcome.stdout.ends_with(b"}\n"), "one line: {}", outcome.text());
    assert_eq!(outcome.text().lines().count(), 1);
    serde_json::from_slice(&outcome.stdout).unwrap()
}

/// A vault with something of everything, and how its secrets are called in texts.
struct Rich {
    scenario: Scenario,
    db: Uuid,
    password: Uuid,
    shared: Uuid,
    unused: Uuid,
}

fn rich() -> Rich {
    let scenario = Scenario::new();
    let owner = scenario.vault.owner();
    let db = owner.create_project("db");
    owner.grant(scenario.account, db, Access::Read);
    let password = owner.create_secret(scenario.project, "DB_PASSWORD", CANARY);
    let shared = owner.create_secret_in(&[scenario.project, db], "TLS_KEY", CANARY.repeat(100), CANARY);
    let unused = owner.create_secret(db, "OLD", CANARY);
    Rich { scenario, db, password, shared, unused }
}

impl Rich {
    /// Both projects of the shared secret, as the server orders them.
    fn both(&self) -> [(Uuid, &'static str); 2] {
        let mut both = [(self.scenario.project, "web"), (self.db, "db")];
        both.sort();
        both
    }
}

#[test]
fn text() {
    let rich = rich();
    let scenario = &rich.scenario;
    let launch = scenario.launch().env("DB_PASSWORD", "inherited").options(["--exclude=OLD", "--dry-run"]);
    let outcome = launch.command(["true"]).run();
    let both = rich.both().map(|(_, name)| format!("'{name}'")).join(", ");
    let expected = format!(
        "command   /usr/bin/true\n\
         identity  {}/\n\
         api       {}/\n\
         \n\
         2 variables set, 1 inherited\n\
         NAME         BYTES  FROM\n\
         DB_PASSWORD     17  secret 'DB_PASSWORD', id {}, in project 'web'; replaces inherited\n\
         TLS_KEY       1700  secret 'TLS_KEY', id {}, in projects {both}\n\
         \n\
         1 secret that the token can read, not used by this run\n  \
           secret 'OLD', id {}, in project 'db'\n",
        scenario.vault.identity_url(),
        scenario.vault.api_url(),
        rich.password,
        rich.shared,
        rich.unused,
    );
    assert_eq!(outcome.text(), expected);
    // What a run says with -v only is a reason for a dry run.
    let notice = format!(
        "bws-exec: notice: the inherited 'DB_PASSWORD' is replaced by secret 'DB_PASSWORD', id {}, in project 'web'\n",
        rich.password
    );
    assert_eq!((outcome.code(), outcome.stderr), (Some(0), notice));
}

#[test]
fn text_without_a_command_and_without_secrets() {
    let scenario = Scenario::new();
    let outcome = scenario.launch().option("--dry-run").run();
    let (identity, api) = (scenario.vault.identity_url(), scenario.vault.api_url());
    let expected = format!("identity  {identity}/\napi       {api}/\n\n0 variables set, 1 inherited\n");
    let warning = "bws-exec: warning: this machine account can read no secrets\n";
    assert_eq!((outcome.text(), outcome.stderr.as_str()), (expected, warning));
    assert_eq!(outcome.code(), Some(0));
}

#[test]
fn json_field_by_field() {
    let rich = rich();
    let scenario = &rich.scenario;
    let launch = scenario.launch().env("DB_PASSWORD", "inherited").env("BWS_EXEC_OTHER", "x");
    let outcome = launch.options(["--project=web", "--dry-run=json"]).command(["true"]).run();
    let described = format!("secret 'DB_PASSWORD', id {}, in project 'web'", rich.password);
    let notice = format!("the inherited 'DB_PASSWORD' is replaced by {described}");
    let expected = json!({
        "version": 1,
        "command": "/usr/bin/true",
        "user": null,
        "no_new_privs": false,
        "identity_url": format!("{}/", scenario.vault.identity_url()),
        "api_url": format!("{}/", scenario.vault.api_url()),
        "snapshot": { "from": "server" },
        "variables": [
            {
                "name": "DB_PASSWORD",
                "rule": "bulk",
                "file": null,
                "line": null,
                "secrets": [{
                    "id": rich.password.to_string(),
                    "key": "DB_PASSWORD",
                    "projects": [scenario.project.to_string()],
                }],
                "bytes": 17,
                "overrides": ["inherited"],
            },
            {
                "name": "TLS_KEY",
                "rule": "bulk",
                "file": null,
                "line": null,
                "secrets": [{
                    "id": rich.shared.to_string(),
                    "key": "TLS_KEY",
                    "projects": rich.both().map(|(id, _)| id.to_string()),
                }],
                "bytes": 1700,
                "overrides": [],
            },
        ],
        "files": [],
        "inherited": 1,
        "unused": [{ "id": rich.unused.to_string(), "key": "OLD", "projects": [rich.db.to_string()] }],
        "warnings": ["variable BWS_EXEC_OTHER has no meaning for this version and is ignored"],
        "notices": [notice],
        "problems": [],
        "exit_code": 0,
    });
    assert_eq!(parsed(&outcome), expected);
    assert_eq!(outcome.code(), Some(0));
    assert_eq!(outcome.stderr.lines().count(), 2, "for people, the same on stderr: {}", outcome.stderr);
}

/// All problems at once, and the exit code of the run that this one stands for.
#[test]
fn all_problems() {
    let scenario = Scenario::new().secret("KEY", CANARY).secret("NUL", format!("{CANARY}\0"));
    let owner = scenario.vault.owner();
    let path = owner.create_secret(scenario.project, "PATH", CANARY);
    owner.create_secret(scenario.project, "a b", CANARY);
    owner.create_secret(scenario.project, "BIG", CANARY.repeat(10_000));
    owner.create_secret_raw(&[scenario.project], &owner.encrypt("BROKEN"), "2.a|b|c", "");
    let launch = || scenario.launch().option("--on-conflict=error").env("KEY", "inherited");
    let slugs =
        ["conflict", "dangerous-name", "invalid-name", "nul-in-value", "undecryptable", "variable-too-large"];

    let json = launch().option("--dry-run=json").run();
    let shown = parsed(&json);
    let problems = shown["problems"].as_array().unwrap();
    let mut found: Vec<&str> = problems.iter().map(|problem| problem["slug"].as_str().unwrap()).collect();
    let first = format!("bws-exec: error[{}]: ", found[0]);
    found.sort_unstable();
    assert_eq!(found, slugs);
    assert_eq!((json.code(), &shown["exit_code"]), (Some(125), &json!(125)));
    let dangerous = problems.iter().find(|problem| problem["slug"] == "dangerous-name").unwrap();
    let message = format!(
        "'PATH' would change how programs run, so a secret may not set it (secret 'PATH', id {path}, in project 'web')"
    );
    let hint = "rename the secret, leave it out by --exclude, or accept it by --allow-name PATH";
    assert_eq!(*dangerous, json!({ "slug": "dangerous-name", "message": message, "hint": hint }));

    let text = launch().option("--dry-run").run();
    assert_eq!(text.code(), Some(125));
    assert!(text.text().contains("\n6 problems\n"), "{}", text.text());
    assert!(text.text().contains(&format!("  [dangerous-name] {message}\n")), "{}", text.text());
    for slug in slugs {
        assert!(text.text().contains(&format!("\n  [{slug}] ")), "{slug}: {}", text.text());
        assert!(text.stderr.contains(&format!("bws-exec: error[{slug}]: ")), "{slug}: {}", text.stderr);
    }

    let run = launch().command(["true"]).run();
    assert_eq!(run.code(), text.code());
    let said: Vec<&str> = run.stderr.lines().collect();
    assert_eq!(said[0], "bws-exec: warning: there are 6 problems; the first follows, --dry-run shows all");
    assert!(said[1].starts_with(&first), "the same first one: {}", run.stderr);
    assert_eq!(said.len(), 3);
    for outcome in [json, text, run] {
        assert!(!outcome.text().contains(CANARY) && !outcome.stderr.contains(CANARY));
    }
}

#[test]
fn no_value_of_anything() {
    let rich = rich();
    for format in ["--dry-run", "--dry-run=text", "--dry-run=json"] {
        for extra in ["-v", "-q", "--on-conflict=inherited", "--on-conflict=error", "--uuids-as-keynames"] {
            let launch = rich.scenario.launch().env("DB_PASSWORD", CANARY).env("OTHER", CANARY);
            let outcome = launch.options([format, extra]).command(["sh", "-c", ":", CANARY]).run();
            assert!(outcome.text().contains("TLS_KEY"), "{}", outcome.text());
            assert!(!outcome.text().contains(CANARY) && !outcome.stderr.contains(CANARY), "{format} {extra}");
            let parts: Vec<&str> = rich.scenario.token.split(['.', ':']).collect();
            for part in [parts[2], parts[3]] {
                assert!(!outcome.text().contains(part) && !outcome.stderr.contains(part), "{format} {extra}");
            }
        }
    }
}

/// It asks the server what a run would ask, and then does not run.
#[test]
fn the_command_does_not_run() {
    let scenario = Scenario::new().secret("KEY", CANARY);
    let directory = tempfile::tempdir().unwrap();
    let launch = scenario.launch().directory(directory.path()).option("--dry-run");
    let outcome = launch.command(["touch", "ran"]).run();
    assert_eq!((outcome.code(), outcome.stderr.as_str()), (Some(0), ""));
    assert!(outcome.text().starts_with("command   /usr/bin/touch\n"), "{}", outcome.text());
    assert!(!directory.path().join("ran").exists());
    let asked: Vec<Endpoint> = scenario.vault.requests().iter().map(|request| request.endpoint).collect();
    scenario.vault.clear_log();
    scenario.launch().directory(directory.path()).command(["touch", "ran"]).run().succeeded();
    let asked_by_run: Vec<Endpoint> =
        scenario.vault.requests().iter().map(|request| request.endpoint).collect();
    assert_eq!(asked, asked_by_run);
    assert!(directory.path().join("ran").exists());
}

#[test]
fn it_ends_as_a_run_would() {
    let scenario = Scenario::new().secret("KEY", CANARY);
    let cases: [(Launch, &str, i32, &str); 4] = [
        (scenario.launch(), "no-such-command", 127, "command-not-found"),
        (scenario.launch(), "/etc/passwd", 126, "command-not-executable"),
        (scenario.launch().option("--only=NONE"), "true", 125, "no-match"),
        (Launch::new(), "true", 125, "token-missing"),
    ];
    for (launch, command, code, slug) in cases {
        launch.option("--dry-run").command([command]).run().failed_with(code, slug);
    }
    let launch = scenario.launch().options(["--api-url", "https://127.0.0.1:1", "--deadline=300ms"]);
    // Twice is once too often for one option.
    launch.option("--dry-run").run().failed_with(125, "usage");
    let launch = Launch::new().options(["-u", "https://127.0.0.1:1", "--deadline=300ms", "--dry-run"]);
    launch.env("BWS_ACCESS_TOKEN", &scenario.token).run().failed_with(75, "connect");
}

#[test]
fn what_quiet_and_verbose_change() {
    let rich = rich();
    let run = |option: &str| {
        let launch = rich.scenario.launch().env("DB_PASSWORD", "x").env("BWS_EXEC_OTHER", "x");
        launch
            .options(["--dry-run", "--exclude=OLD"])
            .options([option].iter().filter(|o| !o.is_empty()))
            .run()
    };
    let usual = run("");
    assert_eq!(usual.stderr.matches("bws-exec: warning: variable BWS_EXEC_OTHER").count(), 1);
    assert_eq!(usual.stderr.matches("bws-exec: notice: the inherited 'DB_PASSWORD'").count(), 1);
    assert_eq!(usual.stderr.lines().count(), 2);
    assert_eq!(run("-v").stderr, usual.stderr);
    assert_eq!(run("-q").stderr, "");
    assert_eq!(run("-q").text(), usual.text(), "what was asked for is not less");
}
