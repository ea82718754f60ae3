//! Which certificates are trusted, decided once. Verification cannot be turned off.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::deadline::Deadline;
use crate::error::Error;
use crate::read;

/// Where the trust roots come from.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// `SSL_CERT_FILE`.
    pub file: Option<PathBuf>,
    /// `SSL_CERT_DIR`: any number of directories, separated by colons.
    pub directories: Option<PathBuf>,
    /// `--ca-file`: added to whatever else is trusted.
    pub extra: Option<PathBuf>,
}

/// The system's bundle, as Debian and Alpine, Fedora, RHEL, OpenSUSE and the BSD layout have it.
const SYSTEM_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Many times any store.
const LARGEST: usize = 16 * 1024 * 1024;

/// The one place that names the implementation of TLS's cryptography.
fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The TLS settings of every connection.
pub fn client_config(trust: &Trust, deadline: Deadline) -> Result<ClientConfig, Error> {
    let config = ClientConfig::builder_with_provider(crypto_provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Internal(error.to_string()))?
        .with_root_certificates(roots(trust, deadline)?)
        .with_no_client_auth();
    Ok(config)
}

fn roots(trust: &Trust, deadline: Deadline) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    if trust.file.is_some() || trust.directories.is_some() {
        if let Some(file) = &trust.file {
            add_named_file(&mut store, file, "SSL_CERT_FILE", deadline)?;
        }
        if let Some(directories) = &trust.directories {
            add_directories(&mut store, directories.as_os_str(), deadline)?;
        }
    } else if !SYSTEM_BUNDLES
        .iter()
        .any(|bundle| add_file(&mut store, Path::new(bundle), deadline).is_ok_and(|n| n > 0))
    {
        // `FROM scratch`: no store at all.
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    if let Some(file) = &trust.extra {
        add_named_file(&mut store, file, "--ca-file", deadline)?;
    }
    Ok(store)
}

/// A file that the operator named: it must hold a certificate.
fn add_named_file(
    store: &mut RootCertStore,
    file: &Path,
    option: &str,
    deadline: Deadline,
) -> Result<(), Error> {
    let fault = |problem: String| Error::CaFile { origin: format!("{option} {}", file.display()), problem };
    match add_file(store, file, deadline) {
        Ok(0) => Err(fault("there is no certificate in it".into())),
        Ok(_) => Ok(()),
        Err(problem) => Err(fault(problem)),
    }
}

/// Directories hold other things too, links that lead nowhere, and lists name some that are not there:
/// only an empty result is an error.
fn add_directories(store: &mut RootCertStore, directories: &OsStr, deadline: Deadline) -> Result<(), Error> {
    let mut added = 0;
    let mut problem = None;
    for directory in std::env::split_paths(directories).filter(|path| !path.as_os_str().is_empty()) {
        match std::fs::read_dir(&directory) {
            Ok(entries) => {
                // Files only, by themselves or by links: nothing there is worth waiting for.
                let files = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file());
                added += files.filter_map(|path| add_file(store, &path, deadline).ok()).sum::<usize>();
            }
            Err(error) => problem = Some(error.to_string()),
        }
    }
    if added > 0 {
        return Ok(());
    }
    let problem = problem.unwrap_or_else(|| "there is no certificate in it".into());
    Err(Error::CaFile { origin: format!("SSL_CERT_DIR {}", directories.display()), problem })
}

/// Adds every usable certificate of a PEM file and says how many there were.
fn add_file(store: &mut RootCertStore, file: &Path, deadline: Deadline) -> Result<usize, String> {
    let text = read::whole(file, LARGEST, deadline).map_err(|error| error.to_string())?;
    let certificates: Vec<CertificateDer<'_>> =
        CertificateDer::pem_slice_iter(&text).filter_map(Result::ok).collect();
    Ok(store.add_parsable_certificates(certificates).0)
}
