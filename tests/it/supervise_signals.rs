//! `--init`: each signal that is sent to us arrives once.

use std::time::Duration;

use crate::supervise::{child, scenario, staying};
use crate::support::recorder::Recorder;
use crate::support::{Running, Scenario, eventually, proc};

/// A recorder under a launcher that stays, ready.
fn recording(scenario: &Scenario, recorder: &Recorder, options: &[&str]) -> Running {
    let running = staying(scenario).options(options).command(recorder.command()).start();
    recorder.ready();
    running
}

/// Those that are passed on and that perl can catch.
fn forwarded() -> Vec<i32> {
    let not = [libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD, 32, 33];
    (1..=64).filter(|signal| !not.contains(signal)).collect()
}

#[test]
fn each_arrives_exactly_once() {
    let (scenario, recorder) = (scenario(), Recorder::new());
    let running = recording(&scenario, &recorder, &["--kill-after", "0"]);
    for (number, signal) in forwarded().into_iter().enumerate() {
        running.signal(signal);
        eventually(&format!("{signal} arrives"), || recorder.signals().len() > number);
    }
    assert_eq!(recorder.signals(), forwarded());
}

/// Also what was inherited as ignored: the command may have changed its mind, as nginx does for HUP.
#[test]
fn ignored_ones_are_the_commands_to_ignore() {
    let (scenario, recorder) = (scenario(), Recorder::new());
    let launch = staying(&scenario).under(["nohup"]).command(recorder.command());
    let running = launch.start();
    recorder.ready();
    running.signal(libc::SIGHUP);
    recorder.wait_for("1", 1);
    let launch = staying(&scenario).under(["nohup"]).command(["sh", "-c", "echo; cat"]).stdin("");
    assert_eq!(launch.run().code(), Some(0));
}

/// A status line beyond the file size limit raises SIGXFSZ, as one that nobody reads raises SIGPIPE.
#[test]
fn what_we_raise_ourselves_stays_ours() {
    let (scenario, recorder, status) = (scenario(), Recorder::new(), tempfile::NamedTempFile::new().unwrap());
    let launch = staying(&scenario).options(["--status-fd", "9"]).descriptor(9, status.reopen().unwrap());
    // Room for the lines before the command starts, and a part of the next.
    let running = launch.under(["prlimit", "--fsize=80"]).command(recorder.command()).start();
    recorder.ready();
    eventually("the limit is reached", || status.as_file().metadata().unwrap().len() == 80);
    running.signal(libc::SIGUSR1);
    recorder.wait_for("10", 1);
    assert_eq!(recorder.signals(), [libc::SIGUSR1]);
}

#[test]
fn an_ignored_term_is_no_request_to_end() {
    let scenario = scenario();
    let command = ["sh", "-c", "kill -TERM $PPID; kill -INT $PPID; kill -INT $PPID; exec sleep 0.3"];
    let ignoring = ["env", "--ignore-signal=TERM,INT"];
    staying(&scenario).option("--kill-after=1ms").under(ignoring).command(command).run().succeeded();
}

#[test]
fn a_signal_at_any_moment_of_the_start_is_not_lost() {
    let scenario = scenario();
    for turn in 0..60 {
        let running = staying(&scenario).command(["sleep", "1000"]).start();
        eventually("it has forked", || !proc::children(running.pid()).is_empty());
        for _ in 0..turn * 2000 {
            std::hint::spin_loop();
        }
        running.signal(libc::SIGTERM);
        let outcome = running.finish();
        assert_eq!((outcome.signal(), outcome.stderr.as_str()), (Some(libc::SIGTERM), ""));
    }
}

#[test]
fn after_a_while_the_command_is_killed() {
    let (scenario, recorder) = (scenario(), Recorder::new());
    let running = recording(&scenario, &recorder, &["--kill-after", "200ms"]);
    // None of these asks it to end.
    for signal in [libc::SIGHUP, libc::SIGQUIT, libc::SIGINT] {
        running.signal(signal);
        recorder.wait_for(&signal.to_string(), 1);
    }
    let began = std::time::Instant::now();
    running.signal(libc::SIGTERM);
    let outcome = running.finish();
    assert_eq!((outcome.signal(), outcome.stderr.as_str()), (Some(libc::SIGKILL), ""));
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert_eq!(recorder.signals().last(), Some(&libc::SIGTERM));
}

#[test]
fn a_second_interrupt_kills() {
    let (scenario, recorder) = (scenario(), Recorder::new());
    let running = recording(&scenario, &recorder, &["--kill-after", "1h"]);
    running.signal(libc::SIGINT);
    recorder.wait_for("2", 1);
    running.signal(libc::SIGINT);
    assert_eq!(running.finish().signal(), Some(libc::SIGKILL));
    assert_eq!(recorder.signals(), [libc::SIGINT]);
}

#[test]
fn the_group_gets_them_if_wished() {
    let scenario = scenario();
    for (option, times) in [("--init", 1), ("--signal-group", 2)] {
        let recorder = Recorder::twice();
        // clap takes a flag once.
        let launch = scenario.launch().options([option]);
        let launch = if option == "--init" { launch } else { launch.option("--init") };
        let running = launch.command(recorder.command()).start();
        recorder.ready();
        running.signal(libc::SIGUSR1);
        recorder.wait_for("10", times);
        running.signal(libc::SIGUSR2);
        recorder.wait_for("12", times);
        assert_eq!(recorder.signals().len(), 2 * times, "{option}");
        let command = child(running.pid(), "perl");
        // SAFETY: the group of the recorder, which the launcher has not reaped.
        unsafe { libc::kill(-command, libc::SIGKILL) };
        assert_eq!(running.finish().signal(), Some(libc::SIGKILL));
    }
}

#[test]
#[ignore = "needs root"]
fn as_pid_1_the_code_is_the_shells() {
    let scenario = scenario();
    let unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    for signal in [libc::SIGTERM, libc::SIGKILL, libc::SIGINT, 40] {
        let script = format!("kill -{signal} $$");
        let outcome = staying(&scenario).under(unshare).command(["sh", "-c", &script]).run();
        assert_eq!((outcome.code(), outcome.stderr.as_str()), (Some(128 + signal), ""));
    }
    let recorder = Recorder::new();
    let running =
        staying(&scenario).under(unshare).options(["--kill-after", "0"]).command(recorder.command()).start();
    recorder.ready();
    let [init] = proc::children(running.pid())[..] else { panic!("unshare has one child") };
    for (number, signal) in forwarded().into_iter().enumerate() {
        // SAFETY: PID 1 of a namespace that lives as long as this test wants.
        assert_eq!(unsafe { libc::kill(init, signal) }, 0);
        eventually(&format!("{signal} arrives"), || recorder.signals().len() > number);
    }
    assert_eq!(recorder.signals(), forwarded());
}
