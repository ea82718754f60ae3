//! Where the access token comes from: every source, their order, and what is never said about it.

use std::fs::{self, File, Permissions};
use std::io::{Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::mkfifo;

use crate::support::{Launch, Outcome, Scenario};

/// One way to give a token, in the order of precedence; the three options are equals.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Descriptor,
    File,
    Typed,
    Variable,
    VariableFile,
    Activation,
    Credential,
}

use Place::{Activation, Credential, Descriptor, File as TokenFile, Typed, Variable, VariableFile};

const ON_COMMAND_LINE: &str = "bws-exec: warning: the access token stood on the command line, where ps and the shell's \
                               history show it\n";

/// A directory whose files are on a disk, which `/tmp` need not be.
fn on_disk() -> tempfile::TempDir {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let kind = statfs(directory.path()).unwrap().filesystem_type();
    assert_ne!(kind, TMPFS_MAGIC, "the target directory must be on a disk for these tests");
    directory
}

fn file(directory: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

/// A pipe that holds a text and has ended.
fn pipe_with(text: &str) -> OwnedFd {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(text.as_bytes()).unwrap();
    reader.into()
}

impl Place {
    fn give(self, launch: Launch, text: &str, directory: &Path) -> Launch {
        match self {
            Descriptor => launch.option("--access-token-fd=9").descriptor(9, pipe_with(text)),
            TokenFile => {
                launch.option("--access-token-file").option(file(directory, "by-option", text, 0o400))
            }
            Typed => launch.option("-t").option(text),
            Variable => launch.env("BWS_ACCESS_TOKEN", text),
            VariableFile => launch.env("BWS_ACCESS_TOKEN_FILE", file(directory, "by-variable", text, 0o400)),
            Activation => launch
                .descriptor(3, pipe_with(text))
                .env("LISTEN_FDS", "1")
                .env("LISTEN_FDNAMES", "bws-access-token")
                .under(["sh", "-c", "LISTEN_PID=$$ exec \"$@\"", "sh"]),
            Credential => {
                fs::create_dir_all(directory.join("credentials")).unwrap();
                file(&directory.join("credentials"), "bws-access-token", text, 0o400);
                launch.env("CREDENTIALS_DIRECTORY", directory.join("credentials"))
            }
        }
    }

    /// How an error calls it.
    fn origin(self, directory: &Path) -> String {
        match self {
            Descriptor => "descriptor 9".into(),
            TokenFile => format!("file {}", directory.join("by-option").display()),
            Typed => "--access-token".into(),
            Variable => "BWS_ACCESS_TOKEN".into(),
            VariableFile => format!("BWS_ACCESS_TOKEN_FILE {}", directory.join("by-variable").display()),
            Activation => "the descriptor named bws-access-token".into(),
            Credential => {
                format!("credential {}", directory.join("credentials/bws-access-token").display())
            }
        }
    }

    fn warning(self) -> &'static str {
        if self == Typed { ON_COMMAND_LINE } else { "" }
    }
}

/// The command that every test here runs: it shows that it got its secret, and nothing of the token.
const SHOW: [&str; 3] = ["sh", "-c", "printf %s \"$KEY\"; env | grep -E 'BWS_ACCESS|LISTEN_'"];

fn scenario() -> Scenario {
    Scenario::new().secret("KEY", "the value")
}

#[track_caller]
fn worked(outcome: &Outcome, stderr: &str) {
    assert_eq!((outcome.text().as_str(), outcome.stderr.as_str()), ("the value", stderr));
}

#[test]
fn each_source_alone() {
    let scenario = scenario();
    for place in [Descriptor, TokenFile, Typed, Variable, VariableFile, Activation, Credential] {
        let directory = on_disk();
        let spaced = format!(" \t\r\n{}\n\n ", scenario.token);
        for text in [&scenario.token, &spaced] {
            let directory = directory.path();
            let _ = fs::remove_dir_all(directory.join("credentials"));
            for name in ["by-option", "by-variable"] {
                let _ = fs::remove_file(directory.join(name));
            }
            let launch = place.give(scenario.launch_without_token(), text, directory);
            worked(&launch.command(SHOW).run(), place.warning());
        }
    }
}

#[test]
fn the_order_of_the_sources() {
    let scenario = scenario();
    let pairs = [
        (Descriptor, Variable),
        (TokenFile, Variable),
        (Typed, Variable),
        (Variable, VariableFile),
        (VariableFile, Activation),
        (Activation, Credential),
    ];
    for (higher, lower) in pairs {
        let run = |first: &str, second: &str| {
            let directory = on_disk();
            let launch = lower.give(scenario.launch_without_token(), second, directory.path());
            let launch = higher.give(launch, first, directory.path()).command(SHOW);
            (launch.run(), higher.origin(directory.path()))
        };
        let good = scenario.token.as_str();
        worked(&run(good, "not a token").0, higher.warning());
        // Nothing but white space counts as not given.
        worked(&run("", good).0, higher.warning());
        worked(&run(" \n\t", good).0, higher.warning());
        let (outcome, origin) = run("not a token", good);
        let expected = format!(
            "{}bws-exec: error[token-malformed]: the access token from {origin} is malformed: there is no ':' \
             followed by an encryption key\n\
             bws-exec: hint: copy the whole token again: it looks like 0.<uuid>.<secret>:<base64 key>, without quotes\n",
            higher.warning()
        );
        outcome.failed(125, &expected);
    }
}

#[test]
fn nothing_given() {
    let expected = "bws-exec: error[token-missing]: no access token was given\n\
                    bws-exec: hint: set BWS_ACCESS_TOKEN or BWS_ACCESS_TOKEN_FILE, or give --access-token-file PATH\n";
    let empty = tempfile::tempdir().unwrap();
    Launch::new().command(["true"]).run().failed(125, expected);
    // A unit has other credentials, and an empty variable is none.
    let launch = Launch::new().env("CREDENTIALS_DIRECTORY", empty.path());
    let launch = launch.env("BWS_ACCESS_TOKEN", "").env("BWS_ACCESS_TOKEN_FILE", "");
    launch.command(["true"]).run().failed(125, expected);
    // Descriptors of another process are not ours.
    let launch = Launch::new().env("LISTEN_PID", "1").env("LISTEN_FDS", "1");
    let launch = launch.env("LISTEN_FDNAMES", "bws-access-token").descriptor(3, pipe_with("x"));
    launch.command(["true"]).run().failed(125, expected);
}

#[test]
fn two_options_together() {
    let usage = |what: &str| {
        format!(
            "bws-exec: error[usage]: {what} were given together\n\
             bws-exec: hint: give the access token in one way only\n"
        )
    };
    let launch = || Launch::new().command(["true"]);
    launch()
        .options(["--access-token-fd=0", "--access-token-file=/x"])
        .run()
        .failed(125, &usage("--access-token-fd and --access-token-file"));
    launch()
        .options(["--access-token-file=/x", "-t", "0.secret"])
        .run()
        .failed(125, &usage("--access-token-file and --access-token"));
    launch()
        .options(["-tabc", "--access-token-fd", "0"])
        .run()
        .failed(125, &usage("--access-token-fd and --access-token"));
}

#[test]
fn standard_input_becomes_null_and_other_descriptors_close() {
    let scenario = scenario();
    let launch = scenario.launch_without_token().options(["--access-token-fd", "0"]).stdin(&scenario.token);
    let outcome = launch.command(["readlink", "/proc/self/fd/0"]).run();
    outcome.succeeded();
    assert_eq!(outcome.text(), "/dev/null\n");

    // A file could be read once more from its beginning.
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(scenario.token.as_bytes()).unwrap();
    file.rewind().unwrap();
    let launch = scenario.launch_without_token().options(["--access-token-fd", "9"]).descriptor(9, file);
    launch.command(["test", "!", "-e", "/proc/self/fd/9"]).run().succeeded();

    for (number, message) in [("1", "--access-token-fd 1 cannot"), ("2", "--access-token-fd 2 cannot")] {
        let outcome = Launch::new().options(["--access-token-fd", number]).command(["true"]).run();
        outcome.failed_with(125, "usage");
        assert!(outcome.stderr.contains(message), "{}", outcome.stderr);
    }
    let outcome = Launch::new().options(["--access-token-fd", "77"]).command(["true"]).run();
    outcome.failed(
        125,
        "bws-exec: error[token-unreadable]: cannot read the access token from descriptor 77: Bad file descriptor \
         (os error 9)\n\
         bws-exec: hint: check that it exists and that this user may read it\n",
    );
    // One descriptor cannot be read and written at once.
    let launch = Launch::new().options(["--access-token-fd=9", "--status-fd=9"]);
    let outcome = launch.descriptor(9, pipe_with("x")).command(["true"]).run();
    outcome.failed_with(125, "usage");
    assert!(outcome.stderr.contains("one descriptor"), "{}", outcome.stderr);
}

/// The service sees its own sockets under the numbers the protocol promises.
#[test]
fn the_token_is_taken_out_of_the_activation_descriptors() {
    let scenario = scenario();
    let launch = scenario
        .launch_without_token()
        .descriptor(7, pipe_with("first"))
        .descriptor(8, pipe_with(&scenario.token))
        .descriptor(9, pipe_with("last"))
        .env("LISTEN_FDS", "3")
        .env("LISTEN_FDNAMES", "http:bws-access-token:https")
        .under(["sh", "-c", "LISTEN_PID=$$ exec \"$@\" 3<&7 4<&8 5<&9 7<&- 8<&- 9<&-", "sh"]);
    let script = "cat <&3; echo; cat <&4; echo; test ! -e /proc/self/fd/5 && echo \"$LISTEN_FDS $LISTEN_FDNAMES\"; \
                  test $LISTEN_PID = $$ && echo \"$KEY\"";
    let outcome = launch.command(["sh", "-c", script]).run();
    outcome.succeeded();
    assert_eq!(outcome.text(), "first\nlast\n2 http:https\nthe value\n");
}

#[test]
fn a_fifo_and_a_process_substitution() {
    let scenario = scenario();
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    mkfifo(&fifo, Mode::from_bits_truncate(0o600)).unwrap();
    let launch = scenario.launch_without_token().option("--access-token-file").option(&fifo).command(SHOW);
    let running = launch.start();
    // Blocks until the launcher has opened the other end, so it begins to read before there is a writer.
    File::options().write(true).open(&fifo).unwrap().write_all(scenario.token.as_bytes()).unwrap();
    worked(&running.finish(), "");

    let script =
        "program=$1; shift; exec \"$program\" --access-token-file <(printf '%s\\n' \"$TEXT\") \"$@\"";
    let launch = scenario.launch_without_token().env("TEXT", &scenario.token);
    worked(&launch.under(["bash", "-c", script, "bash"]).command(SHOW).run(), "");

    // Nobody will ever write: the deadline ends it.
    let launch = Launch::new().option("--access-token-file").option(&fifo).option("--deadline=100ms");
    let outcome = launch.command(["true"]).run();
    outcome.failed_with(75, "token-late");
}

#[test]
fn files_that_others_may_read() {
    let scenario = scenario();
    let run = |option: bool, path: &Path| {
        let launch = scenario.launch_without_token();
        let launch = match option {
            true => launch.option("--access-token-file").option(path),
            false => launch.env("BWS_ACCESS_TOKEN_FILE", path),
        };
        launch.command(SHOW).run()
    };
    let directory = on_disk();
    let open = file(directory.path(), "open", &scenario.token, 0o644);
    let warning = |what: &str| {
        format!(
            "bws-exec: warning: {what} {} is on a disk and every user of this machine may read it: chmod 0400\n",
            open.display()
        )
    };
    worked(&run(true, &open), &warning("file"));
    worked(&run(false, &open), &warning("BWS_ACCESS_TOKEN_FILE"));
    for mode in [0o400, 0o640] {
        worked(&run(true, &file(directory.path(), "closed", &scenario.token, mode)), "");
        fs::remove_file(directory.path().join("closed")).unwrap();
    }
    // Who puts credentials somewhere answers for it: the service manager.
    file(directory.path(), "bws-access-token", &scenario.token, 0o644);
    let launch = scenario.launch_without_token().env("CREDENTIALS_DIRECTORY", directory.path());
    worked(&launch.command(SHOW).run(), "");

    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    assert_eq!(statfs(memory.path()).unwrap().filesystem_type(), TMPFS_MAGIC);
    worked(&run(true, &file(memory.path(), "open", &scenario.token, 0o644)), "");
}

#[test]
fn files_that_cannot_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let absent = directory.path().join("absent");
    let long = file(directory.path(), "long", &"x".repeat(16 * 1024 + 1), 0o400);
    for (path, slug, says) in [
        (absent.as_path(), "token-unreadable", "No such file or directory"),
        (directory.path(), "token-unreadable", "Is a directory"),
        (&long, "token-malformed", "it is longer than 16384 bytes"),
        (Path::new("/dev/zero"), "token-malformed", "it is longer than 16384 bytes"),
    ] {
        let launch = Launch::new().option("-q").option("--access-token-file").option(path);
        let outcome = launch.command(["true"]).run();
        outcome.failed_with(125, slug);
        assert!(outcome.stderr.contains(says), "{}", outcome.stderr);
        assert_eq!(outcome.stderr.lines().count(), 2, "{}", outcome.stderr);
    }
}
