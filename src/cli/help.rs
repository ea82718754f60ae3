//! What `--help` says below the options, and the man page with it: each text once.

use crate::env_vars;
use crate::exit::Exit;

/// Where the access token is taken from.
pub const TOKEN: &str = "\
The access token is taken from, in this order: one of the three options; BWS_ACCESS_TOKEN; \
BWS_ACCESS_TOKEN_FILE; a descriptor named bws-access-token in LISTEN_FDNAMES; \
$CREDENTIALS_DIRECTORY/bws-access-token.";

/// Where the server's address is taken from.
pub const SERVER: &str = "\
The server: --api-url with --identity-url, --server-url or --region; BWS_SERVER_URL; BWS_REGION; \
a profile of `bws`; us.";

/// What holds for every code that is not in the table.
pub const OTHER_CODES: &str = "Any other code is COMMAND's own, for we have become it.";

/// A command line and what it is for. A test runs them all.
pub const EXAMPLES: [(&str, &str); 6] = [
    ("bws-exec -- ./server --port 8080", "Every secret that the token can read, under its own key."),
    (
        "bws-exec --access-token-file /run/secrets/token --project web -- node app.js",
        "The secrets of one project, with the token from a file.",
    ),
    (
        "bws-exec --map DATABASE_URL=web/DB_URL -- sh -c 'psql \"$DATABASE_URL\"'",
        "One secret and no other, under a name of your choice. There is no shell unless you ask for one.",
    ),
    (
        "bws-exec --file TLS_KEY=web/TLS_KEY -- ./server",
        "One secret in a file that exists in memory only. The variable TLS_KEY holds its path.",
    ),
    ("bws-exec --cache-dir /var/cache/app -- ./server", "Starts from a sealed copy when the server is away."),
    ("bws-exec --dry-run -- ./server", "Shows names, sources and problems, and does not run the command."),
];

/// As wide as a terminal is.
const WIDTH: usize = 80;

/// All of it, for `--help`.
pub fn after_help() -> String {
    let named_above = |name: &&str| !TOKEN.contains(name) && !SERVER.contains(name);
    let others: Vec<&str> = env_vars::READ.iter().map(|(name, _)| *name).filter(named_above).collect();
    let others = format!("Other variables: {}.", others.join(", "));
    let mut text: String = [TOKEN, SERVER, &others].map(|text| format!("{}\n\n", filled(text))).concat();
    text += "Exit codes:\n";
    for exit in Exit::FAILURES {
        text += &format!("  {:>3}  {}\n", exit.code(), exit.meaning());
    }
    text += &format!("{OTHER_CODES}\n\nExamples:");
    for (command, _) in EXAMPLES {
        text += &format!("\n  {command}");
    }
    text
}

/// Broken between words.
fn filled(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    lines.join("\n")
}
