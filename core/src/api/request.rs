//! The capture request: Klarna's fields under Klarna's names, their limits, and the parser.
//!
//! Names, types and limits follow the OpenAPI description of the Order Management API that
//! Klarna published in 2024 (`POST /ordermanagement/v1/orders/{order_id}/captures`).

use serde::Deserializer;

use crate::error::Error;
use crate::strict::{Field, Item, Reader, Rule, object, words};

pub(crate) const TEXT: Rule = Rule::Text { min: 0, max: 255 };
const URI: Rule = Rule::Text { min: 0, max: 1024 };
const MINOR_UNITS: &str = "minor units: 60.00 is 6000";
const MAX_AMOUNT: i64 = 200_000_000;
/// 0 is within Klarna's schema, but the captures it returns start at 1: capturing nothing is
/// taken for a mistake.
pub(crate) const CAPTURED_AMOUNT: Rule = Rule::Integer { min: 1, max: MAX_AMOUNT, unit: MINOR_UNITS };
pub(crate) const AMOUNT: Rule = Rule::Integer { min: 0, max: MAX_AMOUNT, unit: MINOR_UNITS };
const SIGNED_AMOUNT: Rule = Rule::Integer { min: i64::MIN, max: MAX_AMOUNT, unit: MINOR_UNITS };

object! {
    /// The body of Klarna's capture call: how much is captured, and for what.
    ///
    /// A full and a partial capture are the same call; they differ in `captured_amount`. The
    /// order's currency applies.
    ///
    /// Names, types and limits, here and in what it holds, are those of the OpenAPI description of the
    /// Order Management API that Klarna published in 2024
    /// (`POST /ordermanagement/v1/orders/{order_id}/captures`). Stricter than that is one thing: 0 is
    /// within Klarna's schema, but the captures it returns start at 1, so capturing nothing is taken
    /// for a mistake.
    ///
    /// ```
    /// use takings::{CaptureRequest, OrderLine};
    ///
    /// let mut request = CaptureRequest::new(6000);
    /// request.reference = Some("parcel-1".into());
    /// request.order_lines = Some(vec![OrderLine::new("Tomatoes", 10, 600, 6000)]);
    /// ```
    pub struct CaptureRequest: "a capture request" {
        /// How much is captured, in minor units (60.00 is 6000), tax included: 1 to
        /// 200,000,000. Klarna refuses more than the order's remaining authorized amount.
        required captured_amount "captured_amount": i64, CAPTURED_AMOUNT;
        /// Your own name for this capture, at most 255 characters. It ends up in Klarna's
        /// settlement files, and a unique one lets a capture be found again.
        optional reference "reference": String, Rule::Name { min: 0, max: 255 };
        /// Shown to the customer, at most 255 characters.
        optional description "description": String, TEXT;
        /// The lines that the captured amount is for, at most 1000.
        optional order_lines "order_lines": Vec<OrderLine>, Rule::List { max: 1000, of: "order lines" };
        /// How the goods travel, at most 500 entries. Klarna expects it for physical goods.
        optional shipping_info "shipping_info": Vec<ShippingInfo>, Rule::List { max: 500, of: "shipping infos" };
        /// Days until the goods are shipped, 0 or more. Above 0 only for accounts with that
        /// feature.
        optional shipping_delay "shipping_delay": i64, Rule::Integer { min: 0, max: i64::MAX, unit: "days" };
    }
}

object! {
    /// A line of the order, as the customer sees it. Where the limits come from:
    /// [`CaptureRequest`].
    ///
    /// `total_amount` is `quantity * unit_price - total_discount_amount`; what is done about a
    /// line that does not add up is [`Config::check_lines`](crate::Config::check_lines).
    pub struct OrderLine: "an order line" {
        /// The kind of the line.
        optional line_type "type": OrderLineType, OrderLineType::RULE;
        /// Article number, at most 255 characters. Must be the same in captures and refunds
        /// for Klarna to assign a refund to the right capture.
        optional reference "reference": String, TEXT;
        /// The name of what the line is for, at most 255 characters.
        required name "name": String, TEXT;
        /// How many, 0 or more. Whole units only: sell 1.5 kg as 1500 g, or as quantity 1.
        required quantity "quantity": i64, Rule::Integer { min: 0, max: i64::MAX, unit: "whole units" };
        /// The unit of `quantity`, such as `kg` or `pcs`, at most 10 characters.
        optional quantity_unit "quantity_unit": String, Rule::Text { min: 0, max: 10 };
        /// Price of one unit in minor units, tax included, before discount: at most
        /// 200,000,000; negative on discounts.
        required unit_price "unit_price": i64, SIGNED_AMOUNT;
        /// Tax rate in hundredths of a percent: 25 % is 2500.
        optional tax_rate "tax_rate": i64, Rule::Integer { min: 0, max: i32::MAX as i64, unit: "hundredths of a percent: 25 % is 2500" };
        /// The line's total in minor units, tax and discount included: at most 200,000,000;
        /// negative on discounts.
        required total_amount "total_amount": i64, SIGNED_AMOUNT;
        /// Discount of the whole line in minor units, tax included: 0 to 200,000,000.
        optional total_discount_amount "total_discount_amount": i64, AMOUNT;
        /// Tax contained in `total_amount`, in minor units: at most 200,000,000; negative on
        /// discounts.
        optional total_tax_amount "total_tax_amount": i64, SIGNED_AMOUNT;
        /// Your own data, at most 1024 characters.
        optional merchant_data "merchant_data": String, URI;
        /// The product's page, at most 1024 characters.
        optional product_url "product_url": String, URI;
        /// A picture of the product, at most 1024 characters.
        optional image_url "image_url": String, URI;
        /// Names of the product outside the shop.
        optional product_identifiers "product_identifiers": ProductIdentifiers, Rule::Object("product identifiers");
        /// The subscription the line belongs to.
        optional subscription "subscription": Subscription, Rule::Object("a subscription");
    }
}

words! {
    /// The kind of an order line. Klarna adds to these; [`Other`](OrderLineType::Other) sends
    /// a value that is not known here.
    pub enum OrderLineType: open {
        Physical = "physical",
        Discount = "discount",
        ShippingFee = "shipping_fee",
        SalesTax = "sales_tax",
        StoreCredit = "store_credit",
        GiftCard = "gift_card",
        Digital = "digital",
        Surcharge = "surcharge",
        ReturnFee = "return_fee",
    }
}

object! {
    /// Names of a product outside the shop. Every field may be absent.
    #[derive(Default)]
    pub struct ProductIdentifiers: "product identifiers" {
        /// At most 70 characters.
        optional brand "brand": String, Rule::Text { min: 0, max: 70 };
        /// The categories from general to special, joined by ` > `, at most 750 characters.
        optional category_path "category_path": String, Rule::Text { min: 0, max: 750 };
        /// EAN, GTIN, ISBN or UPC, at most 50 characters.
        optional global_trade_item_number "global_trade_item_number": String, Rule::Text { min: 0, max: 50 };
        /// At most 70 characters.
        optional manufacturer_part_number "manufacturer_part_number": String, Rule::Text { min: 0, max: 70 };
        /// At most 64 characters.
        optional color "color": String, Rule::Text { min: 0, max: 64 };
        /// At most 64 characters.
        optional size "size": String, Rule::Text { min: 0, max: 64 };
    }
}

object! {
    /// The subscription an order line belongs to.
    pub struct Subscription: "a subscription" {
        /// At most 255 characters.
        required name "name": String, TEXT;
        /// The unit of `interval_count`.
        required interval "interval": Interval, Interval::RULE;
        /// How many intervals lie between two payments, 1 or more.
        required interval_count "interval_count": i64, Rule::Integer { min: 1, max: i64::MAX, unit: "intervals" };
    }
}

words! {
    /// The unit of a subscription's interval.
    pub enum Interval: closed {
        Day = "DAY",
        Week = "WEEK",
        Month = "MONTH",
        Year = "YEAR",
    }
}

object! {
    /// How one consignment travels. Every field may be absent; Klarna follows the parcel only
    /// when company and tracking number are there. Where the limits come from: [`CaptureRequest`].
    #[derive(Default)]
    pub struct ShippingInfo: "a shipping info" {
        /// The carrier, best as its name on Klarna's list of carriers, at most 100 characters.
        optional shipping_company "shipping_company": String, Rule::Text { min: 0, max: 100 };
        /// How it is delivered.
        optional shipping_method "shipping_method": ShippingMethod, ShippingMethod::RULE;
        /// At most 100 characters. Klarna checks it later; a wrong one does not fail the call.
        optional tracking_number "tracking_number": String, Rule::Text { min: 0, max: 100 };
        /// Where the customer follows the parcel, at most 1024 characters.
        optional tracking_uri "tracking_uri": String, URI;
        /// The carrier of a return, at most 100 characters.
        optional return_shipping_company "return_shipping_company": String, Rule::Text { min: 0, max: 100 };
        /// The tracking number of a return, at most 100 characters.
        optional return_tracking_number "return_tracking_number": String, Rule::Text { min: 0, max: 100 };
        /// Where the customer follows the return, at most 1024 characters.
        optional return_tracking_uri "return_tracking_uri": String, URI;
    }
}

words! {
    /// How a consignment is delivered. Klarna adds to these; [`Other`](ShippingMethod::Other)
    /// sends a value that is not known here. Upper and lower case matter.
    pub enum ShippingMethod: open {
        PickUpStore = "PickUpStore",
        Home = "Home",
        BoxReg = "BoxReg",
        BoxUnreg = "BoxUnreg",
        PickUpPoint = "PickUpPoint",
        Own = "Own",
        Postal = "Postal",
        DhlPackstation = "DHLPackstation",
        Digital = "Digital",
        Undefined = "Undefined",
        PickUpWarehouse = "PickUpWarehouse",
        ClickCollect = "ClickCollect",
        PalletDelivery = "PalletDelivery",
    }
}

impl CaptureRequest {
    /// A capture of `captured_amount` minor units with nothing else said.
    pub fn new(captured_amount: i64) -> CaptureRequest {
        CaptureRequest { captured_amount, ..Field::blank() }
    }

    /// Reads a request from JSON text, strictly: nothing is converted. An unknown or doubled field
    /// is refused, and so is a number with a fraction, or a string or boolean for a number. So is
    /// a value out of its limits or of the wrong shape. So is a word that takings does not know in [`OrderLineType`]
    /// or [`ShippingMethod`]; [`Client::capture_json`](crate::Client::capture_json) of a client with
    /// [`accept_unknown_values`](crate::Config::accept_unknown_values) lets it pass, and so does
    /// [`from_deserializer`](CaptureRequest::from_deserializer) where asked to.
    ///
    /// # Errors
    ///
    /// `invalid_input`, naming the path (`order_lines[3].quantity`), what it got and what is
    /// allowed.
    ///
    /// ```
    /// let error = takings::CaptureRequest::from_json(r#"{"captured_amount": 60.0}"#).unwrap_err();
    /// assert!(error.message().starts_with("captured_amount is the number 60.0"));
    /// ```
    pub fn from_json(text: &str) -> Result<CaptureRequest, Error> {
        CaptureRequest::from_json_with(text, false)
    }

    pub(crate) fn from_json_with(text: &str, accept_unknown_values: bool) -> Result<CaptureRequest, Error> {
        Reader::new(WHOLE, accept_unknown_values).json(text, &CaptureRequest::RULE)
    }

    /// The same from any serde source, such as a scripting language's own values.
    /// `accept_unknown_values` lets words pass that Klarna may have added to
    /// [`OrderLineType`] and [`ShippingMethod`].
    ///
    /// # Errors
    ///
    /// As [`from_json`](CaptureRequest::from_json).
    pub fn from_deserializer<'de, D: Deserializer<'de>>(
        source: D,
        accept_unknown_values: bool,
    ) -> Result<CaptureRequest, Error> {
        Reader::new(WHOLE, accept_unknown_values).read(source, &CaptureRequest::RULE)
    }

    /// Checks every limit, for a request built field by field.
    ///
    /// # Errors
    ///
    /// `invalid_input`, naming the path.
    pub fn check(&self) -> Result<(), Error> {
        Field::check(self, &Reader::new(WHOLE, false).root(), &CaptureRequest::RULE)
    }
}

const WHOLE: &str = "the request";

impl OrderLine {
    /// A line with the fields that Klarna requires: name, quantity, price of one unit, total.
    pub fn new(name: impl Into<String>, quantity: i64, unit_price: i64, total_amount: i64) -> OrderLine {
        OrderLine { name: name.into(), quantity, unit_price, total_amount, ..Field::blank() }
    }
}

impl Subscription {
    /// A subscription called `name`, paid every `interval_count` `interval`s.
    pub fn new(name: impl Into<String>, interval: Interval, interval_count: i64) -> Subscription {
        Subscription { name: name.into(), interval, interval_count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        CaptureRequest::from_json(text).expect_err(text).message().to_owned()
    }

    /// A refusal of one field of the only order line.
    fn line(field: &str, value: &str) -> String {
        let mut line = serde_json::json!({"name": "n", "quantity": 1, "unit_price": 1, "total_amount": 1});
        line.as_object_mut().unwrap().remove(field);
        let rest = line.to_string();
        refusal(&format!(
            r#"{{"captured_amount":1,"order_lines":[{},"{field}":{value}}}]}}"#,
            rest.trim_end_matches('}')
        ))
    }

    #[test]
    fn klarnas_sample_goes_out_compact_and_in_order() {
        let sample = include_str!("../../../examples/capture.json");
        let request = CaptureRequest::from_json(sample).unwrap();
        let written = serde_json::to_string(&request).unwrap();
        // the sample's own order is the fixed one, and no text in it holds a blank beside a quote
        let mut compact = String::new();
        let mut quoted = false;
        for c in sample.chars() {
            quoted ^= c == '"';
            if quoted || !c.is_whitespace() {
                compact.push(c);
            }
        }
        assert_eq!(written, compact);
        assert_eq!(CaptureRequest::from_json(&written).unwrap(), request);
    }

    #[test]
    fn numbers_are_never_converted() {
        for bad in
            ["60.0", "6e3", "1.15", "\"6000\"", "true", "null", "[6000]", "{}", "-0", "9223372036854775808", "1e999"]
        {
            let message = refusal(&format!(r#"{{"captured_amount":{bad}}}"#));
            assert!(message.starts_with("captured_amount "), "{message}");
        }
        for bad in ["NaN", "Infinity", "0x10", "6_000", "+6"] {
            let message = refusal(&format!(r#"{{"captured_amount":{bad}}}"#));
            assert!(message.contains(" at line 1 column "), "{message}");
            assert!(message.contains("; it must be a"), "{message}");
        }
        for bad in ["NaN", "1e999"] {
            let message = refusal(&format!(r#"{{"captured_amount":{bad}}}"#));
            assert!(message.ends_with("; it must be a whole number from 1 to 200000000 (minor units: 60.00 is 6000)"));
        }
        assert_eq!(
            refusal(r#"{"captured_amount":"6000"}"#),
            "captured_amount is the string \"6000\"; it must be a whole number from 1 to 200000000 (minor units: 60.00 is 6000)"
        );
    }

    #[test]
    fn limits_of_numbers() {
        for good in ["1", "200000000"] {
            assert!(CaptureRequest::from_json(&format!(r#"{{"captured_amount":{good}}}"#)).is_ok());
        }
        for bad in ["0", "-1", "200000001", "9223372036854775807"] {
            assert!(
                refusal(&format!(r#"{{"captured_amount":{bad}}}"#)).starts_with(&format!("captured_amount is {bad};"))
            );
        }
        assert!(line("quantity", "-1").starts_with("order_lines[0].quantity is -1;"));
        assert!(line("unit_price", "200000001").contains("at most 200000000"));
        assert!(line("tax_rate", "2147483648").starts_with("order_lines[0].tax_rate"));
        assert!(line("total_discount_amount", "-1").starts_with("order_lines[0].total_discount_amount"));
    }

    #[test]
    fn limits_of_texts_count_characters() {
        let with = |text: &str| format!(r#"{{"captured_amount":1,"reference":"{text}"}}"#);
        assert!(CaptureRequest::from_json(&with(&"ö".repeat(255))).is_ok());
        assert!(refusal(&with(&"ö".repeat(256))).starts_with("reference is a string of 256 characters;"));
        for control in ["\\u0000", "\\n", "\\u007f", "\\u0085"] {
            assert!(refusal(&with(control)).starts_with("reference is a string that holds U+00"), "{control}");
        }
        assert!(line("quantity_unit", "\"12345678901\"").starts_with("order_lines[0].quantity_unit"));
    }

    #[test]
    fn limits_of_lists() {
        let line = r#"{"name":"n","quantity":1,"unit_price":1,"total_amount":1}"#;
        let with = |n| format!(r#"{{"captured_amount":1,"order_lines":[{}]}}"#, vec![line; n].join(","));
        assert!(CaptureRequest::from_json(&with(1000)).is_ok());
        assert!(refusal(&with(1001)).starts_with("order_lines is a list of more than 1000;"));
        let mut request = CaptureRequest::new(1);
        request.shipping_info = Some(vec![ShippingInfo::default(); 501]);
        assert!(request.check().unwrap_err().message().starts_with("shipping_info is a list of 501;"));
    }

    #[test]
    fn shapes() {
        assert!(refusal("[]").starts_with("the request is a list;"));
        assert!(refusal("6000").starts_with("the request is a number;"));
        assert!(refusal("").starts_with("the request is not valid JSON"));
        assert!(refusal("{\"captured_amount\":1}x").starts_with("the request is not valid JSON"));
        assert!(refusal(r#"{"captured_amount":1,"order_lines":{}}"#).starts_with("order_lines is an object;"));
        assert!(refusal(r#"{"captured_amount":1,"order_lines":[[]]}"#).starts_with("order_lines[0] is a list;"));
        assert!(line("product_identifiers", "[]").starts_with("order_lines[0].product_identifiers is a list;"));
        assert!(refusal(r#"{"captured_amount":1,"reference":5}"#).starts_with("reference is a number;"));
    }

    #[test]
    fn field_names() {
        assert!(refusal("{}").starts_with("captured_amount is missing;"));
        assert_eq!(
            refusal(r#"{"capture_amount":1}"#),
            "capture_amount is not a field of a capture request; did you mean captured_amount?"
        );
        assert_eq!(
            line("totalAmount", "1"),
            "order_lines[0].totalAmount is not a field of an order line; did you mean total_amount?"
        );
        assert!(refusal(r#"{"zzz":1}"#).contains("its fields are captured_amount, reference,"));
        assert!(refusal(r#"{"captured_amount":1,"captured_amount":1}"#).starts_with("captured_amount is given twice"));
        assert!(!refusal(r#"{"a\u001b[31m\n":1}"#).contains(['\u{1b}', '\n']));
        assert!(
            line("subscription", r#"{"name":"n","interval":"DAY"}"#).contains("subscription.interval_count is missing")
        );
    }

    #[test]
    fn words_that_klarna_adds_need_an_opt_in() {
        let text = r#"{"captured_amount":1,"shipping_info":[{"shipping_method":"home"}]}"#;
        assert_eq!(
            refusal(text),
            "shipping_info[0].shipping_method is \"home\", which is not known; did you mean \"Home\"? \
             (accept_unknown_values lets a value pass that Klarna added later)"
        );
        let request = CaptureRequest::from_json_with(text, true).unwrap();
        assert_eq!(
            request.shipping_info.as_ref().unwrap()[0].shipping_method,
            Some(ShippingMethod::Other("home".into()))
        );
        assert!(serde_json::to_string(&request).unwrap().contains(r#""shipping_method":"home""#));
        let interval = r#"{"name":"n","interval":"day","interval_count":1}"#;
        assert!(line("subscription", interval).contains("did you mean \"DAY\"?"), "intervals are fixed");
    }

    #[test]
    fn what_goes_in_goes_out() {
        let text = r#"{"captured_amount":1,"order_lines":[],"shipping_info":[{}],"shipping_delay":0}"#;
        assert_eq!(serde_json::to_string(&CaptureRequest::from_json(text).unwrap()).unwrap(), text);
    }

    #[test]
    fn debug_is_that_of_a_derive() {
        let mut request = CaptureRequest::new(5);
        request.reference = Some("me@example.com".into());
        let debug = format!("{request:?}");
        assert!(debug.starts_with(r#"CaptureRequest { captured_amount: 5, reference: Some("me@example.com"), desc"#));
        assert!(debug.ends_with("shipping_delay: None }"), "{debug}");
    }

    #[test]
    fn the_schema_tells_every_field() {
        let schema: serde_json::Value = {
            let mut all = crate::strict::schema::Reachable::default();
            all.add(&<CaptureRequest as crate::strict::Object>::SCHEMA);
            all.to_json()
        };
        let objects = schema["objects"].as_object().unwrap();
        let names: Vec<_> = objects.keys().map(String::as_str).collect();
        assert_eq!(names, ["CaptureRequest", "OrderLine", "ProductIdentifiers", "ShippingInfo", "Subscription"]);
        let mut named = std::collections::BTreeSet::new();
        for object in objects.values() {
            assert!(!object["doc"].as_str().unwrap().contains("```"));
            for field in object["fields"].as_array().unwrap() {
                assert!(!field["doc"].as_str().unwrap().is_empty(), "{field}");
                for kind in [&field["type"], &field["type"]["of"]] {
                    named.extend(kind.get("name").and_then(|name| name.as_str()));
                }
            }
        }
        let words = schema["words"].as_object().unwrap();
        assert!(named.iter().all(|name| objects.contains_key(*name) || words.contains_key(*name)), "{named:?}");

        let fields = |name: &str| {
            let fields = objects[name]["fields"].as_array().unwrap();
            fields.iter().map(|field| field["name"].as_str().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(fields("CaptureRequest"), CaptureRequest::FIELDS);
        assert_eq!(fields("OrderLine"), OrderLine::FIELDS);
        assert_eq!(
            objects["CaptureRequest"]["fields"][3]["type"],
            serde_json::json!({"kind": "list", "max": 1000, "of": {"kind": "object", "name": "OrderLine"}})
        );
        let interval = &words["Interval"];
        assert_eq!((&interval["open"], &words["OrderLineType"]["open"]), (&false.into(), &true.into()));
        assert_eq!(interval["words"][0], serde_json::json!({"word": "DAY", "variant": "Day", "doc": ""}));
        assert_eq!(interval["doc"], "The unit of a subscription's interval.");
    }
}
