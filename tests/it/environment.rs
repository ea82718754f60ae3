//! The command's environment: what is inherited, who wins, each name once, and sizes.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::support::{Launch, Outcome, Running, Scenario};

/// Prints the environment of the process that we became, byte for byte.
const ENTRIES: [&str; 2] = ["cat", "/proc/self/environ"];

fn entries(outcome: &Outcome) -> Vec<String> {
    let text = outcome.text();
    let mut entries: Vec<String> = text.split_terminator('\0').map(str::to_owned).collect();
    entries.sort();
    entries
}

/// The same process with this very environment, which `Command` could not carry.
fn with_raw_environment(mut launcher: Command, environment: &[&[u8]]) -> Outcome {
    let text = |bytes: &[u8]| CString::new(bytes).unwrap();
    let program = text(launcher.get_program().as_bytes());
    let mut arguments = vec![program.clone()];
    arguments.extend(launcher.get_args().map(|argument| text(argument.as_bytes())));
    let environment: Vec<CString> = environment.iter().map(|entry| text(entry)).collect();
    // SAFETY: between fork and exec only pointers into memory that was made before, and execve.
    unsafe {
        launcher.pre_exec(move || {
            let mut argv = [std::ptr::null(); 64];
            let mut envp = [std::ptr::null(); 64];
            for (slot, text) in argv.iter_mut().zip(&arguments) {
                *slot = text.as_ptr();
            }
            for (slot, text) in envp.iter_mut().zip(&environment) {
                *slot = text.as_ptr();
            }
            libc::execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr());
            Err(std::io::Error::last_os_error())
        });
    }
    Running::new(launcher, None).finish()
}

const PATH: &str = "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";

#[test]
fn what_is_inherited() {
    let scenario = Scenario::new().secret("KEY", "value");
    let run = |options: &[&str]| {
        let launch = scenario.launch().env("LC_ALL", "C").env("LC_TIME", "C").env("HOME", "/root");
        let launch = launch.env("CREDENTIALS_DIRECTORY", "/run/c").env("BWS_EXEC_DEADLINE", "20s");
        let outcome = launch.options(options).command(ENTRIES).run();
        outcome.succeeded();
        entries(&outcome)
    };
    let all = ["CREDENTIALS_DIRECTORY=/run/c", "HOME=/root", "KEY=value", "LC_ALL=C", "LC_TIME=C", PATH];
    assert_eq!(run(&[]), all);
    assert_eq!(run(&["--no-inherit-env"]), ["KEY=value", PATH]);
    assert_eq!(run(&["--no-inherit-env", "--keep", "LC_*"]), ["KEY=value", "LC_ALL=C", "LC_TIME=C", PATH]);
    assert_eq!(
        run(&["--no-inherit-env", "--keep=LC_A*", "--keep=HOME", "--unset=PATH"]),
        ["HOME=/root", "KEY=value", "LC_ALL=C"]
    );
    // Neither a kept glob nor anything else brings the token's variables back.
    let kept = ["CREDENTIALS_DIRECTORY=/run/c", "HOME=/root", "KEY=value", "LC_ALL=C", "LC_TIME=C", PATH];
    assert_eq!(run(&["--no-inherit-env", "--keep", "*"]), kept);
    assert_eq!(run(&["--unset", "LC_*", "--unset=*DIRECTORY"]), ["HOME=/root", "KEY=value", PATH]);
    assert_eq!(run(&["--unset", "*"]), ["KEY=value"]);
    // It concerns what is inherited, never what a secret sets.
    assert_eq!(run(&["--unset", "KEY", "--unset=?C_*", "--unset=*DIR*"]), ["HOME=/root", "KEY=value", PATH]);
}

#[test]
fn a_secret_against_an_inherited_variable() {
    let scenario = Scenario::new();
    let id = scenario.vault.owner().create_secret(scenario.project, "KEY", "of the secret");
    let described = format!("secret 'KEY', id {id}, in project 'web'");
    let run =
        |options: &[&str]| scenario.launch().env("KEY", "inherited").options(options).command(ENTRIES).run();
    for options in [&[][..], &["--on-conflict", "secret"], &["--on-conflict=secret", "-v"]] {
        let outcome = run(options);
        let notice = format!("bws-exec: notice: the inherited 'KEY' is replaced by {described}\n");
        assert_eq!(outcome.stderr, if options.contains(&"-v") { notice.as_str() } else { "" });
        assert_eq!(entries(&outcome), ["KEY=of the secret", PATH]);
    }
    for options in [&["--on-conflict=inherited"][..], &["--on-conflict", "inherited", "-v"]] {
        let outcome = run(options);
        let notice = format!("bws-exec: notice: 'KEY' keeps its inherited value, not that of {described}\n");
        assert_eq!(outcome.stderr, if options.contains(&"-v") { notice.as_str() } else { "" });
        assert_eq!(entries(&outcome), ["KEY=inherited", PATH]);
    }
    run(&["--on-conflict", "error"]).failed(
        125,
        &format!(
            "bws-exec: error[conflict]: 'KEY' is set already and a secret would replace it ({described})\n\
             bws-exec: hint: choose by --on-conflict secret|inherited, or take the variable away by --unset\n"
        ),
    );
    // What is taken away or not inherited at all is no conflict; an empty variable is one.
    for option in ["--unset=K*", "--no-inherit-env"] {
        let outcome = run(&["--on-conflict=error", option, "-v"]);
        outcome.succeeded();
        assert_eq!(entries(&outcome), ["KEY=of the secret", PATH]);
    }
    let outcome = scenario.launch().env("KEY", "").option("--on-conflict=error").command(ENTRIES).run();
    outcome.failed_with(125, "conflict");
}

/// Different programs see different ones of two entries with one name, so the command gets one.
#[test]
fn duplicate_and_malformed_entries() {
    let scenario = Scenario::new().secret("KEY", "value").secret("TWICE_AND_SECRET", "new");
    let token = format!("BWS_ACCESS_TOKEN={}", scenario.token);
    let inherited: [&[u8]; 12] = [
        b"A=first",
        b"no equals sign",
        token.as_bytes(),
        b"=starts with it",
        b"A=second",
        b"",
        b"NOT_UTF8\xff=\xfe\xff",
        b"TWICE_AND_SECRET=1",
        b"BWS_ACCESS_TOKEN=second",
        b"TWICE_AND_SECRET=2",
        b"EMPTY=",
        b"BASH_FUNC_f%%=() {  :; }",
    ];
    let launch = |option: &str| {
        scenario.launch_without_token().option(option).command(["/bin/cat", "/proc/self/environ"])
    };
    let outcome = with_raw_environment(launch("-v").launcher(), &inherited);
    assert_eq!(outcome.code(), Some(0), "{}", outcome.stderr);
    let expected: [&[u8]; 6] = [
        b"A=first",
        b"NOT_UTF8\xff=\xfe\xff",
        b"EMPTY=",
        b"BASH_FUNC_f%%=() {  :; }",
        b"KEY=value",
        b"TWICE_AND_SECRET=new",
    ];
    let expected: Vec<u8> = expected.iter().flat_map(|entry| [entry, &b"\0"[..]].concat()).collect();
    assert_eq!(String::from_utf8_lossy(&outcome.stdout), String::from_utf8_lossy(&expected));
    assert_eq!(outcome.stdout, expected, "the bytes themselves");
    let notices: Vec<&str> = outcome.stderr.lines().collect();
    let dropped = "bws-exec: notice: an inherited entry without a name was dropped";
    assert_eq!(
        notices[..5],
        [
            dropped,
            dropped,
            "bws-exec: notice: inherited 'A' was there twice; the first is kept",
            dropped,
            "bws-exec: notice: inherited 'TWICE_AND_SECRET' was there twice; the first is kept",
        ]
    );
    assert!(
        notices[5].starts_with("bws-exec: notice: the inherited 'TWICE_AND_SECRET' is replaced by secret")
    );
    assert_eq!(notices.len(), 6);
    // Without -v, none of this is worth a word.
    with_raw_environment(launch("--no-inherit-env").launcher(), &inherited).succeeded();
}

/// What the kernel says to an environment with one variable of this size, NUL included.
fn kernel_takes(size: usize) -> bool {
    let value = "x".repeat(size - "BIG=".len() - 1);
    let mut command = Command::new("/bin/true");
    let started = command.env_clear().env("BIG", value).stdin(Stdio::null()).status();
    match started {
        Ok(status) => status.success(),
        Err(error) => {
            assert_eq!(error.raw_os_error(), Some(libc::E2BIG));
            false
        }
    }
}

#[test]
fn the_largest_variable_the_kernel_takes() {
    const LIMIT: usize = 131_072;
    assert!(kernel_takes(LIMIT) && !kernel_takes(LIMIT + 1), "pages of 4 KiB");
    let fits = "x".repeat(LIMIT - "BIG=".len() - 1);
    let scenario = Scenario::new();
    let owner = scenario.vault.owner();
    let id = owner.create_secret(scenario.project, "BIG", &fits);
    let outcome = scenario.launch().command(["sh", "-c", "printf %s ${#BIG}"]).run();
    outcome.succeeded();
    assert_eq!(outcome.text(), fits.len().to_string());

    owner.update_secret(id, format!("{fits}x"));
    let expected = format!(
        "bws-exec: error[variable-too-large]: 'BIG' takes 131073 bytes and the kernel allows 131072 for one variable \
         (secret 'BIG', id {id}, in project 'web')\n\
         bws-exec: hint: deliver it by --file, leave it out by --exclude, or by --unset if it was inherited\n"
    );
    scenario.launch().command(["true"]).run().failed(125, &expected);
}

/// A stack of 1 MiB leaves a quarter of it for arguments and environment.
const SMALL_STACK: [&str; 2] = ["prlimit", "--stack=1048576:"];

#[test]
fn a_total_beyond_the_stack_limit() {
    const LIMIT: usize = 256 * 1024 - 4096;
    const POINTER: usize = 8;
    let size = |text: &str| text.len() + 1 + POINTER;
    // COMMAND is `true`, and PATH is inherited: the third secret takes what they leave.
    let others = size("true") + size(PATH) + 2 * (size("A=") + 100_000);
    let rest = LIMIT - others - size("C=");
    let scenario = Scenario::new().secret("A", "a".repeat(100_000)).secret("B", "b".repeat(100_000));
    let owner = scenario.vault.owner();
    let id = owner.create_secret(scenario.project, "C", "c".repeat(rest));
    let run = || scenario.launch().under(SMALL_STACK).command(["true"]).run();
    run().succeeded();
    owner.update_secret(id, "c".repeat(rest + 1));
    let expected = format!(
        "bws-exec: error[environment-too-large]: environment and arguments take {} bytes and the kernel allows {LIMIT}; \
         largest: 'A' 100002 bytes, 'B' 100002 bytes, 'C' {} bytes, 'PATH' {} bytes\n\
         bws-exec: hint: deliver large ones by --file, select fewer by --project, --only or --exclude, or start clean by --no-inherit-env\n",
        LIMIT + 1,
        rest + 3,
        PATH.len()
    );
    run().failed(125, &expected);
    // With the usual stack it fits.
    scenario.launch().command(["true"]).run().succeeded();
    // Beyond our margin the kernel refuses too, so the check is not mere caution.
    let launch = |value: usize| {
        let launch = Launch::new().env("A", "a".repeat(100_000)).env("B", "b".repeat(100_000));
        launch.env("C", "c".repeat(value)).command(["/bin/true"])
    };
    assert_eq!(launch(1).under(SMALL_STACK).run_direct().code(), Some(0));
    let outcome = launch(rest + 4096).under(SMALL_STACK).run_direct();
    assert_eq!(outcome.code(), Some(126), "E2BIG: {}", outcome.stderr);
}

#[test]
fn a_value_that_no_environment_can_hold() {
    let scenario = Scenario::new();
    let id = scenario.vault.owner().create_secret(scenario.project, "KEY", b"before\0after");
    let expected = format!(
        "bws-exec: error[nul-in-value]: the value of 'KEY' contains a NUL byte (secret 'KEY', id {id}, in project \
         'web')\n\
         bws-exec: hint: no environment can carry NUL: deliver it by --file, or leave it out by --exclude\n"
    );
    scenario.launch().command(["true"]).run().failed(125, &expected);
}

#[test]
fn any_other_value_passes_unchanged() {
    let value = "\u{feff}  two\r\nlines\t\"quoted\" 'too' $HOME `id` \\ \u{1f511} =x\n\n";
    let scenario = Scenario::new().secret("KEY", value).secret("EMPTY", "").secret("_x9", "=");
    let outcome = scenario.launch().command(ENTRIES).run();
    outcome.succeeded();
    assert_eq!(entries(&outcome), ["EMPTY=", &format!("KEY={value}"), PATH, "_x9=="]);
}

#[test]
fn a_value_that_stands_in_the_arguments() {
    let scenario = Scenario::new().secret("PASSWORD", "twelve bytes").secret("SHORT", "only eleven");
    let run = |argument: &str| scenario.launch().command(["sh", "-c", ":", argument]).run();
    let warning =
        "bws-exec: warning: the value of 'PASSWORD' stands in the command's arguments, where ps shows it\n";
    for argument in ["twelve bytes", "--password=twelve bytes", "=twelve bytes"] {
        let outcome = run(argument);
        assert_eq!((outcome.code(), outcome.stderr.as_str()), (Some(0), warning), "{argument}");
    }
    // Chance is likely below 12 bytes, and inside of other words.
    for argument in ["only eleven", "--x=only eleven", "-ptwelve bytes", "twelve bytes!", "twelve"] {
        run(argument).succeeded();
    }
}
