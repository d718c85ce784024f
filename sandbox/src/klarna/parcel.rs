//! Calls about what was captured and sent: tracking, mails, due dates.

use super::order::Order;
use super::{Call, Done, Entry, Operation, Refusal, UnknownCapture};
use serde_json::{Value, json};

fn not_allowed(message: impl Into<String>) -> Refusal {
    Refusal::new(403, "NOT_ALLOWED", message)
}

/// The refusal of a capture that does not exist. Klarna's specification gives reads and tracking the code of an unknown
/// order, and mails and due dates one of their own.
pub(super) fn no_such_capture(operation: Operation, call: (&str, &str), code: Option<UnknownCapture>) -> Refusal {
    let usual = match operation {
        Operation::GetCapture | Operation::AppendShippingInfo => UnknownCapture::NoSuchOrder,
        _ => UnknownCapture::NoSuchCapture,
    };
    let code = match code.unwrap_or(usual) {
        UnknownCapture::NoSuchOrder => "NO_SUCH_ORDER",
        UnknownCapture::NoSuchCapture => "NO_SUCH_CAPTURE",
    };
    let (order_id, capture_id) = call;
    Refusal::new(404, code, format!("order {order_id} has no capture {capture_id}"))
}

/// Checks that the capture in the path exists.
fn captured(order: &Order, call: &Call<'_>, operation: Operation) -> Result<(), Refusal> {
    if order.captures.is_empty() {
        return Err(not_allowed("the order has no captures"));
    }
    match order.capture(call.id) {
        Some(_) => Ok(()),
        None => Err(no_such_capture(operation, (call.order_id, call.id), call.knobs.unknown_capture)),
    }
}

pub(super) fn append_shipping_info(order: &mut Order, call: &Call<'_>) -> Result<Done, Refusal> {
    let operation = Operation::AppendShippingInfo;
    captured(order, call, operation)?;
    let entries = call.shipping_info();
    let list = order.capture_mut(call.id).and_then(|capture| capture["shipping_info"].as_array_mut());
    if let Some(list) = list {
        list.extend(entries.iter().cloned());
    }
    Ok(call.no_content(Entry { capture_id: call.id.into(), shipping_info: entries, ..call.entry(operation) }))
}

pub(super) fn append_order_shipping_info(order: &mut Order, call: &Call<'_>) -> Result<Done, Refusal> {
    if order.captures.is_empty() {
        return Err(not_allowed("the order has no captures"));
    }
    let entries = call.shipping_info();
    order.shipping_info.extend(entries.iter().cloned());
    Ok(call.no_content(Entry { shipping_info: entries, ..call.entry(Operation::AppendOrderShippingInfo) }))
}

pub(super) fn trigger_send_out(order: &Order, call: &Call<'_>) -> Result<Done, Refusal> {
    let operation = Operation::TriggerSendOut;
    captured(order, call, operation)?;
    Ok(call.no_content(Entry { capture_id: call.id.into(), ..call.entry(operation) }))
}

/// The due dates of a capture can be moved only for methods by which the customer pays later.
fn pays_later(order: &Order) -> bool {
    matches!(
        order.fixed.payment_method(),
        "INVOICE" | "INVOICE_BUSINESS" | "B2B_INVOICE" | "PAY_LATER_IN_PARTS" | "PAY_IN_X" | "BASE_ACCOUNT" | "ACCOUNT"
    )
}

pub(super) fn extend_due_date_options(order: &Order) -> Value {
    let options = if pays_later(order) { order.due_date_options() } else { Vec::new() };
    let option = |(days, amount): (i64, i64)| json!({"number_of_days": days, "amount": amount});
    json!({
        "currency": order.fixed.purchase_currency,
        "options": options.into_iter().map(option).collect::<Vec<_>>(),
    })
}

pub(super) fn extend_due_date(order: &mut Order, call: &Call<'_>) -> Result<Done, Refusal> {
    let operation = Operation::ExtendDueDate;
    captured(order, call, operation)?;
    if !pays_later(order) {
        return Err(not_allowed(format!("an order paid by {} has no due date", order.fixed.payment_method())));
    }
    let days = call.integer("number_of_days");
    let Some((_, fee)) = order.due_date_options().into_iter().find(|(offered, _)| *offered == days) else {
        return Err(not_allowed(format!(
            "the due date cannot be moved by {days} days; extend-due-date-options lists them"
        )));
    };
    order.free_days_used |= fee == 0;
    *order.extended_days.entry(call.id.into()).or_default() += days;
    let entry =
        Entry { capture_id: call.id.into(), amount: Some(fee), number_of_days: Some(days), ..call.entry(operation) };
    Ok(call.no_content(entry))
}
