//! The conformance adapter of Rust: one JSON object a line in, one out; see `../README.md`.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "that is how it answers")]

#[path = "host.rs"]
mod host;

use std::io::Write as _;

use serde_json::{Value, json};
use takings::{Call, CaptureRequest, Client, Config, Error, Intent, Order, binding};

/// A client, and the host's own HTTP client where that sends (argument `step`).
type Made = (Client, Option<host::Http>);

fn main() -> std::io::Result<()> {
    let mut client = None;
    for line in std::io::stdin().lines() {
        let task: Value = serde_json::from_str(&line?)?;
        let answer = answer(&mut client, &task).unwrap_or_else(|error| format!("{{\"error\":{}}}", error.to_json()));
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn answer(client: &mut Option<Made>, task: &Value) -> Result<String, Error> {
    if let Some([order_id, name]) = task["derive"].as_array().map(Vec::as_slice) {
        let argument = |value: &Value| value.as_str().expect("a text").to_owned();
        return Ok(json!({"key": takings::idempotency_key(&argument(order_id), &argument(name))?}).to_string());
    }
    if let Some([operation, style]) = task["intent"].as_array().map(Vec::as_slice) {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let intent = Intent::from_json(&text(operation), &text(&task["order_id"]), &request_of(task))?;
        let row: Value = serde_json::from_str(&intent.to_json()).expect("takings writes JSON");
        let insert = intent.insert(&text(style))?;
        let values: Vec<&Value> = insert.columns.iter().map(|column| &row[*column]).collect();
        return Ok(json!({"intent": {"row": row, "sql": insert.sql, "values": values}}).to_string());
    }
    if task["config"].is_object() {
        *client = None;
        let made = Client::new(Config::from_json(&task["config"].to_string())?)?;
        let is_host = std::env::args().nth(1).is_some_and(|argument| argument == "step");
        *client = Some((made, is_host.then(|| host::Http::new(task["config"]["ca_file"].as_str()))));
    }
    if task["options"].is_object() {
        let (made, _) = client.as_mut().expect("the first call of a case makes the client");
        *made = made.with_options_json(&task["options"].to_string())?;
        return Ok(json!({"options": {}}).to_string());
    }
    let (client, http) = client.as_ref().expect("the first call of a case makes the client");
    let call = prepared(client, task)?;
    let reply = match http {
        Some(http) => http.send(call)?,
        None => call.send()?,
    };
    if let Some(operation) = task["check"].as_str() {
        let (order, request) = (Order::try_from(reply)?, request_of(task));
        let reasons = match (operation, CaptureRequest::from_json(&request)) {
            ("capture", Ok(request)) => order.check_capture(&request),
            _ => {
                let now = order.answered_at().map_or(-1, binding::milliseconds_since_1970);
                binding::check_json(operation, order.raw(), now, &request)?.reasons().to_vec()
            }
        };
        return Ok(json!({"check": {"reasons": reasons}}).to_string());
    }
    let kind = if task["operation"].is_string() { "reply".to_owned() } else { reply.info().name.to_lowercase() };
    Ok(format!("{{\"{kind}\":{}}}", reply.to_json()))
}

fn request_of(task: &Value) -> String {
    task["request_text"].as_str().map_or_else(|| task["request"].to_string(), str::to_owned)
}

fn prepared(client: &Client, task: &Value) -> Result<Call, Error> {
    let text = |name: &str| task[name].as_str();
    let order_id = text("order_id").expect("an order id");
    if task["reconcile"].is_object() {
        return client.prepare_call("reconcile", order_id, &task["reconcile"].to_string(), None);
    }
    if task["check"].is_string() {
        return client.prepare_call("get_order", order_id, "{}", None);
    }
    let key = text("idempotency_key");
    let request = request_of(task);
    if let Some(operation) = text("operation") {
        return client.prepare_call(operation, order_id, &request, key);
    }
    // The typed way wherever it can be taken.
    match CaptureRequest::from_json(&request) {
        Ok(request) => client.prepare(order_id, &request, key),
        Err(_) => client.prepare_call("capture", order_id, &request, key),
    }
}
