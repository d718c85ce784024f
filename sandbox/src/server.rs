//! Sockets: accepting them, reading requests, and ending them well or badly.

use crate::control;
use crate::exchange::{Exchange, Next, Wire};
use crate::http::{Reader, Request, Unread};
use crate::klarna::{error_answer, place};
use crate::state::Shared;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use socket2::SockRef;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// A connection on which nothing happens for so long is closed.
const IDLE: Duration = Duration::from_secs(60);
/// How often a stalled connection is checked.
const LOOK: Duration = Duration::from_millis(50);
/// Lets bytes arrive before the reset behind them makes the receiver's system drop them.
const BEFORE_RESET: Duration = Duration::from_millis(20);
/// The most bytes to discard after a request that was refused half-read. Closing over unread bytes is a reset, which
/// can overtake the answer.
const DRAIN_BYTES: usize = 16 * 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(2);

struct Socket(Arc<TcpStream>);

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.0).flush()
    }
}

enum Stream {
    Plain(Socket),
    Tls(Box<StreamOwned<ServerConnection, Socket>>),
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => &socket.0,
            Self::Tls(tls) => &tls.sock.0,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

/// Accepts connections until the sandbox stops, then ends them all and returns.
pub(crate) fn accept(listener: &TcpListener, shared: &Arc<Shared>, tls: Option<&Arc<ServerConfig>>) {
    let mut running: Vec<JoinHandle<()>> = Vec::new();
    let mut number = 0;
    while !shared.stopping() {
        let Ok((socket, _)) = listener.accept() else {
            // The process may be out of descriptors until other connections end.
            shared.wait(LOOK);
            continue;
        };
        if shared.stopping() {
            break;
        }
        running.retain(|thread| !thread.is_finished());
        let socket = Arc::new(socket);
        {
            let mut sockets = shared.sockets.lock().unwrap_or_else(PoisonError::into_inner);
            sockets.retain(|socket| socket.strong_count() > 0);
            sockets.push(Arc::downgrade(&socket));
        }
        let stream = match tls {
            None => Stream::Plain(Socket(socket)),
            Some(config) => match ServerConnection::new(config.clone()) {
                Ok(tls) => Stream::Tls(Box::new(StreamOwned::new(tls, Socket(socket)))),
                Err(_) => continue,
            },
        };
        number += 1;
        {
            let connections = &mut shared.state().connections;
            connections.accepted += 1;
            connections.open += 1;
        }
        let mut connection =
            Connection { shared: shared.clone(), reader: Reader::new(stream), number, controls: false };
        let thread = thread::Builder::new().name(format!("sandbox {number}"));
        if let Ok(thread) = thread.spawn(move || {
            let next = connection.serve();
            connection.end(next);
        }) {
            running.push(thread);
        }
    }
    for socket in shared.sockets.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade) {
        // The connection may be gone already.
        let _ = socket.shutdown(Shutdown::Both);
    }
    for thread in running {
        // A panic in it has been reported by its thread.
        let _ = thread.join();
    }
}

struct Connection {
    shared: Arc<Shared>,
    reader: Reader<Stream>,
    number: u64,
    /// The first request went to the control endpoint, so the connection is not counted.
    controls: bool,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.controls {
            let open = &mut self.shared.state().connections.open;
            *open = open.saturating_sub(1);
        }
    }
}

impl Connection {
    fn serve(&mut self) -> Next {
        let tcp = self.reader.stream.tcp();
        let ready = tcp
            .set_nodelay(true)
            .and_then(|()| tcp.set_read_timeout(Some(IDLE)))
            .and_then(|()| tcp.set_write_timeout(Some(IDLE)));
        if ready.is_err() {
            return Next::Drop;
        }
        let mut first = true;
        loop {
            let next = match self.reader.request() {
                Ok(request) => self.handle(&request, first),
                Err(Unread::Gone) => return Next::Close,
                Err(Unread::Refused { status, error_code, message, head }) => {
                    return self.refuse(status, error_code, message, head);
                }
            };
            if !matches!(next, Next::Keep) {
                return next;
            }
            first = false;
        }
    }

    fn handle(&mut self, request: &Request, first: bool) -> Next {
        let path = request.path();
        let below = self.shared.below_prefix(path);
        // The control endpoint is at the root, and below the prefix so that the base URL leads to it as well.
        let control = [Some(path), below].into_iter().flatten().find_map(control::path);
        if let Some(control) = control {
            if first {
                self.leave_count();
            }
            let answer = control::answer(&self.shared, request, control);
            return self.write(&answer.bytes(&request.method, request.last()), request);
        }
        let shared = self.shared.clone();
        let number = self.number;
        Exchange::received(&shared, self, number, request).answer()
    }

    fn leave_count(&mut self) {
        self.controls = true;
        let connections = &mut self.shared.state().connections;
        connections.accepted = connections.accepted.saturating_sub(1);
        connections.open = connections.open.saturating_sub(1);
    }

    fn write(&mut self, bytes: &[u8], request: &Request) -> Next {
        match (self.send(bytes), request.last()) {
            (false, _) => Next::Drop,
            (true, true) => Next::Close,
            (true, false) => Next::Keep,
        }
    }

    /// Answers a request that could not be read to its end.
    fn refuse(&mut self, status: u16, error_code: &str, message: String, head: Option<Box<Request>>) -> Next {
        if let Some(head) = head {
            let place = self.shared.below_prefix(head.path()).and_then(place);
            let mut state = self.shared.state();
            let number = state.receive(&head, place.as_ref(), self.number);
            state.answered(number, Some(status));
        }
        let correlation_id = Uuid::new_v4().to_string();
        let answer = error_answer(status, error_code, &[message], &correlation_id)
            .headers(self.shared.signature(&correlation_id));
        if !self.send(&answer.bytes("", true)) {
            return Next::Drop;
        }
        self.drain();
        Next::Close
    }

    fn drain(&mut self) {
        let tcp = self.reader.stream.tcp();
        if tcp.shutdown(Shutdown::Write).is_err() || tcp.set_read_timeout(Some(LOOK)).is_err() {
            return;
        }
        let end = Instant::now() + DRAIN_TIME;
        let mut left = DRAIN_BYTES;
        let mut waste = [0; 16 * 1024];
        while left > 0 && Instant::now() < end && !self.shared.stopping() {
            match self.reader.stream.tcp().read(&mut waste) {
                Ok(0) => return,
                Ok(count) => left = left.saturating_sub(count),
                Err(error) if is_silence(&error) => {}
                Err(_) => return,
            }
        }
    }

    fn end(&mut self, next: Next) {
        let stream = &mut self.reader.stream;
        match next {
            Next::Keep | Next::Drop => {}
            Next::Close => {
                if let Stream::Tls(tls) = stream {
                    tls.conn.send_close_notify();
                    // Not `flush`, which first waits for a handshake that may have failed. The client may be gone,
                    // which is an end as well.
                    while tls.conn.wants_write() && tls.conn.write_tls(&mut tls.sock).is_ok() {}
                }
            }
            Next::Reset => {
                self.shared.wait(BEFORE_RESET);
                // A socket that refuses this option is broken, and ends with an error anyway.
                let _ = SockRef::from(stream.tcp()).set_linger(Some(Duration::ZERO));
            }
        }
    }
}

impl Wire for Connection {
    fn send(&mut self, bytes: &[u8]) -> bool {
        let stream = &mut self.reader.stream;
        stream.write_all(bytes).and_then(|()| stream.flush()).is_ok()
    }

    fn wait(&mut self, time: Duration) -> bool {
        self.shared.wait(time)
    }

    fn stall(&mut self, limit: Option<Duration>) {
        let end = limit.map(|limit| Instant::now() + limit);
        if self.reader.stream.tcp().set_read_timeout(Some(LOOK)).is_err() {
            return;
        }
        while !self.shared.stopping() && end.is_none_or(|end| Instant::now() < end) {
            // Bytes of a next request are kept for later, within bounds.
            if self.reader.waiting() > DRAIN_BYTES {
                self.shared.wait(LOOK);
                continue;
            }
            match self.reader.fill() {
                Ok(true) => {}
                Err(error) if is_silence(&error) => {}
                Ok(false) | Err(_) => return,
            }
        }
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
