//! Input appears on the wire as it was given, or it is refused and nothing is sent: random numbers and texts, in every
//! field, through every surface. A field must take every value that it may hold, so that refusing everything fails.
//!
//! `PROPTEST_CASES=10000 cargo test --test conformance properties` tries more cases.

mod money;

use std::cell::RefCell;
use std::io::{BufRead as _, Write as _};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};
use takings_sandbox::{Options, Received, Sandbox};

use crate::judge::header;
use crate::run::Run;

/// Every whole number of a request, with its range.
const NUMBERS: [(&str, i128, i128); 9] = [
    ("/captured_amount", 1, AMOUNT),
    ("/shipping_delay", 0, MOST),
    ("/order_lines/0/quantity", 0, MOST),
    ("/order_lines/0/unit_price", LEAST, AMOUNT),
    ("/order_lines/0/tax_rate", 0, i32::MAX as i128),
    ("/order_lines/0/total_amount", LEAST, AMOUNT),
    ("/order_lines/0/total_discount_amount", 0, AMOUNT),
    ("/order_lines/0/total_tax_amount", LEAST, AMOUNT),
    ("/order_lines/0/subscription/interval_count", 1, MOST),
];
const AMOUNT: i128 = 200_000_000;
const MOST: i128 = i64::MAX as i128;
const LEAST: i128 = i64::MIN as i128;
/// The number from which on floats skip whole numbers.
const FLOATS_SKIP: i128 = 1 << 53;

/// Every text of a request that is not one of a few words, with its greatest length.
const TEXTS: [(&str, usize); 22] = [
    ("/reference", 255),
    ("/description", 255),
    ("/order_lines/0/reference", 255),
    ("/order_lines/0/name", 255),
    ("/order_lines/0/quantity_unit", 10),
    ("/order_lines/0/merchant_data", 1024),
    ("/order_lines/0/product_url", 1024),
    ("/order_lines/0/image_url", 1024),
    ("/order_lines/0/product_identifiers/brand", 70),
    ("/order_lines/0/product_identifiers/category_path", 750),
    ("/order_lines/0/product_identifiers/global_trade_item_number", 50),
    ("/order_lines/0/product_identifiers/manufacturer_part_number", 70),
    ("/order_lines/0/product_identifiers/color", 64),
    ("/order_lines/0/product_identifiers/size", 64),
    ("/order_lines/0/subscription/name", 255),
    ("/shipping_info/0/shipping_company", 100),
    ("/shipping_info/0/tracking_number", 100),
    ("/shipping_info/0/tracking_uri", 1024),
    ("/shipping_info/0/return_shipping_company", 100),
    ("/shipping_info/0/return_tracking_number", 100),
    ("/shipping_info/0/return_tracking_uri", 1024),
    // a second one, for a list that grows
    ("/shipping_info/1/tracking_number", 100),
];

/// A request with all that the fields above are in.
fn request() -> Value {
    json!({
        "captured_amount": 1,
        "order_lines": [{
            "name": "n", "quantity": 1, "unit_price": 1, "total_amount": 1,
            "product_identifiers": {"brand": "b"},
            "subscription": {"name": "n", "interval": "DAY", "interval_count": 1},
        }],
        "shipping_info": [{"shipping_company": "c"}, {"shipping_company": "c"}],
    })
}

fn put(request: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    let members = request.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
    members.insert(name.into(), value);
}

/// The request with `literal` at a place, whatever JSON it is.
fn with_literal(pointer: &str, literal: &[u8]) -> Vec<u8> {
    const PLACE: &str = "\"@@\"";
    let mut request = request();
    put(&mut request, pointer, "@@".into());
    let text = request.to_string();
    let (before, after) = text.split_once(PLACE).expect("its place");
    [before.as_bytes(), literal, after.as_bytes()].concat()
}

/// A text of UTF-16 units, which may be invalid: strings of Python and Lua can hold half of a surrogate pair.
#[derive(Clone, Debug)]
struct Text {
    units: Vec<u16>,
    /// Written into JSON with escapes only.
    escaped: bool,
}

impl Text {
    fn new(text: &str) -> Text {
        Text { units: text.encode_utf16().collect(), escaped: false }
    }

    fn string(&self) -> Option<String> {
        String::from_utf16(&self.units).ok()
    }

    /// As a JSON string.
    fn json(&self) -> Vec<u8> {
        let mut json = String::from("\"");
        for unit in char::decode_utf16(self.units.iter().copied()) {
            match unit {
                Ok(c) if !self.escaped && !c.is_control() && c != '"' && c != '\\' => json.push(c),
                Ok(c) => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| json += &format!("\\u{unit:04x}")),
                Err(half) => json += &format!("\\u{:04x}", half.unpaired_surrogate()),
            }
        }
        (json + "\"").into_bytes()
    }

    /// The bytes of a C string; half of a pair becomes bytes that are not UTF-8.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for unit in char::decode_utf16(self.units.iter().copied()) {
            match unit {
                Ok(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                Err(half) => {
                    let half = half.unpaired_surrogate();
                    bytes.extend([0xed, 0x80 | (half >> 6 & 0x3f) as u8, 0x80 | (half & 0x3f) as u8]);
                }
            }
        }
        bytes
    }
}

/// Characters that are known to cause faults: quotes, ends of strings and lines, marks that combine, directions, other
/// planes, halves of pairs.
fn text(longest: usize) -> impl Strategy<Value = Text> {
    const ODD: [&str; 24] = [
        "\"",
        "\\",
        "/",
        "\\u0041",
        "\u{0}",
        "\t",
        "\n",
        "\r\n",
        "\u{7f}",
        "\u{85}",
        "\u{9f}",
        "\u{a0}",
        "\u{301}",
        "e\u{301}",
        "\u{200b}",
        "\u{202e}",
        "\u{2028}",
        "\u{feff}",
        "\u{fffd}",
        "\u{ffff}",
        "\u{1f4b6}",
        "\u{10ffff}",
        "%00",
        "'); --",
    ];
    let piece = prop_oneof![
        8 => any::<char>().prop_filter("a control character ends most texts early", |c| !c.is_control())
            .prop_map(|c| Text::new(&c.to_string()).units),
        4 => "[a-zA-Z0-9 .-]{1,8}".prop_map(|text| Text::new(&text).units),
        2 => select(&ODD[11..]).prop_map(|text| Text::new(text).units),
        1 => select(&ODD[..]).prop_map(|text| Text::new(text).units),
    ];
    let half = (0xd800_u16..0xe000).prop_map(|half| vec![half]);
    let pieces = prop_oneof![
        12 => vec(piece.clone(), 0..12),
        1 => (vec(piece, 1..4), half).prop_map(|(mut pieces, half)| { pieces.push(half); pieces.rotate_right(1); pieces }),
        // at and beyond the limit, in characters of two units each
        2 => (longest - 1..=longest + 1, select(vec!["a", "\u{f6}", "\u{1f4b6}"]))
            .prop_map(|(count, c)| vec![Text::new(&c.repeat(count)).units]),
    ];
    (pieces, any::<bool>()).prop_map(|(pieces, escaped)| Text { units: pieces.concat(), escaped })
}

/// JSON where a number is expected: whole numbers of all magnitudes, and other values.
fn number() -> impl Strategy<Value = String> {
    let near = (0_u32..70, -2_i128..=2, any::<bool>()).prop_map(|(bits, off, minus)| {
        let n = (1_i128 << bits) + off;
        (if minus { -n } else { n }).to_string()
    });
    prop_oneof![
        4 => near,
        4 => any::<i64>().prop_map(|n| n.to_string()),
        4 => (-10_i64..200_000_100).prop_map(|n| n.to_string()),
        1 => (AMOUNT - 2..AMOUNT + 3).prop_map(|n| n.to_string()),
        1 => any::<i128>().prop_map(|n| n.to_string()),
        2 => any::<f64>().prop_filter("JSON has no others", |n| n.is_finite()).prop_map(|n| format!("{n:?}")),
        1 => (1_i64..1_000_000).prop_map(|n| format!("{n}.0")),
        1 => (1_i64..1_000_000, 1_u32..100).prop_map(|(n, cents)| format!("{n}.{cents:02}")),
        1 => (1_i64..100, 0_u32..30).prop_map(|(n, e)| format!("{n}e{e}")),
        1 => (1_i64..1000).prop_map(|n| format!("\"{n}\"")),
        1 => select(vec!["true", "false", "null", "\"\"", "[1]", "[]", "{}", "-0", "-0.0", "1E400", "\"1e3\"", "\"NaN\""])
            .prop_map(str::to_owned),
    ]
}

/// A surface with the server behind it.
struct Bench {
    run: Run,
    sandbox: Sandbox,
}

const ORDER: &str = "f3392f8b-6116-4073-ab96-e330819e2c07";

/// The arguments of a call; an absent one gets its usual value.
#[derive(Default)]
struct Given<'a> {
    config: Option<Map<String, Value>>,
    order_id: Option<&'a Text>,
    request: Option<&'a [u8]>,
    key: Option<&'a Text>,
}

impl Bench {
    fn new(name: &'static str) -> RefCell<Bench> {
        let sandbox = Sandbox::start(Options::default()).expect("a sandbox");
        let mut bench = Bench { run: Run::new(name), sandbox };
        let config = bench.config();
        bench.send(Given { config: Some(config), ..Given::default() });
        RefCell::new(bench)
    }

    fn config(&self) -> Map<String, Value> {
        let config = json!({"base_url": self.sandbox.url(), "username": "sandbox", "password": "sandbox"});
        config.as_object().expect("an object").clone()
    }

    fn is_lua(&self) -> bool {
        self.run.name.starts_with("lua")
    }

    /// Whether the language has no other numbers than floats.
    fn has_floats_only(&self) -> bool {
        matches!(self.run.name, "lua5.1" | "lua5.2" | "luajit")
    }

    /// Whether a text can be handed to this language at all.
    fn can_say(&self, text: &Text) -> bool {
        match self.run.name {
            "rust" => text.string().is_some(),
            "c" => !text.units.contains(&0),
            _ => true,
        }
    }

    fn line(&mut self, line: &[u8]) -> Value {
        let surface = &mut self.run.surface;
        surface.input.write_all(&[line, b"\n"].concat()).and_then(|()| surface.input.flush()).expect("the adapter");
        let mut answer = String::new();
        surface.output.read_line(&mut answer).expect("an answer");
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("the adapter says {answer:?} ({error})"))
    }

    /// Makes a call: its outcome, and what has reached the server.
    fn send(&mut self, given: Given<'_>) -> (Value, Vec<Received>) {
        let order = Text::new(ORDER);
        let order = given.order_id.unwrap_or(&order);
        let request = given.request.unwrap_or(br#"{"captured_amount":1}"#);
        let config = given.config.map(|config| Value::from(config).to_string().into_bytes());
        let line = if self.run.surface.fields {
            let has_key: &[u8] = if given.key.is_some() { b"1" } else { b"0" };
            let key = given.key.map(Text::bytes).unwrap_or_default();
            fields(&[b"capture", &config.unwrap_or_default(), &order.bytes(), request, has_key, &key])
        } else {
            let mut line = [br#"{"order_id":"#, &order.json()[..], br#","request_text":"#, &quoted(request)].concat();
            if let Some(key) = given.key {
                line.extend([br#","idempotency_key":"#, &key.json()[..]].concat());
            }
            if let Some(config) = config {
                line.extend([br#","config":"#, &config[..]].concat());
            }
            line.push(b'}');
            line
        };
        let answer = self.line(&line);
        let requests = self.sandbox.requests();
        self.sandbox.reset();
        (answer, requests)
    }

    fn derive(&mut self, order_id: &Text, name: &Text) -> Value {
        let line = if self.run.surface.fields {
            fields(&[b"derive", &order_id.bytes(), &name.bytes()])
        } else {
            [br#"{"derive":["#, &order_id.json()[..], b",", &name.json(), b"]}"].concat()
        };
        self.line(&line)
    }
}

/// The line of the adapters in C and C++.
fn fields(fields: &[&[u8]]) -> Vec<u8> {
    let encoded = fields.iter().map(|field| {
        field.iter().fold(String::new(), |text, byte| match byte {
            b'!'..=b'~' if *byte != b'%' => text + char::from(*byte).encode_utf8(&mut [0; 4]),
            _ => text + &format!("%{byte:02X}"),
        })
    });
    encoded.collect::<Vec<_>>().join("\t").into_bytes()
}

/// Bytes as a JSON string, as they are.
fn quoted(bytes: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'"'];
    for byte in bytes {
        match byte {
            b'"' | b'\\' => quoted.extend([b'\\', *byte]),
            0..0x20 => quoted.extend(format!("\\u{byte:04x}").bytes()),
            _ => quoted.push(*byte),
        }
    }
    quoted.push(b'"');
    quoted
}

type Verdict = Result<(), TestCaseError>;

fn refused((answer, requests): &(Value, Vec<Received>)) -> Verdict {
    prop_assert!(requests.is_empty(), "refused with {}, but sent", answer);
    prop_assert_eq!(&answer["error"]["kind"], "invalid_input", "{}", answer);
    let message = answer["error"]["message"].as_str().unwrap_or_default();
    prop_assert!(!message.is_empty() && !message.chars().any(char::is_control), "{:?}", message);
    Ok(())
}

/// Checks that a request was sent once, and gives it. (The sandbox does not know the order, so it refuses the request.)
fn sent((answer, requests): &(Value, Vec<Received>)) -> Result<&Received, TestCaseError> {
    prop_assert!(requests.len() == 1, "{} requests, {}", requests.len(), answer);
    prop_assert_eq!(&answer["error"]["kind"], "rejected", "{}", answer);
    Ok(&requests[0])
}

fn body(request: &Received) -> Value {
    serde_json::from_slice(&request.body).expect("the body is JSON")
}

/// Runs a property; `PROPTEST_CASES` of proptest's usual 256 scale the number of cases.
fn check<S: Strategy>(cases: u32, strategy: S, property: impl Fn(S::Value) -> Verdict) {
    let cases = cases * Config::default().cases / 256;
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 4096, ..Config::default() };
    if let Err(error) = TestRunner::new(config).run(&strategy, property) {
        panic!("{error}");
    }
}

fn numbers(bench: &RefCell<Bench>) {
    check(300, (select(&NUMBERS[..]), number()), |((pointer, min, max), literal)| {
        let mut bench = bench.borrow_mut();
        let result =
            bench.send(Given { request: Some(&with_literal(pointer, literal.as_bytes())), ..Given::default() });
        let exact: Option<i128> = literal.parse().ok();
        // A language with floats alone cannot tell 60.0 from 60.
        let float: Option<f64> = literal.parse().ok().filter(|_| bench.is_lua());
        let float = float.filter(|n| n.fract() == 0.0 && n.abs() < FLOATS_SKIP as f64).map(|n| n as i128);
        let may = |n: &i128| (min..=max).contains(n);
        let must = exact.filter(may).filter(|n| n.abs() < FLOATS_SKIP || !bench.has_floats_only());
        if result.1.is_empty() {
            prop_assert!(must.is_none() || literal == "-0", "{} at {} was refused: {}", literal, pointer, result.0);
            return refused(&result);
        }
        let Some(n) = exact.or(float).filter(may) else {
            return Err(TestCaseError::fail(format!("{literal} at {pointer} was sent: {:?}", body(sent(&result)?))));
        };
        let mut expected = request();
        put(&mut expected, pointer, json!(i64::try_from(n).expect("within the limits")));
        prop_assert_eq!(body(sent(&result)?), expected);
        Ok(())
    });
}

fn texts(bench: &RefCell<Bench>) {
    let place_and_text = select(&TEXTS[..]).prop_flat_map(|(pointer, max)| (Just(pointer), Just(max), text(max)));
    check(400, place_and_text, |(pointer, max, text)| {
        let literal = with_literal(pointer, &text.json());
        let result = bench.borrow_mut().send(Given { request: Some(&literal), ..Given::default() });
        let fits = |text: &String| text.chars().count() <= max && !text.chars().any(char::is_control);
        let Some(text) = text.string().filter(fits) else { return refused(&result) };
        // The reference identifies the capture.
        if pointer == "/reference" && result.1.is_empty() {
            prop_assert!(may_be_odd(&text), "{}", result.0);
            return refused(&result);
        }
        let mut expected = request();
        put(&mut expected, pointer, text.into());
        prop_assert_eq!(body(sent(&result)?), expected);
        Ok(())
    });
}

/// All fields together, each present or absent: no field takes the place of another.
fn whole_requests(bench: &RefCell<Bench>) {
    let filled = (
        proptest::sample::subsequence(&TEXTS[..], 0..TEXTS.len()),
        proptest::sample::subsequence(&NUMBERS[..], 0..NUMBERS.len()),
        vec((1_i64..1000, "[ -~\u{a0}-\u{d7ff}\u{e000}-\u{10ffff}]{0,8}"), TEXTS.len()),
    );
    check(60, filled, |(texts, numbers, values)| {
        let mut expected = request();
        for ((pointer, _), (_, text)) in texts.iter().zip(&values) {
            // The reference identifies the capture, so not every text can be one.
            let text: String = text.chars().filter(|c| pointer != &"/reference" || c.is_ascii_alphanumeric()).collect();
            put(&mut expected, pointer, text.into());
        }
        for ((pointer, ..), (number, _)) in numbers.iter().zip(&values) {
            put(&mut expected, pointer, json!(number));
        }
        let text = expected.to_string();
        let result = bench.borrow_mut().send(Given { request: Some(text.as_bytes()), ..Given::default() });
        prop_assert_eq!(body(sent(&result)?), expected);
        Ok(())
    });
}

/// Bytes that are not UTF-8, where a language's strings can hold them.
fn no_texts(bench: &RefCell<Bench>) {
    if matches!(bench.borrow().run.name, "rust" | "python") {
        return;
    }
    let bytes = vec(0x20_u8.., 1..12).prop_filter("text", |bytes| std::str::from_utf8(bytes).is_err());
    check(60, (select(&TEXTS[..]), bytes), |((pointer, _), bytes)| {
        // Neither of these two may end the JSON string.
        let bytes: Vec<u8> = bytes.into_iter().filter(|byte| !b"\"\\".contains(byte)).collect();
        if std::str::from_utf8(&bytes).is_ok() {
            return Ok(());
        }
        let literal = with_literal(pointer, &[b"\"", &bytes[..], b"\""].concat());
        refused(&bench.borrow_mut().send(Given { request: Some(&literal), ..Given::default() }))
    });
}

/// Whether a text may be refused where it identifies something. Beyond ASCII the core's own tests say which texts are.
fn may_be_odd(text: &str) -> bool {
    !text.is_ascii() || text.starts_with(' ') || text.ends_with(' ')
}

fn order_ids(bench: &RefCell<Bench>) {
    check(120, text(255), |order_id| {
        let mut bench = bench.borrow_mut();
        if !bench.can_say(&order_id) {
            return Ok(());
        }
        let result = bench.send(Given { order_id: Some(&order_id), ..Given::default() });
        let fits = |id: &String| {
            (1..=255).contains(&id.chars().count())
                && ![".", ".."].contains(&id.as_str())
                && !id.chars().any(|c| c.is_control() || "/\\".contains(c))
        };
        let Some(order_id) = order_id.string().filter(fits) else { return refused(&result) };
        if result.1.is_empty() {
            prop_assert!(may_be_odd(&order_id), "{}", result.0);
            return refused(&result);
        }
        let request = sent(&result)?;
        let segment = request.target.strip_prefix("/ordermanagement/v1/orders/");
        let segment = segment.and_then(|rest| rest.strip_suffix("/captures")).unwrap_or_default();
        let decoded = percent_decoded(segment);
        prop_assert_eq!(decoded.as_deref(), Some(order_id.as_bytes()), "{}", &request.target);
        prop_assert_eq!(&result.0["error"]["order_id"], &*order_id);
        Ok(())
    });
}

/// The decoded segment; absent where a character with a meaning in URLs is not encoded.
fn percent_decoded(segment: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => byte,
            _ => return None,
        });
    }
    Some(bytes)
}

fn keys(bench: &RefCell<Bench>) {
    let graphic = "[!-~]{1,40}|[!-~]{250,260}".prop_map(|key| Text::new(&key));
    check(120, prop_oneof![graphic, text(255)], |key| {
        let mut bench = bench.borrow_mut();
        if !bench.can_say(&key) {
            return Ok(());
        }
        let result = bench.send(Given { key: Some(&key), ..Given::default() });
        let fits = |key: &String| (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
        let Some(key) = key.string().filter(fits) else { return refused(&result) };
        prop_assert_eq!(header(sent(&result)?, "klarna-idempotency-key"), Some(&*key));
        prop_assert_eq!(&result.0["error"]["idempotency_key"], &*key);
        Ok(())
    });
}

/// Every language derives the same key from the same texts.
fn derived_keys(bench: &RefCell<Bench>) {
    check(120, (text(255), text(255)), |(order_id, name)| {
        let mut bench = bench.borrow_mut();
        if !bench.can_say(&order_id) || !bench.can_say(&name) {
            return Ok(());
        }
        let answer = bench.derive(&order_id, &name);
        let texts = order_id.string().zip(name.string());
        match texts.and_then(|(order_id, name)| takings::idempotency_key(&order_id, &name).ok()) {
            Some(key) => prop_assert_eq!(answer, json!({"key": key})),
            None => refused(&(answer, Vec::new()))?,
        }
        Ok(())
    });
}

/// The credentials reach the server as they were given.
fn credentials(bench: &RefCell<Bench>) {
    let pair = (text(40), text(40)).prop_filter("JSON can say it", |(username, password)| {
        username.string().is_some() && password.string().is_some()
    });
    check(40, pair, |(username, password)| {
        let mut bench = bench.borrow_mut();
        let (username, password) = (username.string().expect("a text"), password.string().expect("a text"));
        let mut config = bench.config();
        config.insert("username".into(), username.as_str().into());
        config.insert("password".into(), password.as_str().into());
        let result = bench.send(Given { config: Some(config), ..Given::default() });
        let is_usual = |text: &str| {
            let ends = [text.bytes().next(), text.bytes().next_back()];
            text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
                && ends.iter().all(|end| end.is_some_and(|byte| byte.is_ascii_alphanumeric()))
        };
        let must = is_usual(&username) && is_usual(&password) && !username.contains(':');
        if must || !result.1.is_empty() {
            let basic = format!("Basic {}", base64(format!("{username}:{password}").as_bytes()));
            prop_assert!(result.1.len() == 1, "{}", result.0);
            prop_assert_eq!(header(&result.1[0], "authorization"), Some(&*basic));
        } else {
            refused(&result)?;
        }
        // The adapter keeps its last client, and may keep none after settings that were refused.
        let config = bench.config();
        bench.send(Given { config: Some(config), ..Given::default() });
        Ok(())
    });
}

/// Base64 (RFC 4648), written a second time for comparison.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let is_padding = digit > chunk.len();
            out.push(if is_padding { '=' } else { char::from(DIGITS[(word >> (18 - 6 * digit) & 63) as usize]) });
        }
    }
    out
}

macro_rules! surfaces {
    ($($test:ident = $name:literal),* $(,)?) => {
        $(#[test]
        fn $test() {
            let bench = Bench::new($name);
            numbers(&bench);
            texts(&bench);
            whole_requests(&bench);
            no_texts(&bench);
            order_ids(&bench);
            keys(&bench);
            derived_keys(&bench);
            credentials(&bench);
        })*
    };
}

surfaces! {
    rust = "rust",
    c = "c",
    cpp = "cpp",
    python = "python",
    lua_5_1 = "lua5.1",
    lua_5_2 = "lua5.2",
    lua_5_3 = "lua5.3",
    lua_5_4 = "lua5.4",
    luajit = "luajit",
}
