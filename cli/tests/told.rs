//! What people and monitors are told: the codes of `status --check`, progress with and without a terminal, and wrong flags.

mod place;

use std::process::Command;

use place::{ORDER, Place, order};
use serde_json::{Value, json};

#[test]
fn the_check_has_the_codes_of_nagios() {
    let place = Place::new();
    let db = rusqlite::Connection::open(place.path("ledger.db")).unwrap();
    let now = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)";
    let set = |sql: &str| assert!(db.execute(sql, []).unwrap() > 0, "{sql}");
    let told = |code: i32, starts: &str| {
        let line = place.expect(&["status", "--check"], code);
        assert!(line.starts_with(starts) && line.lines().count() == 1, "{line}");
        assert!(line.contains(" | open="), "the numbers of a monitor: {line}");
    };
    told(0, "TAKINGS OK - 0 open");
    place.expect(&["enqueue", "--order", ORDER, "--reference", "p-1", "--amount", "100"], 0);
    told(0, "TAKINGS OK - 1 open");
    // Code 1: it goes on by itself, or a person wanted it so.
    place.expect(&["pause"], 0);
    told(1, "TAKINGS WARNING - default paused: a person paused it");
    place.expect(&["resume"], 0);
    let paused = |why: &str, minutes: i64| {
        set(&format!("UPDATE takings_account SET paused_why = '{why}', paused_until = {now} + {minutes} * 60000"));
    };
    paused("no_answer", 5);
    told(1, "TAKINGS WARNING - default paused: nobody answers");
    paused("limited", 50);
    told(1, "TAKINGS WARNING - default paused: Klarna asked for fewer requests");
    set(&format!("UPDATE takings_account SET paused_until = {now} + 30000"));
    told(0, "TAKINGS OK");
    place.expect(&["resume"], 0);
    set(&format!("UPDATE takings_capture SET state = 'unclear', maybe = 1, why = 'unclear', alert_at = {now}"));
    told(1, "TAKINGS WARNING - 1 unclear for hours");
    // Code 2: it does not go on without a person.
    paused("credentials", 5);
    told(2, "TAKINGS CRITICAL - default paused: Klarna answers 401");
    place.expect(&["resume"], 0);
    set(&format!("UPDATE takings_capture SET alert_at = NULL, due_at = {now} - 3600000"));
    told(2, "TAKINGS CRITICAL - due for 1 h, and no worker runs");
    set(&format!(
        "UPDATE takings_capture SET state = 'stuck', why = 'several', due_at = NULL, settled_at = {now}, alert_at = {now}"
    ));
    told(2, "TAKINGS CRITICAL - 1 need a person");
    // Code 3: nobody knows.
    for words in [&["--ledger", "none.db", "status", "--check"][..], &["status", "--check", "--account", "nobody"]] {
        let line = place.expect(words, 3);
        assert!(line.starts_with("TAKINGS UNKNOWN - ") && line.lines().count() == 1, "{line}");
    }
    place.write("torn.db", "no database");
    assert!(place.expect(&["--ledger", "torn.db", "status", "--check"], 3).starts_with("TAKINGS UNKNOWN - "));
}

#[test]
fn a_wrong_flag_is_told_as_json_too() {
    let place = Place::new();
    for (words, why) in [
        (&["status", "--colour"][..], "--colour"),
        (&["nonsense"], "nonsense"),
        (&["settle", ORDER, "p-1", "--by", "ada"], "--captured"),
        (&["settle", ORDER, "p-1", "--withdraw", "--not-captured", "--by", "ada"], "cannot be used with"),
        (&["worker", "--hands", "0"], "0"),
        (&["list", "--most", "many"], "many"),
        (&["list", "--state", "x"], "--state must be"),
        (&["capture-file"], "FILE"),
    ] {
        let told = place.json(words, 1);
        let error = told["error"].as_str().unwrap();
        assert!(error.contains(why) && !error.contains('\n') && !error.starts_with("error"), "{words:?}: {error}");
        let before: Vec<&str> = ["--json"].into_iter().chain(words.iter().copied()).collect();
        assert_eq!(place.expect(&before, 1), format!("{told}\n"), "the flag stands before the command");
        // A person reads it on standard error, and standard output stays empty.
        let output = place.run(words);
        assert!(output.stdout.is_empty() && String::from_utf8_lossy(&output.stderr).contains(why), "{words:?}");
    }
}

/// Parcels that take a hand half a second each.
fn slow(place: &Place, numbers: std::ops::Range<usize>) {
    let mut text = String::from("order_id,reference,captured_amount\n");
    for n in numbers {
        place.order_with(&order(n), 100, &[json!({"fault": "delay", "seconds": 0.5})]);
        text.push_str(&format!("{},parcel-1,100\n", order(n)));
    }
    place.write("slow.csv", &text);
}

#[test]
fn without_a_terminal_a_line_tells_the_progress_every_ten_seconds() {
    const PARCELS: usize = 30;
    let place = Place::new();
    slow(&place, 0..PARCELS);
    let output = place.run(&["capture-file", "--yes", "slow.csv", "--hands", "1"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let captured: Vec<usize> =
        errors.lines().filter_map(|line| line.strip_prefix("  captured ")?.split(' ').next()?.parse().ok()).collect();
    assert!(!captured.is_empty() && captured.iter().all(|count| (1..=PARCELS).contains(count)), "{errors}");
    assert!(captured.len() < PARCELS, "a log has a line now and then, not for each parcel: {errors}");
    assert!(!errors.contains(['\r', '\u{1b}', '▕']), "no bar goes into a log: {errors:?}");
}

/// The program `script` of Linux runs a command on a terminal of its own.
#[cfg(target_os = "linux")]
#[test]
fn a_terminal_shows_a_bar() {
    let place = Place::new();
    slow(&place, 0..3);
    let on_a_terminal = |words: &str| {
        let takings = env!("CARGO_BIN_EXE_takings");
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", &format!("{takings} {words}"), "/dev/null"]);
        let ours = place.command(&[]);
        command.env_clear().envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("TERM", "xterm").env("PATH", "/usr/bin:/bin").current_dir(place.path("."));
        command.stdin(std::process::Stdio::null()).output().unwrap()
    };
    let output = on_a_terminal("capture-file --yes slow.csv --hands 1");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{shown}");
    assert!(shown.contains('▕') && shown.contains("left 3"), "{shown}");
    assert!(shown.contains("captured 3   refused 0"), "the result stands there afterwards: {shown}");
    // Programs get no bar, also on a terminal.
    slow(&place, 3..6);
    let output = on_a_terminal("--json capture-file --yes slow.csv");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.code() == Some(0) && !shown.contains('▕'), "{shown}");
    let line = shown.lines().find(|line| line.starts_with('{')).unwrap();
    assert_eq!(serde_json::from_str::<Value>(line).unwrap()["captured"], 3);
    assert!(place.sandbox.audit().is_empty());
}
