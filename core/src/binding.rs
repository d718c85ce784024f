//! For bindings and hosts: the names and types of everything that crosses a language boundary, and functions that need
//! no client, by name, with JSON in and JSON out.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserializer;
use serde_json::{Value, json};

use crate::api::arguments::CallOptions;
use crate::api::check::{self, Given};
use crate::api::documents::{CaptureDetails, Captures, DueDateOptions, Order, RefundDetails};
use crate::api::operations::OPERATIONS;
use crate::api::options::Options;
use crate::api::reply::{Capture, Confirmation, Extension, OrderEnd, Reconciliation, Refund, RefundReconciliation};
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::intent::Intent;
use crate::key;
use crate::minor;
use crate::settings::config::{Config, variables};
use crate::strict::schema::{ObjectInfo, Reachable};
use crate::strict::{Field, Item, Object, Reader, Rule, Voice, object, shown_word};

#[doc(hidden)]
pub use crate::api::check::Check;
#[doc(hidden)]
pub use crate::api::operation::{Effect, Nouns, Operation, ReplyKind};
#[doc(hidden)]
pub use crate::api::reply::{CONFIRMATION, DocumentFacts, Face};
#[doc(hidden)]
pub use crate::api::tree::{DocumentInfo, Member, MemberKind};
#[doc(hidden)]
pub use crate::drive::http::Wish;
#[doc(hidden)]
pub use crate::drive::sending::{News, Sending};
#[doc(hidden)]
pub use crate::intent::insert;
pub use crate::record::{
    Attempt, Fact, FactInfo, RecordInfo, milliseconds, milliseconds_since_1970, name_in_milliseconds,
};
#[doc(hidden)]
pub use crate::wire::http1::Http1;

/// A string as an argument that is none has to become one, for Python: `got` is the argument's kind, such as `a UUID`.
#[doc(hidden)]
pub fn string_for_python(got: &str) -> String {
    format!("a string{}", Rule::Secret.way_out(got, Voice::Python))
}

/// Whether an option of a call is a point in time, in whole seconds.
#[doc(hidden)]
pub fn is_point_in_time(option: &str) -> bool {
    option == "first_used"
}

/// The operations of a client, in the order of the table.
#[doc(hidden)]
pub fn operations() -> &'static [&'static Operation] {
    OPERATIONS
}

/// Describes everything that crosses a language boundary, as JSON text: `operations` with their arguments and replies,
/// `objects` and `words` of requests and settings, `records` of replies, attempts and errors, `documents` of Klarna's,
/// the `settings`, the `options` of a call and those of a client beside another (`client_options`), and the
/// `functions` of [`call`]. Faces in other languages are generated from it.
pub fn schema() -> String {
    let mut types = Reachable::default();
    types.add(&Config::SCHEMA);
    types.add(&CallOptions::SCHEMA);
    types.add(&Options::SCHEMA);
    for operation in OPERATIONS {
        types.add(operation.arguments);
    }
    for function in FUNCTIONS {
        types.add(function.arguments);
    }
    let mut documents = Vec::new();
    for info in OPERATIONS.iter().filter_map(|operation| operation.face.document) {
        info.reachable(&mut documents);
    }
    let documents: serde_json::Map<String, Value> =
        documents.iter().map(|info| (info.name.to_owned(), info.schema())).collect();
    let types = types.to_json();
    let functions: Vec<Value> =
        FUNCTIONS.iter().map(|function| json!({"name": function.name, "arguments": function.arguments.name})).collect();
    let records: Vec<Value> =
        [&Capture::INFO, &Refund::INFO, &Reconciliation::INFO, &RefundReconciliation::INFO, &Confirmation::INFO]
            .into_iter()
            .chain([&OrderEnd::INFO, &Extension::INFO])
            .chain([&Order::INFO, &Captures::INFO, &CaptureDetails::INFO, &RefundDetails::INFO, &DueDateOptions::INFO])
            .chain([&DocumentFacts::INFO, &Check::INFO, &Intent::INFO, &Attempt::INFO, &Error::INFO])
            .map(|record| record.schema())
            .collect();
    let kinds: Vec<Value> =
        ErrorKind::ALL.iter().map(|kind| json!({"name": kind.as_str(), "doc": kind.doc()})).collect();
    json!({
        "version": crate::VERSION,
        "operations": OPERATIONS.iter().map(|operation| operation.schema()).collect::<Vec<_>>(),
        "objects": types["objects"],
        "words": types["words"],
        "records": records,
        "documents": documents,
        "error_kinds": kinds,
        "settings": Config::SCHEMA.name,
        "options": CallOptions::SCHEMA.name,
        "client_options": Options::SCHEMA.name,
        "functions": functions,
        "variables": variables(),
    })
    .to_string()
}

/// The reasons against a capture or a refund of an order that was read (`Order::check_capture`). `order` is its text, and
/// `now` the time by which it may have expired. `surface` is the language of the request.
///
/// # Errors
///
/// `invalid_input` for a text that is no order. A request that no call would take is a reason.
#[doc(hidden)]
pub fn check<'de, D: Deserializer<'de>>(
    operation: &str,
    order: &str,
    now: Option<SystemTime>,
    request: D,
    surface: &str,
) -> Result<Vec<String>, Error> {
    check::of_text(operation, order, now, Given::Source(request, Voice::of(surface)))
}

/// The same of a request as JSON text, at a time in milliseconds since 1970; below 0 no time is known.
#[doc(hidden)]
pub fn check_json(operation: &str, order: &str, now_ms: i64, request: &str) -> Result<Check, Error> {
    let now = u64::try_from(now_ms).ok().and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
    check::of_text::<Value>(operation, order, now, Given::Json(request)).map(Check::from)
}

/// Reads a setting that Lua has beside the core's: one of `words`.
///
/// # Errors
///
/// `invalid_input`, naming the setting.
#[doc(hidden)]
pub fn word<'de, D: Deserializer<'de>>(
    setting: &'static str,
    words: &'static [&'static str],
    source: D,
) -> Result<&'static str, Error> {
    let (reader, rule) = (Reader::new(setting, false).in_words_of(Voice::Lua), Rule::Word(words));
    let given: String = reader.read(source, &rule)?;
    let known = words.iter().find(|word| **word == given);
    known.copied().ok_or_else(|| reader.root().refuse(shown_word(&given), &rule))
}

/// Whether a client in Lua sends over nginx's cosockets, by its setting `transport`. `cosockets` is nothing outside of
/// nginx, and else says whether they can wait where the call is made, or why not.
///
/// # Errors
///
/// `invalid_input`, naming the setting that keeps the call from being sent as `transport` asks.
#[doc(hidden)]
pub fn over_cosockets(client: &Client, transport: &str, cosockets: Option<Result<(), String>>) -> Result<bool, Error> {
    let (field, got, allowed) = match (transport, cosockets, client.proxy(), client.ca_file()) {
        ("blocking", ..) | ("auto", None, ..) => return Ok(false),
        (_, None, ..) => ("transport", "cosocket outside of nginx".to_owned(), "auto or blocking there"),
        (_, Some(Err(why)), ..) => (
            "the call",
            format!("made where nginx's cosockets cannot wait ({why})"),
            "made in a rewrite, access or content handler or from ngx.timer.at(0, ...), or transport = \"blocking\" \
             stops the whole worker for as long as it takes",
        ),
        (_, _, Some(proxy), _) => (
            "proxy",
            format!("{proxy} (from the setting, or HTTPS_PROXY)"),
            "left out, since cosockets go through no proxy; or transport = \"blocking\" in a worker thread \
             (ngx.run_worker_thread)",
        ),
        (_, _, None, Some(path)) => (
            "ca_file",
            format!("{path:?}"),
            "left out, since cosockets trust what lua_ssl_trusted_certificate names in nginx.conf: name it there",
        ),
        (_, _, None, None) => return Ok(true),
    };
    Err(Error::invalid_argument(field, &got, allowed))
}

/// A function that needs no client.
struct Function {
    name: &'static str,
    arguments: &'static ObjectInfo,
    run: fn(&str) -> Result<String, Error>,
}

object! {
    /// The call whose key is derived.
    pub(crate) struct KeyArguments: "a call of idempotency_key" {
        /// The operation the key is for: `capture` when absent.
        optional operation "operation": String, TEXT;
        /// The id of the capture, for an operation on a capture.
        optional capture_id "capture_id": String, TEXT;
        /// The id of the order.
        required order_id "order_id": String, TEXT;
        /// The name of the call, such as `parcel-1`.
        required name "name": String, TEXT;
    }
}

object! {
    /// An amount as people write it.
    pub(crate) struct MinorArguments: "a call of minor" {
        /// A decimal number such as `60.00`.
        required amount "amount": String, TEXT;
        /// A currency code of ISO 4217.
        required currency "currency": String, TEXT;
    }
}

object! {
    /// No arguments.
    #[derive(Default)]
    pub(crate) struct NoArguments: "a call of this function" {}
}

/// A loose rule: the functions themselves check their arguments closely.
const TEXT: Rule = Rule::Text { min: 0, max: 4096 };

static FUNCTIONS: &[Function] = &[
    Function {
        name: "idempotency_key",
        arguments: &KeyArguments::SCHEMA,
        run: |text| {
            let given: KeyArguments = read(text)?;
            let operation = given.operation.as_deref().unwrap_or("capture");
            key::idempotency_key_for(operation, &given.order_id, given.capture_id.as_deref(), &given.name).map(as_json)
        },
    },
    Function {
        name: "new_idempotency_key",
        arguments: &NoArguments::SCHEMA,
        run: |text| {
            let _: NoArguments = read(text)?;
            key::new_idempotency_key().map(as_json)
        },
    },
    Function {
        name: "minor",
        arguments: &MinorArguments::SCHEMA,
        run: |text| {
            let given: MinorArguments = read(text)?;
            minor::minor(&given.amount, &given.currency).map(as_json)
        },
    },
    Function {
        name: "settings_from_env",
        arguments: &NoArguments::SCHEMA,
        run: |text| {
            let _: NoArguments = read(text)?;
            Config::from_env()?.to_json()
        },
    },
    Function {
        name: "schema",
        arguments: &NoArguments::SCHEMA,
        run: |text| {
            let _: NoArguments = read(text)?;
            Ok(schema())
        },
    },
];

fn as_json(result: impl Into<Value>) -> String {
    result.into().to_string()
}

fn read<T: Field + Item>(text: &str) -> Result<T, Error> {
    Reader::new("the arguments", false).json(text, &T::RULE)
}

/// Calls a function that needs no client, by name, with a JSON object, and gives its result as JSON text:
///
/// | name | arguments | result |
/// |---|---|---|
/// | `idempotency_key` | `order_id`, `name`, `operation`, `capture_id` | the derived key |
/// | `new_idempotency_key` | | a fresh key |
/// | `minor` | `amount`, `currency` | the amount in minor units |
/// | `settings_from_env` | | the settings that the environment has, with its credentials |
/// | `schema` | | the description of all operations and types |
///
/// # Errors
///
/// `invalid_input` for an unknown name, and for arguments that the function does not take.
pub fn call(name: &str, arguments: &str) -> Result<String, Error> {
    match FUNCTIONS.iter().find(|function| function.name == name) {
        Some(function) => (function.run)(arguments),
        None => {
            let names: Vec<&str> = FUNCTIONS.iter().map(|function| function.name).collect();
            let shown: String = name.chars().take(64).collect();
            Err(Error::invalid_argument("name", &format!("{shown:?}"), &format!("one of {}", names.join(", "))))
        }
    }
}

/// For bindings: the refusal of an argument that a function of [`call`] does not have. It names the nearest that it has.
#[doc(hidden)]
pub fn unknown_argument(function: &str, argument: &str) -> Error {
    let refused = call(function, &json!({ argument: null }).to_string()).err();
    refused.unwrap_or_else(|| Error::invalid_argument(argument, "null", "left out"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_take_json_and_give_json() {
        let key =
            call("idempotency_key", r#"{"order_id": "f3392f8b-6116-4073-ab96-e330819e2c07", "name": "parcel-1"}"#);
        assert_eq!(key.unwrap(), "\"e642b253-7331-5441-bb3d-c291abd550aa\"");
        assert_eq!(call("minor", r#"{"amount": "60.00", "currency": "EUR"}"#).unwrap(), "6000");
        assert_eq!(call("new_idempotency_key", "{}").unwrap().len(), 38);
        for (name, arguments) in [("minor", "{}"), ("minor", "[]"), ("major", "{}"), ("schema", r#"{"a": 1}"#)] {
            assert_eq!(call(name, arguments).unwrap_err().kind(), ErrorKind::InvalidInput, "{name} {arguments}");
        }
    }

    #[test]
    fn the_reasons_of_a_text_at_a_time() {
        let order = r#"{"status": "AUTHORIZED", "expires_at": "2026-12-24T00:00:00Z"}"#;
        let reasons = |now| check_json("capture", order, now, r#"{"captured_amount": 1}"#).unwrap().to_json();
        assert_eq!(reasons(-1), r#"{"reasons":[]}"#);
        assert_eq!(reasons(-1_800_000_000_000), r#"{"reasons":[]}"#);
        assert_eq!(reasons(1_780_000_000_000), r#"{"reasons":[]}"#);
        assert!(reasons(1_800_000_000_000).starts_with(r#"{"reasons":["expires_at is 2026-12-24"#));
        assert!(reasons(i64::MAX).starts_with(r#"{"reasons":["expires_at is"#));
        assert_eq!(check_json("capture", "[", -1, "{}").unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn words_of_a_binding_are_refused_as_the_core_s_are() {
        let read = |given: Value| word("transport", &["auto", "blocking"], given);
        assert_eq!(read(json!("blocking")), Ok("blocking"));
        let secret = "a".repeat(40);
        for (given, got) in [
            (json!("curl"), "\"curl\""),
            (json!(""), "\"\""),
            (json!(secret), "a text of 40 characters"),
            (json!(5), "a number"),
            (json!(true), "true"),
            (json!({}), "a table"),
        ] {
            let expected = format!("transport is {got}; it must be one of auto, blocking");
            assert_eq!(read(given).unwrap_err().message(), expected);
        }
    }

    #[test]
    fn cosockets_are_used_where_they_can_wait() {
        let client = |host: &str, more: &str| {
            let text = format!(r#"{{"base_url": "https://{host}", "username": "u", "password": "p"{more}}}"#);
            Client::new(Config::from_json(&text).unwrap()).unwrap()
        };
        let plain = client("127.0.0.1:1", "");
        let of = |transport, state| over_cosockets(&plain, transport, state);
        assert_eq!(
            [of("auto", None), of("blocking", None), of("blocking", Some(Ok(())))],
            [Ok(false), Ok(false), Ok(false)]
        );
        assert_eq!([of("auto", Some(Ok(()))), of("cosocket", Some(Ok(())))], [Ok(true), Ok(true)]);
        assert!(of("cosocket", None).unwrap_err().message().starts_with("transport is cosocket outside of nginx"));
        let cannot = of("auto", Some(Err("in init_by_lua".into()))).unwrap_err();
        assert!(cannot.message().contains("cannot wait (in init_by_lua)"), "{cannot}");
        let proxied = client("klarna.example", r#", "proxy": "http://127.0.0.1:2""#);
        let proxied = over_cosockets(&proxied, "auto", Some(Ok(()))).unwrap_err();
        assert!(proxied.message().starts_with("proxy is 127.0.0.1:2 "), "{proxied}");
    }

    #[test]
    fn the_schema_describes_everything_that_crosses() {
        let schema: Value = serde_json::from_str(&schema()).unwrap();
        let names = |list: &Value| -> Vec<String> {
            list.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names(&schema["operations"]).len(), 25);
        let records = "Capture Refund Reconciliation RefundReconciliation Confirmation OrderEnd Extension Order Captures \
                       CaptureDetails RefundDetails DueDateOptions DocumentFacts Check Intent Attempt Error";
        assert_eq!(names(&schema["records"]).join(" "), records);
        let documents: Vec<&String> = schema["documents"].as_object().unwrap().keys().collect();
        assert_eq!(documents.len(), 9, "{documents:?}");
        for operation in schema["operations"].as_array().unwrap() {
            assert!(schema["objects"][operation["arguments"].as_str().unwrap()]["fields"].is_array(), "{operation}");
        }
        for record in schema["records"].as_array().unwrap() {
            for field in record["fields"].as_array().unwrap() {
                assert!(!field["doc"].as_str().unwrap().is_empty(), "{field}");
            }
        }
    }
}
