//! Waiting for the outcome without holding the interpreter, and Ctrl-C while waiting.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use pyo3::prelude::*;
use takings::{Call, Capture, Client, Error};

use crate::outcome::exception_of;

/// Most calls end before the first look at the signals, and so cost nothing for it.
const FIRST_LOOK: Duration = Duration::from_millis(30);
const NEXT_LOOK: Duration = Duration::from_millis(50);

/// Sends a call and waits for its outcome.
///
/// Python handles signals in its main thread, and only while that thread runs Python. So there
/// the call is sent from a thread of its own, and the main thread looks for signals. When a
/// handler raises (KeyboardInterrupt), its exception goes on, caused by an `OutcomeUnknown`,
/// and the call runs to its end behind it.
pub fn send(py: Python<'_>, client: Client, call: Call) -> PyResult<Capture> {
    if !in_main_thread(py)? {
        return py.detach(|| client.send(call)).map_err(|error| exception_of(py, &error));
    }
    let abandoned = call.abandoned();
    let call = Arc::new(Mutex::new(Some(call)));
    let (sender, mut outcome) = mpsc::channel();
    let worker = {
        let (client, call) = (client.clone(), call.clone());
        move || {
            if let Some(call) = take(&call) {
                // nobody listens any more after Ctrl-C
                let _ = sender.send(client.send(call));
            }
        }
    };
    if thread::Builder::new().name("takings capture".into()).spawn(worker).is_err() {
        // No thread to be had: then Ctrl-C has to wait.
        let result = py.detach(|| take(&call).map(|call| client.send(call)));
        return result.unwrap_or(Err(abandoned)).map_err(|error| exception_of(py, &error));
    }
    let mut patience = FIRST_LOOK;
    loop {
        let received;
        (received, outcome) = py.detach(move || (outcome.recv_timeout(patience), outcome));
        match received {
            Ok(result) => return result.map_err(|error| exception_of(py, &error)),
            Err(RecvTimeoutError::Disconnected) => return Err(exception_of(py, &abandoned)),
            Err(RecvTimeoutError::Timeout) => py.check_signals().map_err(|raised| because(py, raised, &abandoned))?,
        }
        patience = NEXT_LOOK;
    }
}

/// The call, for whoever comes first.
fn take(call: &Mutex<Option<Call>>) -> Option<Call> {
    call.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn in_main_thread(py: Python<'_>) -> PyResult<bool> {
    let threading = py.import("threading")?;
    threading.call_method0("get_ident")?.eq(threading.call_method0("main_thread")?.getattr("ident")?)
}

/// What a signal handler raised, with the state of the money as its cause.
fn because(py: Python<'_>, raised: PyErr, abandoned: &Error) -> PyErr {
    if raised.cause(py).is_none() {
        raised.set_cause(py, Some(exception_of(py, abandoned)));
    }
    raised
}
