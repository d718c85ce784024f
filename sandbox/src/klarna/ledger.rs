//! The ledger: every call that was carried out.

use super::Operation;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;

/// A call that was carried out. In JSON a capture and a refund have the members that Klarna gives them, and every call only
/// those that it can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The operation.
    pub kind: Operation,
    /// The order it belongs to.
    pub order_id: String,
    /// The capture that was made, its id being the one that the answer carried or should have carried. For other calls
    /// the capture in their path; empty if there is none.
    pub capture_id: String,
    /// Minor units; 0 for all but captures.
    pub captured_amount: i64,
    /// The refund that was made.
    pub refund_id: Option<String>,
    /// The refunded amount, the fee of a due date, the new amount of an order, or the amount that a cancel or release
    /// gave back.
    pub amount: Option<i64>,
    /// The days of a due date.
    pub number_of_days: Option<i64>,
    /// Tracking that was added, by a capture too.
    pub shipping_info: Vec<Value>,
    /// The merchant's `reference`.
    pub reference: Option<String>,
    /// The `Klarna-Idempotency-Key` of the request that did it.
    pub idempotency_key: Option<String>,
    /// The sandbox's time, RFC 3339.
    pub at: String,
    /// [`Received::number`](crate::Received::number) of the request that did it.
    pub request_number: u64,
}

impl Entry {
    /// The entry of a call that has nothing beside its kind and its order.
    pub(super) fn new(kind: Operation, order_id: &str) -> Entry {
        Entry {
            kind,
            order_id: order_id.into(),
            capture_id: String::new(),
            captured_amount: 0,
            refund_id: None,
            amount: None,
            number_of_days: None,
            shipping_info: Vec::new(),
            reference: None,
            idempotency_key: None,
            at: String::new(),
            request_number: 0,
        }
    }
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", &self.kind)?;
        map.serialize_entry("order_id", &self.order_id)?;
        if !self.capture_id.is_empty() {
            map.serialize_entry("capture_id", &self.capture_id)?;
        }
        let time = match self.kind {
            Operation::Capture => {
                map.serialize_entry("captured_amount", &self.captured_amount)?;
                "captured_at"
            }
            Operation::Refund => {
                map.serialize_entry("refund_id", &self.refund_id)?;
                map.serialize_entry("refunded_amount", &self.amount)?;
                "refunded_at"
            }
            _ => {
                if let Some(amount) = &self.amount {
                    map.serialize_entry("amount", amount)?;
                }
                if let Some(days) = &self.number_of_days {
                    map.serialize_entry("number_of_days", days)?;
                }
                if !self.shipping_info.is_empty() {
                    map.serialize_entry("shipping_info", &self.shipping_info)?;
                }
                "done_at"
            }
        };
        if matches!(self.kind, Operation::Capture | Operation::Refund) {
            map.serialize_entry("reference", &self.reference)?;
        }
        map.serialize_entry("idempotency_key", &self.idempotency_key)?;
        map.serialize_entry(time, &self.at)?;
        map.serialize_entry("request_number", &self.request_number)?;
        map.end()
    }
}
