//! The vault's behaviour as a client without any library sees it.

mod logins;
mod secrets;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::date::Timestamp;
use super::*;

const HOUR: Duration = Duration::from_secs(3_600);

/// A vault with a project, an account that may write it, and the account's token.
struct Scene {
    vault: Vault,
    project: Uuid,
    account: Uuid,
    token: String,
}

impl Scene {
    fn new(options: Options) -> Self {
        let vault = Vault::start(Options { transport: Transport::Plain, ..options });
        let owner = vault.owner();
        let project = owner.create_project("web");
        let account = owner.create_account("ci");
        owner.grant(account, project, Access::ReadWrite);
        let token = owner.create_token(account, "laptop", None);
        Self { vault, project, account, token }
    }

    fn login(&self) -> Reply {
        login(&self.vault, &self.token)
    }

    fn bearer(&self) -> String {
        let body = self.login().json();
        format!("Bearer {}", body["access_token"].as_str().expect("a login gives a bearer"))
    }

    fn get(&self, bearer: &str, path: &str) -> Reply {
        self.send(bearer, "GET", path, "")
    }

    fn send(&self, bearer: &str, method: &str, path: &str, body: &str) -> Reply {
        send(method, &format!("{}{path}", self.vault.api_url()), &[("Authorization", bearer)], body)
    }

    fn organization_path(&self, rest: &str) -> String {
        format!("/organizations/{}/{rest}", self.vault.owner().organization_id())
    }

    /// Whether a sync has changes, and what it has: an error status or the number of secrets.
    fn sync(&self, bearer: &str, since: Option<Timestamp>) -> Result<(bool, Option<usize>), u16> {
        let query = since.map_or(String::new(), |date| format!("?lastSyncedDate={date}"));
        let reply = self.get(bearer, &self.organization_path(&format!("secrets/sync{query}")));
        if reply.status != 200 {
            return Err(reply.status);
        }
        let body = reply.json();
        Ok((body["hasChanges"] == true, body["secrets"]["data"].as_array().map(Vec::len)))
    }

    fn now(&self) -> Timestamp {
        self.vault.server.clock.now()
    }

    fn owner(&self) -> &Owner {
        self.vault.owner()
    }
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let (host, path) =
        url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("a plain URL");
    let mut request = format!("{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    let (reply, end) = exchange(host, &request);
    end.expect("the vault answers");
    let (head, body) = reply.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Reply { status, head: head.to_owned(), body: body.to_owned() }
}

/// Sends bytes and reads what comes until the end, which may be an error.
fn exchange(host: &str, request: &str) -> (String, io::Result<usize>) {
    let mut stream = TcpStream::connect(host).expect("the vault listens");
    let mut reply = Vec::new();
    let end = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_end(&mut reply));
    (String::from_utf8(reply).expect("all answers are text"), end)
}

fn login(vault: &Vault, token: &str) -> Reply {
    let (left, _) = token.split_once(':').expect("a token");
    let parts: Vec<&str> = left.split('.').collect();
    login_with(
        vault,
        &format!("client_id={}&client_secret={}&scope=api.secrets", parts[1], parts[2]),
        "client_credentials",
    )
}

fn login_with(vault: &Vault, fields: &str, grant: &str) -> Reply {
    let url = format!("{}/connect/token", vault.identity_url());
    let form = [("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")];
    send("POST", &url, &form, &format!("{fields}&grant_type={grant}"))
}

#[test]
fn the_layouts_and_the_old_server() {
    let scene =
        Scene::new(Options { layout: Layout::SelfHosted, sync_supported: false, ..Options::default() });
    let bearer = scene.bearer();
    assert_eq!(scene.sync(&bearer, None), Err(404));
    assert_eq!(scene.get(&bearer, &scene.organization_path("secrets")).status, 200);
    let outside = send("GET", &format!("{}/organizations", scene.vault.server_url()), &[], "");
    assert_eq!((outside.status, outside.header("Content-Type")), (404, Some("text/html; charset=utf-8")));
}

#[test]
fn faults_happen_in_their_order() {
    let scene = Scene::new(Options::default());
    scene.vault.fault_times(1, Endpoint::Login, Fault::Pass);
    scene.vault.fault_times(2, Endpoint::Login, Fault::status(503));
    scene.vault.fault(Where::Any, Fault::too_many_requests(Some("7")));
    let statuses: Vec<u16> = (0..4).map(|_| scene.login().status).collect();
    assert_eq!(statuses, [200, 503, 503, 429]);
    scene.vault.clear_faults();
    assert_eq!(scene.login().status, 200);
    assert_eq!((scene.vault.count(Endpoint::Login), scene.vault.connections()), (5, 5));
}

#[test]
fn faults_on_the_wire_are_what_they_say() {
    let scene = Scene::new(Options::default());
    let host = scene.vault.api_url().trim_start_matches("http://");
    let meet = |fault: Fault| {
        scene.vault.fault_times(1, Endpoint::Unknown, fault);
        let (reply, end) = exchange(host, "GET / HTTP/1.1\r\nHost: vault\r\nConnection: close\r\n\r\n");
        let (head, body) = reply.split_once("\r\n\r\n").unwrap_or((&reply, ""));
        (head.to_owned(), body.to_owned(), end.map_err(|error| error.kind()).err())
    };
    let reset = Some(io::ErrorKind::ConnectionReset);

    assert_eq!(meet(Fault::Reset), (String::new(), String::new(), reset));
    let (head, body, end) = meet(Fault::ResetMidBody);
    assert!(head.contains("Content-Length: 1") && body.is_empty() && end == reset, "{head}");
    let (head, body, end) = meet(Fault::CloseMidBody);
    assert!(head.contains("Content-Length: 1") && body.is_empty() && end.is_none(), "{head}");
    assert!(meet(Fault::Garbage).0.starts_with("SSH-"));
    let (head, body, _) = meet(Fault::Oversize { bytes: 200_000, chunked: false });
    assert!(head.contains("Content-Length: 200000") && body.len() == 200_000);
    let (head, body, _) = meet(Fault::Oversize { bytes: 200_000, chunked: true });
    assert!(head.contains("chunked") && body.len() > 200_000 && body.ends_with("\r\n0\r\n\r\n"));
}

#[test]
fn what_stalls_goes_on_when_released() {
    let scene = Scene::new(Options::default());
    let vault = &scene.vault;
    vault.fault_times(1, Endpoint::Login, Fault::Stall);
    std::thread::scope(|threads| {
        let login = threads.spawn(|| scene.login().status);
        assert!(vault.wait_for(Duration::from_secs(10), |requests| requests.len() == 1));
        assert_eq!(vault.requests()[0].status, None);
        vault.release();
        assert_eq!(login.join().expect("a status"), 200);
    });
    assert!(!vault.wait_for(Duration::ZERO, |requests| requests.len() > 1));
}

#[test]
fn the_state_file_has_no_plaintext_and_no_key() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("state.json");
    let key = Key::random();
    let options = || Options {
        state_file: Some(path.clone()),
        organization_key: Some(key.clone()),
        ..Options::default()
    };
    let first = Scene::new(options());
    first.owner().create_secret(first.project, "PLAIN_NAME", "plain value");
    let second = Vault::start(options());
    second.owner().rename_project(first.project, "plain project");
    assert_eq!(first.owner().projects()[&first.project].as_deref(), Some("plain project"));

    let text = std::fs::read_to_string(&path).expect("a state file");
    for plain in ["PLAIN_NAME", "plain", "laptop", &key.to_base64(), &first.token] {
        assert!(!text.contains(plain), "{plain}");
    }
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
}
