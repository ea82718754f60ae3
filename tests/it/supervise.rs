//! `--init`: the command's end, its surroundings, and what we leave it and ourselves.

use crate::support::{Launch, Scenario, eventually, proc};

pub fn scenario() -> Scenario {
    Scenario::new().secret("KEY", "value")
}

/// A launch that stays.
pub fn staying(scenario: &Scenario) -> Launch {
    scenario.launch().option("--init")
}

/// The one child of a launcher, once it sleeps in this program.
#[track_caller]
pub fn child(launcher: i32, program: &str) -> i32 {
    let mut found = 0;
    eventually(&format!("{program} runs"), || {
        found = proc::children(launcher).first().copied().unwrap_or_default();
        proc::state(found) == Some(('S', program.to_owned()))
    });
    found
}

#[test]
fn every_exit_code_is_passed_on_and_nothing_is_said() {
    let scenario = scenario();
    for codes in (0..=255).collect::<Vec<i32>>().chunks(16) {
        let running: Vec<_> = codes
            .iter()
            .map(|code| staying(&scenario).command(["sh", "-c", &format!("exit {code}")]).start())
            .collect();
        for (code, running) in codes.iter().zip(running) {
            let outcome = running.finish();
            assert_eq!((outcome.code(), outcome.stderr.as_str()), (Some(*code), ""));
        }
    }
}

#[test]
fn a_death_by_a_signal_is_ours_too_without_a_core() {
    let scenario = scenario();
    for signal in deadly() {
        let script = format!("kill -{signal} $$");
        let outcome = staying(&scenario).command(["sh", "-c", &script]).run();
        assert_eq!((outcome.signal(), outcome.stderr.as_str()), (Some(signal), ""), "{signal}");
        assert!(!std::os::unix::process::ExitStatusExt::core_dumped(&outcome.status), "{signal}");
    }
}

#[test]
fn secrets_arrive_in_variables_and_files() {
    let script = "cat \"$F\"; printf ' %s' \"$M\"";
    let scenario = scenario();
    let launch = staying(&scenario).options(["--map", "M=KEY", "--file", "F=KEY"]);
    let outcome = launch.command(["sh", "-c", script]).run();
    assert_eq!(outcome.succeeded().text(), "value value");
}

/// Those that end a process by default.
fn deadly() -> impl Iterator<Item = i32> {
    let not = [
        libc::SIGCHLD,
        libc::SIGCONT,
        libc::SIGSTOP,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
        libc::SIGURG,
        libc::SIGWINCH,
    ];
    (1..=64).filter(move |signal| !not.contains(signal))
}
