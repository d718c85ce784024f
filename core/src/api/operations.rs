//! The table: one row for each operation. A new operation is a row here and, where it has them, the object of its
//! arguments and the face of its reply.
//!
//! Paths, status codes and error codes follow the OpenAPI description of the Order Management API that Klarna
//! published in 2024.

use http::Method;
use serde::Deserializer;

use crate::api::arguments::{self, Checked, Reading, ReconcileRequest};
use crate::api::documents::{CaptureDetails, Captures, DueDateOptions, Order, RefundDetails};
use crate::api::operation::{Effect, Explanation, FoundBy, Nouns, Operation, Plan, ReplyKind, Search};
use crate::api::order_requests::{
    AuthorizationRequest, CaptureArguments, CaptureShippingRequest, CustomerDetailsRequest, DueDateRequest,
    MerchantReferencesRequest, OrderArguments, OrderShippingRequest, ReconcileRefundRequest, RefundArguments,
    RefundRequest,
};
use crate::api::planned_requests::{
    CaptureRemainingArguments, ExtendIfNeededArguments, RefundCaptureRequest, RefundRemainingArguments,
};
use crate::api::reply::{
    CAPTURE as CAPTURE_FACE, CONFIRMATION, EXTENSION, Face, ORDER_END, RECONCILIATION, REFUND as REFUND_FACE,
    REFUND_RECONCILIATION,
};
use crate::api::request::CaptureRequest;
use crate::api::state;
use crate::error::Error;
use crate::strict::{Object, suggestion};

/// Refusals of the bytes of a request. A 401 or a page may be a gateway's; a 403 speaks of the state of the order,
/// which a lost attempt may have changed (CAPTURE_NOT_ALLOWED answers a second capture of the same money); a code that
/// is not known here might say that the key is still in flight.
const OF_THE_BYTES: &[(u16, &str)] = &[
    (404, "NO_SUCH_ORDER"),
    (400, "BAD_VALUE"),
    (400, "BAD_REQUEST"),
    (400, "INVALID_ORDER_ID"),
    (413, "REQUEST_TOO_LARGE"),
    (422, "UNPROCESSABLE_ENTITY"),
];

/// The same for a call below a capture: Klarna says NO_SUCH_ORDER of an unknown capture too, and a capture made a moment
/// ago may be unknown to some of Klarna's machines.
const BELOW_A_CAPTURE: &[(u16, &str)] = OF_THE_BYTES.split_at(1).1;

/// The same where an address is refused.
const OF_AN_ADDRESS: &[(u16, &str)] = &[
    (404, "NO_SUCH_ORDER"),
    (400, "BAD_VALUE"),
    (400, "BAD_REQUEST"),
    (400, "INVALID_ORDER_ID"),
    (413, "REQUEST_TOO_LARGE"),
    (422, "UNPROCESSABLE_ENTITY"),
    (422, "INVALID_ADDRESS"),
];

/// The refusal for the state of the order, which the lost call may have changed.
const NOT_ALLOWED: &[(u16, &str)] = &[(403, "NOT_ALLOWED")];

/// Writes down the rows, and from them the table and the reading of arguments.
macro_rules! operations {
    ($( $(#[doc = $doc:literal])* $ROW:ident = $name:literal($Arguments:ty) { $($field:ident: $value:expr,)* } )*) => {
        $(
            $(#[doc = $doc])*
            pub static $ROW: Operation = Operation {
                name: $name,
                doc: &[$($doc),*],
                arguments: &<$Arguments as Object>::SCHEMA,
                $($field: $value,)*
            };
        )*

        /// Every operation, in the order of the table.
        pub static OPERATIONS: &[&Operation] = &[$(&$ROW),*];

        /// Reads the arguments of an operation from JSON text.
        pub(crate) fn read_json(operation: &Operation, text: &str, reading: Reading) -> Result<Checked, Error> {
            match operation.name {
                $( $name => arguments::read_json::<$Arguments>(text, reading), )*
                other => Err(unknown(other)),
            }
        }

        /// Reads the arguments of an operation from any serde source.
        pub(crate) fn read<'de, D: Deserializer<'de>>(
            operation: &Operation,
            source: D,
            reading: Reading,
        ) -> Result<Checked, Error> {
            match operation.name {
                $( $name => arguments::read::<$Arguments, D>(source, reading), )*
                other => Err(unknown(other)),
            }
        }
    };
}

operations! {
    /// Reads the order: its state, amounts, lines, captures and refunds.
    GET_ORDER = "get_order"(OrderArguments) {
        method: Method::GET,
        path: "",
        reply: ReplyKind::Document { id: Some("order_id") },
        face: &Order::FACE,
        effect: Effect::Reads,
        settles: &[],
        of_state: &[],
        found_by: FoundBy::Nothing,
        key_word: "",
        nouns: Nouns { call: "the reading", done: "read", subject: "the details", before: None },
    }

    /// Confirms to Klarna that the shop knows the order. Klarna then stops calling the shop about it. A capture does so
    /// too. Safe to repeat.
    ACKNOWLEDGE = "acknowledge"(OrderArguments) {
        method: Method::POST,
        path: "/acknowledge",
        reply: ReplyKind::Nothing,
        face: &CONFIRMATION,
        effect: Effect::Writes,
        settles: OF_THE_BYTES,
        of_state: NOT_ALLOWED,
        found_by: FoundBy::Nothing,
        key_word: "acknowledge",
        nouns: Nouns { call: "the acknowledgement", done: "acknowledged", subject: "the order", before: None },
    }

    /// Changes the amount and the lines of an order that is authorized. The lines replace the old ones. Safe to repeat.
    UPDATE_AUTHORIZATION = "update_authorization"(AuthorizationRequest) {
        method: Method::PATCH,
        path: "/authorization",
        reply: ReplyKind::Nothing,
        face: &CONFIRMATION,
        effect: Effect::Writes,
        settles: OF_THE_BYTES,
        of_state: NOT_ALLOWED,
        found_by: FoundBy::State(&ORDER_STATE, state::has_authorization),
        key_word: "update-authorization",
        nouns: Nouns { call: "the update of the authorization", done: "updated", subject: "the order", before: None },
    }

    /// Cancels an order of which nothing was captured, for good. Safe to repeat.
    CANCEL = "cancel"(OrderArguments) {
        method: Method::POST,
        path: "/cancel",
        reply: ReplyKind::Nothing,
        face: &CONFIRMATION,
        effect: Effect::Writes,
        settles: OF_THE_BYTES,
        of_state: &[(403, "CANCEL_NOT_ALLOWED")],
        found_by: FoundBy::State(&ORDER_STATE, state::is_cancelled),
        key_word: "cancel",
        nouns: Nouns {
            call: "the cancellation",
            done: "cancelled",
            subject: "the order",
            before: Some("the order may have been cancelled before: read it (get_order)"),
        },
    }

    /// Captures the order, in full or in part: the money moves once, however often it is called with one key.
    CAPTURE = "capture"(CaptureRequest) {
        method: Method::POST,
        path: "/captures",
        reply: ReplyKind::Created { header: "capture-id", collection: "captures" },
        face: &CAPTURE_FACE,
        effect: Effect::Writes,
        settles: OF_THE_BYTES,
        of_state: &[(403, "CAPTURE_NOT_ALLOWED")],
        found_by: FoundBy::Reference { query: &RECONCILE, explaining: &ORDER_CAPTURES },
        key_word: "captures",
        nouns: Nouns { call: "the capture", done: "captured", subject: "the captures", before: None },
    }

    /// Reads all captures of the order.
    GET_CAPTURES = "get_captures"(OrderArguments) {
        method: Method::GET,
        path: "/captures",
        reply: ReplyKind::List,
        face: &Captures::FACE,
        effect: Effect::Reads,
        settles: &[],
        of_state: &[],
        found_by: FoundBy::Nothing,
        key_word: "",
        nouns: Nouns { call: "the reading", done: "read", subject: "the captures", before: None },
    }

    /// Reads one capture of the order.
    GET_CAPTURE = "get_capture"(CaptureArguments) {
        method: Method::GET,
        path: "/captures/{capture_id}",
        reply: ReplyKind::Document { id: Some("capture_id") },
        face: &CaptureDetails::FACE,
        effect: Effect::Reads,
        settles: &[],
        of_state: &[],
        found_by: FoundBy::Nothing,
        key_word: "",
        nouns: Nouns { call: "the reading", done: "read", subject: "the capture", before: None },
    }

    /// Adds shipping info, such as a tracking number, to a capture. A repeat with another key adds it twice.
    APPEND_SHIPPING_INFO = "append_shipping_info"(CaptureShippingRequest) {
        method: Method::POST,
        path: "/captures/{capture_id}/shipping-info",
        reply: ReplyKind::Nothing,
        face: &CONFIRMATION,
        effect: Effect::Writes,
        settles: BELOW_A_CAPTURE,
        of_state: NOT_ALLOWED,
        found_by: FoundBy::State(&CAPTURE_STATE, state::has_shipping_info),
        key_word: "capture-shipping-info",
        nouns: Nouns { call: "the shipping info", done: "updated", subject: "the capture", before: None },
    }

    /// Has Klarna send the customer the invoice of a capture once more. A repeat with another key sends a second mail.
    TRIGGER_SEND_OUT = "trigger_send_out"(CaptureArguments) {
        method: Method::POST,
        path: "/captures/{capture_id}/trigger-send-out",
        reply: ReplyKind::Nothing,
        face: &CONFIRMATION,
        effect: Effect::Writes,
        settles: BELOW_A_CAPTURE,
        of_state: NOT_ALLOWED,
        found_by: FoundBy::Nothing,
        key_word: "trigger-send-out",
        nouns: Nouns { call: "the mail about a capture", done: "mailed", subject: "the capture", before: None },
    }

    /// Reads by how many days the due date of a capture can be extended, and each fee.
    GET_EXTEND_DUE_DATE_OPTIONS = "get_extend_due_date_options"(CaptureArguments) {
        method: Method::GET,
        path: "/captures/{capture_id}/extend-due-date-options",
        reply: ReplyKind::Document { id: None },
        face: &DueDateOptions::FACE,
        effect: Effect::Reads,
        settles: &[],
        of_state: &[],
        found_by: FoundBy::Nothing,
        key_word: "",
        nouns: Nouns { call: "the reading", done: "read", subject: "the due dates", before: None },
    }

    /// Extends the due date of a capture, for a fee. A repeat with another key costs a second fee.
    EXTEND_DUE_DATE = "extend_due_date"(DueDateRequest) {
        method: Method::PATCH,
        path: "/captures/{capture_id}/extend-due-date",
        reply: ReplyKind::Nothing,
        face: &CONFIRMATION,
        effect: Effect::Writes,
        settles: BELOW_A_CAPTURE,
        of_state: NOT_ALLOWED,
        found_by: FoundBy::Nothing,
        key_word: "extend-due-date",
        nouns: Nouns { call: "the extension of the due date", done: "extended", subject: "the capture", before: None },
    }

    /// Changes the customer's shipping address. Klarna checks the customer's credit anew. Safe to repeat.
    UPDATE_CUSTOMER_DETAILS = "update_customer_details"(CustomerDetailsRequest) {
        method: Method::PATCH,
        path: "/customer-details",
        reply: ReplyKind::Nothing,
        face: &CONFIRMATION,
        effect: Effect::Writes,
        settles: OF_AN_ADDRESS,
        of_state: NOT_ALLOWED,
        found_by: FoundBy::State(&ORDER_STATE, state::is_set),
        key_word: "update-customer-details",
        nouns: Nouns { call: "the update of the customer's details", done: "updated", subject: "the order", before: None },
    }

    /// Extends the time in which the order can be captured. A second call on one day changes nothing.
    EXTEND_AUTHORIZATION_TIME = "extend_authorization_time"(OrderArguments) {
        method: Method::POST,
        path: "/extend-authorization-time",
        reply: ReplyKind::Nothing,
        face: &CONFIRMATION,
        effect: Effect::Writes,
        settles: OF_THE_BYTES,
        of_state: NOT_ALLOWED,
        found_by: FoundBy::Nothing,
        key_word: "extend-authorization-time",
        nouns: Nouns { call: "the extension of the authorization", done: "extended", subject: "the order", before: None },
    }

    /// Changes the shop's own references of the order. Safe to repeat.
    UPDATE_MERCHANT_REFERENCES = "update_merchant_references"(MerchantReferencesRequest) {
        method: Method::PATCH,
        path: "/merchant-references",
        reply: ReplyKind::Nothing,
        face: &CONFIRMATION,
        effect: Effect::Writes,
        settles: OF_THE_BYTES,
        of_state: NOT_ALLOWED,
        found_by: FoundBy::State(&ORDER_STATE, state::is_set),
        key_word: "update-merchant-references",
        nouns: Nouns { call: "the update of the merchant's references", done: "updated", subject: "the order", before: None },
    }

    /// Gives the customer back what was captured, in full or in part: the money moves once, however often it is called
    /// with one key.
    REFUND = "refund"(RefundRequest) {
        method: Method::POST,
        path: "/refunds",
        reply: ReplyKind::Created { header: "refund-id", collection: "refunds" },
        face: &REFUND_FACE,
        effect: Effect::Writes,
        settles: OF_THE_BYTES,
        of_state: &[(403, "REFUND_NOT_ALLOWED")],
        found_by: FoundBy::Reference { query: &RECONCILE_REFUND, explaining: &RECONCILE_REFUND },
        key_word: "refunds",
        nouns: Nouns { call: "the refund", done: "refunded", subject: "the refunds", before: None },
    }

    /// Reads one refund of the order.
    GET_REFUND = "get_refund"(RefundArguments) {
        method: Method::GET,
        path: "/refunds/{refund_id}",
        reply: ReplyKind::Document { id: Some("refund_id") },
        face: &RefundDetails::FACE,
        effect: Effect::Reads,
        settles: &[],
        of_state: &[],
        found_by: FoundBy::Nothing,
        key_word: "",
        nouns: Nouns { call: "the reading", done: "read", subject: "the refund", before: None },
    }

    /// Releases what is still reserved on an order of which a part was captured. The rest can never be captured then.
    /// Safe to repeat.
    RELEASE_REMAINING_AUTHORIZATION = "release_remaining_authorization"(OrderArguments) {
        method: Method::POST,
        path: "/release-remaining-authorization",
        reply: ReplyKind::Nothing,
        face: &CONFIRMATION,
        effect: Effect::Writes,
        settles: OF_THE_BYTES,
        of_state: NOT_ALLOWED,
        found_by: FoundBy::State(&ORDER_STATE, state::has_nothing_left),
        key_word: "release-remaining-authorization",
        nouns: Nouns {
            call: "the release of the rest",
            done: "released",
            subject: "the order",
            before: Some("the rest may have been released before: read the order (get_order)"),
        },
    }

    /// Adds shipping info, such as a tracking number, to the order. A repeat with another key adds it twice.
    APPEND_ORDER_SHIPPING_INFO = "append_order_shipping_info"(OrderShippingRequest) {
        method: Method::POST,
        path: "/shipping-info",
        reply: ReplyKind::Nothing,
        face: &CONFIRMATION,
        effect: Effect::Writes,
        settles: OF_THE_BYTES,
        of_state: NOT_ALLOWED,
        found_by: FoundBy::State(&ORDER_STATE, state::has_shipping_info),
        key_word: "order-shipping-info",
        nouns: Nouns { call: "the shipping info", done: "updated", subject: "the order", before: None },
    }

    /// Reads the order's captures and searches for the one with this reference and amount. Sound only when each capture
    /// of an order has a reference of its own.
    RECONCILE = "reconcile"(ReconcileRequest) {
        method: Method::GET,
        path: "/captures",
        reply: ReplyKind::Matches(Search {
            list: None,
            id: "capture_id",
            amount: "captured_amount",
            may_lack_names: false,
            explanation: Explanation::Nothing,
        }),
        face: &RECONCILIATION,
        effect: Effect::Looks,
        settles: &[],
        of_state: &[],
        found_by: FoundBy::Nothing,
        key_word: "",
        nouns: Nouns { call: "the query", done: "captured", subject: "the captures", before: None },
    }

    /// Reads the order's refunds and searches for the one with this reference and amount. Sound only when each refund of
    /// an order has a reference of its own.
    RECONCILE_REFUND = "reconcile_refund"(ReconcileRefundRequest) {
        method: Method::GET,
        path: "",
        reply: ReplyKind::Matches(Search {
            list: Some("refunds"),
            id: "refund_id",
            amount: "refunded_amount",
            may_lack_names: true,
            explanation: Explanation::NotRefundable,
        }),
        face: &REFUND_RECONCILIATION,
        effect: Effect::Looks,
        settles: &[],
        of_state: &[],
        found_by: FoundBy::Nothing,
        key_word: "",
        nouns: Nouns { call: "the query", done: "refunded", subject: "the refunds", before: None },
    }

    /// Captures everything that is left of the order. The key of the capture is derived from the order, what is left and
    /// `reference`, so a repeat captures nothing more. Give each such capture of an order a reference of its own: it is
    /// found again by that.
    CAPTURE_REMAINING = "capture_remaining"(CaptureRemainingArguments) {
        method: Method::POST,
        path: "/captures",
        reply: ReplyKind::Created { header: "capture-id", collection: "captures" },
        face: &CAPTURE_FACE,
        effect: Effect::Follows(Plan::CaptureRemaining),
        settles: &[],
        of_state: &[],
        found_by: FoundBy::Nothing,
        key_word: "capture-remaining",
        nouns: Nouns { call: "the capture of the rest", done: "captured", subject: "the captures", before: None },
    }

    /// Refunds everything that was captured and not refunded yet. The key of the refund is derived from the order, what is
    /// left and `reference`, so a repeat refunds nothing more. Give each refund of an order a reference of its own.
    REFUND_REMAINING = "refund_remaining"(RefundRemainingArguments) {
        method: Method::POST,
        path: "/refunds",
        reply: ReplyKind::Created { header: "refund-id", collection: "refunds" },
        face: &REFUND_FACE,
        effect: Effect::Follows(Plan::RefundRemaining),
        settles: &[],
        of_state: &[],
        found_by: FoundBy::Nothing,
        key_word: "refund-remaining",
        nouns: Nouns { call: "the refund of the rest", done: "refunded", subject: "the refunds", before: None },
    }

    /// Refunds of one capture: an amount, or what is left of it. Without lines of yours the capture's lines are sent where
    /// they add up, and Klarna then assigns the refund to this capture. More than is left of the capture is refused. The
    /// key is derived from order, capture, amount and `reference`. Give each refund of an order a reference of its own.
    REFUND_CAPTURE = "refund_capture"(RefundCaptureRequest) {
        method: Method::POST,
        path: "/refunds",
        reply: ReplyKind::Created { header: "refund-id", collection: "refunds" },
        face: &REFUND_FACE,
        effect: Effect::Follows(Plan::RefundCapture),
        settles: &[],
        of_state: &[],
        found_by: FoundBy::Nothing,
        key_word: "refund-capture",
        nouns: Nouns { call: "the refund of a capture", done: "refunded", subject: "the refunds", before: None },
    }

    /// Ends an order of which no more is shipped: cancels it where nothing was captured, and releases the rest where a part
    /// was. It refunds nothing. Safe to repeat.
    CANCEL_OR_RELEASE = "cancel_or_release"(OrderArguments) {
        method: Method::POST,
        path: "/cancel",
        reply: ReplyKind::Nothing,
        face: &ORDER_END,
        effect: Effect::Follows(Plan::CancelOrRelease),
        settles: &[],
        of_state: &[],
        found_by: FoundBy::Nothing,
        key_word: "",
        nouns: Nouns { call: "the end of the order", done: "cancelled or released", subject: "the order", before: None },
    }

    /// Extends the time in which the order can be captured, if it ends within so many seconds by Klarna's clock. Safe to
    /// repeat.
    EXTEND_IF_NEEDED = "extend_if_needed"(ExtendIfNeededArguments) {
        method: Method::GET,
        path: "",
        reply: ReplyKind::Nothing,
        face: &EXTENSION,
        effect: Effect::Follows(Plan::ExtendIfNeeded),
        settles: &[],
        of_state: &[],
        found_by: FoundBy::Nothing,
        key_word: "",
        nouns: Nouns { call: "the extension of the authorization", done: "extended", subject: "the order", before: None },
    }
}

/// The query for an operation that the order's own state shows.
static ORDER_STATE: Operation = of_state("the order", "", "order_id", &Order::FACE);
/// The query for an operation that a capture shows.
static CAPTURE_STATE: Operation =
    of_state("the capture", "/captures/{capture_id}", "capture_id", &CaptureDetails::FACE);

/// The query for a capture that Klarna refused for the order's state. A list of captures may be older than the refusal
/// and does not show so; the order shows whether it explains the refusal.
static ORDER_CAPTURES: Operation = query(
    "the captures",
    "",
    ReplyKind::Matches(Search {
        list: Some("captures"),
        id: "capture_id",
        amount: "captured_amount",
        may_lack_names: false,
        explanation: Explanation::NotCapturable,
    }),
    &RECONCILIATION,
);

const fn of_state(subject: &'static str, path: &'static str, id: &'static str, face: &'static Face) -> Operation {
    query(subject, path, ReplyKind::Document { id: Some(id) }, face)
}

const fn query(subject: &'static str, path: &'static str, reply: ReplyKind, face: &'static Face) -> Operation {
    Operation {
        name: "state",
        doc: &[],
        method: Method::GET,
        path,
        arguments: &<OrderArguments as Object>::SCHEMA,
        reply,
        face,
        effect: Effect::Looks,
        settles: &[],
        of_state: &[],
        found_by: FoundBy::Nothing,
        key_word: "",
        nouns: Nouns { call: "the query", done: "carried out", subject, before: None },
    }
}

/// The operation of that name.
pub(crate) fn named(name: &str) -> Result<&'static Operation, Error> {
    OPERATIONS.iter().copied().find(|operation| operation.name == name).ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> Error {
    let names: Vec<&str> = OPERATIONS.iter().map(|operation| operation.name).collect();
    let shown: String = name.chars().take(64).collect();
    let hint = suggestion(name, &names);
    Error::invalid(format!("operation is {shown:?}, which is not known; {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_klarna_speaking_of_this_request_settles_a_lost_answer() {
        assert!(CAPTURE.is_settled_by(404, Some("NO_SUCH_ORDER")));
        assert!(CAPTURE.is_settled_by(422, Some("UNPROCESSABLE_ENTITY")));
        for (status, code) in [
            (404, None),
            (401, Some("UNAUTHORIZED")),
            (403, Some("CAPTURE_NOT_ALLOWED")),
            (403, Some("NOT_ALLOWED")),
            (400, Some("IDEMPOTENCY_KEY_IN_FLIGHT")),
            (423, Some("LOCKED")),
        ] {
            assert!(!CAPTURE.is_settled_by(status, code), "{status} {code:?}");
        }
    }

    #[test]
    fn rows_fit_together() {
        let mut words = std::collections::HashSet::new();
        for row in OPERATIONS {
            assert_eq!(named(row.name).unwrap(), *row);
            assert!(row.settles.iter().all(|(status, _)| *status != 403), "{}: 403 never settles", row.name);
            if row.writes() {
                assert!(words.insert(row.key_word), "{}: keys of two operations would be alike", row.name);
            }
            if let FoundBy::Reference { query, .. } | FoundBy::State(query, _) = row.found_by {
                assert_eq!(query.effect, Effect::Looks);
                assert!(row.writes());
            }
            assert_eq!(
                row.path.contains("{capture_id}") || *row == &REFUND_CAPTURE,
                row.arguments.fields.iter().any(|field| field.name == "capture_id")
            );
        }
        assert!(named("captur").unwrap_err().message().ends_with("did you mean \"capture\"?"));
    }
}
