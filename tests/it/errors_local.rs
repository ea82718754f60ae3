//! What is found out before the first packet: the command, the options, the token.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::errors::{echo, error, untouched};
use crate::support::{Launch, Outcome, Running, Scenario};

const ABSENT_HINT: &str = "check the spelling and PATH; shell syntax needs: sh -c '…'";
const MODE_HINT: &str = "check its mode; a script needs '#!' on its first line, or name its interpreter";
const TOKEN_HINT: &str =
    "copy the whole token again: it looks like 0.<uuid>.<secret>:<base64 key>, without quotes";
const READ_HINT: &str = "check that it exists and that this user may read it";
const HELP: &str = "bws-exec --help lists the options";
const URL_HINT: &str =
    "give an https URL such as https://vault.example.org, or use --region us|eu for the cloud";
const TOKEN: &str =
    "0.ec2c1d46-6a4b-4751-a310-af9601317f2d.C2IgxjjLF7qSshsbwe8JGcbM075YXw:X8vbvA0bduihIDe/qrzIQQ==";

/// A file with this mode.
fn file(directory: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = directory.join(name);
    // One of the same name may be read-only, and we need not be root.
    let _ = fs::remove_file(&path);
    fs::write(&path, text).expect("a file can be written");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode can be set");
    path
}

#[test]
fn commands_that_are_not_there() {
    let scenario = Scenario::new();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let script = file(directory.path(), "script", "#!/nowhere/interpreter -x\n", 0o755);
    let crlf = file(directory.path(), "crlf", "#!/bin/sh\r\n", 0o755);
    symlink("nowhere", directory.path().join("dangling")).expect("a link can be made");
    let shown = directory.path().display();
    let interpreter = |name: &str| format!("its '#!' line names {name}, which is not there");
    let absent = |command: &str, shown: &str, hint: &str| {
        let outcome = scenario.launch().command([command]).run();
        outcome.failed(127, &error("command-not-found", &format!("command not found: {shown}"), hint));
    };
    absent("no-such-command", "no-such-command", ABSENT_HINT);
    absent("./no-such-command", "./no-such-command", ABSENT_HINT);
    absent("/bin/sh/x", "/bin/sh/x", ABSENT_HINT);
    absent("echo $HOME", "echo $HOME", ABSENT_HINT);
    absent("", "''", ABSENT_HINT);
    absent("a\nb", "a\\nb", ABSENT_HINT);
    absent(&format!("{shown}/dangling"), &format!("{shown}/dangling"), ABSENT_HINT);
    absent(&script.display().to_string(), &format!("{shown}/script"), &interpreter("/nowhere/interpreter"));
    absent(&crlf.display().to_string(), &format!("{shown}/crlf"), &interpreter("/bin/sh\\r"));

    let launch = scenario.launch().env("PATH", directory.path()).command(["true"]);
    launch.run().failed(127, &error("command-not-found", "command not found: true", ABSENT_HINT));
    untouched(&scenario.vault);
}

#[test]
fn commands_that_cannot_be_executed() {
    let scenario = Scenario::new();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let shown = directory.path().display().to_string();
    file(directory.path(), "mode", "#!/bin/sh\n", 0o644);
    file(directory.path(), "text", "echo hello\n", 0o755);
    file(directory.path(), "empty", "", 0o755);
    fs::create_dir(directory.path().join("folder")).expect("a directory can be made");
    symlink("loop", directory.path().join("loop")).expect("a link can be made");
    let text = "it is neither a program nor a script that begins with '#!'";
    let unusable = |name: &str, problem: &str| {
        let stderr = error(
            "command-not-executable",
            &format!("command cannot be executed: {shown}/{name}: {problem}"),
            MODE_HINT,
        );
        scenario.launch().command([format!("{shown}/{name}")]).run().failed(126, &stderr);
        let in_path = scenario.launch().env("PATH", format!("/nowhere:{shown}")).command([name]);
        in_path.run().failed(126, &stderr);
    };
    unusable("mode", "Permission denied (os error 13)");
    unusable("folder", "it is a directory");
    unusable("text", text);
    unusable("empty", text);
    unusable("loop", "Too many levels of symbolic links (os error 40)");
    let outcome = scenario.launch().command(["/dev/null"]).run();
    let message = "command cannot be executed: /dev/null: it is a device";
    outcome.failed(126, &error("command-not-executable", message, MODE_HINT));
    untouched(&scenario.vault);
}

/// A program whose own loader is missing, which only the kernel can tell.
pub fn without_loader(directory: &Path) -> PathBuf {
    let mut program = fs::read("/bin/true").expect("there is a program");
    let loader = program
        .windows(6)
        .position(|window| window == b"/lib64")
        .or_else(|| program.windows(8).position(|window| window == b"/lib/ld-"));
    let loader = loader.expect("the system's programs are linked dynamically");
    program[loader + 1..loader + 4].copy_from_slice(b"non");
    let path = file(directory, "program", "", 0o755);
    fs::write(&path, program).expect("a file can be written");
    path
}

#[test]
fn commands_that_the_kernel_does_not_start() {
    let scenario = Scenario::new().secret("NAME", "value");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = without_loader(directory.path());
    let message =
        format!("the kernel would not start {}: No such file or directory (os error 2)", path.display());
    let hint = "run the command without bws-exec to see whether it starts at all";
    scenario.launch().command([&path]).run().failed(127, &error("exec", &message, hint));
}

#[test]
fn options() {
    let scenario = Scenario::new();
    let usage = |options: &[&str], message: &str, hint: &str| {
        let outcome = echo(scenario.launch().options(options)).run();
        outcome.failed(125, &error("usage", message, hint));
    };
    let duration = "expected a number with ms, s, m, h or d, such as 30s";
    usage(
        &["--bogus"],
        "unexpected argument '--bogus' found",
        "bws-exec --help lists the options; those of COMMAND come after COMMAND",
    );
    usage(
        &["--deadline", "soon"],
        &format!("invalid value 'soon' for '--deadline <DURATION>': {duration}"),
        HELP,
    );
    usage(&["--deadline", "0"], "--deadline 0 leaves no time for anything", "the default is 30s");
    usage(&["-q", "-v"], "the argument '--quiet' cannot be used with '--verbose...'", HELP);
    usage(
        &["--region", "eu"],
        "the server was given in more than one way",
        "choose: --region, or --server-url, or --api-url with --identity-url",
    );
    usage(
        &["--access-token-fd", "1"],
        "--access-token-fd 1 cannot carry a token",
        "use 0 for standard input, or 3 or more",
    );
    usage(
        &["--access-token-fd", "9", "--access-token-file", "x"],
        "--access-token-fd and --access-token-file were given together",
        "give the access token in one way only",
    );
    usage(
        &["--status-fd", "2"],
        "--status-fd 2 is one of the command's own descriptors",
        "use 3 or more, for example: --status-fd 3 3>status.jsonl",
    );
    usage(
        &["--status-fd", "9"],
        "--status-fd 9: Bad file descriptor (os error 9)",
        "open it before, for example: bws-exec --status-fd 9 … 9>status.jsonl",
    );
    usage(
        &["--allow-name", "A=B"],
        "--allow-name 'A=B' cannot be allowed",
        "a name is never empty, has no '=' or NUL, and is none of the token's variables",
    );
    let launch = echo(scenario.launch().env("BWS_EXEC_DEADLINE", "soon"));
    launch.run().failed(125, &error("usage", "invalid value 'soon' for BWS_EXEC_DEADLINE", duration));
    let launch = echo(scenario.launch().env("BWS_UUIDS_AS_KEYNAMES", "maybe"));
    let message = "invalid value 'maybe' for BWS_UUIDS_AS_KEYNAMES";
    launch.run().failed(125, &error("usage", message, "use true or false"));
    let hint = "for example: bws-exec -- ./server --port 8080";
    scenario.launch().run().failed(125, &error("usage", "no command was given", hint));

    let launch = echo(Launch::new().env("BWS_ACCESS_TOKEN", &scenario.token).options(["--region", "moon"]));
    launch.run().failed(125, &error("usage", "--region 'moon' is not known", "the regions are us and eu"));
    let urls = ["--api-url", scenario.vault.api_url()];
    let launch = echo(Launch::new().env("BWS_ACCESS_TOKEN", &scenario.token).options(urls));
    let message = "--api-url and --identity-url belong together";
    let hint = "give both, or --server-url if both are under one address";
    launch.run().failed(125, &error("usage", message, hint));
    untouched(&scenario.vault);
}

#[test]
fn servers() {
    let refused = |launch: Launch, what: &str, shown: &str, problem: &str| {
        let outcome = echo(launch.env("BWS_ACCESS_TOKEN", TOKEN)).run();
        outcome.failed(
            125,
            &error("server-url", &format!("cannot use '{shown}' as {what}: {problem}"), URL_HINT),
        );
    };
    let plain = "plain http is only accepted for 127.0.0.0/8, ::1 and localhost";
    let credentials = "it carries a user name or password";
    for (url, problem) in [
        ("vault.example.org", "it is not a URL with a scheme"),
        ("vault.example.org:443", "it names no host"),
        ("https://", "it is not a URL with a scheme"),
        ("http://vault.example.org", plain),
        ("http://10.0.0.1", plain),
        ("http://127.0.0.1.example.org", plain),
        ("http://[2001:db8::1]", plain),
        ("ftp://vault.example.org", "only https is accepted"),
        ("https://vault.example.org/#top", "a base URL has no '?' or '#'"),
    ] {
        refused(Launch::new().options(["--server-url", url]), "--server-url", url, problem);
        refused(Launch::new().env("BWS_SERVER_URL", url), "BWS_SERVER_URL", url, problem);
    }
    let query = "https://vault.example.org/?token=hunter2";
    refused(
        Launch::new().options(["-u", query]),
        "--server-url",
        "(not shown)",
        "a base URL has no '?' or '#'",
    );
    let long = format!("https://{}.example.org", "a".repeat(64));
    refused(Launch::new().options(["-u", &long]), "--server-url", &long, "no host can have that name");
    for (url, problem) in [
        ("https://user:hunter2@vault.example.org", credentials),
        ("http://user:hunter2@vault.example.org", credentials),
        ("https://hunter2@127.0.0.1", credentials),
        ("https://user:hunter2@vault.example.org:port", "it is not a URL with a scheme"),
        ("user:hunter2@vault.example.org", "it names no host"),
    ] {
        let split = ["--identity-url", "https://localhost:1", "--api-url", url];
        refused(Launch::new().options(split), "--api-url", "(not shown)", problem);
        refused(Launch::new().env("BWS_SERVER_URL", url), "BWS_SERVER_URL", "(not shown)", problem);
    }
}

/// Nothing of it is shown, wherever it comes from.
#[test]
fn malformed_tokens() {
    let scenario = Scenario::new();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let failed = |outcome: Outcome, origin: &str, problem: &str| {
        let message = format!("the access token from {origin} is malformed: {problem}");
        outcome.failed(125, &error("token-malformed", &message, TOKEN_HINT));
    };
    let no_key = "there is no ':' followed by an encryption key";
    let parts = "the part before ':' must have three pieces separated by '.'";
    let no_base64 = "the encryption key after ':' is not Base64";
    for (token, problem) in [
        (TOKEN.replace(':', "."), no_key),
        ("hunter2".to_owned(), no_key),
        (TOKEN[2..].to_owned(), parts),
        (format!("\"{TOKEN}\""), "its version is not 0"),
        (TOKEN.replacen("0.", "1.", 1), "its version is not 0"),
        (TOKEN.replace("ec2c", "zzzz"), "its second piece is not a UUID"),
        (TOKEN.replace("X8vb", "X8?b"), no_base64),
        (format!("{TOKEN}\n{TOKEN}"), no_base64),
        (TOKEN.replace("qrzIQQ", "qrzI"), "the encryption key after ':' has 15 bytes instead of 16"),
        (format!("{TOKEN}{}", "A".repeat(17_000)), "it is longer than 16384 bytes"),
    ] {
        if token.len() < 16_000 {
            failed(
                echo(scenario.launch().env("BWS_ACCESS_TOKEN", &token)).run(),
                "BWS_ACCESS_TOKEN",
                problem,
            );
        }
        let path = file(directory.path(), "token", &token, 0o400);
        let launch = scenario.launch_without_token().option("--access-token-file").option(&path);
        failed(echo(launch).run(), &format!("file {}", path.display()), problem);
        let launch = scenario.launch_without_token().options(["--access-token-fd", "0"]).stdin(&token);
        failed(echo(launch).run(), "descriptor 0", problem);
    }
    let launch = scenario.launch_without_token().options(["--access-token-fd", "0"]).stdin(b"0.\xff");
    failed(echo(launch).run(), "descriptor 0", "it is not text (UTF-8)");
    untouched(&scenario.vault);
}

#[test]
fn tokens_that_are_not_there() {
    let scenario = Scenario::new();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let missing = error(
        "token-missing",
        "no access token was given",
        "set BWS_ACCESS_TOKEN or BWS_ACCESS_TOKEN_FILE, or give --access-token-file PATH",
    );
    echo(scenario.launch_without_token()).run().failed(125, &missing);
    echo(scenario.launch().env("BWS_ACCESS_TOKEN", " \n")).run().failed(125, &missing);
    let empty = scenario.launch_without_token().options(["--access-token-fd", "0"]).stdin("\n");
    echo(empty).run().failed(125, &missing);

    let unreadable = |launch: Launch, origin: &str, cause: &str| {
        let message = format!("cannot read the access token from {origin}: {cause}");
        echo(launch).run().failed(125, &error("token-unreadable", &message, READ_HINT));
    };
    let from_file = |path: &str| scenario.launch().options(["--access-token-file", path]);
    let gone = "No such file or directory (os error 2)";
    unreadable(from_file(&path("absent")), &format!("file {}", path("absent")), gone);
    unreadable(from_file("/"), "file /", "Is a directory (os error 21)");
    // Typed where a path belongs: the id is all that is shown of it.
    let id = "0.ec2c1d46-6a4b-4751-a310-af9601317f2d.[redacted]";
    let message = format!("cannot read the access token from file {id}: {gone}");
    echo(from_file(TOKEN)).run().failed(125, &error("token-unreadable", &message, READ_HINT));
    let launch = scenario.launch_without_token().env("BWS_ACCESS_TOKEN_FILE", path("absent"));
    unreadable(launch, &format!("BWS_ACCESS_TOKEN_FILE {}", path("absent")), gone);
    let launch = scenario.launch().options(["--access-token-fd", "9"]);
    unreadable(launch, "descriptor 9", "Bad file descriptor (os error 9)");
    untouched(&scenario.vault);
}

/// A FIFO that nobody writes to, one that is never closed, and a pipe that stays open.
#[test]
fn tokens_that_do_not_come() {
    let scenario = Scenario::new();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let fifo = directory.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo starts").success());
    let late = |launch: Launch, origin: &str| {
        let outcome = echo(launch.options(["--deadline", "500ms"])).run();
        let message = format!("the access token from {origin} was not complete within --deadline 0.5s");
        let hint = "whatever writes the token must end, or close its side of the pipe";
        outcome.failed(75, &error("token-late", &message, hint));
        assert!(outcome.took >= Duration::from_millis(500), "{:?}", outcome.took);
        assert!(outcome.took < Duration::from_millis(3500), "{:?}", outcome.took);
    };
    let from_fifo = || scenario.launch_without_token().option("--access-token-file").option(&fifo);
    let origin = format!("file {}", fifo.display());
    late(from_fifo(), &origin);
    let mut writer = fs::File::options().read(true).write(true).open(&fifo).expect("a FIFO can be opened");
    std::io::Write::write_all(&mut writer, scenario.token.as_bytes()).expect("there is room");
    late(from_fifo(), &origin);

    let (reader, _writer) = std::io::pipe().expect("a pipe can be made");
    let launch = scenario.launch_without_token().options(["--access-token-fd", "7"]).descriptor(7, reader);
    late(launch, "descriptor 7");
    untouched(&scenario.vault);
}

#[test]
fn output_that_cannot_be_written() {
    let scenario = Scenario::new().secret("NAME", "value");
    let full = "cannot write to standard output: No space left on device (os error 28)";
    let hint = "check where the output goes: a full disk, for example";
    for options in [&["--help"][..], &["--version"], &["--dry-run"], &["--dry-run=json"]] {
        let run = |stdout: Stdio| {
            let mut process = scenario.launch().options(options).launcher();
            process.stdout(stdout);
            Running::new(process, None).finish()
        };
        let device = fs::File::options().write(true).open("/dev/full").expect("/dev/full is there");
        run(device.into()).failed(125, &error("output", full, hint));
        // Whoever stops reading, as `head` does, has seen enough.
        let (reader, writer) = std::io::pipe().expect("a pipe can be made");
        drop(reader);
        run(writer.into()).succeeded();
    }
}

/// A limit that leaves no descriptor to wait with.
#[test]
fn limits_that_are_too_tight() {
    let scenario = Scenario::new();
    let message = "the kernel gives this process too little to wait for the network: \
                   Too many open files (os error 24)";
    let hint = "check its limits (ulimit -n) and its seccomp profile";
    let launch = scenario.launch().under(["prlimit", "--nofile=4"]);
    echo(launch).run().failed(125, &error("resources", message, hint));
    untouched(&scenario.vault);
}
