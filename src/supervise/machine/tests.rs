use proptest::prelude::*;

use super::*;

const AFTER: Duration = Duration::from_secs(10);

fn rules() -> Rules {
    Rules { kill_after: Some(AFTER), term_ignored: false, int_ignored: false, on_change: OnChange::Restart }
}

/// A machine whose command runs, and a clock.
struct Run {
    machine: Machine,
    start: Instant,
}

impl Run {
    fn new(rules: Rules) -> Self {
        let (mut machine, start) = (Machine::new(rules), Instant::now());
        assert_eq!(machine.on(Event::Begin, start), Some(Action::Start));
        Self { machine, start }
    }

    fn at(&mut self, seconds: u64, event: Event) -> Option<Action> {
        self.machine.on(event, self.start + Duration::from_secs(seconds))
    }

    fn due(&self) -> Option<Duration> {
        self.machine.due().map(|at| at - self.start)
    }
}

const fn stopped(signal: i32, terminal: Terminal) -> Event {
    Event::Command(Change::Stopped(signal), terminal)
}

#[test]
fn term_and_then_kill() {
    let mut run = Run::new(rules());
    let term = Event::Signal(libc::SIGTERM);
    assert_eq!(run.at(1, term), Some(Action::Forward(libc::SIGTERM)));
    assert_eq!(run.at(5, term), Some(Action::Forward(libc::SIGTERM)), "which moves nothing");
    assert_eq!(run.due(), Some(Duration::from_secs(11)));
    assert_eq!(run.at(10, Event::Due), None);
    assert_eq!(run.at(11, Event::Due), Some(Action::Kill));
    assert_eq!((run.due(), run.at(12, Event::Due), run.at(12, term)), (None, None, None));
    let killed = Event::Command(Change::Killed(9), Terminal::Absent);
    assert_eq!(run.at(12, killed), Some(Action::End(Exit::Killed(9))));
}

#[test]
fn two_interrupts() {
    let int = Event::Signal(libc::SIGINT);
    let forward = Some(Action::Forward(libc::SIGINT));
    let mut run = Run::new(rules());
    // Far apart they are what an interactive program is used to.
    assert_eq!([run.at(0, int), run.at(11, int), run.at(22, int)], [forward; 3]);
    assert_eq!(run.due(), None);
    assert_eq!(run.at(32, int), Some(Action::Kill));
    for rules in [Rules { kill_after: None, ..rules() }, Rules { int_ignored: true, ..rules() }] {
        let mut run = Run::new(rules);
        assert_eq!([run.at(0, int), run.at(0, int), run.at(1, int)], [forward; 3]);
    }
}

#[test]
fn nothing_is_due_without_a_request_to_end() {
    for rules in [Rules { kill_after: None, ..rules() }, Rules { term_ignored: true, ..rules() }] {
        let mut run = Run::new(rules);
        assert_eq!(run.at(0, Event::Signal(libc::SIGTERM)), Some(Action::Forward(libc::SIGTERM)));
        assert_eq!(run.due(), None);
    }
    let mut run = Run::new(Rules { kill_after: Some(Duration::MAX), ..rules() });
    assert!(run.at(0, Event::Signal(libc::SIGTERM)).is_some());
    assert_eq!(run.due(), None, "beyond the clock");
}

const GONE: Event = Event::Command(Change::Exited(0), Terminal::Absent);
const TERM: Option<Action> = Some(Action::Forward(libc::SIGTERM));

#[test]
fn a_change_ends_the_command_and_starts_it_anew() {
    let mut run = Run::new(rules());
    assert_eq!(run.at(1, Event::Changed), TERM);
    assert_eq!(run.due(), Some(Duration::from_secs(11)));
    assert_eq!(run.at(2, Event::Changed), None, "it gets the latest anyway");
    assert_eq!((run.at(3, GONE), run.due()), (Some(Action::Start), None));
    // And again, with what does not end by itself.
    assert_eq!(run.at(20, Event::Changed), TERM);
    assert_eq!(run.at(30, Event::Due), Some(Action::Kill));
    let killed = Event::Command(Change::Killed(9), Terminal::Absent);
    assert_eq!(run.at(30, killed), Some(Action::Start));
    assert_eq!(run.at(40, GONE), Some(Action::End(Exit::Command(0))), "its own end is ours");
}

#[test]
fn who_is_asked_to_end_does_not_come_back() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut run = Run::new(rules());
        assert_eq!(run.at(1, Event::Changed), TERM);
        assert_eq!(run.at(2, Event::Signal(signal)), Some(Action::Forward(signal)));
        assert_eq!(run.at(3, GONE), Some(Action::End(Exit::Command(0))));
        // A stop is a stop, also while a change ends us: 75 would make a failure of it.
        let mut run = Run::new(Rules { on_change: OnChange::Exit, ..rules() });
        assert_eq!(run.at(1, Event::Changed), TERM);
        assert_eq!(run.at(2, Event::Signal(signal)), Some(Action::Forward(signal)));
        assert_eq!(run.at(3, GONE), Some(Action::End(Exit::Command(0))));
    }
    let mut run = Run::new(rules());
    assert_eq!(run.at(1, Event::Signal(libc::SIGTERM)), TERM);
    assert_eq!(run.at(2, Event::Changed), None);
    assert_eq!(run.at(3, GONE), Some(Action::End(Exit::Command(0))));
}

#[test]
fn a_change_ends_both_of_us_or_is_told() {
    let mut run = Run::new(Rules { on_change: OnChange::Exit, ..rules() });
    assert_eq!((run.at(1, Event::Changed), run.at(2, Event::Changed)), (TERM, None));
    assert_eq!(run.at(3, GONE), Some(Action::End(Exit::Unavailable)));
    let mut run = Run::new(Rules { on_change: OnChange::Signal(libc::SIGHUP), ..rules() });
    let hup = Some(Action::Forward(libc::SIGHUP));
    assert_eq!((run.at(1, Event::Changed), run.at(2, Event::Changed), run.due()), (hup, hup, None));
    assert_eq!(run.at(3, GONE), Some(Action::End(Exit::Command(0))));
}

#[test]
fn job_control() {
    use Terminal::{Absent, Commands, Others, Ours};
    let (tstp, ttin, ttou) = (libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU);
    let stop = |signal, everyone| Some(Action::Stop { signal, everyone });
    let resume = |foreground| Some(Action::Resume { foreground });
    // What happens when it stops, when the kernel will not stop us, and when somebody continues us.
    let table = [
        (tstp, Commands, stop(tstp, true), resume(true), resume(true)),
        (tstp, Ours, stop(tstp, false), resume(false), resume(false)),
        (tstp, Others, stop(tstp, false), resume(false), resume(false)),
        (ttin, Commands, stop(ttin, true), None, resume(true)),
        (ttin, Others, stop(ttin, false), None, resume(false)),
        (ttou, Others, stop(ttou, false), None, resume(false)),
        (ttin, Ours, resume(true), None, Some(Action::Forward(libc::SIGCONT))),
        (ttou, Ours, resume(true), None, Some(Action::Forward(libc::SIGCONT))),
        (libc::SIGSTOP, Commands, stop(tstp, true), None, resume(true)),
        (libc::SIGSTOP, Ours, None, None, Some(Action::Forward(libc::SIGCONT))),
        (tstp, Absent, None, None, Some(Action::Forward(libc::SIGCONT))),
        (libc::SIGSTOP, Absent, None, None, Some(Action::Forward(libc::SIGCONT))),
    ];
    for (signal, terminal, stops, refused, continued) in table {
        let context = format!("{signal} {terminal:?}");
        let mut run = Run::new(rules());
        assert_eq!(run.at(0, stopped(signal, terminal)), stops, "{context}");
        assert_eq!(run.at(0, Event::NotStopped), refused, "{context}");
        let mut run = Run::new(rules());
        assert_eq!(run.at(0, stopped(signal, terminal)), stops, "{context}");
        assert_eq!(run.at(0, Event::Signal(libc::SIGCONT)), continued, "{context}");
        assert_eq!(run.at(0, Event::Signal(libc::SIGCONT)), Some(Action::Forward(libc::SIGCONT)));
    }
}

fn events() -> impl Strategy<Value = Event> {
    let terminal = prop_oneof![
        Just(Terminal::Absent),
        Just(Terminal::Ours),
        Just(Terminal::Commands),
        Just(Terminal::Others)
    ];
    let stop =
        prop_oneof![Just(libc::SIGTSTP), Just(libc::SIGTTIN), Just(libc::SIGTTOU), Just(libc::SIGSTOP)];
    let change = prop_oneof![
        8 => stop.prop_map(Change::Stopped),
        1 => any::<u8>().prop_map(Change::Exited),
        1 => (1..65).prop_map(Change::Killed),
    ];
    prop_oneof![
        1 => Just(Event::Begin),
        10 => (1..65).prop_map(Event::Signal),
        4 => Just(Event::Signal(libc::SIGTERM)),
        2 => Just(Event::Signal(libc::SIGINT)),
        2 => Just(Event::Signal(libc::SIGCONT)),
        4 => (change, terminal).prop_map(|(change, terminal)| Event::Command(change, terminal)),
        2 => Just(Event::NotStopped),
        4 => Just(Event::Due),
    ]
}

proptest! {
    /// Whatever comes in whatever order: it starts once, ends once and as the command did, kills at most once
    /// and never before its time, sends nothing that was not sent to us, and nothing to what is gone.
    #[test]
    fn any_sequence(events in prop::collection::vec((events(), 0_u64..8), 0..200)) {
        let (mut machine, mut now) = (Machine::new(rules()), Instant::now());
        let (mut begun, mut ended, mut killed) = (false, false, false);
        let (mut asked, mut interrupted) = (None::<Instant>, None::<Instant>);
        for (event, seconds) in events {
            now += Duration::from_secs(seconds);
            let action = machine.on(event, now);
            let gone = !begun || ended || killed;
            match action {
                None => prop_assert!(gone || !matches!(event, Event::Signal(_)), "{event:?} is passed on"),
                Some(Action::Start) => prop_assert!(event == Event::Begin && !begun),
                Some(Action::Forward(signal)) => prop_assert!(!gone && event == Event::Signal(signal)),
                Some(Action::Kill) => {
                    let in_time = asked.is_some_and(|at| now >= at + AFTER);
                    let twice = interrupted.is_some_and(|at| now <= at + AFTER);
                    prop_assert!(!gone);
                    let may = match event {
                        Event::Due => in_time,
                        Event::Signal(libc::SIGINT) => twice,
                        _ => false,
                    };
                    prop_assert!(may);
                }
                Some(Action::Stop { .. }) => prop_assert!(!gone),
                Some(Action::Resume { .. }) => prop_assert!(!gone),
                Some(Action::End(exit)) => {
                    prop_assert!(begun && !ended);
                    let as_it_did = match event {
                        Event::Command(Change::Exited(code), _) => exit == Exit::Command(code),
                        Event::Command(Change::Killed(signal), _) => exit == Exit::Killed(signal),
                        _ => false,
                    };
                    prop_assert!(as_it_did);
                }
            }
            let ends = matches!(event, Event::Command(Change::Exited(_) | Change::Killed(_), _));
            prop_assert_eq!(begun && !ended && ends, matches!(action, Some(Action::End(_))));
            ended |= begun && ends;
            begun |= event == Event::Begin;
            killed |= action == Some(Action::Kill);
            if begun && !gone && event == Event::Signal(libc::SIGTERM) {
                asked = asked.or(Some(now));
            }
            if !gone && event == Event::Signal(libc::SIGINT) {
                interrupted = Some(now);
            }
            let waits = begun && !ended && !killed && asked.is_some();
            prop_assert_eq!(machine.due(), asked.filter(|_| waits).map(|at| at + AFTER));
        }
    }
}

proptest! {
    /// With changes among them: one command at a time, and an end once that one is gone.
    #[test]
    fn any_sequence_with_changes(events in prop::collection::vec((prop_oneof![3 => events(), 1 => Just(Event::Changed)], 0_u64..8), 0..200)) {
        let (mut machine, mut now) = (Machine::new(rules()), Instant::now());
        let (mut runs, mut ended, mut changed) = (false, false, false);
        for (event, seconds) in events {
            now += Duration::from_secs(seconds);
            let action = machine.on(event, now);
            changed |= runs && event == Event::Changed;
            if runs && matches!(event, Event::Command(Change::Exited(_) | Change::Killed(_), _)) {
                runs = false;
                prop_assert!(matches!(action, Some(Action::End(_) | Action::Start)));
            }
            match action {
                Some(Action::Start) => {
                    prop_assert!(!runs && !ended && (event == Event::Begin || changed));
                    (runs, changed) = (true, false);
                }
                Some(Action::End(_)) => {
                    prop_assert!(!runs && !ended);
                    ended = true;
                }
                Some(_) => prop_assert!(runs),
                None => {}
            }
        }
    }
}
