//! Calls that change an order, or what is still reserved on it.

use super::order::{Order, midnight};
use super::time::DAY;
use super::{AUTHORIZATION_LIFE, Call, Done, Entry, Operation, OrderStatus, Refusal, Release, Risk, SecondCancel};
use serde_json::{Value, json};
use std::sync::Arc;

/// The longest time from an order's creation to which it can be extended.
const LONGEST: i64 = 180 * DAY;
/// Payment methods whose orders can be raised everywhere.
const RAISABLE: [&str; 4] = ["INVOICE", "B2B_INVOICE", "BASE_ACCOUNT", "DIRECT_DEBIT"];
/// Countries where an order of the payment method `FIXED_AMOUNT` can be raised.
const RAISABLE_FIXED: [&str; 8] = ["AT", "DE", "DK", "FI", "FR", "NL", "NO", "SE"];

fn not_allowed(message: impl Into<String>) -> Refusal {
    Refusal::new(403, "NOT_ALLOWED", message)
}

fn unless_ended(order: &Order, call: &Call<'_>) -> Result<(), Refusal> {
    order.ended(call.about.now).map_or(Ok(()), |why| Err(not_allowed(why)))
}

pub(super) fn acknowledge(order: &mut Order, call: &Call<'_>) -> Result<Done, Refusal> {
    if order.status == Some(OrderStatus::Cancelled) {
        return Err(not_allowed("the order is cancelled"));
    }
    order.acknowledged = true;
    Ok(call.no_content(call.entry(Operation::Acknowledge)))
}

pub(super) fn update_authorization(order: &mut Order, call: &Call<'_>) -> Result<Done, Refusal> {
    let amount = call.integer("order_amount");
    unless_ended(order, call)?;
    if order.released {
        return Err(not_allowed("the remaining authorization was released"));
    }
    if amount < order.captured_amount {
        let captured = order.captured_amount;
        return Err(not_allowed(format!("order_amount {amount} is less than the captured {captured}")));
    }
    if amount > order.order_amount {
        let (method, country) = (order.fixed.payment_method(), order.fixed.purchase_country.to_uppercase());
        let raisable = match method {
            "DIRECT_DEBIT" => country != "CH",
            "FIXED_AMOUNT" => RAISABLE_FIXED.contains(&country.as_str()),
            _ => RAISABLE.contains(&method),
        };
        if !raisable {
            return Err(not_allowed(format!("an order paid by {method} cannot be raised")));
        }
        if call.knobs.risk == Risk::Refuse {
            return Err(not_allowed("the risk check refuses the higher amount"));
        }
    }
    order.order_amount = amount;
    // Lines that are left out are deleted.
    order.order_lines = Arc::new(call.given("order_lines").unwrap_or_else(|| json!([])));
    Ok(call.no_content(Entry { amount: Some(amount), ..call.entry(Operation::UpdateAuthorization) }))
}

pub(super) fn cancel(order: &mut Order, call: &Call<'_>) -> Result<Done, Refusal> {
    let refused = |why: &str| Err(Refusal::new(403, "CANCEL_NOT_ALLOWED", why));
    if order.status == Some(OrderStatus::Cancelled) && call.knobs.second_cancel == SecondCancel::NoContent {
        return Ok(call.nothing());
    }
    if !order.captures.is_empty() {
        return refused("the order has captures");
    }
    if let Some(why) = order.ended(call.about.now) {
        return refused(why);
    }
    let amount = order.remaining();
    order.status = Some(OrderStatus::Cancelled);
    Ok(call.no_content(Entry { amount: Some(amount), ..call.entry(Operation::Cancel) }))
}

pub(super) fn release(order: &mut Order, call: &Call<'_>) -> Result<Done, Refusal> {
    if let Some(status @ (OrderStatus::Cancelled | OrderStatus::Closed | OrderStatus::Expired)) = order.status {
        return Err(not_allowed(format!("the order is {}", json!(status).as_str().unwrap_or_default())));
    }
    if order.captures.is_empty() {
        return Err(not_allowed("Order has no captures. Cancel it instead."));
    }
    let amount = order.remaining();
    if amount == 0 {
        return Err(not_allowed("Order is fully captured. Remaining authorization cannot be released."));
    }
    order.released = true;
    if call.knobs.release == Release::LowersOrderAmount {
        order.order_amount = order.captured_amount;
    }
    Ok(call.no_content(Entry { amount: Some(amount), ..call.entry(Operation::ReleaseRemainingAuthorization) }))
}

pub(super) fn extend_authorization_time(order: &mut Order, call: &Call<'_>) -> Result<Done, Refusal> {
    let (now, fixed) = (call.about.now, order.fixed.clone());
    unless_ended(order, call)?;
    if now >= order.expires_at {
        return Err(not_allowed("the authorization has expired"));
    }
    if order.remaining() == 0 {
        return Err(not_allowed("nothing remains to be captured"));
    }
    let american = fixed.purchase_country.eq_ignore_ascii_case("US");
    match fixed.payment_method() {
        method @ ("CARD" | "PAY_BY_CARD") => {
            return Err(not_allowed(format!("an order paid by {method} is not extended")));
        }
        method @ ("FIXED_SUM_CREDIT" | "FIXED_AMOUNT" | "DEFERRED_INTEREST" | "BASE_ACCOUNT" | "ACCOUNT")
            if american =>
        {
            return Err(not_allowed(format!("an order financed by {method} in the US is not extended")));
        }
        _ => {}
    }
    let last = fixed.created_at.saturating_add(LONGEST);
    if now >= last {
        return Err(not_allowed("the order is older than 180 days"));
    }
    let wanted = midnight(now).saturating_add(AUTHORIZATION_LIFE).min(midnight(last));
    order.expires_at = order.expires_at.max(wanted);
    Ok(call.no_content(call.entry(Operation::ExtendAuthorizationTime)))
}

pub(super) fn update_merchant_references(order: &mut Order, call: &Call<'_>) -> Result<Done, Refusal> {
    if order.status == Some(OrderStatus::Cancelled) {
        return Err(not_allowed("the order is cancelled"));
    }
    for (name, own) in [
        ("merchant_reference1", &mut order.merchant_reference1),
        ("merchant_reference2", &mut order.merchant_reference2),
    ] {
        if let Some(text) = call.text(name) {
            *own = Some(text).filter(|text| !text.is_empty());
        }
    }
    Ok(call.no_content(call.entry(Operation::UpdateMerchantReferences)))
}

pub(super) fn update_customer_details(order: &mut Order, call: &Call<'_>) -> Result<Done, Refusal> {
    if call.given("billing_address").is_some() {
        return Err(not_allowed("the billing address cannot be changed"));
    }
    unless_ended(order, call)?;
    let given = call.given("shipping_address");
    let given = given.as_ref().and_then(Value::as_object).cloned().unwrap_or_default();
    let mut address = order.shipping_address.clone().unwrap_or_default();
    for (name, value) in given {
        if value == "" {
            address.remove(&name);
        } else if !value.is_null() {
            address.insert(name, value);
        }
    }
    let text = |name: &str| address.get(name).and_then(Value::as_str).unwrap_or_default();
    let country = text("country");
    if !country.is_empty() && (country.len() != 2 || !country.chars().all(|c| c.is_ascii_alphabetic())) {
        return Err(Refusal::new(422, "INVALID_ADDRESS", format!("country {country} is no code of two letters")));
    }
    if country.eq_ignore_ascii_case("US") && text("region").is_empty() {
        return Err(Refusal::new(422, "INVALID_ADDRESS", "an address in the US needs a region"));
    }
    if call.knobs.risk == Risk::Refuse {
        return Err(not_allowed("the credit check refuses the address"));
    }
    order.shipping_address = Some(address);
    Ok(call.no_content(call.entry(Operation::UpdateCustomerDetails)))
}
