//! The C ABI as a C program meets it: its symbols, C strings of any bytes, NULL anywhere.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::sync::LazyLock;

use serde_json::Value;
use takings::{Client, Config, Credentials};
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
    fn takings_client_prepare(
        client: *const c_void,
        order_id: *const c_char,
        request_json: *const c_char,
        idempotency_key: *const c_char,
        error: *mut Handle,
    ) -> Handle;
    fn takings_call_start(call: Handle) -> u32;
    fn takings_call_waited(call: Handle) -> u32;
    fn takings_call_answered(call: Handle, status: u16) -> u32;
    fn takings_call_not_sent(call: Handle, why: *const c_char) -> u32;
    fn takings_call_maybe_sent(call: Handle, why: *const c_char) -> u32;
    fn takings_call_answer_header(call: Handle, name: *const c_char, value: *const c_char);
    fn takings_call_answer_body(call: Handle, bytes: *const c_char, length: usize) -> bool;
    fn takings_call_url(call: *const c_void) -> *const c_char;
    fn takings_call_header_count(call: *const c_void) -> usize;
    fn takings_call_header_value(call: *const c_void, index: usize) -> *const c_char;
    fn takings_call_body_length(call: *const c_void) -> usize;
    fn takings_call_time_ms(call: *const c_void) -> i64;
    fn takings_call_capture(call: *const c_void, error: *mut Handle) -> Handle;
    fn takings_call_free(call: Handle);
    fn takings_capture_capture_id(capture: *const c_void) -> *const c_char;
    fn takings_capture_attempt_log_count(capture: *const c_void) -> usize;
    fn takings_capture_free(capture: Handle);
    fn takings_error_attempt_log_count(error: *const c_void) -> usize;
    fn takings_error_attempt_log(error: *const c_void, index: usize) -> *const c_void;
    fn takings_attempt_came_back(attempt: *const c_void) -> *const c_char;
    fn takings_minor(amount: *const c_char, currency: *const c_char, minor: *mut i64, error: *mut Handle) -> bool;
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

/// A client whose address nobody listens at: every accepted call ends in `not_sent`.
struct Deaf(Handle);

// SAFETY: rule 4 of the header: any number of threads may use one client.
unsafe impl Send for Deaf {}
// SAFETY: as above.
unsafe impl Sync for Deaf {}

fn deaf(max_attempts: u32) -> Deaf {
    let config = format!(
        "{{\"base_url\":\"http://127.0.0.1:1\",\"username\":\"user\",\"password\":\"s3cret\",\
         \"max_attempts\":{max_attempts},\"backoff_ms\":1}}"
    );
    let config = CString::new(config).expect("no NUL");
    // SAFETY: a C string, and nowhere for an error.
    let client = unsafe { takings_client_new(config.as_ptr(), ptr::null_mut()) };
    assert!(!client.is_null());
    Deaf(client)
}

static DEAF: LazyLock<Deaf> = LazyLock::new(|| deaf(1));
/// The core's own opinion of a request.
static CORE: LazyLock<Client> = LazyLock::new(|| {
    let config = Config::at("http://127.0.0.1:1", Credentials::basic("user", "s3cret"));
    Client::new(config).expect("settings")
});
/// The client of calls that this program claims to send by itself.
static PREPARING: LazyLock<Deaf> = LazyLock::new(|| deaf(3));

/// Calls, a line each: a letter, a tab, arguments between tabs. An argument that is absent is
/// NULL; 0x01 stands for a line's end in one, 0x02 for a tab.
///
///     c config                 makes a client and frees it
///     p order request key      captures
///     r order reference amount looks up a capture
///     k order name             derives a key
///     m amount currency        counts in minor units
///     d order request script   steps a capture: s start, w waited, n not sent, m maybe sent, 1 to 5 answered; i an
///                              id, x and y the script as a header's name and value, b as a part of the body
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
                // Only a request that the core takes is sent.
                if let ("not_sent", Some(request)) = (kind.as_str(), arguments.get(1)) {
                    CORE.prepare_call("capture", "order", request.to_str().expect("UTF-8"), None)
                        .expect("taken by the core");
                }
            }
            b'r' => {
                let amount = arguments.get(2).and_then(|amount| amount.to_str().ok()?.parse().ok()).unwrap_or(6000);
                // SAFETY: as for a capture.
                let found = unsafe { takings_client_reconcile(DEAF.0, argument(0), argument(1), amount, &mut error) };
                assert!(found.is_null() && !error.is_null(), "nobody was asked");
                let kind = check_error(error, false);
                // A look-up that failed says nothing about the money.
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
            b'm' => {
                let mut minor = -7;
                // SAFETY: C strings or NULL, places for a number and an error.
                let done = unsafe { takings_minor(argument(0), argument(1), &mut minor, &mut error) };
                assert_eq!(done, error.is_null());
                if done {
                    let text = |index: usize| arguments[index].to_str().expect("taken, so UTF-8");
                    assert_eq!(takings::minor(text(0), text(1)), Ok(minor));
                }
                assert!(done || minor == -7, "a refusal changed something");
                check_error(error, true);
            }
            b'd' => {
                // SAFETY: as for a capture.
                let call =
                    unsafe { takings_client_prepare(PREPARING.0, argument(0), argument(1), ptr::null(), &mut error) };
                assert_ne!(call.is_null(), error.is_null());
                check_error(error, true);
                drive(call, arguments.get(2).unwrap_or(&CString::default()));
                // SAFETY: NULL, or made above and freed once.
                unsafe { takings_call_free(call) };
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

/// Reports the events of a script to a call, in turn or out of turn.
fn drive(call: Handle, script: &CString) {
    const SEND: u32 = 1;
    const DONE: u32 = 3;
    let whole = script.as_ptr();
    let mut step = 0;
    let mut gave_id = false;
    let mut ended = None;
    for letter in script.as_bytes().iter().take(64) {
        let before = step;
        // SAFETY: NULL, or a call that only this thread uses; C strings, and bytes of the length given.
        unsafe {
            step = match letter {
                b's' => takings_call_start(call),
                b'w' => takings_call_waited(call),
                b'n' => takings_call_not_sent(call, whole),
                b'm' => takings_call_maybe_sent(call, whole),
                b'1' => takings_call_answered(call, 201),
                b'2' => takings_call_answered(call, 204),
                b'3' => takings_call_answered(call, 302),
                b'4' => takings_call_answered(call, 403),
                b'5' => takings_call_answered(call, 503),
                b'i' => {
                    gave_id = true;
                    takings_call_answer_header(call, c"Capture-Id".as_ptr(), c"4ba29b50".as_ptr());
                    step
                }
                b'x' => {
                    takings_call_answer_header(call, whole, c"x".as_ptr());
                    step
                }
                b'y' => {
                    takings_call_answer_header(call, c"X-Any".as_ptr(), whole);
                    step
                }
                b'b' => {
                    takings_call_answer_body(call, whole, script.as_bytes().len());
                    step
                }
                _ => step,
            };
            if call.is_null() {
                assert_eq!(step, 0);
                continue;
            }
            assert!(step <= DONE && (before != DONE || step == DONE), "{before} became {step}");
            let sending = step == SEND;
            assert_eq!(text(takings_call_url(call)).is_some(), sending);
            assert_eq!(takings_call_header_count(call) > 2, sending);
            assert_eq!(takings_call_header_value(call, 0).is_null(), !sending);
            assert_eq!(takings_call_body_length(call) > 2, sending);
            assert!(!sending || takings_call_time_ms(call) > 0);
        }
        if step == DONE {
            ended.get_or_insert_with(|| outcome(call));
        }
    }
    let (kind, id) = outcome(call);
    match id {
        Some(ref id) => assert!(step == DONE && gave_id && id == "4ba29b50", "{id} came from nowhere"),
        None if !call.is_null() && step != DONE => assert_eq!(kind.as_deref(), Some("outcome_unknown")),
        None => {}
    }
    assert!(ended.is_none_or(|ended| ended == (kind, id)), "what it ended in did not stay");
}

/// The kind of the error of a call, or the id of its capture.
fn outcome(call: Handle) -> (Option<String>, Option<String>) {
    let mut error: Handle = ptr::null_mut();
    // SAFETY: NULL, or a call that only this thread uses; what is given is freed once.
    unsafe {
        let capture = takings_call_capture(call, &mut error);
        assert_ne!(capture.is_null(), error.is_null());
        assert!(capture.is_null() || takings_capture_attempt_log_count(capture) > 0);
        for index in 0..takings_error_attempt_log_count(error) {
            let attempt = takings_error_attempt_log(error, index);
            crate::check_line(text(takings_attempt_came_back(attempt)).expect("each ended somehow"));
        }
        crate::check_line(text(takings_error_message(error)).unwrap_or("none"));
        let kind = text(takings_error_kind_name(error)).map(str::to_owned);
        let id = text(takings_capture_capture_id(capture)).map(str::to_owned);
        takings_capture_free(capture);
        takings_error_free(error);
        (kind, id)
    }
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
    // The fuzzer could name any file, such as a terminal or an endless one.
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
        // The same without a place for the error.
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

/// Checks the builder's text: JSON without doubled members, in which exactly the values that were put have changed.
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

/// How many values there are without values inside.
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
