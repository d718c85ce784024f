//! The control endpoint, by which a test in any language sets the sandbox up and reads its state.

use crate::http::{Answer, Request, percent_decode, values};
use crate::klarna::{NewOrder, OrderChange};
use crate::plan::PlannedFault;
use crate::state::Shared;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;

/// The part of a path below `/sandbox`, if it leads there.
pub(crate) fn path(path: &str) -> Option<&str> {
    path.strip_prefix("/sandbox").filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Clock {
    advance_seconds: f64,
}

/// The reason why a control call fails: a status and a sentence.
type Problem = (u16, String);

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // By way of a value, so that a mistake in a member is told without its place in the text.
    serde_json::from_slice::<Value>(body)
        .and_then(serde_json::from_value)
        .map_err(|e| (400, format!("the body does not fit: {e}")))
}

/// Reads one fault or a list of faults.
fn read_faults(body: &[u8]) -> Result<Vec<PlannedFault>, Problem> {
    match read::<Value>(body)? {
        list @ Value::Array(_) => serde_json::from_value(list),
        one => serde_json::from_value(one).map(|fault| vec![fault]),
    }
    .map_err(|e| (400, format!("no such fault: {e}")))
}

/// Whether the request has the control endpoint's token, if there is one.
fn may_control(shared: &Shared, request: &Request) -> bool {
    let Some(token) = &shared.options.token else { return true };
    let mut given = values(&request.headers, "authorization");
    given.any(|value| {
        value
            .split_once(' ')
            .is_some_and(|(scheme, rest)| scheme.eq_ignore_ascii_case("bearer") && rest.trim() == token)
    })
}

pub(crate) fn answer(shared: &Shared, request: &Request, path: &str) -> Answer {
    if !may_control(shared, request) {
        let error = "the control endpoint needs the token of --token: Authorization: Bearer TOKEN";
        return Answer::new(401).header("WWW-Authenticate", "Bearer").json(&json!({ "error": error }));
    }
    shared.catch_up();
    respond(shared, request, path)
        .unwrap_or_else(|(status, error)| Answer::new(status).json(&json!({ "error": error })))
}

fn respond(shared: &Shared, request: &Request, path: &str) -> Result<Answer, Problem> {
    let segments: Vec<String> = path.split('/').filter(|segment| !segment.is_empty()).map(percent_decode).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let body = request.body.as_slice();
    let mut state = shared.state();
    match (request.method.as_str(), segments.as_slice()) {
        ("GET", []) => ok(&json!({
            "sandbox": "a stand-in for Klarna's Order Management API; not a Klarna product",
            "version": env!("CARGO_PKG_VERSION"),
            "base_url": shared.base,
        })),
        ("POST", ["orders"]) => {
            let mut new: NewOrder = read(body)?;
            let faults = std::mem::take(&mut new.faults);
            let now = state.now();
            let order_id =
                state.klarna.create(new, now).map_err(|why| (if why.contains("exists") { 409 } else { 400 }, why))?;
            state.plan(&order_id, faults);
            let order = state.klarna.order(&order_id, now);
            Ok(Answer::new(201).json(&order.unwrap_or_default()))
        }
        ("GET", ["orders", id]) => {
            let order = state.klarna.order(id, state.now());
            ok(&order.map_err(|_| unknown_order(id))?)
        }
        ("PATCH", ["orders", id]) => {
            let change: OrderChange = read(body)?;
            match state.klarna.change(id, change) {
                Ok(true) => ok(&state.klarna.order(id, state.now()).unwrap_or_default()),
                Ok(false) => Err(unknown_order(id)),
                Err(why) => Err((400, why)),
            }
        }
        ("POST", ["orders", id, "faults"]) => {
            state.plan(id, read_faults(body)?);
            Ok(Answer::new(201).json(&state.planned(id)))
        }
        ("GET", ["orders", id, "faults"]) => ok(&state.planned(id)),
        ("DELETE", ["orders", id, "faults"]) => {
            state.clear_faults(id);
            Ok(Answer::new(204))
        }
        ("GET", ["ledger"]) => ok(&state.klarna.ledger),
        ("GET", ["orders", id, "ledger"]) => {
            if !state.klarna.has(id) {
                return Err(unknown_order(id));
            }
            let ledger = state.klarna.ledger.iter();
            let of = ledger.filter(|entry| entry.order_id == *id);
            ok(&of.collect::<Vec<_>>())
        }
        ("GET", ["audit"]) => ok(&state.klarna.audit()),
        ("GET", ["orders", id, "audit"]) => {
            if !state.klarna.has(id) {
                return Err(unknown_order(id));
            }
            let mut findings = state.klarna.audit();
            findings.retain(|finding| finding.order_id == *id);
            ok(&findings)
        }
        ("GET", ["orders", id, "hidden"]) => ok(&state.klarna.hidden(id).ok_or_else(|| unknown_order(id))?),
        ("GET", ["knobs"]) => ok(&state.klarna.knobs),
        ("PATCH", ["knobs"]) => {
            let change: Value = read(body)?;
            state.klarna.knobs.set(&change).map_err(|why| (400, format!("no such knob: {why}")))?;
            ok(&state.klarna.knobs)
        }
        ("GET", ["requests"]) => ok(&state.requests().collect::<Vec<_>>()),
        ("GET", ["orders", id, "requests"]) => {
            let of = state.requests().filter(|request| request.order_id.as_deref() == Some(*id));
            ok(&of.collect::<Vec<_>>())
        }
        (method @ ("GET" | "POST"), ["clock"]) => {
            if method == "POST" {
                let Clock { advance_seconds } = read(body)?;
                let by = Duration::try_from_secs_f64(advance_seconds)
                    .map_err(|why| (400, format!("advance_seconds: {why}")))?;
                state.advance(by);
            }
            let (now, ahead) = state.clock();
            ok(&json!({"now": now, "ahead_seconds": ahead.as_secs_f64()}))
        }
        ("POST", ["reset"]) => {
            drop(state);
            shared.reset();
            Ok(Answer::new(204))
        }
        ("GET", ["connections"]) => ok(&state.connections),
        (
            _,
            []
            | ["orders" | "ledger" | "audit" | "knobs" | "requests" | "clock" | "reset" | "connections"]
            | ["orders", _]
            | ["orders", _, "faults" | "ledger" | "audit" | "hidden" | "requests"],
        ) => Err((405, format!("{} is not possible here", request.method))),
        _ => Err((404, format!("/sandbox{path} does not exist"))),
    }
}

fn ok(value: &impl Serialize) -> Result<Answer, Problem> {
    Ok(Answer::new(200).json(value))
}

fn unknown_order(order_id: &str) -> Problem {
    (404, format!("there is no order {order_id}; POST /sandbox/orders creates it"))
}
