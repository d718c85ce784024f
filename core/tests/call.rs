//! A call that its host sends: events in, steps and requests out, and the memory of its key.

use std::time::Duration;

use serde_json::{Value, json};
use takings::{
    Answer, Attempt, Call, Capture, CaptureRequest, Client, Config, Credentials, ErrorKind, Event, Found, Options,
    Reconciliation, Reply, Step,
};

const ORDER: &str = "f3392f8b-6116-4073-ab96-e330819e2c07";

fn config() -> Config {
    Config::at("https://klarna.example/gateway", Credentials::basic("PK0000_0a1b2c", "a-long-password"))
}

fn prepared(client: &Client, key: &str) -> Call {
    client.prepare(ORDER, &CaptureRequest::new(6000), Some(key)).unwrap().first_use()
}

/// A call of that key that is on its way.
fn prepared_and_sent(client: &Client, key: &str) -> Call {
    let mut call = prepared(client, key);
    sent(call.step(Event::Start));
    call
}

/// A capture's reply by its typed face.
fn capture(step: Step) -> Capture {
    done(step).unwrap().try_into().unwrap()
}

fn captured(id: &str) -> Event {
    Event::Answered(Answer::new(201, [("capture-id", id)], Vec::new()))
}

fn refused(status: u16, body: &Value) -> Event {
    let headers = [("Klarna-Correlation-Id", "c0ffee")];
    Event::Answered(Answer::new(status, headers, body.to_string().into_bytes()))
}

fn sent(step: Step) -> Duration {
    match step {
        Step::Send(timeout) => timeout,
        _ => panic!("not Send"),
    }
}

fn waited(step: Step) -> Duration {
    match step {
        Step::Wait(pause) => pause,
        _ => panic!("not Wait"),
    }
}

fn done(step: Step) -> Result<Reply, takings::Error> {
    match step {
        Step::Done(result) => result,
        _ => panic!("not Done"),
    }
}

#[test]
fn a_host_sends_what_it_is_given() {
    let client = Client::new(config()).unwrap();
    let mut call = prepared(&client, "a-key");
    assert_eq!(sent(call.step(Event::Start)), Duration::from_secs(10));
    assert_eq!(call.connect_timeout(), Duration::from_secs(5));
    let left = call.time_left();
    assert!(left <= Duration::from_secs(10) && left > Duration::from_secs(5), "{left:?}");
    let request = call.request();
    assert_eq!(request.method(), "POST");
    assert_eq!(request.url(), format!("https://klarna.example/gateway/ordermanagement/v1/orders/{ORDER}/captures"));
    assert_eq!(serde_json::from_slice::<Value>(request.body()).unwrap(), json!({"captured_amount": 6000}));
    let header = |name: &str| request.headers().find(|(other, _)| *other == name).map(|(_, value)| value.to_owned());
    assert_eq!(header("klarna-idempotency-key").as_deref(), Some("a-key"));
    assert_eq!(header("authorization").as_deref(), Some("Basic UEswMDAwXzBhMWIyYzphLWxvbmctcGFzc3dvcmQ="));
    assert_eq!(header("content-type").as_deref(), Some("application/json"));
    let shown = format!("{request:?} {call:?}");
    assert!(!shown.contains("UEsw") && !shown.contains("captured_amount"), "{shown}");

    let capture = capture(call.step(captured("id-1")));
    assert_eq!(call.time_left(), Duration::ZERO);
    assert_eq!((capture.capture_id(), capture.idempotency_key(), capture.attempts()), ("id-1", "a-key", 1));
}

#[test]
fn every_attempt_is_noted() {
    let client = Client::new(config()).unwrap();
    let mut call = prepared(&client, "a-key");
    sent(call.step(Event::Start));
    let pause = waited(call.step(Event::NotSent("no connection: a-long-password\u{1b}[31m".into())));
    assert_eq!(call.attempt_log()[0].wait(), Some(pause));
    sent(call.step(Event::Waited));
    let lost = json!({"error_code": "INTERNAL\n_ERROR", "error_messages": ["a-long-password"]});
    waited(call.step(refused(503, &lost)));
    sent(call.step(Event::Waited));
    let capture = capture(call.step(captured("id-1")));

    let told: Vec<_> = capture.attempt_log().iter().map(Attempt::came_back).collect();
    assert_eq!(told, ["not_sent: no connection: [hidden] [31m", "503 INTERNAL _ERROR", "201"]);
    let [first, second, third] = capture.attempt_log() else { panic!("three attempts") };
    assert!(first.sent().starts_with("POST https://klarna.example/gateway/"), "{first:?}");
    assert_eq!((first.http_status(), first.error_code()), (None, None));
    assert_eq!((second.http_status(), second.correlation_id()), (Some(503), Some("c0ffee")));
    assert_eq!((third.http_status(), third.wait()), (Some(201), None));
    assert!(first.started() <= second.started() && second.started() <= third.started());
    assert_eq!(capture.attempts(), 3);
}

#[test]
fn an_attempt_says_how_long_klarna_asked_to_wait() {
    let mut once = config();
    once.max_attempts = 1;
    let client = Client::new(once).unwrap();
    let asked = |status, header: (&str, &str)| {
        let mut call = prepared(&client, "a-key");
        sent(call.step(Event::Start));
        let headers = vec![(header.0.to_owned(), header.1.as_bytes().to_vec())];
        let error = done(call.step(Event::Answered(Answer::new(status, headers, Vec::new())))).unwrap_err();
        error.attempt_log()[0].asked_to_wait()
    };
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(asked(429, ("Retry-After", "17")), seconds(17));
    assert_eq!(asked(429, ("X-Ratelimit-Reset", "3")), seconds(3));
    assert_eq!(asked(503, ("Retry-After", "60")), seconds(60));
    assert_eq!(asked(503, ("X-Ratelimit-Reset", "3")), None, "no limit was met");
    assert_eq!(asked(429, ("Retry-After", "soon")), None);
}

#[test]
fn an_error_has_its_attempts_too() {
    let client = Client::new(config()).unwrap();
    let mut call = prepared(&client, "a-key");
    sent(call.step(Event::Start));
    let error = done(call.step(refused(404, &json!({"error_code": "NO_SUCH_ORDER"})))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    let [attempt] = error.attempt_log() else { panic!("one attempt") };
    assert_eq!((attempt.came_back(), attempt.error_code()), ("404 NO_SUCH_ORDER", Some("NO_SUCH_ORDER")));
}

#[test]
fn a_look_is_driven_the_same_way() {
    let client = Client::new(config()).unwrap();
    let mut look = client.prepare_reconcile(ORDER, "parcel-1", 6000).unwrap();
    assert_eq!(look.idempotency_key(), None);
    sent(look.step(Event::Start));
    assert_eq!((look.request().method(), look.request().body()), ("GET", &b""[..]));
    let list = json!([{"capture_id": "id-1", "reference": "parcel-1", "captured_amount": 6000}]);
    let found: Reconciliation = done(look.step(refused(200, &list))).unwrap().try_into().unwrap();
    assert_eq!((found.found(), found.capture_id()), (Found::Once, Some("id-1")));
    assert_eq!(found.attempt_log().len(), 1);
}

#[test]
fn with_reconcile_the_request_changes() {
    let mut config = config();
    config.reconcile = true;
    config.max_attempts = 1;
    let mut request = CaptureRequest::new(6000);
    request.reference = Some("parcel-1".into());
    let client = Client::new(config).unwrap();
    let mut call = client.prepare(ORDER, &request, None).unwrap();
    sent(call.step(Event::Start));
    sent(call.step(Event::MaybeSent("no answer".into())));
    assert_eq!(call.request().method(), "GET");
    let list = json!([{"capture_id": "id-1", "reference": "parcel-1", "captured_amount": 6000}]);
    let capture = capture(call.step(refused(200, &list)));
    assert_eq!(capture.capture_id(), "id-1");
    let told: Vec<_> =
        capture.attempt_log().iter().map(|attempt| (&attempt.sent()[..4], attempt.came_back())).collect();
    assert_eq!(told, [("POST", "no answer"), ("GET ", "200")]);
}

#[test]
fn an_event_out_of_turn_loses_nothing() {
    let client = Client::new(config()).unwrap();
    let mut call = prepared(&client, "a-key");
    let error = done(call.step(captured("id-1"))).unwrap_err();
    assert_eq!((error.kind(), error.attempts(), error.retryable()), (ErrorKind::Internal, 0, false));

    let mut call = prepared(&client, "a-key");
    sent(call.step(Event::Start));
    let error = done(call.step(Event::Waited)).unwrap_err();
    assert_eq!((error.kind(), error.attempts(), error.retryable()), (ErrorKind::Internal, 1, true));
    assert_eq!(error.idempotency_key(), Some("a-key"));
    // and once more after the end
    assert!(done(call.step(captured("id-1"))).is_err());
}

#[test]
fn one_that_is_dropped_before_it_began_frees_its_key() {
    let client = Client::new(config()).unwrap();
    drop(prepared(&client, "a-key"));
    client.prepare("another order", &CaptureRequest::new(1), Some("a-key")).expect("nothing was sent with it");
}

#[test]
fn one_that_is_dropped_on_its_way_keeps_its_key() {
    let client = Client::new(config()).unwrap();
    let mut call = prepared(&client, "a-key");
    sent(call.step(Event::Start));
    drop(call);
    let error = client.prepare("another order", &CaptureRequest::new(1), Some("a-key")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    // A refusal that is not about the lost request leaves that one unknown.
    let mut again = prepared(&client, "a-key");
    sent(again.step(Event::Start));
    let error = done(again.step(refused(401, &json!({})))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
}

#[test]
fn calls_with_one_key_at_a_time_speak_for_each_other() {
    let begun = |client: &Client| {
        let mut call = prepared(client, "a-key");
        sent(call.step(Event::Start));
        call
    };
    // The other call is refused for a capture that this one may have made.
    let in_use = || refused(403, &json!({"error_code": "CAPTURE_NOT_ALLOWED"}));
    let client = Client::new(config()).unwrap();
    let (mut first, second) = (begun(&client), begun(&client));
    assert_eq!(done(first.step(in_use())).unwrap_err().kind(), ErrorKind::OutcomeUnknown, "the other one runs");
    drop(second);
    assert_eq!(done(begun(&client).step(in_use())).unwrap_err().kind(), ErrorKind::OutcomeUnknown, "and was given up");

    let client = Client::new(config()).unwrap();
    let (mut first, mut second) = (begun(&client), begun(&client));
    done(second.step(captured("id-1"))).unwrap();
    drop(second);
    let error = done(first.step(refused(401, &json!({})))).unwrap_err();
    assert_eq!((error.kind(), error.retryable()), (ErrorKind::OutcomeUnknown, true));

    // A call that reached nobody, or never began, leaves the other call as clear as it was, now and later.
    let mut config = config();
    config.max_attempts = 1;
    let client = Client::new(config).unwrap();
    let (mut first, mut second) = (begun(&client), begun(&client));
    assert_eq!(done(second.step(Event::NotSent("no way".into()))).unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    assert_eq!(done(first.step(refused(401, &json!({})))).unwrap_err().kind(), ErrorKind::Rejected);
    let (mut first, mut second) = (begun(&client), begun(&client));
    assert_eq!(done(second.step(Event::NotSent("no way".into()))).unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    assert_eq!(done(first.step(Event::NotSent("no way".into()))).unwrap_err().kind(), ErrorKind::NotSent);
    assert_eq!(done(begun(&client).step(in_use())).unwrap_err().kind(), ErrorKind::Rejected);
    let client = Client::new(self::config()).unwrap();
    let unused = prepared(&client, "a-key");
    drop(unused);
    assert_eq!(done(begun(&client).step(in_use())).unwrap_err().kind(), ErrorKind::Rejected);
}

#[test]
fn a_refusal_does_not_undo_a_capture() {
    let client = Client::new(config()).unwrap();
    let mut first = prepared(&client, "a-key");
    sent(first.step(Event::Start));
    done(first.step(captured("id-1"))).unwrap();
    for (status, code) in [(404, "NO_SUCH_ORDER"), (422, "UNPROCESSABLE_ENTITY"), (401, "UNAUTHORIZED")] {
        let mut again = prepared(&client, "a-key");
        sent(again.step(Event::Start));
        let error = done(again.step(refused(status, &json!({"error_code": code})))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
    }
    let mut again = prepared(&client, "a-key");
    sent(again.step(Event::Start));
    assert_eq!(done(again.step(captured("id-1"))).unwrap().warnings(), [""; 0]);
    let mut again = prepared(&client, "a-key");
    sent(again.step(Event::Start));
    let other = done(again.step(captured("id-2"))).unwrap();
    assert!(other.warnings()[0].contains("may have been captured twice"), "{other:?}");
}

#[test]
fn the_budget_for_retries_is_the_clients() {
    let client = Client::new(config()).unwrap();
    let is_used_up = |n: usize| {
        let mut call = prepared(&client, &format!("key-{n}"));
        sent(call.step(Event::Start));
        match call.step(Event::MaybeSent("no answer".into())) {
            Step::Done(Err(error)) => error.message().contains("budget for retries is used up"),
            _ => false,
        }
    };
    assert!((0..500).any(is_used_up));
}

#[test]
fn pauses_differ_from_call_to_call() {
    let client = Client::new(config()).unwrap();
    let pause = |n: usize| {
        let mut call = prepared(&client, &format!("key-{n}"));
        sent(call.step(Event::Start));
        waited(call.step(Event::MaybeSent("no answer".into())))
    };
    let pauses: std::collections::HashSet<Duration> = (0..8).map(pause).collect();
    assert!(pauses.len() > 1, "{pauses:?}");
}

#[test]
fn an_answer_to_another_key_is_not_believed() {
    let client = Client::new(config()).unwrap();
    let mut first = prepared(&client, "key-1");
    sent(first.step(Event::Start));
    done(first.step(captured("id-1"))).unwrap();
    let mut second = prepared(&client, "key-2");
    sent(second.step(Event::Start));
    assert_eq!(done(second.step(captured("id-1"))).unwrap_err().kind(), ErrorKind::OutcomeUnknown);
}

#[test]
fn a_long_answer_is_read_as_far_as_it_is_worth() {
    let client = Client::new(config()).unwrap();
    let mut call = prepared(&client, "a-key");
    sent(call.step(Event::Start));
    assert_eq!(call.request().most_answer(), 256 * 1024);
    // The code stands beyond what is read, so it is not known.
    let body = format!("{{\"error_messages\": [\"{}\"], \"error_code\": \"BAD_VALUE\"}}", "x".repeat(256 * 1024));
    let error = done(call.step(Event::Answered(Answer::new(400, [("a", "b")], body.clone().into())))).unwrap_err();
    assert_eq!((error.kind(), error.error_code()), (ErrorKind::Rejected, None));

    // In a look-up the list may be long, an error body may not.
    let mut look = client.prepare_reconcile(ORDER, "parcel-1", 6000).unwrap();
    sent(look.step(Event::Start));
    assert_eq!(look.request().most_answer(), 16 * 1024 * 1024);
    let error = done(look.step(Event::Answered(Answer::new(400, [("a", "b")], body.into())))).unwrap_err();
    assert_eq!(error.error_code(), None);
}

#[test]
fn a_client_can_be_sent_by_itself() {
    // No server listens on port 1, so the connection fails before anything leaves.
    let mut config = Config::at("http://127.0.0.1:1", Credentials::basic("user", "a-long-password"));
    config.max_attempts = 2;
    config.backoff = Duration::from_millis(1);
    let call = prepared(&Client::new(config).unwrap(), "a-key");
    let mut told = Vec::new();
    let error = call.send_and_tell(|attempt| told.push(attempt.clone())).unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::NotSent, 2));
    assert_eq!(error.attempt_log(), told);
    assert!(told[0].wait().is_some() && told[1].wait().is_none());
}

#[test]
fn a_panic_of_the_listener_is_an_error() {
    let config = Config::at("http://127.0.0.1:1", Credentials::basic("user", "a-long-password"));
    let call = prepared(&Client::new(config).unwrap(), "a-key");
    let error = call.send_and_tell(|_| panic!("for this test")).unwrap_err();
    assert_eq!((error.kind(), error.idempotency_key()), (ErrorKind::Internal, Some("a-key")));
}

// --- what is known of a key that the caller gave --------------------------------------------------------------

/// A capture whose caller says nothing of the key's first use.
fn given(client: &Client, arguments: &str) -> Call {
    client.prepare_call("capture", ORDER, arguments, Some("a-key")).unwrap()
}

fn ended(mut call: Call, event: Event) -> Result<Reply, takings::Error> {
    sent(call.step(Event::Start));
    done(call.step(event))
}

#[test]
fn another_process_may_have_captured_with_a_given_key() {
    // The first process loses its answer; the second one meets a refusal with the same derived key.
    let first = Client::new(config()).unwrap();
    let mut call = given(&first, r#"{"captured_amount": 6000}"#);
    sent(call.step(Event::Start));
    drop(call);
    for (status, body) in [(401, json!({"error_code": "UNAUTHORIZED"})), (403, json!({})), (415, json!({}))] {
        let second = Client::new(config()).unwrap();
        let error = ended(given(&second, r#"{"captured_amount": 6000}"#), refused(status, &body)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
        assert!(!error.message().contains("new idempotency key"), "{error}");
        // A second call of the same process does not make it clear either.
        let error = ended(given(&second, r#"{"captured_amount": 6000}"#), refused(status, &body)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
    }
}

#[test]
fn a_caller_who_knows_the_first_use_gets_the_sharp_word() {
    let no = || refused(401, &json!({"error_code": "UNAUTHORIZED"}));
    let client = Client::new(config()).unwrap();
    let error = ended(given(&client, r#"{"captured_amount": 6000, "first_use": true}"#), no()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    let client = Client::new(config()).unwrap();
    let made = client.prepare(ORDER, &CaptureRequest::new(6000), None).unwrap();
    let error = ended(made, no()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected, "a key that takings made");
    let key = error.idempotency_key().unwrap();
    let again = client.prepare(ORDER, &CaptureRequest::new(6000), Some(key)).unwrap();
    assert_eq!(ended(again, no()).unwrap_err().kind(), ErrorKind::OutcomeUnknown, "others have had it since");
    // A refusal for the bytes of a request holds for every earlier use of the key as well.
    let client = Client::new(config()).unwrap();
    let settled = refused(422, &json!({"error_code": "UNPROCESSABLE_ENTITY"}));
    assert_eq!(ended(given(&client, r#"{"captured_amount": 6000}"#), settled).unwrap_err().kind(), ErrorKind::Rejected);
    let error = ended(given(&client, r#"{"captured_amount": 6000}"#), no()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "another process may have captured since");
    // The word is one of that call: another process may have captured since.
    let client = Client::new(config()).unwrap();
    for (arguments, kind) in [
        (r#"{"captured_amount": 6000, "first_use": true}"#, ErrorKind::Rejected),
        (r#"{"captured_amount": 6000}"#, ErrorKind::OutcomeUnknown),
    ] {
        assert_eq!(ended(given(&client, arguments), no()).unwrap_err().kind(), kind, "{arguments}");
    }
}

#[test]
fn a_caller_who_knows_of_an_unclear_call_elsewhere_gets_no_sharp_word() {
    let call = |client: &Client| given(client, r#"{"captured_amount": 6000}"#).after_unclear();
    for (event, kind) in [
        (refused(403, &json!({"error_code": "CAPTURE_NOT_ALLOWED"})), ErrorKind::OutcomeUnknown),
        (refused(401, &json!({})), ErrorKind::OutcomeUnknown),
        (refused(429, &json!({})), ErrorKind::OutcomeUnknown),
        (Event::NotSent("no route".into()), ErrorKind::OutcomeUnknown),
        // The bytes were the same elsewhere.
        (refused(400, &json!({"error_code": "BAD_VALUE"})), ErrorKind::Rejected),
    ] {
        let mut once = config();
        once.max_attempts = 1;
        let client = Client::new(once).unwrap();
        // Not even the caller's other word makes it sharper.
        let told = call(&client).first_use();
        let error = ended(told, event).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    let client = Client::new(config()).unwrap();
    capture(Step::Done(ended(call(&client), captured("id-1"))));
    // The doubt is of that call alone: nothing was sent by this client, so the key is free for another.
    let client = Client::new(config()).unwrap();
    drop(call(&client));
    assert!(client.prepare(ORDER, &CaptureRequest::new(1), Some("key-1")).is_ok());
}

#[test]
fn a_word_on_the_first_use_comes_before_it() {
    let client = Client::new(config()).unwrap();
    let mut call = given(&client, r#"{"captured_amount": 6000}"#);
    sent(call.step(Event::Start));
    let mut call = call.first_use();
    let error = done(call.step(refused(401, &json!({})))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
}

#[test]
fn an_answer_that_is_not_believed_leaves_its_key_in_doubt() {
    let client = Client::new(config()).unwrap();
    capture(prepared_and_sent(&client, "key-1").step(captured("id-1")));
    let mut second = prepared_and_sent(&client, "key-2");
    assert_eq!(done(second.step(captured("id-1"))).unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    // Klarna's refusal of the bytes decides it, as it decides any doubt.
    let mut again = prepared_and_sent(&client, "key-2");
    let error = done(again.step(refused(422, &json!({"error_code": "UNPROCESSABLE_ENTITY"})))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
}

#[test]
fn a_key_in_doubt_is_not_to_be_replaced() {
    let mut config = config();
    config.max_attempts = 1;
    let client = Client::new(config).unwrap();
    let mut call = prepared_and_sent(&client, "a-key");
    assert_eq!(done(call.step(Event::MaybeSent("lost".into()))).unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    let error = client.prepare(ORDER, &CaptureRequest::new(1), Some("a-key")).unwrap_err();
    assert!(error.message().contains("settle that one first"), "{error}");
    capture(prepared_and_sent(&client, "b-key").step(captured("id-1")));
    let error = client.prepare(ORDER, &CaptureRequest::new(1), Some("b-key")).unwrap_err();
    assert!(error.message().contains("use another key"), "{error}");
}

#[test]
fn a_call_that_is_given_up_leaves_what_it_did() {
    let client = Client::new(config()).unwrap();
    let mut call = prepared_and_sent(&client, "a-key");
    waited(call.step(Event::NotSent("no connection".into())));
    drop(call);
    client.prepare(ORDER, &CaptureRequest::new(1), Some("a-key")).expect("nothing was sent with the key");
    // A call that is only looking has no capture on its way.
    let state = || refused(403, &json!({"error_code": "CAPTURE_NOT_ALLOWED"}));
    for _ in 0..2 {
        let mut call = given(&client, r#"{"captured_amount": 6000, "reference": "parcel-1"}"#);
        sent(call.step(Event::Start));
        sent(call.step(state()));
        assert_eq!(call.request().method(), "GET");
    }
}

#[test]
fn a_key_of_yesterday_is_not_sent() {
    let client = Client::new(config()).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let hours = |hours: u64| format!(r#"{{"captured_amount": 6000, "first_used": {}}}"#, now - hours * 3600);
    let error = done(given(&client, &hours(25)).step(Event::Start)).unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::OutcomeUnknown, 0));
    let yesterday = std::time::SystemTime::now() - Duration::from_secs(25 * 3600);
    let mut call = client.prepare(ORDER, &CaptureRequest::new(1), Some("b-key")).unwrap().first_used(yesterday);
    assert_eq!(done(call.step(Event::Start)).unwrap_err().attempts(), 0);
    let error = done(given(&client, r#"{"captured_amount": 6000}"#).step(Event::Start)).unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::OutcomeUnknown, 0), "its age is kept");
    let client = Client::new(config()).unwrap();
    sent(given(&client, &hours(23)).step(Event::Start));
    let error = ended(given(&client, &hours(23)), refused(401, &json!({}))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "its first use was another one");
}

#[test]
fn the_options_of_a_call_are_read_strictly() {
    let client = Client::new(config()).unwrap();
    for (arguments, message) in [
        (r#"{"captured_amount": 1, "first_use": 1}"#, "first_use is a number; it must be true or false"),
        (r#"{"captured_amount": 1, "first_used": "now"}"#, "first_used is a string; it must be a whole number"),
        (r#"{"captured_amount": 1, "first_used": 1790000000000}"#, "first_used is 1790000000000; it must be"),
        (r#"{"captured_amount": 1, "first_used": 5, "first_use": true}"#, "first_use and first_used are both given"),
        (
            r#"{"captured_amount": 1, "first_usee": true}"#,
            "first_usee is not a field of a capture request; did you mean",
        ),
        (r#"{"captured_amount": 1, "first_use": true, "first_use": true}"#, "first_use is given twice"),
    ] {
        let error = client.prepare_call("capture", ORDER, arguments, Some("a-key")).unwrap_err();
        assert!(error.message().starts_with(message), "{error}");
        assert_eq!(error.idempotency_key(), Some("a-key"));
    }
    let error = client.prepare_call("captur", ORDER, "{}", None).unwrap_err();
    assert_eq!(error.message(), "operation is \"captur\", which is not known; did you mean \"capture\"?");
    let look = r#"{"reference": "parcel-1", "captured_amount": 6000}"#;
    let error = client.prepare_call("reconcile", ORDER, look, Some("a-key")).unwrap_err();
    assert!(error.message().starts_with("idempotency_key is given to reconcile"), "{error}");
    let with_option = r#"{"reference": "parcel-1", "captured_amount": 6000, "first_use": true}"#;
    let error = client.prepare_call("reconcile", ORDER, with_option, None).unwrap_err();
    assert!(error.message().starts_with("first_use is given to reconcile"), "{error}");
    let error = client.prepare_call("capture", ORDER, r#"{"captured_amount": 1, "first_used": 1}"#, None).unwrap_err();
    assert!(error.message().starts_with("first_used is given without an idempotency key"), "{error}");
    let mut call = client.prepare_call("reconcile", ORDER, look, None).unwrap();
    sent(call.step(Event::Start));
    let reply = done(call.step(refused(200, &json!([])))).unwrap();
    assert!(reply.to_json().starts_with(r#"{"attempt_log":[{"#) && reply.to_json().contains(r#""found":"never""#));
    assert!(matches!(call.step(Event::Waited), Step::Done(Ok(again)) if again == reply), "the end stays");
}

#[test]
fn a_refusal_of_the_orders_state_is_looked_into() {
    let client = Client::new(config()).unwrap();
    let no = || refused(403, &json!({"error_code": "CAPTURE_NOT_ALLOWED"}));
    let with_reference = r#"{"captured_amount": 6000, "reference": "parcel-1"}"#;
    let mut call = given(&client, with_reference);
    sent(call.step(Event::Start));
    sent(call.step(no()));
    assert_eq!((call.request().method(), call.request().body()), ("GET", &b""[..]));
    let order = json!({"order_id": ORDER, "status": "EXPIRED", "captured_amount": 0, "captures": []});
    let error = done(call.step(refused(200, &order))).unwrap_err();
    assert_eq!((error.kind(), error.attempt_log().len()), (ErrorKind::Rejected, 2));
    let client = Client::new(config()).unwrap();
    let error = ended(given(&client, r#"{"captured_amount": 6000}"#), no()).unwrap_err();
    assert!(error.message().contains("give each later call a reference"), "{error}");
}

#[test]
fn a_client_with_options_has_limits_of_its_own_and_the_memory_of_the_other() {
    let client = Client::new(config()).unwrap();
    let options = Options::default().timeout(Duration::from_secs(2)).max_attempts(1);
    let quick = client.with_options(options).unwrap();
    let mut call = prepared(&quick, "a");
    assert!(sent(call.step(Event::Start)) <= Duration::from_secs(2));
    assert_eq!(call.connect_timeout(), Duration::from_secs(1));
    let error = done(call.step(Event::NotSent("refused".into()))).unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::NotSent, 1));
    assert!(sent(prepared(&client, "b").step(Event::Start)) > Duration::from_secs(2));
    // An option counts above those of the client, and leaves the others as they are.
    let slower = quick.with_options(Options::default().timeout(Duration::from_secs(7))).unwrap();
    let mut call = prepared(&slower, "c");
    assert!(sent(call.step(Event::Start)) > Duration::from_secs(2));
    let error = done(call.step(Event::MaybeSent("lost".into()))).unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::OutcomeUnknown, 1));
    // The key stands for a capture of 6000, whichever of the clients is asked.
    for other in [&client, &quick] {
        let error = other.prepare(ORDER, &CaptureRequest::new(1), Some("c")).unwrap_err();
        assert!(error.message().contains("was used for another capture"), "{error}");
    }
}

#[test]
fn options_are_checked_as_the_settings_are() {
    let client = Client::new(config()).unwrap();
    for (options, says) in [
        (json!({"timeout_ms": 0}), "timeout_ms is 0; it must be a whole number from 1 to 86400000 (milliseconds)"),
        (json!({"max_attempts": 21}), "max_attempts is 21; it must be a whole number from 1 to 20 (requests)"),
    ] {
        let error = client.with_options_json(&options.to_string()).unwrap_err();
        assert_eq!(error.message(), says);
        let mut arguments = options.as_object().unwrap().clone();
        let read = client.prepare_call("get_order", ORDER, &options.to_string(), None).unwrap_err();
        arguments.insert("captured_amount".into(), 1.into());
        let capture = client.prepare_json(ORDER, &json!(arguments).to_string(), None).unwrap_err();
        assert_eq!((read.message(), capture.message()), (says, says));
    }
    let error = client.with_options_json(r#"{"timeout": 1}"#).unwrap_err();
    assert!(error.message().ends_with("did you mean timeout_ms?"), "{error}");
    let none = Options::default().timeout(Duration::ZERO);
    assert!(client.with_options(none).unwrap_err().message().starts_with("timeout is 0"));
}

#[test]
fn a_call_may_have_limits_of_its_own() {
    let client = Client::new(config()).unwrap();
    let request = r#"{"captured_amount": 6000, "timeout_ms": 2000, "max_attempts": 1}"#;
    let mut call = client.prepare_json(ORDER, request, None).unwrap();
    assert!(sent(call.step(Event::Start)) <= Duration::from_secs(2));
    assert_eq!(call.request().body(), br#"{"captured_amount":6000}"#);
    assert_eq!(done(call.step(Event::MaybeSent("lost".into()))).unwrap_err().attempts(), 1);
    let mut read = client.prepare_call("get_order", ORDER, r#"{"timeout_ms": 2000}"#, None).unwrap();
    assert!(sent(read.step(Event::Start)) <= Duration::from_secs(2));
}

#[test]
fn shipping_info_of_a_capture_and_of_the_order_name_each_other() {
    let client = Client::new(config()).unwrap();
    let refused = |operation, arguments| client.prepare_call(operation, ORDER, arguments, None).unwrap_err();
    let error = refused("append_shipping_info", r#"{"shipping_info": []}"#);
    assert!(error.message().starts_with("capture_id is missing"), "{error}");
    assert!(error.message().ends_with("for the order as a whole there is append_order_shipping_info"), "{error}");
    let error = refused("append_order_shipping_info", r#"{"capture_id": "c", "shipping_info": []}"#);
    assert!(error.message().starts_with("capture_id is not a field"), "{error}");
    assert!(error.message().ends_with("for one capture there is append_shipping_info"), "{error}");
}
