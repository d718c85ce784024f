//! A call in flight, which is sent over the client's own connections or step by step by a host that has others.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use takings::{Answer, Error, Event, Step};

use crate::gate::Inside;
use crate::modules::STEPS;
use crate::outcome::{attempts_of, exception, exception_of};
use crate::slot::Slot;
use crate::value::host_text;
use crate::wait;

/// One call; see the stub for its manual. Its facts outlive the core's call, which is gone once it is sent or has ended.
#[pyclass(module = "takings", frozen, generic)]
pub struct Call {
    #[pyo3(get)]
    operation: &'static str,
    #[pyo3(get)]
    order_id: String,
    #[pyo3(get)]
    pub idempotency_key: Option<String>,
    /// The order id as a log may show it.
    pub shown_order_id: String,
    /// The error for a caller who stops waiting.
    pub abandoned: Error,
    /// Whether the caller has stopped waiting.
    pub unattended: AtomicBool,
    /// Whether the log has the end.
    pub logged: AtomicBool,
    /// The log's word for the end, such as `captured`; none before the end.
    pub word: OnceLock<&'static str>,
    /// Empty while it is stepped, once it is sent, and at its end.
    call: Slot<takings::Call>,
}

impl Call {
    pub fn new(call: takings::Call) -> Call {
        Call {
            operation: call.operation(),
            order_id: call.order_id().to_owned(),
            idempotency_key: call.idempotency_key().map(str::to_owned),
            shown_order_id: call.shown_order_id(),
            abandoned: call.abandoned(),
            unattended: AtomicBool::new(false),
            logged: AtomicBool::new(false),
            word: OnceLock::new(),
            call: Slot::new(Some(call)),
        }
    }

    fn take(&self, py: Python<'_>) -> PyResult<takings::Call> {
        self.call.replace(None).ok_or_else(|| {
            let allowed = "one that is still to be sent: each ends once";
            exception_of(py, &Error::invalid_argument("the call", "over, or in use", allowed))
        })
    }

    /// Sends it over our own connections.
    pub fn send_inside<'py>(&self, py: Python<'py>, inside: &Inside) -> PyResult<Bound<'py, PyAny>> {
        wait::until(py, inside, self, self.take(py)?).map_err(|raised| self.because(py, raised))
    }

    fn step<'py>(&self, py: Python<'py>, event: Event) -> PyResult<Bound<'py, PyAny>> {
        let inside = Inside::new(py);
        let mut call = self.take(py)?;
        // an answer may be a list that takes a while to read
        match inside.detach(py, || call.step(event)) {
            Step::Done(result) => self.end(py, result),
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
            self.retry(py, number, &attempt)?;
        }
        STEPS.get(py)?.getattr(class)?.call((), Some(&fields))
    }
}

#[pymethods]
impl Call {
    #[getter]
    fn attempt_log<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let log = self.call.look(|call| call.attempt_log().to_vec());
        attempts_of(py, &log.unwrap_or_default())
    }

    #[getter]
    fn outcome(&self) -> Option<&str> {
        self.word.get().copied()
    }

    fn send<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.send_inside(py, &Inside::new(py))
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
        self.unattended.store(true, Ordering::Relaxed);
        exception(py, &self.abandoned)
    }

    fn __repr__(&self) -> String {
        let key = self.idempotency_key.as_ref().map(|key| format!(" idempotency_key={key:?}"));
        format!("<takings.Call order_id={:?}{}>", self.shown_order_id, key.unwrap_or_default())
    }
}
