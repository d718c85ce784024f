//! The end of the interpreter, as threads meet it that are in a call.
//!
//! CPython up to 3.13 ends a daemon thread that comes back to an interpreter which is ending, by unwinding its stack. Rust's
//! frames are on it, and the process would die of that. So what ends the interpreter closes a gate first: from then on
//! no daemon thread comes back into Python from a wait of ours, and none begins a call; they stay where they are until
//! the process is gone. It waits for those that were inside, but not for long: what a program's own code does
//! there may take any time. Threads that Python waits for are over by then, but for those that another exit handler starts.
//!
//! There is no lock that a fork could leave locked.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pyo3::prelude::*;

const PATIENCE: Duration = Duration::from_secs(1);

/// The process, whether the gate is closed, and how many threads are inside with the interpreter held or waited for.
static STATE: AtomicU64 = AtomicU64::new(0);
const CLOSED: u64 = 1 << 31;
const COUNT: u64 = CLOSED - 1;

thread_local! {
    /// How many of our functions this thread is in, one within the other.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// It ends the interpreter, or something that is done before that end waits for it.
    static ENDING: Cell<bool> = const { Cell::new(false) };
}

/// Another state, unless `change` has none. What a forked child inherits is of threads it has not.
fn change(change: impl Fn(u64) -> Option<u64>) -> bool {
    let process = u64::from(std::process::id()) << 32;
    let changed = |state: u64| change(if state & !(CLOSED | COUNT) == process { state } else { process });
    STATE.fetch_update(Ordering::SeqCst, Ordering::SeqCst, changed).is_ok()
}

fn come_in() -> bool {
    change(|state| (state & CLOSED == 0 || ENDING.get()).then_some(state + 1))
}

fn go_out() {
    change(|state| Some(if state & COUNT == 0 { state } else { state - 1 }));
}

fn park_for_good() -> ! {
    loop {
        thread::park();
    }
}

/// This thread is in a function of ours, until it is dropped.
pub struct Inside(());

impl Inside {
    pub fn new(py: Python<'_>) -> Inside {
        if DEPTH.get() == 0 && !come_in() {
            if is_daemon(py) {
                py.detach(|| park_for_good());
            }
            ENDING.set(true);
            come_in();
        }
        DEPTH.set(DEPTH.get() + 1);
        Inside(())
    }

    /// Does what takes a while, without holding the interpreter.
    pub fn detach<R: Send>(&self, py: Python<'_>, work: impl FnOnce() -> R + Send) -> R {
        struct Outside;
        impl Drop for Outside {
            fn drop(&mut self) {
                if !come_in() {
                    park_for_good();
                }
            }
        }
        py.detach(|| {
            go_out();
            let _outside = Outside;
            work()
        })
    }
}

/// When in doubt: it may then wait without end, and nobody waits for it.
fn is_daemon(py: Python<'_>) -> bool {
    let thread = py.import("threading").and_then(|threading| threading.call_method0("current_thread"));
    thread.and_then(|thread| thread.getattr("daemon")?.extract()).unwrap_or(true)
}

impl Drop for Inside {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
        if DEPTH.get() == 0 {
            go_out();
        }
    }
}

/// To be called once, when the module is loaded.
pub fn open(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // an interpreter before this one in the same process has closed it
    change(|state| Some(state & !CLOSED));
    let close = wrap_pyfunction!(close, module)?;
    module.py().import("atexit")?.call_method1("register", (close,)).map(drop)
}

#[pyfunction]
fn close(py: Python<'_>) {
    ENDING.set(true);
    change(|state| Some(state | CLOSED));
    let end = Instant::now() + PATIENCE;
    while STATE.load(Ordering::SeqCst) & COUNT > 0 && Instant::now() < end {
        py.detach(|| thread::sleep(Duration::from_millis(1)));
    }
}
