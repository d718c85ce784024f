//! Waiting for the outcome without holding the interpreter, and Ctrl-C while waiting.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use pyo3::prelude::*;
use takings::{Attempt, Error};

use crate::operation::Operation;
use crate::outcome::Shown;

/// Most calls end before the first look at the signals, and so cost nothing for it.
const FIRST_LOOK: Duration = Duration::from_millis(30);
const NEXT_LOOK: Duration = Duration::from_millis(50);

/// What comes from the thread that works.
enum News<T> {
    /// An attempt, by its number, which another one follows.
    Retry(usize, Attempt),
    End(Result<T, Error>),
}

/// Sends a call, waits for its outcome and shows it to Python.
///
/// Python handles signals in its main thread, and only while that thread runs Python. So there
/// the work is done in a thread of its own, and the main thread looks for signals. When a
/// handler raises (KeyboardInterrupt), its exception goes on, and the work runs to its end
/// behind it. Python's code is never run by that thread.
pub fn until<'py, T: Shown>(
    py: Python<'py>,
    call: &Operation,
    operation: takings::Operation<T>,
) -> PyResult<Bound<'py, PyAny>> {
    if !in_main_thread(py)? {
        let result = py.detach(|| {
            send(operation, |number, attempt| {
                // at the end of the interpreter there is nobody to tell
                Python::try_attach(|py| {
                    call.tell_retry(py, number, attempt).unwrap_or_else(|raised| raised.write_unraisable(py, None));
                });
            })
        });
        return call.ended(py, result);
    }
    let operation = Arc::new(Mutex::new(Some(operation)));
    let (sender, mut news) = mpsc::channel();
    let worker = {
        let operation = operation.clone();
        move || {
            if let Some(operation) = take(&operation) {
                // nobody listens any more after Ctrl-C
                let result = send(operation, |number, attempt| drop(sender.send(News::Retry(number, attempt.clone()))));
                let _ = sender.send(News::End(result));
            }
        }
    };
    if thread::Builder::new().name("takings capture".into()).spawn(worker).is_err() {
        // No thread to be had: then Ctrl-C has to wait.
        let result = py.detach(|| take(&operation).map(|operation| operation.send()));
        return call.ended(py, result.unwrap_or_else(|| Err(Error::panicked())));
    }
    let process = std::process::id();
    let mut patience = FIRST_LOOK;
    loop {
        let received;
        (received, news) = py.detach(move || (news.recv_timeout(patience), news));
        match received {
            Ok(News::End(result)) => return call.ended(py, result),
            Ok(News::Retry(number, attempt)) => call.tell_retry(py, number, &attempt)?,
            Err(RecvTimeoutError::Disconnected) => return call.ended::<T>(py, Err(call.given_up())),
            Err(RecvTimeoutError::Timeout) => {
                py.check_signals()?;
                // A handler that forked comes back here in the child too, where nobody works.
                if std::process::id() != process {
                    return call.ended::<T>(py, Err(call.given_up()));
                }
            }
        }
        patience = NEXT_LOOK;
    }
}

/// Sends it, and tells of each attempt that another one follows.
fn send<T: Shown>(operation: takings::Operation<T>, mut retry: impl FnMut(usize, &Attempt)) -> Result<T, Error> {
    let mut number = 0;
    operation.send_and_tell(|attempt| {
        number += 1;
        if attempt.wait().is_some() {
            retry(number, attempt);
        }
    })
}

/// The work, for whoever comes first.
fn take<W>(work: &Mutex<Option<W>>) -> Option<W> {
    work.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn in_main_thread(py: Python<'_>) -> PyResult<bool> {
    let threading = py.import("threading")?;
    threading.call_method0("get_ident")?.eq(threading.call_method0("main_thread")?.getattr("ident")?)
}
