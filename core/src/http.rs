//! The one file that does I/O: a request goes out over `reqwest::blocking`, an [`Event`]
//! comes back.

use std::error::Error as _;
use std::io::{self, Read as _};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use reqwest::blocking;
use reqwest::header::CONTENT_LENGTH;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{ClientConfig, RootCertStore};

use crate::answer::Answer;
use crate::config::{Config, is_loopback};
use crate::error::{Error, ErrorKind};
use crate::machine::{Event, Limits};
use crate::wire::{Endpoint, HttpRequest};

/// What a connection needs, found and checked when the client is made and used again in every
/// process it is used in.
pub(crate) struct Transport {
    roots: Option<Arc<RootCertStore>>,
    /// The certificate authorities that are trusted, in words.
    trusted: Arc<str>,
    proxy: Option<(reqwest::Proxy, Arc<str>)>,
    tls: bool,
    connect: Duration,
}

impl Transport {
    pub fn new(config: &Config, endpoint: &Endpoint, limits: &Limits) -> Result<Transport, Error> {
        let roots = match &config.ca_file {
            None => None,
            Some(path) => {
                let refuse = |why: String| {
                    Error::invalid(format!(
                        "ca_file {path:?} {why}; it must be a PEM file of certificate authorities to trust"
                    ))
                };
                let mut store = RootCertStore::empty();
                let certificates =
                    CertificateDer::pem_file_iter(path).map_err(|error| refuse(format!("cannot be read ({error})")))?;
                for certificate in certificates {
                    certificate
                        .map_err(|error| error.to_string())
                        .and_then(|certificate| store.add(certificate).map_err(|error| error.to_string()))
                        .map_err(|error| refuse(format!("holds a certificate that cannot be read ({error})")))?;
                }
                if store.is_empty() {
                    return Err(refuse("holds no certificate".into()));
                }
                Some(Arc::new(store))
            }
        };
        let trusted = match &config.ca_file {
            Some(path) => format!("the authorities in ca_file {}", path.display()),
            None => "the system's authorities; ca_file names others".to_owned(),
        };
        Ok(Transport {
            roots,
            trusted: trusted.into(),
            proxy: proxy(config, endpoint)?,
            tls: endpoint.base_url().scheme() == "https",
            connect: limits.connect,
        })
    }

    /// The proxy, without its password.
    pub fn proxy(&self) -> Option<&str> {
        self.proxy.as_ref().map(|(_, name)| &**name)
    }

    /// A connection pool and the thread that serves it, for this process alone.
    pub fn open(&self) -> Result<Connections, Error> {
        let unusable = |what: &str, error: &dyn std::fmt::Display| {
            Error::new(
                ErrorKind::NotSent,
                format!("nothing was sent: {what} ({error}); mend that, then call again at any time"),
            )
        };
        // ring handed over: no process-wide provider is installed in somebody else's process
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable("TLS could not be set up", &error))?;
        let tls = match &self.roots {
            Some(roots) => tls.with_root_certificates(roots.clone()).with_no_client_auth(),
            None if !self.tls => tls.with_root_certificates(RootCertStore::empty()).with_no_client_auth(),
            None => {
                let verifier = rustls_platform_verifier::Verifier::new(provider).map_err(|error| {
                    unusable("the system's certificate authorities cannot be read, give ca_file", &error)
                })?;
                // rustls calls a verifier of one's own dangerous; this one is the platform's
                tls.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
            }
        };
        let mut builder = blocking::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(self.connect)
            .timeout(None)
            // no proxy from reqwest's own reading of the environment
            .no_proxy();
        if let Some((proxy, _)) = &self.proxy {
            builder = builder.proxy(proxy.clone());
        }
        let client = without_sigpipe(|| builder.build())
            .map_err(|error| unusable("the HTTP client could not be made", &root(&error)))?;
        let through = self.proxy.as_ref().map(|(_, name)| name.clone());
        Ok(Connections { client: Some(client), trusted: self.trusted.clone(), through })
    }
}

/// Makes a client whose thread, and the threads that one starts, get no SIGPIPE: several buffers are written at once
/// by `writev`, which cannot be told to leave the signal out, and where the host has not turned it off, a server that
/// resets a connection would end the process. The calling thread's own mask is put back.
#[cfg(unix)]
fn without_sigpipe<T>(make: impl FnOnce() -> T) -> T {
    use nix::sys::signal::{SigSet, SigmaskHow, Signal};
    let before = SigSet::from(Signal::SIGPIPE).thread_swap_mask(SigmaskHow::SIG_BLOCK);
    let made = make();
    if let Ok(before) = before {
        // refused only for a wrong `how`
        let _ = before.thread_set_mask();
    }
    made
}

#[cfg(not(unix))]
fn without_sigpipe<T>(make: impl FnOnce() -> T) -> T {
    make()
}

/// A proxy as it was asked for: where, its URL, and the variable with the exceptions.
struct Wanted {
    by: String,
    url: String,
    exceptions: Option<(String, String)>,
}

/// The proxy from the settings, else the one curl would use for HTTPS.
fn wanted_proxy(config: &Config) -> Option<Wanted> {
    let variable = |names: [&str; 2]| {
        names
            .iter()
            .find_map(|name| Some((name.to_string(), std::env::var(name).ok().filter(|value| !value.is_empty())?)))
    };
    if let Some(url) = &config.proxy {
        return Some(Wanted { by: "proxy".to_owned(), url: url.clone(), exceptions: None });
    }
    let (by, url) = variable(["https_proxy", "HTTPS_PROXY"])?;
    Some(Wanted { by, url, exceptions: variable(["no_proxy", "NO_PROXY"]) })
}

/// The proxy that requests take, and its name for people.
fn proxy(config: &Config, endpoint: &Endpoint) -> Result<Option<(reqwest::Proxy, Arc<str>)>, Error> {
    if is_loopback(endpoint.base_url()) {
        return Ok(None);
    }
    let Some(Wanted { by: setting, url, exceptions }) = wanted_proxy(config) else { return Ok(None) };
    // to curl this is every host, to reqwest every one that is not written as an address
    if exceptions.as_ref().is_some_and(|(_, list)| list.trim() == "*") {
        return Ok(None);
    }
    let with_scheme = if url.contains("://") { url } else { format!("http://{url}") };
    let known = ["http://", "https://"].iter().any(|scheme| with_scheme.starts_with(scheme));
    let name = |url: &str| {
        let url = reqwest::Url::parse(url).ok()?;
        Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))
    };
    let (proxy, shown) = match (reqwest::Proxy::https(&with_scheme), name(&with_scheme)) {
        (Ok(proxy), Some(name)) if known => (proxy, name),
        // neither value nor error text is repeated: a proxy URL may hold a password
        _ => {
            return Err(Error::invalid_argument(
                &setting,
                "not the URL of a proxy that can be used",
                "like http://proxy.example:3128, with http or https",
            ));
        }
    };
    let proxy = proxy.no_proxy(exceptions.and_then(|(_, list)| reqwest::NoProxy::from_string(&list)));
    Ok(Some((proxy, shown.into())))
}

/// The proxy that a configuration takes, in words.
pub(crate) fn proxy_in_words(config: &Config, endpoint: &Endpoint) -> String {
    match (proxy(config, endpoint), wanted_proxy(config)) {
        (Err(error), _) => error.message().to_owned(),
        (Ok(None), Some(Wanted { by, .. })) => {
            format!("none for {}, though {by} is set", endpoint.base_url().host_str().unwrap_or_default())
        }
        (Ok(Some((_, name))), Some(Wanted { by, exceptions, .. })) => match exceptions {
            Some((variable, list)) => format!("{name}, by {by}, but for the hosts in {variable}: {list:?}"),
            None => format!("{name}, by {by}"),
        },
        (Ok(_), None) => "none".to_owned(),
    }
}

/// The authorities that are trusted where no `ca_file` names others, in words. They are read as the platform verifier
/// reads them.
#[cfg(all(unix, not(target_vendor = "apple"), not(target_os = "android")))]
pub(crate) fn authorities_in_words() -> String {
    let found = rustls_native_certs::load_native_certs();
    let (usable, unusable) = RootCertStore::empty().add_parsable_certificates(found.certs);
    let variables = ["SSL_CERT_FILE", "SSL_CERT_DIR"];
    let set = variables.iter().filter_map(|name| Some(format!("{name}={}", std::env::var_os(name)?.display())));
    let mut places: Vec<String> = set.collect();
    if places.is_empty() {
        let probed = openssl_probe::probe();
        places = probed.cert_file.iter().chain(&probed.cert_dir).map(|path| path.display().to_string()).collect();
    }
    let places = if places.is_empty() { "no place that is known".to_owned() } else { places.join(" and ") };
    let mut words = match usable {
        0 => format!("NONE in {places}, so no https call can succeed: name a PEM file in SSL_CERT_FILE or ca_file"),
        _ => format!("{usable} in {places}"),
    };
    if unusable > 0 {
        words.push_str(&format!("; {unusable} more cannot be used"));
    }
    for error in found.errors {
        words.push_str(&format!("; {error}"));
    }
    words
}

/// The same where the system verifies by itself.
#[cfg(not(all(unix, not(target_vendor = "apple"), not(target_os = "android"))))]
pub(crate) fn authorities_in_words() -> String {
    "the operating system's own, asked for each connection".to_owned()
}

/// Open connections of one process.
pub(crate) struct Connections {
    /// There until dropped.
    client: Option<blocking::Client>,
    trusted: Arc<str>,
    /// The proxy, without its password.
    through: Option<Arc<str>>,
}

/// How long dropping connections waits for their end, which is all but always at once.
const END: Duration = Duration::from_millis(100);

impl Drop for Connections {
    fn drop(&mut self) {
        let client = self.client.take();
        let (ended, end) = mpsc::channel::<()>();
        // reqwest waits for its thread, and that for a name look-up that has begun: up to half a
        // minute, and nothing can interrupt one. So that is left to a thread. Where none can be
        // had, the closure is dropped here, and the client with it.
        let left = thread::Builder::new().name("takings end".into()).spawn(move || {
            drop(client);
            drop(ended);
        });
        if left.is_ok() {
            // either answer, ended or not yet, is fine
            let _ = end.recv_timeout(END);
        }
    }
}

impl Connections {
    /// Sends a request and waits for its answer, at most `timeout`.
    pub fn exchange(&self, request: &HttpRequest, timeout: Duration) -> Event {
        let mut sent = blocking::Request::new(request.method.clone(), request.url.clone());
        *sent.headers_mut() = request.headers.clone();
        if !request.body.is_empty() {
            *sent.body_mut() = Some(request.body.clone().into());
        }
        *sent.timeout_mut() = Some(timeout);
        let client = self.client.as_ref().expect("there until dropped");
        match client.execute(sent) {
            Ok(answer) => Event::Answered(read(answer, request.most_answer)),
            // Only a failure to connect proves that nothing left; reqwest is believed on
            // nothing else.
            Err(error) if error.is_connect() => Event::NotSent(self.no_connection(&error, request)),
            Err(error) if error.is_builder() => Event::NotSent(root(&error)),
            Err(error) if error.is_timeout() => Event::MaybeSent(format!("no answer within {timeout:.1?}")),
            Err(error) => Event::MaybeSent(format!("the answer was lost ({})", root(&error))),
        }
    }

    fn no_connection(&self, error: &reqwest::Error, request: &HttpRequest) -> String {
        let host = request.url.host_str().unwrap_or_default();
        let port = request.url.port_or_known_default().unwrap_or_default();
        let why = if error.is_timeout() {
            "it took too long".to_owned()
        } else if let Some(tls) = causes(error).find_map(|cause| cause.downcast_ref()) {
            tls_failure(tls, host, &self.trusted)
        } else {
            match causes(error).filter_map(|cause| cause.downcast_ref()).last().map(io::Error::kind) {
                Some(io::ErrorKind::UnexpectedEof) => "it was closed during the TLS handshake".to_owned(),
                Some(io::ErrorKind::ConnectionReset) if request.url.scheme() == "https" => {
                    "it was reset, perhaps during the TLS handshake".to_owned()
                }
                _ => root(error),
            }
        };
        match &self.through {
            // it may be an exception of NO_PROXY, which reqwest does not tell
            Some(proxy) => format!("no connection to {host}:{port} (where a proxy is used, {proxy}): {why}"),
            None => format!("no connection to {host}:{port}: {why}"),
        }
    }
}

fn read(mut answer: blocking::Response, most: usize) -> Answer {
    let status = answer.status().as_u16();
    let headers: Vec<(String, Vec<u8>)> =
        answer.headers().iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
    let empty = answer.headers().get(CONTENT_LENGTH).is_some_and(|length| length == "0");
    let mut body = Vec::new();
    if !empty {
        let mut chunk = [0; 8192];
        // A body that breaks off leaves what was read: the status alone decides.
        while body.len() < most {
            match answer.read(&mut chunk) {
                Ok(0) | Err(_) => break,
                Ok(read) => {
                    let read = read.min(most - body.len());
                    // a vector left to itself would double to twice of what is ever used
                    if body.capacity() - body.len() < read {
                        body.reserve_exact((body.capacity().max(8192) * 2).min(most) - body.len());
                    }
                    body.extend_from_slice(&chunk[..read]);
                }
            }
        }
    }
    Answer { status, headers, body }
}

/// The innermost reason: the outer ones only say that something failed.
fn root(error: &reqwest::Error) -> String {
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    // reqwest's own text would repeat the URL
    match error.source() {
        Some(_) => reason.to_string(),
        None => "the HTTP client failed".into(),
    }
}

/// An error and its causes, the innermost last.
fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        // `source` passes over what an I/O error holds
        let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        held.map(|held| held as &(dyn std::error::Error + 'static)).or_else(|| error.source())
    })
}

/// Why a handshake failed, for somebody who has to mend it.
fn tls_failure(error: &rustls::Error, host: &str, trusted: &str) -> String {
    use rustls::{AlertDescription, CertificateError, InvalidMessage, PeerIncompatible};
    let date = |time: &UnixTime| httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(time.as_secs()));
    match error {
        rustls::Error::InvalidCertificate(what) => {
            let what = match what {
                CertificateError::ExpiredContext { time, not_after } => {
                    format!("expired on {}, the clock here says {}", date(not_after), date(time))
                }
                CertificateError::NotValidYetContext { time, not_before } => {
                    format!("is not valid before {}, the clock here says {}", date(not_before), date(time))
                }
                CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
                    "names no host that it is for".to_owned()
                }
                CertificateError::NotValidForNameContext { presented, .. } => {
                    // each is like DnsName("klarna.com")
                    let names = presented.iter().map(|name| name.split('"').nth(1).unwrap_or(name));
                    format!("is for {}", names.collect::<Vec<_>>().join(", "))
                }
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    "is signed by no authority that is trusted".to_owned()
                }
                other => format!("cannot be trusted ({other})"),
            };
            format!("the certificate shown for {host} {what} (trusted are {trusted})")
        }
        rustls::Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13)
        | rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            "the server speaks neither TLS 1.2 nor TLS 1.3".to_owned()
        }
        rustls::Error::AlertReceived(alert) => format!("the server broke off the TLS handshake ({alert:?})"),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "what answers there speaks no TLS; is it the right port?".to_owned()
        }
        other => format!("the TLS handshake failed ({other})"),
    }
}
