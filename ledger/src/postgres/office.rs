//! The questions and words of people, in PostgreSQL.

use std::time::Duration;

use ::postgres::Row;
use ::postgres::types::{ToSql, Type};

use super::{LOOK_FIRST, Postgres, RUNS, Work, millis, natural, rate, small, state};
use crate::office::{Account, Alarm, Count, Line, Office, Said, Swept, Wanted};
use crate::policy::{Moments, Standing, State, Why, Word, heed};
use crate::store::{Entry, Error, Kind, Request, check_account, check_rate};

/// How many rows one transaction goes through, so that shops do not wait long.
const SWEEP: i64 = 10_000;

/// The first number of people's words among the requests of a claim.
const WORDS: i64 = 1000;

impl Work<'_> {
    /// The number of a row, the number of its last claim, and its facts for a person's word.
    fn standing(&mut self, kind: Kind, name: [&str; 3], now: i64) -> Result<Option<(i64, i64, Standing)>, Error> {
        let operation = kind.operation();
        let rows = self.read(
            &format!(
                "SELECT id, sends, state, maybe, {operation}_id, request_wiped_at IS NOT NULL, takings_ms(last_sent_at),
                   takings_ms(enqueued_at), takings_ms(looked_at), takings_ms(look_until), takings_ms(look_since)
                 FROM takings_{operation} AS c JOIN takings_account AS a USING (account)
                 WHERE account = $1 AND order_id = $2 AND reference = $3 FOR UPDATE OF c"
            ),
            &[(&name[0], Type::TEXT), (&name[1], Type::TEXT), (&name[2], Type::TEXT)],
        )?;
        let Some(row) = rows.first() else { return Ok(None) };
        let moments = Moments {
            now,
            enqueued_at: row.try_get(7)?,
            looked_at: row.try_get(8)?,
            look_until: row.try_get(9)?,
            look_since: row.try_get(10)?,
        };
        let standing = Standing {
            state: state(kind, row, 2)?,
            maybe: row.try_get(3)?,
            unvouched: moments.is_unvouched(),
            quiet: moments.quiet(row.try_get(6)?),
            done_as: row.try_get(4)?,
            is_wiped: row.try_get(5)?,
        };
        Ok(Some((row.try_get(0)?, row.try_get(1)?, standing)))
    }

    /// Makes rows due that wait for nothing but the end of the account's trouble.
    fn hurry(&mut self, account: &str) -> Result<(), Error> {
        let troubles = [Why::Credentials, Why::NotKlarna, Why::NoAnswer].map(Why::as_str).to_vec();
        for kind in Kind::ALL {
            self.change(
                &format!(
                    "UPDATE takings_{} SET due_at = takings_clock()
                     WHERE account = $1 AND queue_at IS NOT NULL AND due_at > takings_clock()
                       AND state IN ('queued', 'unclear') AND why = ANY($2)",
                    kind.operation()
                ),
                &[(&account, Type::TEXT), (&troubles, Type::TEXT_ARRAY)],
            )?;
        }
        Ok(())
    }
}

impl Postgres {
    /// Goes through a part of the settled rows that no person has to see, and changes them.
    fn sweep(&mut self, kind: Kind, age: Duration, after: i64, changes: &[String]) -> Result<Swept, Error> {
        let operation = kind.operation();
        let age = millis(age);
        let mut work = self.begin()?;
        let rows = work.read(
            &format!(
                "SELECT max(id), min(enqueued_at) > takings_now() - $2 * interval '1 ms'
                 FROM (SELECT id, enqueued_at FROM takings_{operation} WHERE id > $1 ORDER BY id LIMIT {SWEEP}) AS part"
            ),
            &[(&after, Type::INT8), (&age, Type::INT8)],
        )?;
        let Some(row) = rows.first() else { return Ok(Swept { last: None, rows: 0 }) };
        let Some(end) = row.try_get::<_, Option<i64>>(0)? else { return Ok(Swept { last: None, rows: 0 }) };
        if row.try_get(1)? {
            return Ok(Swept { last: None, rows: 0 });
        }
        let mut first = None;
        for change in changes {
            let count = work.change(change, &[(&after, Type::INT8), (&end, Type::INT8), (&age, Type::INT8)])?;
            first.get_or_insert(count);
        }
        work.commit()?;
        Ok(Swept { last: Some(end), rows: first.unwrap_or(0) })
    }

    fn account_changed(work: Work<'_>, account: &str, rows: u64) -> Result<(), Error> {
        match rows {
            0 => Err(Error::no_account(account)),
            _ => work.commit(),
        }
    }
}

/// The rows that a sweep goes through.
const SWEPT: &str = "id > $1 AND id <= $2 AND settled_at <= takings_now() - $3 * interval '1 ms' AND alert_at IS NULL
  AND state <> 'stuck'";

impl Office for Postgres {
    fn accounts(&mut self) -> Result<Vec<Account>, Error> {
        let rows = self.read(
            "SELECT account, base_url, merchant, per_second, trouble, takings_ms(paused_until), paused_why,
               takings_ms(look_until), takings_ms(seen_at), takings_ms(alert_at), bound_by, slowed, slowed_at,
               takings_ms(takings_now())
             FROM takings_account ORDER BY account",
            &[],
        )?;
        rows.iter()
            .map(|row| {
                Ok(Account {
                    account: row.try_get(0)?,
                    base_url: row.try_get(1)?,
                    merchant: row.try_get(2)?,
                    bound_by: row.try_get(10)?,
                    per_second: row.try_get(3)?,
                    rate: rate(row, 3, 11)?.at(row.try_get(13)?),
                    trouble: small(row, 4)?,
                    paused_until: row.try_get(5)?,
                    paused_why: row.try_get(6)?,
                    look_until: row.try_get(7)?,
                    seen_at: row.try_get(8)?,
                    alert_at: row.try_get(9)?,
                    at: row.try_get(13)?,
                })
            })
            .collect()
    }

    fn make_account(&mut self, account: &str, first_ever: bool) -> Result<bool, Error> {
        check_account(account)?;
        let look = if first_ever { None } else { Some(LOOK_FIRST) };
        let mut work = self.begin()?;
        let rows = work.change(
            "INSERT INTO takings_account (account, look_until, look_since)
             VALUES ($1, coalesce(takings_now() + $2 * interval '1 ms', 'epoch'), takings_now()) ON CONFLICT DO NOTHING",
            &[(&account, Type::TEXT), (&look, Type::INT8)],
        )?;
        work.commit()?;
        Ok(rows == 1)
    }

    fn set_rate(&mut self, account: &str, per_second: f64, burst: f64) -> Result<(), Error> {
        check_rate(per_second, burst)?;
        let mut work = self.begin()?;
        // A rate that stays the same keeps the memory of Klarna's limit.
        let rows = work.change(
            "UPDATE takings_account SET slowed = CASE WHEN per_second = $2 THEN slowed END, per_second = $2, burst = $3
             WHERE account = $1",
            &[(&account, Type::TEXT), (&per_second, Type::FLOAT8), (&burst, Type::FLOAT8)],
        )?;
        Postgres::account_changed(work, account, rows)
    }

    fn rebind(&mut self, account: &str, base_url: &str, merchant: &str, by: &str) -> Result<(), Error> {
        if self.has_worker()? {
            return Err(Error::refused(
                "a worker was here in the last three minutes, and has the former credentials; stop all workers, and try again then",
            ));
        }
        let mut work = self.begin()?;
        let moves = work.change(
            "UPDATE takings_account SET look_until = greatest(look_until, takings_now() + $3 * interval '1 ms'),
               look_since = takings_now()
             WHERE account = $1 AND base_url IS NOT NULL AND base_url <> $2",
            &[(&account, Type::TEXT), (&base_url, Type::TEXT), (&LOOK_FIRST, Type::INT8)],
        )?;
        if moves == 1 {
            for kind in Kind::ALL {
                // Another place may know nothing of the keys that the former one was sent, so no earlier look counts.
                work.change(
                    &format!(
                        "UPDATE takings_{} SET looked_at = 'epoch'
                         WHERE account = $1 AND queue_at IS NOT NULL AND looked_at > 'epoch'",
                        kind.operation()
                    ),
                    &[(&account, Type::TEXT)],
                )?;
            }
        }
        let rows = work.change(
            "UPDATE takings_account SET base_url = $2, merchant = $3, bound_by = $4 WHERE account = $1",
            &[(&account, Type::TEXT), (&base_url, Type::TEXT), (&merchant, Type::TEXT), (&by, Type::TEXT)],
        )?;
        Postgres::account_changed(work, account, rows)?;
        self.bound.remove(account);
        Ok(())
    }

    fn counts(&mut self, account: &str, since: i64) -> Result<Vec<Count>, Error> {
        let mut counts = Vec::new();
        for kind in Kind::ALL {
            let rows = self.read(
                &format!(
                    "SELECT state, count(*), sum({})::bigint, takings_ms(min(enqueued_at)), takings_ms(min(due_at)),
                       count(*) FILTER (WHERE settled_at >= takings_at($2))
                     FROM takings_{} WHERE account = $1 GROUP BY state ORDER BY state",
                    kind.amount(),
                    kind.operation()
                ),
                &[(&account, Type::TEXT), (&since, Type::INT8)],
            )?;
            for row in &rows {
                counts.push(Count {
                    kind,
                    state: state(kind, row, 0)?,
                    rows: natural(row, 1)?,
                    amount: row.try_get(2)?,
                    oldest: row.try_get(3)?,
                    next_due: row.try_get(4)?,
                    lately: natural(row, 5)?,
                });
            }
        }
        Ok(counts)
    }

    fn alarms(&mut self, account: &str) -> Result<Vec<Alarm>, Error> {
        let mut alarms = Vec::new();
        for kind in Kind::ALL {
            let rows = self.read(
                &format!(
                    "SELECT state, why, error_code, count(*), sum({})::bigint, takings_ms(min(alert_at)),
                       (array_agg(order_id ORDER BY alert_at, id))[1], (array_agg(reference ORDER BY alert_at, id))[1]
                     FROM takings_{} WHERE account = $1 AND alert_at IS NOT NULL GROUP BY state, why, error_code",
                    kind.amount(),
                    kind.operation()
                ),
                &[(&account, Type::TEXT)],
            )?;
            for row in &rows {
                alarms.push(Alarm {
                    kind,
                    state: state(kind, row, 0)?,
                    why: row.try_get(1)?,
                    error_code: row.try_get(2)?,
                    rows: natural(row, 3)?,
                    amount: row.try_get(4)?,
                    since: row.try_get(5)?,
                    order_id: row.try_get(6)?,
                    reference: row.try_get(7)?,
                });
            }
        }
        alarms.sort_by_key(|alarm| alarm.since);
        Ok(alarms)
    }

    fn list(&mut self, kind: Kind, wanted: &Wanted) -> Result<Vec<Line>, Error> {
        let operation = kind.operation();
        let state_word = wanted.state.map(|state| kind.word(state).to_owned());
        let most = if wanted.most == 0 { None } else { Some(i64::try_from(wanted.most).unwrap_or(i64::MAX)) };
        let mut values: Vec<(&(dyn ToSql + Sync), Type)> = vec![(&wanted.after, Type::INT8), (&most, Type::INT8)];
        let mut sql = format!(
            "SELECT id, account, order_id, reference, {}::bigint, takings_ms(enqueued_at), state, takings_ms(due_at), sends,
               tries, maybe, takings_ms(last_sent_at), takings_ms(looked_at), idempotency_key, {operation}_id,
               correlation_id, takings_ms(settled_at), settled_by, takings_ms(alert_at), why, http_status, error_code, note,
               request_wiped_at IS NOT NULL
             FROM takings_{operation} WHERE id > $1",
            kind.amount(),
        );
        let texts = [("account", &wanted.account), ("order_id", &wanted.order_id), ("reference", &wanted.reference)];
        for (column, text) in texts.into_iter().chain([("state", &state_word)]) {
            if text.is_some() {
                values.push((text, Type::TEXT));
                sql.push_str(&format!(" AND {column} = ${}", values.len()));
            }
        }
        if wanted.needs_a_person {
            sql.push_str(" AND alert_at IS NOT NULL");
        }
        sql.push_str(" ORDER BY id LIMIT $2");
        self.read(&sql, &values)?.iter().map(|row| line(kind, row)).collect()
    }

    fn requests(&mut self, kind: Kind, id: i64) -> Result<Vec<Request>, Error> {
        let rows = self.read(
            "SELECT takings_ms(at), took_ms, sent, came_back, http_status, error_code, correlation_id FROM takings_attempt
             WHERE kind = $1 AND row = $2 ORDER BY sends, n",
            &[(&kind.operation(), Type::TEXT), (&id, Type::INT8)],
        )?;
        rows.iter()
            .map(|row| {
                Ok(Request {
                    at: row.try_get(0)?,
                    took_ms: row.try_get(1)?,
                    sent: row.try_get(2)?,
                    came_back: row.try_get(3)?,
                    http_status: status(row, 4)?,
                    error_code: row.try_get(5)?,
                    correlation_id: row.try_get(6)?,
                })
            })
            .collect()
    }

    fn compare(&mut self, kind: Kind, entries: &[Entry]) -> Result<(u64, Vec<usize>), Error> {
        let (mut known, mut others) = (0, Vec::new());
        for (start, part) in entries.chunks(1000).enumerate().map(|(n, part)| (n * 1000, part)) {
            let accounts: Vec<&str> = part.iter().map(|entry| entry.account.as_str()).collect();
            let orders: Vec<&str> = part.iter().map(|entry| entry.order_id.as_str()).collect();
            let references: Vec<&str> = part.iter().map(|entry| entry.reference.as_str()).collect();
            let amounts: Vec<i64> = part.iter().map(|entry| entry.amount).collect();
            let requests: Vec<Option<&str>> = part.iter().map(|entry| entry.request.as_deref()).collect();
            let rows = self.read(
                &format!(
                    "SELECT e.n, c.{} = e.amount AND (c.request IS NOT DISTINCT FROM e.request OR c.request_wiped_at IS NOT NULL)
                     FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[])
                       WITH ORDINALITY AS e (account, order_id, reference, amount, request, n)
                     JOIN takings_{} AS c USING (account, order_id, reference) ORDER BY e.n",
                    kind.amount(),
                    kind.operation()
                ),
                &[
                    (&accounts, Type::TEXT_ARRAY),
                    (&orders, Type::TEXT_ARRAY),
                    (&references, Type::TEXT_ARRAY),
                    (&amounts, Type::INT8_ARRAY),
                    (&requests, Type::TEXT_ARRAY),
                ],
            )?;
            for row in &rows {
                match row.try_get(1)? {
                    true => known += 1,
                    false => others.push(start + usize::try_from(row.try_get::<_, i64>(0)?).unwrap_or(1) - 1),
                }
            }
        }
        Ok((known, others))
    }

    fn shares_work(&self) -> bool {
        true
    }

    fn has_worker(&mut self) -> Result<bool, Error> {
        let rows = self.read(
            "SELECT coalesce(max(takings_ms(seen_at)), 0) > takings_ms(takings_now()) - $1 FROM takings_account",
            &[(&RUNS, Type::INT8)],
        )?;
        rows.first().map_or(Ok(false), |row| Ok(row.try_get(0)?))
    }

    fn say(&mut self, kind: Kind, account: &str, order_id: &str, reference: &str, said: &Said) -> Result<State, Error> {
        let operation = kind.operation();
        let refused = |why: &str| {
            Error::refused(format!(
                "{operation} of order {order_id:?}, reference {reference:?}: {why}; nothing was changed"
            ))
        };
        let mut work = self.begin()?;
        // A failover or a restore that no worker has seen yet. A refusal rolls the note of it back, too.
        work.check_origin()?;
        let now = work.now()?;
        let Some((id, claims, row)) = work.standing(kind, [account, order_id, reference], now)? else {
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
        work.change(
            &format!(
                "UPDATE takings_{operation} SET state = $2, due_at = takings_at($3), {operation}_id = $4,
                   tries = CASE WHEN $5 IS NULL THEN tries ELSE 0 END, refused = refused AND $5 IS NULL,
                   looked_at = CASE WHEN $5 IS NULL THEN looked_at ELSE 'epoch' END,
                   idempotency_key = coalesce($5, idempotency_key),
                   settled_at = CASE WHEN $3 IS NULL
                     THEN coalesce(CASE WHEN state = $2 THEN settled_at END, takings_at($6)) END,
                   seen_at = CASE WHEN state = $2 THEN seen_at END,
                   settled_by = $7, alert_at = NULL, why = NULL, note = $8
                 WHERE id = $1"
            ),
            &[
                (&id, Type::INT8),
                (&kind.word(new), Type::TEXT),
                (&due_at, Type::INT8),
                (&done_as, Type::TEXT),
                (&key, Type::TEXT),
                (&now, Type::INT8),
                (&said.by, Type::TEXT),
                (&said.note, Type::TEXT),
            ],
        )?;
        let word = match &said.word {
            Word::Done(_) => "it is done",
            Word::NotDone => "it is not done",
            Word::SendAgain(_) => "send it again",
            Word::Withdraw => "withdraw it",
        };
        work.change(
            "INSERT INTO takings_attempt (kind, row, sends, n, at, took_ms, sent, came_back)
             SELECT $1, $2, $3, greatest(max(n) + 1, $4), takings_at($5), 0, $6, $7
             FROM takings_attempt WHERE kind = $1 AND row = $2 AND sends = $3",
            &[
                (&operation, Type::TEXT),
                (&id, Type::INT8),
                (&claims, Type::INT8),
                (&WORDS, Type::INT8),
                (&now, Type::INT8),
                (&format!("{} said: {word}", said.by), Type::TEXT),
                (&said.note.as_deref().unwrap_or_default(), Type::TEXT),
            ],
        )?;
        work.commit()?;
        Ok(new)
    }

    fn pause(&mut self, account: &str) -> Result<(), Error> {
        let mut work = self.begin()?;
        let rows = work.change(
            "UPDATE takings_account SET paused_until = 'infinity', paused_why = $2 WHERE account = $1",
            &[(&account, Type::TEXT), (&Why::Person.as_str(), Type::TEXT)],
        )?;
        Postgres::account_changed(work, account, rows)
    }

    fn resume(&mut self, account: &str, nothing_lost: bool) -> Result<(), Error> {
        let mut work = self.begin()?;
        let rows = work.change(
            "UPDATE takings_account SET trouble = 0, paused_until = 'epoch', paused_why = NULL, alert_at = NULL,
               seen_at = least(seen_at, takings_clock()), tokens_at = least(tokens_at, takings_clock()),
               look_until = CASE WHEN $2 THEN 'epoch' ELSE look_until END
             WHERE account = $1",
            &[(&account, Type::TEXT), (&nothing_lost, Type::BOOL)],
        )?;
        work.hurry(account)?;
        Postgres::account_changed(work, account, rows)
    }

    fn probe(&mut self, account: &str) -> Result<(), Error> {
        let mut work = self.begin()?;
        work.change(
            "UPDATE takings_account SET paused_until = 'epoch' WHERE account = $1 AND paused_why IS DISTINCT FROM $2",
            &[(&account, Type::TEXT), (&Why::Person.as_str(), Type::TEXT)],
        )?;
        work.hurry(account)?;
        work.commit()
    }

    fn wipe(&mut self, kind: Kind, age: Duration, after: i64) -> Result<Swept, Error> {
        let wipe = format!(
            "UPDATE takings_{} SET request = NULL, request_wiped_at = takings_now() WHERE {SWEPT} AND request IS NOT NULL",
            kind.operation()
        );
        self.sweep(kind, age, after, &[wipe])
    }

    fn purge(&mut self, kind: Kind, age: Duration, after: i64) -> Result<Swept, Error> {
        let operation = kind.operation();
        let wipe = format!(
            "UPDATE takings_{operation} SET note = NULL,
               request_wiped_at = CASE WHEN request IS NULL THEN request_wiped_at ELSE takings_now() END,
               request = NULL, why = NULL, http_status = NULL, error_code = NULL, correlation_id = NULL
             WHERE {SWEPT} AND num_nonnulls(request, note, why, http_status, error_code, correlation_id) > 0"
        );
        let forget = format!(
            "DELETE FROM takings_attempt WHERE kind = '{operation}' AND row > $1 AND row <= $2
               AND row IN (SELECT id FROM takings_{operation} WHERE {SWEPT})"
        );
        self.sweep(kind, age, after, &[wipe, forget])
    }

    fn well(&mut self) -> Result<Result<String, String>, Error> {
        let rows = self.read(
            "SELECT current_setting('server_version'), current_setting('fsync'), current_setting('full_page_writes'),
               current_setting('transaction_isolation')",
            &[],
        )?;
        let Some(row) = rows.first() else { return Err(Error::refused("the ledger does not answer")) };
        let (version, fsync, pages): (String, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        if fsync == "off" || pages == "off" {
            return Ok(Err("fsync or full_page_writes is off, so a crash of the server may lose what was sent".into()));
        }
        Ok(Ok(format!("PostgreSQL {version}")))
    }

    fn time(&mut self) -> Result<i64, Error> {
        let rows = self.read("SELECT takings_ms(takings_now())", &[])?;
        rows.first().map_or_else(|| Err(Error::refused("the ledger does not answer")), |row| Ok(row.try_get(0)?))
    }
}

fn status(row: &Row, column: usize) -> Result<Option<u16>, Error> {
    Ok(row.try_get::<_, Option<i32>>(column)?.and_then(|status| u16::try_from(status).ok()))
}

fn line(kind: Kind, row: &Row) -> Result<Line, Error> {
    Ok(Line {
        kind,
        id: row.try_get(0)?,
        account: row.try_get(1)?,
        order_id: row.try_get(2)?,
        reference: row.try_get(3)?,
        amount: row.try_get(4)?,
        enqueued_at: row.try_get(5)?,
        state: state(kind, row, 6)?,
        due_at: row.try_get(7)?,
        sends: natural(row, 8)?,
        tries: small(row, 9)?,
        maybe: row.try_get(10)?,
        last_sent_at: row.try_get(11)?,
        looked_at: row.try_get::<_, Option<i64>>(12)?.filter(|at| *at > 0),
        idempotency_key: row.try_get(13)?,
        done_as: row.try_get(14)?,
        correlation_id: row.try_get(15)?,
        settled_at: row.try_get(16)?,
        settled_by: row.try_get(17)?,
        alert_at: row.try_get(18)?,
        why: row.try_get(19)?,
        http_status: status(row, 20)?,
        error_code: row.try_get(21)?,
        note: row.try_get(22)?,
        is_wiped: row.try_get(23)?,
    })
}
