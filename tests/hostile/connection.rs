//! A connection of the hostile server, played step by step.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use rustls::{ServerConnection, StreamOwned};
use socket2::SockRef;
use takings_sandbox::Received;

use super::script::{Amount, Pieces, Step};
use super::{Shared, certificates, pump};

/// The longest wait for a client that reads nothing.
const PATIENCE: Duration = Duration::from_secs(20);

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
    /// No transport, while one replaces the other.
    Gone,
}

impl Stream {
    fn tcp(&self) -> io::Result<&TcpStream> {
        match self {
            Stream::Plain(tcp) => Ok(tcp),
            Stream::Tls(tls) => Ok(&tls.sock),
            Stream::Gone => Err(ErrorKind::NotConnected.into()),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Plain(tcp) => tcp.write_all(bytes),
            Stream::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
            Stream::Gone => Err(ErrorKind::NotConnected.into()),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.read(buffer),
            Stream::Tls(tls) => tls.read(buffer),
            Stream::Gone => Ok(0),
        }
    }
}

pub(crate) struct Connection<'a> {
    shared: &'a Shared,
    stream: Stream,
    number: usize,
    is_proxy: bool,
    /// Bytes that were read and not yet used.
    waiting: Vec<u8>,
    request: Option<Received>,
    answer: Vec<u8>,
    /// Whether closing it is to be a reset.
    pub is_reset: bool,
}

impl Connection<'_> {
    pub fn new(shared: &Shared, tcp: TcpStream, number: usize, is_proxy: bool) -> Connection<'_> {
        // A socket that refuses these still serves.
        let _ = tcp.set_nodelay(true);
        let _ = tcp.set_read_timeout(Some(PATIENCE));
        let _ = tcp.set_write_timeout(Some(PATIENCE));
        let stream = Stream::Plain(tcp);
        Connection {
            shared,
            stream,
            number,
            is_proxy,
            waiting: Vec::new(),
            request: None,
            answer: Vec::new(),
            is_reset: false,
        }
    }

    pub fn play(&mut self, steps: &[Step]) -> io::Result<()> {
        steps.iter().try_for_each(|step| self.step(step))
    }

    fn step(&mut self, step: &Step) -> io::Result<()> {
        match step {
            Step::Handshake(kind) => self.handshake(*kind),
            Step::Read(Amount::Byte) => {
                if self.waiting.is_empty() && !self.fill()? {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                Ok(())
            }
            Step::Read(Amount::Head) => self.head().map(drop),
            Step::Read(Amount::Request) => self.read_request(),
            Step::Forward => self.forward(),
            Step::Answer => {
                let answer = std::mem::take(&mut self.answer);
                self.stream.write(&answer)
            }
            Step::Send(text) => self.stream.write(&self.bytes(text)),
            Step::Trickle { text, pause_ms } => self.bytes(text).iter().try_for_each(|byte| {
                self.stream.write(&[*byte])?;
                self.pause(*pause_ms)
            }),
            Step::Flood { text, pause_ms } => {
                let mut bytes = self.bytes(text);
                if *pause_ms == 0 {
                    bytes = bytes.repeat(1 + 65_536 / bytes.len());
                }
                loop {
                    self.stream.write(&bytes)?;
                    self.pause(*pause_ms)?;
                }
            }
            Step::WaitMs(pause) => self.pause(*pause),
            Step::HalfClose => {
                if let Stream::Tls(tls) = &mut self.stream {
                    tls.conn.send_close_notify();
                    tls.flush()?;
                }
                self.stream.tcp()?.shutdown(Shutdown::Write)
            }
            Step::Close => {
                if let Stream::Tls(tls) = &mut self.stream {
                    tls.conn.send_close_notify();
                    tls.flush()?;
                }
                self.end()
            }
            Step::Drop => self.end(),
            Step::Reset => {
                SockRef::from(self.stream.tcp()?).set_linger(Some(Duration::ZERO))?;
                let own = self.stream.tcp()?.peer_addr()?;
                self.shared.open().retain(|socket| socket.peer_addr().is_ok_and(|peer| peer != own));
                self.is_reset = true;
                Err(ErrorKind::ConnectionReset.into())
            }
            Step::Stall => {
                while self.fill()? {
                    self.waiting.clear();
                }
                Ok(())
            }
            Step::Deaf => loop {
                self.pause(1000)?;
            },
            Step::Forever(steps) => loop {
                self.play(steps)?;
            },
            Step::Relay => loop {
                self.step(&Step::Read(Amount::Request))?;
                self.step(&Step::Forward)?;
                self.step(&Step::Answer)?;
            },
            Step::Tunnel => self.tunnel(),
        }
    }

    fn end(&mut self) -> io::Result<()> {
        self.stream.tcp()?.shutdown(Shutdown::Both)?;
        Err(ErrorKind::NotConnected.into())
    }

    fn pause(&self, milliseconds: u64) -> io::Result<()> {
        for _ in 0..milliseconds / 20 {
            thread::sleep(Duration::from_millis(20));
            if self.shared.stopping() {
                return Err(ErrorKind::Interrupted.into());
            }
        }
        thread::sleep(Duration::from_millis(milliseconds % 20));
        Ok(())
    }

    fn handshake(&mut self, kind: certificates::Kind) -> io::Result<()> {
        let tls = ServerConnection::new(certificates::settings(kind)).map_err(io::Error::other)?;
        if let Stream::Plain(tcp) = std::mem::replace(&mut self.stream, Stream::Gone) {
            let mut tls = StreamOwned::new(tls, tcp);
            let done = tls.conn.complete_io(&mut tls.sock).map(drop);
            self.stream = Stream::Tls(Box::new(tls));
            return done;
        }
        Ok(())
    }

    /// Reads once, and gives whether more bytes came.
    fn fill(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let count = loop {
            // A process that was paused and goes on interrupts a read that has a time limit.
            match self.stream.read(&mut buffer) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.waiting.extend_from_slice(&buffer[..count]);
        Ok(count > 0)
    }

    /// Reads the next head, which stays in `waiting`, and gives its length.
    fn head(&mut self) -> io::Result<usize> {
        loop {
            if let Some(end) = self.waiting.windows(4).position(|window| window == b"\r\n\r\n") {
                if self.is_proxy {
                    let head = String::from_utf8_lossy(&self.waiting[..end]).into_owned();
                    self.shared.seen().proxied.push(head);
                }
                return Ok(end + 4);
            }
            if !self.fill()? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn read_request(&mut self) -> io::Result<()> {
        let head_length = self.head()?;
        let head: String = self.waiting[..head_length].iter().copied().map(char::from).collect();
        let mut lines = head.trim_end().split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
        let mut word = || words.next().unwrap_or_default();
        let (method, target, version) = (word(), word(), word());
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length: usize = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
        while self.waiting.len() < head_length + length {
            if !self.fill()? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        let rest = self.waiting.split_off(head_length + length);
        let body = std::mem::replace(&mut self.waiting, rest).split_off(head_length);
        let mut seen = self.shared.seen();
        let request = Received {
            number: seen.requests.len() as u64 + 1,
            order_id: None,
            order_request: None,
            method,
            target,
            version,
            headers,
            body,
            connection: self.number as u64,
            committed: false,
            fault: None,
            answered_status: None,
        };
        seen.requests.push(request.clone());
        self.request = Some(request);
        Ok(())
    }

    /// Hands the request to the sandbox over a new connection, whose end is the answer's end. The answer's header about
    /// that connection is removed.
    fn forward(&mut self) -> io::Result<()> {
        let Some(request) = &self.request else { return Err(io::Error::other("nothing was read to forward")) };
        let mut bytes = format!("{} {} {}\r\n", request.method, request.target, request.version);
        for (name, value) in &request.headers {
            bytes.push_str(&format!("{name}: {value}\r\n"));
        }
        bytes.push_str("Connection: close\r\n\r\n");
        let mut sandbox = TcpStream::connect(self.shared.sandbox)?;
        sandbox.write_all(bytes.as_bytes())?;
        sandbox.write_all(&request.body)?;
        self.answer.clear();
        sandbox.read_to_end(&mut self.answer)?;
        let close = b"connection: close\r\n";
        if let Some(at) = self.answer.windows(close.len()).position(|window| window.eq_ignore_ascii_case(close)) {
            self.answer.drain(at..at + close.len());
        }
        Ok(())
    }

    fn tunnel(&mut self) -> io::Result<()> {
        let length = self.head()?;
        self.waiting.drain(..length);
        self.stream.write(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
        let server = TcpStream::connect(self.shared.server)?;
        let client = self.stream.tcp()?;
        let (up, down) = ((client.try_clone()?, server.try_clone()?), (server, client.try_clone()?));
        let up = thread::spawn(move || pump(up.0, up.1));
        pump(down.0, down.1);
        up.join().map_err(|_| io::Error::other("the pump broke"))
    }

    fn bytes(&self, text: &Pieces) -> Vec<u8> {
        let request = self.request.as_ref();
        let header = |name: &str| {
            let headers = request.into_iter().flat_map(|request| &request.headers);
            headers.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value.as_str())
        };
        let segment = request.and_then(|request| request.target.split('/').nth(4)).unwrap_or_default();
        let authorization = header("authorization");
        let answer = String::from_utf8_lossy(&self.answer);
        let capture_id = answer.lines().find_map(|line| line.strip_prefix("Capture-Id: ")).unwrap_or("made-up");
        text.bytes(|text| {
            text.replace("{authorization}", authorization)
                .replace("{token}", authorization.trim_start_matches("Basic "))
                .replace("{key}", header("klarna-idempotency-key"))
                .replace("{order_id}", segment)
                .replace("{number}", &request.map_or(0, |request| request.number).to_string())
                .replace("{capture_id}", capture_id)
                .replace("{elsewhere}", &self.shared.elsewhere())
        })
    }
}
