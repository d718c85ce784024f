//! The replies of operations that read: Klarna's documents, each member declared once. From a declaration follow the
//! getters of Rust, the lenient reading, and the description for other languages.
//!
//! Names and types follow the OpenAPI description of the Order Management API that Klarna published in 2024.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use crate::api::order_requests::Address;
use crate::api::reply::{Content, DOCUMENT_FACTS, DocumentFacts, Face, Facts};
use crate::api::request::{OrderLine, ShippingInfo};
use crate::api::tree::{self, DocumentInfo, Member, MemberKind, Node, Object, RequestInfo, Whole};
use crate::error::Error;
use crate::record::{Attempt, RecordInfo};
use crate::strict::{Field, Item, Object as Requested, Reader};

/// An object that was read: the reply it came in, and its own part of it.
type Held = (Arc<Facts>, Arc<Object>);

/// A type that a member has in Rust.
trait Part: Sized {
    fn of(facts: &Arc<Facts>, object: Arc<Object>) -> Self;
}

fn parts<T: Part>((facts, object): &Held, name: &str) -> Vec<T> {
    let items = object.get(name).and_then(Node::as_list).unwrap_or_default();
    items.iter().filter_map(|item| part(facts, item)).collect()
}

fn part<T: Part>(facts: &Arc<Facts>, node: &Node) -> Option<T> {
    if let Node::Object(object) = node { Some(T::of(facts, object.clone())) } else { None }
}

fn text<'a>(held: &'a Held, name: &str) -> Option<&'a str> {
    held.1.get(name).and_then(Node::as_text)
}

/// An object of requests, by the rules of requests.
fn request<T: Field + Item>(value: &impl Serialize, name: &'static str) -> Result<T, Error> {
    let text = serde_json::to_string(value).unwrap_or_default();
    Reader::new(name, true).json(&text, &T::RULE)
}

/// Declares documents and the objects in them.
macro_rules! documents {
    ($(
        $(#[doc = $doc:literal])*
        $level:ident $Name:ident, $INFO:ident {
            $( $(#[doc = $member_doc:literal])* $member:ident $wire:literal: $kind:ident $of:tt; )*
        }
    )*) => { $(
        $(#[doc = $doc])*
        #[derive(Clone, PartialEq, Eq)]
        pub struct $Name(Held);

        /// The members of that name.
        pub static $INFO: DocumentInfo = DocumentInfo {
            name: stringify!($Name),
            doc: &[$($doc),*],
            members: &[$( Member {
                name: $wire,
                doc: &[$($member_doc),*],
                kind: documents!(@kind $kind $of),
            } ),*],
        };

        impl $Name {
            $( documents!(@getter [$(#[doc = $member_doc])*] $member $wire $kind $of); )*

            /// The value at a JSON Pointer (RFC 6901), such as `/captures/0/captured_amount`; also of a member that has
            /// no method here.
            pub fn at(&self, pointer: &str) -> Option<Node> {
                Node::Object(self.0.1.clone()).at(pointer).cloned()
            }

            /// The JSON text, exactly as Klarna wrote it.
            pub fn raw(&self) -> &str {
                self.0.0.text_at(self.0.1.place)
            }
        }

        impl Part for $Name {
            fn of(facts: &Arc<Facts>, object: Arc<Object>) -> $Name {
                $Name((facts.clone(), object))
            }
        }

        /// Without values, which may be the customer's.
        impl fmt::Debug for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let names: Vec<&str> = self.0.1.members().map(|(name, _)| name).collect();
                f.debug_struct(stringify!($Name)).field("order_id", &self.0.0.order_id).field("members", &names).finish()
            }
        }

        documents!(@level $level $Name $INFO [$($doc),*]);
    )* };

    (@kind text ()) => { MemberKind::Text };
    (@kind word ($words:ident)) => { MemberKind::Word(&$words) };
    (@kind amount ()) => { MemberKind::Integer("minor units: 60.00 is 6000") };
    (@kind number ($unit:literal)) => { MemberKind::Integer($unit) };
    (@kind time ()) => { MemberKind::Time };
    (@kind object ($Of:ident $OF:ident)) => { MemberKind::Object(&$OF) };
    (@kind objects ($Of:ident $OF:ident)) => { MemberKind::Objects(&$OF) };
    (@kind documents ($Of:ident $OF:ident)) => { MemberKind::Documents(&$OF) };
    (@kind request ($Of:ident)) => { MemberKind::Request(RequestInfo(&<$Of as Requested>::SCHEMA)) };
    (@kind requests ($Of:ident)) => { MemberKind::Requests(RequestInfo(&<$Of as Requested>::SCHEMA)) };

    (@getter [$($doc:tt)*] $member:ident $wire:literal text ()) => {
        $($doc)* pub fn $member(&self) -> Option<&str> { text(&self.0, $wire) }
    };
    (@getter [$($doc:tt)*] $member:ident $wire:literal word ($words:ident)) => {
        $($doc)* pub fn $member(&self) -> Option<&str> { text(&self.0, $wire) }
    };
    (@getter [$($doc:tt)*] $member:ident $wire:literal amount ()) => {
        $($doc)* pub fn $member(&self) -> Option<i64> { self.0.1.get($wire).and_then(Node::as_integer) }
    };
    (@getter [$($doc:tt)*] $member:ident $wire:literal number ($unit:literal)) => {
        $($doc)* pub fn $member(&self) -> Option<i64> { self.0.1.get($wire).and_then(Node::as_integer) }
    };
    (@getter [$($doc:tt)*] $member:ident $wire:literal time ()) => {
        $($doc)*
        ///
        /// Its text, as Klarna wrote it, is at the JSON Pointer of that name.
        pub fn $member(&self) -> Option<SystemTime> {
            if let Some(Node::Time(_, time)) = self.0.1.get($wire) { Some(*time) } else { None }
        }
    };
    (@getter [$($doc:tt)*] $member:ident $wire:literal object ($Of:ident $OF:ident)) => {
        $($doc)* pub fn $member(&self) -> Option<$Of> { part(&self.0.0, self.0.1.get($wire)?) }
    };
    (@getter [$($doc:tt)*] $member:ident $wire:literal $lists:ident ($Of:ident $OF:ident)) => {
        $($doc)* pub fn $member(&self) -> Vec<$Of> { parts(&self.0, $wire) }
    };
    (@getter [$($doc:tt)*] $member:ident $wire:literal request ($Of:ident)) => {
        $($doc)*
        ///
        /// # Errors
        ///
        /// `invalid_input`, naming a part that no request could have.
        pub fn $member(&self) -> Result<Option<$Of>, Error> {
            self.0.1.get($wire).map(|node| request(node, $wire)).transpose()
        }
    };
    (@getter [$($doc:tt)*] $member:ident $wire:literal requests ($Of:ident)) => {
        $($doc)*
        ///
        /// # Errors
        ///
        /// `invalid_input`, naming a part that no request could have.
        pub fn $member(&self) -> Result<Vec<$Of>, Error> {
            let items = self.0.1.get($wire).and_then(Node::as_list).unwrap_or_default();
            items.iter().map(|item| request(item, $wire)).collect()
        }
    };

    (@level part $Name:ident $INFO:ident [$($doc:literal),*]) => {};
    (@level reply $Name:ident $INFO:ident [$($doc:literal),*]) => {
        impl $Name {
            /// For bindings: the fields beside the members.
            #[doc(hidden)]
            pub const INFO: RecordInfo =
                RecordInfo { name: stringify!($Name), doc: &[$($doc),*], fields: DocumentFacts::INFO.fields };

            /// The order it was asked of.
            pub fn order_id(&self) -> &str { &self.0.0.order_id }

            /// Klarna's name for the answered request, where it gave one.
            pub fn correlation_id(&self) -> Option<&str> { self.0.0.correlation_id.as_deref() }

            /// How many requests it took, 1 or more.
            pub fn attempts(&self) -> u32 { self.0.0.attempts }

            /// Each request with its time, what came back and the pause after it.
            pub fn attempt_log(&self) -> &[Attempt] { &self.0.0.attempt_log }

            /// When it was answered, by the server's clock, or by this machine's where the server tells none.
            pub fn answered_at(&self) -> Option<SystemTime> { self.0.0.answered }

            /// The members of the whole answer that were of another type, and so are absent.
            pub fn warnings(&self) -> &[String] { &self.0.0.warnings }

            pub(crate) const FACE: Face =
                Face { info: &$Name::INFO, document: Some(&$INFO), facts: DOCUMENT_FACTS };

            pub(crate) fn of_reply(facts: &Arc<Facts>) -> Option<$Name> {
                match &facts.content {
                    Content::Document(document) => Some($Name((facts.clone(), document.root.clone()))),
                    _ => None,
                }
            }
        }
    };
}

/// The states of an order, as `Order::status` has them. Klarna may add others.
const STATUSES: [&str; 6] = ["AUTHORIZED", "PART_CAPTURED", "CAPTURED", "CANCELLED", "EXPIRED", "CLOSED"];
const FRAUD_STATUSES: [&str; 4] = ["ACCEPTED", "PENDING", "REJECTED", "STOPPED"];

documents! {
    /// An order, as Klarna has it. Every member may be absent.
    reply Order, ORDER {
        /// The state. Klarna may add others.
        status "status": word(STATUSES);
        /// The end of Klarna's check for fraud. Klarna may add others.
        fraud_status "fraud_status": word(FRAUD_STATUSES);
        /// The order's amount in minor units.
        order_amount "order_amount": amount();
        /// The amount as the order was made, in minor units.
        original_order_amount "original_order_amount": amount();
        /// How much was captured, in minor units.
        captured_amount "captured_amount": amount();
        /// How much was given back, in minor units.
        refunded_amount "refunded_amount": amount();
        /// How much can still be captured, in minor units.
        remaining_authorized_amount "remaining_authorized_amount": amount();
        /// The currency's three letters, as in ISO 4217, in any case.
        purchase_currency "purchase_currency": text();
        /// The country's two letters, as in ISO 3166, in any case.
        purchase_country "purchase_country": text();
        /// The customer's language, such as `sv-SE`.
        locale "locale": text();
        /// The lines that the order has, as a request takes them.
        order_lines "order_lines": requests(OrderLine);
        /// The order number that the customer sees.
        merchant_reference1 "merchant_reference1": text();
        /// A second reference of the shop's.
        merchant_reference2 "merchant_reference2": text();
        /// The shop's own data.
        merchant_data "merchant_data": text();
        /// Klarna's name for the order towards the customer.
        klarna_reference "klarna_reference": text();
        /// The customer.
        customer "customer": object(Customer CUSTOMER);
        /// Where the invoice goes, as a request takes it.
        billing_address "billing_address": request(Address);
        /// Where the goods go, as a request takes it.
        shipping_address "shipping_address": request(Address);
        /// When the order was made.
        created_at "created_at": time();
        /// Until when it can be captured.
        expires_at "expires_at": time();
        /// Its captures, the first made first.
        captures "captures": documents(CaptureDetails CAPTURE_DETAILS);
        /// Its refunds, the first made first.
        refunds "refunds": documents(RefundDetails REFUND_DETAILS);
        /// How its goods travel, as a request takes it.
        shipping_info "shipping_info": requests(ShippingInfo);
        /// The payment method that the customer chose.
        initial_payment_method "initial_payment_method": object(InitialPaymentMethod INITIAL_PAYMENT_METHOD);
        /// The way of shipping that the customer chose.
        selected_shipping_option "selected_shipping_option": object(SelectedShippingOption SELECTED_SHIPPING_OPTION);
    }

    /// A capture, as Klarna has it. Every member may be absent.
    reply CaptureDetails, CAPTURE_DETAILS {
        /// Klarna's name for the capture.
        capture_id "capture_id": text();
        /// Klarna's name for it towards the customer.
        klarna_reference "klarna_reference": text();
        /// The shop's own name for it.
        reference "reference": text();
        /// How much was captured, in minor units.
        captured_amount "captured_amount": amount();
        /// When.
        captured_at "captured_at": time();
        /// The text that the customer sees.
        description "description": text();
        /// The lines that were captured, as a request takes them.
        order_lines "order_lines": requests(OrderLine);
        /// How much of it was given back, in minor units.
        refunded_amount "refunded_amount": amount();
        /// Where the invoice goes, as a request takes it.
        billing_address "billing_address": request(Address);
        /// Where the goods go, as a request takes it.
        shipping_address "shipping_address": request(Address);
        /// How its goods travel, as a request takes it.
        shipping_info "shipping_info": requests(ShippingInfo);
    }

    /// The captures of an order.
    reply Captures, CAPTURES {
        /// Each of them, the first made first.
        captures "captures": documents(CaptureDetails CAPTURE_DETAILS);
    }

    /// A refund, as Klarna has it. Every member may be absent: of old orders the id is.
    reply RefundDetails, REFUND_DETAILS {
        /// Klarna's name for the refund.
        refund_id "refund_id": text();
        /// The shop's own name for it.
        reference "reference": text();
        /// How much was given back, in minor units.
        refunded_amount "refunded_amount": amount();
        /// When.
        refunded_at "refunded_at": time();
        /// The text that the customer sees.
        description "description": text();
        /// The lines that were given back, as a request takes them.
        order_lines "order_lines": requests(OrderLine);
        /// Whether an invoice was credited, of orders of companies.
        credit_invoice "credit_invoice": text();
    }

    /// How far the due date of a capture can be extended.
    reply DueDateOptions, DUE_DATE_OPTIONS {
        /// The currency of the fees: three letters, as in ISO 4217.
        currency "currency": text();
        /// Each extension on offer.
        options "options": objects(DueDateOption DUE_DATE_OPTION);
    }

    /// An extension of a due date.
    part DueDateOption, DUE_DATE_OPTION {
        /// By how many days, for `extend_due_date`.
        number_of_days "number_of_days": number("days");
        /// Its fee in minor units.
        amount "amount": amount();
    }

    /// The customer of an order.
    part Customer, CUSTOMER {
        /// In the form `1980-12-31`.
        date_of_birth "date_of_birth": text();
        /// The number by which the customer's country knows the customer.
        national_identification_number "national_identification_number": text();
        /// A person or an organization.
        customer_type "type": text();
    }

    /// How the customer chose to pay.
    part InitialPaymentMethod, INITIAL_PAYMENT_METHOD {
        /// Klarna's word for it, such as `INVOICE` or `PAY_LATER_IN_PARTS`.
        method_type "type": text();
        /// Words for people.
        description "description": text();
        /// How many instalments there are.
        number_of_installments "number_of_installments": number("instalments");
    }

    /// How the customer chose to have the goods shipped.
    part SelectedShippingOption, SELECTED_SHIPPING_OPTION {
        /// The id of the choice.
        id "id": text();
        /// Its name.
        name "name": text();
        /// Its type.
        option_type "type": text();
        /// The method of shipping.
        method "method": text();
        /// The carrier.
        carrier "carrier": text();
        /// Its price in minor units, tax included.
        price "price": amount();
        /// The tax in it, in minor units.
        tax_amount "tax_amount": amount();
        /// The tax rate in hundredths of a percent.
        tax_rate "tax_rate": number("hundredths of a percent: 25 % is 2500");
        /// The reference of the shop's transport system.
        tms_reference "tms_reference": text();
    }
}

impl Order {
    /// An order that a binding kept as its text.
    pub(crate) fn of_text(text: &str, answered: Option<SystemTime>) -> Option<Order> {
        let (document, _) = tree::read(text, &ORDER, Whole::Object(None)).ok()?;
        let facts = Facts {
            content: Content::Document(document),
            order_id: String::new(),
            idempotency_key: None,
            correlation_id: None,
            attempts: 0,
            attempt_log: Vec::new(),
            warnings: Vec::new(),
            answered,
        };
        Order::of_reply(&Arc::new(facts))
    }
}

/// A list of captures is read like a list.
impl IntoIterator for Captures {
    type Item = CaptureDetails;
    type IntoIter = std::vec::IntoIter<CaptureDetails>;
    fn into_iter(self) -> Self::IntoIter {
        self.captures().into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    const ORDER_ID: &str = "f3392f8b-6116-4073-ab96-e330819e2c07";

    fn facts(text: &str, info: &'static DocumentInfo) -> Arc<Facts> {
        let whole = if text.trim_start().starts_with('[') { Whole::List } else { Whole::Object(None) };
        let (document, _) = tree::read(text, info, whole).unwrap();
        Arc::new(Facts {
            warnings: document.warnings.clone(),
            content: Content::Document(document),
            order_id: ORDER_ID.into(),
            idempotency_key: None,
            correlation_id: None,
            attempts: 1,
            attempt_log: Vec::new(),
            answered: None,
        })
    }

    fn order(text: &str) -> Order {
        Order::of_reply(&facts(text, &ORDER)).unwrap()
    }

    #[test]
    fn members_are_read_by_name_and_null_is_absent() {
        let text = r#" {"status":"PART_CAPTURED","order_amount":10000,"locale":"","merchant_data":null,
            "expires_at":"2026-12-24T01:00:00+01:00","captures":[{"capture_id":"a","captured_amount":6000,
            "order_lines":[{"name":"Tomatoes","quantity":10,"unit_price":600,"total_amount":6000,"image_url":null,
            "new":1}]}],"customer":{"type":"person"},"new":{"deep":[1.5,null]}}"#;
        let order = order(text);
        assert_eq!(
            (order.status(), order.order_amount(), order.locale()),
            (Some("PART_CAPTURED"), Some(10000), Some(""))
        );
        assert_eq!((order.merchant_data(), order.captured_amount(), order.refunds().len()), (None, None, 0));
        assert_eq!(order.expires_at(), Some(UNIX_EPOCH + Duration::from_secs(1_798_070_400)));
        assert_eq!(order.at("/expires_at").unwrap().as_text(), Some("2026-12-24T01:00:00+01:00"));
        assert_eq!(order.customer().unwrap().customer_type(), Some("person"));
        assert_eq!(order.at("/new/deep/1"), Some(Node::Null));
        assert_eq!(order.at("/captures/0/captured_amount"), Some(Node::Integer(6000)));
        assert_eq!((order.at("/captures/1"), order.at("captures"), order.at("/captures/+0")), (None, None, None));
        assert_eq!(order.raw(), text);
        assert_eq!(order.order_lines().unwrap(), []);
        let [capture] = &order.captures()[..] else { panic!("one capture") };
        assert_eq!(capture.order_lines().unwrap(), [OrderLine::new("Tomatoes", 10, 600, 6000)]);
        assert!(capture.raw().starts_with(r#"{"capture_id":"a""#) && capture.raw().ends_with(r#""new":1}]}"#));
        assert_eq!((capture.order_id(), order.warnings().len()), (ORDER_ID, 0));
        assert!(!format!("{order:?}").contains("person"), "{order:?}");
    }

    #[test]
    fn nothing_is_coerced() {
        for bad in
            ["60.0", "6e3", "\"6000\"", "true", "[6000]", "{\"a\":1}", "9007199254740992", "9223372036854775808", "-0"]
        {
            let order = order(&format!(r#"{{"order_amount":{bad},"captures":[{{"captured_amount":{bad}}}]}}"#));
            assert_eq!(order.order_amount(), None, "{bad}");
            assert_eq!(order.captures()[0].captured_amount(), None, "{bad}");
            let [first, second] = order.warnings() else { panic!("{:?}", order.warnings()) };
            assert!(
                first.starts_with("Klarna answered order_amount as ") && first.contains("a whole number"),
                "{first}"
            );
            assert!(second.starts_with("Klarna answered captures[0].captured_amount as "), "{second}");
        }
        let most = order(r#"{"order_amount":9007199254740991}"#);
        assert_eq!((most.order_amount(), most.warnings().len()), (Some(9_007_199_254_740_991), 0));
        for (text, warning) in [
            (r#"{"status":5}"#, "status as a number where a text"),
            (r#"{"captures":{}}"#, "captures as an object where a list"),
            (r#"{"captures":[null]}"#, "captures[0] as null where an object"),
            (r#"{"captures":[5]}"#, "captures[0] as a number where an object"),
            (r#"{"customer":"x"}"#, "customer as a text where an object"),
            (r#"{"expires_at":"tomorrow"}"#, "expires_at as another text where a time"),
            (r#"{"order_amount":1,"order_amount":2}"#, "order_amount as two values"),
            (r#"{"order_lines":[{"quantity":1.5}]}"#, "order_lines[0].quantity as a number with a fraction"),
        ] {
            let order = order(text);
            let [told] = order.warnings() else { panic!("{text}: {:?}", order.warnings()) };
            assert!(told.contains(warning), "{told}");
            assert_eq!((order.status(), order.captures().len(), order.order_amount()), (None, 0, None), "{text}");
        }
        let many = order(&format!(r#"{{"captures":[{}0]}}"#, "0,".repeat(99)));
        assert_eq!(many.warnings().len(), 21);
        assert!(many.warnings()[20].starts_with("80 more"), "{:?}", many.warnings());
    }

    #[test]
    fn a_line_that_no_request_could_have_is_an_error() {
        let order = order(r#"{"order_lines":[{"name":"Tomatoes"}],"shipping_address":{"city":"Bremen","new":1}}"#);
        let error = order.order_lines().unwrap_err();
        assert!(error.message().contains("quantity"), "{error}");
        assert_eq!(order.shipping_address().unwrap().unwrap().city.as_deref(), Some("Bremen"));
        assert_eq!(order.billing_address().unwrap(), None);
    }

    #[test]
    fn a_list_is_the_member_of_its_reply() {
        let facts = facts(r#" [{"capture_id":"a"},{"capture_id":"b"}]"#, &CAPTURES);
        let captures = Captures::of_reply(&facts).unwrap();
        assert_eq!(captures.captures()[1].raw(), r#"{"capture_id":"b"}"#);
        assert_eq!(
            captures.into_iter().filter_map(|one| one.capture_id().map(str::to_owned)).collect::<String>(),
            "ab"
        );
    }

    #[test]
    fn a_deep_member_stands_in_the_text_alone() {
        let deep = format!(r#"{{"order_amount":1,"new":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
        let order = order(&deep);
        assert_eq!((order.order_amount(), order.at("/new"), order.raw()), (Some(1), None, &*deep));
    }

    #[test]
    fn times_with_a_zone() {
        let ms = |text: &str| {
            let since = tree::time_of(text)?.duration_since(UNIX_EPOCH).unwrap();
            Some(since.as_millis())
        };
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-12-24T00:00:00Z", 1_798_070_400_000),
            ("2026-12-24T00:00:00.973Z", 1_798_070_400_973),
            ("2026-12-24t00:00:00.9730000001z", 1_798_070_400_973),
            ("2026-12-24T00:00:00+00:00", 1_798_070_400_000),
            ("2026-12-24T00:00:00-0530", 1_798_090_200_000),
            ("2024-02-29T12:00:00Z", 1_709_208_000_000),
        ] {
            assert_eq!(ms(text), Some(expected), "{text}");
        }
        for none in [
            "",
            "2026-12-24",
            "2026-12-24T00:00:00",
            "2026-13-24T00:00:00Z",
            "2025-02-29T00:00:00Z",
            "2026-12-24T24:00:00Z",
            "2026-12-24T00:00:00.Z",
            "2026-12-24T00:00:00+1",
            "2026-12-24T00:00:00+99:00",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "2026-12-24T00:00:00Zé",
            "+026-12-24T00:00:00Z",
        ] {
            assert_eq!(ms(none), None, "{none}");
        }
    }
}
