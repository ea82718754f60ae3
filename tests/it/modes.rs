//! Whatever the mode, the command runs the same: one list of scenarios, each run in every mode beside a
//! plain run, where bws-exec becomes the command.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;

use crate::cache::Cached;
use crate::errors_local::without_loader;
use crate::supervise::child;
use crate::support::proc::{self, Surroundings};
use crate::support::recorder::Recorder;
use crate::support::terminal::Terminal;
use crate::support::vault::{Endpoint, Fault, Where};
use crate::support::{Launch, Outcome, Running, Scenario};
use crate::transparent::unusual;

/// One module a mode, with one test a scenario.
macro_rules! in_every_mode {
    ([$($mode:ident: $options:expr;)+] $scenarios:tt) => {
        $(mod $mode {
            const MODE: super::Mode = super::Mode(&$options);
            in_every_mode!($scenarios);
        })+
    };
    ({$($(#[$attribute:meta])* $scenario:ident,)+}) => {
        $(#[test] $(#[$attribute])* fn $scenario() { super::$scenario(MODE) })+
    };
}

in_every_mode! {
    [
        exec: [];
        init: ["--init"];
        watch: ["--watch"];
        mask: ["--mask"];
        all: ["--watch", "--mask"];
    ]
    {
        arguments,
        the_name_it_is_called_by,
        surroundings,
        environment,
        conflicts,
        exit_codes,
        deaths_by_signal,
        signals_sent_to_it,
        dispositions_and_masks,
        default_dispositions,
        a_reader_that_goes_away,
        standard_input,
        closed_descriptors,
        an_inherited_descriptor,
        both_outputs,
        files_without_a_path,
        #[ignore = "needs root"]
        files_with_a_path,
        #[ignore = "needs root"]
        another_user,
        a_fresh_copy,
        a_copy_is_left,
        offline,
        errors_before_the_first_packet,
        errors_of_the_server,
        errors_of_the_secrets,
        a_command_that_the_kernel_refuses,
        ctrl_c_runs_its_handler,
    }
}

/// The options that ask for it.
#[derive(Clone, Copy)]
struct Mode(&'static [&'static str]);

impl Mode {
    fn stays(self) -> bool {
        !self.0.is_empty()
    }

    /// A plain run and one in this mode must end alike and say the same.
    #[track_caller]
    fn same(self, launch: impl Fn() -> Launch) -> Outcome {
        let (plain, outcome) = (launch().run(), launch().options(self.0).run());
        let told = |outcome: &Outcome| (outcome.status, outcome.text(), outcome.stderr.clone());
        let (status, text, stderr) = told(&plain);
        assert_eq!(told(&outcome), (status, self.shown(&text), stderr), "{:?}", self.0);
        outcome
    }

    /// What the command writes, as it arrives.
    fn shown(self, text: &str) -> String {
        if !self.0.contains(&"--mask") {
            return text.into();
        }
        ["x://value@host", "two\nlines", "value"]
            .into_iter()
            .fold(text.into(), |text: String, value| text.replace(value, "***"))
    }

    /// The launcher, and the command that sleeps: the same process or its child.
    #[track_caller]
    fn asleep(self, launch: Launch) -> (Running, i32) {
        let running = launch.options(self.0).command(["sleep", "1000"]).start();
        if self.stays() {
            let command = child(running.pid(), "sleep");
            return (running, command);
        }
        let running = running.asleep_in("sleep");
        let pid = running.pid();
        (running, pid)
    }

    /// What is different around the command from a plain run.
    #[track_caller]
    fn differences(self, launch: impl Fn() -> Launch) -> Vec<String> {
        let ((plain, a), (running, b)) = (Self(&[]).asleep(launch()), self.asleep(launch()));
        let differences = Surroundings::of(b).differences(&Surroundings::of(a));
        for (running, command) in [(plain, a), (running, b)] {
            // It may block everything else, and as another user it outlives us.
            // SAFETY: a process that its parent has not reaped.
            assert_eq!(unsafe { libc::kill(command, libc::SIGKILL) }, 0);
            running.finish();
        }
        differences.into_keys().collect()
    }

    /// A child has a parent, and does not lead the session; what is masked is a pipe.
    fn family(self) -> &'static [&'static str] {
        match (self.stays(), self.0.contains(&"--mask")) {
            (false, _) => &[],
            (true, false) => &["NSsid", "PPid", "session"],
            (true, true) => &["NSsid", "PPid", "descriptor 1", "descriptor 2", "session"],
        }
    }
}

fn scenario() -> Scenario {
    Scenario::new().secret("KEY", "value")
}

fn arguments(mode: Mode) {
    let show: &[u8] = b"cat /proc/$$/cmdline; :";
    let words: [&[u8]; 11] = [
        b"sh",
        b"-c",
        show,
        b"two words",
        b"",
        b"'\"`\\",
        b"$KEY $(id) *",
        b"\n\t",
        b"\xff\x80",
        b"--init",
        b"--",
    ];
    let scenario = scenario();
    let outcome = mode.same(|| scenario.launch().command(words.map(OsStr::from_bytes)));
    assert_eq!(outcome.succeeded().stdout, [&words.join(&b"\0"[..])[..], b"\0"].concat());
}

fn the_name_it_is_called_by(mode: Mode) {
    let (scenario, directory) = (scenario(), tempfile::tempdir().unwrap());
    let absolute = directory.path().join("other name");
    std::os::unix::fs::symlink("/bin/sh", &absolute).unwrap();
    for name in ["sh", "./other name", "other name", absolute.to_str().unwrap()] {
        let launch = || {
            let path = format!("{}:/usr/bin:/bin", directory.path().display());
            scenario.launch().directory(directory.path()).env("PATH", path)
        };
        let outcome = mode.same(|| launch().command([name, "-c", "tr '\\0' '\\n' </proc/$$/cmdline"]));
        assert_eq!(outcome.succeeded().text().lines().next(), Some(name));
    }
}

/// Directory, umask, limits, niceness, signals, descriptors, ids and more.
fn surroundings(mode: Mode) {
    let (scenario, file) = (scenario(), tempfile::tempfile().unwrap());
    assert_eq!(mode.differences(|| unusual(&scenario, &file)), mode.family());
    assert_eq!(mode.differences(|| unusual(&scenario, &file).option("--allow-core")), mode.family());
}

fn environment(mode: Mode) {
    let scenario = scenario().secret("OTHER", "two\nlines");
    let owner = scenario.vault.owner();
    let project = owner.create_project("db");
    owner.grant(scenario.account, project, crate::support::vault::Access::Read);
    owner.create_secret(project, "DB", "db");
    let directory = tempfile::tempdir().unwrap();
    let env_file = directory.path().join("app.env");
    fs::write(&env_file, "URL=\"x://${bws://KEY}@host\"\n").unwrap();
    let from_file = format!("--env-file={}", env_file.display());
    let (left, kept, set) = ("LEFT=left", "OTHER=inherited", "OTHER=two\nlines");
    for (options, expected) in [
        (&[][..], &["DB=db", "KEY=value", left, set][..]),
        (&["--project=web"], &["KEY=value", left, set]),
        (&["--only=D*"], &["DB=db", left, kept]),
        (&["--exclude=OTHER"], &["DB=db", "KEY=value", left, kept]),
        (&["--map=M=db/DB"], &[left, "M=db", kept]),
        (&["--map=M=KEY", "--all"], &["DB=db", "KEY=value", left, "M=value", set]),
        (&[&from_file], &[left, kept, "URL=x://value@host"]),
        (&["--prefix=P_"], &[left, kept, "P_DB=db", "P_KEY=value", "P_OTHER=two\nlines"]),
        (&["--on-conflict=inherited"], &["DB=db", "KEY=value", left, kept]),
        (&["--no-inherit-env", "--keep=LEFT"], &["DB=db", "KEY=value", left, set]),
        (&["--unset=LEFT"], &["DB=db", "KEY=value", set]),
    ] {
        let launch = || scenario.launch().env("LEFT", "left").env("OTHER", "inherited").options(options);
        let outcome = mode.same(|| launch().command(["cat", "/proc/self/environ"]));
        let text = outcome.succeeded().text();
        let found: BTreeSet<&str> = text.split_terminator('\0').filter(|e| !e.starts_with("PATH=")).collect();
        let expected: Vec<String> = expected.iter().map(|entry| mode.shown(entry)).collect();
        assert_eq!(found, expected.iter().map(String::as_str).collect(), "{options:?}");
    }
    let launch =
        || scenario.launch().env("R", "bws://KEY").option("--resolve-env").command(["printenv", "R"]);
    assert_eq!(mode.same(launch).succeeded().text(), mode.shown("value\n"));
}

fn conflicts(mode: Mode) {
    let scenario = scenario();
    let launch = || scenario.launch().env("KEY", "inherited").command(["true"]);
    mode.same(|| launch().option("--on-conflict=error")).failed_with(125, "conflict");
}

fn exit_codes(mode: Mode) {
    let scenario = scenario();
    for code in [0, 1, 2, 3, 75, 124, 125, 126, 127, 128, 130, 255] {
        let outcome = mode.same(|| scenario.launch().command(["sh", "-c", &format!("exit {code}")]));
        assert_eq!((outcome.code(), outcome.stderr.as_str()), (Some(code), ""));
    }
}

fn deaths_by_signal(mode: Mode) {
    let scenario = scenario();
    for signal in
        [libc::SIGTERM, libc::SIGINT, libc::SIGKILL, libc::SIGSEGV, libc::SIGABRT, libc::SIGPIPE, 40]
    {
        let outcome = mode.same(|| scenario.launch().command(["sh", "-c", &format!("kill -{signal} $$")]));
        assert_eq!((outcome.signal(), outcome.stderr.as_str()), (Some(signal), ""));
    }
}

fn signals_sent_to_it(mode: Mode) {
    let scenario = scenario();
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2, 40]
    {
        let (running, _) = mode.asleep(scenario.launch());
        running.signal(signal);
        let outcome = running.finish();
        assert_eq!((outcome.signal(), outcome.stderr.as_str()), (Some(signal), ""));
    }
}

fn dispositions_and_masks(mode: Mode) {
    let scenario = scenario();
    for (words, ignored, blocked) in [
        (&["env"][..], &[][..], &[][..]),
        (&["nohup"], &[libc::SIGHUP], &[]),
        (&["env", "--ignore-signal=PIPE,INT,CHLD"], &[libc::SIGINT, libc::SIGPIPE, libc::SIGCHLD], &[]),
        (&["env", "--block-signal=TERM,CHLD"], &[], &[libc::SIGTERM, libc::SIGCHLD]),
    ] {
        let outcome = mode.same(|| {
            // Not `grep`, which has a handler of its own.
            scenario.launch().under(words).command(["sed", "-n", "/^Sig[IBC]/p", "/proc/self/status"])
        });
        let text = outcome.succeeded().text();
        assert_eq!(proc::signals(&text, "SigIgn"), ignored);
        assert_eq!(proc::signals(&text, "SigBlk"), blocked);
        assert_eq!(proc::signals(&text, "SigCgt"), [0; 0]);
    }
}

/// What a program does not handle ends it, unless that was inherited as ignored.
fn default_dispositions(mode: Mode) {
    let scenario = scenario();
    for signal in [libc::SIGHUP, libc::SIGUSR2, libc::SIGPIPE] {
        let script = ["sh".into(), "-c".into(), format!("kill -{signal} $$; echo lives")];
        let outcome = mode.same(|| scenario.launch().command(&script));
        assert_eq!((outcome.signal(), outcome.text().as_str()), (Some(signal), ""));
        let ignoring = ["env".into(), format!("--ignore-signal={signal}")];
        let outcome = mode.same(|| scenario.launch().under(&ignoring).command(&script));
        assert_eq!(outcome.succeeded().text(), "lives\n");
    }
}

fn a_reader_that_goes_away(mode: Mode) {
    let scenario = scenario();
    let outcome = mode.same(|| {
        let (read, write) = std::io::pipe().unwrap();
        drop(read);
        scenario.launch().descriptor(1, write).command(["yes"])
    });
    assert_eq!((outcome.signal(), outcome.stderr.as_str()), (Some(libc::SIGPIPE), ""));
}

fn standard_input(mode: Mode) {
    let scenario = scenario();
    let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let outcome = scenario.launch().options(mode.0).stdin(&bytes).command(["cat"]).run();
    assert!(outcome.succeeded().stdout == bytes);
    let outcome = mode.same(|| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"read: left").unwrap();
        file.seek(SeekFrom::Start(6)).unwrap();
        scenario.launch().descriptor(0, file).command(["cat"])
    });
    assert_eq!(outcome.succeeded().text(), "left");
}

fn closed_descriptors(mode: Mode) {
    let scenario = scenario();
    for (closing, open) in
        [("exec <&-", &[1, 2][..]), ("exec >&-", &[0, 2]), ("exec 2>&-", &[0, 1]), ("exec <&- >&- 2>&-", &[])]
    {
        let shell = format!("{closing}; exec \"$@\"");
        let (_running, command) = mode.asleep(scenario.launch().under(["sh", "-c", &shell, "sh"]));
        assert_eq!(proc::descriptors(command).into_keys().collect::<Vec<_>>(), open, "{closing}");
    }
}

fn an_inherited_descriptor(mode: Mode) {
    let scenario = scenario();
    let outcome = mode.same(|| {
        let pipe = crate::support::pipe("through it");
        scenario.launch().descriptor(7, pipe).command(["sh", "-c", "cat <&7; ls /proc/self/fd"])
    });
    // `ls` has one of its own, the directory.
    assert_eq!(outcome.succeeded().text(), "through it0\n1\n2\n3\n7\n");
}

fn both_outputs(mode: Mode) {
    let scenario = scenario();
    let outcome = mode.same(|| scenario.launch().command(["sh", "-c", "echo out; echo err >&2; printf end"]));
    assert_eq!((outcome.code(), outcome.text().as_str()), (Some(0), "out\nend"));
    assert_eq!(outcome.stderr, "err\n");
}

const SHOW_FILE: [&str; 3] = ["sh", "-c", "cat $F; cat $F; stat -L -c ' %F %a %u:%g' $F; echo ${KEY-unset}"];

fn files_without_a_path(mode: Mode) {
    // What it prints is no secret, for that might be masked.
    let scenario = Scenario::new().secret("KEY", "abc").secret("OTHER", "x");
    // SAFETY: they only ask.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    for (file, permissions) in [("--file=F=KEY", "400"), ("--file=F=KEY,mode=0440", "440")] {
        let outcome = mode.same(|| scenario.launch().option(file).command(SHOW_FILE));
        let expected = format!("abcabc regular file {permissions} {uid}:{gid}\nunset\n");
        assert_eq!(outcome.succeeded().text(), expected);
    }
}

fn files_with_a_path(mode: Mode) {
    let (scenario, place) = (Scenario::new().secret("KEY", "abc"), tempfile::tempdir().unwrap());
    let path = place.path().join("secrets/key");
    let file = format!("--file=F=KEY,path={}", path.display());
    let outcome = mode.same(|| {
        let launch = scenario.launch().under(["unshare", "--mount"]);
        launch.option(&file).command(["sh", "-c", &format!("echo $F; {}", SHOW_FILE[2])])
    });
    let expected = format!("{}\nabcabc regular file 400 0:0\nunset\n", path.display());
    assert_eq!(outcome.succeeded().text(), expected);
    assert!(!path.exists(), "outside there is nothing");
}

fn another_user(mode: Mode) {
    let (scenario, nothing) = (Scenario::new().secret("KEY", "abc"), tempfile::tempfile().unwrap());
    let user = ["--user=4242:4343", "--no-new-privs"];
    let launch = || unusual(&scenario, &nothing).options(user);
    assert_eq!(mode.differences(launch), mode.family());
    let script = "grep -E '^(Uid|Gid|Groups|CapEff|CapAmb|NoNewPrivs)' /proc/self/status; echo $HOME; cat $F";
    let launch = || scenario.launch().options(user).option("--file=F=KEY").env("HOME", "/root");
    let outcome = mode.same(|| launch().command(["sh", "-c", script]));
    let expected = "Uid:\t4242\t4242\t4242\t4242\nGid:\t4343\t4343\t4343\t4343\nGroups:\t4343 \n\
                    CapEff:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\n/\nabc";
    assert_eq!(outcome.succeeded().text(), expected);
}

fn a_fresh_copy(mode: Mode) {
    let cached = Cached::warm();
    let outcome = mode.same(|| cached.launch().option("--max-age=1h"));
    assert_eq!(outcome.succeeded().text(), mode.shown("value\n"));
    assert_eq!(cached.asked(), []);
}

fn a_copy_is_left(mode: Mode) {
    let cached = Cached::new();
    cached.run(mode.0).succeeded();
    assert_eq!(cached.asked(), [Endpoint::Login, Endpoint::Sync]);
    cached.scenario.vault.fault(Where::Any, Fault::status(503));
    assert_eq!(cached.run(&["--offline"]).succeeded().text(), "value\n");
    // The session, too.
    cached.scenario.vault.clear_faults();
    cached.run(mode.0).succeeded();
    assert_eq!(cached.asked(), [Endpoint::Sync]);
}

fn offline(mode: Mode) {
    let cached = Cached::warm();
    // Who wants to see changes cannot want that nobody is asked.
    if mode.0.contains(&"--watch") {
        cached.run(&[mode.0, &["--offline"]].concat()).failed_with(125, "usage");
    } else {
        assert_eq!(
            mode.same(|| cached.launch().option("--offline")).succeeded().text(),
            mode.shown("value\n")
        );
    }
    assert_eq!(cached.asked(), []);
}

fn errors_before_the_first_packet(mode: Mode) {
    let scenario = scenario();
    let of_command = |command: &'static str| mode.same(|| scenario.launch().command([command]));
    of_command("no-such-command").failed_with(127, "command-not-found");
    of_command("/etc/passwd").failed_with(126, "command-not-executable");
    let of_launch = |launch: &dyn Fn() -> Launch| mode.same(|| launch().command(["true"]));
    of_launch(&|| scenario.launch_without_token()).failed_with(125, "token-missing");
    of_launch(&|| scenario.launch().env("BWS_ACCESS_TOKEN", "x")).failed_with(125, "token-malformed");
    of_launch(&|| scenario.launch().option("--env-file=/nowhere")).failed_with(125, "env-file");
    of_launch(&|| scenario.launch().option("--on-conflict=nobody")).failed_with(125, "usage");
    assert_eq!((scenario.vault.connections(), scenario.vault.requests().len()), (0, 0));
}

fn errors_of_the_server(mode: Mode) {
    let scenario = scenario();
    let launch = || scenario.launch().option("--deadline=1s").command(["echo", "ran"]);
    scenario.vault.fault(Endpoint::Sync, Fault::status(503));
    mode.same(launch).failed_with(75, "unavailable");
    scenario.vault.clear_faults();
    scenario.vault.owner().revoke_token(&scenario.token);
    mode.same(launch).failed_with(125, "invalid-client");
}

fn errors_of_the_secrets(mode: Mode) {
    let scenario = scenario().secret("LARGE", "x".repeat(140_000));
    let failed = |option: &'static str, slug: &str| {
        let outcome = mode.same(|| scenario.launch().option(option).command(["echo", "ran"]));
        assert_eq!(outcome.failed_with(125, slug).text(), "");
    };
    failed("--only=LARGE", "variable-too-large");
    failed("--map=M=NONE", "missing-secret");
    failed("--require=NONE", "required");
    failed("--only=NONE", "no-match");
}

fn a_command_that_the_kernel_refuses(mode: Mode) {
    let (scenario, directory) = (scenario(), tempfile::tempdir().unwrap());
    let path = without_loader(directory.path());
    mode.same(|| scenario.launch().command([&path])).failed_with(127, "exec");
}

fn ctrl_c_runs_its_handler(mode: Mode) {
    let (scenario, recorder) = (scenario(), Recorder::new());
    let launch = scenario.launch().options(mode.0).command(recorder.command());
    let (terminal, running) = Terminal::start(launch.launcher());
    recorder.ready();
    let command = if mode.stays() { child(running.pid(), "perl") } else { running.pid() };
    terminal.has_foreground(command);
    for turn in 1..4 {
        terminal.types("\x03");
        recorder.wait_for("2", turn);
    }
    running.signal(libc::SIGUSR1);
    recorder.wait_for("10", 1);
    assert_eq!(recorder.signals(), [2, 2, 2, 10], "once each");
}
