//! The core's outcomes as the Python classes of `takings.outcomes`.
//!
//! They are written in Python: below 3.12 the stable ABI cannot make exception classes in
//! Rust, and plain Python classes pickle, copy and subclass as everyone expects.

use std::time::{Duration, UNIX_EPOCH};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyModule, PyTuple};
use takings::{Attempt, Capture, Error, ErrorKind, Reconciliation};

fn outcomes(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static OUTCOMES: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    OUTCOMES.get_or_try_init(py, || Ok(py.import("takings.outcomes")?.unbind())).map(|module| module.bind(py))
}

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

pub fn attempt_of<'py>(py: Python<'py>, attempt: &Attempt) -> PyResult<Bound<'py, PyAny>> {
    let fields = PyDict::new(py);
    // a clock before 1970 has no time that Python would take
    fields.set_item("started", attempt.started().max(UNIX_EPOCH))?;
    fields.set_item("took", attempt.took().as_secs_f64())?;
    fields.set_item("sent", attempt.sent())?;
    fields.set_item("came_back", attempt.came_back())?;
    fields.set_item("http_status", attempt.http_status())?;
    fields.set_item("error_code", attempt.error_code())?;
    fields.set_item("correlation_id", attempt.correlation_id())?;
    fields.set_item("wait", attempt.wait().as_ref().map(Duration::as_secs_f64))?;
    outcomes(py)?.getattr("Attempt")?.call((), Some(&fields))
}

pub fn attempt_log_of<'py>(py: Python<'py>, attempts: &[Attempt]) -> PyResult<Bound<'py, PyTuple>> {
    let attempts = attempts.iter().map(|attempt| attempt_of(py, attempt)).collect::<PyResult<Vec<_>>>()?;
    PyTuple::new(py, attempts)
}

fn capture_of<'py>(py: Python<'py>, capture: &Capture) -> PyResult<Bound<'py, PyAny>> {
    let fields = PyDict::new(py);
    fields.set_item("capture_id", capture.capture_id())?;
    fields.set_item("order_id", capture.order_id())?;
    fields.set_item("idempotency_key", capture.idempotency_key())?;
    fields.set_item("correlation_id", capture.correlation_id())?;
    fields.set_item("attempts", capture.attempts())?;
    fields.set_item("attempt_log", attempt_log_of(py, capture.attempt_log())?)?;
    fields.set_item("warnings", PyTuple::new(py, capture.warnings())?)?;
    outcomes(py)?.getattr("Capture")?.call((), Some(&fields))
}

fn reconciliation_of<'py>(py: Python<'py>, reconciliation: &Reconciliation) -> PyResult<Bound<'py, PyAny>> {
    let fields = PyDict::new(py);
    fields.set_item("found", reconciliation.found().as_str())?;
    fields.set_item("capture_ids", PyTuple::new(py, reconciliation.capture_ids())?)?;
    fields.set_item("order_id", reconciliation.order_id())?;
    fields.set_item("correlation_id", reconciliation.correlation_id())?;
    fields.set_item("attempts", reconciliation.attempts())?;
    fields.set_item("attempt_log", attempt_log_of(py, reconciliation.attempt_log())?)?;
    outcomes(py)?.getattr("Reconciliation")?.call((), Some(&fields))
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
