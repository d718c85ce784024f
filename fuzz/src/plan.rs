//! Calls that are made of several, under any order that a server shows and any loss.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value;
use takings::fuzzing::Received;
use takings::{Client, Config, Credentials, ErrorKind, Event, Step};

use crate::check_line;
use crate::wire::{Parts, line, numbers, parts};

const ORDER: &str = "f3392f8b-6116-4073-ab96-e330819e2c07";
const PLANS: [(&str, &str); 6] = [
    ("capture_remaining", r#"{"reference":"rest"}"#),
    ("refund_remaining", r#"{"reference":"rest"}"#),
    ("refund_capture", r#"{"capture_id":"c-1","reference":"rest"}"#),
    ("refund_capture", r#"{"capture_id":"c-1","reference":"rest","refunded_amount":1000}"#),
    ("cancel_or_release", "{}"),
    ("extend_if_needed", r#"{"within":86400}"#),
];

/// A write as it was sent: its URL, its key and its amount.
type Sent = (String, String, Option<i64>);

/// A call: a line of numbers (the plan, max_attempts), then the ends of its requests as `machine` has them. After the
/// last one every answer is lost.
pub fn plan(data: &[u8]) {
    let (first, events) = line(data);
    let settings = numbers(first);
    let setting = |index: usize, usual: u64| settings.get(index).copied().unwrap_or(usual);
    let (name, arguments) = PLANS[(setting(0, data.len() as u64) % PLANS.len() as u64) as usize];
    let mut config = Config::at("https://gateway.example", Credentials::basic("user", "password"));
    config.max_attempts = u32::try_from(setting(1, 2) % 4).unwrap_or_default().max(1);
    config.backoff = Duration::from_millis(1);
    let client = Client::new(config).expect("settings");
    let mut call = client.prepare_call(name, ORDER, arguments, None).expect("arguments");

    let mut given = given(events).into_iter();
    let mut sent: Option<Sent> = None;
    let mut lost: HashSet<Sent> = HashSet::new();
    let (mut is_refused, mut shown, mut event) = (false, Value::Null, Event::Start);
    for _ in 0..100 {
        match call.step(event) {
            Step::Wait(_) => event = Event::Waited,
            Step::Send(_) => {
                sent = written(call.request());
                if let Some(sent) = &sent {
                    check_write(name, sent, &shown, &lost);
                }
                let next = given.next().unwrap_or_else(|| b">M\nlost".to_vec());
                event = match next.get(1) {
                    Some(b'A') => {
                        let Parts { numbers, headers, body } = parts(&next);
                        let status = numbers.first().and_then(|status| u16::try_from(*status).ok()).unwrap_or_default();
                        match &sent {
                            None if status == 200 => shown = serde_json::from_slice(body).unwrap_or(shown),
                            None => {}
                            Some(_) if (400..429).contains(&status) => is_refused = true,
                            Some(sent) => lost.extend((status != 429).then(|| sent.clone())),
                        }
                        Received::new(status, headers, body.to_vec()).event()
                    }
                    Some(b'N') => Event::NotSent("nobody listens".into()),
                    _ => {
                        lost.extend(sent.clone());
                        Event::MaybeSent("lost".into())
                    }
                };
                let abandoned = call.abandoned();
                assert_eq!(abandoned.kind(), ErrorKind::OutcomeUnknown);
                assert!(abandoned.message().contains(name) && !abandoned.message().contains("changes nothing"));
            }
            Step::Done(Ok(reply)) => {
                assert_eq!(reply.operation(), name);
                return;
            }
            Step::Done(Err(error)) => {
                check_line(error.message());
                match error.kind() {
                    ErrorKind::NotSent => assert!(lost.is_empty(), "{lost:?}, though {error}"),
                    ErrorKind::Rejected => assert!(lost.is_empty() || is_refused, "{lost:?}, though {error}"),
                    ErrorKind::OutcomeUnknown => {}
                    _ => panic!("{error}"),
                }
                return;
            }
        }
    }
    panic!("it does not end, after {sent:?}");
}

/// The events, each from its `>` to the next.
fn given(events: &[u8]) -> Vec<Vec<u8>> {
    let mut given: Vec<Vec<u8>> = Vec::new();
    for line in events.split(|byte| *byte == b'\n') {
        match given.last_mut() {
            Some(event) if line.first() != Some(&b'>') => {
                event.push(b'\n');
                event.extend_from_slice(line);
            }
            _ => given.push(line.to_vec()),
        }
    }
    given
}

fn written(request: &takings::HttpRequest) -> Option<Sent> {
    let mut headers = request.headers();
    let key = headers.find(|(name, _)| name.eq_ignore_ascii_case("klarna-idempotency-key"));
    let key = key.map(|(_, value)| value.to_owned());
    if request.method() == "GET" {
        assert!(key.is_none(), "a read has a key");
        return None;
    }
    let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
    let amount = body["captured_amount"].as_i64().or(body["refunded_amount"].as_i64());
    Some((request.url().to_owned(), key.expect("a write without a key"), amount))
}

/// A write takes no more than the order that was shown last has left, and none follows another that may have been made.
fn check_write(name: &str, sent: &Sent, shown: &Value, lost: &HashSet<Sent>) {
    let Some(amount) = sent.2 else { return };
    assert!(lost.iter().all(|before| before == sent), "{sent:?} follows {lost:?}");
    let number = |member: &str| shown[member].as_i64();
    let left = match name {
        "capture_remaining" => number("remaining_authorized_amount"),
        "refund_remaining" => number("captured_amount").zip(number("refunded_amount")).map(|(all, back)| all - back),
        _ => return assert!(amount > 0),
    };
    assert_eq!(left, Some(amount), "{shown}");
}
