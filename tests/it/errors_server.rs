//! What a server may answer instead of what was asked for, and ciphertext that cannot be opened.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::errors::{AGAIN, BASE_URL, Case, check, echo, error, host};
use crate::support::vault::{Answer, Endpoint, Fault, Options, Payload};
use crate::support::{Outcome, Scenario};

const LOGIN_HINT: &str = "the token may not be one of Secrets Manager, or the server is too old";
const CLIENT_HINT: &str = "likely causes, in order: wrong region or server (--region, --server-url), token expired, \
                           revoked, mistyped, organization disabled";
const INTERCEPTED_HINT: &str = "a proxy or firewall seems to stand in the way";
const OVERSIZE_HINT: &str = "grant this machine account fewer projects, or split it";
const UPDATE_HINT: &str = "this organization uses newer encryption: update bws-exec";
const TOKEN_KEY_HINT: &str = "the part of the token after ':' seems wrong: copy the token again";
const STORE_AGAIN_HINT: &str =
    "store the secret again in Bitwarden, or leave it out by --exclude or --project";
const NEWER_SECRET_HINT: &str =
    "this secret uses newer encryption: update bws-exec, or leave it out by --exclude or --project";

fn oauth(status: u16, body: &str) -> Fault {
    Fault::Answer(Answer::text(status, "application/json; charset=utf-8", body))
}

#[test]
fn refusals_of_the_login() {
    let refused = |fault, reason: &str| {
        let message = format!("{{identity}} refused the login: {reason}");
        Case::permanent(Endpoint::Login, fault, "login-refused", &message, LOGIN_HINT)
    };
    let long = "x".repeat(1000);
    check(vec![
        refused(oauth(400, r#"{"error":"invalid_scope"}"#), "invalid_scope"),
        refused(
            oauth(400, r#"{"error":"invalid_grant","error_description":"no \u001b[31mway"}"#),
            "invalid_grant: no \\u{1b}[31mway",
        ),
        refused(oauth(400, &format!(r#"{{"error":"{long}"}}"#)), &long[..200]),
        refused(Fault::status(401), "HTTP status 401"),
        refused(Fault::status(403), "HTTP status 403"),
    ]);
}

/// The service says no more than this, whatever the reason is.
#[test]
fn invalid_client() {
    let scenario = Scenario::new().secret("NAME", "value");
    let owner = scenario.vault.owner();
    let refused = |token: &str, id: &str| {
        scenario.vault.clear_log();
        let message =
            format!("{} refused the access token {id} (invalid_client)", host(scenario.vault.identity_url()));
        let outcome = echo(scenario.launch().env("BWS_ACCESS_TOKEN", token)).run();
        outcome.failed(125, &error("invalid-client", &message, CLIENT_HINT));
        assert_eq!(scenario.vault.requests().len(), 1, "it is not tried again");
    };
    let id = |token: &str| token.split('.').nth(1).expect("a token has an id").to_owned();
    let token = &scenario.token;
    let (left, key) = token.split_once(':').expect("a token has a key");
    refused(&format!("{left}x:{key}"), &id(token));
    let unknown =
        "0.ec2c1d46-6a4b-4751-a310-af9601317f2d.C2IgxjjLF7qSshsbwe8JGcbM075YXw:X8vbvA0bduihIDe/qrzIQQ==";
    refused(unknown, "ec2c1d46-6a4b-4751-a310-af9601317f2d");
    // RFC 6749 allows 401 as well.
    scenario.vault.fault_times(1, Endpoint::Login, oauth(401, r#"{"error":"invalid_client"}"#));
    refused(token, &id(token));
    let expired = owner.create_token(scenario.account, "expired", Some(std::time::Duration::ZERO));
    refused(&expired, &id(&expired));
    owner.set_organization_enabled(false);
    refused(token, &id(token));
    owner.set_organization_enabled(true);
    owner.revoke_token(token);
    refused(token, &id(token));
}

#[test]
fn statuses() {
    let at_login = |fault, slug: &str, message: &str, hint: &str| {
        Case::permanent(Endpoint::Login, fault, slug, &format!("{{identity}} {message}"), hint)
    };
    let at_fetch = |fault, slug: &str, message: &str, hint: &str| {
        Case::permanent(Endpoint::Sync, fault, slug, &format!("{{api}} {message}"), hint)
    };
    let not_protocol = "gave an answer that is not Bitwarden's protocol while";
    check(vec![
        at_login(
            Fault::status(404),
            "not-found",
            "knows no such resource (HTTP status 404 while logging in)",
            BASE_URL,
        ),
        at_fetch(
            Fault::status(401),
            "unauthorized",
            "did not accept the session it had just given (HTTP status 401)",
            "check that --api-url and --identity-url belong to the same server",
        ),
        at_fetch(
            Fault::status(403),
            "forbidden",
            "forbids this machine account to read secrets (HTTP status 403)",
            "check that the organization has Secrets Manager and the account may use it",
        ),
        at_login(
            Fault::status(418),
            "protocol",
            &format!("{not_protocol} logging in: HTTP status 418"),
            BASE_URL,
        ),
        at_fetch(
            Fault::error(400, "Only service accounts can sync secrets."),
            "protocol",
            &format!("{not_protocol} fetching secrets: HTTP status 400"),
            BASE_URL,
        ),
        Case {
            options: Options { sync_supported: false, ..Options::default() },
            ..at_fetch(
                Fault::status(404),
                "not-found",
                "knows no such resource (HTTP status 404 while fetching secrets)",
                BASE_URL,
            )
        }
        .at(Endpoint::List),
    ]);
}

/// Nothing here says that it will not pass.
#[test]
fn statuses_that_may_pass() {
    let at_login = |fault, slug: &str, message: &str, hint: &str| {
        Case::transient(Endpoint::Login, fault, slug, &format!("{{identity}} {message}"), hint)
    };
    let at_fetch = |fault, slug: &str, message: &str, hint: &str| {
        Case::transient(Endpoint::Sync, fault, slug, &format!("{{api}} {message}"), hint)
    };
    let limits = "not a fault of the token; wait a minute; logins are limited to 10 a minute an address";
    let limited = "has had too many requests from this address";
    let intercepted = "answered with HTTP status 403 and a web page while";
    let unavailable =
        |status: u16, stage: &str| format!("is unavailable: HTTP status {status} while {stage}");
    check(vec![
        at_login(Fault::html(403), "intercepted", &format!("{intercepted} logging in"), INTERCEPTED_HINT),
        at_fetch(
            Fault::html(403),
            "intercepted",
            &format!("{intercepted} fetching secrets"),
            INTERCEPTED_HINT,
        ),
        at_login(Fault::html(503), "unavailable", &unavailable(503, "logging in"), AGAIN),
        at_login(Fault::status(408), "unavailable", &unavailable(408, "logging in"), AGAIN),
        at_fetch(Fault::error(500, "Oh."), "unavailable", &unavailable(500, "fetching secrets"), AGAIN),
        at_fetch(Fault::html(502), "unavailable", &unavailable(502, "fetching secrets"), AGAIN),
        at_login(Fault::too_many_requests(None), "rate-limited", &format!("{limited} (logging in)"), limits),
        at_fetch(
            Fault::too_many_requests(None),
            "rate-limited",
            &format!("{limited} (fetching secrets)"),
            limits,
        ),
        at_fetch(
            Fault::too_many_requests(Some("0")),
            "rate-limited",
            &format!("{limited} (fetching secrets)"),
            "not a fault of the token; the server asks to wait 0s; logins are limited to 10 a minute an address",
        ),
    ]);
}

#[test]
fn web_pages() {
    let page = |at: Endpoint, host: &str, status, stage: &str| {
        let message = format!("{host} answered with a web page, not with Bitwarden's API, while {stage}");
        Case::permanent(at, Fault::html(status), "web-page", &message, BASE_URL)
    };
    let undeclared = Fault::Answer(Answer { body: b"\n <html>".to_vec(), ..Answer::empty(200) });
    check(vec![
        page(Endpoint::Login, "{identity}", 200, "logging in"),
        page(Endpoint::Login, "{identity}", 404, "logging in"),
        page(Endpoint::Sync, "{api}", 200, "fetching secrets"),
        page(Endpoint::Sync, "{api}", 404, "fetching secrets"),
        Case { fault: undeclared, ..page(Endpoint::Sync, "{api}", 200, "fetching secrets") },
    ]);
}

/// The target is named without what it may carry, and gets nothing.
#[test]
fn redirects_are_not_followed() {
    let elsewhere = Scenario::new();
    let target = elsewhere.vault.identity_url();
    let location = format!("{}/login?ticket=secret", target.replacen("https://", "https://user:pass@", 1));
    let redirect = |at: Endpoint, host: &str, status, location: &str, target: &str| {
        let stage = if at == Endpoint::Login { "logging in" } else { "fetching secrets" };
        let message = format!("{host} redirects to {target} while {stage}");
        let hint = "redirects are never followed with credentials: give the final URL";
        Case::permanent(at, Fault::redirect(status, location), "redirect", &message, hint)
    };
    let target = format!("{target}/login");
    check(vec![
        redirect(Endpoint::Login, "{identity}", 307, &location, &target),
        redirect(Endpoint::Login, "{identity}", 308, "/login?ticket=secret", "/login"),
        redirect(Endpoint::Sync, "{api}", 301, &location, &target),
        redirect(Endpoint::Sync, "{api}", 302, "", "an unnamed place"),
    ]);
    crate::errors::untouched(&elsewhere.vault);
}

#[test]
fn json_that_is_cut_or_of_another_shape() {
    let wrong = |at: Endpoint, body: &str, problem: &str| {
        let (host, stage) =
            if at == Endpoint::Login { ("{identity}", "logging in") } else { ("{api}", "fetching secrets") };
        let message =
            format!("{host} gave an answer that is not Bitwarden's protocol while {stage}: {problem}");
        Case::permanent(at, Fault::json(body), "protocol", &message, BASE_URL)
    };
    let old = |case: Case| case.with(Options { sync_supported: false, ..Options::default() });
    let cut = |at: Endpoint, body: &str, column: usize| {
        let (host, stage) =
            if at == Endpoint::Login { ("{identity}", "logging in") } else { ("{api}", "fetching secrets") };
        let message = format!(
            "the connection to {host} broke while {stage}: the answer ends early, at line 1 column {column}"
        );
        Case::transient(at, Fault::json(body), "connection-broken", &message, AGAIN)
    };
    let field = "a field is missing or of the wrong kind at line 1 column";
    check(vec![
        wrong(Endpoint::Login, "{}", &format!("{field} 2")),
        wrong(Endpoint::Login, "[1]", &format!("{field} 2")),
        wrong(Endpoint::Login, "OK", "invalid JSON at line 1 column 1"),
        wrong(Endpoint::Login, r#"{"access_token":"hidden"}"#, "the bearer names no organization"),
        wrong(Endpoint::Login, r#"{"access_token":"a.aGlkZGVu.b"}"#, "the bearer names no organization"),
        wrong(Endpoint::Sync, r#"{"hasChanges":true,"secrets":7}"#, &format!("{field} 30")),
        wrong(Endpoint::Sync, r#"{"hasChanges":false,"secrets":null}"#, "a full sync without secrets"),
        wrong(Endpoint::Sync, r#"{"hasChanges":true}"#, "a full sync without secrets"),
        wrong(Endpoint::Sync, "\u{fffd}", "invalid JSON at line 1 column 1"),
        old(wrong(Endpoint::List, "{}", &format!("{field} 2"))),
        old(wrong(Endpoint::GetByIds, r#"{"data":[{}]}"#, &format!("{field} 11"))),
        cut(Endpoint::Login, r#"{"access_token":"#, 16),
        cut(Endpoint::Login, "", 0),
        cut(Endpoint::Sync, r#"{"hasChanges":true,"secrets":{"data":["#, 38),
    ]);
}

/// Half of the true answer, as if it were all.
#[test]
fn a_truncated_sync() {
    let scenario = Scenario::new().secret("NAME", "value");
    scenario.vault.fault_times(1, Endpoint::Sync, Fault::Truncated);
    let outcome = scenario.launch().command(["printenv", "NAME"]).run();
    assert_eq!(outcome.succeeded().text(), "value\n");
}

#[test]
fn answers_beyond_the_limit() {
    const LIMIT: usize = 64 * 1024 * 1024;
    let oversize = |at: Endpoint, host: &str, bytes, chunked| {
        let message = format!("the answer of {host} is larger than 64 MiB");
        Case::permanent(at, Fault::Oversize { bytes, chunked }, "oversize", &message, OVERSIZE_HINT)
    };
    check(vec![
        oversize(Endpoint::Login, "{identity}", LIMIT + 1, false),
        oversize(Endpoint::Sync, "{api}", isize::MAX as usize, false),
    ]);
    check(vec![oversize(Endpoint::Sync, "{api}", LIMIT + 1, true)]);
}

/// One byte less is read, and then found to be something else.
#[test]
fn an_answer_of_the_greatest_size() {
    let fault = Fault::Oversize { bytes: 64 * 1024 * 1024, chunked: false };
    let message = "{api} gave an answer that is not Bitwarden's protocol while fetching secrets: \
                   a full sync without secrets";
    let mut case = Case::permanent(Endpoint::Sync, fault, "protocol", message, BASE_URL);
    case.deadline = "30s";
    check(vec![case]);
}

#[test]
fn logins_without_an_organization_key() {
    let scenario = Scenario::new().secret("NAME", "value");
    let owner = scenario.vault.owner();
    let login = |payload| -> Outcome {
        owner.set_payload(&scenario.token, payload);
        echo(scenario.launch()).run()
    };
    let plain = |text: String| Payload::Plaintext(text.into_bytes());
    let key = |length| plain(format!(r#"{{"encryptionKey":"{}"}}"#, STANDARD.encode(vec![7; length])));
    let none = error(
        "no-payload",
        "the login answer carries no encrypted payload",
        "create a new access token for this machine account",
    );
    login(Payload::Missing).failed(125, &none);
    login(Payload::Raw(String::new())).failed(125, &none);

    let failed = |outcome: Outcome, problem: &str, hint: &str| {
        let message = format!("cannot open the organization key of the login answer: {problem}");
        outcome.failed(125, &error("organization-key", &message, hint));
    };
    let unknown = |length| format!("a key of {length} bytes is of a kind this version does not know");
    let form = "the payload has an unexpected form";
    failed(login(key(32)), &unknown(32), UPDATE_HINT);
    // A COSE key is padded to more than 64 bytes.
    failed(login(key(96)), &unknown(96), UPDATE_HINT);
    failed(login(plain("{}".into())), form, TOKEN_KEY_HINT);
    failed(login(plain(r#"{"encryptionKey":"?"}"#.into())), form, TOKEN_KEY_HINT);
    failed(login(Payload::Plaintext(vec![0xff])), "the decrypted bytes are not UTF-8", TOKEN_KEY_HINT);
    failed(login(Payload::Raw("2.a|b".into())), "it is not an encrypted string", TOKEN_KEY_HINT);
    failed(login(Payload::Raw("7.AAAA".into())), "encryption type 7 is not accepted", UPDATE_HINT);

    // Another key in the token than the one it was made with.
    owner.set_payload(&scenario.token, Payload::OrganizationKey);
    let (left, _) = scenario.token.split_once(':').expect("a token has a key");
    let token = format!("{left}:{}", STANDARD.encode([7; 16]));
    let outcome = echo(scenario.launch().env("BWS_ACCESS_TOKEN", token)).run();
    failed(outcome, "the key does not fit or the data was changed", TOKEN_KEY_HINT);
}

#[test]
fn one_secret_that_cannot_be_decrypted() {
    let scenario = Scenario::new().secret("GOOD", "value");
    let owner = scenario.vault.owner();
    let id = owner.create_secret(scenario.project, "BAD", "value");
    let (iv, body, mac) = (STANDARD.encode([1; 16]), STANDARD.encode([2; 16]), STANDARD.encode([3; 32]));
    for (value, problem, hint) in [
        (format!("0.{iv}|{body}"), "encryption type 0 is not accepted", STORE_AGAIN_HINT),
        (format!("{iv}|{body}"), "encryption type 0 is not accepted", STORE_AGAIN_HINT),
        (format!("1.{iv}|{body}|{mac}"), "encryption type 1 is not accepted", STORE_AGAIN_HINT),
        (format!("7.{body}"), "encryption type 7 is not accepted", NEWER_SECRET_HINT),
        (format!("9.{body}"), "the encryption type is unknown", STORE_AGAIN_HINT),
        (format!("2.{iv}|{body}|{mac}"), "the key does not fit or the data was changed", STORE_AGAIN_HINT),
        (format!("2.{iv}|{body}"), "it is not an encrypted string", STORE_AGAIN_HINT),
        (owner.encrypt([0xff]), "the decrypted bytes are not UTF-8", STORE_AGAIN_HINT),
    ] {
        owner.edit_secret(id, |secret| secret.value = value.clone());
        let message =
            format!("cannot decrypt the value of secret 'BAD', id {id}, in project 'web': {problem}");
        echo(scenario.launch()).run().failed(125, &error("undecryptable", &message, hint));
        // Left out, it is nobody's business.
        let outcome = scenario.launch().options(["--exclude", "BAD"]).command(["printenv", "GOOD"]).run();
        assert_eq!(outcome.succeeded().text(), "value\n");
    }
    // No value at all is a fault of that secret only, too.
    let sync = format!(
        r#"{{"secrets":{{"data":[{{"id":"{id}","key":"{}","value":null}}]}}}}"#,
        owner.encrypt("BAD")
    );
    scenario.vault.fault_times(1, Endpoint::Sync, Fault::json(&sync));
    let message = format!(
        "cannot decrypt the value of secret 'BAD', id {id}, in no project: encryption type 0 is not accepted"
    );
    echo(scenario.launch()).run().failed(125, &error("undecryptable", &message, STORE_AGAIN_HINT));
    owner.edit_secret(id, |secret| secret.key = format!("7.{body}"));
    let message = format!(
        "cannot decrypt the key of secret id {id}, in project 'web': encryption type 7 is not accepted"
    );
    // No glob matches a key that cannot be read.
    let hint = NEWER_SECRET_HINT.replace("--exclude", "--only");
    echo(scenario.launch()).run().failed(125, &error("undecryptable", &message, &hint));
    let outcome = scenario.launch().options(["--only", "GOOD"]).command(["printenv", "GOOD"]).run();
    assert_eq!(outcome.succeeded().text(), "value\n");
}
