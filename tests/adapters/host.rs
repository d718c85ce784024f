//! A host with an HTTP client of its own, which sends calls step by step.

use std::error::Error as _;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use reqwest::blocking;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use takings::{Answer, Call, Event, HttpRequest, Reply, Step};

/// There until dropped.
pub struct Http(Option<blocking::Client>);

impl Drop for Http {
    /// Drops the HTTP client in a thread: dropping waits for bytes that a server still sends, and the next call has a
    /// deadline.
    fn drop(&mut self) {
        let client = self.0.take();
        std::thread::spawn(move || drop(client));
    }
}

impl Http {
    pub fn new(ca_file: Option<&str>) -> Http {
        let mut roots = RootCertStore::empty();
        for certificate in ca_file.iter().flat_map(|path| CertificateDer::pem_file_iter(path).expect("a CA file")) {
            roots.add(certificate.expect("a certificate")).expect("an authority");
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = blocking::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .timeout(None)
            .no_proxy()
            .build();
        Http(Some(client.expect("an HTTP client")))
    }

    pub fn send(&self, mut call: Call) -> Result<Reply, takings::Error> {
        let mut step = call.step(Event::Start);
        loop {
            step = match step {
                Step::Send(timeout) => {
                    let event = self.exchange(call.request(), timeout);
                    call.step(event)
                }
                Step::Wait(pause) => {
                    std::thread::sleep(pause);
                    call.step(Event::Waited)
                }
                Step::Done(result) => return result,
            }
        }
    }

    fn exchange(&self, request: &HttpRequest, timeout: Duration) -> Event {
        let method = request.method().parse().expect("a method");
        let client = self.0.as_ref().expect("there until dropped");
        let mut sent = client.request::<&str>(method, request.url()).timeout(timeout).body(request.body().to_vec());
        for (name, value) in request.headers() {
            sent = sent.header(name, value);
        }
        match sent.send() {
            Ok(answer) => {
                let status = answer.status().as_u16();
                let headers: Vec<_> = answer
                    .headers()
                    .iter()
                    .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
                    .collect();
                let mut body = Vec::new();
                // A body that breaks off is read as far as it came.
                let _ = answer.take(request.most_answer() as u64).read_to_end(&mut body);
                Event::Answered(Answer::new(status, headers, body))
            }
            Err(error) => {
                let why = error.source().map_or_else(|| "the HTTP client failed".to_owned(), ToString::to_string);
                if error.is_connect() { Event::NotSent(why) } else { Event::MaybeSent(why) }
            }
        }
    }
}
