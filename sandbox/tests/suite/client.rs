//! A HTTP client with nothing between the test and the socket.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// `Basic sandbox:sandbox`.
pub const CREDENTIALS: &str = "Authorization: Basic c2FuZGJveDpzYW5kYm94";

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (n, value) = line.split_once(": ")?;
            n.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    #[track_caller]
    pub fn id(&self) -> &str {
        assert_eq!(self.status, 201, "{self:?}");
        self.header("Capture-Id").expect("no Capture-Id")
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.header("Content-Type"), Some("application/json"));
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Status and `error_code`, once the rest of the error object is seen to be in order.
    #[track_caller]
    pub fn error(&self) -> (u16, String) {
        let body = self.json();
        let members: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["correlation_id", "error_code", "error_messages"]);
        assert_eq!(body["correlation_id"].as_str(), self.header("Klarna-Correlation-Id"));
        assert!(body["error_messages"].is_array());
        (self.status, body["error_code"].as_str().unwrap().into())
    }
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Closed,
    Reset,
}

pub trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

pub struct Client {
    wire: Box<dyn Wire>,
    /// The value of `Host`.
    pub host: String,
    ahead: Vec<u8>,
}

pub fn tcp(url: &str) -> TcpStream {
    let (_, rest) = url.split_once("://").unwrap();
    let stream = TcpStream::connect(rest.split('/').next().unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

impl Client {
    pub fn connect(url: &str) -> Self {
        let host = url.split('/').nth(2).unwrap();
        Self { host: host.into(), ..Self::over(tcp(url)) }
    }

    pub fn over(wire: impl Wire + 'static) -> Self {
        Self { wire: Box::new(wire), host: "localhost".into(), ahead: Vec::new() }
    }

    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.write_all(bytes.as_ref()).unwrap();
        self.wire.flush().unwrap();
    }

    /// Sends a request with these header lines and, unless it is empty, a body.
    pub fn send(&mut self, line: &str, headers: &[&str], body: &str) {
        let mut head = format!("{line} HTTP/1.1\r\nHost: {}\r\n", self.host);
        for header in headers {
            head += &format!("{header}\r\n");
        }
        if !body.is_empty() {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        self.write(format!("{head}\r\n{body}"));
    }

    pub fn send_capture(&mut self, key: &str, body: &str) {
        let key = format!("Klarna-Idempotency-Key: {key}");
        let line = format!("POST {}", super::CAPTURES);
        self.send(&line, &[CREDENTIALS, "Content-Type: application/json", &key], body);
    }

    #[track_caller]
    pub fn capture(&mut self, key: &str, body: &str) -> Reply {
        self.send_capture(key, body);
        self.reply()
    }

    #[track_caller]
    pub fn get(&mut self, target: &str) -> Reply {
        self.send(&format!("GET {target}"), &[CREDENTIALS], "");
        self.reply()
    }

    /// Sends a write on the order `o` with a key.
    pub fn send_call(&mut self, line: &str, key: &str, body: &str) {
        let (method, path) = line.split_once(' ').unwrap();
        let key = format!("Klarna-Idempotency-Key: {key}");
        let line = format!("{method} /ordermanagement/v1/orders/o/{path}");
        self.send(&line, &[CREDENTIALS, "Content-Type: application/json", &key], body);
    }

    #[track_caller]
    pub fn call(&mut self, line: &str, key: &str, body: &str) -> Reply {
        self.send_call(line, key, body);
        self.reply()
    }

    /// A request to the control endpoint.
    #[track_caller]
    pub fn control(&mut self, line: &str, body: &str) -> Reply {
        self.send(line, &[], body);
        self.reply()
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 4096];
        let count = loop {
            // A process that was paused and goes on interrupts a read that has a time limit.
            match self.wire.read(&mut chunk) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.ahead.extend_from_slice(&chunk[..count]);
        Ok(count)
    }

    #[track_caller]
    pub fn reply(&mut self) -> Reply {
        let split = loop {
            if let Some(at) = self.ahead.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            assert_ne!(self.fill().unwrap(), 0, "the connection ended: {:?}", self.ahead);
        };
        let head = String::from_utf8(self.ahead.drain(..split).collect()).unwrap();
        let mut reply = Reply { status: head[9..12].parse().unwrap(), head, body: String::new() };
        let length = reply.header("Content-Length").map_or(0, |l| l.parse().unwrap());
        while self.ahead.len() < length {
            assert_ne!(self.fill().unwrap(), 0, "the body ended: {reply:?}");
        }
        reply.body = String::from_utf8(self.ahead.drain(..length).collect()).unwrap();
        reply
    }

    /// Everything up to the end of the connection, and how it ended.
    #[track_caller]
    pub fn rest(&mut self) -> (String, End) {
        let (bytes, end) = self.rest_bytes();
        (String::from_utf8(bytes).unwrap(), end)
    }

    #[track_caller]
    pub fn rest_bytes(&mut self) -> (Vec<u8>, End) {
        let end = loop {
            match self.fill() {
                Ok(0) => break End::Closed,
                Ok(_) => {}
                // rustls reports an end without `close_notify` in this way.
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => break End::Closed,
                Err(e) if e.kind() == ErrorKind::ConnectionReset => break End::Reset,
                Err(e) => panic!("neither closed nor reset: {e}"),
            }
        };
        (std::mem::take(&mut self.ahead), end)
    }

    /// Whether nothing comes for a while on a connection that stays open. The wire must time out.
    pub fn is_silent(&mut self) -> bool {
        match self.fill() {
            Err(e) => matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            Ok(_) => false,
        }
    }
}
