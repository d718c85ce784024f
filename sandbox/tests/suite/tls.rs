//! HTTPS.

use super::client::{Client, End, tcp};
use super::{CAPTURES, sandbox_with};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::sync::Arc;
use takings_sandbox::{Fault, Options, Sandbox};

fn config(ca_pem: Option<&str>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    if let Some(pem) = ca_pem {
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

fn wire(sandbox: &Sandbox, name: &'static str) -> StreamOwned<ClientConnection, std::net::TcpStream> {
    let name = ServerName::try_from(name).unwrap();
    let connection = ClientConnection::new(config(sandbox.ca_pem()), name).unwrap();
    StreamOwned::new(connection, tcp(sandbox.url()))
}

fn tls_sandbox() -> Sandbox {
    sandbox_with(Options { tls: true, ..Options::default() })
}

#[test]
fn serves_every_name_of_this_machine() {
    let sandbox = tls_sandbox();
    assert!(sandbox.url().starts_with("https://127.0.0.1:"));
    for name in ["localhost", "127.0.0.1", "::1"] {
        let mut client = Client::over(wire(&sandbox, name));
        assert_eq!(client.get(CAPTURES).status, 200, "{name}");
        let reply = client.capture(name, r#"{"captured_amount":1}"#);
        assert!(reply.header("Location").unwrap().starts_with("https://"));
    }
    assert_eq!(sandbox.ledger().len(), 3);
}

#[test]
fn is_trusted_by_its_ca_only() {
    use std::io::{Read, Write};
    let sandbox = tls_sandbox();
    let other = tls_sandbox();
    for (ca, name) in [(other.ca_pem(), "localhost"), (None, "localhost"), (sandbox.ca_pem(), "example.com")] {
        let connection = ClientConnection::new(config(ca), ServerName::try_from(name).unwrap()).unwrap();
        let mut wire = StreamOwned::new(connection, tcp(sandbox.url()));
        assert!(wire.write_all(b"GET / HTTP/1.1\r\n\r\n").and_then(|()| wire.read(&mut [0; 1])).is_err());
    }
    assert!(sandbox.requests().is_empty());
    assert_eq!(sandbox_with(Options::default()).ca_pem(), None);
}

#[test]
fn faults_strike_below_tls() {
    for (fault, text, end) in [
        (Fault::LostAnswer, "", End::Closed),
        (Fault::ResetAfterCommit, "", End::Reset),
        (Fault::ResetMidAnswer { after_bytes: Some(12) }, "HTTP/1.1 201", End::Reset),
        (Fault::CloseMidAnswer { after_bytes: Some(12) }, "HTTP/1.1 201", End::Closed),
    ] {
        let sandbox = tls_sandbox();
        sandbox.fault("o", fault);
        let mut client = Client::over(wire(&sandbox, "localhost"));
        client.send_capture("k", r#"{"captured_amount":1}"#);
        assert_eq!(client.rest(), (text.into(), end));
        assert_eq!(sandbox.ledger().len(), 1);
    }
}

#[test]
fn a_plain_request_gets_no_answer() {
    let sandbox = tls_sandbox();
    let mut client = Client::connect(sandbox.url());
    client.write("GET / HTTP/1.1\r\n\r\n");
    // An alert of TLS's comes, no HTTP.
    let (bytes, _) = client.rest_bytes();
    assert!(!bytes.starts_with(b"HTTP"));
    assert!(sandbox.requests().is_empty());
}
