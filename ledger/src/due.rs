//! The parts of a claim that every engine does alike: what an account lets through, and the facts of a row.

use crate::policy::{Claimed, Moments, Rate, State, maybe_when_claimed};
use crate::store::{Claim, Kind};

/// The parts of an account that a claim reads. Times are milliseconds since 1970.
pub(crate) struct Account {
    pub rate: Rate,
    pub burst: f64,
    pub tokens: f64,
    pub tokens_since: i64,
    pub trouble: u32,
    pub paused_until: i64,
    pub look_until: i64,
    pub look_since: i64,
    pub seen_at: i64,
}

impl Account {
    /// The requests that the rate lets through now.
    pub fn tokens_at(&self, now: i64) -> f64 {
        let seconds = now.saturating_sub(self.tokens_since).max(0) as f64 / 1000.0;
        self.burst.min(self.tokens + self.rate.at(now) * seconds).max(0.0)
    }

    /// How many of `most` rows may be claimed now: none while it is paused, one at a time while it is in trouble.
    pub fn room(&self, now: i64, most: usize) -> usize {
        match (self.paused_until > now, self.trouble > 0) {
            (true, _) => 0,
            (false, is_in_trouble) => {
                most.min(self.tokens_at(now).floor() as usize).min(if is_in_trouble { 1 } else { usize::MAX })
            }
        }
    }
}

/// A row that is due.
pub(crate) struct DueRow {
    pub kind: Kind,
    pub id: i64,
    /// In the engine's own unit, for the order of rows alone.
    pub due_at: i64,
    pub state: State,
    pub maybe: bool,
    pub refused: bool,
    pub tries: u32,
    pub sends: u64,
    pub order_id: String,
    pub reference: String,
    pub amount: i64,
    pub request: Option<String>,
    pub idempotency_key: Option<String>,
    pub enqueued_at: i64,
    pub looked_at: Option<i64>,
}

impl DueRow {
    /// Whether it may have been carried out, from now on.
    pub fn maybe(&self) -> bool {
        maybe_when_claimed(self.state, self.maybe)
    }

    pub fn claimed(self, now: i64, account: &Account) -> Claim {
        let moments = Moments {
            now,
            enqueued_at: self.enqueued_at,
            looked_at: self.looked_at,
            look_until: account.look_until,
            look_since: account.look_since,
        };
        let row = Claimed {
            maybe: self.maybe(),
            unvouched: moments.is_unvouched(),
            refused: self.refused,
            tries: self.tries,
            vouched_age: moments.vouched_age(),
            trouble: account.trouble,
        };
        Claim {
            kind: self.kind,
            id: self.id,
            sends: self.sends + 1,
            order_id: self.order_id,
            reference: self.reference,
            amount: self.amount,
            request: self.request,
            idempotency_key: self.idempotency_key,
            row,
            at: now,
            seen_at: account.seen_at,
        }
    }
}

/// The rows of both tables that have waited longest, at most `most`.
pub(crate) fn first(mut due: Vec<DueRow>, most: usize) -> Vec<DueRow> {
    due.sort_by_key(|row| (row.due_at, row.kind, row.id));
    due.truncate(most);
    due
}
