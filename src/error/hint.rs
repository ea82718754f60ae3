//! What to do next, for every error.

use super::{CryptoProblem, Error, PointerProblem, seconds};

impl Error {
    /// What to do next.
    pub fn hint(&self) -> String {
        const BASE_URL: &str =
            "check --server-url, --api-url and --identity-url: they must be the base URLs of Bitwarden's API";
        const NAME: &str = "rename the secret, use --uuids-as-keynames, leave it out by --exclude";
        match self {
            Self::Usage { hint, .. } | Self::NoMatch { hint, .. } => hint.clone(),
            Self::TokenMissing => "set BWS_ACCESS_TOKEN or BWS_ACCESS_TOKEN_FILE, or give --access-token-file PATH".into(),
            Self::TokenMalformed { .. } => {
                "copy the whole token again: it looks like 0.<uuid>.<secret>:<base64 key>, without quotes".into()
            }
            Self::TokenUnreadable { .. } => "check that it exists and that this user may read it".into(),
            Self::TokenLate { .. } => "whatever writes the token must end, or close its side of the pipe".into(),
            Self::ServerUrl { .. } => {
                "give an https URL such as https://vault.example.org, or use --region us|eu for the cloud".into()
            }
            Self::CaFile { .. } => "give a file of PEM certificates that this user may read".into(),
            Self::Proxy { .. } => "check HTTPS_PROXY, or name this server in NO_PROXY".into(),
            Self::ConfigFile { .. } => {
                "see --config-file and --profile; --server-url or --region do without a configuration".into()
            }
            Self::EnvFile { line: 0, .. } => "check that it exists and that this user may read it".into(),
            Self::EnvFile { .. } => "a line is NAME=value, with '…' or \"…\" around values that need it".into(),
            Self::Reference { .. } => {
                "a reference is ID, KEY or PROJECT/KEY, then #/json/pointer if wanted; / # | } % inside a name \
                 are percent-encoded"
                    .into()
            }
            Self::MissingSecret { candidates, .. } if candidates.is_empty() => {
                "check its spelling and the account's projects, or allow its absence by --optional NAME".into()
            }
            Self::MissingSecret { candidates, .. } => format!("there is: {}", candidates.join("; ")),
            Self::AmbiguousReference { .. } => "name its project, PROJECT/KEY, or give its id".into(),
            Self::Pointer { problem: PointerProblem::NotJson, .. } => {
                "take the whole value, without '#', or store JSON in it".into()
            }
            Self::Pointer { .. } => "check what follows '#', or allow its absence by --optional NAME".into(),
            Self::Required { .. } => "bws-exec --dry-run shows what would be set; see --map and the selectors".into(),
            Self::UnknownUser { .. } => {
                "names are looked up in /etc/passwd and /etc/group only; a number needs no entry there".into()
            }
            Self::User { hint, .. } => (*hint).into(),
            Self::FileDirectory { .. } => {
                "path= needs a directory that is empty, or that can be created, and that the command's user may enter"
                    .into()
            }
            Self::PrivateMount { .. } => {
                "path= needs CAP_SYS_ADMIN, as root has it; without path= the file is a descriptor and needs no right".into()
            }
            Self::FileOwner { .. } => "owner= needs CAP_CHOWN, as root has it, or must be the user who runs this".into(),
            Self::File { .. } => "check limits (ulimit -n, ulimit -f, memory), the seccomp profile, and that /proc is mounted".into(),
            Self::CommandNotFound { because: Some(because), .. } => because.clone(),
            Self::CommandNotFound { .. } => "check the spelling and PATH; shell syntax needs: sh -c '…'".into(),
            Self::CommandNotExecutable { .. } => {
                "check its mode; a script needs '#!' on its first line, or name its interpreter".into()
            }
            Self::Spawn { .. } => {
                "check its limits (ulimit -u, the control group's pids.max) and its seccomp profile".into()
            }
            Self::Exec { .. } => "run the command without bws-exec to see whether it starts at all".into(),
            Self::Dns { .. } => "check the server's name and /etc/resolv.conf".into(),
            Self::Connect { .. } => "check the network and the server's address; a proxy is taken from HTTPS_PROXY".into(),
            Self::Broken { .. } | Self::Unavailable { .. } => "try again later".into(),
            Self::Timeout { .. } => "check the network, or give more time by --deadline".into(),
            Self::RateLimited { retry_after: Some(after), .. } => format!(
                "not a fault of the token; the server asks to wait {}; logins are limited to 10 a minute an address",
                seconds(*after)
            ),
            Self::RateLimited { .. } => {
                "not a fault of the token; wait a minute; logins are limited to 10 a minute an address".into()
            }
            Self::Intercepted { .. } => "a proxy or firewall seems to stand in the way".into(),
            Self::Certificate { .. } => "add the issuing CA by --ca-file, or check the server's name and this clock".into(),
            Self::GaveUp { last: error, .. } | Self::Of { error, .. } => error.hint(),
            Self::NoCopy { .. } | Self::CopyTooOld { .. } => {
                "run once without --offline while the server can be reached".into()
            }
            Self::CopyUnusable { .. } => {
                "check who may write there; a run without --offline writes a new copy".into()
            }
            Self::InvalidClient { .. } => {
                "likely causes, in order: wrong region or server (--region, --server-url), token expired, revoked, \
                 mistyped, organization disabled"
                    .into()
            }
            Self::LoginRefused { .. } => "the token may not be one of Secrets Manager, or the server is too old".into(),
            Self::Unauthorized { .. } => "check that --api-url and --identity-url belong to the same server".into(),
            Self::Forbidden { .. } => "check that the organization has Secrets Manager and the account may use it".into(),
            Self::NotFound { .. } | Self::WebPage { .. } | Self::Protocol { .. } => BASE_URL.into(),
            Self::Redirect { .. } => "redirects are never followed with credentials: give the final URL".into(),
            Self::Oversize { .. } => "grant this machine account fewer projects, or split it".into(),
            Self::NoPayload => "create a new access token for this machine account".into(),
            Self::OrganizationKey { problem: CryptoProblem::KeyKind(_) | CryptoProblem::UnsupportedType(7) } => {
                "this organization uses newer encryption: update bws-exec".into()
            }
            Self::OrganizationKey { .. } => "the part of the token after ':' seems wrong: copy the token again".into(),
            Self::Undecryptable { problem, part, .. } => {
                let newer = *problem == CryptoProblem::UnsupportedType(7);
                let way = match newer {
                    true => "this secret uses newer encryption: update bws-exec",
                    false => "store the secret again in Bitwarden",
                };
                // A key that cannot be read cannot be excluded by a glob.
                let selector = if *part == "key" { "--only" } else { "--exclude" };
                format!("{way}, or leave it out by {selector} or --project")
            }
            Self::AmbiguousProject { .. } => "give the project's id instead".into(),
            Self::InvalidName { unusual_but_possible: true, name, id, .. } => {
                format!("{NAME} and name it by --map NAME={id}, or accept it by --allow-name '{}'", name.replace('\'', "'\\''"))
            }
            Self::InvalidName { id, .. } => format!("{NAME} and name it by --map NAME={id}"),
            Self::DuplicateName { .. } => {
                "rename one of them, choose one by --project or --map, or use --uuids-as-keynames".into()
            }
            Self::DangerousName { name, .. } => {
                format!("rename the secret, leave it out by --exclude, or accept it by --allow-name {name}")
            }
            Self::Conflict { .. } => "choose by --on-conflict secret|inherited, or take the variable away by --unset".into(),
            Self::NulInValue { .. } => "no environment can carry NUL: deliver it by --file, or leave it out by --exclude".into(),
            Self::VariableTooLarge { .. } => {
                "deliver it by --file, leave it out by --exclude, or by --unset if it was inherited".into()
            }
            Self::EnvironmentTooLarge { .. } => {
                "deliver large ones by --file, select fewer by --project, --only or --exclude, or start clean by --no-inherit-env".into()
            }
            Self::RemoteEngine { .. } => {
                "--container mounts files of this machine: run it where the engine is, or make bws-exec the entrypoint"
                    .into()
            }
            Self::ImageArchitecture { .. } => {
                "use an image for this machine, or put a fitting bws-exec into the image as its entrypoint".into()
            }
            Self::Engine { .. } => "its own words stand above; check that the engine runs and that the image's name is right".into(),
            Self::HandOverPlace { .. } => {
                "it needs a tmpfs that this user may write to: XDG_RUNTIME_DIR, /run or /dev/shm".into()
            }
            Self::HandOver { .. } => {
                "--container=socket serves one start; for docker start and restarts use --container=token".into()
            }
            Self::Output { .. } => "check where the output goes: a full disk, for example".into(),
            Self::Resources { .. } => "check its limits (ulimit -n) and its seccomp profile".into(),
            Self::Internal(_) => "please report this".into(),
        }
    }
}
