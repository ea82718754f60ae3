//! `--generate`: the man page and the completions, as text, and as the real programs take them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::support::{BINARY, Launch, Running};

const KINDS: [&str; 4] = ["man", "complete-bash", "complete-zsh", "complete-fish"];

fn generated(kind: &str) -> String {
    // Like --help: without a token, and whatever the variables say.
    let outcome = Launch::new().options(["--generate", kind]).env("BWS_EXEC_DEADLINE", "junk").run();
    outcome.succeeded();
    outcome.text()
}

/// Every long option that `--help` lists, without dashes.
fn options() -> Vec<String> {
    let help = Launch::new().option("--help").run().text();
    let lines = help.lines().filter(|line| line.trim_start().starts_with('-'));
    let names = lines.filter_map(|line| {
        let name = line.split_once("--")?.1;
        Some(name.split(|c: char| !c.is_ascii_lowercase() && c != '-').next()?.to_owned())
    });
    let names: Vec<String> = names.collect();
    assert!(names.len() > 30 && names.contains(&"generate".to_owned()), "{names:?}");
    names
}

/// The page as it is read, without escapes.
fn plain(page: &str) -> String {
    page.replace("\\-", "-").replace("\\fB", "").replace("\\fI", "").replace("\\fR", "")
}

#[test]
fn every_option_is_in_the_page_and_in_each_completion() {
    let [man, bash, zsh, fish] = KINDS.map(generated);
    let bash_words: BTreeSet<&str> = bash.split(|c: char| c.is_whitespace() || c == '\'').collect();
    for name in options() {
        let [dashed, item] = [format!("--{name}"), format!("\\fB\\-\\-{}\\fR", name.replace('-', "\\-"))];
        assert!(man.lines().any(|line| line.contains(&item) && line.starts_with("\\fB")), "man: {name}");
        assert!(bash_words.contains(dashed.as_str()), "bash: {name}");
        let specification = |end| zsh.contains(&format!("{dashed}{end}"));
        assert!(specification("[") || specification("=[") || specification("=-["), "zsh: {name}");
        assert!(fish.contains(&format!(" -l {name} ")), "fish: {name}");
    }
    for text in [man, bash, zsh, fish] {
        assert!(!text.contains("container-inner") && !plain(&text).contains("container-inner"));
    }
}

#[test]
fn the_page_has_every_slug_variable_and_exit_code() {
    let page = generated("man");
    let text = plain(&page);
    let has_item = |name: &str| text.lines().any(|line| line == name);
    let error = include_str!("../../src/error.rs");
    let (_, slugs) = error.split_once("pub const fn slug").unwrap();
    let slugs = slugs.split_once("/// Whether").unwrap().0;
    let slugs: Vec<&str> = slugs.lines().filter_map(|line| line.split('"').nth(1)).collect();
    assert!(slugs.len() > 50, "{slugs:?}");
    for slug in slugs {
        assert!(has_item(slug), "{slug}");
    }
    let variables =
        include_str!("../../src/env_vars.rs").lines().filter(|line| line.starts_with("pub const"));
    let names: Vec<&str> = variables.filter_map(|line| line.split('"').nth(1)).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert!(text.contains(name), "{name}");
    }
    for code in ["0", "75", "125", "126", "127"] {
        assert!(has_item(code), "{code}");
    }
}

/// Only macros of man(7), each block closed, and a version and no date in the title.
#[test]
fn the_page_is_well_formed() {
    let page = generated("man");
    let title = format!(".TH \"BWS\\-EXEC\" \"1\" \"\" \"bws\\-exec {}\" ", env!("CARGO_PKG_VERSION"));
    assert!(page.starts_with(&title), "{}", page.lines().next().unwrap());
    let known = ["TH", "SH", "SS", "PP", "TP", "EX", "EE", "in", "nh", "ad"];
    let mut open = false;
    for line in page.lines() {
        assert!(!line.is_empty() && !line.starts_with('\'') && line.is_ascii(), "{line}");
        if let Some(request) = line.strip_prefix('.') {
            let name = request.split(' ').next().unwrap();
            assert!(known.contains(&name), "{line}");
            assert_eq!(open, name == "EE", "{line}");
            open = (open || name == "EX") && name != "EE";
        }
        // A dash that is not escaped becomes a hyphen, which cannot be copied into a shell.
        assert!(line.starts_with('.') || !line.replace("\\-", "").contains('-'), "{line}");
    }
    assert!(!open);
}

#[test]
fn an_unknown_kind_is_a_usage_error() {
    Launch::new().options(["--generate", "complete-zhs"]).run().failed(
        125,
        "bws-exec: error[usage]: invalid value 'complete-zhs' for '--generate <KIND>' [possible values: man, \
         complete-bash, complete-zsh, complete-fish]\nbws-exec: hint: a similar value exists: 'complete-zsh'\n",
    );
}

/// A directory with the binary, its completions and files to complete, in which a shell is run.
fn offered(shell: &[&str], kind: &str, file: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::create_dir(path("folder")).unwrap();
    std::fs::write(path("fichier.pem"), "").unwrap();
    std::fs::write(path(file), generated(kind)).unwrap();
    std::os::unix::fs::symlink(BINARY, path("bws-exec")).unwrap();
    let launch = Launch::new()
        .directory(directory.path())
        .env("HOME", directory.path())
        .env("PATH", format!("{}:/usr/bin:/bin", directory.path().display()))
        .env("LC_ALL", "C.UTF-8")
        .command(shell);
    let outcome = Running::new(launch.direct(), None).finish();
    outcome.succeeded();
    outcome.text()
}

fn has(offered: &str, word: &str) -> bool {
    offered.lines().any(|line| line.split(['\t', ' ']).next().unwrap().trim_end_matches('/') == word)
}

/// What is typed, what is offered, what is not.
const CASES: [(&str, &[&str], &[&str]); 14] = [
    ("bws-exec --on", &["--only", "--on-conflict"], &["--offline"]),
    ("bws-exec --on-conflict s", &["secret"], &["inherited"]),
    ("bws-exec --region ", &["us", "eu"], &["fichier.pem"]),
    ("bws-exec --ca-file f", &["fichier.pem", "folder"], &["--file"]),
    ("bws-exec --cache-dir f", &["folder"], &["fichier.pem"]),
    ("bws-exec printen", &["printenv"], &[]),
    ("bws-exec -- printen", &["printenv"], &[]),
    ("bws-exec --map A=B --project web printen", &["printenv"], &[]),
    ("bws-exec --server-url https://x:8/ printen", &["printenv"], &[]),
    ("bws-exec -qt x printen", &["printenv"], &[]),
    ("bws-exec --dry-run printen", &["printenv"], &[]),
    ("bws-exec -- cat f", &["fichier.pem", "folder"], &["--file"]),
    ("bws-exec env --on", &[], &["--only", "--on-conflict"]),
    ("bws-exec ls --colo", &["--color"], &["--container"]),
];

fn check(complete: impl Fn(&str) -> String) {
    for (line, wanted, unwanted) in CASES {
        let offered = complete(line);
        for word in wanted {
            assert!(has(&offered, word), "{line}: {word} is missing: {offered}");
        }
        for word in unwanted {
            assert!(!has(&offered, word), "{line}: {word} is not for here: {offered}");
        }
    }
}

/// As readline calls it, with words broken at `=` and `:`.
const BASH: &str = r#"
    [ "$2" = without ] || source /usr/share/bash-completion/bash_completion
    compopt() { :; }
    source ./completion
    COMP_LINE=$1 COMP_POINT=${#1}
    read -ra typed <<<"$(sed 's/\(:\|=\)/ \1 /g' <<<"$1")"
    [[ $1 == *' ' ]] && typed+=('')
    COMP_WORDS=("${typed[@]}") COMP_CWORD=$((${#typed[@]} - 1))
    _bws_exec bws-exec "${typed[-1]}" "${typed[-2]}"
    printf '%s\n' "${COMPREPLY[@]}"
"#;

#[test]
#[ignore = "needs bash-completion"]
fn bash_completes() {
    let complete = |line: &str| offered(&["bash", "-c", BASH, "bash", line], "complete-bash", "completion");
    check(complete);
    let values = complete("bws-exec --on-conflict=");
    assert!(has(&values, "secret") && has(&values, "error"), "{values}");
    assert!(has(&complete("bws-exec --dry-run=j"), "json"));
}

#[test]
fn bash_completes_without_bash_completion() {
    let line = |line| {
        let shell = ["bash", "--norc", "-c", BASH, "bash", line, "without"];
        offered(&shell, "complete-bash", "completion")
    };
    assert!(has(&line("bws-exec --on"), "--only"));
    assert!(has(&line("bws-exec --cache-dir f"), "folder"));
    assert!(has(&line("bws-exec -- printen"), "printenv"));
    assert!(has(&line("bws-exec cat f"), "fichier.pem"));
}

/// A zsh on a terminal of its own, whose completion says what it adds, and ends.
const ZSH: &str = r#"
    zmodload zsh/zpty
    zpty z zsh -f -i
    zpty -w z "cd ${(q)PWD}; PS1=; source ./capture"
    zpty -w -n z "$1"$'\t'
    while zpty -r z line; do :; done
    cat offered
"#;
const ZSH_CAPTURE: &str = r#"
    fpath=($PWD $fpath)
    autoload -U compinit
    compinit -u -D
    compadd() {
        local -a matches
        if [[ ${@[1,(i)(-|--)]} != *-(O|A|D)* ]]; then
            builtin compadd -O matches "$@"
            print -rl -- $matches >>offered
        fi
        builtin compadd "$@"
    }
    capture() { _main_complete; exit }
    zle -C capture list-choices capture
    bindkey '^I' capture
"#;

#[test]
#[ignore = "needs zsh"]
fn zsh_completes() {
    let script = format!(": >offered; cat >capture <<'END'\n{ZSH_CAPTURE}\nEND\n{ZSH}");
    check(|line| offered(&["zsh", "-f", "-c", &script, "zsh", line], "complete-zsh", "_bws-exec"));
}

#[test]
#[ignore = "needs fish"]
fn fish_completes() {
    let complete = |line: &str| {
        let script = format!("source ./completion; complete -C '{line}'");
        offered(&["fish", "-c", &script], "complete-fish", "completion")
    };
    check(complete);
    assert!(has(&complete("bws-exec --on-conflict=s"), "--on-conflict=secret"));
}

#[test]
#[ignore = "needs man"]
fn man_renders_the_page_without_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bws-exec.1");
    std::fs::write(&path, generated("man")).unwrap();
    let run = |words: &[&str], path: &Path| {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(path).env("LC_ALL", "C.UTF-8").env("MANWIDTH", "80");
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let outcome = Running::new(command, None).finish();
        outcome.succeeded();
        outcome.text()
    };
    run(&["groff", "-man", "-ww", "-Tutf8"], &path);
    let page = run(&["man", "--warnings", "-l"], &path);
    let sections =
        "NAME SYNOPSIS DESCRIPTION OPTIONS REFERENCES SERVER ERRORS ENVIRONMENT FILES EXAMPLES SECURITY";
    for section in sections.split(' ').chain(["ACCESS TOKEN", "EXIT STATUS", "SEE ALSO"]) {
        assert!(page.lines().any(|line| line == section), "{section}");
    }
    let too_wide = page.lines().filter(|line| line.chars().count() > 80).collect::<Vec<_>>();
    assert!(too_wide.is_empty(), "{too_wide:?}");
}
