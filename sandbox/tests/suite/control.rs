//! The control endpoint.

use super::client::{CREDENTIALS, Client};
use super::{CAPTURES, capture, sandbox};
use serde_json::{Value, json};
use takings_sandbox::{Options, Sandbox};

#[test]
fn creates_orders() {
    let sandbox = Sandbox::start(Options::default()).unwrap();
    let mut client = Client::connect(sandbox.url());
    let reply = client.control("POST /sandbox/orders", r#"{"order_amount":5}"#);
    assert_eq!(reply.status, 201);
    let order = reply.json();
    assert_eq!(order["order_id"].as_str().unwrap().len(), 36);
    assert_eq!((&order["order_amount"], &order["status"]), (&json!(5), &json!("AUTHORIZED")));
    assert!(order["expires_at"].as_str().unwrap().ends_with("T00:00:00.000Z"));
    assert_eq!(order["customer"], json!({"type": "person"}));
    for name in ["merchant_reference1", "merchant_reference2", "billing_address", "shipping_address"] {
        assert_eq!(order.get(name), None);
    }

    let full = json!({
        "order_id": "a b", "order_amount": 7, "purchase_currency": "SEK", "merchant_reference1": "m",
        "merchant_reference2": "n", "merchant_data": "{}", "purchase_country": "SE", "locale": "sv-SE",
        "billing_address": {"given_name": "Anna", "postal_code": "11122"}, "shipping_address": {"city": "Lund"},
        "customer": {"type": "organization"},
        "order_lines": [{"name": "n"}], "expires_in": 60, "status": "CANCELLED", "fraud_status": "PENDING",
        "faults": [{"fault": "status", "status": 503}],
    });
    let order = client.control("POST /sandbox/orders", &full.to_string()).json();
    for (name, value) in full.as_object().unwrap() {
        if !["expires_in", "faults"].contains(&name.as_str()) {
            assert_eq!(&order[name], value, "{name}");
        }
    }
    let target = "/ordermanagement/v1/orders/a%20b";
    assert_eq!(client.get(target).status, 503);
    assert_eq!(client.get(target).json(), order);
    assert_eq!(client.control("GET /sandbox/orders/a%20b", "").json(), order);
}

#[test]
fn changes_orders() {
    let sandbox = sandbox();
    let mut client = Client::connect(sandbox.url());
    let order = client.control("PATCH /sandbox/orders/o", r#"{"status":"CLOSED","fraud_status":"REJECTED"}"#).json();
    assert_eq!((&order["status"], &order["fraud_status"]), (&json!("CLOSED"), &json!("REJECTED")));
    assert_eq!(client.control("PATCH /sandbox/orders/o", r#"{"status":"CAPTURED"}"#).status, 400);
    assert_eq!(client.control("PATCH /sandbox/orders/p", "{}").status, 404);
    assert_eq!(client.control("GET /sandbox/orders/p", "").status, 404);
}

#[test]
fn says_what_is_wrong() {
    let sandbox = sandbox();
    let mut client = Client::connect(sandbox.url());
    for (line, body, status, says) in [
        ("POST /sandbox/orders", "{}", 400, "order_amount"),
        ("POST /sandbox/orders", r#"{"order_amount":"5"}"#, 400, "order_amount is \"5\"; it must be a whole number"),
        ("POST /sandbox/orders", r#"{"order_amount":60.0}"#, 400, "order_amount is 60.0; it must be a whole number"),
        ("POST /sandbox/orders", r#"{"order_amount":60.0}"#, 400, "6000 for 60.00"),
        ("POST /sandbox/orders", r#"{"order_amount":19.99}"#, 400, "1999 for 19.99"),
        ("POST /sandbox/orders", r#"{"order_amount":null}"#, 400, "6000 for 60.00"),
        ("POST /sandbox/orders", r#"{"order_amount":5,"billing_address":"here"}"#, 400, "expected a map"),
        ("GET /sandbox/orders/p/ledger", "", 404, "there is no order p; POST /sandbox/orders creates it"),
        ("POST /sandbox/orders", r#"{"order_amount":5,"order_amuont":5}"#, 400, "order_amuont"),
        ("POST /sandbox/orders", r#"{"order_amount":5,"order_id":"o"}"#, 409, "exists already"),
        ("POST /sandbox/orders", r#"{"order_amount":5,"faults":[{"fault":"x"}]}"#, 400, "unknown variant `x`"),
        ("POST /sandbox/orders", r#"{"order_amount":5,"status":"PARTIALLY_CAPTURED"}"#, 400, "PARTIALLY_CAPTURED"),
        ("POST /sandbox/orders/o/faults", "no", 400, "does not fit"),
        ("POST /sandbox/orders/o/faults", r#"{"fault":"lost"}"#, 400, "unknown variant `lost`"),
        ("POST /sandbox/orders/o/faults", r#"[{"fault":"lost_answer"},{"fault":"lost_answer","x":1}]"#, 400, "`x`"),
        ("POST /sandbox/clock", r#"{"advance_seconds":-1}"#, 400, "advance_seconds"),
        ("POST /sandbox/clock", r#"{"advance_secs":1}"#, 400, "advance_secs"),
        ("DELETE /sandbox/ledger", "", 405, "DELETE"),
        ("POST /sandbox/orders/o", "{}", 405, "POST"),
        ("GET /sandbox/nothing", "", 404, "/sandbox/nothing"),
        ("GET /sandbox/orders/o/captures", "", 404, "captures"),
    ] {
        let reply = client.control(line, body);
        let error = reply.json()["error"].as_str().unwrap().to_owned();
        assert_eq!(reply.status, status, "{line} {body}: {error}");
        assert!(error.contains(says), "{line} {body}: {error}");
    }
    assert_eq!(client.control("GET /sandbox/orders/o/faults", "").json(), json!([]), "half a list is none");
}

#[test]
fn plans_faults_one_by_one_or_in_a_list() {
    let sandbox = sandbox();
    let mut client = Client::connect(sandbox.url());
    let faults = "/sandbox/orders/o/faults";
    let names = client.control(&format!("POST {faults}"), r#"["lost_answer", "close_idle"]"#);
    assert_eq!(names.json(), json!([{"fault": "lost_answer"}, {"fault": "close_idle"}]));
    assert_eq!(
        client.control(&format!("POST {faults}"), r#""reset_after_commit""#).json().as_array().unwrap().len(),
        3
    );
    let order = client.control("POST /sandbox/orders", r#"{"order_id":"q","order_amount":5,"faults":["lost_answer"]}"#);
    assert_eq!(order.status, 201);
    assert_eq!(client.control("GET /sandbox/orders/q/faults", "").json(), json!([{"fault": "lost_answer"}]));
    client.control(&format!("DELETE {faults}"), "");
    let one = json!({"fault": "lost_answer", "request": 9});
    assert_eq!(client.control(&format!("POST {faults}"), &one.to_string()).status, 201);
    let list = json!([{"fault": "too_many_requests", "retry_after": "1"}, {"fault": "close_idle"}]);
    let reply = client.control(&format!("POST {faults}"), &list.to_string());
    assert_eq!(reply.json(), json!([one, list[0], list[1]]));
    assert_eq!(capture(&sandbox, "k").header("Retry-After"), Some("1"));
    assert_eq!(client.control(&format!("GET {faults}"), "").json(), json!([one, list[1]]));
    assert_eq!(client.control(&format!("DELETE {faults}"), "").status, 204);
    assert_eq!(client.control(&format!("GET {faults}"), "").json(), json!([]));
}

#[test]
fn shows_the_ledger_and_the_requests() {
    let sandbox = sandbox();
    let mut client = Client::connect(sandbox.url());
    client.control("POST /sandbox/orders", r#"{"order_id":"p","order_amount":5}"#);
    let id = client.capture("k", r#"{"captured_amount":100,"reference":"r"}"#).id().to_owned();
    client.send("GET /ordermanagement/v1/orders/p?x=%20", &[CREDENTIALS, "X-Latin: \u{e9}"], "");
    client.reply();
    client.send(&format!("POST {CAPTURES}"), &["X-Twice: 1", "x-twice: 2", "Content-Length: 1"], "");
    client.write([0xff]);
    assert_eq!(client.reply().status, 401);

    let ledger = client.control("GET /sandbox/ledger", "").json();
    let at = ledger[0]["captured_at"].clone();
    assert_eq!(
        ledger,
        json!([{"kind": "capture", "order_id": "o", "capture_id": id, "captured_amount": 100, "reference": "r", "idempotency_key": "k",
                "captured_at": at, "request_number": 1}])
    );
    assert_eq!(client.control("GET /sandbox/orders/o/ledger", "").json(), ledger);
    assert_eq!(client.control("GET /sandbox/orders/p/ledger", "").json(), json!([]));

    let all = client.control("GET /sandbox/requests", "").json();
    let list = all.as_array().unwrap();
    assert_eq!(list.len(), 3, "the control endpoint's own requests are not among them");
    assert_eq!(
        list[0],
        json!({
            "number": 1, "order_id": "o", "order_request": 1, "method": "POST", "target": CAPTURES,
            "version": "HTTP/1.1",
            "headers": [["Host", client.host], ["Authorization", "Basic c2FuZGJveDpzYW5kYm94"],
                        ["Content-Type", "application/json"], ["Klarna-Idempotency-Key", "k"], ["Content-Length", "39"]],
            "body": r#"{"captured_amount":100,"reference":"r"}"#,
            "connection": 1, "committed": true, "fault": null, "answered_status": 201,
        })
    );
    assert_eq!(list[1]["target"], "/ordermanagement/v1/orders/p?x=%20");
    assert_eq!(list[1]["headers"][2], json!(["X-Latin", "\u{c3}\u{a9}"]), "byte by byte");
    assert_eq!((&list[2]["headers"][1], &list[2]["headers"][2]), (&json!(["X-Twice", "1"]), &json!(["x-twice", "2"])));
    assert_eq!((&list[2]["body"], &list[2]["body_base64"]), (&Value::Null, &json!("/w==")));
    let of_o = client.control("GET /sandbox/orders/o/requests", "").json();
    assert_eq!(of_o, json!([list[0], list[2]]));
}

#[test]
fn moves_the_clock() {
    let sandbox = sandbox();
    let mut client = Client::connect(sandbox.url());
    let before = client.control("GET /sandbox/clock", "").json();
    assert_eq!(before["ahead_seconds"], 0.0);
    let after = client.control("POST /sandbox/clock", r#"{"advance_seconds":31536000}"#).json();
    assert_eq!(after["ahead_seconds"], 31_536_000.0);
    assert!(after["now"].as_str().unwrap()[..4] > before["now"].as_str().unwrap()[..4]);
    assert_eq!(capture(&sandbox, "k").status, 403);
    client.control("POST /sandbox/clock", r#"{"advance_seconds":1e15}"#);
    assert_eq!(client.control("GET /sandbox/ledger", "").status, 200);
}

#[test]
fn resets() {
    let sandbox = sandbox();
    let id = capture(&sandbox, "k").id().to_owned();
    let mut client = Client::connect(sandbox.url());
    client.control("POST /sandbox/orders/o/faults", r#"{"fault":"lost_answer"}"#);
    client.control("POST /sandbox/clock", r#"{"advance_seconds":5}"#);
    assert_eq!(client.control("POST /sandbox/reset", "").status, 204);
    assert_eq!(client.control("GET /sandbox/orders/o/ledger", "").status, 404);
    for list in ["ledger", "requests", "orders/o/faults"] {
        assert_eq!(client.control(&format!("GET /sandbox/{list}"), "").json(), json!([]));
    }
    assert_eq!(client.control("GET /sandbox/orders/o", "").status, 404);
    assert_eq!(client.control("GET /sandbox/clock", "").json()["ahead_seconds"], 0.0);
    client.control("POST /sandbox/orders", r#"{"order_id":"o","order_amount":10000}"#);
    assert_ne!(capture(&sandbox, "k").id(), id, "the key is forgotten");
    assert_eq!(sandbox.requests()[0].number, 2, "numbers go on");
}

#[test]
fn counts_the_connections_of_clients_only() {
    let sandbox = sandbox();
    let mut control = Client::connect(sandbox.url());
    let mut count = || control.control("GET /sandbox/connections", "").json();
    assert_eq!(count(), json!({"accepted": 0, "open": 0}));
    let mut client = Client::connect(sandbox.url());
    client.get(CAPTURES);
    assert_eq!(count(), json!({"accepted": 1, "open": 1}));
    client.send(&format!("GET {CAPTURES}"), &[CREDENTIALS, "Connection: close"], "");
    client.rest();
    assert_eq!(count(), json!({"accepted": 1, "open": 0}));
}

#[test]
fn asks_for_its_token() {
    let token = "0123456789abcdef";
    let sandbox = Sandbox::start(Options { token: Some(token.into()), ..Options::default() }).unwrap();
    let mut client = Client::connect(sandbox.url());
    for header in [&[][..], &["Authorization: Bearer 0123456789abcdeg"], &["Authorization: Basic 0123456789abcdef"]] {
        client.send("GET /sandbox/ledger", header, "");
        let reply = client.reply();
        assert_eq!(reply.status, 401, "{header:?}");
        assert!(reply.json()["error"].as_str().unwrap().contains("--token"));
    }
    client.send("GET /sandbox/ledger", &[&format!("Authorization: bearer {token}")], "");
    assert_eq!(client.reply().json(), json!([]));
    assert_eq!(client.get("/ordermanagement/v1/orders/o").status, 404, "the API itself needs none");
}

#[test]
fn introduces_itself() {
    let sandbox = sandbox();
    let reply = Client::connect(sandbox.url()).control("GET /sandbox", "");
    assert!(reply.json()["sandbox"].as_str().unwrap().contains("not a Klarna product"));
    assert_eq!(reply.json()["base_url"], sandbox.url());
}
