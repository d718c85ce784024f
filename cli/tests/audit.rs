//! `takings audit`: each verdict, its exit code, and the ways to the sandbox's ledger.

mod place;

use place::{Place, order};
use serde_json::{Value, json};

/// The sandbox's ledger with entries that a test makes up, as a file.
fn entries(place: &Place, all: &[Value]) {
    place.write("entries.json", &Value::from(all.to_vec()).to_string());
}

fn capture(order: &str, reference: &str, amount: i64, id: &str) -> Value {
    json!({"kind": "capture", "order_id": order, "capture_id": id, "captured_amount": amount, "reference": reference})
}

fn enqueue(place: &Place, order: &str, reference: &str) {
    place.expect(&["enqueue", "--order", order, "--reference", reference, "--amount", "1000"], 0);
}

fn verdicts(audit: &Value) -> Vec<(String, String)> {
    let all = audit["found"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    all.map(|found| (text(&found["verdict"]), text(&found["reference"]))).collect()
}

#[test]
fn a_ledger_that_was_worked_off_is_ok() {
    let place = Place::new();
    place.order(&order(1), 10_000);
    enqueue(&place, &order(1), "p-1");
    enqueue(&place, &order(2), "nowhere");
    assert_eq!(place.json(&["audit"], 3)["counts"]["open"], 2);
    place.expect(&["worker", "--until-quiet", "0"], 0);
    place.expect(&["enqueue", "--refund", "--order", &order(1), "--reference", "r-1", "--amount", "300"], 0);
    place.expect(&["worker", "--until-quiet", "0"], 0);
    let audit = place.json(&["audit"], 0);
    assert_eq!(audit["counts"]["ok"], 3, "captured, refunded, refused: {audit}");
    let url = place.sandbox.url();
    let text = place.expect(&["audit", "--from", &format!("{url}/")], 0);
    assert!(text.contains("3  ok") && text.contains("0  double"), "{text}");
}

#[test]
fn each_difference_has_its_verdict() {
    let place = Place::new();
    let orders: Vec<String> = (0..7).map(order).collect();
    for (reference, order) in ["same", "double", "lost", "amount", "id", "refused", "stuck"].iter().zip(&orders) {
        enqueue(&place, order, reference);
    }
    let settle = |order: &str, reference: &str, word: &[&str]| {
        place.expect(&[&["settle", order, reference, "--by", "ada"], word].concat(), 0);
    };
    for (reference, order) in ["same", "double", "lost", "amount", "id"].iter().zip(&orders) {
        settle(order, reference, &["--captured", &format!("id-{reference}")]);
    }
    settle(&orders[5], "refused", &["--withdraw"]);
    let db = rusqlite::Connection::open(place.path("ledger.db")).unwrap();
    let stuck = "UPDATE takings_capture SET state = 'stuck', due_at = NULL, settled_at = 1 WHERE reference = 'stuck'";
    assert_eq!(db.execute(stuck, []).unwrap(), 1);
    entries(
        &place,
        &[
            capture(&orders[0], "same", 1000, "id-same"),
            capture(&orders[1], "double", 1000, "id-double"),
            capture(&orders[1], "double", 1000, "id-again"),
            capture(&orders[3], "amount", 999, "id-amount"),
            capture(&orders[4], "id", 1000, "id-other"),
            capture(&orders[5], "refused", 1000, "id-refused"),
            capture(&orders[6], "nobody", 1000, "id-nobody"),
            json!({"kind": "cancel", "order_id": orders[0]}),
        ],
    );
    let audit = place.json(&["audit", "--from", "entries.json"], 2);
    let wanted = [
        ("double", "double"),
        ("lost", "lost"),
        ("wrong", "amount"),
        ("wrong", "id"),
        ("wrong", "refused"),
        ("stuck", "stuck"),
        ("phantom", "nobody"),
    ];
    let wanted: Vec<(String, String)> = wanted.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    assert_eq!(verdicts(&audit), wanted, "{audit}");
    let counts = json!({"ok": 2, "open": 0, "double": 1, "lost": 1, "phantom": 1, "wrong": 3, "stuck": 1});
    assert_eq!(audit["counts"], counts, "{audit}");
    let text = std::fs::read_to_string(place.path("entries.json")).unwrap();
    let piped = place.fed(&["audit", "--from", "-"], &text);
    assert_eq!(piped.status.code(), Some(2));
    let piped = String::from_utf8(piped.stdout).unwrap();
    let line = format!("wrong    {} capture amount: ledger captured 1,000 id-amount, sandbox 999 id-amount", orders[3]);
    assert!(piped.contains(&line), "{piped}");
}

#[test]
fn without_a_sandbox_nothing_is_audited() {
    let place = Place::new();
    place.write("no.json", "{}");
    for from in ["no.json", "missing.json", "https://127.0.0.1:9", "http://127.0.0.1:9", "http://nowhere.invalid"] {
        let audit = place.json(&["audit", "--from", from], 1);
        assert!(audit["error"].as_str().unwrap().contains(from), "{audit}");
    }
    // A server that is no sandbox, or one that wants a token.
    let url = format!("{}/elsewhere", place.sandbox.url());
    let audit = place.json(&["audit", "--from", &url], 1);
    assert!(audit["error"].as_str().unwrap().contains("it answered 4"), "{audit}");
    let mut command = place.command(&["audit"]);
    let output = command.env("KLARNA_BASE_URL", "").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("which sandbox?"));
}
