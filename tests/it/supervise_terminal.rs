//! `--init` on a terminal: who is in the foreground, what Ctrl-C and Ctrl-Z do, alone and in a shell.

use std::path::Path;
use std::process::Command;

use crate::supervise::{child, scenario, staying};
use crate::support::recorder::Recorder;
use crate::support::terminal::Terminal;
use crate::support::{Running, Scenario, eventually, proc, script};

/// An interactive shell with job control on a terminal, in which `stay` is a launcher that stays.
struct Shell {
    terminal: Terminal,
    running: Running,
    _directory: tempfile::TempDir,
    _scenario: Scenario,
}

impl Shell {
    fn start() -> Self {
        let (scenario, directory) = (scenario(), tempfile::tempdir().unwrap());
        let launcher = staying(&scenario).launcher();
        let words: Vec<_> = std::iter::once(launcher.get_program()).chain(launcher.get_args()).collect();
        let quoted: Vec<String> = words.iter().map(|word| format!("'{}'", word.to_str().unwrap())).collect();
        script(&directory.path().join("stay"), &format!("#!/bin/sh\nexec {} -- \"$@\"\n", quoted.join(" ")));
        let bash = scenario.launch().command(["bash", "--norc", "--noprofile", "--noediting", "-i"]);
        let mut bash: Command = bash.direct();
        bash.env("PATH", format!("{}:/usr/bin:/bin", directory.path().display()))
            .env("PS1", "PROMPT> ")
            .env("TERM", "dumb");
        bash.current_dir(directory.path());
        let (terminal, running) = Terminal::start(bash);
        terminal.shows("PROMPT> ");
        Self { terminal, running, _directory: directory, _scenario: scenario }
    }

    fn path(&self) -> &Path {
        self._directory.path()
    }

    /// One line, typed.
    fn types(&self, line: &str) {
        self.terminal.types(&format!("{line}\n"));
        self.terminal.shows(&format!("{line}\r\n"));
    }

    /// The shell works, and this is `$?`.
    #[track_caller]
    fn code(&self, expected: i32) {
        self.types("echo \"code:$?\"");
        self.terminal.shows(&format!("code:{expected}\r\n"));
        self.terminal.shows("PROMPT> ");
    }
}

#[test]
fn the_command_has_the_foreground_and_ctrl_c_reaches_it_once() {
    let (scenario, recorder) = (scenario(), Recorder::new());
    let (terminal, running) =
        Terminal::start(staying(&scenario).option("--kill-after=0").command(recorder.command()).launcher());
    recorder.ready();
    terminal.has_foreground(child(running.pid(), "perl"));
    for turn in 1..4 {
        terminal.types("\x03");
        recorder.wait_for("2", turn);
    }
    terminal.types("\x1c");
    recorder.wait_for("3", 1);
    terminal.resize(100);
    recorder.wait_for("28", 1);
    running.signal(libc::SIGUSR1);
    recorder.wait_for("10", 1);
    assert_eq!(recorder.signals(), [2, 2, 2, 3, 28, 10]);
    // The terminal drops what it has not shown yet when it sends a signal.
    let said = terminal.everything().replace("^C", "").replace("^\\", "");
    assert_eq!(said, "", "but for the keys nothing was written to it");
}

/// As the entrypoint of `docker run -it`: there is no shell that could continue it.
#[test]
fn ctrl_z_without_a_shell_stops_nothing() {
    let scenario = scenario();
    let (terminal, running) = Terminal::start(staying(&scenario).command(["cat"]).launcher());
    terminal.has_foreground(child(running.pid(), "cat"));
    terminal.types("one\n");
    terminal.shows("one\r\none\r\n");
    terminal.types("\x1a");
    terminal.shows("^Z");
    terminal.types("two\n");
    terminal.shows("two\r\ntwo\r\n");
    terminal.types("\x04");
    assert_eq!(running.finish().code(), Some(0));
}

#[test]
fn a_job_is_stopped_and_continued() {
    let shell = Shell::start();
    shell.types("stay cat");
    shell.terminal.types("one\n");
    shell.terminal.shows("one\r\none\r\n");
    for _ in 0..3 {
        shell.terminal.types("\x1a");
        shell.terminal.shows("Stopped");
        shell.terminal.shows("PROMPT> ");
        shell.types("jobs");
        shell.terminal.shows("Stopped");
        shell.terminal.shows("PROMPT> ");
        shell.types("fg");
        shell.terminal.shows("stay cat\r\n");
        shell.terminal.types("again\n");
        shell.terminal.shows("again\r\nagain\r\n");
    }
    shell.terminal.types("\x04");
    shell.terminal.shows("PROMPT> ");
    shell.code(0);
    // Ctrl-C ends it as it ends any job.
    shell.types("stay cat");
    shell.terminal.types("one\n");
    shell.terminal.shows("one\r\none\r\n");
    shell.terminal.types("\x03");
    shell.terminal.shows("PROMPT> ");
    shell.code(130);
    // In the background it stops as soon as it reads, and goes on in the foreground.
    shell.types("stay cat &");
    shell.terminal.shows("PROMPT> ");
    eventually("it is stopped", || {
        let jobs = proc::children(shell.running.pid());
        jobs.iter().any(|&job| proc::state(job).is_some_and(|(state, _)| state == 'T'))
    });
    shell.types("bg");
    shell.terminal.shows("PROMPT> ");
    shell.types("fg");
    shell.terminal.types("late\n");
    shell.terminal.shows("late\r\nlate\r\n");
    shell.terminal.types("\x04");
    shell.terminal.shows("PROMPT> ");
    shell.code(0);
    shell.types("exit");
    assert_eq!(shell.running.finish().code(), Some(0));
}

/// A shell under us has jobs of its own, and `suspend`s like one under `su`.
#[test]
fn a_shell_as_the_command() {
    let shell = Shell::start();
    shell.types("PS1='INNER> ' stay bash --norc --noprofile --noediting -i");
    shell.terminal.shows("INNER> ");
    shell.types("cat");
    shell.terminal.types("one\n");
    shell.terminal.shows("one\r\none\r\n");
    shell.terminal.types("\x1a");
    shell.terminal.shows("Stopped");
    shell.terminal.shows("INNER> ");
    shell.types("fg");
    shell.terminal.types("two\n");
    shell.terminal.shows("two\r\ntwo\r\n");
    shell.terminal.types("\x03");
    shell.terminal.shows("INNER> ");
    shell.types("suspend");
    shell.terminal.shows("Stopped");
    shell.terminal.shows("PROMPT> ");
    shell.types("fg");
    shell.terminal.shows("INNER> ");
    shell.types("exit 7");
    shell.terminal.shows("PROMPT> ");
    shell.code(7);
}

/// Others of our job use the terminal too.
#[test]
fn in_a_pipeline_whoever_reads_gets_the_terminal() {
    let shell = Shell::start();
    let ask =
        "stty -echo </dev/tty; read line </dev/tty; stty echo </dev/tty; echo \"got:$line\"; touch asked";
    // Its output is at an end, and it goes on.
    let long = "stay sh -c 'echo piped; exec >&-; until [ -e asked ]; do sleep 0.01; done' | ask";
    script(&shell.path().join("ask"), &format!("#!/bin/sh\ncat\n{ask}\n"));
    for pipeline in [long, "stay echo piped | ask", "echo piped | stay ask", "stay echo piped | stay ask"] {
        shell.types(pipeline);
        shell.terminal.shows("piped\r\n");
        shell.terminal.types("typed\n");
        shell.terminal.shows("got:typed\r\n");
        shell.terminal.shows("PROMPT> ");
        shell.code(0);
    }
    // And all of it stops and goes on.
    shell.types("echo piped | stay sh -c 'cat; exec cat </dev/tty' | cat");
    shell.terminal.shows("piped\r\n");
    shell.terminal.types("one\n");
    shell.terminal.shows("one\r\none\r\n");
    shell.terminal.types("\x1a");
    shell.terminal.shows("Stopped");
    shell.terminal.shows("PROMPT> ");
    shell.types("fg");
    shell.terminal.types("two\n");
    shell.terminal.shows("two\r\ntwo\r\n");
    shell.terminal.types("\x04");
    shell.terminal.shows("PROMPT> ");
    shell.code(0);
}

#[test]
fn a_script_is_interrupted_and_stopped_as_a_whole() {
    let shell = Shell::start();
    let turns = "for turn in 1 2 3; do stay sleep 1000; echo \"turn $turn\"; done\n";
    script(&shell.path().join("turns"), &format!("#!/bin/bash\n{turns}"));
    let sleeping = || {
        eventually("sleep runs", || {
            let mut all = proc::children(shell.running.pid());
            let mut at = 0;
            while at < all.len() {
                all.extend(proc::children(all[at]));
                at += 1;
            }
            all.iter().any(|&pid| proc::state(pid) == Some(('S', "sleep".into())))
        });
    };
    shell.types("turns");
    sleeping();
    shell.terminal.types("\x1a");
    shell.terminal.shows("Stopped");
    shell.terminal.shows("PROMPT> ");
    shell.types("fg");
    sleeping();
    shell.terminal.types("\x03");
    shell.terminal.shows("PROMPT> ");
    shell.code(130);
    assert!(!shell.terminal.everything().contains("turn 1\r\n"), "{}", shell.terminal.everything());
    // The terminal is the script's again after a command that had it.
    script(
        &shell.path().join("asks"),
        "#!/bin/bash\nstay sh -c 'read line; echo \"first:$line\"'\nread line\necho \"second:$line\"\n",
    );
    shell.types("asks");
    shell.terminal.types("one\n");
    shell.terminal.shows("first:one\r\n");
    shell.terminal.types("two\n");
    shell.terminal.shows("second:two\r\n");
    shell.terminal.shows("PROMPT> ");
    shell.code(0);
}
