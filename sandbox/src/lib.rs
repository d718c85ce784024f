//! A stand-in for Klarna's Order Management API, for tests: orders with a remaining amount, captures, idempotency
//! as Klarna describes it, and faults on demand.
//!
//! ```
//! use takings_sandbox::{Fault, NewOrder, Options, Sandbox};
//!
//! let sandbox = Sandbox::start(Options::default())?;
//! let order_id = sandbox.create_order(NewOrder {
//!     order_amount: 10_000,
//!     ..NewOrder::default()
//! });
//! sandbox.fault(&order_id, Fault::LostAnswer);
//! // Now let the program under test capture the order at `sandbox.url()`, then look into the ledger.
//! assert!(sandbox.ledger_of(&order_id).is_empty());
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! The same can be done over HTTP by any program; the README of this crate tells how.
//!
//! The sandbox is not a Klarna product. It serves the 18 calls of Order Management and knows one merchant. Where Klarna's
//! documentation is silent, it guesses, and [`Knobs`] change the guess.
#![forbid(unsafe_code)]

mod control;
mod direct;
mod exchange;
mod fault;
mod http;
mod klarna;
mod plan;
mod program;
mod server;
mod state;
mod tls;

pub use direct::{End, Exchanged};
pub use fault::{Created, Fault, Raw, Status, Then, When};
pub use klarna::{
    Entry, Finding, KeyScope, Knobs, NewOrder, Operation, OrderStatus, Problem, RefundMember, Release, Risk,
    SecondCancel, UnknownCapture,
};
pub use plan::{On, PlannedFault};
pub use program::program;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use socket2::{Domain, Socket, Type};
use state::Shared;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::fd::{AsRawFd, RawFd};
use std::process;
use std::sync::Arc;
#[cfg(unix)]
use std::sync::Weak;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How a sandbox is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// An address to listen at; 127.0.0.1 by default. Any but a loopback address needs a token.
    pub bind: IpAddr,
    /// Requests to the control endpoint have to carry this token, as `Authorization: Bearer TOKEN`.
    pub token: Option<String>,
    /// 0, the default, takes a free port.
    pub port: u16,
    /// The user name of the Basic credentials; `sandbox` by default.
    pub username: String,
    /// Their password; `sandbox` by default.
    pub password: String,
    /// An API key that is accepted too: alone behind `Basic`, or as the password, or as the user name without a
    /// password.
    pub api_key: Option<String>,
    /// HTTPS with a certificate made at start; see [`Sandbox::ca_pem`].
    pub tls: bool,
    /// A path in front of the API's paths, such as `/gw`; empty by default.
    pub prefix: String,
    /// Answers wrong credentials with Klarna's JSON instead of its gateway's HTML page and challenge.
    pub json_unauthorized: bool,
    /// Answers 429 beyond so many requests in one second of the sandbox's clock. Without it nothing is limited, and
    /// the headers speak of 200.
    pub rate_limit: Option<u32>,
    /// Choices where Klarna's documentation is silent.
    pub knobs: Knobs,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bind: Ipv4Addr::LOCALHOST.into(),
            token: None,
            port: 0,
            username: "sandbox".into(),
            password: "sandbox".into(),
            api_key: None,
            tls: false,
            prefix: String::new(),
            json_unauthorized: false,
            rate_limit: None,
            knobs: Knobs::default(),
        }
    }
}

/// A request to the API as the sandbox received it, credentials included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Counts the sandbox's requests from 1.
    pub number: u64,
    /// The decoded order id of the path.
    pub order_id: Option<String>,
    /// Counts the order's requests from 1.
    pub order_request: Option<u64>,
    /// The method.
    pub method: String,
    /// The request target, byte for byte.
    pub target: String,
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub version: String,
    /// Names and values in order, each byte one character (Latin-1), white space around values removed.
    pub headers: Vec<(String, String)>,
    /// The body, any chunking undone. Empty if the request was refused for its framing or size.
    pub body: Vec<u8>,
    /// Counts the sandbox's TCP connections from 1.
    pub connection: u64,
    /// Whether this request changed anything. A repeated key changes nothing.
    pub committed: bool,
    /// The name of the fault that struck it.
    pub fault: Option<String>,
    /// The status of the answer, once its first byte is about to go out.
    pub answered_status: Option<u16>,
}

impl Serialize for Received {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use base64::Engine as _;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("number", &self.number)?;
        map.serialize_entry("order_id", &self.order_id)?;
        map.serialize_entry("order_request", &self.order_request)?;
        map.serialize_entry("method", &self.method)?;
        map.serialize_entry("target", &self.target)?;
        map.serialize_entry("version", &self.version)?;
        map.serialize_entry("headers", &self.headers)?;
        match std::str::from_utf8(&self.body) {
            Ok(text) => map.serialize_entry("body", text)?,
            Err(_) => {
                let encoded = base64::engine::general_purpose::STANDARD.encode(&self.body);
                map.serialize_entry("body_base64", &encoded)?;
            }
        }
        map.serialize_entry("connection", &self.connection)?;
        map.serialize_entry("committed", &self.committed)?;
        map.serialize_entry("fault", &self.fault)?;
        map.serialize_entry("answered_status", &self.answered_status)?;
        map.end()
    }
}

/// TCP connections, without those whose first request went to the control endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Since the start, or the last reset.
    pub accepted: u64,
    /// Now.
    pub open: u64,
}

/// A running sandbox. Dropping it closes every connection and ends its threads. In a forked child, which has none of the
/// threads, dropping it does nothing; [`Sandbox::inherited`] says what the child has to close.
pub struct Sandbox {
    process: u32,
    shared: Arc<Shared>,
    /// The address and the thread of the listener.
    acceptor: Option<(SocketAddr, JoinHandle<()>)>,
    listener: Option<Arc<TcpListener>>,
    ca_pem: Option<String>,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").field("url", &self.url()).finish_non_exhaustive()
    }
}

impl Sandbox {
    /// Starts a sandbox on a thread of its own; it answers once this returns.
    ///
    /// # Errors
    ///
    /// The port is taken, the address is none of this machine's, it is no loopback address and there is no token of 16
    /// characters or more, or the prefix does not look like `/gw`.
    pub fn start(options: Options) -> io::Result<Self> {
        let token = options.token.as_deref().map_or(0, str::len);
        if !options.bind.is_loopback() && token == 0 {
            return Err(invalid(format!(
                "{} is not a loopback address, so that other machines could read and change everything: give a token",
                options.bind
            )));
        }
        if options.token.is_some() && token < 16 {
            return Err(invalid("the token is shorter than 16 characters".into()));
        }
        check_prefix(&options.prefix)?;
        let listener = listen(options.bind, options.port).map_err(|why| {
            let place = SocketAddr::from((options.bind, options.port));
            io::Error::new(why.kind(), format!("cannot listen at {place}: {why}"))
        })?;
        let address = listener.local_addr()?;
        let scheme = if options.tls { "https" } else { "http" };
        let base = format!("{scheme}://{address}{}", options.prefix);
        let tls = options.tls;
        let shared = Arc::new(Shared::new(options, base));
        let (tls, ca_pem) = if tls {
            let now = shared.state().now();
            let (config, pem) = tls::set_up(now).map_err(io::Error::other)?;
            (Some(config), Some(pem))
        } else {
            (None, None)
        };
        let listener = Arc::new(listener);
        let acceptor = thread::Builder::new().name("sandbox".into()).spawn({
            let (shared, listener) = (shared.clone(), listener.clone());
            move || server::accept(&listener, &shared, tls.as_ref())
        })?;
        Ok(Self {
            process: process::id(),
            shared,
            acceptor: Some((address, acceptor)),
            listener: Some(listener),
            ca_pem,
        })
    }

    /// A sandbox that listens nowhere: requests are handed to [`Sandbox::exchange`]. The port of [`Sandbox::url`] is 9.
    ///
    /// # Errors
    ///
    /// The prefix does not look like `/gw`.
    pub fn without_socket(options: Options) -> io::Result<Self> {
        check_prefix(&options.prefix)?;
        let base = format!("http://{}{}", SocketAddr::from((options.bind, 9)), options.prefix);
        Ok(Self {
            process: process::id(),
            shared: Arc::new(Shared::new(options, base)),
            acceptor: None,
            listener: None,
            ca_pem: None,
        })
    }

    /// Handles a request at once, as if it had come over a connection of its own. No time passes; the answer says how
    /// long the sandbox would have taken. [`Received`] shows such a request with the connection 0.
    pub fn exchange(&self, method: &str, target: &str, headers: Vec<(String, String)>, body: Vec<u8>) -> Exchanged {
        direct::exchange(&self.shared, method, target, headers, body)
    }

    /// The base URL, prefix included, without a slash at its end.
    pub fn url(&self) -> &str {
        &self.shared.base
    }

    /// With TLS, the certificate that clients have to trust, as PEM. The server's own is for `localhost`, 127.0.0.1
    /// and ::1.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// Creates an order and returns its id.
    ///
    /// # Panics
    ///
    /// The order exists already, or a field is out of its limits.
    #[track_caller]
    pub fn create_order(&self, order: NewOrder) -> String {
        match self.try_create_order(order) {
            Ok(order_id) => order_id,
            Err(why) => panic!("{why}"),
        }
    }

    /// [`Sandbox::create_order`] without the panic.
    ///
    /// # Errors
    ///
    /// Says which field is wrong and how, or that the order exists already.
    pub fn try_create_order(&self, mut order: NewOrder) -> Result<String, String> {
        let faults = std::mem::take(&mut order.faults);
        for planned in &faults {
            planned.fault.check()?;
        }
        let mut state = self.shared.state();
        let now = state.now();
        let order_id = state.klarna.create(order, now)?;
        state.plan(&order_id, faults);
        Ok(order_id)
    }

    /// Sets an order's status. `AUTHORIZED` gives it back to the captures and the clock.
    ///
    /// # Panics
    ///
    /// The order does not exist, or the status is one that only captures reach.
    #[track_caller]
    pub fn set_status(&self, order_id: &str, status: OrderStatus) {
        let change = klarna::OrderChange { status: Some(status), fraud_status: None };
        let changed = self.shared.state().klarna.change(order_id, change);
        match changed {
            Ok(true) => {}
            Ok(false) => panic!("there is no order {order_id}"),
            Err(why) => panic!("{why}"),
        }
    }

    /// Plans a fault for the order's next request that has none, or with [`PlannedFault::request`] for its n-th. The
    /// order need not exist.
    ///
    /// # Panics
    ///
    /// A field of the fault is out of its limits.
    #[track_caller]
    pub fn fault(&self, order_id: &str, fault: impl Into<PlannedFault>) {
        let planned = fault.into();
        if let Err(why) = planned.fault.check() {
            panic!("{}: {why}", planned.fault.name());
        }
        self.shared.state().plan(order_id, [planned]);
    }

    /// Drops the faults that have not struck yet.
    pub fn clear_faults(&self, order_id: &str) {
        self.shared.state().clear_faults(order_id);
    }

    /// Everything that was done, in order: each capture and each other write.
    pub fn ledger(&self) -> Vec<Entry> {
        self.shared.catch_up();
        self.shared.state().klarna.ledger.clone()
    }

    /// Everything that was done to one order.
    pub fn ledger_of(&self, order_id: &str) -> Vec<Entry> {
        let mut ledger = self.ledger();
        ledger.retain(|entry| entry.order_id == order_id);
        ledger
    }

    /// Judges all orders by the ledger: empty if money moved as it was asked, once.
    pub fn audit(&self) -> Vec<Finding> {
        self.shared.catch_up();
        self.shared.state().klarna.audit()
    }

    /// Findings about one order.
    pub fn audit_of(&self, order_id: &str) -> Vec<Finding> {
        let mut findings = self.audit();
        findings.retain(|finding| finding.order_id == order_id);
        findings
    }

    /// Changes the choices where Klarna's documentation is silent, until the next reset.
    pub fn set_knobs(&self, knobs: Knobs) {
        self.shared.state().klarna.knobs = knobs;
    }

    /// The last 10,000 requests to the API, oldest first.
    pub fn requests(&self) -> Vec<Received> {
        self.shared.catch_up();
        self.shared.state().requests().cloned().collect()
    }

    /// Those with this order in their path.
    pub fn requests_of(&self, order_id: &str) -> Vec<Received> {
        self.shared.catch_up();
        let state = self.shared.state();
        let all = state.requests();
        all.filter(|request| request.order_id.as_deref() == Some(order_id)).cloned().collect()
    }

    /// Moves the sandbox's clock on: keys are forgotten after 24 h, orders expire.
    pub fn advance(&self, by: Duration) {
        self.shared.state().advance(by);
    }

    /// How many connections there were and are.
    pub fn connections(&self) -> Connections {
        self.shared.state().connections
    }

    /// In a forked child the file descriptors of the listener and of all connections, for the child to close: while it
    /// holds them, no connection ends that the sandbox ends. In the sandbox's own process there are none.
    #[cfg(unix)]
    pub fn inherited(&self) -> Vec<RawFd> {
        if self.process == process::id() {
            return Vec::new();
        }
        // A thread of the parent's may have held the lock at the fork; the few sockets then stay open.
        let sockets = self.shared.sockets.try_lock();
        let sockets = sockets.iter().flat_map(|sockets| sockets.iter()).filter_map(Weak::upgrade);
        let connections = sockets.map(|socket| socket.as_raw_fd());
        connections.chain(self.listener.iter().map(|listener| listener.as_raw_fd())).collect()
    }

    /// Forgets orders, captures, keys, faults and requests, and sets the clock right.
    pub fn reset(&self) {
        self.shared.reset();
    }
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

fn check_prefix(prefix: &str) -> io::Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
    if !prefix.is_empty() && (!prefix.starts_with('/') || prefix.ends_with('/') || !prefix.chars().all(plain)) {
        return Err(invalid(format!("prefix {prefix:?} does not begin with a slash and end without one")));
    }
    Ok(())
}

/// Listens at an address. `TcpListener::bind` would let a port be used again while its last connections linger, which
/// suits only a port asked for by its number. For a free port the system then searches half of its range only. A suite
/// that starts thousands of sandboxes a minute leaves none free there.
fn listen(bind: IpAddr, port: u16) -> io::Result<TcpListener> {
    if port != 0 {
        return TcpListener::bind((bind, port));
    }
    let address = SocketAddr::from((bind, 0));
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.bind(&address.into())?;
    socket.listen(128)?;
    Ok(socket.into())
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let Some((address, acceptor)) = self.acceptor.take() else { return self.shared.stop() };
        if self.process != process::id() {
            // The child closes the descriptor by its number, so the listener must not close it again.
            std::mem::forget(self.listener.take());
            return;
        }
        self.shared.stop();
        // The acceptor blocks in accept(2); a connection wakes it.
        if (0..5).any(|_| TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()) {
            // A panic in it has been reported by its thread.
            let _ = acceptor.join();
        }
    }
}

// Runs the README's Rust; tests/suite/readme.rs runs its curl.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
