//! The C ABI against the core's description of itself: nothing that it declares is out of reach for C.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char};
use std::mem::MaybeUninit;

use serde_json::Value;
use takings::{Answer, Call, Client, Config, Event, binding};

use crate::call::{takings_call_reply, takings_call_t};
use crate::generated::*;
use crate::record::*;
use crate::takings_string_free;

const ORDER: &str = "f3392f8b-6116-4073-ab96-e330819e2c07";

fn schema() -> Value {
    serde_json::from_str(&binding::schema()).expect("JSON")
}

fn entries(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().expect("a list").iter()
}

fn name(entry: &Value) -> &str {
    entry["name"].as_str().expect("a name")
}

/// The name of a record as C writes it: `refund_reconciliation`.
fn snake(name: &str) -> String {
    let ends = |(at, c): (usize, char)| if at > 0 && c.is_uppercase() { vec!['_', c] } else { vec![c] };
    name.char_indices().flat_map(ends).collect::<String>().to_lowercase()
}

/// The fields of a record, as they are named where times are numbers.
fn fields(record: &str) -> BTreeSet<String> {
    let schema = schema();
    let record = entries(&schema["records"]).find(|entry| name(entry) == record).expect("a record").clone();
    entries(&record["fields"]).map(name_of).collect()
}

fn name_of(field: &Value) -> String {
    match field["kind"].as_str() {
        Some("time" | "duration") => format!("{}_ms", name(field)),
        _ => name(field).to_owned(),
    }
}

fn json(text: *const c_char) -> Value {
    // SAFETY: the text of an object that the caller holds.
    serde_json::from_slice(unsafe { CStr::from_ptr(text) }.to_bytes()).expect("JSON")
}

fn names(object: &Value) -> BTreeSet<String> {
    object.as_object().expect("an object").keys().cloned().collect()
}

#[test]
fn each_field_has_a_getter() {
    let header = include_str!("../../include/takings.h");
    let schema = schema();
    for record in entries(&schema["records"]) {
        // C reads all documents by one type.
        let kind = if name(record) == "DocumentFacts" { "document".into() } else { snake(name(record)) };
        if !schema["documents"][name(record)].is_null() {
            continue;
        }
        if !header.contains(&format!("takings_{kind}_free(")) && kind != "attempt" {
            // This record belongs to no typed operation, so its fields are read by name.
            assert!(entries(&schema["operations"]).all(|operation| operation["reply"] != record["name"]), "{record}");
            continue;
        }
        for field in entries(&record["fields"]) {
            let name = name_of(field);
            let getters = match field["kind"].as_str().expect("a kind") {
                "texts" => vec![format!("{}_count(", name.trim_end_matches('s')), name.trim_end_matches('s').into()],
                "attempts" => vec![format!("{name}_count("), format!("{name}(")],
                _ => vec![format!("{name}(")],
            };
            for getter in getters {
                assert!(header.contains(&format!("takings_{kind}_{getter}")), "{kind} has no getter for {name}");
            }
        }
    }
}

fn call(operation: &str, arguments: &str) -> Call {
    let config = r#"{"base_url": "http://127.0.0.1:1", "username": "u", "password": "p", "max_attempts": 1}"#;
    let client = Client::new(Config::from_json(config).expect("settings")).expect("a client");
    client.prepare_call(operation, ORDER, arguments, None).expect("a call")
}

/// A call of this operation that was answered.
fn answered(operation: &str, arguments: &str, status: u16, body: &str) -> Box<takings_call_t> {
    let mut call = call(operation, arguments);
    call.step(Event::Start);
    let headers = [("capture-id", "4ba29b50-be7b-44f5-a492-113e6a865e22"), ("content-type", "application/json")];
    call.step(Event::Answered(Answer::new(status, headers, body.as_bytes().to_vec())));
    takings_call_t::new(Box::new(call))
}

#[test]
fn each_json_text_holds_every_field() {
    let captured = answered("capture", r#"{"captured_amount": 6000}"#, 201, "");
    let capture = takings_call_capture(Some(&captured), None).expect("a capture");
    let read = json(takings_capture_json(Some(&capture)));
    let mut expected = fields("Capture");
    expected.insert("operation".into());
    assert_eq!(names(&read), expected);
    assert_eq!(names(&read["attempt_log"][0]), fields("Attempt"));
    assert_eq!(read["capture_id"], "4ba29b50-be7b-44f5-a492-113e6a865e22");

    let looked = answered("reconcile", r#"{"reference": "r", "captured_amount": 1}"#, 200, "[]");
    let found = takings_call_reconciliation(Some(&looked), None).expect("a reconciliation");
    let mut expected = fields("Reconciliation");
    expected.insert("operation".into());
    assert_eq!(names(&json(takings_reconciliation_json(Some(&found)))), expected);

    let unanswered = takings_call_t::new(Box::new(call("capture", r#"{"captured_amount": 6000}"#)));
    let mut error = MaybeUninit::uninit();
    assert!(takings_call_reply(Some(&unanswered), Some(&mut error)).is_none());
    // SAFETY: the function returned nothing, so it wrote the error.
    let error = unsafe { error.assume_init() }.expect("an error");
    assert_eq!(names(&json(takings_error_json(Some(&error)))), fields("Error"));
}

#[test]
fn a_reply_gives_each_field_by_name() {
    let captured = answered("capture", r#"{"captured_amount": 6000}"#, 201, "");
    let reply = takings_call_reply(Some(&captured), None).expect("a reply");
    let whole = json(takings_reply_json(Some(&reply)));
    for (field, value) in whole.as_object().expect("an object") {
        let name = CString::new(field.as_str()).expect("no NUL");
        // SAFETY: C strings, and a place for a number.
        unsafe {
            let text = takings_reply_text(Some(&reply), name.as_ptr());
            let mut number = MaybeUninit::new(-7);
            let has_number = takings_reply_integer(Some(&reply), name.as_ptr(), Some(&mut number));
            let count = takings_reply_count(Some(&reply), name.as_ptr());
            match value {
                Value::String(value) if field != "operation" => {
                    assert_eq!(CStr::from_ptr(text).to_str(), Ok(value.as_str()));
                }
                Value::Number(value) => assert!(has_number && value.as_i64() == Some(number.assume_init())),
                Value::Array(items) => assert_eq!(count, items.len(), "{field}"),
                _ => assert!(text.is_null() && !has_number && count == 0, "{field}"),
            }
        }
    }
}

#[test]
fn each_function_can_be_called() {
    let schema = schema();
    let samples = [("order_id", ORDER), ("name", "parcel-1"), ("amount", "60.00"), ("currency", "EUR")];
    for function in entries(&schema["functions"]) {
        let needed = &schema["objects"][function["arguments"].as_str().expect("a name")]["fields"];
        let arguments: serde_json::Map<String, Value> = entries(needed)
            .filter(|field| field["required"] == true)
            .map(|field| {
                let sample = samples.iter().find(|(known, _)| *known == name(field)).expect("a sample of it");
                (name(field).to_owned(), sample.1.into())
            })
            .collect();
        let arguments = CString::new(Value::Object(arguments).to_string()).expect("no NUL");
        let called = CString::new(name(function)).expect("no NUL");
        let mut error = MaybeUninit::uninit();
        // SAFETY: C strings, and a place for an error; what is given is freed once.
        unsafe {
            let result = takings_call(called.as_ptr(), arguments.as_ptr(), Some(&mut error));
            if result.is_null() {
                // The environment of this test may have no settings; an error is right then.
                let error = error.assume_init().expect("an error");
                assert_eq!(name(function), "settings_from_env");
                assert_eq!(takings_error_kind(Some(&error)), takings_error_kind_t::TAKINGS_ERROR_INVALID_INPUT);
            } else {
                assert!(!json(result).is_null());
                takings_string_free(result);
            }
        }
    }
}
