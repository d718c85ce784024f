//! Answers, read with suspicion.

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::text::{Bytes, is_invisible, without_mark};

/// An HTTP answer whose head was complete. The body may have been cut: the status alone decides,
/// and an error body is read as far as it is one.
#[derive(Clone, Default)]
pub struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    /// The body is known to have ended early. The status still decides, but no document is whole.
    pub(crate) is_cut: bool,
    /// The head was checked by takings' own reader.
    pub(crate) is_checked: bool,
    /// When it came, by this machine's clock.
    pub(crate) received: Option<SystemTime>,
    /// The error body, read once: the log of attempts and the decision both need it.
    error: OnceLock<ErrorBody>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Answer {
    /// An answer as a host's HTTP client gives it: the status of the last answer that was no 1xx,
    /// its headers (names in any case; a header that came twice is given twice, not joined), and the
    /// body with its transfer coding undone. An answer whose head HTTP does not allow (a header
    /// without a proper name, two lengths) counts as no answer: it may belong to another request.
    /// An interim answer (1xx) counts as none too. A head that the end of the connection cut before its blank line
    /// must not get here: the host reports that the request may have been sent, and closes the connection.
    pub fn new<N: Into<String>, V: Into<Vec<u8>>>(
        status: u16,
        headers: impl IntoIterator<Item = (N, V)>,
        body: Vec<u8>,
    ) -> Answer {
        let headers = headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Answer { status, headers, body, is_cut: false, is_checked: false, received: None, error: OnceLock::new() }
    }

    /// Every value of a header, whatever the case of its name; `None` for one that is not
    /// ASCII.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Option<&'a str>> + 'a {
        self.headers
            .iter()
            .filter(move |(header, _)| header.eq_ignore_ascii_case(name))
            .map(|(_, value)| std::str::from_utf8(value).ok().filter(|text| text.is_ascii()).map(str::trim))
    }

    /// The reason why HTTP does not allow this head, for people. Not every host's HTTP client checks that. Such a head
    /// may belong to an answer cut in two, or to another request's.
    pub(crate) fn nonsense(&self) -> Option<&'static str> {
        if (100..200).contains(&self.status) && self.status != 101 {
            // The answer is still to come, and must not meet the next request.
            Some("an interim answer is none")
        } else if self.headers.iter().any(|(name, _)| name.is_empty() || !TOKEN.have(name.as_bytes())) {
            Some("a header without a proper name")
        } else if self.headers.iter().any(|(_, value)| has_control(value)) {
            Some("a header with a control character")
        } else {
            self.length().err()
        }
    }

    /// The length that the head announces, if any, or why the announcement makes no sense.
    pub(crate) fn length(&self) -> Result<Option<u64>, &'static str> {
        let mut lengths = self.list("content-length").map(|length| {
            // `parse` would also take a sign.
            let length = std::str::from_utf8(length).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
            length.and_then(|length| length.parse::<u64>().ok())
        });
        let first = lengths.next();
        if first == Some(None) || lengths.any(|length| Some(length) != first) {
            return Err("a Content-Length that is none");
        }
        Ok(first.flatten())
    }

    /// The elements of a header that is a list, from all headers of this name.
    pub(crate) fn list<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.headers
            .iter()
            .filter(move |(header, _)| header.eq_ignore_ascii_case(name))
            .flat_map(|(_, value)| value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii))
    }

    /// How long the server asks to be left alone. Of several values the longest counts; what
    /// makes no sense is passed over.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        // A date is a pause by the clock of the server; without that, by this machine's.
        let date = self.date();
        let asked = self
            .all("retry-after")
            .flatten()
            .filter_map(|text| match text.parse::<u64>() {
                Ok(seconds) => Some(Duration::from_secs(seconds)),
                Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(date?).ok(),
            })
            .max();
        // Klarna's own header has the seconds to the next window. Every answer carries it, so it asks for a pause only
        // where the limit was met.
        let reset = || self.all("x-ratelimit-reset").flatten().filter_map(|text| text.parse().ok()).max();
        asked.or_else(|| if self.status == 429 { reset().map(Duration::from_secs) } else { None })
    }

    /// When it was answered, by the server's clock; without that, by this machine's.
    pub(crate) fn date(&self) -> Option<SystemTime> {
        self.all("date").flatten().find_map(|text| httpdate::parse_http_date(text).ok()).or(self.received)
    }

    pub(crate) fn correlation_id(&self) -> Option<&str> {
        self.all("klarna-correlation-id").flatten().find(|id| is_id(id))
    }

    /// The body's account of a refusal. The body of a success may be long, and is not read for it.
    pub(crate) fn error(&self) -> &ErrorBody {
        self.error.get_or_init(|| self.read_error())
    }

    fn read_error(&self) -> ErrorBody {
        if self.status < 400 {
            return ErrorBody::default();
        }
        let text = match std::str::from_utf8(&self.body) {
            Ok(text) => Cow::Borrowed(text),
            // A byte that is not UTF-8 becomes three.
            Err(_) => String::from_utf8_lossy(&self.body[..self.body.len().min(MOST_OF_NO_TEXT)]),
        };
        serde_json::from_str(without_mark(&text)).unwrap_or_default()
    }
}

/// The characters of a header's name (RFC 9110, 5.6.2).
const TOKEN: Bytes = Bytes::alphanumeric_or(b"!#$%&'*+-.^_`|~");

/// Whether a header's value has a control character that HTTP does not allow.
fn has_control(value: &[u8]) -> bool {
    // A fold is several times as fast as a search that may end early.
    value.iter().fold(false, |found, byte| found | (byte.is_ascii_control() & (*byte != b'\t')))
}

const ID: Bytes = Bytes::graphic_without(br#"/\%?#,""#);

/// An id from outside is believed only in this shape: no path, no part of one that is escaped, no two
/// that somebody joined.
pub(crate) fn is_id(text: &str) -> bool {
    (1..=255).contains(&text.len()) && ID.have(text.as_bytes()) && text != "." && text != ".."
}

/// Klarna's error body, as far as there is one: a gateway answers in HTML, and any member
/// may be missing or of another type.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ErrorBody {
    pub error_code: Option<String>,
    pub error_messages: Vec<String>,
    pub correlation_id: Option<String>,
}

impl<'de> Deserialize<'de> for ErrorBody {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<ErrorBody, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = ErrorBody;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an error body")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ErrorBody, A::Error> {
                let mut body = ErrorBody::default();
                while let Some(key) = map.next_key::<Cow<'_, str>>()? {
                    match &*key {
                        "error_code" => body.error_code = map.next_value::<Texts>()?.0.into_iter().next(),
                        "error_messages" | "error_message" => {
                            body.error_messages.extend(map.next_value::<Texts>()?.0);
                            body.error_messages.truncate(MOST_MESSAGES);
                        }
                        "correlation_id" => body.correlation_id = map.next_value::<Texts>()?.0.into_iter().next(),
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                body.error_code = body.error_code.filter(|code| !code.is_empty());
                Ok(body)
            }
        }
        source.deserialize_map(Members)
    }
}

const MOST_MESSAGES: usize = 20;

/// How much is read of a body that is not UTF-8.
const MOST_OF_NO_TEXT: usize = 64 * 1024;

/// The longest error text in bytes. Longer texts help nobody, and each copy takes memory.
const MOST_TEXT: usize = 16 * 1024;

/// The strings of a value: one, or the first of a list; anything else is none.
struct Texts(Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Texts, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Texts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }
            fn visit_str<E>(self, text: &str) -> Result<Texts, E> {
                if text.len() > MOST_TEXT {
                    return Ok(Texts(Vec::new()));
                }
                // The text is kept whole for the scrubber, which would not recognise a part of a secret.
                Ok(Texts(vec![text.chars().filter(|c| !is_invisible(*c)).collect()]))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Texts, E> {
                Ok(Texts(Vec::new()))
            }
            fn visit_i64<E>(self, _: i64) -> Result<Texts, E> {
                Ok(Texts(Vec::new()))
            }
            fn visit_u64<E>(self, _: u64) -> Result<Texts, E> {
                Ok(Texts(Vec::new()))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Texts, E> {
                Ok(Texts(Vec::new()))
            }
            fn visit_unit<E>(self) -> Result<Texts, E> {
                Ok(Texts(Vec::new()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Texts(Vec::new()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while texts.len() < MOST_MESSAGES {
                    match items.next_element::<Texts>()? {
                        Some(Texts(mut inner)) => texts.append(&mut inner),
                        None => return Ok(Texts(texts)),
                    }
                }
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Texts(texts))
            }
        }
        source.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_http_does_not_allow_makes_no_sense() {
        let nonsense = |name: &str, value: &[u8]| {
            Answer::new(404, [("Date", b"today".to_vec()), (name, value.to_vec())], Vec::new()).nonsense()
        };
        for (name, value) in [
            ("X-Any", &b"a\tb \xff"[..]),
            ("content-length", b"5"),
            ("Content-Length", b"5, 5"),
            ("Content-Length", b" 0 "),
            ("!#$%&'*+-.^_`|~0aZ", b""),
        ] {
            assert_eq!(nonsense(name, value), None, "{name}");
        }
        for (name, value) in [
            ("", &b"a"[..]),
            ("X ", b"a"),
            ("X\u{1}", b"a"),
            ("\u{fffd}", b"a"),
            ("X", b"a\rb"),
            ("X", b"a\r"),
            ("X", b"a\0b"),
            ("X", b"\x7f"),
            ("Content-Length", b""),
            ("Content-Length", b"5, 6"),
            ("Content-Length", b"-1"),
            ("Content-Length", b"+2"),
            ("Content-Length", b"0x10"),
            ("Content-Length", b"many"),
            ("Content-Length", b"\xff"),
            ("Content-Length", b"99999999999999999999999"),
        ] {
            assert!(nonsense(name, value).is_some(), "{name}: {value:?}");
        }
        let lengths =
            |second: &str| Answer::new(404, [("Content-Length", "5"), ("content-length", second)], Vec::new());
        assert!(lengths("6").nonsense().is_some() && lengths("5").nonsense().is_none());
    }

    #[test]
    fn an_interim_answer_is_none() {
        for (status, is_interim) in [(100, true), (103, true), (199, true), (101, false), (200, false)] {
            let answer = Answer::new(status, [("Capture-Id", "a")], Vec::new());
            assert_eq!(answer.nonsense().is_some(), is_interim, "{status}");
        }
    }

    fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
        let headers: Vec<_> = headers.iter().map(|(n, v)| (n.to_string(), v.as_bytes().to_vec())).collect();
        Answer::new(status, headers, body.as_bytes().to_vec())
    }

    fn seconds(status: u16, headers: &[(&str, &str)]) -> Option<u64> {
        answer(status, headers, "").retry_after().map(|d| d.as_secs())
    }

    #[test]
    fn waiting_as_told() {
        assert_eq!(seconds(429, &[("Retry-After", "7")]), Some(7));
        assert_eq!(seconds(503, &[("retry-after", " 7 "), ("RETRY-AFTER", "9")]), Some(9));
        assert_eq!(seconds(429, &[("X-Ratelimit-Reset", "3")]), Some(3));
        assert_eq!(seconds(500, &[("X-Ratelimit-Reset", "3")]), None, "no limit was met");
        for nonsense in ["", "-1", "soon", "1.5", "99999999999999999999", "Sun, 06 Nov 1994 08:49:37 GMT"] {
            assert_eq!(seconds(429, &[("Retry-After", nonsense)]), None, "{nonsense:?}");
        }
        let date = ("Date", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(seconds(503, &[date, ("Retry-After", "Sun, 06 Nov 1994 08:50:07 GMT")]), Some(30));
        assert_eq!(
            seconds(503, &[date, ("Retry-After", "Sun, 06 Nov 1994 08:48:07 GMT")]),
            None,
            "it lies in the past"
        );
    }

    #[test]
    fn a_date_is_read_by_the_clock_here_where_the_server_tells_none() {
        let mut limited = answer(429, &[("Retry-After", "Sun, 06 Nov 1994 08:50:07 GMT")], "");
        assert_eq!(limited.retry_after(), None, "no clock is known");
        let noon = httpdate::parse_http_date("Sun, 06 Nov 1994 08:50:00 GMT").unwrap();
        limited.received = Some(noon);
        assert_eq!(limited.retry_after(), Some(Duration::from_secs(7)));
        limited.headers.push(("Date".into(), b"Sun, 06 Nov 1994 08:50:05 GMT".to_vec()));
        assert_eq!(limited.retry_after(), Some(Duration::from_secs(2)), "the server's own clock goes before");
        limited.headers.pop();
        limited.received = Some(noon + Duration::from_secs(60));
        assert_eq!(limited.retry_after(), None, "it lies in the past");
    }

    fn error(body: &str) -> (Option<String>, Vec<String>) {
        let error = answer(400, &[], body).error().clone();
        (error.error_code, error.error_messages)
    }

    #[test]
    fn error_bodies_of_every_kind() {
        let code = |text: &str| Some(text.to_owned());
        assert_eq!(
            error(r#"{"error_code":"A","error_messages":["b","c"]}"#),
            (code("A"), vec!["b".into(), "c".into()])
        );
        assert_eq!(error(r#"{"error_code":"A","error_message":"b"}"#), (code("A"), vec!["b".into()]));
        assert_eq!(error("\u{feff}{\"error_code\":\"A\",\"x\":{\"y\":[1]}}"), (code("A"), vec![]));
        assert_eq!(error(r#"{"error_code":5,"error_messages":[1,["b"],null,{"c":"d"}]}"#), (None, vec!["b".into()]));
        for nothing in ["", "<html>", "[1]", "{\"error_code\":\"A\"", "\"A\"", "null", "{\"error_code\":\"\"}"] {
            assert_eq!(error(nothing), (None, vec![]), "{nothing}");
        }
        let deep = format!("{{\"x\":{}", "[".repeat(100_000));
        assert_eq!(error(&deep), (None, vec![]));
        let deep = format!("{{\"error_messages\":{}", "[".repeat(100_000));
        assert_eq!(error(&deep), (None, vec![]));
        let hidden = format!("{{\"error_code\":\"{}secret\"}}", "\u{200b}".repeat(4093));
        assert_eq!(error(&hidden).0, code("secret"), "what cannot be seen takes no room");
        let long = |length: usize| format!("{{\"error_code\":\"{}\"}}", "a".repeat(length));
        assert_eq!(error(&long(MOST_TEXT)).0.map(|code| code.len()), Some(MOST_TEXT));
        assert_eq!(error(&long(MOST_TEXT + 1)), (None, vec![]));
        let many = format!("{{{}\"x\":1}}", "\"error_message\":[\"a\",\"b\",\"c\"],".repeat(1000));
        assert_eq!(error(&many).1.len(), MOST_MESSAGES);
        let many = format!("{{\"error_messages\":[{}\"a\"]}}", "\"a\",".repeat(10_000));
        assert_eq!(error(&many).1.len(), MOST_MESSAGES);
    }

    #[test]
    fn bytes_that_are_no_text() {
        let mut latin1 = answer(400, &[], "");
        latin1.body = b"{\"error_code\":\"A\",\"error_messages\":[\"f\xfcr\"]}".to_vec();
        assert_eq!(latin1.error().error_code.as_deref(), Some("A"));
        let mut long = answer(400, &[], "");
        long.body = [b"{\"error_code\":\"A\",\"x\":\"", &[0xff; 2 * MOST_OF_NO_TEXT][..], b"\"}"].concat();
        assert_eq!(*long.error(), ErrorBody::default());
    }
}
