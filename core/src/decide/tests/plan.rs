//! Calls that are made of several, fed with the ends of their parts.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::config;
use crate::api::documents::ORDER;
use crate::api::operation::{Effect, Operation, Reply};
use crate::api::operations::{
    CANCEL_OR_RELEASE, CAPTURE, CAPTURE_REMAINING, EXTEND_IF_NEEDED, GET_ORDER, REFUND_CAPTURE, REFUND_REMAINING,
};
use crate::api::reply::{Content, Facts};
use crate::api::tree::{self, Document, Whole};
use crate::decide::plan::{Course, Next, Part};
use crate::error::{Error, ErrorKind};

/// 2026-12-24.
const NOW: u64 = 1_798_070_400;

fn course(row: &'static Operation, arguments: Value) -> Course {
    let Effect::Follows(plan) = row.effect else { panic!("{row:?} follows no plan") };
    let mut course = Course::new(row, plan, "order", arguments, vec![], Arc::new(config().endpoint().unwrap()));
    assert_eq!(course.first().operation, &GET_ORDER);
    course
}

fn ended(operation: &'static Operation, content: Content) -> Result<Reply, Error> {
    let facts = Facts {
        content,
        warnings: vec![],
        order_id: "order".into(),
        idempotency_key: Some("sent".into()).filter(|_| operation.writes()),
        correlation_id: None,
        attempts: 1,
        attempt_log: vec![],
        answered: Some(UNIX_EPOCH + Duration::from_secs(NOW)),
    };
    Ok(Reply { operation, facts: Arc::new(facts) })
}

fn read(text: &str) -> Document {
    tree::read(text, &ORDER, Whole::Object(None)).unwrap().0
}

fn shows(order: Value) -> Result<Reply, Error> {
    ended(&GET_ORDER, Content::Document(read(&order.to_string())))
}

fn made(id: &str) -> Result<Reply, Error> {
    ended(&CAPTURE, Content::Created(id.into()))
}

fn failed(kind: ErrorKind, refusal: Option<(u16, &str)>) -> Result<Reply, Error> {
    Err(Error::new(kind, "why").with(|fields| {
        fields.http_status = refusal.map(|(status, _)| status);
        fields.error_code = refusal.map(|(_, code)| code.to_owned());
    }))
}

fn calls(next: Next) -> Part {
    match next {
        Next::Call(part) => part,
        Next::End(end) => panic!("it ended: {end:?}"),
    }
}

fn ends(next: Next) -> Result<Reply, Error> {
    match next {
        Next::End(end) => end,
        Next::Call(part) => panic!("{:?} was called with {:?}", part.operation, part.arguments),
    }
}

fn refused(next: Next) -> (ErrorKind, String) {
    let error = ends(next).unwrap_err();
    (error.kind(), error.message().to_owned())
}

fn left(amount: i64, captures: Value) -> Result<Reply, Error> {
    shows(json!({"remaining_authorized_amount": amount, "captured_amount": 10_000 - amount, "captures": captures}))
}

fn rest() -> Course {
    course(&CAPTURE_REMAINING, json!({"reference": "rest"}))
}

#[test]
fn the_key_stands_for_the_amount() {
    let key = |amount| {
        let part = calls(rest().next(left(amount, json!([]))));
        assert_eq!(part.operation, &CAPTURE);
        assert_eq!(part.arguments, [json!({"captured_amount": amount, "reference": "rest"}).to_string()]);
        part.key.unwrap()
    };
    assert_eq!(key(4000), key(4000));
    assert_ne!(key(4000), key(6000));
}

#[test]
fn a_lost_capture_is_found_by_its_repeat() {
    let mut lost = rest();
    calls(lost.next(left(4000, json!([]))));
    let error = ends(lost.next(failed(ErrorKind::OutcomeUnknown, None))).unwrap_err();
    assert_eq!((error.kind(), error.idempotency_key()), (ErrorKind::OutcomeUnknown, lost.key()));
    assert!(error.message().ends_with("call capture_remaining again as it was"), "{error}");
    let captures = json!([{"capture_id": "c", "reference": "rest", "captured_amount": 4000}]);
    let found = ends(rest().next(left(0, captures))).unwrap();
    assert_eq!((found.created_id(), found.idempotency_key()), (Some("c"), lost.key()));
    assert_eq!(found.warnings().len(), 1);
}

#[test]
fn nothing_left_is_a_refusal_unless_something_has_the_reference() {
    let other = json!([{"capture_id": "c", "reference": "parcel-1", "captured_amount": 10_000}]);
    let (kind, told) = refused(rest().next(left(0, other)));
    assert!(kind == ErrorKind::Rejected && told.contains("nothing remains"), "{told}");
    let own = json!({"capture_id": "c", "reference": "rest", "captured_amount": 5000});
    let mut second = own.clone();
    second["capture_id"] = "d".into();
    assert_eq!(refused(rest().next(left(0, json!([own, second])))).0, ErrorKind::OutcomeUnknown);
    // An amount that cannot be read is not zero.
    for amount in [json!(null), json!("0"), json!(0.5)] {
        let order = json!({"remaining_authorized_amount": amount, "captures": []});
        assert_eq!(refused(rest().next(shows(order))).0, ErrorKind::NotSent, "{amount}");
    }
}

#[test]
fn a_refusal_after_the_read_is_followed_by_a_read() {
    let state = (403, "CAPTURE_NOT_ALLOWED");
    let mut race = rest();
    calls(race.next(left(10_000, json!([]))));
    assert_eq!(calls(race.next(failed(ErrorKind::Rejected, Some(state)))).operation, &GET_ORDER);
    assert!(calls(race.next(left(4000, json!([])))).arguments[0].contains("4000"));
    assert_eq!(ends(race.next(made("c"))).unwrap().created_id(), Some("c"));

    // The same rest again: Klarna's refusal is the end.
    let mut same = rest();
    calls(same.next(left(4000, json!([]))));
    calls(same.next(failed(ErrorKind::Rejected, Some(state))));
    assert_eq!(refused(same.next(left(4000, json!([])))).0, ErrorKind::Rejected);

    // While it is open whether the first was carried out, there is no second one.
    let mut open = rest();
    calls(open.next(left(10_000, json!([]))));
    calls(open.next(failed(ErrorKind::OutcomeUnknown, Some(state))));
    assert_eq!(refused(open.next(left(4000, json!([])))).0, ErrorKind::OutcomeUnknown);

    // A refusal stays what it is where the read after it fails.
    for (kind, read) in [(ErrorKind::Rejected, ErrorKind::NotSent), (ErrorKind::OutcomeUnknown, ErrorKind::Rejected)] {
        let mut unread = rest();
        calls(unread.next(left(4000, json!([]))));
        calls(unread.next(failed(kind, Some(state))));
        assert_eq!(refused(unread.next(failed(read, Some((404, "NO_SUCH_ORDER"))))).0, kind);
    }
}

#[test]
fn it_does_not_read_for_ever() {
    let mut busy = rest();
    for amount in [9000, 8000] {
        calls(busy.next(left(amount, json!([]))));
        calls(busy.next(failed(ErrorKind::Rejected, Some((403, "CAPTURE_NOT_ALLOWED")))));
    }
    calls(busy.next(left(7000, json!([]))));
    assert_eq!(
        refused(busy.next(failed(ErrorKind::Rejected, Some((403, "CAPTURE_NOT_ALLOWED"))))).0,
        ErrorKind::Rejected
    );
}

#[test]
fn an_order_that_cannot_be_read_is_no_refusal_of_the_name() {
    for (read, refusal, kind) in [
        (ErrorKind::OutcomeUnknown, None, ErrorKind::NotSent),
        (ErrorKind::NotSent, None, ErrorKind::NotSent),
        (ErrorKind::Rejected, Some((401, "UNAUTHORIZED")), ErrorKind::NotSent),
        (ErrorKind::Rejected, Some((404, "NO_SUCH_ORDER")), ErrorKind::Rejected),
    ] {
        let (told, message) = refused(rest().next(failed(read, refusal)));
        assert_eq!(told, kind, "{message}");
        assert!(message.contains("was not begun"), "{message}");
    }
}

fn refunds(refunds: Value) -> Result<Reply, Error> {
    let captures = json!([
        {"capture_id": "c", "captured_amount": 6000, "refunded_amount": 0},
        {"capture_id": "d", "captured_amount": 4000, "refunded_amount": 2000},
    ]);
    shows(json!({"captured_amount": 10_000, "refunded_amount": 2000, "captures": captures, "refunds": refunds}))
}

fn back(amount: Option<i64>) -> Course {
    let mut arguments = json!({"capture_id": "c", "reference": "return-1"});
    if let Some(amount) = amount {
        arguments["refunded_amount"] = amount.into();
    }
    course(&REFUND_CAPTURE, arguments)
}

#[test]
fn a_refund_that_klarna_counts_for_another_capture_is_not_made_again() {
    let own = json!([{"refund_id": "r", "reference": "return-1", "refunded_amount": 6000}]);
    for amount in [None, Some(6000)] {
        assert_eq!(ends(back(amount).next(refunds(own.clone()))).unwrap().created_id(), Some("r"), "{amount:?}");
    }
    let two = json!([own[0], {"refund_id": "s", "reference": "return-1", "refunded_amount": 6000}]);
    assert_eq!(refused(back(None).next(refunds(two))).0, ErrorKind::OutcomeUnknown);
    // An amount that was asked for tells two refunds with one reference apart.
    assert!(calls(back(Some(1000)).next(refunds(own))).arguments[0].contains("1000"));
}

#[test]
fn a_refund_without_reference_may_be_the_one_once_its_key_is_forgotten() {
    let nameless = |amount: i64, time: &str| {
        let refund = json!({"refund_id": "r", "refunded_amount": amount, "refunded_at": time});
        back(Some(6000)).next(refunds(json!([refund])))
    };
    for old in ["2026-12-22T12:00:00Z", "2026-12-23T01:00:00Z", "yesterday"] {
        let (kind, told) = refused(nameless(6000, old));
        assert!(kind == ErrorKind::OutcomeUnknown && told.contains("without a reference"), "{old}: {told}");
    }
    // Klarna still knows the key of a young one, and answers with it.
    assert!(calls(nameless(6000, "2026-12-23T01:00:01Z")).key.is_some());
    assert!(calls(nameless(5999, "2026-12-22T12:00:00Z")).key.is_some());
}

#[test]
fn a_refund_without_reference_that_was_counted_in_part_for_another_capture_is_not_made_again() {
    let order = |amount: Value, left: i64| {
        let refund = json!({"refund_id": "r", "refunded_amount": amount, "refunded_at": "2026-12-23T23:59:00Z"});
        let captures = json!([
            {"capture_id": "c", "captured_amount": 6000, "refunded_amount": 6000 - left},
            {"capture_id": "d", "captured_amount": 4000, "refunded_amount": 4000},
        ]);
        shows(json!({"captured_amount": 10_000, "refunded_amount": 6000, "captures": captures, "refunds": [refund]}))
    };
    for amount in [json!(6000), json!(4001)] {
        assert_eq!(refused(back(None).next(order(amount.clone(), 4000))).0, ErrorKind::OutcomeUnknown, "{amount}");
    }
    // Amounts: one with this key, one that is more than the capture, one that is less than what was left by then.
    for amount in [4000, 6001, 3999] {
        assert!(calls(back(None).next(order(amount.into(), 4000))).key.is_some(), "{amount}");
    }
    // A call with an amount had that one.
    assert!(calls(back(Some(1000)).next(order(json!(6000), 4000))).key.is_some());
}

#[test]
fn a_list_that_cannot_be_read_shows_nothing() {
    for captures in [json!(null), json!({}), json!("none")] {
        let order = shows(json!({"remaining_authorized_amount": 0, "captured_amount": 10_000, "captures": captures}));
        let (kind, told) = refused(rest().next(order));
        assert!(kind == ErrorKind::OutcomeUnknown && told.contains("no captures that can be read"), "{told}");
        let refunded = shows(json!({"captured_amount": 6000, "refunded_amount": 6000, "refunds": captures}));
        let refund = course(&REFUND_REMAINING, json!({"reference": "back"})).next(refunded);
        assert_eq!(refused(refund).0, ErrorKind::OutcomeUnknown, "{captures}");
    }
    let untouched = shows(json!({"remaining_authorized_amount": 0, "captured_amount": 0}));
    assert_eq!(refused(rest().next(untouched)).0, ErrorKind::Rejected);
    // An amount that stands twice is none.
    let text = r#"{"remaining_authorized_amount":4000,"remaining_authorized_amount":9000,"captures":[]}"#;
    let twice = Content::Document(read(text));
    assert_eq!(refused(rest().next(ended(&GET_ORDER, twice))).0, ErrorKind::NotSent);
}

#[test]
fn an_order_that_cannot_be_read_after_a_write_does_not_undo_it() {
    let state = |action| Some((403, action));
    for kind in [ErrorKind::OutcomeUnknown, ErrorKind::Rejected] {
        let mut end = course(&CANCEL_OR_RELEASE, json!({}));
        calls(end.next(shows(json!({"status": "AUTHORIZED", "captured_amount": 0, "remaining_authorized_amount": 1}))));
        calls(end.next(failed(kind, state("CANCEL_NOT_ALLOWED"))));
        assert_eq!(refused(end.next(shows(json!({"status": "AUTHORIZED"})))).0, kind);

        let mut capture = rest();
        calls(capture.next(left(4000, json!([]))));
        calls(capture.next(failed(kind, state("CAPTURE_NOT_ALLOWED"))));
        assert_eq!(refused(capture.next(shows(json!({"captures": []})))).0, kind);

        let mut refund = back(None);
        calls(refund.next(refunds(json!([]))));
        calls(refund.next(failed(kind, state("REFUND_NOT_ALLOWED"))));
        assert_eq!(refused(refund.next(shows(json!({"captures": []})))).0, kind);
    }
}

#[test]
fn a_reference_that_was_used_before_is_told() {
    let parcel = json!([{"capture_id": "p", "reference": "rest", "captured_amount": 6000}]);
    let mut second = rest();
    calls(second.next(left(4000, parcel)));
    let reply = ends(second.next(made("c"))).unwrap();
    assert_eq!(reply.warnings(), ["the order listed a capture of 6000 with this reference before this call, too"]);
}

#[test]
fn more_than_is_left_of_the_capture_is_refused() {
    let other = json!([{"refund_id": "r", "reference": "return-1", "refunded_amount": 500}]);
    let (kind, told) = refused(back(Some(6001)).next(refunds(other)));
    assert!(kind == ErrorKind::Rejected && told.contains("this reference and amount"), "{told}");
    let unknown = course(&REFUND_CAPTURE, json!({"capture_id": "x", "reference": "return-1"})).next(refunds(json!([])));
    assert_eq!(refused(unknown).0, ErrorKind::NotSent);
}

#[test]
fn an_entry_without_id_from_before_is_not_the_result() {
    let old = json!([{"reference": "back", "refunded_amount": 2000, "refunded_at": "2026-12-23T23:00:00Z"}]);
    let mut again = course(&REFUND_REMAINING, json!({"reference": "back"}));
    let shown = || shows(json!({"captured_amount": 4000, "refunded_amount": 2000, "captures": [], "refunds": old}));
    calls(again.next(shown()));
    calls(again.next(failed(ErrorKind::OutcomeUnknown, Some((403, "REFUND_NOT_ALLOWED")))));
    assert_eq!(refused(again.next(shown())).0, ErrorKind::OutcomeUnknown);
}

/// More was captured since, so the same rest is left, and a day later the key keeps no second refund from being made.
#[test]
fn an_old_refund_of_the_name_is_the_result() {
    let next = |times: &[&str]| {
        let refund =
            |time: &&str| json!({"refund_id": "r", "reference": "back", "refunded_amount": 2000, "refunded_at": time});
        let refunds: Vec<Value> = times.iter().map(refund).collect();
        let order = json!({"captured_amount": 4000, "refunded_amount": 2000, "captures": [], "refunds": refunds});
        course(&REFUND_REMAINING, json!({"reference": "back"})).next(shows(order))
    };
    let (old, new) = ("2026-12-22T12:00:00Z", "2026-12-23T12:00:00Z");
    let found = ends(next(&[old])).unwrap();
    assert_eq!((found.created_id(), found.warnings().len()), (Some("r"), 1));
    assert_eq!(calls(next(&[new])).operation.name, "refund");
    assert_eq!(refused(next(&[old, new])).0, ErrorKind::OutcomeUnknown);
}

#[test]
fn an_order_is_ended_by_its_state() {
    let end = |order: Value| course(&CANCEL_OR_RELEASE, json!({})).next(shows(order));
    let order = |status: &str, captured: i64, left: i64| json!({"status": status, "captured_amount": captured, "remaining_authorized_amount": left});
    assert_eq!(calls(end(order("AUTHORIZED", 0, 10_000))).operation.name, "cancel");
    assert_eq!(calls(end(order("PART_CAPTURED", 6000, 4000))).operation.name, "release_remaining_authorization");
    for (status, done) in
        [("CANCELLED", "cancelled"), ("EXPIRED", "nothing"), ("CLOSED", "nothing"), ("CAPTURED", "nothing")]
    {
        let reply = ends(end(order(status, 10_000, 0))).unwrap();
        assert!(matches!(&reply.facts.content, Content::Ended(told) if *told == done), "{status}: {reply:?}");
    }
    // A captured amount that cannot be read is no reason to cancel.
    assert_eq!(refused(end(json!({"status": "AUTHORIZED", "captured_amount": "0"}))).0, ErrorKind::NotSent);

    // A capture came first.
    let mut race = course(&CANCEL_OR_RELEASE, json!({}));
    calls(race.next(shows(order("AUTHORIZED", 0, 10_000))));
    calls(race.next(failed(ErrorKind::OutcomeUnknown, Some((403, "CANCEL_NOT_ALLOWED")))));
    assert_eq!(
        calls(race.next(shows(order("PART_CAPTURED", 6000, 4000)))).operation.name,
        "release_remaining_authorization"
    );
}

#[test]
fn an_extension_that_was_made_is_told_though_its_end_cannot_be_read() {
    let mut extension = course(&EXTEND_IF_NEEDED, json!({"within": 86_400}));
    let order = json!({"status": "AUTHORIZED", "expires_at": "2026-12-24T12:00:00Z", "remaining_authorized_amount": 1});
    assert_eq!(calls(extension.next(shows(order.clone()))).operation.name, "extend_authorization_time");
    assert_eq!(calls(extension.next(ended(&CAPTURE, Content::Nothing))).operation, &GET_ORDER);
    let bug = || Error::new(ErrorKind::Internal, "nothing was changed");
    assert!(extension.internal(bug()).message().contains("treat the outcome as unknown"));
    let reply = ends(extension.next(failed(ErrorKind::NotSent, None))).unwrap();
    assert!(matches!(&reply.facts.content, Content::Extended { is_extended: true, new: None, .. }), "{reply:?}");
    assert_eq!(reply.warnings().len(), 1);

    let unneeded = course(&EXTEND_IF_NEEDED, json!({"within": 3600})).next(shows(order));
    assert!(matches!(&ends(unneeded).unwrap().facts.content, Content::Extended { is_extended: false, .. }));
    assert_eq!(rest().internal(bug()).message(), "nothing was changed");
}

#[test]
fn a_caller_that_does_not_wait_for_the_read_is_not_told_that_nothing_changes() {
    let reading = Error::new(ErrorKind::OutcomeUnknown, "reading changes nothing, so call again at any time");
    let told = rest().abandoned(reading);
    assert_eq!(told.kind(), ErrorKind::OutcomeUnknown);
    assert!(told.message().starts_with("order order may have been captured: the wait"), "{told}");
    assert!(told.message().ends_with("to do so call capture_remaining again as it was"), "{told}");
}
