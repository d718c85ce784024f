//! A call that the C program sends by itself.

use std::ffi::{CStr, CString, c_char};
use std::mem::MaybeUninit;
use std::ptr;

use takings::binding::milliseconds;
use takings::{Answer, Call, Error, Event, HttpRequest, Step};

use crate::record::{Record, takings_reply_t};
use crate::{Wiped, c_string, free, guard, null, pointer, takings_error_t};

/// A call that your program sends by itself: takings decides what to send, when to wait and what
/// an answer means, your HTTP client sends. No thread is started and nothing is called back, so the
/// call fits any event loop.
///
///     takings_call_t *call = takings_client_prepare(client, order_id, request, key, &error);
///     takings_step_t step = takings_call_start(call);
///     while (step == TAKINGS_STEP_SEND || step == TAKINGS_STEP_WAIT) {
///         if (step == TAKINGS_STEP_SEND)
///             step = send_over_http(call);    // reports answered, not_sent or maybe_sent
///         else {
///             pause_for(takings_call_time_ms(call));
///             step = takings_call_waited(call);
///         }
///     }
///     capture = takings_call_capture(call, &error);
///     takings_call_free(call);
///
/// Duties of your HTTP client: for each TAKINGS_STEP_SEND it sends the request once, as it is,
/// follows no redirect, sends nothing again by itself, checks certificates, and is done within
/// takings_call_time_ms. It closes the connection after a time-out, an error, or bytes beyond
/// an answer, so that a late answer is not taken for the next call's.
///
/// A call may be used by any thread, but by one at a time. After a fork go on with it in one of the
/// two processes and free it in the other; whether a connection may go on there is your HTTP
/// client's matter. The takings client may be freed before the call. A call that is freed before
/// TAKINGS_STEP_DONE is given up: a request that was sent may still be carried out, and the key
/// stays safe to call again with.
pub struct takings_call_t {
    call: Box<Call>,
    order_id: CString,
    idempotency_key: Option<CString>,
    /// The request to send, present during `TAKINGS_STEP_SEND` alone, since it holds the credential.
    request: Option<Request>,
    time_ms: i64,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

/// The next step of a call.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum takings_step_t {
    /// There is no call: the step of NULL.
    TAKINGS_STEP_NONE = 0,
    /// Send the request once and be done within takings_call_time_ms; then call
    /// takings_call_answered, takings_call_not_sent or takings_call_maybe_sent.
    TAKINGS_STEP_SEND = 1,
    /// Pause for takings_call_time_ms, then call takings_call_waited.
    TAKINGS_STEP_WAIT = 2,
    /// The outcome is there: takings_call_capture, takings_call_reconciliation or
    /// takings_call_reply.
    TAKINGS_STEP_DONE = 3,
}

use takings_step_t::*;

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

impl takings_call_t {
    pub(crate) fn new(call: Box<Call>) -> Box<takings_call_t> {
        let (order_id, idempotency_key) = (c_string(call.order_id()), call.idempotency_key().map(c_string));
        let (headers, body) = (Vec::new(), Vec::new());
        Box::new(takings_call_t { call, order_id, idempotency_key, request: None, time_ms: 0, headers, body })
    }

    /// The request, while it is to be sent.
    fn http(&self) -> Option<&HttpRequest> {
        self.request.as_ref().map(|_| self.call.request())
    }

    fn step(&mut self, event: Event) -> takings_step_t {
        self.request = None;
        self.headers.clear();
        self.body = Vec::new();
        let (step, time_ms) = match self.call.step(event) {
            // Many HTTP clients read 0 as "for ever".
            Step::Send(timeout) => (TAKINGS_STEP_SEND, milliseconds(timeout).max(1)),
            Step::Wait(pause) => (TAKINGS_STEP_WAIT, milliseconds(pause)),
            Step::Done(_) => (TAKINGS_STEP_DONE, 0),
        };
        self.time_ms = time_ms;
        self.request = (step == TAKINGS_STEP_SEND).then(|| Request::new(self.call.request()));
        step
    }
}

/// Gives the call an event and returns its next step.
fn report(call: Option<&mut takings_call_t>, event: impl FnOnce(&mut takings_call_t) -> Event) -> takings_step_t {
    let Some(call) = call else { return TAKINGS_STEP_NONE };
    let step = guard(None, || {
        let event = event(&mut *call);
        Ok(call.step(event))
    });
    // After a panic a start out of turn ends the call as internal.
    step.or_else(|| guard(None, || Ok(call.step(Event::Start)))).unwrap_or(TAKINGS_STEP_DONE)
}

/// The end of a call whose reply has to be of the type `name`.
pub(crate) fn typed(call: Option<&takings_call_t>, name: &str) -> Result<Record, Error> {
    let call = &call.ok_or_else(|| null("call"))?.call;
    let reply = call.result()?;
    if reply.info().name == name || (name == "Document" && reply.document().is_some()) {
        return Ok(Record::from(&reply));
    }
    Err(call.misused(&format!("a call to {} was asked for a {name}", reply.operation())))
}

/// The bytes of a C string, whatever they are; none for NULL.
///
/// # Safety
///
/// `text` is NULL, or points to bytes that end with NUL.
unsafe fn bytes<'a>(text: *const c_char) -> &'a [u8] {
    // SAFETY: not NULL where it is read; the rest is the caller's promise.
    if text.is_null() { &[] } else { unsafe { CStr::from_ptr(text) }.to_bytes() }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The order that the call is for.
#[unsafe(no_mangle)]
pub extern "C" fn takings_call_order_id(call: Option<&takings_call_t>) -> *const c_char {
    pointer(call.map(|call| &call.order_id))
}

/// The key that the call is sent with, given or made; NULL for a call that changes nothing.
#[unsafe(no_mangle)]
pub extern "C" fn takings_call_idempotency_key(call: Option<&takings_call_t>) -> *const c_char {
    pointer(call.and_then(|call| call.idempotency_key.as_ref()))
}

/// Begins the call, whose timeout_ms counts from here. The first step is TAKINGS_STEP_SEND.
///
/// An event out of turn, such as a second start, ends the call as internal: after a request was
/// begun its outcome is then unknown. After TAKINGS_STEP_DONE nothing changes any more.
#[unsafe(no_mangle)]
pub extern "C" fn takings_call_start(call: Option<&mut takings_call_t>) -> takings_step_t {
    report(call, |_| Event::Start)
}

/// How long sending may take (1 or more) or a pause lasts, in milliseconds; 0 in other steps.
#[unsafe(no_mangle)]
pub extern "C" fn takings_call_time_ms(call: Option<&takings_call_t>) -> i64 {
    call.map_or(0, |call| call.time_ms)
}

/// How long a connection may take to be made, within the time for sending, in milliseconds.
#[unsafe(no_mangle)]
pub extern "C" fn takings_call_connect_timeout_ms(call: Option<&takings_call_t>) -> i64 {
    call.map_or(0, |call| milliseconds(call.call.connect_timeout()).max(1))
}

/// The method: POST, PATCH, or GET for a request that reads. This and the other parts of the request
/// are there during TAKINGS_STEP_SEND and stay valid until the next event is reported; otherwise
/// they are NULL and 0. With the setting reconcile they change during a call: read them for each
/// TAKINGS_STEP_SEND.
#[unsafe(no_mangle)]
pub extern "C" fn takings_call_method(call: Option<&takings_call_t>) -> *const c_char {
    pointer(call.and_then(|call| Some(&call.request.as_ref()?.method)))
}

/// The whole URL, to be sent as it is: what it names is percent-encoded already.
#[unsafe(no_mangle)]
pub extern "C" fn takings_call_url(call: Option<&takings_call_t>) -> *const c_char {
    pointer(call.and_then(|call| Some(&call.request.as_ref()?.url)))
}

/// How many headers the request has. host and content-length are your HTTP client's to add.
#[unsafe(no_mangle)]
pub extern "C" fn takings_call_header_count(call: Option<&takings_call_t>) -> usize {
    call.and_then(|call| call.request.as_ref()).map_or(0, |request| request.headers.len())
}

/// The name of a header, in lower case, counted from 0; NULL beyond the last.
#[unsafe(no_mangle)]
pub extern "C" fn takings_call_header_name(call: Option<&takings_call_t>, index: usize) -> *const c_char {
    pointer(call.and_then(|call| Some(&call.request.as_ref()?.headers.get(index)?.0)))
}

/// The value of a header, in printable ASCII. The value of authorization is the credential, for the
/// host of the URL and no other.
#[unsafe(no_mangle)]
pub extern "C" fn takings_call_header_value(call: Option<&takings_call_t>, index: usize) -> *const c_char {
    let header = call.and_then(|call| call.request.as_ref()?.headers.get(index));
    header.map_or(ptr::null(), |(_, value)| value.as_ptr())
}

/// The body, takings_call_body_length bytes of JSON in UTF-8; NULL for a GET, which has none.
#[unsafe(no_mangle)]
pub extern "C" fn takings_call_body(call: Option<&takings_call_t>) -> *const c_char {
    let body = call.and_then(takings_call_t::http).map(HttpRequest::body);
    body.filter(|body| !body.is_empty()).map_or(ptr::null(), |body| body.as_ptr().cast())
}

/// How many bytes the body has.
#[unsafe(no_mangle)]
pub extern "C" fn takings_call_body_length(call: Option<&takings_call_t>) -> usize {
    call.and_then(takings_call_t::http).map_or(0, |request| request.body().len())
}

/// How many bytes of the answer's body are worth reading. Further bytes may be left unread; the
/// connection is then closed.
#[unsafe(no_mangle)]
pub extern "C" fn takings_call_most_answer(call: Option<&takings_call_t>) -> usize {
    call.and_then(takings_call_t::http).map_or(0, HttpRequest::most_answer)
}

/// Adds a header of the answer, before takings_call_answered: the name in any case, the value in
/// any bytes. A header that came twice is given twice, not joined; headers of a 1xx are left out.
/// NULL for name or value is passed over, and so is a header when nothing is being sent.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_call_answer_header(
    call: Option<&mut takings_call_t>,
    name: *const c_char,
    value: *const c_char,
) {
    if let Some(call) = call.filter(|call| call.request.is_some() && !name.is_null() && !value.is_null()) {
        // SAFETY: C strings, by the header's rules.
        let (name, value) = unsafe { (bytes(name), bytes(value)) };
        call.headers.push((lossy(name), value.to_owned()));
    }
}

/// Adds a part of the answer's body, before takings_call_answered, with its transfer coding undone;
/// in one part or in many, in order. false: no more of it is worth reading.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_call_answer_body(
    call: Option<&mut takings_call_t>,
    bytes: *const c_char,
    length: usize,
) -> bool {
    let Some(call) = call else { return false };
    let room = call.http().map_or(0, HttpRequest::most_answer).saturating_sub(call.body.len());
    if !bytes.is_null() {
        // SAFETY: `length` bytes, by the header's rules, and no more than those are read.
        call.body.extend_from_slice(unsafe { std::slice::from_raw_parts(bytes.cast(), length.min(room)) });
    }
    length < room
}

/// Reports an answer whose head was complete, whatever its status, after its headers and its body; a
/// body that broke off is reported as far as it came. status is that of the last answer that was no
/// 1xx.
#[unsafe(no_mangle)]
pub extern "C" fn takings_call_answered(call: Option<&mut takings_call_t>, status: u16) -> takings_step_t {
    report(call, |call| {
        let (headers, body) = (std::mem::take(&mut call.headers), std::mem::take(&mut call.body));
        Event::Answered(Answer::new(status, headers, body))
    })
}

/// Reports that nothing of the request can have left, since no connection was made: name look-up,
/// refused, TLS handshake, proxy. When in doubt it is takings_call_maybe_sent.
///
/// why is for people and may be NULL; bytes that are not UTF-8 are replaced.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_call_not_sent(
    call: Option<&mut takings_call_t>,
    why: *const c_char,
) -> takings_step_t {
    // SAFETY: a C string or NULL, by the header's rules.
    report(call, |_| Event::NotSent(lossy(unsafe { bytes(why) })))
}

/// Reports that the request may have left and no answer came (time-out, reset, a head that was cut),
/// or that your HTTP client does not know. why as for takings_call_not_sent.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_call_maybe_sent(
    call: Option<&mut takings_call_t>,
    why: *const c_char,
) -> takings_step_t {
    // SAFETY: a C string or NULL, by the header's rules.
    report(call, |_| Event::MaybeSent(lossy(unsafe { bytes(why) })))
}

/// Reports that the pause is over.
#[unsafe(no_mangle)]
pub extern "C" fn takings_call_waited(call: Option<&mut takings_call_t>) -> takings_step_t {
    report(call, |_| Event::Waited)
}

/// The outcome of the call, as takings_client_call gives it; a program can ask for it again. Before
/// TAKINGS_STEP_DONE it is the error for a caller that stops waiting.
///
/// Returns a reply for takings_reply_free, or NULL and an error.
#[unsafe(no_mangle)]
pub extern "C" fn takings_call_reply(
    call: Option<&takings_call_t>,
    error: Option<&mut MaybeUninit<Option<Box<takings_error_t>>>>,
) -> Option<Box<takings_reply_t>> {
    guard(error, || Ok(takings_reply_t::new(&call.ok_or_else(|| null("call"))?.call.result()?)))
}

/// Frees a call and the strings of its request.
#[unsafe(no_mangle)]
pub extern "C" fn takings_call_free(call: Option<Box<takings_call_t>>) {
    free(call);
}
