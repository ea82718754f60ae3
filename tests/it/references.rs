//! References to one secret: which one they mean, and what of it is injected.

use uuid::Uuid;

use crate::support::vault::{Access, Key};
use crate::support::{Launch, Scenario};

/// What X becomes by this reference.
#[track_caller]
fn gives(scenario: &Scenario, reference: &str, expected: &str) {
    let launch = scenario.launch().options(["--map", &format!("X={reference}")]);
    prints(launch, expected);
}

#[track_caller]
fn prints(launch: Launch, expected: &str) {
    let outcome = launch.command(["sh", "-c", "printf %s \"$X\""]).run();
    outcome.succeeded();
    assert_eq!(outcome.text(), expected);
}

/// Projects `web` and `db`, with a secret DB in each.
fn two() -> (Scenario, Uuid, [Uuid; 2]) {
    let scenario = Scenario::new();
    let owner = scenario.vault.owner();
    let db = owner.create_project("db");
    owner.grant(scenario.account, db, Access::Read);
    let ids = [owner.create_secret(scenario.project, "DB", "of web"), owner.create_secret(db, "DB", "of db")];
    owner.create_secret(db, "ONLY", "one");
    (scenario, db, ids)
}

#[test]
fn by_id_by_key_and_by_project() {
    let (scenario, db, [in_web, in_db]) = two();
    gives(&scenario, &in_web.to_string(), "of web");
    gives(&scenario, &in_db.to_string().to_uppercase(), "of db");
    gives(&scenario, &in_db.simple().to_string(), "of db");
    gives(&scenario, "ONLY", "one");
    gives(&scenario, "web/DB", "of web");
    gives(&scenario, "db/DB", "of db");
    gives(&scenario, &format!("{db}/DB"), "of db");
    // As it is written in an env file.
    gives(&scenario, "bws://db/DB", "of db");
    for other in ["Web/DB", "db/db", "DB ", "web/ONLY"] {
        let launch = scenario.launch().options(["--map", &format!("X={other}")]).command(["true"]);
        launch.run().failed_with(125, "missing-secret");
    }
    scenario
        .launch()
        .options(["--map", "X=DB"])
        .command(["true"])
        .run()
        .failed_with(125, "ambiguous-reference");
}

/// A secret in several projects is one secret, by each of them.
#[test]
fn a_secret_of_two_projects() {
    let (scenario, db, _) = two();
    scenario.vault.owner().create_secret_in(&[scenario.project, db], "SHARED", "both", "");
    for reference in ["SHARED", "web/SHARED", "db/SHARED"] {
        gives(&scenario, reference, "both");
    }
}

/// Selectors limit bulk only: references see all that the token reads.
#[test]
fn selectors_do_not_limit_references() {
    let (scenario, ..) = two();
    let launch = scenario.launch().options(["--project=web", "--map=X=db/ONLY"]);
    let outcome = launch.command(["sh", "-c", "echo $X, $DB, $ONLY"]).run();
    outcome.succeeded();
    assert_eq!(outcome.text(), "one, of web,\n");
}

#[test]
fn names_with_reserved_characters() {
    let scenario = Scenario::new();
    let owner = scenario.vault.owner();
    let project = owner.create_project("a/b #1");
    owner.grant(scenario.account, project, Access::Read);
    owner.create_secret(project, "c|d}e%f#g/h", "reserved");
    owner.create_secret(project, "mit Leer & Ümlaut=?", "free");
    gives(&scenario, "c%7Cd%7De%25f%23g%2Fh", "reserved");
    gives(&scenario, "a%2Fb %231/c%7cd%7de%25f%23g%2fh", "reserved");
    gives(&scenario, "mit Leer & Ümlaut=?", "free");
    gives(&scenario, "mit%20Leer%20&%20%C3%9Cmlaut%3D%3F", "free");
    let id = owner.create_secret(project, "11111111-2222-3333-4444-555555555555", "called like an id");
    // What looks like an id is one. The key is to be had with its project, or encoded.
    let launch = scenario.launch().option("--map=X=11111111-2222-3333-4444-555555555555").command(["true"]);
    launch.run().failed_with(125, "missing-secret");
    gives(&scenario, "a%2Fb %231/11111111-2222-3333-4444-555555555555", "called like an id");
    gives(&scenario, "%311111111-2222-3333-4444-555555555555", "called like an id");
    gives(&scenario, &id.to_string(), "called like an id");
}

/// Whoever names a project may not take the place of another one.
#[test]
fn a_project_called_like_the_id_of_another() {
    let (scenario, db, _) = two();
    let owner = scenario.vault.owner();
    owner.rename_project(db, &scenario.project.to_string());
    gives(&scenario, &format!("{}/DB", scenario.project), "of web");
    let launch = scenario.launch().options(["--map", &format!("X={}/ONLY", scenario.project)]);
    launch.command(["true"]).run().failed_with(125, "missing-secret");
    owner.rename_project(db, "11111111-2222-3333-4444-555555555555");
    let launch = scenario.launch().option("--map=X=11111111-2222-3333-4444-555555555555/DB");
    launch.command(["true"]).run().failed_with(125, "missing-secret");
}

#[test]
fn a_project_whose_name_cannot_be_decrypted() {
    let (scenario, db, _) = two();
    scenario.vault.owner().rename_project_raw(db, &Key::random().encrypt(b"db"));
    gives(&scenario, &format!("{db}/DB"), "of db");
    gives(&scenario, "ONLY", "one");
    let outcome = scenario.launch().option("--map=X=db/DB").command(["true"]).run();
    outcome.failed_with(125, "missing-secret");
    assert!(outcome.stderr.contains(&format!("in project {db}")), "by its id: {}", outcome.stderr);
}

#[test]
fn parts_of_json() {
    let document = r#"
        { "user" : "app", "port": 5432, "ratio": 1.50e3, "big": 123456789012345678901, "on": true, "off" : false,
          "none": null, "list": [ 10, { "x" : " y\" z " } ], "empty": {}, "text": "two\nlines \u00fc \ud83d\ude00",
          "a/b": { "~": "tilde" }, "": "no name", "x y|}%#": "odd" } "#;
    let scenario = Scenario::new().secret("J", document).secret("TEXT", " \"just text\" ").secret("N", "42");
    for (pointer, expected) in [
        ("/user", "app"),
        ("/port", "5432"),
        ("/ratio", "1.50e3"),
        ("/big", "123456789012345678901"),
        ("/on", "true"),
        ("/off", "false"),
        ("/list", r#"[10,{"x":" y\" z "}]"#),
        ("/list/0", "10"),
        ("/list/1", r#"{"x":" y\" z "}"#),
        ("/list/1/x", " y\" z "),
        ("/empty", "{}"),
        ("/text", "two\nlines ü 😀"),
        ("/a~1b/~0", "tilde"),
        ("/", "no name"),
        ("/x y%7C%7D%25%23", "odd"),
        ("/x%20y%7C%7D%25#", "odd"),
    ] {
        gives(&scenario, &format!("J#{pointer}"), expected);
        gives(&scenario, &format!("web/J#{pointer}"), expected);
    }
    // The whole of it, read as JSON.
    gives(&scenario, "TEXT#", "just text");
    gives(&scenario, "TEXT", " \"just text\" ");
    gives(&scenario, "N#", "42");
    for wrong in
        ["/none", "/none/x", "/missing", "/list/2", "/list/-", "/list/01", "/list/x", "/user/0", "/port/0"]
    {
        let launch = scenario.launch().options(["--map", &format!("X=J#{wrong}")]).command(["true"]);
        launch.run().failed_with(125, "pointer");
    }
}

#[test]
fn templates() {
    let scenario = Scenario::new()
        .secret("USER", "app")
        .secret("PASSWORD", "p@ss/w%rd ü")
        .secret("J", r#"{"host": "db.test", "port": 5432}"#);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(".env");
    for (value, expected) in [
        (
            "postgres://${bws://USER}:${bws://PASSWORD|urlencode}@${bws://J#/host}:${bws://web/J#/port}/app",
            "postgres://app:p%40ss%2Fw%25rd%20%C3%BC@db.test:5432/app",
        ),
        ("${bws://USER}", "app"),
        ("${bws://USER}${bws://USER}", "appapp"),
        ("bws://PASSWORD", "p@ss/w%rd ü"),
        ("$${bws://USER}", "$app"),
        ("${bws://USER}}", "app}"),
        // Nothing else has a meaning.
        ("${USER} $USER ${BWS_USER} x", "${USER} $USER ${BWS_USER} x"),
    ] {
        for quote in ["", "\"", "'"] {
            std::fs::write(&path, format!("X={quote}{value}{quote}\n")).unwrap();
            prints(scenario.launch().option("--only=USER").option("--env-file").option(&path), expected);
        }
    }
}

/// What a secret holds is inserted as it is: whoever may edit one secret does not get at another.
#[test]
fn values_are_never_read_as_references() {
    let nested = ["bws://OTHER", "${bws://OTHER}", "$OTHER", "${OTHER}", "x|urlencode", "`id`", "%4F"];
    for value in nested {
        let scenario = Scenario::new().secret("X", value).secret("OTHER", "never");
        let json = serde_json::json!({ "field": value }).to_string();
        scenario.vault.owner().create_secret(scenario.project, "J", json);
        prints(scenario.launch().option("--only=X"), value);
        gives(&scenario, "X", value);
        gives(&scenario, "J#/field", value);
        prints(scenario.launch().option("--only=X").option("--resolve-env").option("-q"), value);
        prints(scenario.launch().env("X", "bws://X").option("--resolve-env"), value);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".env");
        std::fs::write(&path, "X=${bws://X}").unwrap();
        prints(scenario.launch().option("--env-file").option(&path), value);
    }
}

#[test]
fn what_is_inherited_is_resolved_only_when_asked() {
    let scenario = Scenario::new().secret("DB", "secret").secret("OTHER", "not named");
    let launch = |options: &[&str]| {
        let launch = scenario.launch().env("X", "bws://DB").env("Y", "bws://DB").options(options);
        launch.command(["sh", "-c", "echo $X, $Y, $OTHER"]).run()
    };
    let warning = |name: &str| {
        format!(
            "bws-exec: warning: the inherited '{name}' begins with bws:// and is passed on as it is; see --resolve-env\n"
        )
    };
    let outcome = launch(&[]);
    assert_eq!(outcome.text(), "bws://DB, bws://DB, not named\n");
    assert_eq!(outcome.stderr, warning("X") + &warning("Y"));
    let outcome = launch(&["--resolve-env"]);
    assert_eq!((outcome.text().as_str(), outcome.stderr.as_str()), ("secret, secret,\n", ""));
    let outcome = launch(&["--resolve-env=X"]);
    assert_eq!((outcome.text().as_str(), outcome.stderr), ("secret, bws://DB,\n", warning("Y")));
    // What is not passed on needs no warning.
    let outcome = launch(&["--map=X=DB", "--unset=Y"]);
    assert_eq!((outcome.text().as_str(), outcome.stderr.as_str()), ("secret, ,\n", ""));
    let outcome = launch(&["--no-inherit-env", "--keep=X", "--resolve-env"]);
    assert_eq!((outcome.text().as_str(), outcome.stderr.as_str()), ("secret, ,\n", ""));
    let outcome = launch(&["--resolve-env=Z*"]);
    let nothing = "bws-exec: warning: --resolve-env found no inherited value that begins with bws://\n";
    assert!(outcome.stderr.contains(nothing), "{}", outcome.stderr);
    // A whole value only, and nothing but the scheme itself.
    let launch =
        scenario.launch().env("X", "see ${bws://DB}").env("Y", "BWS://DB").options(["-q", "--resolve-env"]);
    let outcome = launch.command(["sh", "-c", "echo $X, $Y"]).run();
    assert_eq!(outcome.succeeded().text(), "see ${bws://DB}, BWS://DB\n");
}

/// The operator chose the name, so only what no environment can hold is refused, and what leads to the token.
#[test]
fn names_of_maps() {
    let scenario = Scenario::new().secret("K", "value");
    for name in ["GIT_SSH_COMMAND", "a-b", "1", "ü"] {
        let outcome = scenario.launch().options(["--map", &format!("{name}=K")]).command(["env"]).run();
        assert!(outcome.succeeded().text().contains(&format!("{name}=value\n")), "{}", outcome.text());
    }
    let usage = |options: &[&str], message: &str, hint: &str| {
        let expected = format!("bws-exec: error[usage]: {message}\nbws-exec: hint: {hint}\n");
        scenario.launch().options(options).command(["true"]).run().failed(125, &expected);
    };
    let never = "a name is never empty, has no '=' or NUL, and is none of the token's variables";
    for name in ["", "BWS_ACCESS_TOKEN", "BWS_ACCESS_TOKEN_FILE", "BWS_EXEC_PROJECT"] {
        let message = format!("--map '{name}' cannot be the name of a variable here");
        usage(&["--map", &format!("{name}=K")], &message, never);
    }
    usage(&["--map", "K"], "--map 'K' has no '='", "for example: --map DB_PASSWORD=web/db-password");
    usage(&["--map=X=K", "--map=X=K"], "--map gives 'X' twice", "map each name once");
}

#[test]
fn what_cannot_be_decrypted_matters_only_if_it_is_named() {
    let scenario = Scenario::new().secret("K", "value");
    let owner = scenario.vault.owner();
    let foreign = Key::random().encrypt(b"foreign");
    let value = owner.create_secret_raw(&[scenario.project], &owner.encrypt("BROKEN"), &foreign, &foreign);
    let key = owner.create_secret_raw(&[scenario.project], &foreign, &owner.encrypt("x"), &foreign);
    gives(&scenario, "K", "value");
    for reference in ["BROKEN".to_owned(), value.to_string(), key.to_string()] {
        let launch = scenario.launch().options(["--map", &format!("X={reference}"), "--optional=X"]);
        launch.command(["true"]).run().failed_with(125, "undecryptable");
    }
}
