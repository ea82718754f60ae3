//! A signal during the fetch ends us as it would end the command.

use std::os::unix::process::CommandExt;
use std::time::Duration;

use crate::support::vault::{Endpoint, Fault, Service, Where};
use crate::support::{Launch, PATIENCE, Running, Scenario, eventually, proc};

const SIGNALS: [i32; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];
/// What is left of the patience would not do for a deadline, so only the signal can have ended it.
const PROMPTLY: Duration = Duration::from_secs(20);

/// Where a launch can be held up.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Connecting,
    LoggingIn,
    Fetching,
}

const STAGES: [Stage; 3] = [Stage::Connecting, Stage::LoggingIn, Stage::Fetching];

impl Stage {
    fn stall(self, scenario: &Scenario) {
        let at = match self {
            Self::Connecting => Where::Connect(Service::Identity),
            Self::LoggingIn => Endpoint::Login.into(),
            Self::Fetching => Endpoint::Sync.into(),
        };
        scenario.vault.clear_log();
        scenario.vault.fault_times(1, at, Fault::Stall);
    }

    #[track_caller]
    fn wait(self, scenario: &Scenario) {
        let reached = |endpoint| {
            scenario.vault.wait_for(PATIENCE, |requests| requests.iter().any(|r| r.endpoint == endpoint))
        };
        assert!(match self {
            Self::Connecting => scenario.vault.wait_for_connections(PATIENCE, 1),
            Self::LoggingIn => reached(Endpoint::Login),
            Self::Fetching => reached(Endpoint::Sync),
        });
    }
}

/// A launch that ends by nothing but a signal, somewhere where a core would not matter.
fn patient(scenario: &Scenario, directory: &tempfile::TempDir) -> Launch {
    scenario.launch().directory(directory.path()).options(["--deadline", "1h"])
}

#[test]
fn a_signal_during_any_stage_kills_us_at_once() {
    let (scenario, directory) = (Scenario::new().secret("KEY", "value"), tempfile::tempdir().unwrap());
    for stage in STAGES {
        for signal in SIGNALS {
            stage.stall(&scenario);
            let running = patient(&scenario, &directory).command(["echo", "ran"]).start();
            stage.wait(&scenario);
            let sent = std::time::Instant::now();
            running.signal(signal);
            let outcome = running.finish();
            assert_eq!(outcome.signal(), Some(signal), "{stage:?}: {}", outcome.stderr);
            assert_eq!((outcome.text(), outcome.stderr), (String::new(), String::new()), "{stage:?}");
            assert!(sent.elapsed() < PROMPTLY);
            scenario.vault.release();
        }
    }
}

#[test]
fn an_ignored_signal_does_not_end_the_fetch_and_stays_ignored() {
    let (scenario, directory) = (Scenario::new().secret("KEY", "value"), tempfile::tempdir().unwrap());
    for stage in STAGES {
        for signal in SIGNALS {
            stage.stall(&scenario);
            let ignoring = format!("--ignore-signal={signal}");
            let launch = patient(&scenario, &directory).under(["env", &ignoring]);
            let running = launch.command(["cat", "/proc/self/status"]).start();
            stage.wait(&scenario);
            running.signal(signal);
            scenario.vault.release();
            let outcome = running.finish();
            outcome.succeeded();
            assert_eq!(proc::signals(&outcome.text(), "SigIgn"), [signal], "{stage:?}");
        }
    }
}

#[test]
fn a_hangup_during_the_fetch_does_not_end_what_nohup_started() {
    let (scenario, directory) = (Scenario::new().secret("KEY", "value"), tempfile::tempdir().unwrap());
    Stage::LoggingIn.stall(&scenario);
    let command = ["sh", "-c", "kill -HUP $$; echo \"$KEY\""];
    let running = patient(&scenario, &directory).under(["nohup"]).command(command).start();
    Stage::LoggingIn.wait(&scenario);
    running.signal(libc::SIGHUP);
    scenario.vault.release();
    let outcome = running.finish();
    outcome.succeeded();
    assert_eq!(outcome.text(), "value\n");
}

#[test]
fn a_shells_loop_stops_on_interrupt() {
    let (scenario, directory) = (Scenario::new().secret("KEY", "value"), tempfile::tempdir().unwrap());
    Stage::LoggingIn.stall(&scenario);
    // Not endless, for the day when it does not stop.
    let shell = "for turn in 1 2 3; do \"$@\"; echo \"turn $turn\"; done";
    let launch = patient(&scenario, &directory).under(["bash", "-c", shell, "bash"]);
    let mut process = launch.command(["true"]).launcher();
    // As in a terminal's foreground: the signal goes to the whole group.
    process.process_group(0);
    let running = Running::new(process, None);
    Stage::LoggingIn.wait(&scenario);
    // SAFETY: the group is the child's own, which is not reaped yet.
    assert_eq!(unsafe { libc::kill(-running.pid(), libc::SIGINT) }, 0);
    let outcome = running.finish();
    assert_eq!((outcome.signal(), outcome.text()), (Some(libc::SIGINT), String::new()));
    assert_eq!(scenario.vault.count(Endpoint::Login), 1, "the loop did not go on");
}

/// Starts it as PID 1 of a namespace and waits until it is stalled. The second number is its own, as
/// seen from here.
#[track_caller]
fn as_pid_1(scenario: &Scenario, launch: Launch, wrapper: &[&str], stage: Stage) -> (Running, i32) {
    stage.stall(scenario);
    let unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let running = launch.under(unshare.iter().chain(wrapper)).start();
    stage.wait(scenario);
    let [init] = proc::children(running.pid())[..] else { panic!("unshare has one child") };
    let status = proc::text(init, "status");
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:\t")).unwrap();
    assert_eq!(numbers.split('\t').next_back(), Some("1"), "it is PID 1 in there");
    (running, init)
}

fn kill(pid: i32, signal: i32) {
    // SAFETY: a process that its parent, which waits for us, has not reaped.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

#[test]
#[ignore = "needs root"]
fn as_pid_1_a_signal_during_any_stage_ends_us_with_the_shells_code() {
    let (scenario, directory) = (Scenario::new().secret("KEY", "value"), tempfile::tempdir().unwrap());
    for stage in STAGES {
        for signal in SIGNALS {
            let launch = patient(&scenario, &directory).command(["echo", "ran"]);
            let (running, init) = as_pid_1(&scenario, launch, &[], stage);
            kill(init, signal);
            let outcome = running.finish();
            assert_eq!(outcome.code(), Some(128 + signal), "{stage:?}: {}", outcome.stderr);
            assert_eq!(outcome.text(), "");
            scenario.vault.release();
        }
    }
}

#[test]
#[ignore = "needs root"]
fn as_pid_1_ignored_signals_stay_ignored_and_no_handler_outlives_the_launch() {
    let (scenario, directory) = (Scenario::new().secret("KEY", "value"), tempfile::tempdir().unwrap());
    let launch = patient(&scenario, &directory).command(["cat", "/proc/self/status"]);
    let ignoring = ["env", "--ignore-signal=HUP,INT"];
    let (running, init) = as_pid_1(&scenario, launch, &ignoring, Stage::LoggingIn);
    kill(init, libc::SIGHUP);
    kill(init, libc::SIGINT);
    scenario.vault.release();
    let outcome = running.finish();
    outcome.succeeded();
    assert_eq!(proc::signals(&outcome.text(), "SigIgn"), [libc::SIGHUP, libc::SIGINT]);
    assert_eq!(proc::signals(&outcome.text(), "SigCgt"), [0; 0]);
}

#[test]
#[ignore = "needs root"]
fn as_pid_1_the_command_is_pid_1() {
    let (scenario, directory) = (Scenario::new().secret("KEY", "value"), tempfile::tempdir().unwrap());
    let launch = patient(&scenario, &directory).command(["sleep", "1000"]);
    let (running, init) = as_pid_1(&scenario, launch, &[], Stage::Fetching);
    scenario.vault.release();
    eventually("the command is there", || proc::state(init) == Some(('S', "sleep".into())));
    drop(running);
}
