//! Every environment variable with a meaning for us.

/// The access token itself.
pub const ACCESS_TOKEN: &str = "BWS_ACCESS_TOKEN";
/// A file that holds the access token: the container convention.
pub const ACCESS_TOKEN_FILE: &str = "BWS_ACCESS_TOKEN_FILE";
pub const SERVER_URL: &str = "BWS_SERVER_URL";
pub const REGION: &str = "BWS_REGION";
pub const CONFIG_FILE: &str = "BWS_CONFIG_FILE";
pub const PROFILE: &str = "BWS_PROFILE";
pub const UUIDS_AS_KEYNAMES: &str = "BWS_UUIDS_AS_KEYNAMES";

/// Options of ours for images whose entrypoint is fixed.
pub const OWN_PREFIX: &str = "BWS_EXEC_";
pub const PROJECT: &str = "BWS_EXEC_PROJECT";
pub const DEADLINE: &str = "BWS_EXEC_DEADLINE";
pub const CACHE_DIR: &str = "BWS_EXEC_CACHE_DIR";
pub const MAX_STALE: &str = "BWS_EXEC_MAX_STALE";
pub const MAX_AGE: &str = "BWS_EXEC_MAX_AGE";
/// Those that exist. Any other name with the prefix is most likely a mistyped one of these.
pub const OWN: [&str; 5] = [PROJECT, DEADLINE, CACHE_DIR, MAX_STALE, MAX_AGE];

/// `systemd.exec(5)`: where credentials are, and the descriptor of that name.
pub const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";
pub const CREDENTIAL: &str = "bws-access-token";
/// `sd_listen_fds(3)`: the socket activation protocol.
pub const LISTEN_PID: &str = "LISTEN_PID";
pub const LISTEN_FDS: &str = "LISTEN_FDS";
pub const LISTEN_FDNAMES: &str = "LISTEN_FDNAMES";
/// `sd_watchdog_enabled(3)`, and which process a service was started as.
pub const WATCHDOG_PID: &str = "WATCHDOG_PID";
pub const SYSTEMD_EXEC_PID: &str = "SYSTEMD_EXEC_PID";

/// `systemd.exec(5)`: which file stderr is, if it leads to the journal.
pub const JOURNAL_STREAM: &str = "JOURNAL_STREAM";

/// Where docker's and podman's clients look for an engine, and where files in memory are.
pub const DOCKER_HOST: &str = "DOCKER_HOST";
pub const CONTAINER_HOST: &str = "CONTAINER_HOST";
pub const CONTAINER_CONNECTION: &str = "CONTAINER_CONNECTION";
pub const XDG_RUNTIME_DIR: &str = "XDG_RUNTIME_DIR";

/// `true` in every step of GitHub Actions.
pub const GITHUB_ACTIONS: &str = "GITHUB_ACTIONS";

/// Those of a login, which `--user` changes.
pub const HOME: &str = "HOME";
pub const USER: &str = "USER";
pub const LOGNAME: &str = "LOGNAME";

pub const PATH: &str = "PATH";
pub const SSL_CERT_FILE: &str = "SSL_CERT_FILE";
pub const SSL_CERT_DIR: &str = "SSL_CERT_DIR";

/// What is read of the environment, as the man page lists it, and `--help` by name.
pub static READ: [(&str, &str); 26] = [
    (ACCESS_TOKEN, "The access token. Its memory is overwritten as the first thing."),
    (ACCESS_TOKEN_FILE, "A file that holds the access token."),
    (SERVER_URL, "As --server-url."),
    (REGION, "As --region."),
    (CONFIG_FILE, "As --config-file."),
    (PROFILE, "As --profile."),
    (UUIDS_AS_KEYNAMES, "As --uuids-as-keynames: true or false."),
    (PROJECT, "As --project, if neither that nor --all is given."),
    (DEADLINE, "As --deadline."),
    (CACHE_DIR, "As --cache-dir."),
    (MAX_STALE, "As --max-stale."),
    (MAX_AGE, "As --max-age."),
    (CREDENTIALS_DIRECTORY, "Where systemd puts credentials. The token is the one called bws-access-token."),
    (
        LISTEN_FDNAMES,
        "With LISTEN_FDS and LISTEN_PID: descriptors that systemd hands over. The one called bws-access-token is \
         read and closed; the others move down, and all three variables are rewritten for COMMAND.",
    ),
    (SSL_CERT_FILE, "Certificates to trust instead of the system's; --ca-file adds to them."),
    (SSL_CERT_DIR, "Directories of such certificates."),
    ("HTTPS_PROXY", "The proxy to the server. ALL_PROXY and names in lower case are read too."),
    ("NO_PROXY", "Hosts that are asked without the proxy."),
    (HOME, "Where the configuration of `bws` is, unless --config-file says."),
    (PATH, "Where COMMAND is looked for."),
    (
        DOCKER_HOST,
        "Where --container looks for the engine, as its client does. For podman: CONTAINER_HOST and \
         CONTAINER_CONNECTION.",
    ),
    (
        WATCHDOG_PID,
        "With LISTEN_PID and SYSTEMD_EXEC_PID: rewritten by a launcher that stays, to name the command.",
    ),
    (
        JOURNAL_STREAM,
        "Whether standard error is the journal, where the helper of --container may go on speaking.",
    ),
    (GITHUB_ACTIONS, "Whether --github-mask has somebody to tell."),
    (LOGNAME, "With HOME and USER: set to the user's by --user."),
    (XDG_RUNTIME_DIR, "Where --container makes its directory, if that is in memory."),
];

/// Whether the command may never see a variable of this name: it leads to the token, or steers us.
pub fn is_ours(name: &[u8]) -> bool {
    name == ACCESS_TOKEN.as_bytes()
        || name == ACCESS_TOKEN_FILE.as_bytes()
        || name.starts_with(OWN_PREFIX.as_bytes())
}
