//! The configuration of `bws`: which profile is taken, what it says, and what switches it off.
//! What is wrong with a configuration is in `errors_references`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::vault::{Layout, Options};
use crate::support::{BINARY, Launch, Scenario};

/// Where nobody listens. If it were asked, the run would fail.
const NOBODY: &str = "https://127.0.0.1:1";

/// A server at one address, and a home for configurations.
struct Home {
    scenario: Scenario,
    directory: TempDir,
}

impl Home {
    fn new() -> Self {
        let options = Options { layout: Layout::SelfHosted, ..Options::default() };
        let scenario = Scenario::with(options).secret("KEY", "value");
        Self { scenario, directory: tempfile::tempdir().expect("a temporary directory") }
    }

    fn url(&self) -> &str {
        self.scenario.vault.server_url()
    }

    fn token_id(&self) -> &str {
        self.scenario.token.split('.').nth(1).expect("a token has its id in its second part")
    }

    /// Writes the configuration at its usual place.
    fn config(&self, text: &str) -> PathBuf {
        let directory = self.directory.path().join(".config/bws");
        fs::create_dir_all(&directory).expect("a directory can be made");
        let path = directory.join("config");
        fs::write(&path, text).expect("a file can be written");
        path
    }

    /// A launch that knows the home and the token, and no server.
    fn launch(&self) -> Launch {
        let launch = Launch::new().option("--ca-file").option(self.scenario.vault.ca_file());
        let launch = launch.env("BWS_ACCESS_TOKEN", &self.scenario.token).env("HOME", self.directory.path());
        launch.command(["printenv", "KEY"])
    }

    /// This server is asked.
    #[track_caller]
    fn reached(&self, launch: Launch) {
        assert_eq!(launch.run().succeeded().text(), "value\n");
    }
}

/// This host is asked, as far as that can be seen without a network: through a proxy that is not there.
#[track_caller]
fn asks(launch: Launch, host: &str) {
    let outcome = launch.env("HTTPS_PROXY", "http://127.0.0.1:1").option("--deadline=100ms").run();
    outcome.failed_with(75, "connect");
    assert!(outcome.stderr.contains(&format!("cannot connect to {host}: ")), "{host}: {}", outcome.stderr);
}

const US: &str = "identity.bitwarden.com";
const EU: &str = "identity.bitwarden.eu";

#[test]
fn the_default_profile_at_the_usual_place() {
    let home = Home::new();
    for slash in ["", "/"] {
        home.config(&format!("[profiles.default]\nserver_base = \"{}{slash}\"\n", home.url()));
        home.reached(home.launch());
    }
    // Its other keys mean nothing here, nor do those of other profiles.
    home.config(&format!(
        "# of bws\n[profiles.default]\nserver_base = '{}'\nstate_dir = '/nowhere'\nstate_opt_out = 'maybe'\nnew = 1\n\
         [profiles.other]\nserver_base = 'no URL'\n[unknown]\n",
        home.url()
    ));
    home.reached(home.launch());
}

#[test]
fn which_profile_is_taken() {
    let home = Home::new();
    let of = |name: &str, url: &str| format!("[profiles.{name}]\nserver_base = '{url}'\n");
    let (here, nobody) = (home.url(), NOBODY);
    // The named one, before all others.
    home.config(&(of("default", nobody) + &of(home.token_id(), nobody) + &of("mine", here)));
    home.reached(home.launch().options(["--profile", "mine"]));
    home.reached(home.launch().options(["-p", "mine"]));
    home.reached(home.launch().env("BWS_PROFILE", "mine"));
    home.reached(home.launch().options(["-p", "mine"]).env("BWS_PROFILE", "missing"));
    asks(home.launch().env("BWS_PROFILE", ""), "127.0.0.1:1");
    for launch in [home.launch().options(["-p", "Mine"]), home.launch().env("BWS_PROFILE", "missing")] {
        launch.run().failed_with(125, "config-file");
    }
    // The one called like the token's id, then the default.
    home.config(&(of("default", nobody) + &of(home.token_id(), here)));
    home.reached(home.launch());
    home.config(&(of("default", here) + &of("11111111-2222-3333-4444-555555555555", nobody)));
    home.reached(home.launch());
    // None of them: the US cloud.
    home.config(&of("other", here));
    asks(home.launch(), US);
    home.config("[profiles]\n");
    asks(home.launch(), US);
}

#[test]
fn which_file_is_read() {
    let home = Home::new();
    let elsewhere = home.directory.path().join("elsewhere");
    fs::write(&elsewhere, format!("[profiles.default]\nserver_base = '{}'\n", home.url())).unwrap();
    home.config(&format!("[profiles.default]\nserver_base = '{NOBODY}'\n"));
    home.reached(home.launch().option("--config-file").option(&elsewhere));
    home.reached(home.launch().option("-f").option(&elsewhere));
    home.reached(home.launch().env("BWS_CONFIG_FILE", &elsewhere));
    home.reached(home.launch().option("-f").option(&elsewhere).env("BWS_CONFIG_FILE", "/nowhere"));
    home.reached(home.launch().option("-f").option(&elsewhere).without_env("HOME"));
    asks(home.launch().env("BWS_CONFIG_FILE", ""), "127.0.0.1:1");
    // One that was named must be there.
    home.launch().option("--config-file=/nowhere").run().failed_with(125, "config-file");
    home.launch().env("BWS_CONFIG_FILE", "/nowhere").run().failed_with(125, "config-file");
}

#[test]
fn no_configuration_at_all() {
    let home = Home::new();
    asks(home.launch(), US);
    asks(home.launch().without_env("HOME"), US);
    asks(home.launch().env("HOME", ""), US);
    asks(home.launch().env("HOME", "/dev/null"), US);
    asks(home.launch().env("HOME", "/nowhere").env("BWS_REGION", "eu"), EU);
    // A profile that was named cannot be left out.
    home.launch().option("--profile=mine").run().failed_with(125, "config-file");
    home.launch().option("--profile=mine").without_env("HOME").run().failed(
        125,
        "bws-exec: error[usage]: profile 'mine' cannot be looked up: there is no HOME, so no configuration file\n\
         bws-exec: hint: name the file by --config-file, or the server by --server-url\n",
    );
}

/// A HOME of another user, as `sudo` and containers leave it, may not even be looked into.
#[test]
fn a_home_that_is_closed() {
    let home = Home::new();
    let path = home.config("[profiles.default]\nserver_base = 'https://127.0.0.1:1'\n");
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let wrapper: &[&str] = if nix::unistd::geteuid().is_root() { &nobody } else { &[] };
    let binary = readable_binary(home.directory.path());
    let launch = || {
        let launch = Launch::new().under(wrapper).binary(&binary).command(["true"]);
        launch.env("BWS_ACCESS_TOKEN", &home.scenario.token).env("HOME", home.directory.path())
    };
    fs::set_permissions(home.directory.path(), fs::Permissions::from_mode(0o711)).unwrap();
    // A file that is there and that we may not read may say something else than the default.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    launch().run().failed_with(125, "config-file");
    fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o000)).unwrap();
    asks(launch(), US);
    fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_server_that_is_given_otherwise_switches_it_off() {
    let home = Home::new();
    // Not even read, so nothing can be wrong with it.
    home.config("this is no configuration");
    let url = home.url();
    home.launch().run().failed_with(125, "config-file");
    home.reached(home.launch().options(["--server-url", url]));
    home.reached(home.launch().env("BWS_SERVER_URL", url));
    home.reached(
        home.launch()
            .env("BWS_SERVER_URL", url)
            .env("BWS_PROFILE", "mine")
            .env("BWS_CONFIG_FILE", "/nowhere"),
    );
    let split =
        ["--identity-url", home.scenario.vault.identity_url(), "--api-url", home.scenario.vault.api_url()];
    home.reached(home.launch().options(split));
    asks(home.launch().options(["--region", "eu"]), EU);
    asks(home.launch().env("BWS_REGION", "eu"), EU);
    // Whoever typed something that has no effect is told.
    let warning = "bws-exec: warning: --config-file and --profile are not looked at: the server is given by an option \
                   or variable\n";
    for option in ["--profile=mine", "--config-file=/nowhere"] {
        let outcome = home.launch().env("BWS_SERVER_URL", url).option(option).run();
        assert_eq!((outcome.text().as_str(), outcome.stderr.as_str()), ("value\n", warning));
    }
}

#[test]
fn the_addresses_of_a_profile() {
    let home = Home::new();
    let (identity, api) = (home.scenario.vault.identity_url(), home.scenario.vault.api_url());
    let with = |keys: &[(&str, &str)]| {
        let keys: String = keys.iter().map(|(key, value)| format!("{key} = '{value}'\n")).collect();
        home.config(&format!("[profiles.default]\n{keys}"));
        home.launch()
    };
    home.reached(with(&[("server_identity", identity), ("server_api", api)]));
    home.reached(with(&[("server_identity", &format!("{identity}/")), ("server_api", &format!("{api}//"))]));
    // They beat what the base implies, each for itself.
    home.reached(with(&[("server_base", NOBODY), ("server_identity", identity), ("server_api", api)]));
    home.reached(with(&[("server_base", home.url()), ("server_identity", identity)]));
    asks(
        with(&[("server_base", home.url()), ("server_identity", &format!("{NOBODY}/identity"))]),
        "127.0.0.1:1",
    );
    // The web vaults mean their split hosts.
    asks(with(&[("server_base", "https://vault.bitwarden.eu")]), EU);
    asks(with(&[("server_base", "https://vault.bitwarden.com/")]), US);
    let eu =
        [("server_identity", "https://identity.bitwarden.eu"), ("server_api", "https://api.bitwarden.eu")];
    asks(with(&eu), EU);
    for wrong in [
        &[("state_dir", "/var/lib/app")][..],
        &[("server_api", api)],
        &[("server_identity", identity)],
        &[("server_base", "vault.example.org")],
        &[("server_base", "")],
        &[("server_base", "http://vault.example.org")],
    ] {
        with(wrong).run().failed_with(125, "config-file");
    }
}

#[test]
fn a_password_in_a_profile_is_not_shown() {
    let home = Home::new();
    for line in [
        "server_base = 'https://me:hunter2@s.test'",
        "server_base = hunter2",
        "server_base = 'hunter2",
        "server_base = ['hunter2']",
        "hunter2",
    ] {
        for table in ["[profiles.default]", "[profiles]", ""] {
            home.config(&format!(
                "{table}\n{}\n",
                line.replace("server_base", if table.is_empty() { "profiles" } else { "server_base" })
            ));
            let outcome = home.launch().run();
            outcome.failed_with(125, "config-file");
            assert!(!outcome.stderr.contains("hunter2"), "{table} {line}: {}", outcome.stderr);
        }
    }
}

/// The binary where another user can execute it.
fn readable_binary(directory: &Path) -> PathBuf {
    let path = directory.join("bws-exec");
    // Not by this process: while one thread writes a program, what another one forks has it open for
    // writing too, and then it cannot be executed (ETXTBSY).
    let status = Command::new("cp").args([BINARY.as_ref(), path.as_os_str()]).status();
    assert!(status.expect("cp starts").success());
    path
}
