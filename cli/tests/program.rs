//! The program against the sandbox: bad cells, exit codes, and kills at random points.

mod place;

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use place::{ORDER, Place, order};
use serde_json::{Value, json};

#[test]
fn every_bad_cell_is_listed_and_nothing_is_enqueued() {
    let place = Place::new();
    place.write(
        "bad.csv",
        &format!(
            "\u{feff}order_id;LIEFERSCHEIN;amount;currency;tracking_number;shipping_method\n\
             {ORDER};p-1;60.00;EUR;;\n\
             {ORDER};p-2;60,00;EUR;;\n\
             {ORDER};p-3;60.001;EUR;;\n\
             {ORDER};p-4;60;XXX1;;\n\
             {ORDER};;60.00;EUR;;\n\
             ;p-6;60.00;EUR;;\n\
             {ORDER};p-1;60.00;EUR;;\n\
             {ORDER};p-8;0;EUR;;Pigeon\n\
             {ORDER};p-9;60.00;EUR\n\
             ;;;;;\n\
             F3392F8B-6116-4073-AB96-E330819E2C07;p-10;60.00;EUR;{};\n",
            "x".repeat(101)
        ),
    );
    let words = ["capture-file", "--yes", "bad.csv", "--map", "reference=LIEFERSCHEIN"];
    let found = place.json(&words, 1);
    let cells: Vec<(u64, &str)> = found["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| (problem["line"].as_u64().unwrap(), problem["column"].as_str().unwrap()))
        .collect();
    let expected = [
        (3, "amount"),
        (4, "amount"),
        (5, "currency"),
        (6, "LIEFERSCHEIN"),
        (7, "order_id"),
        (8, "LIEFERSCHEIN"),
        (9, "amount"),
        (9, "shipping_method"),
        (10, "-"),
        (12, "order_id"),
        (12, "tracking_number"),
    ];
    assert_eq!(cells, expected, "{found:#}");
    assert_eq!(place.expect(&["list"], 0), "");
    assert!(place.sandbox.requests().is_empty());
    for (text, why) in [
        ("order_id,reference\na,b\n", "neither captured_amount"),
        ("order_id,reference,captured_amount,colour\na,b,1,red\n", "the column \"colour\" means nothing"),
        ("order_id,reference,captured_amount,amount\na,b,1,1\n", "must be one of them"),
        ("[{}]", "JSON list"),
        ("", "line 1"),
    ] {
        place.write("bad.csv", text);
        let output = place.run(&["enqueue", "bad.csv"]);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(errors.contains(why) && output.status.code() == Some(1), "{text:?}: {errors}");
    }
    place.write("twice.jsonl", &format!("{{\"order_id\":\"{ORDER}\",\"order_id\":\"x\",\"reference\":\"p\"}}\n"));
    let output = place.run(&["enqueue", "twice.jsonl"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("order_id stands twice"));
}

#[test]
fn exit_codes_say_how_it_went() {
    let place = Place::new();
    place.order(ORDER, 9000);
    place.write("ok.csv", &format!("order_id,reference,captured_amount,description\n{ORDER},p-1,6000,socks\n"));
    place.expect(&["capture-file", "ok.csv"], 1);
    place.expect(&["capture-file", "--yes", "ok.csv", "--max-total", "5999"], 1);
    assert_eq!(place.expect(&["status", "--check"], 0).split(" - ").next(), Some("TAKINGS OK"));
    let found = place.json(&["capture-file", "--yes", "ok.csv"], 0);
    assert_eq!((&found["captured"], &found["open"]), (&1.into(), &0.into()));
    place.json(&["capture-file", "--yes", "ok.csv"], 0);
    assert_eq!(place.sandbox.ledger().len(), 1, "the same file again captures nothing");
    let report = std::fs::read_to_string(place.path("ok.csv.report.csv")).unwrap();
    assert!(report.lines().nth(1).is_some_and(|line| line.starts_with(&format!("2,{ORDER},p-1,6000,captured,"))));
    assert!(!report.contains("socks"), "customers' data stays in the ledger");

    place.write("other.csv", &format!("order_id,reference,captured_amount\n{ORDER},p-1,6001\n"));
    place.expect(&["enqueue", "other.csv"], 1);
    place.write("much.csv", &format!("order_id,reference,captured_amount\n{ORDER},p-2,6000\n"));
    place.expect(&["capture-file", "--yes", "much.csv"], 2);
    let critical = place.expect(&["status", "--check"], 2);
    assert!(critical.starts_with("TAKINGS CRITICAL - 1 need a person | open=0 needs_a_person=1"), "{critical}");
    let shown = place.json(&["show", ORDER, "p-2"], 0);
    assert_eq!((&shown["state"], &shown["error_code"]), (&"rejected".into(), &"CAPTURE_NOT_ALLOWED".into()));
    let refused = place.run(&["settle", ORDER, "p-2", "--send-again", "--by", "ada"]);
    assert_eq!(refused.status.code(), Some(1), "too soon");
    place.expect(&["settle", ORDER, "p-2", "--withdraw", "--not-captured", "--by", "ada"], 1);

    place.expect(&["enqueue", "--order", ORDER, "--reference", "p-3", "--amount", "30.00", "--currency", "EUR"], 0);
    place.expect(&["pause"], 0);
    let paused = place.expect(&["status", "--check"], 2);
    assert!(paused.contains("default paused: a person paused it"), "{paused}");
    place.expect(&["worker", "--until-quiet", "1"], 0);
    assert_eq!(place.json(&["status"], 0)["accounts"][0]["paused_why"], "person");
    place.expect(&["resume"], 0);
    place.expect(&["worker", "--until-quiet", "1"], 0);
    assert_eq!(place.json(&["list", "--state", "captured", "--order", ORDER, "--most", "1"], 0)["reference"], "p-1");
    place.write("back.csv", &format!("order_id,reference,refunded_amount\n{ORDER},r-1,1000\n"));
    place.expect(&["refund-file", "--yes", "back.csv"], 0);
    assert!(place.sandbox.audit().is_empty(), "{:?}", place.sandbox.audit());

    assert_eq!(
        place.expect(&["--ledger", "none.db", "status", "--check"], 3).split(" - ").next(),
        Some("TAKINGS UNKNOWN")
    );
    for words in [&["--ledger", "none.db", "status"][..], &["nonsense"], &["show", "nobody"], &["list", "--state", "x"]]
    {
        place.expect(words, 1);
    }
    let order: Value = serde_json::from_str(&place.expect(&["order", ORDER], 0)).unwrap();
    assert_eq!(order["order_id"], ORDER);
    place.expect(&["refund", ORDER, "--refunded-amount", "1", "--reference", "r-2"], 1);
    place.expect(&["refund", ORDER, "--refunded-amount", "1", "--yes"], 1);
    place.expect(&["refund", ORDER, "--refunded-amount", "999999", "--reference", "r-2", "--yes"], 2);
    for words in [&["status"][..], &["show", ORDER], &["doctor"], &["status", "--prometheus"]] {
        let text = place.expect(words, 0);
        assert!(!text.contains("socks"), "{text}");
    }
}

#[test]
fn credentials_that_are_refused_stop_the_account_and_book_nothing() {
    let place = Place::new();
    place.order(ORDER, 9000);
    place.write("ok.csv", &format!("order_id,reference,captured_amount\n{ORDER},p-1,6000\n"));
    let output =
        place.command(&["capture-file", "--yes", "ok.csv"]).env("KLARNA_PASSWORD", "hunter2-wrong").output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains("PAUSED: Klarna answers 401") && !told.contains("hunter2"), "{told}");
    place.expect(&["status", "--check"], 2);
    place.expect(&["capture-file", "--yes", "ok.csv"], 0);
    assert!(place.sandbox.audit().is_empty());
}

/// Twenty kills of the program while it checks, enqueues or sends; then it runs to its end.
#[test]
fn kills_at_random_points_capture_each_parcel_once() {
    const PARCELS: usize = 2000;
    let place = Place::new();
    let mut text = String::from("order_id,reference,captured_amount\n");
    for n in 0..PARCELS {
        let faults = if n % 50 == 0 { vec![json!({"fault": "lost_answer"})] } else { Vec::new() };
        place.order_with(&order(n), 100, &faults);
        text.push_str(&format!("{},parcel-1,100\n", order(n)));
    }
    place.write("many.csv", &text);
    let file = ["capture-file", "--yes", "many.csv"];
    for n in 0..20_u64 {
        let words = if n % 3 == 2 { &["worker"][..] } else { &file[..] };
        let mut child = place.command(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Spread over the whole run, in no order that the program's steps have.
        thread::sleep(Duration::from_millis(20 + n * 7919 % 400));
        // The program may have ended.
        let _ = child.kill();
        child.wait().unwrap();
    }
    let found = place.json(&file, 0);
    assert_eq!(found["captured"], PARCELS, "{found}");
    assert_eq!(place.sandbox.ledger().len(), PARCELS);
    assert!(place.sandbox.audit().is_empty(), "{:?}", place.sandbox.audit());
}

#[cfg(unix)]
#[test]
fn a_worker_that_is_told_to_stop_ends_well() {
    let place = Place::new();
    let mut child = place.command(&["worker"]).stderr(Stdio::null()).spawn().unwrap();
    thread::sleep(Duration::from_millis(700));
    assert_eq!(place.json(&["status"], 0)["worker_runs"], true);
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
