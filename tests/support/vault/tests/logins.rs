//! Who gets a bearer, and what it is good for.

use super::*;

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
