//! A look at a capture or a refund before it is made, on an order that was read: reasons for which Klarna is likely to
//! refuse it, or a person to regret it. Nothing is sent and nothing is blocked, since Klarna alone decides.

use std::time::SystemTime;

use serde::Deserializer;

use crate::api::arguments::{self, Arguments, CallOptions, Reading};
use crate::api::documents::Order;
use crate::api::lines::CheckLines;
use crate::api::order_requests::RefundRequest;
use crate::api::request::{CaptureRequest, OrderLine, OrderLineType};
use crate::error::Error;
use crate::minor::decimals;
use crate::record::{record, to_json};
use crate::strict::{Reader, Voice};

record! {
    /// A look at a capture or a refund before it is made, on an order that was read.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Check(Vec<String>) {
        /// The reasons for which Klarna is likely to refuse it, or a person to regret it, each a line for a person. None is
        /// a good sign; Klarna alone decides, so never refuse a call for them.
        reasons: &[String] = |reasons| reasons;
    }
}

impl Check {
    /// All fields as a JSON object.
    pub fn to_json(&self) -> String {
        serde_json::Value::Object(to_json(&Check::INFO, self.facts())).to_string()
    }
}

impl From<Vec<String>> for Check {
    fn from(reasons: Vec<String>) -> Check {
        Check(reasons)
    }
}

/// The request is read as a client with the usual settings reads it.
fn reading(voice: Voice) -> Reading {
    Reading { accept_unknown_values: true, check_lines: CheckLines::Warn, voice }
}

impl Order {
    /// The reasons for which this capture is likely to be refused or to be a mistake, each a line for a person; none is a
    /// good sign. It looks at the order as it was read and sends nothing: Klarna alone decides, so never refuse a
    /// capture for them.
    ///
    /// ```no_run
    /// # let client = takings::Client::new(takings::Config::from_env()?)?;
    /// let order = client.get_order("f3392f8b-6116-4073-ab96-e330819e2c07")?;
    /// for reason in order.check_capture(&takings::CaptureRequest::new(6000)) {
    ///     eprintln!("{reason}");
    /// }
    /// # Ok::<(), takings::Error>(())
    /// ```
    pub fn check_capture(&self, request: &CaptureRequest) -> Vec<String> {
        of_capture(self, request, self.answered_at())
    }

    /// The same at another time than that of Klarna's answer, which decides whether the authorization has expired.
    pub fn check_capture_at(&self, request: &CaptureRequest, now: SystemTime) -> Vec<String> {
        of_capture(self, request, Some(now))
    }

    /// The reasons for which this refund is likely to be refused or to be a mistake, as
    /// [`check_capture`](Order::check_capture) has them for a capture.
    pub fn check_refund(&self, request: &RefundRequest) -> Vec<String> {
        of_refund(self, request)
    }
}

/// Where a binding has the request.
pub(crate) enum Given<'a, D> {
    Json(&'a str),
    Source(D, Voice),
}

/// The same for bindings, which keep an order as its text. A request that no call would take is a reason as well, in the
/// words in which the call refuses it.
pub(crate) fn of_text<'de, D: Deserializer<'de>>(
    operation: &str,
    order: &str,
    now: Option<SystemTime>,
    request: Given<'_, D>,
) -> Result<Vec<String>, Error> {
    let Some(order) = Order::of_text(order, now) else {
        return Err(Error::invalid_argument("order", "not an order's JSON text", "an order that get_order gave"));
    };
    match operation {
        "capture" => Ok(read(request).map_or_else(refused, |request| of_capture(&order, &request, now))),
        "refund" => Ok(read(request).map_or_else(refused, |request| of_refund(&order, &request))),
        _ => Err(Error::invalid_argument("operation", "another", "capture or refund")),
    }
}

fn read<'de, A: Arguments, D: Deserializer<'de>>(request: Given<'_, D>) -> Result<A, Error> {
    let read: (CallOptions, A) = match request {
        Given::Json(text) => Reader::new(A::WHOLE, true).json_two(text)?,
        Given::Source(source, voice) => Reader::new(A::WHOLE, true).in_units_of(voice).read_two(source)?,
    };
    Ok(read.1)
}

fn refused(error: Error) -> Vec<String> {
    vec![error.message().to_owned()]
}

/// The rules of the request itself, with the sums of its lines.
fn of_request<A: Arguments>(request: &A) -> Vec<String> {
    arguments::check(request, reading(Voice::Json)).map_or_else(refused, |checked| checked.warnings)
}

fn of_capture(order: &Order, request: &CaptureRequest, now: Option<SystemTime>) -> Vec<String> {
    let mut reasons = Vec::new();
    match order.status().unwrap_or_default() {
        "CANCELLED" => reasons.push("status is CANCELLED: a cancelled order cannot be captured; ship nothing".into()),
        "EXPIRED" => {
            reasons.push("status is EXPIRED: the authorization is over; ask the customer to order again".into())
        }
        "CLOSED" => reasons.push("status is CLOSED: nothing more of the order can be captured".into()),
        "CAPTURED" => reasons.push("status is CAPTURED: the order is captured in full already".into()),
        _ => {}
    }
    match order.fraud_status().unwrap_or_default() {
        "PENDING" => reasons.push(
            "fraud_status is PENDING: Klarna has not accepted the order yet; wait until it is ACCEPTED, and ship nothing".into(),
        ),
        status @ ("REJECTED" | "STOPPED") => reasons
            .push(format!("fraud_status is {status}: Klarna suspects fraud and may refuse the capture; ship nothing")),
        _ => {}
    }
    if order.expires_at().zip(now).is_some_and(|(end, now)| end <= now) && order.status() != Some("EXPIRED") {
        let end = order.at("/expires_at");
        let end = end.as_ref().and_then(|end| end.as_text()).unwrap_or_default();
        reasons.push(format!("expires_at is {end}, which is over: Klarna is likely to refuse the capture as expired"));
    }
    let unreleased = || Some(order.order_amount()? - order.captured_amount().unwrap_or(0));
    if let Some(left) = order.remaining_authorized_amount().or_else(unreleased) {
        amount(&mut reasons, order, ("captured_amount", request.captured_amount), left, "left to capture");
    }
    let known = order.captures();
    let known = known.iter().map(|one| (one.reference(), one.captured_amount(), one.capture_id()));
    used(&mut reasons, "capture", request.reference.as_deref(), request.captured_amount, known);
    let of_order = order.order_lines().unwrap_or_default();
    let lines = request.order_lines.as_ref().filter(|lines| !lines.is_empty()).unwrap_or(&of_order);
    // A line without a type is nothing that is known: Klarna documents no default for it.
    let is_physical = |line: &OrderLine| line.line_type == Some(OrderLineType::Physical);
    let is_told = request.shipping_info.as_ref().is_some_and(|told| !told.is_empty())
        || order.shipping_info().is_ok_and(|told| !told.is_empty());
    if lines.iter().any(is_physical) && !is_told {
        reasons.push(
            "shipping_info is missing, and lines are physical goods: without company and tracking number Klarna cannot \
             follow the parcel; append_shipping_info adds it later"
                .into(),
        );
    }
    reasons.extend(of_request(request));
    reasons
}

fn of_refund(order: &Order, request: &RefundRequest) -> Vec<String> {
    let mut reasons = Vec::new();
    let captured = order.captured_amount();
    if captured.unwrap_or(0) == 0 && (captured.is_some() || order.status() == Some("AUTHORIZED")) {
        reasons.push(
            "captured_amount of the order is 0: nothing was captured, so nothing can be refunded; cancel_or_release ends the \
             order"
                .into(),
        );
    } else if let Some(captured) = captured {
        let left = captured - order.refunded_amount().unwrap_or(0);
        amount(
            &mut reasons,
            order,
            ("refunded_amount", request.refunded_amount),
            left,
            "captured and not refunded yet",
        );
    }
    let known = order.refunds();
    let known = known.iter().map(|one| (one.reference(), one.refunded_amount(), one.refund_id()));
    used(&mut reasons, "refund", request.reference.as_deref(), request.refunded_amount, known);
    lines(&mut reasons, order, request.order_lines.as_deref().unwrap_or_default());
    reasons.extend(of_request(request));
    reasons
}

/// Compares an amount with the amount that is left, and both with amounts in the wrong unit.
fn amount(reasons: &mut Vec<String>, order: &Order, (field, given): (&str, i64), left: i64, of: &str) {
    if given > left {
        reasons.push(format!("{field} is {given}, and {left} is {of}: Klarna is likely to refuse it as too much"));
    }
    let Some(currency) = order.purchase_currency() else { return };
    let Some(decimals) = decimals(currency) else { return };
    // An amount that was converted by the two decimals of most currencies, or not at all.
    let factors = [10_i64.pow(decimals), 100, 10].into_iter().filter(|factor| match factor {
        1 => false,
        10 => decimals == 3,
        100 => decimals == 0 || decimals == 2,
        _ => true,
    });
    let wrong = [Some(left), order.order_amount()].into_iter().flatten().filter(|whole| *whole > 0).find_map(|whole| {
        let found = factors
            .clone()
            .find(|factor| given.checked_mul(*factor) == Some(whole) || whole.checked_mul(*factor) == Some(given));
        found.map(|factor| (whole, factor))
    });
    if let Some((whole, factor)) = wrong {
        let part = if given < whole { format!("1/{factor}") } else { format!("{factor} times") };
        let sample = match decimals {
            0 => "60".to_owned(),
            _ => format!("60.{}", "0".repeat(decimals as usize)),
        };
        reasons.push(format!(
            "{field} is {given}, exactly {part} of {whole}: amounts are in minor units, so {sample} {} is {}; minor() \
             converts",
            currency.to_ascii_uppercase(),
            60 * 10_i64.pow(decimals)
        ));
    }
}

/// Looks for a reference among those that were used.
fn used<'a>(
    reasons: &mut Vec<String>,
    noun: &str,
    reference: Option<&str>,
    amount: i64,
    known: impl Iterator<Item = (Option<&'a str>, Option<i64>, Option<&'a str>)>,
) {
    let Some(reference) = reference.filter(|reference| !reference.is_empty()) else { return };
    for (_, made, id) in known.filter(|(known, ..)| *known == Some(reference)) {
        let id = id.map(|id| format!(" {id}")).unwrap_or_default();
        let of = made.map(|made| format!(" of {made}")).unwrap_or_default();
        let advice = if made == Some(amount) {
            format!("it may be this {noun}, made already: with another idempotency key it would be made twice")
        } else {
            format!("give each {noun} a reference of its own")
        };
        reasons.push(format!("reference is {reference:?}, that of the {noun}{id}{of}: {advice}"));
    }
}

/// Compares the lines of a refund with the captured ones: by their references Klarna finds the capture.
fn lines(reasons: &mut Vec<String>, order: &Order, given: &[OrderLine]) {
    let of_captures = order.captures().iter().map(|capture| capture.order_lines()).collect::<Result<Vec<_>, _>>();
    let Ok(captured) = of_captures.map(|lines| lines.concat()) else { return };
    if given.is_empty() && order.captures().len() > 1 && !captured.is_empty() {
        let count = order.captures().len();
        reasons.push(format!(
            "order_lines is missing, and the order has {count} captures: Klarna finds the capture to refund by the lines; \
             refund_capture takes them over"
        ));
    }
    let refunded =
        order.refunds().iter().flat_map(|refund| refund.order_lines().unwrap_or_default()).collect::<Vec<_>>();
    let total = |lines: &[OrderLine], reference: &str| {
        let of = lines.iter().filter(|line| line.reference.as_deref() == Some(reference));
        of.map(|line| i128::from(line.total_amount)).sum::<i128>()
    };
    let mut seen = Vec::new();
    for (index, line) in given.iter().enumerate() {
        let Some(reference) = line.reference.as_deref().filter(|reference| !reference.is_empty()) else { continue };
        if captured.is_empty() || line.line_type == Some(OrderLineType::ReturnFee) || seen.contains(&reference) {
            continue;
        }
        seen.push(reference);
        if captured.iter().all(|line| line.reference.as_deref() != Some(reference)) {
            reasons.push(format!(
                "order_lines[{index}].reference is that of no captured line: Klarna finds the capture to refund by the \
                 references of its lines"
            ));
            continue;
        }
        let (all, left) = (total(given, reference), total(&captured, reference) - total(&refunded, reference));
        if all > left {
            reasons.push(format!(
                "order_lines[{index}] and lines with its reference are {all} in all, and {left} of them is captured and not \
                 refunded yet"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    /// An order as Klarna has it, with other members in place of some.
    fn order(changed: serde_json::Value) -> Order {
        let mut order = serde_json::json!({
            "status": "PART_CAPTURED", "fraud_status": "ACCEPTED", "order_amount": 10000, "captured_amount": 6000,
            "refunded_amount": 1000, "remaining_authorized_amount": 4000, "purchase_currency": "eur",
            "expires_at": "2026-12-24T00:00:00Z", "order_lines": [],
            "captures": [{"capture_id": "c-1", "reference": "parcel-1", "captured_amount": 6000, "order_lines": [
                {"reference": "sku-1", "name": "Tomatoes", "quantity": 10, "unit_price": 600, "total_amount": 6000}]}],
            "refunds": [{"refund_id": "r-1", "reference": "return-1", "refunded_amount": 1000, "order_lines": [
                {"reference": "sku-1", "name": "Tomatoes", "quantity": 1, "unit_price": 1000, "total_amount": 1000}]}],
        });
        for (name, value) in changed.as_object().unwrap() {
            order[name] = value.clone();
        }
        Order::of_text(&order.to_string(), Some(UNIX_EPOCH + Duration::from_secs(1_790_000_000))).unwrap()
    }

    #[track_caller]
    fn only(reasons: &[String], parts: &[&str]) {
        let [reason] = reasons else { panic!("{reasons:#?}") };
        for part in parts {
            assert!(reason.contains(part), "{reason:?} lacks {part:?}");
        }
    }

    #[test]
    fn a_capture_that_fits_has_no_reason() {
        assert_eq!(order(serde_json::json!({})).check_capture(&CaptureRequest::new(4000)), [""; 0]);
        assert_eq!(Order::of_text("{}", None).unwrap().check_capture(&CaptureRequest::new(1)), [""; 0]);
        assert_eq!(Order::of_text("{}", None).unwrap().check_refund(&RefundRequest::new(1)), [""; 0]);
    }

    #[test]
    fn each_reason_of_a_capture_stands_alone() {
        let of = |changed: serde_json::Value, amount| order(changed).check_capture(&CaptureRequest::new(amount));
        for status in ["CANCELLED", "EXPIRED", "CLOSED", "CAPTURED"] {
            only(&of(serde_json::json!({"status": status}), 4000), &[status]);
        }
        for status in ["PENDING", "REJECTED", "STOPPED"] {
            only(&of(serde_json::json!({"fraud_status": status}), 4000), &["fraud_status", status, "ship nothing"]);
        }
        only(
            &of(serde_json::json!({"expires_at": "2026-09-01T00:00:00Z"}), 4000),
            &["expires_at is 2026-09-01", "over"],
        );
        only(&of(serde_json::json!({}), 4001), &["4001", "4000 is left to capture"]);
        let without = serde_json::json!({"remaining_authorized_amount": null});
        only(&of(without, 4001), &["4000 is left to capture"]);
        only(&of(serde_json::json!({}), 0), &["captured_amount is 0"]);
        let physical = serde_json::json!({"order_lines": [
            {"type": "physical", "name": "Tomatoes", "quantity": 10, "unit_price": 600, "total_amount": 6000}]});
        only(&of(physical.clone(), 4000), &["shipping_info"]);
        let mut told = CaptureRequest::new(4000);
        told.shipping_info = Some(vec![crate::api::request::ShippingInfo::default()]);
        assert_eq!(order(physical).check_capture(&told), [""; 0]);
    }

    #[test]
    fn only_lines_of_the_type_physical_are_goods() {
        let line = serde_json::json!({"name": "Tomatoes", "quantity": 10, "unit_price": 600, "total_amount": 6000});
        let of = |line| order(serde_json::json!({"order_lines": [line]})).check_capture(&CaptureRequest::new(4000));
        assert_eq!(of(line.clone()), [""; 0]);
        for other in ["digital", "discount", "shipping_fee", "sales_tax", "store_credit", "gift_card", "surcharge"] {
            let mut line = line.clone();
            line["type"] = other.into();
            assert_eq!(of(line), [""; 0], "{other}");
        }
    }

    #[test]
    fn the_time_may_be_given() {
        let order = order(serde_json::json!({}));
        let later = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        only(&order.check_capture_at(&CaptureRequest::new(4000), later), &["expires_at"]);
    }

    #[test]
    fn an_amount_in_the_wrong_unit_is_seen() {
        let of = |currency: &str, amount| {
            order(serde_json::json!({"purchase_currency": currency})).check_capture(&CaptureRequest::new(amount))
        };
        only(&of("EUR", 40), &["1/100 of 4000", "60.00 EUR is 6000"]);
        only(&of("EUR", 100), &["1/100 of 10000"]);
        let much = of("JPY", 400_000);
        assert!(
            much.len() == 2 && much[1].contains("100 times of 4000") && much[1].contains("60 JPY is 60"),
            "{much:?}"
        );
        only(&of("KWD", 400), &["1/10 of 4000", "60.000 KWD is 60000"]);
        assert_eq!(of("XYZ", 40), [""; 0]);
        assert_eq!(of("EUR", 400), [""; 0]);
    }

    #[test]
    fn a_reference_that_was_used_is_told() {
        let mut request = CaptureRequest::new(4000);
        request.reference = Some("parcel-1".into());
        only(
            &order(serde_json::json!({})).check_capture(&request),
            &["\"parcel-1\"", "capture c-1 of 6000", "of its own"],
        );
        let mut request = RefundRequest::new(1000);
        request.reference = Some("return-1".into());
        only(
            &order(serde_json::json!({})).check_refund(&request),
            &["\"return-1\"", "refund r-1 of 1000", "made twice"],
        );
    }

    #[test]
    fn each_reason_of_a_refund_stands_alone() {
        let of = |changed: serde_json::Value, amount| order(changed).check_refund(&RefundRequest::new(amount));
        assert_eq!(of(serde_json::json!({}), 5000), [""; 0]);
        only(&of(serde_json::json!({}), 5001), &["5000 is captured and not refunded yet"]);
        only(&of(serde_json::json!({"captured_amount": 0, "captures": []}), 1), &["nothing was captured"]);
        let mut request = RefundRequest::new(1000);
        let mut line = OrderLine::new("Tomatoes", 1, 1000, 1000);
        line.reference = Some("sku-2".into());
        request.order_lines = Some(vec![line.clone()]);
        only(
            &order(serde_json::json!({})).check_refund(&request),
            &["order_lines[0].reference is that of no captured"],
        );
        line.reference = Some("sku-1".into());
        request.order_lines = Some(vec![line.clone()]);
        assert_eq!(order(serde_json::json!({})).check_refund(&request), [""; 0]);
        line.total_amount = 5500;
        line.unit_price = 5500;
        request.order_lines = Some(vec![line]);
        request.refunded_amount = 5000;
        let reasons = order(serde_json::json!({})).check_refund(&request);
        assert!(reasons[0].contains("5500 in all, and 5000"), "{reasons:?}");
    }

    #[test]
    fn a_request_that_no_call_takes_is_a_reason() {
        let text = order(serde_json::json!({})).raw().to_owned();
        let json =
            |operation, request| of_text::<serde_json::Value>(operation, &text, None, Given::Json(request)).unwrap();
        only(&json("capture", r#"{"captured_amount": "60.00"}"#), &["captured_amount is the string"]);
        assert_eq!(json("capture", r#"{"captured_amount": 4000, "first_use": true}"#), [""; 0]);
        only(&json("refund", "{"), &["the refund request"]);
        assert!(of_text::<serde_json::Value>("refund", "[", None, Given::Json("{}")).is_err());
        assert!(of_text::<serde_json::Value>("cancel", "{}", None, Given::Json("{}")).is_err());
    }
}
