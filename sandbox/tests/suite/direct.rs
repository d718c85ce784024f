//! Requests that are handed over without a socket.

use super::CAPTURES;
use super::client::CREDENTIALS;
use std::time::{Duration, Instant};
use takings_sandbox::{End, Exchanged, Fault, NewOrder, Options, Raw, Sandbox, Then, When};

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::without_socket(Options { prefix: "/gw".into(), ..Options::default() }).unwrap();
    sandbox.create_order(NewOrder { order_id: Some("o".into()), order_amount: 10_000, ..NewOrder::default() });
    sandbox
}

/// A capture of 100 from order `o`.
fn capture(sandbox: &Sandbox, key: &str) -> Exchanged {
    let (name, credentials) = CREDENTIALS.split_once(": ").unwrap();
    let headers = [(name, credentials), ("Content-Type", "application/json"), ("Klarna-Idempotency-Key", key)];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    sandbox.exchange("POST", &format!("/gw{CAPTURES}"), headers, br#"{"captured_amount":100}"#.to_vec())
}

fn text(exchanged: &Exchanged) -> String {
    exchanged.pieces.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes)).collect()
}

#[test]
fn the_answer_is_that_of_a_socket() {
    let sandbox = sandbox();
    let exchanged = capture(&sandbox, "k");
    let answer = text(&exchanged);
    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
    assert!(answer.contains("Location: http://127.0.0.1:9/gw/ordermanagement/v1/orders/o/captures/"), "{answer}");
    assert_eq!((exchanged.end, exchanged.ended), (End::Open, Duration::ZERO));
    assert_eq!(sandbox.ledger()[0].idempotency_key.as_deref(), Some("k"));
    let [request] = &sandbox.requests()[..] else { panic!("one request") };
    assert_eq!((request.committed, request.answered_status, request.connection), (true, Some(201), 0));
}

#[test]
fn faults_strike_and_their_time_does_not_pass() {
    let sandbox = sandbox();
    let (second, began) = (Duration::from_secs(1), Instant::now());
    for (fault, pieces, end, ended) in [
        (Fault::LostAnswer, 0, End::Closed, Duration::ZERO),
        (Fault::ResetAfterCommit, 0, End::Reset, Duration::ZERO),
        (Fault::CloseIdle, 1, End::Closed, Duration::ZERO),
        (Fault::Delay { seconds: 3600.0, when: When::AfterCommit }, 1, End::Open, 3600 * second),
        (Fault::Stall { seconds: Some(60.0), when: When::AfterCommit }, 0, End::Closed, 60 * second),
        (Fault::Stall { seconds: None, when: When::AfterCommit }, 0, End::Open, Duration::ZERO),
    ] {
        sandbox.fault("o", fault.clone());
        let exchanged = capture(&sandbox, &format!("{fault:?}"));
        assert_eq!((exchanged.pieces.len(), exchanged.end, exchanged.ended), (pieces, end, ended), "{fault:?}");
        assert!(exchanged.pieces.iter().all(|(at, _)| *at == ended), "{exchanged:?}");
        assert!(sandbox.requests().last().is_some_and(|request| request.committed), "{fault:?}");
    }
    assert!(began.elapsed() < 60 * second);
}

#[test]
fn each_piece_has_its_time() {
    let sandbox = sandbox();
    let raw = Raw { text: Some("abc".into()), then: Then::Stall, chunk_delay_ms: Some(1000), ..Raw::default() };
    sandbox.fault("o", Fault::Raw(raw));
    let exchanged = capture(&sandbox, "k");
    let times: Vec<u64> = exchanged.pieces.iter().map(|(at, _)| at.as_secs()).collect();
    assert_eq!((times, text(&exchanged), exchanged.end), (vec![0, 1, 2], "abc".into(), End::Open));
    assert!(sandbox.ledger().is_empty());
}
