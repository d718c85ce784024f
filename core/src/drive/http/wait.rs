//! Waits for sockets: the code that sends is a future that says which sockets it waits for. The thread that calls waits for
//! them, or the event loop of a program does. No runtime, no thread, nothing that a fork would break.

use std::future::poll_fn;
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// A socket that never blocks.
pub(super) type Socket = Arc<TcpStream>;

/// The link between a future and whoever runs it.
#[derive(Default)]
pub(super) struct Wait {
    wish: Mutex<Option<Wish>>,
}

/// The event before which a call need not go on: a socket can be read, or written where it says so, or the moment comes.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Wish {
    pub(super) sockets: Vec<(Socket, bool)>,
    /// The moment.
    pub until: Instant,
    /// The next step takes long, so that an event loop leaves it to a thread.
    pub takes_long: bool,
}

impl Wish {
    /// A moment alone.
    pub(crate) fn moment(until: Instant) -> Wish {
        Wish { sockets: Vec::new(), until, takes_long: false }
    }

    /// The file descriptors of the sockets; true for those that are to be written.
    #[cfg(unix)]
    pub fn descriptors(&self) -> impl Iterator<Item = (std::os::fd::RawFd, bool)> {
        use std::os::fd::AsRawFd as _;
        self.sockets.iter().map(|(socket, writes)| (socket.as_raw_fd(), *writes))
    }
}

/// A panic of another holder leaves the value as good as it was.
pub(super) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wait {
    /// Waits until one of the sockets may be ready; for those with `true` also until they can be written. False once
    /// the moment has come.
    pub async fn ready(&self, sockets: Vec<(Socket, bool)>, until: Instant) -> bool {
        let mut wish = Some(Wish { sockets, until, takes_long: false });
        poll_fn(|_| match wish.take() {
            Some(asked) if asked.until > Instant::now() => {
                *held(&self.wish) = Some(asked);
                Poll::Pending
            }
            _ => Poll::Ready(()),
        })
        .await;
        Instant::now() < until
    }

    /// Lets an event loop leave the next step to a thread.
    pub async fn apart(&self) {
        let mut wish = Some(Wish { takes_long: true, ..Wish::moment(Instant::now()) });
        poll_fn(|_| match wish.take() {
            Some(asked) => {
                *held(&self.wish) = Some(asked);
                Poll::Pending
            }
            None => Poll::Ready(()),
        })
        .await;
    }

    /// Waits for a value that another thread gives; none once the moment has come.
    pub async fn given<T>(&self, slot: &Slot<T>, until: Instant) -> Option<T> {
        loop {
            if let Some(value) = held(&slot.value).take() {
                return Some(value);
            }
            if !self.ready(slot.sockets(), until).await {
                return None;
            }
        }
    }

    /// Runs a future on this thread to its end, but no longer than to `patience`. It runs at least once.
    pub fn run<T>(&self, future: &mut Pin<Box<dyn Future<Output = T> + Send>>, patience: Option<Instant>) -> Option<T> {
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return Some(value);
            }
            let is_over = || patience.is_some_and(|patience| patience <= Instant::now());
            if is_over() {
                return None;
            }
            let Some(Wish { sockets, until, .. }) = held(&self.wish).take() else { continue };
            let end = patience.map_or(until, |patience| patience.min(until));
            wait_for(&sockets, end.saturating_duration_since(Instant::now()));
            if is_over() {
                return None;
            }
        }
    }

    /// The event that the future waits for, after a run that its patience ended at once.
    pub fn wish(&self) -> Option<Wish> {
        held(&self.wish).clone()
    }
}

/// A place for a value from another thread. On unix a socket can be read once the value is there.
pub(super) struct Slot<T> {
    value: Mutex<Option<T>>,
    /// Both ends live as long as the place, so that no end is closed while the other is used.
    #[cfg(unix)]
    ends: (Socket, TcpStream),
}

/// An empty place.
pub(super) fn slot<T>() -> std::io::Result<Arc<Slot<T>>> {
    Ok(Arc::new(Slot {
        value: Mutex::new(None),
        #[cfg(unix)]
        ends: {
            use std::os::{fd::OwnedFd, unix::net::UnixStream};
            let (read, write) = UnixStream::pair()?;
            // The type stands for any socket here: nothing is asked of it that is TCP's alone.
            (Arc::new(OwnedFd::from(read).into()), OwnedFd::from(write).into())
        },
    }))
}

impl<T> Slot<T> {
    /// Gives the value to whoever waits for it.
    pub fn give(&self, value: T) {
        *held(&self.value) = Some(value);
        #[cfg(unix)]
        let _ = self.ends.1.shutdown(std::net::Shutdown::Write);
    }

    #[cfg(unix)]
    fn sockets(&self) -> Vec<(Socket, bool)> {
        vec![(self.ends.0.clone(), false)]
    }

    #[cfg(not(unix))]
    fn sockets(&self) -> Vec<(Socket, bool)> {
        Vec::new()
    }
}

#[cfg(unix)]
pub(super) fn wait_for(sockets: &[(Socket, bool)], left: Duration) {
    use std::os::fd::AsFd as _;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let flags = |writes| if writes { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN };
    let mut fds: Vec<PollFd<'_>> =
        sockets.iter().map(|(socket, writes)| PollFd::new(socket.as_fd(), flags(*writes))).collect();
    if fds.is_empty() && left.is_zero() {
        return;
    }
    // Rounded up: a thread that wakes too early would ask again and again.
    let milliseconds = i32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
    // The future looks at the sockets and the clock itself, so an error here changes nothing.
    let _ = poll(&mut fds, PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX));
}

#[cfg(not(unix))]
pub(super) fn wait_for(_: &[(Socket, bool)], left: Duration) {
    std::thread::sleep(left.min(Duration::from_millis(1)));
}
