//! A call that the C program sends by itself.

use std::ffi::{CStr, CString, c_char};
use std::mem::MaybeUninit;
use std::ptr;
use std::slice;
use std::time::Duration;

use takings::{Answer, Capture, Error, Event, HttpRequest, Operation, Outcome, Reconciliation, Step};

use crate::attempt::milliseconds;
use crate::{
    Wiped, c_string, free, guard, null, pointer, prepare, prepare_reconcile, takings_capture_t, takings_client_t,
    takings_error_t, takings_reconciliation_t,
};

/// A call that your program sends by itself: takings decides what to send, when to wait and what
/// an answer means, your HTTP client sends. No thread is started and nothing is called back, so it
/// fits any event loop.
///
///     takings_operation_t *operation = takings_client_prepare(client, order_id, request, key, &error);
///     takings_step_t step = takings_operation_start(operation);
///     while (step == TAKINGS_STEP_SEND || step == TAKINGS_STEP_WAIT) {
///         if (step == TAKINGS_STEP_SEND)
///             step = send_over_http(operation);    // tells answered, not_sent or maybe_sent
///         else {
///             pause_for(takings_operation_time_ms(operation));
///             step = takings_operation_waited(operation);
///         }
///     }
///     capture = takings_operation_capture(operation, &error);
///     takings_operation_free(operation);
///
/// What your HTTP client owes it: for each TAKINGS_STEP_SEND it sends the request once, as it is,
/// follows no redirect, sends nothing again by itself, checks certificates, and is done within
/// takings_operation_time_ms. It closes the connection after a time-out, an error, or bytes beyond
/// an answer, so that a late answer is not taken for the next call's.
///
/// One thread at a time may use it, whichever that is. After a fork go on with it in one of the
/// two processes and free it in the other; whether a connection may go on there is your HTTP
/// client's matter. It does not need the client any more, which may be freed before it. Freed
/// before TAKINGS_STEP_DONE the call is given up: what was sent may still be captured, and its
/// key stays safe to call again with.
pub struct takings_operation_t {
    call: Call,
    order_id: CString,
    idempotency_key: Option<CString>,
    /// What is to be sent: there during `TAKINGS_STEP_SEND` alone, since it holds the credential.
    request: Option<Request>,
    time_ms: i64,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

/// What an operation asks for next.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum takings_step_t {
    /// There is no operation: the step of NULL.
    TAKINGS_STEP_NONE = 0,
    /// Send the request once and be done within takings_operation_time_ms; then call
    /// takings_operation_answered, takings_operation_not_sent or takings_operation_maybe_sent.
    TAKINGS_STEP_SEND = 1,
    /// Pause for takings_operation_time_ms, then call takings_operation_waited.
    TAKINGS_STEP_WAIT = 2,
    /// The outcome is there: takings_operation_capture or takings_operation_reconciliation.
    TAKINGS_STEP_DONE = 3,
}

use takings_step_t::*;

enum Call {
    Capture(Driven<Capture>),
    Look(Driven<Reconciliation>),
}

struct Driven<T> {
    operation: Operation<T>,
    result: Option<Result<T, Error>>,
}

impl<T: Outcome + Clone> Driven<T> {
    fn step(&mut self, event: Event) -> (takings_step_t, i64) {
        // What it ended in stays, whatever is told it afterwards.
        if self.result.is_some() {
            return (TAKINGS_STEP_DONE, 0);
        }
        match self.operation.step(event) {
            Step::Send(timeout) => (TAKINGS_STEP_SEND, time_out(timeout)),
            // a pause is not cut short
            Step::Wait(pause) => (TAKINGS_STEP_WAIT, milliseconds(pause + Duration::from_nanos(999_999))),
            Step::Done(result) => {
                self.result = Some(result);
                (TAKINGS_STEP_DONE, 0)
            }
        }
    }

    fn result(&self) -> Result<T, Error> {
        self.result.clone().unwrap_or_else(|| Err(self.operation.abandoned()))
    }

    /// Ends it where a panic has been caught.
    fn break_off(&mut self) {
        let error = self.operation.misused("a panic was caught");
        self.result.get_or_insert(Err(error));
    }
}

/// To many HTTP clients 0 means for ever.
fn time_out(duration: Duration) -> i64 {
    milliseconds(duration).max(1)
}

struct Request {
    method: CString,
    url: CString,
    headers: Vec<(CString, Wiped)>,
}

impl Request {
    fn new(request: &HttpRequest) -> Request {
        Request {
            method: c_string(request.method()),
            url: c_string(request.url()),
            headers: request.headers().map(|(name, value)| (c_string(name), Wiped::new(value.as_bytes()))).collect(),
        }
    }
}

impl takings_operation_t {
    fn capture(operation: Operation<Capture>) -> Box<takings_operation_t> {
        let (order_id, key) = (c_string(operation.order_id()), operation.idempotency_key().map(c_string));
        takings_operation_t::new(order_id, key, Call::Capture(Driven { operation, result: None }))
    }

    fn look(operation: Operation<Reconciliation>) -> Box<takings_operation_t> {
        let order_id = c_string(operation.order_id());
        takings_operation_t::new(order_id, None, Call::Look(Driven { operation, result: None }))
    }

    fn new(order_id: CString, idempotency_key: Option<CString>, call: Call) -> Box<takings_operation_t> {
        let (request, headers, body) = (None, Vec::new(), Vec::new());
        Box::new(takings_operation_t { call, order_id, idempotency_key, request, time_ms: 0, headers, body })
    }

    fn http(&self) -> &HttpRequest {
        match &self.call {
            Call::Capture(driven) => driven.operation.request(),
            Call::Look(driven) => driven.operation.request(),
        }
    }

    /// The request, while it is to be sent.
    fn sending(&self) -> Option<&HttpRequest> {
        self.request.as_ref().map(|_| self.http())
    }

    fn step(&mut self, event: Event) -> takings_step_t {
        self.request = None;
        self.headers.clear();
        self.body = Vec::new();
        let (step, time_ms) = match &mut self.call {
            Call::Capture(driven) => driven.step(event),
            Call::Look(driven) => driven.step(event),
        };
        self.time_ms = time_ms;
        self.request = (step == TAKINGS_STEP_SEND).then(|| Request::new(self.http()));
        step
    }
}

/// What all the functions do that tell what happened.
fn tell(
    operation: Option<&mut takings_operation_t>,
    event: impl FnOnce(&mut takings_operation_t) -> Event,
) -> takings_step_t {
    let Some(operation) = operation else { return TAKINGS_STEP_NONE };
    let step = guard(None, || {
        let event = event(&mut *operation);
        Ok(operation.step(event))
    });
    step.unwrap_or_else(|| {
        guard(None, || {
            match &mut operation.call {
                Call::Capture(driven) => driven.break_off(),
                Call::Look(driven) => driven.break_off(),
            }
            Ok(())
        });
        TAKINGS_STEP_DONE
    })
}

/// The bytes of a C string, whatever they are; none for NULL.
///
/// # Safety
///
/// `text` is NULL, or points to bytes that end with NUL.
unsafe fn bytes(text: *const c_char) -> Vec<u8> {
    if text.is_null() {
        return Vec::new();
    }
    // SAFETY: not NULL; the rest is the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_bytes().to_owned()
}

/// The first half of takings_client_capture, with the same arguments: everything that can be
/// refused is refused here, and the key is known before anything is sent. The operation is the
/// second half, for your program to send.
///
/// Returns an operation for takings_operation_free, or NULL and an error (invalid_input).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_client_prepare(
    client: Option<&takings_client_t>,
    order_id: *const c_char,
    request_json: *const c_char,
    idempotency_key: *const c_char,
    error: Option<&mut MaybeUninit<Option<Box<takings_error_t>>>>,
) -> Option<Box<takings_operation_t>> {
    guard(error, || {
        // SAFETY: C strings or NULL, by the header's rules.
        unsafe { prepare(client, order_id, request_json, idempotency_key) }.map(takings_operation_t::capture)
    })
}

/// The first half of takings_client_reconcile, with the same arguments.
///
/// Returns an operation for takings_operation_free, or NULL and an error (invalid_input).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_client_prepare_reconcile(
    client: Option<&takings_client_t>,
    order_id: *const c_char,
    reference: *const c_char,
    captured_amount: i64,
    error: Option<&mut MaybeUninit<Option<Box<takings_error_t>>>>,
) -> Option<Box<takings_operation_t>> {
    guard(error, || {
        // SAFETY: C strings or NULL, by the header's rules.
        unsafe { prepare_reconcile(client, order_id, reference, captured_amount) }.map(takings_operation_t::look)
    })
}

/// The order it is for.
#[unsafe(no_mangle)]
pub extern "C" fn takings_operation_order_id(operation: Option<&takings_operation_t>) -> *const c_char {
    pointer(operation.map(|operation| &operation.order_id))
}

/// The key it is sent with, given or made; NULL for a look, which changes nothing.
#[unsafe(no_mangle)]
pub extern "C" fn takings_operation_idempotency_key(operation: Option<&takings_operation_t>) -> *const c_char {
    pointer(operation.and_then(|operation| operation.idempotency_key.as_ref()))
}

/// Begins the call, whose timeout_ms counts from here. The first step is TAKINGS_STEP_SEND.
///
/// What is told out of turn, as a second start, ends the call as internal: after a request was
/// begun its outcome is then unknown. After TAKINGS_STEP_DONE nothing changes any more.
#[unsafe(no_mangle)]
pub extern "C" fn takings_operation_start(operation: Option<&mut takings_operation_t>) -> takings_step_t {
    tell(operation, |_| Event::Start)
}

/// How long sending may take (1 or more) or a pause lasts, in milliseconds; 0 when it is neither.
#[unsafe(no_mangle)]
pub extern "C" fn takings_operation_time_ms(operation: Option<&takings_operation_t>) -> i64 {
    operation.map_or(0, |operation| operation.time_ms)
}

/// How long a connection may take to be made, within the time for sending, in milliseconds.
#[unsafe(no_mangle)]
pub extern "C" fn takings_operation_connect_timeout_ms(operation: Option<&takings_operation_t>) -> i64 {
    operation.map_or(0, |operation| {
        time_out(match &operation.call {
            Call::Capture(driven) => driven.operation.connect_timeout(),
            Call::Look(driven) => driven.operation.connect_timeout(),
        })
    })
}

/// POST, or GET for a look. This and the other parts of the request are there during
/// TAKINGS_STEP_SEND and stay valid until the next thing is told; otherwise they are NULL and 0.
/// With the setting reconcile they change during a call: read them for each TAKINGS_STEP_SEND.
#[unsafe(no_mangle)]
pub extern "C" fn takings_operation_method(operation: Option<&takings_operation_t>) -> *const c_char {
    pointer(operation.and_then(|operation| Some(&operation.request.as_ref()?.method)))
}

/// The whole URL, to be sent as it is: what it names is percent-encoded already.
#[unsafe(no_mangle)]
pub extern "C" fn takings_operation_url(operation: Option<&takings_operation_t>) -> *const c_char {
    pointer(operation.and_then(|operation| Some(&operation.request.as_ref()?.url)))
}

/// How many headers it has. host and content-length are your HTTP client's to add.
#[unsafe(no_mangle)]
pub extern "C" fn takings_operation_header_count(operation: Option<&takings_operation_t>) -> usize {
    operation.and_then(|operation| operation.request.as_ref()).map_or(0, |request| request.headers.len())
}

/// The name of a header, in lower case, counted from 0; NULL beyond the last.
#[unsafe(no_mangle)]
pub extern "C" fn takings_operation_header_name(
    operation: Option<&takings_operation_t>,
    index: usize,
) -> *const c_char {
    pointer(operation.and_then(|operation| Some(&operation.request.as_ref()?.headers.get(index)?.0)))
}

/// The value of a header, in printable ASCII. That of authorization is the credential, for the
/// host of the URL and no other.
#[unsafe(no_mangle)]
pub extern "C" fn takings_operation_header_value(
    operation: Option<&takings_operation_t>,
    index: usize,
) -> *const c_char {
    let header = operation.and_then(|operation| operation.request.as_ref()?.headers.get(index));
    header.map_or(ptr::null(), |(_, value)| value.as_ptr())
}

/// The body, takings_operation_body_length bytes of JSON in UTF-8; NULL for a look, which has none.
#[unsafe(no_mangle)]
pub extern "C" fn takings_operation_body(operation: Option<&takings_operation_t>) -> *const c_char {
    let body = operation.and_then(takings_operation_t::sending).map(HttpRequest::body);
    body.filter(|body| !body.is_empty()).map_or(ptr::null(), |body| body.as_ptr().cast())
}

/// How many bytes the body has.
#[unsafe(no_mangle)]
pub extern "C" fn takings_operation_body_length(operation: Option<&takings_operation_t>) -> usize {
    operation.and_then(takings_operation_t::sending).map_or(0, |request| request.body().len())
}

/// How many bytes of the answer's body are worth reading. What is beyond may be left unread; the
/// connection is then closed.
#[unsafe(no_mangle)]
pub extern "C" fn takings_operation_most_answer(operation: Option<&takings_operation_t>) -> usize {
    operation.and_then(takings_operation_t::sending).map_or(0, HttpRequest::most_answer)
}

/// A header of the answer, before takings_operation_answered: the name in any case, the value in
/// any bytes. One that came twice is given twice, not joined; headers of a 1xx are left out.
/// NULL for name or value is passed over, and so is a header when nothing is being sent.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_operation_answer_header(
    operation: Option<&mut takings_operation_t>,
    name: *const c_char,
    value: *const c_char,
) {
    guard(None, || {
        if let Some(operation) = operation.filter(|operation| operation.request.is_some())
            && !name.is_null()
            && !value.is_null()
        {
            // SAFETY: C strings, by the header's rules.
            let (name, value) = unsafe { (bytes(name), bytes(value)) };
            operation.headers.push((String::from_utf8_lossy(&name).into_owned(), value));
        }
        Ok(())
    });
}

/// A part of the answer's body, before takings_operation_answered, with its transfer coding undone;
/// in one part or in many, in order. false: no more of it is worth reading.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_operation_answer_body(
    operation: Option<&mut takings_operation_t>,
    bytes: *const c_char,
    length: usize,
) -> bool {
    let more = guard(None, || {
        let Some(operation) = operation else { return Ok(false) };
        let room = operation.sending().map_or(0, HttpRequest::most_answer).saturating_sub(operation.body.len());
        if !bytes.is_null() {
            // SAFETY: `length` bytes, by the header's rules, and no more than those are read.
            operation.body.extend_from_slice(unsafe { slice::from_raw_parts(bytes.cast(), length.min(room)) });
        }
        Ok(length < room)
    });
    more.unwrap_or(false)
}

/// Tells an answer whose head was complete, whatever its status, after its headers and its body; a
/// body that broke off is told as far as it came. status is that of the last answer that was no
/// 1xx.
#[unsafe(no_mangle)]
pub extern "C" fn takings_operation_answered(
    operation: Option<&mut takings_operation_t>,
    status: u16,
) -> takings_step_t {
    tell(operation, |operation| {
        let (headers, body) = (std::mem::take(&mut operation.headers), std::mem::take(&mut operation.body));
        Event::Answered(Answer::new(status, headers, body))
    })
}

/// Tells that nothing of the request can have left, since no connection was made: name look-up,
/// refused, TLS handshake, proxy. When in doubt it is takings_operation_maybe_sent.
///
/// why is for people and may be NULL; bytes that are not UTF-8 are replaced.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_operation_not_sent(
    operation: Option<&mut takings_operation_t>,
    why: *const c_char,
) -> takings_step_t {
    // SAFETY: a C string or NULL, by the header's rules.
    tell(operation, |_| Event::NotSent(String::from_utf8_lossy(&unsafe { bytes(why) }).into_owned()))
}

/// Tells that the request may have left and no answer came (time-out, reset, a head that was cut),
/// or that your HTTP client cannot tell. why as for takings_operation_not_sent.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_operation_maybe_sent(
    operation: Option<&mut takings_operation_t>,
    why: *const c_char,
) -> takings_step_t {
    // SAFETY: a C string or NULL, by the header's rules.
    tell(operation, |_| Event::MaybeSent(String::from_utf8_lossy(&unsafe { bytes(why) }).into_owned()))
}

/// Tells that the pause is over.
#[unsafe(no_mangle)]
pub extern "C" fn takings_operation_waited(operation: Option<&mut takings_operation_t>) -> takings_step_t {
    tell(operation, |_| Event::Waited)
}

/// What a capture ended in, as takings_client_capture gives it; it can be asked for again.
///
/// Before TAKINGS_STEP_DONE it is the error for a caller that stops waiting: outcome_unknown, with
/// the key to call again with.
///
/// Returns a capture for takings_capture_free, or NULL and an error.
#[unsafe(no_mangle)]
pub extern "C" fn takings_operation_capture(
    operation: Option<&takings_operation_t>,
    error: Option<&mut MaybeUninit<Option<Box<takings_error_t>>>>,
) -> Option<Box<takings_capture_t>> {
    guard(error, || match &operation.ok_or_else(|| null("operation"))?.call {
        Call::Capture(driven) => driven.result().map(|capture| Box::new(capture.into())),
        Call::Look(driven) => Err(driven.operation.misused("a look was asked for a capture")),
    })
}

/// What a look ended in, as takings_client_reconcile gives it; it can be asked for again. Before
/// TAKINGS_STEP_DONE as for a capture.
///
/// Returns what was found for takings_reconciliation_free, or NULL and an error.
#[unsafe(no_mangle)]
pub extern "C" fn takings_operation_reconciliation(
    operation: Option<&takings_operation_t>,
    error: Option<&mut MaybeUninit<Option<Box<takings_error_t>>>>,
) -> Option<Box<takings_reconciliation_t>> {
    guard(error, || match &operation.ok_or_else(|| null("operation"))?.call {
        Call::Look(driven) => driven.result().map(|found| Box::new(found.into())),
        Call::Capture(driven) => Err(driven.operation.misused("a capture was asked for what a look found")),
    })
}

/// Frees an operation and the strings of its request.
#[unsafe(no_mangle)]
pub extern "C" fn takings_operation_free(operation: Option<Box<takings_operation_t>>) {
    free(operation);
}
