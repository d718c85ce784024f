//! The program's words: JSON from each command, no set-up, signals, and nothing that must not be told.

mod place;

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use place::{ORDER, Place, order};
use serde_json::{Value, json};

#[test]
fn a_file_needs_no_set_up() {
    let place = Place::empty();
    place.order(ORDER, 10_000);
    let lines = format!(
        "{{\"order_id\": \"{ORDER}\", \"reference\": \"p-1\", \"captured_amount\": 6000, \"order_lines\": [{{\"name\": \
         \"socks\", \"quantity\": 1, \"unit_price\": 6000, \"total_amount\": 6000}}]}}\n\n{{\"order_id\": \"{ORDER}\", \
         \"reference\": \"p-2\", \"amount\": \"40.00\", \"currency\": \"EUR\"}}\n"
    );
    let output = place.fed(&["capture-file", "--yes", "-"], &lines);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert!(errors.contains("2 captures") && errors.contains("is looked for before it is sent"), "{errors}");
    // Before each capture its order was read, since a ledger that is new knows nothing of earlier ones.
    assert_eq!((place.requests("GET"), place.requests("POST")), (2, 2));
    assert!(place.sandbox.audit().is_empty());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(place.path("ledger.db")).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "customers' data is for its owner alone");
    }
    // Standard input is no place for a report.
    let names: Vec<String> = std::fs::read_dir(place.path("."))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(!names.iter().any(|name| name.contains("report")), "{names:?}");
    let output = place.fed(&["enqueue", "-"], lines.lines().next().unwrap());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains(": 1 capture, "), "{errors}");
    let output = place.fed(&["capture-file", "-"], &lines);
    assert_eq!(output.status.code(), Some(1), "nobody said yes");
}

#[test]
fn each_command_speaks_json() {
    let place = Place::empty();
    place.order(ORDER, 10_000);
    assert_eq!(place.json(&["status"], 1)["error"].as_str().map(|why| why.contains("no ledger")), Some(true));
    assert_eq!(place.json(&["doctor"], 0)["well"], true);
    assert_eq!(place.json(&["init"], 0)["new"], true);
    assert_eq!(place.json(&["init"], 0)["new"], false);
    place.write("ok.csv", &format!("order_id,reference,captured_amount,description\n{ORDER},p-1,6000,socks\n"));
    place.write("bad.csv", &format!("order_id,reference,captured_amount\n{ORDER},p-1,60.00\n"));
    let found = place.json(&["enqueue", "bad.csv"], 1);
    let problem = &found["problems"][0];
    assert_eq!(
        (&found["enqueued"], &problem["line"], &problem["column"]),
        (&json!(0), &json!(2), &json!("captured_amount"))
    );
    assert_eq!(place.json(&["enqueue", "ok.csv"], 0), json!({"enqueued": 1, "known": 0}));
    assert_eq!(place.json(&["enqueue", "ok.csv"], 0), json!({"enqueued": 0, "known": 1}));
    assert_eq!(place.json(&["pause"], 0), json!({"account": "default", "paused": true}));
    assert_eq!(place.json(&["worker", "--until-quiet", "0"], 0)["done"], 0);
    assert_eq!(place.json(&["capture-file", "--yes", "ok.csv"], 3)["open"], 1);
    assert_eq!(place.json(&["resume"], 0), json!({"account": "default", "paused": false}));
    assert_eq!(place.json(&["worker", "--until-quiet", "0"], 0)["done"], 1);
    assert_eq!(place.json(&["capture-file", "--yes", "ok.csv"], 0)["captured"], 1);
    assert_eq!(place.json(&["list"], 0)["state"], "captured");
    let shown = place.json(&["show", ORDER], 0);
    assert_eq!((&shown["captured_amount"], &shown["reference"]), (&json!(6000), &json!("p-1")));
    let id = shown["capture_id"].as_str().unwrap();
    assert_eq!(place.json(&["settle", ORDER, "p-1", "--captured", id, "--by", "ada"], 0)["state"], "captured");
    assert!(place.json(&["settle", ORDER, "p-1", "--captured", "x", "--by", "ada"], 1)["error"].is_string());
    assert!(place.json(&["restored"], 0)["looks_first_until"].is_string());
    let output = place.run(&["restored"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("open now, or is enqueued in the next 30 days"), "{errors}");
    assert_eq!(place.json(&["purge", "--keep-requests", "0"], 0)["requests_wiped"], 1);
    assert_eq!(place.json(&["check"], 0)["counts"]["agrees"], 1);
    assert_eq!(place.json(&["order", ORDER], 0)["document"]["order_id"], ORDER);
    assert!(place.json(&["order", "nobody"], 2)["error"]["message"].is_string());
    assert_eq!(place.json(&["status", "--html", "status.html"], 0)["html"], "status.html");
    let page = std::fs::read_to_string(place.path("status.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && !page.contains("socks"), "{page}");
    let metrics = place.expect(&["status", "--prometheus"], 0);
    assert!(metrics.contains("takings_rows{account=\"default\",kind=\"capture\",state=\"captured\"} 1"), "{metrics}");
    assert!(place.expect(&["init", "--print"], 0).contains("CREATE TABLE takings_capture"));
}

#[test]
fn help_teaches_and_settings_are_asked_for() {
    let place = Place::empty();
    for words in [&["--help"][..], &["capture-file", "--help"], &["check", "--help"], &["refund", "--help"]] {
        assert!(place.expect(words, 0).contains("takings"), "{words:?}");
    }
    place.write("ok.csv", &format!("order_id,reference,captured_amount\n{ORDER},p-1,6000\n"));
    let mut command = place.command(&["capture-file", "--yes", "ok.csv"]);
    let output = command.env_remove("KLARNA_USERNAME").env_remove("KLARNA_PASSWORD").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("KLARNA_"), "{errors}");
    assert!(!place.path("ledger.db").exists(), "nothing was made");
    // A flag would show the password to all users of the machine.
    assert_eq!(place.run(&["worker", "--password", "x"]).status.code(), Some(1));
    // Checks need no credentials.
    let mut command = place.command(&["enqueue", "ok.csv"]);
    let output = command.env_remove("KLARNA_USERNAME").env_remove("KLARNA_PASSWORD").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[cfg(unix)]
#[test]
fn a_run_that_is_told_to_stop_ends_what_it_has_begun() {
    const PARCELS: usize = 12;
    let place = Place::new();
    let mut text = String::from("order_id,reference,captured_amount\n");
    for n in 0..PARCELS {
        place.order_with(&order(n), 100, &[json!({"fault": "delay", "seconds": 1.5})]);
        text.push_str(&format!("{},parcel-1,100\n", order(n)));
    }
    place.write("slow.csv", &text);
    let words = ["capture-file", "--yes", "slow.csv", "--hands", "4", "--json"];
    let signalled = |signals: usize| {
        let before = place.requests("POST");
        let mut command = place.command(&words);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        while place.requests("POST") == before {
            thread::sleep(Duration::from_millis(10));
        }
        for _ in 0..signals {
            assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
            thread::sleep(Duration::from_millis(300));
        }
        child.wait_with_output().unwrap()
    };
    let output = signalled(1);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{errors}");
    assert!(errors.contains("stopping: nothing new is sent"), "{errors}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let sent = place.sandbox.ledger().len();
    assert_eq!(told["captured"], sent, "what was under way is known");
    assert_eq!(told["open"], PARCELS - sent);
    assert!(sent < PARCELS);
    for row in place.expect(&["list", "--state", "queued", "--json"], 0).lines() {
        let row: Value = serde_json::from_str(row).unwrap();
        assert_eq!(row["maybe_sent"], false, "the others were handed back: {row}");
    }
    assert_eq!(signalled(2).status.code(), Some(128 + 2), "a second signal ends it at once");
    place.json(&["capture-file", "--yes", "slow.csv"], 0);
    assert_eq!(place.sandbox.ledger().len(), PARCELS);
    assert!(place.sandbox.audit().is_empty(), "{:?}", place.sandbox.audit());
}

/// A connection string is no path: SQLite would make a file of that name, and the password would stand in it.
#[test]
fn a_ledger_is_a_path_or_a_url() {
    let place = Place::empty();
    for given in [
        "host=db.example.com dbname=shop user=shop password=hunter2",
        "password=hunter2",
        "Postgres://shop:hunter2@db.example.com/shop",
        "mysql://shop:hunter2@db.example.com/shop",
    ] {
        for words in [&["init"][..], &["status"], &["worker"]] {
            let output = place.command(&[words, &["--ledger", given]].concat()).output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{given}: {errors}");
            assert!(errors.contains("postgres://user@host/database") && !errors.contains("hunter2"), "{errors}");
        }
    }
    let names = std::fs::read_dir(place.path(".")).unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<_> = names.filter(|name| name.to_string_lossy().contains("hunter2")).collect();
    assert!(names.is_empty(), "{names:?}");
}
