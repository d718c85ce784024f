//! The lower limit: a TLS socket, bytes that were built before, and a search for the id. No HTTP client and no JSON.

#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Arc;

use bench::{AUTHORIZATION, Failure, Task};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

fn main() -> Result<ExitCode, Failure> {
    let task = Task::from_arguments()?;
    let (scheme, rest) = task.url.split_once("://").ok_or("the URL has no scheme")?;
    let (address, _) = rest.split_once('/').unwrap_or((rest, ""));
    let path = task.captures_url().split_off(scheme.len() + 3 + address.len());
    let tls = Arc::new(bench::tls(&task.ca_file)?);
    // as every other contender, it sends its request compact
    let body = serde_json::from_str::<serde_json::Value>(&task.request)?.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: {AUTHORIZATION}\r\nAccept: application/json\r\n\
         Content-Type: application/json\r\nUser-Agent: bench\r\nContent-Length: {}\r\nKlarna-Idempotency-Key: ",
        body.len()
    );
    let body = format!("\r\n\r\n{body}");
    task.run(|| {
        let tcp = TcpStream::connect(address)?;
        tcp.set_nodelay(true)?;
        let mut stream: Box<dyn Stream> = match scheme {
            "https" => {
                let name = ServerName::try_from(address.split(':').next().unwrap_or_default().to_owned())?;
                Box::new(StreamOwned::new(ClientConnection::new(tls.clone(), name)?, tcp))
            }
            _ => Box::new(tcp),
        };
        let mut sent = Vec::with_capacity(request.len() + 36 + body.len());
        let mut buffer = [0; 4096];
        let (request, body) = (&request, &body);
        Ok(move || {
            sent.clear();
            write!(sent, "{request}{}{body}", uuid::Uuid::new_v4())?;
            stream.write_all(&sent)?;
            stream.flush()?;
            let mut filled = 0;
            while !buffer[..filled].ends_with(b"\r\n\r\n") {
                match stream.read(&mut buffer[filled..])? {
                    0 => return Err("the answer was lost".into()),
                    read => filled += read,
                }
            }
            let head = std::str::from_utf8(&buffer[..filled])?;
            let id = head.split("\r\nCapture-Id: ").nth(1).filter(|_| head.starts_with("HTTP/1.1 201"));
            let id = id.and_then(|rest| rest.split("\r\n").next());
            Ok(id.ok_or_else(|| format!("the answer was {head}"))?.to_owned())
        })
    })
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}
