//! Bytes from a server: answers and lists of captures.

use std::time::Duration;

use serde_json::Value;
use takings::binding::Http1;
use takings::fuzzing::{Call, Received};
use takings::{Client, Config, Found};

use crate::{SECRETS, Secret, check_line};

/// The order of the answers.
pub(crate) const ORDER: &str = "order 1";

/// The parts of an answer in a text: a line whose numbers come first, header lines, an empty
/// line, the body.
pub(crate) struct Parts<'a> {
    pub numbers: Vec<u64>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: &'a [u8],
}

pub(crate) fn parts(data: &[u8]) -> Parts<'_> {
    let (first, mut rest) = line(data);
    let mut headers = Vec::new();
    while !rest.is_empty() {
        let (header, further) = line(rest);
        rest = further;
        if header.is_empty() {
            break;
        }
        let colon = header.iter().position(|byte| *byte == b':').unwrap_or(header.len());
        let value = header.get(colon + 1..).unwrap_or_default();
        headers.push((String::from_utf8_lossy(&header[..colon]).into_owned(), value.trim_ascii().to_vec()));
    }
    Parts { numbers: numbers(first), headers, body: rest }
}

/// The first line, without its end, and what follows it.
pub(crate) fn line(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (data[..end].strip_suffix(b"\r").unwrap_or(&data[..end]), &data[end + 1..]),
        None => (data, &[]),
    }
}

/// Every number in a line.
pub(crate) fn numbers(line: &[u8]) -> Vec<u64> {
    line.split(|byte| !byte.is_ascii_digit())
        .filter_map(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
        .collect()
}

/// An answer: `status secret limit`, headers, an empty line, the body. An id counts only in the shape of an id, and
/// only if the server sent it in its place. Every other text is scrubbed.
pub fn answer(data: &[u8]) {
    let Parts { numbers, headers, body } = parts(data);
    let number = |index: usize| numbers.get(index).copied().unwrap_or_default();
    let status = u16::try_from(number(0)).unwrap_or_default();
    let received = Received::new(status, headers.clone(), body.to_vec());

    match received.capture(ORDER) {
        Ok(id) => {
            check_id(&id);
            let said = |name: &str, end: &str| {
                headers.iter().any(|(header, value)| {
                    let value = String::from_utf8_lossy(value);
                    let value = value.trim();
                    header.eq_ignore_ascii_case(name)
                        && match end {
                            "" => value == id,
                            _ => value.split(['?', '#']).next().unwrap_or_default().ends_with(end),
                        }
                })
            };
            let end = format!("captures/{id}");
            let end = if id.contains(['?', '#']) { "" } else { end.as_str() };
            assert!(said("capture-id", "") || said("location", end), "{id:?} came from nowhere");
            let mut named = headers.iter().filter(|(header, _)| header.eq_ignore_ascii_case("capture-id"));
            let is_it = |value: &[u8]| String::from_utf8_lossy(value).trim() == id;
            assert!(named.all(|(_, value)| is_it(value)), "two ids, and one was taken");
        }
        Err(why) => check_line(&why),
    }
    if let Some(id) = received.correlation_id() {
        check_id(id);
    }
    if let Some(wait) = received.retry_after() {
        // The pause is later added to the time that has passed, which must not overflow.
        assert!(wait.checked_add(Duration::from_secs(1)).is_some() || wait.as_secs() == u64::MAX);
    }
    let (code, messages, _) = received.error();
    assert!(messages.len() <= 20 && code.as_ref().is_none_or(|code| !code.is_empty()));

    let secret = Secret::chosen_by(number(1));
    let max = usize::try_from(number(2) % 600).unwrap_or_default();
    let call = Call::capture(&Config::at("http://127.0.0.1:1", secret.credentials.clone()), ORDER, "key", 1).unwrap();
    let lossy = String::from_utf8_lossy(body);
    for text in code.iter().chain(&messages).map(String::as_str).chain([&*lossy]) {
        let scrubbed = call.scrub(text, max);
        assert!(scrubbed.chars().count() <= max + 1, "{} of {max}", scrubbed.chars().count());
        if !scrubbed.is_empty() {
            check_line(&scrubbed);
        }
        secret.check_hidden(&scrubbed);
    }
}

fn check_id(id: &str) {
    assert!((1..=255).contains(&id.len()), "{id:?}");
    assert!(id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'), "{id:?}");
}

/// The bytes of a connection. In whatever pieces they come, they are one answer; a connection is reusable only if the
/// answer ended with the last of them.
pub fn http1(data: &[u8]) {
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut exchange, _) = Http1::begin(REQUEST.with(|call| call.request()));
        let mut wanted = exchange.received(b"");
        for piece in pieces {
            wanted = exchange.received(piece);
            assert_ne!(wanted, Some(0), "a host that receives nothing takes it for the end");
        }
        let is_reusable = exchange.is_reusable();
        assert!(!is_reusable || wanted.is_none());
        (wanted, is_reusable, exchange.end("closed"))
    };
    let shown = |bytes: &[u8]| format!("{:?}", read(&mut [bytes].into_iter()));
    let (_, is_reusable, whole) = read(&mut [data].into_iter());
    match &whole {
        Ok(answer) => {
            let status = format!("{answer:?}");
            assert!(!status.contains("status: 1") || status.contains("status: 101"), "{status} is no end");
        }
        Err(why) => check_line(why),
    }
    let places = 1..=data.len().min(64);
    for length in places.step_by(7) {
        assert_eq!(format!("{:?}", read(&mut data.chunks(length))), shown(data), "in pieces of {length}");
    }
    if is_reusable {
        assert!(!read(&mut [data, b"x"].into_iter()).1, "a byte behind the answer is somebody else's");
        assert!(!read(&mut [&data[..data.len() - 1]].into_iter()).1, "the end is not there yet");
    }
}

thread_local! {
    static REQUEST: &'static takings::Call = {
        let config = Config::at("http://127.0.0.1:1", SECRETS[0].credentials.clone());
        let arguments = r#"{"reference": "r", "captured_amount": 1}"#;
        let call = Client::new(config).unwrap().prepare_call("reconcile", ORDER, arguments, None).unwrap();
        Box::leak(Box::new(call))
    };
}

/// A list of captures: `captured_amount`, a blank and the reference, a line's end, the body. A second reader must find
/// the same captures.
pub fn reconcile(data: &[u8]) {
    let (first, body) = line(data);
    let first = String::from_utf8_lossy(first);
    let (amount, reference) = first.split_once(' ').unwrap_or((&first, "parcel-1"));
    let amount: i64 = amount.parse().unwrap_or(6000);
    let found = Received::new(200, Vec::new(), body.to_vec()).list(reference, amount);
    // Deeper or larger bodies are neither a list of captures nor refused as one.
    let Ok(Value::Array(list)) = serde_json::from_slice(body) else {
        if let Err(why) = found {
            check_line_of_ours(&why);
        } else if let Ok(other) = serde_json::from_slice::<Value>(body) {
            panic!("{other} was taken for a list of captures");
        }
        return;
    };
    match found {
        Ok((found, found_ids)) => {
            let mut ids: Vec<&str> = Vec::new();
            let mut with_another_amount = false;
            for capture in &list {
                let capture = capture.as_object().expect("a capture is an object");
                let has_reference = capture.get("reference").and_then(Value::as_str) == Some(reference);
                let has_amount = capture.get("captured_amount").and_then(Value::as_i64) == Some(amount);
                let is_it = has_reference && has_amount;
                let id = capture.get("capture_id").and_then(Value::as_str);
                with_another_amount |= has_reference && !has_amount && id.is_some();
                if is_it && !ids.contains(&id.unwrap_or_default()) {
                    ids.push(id.expect("a capture without an id was found"));
                }
            }
            assert_eq!(found_ids, ids);
            ids.iter().for_each(|id| check_id(id));
            let expected = match ids.len() {
                0 if with_another_amount => Found::AmountDiffers,
                0 => Found::Never,
                1 => Found::Once,
                _ => Found::Several,
            };
            assert_eq!(found, expected);
        }
        Err(why) => check_line_of_ours(&why),
    }
}

/// Checks our own message, which may repeat a reference that was refused.
fn check_line_of_ours(why: &str) {
    assert!(!why.is_empty() && !why.chars().any(char::is_control), "{why:?}");
}
