//! Bytes as a server gets them, and the threads that send them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use http::Method;
use zeroize::Zeroizing;

use super::*;
use crate::wire::Most;
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
fn a_write_announces_its_length_and_a_get_none() {
    let (url, received) = server();
    let trust = Trust::new(&config(&url)).expect("a set-up");
    let base_url: Url = url.parse().expect("a URL");
    let transport =
        Transport { trust, proxy: None, base_url: base_url.clone(), connect_timeout: Duration::from_secs(5) };
    let connections = transport.open().expect("connections");
    let secret = |text: &str| Zeroizing::new(text.to_owned());
    let endpoint = Endpoint::new(base_url, secret("Basic x"), "takings/0".into(), vec![secret("Basic x")]);
    for (method, body, announced) in [
        ("POST", "{}", Some("content-length: 2")),
        ("PATCH", "{\"a\":1}", Some("content-length: 7")),
        ("POST", "", Some("content-length: 0")),
        ("PATCH", "", Some("content-length: 0")),
        ("GET", "", None),
    ] {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let request = endpoint.request(&method, "/", None, body.into(), Most::ERROR);
        let answer = connections.exchange(&request, Duration::from_secs(5)).wait(None).expect("an end");
        assert!(matches!(answer, Event::Answered(_)), "{answer:?}");
        let (head, sent) = received.recv().expect("a request");
        let lengths: Vec<&str> =
            head.iter().map(String::as_str).filter(|line| line.starts_with("content-length")).collect();
        assert_eq!(lengths, Vec::from_iter(announced), "{method} {body:?}");
        assert_eq!(head[0], format!("{method} / http/1.1").to_lowercase());
        assert_eq!(sent, body.as_bytes());
        assert!(!head.iter().any(|line| line.starts_with("transfer-encoding")));
    }
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
