//! Klarna's refusals and their error objects.

use super::Operation;
use crate::http::Answer;
use serde_json::json;

/// A refusal by Klarna.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub status: u16,
    pub error_code: &'static str,
    pub messages: Vec<String>,
}

impl Refusal {
    pub fn new(status: u16, error_code: &'static str, message: impl Into<String>) -> Self {
        Self { status, error_code, messages: vec![message.into()] }
    }

    pub fn no_such_order(order_id: &str) -> Self {
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
pub(crate) fn usual_error_code(status: u16, operation: Option<Operation>) -> &'static str {
    match status {
        400 => "BAD_REQUEST",
        401 => "UNAUTHORIZED",
        403 => match operation {
            Some(Operation::Refund) => "REFUND_NOT_ALLOWED",
            Some(Operation::Cancel) => "CANCEL_NOT_ALLOWED",
            Some(operation) if operation.writes() && operation != Operation::Capture => "NOT_ALLOWED",
            _ => "CAPTURE_NOT_ALLOWED",
        },
        404 if matches!(operation, Some(Operation::Refund | Operation::GetRefund)) => "NOT_FOUND",
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
