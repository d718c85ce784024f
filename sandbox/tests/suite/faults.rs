//! Every fault, as the client sees it and as the ledger has it.

use super::client::{CREDENTIALS, Client, End, tcp};
use super::{CAPTURES, capture, eventually, sandbox};
use std::time::{Duration, Instant};
use takings_sandbox::{Created, Fault, PlannedFault, Raw, Sandbox, Status, Then, When};

const BODY: &str = r#"{"captured_amount":100}"#;

/// Strikes a capture with a fault. The result: the client after sending, and the sandbox.
fn struck(fault: Fault) -> (Client, Sandbox) {
    let sandbox = sandbox();
    sandbox.fault("o", fault);
    let mut client = Client::connect(sandbox.url());
    client.send_capture("k", BODY);
    (client, sandbox)
}

/// Checks what the sandbox has on record, and that the same key then gives one capture in all.
#[track_caller]
fn settled(sandbox: &Sandbox, committed: bool, answered: Option<u16>) {
    let record = &sandbox.requests()[0];
    assert_eq!(sandbox.ledger().len(), usize::from(committed));
    assert_eq!(record.committed, committed);
    assert_eq!(record.answered_status, answered);
    assert!(record.fault.is_some());
    let again = capture(sandbox, "k");
    assert_eq!(sandbox.ledger().len(), 1);
    assert_eq!(again.id(), sandbox.ledger()[0].capture_id);
}

#[test]
fn no_byte_of_an_answer() {
    for (fault, end, committed) in [
        (Fault::LostAnswer, End::Closed, true),
        (Fault::CloseBeforeCommit, End::Closed, false),
        (Fault::ResetAfterCommit, End::Reset, true),
        (Fault::ResetBeforeCommit, End::Reset, false),
    ] {
        let name = fault.name();
        let (mut client, sandbox) = struck(fault);
        assert_eq!(client.rest(), (String::new(), end), "{name}");
        assert_eq!(sandbox.requests()[0].fault.as_deref(), Some(name));
        settled(&sandbox, committed, None);
    }
}

#[test]
fn a_part_of_an_answer() {
    for (fault, end) in [
        (Fault::ResetMidAnswer { after_bytes: Some(20) }, End::Reset),
        (Fault::CloseMidAnswer { after_bytes: Some(20) }, End::Closed),
    ] {
        let (mut client, sandbox) = struck(fault);
        assert_eq!(client.rest(), ("HTTP/1.1 201 Created".into(), end));
        settled(&sandbox, true, Some(201));
    }
    let (mut client, _sandbox) = struck(Fault::ResetMidAnswer { after_bytes: None });
    let (head, end) = client.rest();
    assert!(head.starts_with("HTTP/1.1 201") && !head.contains("\r\n\r\n"), "{head}");
    assert_eq!(end, End::Reset);
    let (mut client, sandbox) = struck(Fault::CloseMidAnswer { after_bytes: Some(0) });
    assert_eq!(client.rest(), (String::new(), End::Closed));
    settled(&sandbox, true, None);
    let (mut client, _sandbox) = struck(Fault::CloseMidAnswer { after_bytes: Some(100_000) });
    assert!(client.rest().0.ends_with("\r\n\r\n"), "all there is");
}

#[test]
fn a_body_cut_short() {
    for (status, committed) in
        [(None, true), (Some(201), true), (Some(200), true), (Some(403), false), (Some(500), false)]
    {
        let (mut client, sandbox) = struck(Fault::CutBody { status, when: None });
        let (answer, end) = client.rest();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let lengths: Vec<&str> = head.lines().filter_map(|l| l.strip_prefix("Content-Length: ")).collect();
        assert_eq!(lengths, [(body.len() + 100).to_string()]);
        assert_eq!(end, End::Closed);
        assert_eq!(head.contains("Capture-Id: "), committed);
        assert!(head.starts_with(&format!("HTTP/1.1 {}", status.unwrap_or(201))));
        assert_eq!(body.contains("error_code"), !committed);
        settled(&sandbox, committed, Some(status.unwrap_or(201)));
    }
    let (mut client, sandbox) = struck(Fault::CutBody { status: Some(500), when: Some(When::AfterCommit) });
    client.rest();
    settled(&sandbox, true, Some(500));
}

#[test]
fn a_late_answer() {
    for when in [When::BeforeCommit, When::AfterCommit] {
        let before = Instant::now();
        let (mut client, sandbox) = struck(Fault::Delay { seconds: 0.5, when });
        eventually(|| !sandbox.requests().is_empty());
        match when {
            When::AfterCommit => eventually(|| sandbox.ledger().len() == 1),
            When::BeforeCommit => {
                let empty = sandbox.ledger().is_empty();
                // A busy machine may come too late to see it.
                assert!(empty || before.elapsed() > Duration::from_millis(500));
            }
        }
        assert_eq!(client.reply().status, 201);
        assert!(before.elapsed() >= Duration::from_millis(500));
        assert_eq!(client.get(CAPTURES).status, 200, "the connection is fine");
        settled(&sandbox, true, Some(201));
    }
}

#[test]
fn a_client_that_leaves_does_not_stop_a_delayed_commit() {
    let (client, sandbox) = struck(Fault::Delay { seconds: 0.2, when: When::BeforeCommit });
    drop(client);
    eventually(|| sandbox.ledger().len() == 1);
}

#[test]
fn no_answer_at_all() {
    for when in [When::BeforeCommit, When::AfterCommit] {
        let sandbox = sandbox();
        sandbox.fault("o", Fault::Stall { seconds: None, when });
        let wire = tcp(sandbox.url());
        wire.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut client = Client::over(wire);
        client.send_capture("k", BODY);
        eventually(|| !sandbox.requests().is_empty());
        assert!(client.is_silent());
        assert_eq!(sandbox.connections().open, 1);
        drop(client);
        eventually(|| sandbox.connections().open == 0);
        settled(&sandbox, when == When::AfterCommit, None);
    }
    let (mut client, sandbox) = struck(Fault::Stall { seconds: Some(0.2), when: When::BeforeCommit });
    assert_eq!(client.rest(), (String::new(), End::Closed));
    settled(&sandbox, false, None);
}

#[test]
fn a_client_may_repeat_a_stalled_request_at_once() {
    let (_client, sandbox) = struck(Fault::Stall { seconds: None, when: When::BeforeCommit });
    eventually(|| !sandbox.requests().is_empty());
    assert_eq!(capture(&sandbox, "k").status, 201);
}

#[test]
fn too_many_requests_with_and_without_a_hint() {
    let hint = |text: &str| Some(text.to_owned());
    for (retry_after, ratelimit_reset) in
        [(None, None), (hint("2"), None), (None, hint("7")), (hint("soon"), hint("x"))]
    {
        let fault =
            Fault::TooManyRequests { retry_after: retry_after.clone(), ratelimit_reset: ratelimit_reset.clone() };
        let (mut client, sandbox) = struck(fault);
        let reply = client.reply();
        assert_eq!(reply.error(), (429, "TOO_MANY_REQUESTS".into()));
        assert_eq!(reply.header("Retry-After"), retry_after.as_deref());
        assert_eq!(reply.header("X-Ratelimit-Reset"), ratelimit_reset.as_deref());
        assert_eq!(reply.header("X-Ratelimit-Remaining"), Some("0"));
        settled(&sandbox, false, Some(429));
    }
}

#[test]
fn a_canned_status() {
    for (status, code) in [
        (500, "INTERNAL_SERVER_ERROR"),
        (503, "TEMPORARILY_UNAVAILABLE"),
        (409, "CONFLICT"),
        (404, "NO_SUCH_ORDER"),
        (599, "INTERNAL_SERVER_ERROR"),
        (418, "UNDEFINED"),
    ] {
        for when in [When::BeforeCommit, When::AfterCommit] {
            let (mut client, sandbox) = struck(Fault::Status(Status { status, when, ..Status::default() }));
            assert_eq!(client.reply().error(), (status, code.into()));
            settled(&sandbox, when == When::AfterCommit, Some(status));
        }
    }
}

#[test]
fn a_canned_status_in_every_dress() {
    let (mut client, _sandbox) = struck(Fault::Status(Status {
        status: 403,
        error_code: Some("PAYMENT_METHOD_FAILED".into()),
        error_messages: Some(vec!["a".into(), "b".into()]),
        headers: vec![("X-A".into(), "1".into()), ("x-a".into(), "2".into())],
        ..Status::default()
    }));
    let reply = client.reply();
    assert_eq!(reply.error(), (403, "PAYMENT_METHOD_FAILED".into()));
    assert_eq!(reply.json()["error_messages"], serde_json::json!(["a", "b"]));
    assert!(reply.head.contains("\r\nX-A: 1\r\n") && reply.head.contains("\r\nx-a: 2\r\n"));

    let (mut client, _sandbox) = struck(Fault::Status(Status { status: 502, html: true, ..Status::default() }));
    let reply = client.reply();
    assert_eq!((reply.status, reply.header("Content-Type")), (502, Some("text/html")));
    assert!(reply.body.contains("<h1>502 Bad Gateway</h1>"));

    let (mut client, sandbox) = struck(Fault::Status(Status {
        status: 200,
        when: When::AfterCommit,
        body: Some("it is {capture_id} of {order_id}".into()),
        headers: vec![("content-type".into(), "x/y".into()), ("Location".into(), "{base}/{capture_id}".into())],
        ..Status::default()
    }));
    let reply = client.reply();
    let id = sandbox.ledger()[0].capture_id.clone();
    assert_eq!(reply.body, format!("it is {id} of o"));
    assert_eq!(reply.head.to_lowercase().matches("content-type").count(), 1);
    assert_eq!(reply.header("Content-Type"), Some("x/y"));
    assert_eq!(reply.header("Location"), Some(format!("{}/{id}", sandbox.url()).as_str()));

    for (status, length) in [(302, Some("0")), (202, Some("0")), (204, None), (304, None)] {
        let (mut client, _sandbox) = struck(Fault::Status(Status { status, ..Status::default() }));
        let reply = client.reply();
        assert_eq!((reply.status, reply.header("Content-Length")), (status, length));
        assert_eq!(client.get(CAPTURES).status, 200, "nothing is left over behind a {status}");
    }
}

#[test]
fn created_in_other_words() {
    let (mut client, sandbox) = struck(Fault::CreatedWithoutId);
    let reply = client.reply();
    assert_eq!((reply.status, reply.header("Capture-Id"), reply.header("Location")), (201, None, None));
    settled(&sandbox, true, Some(201));

    let (mut client, sandbox) = struck(Fault::Created(Created {
        capture_id_header: Some("cApTuRe-iD".into()),
        location: Some("http://klarna/orders/{order_id}/captures/{capture_id}/".into()),
        headers: vec![("X-More".into(), "{capture_id}".into())],
    }));
    let reply = client.reply();
    let id = sandbox.ledger()[0].capture_id.clone();
    assert!(reply.head.contains(&format!("\r\ncApTuRe-iD: {id}\r\n")));
    assert_eq!(reply.header("Location"), Some(format!("http://klarna/orders/o/captures/{id}/").as_str()));
    assert_eq!(reply.header("X-More"), Some(id.as_str()));
    settled(&sandbox, true, Some(201));

    let (mut client, sandbox) = struck(Fault::Created(Created { capture_id_header: None, ..Created::default() }));
    let reply = client.reply();
    let id = sandbox.ledger()[0].capture_id.clone();
    assert_eq!(reply.header("Capture-Id"), None);
    assert_eq!(reply.header("Location"), Some(format!("{}{CAPTURES}/{id}", sandbox.url()).as_str()));
}

#[test]
fn created_does_not_turn_a_no_into_a_yes() {
    for fault in [Fault::CreatedWithoutId, Fault::Created(Created::default())] {
        let sandbox = sandbox();
        sandbox.fault("o", fault);
        let reply = Client::connect(sandbox.url()).capture("k", r#"{"captured_amount":10001}"#);
        assert_eq!(reply.error(), (403, "CAPTURE_NOT_ALLOWED".into()));
        assert!(sandbox.ledger().is_empty());
    }
}

#[test]
fn raw_bytes_and_what_follows_them() {
    let text = "HTTP/1.1 201 Made\r\nCapture-Id: {capture_id}\r\nContent-Length: 2\r\n\r\n{}";
    let raw = |when: When, then: Then| Fault::Raw(Raw { when, text: Some(text.into()), then, ..Raw::default() });
    for (then, end) in [(Then::Close, End::Closed), (Then::Reset, End::Reset)] {
        let (mut client, sandbox) = struck(raw(When::AfterCommit, then));
        let (answer, ended) = client.rest();
        assert_eq!(answer, text.replace("{capture_id}", &sandbox.ledger()[0].capture_id));
        assert_eq!(ended, end);
        settled(&sandbox, true, Some(201));
    }
    let (mut client, sandbox) = struck(raw(When::BeforeCommit, Then::Keep));
    assert_eq!(client.reply().id().len(), 36, "an id that was made up");
    assert_eq!(client.get(CAPTURES).json(), serde_json::json!([]));
    settled(&sandbox, false, Some(201));

    let (mut client, sandbox) = struck(raw(When::BeforeCommit, Then::Stall));
    assert_eq!(client.reply().status, 201);
    assert_eq!(sandbox.connections().open, 1);
    client.send_capture("l", BODY);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(sandbox.requests().len(), 1, "a stalled connection reads no request");
}

#[test]
fn raw_bytes_of_any_kind_and_pace() {
    let base64 = Some("SFRUUC8xLjEg/wA=".into()); // HTTP/1.1 and two bytes that are no text
    let (mut client, sandbox) = struck(Fault::Raw(Raw { base64, ..Raw::default() }));
    assert_eq!(client.rest_bytes(), (b"HTTP/1.1 \xff\x00".to_vec(), End::Closed));
    settled(&sandbox, false, None);

    let before = Instant::now();
    let text = Some("0123456789".into());
    let (mut client, sandbox) = struck(Fault::Raw(Raw { text, chunk_delay_ms: Some(20), ..Raw::default() }));
    assert_eq!(client.rest(), ("0123456789".into(), End::Closed));
    assert!(before.elapsed() >= Duration::from_millis(200));
    settled(&sandbox, false, None);
}

#[test]
fn bytes_behind_an_answer() {
    let sandbox = sandbox();
    sandbox.fault("o", Fault::Leftover { text: "HTTP/1.1 201 Created\r\nCapture-Id: {capture_id}\r\n\r\n".into() });
    let mut client = Client::connect(sandbox.url());
    let first = client.capture("k", BODY);
    client.send(&format!("GET {CAPTURES}"), &[CREDENTIALS], "");
    assert_eq!(client.reply().id(), first.id(), "the bytes stand before the next answer");
    assert_eq!(client.reply().status, 200);
    settled(&sandbox, true, Some(201));
}

#[test]
fn a_connection_closed_behind_the_answer() {
    let (mut client, sandbox) = struck(Fault::CloseIdle);
    let reply = client.reply();
    assert_eq!((reply.status, reply.header("Connection")), (201, None));
    assert_eq!(client.rest(), (String::new(), End::Closed));
    settled(&sandbox, true, Some(201));
}

#[test]
fn faults_strike_in_order_or_by_number() {
    let sandbox = sandbox();
    let status = |status: u16| Fault::Status(Status { status, ..Status::default() });
    sandbox.fault("o", status(501));
    sandbox.fault("o", PlannedFault { request: Some(4), on: None, fault: status(504) });
    sandbox.fault("o", PlannedFault { request: Some(1), on: None, fault: status(500) });
    sandbox.fault("o", status(502));
    let mut client = Client::connect(sandbox.url());
    // Another order's requests do not count.
    client.get("/ordermanagement/v1/orders/p");
    let statuses: Vec<u16> = (0..5).map(|_| client.get(CAPTURES).status).collect();
    assert_eq!(statuses, [500, 501, 502, 504, 200]);

    sandbox.fault("o", status(503));
    sandbox.clear_faults("o");
    assert_eq!(client.get(CAPTURES).status, 200);
}

#[test]
fn reads_can_be_struck_too() {
    let sandbox = sandbox();
    for fault in [Fault::LostAnswer, Fault::CloseMidAnswer { after_bytes: Some(12) }] {
        sandbox.fault("o", fault);
    }
    let mut client = Client::connect(sandbox.url());
    client.send("GET /ordermanagement/v1/orders/o", &[CREDENTIALS], "");
    assert_eq!(client.rest(), (String::new(), End::Closed));
    let mut client = Client::connect(sandbox.url());
    client.send("GET /ordermanagement/v1/orders/o", &[CREDENTIALS], "");
    assert_eq!(client.rest(), ("HTTP/1.1 200".into(), End::Closed));
}

#[test]
#[should_panic(expected = "status is 7")]
fn an_impossible_fault_is_refused_in_the_library_as_well() {
    sandbox().fault("o", Fault::Status(Status { status: 7, ..Status::default() }));
}
