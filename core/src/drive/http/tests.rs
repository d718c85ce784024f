//! Bytes as a server gets them, and the threads that send them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use http::Method;
use zeroize::Zeroizing;

use super::*;
use crate::drive::sending::News;
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

/// Sends a call as an event loop does; `wait` waits for a wish.
fn in_steps(call: crate::Call, mut wait: impl FnMut(&Wish)) -> Result<crate::api::operation::Reply, Error> {
    let mut sending = call.sending();
    loop {
        match sending.wait(Some(Duration::ZERO)) {
            News::Nothing => wait(&sending.wish()),
            News::Attempt(_) => {}
            News::Ended(result) => return result,
        }
    }
}

#[test]
fn an_event_loop_waits_in_the_place_of_a_thread() {
    let (url, received) = server();
    // A name, whose look-up wakes the loop by a socket.
    let client = Client::new(config(&url.replace("127.0.0.1", "localhost"))).expect("a client");
    for order_id in ["order-1", "order-2"] {
        let call = client.prepare(order_id, &CaptureRequest::new(1), None).expect("a call");
        let mut wishes = 0;
        in_steps(call, |wish| {
            wishes += 1;
            #[cfg(unix)]
            assert!(wish.descriptors().count() > 0);
            wait::wait_for(&wish.sockets, wish.until.saturating_duration_since(Instant::now()));
        })
        .expect("a capture");
        // Of a connection that rested nothing is awaited but the answer.
        assert!(order_id == "order-1" || wishes == 1 || cfg!(not(unix)), "{wishes}");
    }
    assert_eq!(received.try_iter().count(), 2);
}

#[test]
fn an_event_loop_that_was_held_up_finds_the_answer() {
    let (url, received) = server();
    let mut config = config(&url);
    config.max_attempts = 1;
    config.attempt_timeout = Duration::from_secs(1);
    let client = Client::new(config).expect("a client");
    let call = client.prepare("order-1", &CaptureRequest::new(1), None).expect("a call");
    in_steps(call, |wish| {
        wait::wait_for(&wish.sockets, wish.until.saturating_duration_since(Instant::now()));
        if received.try_recv().is_ok() {
            thread::sleep(wish.until.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        }
    })
    .expect("a capture");
}

#[test]
fn a_long_answer_is_left_to_a_thread() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        let (mut connection, _) = listener.accept().expect("a connection");
        let mut head = [0; 4096];
        let _ = connection.read(&mut head).expect("a request");
        let body = format!("{{\"order_id\":\"order-1\",\"unknown\":\"{}\"}}", "x".repeat(1024 * 1024));
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        connection.write_all(head.as_bytes()).expect("a head");
        connection.write_all(body.as_bytes()).expect("a body");
    });
    let client = Client::new(config(&url)).expect("a client");
    let call = client.prepare_call("get_order", "order-1", "{}", None).expect("a call");
    let mut long = 0;
    in_steps(call, |wish| {
        long += usize::from(wish.takes_long);
        wait::wait_for(&wish.sockets, wish.until.saturating_duration_since(Instant::now()));
    })
    .expect("an order");
    assert_eq!(long, 1);
}
