//! The worker against the sandbox: every fault, every step at which it may die, and an audit that finds nothing.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use takings::{Config, Credentials};
use takings_ledger::office::Office;
use takings_ledger::policy::{Change, State};
use takings_ledger::sqlite::{Clock, Options, Sqlite, system_clock};
use takings_ledger::store::{Claim, Entry, Error, Kept, Kind, Pace, Record, Settlement, Shared, Store};
use takings_ledger::worker::{Hands, Settings, Tally, work};
use takings_sandbox::{Fault, NewOrder, PlannedFault, Sandbox};

const PATIENCE: Duration = Duration::from_secs(120);

/// A sandbox, a ledger beside it, and one clock for both.
struct Place {
    directory: tempfile::TempDir,
    sandbox: Sandbox,
    offset: Arc<AtomicI64>,
}

impl Place {
    fn new() -> Place {
        Place {
            directory: tempfile::tempdir().unwrap(),
            sandbox: Sandbox::start(takings_sandbox::Options::default()).unwrap(),
            offset: Arc::default(),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("ledger.db")
    }

    fn clock(&self) -> Clock {
        let offset = self.offset.clone();
        Arc::new(move || system_clock() + offset.load(Ordering::SeqCst))
    }

    fn open(&self, first_ever: bool) -> Sqlite {
        Sqlite::open(self.path(), Options { first_ever, clock: self.clock() }).unwrap()
    }

    fn order(&self, amount: i64, faults: &[Value]) -> String {
        let faults = faults.iter().map(|fault| {
            let fault: Fault = serde_json::from_value(fault.clone()).unwrap();
            PlannedFault::from(fault)
        });
        let faults = faults.collect();
        self.sandbox.create_order(NewOrder { order_amount: amount, faults, ..NewOrder::default() })
    }

    fn settings(&self) -> Settings {
        Settings {
            merchant: "sandbox".into(),
            hands: 4,
            timeout: Duration::from_secs(20),
            idle: Duration::from_millis(20),
            clock: self.clock(),
            ..Settings::default()
        }
    }

    fn config(&self) -> Config {
        Config::at(self.sandbox.url(), Credentials::basic("sandbox", "sandbox"))
    }

    /// Runs a worker until every row is settled or it dies. Where nothing is due, time passes for all.
    fn run(&self, store: &mut impl Store) -> Result<Tally, Error> {
        let stop = AtomicBool::new(false);
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| self.pass_time(&is_over, &stop));
            let settings = Settings { until_quiet: Some(Duration::MAX), ..self.settings() };
            let result = work(store, self.config(), &settings, &stop);
            is_over.store(true, Ordering::SeqCst);
            assert!(!stop.load(Ordering::SeqCst), "not settled within {PATIENCE:?}");
            result
        })
    }

    fn pass_time(&self, is_over: &AtomicBool, stop: &AtomicBool) {
        let begun = Instant::now();
        let db = rusqlite::Connection::open(self.path()).unwrap();
        db.busy_timeout(Duration::from_secs(10)).unwrap();
        while !is_over.load(Ordering::SeqCst) {
            if begun.elapsed() > PATIENCE {
                stop.store(true, Ordering::SeqCst);
            }
            thread::sleep(Duration::from_millis(5));
            let (sending, due, paused): (i64, Option<i64>, i64) = db
                .query_row(
                    "SELECT sum(state = 'sending'), min(due_at), (SELECT paused_until FROM takings_account)
                     FROM (SELECT state, due_at FROM takings_capture UNION ALL SELECT state, due_at FROM takings_refund)",
                    [],
                    |row| Ok((row.get::<_, Option<i64>>(0)?.unwrap_or(0), row.get(1)?, row.get(2)?)),
                )
                .unwrap();
            let wait = due.map_or(0, |due| due.max(paused) - (self.clock())());
            if sending == 0 && wait > 0 {
                self.offset.fetch_add(wait, Ordering::SeqCst);
                self.sandbox.advance(Duration::from_millis(wait as u64));
            }
        }
    }
}

fn entry(order_id: &str, reference: &str, amount: i64) -> Entry {
    Entry {
        account: "default".into(),
        order_id: order_id.into(),
        reference: reference.into(),
        amount,
        request: Some(r#"{"description": "a parcel"}"#.into()),
    }
}

fn find(store: &mut impl Store, kind: Kind, order: &str, reference: &str) -> Record {
    store.find(kind, "default", order, reference).unwrap().unwrap()
}

fn status(status: u16) -> Value {
    json!({"fault": "status", "status": status})
}

/// One fault each, and how often a request struck by it can be told from one that may have been carried out.
fn faults() -> Vec<Vec<Value>> {
    let page = json!({"fault": "status", "status": 403, "html": true});
    vec![
        vec![],
        vec![json!({"fault": "lost_answer"})],
        vec![json!({"fault": "reset_before_commit"})],
        vec![json!({"fault": "reset_after_commit"}), status(503)],
        vec![json!({"fault": "close_mid_answer"})],
        vec![json!({"fault": "cut_body"})],
        vec![json!({"fault": "too_many_requests"})],
        vec![json!({"fault": "created_without_id"})],
        vec![json!({"fault": "commit_late", "requests": 1})],
        vec![json!({"fault": "commit_late", "seconds": 3})],
        vec![status(401)],
        vec![page],
        vec![json!({"fault": "lost_answer"}), status(401), json!({"fault": "too_many_requests"})],
        vec![json!({"fault": "lost_answer"}), status(500), status(502), status(503)],
        vec![json!({"fault": "status", "status": 409})],
    ]
}

#[test]
fn a_limit_pauses_the_account_for_as_long_as_klarna_asks() {
    for header in ["retry_after", "ratelimit_reset"] {
        let place = Place::new();
        let mut store = place.open(true);
        let begun = Instant::now();
        let order = place.order(10_000, &[json!({"fault": "too_many_requests", header: "400"})]);
        store.enqueue(Kind::Capture, &[entry(&order, "parcel-1", 10_000)]).unwrap();
        assert_eq!(place.run(&mut store).unwrap().done, 1);
        let passed = begun.elapsed() + Duration::from_millis(place.offset.load(Ordering::SeqCst) as u64);
        assert!(passed >= Duration::from_secs(400), "{header}: {passed:?}");
        assert!(place.sandbox.audit().is_empty(), "{:?}", place.sandbox.audit());
    }
}

/// A row whose words the ledger cannot take keeps no other end from being written, and has its own without the words.
#[test]
fn no_end_is_lost_by_the_words_of_another() {
    let place = Place::new();
    let mut store = place.open(true);
    let orders = [10_000, 5_000].map(|amount| place.order(amount, &[]));
    let shop = rusqlite::Connection::open(place.path()).unwrap();
    shop.execute_batch(
        "CREATE TRIGGER poison BEFORE UPDATE ON takings_capture WHEN NEW.error_code IS NOT NULL
         BEGIN SELECT RAISE(ABORT, 'no such letter'); END",
    )
    .unwrap();
    let entries: Vec<Entry> = orders.iter().map(|order| entry(order, "parcel-1", 10_000)).collect();
    store.enqueue(Kind::Capture, &entries).unwrap();
    let tally = place.run(&mut store).unwrap();
    assert_eq!((tally.done, tally.rejected), (1, 1));
    let states = orders.map(|order| find(&mut store, Kind::Capture, &order, "parcel-1").state);
    assert_eq!(states, [State::Done, State::Rejected]);
}

/// An end that cannot be written at all ends the worker, and the other ends stand.
#[test]
fn a_row_that_takes_no_end_loses_no_other() {
    let place = Place::new();
    let mut store = place.open(true);
    let orders: Vec<String> = (0..4).map(|_| place.order(10_000, &[])).collect();
    let shop = rusqlite::Connection::open(place.path()).unwrap();
    shop.execute_batch(&format!(
        "CREATE TRIGGER poison BEFORE UPDATE ON takings_capture
         WHEN NEW.capture_id IS NOT NULL AND NEW.order_id = '{}' BEGIN SELECT RAISE(ABORT, 'never'); END",
        orders[0]
    ))
    .unwrap();
    let entries: Vec<Entry> = orders.iter().map(|order| entry(order, "parcel-1", 10_000)).collect();
    store.enqueue(Kind::Capture, &entries).unwrap();
    let mut store = Mortal { gather: PATIENCE, store, ..place.mortal() };
    let why = place.run(&mut store).unwrap_err();
    assert!(why.message.contains("never"), "{why}");
    for order in &orders[1..] {
        assert_eq!(find(&mut store.store, Kind::Capture, order, "parcel-1").state, State::Done);
    }
}

#[test]
fn every_fault_ends_in_one_capture_and_one_refund() {
    let place = Place::new();
    let mut store = place.open(true);
    let orders: Vec<String> = faults().iter().map(|faults| place.order(10_000, faults)).collect();
    for (kind, amount) in [(Kind::Capture, 10_000), (Kind::Refund, 4_000)] {
        if kind == Kind::Refund {
            for (order, faults) in orders.iter().zip(faults()) {
                for fault in faults {
                    let fault: Fault = serde_json::from_value(fault).unwrap();
                    place.sandbox.fault(order, fault);
                }
            }
        }
        let entries: Vec<Entry> = orders.iter().map(|order| entry(order, "parcel-1", amount)).collect();
        store.enqueue(kind, &entries).unwrap();
        let tally = place.run(&mut store).unwrap();
        assert_eq!((tally.done, tally.rejected, tally.stuck, tally.stale), (orders.len() as u64, 0, 0, 0), "{kind:?}");
        for order in &orders {
            let record = find(&mut store, kind, order, "parcel-1");
            let ledger = place.sandbox.ledger_of(order);
            let ids: Vec<String> = ledger
                .iter()
                .filter_map(|entry| match (kind, &entry.refund_id) {
                    (Kind::Refund, id) => id.clone(),
                    (Kind::Capture, None) => Some(entry.capture_id.clone()),
                    (Kind::Capture, Some(_)) => None,
                })
                .collect();
            assert_eq!((record.state, record.done_as.as_slice()), (State::Done, ids.as_slice()), "{kind:?} of {order}");
        }
    }
    assert_eq!(place.sandbox.audit(), []);
}

#[test]
fn a_refusal_is_booked_and_a_person_is_told() {
    let place = Place::new();
    let mut store = place.open(true);
    let order = place.order(1000, &[]);
    let unclear = place.order(1000, &[json!({"fault": "reset_before_commit"})]);
    let entries = [
        entry(&order, "p", 2000),
        entry(&unclear, "p", 2000),
        Entry { request: Some(r#"{"lines": 1}"#.into()), ..entry(&order, "q", 1) },
    ];
    store.enqueue(Kind::Capture, &entries).unwrap();
    let first = Entry { request: Some(r#"{"first_use": true}"#.into()), ..entry(&order, "r", 1) };
    let twice = Entry { request: Some(r#"{"reference": "p"}"#.into()), ..entry(&order, "s", 1) };
    store.enqueue(Kind::Capture, &[first, twice]).unwrap();
    let tally = place.run(&mut store).unwrap();
    assert_eq!((tally.done, tally.rejected, tally.stuck), (0, 1, 4));
    for (order, reference, state, why) in [
        (&order, "p", State::Rejected, "refused"),
        // Nobody knows whether the lost request is still under way.
        (&unclear, "p", State::Stuck, "refused_after_unclear"),
        (&order, "q", State::Stuck, "invalid"),
        (&order, "r", State::Stuck, "invalid"),
        (&order, "s", State::Stuck, "invalid"),
    ] {
        let record = find(&mut store, Kind::Capture, order, reference);
        assert_eq!((record.state, record.why.as_deref()), (state, Some(why)), "{reference}");
        assert!(record.alert_at.is_some());
    }
    assert_eq!(place.sandbox.ledger(), []);
}

#[test]
fn a_new_ledger_looks_before_it_sends() {
    let place = Place::new();
    let order = place.order(10_000, &[]);
    let client = takings::Client::new(place.config()).unwrap();
    let mut request = takings::CaptureRequest::new(4000);
    request.reference = Some("parcel-1".into());
    let capture = client.capture(&order, &request, None).unwrap();
    // Klarna has long forgotten the key of that capture, and the ledger never knew it.
    place.sandbox.advance(Duration::from_secs(26 * 60 * 60));
    let mut store = place.open(false);
    let entries = [entry(&order, "parcel-1", 4000), entry(&order, "parcel-2", 5000)];
    store.enqueue(Kind::Capture, &entries).unwrap();
    assert_eq!(place.run(&mut store).unwrap().done, 2);
    let record = find(&mut store, Kind::Capture, &order, "parcel-1");
    assert_eq!(record.done_as.as_deref(), Some(capture.capture_id()));
    assert_eq!(place.sandbox.ledger_of(&order).len(), 2);
}

#[test]
fn an_outage_of_a_night_costs_few_requests_and_loses_nothing() {
    const ROWS: u64 = 300;
    let mut place = Place::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut store = place.open(true);
    let orders: Vec<String> = (0..ROWS).map(|n| format!("order-{n}")).collect();
    let entries: Vec<Entry> = orders.iter().map(|order| entry(order, "p", 100)).collect();
    store.enqueue(Kind::Capture, &entries).unwrap();
    let config = || Config::at(format!("http://127.0.0.1:{port}"), Credentials::basic("sandbox", "sandbox"));
    let (stop, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    let tally = thread::scope(|scope| {
        scope.spawn(|| {
            let begun = Instant::now();
            while place.offset.load(Ordering::SeqCst) < 10 * 60 * 60 * 1000 && begun.elapsed() < PATIENCE {
                thread::sleep(Duration::from_millis(5));
            }
            is_over.store(true, Ordering::SeqCst);
            stop.store(true, Ordering::SeqCst);
        });
        scope.spawn(|| place.pass_time(&is_over, &stop));
        work(&mut store, config(), &place.settings(), &stop).unwrap()
    });
    assert!(place.offset.load(Ordering::SeqCst) >= 10 * 60 * 60 * 1000, "ten hours passed");
    assert_eq!((tally.done, tally.rejected, tally.stuck), (0, 0, 0));
    // Some 120 probes and what was under way before. Without the pause of the account it would be 300 rows × 120 times.
    assert!((100..1000).contains(&tally.again), "{tally:?}");
    assert!(orders.iter().all(|order| find(&mut store, Kind::Capture, order, "p").state == State::Queued));
    place.sandbox = Sandbox::start(takings_sandbox::Options { port, ..takings_sandbox::Options::default() }).unwrap();
    for order in &orders {
        let order_id = Some(order.clone());
        place.sandbox.create_order(NewOrder { order_id, order_amount: 100, ..NewOrder::default() });
    }
    assert_eq!(place.run(&mut store).unwrap().done, ROWS);
    assert_eq!(place.sandbox.audit(), []);
}

#[test]
fn a_worker_that_is_told_to_stop_hands_back_what_it_did_not_send() {
    let place = Place::new();
    let mut store = place.open(true);
    let order = place.order(10_000, &[json!({"fault": "delay", "seconds": 1.0})]);
    // All of one order go through one thread, so the second waits for the first.
    store.enqueue(Kind::Capture, &[entry(&order, "p", 1), entry(&order, "q", 2)]).unwrap();
    let stop = AtomicBool::new(false);
    let tally = thread::scope(|scope| {
        scope.spawn(|| {
            let begun = Instant::now();
            while place.sandbox.requests().is_empty() && begun.elapsed() < PATIENCE {
                thread::sleep(Duration::from_millis(5));
            }
            stop.store(true, Ordering::SeqCst);
        });
        work(&mut store, place.config(), &place.settings(), &stop).unwrap()
    });
    assert_eq!((tally.done, tally.again), (1, 1), "{tally:?}");
    let record = find(&mut store, Kind::Capture, &order, "q");
    assert_eq!((record.state, record.maybe), (State::Queued, false));
    assert_eq!(place.sandbox.requests().len(), 1);
}

#[test]
fn a_worker_for_another_place_is_refused() {
    let place = Place::new();
    let stop = AtomicBool::new(true);
    work(&mut place.open(true), place.config(), &place.settings(), &stop).unwrap();
    let elsewhere = Config::at("http://127.0.0.1:9", Credentials::basic("sandbox", "sandbox"));
    let why = work(&mut place.open(true), elsewhere, &place.settings(), &stop).unwrap_err();
    assert!(why.message.contains("belongs to sandbox at"), "{why}");
}

#[test]
fn clocks_that_differ_send_nothing() {
    let place = Place::new();
    let mut store = place.open(true);
    let order = place.order(10_000, &[]);
    store.enqueue(Kind::Capture, &[entry(&order, "p", 1)]).unwrap();
    let stop = AtomicBool::new(false);
    let settings = Settings { clock: Arc::new(|| system_clock() + 400_000), ..place.settings() };
    let tally = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(500));
            stop.store(true, Ordering::SeqCst);
        });
        work(&mut store, place.config(), &settings, &stop).unwrap()
    });
    assert_eq!((tally.done, tally.again), (0, 1), "the account is paused after the first claim");
    assert_eq!(place.sandbox.requests(), []);
}

/// A store whose worker dies at its n-th step: before the step is done, or right after it.
struct Mortal {
    store: Sqlite,
    steps: u32,
    after: bool,
    gather: Duration,
    /// So many writes find their rows locked by another transaction.
    locked: u32,
}

impl Place {
    fn mortal(&self) -> Mortal {
        let store = self.open(true);
        Mortal { steps: u32::MAX, after: false, gather: store.pace().gather, locked: 0, store }
    }
}

impl Mortal {
    fn step<T>(&mut self, step: impl FnOnce(&mut Sqlite) -> Result<T, Error>) -> Result<T, Error> {
        let killed = || Error { message: "killed".into(), retryable: false };
        if self.steps == 0 {
            return Err(killed());
        }
        self.steps -= 1;
        if self.steps == 0 && !self.after {
            return Err(killed());
        }
        let result = step(&mut self.store);
        if self.steps == 0 { Err(killed()) } else { result }
    }
}

impl Store for Mortal {
    fn pace(&self) -> Pace {
        Pace { gather: self.gather, ..self.store.pace() }
    }

    fn become_worker(&mut self) -> Result<(), Error> {
        self.store.become_worker()
    }

    fn bind(&mut self, account: &str, base_url: &str, merchant: &str) -> Result<(), Error> {
        self.store.bind(account, base_url, merchant)
    }

    fn enqueue(&mut self, kind: Kind, entries: &[Entry]) -> Result<Vec<bool>, Error> {
        self.store.enqueue(kind, entries)
    }

    fn claim(&mut self, account: &str, most: usize, lease: Duration) -> Result<Vec<Claim>, Error> {
        // A claim without rows is no step, or idle polls would be all that dies.
        let claims = self.store.claim(account, most, lease)?;
        if claims.is_empty() { Ok(claims) } else { self.step(|_| Ok(claims)) }
    }

    fn settle(&mut self, ends: &[Settlement]) -> Result<Vec<Kept>, Error> {
        if self.locked > 0 {
            self.locked -= 1;
            return Ok(vec![Kept::Locked; ends.len()]);
        }
        self.step(|store| store.settle(ends))
    }

    fn change(&mut self, account: &str, change: Change) -> Result<(), Error> {
        self.step(|store| store.change(account, change))
    }

    fn restored(&mut self) -> Result<(), Error> {
        self.store.restored()
    }

    fn find(&mut self, kind: Kind, account: &str, order_id: &str, reference: &str) -> Result<Option<Record>, Error> {
        self.store.find(kind, account, order_id, reference)
    }

    fn quiet(&mut self, account: &str) -> Result<Option<Duration>, Error> {
        self.store.quiet(account)
    }

    fn open_rows(&mut self, account: &str) -> Result<u64, Error> {
        self.store.open_rows(account)
    }
}

#[test]
fn a_worker_may_die_at_every_step() {
    for after in [false, true] {
        let place = Place::new();
        let orders: Vec<String> = faults().iter().map(|faults| place.order(10_000, faults)).collect();
        let entries: Vec<Entry> = orders.iter().map(|order| entry(order, "parcel-1", 10_000)).collect();
        place.open(true).enqueue(Kind::Capture, &entries).unwrap();
        let mut deaths = 0;
        // The first dies at its first step, the next at its second; the last lives.
        while let Err(why) = place.run(&mut Mortal { steps: deaths + 1, after, ..place.mortal() }) {
            assert_eq!(why.message, "killed");
            deaths += 1;
            assert!(deaths < 200);
        }
        assert!(deaths > 3, "{deaths} deaths");
        let mut store = place.open(true);
        for order in &orders {
            let record = find(&mut store, Kind::Capture, order, "parcel-1");
            let ledger = place.sandbox.ledger_of(order);
            assert_eq!(ledger.len(), 1, "{order}");
            assert_eq!((record.state, record.done_as.as_deref()), (State::Done, Some(ledger[0].capture_id.as_str())));
        }
        assert_eq!(place.sandbox.audit(), []);
    }
}

/// An end whose row somebody has locked waits for the next write. A worker that has to stop waits ten seconds for it.
#[test]
fn a_locked_row_is_written_later() {
    let place = Place::new();
    let order = place.order(10_000, &[]);
    let mut store = Mortal { locked: 3, ..place.mortal() };
    store.enqueue(Kind::Capture, &[entry(&order, "parcel-1", 4_000)]).unwrap();
    assert_eq!(place.run(&mut store).unwrap().done, 1);
    assert_eq!(find(&mut store.store, Kind::Capture, &order, "parcel-1").state, State::Done);
    store.locked = u32::MAX;
    store.enqueue(Kind::Capture, &[entry(&order, "parcel-2", 4_000)]).unwrap();
    let stop = AtomicBool::new(false);
    let sent = || place.sandbox.ledger_of(&order).len();
    let why = thread::scope(|scope| {
        scope.spawn(|| {
            let begun = Instant::now();
            while sent() < 2 && begun.elapsed() < PATIENCE {
                thread::sleep(Duration::from_millis(20));
            }
            stop.store(true, Ordering::SeqCst);
        });
        work(&mut store, place.config(), &place.settings(), &stop).unwrap_err()
    });
    assert!(why.message.contains("locked by another transaction"), "{why}");
}

/// Each commit costs, so ends wait for those that follow soon; the last one waits for nothing.
#[test]
fn ends_are_gathered_into_one_write() {
    let steps_with = |gather| {
        let place = Place::new();
        let slow = json!({"fault": "delay", "seconds": 0.3});
        let orders = [vec![], vec![slow.clone()], vec![], vec![slow]].map(|faults| place.order(100, &faults));
        let mut store = Mortal { gather, ..place.mortal() };
        store.enqueue(Kind::Capture, &orders.map(|order| entry(&order, "p", 100))).unwrap();
        assert_eq!(place.run(&mut store).unwrap().done, 4);
        u32::MAX - store.steps
    };
    assert_eq!(steps_with(PATIENCE), 2, "a claim and a write");
    assert!(steps_with(Duration::ZERO) > 2);
}

#[test]
fn a_file_that_is_no_ledger_ends_the_worker() {
    let place = Place::new();
    let mut store = place.open(true);
    std::fs::rename(place.path(), place.directory.path().join("gone")).unwrap();
    std::fs::write(Path::new(&place.path()), "").unwrap();
    let stop = AtomicBool::new(false);
    let why = work(&mut store, place.config(), &place.settings(), &stop).unwrap_err();
    assert!(why.message.contains("was replaced"), "{why}");
}

/// Workers of several accounts share their threads, and each has one that the others cannot take.
#[test]
fn accounts_share_their_threads() {
    let place = Place::new();
    let mut store = place.open(true);
    store.become_worker().unwrap();
    let accounts = ["default", "se", "no"];
    for account in accounts {
        store.make_account(account, true).unwrap();
        let of = |n| Entry { account: account.into(), ..entry(&format!("order-{n}"), "p", 100) };
        store.enqueue(Kind::Capture, &(0..20).map(of).collect::<Vec<_>>()).unwrap();
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = Config::at(format!("http://{}", listener.local_addr().unwrap()), Credentials::basic("a", "b"));
    let (stop, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    let store = Mutex::new(&mut store);
    let together = Arc::new(Hands::new(4));
    thread::scope(|scope| {
        let workers = accounts.map(|account| {
            let settings =
                Settings { account: account.into(), hands: 8, together: Some(together.clone()), ..place.settings() };
            let (mut shared, config, stop) = (Shared::new(&store), config.clone(), &stop);
            scope.spawn(move || work(&mut shared, config, &settings, stop))
        });
        // No answer comes before all are under way that may be.
        let mut asked: Vec<TcpStream> = (0..7).map(|_| listener.accept().unwrap().0).collect();
        let db = rusqlite::Connection::open(place.path()).unwrap();
        let count = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        let claimed = "SELECT count(*) FROM takings_capture WHERE state = 'sending'";
        assert_eq!(count(claimed), 7, "one for each account, and the four");
        let served = "SELECT count(DISTINCT account) FROM takings_capture WHERE state = 'sending'";
        assert_eq!(count(served), 3);
        stop.store(true, Ordering::SeqCst);
        asked.clear();
        scope.spawn(|| listener.incoming().take_while(|_| !is_over.load(Ordering::SeqCst)).for_each(drop));
        for worker in workers {
            worker.join().unwrap().unwrap();
        }
        is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(listener.local_addr().unwrap());
    });
}
