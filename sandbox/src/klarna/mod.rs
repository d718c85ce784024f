//! Klarna's side: orders, the calls that read and change them, and their rules. No sockets, no clock.

mod audit;
mod check;
mod hold;
mod keys;
mod knobs;
mod ledger;
mod money;
mod order;
mod parcel;
mod refusal;
mod route;
#[cfg(test)]
mod tests;
mod time;

pub use audit::{Finding, Problem};
pub(crate) use check::has_body;
pub(crate) use keys::{Asked, Key, KeyState, Keys, Stored};
pub use knobs::{KeyScope, Knobs, RefundMember, Release, Risk, SecondCancel, UnknownCapture};
pub use ledger::Entry;
pub(crate) use order::Lag;
pub(crate) use refusal::{Refusal, error_answer, usual_error_code};
pub use route::Operation;
pub(crate) use route::{Place, place};
pub(crate) use time::{Millis, date, http_date, timestamp};

use crate::http::Answer;
use crate::plan::PlannedFault;
use order::{Fixed, Kept, Order};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use time::{DAY, LAST};
use uuid::Uuid;

/// Klarna's usual life of an authorization.
const AUTHORIZATION_LIFE: Millis = 28 * DAY;
/// Klarna's ceiling for amounts, in minor units.
const AMOUNT_LIMIT: i64 = 200_000_000;

/// Where an order stands, in Klarna's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OrderStatus {
    /// No capture is made yet.
    Authorized,
    /// A part is captured.
    PartCaptured,
    /// The whole amount is captured.
    Captured,
    /// Ended for good; nothing can be captured.
    Cancelled,
    /// `expires_at` passed before the first capture.
    Expired,
    /// Ended; nothing can be captured. What exactly Klarna means by it is not documented.
    Closed,
}

/// An order to create.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewOrder {
    /// The order's id, a non-empty text; a UUID when absent.
    #[serde(default)]
    pub order_id: Option<String>,
    /// The amount that can be captured, in minor units, 0 to 200,000,000.
    #[serde(deserialize_with = "minor_units")]
    pub order_amount: i64,
    /// ISO 4217; `EUR` when absent.
    #[serde(default)]
    pub purchase_currency: Option<String>,
    /// The order number that the shopper sees.
    #[serde(default)]
    pub merchant_reference1: Option<String>,
    /// The shop's second reference.
    #[serde(default)]
    pub merchant_reference2: Option<String>,
    /// The shop's own notes.
    #[serde(default)]
    pub merchant_data: Option<String>,
    /// ISO 3166; `DE` when absent.
    #[serde(default)]
    pub purchase_country: Option<String>,
    /// `en-DE` when absent.
    #[serde(default)]
    pub locale: Option<String>,
    /// The shopper; of type `person` when absent. This member and the next two are shown and never checked.
    #[serde(default)]
    pub customer: Option<Map<String, Value>>,
    /// Where the bill goes.
    #[serde(default)]
    pub billing_address: Option<Map<String, Value>>,
    /// Where the goods go.
    #[serde(default)]
    pub shipping_address: Option<Map<String, Value>>,
    /// The order's lines, a list of objects; they are shown and never checked.
    #[serde(default)]
    pub order_lines: Option<Value>,
    /// Seconds until the authorization expires; when absent, it expires at midnight (UTC) 28 days on. 0 or less: it is expired already.
    #[serde(default)]
    pub expires_in: Option<i64>,
    /// A status to start with: `AUTHORIZED` when absent, or `CANCELLED`, `EXPIRED`, `CLOSED`. The other two are
    /// reached by captures.
    #[serde(default)]
    pub status: Option<OrderStatus>,
    /// `ACCEPTED` when absent. With `PENDING` captures are refused.
    #[serde(default)]
    pub fraud_status: Option<String>,
    /// How the shopper pays, an object with a `type`; `INVOICE` when absent.
    #[serde(default)]
    pub initial_payment_method: Option<Map<String, Value>>,
    /// Members of [`Knobs`] that this order has otherwise than the sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knobs: Option<Map<String, Value>>,
    /// Faults for the order's requests, in this order.
    #[serde(default)]
    pub faults: Vec<PlannedFault>,
}

/// A change of an order.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrderChange {
    #[serde(default)]
    pub status: Option<OrderStatus>,
    #[serde(default)]
    pub fraud_status: Option<String>,
}

/// The capture or refund that a request made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    Capture(String),
    Refund(String),
}

impl Made {
    pub fn id(&self) -> &str {
        match self {
            Self::Capture(id) | Self::Refund(id) => id,
        }
    }
}

/// A write that was carried out.
#[derive(Debug)]
pub(crate) struct Done {
    pub answer: Answer,
    pub made: Option<Made>,
    /// Its entry in the ledger; none if it changed nothing.
    entry: Option<Entry>,
}

impl Done {
    pub fn committed(&self) -> bool {
        self.entry.is_some()
    }
}

/// The circumstances of a write, beside its body.
pub(crate) struct Circumstances<'a> {
    pub base: &'a str,
    pub key: Option<String>,
    pub request_number: u64,
    /// How many requests the order had.
    pub order_requests: u64,
    pub now: Millis,
}

/// A write whose body was read.
struct Call<'a> {
    order_id: &'a str,
    /// The id in the path, or nothing.
    id: &'a str,
    request: &'a Map<String, Value>,
    knobs: &'a Knobs,
    about: &'a Circumstances<'a>,
}

impl Call<'_> {
    /// A member, unless it is absent or null.
    fn given(&self, name: &str) -> Option<Value> {
        self.request.get(name).filter(|value| !value.is_null()).cloned()
    }

    fn text(&self, name: &str) -> Option<String> {
        self.request.get(name)?.as_str().map(String::from)
    }

    fn integer(&self, name: &str) -> i64 {
        self.request.get(name).and_then(Value::as_i64).unwrap_or_default()
    }

    fn shipping_info(&self) -> Vec<Value> {
        self.request.get("shipping_info").and_then(Value::as_array).cloned().unwrap_or_default()
    }

    /// The ledger's entry, as far as all calls have it.
    fn entry(&self, kind: Operation) -> Entry {
        Entry {
            idempotency_key: self.about.key.clone(),
            at: timestamp(self.about.now),
            request_number: self.about.request_number,
            ..Entry::new(kind, self.order_id)
        }
    }

    fn no_content(&self, entry: Entry) -> Done {
        Done { entry: Some(entry), ..self.nothing() }
    }

    /// A success that changed nothing.
    fn nothing(&self) -> Done {
        Done { answer: Answer::new(204), made: None, entry: None }
    }
}

/// How a read is answered.
#[derive(Default)]
pub(crate) struct Look {
    pub lag: Option<Lag>,
    /// A member that refunds lack.
    pub without: Option<RefundMember>,
}

/// The orders and keys of the stand-in, and its ledger.
#[derive(Default)]
pub(crate) struct Klarna {
    pub knobs: Knobs,
    orders: HashMap<String, Kept>,
    pub ledger: Vec<Entry>,
    pub keys: Keys,
}

impl Klarna {
    pub fn create(&mut self, new: NewOrder, now: Millis) -> Result<String, String> {
        let order_id = match &new.order_id {
            Some(id) if id.is_empty() => return Err("order_id is empty".into()),
            Some(id) => id.clone(),
            None => Uuid::new_v4().to_string(),
        };
        if self.orders.contains_key(&order_id) {
            return Err(format!("order {order_id} exists already; choose another order_id, or none for a fresh one"));
        }
        if !(0..=AMOUNT_LIMIT).contains(&new.order_amount) {
            return Err(format!("order_amount is {}; 0 to {AMOUNT_LIMIT} minor units are possible", new.order_amount));
        }
        if new.order_lines.as_ref().is_some_and(|lines| !lines.is_array()) {
            return Err("order_lines is no list".into());
        }
        let knobs = Value::Object(new.knobs.unwrap_or_default());
        Knobs::default().set(&knobs).map_err(|why| format!("knobs: {why}"))?;
        let expires_at = match new.expires_in {
            Some(seconds) => now.saturating_add(seconds.saturating_mul(1000)),
            None => now.saturating_add(AUTHORIZATION_LIFE).div_euclid(DAY) * DAY,
        };
        let reference = Uuid::new_v4().simple().to_string().to_uppercase();
        let usual_method =
            || Map::from_iter([("type".into(), "INVOICE".into()), ("description".into(), "Pay later".into())]);
        let fixed = Fixed {
            purchase_currency: new.purchase_currency.unwrap_or_else(|| "EUR".into()),
            purchase_country: new.purchase_country.unwrap_or_else(|| "DE".into()),
            locale: new.locale.unwrap_or_else(|| "en-DE".into()),
            customer: new.customer.map_or_else(|| json!({"type": "person"}), Value::Object),
            merchant_data: new.merchant_data,
            billing_address: new.billing_address,
            initial_payment_method: new.initial_payment_method.unwrap_or_else(usual_method),
            klarna_reference: reference[..8].into(),
            original_order_amount: new.order_amount,
            created_at: now,
        };
        let order = Order {
            fixed: Arc::new(fixed),
            status: settable(new.status)?,
            fraud_status: new.fraud_status.unwrap_or_else(|| "ACCEPTED".into()),
            order_amount: new.order_amount,
            order_lines: Arc::new(new.order_lines.unwrap_or_else(|| json!([]))),
            merchant_reference1: new.merchant_reference1,
            merchant_reference2: new.merchant_reference2,
            shipping_address: new.shipping_address,
            expires_at: expires_at.clamp(0, LAST),
            captures: Vec::new(),
            captured_amount: 0,
            refunds: Vec::new(),
            refunded_amount: 0,
            shipping_info: Vec::new(),
            released: false,
            acknowledged: false,
            free_days_used: false,
            extended_days: HashMap::new(),
        };
        self.orders.insert(order_id.clone(), Kept::new(order, knobs));
        Ok(order_id)
    }

    pub fn has(&self, order_id: &str) -> bool {
        self.orders.contains_key(order_id)
    }

    fn order_amount(&self, order_id: &str) -> Option<i64> {
        self.orders.get(order_id).map(|kept| kept.order.order_amount)
    }

    /// The knobs as they stand for an order.
    pub fn knobs_of(&self, order_id: &str) -> Knobs {
        self.orders.get(order_id).map_or_else(|| self.knobs.clone(), |kept| kept.knobs(&self.knobs))
    }

    /// `Ok(false)`: there is no such order.
    pub fn change(&mut self, order_id: &str, change: OrderChange) -> Result<bool, String> {
        let Some(kept) = self.orders.get_mut(order_id) else {
            return Ok(false);
        };
        if let Some(status) = change.status {
            kept.order.status = settable(Some(status))?;
        }
        if let Some(fraud_status) = change.fraud_status {
            kept.order.fraud_status = fraud_status;
        }
        Ok(true)
    }

    /// Klarna's order object.
    pub fn order(&self, order_id: &str, now: Millis) -> Result<Value, Refusal> {
        let place = Place::of(order_id);
        self.read(Operation::GetOrder, &place, &Look::default(), now)
    }

    /// Members of an order that Klarna's object does not show.
    pub fn hidden(&self, order_id: &str) -> Option<Value> {
        let order = &self.orders.get(order_id)?.order;
        let of =
            |kind: Operation| self.ledger.iter().filter(move |entry| entry.kind == kind && entry.order_id == order_id);
        Some(json!({
            "acknowledged": order.acknowledged,
            "released": order.released,
            "mails": of(Operation::TriggerSendOut).count(),
            "fees": of(Operation::ExtendDueDate).filter_map(|entry| entry.amount).sum::<i64>(),
            "extended_days": order.extended_days,
        }))
    }

    /// Answers a read.
    pub fn read(&self, operation: Operation, place: &Place, look: &Look, now: Millis) -> Result<Value, Refusal> {
        let Place { order_id, id, .. } = place;
        let knobs = self.knobs_of(order_id);
        let no_refund = |message| Refusal::new(knobs.unknown_refund, "NOT_FOUND", message);
        let Some(kept) = self.orders.get(order_id) else {
            return Err(match operation {
                Operation::GetRefund => no_refund(format!("there is no order {order_id}")),
                _ => Refusal::no_such_order(order_id),
            });
        };
        let order = kept.as_of(look.lag);
        let no_capture = || parcel::no_such_capture(operation, (order_id, id), knobs.unknown_capture);
        match operation {
            Operation::GetCaptures => Ok(order.captures()),
            Operation::GetCapture => order.capture(id).map(|capture| (**capture).clone()).ok_or_else(no_capture),
            Operation::GetExtendDueDateOptions => {
                order.capture(id).map(|_| parcel::extend_due_date_options(order)).ok_or_else(no_capture)
            }
            Operation::GetRefund => {
                let refund = order.refunds.iter().find(|refund| refund["refund_id"] == id.as_str());
                let missing = || no_refund(format!("order {order_id} has no refund {id}"));
                refund.map(|refund| (**refund).clone()).ok_or_else(missing)
            }
            _ => Ok(order.value(order_id, now, look.without.or(knobs.refunds_without))),
        }
    }

    /// Carries a write out, or says why not.
    pub fn write(
        &mut self,
        operation: Operation,
        place: &Place,
        body: &[u8],
        about: &Circumstances<'_>,
    ) -> Result<Done, Refusal> {
        let request = check::request(operation, body)?;
        let Place { order_id, id, .. } = place;
        let Some(kept) = self.orders.get_mut(order_id) else {
            return Err(match operation {
                Operation::Refund => Refusal::new(404, "NOT_FOUND", format!("there is no order {order_id}")),
                _ => Refusal::no_such_order(order_id),
            });
        };
        let knobs = kept.knobs(&self.knobs);
        let call = Call { order_id, id, request: &request, knobs: &knobs, about };
        let before = kept.snapshot();
        // A refusal changes nothing, so that no copy is needed for it.
        let order = &mut kept.order;
        let done = match operation {
            Operation::Capture => money::capture(order, &call),
            Operation::Refund => money::refund(order, &call),
            Operation::Acknowledge => hold::acknowledge(order, &call),
            Operation::UpdateAuthorization => hold::update_authorization(order, &call),
            Operation::Cancel => hold::cancel(order, &call),
            Operation::ReleaseRemainingAuthorization => hold::release(order, &call),
            Operation::ExtendAuthorizationTime => hold::extend_authorization_time(order, &call),
            Operation::UpdateMerchantReferences => hold::update_merchant_references(order, &call),
            Operation::UpdateCustomerDetails => hold::update_customer_details(order, &call),
            Operation::AppendShippingInfo => parcel::append_shipping_info(order, &call),
            Operation::AppendOrderShippingInfo => parcel::append_order_shipping_info(order, &call),
            Operation::TriggerSendOut => parcel::trigger_send_out(order, &call),
            Operation::ExtendDueDate => parcel::extend_due_date(order, &call),
            // Only reads are left, and they come by `read`.
            _ => Ok(call.nothing()),
        }?;
        if let Some(entry) = &done.entry {
            kept.remember(before, about.now, about.order_requests);
            self.ledger.push(entry.clone());
        }
        Ok(done)
    }
}

/// A status that may be set from outside. With `AUTHORIZED` captures and the clock decide again.
fn settable(status: Option<OrderStatus>) -> Result<Option<OrderStatus>, String> {
    match status {
        None | Some(OrderStatus::Authorized) => Ok(None),
        Some(OrderStatus::PartCaptured | OrderStatus::Captured) => {
            Err("status can be AUTHORIZED, CANCELLED, EXPIRED or CLOSED; capture the order to reach another".into())
        }
        ended => Ok(ended),
    }
}

/// Reads an amount; its refusals say how to write another value.
fn minor_units<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let value = Value::deserialize(deserializer)?;
    if let Some(amount) = value.as_i64() {
        return Ok(amount);
    }
    let example = value.as_f64().filter(|major| major.abs() < 1e9).map_or_else(
        || "6000 for 60.00".into(),
        // The amount is below 1e12 here.
        |major| format!("{} for {major:.2}", (major * 100.0).round() as i64),
    );
    Err(D::Error::custom(format!("order_amount is {value}; it must be a whole number of minor units: {example}")))
}
