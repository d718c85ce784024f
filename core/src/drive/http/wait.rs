//! Waits for sockets on the thread that calls: the code that sends is a future, and between its steps the thread waits for
//! the sockets that it asked for. No runtime, no thread, nothing that a fork would break.

use std::future::poll_fn;
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// A socket that never blocks.
pub(super) type Socket = Arc<TcpStream>;

/// The link between a future and the thread that runs it.
#[derive(Default)]
pub(super) struct Wait {
    wish: Mutex<Option<Wish>>,
    is_woken: Mutex<bool>,
    woken: Condvar,
}

/// The event before which the future need not run: a socket can be read, or written where it says so, or the moment
/// comes. Without sockets another thread wakes it.
struct Wish {
    sockets: Vec<(Socket, bool)>,
    until: Instant,
}

impl Wake for Wait {
    fn wake(self: Arc<Self>) {
        *held(&self.is_woken) = true;
        self.woken.notify_one();
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
        let mut wish = Some(Wish { sockets, until });
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

    /// Waits for a value that another thread gives; none once the moment has come.
    pub async fn given<T>(&self, slot: &Slot<T>, until: Instant) -> Option<T> {
        poll_fn(|context| {
            let mut slot = held(slot);
            if let Some(value) = slot.value.take() {
                return Poll::Ready(Some(value));
            }
            if until <= Instant::now() {
                return Poll::Ready(None);
            }
            slot.waker = Some(context.waker().clone());
            *held(&self.wish) = Some(Wish { sockets: Vec::new(), until });
            Poll::Pending
        })
        .await
    }

    /// Runs a future on this thread to its end, but no longer than to `patience`.
    pub fn run<T>(
        self: &Arc<Self>,
        future: &mut Pin<Box<dyn Future<Output = T> + Send>>,
        patience: Option<Instant>,
    ) -> Option<T> {
        let waker = Waker::from(self.clone());
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Some(value);
            }
            let Some(Wish { sockets, until }) = held(&self.wish).take() else { continue };
            let end = patience.map_or(until, |patience| patience.min(until));
            let left = end.saturating_duration_since(Instant::now());
            if sockets.is_empty() {
                let is_woken = held(&self.is_woken);
                let waited = self.woken.wait_timeout_while(is_woken, left, |is_woken| !*is_woken);
                *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
            } else {
                wait_for(&sockets, left);
            }
            if patience.is_some_and(|patience| patience <= Instant::now()) {
                return None;
            }
        }
    }
}

/// A place for a value from another thread.
pub(super) type Slot<T> = Mutex<Given<T>>;

pub(super) struct Given<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

/// An empty place.
pub(super) fn slot<T>() -> Arc<Slot<T>> {
    Arc::new(Mutex::new(Given { value: None, waker: None }))
}

/// Gives the value to the thread that waits for it.
pub(super) fn give<T>(slot: &Slot<T>, value: T) {
    let mut slot = held(slot);
    slot.value = Some(value);
    if let Some(waker) = slot.waker.take() {
        waker.wake();
    }
}

#[cfg(unix)]
fn wait_for(sockets: &[(Socket, bool)], left: Duration) {
    use std::os::fd::AsFd as _;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let flags = |writes| if writes { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN };
    let mut fds: Vec<PollFd<'_>> =
        sockets.iter().map(|(socket, writes)| PollFd::new(socket.as_fd(), flags(*writes))).collect();
    // Rounded up: a thread that wakes too early would ask again and again.
    let milliseconds = i32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
    // The future looks at the sockets and the clock itself, so an error here changes nothing.
    let _ = poll(&mut fds, PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX));
}

#[cfg(not(unix))]
fn wait_for(_: &[(Socket, bool)], left: Duration) {
    std::thread::sleep(left.min(Duration::from_millis(1)));
}
