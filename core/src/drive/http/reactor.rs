//! Runs the sockets and timers of one client for the threads that wait.

use std::io;
use std::time::Instant;

use tokio::runtime::{self, EnterGuard, Runtime};
use tokio::time::timeout_at;

use super::sigpipe::Sigpipe;

/// A current-thread runtime of tokio, which has no thread of its own.
///
/// Threads that wait at the same time share it. One of them runs the sockets and timers of all, and passes that on
/// when its own future is done.
pub(super) struct Reactor {
    /// There until this is dropped.
    runtime: Option<Runtime>,
    sigpipe: Sigpipe,
}

impl Reactor {
    pub fn new() -> io::Result<Reactor> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            // Timers, sockets and work from other threads are looked after once in three polls of tasks. A connection that
            // is flooded can use milliseconds for a poll, and is always ready for the next. Each look is a system call;
            // with three polls between them a capture alone needs none after its connection has written.
            .event_interval(3)
            .global_queue_interval(1)
            .build()?;
        Ok(Reactor { runtime: Some(runtime), sigpipe: Sigpipe::new()? })
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("there until dropped")
    }

    /// Runs a future on this thread until its end, but no longer than to `until`.
    pub fn run<T>(&self, future: impl Future<Output = T>, until: Option<Instant>) -> Option<T> {
        let _blocked = self.sigpipe.block();
        self.runtime().block_on(async {
            match until {
                None => Some(future.await),
                Some(until) => timeout_at(until.into(), future).await.ok(),
            }
        })
    }

    /// Makes this the runtime of the current thread, for a future that is dropped before its end. Dropping starts a
    /// task, which closes the connection or gives it back to the pool.
    pub fn enter(&self) -> EnterGuard<'_> {
        self.runtime().enter()
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A thread of another runtime may be the one that drops this; such a thread must not wait for a runtime.
            runtime.shutdown_background();
        }
    }
}
