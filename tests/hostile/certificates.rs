//! Certificates, most of them wrong, under an authority made for this run.

use std::sync::{Arc, OnceLock};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use serde::Deserialize;

/// The certificate that the server shows.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Valid for `localhost`, `klarna.test`, 127.0.0.1 and 0.0.0.0.
    Good,
    /// The same, over TLS 1.2 only.
    GoodTls12,
    /// Until 2020-01-31.
    Expired,
    /// From 2090-01-01.
    NotYetValid,
    /// For `klarna.example` alone.
    WrongHost,
    /// Valid for no name at all; only the subject says 127.0.0.1.
    NoSan,
    SelfSigned,
    /// From an authority of the same name that nobody trusts.
    UnknownIssuer,
}

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, "takings hostile CA (this run only)");
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (ca.not_before, ca.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(2120, 1, 1));
        let key = KeyPair::generate().expect("a key");
        let pem = ca.self_signed(&key).expect("a CA certificate").pem();
        Authority { pem, issuer: Issuer::new(ca, key) }
    }
}

fn trusted() -> &'static Authority {
    static TRUSTED: OnceLock<Authority> = OnceLock::new();
    TRUSTED.get_or_init(Authority::new)
}

fn unknown() -> &'static Authority {
    static UNKNOWN: OnceLock<Authority> = OnceLock::new();
    UNKNOWN.get_or_init(Authority::new)
}

/// The certificate of the authority, as PEM.
pub fn ca_pem() -> &'static str {
    &trusted().pem
}

/// The certificate of an authority that signed nothing good.
pub fn other_ca_pem() -> &'static str {
    &unknown().pem
}

/// The server's side of TLS.
pub fn settings(kind: Kind) -> Arc<ServerConfig> {
    let names: &[&str] = match kind {
        Kind::WrongHost => &["klarna.example"],
        Kind::NoSan => &[],
        _ => &["localhost", "klarna.test", "127.0.0.1", "0.0.0.0"],
    };
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut server = CertificateParams::new(names).expect("names");
    server.distinguished_name.push(DnType::CommonName, "127.0.0.1");
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let (from, to) = match kind {
        Kind::Expired => ((2020, 1, 1), (2020, 1, 31)),
        Kind::NotYetValid => ((2090, 1, 1), (2091, 1, 1)),
        _ => ((2020, 1, 1), (2110, 1, 1)),
    };
    (server.not_before, server.not_after) = (date_time_ymd(from.0, from.1, from.2), date_time_ymd(to.0, to.1, to.2));
    let key = KeyPair::generate().expect("a key");
    let certificate = match kind {
        Kind::SelfSigned => server.self_signed(&key),
        Kind::UnknownIssuer => server.signed_by(&key, &unknown().issuer),
        _ => server.signed_by(&key, &trusted().issuer),
    };
    let certificate = certificate.expect("a certificate").der().clone();
    let versions: &[&SupportedProtocolVersion] = match kind {
        Kind::GoodTls12 => &[&TLS12],
        _ => &[&TLS12, &TLS13],
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions that ring can do")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .expect("a certificate with its key");
    Arc::new(config)
}
