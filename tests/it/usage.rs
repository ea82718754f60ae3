//! The command line itself: what is said about mistakes, and what belongs to COMMAND.

use crate::support::{Launch, Scenario};

#[track_caller]
fn usage(options: &[&str], command: &[&str], message: &str, hint: &str) {
    let expected = format!("bws-exec: error[usage]: {message}\nbws-exec: hint: {hint}\n");
    Launch::new().options(options).command(command).run().failed(125, &expected);
}

const LIST: &str = "bws-exec --help lists the options";
const UNKNOWN: &str = "bws-exec --help lists the options; those of COMMAND come after COMMAND";

#[test]
fn mistakes_in_two_lines() {
    let no_command = "for example: bws-exec -- ./server --port 8080";
    usage(&[], &[], "no command was given", no_command);
    usage(&["--"], &[], "no command was given", no_command);
    usage(&["--quiet"], &[], "no command was given", no_command);
    usage(
        &["--projcet", "web"],
        &["true"],
        "unexpected argument '--projcet' found",
        "a similar argument exists: '--project'",
    );
    usage(&["--wholly-unknown"], &["true"], "unexpected argument '--wholly-unknown' found", UNKNOWN);
    usage(&["-x"], &["true"], "unexpected argument '-x' found", UNKNOWN);
    usage(&["-q", "-v"], &["true"], "the argument '--quiet' cannot be used with '--verbose...'", LIST);
    usage(
        &["--deadline", "soon"],
        &["true"],
        "invalid value 'soon' for '--deadline <DURATION>': expected a number with ms, s, m, h or d, such as 30s",
        LIST,
    );
    usage(&["--deadline", "0"], &["true"], "--deadline 0 leaves no time for anything", "the default is 30s");
    usage(
        &["--on-conflict", "secrets"],
        &["true"],
        "invalid value 'secrets' for '--on-conflict <WHO>' [possible values: secret, inherited, error]",
        "a similar value exists: 'secret'",
    );
    usage(
        &["--dry-run=yaml"],
        &["true"],
        "invalid value 'yaml' for '--dry-run[=<FORMAT>]' [possible values: text, json]",
        LIST,
    );
    usage(&["--project"], &[], "a value is required for '--project <ID|NAME>' but none was supplied", LIST);
    usage(&["-t"], &[], "a value is required for '--access-token <TOKEN>' but none was supplied", LIST);
    usage(
        &["--keep", "LC_*"],
        &["true"],
        "the following required arguments were not provided: --no-inherit-env",
        LIST,
    );
    usage(
        &["--region", "us", "--region", "eu"],
        &["true"],
        "the argument '--region <us|eu>' cannot be used multiple times",
        LIST,
    );
    usage(
        &["--status-fd", "2"],
        &["true"],
        "--status-fd 2 is one of the command's own descriptors",
        "use 3 or more, for example: --status-fd 3 3>status.jsonl",
    );
}

#[test]
fn control_characters_of_an_argument_do_not_reach_the_terminal() {
    let outcome = Launch::new().option("--\x1b[31mred\n").command(["true"]).run();
    outcome.failed_with(125, "usage");
    assert!(outcome.stderr.contains("'--\\u{1b}[31mred"), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains('\x1b'), "{}", outcome.stderr);
    assert_eq!(outcome.stderr.lines().count(), 2, "{}", outcome.stderr);
}

#[test]
fn help_and_version_are_for_stdout() {
    // Nothing else is looked at: there is no token here, and the variables are wrong.
    let launch = |option: &str| Launch::new().option(option).env("BWS_EXEC_DEADLINE", "junk").run();
    for option in ["--help", "-h"] {
        let outcome = launch(option);
        outcome.succeeded();
        let text = outcome.text();
        assert!(text.contains("Usage: bws-exec [OPTIONS] [--] COMMAND [ARG]..."), "{text}");
        for word in ["--project", "--dry-run[=<FORMAT>]", "-t, --access-token", "Exit codes:\n   75  "] {
            assert!(text.contains(word), "{word} is missing: {text}");
        }
    }
    let longest = launch("--help").text().lines().map(|line| line.chars().count()).max();
    assert!(longest <= Some(100), "lines are broken where they were written: {longest:?}");
    for option in ["--version", "-V"] {
        let outcome = launch(option);
        outcome.succeeded();
        assert_eq!(outcome.text(), format!("bws-exec {}\n", env!("CARGO_PKG_VERSION")));
    }
}

/// Every variable and slug that the program knows is one the help or the contract names.
#[test]
fn help_names_every_variable_it_reads() {
    let help = Launch::new().option("--help").run().text();
    for name in [
        "BWS_ACCESS_TOKEN",
        "BWS_ACCESS_TOKEN_FILE",
        "CREDENTIALS_DIRECTORY",
        "LISTEN_FDNAMES",
        "BWS_SERVER_URL",
        "BWS_REGION",
        "BWS_CONFIG_FILE",
        "BWS_PROFILE",
        "BWS_UUIDS_AS_KEYNAMES",
        "BWS_EXEC_PROJECT",
        "BWS_EXEC_DEADLINE",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "HTTPS_PROXY",
        "NO_PROXY",
    ] {
        assert!(help.contains(name), "{name}");
    }
}

/// From COMMAND on, nothing is ours: with `--` or without.
#[test]
fn options_after_the_command_are_its_own() {
    let scenario = Scenario::new();
    let empty = "bws-exec: warning: this machine account can read no secrets\n";
    let words = ["--project", "x", "-t", "0.typed", "--help", "--", "--dry-run", "-", ""];
    let script = "for word; do printf '[%s]' \"$word\"; done";
    let expected = "[--project][x][-t][0.typed][--help][--][--dry-run][-][]";
    let all = ["sh", "-c", script, "sh"].into_iter().chain(words);
    let with_dashes = scenario.launch().command(all.clone()).run();
    let without = scenario.launch().options(all).run();
    for outcome in [with_dashes, without] {
        assert_eq!((outcome.text().as_str(), outcome.stderr.as_str()), (expected, empty));
        assert_eq!(outcome.code(), Some(0));
    }
    // Whoever knows `bws run` is told.
    let outcome = Launch::new().options(["run", "--", "env"]).run();
    outcome.failed(
        127,
        "bws-exec: error[command-not-found]: command not found: run\n\
         bws-exec: hint: there are no subcommands: bws-exec -- COMMAND\n",
    );
    // What follows `--` is COMMAND even if it looks like an option.
    let outcome = Launch::new().env("BWS_ACCESS_TOKEN", "x").command(["--help"]).run();
    outcome.failed(
        127,
        "bws-exec: error[command-not-found]: command not found: --help\n\
         bws-exec: hint: check the spelling and PATH; shell syntax needs: sh -c '…'\n",
    );
}
