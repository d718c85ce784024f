//! HTTP/1.1 for hosts that have bytes alone: a request becomes bytes, and bytes become an answer. This file has neither
//! a socket nor a clock.

use std::fmt;
use std::mem;
use std::ops::{Deref, Range};

use zeroize::{Zeroize as _, Zeroizing};

use crate::wire::answer::Answer;
use crate::wire::{HttpRequest, Most};

/// The most bytes of heads of one answer, those of interim answers (1xx) among them.
const MOST_HEADS: usize = 64 * 1024;

/// The most headers of one head.
const MOST_HEADERS: usize = 100;

/// The longest line before a chunk. A usual one has a dozen bytes; the rest is for extensions, which are passed over.
const MOST_CHUNK_LINE: usize = 256;

/// The only beginning of an answer. Other protocols are known by it before their first line ends.
const BEGINNING: &[u8] = b"HTTP/1.";

/// A request over a connection, and its answer. The host connects, sends the bytes of [`begin`](Http1::begin),
/// hands in all bytes that it receives, and says when there are no more.
pub struct Http1 {
    most: Most,
    part: Part,
    /// The bytes of a head or a line that is not complete yet.
    held: Vec<u8>,
    /// How many bytes may still come: of heads, then of the body.
    room: usize,
    answer: Option<Answer>,
    keeps_open: bool,
    nonsense: Option<&'static str>,
}

/// The part of an answer that comes next.
#[derive(Clone, Copy)]
enum Part {
    Head,
    /// A body, of which so many bytes are missing.
    Sized(usize),
    UntilClosed,
    ChunkLine,
    Chunk(usize),
    ChunkEnd,
    /// The line behind the last chunk, where trailers would begin. Trailers are left unread.
    LastLine,
    Over {
        /// The answer is complete, and no byte follows it.
        whole: bool,
    },
    /// The reader gave the body up before its end: it makes no sense, or is too long.
    Broken,
}

/// Shows none of the received bytes, which may hold customer data.
impl fmt::Debug for Http1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http1").field("answer", &self.answer).finish_non_exhaustive()
    }
}

impl Http1 {
    /// The exchange, and the bytes to send: head and body. They hold the credential, and are wiped when dropped.
    pub fn begin(request: &HttpRequest) -> (Http1, Zeroizing<Vec<u8>>) {
        (Http1::new(request), Zeroizing::new(mem::take(&mut Sent::new(request).bytes)))
    }

    /// The exchange alone.
    pub(crate) fn new(request: &HttpRequest) -> Http1 {
        Http1 {
            most: request.most_answer,
            part: Part::Head,
            held: Vec::new(),
            room: MOST_HEADS,
            answer: None,
            keeps_open: false,
            nonsense: None,
        }
    }

    /// Takes the bytes that were received, which may be none. Gives how many bytes at most to receive next, or `None`
    /// when no more are wanted.
    pub fn received(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match self.part {
                Part::Head => {
                    let rest = self.hold(rest);
                    self.head();
                    rest
                }
                Part::Sized(left) => {
                    let (taken, rest) = self.body(rest, left);
                    self.part = match left - taken {
                        0 => Part::Over { whole: true },
                        left => self.unless_full(Part::Sized(left)),
                    };
                    rest
                }
                Part::UntilClosed => {
                    let (_, rest) = self.body(rest, usize::MAX);
                    self.part = self.unless_full(Part::UntilClosed);
                    rest
                }
                Part::Chunk(left) => {
                    let (taken, rest) = self.body(rest, left);
                    self.part = match left - taken {
                        0 => Part::ChunkEnd,
                        left => self.unless_full(Part::Chunk(left)),
                    };
                    rest
                }
                // The common case is taken without copying, since an answer may consist of tiny chunks.
                Part::ChunkEnd if self.held.is_empty() && rest.starts_with(b"\r\n") => {
                    self.part = Part::ChunkLine;
                    &rest[2..]
                }
                Part::ChunkLine | Part::ChunkEnd | Part::LastLine => {
                    let rest = self.hold(rest);
                    self.line();
                    rest
                }
                // A byte behind an answer belongs to nobody: the connection must not serve another request.
                Part::Over { .. } => {
                    self.part = Part::Over { whole: false };
                    &[]
                }
                Part::Broken => &[],
            };
        }
        match self.part {
            Part::Head => Some(self.room),
            Part::Sized(left) => Some(left.min(self.room)),
            Part::UntilClosed => Some(self.room),
            Part::ChunkLine | Part::Chunk(_) | Part::ChunkEnd | Part::LastLine => Some(self.room + MOST_CHUNK_LINE),
            Part::Over { .. } | Part::Broken => None,
        }
    }

    /// Whether the body that is being read lasts to the end of the connection.
    pub(crate) fn ends_with_connection(&self) -> bool {
        matches!(self.part, Part::UntilClosed)
    }

    /// Takes note that the connection did not end as it should: a body that lasts to the end is not whole.
    pub(crate) fn broke_off(&mut self) {
        if matches!(self.part, Part::UntilClosed) {
            self.part = Part::Broken;
        }
    }

    /// Whether the connection may serve another request: the answer came whole, with nothing behind it, and the server
    /// keeps the connection open. Otherwise the host has to close it.
    pub fn is_reusable(&self) -> bool {
        matches!(self.part, Part::Over { whole: true }) && self.keeps_open
    }

    /// The answer. Its body may be incomplete: the status alone decides.
    ///
    /// # Errors
    ///
    /// Without a whole head, the reason for that, for people: `why` (the connection's end, a time-out), or the reader's
    /// own. The request may have been carried out all the same.
    pub fn end(self, why: &str) -> Result<Answer, String> {
        let is_cut =
            matches!(self.part, Part::Sized(_) | Part::ChunkLine | Part::Chunk(_) | Part::ChunkEnd | Part::Broken);
        match (self.answer, self.nonsense) {
            (Some(mut answer), _) => {
                answer.is_cut = is_cut;
                Ok(answer)
            }
            (None, Some(what)) => Err(format!("the answer's head makes no sense: {what}")),
            (None, None) => Err(why.to_owned()),
        }
    }

    /// Keeps bytes up to the end of a line, or of a head that is whole, and gives the rest.
    fn hold<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let begins = matches!(self.part, Part::Head) && self.held.is_empty();
        let whole = if begins { end_of_head(bytes) } else { None };
        let line = || bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let end = whole.or_else(line).unwrap_or(bytes.len());
        let (line, rest) = bytes.split_at(end);
        self.held.extend_from_slice(line);
        if matches!(self.part, Part::Head) {
            let fits = line.len() <= self.room;
            self.room -= line.len().min(self.room);
            if !fits || self.room == 0 {
                self.refuse("it is too long");
            }
        } else if self.held.len() > MOST_CHUNK_LINE {
            self.part = Part::Broken;
        }
        rest
    }

    /// Adds at most `most` bytes to the body. Gives how many were added, and the rest.
    fn body<'a>(&mut self, bytes: &'a [u8], most: usize) -> (usize, &'a [u8]) {
        let taken = most.min(self.room).min(bytes.len());
        let (piece, rest) = bytes.split_at(taken);
        self.room -= taken;
        if let Some(answer) = &mut self.answer {
            answer.body.extend_from_slice(piece);
        }
        (taken, rest)
    }

    /// The next part, or the end once the body has as many bytes as the core reads.
    fn unless_full(&self, part: Part) -> Part {
        if self.room == 0 { Part::Broken } else { part }
    }

    fn refuse(&mut self, what: &'static str) {
        self.nonsense = self.nonsense.or(Some(what));
        self.part = Part::Over { whole: false };
    }

    /// Reads the head after each of its lines, so that nonsense is refused before its end.
    fn head(&mut self) {
        if self.held.iter().zip(BEGINNING).any(|(byte, expected)| byte != expected) {
            return self.refuse("it is not HTTP/1.1");
        }
        if !self.held.ends_with(b"\n") || self.nonsense.is_some() {
            return;
        }
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        match head.parse(&self.held) {
            Ok(httparse::Status::Partial) => return,
            Err(httparse::Error::TooManyHeaders) => return self.refuse("it has too many headers"),
            Err(_) => return self.refuse("it is not HTTP/1.1"),
            Ok(httparse::Status::Complete(_)) => {}
        }
        let (status, is_modern) = (head.code.unwrap_or_default(), head.version == Some(1));
        let headers = head.headers.iter().map(|header| (header.name, header.value));
        let answer = Answer::new(status, headers, Vec::new());
        self.held.clear();
        match status {
            100..200 if status != 101 => {}
            100.. => self.begin_body(answer, is_modern),
            _ => self.refuse("its status is none"),
        }
    }

    fn begin_body(&mut self, mut answer: Answer, is_modern: bool) {
        if let Some(what) = answer.nonsense() {
            return self.refuse(what);
        }
        let length = answer.length().ok().flatten();
        let coding: Vec<&[u8]> = answer.list("transfer-encoding").collect();
        // Another reader of the same bytes could find another end (RFC 9112, 6.3).
        if length.is_some() && !coding.is_empty() {
            return self.refuse("a Content-Length beside a Transfer-Encoding");
        }
        self.keeps_open = is_modern && !answer.list("connection").any(|word| word.eq_ignore_ascii_case(b"close"));
        self.room = self.most.of(answer.status);
        self.part = match (answer.status, length, &coding[..]) {
            (101, ..) => Part::Over { whole: false },
            (204 | 304, None | Some(0), []) | (_, Some(0), []) => Part::Over { whole: true },
            (204 | 304, ..) => Part::Over { whole: false },
            (_, Some(length), _) => Part::Sized(usize::try_from(length).unwrap_or(usize::MAX)),
            (_, None, []) => Part::UntilClosed,
            (_, None, [only]) if only.eq_ignore_ascii_case(b"chunked") && is_modern => Part::ChunkLine,
            // The request asked for no coding, so such a body cannot be read.
            (_, None, _) => Part::Broken,
        };
        answer.is_checked = true;
        self.answer = Some(answer);
    }

    /// Reads a line of a chunked body once it is whole. A body that makes no sense ends there: the status decides.
    fn line(&mut self) {
        if !self.held.ends_with(b"\n") {
            return;
        }
        self.part = match self.part {
            Part::ChunkLine => match httparse::parse_chunk_size(&self.held) {
                Ok(httparse::Status::Complete((_, 0))) if self.held[0] == b'0' => Part::LastLine,
                Ok(httparse::Status::Complete((_, size))) if size > 0 => {
                    self.unless_full(Part::Chunk(usize::try_from(size).unwrap_or(usize::MAX)))
                }
                _ => Part::Broken,
            },
            Part::ChunkEnd if self.held == b"\r\n" => Part::ChunkLine,
            Part::LastLine => Part::Over { whole: self.held == b"\r\n" },
            _ => Part::Broken,
        };
        self.held.clear();
    }
}

/// Where a head ends that begins here, if its blank line is among these bytes.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let mut end = 0;
    while let Some(line) = bytes[end..].iter().position(|byte| *byte == b'\n') {
        end += line + 1;
        match &bytes[end..] {
            [b'\n', ..] => return Some(end + 1),
            [b'\r', b'\n', ..] => return Some(end + 2),
            _ => {}
        }
    }
    None
}

/// A request as it is sent: the head, as every HTTP client would write it, and the body. The credential is wiped when this
/// is dropped.
pub(crate) struct Sent {
    bytes: Vec<u8>,
    credential: Range<usize>,
}

impl Deref for Sent {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if let Some(credential) = self.bytes.get_mut(self.credential.clone()) {
            credential.zeroize();
        }
    }
}

impl Sent {
    pub fn new(request: &HttpRequest) -> Sent {
        let headers: usize = request.headers().map(|(name, value)| name.len() + value.len() + 4).sum();
        let room = 96 + request.target().len() + request.host().len() + headers + request.body.len();
        // As one piece: a vector that grows leaves copies behind that nobody wipes.
        let mut bytes = Vec::with_capacity(room);
        fn add(bytes: &mut Vec<u8>, parts: &[&str]) {
            parts.iter().for_each(|part| bytes.extend_from_slice(part.as_bytes()));
        }
        add(&mut bytes, &[request.method(), " ", request.target(), " HTTP/1.1\r\nhost: ", request.host()]);
        let port = request.port();
        if port != if request.is_tls() { 443 } else { 80 } {
            add(&mut bytes, &[":", &port.to_string()]);
        }
        add(&mut bytes, &["\r\n"]);
        let mut credential = 0..0;
        for (name, value) in request.headers() {
            add(&mut bytes, &[name, ": ", value, "\r\n"]);
            if name == "authorization" {
                credential = bytes.len() - value.len() - 2..bytes.len() - 2;
            }
        }
        if request.method() != "GET" {
            add(&mut bytes, &["content-length: ", &request.body.len().to_string(), "\r\n"]);
        }
        add(&mut bytes, &["\r\n"]);
        bytes.extend_from_slice(request.body());
        debug_assert!(bytes.len() <= room, "the bytes moved");
        Sent { bytes, credential }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use http::Method;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::Endpoint;

    fn request(base: &str, method: Method, body: &str, most: Most) -> HttpRequest {
        let secret = |text: &str| Zeroizing::new(text.to_owned());
        let endpoint = Endpoint::new(base.parse().unwrap(), secret("Basic x"), "takings/0".into(), vec![secret("x")]);
        let key = (method == Method::POST).then_some("k");
        endpoint.request(&method, "/p", key, body.into(), most)
    }

    /// The reading of an answer that comes in these pieces: status and body, or the reason. Also whether the reader
    /// found the end by itself, and whether the connection is reusable.
    #[derive(Clone, Debug, PartialEq)]
    struct Read {
        answer: Result<(u16, Vec<u8>), String>,
        is_over: bool,
        is_reusable: bool,
    }

    fn read_of<'a>(most: Most, pieces: impl IntoIterator<Item = &'a [u8]>) -> Read {
        let (mut exchange, _) = Http1::begin(&request("https://x.example", Method::GET, "", most));
        let mut wanted = exchange.received(b"");
        for piece in pieces {
            wanted = exchange.received(piece);
            assert_ne!(wanted, Some(0), "a host that receives nothing would take it for the end");
        }
        let is_reusable = exchange.is_reusable();
        let answer = exchange.end("closed").map(|answer| (answer.status, answer.body));
        Read { answer, is_over: wanted.is_none(), is_reusable }
    }

    fn read(bytes: &[u8]) -> Read {
        read_of(Most::ERROR, [bytes])
    }

    #[test]
    fn a_request_is_the_bytes_of_its_parts() {
        let sent = |request: HttpRequest| String::from_utf8(Http1::begin(&request).1.to_vec()).unwrap();
        assert_eq!(
            sent(request("https://x.example/gw", Method::POST, "{}", Most::ERROR)),
            "POST /gw/p HTTP/1.1\r\nhost: x.example\r\nauthorization: Basic x\r\naccept: application/json\r\n\
             user-agent: takings/0\r\ncontent-type: application/json\r\nklarna-idempotency-key: k\r\n\
             content-length: 2\r\n\r\n{}"
        );
        assert_eq!(
            sent(request("http://[::1]:81", Method::GET, "", Most::DOCUMENT)),
            "GET /p HTTP/1.1\r\nhost: [::1]:81\r\nauthorization: Basic x\r\naccept: application/json\r\n\
             user-agent: takings/0\r\n\r\n"
        );
        assert!(sent(request("https://x.example", Method::POST, "", Most::ERROR)).contains("content-length: 0\r\n"));
    }

    /// Answers that end by themselves, each with its body and whether its connection is reusable.
    const WHOLE: [(&[u8], &[u8], bool); 16] = [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", b"ab", true),
        (b"HTTP/1.1 200\nX: \xff\tb\ncontent-length:2 , 2\n\nab", b"ab", true),
        (b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", b"", true),
        (b"HTTP/1.1 200 OK\r\nConnection: x, CLOSE\r\nContent-Length: 2\r\n\r\nab", b"ab", false),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nab", b"ab", false),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc", b"ab", false),
        (b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 103 X\r\nA: b\r\n\r\nHTTP/1.1 204 X\r\n\r\n", b"", true),
        (b"HTTP/1.1 204 X\r\nContent-Length: 1\r\n\r\n", b"", false),
        (b"HTTP/1.1 101 X\r\nUpgrade: x\r\n\r\n", b"", false),
        (
            b"HTTP/1.1 400 X\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n00A;x=y\r\n0123456789\r\n0\r\n\r\n",
            b"a0123456789",
            true,
        ),
        (b"HTTP/1.1 400 X\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nTrailer: x\r\n\r\n", b"a", false),
        (b"HTTP/1.1 400 X\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n", b"a", false),
        (b"HTTP/1.1 400 X\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n\r\n\r\n", b"a", false),
        (b"HTTP/1.1 400 X\r\nTransfer-Encoding: chunked\r\n\r\n2\nab\r\n", b"", false),
        (b"HTTP/1.1 400 X\r\nTransfer-Encoding: gzip, chunked\r\n\r\nab", b"", false),
        (b"HTTP/1.0 400 X\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", b"", false),
    ];

    #[test]
    fn an_answer_ends_by_itself() {
        for (bytes, body, is_reusable) in WHOLE {
            let read = read(bytes);
            assert_eq!(read.answer.map(|(_, body)| body).as_deref(), Ok(body), "{}", bytes.escape_ascii());
            assert_eq!((read.is_over, read.is_reusable), (true, is_reusable), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_body_that_breaks_off_leaves_what_came() {
        for (bytes, body) in [
            (&b"HTTP/1.1 400 X\r\nContent-Length: 3\r\n\r\nab"[..], &b"ab"[..]),
            (b"HTTP/1.1 400 X\r\n\r\nab", b"ab"),
            (b"HTTP/1.1 400 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", b"ab"),
            (b"HTTP/1.1 400 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n", b"ab"),
            (b"HTTP/1.1 400 X\r\nContent-Length: 18446744073709551615\r\n\r\nab", b"ab"),
        ] {
            let broken_off = Read { answer: Ok((400, body.to_vec())), is_over: false, is_reusable: false };
            assert_eq!(read(bytes), broken_off, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_head_that_breaks_off_is_no_answer() {
        let bytes = b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 400 X\r\nContent-Length: 0\r\n\r";
        for end in 0..bytes.len() {
            let cut = Read { answer: Err("closed".into()), is_over: false, is_reusable: false };
            assert_eq!(read(&bytes[..end]), cut, "{end}");
        }
    }

    #[test]
    fn a_head_that_is_no_http_is_no_answer() {
        let long = [b"HTTP/1.1 200 X\r\nX: ".as_slice(), &[b'a'; MOST_HEADS]].concat();
        let many = [b"HTTP/1.1 200 X\r\n".as_slice(), &b"X: a\r\n".repeat(MOST_HEADERS + 1)].concat();
        let interim = b"HTTP/1.1 100 Go\r\n\r\n".repeat(MOST_HEADS / 19 + 1);
        for bytes in [
            &b"SSH-2.0"[..],
            b"\r\nHTTP/1.1 200 X\r\n\r\n",
            b"HTTP/2.0 200 X\r\n",
            b"HTTP/1.2 200 X\r\n",
            b"http/1.1 200 X\r\n",
            b"HTTP/1.1  200 X\r\n",
            b"HTTP/1.1 20 X\r\n",
            b"HTTP/1.1 2000\r\n",
            b"HTTP/1.1 099 X\r\n\r\n",
            b"HTTP/1.1 200 X\rY\r\n\r\n",
            b"HTTP/1.1 200 X\0\r\n\r\n",
            b"HTTP/1.1 200 X\r\nno name\r\n",
            b"HTTP/1.1 200 X\r\nX : a\r\n",
            b"HTTP/1.1 200 X\r\n: a\r\n",
            b"HTTP/1.1 200 X\r\nX: a\r\n folded\r\n",
            b"HTTP/1.1 200 X\r\n folded: a\r\n",
            b"HTTP/1.1 200 X\r\nX: a\rb\r\n",
            b"HTTP/1.1 200 X\r\nX: a\0b\r\n",
            b"HTTP/1.1 200 X\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 200 X\r\nContent-Length: 0x1\r\n\r\n",
            b"HTTP/1.1 200 X\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 100 Go\r\n\r\nnonsense",
            &long,
            &many,
            &interim,
        ] {
            let read = read(bytes);
            let shown = bytes[..bytes.len().min(80)].escape_ascii();
            assert!(read.answer.as_ref().is_err_and(|why| why.starts_with("the answer's head")), "{shown}: {read:?}");
            assert!(read.is_over && !read.is_reusable, "{shown}");
        }
    }

    #[test]
    fn a_body_is_read_as_far_as_somebody_looks() {
        let most = Most::ERROR.of(400);
        for head in ["Content-Length: 999999\r\n\r\n", "X: y\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\nfffff\r\n"] {
            let answer = [b"HTTP/1.1 400 X\r\n", head.as_bytes(), &vec![b'a'; 999_999]].concat();
            let read = read_of(Most::DOCUMENT, [&answer[..]]);
            let (status, body) = read.answer.unwrap();
            assert_eq!((status, body.len(), read.is_over, read.is_reusable), (400, most, true, false), "{head}");
        }
    }

    #[test]
    fn a_line_before_a_chunk_is_bounded() {
        let with = |extension: usize| {
            let line = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(extension));
            read(format!("HTTP/1.1 400 X\r\nTransfer-Encoding: chunked\r\n\r\n{line}").as_bytes())
        };
        assert_eq!(with(MOST_CHUNK_LINE - 4).answer, Ok((400, b"a".to_vec())));
        assert_eq!(with(MOST_CHUNK_LINE - 3), Read { answer: Ok((400, vec![])), is_over: true, is_reusable: false });
    }

    /// Cuts bytes at these places, in any order.
    fn cut<'a>(bytes: &'a [u8], places: &[usize]) -> Vec<&'a [u8]> {
        let mut places: Vec<usize> = places.iter().map(|place| place % (bytes.len() + 1)).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
    }

    fn same<T: PartialEq + Debug>(one: T, other: &T, bytes: &[u8]) {
        assert_eq!(one, *other, "{}", bytes.escape_ascii());
    }

    #[test]
    fn an_answer_in_two_pieces_or_byte_by_byte_is_the_same() {
        for (bytes, ..) in WHOLE {
            let whole = read(bytes);
            for place in 0..=bytes.len() {
                same(read_of(Most::ERROR, cut(bytes, &[place])), &whole, bytes);
            }
            same(read_of(Most::ERROR, bytes.chunks(1)), &whole, bytes);
        }
    }

    /// Random bytes, many of which have a meaning in HTTP.
    fn noise() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b';')];
        prop::collection::vec(byte, 0..200)
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(which in 0..WHOLE.len(), places in prop::collection::vec(any::<usize>(), 0..9)) {
            let (bytes, ..) = WHOLE[which];
            same(read_of(Most::ERROR, cut(bytes, &places)), &read(bytes), bytes);
        }

        #[test]
        fn no_bytes_panic(
            which in 0..WHOLE.len(),
            kept in any::<usize>(),
            random in noise(),
            places in prop::collection::vec(any::<usize>(), 0..9),
        ) {
            let (bytes, ..) = WHOLE[which];
            let bytes = [&bytes[..kept % (bytes.len() + 1)], &random].concat();
            same(read_of(Most::ERROR, cut(&bytes, &places)), &read(&bytes), &bytes);
        }
    }

    #[test]
    fn a_document_that_ends_in_nonsense_is_cut() {
        for (bytes, is_cut) in [
            (&b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\nzz\r\n"[..], true),
            (b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[],,\r\n", true),
            (b"HTTP/1.1 200 X\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n[]", true),
            (b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\nmore", false),
            (b"HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\n[]more", false),
        ] {
            let (mut exchange, _) = Http1::begin(&request("https://x.example", Method::GET, "", Most::DOCUMENT));
            exchange.received(bytes);
            assert_eq!(exchange.end("closed").unwrap().is_cut, is_cut, "{}", bytes.escape_ascii());
        }
    }
}
