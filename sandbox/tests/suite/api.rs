//! Behaviour that the stand-in shares with Klarna.

use super::client::{CREDENTIALS, Client, End};
use super::{CAPTURES, capture, eventually, sandbox, sandbox_with};
use std::time::Duration;
use takings_sandbox::{Fault, NewOrder, Options, OrderStatus, Sandbox, When};

const JSON: &str = "Content-Type: application/json";
const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn a_capture_is_201_with_its_id_and_no_body() {
    let sandbox = sandbox();
    let reply = capture(&sandbox, "k");
    let id = reply.id();
    assert_eq!(reply.body, "");
    assert_eq!(reply.header("Content-Length"), Some("0"));
    let location = format!("{}{CAPTURES}/{id}", sandbox.url());
    assert_eq!(reply.header("Location"), Some(location.as_str()));
    assert_eq!(reply.header("Content-Type"), None);
    let ids = ["Klarna-Correlation-Id", "Transaction-Id"].map(|name| reply.header(name).expect(name));
    assert!(ids[0] != ids[1] && ids.iter().all(|id| id.len() == 36), "{ids:?}");
    assert!(reply.header("Date").is_some_and(|date| date.ends_with(" GMT")));
    assert_eq!(reply.header("X-Ratelimit-Limit"), Some("200, 200;w=1"));
    assert_eq!(reply.header("X-Ratelimit-Reset"), Some("1"));
    let remaining: u32 = reply.header("X-Ratelimit-Remaining").unwrap().parse().unwrap();
    assert!(remaining < 200);

    let ledger = sandbox.ledger();
    assert_eq!(ledger.len(), 1);
    let entry = &ledger[0];
    assert_eq!((entry.order_id.as_str(), entry.capture_id.as_str()), ("o", id));
    assert_eq!((entry.captured_amount, entry.request_number), (100, 1));
    assert_eq!(entry.idempotency_key.as_deref(), Some("k"));
}

#[test]
fn reads_give_orders_and_captures() {
    let sandbox = sandbox();
    let mut client = Client::connect(sandbox.url());
    let body = r#"{"captured_amount":4000,"reference":"r","description":"d","order_lines":
        [{"name":"n","quantity":1,"unit_price":4000,"total_amount":4000}],"shipping_info":[{"tracking_number":"t"}]}"#;
    let id = client.capture("k", body).id().to_owned();

    let list = client.get(CAPTURES);
    assert_eq!(list.status, 200);
    let list = list.json();
    let one = client.get(&format!("{CAPTURES}/{id}")).json();
    assert_eq!(list, serde_json::json!([one]));
    assert_eq!(one["capture_id"], id.as_str());
    assert_eq!(one["captured_amount"], 4000);
    assert_eq!((&one["reference"], &one["description"]), (&"r".into(), &"d".into()));
    assert_eq!(one["order_lines"][0]["unit_price"], 4000);
    assert_eq!(one["shipping_info"][0]["tracking_number"], "t");
    assert_eq!(one["captured_at"], sandbox.ledger()[0].at.as_str());

    let order = client.get("/ordermanagement/v1/orders/o").json();
    assert_eq!(order["status"], "PART_CAPTURED");
    assert_eq!(order["remaining_authorized_amount"], 6000);
    assert_eq!(order["captured_amount"], 4000);
    assert_eq!(order["captures"], list);

    for target in [&format!("{CAPTURES}/none"), "/ordermanagement/v1/orders/p", "/ordermanagement/v1/orders/p/captures"]
    {
        assert_eq!(client.get(target).error(), (404, "NO_SUCH_ORDER".into()), "{target}");
    }
}

#[test]
fn only_the_key_counts() {
    let sandbox = sandbox();
    sandbox.create_order(NewOrder { order_id: Some("p".into()), order_amount: 5, ..NewOrder::default() });
    let mut client = Client::connect(sandbox.url());
    let first = client.capture("k", r#"{"captured_amount":100}"#);
    for body in [r#"{"captured_amount":100}"#, r#"{"captured_amount":9999}"#, "no JSON"] {
        let again = client.capture("k", body);
        assert_eq!(again.id(), first.id());
        assert_eq!(again.header("Location"), first.header("Location"));
    }
    // Another order does not make it another key.
    let other = "POST /ordermanagement/v1/orders/p/captures";
    client.send(other, &[CREDENTIALS, JSON, "klarna-idempotency-key: k"], r#"{"captured_amount":1}"#);
    assert_eq!(client.reply().id(), first.id());
    assert_eq!(sandbox.ledger().len(), 1);
    let committed: Vec<bool> = sandbox.requests().iter().map(|r| r.committed).collect();
    assert_eq!(committed, [true, false, false, false, false]);

    assert_ne!(client.capture("l", r#"{"captured_amount":100}"#).id(), first.id());
    assert_eq!(sandbox.ledger_of("o").len(), 2);
}

#[test]
fn without_a_key_every_call_captures() {
    let sandbox = sandbox();
    let mut client = Client::connect(sandbox.url());
    for headers in [&[CREDENTIALS, JSON][..], &[CREDENTIALS, JSON, "Klarna-Idempotency-Key:"]] {
        client.send(&format!("POST {CAPTURES}"), headers, r#"{"captured_amount":1}"#);
        assert_eq!(client.reply().status, 201);
    }
    let keys: Vec<_> = sandbox.ledger().into_iter().map(|entry| entry.idempotency_key).collect();
    assert_eq!(keys, [None, None]);
}

#[test]
fn a_refusal_leaves_the_key_free() {
    let sandbox = sandbox();
    let mut client = Client::connect(sandbox.url());
    assert_eq!(client.capture("k", r#"{"captured_amount":10001}"#).error(), (403, "CAPTURE_NOT_ALLOWED".into()));
    assert_eq!(client.capture("k", r#"{"captured_amount":10000}"#).status, 201);
}

#[test]
fn a_key_lives_for_24_hours() {
    let sandbox = sandbox();
    let first = capture(&sandbox, "k");
    sandbox.advance(DAY - Duration::from_secs(60));
    assert_eq!(capture(&sandbox, "k").id(), first.id());
    sandbox.advance(Duration::from_secs(60));
    assert_ne!(capture(&sandbox, "k").id(), first.id());
    assert_eq!(sandbox.ledger().len(), 2);
}

#[test]
fn a_key_in_flight_is_a_conflict() {
    let sandbox = sandbox();
    sandbox.fault("o", Fault::Delay { seconds: 1.5, when: When::BeforeCommit });
    let mut slow = Client::connect(sandbox.url());
    slow.send_capture("k", r#"{"captured_amount":100}"#);
    eventually(|| !sandbox.requests().is_empty());
    // Between its record and its key there are microseconds, or a time slice of a busy machine.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(capture(&sandbox, "k").error(), (409, "CONFLICT".into()));
    let id = slow.reply().id().to_owned();
    assert_eq!(capture(&sandbox, "k").id(), id);
    assert_eq!(sandbox.ledger().len(), 1);
}

#[test]
fn the_clock_expires_orders() {
    let sandbox = sandbox();
    sandbox.create_order(NewOrder {
        order_id: Some("short".into()),
        order_amount: 1,
        expires_in: Some(3600),
        ..NewOrder::default()
    });
    let mut client = Client::connect(sandbox.url());
    let mut status = |order: &str| client.get(&format!("/ordermanagement/v1/orders/{order}")).json()["status"].clone();
    assert_eq!(status("short"), "AUTHORIZED");
    sandbox.advance(Duration::from_secs(3600));
    assert_eq!(status("short"), "EXPIRED");
    assert_eq!(status("o"), "AUTHORIZED");
    // Without expires_in an order ends at midnight.
    sandbox.advance(27 * DAY - Duration::from_secs(3600));
    assert_eq!(status("o"), "AUTHORIZED");
    sandbox.advance(DAY);
    assert_eq!(status("o"), "EXPIRED");
    assert_eq!(capture(&sandbox, "k").error(), (403, "CAPTURE_NOT_ALLOWED".into()));
}

#[test]
fn a_cancelled_order_is_not_captured_until_it_is_authorized_again() {
    let sandbox = sandbox();
    sandbox.set_status("o", OrderStatus::Cancelled);
    assert_eq!(capture(&sandbox, "k").error(), (403, "CAPTURE_NOT_ALLOWED".into()));
    sandbox.set_status("o", OrderStatus::Authorized);
    assert_eq!(capture(&sandbox, "k").status, 201);
}

#[test]
fn refuses_as_klarna_does() {
    let sandbox = sandbox_with(Options { json_unauthorized: true, ..Options::default() });
    let mut client = Client::connect(sandbox.url());
    let post = format!("POST {CAPTURES}");
    let (good, refund) = (r#"{"captured_amount":1}"#, r#"{"refunded_amount":1}"#);
    for (line, headers, body, status, code) in [
        (post.as_str(), &[JSON][..], good, 401, "UNAUTHORIZED"),
        (&post, &["Authorization: Basic c2FuZGJveDp3cm9uZw==", JSON], good, 401, "UNAUTHORIZED"),
        (&post, &["Authorization: Bearer c2FuZGJveDpzYW5kYm94", JSON], good, 401, "UNAUTHORIZED"),
        (&post, &["Authorization: Basic ???", JSON], good, 401, "UNAUTHORIZED"),
        (&post, &[CREDENTIALS], good, 415, "UNSUPPORTED_MEDIA_TYPE"),
        (&post, &[CREDENTIALS, "Content-Type: text/json"], good, 415, "UNSUPPORTED_MEDIA_TYPE"),
        (&post, &[CREDENTIALS, JSON], "{", 400, "BAD_REQUEST"),
        (&post, &[CREDENTIALS, JSON], "", 400, "BAD_REQUEST"),
        (&post, &[CREDENTIALS, JSON], r#"{"captured_amount":"1"}"#, 422, "UNPROCESSABLE_ENTITY"),
        ("POST /ordermanagement/v1/orders/p/captures", &[CREDENTIALS, JSON], good, 404, "NO_SUCH_ORDER"),
        ("PUT /ordermanagement/v1/orders/o/captures", &[CREDENTIALS, JSON], good, 405, "METHOD_NOT_ALLOWED"),
        ("POST /ordermanagement/v1/orders/o", &[CREDENTIALS, JSON], good, 405, "METHOD_NOT_ALLOWED"),
        ("GET /ordermanagement/v1/orders/o/cancel", &[CREDENTIALS], "", 405, "METHOD_NOT_ALLOWED"),
        ("POST /ordermanagement/v1/orders/p/refunds", &[CREDENTIALS, JSON], refund, 404, "NOT_FOUND"),
    ] {
        client.send(line, headers, body);
        let reply = client.reply();
        assert_eq!(reply.error(), (status, code.into()), "{line} {headers:?} {body}");
    }
    client.send(&post, &[CREDENTIALS, "content-type: Application/JSON; charset=utf-8"], good);
    assert_eq!(client.reply().status, 201);
    assert_eq!(sandbox.ledger().len(), 1);
    assert_eq!(sandbox.connections().accepted, 1, "a refusal keeps the connection");
}

#[test]
fn keeps_the_size_limits() {
    let sandbox = sandbox();
    let filler = "x".repeat(1024 * 1024);
    let mut client = Client::connect(sandbox.url());
    client.send_capture("k", &filler);
    assert_eq!(client.reply().error(), (400, "BAD_REQUEST".into()), "1 MB is not too much");
    client.send_capture("k", &format!("{filler}x"));
    assert_eq!(client.reply().error(), (413, "REQUEST_TOO_LARGE".into()));
    assert_eq!(client.rest(), (String::new(), End::Closed));
    let record = sandbox.requests().pop().unwrap();
    assert_eq!((record.answered_status, record.body.len()), (Some(413), 0));

    let mut client = Client::connect(sandbox.url());
    client.send(&format!("GET {CAPTURES}"), &[&format!("A: {}", "a".repeat(7000))], "");
    assert_eq!(client.reply().error(), (431, "REQUEST_HEADER_FIELDS_TOO_LARGE".into()));
}

#[test]
fn takes_an_api_key_in_all_its_forms() {
    let sandbox = sandbox_with(Options { api_key: Some("klarna_test_api_x".into()), ..Options::default() });
    let mut client = Client::connect(sandbox.url());
    for (authorization, status) in [
        ("klarna_test_api_x", 200),
        ("c2FuZGJveDpzYW5kYm94", 200),                 // sandbox:sandbox
        ("c2FuZGJveDprbGFybmFfdGVzdF9hcGlfeA==", 200), // sandbox:klarna_test_api_x
        ("OmtsYXJuYV90ZXN0X2FwaV94", 200),             // :klarna_test_api_x
        ("a2xhcm5hX3Rlc3RfYXBpX3g6", 200),             // klarna_test_api_x:
        ("b3RoZXI6a2xhcm5hX3Rlc3RfYXBpX3g=", 401),     // other:klarna_test_api_x
        ("klarna_test_api_y", 401),
    ] {
        client.send(&format!("GET {CAPTURES}"), &[&format!("Authorization: Basic {authorization}")], "");
        assert_eq!(client.reply().status, status, "{authorization}");
    }
}

#[test]
fn answers_wrong_credentials_with_the_gateways_page() {
    let sandbox = sandbox();
    let mut client = Client::connect(sandbox.url());
    client.send(&format!("GET {CAPTURES}"), &[], "");
    let reply = client.reply();
    assert_eq!((reply.status, reply.header("Content-Type")), (401, Some("text/html")));
    assert!(reply.header("WWW-Authenticate").is_some_and(|value| value.starts_with("Basic realm=")));
    assert!(reply.body.contains("<title>401 Authorization Required</title>"), "{}", reply.body);
    for name in ["Klarna-Correlation-Id", "Transaction-Id", "X-Ratelimit-Limit"] {
        assert_eq!(reply.header(name), None);
    }
    assert!(reply.header("Date").is_some());
}

#[test]
fn a_path_that_leads_nowhere_is_refused_before_credentials_are_read() {
    let sandbox = sandbox();
    let mut client = Client::connect(sandbox.url());
    for line in ["GET /", "POST /ordermanagement/v1/orders", "GET /ordermanagement/v1/orders/o/refunds/r/x"] {
        client.send(line, &[], "");
        let reply = client.reply();
        assert_eq!(reply.status, 404, "{line}");
        assert_eq!(reply.json(), serde_json::json!({"error_code": "NOT_FOUND", "error_message": "Not found"}));
        assert_eq!(reply.header("Klarna-Correlation-Id"), None);
    }
    client.send("GET /ordermanagement/v1/orders/o/refunds/r", &[], "");
    assert_eq!(client.reply().status, 401);
}

#[test]
fn several_slashes_at_the_head_count_as_one() {
    let sandbox = sandbox();
    let mut client = Client::connect(sandbox.url());
    for slashes in ["/", "//"] {
        client.send(&format!("POST {slashes}{CAPTURES}"), &[CREDENTIALS, JSON], r#"{"captured_amount":1}"#);
        let reply = client.reply();
        let location = format!("{}{CAPTURES}/{}", sandbox.url(), reply.id());
        assert_eq!(reply.header("Location"), Some(location.as_str()));
    }
    assert_eq!(sandbox.requests_of("o").len(), 2);
    client.send("GET /ordermanagement//v1/orders/o", &[CREDENTIALS], "");
    assert_eq!(client.reply().status, 404);

    let sandbox = sandbox_with(Options { prefix: "/gw".into(), ..Options::default() });
    let mut client = Client::connect(sandbox.url());
    assert_eq!(client.get(&format!("/gw/{CAPTURES}")).status, 200);
    assert_eq!(client.get(&format!("//gw{CAPTURES}")).status, 200);
}

#[test]
fn a_location_names_the_host_that_was_called() {
    let sandbox = sandbox();
    let mut client = Client::connect(sandbox.url());
    let own = sandbox.url().strip_prefix("http://").unwrap().to_owned();
    for (host, named) in [("localhost:8181", "localhost:8181"), ("[::1]:1", "[::1]:1"), ("a/b", &own), ("", &own)] {
        client.host = host.into();
        let reply = client.capture(&format!("key {host}"), r#"{"captured_amount":1}"#);
        let location = format!("http://{named}{CAPTURES}/{}", reply.id());
        assert_eq!(reply.header("Location"), Some(location.as_str()), "{host}");
    }
    sandbox.fault("o", Fault::Created(takings_sandbox::Created::default()));
    client.host = "shop.test".into();
    let reply = client.capture("l", r#"{"captured_amount":1}"#);
    assert!(reply.header("Location").is_some_and(|value| value.starts_with("http://shop.test/")), "{reply:?}");
}

#[test]
fn limits_the_rate_if_asked_to() {
    let sandbox = sandbox_with(Options { rate_limit: Some(2), ..Options::default() });
    let mut client = Client::connect(sandbox.url());
    // A second may end on the way, but not one after each request.
    let replies: Vec<_> = (0..20).map(|_| client.get(CAPTURES)).collect();
    let limited = replies.iter().find(|reply| reply.status == 429).expect("nothing was limited");
    assert_eq!(limited.error(), (429, "TOO_MANY_REQUESTS".into()));
    assert_eq!(limited.header("X-Ratelimit-Limit"), Some("2, 2;w=1"));
    assert_eq!(limited.header("X-Ratelimit-Remaining"), Some("0"));
    sandbox.advance(Duration::from_secs(1));
    assert_eq!(client.get(CAPTURES).status, 200);
}

#[test]
fn an_order_id_may_be_any_text() {
    let sandbox = Sandbox::start(Options::default()).unwrap();
    let mut client = Client::connect(sandbox.url());
    for (id, segment) in [("a/b", "a%2Fb"), ("..", "%2e%2e"), ("ö %", "%C3%B6%20%25")] {
        sandbox.create_order(NewOrder { order_id: Some(id.into()), order_amount: 5, ..NewOrder::default() });
        let target = format!("/ordermanagement/v1/orders/{segment}/captures");
        client.send(&format!("POST {target}"), &[CREDENTIALS, JSON], r#"{"captured_amount":5}"#);
        let reply = client.reply();
        assert_eq!(reply.status, 201, "{id}");
        assert_eq!(sandbox.ledger_of(id).len(), 1);
        assert_eq!(sandbox.requests_of(id)[0].target, target);
    }
}

#[test]
fn serves_below_a_prefix() {
    let sandbox = sandbox_with(Options { prefix: "/gw/eu".into(), ..Options::default() });
    assert!(sandbox.url().ends_with("/gw/eu"));
    let mut client = Client::connect(sandbox.url());
    assert_eq!(client.get(CAPTURES).status, 404);
    assert_eq!(client.get(&format!("/gw/eu{CAPTURES}")).status, 200);
    assert_eq!(client.control("GET /gw/eu/sandbox/ledger", "").status, 200);
    assert_eq!(client.control("GET /sandbox/ledger", "").status, 200);
    client.send(&format!("POST /gw/eu{CAPTURES}"), &[CREDENTIALS, JSON], r#"{"captured_amount":1}"#);
    let reply = client.reply();
    let location = format!("{}{CAPTURES}/{}", sandbox.url(), reply.id());
    assert_eq!(reply.header("Location"), Some(location.as_str()));
}

#[test]
fn takes_chunked_bodies_and_expectations() {
    let sandbox = sandbox();
    let mut client = Client::connect(sandbox.url());
    client.send(&format!("POST {CAPTURES}"), &[CREDENTIALS, JSON, "Transfer-Encoding: chunked"], "");
    client.write("10\r\n{\"captured_amoun\r\n5\r\nt\":7}\r\n0\r\n\r\n");
    assert_eq!(client.reply().status, 201);
    assert_eq!(sandbox.requests()[0].body, br#"{"captured_amount":7}"#);

    let length = "Content-Length: 21";
    client.send(&format!("POST {CAPTURES}"), &[CREDENTIALS, JSON, "Expect: 100-continue", length], "");
    assert_eq!(client.reply().status, 100);
    client.write(r#"{"captured_amount":8}"#);
    assert_eq!(client.reply().status, 201);
}

#[test]
fn keeps_a_connection_and_closes_it_when_told() {
    let sandbox = sandbox();
    let mut client = Client::connect(sandbox.url());
    for _ in 0..3 {
        assert_eq!(client.get(CAPTURES).status, 200);
    }
    client.send(&format!("GET {CAPTURES}"), &[CREDENTIALS, "Connection: close"], "");
    let last = client.reply();
    assert_eq!(last.header("Connection"), Some("close"));
    assert_eq!(client.rest(), (String::new(), End::Closed));
    let mut second = Client::connect(sandbox.url());
    second.get(CAPTURES);
    let connections: Vec<u64> = sandbox.requests().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [1, 1, 1, 1, 2]);
    assert_eq!((sandbox.connections().accepted, sandbox.connections().open), (2, 1));
}

#[test]
fn answers_pipelined_requests_in_order() {
    let sandbox = sandbox();
    let mut client = Client::connect(sandbox.url());
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\n{CREDENTIALS}\r\n\r\n");
    client.write(get(CAPTURES) + &get("/ordermanagement/v1/orders/p"));
    assert_eq!(client.reply().status, 200);
    assert_eq!(client.reply().status, 404);
}

#[test]
fn a_head_that_makes_no_sense_is_400_and_the_end() {
    let sandbox = sandbox();
    let mut client = Client::connect(sandbox.url());
    client.write("this is no HTTP\r\n\r\n");
    assert_eq!(client.reply().error(), (400, "BAD_REQUEST".into()));
    assert_eq!(client.rest().1, End::Closed);
    assert!(sandbox.requests().is_empty());
}

#[test]
fn starts_on_loopback_or_with_a_token_and_with_a_sane_prefix() {
    let bind = "0.0.0.0".parse().unwrap();
    assert!(Sandbox::start(Options { bind, ..Options::default() }).is_err());
    let token = Some("0123456789abcde".into());
    assert!(Sandbox::start(Options { token, ..Options::default() }).is_err(), "a short token");
    let token = Some("0123456789abcdef".into());
    Sandbox::start(Options { bind, token, ..Options::default() }).unwrap();
    for prefix in ["gw", "/gw/", "/", "/g w", "/a?b"] {
        let options = Options { prefix: prefix.into(), ..Options::default() };
        assert!(Sandbox::start(options).is_err(), "{prefix}");
    }
}

#[test]
fn dropping_it_ends_everything_at_once() {
    let sandbox = sandbox();
    let url = sandbox.url().to_owned();
    sandbox.fault("o", Fault::Stall { seconds: None, when: When::AfterCommit });
    sandbox.fault("o", Fault::Delay { seconds: 600.0, when: When::BeforeCommit });
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(&url)).collect();
    clients[0].send_capture("a", r#"{"captured_amount":1}"#);
    clients[1].send_capture("b", r#"{"captured_amount":1}"#);
    eventually(|| sandbox.requests().len() == 2);
    let before = std::time::Instant::now();
    drop(sandbox);
    assert!(before.elapsed() < Duration::from_secs(5));
    for mut client in clients {
        assert_eq!(client.rest().0, "");
    }
    let address = url.split_once("://").unwrap().1;
    assert!(std::net::TcpStream::connect(address).is_err());
}
