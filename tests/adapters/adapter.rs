//! The conformance adapter of Rust: one JSON object a line in, one out; see `../README.md`.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "that is how it answers")]

#[path = "host.rs"]
mod host;

use std::io::Write as _;

use serde_json::{Value, json};
use takings::{Capture, CaptureRequest, Client, Config, Error, Reconciliation};

/// A client, and the host's own HTTP client where it is driven by one (argument `step`).
type Made = (Client, Option<host::Http>);

fn main() -> std::io::Result<()> {
    let mut client = None;
    for line in std::io::stdin().lines() {
        let task: Value = serde_json::from_str(&line?)?;
        let answer = answer(&mut client, &task).unwrap_or_else(|error| describe(&error));
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn answer(client: &mut Option<Made>, task: &Value) -> Result<Value, Error> {
    let text = |name: &str| task[name].as_str();
    if let Some([order_id, name]) = task["derive"].as_array().map(Vec::as_slice) {
        let argument = |value: &Value| value.as_str().expect("a text").to_owned();
        return Ok(json!({"key": takings::idempotency_key(&argument(order_id), &argument(name))?}));
    }
    if task["config"].is_object() {
        *client = None;
        let made = Client::new(Config::from_json(&task["config"].to_string())?)?;
        let driven = std::env::args().nth(1).is_some_and(|argument| argument == "step");
        *client = Some((made, driven.then(|| host::Http::new(task["config"]["ca_file"].as_str()))));
    }
    let (client, http) = client.as_ref().expect("the first call of a case makes the client");
    let order_id = text("order_id").expect("an order id");
    if task["reconcile"].is_object() {
        let operation = client.prepare_reconcile_from(order_id, task["reconcile"].clone())?;
        let found = match http {
            Some(http) => http.drive(operation),
            None => operation.send(),
        };
        return found.map(|found| found_out(&found));
    }
    let key = text("idempotency_key");
    let request = text("request_text").map_or_else(|| task["request"].to_string(), str::to_owned);
    if let Some(http) = http {
        return http.drive(client.prepare_json(order_id, &request, key)?).map(|capture| told(&capture));
    }
    // the typed way wherever it can be taken
    let capture = match CaptureRequest::from_json(&request) {
        Ok(request) => client.capture(order_id, &request, key),
        Err(_) => client.capture_json(order_id, &request, key),
    };
    capture.map(|capture| told(&capture))
}

fn told(capture: &Capture) -> Value {
    json!({"capture": {
        "capture_id": capture.capture_id(),
        "order_id": capture.order_id(),
        "idempotency_key": capture.idempotency_key(),
        "correlation_id": capture.correlation_id(),
        "attempts": capture.attempts(),
        "warnings": capture.warnings(),
    }})
}

fn found_out(found: &Reconciliation) -> Value {
    json!({"reconciliation": {
        "found": found.found().as_str(),
        "capture_id": found.capture_id(),
        "capture_ids": found.capture_ids(),
        "order_id": found.order_id(),
        "correlation_id": found.correlation_id(),
        "attempts": found.attempts(),
    }})
}

fn describe(error: &Error) -> Value {
    json!({"error": {
        "kind": error.kind().as_str(),
        "message": error.message(),
        "http_status": error.http_status(),
        "error_code": error.error_code(),
        "error_messages": error.error_messages(),
        "correlation_id": error.correlation_id(),
        "order_id": error.order_id(),
        "idempotency_key": error.idempotency_key(),
        "attempts": error.attempts(),
        "retryable": error.retryable(),
    }})
}
