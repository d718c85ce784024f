//! The limits that a single call, or a client beside another one, has in place of its settings.

use std::time::Duration;

use crate::strict::{Rule, object};

pub(crate) const DAY_MS: u64 = 86_400_000;
/// A time that is more than nothing.
pub(crate) const TIME: Rule = Rule::Time { min_ms: 1, max_ms: DAY_MS };
/// A time that may be nothing.
pub(crate) const BACKOFF: Rule = Rule::Time { min_ms: 0, max_ms: DAY_MS };
pub(crate) const MAX_ATTEMPTS: Rule = Rule::Integer { min: 1, max: 20, unit: "requests" };

object! {
    /// The limits that calls have in place of the client's settings. An absent one is the client's.
    ///
    /// ```
    /// use std::time::Duration;
    /// use takings::Options;
    ///
    /// let quick = Options::default().timeout(Duration::from_secs(3)).max_attempts(1);
    /// ```
    #[derive(Copy, Default)]
    pub struct Options: "an option of a call" {
        /// Time for the whole call with all attempts and pauses, in place of the client's.
        optional timeout "timeout_ms": Duration, TIME;
        /// Requests the call may make, 1 to 20, in place of the client's.
        optional max_attempts "max_attempts": u32, MAX_ATTEMPTS;
    }
}

impl Options {
    /// The same with this time for the whole call.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Options {
        Options { timeout: Some(timeout), ..self }
    }

    /// The same with this number of requests.
    #[must_use]
    pub fn max_attempts(self, max_attempts: u32) -> Options {
        Options { max_attempts: Some(max_attempts), ..self }
    }

    /// These options, with those below where they say nothing.
    pub(crate) fn over(self, below: Options) -> Options {
        Options { timeout: self.timeout.or(below.timeout), max_attempts: self.max_attempts.or(below.max_attempts) }
    }
}
