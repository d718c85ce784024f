//! The worker: claims rows, sends them or looks for them, and writes how that ended.
//!
//! One thread has the store; the others send, each one request at a time. All calls of one order go through one thread,
//! since Klarna refuses two at once. The worker makes no connection of its own but those of takings' client, installs no
//! signal handler and prints nothing.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use takings::{Attempt, Capture, Client, Config, ErrorKind, Found, Refund, Reply};

use crate::policy::{
    Action, Breaker, Change, Due, End, Looked, News, State, Why, action, clocks_agree, is_fresh, settle,
};
use crate::sqlite::{Clock, system_clock};
use crate::store::{Claim, Error, Kept, Kind, Request, Settlement, Store};

/// How long one client is used. Its memory of keys must not outlive what the ledger says of them.
const CLIENT_LIFE: Duration = Duration::from_secs(6 * 60 * 60);

/// After how many calls without success a client is made anew. Its memory may keep each of their keys, and takes no more
/// once 100,000 are undecided.
const CLIENT_OPEN: u32 = 10_000;

/// How many ends are written at once.
const BATCH: usize = 500;

/// How often a worker that waits looks whether it has to stop.
const STOP: Duration = Duration::from_millis(100);

/// How long a worker that has to stop waits for rows that others have locked.
const LOCKED: Duration = Duration::from_secs(10);

/// How long a worker waits after the store failed.
const AGAIN: Duration = Duration::from_secs(1);

/// The options of a call. A row's `request` must have none of them: only the ledger knows of earlier uses of the key, and
/// only its worker how often and how long to try.
pub const OPTIONS: [&str; 6] = ["first_use", "first_used", "timeout_ms", "max_attempts", "look_first", "after_unclear"];

/// Hears how far the work is.
pub type Progress = Arc<dyn Fn(&Tally) + Send + Sync>;

/// How long a worker keeps threads that it does not need at the moment.
const KEEP: Duration = Duration::from_secs(1);

/// The threads that the workers of several accounts may have together, beside the first of each.
#[derive(Debug)]
pub struct Hands {
    free: AtomicUsize,
}

impl Hands {
    /// So many.
    #[must_use]
    pub fn new(most: usize) -> Hands {
        Hands { free: AtomicUsize::new(most) }
    }

    fn take(&self) -> bool {
        self.free.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |free| free.checked_sub(1)).is_ok()
    }

    fn give(&self) {
        self.free.fetch_add(1, Ordering::SeqCst);
    }
}

/// How a worker works.
#[derive(Clone)]
pub struct Settings {
    /// The account it works for.
    pub account: String,
    /// The merchant its credentials are for, as the ledger names it.
    pub merchant: String,
    /// How many requests are under way at once. Each has a thread, which is there while it is needed.
    pub hands: usize,
    /// The threads of all workers of a process, where there are several: none is no limit.
    pub together: Option<Arc<Hands>>,
    /// How long it has a row. An attempt must end within half of it.
    pub lease: Duration,
    /// How long it waits for one answer. Klarna's own limit is 59 s.
    pub timeout: Duration,
    /// How often it asks for rows when none was due.
    pub idle: Duration,
    /// It ends once nothing is to be done for so long: [`Duration::MAX`] is once every row is settled.
    pub until_quiet: Option<Duration>,
    /// Told now and then how far the work is, by the thread that has the store.
    pub progress: Option<Progress>,
    /// The worker's clock, which must agree with the ledger's.
    pub clock: Clock,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            account: "default".into(),
            merchant: String::new(),
            hands: 64,
            together: None,
            lease: Duration::from_secs(180),
            timeout: Duration::from_secs(65),
            idle: Duration::from_secs(1),
            until_quiet: None,
            progress: None,
            clock: Arc::new(system_clock),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("account", &self.account).field("hands", &self.hands).finish_non_exhaustive()
    }
}

/// The work of a worker, in ends of claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Captured or refunded.
    pub done: u64,
    /// Refused by Klarna.
    pub rejected: u64,
    /// Left to a person.
    pub stuck: u64,
    /// Claims after which the row is due again.
    pub again: u64,
    /// Words that came too late to count.
    pub stale: u64,
    /// Why the ledger takes nothing now, so that nothing is sent. The worker tries again by itself.
    pub trouble: Option<String>,
}

/// Works off the rows of an account until `stop` is set. Then it claims nothing more, hands back what was not sent, waits
/// for what is under way, and writes how that ended.
///
/// # Errors
///
/// The settings, the ledger or its account do not allow to work, or the ledger is lost. Rows that were under way come
/// back when their leases end.
pub fn work(
    store: &mut (impl Store + ?Sized),
    config: Config,
    settings: &Settings,
    stop: &AtomicBool,
) -> Result<Tally, Error> {
    if settings.hands == 0 || settings.timeout >= settings.lease / 2 {
        return Err(Error::refused("a worker needs a hand, and a lease of more than twice its time-out"));
    }
    let clients = Clients::new(config, settings.timeout)?;
    let base_url = clients.now().base_url().to_owned();
    store.become_worker()?;
    store.bind(&settings.account, &base_url, &settings.merchant)?;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let (clients, is_over) = (&clients, &is_over);
        let start = move || {
            let (give, given) = mpsc::channel();
            let hand = Hand { clients, settings, stop, is_over };
            let tell = tell.clone();
            thread::Builder::new().spawn_scoped(scope, move || hand.run(&given, &tell)).map(|_| give)
        };
        let mut desk = Desk {
            store,
            settings,
            stop,
            rota: Rota::default(),
            start: Box::new(start),
            hands: Vec::new(),
            allowed: 0,
            peak: 0,
            trimmed: Instant::now(),
            told,
            under_way: 0,
            unwritten: Vec::new(),
            locked: None,
            breaker: Breaker::default(),
            changes: Vec::new(),
            tally: Tally::default(),
        };
        let result = desk.run();
        desk.hands.clear();
        desk.give_back_hands();
        // Hands whose words nobody will write begin nothing more.
        is_over.store(true, Ordering::SeqCst);
        result.map(|()| desk.tally)
    })
}

/// A claim on its way to a hand.
struct Job {
    claim: Claim,
    /// When it was claimed, by both clocks.
    since: Duration,
    wall: i64,
}

/// How a claim ended, with what a person may ask for.
struct Ended {
    claim: Claim,
    end: End,
    was_sent: bool,
    note: Option<String>,
    http_status: Option<u16>,
    error_code: Option<String>,
    correlation_id: Option<String>,
    requests: Vec<Request>,
}

/// The thread that has the store.
struct Desk<'a, S: Store + ?Sized> {
    store: &'a mut S,
    settings: &'a Settings,
    stop: &'a AtomicBool,
    rota: Rota,
    /// Starts a thread that sends.
    start: Box<dyn Fn() -> std::io::Result<Sender<Job>> + 'a>,
    hands: Vec<Sender<Job>>,
    /// How many threads it may have now.
    allowed: usize,
    /// The most requests that were under way at once since threads were last ended.
    peak: usize,
    trimmed: Instant,
    told: Receiver<Ended>,
    under_way: usize,
    /// Ends that the store has not taken yet, with the news about the account and its trouble at the claim.
    unwritten: Vec<(Settlement, News, u32)>,
    /// Since when rows of such ends have been locked by others.
    locked: Option<Instant>,
    breaker: Breaker,
    changes: Vec<Change>,
    tally: Tally,
}

impl<S: Store + ?Sized> Desk<'_, S> {
    fn run(&mut self) -> Result<(), Error> {
        let mut next = Instant::now();
        let mut last_work: Option<Instant> = None;
        loop {
            let is_stopped = self.stop.load(Ordering::SeqCst);
            if is_stopped && self.under_way == 0 && self.unwritten.is_empty() && self.changes.is_empty() {
                return Ok(());
            }
            // Ends go first: a row that is written late may be claimed by somebody else.
            if let Some(error) = self.write()? {
                self.tell(Some(error));
                next = Instant::now() + AGAIN;
            } else if !is_stopped && self.under_way < self.settings.hands && Instant::now() >= next {
                self.ask_for_hands();
                let claimed = self.claim();
                self.give_back_hands();
                self.tell(claimed.as_ref().err().filter(|error| error.retryable).cloned());
                next = match claimed {
                    Ok(0) if self.is_quiet() => return Ok(()),
                    // The rate may have let nothing through, and will in a moment.
                    Ok(0) if last_work.is_some_and(|at| at.elapsed() < self.settings.idle) => {
                        Instant::now() + self.store.pace().again
                    }
                    Ok(0) => Instant::now() + self.settings.idle.mul_f64(0.75 + 0.5 * chance()),
                    Ok(_) => *last_work.insert(Instant::now()),
                    Err(error) if error.retryable => Instant::now() + AGAIN,
                    Err(error) => return Err(error),
                };
            }
            self.gather(next);
            self.trim();
        }
    }

    /// Asks for as many threads as it may ever have, for the length of a claim.
    fn ask_for_hands(&mut self) {
        let is_allowed = || self.settings.together.as_ref().is_none_or(|together| together.take());
        while self.allowed < self.settings.hands && (self.allowed == 0 || is_allowed()) {
            self.allowed += 1;
        }
    }

    /// Gives back what it has no threads for.
    fn give_back_hands(&mut self) {
        let needed = self.hands.len().max(1);
        if let Some(together) = &self.settings.together {
            (needed..self.allowed).for_each(|_| together.give());
        }
        self.allowed = self.allowed.min(needed);
    }

    /// Ends threads that were not needed for a while.
    fn trim(&mut self) {
        if self.trimmed.elapsed() < KEEP {
            return;
        }
        while self.hands.len() > self.peak && self.rota.dismiss() {
            self.hands.pop();
        }
        self.give_back_hands();
        (self.peak, self.trimmed) = (self.under_way, Instant::now());
    }

    /// Tells of the ledger's trouble, once while it lasts, and of its end.
    fn tell(&mut self, error: Option<Error>) {
        let trouble = error.map(|error| error.message);
        if trouble.is_some() != self.tally.trouble.is_some() {
            self.tally.trouble = trouble;
            self.report();
        }
    }

    fn report(&self) {
        if let Some(progress) = &self.settings.progress {
            progress(&self.tally);
        }
    }

    fn is_quiet(&mut self) -> bool {
        let Some(long) = self.settings.until_quiet else { return false };
        let is_idle = self.under_way == 0 && self.unwritten.is_empty();
        is_idle && self.store.quiet(&self.settings.account).is_ok_and(|time| time.is_none_or(|time| time > long))
    }

    /// Claims as many rows as there are free hands.
    fn claim(&mut self) -> Result<usize, Error> {
        // Both clocks are read before the claim, so that a lease never seems to have begun later than it did.
        let (since, wall) = (boot(), (self.settings.clock)());
        let free = self.allowed.saturating_sub(self.under_way);
        if free == 0 {
            return Ok(0);
        }
        let claims = self.store.claim(&self.settings.account, free, self.settings.lease)?;
        let count = claims.len();
        let after = (self.settings.clock)();
        for claim in claims {
            self.under_way += 1;
            // The claim may have taken long, where the machine slept: any time of it will do.
            let nearest = claim.at.clamp(wall, wall.max(after));
            if !clocks_agree(claim.at, nearest, claim.seen_at) {
                self.changes.push(Change::Paused(Duration::from_secs(5 * 60), Why::Clock));
                let ended = Ended::without_request(claim, End::HandedBack, "two clocks differ, so nothing is sent");
                self.take(ended);
                continue;
            }
            let hand = self.rota.choose(&claim.order_id, self.allowed);
            if hand == self.hands.len() {
                match (self.start)() {
                    Ok(hand) => self.hands.push(hand),
                    Err(why) if self.hands.is_empty() => {
                        return Err(Error::refused(format!("no thread could be started: {why}")));
                    }
                    Err(_) => {
                        self.rota.free(&claim.order_id);
                        self.rota.dismiss();
                        self.take(Ended::without_request(claim, End::HandedBack, "no thread could be started"));
                        continue;
                    }
                }
            }
            if self.hands[hand].send(Job { claim, since, wall }).is_err() {
                return Err(Error::refused("a thread of the worker ended early"));
            }
        }
        self.changes.dedup();
        self.peak = self.peak.max(self.under_way);
        Ok(count)
    }

    /// Waits for an end: no longer than to the next claim, unless all hands are busy. Then gathers those that follow
    /// soon, since each write costs a commit.
    fn gather(&mut self, next: Instant) {
        let free = self.under_way < self.settings.hands && !self.stop.load(Ordering::SeqCst);
        let wait = if free { next.saturating_duration_since(Instant::now()).min(STOP) } else { STOP };
        match self.told.recv_timeout(wait) {
            Ok(ended) => self.hear(ended),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
        let now = Instant::now();
        let mut end = now + self.store.pace().gather;
        if free && next > now {
            // The rate allows little at once, so the next claim must not be late.
            end = end.min(next);
        }
        while self.unwritten.len() < BATCH && self.under_way > 0 {
            match self.told.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(ended) => self.hear(ended),
                Err(_) => return,
            }
        }
    }

    /// Takes the end that a hand tells.
    fn hear(&mut self, ended: Ended) {
        self.rota.free(&ended.claim.order_id);
        self.take(ended);
    }

    fn take(&mut self, ended: Ended) {
        self.under_way -= 1;
        let Claim { row, kind, id, order_id, reference, sends, at, .. } = ended.claim;
        let verdict = settle(&row, ended.end);
        let due_in = match verdict.due {
            Due::Never => None,
            Due::After(time) => Some(time.mul_f64(1.0 + 0.25 * chance())),
        };
        let settlement = Settlement {
            kind,
            id,
            order_id,
            reference,
            sends,
            claimed_at: at,
            state: verdict.state,
            maybe: verdict.maybe,
            refused: verdict.refused,
            tries: verdict.tries,
            due_in,
            vouches: verdict.vouches,
            was_sent: ended.was_sent,
            done_as: verdict.id,
            why: verdict.why,
            alert: verdict.alert,
            note: ended.note,
            http_status: ended.http_status,
            error_code: ended.error_code,
            correlation_id: ended.correlation_id,
            requests: ended.requests,
        };
        self.unwritten.push((settlement, verdict.account, row.trouble));
    }

    /// Writes what there is to write. Gives the store's error if it cannot take that now.
    fn write(&mut self) -> Result<Option<Error>, Error> {
        if !self.unwritten.is_empty() {
            let ends: Vec<Settlement> = self.unwritten.iter().map(|(end, ..)| end.clone()).collect();
            let (kept, failure) = match self.store.settle(&ends) {
                Ok(kept) => (kept.into_iter().map(Some).collect(), None),
                Err(error) if error.retryable => (Vec::new(), Some(error)),
                Err(_) => self.write_apart(&ends),
            };
            let mut kept = kept.into_iter();
            for (end, news, trouble) in std::mem::take(&mut self.unwritten) {
                let count = match (kept.next().flatten(), end.state) {
                    (None | Some(Kept::Locked), _) => {
                        self.unwritten.push((end, news, trouble));
                        continue;
                    }
                    (Some(Kept::Stale), _) => &mut self.tally.stale,
                    (Some(Kept::AnotherId), _) => &mut self.tally.stuck,
                    (Some(Kept::Written), State::Done) => &mut self.tally.done,
                    (Some(Kept::Written), State::Rejected) => &mut self.tally.rejected,
                    (Some(Kept::Written), State::Stuck) => &mut self.tally.stuck,
                    (Some(Kept::Written), _) => &mut self.tally.again,
                };
                *count += 1;
                self.changes.extend(self.breaker.note(news, trouble));
            }
            // Many rows of one claim meet the same trouble. It is one trouble of the account.
            self.changes.dedup();
            let is_locked = failure.is_none() && !self.unwritten.is_empty();
            self.locked = if is_locked { self.locked.or_else(|| Some(Instant::now())) } else { None };
            match failure {
                None if self.locked.is_some_and(|since| since.elapsed() >= LOCKED)
                    && self.stop.load(Ordering::SeqCst) =>
                {
                    return Err(Error {
                        message: "the ledger: rows are locked by another transaction, so their ends are not written; they are \
                                  looked for later"
                            .into(),
                        retryable: true,
                    });
                }
                None => self.report(),
                // A worker that has to stop does not wait for a disk with room: leases end by themselves.
                Some(error) if error.retryable && !self.stop.load(Ordering::SeqCst) => return Ok(Some(error)),
                Some(error) => return Err(error),
            }
        }
        while let Some(change) = self.changes.first() {
            match self.store.change(&self.settings.account, *change) {
                Ok(()) => drop(self.changes.remove(0)),
                Err(error) if error.retryable && !self.stop.load(Ordering::SeqCst) => return Ok(Some(error)),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Writes each end by itself after all together were refused for good: no end may be lost by the trouble of another. An
    /// end that is refused alone is written without its words. Gives what became of the first ones, none for an end that
    /// is not written, and the error.
    fn write_apart(&mut self, ends: &[Settlement]) -> (Vec<Option<Kept>>, Option<Error>) {
        let (mut all, mut failure) = (Vec::with_capacity(ends.len()), None);
        for end in ends {
            let kept = self.store.settle(std::slice::from_ref(end)).or_else(|error| {
                let wordless = Settlement {
                    note: None,
                    error_code: None,
                    correlation_id: None,
                    requests: Vec::new(),
                    ..end.clone()
                };
                if error.retryable { Err(error) } else { self.store.settle(&[wordless]) }
            });
            match kept {
                Ok(kept) => all.push(kept.first().copied()),
                Err(error) if error.retryable => return (all, Some(error)),
                Err(error) => {
                    all.push(None);
                    failure = Some(error);
                }
            }
        }
        (all, failure)
    }
}

/// The claims of the hands.
#[derive(Default)]
struct Rota {
    /// How many claims each hand has that there is.
    loads: Vec<usize>,
    /// The hand of each order under way, and how many claims it has of that order.
    orders: HashMap<String, (usize, usize)>,
}

impl Rota {
    /// Chooses a hand, and notes that it has one claim more. Two calls of an order at once would be refused with 409, so
    /// the hand that has the order takes it; else the first that has nothing to do, or a new one while fewer than `most`
    /// are there; else the hand that has least to do.
    fn choose(&mut self, order_id: &str, most: usize) -> usize {
        let idlest = || {
            let hand = (0..self.loads.len()).min_by_key(|hand| self.loads[*hand]);
            hand.filter(|hand| self.loads[*hand] == 0 || self.loads.len() >= most).unwrap_or(self.loads.len())
        };
        let (hand, count) = self.orders.get(order_id).copied().unwrap_or_else(|| (idlest(), 0));
        self.orders.insert(order_id.to_owned(), (hand, count + 1));
        if hand == self.loads.len() {
            self.loads.push(0);
        }
        self.loads[hand] += 1;
        hand
    }

    /// Forgets the last hand, if it has nothing to do.
    fn dismiss(&mut self) -> bool {
        self.loads.pop_if(|load| *load == 0).is_some()
    }

    /// Notes that a hand is done with a claim of this order.
    fn free(&mut self, order_id: &str) {
        let Some((hand, count)) = self.orders.get_mut(order_id) else { return };
        self.loads[*hand] -= 1;
        *count -= 1;
        if *count == 0 {
            self.orders.remove(order_id);
        }
    }
}

/// A thread that sends.
struct Hand<'a> {
    clients: &'a Clients,
    settings: &'a Settings,
    stop: &'a AtomicBool,
    is_over: &'a AtomicBool,
}

impl Hand<'_> {
    fn run(&self, given: &Receiver<Job>, tell: &Sender<Ended>) {
        while let Ok(job) = given.recv() {
            if self.is_over.load(Ordering::SeqCst) || tell.send(self.ended(job)).is_err() {
                return;
            }
        }
    }

    fn ended(&self, job: Job) -> Ended {
        let Job { claim, since, wall } = job;
        let is_fresh = || {
            let passed = (self.settings.clock)().checked_sub(wall).and_then(|passed| u64::try_from(passed).ok());
            is_fresh(self.settings.lease, boot().saturating_sub(since), passed.map(Duration::from_millis))
        };
        if self.stop.load(Ordering::SeqCst) {
            return Ended::without_request(claim, End::HandedBack, "the worker was told to stop");
        }
        match action(&claim.row) {
            _ if !is_fresh() => Ended::without_request(claim, End::HandedBack, "too much of the lease was over"),
            Action::Send => self.send(claim, is_fresh),
            Action::Look => self.look(claim),
        }
    }

    fn send(&self, claim: Claim, is_fresh: impl Fn() -> bool) -> Ended {
        let client = self.clients.now();
        let operation = claim.kind.operation();
        let call = arguments(&claim).and_then(|arguments| {
            let derived = || takings::idempotency_key_for(operation, &claim.order_id, None, &claim.reference);
            let key =
                claim.idempotency_key.clone().map_or_else(derived, Ok).map_err(|error| error.message().to_owned())?;
            let call = client.prepare_call(operation, &claim.order_id, &arguments, Some(&key));
            call.map_err(|error| error.message().to_owned())
        });
        let call = match call {
            Ok(call) if claim.row.maybe || claim.row.unvouched => call.after_unclear(),
            Ok(call) => call.first_use(),
            Err(why) => return Ended::without_request(claim, End::Invalid, &why),
        };
        // A thread may have been frozen meanwhile.
        if !is_fresh() {
            return Ended::without_request(claim, End::HandedBack, "too much of the lease was over");
        }
        let result = call.send();
        if result.is_err() {
            self.clients.count_open();
        }
        let (end, facts) = match &result {
            Ok(reply) => (done(claim.kind, reply), None),
            Err(error) => (self.meaning(&claim, error), Some(error)),
        };
        Ended::of(claim, end, facts)
    }

    /// The end of a request that failed.
    fn meaning(&self, claim: &Claim, error: &takings::Error) -> End {
        let is_refusal = |status| matches!(status, 400..=499) && ![408, 409, 425].contains(&status);
        match (error.kind(), error.http_status()) {
            (ErrorKind::InvalidInput, _) => End::Invalid,
            (ErrorKind::NotSent, _) => End::NotSent,
            // The client's memory knows the key as too old, and this ledger does not.
            (ErrorKind::OutcomeUnknown, _) if error.attempts() == 0 => {
                self.clients.renew();
                End::HandedBack
            }
            (ErrorKind::OutcomeUnknown, None) if was_not_sent(error.attempt_log()) => End::NotSent,
            (ErrorKind::Rejected | ErrorKind::OutcomeUnknown, Some(429)) => End::Limited(asked_to_wait(error)),
            (ErrorKind::Rejected | ErrorKind::OutcomeUnknown, Some(401)) => End::Credentials,
            (ErrorKind::Rejected | ErrorKind::OutcomeUnknown, Some(status)) if is_refusal(status) => {
                let in_doubt = claim.row.maybe || claim.row.unvouched;
                match (error.error_code(), error.kind()) {
                    (None, _) => End::NotKlarna,
                    // The client knows of an earlier request with this key, and the ledger does not.
                    (Some(_), ErrorKind::OutcomeUnknown) if !in_doubt => End::Unclear,
                    (Some(_), kind) => End::Refused { settles: in_doubt && kind == ErrorKind::Rejected },
                }
            }
            (ErrorKind::Internal, _) => End::Internal,
            _ => End::Unclear,
        }
    }

    fn look(&self, claim: Claim) -> Ended {
        let client = self.clients.now();
        let Claim { order_id, reference, amount, .. } = &claim;
        let found = match claim.kind {
            Kind::Capture => client.reconcile(order_id, reference, *amount).map(|found| {
                (found.found(), found.capture_id().map(str::to_owned), found.correlation_id().map(str::to_owned))
            }),
            Kind::Refund => client.reconcile_refund(order_id, reference, *amount).map(|found| {
                (found.found(), found.refund_id().map(str::to_owned), found.correlation_id().map(str::to_owned))
            }),
        };
        match found {
            Ok((found, id, correlation_id)) => {
                let looked = match found {
                    Found::Once => Looked::Once(id.unwrap_or_default()),
                    Found::Never => Looked::Never,
                    Found::Several => Looked::Several,
                    Found::AmountDiffers => Looked::AmountDiffers,
                };
                Ended { correlation_id, ..Ended::of(claim, End::Looked(looked), None) }
            }
            Err(error) => {
                let looked = match (error.kind(), error.http_status()) {
                    (ErrorKind::InvalidInput, _) => None,
                    (_, None) if was_not_sent(error.attempt_log()) => Some(Looked::NotSent),
                    (_, Some(429)) => Some(Looked::Limited(asked_to_wait(&error))),
                    (_, Some(401)) => Some(Looked::Credentials),
                    (_, Some(408 | 409 | 425)) => Some(Looked::Unanswered),
                    (_, Some(400..=499)) if error.error_code().is_some() => Some(Looked::Refused),
                    (_, Some(400..=499)) => Some(Looked::NotKlarna),
                    _ => Some(Looked::Unanswered),
                };
                let end = looked.map_or(End::Invalid, End::Looked);
                Ended { was_sent: false, ..Ended::of(claim, end, Some(&error)) }
            }
        }
    }
}

impl Ended {
    fn without_request(claim: Claim, end: End, why: &str) -> Ended {
        Ended { was_sent: false, note: Some(why.to_owned()), ..Ended::of(claim, end, None) }
    }

    fn of(claim: Claim, end: End, error: Option<&takings::Error>) -> Ended {
        let is_look = matches!(end, End::Looked(_));
        Ended {
            claim,
            end,
            was_sent: !is_look,
            note: error.map(|error| error.message().to_owned()),
            http_status: error.and_then(takings::Error::http_status),
            error_code: error.and_then(takings::Error::error_code).map(str::to_owned),
            correlation_id: error.and_then(takings::Error::correlation_id).map(str::to_owned),
            requests: error.map(|error| error.attempt_log().iter().map(noted).collect()).unwrap_or_default(),
        }
    }
}

/// The end of a call that was carried out.
fn done(kind: Kind, reply: &Reply) -> End {
    let id = match kind {
        Kind::Capture => Capture::try_from(reply.clone()).map(|capture| capture.capture_id().to_owned()),
        Kind::Refund => Refund::try_from(reply.clone()).map(|refund| refund.refund_id().unwrap_or_default().to_owned()),
    };
    id.map_or(End::Internal, End::Done)
}

/// Whether nothing of the last request can have reached Klarna, where the call as a whole is in doubt.
fn was_not_sent(requests: &[Attempt]) -> bool {
    requests.last().is_some_and(|last| {
        let rest = last.came_back().strip_prefix(ErrorKind::NotSent.as_str());
        rest.is_some_and(|rest| rest.starts_with(':'))
    })
}

/// How long Klarna asked to wait with the last answer.
fn asked_to_wait(error: &takings::Error) -> Option<Duration> {
    error.attempt_log().last().and_then(Attempt::asked_to_wait)
}

fn noted(attempt: &Attempt) -> Request {
    let at = attempt.started().duration_since(UNIX_EPOCH).unwrap_or_default();
    Request {
        at: i64::try_from(at.as_millis()).unwrap_or(i64::MAX),
        took_ms: i64::try_from(attempt.took().as_millis()).unwrap_or(i64::MAX),
        sent: attempt.sent().to_owned(),
        came_back: attempt.came_back().to_owned(),
        http_status: attempt.http_status(),
        error_code: attempt.error_code().map(str::to_owned),
        correlation_id: attempt.correlation_id().map(str::to_owned),
    }
}

/// The arguments of a row's call, in the same bytes each time. A field that is given twice is refused by takings.
fn arguments(claim: &Claim) -> Result<String, String> {
    let mut text = format!(
        "{{\"{}\":{},\"reference\":{}",
        claim.kind.amount(),
        claim.amount,
        serde_json::Value::from(claim.reference.as_str())
    );
    if let Some(request) = &claim.request {
        let fields: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(request).map_err(|why| format!("request is no JSON object: {why}"))?;
        if let Some(name) = OPTIONS.into_iter().find(|name| fields.contains_key(*name)) {
            return Err(format!("request holds {name}; it must be left out there"));
        }
        let inside = request.trim().trim_start_matches('{');
        if !fields.is_empty() {
            text.push(',');
        }
        text.push_str(inside);
    } else {
        text.push('}');
    }
    Ok(text)
}

/// The client, made anew from time to time.
struct Clients {
    config: Config,
    held: Mutex<Held>,
}

struct Held {
    client: Client,
    since: Duration,
    open: u32,
}

impl Clients {
    fn new(mut config: Config, timeout: Duration) -> Result<Clients, Error> {
        // The ledger tries again, by its own schedule, and looks by itself.
        config.max_attempts = 1;
        config.reconcile = false;
        config.timeout = timeout;
        config.attempt_timeout = timeout;
        config.connect_timeout = config.connect_timeout.min(timeout / 2);
        let client = Client::new(config.clone()).map_err(|error| Error::refused(error.message()))?;
        Ok(Clients { config, held: Mutex::new(Held { client, since: boot(), open: 0 }) })
    }

    fn now(&self) -> Client {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.open >= CLIENT_OPEN || boot().saturating_sub(held.since) >= CLIENT_LIFE {
            // The settings were good before, so this fails only if the machine has run out of something.
            if let Ok(client) = Client::new(self.config.clone()) {
                *held = Held { client, since: boot(), open: 0 };
            }
        }
        held.client.clone()
    }

    fn renew(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).open = CLIENT_OPEN;
    }

    fn count_open(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.open = held.open.saturating_add(1);
    }
}

/// Time by a clock that only goes forward, also while the machine sleeps where the system has such a one.
fn boot() -> Duration {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Ok(time) = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME) {
        return time.into();
    }
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// A number from 0 to 1 that differs from worker to worker. It need not be good.
fn chance() -> f64 {
    (RandomState::new().hash_one(0_u8) % 1024) as f64 / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Claimed;

    const ORDER: &str = "f3392f8b-6116-4073-ab96-e330819e2c07";

    fn claim(request: Option<String>) -> Claim {
        let row =
            Claimed { maybe: false, refused: false, unvouched: false, tries: 0, vouched_age: Some(0), trouble: 0 };
        Claim {
            kind: Kind::Capture,
            id: 1,
            order_id: ORDER.into(),
            reference: "parcel-1".into(),
            amount: 20_000,
            request,
            idempotency_key: None,
            sends: 1,
            row,
            at: 0,
            seen_at: 0,
        }
    }

    #[test]
    fn a_refusal_that_the_client_doubts_is_unclear() {
        let sandbox = takings_sandbox::Sandbox::start(takings_sandbox::Options::default()).unwrap();
        sandbox.create_order(takings_sandbox::NewOrder {
            order_id: Some(ORDER.into()),
            order_amount: 10_000,
            faults: vec![takings_sandbox::Fault::ResetBeforeCommit.into()],
            ..takings_sandbox::NewOrder::default()
        });
        let config = Config::at(sandbox.url(), takings::Credentials::basic("sandbox", "sandbox"));
        let settings = Settings::default();
        let clients = Clients::new(config, settings.timeout).unwrap();
        let (stop, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
        let hand = Hand { clients: &clients, settings: &settings, stop: &stop, is_over: &is_over };
        assert_eq!(hand.send(claim(None), || true).end, End::Unclear);
        // The same key again, by a claim that knows nothing of the first: Klarna's refusal says nothing of that one.
        let refused = hand.send(claim(None), || true);
        assert_eq!((refused.http_status, refused.error_code.as_deref()), (Some(403), Some("CAPTURE_NOT_ALLOWED")));
        assert_eq!(refused.end, End::Unclear);
        assert_eq!(settle(&refused.claim.row, refused.end).state, State::Unclear);
        let other = hand.send(Claim { reference: "parcel-2".into(), ..claim(None) }, || true);
        assert_eq!(settle(&other.claim.row, other.end).state, State::Rejected);
    }

    #[test]
    fn no_hand_is_idle_while_another_has_two_orders() {
        let mut rota = Rota::default();
        assert_eq!(["a", "b", "a", "c"].map(|order| rota.choose(order, 3)), [0, 1, 0, 2]);
        rota.free("b");
        assert_eq!(rota.choose("d", 3), 1);
        rota.free("a");
        assert_eq!(rota.choose("a", 3), 0, "the other one of this order may be under way");
        rota.free("a");
        rota.free("a");
        assert_eq!(rota.choose("e", 3), 0);
        assert_eq!(rota.choose("a", 3), 0, "nothing of it is under way, and all have as much");
        for order in ["a", "c", "d", "e"] {
            rota.free(order);
        }
        assert!(rota.orders.is_empty() && rota.loads.iter().all(|load| *load == 0));
    }

    #[test]
    fn a_hand_is_there_while_it_is_needed() {
        let mut rota = Rota::default();
        assert_eq!(["a", "b", "c"].map(|order| rota.choose(order, 8)), [0, 1, 2]);
        rota.free("b");
        assert!(!rota.dismiss(), "the last one has an order");
        assert_eq!(rota.choose("d", 8), 1, "an idle hand goes before a new one");
        rota.free("c");
        assert!(rota.dismiss() && !rota.dismiss());
        assert_eq!(rota.loads, [1, 1]);
    }

    #[test]
    fn no_option_of_a_call_stands_in_a_row() {
        for name in OPTIONS {
            let why = arguments(&claim(Some(format!("{{\"description\": \"a parcel\", \"{name}\": 1}}")))).unwrap_err();
            assert!(why.contains(name), "{why}");
        }
        assert!(arguments(&claim(Some("{\"description\": \"a parcel\"}".into()))).is_ok());
        // A new option of the core must join the list.
        let schema: serde_json::Value = serde_json::from_str(&takings::binding::schema()).unwrap();
        let options = &schema["objects"][schema["options"].as_str().unwrap()]["fields"];
        for option in options.as_array().unwrap() {
            assert!(OPTIONS.contains(&option["name"].as_str().unwrap()), "{option}");
        }
    }
}
