//! A call in flight, which is sent over the client's own connections or step by step by a host that has others.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use takings::{Answer, Error, Event, Step};

use crate::gate::Inside;
use crate::modules::steps;
use crate::outcome::{attempts_of, exception_of};
use crate::report::Report;
use crate::slot::Slot;
use crate::value::host_text;
use crate::wait;

/// One call; see the stub for its manual.
#[pyclass(module = "takings", frozen, generic)]
pub struct Call {
    report: Report,
    /// Empty while it is stepped, once it is sent, and at its end.
    call: Slot<takings::Call>,
}

impl Call {
    pub fn new(call: takings::Call) -> Call {
        Call { report: Report::of(&call), call: Slot::new(Some(call)) }
    }

    /// See [`Report::because`].
    pub fn because(&self, py: Python<'_>, raised: PyErr) -> PyErr {
        self.report.because(py, raised)
    }

    fn take(&self, py: Python<'_>) -> PyResult<takings::Call> {
        self.call.replace(None).ok_or_else(|| {
            let allowed = "one that is still to be sent: each ends once";
            exception_of(py, &Error::invalid_argument("the call", "over, or in use", allowed))
        })
    }

    fn step<'py>(&self, py: Python<'py>, event: Event) -> PyResult<Bound<'py, PyAny>> {
        let inside = Inside::new(py);
        let mut call = self.take(py)?;
        // an answer may be a list that takes a while to read
        match inside.detach(py, || call.step(event)) {
            Step::Done(result) => self.report.end(py, result),
            step => self.go_on(py, call, &step),
        }
        .map_err(|raised| self.because(py, raised))
    }

    /// The next step as Python has it, with the call put back for the one after it.
    fn go_on<'py>(&self, py: Python<'py>, call: takings::Call, step: &Step) -> PyResult<Bound<'py, PyAny>> {
        let fields = PyDict::new(py);
        let mut retry = None;
        let class = match step {
            Step::Send(timeout) => {
                let request = call.request();
                let headers: Vec<(&str, &str)> = request.headers().collect();
                fields.set_item("method", request.method())?;
                fields.set_item("url", request.url())?;
                fields.set_item("headers", headers)?;
                fields.set_item("body", PyBytes::new(py, request.body()))?;
                fields.set_item("timeout", timeout.as_secs_f64())?;
                fields.set_item("connect_timeout", call.connect_timeout().min(*timeout).as_secs_f64())?;
                fields.set_item("most_answer", request.most_answer())?;
                "Send"
            }
            Step::Wait(pause) => {
                fields.set_item("seconds", pause.as_secs_f64())?;
                retry = call.attempt_log().last().cloned().map(|attempt| (call.attempt_log().len(), attempt));
                "Wait"
            }
            Step::Done(_) => unreachable!("an end is no step to go on from"),
        };
        drop(self.call.replace(Some(call)));
        if let Some((number, attempt)) = retry {
            self.report.retry(py, number, &attempt)?;
        }
        steps(py)?.getattr(class)?.call((), Some(&fields))
    }
}

#[pymethods]
impl Call {
    #[getter]
    fn operation(&self) -> &str {
        self.report.operation
    }

    #[getter]
    fn order_id(&self) -> &str {
        &self.report.order_id
    }

    #[getter]
    fn idempotency_key(&self) -> Option<&str> {
        self.report.idempotency_key.as_deref()
    }

    #[getter]
    fn attempt_log<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let log = self.call.look(|call| call.attempt_log().to_vec());
        attempts_of(py, &log.unwrap_or_default())
    }

    #[getter]
    fn outcome(&self) -> Option<&str> {
        self.report.outcome()
    }

    fn send<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let inside = Inside::new(py);
        wait::until(py, &inside, &self.report, self.take(py)?)
    }

    fn start<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.step(py, Event::Start)
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
            Err(_) => host_text("a header", value).map(String::into_bytes),
        };
        let headers = headers.try_iter()?.map(|header| {
            let (name, value): (Bound<'py, PyAny>, Bound<'py, PyAny>) = header?.extract()?;
            let name = bytes(&name)?;
            Ok((String::from_utf8_lossy(&name).into_owned(), bytes(&value)?))
        });
        let headers: Vec<(String, Vec<u8>)> = headers.collect::<PyResult<_>>()?;
        self.step(py, Event::Answered(Answer::new(status, headers, body.to_vec())))
    }

    #[pyo3(signature = (why, /))]
    fn not_sent<'py>(&self, py: Python<'py>, why: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.step(py, Event::NotSent(host_text("why", why)?))
    }

    #[pyo3(signature = (why, /))]
    fn maybe_sent<'py>(&self, py: Python<'py>, why: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.step(py, Event::MaybeSent(host_text("why", why)?))
    }

    fn waited<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.step(py, Event::Waited)
    }

    fn abandon<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.report.abandon(py)
    }

    fn __repr__(&self) -> String {
        let key = self.report.idempotency_key.as_ref().map(|key| format!(" idempotency_key={key:?}"));
        format!("<takings.Call order_id={:?}{}>", self.report.shown_order_id, key.unwrap_or_default())
    }
}
