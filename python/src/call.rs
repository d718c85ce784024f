//! A call in flight, which takings sends over its own connections, or a program step by step over other ones.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use takings::binding::Sending;
use takings::{Answer, Attempt, Error, Event, Step};

use crate::gate::Inside;
use crate::modules::STEPS;
use crate::outcome::{attempts_of, exception, exception_of};
use crate::slot::Slot;
use crate::value::{host_text, told};
use crate::wait::{self, Underway};

/// A call that is ready to be sent (`Client.prepare`).
///
/// `send` sends it over the client's own connections. A program with an HTTP client that takings
/// does not know sends it step by step instead: `start` and every answer to a step gives the next
/// step, until it is the outcome:
///
///     step = call.start()
///     while not isinstance(step, takings.Capture):
///         if isinstance(step, takings.Wait):
///             time.sleep(step.seconds)
///             step = call.waited()
///         else:
///             step = call.answered(*my_http_client(step))  # or not_sent, or maybe_sent
///
/// That program sends each `Send` once and as it is, within its time-out, follows no redirect,
/// and closes the connection after an error, a time-out or bytes beyond the answer.
///
/// Dropping it gives the call up; a request that was sent may still be carried out. Any thread may
/// use it, one at a time.
#[pyclass(module = "takings", frozen, generic)]
pub struct Call {
    // The facts outlive the core's call, which is gone once the call is sent or has ended.
    /// The name of the operation, such as `capture`.
    #[pyo3(get)]
    operation: &'static str,
    /// The order it is for.
    #[pyo3(get)]
    order_id: String,
    /// The key it is sent with; none for a call that changes nothing.
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
    /// The core's call: taken out during a step, when the call is sent, and at its end.
    call: Slot<takings::Call>,
    /// The call while an event loop waits for it; taken out during a step.
    underway: Slot<Underway>,
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
            underway: Slot::new(None),
        }
    }

    fn take(&self, py: Python<'_>) -> PyResult<takings::Call> {
        self.call.replace(None).ok_or_else(|| {
            let allowed = "one that is still to be sent: each ends once";
            exception_of(py, &Error::invalid_argument("the call", "over, or in use", allowed))
        })
    }

    /// Sends on; without an end yet it gives the wish of the call.
    fn go_on<'py>(
        &self,
        py: Python<'py>,
        inside: &Inside,
        underway: Underway,
        blocks: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let retry = |number: usize, attempt: &Attempt| self.retry(py, number, attempt);
        let ended = wait::until(py, inside, &self.abandoned, underway, blocks, retry);
        let given = ended.and_then(|ended| match ended {
            Ok(result) => self.end(py, result),
            Err(underway) => {
                let wish = wish_of(py, &underway.0);
                drop(self.underway.replace(Some(underway)));
                wish
            }
        });
        given.map_err(|raised| self.because(py, raised))
    }

    fn step<'py>(&self, py: Python<'py>, event: Event) -> PyResult<Bound<'py, PyAny>> {
        let inside = Inside::new(py);
        let mut call = self.take(py)?;
        // an answer may be a list that takes a while to read
        let step = inside.detach(py, || call.step(event));
        // the call is put back first, since Python code may ask for the next step
        let next = match step {
            Step::Done(result) => self.end(py, result),
            Step::Send(timeout) => {
                let send = send_of(py, &call, timeout);
                drop(self.call.replace(Some(call)));
                send
            }
            Step::Wait(pause) => {
                let (attempts, last) = (call.attempt_log().len(), call.attempt_log().last().cloned());
                drop(self.call.replace(Some(call)));
                last.map_or(Ok(()), |attempt| self.retry(py, attempts, &attempt))
                    .and_then(|()| STEPS.get(py)?.call_method1("Wait", (pause.as_secs_f64(),)))
            }
        };
        next.map_err(|raised| self.because(py, raised))
    }
}

/// The wish of a call for an event loop.
#[cfg(unix)]
fn wish_of<'py>(py: Python<'py>, sending: &Sending) -> PyResult<Bound<'py, PyAny>> {
    let wish = sending.wish();
    if wish.takes_long {
        return Ok(PyTuple::empty(py).into_any());
    }
    let seconds = wish.until.saturating_duration_since(Instant::now()).as_secs_f64();
    let reads = PyTuple::new(py, wish.descriptors().map(|(descriptor, _)| descriptor).collect::<Vec<_>>())?;
    let writes = wish.descriptors().filter(|(_, writes)| *writes).map(|(descriptor, _)| descriptor);
    Ok((seconds, reads, PyTuple::new(py, writes.collect::<Vec<_>>())?).into_pyobject(py)?.into_any())
}

/// The event loops of other systems wait for no file descriptor.
#[cfg(not(unix))]
fn wish_of<'py>(py: Python<'py>, _: &Sending) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyTuple::empty(py).into_any())
}

/// A `Send`, whose fields are given in their order.
fn send_of<'py>(py: Python<'py>, call: &takings::Call, timeout: Duration) -> PyResult<Bound<'py, PyAny>> {
    let request = call.request();
    let headers: Vec<(&str, &str)> = request.headers().collect();
    let body = PyBytes::new(py, request.body());
    let limits = (timeout.as_secs_f64(), call.connect_timeout().min(timeout).as_secs_f64());
    let fields = (request.method(), request.url(), headers, body, limits.0, limits.1, request.most_answer());
    STEPS.get(py)?.call_method1("Send", fields)
}

#[pymethods]
impl Call {
    /// The requests so far, while it is stepped; the outcome has them all.
    #[getter]
    fn attempt_log<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let log = self.call.look(|call| call.attempt_log().to_vec());
        attempts_of(py, &log.unwrap_or_default())
    }

    /// The end as a log names it: `captured`, how often a query found a capture, or the kind of
    /// an error. None before the end.
    #[getter]
    fn outcome(&self) -> Option<&str> {
        self.word.get().copied()
    }

    /// Send it and wait for the outcome, as `Client.capture` does.
    #[pyo3(signature = () -> "_ReplyT")]
    pub fn send<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let inside = Inside::new(py);
        let sending = self.take(py)?.sending();
        self.go_on(py, &inside, (sending, 0), true)
    }

    /// For `AsyncClient`: sends on, as far as that goes without waiting, and gives the outcome.
    ///
    /// Where there is none yet it gives the seconds to wait at most, and the file descriptors to
    /// wait for until they can be read, or written. An empty tuple asks for a thread. None says
    /// that the call is over or in use. With `blocks` it waits for the outcome.
    #[pyo3(signature = (blocks: "bool", /) -> "Any")]
    fn _go_on<'py>(&self, py: Python<'py>, blocks: bool) -> PyResult<Option<Bound<'py, PyAny>>> {
        let inside = Inside::new(py);
        let begin = || self.call.replace(None).map(|call| (call.sending(), 0));
        let underway = self.underway.replace(None).or_else(begin);
        underway.map(|underway| self.go_on(py, &inside, underway, blocks)).transpose()
    }

    /// The first step. Raises the `TakingsError` that the call ends in, as the others do.
    #[pyo3(signature = () -> "Send | Wait | _ReplyT")]
    fn start<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.step(py, Event::Start)
    }

    /// An answer came, whatever its status. A header that came twice is given twice.
    ///
    /// A value that cannot be read raises `TypeError`, with the reason as its cause. The call then
    /// still waits for the answer.
    #[pyo3(signature = (
        status: "int", headers: "Iterable[tuple[str | bytes, str | bytes]]", body: "bytes", /
    ) -> "Send | Wait | _ReplyT")]
    fn answered<'py>(
        &self,
        py: Python<'py>,
        status: &Bound<'py, PyAny>,
        headers: &Bound<'py, PyAny>,
        body: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let bytes = |value: &Bound<'py, PyAny>| PyResult::Ok(value.cast::<PyBytes>()?.as_bytes().to_vec());
        let either = |value: &Bound<'py, PyAny>| bytes(value).or_else(|_| host_text(value).map(String::into_bytes));
        let pairs = || {
            let pairs = headers.try_iter()?.map(|header| {
                let (name, value) = header?.extract()?;
                Ok((String::from_utf8_lossy(&either(&name)?).into_owned(), either(&value)?))
            });
            pairs.collect::<PyResult<Vec<_>>>()
        };
        let status = told("status", status, "a status such as 201", status.extract())?;
        let headers = told("headers", headers, "pairs of a name and a value, str or bytes", pairs())?;
        let body = told("body", body, "bytes", bytes(body))?;
        self.step(py, Event::Answered(Answer::new(status, headers, body)))
    }

    /// The request cannot have left: no connection was made.
    #[pyo3(signature = (why: "str", /) -> "Send | Wait | _ReplyT")]
    fn not_sent<'py>(&self, py: Python<'py>, why: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.step(py, Event::NotSent(told("why", why, "a string", host_text(why))?))
    }

    /// The request may have left and no answer came. In doubt this is the event to report.
    #[pyo3(signature = (why: "str", /) -> "Send | Wait | _ReplyT")]
    fn maybe_sent<'py>(&self, py: Python<'py>, why: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.step(py, Event::MaybeSent(told("why", why, "a string", host_text(why))?))
    }

    /// The pause is over.
    #[pyo3(signature = () -> "Send | Wait | _ReplyT")]
    fn waited<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.step(py, Event::Waited)
    }

    /// The error to raise where the wait ends before the call does (a cancelled task). The call
    /// may go on elsewhere; its outcome, which no caller hears, is logged as a warning.
    #[pyo3(signature = () -> "OutcomeUnknown")]
    fn abandon<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.unattended.store(true, Ordering::Relaxed);
        exception(py, &self.abandoned)
    }

    fn __repr__(&self) -> String {
        let key = self.idempotency_key.as_ref().map(|key| format!(" idempotency_key={key:?}"));
        format!("<takings.Call order_id={:?}{}>", self.shown_order_id, key.unwrap_or_default())
    }
}
