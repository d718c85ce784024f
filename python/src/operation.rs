//! A call on its way: sent over our own connections, or step by step by whoever has others.
//! Whatever drives it, what a program's log is told of it is told here.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use takings::{Answer, Attempt, Capture, Error, Event, Reconciliation, Step};

use crate::gate::Inside;
use crate::modules::{steps, telling};
use crate::outcome::{Shown, attempt_log_of, attempt_of, exception, exception_of};
use crate::slot::Slot;
use crate::value::told;
use crate::wait;

/// One call; see the stub for its manual.
#[pyclass(module = "takings", frozen, generic)]
pub struct Operation {
    /// What is known of it when nobody waits any more.
    abandoned: Error,
    order_id: String,
    /// As a log may show it.
    shown_order_id: String,
    idempotency_key: Option<String>,
    /// Nobody waits for the outcome.
    alone: AtomicBool,
    /// The log was told of its end.
    told: AtomicBool,
    /// Empty while it is stepped, once it is sent, and at its end.
    driven: Slot<Driven>,
}

pub enum Driven {
    Capture(takings::Operation<Capture>),
    Look(takings::Operation<Reconciliation>),
}

impl From<takings::Operation<Capture>> for Driven {
    fn from(operation: takings::Operation<Capture>) -> Driven {
        Driven::Capture(operation)
    }
}

impl From<takings::Operation<Reconciliation>> for Driven {
    fn from(operation: takings::Operation<Reconciliation>) -> Driven {
        Driven::Look(operation)
    }
}

/// Lets a log function of the package run. What a program's own handler or filter raises must not
/// take the outcome with it; an interrupt goes on.
fn tell<'py>(py: Python<'py>, function: &str, arguments: impl pyo3::call::PyCallArgs<'py>) -> PyResult<()> {
    match telling(py).and_then(|module| module.call_method1(function, arguments)) {
        Err(error) if error.is_instance_of::<PyException>(py) => {
            error.write_unraisable(py, None);
            Ok(())
        }
        told => told.map(drop),
    }
}

/// Tells of a call that was refused before there was an operation.
pub fn tell_refused(py: Python<'_>, refused: PyErr) -> PyErr {
    let value = refused.value(py);
    if !value.hasattr("idempotency_key").unwrap_or(false) {
        return refused;
    }
    let told = (|| tell(py, "ended", (value.getattr("order_id")?, value.getattr("idempotency_key")?, value, false)))();
    told.err().unwrap_or(refused)
}

impl Operation {
    pub fn new<T>(operation: takings::Operation<T>) -> Operation
    where
        Driven: From<takings::Operation<T>>,
    {
        Operation {
            abandoned: operation.abandoned(),
            order_id: operation.order_id().to_owned(),
            shown_order_id: operation.shown_order_id(),
            idempotency_key: operation.idempotency_key().map(str::to_owned),
            alone: AtomicBool::new(false),
            told: AtomicBool::new(false),
            driven: Slot::new(Some(operation.into())),
        }
    }

    fn take(&self, py: Python<'_>) -> PyResult<Driven> {
        self.driven.replace(None).ok_or_else(|| {
            let error = Error::invalid_argument(
                "the operation",
                "over, or in use",
                "one that is still to be sent: each ends once",
            );
            exception_of(py, &error)
        })
    }

    /// Tells the log that another attempt follows.
    pub fn tell_retry(&self, py: Python<'_>, number: usize, attempt: &Attempt) -> PyResult<()> {
        let attempt = attempt_of(py, attempt)?;
        tell(py, "retry", (&*self.shown_order_id, self.idempotency_key.as_deref(), number, attempt))
    }

    /// The end, as Python has it; the log is told.
    pub fn ended<'py, T: Shown>(&self, py: Python<'py>, result: Result<T, Error>) -> PyResult<Bound<'py, PyAny>> {
        let outcome = match &result {
            Ok(outcome) => outcome.show(py)?,
            Err(error) => exception(py, error, error.message())?,
        };
        self.told.store(true, Ordering::Relaxed);
        let alone = self.alone.load(Ordering::Relaxed);
        tell(py, "ended", (&*self.shown_order_id, self.idempotency_key.as_deref(), &outcome, alone))?;
        match result {
            Ok(_) => Ok(outcome),
            Err(_) => Err(PyErr::from_value(outcome)),
        }
    }

    /// What is raised for it by others than takings (KeyboardInterrupt), with the state of the money
    /// as its cause.
    pub fn because(&self, py: Python<'_>, raised: PyErr) -> PyErr {
        let ours = raised.value(py).hasattr("idempotency_key").unwrap_or(false);
        if ours || self.idempotency_key.is_none() {
            return raised;
        }
        if !self.told.swap(true, Ordering::Relaxed) {
            let known = exception_of(py, &self.abandoned);
            let _ = tell(py, "ended", (&*self.shown_order_id, self.idempotency_key.as_deref(), known.value(py), false));
        }
        if raised.cause(py).is_none() {
            raised.set_cause(py, Some(exception_of(py, &self.abandoned)));
        }
        raised
    }

    fn step<'py, T>(
        &self,
        py: Python<'py>,
        inside: &Inside,
        mut operation: takings::Operation<T>,
        event: Event,
    ) -> PyResult<Bound<'py, PyAny>>
    where
        T: Shown,
        Driven: From<takings::Operation<T>>,
    {
        // an answer may be a list that takes a while to read
        let step = inside.detach(py, || operation.step(event));
        if let Step::Done(result) = step {
            return self.ended(py, result);
        }
        let fields = PyDict::new(py);
        let (class, retry) = match step {
            Step::Send(timeout) => {
                let request = operation.request();
                let headers: Vec<(&str, &str)> = request.headers().collect();
                fields.set_item("method", request.method())?;
                fields.set_item("url", request.url())?;
                fields.set_item("headers", headers)?;
                fields.set_item("body", PyBytes::new(py, request.body()))?;
                fields.set_item("timeout", timeout.as_secs_f64())?;
                fields.set_item("connect_timeout", operation.connect_timeout().min(timeout).as_secs_f64())?;
                fields.set_item("most_answer", request.most_answer())?;
                ("Send", None)
            }
            Step::Wait(pause) => {
                fields.set_item("seconds", pause.as_secs_f64())?;
                (
                    "Wait",
                    operation.attempt_log().last().cloned().map(|attempt| (operation.attempt_log().len(), attempt)),
                )
            }
            Step::Done(_) => unreachable!("it has been returned"),
        };
        drop(self.driven.replace(Some(operation.into())));
        if let Some((number, attempt)) = retry {
            self.tell_retry(py, number, &attempt)?;
        }
        steps(py)?.getattr(class)?.call((), Some(&fields))
    }

    fn feed<'py>(&self, py: Python<'py>, event: Event) -> PyResult<Bound<'py, PyAny>> {
        let inside = Inside::new(py);
        match self.take(py)? {
            Driven::Capture(operation) => self.step(py, &inside, operation, event),
            Driven::Look(operation) => self.step(py, &inside, operation, event),
        }
        .map_err(|raised| self.because(py, raised))
    }
}

#[pymethods]
impl Operation {
    #[getter]
    fn order_id(&self) -> &str {
        &self.order_id
    }

    #[getter]
    fn idempotency_key(&self) -> Option<&str> {
        self.idempotency_key.as_deref()
    }

    #[getter]
    fn attempt_log<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let log = self.driven.look(|driven| match driven {
            Driven::Capture(operation) => operation.attempt_log().to_vec(),
            Driven::Look(operation) => operation.attempt_log().to_vec(),
        });
        Ok(attempt_log_of(py, &log.unwrap_or_default())?.into_any())
    }

    fn send<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let inside = Inside::new(py);
        match self.take(py)? {
            Driven::Capture(operation) => wait::until(py, &inside, self, operation),
            Driven::Look(operation) => wait::until(py, &inside, self, operation),
        }
        .map_err(|raised| self.because(py, raised))
    }

    fn start<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.feed(py, Event::Start)
    }

    #[pyo3(signature = (status, headers, body, /))]
    fn answered<'py>(
        &self,
        py: Python<'py>,
        status: u16,
        headers: &Bound<'py, PyAny>,
        body: &[u8],
    ) -> PyResult<Bound<'py, PyAny>> {
        let bytes = |value: &Bound<'py, PyAny>| match value.cast::<PyBytes>() {
            Ok(bytes) => Ok(bytes.as_bytes().to_vec()),
            Err(_) => told("a header", value).map(String::into_bytes),
        };
        let headers = headers.try_iter()?.map(|header| {
            let (name, value): (Bound<'py, PyAny>, Bound<'py, PyAny>) = header?.extract()?;
            let name = bytes(&name)?;
            Ok((String::from_utf8_lossy(&name).into_owned(), bytes(&value)?))
        });
        let headers: Vec<(String, Vec<u8>)> = headers.collect::<PyResult<_>>()?;
        self.feed(py, Event::Answered(Answer::new(status, headers, body.to_vec())))
    }

    #[pyo3(signature = (why, /))]
    fn not_sent<'py>(&self, py: Python<'py>, why: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let why = told("why", why)?;
        self.feed(py, Event::NotSent(why))
    }

    #[pyo3(signature = (why, /))]
    fn maybe_sent<'py>(&self, py: Python<'py>, why: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let why = told("why", why)?;
        self.feed(py, Event::MaybeSent(why))
    }

    fn waited<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.feed(py, Event::Waited)
    }

    fn abandon<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.alone.store(true, Ordering::Relaxed);
        exception(py, &self.abandoned, self.abandoned.message())
    }

    fn __repr__(&self) -> String {
        let key = self.idempotency_key.as_ref().map(|key| format!(" idempotency_key={key:?}")).unwrap_or_default();
        format!("<takings.Operation order_id={:?}{key}>", self.shown_order_id)
    }
}
