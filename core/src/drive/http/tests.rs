//! The threads that send.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use super::*;
use crate::{CaptureRequest, Client, Credentials};

/// The lines of a head in lower case, and the body.
type Received = (Vec<String>, Vec<u8>);

/// Answers each request with a capture of its own.
fn server() -> (String, Receiver<Received>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (sender, received) = mpsc::channel();
    let mut captures = 0;
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = BufReader::new(connection.expect("a connection"));
            loop {
                let lines = connection.by_ref().lines().map(|line| line.expect("a line").to_lowercase());
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                if head.is_empty() {
                    break;
                }
                let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                let mut body = vec![0; length.unwrap_or(0)];
                connection.read_exact(&mut body).expect("a body");
                if sender.send((head, body)).is_err() {
                    return;
                }
                captures += 1;
                let answer = format!("HTTP/1.1 201 Created\r\nCapture-Id: c-{captures}\r\nContent-Length: 0\r\n\r\n");
                connection.get_mut().write_all(answer.as_bytes()).expect("an answer");
            }
        }
    });
    (url, received)
}

fn config(url: &str) -> Config {
    Config::at(url, Credentials::basic("PK0000_0a1b2c", "secret"))
}

#[test]
fn a_call_works_inside_a_runtime_of_the_callers() {
    let (url, received) = server();
    let client = Client::new(config(&url)).expect("a client");
    let capture = |order_id: &str| client.capture(order_id, &CaptureRequest::new(1), None).expect("a capture");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for order_id in ["order-1", "order-2"] {
        runtime.block_on(async { capture(order_id) });
    }
    // The same connections serve a thread without a runtime.
    capture("order-3");
    assert_eq!(received.try_iter().count(), 3);
}
