//! The parts of a claim that every engine does alike: what an account lets through, and the facts of a row.

use std::time::Duration;

use crate::policy::{Claimed, Moments, Rate, State, maybe_when_claimed};
use crate::store::{Claim, Error, Kind};

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
    /// The address and the merchant that it is bound to.
    pub place: Option<Place>,
}

/// The address of a worker's requests, and the merchant that its credentials are for.
pub(crate) type Place = (String, String);

impl Account {
    /// Refuses a worker whose account was bound anew while it did not look: its requests would go to the former place.
    ///
    /// # Errors
    ///
    /// The account is bound to another place than the one that `worker` began with.
    pub fn check_place(&self, account: &str, worker: Option<&Place>) -> Result<(), Error> {
        match worker {
            Some((url, merchant)) if self.place.as_ref() != worker => Err(Error::refused(format!(
                "the account {account} was bound anew while a worker for {merchant} at {url} ran, so that one sends nothing \
                 more; start it again with the credentials that the account is bound to"
            ))),
            _ => Ok(()),
        }
    }

    /// The requests that the rate lets through now.
    pub fn tokens_at(&self, now: i64) -> f64 {
        let seconds = now.saturating_sub(self.tokens_since).max(0) as f64 / 1000.0;
        self.most_at_once(now).min(self.tokens + self.rate.at(now) * seconds).max(0.0)
    }

    /// The most that is saved up. It shrinks with the rate that Klarna's limit left: less fits into a second then.
    fn most_at_once(&self, now: i64) -> f64 {
        (self.burst * self.rate.at(now) / self.rate.full).max(1.0)
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

    /// Whether a claim of `most` rows is worth its transaction: the rate lets them through, or a quarter of what it ever
    /// lets through at once. Where it is low, what comes within `soon` is enough.
    pub fn is_worth(&self, now: i64, most: usize, soon: Duration) -> bool {
        let wanted = (self.most_at_once(now) / 4.0).min(self.rate.at(now) * soon.as_secs_f64()).max(1.0);
        let wanted = if self.trouble > 0 { 1 } else { wanted.floor() as usize };
        self.room(now, most) >= wanted.min(most)
    }
}

/// A row that is due.
pub(crate) struct DueRow {
    pub kind: Kind,
    pub id: i64,
    /// Its place among the due rows, in the engine's own unit.
    pub queue_at: i64,
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
    due.sort_by_key(|row| (row.queue_at, row.kind, row.id));
    due.truncate(most);
    due
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::usual_burst;

    const SOON: Duration = Duration::from_millis(50);

    fn account(per_second: f64, burst: f64, tokens: f64) -> Account {
        Account {
            rate: Rate { full: per_second, slowed: None },
            burst,
            tokens,
            tokens_since: 0,
            trouble: 0,
            paused_until: 0,
            look_until: 0,
            look_since: 0,
            seen_at: 0,
            place: None,
        }
    }

    #[test]
    fn a_claim_waits_for_rows_that_share_its_transaction() {
        let usual = account(180.0, 15.0, 0.0);
        assert!(!usual.is_worth(16, 64, SOON), "{}", usual.tokens_at(22));
        assert!(usual.is_worth(28, 64, SOON));
        assert!(usual.is_worth(6, 1, SOON), "no more is wanted");
        assert!(!usual.is_worth(5, 1, SOON), "nothing is let through");
        assert!(!Account { paused_until: 29, ..account(180.0, 15.0, 20.0) }.is_worth(28, 64, SOON));
        assert!(Account { trouble: 1, ..account(180.0, 15.0, 1.0) }.is_worth(0, 64, SOON), "a probe is one row");
    }

    /// Klarna takes 200 requests in a second: what was saved up and what the rate lets through fit into it, with room for
    /// some that are late.
    #[test]
    fn no_second_lets_more_through_than_klarna_takes() {
        let most = |account: &Account| account.tokens_at(60_000) + account.rate.at(60_000);
        for per_second in [180.0, 90.0, 24.0, 12.0] {
            let usual = account(per_second, usual_burst(per_second), 0.0);
            let allowed = per_second * 195.0 / 180.0;
            assert!((most(&usual) - allowed).abs() < 1e-6, "{}", most(&usual));
            let slowed = Rate { full: per_second, slowed: Some((per_second / 2.0, 60_000)) };
            let left = most(&Account { rate: slowed, ..usual });
            assert!(left <= (allowed / 2.0).max(1.0 + per_second / 2.0) + 1e-6, "{left}");
        }
        assert_eq!(account(0.5, usual_burst(0.5), 0.0).tokens_at(60_000), 1.0, "never less than a request");
    }

    #[test]
    fn a_low_rate_is_not_waited_for() {
        assert!(account(1.0, 40.0, 1.0).is_worth(0, 64, SOON));
        assert!(account(1.0, 1.0, 1.0).is_worth(0, 64, SOON));
    }
}
