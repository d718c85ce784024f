//! A sandbox, and a folder with a ledger, for the tests of the program.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use takings_sandbox::{NewOrder, Options, PlannedFault, Sandbox};

/// An order's id.
pub const ORDER: &str = "f3392f8b-6116-4073-ab96-e330819e2c07";

/// A sandbox and a folder.
pub struct Place {
    folder: tempfile::TempDir,
    pub sandbox: Sandbox,
}

impl Place {
    /// Without a ledger.
    pub fn empty() -> Place {
        Place { folder: tempfile::tempdir().unwrap(), sandbox: Sandbox::start(Options::default()).unwrap() }
    }

    /// With a ledger that need not look first, and that sends as fast as it can.
    pub fn new() -> Place {
        let place = Place::empty();
        place.expect(&["init", "--first-ever"], 0);
        let db = rusqlite::Connection::open(place.path("ledger.db")).unwrap();
        db.execute("UPDATE takings_account SET per_second = 100000, burst = 100000", []).unwrap();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_takings"));
        command.env_clear().current_dir(self.folder.path()).args(words);
        command.env("TAKINGS_LEDGER", self.path("ledger.db")).env("KLARNA_BASE_URL", self.sandbox.url());
        command.env("KLARNA_USERNAME", "sandbox").env("KLARNA_PASSWORD", "sandbox");
        command.stdin(Stdio::null());
        command
    }

    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs a command that must end with this code. Gives its standard output.
    pub fn expect(&self, words: &[&str], code: i32) -> String {
        let output = self.run(words);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}\n{errors}");
        assert!(!errors.contains("panicked"), "{errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn json(&self, words: &[&str], code: i32) -> Value {
        let words: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
        let text = self.expect(&words, code);
        serde_json::from_str(&text).unwrap_or_else(|why| panic!("{words:?}: {why}: {text}"))
    }

    /// Runs a command with this standard input.
    pub fn fed(&self, words: &[&str], input: &str) -> Output {
        let mut command = self.command(words);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub fn order(&self, order_id: &str, amount: i64) {
        self.order_with(order_id, amount, &[]);
    }

    /// An order whose requests meet these faults.
    pub fn order_with(&self, order_id: &str, amount: i64, faults: &[Value]) {
        let order_id = Some(order_id.to_owned());
        let faults = faults.iter().map(|fault| serde_json::from_value::<PlannedFault>(fault.clone()).unwrap());
        let faults = faults.collect();
        self.sandbox.create_order(NewOrder { order_id, order_amount: amount, faults, ..NewOrder::default() });
    }

    /// How many requests were of this method.
    pub fn requests(&self, method: &str) -> usize {
        self.sandbox.requests().iter().filter(|request| request.method == method).count()
    }
}

/// The id of the n-th order.
pub fn order(n: usize) -> String {
    format!("f3392f8b-6116-4073-ab96-{n:012}")
}
