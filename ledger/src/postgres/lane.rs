//! Where a worker searches for an account's due rows.
//!
//! The index of due rows keeps an entry of every former version of a row, for as long as anybody's snapshot may see it. A
//! search passes such entries one by one, so a claim begins at a cursor and not at the first entry. A row may become due
//! behind the cursor all the same: a shop's transaction commits late, the claim of another worker is rolled back, or its
//! lease ends. A look from the first entry to the cursor finds it. The look takes no lock, and where it is slow it has a
//! connection of its own, so that no claim waits for it.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ::postgres::types::Type;
use ::postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::due::DueRow;
use crate::store::{Error, Kind};

/// The place in the order of due rows behind which no claim of this worker searches: microseconds since 1970, and the
/// row's number.
pub(super) type Cursor = (i64, i64);

const START: Cursor = (-1, 0);

/// How long a shop's transaction may take, in microseconds, before only a look finds its rows.
const LATE: i64 = 2_000_000;

/// How often a worker looks behind its cursors.
const OFTEN: Duration = Duration::from_secs(10);

/// The part of the time that looks may take: a fiftieth.
const RARELY: u32 = 50;

/// The longest time between two looks, and the longest that one may take beside the claims. For so long a row may wait
/// that became due behind a cursor.
const SELDOM: Duration = Duration::from_secs(120);

/// A look that took longer has a connection of its own the next time.
const CHEAP: Duration = Duration::from_millis(10);

/// A look that took longer never keeps a claim waiting.
const BEARABLE: Duration = Duration::from_secs(1);

/// How many rows a look finds at most. So many are no stragglers, and the cursor goes back to them.
const MOST: usize = 1000;

/// No sort, so along the index: right after many rows were inserted the server knows nothing of them, and would rather sort
/// them all. A time-out of the role must not end the look.
const ALONG_THE_INDEX: &str = "BEGIN READ ONLY; \
     SELECT set_config('enable_sort', 'off', true), set_config('statement_timeout', '0', true)";

/// The rows that were due behind a moment, by table.
pub(super) struct Seen {
    /// All rows that were due before have been seen, unless there were too many.
    until: i64,
    due: [Vec<Cursor>; 2],
    took: Duration,
}

/// The searches of an account's claims.
pub(super) struct Lane {
    /// By table.
    pub cursors: [Cursor; 2],
    /// Numbers of rows that are due behind the cursors, by table.
    pub stragglers: [Vec<i64>; 2],
    /// The last claim took as many rows as it asked for, so there may be more.
    pub has_more: bool,
    /// When the lease of the first claim ends since the last such end, in milliseconds of the ledger's clock.
    pub lease_ends: i64,
    /// A look on a connection of its own.
    beside: Option<(Instant, JoinHandle<Result<Seen, Error>>)>,
    next: Instant,
    took: Duration,
}

impl Lane {
    /// `seen` is a first look.
    pub fn new(seen: Seen) -> Lane {
        let mut lane = Lane {
            cursors: [START; 2],
            stragglers: [Vec::new(), Vec::new()],
            has_more: false,
            lease_ends: i64::MAX,
            beside: None,
            next: Instant::now(),
            took: Duration::ZERO,
        };
        lane.take(seen);
        lane
    }

    /// Whether somebody has to look now, on the connection of the claims. Begins a look beside them where that is better,
    /// and takes over what it found.
    pub fn is_to_look(&mut self, connect: &Connect, account: &str) -> bool {
        match self.beside.take() {
            Some((since, look)) if !look.is_finished() => {
                // Its server may be gone without a word. The thread ends with its connection.
                if since.elapsed() > SELDOM {
                    return true;
                }
                self.beside = Some((since, look));
            }
            Some((_, look)) => match look.join() {
                Ok(Ok(seen)) => self.take(seen),
                // No connection, or it was lost: rows must not be forgotten for that.
                Ok(Err(_)) | Err(_) => return true,
            },
            None if Instant::now() < self.next => {}
            None if self.took <= CHEAP => return true,
            None => {
                let (connect, account) = (connect.clone(), account.to_owned());
                let look = thread::Builder::new().spawn(move || Ok(look(&mut connect.connect()?, &account)?));
                let Ok(look) = look else { return true };
                self.beside = Some((Instant::now(), look));
            }
        }
        false
    }

    /// Takes over what a look has found.
    pub fn take(&mut self, seen: Seen) {
        let tables = self.cursors.iter_mut().zip(&mut self.stragglers);
        for ((cursor, stragglers), due) in tables.zip(seen.due) {
            match due.first() {
                Some((at, id)) if due.len() == MOST => {
                    stragglers.clear();
                    let before = (*at, id - 1);
                    *cursor = if *cursor == START { before } else { before.min(*cursor) };
                }
                _ => {
                    *stragglers = due.into_iter().map(|(_, id)| id).collect();
                    *cursor = (*cursor).max((seen.until, 0));
                }
            }
        }
        self.took = seen.took;
        self.next = Instant::now() + OFTEN.max((seen.took * RARELY).min(SELDOM));
    }

    /// Has a look made at once where a lease ended.
    pub fn is_lease_over(&mut self, now: i64) -> bool {
        let is_over = self.lease_ends <= now;
        if is_over {
            self.lease_ends = i64::MAX;
            self.next = Instant::now();
            // So seldom that claims may wait for it.
            if self.took < BEARABLE {
                self.took = Duration::ZERO;
            }
        }
        is_over
    }

    /// Notes that the searches of both tables came to their end.
    pub fn nothing_is_due(&mut self, now: i64) {
        self.cursors = self.cursors.map(|cursor| cursor.max((late(now), 0)));
    }

    /// Notes how far a claim's searches came. Each table gave so many rows of the `most` that were wanted, beside the
    /// stragglers, and `due` were claimed.
    pub fn searched(&mut self, now: i64, most: usize, found: [usize; 2], due: &[DueRow]) {
        for (place, kind) in Kind::ALL.into_iter().enumerate() {
            let (cursor, stragglers) = (&mut self.cursors[place], &mut self.stragglers[place]);
            // Others that took them, or their locks, are found by the next look.
            stragglers.drain(..most.min(stragglers.len()));
            let claimed = due.iter().filter(|row| row.kind == kind).map(|row| (row.queue_at, row.id));
            let claimed: Vec<Cursor> = claimed.filter(|at| at > cursor).collect();
            let end = (late(now), 0);
            let is_all = found[place] < most && claimed.len() == found[place];
            let last = if is_all { Some(end) } else { claimed.into_iter().max() };
            *cursor = last.map_or(*cursor, |last| last.min(end)).max(*cursor);
        }
    }
}

/// The moment up to which a search need not be made again, from milliseconds to microseconds.
fn late(now: i64) -> i64 {
    now.saturating_mul(1000).saturating_sub(LATE)
}

/// Whether the ledger's clock went back behind the cursors, so that the rows of hours are due behind them.
pub(super) fn went_back(cursors: [Cursor; 2], now: i64) -> bool {
    cursors.iter().any(|(at, _)| *at > now.saturating_mul(1000))
}

/// Makes connections.
#[derive(Clone)]
pub(super) struct Connect {
    pub config: Config,
    pub tls: Option<MakeRustlsConnect>,
}

impl Connect {
    pub fn connect(&self) -> Result<Client, ::postgres::Error> {
        match &self.tls {
            Some(tls) => self.config.connect(tls.clone()),
            None => self.config.connect(NoTls),
        }
    }
}

/// Reads which rows of an account are due and have been for a moment: the oldest of each table.
pub(super) fn look(client: &mut Client, account: &str) -> Result<Seen, ::postgres::Error> {
    let begun = Instant::now();
    let of = |kind: Kind| {
        format!(
            "(SELECT '{operation}' AS kind, queue_at, id FROM takings_{operation}
              WHERE account = $1 AND queue_at < takings_now() - $2 * interval '1 us' AND due_at <= takings_now()
              ORDER BY queue_at, id LIMIT {MOST})",
            operation = kind.operation()
        )
    };
    let sql = format!(
        "SELECT kind, (extract(epoch FROM queue_at) * 1000000)::bigint, id,
           takings_ms(takings_now()) FROM (VALUES (1)) AS always LEFT JOIN ({} UNION ALL {}) AS due ON true",
        of(Kind::Capture),
        of(Kind::Refund)
    );
    let rows = client
        .batch_execute(ALONG_THE_INDEX)
        .and_then(|()| client.query_typed(&sql, &[(&account, Type::TEXT), (&LATE, Type::INT8)]));
    // After an error it rolls back.
    let end = client.batch_execute("COMMIT");
    let rows = rows?;
    end?;
    let mut due = [Vec::new(), Vec::new()];
    let mut until = 0;
    for row in &rows {
        until = late(row.try_get(3)?);
        if let Some(kind) = row.try_get::<_, Option<&str>>(0)? {
            let place = usize::from(kind != Kind::Capture.operation());
            due[place].push((row.try_get(1)?, row.try_get(2)?));
        }
    }
    due.iter_mut().for_each(|places| places.sort_unstable());
    Ok(Seen { until, due, took: begun.elapsed() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(took: Duration) -> Seen {
        Seen { until: 0, due: [Vec::new(), Vec::new()], took }
    }

    #[test]
    fn no_row_waits_for_a_look_that_takes_long() {
        let lane = Lane::new(seen(Duration::from_secs(60)));
        assert!(lane.next <= Instant::now() + SELDOM);
        assert!(Lane::new(seen(Duration::from_millis(500))).next > Instant::now() + OFTEN);
    }

    #[test]
    fn a_look_that_does_not_end_is_given_up() {
        let connect = Connect { config: Config::new(), tls: None };
        let begun = Instant::now();
        for (age, is_given_up) in [(SELDOM / 2, false), (SELDOM + OFTEN, true)] {
            let mut lane = Lane::new(seen(Duration::from_secs(1)));
            let (end, wait) = std::sync::mpsc::channel::<()>();
            let look = thread::spawn(move || {
                let _ = wait.recv();
                Ok(seen(Duration::ZERO))
            });
            lane.beside = begun.checked_sub(age).map(|since| (since, look));
            assert_eq!(lane.is_to_look(&connect, "default"), is_given_up);
            assert_eq!(lane.beside.is_none(), is_given_up);
            drop(end);
        }
    }
}
