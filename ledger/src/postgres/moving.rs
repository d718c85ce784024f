//! From a file to a database: the ledger of a shop that has become a fleet.

use std::path::Path;

use ::postgres::types::{ToSql, Type};

use super::Postgres;
use crate::sqlite::Sqlite;
use crate::store::{Error, Kind};

/// How many rows go at once.
const PART: i64 = 5_000;

/// The columns of an account, of a row but for the names of its operation, and of a request. Both engines name them alike.
const ACCOUNT: [&str; 17] = [
    "account",
    "base_url",
    "merchant",
    "bound_by",
    "per_second",
    "burst",
    "slowed",
    "slowed_at",
    "tokens",
    "tokens_at",
    "trouble",
    "paused_until",
    "paused_why",
    "look_until",
    "look_since",
    "seen_at",
    "alert_at",
];
const ROW: [&str; 24] = [
    "id",
    "account",
    "order_id",
    "reference",
    "request",
    "request_wiped_at",
    "enqueued_at",
    "state",
    "due_at",
    "sends",
    "tries",
    "maybe",
    "refused",
    "last_sent_at",
    "looked_at",
    "idempotency_key",
    "correlation_id",
    "settled_at",
    "settled_by",
    "seen_at",
    "alert_at",
    "why",
    "http_status",
    "error_code",
];
const ATTEMPT: [&str; 11] =
    ["kind", "row", "sends", "n", "at", "took_ms", "sent", "came_back", "http_status", "error_code", "correlation_id"];

/// How a column's text becomes its value.
fn value(column: &str, text: &str) -> String {
    match column {
        "at" => format!("takings_at({text}::bigint)"),
        time if time.ends_with("_at") || time.ends_with("_until") || time.ends_with("_since") => {
            format!("takings_at({text}::bigint)")
        }
        "id" | "row" | "sends" | "n" | "took_ms" => format!("{text}::bigint"),
        "tries" | "trouble" | "http_status" => format!("{text}::int"),
        "per_second" | "burst" | "slowed" | "tokens" => format!("{text}::double precision"),
        "maybe" | "refused" => format!("{text}::int::boolean"),
        amount if amount.ends_with("_amount") => format!("{text}::numeric"),
        _ => text.to_owned(),
    }
}

impl Postgres {
    /// Takes over all rows of the ledger in a file, whose workers must have ended. From then on the file takes no more
    /// rows, and this ledger vouches for what the file vouched for. If that breaks off, the same again goes on. Gives the
    /// number of captures and refunds.
    ///
    /// # Errors
    ///
    /// A worker runs on the file, this ledger has rows of its own, or a statement failed. Then nothing was taken over.
    pub fn take_over(&mut self, file: &Path) -> Result<u64, Error> {
        let place = self.place();
        self.check_empty()?;
        let from = Sqlite::leaving(file, &place)?;
        let mut work = self.begin()?;
        work.run(
            "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;
             LOCK TABLE takings_capture, takings_refund, takings_account IN EXCLUSIVE MODE;
             DELETE FROM takings_account;
             ALTER TABLE takings_capture DISABLE TRIGGER takings_capture_enqueue;
             ALTER TABLE takings_refund DISABLE TRIGGER takings_refund_enqueue",
        )?;
        let mut tables = vec![("takings_account".to_owned(), ACCOUNT.map(str::to_owned).to_vec())];
        for kind in Kind::ALL {
            let own = ["note".to_owned(), kind.amount().to_owned(), format!("{}_id", kind.operation())];
            tables.push((
                format!("takings_{}", kind.operation()),
                ROW.map(str::to_owned).into_iter().chain(own).collect(),
            ));
        }
        tables.push(("takings_attempt".to_owned(), ATTEMPT.map(str::to_owned).to_vec()));
        let mut count = 0;
        for (table, columns) in &tables {
            let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
            let names = columns.join(", ");
            let values: Vec<String> = columns.iter().map(|column| value(column, &format!("t.{column}"))).collect();
            let arrays: Vec<String> = (1..=columns.len()).map(|n| format!("${n}::text[]")).collect();
            let is_row = columns.first() == Some(&"id");
            let sql = format!(
                "INSERT INTO {table} ({names}) {} SELECT {} FROM unnest({}) AS t ({names})",
                if is_row { "OVERRIDING SYSTEM VALUE" } else { "" },
                values.join(", "),
                arrays.join(", ")
            );
            let mut after = 0;
            loop {
                let (last, texts) = from.texts(table, &columns, after, PART)?;
                if last == after {
                    break;
                }
                after = last;
                let texts: Vec<(&(dyn ToSql + Sync), Type)> =
                    texts.iter().map(|column| (column as &(dyn ToSql + Sync), Type::TEXT_ARRAY)).collect();
                let rows = work.change(&sql, &texts)?;
                count += if is_row { rows } else { 0 };
            }
            if is_row {
                work.run(&format!(
                    "SELECT setval(pg_get_serial_sequence('{table}', 'id'), greatest(max(id), 1), max(id) IS NOT NULL) FROM {table}"
                ))?;
            }
        }
        work.run(
            "ALTER TABLE takings_capture ENABLE TRIGGER takings_capture_enqueue;
             ALTER TABLE takings_refund ENABLE TRIGGER takings_refund_enqueue",
        )?;
        work.commit()?;
        Ok(count)
    }

    fn check_empty(&mut self) -> Result<(), Error> {
        let rows = self.read(
            "SELECT EXISTS (SELECT FROM takings_capture) OR EXISTS (SELECT FROM takings_refund)
               OR EXISTS (SELECT FROM takings_account WHERE base_url IS NOT NULL)",
            &[],
        )?;
        match rows.first().is_some_and(|row| row.get(0)) {
            true => Err(Error::refused(format!(
                "the ledger {} has rows, or a worker has used it; a ledger is moved into a new one",
                self.place()
            ))),
            false => Ok(()),
        }
    }
}
