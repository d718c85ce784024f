//! The questions and words of people: which rows need one, and what a person has found out about a row.

use std::time::Duration;

use crate::policy::{State, Word};
use crate::store::{Entry, Error, Kind, Request, Store};

/// An account as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// Its name.
    pub account: String,
    /// Where its requests go, once a worker has bound it.
    pub base_url: Option<String>,
    /// Its merchant, once a worker has bound it.
    pub merchant: Option<String>,
    /// The person who bound it anew.
    pub bound_by: Option<String>,
    /// The requests a second that its workers may make.
    pub per_second: f64,
    /// The same now: Klarna's rate limit may have left less of it for a while.
    pub rate: f64,
    /// How often in a row it was paused.
    pub trouble: u32,
    /// Until when nothing is sent.
    pub paused_until: i64,
    /// Why.
    pub paused_why: Option<String>,
    /// Rows that were enqueued before are looked for first.
    pub look_until: i64,
    /// The latest time that a worker saw here.
    pub seen_at: i64,
    /// Since when a person should know of its pause.
    pub alert_at: Option<i64>,
    /// The ledger's time at which it was read.
    pub at: i64,
}

/// The rows of an account in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// Their table.
    pub kind: Kind,
    /// Their state.
    pub state: State,
    /// How many.
    pub rows: u64,
    /// The sum of their amounts, in minor units of whichever currencies.
    pub amount: i64,
    /// When the oldest was enqueued.
    pub oldest: i64,
    /// The earliest time at which one of them is due.
    pub next_due: Option<i64>,
    /// How many were settled since the time that was asked for.
    pub lately: u64,
}

/// Rows that need a person for the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Their table.
    pub kind: Kind,
    /// Their state.
    pub state: State,
    /// Why.
    pub why: Option<String>,
    /// Klarna's `error_code`.
    pub error_code: Option<String>,
    /// How many.
    pub rows: u64,
    /// The sum of their amounts.
    pub amount: i64,
    /// Since when the oldest needs a person.
    pub since: i64,
    /// The order of one of them.
    pub order_id: String,
    /// Its name there.
    pub reference: String,
}

/// Which rows to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Those of this account alone.
    pub account: Option<String>,
    /// Those of this order alone.
    pub order_id: Option<String>,
    /// Those with this name alone.
    pub reference: Option<String>,
    /// Those in this state alone.
    pub state: Option<State>,
    /// Those that need a person alone.
    pub needs_a_person: bool,
    /// Those behind this number.
    pub after: i64,
    /// No more than so many; 0 is no limit.
    pub most: usize,
}

/// A row with all that a person may see. The fields of its request are customers' data, and not among it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the columns of the table, which documents them")]
pub struct Line {
    pub kind: Kind,
    pub id: i64,
    pub account: String,
    pub order_id: String,
    pub reference: String,
    pub amount: i64,
    pub enqueued_at: i64,
    pub state: State,
    pub due_at: Option<i64>,
    pub sends: u64,
    pub tries: u32,
    pub maybe: bool,
    pub last_sent_at: Option<i64>,
    pub looked_at: Option<i64>,
    pub idempotency_key: Option<String>,
    pub done_as: Option<String>,
    pub correlation_id: Option<String>,
    pub settled_at: Option<i64>,
    pub settled_by: Option<String>,
    pub alert_at: Option<i64>,
    pub why: Option<String>,
    pub http_status: Option<u16>,
    pub error_code: Option<String>,
    pub note: Option<String>,
    pub is_wiped: bool,
}

/// A person's word about a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The word.
    pub word: Word,
    /// The person who says so.
    pub by: String,
    /// Why, for those who read it later.
    pub note: Option<String>,
}

/// A part of the rows was gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swept {
    /// The number of the last row that was looked at; none if there are no more, or none that is old enough: rows are
    /// numbered as they are enqueued, so a worker need not go through all rows each hour.
    pub last: Option<i64>,
    /// How many rows were changed.
    pub rows: u64,
}

/// The questions and words of people about a ledger. Each method is one transaction.
pub trait Office: Store {
    /// The accounts, by name.
    ///
    /// # Errors
    ///
    /// They could not be read.
    fn accounts(&mut self) -> Result<Vec<Account>, Error>;

    /// Makes an account, unless there is one of that name. Gives whether it is new. `first_ever`: no order of this
    /// merchant can have been captured by other means; if that is said and not true, money may move twice.
    ///
    /// # Errors
    ///
    /// The name is none, or the account was not made.
    fn make_account(&mut self, account: &str, first_ever: bool) -> Result<bool, Error>;

    /// Sets the requests a second that workers of the account may make, and how many at once.
    ///
    /// # Errors
    ///
    /// There is no such account, or a number is none.
    fn set_rate(&mut self, account: &str, per_second: f64, burst: f64) -> Result<(), Error>;

    /// Binds an account that was bound before to other credentials, by the word of a person: a new key of the same
    /// merchant, or another address of Klarna's. At another address the rows that are there are looked for first.
    ///
    /// # Errors
    ///
    /// There is no such account, or a worker runs.
    fn rebind(&mut self, account: &str, base_url: &str, merchant: &str, by: &str) -> Result<(), Error>;

    /// The rows of an account by table and state. `since`: what counts as lately.
    ///
    /// # Errors
    ///
    /// They could not be read.
    fn counts(&mut self, account: &str, since: i64) -> Result<Vec<Count>, Error>;

    /// The rows of an account that need a person, by reason, the oldest first.
    ///
    /// # Errors
    ///
    /// They could not be read.
    fn alarms(&mut self, account: &str) -> Result<Vec<Alarm>, Error>;

    /// Rows of a table, by number.
    ///
    /// # Errors
    ///
    /// They could not be read.
    fn list(&mut self, kind: Kind, wanted: &Wanted) -> Result<Vec<Line>, Error>;

    /// The requests of a row, and the words of people about it, by time. They are gone some time after a row's end, and
    /// of a row that went well at once there are none.
    ///
    /// # Errors
    ///
    /// They could not be read.
    fn requests(&mut self, kind: Kind, id: i64) -> Result<Vec<Request>, Error>;

    /// How many of the entries the ledger has already, and which of them stand there with another content. Such a one
    /// cannot be enqueued.
    ///
    /// # Errors
    ///
    /// They could not be compared.
    fn compare(&mut self, kind: Kind, entries: &[Entry]) -> Result<(u64, Vec<usize>), Error>;

    /// Whether any number of workers may share this ledger.
    fn shares_work(&self) -> bool;

    /// Whether another process is the one worker that this ledger can have; in a ledger that many share, whether any was
    /// here in the last three minutes.
    ///
    /// # Errors
    ///
    /// The answer could not be read.
    fn has_worker(&mut self) -> Result<bool, Error>;

    /// Takes a person's word about a row, and notes who said it.
    ///
    /// # Errors
    ///
    /// There is no such row, or the word cannot be true or would be dangerous now. Nothing was changed.
    fn say(&mut self, kind: Kind, account: &str, order_id: &str, reference: &str, said: &Said) -> Result<State, Error>;

    /// Stops the account until somebody resumes it.
    ///
    /// # Errors
    ///
    /// There is no such account.
    fn pause(&mut self, account: &str) -> Result<(), Error>;

    /// Lets the account go on at once, also after a clock ran ahead and was set right. `nothing_lost`: the ledger is as it
    /// was, so its rows need not be looked for first. If that is said and not true, money may move twice.
    ///
    /// # Errors
    ///
    /// There is no such account.
    fn resume(&mut self, account: &str, nothing_lost: bool) -> Result<(), Error>;

    /// Ends a pause that workers made, so that one row tries at once whether the trouble is over. A person's pause stays.
    ///
    /// # Errors
    ///
    /// The ledger is as it was.
    fn probe(&mut self, account: &str) -> Result<(), Error>;

    /// Wipes the fields of requests (lines, tracking: customers' data) of rows behind the number `after` that are done or
    /// withdrawn for so long, or that a person has said of that they are not done.
    ///
    /// # Errors
    ///
    /// The ledger is as it was.
    fn wipe(&mut self, kind: Kind, age: Duration, after: i64) -> Result<Swept, Error>;

    /// Wipes all but a stub of such rows: order, reference, amount, Klarna's id, and times. A name must be remembered as
    /// long as it could be enqueued again.
    ///
    /// # Errors
    ///
    /// The ledger is as it was.
    fn purge(&mut self, kind: Kind, age: Duration, after: i64) -> Result<Swept, Error>;

    /// The engine in words, if the tables are whole; else what is wrong. It may read all of them.
    ///
    /// # Errors
    ///
    /// They could not be read.
    fn well(&mut self) -> Result<Result<String, String>, Error>;

    /// The ledger's clock.
    ///
    /// # Errors
    ///
    /// The answer could not be read.
    fn time(&mut self) -> Result<i64, Error>;
}
