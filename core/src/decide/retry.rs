//! When a call tries again, and after which pause.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The shortest time-out of an attempt, since no host's clock is finer.
pub(crate) const SHORTEST: Duration = Duration::from_millis(1);

/// The bounds of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub total: Duration,
    pub attempt: Duration,
    pub connect: Duration,
    pub attempts: u32,
    pub backoff: Duration,
    pub max_backoff: Duration,
}

/// How long to pause before the next attempt, at least.
#[derive(Clone, Copy)]
pub(crate) enum Pause {
    Jitter,
    /// At least half of the range: the same key may still be in flight.
    Firm,
    /// As the server asked.
    Asked(Duration),
}

/// Draws the pauses of one call (SplitMix64).
#[derive(Clone, Copy)]
pub(crate) struct Pauses(u64);

impl Pauses {
    /// `seed` need not be secret.
    pub fn new(seed: u64) -> Pauses {
        Pauses(seed)
    }

    /// The pause after attempt `number`, counted from 1.
    pub fn draw(&mut self, limits: &Limits, number: u32, pause: Pause) -> Duration {
        let doubled = 1_u32.checked_shl(number - 1).unwrap_or(u32::MAX);
        let range = limits.backoff.saturating_mul(doubled).min(limits.max_backoff);
        let jitter = range.mul_f64(self.fraction());
        match pause {
            Pause::Jitter => jitter,
            Pause::Firm => range / 2 + jitter / 2,
            Pause::Asked(asked) => asked.saturating_add(jitter),
        }
    }

    /// A number from 0 up to 1.
    fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The budget that retries of all calls of a client draw on, so that an outage does not cause a storm of retries. The
/// budget is a bucket of 500 tokens as in the AWS SDKs' standard mode. A retry takes 5 and a success gives 1 back.
/// Beside that the bucket refills by 10 a second, enough for two retries.
pub(crate) struct Budget(AtomicU64);

impl Budget {
    const FULL: u64 = 500;
    const RETRY: u64 = 5;
    const PER_SECOND: u64 = 10;

    pub fn new() -> Budget {
        Budget(AtomicU64::new(Budget::FULL))
    }

    // A single word holds the time in milliseconds above 16 bits of tokens. A lock could stay locked after a fork.
    fn change(&self, now: Duration, change: impl Fn(u64) -> Option<u64>) -> bool {
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX) & (u64::MAX >> 16);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
                let (since, tokens) = (word >> 16, word & 0xffff);
                let earned = now.saturating_sub(since).saturating_mul(Budget::PER_SECOND) / 1000;
                // Time that earned no whole token counts towards the next one.
                let since = if earned == 0 { since } else { now };
                let tokens = change(tokens.saturating_add(earned).min(Budget::FULL))?;
                Some(since << 16 | tokens.min(Budget::FULL))
            })
            .is_ok()
    }

    pub fn take_retry(&self, now: Duration) -> bool {
        self.change(now, |tokens| tokens.checked_sub(Budget::RETRY))
    }

    pub fn success(&self, now: Duration) {
        self.change(now, |tokens| Some(tokens + 1));
    }
}
