//! Tests beside the cases: how much memory and time a hostile server may cost.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use takings_sandbox::{Options, Sandbox};

use crate::case::Call;
use crate::hostile::script::Script;
use crate::hostile::{Hostile, certificates};
use crate::run::Run;
use crate::surface::Surface;

/// The memory that a server can make a process hold while it reads an answer, and afterwards.
const MOST_GROWTH_KB: u64 = 2048;

const REFUSED: &str = r#"["HTTP/1.1 400 X\r\nContent-Type: application/json\r\n\r\n","#;

fn script(text: &str) -> Script {
    serde_json::from_str(text).expect("a script")
}

/// Steps of answers that are far too long.
fn endless() -> Vec<String> {
    // A refusal with this JSON for a body.
    let refusal = |body: &str| format!(r#"{{"send": {REFUSED} {body}]}}, "close""#);
    let repeated = |field: &str, letter: &str, times: usize| {
        refusal(&format!(r#""{{\"{field}\":\"", {{"repeat": "{letter}", "times": {times}}}, "\"}}""#))
    };
    vec![
        r#"{"send": "HTTP/1.1 201 X\r\nX: "}, {"flood": {"text": "a"}}"#.to_owned(),
        r#"{"send": "HTTP/1.1 201 X\r\n"}, {"flood": {"text": "X: y\r\n"}}"#.to_owned(),
        r#"{"send": "HTTP/1.1 400 X\r\n\r\n"}, {"flood": {"text": "x"}}"#.to_owned(),
        r#"{"send": "HTTP/1.1 400 X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"}, {"flood": {"text": "X: y\r\n"}}"#
            .to_owned(),
        refusal(r#"{"repeat": "[", "times": 2000000}"#),
        refusal(r#""{\"error_messages\":[", {"repeat": "\"aaaaaaaa\",", "times": 90000}, "1]}""#),
        repeated("error_code", "a", 1_000_000),
        repeated("error_code", "a", 260_000),
        // bytes that are not UTF-8
        repeated("error_code", r"\u00ff", 262_000),
        repeated("correlation_id", "a", 262_000),
        refusal(r#""{\"error_messages\":[\"", {"repeat": "\u00ff", "times": 262000}, "\"]}""#),
        refusal(&format!(
            r#""{{", {{"repeat": "\"error_message\":[{}1],", "times": 2700}}, "\"x\":1}}""#,
            r#"\"a\","#.repeat(19)
        )),
        r#"{"send": ["HTTP/1.1 201 X\r\nLocation: ", {"repeat": "/", "times": 300000}, "\r\n\r\n"]}, "close""#
            .to_owned(),
    ]
}

/// Makes one capture against a server that answers with these steps.
fn ask(surface: &mut Surface, sandbox: &Sandbox, steps: &str, key: String) {
    let script = script(&format!(r#"{{"others": [{{"read": "request"}}, {steps}]}}"#));
    let server = Hostile::start(script, sandbox.url()).expect("a server");
    let config = json!({
        "base_url": server.url(), "username": "sandbox", "password": "sandbox", "max_attempts": 1,
        "timeout_ms": 2500, "attempt_timeout_ms": 1000,
    });
    let request = Some(json!({"captured_amount": 1}));
    let call = Call { request, idempotency_key: Some(key), ..Call::default() };
    surface.call(config.as_object(), "an order", &call).expect("an answer");
}

#[test]
fn a_hostile_answer_takes_little_memory() {
    // Memory that a process takes once, such as code and a thread's stack, does not count as growth.
    let ordinary = format!(r#"{{"send": {REFUSED} {{"repeat": "x", "times": 2000}}]}}, "close""#);
    for name in ["rust", "c", "python", "lua5.4"] {
        let mut surface = Run::new(name).surface;
        let sandbox = Sandbox::start(Options::default()).expect("a sandbox");
        let process = surface.child.id();
        (0..5).for_each(|n| ask(&mut surface, &sandbox, &ordinary, format!("warm-{n}")));
        for (n, steps) in endless().iter().enumerate() {
            let before = memory(process, "VmRSS");
            // sets the peak to the present
            std::fs::write(format!("/proc/{process}/clear_refs"), "5").expect("a process of ours");
            ask(&mut surface, &sandbox, steps, format!("key-{n}"));
            let growth = memory(process, "VmHWM").saturating_sub(before);
            eprintln!("{name}: {growth} KB for {steps:.80}");
            assert!(growth < MOST_GROWTH_KB, "{name}: {growth} KB for {steps}");
        }
    }
}

fn memory(process: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process");
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).expect("the line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Servers that would keep a capture for longer than it has time.
const SLOW: [&str; 10] = [
    r#"{"others": ["stall"]}"#,
    r#"{"others": [{"read": "request"}, "stall"]}"#,
    r#"{"others": [{"read": "request"}, {"flood": {"text": "HTTP/1.1 100 X\r\n\r\n", "pause_ms": 5}}]}"#,
    r#"{"others": [{"read": "request"}, {"send": "HTTP/1.1 400 X\r\n\r\n"}, {"flood": {"text": "x", "pause_ms": 5}}]}"#,
    r#"{"others": [{"read": "request"}, {"send": "HTTP/1.1 400 X\r\n\r\n"}, {"flood": {"text": "x"}}]}"#,
    r#"{"others": [{"read": "request"}, {"send": "HTTP/1.1 201 X\r\nX: "}, {"flood": {"text": "x", "pause_ms": 5}}]}"#,
    r#"{"others": [{"read": "request"}, {"send": "HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n"}, "close"]}"#,
    r#"{"https": true, "others": ["stall"]}"#,
    r#"{"https": true, "others": [{"read": "byte"}, "stall"]}"#,
    r#"{"https": true, "others": [{"handshake": "good"}, "stall"]}"#,
];

/// Servers that would keep a look-up for longer than it has time: a list with much to read, and an answer that is no
/// list.
const SLOW_LISTS: [&str; 2] = [
    r#"{"others": [{"read": "request"},
    {"send": ["HTTP/1.1 200 X\r\n\r\n[", {"repeat": "{\"capture_id\":\"c\\u0031\",\"reference\":\"r\"},", "times": 300000}]},
    "stall"]}"#,
    r#"{"others": [{"read": "request"},
    {"send": ["HTTP/1.1 200 X\r\n\r\n[{\"reference\":\"", {"repeat": "\u00ff", "times": 30000000}]},
    "stall"]}"#,
];

#[test]
fn no_call_outlasts_its_time_out() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, certificates::ca_pem()).expect("the CA file");
    let capture = |attempt| Call {
        request: Some(json!({"captured_amount": 1})),
        idempotency_key: Some(format!("key-{attempt}")),
        ..Call::default()
    };
    let look = |_| Call { reconcile: Some(json!({"reference": "r", "captured_amount": 1})), ..Call::default() };
    for (name, more) in [("rust", 50), ("c", 50), ("python", 100), ("lua5.4", 100)] {
        let mut surface = Run::new(name).surface;
        let bound = Duration::from_millis(TIME_OUT_MS + more);
        for script in SLOW {
            keeps_to(bound, name, script, |attempt| time_of(&mut surface, script, &ca_file, &capture(attempt)));
        }
        for script in SLOW_LISTS {
            keeps_to(bound, name, script, |attempt| time_of(&mut surface, script, &ca_file, &look(attempt)));
        }
    }
}

const TIME_OUT_MS: u64 = 400;

/// Allows five measurements, since the machine runs other tests.
fn keeps_to(bound: Duration, name: &str, script: &str, time: impl FnMut(usize) -> Duration) {
    let took: Vec<Duration> = (0..5).map(time).take_while(|took| *took > bound).collect();
    assert!(took.len() < 5, "{name}: {took:?} of {TIME_OUT_MS} ms for {script}");
}

/// How long a call takes, without the time in which other tests had the processors.
fn time_of(surface: &mut Surface, steps: &str, ca_file: &Path, call: &Call) -> Duration {
    let sandbox = Sandbox::start(Options::default()).expect("a sandbox");
    let server = Hostile::start(script(steps), sandbox.url()).expect("a server");
    let config: Value = json!({
        "base_url": server.url(), "username": "sandbox", "password": "sandbox", "ca_file": ca_file,
        "timeout_ms": TIME_OUT_MS, "max_attempts": 20, "backoff_ms": 50,
    });
    let (began, waited) = (Instant::now(), surface.waited_for_processor());
    surface.call(config.as_object(), "an order", call).expect("an answer");
    began.elapsed().saturating_sub(surface.waited_for_processor().saturating_sub(waited))
}
