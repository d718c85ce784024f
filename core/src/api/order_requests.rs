//! The requests of the operations beside the capture: Klarna's fields under Klarna's names, and their limits.
//!
//! Names, types and limits follow the OpenAPI description of the Order Management API that Klarna published in 2024.

use crate::api::request::{AMOUNT, CAPTURED_AMOUNT, OrderLine, ShippingInfo, TEXT};
use crate::strict::{Field, Rule, object};

/// An id of Klarna's, which becomes a part of the path.
pub(crate) const ID: Rule = Rule::Text { min: 1, max: 255 };
const LINES: Rule = Rule::List { max: 1000, of: "order lines" };
const HUNDRED: Rule = Rule::Text { min: 0, max: 100 };

object! {
    /// An operation on the order as a whole.
    #[derive(Default)]
    pub struct OrderArguments: "a call about the whole order" {}
}

object! {
    /// The capture that an operation is for.
    pub struct CaptureArguments: "a call about a capture" {
        /// Klarna's id of the capture.
        required capture_id "capture_id": String, ID;
    }
}

object! {
    /// The refund that is read.
    pub struct RefundArguments: "a call about a refund" {
        /// Klarna's id of the refund.
        required refund_id "refund_id": String, ID;
    }
}

object! {
    /// The body of Klarna's refund call: how much of what was captured goes back, and for what.
    pub struct RefundRequest: "a refund request" {
        /// How much is refunded, in minor units (60.00 is 6000), tax included: 1 to 200,000,000. Klarna refuses more
        /// than was captured and not refunded yet.
        required refunded_amount "refunded_amount": i64, CAPTURED_AMOUNT;
        /// Your own name for this refund, at most 255 characters. It ends up in Klarna's settlement files. By a unique
        /// one a refund can be found again.
        optional reference "reference": String, Rule::Name { min: 0, max: 255 };
        /// Shown to the customer, at most 255 characters.
        optional description "description": String, TEXT;
        /// The lines that are refunded, at most 1000. Klarna assigns the refund to the captures that have lines with
        /// the same references. With a line of the type `return_fee` the lines must sum to `refunded_amount`.
        optional order_lines "order_lines": Vec<OrderLine>, LINES;
    }
}

object! {
    /// The new amount and lines of an order that is authorized.
    pub struct AuthorizationRequest: "an update of the authorization" {
        /// The order's new amount in minor units: 0 to 200,000,000, and not less than was captured. For more than
        /// before Klarna checks the risk anew, and takes it for some payment methods only.
        required order_amount "order_amount": i64, AMOUNT;
        /// A text about the change, at most 255 characters.
        optional description "description": String, TEXT;
        /// The order's new lines, at most 1000. They replace the old ones. Klarna deletes the old ones where the lines
        /// are left out, so takings wants them; `[]` deletes them on purpose.
        required order_lines "order_lines": Vec<OrderLine>, Rule::List {
            max: 1000,
            of: "order lines, since Klarna deletes the lines that are left out ([] deletes them on purpose)",
        };
    }
}

object! {
    /// A new address of the customer.
    pub struct CustomerDetailsRequest: "an update of the customer's details" {
        /// Where the goods go. An empty text deletes a field.
        required shipping_address "shipping_address": Address, Rule::Object("an address");
    }
}

object! {
    /// An address. Every field may be absent.
    #[derive(Default)]
    pub struct Address: "an address" {
        /// First name, at most 100 characters.
        optional given_name "given_name": String, HUNDRED;
        /// Last name, at most 100 characters.
        optional family_name "family_name": String, HUNDRED;
        /// The company, at most 255 characters.
        optional organization_name "organization_name": String, TEXT;
        /// The person in the company, at most 255 characters.
        optional attention "attention": String, TEXT;
        /// At most 20 characters.
        optional title "title": String, Rule::Text { min: 0, max: 20 };
        /// Street and house, at most 100 characters.
        optional street_address "street_address": String, HUNDRED;
        /// The second line of the street, at most 100 characters.
        optional street_address2 "street_address2": String, HUNDRED;
        /// At most 10 characters.
        optional postal_code "postal_code": String, Rule::Text { min: 0, max: 10 };
        /// At most 200 characters.
        optional city "city": String, Rule::Text { min: 0, max: 200 };
        /// State or region, at most 200 characters. Klarna requires it in the USA.
        optional region "region": String, Rule::Text { min: 0, max: 200 };
        /// The country's two letters, as in ISO 3166.
        optional country "country": String, TEXT;
        /// At most 100 characters.
        optional email "email": String, HUNDRED;
        /// At most 100 characters.
        optional phone "phone": String, HUNDRED;
    }
}

object! {
    /// The shop's own references of an order. Klarna keeps the one that is left out; an empty text deletes it.
    #[derive(Default)]
    pub struct MerchantReferencesRequest: "an update of the merchant's references" {
        /// The order number that the customer sees, at most 255 characters.
        optional merchant_reference1 "merchant_reference1": String, Rule::Name { min: 0, max: 255 };
        /// A second reference, at most 255 characters.
        optional merchant_reference2 "merchant_reference2": String, Rule::Name { min: 0, max: 255 };
    }
}

const SHIPPING_INFO: Rule = Rule::List { max: 500, of: "shipping infos" };

object! {
    /// How the goods of an order travel.
    pub struct OrderShippingRequest: "shipping info of an order" {
        /// The entries to append, 1 to 500. Klarna deletes none and replaces none.
        required shipping_info "shipping_info": Vec<ShippingInfo>, SHIPPING_INFO;
    }
}

object! {
    /// How the goods of a capture travel.
    pub struct CaptureShippingRequest: "shipping info of a capture" {
        /// Klarna's id of the capture.
        required capture_id "capture_id": String, ID;
        /// The entries to append, 1 to 500. Klarna deletes none and replaces none.
        required shipping_info "shipping_info": Vec<ShippingInfo>, SHIPPING_INFO;
    }
}

object! {
    /// How many days later a capture is due.
    pub struct DueDateRequest: "an extension of a due date" {
        /// Klarna's id of the capture.
        required capture_id "capture_id": String, ID;
        /// A number of days that `get_extend_due_date_options` names. Each has a fee.
        required number_of_days "number_of_days": i64, Rule::Integer { min: 1, max: i32::MAX as i64, unit: "days" };
    }
}

object! {
    /// The refund that is searched for.
    pub(crate) struct ReconcileRefundRequest: "a query for a refund" {
        /// The refund's own name, as its request gave it.
        required reference "reference": String, Rule::Name { min: 1, max: 255 };
        /// Its amount, in minor units (60.00 is 6000).
        required refunded_amount "refunded_amount": i64, CAPTURED_AMOUNT;
    }
}

impl RefundRequest {
    /// A refund of `refunded_amount` minor units with nothing else said.
    pub fn new(refunded_amount: i64) -> RefundRequest {
        RefundRequest { refunded_amount, ..Field::blank() }
    }
}

impl ShippingInfo {
    /// A parcel that Klarna can follow: the carrier, best as its name on Klarna's list, and the parcel's number.
    pub fn tracked(shipping_company: impl Into<String>, tracking_number: impl Into<String>) -> ShippingInfo {
        ShippingInfo {
            shipping_company: Some(shipping_company.into()),
            tracking_number: Some(tracking_number.into()),
            ..ShippingInfo::default()
        }
    }
}
