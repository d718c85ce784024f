//! Looking into an order's captures for one that was made, by its reference and amount.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer};

use crate::api::request::CAPTURED_AMOUNT;
use crate::decide::machine::Task;
use crate::drive::call::Attempt;
use crate::error::{Error, ErrorKind};
use crate::strict::{Field, Item, Reader, Rule, object};
use crate::wire::Endpoint;
use crate::wire::answer::{Answer, is_id};

/// How often a capture was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// `once`: this is the capture.
    Once,
    /// `never`, when Klarna was asked. A capture whose answer was lost a moment ago may still be
    /// on its way: capture again with the same key, not with a new one.
    Never,
    /// `several`: the reference does not tell them apart.
    Several,
}

impl Found {
    /// The name used on every surface: `once`, `never` or `several`.
    pub fn as_str(self) -> &'static str {
        match self {
            Found::Once => "once",
            Found::Never => "never",
            Found::Several => "several",
        }
    }
}

/// What a look into an order's captures found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reconciliation {
    pub(crate) found: Found,
    pub(crate) capture_ids: Vec<String>,
    pub(crate) order_id: String,
    pub(crate) correlation_id: Option<String>,
    pub(crate) attempts: u32,
    pub(crate) attempt_log: Vec<Attempt>,
}

impl Reconciliation {
    /// How often.
    pub fn found(&self) -> Found {
        self.found
    }

    /// The capture, if it was found once.
    pub fn capture_id(&self) -> Option<&str> {
        match &self.capture_ids[..] {
            [id] => Some(id),
            _ => None,
        }
    }

    /// Every capture with this reference and amount, as Klarna lists them.
    pub fn capture_ids(&self) -> &[String] {
        &self.capture_ids
    }

    /// The order that was looked into.
    pub fn order_id(&self) -> &str {
        &self.order_id
    }

    /// Klarna's name for the answered request, where it gave one.
    pub fn correlation_id(&self) -> Option<&str> {
        self.correlation_id.as_deref()
    }

    /// How many requests it took, 1 or more.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Each request with its time, what came back and the pause after it.
    pub fn attempt_log(&self) -> &[Attempt] {
        &self.attempt_log
    }
}

object! {
    /// What to look for.
    pub(crate) struct Wanted: "a look for a capture" {
        required reference "reference": String, Rule::Text { min: 1, max: 255 };
        required captured_amount "captured_amount": i64, CAPTURED_AMOUNT;
    }
}

impl Wanted {
    pub fn new(reference: &str, captured_amount: i64) -> Result<Wanted, Error> {
        let wanted = Wanted { reference: reference.to_owned(), captured_amount };
        wanted.check(&Reader::new(WHOLE, false).root(), &Wanted::RULE)?;
        Ok(wanted)
    }

    pub fn from_deserializer<'de, D: Deserializer<'de>>(source: D) -> Result<Wanted, Error> {
        let reader = Reader::new(WHOLE, false);
        let wanted: Wanted = reader.read(source, &Wanted::RULE)?;
        wanted.check(&reader.root(), &Wanted::RULE)?;
        Ok(wanted)
    }
}

const WHOLE: &str = "the look for a capture";

/// `GET …/captures`, and what of it is the capture that is looked for.
pub(crate) struct ListTask {
    pub order_id: String,
    pub wanted: Wanted,
    pub endpoint: Arc<Endpoint>,
}

impl Task for ListTask {
    type Output = Reconciliation;
    const WRITES: bool = false;

    fn order_id(&self) -> &str {
        &self.order_id
    }

    fn idempotency_key(&self) -> Option<&str> {
        None
    }

    fn read(&self, answer: &Answer, attempts: u32, time: Duration) -> Result<Reconciliation, String> {
        // a part of one (206) would look like one without the capture
        if answer.status != 200 {
            return Err("which is not how a list is answered".into());
        }
        // A list may be so long that its reading takes a while, here where the call may have none left.
        let end = Instant::now() + time.max(LEAST_TIME);
        // their ids, each once
        let (mut matches, mut seen) = (Vec::new(), HashSet::new());
        let mut elements = Elements::of(&answer.body);
        while let Some(element) = elements.next().map_err(str::to_owned)? {
            if Instant::now() >= end {
                return Err("with a list that was too long to be read in time".into());
            }
            // a list inside the list would be read as well, its values for the members in their order
            if element.trim_ascii_start().first() != Some(&b'{') {
                return Err(NO_LIST.into());
            }
            let capture: Listed = serde_json::from_slice(element).map_err(|_| NO_LIST)?;
            if capture.reference.as_deref() != Some(&self.wanted.reference)
                || capture.captured_amount != Some(self.wanted.captured_amount)
            {
                continue;
            }
            let id = capture.capture_id.filter(|id| is_id(id) && !self.endpoint.is_echo(id.as_bytes()));
            let Some(id) = id else { return Err("with a capture that has no id".into()) };
            if seen.insert(id.clone()) {
                matches.push(id);
            }
            if matches.len() > MOST_MATCHES {
                return Err("with more captures of this reference and amount than an order can have".into());
            }
        }
        let found = match matches.len() {
            0 => Found::Never,
            1 => Found::Once,
            _ => Found::Several,
        };
        Ok(Reconciliation {
            found,
            capture_ids: matches,
            order_id: self.order_id.clone(),
            correlation_id: answer.correlation_id().map(str::to_owned),
            attempts,
            attempt_log: Vec::new(),
        })
    }

    fn settles(&self, _: u16, _: Option<&str>) -> bool {
        // nothing to settle: reading changes nothing
        false
    }

    fn message(&self, _: ErrorKind, order: &str, why: &str, status: Option<u16>) -> String {
        let advice = match status {
            Some(401) => "check the credentials, and that region and environment are the ones they were made for",
            Some(429) => "this is the rate limit: call again later",
            _ => "reading changes nothing, so call again at any time",
        };
        format!(
            "the captures of order {order} could not be read: {why}; whether it was captured stays unknown; {advice}"
        )
    }
}

/// A list that comes with the last byte of its time is read all the same, if it is an ordinary one.
const LEAST_TIME: Duration = Duration::from_millis(10);

/// More of them than anybody makes only take memory.
const MOST_MATCHES: usize = 10_000;

const NO_LIST: &str = "with something else than the order's captures";

/// The elements of a JSON list, cut apart before any is read: between two of them the reading can end.
struct Elements<'a> {
    rest: &'a [u8],
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Before,
    Within,
    Over,
}

impl<'a> Elements<'a> {
    /// The longest: a request of 1 MB comes back with what Klarna adds.
    const LONGEST: usize = 2 * 1024 * 1024;

    fn of(list: &'a [u8]) -> Elements<'a> {
        Elements { rest: list, stage: Stage::Before }
    }

    /// The next one, which is yet to be read; an error where this is no list.
    fn next(&mut self) -> Result<Option<&'a [u8]>, &'static str> {
        let is_first = self.stage == Stage::Before;
        if is_first {
            let begin = self.rest.iter().take(Self::LONGEST).position(|byte| !is_blank(byte));
            self.rest = begin.and_then(|begin| self.rest[begin..].strip_prefix(b"[")).ok_or(NO_LIST)?;
            self.stage = Stage::Within;
        }
        if self.stage == Stage::Over {
            let is_end = self.rest.len() <= Self::LONGEST && self.rest.iter().all(is_blank);
            return if is_end { Ok(None) } else { Err(NO_LIST) };
        }
        let (element, rest) = self.rest.split_at(self.length().ok_or(NO_LIST)?);
        if rest[0] == b']' {
            self.stage = Stage::Over;
        }
        self.rest = &rest[1..];
        if is_first && self.stage == Stage::Over && element.iter().all(is_blank) {
            return self.next();
        }
        Ok(Some(element))
    }

    /// Up to the comma or the bracket that ends the first element.
    fn length(&self) -> Option<usize> {
        let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
        for (at, byte) in self.rest.iter().take(Self::LONGEST).enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ if quoted => {}
                b',' | b']' if depth == 0 => return Some(at),
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.checked_sub(1)?,
                _ => {}
            }
        }
        None
    }
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// The members of a listed capture that count; any may be missing.
#[derive(Deserialize)]
struct Listed {
    capture_id: Option<String>,
    reference: Option<String>,
    captured_amount: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{Capture, CaptureMachine, CaptureTask};
    use crate::decide::machine::{Budget, Drive, Event, Machine, Step};
    use crate::{Config, Credentials};

    /// A capture with the look that settles it.
    fn machine() -> CaptureMachine {
        let config = Config::at("http://127.0.0.1:1", Credentials::basic("u", "p"));
        let (endpoint, limits) = (Arc::new(config.endpoint().unwrap()), config.limits().unwrap());
        let operation = CaptureTask { order_id: "o".into(), idempotency_key: "k".into(), warnings: Vec::new() };
        let list = ListTask {
            order_id: "o".into(),
            wanted: Wanted::new("parcel-1", 6000).unwrap(),
            endpoint: endpoint.clone(),
        };
        let (post, get) = (endpoint.post("/p", "k", b"{}".to_vec()), endpoint.get("/p"));
        let capture = Machine::new(operation, post, endpoint, limits, Arc::new(Budget::new()), 7);
        CaptureMachine::new(capture, Some((list, get)))
    }

    /// The same, fed with what the server does.
    fn settle(events: Vec<Event>) -> Result<Capture, Error> {
        let mut machine = machine();
        let (mut now, mut event, mut events) = (Duration::from_secs(1), Event::Start, events.into_iter());
        loop {
            match machine.step(now, event) {
                Step::Send(timeout) => {
                    assert!(now + timeout <= Duration::from_secs(26));
                    event = events.next().expect("another request than expected");
                    let is_list = matches!(&event, Event::Answered(answer) if answer.body.starts_with(b"["));
                    assert!(!is_list || machine.request().method == "GET");
                }
                Step::Wait(pause) => {
                    now += pause;
                    event = Event::Waited;
                }
                Step::Done(result) => {
                    assert!(events.next().is_none(), "it ended early: {result:?}");
                    return result;
                }
            }
        }
    }

    fn lost() -> Event {
        Event::MaybeSent("lost".into())
    }

    fn listed(list: &[String]) -> Event {
        let body = format!("[{}]", list.join(",")).into_bytes();
        Event::Answered(Answer { status: 200, headers: Vec::new(), body })
    }

    #[test]
    fn an_unclear_capture_is_looked_for() {
        let found = settle(vec![lost(), lost(), lost(), listed(&[capture("a", "parcel-1", 6000)])]).unwrap();
        assert_eq!((found.capture_id(), found.attempts(), found.idempotency_key()), ("a", 3, "k"));
        let refused = Event::Answered(Answer { status: 403, headers: Vec::new(), body: Vec::new() });
        let found = settle(vec![lost(), refused, lost(), listed(&[capture("a", "parcel-1", 6000)])]).unwrap();
        assert_eq!((found.capture_id(), found.attempts()), ("a", 2), "the look has attempts of its own");
    }

    #[test]
    fn only_a_find_settles_it() {
        let two = [capture("a", "parcel-1", 6000), capture("b", "parcel-1", 6000)];
        for end in [vec![listed(&[])], vec![listed(&two)], vec![lost(), lost(), lost()]] {
            let events = [vec![lost(), lost(), lost()], end].concat();
            let error = settle(events).unwrap_err();
            assert_eq!((error.kind(), error.attempts()), (ErrorKind::OutcomeUnknown, 3));
            assert_eq!(error.idempotency_key(), Some("k"));
        }
    }

    #[test]
    fn a_clear_outcome_is_not_looked_into() {
        assert_eq!(settle(vec![Event::NotSent("x".into()); 3]).unwrap_err().kind(), ErrorKind::NotSent);
        let refused = Event::Answered(Answer { status: 403, headers: Vec::new(), body: Vec::new() });
        assert_eq!(settle(vec![refused]).unwrap_err().kind(), ErrorKind::Rejected);
    }

    fn task() -> ListTask {
        let endpoint =
            Config::at("http://127.0.0.1:1", Credentials::basic("user", "s3cret-s3cret")).endpoint().unwrap();
        ListTask { order_id: "o".into(), wanted: Wanted::new("parcel-1", 6000).unwrap(), endpoint: Arc::new(endpoint) }
    }

    fn look(body: &str) -> Result<Reconciliation, String> {
        task().read(
            &Answer { status: 200, headers: Vec::new(), body: body.as_bytes().to_vec() },
            1,
            Duration::from_secs(60),
        )
    }

    fn capture(id: &str, reference: &str, amount: i64) -> String {
        format!(r#"{{"capture_id":"{id}","reference":"{reference}","captured_amount":{amount},"order_lines":[{{}}]}}"#)
    }

    #[test]
    fn found_once() {
        let list = [capture("a", "parcel-0", 6000), capture("b", "parcel-1", 6000), capture("c", "parcel-1", 5999)];
        let found = look(&format!("[{}]", list.join(","))).unwrap();
        assert_eq!((found.found(), found.capture_id()), (Found::Once, Some("b")));
        let twice_listed = format!("[{0},{0}]", list[1]);
        assert_eq!(look(&twice_listed).unwrap().found(), Found::Once);
    }

    #[test]
    fn absent_and_several() {
        for none in [
            "[]",
            "[{}]",
            r#"[{"captured_amount":6000}]"#,
            r#"[{"reference":"parcel-1"}]"#,
            r#"[{"reference":null,"captured_amount":null}]"#,
        ] {
            assert_eq!(look(none).unwrap().found(), Found::Never, "{none}");
        }
        let two = format!("[{},{}]", capture("a", "parcel-1", 6000), capture("b", "parcel-1", 6000));
        let found = look(&two).unwrap();
        assert_eq!((found.found(), found.capture_id()), (Found::Several, None));
        assert_eq!(found.capture_ids(), ["a", "b"]);
    }

    #[test]
    fn what_is_no_list_of_captures() {
        for nonsense in [
            "",
            "{}",
            "[",
            "[null]",
            "[1]",
            "<html>",
            "[]x",
            "[] []",
            "[,]",
            "[{},]",
            "[{},,{}]",
            "[{}",
            "[{}}]",
            "[{]",
            "[{\"a\":\"]",
            "[{} {}]",
            "]",
            "  ",
            r#"{"captures":[]}"#,
            r#"[["a","parcel-1",6000]]"#,
            r#"[{}, ["a","parcel-1",6000]]"#,
            r#"[{"captured_amount":6000.0}]"#,
            r#"[{"reference":"parcel-1","captured_amount":6000}]"#,
            r#"[{"capture_id":"s3cret-s3cret","reference":"parcel-1","captured_amount":6000}]"#,
            r#"[{"capture_id":"a/b","reference":"parcel-1","captured_amount":6000}]"#,
        ] {
            assert!(look(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn a_list_comes_with_200() {
        for status in [201, 202, 204, 205, 206, 299] {
            let answer = Answer { status, headers: Vec::new(), body: b"[]".to_vec() };
            assert!(task().read(&answer, 1, Duration::from_secs(60)).is_err(), "{status}");
        }
    }

    #[test]
    fn ten_thousand_captures() {
        let list: Vec<String> = (0..10_000).map(|n| capture(&format!("c{n}"), &format!("parcel-{n}"), 6000)).collect();
        assert_eq!(look(&format!("[{}]", list.join(","))).unwrap().capture_id(), Some("c1"));
    }

    #[test]
    fn a_list_of_nothing_but_matches_is_read_as_far_as_it_can_be_true() {
        let list = |number: usize| {
            let list: Vec<String> = (0..number).map(|n| capture(&format!("c{n}"), "parcel-1", 6000)).collect();
            look(&format!("[{}]", list.join(",")))
        };
        assert_eq!(list(MOST_MATCHES).unwrap().capture_ids().len(), MOST_MATCHES);
        assert!(list(MOST_MATCHES + 1).is_err());
    }

    #[test]
    fn a_list_is_cut_where_its_elements_end() {
        let odd =
            r#"{"capture_id":"b","reference":"parcel-1","captured_amount":6000,"x":"]},[{\"","y":[[],{"z":"\\"}]}"#;
        for list in [
            format!("[{odd}]"),
            format!(" \t\r\n[ {odd}\n]\n "),
            format!("[{{}},{odd},{{\"a\":[1,2]}}]"),
            format!("[{},{odd}]", capture("a", "x", 1)),
        ] {
            assert_eq!(look(&list).unwrap().capture_id(), Some("b"), "{list}");
        }
        for none in [" [ ] ", "[\n]", "[]"] {
            assert_eq!(look(none).unwrap().found(), Found::Never);
        }
        let long = format!("[{{\"x\":\"{}\"}}]", "x".repeat(Elements::LONGEST));
        assert!(look(&long).is_err(), "no capture is that long");
        let blank = " ".repeat(Elements::LONGEST);
        assert!(look(&format!("{blank}[]")).is_err() && look(&format!("[]{blank} ")).is_err());
    }

    #[test]
    fn a_list_is_read_no_longer_than_there_is_time() {
        let task = task();
        let long = capture(&"c".repeat(255), "parcel-1", 6000);
        for list in [
            format!("[{}{{}}]", format!("{long},").repeat(100_000)),
            format!("[{}{{}}]", "{},".repeat(10_000_000)),
            format!("[{}0]", "\"\\u0061\",".repeat(4_000_000)),
        ] {
            let answer = Answer { status: 200, headers: Vec::new(), body: list.into_bytes() };
            let began = Instant::now();
            let why = task.read(&answer, 1, Duration::from_millis(1)).unwrap_err();
            assert!(began.elapsed() < Duration::from_secs(1), "{why} after {:?}", began.elapsed());
        }
        let ordinary = format!("[{}]", capture("a", "parcel-1", 6000));
        let answer = Answer { status: 200, headers: Vec::new(), body: ordinary.into_bytes() };
        assert_eq!(task.read(&answer, 1, Duration::ZERO).unwrap().capture_id(), Some("a"));
    }

    #[test]
    fn no_look_is_begun_after_the_deadline() {
        let mut machine = machine();
        let began = Duration::from_secs(1);
        machine.step(began, Event::Start);
        let end = began + Duration::from_secs(25);
        assert!(
            matches!(machine.step(end, lost()), Step::Done(Err(error)) if error.kind() == ErrorKind::OutcomeUnknown)
        );
        let mut machine = self::machine();
        machine.step(began, Event::Start);
        let left = Duration::from_millis(1);
        assert!(matches!(machine.step(end - left, lost()), Step::Send(timeout) if timeout == left));
    }

    #[test]
    fn what_to_look_for_is_checked() {
        for (reference, amount) in [("", 1), ("r", 0), ("r", -1), ("a\nb", 1)] {
            assert!(Wanted::new(reference, amount).is_err());
        }
    }
}
