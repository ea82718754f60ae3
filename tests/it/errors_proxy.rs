//! The way through a proxy: `HTTPS_PROXY`, `NO_PROXY`, and proxies that fail.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::errors::{DEADLINE, GAVE_UP, MORE_TIME, echo, error, host, without_count};
use crate::support::vault::{Endpoint, Fault, Options, Transport};
use crate::support::{Launch, Outcome, Scenario};

const CONNECT_HINT: &str = "check the network and the server's address; a proxy is taken from HTTPS_PROXY";
const PROXY_HINT: &str = "check HTTPS_PROXY, or name this server in NO_PROXY";

/// An HTTP proxy that tunnels, or answers every request with this text, or not at all.
struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone, Copy)]
enum Manner {
    Tunnel,
    Answer(&'static str),
    Silence,
}

impl Proxy {
    fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        // It ends with the test binary; its clients end with their tests.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || serve(client, manner, &seen));
            }
        });
        Self { address, heads }
    }

    /// What was sent to it: request lines and headers.
    fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no thread panicked").clone()
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Errors mean that one side is gone, which ends this.
fn serve(mut client: TcpStream, manner: Manner, seen: &Mutex<Vec<String>>) -> Option<()> {
    let mut head = String::new();
    let mut reader = BufReader::new(client.try_clone().ok()?);
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    seen.lock().ok()?.push(head.clone());
    match manner {
        Manner::Silence => {
            let _ = reader.read(&mut [0]);
        }
        Manner::Answer(text) => client.write_all(text.as_bytes()).ok()?,
        Manner::Tunnel => {
            let mut server = TcpStream::connect(head.split(' ').nth(1)?).ok()?;
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").ok()?;
            let (mut from_server, mut to_client) = (server.try_clone().ok()?, client);
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from_server, &mut to_client);
                let _ = to_client.shutdown(std::net::Shutdown::Both);
            });
            std::io::copy(&mut reader, &mut server).ok()?;
            server.shutdown(std::net::Shutdown::Write).ok()?;
        }
    }
    Some(())
}

#[track_caller]
fn gets_its_secret(launch: Launch) {
    assert_eq!(launch.command(["printenv", "NAME"]).run().succeeded().text(), "value\n");
}

#[test]
fn https_goes_through_the_proxy() {
    let scenario = Scenario::new().secret("NAME", "value");
    let [identity, api] = [scenario.vault.identity_url(), scenario.vault.api_url()].map(host);
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        let proxy = Proxy::start(Manner::Tunnel);
        gets_its_secret(scenario.launch().env(name, proxy.url()));
        let heads = proxy.heads();
        let lines: Vec<_> = heads.iter().filter_map(|head| head.lines().next()).collect();
        assert_eq!(lines, [format!("CONNECT {identity} HTTP/1.1"), format!("CONNECT {api} HTTP/1.1")]);
        assert!(heads.iter().all(|head| !head.to_lowercase().contains("authorization")), "{heads:?}");
    }
    // Without a scheme, and with a password: user:pass in Base64.
    let proxy = Proxy::start(Manner::Tunnel);
    gets_its_secret(scenario.launch().env("HTTPS_PROXY", proxy.address.to_string()));
    gets_its_secret(scenario.launch().env("HTTPS_PROXY", format!("http://user:pass@{}", proxy.address)));
    let heads = proxy.heads();
    assert!(heads[3].to_lowercase().contains("proxy-authorization: basic dxnlcjpwyxnz\r\n"), "{heads:?}");
}

#[test]
fn what_does_not_go_through_the_proxy() {
    let proxy = Proxy::start(Manner::Tunnel);
    let scenario = Scenario::new().secret("NAME", "value");
    for exception in ["127.0.0.1", "*", "example.org, 127.0.0.0/8"] {
        for name in ["NO_PROXY", "no_proxy"] {
            gets_its_secret(scenario.launch().env("HTTPS_PROXY", proxy.url()).env(name, exception));
        }
    }
    gets_its_secret(scenario.launch().env("HTTPS_PROXY", ""));
    gets_its_secret(scenario.launch().env("HTTP_PROXY", proxy.url()));
    // Plain http is for this very machine and must not leave it.
    let plain = Scenario::with(Options { transport: Transport::Plain, ..Options::default() });
    let plain = plain.secret("NAME", "value");
    let mut launch = plain.launch();
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        launch = launch.env(name, proxy.url());
    }
    gets_its_secret(launch);
    assert_eq!(proxy.heads(), [""; 0]);
}

#[test]
fn proxies_that_cannot_be_used() {
    let scenario = Scenario::new().secret("NAME", "value");
    let unusable = |url: &str, shown: &str, problem: &str| {
        let message = format!("cannot use the proxy '{shown}': {problem}");
        let outcome = echo(scenario.launch().env("HTTPS_PROXY", url)).run();
        outcome.failed(125, &error("proxy", &message, PROXY_HINT));
    };
    let scheme = "only http:// and https:// proxies are supported";
    unusable("socks5://127.0.0.1:1080", "socks5://127.0.0.1:1080", scheme);
    unusable("socks5://user:hunter2@127.0.0.1", "(not shown)", scheme);
    unusable("http://", "http://", "empty host");
    unusable("http://user:hunter2@proxy:port", "(not shown)", "invalid port number");
    unusable("user:hunter2@proxy:port", "(not shown)", "invalid port number");
    crate::errors::untouched(&scenario.vault);
}

#[test]
fn proxies_that_refuse_or_fall_silent() {
    let scenario = Scenario::new().secret("NAME", "value");
    let start =
        |url: &str| echo(scenario.launch().env("HTTPS_PROXY", url).options(["--deadline", DEADLINE])).start();
    let identity = host(scenario.vault.identity_url());
    let answers = [
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "tunnel error: proxy authorization required"),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "tunnel error: unsuccessful"),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", "tunnel error: unsuccessful"),
        ("SSH-2.0-OpenSSH_9.9\r\n", "tunnel error: unsuccessful"),
    ];
    let mut runs: Vec<_> = answers
        .into_iter()
        .map(|(answer, cause)| (start(&Proxy::start(Manner::Answer(answer)).url()), cause))
        .collect();
    // A port that nobody listens on, and that nobody else can get.
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let client = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    let refusing = format!("http://{}", client.local_addr().expect("it is connected"));
    runs.push((start(&refusing), "Connection refused (os error 111)"));
    let silent = start(&Proxy::start(Manner::Silence).url());

    for (run, cause) in runs {
        let outcome = run.finish();
        let message = format!("cannot connect to {identity}: {cause}{GAVE_UP}");
        Outcome { stderr: without_count(&outcome.stderr), ..outcome }
            .failed(75, &error("connect", &message, CONNECT_HINT));
    }
    let message = format!("{identity} did not answer in time while logging in");
    let outcome = silent.finish();
    outcome.failed(75, &error("timeout", &message, MORE_TIME));
    assert!(outcome.took < Duration::from_secs(5), "{:?}", outcome.took);
    crate::errors::untouched(&scenario.vault);
}

/// A proxy that comes back is used again.
#[test]
fn faults_behind_a_proxy_are_survived() {
    let scenario = Scenario::new().secret("NAME", "value");
    let proxy = Proxy::start(Manner::Tunnel);
    scenario.vault.fault_times(1, Endpoint::Login, Fault::Reset);
    gets_its_secret(scenario.launch().env("HTTPS_PROXY", proxy.url()));
    assert_eq!(proxy.heads().len(), 3);
}
