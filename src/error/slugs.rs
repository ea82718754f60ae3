//! Every slug, with what it means and what to do, for the man page. The message and the hint of an error
//! know more, for they know the case.

use crate::exit::Exit;

/// Slugs of errors with one exit code, in alphabetical order.
pub struct Group {
    pub exits: &'static [Exit],
    pub slugs: &'static [(&'static str, &'static str)],
}

pub static GROUPS: [Group; 3] = [
    Group {
        exits: &[Exit::Unavailable],
        slugs: &[
            ("connect", "No connection to the server or the proxy. Check the network and the address."),
            ("connection-broken", "The connection ended before the answer was complete. Try again later."),
            (
                "copy-too-old",
                "With --offline: the last login behind the copy is longer ago than --max-stale. Run once without \
                 --offline.",
            ),
            ("dns", "The server's name has no address. Check the name and /etc/resolv.conf."),
            (
                "engine",
                "docker or podman failed while --container prepared the run. Its own words stand above.",
            ),
            (
                "intercepted",
                "HTTP status 403 with a web page: a proxy or firewall seems to stand in the way. Ask its operator.",
            ),
            (
                "no-copy",
                "With --offline: there is no copy for this token and server. Run once without --offline.",
            ),
            (
                "rate-limited",
                "Too many requests from this address; logins are limited to 10 a minute. Wait, and use --cache-dir \
                 if many starts are normal.",
            ),
            ("timeout", "The server did not answer in time. Check the network, or give more by --deadline."),
            (
                "token-late",
                "What was to hand over the token did not end within --deadline. It must close its side of the pipe.",
            ),
            ("unavailable", "The server answered with a status such as 500 or 503. Try again later."),
        ],
    },
    Group {
        exits: &[Exit::NotExecutable, Exit::NotFound],
        slugs: &[
            (
                "command-not-executable",
                "COMMAND is there and cannot be executed. Check its mode; a script needs #! on its first line.",
            ),
            (
                "command-not-found",
                "There is no COMMAND of that name. Check the spelling and PATH; shell syntax needs sh -c.",
            ),
            (
                "exec",
                "The kernel would not start COMMAND: 126, or 127 if a part of it such as its interpreter is missing. \
                 It is 125 if arguments and environment were too large. Run COMMAND without bws-exec.",
            ),
        ],
    },
    Group {
        exits: &[Exit::Failed],
        slugs: &[
            ("ambiguous-project", "More than one project has that name. Give its id."),
            (
                "ambiguous-reference",
                "More than one secret fits the reference. Name its project, or give its id.",
            ),
            (
                "ca-file",
                "The CA certificates cannot be used. Give a file of PEM certificates that this user may read.",
            ),
            (
                "certificate",
                "The server's certificate is untrusted, expired or for another name. Add the issuing CA by \
                 --ca-file, or check the name and this clock.",
            ),
            ("config-file", "The configuration of `bws` cannot be used. See --config-file and --profile."),
            (
                "conflict",
                "With --on-conflict error: a secret would replace an inherited variable. Take that away by --unset, \
                 or choose who wins.",
            ),
            ("copy-unusable", "With --offline: the copy cannot be opened. Check who may write there."),
            (
                "dangerous-name",
                "A secret's key is a name that changes how programs run, such as LD_PRELOAD. Rename it, leave it \
                 out by --exclude, or accept it by --allow-name.",
            ),
            (
                "duplicate-name",
                "Two secrets would set one variable. Rename one, choose one by --project or --map, or use \
                 --uuids-as-keynames.",
            ),
            ("env-file", "An env file cannot be read or understood; the message has line and column."),
            (
                "environment-too-large",
                "Environment and arguments exceed what the kernel allows. Select less, or deliver large values by \
                 --file.",
            ),
            (
                "file",
                "A file in memory cannot be made. Check limits, the seccomp profile, and that /proc is mounted.",
            ),
            ("file-directory", "A path= of --file needs a directory that is empty, or that can be created."),
            ("file-owner", "An owner= of --file other than this user needs CAP_CHOWN."),
            ("forbidden", "The server forbids this machine account to read secrets. Grant it a project."),
            (
                "hand-over",
                "No environment reached the container. For docker start and restarts use --container=token.",
            ),
            ("hand-over-place", "--container needs a tmpfs to write to: XDG_RUNTIME_DIR, /run or /dev/shm."),
            (
                "image-architecture",
                "The image is for another machine type than this bws-exec. Use one for this machine.",
            ),
            ("internal", "A bug of ours. Please report it; the message holds no secret."),
            (
                "invalid-client",
                "The server refused the token. Likely causes, in order: wrong region or server, expired, revoked, \
                 mistyped, organization disabled. Copy and session are deleted.",
            ),
            (
                "invalid-name",
                "A secret's key cannot name a variable. Rename it, leave it out by --exclude, name it by --map, or \
                 use --uuids-as-keynames.",
            ),
            ("login-refused", "The server refused the login for the reason in the message."),
            (
                "missing-secret",
                "The reference fits no secret that this token reads. Check it, or allow its absence by --optional.",
            ),
            ("no-match", "A selector matches nothing. Check its spelling and the account's projects."),
            (
                "no-payload",
                "The login answer lacks what opens the secrets. Is this a machine account's token?",
            ),
            (
                "not-found",
                "The server knows no such resource. Check that the URLs are base URLs of Bitwarden's API.",
            ),
            (
                "nul-in-value",
                "A value contains a NUL byte, which no environment can carry. Deliver it by --file.",
            ),
            (
                "organization-key",
                "The key in the login answer cannot be opened: the part of the token behind the colon does not fit.",
            ),
            ("output", "Standard output cannot be written. Check where it goes."),
            ("oversize", "An answer is larger than any that is accepted."),
            (
                "pointer",
                "The JSON pointer behind # leads to nothing in that secret. Check it, or allow that by --optional.",
            ),
            (
                "private-mount",
                "A path= of --file needs CAP_SYS_ADMIN, as root has it. Without path= no right is needed.",
            ),
            (
                "protocol",
                "The answer is not Bitwarden's protocol. Check that the URLs are base URLs of Bitwarden's API.",
            ),
            ("proxy", "The proxy's URL cannot be used. Check HTTPS_PROXY, or name the server in NO_PROXY."),
            (
                "redirect",
                "The server redirects, and redirects are never followed. Give the address it names, if that is yours.",
            ),
            ("reference", "A reference is malformed. It is ID, KEY or PROJECT/KEY, then #/json/pointer."),
            (
                "remote-engine",
                "--container needs an engine on this machine. Make bws-exec the image's entrypoint instead.",
            ),
            ("required", "A variable of --require would not be set. --dry-run shows what would."),
            (
                "resources",
                "The kernel gives too little to wait for the network. Check ulimit -n and the seccomp profile.",
            ),
            ("server-url", "A server's URL cannot be used. Give an https URL, or --region for the cloud."),
            (
                "spawn",
                "There may be no process for COMMAND. Check the limits (ulimit -u, pids.max) and the seccomp profile.",
            ),
            (
                "token-malformed",
                "What was given is no access token. Copy the whole token again, without quotes.",
            ),
            ("token-missing", "No access token was given. See ACCESS TOKEN."),
            (
                "token-unreadable",
                "The access token's file or descriptor cannot be read. Check that this user may.",
            ),
            (
                "unauthorized",
                "The server did not accept the session that it had just given. Check the API's URL.",
            ),
            (
                "undecryptable",
                "A secret cannot be decrypted. Store it again, or leave it out; newer encryption needs a newer \
                 bws-exec.",
            ),
            (
                "unknown-user",
                "There is no such user or group in /etc/passwd and /etc/group. A number needs no entry.",
            ),
            (
                "usage",
                "The command line, or a variable that stands for an option, is wrong. The hint says what to type.",
            ),
            (
                "user",
                "The command cannot become its --user, or not wholly. Start as root, or with CAP_SETUID and CAP_SETGID.",
            ),
            ("variable-too-large", "One variable exceeds what the kernel allows. Deliver it by --file."),
            (
                "web-page",
                "A web page came instead of an answer. Check that the URLs are base URLs of Bitwarden's API.",
            ),
        ],
    },
];

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// Slug by variant, as the match has them.
    fn slugs() -> BTreeMap<&'static str, &'static str> {
        let (_, function) = include_str!("../error.rs").split_once("pub const fn slug").unwrap();
        let arms = function.lines().filter_map(|line| {
            let (variant, slug) = line.trim().strip_prefix("Self::")?.split_once(" => \"")?;
            // A stage's words, in the same file, have spaces.
            Some((name(variant), slug.strip_suffix("\",").filter(|slug| !slug.contains(' '))?))
        });
        arms.collect()
    }

    fn name(variant: &str) -> &str {
        variant.split(|c: char| !c.is_alphanumeric()).next().unwrap()
    }

    #[test]
    fn every_slug_is_listed_once_in_order() {
        let listed: Vec<&str> = GROUPS.iter().flat_map(|group| group.slugs).map(|(slug, _)| *slug).collect();
        let all: BTreeSet<&str> = slugs().into_values().collect();
        assert!(all.len() > 50, "the match was understood: {all:?}");
        assert_eq!(listed.iter().copied().collect::<BTreeSet<_>>(), all);
        assert_eq!(listed.len(), all.len());
        for group in &GROUPS {
            assert!(group.slugs.is_sorted_by_key(|(slug, _)| *slug), "{:?}", group.exits);
        }
    }

    /// Against the class table: what stands before `=> Class::…`.
    #[test]
    fn every_slug_stands_under_its_exit_code() {
        let (_, table) = include_str!("class.rs").split_once("pub fn class").unwrap();
        let arms = table.split_once("/// The code we end with").unwrap().0;
        let code_of = |class: &str| match class {
            "Unavailable" => Exit::Unavailable,
            "NotExecutable" => Exit::NotExecutable,
            "NotFound" => Exit::NotFound,
            _ => Exit::Failed,
        };
        let mut checked = 0;
        let mut open: Vec<&str> = Vec::new();
        for line in arms.lines() {
            open.extend(line.match_indices("Self::").map(|(at, _)| name(&line[at + "Self::".len()..])));
            let Some((_, class)) = line.split_once("=> Class::") else { continue };
            let exit = code_of(name(class));
            for variant in open.drain(..).filter(|variant| *variant != "Exec") {
                let Some(slug) = slugs().get(variant).copied() else { continue };
                let group = GROUPS.iter().find(|group| group.slugs.iter().any(|(s, _)| *s == slug)).unwrap();
                assert!(group.exits.contains(&exit), "{slug}");
                checked += 1;
            }
        }
        assert!(checked > 50, "the table was understood: {checked}");
    }
}
