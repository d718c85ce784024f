use proptest::prelude::*;

use super::*;
use crate::capture::{Capture, CaptureTask};
use crate::{Config, Credentials};

const SECOND: Duration = Duration::from_secs(1);

fn limits() -> Limits {
    Config::at("http://127.0.0.1:1", Credentials::basic("user", "s3cret")).limits().unwrap()
}

fn machine_with(limits: Limits, budget: &Arc<Budget>) -> Machine<CaptureTask> {
    let endpoint = Config::at("http://127.0.0.1:1", Credentials::basic("user", "s3cret")).endpoint().unwrap();
    let operation =
        CaptureTask { order_id: "order".into(), idempotency_key: "key".into(), warnings: vec!["careful".into()] };
    let request = endpoint.post("/captures", "key", b"{}".to_vec());
    Machine::new(operation, request, Arc::new(endpoint), limits, budget.clone(), 7)
}

fn machine() -> Machine<CaptureTask> {
    machine_with(limits(), &Arc::new(Budget::new()))
}

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Event {
    Event::Answered(Answer {
        status,
        headers: headers.iter().map(|(n, v)| (n.to_string(), v.as_bytes().to_vec())).collect(),
        body: body.as_bytes().to_vec(),
    })
}

fn code(status: u16, code: &str) -> Event {
    answer(status, &[], &format!(r#"{{"error_code":"{code}","error_messages":["why"],"correlation_id":"c"}}"#))
}

fn created() -> Event {
    answer(201, &[("Capture-Id", "capture")], "")
}

fn not_sent() -> Event {
    Event::NotSent("refused".into())
}

fn lost() -> Event {
    Event::MaybeSent("reset".into())
}

/// Feeds what the server does, waiting in between; the rest of the events is not needed.
fn run(events: Vec<Event>) -> Result<Capture, Error> {
    drive(&mut machine(), events)
}

fn drive(machine: &mut Machine<CaptureTask>, events: Vec<Event>) -> Result<Capture, Error> {
    let mut events = events.into_iter();
    let (mut now, mut event) = (SECOND, Event::Start);
    loop {
        match machine.step(now, event) {
            Step::Send(_) => event = events.next().expect("another attempt than expected"),
            Step::Wait(pause) => {
                now += pause;
                event = Event::Waited;
            }
            Step::Done(result) => {
                assert_eq!(events.next().map(|_| "unused"), None, "it ended early: {result:?}");
                return result;
            }
        }
    }
}

fn kind(events: Vec<Event>) -> ErrorKind {
    run(events).unwrap_err().kind()
}

#[test]
fn a_capture() {
    let capture = run(vec![created()]).unwrap();
    assert_eq!(capture.capture_id(), "capture");
    assert_eq!(capture.attempts(), 1);
    assert_eq!(capture.idempotency_key(), "key");
    assert_eq!(capture.warnings(), ["careful"]);
    assert_eq!(run(vec![lost(), lost(), created()]).unwrap().attempts(), 3);
    assert_eq!(run(vec![answer(204, &[("capture-id", "c")], "")]).unwrap().capture_id(), "c");
}

#[test]
fn a_definite_no_is_not_retried() {
    for status in [
        400, 401, 402, 403, 404, 405, 406, 407, 410, 411, 412, 413, 414, 415, 417, 418, 421, 422, 423, 428, 431, 451,
        499,
    ] {
        for body in [code(status, "SOME_CODE"), answer(status, &[], "<html>no</html>"), answer(status, &[], "")] {
            let error = run(vec![body]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Rejected, "{status}");
            assert_eq!(error.http_status(), Some(status));
            assert_eq!(error.attempts(), 1);
            assert!(!error.retryable());
        }
    }
    let error = run(vec![code(403, "CAPTURE_NOT_ALLOWED")]).unwrap_err();
    assert_eq!(error.error_code(), Some("CAPTURE_NOT_ALLOWED"));
    assert_eq!(error.error_messages(), ["why"]);
    assert_eq!(error.correlation_id(), Some("c"));
    assert_eq!(error.order_id(), Some("order"));
    assert_eq!(error.idempotency_key(), Some("key"));
}

#[test]
fn what_may_have_been_executed_is_retried_and_stays_unknown() {
    for status in [
        100, 101, 200, 201, 204, 299, 300, 301, 302, 307, 308, 399, 408, 409, 425, 500, 502, 503, 504, 599, 600, 999,
        0, 99,
    ] {
        let again = || answer(status, &[], "");
        let error = run(vec![again(), again(), again()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{status}");
        assert_eq!(error.attempts(), 3);
        assert!(error.retryable());
        assert!(run(vec![again(), created()]).is_ok());
    }
}

#[test]
fn nothing_sent() {
    let error = run(vec![not_sent(), not_sent(), not_sent()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotSent);
    assert!(error.retryable());
    assert_eq!(kind(vec![not_sent(), code(401, "UNAUTHORIZED")]), ErrorKind::Rejected);
    assert_eq!(kind(vec![lost(), not_sent(), not_sent()]), ErrorKind::OutcomeUnknown);
}

#[test]
fn the_rate_limit() {
    let limited = || answer(429, &[("Retry-After", "1")], "");
    let error = run(vec![limited(), limited(), limited()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert!(error.retryable());
    assert_eq!(kind(vec![lost(), limited(), limited()]), ErrorKind::OutcomeUnknown);
    assert!(run(vec![limited(), created()]).is_ok());
    let error = run(vec![limited(), not_sent(), not_sent()]).unwrap_err();
    assert_eq!((error.kind(), error.http_status()), (ErrorKind::Rejected, Some(429)), "Klarna was reached");
    assert!(error.retryable() && error.attempts() == 3);
    assert_eq!(kind(vec![limited(), lost(), not_sent()]), ErrorKind::OutcomeUnknown);
    let error = run(vec![answer(429, &[("Retry-After", "60")], "")]).unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Rejected, 1), "a wait past the deadline is not begun");
}

#[test]
fn a_definite_no_after_an_unclear_attempt() {
    let unclear: [fn() -> Event; 4] =
        [lost, || answer(500, &[], ""), || answer(200, &[], "<html>"), || answer(302, &[("Location", "/x")], "")];
    for unclear in unclear {
        for (no, expected) in [
            (code(401, "UNAUTHORIZED"), ErrorKind::OutcomeUnknown),
            (answer(401, &[], "<html>"), ErrorKind::OutcomeUnknown),
            (code(403, "CAPTURE_NOT_ALLOWED"), ErrorKind::OutcomeUnknown),
            (code(403, "NOT_ALLOWED"), ErrorKind::OutcomeUnknown),
            (answer(403, &[], "<html>"), ErrorKind::OutcomeUnknown),
            (answer(404, &[], "<html>"), ErrorKind::OutcomeUnknown),
            (answer(413, &[], ""), ErrorKind::OutcomeUnknown),
            (code(404, "NO_SUCH_ORDER"), ErrorKind::Rejected),
            (code(422, "UNPROCESSABLE_ENTITY"), ErrorKind::Rejected),
            (code(400, "BAD_VALUE"), ErrorKind::Rejected),
            (code(400, "KEY_IN_FLIGHT"), ErrorKind::OutcomeUnknown),
        ] {
            let error = run(vec![unclear(), no]).unwrap_err();
            assert_eq!(error.kind(), expected, "{error}");
            assert_eq!(error.attempts(), 2);
        }
    }
}

#[test]
fn a_definite_no_after_an_unclear_call_with_the_same_key() {
    let in_doubt = || {
        let mut machine = machine();
        machine.learn(Others::Unclear);
        machine
    };
    let again = |event| drive(&mut in_doubt(), vec![event]);
    for no in [code(401, "UNAUTHORIZED"), code(403, "CAPTURE_NOT_ALLOWED"), answer(404, &[], "<html>")] {
        let error = again(no).unwrap_err();
        assert_eq!((error.kind(), error.retryable()), (ErrorKind::OutcomeUnknown, true), "{error}");
    }
    assert_eq!(again(code(404, "NO_SUCH_ORDER")).unwrap_err().kind(), ErrorKind::Rejected);
    assert!(again(created()).is_ok());
    let refused = || Event::NotSent("refused".into());
    let error = drive(&mut in_doubt(), vec![refused(), refused(), refused()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
}

#[test]
fn no_refusal_undoes_a_success() {
    for no in [code(404, "NO_SUCH_ORDER"), code(422, "UNPROCESSABLE_ENTITY"), code(400, "BAD_VALUE")] {
        let mut machine = machine();
        machine.learn(Others::Done);
        let error = drive(&mut machine, vec![no]).unwrap_err();
        assert_eq!((error.kind(), error.retryable()), (ErrorKind::OutcomeUnknown, true), "{error}");
        assert!(error.message().contains("another call with this key was answered with success"), "{error}");
    }
    // of this call, though it does not say which capture it was
    for no in [code(404, "NO_SUCH_ORDER"), code(422, "UNPROCESSABLE_ENTITY"), code(400, "BAD_VALUE")] {
        let mut machine = machine();
        let error = drive(&mut machine, vec![answer(201, &[], ""), no]).unwrap_err();
        assert_eq!((error.kind(), error.retryable()), (ErrorKind::OutcomeUnknown, true), "{error}");
        assert_eq!(machine.trace(), Trace::Agreed);
    }
}

#[test]
fn pauses_grow_and_are_bounded() {
    let mut limits = limits();
    limits.attempts = 20;
    limits.total = Duration::from_secs(1000);
    let mut machine = machine_with(limits, &Arc::new(Budget::new()));
    let mut pauses = Vec::new();
    let mut event = Event::Start;
    loop {
        match machine.step(SECOND, event) {
            Step::Send(_) => event = lost(),
            Step::Wait(pause) => {
                pauses.push(pause);
                event = Event::Waited;
            }
            Step::Done(result) => break assert_eq!(result.unwrap_err().attempts(), 20),
        }
    }
    for (n, pause) in pauses.iter().enumerate() {
        assert!(*pause <= Duration::from_millis(500 << n.min(4)), "pause {n} is {pause:?}");
    }
    assert!(pauses.iter().skip(4).any(|pause| *pause > 4 * SECOND), "{pauses:?}");
}

#[test]
fn a_key_in_flight_gets_a_pause() {
    let mut machine = machine();
    machine.step(SECOND, Event::Start);
    match machine.step(SECOND, answer(409, &[], "")) {
        Step::Wait(pause) => assert!(pause >= Duration::from_millis(250)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn waits_as_told() {
    for (event, least) in [
        (answer(429, &[("retry-after", "3")], ""), 3),
        (answer(503, &[("Retry-After", "3")], ""), 3),
        (answer(429, &[("X-Ratelimit-Reset", "2")], ""), 2),
    ] {
        let mut machine = machine();
        machine.step(SECOND, Event::Start);
        match machine.step(SECOND, event) {
            Step::Wait(pause) => assert!(pause >= least * SECOND && pause < (least + 1) * SECOND),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_attempt_ends_with_the_call() {
    let mut machine = machine();
    assert!(matches!(machine.step(SECOND, Event::Start), Step::Send(timeout) if timeout == 10 * SECOND));
    let Step::Wait(_) = machine.step(11 * SECOND, lost()) else { panic!() };
    assert!(matches!(machine.step(20 * SECOND, Event::Waited), Step::Send(timeout) if timeout == 6 * SECOND));
    let Step::Done(Err(error)) = machine.step(26 * SECOND, lost()) else { panic!() };
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::OutcomeUnknown, 2));
}

#[test]
fn no_attempt_is_begun_without_time_for_it() {
    let mut limits = limits();
    limits.backoff = Duration::ZERO;
    let mut machine = machine_with(limits, &Arc::new(Budget::new()));
    machine.step(SECOND, Event::Start);
    let Step::Done(Err(error)) = machine.step(26 * SECOND - Duration::from_micros(300), lost()) else { panic!() };
    assert!(error.message().contains("no time was left for another attempt"), "{error}");
}

#[test]
fn a_clear_outcome_is_not_risked() {
    // 5 s to connect would not fit into what is left
    let mut machine = machine();
    machine.step(SECOND, Event::Start);
    let Step::Done(Err(error)) = machine.step(21 * SECOND, not_sent()) else { panic!() };
    assert_eq!(error.kind(), ErrorKind::NotSent);
}

#[test]
fn an_outage_is_not_answered_by_a_storm() {
    let budget = Arc::new(Budget::new());
    let outage = |events| drive(&mut machine_with(limits(), &budget), events).unwrap_err().attempts();
    for _ in 0..50 {
        assert_eq!(outage(vec![lost(), lost(), lost()]), 3);
    }
    // the pauses of those calls earned nothing: each began at the same second
    assert_eq!(outage(vec![lost()]), 1);
    for _ in 0..5 {
        drive(&mut machine_with(limits(), &budget), vec![created()]).unwrap();
    }
    assert_eq!(outage(vec![lost(), lost()]), 2, "successes pay for retries");
    assert!(!budget.take_retry(SECOND));
    assert!(budget.take_retry(3600 * SECOND), "and so does time");
}

#[test]
fn text_from_the_server_is_scrubbed() {
    let echo =
        r#"{"error_code":"A\u001b[31mB","error_messages":["pw s3cret, Basic dXNlcjpzM2NyZXQ=","x\r\ny\u202ez"]}"#;
    let error = run(vec![answer(400, &[("Klarna-Correlation-Id", "id")], echo)]).unwrap_err();
    let all = format!("{error} {error:?} {:?}", error.error_messages());
    assert!(!all.contains("s3cret") && !all.contains("dXNlcjpzM2NyZXQ"), "{all}");
    assert!(!all.contains('\u{1b}') && !error.to_string().contains('\n'), "{all}");
    assert_eq!(error.error_messages()[1], "x  yz");
    assert_eq!(error.correlation_id(), Some("id"));
}

#[test]
fn events_out_of_turn_end_the_call() {
    for events in
        [vec![Event::Waited], vec![created()], vec![Event::Start, Event::Waited], vec![Event::Start, Event::Start]]
    {
        let mut machine = machine();
        let mut last = None;
        let sent = events.len() > 1;
        for event in events {
            last = Some(machine.step(SECOND, event));
        }
        let Some(Step::Done(Err(error))) = last else { panic!() };
        assert_eq!((error.kind(), error.retryable()), (ErrorKind::Internal, sent));
        assert!(matches!(machine.step(SECOND, created()), Step::Done(Err(_))), "nothing comes after the end");
    }
}

fn any_event() -> impl Strategy<Value = Event> {
    let status = prop_oneof![0_u16..1000, 200_u16..210, 400_u16..430, 500_u16..505];
    let header = prop_oneof![
        Just(("Capture-Id", "capture")),
        Just(("Capture-Id", "other")),
        Just(("Location", "/orders/order/captures/capture")),
        Just(("Location", "https://elsewhere.example/login")),
        Just(("Retry-After", "1")),
        Just(("Retry-After", "99999999999")),
        Just(("X-Ratelimit-Reset", "2")),
    ];
    let body = prop_oneof![
        Just(String::new()),
        Just("<html>".to_owned()),
        "[A-Z_]{1,20}|UNPROCESSABLE_ENTITY".prop_map(|code| format!(r#"{{"error_code":"{code}"}}"#)),
        ".{0,40}",
    ];
    prop_oneof![
        4 => (status, proptest::collection::vec(header, 0..3), body)
            .prop_map(|(status, headers, body)| answer(status, &headers, &body)),
        1 => Just(lost()),
        1 => Just(not_sent()),
    ]
}

/// What the table says an event leaves behind.
fn is_unclear(event: &Event) -> bool {
    match event {
        Event::Answered(answer) => !matches!(answer.status, 400..=407 | 410..=424 | 426..=499),
        Event::MaybeSent(_) => true,
        _ => false,
    }
}

proptest! {
    /// Whatever the server does, the call ends within its attempts and its deadline, and only
    /// Klarna's own word on this request is a "no" after an unclear attempt.
    #[test]
    fn every_order_of_answers_ends_well(
        events in proptest::collection::vec((any_event(), 0_u64..12_000), 20),
        attempts in 1_u32..20,
    ) {
        let mut limits = limits();
        limits.attempts = attempts;
        let mut machine = machine_with(limits, &Arc::new(Budget::new()));
        let key = machine.request().headers["klarna-idempotency-key"].clone();
        let mut events = events.into_iter();
        let (mut now, mut event, mut sent, mut unclear) = (SECOND, Event::Start, 0, false);
        let mut settled = false;
        let deadline = now + limits.total;
        let result = loop {
            let last = event.clone();
            match machine.step(now, event) {
                Step::Send(timeout) => {
                    sent += 1;
                    prop_assert!(sent <= attempts);
                    prop_assert!(now < deadline);
                    prop_assert!(now + timeout <= deadline);
                    prop_assert_eq!(&machine.request().headers["klarna-idempotency-key"], &key);
                    prop_assert_eq!(&machine.request().body[..], b"{}");
                    let (next, took) = events.next().unwrap();
                    unclear |= is_unclear(&next);
                    settled = matches!(&next, Event::Answered(answer) if answer.status == 422
                        && answer.error().error_code.as_deref() == Some("UNPROCESSABLE_ENTITY"));
                    now += timeout.min(Duration::from_millis(took));
                    event = next;
                }
                Step::Wait(pause) => {
                    prop_assert!(now + pause < deadline, "a wait past the deadline was begun");
                    now += pause;
                    event = Event::Waited;
                }
                Step::Done(result) => {
                    if let (Ok(_), Event::Answered(answer)) = (&result, &last) {
                        prop_assert!((200..300).contains(&answer.status));
                    }
                    break result;
                }
            }
        };
        match result {
            Ok(capture) => prop_assert_eq!(capture.attempts(), sent),
            Err(error) => {
                prop_assert_eq!(error.attempts(), sent);
                let expected_unknown = unclear && !settled;
                prop_assert_eq!(error.kind() == ErrorKind::OutcomeUnknown, expected_unknown, "{}", error);
                prop_assert!(error.kind() != ErrorKind::Internal);
            }
        }
    }

    /// A driver that says anything at all, in any order, gets an end.
    #[test]
    fn every_order_of_events_ends(
        events in proptest::collection::vec(prop_oneof![any_event(), Just(Event::Start), Just(Event::Waited)], 0..40),
    ) {
        let mut machine = machine();
        let mut sent = 0;
        for event in events {
            match machine.step(SECOND, event) {
                Step::Send(_) => sent += 1,
                Step::Wait(_) => {}
                Step::Done(result) => {
                    if let Err(error) = &result {
                        prop_assert_eq!(error.attempts(), sent);
                    }
                    return Ok(());
                }
            }
        }
        prop_assert!(sent <= 3);
    }
}

#[test]
fn a_credential_is_hidden_however_often_it_is_sent_back() {
    for (length, times) in [(100, 99), (180, 40), (1200, 4), (5000, 1), (5000, 9)] {
        let password: String = (0..length).map(|n: u32| char::from(b'!' + (n * n * 7 % 83) as u8)).collect();
        let password = password.replace(['"', '\\', ':'], "x");
        let config = Config::at("http://127.0.0.1:1", Credentials::basic("user", password.as_str()));
        let endpoint = Arc::new(config.endpoint().unwrap());
        let request = endpoint.post("/captures", "key", b"{}".to_vec());
        let task = CaptureTask { order_id: "order".into(), idempotency_key: "key".into(), warnings: Vec::new() };
        let mut machine = Machine::new(task, request, endpoint, limits(), Arc::new(Budget::new()), 7);
        let echo = password.repeat(times);
        let body = format!(r#"{{"error_code":"{echo}","error_messages":["{echo}","you sent {echo}"]}}"#);
        let error = drive(&mut machine, vec![answer(400, &[], &body)]).unwrap_err();
        let shown = format!("{error:?}{error}{:?}", error.error_messages());
        let tells = password.as_bytes().windows(12).find(|part| shown.contains(std::str::from_utf8(part).unwrap()));
        assert_eq!(tells, None, "{length} {times}: {shown}");
    }
}
