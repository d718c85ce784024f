//! The table: one row for each operation. A new operation is a row here and, where it has them, the object of its
//! arguments and the face of its reply.
//!
//! Paths, status codes and error codes follow the OpenAPI description of the Order Management API that Klarna
//! published in 2024.

use reqwest::Method;
use serde::Deserializer;

use crate::api::arguments::{self, Checked, Reading, ReconcileRequest};
use crate::api::operation::{Effect, Nouns, Operation, ReplyKind};
use crate::api::reply::{CAPTURE as CAPTURE_FACE, RECONCILIATION};
use crate::api::request::CaptureRequest;
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
    /// Captures the order, in full or in part: the money moves once, however often it is called with one key.
    CAPTURE = "capture"(CaptureRequest) {
        method: Method::POST,
        path: "/captures",
        reply: ReplyKind::Created { header: "capture-id", collection: "captures" },
        face: &CAPTURE_FACE,
        effect: Effect::Writes,
        settles: OF_THE_BYTES,
        of_state: &[(403, "CAPTURE_NOT_ALLOWED")],
        found_by: Some(&RECONCILE),
        key_word: "captures",
        nouns: Nouns { call: "the capture", done: "captured", subject: "the captures" },
    }

    /// Reads the order's captures and searches for the one with this reference and amount. Sound only when each capture
    /// of an order has a reference of its own.
    RECONCILE = "reconcile"(ReconcileRequest) {
        method: Method::GET,
        path: "/captures",
        reply: ReplyKind::Matches { id: "capture_id", amount: "captured_amount" },
        face: &RECONCILIATION,
        effect: Effect::Looks,
        settles: &[],
        of_state: &[],
        found_by: None,
        key_word: "",
        nouns: Nouns { call: "the query", done: "captured", subject: "the captures" },
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
            if let Some(look) = row.found_by {
                assert_eq!(look.effect, Effect::Looks);
            }
        }
        assert!(named("captur").unwrap_err().message().ends_with("did you mean \"capture\"?"));
    }
}
