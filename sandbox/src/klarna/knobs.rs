//! Behaviour that Klarna does not document, to be chosen.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How far an idempotency key reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyScope {
    /// All calls of the merchant: a key of a capture answers a refund as well.
    #[default]
    Merchant,
    /// The calls of one order.
    Order,
    /// The calls of one operation, whatever their order.
    Operation,
}

/// The answer to the cancel of a cancelled order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecondCancel {
    /// 403 `CANCEL_NOT_ALLOWED`.
    #[default]
    Refused,
    /// 204, and nothing happens.
    NoContent,
}

/// The `order_amount` after a release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Release {
    /// The amount stays.
    #[default]
    KeepsOrderAmount,
    /// The amount falls to the captured one.
    LowersOrderAmount,
}

/// The risk check behind a higher amount and a new address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    /// Higher amounts and new addresses pass.
    #[default]
    Accept,
    /// Higher amounts and new addresses get 403 `NOT_ALLOWED`.
    Refuse,
}

/// A member that old orders do not show in their refunds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundMember {
    /// `refund_id`
    Id,
    /// `reference`
    Reference,
}

impl RefundMember {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Id => "refund_id",
            Self::Reference => "reference",
        }
    }
}

/// Choices where Klarna's documentation leaves one. In JSON a member that is absent keeps its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Knobs {
    /// How far an idempotency key reaches.
    pub key_scope: KeyScope,
    /// Whether a refusal is stored under its key and repeated; `false` by default.
    pub store_refusals: bool,
    /// The answer to the cancel of a cancelled order.
    pub second_cancel: SecondCancel,
    /// The `order_amount` after a release.
    pub release: Release,
    /// The risk check behind a higher amount and a new address.
    pub risk: Risk,
    /// The status of `NOT_FOUND` for the read of an unknown refund: 404 by default, or 400.
    pub unknown_refund: u16,
    /// The code of 404 for an unknown capture: `NO_SUCH_ORDER` or `NO_SUCH_CAPTURE`. When absent, each call has the code of
    /// Klarna's specification.
    pub unknown_capture: Option<UnknownCapture>,
    /// The most captures of an order; no limit when absent.
    pub max_captures: Option<usize>,
    /// The most refunds of an order; no limit when absent.
    pub max_refunds: Option<usize>,
    /// A member that reads of the order do not show in its refunds.
    pub refunds_without: Option<RefundMember>,
}

/// The code of 404 for an unknown capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UnknownCapture {
    /// `NO_SUCH_ORDER`
    NoSuchOrder,
    /// `NO_SUCH_CAPTURE`
    NoSuchCapture,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            key_scope: KeyScope::default(),
            store_refusals: false,
            second_cancel: SecondCancel::default(),
            release: Release::default(),
            risk: Risk::default(),
            unknown_refund: 404,
            unknown_capture: None,
            max_captures: None,
            max_refunds: None,
            refunds_without: None,
        }
    }
}

impl Knobs {
    /// Sets the members that `change` has.
    pub(crate) fn set(&mut self, change: &Value) -> Result<(), String> {
        let mut all = json!(self);
        let (Some(all), Some(change)) = (all.as_object_mut(), change.as_object()) else {
            return Err("knobs are no object".into());
        };
        all.extend(change.clone());
        let knobs: Self = serde_json::from_value(all.clone().into()).map_err(|why| why.to_string())?;
        if ![400, 404].contains(&knobs.unknown_refund) {
            return Err(format!("unknown_refund is {}; 404 or 400 is possible", knobs.unknown_refund));
        }
        *self = knobs;
        Ok(())
    }
}
