//! The end of a call and its retries, as Python and the program's log have them.

use std::sync::atomic::Ordering;

use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;
use takings::{Attempt, Error, Reply};

use crate::call::Call;
use crate::modules::{LOG, is_loaded};
use crate::outcome::{attempt_of, exception, exception_of, reply_of};

/// Calls a log function of the package, in a program that has a log. An exception of the program's own handler or
/// filter must not replace the outcome; an interrupt goes on.
fn write<'py, A: pyo3::call::PyCallArgs<'py>>(
    py: Python<'py>,
    function: &str,
    arguments: impl FnOnce() -> PyResult<A>,
) -> PyResult<()> {
    if !is_loaded(py, intern!(py, "logging"))? {
        return Ok(());
    }
    match arguments().and_then(|arguments| LOG.get(py)?.call_method1(function, arguments)) {
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
        write(py, "refused", || Ok((&value,)))?;
        Ok(PyErr::from_value(value))
    };
    write().unwrap_or_else(|raised| raised)
}

/// The end in an error, for the log.
fn line(error: &Error) -> String {
    format!("{}: {}", error.kind().as_str(), error.message())
}

impl Call {
    /// Another attempt follows.
    pub fn retry(&self, py: Python<'_>, number: usize, attempt: &Attempt) -> PyResult<()> {
        let key = self.idempotency_key.as_deref();
        write(py, "retry", || Ok((&*self.shown_order_id, key, number, attempt_of(py, attempt)?)))
    }

    fn write_end(
        &self,
        py: Python<'_>,
        outcome: &Bound<'_, PyAny>,
        word: &str,
        said: impl FnOnce() -> String,
    ) -> PyResult<()> {
        let (key, unattended) = (self.idempotency_key.as_deref(), self.unattended.load(Ordering::Relaxed));
        write(py, "ended", || Ok((&*self.shown_order_id, key, outcome, word, said(), unattended)))
    }

    /// The end as Python has it, which is logged.
    pub fn end<'py>(&self, py: Python<'py>, result: Result<Reply, Error>) -> PyResult<Bound<'py, PyAny>> {
        let (outcome, word) = match &result {
            Ok(reply) => (reply_of(py, reply)?, reply.outcome()),
            Err(error) => (exception(py, error)?, error.kind().as_str()),
        };
        let said = || match &result {
            Ok(reply) => match (reply.created_id(), reply.found_ids()) {
                (Some(id), _) => format!("{word} as {id}"),
                (None, Some(_)) => format!("found {word}"),
                (None, None) => word.to_owned(),
            },
            Err(error) => line(error),
        };
        self.logged.store(true, Ordering::Relaxed);
        self.write_end(py, &outcome, self.word.get_or_init(|| word), said)?;
        if result.is_ok() { Ok(outcome) } else { Err(PyErr::from_value(outcome)) }
    }

    /// Gives an exception that takings did not raise (KeyboardInterrupt) the state of the money as its cause.
    pub fn because(&self, py: Python<'_>, raised: PyErr) -> PyErr {
        let ours = raised.value(py).hasattr("idempotency_key").unwrap_or(false);
        if ours || self.idempotency_key.is_none() {
            return raised;
        }
        let known = exception_of(py, &self.abandoned);
        if !self.logged.swap(true, Ordering::Relaxed) {
            let _ = self.write_end(py, known.value(py), self.abandoned.kind().as_str(), || line(&self.abandoned));
        }
        if raised.cause(py).is_none() {
            raised.set_cause(py, Some(known));
        }
        raised
    }
}
