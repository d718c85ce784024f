//! The ledger in PostgreSQL, for a fleet: any number of workers, on any number of hosts, any of which may die.
//!
//! A claim locks the account's row, so the rate limit and the pause hold for the whole fleet, and takes due rows that no
//! other transaction has (`FOR UPDATE SKIP LOCKED`). A lease ends by itself. Each method is one short transaction without
//! session state and without named statements, so PgBouncer may stand between, in transaction mode.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::postgres::config::{Host, SslMode, TargetSessionAttrs};
use ::postgres::error::{DbError, Severity, SqlState};
use ::postgres::types::{FromSql, ToSql, Type, accepts};
use ::postgres::{Client, Config, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::due::{Account, DueRow, Place, first};
use crate::policy::{Change, Rate, State, Why, counts};
use crate::store::{Claim, Entry, Error, Kept, Kind, Pace, Record, Settlement, Store};

mod lane;
mod moving;
mod office;

use lane::{Connect, Cursor, Lane, look, went_back};

const SCHEMA: &str = include_str!("../sql/postgres/001.sql");

/// The table of captures, from which that of refunds is made.
const ROWS: &str = include_str!("../sql/postgres/001-rows.sql");

/// Which database this is: its identifier and its timeline.
const ORIGIN: &str =
    "SELECT system_identifier || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8) FROM pg_control_system()";

/// The triggers look into the schema of their own tables, and into temporary tables last. `FROM CURRENT` would keep the
/// text of the path, which leads elsewhere once another ledger is made; a setting of the transaction would be lost where
/// somebody runs the statements one by one.
const OWN_TABLES: &str = "
DO $$ DECLARE
  own regprocedure;
BEGIN
  FOREACH own IN ARRAY ARRAY['takings_capture_enqueue()', 'takings_capture_place()', 'takings_capture_keep()',
                             'takings_refund_enqueue()', 'takings_refund_place()', 'takings_refund_keep()']::regprocedure[] LOOP
    EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', own, current_schema());
  END LOOP;
END $$;
";

/// The version of the tables that this worker makes.
const VERSION: i32 = 1;

/// How long a new or restored ledger looks first.
const LOOK_FIRST: i64 = 30 * 24 * 60 * 60 * 1000;

/// The port that need not be told.
const USUAL_PORT: u16 = 5432;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a host may be silent before its connection counts as lost.
const SILENCE: Duration = Duration::from_secs(30);

/// How long a worker gathers ends. A commit is an answer of the network and of the disk, and the whole fleet shares them.
const GATHER: Duration = Duration::from_millis(50);

/// How often a worker asks again where the rate let nothing through. An account saves up only what its rate lets through in
/// a tenth of a second or more.
const AGAIN: Duration = Duration::from_millis(50);

/// How often a worker that claims nothing notes that it is there.
const SEEN: i64 = 60_000;

/// How long after its last note a worker counts as running.
const RUNS: i64 = 3 * SEEN;

/// Each transaction begins so. Its time-outs free the account's row from a worker that lost its network. A commit that is
/// not on the disk would be a claim that nobody remembers.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = '30s'; SET LOCAL lock_timeout = \
                     '10s'; SET LOCAL idle_in_transaction_session_timeout = '30s'; SELECT set_config('synchronous_commit', \
                     'on', true) WHERE current_setting('synchronous_commit') = 'off'";

/// How the due rows are looked for: along their index, and no further than to the last that is wanted. Right after many
/// rows were inserted the server knows nothing of them, and would rather sort them all for each claim.
const ALONG_THE_INDEX: &str =
    "SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_seqscan = off";

/// The end of the message where another transaction has inserted the same name: the code of a unique violation.
const RACE: &str = "(23505)";

/// A ledger in a database.
pub struct Postgres {
    connect: Connect,
    /// None after the connection was lost, until it is needed again.
    client: Option<Client>,
    /// By account. A new connection begins anew, since another database may stand behind it.
    lanes: HashMap<String, Lane>,
    /// By account: the place that its worker began with.
    bound: HashMap<String, Place>,
    /// The process that opened it: a connection may not be used in a fork.
    process: u32,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("place", &self.place()).finish_non_exhaustive()
    }
}

impl From<::postgres::Error> for Error {
    fn from(error: ::postgres::Error) -> Error {
        let Some(db) = error.as_db_error() else {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            return Error { message: format!("the ledger: {error}{cause}"), retryable: true };
        };
        let code = db.code().code();
        // The end of a connection says nothing of the next one: a server that restarts, a role whose password changes.
        let retryable = is_end(db)
            || ["08", "40", "53", "55", "57", "58"].iter().any(|class| code.starts_with(class))
            || [&SqlState::READ_ONLY_SQL_TRANSACTION, &SqlState::UNIQUE_VIOLATION].contains(&db.code());
        let text = db.message();
        // A detail would show the row, and with it customers' data.
        let message = match text.strip_prefix("takings: ") {
            Some(text) => text.to_owned(),
            None => format!("the ledger: {text} ({code})"),
        };
        Error { message, retryable }
    }
}

/// The statements that make the tables, for an administrator who reads them first. `first_ever`: as for
/// [`Postgres::init`].
pub fn schema(first_ever: bool) -> String {
    let refunds = ROWS
        .replace("captured_amount", "refunded_amount")
        .replace("'captured'", "'refunded'")
        .replace("captured is final", "refunded is final")
        .replace("capture_id", "refund_id")
        .replace("takings_capture", "takings_refund")
        .replace("each capture of", "each refund of")
        .replace("The capture's own", "The refund's own");
    let until = if first_ever { "'epoch'" } else { "takings_now() + interval '30 days'" };
    let account = format!(
        "\nINSERT INTO takings_account (account, look_until, look_since) VALUES ('default', {until}, takings_now());\n"
    );
    // Without its origin the first worker would take the new ledger for a restored one.
    let origin = format!("UPDATE takings_ledger SET origin = ({ORIGIN});\n");
    format!("{SCHEMA}{ROWS}{refunds}{OWN_TABLES}{account}{origin}")
}

/// The statements that give a shop's role and a worker's role what they need, and no more.
pub fn grants(shop: Option<&str>, worker: Option<&str>) -> String {
    let mut text = String::new();
    for kind in Kind::ALL {
        let (operation, amount) = (kind.operation(), kind.amount());
        if let Some(shop) = shop.map(quoted) {
            text.push_str(&format!(
                "GRANT SELECT, INSERT (account, order_id, reference, {amount}, request, due_at), UPDATE (seen_at)\n  \
                 ON takings_{operation} TO {shop};\n"
            ));
        }
        if let Some(worker) = worker.map(quoted) {
            text.push_str(&format!("GRANT SELECT, INSERT, UPDATE, DELETE ON takings_{operation} TO {worker};\n"));
        }
    }
    if let Some(shop) = shop.map(quoted) {
        text.push_str(&format!("GRANT SELECT (account) ON takings_account TO {shop};\n"));
    }
    if let Some(worker) = worker.map(quoted) {
        text.push_str(&format!(
            "GRANT SELECT, INSERT, DELETE ON takings_attempt TO {worker};\n\
             GRANT SELECT, UPDATE ON takings_account, takings_ledger TO {worker};\n"
        ));
    }
    text
}

/// A URL without its password, for people to read.
pub fn shown(url: &str) -> String {
    settings(url).map_or_else(|_| "a database".into(), |(config, _)| place(&config))
}

fn place(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) => name.clone(),
        #[cfg(unix)]
        Some(Host::Unix(path)) => path.display().to_string(),
        None => String::new(),
    };
    let port = match config.get_ports().first() {
        Some(port) if *port != USUAL_PORT => format!(":{port}"),
        _ => String::new(),
    };
    format!("postgres://{host}{port}/{}", config.get_dbname().or(config.get_user()).unwrap_or_default())
}

/// A name as PostgreSQL writes names.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Postgres {
    /// Opens the ledger at a URL (`postgres://user@host/database`) or a connection string. The password may stand in
    /// the variable `PGPASSWORD` instead.
    ///
    /// A connection that leaves the machine is made over TLS. The server's certificate is verified by the system's
    /// authorities, or by the file that `sslrootcert` names.
    ///
    /// # Errors
    ///
    /// The database cannot be reached, has no tables of a ledger, or those of a newer version.
    pub fn open(url: &str) -> Result<Postgres, Error> {
        let mut ledger = Postgres::at(url)?;
        let version = ledger.version()?.ok_or_else(|| {
            Error::refused(format!("the database {} has no tables of a ledger: run takings init", ledger.place()))
        })?;
        if version > VERSION {
            return Err(too_new());
        }
        Ok(ledger)
    }

    /// Makes the tables, if there are none, and opens the ledger. Says whether it is new. `first_ever`: no order of this
    /// shop can have been captured by other means, so rows need not be looked for first. If that is said and not true,
    /// money may move twice.
    ///
    /// # Errors
    ///
    /// The database cannot be reached, or the role may not make tables in it.
    pub fn init(url: &str, first_ever: bool) -> Result<(Postgres, bool), Error> {
        let mut ledger = Postgres::at(url)?;
        if ledger.version()?.is_some() {
            return Ok((Postgres::open(url)?, false));
        }
        let mut work = ledger.begin()?;
        work.run(&schema(first_ever))?;
        work.commit()?;
        Ok((ledger, true))
    }

    /// Gives roles what they need, and no more: [`grants`].
    ///
    /// # Errors
    ///
    /// There is no such role, or the tables belong to somebody else.
    pub fn grant(&mut self, shop: Option<&str>, worker: Option<&str>) -> Result<(), Error> {
        let mut work = self.begin()?;
        work.run(&grants(shop, worker))?;
        work.commit()
    }

    fn at(url: &str) -> Result<Postgres, Error> {
        let (config, root) = settings(url)?;
        let tls = match is_near(&config) {
            true => None,
            false => Some(MakeRustlsConnect::new(trust(root)?)),
        };
        let process = std::process::id();
        let mut ledger = Postgres {
            connect: Connect { config, tls },
            client: None,
            lanes: HashMap::new(),
            bound: HashMap::new(),
            process,
        };
        ledger.client()?;
        Ok(ledger)
    }

    /// The database in words.
    fn place(&self) -> String {
        place(&self.connect.config)
    }

    fn check_process(&self) -> Result<(), Error> {
        match self.process == std::process::id() {
            true => Ok(()),
            false => Err(Error::refused("the ledger was opened in another process; open it after the fork")),
        }
    }

    /// The connection; made anew after it was lost.
    fn client(&mut self) -> Result<&mut Client, Error> {
        self.check_process()?;
        if self.client.as_ref().is_some_and(Client::is_closed) {
            self.client = None;
        }
        let client = match self.client.take() {
            Some(client) => client,
            None => {
                self.lanes.clear();
                self.connect.connect()?
            }
        };
        Ok(self.client.insert(client))
    }

    fn begin(&mut self) -> Result<Work<'_>, Error> {
        let begun = self.client()?.batch_execute(BEGIN);
        if let Err(why) = begun {
            // A failed transaction may be open on it.
            self.client = None;
            return Err(why.into());
        }
        Ok(Work { client: &mut self.client, is_open: true })
    }

    /// A question outside of a transaction.
    fn read(&mut self, sql: &str, values: &[(&(dyn ToSql + Sync), Type)]) -> Result<Vec<Row>, Error> {
        let rows = self.client()?.query_typed(sql, values);
        kept(&mut self.client, rows)
    }

    /// The version of the tables; none if there are none.
    fn version(&mut self) -> Result<Option<i32>, Error> {
        let rows =
            self.read("SELECT to_regclass('takings_ledger') IS NOT NULL, current_setting('server_encoding')", &[])?;
        let Some(row) = rows.first() else { return Ok(None) };
        let encoding: &str = row.try_get(1)?;
        if encoding != "UTF8" {
            return Err(Error::refused(format!(
                "the database {} has the encoding {encoding}, which has not every letter of Klarna's answers: make one WITH \
                 ENCODING 'UTF8' TEMPLATE template0",
                self.place()
            )));
        }
        if !row.try_get(0)? {
            return Ok(None);
        }
        let rows = self.read(
            "SELECT CASE WHEN oldest_worker > $1 THEN version ELSE 1 END FROM takings_ledger",
            &[(&VERSION, Type::INT4)],
        )?;
        Ok(rows.first().map(|row| row.get(0)))
    }

    /// Whether a claim would find rows of the account and may take some, without a lock and mostly without a write.
    fn is_due(&mut self, account: &str, most: usize) -> Result<bool, Error> {
        let Some(lane) = self.lanes.get(account) else { return Ok(true) };
        let has_stragglers = lane.stragglers.iter().any(|ids| !ids.is_empty());
        let cursors = lane.cursors;
        let [(at, id), (refund_at, refund_id)] = cursors;
        let rows = self.read(
            &format!(
                "SELECT {ACCOUNT}, takings_now(),
                   paused_until <= takings_now()
                   AND (EXISTS (SELECT FROM takings_capture WHERE account = $1 AND queue_at <= takings_now()
                          AND (queue_at, id) > ($2, $3) AND due_at <= takings_now())
                     OR EXISTS (SELECT FROM takings_refund WHERE account = $1 AND queue_at <= takings_now()
                          AND (queue_at, id) > ($4, $5) AND due_at <= takings_now()))
                 FROM takings_account WHERE account = $1"
            ),
            &[
                (&account, Type::TEXT),
                (&moment(at), Type::TIMESTAMPTZ),
                (&id, Type::INT8),
                (&moment(refund_at), Type::TIMESTAMPTZ),
                (&refund_id, Type::INT8),
            ],
        )?;
        let Some(row) = rows.first() else {
            return Err(Error::no_account(account));
        };
        let (held, now, is_due) = (of_account(row)?, time(row, 13)?, row.try_get::<_, bool>(14)?);
        if went_back(cursors, now) {
            self.lanes.remove(account);
            self.look_behind(account)?;
            return self.is_due(account, most);
        }
        if self.lanes.get_mut(account).is_some_and(|lane| lane.is_lease_over(now)) {
            self.look_behind(account)?;
            return self.is_due(account, most);
        }
        let is_worth = (is_due || has_stragglers) && held.is_worth(now, most, AGAIN);
        if !is_worth && now - held.seen_at >= SEEN {
            self.read(
                // A worker that has the row notes it itself, or the next question does.
                "UPDATE takings_account SET seen_at = takings_now() WHERE account = (SELECT account FROM takings_account
                   WHERE account = $1 AND seen_at < takings_now() FOR UPDATE SKIP LOCKED)",
                &[(&account, Type::TEXT)],
            )?;
        }
        if !is_due && held.paused_until <= now {
            // All was searched.
            let lane = self.lanes.get_mut(account);
            lane.into_iter().for_each(|lane| lane.nothing_is_due(now));
        }
        Ok(is_worth)
    }

    /// Begins the searches of an account, or looks for rows behind them once it is time.
    fn look_behind(&mut self, account: &str) -> Result<(), Error> {
        // A lost connection forgets the lanes.
        self.client()?;
        let is_to_look = self.lanes.get_mut(account).is_none_or(|lane| lane.is_to_look(&self.connect, account));
        if is_to_look {
            let seen = look(self.client()?, account);
            let seen = kept(&mut self.client, seen)?;
            match self.lanes.get_mut(account) {
                Some(lane) => lane.take(seen),
                None => drop(self.lanes.insert(account.to_owned(), Lane::new(seen))),
            }
        }
        Ok(())
    }
}

fn too_new() -> Error {
    Error::refused(format!("the ledger has a version above {VERSION}, which this program knows: use a newer one"))
}

/// Whether the server ended the connection with this error.
fn is_end(error: &DbError) -> bool {
    matches!(error.parsed_severity(), Some(Severity::Fatal | Severity::Panic))
}

/// A result; after an error that ended the connection there is none any more.
fn kept<T>(client: &mut Option<Client>, result: Result<T, ::postgres::Error>) -> Result<T, Error> {
    result.map_err(|error| {
        // A server that takes no writes is a standby: the primary is behind another connection.
        let is_standby = |db: &DbError| {
            [&SqlState::READ_ONLY_SQL_TRANSACTION, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE].contains(&db.code())
        };
        let is_lost = error.as_db_error().is_none_or(|db| is_end(db) || is_standby(db));
        if is_lost {
            *client = None;
        }
        error.into()
    })
}

/// A transaction. It is rolled back unless it is committed.
struct Work<'a> {
    client: &'a mut Option<Client>,
    is_open: bool,
}

impl Work<'_> {
    fn ask<T>(&mut self, ask: impl FnOnce(&mut Client) -> Result<T, ::postgres::Error>) -> Result<T, Error> {
        let Some(client) = self.client else {
            return Err(Error { message: "the ledger: the connection was lost".into(), retryable: true });
        };
        let result = ask(client);
        kept(self.client, result)
    }

    fn run(&mut self, sql: &str) -> Result<(), Error> {
        self.ask(|client| client.batch_execute(sql))
    }

    fn read(&mut self, sql: &str, values: &[(&(dyn ToSql + Sync), Type)]) -> Result<Vec<Row>, Error> {
        self.ask(|client| client.query_typed(sql, values))
    }

    fn change(&mut self, sql: &str, values: &[(&(dyn ToSql + Sync), Type)]) -> Result<u64, Error> {
        self.ask(|client| client.execute_typed(sql, values))
    }

    fn commit(mut self) -> Result<(), Error> {
        self.is_open = false;
        // A COMMIT of a transaction that failed would answer ROLLBACK, and no error: each error ends its method before.
        self.run("COMMIT")
    }

    /// The ledger's present time.
    fn now(&mut self) -> Result<i64, Error> {
        let rows = self.read("SELECT takings_clock()", &[])?;
        rows.first().map_or_else(|| Err(Error::refused("the ledger does not say what time it is")), |row| time(row, 0))
    }

    /// The database: its identifier, and the timeline that it writes. A restore or a failover changes one of them.
    fn origin(&mut self) -> Result<String, Error> {
        let rows = self.read(ORIGIN, &[])?;
        rows.first()
            .map_or_else(|| Err(Error::refused("the database does not say which one it is")), |row| Ok(row.try_get(0)?))
    }

    /// Stops vouching for what was enqueued before, where this is not the database that the last worker saw. Refuses tables
    /// that were upgraded beyond this program while it ran.
    fn check_origin(&mut self) -> Result<(), Error> {
        let origin = self.origin()?;
        let known = self.read(
            "SELECT origin IS NOT DISTINCT FROM $1, oldest_worker > $2 FROM takings_ledger",
            &[(&origin, Type::TEXT), (&VERSION, Type::INT4)],
        )?;
        let Some(known) = known.first() else { return Err(Error::refused("the ledger does not say its version")) };
        if known.try_get(1)? {
            return Err(too_new());
        }
        if known.try_get(0)? {
            return Ok(());
        }
        // Of several workers that see it, one writes.
        if self.change(
            "UPDATE takings_ledger SET origin = $1 WHERE origin IS DISTINCT FROM $1",
            &[(&origin, Type::TEXT)],
        )? == 1
        {
            self.restored()?;
        }
        Ok(())
    }

    fn restored(&mut self) -> Result<(), Error> {
        // All open rows are written, which may take longer than anything else.
        self.run("SET LOCAL statement_timeout = 0")?;
        self.change(
            "UPDATE takings_account SET look_until = greatest(look_until, takings_clock() + $1 * interval '1 ms'),
               look_since = takings_clock()",
            &[(&LOOK_FIRST, Type::INT8)],
        )?;
        for kind in Kind::ALL {
            // A worker may still have claims from before. Their numbers must not come again.
            self.change(
                &format!(
                    "UPDATE takings_{} SET sends = sends + 1000, maybe = maybe OR state = 'sending',
                       due_at = CASE WHEN state = 'sending' THEN least(due_at, takings_clock()) ELSE due_at END,
                       state = CASE WHEN state = 'sending' THEN 'unclear' ELSE state END
                     WHERE queue_at IS NOT NULL",
                    kind.operation()
                ),
                &[],
            )?;
        }
        Ok(())
    }
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        if self.is_open {
            // A connection that is lost has rolled back by itself.
            let _ = self.run("ROLLBACK");
        }
    }
}

impl Store for Postgres {
    fn pace(&self) -> Pace {
        Pace { gather: GATHER, again: AGAIN }
    }

    fn become_worker(&mut self) -> Result<(), Error> {
        let mut work = self.begin()?;
        work.check_origin()?;
        work.commit()
    }

    fn bind(&mut self, account: &str, base_url: &str, merchant: &str) -> Result<(), Error> {
        let mut work = self.begin()?;
        let rows = work.read(
            "SELECT base_url, merchant FROM takings_account WHERE account = $1 FOR UPDATE",
            &[(&account, Type::TEXT)],
        )?;
        let Some(row) = rows.first() else {
            return Err(Error::no_account(account));
        };
        match (row.try_get::<_, Option<&str>>(0)?, row.try_get::<_, Option<&str>>(1)?) {
            (Some(url), Some(name)) if (url, name) == (base_url, merchant) => {}
            (None, None) => {
                work.change(
                    "UPDATE takings_account SET base_url = $2, merchant = $3 WHERE account = $1",
                    &[(&account, Type::TEXT), (&base_url, Type::TEXT), (&merchant, Type::TEXT)],
                )?;
            }
            (url, name) => {
                return Err(Error::refused(format!(
                    "the account {account} of this ledger belongs to {} at {}, and the credentials to {merchant} at \
                     {base_url}; if they are new ones of the same merchant: takings account rebind {account}",
                    name.unwrap_or_default(),
                    url.unwrap_or_default()
                )));
            }
        }
        work.commit()?;
        self.bound.insert(account.to_owned(), (base_url.to_owned(), merchant.to_owned()));
        Ok(())
    }

    fn enqueue(&mut self, kind: Kind, entries: &[Entry]) -> Result<Vec<bool>, Error> {
        // A row that another transaction inserts at the same moment is judged by the trigger once it is there.
        for _ in 0..3 {
            match self.insert(kind, entries) {
                Err(Lost::Race) => {}
                Err(Lost::Error(error)) => return Err(error),
                Ok(new) => return Ok(new),
            }
        }
        Err(Error { message: "the ledger: others enqueue the same rows; try again".into(), retryable: true })
    }

    fn claim(&mut self, account: &str, most: usize, lease: Duration) -> Result<Vec<Claim>, Error> {
        self.look_behind(account)?;
        // Where the last claim left rows, the transaction itself finds out.
        let has_more = self.lanes.get_mut(account).is_some_and(|lane| std::mem::take(&mut lane.has_more));
        if !has_more && !self.is_due(account, most)? {
            return Ok(Vec::new());
        }
        let wanted = most;
        let Some(lane) = self.lanes.get(account) else { return Ok(Vec::new()) };
        let (cursors, stragglers) = (lane.cursors, lane.stragglers.clone());
        let place = self.bound.get(account).cloned();
        let mut work = self.begin()?;
        work.check_origin()?;
        let Some(held) = read_account(&mut work, account)? else {
            return Err(Error::no_account(account));
        };
        held.check_place(account, place.as_ref())?;
        let now = work.now()?;
        if went_back(cursors, now) {
            drop(work);
            self.lanes.remove(account);
            return self.claim(account, most, lease);
        }
        let most = held.room(now, most);
        if most == 0 {
            return Ok(Vec::new());
        }
        work.run(ALONG_THE_INDEX)?;
        let mut due = Vec::new();
        let mut found = [0; 2];
        for (place, kind) in Kind::ALL.into_iter().enumerate() {
            let ids = stragglers[place].get(..most).unwrap_or(&stragglers[place]);
            due.extend(due_stragglers(&mut work, kind, now, cursors[place], ids)?);
            let rows = due_rows(&mut work, kind, account, now, cursors[place], most)?;
            found[place] = rows.len();
            due.extend(rows);
        }
        if due.is_empty() {
            drop(work);
            if let Some(lane) = self.lanes.get_mut(account) {
                lane.searched(now, most, found, &due);
            }
            return Ok(Vec::new());
        }
        let due = first(due, most);
        let lease_ends = now.saturating_add(millis(lease));
        let end = moment_of(lease_ends);
        for kind in Kind::ALL {
            let rows = due.iter().filter(|row| row.kind == kind);
            let ids: Vec<i64> = rows.map(|row| row.id).collect();
            if ids.is_empty() {
                continue;
            }
            // maybe_when_claimed() in SQL: a row that another worker had may have been sent by it.
            work.change(
                &format!(
                    "UPDATE takings_{} SET due_at = $2, sends = sends + 1, maybe = maybe OR state = 'sending',
                       last_sent_at = CASE WHEN state = 'sending' THEN due_at ELSE last_sent_at END, state = 'sending'
                     WHERE id = ANY($1)",
                    kind.operation()
                ),
                &[(&ids, Type::INT8_ARRAY), (&end, Type::TIMESTAMPTZ)],
            )?;
        }
        let left = held.tokens_at(now) - due.len() as f64;
        work.change(
            "UPDATE takings_account SET tokens = $2, tokens_at = $3, seen_at = greatest(seen_at, $3) WHERE account = $1",
            &[(&account, Type::TEXT), (&left, Type::FLOAT8), (&moment_of(now), Type::TIMESTAMPTZ)],
        )?;
        work.commit()?;
        if let Some(lane) = self.lanes.get_mut(account) {
            lane.searched(now, most, found, &due);
            lane.has_more = due.len() == wanted;
            lane.lease_ends = lane.lease_ends.min(lease_ends);
        }
        Ok(due.into_iter().map(|row| row.claimed(now, &held)).collect())
    }

    fn settle(&mut self, ends: &[Settlement]) -> Result<Vec<Kept>, Error> {
        let mut work = self.begin()?;
        let mut kept = vec![Kept::Stale; ends.len()];
        for kind in Kind::ALL {
            let of_kind: Vec<usize> = (0..ends.len()).filter(|place| ends[*place].kind == kind).collect();
            if !of_kind.is_empty() {
                write(&mut work, kind, ends, &of_kind, &mut kept)?;
            }
        }
        work.commit()?;
        Ok(kept)
    }

    fn change(&mut self, account: &str, change: Change) -> Result<(), Error> {
        let mut work = self.begin()?;
        let person = Why::Person.as_str();
        match change {
            Change::Recovered => work.change(
                // A worker does not undo a person's pause.
                "UPDATE takings_account SET trouble = 0, paused_until = 'epoch', paused_why = NULL, alert_at = NULL
                 WHERE account = $1 AND paused_why IS DISTINCT FROM $2",
                &[(&account, Type::TEXT), (&person, Type::TEXT)],
            )?,
            Change::Paused(time, Why::Limited) => limited(&mut work, account, time)?,
            Change::Paused(time, why) => work.change(
                "UPDATE takings_account SET trouble = trouble + 1,
                   paused_until = greatest(paused_until, takings_clock() + $2 * interval '1 ms'),
                   paused_why = CASE WHEN paused_why = $4 THEN paused_why ELSE $3 END,
                   alert_at = coalesce(alert_at, takings_clock())
                 WHERE account = $1",
                &[
                    (&account, Type::TEXT),
                    (&millis(time), Type::INT8),
                    (&why.as_str(), Type::TEXT),
                    (&person, Type::TEXT),
                ],
            )?,
        };
        work.commit()
    }

    fn restored(&mut self) -> Result<(), Error> {
        let mut work = self.begin()?;
        work.restored()?;
        work.commit()
    }

    fn find(&mut self, kind: Kind, account: &str, order_id: &str, reference: &str) -> Result<Option<Record>, Error> {
        let operation = kind.operation();
        let rows = self.read(
            &format!(
                "SELECT id, state, takings_ms(due_at), sends, tries, maybe, {operation}_id, why, takings_ms(alert_at),
                   takings_ms(looked_at)
                 FROM takings_{operation} WHERE account = $1 AND order_id = $2 AND reference = $3"
            ),
            &[(&account, Type::TEXT), (&order_id, Type::TEXT), (&reference, Type::TEXT)],
        )?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(Record {
            id: row.try_get(0)?,
            state: state(kind, row, 1)?,
            due_at: row.try_get(2)?,
            sends: natural(row, 3)?,
            tries: small(row, 4)?,
            maybe: row.try_get(5)?,
            done_as: row.try_get(6)?,
            why: row.try_get(7)?,
            alert_at: row.try_get(8)?,
            looked_at: row.try_get(9)?,
        }))
    }

    fn open_rows(&mut self, account: &str) -> Result<u64, Error> {
        let rows = self.read(
            "SELECT (SELECT count(*) FROM takings_capture WHERE account = $1 AND queue_at IS NOT NULL)
                  + (SELECT count(*) FROM takings_refund WHERE account = $1 AND queue_at IS NOT NULL)",
            &[(&account, Type::TEXT)],
        )?;
        rows.first().map_or(Ok(0), |row| natural(row, 0))
    }

    fn quiet(&mut self, account: &str) -> Result<Option<Duration>, Error> {
        // Rows wait in the order of their time, but for those that are being sent. So the first that is not, and those before.
        let earliest = Kind::ALL.map(|kind| {
            format!(
                "(SELECT least(first.due_at, (SELECT min(due_at) FROM takings_{operation}
                    WHERE account = $1 AND queue_at < coalesce(first.queue_at, 'infinity')))
                  FROM (VALUES (1)) AS always LEFT JOIN (SELECT queue_at, due_at FROM takings_{operation}
                    WHERE account = $1 AND queue_at IS NOT NULL AND state <> 'sending' ORDER BY queue_at LIMIT 1) AS first ON true)",
                operation = kind.operation()
            )
        });
        let rows = self.read(
            &format!(
                "SELECT takings_ms(greatest(due.at, paused_until)) - takings_ms(takings_now())
                 FROM takings_account, (SELECT least({}) AS at) AS due WHERE account = $1 AND due.at IS NOT NULL",
                earliest.join(", ")
            ),
            &[(&account, Type::TEXT)],
        )?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(Duration::from_millis(u64::try_from(row.try_get::<_, i64>(0)?).unwrap_or_default())))
    }
}

/// Why rows were not inserted.
enum Lost {
    /// Another transaction has inserted one of their names.
    Race,
    Error(Error),
}

impl<E: Into<Error>> From<E> for Lost {
    fn from(error: E) -> Lost {
        Lost::Error(error.into())
    }
}

impl Postgres {
    fn insert(&mut self, kind: Kind, entries: &[Entry]) -> Result<Vec<bool>, Lost> {
        let (operation, amount) = (kind.operation(), kind.amount());
        let mut work = self.begin()?;
        let mut new = Vec::with_capacity(entries.len());
        let sql = format!(
            "INSERT INTO takings_{operation} (account, order_id, reference, {amount}, request)
             SELECT account, order_id, reference, amount, request
             FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[])
               WITH ORDINALITY AS e (account, order_id, reference, amount, request, n) ORDER BY n
             RETURNING account, order_id, reference"
        );
        let column = |of: fn(&Entry) -> &str| entries.iter().map(of).collect::<Vec<_>>();
        let (accounts, orders, references) =
            (column(|entry| &entry.account), column(|entry| &entry.order_id), column(|entry| &entry.reference));
        let amounts: Vec<i64> = entries.iter().map(|entry| entry.amount).collect();
        let requests: Vec<Option<&str>> = entries.iter().map(|entry| entry.request.as_deref()).collect();
        let rows = work.read(
            &sql,
            &[
                (&accounts, Type::TEXT_ARRAY),
                (&orders, Type::TEXT_ARRAY),
                (&references, Type::TEXT_ARRAY),
                (&amounts, Type::INT8_ARRAY),
                (&requests, Type::TEXT_ARRAY),
            ],
        );
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) if error.message.ends_with(RACE) => return Err(Lost::Race),
            Err(error) => {
                drop(work);
                return Err(Lost::Error(self.which(kind, entries, error)));
            }
        };
        // A name that stands twice among the entries is new once.
        let mut inserted = HashSet::with_capacity(rows.len());
        for row in &rows {
            inserted.insert((row.try_get::<_, String>(0)?, row.try_get::<_, String>(1)?, row.try_get::<_, String>(2)?));
        }
        for entry in entries {
            new.push(inserted.remove(&(entry.account.clone(), entry.order_id.clone(), entry.reference.clone())));
        }
        work.commit()?;
        Ok(new)
    }

    /// The error of an `INSERT` of many, with the name of the row that it is about.
    fn which(&mut self, kind: Kind, entries: &[Entry], error: Error) -> Error {
        if error.retryable || entries.len() == 1 {
            return match entries {
                [Entry { account, .. }] if error.message.starts_with("there is no such account") => {
                    Error::no_account(account)
                }
                [Entry { order_id, reference, .. }] => Error {
                    message: format!("order {order_id:?}, reference {reference:?}: {}", error.message),
                    ..error
                },
                _ => error,
            };
        }
        // Each half alone, and never committed: the first that fails has it.
        let (first, second) = entries.split_at(entries.len() / 2);
        for part in [first, second] {
            match self.try_out(kind, part) {
                Ok(()) => {}
                Err(error) => return self.which(kind, part, error),
            }
        }
        error
    }

    /// Whether the entries could be inserted.
    fn try_out(&mut self, kind: Kind, entries: &[Entry]) -> Result<(), Error> {
        let (operation, amount) = (kind.operation(), kind.amount());
        let mut work = self.begin()?;
        for Entry { account, order_id, reference, amount: value, request } in entries {
            work.change(
                &format!(
                    "INSERT INTO takings_{operation} (account, order_id, reference, {amount}, request)
                     VALUES ($1, $2, $3, $4::bigint, $5)"
                ),
                &[
                    (account, Type::TEXT),
                    (order_id, Type::TEXT),
                    (reference, Type::TEXT),
                    (value, Type::INT8),
                    (request, Type::TEXT),
                ],
            )?;
        }
        Ok(())
    }
}

/// The columns of an account that a claim needs to know.
const ACCOUNT: &str = "per_second, burst, tokens, tokens_at, trouble, paused_until, look_until, look_since, seen_at, slowed, \
                       slowed_at, base_url, merchant";

fn of_account(row: &Row) -> Result<Account, Error> {
    Ok(Account {
        rate: rate(row, 0, 9)?,
        burst: row.try_get(1)?,
        tokens: row.try_get(2)?,
        tokens_since: time(row, 3)?,
        trouble: small(row, 4)?,
        paused_until: time(row, 5)?,
        look_until: time(row, 6)?,
        look_since: time(row, 7)?,
        seen_at: time(row, 8)?,
        place: row.try_get::<_, Option<String>>(11)?.zip(row.try_get(12)?),
    })
}

/// Reads what a claim needs to know of the account, and keeps it from other workers until the transaction ends.
fn read_account(work: &mut Work<'_>, account: &str) -> Result<Option<Account>, Error> {
    let rows = work.read(
        &format!("SELECT {ACCOUNT} FROM takings_account WHERE account = $1 FOR UPDATE"),
        &[(&account, Type::TEXT)],
    )?;
    rows.first().map(of_account).transpose()
}

/// The rate from `per_second`, and from `slowed` and `slowed_at` in the columns behind it.
fn rate(row: &Row, full: usize, slowed: usize) -> Result<Rate, Error> {
    let slowed = row.try_get::<_, Option<f64>>(slowed)?.zip(maybe_time(row, slowed + 1)?);
    Ok(Rate { full: row.try_get(full)?, slowed })
}

/// Pauses an account for as long as Klarna asked, and slows it. Answers to requests that were under way together are one
/// limit. After the pause nothing is saved up, so no burst follows.
fn limited(work: &mut Work<'_>, account: &str, time: Duration) -> Result<u64, Error> {
    let Some(held) = read_account(work, account)? else { return Ok(0) };
    let now = work.now()?;
    let is_same = held.paused_until > now && held.rate.slowed.is_some();
    let rate = if is_same { held.rate } else { held.rate.slower(now) };
    let (slowed, slowed_at) = rate.slowed.unzip();
    work.change(
        "UPDATE takings_account SET paused_until = greatest(paused_until, takings_at($2)), slowed = $3,
           slowed_at = takings_at($4), tokens = 0, tokens_at = greatest(tokens_at, takings_at($2)),
           paused_why = CASE WHEN paused_until > takings_at($5) THEN paused_why ELSE $6 END
         WHERE account = $1",
        &[
            (&account, Type::TEXT),
            (&now.saturating_add(millis(time)), Type::INT8),
            (&slowed, Type::FLOAT8),
            (&slowed_at, Type::INT8),
            (&now, Type::INT8),
            (&Why::Limited.as_str(), Type::TEXT),
        ],
    )
}

/// The columns of a due row, with its table.
fn of_due_row(kind: Kind) -> String {
    format!(
        "SELECT queue_at, id, state, maybe, refused, tries, sends, order_id, reference, {}::bigint, request, idempotency_key,
           enqueued_at, looked_at FROM takings_{}",
        kind.amount(),
        kind.operation()
    )
}

/// The rows behind the cursor that a look has found, and that nobody has taken since. By their numbers alone: a condition
/// on the time could lead the server to the index of due rows, with all its old entries.
fn due_stragglers(
    work: &mut Work<'_>,
    kind: Kind,
    now: i64,
    cursor: Cursor,
    ids: &[i64],
) -> Result<Vec<DueRow>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = work.read(
        &format!("{} WHERE id = ANY($1) AND due_at <= $2 FOR UPDATE SKIP LOCKED", of_due_row(kind)),
        &[(&ids, Type::INT8_ARRAY), (&moment_of(now), Type::TIMESTAMPTZ)],
    )?;
    let mut due = Vec::with_capacity(rows.len());
    for row in &rows {
        let row = due_row(kind, row)?;
        // The search finds those that have a new place.
        if (row.queue_at, row.id) <= cursor {
            due.push(row);
        }
    }
    Ok(due)
}

fn due_rows(
    work: &mut Work<'_>,
    kind: Kind,
    account: &str,
    now: i64,
    (at, id): Cursor,
    most: usize,
) -> Result<Vec<DueRow>, Error> {
    let rows = work.read(
        &format!(
            "{} WHERE account = $1 AND queue_at <= $2 AND (queue_at, id) > ($4, $5) AND due_at <= $2
             ORDER BY queue_at, id LIMIT $3 FOR UPDATE SKIP LOCKED",
            of_due_row(kind)
        ),
        &[
            (&account, Type::TEXT),
            (&moment_of(now), Type::TIMESTAMPTZ),
            (&i64::try_from(most).unwrap_or(i64::MAX), Type::INT8),
            (&moment(at), Type::TIMESTAMPTZ),
            (&id, Type::INT8),
        ],
    )?;
    rows.iter().map(|row| due_row(kind, row)).collect()
}

fn due_row(kind: Kind, row: &Row) -> Result<DueRow, Error> {
    Ok(DueRow {
        kind,
        queue_at: row.try_get::<_, Micros>(0)?.0,
        id: row.try_get(1)?,
        state: state(kind, row, 2)?,
        maybe: row.try_get(3)?,
        refused: row.try_get(4)?,
        tries: small(row, 5)?,
        sends: natural(row, 6)?,
        order_id: row.try_get(7)?,
        reference: row.try_get(8)?,
        amount: row.try_get(9)?,
        request: row.try_get(10)?,
        idempotency_key: row.try_get(11)?,
        enqueued_at: time(row, 12)?,
        looked_at: maybe_time(row, 13)?,
    })
}

/// Writes the ends of one table that count. Rows that others have locked are left for later: a shop that holds one of them
/// would keep the whole worker waiting.
fn write(
    work: &mut Work<'_>,
    kind: Kind,
    ends: &[Settlement],
    places: &[usize],
    kept: &mut [Kept],
) -> Result<(), Error> {
    let operation = kind.operation();
    let ids: Vec<i64> = places.iter().map(|place| ends[*place].id).collect();
    let rows = work.read(
        &format!(
            "SELECT id, state, sends, {operation}_id, order_id, reference FROM takings_{operation} WHERE id = ANY($1)
             ORDER BY id FOR UPDATE SKIP LOCKED"
        ),
        &[(&ids, Type::INT8_ARRAY)],
    )?;
    let mut current = HashMap::with_capacity(rows.len());
    for row in &rows {
        let name: (String, String) = (row.try_get(4)?, row.try_get(5)?);
        let standing = (state(kind, row, 1)?, natural(row, 2)?, row.try_get::<_, Option<String>>(3)?, name);
        current.insert(row.try_get::<_, i64>(0)?, standing);
    }
    let others: Vec<i64> = ids.into_iter().filter(|id| !current.contains_key(id)).collect();
    let mut locked = HashSet::new();
    if !others.is_empty() {
        let rows = work
            .read(&format!("SELECT id FROM takings_{operation} WHERE id = ANY($1)"), &[(&others, Type::INT8_ARRAY)])?;
        for row in &rows {
            locked.insert(row.try_get::<_, i64>(0)?);
        }
    }
    let mut written = Vec::with_capacity(places.len());
    for place in places {
        let end = &ends[*place];
        let Some((state, sends, id, (order_id, reference))) = current.get_mut(&end.id) else {
            if locked.contains(&end.id) {
                kept[*place] = Kept::Locked;
            }
            continue;
        };
        // A standby that took over, or a restored backup, lacks the last rows and gives their numbers anew.
        if (&*order_id, &*reference) != (&end.order_id, &end.reference) {
            continue;
        }
        if *state == State::Done && end.state == State::Done && *id != end.done_as {
            // The first id may still wait to be written, and would take the alarm away.
            write_rows(work, kind, &written)?;
            written.clear();
            let note =
                format!("Klarna also named it {}: look at the order", end.done_as.as_deref().unwrap_or_default());
            work.change(
                &format!(
                    "UPDATE takings_{operation} SET why = $2, alert_at = takings_clock(), note = $3 WHERE id = $1"
                ),
                &[(&end.id, Type::INT8), (&Why::AnotherId.as_str(), Type::TEXT), (&note, Type::TEXT)],
            )?;
            kept[*place] = Kept::AnotherId;
        } else if counts(*state, *sends, end.sends, end.state) {
            (*state, *id) = (end.state, end.done_as.clone());
            kept[*place] = Kept::Written;
            // Two ends of one row are written one after the other.
            if written.iter().any(|other: &&Settlement| other.id == end.id) {
                write_rows(work, kind, &written)?;
                written.clear();
            }
            written.push(end);
        }
    }
    write_rows(work, kind, &written)
}

fn write_rows(work: &mut Work<'_>, kind: Kind, ends: &[&Settlement]) -> Result<(), Error> {
    if ends.is_empty() {
        return Ok(());
    }
    let operation = kind.operation();
    fn column<'a, T>(ends: &[&'a Settlement], of: impl Fn(&'a Settlement) -> T) -> Vec<T> {
        ends.iter().map(|end| of(end)).collect()
    }
    work.change(
        &format!(
            "UPDATE takings_{operation} AS c SET state = u.state, due_at = t.now + u.due_in * interval '1 ms',
               queue_at = t.now + u.due_in * interval '1 ms',
               tries = u.tries, maybe = c.maybe OR u.maybe, refused = u.refused,
               last_sent_at = CASE WHEN u.was_sent THEN t.now ELSE c.last_sent_at END,
               looked_at = CASE WHEN u.vouches THEN u.claimed_at ELSE c.looked_at END,
               {operation}_id = u.done_as, correlation_id = coalesce(u.correlation_id, c.correlation_id),
               settled_at = CASE WHEN u.due_in IS NULL THEN t.now END,
               settled_by = CASE WHEN u.due_in IS NULL THEN 'worker' END,
               alert_at = CASE WHEN u.done_as IS NOT NULL THEN NULL
                 WHEN u.alert THEN coalesce(c.alert_at, t.now) ELSE c.alert_at END,
               why = u.why, seen_at = CASE WHEN c.state = u.state THEN c.seen_at END,
               http_status = CASE WHEN u.refused THEN coalesce(u.http_status, c.http_status) ELSE u.http_status END,
               error_code = CASE WHEN u.refused THEN coalesce(u.error_code, c.error_code) ELSE u.error_code END,
               note = CASE WHEN u.refused THEN coalesce(u.note, c.note) ELSE u.note END
             FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::int[], $5::bool[], $6::bool[], $7::bool[], $8::bool[],
                    $9::timestamptz[], $10::text[], $11::text[], $12::bool[], $13::text[], $14::int[], $15::text[], $16::text[])
               AS u (id, state, due_in, tries, maybe, refused, was_sent, vouches, claimed_at, done_as, correlation_id, alert,
                     why, http_status, error_code, note),
                  -- Asked for once, and not for each row.
                  (SELECT takings_clock() AS now) AS t
             WHERE c.id = u.id"
        ),
        &[
            (&column(ends, |end| end.id), Type::INT8_ARRAY),
            (&column(ends, |end| kind.word(end.state)), Type::TEXT_ARRAY),
            (&column(ends, |end| end.due_in.map(millis)), Type::INT8_ARRAY),
            (&column(ends, |end| i32::try_from(end.tries).unwrap_or(i32::MAX)), Type::INT4_ARRAY),
            (&column(ends, |end| end.maybe), Type::BOOL_ARRAY),
            (&column(ends, |end| end.refused), Type::BOOL_ARRAY),
            (&column(ends, |end| end.was_sent), Type::BOOL_ARRAY),
            (&column(ends, |end| end.vouches), Type::BOOL_ARRAY),
            (&column(ends, |end| moment_of(end.claimed_at)), Type::TIMESTAMPTZ_ARRAY),
            (&column(ends, |end| end.done_as.as_deref()), Type::TEXT_ARRAY),
            (&column(ends, |end| end.correlation_id.as_deref()), Type::TEXT_ARRAY),
            (&column(ends, |end| end.alert), Type::BOOL_ARRAY),
            (&column(ends, |end| end.why.map(Why::as_str)), Type::TEXT_ARRAY),
            (&column(ends, |end| end.http_status.map(i32::from)), Type::INT4_ARRAY),
            (&column(ends, |end| end.error_code.as_deref()), Type::TEXT_ARRAY),
            (&column(ends, |end| end.note.as_deref().map(printable)), Type::TEXT_ARRAY),
        ],
    )?;
    let requests: Vec<_> = ends
        .iter()
        .flat_map(|end| end.requests.iter().zip(1_i64..).map(|(request, n)| (end.id, end.sends, n, request)))
        .collect();
    if requests.is_empty() {
        return Ok(());
    }
    work.change(
        "INSERT INTO takings_attempt
         SELECT $1, row, sends, n, takings_at(at), took_ms, sent, came_back, http_status, error_code, correlation_id
         FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $8::text[], $9::int[],
                     $10::text[], $11::text[])
           AS a (row, sends, n, at, took_ms, sent, came_back, http_status, error_code, correlation_id)
         ON CONFLICT DO NOTHING",
        &[
            (&operation, Type::TEXT),
            (&requests.iter().map(|request| request.0).collect::<Vec<_>>(), Type::INT8_ARRAY),
            (
                &requests.iter().map(|request| i64::try_from(request.1).unwrap_or(i64::MAX)).collect::<Vec<_>>(),
                Type::INT8_ARRAY,
            ),
            (&requests.iter().map(|request| request.2).collect::<Vec<_>>(), Type::INT8_ARRAY),
            (&requests.iter().map(|request| request.3.at).collect::<Vec<_>>(), Type::INT8_ARRAY),
            (&requests.iter().map(|request| request.3.took_ms).collect::<Vec<_>>(), Type::INT8_ARRAY),
            (&requests.iter().map(|request| printable(&request.3.sent)).collect::<Vec<_>>(), Type::TEXT_ARRAY),
            (&requests.iter().map(|request| printable(&request.3.came_back)).collect::<Vec<_>>(), Type::TEXT_ARRAY),
            (&requests.iter().map(|request| request.3.http_status.map(i32::from)).collect::<Vec<_>>(), Type::INT4_ARRAY),
            (&requests.iter().map(|request| request.3.error_code.as_deref()).collect::<Vec<_>>(), Type::TEXT_ARRAY),
            (&requests.iter().map(|request| request.3.correlation_id.as_deref()).collect::<Vec<_>>(), Type::TEXT_ARRAY),
        ],
    )?;
    Ok(())
}

/// PostgreSQL's texts have no zero byte.
fn printable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn state(kind: Kind, row: &Row, column: usize) -> Result<State, Error> {
    let word: &str = row.try_get(column)?;
    kind.state(word).ok_or_else(|| Error::refused(format!("the ledger: there is no state {word}")))
}

fn natural(row: &Row, column: usize) -> Result<u64, Error> {
    Ok(row.try_get::<_, i64>(column)?.unsigned_abs())
}

fn small(row: &Row, column: usize) -> Result<u32, Error> {
    Ok(row.try_get::<_, i32>(column)?.unsigned_abs())
}

/// A time of the server's in microseconds since 1970; `infinity` is the last.
///
/// The server sends its own number. Where it converted the number by a function, the plan of each statement took longer.
struct Micros(i64);

/// 2000 in microseconds since 1970. The server counts from then.
const OF_2000: i64 = 946_684_800_000_000;

impl<'a> FromSql<'a> for Micros {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Micros, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Micros(i64::from_be_bytes(raw.try_into()?).saturating_add(OF_2000)))
    }

    accepts!(TIMESTAMPTZ);
}

/// A time in milliseconds since 1970, as workers count.
fn time(row: &Row, column: usize) -> Result<i64, Error> {
    Ok(in_millis(row.try_get(column)?))
}

fn maybe_time(row: &Row, column: usize) -> Result<Option<i64>, Error> {
    Ok(row.try_get::<_, Option<Micros>>(column)?.map(in_millis))
}

fn in_millis(Micros(time): Micros) -> i64 {
    if time == i64::MAX { i64::MAX } else { time.div_euclid(1000) }
}

/// A time as a value of a statement, from microseconds since 1970.
fn moment(micros: i64) -> SystemTime {
    let distance = Duration::from_micros(micros.unsigned_abs());
    let moment = if micros < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    // No clock shows a time that a system cannot count.
    moment.unwrap_or(UNIX_EPOCH)
}

/// The same from milliseconds.
fn moment_of(millis: i64) -> SystemTime {
    moment(millis.saturating_mul(1000))
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Refuses a URL whose password would be taken for a host, a database or an option, and be told with it.
fn check_url(url: &str) -> Result<(), Error> {
    let Some((_, rest)) = url.split_once("://") else { return Ok(()) };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    match rest.matches('@').count() == authority.matches('@').count() && authority.matches('@').count() <= 1 {
        true => Ok(()),
        false => Err(Error::refused(
            "the ledger's URL: a password in it has @ as %40, / as %2F and ? as %3F; it may also stand in the variable PGPASSWORD",
        )),
    }
}

/// The settings of a connection, and the file of `sslrootcert`, which the library does not know.
fn settings(url: &str) -> Result<(Config, Option<PathBuf>), Error> {
    check_url(url)?;
    let (text, root) = without_root(url);
    let mut config: Config = text
        .parse()
        .map_err(|why| Error::refused(format!("the ledger's URL: {why}; it is like postgres://user@host/database")))?;
    if config.get_password().is_none()
        && let Ok(password) = std::env::var("PGPASSWORD")
    {
        config.password(password);
    }
    if config.get_application_name().is_none() {
        config.application_name("takings");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT);
    }
    config.tcp_user_timeout(SILENCE).keepalives_idle(SILENCE).keepalives_interval(SILENCE / 3).keepalives_retries(3);
    // After a failover the name may still lead to a server that takes no writes, or lead there again.
    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    match (is_near(&config), config.get_ssl_mode()) {
        (true, SslMode::Require) | (false, SslMode::Disable) => {
            return Err(Error::refused(
                "the ledger's URL: sslmode is not to be chosen; connections that leave the machine have TLS, others have none",
            ));
        }
        (true, _) => config.ssl_mode(SslMode::Disable),
        (false, _) => config.ssl_mode(SslMode::Require),
    };
    Ok((config, root.map(PathBuf::from)))
}

/// Takes `sslrootcert`, and libpq's stricter modes, out of a URL or a connection string.
fn without_root(url: &str) -> (String, Option<String>) {
    let mut root = None;
    let (head, parts, between) = match url.split_once('?') {
        Some((head, query)) if url.contains("://") => (format!("{head}?"), query.split('&').collect::<Vec<_>>(), "&"),
        _ if url.contains("://") => return (url.to_owned(), None),
        _ => (String::new(), url.split_whitespace().collect(), " "),
    };
    let kept: Vec<&str> = parts
        .into_iter()
        .filter(|part| match part.split_once('=') {
            Some(("sslrootcert", path)) => {
                root = Some(path.replace("%2F", "/").replace("%2f", "/"));
                false
            }
            Some(("sslmode", "verify-full" | "verify-ca")) => false,
            _ => true,
        })
        .collect();
    (format!("{head}{}", kept.join(between)).trim_end_matches('?').to_owned(), root)
}

/// Whether the connection does not leave the machine.
fn is_near(config: &Config) -> bool {
    let loopback = |address: &IpAddr| address.is_loopback();
    match config.get_hostaddrs() {
        [] => config.get_hosts().iter().all(|host| match host {
            Host::Tcp(name) => name == "localhost" || name.parse().as_ref().is_ok_and(loopback),
            #[cfg(unix)]
            Host::Unix(_) => true,
        }),
        addresses => addresses.iter().all(loopback),
    }
}

/// The authorities of the file, or those of the system.
fn trust(root: Option<PathBuf>) -> Result<rustls::ClientConfig, Error> {
    use rustls::pki_types::pem::PemObject;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let failed = |why: &dyn fmt::Display| Error::refused(format!("TLS to the ledger: {why}"));
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|why| failed(&why))?;
    let Some(path) = root else {
        let verifier = rustls_platform_verifier::Verifier::new(provider).map_err(|why| failed(&why))?;
        return Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth());
    };
    let place = path.display().to_string();
    let mut roots = rustls::RootCertStore::empty();
    let certificates =
        rustls::pki_types::CertificateDer::pem_file_iter(&path).map_err(|why| failed(&format!("{place}: {why}")))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|why| failed(&format!("{place}: {why}")))?;
        roots.add(certificate).map_err(|why| failed(&format!("{place}: {why}")))?;
    }
    if roots.is_empty() {
        return Err(failed(&format!("{place} has no certificate")));
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
