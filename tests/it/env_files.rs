//! `--env-file`: the dialect as the command sees it, several files, and lines of Bitwarden's GitHub Action.
//! What is wrong with a file is in `errors_references`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::support::{Launch, Outcome, Scenario};

/// Files of one test, which go with it.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).expect("a file can be written");
        path
    }
}

/// A launch with these files, in this order, and nothing inherited.
fn launch<const N: usize>(scenario: &Scenario, texts: [&str; N]) -> (Files, Launch) {
    let files = Files::new();
    let launch = texts.iter().enumerate().fold(scenario.launch().without_env("PATH"), |launch, (n, text)| {
        launch.option("--env-file").option(files.file(&n.to_string(), text))
    });
    (files, launch)
}

fn seen(outcome: &Outcome) -> BTreeMap<String, String> {
    let entries = outcome.stdout.split(|&byte| byte == 0).map(String::from_utf8_lossy);
    entries.filter_map(|entry| entry.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned()))).collect()
}

/// The file gives the command exactly these variables.
#[track_caller]
fn gives(text: &str, expected: &[(&str, &str)]) {
    let scenario = Scenario::new().secret("KEY", "secret");
    // One reference, so that nothing is injected in bulk.
    let (_files, launch) = launch(&scenario, [text, "REF=bws://KEY"]);
    let outcome = launch.command(["/usr/bin/env", "-0"]).run();
    outcome.succeeded();
    let expected = expected.iter().chain(&[("REF", "secret")]);
    let expected = expected.map(|(n, v)| (n.to_string(), v.to_string())).collect();
    assert_eq!(seen(&outcome), expected, "{text:?}");
}

#[test]
fn lines_as_docker_compose_and_the_dotenv_libraries_read_them() {
    gives("\n# one line\n   # and comments\n\nA=b", &[("A", "b")]);
    gives("A=b", &[("A", "b")]);
    gives("A=b\nC=d\n", &[("A", "b"), ("C", "d")]);
    gives("A=\nB=''\nC=\"\"", &[("A", ""), ("B", ""), ("C", "")]);
    gives("  A = b c  \n\tB\t=\td\t\n", &[("A", "b c"), ("B", "d")]);
    gives(
        "export A=b\nexport\t B=c\nexport=1\nexported=2",
        &[("A", "b"), ("B", "c"), ("export", "1"), ("exported", "2")],
    );
    // A comment begins with '#' after white space.
    gives(
        "A=b # c\nB=b#c\nC=#c\nD= # c\nE=https://h/#part",
        &[("A", "b"), ("B", "b#c"), ("C", ""), ("D", ""), ("E", "https://h/#part")],
    );
    gives("A='b # c' # d\nB=\"b # c\"# d", &[("A", "b # c"), ("B", "b # c")]);
    // Quotes count at the beginning only.
    gives("A=it's\nB=5\" disk\nC=b=c", &[("A", "it's"), ("B", "5\" disk"), ("C", "b=c")]);
    gives("A={\"a\": [1, 2]}", &[("A", "{\"a\": [1, 2]}")]);
    gives("ü=1".replace('ü', "_u1").as_str(), &[("_u1", "1")]);
}

#[test]
fn escapes_and_several_lines() {
    gives(r#"A="\n|\r|\t|\\|\"|\$|\x|\'""#, &[("A", "\n|\r|\t|\\|\"|$|\\x|\\'")]);
    gives(r"A='\n|\\|\$|\'|\x'", &[("A", r"\n|\\|\$|'|\x")]);
    gives(r"A=\n|\\|\$|\'", &[("A", r"\n|\\|\$|\'")]);
    let pem = "-----BEGIN-----\nab+/c=\n\n-----END-----\n";
    gives(&format!("A=\"{pem}\"\nB='{pem}'\nC=d"), &[("A", pem), ("B", pem), ("C", "d")]);
}

/// Nothing is expanded, whatever a shell or compose would do with it.
#[test]
fn no_expansion() {
    gives(
        "A=$PATH\nB=${A}\nC=\"${A:-x} $A\"\nD=$(id)\nE=`id`\nF=~\nG=*",
        &[
            ("A", "$PATH"),
            ("B", "${A}"),
            ("C", "${A:-x} $A"),
            ("D", "$(id)"),
            ("E", "`id`"),
            ("F", "~"),
            ("G", "*"),
        ],
    );
}

#[test]
fn files_from_windows() {
    gives("\u{feff}A=b\r\n\r\n# c\r\nB='d'\r\nC=\"e\"  \r\n", &[("A", "b"), ("B", "d"), ("C", "e")]);
    gives(
        "A=\"two\r\nlines\"\r\nB=\"x\\r\\ny\"\r\nC=d\r",
        &[("A", "two\nlines"), ("B", "x\r\ny"), ("C", "d")],
    );
}

#[test]
fn references_in_values() {
    let scenario = Scenario::new().secret("KEY", "secret # \" ' \\n $x").secret("J", r#"{"a": 1}"#);
    let text =
        "A=bws://KEY # comment\nB='bws://web/KEY'\nC=\"x${bws://KEY}y\"\nD=bws://J#/a\nE=bws://J#/a # b\n";
    let (_files, launch) = launch(&scenario, [text]);
    let outcome = launch.command(["/usr/bin/env", "-0"]).run();
    outcome.succeeded();
    let value = "secret # \" ' \\n $x";
    let expected = [("A", value), ("B", value), ("C", &format!("x{value}y")), ("D", "1"), ("E", "1")];
    assert_eq!(seen(&outcome), expected.map(|(n, v)| (n.to_owned(), v.to_owned())).into());
}

#[test]
fn a_later_line_and_a_later_file_win() {
    let scenario = Scenario::new().secret("KEY", "secret").secret("BULK", "bulk");
    let check = |texts: [&str; 2], expected: &str| {
        let (_files, launch) = launch(&scenario, texts);
        let launch =
            launch.options(["--only=BULK"]).env("A", "inherited").command(["/usr/bin/printenv", "A"]);
        assert_eq!(launch.run().succeeded().text(), format!("{expected}\n"), "{texts:?}");
    };
    check(["A=1\nA=2", "B="], "2");
    check(["A=1", "A=2"], "2");
    check(["A=1", "B=2"], "1");
    check(["A=bws://KEY", "A=2"], "2");
    check(["A=1", "A=bws://KEY"], "secret");
    // What a later line replaces need not be there.
    check(["A=bws://MISSING", "A=2"], "2");
}

/// A plain value is what the operator wrote: `--on-conflict` is about secrets.
#[test]
fn plain_values_replace_inherited_ones() {
    let scenario = Scenario::new().secret("BULK", "bulk");
    for on_conflict in ["secret", "inherited", "error"] {
        let (_files, launch) = launch(&scenario, ["A=file\nPATH=/nowhere"]);
        let launch = launch.env("A", "inherited").options(["--on-conflict", on_conflict]);
        let outcome = launch.command(["/usr/bin/env", "-0"]).run();
        outcome.succeeded();
        let expected = [("A", "file"), ("BULK", "bulk"), ("PATH", "/nowhere")];
        assert_eq!(seen(&outcome), expected.map(|(n, v)| (n.to_owned(), v.to_owned())).into());
    }
}

/// A workflow is moved over by copying its mapping.
#[test]
fn lines_of_the_github_action() {
    let scenario = Scenario::new();
    let owner = scenario.vault.owner();
    let one = owner.create_secret(scenario.project, "one", "first");
    let two = owner.create_secret(scenario.project, "two", "second");
    let text = format!(
        "\n    {one} > ONE\r\n{two}>TWO\n  {} > AGAIN > ignored\n# {one} > NOT\n{two} > a-b\t\nPLAIN=x > y\n{one} > TWO\n",
        one.to_string().to_uppercase()
    );
    let (_files, launch) = launch(&scenario, [&text]);
    let outcome = launch.command(["/usr/bin/env", "-0"]).run();
    outcome.succeeded();
    let expected =
        [("ONE", "first"), ("TWO", "first"), ("AGAIN", "first"), ("a-b", "second"), ("PLAIN", "x > y")];
    assert_eq!(seen(&outcome), expected.map(|(n, v)| (n.to_owned(), v.to_owned())).into());
}

#[test]
fn token_variables_are_left_out() {
    let scenario = Scenario::new().secret("KEY", "secret");
    let text = "A=1\nBWS_ACCESS_TOKEN=0.x\nBWS_ACCESS_TOKEN_FILE=bws://KEY\nexport BWS_EXEC_PROJECT=x\n";
    let (files, launch) = launch(&scenario, [text]);
    let outcome = launch.option("--all").command(["/usr/bin/env", "-0"]).run();
    let path = files.0.path().join("0");
    let warning = |line: usize, name: &str| {
        format!(
            "bws-exec: warning: {}:{line}: '{name}' is reserved for bws-exec itself and left out\n",
            path.display()
        )
    };
    let mut warnings: Vec<&str> = outcome.stderr.split_inclusive('\n').collect();
    warnings.sort();
    let expected = [(2, "BWS_ACCESS_TOKEN"), (3, "BWS_ACCESS_TOKEN_FILE"), (4, "BWS_EXEC_PROJECT")];
    assert_eq!(warnings, expected.map(|(line, name)| warning(line, name)));
    let expected = [("A", "1"), ("KEY", "secret")];
    assert_eq!(seen(&outcome), expected.map(|(n, v)| (n.to_owned(), v.to_owned())).into());
    assert_eq!(outcome.code(), Some(0));
}

/// As a shell hands it over: `--env-file <(sops -d …)`, so that it is on no disk.
#[test]
fn a_file_that_is_a_pipe() {
    let scenario = Scenario::new().secret("KEY", "secret");
    let script = "exec \"$@\" 7<&0 </dev/null";
    let launch = scenario.launch().under(["sh", "-c", script, "sh"]).stdin("A=x\nB=bws://KEY\n");
    let outcome = launch.option("--env-file=/dev/fd/7").command(["sh", "-c", "echo $A $B"]).run();
    assert_eq!(outcome.succeeded().text(), "x secret\n");
}

/// A file that came out empty would leave bulk on: everything the token reads.
#[test]
fn a_file_that_sets_nothing_is_warned_about() {
    let scenario = Scenario::new().secret("KEY", "secret");
    for text in ["", "\u{feff}", "# A=b\n\r\n"] {
        let (files, launch) = launch(&scenario, [text]);
        let outcome = launch.command(["/usr/bin/env"]).run();
        let path = files.0.path().join("0");
        let warning = format!(
            "bws-exec: warning: the env file {} sets nothing\nbws-exec: warning: no reference was found, so all 1 \
             secrets are injected; a selector narrows that, --all says it aloud\n",
            path.display()
        );
        assert_eq!((outcome.text().as_str(), outcome.stderr), ("KEY=secret\n", warning));
    }
}

/// Most likely a reference was meant.
#[test]
fn a_scheme_inside_a_plain_value_is_warned_about() {
    let scenario = Scenario::new().secret("KEY", "secret");
    for value in ["' bws://KEY'", "x=bws://KEY", "$bws://KEY", "${ bws://KEY}", "bws:web/KEY", "${bws:/KEY}"]
    {
        let (files, launch) = launch(&scenario, [&format!("\nA={value}")]);
        let outcome = launch.option("--all").command(["/usr/bin/printenv", "A"]).run();
        let warning = format!(
            "bws-exec: warning: {}:2: the value of 'A' is no reference, though it has 'bws:' in it; write bws://REF, \
             or ${{bws://REF}} inside text\n",
            files.0.path().join("0").display()
        );
        assert_eq!((outcome.text(), outcome.stderr), (format!("{}\n", value.trim_matches('\'')), warning));
    }
}

/// `$PWD` has no meaning to us: there is no file that is read without being named.
#[test]
fn no_file_is_found_by_itself() {
    let scenario = Scenario::new().secret("KEY", "secret");
    let files = Files::new();
    files.file(".env", "A=found\n");
    let outcome = scenario.launch().directory(files.0.path()).command(["printenv", "A"]).run();
    assert_eq!((outcome.code(), outcome.text().as_str()), (Some(1), ""));
    let named = scenario.launch().directory(files.0.path()).option("--env-file=.env");
    assert_eq!(named.command(["printenv", "A"]).run().succeeded().text(), "found\n");
}

/// A dry run names file and line of each variable, and no text of it.
#[test]
fn what_a_dry_run_says() {
    let scenario = Scenario::new();
    let id = scenario.vault.owner().create_secret(scenario.project, "KEY", "canary-secret");
    let (files, launch) =
        launch(&scenario, ["\nPLAIN=canary-plain\nBOTH=\"canary ${bws://KEY} ${bws://KEY}\"\n"]);
    let outcome = launch.option("--dry-run").run();
    let path = files.0.path().join("0").display().to_string();
    let secret = format!("secret 'KEY', id {id}, in project 'web'");
    let text = outcome.succeeded().text();
    assert!(text.contains(&format!("\nPLAIN     12  {path}:2: plain value\n")), "{text}");
    assert!(text.contains(&format!("\nBOTH      34  {path}:3: {secret} and {secret}\n")), "{text}");
    assert!(!text.contains("canary"), "{text}");
}

/// Whatever stands after a reference that is not closed may be a password.
#[test]
fn a_template_that_is_not_closed_shows_nothing_of_what_follows() {
    let scenario = Scenario::new().secret("USER", "app");
    for value in
        ["\"pg://${bws://USER:hunter2@${HOST}/db\"", "\"${bws://USER#/hunter2\nB}\"", "'${bws://USER hunter2"]
    {
        let (_files, launch) = launch(&scenario, [&format!("A={value}\n")]);
        let outcome = launch.command(["true"]).run();
        outcome.failed_with(125, "env-file");
        assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
    }
}

/// By the time it was read, standard input would be empty, and everything injected.
#[test]
fn one_standard_input_cannot_be_token_and_env_file() {
    let scenario = Scenario::new();
    let options = ["--access-token-fd=0", "--env-file=/dev/stdin"];
    let launch = scenario.launch_without_token().options(options).stdin(&scenario.token);
    launch.command(["true"]).run().failed(
        125,
        "bws-exec: error[usage]: --access-token-fd 0 and --env-file both read standard input\n\
         bws-exec: hint: give the token by --access-token-file or another descriptor\n",
    );
}

/// As people read it, and with what is required at the end.
#[test]
fn problems_stand_in_the_order_of_the_file() {
    let scenario = Scenario::new();
    let (files, launch) = launch(&scenario, ["A=bws://ONE\nB=bws://TWO\n"]);
    let outcome = launch.options(["--require=C", "--dry-run=json"]).run();
    let json: serde_json::Value = serde_json::from_slice(&outcome.stdout).unwrap();
    let messages: Vec<&str> =
        json["problems"].as_array().unwrap().iter().map(|it| it["message"].as_str().unwrap()).collect();
    let path = files.0.path().join("0").display().to_string();
    let missing = |line: usize, name: &str, reference: &str| {
        format!("{path}:{line} {name}: '{reference}' refers to no secret that this token can read")
    };
    assert_eq!(
        messages,
        [missing(1, "A", "ONE").as_str(), &missing(2, "B", "TWO"), "'C' is required and would not be set"]
    );
}
