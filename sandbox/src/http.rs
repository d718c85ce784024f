//! HTTP/1.1 messages: requests out of a byte stream, answers into one.

use std::io::{self, Read, Write};

/// Klarna's limit for all header lines together.
const HEAD_LIMIT: usize = 20 * 1024;
/// Klarna's limit for one header.
const HEADER_LIMIT: usize = 6 * 1024;
/// Klarna says 1 MB; the larger reading of it.
const BODY_LIMIT: usize = 1024 * 1024;

pub(crate) type Headers = Vec<(String, String)>;

/// The values of one header, in order.
pub(crate) fn values<'a>(headers: &'a [(String, String)], name: &'a str) -> impl Iterator<Item = &'a str> {
    headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
}

fn has_token(headers: &[(String, String)], name: &str, token: &str) -> bool {
    values(headers, name).flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// A request as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub method: String,
    pub target: String,
    pub version: &'static str,
    pub headers: Headers,
    pub body: Vec<u8>,
}

impl Request {
    /// Whether the client wants the connection closed after the answer.
    pub fn last(&self) -> bool {
        self.version == "HTTP/1.0" || has_token(&self.headers, "connection", "close")
    }

    /// Host and port as the client named them, if they can stand in a URL.
    pub fn host(&self) -> Option<&str> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        values(&self.headers, "host").next().filter(|host| !host.is_empty() && host.chars().all(plain))
    }

    /// The path without query, and without scheme and host if the target has them (as towards a proxy).
    pub fn path(&self) -> &str {
        let target = match self.target.split_once("://") {
            Some((scheme, rest)) if scheme.chars().all(|c| c.is_ascii_alphabetic()) => {
                rest.find('/').map_or("/", |slash| &rest[slash..])
            }
            _ => &self.target,
        };
        target.split(['?', '#']).next().unwrap_or(target)
    }
}

/// Why no request came out of a connection.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The connection ended or broke, or was silent for too long.
    Gone,
    /// The bytes are refused. The head is present if it could be read.
    Refused { status: u16, error_code: &'static str, message: String, head: Option<Box<Request>> },
}

impl From<io::Error> for Unread {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

fn refused(status: u16, error_code: &'static str, message: &str, head: Option<Request>) -> Unread {
    Unread::Refused { status, error_code, message: message.into(), head: head.map(Box::new) }
}

/// A byte stream and what was read from it ahead of time.
pub(crate) struct Reader<S> {
    pub stream: S,
    ahead: Vec<u8>,
}

impl<S: Read + Write> Reader<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, ahead: Vec::new() }
    }

    /// Reads once. `Ok(false)` is the end of the stream.
    pub fn fill(&mut self) -> io::Result<bool> {
        let mut chunk = [0; 16 * 1024];
        let count = loop {
            match self.stream.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.ahead.extend_from_slice(&chunk[..count]);
        Ok(count > 0)
    }

    /// How many bytes wait to be parsed.
    pub fn waiting(&self) -> usize {
        self.ahead.len()
    }

    fn need(&mut self) -> Result<(), Unread> {
        if self.fill()? { Ok(()) } else { Err(Unread::Gone) }
    }

    /// Reads one request, head and body.
    pub fn request(&mut self) -> Result<Request, Unread> {
        let mut request = loop {
            if let Some(request) = self.head()? {
                break request;
            }
            self.need()?;
        };
        match self.body(&request) {
            Ok(body) => request.body = body,
            Err(Unread::Refused { status, error_code, message, .. }) => {
                return Err(refused(status, error_code, &message, Some(request)));
            }
            Err(gone) => return Err(gone),
        }
        Ok(request)
    }

    fn head(&mut self) -> Result<Option<Request>, Unread> {
        let bad = |message: &str| refused(400, "BAD_REQUEST", message, None);
        let too_large =
            || refused(431, "REQUEST_HEADER_FIELDS_TOO_LARGE", "one header may have 6 KB, all of them 20 KB", None);
        let mut space = [httparse::EMPTY_HEADER; 256];
        let mut parsed = httparse::Request::new(&mut space);
        let length = match parsed.parse(&self.ahead) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if self.ahead.len() > HEAD_LIMIT => {
                return Err(too_large());
            }
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(too_large()),
            Err(error) => return Err(bad(&format!("not a HTTP request: {error}"))),
        };
        let headers: Headers = parsed
            .headers
            .iter()
            .map(|h| (h.name.to_owned(), h.value.iter().map(|b| char::from(*b)).collect()))
            .collect();
        let request = Request {
            method: parsed.method.unwrap_or_default().to_owned(),
            target: parsed.path.unwrap_or_default().to_owned(),
            version: if parsed.version == Some(0) { "HTTP/1.0" } else { "HTTP/1.1" },
            headers,
            body: Vec::new(),
        };
        let large = parsed.headers.iter().any(|h| h.name.len() + h.value.len() > HEADER_LIMIT);
        if large || length > HEAD_LIMIT {
            return Err(too_large());
        }
        self.ahead.drain(..length);
        Ok(Some(request))
    }

    fn body(&mut self, request: &Request) -> Result<Vec<u8>, Unread> {
        let bad = |message: &str| refused(400, "BAD_REQUEST", message, None);
        let headers = &request.headers;
        let lengths: Vec<&str> = values(headers, "content-length").collect();
        let encodings: Vec<&str> = values(headers, "transfer-encoding").collect();
        match (lengths.as_slice(), encodings.as_slice()) {
            ([], []) => Ok(Vec::new()),
            ([], [chunked]) if chunked.trim().eq_ignore_ascii_case("chunked") => {
                self.encourage(headers)?;
                self.chunks()
            }
            ([length], []) if !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) => {
                // More digits than a usize holds is too large as well.
                let length = length.parse().unwrap_or(usize::MAX);
                if length > BODY_LIMIT {
                    return Err(body_too_large());
                }
                if length > 0 {
                    self.encourage(headers)?;
                }
                self.exactly(length)
            }
            _ => Err(bad("Content-Length or Transfer-Encoding is broken, repeated or unknown")),
        }
    }

    fn encourage(&mut self, headers: &[(String, String)]) -> io::Result<()> {
        if has_token(headers, "expect", "100-continue") && self.ahead.is_empty() {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            self.stream.flush()?;
        }
        Ok(())
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>, Unread> {
        while self.ahead.len() < length {
            self.need()?;
        }
        Ok(self.ahead.drain(..length).collect())
    }

    fn line(&mut self) -> Result<Vec<u8>, Unread> {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|two| two == b"\r\n") {
                let mut line: Vec<u8> = self.ahead.drain(..end + 2).collect();
                line.truncate(end);
                return Ok(line);
            }
            if self.ahead.len() > HEADER_LIMIT {
                return Err(refused(400, "BAD_REQUEST", "a chunk line is too long", None));
            }
            self.need()?;
        }
    }

    fn chunks(&mut self) -> Result<Vec<u8>, Unread> {
        let bad = || refused(400, "BAD_REQUEST", "the chunked body is broken", None);
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let digits = line.split(|b| *b == b';').next().unwrap_or_default();
            let size = std::str::from_utf8(digits)
                .ok()
                .map(str::trim)
                .filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit()))
                .ok_or_else(bad)?;
            let size = usize::from_str_radix(size, 16).map_err(|_| body_too_large())?;
            if size == 0 {
                break;
            }
            if size > BODY_LIMIT - body.len() {
                return Err(body_too_large());
            }
            body.extend(self.exactly(size)?);
            if self.exactly(2)? != b"\r\n" {
                return Err(bad());
            }
        }
        for _ in 0..100 {
            if self.line()?.is_empty() {
                return Ok(body);
            }
        }
        Err(bad())
    }
}

fn body_too_large() -> Unread {
    refused(413, "REQUEST_TOO_LARGE", "the body is larger than 1 MB", None)
}

/// An answer, not yet on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub headers: Headers,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn headers(mut self, headers: impl IntoIterator<Item = (String, String)>) -> Self {
        self.headers.extend(headers);
        self
    }

    pub fn body(self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let mut answer = self.header("Content-Type", content_type);
        answer.body = body.into();
        answer
    }

    pub fn json(self, value: &impl serde::Serialize) -> Self {
        // Values made of strings, numbers and lists always serialise.
        let body = serde_json::to_vec(value).unwrap_or_default();
        self.body("application/json", body)
    }

    /// The page of a web server before the API.
    pub fn html(self, status: u16) -> Self {
        // The title of Klarna's page for wrong credentials, as it was recorded.
        let reason = if status == 401 { "Authorization Required" } else { reason(status) };
        let title = format!("{status} {reason}");
        self.body(
            "text/html",
            format!(
                "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
            ),
        )
    }

    /// The bytes of the answer. A header of the same name as one of those that belong to the framing replaces it,
    /// so that a fault can break the framing.
    pub fn bytes(&self, method: &str, last: bool) -> Vec<u8> {
        let bodiless = matches!(self.status, 100..=199 | 204 | 304);
        let has = |name: &str| values(&self.headers, name).next().is_some();
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        if !bodiless && !has("content-length") {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        if last && !has("connection") {
            head += "Connection: close\r\n";
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        let mut bytes = head.into_bytes();
        if !bodiless && method != "HEAD" {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        425 => "Too Early",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

/// Undoes percent-encoding. A segment that is not valid UTF-8 afterwards, or whose escapes are broken, stays as it is.
pub(crate) fn percent_decode(segment: &str) -> String {
    let mut decoded = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
        match (digit(), digit()) {
            // Two hexadecimal digits fit a byte.
            (Some(high), Some(low)) => decoded.push((high * 16 + low) as u8),
            _ => return segment.into(),
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| segment.into())
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
pub(crate) fn percent_encode(segment: &str) -> String {
    let mut encoded = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Wire {
        input: Vec<Vec<u8>>,
        output: Vec<u8>,
    }

    impl Read for Wire {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.input.is_empty() {
                return Ok(0);
            }
            let piece = self.input.remove(0);
            buffer[..piece.len()].copy_from_slice(&piece);
            Ok(piece.len())
        }
    }

    impl Write for Wire {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.output.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A reader that gets the text in pieces of this size.
    fn reader(text: &str, piece: usize) -> Reader<Wire> {
        let input = text.as_bytes().chunks(piece).map(<[u8]>::to_vec).collect();
        Reader::new(Wire { input, output: Vec::new() })
    }

    fn status(text: &str) -> u16 {
        match reader(text, 1000).request() {
            Err(Unread::Refused { status, .. }) => status,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn reads_requests_however_they_are_cut() {
        let two = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcPOST /b HTTP/1.1\r\n\
                   Transfer-Encoding: chunked\r\n\r\n3;x=y\r\ndef\r\n1\r\ng\r\n0\r\nTrailer: t\r\n\r\n";
        for piece in [1, 2, 7, 1000] {
            let mut reader = reader(two, piece);
            let first = reader.request().unwrap();
            assert_eq!((first.target.as_str(), first.body.as_slice()), ("/a", &b"abc"[..]));
            let second = reader.request().unwrap();
            assert_eq!((second.target.as_str(), second.body.as_slice()), ("/b", &b"defg"[..]));
            assert!(matches!(reader.request(), Err(Unread::Gone)));
        }
    }

    #[test]
    fn refuses_broken_framing() {
        for head in [
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: \r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
        ] {
            assert_eq!(status(&format!("POST / HTTP/1.1\r\n{head}\r\nx")), 400, "{head}");
        }
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(status(&format!("{chunked}-1\r\n")), 400);
        assert_eq!(status(&format!("{chunked}1\r\nabc")), 400);
        assert_eq!(status("nonsense\r\n\r\n"), 400);
    }

    #[test]
    fn keeps_the_limits() {
        let huge = "POST / HTTP/1.1\r\nContent-Length:";
        assert_eq!(status(&format!("{huge} {}\r\n\r\n", BODY_LIMIT + 1)), 413);
        assert_eq!(status(&format!("{huge} 99999999999999999999999\r\n\r\n")), 413);
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(status(&format!("{chunked}{:x}\r\n", BODY_LIMIT + 1)), 413);
        assert_eq!(status(&format!("{chunked}fffffffffffffffff\r\n")), 413);
        assert_eq!(status(&format!("{chunked}1\r\nx\r\n{BODY_LIMIT:x}\r\n")), 413, "in two chunks");
        let long = "a".repeat(HEADER_LIMIT);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nA: {long}\r\n\r\n")), 431);
        let many = format!("B: {}\r\n", "b".repeat(5000)).repeat(5);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{many}\r\n")), 431);
        let few = "C: c\r\n".repeat(300);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{few}\r\n")), 431);
    }

    #[test]
    fn tells_a_hesitant_client_to_go_on() {
        let head = "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n";
        let mut reader = reader(&format!("{head}x"), head.len());
        assert_eq!(reader.request().unwrap().body, b"x");
        assert_eq!(reader.stream.output, b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    #[test]
    fn finds_the_path() {
        for (target, path) in [
            ("/a/b?c=/d", "/a/b"),
            ("http://host:1/a", "/a"),
            ("http://host", "/"),
            ("/x/http://y", "/x/http://y"),
            ("*", "*"),
        ] {
            let text = format!("GET {target} HTTP/1.1\r\n\r\n");
            assert_eq!(reader(&text, 1000).request().unwrap().path(), path);
        }
    }

    #[test]
    fn percent_codes_both_ways() {
        for text in ["plain-._~", "a b/c%2F", "å\u{202e}\r\n"] {
            assert_eq!(percent_decode(&percent_encode(text)), text);
        }
        assert_eq!(percent_encode("a/ö"), "a%2F%C3%B6");
        assert_eq!(percent_decode("%zz%2"), "%zz%2");
        assert_eq!(percent_decode("%ff"), "%ff");
        assert_eq!(percent_decode("%2e%2E"), "..");
    }
}
