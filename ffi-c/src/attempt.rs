//! The list of a call's requests, on everything a call can end in.

use std::ffi::{CString, c_char};
use std::time::{Duration, UNIX_EPOCH};

use takings::Attempt;

use crate::{c_string, pointer, takings_capture_t, takings_error_t, takings_reconciliation_t};

/// One request of a call, for whoever has to see afterwards what happened. It belongs to the
/// capture, reconciliation or error it was asked of, and holds no credential. Any number of
/// threads may read it.
pub struct takings_attempt_t {
    started_ms: i64,
    took_ms: i64,
    sent: CString,
    came_back: CString,
    http_status: u16,
    error_code: Option<CString>,
    correlation_id: Option<CString>,
    wait_ms: i64,
}

pub(crate) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

pub(crate) fn attempt_log(attempts: &[Attempt]) -> Vec<takings_attempt_t> {
    attempts
        .iter()
        .map(|attempt| takings_attempt_t {
            started_ms: attempt.started().duration_since(UNIX_EPOCH).map_or(0, milliseconds),
            took_ms: milliseconds(attempt.took()),
            sent: c_string(attempt.sent()),
            came_back: c_string(attempt.came_back()),
            http_status: attempt.http_status().unwrap_or(0),
            error_code: attempt.error_code().map(c_string),
            correlation_id: attempt.correlation_id().map(c_string),
            wait_ms: attempt.wait().map_or(-1, milliseconds),
        })
        .collect()
}

/// How many requests its attempt log holds. With the setting reconcile the looks for the capture
/// are among them, so there can be more than takings_capture_attempts tells.
#[unsafe(no_mangle)]
pub extern "C" fn takings_capture_attempt_log_count(capture: Option<&takings_capture_t>) -> usize {
    capture.map_or(0, |capture| capture.attempt_log.len())
}

/// One request of the call, in order, counted from 0; NULL beyond the last.
#[unsafe(no_mangle)]
pub extern "C" fn takings_capture_attempt_log(
    capture: Option<&takings_capture_t>,
    index: usize,
) -> Option<&takings_attempt_t> {
    capture.and_then(|capture| capture.attempt_log.get(index))
}

/// How many requests its attempt log holds.
#[unsafe(no_mangle)]
pub extern "C" fn takings_reconciliation_attempt_log_count(reconciliation: Option<&takings_reconciliation_t>) -> usize {
    reconciliation.map_or(0, |reconciliation| reconciliation.attempt_log.len())
}

/// One request of the look, in order, counted from 0; NULL beyond the last.
#[unsafe(no_mangle)]
pub extern "C" fn takings_reconciliation_attempt_log(
    reconciliation: Option<&takings_reconciliation_t>,
    index: usize,
) -> Option<&takings_attempt_t> {
    reconciliation.and_then(|reconciliation| reconciliation.attempt_log.get(index))
}

/// How many requests its attempt log holds: those of the failed call that ended.
#[unsafe(no_mangle)]
pub extern "C" fn takings_error_attempt_log_count(error: Option<&takings_error_t>) -> usize {
    error.map_or(0, |error| error.attempt_log.len())
}

/// One request of the failed call, in order, counted from 0; NULL beyond the last.
#[unsafe(no_mangle)]
pub extern "C" fn takings_error_attempt_log(
    error: Option<&takings_error_t>,
    index: usize,
) -> Option<&takings_attempt_t> {
    error.and_then(|error| error.attempt_log.get(index))
}

/// When it was begun, by the system's clock, in milliseconds since 1970 (UTC).
#[unsafe(no_mangle)]
pub extern "C" fn takings_attempt_started_ms(attempt: Option<&takings_attempt_t>) -> i64 {
    attempt.map_or(0, |attempt| attempt.started_ms)
}

/// How long it took, in milliseconds.
#[unsafe(no_mangle)]
pub extern "C" fn takings_attempt_took_ms(attempt: Option<&takings_attempt_t>) -> i64 {
    attempt.map_or(0, |attempt| attempt.took_ms)
}

/// Method and URL, such as "POST https://api.klarna.com/ordermanagement/v1/orders/.../captures".
#[unsafe(no_mangle)]
pub extern "C" fn takings_attempt_sent(attempt: Option<&takings_attempt_t>) -> *const c_char {
    pointer(attempt.map(|attempt| &attempt.sent))
}

/// What came back, for people: "201", "503 INTERNAL_ERROR", "no answer within 10.0s",
/// "not_sent: no connection to ...".
#[unsafe(no_mangle)]
pub extern "C" fn takings_attempt_came_back(attempt: Option<&takings_attempt_t>) -> *const c_char {
    pointer(attempt.map(|attempt| &attempt.came_back))
}

/// The HTTP status; 0 where there was no answer.
#[unsafe(no_mangle)]
pub extern "C" fn takings_attempt_http_status(attempt: Option<&takings_attempt_t>) -> u16 {
    attempt.map_or(0, |attempt| attempt.http_status)
}

/// Klarna's error_code; NULL where the answer had none.
#[unsafe(no_mangle)]
pub extern "C" fn takings_attempt_error_code(attempt: Option<&takings_attempt_t>) -> *const c_char {
    pointer(attempt.and_then(|attempt| attempt.error_code.as_ref()))
}

/// Klarna's name for the request; NULL where the answer had none.
#[unsafe(no_mangle)]
pub extern "C" fn takings_attempt_correlation_id(attempt: Option<&takings_attempt_t>) -> *const c_char {
    pointer(attempt.and_then(|attempt| attempt.correlation_id.as_ref()))
}

/// The pause after it, in milliseconds; -1 where no other request followed.
#[unsafe(no_mangle)]
pub extern "C" fn takings_attempt_wait_ms(attempt: Option<&takings_attempt_t>) -> i64 {
    attempt.map_or(-1, |attempt| attempt.wait_ms)
}
