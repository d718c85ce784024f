//! Sends one request over pooled connections and reads its answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::yield_now;
use tokio::time::timeout_at;

use super::failure::{causes, innermost, lost, tunnel};
use super::tls::handshake_failure;
use crate::decide::machine::Event;
use crate::wire::Most;
use crate::wire::answer::Answer;

pub(super) struct Pool {
    pub client: reqwest::Client,
    /// The certificate authorities that are trusted, in words.
    pub trusted: Arc<str>,
    /// The proxy, without its password.
    pub proxy: Option<Arc<str>>,
}

/// How long after its deadline an attempt still waits for its connection to be closed.
const CLOSING: Duration = Duration::from_millis(10);

/// The time of one attempt.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    given: Duration,
    end: tokio::time::Instant,
}

impl Deadline {
    pub fn after(given: Duration) -> Deadline {
        Deadline { given, end: (Instant::now() + given).into() }
    }
}

impl Pool {
    /// Sends a request and gives its answer, or what is known of it at the deadline.
    pub async fn exchange(self: Arc<Self>, request: reqwest::Request, most: Most, deadline: Deadline) -> Event {
        let url = request.url().clone();
        let event = match timeout_at(deadline.end, self.send(request)).await {
            Ok(Ok(answer)) => match read(answer, most, deadline).await {
                (answer, Body::Whole) => return Event::Answered(answer),
                (mut answer, Body::Cut) => {
                    answer.is_cut = true;
                    Event::Answered(answer)
                }
            },
            // Only a failure to connect, or to build the request, proves that nothing left. No other error of reqwest's
            // counts as proof.
            Ok(Err(error)) if error.is_connect() => Event::NotSent(self.no_connection(&error, &url)),
            Ok(Err(error)) if error.is_builder() => Event::NotSent(innermost(&error)),
            Ok(Err(error)) => Event::MaybeSent(lost(&error)),
            Err(_) => Event::MaybeSent(format!("no answer within {:.1?}", deadline.given)),
        };
        // The task of the connection has been woken, because nobody waits for the rest of the answer any more. This
        // empty task is queued behind it, so that the connection is closed before this call ends. If other connections
        // are flooded, that may take long; their calls close this one then.
        let _ = timeout_at(deadline.end + CLOSING, tokio::spawn(async {})).await;
        event
    }

    /// Sends over a pooled connection that still stands, else over a new one.
    async fn send(&self, request: reqwest::Request) -> Result<reqwest::Response, reqwest::Error> {
        // Connections are not polled between calls. A connection that was closed meanwhile, or has received bytes that
        // nobody asked for, must not be used. The yield lets such events in; the tasks that they wake are queued before
        // this one. Another thread may be running the connections, so a task yields, not this future. The task does not
        // send: buffers made in the one thread and freed in another leave holes in its heap.
        // The task fails only when the runtime shuts down.
        let _ = tokio::spawn(yield_now()).await;
        self.begun(request).await
    }

    /// The sending of a request. It is made apart from the poll that runs it, below which the stack is deepest.
    #[inline(never)]
    fn begun(
        &self,
        request: reqwest::Request,
    ) -> Pin<Box<dyn Future<Output = reqwest::Result<reqwest::Response>> + Send>> {
        Box::pin(self.client.execute(request))
    }

    /// Why no connection was made, in words.
    #[inline(never)]
    fn no_connection(&self, error: &reqwest::Error, url: &reqwest::Url) -> String {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        if let (Some(proxy), Some(did)) = (&self.proxy, tunnel(error)) {
            return format!("no connection to {host}:{port}: the proxy {proxy} {did}");
        }
        let why = if error.is_timeout() {
            "it took too long".to_owned()
        } else if let Some(tls) = causes(error).find_map(|cause| cause.downcast_ref()) {
            handshake_failure(tls, host, &self.trusted)
        } else {
            match causes(error).filter_map(|cause| cause.downcast_ref()).last().map(io::Error::kind) {
                Some(io::ErrorKind::UnexpectedEof) => "it was closed during the TLS handshake".to_owned(),
                Some(io::ErrorKind::ConnectionReset) if url.scheme() == "https" => {
                    "it was reset, perhaps during the TLS handshake".to_owned()
                }
                _ => innermost(error),
            }
        };
        match &self.proxy {
            // NO_PROXY may leave this host out; reqwest does not say whether it did.
            Some(proxy) => format!("no connection to {host}:{port} (where a proxy is used, {proxy}): {why}"),
            None => format!("no connection to {host}:{port}: {why}"),
        }
    }
}

enum Body {
    Whole,
    /// Too long, broken off, or not over at the deadline. The status still decides.
    Cut,
}

async fn read(mut answer: reqwest::Response, most: Most, deadline: Deadline) -> (Answer, Body) {
    let status = answer.status().as_u16();
    let most = most.of(status);
    let headers: Vec<_> =
        answer.headers().iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
    let mut body = Vec::new();
    let ended = loop {
        if body.len() == most {
            break Body::Cut;
        }
        let chunk = match timeout_at(deadline.end, answer.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => break Body::Whole,
            _ => break Body::Cut,
        };
        let chunk = &chunk[..chunk.len().min(most - body.len())];
        // `Vec` would grow to twice the limit. The capacity is doubled here instead, and stops there.
        if body.capacity() - body.len() < chunk.len() {
            let more = (body.capacity().max(8192) * 2).min(most) - body.len();
            body.reserve_exact(more.max(chunk.len()));
        }
        body.extend_from_slice(chunk);
    };
    (Answer::new(status, headers, body), ended)
}
