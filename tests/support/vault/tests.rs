//! The vault's behaviour as a client without any library sees it.

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
    let mut stream = TcpStream::connect(host).expect("the vault listens");
    stream.write_all(request.as_bytes()).expect("the vault reads");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("the vault answers");
    let (head, body) = reply.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Reply { status, head: head.to_owned(), body: body.to_owned() }
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
fn a_login_gives_a_bearer_and_the_organization_key() {
    let scene = Scene::new(Options::default());
    let reply = scene.login();
    let body = reply.json();
    assert_eq!(
        (reply.status, &body["expires_in"], &body["scope"]),
        (200, &json!(3_600), &json!("api.secrets"))
    );
    assert!(reply.header("Date").is_some());
    let key = scene.token.rsplit_once(':').and_then(|(_, key)| base64_16(key)).expect("16 bytes");
    let payload = Key::of_token(&key).decrypt(body["encrypted_payload"].as_str().expect("a payload"));
    let payload: Value = serde_json::from_slice(&payload.expect("under the token's key")).expect("JSON");
    assert_eq!(payload["encryptionKey"], scene.owner().key().to_base64());

    scene.owner().set_payload(&scene.token, Payload::Missing);
    assert_eq!(scene.login().json().get("encrypted_payload"), None);
}

fn base64_16(text: &str) -> Option<[u8; 16]> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).ok()?.try_into().ok()
}

#[test]
fn every_refused_token_is_an_invalid_client() {
    let scene = Scene::new(Options::default());
    let owner = scene.owner();
    let refused = |token: &str| {
        let reply = login(&scene.vault, token);
        (reply.status, reply.body) == (400, r#"{"error":"invalid_client"}"#.to_owned())
    };
    assert!(refused(&scene.token.replacen(':', "x:", 1)));
    assert!(refused(&format!("0.{}.secret:key", scene.account)));

    let short = owner.create_token(scene.account, "short", Some(HOUR));
    assert!(!refused(&short));
    scene.vault.advance(HOUR);
    assert!(refused(&short));

    owner.set_organization_enabled(false);
    assert!(refused(&scene.token));
    owner.set_organization_enabled(true);
    assert!(!refused(&scene.token));
    owner.revoke_token(&scene.token);
    assert!(refused(&scene.token));
    let other = owner.create_token(scene.account, "other", None);
    owner.delete_account(scene.account);
    assert!(refused(&other));
}

#[test]
fn other_refused_logins_say_why() {
    let scene = Scene::new(Options::default());
    let parts: Vec<&str> = scene.token.split([':', '.']).collect();
    let client = format!("client_id=apikey.{}&client_secret={}", parts[1], parts[2]);
    for (fields, grant, error) in [
        (format!("{client}&scope=api"), "client_credentials", "invalid_scope"),
        (client.clone(), "client_credentials", "invalid_request"),
        (format!("{client}&scope=api.secrets"), "password", "unauthorized_client"),
        (format!("{client}&scope=api.secrets"), "magic", "unsupported_grant_type"),
        ("scope=api.secrets".to_owned(), "client_credentials", "invalid_client"),
    ] {
        let reply = login_with(&scene.vault, &fields, grant);
        assert_eq!((reply.status, reply.json()), (400, json!({ "error": error })), "{fields}");
    }
}

#[test]
fn a_bearer_outlives_its_token_but_not_its_time() {
    let scene = Scene::new(Options::default());
    let bearer = scene.bearer();
    let path = scene.organization_path("secrets");
    scene.owner().revoke_token(&scene.token);
    assert_eq!(scene.get(&bearer, &path).status, 200);
    scene.vault.advance(HOUR + Duration::from_secs(290));
    assert_eq!(scene.get(&bearer, &path).status, 200);
    scene.vault.advance(Duration::from_secs(10));
    for (bearer, challenge) in [(bearer.as_str(), "Bearer error=\"invalid_token\""), ("", "Bearer")] {
        let reply = scene.get(bearer, &path);
        assert_eq!((reply.status, reply.body.as_str()), (401, ""));
        assert_eq!(reply.header("WWW-Authenticate"), Some(challenge));
    }
    let authenticated: Vec<bool> =
        scene.vault.requests().iter().map(|request| request.authenticated).collect();
    assert_eq!(authenticated, [false, true, true, false, false]);
}

#[test]
fn grants_decide_what_is_read() {
    let scene = Scene::new(Options::default());
    let owner = scene.owner();
    let other = owner.create_project("other");
    let seen = owner.create_secret(scene.project, "SEEN", "1");
    let shared = owner.create_secret_in(&[scene.project, other], "SHARED", "2", "note");
    let hidden = owner.create_secret(other, "HIDDEN", "3");
    owner.create_secret_in(&[], "NOWHERE", "4", "");
    let bearer = scene.bearer();

    let listed = scene.get(&bearer, &scene.organization_path("secrets")).json();
    let ids: Vec<&Value> =
        listed["secrets"].as_array().expect("a list").iter().map(|secret| &secret["id"]).collect();
    assert_eq!(ids, [&json!(seen), &json!(shared)]);
    assert_eq!(listed["projects"].as_array().map(Vec::len), Some(2));
    assert_eq!(listed["secrets"][0].get("value"), None);

    let by_project = |project: Uuid| scene.get(&bearer, &format!("/projects/{project}/secrets"));
    assert_eq!(by_project(scene.project).json()["secrets"].as_array().map(Vec::len), Some(2));
    assert_eq!(by_project(other).json()["secrets"], json!([]));
    assert_eq!(by_project(hidden).status, 404);

    assert_eq!(scene.get(&bearer, &format!("/secrets/{seen}")).json()["write"], true);
    assert_eq!(scene.get(&bearer, &format!("/secrets/{hidden}")).status, 404);
    let by_ids =
        |ids: Value| scene.send(&bearer, "POST", "/secrets/get-by-ids", &json!({ "ids": ids }).to_string());
    assert_eq!(by_ids(json!([shared, seen])).json()["data"][0]["object"], "baseSecret");
    for (ids, status) in
        [(json!([seen, hidden]), 404), (json!([]), 404), (json!([seen, seen]), 400), (json!(null), 400)]
    {
        assert_eq!(by_ids(ids.clone()).status, status, "{ids}");
    }
    assert_eq!(scene.get(&bearer, &format!("/organizations/{hidden}/secrets")).status, 404);

    owner.ungrant(scene.account, scene.project);
    assert_eq!(scene.get(&bearer, &scene.organization_path("secrets")).json()["secrets"], json!([]));
}

#[test]
fn a_sync_is_all_or_nothing() {
    let scene = Scene::new(Options::default());
    let owner = scene.owner();
    let secret = owner.create_secret(scene.project, "A", "1");
    let bearer = scene.bearer();
    let (everything, nothing) = (Ok((true, Some(1))), Ok((false, None)));
    assert_eq!(scene.sync(&bearer, None), everything);

    let mut last = scene.now();
    let mut changes = |change: &dyn Fn()| {
        scene.vault.advance(Duration::from_millis(1));
        change();
        let synced = scene.sync(&bearer, Some(last));
        last = scene.now();
        assert_eq!(scene.sync(&bearer, Some(last)), nothing);
        synced
    };
    assert_eq!(changes(&|| {}), nothing);
    assert_eq!(changes(&|| owner.update_secret(secret, "2")), everything);
    assert_eq!(changes(&|| owner.grant(scene.account, scene.project, Access::Read)), everything);
    assert_eq!(changes(&|| owner.rename_project(scene.project, "renamed")), nothing);
    assert_eq!(changes(&|| drop(owner.create_token(scene.account, "another", None))), nothing);
    assert_eq!(changes(&|| drop(owner.create_secret_in(&[], "NOWHERE", "", ""))), nothing);
    assert_eq!(changes(&|| owner.delete_secret(secret)), Ok((true, Some(0))));

    assert_eq!(scene.sync(&bearer, Some(scene.now().plus(HOUR))), Err(400));
    owner.delete_account(scene.account);
    assert_eq!(scene.sync(&bearer, Some(last)), Err(404));
    assert_eq!(scene.sync(&bearer, None), Ok((true, Some(0))));
    let unencoded = scene.organization_path("secrets/sync?lastSyncedDate=2024-01-01T00:00:00+00:00");
    assert_eq!(scene.get(&bearer, &unencoded).status, 400);
}

#[test]
fn an_account_creates_where_it_may_write() {
    let scene = Scene::new(Options::default());
    let owner = scene.owner();
    let read_only = owner.create_project("read only");
    owner.grant(scene.account, read_only, Access::Read);
    let bearer = scene.bearer();
    let secret = |value: &str, projects: &[Uuid]| {
        let (key, note) = (owner.encrypt("NEW"), owner.encrypt(""));
        json!({ "key": key, "value": value, "note": note, "projectIds": projects }).to_string()
    };
    let value = owner.encrypt("value");
    let create = |body: &str| scene.send(&bearer, "POST", &scene.organization_path("secrets"), body);
    for (projects, status) in
        [(&[][..], 404), (&[read_only], 404), (&[scene.project, read_only], 400), (&[scene.project], 200)]
    {
        assert_eq!(create(&secret(&value, projects)).status, status, "{projects:?}");
    }
    for refused in ["plain text", &owner.encrypt("x".repeat(27_000))] {
        let reply = create(&secret(refused, &[scene.project]));
        assert_eq!((reply.status, reply.json()["validationErrors"]["value"].is_array()), (400, true));
    }

    let id = owner.secrets()[0].id;
    let update = |body: &str| scene.send(&bearer, "PUT", &format!("/secrets/{id}"), body).status;
    assert_eq!(update(&secret(&value, &[read_only])), 404);
    assert_eq!(update(&secret(&owner.encrypt("edited"), &[scene.project])), 200);
    assert_eq!(owner.secrets()[0].value.as_deref(), Some("edited"));

    let kept = owner.create_secret(read_only, "KEPT", "");
    let delete = |ids: &[Uuid]| scene.send(&bearer, "POST", "/secrets/delete", &json!(ids).to_string());
    assert_eq!(delete(&[id, scene.account]).status, 404);
    let lines = delete(&[id, kept]).json()["data"].clone();
    assert_eq!((&lines[0]["error"], &lines[1]["error"]), (&Value::Null, &json!("access denied")));
    assert_eq!(owner.secrets().iter().map(|secret| secret.id).collect::<Vec<_>>(), [kept]);
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
fn the_eleventh_login_of_a_minute_is_refused() {
    let scene = Scene::new(Options { rate_limits: true, ..Options::default() });
    let mut statuses = Vec::new();
    for _ in 0..11 {
        statuses.push(scene.login().status);
        scene.vault.advance(Duration::from_secs(1));
    }
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 10);
    let refusal = scene.login();
    assert_eq!((refusal.status, refusal.json()["object"].clone()), (429, json!("error")));
    let wait: u64 = refusal.header("Retry-After").and_then(|wait| wait.parse().ok()).expect("seconds");
    scene.vault.advance(Duration::from_secs(wait));
    assert_eq!(scene.login().status, 200);
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
