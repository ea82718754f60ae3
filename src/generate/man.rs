//! bws-exec(1). What the program knows is asked of the program; only what binds it together is written here.

use super::roff::{Page, bold, italic, literal};
use super::{Opt, Wants};
use crate::cli::help;
use crate::env_vars;
use crate::error::slugs;
use crate::exit::Exit;

const DESCRIPTION: [&str; 4] = [
    "By default every secret that the account can read is injected under its own key. Selectors such as --project \
     and --only choose some. References such as --map and --file name secrets one by one; then only what is named \
     is injected, unless there are selectors too.",
    "COMMAND is looked for before the first packet is sent. It keeps the process id, the descriptors, the terminal \
     and the signal dispositions that bws-exec was started with. Its arguments are handed on untouched: there is no \
     shell. The first word that is no option is COMMAND, and what follows it is COMMAND's, whatever it looks like.",
    "Errors, warnings and notices go to standard error. None of them ever shows the value of a secret, and nothing \
     is written to disk unless --cache-dir says so.",
    "A GLOB is matched against the whole key or name, with `*`, `?` and `[...]`. A DURATION is a number with ms, s, \
     m, h or d.",
];

const REFERENCE: [&str; 2] = [
    "A reference REF names one secret: its id, `KEY`, or `PROJECT/KEY`, where the project is given by name or id. \
     Behind it, `#/json/pointer` takes a part of a value that is JSON (RFC 6901). The characters / # | } and % in a \
     name are percent-encoded.",
    "In an env file a value can be `bws://REF` as a whole, or contain `${bws://REF}`, also as \
     `${bws://REF|urlencode}`. The value of a secret is never read as a reference.",
];

const FILES: [(&str, &str); 6] = [
    ("~/.config/bws/config", "The configuration of `bws`. Only the servers of its profiles are read."),
    ("/etc/hosts, /etc/resolv.conf", "How the server's name is looked up."),
    (
        "/etc/ssl/certs",
        "The system's certificates, here or where other distributions have them. Without any, Mozilla's roots are \
         used, which are part of the program.",
    ),
    (
        "DIR/bws-exec.UID/",
        "What --cache-dir keeps: a directory of mode 0700, made by us and used by nobody else. Its files can be \
         deleted at any time.",
    ),
    (
        "DIR/bws-exec.UID/*.snapshot, *.session",
        "The copy of the secrets and the session, one each for a token and server, sealed by AES-256-GCM under the \
         token.",
    ),
    (
        "DIR/bws-exec.UID/*.lock, *.refused, *.limits",
        "How simultaneous starts share one fetch, learn of a refusal, and remember a rate limit.",
    ),
];

const SECURITY: [&str; 4] = [
    "Root and other processes of the same user can read the environment and the files of a running command in \
     /proc, as for any process. Another user for each service, or ProtectProc= of systemd, helps.",
    "Only COMMAND and its descendants have the values. What starts beside it, such as docker exec or a health check, \
     does not: wrap that command too.",
    "--access-token can be seen by `ps` before it is overwritten, and stays in the shell's history. A file, a \
     descriptor or a credential has no such problem.",
    "What is promised, and what is not, is in docs/SECURITY.md of the source.",
];

pub fn page(definition: &clap::Command, options: &[Opt]) -> String {
    let name = definition.get_name();
    let mut page = Page::new(name, 1, env!("CARGO_PKG_VERSION"), "User Commands");
    let about = definition.get_about().map(ToString::to_string).unwrap_or_default();
    let about = about.trim_end_matches('.');
    let summary = format!("{}{}", about[..1].to_lowercase(), &about[1..]);
    page.section("NAME").raw(&format!("{} \\- {}", literal(name), literal(&summary)));
    page.section("SYNOPSIS");
    page.raw(&format!(
        "{} [{}]... [{}] {} [{}]...",
        bold(name),
        italic("OPTION"),
        bold("--"),
        italic("COMMAND"),
        italic("ARG")
    ));
    page.section("DESCRIPTION");
    let long = definition.get_long_about().map(ToString::to_string).unwrap_or_default();
    page.paragraphs(long.split("\n\n").skip(1));
    page.paragraphs(DESCRIPTION);
    list(&mut page, options);
    page.section("REFERENCES");
    page.paragraphs(REFERENCE);
    page.section("ACCESS TOKEN").paragraph(help::TOKEN);
    page.section("SERVER").paragraph(help::SERVER);
    page.section("EXIT STATUS");
    for exit in [Exit::Success].iter().chain(&Exit::FAILURES) {
        page.item(&bold(&exit.code().to_string()), &sentence(exit.meaning()));
    }
    page.paragraph(help::OTHER_CODES);
    errors(&mut page);
    page.section("ENVIRONMENT");
    for (name, text) in env_vars::READ {
        page.item(&bold(name), text);
    }
    page.paragraph(&format!(
        "{}, {} and all names that begin with {} are taken out of COMMAND's environment, wherever the token \
         came from.",
        env_vars::ACCESS_TOKEN,
        env_vars::ACCESS_TOKEN_FILE,
        env_vars::OWN_PREFIX
    ));
    page.section("FILES");
    for (path, text) in FILES {
        page.item(&italic(path), text);
    }
    page.section("EXAMPLES");
    for (command, text) in help::EXAMPLES {
        page.paragraph(text).example(command);
    }
    page.section("SECURITY");
    page.paragraphs(SECURITY);
    let others = [("env", 1), ("docker-run", 1), ("podman-run", 1), ("execve", 2), ("systemd.exec", 5)];
    let others = others.map(|(name, section)| format!("{}({section})", bold(name)));
    page.section("SEE ALSO").raw(&others.join(",\n"));
    page.finish()
}

/// By their headings, in the order of the definition.
fn list(page: &mut Page, options: &[Opt]) {
    page.section("OPTIONS");
    let mut heading = "";
    for option in options {
        if option.heading != heading {
            heading = &option.heading;
            page.subsection(heading);
        }
        let mut text = sentence(&option.help);
        let value = option.value.as_ref();
        if let Some(Wants::Words(words)) = value.map(|value| &value.wants) {
            text += &format!(" One of: {}.", words.join(", "));
        }
        if let Some(default) = value.and_then(|value| value.default.as_deref()) {
            text += &format!(" [default: {default}]");
        }
        page.item(&term(option), &text);
    }
}

/// `-t, --access-token TOKEN`, `--dry-run[=FORMAT]`.
fn term(option: &Opt) -> String {
    let names: Vec<String> = option.names().map(|name| bold(&name)).collect();
    let value = option.value.as_ref().map(|value| match value.is_optional {
        true => format!("[={}]", italic(&value.name)),
        false => format!(" {}", italic(&value.name)),
    });
    names.join(", ") + &value.unwrap_or_default()
}

fn errors(page: &mut Page) {
    page.section("ERRORS").paragraph(
        "An error is two lines: what is wrong, with a stable word in brackets that scripts can rely on, and a hint \
         that says what to do next.",
    );
    page.example(
        "bws-exec: error[token-missing]: no access token was given\nbws-exec: hint: set BWS_ACCESS_TOKEN …",
    );
    for group in slugs::GROUPS {
        let codes: Vec<String> = group.exits.iter().map(|exit| exit.code().to_string()).collect();
        let meanings: Vec<&str> = group.exits.iter().map(|exit| exit.meaning()).collect();
        page.subsection(&format!("Exit status {}: {}", codes.join(", "), meanings.join("; ")));
        for (slug, text) in group.slugs {
            page.item(&bold(slug), text);
        }
    }
}

/// Texts of options have no full stop, as is the custom in `--help`.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    let stop = if text.ends_with(['.', ']']) { "" } else { "." };
    format!("{first}{}{stop}", letters.as_str())
}
