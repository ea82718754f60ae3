//! Which names a secret may give to a variable, and what is said about those it may not.

use std::collections::BTreeSet;

use crate::support::{Launch, Scenario};

/// Nothing of a value may ever be shown; every secret here has this one.
const CANARY: &str = "canary-4d1f-value";

/// One secret with this key, and a real run that it stops.
#[track_caller]
fn stopped(key: &str, slug: &str, message: &str, hint: &str) {
    let scenario = Scenario::new();
    let id = scenario.vault.owner().create_secret(scenario.project, key, CANARY);
    let expected = format!("bws-exec: error[{slug}]: {message}\nbws-exec: hint: {hint}\n");
    let expected = expected.replace("{id}", &id.to_string());
    scenario.launch().command(["true"]).run().failed(125, &expected);
}

#[test]
fn each_kind_of_refusal() {
    const RENAME: &str = "rename the secret, use --uuids-as-keynames, leave it out by --exclude and name it by --map NAME={id}";
    stopped(
        "LD_PRELOAD",
        "dangerous-name",
        "'LD_PRELOAD' would change how programs run, so a secret may not set it (secret 'LD_PRELOAD', id {id}, in \
         project 'web')",
        "rename the secret, leave it out by --exclude, or accept it by --allow-name LD_PRELOAD",
    );
    stopped(
        "db-password",
        "invalid-name",
        "'db-password' cannot name a variable (secret 'db-password', id {id}, in project 'web'): only letters, digits \
         and '_' are usual",
        &format!("{RENAME}, or accept it by --allow-name 'db-password'"),
    );
    stopped(
        "it's",
        "invalid-name",
        "'it's' cannot name a variable (secret 'it's', id {id}, in project 'web'): only letters, digits and '_' are \
         usual",
        &format!("{RENAME}, or accept it by --allow-name 'it'\\''s'"),
    );
    stopped(
        "1ST",
        "invalid-name",
        "'1ST' cannot name a variable (secret '1ST', id {id}, in project 'web'): it begins with a digit",
        &format!("{RENAME}, or accept it by --allow-name '1ST'"),
    );
    stopped(
        "A=B",
        "invalid-name",
        "'A=B' cannot name a variable (secret 'A=B', id {id}, in project 'web'): it contains '='",
        RENAME,
    );
    stopped(
        "",
        "invalid-name",
        "'' cannot name a variable (secret '', id {id}, in project 'web'): it is empty",
        RENAME,
    );
    // Whatever a key holds, a terminal is not told to obey it.
    stopped(
        "A\0\x1b[2J\n",
        "invalid-name",
        "'A\\u{0}\\u{1b}[2J\\n' cannot name a variable (secret 'A\\u{0}\\u{1b}[2J\\n', id {id}, in project 'web'): it \
         contains a NUL byte",
        RENAME,
    );
}

/// One name of every class in the survey of what programs take from their environment.
const DANGEROUS: [&str; 46] = [
    "LD_PRELOAD",
    "LD_AUDIT",
    "LD_LIBRARY_PATH",
    "LD_ANYTHING_NEW",
    "DYLD_INSERT_LIBRARIES",
    "GLIBC_TUNABLES",
    "GCONV_PATH",
    "BASH_ENV",
    "ENV",
    "BASH_FUNC_ls%%",
    "PROMPT_COMMAND",
    "PS4",
    "IFS",
    "PATH",
    "SHELLOPTS",
    "HOME",
    "TMPDIR",
    "EDITOR",
    "PAGER",
    "NODE_OPTIONS",
    "NODE_PATH",
    "PYTHONSTARTUP",
    "PYTHONPATH",
    "PYTHONHOME",
    "PERL5LIB",
    "PERL5OPT",
    "PERL5DB",
    "RUBYOPT",
    "RUBYLIB",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "_JAVA_OPTIONS",
    "DOTNET_STARTUP_HOOKS",
    "CORECLR_PROFILER_PATH",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_EXEC_PATH",
    "GIT_CONFIG_COUNT",
    "SSLKEYLOGFILE",
    "SSL_CERT_FILE",
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "BWS_SERVER_URL",
    "npm_config_script_shell",
    "NPM_CONFIG_SCRIPT_SHELL",
    "GIT_PROXY_COMMAND",
];

#[test]
fn every_dangerous_class_is_refused() {
    let scenario = DANGEROUS.iter().fold(Scenario::new(), |scenario, name| scenario.secret(name, CANARY));
    let outcome = scenario.launch().option("--dry-run=json").run();
    assert_eq!(outcome.code(), Some(125));
    let shown: serde_json::Value = serde_json::from_slice(&outcome.stdout).unwrap();
    let refused: BTreeSet<&str> = shown["problems"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|problem| problem["slug"] == "dangerous-name")
        .map(|problem| problem["message"].as_str().unwrap().split('\'').nth(1).unwrap())
        .collect();
    assert_eq!(refused, BTreeSet::from(DANGEROUS));
    assert_eq!(shown["variables"].as_array().unwrap().len(), 0);
    assert!(!outcome.stderr.contains(CANARY) && !outcome.text().contains(CANARY));
    // A real run names the first and says that there are more.
    let outcome = scenario.launch().command(["true"]).run();
    outcome.failed_with(125, "dangerous-name");
    let warning = "bws-exec: warning: there are 46 problems; the first follows, --dry-run shows all\n";
    assert!(outcome.stderr.starts_with(warning), "{}", outcome.stderr);
    assert_eq!(outcome.stderr.lines().count(), 3);
    // The secret's own key does not matter where it does not name the variable.
    scenario.launch().option("--uuids-as-keynames").command(["true"]).run().succeeded();
}

#[test]
fn one_name_let_through() {
    let scenario = Scenario::new()
        .secret("GIT_SSH_COMMAND", "ssh -v")
        .secret("db-password", "x y")
        .secret("1 ü", "z")
        .secret("PATH", "/nonexistent");
    let allow = ["--allow-name=GIT_SSH_COMMAND", "--allow-name", "db-password", "--allow-name=1 ü"];
    // COMMAND is found by our own PATH, never by a secret's.
    let outcome = scenario.launch().options(allow).option("--allow-name=PATH").command(["env"]).run();
    outcome.succeeded();
    let mut lines: Vec<String> = outcome.text().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["1 ü=z", "GIT_SSH_COMMAND=ssh -v", "PATH=/nonexistent", "db-password=x y"]);
    // The name is taken as it stands: no glob, no other spelling.
    for pattern in ["*", "GIT_*", "path", "P?TH"] {
        let outcome =
            scenario.launch().options(allow).options(["--allow-name", pattern]).command(["env"]).run();
        outcome.failed_with(125, "dangerous-name");
    }
}

#[test]
fn names_that_can_never_be_allowed() {
    for name in ["", "A=B", "BWS_ACCESS_TOKEN", "BWS_ACCESS_TOKEN_FILE", "BWS_EXEC_PROJECT"] {
        let expected = format!(
            "bws-exec: error[usage]: --allow-name '{name}' cannot be allowed\n\
             bws-exec: hint: a name is never empty, has no '=' or NUL, and is none of the token's variables\n"
        );
        Launch::new().options(["--allow-name", name]).command(["true"]).run().failed(125, &expected);
    }
}

#[test]
fn two_secrets_of_one_name() {
    let scenario = Scenario::new();
    let owner = scenario.vault.owner();
    let first = owner.create_secret(scenario.project, "KEY", CANARY);
    let second = owner.create_secret(scenario.project, "KEY", CANARY);
    let outcome = scenario.launch().command(["true"]).run();
    let described = |id| format!("secret 'KEY', id {id}, in project 'web'");
    let expected = |one, other| {
        format!(
            "bws-exec: error[duplicate-name]: 'KEY' would be set by 2 secrets: {}; {}\n\
             bws-exec: hint: rename one of them, choose one by --project or --map, or use --uuids-as-keynames\n",
            described(one),
            described(other)
        )
    };
    // In whichever order the server gives them.
    let (one, other) =
        match outcome.stderr.find(&first.to_string()) < outcome.stderr.find(&second.to_string()) {
            true => (first, second),
            false => (second, first),
        };
    outcome.failed(125, &expected(one, other));
    scenario.launch().option("--uuids-as-keynames").command(["true"]).run().succeeded();
    // Names differ by case.
    owner.rename_secret(second, "key");
    scenario.launch().command(["true"]).run().succeeded();
}

/// They would give the token, or what steers us, to the command.
#[test]
fn secrets_named_like_the_tokens_variables() {
    let scenario = Scenario::new().secret("KEY", "value");
    let names =
        ["BWS_ACCESS_TOKEN", "BWS_ACCESS_TOKEN_FILE", "BWS_EXEC_PROJECT", "BWS_EXEC_OF_A_LATER_VERSION"];
    let owner = scenario.vault.owner();
    let ids = names.map(|name| owner.create_secret(scenario.project, name, CANARY));
    let launch =
        scenario.launch().env("BWS_EXEC_DEADLINE", "20s").env("BWS_ACCESS_TOKEN_FILE", "/nonexistent");
    let outcome = launch.without_env("PATH").command(["/usr/bin/env"]).run();
    assert_eq!((outcome.code(), outcome.text().as_str()), (Some(0), "KEY=value\n"));
    let mut warnings: Vec<&str> = outcome.stderr.lines().collect();
    let mut expected: Vec<String> = names
        .iter()
        .zip(ids)
        .map(|(name, id)| {
            format!(
                "bws-exec: warning: secret '{name}', id {id}, in project 'web', is left out: '{name}' is reserved for \
                 bws-exec itself"
            )
        })
        .collect();
    warnings.sort_unstable();
    expected.sort_unstable();
    assert_eq!(warnings, expected);
    scenario.launch().option("-q").command(["true"]).run().succeeded();
}

#[test]
fn ids_as_names() {
    let scenario = Scenario::new();
    let id = scenario.vault.owner().create_secret(scenario.project, "any key", "value");
    let line = format!("_{}=value\n", id.to_string().replace('-', "_"));
    let launch = || scenario.launch().without_env("PATH").command(["/usr/bin/env"]);
    let by_option = launch().option("--uuids-as-keynames").run();
    by_option.succeeded();
    assert_eq!(by_option.text(), line);
    for yes in ["true", "TRUE", "1", "yes", "y", "on", " t "] {
        let outcome = launch().env("BWS_UUIDS_AS_KEYNAMES", yes).run();
        outcome.succeeded();
        assert_eq!(outcome.text(), format!("BWS_UUIDS_AS_KEYNAMES={yes}\n{line}"), "{yes}");
    }
    for no in ["false", "0", "no", "off", ""] {
        launch().env("BWS_UUIDS_AS_KEYNAMES", no).run().failed_with(125, "invalid-name");
    }
    launch().env("BWS_UUIDS_AS_KEYNAMES", "maybe").run().failed(
        125,
        "bws-exec: error[usage]: invalid value 'maybe' for BWS_UUIDS_AS_KEYNAMES\n\
         bws-exec: hint: use true or false\n",
    );
}

/// A proxy's URL with a password is a legitimate secret, so it is only mentioned.
#[test]
fn proxies_are_mentioned() {
    let scenario = Scenario::new();
    let id = scenario.vault.owner().create_secret(scenario.project, "HTTP_PROXY", CANARY);
    scenario.launch().command(["true"]).run().succeeded();
    let outcome = scenario.launch().option("-v").command(["true"]).run();
    let expected = format!(
        "bws-exec: notice: 'HTTP_PROXY', a proxy to other programs, is set by secret 'HTTP_PROXY', id {id}, in project \
         'web'\n"
    );
    assert_eq!((outcome.code(), outcome.stderr), (Some(0), expected));
}
