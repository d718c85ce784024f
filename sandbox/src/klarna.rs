//! Klarna's side: orders, captures, idempotency and the rules of the capture call. No sockets, no clock.

use crate::fault::PlannedFault;
use crate::http::{Answer, percent_decode, percent_encode};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// Milliseconds since 1970.
pub(crate) type Millis = i64;

const DAY: Millis = 86_400_000;
/// The time Klarna promises to know a key.
const KEY_LIFE: Millis = DAY;
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
    /// All is captured.
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
    /// Any non-empty text; a UUID when absent.
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

/// A committed capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The order it belongs to.
    pub order_id: String,
    /// The id that the answer carried, or should have carried.
    pub capture_id: String,
    /// Minor units.
    pub captured_amount: i64,
    /// The merchant's `reference`.
    pub reference: Option<String>,
    /// The `Klarna-Idempotency-Key` of the request that made it.
    pub idempotency_key: Option<String>,
    /// The sandbox's time, RFC 3339.
    pub captured_at: String,
    /// [`Received::number`](crate::Received::number) of the request that made it.
    pub request_number: u64,
}

struct Order {
    new: NewOrder,
    /// Set from outside; without it the captures and the clock decide.
    status: Option<OrderStatus>,
    fraud_status: String,
    klarna_reference: String,
    created_at: Millis,
    expires_at: Millis,
    captures: Vec<Value>,
    captured_amount: i64,
}

impl Order {
    fn remaining(&self) -> i64 {
        self.new.order_amount - self.captured_amount
    }

    fn status(&self, now: Millis) -> OrderStatus {
        match self.status {
            Some(status) => status,
            None if self.captures.is_empty() && now >= self.expires_at => OrderStatus::Expired,
            None if self.captures.is_empty() => OrderStatus::Authorized,
            None if self.remaining() > 0 => OrderStatus::PartCaptured,
            None => OrderStatus::Captured,
        }
    }
}

/// A refusal by Klarna.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub status: u16,
    pub error_code: &'static str,
    pub messages: Vec<String>,
}

impl Refusal {
    fn new(status: u16, error_code: &'static str, message: impl Into<String>) -> Self {
        Self { status, error_code, messages: vec![message.into()] }
    }

    fn no_such_order(order_id: &str) -> Self {
        Self::new(404, "NO_SUCH_ORDER", format!("there is no order {order_id}"))
    }

    pub fn answer(&self, correlation_id: &str) -> Answer {
        error_answer(self.status, self.error_code, &self.messages, correlation_id)
    }
}

/// An answer with Klarna's error object.
pub(crate) fn error_answer(status: u16, error_code: &str, messages: &[String], correlation_id: &str) -> Answer {
    Answer::new(status).json(&json!({
        "correlation_id": correlation_id,
        "error_code": error_code,
        "error_messages": messages,
    }))
}

/// The `error_code` that goes with a status when nothing better is known.
pub(crate) fn usual_error_code(status: u16) -> &'static str {
    match status {
        400 => "BAD_REQUEST",
        401 => "UNAUTHORIZED",
        403 => "CAPTURE_NOT_ALLOWED",
        404 => "NO_SUCH_ORDER",
        405 => "METHOD_NOT_ALLOWED",
        409 => "CONFLICT",
        413 => "REQUEST_TOO_LARGE",
        415 => "UNSUPPORTED_MEDIA_TYPE",
        422 => "UNPROCESSABLE_ENTITY",
        429 => "TOO_MANY_REQUESTS",
        502..=504 => "TEMPORARILY_UNAVAILABLE",
        500..=599 => "INTERNAL_SERVER_ERROR",
        _ => "UNDEFINED",
    }
}

/// The order or capture that a path below `/ordermanagement/v1` names. The ids are decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    Order,
    Captures,
    Capture(String),
}

/// A path with an order in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub order_id: String,
    /// `None`: something about this order that the sandbox does not serve.
    pub resource: Option<Resource>,
}

/// Reads a path; `None` if it names no order.
pub(crate) fn place(path: &str) -> Option<Place> {
    let rest = path.strip_prefix("/ordermanagement/v1/orders/")?;
    let mut segments = rest.split('/');
    let segment = segments.next().filter(|segment| !segment.is_empty())?;
    let rest: Vec<&str> = segments.collect();
    let resource = match rest.as_slice() {
        [] => Some(Resource::Order),
        ["captures"] => Some(Resource::Captures),
        ["captures", id] if !id.is_empty() => Some(Resource::Capture(percent_decode(id))),
        _ => None,
    };
    Some(Place { order_id: percent_decode(segment), resource })
}

/// A known key: its owner and itself. Klarna's scope is taken to be the merchant.
pub(crate) type Key = (String, String);

/// The state of an idempotency key.
pub(crate) enum KeyState {
    /// Never seen, or forgotten; now it is in flight and must be released.
    Reserved,
    /// Another request with the key is under way.
    InFlight,
    /// The key made this capture.
    Known { capture_id: String, location: String },
}

struct Known {
    capture_id: String,
    location: String,
    until: Millis,
}

/// All that the stand-in knows.
#[derive(Default)]
pub(crate) struct Klarna {
    orders: HashMap<String, Order>,
    pub ledger: Vec<Entry>,
    known: HashMap<Key, Known>,
    in_flight: HashSet<Key>,
}

/// The circumstances of a capture request, beside its body.
pub(crate) struct Circumstances<'a> {
    pub base: &'a str,
    pub key: Option<Key>,
    pub request_number: u64,
    pub now: Millis,
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
        let expires_at = match new.expires_in {
            Some(seconds) => now.saturating_add(seconds.saturating_mul(1000)),
            None => now.saturating_add(AUTHORIZATION_LIFE).div_euclid(DAY) * DAY,
        };
        let reference = Uuid::new_v4().simple().to_string().to_uppercase();
        let order = Order {
            status: settable(new.status)?,
            fraud_status: new.fraud_status.clone().unwrap_or_else(|| "ACCEPTED".into()),
            klarna_reference: reference[..8].into(),
            created_at: now,
            expires_at: expires_at.clamp(0, LAST),
            captures: Vec::new(),
            captured_amount: 0,
            new,
        };
        self.orders.insert(order_id.clone(), order);
        Ok(order_id)
    }

    pub fn has(&self, order_id: &str) -> bool {
        self.orders.contains_key(order_id)
    }

    /// `Ok(false)`: there is no such order.
    pub fn change(&mut self, order_id: &str, change: OrderChange) -> Result<bool, String> {
        let Some(order) = self.orders.get_mut(order_id) else {
            return Ok(false);
        };
        if let Some(status) = change.status {
            order.status = settable(Some(status))?;
        }
        if let Some(fraud_status) = change.fraud_status {
            order.fraud_status = fraud_status;
        }
        Ok(true)
    }

    /// Klarna's order object.
    pub fn order(&self, order_id: &str, now: Millis) -> Result<Value, Refusal> {
        let order = self.orders.get(order_id).ok_or_else(|| Refusal::no_such_order(order_id))?;
        let mut value = json!({
            "order_id": order_id,
            "status": order.status(now),
            "fraud_status": order.fraud_status,
            "order_amount": order.new.order_amount,
            "original_order_amount": order.new.order_amount,
            "captured_amount": order.captured_amount,
            "refunded_amount": 0,
            "remaining_authorized_amount": order.remaining(),
            "purchase_currency": order.new.purchase_currency.as_deref().unwrap_or("EUR"),
            "purchase_country": order.new.purchase_country.as_deref().unwrap_or("DE"),
            "locale": order.new.locale.as_deref().unwrap_or("en-DE"),
            "customer": order.new.customer.clone().map_or_else(|| json!({"type": "person"}), Value::Object),
            "klarna_reference": order.klarna_reference,
            "order_lines": order.new.order_lines.clone().unwrap_or_else(|| json!([])),
            "created_at": timestamp(order.created_at),
            "expires_at": timestamp(order.expires_at),
            "captures": order.captures,
            "refunds": [],
            "shipping_info": [],
            "initial_payment_method": {"type": "INVOICE", "description": "Pay later"},
        });
        let NewOrder { merchant_reference1, merchant_reference2, merchant_data, .. } = &order.new;
        for (name, text) in [
            ("merchant_reference1", merchant_reference1),
            ("merchant_reference2", merchant_reference2),
            ("merchant_data", merchant_data),
        ] {
            if let Some(text) = text {
                value[name] = text.as_str().into();
            }
        }
        for (name, address) in
            [("billing_address", &order.new.billing_address), ("shipping_address", &order.new.shipping_address)]
        {
            if let Some(address) = address {
                value[name] = address.clone().into();
            }
        }
        Ok(value)
    }

    /// The bare list of an order's captures.
    pub fn captures(&self, order_id: &str) -> Result<Value, Refusal> {
        match self.orders.get(order_id) {
            Some(order) => Ok(order.captures.clone().into()),
            None => Err(Refusal::no_such_order(order_id)),
        }
    }

    /// A single capture of an order.
    pub fn capture_of(&self, order_id: &str, capture_id: &str) -> Result<Value, Refusal> {
        let order = self.orders.get(order_id).ok_or_else(|| Refusal::no_such_order(order_id))?;
        order
            .captures
            .iter()
            .find(|capture| capture["capture_id"] == capture_id)
            .cloned()
            // Klarna's specification gives an unknown capture the code of an unknown order.
            .ok_or_else(|| {
                let message = format!("order {order_id} has no capture {capture_id}");
                Refusal::new(404, "NO_SUCH_ORDER", message)
            })
    }

    /// Looks a key up and, if it is free, takes it.
    pub fn reserve(&mut self, key: &Key, now: Millis) -> KeyState {
        // Only this key is checked for its age. A scan of all keys would take longer with every capture.
        if let Some(known) = self.known.get(key).filter(|known| now < known.until) {
            KeyState::Known { capture_id: known.capture_id.clone(), location: known.location.clone() }
        } else if self.in_flight.insert(key.clone()) {
            KeyState::Reserved
        } else {
            KeyState::InFlight
        }
    }

    pub fn release(&mut self, key: &Key) {
        self.in_flight.remove(key);
    }

    /// Captures, or says why not. The result is the capture's id and its `Location`.
    pub fn capture(
        &mut self,
        place: &Place,
        body: &[u8],
        about: Circumstances<'_>,
    ) -> Result<(String, String), Refusal> {
        let request = capture_request(body)?;
        let order_id = &place.order_id;
        let order = self.orders.get_mut(order_id).ok_or_else(|| Refusal::no_such_order(order_id))?;
        let amount = request["captured_amount"].as_i64().unwrap_or_default();
        let why = match order.status(about.now) {
            OrderStatus::Cancelled => Some("the order is cancelled".into()),
            OrderStatus::Closed => Some("the order is closed".into()),
            OrderStatus::Expired => Some("the authorization has expired".into()),
            OrderStatus::Captured => Some("the order is captured in full".into()),
            _ if about.now >= order.expires_at => Some("the authorization has expired".into()),
            _ if order.fraud_status == "PENDING" => Some("the order is under review".into()),
            _ if amount > order.remaining() => {
                Some(format!("captured_amount {amount} is more than the remaining {}", order.remaining()))
            }
            _ => None,
        };
        if let Some(why) = why {
            return Err(Refusal::new(403, "CAPTURE_NOT_ALLOWED", why));
        }

        let capture_id = Uuid::new_v4().to_string();
        let location =
            format!("{}/ordermanagement/v1/orders/{}/captures/{capture_id}", about.base, percent_encode(order_id));
        let captured_at = timestamp(about.now);
        let given = |name: &str| request.get(name).filter(|value| !value.is_null()).cloned();
        order.captured_amount += amount;
        order.captures.push(json!({
            "capture_id": capture_id,
            "klarna_reference": format!("{}-{}", order.klarna_reference, order.captures.len() + 1),
            "reference": given("reference").unwrap_or_else(|| "".into()),
            "captured_amount": amount,
            "captured_at": captured_at,
            "description": given("description").unwrap_or_else(|| "".into()),
            "order_lines": given("order_lines").unwrap_or_else(|| json!([])),
            "refunded_amount": 0,
            "shipping_info": given("shipping_info").unwrap_or_else(|| json!([])),
        }));
        self.ledger.push(Entry {
            order_id: order_id.clone(),
            capture_id: capture_id.clone(),
            captured_amount: amount,
            reference: given("reference").and_then(|r| r.as_str().map(String::from)),
            idempotency_key: about.key.as_ref().map(|(_, key)| key.clone()),
            captured_at,
            request_number: about.request_number,
        });
        if let Some(key) = about.key {
            let known = Known {
                capture_id: capture_id.clone(),
                location: location.clone(),
                until: about.now.saturating_add(KEY_LIFE),
            };
            self.known.insert(key, known);
        }
        Ok((capture_id, location))
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

/// The values that a member of a request may have.
enum Shape {
    /// A string of at most so many characters.
    Text(usize),
    Whole(i64, i64),
    OneOf(&'static [&'static str]),
    /// A list of at most so many objects.
    List(usize, &'static [Member]),
    Object(&'static [Member]),
}

use Shape::{List, Object, OneOf, Text, Whole};

struct Member {
    name: &'static str,
    required: bool,
    shape: Shape,
}

const fn must(name: &'static str, shape: Shape) -> Member {
    Member { name, required: true, shape }
}

const fn may(name: &'static str, shape: Shape) -> Member {
    Member { name, required: false, shape }
}

/// The request of a capture as Klarna's OpenAPI limits it. `type` and `shipping_method` take any text here, since
/// Klarna adds values. A captured_amount of 0 is allowed by the request's limits and excluded by the reply's; we
/// guess that it is refused.
const CAPTURE: &[Member] = &[
    must("captured_amount", Whole(1, AMOUNT_LIMIT)),
    may("reference", Text(255)),
    may("description", Text(255)),
    may("order_lines", List(1000, ORDER_LINE)),
    may("shipping_info", List(500, SHIPPING_INFO)),
    may("shipping_delay", Whole(0, i64::MAX)),
];

const ORDER_LINE: &[Member] = &[
    must("name", Text(255)),
    must("quantity", Whole(0, i64::MAX)),
    must("unit_price", Whole(i64::MIN, AMOUNT_LIMIT)),
    must("total_amount", Whole(i64::MIN, AMOUNT_LIMIT)),
    may("type", Text(255)),
    may("reference", Text(255)),
    may("quantity_unit", Text(10)),
    may("tax_rate", Whole(0, i32::MAX as i64)),
    may("total_discount_amount", Whole(0, AMOUNT_LIMIT)),
    may("total_tax_amount", Whole(i64::MIN, AMOUNT_LIMIT)),
    may("merchant_data", Text(1024)),
    may("product_url", Text(1024)),
    may("image_url", Text(1024)),
    may("product_identifiers", Object(PRODUCT_IDENTIFIERS)),
    may("subscription", Object(SUBSCRIPTION)),
];

const PRODUCT_IDENTIFIERS: &[Member] = &[
    may("brand", Text(70)),
    may("category_path", Text(750)),
    may("global_trade_item_number", Text(50)),
    may("manufacturer_part_number", Text(70)),
    may("color", Text(64)),
    may("size", Text(64)),
];

const SUBSCRIPTION: &[Member] = &[
    must("name", Text(255)),
    must("interval", OneOf(&["DAY", "WEEK", "MONTH", "YEAR"])),
    must("interval_count", Whole(1, i64::MAX)),
];

const SHIPPING_INFO: &[Member] = &[
    may("shipping_company", Text(100)),
    may("shipping_method", Text(255)),
    may("tracking_number", Text(100)),
    may("tracking_uri", Text(1024)),
    may("return_shipping_company", Text(100)),
    may("return_tracking_number", Text(100)),
    may("return_tracking_uri", Text(1024)),
];

/// Reads and checks the body of a capture.
fn capture_request(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    let bad = |message: String| Refusal::new(400, "BAD_REQUEST", message);
    let value: Value = serde_json::from_slice(body).map_err(|e| bad(format!("the body is not JSON: {e}")))?;
    let Value::Object(request) = value else {
        return Err(bad("the body is no JSON object".into()));
    };
    let mut messages = Vec::new();
    check_members(&request, CAPTURE, "", &mut messages);
    if messages.is_empty() {
        Ok(request)
    } else {
        Err(Refusal { status: 422, error_code: "UNPROCESSABLE_ENTITY", messages })
    }
}

fn check_members(object: &Map<String, Value>, members: &[Member], path: &str, messages: &mut Vec<String>) {
    for member in members {
        let path = format!("{path}{}", member.name);
        match object.get(member.name) {
            None | Some(Value::Null) if member.required => {
                messages.push(format!("{path} is missing"));
            }
            None | Some(Value::Null) => {}
            Some(value) => check(value, &member.shape, &path, messages),
        }
    }
}

fn check(value: &Value, shape: &Shape, path: &str, messages: &mut Vec<String>) {
    let wrong = match (shape, value) {
        (Text(limit), Value::String(text)) if text.chars().count() <= *limit => None,
        (Text(limit), _) => Some(format!("a string of at most {limit} characters")),
        (Whole(low, high), _) if value.as_i64().is_some_and(|n| (*low..=*high).contains(&n)) => None,
        (Whole(i64::MIN, high), _) => Some(format!("an integer up to {high}")),
        (Whole(low, i64::MAX), _) => Some(format!("an integer from {low}")),
        (Whole(low, high), _) => Some(format!("an integer from {low} to {high}")),
        (OneOf(words), _) if value.as_str().is_some_and(|text| words.contains(&text)) => None,
        (OneOf(words), _) => Some(format!("one of {}", words.join(", "))),
        (Object(members), Value::Object(object)) => {
            check_members(object, members, &format!("{path}."), messages);
            None
        }
        (Object(_), _) => Some("an object".into()),
        (List(limit, members), Value::Array(items)) if items.len() <= *limit => {
            for (index, item) in items.iter().enumerate() {
                check(item, &Object(members), &format!("{path}[{index}]"), messages);
            }
            None
        }
        (List(limit, _), _) => Some(format!("a list of at most {limit} objects")),
    };
    if let Some(wanted) = wrong {
        messages.push(format!("{path} must be {wanted}"));
    }
}

/// The end of year 9999, the last that four digits write.
const LAST: Millis = 253_402_300_799_999;

/// Year, month and day of a time in UTC.
pub(crate) fn date(millis: Millis) -> (i64, i64, i64) {
    // Counted in years that begin in March, so that the leap day comes last; 719,468 days lie between
    // 1 March of year 0 and 1970.
    let days = millis.div_euclid(DAY) + 719_468;
    let (cycle, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (cycle * 400 + year + next, month, day)
}

/// RFC 3339 in UTC with milliseconds.
pub(crate) fn timestamp(millis: Millis) -> String {
    let (year, month, day) = date(millis);
    let rest = millis.rem_euclid(DAY);
    let (hour, minute) = (rest / 3_600_000, rest / 60_000 % 60);
    let (second, milli) = (rest / 1000 % 60, rest % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// The form of HTTP's `Date`.
pub(crate) fn http_date(millis: Millis) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (year, month, day) = date(millis);
    let name = |names: &[&'static str], at: i64| usize::try_from(at).ok().and_then(|at| names.get(at).copied());
    let weekday = name(&DAYS, millis.div_euclid(DAY).rem_euclid(7)).unwrap_or_default();
    let month = name(&MONTHS, month - 1).unwrap_or_default();
    let rest = millis.rem_euclid(DAY);
    let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn order(amount: i64) -> NewOrder {
        NewOrder { order_id: Some("o".into()), order_amount: amount, ..NewOrder::default() }
    }

    fn klarna(new: NewOrder) -> Klarna {
        let mut klarna = Klarna::default();
        klarna.create(new, 0).unwrap();
        klarna
    }

    fn capture(klarna: &mut Klarna, body: &Value, now: Millis) -> Result<String, Refusal> {
        let place = place("/ordermanagement/v1/orders/o/captures").unwrap();
        let about = Circumstances { base: "http://x", key: None, request_number: 1, now };
        klarna.capture(&place, body.to_string().as_bytes(), about).map(|(id, _)| id)
    }

    fn code(result: Result<String, Refusal>) -> &'static str {
        result.unwrap_err().error_code
    }

    #[test]
    fn counts_down_to_captured() {
        let mut klarna = klarna(order(100));
        let status = |klarna: &Klarna| klarna.order("o", 0).unwrap()["status"].clone();
        assert_eq!(status(&klarna), "AUTHORIZED");
        capture(&mut klarna, &json!({"captured_amount": 60}), 0).unwrap();
        assert_eq!(status(&klarna), "PART_CAPTURED");
        assert_eq!(code(capture(&mut klarna, &json!({"captured_amount": 41}), 0)), "CAPTURE_NOT_ALLOWED");
        capture(&mut klarna, &json!({"captured_amount": 40}), 0).unwrap();
        assert_eq!(status(&klarna), "CAPTURED");
        assert_eq!(code(capture(&mut klarna, &json!({"captured_amount": 1}), 0)), "CAPTURE_NOT_ALLOWED");
        let order = klarna.order("o", 0).unwrap();
        assert_eq!(order["remaining_authorized_amount"], 0);
        let reference = order["klarna_reference"].as_str().unwrap();
        assert_eq!(order["captures"][1]["klarna_reference"], format!("{reference}-2"));
    }

    #[test]
    fn expires_at_its_time() {
        let mut klarna = klarna(order(100));
        let end = AUTHORIZATION_LIFE;
        assert_eq!(klarna.order("o", end - 1).unwrap()["status"], "AUTHORIZED");
        assert_eq!(klarna.order("o", end).unwrap()["status"], "EXPIRED");
        capture(&mut klarna, &json!({"captured_amount": 1}), end - 1).unwrap();
        assert_eq!(code(capture(&mut klarna, &json!({"captured_amount": 1}), end)), "CAPTURE_NOT_ALLOWED");
    }

    #[test]
    fn an_ended_or_pending_order_is_not_captured() {
        for status in [OrderStatus::Cancelled, OrderStatus::Expired, OrderStatus::Closed] {
            let mut klarna = klarna(NewOrder { status: Some(status), ..order(100) });
            assert_eq!(code(capture(&mut klarna, &json!({"captured_amount": 1}), 0)), "CAPTURE_NOT_ALLOWED");
        }
        let mut klarna = klarna(NewOrder { fraud_status: Some("PENDING".into()), ..order(100) });
        assert_eq!(code(capture(&mut klarna, &json!({"captured_amount": 1}), 0)), "CAPTURE_NOT_ALLOWED");
        let accepted = OrderChange { fraud_status: Some("ACCEPTED".into()), status: None };
        assert_eq!(klarna.change("o", accepted), Ok(true));
        capture(&mut klarna, &json!({"captured_amount": 1}), 0).unwrap();
    }

    #[test]
    fn refuses_impossible_orders() {
        let mut klarna = klarna(order(100));
        assert!(klarna.create(order(100), 0).unwrap_err().contains("exists"));
        for (new, says) in [
            (NewOrder { order_id: Some(String::new()), ..order(1) }, "order_id"),
            (NewOrder { order_id: None, ..order(-1) }, "order_amount"),
            (NewOrder { order_id: None, ..order(AMOUNT_LIMIT + 1) }, "order_amount"),
            (NewOrder { order_id: None, order_lines: Some(json!({})), ..order(1) }, "order_lines"),
            (NewOrder { order_id: None, status: Some(OrderStatus::Captured), ..order(1) }, "status"),
        ] {
            assert!(klarna.create(new, 0).unwrap_err().contains(says), "{says}");
        }
    }

    #[test]
    fn a_field_out_of_its_limits_is_named() {
        let line = json!({"name": "n", "quantity": 1, "unit_price": 1, "total_amount": 1});
        let with = |path: &[&str], value: Value| {
            let mut request =
                json!({"captured_amount": 1, "order_lines": [line.clone(), line.clone()], "shipping_info": [{}]});
            let mut at = &mut request;
            for step in path {
                at = match step.parse::<usize>() {
                    Ok(index) => &mut at[index],
                    Err(_) => &mut at[*step],
                };
            }
            *at = value;
            capture(&mut klarna(order(AMOUNT_LIMIT)), &request, 0)
        };
        let says = |path: &[&str], value: Value, message: &str| {
            let refusal = with(path, value).unwrap_err();
            assert_eq!((refusal.status, refusal.error_code), (422, "UNPROCESSABLE_ENTITY"));
            assert!(refusal.messages[0].starts_with(message), "{:?}", refusal.messages);
        };
        says(&["captured_amount"], json!(0), "captured_amount must be an integer from 1 to 200000000");
        says(&["captured_amount"], json!(200_000_001), "captured_amount");
        says(&["captured_amount"], json!("1"), "captured_amount");
        says(&["captured_amount"], json!(1.0), "captured_amount");
        says(&["captured_amount"], json!(null), "captured_amount is missing");
        says(&["reference"], json!("é".repeat(256)), "reference must be a string of at most 255");
        says(&["order_lines"], json!({}), "order_lines must be a list");
        says(&["order_lines"], json!(vec![line.clone(); 1001]), "order_lines must be a list");
        says(&["order_lines", "1"], json!(1), "order_lines[1] must be an object");
        says(&["order_lines", "1", "name"], json!(null), "order_lines[1].name is missing");
        says(&["order_lines", "0", "quantity"], json!(-1), "order_lines[0].quantity must be an integer from 0");
        says(
            &["order_lines", "0", "unit_price"],
            json!(200_000_001),
            "order_lines[0].unit_price must be an integer up to",
        );
        says(&["order_lines", "0", "quantity_unit"], json!("12345678901"), "order_lines[0].quantity_unit");
        says(
            &["order_lines", "0", "product_identifiers"],
            json!({"size": "s".repeat(65)}),
            "order_lines[0].product_identifiers.size",
        );
        says(
            &["order_lines", "0", "subscription"],
            json!({"name": "s", "interval": "day", "interval_count": 1}),
            "order_lines[0].subscription.interval must be one of",
        );
        says(&["shipping_info", "0", "tracking_number"], json!("t".repeat(101)), "shipping_info[0].tracking_number");
        says(&["shipping_delay"], json!(-1), "shipping_delay");

        with(&["reference"], json!("é".repeat(255))).unwrap();
        with(&["reference"], json!(null)).unwrap();
        with(&["order_lines", "0", "unit_price"], json!(-5)).unwrap();
        with(&["order_lines", "0", "type"], json!("package")).unwrap();
        with(&["something"], json!("else")).unwrap();
    }

    #[test]
    fn a_body_that_is_no_object_is_malformed() {
        let place = place("/ordermanagement/v1/orders/o/captures").unwrap();
        for body in [&b"{"[..], b"", b"[]", b"1", b"{\"captured_amount\": 1}}", b"\xff"] {
            let about = Circumstances { base: "", key: None, request_number: 1, now: 0 };
            let refusal = klarna(order(1)).capture(&place, body, about).unwrap_err();
            assert_eq!((refusal.status, refusal.error_code), (400, "BAD_REQUEST"));
        }
    }

    #[test]
    fn a_key_is_free_then_in_flight_then_known_then_forgotten() {
        let mut klarna = klarna(order(100));
        let key: Key = ("m".into(), "k".into());
        assert!(matches!(klarna.reserve(&key, 0), KeyState::Reserved));
        assert!(matches!(klarna.reserve(&key, 0), KeyState::InFlight));
        let other: Key = ("n".into(), "k".into());
        assert!(matches!(klarna.reserve(&other, 0), KeyState::Reserved));
        let place = place("/ordermanagement/v1/orders/o/captures").unwrap();
        let about = Circumstances { base: "", key: Some(key.clone()), request_number: 1, now: 0 };
        let (id, _) = klarna.capture(&place, br#"{"captured_amount":1}"#, about).unwrap();
        klarna.release(&key);
        match klarna.reserve(&key, KEY_LIFE - 1) {
            KeyState::Known { capture_id, .. } => assert_eq!(capture_id, id),
            _ => panic!("the key is not known"),
        }
        assert!(matches!(klarna.reserve(&key, KEY_LIFE), KeyState::Reserved));
    }

    #[test]
    fn reads_paths() {
        let at = |path: &str| place(&format!("/ordermanagement/v1/orders/{path}"));
        let found = at("a%2Fb/captures/c%20d").unwrap();
        assert_eq!(found.order_id, "a/b");
        assert_eq!(found.resource, Some(Resource::Capture("c d".into())));
        assert_eq!(at("a").unwrap().resource, Some(Resource::Order));
        assert_eq!(at("a/captures").unwrap().resource, Some(Resource::Captures));
        assert_eq!(at("a/captures/").unwrap().resource, None);
        assert_eq!(at("a/refunds").unwrap().resource, None);
        assert_eq!(at(""), None);
        assert_eq!(place("/ordermanagement/v2/orders/a"), None);
    }

    #[test]
    fn writes_dates() {
        assert_eq!(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(http_date(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn expires_at_midnight_unless_told() {
        let mut klarna = Klarna::default();
        let noon = 20_000 * DAY + DAY / 2;
        let id = klarna.create(NewOrder { order_id: None, ..order(1) }, noon).unwrap();
        assert_eq!(klarna.order(&id, noon).unwrap()["expires_at"], timestamp(20_028 * DAY));
        let id = klarna.create(NewOrder { order_id: None, expires_in: Some(60), ..order(1) }, noon).unwrap();
        assert_eq!(klarna.order(&id, noon).unwrap()["expires_at"], timestamp(noon + 60_000));
    }

    #[test]
    fn writes_times() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(timestamp(951_782_399_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(timestamp(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(timestamp(1_709_251_200_000), "2024-03-01T00:00:00.000Z");
        assert_eq!(timestamp(LAST), "9999-12-31T23:59:59.999Z");
    }
}
