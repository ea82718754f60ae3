//! Many launches at once: one of them asks for all, and none waits for it in vain.

use std::os::unix::process::CommandExt as _;
use std::time::{Duration, Instant};

use crate::cache::{Cached, without_ages};
use crate::support::vault::{Endpoint, Fault, Service, Where};
use crate::support::{Launch, Outcome, PATIENCE, Running, eventually};

use Endpoint::{Login, Sync};

const LATE: &str =
    "bws-exec: notice: another launch has asked the server for long; it is not waited for any more\n";

fn many(number: usize, launch: impl Fn() -> Launch) -> Vec<Outcome> {
    let started: Vec<Running> = (0..number).map(|_| launch().start()).collect();
    started.into_iter().map(Running::finish).collect()
}

fn count(asked: &[Endpoint], endpoint: Endpoint) -> usize {
    asked.iter().filter(|&&it| it == endpoint).count()
}

/// A launch that hangs in this request.
fn stalled(cached: &Cached, launch: Launch, at: Endpoint) -> Running {
    cached.scenario.vault.fault_times(1, at, Fault::Stall);
    let before = cached.scenario.vault.count(at);
    let run = launch.start();
    let arrived = cached.scenario.vault.wait_for(PATIENCE, |requests| {
        requests.iter().filter(|request| request.endpoint == at).count() > before
    });
    assert!(arrived, "it has asked");
    run
}

/// Against a server that takes its time for a login, as the cloud does: the first of so few would be
/// through before the last is started.
#[test]
fn two_hundred_at_once_are_one_login_and_one_sync() {
    for number in [2, 10, 50, 200] {
        let cached = Cached::new();
        cached.scenario.vault.fault(Login, Fault::Delay(Duration::from_millis(300)));
        let began = Instant::now();
        let outcomes = many(number, || cached.launch());
        let took = began.elapsed();
        let asked = cached.asked();
        println!("{number}: {} logins, {} syncs, {took:?}", count(&asked, Login), count(&asked, Sync));
        for outcome in outcomes {
            assert_eq!(outcome.succeeded().text(), "value\n");
        }
        assert_eq!(asked, [Login, Sync], "{number}");
    }
}

/// The same without chance: all of them wait before the login is answered.
#[test]
fn all_who_wait_for_a_login_share_its_fetch() {
    for number in [1, 9, 49, 199] {
        let cached = Cached::new();
        let first = stalled(&cached, cached.launch(), Login);
        let others: Vec<Running> = (0..number).map(|_| cached.launch().start()).collect();
        have_lined_up(&cached, number);
        cached.scenario.vault.release();
        assert_eq!(first.finish().succeeded().text(), "value\n");
        for other in others {
            assert_eq!(other.finish().succeeded().text(), "value\n");
        }
        assert_eq!(cached.asked(), [Login, Sync], "{number}");
    }
}

/// Each that waits shows in the lock's file.
#[track_caller]
fn have_lined_up(cached: &Cached, number: u64) {
    let lock = cached.file("lock").expect("there is one");
    eventually("all have lined up", || std::fs::metadata(&lock).is_ok_and(|it| it.len() == number));
}

/// Sharing does not make anything older: nobody gets what was true before it was started.
#[test]
fn many_with_a_kept_session_see_a_change() {
    let cached = Cached::warm();
    cached.change_to("new");
    let outcomes = many(50, || cached.launch());
    let asked = cached.asked();
    println!("{} syncs", asked.len());
    for outcome in outcomes {
        assert_eq!(outcome.succeeded().text(), "new\n");
    }
    assert_eq!(count(&asked, Login), 0);
    assert!(asked.len() <= 5, "{asked:?}");
}

/// What was fetched from a moment before the start on is not good enough.
#[test]
fn a_fetch_that_began_before_the_start_is_not_shared() {
    let cached = Cached::warm();
    let first = stalled(&cached, cached.launch(), Sync);
    cached.change_to("new");
    let second = cached.launch().start();
    have_lined_up(&cached, 1);
    cached.scenario.vault.release();
    first.finish().succeeded();
    assert_eq!(second.finish().succeeded().text(), "new\n");
    assert_eq!(cached.asked(), [Sync, Sync], "its own");
}

/// Whoever waits gets what the one before it brings, if it began late enough.
#[test]
fn those_who_wait_share_one_fetch() {
    let cached = Cached::warm();
    let first = stalled(&cached, cached.launch(), Sync);
    cached.change_to("new");
    let others: Vec<Running> = (0..20).map(|_| cached.launch().start()).collect();
    have_lined_up(&cached, 20);
    cached.scenario.vault.release();
    first.finish().succeeded();
    for other in others {
        assert_eq!(other.finish().succeeded().text(), "new\n");
    }
    assert_eq!(cached.asked(), [Sync, Sync], "one more for all of them");
}

/// A launch that holds the lock and is stopped, or whose server hangs, costs half of the time.
#[test]
fn a_holder_that_does_not_go_on_is_waited_for_half_of_the_time() {
    for stop in [true, false] {
        let cached = Cached::new();
        let holder = stalled(&cached, cached.launch(), Login);
        if stop {
            holder.signal(libc::SIGSTOP);
        }
        let outcome = cached.run(&["-v", "--deadline", "4s"]);
        assert_eq!((outcome.text().as_str(), outcome.stderr.as_str()), ("value\n", LATE));
        let (least, most) = (Duration::from_millis(1500), Duration::from_millis(3500));
        assert!(outcome.took > least && outcome.took < most, "{:?}", outcome.took);
        assert_eq!(cached.asked(), [Login, Login, Sync]);
        // What the one alone has kept serves all that come later, holder or not.
        assert_eq!(cached.run(&["--max-age", "1h"]).succeeded().text(), "value\n");
        if stop {
            holder.signal(libc::SIGCONT);
        }
        cached.scenario.vault.release();
        assert_eq!(holder.finish().succeeded().text(), "value\n", "nor is it any worse off");
    }
}

/// With a copy it is half of the five seconds, and the rest for the one attempt.
#[test]
fn a_copy_shortens_the_wait_for_a_holder() {
    let cached = Cached::warm();
    let holder = stalled(&cached, cached.launch(), Sync);
    holder.signal(libc::SIGSTOP);
    cached.scenario.vault.fault(Where::Connect(Service::Api), Fault::Stall);
    let outcome = cached.run(&["-v"]);
    assert_eq!(outcome.text(), "value\n");
    assert!(outcome.stderr.starts_with(LATE), "{}", outcome.stderr);
    let stderr = without_ages(&outcome.stderr);
    assert!(stderr.ends_with("; using the copy fetched Ns ago, with a login Ns ago\n"), "{stderr}");
    assert!(outcome.took < Duration::from_secs(7), "{:?}", outcome.took);
    drop(holder);
}

/// The kernel lets go of a dead process's lock.
#[test]
fn a_killed_holder_is_not_waited_for() {
    let cached = Cached::new();
    let holder = stalled(&cached, cached.launch(), Login);
    let waiting = cached.launch().option("-v").start();
    have_lined_up(&cached, 1);
    holder.signal(libc::SIGKILL);
    assert_eq!(holder.finish().signal(), Some(libc::SIGKILL));
    let outcome = waiting.finish();
    assert_eq!(outcome.succeeded().text(), "value\n", "without a word");
    assert!(outcome.took < Duration::from_secs(10), "{:?}", outcome.took);
    assert_eq!(cached.asked(), [Login, Login, Sync]);
}

#[test]
fn tokens_do_not_wait_for_each_other() {
    let cached = Cached::new();
    let holder = stalled(&cached, cached.launch(), Login);
    let other = cached.scenario.vault.owner().create_token(cached.scenario.account, "other", None);
    let outcome = cached.launch().env("BWS_ACCESS_TOKEN", other).run();
    assert_eq!(outcome.succeeded().text(), "value\n");
    assert!(outcome.took < Duration::from_secs(10), "not half of the deadline: {:?}", outcome.took);
    assert_eq!(cached.asked(), [Login, Login, Sync]);
    cached.scenario.vault.release();
    holder.finish().succeeded();
    assert_eq!(cached.asked(), [Sync]);
}

/// NFS without a lock daemon, for example. Nothing is shared, and everything else works.
#[test]
fn a_file_system_without_locks_is_enough() {
    let cached = Cached::new();
    let run = || Running::new(without_locks(cached.launch().option("-v")), None).finish();
    let outcome = run();
    assert_eq!(outcome.text(), "value\n");
    let lock = cached.file("lock").expect("there is one");
    let notice = format!(
        "bws-exec: notice: cannot lock {}: No locks available (os error 37); other launches are not waited for\n",
        lock.display()
    );
    assert_eq!(outcome.stderr, notice);
    assert_eq!(cached.asked(), [Login, Sync]);
    assert_eq!(run().text(), "value\n");
    assert_eq!(cached.asked(), [Sync], "copy and session are kept all the same");

    let quiet = Running::new(without_locks(cached.launch()), None).finish();
    assert_eq!(quiet.succeeded().text(), "value\n");
}

/// Every `flock` of the process fails with `ENOLCK`.
fn without_locks(launch: Launch) -> std::process::Command {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, k, jt| libc::sock_filter { code, jt, jf: 0, k };
    let mut filter = [
        // The number of the system call is the first field.
        step(LOAD, 0, 0),
        step(IF_EQUAL, libc::SYS_flock as u32, 1),
        step(RETURN, libc::SECCOMP_RET_ALLOW, 0),
        step(RETURN, libc::SECCOMP_RET_ERRNO | libc::ENOLCK as u32, 0),
    ];
    let mut process = launch.launcher();
    // SAFETY: two system calls; the filter lives in the closure.
    unsafe {
        process.pre_exec(move || {
            let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
            let mode = libc::SECCOMP_MODE_FILTER;
            let set = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) == 0;
            if set { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        });
    }
    process
}

/// A launch that is at work while another one is told that the token is revoked does not put back what
/// that one deletes, whatever it holds: a fetch by a session that was kept, or by one of its own.
#[test]
fn what_a_refusal_deletes_is_not_written_again() {
    for own_session in [false, true] {
        let cached = if own_session { Cached::new() } else { Cached::warm() };
        let busy = stalled(&cached, cached.launch(), Sync);
        cached.scenario.vault.owner().revoke_token(&cached.scenario.token);
        // The busy one holds the lock, so this one goes alone in the end.
        let refused = cached.launch().options(["--no-session-cache", "--deadline", "2s"]).run();
        refused.failed_with(125, "invalid-client");
        cached.scenario.vault.release();
        assert_eq!(busy.finish().succeeded().text(), "value\n", "its bearer is good for an hour");
        assert_eq!((cached.file("snapshot"), cached.file("session")), (None, None), "{own_session}");
        cached.run(&["--offline"]).failed_with(75, "no-copy");
    }
}

/// Nor does anything stay that was about to be written by a launch that was killed.
#[test]
fn a_refusal_deletes_temporary_files_too() {
    let cached = Cached::warm();
    for kind in ["snapshot", "session"] {
        let path = cached.file(kind).expect("it was kept");
        std::fs::copy(&path, format!("{}.0123456789abcdef.tmp", path.display())).expect("there is room");
    }
    cached.scenario.vault.owner().revoke_token(&cached.scenario.token);
    cached.run(&["--no-session-cache"]).failed_with(125, "invalid-client");
    assert_eq!((cached.file("tmp"), cached.file("snapshot"), cached.file("session")), (None, None, None));
}

/// Whoever wants a login at each start is not served by another's session, however many there are.
#[test]
fn a_strict_launch_does_not_share_what_a_kept_session_brought() {
    for _ in 0..3 {
        let cached = Cached::warm();
        cached.scenario.vault.owner().revoke_token(&cached.scenario.token);
        let others: Vec<Running> = (0..20).map(|_| cached.launch().start()).collect();
        let strict = cached.launch().option("--no-session-cache").run();
        strict.failed_with(125, "invalid-client");
        assert_eq!(strict.text(), "");
        others.into_iter().for_each(|other| drop(other.finish()));
    }
}

/// One refusal is the answer for all that wait for it.
#[test]
fn a_refusal_is_shared() {
    let cached = Cached::new();
    cached.scenario.vault.owner().revoke_token(&cached.scenario.token);
    let first = stalled(&cached, cached.launch(), Login);
    let others: Vec<Running> = (0..20).map(|_| cached.launch().start()).collect();
    let lock = cached.file("lock").expect("the first holds it");
    eventually("all wait", || std::fs::metadata(&lock).is_ok_and(|status| status.len() == 20));
    cached.scenario.vault.release();
    for run in [first].into_iter().chain(others) {
        run.finish().failed_with(125, "invalid-client");
    }
    assert_eq!(cached.asked(), [Login]);
}

/// A slow fetch that began before a faster one brings what was true before, and is not kept.
#[test]
fn an_older_fetch_does_not_replace_a_newer_one() {
    let cached = Cached::warm();
    // The answer is made before it stalls, or after: either way this fetch has begun first.
    let slow = stalled(&cached, cached.launch(), Sync);
    cached.change_to("new");
    assert_eq!(cached.run(&[]).text(), "new\n");
    let kept = std::fs::read(cached.file("snapshot").expect("it was kept")).expect("it is ours");
    cached.scenario.vault.release();
    slow.finish().succeeded();
    let after = std::fs::read(cached.file("snapshot").expect("it was kept")).expect("it is ours");
    assert!(after == kept, "the newer one is there, untouched");
}
