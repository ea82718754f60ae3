//! What is never said about the access token.

use crate::support::Launch;

/// A token is shown nowhere, whatever is wrong with it and wherever it was typed.
#[test]
fn no_error_shows_a_part_of_the_token() {
    const ID: &str = "ec2c1d46-6a4b-4751-a310-af9601317f2d";
    const SECRET: &str = "C2IgxjjLF7qSshsbwe8JGcbM075YXw";
    const KEY: &str = "X8vbvA0bduihIDe/qrzIQQ==";
    let token = format!("0.{ID}.{SECRET}:{KEY}");
    let check = |launch: Launch, what: &str| {
        let outcome = launch.env("PATH", "/usr/bin:/bin").run();
        assert!(matches!(outcome.code(), Some(125 | 127)), "{what}: {}", outcome.stderr);
        for part in [SECRET, KEY, &SECRET[..12], &KEY[..12]] {
            assert!(!outcome.stderr.contains(part), "{what}: {}", outcome.stderr);
        }
    };
    let malformed = [
        token.replacen("0.", "1.", 1),
        token.replace(':', "."),
        token[2..].to_owned(),
        token.replace(ID, &ID.replace('-', "_")),
        token.replace("X8vb", "X8 b"),
        token.replace("qrzIQQ", "qrzI"),
        format!("'{token}'"),
        format!("BWS_ACCESS_TOKEN={token}"),
        format!("{token}{token}"),
    ];
    for text in &malformed {
        check(Launch::new().env("BWS_ACCESS_TOKEN", text).command(["true"]), text);
        check(Launch::new().option("-t").option(text).command(["true"]), text);
    }
    for option in [
        "--access-token-file",
        "--access-token-fd",
        "--acess-token",
        "--token",
        "--server-url",
        "--region",
        "--ca-file",
        "--deadline",
        "--on-conflict",
        "--status-fd",
    ] {
        check(Launch::new().option(option).option(&token).command(["true"]), option);
        check(Launch::new().option(format!("{option}={token}")).command(["true"]), option);
    }
    for text in [token[2..].to_owned(), token.replace(ID, &ID.replace('-', ""))] {
        check(Launch::new().option("--access-token-file").option(&text).command(["true"]), &text);
        check(Launch::new().command([&text]), &text);
    }
    check(Launch::new().command([&token]), "as the command");
    check(Launch::new().option(format!("-x{token}")).command(["true"]), "-x");
    check(Launch::new().options(["-t", &token, "-t", &token]).command(["true"]), "twice");
    for name in
        ["BWS_ACCESS_TOKEN_FILE", "BWS_SERVER_URL", "BWS_REGION", "BWS_EXEC_DEADLINE", "SSL_CERT_FILE"]
    {
        check(Launch::new().env(name, &token).command(["true"]), name);
    }
    // Its id is no secret, and tells which token was meant.
    let outcome = Launch::new().option("--access-token-file").option(&token).command(["true"]).run();
    assert!(outcome.stderr.contains(&format!("file 0.{ID}.[redacted]: No such file")), "{}", outcome.stderr);
}
