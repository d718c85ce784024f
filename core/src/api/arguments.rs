//! The arguments of calls beside order id and key: those of operations without a body of their own, the options of
//! every call that writes, and how both become a request.

use std::marker::PhantomData;
use std::time::Duration;

use serde::{Deserializer, Serialize};

use crate::api::ids::check_segment;
use crate::api::lines::{self, CheckLines, Tally};
use crate::api::options::{MAX_ATTEMPTS, Options, TIME};
use crate::api::order_requests::{
    AuthorizationRequest, CaptureArguments, CaptureShippingRequest, CustomerDetailsRequest, DueDateRequest,
    MerchantReferencesRequest, OrderArguments, OrderShippingRequest, ReconcileRefundRequest, RefundArguments,
    RefundRequest,
};
use crate::api::request::{CAPTURED_AMOUNT, CaptureRequest, ShippingInfo};
use crate::error::Error;
use crate::strict::{Copied, Field, Item, Object, Reader, Rule, Sink, Voice, Written, object};

/// Klarna's limit for a request body is 1 MB.
const MOST_BODY: usize = 1_000_000;

object! {
    /// The options of a call, beside the arguments of its operation: the limits of this call, and the caller's knowledge
    /// of its key.
    #[derive(Default)]
    pub(crate) struct CallOptions: "an option of a call" {
        /// Whether this is the first use of the idempotency key: no other process, and no earlier run of this one, can
        /// have sent it. Then a refusal is the whole truth. Keys that takings makes need it not.
        optional first_use "first_use": bool, Rule::Bool;
        /// When the idempotency key was sent first, in seconds since 1970 (UTC). Past Klarna's 24 hours nothing is
        /// sent, since Klarna would carry it out again.
        optional first_used "first_used": i64, Rule::Integer { min: 0, max: 253_402_300_799, unit: "seconds since 1970, UTC" };
        /// Whether an earlier call with the idempotency key may have been carried out elsewhere: in another process, on
        /// another host, or in this program before a crash. Then `rejected` is said only where Klarna refuses the bytes
        /// themselves; any other refusal, and a request that was not sent, is `outcome_unknown`.
        optional after_unclear "after_unclear": bool, Rule::Bool;
        /// Time for this call with all attempts and pauses, in place of the client's.
        optional timeout "timeout_ms": Duration, TIME;
        /// Requests this call may make, 1 to 20, in place of the client's.
        optional max_attempts "max_attempts": u32, MAX_ATTEMPTS;
        /// For a capture or a refund with a reference: whether the order is searched for it first. Found once, with this
        /// amount, it is the result, with a warning; otherwise it is made with its key. That costs one request more, and
        /// holds after Klarna's 24 hours too.
        optional look_first "look_first": bool, Rule::Bool;
    }
}

impl CallOptions {
    pub fn limits(&self) -> Options {
        Options { timeout: self.timeout, max_attempts: self.max_attempts }
    }

    /// The name of an option of the key that is given.
    pub fn of_the_key(&self) -> Option<&'static str> {
        let first_use = self.first_use.is_some().then_some("first_use");
        let first_used = self.first_used.is_some().then_some("first_used");
        let after_unclear = self.after_unclear.is_some().then_some("after_unclear");
        first_use.or(first_used).or(after_unclear).or(self.look_first.is_some().then_some("look_first"))
    }
}

object! {
    /// The capture that is searched for.
    pub(crate) struct ReconcileRequest: "a query for a capture" {
        /// The capture's own name, as its request gave it.
        required reference "reference": String, Rule::Name { min: 1, max: 255 };
        /// Its amount, in minor units (60.00 is 6000).
        required captured_amount "captured_amount": i64, CAPTURED_AMOUNT;
    }
}

/// The arguments of an operation, read and checked.
pub(crate) trait Arguments: Object + Field + Item {
    /// Their name in messages.
    const WHOLE: &'static str;

    /// A field by which two operations are taken for each other, and the way to the other one.
    const OTHER: Option<(&'static str, &'static str)> = None;

    /// The field with the amount of the order lines. A request that has it is written while it is read.
    const AMOUNT_OF_LINES: Option<&'static str> = None;

    /// Whether lines may be return fees.
    const HAS_RETURN_FEES: bool = false;

    /// The warning for a call that has neither a reference nor a key of the caller's.
    const CANNOT_BE_FOUND: Option<&'static str> = None;

    /// The body of the request; none for an operation without one.
    fn body(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Findings of arithmetic, as warnings; an error where that was asked for.
    fn findings(&self, _: CheckLines) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }

    /// The ids that stand in the path, by name.
    fn parameters(&self) -> Vec<(&'static str, &str)> {
        Vec::new()
    }

    /// The reference and the amount by which it is found again.
    fn identity(&self) -> Option<(&str, i64)> {
        None
    }
}

/// A reference that names something.
fn named(reference: Option<&String>, amount: i64) -> Option<(&str, i64)> {
    reference.filter(|reference| !reference.is_empty()).map(|reference| (reference.as_str(), amount))
}

pub(crate) fn written(arguments: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(arguments).expect("a request has no keys or numbers that JSON lacks")
}

/// An object with one field, for requests whose other arguments stand in the path.
fn only(name: &'static str, value: &impl Field) -> Vec<u8> {
    written(&std::collections::BTreeMap::from([(name, Written(value))]))
}

impl Arguments for CaptureRequest {
    const WHOLE: &'static str = "the request";
    const AMOUNT_OF_LINES: Option<&'static str> = Some("captured_amount");

    fn body(&self) -> Vec<u8> {
        written(self)
    }

    fn findings(&self, choice: CheckLines) -> Result<Vec<String>, Error> {
        lines::check(self.order_lines.as_deref(), ("captured_amount", self.captured_amount), choice)
    }

    fn identity(&self) -> Option<(&str, i64)> {
        named(self.reference.as_ref(), self.captured_amount)
    }
}

impl Arguments for RefundRequest {
    const WHOLE: &'static str = "the refund request";
    const AMOUNT_OF_LINES: Option<&'static str> = Some("refunded_amount");
    const HAS_RETURN_FEES: bool = true;
    const CANNOT_BE_FOUND: Option<&'static str> = Some(
        "without a reference and without an idempotency key of yours, nobody can find this refund again if its answer is lost",
    );

    fn body(&self) -> Vec<u8> {
        written(self)
    }

    fn findings(&self, choice: CheckLines) -> Result<Vec<String>, Error> {
        let amount = ("refunded_amount", self.refunded_amount);
        lines::check_return_fee(self.order_lines.as_deref(), amount)?;
        lines::check(self.order_lines.as_deref(), amount, choice)
    }

    fn identity(&self) -> Option<(&str, i64)> {
        named(self.reference.as_ref(), self.refunded_amount)
    }
}

impl Arguments for AuthorizationRequest {
    const WHOLE: &'static str = "the update of the authorization";
    const AMOUNT_OF_LINES: Option<&'static str> = Some("order_amount");

    fn body(&self) -> Vec<u8> {
        written(self)
    }

    fn findings(&self, choice: CheckLines) -> Result<Vec<String>, Error> {
        lines::check(Some(&self.order_lines), ("order_amount", self.order_amount), choice)
    }
}

impl Arguments for CustomerDetailsRequest {
    const WHOLE: &'static str = "the update of the customer's details";

    fn body(&self) -> Vec<u8> {
        written(self)
    }

    fn findings(&self, _: CheckLines) -> Result<Vec<String>, Error> {
        at_least_one_field("shipping_address", &self.shipping_address)
    }
}

impl Arguments for MerchantReferencesRequest {
    const WHOLE: &'static str = "the update of the merchant's references";

    fn body(&self) -> Vec<u8> {
        written(self)
    }

    fn findings(&self, _: CheckLines) -> Result<Vec<String>, Error> {
        at_least_one_field(Self::WHOLE, self)
    }
}

fn at_least_one_field<T: Object + Serialize>(what: &str, object: &T) -> Result<Vec<String>, Error> {
    match written(object).as_slice() {
        b"{}" => Err(Error::invalid(format!(
            "{what} is empty, and would change nothing; it must have at least one of {}",
            T::FIELDS.join(", ")
        ))),
        _ => Ok(Vec::new()),
    }
}

fn at_least_one_entry(shipping_info: &[ShippingInfo]) -> Result<Vec<String>, Error> {
    match shipping_info {
        [] => Err(Error::invalid("shipping_info is an empty list; it must be a list of 1 to 500 shipping infos")),
        _ => Ok(Vec::new()),
    }
}

impl Arguments for OrderShippingRequest {
    const WHOLE: &'static str = "the shipping info";
    const OTHER: Option<(&'static str, &'static str)> =
        Some(("capture_id", "for one capture there is append_shipping_info"));

    fn body(&self) -> Vec<u8> {
        written(self)
    }

    fn findings(&self, _: CheckLines) -> Result<Vec<String>, Error> {
        at_least_one_entry(&self.shipping_info)
    }
}

impl Arguments for CaptureShippingRequest {
    const WHOLE: &'static str = "the shipping info of a capture";
    const OTHER: Option<(&'static str, &'static str)> =
        Some(("capture_id", "for the order as a whole there is append_order_shipping_info"));

    fn body(&self) -> Vec<u8> {
        only("shipping_info", &self.shipping_info)
    }

    fn findings(&self, _: CheckLines) -> Result<Vec<String>, Error> {
        at_least_one_entry(&self.shipping_info)
    }

    fn parameters(&self) -> Vec<(&'static str, &str)> {
        vec![("capture_id", &self.capture_id)]
    }
}

impl Arguments for DueDateRequest {
    const WHOLE: &'static str = "the extension of a due date";

    fn body(&self) -> Vec<u8> {
        only("number_of_days", &self.number_of_days)
    }

    fn parameters(&self) -> Vec<(&'static str, &str)> {
        vec![("capture_id", &self.capture_id)]
    }
}

impl Arguments for OrderArguments {
    const WHOLE: &'static str = "the call";
}

impl Arguments for CaptureArguments {
    const WHOLE: &'static str = "the call";

    fn parameters(&self) -> Vec<(&'static str, &str)> {
        vec![("capture_id", &self.capture_id)]
    }
}

impl Arguments for RefundArguments {
    const WHOLE: &'static str = "the call";

    fn parameters(&self) -> Vec<(&'static str, &str)> {
        vec![("refund_id", &self.refund_id)]
    }
}

impl Arguments for ReconcileRefundRequest {
    const WHOLE: &'static str = "the query for a refund";

    fn identity(&self) -> Option<(&str, i64)> {
        Some((&self.reference, self.refunded_amount))
    }
}

impl Arguments for ReconcileRequest {
    const WHOLE: &'static str = "the query for a capture";

    fn identity(&self) -> Option<(&str, i64)> {
        Some((&self.reference, self.captured_amount))
    }
}

/// The choices of a client about what it is given.
#[derive(Clone, Copy)]
pub(crate) struct Reading {
    pub accept_unknown_values: bool,
    pub check_lines: CheckLines,
    /// The language of values that are no JSON text.
    pub voice: Voice,
}

/// Arguments that have been checked.
#[derive(Debug)]
pub(crate) struct Checked {
    pub options: CallOptions,
    pub parameters: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    pub warnings: Vec<String>,
    pub identity: Option<(String, i64)>,
    /// The warning for a call without a key of the caller's.
    pub cannot_be_found: Option<&'static str>,
}

/// Reads arguments from any serde source, as strictly as JSON.
pub(crate) fn read<'de, A: Arguments, D: Deserializer<'de>>(source: D, reading: Reading) -> Result<Checked, Error> {
    let reader = Reader::new(A::WHOLE, reading.accept_unknown_values).in_units_of(reading.voice);
    match A::AMOUNT_OF_LINES {
        Some(amount) => written_checked::<A>(reader.read_both(source, copied::<A>(amount, FEW_BYTES))?, reading),
        None => options_checked::<A>(reader.read_two(source).map_err(way_to_other::<A>)?, reading),
    }
}

/// Most requests have a line or two.
const FEW_BYTES: usize = 512;

/// The same from JSON text.
pub(crate) fn read_json<A: Arguments>(text: &str, reading: Reading) -> Result<Checked, Error> {
    let reader = || Reader::new(A::WHOLE, reading.accept_unknown_values);
    let Some(amount) = A::AMOUNT_OF_LINES else {
        return options_checked::<A>(reader().json_two(text).map_err(way_to_other::<A>)?, reading);
    };
    let mut tally = Tally::new(A::SCHEMA.name, amount);
    let both = match reader().plain_two::<CallOptions, A>(text, &mut tally) {
        Some((options, body)) => (options, (body, tally)),
        None => reader().json_both(text, copied::<A>(amount, text.len()))?,
    };
    written_checked::<A>(both, reading)
}

/// The place of a request that is written while it is read.
fn copied<A: Arguments>(amount: &'static str, expected: usize) -> Copied<A, Tally> {
    Copied(Sink::new(expected, Tally::new(A::SCHEMA.name, amount)), PhantomData)
}

/// Adds the way to the other operation to a refusal that shows that it was meant.
fn way_to_other<A: Arguments>(refused: Error) -> Error {
    let Some((field, way)) = A::OTHER else { return refused };
    match refused.message().strip_prefix(field) {
        Some(rest) if rest.starts_with(" is missing") || rest.starts_with(" is not a field") => {
            Error::invalid(format!("{}; {way}", refused.message()))
        }
        _ => refused,
    }
}

fn options_checked<A: Arguments>((options, arguments): (CallOptions, A), reading: Reading) -> Result<Checked, Error> {
    contradiction(&options)?;
    checked(&arguments, options, reading)
}

/// Checks the rest of a request that was written while it was read.
fn written_checked<A: Arguments>(
    (options, (body, tally)): (CallOptions, (Vec<u8>, Tally)),
    reading: Reading,
) -> Result<Checked, Error> {
    contradiction(&options)?;
    let identity = tally.identity();
    let warnings = tally.findings(A::HAS_RETURN_FEES, reading.check_lines)?;
    fits::<A>(&body)?;
    let cannot_be_found = A::CANNOT_BE_FOUND.filter(|_| identity.is_none());
    Ok(Checked { options, parameters: Vec::new(), body, warnings, identity, cannot_be_found })
}

/// Options that contradict each other.
fn contradiction(options: &CallOptions) -> Result<(), Error> {
    if options.first_use == Some(true) && options.first_used.is_some() {
        return Err(Error::invalid("first_use and first_used are both given; it must be one of them"));
    }
    if options.first_use == Some(true) && options.after_unclear == Some(true) {
        return Err(Error::invalid("first_use and after_unclear are both true; one of them is wrong"));
    }
    Ok(())
}

/// Checks arguments that a program built field by field.
pub(crate) fn check<A: Arguments>(arguments: &A, reading: Reading) -> Result<Checked, Error> {
    arguments.check(&Reader::new(A::WHOLE, true).root(), &A::RULE)?;
    checked(arguments, CallOptions::default(), reading)
}

/// Arguments that keep their rules become a request: their arithmetic is looked at, and the body is written.
fn checked<A: Arguments>(arguments: &A, options: CallOptions, reading: Reading) -> Result<Checked, Error> {
    let warnings = arguments.findings(reading.check_lines)?;
    let body = arguments.body();
    fits::<A>(&body)?;
    let identity = arguments.identity().map(|(reference, amount)| (reference.to_owned(), amount));
    let mut parameters = Vec::new();
    for (name, id) in arguments.parameters() {
        check_segment(name, id, name.trim_end_matches("_id"))?;
        parameters.push((name, id.to_owned()));
    }
    let cannot_be_found = A::CANNOT_BE_FOUND.filter(|_| identity.is_none());
    Ok(Checked { options, parameters, body, warnings, identity, cannot_be_found })
}

fn fits<A: Arguments>(body: &[u8]) -> Result<(), Error> {
    match body.len() {
        0..=MOST_BODY => Ok(()),
        length => Err(Error::invalid(format!(
            "{} is {length} bytes of JSON; it must be at most {MOST_BODY}; shorten the texts of the order lines",
            A::WHOLE
        ))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::request::OrderLine;

    /// The outcome of reading a text in a single walk, as that of a source beside JSON text, and value by value.
    fn ways<A: Arguments>(text: &str, reading: Reading) -> [String; 3] {
        let reader = || Reader::new(A::WHOLE, reading.accept_unknown_values);
        let amount = A::AMOUNT_OF_LINES.expect("a request with lines");
        let shown = |outcome: Result<Checked, Error>| format!("{:?}", outcome.map_err(|error| error.to_json()));
        let copied = reader().json_both(text, copied::<A>(amount, 0));
        [
            shown(read_json::<A>(text, reading)),
            shown(copied.and_then(|both| written_checked::<A>(both, reading))),
            shown(reader().json_two(text).and_then(|both| options_checked::<A>(both, reading))),
        ]
    }

    fn agree(text: &str) -> String {
        let mut last = String::new();
        for accept_unknown_values in [false, true] {
            for check_lines in [CheckLines::Refuse, CheckLines::Warn, CheckLines::Off] {
                let reading = Reading { accept_unknown_values, check_lines, voice: Voice::Json };
                for [walked, copied, read] in [
                    ways::<RefundRequest>(text, reading),
                    ways::<AuthorizationRequest>(text, reading),
                    ways::<CaptureRequest>(text, reading),
                ] {
                    assert_eq!(walked, read, "{text}");
                    assert_eq!(copied, read, "{text}");
                    last = walked;
                }
            }
        }
        last
    }

    fn is_plain(text: &str) -> bool {
        let reader = Reader::new("the request", false);
        let mut tally = Tally::new("CaptureRequest", "captured_amount");
        reader.plain_two::<CallOptions, CaptureRequest>(text, &mut tally).is_some()
    }

    const LINE: &str = r#"{"name":"n","quantity":2,"unit_price":3,"total_amount":6}"#;

    #[test]
    fn one_walk_writes_what_the_values_write() {
        let with = |more: &str| format!(r#"{{"captured_amount":6{more}}}"#);
        for text in [
            include_str!("../../../examples/capture.json").to_owned(),
            with(""),
            with(&format!(r#","order_lines":[{LINE}],"shipping_delay":0"#)),
            with(&format!(r#","order_lines": [ {LINE} , {LINE},{LINE} ]"#)),
            with(r#","order_lines":[],"shipping_info":[{}]"#),
            with(r#","reference":"a\"b\\\u00fc\/","description":"ü\u007f""#).replace("\\u007f", "é"),
            with(r#","order_lines":[{"name":"a\u0026","unit_price":3,"quantity":2,"total_amount":6}]"#),
            with(r#","order_lines":[{"total_amount":-6,"name":"","quantity":2,"unit_price":-3,"type":"discount"}]"#),
            with(r#","first_use":true,"timeout_ms":5000,"max_attempts":2"#),
            format!("\u{feff}  {}\n", with("")),
        ] {
            assert!(is_plain(&text), "{text}");
            assert!(agree(&text).starts_with("Ok("), "{text}");
        }
    }

    #[test]
    fn whatever_is_not_plain_is_read_by_its_values() {
        for more in [
            r#","captured_amount":6"#,
            r#","zzz":1"#,
            r#","reference":null"#,
            r#","reference":"a "#,
            r#","reference":" a""#,
            r#","description":"\u0007""#,
            r#","description":"\ud800""#,
            r#","shipping_delay":1.0"#,
            r#","shipping_delay":-0"#,
            r#","shipping_delay":01"#,
            r#","shipping_delay":9223372036854775807"#,
            r#","shipping_delay":99999999999999999999"#,
            r#","shipping_delay":-1"#,
            r#","order_lines":[{}]"#,
            r#","order_lines":{}"#,
            r#","order_lines":[,]"#,
            r#","shipping_info":[{"shipping_method":"Carrier"}]"#,
            r#","first_use":1"#,
            r#","first_use":true,"first_use":true"#,
            r#","first_use":true,"after_unclear":true"#,
            r#","reference":123""#,
            r#","reference":ü""#,
            r#","description":x\u0041""#,
            "}",
            ",",
        ] {
            let text = format!(r#"{{"captured_amount":6{more}}}"#);
            agree(&text);
        }
        let lines = |count| format!(r#"{{"captured_amount":6,"order_lines":[{}]}}"#, vec![LINE; count].join(","));
        assert!(is_plain(&lines(1000)) && !is_plain(&lines(1001)));
        agree(&lines(1001));
    }

    const TOKENS: [&str; 30] = [
        "6",
        "6",
        "6",
        "0",
        "-6",
        "-0",
        "06",
        "6.0",
        "6e0",
        "9223372036854775807",
        "99999999999999999999",
        "null",
        "true",
        "\"x\"",
        "\"x\"",
        "\"return_fee\"",
        "\"ü\"",
        "\"\\u00fc\\n\"",
        "\" x\"",
        "\"\\\"\"",
        "\"\"",
        "[]",
        "{}",
        "[[]]",
        "\"x",
        "6\"",
        "ü\"",
        "[{}]",
        "\"\\x\"",
        "",
    ];

    fn object(names: &'static [&'static str]) -> impl Strategy<Value = String> {
        let blank = prop_oneof![8 => Just(""), 1 => Just(" "), 1 => Just("\n\t ")];
        let pair = (0..names.len(), 0..TOKENS.len() * 2, blank).prop_map(|(name, token, blank)| {
            // Half of all values are of the kind that most fields have.
            let usual = if names[name].contains("name") || names[name].contains("reference") { "\"x\"" } else { "6" };
            let token = TOKENS.get(token).unwrap_or(&usual);
            format!("{blank}\"{}\"{blank}:{token}{blank}", names[name])
        });
        prop::collection::vec(pair, 0..6).prop_map(|pairs| pairs.join(","))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_read_alike(
            outer in object(&["captured_amount", "refunded_amount", "order_amount", "reference", "first_use", "timeout_ms", "typo"]),
            lines in prop::collection::vec(object(OrderLine::FIELDS), 0..3),
            is_good in any::<bool>(),
            cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
        ) {
            let mut lines: Vec<String> = lines.into_iter().map(|line| format!("{{{line}}}")).collect();
            if is_good {
                lines.iter_mut().for_each(|line| *line = LINE.replace("\"n\"", "\"n\", \"tax_rate\":\n6"));
                lines.push(LINE.to_owned());
            }
            let amount = r#""captured_amount":6,"refunded_amount":6"#;
            let mut texts = vec![
                format!(r#"{{{outer},"order_lines":[{}]}}"#, lines.join(",")),
                format!(r#"{{"order_lines":[{}],"captured_amount":6}}"#, lines.join(",")),
                format!(r#"{{"refunded_amount":12,"order_lines":[{}]}}"#, lines.join(" ,")),
                format!(r#"{{{amount},{outer}}}"#),
            ];
            if let Some(cut) = cut {
                for text in &mut texts {
                    let at = (0..=cut.index(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
                    text.remove(at);
                }
            }
            texts.iter().for_each(|text| drop(agree(text)));
        }
    }
}
