//! The calls of Order Management, by method and path.

use crate::http::percent_decode;
use serde::{Deserialize, Serialize};

/// A call of the API, under the name that Klarna's specification gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Reads the order.
    GetOrder,
    /// Says that the shop knows the order.
    Acknowledge,
    /// Sets the amount and the lines.
    UpdateAuthorization,
    /// Ends an order of which nothing was captured.
    Cancel,
    /// Takes money.
    Capture,
    /// Reads all captures.
    GetCaptures,
    /// Reads a capture.
    GetCapture,
    /// Adds tracking to a capture.
    AppendShippingInfo,
    /// Sends the customer the mail of a capture once more.
    TriggerSendOut,
    /// Reads by how many days a due date can be moved, and the fees.
    GetExtendDueDateOptions,
    /// Moves the due date of a capture, for a fee.
    ExtendDueDate,
    /// Sets the shipping address.
    UpdateCustomerDetails,
    /// Moves the end of the authorization.
    ExtendAuthorizationTime,
    /// Sets the shop's references.
    UpdateMerchantReferences,
    /// Gives money back.
    Refund,
    /// Reads a refund.
    GetRefund,
    /// Gives back the reserved rest of a captured order.
    ReleaseRemainingAuthorization,
    /// Adds tracking to the order.
    AppendOrderShippingInfo,
}

use Operation::*;

/// Methods and paths below an order. `*` is an id.
const ROUTES: [(Operation, &str, &str, &str); 18] = [
    (GetOrder, "get_order", "GET", ""),
    (Acknowledge, "acknowledge", "POST", "acknowledge"),
    (UpdateAuthorization, "update_authorization", "PATCH", "authorization"),
    (Cancel, "cancel", "POST", "cancel"),
    (GetCaptures, "get_captures", "GET", "captures"),
    (Capture, "capture", "POST", "captures"),
    (GetCapture, "get_capture", "GET", "captures/*"),
    (AppendShippingInfo, "append_shipping_info", "POST", "captures/*/shipping-info"),
    (TriggerSendOut, "trigger_send_out", "POST", "captures/*/trigger-send-out"),
    (GetExtendDueDateOptions, "get_extend_due_date_options", "GET", "captures/*/extend-due-date-options"),
    (ExtendDueDate, "extend_due_date", "PATCH", "captures/*/extend-due-date"),
    (UpdateCustomerDetails, "update_customer_details", "PATCH", "customer-details"),
    (ExtendAuthorizationTime, "extend_authorization_time", "POST", "extend-authorization-time"),
    (UpdateMerchantReferences, "update_merchant_references", "PATCH", "merchant-references"),
    (Refund, "refund", "POST", "refunds"),
    (GetRefund, "get_refund", "GET", "refunds/*"),
    (ReleaseRemainingAuthorization, "release_remaining_authorization", "POST", "release-remaining-authorization"),
    (AppendOrderShippingInfo, "append_order_shipping_info", "POST", "shipping-info"),
];

impl Operation {
    /// The 18 calls.
    pub fn all() -> impl Iterator<Item = Self> {
        ROUTES.iter().map(|route| route.0)
    }

    fn route(self) -> (&'static str, &'static str, &'static str) {
        let found = ROUTES.iter().find(|route| route.0 == self);
        found.map_or(("", "", ""), |(_, name, method, path)| (name, method, path))
    }

    /// The name in JSON.
    pub fn name(self) -> &'static str {
        self.route().0
    }

    /// `GET`, `POST` or `PATCH`.
    pub fn method(self) -> &'static str {
        self.route().1
    }

    /// The path below the order's own; `*` stands for the id of a capture or refund.
    pub fn path(self) -> &'static str {
        self.route().2
    }

    /// Whether the call changes anything.
    pub fn writes(self) -> bool {
        self.method() != "GET"
    }
}

/// A path with an order in it. The ids are decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub order_id: String,
    /// The path of [`ROUTES`]; `None`: the path leads nowhere.
    path: Option<&'static str>,
    /// The id of a capture or refund, or nothing.
    pub id: String,
}

impl Place {
    /// The order itself.
    pub fn of(order_id: &str) -> Self {
        Self { order_id: order_id.into(), path: Some(""), id: String::new() }
    }

    /// The methods that are possible here; none if the path leads nowhere.
    pub fn methods(&self) -> Vec<&'static str> {
        ROUTES.iter().filter(|route| Some(route.3) == self.path).map(|route| route.2).collect()
    }

    pub fn operation(&self, method: &str) -> Option<Operation> {
        ROUTES.iter().find(|route| Some(route.3) == self.path && route.2 == method).map(|route| route.0)
    }

    /// The capture in the path.
    pub fn capture_id(&self) -> Option<&str> {
        self.path.filter(|path| path.starts_with("captures/")).map(|_| self.id.as_str())
    }

    /// The refund in the path.
    pub fn refund_id(&self) -> Option<&str> {
        self.path.filter(|path| path.starts_with("refunds/")).map(|_| self.id.as_str())
    }
}

/// Reads a path; `None` if it names no order.
pub(crate) fn place(path: &str) -> Option<Place> {
    let rest = path.strip_prefix("/ordermanagement/v1/orders/")?;
    let (order_id, below) = rest.split_once('/').map_or((rest, None), |(id, below)| (id, Some(below)));
    if order_id.is_empty() {
        return None;
    }
    let segments: Vec<&str> = below.map_or_else(Vec::new, |below| below.split('/').collect());
    let fits = |template: &str| {
        let wanted: Vec<&str> = template.split('/').filter(|segment| !segment.is_empty()).collect();
        let mut pairs = wanted.iter().zip(&segments);
        wanted.len() == segments.len()
            && pairs.all(|(wanted, given)| if *wanted == "*" { !given.is_empty() } else { wanted == given })
    };
    let path = ROUTES.iter().map(|route| route.3).find(|template| fits(template));
    let id =
        path.filter(|path| path.contains('*')).and(segments.get(1)).map_or_else(String::new, |id| percent_decode(id));
    Some(Place { order_id: percent_decode(order_id), path, id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_paths() {
        let at = |path: &str| place(&format!("/ordermanagement/v1/orders/{path}"));
        let found = at("a%2Fb/captures/c%20d").unwrap();
        assert_eq!((found.order_id.as_str(), found.capture_id()), ("a/b", Some("c d")));
        assert_eq!(found.operation("GET"), Some(GetCapture));
        assert_eq!(at("a/refunds/r").unwrap().refund_id(), Some("r"));
        assert_eq!(at("a").unwrap().methods(), ["GET"]);
        assert_eq!(at("a/captures").unwrap().methods(), ["GET", "POST"]);
        for nowhere in ["a/", "a/captures/", "a/captures//shipping-info", "a/refunds/r/x", "a/customer-detail"] {
            assert!(at(nowhere).unwrap().methods().is_empty(), "{nowhere}");
        }
        assert_eq!(at(""), None);
        assert_eq!(place("/ordermanagement/v2/orders/a"), None);
    }

    #[test]
    fn every_call_has_its_route_and_name() {
        assert_eq!(Operation::all().filter(|operation| operation.writes()).count(), 13);
        for operation in Operation::all() {
            let path = format!("/ordermanagement/v1/orders/o/{}", operation.path().replace('*', "c"));
            let place = place(path.trim_end_matches('/')).unwrap();
            assert_eq!(place.operation(operation.method()), Some(operation));
            assert_eq!(json!(operation), operation.name());
        }
    }
}
