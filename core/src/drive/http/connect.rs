//! Makes a connection: looks the name up, connects, asks a proxy for a tunnel, shakes hands. No byte of a request leaves.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use socket2::{Domain, Protocol, SockRef, Socket as NewSocket, TcpKeepalive, Type};
use url::{Host, Url};

use super::failure::{self, of_system};
use super::link::Link;
use super::proxy::Proxy;
use super::tls::handshake_failure;
use super::wait::{Socket, Wait, slot};

/// How long an address has before the next one is tried beside it (RFC 8305, 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// The most bytes of a proxy's answer.
const MOST_OF_TUNNEL: usize = 8192;

/// Where a connection leads.
pub(super) struct Target {
    host: Host,
    port: u16,
    /// The TLS set-up; none for plain http.
    tls: Option<Arc<ClientConfig>>,
    proxy: Option<Proxy>,
    /// The certificate authorities that are trusted, in words.
    trusted: Arc<str>,
}

impl Target {
    pub fn new(url: &Url, tls: Option<Arc<ClientConfig>>, proxy: Option<Proxy>, trusted: Arc<str>) -> Target {
        let host = url.host().map_or_else(|| Host::Domain(String::new()), |host| host.to_owned());
        Target { host, port: url.port_or_known_default().unwrap_or_default(), tls, proxy, trusted }
    }

    /// A connection, or why there is none, in words.
    pub async fn connect(&self, wait: &Wait, until: Instant) -> Result<Link, String> {
        let connected = self.link(wait, until).await;
        connected.map_err(|why| format!("no connection to {}:{}{why}", self.host, self.port))
    }

    async fn link(&self, wait: &Wait, until: Instant) -> Result<Link, String> {
        let Some(proxy) = &self.proxy else {
            let colon = |why: String| format!(": {why}");
            let socket = reach(&self.host, self.port, wait, until).await.map_err(colon)?;
            return self.shake_hands(Link::Plain(socket), &self.host, wait, until).await.map_err(colon);
        };
        let of_proxy = |why: String| format!(" (over the proxy {}): {why}", proxy.shown());
        let mut link = Link::Plain(reach(&proxy.host, proxy.port, wait, until).await.map_err(of_proxy)?);
        if proxy.is_tls {
            link = self.shake_hands(link, &proxy.host, wait, until).await.map_err(of_proxy)?;
        }
        let request = proxy.connect(&self.host, self.port);
        tunnel(&mut link, &request, wait, until).await.map_err(|did| format!(": the proxy {} {did}", proxy.shown()))?;
        self.shake_hands(link, &self.host, wait, until).await.map_err(of_proxy)
    }

    async fn shake_hands(&self, link: Link, host: &Host, wait: &Wait, until: Instant) -> Result<Link, String> {
        let Some(tls) = &self.tls else { return Ok(link) };
        let name = match host {
            Host::Domain(name) => ServerName::try_from(name.clone()).map_err(|error| error.to_string())?,
            Host::Ipv4(address) => ServerName::from(IpAddr::from(*address)),
            Host::Ipv6(address) => ServerName::from(IpAddr::from(*address)),
        };
        let of_tls = |error: &rustls::Error| handshake_failure(error, &host.to_string(), &self.trusted);
        let session = ClientConnection::new(tls.clone(), name).map_err(|error| of_tls(&error))?;
        let mut link = Link::tls(session, link);
        loop {
            match link.shake_hands() {
                Ok(true) => return Ok(link),
                Ok(false) if Instant::now() < until => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !wait.ready(vec![(link.socket().clone(), link.is_full())], until).await {
                        return Err(TOO_LONG.into());
                    }
                }
                Ok(false) => return Err(TOO_LONG.into()),
                Err(error) => {
                    return Err(match error.get_ref().and_then(|inner| inner.downcast_ref()) {
                        Some(error) => of_tls(error),
                        None => match error.kind() {
                            io::ErrorKind::UnexpectedEof => "it was closed during the TLS handshake".to_owned(),
                            io::ErrorKind::ConnectionReset => {
                                "it was reset, perhaps during the TLS handshake".to_owned()
                            }
                            _ => of_system(&error),
                        },
                    });
                }
            }
        }
    }
}

const TOO_LONG: &str = "it took too long";

/// A connected socket of a host.
async fn reach(host: &Host, port: u16, wait: &Wait, until: Instant) -> Result<Socket, String> {
    let addresses = match host {
        Host::Ipv4(address) => vec![SocketAddr::from((*address, port))],
        Host::Ipv6(address) => vec![SocketAddr::from((*address, port))],
        Host::Domain(name) => look_up(name, port, wait, until).await?,
    };
    race(addresses, wait, until).await.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut if Instant::now() >= until => TOO_LONG.to_owned(),
        _ => of_system(&error),
    })
}

/// Looks a name up in a thread of its own: a look-up can block for half a minute, and cannot be interrupted.
async fn look_up(name: &str, port: u16, wait: &Wait, until: Instant) -> Result<Vec<SocketAddr>, String> {
    let (found, name) = (slot().map_err(|error| of_system(&error))?, name.to_owned());
    let look = {
        let found = found.clone();
        move || {
            let addresses = (name.as_str(), port).to_socket_addrs().map(Vec::from_iter).map_err(|error| {
                // A system's resolver that cannot open its files says that there is no such name.
                failure::shortage().unwrap_or_else(|| of_system(&error))
            });
            found.give(addresses);
        }
    };
    thread::Builder::new()
        .name("takings names".into())
        .spawn(look)
        .map_err(|error| failure::no_thread("to look its name up", &error))?;
    wait.given(&found, until).await.unwrap_or_else(|| Err(TOO_LONG.into()))
}

/// Connects to the first address that answers. An address that does not answer at once soon has the next one beside it.
async fn race(addresses: Vec<SocketAddr>, wait: &Wait, until: Instant) -> io::Result<Socket> {
    let mut rest = alternating(addresses).into_iter();
    let mut running: Vec<Socket> = Vec::new();
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut next = Instant::now();
    loop {
        if running.is_empty() || next <= Instant::now() {
            match rest.next().map(begin) {
                Some(Ok(socket)) => running.push(Arc::new(socket)),
                Some(Err(error)) => {
                    failed = error;
                    continue;
                }
                None if running.is_empty() => return Err(failed),
                None => {}
            }
            next = Instant::now() + HEAD_START;
        }
        let moment = if rest.len() > 0 { next.min(until) } else { until };
        wait.ready(running.iter().map(|socket| (socket.clone(), true)).collect(), moment).await;
        let mut connected = None;
        running.retain(|socket| match socket.take_error().and_then(|error| error.map_or(Ok(()), Err)) {
            Ok(()) => {
                if connected.is_none() && socket.peer_addr().is_ok() {
                    connected = Some(socket.clone());
                }
                true
            }
            Err(error) => {
                failed = error;
                false
            }
        });
        if let Some(socket) = connected {
            return Ok(socket);
        }
        if until <= Instant::now() {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

/// The addresses of both families in turn, in the system's order within each.
fn alternating(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (one, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == first);
    let mut other = other.into_iter();
    let mut mixed: Vec<_> = one.into_iter().flat_map(|address| [Some(address), other.next()]).flatten().collect();
    mixed.extend(other);
    mixed
}

fn begin(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = NewSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&address.into()) {
        Err(error) if !is_under_way(&error) => return Err(error),
        _ => {}
    }
    // A connection that rests for long is known to be gone before it is used. Without that it is merely found out later.
    let probes = TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(15));
    let _ = SockRef::from(&socket).set_tcp_keepalive(&probes);
    Ok(socket.into())
}

fn is_under_way(error: &io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(nix::errno::Errno::EINPROGRESS as i32) {
        return true;
    }
    error.kind() == io::ErrorKind::WouldBlock
}

/// Asks a proxy for a tunnel, or says what the proxy did.
async fn tunnel(link: &mut Link, request: &[u8], wait: &Wait, until: Instant) -> Result<(), &'static str> {
    const BROKE_OFF: &str = "broke off before it answered CONNECT";
    let mut unsent = request;
    let mut head = Vec::new();
    loop {
        while !unsent.is_empty() {
            match link.write(unsent) {
                Ok(sent) => unsent = &unsent[sent..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return Err(BROKE_OFF),
            }
        }
        match link.flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(BROKE_OFF),
            _ => {}
        }
        // Bytes are read singly, since those behind the head belong to the tunnel.
        let mut byte = [0];
        match link.read(&mut byte) {
            Ok(0) => return Err("closed the connection before it answered CONNECT"),
            Ok(_) => {
                head.push(byte[0]);
                if head.ends_with(b"\r\n\r\n") {
                    return answer_to_connect(&head);
                }
                if head.len() >= MOST_OF_TUNNEL {
                    return Err("answered CONNECT with a head that does not end");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted && Instant::now() < until => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let writes = !unsent.is_empty() || link.is_full();
                if !wait.ready(vec![(link.socket().clone(), writes)], until).await {
                    return Err("took too long to answer CONNECT");
                }
            }
            Err(_) => return Err(BROKE_OFF),
        }
    }
}

fn answer_to_connect(head: &[u8]) -> Result<(), &'static str> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut answer = httparse::Response::new(&mut headers);
    match answer.parse(head).ok().and(answer.code) {
        Some(200..=299) => Ok(()),
        Some(407) => {
            Err("answered 407 to CONNECT: it asks for a user and password, or takes others than those in its URL")
        }
        _ => Err("answered CONNECT with a refusal, or with something that is not HTTP"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

    use super::*;

    #[test]
    fn families_take_turns() {
        let of = |last: u8| SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 1));
        let six = |last: u16| SocketAddr::from((Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, last), 1));
        assert_eq!(alternating(vec![six(1), six(2), of(1), of(2)]), [six(1), of(1), six(2), of(2)]);
        assert_eq!(alternating(vec![of(1), six(1), six(2)]), [of(1), six(1), six(2)]);
        assert_eq!(alternating(vec![of(1)]), [of(1)]);
    }

    #[test]
    fn an_address_that_refuses_is_followed_by_the_next() {
        let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let listening = listener.local_addr().unwrap();
        let reached = |addresses: Vec<SocketAddr>| {
            let wait = Arc::new(Wait::default());
            let until = Instant::now() + Duration::from_secs(20);
            let own = wait.clone();
            let mut racing: std::pin::Pin<Box<dyn Future<Output = _> + Send>> =
                Box::pin(async move { race(addresses, &own, until).await.map(|socket| socket.peer_addr().unwrap()) });
            wait.run(&mut racing, None).unwrap().map_err(|error| error.kind())
        };
        assert_eq!(reached(vec![refusing, listening]), Ok(listening));
        assert_eq!(reached(vec![refusing]), Err(io::ErrorKind::ConnectionRefused));
        assert_eq!(reached(vec![]), Err(io::ErrorKind::NotFound));
    }
}
