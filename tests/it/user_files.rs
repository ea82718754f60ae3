//! What belongs to whom with `--user`: the token, the cache and the rest are the launcher's, files of
//! `--file` the command's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::{Launch, Scenario, leaked, proc};

const CANARY: &str = "canary-7d21-value";

fn scenario() -> Scenario {
    Scenario::new().secret("KEY", CANARY)
}

/// Others may enter it.
fn place() -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = place.path().into();
    (place, path)
}

/// For root alone.
fn private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o400)).unwrap();
}

/// The token is in a file that the service can never read, and leaves no trace with it.
#[test]
#[ignore = "needs root"]
fn a_token_file_for_root_alone() {
    let (scenario, (_keep, place)) = (scenario(), place());
    let token = place.join("token");
    private(&token, &scenario.token);
    let credentials = place.join("credentials");
    fs::create_dir(&credentials).unwrap();
    private(&credentials.join("bws-access-token"), &scenario.token);
    let by_option = scenario.launch_without_token().option("--access-token-file").option(&token);
    let by_variable = scenario.launch_without_token().env("BWS_ACCESS_TOKEN_FILE", &token);
    let by_credential = scenario.launch_without_token().env("CREDENTIALS_DIRECTORY", &credentials);
    for launch in [by_option, by_variable, by_credential] {
        let script = "echo $KEY; cat $1 2>&1; exec sleep 1000";
        let launch = launch.options(["--user", "nobody"]);
        let words =
            ["sh", "-c", script, "sh"].map(Into::into).into_iter().chain([token.clone().into_os_string()]);
        let running = launch.command(words).start().asleep_in("sleep");
        let pid = running.pid();
        for file in ["environ", "cmdline", "status", "maps", "mountinfo"] {
            assert_eq!(leaked(&scenario.token, &proc::read(pid, file).unwrap()), [""; 0], "{file}");
        }
        assert!(!proc::text(pid, "environ").contains("BWS_ACCESS_TOKEN"));
        let descriptors: Vec<i32> = proc::descriptors(pid).into_keys().collect();
        assert_eq!(descriptors, [0, 1, 2]);
        running.signal(libc::SIGTERM);
        let outcome = running.finish();
        let refused = format!("{CANARY}\ncat: {}: Permission denied\n", token.display());
        assert_eq!((outcome.text(), outcome.stderr.as_str()), (refused, ""));
    }
}

/// Everything that we use ourselves may be out of the command's reach.
#[test]
#[ignore = "needs root"]
fn what_the_launcher_reads_and_writes_is_its_own() {
    let (scenario, (_keep, place)) = (scenario(), place());
    let cache = place.join("cache");
    fs::create_dir(&cache).unwrap();
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o700)).unwrap();
    private(&place.join("app.env"), "FROM_FILE=bws://KEY\n");
    private(&place.join("ca.pem"), &fs::read_to_string(scenario.vault.ca_file()).unwrap());
    let launch = || {
        let vault = &scenario.vault;
        Launch::new()
            .env("BWS_ACCESS_TOKEN", &scenario.token)
            .options(["--identity-url", vault.identity_url(), "--api-url", vault.api_url()])
            .directory(&place)
            .options(["--ca-file=ca.pem", "--env-file=app.env", "--cache-dir=cache", "--user=65534:65534"])
    };
    let outcome = launch().command(["sh", "-c", "echo $FROM_FILE; id -u; cat app.env 2>/dev/null; :"]).run();
    assert_eq!(outcome.succeeded().text(), format!("{CANARY}\n65534\n"));
    // Kept by the launcher, and opened again by it.
    assert!(cache.join("bws-exec.0").is_dir());
    let outcome = launch().option("--offline").command(["printenv", "FROM_FILE"]).run();
    assert_eq!(outcome.succeeded().text(), format!("{CANARY}\n"));
}

#[test]
#[ignore = "needs root"]
fn a_file_is_the_users_own() {
    let scenario = scenario();
    let stat = "cat $K; echo; stat -L -c '%a %u %g' $K";
    let run = |options: &[&str]| {
        let outcome = scenario.launch().options(options).command(["sh", "-c", stat]).run();
        (outcome.text(), outcome.stderr)
    };
    let user = "--user=4242:4343";
    let read = |who: &str| (format!("{CANARY}\n400 {who}\n"), String::new());
    assert_eq!(run(&[user, "--file=K=KEY"]), read("4242 4343"));
    assert_eq!(run(&["--user=nobody", "--file=K=KEY"]), read("65534 65534"));
    // Who is named explicitly wins.
    let (text, stderr) = run(&[user, "--file=K=KEY,owner=0:0"]);
    assert_eq!(text, "\n400 0 0\n");
    assert!(stderr.contains("Permission denied"), "{stderr}");
}

fn mounted(scenario: &Scenario, umask: &str, path: &Path) -> Launch {
    let script = format!("umask {umask}; exec \"$@\"");
    let launch = scenario.launch().under(["unshare", "--mount", "sh", "-c", &script, "sh"]);
    launch.option(format!("--file=K=KEY,path={}", path.display())).option("--user=4242:4343")
}

#[test]
#[ignore = "needs root"]
fn a_mounted_file_is_within_reach() {
    let (scenario, (_keep, place)) = (scenario(), place());
    let script = ["sh", "-c", "cat $K; echo; stat -c '%a %u %g' $K; id -u"];
    let outcome = mounted(&scenario, "022", &place.join("a/b/key")).command(script).run();
    assert_eq!(outcome.succeeded().text(), format!("{CANARY}\n400 4242 4343\n4242\n"));
    // The directory that is mounted over may be anybody's.
    let outcome = mounted(&scenario, "077", &place.join("c/key")).command(script).run();
    assert_eq!(outcome.succeeded().text(), format!("{CANARY}\n400 4242 4343\n4242\n"));
}
