//! The promises of any engine, and those of SQLite's alone.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use takings_ledger::office::{Office, Said, Wanted};
use takings_ledger::policy::{Change, End, Looked, State, Why, Word, settle};
#[cfg(target_os = "linux")]
use takings_ledger::postgres::Postgres;
use takings_ledger::sqlite::{Options, Sqlite, system_clock};
use takings_ledger::store::{Claim, Entry, Kept, Kind, Record, Settlement, Shared, Store};

const LEASE: Duration = Duration::from_secs(180);
const HOUR: Duration = Duration::from_secs(60 * 60);
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A ledger for a test.
trait Engine {
    type Store: Office;
    /// A ledger that vouches for its rows, and a worker of it.
    fn new() -> Self;
    fn store(&mut self) -> &mut Self::Store;
    /// Moves the ledger's clock.
    fn advance(&mut self, by: Duration);
    /// Moves the ledger's clock back.
    fn advance_back(&mut self, by: Duration);
    /// The worker dies, and another begins.
    fn restart(&mut self);
    /// A shop runs a statement beside the worker. Gives how many rows it changed.
    fn shop_runs(&mut self, sql: &str) -> usize;
}

struct File {
    directory: tempfile::TempDir,
    offset: Arc<AtomicI64>,
    store: Option<Sqlite>,
}

impl File {
    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("ledger.db")
    }

    fn options(&self, first_ever: bool) -> Options {
        let offset = self.offset.clone();
        Options { first_ever, clock: Arc::new(move || system_clock() + offset.load(Ordering::SeqCst)) }
    }

    fn made(first_ever: bool) -> File {
        let directory = tempfile::tempdir().unwrap();
        let mut file = File { directory, offset: Arc::default(), store: None };
        let mut store = Sqlite::open(file.path(), file.options(first_ever)).unwrap();
        store.become_worker().unwrap();
        file.store = Some(store);
        file
    }

    fn shop(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path()).unwrap()
    }
}

impl Engine for File {
    type Store = Sqlite;

    fn new() -> File {
        File::made(true)
    }

    fn store(&mut self) -> &mut Sqlite {
        self.store.as_mut().unwrap()
    }

    fn advance(&mut self, by: Duration) {
        self.offset.fetch_add(by.as_millis() as i64, Ordering::SeqCst);
    }

    fn advance_back(&mut self, by: Duration) {
        self.offset.fetch_sub(by.as_millis() as i64, Ordering::SeqCst);
    }

    fn restart(&mut self) {
        self.store = None;
        let mut store = Sqlite::open(self.path(), self.options(false)).unwrap();
        store.become_worker().unwrap();
        self.store = Some(store);
    }

    fn shop_runs(&mut self, sql: &str) -> usize {
        self.shop().execute(sql, []).unwrap()
    }
}

#[cfg(target_os = "linux")]
mod cluster;

/// A database of the server of this program.
#[cfg(target_os = "linux")]
struct Database {
    name: String,
    offset: i64,
    store: Option<Postgres>,
}

#[cfg(target_os = "linux")]
impl Database {
    fn move_clock(&mut self, by: i64) {
        self.offset += by;
        cluster::Cluster::get().run(
            &self.name,
            &format!(
                "CREATE OR REPLACE FUNCTION takings_now() RETURNS timestamptz LANGUAGE sql STABLE
                 AS $$ SELECT now() + {} * interval '1 ms' $$",
                self.offset
            ),
        );
    }

    fn open(&self) -> Postgres {
        Postgres::open(&cluster::Cluster::get().url(&self.name)).unwrap()
    }
}

#[cfg(target_os = "linux")]
impl Engine for Database {
    type Store = Postgres;

    fn new() -> Database {
        let mut database = Database { name: cluster::Cluster::get().database(), offset: 0, store: None };
        database.restart();
        database
    }

    fn store(&mut self) -> &mut Postgres {
        self.store.as_mut().unwrap()
    }

    fn advance(&mut self, by: Duration) {
        self.move_clock(by.as_millis() as i64);
    }

    fn advance_back(&mut self, by: Duration) {
        self.move_clock(-(by.as_millis() as i64));
    }

    fn restart(&mut self) {
        self.store = None;
        let mut store = self.open();
        store.become_worker().unwrap();
        self.store = Some(store);
    }

    fn shop_runs(&mut self, sql: &str) -> usize {
        cluster::Cluster::get().shop(&self.name).execute(sql, &[]).unwrap() as usize
    }
}

fn entry(reference: &str, amount: i64) -> Entry {
    Entry {
        account: "default".into(),
        order_id: "f3392f8b-6116-4073-ab96-e330819e2c07".into(),
        reference: reference.into(),
        amount,
        request: None,
    }
}

fn ended(claim: &Claim, end: End) -> Settlement {
    let was_sent = !matches!(end, End::HandedBack | End::Looked(_));
    let verdict = settle(&claim.row, end);
    Settlement {
        kind: claim.kind,
        id: claim.id,
        order_id: claim.order_id.clone(),
        reference: claim.reference.clone(),
        sends: claim.sends,
        claimed_at: claim.at,
        state: verdict.state,
        maybe: verdict.maybe,
        refused: verdict.refused,
        tries: verdict.tries,
        due_in: match verdict.due {
            takings_ledger::policy::Due::Never => None,
            takings_ledger::policy::Due::After(time) => Some(time),
        },
        vouches: verdict.vouches,
        was_sent,
        done_as: verdict.id,
        why: verdict.why,
        alert: verdict.alert,
        note: None,
        http_status: None,
        error_code: None,
        correlation_id: None,
        requests: Vec::new(),
    }
}

fn done(id: &str) -> End {
    End::Done(id.into())
}

fn claim_one(engine: &mut impl Engine) -> Claim {
    let mut claims = engine.store().claim("default", 10, LEASE).unwrap();
    assert_eq!(claims.len(), 1, "{claims:?}");
    claims.remove(0)
}

fn end_one(engine: &mut impl Engine, claim: &Claim, end: End) -> Kept {
    engine.store().settle(&[ended(claim, end)]).unwrap()[0]
}

fn found(engine: &mut impl Engine, kind: Kind, reference: &str) -> Record {
    let order = entry("", 1).order_id;
    engine.store().find(kind, "default", &order, reference).unwrap().unwrap()
}

/// A row is claimed, sent, and captured or refunded.
fn a_row_is_done<E: Engine>() {
    for kind in Kind::ALL {
        let mut engine = E::new();
        assert_eq!(engine.store().enqueue(kind, &[entry("p", 6000)]), Ok(vec![true]));
        assert_eq!(found(&mut engine, kind, "p").state, State::Queued);
        let claim = claim_one(&mut engine);
        assert_eq!((claim.kind, claim.reference.as_str(), claim.amount, claim.sends), (kind, "p", 6000, 1));
        assert_eq!((claim.row.maybe, claim.row.unvouched), (false, false));
        assert!(claim.row.vouched_age.is_some_and(|age| (0..60_000).contains(&age)), "{claim:?}");
        assert_eq!(engine.store().claim("default", 10, LEASE), Ok(vec![]), "somebody has it");
        assert_eq!(engine.store().open_rows("default"), Ok(1));
        assert_eq!(end_one(&mut engine, &claim, done("c-1")), Kept::Written);
        let record = found(&mut engine, kind, "p");
        assert_eq!((record.state, record.due_at, record.done_as.as_deref()), (State::Done, None, Some("c-1")));
        assert_eq!(engine.store().open_rows("default"), Ok(0));
        engine.advance(10 * DAY);
        assert_eq!(engine.store().claim("default", 10, LEASE), Ok(vec![]));
    }
}

/// A lease that ends gives the row to the next claim, which knows that it may have been sent. The first worker's word
/// then counts only if it captured.
fn a_lease_ends<E: Engine>() {
    let mut engine = E::new();
    engine.store().enqueue(Kind::Capture, &[entry("p", 1)]).unwrap();
    let first = claim_one(&mut engine);
    engine.advance(LEASE - SECOND);
    assert_eq!(engine.store().claim("default", 10, LEASE), Ok(vec![]));
    engine.advance(2 * SECOND);
    let second = claim_one(&mut engine);
    assert_eq!((second.sends, second.row.maybe), (2, true));
    for end in [End::Refused { settles: false }, End::Unclear, End::HandedBack, End::Looked(Looked::Never)] {
        assert_eq!(end_one(&mut engine, &first, end), Kept::Stale);
    }
    assert_eq!(end_one(&mut engine, &first, done("c")), Kept::Written);
    assert_eq!(end_one(&mut engine, &second, End::Refused { settles: true }), Kept::Stale);
    let record = found(&mut engine, Kind::Capture, "p");
    assert_eq!((record.state, record.done_as.as_deref()), (State::Done, Some("c")));
}

/// A shop that has taken an outcome over hears of the row again once a worker's late word changes it.
fn news_again<E: Engine>() {
    for kind in Kind::ALL {
        let mut engine = E::new();
        engine.store().enqueue(kind, &[entry("p", 1)]).unwrap();
        let first = claim_one(&mut engine);
        engine.advance(LEASE + SECOND);
        let second = claim_one(&mut engine);
        end_one(&mut engine, &second, End::Refused { settles: true });
        let takes_over = format!(
            "UPDATE takings_{} SET seen_at = enqueued_at WHERE seen_at IS NULL AND settled_at IS NOT NULL",
            kind.operation()
        );
        assert_eq!(engine.shop_runs(&takes_over), 1, "the refusal is news");
        assert_eq!(engine.shop_runs(&takes_over), 0);
        assert_eq!(end_one(&mut engine, &first, done("c")), Kept::Written);
        assert_eq!(engine.shop_runs(&takes_over), 1, "and so is its success");
        assert_eq!(end_one(&mut engine, &first, done("c")), Kept::Stale);
        assert_eq!(engine.shop_runs(&takes_over), 0, "the same again is none");
    }
}

/// What may have been carried out stays so, whatever a worker writes.
fn maybe_stays<E: Engine>() {
    let mut engine = E::new();
    engine.store().enqueue(Kind::Capture, &[entry("p", 1)]).unwrap();
    let claim = claim_one(&mut engine);
    assert_eq!(end_one(&mut engine, &claim, End::Unclear), Kept::Written);
    assert_eq!(engine.store().claim("default", 10, LEASE), Ok(vec![]), "it is due in five seconds");
    engine.advance(6 * SECOND);
    let claim = claim_one(&mut engine);
    assert_eq!((claim.row.maybe, claim.row.tries), (true, 1));
    let forgetful = Settlement { maybe: false, ..ended(&claim, End::HandedBack) };
    assert_eq!(engine.store().settle(&[forgetful]), Ok(vec![Kept::Written]));
    assert!(claim_one(&mut engine).row.maybe);
}

/// A look that did not find a row vouches for it; one that follows a refusal leaves it to a person.
fn a_look<E: Engine>() {
    let mut engine = E::new();
    engine.store().enqueue(Kind::Capture, &[entry("p", 1)]).unwrap();
    let claim = claim_one(&mut engine);
    end_one(&mut engine, &claim, End::Unclear);
    engine.advance(13 * HOUR);
    let claim = claim_one(&mut engine);
    assert!(claim.row.vouched_age.is_some_and(|age| age >= 13 * 60 * 60 * 1000));
    end_one(&mut engine, &claim, End::Looked(Looked::Never));
    engine.advance(HOUR);
    let claim = claim_one(&mut engine);
    assert!(claim.row.vouched_age.is_some_and(|age| (3_600_000..3_700_000).contains(&age)), "{claim:?}");
    let refusal = ended(&claim, End::Refused { settles: false });
    let refusal = Settlement { error_code: Some("CAPTURE_NOT_ALLOWED".into()), ..refusal };
    assert_eq!(engine.store().settle(&[refusal]), Ok(vec![Kept::Written]));
    let claim = claim_one(&mut engine);
    assert!(claim.row.refused);
    end_one(&mut engine, &claim, End::Looked(Looked::Never));
    let record = found(&mut engine, Kind::Capture, "p");
    let why = Why::RefusedAfterUnclear.as_str();
    assert_eq!((record.state, record.why.as_deref(), record.due_at), (State::Stuck, Some(why), None));
    assert!(record.alert_at.is_some());
    let lines = engine.store().list(Kind::Capture, &Wanted::default()).unwrap();
    assert_eq!(lines[0].error_code.as_deref(), Some("CAPTURE_NOT_ALLOWED"), "a look does not hide the refusal");
}

/// An end is written into no row of another name, whatever its number: a restored ledger gives numbers anew.
fn another_name<E: Engine>() {
    let mut engine = E::new();
    engine.store().enqueue(Kind::Capture, &[entry("p", 1)]).unwrap();
    let claim = claim_one(&mut engine);
    let end = ended(&claim, done("c-1"));
    let of_another_order = Settlement { order_id: "another".into(), ..end.clone() };
    let of_another_name = Settlement { reference: "q".into(), ..end };
    assert_eq!(engine.store().settle(&[of_another_order, of_another_name]), Ok(vec![Kept::Stale, Kept::Stale]));
    assert_eq!(found(&mut engine, Kind::Capture, "p").state, State::Sending);
}

/// A second id for a row is an alarm, and the first one stays.
fn another_id<E: Engine>() {
    let mut engine = E::new();
    engine.store().enqueue(Kind::Capture, &[entry("p", 1)]).unwrap();
    let claim = claim_one(&mut engine);
    assert_eq!(end_one(&mut engine, &claim, done("c-1")), Kept::Written);
    assert_eq!(end_one(&mut engine, &claim, done("c-1")), Kept::Stale, "the same again");
    assert_eq!(end_one(&mut engine, &claim, done("c-2")), Kept::AnotherId);
    let record = found(&mut engine, Kind::Capture, "p");
    assert_eq!((record.done_as.as_deref(), record.why.as_deref()), (Some("c-1"), Some("another_id")));
    assert!(record.alert_at.is_some());
}

/// Both ids come in one write, and the alarm stays.
fn another_id_at_once<E: Engine>() {
    let mut engine = E::new();
    engine.store().enqueue(Kind::Capture, &[entry("p", 1)]).unwrap();
    let first = claim_one(&mut engine);
    engine.advance(LEASE + SECOND);
    let second = claim_one(&mut engine);
    let ends = [ended(&first, done("c-1")), ended(&second, done("c-2"))];
    assert_eq!(engine.store().settle(&ends), Ok(vec![Kept::Written, Kept::AnotherId]));
    let record = found(&mut engine, Kind::Capture, "p");
    assert_eq!((record.done_as.as_deref(), record.why.as_deref()), (Some("c-1"), Some("another_id")));
    assert!(record.alert_at.is_some());
}

/// One name stands for one content.
fn one_name<E: Engine>() {
    let mut engine = E::new();
    let with = |text: &str| Entry { request: Some(text.into()), ..entry("p", 6000) };
    assert_eq!(engine.store().enqueue(Kind::Capture, &[with("{}"), with("{}")]), Ok(vec![true, false]));
    for other in [Entry { amount: 6001, ..with("{}") }, entry("p", 6000), with(r#"{"description":"x"}"#)] {
        let error = engine.store().enqueue(Kind::Capture, &[entry("q", 1), other]).unwrap_err();
        assert!(error.message.contains("enqueued before with another content"), "{error}");
        assert!(!error.retryable);
        assert_eq!(engine.store().find(Kind::Capture, "default", &entry("", 1).order_id, "q"), Ok(None), "all or none");
    }
    let claim = claim_one(&mut engine);
    end_one(&mut engine, &claim, done("c"));
    assert_eq!(engine.store().enqueue(Kind::Refund, &[entry("p", 1)]), Ok(vec![true]), "a refund has names of its own");
    let again = engine.store().enqueue(claim.kind, &[with("{}")]);
    assert_eq!(again, Ok(vec![false]), "a row that is captured");
}

/// An account lets through its rate, nothing while it is paused, and one row at a time while it is in trouble.
fn an_account<E: Engine>() {
    let mut engine = E::new();
    let entries: Vec<Entry> = (0..200).map(|n| entry(&format!("p-{n}"), 1)).collect();
    engine.store().enqueue(Kind::Capture, &entries).unwrap();
    let take = |engine: &mut E, most| engine.store().claim("default", most, LEASE).unwrap();
    let first = take(&mut engine, 1000);
    assert!((15..60).contains(&first.len()), "the burst, and a moment: {}", first.len());
    engine.advance(SECOND);
    assert_eq!(take(&mut engine, 10).len(), 10);
    let pause = Change::Paused(Duration::from_secs(30), Why::NoAnswer);
    engine.store().change("default", pause).unwrap();
    engine.advance(29 * SECOND);
    assert_eq!(take(&mut engine, 10), vec![]);
    engine.advance(2 * SECOND);
    let probe = take(&mut engine, 10);
    assert_eq!((probe.len(), probe[0].row.trouble), (1, 1));
    engine.store().change("default", Change::Recovered).unwrap();
    assert_eq!(take(&mut engine, 10).len(), 10);
    engine.store().change("default", Change::Paused(HOUR, Why::Credentials)).unwrap();
    engine.store().probe("default").unwrap();
    assert_eq!(take(&mut engine, 10).len(), 1, "the trouble is not known to be over");
    engine.store().change("default", Change::Recovered).unwrap();
    engine.store().change("default", Change::Paused(SECOND, Why::Limited)).unwrap();
    assert_eq!(take(&mut engine, 10), vec![]);
    engine.advance(2 * SECOND);
    assert_eq!(take(&mut engine, 10).len(), 10, "a rate limit is no trouble");
    assert!(engine.store().claim("nobody", 1, LEASE).is_err());
}

/// An account belongs to the place of its first worker.
fn a_place<E: Engine>() {
    let mut engine = E::new();
    assert_eq!(engine.store().bind("default", "https://api.klarna.com", "K1"), Ok(()));
    assert_eq!(engine.store().bind("default", "https://api.klarna.com", "K1"), Ok(()));
    for (url, merchant) in [("https://api.playground.klarna.com", "K1"), ("https://api.klarna.com", "K2")] {
        let error = engine.store().bind("default", url, merchant).unwrap_err();
        assert!(error.message.contains("belongs to K1 at https://api.klarna.com"), "{error}");
    }
    assert!(engine.store().bind("nobody", "https://api.klarna.com", "K1").is_err());
}

/// After a restore the ledger vouches for nothing that was enqueued before, and for no claim.
fn a_restore<E: Engine>() {
    let mut engine = E::new();
    engine.store().enqueue(Kind::Capture, &[entry("p", 1), entry("q", 1)]).unwrap();
    let before = engine.store().claim("default", 1, LEASE).unwrap().remove(0);
    engine.store().restored().unwrap();
    assert_eq!(end_one(&mut engine, &before, End::Refused { settles: true }), Kept::Stale);
    let claims = engine.store().claim("default", 10, LEASE).unwrap();
    assert_eq!(claims.len(), 2);
    for claim in &claims {
        assert_eq!((claim.row.unvouched, claim.row.vouched_age), (true, None), "{claim:?}");
        assert_eq!(claim.row.maybe, claim.id == before.id);
        assert!(claim.sends > 1000);
        assert_eq!(end_one(&mut engine, claim, End::Looked(Looked::Never)), Kept::Written);
    }
    let claim = engine.store().claim("default", 10, LEASE).unwrap().remove(0);
    assert!(claim.row.unvouched && claim.row.vouched_age.is_some(), "too soon after the restore to clear it of doubt");
    engine.advance(DAY);
    for claim in engine.store().claim("default", 10, LEASE).unwrap() {
        end_one(&mut engine, &claim, End::Looked(Looked::Never));
    }
    assert!(engine.store().claim("default", 10, LEASE).unwrap().iter().all(|claim| !claim.row.unvouched));
}

/// The rows of a worker that died come back, as rows that may have been sent.
fn a_death<E: Engine>() {
    let mut engine = E::new();
    engine.store().enqueue(Kind::Refund, &[entry("p", 1)]).unwrap();
    let claim = claim_one(&mut engine);
    engine.restart();
    engine.advance(LEASE);
    let again = claim_one(&mut engine);
    assert_eq!((again.sends, again.row.maybe, again.row.unvouched), (claim.sends + 1, true, false));
}

fn say(engine: &mut impl Engine, kind: Kind, word: Word) -> Result<State, String> {
    let said = Said { word, by: "ada".into(), note: Some("seen in the portal".into()) };
    engine.store().say(kind, "default", &entry("", 1).order_id, "p", &said).map_err(|error| error.message)
}

fn again() -> Word {
    Word::SendAgain("a-new-key-0000000000".into())
}

/// A person's word is taken only where it can be true, and never while a request may be under way.
fn a_persons_word<E: Engine>() {
    for kind in Kind::ALL {
        let mut engine = E::new();
        let none = say(&mut engine, kind, Word::Withdraw).unwrap_err();
        assert!(none.contains("no such row"), "{none}");
        engine.store().enqueue(kind, &[entry("p", 6000)]).unwrap();
        for word in [Word::NotDone, again(), Word::Done(String::new())] {
            assert!(say(&mut engine, kind, word.clone()).is_err(), "{word:?} of a row that waits");
        }
        let claim = claim_one(&mut engine);
        for word in [Word::NotDone, again(), Word::Withdraw] {
            assert!(say(&mut engine, kind, word.clone()).is_err(), "{word:?} of a row that a worker has");
        }
        end_one(&mut engine, &claim, End::Unclear);
        engine.advance(Duration::from_secs(9 * 60));
        for word in [Word::NotDone, again(), Word::Withdraw] {
            assert!(say(&mut engine, kind, word.clone()).is_err(), "{word:?} too soon");
        }
        engine.advance(Duration::from_secs(2 * 60));
        assert_eq!(say(&mut engine, kind, Word::NotDone), Ok(State::Rejected));
        let lines = engine.store().list(kind, &Wanted::default()).unwrap();
        assert_eq!(
            (lines[0].settled_by.as_deref(), lines[0].note.as_deref(), lines[0].alert_at),
            (Some("ada"), Some("seen in the portal"), None)
        );
        let requests = engine.store().requests(kind, lines[0].id).unwrap();
        assert_eq!(requests.last().map(|request| request.sent.as_str()), Some("ada said: it is not done"));
        assert_eq!(say(&mut engine, kind, Word::Done("c-1".into())), Ok(State::Done), "it was found after all");
        assert_eq!(say(&mut engine, kind, Word::Done("c-1".into())), Ok(State::Done), "the same again");
        for word in [Word::Done("c-2".into()), Word::NotDone, again(), Word::Withdraw] {
            assert!(say(&mut engine, kind, word.clone()).is_err(), "{word:?} of a row that is done");
        }
        assert_eq!(found(&mut engine, kind, "p").done_as.as_deref(), Some("c-1"));
    }
}

/// A row that is sent again is looked for first, and goes with its new key.
fn sent_again<E: Engine>() {
    let mut engine = E::new();
    engine.store().enqueue(Kind::Capture, &[entry("p", 6000)]).unwrap();
    let claim = claim_one(&mut engine);
    assert_eq!(claim.idempotency_key, None);
    end_one(&mut engine, &claim, End::Refused { settles: true });
    assert_eq!(found(&mut engine, Kind::Capture, "p").state, State::Rejected);
    assert!(say(&mut engine, Kind::Capture, again()).is_err(), "too soon");
    engine.advance(Duration::from_secs(11 * 60));
    assert_eq!(say(&mut engine, Kind::Capture, again()), Ok(State::Queued));
    let claim = claim_one(&mut engine);
    assert_eq!(claim.idempotency_key.as_deref(), Some("a-new-key-0000000000"));
    assert_eq!(takings_ledger::policy::action(&claim.row), takings_ledger::policy::Action::Look);
    end_one(&mut engine, &claim, End::Looked(Looked::Never));
    let claim = claim_one(&mut engine);
    assert_eq!(takings_ledger::policy::action(&claim.row), takings_ledger::policy::Action::Send);
    assert_eq!(claim.idempotency_key.as_deref(), Some("a-new-key-0000000000"));
}

/// A row is withdrawn only before anything was sent, and nobody sends it then.
fn withdrawn<E: Engine>() {
    let mut engine = E::new();
    engine.store().enqueue(Kind::Capture, &[entry("p", 1)]).unwrap();
    assert_eq!(say(&mut engine, Kind::Capture, Word::Withdraw), Ok(State::Cancelled));
    assert_eq!(engine.store().claim("default", 10, LEASE), Ok(vec![]));
    assert_eq!(engine.store().enqueue(Kind::Capture, &[entry("p", 1)]), Ok(vec![false]));
    assert!(say(&mut engine, Kind::Capture, again()).is_err(), "it is final");
}

/// A ledger that was restored cannot vouch that a row was not sent, so nobody withdraws it unseen.
fn withdrawn_after_a_restore<E: Engine>() {
    let mut engine = E::new();
    engine.store().enqueue(Kind::Refund, &[entry("p", 1)]).unwrap();
    engine.store().restored().unwrap();
    let why = say(&mut engine, Kind::Refund, Word::Withdraw).unwrap_err();
    assert!(why.contains("another one may have sent it"), "{why}");
    assert!(say(&mut engine, Kind::Refund, Word::NotDone).is_err(), "a request of the lost ledger may be under way");
    engine.advance(Duration::from_secs(11 * 60));
    assert!(say(&mut engine, Kind::Refund, Word::Withdraw).is_err());
    assert_eq!(say(&mut engine, Kind::Refund, Word::NotDone), Ok(State::Rejected));
}

/// A standby or a backup took the ledger's place, and no worker has seen it yet: a person's word sees it too.
fn withdrawn_after_a_failover<E: Engine>() {
    let mut engine = E::new();
    engine.store().enqueue(Kind::Capture, &[entry("p", 1)]).unwrap();
    engine.shop_runs("UPDATE takings_ledger SET origin = 'another'");
    let why = say(&mut engine, Kind::Capture, Word::Withdraw).unwrap_err();
    assert!(why.contains("another one may have sent it"), "{why}");
    assert_eq!(say(&mut engine, Kind::Capture, Word::Done("c".into())), Ok(State::Done));
    engine.store().enqueue(Kind::Capture, &[entry("q", 1)]).unwrap();
    assert!(claim_one(&mut engine).row.unvouched);
}

/// The lease of a claim that nobody settled counts as a request, also after the next claim was handed back.
fn a_lease_is_no_quiet_time<E: Engine>() {
    let mut engine = E::new();
    engine.store().enqueue(Kind::Capture, &[entry("p", 1)]).unwrap();
    claim_one(&mut engine);
    engine.advance(LEASE + SECOND);
    let claim = claim_one(&mut engine);
    end_one(&mut engine, &claim, End::HandedBack);
    assert!(say(&mut engine, Kind::Capture, Word::NotDone).is_err(), "the first claim may have sent it just now");
    engine.advance(Duration::from_secs(11 * 60));
    assert_eq!(say(&mut engine, Kind::Capture, Word::NotDone), Ok(State::Rejected));
}

/// Klarna's limit pauses the account for as long as it asks and slows it; the rate comes back by itself.
fn a_limit<E: Engine>() {
    let mut engine = E::new();
    let entries: Vec<Entry> = (0..900).map(|n| entry(&format!("p-{n}"), 1)).collect();
    engine.store().enqueue(Kind::Capture, &entries).unwrap();
    engine.store().set_rate("default", 100.0, 200.0).unwrap();
    let limit = Change::Paused(Duration::from_secs(20), Why::Limited);
    engine.store().change("default", limit).unwrap();
    // Answers to requests that were under way together are one limit.
    engine.store().change("default", limit).unwrap();
    let rate = |engine: &mut E| engine.store().accounts().unwrap()[0].rate;
    let near = |rate: f64, expected: f64| (rate - expected).abs() < 1.0;
    assert!(near(rate(&mut engine), 80.0), "{}", rate(&mut engine));
    engine.advance(Duration::from_secs(19));
    assert_eq!(engine.store().claim("default", 1000, LEASE), Ok(vec![]));
    engine.advance(2 * SECOND);
    let count = engine.store().claim("default", 1000, LEASE).unwrap().len();
    assert!((80..200).contains(&count), "a second of the lower rate, and no burst: {count}");
    engine.store().change("default", limit).unwrap();
    assert!(near(rate(&mut engine), 64.0), "{}", rate(&mut engine));
    assert!(engine.store().accounts().unwrap()[0].alert_at.is_none(), "nobody has to see to it");
    engine.advance(Duration::from_secs(18 * 60));
    assert!(near(rate(&mut engine), 82.0), "{}", rate(&mut engine));
    engine.advance(HOUR);
    assert!(near(rate(&mut engine), 100.0), "{}", rate(&mut engine));
    assert!(
        engine.store().set_rate("default", 0.0, 1.0).is_err() && engine.store().set_rate("nobody", 1.0, 1.0).is_err()
    );
}

/// Each account has rows, a rate, a pause and a place of its own.
fn accounts_apart<E: Engine>() {
    let mut engine = E::new();
    let of = |account: &str, reference: &str| Entry { account: account.into(), ..entry(reference, 1) };
    let error = engine.store().enqueue(Kind::Capture, &[of("se", "p")]).unwrap_err();
    assert!(error.message.contains("takings account add se makes it") && !error.retryable, "{error}");
    assert_eq!(engine.store().pause("se"), Err(error));
    assert_eq!(engine.store().make_account("se", true), Ok(true));
    assert_eq!(engine.store().make_account("se", true), Ok(false));
    for name in ["", "a b", "../x", "\u{e5}", &"x".repeat(65)] {
        assert!(engine.store().make_account(name, true).is_err(), "{name}");
    }
    assert_eq!(engine.store().enqueue(Kind::Capture, &[of("se", "p"), of("default", "p")]), Ok(vec![true, true]));
    engine.store().bind("default", "https://one.example", "K1").unwrap();
    engine.store().bind("se", "https://one.example", "K2").unwrap();
    assert!(engine.store().bind("se", "https://one.example", "K1").is_err(), "that is the other merchant");
    engine.store().pause("default").unwrap();
    let claims = engine.store().claim("se", 10, LEASE).unwrap();
    assert_eq!(claims.len(), 1);
    assert_eq!(engine.store().claim("default", 10, LEASE), Ok(vec![]));
    end_one(&mut engine, &claims[0], done("c-1"));
    assert_eq!((engine.store().open_rows("se"), engine.store().open_rows("default")), (Ok(0), Ok(1)));
    let order = entry("", 1).order_id;
    let state = |engine: &mut E, account| {
        engine.store().find(Kind::Capture, account, &order, "p").unwrap().map(|row| row.state)
    };
    assert_eq!((state(&mut engine, "se"), state(&mut engine, "default")), (Some(State::Done), Some(State::Queued)));
}

/// The worker of another account in the process leaves the rows alone that this one has.
fn shared<E: Engine>() {
    let mut engine = E::new();
    engine.store().enqueue(Kind::Capture, &[entry("p", 1)]).unwrap();
    let claim = claim_one(&mut engine);
    let store = Mutex::new(engine.store());
    let (mut one, mut other) = (Shared::new(&store), Shared::new(&store));
    other.become_worker().unwrap();
    assert_eq!(other.claim("default", 10, LEASE), Ok(vec![]));
    assert_eq!(one.settle(&[ended(&claim, End::Refused { settles: true })]), Ok(vec![Kept::Written]));
    assert_eq!(other.open_rows("default"), Ok(0));
}

/// A new key of the same merchant is taken by a person's word. At another place no earlier look counts.
fn bound_anew<E: Engine>() {
    let mut engine = E::new();
    engine.store().bind("default", "https://one.example", "API key 1").unwrap();
    engine.store().enqueue(Kind::Capture, &[entry("p", 1), entry("q", 1)]).unwrap();
    assert!(engine.store().rebind("nobody", "https://one.example", "API key 2", "ada").is_err());
    engine.store().rebind("default", "https://one.example", "API key 2", "ada").unwrap();
    assert!(engine.store().bind("default", "https://one.example", "API key 1").is_err(), "the old one is gone");
    engine.store().bind("default", "https://one.example", "API key 2").unwrap();
    assert_eq!(engine.store().accounts().unwrap()[0].bound_by.as_deref(), Some("ada"));
    let claim = engine.store().claim("default", 1, LEASE).unwrap().remove(0);
    assert!(claim.row.vouched_age.is_some(), "the same place knows the same keys");
    end_one(&mut engine, &claim, End::Looked(Looked::Never));
    // A fleet's ledger knows its workers by the time alone.
    engine.advance(Duration::from_secs(4 * 60));
    engine.store().rebind("default", "https://two.example", "API key 2", "ada").unwrap();
    for claim in engine.store().claim("default", 2, LEASE).unwrap() {
        assert_eq!(takings_ledger::policy::action(&claim.row), takings_ledger::policy::Action::Look, "{claim:?}");
        assert!(claim.row.unvouched);
    }
}

/// A worker that was frozen while its account was bound anew has the former credentials.
fn bound_anew_under_a_worker<E: Engine>() {
    for change in ["base_url = 'https://two.example'", "merchant = 'API key 2'"] {
        let mut engine = E::new();
        engine.store().bind("default", "https://one.example", "API key 1").unwrap();
        engine.store().enqueue(Kind::Capture, &[entry("p", 1)]).unwrap();
        engine.shop_runs(&format!("UPDATE takings_account SET {change}"));
        let why = engine.store().claim("default", 1, LEASE).unwrap_err();
        assert!(!why.retryable && why.message.contains("was bound anew"), "{why}");
        assert_eq!(found(&mut engine, Kind::Capture, "p").state, State::Queued);
    }
}

/// A person's pause holds until a person ends it; a resume also ends the memory of a clock that ran ahead.
fn a_persons_pause<E: Engine>() {
    let mut engine = E::new();
    engine.store().enqueue(Kind::Capture, &[entry("p", 1), entry("q", 1)]).unwrap();
    assert!(engine.store().pause("nobody").is_err() && engine.store().resume("nobody", false).is_err());
    engine.store().pause("default").unwrap();
    engine.store().change("default", Change::Recovered).unwrap();
    engine.store().change("default", Change::Paused(SECOND, Why::Clock)).unwrap();
    engine.advance(10 * DAY);
    assert_eq!(engine.store().claim("default", 10, LEASE), Ok(vec![]));
    engine.store().probe("default").unwrap();
    assert_eq!(engine.store().claim("default", 10, LEASE), Ok(vec![]));
    assert_eq!(engine.store().accounts().unwrap()[0].paused_why.as_deref(), Some("person"));
    engine.store().resume("default", false).unwrap();
    let ahead = engine.store().claim("default", 1, LEASE).unwrap().remove(0);
    end_one(&mut engine, &ahead, End::HandedBack);
    engine.advance_back(9 * DAY);
    let claim = engine.store().claim("default", 1, LEASE).unwrap().remove(0);
    assert!(!takings_ledger::policy::clocks_agree(claim.at, claim.at, claim.seen_at), "the clock went back");
    end_one(&mut engine, &claim, End::HandedBack);
    engine.store().resume("default", false).unwrap();
    let claim = engine.store().claim("default", 1, LEASE).unwrap().remove(0);
    assert!(takings_ledger::policy::clocks_agree(claim.at, claim.at, claim.seen_at), "{claim:?}");
}

/// A row that only waits for the end of the account's trouble is due once somebody says that it is over; one that waits
/// by the schedule keeps its time.
fn trouble_over<E: Engine>() {
    for is_probe in [false, true] {
        let mut engine = E::new();
        engine.store().enqueue(Kind::Capture, &[entry("p", 1), entry("q", 1)]).unwrap();
        let claims = engine.store().claim("default", 2, LEASE).unwrap();
        end_one(&mut engine, &claims[0], End::Credentials);
        end_one(&mut engine, &claims[1], End::Unclear);
        assert_eq!(engine.store().claim("default", 2, LEASE), Ok(vec![]));
        match is_probe {
            true => engine.store().probe("default").unwrap(),
            false => engine.store().resume("default", false).unwrap(),
        }
        assert_eq!(claim_one(&mut engine).reference, "p");
    }
}

/// A resume with nothing lost lets rows go without a look.
fn nothing_lost<E: Engine>() {
    let mut engine = E::new();
    engine.store().enqueue(Kind::Capture, &[entry("p", 1)]).unwrap();
    engine.store().restored().unwrap();
    assert_eq!(claim_one(&mut engine).row.vouched_age, None);
    engine.advance(2 * LEASE);
    engine.store().resume("default", true).unwrap();
    assert!(claim_one(&mut engine).row.vouched_age.is_some());
}

/// Customers' data goes first, later all but a stub; rows that are open or need a person keep everything.
fn purged<E: Engine>() {
    let mut engine = E::new();
    let with = |name: &str| Entry { request: Some(r#"{"description":"socks"}"#.into()), ..entry(name, 6000) };
    engine.store().enqueue(Kind::Capture, &[with("done"), with("refused"), with("open")]).unwrap();
    let claims = engine.store().claim("default", 2, LEASE).unwrap();
    end_one(&mut engine, &claims[0], done("c-1"));
    end_one(&mut engine, &claims[1], End::Refused { settles: true });
    engine.advance(6 * DAY);
    let swept = engine.store().wipe(Kind::Capture, 7 * DAY, 0).unwrap();
    assert_eq!((swept.rows, swept.last), (0, None), "no row is old enough, so nothing is behind them");
    engine.advance(2 * DAY);
    let swept = engine.store().wipe(Kind::Capture, 7 * DAY, 0).unwrap();
    assert_eq!((swept.rows, swept.last), (1, Some(3)));
    assert_eq!(engine.store().wipe(Kind::Capture, 7 * DAY, 3).unwrap().last, None);
    assert_eq!(engine.store().wipe(Kind::Refund, 7 * DAY, 0).unwrap().last, None);
    assert_eq!(engine.store().enqueue(Kind::Capture, &[with("done")]), Ok(vec![false]), "its name is remembered");
    let other = Entry { amount: 1, ..with("done") };
    assert!(engine.store().enqueue(Kind::Capture, &[other]).is_err(), "with its amount");
    let before = engine.store().list(Kind::Capture, &Wanted::default()).unwrap();
    engine.store().purge(Kind::Capture, DAY, 0).unwrap();
    let lines = engine.store().list(Kind::Capture, &Wanted::default()).unwrap();
    let stub = &lines[0];
    assert_eq!((stub.state, stub.amount, stub.done_as.as_deref()), (State::Done, 6000, Some("c-1")));
    assert!(stub.settled_at.is_some() && stub.is_wiped && !lines[1].is_wiped && !lines[2].is_wiped);
    assert_eq!(lines[1].why.as_deref(), Some("refused"));
    // Ten years later the stub is still there, and so are the rows that need a person or are open.
    for _ in 0..10 {
        engine.advance(365 * DAY);
        for kind in Kind::ALL {
            engine.store().wipe(kind, Duration::ZERO, 0).unwrap();
            engine.store().purge(kind, Duration::ZERO, 0).unwrap();
        }
    }
    let after = engine.store().list(Kind::Capture, &Wanted::default()).unwrap();
    assert_eq!(after.len(), 3);
    for (old, new) in before.iter().zip(&after) {
        let kept = |line: &takings_ledger::office::Line| {
            (
                line.order_id.clone(),
                line.reference.clone(),
                line.amount,
                line.state,
                line.done_as.clone(),
                line.enqueued_at,
                line.settled_at,
                line.settled_by.clone(),
            )
        };
        assert_eq!(kept(old), kept(new));
    }
    assert_eq!(after[1..], before[1..], "a person needs all of them");
    assert_eq!(engine.store().enqueue(Kind::Capture, &[with("done")]), Ok(vec![false]));
    assert!(engine.store().enqueue(Kind::Capture, &[Entry { amount: 1, ..with("done") }]).is_err());
}

/// What is to be enqueued is compared with what stands there.
fn compared<E: Engine>() {
    let mut engine = E::new();
    engine.store().enqueue(Kind::Capture, &[entry("p", 1), entry("q", 1)]).unwrap();
    let entries = [entry("p", 1), entry("q", 2), entry("new", 3)];
    assert_eq!(engine.store().compare(Kind::Capture, &entries), Ok((1, vec![1])));
    assert_eq!(engine.store().compare(Kind::Refund, &entries), Ok((0, vec![])));
}

/// How long nothing is to be done counts the account's pause.
fn a_quiet_time<E: Engine>() {
    let mut engine = E::new();
    assert_eq!(engine.store().quiet("default"), Ok(None));
    engine.store().enqueue(Kind::Refund, &[entry("p", 1)]).unwrap();
    assert_eq!(engine.store().quiet("default"), Ok(Some(Duration::ZERO)));
    engine.store().change("default", Change::Paused(HOUR, Why::NoAnswer)).unwrap();
    assert!(engine.store().quiet("default").unwrap().unwrap() > HOUR - 10 * SECOND);
    engine.store().change("default", Change::Recovered).unwrap();
    let claim = claim_one(&mut engine);
    end_one(&mut engine, &claim, done("r-1"));
    assert_eq!(engine.store().quiet("default"), Ok(None));
}

/// Rows are counted, and those that need a person are told apart by reason.
fn counted<E: Engine>() {
    let mut engine = E::new();
    let entries: Vec<Entry> = (0..6).map(|n| entry(&format!("p-{n}"), 100)).collect();
    engine.store().enqueue(Kind::Capture, &entries).unwrap();
    let claims = engine.store().claim("default", 4, LEASE).unwrap();
    end_one(&mut engine, &claims[0], done("c-1"));
    end_one(&mut engine, &claims[1], End::Refused { settles: true });
    end_one(&mut engine, &claims[2], End::Refused { settles: true });
    end_one(&mut engine, &claims[3], End::Unclear);
    let now = engine.store().time().unwrap();
    let counts = engine.store().counts("default", now - 1000).unwrap();
    let of = |state| counts.iter().find(|count| count.state == state).unwrap();
    assert_eq!((of(State::Queued).rows, of(State::Queued).amount), (2, 200));
    assert_eq!((of(State::Done).rows, of(State::Done).lately), (1, 1));
    assert!(of(State::Unclear).next_due.is_some_and(|due| due > now));
    let alarms = engine.store().alarms("default").unwrap();
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert_eq!((alarms[0].rows, alarms[0].amount, alarms[0].why.as_deref()), (2, 200, Some("refused")));
    let wanted = Wanted { needs_a_person: true, ..Wanted::default() };
    let names = |lines: Vec<takings_ledger::office::Line>| -> Vec<String> {
        lines.into_iter().map(|line| line.reference).collect()
    };
    assert_eq!(names(engine.store().list(Kind::Capture, &wanted).unwrap()), ["p-1", "p-2"]);
    let wanted = Wanted { state: Some(State::Queued), after: 5, most: 1, ..Wanted::default() };
    assert_eq!(names(engine.store().list(Kind::Capture, &wanted).unwrap()), ["p-5"]);
    let wanted = Wanted { reference: Some("p-0".into()), ..Wanted::default() };
    assert_eq!(engine.store().list(Kind::Capture, &wanted).unwrap().len(), 1);
}

macro_rules! contract {
    ($($name:ident)*) => {
        mod sqlite { $( #[test] fn $name() { super::$name::<super::File>(); } )* }
        #[cfg(target_os = "linux")]
        mod postgres { $( #[test] fn $name() { super::$name::<super::Database>(); } )* }
    };
}

contract!(a_row_is_done a_lease_ends news_again maybe_stays a_look another_name another_id another_id_at_once one_name an_account a_place a_restore a_death
    a_persons_word sent_again withdrawn withdrawn_after_a_restore withdrawn_after_a_failover a_lease_is_no_quiet_time a_limit accounts_apart shared
    bound_anew bound_anew_under_a_worker a_persons_pause nothing_lost purged counted compared a_quiet_time trouble_over);

fn refusal(shop: &rusqlite::Connection, sql: &str) -> String {
    shop.execute(sql, []).unwrap_err().to_string()
}

#[test]
fn sqlite_refuses_amounts_of_other_types() {
    let file = File::new();
    let shop = file.shop();
    let insert = "INTO takings_capture (order_id, reference, captured_amount) VALUES ('o', 'p',";
    for amount in ["'60.00'", "60.5", "60.0", "'6000'", "NULL", "0", "-1", "200000001", "x'3630'", "1e3"] {
        for verb in ["INSERT", "INSERT OR IGNORE", "INSERT OR REPLACE"] {
            let why = refusal(&shop, &format!("{verb} {insert} {amount})"));
            assert!(why.contains("captured_amount must be a whole number"), "{verb} {amount}: {why}");
        }
    }
    assert_eq!(shop.execute(&format!("INSERT {insert} 6000)"), []), Ok(1));
    assert_eq!(shop.execute(&format!("INSERT {insert} 6000)"), []), Ok(0), "the same again");
    for verb in ["INSERT", "INSERT OR IGNORE", "INSERT OR REPLACE"] {
        let why = refusal(&shop, &format!("{verb} {insert} 7000)"));
        assert!(why.contains("another content"), "{verb}: {why}");
    }
    let why = refusal(&shop, &format!("INSERT {insert} 7000) ON CONFLICT DO NOTHING"));
    assert!(why.contains("another content"), "{why}");
}

#[test]
fn sqlite_keeps_its_rows() {
    let mut file = File::new();
    file.store().enqueue(Kind::Capture, &[entry("p", 1)]).unwrap();
    let shop = file.shop();
    for (sql, expected) in [
        ("UPDATE takings_capture SET captured_amount = 2", "cannot be changed"),
        ("UPDATE takings_capture SET order_id = 'o'", "cannot be changed"),
        ("UPDATE takings_capture SET enqueued_at = 0", "cannot be changed"),
        ("UPDATE takings_capture SET request = '{}'", "cannot be changed"),
        ("UPDATE takings_capture SET state = 'lost'", "CHECK"),
        ("UPDATE takings_capture SET state = 'captured'", "CHECK"),
        ("UPDATE takings_capture SET sends = -1", "never set back"),
        ("DELETE FROM takings_capture", "accounted for"),
        (
            "INSERT INTO takings_capture (order_id, reference, captured_amount, state) VALUES ('o', 'r', 1, 'stuck')",
            "only account",
        ),
        (
            "INSERT INTO takings_capture (order_id, reference, captured_amount, enqueued_at) VALUES ('o', 'r', 1, 5)",
            "enqueued_at is the present time",
        ),
        (
            "INSERT INTO takings_capture (order_id, reference, captured_amount, due_at) VALUES ('o', 'r', 1, NULL)",
            "due_at must be",
        ),
        (
            "INSERT INTO takings_capture (account, order_id, reference, captured_amount) VALUES ('x', 'o', 'r', 1)",
            "no such account",
        ),
        (
            "INSERT INTO takings_refund (order_id, reference, refunded_amount, request) VALUES ('o', 'r', 1, '[]')",
            "request must be",
        ),
        ("INSERT INTO takings_refund (order_id, reference, refunded_amount) VALUES ('o', '', 1)", "reference must be"),
        ("INSERT INTO takings_refund (order_id, reference, refunded_amount) VALUES (5, 'r', 1)", "order_id must be"),
    ] {
        let why = refusal(&shop, sql);
        assert!(why.contains(expected), "{sql}: {why}");
    }
    let claim = claim_one(&mut file);
    end_one(&mut file, &claim, done("c"));
    for sql in ["state = 'stuck', capture_id = NULL", "capture_id = 'd'"] {
        let why = refusal(&shop, &format!("UPDATE takings_capture SET {sql}"));
        assert!(why.contains("captured is final"), "{sql}: {why}");
    }
    assert_eq!(shop.execute("UPDATE takings_capture SET seen_at = 1", []), Ok(1));
    assert!(refusal(&shop, "DELETE FROM takings_capture").contains("accounted for"), "it could be enqueued again");
    file.store().enqueue(Kind::Capture, &[entry("q", 1)]).unwrap();
    let said = Said { word: Word::Withdraw, by: "ada".into(), note: None };
    file.store().say(Kind::Capture, "default", &entry("", 1).order_id, "q", &said).unwrap();
    assert_eq!(shop.execute("DELETE FROM takings_capture WHERE reference = 'q'", []), Ok(1), "nothing of it was sent");
}

#[test]
fn sqlite_keeps_no_row_waiting_behind_newer_ones() {
    let mut file = File::new();
    let shop = file.shop();
    let insert = "INSERT INTO takings_capture (order_id, reference, captured_amount, due_at) VALUES ('o', ?1, 1, ?2)";
    for (reference, due_at) in [("third", 30), ("first", 10)] {
        shop.execute(insert, rusqlite::params![reference, due_at]).unwrap();
    }
    shop.execute(
        "INSERT INTO takings_refund (order_id, reference, refunded_amount, due_at) VALUES ('o', 'second', 1, 20)",
        [],
    )
    .unwrap();
    file.store().enqueue(Kind::Capture, &[entry("new", 1)]).unwrap();
    let claims = file.store().claim("default", 3, LEASE).unwrap();
    let order: Vec<&str> = claims.iter().map(|claim| claim.reference.as_str()).collect();
    assert_eq!(order, ["first", "second", "third"]);
    assert_eq!(claim_one(&mut file).reference, "new", "its time is that of its INSERT");
}

#[test]
fn sqlite_knows_whether_it_has_a_worker() {
    let mut file = File::made(true);
    let mut other = Sqlite::open(file.path(), file.options(false)).unwrap();
    assert_eq!((file.store().has_worker(), other.has_worker()), (Ok(false), Ok(true)));
    file.store = None;
    assert_eq!(other.has_worker(), Ok(false));
    other.become_worker().unwrap();
}

#[test]
fn sqlite_has_one_worker() {
    let mut file = File::new();
    let mut second = Sqlite::open(file.path(), Options::default()).unwrap();
    let why = second.become_worker().unwrap_err();
    assert!(why.message.contains("another worker has this ledger"), "{why}");
    assert!(second.claim("default", 1, LEASE).unwrap_err().message.contains("a worker takes its lock first"));
    assert_eq!(second.enqueue(Kind::Capture, &[entry("p", 1)]), Ok(vec![true]), "anybody enqueues");
    file.store = None;
    assert_eq!(second.become_worker(), Ok(()));
    assert_eq!(second.claim("default", 1, LEASE).unwrap().len(), 1);
    assert_eq!(second.become_worker(), Ok(()), "its next worker");
    assert!(second.claim("default", 1, LEASE).unwrap()[0].row.maybe);
}

#[test]
fn sqlite_gives_the_rows_of_a_dead_worker_at_once() {
    let mut file = File::new();
    file.store().enqueue(Kind::Capture, &[entry("p", 1)]).unwrap();
    claim_one(&mut file);
    file.restart();
    assert!(claim_one(&mut file).row.maybe);
}

#[test]
fn sqlite_looks_first_in_a_new_ledger() {
    let mut file = File::made(false);
    file.store().enqueue(Kind::Capture, &[entry("p", 1)]).unwrap();
    let claim = claim_one(&mut file);
    assert_eq!((claim.row.unvouched, claim.row.vouched_age), (true, None));
}

#[test]
fn sqlite_sees_a_backup_that_took_the_place_of_its_file() {
    let mut file = File::new();
    file.store().enqueue(Kind::Capture, &[entry("p", 1)]).unwrap();
    let (backup, path) = (file.directory.path().join("backup"), file.path());
    file.shop().execute("VACUUM INTO ?", [backup.to_str()]).unwrap();
    let removed = |suffix: &str| drop(std::fs::remove_file(format!("{}{suffix}", path.display())));
    std::fs::rename(&backup, &path).unwrap();
    let why = file.store().claim("default", 1, LEASE).unwrap_err();
    assert!(why.message.contains("was replaced"), "{why}");
    file.store = None;
    removed("-wal");
    removed("-shm");
    file.restart();
    assert!(claim_one(&mut file).row.unvouched);
}

#[test]
fn sqlite_sees_a_backup_that_was_written_into_its_file() {
    let mut file = File::new();
    file.store().enqueue(Kind::Capture, &[entry("p", 1)]).unwrap();
    let backup = file.directory.path().join("backup");
    file.shop().execute("VACUUM INTO ?", [backup.to_str()]).unwrap();
    claim_one(&mut file);
    file.store = None;
    let backup = std::fs::read(backup).unwrap();
    std::fs::write(file.path(), backup).unwrap();
    file.restart();
    assert!(claim_one(&mut file).row.unvouched);
    file.restart();
    assert!(claim_one(&mut file).row.maybe);
}

/// Nobody started a worker since, and a person's word sees it all the same.
#[test]
fn sqlite_withdraws_nothing_from_a_backup() {
    let mut file = File::new();
    file.store().enqueue(Kind::Capture, &[entry("p", 1)]).unwrap();
    let backup = file.directory.path().join("backup");
    file.shop().execute("VACUUM INTO ?", [backup.to_str()]).unwrap();
    claim_one(&mut file);
    file.store = None;
    let backup = std::fs::read(backup).unwrap();
    std::fs::write(file.path(), backup).unwrap();
    file.store = Some(Sqlite::open(file.path(), file.options(false)).unwrap());
    let why = say(&mut file, Kind::Capture, Word::Withdraw).unwrap_err();
    assert!(why.contains("another one may have sent it"), "{why}");
}

#[test]
fn sqlite_leaves_another_programs_file_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shop.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE shipment (id)").unwrap();
    let why = Sqlite::open(&path, Options::default()).unwrap_err();
    assert!(why.message.contains("another program's database"), "{why}");
    std::fs::write(directory.path().join("text"), "no database, but a text that is long enough".repeat(100)).unwrap();
    let why = Sqlite::open(directory.path().join("text"), Options::default()).unwrap_err();
    assert!(!why.retryable, "{why}");
    assert!(Sqlite::open(Path::new("/proc/none/ledger.db"), Options::default()).is_err());
}

#[cfg(unix)]
#[test]
fn sqlite_keeps_customers_data_from_other_users() {
    use std::os::unix::fs::PermissionsExt;
    let mut file = File::new();
    file.store().enqueue(Kind::Capture, &[entry("p", 1)]).unwrap();
    for name in ["ledger.db", "ledger.db-wal", "ledger.db.lock"] {
        let mode = file.directory.path().join(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn sqlite_writes_to_the_disk_before_it_tells() {
    let file = File::new();
    let shop = file.shop();
    let mode: String = shop.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    // The claim reads its rows from the index of what is due, in order, and sorts nothing.
    let plan = "EXPLAIN QUERY PLAN SELECT id FROM takings_capture WHERE account = 'default' AND due_at <= 5
                ORDER BY due_at, id LIMIT 10";
    let plan: Vec<String> =
        shop.prepare(plan).unwrap().query_map([], |row| row.get(3)).unwrap().map(Result::unwrap).collect();
    assert!(plan.len() == 1 && plan[0].contains("takings_capture_due"), "{plan:?}");
}
