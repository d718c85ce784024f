//! The rules of captures and orders.

mod calls;

use super::*;

pub(super) fn order(amount: i64) -> NewOrder {
    NewOrder { order_id: Some("o".into()), order_amount: amount, ..NewOrder::default() }
}

pub(super) fn klarna(new: NewOrder) -> Klarna {
    let mut klarna = Klarna::default();
    klarna.create(new, 0).unwrap();
    klarna
}

/// A call whose path has `id` in place of `*`.
pub(super) fn call(
    klarna: &mut Klarna,
    operation: Operation,
    id: &str,
    body: &Value,
    now: Millis,
) -> Result<Done, Refusal> {
    let path = format!("/ordermanagement/v1/orders/o/{}", operation.path().replace('*', id));
    let place = place(&path).unwrap();
    let about = Circumstances { base: "http://x", key: None, request_number: 1, order_requests: 1, now };
    klarna.write(operation, &place, body.to_string().as_bytes(), &about)
}

fn capture(klarna: &mut Klarna, body: &Value, now: Millis) -> Result<String, Refusal> {
    call(klarna, Operation::Capture, "", body, now).map(|done| done.made.unwrap().id().into())
}

fn code(result: Result<String, Refusal>) -> &'static str {
    result.unwrap_err().error_code
}

#[test]
fn counts_down_to_captured() {
    let mut klarna = klarna(order(100));
    let status = |klarna: &Klarna| klarna.order("o", 0).unwrap()["status"].clone();
    assert_eq!(status(&klarna), "AUTHORIZED");
    capture(&mut klarna, &json!({"captured_amount": 60}), 0).unwrap();
    assert_eq!(status(&klarna), "PART_CAPTURED");
    assert_eq!(code(capture(&mut klarna, &json!({"captured_amount": 41}), 0)), "CAPTURE_NOT_ALLOWED");
    capture(&mut klarna, &json!({"captured_amount": 40}), 0).unwrap();
    assert_eq!(status(&klarna), "CAPTURED");
    assert_eq!(code(capture(&mut klarna, &json!({"captured_amount": 1}), 0)), "CAPTURE_NOT_ALLOWED");
    let order = klarna.order("o", 0).unwrap();
    assert_eq!(order["remaining_authorized_amount"], 0);
    let reference = order["klarna_reference"].as_str().unwrap();
    assert_eq!(order["captures"][1]["klarna_reference"], format!("{reference}-2"));
}

#[test]
fn expires_at_its_time() {
    let mut klarna = klarna(order(100));
    let end = AUTHORIZATION_LIFE;
    assert_eq!(klarna.order("o", end - 1).unwrap()["status"], "AUTHORIZED");
    assert_eq!(klarna.order("o", end).unwrap()["status"], "EXPIRED");
    capture(&mut klarna, &json!({"captured_amount": 1}), end - 1).unwrap();
    assert_eq!(code(capture(&mut klarna, &json!({"captured_amount": 1}), end)), "CAPTURE_NOT_ALLOWED");
}

#[test]
fn an_ended_or_pending_order_is_not_captured() {
    for status in [OrderStatus::Cancelled, OrderStatus::Expired, OrderStatus::Closed] {
        let mut klarna = klarna(NewOrder { status: Some(status), ..order(100) });
        assert_eq!(code(capture(&mut klarna, &json!({"captured_amount": 1}), 0)), "CAPTURE_NOT_ALLOWED");
    }
    let mut klarna = klarna(NewOrder { fraud_status: Some("PENDING".into()), ..order(100) });
    assert_eq!(code(capture(&mut klarna, &json!({"captured_amount": 1}), 0)), "CAPTURE_NOT_ALLOWED");
    let accepted = OrderChange { fraud_status: Some("ACCEPTED".into()), status: None };
    assert_eq!(klarna.change("o", accepted), Ok(true));
    capture(&mut klarna, &json!({"captured_amount": 1}), 0).unwrap();
}

#[test]
fn refuses_impossible_orders() {
    let mut klarna = klarna(order(100));
    assert!(klarna.create(order(100), 0).unwrap_err().contains("exists"));
    for (new, says) in [
        (NewOrder { order_id: Some(String::new()), ..order(1) }, "order_id"),
        (NewOrder { order_id: None, ..order(-1) }, "order_amount"),
        (NewOrder { order_id: None, ..order(AMOUNT_LIMIT + 1) }, "order_amount"),
        (NewOrder { order_id: None, order_lines: Some(json!({})), ..order(1) }, "order_lines"),
        (NewOrder { order_id: None, status: Some(OrderStatus::Captured), ..order(1) }, "status"),
    ] {
        assert!(klarna.create(new, 0).unwrap_err().contains(says), "{says}");
    }
}

#[test]
fn a_field_out_of_its_limits_is_named() {
    let line = json!({"name": "n", "quantity": 1, "unit_price": 1, "total_amount": 1});
    let with = |path: &[&str], value: Value| {
        let mut request =
            json!({"captured_amount": 1, "order_lines": [line.clone(), line.clone()], "shipping_info": [{}]});
        let mut at = &mut request;
        for step in path {
            at = match step.parse::<usize>() {
                Ok(index) => &mut at[index],
                Err(_) => &mut at[*step],
            };
        }
        *at = value;
        capture(&mut klarna(order(AMOUNT_LIMIT)), &request, 0)
    };
    let says = |path: &[&str], value: Value, message: &str| {
        let refusal = with(path, value).unwrap_err();
        assert_eq!((refusal.status, refusal.error_code), (422, "UNPROCESSABLE_ENTITY"));
        assert!(refusal.messages[0].starts_with(message), "{:?}", refusal.messages);
    };
    says(&["captured_amount"], json!(0), "captured_amount must be an integer from 1 to 200000000");
    says(&["captured_amount"], json!(200_000_001), "captured_amount");
    says(&["captured_amount"], json!("1"), "captured_amount");
    says(&["captured_amount"], json!(1.0), "captured_amount");
    says(&["captured_amount"], json!(null), "captured_amount is missing");
    says(&["reference"], json!("é".repeat(256)), "reference must be a string of at most 255");
    says(&["order_lines"], json!({}), "order_lines must be a list");
    says(&["order_lines"], json!(vec![line.clone(); 1001]), "order_lines must be a list");
    says(&["order_lines", "1"], json!(1), "order_lines[1] must be an object");
    says(&["order_lines", "1", "name"], json!(null), "order_lines[1].name is missing");
    says(&["order_lines", "0", "quantity"], json!(-1), "order_lines[0].quantity must be an integer from 0");
    says(&["order_lines", "0", "unit_price"], json!(200_000_001), "order_lines[0].unit_price must be an integer up to");
    says(&["order_lines", "0", "quantity_unit"], json!("12345678901"), "order_lines[0].quantity_unit");
    says(
        &["order_lines", "0", "product_identifiers"],
        json!({"size": "s".repeat(65)}),
        "order_lines[0].product_identifiers.size",
    );
    says(
        &["order_lines", "0", "subscription"],
        json!({"name": "s", "interval": "day", "interval_count": 1}),
        "order_lines[0].subscription.interval must be one of",
    );
    says(&["shipping_info", "0", "tracking_number"], json!("t".repeat(101)), "shipping_info[0].tracking_number");
    says(&["shipping_delay"], json!(-1), "shipping_delay");

    with(&["reference"], json!("é".repeat(255))).unwrap();
    with(&["reference"], json!(null)).unwrap();
    with(&["order_lines", "0", "unit_price"], json!(-5)).unwrap();
    with(&["order_lines", "0", "type"], json!("package")).unwrap();
    with(&["something"], json!("else")).unwrap();
}

#[test]
fn a_body_that_is_no_object_is_malformed() {
    let place = place("/ordermanagement/v1/orders/o/captures").unwrap();
    for body in [&b"{"[..], b"", b"[]", b"1", b"{\"captured_amount\": 1}}", b"\xff"] {
        let about = Circumstances { base: "", key: None, request_number: 1, order_requests: 1, now: 0 };
        let refusal = klarna(order(1)).write(Operation::Capture, &place, body, &about).unwrap_err();
        assert_eq!((refusal.status, refusal.error_code), (400, "BAD_REQUEST"));
    }
}

#[test]
fn writes_dates() {
    assert_eq!(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    assert_eq!(http_date(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
}

#[test]
fn expires_at_midnight_unless_told() {
    let mut klarna = Klarna::default();
    let noon = 20_000 * DAY + DAY / 2;
    let id = klarna.create(NewOrder { order_id: None, ..order(1) }, noon).unwrap();
    assert_eq!(klarna.order(&id, noon).unwrap()["expires_at"], timestamp(20_028 * DAY));
    let id = klarna.create(NewOrder { order_id: None, expires_in: Some(60), ..order(1) }, noon).unwrap();
    assert_eq!(klarna.order(&id, noon).unwrap()["expires_at"], timestamp(noon + 60_000));
}

#[test]
fn writes_times() {
    assert_eq!(timestamp(0), "1970-01-01T00:00:00.000Z");
    assert_eq!(timestamp(951_782_399_999), "2000-02-28T23:59:59.999Z");
    assert_eq!(timestamp(951_782_400_000), "2000-02-29T00:00:00.000Z");
    assert_eq!(timestamp(1_709_251_200_000), "2024-03-01T00:00:00.000Z");
    assert_eq!(timestamp(LAST), "9999-12-31T23:59:59.999Z");
}
