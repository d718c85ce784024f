//! The ledger in one SQLite file, for one host.
//!
//! One worker at a time has the file; shops insert beside it. Each of our transactions begins with `BEGIN IMMEDIATE`, is
//! short, and is on the disk before its end is told (`synchronous = FULL`).
//!
//! Never open the file by this module in a process that opens it with another copy of SQLite as well. Two copies in one
//! process lose each other's locks, and the file is then damaged (sqlite.org/howtocorrupt.html, 2.2.1).

use std::collections::HashMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, Transaction, TransactionBehavior, ffi, params};

use crate::due::{Account, DueRow, Place, first};
use crate::policy::{Change, Rate, State, Why, counts};
use crate::store::{Claim, Entry, Error, Kept, Kind, Pace, Record, Settlement, Store};

mod office;

const SCHEMA: &str = include_str!("../sql/sqlite/001.sql");

/// The version of the tables that this worker makes.
const VERSION: i64 = 1;

/// `TAKG`: how the file says whose it is.
const APPLICATION: i64 = 0x5441_4b47;

/// How long a writer waits for another.
const BUSY: Duration = Duration::from_secs(10);

/// So many rows of one transaction are a file's.
const MANY: usize = 1000;

/// The ids of orders are random, so the rows of a file change pages all over the index. Those stay in memory (16 MiB), and
/// a page that several transactions change is copied from the log into the file once (at 4,000 pages of the log).
const FOR_MANY: &str = "PRAGMA cache_size = -16384; PRAGMA wal_autocheckpoint = 4000";

/// How many statements stay compiled: those of a worker, for both tables.
const STATEMENTS: usize = 64;

/// The pause between two tries to become the worker.
const MOMENT: Duration = Duration::from_millis(20);

/// How long a new or restored ledger looks first.
const LOOK_FIRST: i64 = 30 * 24 * 60 * 60 * 1000;

/// A clock in milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The system's clock.
pub fn system_clock() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// How a file is opened.
#[derive(Clone)]
pub struct Options {
    /// No order of this shop can have been captured by other means: rows of a new ledger need not be looked for first. If
    /// that is said and not true, money may move twice.
    pub first_ever: bool,
    /// The clock.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Options {
        Options { first_ever: false, clock: Arc::new(system_clock) }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("first_ever", &self.first_ever).finish_non_exhaustive()
    }
}

/// The statements that make the tables, for somebody who reads them first.
pub fn schema() -> &'static str {
    SCHEMA
}

/// Columns of texts, and the number of the last row.
pub(crate) type Texts = (i64, Vec<Vec<Option<String>>>);

/// A ledger in one file.
pub struct Sqlite {
    db: Connection,
    path: PathBuf,
    clock: Clock,
    /// The file that was opened, as `origin` names it.
    origin: String,
    /// The lock of the worker, with the count of its claims inside.
    lock: Option<File>,
    /// Nobody knows what of the ends is on the disk, so no other is written behind them.
    is_lost: bool,
    /// By account: the place that its worker began with.
    bound: HashMap<String, Place>,
    /// The process that opened it: neither connection nor lock may be used in a fork.
    process: u32,
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("path", &self.path).finish_non_exhaustive()
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        let retryable = !is_lost(&error)
            && error.sqlite_error_code().is_some_and(|code| {
                matches!(
                    code,
                    ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                        | ErrorCode::DiskFull
                        | ErrorCode::SystemIoFailure
                        | ErrorCode::CannotOpen
                        | ErrorCode::OutOfMemory
                )
            });
        Error { message: format!("the ledger: {error}{}", advice(&error)), retryable }
    }
}

/// Whether nobody knows what is on the disk: after a failed fsync SQLite and the kernel both forget the pages.
fn is_lost(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| {
        let code = error.extended_code;
        [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_DIR_FSYNC].contains(&code)
            || [ErrorCode::DatabaseCorrupt, ErrorCode::NotADatabase].contains(&error.code)
    })
}

/// The words that a person needs beside SQLite's own.
fn advice(error: &rusqlite::Error) -> &'static str {
    let Some(error) = error.sqlite_error() else { return "" };
    match (error.extended_code, error.code) {
        (ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC, _) => {
            ": the disk did not confirm what was written, so nobody knows what is on it. See what the system's log says of \
             the disk, then start again: the ledger goes on from what the disk has"
        }
        (_, ErrorCode::SystemIoFailure) => ": see what the system's log says of the disk",
        (_, ErrorCode::DiskFull) => ": make room on the ledger's disk",
        (_, ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            ": another program has a transaction open on it; shops must end theirs soon"
        }
        (_, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            ": put a backup in its place, and say takings restored"
        }
        _ => "",
    }
}

impl Sqlite {
    /// Opens the ledger at `path`, and makes the file and its tables if there are none.
    ///
    /// # Errors
    ///
    /// The file is on a network, is no ledger or one of a newer version, or cannot be opened.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Sqlite, Error> {
        let ledger = Sqlite::open_even_moved(path.as_ref(), options)?;
        match ledger.moved_to()? {
            None => Ok(ledger),
            Some(place) => {
                Err(Error::refused(format!("the ledger {} was moved to {place}; use that", ledger.path.display())))
            }
        }
    }

    fn open_even_moved(path: &Path, options: Options) -> Result<Sqlite, Error> {
        let place = |why: &dyn fmt::Display| Error::refused(format!("the ledger {}: {why}", path.display()));
        create(path).map_err(|why| place(&why))?;
        let path = path.canonicalize().map_err(|why| place(&why))?;
        refuse_networks(&path)?;
        let db = Connection::open(&path)?;
        db.busy_timeout(BUSY)?;
        db.set_prepared_statement_cache_capacity(STATEMENTS);
        db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        db.execute_batch("PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA trusted_schema = OFF")?;
        let origin = origin(&path).map_err(|why| place(&why))?;
        let process = std::process::id();
        let mut ledger = Sqlite {
            db,
            path,
            clock: options.clock,
            origin,
            lock: None,
            is_lost: false,
            bound: HashMap::new(),
            process,
        };
        ledger.make_tables(options.first_ever)?;
        Ok(ledger)
    }

    fn now(&self) -> i64 {
        (self.clock)()
    }

    /// The ledger that has its rows since.
    fn moved_to(&self) -> Result<Option<String>, Error> {
        Ok(self.db.query_row("SELECT moved_to FROM takings_ledger", [], |row| row.get(0))?)
    }

    /// Opens a ledger that leaves for another place: no worker may run, and from now on nobody works or inserts here. One
    /// that was on its way to the same place before may go on.
    ///
    /// # Errors
    ///
    /// There is none at the path, a worker runs, or it was moved to another place.
    pub(crate) fn leaving(path: &Path, to: &str) -> Result<Sqlite, Error> {
        if !path.exists() {
            return Err(Error::refused(format!("there is no ledger at {}", path.display())));
        }
        let mut ledger = Sqlite::open_even_moved(path, Options::default())?;
        ledger.become_worker()?;
        match ledger.moved_to()? {
            Some(place) if place != to => {
                return Err(Error::refused(format!("the ledger {} was moved to {place} before", path.display())));
            }
            _ => {}
        }
        let work = ledger.begin()?;
        work.execute("UPDATE takings_ledger SET moved_to = ?", [to])?;
        work.commit()?;
        Ok(ledger)
    }

    /// Rows of a table behind a number, each column as text: `columns` of a table that this module made.
    pub(crate) fn texts(&self, table: &str, columns: &[&str], after: i64, most: i64) -> Result<Texts, Error> {
        let list: Vec<String> = columns.iter().map(|column| format!("CAST({column} AS TEXT)")).collect();
        let sql = format!("SELECT rowid, {} FROM {table} WHERE rowid > ?1 ORDER BY rowid LIMIT ?2", list.join(", "));
        let mut read = self.db.prepare_cached(&sql)?;
        let mut last = after;
        let mut texts = vec![Vec::new(); columns.len()];
        let mut rows = read.query([after, most])?;
        while let Some(row) = rows.next()? {
            last = row.get(0)?;
            for (place, column) in texts.iter_mut().enumerate() {
                column.push(row.get(place + 1)?);
            }
        }
        Ok((last, texts))
    }

    /// The file whose lock the worker has.
    fn lock_path(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".lock");
        path.into()
    }

    fn make_tables(&mut self, first_ever: bool) -> Result<(), Error> {
        let (now, origin) = (self.now(), self.origin.clone());
        let path = self.path.display().to_string();
        let work = self.begin()?;
        let application: i64 = work.query_row("PRAGMA application_id", [], |row| row.get(0))?;
        if application == APPLICATION {
            let (version, oldest): (i64, i64) =
                work.query_row("SELECT version, oldest_worker FROM takings_ledger", [], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })?;
            if oldest > VERSION {
                return Err(Error::refused(format!(
                    "the ledger {path} has version {version}, and this program knows version {VERSION}: use a newer one"
                )));
            }
            return Ok(());
        }
        let tables: i64 = work.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if application != 0 || tables != 0 {
            return Err(Error::refused(format!(
                "{path} is another program's database; give the ledger a file of its own"
            )));
        }
        work.execute_batch(SCHEMA)?;
        work.pragma_update(None, "application_id", APPLICATION)?;
        work.execute("UPDATE takings_ledger SET origin = ?", [origin])?;
        let look_until = if first_ever { 0 } else { now + LOOK_FIRST };
        work.execute(
            "INSERT INTO takings_account (account, tokens_at, look_until, look_since) VALUES ('default', ?1, ?2, ?1)",
            params![now, look_until],
        )?;
        work.commit()?;
        Ok(())
    }

    fn check_process(&self) -> Result<(), Error> {
        match self.process == std::process::id() {
            true => Ok(()),
            false => Err(Error::refused("the ledger was opened in another process; open it after the fork")),
        }
    }

    fn begin(&mut self) -> Result<Transaction<'_>, Error> {
        self.check_process()?;
        Ok(self.db.transaction_with_behavior(TransactionBehavior::Immediate)?)
    }

    /// Refuses to claim without the lock, and where the file at the path is no longer the one that was opened.
    fn check_worker(&self) -> Result<(), Error> {
        if self.lock.is_none() {
            return Err(Error::refused("the ledger is open for reading and enqueueing; a worker takes its lock first"));
        }
        match origin(&self.path) {
            Ok(origin) if origin == self.origin => Ok(()),
            _ => Err(Error::refused(format!(
                "the file {} was replaced under its worker; start the worker again",
                self.path.display()
            ))),
        }
    }
}

impl Store for Sqlite {
    fn pace(&self) -> Pace {
        Pace { gather: Duration::from_millis(5), again: Duration::from_millis(50) }
    }

    fn become_worker(&mut self) -> Result<(), Error> {
        let path = self.lock_path();
        let failed = |why: &dyn fmt::Display| Error::refused(format!("{}: {why}", path.display()));
        let mut lock = match self.lock.take() {
            Some(lock) => lock,
            None => {
                let lock = open_own(&path).map_err(|why| failed(&why))?;
                // Somebody who asks whether there is a worker has the lock for a moment.
                let mut is_ours = lock.try_lock().is_ok();
                for _ in 0..10 {
                    if !is_ours {
                        thread::sleep(MOMENT);
                        is_ours = lock.try_lock().is_ok();
                    }
                }
                if !is_ours {
                    return Err(failed(&"another worker has this ledger, and one is enough for a file"));
                }
                lock
            }
        };
        let seen = claims_seen(&mut lock).map_err(|why| failed(&why))?;
        let (now, origin) = (self.now(), self.origin.clone());
        let work = self.begin()?;
        check_origin(&work, seen, &origin, now)?;
        for kind in Kind::ALL {
            // The lock says that the worker is gone, so nobody has to wait for the ends of its leases.
            work.execute(
                &format!(
                    "UPDATE takings_{} SET state = 'unclear', maybe = 1, due_at = min(due_at, ?), last_sent_at = due_at
                     WHERE state = 'sending'",
                    kind.operation()
                ),
                [now],
            )?;
        }
        work.commit()?;
        self.lock = Some(lock);
        Ok(())
    }

    fn bind(&mut self, account: &str, base_url: &str, merchant: &str) -> Result<(), Error> {
        let work = self.begin()?;
        let bound: Option<(Option<String>, Option<String>)> = work
            .query_row("SELECT base_url, merchant FROM takings_account WHERE account = ?", [account], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        match bound {
            None => return Err(Error::no_account(account)),
            Some((Some(url), Some(name))) if (url.as_str(), name.as_str()) == (base_url, merchant) => {}
            Some((None, None)) => {
                work.execute(
                    "UPDATE takings_account SET base_url = ?2, merchant = ?3 WHERE account = ?1",
                    params![account, base_url, merchant],
                )?;
            }
            Some((url, name)) => {
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
        if entries.len() >= MANY {
            self.db.execute_batch(FOR_MANY)?;
        }
        let work = self.begin()?;
        let mut new = Vec::with_capacity(entries.len());
        {
            let mut insert = work.prepare_cached(&format!(
                "INSERT INTO takings_{} (account, order_id, reference, {}, request) VALUES (?1, ?2, ?3, ?4, ?5)",
                kind.operation(),
                kind.amount()
            ))?;
            for entry in entries {
                let Entry { account, order_id, reference, amount, request } = entry;
                let inserted = insert.execute(params![account, order_id, reference, amount, request]);
                new.push(inserted.map_err(|why| told(why, entry))? == 1);
            }
        }
        work.commit()?;
        Ok(new)
    }

    fn claim(&mut self, account: &str, most: usize, lease: Duration) -> Result<Vec<Claim>, Error> {
        self.check_worker()?;
        let now = self.now();
        let place = self.bound.get(account).cloned();
        let work = self.begin()?;
        let Some(held) = read_account(&work, account)? else {
            return Err(Error::no_account(account));
        };
        held.check_place(account, place.as_ref())?;
        let most = held.room(now, most);
        if most == 0 {
            return Ok(Vec::new());
        }
        let mut due = Vec::new();
        for kind in Kind::ALL {
            due_rows(&work, kind, account, now, most, &mut due)?;
        }
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let due = first(due, most);
        let end = now.saturating_add(millis(lease));
        let mut claims = Vec::with_capacity(due.len());
        for row in due {
            work.prepare_cached(&format!(
                "UPDATE takings_{} SET state = 'sending', due_at = ?2, sends = sends + 1, maybe = ?3,
                   last_sent_at = CASE WHEN state = 'sending' THEN due_at ELSE last_sent_at END
                 WHERE id = ?1",
                row.kind.operation()
            ))?
            .execute(params![row.id, end, row.maybe()])?;
            claims.push(row.claimed(now, &held));
        }
        let (left, count) =
            (held.tokens_at(now) - claims.len() as f64, i64::try_from(claims.len()).unwrap_or(i64::MAX));
        work.prepare_cached(
            "UPDATE takings_account SET tokens = ?2, tokens_at = ?3, seen_at = max(seen_at, ?3) WHERE account = ?1",
        )?
        .execute(params![account, left, now])?;
        work.prepare_cached("UPDATE takings_ledger SET claims = claims + ?")?.execute([count])?;
        let total: i64 = work.prepare_cached("SELECT claims FROM takings_ledger")?.query_row([], |row| row.get(0))?;
        work.commit()?;
        if let Some(lock) = &mut self.lock {
            // The note only helps to see a restore that left the file's number. Without it nothing is unsafe.
            let _ = lock.rewind().and_then(|()| lock.write_all(format!("{total:020}\n").as_bytes()));
        }
        Ok(claims)
    }

    fn settle(&mut self, ends: &[Settlement]) -> Result<Vec<Kept>, Error> {
        if self.is_lost {
            return Err(Error::refused("the ledger: its disk failed before; start the worker again"));
        }
        self.check_process()?;
        let now = self.now();
        let mut write_all = || {
            let work = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let kept = ends.iter().map(|end| write(&work, end, now)).collect::<rusqlite::Result<_>>()?;
            work.commit().map(|()| kept)
        };
        write_all().map_err(|why| {
            self.is_lost = is_lost(&why);
            why.into()
        })
    }

    fn change(&mut self, account: &str, change: Change) -> Result<(), Error> {
        let now = self.now();
        let work = self.begin()?;
        match change {
            Change::Recovered => work.execute(
                // A worker does not undo a person's pause.
                "UPDATE takings_account SET trouble = 0, paused_until = 0, paused_why = NULL, alert_at = NULL
                 WHERE account = ?1 AND paused_why IS NOT ?2",
                [account, Why::Person.as_str()],
            )?,
            Change::Paused(time, Why::Limited) => limited(&work, account, now, time)?,
            Change::Paused(time, why) => work.execute(
                "UPDATE takings_account SET trouble = trouble + 1, paused_until = max(paused_until, ?2),
                       paused_why = CASE WHEN paused_why IS ?5 THEN paused_why ELSE ?3 END,
                       alert_at = coalesce(alert_at, ?4)
                     WHERE account = ?1",
                params![account, now.saturating_add(millis(time)), why.as_str(), now, Why::Person.as_str()],
            )?,
        };
        work.commit()?;
        Ok(())
    }

    fn restored(&mut self) -> Result<(), Error> {
        let now = self.now();
        let work = self.begin()?;
        restored(&work, now)?;
        work.commit()?;
        Ok(())
    }

    fn find(&mut self, kind: Kind, account: &str, order_id: &str, reference: &str) -> Result<Option<Record>, Error> {
        self.check_process()?;
        let operation = kind.operation();
        let mut find = self.db.prepare_cached(&format!(
            "SELECT id, state, due_at, sends, tries, maybe, {operation}_id, why, alert_at, looked_at FROM takings_{operation}
             WHERE account = ?1 AND order_id = ?2 AND reference = ?3"
        ))?;
        let record = find.query_row([account, order_id, reference], |row| {
            Ok(Record {
                id: row.get(0)?,
                state: state(kind, row, 1)?,
                due_at: row.get(2)?,
                sends: sends(row, 3)?,
                tries: row.get(4)?,
                maybe: row.get(5)?,
                done_as: row.get(6)?,
                why: row.get(7)?,
                alert_at: row.get(8)?,
                looked_at: row.get(9)?,
            })
        });
        Ok(record.optional()?)
    }

    fn open_rows(&mut self, account: &str) -> Result<u64, Error> {
        self.check_process()?;
        let count: i64 = self.db.query_row(
            "SELECT (SELECT count(*) FROM takings_capture WHERE account = ?1 AND due_at IS NOT NULL)
                  + (SELECT count(*) FROM takings_refund WHERE account = ?1 AND due_at IS NOT NULL)",
            [account],
            |row| row.get(0),
        )?;
        Ok(count.unsigned_abs())
    }

    fn quiet(&mut self, account: &str) -> Result<Option<Duration>, Error> {
        self.check_process()?;
        let mut earliest = None;
        for kind in Kind::ALL {
            let due: Option<i64> =
                self.db.prepare_cached(&earliest_sql(kind))?.query_row([account], |row| row.get(0))?;
            earliest = [earliest, due].into_iter().flatten().min();
        }
        let sql = "SELECT paused_until FROM takings_account WHERE account = ?1";
        let paused: Option<i64> = self.db.prepare_cached(sql)?.query_row([account], |row| row.get(0)).optional()?;
        let until = earliest.map(|due: i64| due.max(paused.unwrap_or(0)));
        Ok(until
            .map(|until| Duration::from_millis(u64::try_from(until.saturating_sub(self.now())).unwrap_or_default())))
    }
}

/// Pauses an account for as long as Klarna asked, and slows it. Answers to requests that were under way together are one
/// limit. After the pause nothing is saved up, so no burst follows.
fn limited(work: &Transaction<'_>, account: &str, now: i64, time: Duration) -> rusqlite::Result<usize> {
    let Some(held) = read_account(work, account)? else { return Ok(0) };
    let is_same = held.paused_until > now && held.rate.slowed.is_some();
    let rate = if is_same { held.rate } else { held.rate.slower(now) };
    let until = now.saturating_add(millis(time));
    let (slowed, slowed_at) = rate.slowed.unzip();
    work.execute(
        "UPDATE takings_account SET paused_until = max(paused_until, ?2), slowed = ?3, slowed_at = ?4, tokens = 0,
           tokens_at = max(tokens_at, ?2), paused_why = CASE WHEN paused_until > ?5 THEN paused_why ELSE ?6 END
         WHERE account = ?1",
        params![account, until, slowed, slowed_at, now, Why::Limited.as_str()],
    )
}

/// Reads what a claim needs to know of the account.
fn read_account(work: &Transaction<'_>, account: &str) -> rusqlite::Result<Option<Account>> {
    let mut read = work.prepare_cached(
        "SELECT per_second, burst, tokens, tokens_at, trouble, paused_until, look_until, look_since, seen_at, slowed,
           slowed_at, base_url, merchant FROM takings_account WHERE account = ?",
    )?;
    let account = read.query_row([account], |row| {
        let slowed = row.get::<_, Option<f64>>(9)?.zip(row.get(10)?);
        Ok(Account {
            rate: Rate { full: row.get(0)?, slowed },
            burst: row.get(1)?,
            tokens: row.get(2)?,
            tokens_since: row.get(3)?,
            trouble: row.get(4)?,
            paused_until: row.get(5)?,
            look_until: row.get(6)?,
            look_since: row.get(7)?,
            seen_at: row.get(8)?,
            place: row.get::<_, Option<String>>(11)?.zip(row.get(12)?),
        })
    });
    account.optional()
}

/// The rows that are due, the longest first.
fn due_sql(kind: Kind) -> String {
    format!(
        "SELECT id, due_at, state, maybe, refused, tries, sends, order_id, reference, {}, request, idempotency_key,
                enqueued_at, looked_at
         FROM takings_{} WHERE account = ?1 AND due_at <= ?2 ORDER BY due_at, id LIMIT ?3",
        kind.amount(),
        kind.operation()
    )
}

/// When the next row is due.
fn earliest_sql(kind: Kind) -> String {
    format!("SELECT min(due_at) FROM takings_{} WHERE account = ?1 AND due_at IS NOT NULL", kind.operation())
}

fn due_rows(
    work: &Transaction<'_>,
    kind: Kind,
    account: &str,
    now: i64,
    most: usize,
    due: &mut Vec<DueRow>,
) -> rusqlite::Result<()> {
    let mut read = work.prepare_cached(&due_sql(kind))?;
    let rows = read.query_map(params![account, now, i64::try_from(most).unwrap_or(i64::MAX)], |row| {
        Ok(DueRow {
            kind,
            id: row.get(0)?,
            queue_at: row.get(1)?,
            state: state(kind, row, 2)?,
            maybe: row.get(3)?,
            refused: row.get(4)?,
            tries: row.get(5)?,
            sends: sends(row, 6)?,
            order_id: row.get(7)?,
            reference: row.get(8)?,
            amount: row.get(9)?,
            request: row.get(10)?,
            idempotency_key: row.get(11)?,
            enqueued_at: row.get(12)?,
            looked_at: row.get(13)?,
        })
    })?;
    for row in rows {
        due.push(row?);
    }
    Ok(())
}

/// Writes one end, where it counts.
fn write(work: &Transaction<'_>, end: &Settlement, now: i64) -> rusqlite::Result<Kept> {
    let (kind, operation) = (end.kind, end.kind.operation());
    let current = work
        // A backup in the file's place lacks the last rows, and gives their numbers anew.
        .prepare_cached(&format!(
            "SELECT state, sends, {operation}_id FROM takings_{operation} WHERE id = ?1 AND order_id = ?2 AND reference = ?3"
        ))?
        .query_row(params![end.id, end.order_id, end.reference], |row| {
            Ok((state(kind, row, 0)?, sends(row, 1)?, row.get::<_, Option<String>>(2)?))
        })
        .optional()?;
    let Some((current, current_sends, id)) = current else { return Ok(Kept::Stale) };
    if current == State::Done && end.state == State::Done && id != end.done_as {
        work.prepare_cached(&format!(
            "UPDATE takings_{operation} SET why = ?2, alert_at = ?3, note = ?4 WHERE id = ?1"
        ))?
        .execute(params![
            end.id,
            Why::AnotherId.as_str(),
            now,
            format!("Klarna also named it {}: look at the order", end.done_as.as_deref().unwrap_or_default())
        ])?;
        return Ok(Kept::AnotherId);
    }
    if !counts(current, current_sends, end.sends, end.state) {
        return Ok(Kept::Stale);
    }
    let due_at = end.due_in.map(|time| now.saturating_add(millis(time)));
    work.prepare_cached(&format!(
        "UPDATE takings_{operation} SET state = ?2, due_at = ?3, tries = ?4, maybe = max(maybe, ?5), refused = ?6,
           last_sent_at = CASE WHEN ?7 THEN ?8 ELSE last_sent_at END,
           looked_at = CASE WHEN ?9 THEN ?10 ELSE looked_at END,
           {operation}_id = ?11, correlation_id = coalesce(?12, correlation_id),
           settled_at = CASE WHEN ?3 IS NULL THEN ?8 END, settled_by = CASE WHEN ?3 IS NULL THEN 'worker' END,
           seen_at = CASE WHEN state = ?2 THEN seen_at END,
           alert_at = CASE WHEN ?11 IS NOT NULL THEN NULL WHEN ?13 THEN coalesce(alert_at, ?8) ELSE alert_at END,
           why = ?14, http_status = CASE WHEN ?6 THEN coalesce(?15, http_status) ELSE ?15 END,
           error_code = CASE WHEN ?6 THEN coalesce(?16, error_code) ELSE ?16 END,
           note = CASE WHEN ?6 THEN coalesce(?17, note) ELSE ?17 END
         WHERE id = ?1"
    ))?
    .execute(params![
        end.id,
        kind.word(end.state),
        due_at,
        end.tries,
        end.maybe,
        end.refused,
        end.was_sent,
        now,
        end.vouches,
        end.claimed_at,
        end.done_as,
        end.correlation_id,
        end.alert,
        end.why.map(Why::as_str),
        end.http_status,
        end.error_code,
        end.note,
    ])?;
    for (n, request) in (1_i64..).zip(&end.requests) {
        work.prepare_cached(
            "INSERT OR IGNORE INTO takings_attempt VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            operation,
            end.id,
            i64::try_from(end.sends).unwrap_or(i64::MAX),
            n,
            request.at,
            request.took_ms,
            request.sent,
            request.came_back,
            request.http_status,
            request.error_code,
            request.correlation_id,
        ])?;
    }
    Ok(Kept::Written)
}

/// How many claims the lock of the worker has counted.
fn claims_seen(lock: &mut File) -> std::io::Result<i64> {
    let mut seen = String::new();
    lock.rewind()?;
    lock.read_to_string(&mut seen)?;
    // A lock that was cut off while it was written says nothing.
    Ok(seen.strip_suffix('\n').and_then(|seen| seen.parse().ok()).unwrap_or(0))
}

/// Stops vouching for what was enqueued before, where a backup took the place of the file: another file is at the path, or
/// the worker's lock has `seen` claims that the file does not know.
fn check_origin(work: &Transaction<'_>, seen: i64, origin: &str, now: i64) -> rusqlite::Result<()> {
    let (claims, made_in): (i64, Option<String>) =
        work.query_row("SELECT claims, origin FROM takings_ledger", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if seen > claims || made_in.as_deref() != Some(origin) {
        restored(work, now)?;
        work.execute("UPDATE takings_ledger SET origin = ?1, claims = max(claims, ?2)", params![origin, seen])?;
    }
    Ok(())
}

fn restored(work: &Transaction<'_>, now: i64) -> rusqlite::Result<()> {
    work.execute(
        "UPDATE takings_account SET look_until = max(look_until, ?1), look_since = ?2",
        [now.saturating_add(LOOK_FIRST), now],
    )?;
    for kind in Kind::ALL {
        // A worker may still have claims from before. Their numbers must not come again.
        work.execute(
            &format!(
                "UPDATE takings_{} SET sends = sends + 1000, maybe = max(maybe, state = 'sending'),
                   due_at = CASE WHEN state = 'sending' THEN min(due_at, ?1) ELSE due_at END,
                   state = CASE WHEN state = 'sending' THEN 'unclear' ELSE state END
                 WHERE due_at IS NOT NULL",
                kind.operation()
            ),
            [now],
        )?;
    }
    Ok(())
}

fn state(kind: Kind, row: &Row<'_>, column: usize) -> rusqlite::Result<State> {
    let word: String = row.get(column)?;
    kind.state(&word).ok_or_else(|| {
        let why = format!("there is no state {word}");
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, why.into())
    })
}

fn sends(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::unsigned_abs)
}

/// The error of an `INSERT`: that of a trigger with the row's name.
fn told(why: rusqlite::Error, entry: &Entry) -> Error {
    let Entry { account, order_id, reference, .. } = entry;
    let refusal = match &why {
        rusqlite::Error::SqliteFailure(_, Some(text)) => text.strip_prefix("takings: ").map(str::to_owned),
        _ => None,
    };
    match refusal {
        None => why.into(),
        Some(text) if text.starts_with("there is no such account") => Error::no_account(account),
        Some(text) => Error::refused(format!("order {order_id:?}, reference {reference:?}: {text}")),
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// A file that only its owner can read: it holds customers' data.
fn open_own(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes the file, if there is none. A file that is there is not opened: closing it would end SQLite's locks of this
/// process (sqlite.org/howtocorrupt.html, 2.2).
fn create(path: &Path) -> std::io::Result<()> {
    if path.exists() { Ok(()) } else { open_own(path).map(drop) }
}

/// The name of a file that another file at the same path does not share: its number, and when it was made.
fn origin(path: &Path) -> std::io::Result<String> {
    let file = std::fs::metadata(path)?;
    let made = file.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default().as_millis();
    #[cfg(unix)]
    let number = std::os::unix::fs::MetadataExt::ino(&file);
    #[cfg(not(unix))]
    let number = 0;
    Ok(format!("{number}/{made}"))
}

/// Refuses file systems on which SQLite's locks or its shared memory do not work.
fn refuse_networks(path: &Path) -> Result<(), Error> {
    #[cfg(target_os = "linux")]
    if let Ok(place) = nix::sys::statfs::statfs(path)
        && let Some(name) = network(place.filesystem_type().0)
    {
        return Err(Error::refused(format!(
            "the ledger {} is on {name}, where SQLite loses its locks; put it on a disk of this machine",
            path.display()
        )));
    }
    let _ = path;
    Ok(())
}

/// The name of a file system that other machines share (linux/magic.h, and the sources of those outside the kernel).
#[cfg(target_os = "linux")]
fn network(magic: impl TryInto<i64>) -> Option<&'static str> {
    // Its type is the machine's.
    let magic: i64 = magic.try_into().unwrap_or_default();
    let name = match magic & 0xffff_ffff {
        0x6969 => "NFS",
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => "an SMB share",
        0x0102_1997 => "9p, a folder of another machine or of the host",
        0x6573_5546 => "FUSE or virtiofs",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x00c3_6400 => "Ceph",
        0x7375_7245 => "Coda",
        0x0bd0_0bd0 => "Lustre",
        0x4750_4653 => "GPFS",
        0x7461_636f => "OCFS2",
        0x0116_1970 => "GFS2",
        0x786f_4256 => "a folder of VirtualBox",
        0xbacb_acbc => "a folder of VMware",
        _ => return None,
    };
    Some(name)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    /// The steps of SQLite's machine, which unlike times are the same on every machine.
    fn steps(db: &Connection, sql: &str, parameters: impl rusqlite::Params) -> i32 {
        let mut statement = db.prepare(sql).unwrap();
        let mut rows = statement.query(parameters).unwrap();
        while rows.next().unwrap().is_some() {}
        drop(rows);
        statement.get_status(StatementStatus::VmStep)
    }

    #[test]
    fn a_claim_costs_the_same_however_many_rows_there_are() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Sqlite::open(directory.path().join("ledger.db"), Options::default()).unwrap();
        let db = &ledger.db;
        // Rows of any state and time are no rows that a shop may insert.
        db.execute_batch("DROP TRIGGER takings_capture_enqueue; DROP TRIGGER takings_refund_enqueue").unwrap();
        let mut before: Option<Vec<i32>> = None;
        // Most are done, some due later, some due now. A shop may have the planner count them.
        for (from, to, analyse) in [(0, 1000, ""), (1000, 100_000, ""), (0, 0, "ANALYZE")] {
            let mut now = Vec::new();
            for kind in Kind::ALL {
                let (operation, amount) = (kind.operation(), kind.amount());
                let rows = format!(
                    "WITH RECURSIVE row (n) AS (SELECT ?1 WHERE ?1 < ?2 UNION ALL SELECT n + 1 FROM row WHERE n + 1 < ?2)
                     INSERT INTO takings_{operation} (order_id, reference, {amount}, state, due_at, settled_at, {operation}_id)
                     SELECT 'order-' || n, 'p', 1, CASE WHEN n % 10 < 2 THEN 'queued' ELSE ?3 END,
                       CASE n % 10 WHEN 0 THEN n WHEN 1 THEN 1000000 + n END, CASE WHEN n % 10 > 1 THEN n END,
                       CASE WHEN n % 10 > 1 THEN 'id-' || n END FROM row"
                );
                db.execute(&rows, params![from, to, kind.word(State::Done)]).unwrap();
                db.execute_batch(analyse).unwrap();
                let (due, earliest) = (due_sql(kind), earliest_sql(kind));
                let mut plans = db.prepare(&format!("EXPLAIN QUERY PLAN {due}")).unwrap();
                let plans = plans.query_map(params!["default", 1, 1], |row| row.get::<_, String>(3)).unwrap();
                let plans = plans.collect::<Result<Vec<_>, _>>().unwrap().join("; ");
                let index =
                    format!("SEARCH takings_{operation} USING INDEX takings_{operation}_due (account=? AND due_at<?)");
                assert_eq!(plans, index);
                now.push(steps(db, &due, params!["default", 500_000, 64]));
                now.push(steps(db, &earliest, ["default"]));
            }
            assert_eq!(*before.get_or_insert(now.clone()), now, "rows up to {to} {analyse}");
        }
    }

    #[test]
    fn the_trouble_of_a_disk_comes_with_advice() {
        let told = |code| {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            Error::from(error)
        };
        for (code, advice, retryable) in [
            (ffi::SQLITE_IOERR_FSYNC, "then start again", false),
            (ffi::SQLITE_IOERR_DIR_FSYNC, "then start again", false),
            (ffi::SQLITE_IOERR_WRITE, "the system's log", true),
            (ffi::SQLITE_FULL, "make room", true),
            (ffi::SQLITE_BUSY, "must end theirs soon", true),
            (ffi::SQLITE_CORRUPT, "say takings restored", false),
        ] {
            let error = told(code);
            assert!(error.message.contains(advice), "{error}");
            assert_eq!(error.retryable, retryable, "{error}");
        }
    }

    /// A damaged file takes no end, and none after it: a worker would take it for good news.
    #[test]
    fn no_end_is_written_behind_one_that_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let mut store =
            Sqlite::open(folder.path().join("ledger.db"), Options { first_ever: true, ..Options::default() }).unwrap();
        store.become_worker().unwrap();
        let row =
            Entry { account: "default".into(), order_id: "o".into(), reference: "p".into(), amount: 1, request: None };
        store.enqueue(Kind::Capture, &[row]).unwrap();
        let claim = store.claim("default", 1, Duration::from_secs(180)).unwrap().remove(0);
        let end = Settlement {
            kind: claim.kind,
            id: claim.id,
            order_id: claim.order_id,
            reference: claim.reference,
            sends: claim.sends,
            claimed_at: claim.at,
            state: State::Done,
            maybe: true,
            refused: false,
            tries: 0,
            due_in: None,
            vouches: false,
            was_sent: true,
            done_as: Some("c".into()),
            why: None,
            alert: false,
            note: None,
            http_status: None,
            error_code: None,
            correlation_id: None,
            requests: Vec::new(),
        };
        // The file has none of the pages that the tables are in.
        let ledger = store.path.clone();
        store.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        let whole = std::fs::read(&ledger).unwrap();
        let mut damaged = whole.clone();
        damaged[4096..].fill(0x55);
        std::fs::write(&ledger, damaged).unwrap();
        store.db.execute_batch("PRAGMA cache_size = 0; PRAGMA shrink_memory").unwrap();
        let why = store.settle(std::slice::from_ref(&end)).unwrap_err();
        assert!(!why.retryable && why.message.contains("put a backup in its place"), "{why}");
        std::fs::write(&ledger, whole).unwrap();
        let why = store.settle(&[end]).unwrap_err();
        assert!(why.message.contains("its disk failed before"), "{why}");
    }

    #[test]
    fn networks_are_told_from_disks() {
        assert_eq!(network(0x6969_i64), Some("NFS"));
        assert_eq!(network(0xff53_4d42_u64), Some("an SMB share"));
        assert_eq!(network(0xff53_4d42_u32 as i32), Some("an SMB share"), "the sign is the machine's");
        for disk in [0xef53_i64, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0x2fc1_2fc1] {
            assert_eq!(network(disk), None, "{disk:#x}");
        }
    }

    #[test]
    fn the_table_of_refunds_is_that_of_captures() {
        let part = |from: &str, to: &str| {
            let start = SCHEMA.find(from).expect("the table is there");
            SCHEMA[start..].split(to).next().unwrap_or_default().trim().to_owned()
        };
        let captures = part("CREATE TABLE takings_capture", "CREATE TABLE takings_refund");
        let refunds = part("CREATE TABLE takings_refund", "\u{0}");
        let translated = captures
            .replace("captured_amount", "refunded_amount")
            .replace("'captured'", "'refunded'")
            .replace("captured is final", "refunded is final")
            .replace("capture_id", "refund_id")
            .replace("takings_capture", "takings_refund")
            .replace("each capture of", "each refund of")
            .replace("The capture's own", "The refund's own");
        assert_eq!(translated, refunds);
    }
}
