//! `takings-hostile`: the scripted hostile server as a program, for tests that are not in Rust.
//!
//! The first line of standard input is the script. The program prints a line with the addresses of its server, proxy and
//! sandbox and the file of its CA. Every further line of input is answered with a line about what the server has seen. The
//! program ends with its standard input.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "that is how it answers")]

#[allow(dead_code, reason = "the tests in Rust use all of it")]
#[path = "mod.rs"]
mod hostile;

use std::io::{self, Write as _};

use hostile::{Hostile, certificates};
use serde_json::{Value, json};
use takings_sandbox::{Options, Sandbox};

fn main() -> io::Result<()> {
    let mut lines = io::stdin().lines();
    let Some(script) = lines.next() else { return Err(io::Error::other("no script on standard input")) };
    let script = serde_json::from_str(&script?).map_err(|error| io::Error::other(format!("the script: {error}")))?;
    let folder = tempfile::tempdir()?;
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, certificates::ca_pem())?;
    let sandbox = Sandbox::start(Options::default())?;
    let server = Hostile::start(script, sandbox.url())?;
    say(&json!({
        "url": server.url(),
        "port": server.port(),
        "proxy": server.proxy().map(|proxy| proxy.to_string()),
        "sandbox": sandbox.url(),
        "ca_file": ca_file,
    }))?;
    for line in lines {
        line?;
        let seen = server.seen();
        say(&json!({"connections": seen.connections, "over": seen.over, "requests": seen.requests.len()}))?;
    }
    Ok(())
}

fn say(value: &Value) -> io::Result<()> {
    println!("{value}");
    io::stdout().flush()
}
