//! The core's outcomes as the Python classes of `takings.outcomes`.
//!
//! They are written in Python: below 3.12 the stable ABI cannot make exception classes in
//! Rust, and plain Python classes pickle, copy and subclass as everyone expects.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyModule, PyTuple};
use takings::{Capture, Error, ErrorKind, Reconciliation};

fn outcomes(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static OUTCOMES: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    OUTCOMES.get_or_try_init(py, || Ok(py.import("takings.outcomes")?.unbind())).map(|module| module.bind(py))
}

pub fn capture_of<'py>(py: Python<'py>, capture: &Capture) -> PyResult<Bound<'py, PyAny>> {
    let fields = PyDict::new(py);
    fields.set_item("capture_id", capture.capture_id())?;
    fields.set_item("order_id", capture.order_id())?;
    fields.set_item("idempotency_key", capture.idempotency_key())?;
    fields.set_item("correlation_id", capture.correlation_id())?;
    fields.set_item("attempts", capture.attempts())?;
    fields.set_item("warnings", PyTuple::new(py, capture.warnings())?)?;
    outcomes(py)?.getattr("Capture")?.call((), Some(&fields))
}

pub fn reconciliation_of<'py>(py: Python<'py>, reconciliation: &Reconciliation) -> PyResult<Bound<'py, PyAny>> {
    let fields = PyDict::new(py);
    fields.set_item("found", reconciliation.found().as_str())?;
    fields.set_item("capture_ids", PyTuple::new(py, reconciliation.capture_ids())?)?;
    fields.set_item("order_id", reconciliation.order_id())?;
    fields.set_item("correlation_id", reconciliation.correlation_id())?;
    fields.set_item("attempts", reconciliation.attempts())?;
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
    fields.set_item("retryable", error.retryable())?;
    outcomes(py)?.getattr(class)?.call((message,), Some(&fields))
}
