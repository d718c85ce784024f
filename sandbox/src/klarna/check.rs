//! The bodies of requests, as Klarna's OpenAPI limits them. The tables are written by hand, from the published facts:
//! a table made from the library's own would agree with its mistakes.

use super::{AMOUNT_LIMIT, Operation, Refusal};
use serde_json::{Map, Value};

/// The values that a member of a request may have.
enum Shape {
    /// A string of at most so many characters.
    Text(usize),
    Whole(i64, i64),
    OneOf(&'static [&'static str]),
    /// A list of at least and at most so many objects.
    List(usize, usize, &'static [Member]),
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
    may("order_lines", List(0, 1000, ORDER_LINE)),
    may("shipping_info", List(0, 500, SHIPPING_INFO)),
    may("shipping_delay", Whole(0, i64::MAX)),
];

/// A refund of 0 is guessed to be refused, like a capture of 0.
const REFUND: &[Member] = &[
    must("refunded_amount", Whole(1, AMOUNT_LIMIT)),
    may("reference", Text(255)),
    may("description", Text(255)),
    may("order_lines", List(0, 1000, ORDER_LINE)),
];

const AUTHORIZATION: &[Member] = &[
    must("order_amount", Whole(0, AMOUNT_LIMIT)),
    may("description", Text(255)),
    may("order_lines", List(0, 1000, ORDER_LINE)),
];

const CUSTOMER_DETAILS: &[Member] = &[must("shipping_address", Object(ADDRESS))];

const ADDRESS: &[Member] = &[
    may("title", Text(20)),
    may("given_name", Text(100)),
    may("family_name", Text(100)),
    may("organization_name", Text(255)),
    may("attention", Text(255)),
    may("street_address", Text(100)),
    may("street_address2", Text(100)),
    may("postal_code", Text(10)),
    may("city", Text(200)),
    may("region", Text(200)),
    may("country", Text(255)),
    may("email", Text(100)),
    may("phone", Text(100)),
];

const MERCHANT_REFERENCES: &[Member] = &[may("merchant_reference1", Text(255)), may("merchant_reference2", Text(255))];

const SHIPPING: &[Member] = &[must("shipping_info", List(1, 500, SHIPPING_INFO))];

const DUE_DATE: &[Member] = &[must("number_of_days", Whole(1, i32::MAX as i64))];

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

/// The members of a request; `None`: the call takes no body.
fn members(operation: Operation) -> Option<&'static [Member]> {
    Some(match operation {
        Operation::Capture => CAPTURE,
        Operation::Refund => REFUND,
        Operation::UpdateAuthorization => AUTHORIZATION,
        Operation::UpdateCustomerDetails => CUSTOMER_DETAILS,
        Operation::UpdateMerchantReferences => MERCHANT_REFERENCES,
        Operation::AppendShippingInfo | Operation::AppendOrderShippingInfo => SHIPPING,
        Operation::ExtendDueDate => DUE_DATE,
        _ => return None,
    })
}

/// Whether a call needs a body. The body of any other call is ignored.
pub(crate) fn has_body(operation: Operation) -> bool {
    members(operation).is_some()
}

/// Reads and checks a body. A call without one gives an empty object.
pub(super) fn request(operation: Operation, body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    let Some(members) = members(operation) else {
        return Ok(Map::new());
    };
    let bad = |message: String| Refusal::new(400, "BAD_REQUEST", message);
    let value: Value = serde_json::from_slice(body).map_err(|e| bad(format!("the body is not JSON: {e}")))?;
    let Value::Object(request) = value else {
        return Err(bad("the body is no JSON object".into()));
    };
    let mut messages = Vec::new();
    check_members(&request, members, "", &mut messages);
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
        (List(low, high, members), Value::Array(items)) if (*low..=*high).contains(&items.len()) => {
            for (index, item) in items.iter().enumerate() {
                check(item, &Object(members), &format!("{path}[{index}]"), messages);
            }
            None
        }
        (List(0, high, _), _) => Some(format!("a list of at most {high} objects")),
        (List(low, high, _), _) => Some(format!("a list of {low} to {high} objects")),
    };
    if let Some(wanted) = wrong {
        messages.push(format!("{path} must be {wanted}"));
    }
}
