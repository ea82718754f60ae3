//! A vault, a cache that was filled from it, and a vault that has changed since.

use std::any::Any;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpSocket;
use uuid::Uuid;

use crate::support::vault::{Certificate, Options, Owner, Vault};
use crate::support::{Launch, Scenario, eventually};

/// What the copy holds, and what the vault has since.
pub const OLD: [&str; 2] = ["DELETED=since", "NAME=old value"];
pub const NEW: [&str; 2] = ["ADDED=since", "NAME=new value"];

pub struct World {
    /// `None` once the server is away.
    pub scenario: Option<Scenario>,
    pub secret: Uuid,
    directory: TempDir,
    launch: Option<Launch>,
    ports: [u16; 2],
    /// What has to live as long as this.
    keep: Vec<Box<dyn Any>>,
}

impl World {
    /// `cache` says whether the launch under test may use it.
    pub fn new(sync_supported: bool, cache: bool) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let cache_directory = directory.path().join("cache");
        fs::create_dir(&cache_directory).expect("a directory");
        let held = [hold_port(), hold_port()];
        let ports = [held[0].1, held[1].1];
        let ca_file = Some(directory.path().join("ca.pem"));
        let scenario = Scenario::with(Options { sync_supported, ports, ca_file, ..Options::default() });
        let owner = scenario.vault.owner();
        let secret = owner.create_secret(scenario.project, "NAME", "old value");
        let deleted = owner.create_secret(scenario.project, "DELETED", "since");

        let bare = || scenario.launch().option("--no-inherit-env").command(["env"]);
        let cached = || bare().option("--cache-dir").option(&cache_directory);
        let primed = cached().run();
        assert_eq!(primed.succeeded().text().lines().filter(|line| OLD.contains(line)).count(), OLD.len());
        owner.update_secret(secret, "new value");
        owner.delete_secret(deleted);
        owner.create_secret(scenario.project, "ADDED", "since");
        let launch = Some(if cache { cached() } else { bare() });
        scenario.vault.clear_log();

        let keep: Vec<Box<dyn Any>> = held.into_iter().map(|(socket, _)| Box::new(socket) as _).collect();
        Self { scenario: Some(scenario), secret, directory, launch, ports, keep }
    }

    /// The launch under test.
    pub fn launch(&mut self) -> Launch {
        self.launch.take().expect("there is one launch")
    }

    pub fn change_launch(&mut self, change: impl FnOnce(Launch) -> Launch) {
        self.launch = self.launch.take().map(change);
    }

    pub fn vault(&self) -> &Vault {
        &self.scenario().vault
    }

    pub fn scenario(&self) -> &Scenario {
        self.scenario.as_ref().expect("the vault is there")
    }

    pub fn owner(&self) -> &Owner {
        self.vault().owner()
    }

    // The cache.

    pub fn cache(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    /// Our own directory in it.
    pub fn ours(&self) -> PathBuf {
        self.cache().join(format!("bws-exec.{}", nix::unistd::geteuid()))
    }

    /// The file of this kind, if it is there.
    pub fn file(&self, kind: &str) -> Option<PathBuf> {
        let entries = fs::read_dir(self.ours()).ok()?;
        let mut paths = entries.map(|entry| entry.expect("it can be read").path());
        paths.find(|path| path.extension().is_some_and(|extension| extension == kind))
    }

    pub fn change_file(&self, kind: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.file(kind).expect("it was written");
        let mut content = fs::read(&path).expect("it can be read");
        change(&mut content);
        fs::write(&path, content).expect("it can be written");
    }

    /// Takes the lock that a launch takes before it asks.
    pub fn hold_lock(&mut self) {
        let file = fs::File::open(self.file("lock").expect("it was taken")).expect("it can be opened");
        file.lock().expect("nobody else has it");
        self.keep.push(Box::new(file));
    }

    // Servers that are away, or others.

    /// Nobody listens where the vault was.
    pub fn refuse(&mut self) {
        self.scenario = None;
        // A process that another thread is starting has the vault's sockets until it executes its program.
        let refuses = |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err();
        eventually("the port refuses", || self.ports.into_iter().all(refuses));
    }

    /// The kernel ignores connections where the vault was: nobody takes them off a full queue.
    pub fn black_hole(&mut self) {
        self.refuse();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        for port in self.ports {
            let listener = {
                let _context = runtime.enter();
                socket(port).listen(0).expect("nobody listens there")
            };
            let address = listener.local_addr().expect("it is bound");
            while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
                self.keep.push(Box::new(stream));
            }
            self.keep.push(Box::new(listener));
        }
        self.keep.push(Box::new(runtime));
    }

    /// Another vault where this one was, whose authority is trusted if `trusted`.
    pub fn replace(&mut self, certificate: Certificate, trusted: bool) {
        self.refuse();
        let ca_file = trusted.then(|| self.directory.path().join("ca.pem"));
        let options = Options { certificate, ports: self.ports, ca_file, ..Options::default() };
        self.scenario = Some(Scenario::with(options));
    }

    /// Something else where the vault was: says this to whoever has said something, and goes.
    pub fn other_server(&mut self, text: &'static str) {
        self.refuse();
        for port in self.ports {
            answer(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("nobody listens there"), text);
        }
    }

    /// A proxy that says this.
    pub fn proxy(&mut self, text: &'static str) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        answer(listener, text);
        self.change_launch(|launch| launch.env("HTTPS_PROXY", url));
    }

    /// A proxy that refuses.
    pub fn proxy_away(&mut self) {
        let (socket, port) = hold_port();
        self.keep.push(Box::new(socket));
        self.change_launch(|launch| launch.env("HTTPS_PROXY", format!("http://127.0.0.1:{port}")));
    }

    /// A proxy whose name has no address.
    pub fn proxy_unknown(&mut self) {
        self.change_launch(|launch| {
            let launch = launch.env("HTTPS_PROXY", "http://proxy.invalid:3128");
            launch.env("RES_OPTIONS", "timeout:1 attempts:1")
        });
    }
}

/// A socket that does not listen: others may listen on its port if they ask for it, and nobody gets it
/// who asks for any.
fn hold_port() -> (TcpSocket, u16) {
    let socket = socket(0);
    let port = socket.local_addr().expect("it is bound").port();
    (socket, port)
}

fn socket(port: u16) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("an option");
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).expect("nobody listens there");
    socket
}

/// Its thread ends with the test binary.
fn answer(listener: TcpListener, text: &'static str) {
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            // Errors mean that the client is gone.
            let _ = client.read(&mut [0; 4096]);
            let _ = client.write_all(text.as_bytes());
        }
    });
}

/// Another mode for a file or directory.
pub fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}
