//! Sends requests over a client's own connections. This is where bytes leave.
//!
//! The way down: [`Connections::exchange`] takes a request, and [`Exchange::wait`] runs it on the thread that waits.
//! `Pool::exchange` takes a connection that rests, or `Target::connect` makes one. A `Link` is the bytes in it, and the
//! reader of `wire::http1` makes an answer of them, which comes back as an [`Event`].

mod connect;
mod failure;
mod link;
mod pool;
mod proxy;
#[cfg(test)]
mod tests;
mod tls;
mod wait;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use url::Url;

use crate::decide::machine::Event;
use crate::decide::retry::Limits;
use crate::error::Error;
use crate::settings::config::Config;
use crate::wire::{Endpoint, HttpRequest};

use connect::Target;
use pool::{Deadline, Pool};
use proxy::Proxy;
use tls::Trust;
use wait::Wait;

pub(crate) use proxy::proxy_in_words;
pub(crate) use tls::authorities_in_words;
pub use wait::Wish;

/// The set-up of connections: checked when the client is made, used in every process that the client is used in.
pub(crate) struct Transport {
    trust: Trust,
    proxy: Option<Proxy>,
    base_url: Url,
    connect_timeout: Duration,
}

impl Transport {
    pub fn new(config: &Config, endpoint: &Endpoint, limits: &Limits) -> Result<Transport, Error> {
        Ok(Transport {
            trust: Trust::new(config)?,
            proxy: proxy::proxy(config, endpoint)?,
            base_url: endpoint.base_url().clone(),
            connect_timeout: limits.connect,
        })
    }

    /// The proxy, without its password.
    pub fn proxy(&self) -> Option<&str> {
        self.proxy.as_ref().map(Proxy::shown)
    }

    /// A connection pool for this process alone.
    pub fn open(&self) -> Result<Connections, String> {
        let is_tls = self.base_url.scheme() == "https";
        let tls = if is_tls { Some(Arc::new(self.trust.client_config()?)) } else { None };
        let target = Target::new(&self.base_url, tls, self.proxy.clone(), self.trust.in_words());
        Ok(Connections { pool: Arc::new(Pool::new(target, self.connect_timeout)) })
    }
}

/// Open connections of one process. They rest while nobody waits for an answer.
pub(crate) struct Connections {
    pool: Arc<Pool>,
}

/// A request on its way; [`wait`](Exchange::wait) brings it to its end. Dropped before that, it closes its connection.
pub(crate) enum Exchange {
    /// Run by the thread that waits.
    Running(Running),
    /// The request was not sent, for this reason.
    Failed(String),
}

pub(crate) struct Running {
    sending: Pin<Box<dyn Future<Output = Event> + Send>>,
    wait: Arc<Wait>,
}

impl Connections {
    /// Begins an exchange. While somebody waits for it, it is over `timeout` from now.
    pub fn exchange(&self, request: &HttpRequest, timeout: Duration) -> Exchange {
        let wait = Arc::new(Wait::default());
        let sending = self.pool.exchange(request, Deadline::after(timeout), wait.clone());
        Exchange::Running(Running { sending: Box::pin(sending), wait })
    }
}

impl Exchange {
    /// Waits for the end of the exchange, no longer than to `patience`; without one, to the deadline. It goes as far as it
    /// can without waiting in any case.
    pub fn wait(&mut self, patience: Option<Instant>) -> Option<Event> {
        match self {
            Exchange::Running(Running { sending, wait }) => wait.run(sending, patience),
            Exchange::Failed(why) => Some(Event::NotSent(std::mem::take(why))),
        }
    }

    /// The event that it waits for, after a wait without patience.
    pub fn wish(&self) -> Option<Wish> {
        match self {
            Exchange::Running(Running { wait, .. }) => wait.wish(),
            Exchange::Failed(_) => None,
        }
    }
}
