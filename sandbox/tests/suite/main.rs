//! The sandbox over real sockets, from the point of view of a client that sees every byte.

mod api;
mod client;
mod control;
mod direct;
mod faults;
mod operations;
mod program;
mod readme;
mod tls;

use client::{Client, Reply};
use std::time::{Duration, Instant};
use takings_sandbox::{NewOrder, Options, Sandbox};

/// A sandbox with an order `o` over 10,000.
fn sandbox() -> Sandbox {
    sandbox_with(Options::default())
}

fn sandbox_with(options: Options) -> Sandbox {
    let sandbox = Sandbox::start(options).unwrap();
    let order = NewOrder { order_id: Some("o".into()), order_amount: 10_000, ..NewOrder::default() };
    assert_eq!(sandbox.create_order(order), "o");
    sandbox
}

const CAPTURES: &str = "/ordermanagement/v1/orders/o/captures";

/// A capture of 100 from order `o` on a connection of its own.
fn capture(sandbox: &Sandbox, key: &str) -> Reply {
    let mut client = Client::connect(sandbox.url());
    client.capture(key, r#"{"captured_amount":100}"#)
}

/// Waits for something that another thread is about to do.
#[track_caller]
fn eventually(mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < end, "it did not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}
