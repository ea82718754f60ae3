//! Bitwarden's own client against the local vault: what both agree on is how the real service
//! behaves, as far as a client can tell.
//!
//! They need Python with `tests/oracle/requirements.txt`; `.ci/run` has it.

use std::process::Command;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::Scenario;
use crate::support::vault::{Access, Endpoint, Layout, Options, Owner, PlainSecret, Vault};

#[test]
#[ignore = "needs the oracle: BITWARDEN_SDK_PYTHON"]
fn the_sdk_works_in_the_cloud_layout() {
    works_with_the_sdk(Layout::Cloud);
}

#[test]
#[ignore = "needs the oracle: BITWARDEN_SDK_PYTHON"]
fn the_sdk_works_in_the_self_hosted_layout() {
    works_with_the_sdk(Layout::SelfHosted);
}

fn works_with_the_sdk(layout: Layout) {
    let scenario = Scenario::with(Options { layout, ..Options::default() });
    let (vault, project) = (&scenario.vault, scenario.project);
    let owner = vault.owner();
    let readable = [
        owner.create_secret(project, "PLAIN", "value"),
        owner.create_secret_in(&[project], "LINES", "two\nlines\n", "a note: äöü ✓"),
    ];
    let hidden = owner.create_secret_in(&[owner.create_project("hidden")], "HIDDEN", "3", "");
    owner.grant(scenario.account, project, Access::ReadWrite);

    let report = run_script(vault, project, &scenario.token);

    assert_eq!(report["read"], json!(sorted(owner, |secret| readable.contains(&secret.id))));
    let left: Uuid = serde_json::from_value(report["left"]["id"].clone()).expect("the id of a secret");
    assert_eq!(json!([report["left"]]), json!(sorted(owner, |secret| secret.id == left)));
    assert_eq!(report["projects"], json!({ project.to_string(): "web" }));
    assert_eq!(owner.secrets().len(), readable.len() + [hidden, left].len());
    // One good and one refused; the state file spared the second client a login.
    assert_eq!(vault.count(Endpoint::Login), 2);

    // What their client has written, ours reads as theirs does.
    let (key, value) = (report["left"]["key"].as_str().unwrap(), report["left"]["value"].as_str().unwrap());
    let launch = scenario.launch().options(["--only", key, "--allow-name", key]);
    let outcome = launch.command(["env", "-0"]).run();
    outcome.succeeded();
    let entry = format!("{key}={value}");
    assert!(outcome.text().split('\0').any(|line| line == entry), "{entry} is not in {}", outcome.text());
}

/// The token goes over the environment, where no other process sees it on a command line.
fn run_script(vault: &Vault, project: Uuid, token: &str) -> Value {
    let python = std::env::var_os("BITWARDEN_SDK_PYTHON").unwrap_or("python3".into());
    let output = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/bitwarden_sdk.py"))
        .env("VAULT_IDENTITY_URL", vault.identity_url())
        .env("VAULT_API_URL", vault.api_url())
        .env("VAULT_ORGANIZATION_ID", vault.owner().organization_id().to_string())
        .env("VAULT_PROJECT_ID", project.to_string())
        .env("BWS_ACCESS_TOKEN", token)
        .env("SSL_CERT_FILE", vault.ca_file())
        .output()
        .expect("Python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("the report is JSON")
}

/// Some of the owner's secrets as the script reports them.
fn sorted(owner: &Owner, wanted: impl Fn(&PlainSecret) -> bool) -> Vec<Value> {
    let mut secrets: Vec<PlainSecret> = owner.secrets().into_iter().filter(wanted).collect();
    secrets.sort_by_key(|secret| secret.id.to_string());
    let as_reported = |secret: &PlainSecret| {
        json!({
            "id": secret.id,
            "key": secret.key,
            "value": secret.value,
            "note": secret.note,
            "project": secret.projects.first(),
        })
    };
    secrets.iter().map(as_reported).collect()
}
