//! The faults, and what has to come of each.

use std::fs;
use std::time::Duration;

use super::cell::End::{self, Copy, CopyWarned, Fails, Runs, RunsWarned};
use super::world::{World, set_mode};
use crate::support::vault::{Answer, Certificate, Endpoint, Fault, Payload, Service, Where};

use Endpoint::{GetByIds, List, Login, Sync};

pub struct Row {
    pub place: &'static str,
    pub fault: &'static str,
    /// In the order of the states.
    pub expected: [End; 5],
    pub script: Box<dyn Fn(&mut World) + std::marker::Sync>,
    /// Whether the server has the sync route.
    pub sync_supported: bool,
    /// For runs that do not end by it; otherwise the default.
    pub deadline: Option<Duration>,
    /// Whether the fault leaves the files of the cache alone.
    pub files_are_ours: bool,
}

fn row(
    place: &'static str,
    fault: &'static str,
    expected: [End; 5],
    script: impl Fn(&mut World) + std::marker::Sync + 'static,
) -> Row {
    let script = Box::new(script);
    Row { place, fault, expected, script, sync_supported: true, deadline: None, files_are_ours: true }
}

// The class table. Whoever has kept a session does not log in.

/// The way to both servers, or to the API, fails in a way that may pass.
fn passing(slug: &'static str) -> [End; 5] {
    [Fails(75, slug), Copy, CopyWarned, CopyWarned, Fails(75, slug)]
}

/// The login fails in a way that may pass.
fn passing_at_login(slug: &'static str) -> [End; 5] {
    [Fails(75, slug), Copy, Runs, CopyWarned, Fails(75, slug)]
}

/// No copy stands in for what trying again does not help.
fn lasting(slug: &'static str) -> [End; 5] {
    [Fails(125, slug), Copy, Fails(125, slug), Fails(125, slug), Fails(125, slug)]
}

fn lasting_at_login(slug: &'static str) -> [End; 5] {
    [Fails(125, slug), Copy, Runs, Fails(125, slug), Fails(125, slug)]
}

/// It passes after the first time: only who has a copy does not try again.
fn once() -> [End; 5] {
    [Runs, Copy, CopyWarned, CopyWarned, Runs]
}

fn json(status: u16, body: &str) -> Fault {
    Fault::Answer(Answer::text(status, "application/json; charset=utf-8", body))
}

pub fn rows() -> Vec<Row> {
    [way(), login(), sync(), old_server(), more(), cache()].into_iter().flatten().collect()
}

fn way() -> Vec<Row> {
    let connect = |fault, service, expected, what: Fault| {
        let place = if service == Service::Identity { "TLS to Identity" } else { "TLS to the API" };
        row(place, fault, expected, move |world| world.vault().fault(Where::Connect(service), what.clone()))
    };
    let (identity, api) = (Service::Identity, Service::Api);
    vec![
        row("name lookup", "no such name, or no name server", passing("dns"), World::proxy_unknown),
        row("proxy", "connection refused", passing("connect"), World::proxy_away),
        row("proxy", "502", passing("connect"), |world| world.proxy("HTTP/1.1 502 Bad Gateway\r\n\r\n")),
        row("proxy", "cut", passing("connect"), |world| world.proxy("")),
        row("connect", "connection refused", passing("connect"), World::refuse),
        row("connect", "no answer (black hole)", passing("timeout"), World::black_hole),
        row("TLS", "cut in the handshake", passing("connect"), |world| world.other_server("")),
        row("TLS", "plain HTTP in its place", lasting("protocol"), |world| {
            world.other_server("HTTP/1.1 400 Bad Request\r\n\r\n");
        }),
        connect("reset", identity, passing_at_login("connect"), Fault::Reset),
        connect("no answer", identity, passing_at_login("timeout"), Fault::Stall),
        connect("garbage", identity, lasting_at_login("protocol"), Fault::Garbage),
        connect("reset", api, passing("connect"), Fault::Reset),
        connect("no answer", api, passing("timeout"), Fault::Stall),
        connect("garbage", api, lasting("protocol"), Fault::Garbage),
        row("TLS", "certificate expired", lasting("certificate"), |world| {
            world.replace(Certificate::Expired, true);
        }),
        row("TLS", "certificate for another name", lasting("certificate"), |world| {
            world.replace(Certificate::WrongName, true);
        }),
        row("TLS", "certificate of an unknown authority", lasting("certificate"), |world| {
            world.replace(Certificate::Good, false);
        }),
    ]
}

/// Faults that any request can meet, with their slugs.
fn transport() -> Vec<(&'static str, &'static str, Fault)> {
    let slow = Duration::from_secs(60);
    vec![
        ("no answer", "timeout", Fault::Stall),
        ("reset", "connection-broken", Fault::Reset),
        ("reset within the body", "connection-broken", Fault::ResetMidBody),
        ("connection closed within the body", "connection-broken", Fault::CloseMidBody),
        ("TLS cut within the body", "connection-broken", Fault::TlsCut),
        ("JSON cut short", "connection-broken", Fault::Truncated),
        ("slow headers", "timeout", Fault::SlowHeaders(slow)),
        ("slow body", "timeout", Fault::SlowBody { chunk: 1, pause: slow }),
        ("403 with a web page", "intercepted", Fault::html(403)),
        ("408", "unavailable", Fault::status(408)),
        ("429", "rate-limited", Fault::too_many_requests(None)),
        ("429, `Retry-After: 1`", "rate-limited", Fault::too_many_requests(Some("1"))),
        ("429, `Retry-After: 60`", "rate-limited", Fault::too_many_requests(Some("60"))),
        ("500", "unavailable", Fault::error(500, "Oh.")),
        ("502 with a web page", "unavailable", Fault::html(502)),
        ("503", "unavailable", Fault::status(503)),
        ("504", "unavailable", Fault::status(504)),
    ]
}

/// The same, where trying again does not help.
fn nonsense() -> Vec<(&'static str, &'static str, Fault)> {
    let oversize = |chunked| Fault::Oversize { bytes: 64 * 1024 * 1024 + 1, chunked };
    vec![
        ("garbage", "protocol", Fault::Garbage),
        ("more than 64 MiB", "oversize", oversize(false)),
        ("200 with a web page", "web-page", Fault::html(200)),
        ("404 with a web page", "web-page", Fault::html(404)),
        ("200 with JSON of another shape", "protocol", Fault::json("{}")),
        ("302", "redirect", Fault::redirect(302, "https://login.example.org/")),
        ("307", "redirect", Fault::redirect(307, "https://login.example.org/")),
        ("418", "protocol", Fault::status(418)),
    ]
}

fn at(place: &'static str, endpoint: Endpoint, fault: &'static str, expected: [End; 5], what: Fault) -> Row {
    row(place, fault, expected, move |world| world.vault().fault(endpoint, what.clone()))
}

fn login() -> Vec<Row> {
    let refused = |fault, slug, what: Fault| at("login", Login, fault, lasting_at_login(slug), what);
    let passing = transport();
    let lasting = nonsense();
    let mut rows: Vec<Row> = passing
        .into_iter()
        .map(|(fault, slug, what)| at("login", Login, fault, passing_at_login(slug), what))
        .chain(lasting.into_iter().map(|(fault, slug, what)| refused(fault, slug, what)))
        .collect();
    let undecryptable = |world: &mut World| {
        world.owner().set_payload(&world.scenario().token, Payload::Plaintext(vec![0xff]));
    };
    rows.extend([
        refused("400 `invalid_client`", "invalid-client", json(400, r#"{"error":"invalid_client"}"#)),
        refused("401 `invalid_client`", "invalid-client", json(401, r#"{"error":"invalid_client"}"#)),
        refused("400 `invalid_scope`", "login-refused", json(400, r#"{"error":"invalid_scope"}"#)),
        refused("400", "protocol", Fault::status(400)),
        refused("401", "login-refused", Fault::status(401)),
        refused("403", "login-refused", Fault::error(403, "No.")),
        refused("404", "not-found", Fault::status(404)),
        at(
            "login",
            Login,
            "503 that says `invalid_client`",
            passing_at_login("unavailable"),
            json(503, r#"{"error":"invalid_client"}"#),
        ),
        row("login", "undecryptable payload", lasting_at_login("organization-key"), undecryptable),
        row("login", "no payload", lasting_at_login("no-payload"), |world| {
            world.owner().set_payload(&world.scenario().token, Payload::Missing);
        }),
        row("login", "503, once", [Runs, Copy, Runs, CopyWarned, Runs], |world| {
            world.vault().fault_times(1, Login, Fault::status(503));
        }),
        row("login", "token revoked", lasting_at_login("invalid-client"), |world| {
            world.owner().revoke_token(&world.scenario().token);
        }),
        row("login", "organization disabled", lasting_at_login("invalid-client"), |world| {
            world.owner().set_organization_enabled(false);
        }),
    ]);
    rows
}

fn sync() -> Vec<Row> {
    let mut rows: Vec<Row> = transport()
        .into_iter()
        .map(|(fault, slug, what)| at("sync", Sync, fault, passing(slug), what))
        .chain(nonsense().into_iter().map(|(fault, slug, what)| at("sync", Sync, fault, lasting(slug), what)))
        .collect();
    rows.extend([
        at("sync", Sync, "400", lasting("protocol"), Fault::error(400, "No.")),
        at("sync", Sync, "401", lasting("unauthorized"), Fault::status(401)),
        at("sync", Sync, "403", lasting("forbidden"), Fault::error(403, "No.")),
        at("sync", Sync, "404: asked as an old server", [Runs, Copy, Runs, Runs, Runs], Fault::status(404)),
        row("sync", "503, once", once(), |world| world.vault().fault_times(1, Sync, Fault::status(503))),
        row("sync", "reset, once", once(), |world| world.vault().fault_times(1, Sync, Fault::Reset)),
        row("sync", "429, `Retry-After: 1`, once", once(), |world| {
            world.vault().fault_times(1, Sync, Fault::too_many_requests(Some("1")));
        }),
        row("sync", "one undecryptable secret", lasting("undecryptable"), |world| {
            world.owner().edit_secret(world.secret, |secret| secret.value = "2.a|b".into());
        }),
    ]);
    rows
}

fn old_server() -> Vec<Row> {
    let old = |row: Row| Row { sync_supported: false, ..row };
    let mut rows = Vec::new();
    for (place, endpoint) in [("list", List), ("get-by-ids", GetByIds)] {
        let passing = |fault, slug, what| at(place, endpoint, fault, passing(slug), what);
        let lasting = |fault, slug, what| at(place, endpoint, fault, lasting(slug), what);
        rows.extend([
            passing("no answer", "timeout", Fault::Stall),
            passing("reset", "connection-broken", Fault::Reset),
            passing("JSON cut short", "connection-broken", Fault::Truncated),
            passing("429", "rate-limited", Fault::too_many_requests(None)),
            passing("503", "unavailable", Fault::status(503)),
            lasting("200 with a web page", "web-page", Fault::html(200)),
            lasting("401", "unauthorized", Fault::status(401)),
            lasting("404", "not-found", Fault::status(404)),
            lasting("200 with JSON of another shape", "protocol", Fault::json(r#"{"data":7}"#)),
        ]);
    }
    rows.into_iter().map(old).collect()
}

/// Several stages at once.
fn more() -> Vec<Row> {
    let empty = r#"{"hasChanges":true,"secrets":{"data":[]}}"#;
    vec![
        row("both servers", "503", passing("unavailable"), |world| {
            world.vault().fault(Where::Any, Fault::status(503));
        }),
        row("both servers", "clock 2 h ahead", [Runs, Copy, Runs, Runs, Runs], |world| {
            world.vault().advance(Duration::from_secs(2 * 3600));
        }),
        row("session", "401, once", refused_once("unauthorized"), |world| {
            world.vault().fault_times(1, Sync, Fault::status(401));
        }),
        row("session", "403, once", refused_once("forbidden"), |world| {
            world.vault().fault_times(1, Sync, Fault::error(403, "No."));
        }),
        row(
            "session",
            "401, and 503 at login",
            refused_then(Fails(75, "unavailable"), CopyWarned),
            |world| {
                world.vault().fault(Sync, Fault::status(401));
                world.vault().fault(Login, Fault::status(503));
            },
        ),
        row("session", "401, and token revoked", lasting("invalid-client"), |world| {
            world.vault().fault(Sync, Fault::status(401));
            world.owner().revoke_token(&world.scenario().token);
        }),
        row("session", "an empty answer, and account deleted", lasting("invalid-client"), move |world| {
            world.vault().fault(Sync, Fault::json(empty));
            world.owner().delete_account(world.scenario().account);
        }),
    ]
}

/// A kept session that is refused leads to one login; one that was just given does not.
fn refused_once(slug: &'static str) -> [End; 5] {
    [Fails(125, slug), Copy, Runs, Fails(125, slug), Fails(125, slug)]
}

fn refused_then(without: End, with: End) -> [End; 5] {
    [without, Copy, with, with, without]
}

fn cache() -> Vec<Row> {
    let lost = [Runs; 5];
    let unusable = [Runs, RunsWarned, RunsWarned, RunsWarned, RunsWarned];
    let away = [Fails(75, "unavailable"); 5];
    let ours = |row: Row| Row { files_are_ours: false, ..row };
    let outage = |world: &World| world.vault().fault(Where::Any, Fault::status(503));
    let flip = |content: &mut Vec<u8>| *content.last_mut().expect("it is not empty") ^= 1;
    let full = |world: &mut World| {
        let script = "trap '' XFSZ; ulimit -f 0; exec \"$@\"";
        world.change_launch(|launch| launch.under(["sh", "-c", script, "sh"]));
    };
    let swap = |world: &World| {
        let [copy, session] = ["snapshot", "session"].map(|kind| world.file(kind).expect("it was written"));
        fs::copy(session, copy).expect("it can be copied");
    };
    let mut rows = vec![
        row("copy", "one bit is wrong", lost, move |world| world.change_file("snapshot", flip)),
        row("copy", "one bit is wrong, and 503 of both servers", away, move |world| {
            world.change_file("snapshot", flip);
            outage(world);
        }),
        row("copy", "cut short", lost, |world| world.change_file("snapshot", |it| it.truncate(100))),
        row("copy", "empty", lost, |world| world.change_file("snapshot", Vec::clear)),
        row("copy", "of a newer version", lost, |world| world.change_file("snapshot", |it| it[8] = 2)),
        row("copy", "another file in its place", lost, move |world| swap(world)),
        row("copy", "a directory in its place", lost, |world| {
            let copy = world.file("snapshot").expect("it was written");
            fs::remove_file(&copy).and_then(|()| fs::create_dir(&copy)).expect("it can be replaced");
        }),
        row("copy", "readable by others", lost, |world| {
            set_mode(&world.file("snapshot").expect("it was written"), 0o644);
        }),
        row("kept session", "one bit is wrong", [Runs, Copy, Runs, Runs, Runs], move |world| {
            world.change_file("session", flip);
        }),
        row(
            "kept session",
            "one bit is wrong, and 503 of both servers",
            passing("unavailable"),
            move |world| {
                world.change_file("session", flip);
                outage(world);
            },
        ),
        row("cache directory", "not ours alone (mode 0755)", unusable, |world| {
            set_mode(&world.ours(), 0o755)
        }),
        row("cache directory", "not ours alone, and 503 of both servers", away, move |world| {
            set_mode(&world.ours(), 0o755);
            outage(world);
        }),
        row("cache directory", "a symlink in its place", unusable, |world| {
            let elsewhere = world.cache().join("elsewhere");
            fs::rename(world.ours(), &elsewhere).expect("it can be renamed");
            std::os::unix::fs::symlink(elsewhere, world.ours()).expect("a link can be made");
        }),
        row("cache directory", "gone", unusable, |world| {
            fs::remove_dir_all(world.cache()).expect("it can be removed");
        }),
    ];
    rows = rows.into_iter().map(ours).collect();
    let hanging =
        row("cache", "another launch hangs while it asks", [Runs, Copy, Runs, Runs, Runs], |world| {
            world.hold_lock();
        });
    rows.extend([
        row("cache", "disk full", [Runs, Copy, Runs, Runs, Runs], full),
        row("cache", "disk full, and 503 of both servers", passing("unavailable"), move |world| {
            full(world);
            outage(world);
        }),
        Row { deadline: Some(Duration::from_secs(4)), ..hanging },
    ]);
    rows
}
