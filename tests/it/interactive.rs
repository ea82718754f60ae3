//! Programs that own the screen, beside which we stay: an editor, a pager, a shell, `top`. Each runs as a
//! job of an interactive shell, with every option that makes us stay.

use std::fs;

use crate::support::tmux::{COLUMNS, ROWS, Tmux};
use crate::support::{Scenario, eventually, script};

const MODES: [&[&str]; 4] = [&["--init"], &["--watch=1s"], &["--mask"], &["--watch=1s", "--mask"]];

fn in_every_mode(test: impl Fn(&Tmux)) {
    let scenario = Scenario::new().secret("KEY", "correct horse battery staple");
    for mode in MODES {
        in_mode(&scenario, mode, &test);
    }
}

/// A shell in which `stay` is the launcher, and after which the terminal is as it was.
fn in_mode(scenario: &Scenario, mode: &[&str], test: impl Fn(&Tmux)) {
    // Shown if it fails.
    println!("{}", mode.join(" "));
    let shell = Tmux::shell(scenario.launch());
    let launcher = scenario.launch().options(mode).launcher();
    let words = std::iter::once(launcher.get_program()).chain(launcher.get_args());
    let words: Vec<String> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    script(&shell.path().join("stay"), &format!("#!/bin/sh\nexec {} -- \"$@\"\n", words.join(" ")));
    let before = shell.settings();
    test(&shell);
    assert_eq!(shell.settings(), before, "the terminal is as it was");
}

/// `vi` on a new file, drawn to this height.
#[track_caller]
fn edited(shell: &Tmux, rows: u16, first: &str) {
    shell.until("vi on the whole screen", |screen| {
        let lines: Vec<_> = screen.lines().collect();
        let empty = lines.iter().filter(|line| **line == "~").count();
        lines.first() == Some(&first) && empty == usize::from(rows) - 2
    });
}

#[test]
#[ignore = "needs tmux, vi, less"]
fn vi_writes_its_file_and_follows_the_window() {
    in_every_mode(|shell| {
        shell.line("stay vi file");
        edited(shell, ROWS, "");
        shell.types("ione");
        edited(shell, ROWS, "one");
        shell.resize(100, 40);
        edited(shell, 40, "one");
        shell.resize(COLUMNS, ROWS);
        edited(shell, ROWS, "one");
        shell.key("Escape");
        shell.line(":wq");
        shell.code(0);
        assert_eq!(fs::read_to_string(shell.path().join("file")).unwrap(), "one\n");
        // And `:cquit` is its own way to fail.
        shell.line("stay vi file");
        edited(shell, ROWS, "one");
        shell.line(":cq");
        shell.code(1);
    });
}

#[test]
#[ignore = "needs tmux, vi, less"]
fn vi_is_stopped_and_comes_back() {
    in_every_mode(|shell| {
        let before = shell.settings();
        shell.line("stay vi file");
        edited(shell, ROWS, "");
        shell.types("ione");
        shell.key("Escape");
        for text in ["one", "onetwo"] {
            edited(shell, ROWS, text);
            shell.key("C-z");
            shell.shows("Stopped");
            shell.code(128 + libc::SIGTSTP);
            assert_eq!(shell.settings(), before, "the shell's, not vi's");
            shell.clear();
            shell.line("fg");
            edited(shell, ROWS, text);
            shell.types("atwo");
            shell.key("Escape");
        }
        edited(shell, ROWS, "onetwotwo");
        shell.line(":w");
        shell.shows("written");
        shell.line(":q");
        shell.code(0);
        assert_eq!(fs::read_to_string(shell.path().join("file")).unwrap(), "onetwotwo\n");
    });
}

/// In the second turn the keys come from /dev/tty, and we are one of two in a job.
#[test]
#[ignore = "needs tmux, vi, less"]
fn less_shows_a_file_and_a_pipe() {
    in_every_mode(|shell| {
        let before = shell.settings();
        shell.line("seq 1000 >file");
        for line in ["stay less file", "seq 1000 | stay less"] {
            shell.clear();
            shell.line(line);
            shell.row(1, "1");
            shell.row(ROWS - 1, "23");
            shell.types("G");
            shell.row(ROWS - 1, "1000");
            shell.types("g");
            shell.row(1, "1");
            shell.line("/^500$");
            shell.row(1, "500");
            shell.key("C-z");
            shell.shows("Stopped");
            shell.prompts("OUTER>");
            assert_eq!(shell.settings(), before, "the shell's, not less's");
            shell.clear();
            shell.line("fg");
            shell.row(1, "500");
            shell.resize(100, 30);
            shell.row(29, "528");
            shell.resize(COLUMNS, ROWS);
            shell.row(ROWS - 1, "522");
            shell.types("q");
            shell.code(0);
        }
    });
}

#[test]
#[ignore = "needs tmux, vi, less"]
fn a_shell_has_its_jobs() {
    in_every_mode(|shell| {
        shell.line("PS1='INNER> ' stay bash --norc --noprofile -i");
        shell.prompts("INNER>");
        shell.until("no warning", |screen| !screen.contains("job control") && !screen.contains("bash:"));
        shell.line("sleep 1000");
        shell.runs("sleep");
        shell.key("C-z");
        shell.until("it is stopped", |screen| screen.matches("Stopped").count() == 1);
        shell.prompts("INNER>");
        shell.line("jobs");
        shell.until("it is listed", |screen| screen.matches("Stopped").count() == 2);
        shell.prompts("INNER>");
        shell.line("fg");
        shell.runs("sleep");
        shell.key("C-c");
        shell.prompts("INNER>");
        shell.line("echo \"inner: $?.\"");
        shell.shows("inner: 130.");
        shell.line("exit 7");
        shell.code(7);
    });
}

#[test]
#[ignore = "needs tmux, vi, less"]
fn top_draws_and_ends() {
    in_every_mode(|shell| {
        shell.line("stay top -d 1");
        shell.until("its head and its processes", |screen| {
            let processes = screen.lines().skip_while(|line| !line.contains("COMMAND")).skip(1);
            screen.contains("load average") && processes.count() > 0
        });
        shell.types("q");
        shell.code(0);
    });
}

/// Where the command has the terminal, and where we share it with others of our job.
#[test]
#[ignore = "needs tmux, vi, less"]
fn ctrl_c_reaches_the_command_once() {
    in_every_mode(|shell| {
        // SIGQUIT comes after whatever SIGINT there is.
        let counts = "#!/bin/bash\ntrap 'echo \"int $((++n)).\"' INT\ntrap 'echo \"all $n.\"; exit 3' QUIT\n\
                      echo ready; while :; do read -r _ <>waits; done\n";
        script(&shell.path().join("counts"), counts);
        shell.line("mkfifo waits");
        for line in ["stay counts", "true | stay counts"] {
            shell.clear();
            shell.line(line);
            shell.until("it waits", |screen| screen.lines().any(|line| line == "ready"));
            shell.key("C-c");
            shell.shows("int 1.");
            shell.key("C-\\");
            shell.shows("all 1.");
            shell.code(3);
        }
        // Who does not care ends by it.
        shell.line("stay sleep 1000");
        shell.runs("sleep");
        shell.key("C-c");
        shell.code(130);
    });
}

/// After a change of secrets the terminal is the next one's.
#[test]
#[ignore = "needs tmux, vi, less"]
fn a_restarted_command_has_the_terminal() {
    for mode in MODES.into_iter().filter(|mode| mode.contains(&"--watch=1s")) {
        let scenario = Scenario::new();
        let secret = scenario.vault.owner().create_secret(scenario.project, "KEY", "first");
        in_mode(&scenario, mode, |shell| {
            shell.line("seq 1000 >file");
            shell.line("stay sh -c 'echo \"$KEY\" >log; exec less file'");
            shell.row(1, "1");
            scenario.vault.owner().update_secret(secret, "second");
            let log = shell.path().join("log");
            eventually("it runs again", || fs::read_to_string(&log).is_ok_and(|text| text == "second\n"));
            shell.runs("less");
            shell.types("G");
            shell.row(ROWS - 1, "1000");
            shell.key("C-z");
            shell.shows("Stopped");
            shell.clear();
            shell.line("fg");
            shell.row(ROWS - 1, "1000");
            shell.types("q");
            shell.code(0);
        });
    }
}

/// A shell ignores SIGTERM, so it cannot put the terminal back.
#[test]
#[ignore = "needs tmux, vi, less"]
fn a_killed_command_leaves_the_next_a_sane_terminal() {
    let scenario = Scenario::new();
    let secret = scenario.vault.owner().create_secret(scenario.project, "KEY", "first");
    in_mode(&scenario, &["--watch=1s", "--kill-after=100ms"], |shell| {
        let before = shell.settings();
        shell.line("PS1='$KEY> ' stay bash --norc --noprofile -i");
        shell.prompts("first>");
        scenario.vault.owner().update_secret(secret, "second");
        shell.until("the next one's prompt", |screen| screen.ends_with("second>"));
        shell.line("stty -g >inner; exit");
        shell.code(0);
        assert_eq!(fs::read_to_string(shell.path().join("inner")).unwrap(), before);
    });
}
