//! A certificate authority of our own, made at start and forgotten with the sandbox.

use crate::klarna::date;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use std::error::Error;
use std::sync::Arc;

const DAY_MS: i64 = 86_400_000;

/// The server's settings and, as PEM, the CA certificate that a client has to trust.
pub(crate) fn set_up(now_ms: i64) -> Result<(Arc<ServerConfig>, String), Box<dyn Error + Send + Sync>> {
    let day = |offset: i64| {
        let (year, month, day) = date(now_ms + offset * DAY_MS);
        // A year fits; the others are calendar numbers.
        date_time_ymd(year as i32, month as u8, day as u8)
    };

    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "takings sandbox CA (this run only)");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (ca.not_before, ca.not_after) = (day(-1), day(365));
    let ca_key = KeyPair::generate()?;
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let issuer = Issuer::new(ca, ca_key);

    let names = ["localhost", "127.0.0.1", "::1"].map(String::from);
    let mut server = CertificateParams::new(names)?;
    server.distinguished_name.push(DnType::CommonName, "takings sandbox");
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Python 3.13 refuses a chain without it.
    server.use_authority_key_identifier_extension = true;
    (server.not_before, server.not_after) = (day(-1), day(365));
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &issuer)?;

    // The provider is named here, so that none has to be installed for the whole process.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((Arc::new(config), ca_pem))
}
