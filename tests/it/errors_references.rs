//! References, env files and configurations that cannot be used, in their very words.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;
use uuid::Uuid;

use crate::errors::{echo, error, untouched};
use crate::support::vault::Access;
use crate::support::{Launch, Scenario};

/// In every value, and never in a message.
const CANARY: &str = "canary-71ab-value";
const REFERENCE_HINT: &str = "a reference is ID, KEY or PROJECT/KEY, then #/json/pointer if wanted; / # | } % inside \
                              a name are percent-encoded";
const LINE_HINT: &str = "a line is NAME=value, with '…' or \"…\" around values that need it";
const READ_HINT: &str = "check that it exists and that this user may read it";
const CONFIG_HINT: &str =
    "see --config-file and --profile; --server-url or --region do without a configuration";

#[track_caller]
fn refused(launch: Launch, slug: &str, message: &str, hint: &str) {
    echo(launch).run().failed(125, &error(slug, message, hint));
}

fn in_web(key: &str, id: Uuid) -> String {
    format!("secret '{key}', id {id}, in project 'web'")
}

/// A directory and a file in it.
fn file(text: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("file");
    fs::write(&path, text).expect("a file can be written");
    (directory, path)
}

#[test]
fn references_to_nothing() {
    let scenario = Scenario::new();
    let id = scenario.vault.owner().create_secret(scenario.project, "DB", CANARY);
    let missing = |reference: &str, hint: &str| {
        let message = format!("--map X: '{reference}' refers to no secret that this token can read");
        refused(
            scenario.launch().options(["--map", &format!("X={reference}")]),
            "missing-secret",
            &message,
            hint,
        );
    };
    let nothing = "check its spelling and the account's projects, or allow its absence by --optional NAME";
    missing("KEY", nothing);
    missing("web/KEY", nothing);
    missing("11111111-2222-3333-4444-555555555555", nothing);
    // What was most likely meant.
    let there = format!("there is: {}", in_web("DB", id));
    missing("mail/DB", &there);
    missing("db", &there);
}

#[test]
fn references_to_more_than_one() {
    let scenario = Scenario::new();
    let owner = scenario.vault.owner();
    let mail = owner.create_project("mail");
    owner.grant(scenario.account, mail, Access::Read);
    let ids = [scenario.project, mail].map(|project| owner.create_secret(project, "DB", CANARY));
    let mut described = [in_web("DB", ids[0]), format!("secret 'DB', id {}, in project 'mail'", ids[1])];
    let outcome = echo(scenario.launch().options(["--map", "X=DB"])).run();
    // They stand in the order in which the server gives them.
    described.sort_by_key(|secret| outcome.stderr.find(secret));
    let message = format!("--map X: 'DB' is ambiguous: {}; {}", described[0], described[1]);
    let hint = "name its project, PROJECT/KEY, or give its id";
    outcome.failed(125, &error("ambiguous-reference", &message, hint));
}

#[test]
fn pointers_to_nothing() {
    let scenario = Scenario::new();
    let owner = scenario.vault.owner();
    let document = format!(r#"{{"user": "{CANARY}", "none": null, "list": ["{CANARY}"]}}"#);
    let json = in_web("JSON", owner.create_secret(scenario.project, "JSON", document));
    let text = in_web("TEXT", owner.create_secret(scenario.project, "TEXT", CANARY));
    let nothing = |reference: &str, secret: &str, problem: &str, hint: &str| {
        let message = format!("--map X: '{reference}' leads to nothing in {secret}: {problem}");
        refused(scenario.launch().options(["--map", &format!("X={reference}")]), "pointer", &message, hint);
    };
    let check = "check what follows '#', or allow its absence by --optional NAME";
    nothing("JSON#/User", &json, "there is no '/User' in it", check);
    nothing("JSON#/user/x", &json, "there is no '/user/x' in it", check);
    nothing("JSON#/list/1/x", &json, "there is no '/list/1' in it", check);
    nothing("JSON#/none", &json, "what it names is null", check);
    let whole = "take the whole value, without '#', or store JSON in it";
    nothing("web/TEXT#/user", &text, "its value is not JSON", whole);
    nothing("TEXT#", &text, "its value is not JSON", whole);
}

#[test]
fn references_that_are_none() {
    let scenario = Scenario::new();
    let malformed = |options: [&str; 2], origin: &str, problem: &str| {
        let message = format!("the reference of {origin} is malformed: {problem}");
        refused(scenario.launch().options(options), "reference", &message, REFERENCE_HINT);
    };
    let map =
        |reference: &str, problem: &str| malformed(["--map", &format!("X={reference}")], "--map X", problem);
    map("", "it names no secret");
    map("bws://", "it names no secret");
    map("#/user", "it names no secret");
    map("a/b/c", "it has more than one '/': inside a name, write %2F");
    map("/KEY", "a project or a key is missing beside '/'");
    map("web/", "a project or a key is missing beside '/'");
    map("100%", "'%' stands for itself only as %25");
    map("%ff", "its percent-encoding is not UTF-8");
    map("KEY|urlencode", "'|' and '}' inside a name are written %7C and %7D");
    map("KEY#user", "what follows '#' is a JSON pointer and begins with '/'");
    map("KEY#/~2", "in a JSON pointer '~' is written ~0 and '/' is written ~1");
    // All that was found out before the first packet.
    untouched(&scenario.vault);

    let scenario = Scenario::new().secret("KEY", CANARY);
    refused(
        scenario.launch().env("X", "bws://a/b/c").option("--resolve-env"),
        "reference",
        "the reference of the inherited 'X' is malformed: it has more than one '/': inside a name, write %2F",
        REFERENCE_HINT,
    );
}

#[test]
fn required_names_that_nothing_sets() {
    let scenario = Scenario::new().secret("KEY", CANARY);
    let hint = "bws-exec --dry-run shows what would be set; see --map and the selectors";
    let message = "'KEYS' is required and would not be set";
    refused(scenario.launch().options(["--require", "KEY", "--require", "KEYS"]), "required", message, hint);
}

#[test]
fn env_files_that_cannot_be_used() {
    let scenario = Scenario::new();
    let check = |text: &[u8], place: &str, problem: &str, hint: &str| {
        let (_directory, path) = file(text);
        let message = format!("cannot use the env file {}{place}: {problem}", path.display());
        refused(scenario.launch().option("--env-file").option(&path), "env-file", &message, hint);
    };
    let line = |text: &str, place: &str, problem: &str| check(text.as_bytes(), place, problem, LINE_HINT);
    let name = "a line is NAME=value; a name has letters, digits and '_', and no digit first";
    line("A=1\n1B=2\n", ":2:1", name);
    line("=1", ":1:1", name);
    line("# x\r\n\r\nA-B=1", ":3:2", "there is no '=' after the name; a value of several lines needs quotes");
    line("A='1\n2\n", ":1:3", "this ' is never closed");
    line("A=\"1\" 2", ":1:7", "after the closing \" only a comment may follow");
    line("A=1\0", ":1:4", "the value of A contains a NUL byte");
    line(
        "A=bws://a/b/c",
        ":1:3",
        "in the reference of A: it has more than one '/': inside a name, write %2F",
    );
    line("A=1\nexport B=${bws://X", ":2:10", "in the reference of B: '${bws://' is not closed by '}'");
    line("A=${bws://X|base64}", ":1:3", "in the reference of A: after '|' only 'urlencode' is known");
    let id = "11111111-2222-3333-4444-555555555555";
    line(&format!("{id} >"), ":1:1", &format!("after '{id} >' there must be the name of a variable"));
    line(&format!("{id} > A # b"), ":1:1", &format!("after '{id} >' there must be the name of a variable"));
    check(b"A=1\nB=\xff", ":2:3", "it is not UTF-8", LINE_HINT);

    let unreadable = |path: &str, problem: &str| {
        let message = format!("cannot use the env file {path}: {problem}");
        refused(scenario.launch().options(["--env-file", path]), "env-file", &message, READ_HINT);
    };
    unreadable("/nowhere/.env", "No such file or directory (os error 2)");
    unreadable("/", "Is a directory (os error 21)");
    unreadable("/dev/zero", "it is larger than 1048576 bytes");
    untouched(&scenario.vault);
}

/// People forget the quotes around a key of many lines. No line of it is shown.
#[test]
fn a_value_without_its_quotes_is_not_shown() {
    let scenario = Scenario::new();
    for text in [
        format!("A=-----BEGIN KEY-----\n{}\n", CANARY.replace('-', "")),
        format!("A='x' {CANARY}\n"),
        format!("A='{CANARY}\n"),
        format!("A={CANARY}\0"),
        format!("A=${{bws://KEY|{CANARY}}}"),
        format!("A={CANARY}${{bws://KEY"),
        format!("{CANARY}\n"),
    ] {
        let (_directory, path) = file(&text);
        let outcome = echo(scenario.launch().option("--env-file").option(&path)).run();
        outcome.failed_with(125, "env-file");
        let said = outcome.stderr.replace('-', "");
        assert!(!said.contains(&CANARY.replace('-', "")), "{text}: {said}");
    }
}

/// Nobody writes into it; the deadline ends the wait.
#[test]
fn a_fifo_without_a_writer() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("fifo");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("a FIFO can be made");
    let shown = path.display();
    let launch = |option: &str| Launch::new().options(["--deadline", "100ms", option]).option(&path);
    refused(
        launch("--env-file"),
        "env-file",
        &format!("cannot use the env file {shown}: it was not complete within --deadline"),
        READ_HINT,
    );
    let scenario = Scenario::new();
    refused(
        launch("--config-file").env("BWS_ACCESS_TOKEN", &scenario.token),
        "config-file",
        &format!("cannot use the configuration {shown}: it was not complete within --deadline"),
        CONFIG_HINT,
    );
}

#[test]
fn configurations_that_cannot_be_used() {
    let scenario = Scenario::new();
    let launch = || Launch::new().env("BWS_ACCESS_TOKEN", &scenario.token);
    let check = |text: &str, options: &[&str], problem: &str| {
        let (_directory, path) = file(text);
        let message = format!("cannot use the configuration {}: {problem}", path.display());
        let launch = launch().option("--config-file").option(&path).options(options);
        refused(launch, "config-file", &message, CONFIG_HINT);
    };
    check("", &[], "line 1: missing field `profiles`");
    check("[profile.default]\n", &[], "line 1: missing field `profiles`");
    check(
        "[profiles.default]\nserver_base = 1\n",
        &[],
        "line 2: invalid type: integer `1`, expected a string",
    );
    let two =
        "[profiles.eu]\nserver_base = 'https://e.test'\n[profiles.us]\nserver_base = 'https://u.test'\n";
    check(two, &["--profile", "uk"], "it has no profile 'uk', only 'eu', 'us'");
    check("[profiles]\n", &["-p", "uk"], "it has no profile");
    let state = "[profiles.default]\nstate_dir = '/x'\nstate_opt_out = 'true'\n";
    check(state, &[], "the profile has neither server_base nor server_identity");
    let half = "[profiles.default]\nserver_identity = 'https://i.test'\n";
    check(half, &[], "the profile has neither server_base nor server_api");
    check(
        "[profiles.default]\nserver_base = 'http://vault.example.org'\n",
        &[],
        "cannot use 'http://vault.example.org' as server_base: plain http is only accepted for 127.0.0.0/8, ::1 and \
         localhost",
    );
    let gone = "cannot use the configuration /nowhere/config: No such file or directory (os error 2)";
    refused(launch().options(["-f", "/nowhere/config"]), "config-file", gone, CONFIG_HINT);
}
