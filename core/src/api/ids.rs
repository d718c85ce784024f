//! Ids: what may stand in a path, and which id an answer names.

use uuid::Uuid;

use crate::error::Error;
use crate::text::{Bytes, oddity};
use crate::wire::answer::{Answer, is_id};

/// The path of an operation: `template` below the order, its parts in braces replaced by `argument`.
pub(crate) fn path<'a>(order_id: &str, template: &str, argument: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut path = order_path(order_id);
    let mut rest = template;
    while let Some((before, (name, after))) =
        rest.split_once('{').and_then(|(before, name)| Some((before, name.split_once('}')?)))
    {
        path.push_str(before);
        escape(argument(name).unwrap_or_default(), &mut path);
        rest = after;
    }
    path.push_str(rest);
    path
}

fn order_path(order_id: &str) -> String {
    let mut path = String::with_capacity(96);
    path.push_str("/ordermanagement/v1/orders/");
    escape(order_id, &mut path);
    path
}

/// The characters of a path that need no escape (RFC 3986, 2.3).
const UNRESERVED: Bytes = Bytes::alphanumeric_or(b"-_.~");

fn escape(segment: &str, path: &mut String) {
    if UNRESERVED.have(segment.as_bytes()) {
        path.push_str(segment);
        return;
    }
    for byte in segment.bytes() {
        // URL parsers fold `\`, tabs and more: only what needs no escape is left as it is
        if UNRESERVED.has(byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// An id must stay one segment of a path, whoever parses the URL. `field` is its name, `of` whose id it is.
pub(crate) fn check_segment(field: &str, id: &str, of: &str) -> Result<(), Error> {
    // Klarna's ids are of this kind.
    if (1..=255).contains(&id.len()) && UNRESERVED.have(id.as_bytes()) && id != "." && id != ".." {
        return Ok(());
    }
    let allowed =
        format!("the id Klarna gave the {of}, 1 to 255 characters without slashes or characters that nobody sees");
    if let Some(oddity) = oddity(id) {
        return Err(Error::odd(field, &oddity, &allowed));
    }
    let got = if id.is_empty() {
        "empty".to_owned()
    } else if id == "." || id == ".." {
        format!("{id:?}")
    } else if id.chars().count() > 255 {
        "longer than 255 characters".to_owned()
    } else if let Some(bad) = id.chars().find(|c| matches!(c, '/' | '\\')) {
        format!("a text with {bad:?}")
    } else {
        return Ok(());
    };
    Err(Error::invalid_argument(field, &got, &allowed))
}

pub(crate) fn check_order_id(order_id: &str) -> Result<(), Error> {
    check_segment("order_id", order_id, "order")
}

/// The id of what was made, from its own header or the end of `Location`. Facts that contradict each other are no
/// answer to this call: a kept-alive connection may hold somebody else's.
pub(crate) fn created_id(answer: &Answer, order_id: &str, header: &str, collection: &str) -> Result<String, String> {
    let shown = || header.split('-').map(capitalised).collect::<Vec<_>>().join("-");
    let mut found: Option<&str> = None;
    let mut agree = |id| match found {
        None => {
            found = Some(id);
            true
        }
        Some(other) => other == id || (other.eq_ignore_ascii_case(id) && Uuid::try_parse(id).is_ok()),
    };
    for value in answer.all(header) {
        match value {
            Some(id) if is_id(id) && agree(id) => {}
            Some(id) if is_id(id) => return Err(format!("with two {}s", shown())),
            _ => return Err(format!("with a {} that cannot be one", shown())),
        }
    }
    for value in answer.all("location") {
        let Some(location) = value else { return Err("with a Location that is not ASCII".into()) };
        match id_in_location(location, order_id, collection)? {
            Some(id) if !agree(id) => return Err("with a Location at odds with another id".into()),
            _ => {}
        }
    }
    found.map(str::to_owned).ok_or_else(|| format!("without a {} id", collection.trim_end_matches('s')))
}

fn id_in_location<'a>(location: &'a str, order_id: &str, collection: &str) -> Result<Option<&'a str>, String> {
    let end = location.bytes().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(location.len());
    let location = &location[..end];
    // The last ones count: a path prefix may hold the same words.
    let mut named = "";
    for segment in location.rsplit('/') {
        if segment.eq_ignore_ascii_case("orders") {
            if !is_same_order(named, order_id) {
                return Err("with a Location of another order".into());
            }
            break;
        }
        named = segment;
    }
    let mut last = location.rsplit('/');
    let id = last.next().filter(|id| is_id(id));
    Ok(if last.next() == Some(collection) { id } else { None })
}

fn is_same_order(segment: &str, order_id: &str) -> bool {
    let escaped = || {
        let mut escaped = String::new();
        escape(order_id, &mut escaped);
        escaped
    };
    segment.eq_ignore_ascii_case(order_id) || segment.eq_ignore_ascii_case(&escaped())
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Endpoint, Most};

    fn id(headers: &[(&str, &str)]) -> Option<String> {
        let headers: Vec<_> = headers.iter().map(|(n, v)| (n.to_string(), v.as_bytes().to_vec())).collect();
        created_id(&Answer::new(201, headers, Vec::new()), "order 1", "capture-id", "captures").ok()
    }

    /// Requests are sent to a URL that no parser has seen.
    #[test]
    fn a_url_is_the_one_that_a_parser_would_make() {
        let secret = || zeroize::Zeroizing::new("secret".to_owned());
        for base in
            ["https://x.example", "https://x.example:8443/gw", "https://x.example/gw/", "http://[::1]:81/a%20b//"]
        {
            let base: url::Url = base.parse().unwrap();
            let endpoint = Endpoint::new(base.clone(), secret(), "test".into(), vec![]);
            for id in ["f3392f8b-6116", "a b", "%2e%2e", "..a", "ö?#", "~_", ""] {
                let path = path(id, "/captures/{capture_id}", |_| Some(id));
                let request = endpoint.request(&http::Method::GET, &path, None, vec![], Most::ERROR);
                let mut url = base.clone();
                url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
                assert_eq!((request.url(), request.target()), (url.as_str(), url.path()), "{base} {id:?}");
            }
        }
    }

    #[test]
    fn ids_that_are_believed() {
        for headers in [
            &[("Capture-Id", "c1")][..],
            &[("capture-id", " c1 ")],
            &[("CAPTURE-ID", "c1"), ("Capture-ID", "c1")],
            &[("Location", "https://api.klarna.com/ordermanagement/v1/orders/order%201/captures/c1")],
            &[("location", "http://klarna/orders/order%201/captures/c1")],
            &[("Location", "/orders/x/orders/order%201/captures/c1?a=/orders/y#z")],
            &[("Location", "/captures/c1")],
            &[("Capture-Id", "c1"), ("Location", "/orders/order%201/captures/c1")],
            &[("Capture-Id", "c1"), ("Location", "/")],
            &[("Capture-Id", "c1"), ("Location", "")],
        ] {
            assert_eq!(id(headers).as_deref(), Some("c1"), "{headers:?}");
        }
    }

    #[test]
    fn a_uuid_is_the_same_id_in_either_case() {
        let small = "a626f103-6aa3-4794-86d0-79b701126050";
        let location = format!("/captures/{}", small.to_uppercase());
        assert_eq!(id(&[("Capture-Id", small), ("Location", &location)]).as_deref(), Some(small));
        assert_eq!(id(&[("Capture-Id", "c1"), ("Location", "/captures/C1")]), None);
    }

    #[test]
    fn ids_that_are_not() {
        let long = "c".repeat(256);
        for headers in [
            &[][..],
            &[("Capture-Id", "")],
            &[("Capture-Id", "a/b")],
            &[("Capture-Id", "a\\b")],
            &[("Capture-Id", "..")],
            &[("Capture-Id", "%2e%2e")],
            &[("Capture-Id", "c1,c2")],
            &[("Capture-Id", "\"c1\"")],
            &[("Capture-Id", "c1"), ("Location", "/Orders/other/captures/c1")],
            &[("Capture-Id", "a b")],
            &[("Capture-Id", "a\u{7f}")],
            &[("Capture-Id", "ö")],
            &[("Capture-Id", &long)],
            &[("Capture-Id", "c1"), ("Capture-Id", "c2")],
            &[("Capture-Id", "c1"), ("Capture-Id", "")],
            &[("Location", "/orders/order%201/captures/")],
            &[("Location", "/orders/order%201/captures")],
            &[("Location", "/orders/order%201")],
            &[("Location", "/login")],
            &[("Location", "/orders/other/captures/c1")],
            &[("Capture-Id", "c1"), ("Location", "/orders/other/captures/c1")],
            &[("Capture-Id", "c1"), ("Location", "/orders/order%201/captures/c2")],
        ] {
            assert_eq!(id(headers), None, "{headers:?}");
        }
    }

    #[test]
    fn an_order_id_stays_one_segment() {
        for bad in ["", ".", "..", "a/b", "/", "a\\b", "a\r\nb", "a\0b", "\u{85}", &"x".repeat(256)] {
            assert!(check_order_id(bad).is_err(), "{bad:?}");
        }
        for (id, segment) in [
            ("f3392f8b-6116", "f3392f8b-6116"),
            ("%2e%2e", "%252e%252e"),
            ("a b?c#d;e", "a%20b%3Fc%23d%3Be"),
            ("ö", "%C3%B6"),
            ("...", "..."),
        ] {
            check_order_id(id).unwrap();
            assert_eq!(path(id, "", |_| None), format!("/ordermanagement/v1/orders/{segment}"));
            let below =
                path(id, "/captures/{capture_id}/shipping-info", |name| (name == "capture_id").then_some("c/1"));
            assert_eq!(below, format!("/ordermanagement/v1/orders/{segment}/captures/c%2F1/shipping-info"));
        }
    }
}
