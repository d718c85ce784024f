//! The C ABI as a C program meets it: its symbols, C strings of any bytes, NULL anywhere.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::sync::LazyLock;

use serde_json::Value;
use takings::Config;
// links the library whose symbols are declared below
use takings_c_abi as _;

type Handle = *mut c_void;

unsafe extern "C" {
    fn takings_client_new(config_json: *const c_char, error: *mut Handle) -> Handle;
    fn takings_client_capture(
        client: *const c_void,
        order_id: *const c_char,
        request_json: *const c_char,
        idempotency_key: *const c_char,
        error: *mut Handle,
    ) -> Handle;
    fn takings_client_reconcile(
        client: *const c_void,
        order_id: *const c_char,
        reference: *const c_char,
        captured_amount: i64,
        error: *mut Handle,
    ) -> Handle;
    fn takings_client_base_url(client: *const c_void) -> *const c_char;
    fn takings_client_free(client: Handle);
    fn takings_error_kind_name(error: *const c_void) -> *const c_char;
    fn takings_error_message(error: *const c_void) -> *const c_char;
    fn takings_error_http_status(error: *const c_void) -> u16;
    fn takings_error_error_code(error: *const c_void) -> *const c_char;
    fn takings_error_error_message_count(error: *const c_void) -> usize;
    fn takings_error_error_message(error: *const c_void, index: usize) -> *const c_char;
    fn takings_error_correlation_id(error: *const c_void) -> *const c_char;
    fn takings_error_order_id(error: *const c_void) -> *const c_char;
    fn takings_error_idempotency_key(error: *const c_void) -> *const c_char;
    fn takings_error_attempts(error: *const c_void) -> u32;
    fn takings_error_retryable(error: *const c_void) -> bool;
    fn takings_error_free(error: Handle);
    fn takings_idempotency_key(order_id: *const c_char, name: *const c_char, error: *mut Handle) -> *mut c_char;
    fn takings_string_free(string: *mut c_char);
    fn takings_json_new() -> Handle;
    fn takings_json_set_string(json: Handle, pointer: *const c_char, value: *const c_char, error: *mut Handle) -> bool;
    fn takings_json_set_integer(json: Handle, pointer: *const c_char, value: i64, error: *mut Handle) -> bool;
    fn takings_json_set_bool(json: Handle, pointer: *const c_char, value: bool, error: *mut Handle) -> bool;
    fn takings_json_set_null(json: Handle, pointer: *const c_char, error: *mut Handle) -> bool;
    fn takings_json_set_empty_list(json: Handle, pointer: *const c_char, error: *mut Handle) -> bool;
    fn takings_json_set_empty_object(json: Handle, pointer: *const c_char, error: *mut Handle) -> bool;
    fn takings_json_text(json: Handle) -> *const c_char;
    fn takings_json_free(json: Handle);
}

/// A client that finds nobody listening: what it accepts ends in `not_sent`.
struct Deaf(Handle);

// SAFETY: rule 4 of the header: any number of threads may use one client.
unsafe impl Send for Deaf {}
// SAFETY: as above.
unsafe impl Sync for Deaf {}

static DEAF: LazyLock<Deaf> = LazyLock::new(|| {
    let config =
        c"{\"base_url\":\"http://127.0.0.1:1\",\"username\":\"user\",\"password\":\"s3cret\",\"max_attempts\":1}";
    // SAFETY: a C string, and nowhere for an error.
    let client = unsafe { takings_client_new(config.as_ptr(), ptr::null_mut()) };
    assert!(!client.is_null());
    Deaf(client)
});

/// Calls, a line each: a letter, a tab, arguments between tabs. An argument that is absent is
/// NULL; 0x01 stands for a line's end in one, 0x02 for a tab.
///
///     c config                 makes a client and frees it
///     p order request key      captures
///     r order reference amount looks for a capture
///     k order name             derives a key
///     s i b n l o              set a string, an integer, a boolean, null, an empty list, an
///                              empty object: pointer, value
pub fn c_abi(data: &[u8]) {
    // SAFETY: as often as the program wants, freed below.
    let json = unsafe { takings_json_new() };
    let mut before = text_of(json);
    for line in data.split(|byte| *byte == b'\n').take(64) {
        let mut words = line.split(|byte| *byte == b'\t');
        let letter = words.next().and_then(|word| word.first().copied()).unwrap_or_default();
        let arguments: Vec<CString> = words.take(3).map(argument).collect();
        let argument = |index: usize| arguments.get(index).map_or(ptr::null(), |text| text.as_ptr());
        let mut error: Handle = ptr::null_mut();
        match letter {
            b'c' => client(arguments.first()),
            b'p' => {
                // SAFETY: a client that is never freed; C strings or NULL that live until the
                // call's end; a place for an error.
                let capture =
                    unsafe { takings_client_capture(DEAF.0, argument(0), argument(1), argument(2), &mut error) };
                assert!(capture.is_null() && !error.is_null(), "captured by nobody");
                let kind = check_error(error, false);
                assert!(kind == "invalid_input" || kind == "not_sent", "{kind}");
                // what was sent is what the core takes
                if let ("not_sent", Some(request)) = (kind.as_str(), arguments.get(1)) {
                    takings::CaptureRequest::from_json(request.to_str().expect("UTF-8")).expect("taken by the core");
                }
            }
            b'r' => {
                let amount = arguments.get(2).and_then(|amount| amount.to_str().ok()?.parse().ok()).unwrap_or(6000);
                // SAFETY: as for a capture.
                let found = unsafe { takings_client_reconcile(DEAF.0, argument(0), argument(1), amount, &mut error) };
                assert!(found.is_null() && !error.is_null(), "nobody was asked");
                let kind = check_error(error, false);
                // that it could not look says nothing of the money
                assert!(kind == "invalid_input" || kind == "outcome_unknown", "{kind}");
            }
            b'k' => {
                // SAFETY: C strings or NULL, a place for an error.
                let key = unsafe { takings_idempotency_key(argument(0), argument(1), &mut error) };
                assert_ne!(key.is_null(), error.is_null());
                if !key.is_null() {
                    assert_eq!(text(key).expect("a key").len(), 36);
                    // SAFETY: a string of the function that this frees, once.
                    unsafe { takings_string_free(key) };
                }
                check_error(error, true);
            }
            b's' | b'i' | b'b' | b'n' | b'l' | b'o' => {
                let value = arguments.get(1).and_then(|value| value.to_str().ok());
                let number: i64 = value.and_then(|value| value.parse().ok()).unwrap_or(-7);
                let flag = number % 2 == 0;
                // SAFETY: a builder of takings_json_new that only this thread uses; C strings
                // or NULL; a place for an error.
                let (done, put) = unsafe {
                    match letter {
                        b's' => (
                            takings_json_set_string(json, argument(0), argument(1), &mut error),
                            value.map_or(Value::Null, |value| value.into()),
                        ),
                        b'i' => (takings_json_set_integer(json, argument(0), number, &mut error), number.into()),
                        b'b' => (takings_json_set_bool(json, argument(0), flag, &mut error), flag.into()),
                        b'n' => (takings_json_set_null(json, argument(0), &mut error), Value::Null),
                        b'l' => (takings_json_set_empty_list(json, argument(0), &mut error), Value::Array(vec![])),
                        _ => (
                            takings_json_set_empty_object(json, argument(0), &mut error),
                            Value::Object(Default::default()),
                        ),
                    }
                };
                assert_eq!(done, error.is_null());
                check_error(error, true);
                let after = text_of(json);
                if done {
                    let pointer = arguments[0].to_str().expect("taken, so UTF-8");
                    check_builder(&before, &after, pointer, &put);
                } else {
                    assert_eq!(before, after, "a refusal changed something");
                }
                before = after;
            }
            _ => {}
        }
        // SAFETY: NULL, or an error of one of the calls above, freed once.
        unsafe { takings_error_free(error) };
    }
    // SAFETY: made above, freed once.
    unsafe { takings_json_free(json) };
}

fn argument(word: &[u8]) -> CString {
    let bytes = word.iter().filter(|byte| **byte != 0).map(|byte| match byte {
        1 => b'\n',
        2 => b'\t',
        byte => *byte,
    });
    CString::new(bytes.collect::<Vec<u8>>()).expect("no NUL is left")
}

/// Makes a client of settings and frees it.
fn client(config: Option<&CString>) {
    // a file that the fuzzer names could be any, a terminal or an endless one
    let named = config.and_then(|config| config.to_str().ok()).and_then(|text| Config::from_json(text).ok());
    if named.is_some_and(|config| config.ca_file.is_some()) {
        return;
    }
    let mut error: Handle = ptr::null_mut();
    // SAFETY: a C string or NULL, a place for an error; each handle is freed once.
    unsafe {
        let client = takings_client_new(config.map_or(ptr::null(), |config| config.as_ptr()), &mut error);
        assert_ne!(client.is_null(), error.is_null());
        assert_eq!(text(takings_client_base_url(client)).is_some(), !client.is_null());
        check_error(error, true);
        takings_client_free(client);
        takings_error_free(error);
        // and with nowhere to put an error
        takings_client_free(takings_client_new(config.map_or(ptr::null(), |config| config.as_ptr()), ptr::null_mut()));
    }
}

fn text(text: *const c_char) -> Option<&'static str> {
    // SAFETY: NULL, or a C string of an object that the caller has not freed yet.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_str().expect("texts are UTF-8"))
}

fn text_of(json: Handle) -> String {
    // SAFETY: a builder that only this thread uses.
    text(unsafe { takings_json_text(json) }).expect("a builder has a text").to_owned()
}

/// The builder's text is JSON without doubled members; what was put is where it was put, and
/// nothing else came.
fn check_builder(before: &str, text: &str, pointer: &str, put: &Value) {
    let read: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let came = leaves(&read) - leaves(&serde_json::from_str(before).expect("it was JSON"));
    assert!(came == 0 || came == 1, "{before} became {text}");
    assert_eq!(read.to_string().len(), text.len(), "a member is doubled in {text}");
    // "-" appends to a list, and names a member of an object
    let (mut place, mut steps) = (&read, pointer.split('/').skip(1));
    let found = steps.all(|step| {
        let name = step.replace("~1", "/").replace("~0", "~");
        let next = match place {
            Value::Array(items) if step == "-" => items.last(),
            Value::Array(items) => step.parse().ok().and_then(|index: usize| items.get(index)),
            Value::Object(members) => members.get(&name),
            _ => None,
        };
        place = next.unwrap_or(&Value::Null);
        next.is_some()
    });
    assert!(found && place == put, "{pointer} holds {place} in {text}");
}

/// How many values there are that hold no others.
fn leaves(value: &Value) -> isize {
    match value {
        Value::Array(items) if !items.is_empty() => items.iter().map(leaves).sum(),
        Value::Object(members) if !members.is_empty() => members.values().map(leaves).sum(),
        _ => 1,
    }
}

/// Reads every field of an error, and returns its kind.
fn check_error(error: Handle, refused: bool) -> String {
    // SAFETY: NULL, or an error that has not been freed.
    unsafe {
        let (kind, message) = (text(takings_error_kind_name(error)), text(takings_error_message(error)));
        assert_eq!((kind.is_none(), message.is_none()), (error.is_null(), error.is_null()));
        let Some(kind) = kind else { return String::new() };
        assert!(!refused || kind == "invalid_input", "{kind}: {message:?}");
        let count = takings_error_error_message_count(error);
        assert!(text(takings_error_error_message(error, count)).is_none());
        for field in [takings_error_error_code(error), takings_error_correlation_id(error)] {
            assert!(text(field).is_none(), "nobody answered");
        }
        assert_eq!(takings_error_http_status(error), 0);
        text(takings_error_order_id(error));
        text(takings_error_idempotency_key(error));
        let sent = kind != "invalid_input";
        assert_eq!((takings_error_attempts(error), takings_error_retryable(error)), (u32::from(sent), sent));
        crate::check_line(message.expect("a message"));
        kind.to_owned()
    }
}
