use std::collections::BTreeSet;

use super::schema::Reachable;
use super::{Field, Item, Reader, Rule, object};
use crate::CaptureRequest;

object! {
    /// The options of a call, beside its body.
    struct Options: "an option" {
        /// Nobody used the key before.
        optional first_use "first_use": bool, Rule::Bool;
        /// The time in milliseconds.
        optional first_used "first_used": i64, Rule::Integer { min: 0, max: i64::MAX, unit: "milliseconds" };
    }
}

object! {
    /// A [`Options`] that cannot be left out. See [`Client`](crate::Client) and [docs](https://example.com).
    ///
    /// ```
    /// let rust = true;
    /// ```
    ///
    /// Behind the sample.
    struct Needed: "a need" {
        /// The name.
        required name "name": String, Rule::Text { min: 1, max: 5 };
        /// How often.
        default often "often": i64, Rule::Integer { min: 1, max: 9, unit: "times" }, 2;
        /// The key.
        optional secret "secret": String, Rule::Secret;
    }
    beside {
        pub(crate) seen: u32 = 7;
    }
}

fn two(text: &str) -> Result<(Options, CaptureRequest), String> {
    Reader::new("the request", false).json_two(text).map_err(|error| error.message().to_owned())
}

#[test]
fn two_objects_are_read_of_one_source() {
    let (options, request) =
        two(r#"{"first_use": true, "captured_amount": 5, "first_used": 9, "order_lines": [], "reference": "r"}"#)
            .unwrap();
    assert_eq!((options.first_use, options.first_used), (Some(true), Some(9)));
    let mut expected = CaptureRequest::new(5);
    (expected.reference, expected.order_lines) = (Some("r".into()), Some(Vec::new()));
    assert_eq!(request, expected);
    let (options, _) = two(r#"{"captured_amount": 5}"#).unwrap();
    assert_eq!(options, Options::blank());
}

#[test]
fn two_objects_refuse_as_one() {
    for (text, message) in [
        (
            r#"{"captured_amount": 5, "first_uze": true}"#,
            "first_uze is not a field of a capture request; did you mean first_use?",
        ),
        (
            r#"{"capture_amount": 5}"#,
            "capture_amount is not a field of a capture request; did you mean captured_amount?",
        ),
        (
            r#"{"zzzzzz": 5}"#,
            "zzzzzz is not a field of a capture request; its fields are captured_amount, reference, description, \
             order_lines, shipping_info, shipping_delay",
        ),
        (r#"{"first_use": true, "first_use": true}"#, "first_use is given twice; it must stand once"),
        (r#"{"captured_amount": 5, "captured_amount": 5}"#, "captured_amount is given twice; it must stand once"),
        (r#"{"first_use": 1}"#, "first_use is a number; it must be true or false"),
        ("[]", "the request is a list; it must be an object (a capture request)"),
    ] {
        assert_eq!(two(text).unwrap_err(), message, "{text}");
    }
    assert!(two(r#"{"first_use": true}"#).unwrap_err().starts_with("captured_amount is missing;"));
    assert!(two(r#"{"captured_amount": 5}x"#).unwrap_err().starts_with("the request is not valid JSON"));
    assert!(two(r#"{"captured_amount": 5, "order_lines": [{"first_use": true}]}"#).unwrap_err().contains("its fields"));
    let missing = Reader::new("the whole", false).json_two::<Needed, Options>("{}").unwrap_err();
    assert!(missing.message().starts_with("name is missing;"));
}

#[test]
fn defaults_stand_where_a_source_says_nothing() {
    let read = |text: &str| Reader::new("the need", false).json::<Needed>(text, &Needed::RULE).unwrap();
    let needed = read(r#"{"name": "n"}"#);
    assert_eq!((needed.often, needed.secret.as_deref(), needed.seen), (2, None, 7));
    assert_eq!(read(r#"{"name": "n", "often": 3, "secret": "s3cret"}"#).often, 3);
    let write = |needed: &Needed| super::Written(needed).to_json().to_string();
    assert_eq!(write(&needed), r#"{"name":"n"}"#);
    assert_eq!(write(&read(r#"{"often": 3, "name": "n"}"#)), r#"{"name":"n","often":3}"#);
    let debug = format!("{:?}", read(r#"{"name": "n", "secret": "s3cret"}"#));
    assert_eq!(debug, r#"Needed { name: "n", often: 2, secret: Some("hidden"), .. }"#);
}

#[test]
fn debug_of_a_request_is_that_of_a_derive() {
    let mut request = CaptureRequest::new(5);
    request.reference = Some("me@example.com".into());
    let debug = format!("{request:?}");
    assert!(debug.starts_with(r#"CaptureRequest { captured_amount: 5, reference: Some("me@example.com"), desc"#));
    assert!(debug.ends_with("shipping_delay: None }"), "{debug}");
}

#[test]
fn the_schema_tells_types_and_limits() {
    let schema = Reachable::of::<Needed>().to_json();
    assert_eq!(
        schema["objects"]["Needed"],
        serde_json::json!({
            "name": "Needed",
            "noun": "a need",
            "doc": "A `Options` that cannot be left out. See `Client` and [docs](https://example.com).\n\n\n\
                    Behind the sample.",
            "fields": [
                {"name": "name", "required": true, "doc": "The name.", "type": {"kind": "text", "min": 1, "max": 5}},
                {"name": "often", "required": false, "doc": "How often.", "default": 2,
                 "type": {"kind": "integer", "min": 1, "max": 9, "unit": "times"}},
                {"name": "secret", "required": false, "doc": "The key.", "type": {"kind": "secret"}},
            ],
        })
    );
}

#[test]
fn the_schema_tells_every_field_of_a_request() {
    let schema: serde_json::Value = serde_json::from_str(&CaptureRequest::schema()).unwrap();
    let objects = schema["objects"].as_object().unwrap();
    let names: Vec<_> = objects.keys().map(String::as_str).collect();
    assert_eq!(names, ["CaptureRequest", "OrderLine", "ProductIdentifiers", "ShippingInfo", "Subscription"]);
    let mut named = BTreeSet::new();
    for object in objects.values() {
        assert!(!object["doc"].as_str().unwrap().contains("```"));
        for field in object["fields"].as_array().unwrap() {
            assert!(!field["doc"].as_str().unwrap().is_empty(), "{field}");
            for kind in [&field["type"], &field["type"]["of"]] {
                named.extend(kind.get("name").and_then(|name| name.as_str()));
            }
        }
    }
    let words = schema["words"].as_object().unwrap();
    assert!(named.iter().all(|name| objects.contains_key(*name) || words.contains_key(*name)), "{named:?}");

    let fields = |name: &str| {
        let fields = objects[name]["fields"].as_array().unwrap();
        fields.iter().map(|field| field["name"].as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(fields("CaptureRequest"), CaptureRequest::FIELDS);
    assert_eq!(fields("OrderLine"), crate::OrderLine::FIELDS);
    assert_eq!(
        objects["CaptureRequest"]["fields"][3]["type"],
        serde_json::json!({"kind": "list", "max": 1000, "of": {"kind": "object", "name": "OrderLine"}})
    );
    let interval = &words["Interval"];
    assert_eq!((&interval["open"], &words["OrderLineType"]["open"]), (&false.into(), &true.into()));
    assert_eq!(interval["words"][0], serde_json::json!({"word": "DAY", "variant": "Day", "doc": ""}));
    assert_eq!(interval["doc"], "The unit of a subscription's interval.");
}
