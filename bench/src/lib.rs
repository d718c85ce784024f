//! Code that the contenders in Rust share, and the pure halves of a capture, which are measured without a server.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

pub mod halves;

/// The command line of every contender, in every language: `URL ORDER_ID CA_FILE REQUEST_FILE COUNT CONCURRENCY`.
#[derive(Debug)]
pub struct Task {
    /// The base URL for a client of Klarna's API.
    pub url: String,
    /// The order whose captures they are.
    pub order_id: String,
    /// The authority that the server's certificate is of; unused over plain HTTP.
    pub ca_file: String,
    /// The request to encode and send, as JSON.
    pub request: String,
    /// How many captures to make; 0 measures loading alone.
    pub count: usize,
    /// How many of them at once.
    pub concurrency: usize,
}

/// Any failure ends a contender: a wrong answer must not count as a fast one.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Task {
    /// The task of the command line.
    ///
    /// # Errors
    ///
    /// The command line is not as described, or the request cannot be read.
    pub fn from_arguments() -> Result<Task, Failure> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let [url, order_id, ca_file, request, count, concurrency] = arguments.try_into().map_err(|given| {
            format!("wanted URL ORDER_ID CA_FILE REQUEST_FILE COUNT CONCURRENCY, the arguments were {given:?}")
        })?;
        let request = std::fs::read_to_string(request)?;
        Ok(Task { url, order_id, ca_file, request, count: count.parse()?, concurrency: concurrency.parse()? })
    }

    /// Where a capture is posted.
    pub fn captures_url(&self) -> String {
        format!("{}/ordermanagement/v1/orders/{}/captures", self.url, self.order_id)
    }

    /// Makes `count` captures in `concurrency` threads, and prints the result as every contender does. `begin` is
    /// called once in each thread; it gives a function that captures once and returns the id.
    ///
    /// # Errors
    ///
    /// The first failure of a capture.
    pub fn run<C>(&self, begin: impl Fn() -> Result<C, Failure> + Sync) -> Result<ExitCode, Failure>
    where
        C: FnMut() -> Result<String, Failure>,
    {
        let taken = AtomicUsize::new(0);
        let work = || -> Result<String, Failure> {
            let mut last = String::new();
            let mut capture = None;
            while taken.fetch_add(1, Ordering::Relaxed) < self.count {
                if capture.is_none() {
                    capture = Some(begin()?);
                }
                last = capture.as_mut().map_or_else(|| Ok(String::new()), |capture| capture())?;
            }
            Ok(last)
        };
        let last = if self.concurrency == 1 {
            work()?
        } else {
            let ends: Result<Vec<_>, Failure> = thread::scope(|scope| {
                let threads: Vec<_> = (0..self.concurrency).map(|_| scope.spawn(work)).collect();
                threads.into_iter().map(|thread| thread.join().map_err(|_| "a thread panicked")?).collect()
            });
            ends?.into_iter().max().unwrap_or_default()
        };
        #[allow(clippy::print_stdout, reason = "it is what a contender is asked for")]
        {
            println!("{}", serde_json::json!({"captured": self.count, "last": last}));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The user name of `Authorization`, for HTTP clients that encode credentials by themselves.
pub const USERNAME: &str = "bench";
/// The password beside it.
pub const PASSWORD: &str = "bench-password";
/// Both as Basic sends them.
pub const AUTHORIZATION: &str = "Basic YmVuY2g6YmVuY2gtcGFzc3dvcmQ=";

/// TLS as the core sets it up with a CA file of its own.
///
/// # Errors
///
/// The file holds no certificates.
pub fn tls(ca_file: &str) -> Result<rustls::ClientConfig, Failure> {
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in rustls::pki_types::CertificateDer::pem_file_iter(ca_file)? {
        roots.add(certificate?)?;
    }
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
