//! The kept session: how long it is believed, and what ends it.

use std::time::Duration;

use crate::cache::{Cached, with_status, without_ages};
use crate::errors::error;
use crate::support::Outcome;
use crate::support::vault::{Access, Answer, Endpoint, Fault};

use Endpoint::{Login, Sync};

const HOUR: Duration = Duration::from_secs(3600);
const UNAUTHORIZED: Fault = Fault::Answer(Answer { status: 401, headers: Vec::new(), body: Vec::new() });

/// Nothing of this token is there any more.
#[track_caller]
fn is_forgotten(cached: &Cached) {
    assert_eq!((cached.file("snapshot"), cached.file("session")), (None, None));
}

#[track_caller]
fn is_kept(cached: &Cached) {
    assert!(cached.file("snapshot").is_some() && cached.file("session").is_some());
}

/// Refused, in the very words.
#[track_caller]
fn is_refused(cached: &Cached, outcome: &Outcome) {
    let id = cached.scenario.token.split('.').nth(1).expect("a token has an id");
    let message = format!("{} refused the access token {id} (invalid_client)", cached.identity_host());
    let hint = "likely causes, in order: wrong region or server (--region, --server-url), token expired, revoked, \
                mistyped, organization disabled";
    outcome.failed(125, &error("invalid-client", &message, hint));
}

/// A bearer outlives its token, at Bitwarden too. The next login is the end of everything.
#[test]
fn a_revoked_token_is_refused_from_the_next_login_on() {
    let cached = Cached::warm();
    cached.scenario.vault.owner().revoke_token(&cached.scenario.token);
    cached.change_to("new");
    assert_eq!(cached.run(&[]).succeeded().text(), "new\n", "until then the session works");
    assert_eq!(cached.asked(), [Sync]);
    is_kept(&cached);

    cached.scenario.vault.advance(2 * HOUR);
    is_refused(&cached, &cached.run(&[]));
    assert_eq!(cached.asked(), [Sync, Login]);
    is_forgotten(&cached);

    cached.run(&["--offline"]).failed_with(75, "no-copy");
    cached.outage();
    cached.run(&["--deadline", "1s"]).failed_with(75, "unavailable");
}

#[test]
fn without_a_kept_session_a_revoked_token_is_refused_at_once() {
    let cached = Cached::warm();
    cached.scenario.vault.owner().revoke_token(&cached.scenario.token);
    is_refused(&cached, &cached.run(&["--no-session-cache"]));
    assert_eq!(cached.asked(), [Login]);
    is_forgotten(&cached);
}

/// Other tokens in the same directory have nothing to do with it.
#[test]
fn a_refusal_deletes_what_is_of_that_token_only() {
    let cached = Cached::warm();
    let owner = cached.scenario.vault.owner();
    let other = owner.create_token(cached.scenario.account, "other", None);
    owner.revoke_token(&other);
    let foreign = cached.ours().join("notes.snapshot");
    std::fs::write(&foreign, "not ours").expect("it can be written");
    let launch = cached.launch().option("--no-session-cache").env("BWS_ACCESS_TOKEN", other);
    launch.run().failed_with(125, "invalid-client");
    assert!(foreign.exists());
    cached.outage();
    assert_eq!(cached.run(&[]).text(), "value\n", "the first one's copy is there");
}

/// An unavailable server is no refusal, whatever it says.
#[test]
fn an_unavailable_server_deletes_nothing() {
    let faults = [
        Fault::status(500),
        Fault::status(503),
        Fault::status(408),
        Fault::html(403),
        Fault::too_many_requests(None),
        Fault::Reset,
        Fault::Truncated,
        Fault::Answer(Answer::text(503, "application/json", r#"{"error":"invalid_client"}"#)),
    ];
    for fault in faults {
        let cached = Cached::warm();
        cached.scenario.vault.fault(Login, fault.clone());
        cached.scenario.vault.fault_times(1, Sync, UNAUTHORIZED);
        // The session has ended by the server's word, and no login is to be had.
        let outcome = cached.run(&[]);
        assert_eq!((outcome.code(), outcome.text().as_str()), (Some(0), "value\n"), "{fault:?}: {outcome:?}");
        assert_eq!(cached.asked(), [Sync, Login], "{fault:?}");
        assert!(cached.file("snapshot").is_some(), "{fault:?}");
        assert_eq!(cached.file("session"), None, "{fault:?}: it was refused");

        cached.scenario.vault.clear_faults();
        // A rate limit is remembered, and no matter of this test.
        cached.file("limits").map(std::fs::remove_file).transpose().expect("it is ours");
        cached.run(&[]).succeeded();
        cached.scenario.vault.fault(Sync, fault.clone());
        assert_eq!(cached.run(&[]).text(), "value\n", "{fault:?}");
        is_kept(&cached);
    }
}

/// What does not help is an error, copy or not, and yet deletes no copy: only `invalid_client` does.
#[test]
fn other_refusals_are_errors_and_delete_no_copy() {
    for (fault, slug) in [
        (Fault::error(400, "no"), "protocol"),
        (
            Fault::Answer(Answer::text(400, "application/json", r#"{"error":"invalid_scope"}"#)),
            "login-refused",
        ),
        (Fault::html(200), "web-page"),
        (Fault::redirect(302, "/"), "redirect"),
        (Fault::json("{}"), "protocol"),
        (UNAUTHORIZED, "login-refused"),
    ] {
        let cached = Cached::warm();
        cached.scenario.vault.fault(Login, fault.clone());
        let outcome = cached.run(&["--no-session-cache"]);
        println!("{fault:?}: {outcome:?}");
        outcome.failed_with(125, slug);
        assert_eq!(cached.asked(), [Login], "{fault:?}");
        assert!(cached.file("snapshot").is_some(), "{fault:?}");
    }
}

#[test]
fn an_expired_bearer_leads_to_one_login() {
    let cached = Cached::warm();
    cached.scenario.vault.advance(2 * HOUR);
    let before = cached.file("session").map(|path| std::fs::read(path).expect("it can be read"));
    assert_eq!(cached.run(&[]).succeeded().text(), "value\n");
    assert_eq!(cached.asked(), [Sync, Login, Sync]);
    let after = cached.file("session").map(|path| std::fs::read(path).expect("it can be read"));
    assert!(after.is_some() && before != after, "the new one is kept");
    cached.run(&[]).succeeded();
    assert_eq!(cached.asked(), [Sync], "and used");
}

/// That bearer is not even shown, by our own clock.
#[test]
#[ignore = "needs root"]
fn a_bearer_that_must_have_expired_is_not_used() {
    let cached = Cached::warm();
    let after = |seconds: u32| {
        let boot = format!("--boottime={seconds}");
        cached.launch().under(["unshare", "--time", &boot])
    };
    after(3600 - 120).run().succeeded();
    assert_eq!(cached.asked(), [Sync]);
    after(3600 - 30).run().succeeded();
    assert_eq!(cached.asked(), [Login, Sync]);
}

#[test]
fn a_refused_session_leads_to_one_login_and_is_told() {
    for (fault, because) in [
        (UNAUTHORIZED, "{api} did not accept it (HTTP status 401)"),
        (Fault::status(403), "{api} forbids this machine account to read secrets (HTTP status 403)"),
    ] {
        let cached = Cached::warm();
        cached.scenario.vault.fault_times(1, Sync, fault);
        let (outcome, status) = with_status(cached.launch().option("-v"));
        assert_eq!((outcome.code(), outcome.text().as_str()), (Some(0), "value\n"));
        let because = because.replace("{api}", cached.api_host());
        let notice = format!("bws-exec: notice: the kept session is not used any more: {because}\n");
        assert_eq!(outcome.stderr, notice);
        assert_eq!(cached.asked(), [Sync, Login, Sync]);
        let phases: Vec<String> = ["start", "fetch", "login", "fetch", "resolve", "exec"]
            .map(|phase| format!(r#"{{"phase":"{phase}"}}"#))
            .into();
        assert_eq!(status, phases);
        is_kept(&cached);
    }
}

/// Two in a row are no matter of age: not asked a third time, and no copy serves.
#[test]
fn a_fresh_session_that_is_refused_too_is_an_error() {
    for (fault, slug) in [(UNAUTHORIZED, "unauthorized"), (Fault::status(403), "forbidden")] {
        let cached = Cached::warm();
        cached.scenario.vault.fault(Sync, fault);
        cached.run(&[]).failed_with(125, slug);
        assert_eq!(cached.asked(), [Sync, Login, Sync]);
        assert!(cached.file("snapshot").is_some(), "it was no invalid_client");
        if slug == "unauthorized" {
            assert_eq!(cached.file("session"), None, "it would be refused again");
        }
    }
}

/// To a kept bearer a deleted account looks like one that reads nothing: 200 and an empty list.
#[test]
fn an_empty_answer_to_a_kept_session_is_not_believed() {
    let cached = Cached::warm();
    let owner = cached.scenario.vault.owner();
    owner.ungrant(cached.scenario.account, cached.scenario.project);
    let outcome = cached.run(&["-v"]);
    assert_eq!(outcome.text(), "", "printenv finds nothing");
    assert_eq!(outcome.code(), Some(1), "but it ran");
    let notice = "bws-exec: notice: the kept session is not used any more: it reads nothing\n";
    let warning = "bws-exec: warning: this machine account can read no secrets\n";
    assert_eq!(outcome.stderr, format!("{notice}{warning}"));
    assert_eq!(cached.asked(), [Sync, Login, Sync], "one login, and then it is believed");

    owner.grant(cached.scenario.account, cached.scenario.project, Access::Read);
    assert_eq!(cached.run(&[]).succeeded().text(), "value\n", "what is kept does not stand in the way");
    assert_eq!(cached.asked(), [Sync]);
}

#[test]
fn a_deleted_account_is_refused_and_forgotten() {
    let cached = Cached::warm();
    cached.scenario.vault.owner().delete_account(cached.scenario.account);
    is_refused(&cached, &cached.run(&[]));
    assert_eq!(cached.asked(), [Sync, Login]);
    is_forgotten(&cached);
}

/// The doubt itself needs a server: without one the copy serves, as in any outage.
#[test]
fn a_doubt_that_cannot_be_settled_is_an_outage() {
    let cached = Cached::warm();
    cached.scenario.vault.owner().delete_account(cached.scenario.account);
    cached.scenario.vault.fault(Login, Fault::status(503));
    let outcome = cached.run(&[]);
    assert_eq!((outcome.code(), outcome.text().as_str()), (Some(0), "value\n"));
    let warning = format!(
        "bws-exec: warning: {} is unavailable: HTTP status 503 while logging in; \
         using the copy fetched Ns ago, with a login Ns ago\n",
        cached.identity_host()
    );
    assert_eq!(without_ages(&outcome.stderr), warning);
    assert_eq!(cached.asked(), [Sync, Login]);
    cached.scenario.vault.clear_faults();
    is_refused(&cached, &cached.run(&[]));
    assert_eq!(cached.asked(), [Login], "the session that was doubted is not asked again");
}
