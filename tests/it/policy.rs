//! `--require`, `--optional`, `--upper`, `--prefix` and `--all`, alone and together.

use crate::support::vault::Access;
use crate::support::{Launch, Scenario};

/// The command's variables, but for PATH.
#[track_caller]
fn gives(launch: Launch, expected: &[&str]) {
    let outcome = launch.command(["env"]).run();
    outcome.succeeded();
    let text = outcome.text();
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("PATH=")).collect();
    lines.sort();
    assert_eq!(lines, expected);
}

#[track_caller]
fn fails(launch: Launch, slug: &str) {
    launch.command(["true"]).run().failed_with(125, slug);
}

#[test]
fn what_is_required() {
    let scenario = Scenario::new().secret("KEY", "value");
    let launch = || scenario.launch();
    gives(launch().option("--require=KEY"), &["KEY=value"]);
    gives(launch().options(["--map=X=KEY", "--require=X"]), &["X=value"]);
    // Whatever sets it: it may be inherited, too.
    gives(
        launch().env("I", "inherited").options(["--require=I", "--require=KEY"]),
        &["I=inherited", "KEY=value"],
    );
    fails(launch().options(["--map=X=KEY", "--require=KEY"]), "required");
    fails(launch().env("I", "inherited").options(["--unset=I", "--require=I"]), "required");
    fails(launch().env("I", "inherited").options(["--no-inherit-env", "--require=I"]), "required");
    // A name, not a glob, and the variable's, not the secret's.
    fails(launch().option("--require=K*"), "required");
    fails(launch().options(["--prefix=P_", "--require=KEY"]), "required");
    gives(launch().options(["--prefix=P_", "--require=P_KEY"]), &["P_KEY=value"]);
    // Never to be had by a command.
    fails(launch().option("--require=BWS_ACCESS_TOKEN"), "required");
}

/// Another problem is the reason why it is not set, so that one is told.
#[test]
fn the_reason_comes_before_the_requirement() {
    let scenario = Scenario::new().secret("KEY", "value");
    fails(scenario.launch().options(["--map=X=MISSING", "--require=X"]), "missing-secret");
}

#[test]
fn what_is_optional() {
    let scenario = Scenario::new().secret("KEY", "value").secret("J", r#"{"a": null}"#);
    let launch = || scenario.launch();
    for missing in ["X=MISSING", "X=mail/KEY", "X=11111111-2222-3333-4444-555555555555", "X=J#/b", "X=J#/a"] {
        gives(launch().options(["--map", missing, "--optional=X"]), &[]);
        // It is the name that is optional, and no other.
        launch()
            .options(["--map", missing, "--optional=Y"])
            .command(["true"])
            .run()
            .failed_with(125, if missing.contains('#') { "pointer" } else { "missing-secret" });
    }
    gives(launch().options(["--map=X=KEY", "--optional=X"]), &["X=value"]);
    // Missing, not wrong in another way.
    fails(launch().options(["--map=X=a/b/c", "--optional=X"]), "reference");
    fails(launch().options(["--map=X=KEY#/a", "--optional=X"]), "pointer");
    scenario.vault.owner().create_secret(scenario.project, "KEY", "again");
    fails(launch().options(["--map=X=KEY", "--optional=X"]), "ambiguous-reference");
    // Optional and required together: it may be missing there, and must come from somewhere.
    let both = || launch().options(["--map=X=MISSING", "--optional=X", "--require=X"]);
    fails(both(), "required");
    gives(both().env("X", "inherited"), &["X=inherited"]);
}

/// It is as if that line was not there: a weaker level has its say.
#[test]
fn what_is_optional_leaves_the_name_to_others() {
    let scenario = Scenario::new().secret("KEY", "value");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(".env");
    std::fs::write(&file, "X=from the file\nY=bws://MISSING\n").unwrap();
    let launch = || scenario.launch().options(["--map=X=MISSING", "--optional=X", "--optional=Y"]);
    gives(launch().option("--env-file").option(&file), &["X=from the file"]);
    gives(launch().env("X", "inherited"), &["X=inherited"]);
    // Where it would have replaced nothing, there is nothing to decide.
    gives(launch().env("X", "inherited").option("--on-conflict=error"), &["X=inherited"]);
    // A reference that is missing does not go on as it is.
    gives(launch().env("Y", "bws://MISSING").option("--resolve-env"), &[]);
    let outcome = launch().option("-v").command(["true"]).run();
    let notice = "bws-exec: notice: 'X' is optional and not set by --map: 'MISSING' refers to no secret that this token \
                  can read\n";
    assert_eq!((outcome.code(), outcome.stderr.as_str()), (Some(0), notice));
}

#[test]
fn upper_case_then_the_prefix() {
    let scenario = Scenario::new().secret("db-password", "1").secret("a.b/c d", "2").secret("Ok_1", "3");
    gives(scenario.launch().option("--upper"), &["A_B_C_D=2", "DB_PASSWORD=1", "OK_1=3"]);
    gives(
        scenario.launch().options(["--upper", "--prefix=app_"]),
        &["app_A_B_C_D=2", "app_DB_PASSWORD=1", "app_OK_1=3"],
    );
    gives(scenario.launch().options(["--only=Ok_1", "--prefix=P"]), &["POk_1=3"]);
    // Selectors match the key as stored.
    gives(scenario.launch().options(["--upper", "--only=db-*"]), &["DB_PASSWORD=1"]);
    fails(scenario.launch().options(["--upper", "--only=DB_*"]), "no-match");
    // Names that the operator wrote stay as they are.
    let mapped = || scenario.launch().options(["--upper", "--prefix=P_", "--map=x=Ok_1"]);
    gives(mapped(), &["x=3"]);
    let outcome = mapped().option("-v").command(["true"]).run();
    assert_eq!(
        outcome.stderr,
        "bws-exec: notice: --upper and --prefix are for selected secrets; beside references none is selected \
         without --all\n"
    );
}

/// What comes out is judged, not what was stored.
#[test]
fn names_are_judged_after_they_are_made() {
    let scenario = Scenario::new().secret("path", "/x").secret("1", "one");
    fails(scenario.launch().options(["--upper", "--only=path"]), "dangerous-name");
    gives(scenario.launch().options(["--only=path", "--upper", "--prefix=APP_"]), &["APP_PATH=/x"]);
    gives(scenario.launch().options(["--only=1", "--prefix=N"]), &["N1=one"]);
    fails(scenario.launch().options(["--only=path", "--prefix=LD_"]), "dangerous-name");
    fails(scenario.launch().options(["--only=path", "--prefix=A="]), "invalid-name");
    gives(scenario.launch().options(["--only=path", "--prefix=a-", "--allow-name=a-path"]), &["a-path=/x"]);
    let outcome = scenario.launch().options(["--only=path", "--prefix=BWS_EXEC_"]).command(["true"]).run();
    assert!(outcome.stderr.contains("'BWS_EXEC_path' is reserved for bws-exec itself"), "{}", outcome.stderr);
    let scenario = Scenario::new().secret("a-b", "1").secret("A_B", "2");
    fails(scenario.launch().option("--upper"), "duplicate-name");
}

#[test]
fn everything_beside_what_is_named() {
    let scenario = Scenario::new().secret("A", "1").secret("B", "2");
    gives(scenario.launch().option("--all"), &["A=1", "B=2"]);
    gives(scenario.launch().option("--map=X=A"), &["X=1"]);
    gives(scenario.launch().options(["--map=X=A", "--all"]), &["A=1", "B=2", "X=1"]);
    gives(scenario.launch().options(["--map=A=B", "--all"]), &["A=2", "B=2"]);
    // It adds nothing to selectors, which still choose.
    gives(scenario.launch().options(["--all", "--exclude=A"]), &["B=2"]);
    gives(scenario.launch().options(["--all", "--only=A"]), &["A=1"]);
}

/// A name that a map has taken is no matter of bulk any more: neither of its danger nor of how many have it.
#[test]
fn a_map_settles_what_bulk_could_not() {
    let scenario =
        Scenario::new().secret("GIT_SSH_COMMAND", "bulk").secret("K", "mapped").secret("OTHER", "other");
    fails(scenario.launch().options(["--map=X=K", "--all"]), "dangerous-name");
    gives(
        scenario.launch().options(["--map=GIT_SSH_COMMAND=K", "--all", "--exclude=K"]),
        &["GIT_SSH_COMMAND=mapped", "OTHER=other"],
    );
    let scenario = Scenario::new().secret("K", "web");
    let owner = scenario.vault.owner();
    let db = owner.create_project("db");
    owner.grant(scenario.account, db, Access::Read);
    owner.create_secret(db, "K", "db");
    fails(scenario.launch().option("--all"), "duplicate-name");
    gives(scenario.launch().options(["--map=K=db/K", "--all"]), &["K=db"]);
}
