//! A server whose every connection follows a script and may break every rule, as the sandbox does not: see "A hostile
//! server" in `../README.md`.

#![allow(unreachable_pub, reason = "a module of a test")]

pub mod certificates;
mod connection;
pub mod script;

use std::io::{self, Read as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use takings_sandbox::Received;

use connection::Connection;
use script::{Script, Step};

/// The events of all connections.
#[derive(Default)]
pub struct Seen {
    /// Connections to the server.
    pub connections: usize,
    /// Connections to the server whose script has come to its end, or whose client has left.
    pub over: usize,
    /// Requests that were read to their end.
    pub requests: Vec<Received>,
    /// Heads that reached the proxy.
    pub proxied: Vec<String>,
    /// Connections to the address that is named in redirects alone.
    pub elsewhere: usize,
}

/// A running server. Dropping it ends all its connections.
pub struct Hostile {
    shared: Arc<Shared>,
    url: String,
    proxy: Option<SocketAddr>,
    /// The listeners, with the addresses at which a connection wakes them at the end.
    listeners: Vec<(SocketAddr, Option<JoinHandle<()>>)>,
    /// The sockets of a server that accepts nobody.
    _full: Vec<Socket>,
}

pub(crate) struct Shared {
    script: Script,
    server: SocketAddr,
    sandbox: SocketAddr,
    /// The address that nobody should connect to, checked only at the end.
    elsewhere: TcpListener,
    stopping: AtomicBool,
    seen: Mutex<Seen>,
    open: Mutex<Vec<TcpStream>>,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elsewhere(&self) -> String {
        self.elsewhere.local_addr().map(|address| address.to_string()).unwrap_or_default()
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}

#[derive(Clone, Copy)]
enum Role {
    Server,
    Proxy,
}

/// Listens at a free port. `TcpListener::bind` would let the port be used again while its last connections linger. The
/// system then looks for a free one in half of its range only. Thousands of cases a minute leave none there.
fn listen() -> io::Result<TcpListener> {
    let socket = bound()?;
    socket.listen(128)?;
    Ok(socket.into())
}

fn bound() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    Ok(socket)
}

/// A socket that listens and has no room for another connection, and the connections that fill it.
fn full() -> io::Result<(SocketAddr, Vec<Socket>)> {
    const FILLED: Duration = Duration::from_millis(200);
    let listener = bound()?;
    listener.listen(0)?;
    let address = listener.local_addr()?;
    let mut sockets = vec![listener];
    for _ in 0..100 {
        let filler = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let is_full = filler.connect_timeout(&address, FILLED).is_err();
        sockets.push(filler);
        if is_full {
            let address = address.as_socket().ok_or_else(|| io::Error::other("no address of the internet"))?;
            return Ok((address, sockets));
        }
    }
    Err(io::Error::other("the queue of connections does not fill up"))
}

impl Hostile {
    /// `sandbox` is what requests are handed on to.
    pub fn start(script: Script, sandbox: &str) -> io::Result<Hostile> {
        let address = sandbox.trim_start_matches("http://").split('/').next().unwrap_or_default();
        let sandbox = address.parse().map_err(|_| io::Error::other("the sandbox has no plain address"))?;
        let (address, server, full) = match script.full {
            true => full().map(|(address, sockets)| (address, None, sockets))?,
            false => {
                let server = listen()?;
                if let Some(bytes) = script.receive_buffer {
                    SockRef::from(&server).set_recv_buffer_size(bytes)?;
                }
                (server.local_addr()?, Some(server), Vec::new())
            }
        };
        let proxy = script.proxy.is_some().then(listen).transpose()?;
        let elsewhere = listen()?;
        elsewhere.set_nonblocking(true)?;
        let url = format!("{}://{address}", if script.https { "https" } else { "http" });
        let shared = Arc::new(Shared {
            server: address,
            sandbox,
            elsewhere,
            stopping: AtomicBool::new(false),
            seen: Mutex::default(),
            open: Mutex::default(),
            script,
        });
        let proxy_address = proxy.as_ref().map(TcpListener::local_addr).transpose()?;
        let listeners = server
            .map(|listener| (listener, Role::Server))
            .into_iter()
            .chain(proxy.map(|listener| (listener, Role::Proxy)))
            .map(|(listener, role)| {
                let shared = shared.clone();
                let address = listener.local_addr()?;
                Ok((address, Some(thread::spawn(move || accept(&listener, &shared, role)))))
            })
            .collect::<io::Result<_>>()?;
        Ok(Hostile { shared, url, proxy: proxy_address, listeners, _full: full })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// `host:port` of the proxy, when the script has one.
    pub fn proxy(&self) -> Option<SocketAddr> {
        self.proxy
    }

    pub fn port(&self) -> u16 {
        self.shared.server.port()
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        let mut seen = self.shared.seen();
        while self.shared.elsewhere.accept().is_ok() {
            seen.elsewhere += 1;
        }
        seen
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        for (address, _) in &self.listeners {
            // A connection wakes the thread, which blocks in accept(2).
            let _ = TcpStream::connect_timeout(address, Duration::from_secs(1));
        }
        for (_, thread) in &mut self.listeners {
            // A panic in it has been reported by its thread.
            let _ = thread.take().map(JoinHandle::join);
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, role: Role) {
    let mut running = Vec::new();
    let mut number = 0;
    loop {
        let Ok((socket, _)) = listener.accept() else { break };
        if shared.stopping() {
            break;
        }
        let steps = match role {
            Role::Server => {
                shared.seen().connections += 1;
                shared.script.connections.get(number).or(shared.script.others.as_ref()).cloned()
            }
            Role::Proxy => shared.script.proxy.clone(),
        };
        number += 1;
        let steps = steps.unwrap_or_else(|| shared.script.relay());
        if let Ok(handle) = socket.try_clone() {
            shared.open().push(handle);
        }
        let shared = shared.clone();
        running.push(thread::spawn(move || {
            let last = socket.try_clone();
            let mut connection = Connection::new(&shared, socket, number, matches!(role, Role::Proxy));
            // The client may be gone, which ends a script like its last step.
            let _ = connection.play(&steps);
            let is_reset = connection.is_reset;
            drop(connection);
            // The server keeps another handle of the socket until it ends, so the connection's end is announced here.
            // For a reset that handle was dropped, and dropping the last one resets.
            if let (Ok(socket), false) = (last, is_reset) {
                let _ = socket.shutdown(Shutdown::Both);
            }
            if matches!(role, Role::Server) {
                shared.seen().over += 1;
            }
        }));
    }
    for socket in shared.open().iter() {
        // The connection may be gone already.
        let _ = socket.shutdown(Shutdown::Both);
    }
    for thread in running {
        let _ = thread.join();
    }
}

/// Passes bytes on until one side ends.
pub(crate) fn pump(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
    let mut rest = [0; 1024];
    while matches!(from.read(&mut rest), Ok(1..)) {}
}

/// The steps of a script that names none.
impl Script {
    fn relay(&self) -> Vec<Step> {
        if self.https { vec![Step::Handshake(certificates::Kind::Good), Step::Relay] } else { vec![Step::Relay] }
    }
}
