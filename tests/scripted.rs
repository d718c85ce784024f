//! The hostile server itself: steps that no case shows, and the server as a program.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use takings::{CaptureRequest, Client, Config};
use takings_sandbox::{Options, Sandbox};

use crate::hostile::Hostile;

const REQUEST: &[u8] = b"POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";

/// The server of a script, with the sandbox behind it.
fn started(script: Value) -> (Sandbox, Hostile) {
    let sandbox = Sandbox::start(Options::default()).expect("a sandbox");
    let hostile = Hostile::start(serde_json::from_value(script).expect("a script"), sandbox.url()).expect("a server");
    (sandbox, hostile)
}

fn connect(port: u64) -> TcpStream {
    let port = u16::try_from(port).expect("a port");
    let tcp = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).expect("a connection");
    tcp.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
    tcp
}

fn read(tcp: &mut TcpStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    tcp.read_exact(&mut bytes).expect("an answer");
    String::from_utf8(bytes).expect("a text")
}

#[test]
fn forever_answers_request_after_request() {
    let answers = json!([{"read": "request"}, {"send": "answer {number};"}]);
    let (_sandbox, hostile) = started(json!({"others": [{"forever": answers}]}));
    let mut tcp = connect(hostile.port().into());
    for number in 1..=3 {
        tcp.write_all(REQUEST).expect("a server that reads");
        assert_eq!(read(&mut tcp, 9), format!("answer {number};"));
    }
    let seen = hostile.seen();
    assert_eq!((seen.connections, seen.over), (1, 0));
}

#[test]
fn a_deaf_server_takes_little_and_leaves_the_rest() {
    let (_sandbox, hostile) = started(json!({"receive_buffer": 2048, "others": ["deaf"]}));
    let mut tcp = connect(hostile.port().into());
    tcp.set_write_timeout(Some(Duration::from_millis(200))).expect("a time-out");
    // The client's system buffers a part of the bytes: four megabytes at most.
    let stopped = tcp.write_all(&vec![b'x'; 16 << 20]).expect_err("nobody reads that");
    assert!(matches!(stopped.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{stopped}");
    assert!(hostile.seen().requests.is_empty());
}

#[test]
fn a_full_server_neither_accepts_nor_refuses() {
    let (_sandbox, hostile) = started(json!({"full": true}));
    let address = SocketAddr::from(([127, 0, 0, 1], hostile.port()));
    let refused = TcpStream::connect_timeout(&address, Duration::from_millis(200)).expect_err("there is no room");
    assert_eq!(refused.kind(), ErrorKind::TimedOut);
}

#[test]
fn a_file_is_sent_as_it_is() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("answer");
    std::fs::write(&file, "{key}\n").expect("a file");
    let (_sandbox, hostile) = started(json!({"others": [{"send": ["<", {"file": file}]}, "half_close", "stall"]}));
    let mut tcp = connect(hostile.port().into());
    let mut told = String::new();
    tcp.read_to_string(&mut told).expect("the end");
    assert_eq!(told, "<{key}\n");
}

/// The server as a program.
struct Program {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Program {
    fn start(script: &Value) -> (Program, Value) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_takings-hostile"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut program = Program { child, output };
        let told = program.ask(&script.to_string());
        (program, told)
    }

    /// Writes a line and reads the answer.
    fn ask(&mut self, line: &str) -> Value {
        let input = self.child.stdin.as_mut().expect("a pipe");
        writeln!(input, "{line}").and_then(|()| input.flush()).expect("a program that listens");
        let mut answer = String::new();
        self.output.read_line(&mut answer).expect("an answer");
        serde_json::from_str(&answer).expect("JSON")
    }

    /// Closes the program's input, and gives whether the program ended well.
    fn end(mut self) -> bool {
        drop(self.child.stdin.take());
        self.child.wait().expect("its end").success()
    }
}

#[test]
fn the_program_serves_its_script_and_ends_with_its_input() {
    let answer = "HTTP/1.1 201 Created\r\nCapture-Id: c-{number}\r\nContent-Length: 0\r\n\r\n";
    let answers = json!({"forever": [{"read": "request"}, {"send": answer}]});
    let script = json!({"https": true, "others": [{"handshake": "good"}, answers]});
    let (mut program, told) = Program::start(&script);
    let ca_file = told["ca_file"].as_str().expect("a file").to_owned();
    let config = json!({
        "base_url": told["url"], "ca_file": ca_file, "username": "u", "password": "p", "max_attempts": 1,
    });
    let client = Client::new(Config::from_json(&config.to_string()).expect("settings")).expect("a client");
    for number in 1..=2 {
        let capture = client.capture("order-1", &CaptureRequest::new(1), None).expect("a capture");
        assert_eq!(capture.capture_id(), format!("c-{number}"));
    }
    assert_eq!(program.ask(""), json!({"connections": 1, "over": 0, "requests": 2}));
    drop(client);
    // The end of the connection reaches the server a moment later.
    let is_over = |program: &mut Program| program.ask("")["over"] == 1;
    assert!((0..1000).any(|_| is_over(&mut program) || {
        std::thread::sleep(Duration::from_millis(10));
        false
    }));
    assert!(program.end());
    assert!(!Path::new(&ca_file).exists(), "{ca_file} is left behind");
}

#[test]
fn the_program_ends_while_it_floods() {
    let script = json!({"proxy": ["tunnel"], "others": [{"flood": {"text": "x"}}]});
    let (program, told) = Program::start(&script);
    let mut tcp = connect(told["port"].as_u64().expect("a port"));
    assert_eq!(read(&mut tcp, 3), "xxx");
    assert!(told["proxy"].as_str().is_some_and(|proxy| proxy.starts_with("127.0.0.1:")), "{told}");
    assert!(program.end());
}
