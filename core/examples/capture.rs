//! Captures an order: `capture ORDER_ID FILE [KEY]`.
//!
//! `FILE` has the request as JSON, in Klarna's field names (`examples/capture.json`). The address and the account come
//! from the environment: see [`Config::from_env`]. Without `KEY` a key is derived from the order and the name
//! `parcel-1`, so that a second run gets the first run's capture. On failure the message says what happened to the
//! money.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to its terminal")]

use std::env;
use std::error::Error;
use std::fs;
use std::process::ExitCode;

use takings::{Client, Config};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [order_id, file] => capture(order_id, file, None),
        [order_id, file, key] => capture(order_id, file, Some(key)),
        _ => Err("usage: capture ORDER_ID FILE [KEY]".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn capture(order_id: &str, file: &str, key: Option<&str>) -> Result<(), Box<dyn Error>> {
    let request = fs::read_to_string(file).map_err(|why| format!("{file}: {why}"))?;
    let client = Client::new(Config::from_env()?)?;
    let key = match key {
        Some(key) => key.to_owned(),
        None => takings::idempotency_key(order_id, "parcel-1")?,
    };
    let capture = client.capture_json(order_id, &request, Some(&key))?;
    println!("capture {}", capture.capture_id());
    println!("key {}", capture.idempotency_key());
    Ok(())
}
