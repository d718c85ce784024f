//! `takings check` against the sandbox: each finding, a report that goes on, and trouble on the way.

mod place;

use std::process::{Command, Stdio};

use place::{ORDER, Place, order};
use serde_json::Value;
use takings::{CaptureRequest, Client, Config, Credentials, RefundRequest};
use takings_sandbox::Fault;

impl Place {
    fn enqueue(&self, order: &str, reference: &str, amount: &str) {
        self.expect(&["enqueue", "--order", order, "--reference", reference, "--amount", amount], 0);
    }

    /// A parcel in each of so many orders.
    fn enqueue_many(&self, orders: usize) {
        let mut text = String::from("order_id,reference,captured_amount\n");
        for n in 0..orders {
            self.order(&order(n), 10_000);
            text.push_str(&format!("{},p-1,1000\n", order(n)));
        }
        self.write("many.csv", &text);
        self.expect(&["enqueue", "many.csv"], 0);
    }

    fn settle(&self, order: &str, reference: &str, id: &str) {
        self.expect(&["settle", order, reference, "--captured", id, "--by", "ada"], 0);
    }

    /// A program of somebody else captures.
    fn capture(&self, order: &str, reference: &str, amount: i64) -> String {
        let mut request = CaptureRequest::new(amount);
        request.reference = Some(reference.into());
        let capture = self.client().capture(order, &request, Some(&takings::new_idempotency_key().unwrap()));
        capture.unwrap().capture_id().to_owned()
    }

    fn client(&self) -> Client {
        Client::new(Config::at(self.sandbox.url(), Credentials::basic("sandbox", "sandbox"))).unwrap()
    }
}

#[test]
fn each_difference_is_found_and_told() {
    let place = Place::new();
    let orders: Vec<String> = (0..8).map(order).collect();
    orders.iter().for_each(|order| place.order(order, 10_000));
    let nobody = order(99);
    for order in &orders[..3] {
        place.enqueue(order, "p-1", "1000");
    }
    place.enqueue(&orders[4], "p-1", "1000");
    place.expect(&["settle", &orders[4], "p-1", "--withdraw", "--by", "ada"], 0);
    place.expect(&["worker", "--until-quiet", "0"], 0);
    place.expect(&["enqueue", "--refund", "--order", &orders[0], "--reference", "r-1", "--amount", "300"], 0);
    place.expect(&["worker", "--until-quiet", "0"], 0);
    place.capture(&orders[1], "p-1", 1000);
    place.capture(&orders[2], "portal", 500);
    let mut refund = RefundRequest::new(200);
    refund.reference = Some("=portal".into());
    place.client().refund(&orders[2], &refund, Some(&takings::new_idempotency_key().unwrap())).unwrap();
    place.enqueue(&orders[3], "p-1", "1000");
    place.settle(&orders[3], "p-1", "4ba29b50-be7b-44f5-a492-113e6a865e22");
    place.capture(&orders[4], "p-1", 1000);
    let id = place.capture(&orders[5], "p-1", 700);
    place.enqueue(&orders[5], "p-1", "1000");
    place.settle(&orders[5], "p-1", &id);
    let id = place.capture(&orders[6], "p-1", 1000);
    for reference in ["p-1", "p-2"] {
        place.enqueue(&orders[6], reference, "1000");
        place.settle(&orders[6], reference, &id);
    }
    place.enqueue(&orders[7], "p-1", "1000");
    place.enqueue(&nobody, "p-1", "1000");
    place.settle(&nobody, "p-1", "4ba29b50-be7b-44f5-a492-113e6a865e23");

    // Klarna's account of the first order lags once, so that it is read twice.
    place.sandbox.fault(&orders[0], Fault::LaggingRead { seconds: None, requests: None });
    let told = place.expect(&["check", "--per-second", "150", "--json"], 2);
    let told: Value = serde_json::from_str(&told).unwrap();
    let mut found: Vec<(String, String)> = Vec::new();
    for line in told["wrong"].as_array().unwrap() {
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        found.push((text("order_id"), text("finding")));
    }
    let mut expected = vec![
        (orders[1].clone(), "twice".to_owned()),
        (orders[2].clone(), "by_somebody_else".to_owned()),
        (orders[2].clone(), "by_somebody_else".to_owned()),
        (orders[3].clone(), "booked_but_not_there".to_owned()),
        (orders[4].clone(), "there_but_not_booked".to_owned()),
        (orders[5].clone(), "amount_differs".to_owned()),
        (orders[6].clone(), "booked_twice_under_one_id".to_owned()),
        (nobody.clone(), "order_not_shown".to_owned()),
    ];
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "{told:#}");
    assert_eq!((&told["orders"], &told["counts"]["open"]), (&9.into(), &1.into()), "{told:#}");
    assert_eq!(place.sandbox.requests_of(&orders[0]).iter().filter(|request| request.method == "GET").count(), 2);
    let report = std::fs::read_to_string(place.path("takings-check.csv")).unwrap();
    assert!(report.contains(",'=portal,"), "no cell is a formula: {report}");
    assert!(!place.path("takings-check.csv.part").exists());
    let text = place.expect(&["check", "--per-second", "150", "--order", &orders[0], "--report", "one.csv"], 0);
    assert!(text.contains("checked 1 order") && !text.contains("somebody"), "{text}");
    place.expect(&["check", "--order", "nobody"], 1);
}

#[test]
fn an_interrupted_check_goes_on_where_it_stopped() {
    const ORDERS: usize = 12;
    let place = Place::new();
    place.enqueue_many(ORDERS);
    place.expect(&["worker", "--until-quiet", "0"], 0);
    let words = ["check", "--per-second", "150"];
    let before = place.requests("GET");
    place.expect(&words, 0);
    assert_eq!(place.requests("GET") - before, ORDERS);
    let whole = std::fs::read_to_string(place.path("takings-check.csv")).unwrap();
    for kept in [0, 3, whole.len() / 2, whole.len() - 3, whole.len()] {
        std::fs::write(place.path("takings-check.csv.part"), &whole[..kept]).unwrap();
        let before = place.requests("GET");
        place.expect(&words, 0);
        // The heading, and the last whole line, whose order may have had more lines.
        let lines = whole[..kept].matches('\n').count().saturating_sub(2);
        assert_eq!(place.requests("GET") - before, ORDERS - lines, "{kept} bytes kept");
        let again = std::fs::read_to_string(place.path("takings-check.csv")).unwrap();
        let without_times = |text: &str| -> Vec<String> {
            text.lines().map(|line| line.rsplit_once(',').unwrap().0.to_owned()).collect()
        };
        assert_eq!(without_times(&again), without_times(&whole), "{kept} bytes kept");
    }
    std::fs::write(place.path("takings-check.csv.part"), &whole).unwrap();
    let before = place.requests("GET");
    place.expect(&["check", "--per-second", "150", "--anew"], 0);
    assert_eq!(place.requests("GET") - before, ORDERS);

    std::fs::write(place.path("takings-check.csv.part"), &whole[..whole.len() / 2]).unwrap();
    let output = place.command(&words).env("KLARNA_PASSWORD", "hunter2-wrong").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{errors}");
    assert!(errors.contains("the same command again goes on") && !errors.contains("hunter2"), "{errors}");
    let output = place.command(&["check", "--anew"]).env("KLARNA_BASE_URL", "http://127.0.0.1:9").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "another place than the ledger's");
    place.expect(&words, 0);
}

#[cfg(unix)]
#[test]
fn a_check_that_is_told_to_stop_keeps_what_it_has() {
    const ORDERS: usize = 120;
    let place = Place::new();
    place.enqueue_many(ORDERS);
    let words = ["check", "--per-second", "40"];
    let mut child = place.command(&words).stderr(Stdio::null()).spawn().unwrap();
    while place.requests("GET") < 53 {
        assert!(child.try_wait().unwrap().is_none(), "it ended early");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(3));
    let kept = std::fs::read_to_string(place.path("takings-check.csv.part")).unwrap();
    let orders = kept.matches('\n').count() - 1;
    assert!((53..ORDERS).contains(&orders), "{orders} orders kept");
    let before = place.requests("GET");
    place.expect(&["check", "--per-second", "150"], 0);
    // The last one may have had more lines.
    assert_eq!(place.requests("GET") - before, ORDERS - orders + 1);
}

#[test]
fn a_stub_is_enough_for_the_books() {
    let place = Place::new();
    place.order(ORDER, 10_000);
    let heading = "order_id,reference,captured_amount,description";
    place.write("ok.csv", &format!("{heading}\n{ORDER},p-1,6000,socks\n"));
    place.write("much.csv", &format!("{heading}\n{ORDER},p-2,9000,shoes\n"));
    place.expect(&["capture-file", "--yes", "ok.csv"], 0);
    place.expect(&["capture-file", "--yes", "much.csv"], 2);
    let id = place.json(&["show", ORDER, "p-1"], 0)["capture_id"].clone();
    assert_eq!(place.json(&["purge", "--keep-requests", "0", "--keep-rows", "0"], 0)["requests_wiped"], 1);
    let stub = place.json(&["show", ORDER, "p-1"], 0);
    assert_eq!(
        (&stub["capture_id"], &stub["captured_amount"], &stub["request_wiped"]),
        (&id, &6000.into(), &true.into())
    );
    assert!(stub["settled_at"].is_string() && stub["enqueued_at"].is_string(), "{stub}");
    let refused = place.json(&["show", ORDER, "p-2"], 0);
    assert_eq!((&refused["error_code"], &refused["request_wiped"]), (&"CAPTURE_NOT_ALLOWED".into(), &false.into()));
    // The file again finds the name, and the books still agree with Klarna's.
    let sent = place.requests("POST");
    place.expect(&["capture-file", "--yes", "ok.csv"], 0);
    assert_eq!(place.requests("POST"), sent);
    assert_eq!(place.json(&["check"], 0)["counts"]["agrees"], 2);
    assert!(place.sandbox.audit().is_empty());
}
