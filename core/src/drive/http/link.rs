//! A connection as the bytes in it: plain, or in TLS, which may be within the TLS of a proxy.

use std::io::{self, Read, Write};

use rustls::ClientConnection;

use super::wait::Socket;

/// A connection that never blocks.
pub(super) enum Link {
    Plain(Socket),
    Tls(Box<Tls>),
}

pub(super) struct Tls {
    session: ClientConnection,
    below: Link,
}

impl Link {
    /// TLS over a connection, before its handshake.
    pub fn tls(mut session: ClientConnection, below: Link) -> Link {
        // The request is in memory anyway. It is taken whole, and leaves as the socket takes it.
        session.set_buffer_limit(None);
        Link::Tls(Box::new(Tls { session, below }))
    }

    pub fn socket(&self) -> &Socket {
        match self {
            Link::Plain(socket) => socket,
            Link::Tls(tls) => tls.below.socket(),
        }
    }

    /// Whether bytes wait until the socket takes more.
    pub fn is_full(&self) -> bool {
        match self {
            Link::Plain(_) => false,
            Link::Tls(tls) => tls.session.wants_write() || tls.below.is_full(),
        }
    }

    /// Goes on with the handshake; true at its end. `WouldBlock` asks for another call once the socket is ready.
    pub fn shake_hands(&mut self) -> io::Result<bool> {
        match self {
            Link::Plain(_) => Ok(true),
            Link::Tls(tls) => {
                tls.session.complete_io(&mut tls.below)?;
                Ok(!tls.session.is_handshaking())
            }
        }
    }
}

impl Read for Link {
    /// `Interrupted` asks for another call: what came was no part of the answer. A flood of that must not keep the caller
    /// from looking at the clock.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let tls = match self {
            Link::Plain(socket) => return (&**socket).read(buffer),
            Link::Tls(tls) => tls,
        };
        match tls.session.reader().read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
        tls.session.read_tls(&mut tls.below)?;
        let taken = tls.session.process_new_packets();
        // An alert about nonsense, or the answer to a change of keys. Nothing of ours waits for its arrival.
        let _ = tls.flush();
        taken.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        match tls.session.reader().read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::Interrupted.into()),
            read => read,
        }
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            // `send` of the standard library raises no SIGPIPE; `write_vectored` would.
            Link::Plain(socket) => loop {
                match (&**socket).write(bytes) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    written => return written,
                }
            },
            Link::Tls(tls) => tls.session.writer().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Link::Plain(_) => Ok(()),
            Link::Tls(tls) => tls.flush(),
        }
    }
}

impl Tls {
    fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.below)?;
        }
        self.below.flush()
    }
}
