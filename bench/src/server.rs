//! The server of every contender: it takes captures as Klarna does, as cheaply as can be.
//!
//! `bench-server CA_FILE REQUEST_FILE...` writes the authority to trust into `CA_FILE`, prints where it listens
//! as JSON, `{"plain": …, "tls": …}`, and ends with its standard input. A base URL with the path `/5ms` is answered
//! 5 ms late. A capture has to be right: the path, the credentials, a key of its own, one of the requests in the
//! files. Any other is refused, so that no contender wins by doing less. `GET` of an order gives one with 100 lines and ten
//! captures. `GET /captured` gives the number of captures and of orders that were read. Under the path `/parcels` each
//! capture has a reference of its own, and the same key again gets the same answer.

#![forbid(unsafe_code)]

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use bench::{AUTHORIZATION, Failure};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use uuid::Uuid;

#[derive(Default)]
struct Klarna {
    accepted: Vec<Value>,
    /// The same without their references.
    parcels: Vec<Value>,
    /// Bodies that were checked once, so that the server costs little.
    known: RwLock<HashSet<Vec<u8>>>,
    /// The number of the capture that each key was used for.
    keys: Mutex<HashMap<Uuid, u64>>,
    captured: AtomicU64,
    order: String,
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let ca_file = arguments.next().ok_or("usage: bench-server CA_FILE REQUEST_FILE...")?;
    let mut klarna = Klarna { order: bench::halves::order()?, ..Klarna::default() };
    for file in arguments {
        let request: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
        let mut parcel = request.clone();
        parcel.as_object_mut().and_then(|fields| fields.remove("reference")).ok_or("a request has no reference")?;
        klarna.accepted.push(request);
        klarna.parcels.push(parcel);
    }
    let klarna = Arc::new(klarna);
    let (tls, authority) = tls()?;
    fs::write(&ca_file, authority)?;
    let plain = listen(klarna.clone(), None)?;
    let tls = listen(klarna, Some(Arc::new(tls)))?;
    let told = serde_json::json!({"plain": format!("http://{plain}"), "tls": format!("https://{tls}")});
    #[allow(clippy::print_stdout, reason = "it is how its address is learnt")]
    {
        println!("{told}");
    }
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

/// A certificate for the loopback address, and the authority it is of.
fn tls() -> Result<(ServerConfig, String), Failure> {
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "takings bench CA (this run only)");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let ca_key = KeyPair::generate()?;
    let authority = ca.self_signed(&ca_key)?.pem();
    let mut server = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    server.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &Issuer::new(ca, ca_key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((config, authority))
}

fn listen(klarna: Arc<Klarna>, tls: Option<Arc<ServerConfig>>) -> io::Result<std::net::SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for tcp in listener.incoming().flatten() {
            let (klarna, tls) = (klarna.clone(), tls.clone());
            // Each connection has a thread, which is cheapest for so few. Errors of a connection concern its client
            // alone.
            thread::spawn(move || {
                tcp.set_nodelay(true)?;
                match tls {
                    Some(tls) => {
                        let connection = ServerConnection::new(tls).map_err(io::Error::other)?;
                        klarna.serve(StreamOwned::new(connection, tcp))
                    }
                    None => klarna.serve::<TcpStream>(tcp),
                }
            });
        }
    });
    Ok(address)
}

impl Klarna {
    fn serve<S: Read + Write>(&self, mut stream: S) -> io::Result<()> {
        let mut buffer = Vec::new();
        let mut chunk = vec![0; 64 * 1024];
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut request = httparse::Request::new(&mut headers);
            let parsed = request.parse(&buffer);
            let end = match parsed {
                Ok(httparse::Status::Complete(head)) => {
                    let length = header(&request, "content-length").unwrap_or("0");
                    let length: usize = length.parse().map_err(io::Error::other)?;
                    (buffer.len() >= head + length).then_some((head, head + length))
                }
                Ok(httparse::Status::Partial) => None,
                Err(error) => return Err(io::Error::other(error)),
            };
            let Some((head, end)) = end else {
                match stream.read(&mut chunk)? {
                    0 => return Ok(()),
                    read => buffer.extend_from_slice(&chunk[..read]),
                }
                continue;
            };
            let answer = self.answer(&request, &buffer[head..end]);
            buffer.drain(..end);
            stream.write_all(answer.as_bytes())?;
            stream.flush()?;
        }
    }

    fn answer(&self, request: &httparse::Request<'_, '_>, body: &[u8]) -> String {
        if request.path == Some("/captured") {
            let body = format!("{{\"captured\": {}}}", self.captured.load(Ordering::Relaxed));
            return format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
        if request.method == Some("GET") && header(request, "authorization") == Some(AUTHORIZATION) {
            self.captured.fetch_add(1, Ordering::Relaxed);
            let (kind, body) = ("Content-Type: application/json", &self.order);
            return format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{kind}\r\n\r\n{body}", body.len());
        }
        match self.capture(request, body) {
            Ok((path, number)) => {
                let id = Uuid::from_u64_pair(0x4ba2_9b50_be7b_44f5, number);
                format!(
                    "HTTP/1.1 201 Created\r\nContent-Length: 0\r\nCapture-Id: {id}\r\n\
                     Location: http://127.0.0.1{path}/{id}\r\nKlarna-Correlation-Id: {id}\r\n\r\n"
                )
            }
            Err(why) => {
                let body = serde_json::json!({"error_code": "REFUSED", "error_messages": [why]}).to_string();
                format!("HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            }
        }
    }

    /// The path that the capture is found under, and its number.
    fn capture<'r>(&self, request: &httparse::Request<'_, 'r>, body: &[u8]) -> Result<(&'r str, u64), &'static str> {
        let path = request.path.unwrap_or_default();
        let (is_parcel, path) = path.strip_prefix("/parcels").map_or((false, path), |path| (true, path));
        let (delay, path) = match path.split_once("ms/") {
            Some((delay, _)) => {
                let milliseconds = delay.strip_prefix('/').and_then(|text| text.parse().ok());
                (milliseconds.ok_or("the delay is no number")?, &path[delay.len() + 2..])
            }
            None => (0, path),
        };
        let order = path.strip_prefix("/ordermanagement/v1/orders/").and_then(|rest| rest.strip_suffix("/captures"));
        if request.method != Some("POST") || order.is_none_or(|order| order.is_empty() || order.contains('/')) {
            return Err("this is no capture");
        }
        if header(request, "authorization") != Some(AUTHORIZATION) {
            return Err("the credentials are wrong");
        }
        if header(request, "content-type").is_none_or(|kind| !kind.starts_with("application/json")) {
            return Err("the content type is wrong");
        }
        if is_parcel || !self.known.read().unwrap_or_else(PoisonError::into_inner).contains(body) {
            let mut value: Value = serde_json::from_slice(body).map_err(|_| "the body is no JSON")?;
            if is_parcel {
                let fields = value.as_object_mut().ok_or("the body is no object")?;
                fields.remove("reference").ok_or("the reference is missing")?;
            }
            let accepted = if is_parcel { &self.parcels } else { &self.accepted };
            if !accepted.contains(&value) {
                return Err("the request is not the one to send");
            }
            // The bodies of parcels all differ, so none of them comes again.
            if !is_parcel {
                self.known.write().unwrap_or_else(PoisonError::into_inner).insert(body.to_vec());
            }
        }
        let key = header(request, "klarna-idempotency-key").and_then(|key| Uuid::try_parse(key).ok());
        let key = key.ok_or("the idempotency key is no UUID")?;
        let number = match self.keys.lock().unwrap_or_else(PoisonError::into_inner).entry(key) {
            Entry::Occupied(_) if !is_parcel => return Err("the idempotency key was used before"),
            Entry::Occupied(used) => *used.get(),
            Entry::Vacant(unused) => *unused.insert(self.captured.fetch_add(1, Ordering::Relaxed)),
        };
        if delay > 0 {
            thread::sleep(Duration::from_millis(delay));
        }
        Ok((path, number))
    }
}

fn header<'r>(request: &httparse::Request<'_, 'r>, name: &str) -> Option<&'r str> {
    let found = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    found.and_then(|header| std::str::from_utf8(header.value).ok())
}
