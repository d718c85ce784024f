//! Every call of Order Management over the wire: keys, faults, the ledger and its audit.

use super::client::{CREDENTIALS, Client, End, Reply};
use super::{capture, sandbox, sandbox_with};
use serde_json::{Value, json};
use std::time::Duration;
use takings_sandbox::{
    Created, Fault, KeyScope, Knobs, On, Operation, Options, PlannedFault, Problem, RefundMember, Sandbox,
};

const ORDER: &str = "/ordermanagement/v1/orders/o";

/// The kinds of the ledger's entries.
fn kinds(sandbox: &Sandbox) -> Vec<Operation> {
    sandbox.ledger().iter().map(|entry| entry.kind).collect()
}

fn refund_id(reply: &Reply) -> String {
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.header("Refund-Id").expect("no Refund-Id").into()
}

/// The writes on the order `o`, in an order in which each is allowed; `*` stands for the id of the first capture.
const WRITES: [(Operation, &str); 13] = [
    (Operation::Acknowledge, ""),
    (Operation::UpdateAuthorization, r#"{"order_amount":9000,"order_lines":[]}"#),
    (Operation::ExtendAuthorizationTime, ""),
    (Operation::UpdateMerchantReferences, r#"{"merchant_reference1":"m"}"#),
    (Operation::UpdateCustomerDetails, r#"{"shipping_address":{"city":"Lund"}}"#),
    (Operation::Capture, r#"{"captured_amount":100,"reference":"c"}"#),
    (Operation::AppendShippingInfo, r#"{"shipping_info":[{"tracking_number":"t"}]}"#),
    (Operation::TriggerSendOut, ""),
    (Operation::ExtendDueDate, r#"{"number_of_days":10}"#),
    (Operation::AppendOrderShippingInfo, r#"{"shipping_info":[{"tracking_number":"t"}]}"#),
    (Operation::Refund, r#"{"refunded_amount":50,"reference":"r"}"#),
    (Operation::ReleaseRemainingAuthorization, ""),
    (Operation::Cancel, ""),
];

fn line(operation: Operation, sandbox: &Sandbox) -> String {
    let ledger = sandbox.ledger();
    let capture = ledger.iter().find(|entry| entry.kind == Operation::Capture);
    let id = capture.map_or("none", |entry| entry.capture_id.as_str());
    format!("{} {}", operation.method(), operation.path().replace('*', id))
}

#[test]
fn a_lost_answer_of_each_write_is_repeated_by_its_key() {
    let sandbox = sandbox();
    for (operation, body) in WRITES.into_iter().filter(|(operation, _)| *operation != Operation::Cancel) {
        let line = line(operation, &sandbox);
        sandbox.fault("o", PlannedFault::on(operation, Fault::LostAnswer));
        let mut client = Client::connect(sandbox.url());
        assert_eq!(client.get(ORDER).status, 200, "a read is not struck");
        client.send_call(&line, operation.name(), body);
        assert_eq!(client.rest(), (String::new(), End::Closed), "{line}");
        let done = sandbox.ledger().len();
        let mut client = Client::connect(sandbox.url());
        let reply = client.call(&line, operation.name(), body);
        let made = matches!(operation, Operation::Capture | Operation::Refund);
        assert_eq!(reply.status, if made { 201 } else { 204 }, "{line}");
        assert_eq!(reply.body, "");
        assert_eq!(reply.header("Content-Length"), made.then_some("0"));
        assert!(reply.header("Klarna-Correlation-Id").is_some() && reply.header("X-Ratelimit-Limit").is_some());
        assert_eq!(client.call(&line, operation.name(), body).header("Location"), reply.header("Location"));
        assert_eq!((sandbox.ledger().len(), sandbox.ledger()[done - 1].kind), (done, operation), "{line}");
        assert_eq!(sandbox.ledger()[done - 1].idempotency_key.as_deref(), Some(operation.name()));
    }
    assert_eq!(sandbox.audit(), []);
    assert_eq!(sandbox.audit_of("o"), []);
    let order = Client::connect(sandbox.url()).get(ORDER).json();
    assert_eq!((&order["refunded_amount"], &order["remaining_authorized_amount"]), (&json!(50), &json!(0)));
}

#[test]
fn a_body_of_a_call_without_one_is_ignored() {
    let sandbox = sandbox();
    let mut client = Client::connect(sandbox.url());
    client.send(&format!("POST {ORDER}/acknowledge"), &[CREDENTIALS, "Content-Type: text/plain"], "no JSON");
    assert_eq!(client.reply().status, 204);
    client.send(&format!("POST {ORDER}/cancel"), &[CREDENTIALS, "Content-Length: 0"], "");
    assert_eq!(client.reply().status, 204);
    client.send(&format!("PATCH {ORDER}/authorization"), &[CREDENTIALS, "Content-Type: application/json"], "");
    assert_eq!(client.reply().error(), (400, "BAD_REQUEST".into()));
    client.send(&format!("PATCH {ORDER}/authorization"), &[CREDENTIALS], "{}");
    assert_eq!(client.reply().error(), (415, "UNSUPPORTED_MEDIA_TYPE".into()));
    let committed: Vec<bool> = sandbox.requests().iter().map(|request| request.committed).collect();
    assert_eq!(committed, [true, true, false, false]);
}

#[test]
fn reads_of_refunds_and_due_dates() {
    let sandbox = sandbox();
    let capture_id = capture(&sandbox, "c").id().to_owned();
    let mut client = Client::connect(sandbox.url());
    let id = refund_id(&client.call("POST refunds", "r", r#"{"refunded_amount":1}"#));
    assert_eq!(client.get(&format!("{ORDER}/refunds/{id}")).json()["refund_id"], id.as_str());
    assert_eq!(client.get(&format!("{ORDER}/refunds/x")).error(), (404, "NOT_FOUND".into()));
    let options = client.get(&format!("{ORDER}/captures/{capture_id}/extend-due-date-options")).json();
    assert_eq!(options["options"][1], json!({"number_of_days": 10, "amount": 100}));
}

#[test]
fn a_key_answers_any_operation_unless_its_scope_is_narrower() {
    for (scope, answered) in [(KeyScope::Merchant, true), (KeyScope::Order, true), (KeyScope::Operation, false)] {
        let sandbox =
            sandbox_with(Options { knobs: Knobs { key_scope: scope, ..Knobs::default() }, ..Options::default() });
        let id = capture(&sandbox, "k").id().to_owned();
        let mut client = Client::connect(sandbox.url());
        let reply = client.call("POST refunds", "k", r#"{"refunded_amount":1}"#);
        if answered {
            assert_eq!((reply.id(), reply.header("Refund-Id")), (id.as_str(), None));
            let findings = sandbox.audit();
            assert_eq!((findings.len(), findings[0].problem), (1, Problem::KeyOfAnotherCall));
            assert_eq!(findings[0].request_numbers, [1, 2]);
        } else {
            refund_id(&reply);
        }
        assert_eq!(sandbox.ledger().len(), if answered { 1 } else { 2 });
    }
}

#[test]
fn refusals_may_be_stored_too() {
    let sandbox = sandbox();
    let mut client = Client::connect(sandbox.url());
    let refund = r#"{"refunded_amount":1}"#;
    for (stored, then) in [(false, 201), (true, 403)] {
        let knobs = json!({ "store_refusals": stored }).to_string();
        assert_eq!(client.control("PATCH /sandbox/knobs", &knobs).json()["store_refusals"], stored);
        client.control("POST /sandbox/reset", "");
        client.control("PATCH /sandbox/knobs", &knobs);
        client.control("POST /sandbox/orders", r#"{"order_id":"o","order_amount":100}"#);
        assert_eq!(client.call("POST refunds", "r", refund).error(), (403, "REFUND_NOT_ALLOWED".into()));
        assert_eq!(client.capture("c", r#"{"captured_amount":2}"#).status, 201);
        let again = client.call("POST refunds", "r", refund);
        assert_eq!(again.status, then, "{stored}");
        if stored {
            again.error();
        }
        sandbox.advance(Duration::from_secs(86_400));
        assert_eq!(client.call("POST refunds", "r", refund).status, 201);
    }
}

#[test]
fn a_key_in_flight_is_a_conflict() {
    let sandbox = sandbox();
    sandbox.fault("o", Fault::Delay { seconds: 0.5, when: takings_sandbox::When::BeforeCommit });
    let mut first = Client::connect(sandbox.url());
    first.send_call("POST acknowledge", "k", "");
    super::eventually(|| sandbox.requests().len() == 1);
    let mut second = Client::connect(sandbox.url());
    super::eventually(|| second.call("POST acknowledge", "k", "").status == 409 || !sandbox.ledger().is_empty());
    assert_eq!(first.reply().status, 204);
    assert_eq!(sandbox.ledger().len(), 1);
}

#[test]
fn a_fault_waits_for_its_operation() {
    let sandbox = sandbox();
    let mut client = Client::connect(sandbox.url());
    let faults = "POST /sandbox/orders/o/faults";
    let status = |status: u16, on: &str| json!({"fault": "status", "status": status, "on": on});
    let planned = json!([status(500, "refund"), status(501, "writes"), status(502, "reads"),
        {"fault": "status", "status": 503, "on": "refund", "request": 2}]);
    let shown = client.control(faults, &planned.to_string()).json();
    assert_eq!((&shown[0]["on"], &shown[3]["request"]), (&json!("refund"), &json!(2)));
    assert_eq!(client.get(ORDER).status, 502);
    assert_eq!(client.get(ORDER).status, 200);
    assert_eq!(client.call("POST acknowledge", "a", "").status, 501);
    assert_eq!(client.capture("c", r#"{"captured_amount":2}"#).status, 201);
    let refund = r#"{"refunded_amount":1}"#;
    let statuses = [0; 3].map(|_| client.call("POST refunds", "r", refund).status);
    assert_eq!(statuses, [500, 503, 201]);
    for (body, says) in
        [(r#"{"fault":"lost_answer","on":"refnud"}"#, "on is \"refnud\""), (r#""commit_later""#, "commit_late")]
    {
        let error = client.control(faults, body).json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(says), "{error}");
    }
    assert_eq!(sandbox.requests_of("o")[0].fault.as_deref(), Some("status"));
}

#[test]
fn a_status_has_the_code_of_its_operation() {
    let sandbox = sandbox();
    let mut client = Client::connect(sandbox.url());
    for (line, status, code) in [
        ("POST refunds", 403, "REFUND_NOT_ALLOWED"),
        ("POST refunds", 404, "NOT_FOUND"),
        ("POST cancel", 403, "CANCEL_NOT_ALLOWED"),
        ("PATCH authorization", 403, "NOT_ALLOWED"),
        ("POST captures", 403, "CAPTURE_NOT_ALLOWED"),
        ("POST captures", 404, "NO_SUCH_ORDER"),
    ] {
        let fault = json!({"fault": "status", "status": status}).to_string();
        client.control("POST /sandbox/orders/o/faults", &fault);
        assert_eq!(client.call(line, "k", "{}").error(), (status, code.into()), "{line}");
    }
}

#[test]
fn a_read_lags_by_requests_or_seconds() {
    let sandbox = sandbox();
    let mut client = Client::connect(sandbox.url());
    let captured = |client: &mut Client| client.get(ORDER).json()["captured_amount"].as_i64().unwrap();
    let faults = "POST /sandbox/orders/o/faults";
    client.control(faults, r#"["lagging_read", {"fault":"lagging_read","requests":2}]"#);
    client.capture("a", r#"{"captured_amount":1}"#);
    assert_eq!(captured(&mut client), 0, "before the capture");
    client.capture("b", r#"{"captured_amount":2}"#);
    assert_eq!(captured(&mut client), 1, "the read before counts as well");
    assert_eq!(captured(&mut client), 3);
    sandbox.advance(Duration::from_secs(100));
    client.capture("c", r#"{"captured_amount":4}"#);
    for (seconds, shown) in [(50.0, 3), (1000.0, 0), (0.0, 7)] {
        sandbox.fault("o", Fault::LaggingRead { seconds: Some(seconds), requests: None });
        assert_eq!(captured(&mut client), shown, "{seconds}");
    }
    sandbox.fault("o", Fault::LaggingRead { seconds: None, requests: Some(99) });
    assert_eq!(client.get(super::CAPTURES).json(), json!([]));
}

#[test]
fn a_commit_comes_late() {
    let sandbox = sandbox();
    let refund = r#"{"refunded_amount":5,"reference":"r"}"#;
    capture(&sandbox, "c");
    sandbox.fault("o", Fault::CommitLate { seconds: Some(60.0), requests: None });
    let mut client = Client::connect(sandbox.url());
    client.send_call("POST refunds", "r", refund);
    assert_eq!(client.rest(), (String::new(), End::Closed));
    let mut client = Client::connect(sandbox.url());
    assert_eq!(client.get(ORDER).json()["refunds"], json!([]), "not yet");
    sandbox.advance(Duration::from_secs(60));
    assert_eq!(client.get(ORDER).json()["refunds"][0]["reference"], "r");
    let id = sandbox.ledger()[1].refund_id.clone().unwrap();
    assert_eq!(refund_id(&client.call("POST refunds", "r", refund)), id);
    let record = &sandbox.requests()[1];
    assert_eq!((record.committed, record.answered_status), (true, None));

    // A new key in the meantime refunds twice, and the audit tells.
    sandbox.fault("o", Fault::CommitLate { seconds: None, requests: None });
    client.send_call("POST refunds", "s", r#"{"refunded_amount":6,"reference":"s"}"#);
    assert_eq!(client.rest(), (String::new(), End::Closed));
    assert_eq!(sandbox.ledger().len(), 2);
    let mut client = Client::connect(sandbox.url());
    client.call("POST refunds", "t", r#"{"refunded_amount":6,"reference":"s"}"#);
    assert_eq!(kinds(&sandbox)[2..], [Operation::Refund; 2]);
    assert_eq!(sandbox.audit()[0].problem, Problem::RefundedTwice);
}

#[test]
fn a_late_commit_finds_its_key_used() {
    let sandbox = sandbox();
    sandbox.fault("o", Fault::CommitLate { seconds: None, requests: Some(1) });
    let mut client = Client::connect(sandbox.url());
    client.send_capture("k", r#"{"captured_amount":100}"#);
    assert_eq!(client.rest().1, End::Closed);
    capture(&sandbox, "k").id();
    assert_eq!((sandbox.ledger().len(), sandbox.audit()), (1, Vec::new()));
}

#[test]
fn no_content_comes_as_a_page() {
    let sandbox = sandbox();
    let mut client = Client::connect(sandbox.url());
    client.control("POST /sandbox/orders/o/faults", r#"["no_content_as_200", "no_content_as_200"]"#);
    let reply = client.call("POST cancel", "k", "");
    assert_eq!((reply.status, reply.header("Content-Type")), (200, Some("text/html")));
    assert_eq!(kinds(&sandbox), [Operation::Cancel]);
    assert_eq!(client.get(ORDER).json()["status"], "CANCELLED");
    assert_eq!(client.call("POST cancel", "k", "").status, 204);
}

#[test]
fn a_refund_without_its_id() {
    let sandbox = sandbox();
    capture(&sandbox, "c");
    let mut client = Client::connect(sandbox.url());
    let refund = |client: &mut Client, key: &str| client.call("POST refunds", key, r#"{"refunded_amount":1}"#);
    sandbox.fault("o", Fault::CreatedWithoutId);
    let reply = refund(&mut client, "a");
    assert_eq!((reply.status, reply.header("Refund-Id"), reply.header("Location")), (201, None, None));
    let id = sandbox.ledger()[1].refund_id.clone().unwrap();
    sandbox.fault("o", Fault::Created(Created::default()));
    let reply = refund(&mut client, "a");
    let location = format!("{}{ORDER}/refunds/{id}", sandbox.url());
    assert_eq!((refund_id(&reply), reply.header("Location")), (id.clone(), Some(location.as_str())));
    sandbox.fault("o", Fault::Created(Created { location: Some("/x/{refund_id}".into()), ..Created::default() }));
    assert_eq!(refund(&mut client, "a").header("Location"), Some(format!("/x/{id}").as_str()));
    sandbox.fault("o", Fault::CreatedWithoutId);
    assert_eq!(client.call("POST acknowledge", "b", "").status, 204);

    for (member, name) in [(RefundMember::Id, "refund_id"), (RefundMember::Reference, "reference")] {
        sandbox.fault("o", Fault::RefundsWithout { member });
        assert_eq!(client.get(ORDER).json()["refunds"][0].get(name), None);
        assert!(client.get(ORDER).json()["refunds"][0][name].is_string());
    }
}

#[test]
fn the_audit_is_told_over_http() {
    let sandbox = sandbox();
    let mut client = Client::connect(sandbox.url());
    client.control("POST /sandbox/orders", r#"{"order_id":"p","order_amount":5}"#);
    assert_eq!(client.control("GET /sandbox/audit", "").json(), json!([]));
    for key in ["a", "b"] {
        client.capture(key, r#"{"captured_amount":100,"reference":"parcel-1"}"#);
    }
    let findings = client.control("GET /sandbox/audit", "").json();
    assert_eq!(
        findings,
        json!([{"order_id": "o", "problem": "captured_twice", "request_numbers": [1, 2],
                "message": "the capture parcel-1 was made twice, with a and b"}])
    );
    assert_eq!(client.control("GET /sandbox/orders/o/audit", "").json(), findings);
    assert_eq!(client.control("GET /sandbox/orders/p/audit", "").json(), json!([]));
    assert_eq!(client.control("GET /sandbox/orders/q/audit", "").status, 404);
    let hidden = client.control("GET /sandbox/orders/o/hidden", "").json();
    assert_eq!(hidden["acknowledged"], true);
    assert_eq!(client.control("GET /sandbox/orders/q/hidden", "").status, 404);
    let planned: Value = json!({"fault": "lost_answer", "on": "capture"});
    sandbox
        .fault("o", PlannedFault { request: None, on: Some(On::Call(Operation::Capture)), fault: Fault::LostAnswer });
    assert_eq!(client.control("GET /sandbox/orders/o/faults", "").json(), json!([planned]));
}

#[test]
fn knobs_are_of_the_sandbox_or_of_an_order() {
    let sandbox = sandbox();
    let mut client = Client::connect(sandbox.url());
    let usual = client.control("GET /sandbox/knobs", "").json();
    assert_eq!((&usual["key_scope"], &usual["unknown_refund"]), (&json!("merchant"), &json!(404)));
    client
        .control("POST /sandbox/orders", r#"{"order_id":"p","order_amount":5,"knobs":{"second_cancel":"no_content"}}"#);
    let cancel = |client: &mut Client, order: &str| {
        client.send(&format!("POST /ordermanagement/v1/orders/{order}/cancel"), &[CREDENTIALS], "");
        client.reply().status
    };
    assert_eq!([cancel(&mut client, "p"), cancel(&mut client, "p")], [204, 204]);
    assert_eq!([cancel(&mut client, "o"), cancel(&mut client, "o")], [204, 403]);
    assert_eq!(client.control("PATCH /sandbox/knobs", r#"{"second_cancel":"no_content"}"#).status, 200);
    assert_eq!(cancel(&mut client, "o"), 204);
    let error = client.control("PATCH /sandbox/knobs", r#"{"key_scope":"shop"}"#);
    assert_eq!((error.status, error.body.contains("shop")), (400, true));
    client.control("POST /sandbox/reset", "");
    assert_eq!(client.control("GET /sandbox/knobs", "").json(), usual);
}

/// Hands a request over without a socket.
fn hand_over(sandbox: &Sandbox, line: &str, key: &str, body: &str) {
    let (method, path) = line.split_once(' ').unwrap();
    let (name, credentials) = CREDENTIALS.split_once(": ").unwrap();
    let headers = [(name, credentials), ("Content-Type", "application/json"), ("Klarna-Idempotency-Key", key)];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    sandbox.exchange(method, &format!("{ORDER}/{path}"), headers, body.into());
}

#[test]
fn no_fault_on_any_write_does_it_twice() {
    let faults = json!([
        "lost_answer", "reset_before_commit", "reset_after_commit", "close_before_commit", "reset_mid_answer",
        "close_mid_answer", "cut_body", {"fault": "delay", "seconds": 1}, "stall", "too_many_requests",
        {"fault": "stall", "when": "after_commit"}, {"fault": "status", "status": 503},
        {"fault": "status", "status": 502, "when": "after_commit"}, "created_without_id", "created",
        {"fault": "raw", "text": "", "when": "after_commit"}, {"fault": "leftover", "text": "x"}, "close_idle",
        "commit_late", {"fault": "commit_late", "seconds": 5}, "no_content_as_200",
    ]);
    let faults: Vec<PlannedFault> = serde_json::from_value(faults).unwrap();
    for fault in faults {
        let sandbox = Sandbox::without_socket(Options::default()).unwrap();
        let order = json!({"order_id": "o", "order_amount": 10_000});
        sandbox.create_order(serde_json::from_value(order).unwrap());
        for (operation, body) in WRITES.into_iter().filter(|(operation, _)| *operation != Operation::Cancel) {
            let line = line(operation, &sandbox);
            sandbox.fault("o", fault.clone());
            for _ in 0..3 {
                hand_over(&sandbox, &line, operation.name(), body);
            }
            sandbox.advance(Duration::from_secs(5));
            let done = kinds(&sandbox).into_iter().filter(|kind| *kind == operation).count();
            assert_eq!(done, 1, "{line} under {fault:?}");
        }
        assert_eq!(sandbox.audit(), [], "{fault:?}");
    }
}
