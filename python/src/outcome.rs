//! The core's outcomes as the Python classes of `takings.outcomes`.
//!
//! They are written in Python: below 3.12 the stable ABI cannot make exception classes in
//! Rust, and plain Python classes pickle, copy and subclass as everyone expects.

use std::time::{Duration, UNIX_EPOCH};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use takings::{Attempt, Capture, Error, ErrorKind, Reconciliation};

use crate::modules::outcomes;

/// What a call ends in when it goes well.
pub trait Shown: takings::Outcome + Send + 'static {
    fn show<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>>;
}

impl Shown for Capture {
    fn show<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        capture_of(py, self)
    }
}

impl Shown for Reconciliation {
    fn show<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        reconciliation_of(py, self)
    }
}

// The values are given in the order of their classes' fields: names would be a dict for each call.

pub fn attempt_of<'py>(py: Python<'py>, attempt: &Attempt) -> PyResult<Bound<'py, PyAny>> {
    outcomes(py)?.getattr(intern!(py, "Attempt"))?.call1((
        // a clock before 1970 has no time that Python would take
        attempt.started().max(UNIX_EPOCH),
        attempt.took().as_secs_f64(),
        attempt.sent(),
        attempt.came_back(),
        attempt.http_status(),
        attempt.error_code(),
        attempt.correlation_id(),
        attempt.wait().as_ref().map(Duration::as_secs_f64),
    ))
}

pub fn attempt_log_of<'py>(py: Python<'py>, attempts: &[Attempt]) -> PyResult<Bound<'py, PyTuple>> {
    let attempts = attempts.iter().map(|attempt| attempt_of(py, attempt)).collect::<PyResult<Vec<_>>>()?;
    PyTuple::new(py, attempts)
}

fn capture_of<'py>(py: Python<'py>, capture: &Capture) -> PyResult<Bound<'py, PyAny>> {
    outcomes(py)?.getattr(intern!(py, "Capture"))?.call1((
        capture.capture_id(),
        capture.order_id(),
        capture.idempotency_key(),
        capture.correlation_id(),
        capture.attempts(),
        PyTuple::new(py, capture.warnings())?,
        attempt_log_of(py, capture.attempt_log())?,
    ))
}

fn reconciliation_of<'py>(py: Python<'py>, reconciliation: &Reconciliation) -> PyResult<Bound<'py, PyAny>> {
    outcomes(py)?.getattr(intern!(py, "Reconciliation"))?.call1((
        reconciliation.found().as_str(),
        PyTuple::new(py, reconciliation.capture_ids())?,
        reconciliation.order_id(),
        reconciliation.correlation_id(),
        reconciliation.attempts(),
        attempt_log_of(py, reconciliation.attempt_log())?,
    ))
}

pub fn exception_of(py: Python<'_>, error: &Error) -> PyErr {
    exception_saying(py, error, error.message())
}

/// The exception of an error, in other words than the error's own.
pub fn exception_saying(py: Python<'_>, error: &Error, message: &str) -> PyErr {
    exception(py, error, message).map_or_else(|failed| failed, PyErr::from_value)
}

/// The same as an object; `Err` is what Python raised while it was made.
pub fn exception<'py>(py: Python<'py>, error: &Error, message: &str) -> PyResult<Bound<'py, PyAny>> {
    let class = match error.kind() {
        ErrorKind::InvalidInput => "InvalidInput",
        ErrorKind::NotSent => "NotSent",
        ErrorKind::Rejected => "Rejected",
        ErrorKind::OutcomeUnknown => "OutcomeUnknown",
        // whatever else there may be one day: a bug, as seen from here
        _ => "InternalError",
    };
    let fields = PyDict::new(py);
    fields.set_item("http_status", error.http_status())?;
    fields.set_item("error_code", error.error_code())?;
    fields.set_item("error_messages", PyTuple::new(py, error.error_messages())?)?;
    fields.set_item("correlation_id", error.correlation_id())?;
    fields.set_item("order_id", error.order_id())?;
    fields.set_item("idempotency_key", error.idempotency_key())?;
    fields.set_item("attempts", error.attempts())?;
    fields.set_item("attempt_log", attempt_log_of(py, error.attempt_log())?)?;
    fields.set_item("retryable", error.retryable())?;
    outcomes(py)?.getattr(class)?.call((message,), Some(&fields))
}
