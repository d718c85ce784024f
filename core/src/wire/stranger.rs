//! An answer that is no error of Klarna's API: the page of a firewall, a proxy or a gateway. It is read for whatever
//! tells a person who sent it, and why.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::answer::Answer;
use crate::text::{is_invisible, without_mark};

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Stranger {
    /// The body is HTML.
    pub is_page: bool,
    pub title: Option<String>,
    /// The texts of an error body in a shape that other APIs have.
    pub texts: Vec<String>,
    /// Headers that name the sender, or the request as the sender knows it.
    pub marks: Vec<(&'static str, String)>,
}

/// Names under which APIs and gateways say what is wrong (RFC 9457, AWS, Azure, Apigee, Kong, Spring).
const SAID: [&str; 11] = [
    "message",
    "Message",
    "title",
    "detail",
    "error",
    "errors",
    "error_description",
    "fault",
    "faultstring",
    "description",
    "reason",
];

/// Headers that gateways, content networks and firewalls add.
const MARKS: [&str; 13] = [
    "Server",
    "Via",
    "CF-RAY",
    "X-Request-Id",
    "Request-Id",
    "X-Correlation-Id",
    "X-Amzn-RequestId",
    "X-Amz-Cf-Id",
    "X-Azure-Ref",
    "X-Iinfo",
    "X-Sucuri-Id",
    "X-Trace-Id",
    "X-Squid-Error",
];

const MOST_MARKS: usize = 4;
const MOST_TEXTS: usize = 3;
/// How much of a page is searched for its title, in bytes.
const MOST_SEARCHED: usize = 64 * 1024;
/// The longest text that is kept, in bytes. A part of it would hide a secret from the scrubber.
const MOST_TEXT: usize = 4 * 1024;

impl Stranger {
    /// Absent where the body is an error of Klarna's API, or the answer is a success without a page.
    pub fn of(answer: &Answer) -> Option<Stranger> {
        let known = answer.error();
        if known.error_code.is_some() || !known.error_messages.is_empty() || known.correlation_id.is_some() {
            return None;
        }
        // Klarna's own 401 is a page with a challenge (recorded in 2021).
        if answer.status == 401 && answer.all("www-authenticate").next().is_some() {
            return None;
        }
        let searched = &answer.body[..answer.body.len().min(MOST_SEARCHED)];
        let start = String::from_utf8_lossy(searched);
        let start = without_mark(&start).trim_start();
        let is_html = answer.all("content-type").flatten().any(|kind| kind.to_ascii_lowercase().contains("html"));
        let is_page = !start.is_empty() && (is_html || start.starts_with('<'));
        if answer.status < 300 && !is_page {
            return None;
        }
        let title = is_page.then(|| title(start)).flatten();
        let texts = match std::str::from_utf8(&answer.body) {
            Ok(body) if !is_page => serde_json::from_str(without_mark(body)).unwrap_or(Said(Vec::new())).0,
            _ => Vec::new(),
        };
        let mark = |name: &'static str| {
            let value = answer.all(name).flatten().find(|value| !value.is_empty())?;
            Some((name, value.to_owned()))
        };
        let marks = MARKS.into_iter().filter_map(mark).take(MOST_MARKS).collect();
        Some(Stranger { is_page, title, texts, marks })
    }
}

/// The title of an HTML page.
fn title(page: &str) -> Option<String> {
    // Letters of ASCII alone change, so that places stay.
    let lower = page.to_ascii_lowercase();
    let start = lower.find("<title")?;
    let start = start + lower[start..].find('>')? + 1;
    let end = start + lower[start..].find("</title")?;
    let mut title = page[start..end].to_owned();
    for (written, meant) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&nbsp;", " "),
        ("&hellip;", "…"),
        ("&amp;", "&"),
    ] {
        title = title.replace(written, meant);
    }
    let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
    (!title.is_empty() && title.len() <= MOST_TEXT).then_some(title)
}

/// The texts of an error body: its strings under names that speak of errors, in order.
struct Said(Vec<String>);

impl<'de> Deserialize<'de> for Said {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Said, D::Error> {
        source.deserialize_any(Sayings)
    }
}

struct Sayings;

impl<'de> Visitor<'de> for Sayings {
    type Value = Said;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<Said, E> {
        let text: String = match text.len() <= MOST_TEXT {
            true => text.chars().filter(|c| !is_invisible(*c)).collect(),
            false => String::new(),
        };
        Ok(Said(if text.trim().is_empty() { Vec::new() } else { vec![text.trim().to_owned()] }))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Said, E> {
        Ok(Said(Vec::new()))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Said, E> {
        Ok(Said(Vec::new()))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Said, E> {
        Ok(Said(Vec::new()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Said, E> {
        Ok(Said(Vec::new()))
    }

    fn visit_unit<E>(self) -> Result<Said, E> {
        Ok(Said(Vec::new()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Said, A::Error> {
        let mut said = Said(Vec::new());
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            if SAID.contains(&&*name) {
                said.add(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(said)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Said, A::Error> {
        let mut said = Said(Vec::new());
        while let Some(more) = items.next_element()? {
            said.add(more);
        }
        Ok(said)
    }
}

impl Said {
    fn add(&mut self, more: Said) {
        for text in more.0 {
            if self.0.len() < MOST_TEXTS && !self.0.contains(&text) {
                self.0.push(text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stranger(status: u16, headers: &[(&str, &str)], body: &str) -> Option<Stranger> {
        Stranger::of(&Answer::new(status, headers.iter().copied(), body.as_bytes().to_vec()))
    }

    fn texts(body: &str) -> Vec<String> {
        stranger(403, &[], body).expect("no error of Klarna's").texts
    }

    #[test]
    fn a_firewalls_page() {
        let headers = [("server", "cloudflare"), ("CF-RAY", "8c0-ARN"), ("X-Other", "x"), ("X-Request-Id", "")];
        let page = "<!DOCTYPE html><html><head><TITLE lang=en>\n Just  a\tmoment &amp; more&hellip;</TITLE></head>";
        let found = stranger(403, &headers, page).expect("a page");
        assert_eq!((found.is_page, found.title.as_deref()), (true, Some("Just a moment & more…")));
        assert_eq!(found.marks, [("Server", "cloudflare".to_owned()), ("CF-RAY", "8c0-ARN".to_owned())]);
        for (body, title) in [
            ("<title>open", None),
            ("<html><title></title>", None),
            ("<title", None),
            ("\u{feff} <TiTle>a</tItle>", Some("a")),
        ] {
            assert_eq!(stranger(502, &[], body).expect(body).title.as_deref(), title, "{body}");
        }
        let found = stranger(403, &[("Content-Type", "Text/HTML; charset=utf-8")], "Forbidden").expect("a page");
        assert_eq!((found.is_page, found.title), (true, None));
    }

    #[test]
    fn errors_in_the_shapes_of_others() {
        for (body, said) in [
            (r#"{"message":"Forbidden"}"#, &["Forbidden"][..]),
            (r#"{"Message":"User is not authorized","x":[1,{"message":"no"}]}"#, &["User is not authorized"]),
            (r#"{"detail":"Not found."}"#, &["Not found."]),
            (r#"{"error":{"code":403,"message":"quota"}}"#, &["quota"]),
            (r#"{"error":"invalid_client","error_description":"bad"}"#, &["invalid_client", "bad"]),
            (r#"{"type":"about:blank","title":"Out of credit","status":403,"detail":"30"}"#, &["Out of credit", "30"]),
            (r#"{"fault":{"faultstring":"Invalid key","detail":{"errorcode":"x"}}}"#, &["Invalid key"]),
            (r#"{"errors":[{"message":"a"},{"message":"a"},{"message":"b"},{"reason":"c"},"d"]}"#, &["a", "b", "c"]),
            (r#"{"message":"","detail":null,"error":true,"title":7}"#, &[]),
            (r#"{"message":"cut"#, &[]),
            ("", &[]),
            ("Forbidden", &[]),
        ] {
            assert_eq!(texts(body), said, "{body}");
        }
        let deep = format!("{{\"error\":{}", "[".repeat(100_000));
        assert!(texts(&deep).is_empty());
        let long = format!("{{\"message\":\"{}\"}}", "a".repeat(MOST_TEXT + 1));
        assert!(texts(&long).is_empty());
    }

    #[test]
    fn klarnas_own_errors_are_no_strangers() {
        for body in [
            r#"{"error_code":"NO_SUCH_ORDER","message":"x"}"#,
            r#"{"error_messages":["x"]}"#,
            r#"{"correlation_id":"x"}"#,
        ] {
            assert_eq!(stranger(404, &[("Server", "x")], body), None, "{body}");
        }
        assert_eq!(stranger(201, &[("Server", "x")], ""), None);
        assert!(stranger(200, &[], "<html>").is_some_and(|found| found.is_page), "a login page of a network");
    }
}
