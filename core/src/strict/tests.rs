use super::schema::Reachable;
use super::{Field, Item, Reader, Rule, Voice, object};

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

object! {
    /// The body of the call.
    struct Body: "a body" {
        /// How much.
        required amount "amount": i64, Rule::Integer { min: 1, max: 9, unit: "pieces" };
        /// A name.
        optional reference "reference": String, Rule::Text { min: 0, max: 9 };
        /// More objects.
        optional needs "needs": Vec<Needed>, Rule::List { max: 3, of: "needs" };
    }
}

fn two(text: &str) -> Result<(Options, Body), String> {
    Reader::new("the request", false).json_two(text).map_err(|error| error.message().to_owned())
}

#[test]
fn a_source_that_cannot_be_read_is_refused_for_that_first() {
    for (text, says) in [
        (r#"{"amount": 0}"#, "amount is 0; it must be a whole number from 1 to 9"),
        (r#"{"needs": [{"name": ""}], "amount": 0}"#, "needs[0].name is a string of 0 characters"),
        (r#"{"amount": 0, "amount": 1}"#, "amount is given twice"),
        (r#"{"amount": 0, "reference": 1}"#, "reference is a number"),
        (r#"{"amount": 0} x"#, "the request is not valid JSON"),
        (r#"{"amount": 0"#, "the request is not valid JSON"),
    ] {
        let message = two(text).unwrap_err();
        assert!(message.starts_with(says), "{text}: {message}");
    }
}

#[test]
fn two_objects_are_read_of_one_source() {
    let (options, request) =
        two(r#"{"first_use": true, "amount": 5, "first_used": 9, "needs": [], "reference": "r"}"#).unwrap();
    assert_eq!((options.first_use, options.first_used), (Some(true), Some(9)));
    let expected = Body { amount: 5, reference: Some("r".into()), needs: Some(Vec::new()) };
    assert_eq!(request, expected);
    let (options, _) = two(r#"{"amount": 5}"#).unwrap();
    assert_eq!(options, Options::blank());
}

#[test]
fn two_objects_refuse_as_one() {
    for (text, message) in [
        (r#"{"amount": 5, "first_uze": true}"#, "first_uze is not a field of a body; did you mean first_use?"),
        (r#"{"ammount": 5}"#, "ammount is not a field of a body; did you mean amount?"),
        (r#"{"zzzzzz": 5}"#, "zzzzzz is not a field of a body; its fields are amount, reference, needs"),
        (r#"{"first_use": true, "first_use": true}"#, "first_use is given twice; it must stand once"),
        (r#"{"amount": 5, "amount": 5}"#, "amount is given twice; it must stand once"),
        (r#"{"first_use": 1}"#, "first_use is a number; it must be true or false"),
        ("[]", "the request is a list; it must be an object (a body)"),
    ] {
        assert_eq!(two(text).unwrap_err(), message, "{text}");
    }
    assert!(two(r#"{"first_use": true}"#).unwrap_err().starts_with("amount is missing;"));
    assert!(two(r#"{"amount": 5}x"#).unwrap_err().starts_with("the request is not valid JSON"));
    assert!(two(r#"{"amount": 5, "needs": [{"first_use": true}]}"#).unwrap_err().contains("its fields"));
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
fn the_schema_tells_types_and_limits() {
    let mut all = Reachable::default();
    all.add(&<Needed as super::Object>::SCHEMA);
    let schema = all.to_json();
    assert_eq!(
        schema["objects"]["Needed"],
        serde_json::json!({
            "name": "Needed",
            "noun": "a need",
            "doc": "A `Options` that cannot be left out. See `Client` and [docs](https://example.com).\n\n\
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
fn nothing_is_told_by_what_the_field_needs() {
    let read = |voice, text: &str| {
        let reader = Reader::new("the request", false).in_words_of(voice);
        let source = &mut serde_json::Deserializer::from_str(text);
        reader.read_two::<Options, Body, _>(source).unwrap_err().message().to_owned()
    };
    let told = |voice| (read(voice, r#"{"needs": {}}"#), read(voice, r#"{"reference": null}"#));
    let (table, null) = told(Voice::Lua);
    assert!(table.starts_with("needs is a table; it must be a list") && table.ends_with("makes the list"), "{table}");
    assert!(null.starts_with("reference is null (takings.null, cjson.null); leave an optional field out"), "{null}");
    for (text, json, python) in [
        (r#"{"amount": null}"#, "amount is null; it must be a whole", "amount is None; it must be a whole"),
        (r#"{"reference": null}"#, "reference is null; leave an opt", "reference is None; leave an opt"),
        (r#"{"needs": null}"#, "needs is null; leave an opt", "needs is None; leave an opt"),
        (r#"{"first_use": null}"#, "first_use is null; leave an opt", "first_use is None; leave an opt"),
        (r#"{"needs": [null]}"#, "needs[0] is null; it must be an object", "needs[0] is None; it must be a dict"),
        (r#"{"needs": {}}"#, "needs is an object; it must be a list", "needs is a dict; it must be a list"),
        (r#"{"amount": true}"#, "amount is true; ", "amount is True; "),
        (
            r#"{"first_use": 1}"#,
            "first_use is a number; it must be true or",
            "first_use is a number; it must be True or",
        ),
        (r#"{"amount": 6.0}"#, "amount is the number 6.0 with a fraction", "amount is 6.0, a float; it must be"),
        (r#"{"amount": 1e60}"#, "amount is the number 1e60 with a", "amount is the number 1e60 with a"),
        ("null", "the request is null; it must be", "the request is None; it must be"),
    ] {
        for (voice, says) in [(Voice::Json, json), (Voice::Python, python)] {
            let message = read(voice, text);
            assert!(message.starts_with(says), "{text}: {message}");
        }
    }
}

#[test]
fn the_way_out_is_told_where_the_language_has_other_types() {
    let amount = Rule::Integer { min: 1, max: 9, unit: "minor units: 60.00 is 6000" };
    let name = Rule::Name { min: 1, max: 9 };
    let list = Rule::List { max: 3, of: "needs" };
    for (kind, rule, says) in [
        ("a Decimal", &amount, "takings.minor(…, currency)"),
        ("an int64", &amount, "int(…)"),
        ("an UUID", &name, "str(…)"),
        ("a bytes", &name, ".decode()"),
        ("None", &name, ""),
        ("a generator", &list, "list(…)"),
        ("a Line", &Rule::Object("a need"), "dataclasses.asdict(…)"),
        ("a bool_", &Rule::Bool, "bool(…)"),
        ("a timedelta", &Rule::Time { min_ms: 1, max_ms: 9 }, ".total_seconds()"),
    ] {
        let way_out = rule.way_out(kind, Voice::Python);
        assert!(way_out.contains(says) && way_out.is_empty() == says.is_empty(), "{kind}: {way_out}");
        assert_eq!(rule.way_out(kind, Voice::Json), "");
    }
    for (got, rule, says) in [
        ("the string \"60.00\"", &amount, "takings.minor(…, currency)"),
        ("the string \"5\"", &Rule::Integer { min: 1, max: 9, unit: "days" }, "tonumber(…)"),
        ("a string", &amount, ""),
        ("a number", &name, "tostring(…)"),
        ("a table", &list, "{…}"),
        ("a list", &Rule::Object("a need"), "names"),
        ("a number", &Rule::Secret, ""),
    ] {
        let hint = rule.hint(got, Voice::Lua);
        assert!(hint.contains(says) && hint.is_empty() == says.is_empty(), "{got}: {hint}");
        assert_eq!(rule.hint(got, Voice::Python), "");
    }
    assert!(amount.fraction(60.5, Voice::Lua).ends_with("60.5, a float; write 6000 for 60.00"));
    assert!(amount.fraction(60.0, Voice::Python).ends_with("60.0, a float; write 6000 for 60.00"));
}
