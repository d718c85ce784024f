//! An order, as it is and as it was.

use super::time::{DAY, Millis, timestamp};
use super::{Knobs, OrderStatus, RefundMember};
use serde_json::{Map, Value, json};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// How many earlier states of an order are kept for reads that lag.
const REMEMBERED: usize = 64;
/// An order with more captures and refunds than this keeps no earlier states.
const COPIED: usize = 500;

/// The members that never change.
pub(super) struct Fixed {
    pub purchase_currency: String,
    pub purchase_country: String,
    pub locale: String,
    pub customer: Value,
    pub merchant_data: Option<String>,
    pub billing_address: Option<Map<String, Value>>,
    pub initial_payment_method: Map<String, Value>,
    pub klarna_reference: String,
    pub original_order_amount: i64,
    pub created_at: Millis,
}

impl Fixed {
    /// The type of the payment method.
    pub fn payment_method(&self) -> &str {
        self.initial_payment_method.get("type").and_then(Value::as_str).unwrap_or_default()
    }
}

/// A state of an order. Large members are shared between states.
#[derive(Clone)]
pub(super) struct Order {
    pub fixed: Arc<Fixed>,
    /// Set from outside or by a cancel; without it the captures and the clock decide.
    pub status: Option<OrderStatus>,
    pub fraud_status: String,
    pub order_amount: i64,
    pub order_lines: Arc<Value>,
    pub merchant_reference1: Option<String>,
    pub merchant_reference2: Option<String>,
    pub shipping_address: Option<Map<String, Value>>,
    pub expires_at: Millis,
    pub captures: Vec<Arc<Value>>,
    pub captured_amount: i64,
    pub refunds: Vec<Arc<Value>>,
    pub refunded_amount: i64,
    pub shipping_info: Vec<Value>,
    pub released: bool,
    pub acknowledged: bool,
    /// Whether the free days were taken.
    pub free_days_used: bool,
    /// Days by which the due date of a capture was extended.
    pub extended_days: HashMap<String, i64>,
}

impl Order {
    pub fn remaining(&self) -> i64 {
        if self.released || self.status == Some(OrderStatus::Cancelled) {
            0
        } else {
            self.order_amount - self.captured_amount
        }
    }

    pub fn status(&self, now: Millis) -> OrderStatus {
        match self.status {
            Some(status) => status,
            None if self.captures.is_empty() && now >= self.expires_at => OrderStatus::Expired,
            None if self.captures.is_empty() => OrderStatus::Authorized,
            None if self.remaining() > 0 => OrderStatus::PartCaptured,
            None => OrderStatus::Captured,
        }
    }

    /// Why an order in this state takes no change of its own, if so.
    pub fn ended(&self, now: Millis) -> Option<&'static str> {
        match self.status(now) {
            OrderStatus::Cancelled => Some("the order is cancelled"),
            OrderStatus::Closed => Some("the order is closed"),
            OrderStatus::Expired => Some("the authorization has expired"),
            _ => None,
        }
    }

    pub fn capture(&self, capture_id: &str) -> Option<&Arc<Value>> {
        self.captures.iter().find(|capture| capture["capture_id"] == capture_id)
    }

    pub fn capture_mut(&mut self, capture_id: &str) -> Option<&mut Value> {
        let capture = self.captures.iter_mut().find(|capture| capture["capture_id"] == capture_id);
        capture.map(Arc::make_mut)
    }

    pub fn captures(&self) -> Value {
        self.captures.iter().map(|capture| (**capture).clone()).collect::<Vec<_>>().into()
    }

    /// Klarna's order object.
    pub fn value(&self, order_id: &str, now: Millis, without: Option<RefundMember>) -> Value {
        let fixed = &self.fixed;
        let refund = |refund: &Arc<Value>| {
            let mut refund = (**refund).clone();
            if let (Some(member), Some(members)) = (without, refund.as_object_mut()) {
                members.remove(member.name());
            }
            refund
        };
        let mut value = json!({
            "order_id": order_id,
            "status": self.status(now),
            "fraud_status": self.fraud_status,
            "order_amount": self.order_amount,
            "original_order_amount": fixed.original_order_amount,
            "captured_amount": self.captured_amount,
            "refunded_amount": self.refunded_amount,
            "remaining_authorized_amount": self.remaining(),
            "purchase_currency": fixed.purchase_currency,
            "purchase_country": fixed.purchase_country,
            "locale": fixed.locale,
            "customer": fixed.customer,
            "klarna_reference": fixed.klarna_reference,
            "order_lines": *self.order_lines,
            "created_at": timestamp(fixed.created_at),
            "expires_at": timestamp(self.expires_at),
            "captures": self.captures(),
            "refunds": self.refunds.iter().map(refund).collect::<Vec<_>>(),
            "shipping_info": self.shipping_info,
            "initial_payment_method": fixed.initial_payment_method,
        });
        for (name, text) in [
            ("merchant_reference1", &self.merchant_reference1),
            ("merchant_reference2", &self.merchant_reference2),
            ("merchant_data", &fixed.merchant_data),
        ] {
            if let Some(text) = text {
                value[name] = text.as_str().into();
            }
        }
        let addresses = [("billing_address", &fixed.billing_address), ("shipping_address", &self.shipping_address)];
        for (name, address) in addresses {
            if let Some(address) = address {
                value[name] = address.clone().into();
            }
        }
        value
    }

    /// The due dates of a capture: the days by which each may be extended, and the fee in minor units.
    pub fn due_date_options(&self) -> Vec<(i64, i64)> {
        let free = (!self.free_days_used).then_some((2, 0));
        free.into_iter().chain([(10, 100), (20, 200), (30, 300)]).collect()
    }
}

/// How far a read lags behind.
#[derive(Clone, Copy)]
pub(crate) enum Lag {
    /// The order as of this time.
    Until(Millis),
    /// The order as it was before its request of this number.
    BeforeRequest(u64),
}

/// A state of an order that came to its end.
struct Past {
    /// The time of its end.
    at: Millis,
    /// How many requests the order had then.
    request: u64,
    order: Order,
}

/// An order with its earlier states.
pub(super) struct Kept {
    pub order: Order,
    /// Overrides of the sandbox's knobs.
    pub knobs: Value,
    past: VecDeque<Past>,
}

impl Kept {
    pub fn new(order: Order, knobs: Value) -> Self {
        Self { order, knobs, past: VecDeque::new() }
    }

    /// The present state, to be remembered. None of a large order: a copy would take longer with every capture.
    pub fn snapshot(&self) -> Option<Order> {
        (self.order.captures.len() + self.order.refunds.len() <= COPIED).then(|| self.order.clone())
    }

    /// Remembers the state before a write.
    pub fn remember(&mut self, before: Option<Order>, at: Millis, request: u64) {
        let Some(order) = before else { return self.past.clear() };
        if self.past.len() == REMEMBERED {
            self.past.pop_front();
        }
        self.past.push_back(Past { at, request, order });
    }

    pub fn as_of(&self, lag: Option<Lag>) -> &Order {
        let over = |past: &&Past| match lag {
            None => false,
            Some(Lag::Until(time)) => past.at > time,
            Some(Lag::BeforeRequest(number)) => past.request >= number,
        };
        self.past.iter().find(over).map_or(&self.order, |past| &past.order)
    }

    pub fn knobs(&self, usual: &Knobs) -> Knobs {
        let mut knobs = usual.clone();
        if self.knobs.as_object().is_none_or(serde_json::Map::is_empty) {
            return knobs;
        }
        // The overrides were checked when the order was created.
        let _ = knobs.set(&self.knobs);
        knobs
    }
}

/// Midnight in UTC before a time.
pub(super) fn midnight(time: Millis) -> Millis {
    time.div_euclid(DAY) * DAY
}
