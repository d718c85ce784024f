//! Whether a call was carried out, by what Klarna shows of the order or the capture. Each function takes the document and
//! the body of the call. A setter that is not shown decides nothing, since a later one may have replaced it.
//!
//! A document may be older than the call. So it shows that a refused call was never carried out only where it also
//! explains the refusal: then an earlier call was refused as well.

use serde_json::Value;

/// A member of a document. Klarna may leave out what is empty.
fn is_same(shown: Option<&Value>, wanted: &Value) -> bool {
    let is_empty = |value: &Value| value.is_null() || value == "" || value.as_array().is_some_and(Vec::is_empty);
    match (shown, wanted) {
        (Some(Value::Object(_)), Value::Object(_)) => has_members(shown.unwrap_or(&Value::Null), wanted),
        (Some(Value::Array(shown)), Value::Array(wanted)) => {
            shown.len() == wanted.len() && shown.iter().zip(wanted).all(|(shown, wanted)| is_same(Some(shown), wanted))
        }
        (Some(shown), _) => shown == wanted || (is_empty(shown) && is_empty(wanted)),
        (None, _) => is_empty(wanted),
    }
}

fn has_members(document: &Value, body: &Value) -> bool {
    body.as_object().is_some_and(|body| body.iter().all(|(name, wanted)| is_same(document.get(name), wanted)))
}

/// Each member of the body is shown as it was sent.
pub(crate) fn is_set(document: &Value, body: &Value) -> Option<bool> {
    has_members(document, body).then_some(true)
}

/// The order has the new amount and the new lines. Its description is shown nowhere.
pub(crate) fn has_authorization(order: &Value, body: &Value) -> Option<bool> {
    let is_shown = |name: &&str| is_same(order.get(*name), &body[*name]);
    ["order_amount", "order_lines"].iter().all(is_shown).then_some(true)
}

/// A cancelled order stays so. An order with a capture, or one that ended otherwise, is never cancelled.
pub(crate) fn is_cancelled(order: &Value, _: &Value) -> Option<bool> {
    match order["status"].as_str()? {
        "CANCELLED" => Some(true),
        "PART_CAPTURED" | "CAPTURED" | "EXPIRED" | "CLOSED" => Some(false),
        _ => (order["captured_amount"].as_i64()? > 0).then_some(false),
    }
}

/// The order has no rest to capture, and a part of it was captured. Without a capture there is nothing to release,
/// and an order that ended with a rest keeps it.
pub(crate) fn has_nothing_left(order: &Value, _: &Value) -> Option<bool> {
    let (left, captured) = (order["remaining_authorized_amount"].as_i64()?, order["captured_amount"].as_i64()?);
    let has_ended = matches!(order["status"].as_str(), Some("CANCELLED" | "EXPIRED" | "CLOSED"));
    match (left, captured) {
        (0, 0) => None,
        (0, _) => Some(true),
        (_, captured) => (captured == 0 || has_ended).then_some(false),
    }
}

/// Each entry is listed. A cancelled order gets none any more. Klarna finds a parcel by its carrier and number; an entry without a number cannot be told from
/// others.
pub(crate) fn has_shipping_info(document: &Value, body: &Value) -> Option<bool> {
    let entries = |of: &Value| of["shipping_info"].as_array().cloned().unwrap_or_default();
    let shown = entries(document);
    let names = |entry: &Value| {
        ["shipping_company", "tracking_number"].map(|name| entry[name].as_str().unwrap_or_default().to_owned())
    };
    let wanted: Vec<_> = entries(body).iter().map(names).collect();
    if wanted.iter().any(|[_, number]| number.is_empty()) {
        return None;
    }
    match wanted.iter().filter(|wanted| shown.iter().any(|shown| names(shown) == **wanted)).count() {
        0 => (document["status"] == "CANCELLED").then_some(false),
        listed => (listed == wanted.len()).then_some(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_setter_is_done_where_each_member_is_as_it_was_sent() {
        let order = json!({
            "merchant_reference1": "A-1",
            "shipping_address": {"city": "Berlin", "phone": ""},
            "order_amount": 6000,
            "order_lines": [{"name": "Tomatoes", "quantity": 10, "image_url": "x"}],
        });
        for (body, is_done) in [
            (json!({"merchant_reference1": "A-1"}), true),
            (json!({"merchant_reference1": "A-1", "merchant_reference2": ""}), true),
            (json!({"merchant_reference1": "A-1", "merchant_reference2": "B"}), false),
            (json!({"merchant_reference1": ""}), false),
            (json!({"shipping_address": {"city": "Berlin", "phone": "", "email": ""}}), true),
            (json!({"shipping_address": {"city": "Bremen"}}), false),
        ] {
            assert_eq!(is_set(&order, &body), is_done.then_some(true), "{body}");
        }
        for (body, is_done) in [
            (json!({"order_amount": 6000, "order_lines": [{"name": "Tomatoes", "quantity": 10}]}), true),
            (json!({"order_amount": 6000, "order_lines": [{"name": "Tomatoes", "quantity": 9}]}), false),
            (json!({"order_amount": 6000, "order_lines": []}), false),
            (json!({"order_amount": 5000, "order_lines": [{"name": "Tomatoes", "quantity": 10}]}), false),
        ] {
            assert_eq!(has_authorization(&order, &body), is_done.then_some(true), "{body}");
        }
    }

    #[test]
    fn the_end_of_an_order_shows_in_its_state() {
        assert_eq!(is_cancelled(&json!({"status": "CANCELLED"}), &Value::Null), Some(true));
        for (order, is_done) in [
            // An older state of the order may show this, although it is cancelled.
            (json!({"status": "AUTHORIZED", "captured_amount": 0}), None),
            (json!({"status": "AUTHORIZED"}), None),
            (json!({}), None),
            (json!({"status": "PART_CAPTURED"}), Some(false)),
            (json!({"status": "OF_A_LATER_DAY", "captured_amount": 1}), Some(false)),
            (json!({"status": "EXPIRED"}), Some(false)),
        ] {
            assert_eq!(is_cancelled(&order, &Value::Null), is_done, "{order}");
        }
        for (order, is_done) in [
            (json!({"remaining_authorized_amount": 0, "captured_amount": 10}), Some(true)),
            (json!({"remaining_authorized_amount": 1, "captured_amount": 10, "status": "PART_CAPTURED"}), None),
            (json!({"remaining_authorized_amount": 1, "captured_amount": 10, "status": "EXPIRED"}), Some(false)),
            (json!({"remaining_authorized_amount": 1, "captured_amount": 0}), Some(false)),
            (json!({"remaining_authorized_amount": 0, "captured_amount": 0}), None),
            (json!({"captured_amount": 10}), None),
        ] {
            assert_eq!(has_nothing_left(&order, &Value::Null), is_done, "{order}");
        }
    }

    #[test]
    fn shipping_info_is_done_where_each_parcel_is_listed() {
        let entry = |company: &str, number: &str| json!({"shipping_company": company, "tracking_number": number});
        let document = json!({"shipping_info": [entry("DHL", "1"), entry("DHL", "2")]});
        for (entries, is_done) in [
            (json!([entry("DHL", "2")]), Some(true)),
            (json!([entry("DHL", "2"), entry("DHL", "3")]), None),
            (json!([entry("UPS", "2")]), None),
            (json!([{"shipping_method": "Home"}]), None),
        ] {
            assert_eq!(has_shipping_info(&document, &json!({"shipping_info": entries})), is_done, "{entries}");
        }
        let cancelled = json!({"status": "CANCELLED", "shipping_info": []});
        let body = json!({"shipping_info": [entry("UPS", "2")]});
        assert_eq!(has_shipping_info(&cancelled, &body), Some(false));
    }
}
