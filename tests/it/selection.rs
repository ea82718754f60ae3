//! Which secrets are injected: projects, globs, and selectors that choose nothing.

use uuid::Uuid;

use crate::support::vault::{Access, Key};
use crate::support::{Launch, Scenario};

/// Keys in two projects and in both: `web` has A_1 and B_1, `db` has A_2, both have SHARED.
struct Two {
    scenario: Scenario,
    db: Uuid,
}

fn two() -> Two {
    let scenario = Scenario::new().secret("A_1", "a1").secret("B_1", "b1");
    let owner = scenario.vault.owner();
    let db = owner.create_project("db");
    owner.grant(scenario.account, db, Access::Read);
    owner.create_secret(db, "A_2", "a2");
    owner.create_secret_in(&[scenario.project, db], "SHARED", "both", "");
    Two { scenario, db }
}

/// Prints the names that it has from secrets.
const NAMES: [&str; 3] =
    ["sh", "-c", "env | grep -E '^(A_|B_|SHARED|KEY|_)' | grep -v '^_=' | cut -d= -f1 | sort | xargs"];

#[track_caller]
fn names(launch: Launch, expected: &str) {
    let outcome = launch.command(NAMES).run();
    outcome.succeeded();
    assert_eq!(outcome.text().trim_end(), expected);
}

#[test]
fn projects() {
    let Two { scenario, db } = two();
    let web = scenario.project.to_string();
    let launch = || scenario.launch();
    names(launch(), "A_1 A_2 B_1 SHARED");
    names(launch().options(["--project", "web"]), "A_1 B_1 SHARED");
    names(launch().options(["--project", &web]), "A_1 B_1 SHARED");
    names(launch().options(["--project", &web.to_uppercase()]), "A_1 B_1 SHARED");
    names(launch().options(["--project-id", &db.to_string()]), "A_2 SHARED");
    names(launch().options(["--project=web", "--project=db"]), "A_1 A_2 B_1 SHARED");
    names(launch().options(["--project=web", "--project", &web]), "A_1 B_1 SHARED");
    names(launch().env("BWS_EXEC_PROJECT", "db"), "A_2 SHARED");
    names(launch().env("BWS_EXEC_PROJECT", "unknown").options(["--project", "web"]), "A_1 B_1 SHARED");
}

#[test]
fn globs() {
    let Two { scenario, .. } = two();
    let launch = |options: &[&str]| scenario.launch().options(options);
    names(launch(&["--only", "A_*"]), "A_1 A_2");
    names(launch(&["--only", "A_?", "--only", "SHARED"]), "A_1 A_2 SHARED");
    names(launch(&["--exclude", "A_*"]), "B_1 SHARED");
    names(launch(&["--exclude", "A_*", "--exclude=S*"]), "B_1");
    names(launch(&["--only", "*_1", "--exclude", "A_*"]), "B_1");
    names(launch(&["--project=web", "--only=*_1", "--exclude=B*"]), "A_1");
    names(launch(&["--only", "*"]), "A_1 A_2 B_1 SHARED");
}

/// Selectors are matched against the key as stored, not against the variable's name.
#[test]
fn globs_see_the_stored_key() {
    let scenario = Scenario::new().secret("db-password", "x").secret("KEY", "y");
    let id = scenario.vault.owner().secrets().into_iter().find(|s| s.key.as_deref() == Some("db-password"));
    let name = format!("_{}", id.unwrap().id.to_string().replace('-', "_"));
    names(scenario.launch().options(["--uuids-as-keynames", "--only", "db-*"]), &name);
    names(scenario.launch().options(["--exclude", "db-*"]), "KEY");
}

#[test]
fn selectors_that_choose_nothing() {
    let Two { scenario, db } = two();
    let keys = "bws-exec --dry-run lists the keys; a glob is matched against the key as stored";
    let check = |options: &[&str], selector: &str, hint: &str| {
        let expected = format!(
            "bws-exec: error[no-match]: {selector} matches no secret that this token can read\n\
             bws-exec: hint: {hint}\n"
        );
        scenario.launch().options(options).command(["true"]).run().failed(125, &expected);
    };
    check(&["--only", "C_*"], "--only 'C_*'", keys);
    check(&["--only", "A_*", "--only", "a_*"], "--only 'a_*'", keys);
    check(&["--exclude", "A_"], "--exclude 'A_'", keys);
    check(&["--only", ""], "--only ''", keys);
    // It matches a secret, but none of that project.
    check(&["--project", "db", "--only", "B_1"], "--only 'B_1'", keys);

    let mut projects = [(scenario.project, "web"), (db, "db")];
    projects.sort();
    let list = projects.map(|(id, name)| format!("'{name}' ({id})")).join(", ");
    let hint = format!("projects with secrets that this token reads: {list}");
    check(&["--project", "wbe"], "--project 'wbe'", &hint);
    check(&["--project", "Web"], "--project 'Web'", &hint);
    let unknown = "11111111-2222-3333-4444-555555555555";
    check(&["--project", unknown], &format!("--project '{unknown}'"), &hint);
    check(&["--project", "web", "--project", "wbe"], "--project 'wbe'", &hint);
}

/// Each selector matches something, and together they leave nothing: not what anybody means.
#[test]
fn selectors_that_leave_nothing_together() {
    let Two { scenario, .. } = two();
    let outcome = scenario.launch().options(["--only", "A_*", "--exclude", "A_*"]).command(NAMES).run();
    assert_eq!(
        outcome.stderr,
        "bws-exec: warning: the selectors together leave none of the 4 secrets that this token can read\n"
    );
    assert_eq!((outcome.code(), outcome.text().trim_end()), (Some(0), ""));
}

#[test]
fn an_account_without_secrets() {
    let scenario = Scenario::new();
    let warning = "bws-exec: warning: this machine account can read no secrets\n";
    let outcome = scenario.launch().command(["echo", "ran"]).run();
    assert_eq!((outcome.text().as_str(), outcome.stderr.as_str()), ("ran\n", warning));
    let outcome = scenario.launch().option("-q").command(["echo", "ran"]).run();
    assert_eq!((outcome.text().as_str(), outcome.stderr.as_str()), ("ran\n", ""));
    let outcome = scenario.launch().options(["--project", "web"]).command(["true"]).run();
    outcome.failed(
        125,
        &format!(
            "{warning}bws-exec: error[no-match]: --project 'web' matches no secret that this token can read\n\
             bws-exec: hint: this token reads no project that has secrets\n"
        ),
    );
}

#[test]
fn a_name_that_two_projects_have() {
    let Two { scenario, db } = two();
    scenario.vault.owner().rename_project(db, "web");
    let mut ids = [scenario.project, db].map(|id| id.to_string());
    ids.sort();
    let expected = format!(
        "bws-exec: error[ambiguous-project]: project name 'web' is ambiguous: {}, {}\n\
         bws-exec: hint: give the project's id instead\n",
        ids[0], ids[1]
    );
    scenario.launch().options(["--project", "web"]).command(["true"]).run().failed(125, &expected);
    names(scenario.launch().options(["--project", &db.to_string()]), "A_2 SHARED");
}

/// What reads as an id is one: a project of that name does not take the place of one that is gone.
#[test]
fn a_name_that_looks_like_an_id() {
    let Two { scenario, db } = two();
    let unknown = "11111111-2222-3333-4444-555555555555";
    scenario.vault.owner().rename_project(db, unknown);
    scenario.launch().options(["--project", unknown]).command(["true"]).run().failed_with(125, "no-match");
    scenario.vault.owner().rename_project(db, &scenario.project.to_string());
    names(scenario.launch().options(["--project", &scenario.project.to_string()]), "A_1 B_1 SHARED");
}

#[test]
fn a_project_whose_name_cannot_be_decrypted() {
    let Two { scenario, db } = two();
    scenario.vault.owner().rename_project_raw(db, &Key::random().encrypt(b"db"));
    names(scenario.launch(), "A_1 A_2 B_1 SHARED");
    names(scenario.launch().options(["--project", &db.to_string()]), "A_2 SHARED");
    let outcome = scenario.launch().options(["--project", "db"]).command(["true"]).run();
    outcome.failed_with(125, "no-match");
    assert!(outcome.stderr.contains(&db.to_string()), "by its id: {}", outcome.stderr);
    assert!(outcome.stderr.contains(&format!("'web' ({})", scenario.project)), "{}", outcome.stderr);
}

#[test]
fn a_value_that_cannot_be_decrypted() {
    let scenario = Scenario::new().secret("KEY", "y");
    let owner = scenario.vault.owner();
    let value = Key::random().encrypt(b"foreign");
    let id = owner.create_secret_raw(&[scenario.project], &owner.encrypt("BROKEN"), &value, &value);
    let expected = format!(
        "bws-exec: error[undecryptable]: cannot decrypt the value of secret 'BROKEN', id {id}, in project 'web': \
         the key does not fit or the data was changed\n\
         bws-exec: hint: store the secret again in Bitwarden, or leave it out by --exclude or --project\n"
    );
    scenario.launch().command(["true"]).run().failed(125, &expected);
    names(scenario.launch().options(["--exclude", "BROKEN"]), "KEY");
    names(scenario.launch().options(["--only", "KEY"]), "KEY");
}

#[test]
fn a_key_that_cannot_be_decrypted() {
    let Two { scenario, db } = two();
    let owner = scenario.vault.owner();
    let id = owner.create_secret_raw(&[db], "7.AAAA", &owner.encrypt("value"), &owner.encrypt(""));
    let expected = format!(
        "bws-exec: error[undecryptable]: cannot decrypt the key of secret id {id}, in project 'db': encryption type 7 \
         is not accepted\n\
         bws-exec: hint: this secret uses newer encryption: update bws-exec, or leave it out by --only or --project\n"
    );
    scenario.launch().command(["true"]).run().failed(125, &expected);
    scenario.launch().options(["--exclude", "A_*"]).command(["true"]).run().failed(125, &expected);
    // It cannot be chosen by a key that nobody can read, nor is it chosen by another project.
    for selector in ["--only=B_1", "--project=web"] {
        let expected_names = if selector == "--only=B_1" { "B_1" } else { "A_1 B_1 SHARED" };
        names(scenario.launch().option(selector), expected_names);
        let outcome = scenario.launch().option(selector).option("-v").command(["true"]).run();
        let notice = format!(
            "bws-exec: notice: secret id {id}, in project 'db', is not selected and its key cannot be decrypted: \
             encryption type 7 is not accepted\n"
        );
        assert_eq!((outcome.code(), outcome.stderr), (Some(0), notice));
    }
}
