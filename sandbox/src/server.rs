//! Sockets: accepting, reading requests, and answering them well or badly.

use crate::control;
use crate::fault::{Created, Fault, Raw, Status, Then, When, seconds};
use crate::http::{Answer, Reader, Request, Unread, percent_encode};
use crate::klarna::{Place, error_answer, place, usual_error_code};
use crate::state::{Admission, Outcome, Shared};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use socket2::SockRef;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// A connection on which nothing happens for so long is closed.
const IDLE: Duration = Duration::from_secs(60);
/// How often a stalled connection is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Lets bytes arrive before the reset behind them makes the receiver's system drop them.
const BEFORE_RESET: Duration = Duration::from_millis(20);
/// What is read and thrown away behind a request that was refused half-read, since closing over unread bytes is a
/// reset that can overtake the answer.
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

/// What becomes of a connection.
#[derive(Clone, Copy)]
enum Next {
    Keep,
    /// An announced end.
    Close,
    /// An end without a word, not even TLS's.
    Drop,
    Reset,
}

/// Accepts connections until the sandbox stops, then ends them all and returns.
pub(crate) fn accept(listener: &TcpListener, shared: &Arc<Shared>, tls: Option<&Arc<ServerConfig>>) {
    let mut running: Vec<(Weak<TcpStream>, JoinHandle<()>)> = Vec::new();
    let mut number = 0;
    while !shared.stopping() {
        let Ok((socket, _)) = listener.accept() else {
            // Out of descriptors, say: others have to end first.
            shared.wait(LOOK);
            continue;
        };
        if shared.stopping() {
            break;
        }
        running.retain(|(_, thread)| !thread.is_finished());
        let socket = Arc::new(socket);
        let weak = Arc::downgrade(&socket);
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
            running.push((weak, thread));
        }
    }
    for (socket, _) in &running {
        if let Some(socket) = socket.upgrade() {
            // It may be gone already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
    for (_, thread) in running {
        // A panic in it has been reported by its thread.
        let _ = thread.join();
    }
}

struct Connection {
    shared: Arc<Shared>,
    reader: Reader<Stream>,
    number: u64,
    /// Its first request went to the control endpoint, so it is nobody's business.
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
        let place = below.and_then(place);
        let (number, fault) = {
            let mut state = self.shared.state();
            let number = state.receive(request, place.as_ref(), self.number);
            (number, state.strike(number))
        };
        Exchange { connection: self, request, place, number, correlation_id: Uuid::new_v4().to_string() }.answer(fault)
    }

    fn leave_count(&mut self) {
        self.controls = true;
        let connections = &mut self.shared.state().connections;
        connections.accepted = connections.accepted.saturating_sub(1);
        connections.open = connections.open.saturating_sub(1);
    }

    fn send(&mut self, bytes: &[u8]) -> bool {
        let stream = &mut self.reader.stream;
        stream.write_all(bytes).and_then(|()| stream.flush()).is_ok()
    }

    fn write(&mut self, bytes: &[u8], request: &Request) -> Next {
        match (self.send(bytes), request.last()) {
            (false, _) => Next::Drop,
            (true, true) => Next::Close,
            (true, false) => Next::Keep,
        }
    }

    /// Answers what could not be read to its end.
    fn refuse(&mut self, status: u16, error_code: &str, message: String, head: Option<Box<Request>>) -> Next {
        if let Some(head) = head {
            let place = self.shared.below_prefix(head.path()).and_then(place);
            let mut state = self.shared.state();
            let number = state.receive(&head, place.as_ref(), self.number);
            state.answered(number, Some(status));
        }
        let correlation_id = Uuid::new_v4().to_string();
        let answer = error_answer(status, error_code, &[message], &correlation_id)
            .header("Klarna-Correlation-Id", correlation_id);
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

    /// Stays silent until the client leaves, the time is over or the sandbox stops.
    fn stall(&mut self, limit: Option<Duration>) {
        let end = limit.map(|limit| Instant::now() + limit);
        if self.reader.stream.tcp().set_read_timeout(Some(LOOK)).is_err() {
            return;
        }
        while !self.shared.stopping() && end.is_none_or(|end| Instant::now() < end) {
            // Bytes of a next request are kept out of the way, within bounds.
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
                // A socket that refuses this is broken, and its end no orderly one either.
                let _ = SockRef::from(stream.tcp()).set_linger(Some(Duration::ZERO));
            }
        }
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// One request and its answer.
struct Exchange<'a> {
    connection: &'a mut Connection,
    request: &'a Request,
    place: Option<Place>,
    number: u64,
    correlation_id: String,
}

impl Exchange<'_> {
    fn answer(&mut self, fault: Option<Fault>) -> Next {
        let Some(fault) = fault else {
            let outcome = self.commit();
            return self.send(&outcome.answer);
        };
        match fault {
            Fault::LostAnswer => {
                self.commit();
                Next::Drop
            }
            Fault::ResetBeforeCommit => Next::Reset,
            Fault::ResetAfterCommit => {
                self.commit();
                Next::Reset
            }
            Fault::CloseBeforeCommit => Next::Drop,
            Fault::ResetMidAnswer { after_bytes } => self.part(after_bytes, Next::Reset),
            Fault::CloseMidAnswer { after_bytes } => self.part(after_bytes, Next::Drop),
            Fault::CutBody { status, when } => self.cut_body(status, when),
            Fault::Delay { seconds: time, when } => self.delay(seconds(time), when),
            Fault::Stall { seconds: time, when } => {
                self.stall(time.map(seconds), when);
                Next::Drop
            }
            Fault::TooManyRequests { retry_after, ratelimit_reset } => {
                let message = "the quota of this second is used up".into();
                let mut answer = self
                    .error(429, None, vec![message])
                    .header("X-Ratelimit-Limit", "200, 200;w=1")
                    .header("X-Ratelimit-Remaining", "0");
                for (name, value) in [("Retry-After", retry_after), ("X-Ratelimit-Reset", ratelimit_reset)] {
                    if let Some(value) = value {
                        answer = answer.header(name, value);
                    }
                }
                self.send(&answer)
            }
            Fault::Status(status) => self.status(status),
            Fault::CreatedWithoutId => {
                self.created(Created { capture_id_header: None, location: None, headers: Vec::new() })
            }
            Fault::Created(created) => self.created(created),
            Fault::Raw(raw) => self.raw(raw),
            Fault::Leftover { text } => {
                let outcome = self.commit();
                let mut bytes = outcome.answer.bytes(&self.request.method, false);
                bytes.extend(self.fill_in(&text, outcome.capture_id.as_deref()).bytes());
                self.put(&bytes, outcome.answer.status, Next::Keep)
            }
            Fault::CloseIdle => {
                let outcome = self.commit();
                let bytes = outcome.answer.bytes(&self.request.method, false);
                self.put(&bytes, outcome.answer.status, Next::Drop)
            }
        }
    }

    fn admit(&self) -> Admission {
        let Self { request, correlation_id, .. } = self;
        self.connection.shared.admit(request, self.place.as_ref(), correlation_id)
    }

    fn settle(&self, admission: Admission) -> Outcome {
        self.connection.shared.settle(admission, self.request, self.place.as_ref(), self.number, &self.correlation_id)
    }

    fn commit(&self) -> Outcome {
        self.settle(self.admit())
    }

    fn commit_if(&self, when: When) -> Option<Outcome> {
        (when == When::AfterCommit).then(|| self.commit())
    }

    /// Writes an answer and then does as the client asked.
    fn send(&mut self, answer: &Answer) -> Next {
        let last = self.request.last();
        let bytes = answer.bytes(&self.request.method, last);
        let next = if last { Next::Close } else { Next::Keep };
        self.put(&bytes, answer.status, next)
    }

    /// Notes the status, then writes: whoever has the answer finds it in the record.
    fn put(&mut self, bytes: &[u8], status: u16, next: Next) -> Next {
        self.note(Some(status));
        if self.connection.send(bytes) { next } else { Next::Drop }
    }

    fn note(&self, status: Option<u16>) {
        let shared = &self.connection.shared;
        shared.state().answered(self.number, status);
    }

    fn part(&mut self, after_bytes: Option<usize>, next: Next) -> Next {
        let answer = self.commit().answer;
        let bytes = answer.bytes(&self.request.method, self.request.last());
        let half = (bytes.len() - answer.body.len()) / 2;
        let count = after_bytes.unwrap_or(half).min(bytes.len());
        if count == 0 {
            return next;
        }
        self.put(&bytes[..count], answer.status, next)
    }

    fn cut_body(&mut self, status: Option<u16>, when: Option<When>) -> Next {
        let success = status.is_none_or(|status| (200..300).contains(&status));
        let usual = if success { When::AfterCommit } else { When::BeforeCommit };
        let outcome = self.commit_if(when.unwrap_or(usual));
        let answer = match (outcome, status) {
            (Some(outcome), _) if success => {
                let mut answer = outcome.answer;
                if let (Some(status), 200..=299) = (status, answer.status) {
                    answer.status = status;
                }
                answer
            }
            (_, Some(status)) if !success => self.error(status, None, Vec::new()),
            (_, status) => Answer::new(status.unwrap_or(200)),
        };
        let promised = answer.body.len() + 100;
        let answer = answer.header("Content-Length", promised.to_string());
        let bytes = answer.bytes(&self.request.method, self.request.last());
        self.put(&bytes, answer.status, Next::Drop)
    }

    fn delay(&mut self, time: Duration, when: When) -> Next {
        let outcome = match when {
            When::BeforeCommit => {
                let admission = self.admit();
                if !self.connection.shared.wait(time) {
                    self.connection.shared.abandon(admission);
                    return Next::Drop;
                }
                self.settle(admission)
            }
            When::AfterCommit => {
                let outcome = self.commit();
                if !self.connection.shared.wait(time) {
                    return Next::Drop;
                }
                outcome
            }
        };
        self.send(&outcome.answer)
    }

    /// Before the commit not even the key is taken: a client that gives up and repeats the request at once must not
    /// race with our noticing that it left.
    fn stall(&mut self, limit: Option<Duration>, when: When) {
        self.commit_if(when);
        self.connection.stall(limit);
    }

    fn error(&self, status: u16, error_code: Option<&str>, messages: Vec<String>) -> Answer {
        let error_code = error_code.unwrap_or_else(|| usual_error_code(status));
        error_answer(status, error_code, &messages, &self.correlation_id)
            .header("Klarna-Correlation-Id", &*self.correlation_id)
    }

    fn status(&mut self, canned: Status) -> Next {
        let outcome = self.commit_if(canned.when);
        let capture_id = outcome.and_then(|outcome| outcome.capture_id);
        let id = Some(capture_id.unwrap_or_else(|| Uuid::new_v4().to_string()));
        let status = canned.status;
        let answer = if canned.html {
            Answer::new(status).html(status)
        } else if let Some(body) = &canned.body {
            let body = self.fill_in(body, id.as_deref());
            let content_type = match body.trim_start().chars().next() {
                Some('{' | '[') => "application/json",
                _ => "text/plain",
            };
            Answer::new(status).body(content_type, body)
        } else if (400..600).contains(&status) || canned.error_code.is_some() || canned.error_messages.is_some() {
            let messages = canned.error_messages.unwrap_or_default();
            self.error(status, canned.error_code.as_deref(), messages)
        } else {
            Answer::new(status).header("Klarna-Correlation-Id", &*self.correlation_id)
        };
        let answer = self.with_headers(answer, &canned.headers, id.as_deref());
        self.send(&answer)
    }

    fn created(&mut self, created: Created) -> Next {
        let outcome = self.commit();
        let Some(id) = outcome.capture_id.as_deref() else {
            return self.send(&outcome.answer);
        };
        let mut answer = outcome.answer.clone();
        answer.headers.retain(|(name, _)| name != "Capture-Id" && name != "Location");
        if let Some(name) = &created.capture_id_header {
            answer = answer.header(name, id);
        }
        if let Some(location) = &created.location {
            answer = answer.header("Location", self.fill_in(location, Some(id)));
        }
        let answer = self.with_headers(answer, &created.headers, Some(id));
        self.send(&answer)
    }

    fn raw(&mut self, raw: Raw) -> Next {
        let outcome = self.commit_if(raw.when);
        let capture_id = outcome.and_then(|outcome| outcome.capture_id);
        let bytes = match (&raw.text, &raw.base64) {
            (Some(text), _) => self.fill_in(text, capture_id.as_deref()).into_bytes(),
            // The fault was checked when it was planned.
            (None, base64) => base64.as_ref().and_then(|base64| STANDARD.decode(base64).ok()).unwrap_or_default(),
        };
        let status = bytes
            .get(9..12)
            .filter(|_| bytes.starts_with(b"HTTP/1."))
            .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        self.note(status);
        let sent = match raw.chunk_delay_ms {
            None => self.connection.send(&bytes),
            Some(pause) => bytes.iter().all(|byte| {
                let pause = Duration::from_millis(pause);
                self.connection.send(&[*byte]) && self.connection.shared.wait(pause)
            }),
        };
        if !sent {
            return Next::Drop;
        }
        match raw.then {
            Then::Close => Next::Close,
            Then::Reset => Next::Reset,
            Then::Keep => Next::Keep,
            Then::Stall => {
                self.connection.stall(None);
                Next::Drop
            }
        }
    }

    /// Adds a fault's headers. Those about the body's framing and type replace ours.
    fn with_headers(&self, mut answer: Answer, headers: &[(String, String)], capture_id: Option<&str>) -> Answer {
        let ours = |name: &str| {
            name.eq_ignore_ascii_case("content-type") && headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name))
        };
        answer.headers.retain(|(name, _)| !ours(name));
        for (name, value) in headers {
            answer = answer.header(name, self.fill_in(value, capture_id));
        }
        answer
    }

    /// Substitutes what a fault's text leaves open. Without a capture its id is made up.
    fn fill_in(&self, text: &str, capture_id: Option<&str>) -> String {
        let place = self.place.as_ref();
        let segment = place.map_or(String::new(), |place| percent_encode(&place.order_id));
        let text = text.replace("{base}", &self.connection.shared.base).replace("{order_id}", &segment);
        match capture_id {
            Some(id) => text.replace("{capture_id}", id),
            None => text.replace("{capture_id}", &Uuid::new_v4().to_string()),
        }
    }
}
