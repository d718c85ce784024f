//! The tables of a ledger, whichever database they are in: the words of the tables, and the trait of an engine.
//!
//! The database's clock decides when a row is due. Times are whole milliseconds since 1970 (UTC).

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::policy::{Change, Claimed, State, Why};

/// The two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `takings_capture`.
    Capture,
    /// `takings_refund`.
    Refund,
}

impl Kind {
    /// Both, in the order in which their tables are named.
    pub const ALL: [Kind; 2] = [Kind::Capture, Kind::Refund];

    /// The name of its operation, which is also the word in `takings_attempt`.
    pub fn operation(self) -> &'static str {
        match self {
            Kind::Capture => "capture",
            Kind::Refund => "refund",
        }
    }

    /// The field of the amount, in the table as in Klarna's request.
    pub fn amount(self) -> &'static str {
        match self {
            Kind::Capture => "captured_amount",
            Kind::Refund => "refunded_amount",
        }
    }

    /// The word of a state in the table.
    pub fn word(self, state: State) -> &'static str {
        match (state, self) {
            (State::Queued, _) => "queued",
            (State::Sending, _) => "sending",
            (State::Unclear, _) => "unclear",
            (State::Done, Kind::Capture) => "captured",
            (State::Done, Kind::Refund) => "refunded",
            (State::Rejected, _) => "rejected",
            (State::Stuck, _) => "stuck",
            (State::Cancelled, _) => "cancelled",
        }
    }

    /// The state of a word in the table.
    pub fn state(self, word: &str) -> Option<State> {
        use State::{Cancelled, Done, Queued, Rejected, Sending, Stuck, Unclear};
        let states = [Queued, Sending, Unclear, Done, Rejected, Stuck, Cancelled];
        states.into_iter().find(|state| self.word(*state) == word)
    }
}

/// A row to enqueue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The account; `default` where there is one alone.
    pub account: String,
    /// The order.
    pub order_id: String,
    /// Its own name in the order.
    pub reference: String,
    /// Minor units.
    pub amount: i64,
    /// The other fields of Klarna's request, as a JSON object.
    pub request: Option<String>,
}

/// A row that a worker has until its lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its table.
    pub kind: Kind,
    /// Its number in the table.
    pub id: i64,
    /// The number of this claim: the fence.
    pub sends: u64,
    /// The order.
    pub order_id: String,
    /// Its own name in the order.
    pub reference: String,
    /// Minor units.
    pub amount: i64,
    /// The other fields of Klarna's request, as a JSON object.
    pub request: Option<String>,
    /// The key that a person gave it; else it is derived.
    pub idempotency_key: Option<String>,
    /// The facts by which the policy decides.
    pub row: Claimed,
    /// When it was claimed, by the ledger's clock.
    pub at: i64,
    /// The latest time that a worker saw in this ledger before.
    pub seen_at: i64,
}

/// A request of a call, for a person who has to see afterwards what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// When it was begun, by the worker's clock.
    pub at: i64,
    /// How long it took, in milliseconds.
    pub took_ms: i64,
    /// Method and URL.
    pub sent: String,
    /// The answer or the failure.
    pub came_back: String,
    /// The HTTP status, where there was an answer.
    pub http_status: Option<u16>,
    /// Klarna's `error_code`.
    pub error_code: Option<String>,
    /// Klarna's name for the request.
    pub correlation_id: Option<String>,
}

/// The end of a claim, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The table.
    pub kind: Kind,
    /// The row's number.
    pub id: i64,
    /// The row's order and name. A database that lost rows may give their numbers to others.
    pub order_id: String,
    /// Its own name in the order.
    pub reference: String,
    /// The number of the claim.
    pub sends: u64,
    /// When the claim was made, by the ledger's clock. A look began later.
    pub claimed_at: i64,
    /// Its new state.
    pub state: State,
    /// A request of it may have been carried out.
    pub maybe: bool,
    /// Only a look is left.
    pub refused: bool,
    /// Its place in the schedule.
    pub tries: u32,
    /// After which time it is due again; none if it is settled.
    pub due_in: Option<Duration>,
    /// A look did not find it.
    pub vouches: bool,
    /// A request of it was begun.
    pub was_sent: bool,
    /// Klarna's id of it, if it was carried out.
    pub done_as: Option<String>,
    /// Why it is as it is.
    pub why: Option<Why>,
    /// A person has to be told.
    pub alert: bool,
    /// One line for a person.
    pub note: Option<String>,
    /// The last answer.
    pub http_status: Option<u16>,
    /// Klarna's `error_code` in it.
    pub error_code: Option<String>,
    /// Klarna's name for it.
    pub correlation_id: Option<String>,
    /// The requests of the claim.
    pub requests: Vec<Request>,
}

/// What became of a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It stands in the row.
    Written,
    /// The worker no longer had the row, so nothing was written.
    Stale,
    /// Another transaction has the row locked, so nothing was written yet. The same is to be written again.
    Locked,
    /// The row was carried out under another id before. A person is told.
    AnotherId,
}

/// A row as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number in the table.
    pub id: i64,
    /// Its state.
    pub state: State,
    /// When something is to be done about it.
    pub due_at: Option<i64>,
    /// The claims so far.
    pub sends: u64,
    /// The unclear ends so far.
    pub tries: u32,
    /// A request of it may have been carried out.
    pub maybe: bool,
    /// Klarna's id of it, if it was carried out.
    pub done_as: Option<String>,
    /// Why it is as it is.
    pub why: Option<String>,
    /// Since when a person should know of it.
    pub alert_at: Option<i64>,
    /// When the last look began that did not find it.
    pub looked_at: Option<i64>,
}

/// Why a ledger cannot be used, or did not do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// One line for a person.
    pub message: String,
    /// Whether the same can end differently later, in this process.
    pub retryable: bool,
}

impl Error {
    pub(crate) fn refused(message: impl Into<String>) -> Error {
        Error { message: message.into(), retryable: false }
    }

    /// There is no such account, and how one is made.
    #[must_use]
    pub fn no_account(account: &str) -> Error {
        Error::refused(format!("the ledger has no account {account}; takings account add {account} makes it"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Checks the name of a new account, which shops write into rows and people type.
///
/// # Errors
///
/// It is none.
pub fn check_account(name: &str) -> Result<(), Error> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    match (1..=64).contains(&name.len()) && name.chars().all(is_name) {
        true => Ok(()),
        false => Err(Error::refused(format!(
            "{name:?} is no name of an account; it must be 1 to 64 letters, digits and - _ ."
        ))),
    }
}

/// Checks the rate of an account.
///
/// # Errors
///
/// It is none.
pub fn check_rate(per_second: f64, burst: f64) -> Result<(), Error> {
    match per_second.is_finite() && per_second > 0.0 && burst.is_finite() && burst >= 1.0 {
        true => Ok(()),
        false => Err(Error::refused("a rate is more than 0 requests a second, and at least 1 at once")),
    }
}

/// The requests that an account lets through at once after a time without any, where nobody says how many. With its rate
/// of 180 a second they stay below the 200 that Klarna takes in a second, also where some requests are late.
#[must_use]
pub fn usual_burst(per_second: f64) -> f64 {
    (per_second / 12.0).max(1.0)
}

/// How a worker paces its transactions: where one costs more, more rows share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How long ends are gathered at most. They are written at once where nothing else is under way.
    pub gather: Duration,
    /// How soon rows are asked for again, while there was work a moment ago and the rate let nothing through.
    pub again: Duration,
}

/// An engine. Each method is one transaction: an error means that nothing of it was done.
pub trait Store: Send {
    /// How a worker paces its transactions.
    fn pace(&self) -> Pace;

    /// Makes this process one that claims. An engine on a file takes the file's lock; rows of a worker that died are
    /// then due at once.
    ///
    /// # Errors
    ///
    /// Another worker has the ledger.
    fn become_worker(&mut self) -> Result<(), Error>;

    /// Binds the account to the place and the merchant that the worker's credentials are for. The first worker does so.
    ///
    /// # Errors
    ///
    /// There is no such account, or it is bound to another place.
    fn bind(&mut self, account: &str, base_url: &str, merchant: &str) -> Result<(), Error>;

    /// Enqueues rows, all or none. Gives for each whether it is new: the same again does nothing.
    ///
    /// # Errors
    ///
    /// A row is none, or its name stands for another content.
    fn enqueue(&mut self, kind: Kind, entries: &[Entry]) -> Result<Vec<bool>, Error>;

    /// Takes rows that are due, at most `most`, and no more than the account's rate lets through: none while it is
    /// paused, one at a time while it is in trouble.
    ///
    /// # Errors
    ///
    /// Nothing was claimed, so nothing may be sent.
    fn claim(&mut self, account: &str, most: usize, lease: Duration) -> Result<Vec<Claim>, Error>;

    /// Writes how claims ended. Success is always written; anything else by the row's holder alone.
    ///
    /// # Errors
    ///
    /// Nothing was written; the same can be written later.
    fn settle(&mut self, ends: &[Settlement]) -> Result<Vec<Kept>, Error>;

    /// Changes the account for every worker. A pause for Klarna's limit also slows it, by [`crate::policy::Rate`], and is
    /// no trouble.
    ///
    /// # Errors
    ///
    /// The ledger is as it was.
    fn change(&mut self, account: &str, change: Change) -> Result<(), Error>;

    /// Says that this ledger was restored, or that other rows may be missing. Every row that is open now or is enqueued
    /// in the next 30 days is then looked for first.
    ///
    /// # Errors
    ///
    /// The ledger is as it was.
    fn restored(&mut self) -> Result<(), Error>;

    /// The row of that name.
    ///
    /// # Errors
    ///
    /// The answer could not be read.
    fn find(&mut self, kind: Kind, account: &str, order_id: &str, reference: &str) -> Result<Option<Record>, Error>;

    /// How many rows of the account are not settled.
    ///
    /// # Errors
    ///
    /// They could not be read.
    fn open_rows(&mut self, account: &str) -> Result<u64, Error>;

    /// How long nothing of the account is to be done: until the earliest of its rows is due, and the account is not
    /// paused. None if no row is open.
    ///
    /// # Errors
    ///
    /// They could not be read.
    fn quiet(&mut self, account: &str) -> Result<Option<Duration>, Error>;
}

/// A store that the workers of several accounts share in one process. The process becomes the worker before.
pub struct Shared<'a, 'b, S: ?Sized>(&'a Mutex<&'b mut S>);

impl<'a, 'b, S: ?Sized> Shared<'a, 'b, S> {
    /// Shares the store.
    pub fn new(store: &'a Mutex<&'b mut S>) -> Shared<'a, 'b, S> {
        Shared(store)
    }

    fn held(&self) -> MutexGuard<'a, &'b mut S> {
        // Each transaction of an engine is whole, also where a thread died in it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: ?Sized> Copy for Shared<'_, '_, S> {}

impl<S: ?Sized> Clone for Shared<'_, '_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: ?Sized> fmt::Debug for Shared<'_, '_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

impl<S: Store + ?Sized> Store for Shared<'_, '_, S> {
    fn pace(&self) -> Pace {
        self.held().pace()
    }

    /// The process is the worker already. Rows that another account's thread has must stay its own.
    fn become_worker(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn bind(&mut self, account: &str, base_url: &str, merchant: &str) -> Result<(), Error> {
        self.held().bind(account, base_url, merchant)
    }

    fn enqueue(&mut self, kind: Kind, entries: &[Entry]) -> Result<Vec<bool>, Error> {
        self.held().enqueue(kind, entries)
    }

    fn claim(&mut self, account: &str, most: usize, lease: Duration) -> Result<Vec<Claim>, Error> {
        self.held().claim(account, most, lease)
    }

    fn settle(&mut self, ends: &[Settlement]) -> Result<Vec<Kept>, Error> {
        self.held().settle(ends)
    }

    fn change(&mut self, account: &str, change: Change) -> Result<(), Error> {
        self.held().change(account, change)
    }

    fn restored(&mut self) -> Result<(), Error> {
        self.held().restored()
    }

    fn find(&mut self, kind: Kind, account: &str, order_id: &str, reference: &str) -> Result<Option<Record>, Error> {
        self.held().find(kind, account, order_id, reference)
    }

    fn open_rows(&mut self, account: &str) -> Result<u64, Error> {
        self.held().open_rows(account)
    }

    fn quiet(&mut self, account: &str) -> Result<Option<Duration>, Error> {
        self.held().quiet(account)
    }
}
