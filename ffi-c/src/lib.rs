//! The C ABI of takings. `include/takings.h` is made from this file and the others
//! beside it: their doc comments are that header's manual, so they speak of C. The typed functions and getters stand
//! in `generated.rs`, which follows from the core's declarations.
//!
//! Each function turns C's values into Rust's, calls the core inside [`guard`], and hands back
//! an owned handle or an error. `&T`, `Option<&T>` and `Option<Box<T>>` in the signatures are
//! C pointers with the rules that the header states; only strings arrive as raw pointers.
//
// SAFETY of every `no_mangle` here: the names begin with `takings_`, which is ours.

// The header's names, written once.
#![allow(non_camel_case_types)]
// The rules for callers stand at the head of the header, in C's terms.
#![allow(clippy::missing_safety_doc)]

mod call;
mod generated;
mod json;
mod record;
#[cfg(test)]
mod schema_tests;
mod value;

use std::ffi::{CStr, CString, c_char};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use takings::{Call, Client, Config, Error};
use zeroize::Zeroizing;

use generated::{takings_attempt_t, takings_error_t};

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

// The place for a function's error, or NULL. Its old content is never read, since C programs pass the address of a
// variable that they never set. Signatures that cbindgen reads write the type out in full.
type ErrorOut<'a> = Option<&'a mut MaybeUninit<Option<Box<takings_error_t>>>>;

/// Runs a function's work; no panic gets past it.
fn guard<T>(error: ErrorOut<'_>, work: impl FnOnce() -> Result<T, Error>) -> Option<T> {
    let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        // Dropping the panic's payload could panic again.
        std::mem::forget(panic);
        Err(Error::panicked())
    });
    result.map_err(|failure| error.map(|out| out.write(Some(Box::new(failure.into()))))).ok()
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
    let text = unsafe { CStr::from_ptr(text) }.to_str();
    text.map_err(|_| Error::invalid_argument(argument, "not valid UTF-8", "a UTF-8 string"))
}

/// An argument that may be left out, as NULL.
///
/// # Safety
///
/// As [`text`].
unsafe fn given<'a>(argument: &str, optional: *const c_char) -> Result<Option<&'a str>, Error> {
    // SAFETY: the caller's promise.
    (!optional.is_null()).then(|| unsafe { text(argument, optional) }).transpose()
}

/// A text as a C string. NUL ends one, so a NUL inside becomes the character for what cannot
/// be shown.
fn c_string(text: &str) -> CString {
    CString::new(text).or_else(|_| CString::new(text.replace('\0', "\u{fffd}"))).unwrap_or_default()
}

fn pointer(text: Option<&CString>) -> *const c_char {
    text.map_or(ptr::null(), |text| text.as_ptr())
}

/// A C string that is wiped when dropped, since it may hold a credential.
struct Wiped(Zeroizing<Vec<u8>>);

impl Wiped {
    /// Makes the C string of a text without NUL.
    fn new(text: &[u8]) -> Wiped {
        // The full length is allocated at once: a vector that grew would leave a copy behind.
        let mut bytes = Vec::with_capacity(text.len() + 1);
        bytes.extend_from_slice(text);
        bytes.push(0);
        Wiped(Zeroizing::new(bytes))
    }

    fn as_ptr(&self) -> *const c_char {
        self.0.as_ptr().cast()
    }
}

/// A text for the caller to free.
fn owned(text: Option<String>) -> *mut c_char {
    text.map_or(ptr::null_mut(), |text| c_string(&Zeroizing::new(text)).into_raw())
}

fn new_client(config: Config) -> Result<Client, Error> {
    Client::new(config.surface("c"))
}

fn held(client: Client) -> Result<Box<takings_client_t>, Error> {
    Ok(Box::new(takings_client_t { base_url: c_string(client.base_url()), client }))
}

/// Prepares a call. Arguments that are not UTF-8 arrive as the error for them.
///
/// # Safety
///
/// As [`text`].
#[inline(never)]
unsafe fn prepared(
    client: Option<&takings_client_t>,
    operation: &str,
    order_id: *const c_char,
    arguments: Result<&str, Error>,
    key: *const c_char,
) -> Result<Box<Call>, Error> {
    let client = &client.ok_or_else(|| null("client"))?.client;
    // SAFETY: the caller's promise.
    let (order_id, key) = unsafe { (text("order_id", order_id), given("idempotency_key", key)) };
    client.prepare_text(operation, order_id, arguments, key).map(Box::new)
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

/// Frees a string that a function of takings returned without const, and no other. It is wiped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_string_free(string: *mut c_char) {
    if !string.is_null() {
        // SAFETY: not NULL, and by the header's rules one that `owned` gave away.
        drop(Zeroizing::new(unsafe { CString::from_raw(string) }.into_bytes()));
    }
}

/// The version of the library that runs, such as "1.2.3"; TAKINGS_VERSION is the version of
/// the header the program was compiled with.
#[unsafe(no_mangle)]
pub extern "C" fn takings_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated::{takings_capture_t, takings_error_kind, takings_error_kind_t};
    use crate::record::takings_reply_t;

    #[test]
    fn what_threads_share_may_be_shared() {
        fn shared<T: Send + Sync>() {}
        shared::<takings_client_t>();
        shared::<takings_capture_t>();
        shared::<takings_reply_t>();
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
    fn the_version_is_the_core_s() {
        // SAFETY: the version is a static C string.
        assert_eq!(unsafe { CStr::from_ptr(takings_version()) }.to_str(), Ok(takings::VERSION));
    }

    #[test]
    fn a_nul_does_not_cut_a_text() {
        assert_eq!(c_string("a\0b").to_str(), Ok("a\u{fffd}b"));
    }
}
