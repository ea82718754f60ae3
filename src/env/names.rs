//! Which names a secret may give to a variable.

use super::Naming;
use crate::env_vars;
use crate::ids::SecretId;

/// What is to be thought of a name that comes from a secret's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Fine,
    /// It leads to the token or steers us: never given to the command.
    Ours,
    /// It would change how programs run. `--allow-name` lets it through.
    Dangerous,
    /// Possible, but no name by POSIX. `--allow-name` lets it through.
    Unusual(&'static str),
    /// No environment can hold it.
    Impossible(&'static str),
}

/// Names by which programs load code, run commands or trust certificates. Whoever may edit one secret
/// would otherwise decide what every service executes. No such list is ever complete; naming the
/// variables yourself is the strong form.
const DANGEROUS: [&str; 73] = [
    // Loader and C library (ld.so(8) ignores most of these in set-user-ID programs).
    "GLIBC_TUNABLES",
    "GCONV_PATH",
    "GETCONF_DIR",
    "HOSTALIASES",
    "LOCALDOMAIN",
    "LOCPATH",
    "MALLOC_TRACE",
    "NLSPATH",
    "RESOLV_HOST_CONF",
    "RES_OPTIONS",
    "TZDIR",
    // Shells.
    "BASHOPTS",
    "BASH_ENV",
    "CDPATH",
    "ENV",
    "FPATH",
    "IFS",
    "PATH",
    "PROMPT_COMMAND",
    "PS0",
    "PS1",
    "PS2",
    "PS4",
    "SHELL",
    "SHELLOPTS",
    "ZDOTDIR",
    // Where programs find their settings, and programs that others start.
    "HOME",
    "XDG_CONFIG_HOME",
    "XDG_CONFIG_DIRS",
    "XDG_DATA_DIRS",
    "BROWSER",
    "EDITOR",
    "VISUAL",
    "PAGER",
    "MANPAGER",
    "LESSOPEN",
    "LESSCLOSE",
    "TMPDIR",
    // Languages.
    "NODE_OPTIONS",
    "NODE_PATH",
    "NODE_REPL_EXTERNAL_MODULE",
    "ELECTRON_RUN_AS_NODE",
    "PERLLIB",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "RUSTC_WRAPPER",
    "RUBYLIB",
    "RUBYOPT",
    "RUBYSHELL",
    "GEM_HOME",
    "GEM_PATH",
    "BUNDLE_GEMFILE",
    "JAVA_HOME",
    "JAVA_TOOL_OPTIONS",
    "JAVA_OPTS",
    "JDK_JAVA_OPTIONS",
    "_JAVA_OPTIONS",
    "CLASSPATH",
    "MAVEN_OPTS",
    "GRADLE_OPTS",
    "PHPRC",
    "PHP_INI_SCAN_DIR",
    "LUA_INIT",
    "LUA_PATH",
    "LUA_CPATH",
    "R_PROFILE_USER",
    "ERL_FLAGS",
    // Trust, and key logs that open every TLS connection.
    "SSLKEYLOGFILE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "OPENSSL_CONF",
    "NODE_TLS_REJECT_UNAUTHORIZED",
    // The readiness protocol of systemd.
    "NOTIFY_SOCKET",
];

const DANGEROUS_PREFIXES: [&str; 19] = [
    "LD_",
    "DYLD_",
    "BASH_FUNC_",
    "LUA_INIT_",
    "PERL5",
    "GIT_ASKPASS",
    "GIT_CONFIG",
    "GIT_EDITOR",
    "GIT_EXEC_PATH",
    "GIT_EXTERNAL_DIFF",
    "GIT_PAGER",
    "GIT_PROXY_COMMAND",
    "GIT_SEQUENCE_EDITOR",
    "GIT_SSH",
    "GIT_TEMPLATE_DIR",
    "CORECLR_",
    "DOTNET_STARTUP_HOOKS",
    "LISTEN_",
    // Our own options and those of Bitwarden's `bws`.
    "BWS_",
];

const NPM: &str = "npm_config_";

/// Proxies see what passes through them. A proxy's URL with a password is a legitimate secret, so it
/// is only mentioned.
const NOTEWORTHY: [&str; 4] = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"];

/// Judges the name that a key would give.
pub fn judge(name: &str) -> Verdict {
    if name.is_empty() {
        return Verdict::Impossible("it is empty");
    }
    if name.contains('\0') {
        return Verdict::Impossible("it contains a NUL byte");
    }
    if name.contains('=') {
        return Verdict::Impossible("it contains '='");
    }
    if env_vars::is_ours(name.as_bytes()) {
        return Verdict::Ours;
    }
    if DANGEROUS.contains(&name)
        || DANGEROUS_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        // npm takes its prefix in any case.
        || name.get(..NPM.len()).is_some_and(|start| start.eq_ignore_ascii_case(NPM))
        // Python's own names have no '_' after it: PYTHON_API_TOKEN is somebody else's.
        || name.strip_prefix("PYTHON").is_some_and(|rest| !rest.starts_with('_'))
    {
        return Verdict::Dangerous;
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        return Verdict::Unusual("it begins with a digit");
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Verdict::Unusual("only letters, digits and '_' are usual");
    }
    Verdict::Fine
}

/// Whether the operator should hear that a secret sets this name.
pub fn is_noteworthy(name: &str) -> bool {
    NOTEWORTHY.iter().any(|proxy| name.eq_ignore_ascii_case(proxy))
}

impl Naming {
    /// The name of a bulk secret: its key or id, upper case if asked for, then the prefix in front.
    pub fn apply(&self, key: &str, id: SecretId) -> String {
        // As `bws` does.
        let mut name =
            if self.uuids { format!("_{}", id.to_string().replace('-', "_")) } else { key.to_owned() };
        if self.upper {
            name = name.to_ascii_uppercase().replace(['-', '.', '/', ' '], "_");
        }
        format!("{}{name}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_bulk_secrets() {
        let id: SecretId = "ec2c1d46-6a4b-4751-a310-af9601317f2d".parse().unwrap();
        let name = |uuids, upper, prefix: &str| {
            Naming { uuids, upper, prefix: prefix.into() }.apply("db-pass.word", id)
        };
        assert_eq!(name(false, false, ""), "db-pass.word");
        assert_eq!(name(false, true, ""), "DB_PASS_WORD");
        assert_eq!(name(false, true, "app_"), "app_DB_PASS_WORD");
        assert_eq!(name(true, false, "P"), "P_ec2c1d46_6a4b_4751_a310_af9601317f2d");
        assert_eq!(name(true, true, ""), "_EC2C1D46_6A4B_4751_A310_AF9601317F2D");
    }

    #[test]
    fn verdicts() {
        for name in [
            "PYTHON_API_TOKEN",
            "A",
            "_a1",
            "DB_PASSWORD",
            "HTTP_PROXY",
            "MYPATH",
            "ENVIRONMENT",
            "GIT_TOKEN",
        ] {
            assert_eq!(judge(name), Verdict::Fine, "{name}");
        }
        for name in [
            "PATH",
            "LD_PRELOAD",
            "LD_AUDIT",
            "BASH_ENV",
            "PYTHONSTARTUP",
            "PERL5LIB",
            "GIT_SSH_COMMAND",
            "BASH_FUNC_ls%%",
            "BWS_SERVER_URL",
            "NODE_OPTIONS",
            "LISTEN_FDS",
        ] {
            assert_eq!(judge(name), Verdict::Dangerous, "{name}");
        }
        for name in ["BWS_ACCESS_TOKEN", "BWS_ACCESS_TOKEN_FILE", "BWS_EXEC_PROJECT", "BWS_EXEC_X"] {
            assert_eq!(judge(name), Verdict::Ours, "{name}");
        }
        for name in ["1A", "a-b", "a b", "ü", "a.b", " A", "A\n"] {
            assert!(matches!(judge(name), Verdict::Unusual(_)), "{name}");
        }
        for name in ["", "A=B", "=", "A\0"] {
            assert!(matches!(judge(name), Verdict::Impossible(_)), "{name}");
        }
    }
}
