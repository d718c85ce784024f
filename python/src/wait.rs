//! Waiting for the outcome without holding the interpreter, and Ctrl-C while waiting.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use pyo3::prelude::*;
use takings::Error;

use crate::outcome::{exception, exception_of};

/// Most calls end before the first look at the signals, and so cost nothing for it.
const FIRST_LOOK: Duration = Duration::from_millis(30);
const NEXT_LOOK: Duration = Duration::from_millis(50);

/// Does a call's work, waits for its outcome and shows it to Python; `abandoned` is what is known
/// when the wait is interrupted.
///
/// Python handles signals in its main thread, and only while that thread runs Python. So there
/// the work is done in a thread of its own, and the main thread looks for signals. When a
/// handler raises (KeyboardInterrupt), its exception goes on, caused by `abandoned`, and the
/// work runs to its end behind it.
pub fn until<'py, T, W>(
    py: Python<'py>,
    work: W,
    show: fn(Python<'py>, &T) -> PyResult<Bound<'py, PyAny>>,
    abandoned: Option<Error>,
) -> PyResult<Bound<'py, PyAny>>
where
    T: Send + 'static,
    W: FnOnce() -> Result<T, Error> + Send + 'static,
{
    // Making Python's objects runs Python, where a signal's handler may raise: then the outcome
    // that is known must not be lost with it.
    let shown = |result: Result<T, Error>| match result {
        Ok(outcome) => show(py, &outcome).map_err(|raised| because(py, raised, abandoned.as_ref())),
        Err(error) => Err(exception(py, &error, error.message())
            .map_or_else(|raised| because(py, raised, abandoned.as_ref()), PyErr::from_value)),
    };
    if !in_main_thread(py)? {
        return shown(py.detach(work));
    }
    let work = Arc::new(Mutex::new(Some(work)));
    let (sender, mut outcome) = mpsc::channel();
    let worker = {
        let work = work.clone();
        move || {
            if let Some(work) = take(&work) {
                // nobody listens any more after Ctrl-C
                let _ = sender.send(work());
            }
        }
    };
    if thread::Builder::new().name("takings capture".into()).spawn(worker).is_err() {
        // No thread to be had: then Ctrl-C has to wait.
        let result = py.detach(|| take(&work).map(|work| work()));
        return shown(result.unwrap_or_else(|| Err(Error::panicked())));
    }
    let process = std::process::id();
    let mut patience = FIRST_LOOK;
    loop {
        let received;
        (received, outcome) = py.detach(move || (outcome.recv_timeout(patience), outcome));
        match received {
            Ok(result) => return shown(result),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(exception_of(py, &abandoned.unwrap_or_else(Error::panicked)));
            }
            Err(RecvTimeoutError::Timeout) => {
                py.check_signals().map_err(|raised| because(py, raised, abandoned.as_ref()))?;
                // A handler that forked comes back here in the child too, where nobody works.
                if std::process::id() != process {
                    return Err(exception_of(py, &abandoned.unwrap_or_else(Error::panicked)));
                }
            }
        }
        patience = NEXT_LOOK;
    }
}

/// The work, for whoever comes first.
fn take<W>(work: &Mutex<Option<W>>) -> Option<W> {
    work.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn in_main_thread(py: Python<'_>) -> PyResult<bool> {
    let threading = py.import("threading")?;
    threading.call_method0("get_ident")?.eq(threading.call_method0("main_thread")?.getattr("ident")?)
}

/// What a signal handler raised, with the state of the money as its cause.
fn because(py: Python<'_>, raised: PyErr, abandoned: Option<&Error>) -> PyErr {
    if let (None, Some(abandoned)) = (raised.cause(py), abandoned) {
        raised.set_cause(py, Some(exception_of(py, abandoned)));
    }
    raised
}
