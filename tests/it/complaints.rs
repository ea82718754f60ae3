//! What users of other launchers and of init programs have complained about, each with the tests that show
//! that it is right here; and the tests that stand nowhere else.

use std::collections::BTreeSet;
use std::process::Command;

use crate::supervise::{child, scenario, staying};
use crate::support::recorder::Recorder;
use crate::support::{eventually, proc};

const COMPLAINTS: [(&str, &[&str]); 25] = [
    (
        "secretspec#382: `docker stop` never reaches the application",
        &["container_entrypoint::the_entrypoint_with_docker", "modes::init::signals_sent_to_it"],
    ),
    (
        "dotenvx#188: TERM does not end it",
        &["modes::exec::signals_sent_to_it", "modes::watch::signals_sent_to_it"],
    ),
    (
        "dotenvx#385: the application's handlers do not run on Ctrl-C",
        &[
            "modes::exec::ctrl_c_runs_its_handler",
            "modes::init::ctrl_c_runs_its_handler",
            "modes::watch::ctrl_c_runs_its_handler",
        ],
    ),
    (
        "envconsul#31: a service manager does not see the application",
        &[
            "systemd_contracts::the_main_process_is_the_command_and_nobody_else_is_there",
            "systemd_supervise::the_command_is_ready_and_its_end_is_the_unit_s",
        ],
    ),
    (
        "envconsul#90: TERM leaves the application behind as an orphan",
        &["complaints::term_ends_both", "supervise_processes::what_kills_us_kills_the_command"],
    ),
    ("envconsul#63: any signal, not one of our choice", &["supervise_signals::each_arrives_exactly_once"]),
    ("envconsul#182: HUP is for us and never arrives", &["complaints::hup_is_the_commands"]),
    ("envconsul#254: a runtime's own signals arrive", &["complaints::nobody_sends_what_nobody_sent"]),
    (
        "envconsul#317: a shell gets the KILL and the program lives on",
        &["complaints::no_shell_stands_between", "supervise_signals::after_a_while_the_command_is_killed"],
    ),
    ("envconsul#98, #221: a real exec", &["transparent::the_command_is_the_process_that_was_started"]),
    (
        "chamber#37: KILL to the launcher leaves an orphan",
        &["supervise_processes::what_kills_us_kills_the_command"],
    ),
    (
        "aws-vault#453: Ctrl-C is not passed on and jobs hang",
        &["modes::exec::ctrl_c_runs_its_handler", "supervise_terminal::a_job_is_stopped_and_continued"],
    ),
    (
        "aws-vault#44: pid, signals, exit status and title are lost",
        &["transparent::with_allow_core_nothing_at_all_is_different", "modes::exec::surroundings"],
    ),
    ("aws-vault#107: exit 2 becomes 0", &["supervise::every_exit_code_is_passed_on_and_nothing_is_said"]),
    (
        "pi-dispatch#210: exit 2 and 3 become 1",
        &["modes::exec::exit_codes", "modes::init::exit_codes", "modes::watch::exit_codes"],
    ),
    (
        "infisical#2356: Ctrl-C becomes exit 1",
        &[
            "supervise::a_death_by_a_signal_is_ours_too_without_a_core",
            "complaints::ctrl_c_is_a_death_by_sigint",
        ],
    ),
    (
        "sops#840: exec-env passes nothing on",
        &["modes::exec::signals_sent_to_it", "supervise_signals::each_arrives_exactly_once"],
    ),
    ("sops#627: the command's code is not returned", &["modes::exec::exit_codes"]),
    (
        "doppler#127, #142: a terminal's Ctrl-C arrives twice",
        &["supervise_terminal::the_command_has_the_foreground_and_ctrl_c_reaches_it_once"],
    ),
    (
        "bank-vaults#956, #934: only the first signal, none before the start",
        &[
            "complaints::every_signal_of_many_arrives",
            "supervise_signals::a_signal_at_any_moment_of_the_start_is_not_lost",
            "signals::a_signal_during_any_stage_kills_us_at_once",
        ],
    ),
    (
        "vault#20950, #20940, #20917: an end at a restart, needless restarts",
        &[
            "watch::a_change_restarts_the_command_once",
            "watch::a_burst_of_changes_restarts_it_once",
            "watch::what_is_not_injected_restarts_nothing",
        ],
    ),
    (
        "tini#138, #164: who reaps what has a living parent",
        &[
            "supervise_processes::orphans_are_reaped_as_subreaper",
            "supervise_processes::orphans_are_reaped_as_pid_1",
        ],
    ),
    (
        "tini#95, #236: the whole group, adopted children",
        &[
            "supervise_signals::the_group_gets_them_if_wished",
            "supervise_processes::an_orphan_does_not_keep_us",
        ],
    ),
    (
        "docker/cli#3909: an init changes what USR2 and HUP do to a program without handlers",
        &[
            "complaints::as_pid_1_only_an_init_changes_the_default",
            "modes::init::default_dispositions",
            "modes::watch::default_dispositions",
        ],
    ),
    (
        "fnox#339: silence when the command fails, no file left behind",
        &["supervise::every_exit_code_is_passed_on_and_nothing_is_said", "modes::init::files_without_a_path"],
    ),
];

#[test]
fn every_complaint_has_its_tests() {
    let list = Command::new(std::env::current_exe().unwrap())
        .args(["--list", "--include-ignored"])
        .output()
        .unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let known: BTreeSet<&str> = list.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    for (complaint, tests) in COMPLAINTS {
        assert!(!tests.is_empty(), "{complaint}");
        for test in tests {
            assert!(known.contains(test), "{complaint}: there is no {test}");
        }
    }
}

#[test]
fn term_ends_both() {
    let scenario = scenario();
    let running = staying(&scenario).command(["sleep", "1000"]).start();
    let command = child(running.pid(), "sleep");
    running.signal(libc::SIGTERM);
    assert_eq!(running.finish().signal(), Some(libc::SIGTERM));
    assert_eq!(proc::state(command), None, "it was reaped before we ended");
}

/// Three times, for a launcher that reloads itself would do it at any of them.
#[test]
fn hup_is_the_commands() {
    let scenario = scenario();
    for mode in ["--init", "--watch"] {
        let recorder = Recorder::new();
        let running = scenario.launch().option(mode).command(recorder.command()).start();
        recorder.ready();
        scenario.vault.clear_log();
        for turn in 1..4 {
            running.signal(libc::SIGHUP);
            recorder.wait_for("1", turn);
        }
        assert_eq!(recorder.signals(), [libc::SIGHUP; 3]);
        assert_eq!(scenario.vault.requests().len(), 0, "it means nothing to us");
    }
}

/// Threads, timers and requests of ours come with no signal to the command: SIGURG is Go's.
#[test]
fn nobody_sends_what_nobody_sent() {
    use crate::support::vault::Endpoint;
    let (scenario, recorder) = (scenario(), Recorder::new());
    let running = scenario.launch().option("--watch=1s").command(recorder.command()).start();
    recorder.ready();
    scenario.vault.clear_log();
    let polled = scenario.vault.wait_for(crate::support::PATIENCE, |requests| {
        requests.iter().filter(|request| request.endpoint == Endpoint::Sync).count() >= 2
    });
    assert!(polled, "it polls");
    running.signal(libc::SIGUSR1);
    recorder.wait_for("10", 1);
    assert_eq!(recorder.signals(), [libc::SIGUSR1]);
}

#[test]
fn no_shell_stands_between() {
    let scenario = scenario();
    for mode in ["--init", "--watch"] {
        // An argument that a shell would take apart.
        let launch = scenario.launch().option(mode).option("--kill-after=200ms");
        let script = "$SIG{TERM} = 'IGNORE'; sleep 1000; # $(id) ; ' \"";
        let running = launch.command(["perl", "-e", script]).start();
        let command = child(running.pid(), "perl");
        assert_eq!(proc::text(command, "cmdline"), format!("perl\0-e\0{script}\0"));
        eventually("it ignores", || {
            proc::signals(&proc::text(command, "status"), "SigIgn").contains(&libc::SIGTERM)
        });
        running.signal(libc::SIGTERM);
        assert_eq!(running.finish().signal(), Some(libc::SIGKILL));
        assert_eq!(proc::state(command), None, "the program itself was killed");
    }
}

#[test]
fn ctrl_c_is_a_death_by_sigint() {
    let scenario = scenario();
    for options in [&[][..], &["--init"], &["--watch"]] {
        let launch = scenario.launch().options(options).command(["cat"]);
        let (terminal, running) = crate::support::terminal::Terminal::start(launch.launcher());
        terminal.types("one\n");
        terminal.shows("one\r\none\r\n");
        terminal.types("\x03");
        assert_eq!(running.finish().signal(), Some(libc::SIGINT), "{options:?}");
    }
}

/// Twenty at once, and again: each is passed on.
#[test]
fn every_signal_of_many_arrives() {
    let scenario = scenario();
    for mode in ["--init", "--watch"] {
        let recorder = Recorder::new();
        let running = scenario.launch().option(mode).command(recorder.command()).start();
        recorder.ready();
        for round in 1..=5 {
            // perl counts each of them once at a time.
            (34..54).for_each(|signal| running.signal(signal));
            eventually("all have arrived", || recorder.signals().len() >= 20 * round);
        }
        running.signal(libc::SIGUSR1);
        recorder.wait_for("10", 1);
        assert_eq!(recorder.signals().len(), 101);
    }
}

/// Plain PID 1 has no default that ends it, and the kernel keeps that across exec: there nothing changes.
#[test]
#[ignore = "needs root"]
fn as_pid_1_only_an_init_changes_the_default() {
    let unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let scenario = scenario();
    for signal in [libc::SIGHUP, libc::SIGUSR2] {
        let running = scenario.launch().under(unshare).command(["sleep", "1000"]).start();
        let command = child(running.pid(), "sleep");
        // SAFETY: PID 1 of a namespace that lives as long as this test wants.
        assert_eq!(unsafe { libc::kill(command, signal) }, 0);
        assert_eq!(proc::signals(&proc::text(command, "status"), "ShdPnd"), [0; 0], "it was dropped");
        assert!(proc::state(command).is_some_and(|(state, _)| state == 'S'), "it lives");
        let running = staying(&scenario).under(unshare).command(["sleep", "1000"]).start();
        let init = child(running.pid(), "bws-exec");
        child(init, "sleep");
        // SAFETY: as above.
        assert_eq!(unsafe { libc::kill(init, signal) }, 0);
        assert_eq!(running.finish().code(), Some(128 + signal));
    }
}
