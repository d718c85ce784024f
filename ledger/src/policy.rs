//! The decisions about a row: whether it may be sent, and the state that an end leaves. Neither clock nor SQL is in here.
//!
//! The rule for money: a row is sent only within [`VOUCHED`] of a moment at which it is known not to have been carried
//! out. Otherwise it is looked for first. Klarna keeps a key for 24 hours; the rest of them is margin for clocks.

use std::time::Duration;

/// How long after a vouched moment a row may be sent.
pub const VOUCHED: Duration = Duration::from_secs(12 * 60 * 60);

/// How long a request of a lost ledger may be under way. A look counts against such requests only after this time.
pub const QUIET: Duration = Duration::from_secs(10 * 60);

/// How far two clocks may differ.
pub const CLOCKS: Duration = Duration::from_secs(5 * 60);

/// After how many unclear ends nobody asks again by itself.
pub const MOST_TRIES: u32 = 10;

/// How many requests in a row end without an answer before the account is paused.
pub const NO_ANSWERS: u32 = 20;

/// How long Klarna's rate limit can stop an account. A longer pause may come from a header that makes no sense.
pub const LONGEST_LIMIT: Duration = Duration::from_secs(60 * 60);

const SECOND: Duration = Duration::from_secs(1);
const FIVE_SECONDS: Duration = Duration::from_secs(5);
const FIVE_MINUTES: Duration = Duration::from_secs(5 * 60);
const FIVE_HOURS: Duration = Duration::from_secs(5 * 60 * 60);

/// The state of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// No request of the row can have reached Klarna, or Klarna did not carry it out.
    Queued,
    /// A worker has it; its request may be on the wire.
    Sending,
    /// The row may have been carried out. A worker asks again, or looks.
    Unclear,
    /// Klarna carried it out: captured, or refunded.
    Done,
    /// Klarna refused it, and nothing unclear came before.
    Rejected,
    /// Only a person can tell.
    Stuck,
    /// Withdrawn before anything was sent.
    Cancelled,
}

impl State {
    /// Whether workers have nothing more to do with it.
    pub fn is_settled(self) -> bool {
        matches!(self, State::Done | State::Rejected | State::Stuck | State::Cancelled)
    }
}

/// Why a row or an account needs a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// Klarna refused it.
    Refused,
    /// Klarna refused it after a request whose end is not known, and a look did not find it.
    RefusedAfterUnclear,
    /// Several entries of the order have its reference and amount.
    Several,
    /// The order has its reference with another amount.
    AmountDiffers,
    /// Klarna refused the look.
    LookRefused,
    /// The row was asked for again and again, and its end is still not known.
    Unclear,
    /// The same, and no worker asks again by itself.
    GivenUp,
    /// The row is no request that takings would send.
    Invalid,
    /// Two requests of this row were answered with different ids.
    AnotherId,
    /// takings failed inside.
    Internal,
    /// Klarna refused the credentials.
    Credentials,
    /// The address answers, and not as Klarna's API.
    NotKlarna,
    /// Klarna asked for fewer requests.
    Limited,
    /// Nobody answers.
    NoAnswer,
    /// Two clocks differ.
    Clock,
    /// A person paused the account.
    Person,
}

impl Why {
    /// Every reason.
    pub const ALL: [Why; 16] = [
        Why::Refused,
        Why::RefusedAfterUnclear,
        Why::Several,
        Why::AmountDiffers,
        Why::LookRefused,
        Why::Unclear,
        Why::GivenUp,
        Why::Invalid,
        Why::AnotherId,
        Why::Internal,
        Why::Credentials,
        Why::NotKlarna,
        Why::Limited,
        Why::NoAnswer,
        Why::Clock,
        Why::Person,
    ];

    /// The word that stands in the tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Refused => "refused",
            Why::RefusedAfterUnclear => "refused_after_unclear",
            Why::Several => "several",
            Why::AmountDiffers => "amount_differs",
            Why::LookRefused => "look_refused",
            Why::Unclear => "unclear",
            Why::GivenUp => "given_up",
            Why::Invalid => "invalid",
            Why::AnotherId => "another_id",
            Why::Internal => "internal",
            Why::Credentials => "credentials",
            Why::NotKlarna => "not_klarna",
            Why::Limited => "limited",
            Why::NoAnswer => "no_answer",
            Why::Clock => "clock",
            Why::Person => "person",
        }
    }
}

/// The facts of a row that a claim hands to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claimed {
    /// A request of it may have been carried out.
    pub maybe: bool,
    /// The ledger cannot vouch for it: another ledger, or one that was restored since, may have had it sent.
    pub unvouched: bool,
    /// Klarna refused it although an earlier request may have been carried out. Only a look is left.
    pub refused: bool,
    /// Its place in the schedule: the unclear ends so far.
    pub tries: u32,
    /// The time in milliseconds since a moment at which it is known not to have been carried out. None if there is no
    /// such moment; below 0 if a clock went back.
    pub vouched_age: Option<i64>,
    /// How often in a row the account was paused.
    pub trouble: u32,
}

/// The action of a worker with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The worker sends the request.
    Send,
    /// The worker looks whether the order shows it.
    Look,
}

/// Whether a claimed row is sent or looked for.
pub fn action(row: &Claimed) -> Action {
    let most = i64::try_from(VOUCHED.as_millis()).unwrap_or(i64::MAX);
    match row.vouched_age {
        Some(age) if !row.refused && (0..most).contains(&age) => Action::Send,
        _ => Action::Look,
    }
}

/// Whether a row may have been carried out, from the moment it is claimed. `state` is the one before the claim: a row
/// that another worker had ([`State::Sending`]) may have been sent by it.
pub fn maybe_when_claimed(state: State, maybe: bool) -> bool {
    maybe || state == State::Sending
}

/// The moments of a row and its account, in milliseconds since 1970 by the ledger's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moments {
    /// The present one.
    pub now: i64,
    /// When the row was enqueued.
    pub enqueued_at: i64,
    /// When the last look began that did not find it.
    pub looked_at: Option<i64>,
    /// The ledger cannot vouch for rows that were enqueued before this moment.
    pub look_until: i64,
    /// When the ledger was made, or restored.
    pub look_since: i64,
}

impl Moments {
    /// [`Claimed::vouched_age`]. After a look the row's own time counts no more: it may come from a clock that was wrong.
    pub fn vouched_age(&self) -> Option<i64> {
        let enqueued = Some(self.enqueued_at).filter(|at| *at >= self.look_until);
        self.looked_at.or(enqueued).map(|at| self.now.saturating_sub(at))
    }

    /// [`Claimed::unvouched`]. A look that began at least [`QUIET`] after the ledger was made has seen all that a lost
    /// ledger had sent.
    pub fn is_unvouched(&self) -> bool {
        let quiet = i64::try_from(QUIET.as_millis()).unwrap_or(i64::MAX);
        let seen_all = self.look_since.saturating_add(quiet);
        self.enqueued_at < self.look_until && self.looked_at.is_none_or(|at| at < seen_all)
    }

    /// The time in milliseconds since a request of the row may have been begun; below 0 while a lease of it may still
    /// run. A lost ledger may have begun one until this ledger took its place.
    pub fn quiet(&self, last_sent_at: Option<i64>) -> Option<i64> {
        let lost = Some(self.look_since).filter(|_| self.is_unvouched());
        last_sent_at.max(lost).map(|at| self.now.saturating_sub(at))
    }
}

/// Whether a worker's word counts. `current`: the row as it stands; `sends`: the claim of which the worker speaks.
///
/// That it was carried out always counts. Anything else counts while the worker still has the row.
pub fn counts(current: State, current_sends: u64, sends: u64, new: State) -> bool {
    let is_holder = current == State::Sending && current_sends == sends;
    is_holder || (new == State::Done && current != State::Done)
}

/// Whether a request may leave now: less than half of the lease is over by both clocks.
pub fn is_fresh(lease: Duration, steady: Duration, wall: Option<Duration>) -> bool {
    wall.is_some_and(|wall| steady < lease / 2 && wall < lease / 2)
}

/// Whether clocks allow to send: the ledger's clock and the worker's agree, and the ledger's has not gone back.
/// All are in milliseconds since 1970.
pub fn clocks_agree(ledger: i64, worker: i64, seen: i64) -> bool {
    let most = i64::try_from(CLOCKS.as_millis()).unwrap_or(i64::MAX);
    ledger.abs_diff(worker) <= most.unsigned_abs() && ledger >= seen.saturating_sub(most)
}

/// How one claim ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Klarna carried it out. The id is empty if Klarna named none.
    Done(String),
    /// Nothing of the request can have reached Klarna.
    NotSent,
    /// Klarna's rate limit, and how long it asks to wait.
    Limited(Option<Duration>),
    /// The credentials were refused, so nothing was carried out.
    Credentials,
    /// A refusal that is no error of Klarna's API.
    NotKlarna,
    /// Klarna refused it. `settles`: the refusal holds for every request with the same bytes.
    Refused {
        /// It speaks of the bytes, so no earlier request with them was carried out either.
        settles: bool,
    },
    /// It may have been carried out.
    Unclear,
    /// takings refused to send it.
    Invalid,
    /// takings failed inside.
    Internal,
    /// The worker sent nothing: it was told to stop, or too much of the lease was over.
    HandedBack,
    /// The worker looked.
    Looked(Looked),
}

/// How a look ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// It is there. The id is empty if Klarna named none.
    Once(String),
    /// It was not there when the look began.
    Never,
    /// Several have its reference and amount.
    Several,
    /// The reference is there with another amount.
    AmountDiffers,
    /// Klarna refused to show the order.
    Refused,
    /// Nobody answered, or not in a way that says anything.
    Unanswered,
    /// The look was not sent.
    NotSent,
    /// Klarna's rate limit, and how long it asks to wait.
    Limited(Option<Duration>),
    /// The credentials were refused.
    Credentials,
    /// An answer that is none of Klarna's API.
    NotKlarna,
}

/// When a row is due again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Never: the row is settled.
    Never,
    /// After this time, which a worker may lengthen by up to a quarter.
    After(Duration),
}

/// The news that an end has about the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// None.
    Nothing,
    /// Klarna answers.
    Answers,
    /// Nobody answered.
    NoAnswer,
    /// Nothing may be sent for a while.
    Pause(Duration, Why),
}

/// The row that an end leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Its state.
    pub state: State,
    /// Whether a request of it may have been carried out. Once true it stays true.
    pub maybe: bool,
    /// Whether only a look is left.
    pub refused: bool,
    /// Its place in the schedule.
    pub tries: u32,
    /// When it is due again.
    pub due: Due,
    /// The look did not find it: its beginning is a moment at which it had not been carried out.
    pub vouches: bool,
    /// Klarna's id of it, if it was carried out.
    pub id: Option<String>,
    /// Why it is as it is.
    pub why: Option<Why>,
    /// A person has to be told.
    pub alert: bool,
    /// The news about the account.
    pub account: News,
}

/// What an end makes of a row.
pub fn settle(row: &Claimed, end: End) -> Verdict {
    let back = Verdict {
        state: if row.maybe { State::Unclear } else { State::Queued },
        maybe: row.maybe,
        refused: row.refused,
        tries: row.tries,
        due: Due::After(Duration::ZERO),
        vouches: false,
        id: None,
        why: None,
        alert: false,
        account: News::Nothing,
    };
    let after = |time| Due::After(time);
    let stuck = |why| Verdict { state: State::Stuck, due: Due::Never, why: Some(why), alert: true, ..back.clone() };
    let done =
        |id| Verdict { state: State::Done, due: Due::Never, id: Some(id), account: News::Answers, ..back.clone() };
    // The account pauses as a whole, so a single row need not wait longer.
    let later = || SECOND.saturating_mul(1 << row.trouble.min(9)).min(FIVE_MINUTES);
    let limited = |asked: Option<Duration>| {
        let pause = asked.unwrap_or(FIVE_SECONDS).clamp(SECOND, LONGEST_LIMIT);
        Verdict {
            due: after(pause),
            why: Some(Why::Limited),
            account: News::Pause(pause, Why::Limited),
            ..back.clone()
        }
    };
    let barred = |why| {
        let account = News::Pause(FIVE_MINUTES, why);
        Verdict { due: after(FIVE_MINUTES), why: Some(why), account, ..back.clone() }
    };
    match end {
        End::Done(id) | End::Looked(Looked::Once(id)) => done(id),
        End::HandedBack => back,
        End::NotSent | End::Looked(Looked::NotSent) => {
            Verdict { due: after(later()), why: Some(Why::NoAnswer), account: News::NoAnswer, ..back }
        }
        End::Limited(asked) | End::Looked(Looked::Limited(asked)) => limited(asked),
        End::Credentials | End::Looked(Looked::Credentials) => barred(Why::Credentials),
        End::NotKlarna | End::Looked(Looked::NotKlarna) => barred(Why::NotKlarna),
        End::Refused { settles } if settles || !(row.maybe || row.unvouched) => Verdict {
            state: State::Rejected,
            due: Due::Never,
            why: Some(Why::Refused),
            alert: true,
            account: News::Answers,
            ..back
        },
        End::Refused { .. } => {
            Verdict { refused: true, why: Some(Why::RefusedAfterUnclear), account: News::Answers, ..back }
        }
        End::Unclear => scheduled(Verdict { maybe: true, state: State::Unclear, ..back }, News::NoAnswer),
        End::Internal => {
            let verdict = scheduled(Verdict { maybe: true, state: State::Unclear, ..back }, News::Nothing);
            let why = if verdict.state == State::Stuck { verdict.why } else { Some(Why::Internal) };
            Verdict { alert: true, why, ..verdict }
        }
        End::Invalid => stuck(Why::Invalid),
        End::Looked(Looked::Never) if row.refused && row.maybe => {
            Verdict { account: News::Answers, ..stuck(Why::RefusedAfterUnclear) }
        }
        // A request of a lost ledger may still be under way, so the refusal is believed after a later look.
        End::Looked(Looked::Never) if row.refused && row.unvouched => {
            Verdict { vouches: true, due: after(QUIET), why: Some(Why::Refused), account: News::Answers, ..back }
        }
        End::Looked(Looked::Never) if row.refused => Verdict {
            state: State::Rejected,
            due: Due::Never,
            why: Some(Why::Refused),
            alert: true,
            account: News::Answers,
            ..back
        },
        End::Looked(Looked::Never) => Verdict { vouches: true, account: News::Answers, ..back },
        End::Looked(Looked::Several) => Verdict { account: News::Answers, ..stuck(Why::Several) },
        End::Looked(Looked::AmountDiffers) => Verdict { account: News::Answers, ..stuck(Why::AmountDiffers) },
        End::Looked(Looked::Refused) => Verdict { account: News::Answers, ..stuck(Why::LookRefused) },
        End::Looked(Looked::Unanswered) => scheduled(back, News::NoAnswer),
    }
}

/// The next place in the schedule: after 5 s, 5 min and 5 h, then every 5 h, and a person is told.
fn scheduled(row: Verdict, account: News) -> Verdict {
    let tries = row.tries.saturating_add(1);
    let due = match tries {
        1 => FIVE_SECONDS,
        2 => FIVE_MINUTES,
        _ => FIVE_HOURS,
    };
    let row = Verdict { tries, due: Due::After(due), why: Some(Why::Unclear), account, alert: tries > 3, ..row };
    match tries {
        MOST_TRIES.. => Verdict { state: State::Stuck, due: Due::Never, why: Some(Why::GivenUp), ..row },
        _ => row,
    }
}

/// The word of a person about a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// It was carried out, under this id of Klarna's.
    Done(String),
    /// It was not carried out, and shall not be.
    NotDone,
    /// It shall be sent again, under this new key, once a look has not found it.
    SendAgain(String),
    /// It shall not be sent. Nothing of it ever was.
    Withdraw,
}

/// The rate of an account: how many requests its workers may make each second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// The rate that the account was given.
    pub full: f64,
    /// The rate that Klarna's limit left of it, and when that was, in milliseconds since 1970.
    pub slowed: Option<(f64, i64)>,
}

impl Rate {
    /// The present rate. Each minute without Klarna's limit gives back 1 % of the full rate.
    pub fn at(&self, now: i64) -> f64 {
        self.slowed.map_or(self.full, |(left, since)| {
            let minutes = now.saturating_sub(since).max(0) as f64 / 60_000.0;
            self.full.min(left + self.full * 0.01 * minutes)
        })
    }

    /// The rate after Klarna's limit was met: four fifths of the present one, and never none.
    pub fn slower(&self, now: i64) -> Rate {
        let least = self.full.min(1.0);
        Rate { slowed: Some(((self.at(now) * 0.8).max(least), now)), ..*self }
    }
}

/// The facts of a row by which a person's word is taken or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its state.
    pub state: State,
    /// A request of it may have been carried out.
    pub maybe: bool,
    /// [`Moments::is_unvouched`].
    pub unvouched: bool,
    /// [`Moments::quiet`].
    pub quiet: Option<i64>,
    /// Klarna's id of it, if it was carried out.
    pub done_as: Option<String>,
    /// The fields of its request were wiped.
    pub is_wiped: bool,
}

/// The state that a person's word leaves, or why it is not taken.
///
/// # Errors
///
/// One line for the person. The row stays as it is.
pub fn heed(row: &Standing, word: &Word) -> Result<State, &'static str> {
    let quiet = i64::try_from(QUIET.as_millis()).unwrap_or(i64::MAX);
    let is_under_way = row.state == State::Sending || row.quiet.is_some_and(|time| time < quiet);
    match (word, row.state) {
        (Word::Done(id), State::Done) if row.done_as.as_ref() == Some(id) => Ok(State::Done),
        (_, State::Done) => Err("it is done under another word or id, and that is final"),
        (_, State::Cancelled) if !matches!(word, Word::Done(_)) => {
            Err("it was withdrawn, and that is final; enqueue it under another reference")
        }
        (Word::Done(id), _) if id.is_empty() => Err("Klarna's id of it is missing"),
        (Word::Done(_), _) => Ok(State::Done),
        (Word::Withdraw, State::Queued) if row.unvouched => Err(
            "this ledger is new or was restored, so another one may have sent it; look at the order, and then say that it \
             is not done, or that it is",
        ),
        (Word::Withdraw, State::Queued) if !row.maybe => Ok(State::Cancelled),
        (Word::Withdraw, _) => Err("something of it may have been sent, so it cannot be withdrawn"),
        _ if is_under_way => Err(
            "a request of it may still be under way; say so again ten minutes after its last request, or after this \
             ledger took another one's place",
        ),
        (Word::NotDone, State::Queued) if !row.unvouched => Err("it waits to be sent; withdraw it instead"),
        (Word::NotDone, _) => Ok(State::Rejected),
        (Word::SendAgain(_), State::Queued) => Err("it waits to be sent already"),
        (Word::SendAgain(_), _) if row.is_wiped => Err(
            "the fields of its request were wiped; enqueue it under another reference, once you know it is not done",
        ),
        (Word::SendAgain(_), _) => Ok(if row.maybe { State::Unclear } else { State::Queued }),
    }
}

/// Counts the requests of one worker that nobody answered, and pauses the account.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    unanswered: u32,
}

/// A change of the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Klarna answers again: no trouble any more.
    Recovered,
    /// Nothing may be sent for this time; then one row at a time, until Klarna answers.
    Paused(Duration, Why),
}

impl Breaker {
    /// Takes the news of one end. `trouble`: how often in a row the account was paused, as the claim said.
    pub fn note(&mut self, news: News, trouble: u32) -> Option<Change> {
        match news {
            News::Nothing => None,
            News::Answers => {
                self.unanswered = 0;
                (trouble > 0).then_some(Change::Recovered)
            }
            News::Pause(time, why) => {
                self.unanswered = 0;
                Some(Change::Paused(time, why))
            }
            News::NoAnswer => {
                self.unanswered += 1;
                // In trouble a single row probes, so each of them counts.
                if trouble == 0 && self.unanswered < NO_ANSWERS {
                    return None;
                }
                self.unanswered = 0;
                let pause = Duration::from_secs(30).saturating_mul(1 << trouble.min(4)).min(FIVE_MINUTES);
                Some(Change::Paused(pause, Why::NoAnswer))
            }
        }
    }
}
