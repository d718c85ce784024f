//! The machine of every operation under any server and any host, checked against a second account of its rules.

use std::time::Duration;

use serde_json::Value;
use takings::fuzzing::{Call, Received};
use takings::{Config, Error, ErrorKind, Event, Found, Reply, Step};

use crate::wire::{Parts, line, numbers, parts};
use crate::{Secret, check_line};

const KEY: &str = "0c6a4e1e-7f0b-4d2f-9f0e-3f7a8b1c2d3e";
const ORDERS: [&str; 3] = ["f3392f8b-6116-4073-ab96-e330819e2c07", "order 1", "a?b#%2e\u{202e}\u{f6}"];

/// An operation as Klarna documents it, written a second time.
struct Row {
    name: &'static str,
    method: &'static str,
    /// The path below the order.
    path: &'static str,
    arguments: &'static str,
    /// The path below the order of what is read for it after an unclear end.
    look: Option<&'static str>,
}

const fn row(
    name: &'static str,
    method: &'static str,
    path: &'static str,
    arguments: &'static str,
    look: Option<&'static str>,
) -> Row {
    Row { name, method, path, arguments, look }
}

const OF_CAPTURE: &str = r#"{"capture_id":"c-1"}"#;

/// A capture comes first, since inputs that name no operation are mostly captures.
const ROWS: [Row; 20] = [
    row("capture", "POST", "/captures", r#"{"captured_amount":6000,"reference":"parcel-1"}"#, Some("/captures")),
    row("refund", "POST", "/refunds", r#"{"refunded_amount":6000,"reference":"parcel-1"}"#, Some("")),
    row("cancel", "POST", "/cancel", "{}", Some("")),
    row("acknowledge", "POST", "/acknowledge", "{}", None),
    row("release_remaining_authorization", "POST", "/release-remaining-authorization", "{}", Some("")),
    row("extend_authorization_time", "POST", "/extend-authorization-time", "{}", None),
    row("update_authorization", "PATCH", "/authorization", r#"{"order_amount":1,"order_lines":[]}"#, Some("")),
    row("update_customer_details", "PATCH", "/customer-details", r#"{"shipping_address":{"city":"Kiel"}}"#, Some("")),
    row("update_merchant_references", "PATCH", "/merchant-references", r#"{"merchant_reference1":"A"}"#, Some("")),
    row(
        "append_order_shipping_info",
        "POST",
        "/shipping-info",
        r#"{"shipping_info":[{"tracking_number":"1"}]}"#,
        Some(""),
    ),
    row(
        "append_shipping_info",
        "POST",
        "/captures/c-1/shipping-info",
        r#"{"capture_id":"c-1","shipping_info":[{"tracking_number":"1"}]}"#,
        Some("/captures/c-1"),
    ),
    row("trigger_send_out", "POST", "/captures/c-1/trigger-send-out", OF_CAPTURE, None),
    row(
        "extend_due_date",
        "PATCH",
        "/captures/c-1/extend-due-date",
        r#"{"capture_id":"c-1","number_of_days":10}"#,
        None,
    ),
    row("get_order", "GET", "", "{}", None),
    row("get_captures", "GET", "/captures", "{}", None),
    row("get_capture", "GET", "/captures/c-1", OF_CAPTURE, None),
    row("get_extend_due_date_options", "GET", "/captures/c-1/extend-due-date-options", OF_CAPTURE, None),
    row("get_refund", "GET", "/refunds/r-1", r#"{"refund_id":"r-1"}"#, None),
    row("reconcile", "GET", "/captures", r#"{"captured_amount":6000,"reference":"parcel-1"}"#, None),
    row("reconcile_refund", "GET", "", r#"{"refunded_amount":6000,"reference":"parcel-1"}"#, None),
];

impl Row {
    fn writes(&self) -> bool {
        self.method != "GET"
    }

    /// Its failure says nothing about the call that it looks for.
    fn is_query(&self) -> bool {
        self.name.starts_with("reconcile")
    }

    fn makes_something(&self) -> bool {
        matches!(self.name, "capture" | "refund")
    }

    /// Whether a lost attempt would have been refused as well.
    fn is_settled_by(&self, status: u16, code: &str) -> bool {
        match (status, code) {
            (400, "BAD_REQUEST" | "BAD_VALUE" | "INVALID_ORDER_ID")
            | (413, "REQUEST_TOO_LARGE")
            | (422, "UNPROCESSABLE_ENTITY") => true,
            (404, "NO_SUCH_ORDER") => !self.path.contains("c-1"),
            (422, "INVALID_ADDRESS") => self.name == "update_customer_details",
            _ => false,
        }
    }
}

/// A call: a line of numbers (flags, max_attempts, timeout, attempt, connect, backoff and
/// max_backoff in ms, secret, order, seed, operation), then events. An event begins with a line `>`, a
/// letter and numbers, its text follows:
///
///     >A 201 30     an answer: status, ms gone by; headers, an empty line, the body
///     >N 30         not sent; why
///     >M 30         maybe sent; why
///     >W 30         a pause is over, ms late
///     >S            start
///
/// Flags: 1 looks up the captures of an unclear call, 2 feeds the events in any order. Without 2 the host keeps to its
/// turn: pauses end by themselves, and after the last event every answer is lost.
pub fn machine(data: &[u8]) {
    let (first, events) = line(data);
    let settings = numbers(first);
    let setting = |index: usize, usual: u64| settings.get(index).copied().unwrap_or(usual);
    let secret = Secret::chosen_by(setting(7, 0));
    let mut config = Config::at("https://gateway.example/klarna", secret.credentials.clone());
    let flags = setting(0, 0);
    config.reconcile = flags & 1 != 0;
    config.max_attempts = u32::try_from(setting(1, 3)).unwrap_or(u32::MAX);
    config.timeout = Duration::from_millis(setting(2, 25_000));
    config.attempt_timeout = Duration::from_millis(setting(3, 10_000));
    config.connect_timeout = Duration::from_millis(setting(4, 5_000));
    config.backoff = Duration::from_millis(setting(5, 500));
    config.max_backoff = Duration::from_millis(setting(6, 8_000));
    let order = ORDERS[(setting(8, 0) % 3) as usize];
    // Inputs that name no operation are for captures, or by their length for any.
    let usual = if data.len().is_multiple_of(2) { 0 } else { data.len() as u64 / 2 };
    let row = &ROWS[(setting(10, usual) % ROWS.len() as u64) as usize];
    let Ok(call) = Call::of(row.name, &config, (order, row.arguments), KEY, setting(9, 7)) else {
        assert!(Call::capture(&config, order, KEY, 7).is_err(), "{} has no call", row.name);
        return;
    };

    let mut account = Account {
        row,
        config: &config,
        secret,
        order,
        call,
        now: Duration::from_secs(3),
        deadline: Duration::ZERO,
        turn: Turn::Start,
        first_body: None,
        posts: 0,
        gets: 0,
        unclear: false,
        limited: false,
        agreed: false,
        ended_unclear: false,
    };
    let mut events = events.split(|byte| *byte == b'\n').peekable();
    // the events, each from its `>` to the next
    let mut given = std::iter::from_fn(|| {
        let mut event = events.next()?.to_vec();
        while let Some(more) = events.next_if(|more| more.first() != Some(&b'>')) {
            event.push(b'\n');
            event.extend_from_slice(more);
        }
        Some(event)
    });
    if flags & 2 != 0 {
        given.for_each(|event| account.feed(&event));
        return;
    }
    account.feed(b">S");
    for _ in 0..100 {
        match account.turn {
            Turn::Answer(_) => {
                let event = given.find(|event| matches!(event.get(1), Some(b'A' | b'N' | b'M')));
                account.feed(event.as_deref().unwrap_or(b">M 5\nlost"));
            }
            Turn::Pause(_) => account.feed(b">W"),
            Turn::Start => unreachable!("it was started"),
            Turn::Over => return,
        }
    }
    panic!("it does not end");
}

/// The next act of the host, and its time.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Start,
    Answer(Duration),
    Pause(Duration),
    Over,
}

/// The meaning of an answer, or of its absence, for the money. Taken from the tables of the design, not from the
/// machine.
enum Meaning {
    /// The request was carried out, and made what has this id.
    Captured(String),
    /// The request was carried out.
    Done,
    /// A document, which the machine may take for its own or not.
    Perhaps,
    /// Klarna refused; the flag says whether that also settles earlier attempts.
    No {
        settles: bool,
    },
    /// The rate limit: not executed.
    NotNow,
    NotSent,
    Unclear,
    /// A 201 without the id of what was made.
    Yes,
}

struct Account<'a> {
    row: &'static Row,
    config: &'a Config,
    secret: &'a Secret,
    order: &'a str,
    call: Call,
    now: Duration,
    deadline: Duration,
    turn: Turn,
    first_body: Option<(String, Vec<u8>)>,
    /// The requests of the call itself; those of its look are counted apart.
    posts: u32,
    gets: u32,
    unclear: bool,
    /// The rate limit was met, so the outcome is not `not_sent` any more.
    limited: bool,
    /// Klarna answered with success and without an id.
    agreed: bool,
    /// The call itself is over: later requests are look-ups.
    ended_unclear: bool,
}

/// Whether a call may go on after it.
fn goes_on(meaning: &Option<Meaning>) -> bool {
    matches!(meaning, Some(Meaning::NotNow | Meaning::NotSent | Meaning::Unclear | Meaning::Yes | Meaning::Perhaps))
}

fn received(parts: Parts<'_>) -> (u16, Received) {
    let status = parts.numbers.first().and_then(|status| u16::try_from(*status).ok()).unwrap_or_default();
    (status, Received::new(status, parts.headers, parts.body.to_vec()))
}

impl Account<'_> {
    fn feed(&mut self, event: &[u8]) {
        let (head, text) = line(event);
        let letter = head.get(1).copied().unwrap_or(b'M');
        let late = Duration::from_millis(numbers(head).get(usize::from(letter == b'A')).copied().unwrap_or(0));
        let late = late.min(Duration::from_secs(100_000_000));
        let why = || String::from_utf8_lossy(text).into_owned();
        let given = match letter {
            b'A' => received(parts(event)).1.event(),
            b'N' => Event::NotSent(why()),
            b'W' => Event::Waited,
            b'S' => Event::Start,
            _ => Event::MaybeSent(why()),
        };
        let in_turn = matches!(
            (self.turn, &given),
            (Turn::Start, Event::Start)
                | (Turn::Answer(_), Event::Answered(_) | Event::NotSent(_) | Event::MaybeSent(_))
                | (Turn::Pause(_), Event::Waited)
        );
        self.now += match self.turn {
            // a host is done within the time it was given, or a little late
            Turn::Answer(timeout) => late.min(timeout * 2),
            Turn::Pause(pause) => pause + late,
            _ => late,
        };
        if let (Turn::Start, Event::Start) = (self.turn, &given) {
            self.deadline = self.now + self.config.timeout;
        }
        let looking = self.ended_unclear;
        let meaning = match (&self.turn, &given) {
            (Turn::Answer(_), Event::Answered(_)) => Some(self.meaning(parts(event))),
            (Turn::Answer(_), Event::NotSent(_)) => Some(Meaning::NotSent),
            (Turn::Answer(_), Event::MaybeSent(_)) => Some(Meaning::Unclear),
            _ => None,
        };
        let step = self.call.step(self.now, given);
        let abandoned = self.call.abandoned();
        assert_eq!(abandoned.kind(), ErrorKind::OutcomeUnknown);
        self.check_texts(&abandoned);

        if !in_turn {
            let Step::Done(Err(error)) = step else { panic!("out of turn, and it went on: {step:?}") };
            let expected = if looking { ErrorKind::OutcomeUnknown } else { ErrorKind::Internal };
            assert_eq!(error.kind(), expected);
            assert_eq!((error.attempts(), error.retryable()), (self.posts, self.posts > 0));
            self.check_error(&error);
            self.turn = Turn::Over;
            return;
        }
        if !looking && self.row.writes() {
            match &meaning {
                Some(Meaning::Unclear) => self.unclear = true,
                Some(Meaning::Yes) => (self.unclear, self.agreed) = (true, true),
                Some(Meaning::No { settles: true }) if !self.agreed => self.unclear = false,
                _ => {}
            }
        }
        self.limited |= !looking && matches!(meaning, Some(Meaning::NotNow));
        match step {
            Step::Send(timeout) => {
                let request = self.call.request();
                let (method, url, body) = (request.method(), request.url().to_owned(), request.body().to_vec());
                let key = request.headers().find(|(name, _)| *name == "klarna-idempotency-key").map(|(_, key)| key);
                assert!(!matches!(self.turn, Turn::Over));
                assert!(timeout <= self.config.attempt_timeout.min(self.config.timeout));
                let left = self.deadline.saturating_sub(self.now).max(Duration::from_millis(1));
                assert!(timeout <= left && !timeout.is_zero(), "{timeout:?} of {left:?}");
                assert!(url.starts_with("https://gateway.example/klarna/ordermanagement/v1/orders/"), "{url}");
                let (first, bytes) = self.first_body.get_or_insert_with(|| (url.clone(), body.clone()));
                assert!(first.ends_with(self.row.path), "{first}");
                if self.row.writes() && method == "GET" {
                    assert!(self.config.reconcile && self.unclear && key.is_none() && body.is_empty());
                    let order = first.strip_suffix(self.row.path).expect("the path");
                    assert_eq!(Some(url), self.row.look.map(|look| format!("{order}{look}")));
                    self.ended_unclear = true;
                    self.gets += 1;
                    assert!(self.gets <= self.config.max_attempts);
                } else {
                    assert!(!self.ended_unclear, "a call was sent after its end");
                    assert_eq!((method, key), (self.row.method, self.row.writes().then_some(KEY)));
                    assert_eq!((&*first, &*bytes), (&url, &body));
                    self.posts += 1;
                    assert!(self.posts <= self.config.max_attempts);
                    assert!(matches!(self.turn, Turn::Start | Turn::Pause(_)) || goes_on(&meaning), "sent again");
                }
                self.turn = Turn::Answer(timeout);
            }
            Step::Wait(pause) => {
                assert!(self.now + pause < self.deadline, "a pause past the deadline is begun");
                assert!(goes_on(&meaning), "a pause after a clear outcome");
                self.turn = Turn::Pause(pause);
            }
            Step::Done(result) => {
                let meaning = meaning.expect("it ends with an answer, or none");
                self.turn = Turn::Over;
                match result {
                    Ok(reply) => self.check_reply(&reply, &meaning),
                    Err(error) => {
                        let expected = match (&meaning, self.unclear) {
                            (Meaning::Captured(id), _) => panic!("{id:?} became {error}"),
                            (Meaning::Done, _) => panic!("it was done, and became {error}"),
                            (_, true) => ErrorKind::OutcomeUnknown,
                            _ if self.row.is_query() => ErrorKind::OutcomeUnknown,
                            (Meaning::No { .. } | Meaning::NotNow, false) => ErrorKind::Rejected,
                            (Meaning::NotSent, false) if self.limited => ErrorKind::Rejected,
                            (Meaning::NotSent, false) => ErrorKind::NotSent,
                            (Meaning::Unclear | Meaning::Yes | Meaning::Perhaps, false) => {
                                assert!(!self.row.writes(), "it was noted");
                                ErrorKind::OutcomeUnknown
                            }
                        };
                        assert_eq!(error.kind(), expected, "{error}");
                        assert_eq!(error.attempts(), self.posts);
                        let is_no = matches!(meaning, Meaning::No { .. }) && !self.unclear;
                        let retryable = !is_no;
                        assert_eq!(error.retryable(), retryable, "{error}");
                        self.check_error(&error);
                    }
                }
            }
        }
    }

    fn meaning(&self, mut parts: Parts<'_>) -> Meaning {
        // An id that echoes a credential does not count.
        parts.headers.retain(|(_, value)| !self.secret.is_echoed(value));
        let (status, answer) = received(parts);
        if self.ended_unclear {
            // In a look-up only a single match counts.
            return match (self.row.name, answer.list("parcel-1", 6000)) {
                ("capture", Ok((Found::Once, mut ids)))
                    if status == 200 && !self.secret.is_echoed(ids[0].as_bytes()) =>
                {
                    Meaning::Captured(ids.swap_remove(0))
                }
                ("capture", _) => Meaning::Unclear,
                _ if status == 200 => Meaning::Perhaps,
                _ => Meaning::Unclear,
            };
        }
        match status {
            200 if !self.row.writes() => Meaning::Perhaps,
            200..=299 if !self.row.writes() => Meaning::Unclear,
            204 if !self.row.makes_something() => Meaning::Done,
            201 => answer.created(self.row.name, self.order).map_or(Meaning::Yes, Meaning::Captured),
            200..=299 => answer.created(self.row.name, self.order).map_or(Meaning::Unclear, Meaning::Captured),
            429 => Meaning::NotNow,
            408 | 409 | 425 => Meaning::Unclear,
            400..=499 => {
                let (code, ..) = answer.error();
                Meaning::No { settles: self.row.is_settled_by(status, code.as_deref().unwrap_or_default()) }
            }
            _ => Meaning::Unclear,
        }
    }

    fn check_reply(&self, reply: &Reply, meaning: &Meaning) {
        match meaning {
            Meaning::Captured(id) => {
                assert_eq!(reply.created_id(), Some(id.as_str()));
                assert!(!self.secret.is_echoed(id.as_bytes()), "{reply:?}");
            }
            Meaning::Done => assert_eq!(reply.created_id(), None),
            Meaning::Perhaps => self.check_document(reply),
            _ => panic!("{reply:?} came of nothing"),
        }
        assert!(!reply.correlation_id().is_some_and(|id| self.secret.is_echoed(id.as_bytes())), "{reply:?}");
        assert_eq!(reply.attempts(), self.posts);
        assert_eq!((reply.order_id(), reply.idempotency_key()), (self.order, self.key()));
    }

    fn key(&self) -> Option<&'static str> {
        self.row.writes().then_some(KEY)
    }

    /// A reply that a document gave: it is JSON of the right kind, and of what was asked for.
    fn check_document(&self, reply: &Reply) {
        let shown: Value = serde_json::from_str(&reply.to_json()).expect("takings writes JSON");
        let document: Value = serde_json::from_str(shown["raw"].as_str().unwrap_or("null")).expect("JSON was taken");
        match self.row.name {
            "get_captures" => assert!(document.is_array(), "{reply:?}"),
            "get_order" => assert!(document["order_id"].as_str().is_some_and(|id| id.eq_ignore_ascii_case(self.order))),
            "get_capture" => assert!(document["capture_id"].as_str().is_some_and(|id| id.eq_ignore_ascii_case("c-1"))),
            "get_refund" | "get_extend_due_date_options" => assert!(document.is_object(), "{reply:?}"),
            _ if self.row.is_query() => assert!(shown["found"].is_string(), "{reply:?}"),
            _ => assert!(self.row.look.is_some() && self.config.reconcile, "{reply:?}"),
        }
    }

    fn check_error(&self, error: &Error) {
        assert_eq!(error.order_id(), Some(self.order));
        assert_eq!(error.idempotency_key(), self.key());
        self.check_texts(error);
    }

    fn check_texts(&self, error: &Error) {
        check_line(error.message());
        let length = error.message().chars().count();
        assert!(length < 2500, "a line of {length} characters");
        let codes = error.error_code().into_iter().chain(error.correlation_id());
        for text in codes.chain(error.error_messages().iter().map(String::as_str)) {
            assert!(!text.chars().any(|c| c.is_control() || crate::is_invisible(c)), "{text:?}");
            assert!(text.chars().count() <= 501);
            self.secret.check_hidden(text);
        }
        self.secret.check_hidden(error.message());
        assert!(!format!("{error:?}").contains('\u{1b}'));
    }
}

#[cfg(test)]
mod tests {
    use takings::fuzzing::operations;

    use super::*;

    #[test]
    fn the_second_account_has_every_operation() {
        let mut names: Vec<_> =
            ROWS.iter().map(|row| (row.name, row.method, row.writes(), row.look.is_some())).collect();
        let mut table: Vec<_> = operations().map(|row| (row.name, row.method, row.writes, row.has_look)).collect();
        names.sort_unstable();
        table.sort_unstable();
        assert_eq!(names, table);
    }
}
