//! Sends one request over a connection that rests, or a new one, and reads its answer.

use std::io::{self, Read as _, Write as _};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::connect::Target;
use super::failure::lost;
use super::link::Link;
use super::wait::{Wait, held};
use crate::decide::machine::Event;
use crate::wire::HttpRequest;
use crate::wire::http1::{Http1, Sent};

/// How long a connection rests at most. Servers and the boxes before them close it sooner or later.
const REST: Duration = Duration::from_secs(90);

/// How much is read at once.
const PIECE: usize = 16 * 1024;

/// The bytes of an answer from which on its reading takes long for an event loop. A capture's answer has hundreds.
const LONG: usize = 256 * 1024;

/// The time of one attempt.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    given: Duration,
    end: Instant,
}

impl Deadline {
    pub fn after(given: Duration) -> Deadline {
        Deadline { given, end: Instant::now() + given }
    }
}

/// A connection, and the memory that its answers are read into.
struct Line {
    link: Link,
    piece: Vec<u8>,
    since: Instant,
}

pub(super) struct Pool {
    pub target: Target,
    pub connect_timeout: Duration,
    resting: Mutex<Vec<Line>>,
}

impl Pool {
    pub fn new(target: Target, connect_timeout: Duration) -> Pool {
        Pool { target, connect_timeout, resting: Mutex::default() }
    }

    /// A request that is ready to be sent, so that its end needs nothing of the caller's.
    pub fn exchange(
        self: &Arc<Self>,
        request: &HttpRequest,
        deadline: Deadline,
        wait: Arc<Wait>,
    ) -> impl Future<Output = Event> + Send + use<> {
        let (pool, reader, request) = (self.clone(), Http1::new(request), Sent::new(request));
        async move {
            let rested = pool.rested();
            let is_silent = rested.is_some();
            let line = match rested {
                Some(line) => line,
                None => {
                    let until = deadline.end.min(Instant::now() + pool.connect_timeout);
                    match pool.target.connect(&wait, until).await {
                        Ok(link) => Line { link, piece: vec![0; PIECE], since: Instant::now() },
                        Err(why) => return Event::NotSent(why),
                    }
                }
            };
            pool.send(line, is_silent, &request, reader, deadline, &wait).await
        }
    }

    /// The connection that was used last, if it still stands and no byte has come that nobody asked for.
    fn rested(&self) -> Option<Line> {
        loop {
            let mut line = held(&self.resting).pop()?;
            if line.since.elapsed() > REST {
                // The connections below it have rested longer.
                held(&self.resting).retain(|line| line.since.elapsed() <= REST);
            } else if is_quiet(&mut line.link) {
                return Some(line);
            }
        }
    }

    /// Sends the request and gives its answer, or what is known of it at the deadline. Of a connection that `is_silent`
    /// all is read that has come.
    async fn send(
        &self,
        mut line: Line,
        mut is_silent: bool,
        bytes: &[u8],
        mut reader: Http1,
        deadline: Deadline,
        wait: &Wait,
    ) -> Event {
        let (mut unsent, mut is_late, mut came) = (bytes, false, 0);
        let Line { link, piece, .. } = &mut line;
        let why = loop {
            let written = if is_late { Ok(()) } else { write(link, &mut unsent) };
            if !std::mem::take(&mut is_silent) {
                match read(link, &mut reader, piece, deadline, &mut came) {
                    Ok(Read::Over) => break String::new(),
                    Ok(Read::Long) => {
                        wait.apart().await;
                        continue;
                    }
                    Ok(Read::All) => {}
                    Err(error) => {
                        reader.broke_off();
                        break lost(&error);
                    }
                }
            }
            // A server may answer before it stops reading, so that the answer is looked for first.
            if let Err(error) = written {
                reader.broke_off();
                break lost(&error);
            }
            if is_late {
                reader.broke_off();
                break format!("no answer within {:.1?}", deadline.given);
            }
            let writes = !unsent.is_empty() || link.is_full();
            // An event loop that was held up comes late to an answer that came in time.
            is_late = !wait.ready(vec![(link.socket().clone(), writes)], deadline.end).await;
        };
        if reader.is_reusable() && unsent.is_empty() && !link.is_full() {
            line.since = Instant::now();
            held(&self.resting).push(line);
        }
        match reader.end(&why) {
            Ok(answer) => Event::Answered(answer),
            Err(why) => Event::MaybeSent(why),
        }
    }
}

/// Writes as much as the socket takes.
fn write(link: &mut Link, unsent: &mut &[u8]) -> io::Result<()> {
    let mut step = || -> io::Result<()> {
        while !unsent.is_empty() {
            let sent = link.write(unsent)?;
            *unsent = &unsent[sent..];
        }
        link.flush()
    };
    match step() {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        ended => ended,
    }
}

/// How far an answer has been read.
enum Read {
    /// The reader wants no more.
    Over,
    /// All that has come.
    All,
    /// So much that the rest takes long. It is said once.
    Long,
}

/// Reads what has come, and adds to the number of bytes that came before.
fn read(
    link: &mut Link,
    reader: &mut Http1,
    piece: &mut [u8],
    deadline: Deadline,
    came: &mut usize,
) -> io::Result<Read> {
    loop {
        match link.read(piece) {
            Ok(0) if reader.ends_with_connection() => return Ok(Read::Over),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                if reader.received(&piece[..read]).is_none() {
                    return Ok(Read::Over);
                }
                let before = std::mem::replace(came, *came + read);
                if before < LONG && *came >= LONG {
                    return Ok(Read::Long);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Read::All),
            Err(error) => return Err(error),
        }
        // A server that floods is left at the deadline.
        if deadline.end <= Instant::now() {
            return Ok(Read::All);
        }
    }
}

/// Whether a connection stands and is silent. TLS may have something to say for itself, such as a ticket.
fn is_quiet(link: &mut Link) -> bool {
    const MOST: usize = 16;
    for _ in 0..MOST {
        match link.read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            Ok(_) => return false,
        }
    }
    false
}
