//! Captures and refunds.

use super::order::Order;
use super::time::timestamp;
use super::{Call, Done, Entry, Made, Operation, OrderStatus, Refusal};
use crate::http::{Answer, percent_encode};
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

/// The answer to a call that made something: an empty body.
fn created(call: &Call<'_>, header: &str, collection: &str, id: &str) -> Answer {
    let order = percent_encode(call.order_id);
    let location = format!("{}/ordermanagement/v1/orders/{order}/{collection}/{id}", call.about.base);
    Answer::new(201).header(header, id).header("Location", location)
}

pub(super) fn capture(order: &mut Order, call: &Call<'_>) -> Result<Done, Refusal> {
    let now = call.about.now;
    let amount = call.integer("captured_amount");
    let why = match order.status(now) {
        OrderStatus::Captured => Some("the order is captured in full".into()),
        _ if order.ended(now).is_some() => order.ended(now).map(String::from),
        _ if now >= order.expires_at => Some("the authorization has expired".into()),
        _ if order.fraud_status == "PENDING" => Some("the order is under review".into()),
        _ if amount > order.remaining() => {
            Some(format!("captured_amount {amount} is more than the remaining {}", order.remaining()))
        }
        _ if call.knobs.max_captures.is_some_and(|most| order.captures.len() >= most) => {
            Some("the order has as many captures as it may have".into())
        }
        _ => None,
    };
    if let Some(why) = why {
        return Err(Refusal::new(403, "CAPTURE_NOT_ALLOWED", why));
    }

    let capture_id = Uuid::new_v4().to_string();
    order.captured_amount += amount;
    // The goods are sent, so the order is known to the shop.
    order.acknowledged = true;
    order.captures.push(Arc::new(json!({
        "capture_id": capture_id,
        "klarna_reference": format!("{}-{}", order.fixed.klarna_reference, order.captures.len() + 1),
        "reference": call.given("reference").unwrap_or_else(|| "".into()),
        "captured_amount": amount,
        "captured_at": timestamp(now),
        "description": call.given("description").unwrap_or_else(|| "".into()),
        "order_lines": call.given("order_lines").unwrap_or_else(|| json!([])),
        "refunded_amount": 0,
        "shipping_info": call.shipping_info(),
    })));
    let entry = Entry {
        capture_id: capture_id.clone(),
        captured_amount: amount,
        reference: call.text("reference"),
        shipping_info: call.shipping_info(),
        ..call.entry(Operation::Capture)
    };
    Ok(Done {
        answer: created(call, "Capture-Id", "captures", &capture_id),
        made: Some(Made::Capture(capture_id)),
        entry: Some(entry),
    })
}

pub(super) fn refund(order: &mut Order, call: &Call<'_>) -> Result<Done, Refusal> {
    let amount = call.integer("refunded_amount");
    let lines = call.given("order_lines").unwrap_or_else(|| json!([]));
    let lines = lines.as_array().cloned().unwrap_or_default();
    let return_fee = lines.iter().any(|line| line["type"] == "return_fee");
    let total: i64 = lines.iter().filter_map(|line| line["total_amount"].as_i64()).sum();
    if return_fee && total != amount {
        let message = format!("with a return_fee the lines must add up to refunded_amount {amount}, not {total}");
        return Err(Refusal::new(422, "UNPROCESSABLE_ENTITY", message));
    }
    let why = if order.status == Some(OrderStatus::Cancelled) {
        Some("The order is cancelled")
    } else if order.captures.is_empty() {
        Some("Order has no captures")
    } else if amount > order.captured_amount - order.refunded_amount {
        Some("Over refund is not allowed")
    } else if return_fee && (order.captures.len() > 1 || order.remaining() > 0) {
        Some("A return fee needs an order that is captured in full by one capture")
    } else if call.knobs.max_refunds.is_some_and(|most| order.refunds.len() >= most) {
        Some("The order has as many refunds as it may have")
    } else {
        None
    };
    if let Some(why) = why {
        return Err(Refusal::new(403, "REFUND_NOT_ALLOWED", why));
    }

    let refund_id = Uuid::new_v4().to_string();
    order.refunded_amount += amount;
    allocate(order, amount, &lines);
    order.refunds.push(Arc::new(json!({
        "refund_id": refund_id,
        "refunded_amount": amount,
        "refunded_at": timestamp(call.about.now),
        "reference": call.given("reference").unwrap_or_else(|| "".into()),
        "description": call.given("description").unwrap_or_else(|| "".into()),
        "order_lines": lines,
    })));
    let entry = Entry {
        refund_id: Some(refund_id.clone()),
        amount: Some(amount),
        reference: call.text("reference"),
        ..call.entry(Operation::Refund)
    };
    Ok(Done {
        answer: created(call, "Refund-Id", "refunds", &refund_id),
        made: Some(Made::Refund(refund_id)),
        entry: Some(entry),
    })
}

/// Spreads a refund over the captures: a line goes to captures that have a line of its `reference`, all else to the
/// oldest captures first.
fn allocate(order: &mut Order, amount: i64, lines: &[Value]) {
    let mut left = amount;
    let mut take = |capture: &mut Arc<Value>, most: i64| {
        let number = |name: &str| capture[name].as_i64().unwrap_or_default();
        let refunded = number("refunded_amount");
        let part = most.min(left).min(number("captured_amount") - refunded).max(0);
        if part > 0 {
            Arc::make_mut(capture)["refunded_amount"] = (refunded + part).into();
            left -= part;
        }
        part
    };
    for line in lines.iter().filter(|line| line["reference"].is_string()) {
        let mut of_line = line["total_amount"].as_i64().unwrap_or_default();
        let has = |capture: &Value| {
            let lines = capture["order_lines"].as_array();
            lines.is_some_and(|lines| lines.iter().any(|other| other["reference"] == line["reference"]))
        };
        for capture in order.captures.iter_mut().filter(|capture| has(capture)) {
            of_line -= take(capture, of_line);
        }
    }
    for capture in &mut order.captures {
        take(capture, amount);
    }
}
