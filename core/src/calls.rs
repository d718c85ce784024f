//! A method of the client for each operation beside the capture and its query.

use crate::api::arguments::{self, Arguments};
use crate::api::documents::{CaptureDetails, Captures, DueDateOptions, Order, RefundDetails};
use crate::api::operation::Operation;
use crate::api::operations::{
    ACKNOWLEDGE, APPEND_ORDER_SHIPPING_INFO, APPEND_SHIPPING_INFO, CANCEL, CANCEL_OR_RELEASE, CAPTURE_REMAINING,
    EXTEND_AUTHORIZATION_TIME, EXTEND_DUE_DATE, EXTEND_IF_NEEDED, GET_CAPTURE, GET_CAPTURES,
    GET_EXTEND_DUE_DATE_OPTIONS, GET_ORDER, GET_REFUND, RECONCILE_REFUND, REFUND, REFUND_CAPTURE, REFUND_REMAINING,
    RELEASE_REMAINING_AUTHORIZATION, TRIGGER_SEND_OUT, UPDATE_AUTHORIZATION, UPDATE_CUSTOMER_DETAILS,
    UPDATE_MERCHANT_REFERENCES,
};
use crate::api::order_requests::{
    Address, AuthorizationRequest, CaptureArguments, CaptureShippingRequest, CustomerDetailsRequest, DueDateRequest,
    MerchantReferencesRequest, OrderArguments, OrderShippingRequest, ReconcileRefundRequest, RefundArguments,
    RefundRequest,
};
use crate::api::planned_requests::{
    CaptureRemainingArguments, ExtendIfNeededArguments, RefundCaptureRequest, RefundRemainingArguments,
};
use crate::api::reply::{Capture, Confirmation, Extension, OrderEnd, Refund, RefundReconciliation};
use crate::api::request::{OrderLine, ShippingInfo};
use crate::client::Client;
use crate::drive::call::Call;
use crate::error::Error;

impl Client {
    /// Makes a call of arguments that a program built field by field.
    pub(crate) fn prepare_built<A: Arguments>(
        &self,
        operation: &'static Operation,
        order_id: &str,
        arguments: &A,
        idempotency_key: Option<&str>,
    ) -> Result<Call, Error> {
        self.begin(Ok(order_id), Ok(idempotency_key), || {
            self.checked(operation, order_id, arguments::check(arguments, self.reading())?, idempotency_key)
        })
    }
}

/// Writes down the methods. One that changes something takes a key last.
macro_rules! methods {
    ($(
        $(#[doc = $doc:literal])*
        $name:ident(order_id $(, $argument:ident: $T:ty)*) $([$key:ident])? -> $Reply:ty = $ROW:ident($arguments:expr);
    )*) => {
        impl Client { $(
            $(#[doc = $doc])*
            ///
            /// # Errors
            ///
            /// Each [`ErrorKind`](crate::ErrorKind) says what was carried out.
            pub fn $name(
                &self,
                order_id: &str,
                $($argument: $T,)*
                $($key: Option<&str>,)?
            ) -> Result<$Reply, Error> {
                let key: Option<&str> = None $(.or($key))?;
                self.prepare_built(&$ROW, order_id, &$arguments, key)?.send_at_once()?.try_into()
            }
        )* }
    };
}

methods! {
    /// Reads the order: its state, amounts, lines, captures and refunds.
    get_order(order_id) -> Order = GET_ORDER(OrderArguments {});

    /// Confirms to Klarna that the shop knows the order, so that Klarna stops calling the shop about it. A capture does
    /// so too. Safe to repeat.
    acknowledge(order_id) [idempotency_key] -> Confirmation = ACKNOWLEDGE(OrderArguments {});

    /// Changes the amount and the lines of an order that is authorized. The lines replace the old ones; without lines
    /// the order has none afterwards. Safe to repeat.
    update_authorization(order_id, request: &AuthorizationRequest) [idempotency_key] -> Confirmation =
        UPDATE_AUTHORIZATION(*request);

    /// Cancels an order of which nothing was captured, for good. Safe to repeat.
    cancel(order_id) [idempotency_key] -> Confirmation = CANCEL(OrderArguments {});

    /// Reads all captures of the order.
    get_captures(order_id) -> Captures = GET_CAPTURES(OrderArguments {});

    /// Reads one capture of the order.
    get_capture(order_id, capture_id: &str) -> CaptureDetails =
        GET_CAPTURE(CaptureArguments { capture_id: capture_id.to_owned() });

    /// Adds shipping info, such as a tracking number, to a capture. A repeat with another key adds it twice, so give
    /// the key of a name ([`idempotency_key_for`](crate::idempotency_key_for)).
    append_shipping_info(order_id, capture_id: &str, shipping_info: &[ShippingInfo]) [idempotency_key] -> Confirmation =
        APPEND_SHIPPING_INFO(CaptureShippingRequest {
            capture_id: capture_id.to_owned(),
            shipping_info: shipping_info.to_vec(),
        });

    /// Has Klarna send the customer the invoice of a capture once more. A repeat with another key sends a second mail.
    trigger_send_out(order_id, capture_id: &str) [idempotency_key] -> Confirmation =
        TRIGGER_SEND_OUT(CaptureArguments { capture_id: capture_id.to_owned() });

    /// Reads by how many days the due date of a capture can be extended, and each fee in minor units.
    get_extend_due_date_options(order_id, capture_id: &str) -> DueDateOptions =
        GET_EXTEND_DUE_DATE_OPTIONS(CaptureArguments { capture_id: capture_id.to_owned() });

    /// Extends the due date of a capture by one of the numbers of days that
    /// [`get_extend_due_date_options`](Client::get_extend_due_date_options) names, for its fee. A repeat with another
    /// key costs a second fee. No reply shows a due date, so an unknown outcome cannot be found out later.
    extend_due_date(order_id, capture_id: &str, number_of_days: i64) [idempotency_key] -> Confirmation =
        EXTEND_DUE_DATE(DueDateRequest { capture_id: capture_id.to_owned(), number_of_days });

    /// Changes the customer's shipping address. Klarna checks the customer's credit anew. Safe to repeat.
    update_customer_details(order_id, shipping_address: &Address) [idempotency_key] -> Confirmation =
        UPDATE_CUSTOMER_DETAILS(CustomerDetailsRequest { shipping_address: shipping_address.clone() });

    /// Extends the time in which the order can be captured. A second call on one day changes nothing.
    extend_authorization_time(order_id) [idempotency_key] -> Confirmation = EXTEND_AUTHORIZATION_TIME(OrderArguments {});

    /// Changes the shop's own references of the order. Safe to repeat.
    update_merchant_references(order_id, request: &MerchantReferencesRequest) [idempotency_key] -> Confirmation =
        UPDATE_MERCHANT_REFERENCES(*request);

    /// Gives the customer back what was captured, in full or in part: the money moves once, however often it is called
    /// with one key.
    ///
    /// Give each refund of an order a `reference` of its own, by which it can be found again, and the key of a name
    /// ([`idempotency_key_for`](crate::idempotency_key_for) with `"refund"`).
    refund(order_id, request: &RefundRequest) [idempotency_key] -> Refund = REFUND(*request);

    /// Reads one refund of the order.
    get_refund(order_id, refund_id: &str) -> RefundDetails =
        GET_REFUND(RefundArguments { refund_id: refund_id.to_owned() });

    /// Releases what is still reserved on an order of which a part was captured. The rest can never be captured then.
    /// Safe to repeat.
    release_remaining_authorization(order_id) [idempotency_key] -> Confirmation =
        RELEASE_REMAINING_AUTHORIZATION(OrderArguments {});

    /// Adds shipping info, such as a tracking number, to the order. A repeat with another key adds it twice, so give the
    /// key of a name ([`idempotency_key_for`](crate::idempotency_key_for)).
    append_order_shipping_info(order_id, shipping_info: &[ShippingInfo]) [idempotency_key] -> Confirmation =
        APPEND_ORDER_SHIPPING_INFO(OrderShippingRequest { shipping_info: shipping_info.to_vec() });

    /// Searches the order's refunds for the one with this reference and amount. Sound only when each refund of an order
    /// has a reference of its own.
    reconcile_refund(order_id, reference: &str, refunded_amount: i64) -> RefundReconciliation =
        RECONCILE_REFUND(ReconcileRefundRequest { reference: reference.to_owned(), refunded_amount });

    /// Captures everything that is left of the order. The key of the capture is derived from the order, what is left and
    /// `reference`, so a repeat captures nothing more, also after a crash. Give each capture of an order a reference of its
    /// own: it is found again by that.
    ///
    /// The order is read first. Where nothing is left, the capture with this reference is the result, with a warning.
    capture_remaining(order_id, reference: &str) -> Capture =
        CAPTURE_REMAINING(CaptureRemainingArguments { reference: reference.to_owned() });

    /// Refunds everything that was captured and not refunded yet, as [`capture_remaining`](Client::capture_remaining)
    /// captures. Give each refund of an order a reference of its own.
    refund_remaining(order_id, reference: &str) -> Refund =
        REFUND_REMAINING(RefundRemainingArguments { reference: reference.to_owned() });

    /// Refunds of one capture: an amount, or what is left of it. More than that is refused. Without lines of yours the
    /// capture's lines are sent where they add up, and Klarna then assigns the refund to this capture.
    refund_capture(order_id, request: &RefundCaptureRequest) -> Refund = REFUND_CAPTURE(*request);

    /// Ends an order of which no more is shipped: cancels it where nothing was captured, and releases the rest where a
    /// part was. It refunds nothing. Safe to repeat.
    cancel_or_release(order_id) -> OrderEnd = CANCEL_OR_RELEASE(OrderArguments {});

    /// Extends the time in which the order can be captured, if it ends `within` so many seconds by Klarna's clock. Safe to
    /// repeat.
    extend_if_needed(order_id, within: i64) -> Extension = EXTEND_IF_NEEDED(ExtendIfNeededArguments { within });
}

impl AuthorizationRequest {
    /// The new amount and lines of an order. Without lines the order has none afterwards.
    pub fn new(order_amount: i64, order_lines: Vec<OrderLine>) -> AuthorizationRequest {
        AuthorizationRequest { order_amount, description: None, order_lines }
    }
}
