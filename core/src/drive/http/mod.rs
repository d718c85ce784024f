//! The one file that does I/O: a request goes out over `reqwest`, an [`Event`] comes back.

use std::error::Error as _;
use std::io;
use std::mem;
use std::net::ToSocketAddrs as _;
use std::pin::Pin;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::{self, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::time::timeout_at;

use crate::decide::machine::Event;
use crate::decide::retry::Limits;
use crate::error::Error;
use crate::settings::config::{Config, is_loopback};
use crate::wire::answer::Answer;
use crate::wire::{Endpoint, HttpRequest, Most};

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

    /// A connection pool and what serves it, for this process alone.
    pub fn open(&self) -> Result<Connections, String> {
        let unusable = |what: &str, error: &dyn std::fmt::Display| format!("{what} ({error})");
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
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(self.connect)
            .dns_resolver(Names)
            // no proxy from reqwest's own reading of the environment
            .no_proxy();
        if let Some((proxy, _)) = &self.proxy {
            builder = builder.proxy(proxy.clone());
        }
        let client = builder.build().map_err(|error| unusable("the HTTP client could not be made", &root(&error)))?;
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            // The clock, the other connections and what other threads hand in are looked at after each turn of one: a
            // flooded one takes milliseconds for a turn, and is never done.
            .event_interval(1)
            .global_queue_interval(1)
            .build()
            .map_err(|error| unusable("no I/O could be set up", &error))?;
        let sigpipe = Sigpipe::new().map_err(|error| unusable("no I/O could be set up", &error))?;
        let through = self.proxy.as_ref().map(|(_, name)| name.clone());
        let pool = Arc::new(Pool { client, trusted: self.trusted.clone(), through });
        let driver = Arc::new(Driver { runtime: Some(runtime), sigpipe });
        Ok(Connections { pool, driver, tls: self.tls })
    }
}

/// Looks a host's name up in a thread of its own: it blocks, for up to half a minute, and nothing can interrupt it. Where
/// no thread can be started that is an error, which the runtime's own threads would make a panic.
struct Names;

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let (tell, told) = oneshot::channel();
        let look_up = move || {
            // whoever waited may have left
            let _ = tell.send((name.as_str(), 0).to_socket_addrs());
        };
        let started = thread::Builder::new().name("takings names".into()).spawn(look_up);
        Box::pin(async {
            started.map_err(|error| format!("no thread could be started to look its name up ({error})"))?;
            let found: Addrs = Box::new(told.await??);
            Ok(found)
        })
    }
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
///
/// No thread serves them: whoever waits for an answer does meanwhile what there is to do for all of them, and hands
/// that on when its own answer is there. While nobody waits they rest.
pub(crate) struct Connections {
    pool: Arc<Pool>,
    driver: Arc<Driver>,
    tls: bool,
}

struct Pool {
    client: reqwest::Client,
    trusted: Arc<str>,
    /// The proxy, without its password.
    through: Option<Arc<str>>,
}

/// A request on its way, to be driven to its end.
pub(crate) enum Exchange {
    /// By the thread that waits for it. Dropped before, its connection is closed when others are driven.
    Here(Here),
    /// By a thread of its own, to its end even if this is dropped.
    There(There),
    /// Nothing was sent.
    Failed(String),
}

pub(crate) struct Here {
    /// There until handed over or dropped.
    sent: Option<Sent>,
    come: Come,
    driver: Arc<Driver>,
    time: Time,
    /// When a thread of its own is to drive it.
    hand_over: Instant,
}

pub(crate) struct There {
    ended: Receiver<()>,
    come: Come,
    time: Time,
}

/// What an attempt was given.
#[derive(Clone, Copy)]
struct Time {
    given: Duration,
    end: Instant,
}

type Sent = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What has come of a request so far, an answer from its head on, until whoever waits takes it.
#[derive(Clone, Default)]
struct Come(Arc<Mutex<Option<Event>>>);

impl Come {
    fn lock(&self) -> MutexGuard<'_, Option<Event>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As everywhere, of an answer that is not over the status alone decides.
    fn take(&self) -> Option<Event> {
        self.lock().take()
    }
}

/// How long before its end a request gets a thread of its own, so that the one that waits can watch the clock: what
/// drives a connection looks at nothing else for as long as there are bytes, up to two megabytes of TLS records, and a
/// server that floods it with what is dear to read (interim answers, session tickets) makes that hundreds of
/// milliseconds.
const ALONE: Duration = Duration::from_secs(1);

/// By how much a thread that drives may miss the end of its time before it is no longer waited for.
const LATE: Duration = Duration::from_millis(10);

impl Connections {
    /// Begins to send a request. It is over `timeout` from now, as long as it is driven.
    pub fn exchange(&self, request: &HttpRequest, timeout: Duration) -> Exchange {
        let time = Time { given: timeout, end: Instant::now() + timeout };
        let mut sent = reqwest::Request::new(request.method.clone(), request.url.clone());
        *sent.headers_mut() = request.headers.clone();
        if !request.body.is_empty() {
            *sent.body_mut() = Some(request.body.clone().into());
        }
        let come = Come::default();
        let sent: Sent = Box::pin(self.pool.clone().exchange(sent, request.most_answer, time, come.clone()));
        // Of plain TCP a connection reads fifty megabytes before it looks up, which may take longer than `ALONE`.
        // Plain is for this machine alone, so a thread is no loss there.
        // And the thread of a runtime (Rust callers have them) can drive no other one.
        // Nor can a thread that is at its end, whose thread-locals are gone.
        if self.tls && Handle::try_current().is_err_and(|why| why.is_missing_context()) {
            let (driver, hand_over) = (self.driver.clone(), time.end.checked_sub(ALONE).unwrap_or_else(Instant::now));
            return Exchange::Here(Here { sent: Some(sent), come, driver, time, hand_over });
        }
        match alone(&self.driver, &mut Some(sent)) {
            Ok(ended) => Exchange::There(There { ended, come, time }),
            Err(error) => Exchange::Failed(format!("no thread could be started ({error})")),
        }
    }
}

/// Has a thread of its own drive a request, which stays where it is if there can be none.
fn alone(driver: &Arc<Driver>, sent: &mut Option<Sent>) -> io::Result<Receiver<()>> {
    let (give, given) = mpsc::sync_channel::<Sent>(1);
    let (tell, ended) = mpsc::sync_channel(1);
    let driver = driver.clone();
    let drive = move || {
        if let Ok(sent) = given.recv() {
            driver.drive(sent, None);
            // whoever waited may have left
            let _ = tell.send(());
        }
    };
    thread::Builder::new().name("takings call".into()).spawn(drive)?;
    // it is received: there is room, and the thread waits for it
    let _ = sent.take().map(|sent| give.send(sent));
    Ok(ended)
}

impl Exchange {
    /// Waits for what comes of a request, no longer than `patience`.
    pub fn drive(&mut self, patience: Option<Duration>) -> Option<Event> {
        let until = patience.map(|patience| Instant::now() + patience);
        if let Exchange::Here(here) = self {
            if Instant::now() < here.hand_over {
                let soon = until.map_or(here.hand_over, |until| until.min(here.hand_over));
                if let Some(event) = here.drive(Some(soon)) {
                    return Some(event);
                }
            }
            if until.is_some_and(|until| until < here.hand_over) {
                return None;
            }
            if let Ok(ended) = alone(&here.driver, &mut here.sent) {
                *self = Exchange::There(There { ended, come: here.come.clone(), time: here.time });
            }
        }
        match self {
            Exchange::Here(here) => here.drive(until),
            Exchange::There(there) => there.wait(until),
            Exchange::Failed(why) => Some(Event::NotSent(mem::take(why))),
        }
    }
}

impl Here {
    fn drive(&mut self, until: Option<Instant>) -> Option<Event> {
        let sent = self.sent.as_mut().expect("there until handed over or dropped");
        let ended = self.driver.drive(sent, until);
        ended.then(|| self.come.take().unwrap_or_else(|| no_answer(self.time.given)))
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        // a connection that goes back to the pool needs the runtime
        let _inside = self.driver.runtime.as_ref().map(Runtime::enter);
        drop(self.sent.take());
    }
}

impl There {
    fn wait(&mut self, until: Option<Instant>) -> Option<Event> {
        let end = self.time.end + LATE;
        let until = until.map_or(end, |until| until.min(end));
        let otherwise = match self.ended.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Err(RecvTimeoutError::Timeout) if Instant::now() < end => return None,
            Err(RecvTimeoutError::Disconnected) => Event::MaybeSent("the thread that sent it failed".into()),
            Ok(()) | Err(RecvTimeoutError::Timeout) => no_answer(self.time.given),
        };
        Some(self.come.take().unwrap_or(otherwise))
    }
}

/// What runs the connections for a thread that waits.
struct Driver {
    /// There until dropped.
    runtime: Option<Runtime>,
    sigpipe: Sigpipe,
}

impl Driver {
    /// Whether it has come to its end by then.
    fn drive(&self, sent: impl Future<Output = ()>, until: Option<Instant>) -> bool {
        let _quiet = self.sigpipe.keep_off();
        self.runtime.as_ref().expect("there until dropped").block_on(async {
            match until {
                None => {
                    sent.await;
                    true
                }
                Some(until) => timeout_at(until.into(), sent).await.is_ok(),
            }
        })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // The last of them may be dropped by a thread of another runtime, which may not wait for one.
            runtime.shutdown_background();
        }
    }
}

fn no_answer(timeout: Duration) -> Event {
    Event::MaybeSent(format!("no answer within {timeout:.1?}"))
}

impl Pool {
    async fn exchange(self: Arc<Self>, request: reqwest::Request, most: Most, time: Time, come: Come) {
        let deadline = time.end.into();
        let url = request.url().clone();
        let sent = async {
            // What happened to the connections while nobody waited is looked at first, so that one that
            // was closed, or has been sent bytes nobody asked for, is not used: the first time lets the
            // events come in, the second one has them acted upon. A task, since whoever drives must have
            // done that, and it need not be this thread.
            let look = async {
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
            };
            // it fails only with the runtime
            let _ = tokio::spawn(look).await;
            self.client.execute(request).await
        };
        match timeout_at(deadline, sent).await {
            Ok(Ok(answer)) => {
                if read(answer, most, deadline, &come).await {
                    return;
                }
            }
            ended => {
                let event = match ended {
                    // Only a failure to connect, or to make a request of it, proves that nothing left; reqwest is believed
                    // on nothing else.
                    Ok(Err(error)) if error.is_connect() => Event::NotSent(self.no_connection(&error, &url)),
                    Ok(Err(error)) if error.is_builder() => Event::NotSent(root(&error)),
                    Ok(Err(error)) => Event::MaybeSent(format!("the answer was lost ({})", root(&error))),
                    _ => no_answer(time.given),
                };
                *come.lock() = Some(event);
            }
        }
        // Its connection sees that nobody waits for more, and is closed: it is woken by now, and has its turn before
        // what is new.
        let _ = tokio::spawn(async {}).await;
    }

    fn no_connection(&self, error: &reqwest::Error, url: &reqwest::Url) -> String {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        let why = if error.is_timeout() {
            "it took too long".to_owned()
        } else if let Some(tls) = causes(error).find_map(|cause| cause.downcast_ref()) {
            tls_failure(tls, host, &self.trusted)
        } else {
            match causes(error).filter_map(|cause| cause.downcast_ref()).last().map(io::Error::kind) {
                Some(io::ErrorKind::UnexpectedEof) => "it was closed during the TLS handshake".to_owned(),
                Some(io::ErrorKind::ConnectionReset) if url.scheme() == "https" => {
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

/// Whether the answer was read to its end.
async fn read(mut answer: reqwest::Response, most: Most, deadline: tokio::time::Instant, come: &Come) -> bool {
    let status = answer.status().as_u16();
    let most = most.of(status);
    let headers =
        answer.headers().iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
    *come.lock() = Some(Event::Answered(Answer { status, headers, body: Vec::new() }));
    let mut left = most;
    // A body that breaks off leaves what was read: the status alone decides.
    while left > 0 {
        let chunk = match timeout_at(deadline, answer.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => return true,
            _ => return false,
        };
        let chunk = &chunk[..chunk.len().min(left)];
        let mut come = come.lock();
        // whoever waited could wait no longer
        let Some(Event::Answered(Answer { body, .. })) = come.as_mut() else { return false };
        // a vector left to itself would double to twice of what is ever used
        if body.capacity() - body.len() < chunk.len() {
            let more = (body.capacity().max(8192) * 2).min(most) - body.len();
            body.reserve_exact(more.max(chunk.len()));
        }
        body.extend_from_slice(chunk);
        left -= chunk.len();
    }
    false
}

/// Keeps SIGPIPE from a thread while it does I/O: several buffers are written at once by `writev`, which cannot be told
/// to leave the signal out, and where the host has not turned it off, a server that resets a connection would end the
/// process.
#[cfg(unix)]
struct Sigpipe {
    /// Reads a signal that came meanwhile. Apple's sockets raise none (SO_NOSIGPIPE).
    #[cfg(any(target_os = "linux", target_os = "android"))]
    came: nix::sys::signalfd::SignalFd,
}

#[cfg(unix)]
struct Quiet<'a> {
    sigpipe: &'a Sigpipe,
    before: nix::sys::signal::SigSet,
}

#[cfg(unix)]
impl Sigpipe {
    fn new() -> io::Result<Sigpipe> {
        Ok(Sigpipe {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            came: {
                use nix::sys::signal::{SigSet, Signal};
                use nix::sys::signalfd::{SfdFlags, SignalFd};
                SignalFd::with_flags(&SigSet::from(Signal::SIGPIPE), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?
            },
        })
    }

    /// Until what it returns is dropped. Where the host has it off for this thread, what came is taken away as well: it
    /// would come through when the host puts it on again.
    fn keep_off(&self) -> Option<Quiet<'_>> {
        use nix::sys::signal::{SigSet, SigmaskHow, Signal};
        let before = SigSet::from(Signal::SIGPIPE).thread_swap_mask(SigmaskHow::SIG_BLOCK).ok()?;
        Some(Quiet { sigpipe: self, before })
    }
}

#[cfg(unix)]
impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        while let Ok(Some(_)) = self.sigpipe.came.read_signal() {}
        // refused only for a wrong `how`
        let _ = self.before.thread_set_mask();
    }
}

#[cfg(not(unix))]
struct Sigpipe;

#[cfg(not(unix))]
impl Sigpipe {
    fn new() -> io::Result<Sigpipe> {
        Ok(Sigpipe)
    }

    fn keep_off(&self) {}
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
