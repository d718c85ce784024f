//! Waiting for the outcome without holding the interpreter, and Ctrl-C while waiting.

use std::thread;
use std::time::Duration;

use pyo3::intern;
use pyo3::prelude::*;
use takings::{News, Sending};

use crate::gate::Inside;
use crate::modules;
use crate::operation::Operation;
use crate::outcome::Shown;

/// Most calls end before the first look at the signals, and so cost nothing for it.
const FIRST_LOOK: Duration = Duration::from_millis(30);
const NEXT_LOOK: Duration = Duration::from_millis(50);

/// Sends a call, waits for its outcome and shows it to Python.
///
/// Python handles signals in its main thread, and only while that thread runs Python. So there
/// the wait is broken off to look for signals. When a handler raises (KeyboardInterrupt), its
/// exception goes on, and a thread waits for the outcome behind it. Python's code is never run by
/// that thread.
pub fn until<'py, T: Shown>(
    py: Python<'py>,
    inside: &Inside,
    call: &Operation,
    operation: takings::Operation<T>,
) -> PyResult<Bound<'py, PyAny>> {
    let mut sending = operation.sending();
    let in_main_thread = in_main_thread(py)?;
    let mut patience = in_main_thread.then_some(FIRST_LOOK);
    let mut attempts = 0;
    loop {
        let raised = match inside.detach(py, || sending.wait(patience)) {
            News::Ended(result) => return call.ended(py, result),
            News::Attempt(attempt) => {
                attempts += 1;
                if attempt.wait().is_none() {
                    continue;
                }
                call.tell_retry(py, attempts, attempt)
            }
            News::Nothing => py.check_signals(),
        };
        match raised {
            Err(raised) if in_main_thread => {
                go_on(sending);
                return Err(raised);
            }
            // a handler of the program's log; nobody's Ctrl-C
            Err(raised) => raised.write_unraisable(py, None),
            Ok(()) => {}
        }
        patience = in_main_thread.then_some(NEXT_LOOK);
    }
}

/// Waits for an outcome that nobody is told any more. Where no thread can be had, the call is given up.
fn go_on<T: Shown>(mut sending: Sending<T>) {
    let to_its_end = move || while !matches!(sending.wait(None), News::Ended(_)) {};
    let _ = thread::Builder::new().name("takings capture".into()).spawn(to_its_end);
}

/// Whether this thread is the one whose Python code signals interrupt. A program that has not loaded
/// `threading` is taken to have no other, and need not load it: looking for signals elsewhere costs
/// a little and finds none.
fn in_main_thread(py: Python<'_>) -> PyResult<bool> {
    let Some(threading) = modules::threading(py)? else { return Ok(true) };
    let main = threading.call_method0(intern!(py, "main_thread"))?.getattr(intern!(py, "ident"))?;
    threading.call_method0(intern!(py, "get_ident"))?.eq(main)
}
