//! Secrets that cannot go into the command's environment, each named by key, id and project.

use uuid::Uuid;

use crate::errors::{echo, error};
use crate::support::vault::Access;
use crate::support::{Launch, Scenario};

/// A scenario with this secret, and how messages describe it.
fn with_secret(key: &str, value: &str) -> (Scenario, String) {
    let (scenario, id) = with_id(key, value);
    (scenario, described(key, id))
}

fn with_id(key: &str, value: &str) -> (Scenario, Uuid) {
    let scenario = Scenario::new();
    let id = scenario.vault.owner().create_secret(scenario.project, key, value);
    (scenario, id)
}

fn described(key: &str, id: Uuid) -> String {
    format!("secret '{key}', id {id}, in project 'web'")
}

#[track_caller]
fn refused(launch: Launch, slug: &str, message: &str, hint: &str) {
    echo(launch).run().failed(125, &error(slug, message, hint));
}

#[test]
fn names_that_are_no_names() {
    let unusual = "only letters, digits and '_' are usual";
    for (key, problem, possible) in [
        ("db-password", unusual, true),
        ("1ST", "it begins with a digit", true),
        ("a b", unusual, true),
        ("", "it is empty", false),
        ("A=B", "it contains '='", false),
    ] {
        let (scenario, id) = with_id(key, "value");
        let accept = if possible { format!(", or accept it by --allow-name '{key}'") } else { String::new() };
        let hint = format!(
            "rename the secret, use --uuids-as-keynames, leave it out by --exclude and name it by --map NAME={id}{accept}"
        );
        let message = format!("'{key}' cannot name a variable ({}): {problem}", described(key, id));
        refused(scenario.launch(), "invalid-name", &message, &hint);
        let launch = scenario.launch().option("--uuids-as-keynames").command(["true"]);
        launch.run().succeeded();
        if possible {
            let launch = scenario.launch().options(["--allow-name", key]).command(["printenv", key]);
            assert_eq!(launch.run().succeeded().text(), "value\n");
        }
    }
}

#[test]
fn names_that_change_how_programs_run() {
    let (scenario, secret) = with_secret("LD_PRELOAD", "/nowhere.so");
    refused(
        scenario.launch(),
        "dangerous-name",
        &format!("'LD_PRELOAD' would change how programs run, so a secret may not set it ({secret})"),
        "rename the secret, leave it out by --exclude, or accept it by --allow-name LD_PRELOAD",
    );
}

#[test]
fn two_secrets_of_one_name() {
    let scenario = Scenario::new();
    let owner = scenario.vault.owner();
    let mut secrets =
        [0, 1].map(|_| described("NAME", owner.create_secret(scenario.project, "NAME", "value")));
    let outcome = echo(scenario.launch()).run();
    // They stand in the order in which the server gives them.
    secrets.sort_by_key(|secret| outcome.stderr.find(secret));
    let message = format!("'NAME' would be set by 2 secrets: {}; {}", secrets[0], secrets[1]);
    let hint = "rename one of them, choose one by --project or --map, or use --uuids-as-keynames";
    outcome.failed(125, &error("duplicate-name", &message, hint));
}

#[test]
fn names_that_are_set_already() {
    let (scenario, secret) = with_secret("NAME", "value");
    refused(
        scenario.launch().env("NAME", "inherited").options(["--on-conflict", "error"]),
        "conflict",
        &format!("'NAME' is set already and a secret would replace it ({secret})"),
        "choose by --on-conflict secret|inherited, or take the variable away by --unset",
    );
}

#[test]
fn values_that_no_environment_can_hold() {
    let (scenario, secret) = with_secret("NAME", "hidden\0hidden");
    refused(
        scenario.launch(),
        "nul-in-value",
        &format!("the value of 'NAME' contains a NUL byte ({secret})"),
        "no environment can carry NUL: deliver it by --file, or leave it out by --exclude",
    );
}

#[test]
fn sizes_that_the_kernel_refuses() {
    // NAME= and the NUL at the end count as well.
    let longest = 131_072 - "NAME=".len() - 1;
    let (scenario, secret) = with_secret("NAME", &"x".repeat(longest + 1));
    let hint = "deliver it by --file, leave it out by --exclude, or by --unset if it was inherited";
    let message =
        format!("'NAME' takes 131073 bytes and the kernel allows 131072 for one variable ({secret})");
    refused(scenario.launch(), "variable-too-large", &message, hint);
    let (scenario, _) = with_secret("NAME", &"x".repeat(longest));
    scenario.launch().command(["true"]).run().succeeded();

    let scenario =
        (0..20).fold(Scenario::new(), |scenario, n| scenario.secret(&format!("N{n}"), "x".repeat(100_000)));
    let hint = "deliver large ones by --file, select fewer by --project, --only or --exclude, or start clean by --no-inherit-env";
    // The limit is a quarter of that of the stack.
    let launch = scenario.launch().under(["sh", "-c", "ulimit -Ss 4096; exec \"$@\"", "sh"]);
    let outcome = echo(launch).run();
    outcome.failed_with(125, "environment-too-large");
    assert!(outcome.stderr.ends_with(&format!("bws-exec: hint: {hint}\n")), "{}", outcome.stderr);
    assert_eq!(outcome.text(), "");
}

#[test]
fn selectors_that_match_nothing() {
    let scenario = Scenario::new().secret("NAME", "value");
    let nothing = |options: [&str; 2], selector: &str, candidates: &str| {
        let message = format!("{selector} matches no secret that this token can read");
        refused(scenario.launch().options(options), "no-match", &message, candidates);
    };
    let keys = "bws-exec --dry-run lists the keys; a glob is matched against the key as stored";
    nothing(["--only", "DB_*"], "--only 'DB_*'", keys);
    nothing(["--exclude", "name"], "--exclude 'name'", keys);
    let owner = scenario.vault.owner();
    let projects = format!("projects with secrets that this token reads: 'web' ({})", scenario.project);
    nothing(["--project", "mail"], "--project 'mail'", &projects);

    let twin = owner.create_project("web");
    owner.grant(scenario.account, twin, Access::Read);
    owner.create_secret(twin, "OTHER", "value");
    let mut ids = [scenario.project, twin];
    ids.sort();
    refused(
        scenario.launch().options(["--project", "web"]),
        "ambiguous-project",
        &format!("project name 'web' is ambiguous: {}, {}", ids[0], ids[1]),
        "give the project's id instead",
    );
}
