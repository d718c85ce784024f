//! Looking into an order's captures.

use std::ffi::{CString, c_char};
use std::mem::MaybeUninit;

use takings::{Found, Reconciliation};

use crate::attempt::{attempt_log, takings_attempt_t};
use crate::{c_string, c_strings, free, guard, pointer, prepare_reconcile, takings_client_t, takings_error_t};

/// What a look into an order's captures found. Any number of threads may read it.
pub struct takings_reconciliation_t {
    found: Found,
    capture_ids: Vec<CString>,
    order_id: CString,
    correlation_id: Option<CString>,
    attempts: u32,
    pub(crate) attempt_log: Vec<takings_attempt_t>,
}

impl From<Reconciliation> for takings_reconciliation_t {
    fn from(reconciliation: Reconciliation) -> takings_reconciliation_t {
        takings_reconciliation_t {
            found: reconciliation.found(),
            capture_ids: c_strings(reconciliation.capture_ids()),
            order_id: c_string(reconciliation.order_id()),
            correlation_id: reconciliation.correlation_id().map(c_string),
            attempts: reconciliation.attempts(),
            attempt_log: attempt_log(reconciliation.attempt_log()),
        }
    }
}

/// How often a capture was found.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum takings_found_t {
    /// Nothing was looked for: what is found in NULL.
    TAKINGS_FOUND_NOTHING = 0,
    /// Exactly once: this is the capture.
    TAKINGS_FOUND_ONCE = 1,
    /// Not when Klarna was asked. A capture whose answer was lost may still be on its way:
    /// capture again with the same key, not with a new one.
    TAKINGS_FOUND_NEVER = 2,
    /// More than once: the reference does not tell them apart.
    TAKINGS_FOUND_SEVERAL = 3,
}

/// Looks into the captures of an order for the one with this reference and captured_amount (in
/// minor units), and waits for the answer: at most timeout_ms. It is only sound when each
/// capture of an order has a reference of its own.
///
/// Returns what was found for takings_reconciliation_free, or NULL and an error: the captures
/// could not be read, and what became of the capture stays unknown.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_client_reconcile(
    client: Option<&takings_client_t>,
    order_id: *const c_char,
    reference: *const c_char,
    captured_amount: i64,
    error: Option<&mut MaybeUninit<Option<Box<takings_error_t>>>>,
) -> Option<Box<takings_reconciliation_t>> {
    guard(error, || {
        // SAFETY: C strings or NULL, by the header's rules.
        let operation = unsafe { prepare_reconcile(client, order_id, reference, captured_amount) }?;
        Ok(Box::new(operation.send()?.into()))
    })
}

/// How often; TAKINGS_FOUND_NOTHING for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn takings_reconciliation_found(reconciliation: Option<&takings_reconciliation_t>) -> takings_found_t {
    use takings_found_t::*;
    match reconciliation.map(|reconciliation| reconciliation.found) {
        None => TAKINGS_FOUND_NOTHING,
        Some(Found::Once) => TAKINGS_FOUND_ONCE,
        Some(Found::Never) => TAKINGS_FOUND_NEVER,
        Some(Found::Several) => TAKINGS_FOUND_SEVERAL,
    }
}

/// The capture, if it was found once; NULL otherwise.
#[unsafe(no_mangle)]
pub extern "C" fn takings_reconciliation_capture_id(
    reconciliation: Option<&takings_reconciliation_t>,
) -> *const c_char {
    pointer(reconciliation.and_then(|reconciliation| match &reconciliation.capture_ids[..] {
        [id] => Some(id),
        _ => None,
    }))
}

/// How many captures have the reference and the amount.
#[unsafe(no_mangle)]
pub extern "C" fn takings_reconciliation_capture_id_count(reconciliation: Option<&takings_reconciliation_t>) -> usize {
    reconciliation.map_or(0, |reconciliation| reconciliation.capture_ids.len())
}

/// One of them, counted from 0; NULL beyond the last.
#[unsafe(no_mangle)]
pub extern "C" fn takings_reconciliation_capture_id_at(
    reconciliation: Option<&takings_reconciliation_t>,
    index: usize,
) -> *const c_char {
    pointer(reconciliation.and_then(|reconciliation| reconciliation.capture_ids.get(index)))
}

/// The order that was looked into.
#[unsafe(no_mangle)]
pub extern "C" fn takings_reconciliation_order_id(reconciliation: Option<&takings_reconciliation_t>) -> *const c_char {
    pointer(reconciliation.map(|reconciliation| &reconciliation.order_id))
}

/// Klarna's name for the answered request; NULL where it gave none.
#[unsafe(no_mangle)]
pub extern "C" fn takings_reconciliation_correlation_id(
    reconciliation: Option<&takings_reconciliation_t>,
) -> *const c_char {
    pointer(reconciliation.and_then(|reconciliation| reconciliation.correlation_id.as_ref()))
}

/// How many requests it took, 1 or more.
#[unsafe(no_mangle)]
pub extern "C" fn takings_reconciliation_attempts(reconciliation: Option<&takings_reconciliation_t>) -> u32 {
    reconciliation.map_or(0, |reconciliation| reconciliation.attempts)
}

/// Frees what was found and its strings.
#[unsafe(no_mangle)]
pub extern "C" fn takings_reconciliation_free(reconciliation: Option<Box<takings_reconciliation_t>>) {
    free(reconciliation);
}
