//! The way to the server: DNS, TCP, TLS, and connections that break or fall silent.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::errors::{
    AGAIN, BASE_URL, Case, DEADLINE, GAVE_UP, MORE_TIME, check, echo, error, host, without_count,
};
use crate::support::vault::{Certificate, Endpoint, Fault, Options, Service, Transport, Where};
use crate::support::{Launch, Outcome, Scenario};

const CONNECT_HINT: &str = "check the network and the server's address; a proxy is taken from HTTPS_PROXY";
const CERTIFICATE_HINT: &str = "add the issuing CA by --ca-file, or check the server's name and this clock";
const CA_HINT: &str = "give a file of PEM certificates that this user may read";
const BROKE_AT_LOGIN: &str = "the connection to {identity} broke while logging in: ";
const BROKE_AT_FETCH: &str = "the connection to {api} broke while fetching secrets: ";

/// A launch against two servers at one address that nobody looks after.
fn launch_at(server: &str) -> Launch {
    let token = Scenario::new().token;
    echo(Launch::new().options(["--server-url", server, "--deadline", DEADLINE]))
        .env("BWS_ACCESS_TOKEN", token)
}

#[track_caller]
fn gave_up(outcome: Outcome, slug: &str, message: &str, hint: &str) {
    let stderr = error(slug, &format!("{message}{GAVE_UP}"), hint);
    Outcome { stderr: without_count(&outcome.stderr), ..outcome }.failed(75, &stderr);
}

/// The address of a port that refuses, and what keeps others from taking it.
fn refusing() -> (SocketAddr, TcpListener, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let client = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    (client.local_addr().expect("it is connected"), listener, client)
}

#[test]
fn connection_refused() {
    let (address, _listener, _client) = refusing();
    let outcome = launch_at(&format!("https://{address}")).run();
    let message = format!("cannot connect to {address}: Connection refused (os error 111)");
    gave_up(outcome, "connect", &message, CONNECT_HINT);
}

/// Without a network the resolver has no answer, with one it has that there is no such name.
#[test]
fn name_not_found() {
    let outcome = launch_at("https://vault.invalid").env("RES_OPTIONS", "timeout:1 attempts:1").run();
    let cause = ["Name or service not known", "Temporary failure in name resolution"];
    let cause = cause.into_iter().find(|cause| outcome.stderr.contains(cause)).unwrap_or("one of these");
    let message = format!("cannot find the address of vault.invalid: {cause}");
    gave_up(outcome, "dns", &message, "check the server's name and /etc/resolv.conf");
}

/// Nobody takes connections off a full queue, so the kernel ignores further ones.
#[test]
fn a_black_hole_ends_by_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        queue.push(stream);
    }
    let outcome = launch_at(&format!("https://{address}")).run();
    let message = format!("{address} did not answer in time while logging in");
    outcome.failed(75, &error("timeout", &message, MORE_TIME));
    assert!(outcome.took < Duration::from_secs(5), "{:?}", outcome.took);
}

#[test]
fn connections_that_break() {
    let reset = "Connection reset by peer (os error 104)";
    let cut = "peer closed connection without sending TLS close_notify: \
               https://docs.rs/rustls/latest/rustls/manual/_03_howto/index.html#unexpected-eof";
    let short = "end of file before message length reached";
    let broken = |at, fault, text: &str| Case::transient(at, fault, "connection-broken", text, AGAIN);
    let at_login = |fault, text: &str| broken(Endpoint::Login, fault, &format!("{BROKE_AT_LOGIN}{text}"));
    let at_fetch = |fault, text: &str| broken(Endpoint::Sync, fault, &format!("{BROKE_AT_FETCH}{text}"));
    check(vec![
        at_login(Fault::Reset, reset),
        at_login(Fault::ResetMidBody, reset),
        at_login(Fault::CloseMidBody, short),
        at_login(Fault::TlsCut, cut),
        at_fetch(Fault::Reset, reset),
        at_fetch(Fault::ResetMidBody, reset),
        at_fetch(Fault::CloseMidBody, short),
        at_fetch(Fault::TlsCut, cut),
        Case::transient(
            Where::Connect(Service::Identity),
            Fault::Reset,
            "connect",
            &format!("cannot connect to {{identity}}: {reset}"),
            CONNECT_HINT,
        ),
        Case::transient(
            Where::Connect(Service::Api),
            Fault::Reset,
            "connect",
            &format!("cannot connect to {{api}}: {reset}"),
            CONNECT_HINT,
        ),
    ]);
}

#[test]
fn something_else_than_tls_and_http() {
    let protocol = |at: Where, message: &str| {
        let message = format!("{{identity}} gave an answer that is not Bitwarden's protocol while {message}");
        Case::permanent(at, Fault::Garbage, "protocol", &message, BASE_URL)
    };
    let no_tls = "no TLS connection: received corrupt message of type InvalidContentType";
    check(vec![
        protocol(Where::Connect(Service::Identity), &format!("logging in: {no_tls}")),
        protocol(Endpoint::Login.into(), "logging in: it does not speak HTTP"),
        Case {
            stderr: error(
                "protocol",
                "{api} gave an answer that is not Bitwarden's protocol while fetching secrets: \
                 it does not speak HTTP",
                BASE_URL,
            ),
            ..protocol(Endpoint::Sync.into(), "")
        },
    ]);
}

/// `https` where plain HTTP is spoken, and the other way round.
#[test]
fn the_wrong_scheme() {
    let swap = |options: Options, from: &str, to: &str| {
        let scenario = Scenario::with(options);
        let url = |url: &str| url.replacen(from, to, 1);
        let launch = Launch::new()
            .options(["--identity-url", &url(scenario.vault.identity_url())])
            .options(["--api-url", &url(scenario.vault.api_url()), "--deadline", DEADLINE])
            .env("BWS_ACCESS_TOKEN", &scenario.token);
        let outcome = echo(launch).run();
        let message = format!(
            "{} gave an answer that is not Bitwarden's protocol while logging in",
            host(scenario.vault.identity_url())
        );
        (outcome, message)
    };
    let (outcome, message) =
        swap(Options { transport: Transport::Plain, ..Options::default() }, "http:", "https:");
    let problem = "no TLS connection: received corrupt message of type InvalidContentType";
    outcome.failed(125, &error("protocol", &format!("{message}: {problem}"), BASE_URL));

    let (outcome, message) = swap(Options::default(), "https:", "http:");
    outcome.failed(125, &error("protocol", &format!("{message}: it does not speak HTTP"), BASE_URL));
}

#[test]
fn certificates_that_are_not_accepted() {
    let refused = |certificate, problem: &str| {
        let message = format!("the certificate of {{identity}} was not accepted: {problem}");
        // No fault but the certificate.
        Case::permanent(Where::Any, Fault::Pass, "certificate", &message, CERTIFICATE_HINT)
            .with(Options { certificate, ..Options::default() })
    };
    check(vec![
        refused(Certificate::Expired, "it has expired"),
        refused(Certificate::WrongName, "it is for another name"),
    ]);

    let (scenario, other) = (Scenario::new(), Scenario::new());
    let launch = || {
        let urls = ["--identity-url", scenario.vault.identity_url(), "--api-url", scenario.vault.api_url()];
        echo(Launch::new().options(urls)).env("BWS_ACCESS_TOKEN", &scenario.token)
    };
    let refused = |launch: Launch, problem: &str| {
        let identity = host(scenario.vault.identity_url());
        let message = format!("the certificate of {identity} was not accepted: {problem}");
        launch.run().failed(125, &error("certificate", &message, CERTIFICATE_HINT));
    };
    refused(launch(), "it is not issued by a trusted authority");
    // Both vaults' authorities have one name.
    let same_name = launch().env("SSL_CERT_FILE", other.vault.ca_file());
    refused(same_name, "its signature is not by the trusted authority of that name");
    assert_eq!(scenario.vault.requests().len(), 0, "nothing was sent over them");
}

#[test]
fn places_of_authorities() {
    let scenario = Scenario::new().secret("NAME", "value");
    let other = Scenario::new();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let [good, bad, empty] = ["good", "bad", "empty"].map(|name| directory.path().join(name));
    for path in [&good, &bad, &empty] {
        std::fs::create_dir(path).expect("a directory can be made");
    }
    std::fs::write(good.join("ca.pem"), scenario.vault.ca_pem()).expect("a file can be written");
    std::fs::write(good.join("README"), "no certificate").expect("a file can be written");
    std::os::unix::fs::symlink("nowhere", good.join("dangling")).expect("a link can be made");
    std::fs::write(bad.join("ca.pem"), "no certificate").expect("a file can be written");
    let [good, bad, empty, absent] =
        [good, bad, empty, directory.path().join("absent")].map(|path| path.display().to_string());
    let launch = || {
        let urls = ["--identity-url", scenario.vault.identity_url(), "--api-url", scenario.vault.api_url()];
        Launch::new().options(urls).env("BWS_ACCESS_TOKEN", &scenario.token).command(["true"])
    };
    let [ca, other] = [&scenario, &other].map(|scenario| scenario.vault.ca_file().display().to_string());

    launch().env("SSL_CERT_FILE", &ca).run().succeeded();
    launch().env("SSL_CERT_DIR", format!("{empty}:{good}")).run().succeeded();
    launch().env("SSL_CERT_DIR", &good).env("SSL_CERT_FILE", &other).run().succeeded();
    launch().env("SSL_CERT_FILE", &other).options(["--ca-file", &ca]).run().succeeded();

    let unusable = |launch: Launch, origin: &str, problem: &str| {
        let message = format!("cannot use the CA certificates of {origin}: {problem}");
        launch.run().failed(125, &error("ca-file", &message, CA_HINT));
    };
    let gone = "No such file or directory (os error 2)";
    let nothing = "there is no certificate in it";
    scenario.vault.clear_log();
    unusable(launch().env("SSL_CERT_FILE", &absent), &format!("SSL_CERT_FILE {absent}"), gone);
    unusable(launch().env("SSL_CERT_DIR", &bad), &format!("SSL_CERT_DIR {bad}"), nothing);
    unusable(launch().env("SSL_CERT_DIR", &absent), &format!("SSL_CERT_DIR {absent}"), gone);
    unusable(launch().options(["--ca-file", &absent]), &format!("--ca-file {absent}"), gone);
    let text = format!("{bad}/ca.pem");
    unusable(launch().options(["--ca-file", &text]), &format!("--ca-file {text}"), nothing);
    let is_directory = "Is a directory (os error 21)";
    unusable(launch().options(["--ca-file", &good]), &format!("--ca-file {good}"), is_directory);
    crate::errors::untouched(&scenario.vault);
}

/// One that is not there among several is no reason to refuse what the others hold: OpenSSL's default
/// lists name directories that no distribution has all of.
#[test]
fn an_absent_directory_of_authorities_among_others() {
    let scenario = Scenario::new().secret("NAME", "value");
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("ca.pem"), scenario.vault.ca_pem()).expect("a file can be written");
    let urls = ["--identity-url", scenario.vault.identity_url(), "--api-url", scenario.vault.api_url()];
    let list = format!("/nowhere/certs:{}", directory.path().display());
    let launch = Launch::new().options(urls).env("BWS_ACCESS_TOKEN", &scenario.token);
    launch.env("SSL_CERT_DIR", list).command(["true"]).run().succeeded();
}

#[test]
fn silence_at_every_stage_ends_by_the_deadline() {
    let silent = |at: Where, host: &str, stage: &str| {
        Case::cut_short(at, Fault::Stall, &format!("{host} did not answer in time while {stage}"))
    };
    let old = || Options { sync_supported: false, ..Options::default() };
    let slow = |at: Endpoint, fault, host: &str, stage: &str| {
        Case::cut_short(at, fault, &format!("{host} did not answer in time while {stage}"))
    };
    let drip = || Fault::SlowBody { chunk: 1, pause: Duration::from_millis(200) };
    let headers = || Fault::SlowHeaders(Duration::from_secs(30));
    let started = std::time::Instant::now();
    check(vec![
        silent(Where::Connect(Service::Identity), "{identity}", "logging in"),
        silent(Where::Connect(Service::Api), "{api}", "fetching secrets"),
        silent(Endpoint::Login.into(), "{identity}", "logging in"),
        silent(Endpoint::Sync.into(), "{api}", "fetching secrets"),
        silent(Endpoint::List.into(), "{api}", "fetching secrets").with(old()),
        silent(Endpoint::GetByIds.into(), "{api}", "fetching secrets").with(old()),
        slow(Endpoint::Login, drip(), "{identity}", "logging in"),
        slow(Endpoint::Sync, drip(), "{api}", "fetching secrets"),
        slow(Endpoint::Login, headers(), "{identity}", "logging in"),
        slow(Endpoint::Sync, headers(), "{api}", "fetching secrets"),
    ]);
    // All ran side by side, so each was over by then.
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}
