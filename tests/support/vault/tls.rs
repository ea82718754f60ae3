//! A certificate authority made for this run, and the certificates it signs.
//!
//! The authority's key is dropped as soon as the server has its certificate: what is left on disk
//! is public.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::Certificate;

/// A name that no resolver knows, for tests that bring a hosts file or a DNS server of their own.
pub const NAME: &str = "vault.test";

/// The vault's end of TLS and the authority a client has to trust.
pub struct Identity {
    pub ca_pem: String,
    pub acceptor: TlsAcceptor,
}

/// Makes an authority and a certificate of the wished kind.
pub fn make(certificate: Certificate) -> Result<Identity, Box<dyn std::error::Error + Send + Sync>> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "local vault authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_key = KeyPair::generate()?;
    let ca_pem = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);

    let names: &[&str] = match certificate {
        Certificate::WrongName => &["elsewhere.invalid"],
        Certificate::Good | Certificate::Expired => &["localhost", "127.0.0.1", "::1", NAME],
    };
    let mut leaf = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    leaf.distinguished_name.push(DnType::CommonName, "local vault");
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    leaf.not_before = date_time_ymd(2020, 1, 1);
    leaf.not_after = match certificate {
        Certificate::Expired => date_time_ymd(2021, 1, 1),
        Certificate::Good | Certificate::WrongName => date_time_ymd(2120, 1, 1),
    };
    let leaf_key = KeyPair::generate()?;
    let leaf = leaf.signed_by(&leaf_key, &issuer)?;

    let key = PrivateKeyDer::try_from(leaf_key.serialize_der())?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Identity { ca_pem, acceptor: TlsAcceptor::from(Arc::new(config)) })
}
