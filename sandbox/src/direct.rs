//! Requests that are handed over without a socket, in a time that is counted and does not pass.

use crate::exchange::{Exchange, Next, Wire};
use crate::http::Request;
use crate::state::Shared;
use std::time::Duration;

/// The answer to a request as a client would see it, with its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchanged {
    /// The bytes in order, each piece with its time since the request.
    pub pieces: Vec<(Duration, Vec<u8>)>,
    /// How the connection ends after them.
    pub end: End,
    /// The time of that end since the request.
    pub ended: Duration,
}

/// The end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The connection stays open, and nothing more comes.
    Open,
    /// The connection is closed.
    Closed,
    /// The connection is reset.
    Reset,
}

/// Gathers what is sent.
#[derive(Default)]
struct Gathered {
    now: Duration,
    pieces: Vec<(Duration, Vec<u8>)>,
    /// Whether a silence without end was asked for.
    stalled: bool,
}

impl Wire for Gathered {
    fn send(&mut self, bytes: &[u8]) -> bool {
        self.pieces.push((self.now, bytes.to_vec()));
        true
    }

    fn wait(&mut self, time: Duration) -> bool {
        self.now += time;
        true
    }

    fn stall(&mut self, limit: Option<Duration>) {
        match limit {
            Some(time) => self.now += time,
            None => self.stalled = true,
        }
    }
}

pub(crate) fn exchange(
    shared: &Shared,
    method: &str,
    target: &str,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
) -> Exchanged {
    let request = Request { method: method.into(), target: target.into(), version: "HTTP/1.1", headers, body };
    let mut wire = Gathered::default();
    let next = Exchange::received(shared, &mut wire, 0, &request).answer();
    let end = match next {
        _ if wire.stalled => End::Open,
        Next::Keep => End::Open,
        Next::Close | Next::Drop => End::Closed,
        Next::Reset => End::Reset,
    };
    Exchanged { pieces: wire.pieces, end, ended: wire.now }
}
