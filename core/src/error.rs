//! The error type for everything that can go wrong, on every surface.

use std::fmt;

use crate::record::{Attempt, Fact, IntoFact, record, text_of, to_json};

/// Writes down the kinds once: variant, name on every surface, documentation.
macro_rules! kinds {
    ($( $(#[doc = $doc:literal])* $Kind:ident = $name:literal, )*) => {
        /// The meaning of an [`Error`] for the money, and so for the shop's next step.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $( $(#[doc = $doc])* $Kind, )*
        }

        impl ErrorKind {
            /// Every kind.
            pub(crate) const ALL: &'static [ErrorKind] = &[$(ErrorKind::$Kind),*];

            /// The name used on every surface: `invalid_input`, `not_sent`, `rejected`,
            /// `outcome_unknown` or `internal`.
            pub fn as_str(self) -> &'static str {
                match self { $(ErrorKind::$Kind => $name,)* }
            }

            pub(crate) fn doc(self) -> String {
                text_of(match self { $(ErrorKind::$Kind => &[$($doc),*],)* })
            }
        }
    };
}

kinds! {
    /// Our own check refused the input. Nothing was sent. Fix the code or the data.
    InvalidInput = "invalid_input",
    /// No part of this call can have reached Klarna (name look-up, refused connection, TLS, proxy).
    /// Call again at any time, with the same key.
    NotSent = "not_sent",
    /// Klarna refused it, and nothing was captured under this key, ever. Fix the cause; the corrected capture needs
    /// a new idempotency key.
    Rejected = "rejected",
    /// The order may have been captured: an answer was lost or made no sense, or an earlier call with the key, of
    /// which nothing is known here, may have captured. Call again with the same idempotency key within 24 hours of its
    /// first use; never book it as failed.
    OutcomeUnknown = "outcome_unknown",
    /// A bug in takings. Report it; if `attempts` is above 0, treat it as `outcome_unknown`.
    Internal = "internal",
}

impl<'a> IntoFact<'a> for ErrorKind {
    const KIND: &'static str = "error_kind";
    fn into_fact(self) -> Fact<'a> {
        Fact::Text(self.as_str())
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Fields {
    pub kind: ErrorKind,
    pub message: String,
    pub http_status: Option<u16>,
    pub error_code: Option<String>,
    pub error_messages: Vec<String>,
    pub correlation_id: Option<String>,
    pub order_id: Option<String>,
    pub idempotency_key: Option<String>,
    pub attempts: u32,
    pub attempt_log: Vec<Attempt>,
    pub retryable: bool,
}

record! {
    /// Why a call did not end well: what it means for the money ([`kind`](Error::kind)),
    /// one line for a log ([`message`](Error::message)) and the facts as fields.
    ///
    /// An error never holds a credential or customer data, and text that came from a server has
    /// been scrubbed of control characters.
    #[derive(Clone, PartialEq, Eq)]
    pub struct Error(Box<Fields>) {
        /// The meaning of the error for the money.
        kind: ErrorKind = |fields| fields.kind;
        /// The error in one line: what happened, where, and the way out.
        message: &str = |fields| &fields.message;
        /// The HTTP status of the last answer, when there was one.
        http_status: Option<u16> = |fields| fields.http_status;
        /// Klarna's `error_code` from the last answer, such as `CAPTURE_NOT_ALLOWED`. Made for
        /// programs; new ones may appear.
        error_code: Option<&str> = |fields| fields.error_code.as_deref();
        /// Klarna's `error_messages` from the last answer: English text for the developer, whose
        /// wording changes. At most 20, each at most 500 characters.
        error_messages: &[String] = |fields| &fields.error_messages;
        /// Klarna's name for the failed request: quote it to Klarna's support.
        correlation_id: Option<&str> = |fields| fields.correlation_id.as_deref();
        /// The order the call was for, when it got as far as having one.
        order_id: Option<&str> = |fields| fields.order_id.as_deref();
        /// The key the call used. Keep it: after `outcome_unknown`, calling again with it is what
        /// makes the second call safe.
        idempotency_key: Option<&str> = |fields| fields.idempotency_key.as_deref();
        /// How many requests were begun, 0 when nothing was sent.
        attempts: u32 = |fields| fields.attempts;
        /// Each request with its time, what came back and the pause after it. The requests that
        /// searched for the capture are among them.
        attempt_log: &[Attempt] = |fields| &fields.attempt_log;
        /// Whether the same call, with the same key, can end differently later. True for
        /// `not_sent`, a rate limit, and an `internal` error after a request was begun. True for
        /// `outcome_unknown` too, but not after a refused query, or for a key past its 24 hours.
        retryable: bool = |fields| fields.retryable;
    }
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Box::new(Fields {
            kind,
            message: message.into(),
            http_status: None,
            error_code: None,
            error_messages: Vec::new(),
            correlation_id: None,
            order_id: None,
            idempotency_key: None,
            attempts: 0,
            attempt_log: Vec::new(),
            retryable: matches!(kind, ErrorKind::NotSent | ErrorKind::OutcomeUnknown),
        }))
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::InvalidInput, message)
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Fields)) -> Error {
        change(&mut self.0);
        self
    }

    /// For bindings: the error for an argument that never reached the core's own checks, in
    /// the core's words. `field` is the argument, `got` what arrived, `allowed` what may.
    #[doc(hidden)]
    pub fn invalid_argument(field: &str, got: &str, allowed: &str) -> Error {
        Error::invalid(format!("{field} is {got}; it must be {allowed}"))
    }

    /// An identifying text that holds something nobody means, as [`oddity`](crate::text::oddity) words it.
    pub(crate) fn odd(field: &str, oddity: &str, allowed: &str) -> Error {
        Error::invalid(format!("{field} {oddity}; it must be {allowed}"))
    }

    /// For bindings: the error for a panic caught at their boundary, outside a call.
    #[doc(hidden)]
    pub fn panicked() -> Error {
        Error::new(
            ErrorKind::Internal,
            "takings failed inside (a panic was caught); if a capture had begun, treat its outcome as unknown and call \
             again with the same idempotency key; please report it",
        )
    }

    /// All fields as a JSON object, for a host that takes one text. Times are whole milliseconds, and their
    /// names end in `_ms`.
    pub fn to_json(&self) -> String {
        serde_json::Value::Object(to_json(&Error::INFO, self.facts())).to_string()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("http_status", &self.0.http_status)
            .field("error_code", &self.0.error_code)
            .field("correlation_id", &self.0.correlation_id)
            .field("order_id", &self.0.order_id)
            .field("idempotency_key", &self.0.idempotency_key)
            .field("attempts", &self.0.attempts)
            .field("retryable", &self.0.retryable)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Error {}
