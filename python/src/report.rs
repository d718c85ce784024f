//! What is said of a call: to the program's log, and to a caller who stops waiting for it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use takings::{Attempt, Call, Error, Reply};

use crate::modules::{is_loaded, log};
use crate::outcome::{attempt_of, exception, exception_of, reply_of};

/// Everything that outlives the core's call, which its sending or its end takes away.
pub struct Report {
    /// The error for a caller who stops waiting.
    abandoned: Error,
    pub order_id: String,
    /// The order id as a log may show it.
    pub shown_order_id: String,
    pub idempotency_key: Option<String>,
    pub operation: &'static str,
    /// Whether the caller has stopped waiting.
    unattended: AtomicBool,
    /// Whether the log has the end.
    logged: AtomicBool,
    /// The log's word for the end.
    outcome: OnceLock<&'static str>,
}

/// Lets a log function of the package run, in a program that has a log. An exception of the program's own handler or
/// filter must not take the outcome with it; an interrupt goes on.
fn write<'py>(py: Python<'py>, function: &str, arguments: impl pyo3::call::PyCallArgs<'py>) -> PyResult<()> {
    if !is_loaded(py, "logging")? {
        return Ok(());
    }
    match log(py).and_then(|module| module.call_method1(function, arguments)) {
        Err(error) if error.is_instance_of::<PyException>(py) => {
            error.write_unraisable(py, None);
            Ok(())
        }
        written => written.map(drop),
    }
}

/// The exception for a call that was refused before there was one; the log has it too.
pub fn refused(py: Python<'_>, error: &Error) -> PyErr {
    let write = || {
        let value = exception(py, error)?;
        write(py, "refused", (&value,))?;
        Ok(PyErr::from_value(value))
    };
    write().unwrap_or_else(|raised| raised)
}

impl Report {
    pub fn of(call: &Call) -> Report {
        Report {
            abandoned: call.abandoned(),
            order_id: call.order_id().to_owned(),
            shown_order_id: call.shown_order_id(),
            idempotency_key: call.idempotency_key().map(str::to_owned),
            operation: call.operation(),
            unattended: AtomicBool::new(false),
            logged: AtomicBool::new(false),
            outcome: OnceLock::new(),
        }
    }

    /// The log's word for the end, such as `captured`; none before the end.
    pub fn outcome(&self) -> Option<&'static str> {
        self.outcome.get().copied()
    }

    /// The error for a caller who stops waiting; the end is logged as a warning then.
    pub fn abandon<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.unattended.store(true, Ordering::Relaxed);
        exception(py, &self.abandoned)
    }

    /// Another attempt follows.
    pub fn retry(&self, py: Python<'_>, number: usize, attempt: &Attempt) -> PyResult<()> {
        let attempt = attempt_of(py, attempt)?;
        write(py, "retry", (&*self.shown_order_id, self.idempotency_key.as_deref(), number, attempt))
    }

    fn write_end(&self, py: Python<'_>, outcome: &Bound<'_, PyAny>, word: &str, said: String) -> PyResult<()> {
        let unattended = self.unattended.load(Ordering::Relaxed);
        write(py, "ended", (&*self.shown_order_id, self.idempotency_key.as_deref(), outcome, word, said, unattended))
    }

    /// The end as Python has it, which is logged.
    pub fn end<'py>(&self, py: Python<'py>, result: Result<Reply, Error>) -> PyResult<Bound<'py, PyAny>> {
        let outcome = match &result {
            Ok(reply) => reply_of(py, reply)?,
            Err(error) => exception(py, error)?,
        };
        self.logged.store(true, Ordering::Relaxed);
        match result {
            Ok(reply) => {
                let word = *self.outcome.get_or_init(|| reply.outcome());
                let said = match (reply.created_id(), reply.found_ids()) {
                    (Some(id), _) => format!("{word} as {id}"),
                    (None, Some(_)) => format!("found {word}"),
                    (None, None) => word.to_owned(),
                };
                self.write_end(py, &outcome, word, said)?;
                Ok(outcome)
            }
            Err(error) => {
                let word = *self.outcome.get_or_init(|| error.kind().as_str());
                self.write_end(py, &outcome, word, format!("{word}: {}", error.message()))?;
                Err(PyErr::from_value(outcome))
            }
        }
    }

    /// An exception that others than takings raised (KeyboardInterrupt), with the state of the money as its cause.
    pub fn because(&self, py: Python<'_>, raised: PyErr) -> PyErr {
        let ours = raised.value(py).hasattr("idempotency_key").unwrap_or(false);
        if ours || self.idempotency_key.is_none() {
            return raised;
        }
        if !self.logged.swap(true, Ordering::Relaxed)
            && let Ok(known) = exception(py, &self.abandoned)
        {
            let word = self.abandoned.kind().as_str();
            let _ = self.write_end(py, &known, word, format!("{word}: {}", self.abandoned.message()));
        }
        if raised.cause(py).is_none() {
            raised.set_cause(py, Some(exception_of(py, &self.abandoned)));
        }
        raised
    }
}
