//! Several merchants in one ledger: their credentials, their places, and the trouble of one that leaves the others alone.

mod place;

use place::{ORDER, Place, order};
use serde_json::{Value, json};
use takings_sandbox::{NewOrder, Options, Sandbox};

/// Another merchant, with a password and an API key.
fn merchant(username: &str, key: &str) -> Sandbox {
    let (username, password) = (username.to_owned(), "a-password-of-se".to_owned());
    Sandbox::start(Options { username, password, api_key: Some(key.to_owned()), ..Options::default() }).unwrap()
}

fn with_order(sandbox: &Sandbox, order_id: &str, amount: i64) {
    let order_id = Some(order_id.to_owned());
    sandbox.create_order(NewOrder { order_id, order_amount: amount, ..NewOrder::default() });
}

fn enqueue(place: &Place, account: &str, order_id: &str, reference: &str) {
    let words = ["enqueue", "--account", account, "--order", order_id, "--reference", reference, "--amount", "100"];
    place.expect(&words, 0);
}

#[test]
fn an_account_that_is_not_there_is_told_with_the_command_that_makes_it() {
    let place = Place::new();
    place.write("two.csv", &format!("order_id,reference,captured_amount\n{ORDER},p-1,100\n{ORDER},p-2,100\n"));
    for words in [&["enqueue", "two.csv"][..], &["enqueue", "--order", ORDER, "--reference", "p", "--amount", "100"]] {
        let words: Vec<&str> = words.iter().copied().chain(["--account", "se"]).collect();
        let error = place.json(&words, 1);
        assert_eq!(error, json!({"error": "the ledger has no account se; takings account add se makes it"}));
    }
    place.expect(&["account", "add", "se"], 0);
    assert_eq!(place.json(&["enqueue", "two.csv", "--account", "se"], 0), json!({"enqueued": 2, "known": 0}));
}

fn states(place: &Place) -> Vec<(String, String)> {
    let text = place.expect(&["list", "--json"], 0);
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    rows.map(|row| (word(&row["account"]), word(&row["state"]))).collect()
}

#[test]
fn one_worker_serves_several_accounts() {
    let place = Place::new();
    let se = merchant("PK1_se", "klarna_test_1");
    place.order(ORDER, 100);
    with_order(&se, &order(1), 200);
    let url = se.url();
    place.write("se-password", "a-password-of-se\n");
    place.write(
        "takings.toml",
        &format!(
            "# another merchant\n[account.kustom-se]\nbase_url = \"{url}\"\nusername = \"PK1_se\"\n\
             password_file = \"se-password\"\nper_second = 1000\n"
        ),
    );
    let made = place.json(&["init", "--first-ever"], 1);
    assert!(made["error"].as_str().unwrap().contains("made before"), "{made}");
    assert_eq!(place.json(&["init"], 0)["accounts"], json!(["kustom-se"]));
    assert_eq!(place.json(&["account", "add", "kustom-se"], 0), json!({"account": "kustom-se", "new": false}));
    enqueue(&place, "default", ORDER, "p-1");
    enqueue(&place, "kustom-se", &order(1), "p-1");
    let output = place.run(&["worker", "--until-quiet", "0"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert!(errors.contains("account kustom-se") && !errors.contains("a-password"), "{errors}");
    assert_eq!((place.sandbox.ledger().len(), se.ledger().len()), (1, 1), "each at its own merchant");
    let both = [("default", "captured"), ("kustom-se", "captured")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(states(&place), both);

    let status = place.json(&["status"], 0);
    let of = |name: &str| status["accounts"].as_array().unwrap().iter().find(|one| one["account"] == name).unwrap();
    assert_eq!((&of("kustom-se")["merchant"], &of("kustom-se")["per_second"]), (&json!("PK1"), &json!(1000.0)));
    assert_eq!(place.json(&["status", "--account", "default"], 0)["accounts"].as_array().unwrap().len(), 1);
    place.expect(&["status", "--account", "nobody"], 1);
    assert!(place.expect(&["show", &order(1)], 0).contains("kustom-se"));
    place.expect(&["show", &order(1), "--account", "default"], 1);
    assert!(place.expect(&["list"], 0).contains("[kustom-se]"));
    assert_eq!(place.json(&["check", "--account", "kustom-se"], 0)["counts"], json!({"agrees": 1}));
    assert_eq!(place.json(&["order", &order(1), "--account", "kustom-se"], 0)["document"]["order_id"], order(1));
    let id = se.ledger()[0].capture_id.clone();
    place.expect(&["settle", &order(1), "p-1", "--captured", &id, "--by", "ada"], 1);
    place.expect(&["settle", "--account", "kustom-se", &order(1), "p-1", "--captured", &id, "--by", "ada"], 0);

    place.write("file.csv", &format!("order_id,reference,captured_amount\n{},p-2,100\n", order(1)));
    let found = place.json(&["capture-file", "--yes", "--account", "kustom-se", "file.csv"], 0);
    assert_eq!((&found["captured"], &found["account"]), (&json!(1), &json!("kustom-se")));
    let report = std::fs::read_to_string(place.path("file.csv.report.csv")).unwrap();
    assert!(report.lines().nth(1).unwrap().ends_with(",kustom-se"), "{report}");
    place.write("back.csv", &format!("order_id,reference,refunded_amount\n{},r-1,50\n", order(1)));
    assert_eq!(place.json(&["refund-file", "--yes", "--account", "kustom-se", "back.csv"], 0)["refunded"], 1);
    assert!(se.audit().is_empty() && place.sandbox.audit().is_empty());

    place.write("much.csv", &format!("order_id,reference,captured_amount\n{},p-3,999\n", order(1)));
    // A ledger that is new believes a refusal after ten minutes.
    place.expect(&["resume", "kustom-se", "--nothing-lost"], 0);
    place.expect(&["capture-file", "--yes", "--account", "kustom-se", "much.csv"], 2);
    let check = place.expect(&["status", "--check"], 2);
    assert!(check.starts_with("TAKINGS CRITICAL - kustom-se: 1 need a person"), "{check}");
    place.expect(&["status", "--check", "--account", "default"], 0);

    assert_eq!(place.json(&["pause", "kustom-se"], 0), json!({"account": "kustom-se", "paused": true}));
    assert_eq!(place.json(&["resume", "--account", "kustom-se"], 0), json!({"account": "kustom-se", "paused": false}));
    let rate = place.json(&["account", "rate", "kustom-se", "--per-second", "24"], 0);
    assert_eq!(rate, json!({"account": "kustom-se", "per_second": 24.0, "burst": 2.0}));
    let settings = place.json(&["doctor"], 0)["found"].to_string();
    assert!(settings.contains("account kustom-se: ") && !settings.contains("a-password"), "{settings}");
}

#[test]
fn the_trouble_of_an_account_leaves_the_others_alone() {
    let place = Place::new();
    let se = merchant("PK1_se", "klarna_test_1");
    place.order(ORDER, 100);
    with_order(&se, &order(1), 100);
    let url = se.url();
    place.write(
        "takings.toml",
        &format!(
            "[account.se]\nbase_url = \"{url}\"\nusername = \"PK1_se\"\npassword_env = \"SE_PASSWORD\"\n\
             [account.no]\nbase_url = \"{url}\"\napi_key_env = \"NO_KEY\"\n"
        ),
    );
    place.expect(&["init"], 0);
    enqueue(&place, "default", ORDER, "p-1");
    enqueue(&place, "se", &order(1), "p-1");
    enqueue(&place, "no", &order(1), "p-2");
    let mut command = place.command(&["worker", "--until-quiet", "0"]);
    let output = command.env("SE_PASSWORD", "hunter2-wrong").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "a person has to see to it: {errors}");
    assert!(errors.contains("NOT SERVED: ") && errors.contains("api_key_env: NO_KEY is not set"), "{errors}");
    assert!(!errors.contains("hunter2"), "{errors}");
    let expected = [("default", "captured"), ("se", "queued"), ("no", "queued")];
    assert_eq!(states(&place), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    let check = place.expect(&["status", "--check"], 2);
    assert!(check.contains("se paused: Klarna answers 401"), "{check}");
    assert!(se.ledger().is_empty(), "nothing was booked");
}

#[test]
fn an_account_belongs_to_one_merchant_until_a_person_says_otherwise() {
    let place = Place::new();
    let se = merchant("PK1_se", "klarna_test_1");
    with_order(&se, &order(1), 100);
    let config = |url: &str| {
        place.write(
            "takings.toml",
            &format!("[account.se]\nbase_url = \"{url}\"\napi_key_env = \"SE_KEY\"\nauth = \"raw\"\n"),
        );
    };
    config(se.url());
    place.expect(&["account", "add", "se", "--first-ever"], 0);
    let run = |key: &str, words: &[&str]| {
        let output = place.command(words).env("SE_KEY", key).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(!told.contains("klarna_test"), "{told}");
        (output.status.code().unwrap(), told)
    };
    let worker = ["worker", "--account", "se", "--until-quiet", "0"];
    assert_eq!(run("klarna_test_1", &worker).0, 0);
    // Another key may be another merchant's, whose orders these are not.
    enqueue(&place, "se", &order(1), "p-1");
    let (code, told) = run("klarna_test_2", &worker);
    assert!(code == 1 && told.contains("belongs to API key ") && told.contains("takings account rebind se"), "{told}");
    let (code, told) = run("klarna_test_2", &["doctor"]);
    assert!(code == 1 && told.contains("takings account rebind se"), "{told}");
    assert_eq!(se.requests().len(), 0);
    let (code, told) = run("klarna_test_1", &["account", "rebind", "se"]);
    assert!(code == 1 && told.contains("--by"), "{told}");
    assert_eq!(run("klarna_test_2", &["account", "rebind", "se", "--by", "ada"]).0, 0);
    assert_eq!(run("klarna_test_1", &worker).0, 1, "the former one is another now");
    assert_eq!(run("klarna_test_1", &["account", "rebind", "se", "--by", "ada"]).0, 0);
    assert_eq!(run("klarna_test_1", &worker).0, 0);
    assert_eq!(se.ledger().len(), 1);
    let status = place.json(&["status", "--account", "se"], 0);
    assert_eq!(status["accounts"][0]["bound_by"], "ada");
    assert!(status["accounts"][0]["looks_first_until"].is_null(), "the same place knows its keys");

    // A worker for the playground must not eat a live ledger.
    config(place.sandbox.url());
    let (code, told) = run("klarna_test_1", &worker);
    assert!(code == 1 && told.contains("belongs to "), "{told}");
    assert_eq!(run("klarna_test_1", &["account", "rebind", "se", "--by", "ada"]).0, 0);
    assert!(place.json(&["status", "--account", "se"], 0)["accounts"][0]["looks_first_until"].is_string());
}

#[test]
fn an_account_needs_credentials_and_a_row_its_account() {
    let place = Place::new();
    let words = ["enqueue", "--account", "se", "--order", ORDER, "--reference", "p", "--amount", "1"];
    let told = place.json(&words, 1);
    assert!(told["error"].as_str().unwrap().contains("the ledger has no account se"), "{told}");
    let told = place.json(&["worker", "--account", "se"], 1);
    assert!(told["error"].as_str().unwrap().contains("takings.toml"), "{told}");
    place.expect(&["account", "add", "a b"], 1);
    place.expect(&["--config", "none.toml", "worker"], 1);
    place.write("takings.toml", "[account.se]\npassword = \"hunter2\"\n");
    let told = place.json(&["worker", "--account", "se"], 1);
    let told = told["error"].as_str().unwrap();
    assert!(told.contains("in clear") && !told.contains("hunter2"), "{told}");
}
