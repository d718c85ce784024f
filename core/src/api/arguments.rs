//! The arguments of calls beside order id and key: those of operations without a body of their own, the options of
//! every call that writes, and how both become a request.

use std::time::Duration;

use serde::{Deserializer, Serialize};

use crate::api::ids::check_segment;
use crate::api::lines::{self, CheckLines};
use crate::api::options::{MAX_ATTEMPTS, Options, TIME};
use crate::api::order_requests::{
    AuthorizationRequest, CaptureArguments, CaptureShippingRequest, CustomerDetailsRequest, DueDateRequest,
    MerchantReferencesRequest, OrderArguments, OrderShippingRequest, ReconcileRefundRequest, RefundArguments,
    RefundRequest,
};
use crate::api::request::{CAPTURED_AMOUNT, CaptureRequest, ShippingInfo};
use crate::error::Error;
use crate::strict::{Field, Item, Object, Reader, Rule, Voice, Written, object};

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

    /// The warning for a call that has neither a reference nor a key of the caller's.
    fn cannot_be_found(&self) -> Option<&'static str> {
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

    fn cannot_be_found(&self) -> Option<&'static str> {
        let warning = "without a reference and without an idempotency key of yours, nobody can find this refund again if its \
                       answer is lost";
        self.identity().is_none().then_some(warning)
    }
}

impl Arguments for AuthorizationRequest {
    const WHOLE: &'static str = "the update of the authorization";

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
    options_checked::<A>(reader.read_two(source).map_err(way_to_other::<A>)?, reading)
}

/// The same from JSON text.
pub(crate) fn read_json<A: Arguments>(text: &str, reading: Reading) -> Result<Checked, Error> {
    let reader = Reader::new(A::WHOLE, reading.accept_unknown_values);
    options_checked::<A>(reader.json_two(text).map_err(way_to_other::<A>)?, reading)
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
    if options.first_use == Some(true) && options.first_used.is_some() {
        return Err(Error::invalid("first_use and first_used are both given; it must be one of them"));
    }
    if options.first_use == Some(true) && options.after_unclear == Some(true) {
        return Err(Error::invalid("first_use and after_unclear are both true; one of them is wrong"));
    }
    checked(&arguments, options, reading)
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
    if body.len() > MOST_BODY {
        return Err(Error::invalid(format!(
            "{} is {} bytes of JSON; it must be at most {MOST_BODY}; shorten the texts of the order lines",
            A::WHOLE,
            body.len()
        )));
    }
    let identity = arguments.identity().map(|(reference, amount)| (reference.to_owned(), amount));
    let mut parameters = Vec::new();
    for (name, id) in arguments.parameters() {
        check_segment(name, id, name.trim_end_matches("_id"))?;
        parameters.push((name, id.to_owned()));
    }
    let cannot_be_found = arguments.cannot_be_found();
    Ok(Checked { options, parameters, body, warnings, identity, cannot_be_found })
}
