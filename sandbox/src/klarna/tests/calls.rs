//! The rules of every call but the capture, each with its refusals.

use super::{call, klarna, order};
use crate::klarna::*;

const ALL: i64 = 100;

fn fresh() -> Klarna {
    klarna(order(ALL))
}

fn with(name: &str, value: Value) -> NewOrder {
    let mut order = serde_json::to_value(order(ALL)).unwrap();
    order[name] = value;
    serde_json::from_value(order).unwrap()
}

fn with_knob(name: &str, value: Value) -> Klarna {
    klarna(with("knobs", json!({ name: value })))
}

/// An order of which this much is captured, and the capture's id.
fn captured(mut klarna: Klarna, amount: i64) -> (Klarna, String) {
    let done = call(&mut klarna, Operation::Capture, "", &json!({"captured_amount": amount}), 0).unwrap();
    (klarna, done.made.unwrap().id().into())
}

fn done(klarna: &mut Klarna, operation: Operation, id: &str, body: &Value) {
    let done = call(klarna, operation, id, body, 0).unwrap();
    assert_eq!((done.answer.status, done.answer.body.len(), done.committed()), (204, 0, true), "{operation:?}");
}

#[track_caller]
fn refused(klarna: &mut Klarna, operation: Operation, id: &str, body: &Value, status: u16, code: &str) -> String {
    let before = (show(klarna), klarna.ledger.len());
    let refusal = call(klarna, operation, id, body, 0).unwrap_err();
    assert_eq!((refusal.status, refusal.error_code), (status, code), "{refusal:?}");
    assert_eq!((show(klarna), klarna.ledger.len()), before, "a refusal changes nothing");
    refusal.messages[0].clone()
}

fn show(klarna: &Klarna) -> Value {
    klarna.order("o", 0).unwrap()
}

fn read(klarna: &Klarna, operation: Operation, id: &str) -> Result<Value, Refusal> {
    let path = format!("/ordermanagement/v1/orders/o/{}", operation.path().replace('*', id));
    klarna.read(operation, &place(&path).unwrap(), &Look::default(), 0)
}

fn ended(status: OrderStatus) -> Klarna {
    klarna(NewOrder { status: Some(status), ..order(ALL) })
}

const NONE: Value = Value::Null;

#[test]
fn every_write_knows_no_other_order() {
    let bodies = |operation: Operation| match operation {
        Operation::Capture => json!({"captured_amount": 1}),
        Operation::Refund => json!({"refunded_amount": 1}),
        Operation::UpdateAuthorization => json!({"order_amount": 1}),
        Operation::UpdateCustomerDetails => json!({"shipping_address": {}}),
        Operation::ExtendDueDate => json!({"number_of_days": 10}),
        _ => json!({"shipping_info": [{}]}),
    };
    for operation in Operation::all() {
        let path = format!("/ordermanagement/v1/orders/p/{}", operation.path().replace('*', "x"));
        let place = place(path.trim_end_matches('/')).unwrap();
        let about = Circumstances { base: "", key: None, request_number: 1, order_requests: 1, now: 0 };
        let mut klarna = fresh();
        let refusal = if operation.writes() {
            klarna.write(operation, &place, bodies(operation).to_string().as_bytes(), &about).unwrap_err()
        } else {
            klarna.read(operation, &place, &Look::default(), 0).unwrap_err()
        };
        let refund = matches!(operation, Operation::Refund | Operation::GetRefund);
        let code = if refund { "NOT_FOUND" } else { "NO_SUCH_ORDER" };
        assert_eq!((refusal.status, refusal.error_code), (404, code), "{operation:?}");
    }
}

#[test]
fn a_cancel_ends_an_order_without_captures() {
    let mut klarna = fresh();
    done(&mut klarna, Operation::Cancel, "", &NONE);
    let order = show(&klarna);
    assert_eq!((&order["status"], &order["remaining_authorized_amount"]), (&json!("CANCELLED"), &json!(0)));
    assert_eq!(klarna.ledger[0].amount, Some(ALL));
    refused(&mut klarna, Operation::Capture, "", &json!({"captured_amount": 1}), 403, "CAPTURE_NOT_ALLOWED");
    refused(&mut klarna, Operation::Cancel, "", &NONE, 403, "CANCEL_NOT_ALLOWED");
    for operation in
        [Operation::Acknowledge, Operation::ReleaseRemainingAuthorization, Operation::ExtendAuthorizationTime]
    {
        refused(&mut klarna, operation, "", &NONE, 403, "NOT_ALLOWED");
    }
    refused(&mut klarna, Operation::UpdateMerchantReferences, "", &json!({}), 403, "NOT_ALLOWED");
    refused(&mut klarna, Operation::Refund, "", &json!({"refunded_amount": 1}), 403, "REFUND_NOT_ALLOWED");

    let (mut klarna, _) = captured(fresh(), 1);
    refused(&mut klarna, Operation::Cancel, "", &NONE, 403, "CANCEL_NOT_ALLOWED");
    for status in [OrderStatus::Closed, OrderStatus::Expired] {
        refused(&mut ended(status), Operation::Cancel, "", &NONE, 403, "CANCEL_NOT_ALLOWED");
    }
}

#[test]
fn a_second_cancel_may_be_no_content() {
    let mut klarna = with_knob("second_cancel", json!("no_content"));
    done(&mut klarna, Operation::Cancel, "", &NONE);
    let again = call(&mut klarna, Operation::Cancel, "", &NONE, 0).unwrap();
    assert_eq!((again.answer.status, again.committed(), klarna.ledger.len()), (204, false, 1));
}

#[test]
fn a_release_gives_the_rest_back() {
    let release = Operation::ReleaseRemainingAuthorization;
    refused(&mut fresh(), release, "", &NONE, 403, "NOT_ALLOWED");
    let (mut klarna, _) = captured(fresh(), 60);
    done(&mut klarna, release, "", &NONE);
    let order = show(&klarna);
    assert_eq!((&order["order_amount"], &order["remaining_authorized_amount"]), (&json!(100), &json!(0)));
    assert_eq!((&order["status"], klarna.ledger[1].amount), (&json!("CAPTURED"), Some(40)));
    let message = refused(&mut klarna, release, "", &NONE, 403, "NOT_ALLOWED");
    assert_eq!(message, "Order is fully captured. Remaining authorization cannot be released.");
    refused(&mut klarna, Operation::Capture, "", &json!({"captured_amount": 1}), 403, "CAPTURE_NOT_ALLOWED");
    refused(&mut klarna, Operation::UpdateAuthorization, "", &json!({"order_amount": 99}), 403, "NOT_ALLOWED");

    let (mut klarna, _) = captured(with_knob("release", json!("lowers_order_amount")), 60);
    done(&mut klarna, release, "", &NONE);
    let order = show(&klarna);
    assert_eq!((&order["order_amount"], &order["original_order_amount"]), (&json!(60), &json!(100)));
    assert_eq!(klarna.audit(), []);
}

#[test]
fn a_refund_is_at_most_what_was_captured() {
    let refund = |amount: i64| json!({"refunded_amount": amount, "reference": "r", "description": "d"});
    let no = |klarna: &mut Klarna, amount| {
        refused(klarna, Operation::Refund, "", &refund(amount), 403, "REFUND_NOT_ALLOWED")
    };
    assert_eq!(no(&mut fresh(), 1), "Order has no captures");
    let (mut klarna, _) = captured(fresh(), 60);
    assert_eq!(no(&mut klarna, 61), "Over refund is not allowed");
    let made = call(&mut klarna, Operation::Refund, "", &refund(40), 0).unwrap();
    let (made, answer) = (made.made.unwrap(), made.answer);
    let id = made.id();
    assert_eq!(answer.status, 201);
    let location = format!("http://x/ordermanagement/v1/orders/o/refunds/{id}");
    assert_eq!(answer.headers, [("Refund-Id".into(), id.into()), ("Location".into(), location)]);
    assert_eq!(no(&mut klarna, 21), "Over refund is not allowed");
    let order = show(&klarna);
    assert_eq!((&order["refunded_amount"], &order["status"]), (&json!(40), &json!("PART_CAPTURED")));
    assert_eq!(order["captures"][0]["refunded_amount"], 40);
    let one = read(&klarna, Operation::GetRefund, id).unwrap();
    assert_eq!((&one["refund_id"], &one["reference"], &one["refunded_amount"]), (&json!(id), &json!("r"), &json!(40)));
    assert_eq!(order["refunds"], json!([one]));
    let entry = json!(klarna.ledger[1]);
    assert_eq!((&entry["kind"], &entry["refunded_amount"]), (&json!("refund"), &json!(40)));
    assert_eq!((&entry["refund_id"], &entry["reference"]), (&json!(id), &json!("r")));
    assert_eq!(entry.get("captured_amount"), None);

    for amount in [json!(0), json!("1"), json!(1.5), NONE] {
        let body = json!({ "refunded_amount": amount });
        refused(&mut klarna, Operation::Refund, "", &body, 422, "UNPROCESSABLE_ENTITY");
    }
}

#[test]
fn a_refund_goes_to_the_captures_of_its_lines_then_to_the_oldest() {
    let line = |reference: &str, amount: i64| json!({"name": "n", "quantity": 1, "unit_price": amount, "total_amount": amount, "reference": reference});
    let mut klarna = fresh();
    for reference in ["a", "b"] {
        let body = json!({"captured_amount": 50, "order_lines": [line(reference, 50)]});
        call(&mut klarna, Operation::Capture, "", &body, 0).unwrap();
    }
    let refunded = |klarna: &Klarna| {
        let order = show(klarna);
        [0, 1].map(|at| order["captures"][at]["refunded_amount"].as_i64().unwrap())
    };
    let of_b = json!({"refunded_amount": 30, "order_lines": [line("b", 30)]});
    call(&mut klarna, Operation::Refund, "", &of_b, 0).unwrap();
    assert_eq!(refunded(&klarna), [0, 30]);
    call(&mut klarna, Operation::Refund, "", &json!({"refunded_amount": 60}), 0).unwrap();
    assert_eq!(refunded(&klarna), [50, 40]);
}

#[test]
fn a_return_fee_needs_exact_lines_and_a_single_full_capture() {
    let line = |kind: &str, amount: i64| json!({"type": kind, "name": "n", "quantity": 1, "unit_price": amount, "total_amount": amount});
    let refund =
        |amount: i64| json!({"refunded_amount": amount, "order_lines": [line("physical", 50), line("return_fee", -5)]});
    let (mut klarna, _) = captured(fresh(), ALL);
    refused(&mut klarna, Operation::Refund, "", &refund(46), 422, "UNPROCESSABLE_ENTITY");
    call(&mut klarna, Operation::Refund, "", &refund(45), 0).unwrap();
    let (mut klarna, _) = captured(fresh(), 99);
    refused(&mut klarna, Operation::Refund, "", &refund(45), 403, "REFUND_NOT_ALLOWED");
}

#[test]
fn captures_and_refunds_may_have_a_limit() {
    let (mut klarna, _) = captured(klarna(with("knobs", json!({"max_captures": 1, "max_refunds": 1}))), 60);
    refused(&mut klarna, Operation::Capture, "", &json!({"captured_amount": 1}), 403, "CAPTURE_NOT_ALLOWED");
    call(&mut klarna, Operation::Refund, "", &json!({"refunded_amount": 1}), 0).unwrap();
    refused(&mut klarna, Operation::Refund, "", &json!({"refunded_amount": 1}), 403, "REFUND_NOT_ALLOWED");
}

#[test]
fn an_unknown_refund_is_not_found() {
    let status = |klarna: &Klarna| read(klarna, Operation::GetRefund, "x").map_err(|no| (no.status, no.error_code));
    assert_eq!(status(&fresh()), Err((404, "NOT_FOUND")));
    assert_eq!(status(&with_knob("unknown_refund", json!(400))), Err((400, "NOT_FOUND")));
}

#[test]
fn refunds_of_old_orders_lack_members() {
    for (member, name) in [("id", "refund_id"), ("reference", "reference")] {
        let (mut klarna, _) = captured(with_knob("refunds_without", json!(member)), ALL);
        call(&mut klarna, Operation::Refund, "", &json!({"refunded_amount": 1}), 0).unwrap();
        let refund = &show(&klarna)["refunds"][0];
        assert_eq!((refund.get(name), &refund["refunded_amount"]), (None, &json!(1)));
    }
}

#[test]
fn an_authorization_goes_down_to_the_captures_and_up_by_method() {
    let update = Operation::UpdateAuthorization;
    let lines = json!([{"name": "n", "quantity": 1, "unit_price": 1, "total_amount": 1}]);
    let (mut klarna, _) = captured(klarna(with("order_lines", lines.clone())), 60);
    refused(&mut klarna, update, "", &json!({"order_amount": 59}), 403, "NOT_ALLOWED");
    refused(&mut klarna, update, "", &json!({}), 422, "UNPROCESSABLE_ENTITY");
    done(&mut klarna, update, "", &json!({"order_amount": 120, "order_lines": lines}));
    let order = show(&klarna);
    assert_eq!((&order["order_amount"], &order["original_order_amount"]), (&json!(120), &json!(100)));
    assert_eq!((&order["remaining_authorized_amount"], &order["order_lines"]), (&json!(60), &lines));
    done(&mut klarna, update, "", &json!({"order_amount": 60}));
    assert_eq!((&show(&klarna)["order_lines"], &show(&klarna)["status"]), (&json!([]), &json!("CAPTURED")));
    for status in [OrderStatus::Cancelled, OrderStatus::Closed, OrderStatus::Expired] {
        refused(&mut ended(status), update, "", &json!({"order_amount": 1}), 403, "NOT_ALLOWED");
    }
    let mut klarna = with_knob("risk", json!("refuse"));
    refused(&mut klarna, update, "", &json!({"order_amount": 101}), 403, "NOT_ALLOWED");
    done(&mut klarna, update, "", &json!({"order_amount": 99}));
}

#[test]
fn few_payment_methods_can_be_raised() {
    for (method, country, raisable) in [
        ("INVOICE", "US", true),
        ("DIRECT_DEBIT", "CH", false),
        ("DIRECT_DEBIT", "AT", true),
        ("FIXED_AMOUNT", "SE", true),
        ("FIXED_AMOUNT", "GB", false),
        ("CARD", "DE", false),
    ] {
        let mut new = with("initial_payment_method", json!({"type": method}));
        new.purchase_country = Some(country.into());
        let raised = call(&mut klarna(new), Operation::UpdateAuthorization, "", &json!({"order_amount": 101}), 0);
        assert_eq!(raised.map_err(|no| no.error_code).is_ok(), raisable, "{method} {country}");
    }
}

#[test]
fn the_authorization_is_extended_from_the_day_of_the_call() {
    let extend = |klarna: &mut Klarna, now| call(klarna, Operation::ExtendAuthorizationTime, "", &NONE, now);
    let expires = |klarna: &Klarna, now| klarna.order("o", now).unwrap()["expires_at"].clone();
    let mut klarna = fresh();
    let noon = 10 * DAY + DAY / 2;
    for _ in 0..2 {
        extend(&mut klarna, noon).unwrap();
        assert_eq!(expires(&klarna, noon), timestamp(38 * DAY), "the same day changes nothing");
    }
    for day in [37, 64, 91, 118, 145] {
        extend(&mut klarna, day * DAY).unwrap();
    }
    extend(&mut klarna, 172 * DAY).unwrap();
    assert_eq!(expires(&klarna, 172 * DAY), timestamp(180 * DAY), "no longer than 180 days");
    assert_eq!(extend(&mut klarna, 180 * DAY).unwrap_err().error_code, "NOT_ALLOWED");
    assert_eq!(extend(&mut fresh(), 28 * DAY).unwrap_err().error_code, "NOT_ALLOWED", "expired");
    let (mut full, _) = captured(fresh(), ALL);
    refused(&mut full, Operation::ExtendAuthorizationTime, "", &NONE, 403, "NOT_ALLOWED");
    for (method, country) in [("CARD", "DE"), ("PAY_BY_CARD", "DE"), ("FIXED_SUM_CREDIT", "US")] {
        let mut new = with("initial_payment_method", json!({"type": method}));
        new.purchase_country = Some(country.into());
        refused(&mut super::klarna(new), Operation::ExtendAuthorizationTime, "", &NONE, 403, "NOT_ALLOWED");
    }
}

#[test]
fn references_are_kept_set_and_cleared() {
    let update = Operation::UpdateMerchantReferences;
    let mut klarna = klarna(with("merchant_reference1", json!("m")));
    done(&mut klarna, update, "", &json!({"merchant_reference2": "n"}));
    let order = show(&klarna);
    assert_eq!((&order["merchant_reference1"], &order["merchant_reference2"]), (&json!("m"), &json!("n")));
    done(&mut klarna, update, "", &json!({"merchant_reference1": ""}));
    assert_eq!(show(&klarna).get("merchant_reference1"), None);
    let long = json!({"merchant_reference1": "m".repeat(256)});
    refused(&mut klarna, update, "", &long, 422, "UNPROCESSABLE_ENTITY");
    done(&mut ended(OrderStatus::Closed), update, "", &json!({}));
}

#[test]
fn an_address_is_set_member_by_member() {
    let update = Operation::UpdateCustomerDetails;
    let address = |address: Value| json!({ "shipping_address": address });
    let mut klarna = fresh();
    done(&mut klarna, update, "", &address(json!({"city": "Lund", "street_address2": "c/o", "country": "SE"})));
    done(&mut klarna, update, "", &address(json!({"street_address2": "", "city": "Malmö", "given_name": null})));
    assert_eq!(show(&klarna)["shipping_address"], json!({"city": "Malmö", "country": "SE"}));
    for (body, status, code) in [
        (address(json!({"country": "Sweden"})), 422, "INVALID_ADDRESS"),
        (address(json!({"country": "US"})), 422, "INVALID_ADDRESS"),
        (address(json!({"postal_code": "12345678901"})), 422, "UNPROCESSABLE_ENTITY"),
        (json!({}), 422, "UNPROCESSABLE_ENTITY"),
        (json!({"shipping_address": {}, "billing_address": {}}), 403, "NOT_ALLOWED"),
    ] {
        refused(&mut klarna, update, "", &body, status, code);
    }
    refused(&mut ended(OrderStatus::Cancelled), update, "", &address(json!({})), 403, "NOT_ALLOWED");
    refused(&mut with_knob("risk", json!("refuse")), update, "", &address(json!({})), 403, "NOT_ALLOWED");
}

#[test]
fn tracking_is_appended_without_a_look() {
    let entry = json!({"shipping_company": "DHL", "tracking_number": "t"});
    let body = json!({"shipping_info": [entry]});
    let (of_capture, of_order) = (Operation::AppendShippingInfo, Operation::AppendOrderShippingInfo);
    for operation in [of_capture, of_order] {
        refused(&mut fresh(), operation, "x", &body, 403, "NOT_ALLOWED");
    }
    let (mut klarna, id) = captured(fresh(), 60);
    done(&mut klarna, of_capture, &id, &body);
    done(&mut klarna, of_order, "", &body);
    let order = show(&klarna);
    assert_eq!((&order["shipping_info"], &order["captures"][0]["shipping_info"]), (&json!([entry]), &json!([entry])));
    assert_eq!(klarna.audit(), [], "the capture's list and the order's are two");
    done(&mut klarna, of_capture, &id, &body);
    assert_eq!(show(&klarna)["captures"][0]["shipping_info"], json!([entry, entry]));
    assert_eq!(klarna.audit().len(), 1);
    for wrong in [json!([]), json!(vec![json!({}); 501]), json!({}), json!([{"tracking_number": 1}]), NONE] {
        let body = json!({ "shipping_info": wrong });
        refused(&mut klarna, of_capture, &id, &body, 422, "UNPROCESSABLE_ENTITY");
    }
    refused(&mut klarna, of_capture, "x", &body, 404, "NO_SUCH_ORDER");
}

#[test]
fn an_unknown_capture_has_one_of_two_codes() {
    let body = json!({"shipping_info": [{}], "number_of_days": 10});
    for (knob, codes) in [
        (NONE, ["NO_SUCH_ORDER", "NO_SUCH_CAPTURE"]),
        (json!("NO_SUCH_ORDER"), ["NO_SUCH_ORDER"; 2]),
        (json!("NO_SUCH_CAPTURE"), ["NO_SUCH_CAPTURE"; 2]),
    ] {
        let (mut klarna, _) = captured(with_knob("unknown_capture", knob), 1);
        refused(&mut klarna, Operation::AppendShippingInfo, "x", &body, 404, codes[0]);
        refused(&mut klarna, Operation::TriggerSendOut, "x", &body, 404, codes[1]);
        refused(&mut klarna, Operation::ExtendDueDate, "x", &body, 404, codes[1]);
        assert_eq!(read(&klarna, Operation::GetCapture, "x").unwrap_err().error_code, codes[0]);
        assert_eq!(read(&klarna, Operation::GetExtendDueDateOptions, "x").unwrap_err().error_code, codes[1]);
    }
}

#[test]
fn due_dates_cost_a_fee_but_for_two_days_once() {
    let extend = Operation::ExtendDueDate;
    let days = |days: i64| json!({ "number_of_days": days });
    refused(&mut fresh(), extend, "x", &days(10), 403, "NOT_ALLOWED");
    let (mut klarna, id) = captured(fresh(), 60);
    let options = |klarna: &Klarna| read(klarna, Operation::GetExtendDueDateOptions, &id).unwrap();
    assert_eq!(options(&klarna)["currency"], "EUR");
    assert_eq!(options(&klarna)["options"][0], json!({"number_of_days": 2, "amount": 0}));
    done(&mut klarna, extend, &id, &days(2));
    assert_eq!(options(&klarna)["options"][0], json!({"number_of_days": 10, "amount": 100}));
    refused(&mut klarna, extend, &id, &days(2), 403, "NOT_ALLOWED");
    refused(&mut klarna, extend, &id, &days(11), 403, "NOT_ALLOWED");
    refused(&mut klarna, extend, &id, &days(0), 422, "UNPROCESSABLE_ENTITY");
    done(&mut klarna, extend, &id, &days(10));
    done(&mut klarna, Operation::TriggerSendOut, &id, &NONE);
    let hidden = klarna.hidden("o").unwrap();
    assert_eq!((&hidden["fees"], &hidden["mails"]), (&json!(100), &json!(1)));
    assert_eq!(hidden["extended_days"], json!({ &id: 12 }));
    let (mut klarna, id) = captured(super::klarna(with("initial_payment_method", json!({"type": "CARD"}))), 1);
    refused(&mut klarna, extend, &id, &days(10), 403, "NOT_ALLOWED");
}

#[test]
fn a_capture_acknowledges_and_so_does_the_call() {
    let acknowledged = |klarna: &Klarna| klarna.hidden("o").unwrap()["acknowledged"] == true;
    let mut klarna = fresh();
    assert!(!acknowledged(&klarna));
    done(&mut klarna, Operation::Acknowledge, "", &NONE);
    done(&mut klarna, Operation::Acknowledge, "", &NONE);
    assert!(acknowledged(&klarna) && acknowledged(&captured(fresh(), 1).0));
    refused(&mut fresh(), Operation::TriggerSendOut, "x", &NONE, 403, "NOT_ALLOWED");
}

#[test]
fn refuses_knobs_that_do_not_exist() {
    for (knobs, says) in [
        (json!({"second_cancle": 1}), "second_cancle"),
        (json!({"unknown_refund": 500}), "unknown_refund is 500"),
        (json!({"risk": "high"}), "high"),
    ] {
        let why = Klarna::default().create(with("knobs", knobs), 0).unwrap_err();
        assert!(why.starts_with("knobs: ") && why.contains(says), "{why}");
    }
}
