//! `docs/systemd.md`, typed into an empty machine from its first line to its last.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use crate::docs::{Block, IN_A_MACHINE, blocks, documents};
use crate::support::nspawn::{Machine, package, service, vault};
use crate::support::{PATIENCE, eventually};

/// Types it; whatever asks for a paste gets the token.
fn type_in(machine: &Machine, block: &Block, token: &str) {
    let mut shell = machine.command(["sh", "-euc", &block.text]);
    let shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    // Who asks for nothing closes it.
    let _ = shell.stdin.take().unwrap().write_all(format!("{token}\n").as_bytes());
    let output = shell.wait_with_output().unwrap();
    let place = format!("{}:{}", block.document, block.line);
    assert!(output.status.success(), "{place}: {output:?}\n{}", machine.run(["journalctl", "--lines=50"]));
}

#[test]
#[ignore = "needs root and systemd-nspawn"]
fn a_newcomer_gets_from_an_empty_machine_to_running_services() {
    let scenario = vault().secret("API_KEY", "sixteen bytes...");
    let machine = Machine::boot();
    machine.receive(package());
    ["app", "web"].iter().for_each(|name| machine.install(service(), &format!("/usr/local/bin/{name}")));
    let existing = "[Service]\nUser=daemon\nExecStart=/usr/local/bin/web\n";
    machine.write("/etc/systemd/system/web.service", existing, 0o644);
    // What a server of one's own takes, for all units and for the shell.
    machine.write("/etc/vault.pem", scenario.vault.ca_pem(), 0o644);
    let url = format!("BWS_SERVER_URL={}", scenario.vault.server_url());
    let server = [url.as_str(), "SSL_CERT_FILE=/etc/vault.pem"];
    machine.run(["systemctl", "set-environment"].iter().chain(&server));
    let export = format!("export {}\n", server.join(" "));

    let document = documents().into_iter().find(|path| path.ends_with(IN_A_MACHINE)).unwrap();
    let mut typed = 0;
    for mut block in blocks(&document).into_iter().filter(|block| block.info == "sh") {
        block.text = format!("{export}{}", block.text);
        type_in(&machine, &block, &scenario.token);
        typed += 1;
    }
    assert!(typed >= 10, "the document was understood: {typed}");

    let show = |unit: &str, what: &str| machine.run(["systemctl", "show", "--value", "-p", what, unit]);
    for (unit, program) in [
        ("app.service", "app"),
        ("web.service", "web"),
        ("bws-exec@app.service", "app"),
        ("app-notify.service", "app"),
        ("app-user.service", "app"),
    ] {
        let greeting = format!("API_KEY has 16 bytes, I am {}", show(unit, "MainPID"));
        let program = format!("/usr/local/bin/{program}\n");
        let executable = || {
            let link = machine.try_run(["readlink", &format!("/proc/{}/exe", show(unit, "MainPID").trim())]);
            String::from_utf8_lossy(&link.stdout).into_owned()
        };
        eventually(&format!("{unit} is its program"), || executable() == program);
        eventually(&format!("{unit}: {greeting}"), || {
            machine.run(["journalctl", "--output=cat", "--unit", unit]).contains(&greeting)
        });
    }
    let mut client = UnixStream::connect(machine.path("/run/app.sock")).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut said = String::new();
    client.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("API_KEY has 16 bytes"), "{said}");
    assert_eq!(show("app-job.timer", "ActiveState"), "active\n");
    assert_eq!(machine.run(["systemctl", "list-units", "--failed", "--quiet"]), "");
}
