//! The questions and words of people, in SQLite.

use std::time::Duration;

use rusqlite::{OptionalExtension, Row, params, params_from_iter, types::Value};

use super::{LOOK_FIRST, Sqlite, check_origin, claims_seen, millis, open_own, sends, state};
use crate::office::{Account, Alarm, Count, Line, Office, Said, Swept, Wanted};
use crate::policy::{Moments, Rate, Standing, State, Why, Word, heed};
use crate::store::{Entry, Error, Kind, Request, check_account, check_rate};

/// How many rows one transaction goes through, so that shops do not wait long.
const SWEEP: i64 = 10_000;

/// The first number of people's words among the requests of a claim.
const WORDS: i64 = 1000;

impl Sqlite {
    /// The number of a row, and its facts for a person's word.
    fn standing(
        work: &rusqlite::Transaction<'_>,
        kind: Kind,
        name: [&str; 3],
        now: i64,
    ) -> rusqlite::Result<Option<(i64, i64, Standing)>> {
        let operation = kind.operation();
        let sql = format!(
            "SELECT id, sends, state, maybe, last_sent_at, {operation}_id, request_wiped_at IS NOT NULL, enqueued_at,
               looked_at, look_until, look_since
             FROM takings_{operation} JOIN takings_account USING (account)
             WHERE account = ?1 AND order_id = ?2 AND reference = ?3"
        );
        let row = work.prepare_cached(&sql)?.query_row(name, |row| {
            let moments = Moments {
                now,
                enqueued_at: row.get(7)?,
                looked_at: row.get(8)?,
                look_until: row.get(9)?,
                look_since: row.get(10)?,
            };
            let standing = Standing {
                state: state(kind, row, 2)?,
                maybe: row.get(3)?,
                unvouched: moments.is_unvouched(),
                quiet: moments.quiet(row.get(4)?),
                done_as: row.get(5)?,
                is_wiped: row.get(6)?,
            };
            Ok((row.get(0)?, row.get(1)?, standing))
        });
        row.optional()
    }

    /// Goes through a part of the settled rows that no person has to see, and changes them.
    fn sweep(&mut self, kind: Kind, age: Duration, after: i64, set: &str, and: &str) -> Result<(i64, Swept), Error> {
        let now = self.now();
        let operation = kind.operation();
        let work = self.begin()?;
        let old = now.saturating_sub(millis(age));
        let last: Option<(i64, i64)> = work.query_row(
            &format!(
                "SELECT max(id), min(enqueued_at)
                 FROM (SELECT id, enqueued_at FROM takings_{operation} WHERE id > ?1 ORDER BY id LIMIT {SWEEP})"
            ),
            [after],
            |row| Ok(row.get::<_, Option<i64>>(0)?.zip(row.get(1)?)),
        )?;
        let last = last.filter(|(_, enqueued_at)| *enqueued_at <= old).map(|(last, _)| last);
        let end = last.unwrap_or(after);
        let rows = work.execute(
            &format!(
                "UPDATE takings_{operation} SET {set}
                 WHERE id > ?1 AND id <= ?2 AND settled_at <= ?3 AND alert_at IS NULL AND state <> 'stuck' AND {and}"
            ),
            params![after, end, old],
        )?;
        work.commit()?;
        Ok((end, Swept { last, rows: rows as u64 }))
    }
}

impl Office for Sqlite {
    fn accounts(&mut self) -> Result<Vec<Account>, Error> {
        self.check_process()?;
        let mut read = self.db.prepare_cached(
            "SELECT account, base_url, merchant, per_second, trouble, paused_until, paused_why, look_until, seen_at,
                    alert_at, bound_by, slowed, slowed_at FROM takings_account ORDER BY account",
        )?;
        let now = self.now();
        let accounts = read.query_map([], |row| {
            let rate = Rate { full: row.get(3)?, slowed: row.get::<_, Option<f64>>(11)?.zip(row.get(12)?) };
            Ok(Account {
                bound_by: row.get(10)?,
                rate: rate.at(now),
                account: row.get(0)?,
                base_url: row.get(1)?,
                merchant: row.get(2)?,
                per_second: row.get(3)?,
                trouble: row.get(4)?,
                paused_until: row.get(5)?,
                paused_why: row.get(6)?,
                look_until: row.get(7)?,
                seen_at: row.get(8)?,
                alert_at: row.get(9)?,
                at: now,
            })
        })?;
        Ok(accounts.collect::<Result<_, _>>()?)
    }

    fn make_account(&mut self, account: &str, first_ever: bool) -> Result<bool, Error> {
        check_account(account)?;
        let now = self.now();
        let work = self.begin()?;
        let rows = work.execute(
            "INSERT OR IGNORE INTO takings_account (account, tokens_at, look_until, look_since) VALUES (?1, ?2, ?3, ?2)",
            params![account, now, if first_ever { 0 } else { now.saturating_add(LOOK_FIRST) }],
        )?;
        work.commit()?;
        Ok(rows == 1)
    }

    fn set_rate(&mut self, account: &str, per_second: f64, burst: f64) -> Result<(), Error> {
        check_rate(per_second, burst)?;
        let work = self.begin()?;
        // A rate that stays the same keeps the memory of Klarna's limit.
        let rows = work.execute(
            "UPDATE takings_account SET slowed = CASE WHEN per_second = ?2 THEN slowed END, per_second = ?2, burst = ?3
             WHERE account = ?1",
            params![account, per_second, burst],
        )?;
        if rows == 0 {
            return Err(Error::no_account(account));
        }
        work.commit()?;
        Ok(())
    }

    fn rebind(&mut self, account: &str, base_url: &str, merchant: &str, by: &str) -> Result<(), Error> {
        if self.has_worker()? {
            return Err(Error::refused("a worker runs on this ledger; stop it first, it has the former credentials"));
        }
        let now = self.now();
        let work = self.begin()?;
        let moves = work.execute(
            "UPDATE takings_account SET look_until = max(look_until, ?3), look_since = ?4
             WHERE account = ?1 AND base_url IS NOT NULL AND base_url <> ?2",
            params![account, base_url, now.saturating_add(LOOK_FIRST), now],
        )?;
        if moves == 1 {
            for kind in Kind::ALL {
                // Another place may know nothing of the keys that the former one was sent, so no earlier look counts.
                let sql = format!(
                    "UPDATE takings_{} SET looked_at = 0 WHERE account = ? AND due_at IS NOT NULL AND looked_at > 0",
                    kind.operation()
                );
                work.execute(&sql, [account])?;
            }
        }
        let rows = work.execute(
            "UPDATE takings_account SET base_url = ?2, merchant = ?3, bound_by = ?4 WHERE account = ?1",
            params![account, base_url, merchant, by],
        )?;
        if rows == 0 {
            return Err(Error::no_account(account));
        }
        work.commit()?;
        self.bound.remove(account);
        Ok(())
    }

    fn counts(&mut self, account: &str, since: i64) -> Result<Vec<Count>, Error> {
        self.check_process()?;
        let mut counts = Vec::new();
        for kind in Kind::ALL {
            let mut read = self.db.prepare_cached(&format!(
                "SELECT state, count(*), sum({}), min(enqueued_at), min(due_at), total(settled_at >= ?2)
                 FROM takings_{} WHERE account = ?1 GROUP BY state ORDER BY state",
                kind.amount(),
                kind.operation()
            ))?;
            let rows = read.query_map(params![account, since], |row| {
                Ok(Count {
                    kind,
                    state: state(kind, row, 0)?,
                    rows: sends(row, 1)?,
                    amount: row.get(2)?,
                    oldest: row.get(3)?,
                    next_due: row.get(4)?,
                    lately: row.get::<_, f64>(5)? as u64,
                })
            })?;
            for row in rows {
                counts.push(row?);
            }
        }
        Ok(counts)
    }

    fn alarms(&mut self, account: &str) -> Result<Vec<Alarm>, Error> {
        self.check_process()?;
        let mut alarms = Vec::new();
        for kind in Kind::ALL {
            // Beside a lone min() SQLite takes the other columns from the row that has it.
            let mut read = self.db.prepare_cached(&format!(
                "SELECT state, why, error_code, count(*), sum({}), min(alert_at), order_id, reference
                 FROM takings_{} WHERE account = ?1 AND alert_at IS NOT NULL GROUP BY state, why, error_code",
                kind.amount(),
                kind.operation()
            ))?;
            let rows = read.query_map([account], |row| {
                Ok(Alarm {
                    kind,
                    state: state(kind, row, 0)?,
                    why: row.get(1)?,
                    error_code: row.get(2)?,
                    rows: sends(row, 3)?,
                    amount: row.get(4)?,
                    since: row.get(5)?,
                    order_id: row.get(6)?,
                    reference: row.get(7)?,
                })
            })?;
            for row in rows {
                alarms.push(row?);
            }
        }
        alarms.sort_by_key(|alarm| alarm.since);
        Ok(alarms)
    }

    fn list(&mut self, kind: Kind, wanted: &Wanted) -> Result<Vec<Line>, Error> {
        self.check_process()?;
        let operation = kind.operation();
        let mut values = vec![Value::from(wanted.after)];
        let mut sql = format!(
            "SELECT id, account, order_id, reference, {}, enqueued_at, state, due_at, sends, tries, maybe, last_sent_at,
                    looked_at, idempotency_key, {operation}_id, correlation_id, settled_at, settled_by, alert_at, why,
                    http_status, error_code, note, request_wiped_at IS NOT NULL
             FROM takings_{operation} WHERE id > ?1",
            kind.amount(),
        );
        let texts = [("account", &wanted.account), ("order_id", &wanted.order_id), ("reference", &wanted.reference)];
        let state_word = wanted.state.map(|state| kind.word(state).to_owned());
        for (column, text) in texts.into_iter().chain([("state", &state_word)]) {
            if let Some(text) = text {
                values.push(Value::from(text.clone()));
                sql.push_str(&format!(" AND {column} = ?{}", values.len()));
            }
        }
        if wanted.needs_a_person {
            sql.push_str(" AND alert_at IS NOT NULL");
        }
        sql.push_str(" ORDER BY id");
        if wanted.most > 0 {
            sql.push_str(&format!(" LIMIT {}", wanted.most));
        }
        let mut read = self.db.prepare_cached(&sql)?;
        let lines = read.query_map(params_from_iter(values), |row| line(kind, row))?;
        Ok(lines.collect::<Result<_, _>>()?)
    }

    fn requests(&mut self, kind: Kind, id: i64) -> Result<Vec<Request>, Error> {
        self.check_process()?;
        let mut read = self.db.prepare_cached(
            "SELECT at, took_ms, sent, came_back, http_status, error_code, correlation_id FROM takings_attempt
             WHERE kind = ?1 AND row = ?2 ORDER BY sends, n",
        )?;
        let requests = read.query_map(params![kind.operation(), id], |row| {
            Ok(Request {
                at: row.get(0)?,
                took_ms: row.get(1)?,
                sent: row.get(2)?,
                came_back: row.get(3)?,
                http_status: row.get(4)?,
                error_code: row.get(5)?,
                correlation_id: row.get(6)?,
            })
        })?;
        Ok(requests.collect::<Result<_, _>>()?)
    }

    fn compare(&mut self, kind: Kind, entries: &[Entry]) -> Result<(u64, Vec<usize>), Error> {
        self.check_process()?;
        // Each SELECT on its own would take the file's lock and look at its log.
        let work = self.db.transaction()?;
        let mut read = work.prepare_cached(&format!(
            "SELECT {} = ?4 AND (request IS ?5 OR request_wiped_at IS NOT NULL)
             FROM takings_{} WHERE account = ?1 AND order_id = ?2 AND reference = ?3",
            kind.amount(),
            kind.operation()
        ))?;
        let (mut known, mut others) = (0, Vec::new());
        for (place, Entry { account, order_id, reference, amount, request }) in entries.iter().enumerate() {
            let row = read.query_row(params![account, order_id, reference, amount, request], |row| row.get(0));
            match row.optional()? {
                None => {}
                Some(true) => known += 1,
                Some(false) => others.push(place),
            }
        }
        Ok((known, others))
    }

    fn shares_work(&self) -> bool {
        false
    }

    fn has_worker(&mut self) -> Result<bool, Error> {
        if self.lock.is_some() {
            return Ok(false);
        }
        let path = self.lock_path();
        let lock = open_own(&path).map_err(|why| Error::refused(format!("{}: {why}", path.display())))?;
        Ok(lock.try_lock().is_err())
    }

    fn say(&mut self, kind: Kind, account: &str, order_id: &str, reference: &str, said: &Said) -> Result<State, Error> {
        let now = self.now();
        let operation = kind.operation();
        let refused = |why: &str| {
            Error::refused(format!(
                "{operation} of order {order_id:?}, reference {reference:?}: {why}; nothing was changed"
            ))
        };
        let (origin, path) = (self.origin.clone(), self.lock_path());
        let failed = |why: &dyn std::fmt::Display| Error::refused(format!("{}: {why}", path.display()));
        let mut lock = open_own(&path).map_err(|why| failed(&why))?;
        let seen = match lock.try_lock() {
            Ok(()) => claims_seen(&mut lock).map_err(|why| failed(&why))?,
            // A worker has it, which has compared the counts.
            Err(_) => 0,
        };
        let work = self.begin()?;
        // A backup that no worker has seen yet. A refusal rolls the note of it back, too.
        check_origin(&work, seen, &origin, now)?;
        let Some((id, claims, row)) = Sqlite::standing(&work, kind, [account, order_id, reference], now)? else {
            return Err(refused("the ledger has no such row"));
        };
        let new = heed(&row, &said.word).map_err(refused)?;
        let (done_as, key) = match &said.word {
            Word::Done(done_as) => (Some(done_as), None),
            Word::SendAgain(key) => (None, Some(key)),
            Word::NotDone | Word::Withdraw => (None, None),
        };
        let due_at = key.map(|_| now);
        // A look that seems to have been made in 1970 vouches for nothing, so the row is looked for before it is sent.
        work.execute(
            &format!(
                "UPDATE takings_{operation} SET state = ?2, due_at = ?3, {operation}_id = ?4,
                   tries = CASE WHEN ?5 IS NULL THEN tries ELSE 0 END,
                   refused = CASE WHEN ?5 IS NULL THEN refused ELSE 0 END,
                   looked_at = CASE WHEN ?5 IS NULL THEN looked_at ELSE 0 END,
                   idempotency_key = coalesce(?5, idempotency_key),
                   settled_at = CASE WHEN ?3 IS NULL THEN coalesce(CASE WHEN state = ?2 THEN settled_at END, ?6) END,
                   seen_at = CASE WHEN state = ?2 THEN seen_at END,
                   settled_by = ?7, alert_at = NULL, why = NULL, note = ?8
                 WHERE id = ?1"
            ),
            params![id, kind.word(new), due_at, done_as, key, now, said.by, said.note],
        )?;
        let word = match &said.word {
            Word::Done(_) => "it is done",
            Word::NotDone => "it is not done",
            Word::SendAgain(_) => "send it again",
            Word::Withdraw => "withdraw it",
        };
        work.execute(
            "INSERT INTO takings_attempt (kind, row, sends, n, at, took_ms, sent, came_back)
             SELECT ?1, ?2, ?3, coalesce(max(max(n) + 1, ?4), ?4), ?5, 0, ?6, ?7
             FROM takings_attempt WHERE kind = ?1 AND row = ?2 AND sends = ?3",
            params![
                operation,
                id,
                claims,
                WORDS,
                now,
                format!("{} said: {word}", said.by),
                said.note.as_deref().unwrap_or_default()
            ],
        )?;
        work.commit()?;
        Ok(new)
    }

    fn pause(&mut self, account: &str) -> Result<(), Error> {
        let work = self.begin()?;
        let rows = work.execute(
            "UPDATE takings_account SET paused_until = ?2, paused_why = ?3 WHERE account = ?1",
            params![account, i64::MAX, Why::Person.as_str()],
        )?;
        if rows == 0 {
            return Err(Error::no_account(account));
        }
        work.commit()?;
        Ok(())
    }

    fn resume(&mut self, account: &str, nothing_lost: bool) -> Result<(), Error> {
        let now = self.now();
        let work = self.begin()?;
        let rows = work.execute(
            "UPDATE takings_account SET trouble = 0, paused_until = 0, paused_why = NULL, alert_at = NULL,
               seen_at = min(seen_at, ?2), tokens_at = min(tokens_at, ?2), look_until = CASE WHEN ?3 THEN 0 ELSE look_until END
             WHERE account = ?1",
            params![account, now, nothing_lost],
        )?;
        if rows == 0 {
            return Err(Error::no_account(account));
        }
        hurry(&work, account, now)?;
        work.commit()?;
        Ok(())
    }

    fn probe(&mut self, account: &str) -> Result<(), Error> {
        let now = self.now();
        let work = self.begin()?;
        work.execute(
            "UPDATE takings_account SET paused_until = 0 WHERE account = ?1 AND paused_why IS NOT ?2",
            [account, Why::Person.as_str()],
        )?;
        hurry(&work, account, now)?;
        work.commit()?;
        Ok(())
    }

    fn wipe(&mut self, kind: Kind, age: Duration, after: i64) -> Result<Swept, Error> {
        let set = format!("request = NULL, request_wiped_at = {}", self.now());
        Ok(self.sweep(kind, age, after, &set, "request IS NOT NULL")?.1)
    }

    fn purge(&mut self, kind: Kind, age: Duration, after: i64) -> Result<Swept, Error> {
        let set = format!(
            "note = NULL, request_wiped_at = CASE WHEN request IS NULL THEN request_wiped_at ELSE {} END,
             request = NULL, why = NULL, http_status = NULL, error_code = NULL, correlation_id = NULL",
            self.now()
        );
        let and = "coalesce(request, note, why, http_status, error_code, correlation_id) IS NOT NULL";
        let (end, swept) = self.sweep(kind, age, after, &set, and)?;
        let before = self.now().saturating_sub(millis(age));
        let operation = kind.operation();
        let work = self.begin()?;
        work.execute(
            &format!(
                "DELETE FROM takings_attempt WHERE kind = ?1 AND row > ?2 AND row <= ?3 AND row IN
                   (SELECT id FROM takings_{operation} WHERE id > ?2 AND id <= ?3 AND settled_at <= ?4
                      AND alert_at IS NULL AND state <> 'stuck')"
            ),
            params![operation, after, end, before],
        )?;
        work.commit()?;
        Ok(swept)
    }

    fn well(&mut self) -> Result<Result<String, String>, Error> {
        self.check_process()?;
        let found: String = self.db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        Ok(match found.as_str() {
            "ok" => Ok(format!("whole, by SQLite {}", rusqlite::version())),
            wrong => Err(format!("the file is damaged: {wrong}; take a backup's place, and say takings restored")),
        })
    }

    fn time(&mut self) -> Result<i64, Error> {
        Ok(self.now())
    }
}

/// Makes rows due that wait for nothing but the end of the account's trouble.
fn hurry(work: &rusqlite::Transaction<'_>, account: &str, now: i64) -> rusqlite::Result<()> {
    let troubles = [Why::Credentials, Why::NotKlarna, Why::NoAnswer].map(Why::as_str);
    for kind in Kind::ALL {
        work.execute(
            &format!(
                "UPDATE takings_{} SET due_at = ?2 WHERE account = ?1 AND due_at > ?2 AND state IN ('queued', 'unclear')
                   AND why IN (?3, ?4, ?5)",
                kind.operation()
            ),
            params![account, now, troubles[0], troubles[1], troubles[2]],
        )?;
    }
    Ok(())
}

fn line(kind: Kind, row: &Row<'_>) -> rusqlite::Result<Line> {
    Ok(Line {
        kind,
        id: row.get(0)?,
        account: row.get(1)?,
        order_id: row.get(2)?,
        reference: row.get(3)?,
        amount: row.get(4)?,
        enqueued_at: row.get(5)?,
        state: state(kind, row, 6)?,
        due_at: row.get(7)?,
        sends: sends(row, 8)?,
        tries: row.get(9)?,
        maybe: row.get(10)?,
        last_sent_at: row.get(11)?,
        looked_at: row.get::<_, Option<i64>>(12)?.filter(|at| *at > 0),
        idempotency_key: row.get(13)?,
        done_as: row.get(14)?,
        correlation_id: row.get(15)?,
        settled_at: row.get(16)?,
        settled_by: row.get(17)?,
        alert_at: row.get(18)?,
        why: row.get(19)?,
        http_status: row.get(20)?,
        error_code: row.get(21)?,
        note: row.get(22)?,
        is_wiped: row.get(23)?,
    })
}
