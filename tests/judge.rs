//! Compares a call with its case: outcome, requests, messages. Also checks the rules that hold for every call.

use std::time::Duration;

use serde_json::{Map, Value, json};
use takings_sandbox::Received;

use crate::case::{Call, Case, Ledger, LedgerWord, Outcome, Sent, Wire};
use crate::surface::user_agent;
use crate::{hostile, transports};

/// How long a call may last beyond its time-out on a busy machine.
const SLACK: Duration = Duration::from_millis(1500);

/// A call that was made.
pub struct Made {
    pub answer: Value,
    /// The requests that reached the server during the call.
    pub requests: Vec<Received>,
    pub took: Duration,
    /// The time in which other tests had the processors.
    pub waited: Duration,
}

/// Judges the calls of a case on a surface.
pub struct Judge<'a> {
    pub case: &'a Case,
    pub surface: &'a str,
    /// The surface sends over an HTTP client that is not ours.
    pub transport: bool,
    /// The time-out of a call.
    pub longest: Duration,
}

impl Judge<'_> {
    /// Whether only the truth of an outcome is judged: HTTP clients differ in how they read a hostile server.
    fn loosely(&self) -> bool {
        self.transport && self.case.server.hostile.is_some() && !self.case.strict
    }

    pub fn call(&self, call: &Call, made: &Made) -> Vec<String> {
        let (looks, captures): (Vec<&Received>, Vec<&Received>) =
            made.requests.iter().partition(|request| request.method == "GET");
        [
            self.outcome(call, &made.answer),
            self.looks(call, &looks),
            self.count(call, &made.answer, &captures),
            captures.iter().flat_map(|request| self.request(call, &made.answer, request, &captures)).collect(),
            self.time(call, made),
        ]
        .concat()
    }

    fn outcome(&self, call: &Call, answer: &Value) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(key) = &call.key
            && answer["key"] != **key
        {
            problems.push(format!("derived {answer}, expected {key}"));
        }
        if let Some(outcome) = &call.outcome {
            problems.extend(match self.transport {
                true => transports::judge(outcome, answer, self.loosely()),
                false => outcome.judge(answer),
            });
        }
        let shown = answer.to_string();
        if shown.contains("c2FuZGJveDpz") || shown.contains("s3cret") {
            problems.push(format!("a credential shows in {shown}"));
        }
        problems
    }

    fn looks(&self, call: &Call, looks: &[&Received]) -> Vec<String> {
        let mut problems = Vec::new();
        if looks.len() != call.looks && !self.loosely() {
            problems.push(format!("{} looks into the captures reached the server", looks.len()));
        }
        for look in looks {
            if header(look, "klarna-idempotency-key").is_some() || !look.body.is_empty() {
                problems.push("a look carries a key or a body".into());
            }
        }
        problems
    }

    /// How many captures reached the server.
    fn count(&self, call: &Call, answer: &Value, captures: &[&Received]) -> Vec<String> {
        let mut problems = Vec::new();
        // Every HTTP client is judged by this: a server that must get nothing gets nothing.
        let forbidden = matches!(call.sent, Sent::Exactly(0)) && !captures.is_empty();
        if !call.sent.allows(captures.len()) && (!self.loosely() || forbidden) {
            problems.push(format!("{} requests reached the server", captures.len()));
        }
        let attempts = told(answer, "attempts");
        if attempts.and_then(Value::as_u64).is_some_and(|attempts| attempts < captures.len() as u64) {
            problems.push(format!("{} requests reached the server in {attempts:?} attempts", captures.len()));
        }
        problems
    }

    /// Compares a capture's request with the first request of its call. A call that is made of several has a key for each;
    /// the last one is told.
    fn request(&self, call: &Call, answer: &Value, request: &Received, all: &[&Received]) -> Vec<String> {
        let mut problems = Vec::new();
        let key = header(request, "klarna-idempotency-key");
        let is_last = all.last().is_some_and(|last| header(last, "klarna-idempotency-key") == key);
        let same_key = |other: &&&Received| header(other, "klarna-idempotency-key") == key;
        let (first, is_told) = match call.is_made_of_several() {
            true => (all.iter().find(same_key).unwrap_or(&all[0]), is_last),
            false => (&all[0], true),
        };
        if key != header(first, "klarna-idempotency-key")
            || request.body != first.body
            || request.target != first.target
        {
            problems.push("the attempts differ in key, body or target".into());
        }
        let told = told(answer, "idempotency_key");
        if is_told && told.and_then(Value::as_str) != key {
            problems.push(format!("sent with key {key:?}, told {told:?}"));
        }
        if let Some(given) = &call.idempotency_key
            && key != Some(given)
        {
            problems.push(format!("sent with key {key:?}, given {given:?}"));
        }
        problems.extend(call.wire.iter().flat_map(|wire| self.wire(wire, request)));
        problems
    }

    fn wire(&self, wire: &Wire, request: &Received) -> Vec<String> {
        let mut problems = Vec::new();
        let line = format!("{} {} {}", request.method, request.target, request.version);
        if line != wire.line {
            problems.push(format!("the request line is {line:?}, expected {:?}", wire.line));
        }
        for (name, expected) in &wire.headers {
            if self.transport && name.eq_ignore_ascii_case("user-agent") {
                continue;
            }
            let expected = expected
                .iter()
                .map(|text| {
                    text.replace("{key}", header(request, "klarna-idempotency-key").unwrap_or_default())
                        .replace("{user_agent}", &user_agent(self.surface))
                })
                .collect::<Vec<_>>();
            let got: Vec<&str> = headers(request, name).collect();
            if got != expected {
                problems.push(format!("{name} is {got:?}, expected {expected:?}"));
            }
        }
        let body = String::from_utf8_lossy(&request.body);
        if body != wire.body {
            problems.push(format!("the body is\n    {body}\n  expected\n    {}", wire.body));
        }
        problems
    }

    fn time(&self, call: &Call, made: &Made) -> Vec<String> {
        let mut problems = Vec::new();
        let (took, waited) = (made.took, made.waited);
        if call.within_ms.is_some_and(|limit| took > Duration::from_millis(limit) + waited) && !self.loosely() {
            problems.push(format!("took {took:?}"));
        }
        if call.at_least_ms.is_some_and(|limit| took < Duration::from_millis(limit)) && !self.loosely() {
            problems.push(format!("took only {took:?}"));
        }
        if took > self.longest + SLACK + waited {
            problems.push(format!("took {took:?} of {} ms", self.longest.as_millis()));
        }
        problems
    }

    /// Compares the sandbox's ledger at the end with all answers of the case.
    pub fn ledger(&self, ledger: &[Value], answers: &[Value]) -> Vec<String> {
        let mut problems = Vec::new();
        let told: Vec<&Value> = answers.iter().filter_map(|answer| answer.get("capture")).collect();
        for capture in &told {
            let entry = ledger.iter().find(|entry| entry["idempotency_key"] == capture["idempotency_key"]);
            if entry.is_some_and(|entry| entry["capture_id"] != capture["capture_id"]) {
                problems.push(format!("told {} for {}", capture["capture_id"], json!(entry)));
            }
        }
        if self.loosely() {
            problems.extend(transports::judge_ledger(ledger, answers));
            return problems;
        }
        let expected = match &self.case.ledger {
            Ledger::Entries(entries) => entries.clone(),
            Ledger::Word(LedgerWord::AsTold) => told.into_iter().map(entry_of).collect(),
        };
        let agrees = ledger.len() == expected.len()
            && ledger.iter().zip(&expected).all(|(entry, expected)| contains(entry, expected));
        if !agrees {
            problems.push(format!("the ledger is {}, expected {}", json!(ledger), json!(expected)));
        }
        problems
    }

    /// Judges the connections of the hostile server at the end.
    pub fn network(&self, seen: &hostile::Seen) -> Vec<String> {
        let mut problems = Vec::new();
        if seen.elsewhere > 0 {
            problems.push(format!("{} connections to where only a redirect leads", seen.elsewhere));
        }
        if seen.proxied.len() != self.case.proxied {
            problems.push(format!("{} requests reached the proxy, expected {}", seen.proxied.len(), self.case.proxied));
        }
        for head in &seen.proxied {
            if head.contains("c2FuZGJveDp") || head.to_ascii_lowercase().contains("idempotency") {
                problems.push(format!("the proxy was told {head:?}"));
            }
        }
        if self.case.connections.is_some_and(|connections| connections != seen.connections) && !self.transport {
            problems.push(format!("{} connections reached the server", seen.connections));
        }
        problems
    }
}

/// The ledger's entry for a reported capture.
fn entry_of(capture: &Value) -> Map<String, Value> {
    ["idempotency_key", "capture_id"].map(|field| (field.to_owned(), capture[field].clone())).into_iter().collect()
}

impl Outcome {
    pub fn judge(&self, answer: &Value) -> Vec<String> {
        let (kind, fields) = match self {
            Outcome::Capture(fields) => ("capture", fields),
            Outcome::Reconciliation(fields) => ("reconciliation", fields),
            Outcome::Reply(fields) => ("reply", fields),
            Outcome::Check(fields) => ("check", fields),
            Outcome::Intent(fields) => ("intent", fields),
            Outcome::Error(fields) => ("error", fields),
            Outcome::OneOf(outcomes) => {
                let problems: Vec<Vec<String>> = outcomes.iter().map(|outcome| outcome.judge(answer)).collect();
                return if problems.iter().any(Vec::is_empty) { Vec::new() } else { problems.concat() };
            }
        };
        let mut problems = Vec::new();
        let mut fields = fields.clone();
        // The texts that the message must hold.
        let texts = fields.remove("message");
        let got = &answer[kind];
        if got.is_null() || !contains(got, &fields) {
            problems.push(format!("ended in {answer}, expected {kind} {}", json!(fields)));
        }
        let reasons = got["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let said = reasons.chain(got["message"].as_str()).collect::<Vec<_>>().join("; ");
        for text in texts.iter().flat_map(|texts| texts.as_array()).flatten().filter_map(Value::as_str) {
            if !said.contains(text) {
                problems.push(format!("the message {said:?} lacks {text:?}"));
            }
        }
        if kind == "error" {
            problems.extend(shape(got));
        }
        problems
    }
}

/// A field of a call's end, whatever that is.
fn told<'a>(answer: &'a Value, field: &str) -> Option<&'a Value> {
    ["capture", "reply", "error"].iter().find_map(|kind| answer.get(kind)?.get(field))
}

fn headers<'a>(request: &'a Received, name: &'a str) -> impl Iterator<Item = &'a str> {
    request.headers.iter().filter(move |(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

pub fn header<'a>(request: &'a Received, name: &'a str) -> Option<&'a str> {
    headers(request, name).next()
}

/// Whether `got` has every field of `expected`. A field that is null may be absent, as in a table of Lua. A name that
/// begins with a slash is a JSON Pointer.
pub fn contains(got: &Value, expected: &Map<String, Value>) -> bool {
    expected.iter().all(|(name, value)| {
        let found = if name.starts_with('/') { got.pointer(name) } else { got.get(name) };
        found.unwrap_or(&Value::Null) == value
    })
}

/// Checks that an error has all its fields and a message of one line.
pub fn shape(error: &Value) -> Vec<String> {
    const FIELDS: [&str; 10] = [
        "kind",
        "message",
        "http_status",
        "error_code",
        "error_messages",
        "correlation_id",
        "order_id",
        "idempotency_key",
        "attempts",
        "retryable",
    ];
    let mut problems = Vec::new();
    let fields: Vec<&str> = error.as_object().into_iter().flat_map(|error| error.keys().map(String::as_str)).collect();
    for field in FIELDS {
        if !fields.contains(&field) {
            problems.push(format!("the error has no {field}"));
        }
    }
    let message = error["message"].as_str().unwrap_or_default();
    if message.is_empty() || message.chars().any(char::is_control) {
        problems.push(format!("the message is not one line: {message:?}"));
    }
    if error["kind"] == "invalid_input" && error["attempts"] != 0 {
        problems.push("invalid input was sent".into());
    }
    problems
}
