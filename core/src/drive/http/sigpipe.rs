//! Keeps SIGPIPE from a thread while the thread does I/O.
//!
//! `writev` has no flag against the signal. Unless the host program ignores SIGPIPE, a server that resets a
//! connection would end the process.

use std::io;

#[cfg(unix)]
pub(super) struct Sigpipe {
    /// Takes away a signal that came while it was blocked. Apple's sockets raise none (SO_NOSIGPIPE).
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pending: nix::sys::signalfd::SignalFd,
}

/// SIGPIPE is blocked for this thread until this is dropped.
#[cfg(unix)]
pub(super) struct Blocked<'a> {
    sigpipe: &'a Sigpipe,
    mask_before: nix::sys::signal::SigSet,
}

#[cfg(unix)]
impl Sigpipe {
    pub fn new() -> io::Result<Sigpipe> {
        Ok(Sigpipe {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            pending: {
                use nix::sys::signal::{SigSet, Signal};
                use nix::sys::signalfd::{SfdFlags, SignalFd};
                SignalFd::with_flags(&SigSet::from(Signal::SIGPIPE), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?
            },
        })
    }

    /// Blocks the signal. A host that blocks SIGPIPE itself finds none pending afterwards. A pending signal would be
    /// delivered when the host unblocks it.
    pub fn block(&self) -> Option<Blocked<'_>> {
        use nix::sys::signal::{SigSet, SigmaskHow, Signal};
        let mask_before = SigSet::from(Signal::SIGPIPE).thread_swap_mask(SigmaskHow::SIG_BLOCK).ok()?;
        Some(Blocked { sigpipe: self, mask_before })
    }
}

#[cfg(unix)]
impl Drop for Blocked<'_> {
    fn drop(&mut self) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        while let Ok(Some(_)) = self.sigpipe.pending.read_signal() {}
        // Setting a mask fails only for a wrong `how`.
        let _ = self.mask_before.thread_set_mask();
    }
}

#[cfg(not(unix))]
pub(super) struct Sigpipe;

#[cfg(not(unix))]
impl Sigpipe {
    pub fn new() -> io::Result<Sigpipe> {
        Ok(Sigpipe)
    }

    pub fn block(&self) {}
}
