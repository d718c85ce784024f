//! The surface `machine`: cases that only the core's decisions settle, in this very process. A client's calls are
//! stepped, the sandbox answers without a socket, and every pause and silence is counted instead of waited for.
//!
//! Cases that speak of connections, processes, the environment or the clock of a deadline need the other surfaces; the
//! rule is [`is_decided_by_the_machine`].

use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use takings::{Answer, CaptureRequest, Client, Config, Error, Event, HttpRequest, Intent, Order, Reply, Step, binding};
use takings_sandbox::{End, Exchanged, Sandbox};

use crate::case::{Call, Case, cases};
use crate::judge::{Judge, Made};
use crate::run::{audit, judged, ledger, longest, options, order, usual_config};

/// Runs the cases, and fails with all that went wrong.
pub fn all() {
    let (mut ran, mut hostile, mut left_out) = (0, 0, 0);
    let mut failures = String::new();
    for named in cases() {
        if named.is_hostile() {
            hostile += 1;
            continue;
        }
        if !is_decided_by_the_machine(&named.case) {
            left_out += 1;
            continue;
        }
        ran += 1;
        if let Err(why) = run(&named.case) {
            write!(failures, "\n{} ({}):\n{why}", named.name, named.case.what).expect("a string");
        }
    }
    eprintln!(
        "machine: {ran} cases; left out are {hostile} hostile ones and {left_out} of sockets, processes or real time"
    );
    assert!(failures.is_empty(), "on machine:{failures}");
    assert!(ran + hostile + left_out > 0, "no case was run");
}

/// Whether a case depends on no connection, process or clock. The core's deadline runs by the real clock, so a case
/// that sets one is left out. The host measures the time-out of an attempt.
fn is_decided_by_the_machine(case: &Case) -> bool {
    let server = &case.server;
    let has_plain_sandbox =
        server.hostile.is_none() && !server.tls && !server.closed && !server.untrusted && !server.other_ca;
    let has_real_time = case.config.contains_key("timeout_ms")
        || case.calls.iter().any(|call| call.after_ms > 0 || call.has_deadline());
    has_plain_sandbox
        && !has_real_time
        && !case.has_own_process()
        && case.files.is_empty()
        && case.connections.is_none()
        && case.can_be_said_in("rust")
}

fn run(case: &Case) -> Result<(), String> {
    let mut stage = Stage::new(case);
    let judge = Judge { case, surface: "machine", transport: false, longest: longest(&stage.config) };
    let sandbox = stage.sandbox.clone();
    judged(
        &judge,
        |is_new, call, seen| Ok(stage.call(is_new, call, seen)),
        |answers| [judge.ledger(&ledger(&sandbox), answers), audit(case, &sandbox)].concat(),
    )
}

/// A sandbox without a socket, and a client that knows of it.
struct Stage {
    sandbox: Rc<Sandbox>,
    order_id: String,
    config: Map<String, Value>,
    client: Option<Client>,
}

impl Stage {
    fn new(case: &Case) -> Stage {
        let sandbox = Sandbox::without_socket(options(case)).expect("a sandbox");
        let mut config = usual_config(case, sandbox.url());
        for (name, value) in &case.config {
            match value {
                Value::Null => config.remove(name),
                value => config.insert(name.clone(), value.clone()),
            };
        }
        Stage { order_id: order(case, &sandbox), sandbox: sandbox.into(), config, client: None }
    }

    fn call(&mut self, is_new: bool, call: &Call, seen: usize) -> Made {
        let mut took = Duration::ZERO;
        let answer = self.answer(is_new, call, &mut took).unwrap_or_else(|error| whole("error", &error.to_json()));
        let requests = self.sandbox.requests().split_off(seen);
        Made { answer, requests, took, waited: Duration::ZERO }
    }

    fn answer(&mut self, is_new: bool, call: &Call, took: &mut Duration) -> Result<Value, Error> {
        if let Some((order_id, name)) = &call.derive {
            return Ok(json!({"key": takings::idempotency_key(order_id, name)?}));
        }
        if let Some((operation, style)) = &call.intent {
            let order_id = call.order_id.as_deref().unwrap_or(&self.order_id);
            let intent = Intent::from_json(operation, order_id, &call.text())?;
            let row: Value = serde_json::from_str(&intent.to_json()).expect("takings writes JSON");
            let insert = intent.insert(style)?;
            let values: Vec<&Value> = insert.columns.iter().map(|column| &row[*column]).collect();
            return Ok(json!({"intent": {"row": row, "sql": insert.sql, "values": values}}));
        }
        if is_new {
            self.client = None;
            self.client = Some(Client::new(Config::from_json(&Value::from(self.config.clone()).to_string())?)?);
        }
        if let (Some(options), Some(client)) = (&call.options, &self.client) {
            self.client = Some(client.with_options_json(&Value::from(options.clone()).to_string())?);
        }
        let client = self.client.as_ref().expect("the first call of a case makes the client");
        let order_id = call.order_id.as_deref().unwrap_or(&self.order_id);
        if let Some(wanted) = &call.reconcile {
            let look = client.prepare_call("reconcile", order_id, &wanted.to_string(), None)?;
            return self.stepped(look, took).map(|reply| whole("reconciliation", &reply.to_json()));
        }
        let (request, key) = (call.text(), call.idempotency_key.as_deref());
        if let Some(operation) = &call.check {
            let read = client.prepare_call("get_order", order_id, "{}", None)?;
            let order = Order::try_from(self.stepped(read, took)?)?;
            let now = order.answered_at().map_or(-1, binding::milliseconds_since_1970);
            return Ok(whole("check", &binding::check_json(operation, order.raw(), now, &request)?.to_json()));
        }
        if let Some(operation) = &call.operation {
            let call = client.prepare_call(operation, order_id, &request, key)?;
            return self.stepped(call, took).map(|reply| whole("reply", &reply.to_json()));
        }
        let capture = match CaptureRequest::from_json(&request) {
            Ok(request) => client.prepare(order_id, &request, key)?,
            Err(_) => client.prepare_json(order_id, &request, key)?,
        };
        self.stepped(capture, took).map(|reply| whole("capture", &reply.to_json()))
    }

    /// Steps a call to its end, and counts the time it would have taken.
    fn stepped(&self, mut call: takings::Call, took: &mut Duration) -> Result<Reply, Error> {
        let mut step = call.step(Event::Start);
        loop {
            let event = match step {
                Step::Send(timeout) => {
                    let exchanged = exchange(&self.sandbox, call.request());
                    let (event, after) = seen(&exchanged, timeout);
                    *took += after;
                    event
                }
                Step::Wait(pause) => {
                    *took += pause;
                    Event::Waited
                }
                Step::Done(result) => return result,
            };
            step = call.step(event);
        }
    }
}

/// Hands a request to the sandbox as an HTTP client would send it.
pub fn exchange(sandbox: &Sandbox, request: &HttpRequest) -> Exchanged {
    let mut headers: Vec<(String, String)> =
        request.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    if request.method() != "GET" {
        headers.push(("content-length".into(), request.body().len().to_string()));
    }
    sandbox.exchange(request.method(), request.target(), headers, request.body().to_vec())
}

pub fn whole(kind: &str, text: &str) -> Value {
    json!({kind: serde_json::from_str::<Value>(text).expect("takings writes JSON")})
}

/// The event that a transport would report for an exchange with this time-out, and the time that it takes.
pub fn seen(exchanged: &Exchanged, timeout: Duration) -> (Event, Duration) {
    let in_time: Vec<_> = exchanged.pieces.iter().take_while(|(at, _)| *at < timeout).collect();
    let bytes: Vec<u8> = in_time.iter().flat_map(|(_, bytes)| bytes).copied().collect();
    let last = in_time.last().map_or(Duration::ZERO, |(at, _)| *at);
    let mut space = [httparse::EMPTY_HEADER; 256];
    let mut head = httparse::Response::new(&mut space);
    match head.parse(&bytes) {
        Ok(httparse::Status::Complete(length)) => {
            let headers: Vec<(String, Vec<u8>)> =
                head.headers.iter().map(|header| (header.name.to_owned(), header.value.to_vec())).collect();
            let body = body(&headers, &bytes[length..]);
            (Event::Answered(Answer::new(head.code.unwrap_or_default(), headers, body)), last)
        }
        Err(error) => (Event::MaybeSent(format!("the answer was lost ({error})")), last),
        Ok(httparse::Status::Partial) => match exchanged.end {
            End::Closed if exchanged.ended < timeout => {
                (Event::MaybeSent("the answer was lost (the connection was closed)".into()), exchanged.ended)
            }
            End::Reset if exchanged.ended < timeout => {
                (Event::MaybeSent("the answer was lost (the connection was reset)".into()), exchanged.ended)
            }
            _ => (Event::MaybeSent(format!("no answer within {timeout:.1?}")), timeout),
        },
    }
}

/// The body as far as it came.
fn body(headers: &[(String, Vec<u8>)], mut rest: &[u8]) -> Vec<u8> {
    let header = |name: &str| headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    if header("transfer-encoding").is_none() {
        let length = header("content-length").and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok());
        return rest[..length.map_or(rest.len(), |length: usize| length.min(rest.len()))].to_vec();
    }
    let mut body = Vec::new();
    while let Ok(httparse::Status::Complete((start, size @ 1..))) = httparse::parse_chunk_size(rest) {
        let end = rest.len().min(start + size as usize);
        body.extend_from_slice(&rest[start..end]);
        rest = rest.get(end + 2..).unwrap_or_default();
    }
    body
}
