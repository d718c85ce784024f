//! Sends requests over a client's own connections. This is where bytes leave.
//!
//! The way down: [`Connections::exchange`] takes a request, and [`Exchange::wait`] runs it on the thread that waits.
//! `Pool::exchange` hands it to `reqwest`; the answer comes back as an [`Event`].

mod failure;
mod names;
mod pool;
mod proxy;
mod reactor;
mod sigpipe;
#[cfg(test)]
mod tests;
mod tls;

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{CONTENT_LENGTH, HeaderValue};
use tokio::runtime::Handle;

use crate::decide::machine::Event;
use crate::decide::retry::Limits;
use crate::error::Error;
use crate::settings::config::Config;
use crate::wire::{Endpoint, HttpRequest};

use names::Names;
use pool::{Deadline, Pool};
use reactor::Reactor;
use tls::{Trust, unusable};

pub(crate) use proxy::proxy_in_words;
pub(crate) use tls::authorities_in_words;

/// The set-up of connections: checked when the client is made, used in every process that the client is used in.
pub(crate) struct Transport {
    trust: Trust,
    proxy: Option<(reqwest::Proxy, Arc<str>)>,
    is_tls: bool,
    connect_timeout: Duration,
}

impl Transport {
    pub fn new(config: &Config, endpoint: &Endpoint, limits: &Limits) -> Result<Transport, Error> {
        Ok(Transport {
            trust: Trust::new(config)?,
            proxy: proxy::proxy(config, endpoint)?,
            is_tls: endpoint.base_url().scheme() == "https",
            connect_timeout: limits.connect,
        })
    }

    /// The proxy, without its password.
    pub fn proxy(&self) -> Option<&str> {
        self.proxy.as_ref().map(|(_, shown)| &**shown)
    }

    /// A connection pool for this process alone.
    pub fn open(&self) -> Result<Connections, String> {
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(self.trust.client_config(self.is_tls)?)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(self.connect_timeout)
            .dns_resolver(Names)
            // reqwest shall not read the environment by its own rules.
            .no_proxy();
        if let Some((proxy, _)) = &self.proxy {
            builder = builder.proxy(proxy.clone());
        }
        let client = builder
            .build()
            .map_err(|error| unusable("the HTTP client could not be made", &failure::innermost(&error)))?;
        let reactor =
            Reactor::new().map_err(|error| unusable("no I/O could be set up", &failure::of_system(&error)))?;
        let proxy = self.proxy.as_ref().map(|(_, shown)| shown.clone());
        let pool = Pool { client, trusted: self.trust.in_words(), proxy };
        Ok(Connections { pool: Arc::new(pool), reactor: Arc::new(reactor) })
    }
}

/// Open connections of one process. No thread serves them; they rest while nobody waits for an answer.
pub(crate) struct Connections {
    pool: Arc<Pool>,
    reactor: Arc<Reactor>,
}

/// A request on its way; [`wait`](Exchange::wait) brings it to its end.
pub(crate) enum Exchange {
    /// Run by the thread that waits. If this is dropped before its end, the connection is closed when the reactor runs
    /// next.
    Inline(Inline),
    /// Run by a thread of its own, to its end even if this is dropped.
    Threaded(Receiver<Event>),
    /// The request was not sent, for this reason.
    Failed(String),
}

pub(crate) struct Inline {
    sending: Pending,
    reactor: Arc<Reactor>,
}

type Pending = Pin<Box<dyn Future<Output = Event> + Send>>;

impl Connections {
    /// Begins an exchange. While somebody waits for it, it is over `timeout` from now.
    pub fn exchange(&self, request: &HttpRequest, timeout: Duration) -> Exchange {
        let sending: Pending =
            Box::pin(self.pool.clone().exchange(sendable(request), request.most_answer, Deadline::after(timeout)));
        // A thread of the caller's own tokio runtime cannot run a second runtime. Nor can a thread that is ending:
        // tokio's thread-locals are gone there.
        match Handle::try_current() {
            Err(why) if why.is_missing_context() => Exchange::Inline(Inline { sending, reactor: self.reactor.clone() }),
            _ => self.threaded(sending),
        }
    }

    fn threaded(&self, sending: Pending) -> Exchange {
        let (sender, ended) = mpsc::sync_channel(1);
        let reactor = self.reactor.clone();
        let run = move || {
            if let Some(event) = reactor.run(sending, None) {
                // The caller may have stopped waiting, so that nobody receives.
                let _ = sender.send(event);
            }
        };
        match thread::Builder::new().name("takings call".into()).spawn(run) {
            Ok(_) => Exchange::Threaded(ended),
            Err(error) => Exchange::Failed(failure::no_thread("for the call", &error)),
        }
    }
}

/// The request as `reqwest` takes it.
fn sendable(request: &HttpRequest) -> reqwest::Request {
    let mut sendable = reqwest::Request::new(request.method.clone(), request.url.clone());
    *sendable.headers_mut() = request.headers.clone();
    set_body(&mut sendable, request.body.clone());
    sendable
}

fn set_body(sendable: &mut reqwest::Request, body: Bytes) {
    if !body.is_empty() {
        *sendable.body_mut() = Some(body.into());
    } else if sendable.method() != Method::GET {
        // hyper announces no length where there is no body. Servers may refuse a write without one (RFC 9110, 8.6).
        sendable.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
}

impl Exchange {
    /// Waits for the end of the exchange, no longer than `patience`; without one, to the deadline.
    pub fn wait(&mut self, patience: Option<Duration>) -> Option<Event> {
        match self {
            Exchange::Inline(Inline { sending, reactor }) => {
                reactor.run(sending, patience.map(|patience| Instant::now() + patience))
            }
            Exchange::Threaded(ended) => {
                let received = match patience {
                    None => ended.recv().map_err(RecvTimeoutError::from),
                    Some(patience) => ended.recv_timeout(patience),
                };
                match received {
                    Ok(event) => Some(event),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => {
                        Some(Event::MaybeSent("the thread that sent it failed".into()))
                    }
                }
            }
            Exchange::Failed(why) => Some(Event::NotSent(mem::take(why))),
        }
    }
}

impl Drop for Inline {
    fn drop(&mut self) {
        let _entered = self.reactor.enter();
        self.sending = Box::pin(std::future::pending());
    }
}
