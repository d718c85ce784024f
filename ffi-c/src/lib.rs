//! The C ABI of takings. `include/takings.h` is made from this file and the others
//! beside it: their doc comments are that header's manual, so they speak of C.
//!
//! Each function turns C's values into Rust's, calls the core inside [`guard`], and hands back
//! an owned handle or an error. `&T`, `Option<&T>` and `Option<Box<T>>` in the signatures are
//! C pointers with the rules that the header states; only strings arrive as raw pointers.
//
// SAFETY of every `no_mangle` here: the names begin with `takings_`, which is ours.

// The header's names, written once.
#![allow(non_camel_case_types)]
// What a caller has to keep to stands at the head of the header, in C's terms.
#![allow(clippy::missing_safety_doc)]

mod attempt;
mod json;
mod operation;
mod reconcile;

use std::ffi::{CStr, CString, c_char};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use takings::{Capture, Client, Config, Error, ErrorKind, Operation, Reconciliation};
use zeroize::Zeroizing;

use attempt::{attempt_log, takings_attempt_t};
use reconcile::takings_reconciliation_t;

#[cfg(not(panic = "unwind"))]
compile_error!("takings-c needs panic = \"unwind\": with \"abort\" a panic would end the program that called it");

/// Captures the orders of one merchant account.
///
/// Make one and keep it: it reuses its connections. Any number of threads may use it at the
/// same time, and so may a process forked from the one that made it.
pub struct takings_client_t {
    client: Client,
    base_url: CString,
}

/// Klarna captured it: ship. Any number of threads may read it.
pub struct takings_capture_t {
    capture_id: CString,
    order_id: CString,
    idempotency_key: CString,
    correlation_id: Option<CString>,
    attempts: u32,
    attempt_log: Vec<takings_attempt_t>,
    warnings: Vec<CString>,
}

/// Why a call failed: what it means for the money (kind), one line for a log (message), and
/// the facts one by one. It never holds a credential. Any number of threads may read it.
pub struct takings_error_t {
    error: Error,
    message: CString,
    error_code: Option<CString>,
    error_messages: Vec<CString>,
    correlation_id: Option<CString>,
    order_id: Option<CString>,
    idempotency_key: Option<CString>,
    attempt_log: Vec<takings_attempt_t>,
}

/// What an error means for the money, and so for what to do next. A later version may add
/// kinds: treat one you do not know as TAKINGS_ERROR_OUTCOME_UNKNOWN.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum takings_error_kind_t {
    /// There is no error: the kind of NULL.
    TAKINGS_ERROR_NONE = 0,
    /// The input was refused and nothing was sent. Mend the code or the data.
    TAKINGS_ERROR_INVALID_INPUT = 1,
    /// Nothing can have reached Klarna. Call again at any time, with the same key.
    TAKINGS_ERROR_NOT_SENT = 2,
    /// Klarna said no; nothing was captured. Mend the cause; the corrected capture takes a new
    /// idempotency key.
    TAKINGS_ERROR_REJECTED = 3,
    /// It may have been captured. Call again with the same idempotency key within 24 hours;
    /// never book it as failed.
    TAKINGS_ERROR_OUTCOME_UNKNOWN = 4,
    /// A bug in takings: report it. If attempts is above 0, treat it as
    /// TAKINGS_ERROR_OUTCOME_UNKNOWN.
    TAKINGS_ERROR_INTERNAL = 5,
}

// Where a function puts its error: nowhere, or over whatever was there, since C programs pass
// the address of a variable they never set. Written out in full where cbindgen reads it.
type ErrorOut<'a> = Option<&'a mut MaybeUninit<Option<Box<takings_error_t>>>>;

/// Runs a function's work; no panic gets past it.
fn guard<T>(error: ErrorOut<'_>, work: impl FnOnce() -> Result<T, Error>) -> Option<T> {
    let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        // dropping it could panic again
        std::mem::forget(panic);
        Err(Error::panicked())
    });
    match result {
        Ok(value) => Some(value),
        Err(failure) => {
            if let Some(out) = error {
                out.write(Some(Box::new(failure.into())));
            }
            None
        }
    }
}

/// Drops a handle; no panic gets past it.
fn free<T>(handle: Option<Box<T>>) {
    guard(None, || {
        drop(handle);
        Ok(())
    });
}

fn null(argument: &str) -> Error {
    Error::invalid_argument(argument, "NULL", "a pointer to a value")
}

/// The text behind a C string.
///
/// # Safety
///
/// `text` is NULL, or points to bytes that end with NUL and stay as they are for `'a`.
unsafe fn text<'a>(argument: &str, text: *const c_char) -> Result<&'a str, Error> {
    if text.is_null() {
        return Err(null(argument));
    }
    // SAFETY: not NULL; the rest is the caller's promise.
    unsafe { CStr::from_ptr(text) }
        .to_str()
        .map_err(|_| Error::invalid_argument(argument, "not valid UTF-8", "a UTF-8 string"))
}

/// A text as a C string. NUL ends one, so a NUL inside becomes the character for what cannot
/// be shown.
fn c_string(text: &str) -> CString {
    CString::new(text).or_else(|_| CString::new(text.replace('\0', "\u{fffd}"))).unwrap_or_default()
}

fn c_strings(texts: &[String]) -> Vec<CString> {
    texts.iter().map(|text| c_string(text)).collect()
}

fn pointer(text: Option<&CString>) -> *const c_char {
    text.map_or(ptr::null(), |text| text.as_ptr())
}

/// A C string that is wiped when it goes: it may hold a credential.
struct Wiped(Zeroizing<Vec<u8>>);

impl Wiped {
    /// Of a text without NUL.
    fn new(text: &[u8]) -> Wiped {
        // as long as it gets: one that grew would leave a copy behind
        let mut bytes = Vec::with_capacity(text.len() + 1);
        bytes.extend_from_slice(text);
        bytes.push(0);
        Wiped(Zeroizing::new(bytes))
    }

    fn as_ptr(&self) -> *const c_char {
        self.0.as_ptr().cast()
    }
}

fn owned(text: Option<String>) -> *mut c_char {
    text.map_or(ptr::null_mut(), |text| c_string(&text).into_raw())
}

fn new_client(config: Config) -> Result<Box<takings_client_t>, Error> {
    let client = Client::new(config.surface("c"))?;
    let base_url = c_string(client.base_url());
    Ok(Box::new(takings_client_t { client, base_url }))
}

impl From<Error> for takings_error_t {
    fn from(error: Error) -> takings_error_t {
        takings_error_t {
            message: c_string(error.message()),
            error_code: error.error_code().map(c_string),
            error_messages: c_strings(error.error_messages()),
            correlation_id: error.correlation_id().map(c_string),
            order_id: error.order_id().map(c_string),
            idempotency_key: error.idempotency_key().map(c_string),
            attempt_log: attempt_log(error.attempt_log()),
            error,
        }
    }
}

impl From<Capture> for takings_capture_t {
    fn from(capture: Capture) -> takings_capture_t {
        takings_capture_t {
            capture_id: c_string(capture.capture_id()),
            order_id: c_string(capture.order_id()),
            idempotency_key: c_string(capture.idempotency_key()),
            correlation_id: capture.correlation_id().map(c_string),
            attempts: capture.attempts(),
            attempt_log: attempt_log(capture.attempt_log()),
            warnings: c_strings(capture.warnings()),
        }
    }
}

/// Everything of a capture before it is sent.
///
/// # Safety
///
/// As [`text`].
unsafe fn prepare(
    client: Option<&takings_client_t>,
    order_id: *const c_char,
    request: *const c_char,
    key: *const c_char,
) -> Result<Operation<Capture>, Error> {
    let client = &client.ok_or_else(|| null("client"))?.client;
    // SAFETY: the caller's promise.
    let (order_id, request, key) = unsafe {
        let key = (!key.is_null()).then(|| text("idempotency_key", key));
        (text("order_id", order_id), text("request_json", request), key.transpose())
    };
    let known = (order_id.as_ref().ok().copied(), key.as_ref().ok().copied().flatten());
    match (order_id, request, key) {
        (Ok(order_id), Ok(request), Ok(key)) => client.prepare_json(order_id, request, key),
        (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => Err(client.refused(error, known.0, known.1)),
    }
}

/// Everything of a look before it is sent.
///
/// # Safety
///
/// As [`text`].
unsafe fn prepare_reconcile(
    client: Option<&takings_client_t>,
    order_id: *const c_char,
    reference: *const c_char,
    captured_amount: i64,
) -> Result<Operation<Reconciliation>, Error> {
    let client = &client.ok_or_else(|| null("client"))?.client;
    // SAFETY: the caller's promise.
    let (order_id, reference) = unsafe { (text("order_id", order_id), text("reference", reference)) };
    let known = order_id.as_ref().ok().copied();
    match (order_id, reference) {
        (Ok(order_id), Ok(reference)) => client.prepare_reconcile(order_id, reference, captured_amount),
        (Err(error), _) | (_, Err(error)) => Err(client.refused(error, known, None)),
    }
}

/// Makes a client from its settings, a JSON object such as
///
///     {"environment": "playground", "username": "PK0000_0a1b2c", "password": "..."}
///
/// with environment (live or playground) and region (eu, na, oc or kustom; eu when absent), or
/// base_url; username and password, or api_key (and auth: basic or raw); connect_timeout_ms,
/// attempt_timeout_ms, timeout_ms (the whole call), max_attempts, backoff_ms, max_backoff_ms;
/// proxy, ca_file, user_agent_suffix, check_lines (off, warn or refuse),
/// accept_unknown_values, reconcile. Nothing is connected and no thread is started before the
/// first call.
///
/// Returns a client for takings_client_free, or NULL and an error (invalid_input).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_client_new(
    config_json: *const c_char,
    error: Option<&mut MaybeUninit<Option<Box<takings_error_t>>>>,
) -> Option<Box<takings_client_t>> {
    guard(error, || {
        // SAFETY: a C string or NULL, by the header's rules.
        let config = unsafe { text("config_json", config_json) }?;
        new_client(Config::from_json(config)?)
    })
}

/// Makes a client from the environment variables KLARNA_USERNAME and KLARNA_PASSWORD or
/// KLARNA_API_KEY, and KLARNA_REGION with KLARNA_ENVIRONMENT, or KLARNA_BASE_URL. An empty
/// variable counts as absent. No other thread may change the environment meanwhile.
///
/// Returns a client for takings_client_free, or NULL and an error (invalid_input).
#[unsafe(no_mangle)]
pub extern "C" fn takings_client_from_env(
    error: Option<&mut MaybeUninit<Option<Box<takings_error_t>>>>,
) -> Option<Box<takings_client_t>> {
    guard(error, || new_client(Config::from_env()?))
}

/// Captures the order, in full or in part, and waits for the outcome: at most timeout_ms.
///
/// request_json is Klarna's request: an object with captured_amount in minor units (60.00 is
/// 6000) and, where you want, reference, description, order_lines, shipping_info and
/// shipping_delay. It is read strictly: an unknown or doubled field, a fraction, a string for
/// a number is refused and nothing is sent.
///
/// With an idempotency_key of your own (takings_idempotency_key makes one) the capture can be
/// called again after a crash: the money moves once. With NULL a fresh key is made for this
/// call and its retries; it comes back in the capture and in the error. So look whether
/// takings_idempotency_key gave NULL before passing it on: a repeat would capture again.
///
/// Returns a capture for takings_capture_free, or NULL and an error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_client_capture(
    client: Option<&takings_client_t>,
    order_id: *const c_char,
    request_json: *const c_char,
    idempotency_key: *const c_char,
    error: Option<&mut MaybeUninit<Option<Box<takings_error_t>>>>,
) -> Option<Box<takings_capture_t>> {
    guard(error, || {
        // SAFETY: C strings or NULL, by the header's rules.
        let operation = unsafe { prepare(client, order_id, request_json, idempotency_key) }?;
        Ok(Box::new(operation.send()?.into()))
    })
}

/// Where requests go, without credentials.
#[unsafe(no_mangle)]
pub extern "C" fn takings_client_base_url(client: Option<&takings_client_t>) -> *const c_char {
    pointer(client.map(|client| &client.base_url))
}

/// Frees a client. No other thread may be using it.
#[unsafe(no_mangle)]
pub extern "C" fn takings_client_free(client: Option<Box<takings_client_t>>) {
    free(client);
}

/// Klarna's name for the capture.
#[unsafe(no_mangle)]
pub extern "C" fn takings_capture_capture_id(capture: Option<&takings_capture_t>) -> *const c_char {
    pointer(capture.map(|capture| &capture.capture_id))
}

/// The order it belongs to.
#[unsafe(no_mangle)]
pub extern "C" fn takings_capture_order_id(capture: Option<&takings_capture_t>) -> *const c_char {
    pointer(capture.map(|capture| &capture.order_id))
}

/// The key the call used, given or made.
#[unsafe(no_mangle)]
pub extern "C" fn takings_capture_idempotency_key(capture: Option<&takings_capture_t>) -> *const c_char {
    pointer(capture.map(|capture| &capture.idempotency_key))
}

/// Klarna's name for the answered request; NULL where it gave none.
#[unsafe(no_mangle)]
pub extern "C" fn takings_capture_correlation_id(capture: Option<&takings_capture_t>) -> *const c_char {
    pointer(capture.and_then(|capture| capture.correlation_id.as_ref()))
}

/// How many requests it took, 1 or more.
#[unsafe(no_mangle)]
pub extern "C" fn takings_capture_attempts(capture: Option<&takings_capture_t>) -> u32 {
    capture.map_or(0, |capture| capture.attempts)
}

/// How many warnings there are: order lines that do not add up (it was captured all the same), and that an earlier call
/// with this key was answered with another capture.
#[unsafe(no_mangle)]
pub extern "C" fn takings_capture_warning_count(capture: Option<&takings_capture_t>) -> usize {
    capture.map_or(0, |capture| capture.warnings.len())
}

/// One warning, counted from 0; NULL beyond the last.
#[unsafe(no_mangle)]
pub extern "C" fn takings_capture_warning(capture: Option<&takings_capture_t>, index: usize) -> *const c_char {
    pointer(capture.and_then(|capture| capture.warnings.get(index)))
}

/// Frees a capture and its strings.
#[unsafe(no_mangle)]
pub extern "C" fn takings_capture_free(capture: Option<Box<takings_capture_t>>) {
    free(capture);
}

/// What the error means for the money; TAKINGS_ERROR_NONE for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn takings_error_kind(error: Option<&takings_error_t>) -> takings_error_kind_t {
    use takings_error_kind_t::*;
    let Some(error) = error else { return TAKINGS_ERROR_NONE };
    match error.error.kind() {
        ErrorKind::InvalidInput => TAKINGS_ERROR_INVALID_INPUT,
        ErrorKind::NotSent => TAKINGS_ERROR_NOT_SENT,
        ErrorKind::Rejected => TAKINGS_ERROR_REJECTED,
        ErrorKind::OutcomeUnknown => TAKINGS_ERROR_OUTCOME_UNKNOWN,
        _ => TAKINGS_ERROR_INTERNAL,
    }
}

/// The kind as a word, the same in every language: invalid_input, not_sent, rejected,
/// outcome_unknown or internal. It stays valid for as long as the program runs.
#[unsafe(no_mangle)]
pub extern "C" fn takings_error_kind_name(error: Option<&takings_error_t>) -> *const c_char {
    use takings_error_kind_t::*;
    let name = match takings_error_kind(error) {
        TAKINGS_ERROR_NONE => return ptr::null(),
        TAKINGS_ERROR_INVALID_INPUT => c"invalid_input",
        TAKINGS_ERROR_NOT_SENT => c"not_sent",
        TAKINGS_ERROR_REJECTED => c"rejected",
        TAKINGS_ERROR_OUTCOME_UNKNOWN => c"outcome_unknown",
        TAKINGS_ERROR_INTERNAL => c"internal",
    };
    name.as_ptr()
}

/// One line for a log: what happened, where, and what to do.
#[unsafe(no_mangle)]
pub extern "C" fn takings_error_message(error: Option<&takings_error_t>) -> *const c_char {
    pointer(error.map(|error| &error.message))
}

/// The HTTP status of the last answer; 0 where there was none.
#[unsafe(no_mangle)]
pub extern "C" fn takings_error_http_status(error: Option<&takings_error_t>) -> u16 {
    error.and_then(|error| error.error.http_status()).unwrap_or(0)
}

/// Klarna's error_code of the last answer, such as CAPTURE_NOT_ALLOWED; NULL where it gave
/// none.
#[unsafe(no_mangle)]
pub extern "C" fn takings_error_error_code(error: Option<&takings_error_t>) -> *const c_char {
    pointer(error.and_then(|error| error.error_code.as_ref()))
}

/// How many of Klarna's error_messages there are: English text for the developer.
#[unsafe(no_mangle)]
pub extern "C" fn takings_error_error_message_count(error: Option<&takings_error_t>) -> usize {
    error.map_or(0, |error| error.error_messages.len())
}

/// One of Klarna's error_messages, counted from 0; NULL beyond the last.
#[unsafe(no_mangle)]
pub extern "C" fn takings_error_error_message(error: Option<&takings_error_t>, index: usize) -> *const c_char {
    pointer(error.and_then(|error| error.error_messages.get(index)))
}

/// Klarna's name for the failed request: quote it to Klarna's support. NULL where there is
/// none.
#[unsafe(no_mangle)]
pub extern "C" fn takings_error_correlation_id(error: Option<&takings_error_t>) -> *const c_char {
    pointer(error.and_then(|error| error.correlation_id.as_ref()))
}

/// The order the call was for; NULL where the error belongs to no order.
#[unsafe(no_mangle)]
pub extern "C" fn takings_error_order_id(error: Option<&takings_error_t>) -> *const c_char {
    pointer(error.and_then(|error| error.order_id.as_ref()))
}

/// The key the call used; NULL where it had none yet. Keep it: after outcome_unknown, calling
/// again with it is what makes the second call safe.
#[unsafe(no_mangle)]
pub extern "C" fn takings_error_idempotency_key(error: Option<&takings_error_t>) -> *const c_char {
    pointer(error.and_then(|error| error.idempotency_key.as_ref()))
}

/// How many requests were begun; 0 when nothing was sent.
#[unsafe(no_mangle)]
pub extern "C" fn takings_error_attempts(error: Option<&takings_error_t>) -> u32 {
    error.map_or(0, |error| error.error.attempts())
}

/// Whether the same call, with the same key, can end differently later.
#[unsafe(no_mangle)]
pub extern "C" fn takings_error_retryable(error: Option<&takings_error_t>) -> bool {
    error.is_some_and(|error| error.error.retryable())
}

/// Frees an error and its strings.
#[unsafe(no_mangle)]
pub extern "C" fn takings_error_free(error: Option<Box<takings_error_t>>) {
    free(error);
}

/// Derives the idempotency key of the capture called name of an order: the same two texts give
/// the same key after a crash, on any host, in every language (a UUID v5).
///
/// name says which capture of the order it is, such as "parcel-1". Two parcels need two names:
/// Klarna answers a known key with the first result whatever the request says.
///
/// Returns a string for takings_string_free, or NULL and an error (invalid_input).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_idempotency_key(
    order_id: *const c_char,
    name: *const c_char,
    error: Option<&mut MaybeUninit<Option<Box<takings_error_t>>>>,
) -> *mut c_char {
    owned(guard(error, || {
        // SAFETY: C strings or NULL, by the header's rules.
        let (order_id, name) = unsafe { (text("order_id", order_id)?, text("name", name)?) };
        takings::idempotency_key(order_id, name)
    }))
}

/// A fresh random key (a UUID v4), for a program that stores it before the call.
///
/// Returns a string for takings_string_free, or NULL and an error (internal: the operating
/// system gives no random bytes).
#[unsafe(no_mangle)]
pub extern "C" fn takings_new_idempotency_key(
    error: Option<&mut MaybeUninit<Option<Box<takings_error_t>>>>,
) -> *mut c_char {
    owned(guard(error, takings::new_idempotency_key))
}

/// Puts the amount, in the minor units that Klarna counts in, into *minor: "60.00" of "EUR" is
/// 6000, exactly or not at all.
///
/// amount is a decimal number such as 60, -4.5 or 60.00, with a point and without a thousands
/// separator, sign +, exponent or spaces. currency is a code of ISO 4217 in upper or lower case,
/// whose number of decimals counts: 2 for EUR, 0 for JPY, 3 for KWD. Zeros beyond those are passed
/// over; any other digit there is refused, since nothing is rounded.
///
/// false and an error (invalid_input): *minor is as it was.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_minor(
    amount: *const c_char,
    currency: *const c_char,
    minor: Option<&mut MaybeUninit<i64>>,
    error: Option<&mut MaybeUninit<Option<Box<takings_error_t>>>>,
) -> bool {
    let done = guard(error, || {
        // SAFETY: C strings or NULL, by the header's rules.
        let (amount, currency) = unsafe { (text("amount", amount)?, text("currency", currency)?) };
        minor.ok_or_else(|| null("minor"))?.write(takings::minor(amount, currency)?);
        Ok(())
    });
    done.is_some()
}

/// Frees a string of takings_idempotency_key or takings_new_idempotency_key, and no other.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_string_free(string: *mut c_char) {
    if !string.is_null() {
        // SAFETY: not NULL, and by the header's rules one that `owned` gave away.
        drop(unsafe { CString::from_raw(string) });
    }
}

/// The version of the library that runs, such as "1.2.3"; TAKINGS_VERSION is the version of
/// the header the program was compiled with.
#[unsafe(no_mangle)]
pub extern "C" fn takings_version() -> *const c_char {
    const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => panic!("a version has no NUL"),
    };
    VERSION.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_share_may_be_shared() {
        fn shared<T: Send + Sync>() {}
        shared::<takings_client_t>();
        shared::<takings_capture_t>();
        shared::<takings_error_t>();
    }

    #[test]
    fn a_panic_becomes_an_error() {
        let mut error = MaybeUninit::uninit();
        let value: Option<()> = guard(Some(&mut error), || panic!("for this test"));
        assert!(value.is_none());
        // SAFETY: `guard` returned None, so it wrote the error.
        let error = unsafe { error.assume_init() }.expect("an error");
        assert_eq!(takings_error_kind(Some(&error)), takings_error_kind_t::TAKINGS_ERROR_INTERNAL);
        assert!(guard::<()>(None, || panic!("for this test, with nowhere to put the error")).is_none());
    }

    #[test]
    fn a_panic_in_a_drop_stays_inside() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("for this test");
            }
        }
        free(Some(Box::new(Bomb)));
    }

    #[test]
    fn kinds_have_the_core_s_names() {
        let error = takings_error_t::from(Error::invalid_argument("a", "b", "c"));
        // SAFETY: a name of a kind is a static C string.
        let name = unsafe { CStr::from_ptr(takings_error_kind_name(Some(&error))) };
        assert_eq!(name.to_str().unwrap(), ErrorKind::InvalidInput.as_str());
        let error = takings_error_t::from(Error::panicked());
        // SAFETY: as above.
        let name = unsafe { CStr::from_ptr(takings_error_kind_name(Some(&error))) };
        assert_eq!(name.to_str().unwrap(), ErrorKind::Internal.as_str());
    }

    #[test]
    fn the_version_is_the_core_s() {
        // SAFETY: the version is a static C string.
        assert_eq!(unsafe { CStr::from_ptr(takings_version()) }.to_str(), Ok(takings::VERSION));
    }

    #[test]
    fn a_nul_does_not_cut_a_text() {
        assert_eq!(c_string("a\0b").to_str(), Ok("a\u{fffd}b"));
    }
}
