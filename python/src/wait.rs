//! Waiting for the outcome without holding the interpreter, and Ctrl-C while waiting.

use std::thread;
use std::time::Duration;

use pyo3::intern;
use pyo3::prelude::*;
use takings::binding::{News, Sending};
use takings::{Attempt, Error, Reply};

use crate::gate::Inside;
use crate::modules;

/// Most calls end before the first look at the signals, and so cost nothing for it.
const FIRST_LOOK: Duration = Duration::from_millis(30);
const NEXT_LOOK: Duration = Duration::from_millis(50);

/// A reason to hold the interpreter again.
enum Woken {
    Look,
    Retry(Attempt),
    Ended(Result<Reply, Error>),
}

/// Waits for such a reason; the last attempt of a call is no reason.
fn wake(sending: &mut Sending, patience: Option<Duration>, attempts: &mut usize) -> Woken {
    loop {
        match sending.wait(patience) {
            News::Nothing => return Woken::Look,
            News::Ended(result) => return Woken::Ended(result),
            News::Attempt(attempt) => {
                *attempts += 1;
                if attempt.wait().is_some() {
                    return Woken::Retry(attempt.clone());
                }
            }
        }
    }
}

/// Sends a call and waits for its outcome. `retry` is called with each attempt that another follows, and its number.
///
/// Python handles signals in its main thread, and only while that thread runs Python. The main thread therefore breaks
/// off its wait to look for signals. When a handler raises (KeyboardInterrupt), its exception goes on, and another thread
/// waits for the outcome. That thread never runs Python code.
pub fn until(
    py: Python<'_>,
    inside: &Inside,
    call: takings::Call,
    retry: impl Fn(usize, &Attempt) -> PyResult<()>,
) -> PyResult<Result<Reply, Error>> {
    let mut sending = call.sending();
    let mut patience = Some(FIRST_LOOK);
    let mut attempts = 0;
    loop {
        let looked = match inside.detach(py, || wake(&mut sending, patience, &mut attempts)) {
            Woken::Ended(result) => return Ok(result),
            Woken::Retry(attempt) => retry(attempts, &attempt),
            Woken::Look => py.check_signals(),
        };
        // the question runs Python, and may so raise an interrupt in the main thread
        let (is_main, raised) = match (in_main_thread(py), looked) {
            (Ok(is_main), looked) => (is_main, looked.err()),
            (Err(raised), _) => (true, Some(raised)),
        };
        match raised {
            Some(raised) if is_main => {
                go_on(sending);
                return Err(raised);
            }
            // the exception is of a handler of the program's log: a Ctrl-C belongs to another thread
            Some(raised) => raised.write_unraisable(py, None),
            None => {}
        }
        patience = is_main.then_some(NEXT_LOOK);
    }
}

/// Waits for an outcome that no caller gets any more. Where no thread can be had, the call is given up.
fn go_on(mut sending: Sending) {
    let to_its_end = move || while !matches!(sending.wait(None), News::Ended(_)) {};
    let _ = thread::Builder::new().name("takings capture".into()).spawn(to_its_end);
}

/// Whether this thread is the main thread, whose Python code signals interrupt. In a program that has not loaded
/// `threading` every thread is taken for it: looking for signals elsewhere costs a little and finds none.
fn in_main_thread(py: Python<'_>) -> PyResult<bool> {
    let Some(threading) = modules::threading(py)? else { return Ok(true) };
    let main = threading.call_method0(intern!(py, "main_thread"))?.getattr(intern!(py, "ident"))?;
    threading.call_method0(intern!(py, "get_ident"))?.eq(main)
}
