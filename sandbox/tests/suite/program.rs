//! The binary.

use super::CAPTURES;
use super::client::Client;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};

fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_takings-sandbox"));
    command.args(flags).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A running program that ends with the test.
pub struct Program {
    child: Child,
    pub url: String,
}

impl Program {
    pub fn start(flags: &[&str]) -> Self {
        let mut child = command(flags).arg("--parent-watch").spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Self { child, url: line.trim_end().into() }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let ended = self.child.wait();
        assert!(std::thread::panicking() || ended.unwrap().success());
    }
}

fn fails(flags: &[&str]) -> Output {
    // Should it start after all, it ends with its standard input.
    let output = command(flags).arg("--parent-watch").output().unwrap();
    assert!(!output.status.success(), "{flags:?}");
    assert!(output.stdout.is_empty());
    output
}

#[test]
fn prints_its_url_and_ends_with_its_parent() {
    let mut program = Program::start(&["--port", "0", "--order", "o=10000", "--order", "a=b=5"]);
    assert!(program.url.starts_with("http://127.0.0.1:"));
    let mut client = Client::connect(&program.url);
    assert_eq!(client.capture("k", r#"{"captured_amount":1}"#).status, 201);
    assert_eq!(client.get("/ordermanagement/v1/orders/a%3Db").status, 200);
    drop(program.child.stdin.take());
    assert!(program.child.wait().unwrap().success());
    let mut rest = String::new();
    program.child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "one line is all it prints");
    program.child.stderr.take().unwrap().read_to_string(&mut rest).unwrap();
    assert!(rest.contains("not a Klarna product"));
}

#[test]
fn takes_its_flags() {
    let flags = ["--username", "u", "--password", "p", "--api-key", "raw", "--prefix", "/gw", "--json-401"];
    let knobs = ["--knob", "key_scope=order", "--knob", "max_refunds=3"];
    let program = Program::start(
        &[&flags[..], &["--rate-limit", "100", "--bind", "127.0.0.1", "--order", "o=5"][..], &knobs].concat(),
    );
    assert!(program.url.ends_with("/gw"));
    let target = format!("GET /gw{CAPTURES}");
    let mut client = Client::connect(&program.url);
    for (authorization, status) in [("dTpw", 200), ("raw", 200), ("c2FuZGJveDpzYW5kYm94", 401)] {
        client.send(&target, &[&format!("Authorization: Basic {authorization}")], "");
        let reply = client.reply();
        assert_eq!(reply.status, status);
        match status {
            200 => assert_eq!(reply.header("X-Ratelimit-Limit"), Some("100, 100;w=1")),
            _ => assert_eq!(reply.header("Content-Type"), Some("application/json")),
        }
    }
    let knobs = client.control("GET /gw/sandbox/knobs", "").json();
    assert_eq!((&knobs["key_scope"], &knobs["max_refunds"]), (&"order".into(), &3.into()));
}

#[test]
fn listens_for_other_machines_with_a_token_and_a_warning() {
    let mut program = Program::start(&["--listen", "0.0.0.0", "--token", "0123456789abcdef", "--order", "o=5"]);
    let port = program.url.rsplit(':').next().unwrap().to_owned();
    let mut client = Client::connect(&format!("http://127.0.0.1:{port}"));
    assert_eq!(client.get(CAPTURES).status, 200);
    assert_eq!(client.control("GET /sandbox/ledger", "").status, 401);
    drop(program.child.stdin.take());
    assert!(program.child.wait().unwrap().success());
    let mut said = String::new();
    program.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("WARNING: it listens at 0.0.0.0"), "{said}");
}

#[test]
fn writes_its_ca() {
    let folder = std::env::temp_dir().join(format!("takings-sandbox-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("ca.pem");
    let program = Program::start(&["--tls", "--ca-out", file.to_str().unwrap()]);
    assert!(program.url.starts_with("https://"));
    let pem = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"));
}

#[test]
fn helps() {
    let output = command(&["--help"]).output().unwrap();
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    for word in
        ["--parent-watch", "/sandbox/audit", "commit_late", "key_scope", "reset_before_commit", "not a Klarna product"]
    {
        assert!(help.contains(word), "{word}");
    }
    let version = command(&["--version"]).output().unwrap().stdout;
    assert_eq!(String::from_utf8(version).unwrap(), format!("takings-sandbox {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn refuses_flags_that_make_no_sense() {
    for (flags, says) in [
        (&["--prot", "0"][..], "--prot"),
        (&["--port", "x"], "x"),
        (&["stray"], "stray"),
        (&["--order", "o"], "ID=AMOUNT"),
        (&["--order", "o=1.5"], "minor units"),
        (&["--knob", "risk"], "NAME=VALUE"),
        (&["--knob", "risk=high"], "unknown variant `high`"),
        (&["--order", "o=1", "--order", "o=2"], "exists already"),
        (&["--order", "o=-1"], "order_amount"),
        (&["--ca-out", "x"], "--tls"),
        (&["--bind", "0.0.0.0"], "--listen takes any"),
        (&["--listen", "0.0.0.0"], "--listen needs --token"),
        (&["--listen", "0.0.0.0", "--token", "short"], "16 characters"),
        (&["--prefix", "x"], "prefix"),
        (&["--tls", "--ca-out", "/nowhere/ca.pem"], "/nowhere/ca.pem"),
    ] {
        let text = String::from_utf8(fails(flags).stderr).unwrap();
        assert!(text.contains(says), "{flags:?}: {text}");
    }
}
