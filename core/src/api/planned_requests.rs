//! The arguments of calls that are made of several.

use crate::api::arguments::{Arguments, written};
use crate::api::lines::{self, CheckLines};
use crate::api::order_requests::ID;
use crate::api::request::{CAPTURED_AMOUNT, OrderLine};
use crate::error::Error;
use crate::strict::{Field, Rule, object};

/// Without a reference a repeat could not be told from another call.
const REFERENCE: Rule = Rule::Name { min: 1, max: 255 };

object! {
    /// The capture of everything that is left.
    pub(crate) struct CaptureRemainingArguments: "a capture of the rest" {
        /// Your own name for this capture, 1 to 255 characters. Give each capture of an order another one.
        required reference "reference": String, REFERENCE;
    }
}

object! {
    /// The refund of everything that is left.
    pub(crate) struct RefundRemainingArguments: "a refund of the rest" {
        /// Your own name for this refund, 1 to 255 characters. Give each refund of an order another one.
        required reference "reference": String, REFERENCE;
    }
}

object! {
    /// The refund of one capture.
    pub struct RefundCaptureRequest: "a refund of a capture" {
        /// Klarna's id of the capture.
        required capture_id "capture_id": String, ID;
        /// Your own name for this refund, 1 to 255 characters. Give each refund of an order another one.
        required reference "reference": String, REFERENCE;
        /// How much is refunded, in minor units (60.00 is 6000), tax included: 1 to 200,000,000. When absent, the sum of
        /// `order_lines`, or without those everything that is left of the capture.
        optional refunded_amount "refunded_amount": i64, CAPTURED_AMOUNT;
        /// The lines that are refunded, at most 1000. When absent, those of the capture where they add up to the amount.
        optional order_lines "order_lines": Vec<OrderLine>, Rule::List { max: 1000, of: "order lines" };
    }
}

object! {
    /// How near the end of an authorization may be.
    pub(crate) struct ExtendIfNeededArguments: "an extension where it is needed" {
        /// The authorization is extended if it ends within so many seconds.
        required within "within": i64, Rule::Integer { min: 1, max: 31_536_000, unit: "seconds" };
    }
}

impl RefundCaptureRequest {
    /// A refund of everything that is left of a capture.
    pub fn new(capture_id: impl Into<String>, reference: impl Into<String>) -> RefundCaptureRequest {
        RefundCaptureRequest { capture_id: capture_id.into(), reference: reference.into(), ..Field::blank() }
    }

    /// The amount as it was given, in itself or by the lines.
    pub(crate) fn amount(&self) -> Option<i64> {
        let lines = self.order_lines.as_deref().filter(|lines| !lines.is_empty());
        let sum = || Some(lines?.iter().fold(0_i64, |sum, line| sum.saturating_add(line.total_amount)));
        self.refunded_amount.or_else(sum)
    }
}

/// The arguments go on to the plan as they are.
macro_rules! plain {
    ($($Name:ty: $whole:literal;)*) => { $(
        impl Arguments for $Name {
            const WHOLE: &'static str = $whole;

            fn body(&self) -> Vec<u8> {
                written(self)
            }
        }
    )* };
}

plain! {
    CaptureRemainingArguments: "the capture of the rest";
    RefundRemainingArguments: "the refund of the rest";
    ExtendIfNeededArguments: "the call";
}

impl Arguments for RefundCaptureRequest {
    const WHOLE: &'static str = "the refund of a capture";

    fn body(&self) -> Vec<u8> {
        written(&RefundCaptureRequest { refunded_amount: self.amount(), ..self.clone() })
    }

    fn findings(&self, choice: CheckLines) -> Result<Vec<String>, Error> {
        let Some(amount) = self.amount() else { return Ok(Vec::new()) };
        if let Some(sum) =
            self.refunded_amount.is_none().then_some(amount).filter(|sum| !(1..=200_000_000).contains(sum))
        {
            let allowed = "1 to 200000000, since refunded_amount is left out";
            return Err(Error::invalid_argument("the sum of order_lines", &sum.to_string(), allowed));
        }
        let amount = ("refunded_amount", amount);
        lines::check_return_fee(self.order_lines.as_deref(), amount)?;
        lines::check(self.order_lines.as_deref(), amount, choice)
    }

    fn parameters(&self) -> Vec<(&'static str, &str)> {
        vec![("capture_id", &self.capture_id)]
    }
}
