//! The events of the feature `tracing`: each outcome, and each retry. Without the feature nothing is logged.

use crate::api::operation::Reply;
use crate::error::Error;
use crate::record::Attempt;

#[cfg(not(feature = "tracing"))]
mod events {
    use super::{Attempt, Error, Reply};

    pub(crate) fn retry(_: impl FnOnce() -> String, _: Option<&str>, _: usize, _: &Attempt) {}
    pub(crate) fn end(_: impl FnOnce() -> String, _: Option<&str>, _: &Result<Reply, Error>) {}
    pub(crate) fn refused(_: &Error) {}
}

#[cfg(feature = "tracing")]
mod events {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::{Attempt, Error, Reply};

    /// A program's subscriber that panics must not take the outcome with it.
    fn contained(tell: impl FnOnce()) {
        let _ = catch_unwind(AssertUnwindSafe(tell));
    }

    /// Another attempt follows the one of this number.
    pub(crate) fn retry(order_id: impl FnOnce() -> String, key: Option<&str>, number: usize, attempt: &Attempt) {
        contained(|| {
            tracing::warn!(
                order_id = %order_id(),
                idempotency_key = key,
                correlation_id = attempt.correlation_id(),
                attempt = number,
                outcome = attempt.came_back(),
                wait_ms = attempt.wait().map(|wait| wait.as_millis() as u64),
                "takings tries again"
            );
        });
    }

    /// A call has ended.
    pub(crate) fn end(order_id: impl FnOnce() -> String, key: Option<&str>, result: &Result<Reply, Error>) {
        let (outcome, correlation_id, attempts, message) = match result {
            Ok(reply) => (reply.outcome(), reply.correlation_id(), reply.attempts(), None),
            Err(error) => (error.kind().as_str(), error.correlation_id(), error.attempts(), Some(error.message())),
        };
        contained(|| {
            tracing::info!(
                order_id = %order_id(),
                idempotency_key = key,
                correlation_id,
                attempts,
                outcome,
                error = message,
                "takings is done"
            );
        });
    }

    /// A call was refused before it was made.
    pub(crate) fn refused(error: &Error) {
        contained(|| {
            tracing::info!(
                order_id = error.order_id(),
                idempotency_key = error.idempotency_key(),
                attempts = 0,
                outcome = error.kind().as_str(),
                error = error.message(),
                "takings is done"
            );
        });
    }
}

pub(crate) use events::{end, refused, retry};
