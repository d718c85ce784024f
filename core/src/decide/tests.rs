//! The decisions, fed with what a server does. No test here has a socket or a clock.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use proptest::prelude::*;

use super::doubt::{Doubt, Ending, FirstUse};
use super::find::Identity;
use super::machine::{Event, Machine, Purpose, Shared};
use super::memory::KeyState;
use super::retry::{Budget, Limits};
use super::settle::{Settlement, Step};
use crate::api::documents::Order;
use crate::api::operation::{Effect, FoundBy, Nouns, Operation, Reply, ReplyKind};
use crate::api::operations::{
    APPEND_ORDER_SHIPPING_INFO, CANCEL, CAPTURE, EXTEND_DUE_DATE, REFUND, RELEASE_REMAINING_AUTHORIZATION,
    TRIGGER_SEND_OUT,
};
use crate::api::reply::CONFIRMATION;
use crate::error::{Error, ErrorKind};
use crate::wire::Most;
use crate::wire::answer::Answer;
use crate::{Config, Credentials};

mod memory;
mod plan;

const SECOND: Duration = Duration::from_secs(1);

fn config() -> Config {
    Config::at("http://127.0.0.1:1", Credentials::basic("user", "s3cret"))
}

fn limits() -> Limits {
    config().limits().unwrap()
}

/// A call to `operation`, whose look-up searches for parcel-1.
fn call_of(operation: &'static Operation, config: &Config, limits: Limits, budget: &Arc<Budget>) -> Settlement {
    let endpoint = Arc::new(config.endpoint().unwrap());
    let (key, body) = if operation.writes() { (Some("key"), b"{}".to_vec()) } else { (None, Vec::new()) };
    let purpose = Purpose {
        operation,
        order_id: "order".into(),
        idempotency_key: key.map(str::to_owned),
        parameters: Vec::new(),
        identity: Some(Identity { reference: "parcel-1".into(), amount: 6000 }),
        warnings: vec!["careful".into()],
    };
    let request = endpoint.request(&operation.method, "/captures", key, body, Most::DOCUMENT);
    let shared = Shared { endpoint, limits, budget: budget.clone() };
    Settlement::new(Machine::new(purpose, request, shared, 7), config.reconcile)
}

fn machine_with(limits: Limits, budget: &Arc<Budget>) -> Settlement {
    call_of(&CAPTURE, &config(), limits, budget)
}

fn machine() -> Settlement {
    machine_with(limits(), &Arc::new(Budget::new()))
}

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Event {
    let headers: Vec<_> = headers.iter().map(|(n, v)| (n.to_string(), v.as_bytes().to_vec())).collect();
    Event::Answered(Answer::new(status, headers, body.as_bytes().to_vec()))
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

/// Feeds the events of a server to a call, which has to use them all, and ends every pause at once.
fn run(events: Vec<Event>) -> Result<Reply, Error> {
    run_of(&mut machine(), events)
}

fn run_of(machine: &mut Settlement, events: Vec<Event>) -> Result<Reply, Error> {
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
    assert_eq!(capture.created_id(), Some("capture"));
    assert_eq!(capture.attempts(), 1);
    assert_eq!(capture.idempotency_key(), Some("key"));
    assert_eq!(capture.warnings(), ["careful"]);
    assert_eq!(run(vec![lost(), lost(), created()]).unwrap().attempts(), 3);
    assert_eq!(run(vec![answer(204, &[("capture-id", "c")], "")]).unwrap().created_id(), Some("c"));
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
        machine.learn(KeyState { doubt: Doubt::Unclear, ..KeyState::FRESH });
        machine
    };
    let again = |event| run_of(&mut in_doubt(), vec![event]);
    for no in [code(401, "UNAUTHORIZED"), code(403, "CAPTURE_NOT_ALLOWED"), answer(404, &[], "<html>")] {
        let error = again(no).unwrap_err();
        assert_eq!((error.kind(), error.retryable()), (ErrorKind::OutcomeUnknown, true), "{error}");
    }
    assert_eq!(again(code(404, "NO_SUCH_ORDER")).unwrap_err().kind(), ErrorKind::Rejected);
    assert!(again(created()).is_ok());
    let refused = || Event::NotSent("refused".into());
    let error = run_of(&mut in_doubt(), vec![refused(), refused(), refused()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
}

#[test]
fn no_refusal_undoes_a_success() {
    for no in [code(404, "NO_SUCH_ORDER"), code(422, "UNPROCESSABLE_ENTITY"), code(400, "BAD_VALUE")] {
        let mut machine = machine();
        machine.learn(KeyState { doubt: Doubt::Done("id".into()), ..KeyState::FRESH });
        let error = run_of(&mut machine, vec![no]).unwrap_err();
        assert_eq!((error.kind(), error.retryable()), (ErrorKind::OutcomeUnknown, true), "{error}");
        assert!(error.message().contains("another call with this key was answered with success"), "{error}");
    }
    // A 201 of this call counts as well, though it names no capture.
    for no in [code(404, "NO_SUCH_ORDER"), code(422, "UNPROCESSABLE_ENTITY"), code(400, "BAD_VALUE")] {
        let mut machine = machine();
        let error = run_of(&mut machine, vec![answer(201, &[], ""), no]).unwrap_err();
        assert_eq!((error.kind(), error.retryable()), (ErrorKind::OutcomeUnknown, true), "{error}");
        assert_eq!(machine.ending(), Ending::Left(Doubt::Agreed));
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
fn waits_as_asked() {
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
    let outage = |events| run_of(&mut machine_with(limits(), &budget), events).unwrap_err().attempts();
    for _ in 0..50 {
        assert_eq!(outage(vec![lost(), lost(), lost()]), 3);
    }
    // The clock of each call begins at the same second, so the pauses between them refilled nothing.
    assert_eq!(outage(vec![lost()]), 1);
    for _ in 0..5 {
        run_of(&mut machine_with(limits(), &budget), vec![created()]).unwrap();
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

/// The documented meaning of an event, apart from the code that decides.
fn is_unclear(event: &Event) -> bool {
    match event {
        Event::Answered(answer) => !matches!(answer.status, 400..=407 | 410..=424 | 426..=499),
        Event::MaybeSent(_) => true,
        _ => false,
    }
}

proptest! {
    /// The call ends within its attempts and its deadline in every case. After an unclear attempt only Klarna's own
    /// refusal of this request counts as one.
    #[test]
    fn every_order_of_answers_ends_well(
        events in proptest::collection::vec((any_event(), 0_u64..12_000), 20),
        attempts in 1_u32..20,
    ) {
        let mut limits = limits();
        limits.attempts = attempts;
        let mut machine = machine_with(limits, &Arc::new(Budget::new()));
        let key_of = |machine: &Settlement| {
            let mut headers = machine.request().headers();
            headers.find(|(name, _)| *name == "klarna-idempotency-key").map(|(_, key)| key.to_owned())
        };
        let key = key_of(&machine);
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
                    prop_assert!(key.is_some());
                    prop_assert_eq!(&key_of(&machine), &key);
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

    /// A host that reports any events, in any order, gets an outcome.
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
        let mut machine = call_of(&CAPTURE, &config, limits(), &Arc::new(Budget::new()));
        let echo = password.repeat(times);
        let body = format!(r#"{{"error_code":"{echo}","error_messages":["{echo}","you sent {echo}"]}}"#);
        let error = run_of(&mut machine, vec![answer(400, &[], &body)]).unwrap_err();
        let shown = format!("{error:?}{error}{:?}", error.error_messages());
        let tells = password.as_bytes().windows(12).find(|part| shown.contains(std::str::from_utf8(part).unwrap()));
        assert_eq!(tells, None, "{length} {times}: {shown}");
    }
}

// --- the look-up that settles a call ------------------------------------------------------------------------

fn reconciling() -> Settlement {
    let mut config = config();
    config.reconcile = true;
    call_of(&CAPTURE, &config, limits(), &Arc::new(Budget::new()))
}

fn listed(list: &[(&str, &str, i64)]) -> Event {
    let entries: Vec<String> = list
        .iter()
        .map(|(id, reference, amount)| {
            format!(
                r#"{{"capture_id":"{id}","reference":"{reference}","captured_amount":{amount},"order_lines":[{{}}]}}"#
            )
        })
        .collect();
    answer(200, &[], &format!("[{}]", entries.join(",")))
}

const FOUND: &[(&str, &str, i64)] = &[("a", "parcel-1", 6000)];

#[test]
fn an_unclear_capture_is_looked_for() {
    let reply = run_of(&mut reconciling(), vec![lost(), lost(), lost(), listed(FOUND)]).unwrap();
    assert_eq!((reply.created_id(), reply.attempts(), reply.idempotency_key()), (Some("a"), 3, Some("key")));
    let refused = answer(403, &[], "");
    let mut call = reconciling();
    let reply = run_of(&mut call, vec![lost(), refused, lost(), listed(FOUND)]).unwrap();
    assert_eq!((reply.created_id(), reply.attempts()), (Some("a"), 2), "the look has attempts of its own");
    assert_eq!(call.request().method, Method::GET);
    assert_eq!(call.ending(), Ending::Left(Doubt::Done("a".into())));
}

#[test]
fn only_a_find_settles_it() {
    let two = [FOUND[0], ("b", "parcel-1", 6000)];
    for end in [vec![listed(&[])], vec![listed(&two)], vec![lost(), lost(), lost()]] {
        let mut call = reconciling();
        let error = run_of(&mut call, [vec![lost(), lost(), lost()], end].concat()).unwrap_err();
        assert_eq!((error.kind(), error.attempts()), (ErrorKind::OutcomeUnknown, 3));
        assert_eq!(error.idempotency_key(), Some("key"));
        assert_eq!(call.ending(), Ending::Left(Doubt::Unclear));
    }
}

#[test]
fn a_list_that_broke_off_finds_nothing() {
    let cut = || {
        let Event::Answered(mut answer) = listed(FOUND) else { panic!() };
        answer.is_cut = true;
        Event::Answered(answer)
    };
    let error = run_of(&mut reconciling(), vec![lost(), lost(), lost(), cut(), cut(), cut()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
}

#[test]
fn a_clear_outcome_is_not_looked_into() {
    assert_eq!(run_of(&mut reconciling(), vec![not_sent(); 3]).unwrap_err().kind(), ErrorKind::NotSent);
    assert_eq!(run_of(&mut reconciling(), vec![answer(403, &[], "")]).unwrap_err().kind(), ErrorKind::Rejected);
}

#[test]
fn no_look_is_begun_after_the_deadline() {
    let end = SECOND + 25 * SECOND;
    let mut call = reconciling();
    call.step(SECOND, Event::Start);
    let step = call.step(end, lost());
    assert!(matches!(step, Step::Done(Err(error)) if error.kind() == ErrorKind::OutcomeUnknown));
    let mut call = reconciling();
    call.step(SECOND, Event::Start);
    let left = Duration::from_millis(1);
    assert!(matches!(call.step(end - left, lost()), Step::Send(timeout) if timeout == left));
}

// --- a key whose first use is not known ----------------------------------------------------------------------

/// A call with a key that its caller gave.
fn given_to(mut call: Settlement, events: Vec<Event>) -> Result<Reply, Error> {
    call.learn(KeyState { first_use: FirstUse::Unknown, ..KeyState::FRESH });
    run_of(&mut call, events)
}

fn not_allowed() -> Event {
    code(403, "CAPTURE_NOT_ALLOWED")
}

#[test]
fn a_refusal_of_a_given_key_says_nothing_of_earlier_calls() {
    for (no, cause) in [
        (code(401, "UNAUTHORIZED"), "Klarna refused the credentials (401) UNAUTHORIZED: why; order order may"),
        (
            answer(401, &[], "<html>"),
            "the credentials were refused with 401 by a page that is no error of Klarna's API; order order may",
        ),
        (
            answer(403, &[], "<html>"),
            "it was refused with 403 by a page that is no error of Klarna's API; order order may",
        ),
        (
            answer(404, &[], "<html>"),
            "it was refused with 404 by a page that is no error of Klarna's API; order order may",
        ),
        (answer(415, &[], ""), "it was refused with 415 without an error of Klarna's API; order order may"),
        (code(403, "NOT_ALLOWED"), "Klarna refused it with 403 NOT_ALLOWED: why; order order may"),
        (code(400, "A_CODE_OF_A_LATER_DAY"), "Klarna refused it with 400 A_CODE_OF_A_LATER_DAY: why; order order may"),
    ] {
        let error = given_to(machine(), vec![no]).unwrap_err();
        assert_eq!((error.kind(), error.retryable(), error.attempts()), (ErrorKind::OutcomeUnknown, true, 1));
        assert!(error.message().starts_with(cause), "{error}");
        assert!(error.message().contains("call again with the same key"), "{error}");
        assert!(error.http_status().is_some());
    }
    let limited = || answer(429, &[("Retry-After", "1")], "");
    let error = given_to(machine(), vec![limited(), limited(), limited()]).unwrap_err();
    assert_eq!((error.kind(), error.http_status()), (ErrorKind::OutcomeUnknown, Some(429)));
}

#[test]
fn a_refusal_of_the_bytes_is_the_whole_truth() {
    for no in [code(404, "NO_SUCH_ORDER"), code(400, "BAD_VALUE"), code(422, "UNPROCESSABLE_ENTITY")] {
        let error = given_to(machine(), vec![no]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected);
    }
    assert_eq!(given_to(machine(), vec![not_sent(); 3]).unwrap_err().kind(), ErrorKind::NotSent);
    assert!(given_to(machine(), vec![created()]).is_ok());
}

/// An order of which these captures were made, as `status`, with `left` remaining and `captured` in all.
fn order_as(status: &str, left: i64, captured: i64, list: &[(&str, &str, i64)]) -> Event {
    let Event::Answered(list) = listed(list) else { panic!() };
    let captures = String::from_utf8(list.body).unwrap();
    let amounts = format!(r#""remaining_authorized_amount":{left},"captured_amount":{captured}"#);
    answer(200, &[], &format!(r#"{{"order_id":"order","status":"{status}",{amounts},"captures":{captures}}}"#))
}

fn with_captures(left: i64, list: &[(&str, &str, i64)]) -> Event {
    order_as("AUTHORIZED", left, list.iter().map(|(_, _, amount)| amount).sum(), list)
}

/// The order may be as it was before an earlier call with the key: then it has to say why Klarna refuses this one.
#[test]
fn a_capture_is_rejected_only_where_the_order_explains_it() {
    let other = [("b", "parcel-2", 4000)];
    let shows_nothing = |text: &str| answer(200, &[], &format!(r#"{{"order_id":"order",{text}}}"#));
    for (shown, kind) in [
        (order_as("CANCELLED", 10_000, 0, &[]), ErrorKind::Rejected),
        (order_as("EXPIRED", 6000, 4000, &other), ErrorKind::Rejected),
        (order_as("CLOSED", 6000, 4000, &other), ErrorKind::Rejected),
        (order_as("PART_CAPTURED", 5999, 4000, &other), ErrorKind::Rejected),
        (order_as("PART_CAPTURED", 6000, 4000, &other), ErrorKind::OutcomeUnknown),
        (order_as("AUTHORIZED", 10_000, 0, &[]), ErrorKind::OutcomeUnknown),
        // The list lacks a part of what was captured, which may be this capture.
        (order_as("CAPTURED", 0, 10_000, &other), ErrorKind::OutcomeUnknown),
        (order_as("EXPIRED", 0, 10_000, &other), ErrorKind::OutcomeUnknown),
        (shows_nothing(r#""status":"EXPIRED","remaining_authorized_amount":0"#), ErrorKind::OutcomeUnknown),
        (shows_nothing(r#""remaining_authorized_amount":0,"captured_amount":10000"#), ErrorKind::OutcomeUnknown),
        (shows_nothing(r#""remaining_authorized_amount":"0","captured_amount":0"#), ErrorKind::OutcomeUnknown),
        (shows_nothing(r#""remaining_authorized_amount":0,"captured_amount":0"#), ErrorKind::Rejected),
    ] {
        for call in [machine, reconciling] {
            let mut call = call();
            call.learn(KeyState { first_use: FirstUse::Unknown, ..KeyState::FRESH });
            let error = run_of(&mut call, vec![not_allowed(), shown.clone()]).unwrap_err();
            assert_eq!((error.kind(), error.error_code()), (kind, Some("CAPTURE_NOT_ALLOWED")), "{shown:?}");
            assert_eq!(call.request().target(), "/ordermanagement/v1/orders/order");
            let is_settled = call.ending() == Ending::Settled;
            assert_eq!(is_settled, kind == ErrorKind::Rejected, "{shown:?}");
            assert_eq!(error.message().contains("does not rule that out"), !is_settled, "{error}");
            assert_eq!(
                error.message().contains("call again with the same key within 24 hours"),
                !is_settled,
                "{error}"
            );
        }
    }
    // A status that stands twice cannot be believed.
    let twice = || shows_nothing(r#""status":"CANCELLED","captured_amount":0,"status":"AUTHORIZED""#);
    let error = given_to(machine(), vec![not_allowed(), twice(), twice(), twice()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
}

#[test]
fn a_refusal_of_the_orders_state_is_followed_by_a_look() {
    // If a copy of the request arrives late, Klarna refuses it for the same state of the order.
    let error = given_to(machine(), vec![not_allowed(), with_captures(5999, &[])]).unwrap_err();
    assert_eq!((error.kind(), error.error_code()), (ErrorKind::Rejected, Some("CAPTURE_NOT_ALLOWED")));
    let other = [("b", "parcel-2", 6000)];
    let shown = with_captures(0, &other);
    assert_eq!(given_to(machine(), vec![not_allowed(), shown]).unwrap_err().kind(), ErrorKind::Rejected);
    // An earlier process may have sent the key with another amount.
    let other = [("a", "parcel-1", 5999), ("b", "parcel-2", 6000)];
    for call in [machine, reconciling] {
        let error = given_to(call(), vec![not_allowed(), with_captures(0, &other)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
        assert!(error.message().contains("with this reference and another amount (a)"), "{error}");
    }

    let error = given_to(machine(), vec![not_allowed(), with_captures(0, FOUND)]).unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::OutcomeUnknown, 1));
    assert!(error.message().contains("(a)") && error.message().contains("the setting reconcile"), "{error}");
    let reply = given_to(reconciling(), vec![not_allowed(), with_captures(0, FOUND)]).unwrap();
    assert_eq!(reply.created_id(), Some("a"));

    let two = [FOUND[0], ("b", "parcel-1", 6000)];
    for call in [machine, reconciling] {
        let error = given_to(call(), vec![not_allowed(), with_captures(0, &two)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
        let error = given_to(call(), vec![not_allowed(), code(401, "UNAUTHORIZED")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "the look decided nothing");
        assert!(error.message().contains("CAPTURE_NOT_ALLOWED"), "{error}");
    }
}

#[test]
fn without_a_reference_there_is_nothing_to_look_for() {
    let purpose = |call: &Settlement| Purpose { identity: None, ..call.purpose().clone() };
    let call = machine();
    let endpoint = Arc::new(config().endpoint().unwrap());
    let request = endpoint.request(&CAPTURE.method, "/captures", Some("key"), b"{}".to_vec(), Most::ERROR);
    let shared = Shared { endpoint, limits: limits(), budget: Arc::new(Budget::new()) };
    let call = Settlement::new(Machine::new(purpose(&call), request, shared, 7), true);
    let error = given_to(call, vec![not_allowed()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    assert!(error.message().contains("give each later call a reference"), "{error}");
}

fn a_call_to(operation: &'static Operation) -> Settlement {
    call_of(operation, &config(), limits(), &Arc::new(Budget::new()))
}

/// The order with these refunds.
fn order_with(refunds: &str) -> Event {
    answer(200, &[], &format!(r#"{{"order_id":"order","refunds":[{refunds}]}}"#))
}

#[test]
fn an_earlier_refund_without_an_id_is_named_as_such() {
    let refused = || code(403, "REFUND_NOT_ALLOWED");
    let shown = || order_with(r#"{"reference":"parcel-1","refunded_amount":6000}"#);
    let error = given_to(a_call_to(&REFUND), vec![refused(), shown()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    assert!(error.message().contains("has something with this reference and amount (without an id)"), "{error}");
}

#[test]
fn a_look_before_the_call_decides_whether_it_is_made() {
    let first = || machine().looking_first(true);
    let reply = run_of(&mut first(), vec![listed(FOUND)]).unwrap();
    assert_eq!(
        (reply.created_id(), reply.attempts(), reply.warnings().len()),
        (Some("a"), 1, 1 + machine().purpose().warnings.len())
    );
    assert_eq!(run_of(&mut first(), vec![listed(&[]), created()]).unwrap().created_id(), Some("capture"));
    let several = [FOUND, &[("b", "parcel-1", 6000)]].concat();
    let error = run_of(&mut first(), vec![listed(&several)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    for refusal in [code(401, "UNAUTHORIZED"), code(403, "NOT_ALLOWED")] {
        assert_eq!(run_of(&mut first(), vec![refusal]).unwrap_err().kind(), ErrorKind::NotSent);
    }
    let unknown = || code(404, "NO_SUCH_ORDER");
    assert_eq!(run_of(&mut first(), vec![unknown(), unknown()]).unwrap_err().kind(), ErrorKind::Rejected);
}

/// Neither an empty document nor a refund without a reference shows that nothing was done.
#[test]
fn a_document_that_shows_nothing_decides_nothing() {
    for (operation, refusal) in [
        (&REFUND, "REFUND_NOT_ALLOWED"),
        (&CANCEL, "CANCEL_NOT_ALLOWED"),
        (&RELEASE_REMAINING_AUTHORIZATION, "NOT_ALLOWED"),
        (&APPEND_ORDER_SHIPPING_INFO, "NOT_ALLOWED"),
    ] {
        for document in ["{}", r#"{"refunds":[],"status":"AUTHORIZED","shipping_info":[]}"#] {
            let shown = || answer(200, &[], document);
            let events = vec![code(403, refusal), shown(), shown(), shown()];
            let error = given_to(a_call_to(operation), events).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{} {document}", operation.name);
        }
    }
    for nameless in [r#"{"refunded_amount":6000}"#, r#"{"refunded_amount":6000,"reference":""}"#] {
        let shown = || order_with(nameless);
        let events = vec![code(403, "REFUND_NOT_ALLOWED"), shown(), shown(), shown()];
        assert_eq!(given_to(a_call_to(&REFUND), events).unwrap_err().kind(), ErrorKind::OutcomeUnknown, "{nameless}");
    }
}

#[test]
fn a_refusal_that_may_mean_done_before_says_so() {
    for (operation, said, says) in [
        (&CANCEL, "CANCEL_NOT_ALLOWED", "cancelled by this call, though the order may have been cancelled before"),
        (
            &RELEASE_REMAINING_AUTHORIZATION,
            "NOT_ALLOWED",
            "released by this call, though the rest may have been released",
        ),
    ] {
        let refused = |said| run_of(&mut a_call_to(operation), vec![code(403, said)]).unwrap_err();
        assert_eq!(refused(said).kind(), ErrorKind::Rejected);
        assert!(refused(said).message().contains(says), "{}", refused(said));
        assert!(!refused("FORBIDDEN").message().contains("by this call"), "{}", refused("FORBIDDEN"));
    }
}

#[test]
fn an_old_key_comes_with_the_way_out_of_its_operation() {
    for (operation, way) in [
        (&CAPTURE, "search for it (reconcile)"),
        (&REFUND, "search for it (reconcile_refund)"),
        (&CANCEL, "read whether it is done"),
        (&EXTEND_DUE_DATE, "so ask Klarna"),
        (&TRIGGER_SEND_OUT, "so ask Klarna"),
    ] {
        let mut call = a_call_to(operation);
        call.learn(KeyState { is_past: true, is_old: true, ..KeyState::FRESH });
        let Step::Done(Err(error)) = call.step(SECOND, Event::Start) else { panic!("it was sent") };
        assert_eq!((error.kind(), error.attempts()), (ErrorKind::OutcomeUnknown, 0));
        assert!(error.message().contains(way), "{error}");
        assert_eq!(error.message().contains("reconcile"), way.contains("reconcile"), "{error}");
    }
}

#[test]
fn a_key_that_grows_old_during_a_call_is_not_sent_again() {
    let old = || KeyState { is_past: true, ..KeyState::FRESH };
    let mut paused = machine();
    paused.step(SECOND, Event::Start);
    assert!(matches!(paused.step(SECOND, lost()), Step::Wait(_)));
    paused.learn(old());
    let mut answered = machine();
    answered.step(SECOND, Event::Start);
    answered.learn(old());
    let now = 25 * 3600 * SECOND;
    for step in [paused.step(now, Event::Waited), answered.step(now, lost())] {
        let Step::Done(Err(error)) = step else { panic!("it was sent again") };
        assert!(error.message().contains("it was not sent again"), "{error}");
        assert!(!error.retryable());
    }
}

#[test]
fn a_call_that_began_meanwhile_keeps_a_look_from_deciding() {
    let unknown = KeyState { first_use: FirstUse::Unknown, ..KeyState::FRESH };
    let mut call = machine();
    call.learn(unknown.clone());
    call.step(SECOND, Event::Start);
    assert!(matches!(call.step(SECOND, not_allowed()), Step::Send(_)));
    call.learn(KeyState { running: true, ..unknown });
    let Step::Done(Err(error)) = call.step(SECOND, order_as("CANCELLED", 0, 0, &[])) else { panic!() };
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
}

// --- two calls with one key ----------------------------------------------------------------------------------

#[test]
fn a_refusal_does_not_undo_the_doubt_of_a_call_beside_it() {
    let no = || code(422, "UNPROCESSABLE_ENTITY");
    for meanwhile in [
        KeyState { running: true, ..KeyState::FRESH },
        KeyState { doubt: Doubt::Unclear, opened: 1, ..KeyState::FRESH },
    ] {
        let mut call = machine();
        call.step(SECOND, Event::Start);
        call.learn(meanwhile);
        let Step::Done(Err(error)) = call.step(SECOND, no()) else { panic!() };
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
        assert!(!error.message().contains("new idempotency key"), "{error}");
        assert_eq!(call.ending(), Ending::Left(Doubt::Refused));
    }
    // A call that ended open before this attempt was sent had the same bytes.
    let mut call = machine();
    call.learn(KeyState { doubt: Doubt::Unclear, opened: 1, ..KeyState::FRESH });
    assert_eq!(run_of(&mut call, vec![no()]).unwrap_err().kind(), ErrorKind::Rejected);
    assert_eq!(call.ending(), Ending::Settled);
}

// --- a key past its 24 hours ---------------------------------------------------------------------------------

fn old() -> KeyState {
    KeyState { doubt: Doubt::Unclear, is_past: true, is_old: true, ..KeyState::FRESH }
}

#[test]
fn an_old_key_is_never_sent() {
    let mut call = machine();
    call.learn(old());
    let Step::Done(Err(error)) = call.step(SECOND, Event::Start) else { panic!("it was sent") };
    assert_eq!((error.kind(), error.attempts(), error.retryable()), (ErrorKind::OutcomeUnknown, 0, false));
    assert!(error.message().contains("nothing was sent") && error.message().contains("reconcile"), "{error}");
    assert_eq!(call.ending(), Ending::Left(Doubt::Untouched));
}

#[test]
fn an_old_key_is_looked_for_where_the_setting_allows() {
    let look = |list: &[(&str, &str, i64)]| {
        let mut call = reconciling();
        call.learn(old());
        assert!(matches!(call.step(SECOND, Event::Start), Step::Send(_)));
        assert_eq!(call.request().method, Method::GET);
        let Step::Done(result) = call.step(SECOND, listed(list)) else { panic!() };
        result
    };
    let reply = look(FOUND).unwrap();
    assert_eq!((reply.created_id(), reply.attempts()), (Some("a"), 0));
    let error = look(&[]).unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::OutcomeUnknown, 0));
}

#[test]
fn a_key_that_grows_old_is_not_retried() {
    let mut call = machine();
    call.step(SECOND, Event::Start);
    call.learn(KeyState { is_past: true, ..KeyState::FRESH });
    let Step::Done(Err(error)) = call.step(SECOND, lost()) else { panic!("it was sent again") };
    assert!(error.message().contains("24 hours"), "{error}");
}

#[test]
fn a_capture_of_long_ago_is_remembered() {
    let mut call = machine();
    call.learn(KeyState { doubt: Doubt::Done("a".into()), ..old() });
    let Step::Done(Ok(reply)) = call.step(SECOND, Event::Start) else { panic!("it was sent") };
    assert_eq!((reply.created_id(), reply.attempts()), (Some("a"), 0));
    assert!(reply.warnings()[1].contains("nothing was sent now"), "{reply:?}");
}

// --- rows of other kinds -------------------------------------------------------------------------------------

static SETTER: Operation = Operation {
    name: "set",
    method: Method::PATCH,
    reply: ReplyKind::Nothing,
    face: &CONFIRMATION,
    key_word: "set",
    nouns: Nouns { call: "the change", done: "changed", subject: "", before: None },
    found_by: FoundBy::Nothing,
    of_state: &[(403, "NOT_ALLOWED")],
    doc: CAPTURE.doc,
    path: "/set",
    arguments: CAPTURE.arguments,
    effect: Effect::Writes,
    settles: CAPTURE.settles,
};

static DOCUMENT_ROW: Operation = Operation {
    name: "get",
    method: Method::GET,
    reply: ReplyKind::Document { id: Some("order_id") },
    face: &Order::FACE,
    effect: Effect::Reads,
    nouns: Nouns { call: "the reading", done: "read", subject: "the document", before: None },
    settles: &[],
    of_state: &[],
    found_by: FoundBy::Nothing,
    key_word: "",
    doc: CAPTURE.doc,
    path: "",
    arguments: CAPTURE.arguments,
};

fn of(operation: &'static Operation, events: Vec<Event>) -> Result<Reply, Error> {
    run_of(&mut call_of(operation, &config(), limits(), &Arc::new(Budget::new())), events)
}

#[test]
fn a_call_that_returns_nothing_accepts_204_alone() {
    let reply = of(&SETTER, vec![answer(204, &[], "")]).unwrap();
    assert_eq!((reply.operation(), reply.outcome(), reply.created_id()), ("set", "changed", None));
    for status in [200, 201, 202, 206] {
        let again = || answer(status, &[], "");
        let error = of(&SETTER, vec![again(), again(), again()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{status}");
        assert!(error.message().starts_with("order order may have been changed"), "{error}");
    }
}

#[test]
fn a_reading_call_ends_as_its_last_attempt_ended() {
    let reply = of(&DOCUMENT_ROW, vec![answer(200, &[], r#" {"order_id":"order"}"#)]).unwrap();
    assert!(reply.to_json().contains(r#""raw":" {\"order_id\":\"order\"}""#), "{}", reply.to_json());
    assert_eq!(of(&DOCUMENT_ROW, vec![code(404, "NO_SUCH_ORDER")]).unwrap_err().kind(), ErrorKind::Rejected);
    assert_eq!(of(&DOCUMENT_ROW, vec![lost(), code(401, "X")]).unwrap_err().kind(), ErrorKind::Rejected);
    assert_eq!(of(&DOCUMENT_ROW, vec![not_sent(); 3]).unwrap_err().kind(), ErrorKind::NotSent);
    let error = of(&DOCUMENT_ROW, vec![lost(); 3]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    assert!(error.message().starts_with("the document of order order could not be read"), "{error}");
    for nonsense in ["", "[]", "<html>", "{", "{} {}", "null"] {
        assert!(of(&DOCUMENT_ROW, vec![answer(200, &[], nonsense); 3]).is_err(), "{nonsense}");
    }
    assert!(of(&DOCUMENT_ROW, vec![answer(206, &[], "{}"); 3]).is_err());
}
