//! The end of the interpreter while daemon threads are in a call.
//!
//! CPython up to 3.13 ends a daemon thread that returns to an ending interpreter by unwinding the thread's stack. Rust's
//! frames are on that stack, and unwinding them kills the process. CPython 3.14 hangs such a thread instead, so this module
//! can be deleted once 3.14 is the oldest version that takings runs on.
//!
//! Until then an exit handler of the interpreter closes a gate. Behind a closed gate a daemon thread neither begins a call
//! nor returns to Python from a wait of takings. Such a thread is parked until the process is gone.
//!
//! The exit handler waits up to a second for threads that run Python inside a call: code of the program may take any time.
//! A thread that is no daemon has ended before, unless another exit handler starts it.
//!
//! No lock is used, since a fork could leave one locked. A forked child begins anew: the threads it inherits a count of do
//! not exist in it.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::PyDict;

const PATIENCE: Duration = Duration::from_secs(1);

/// Whether the gate is closed, and the number of threads that hold the interpreter inside a call or wait for it.
static STATE: AtomicU32 = AtomicU32::new(0);
const CLOSED: u32 = 1 << 31;
const COUNT: u32 = CLOSED - 1;

thread_local! {
    /// The number of takings' functions that this thread is in, each within the one before.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Whether this thread ends the interpreter, or an exit handler waits for this thread.
    static ENDING: Cell<bool> = const { Cell::new(false) };
}

/// Changes the state, unless `change` has no other.
fn change(change: impl Fn(u32) -> Option<u32>) -> bool {
    STATE.fetch_update(Ordering::SeqCst, Ordering::SeqCst, change).is_ok()
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

/// Counts this thread as inside one of takings' functions until the value is dropped.
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

    /// Lets go of the interpreter for the work, which may take a while.
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

/// Runs Python code during which other code of this thread may call takings: other greenlets.
#[cfg(unix)]
pub fn apart<R>(py: Python<'_>, work: impl FnOnce() -> R) -> R {
    let depth = DEPTH.replace(0);
    go_out();
    let done = work();
    std::mem::forget(Inside::new(py));
    DEPTH.set(DEPTH.get() - 1 + depth);
    done
}

/// Whether this thread is a daemon. In doubt it is: no exit handler waits for a daemon, so parking it holds up no thread.
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

/// Opens the gate when the module is loaded, registers the exit handler that closes it, and has a forked child begin anew.
pub fn open(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    // an earlier interpreter of the same process has closed the gate
    change(|state| Some(state & !CLOSED));
    // systems without a fork have no such function
    if let Ok(register) = py.import("os")?.getattr("register_at_fork") {
        let hooks = PyDict::new(py);
        hooks.set_item("after_in_child", wrap_pyfunction!(begin_anew, module)?)?;
        register.call((), Some(&hooks))?;
    }
    py.import("atexit")?.call_method1("register", (wrap_pyfunction!(close, module)?,)).map(drop)
}

#[pyfunction]
fn begin_anew() {
    STATE.store(0, Ordering::SeqCst);
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
