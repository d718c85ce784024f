//! The promises of PostgreSQL as an engine: for shops that insert by themselves, and for many workers at once.
#![cfg(target_os = "linux")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use postgres::error::SqlState;
use takings_ledger::office::{Office, Wanted};
use takings_ledger::policy::{End, State, settle};
use takings_ledger::postgres::{Postgres, grants, schema, shown};
use takings_ledger::sqlite::{Options, Sqlite};
use takings_ledger::store::{Claim, Entry, Kept, Kind, Settlement, Store};

mod cluster;
use cluster::Cluster;

const LEASE: Duration = Duration::from_secs(180);

fn open(database: &str) -> Postgres {
    let mut store = Postgres::open(&Cluster::get().url(database)).unwrap();
    store.become_worker().unwrap();
    store
}

fn entry(order_id: &str, reference: &str, amount: i64) -> Entry {
    Entry { account: "default".into(), order_id: order_id.into(), reference: reference.into(), amount, request: None }
}

fn entries(range: std::ops::Range<u32>) -> Vec<Entry> {
    range.map(|n| entry(&format!("o-{n}"), "p", 1)).collect()
}

fn done(claim: &Claim) -> Settlement {
    let verdict = settle(&claim.row, End::Done(format!("c-{}", claim.id)));
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
        due_in: None,
        vouches: verdict.vouches,
        was_sent: true,
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

fn refusal(shop: &mut postgres::Client, sql: &str) -> String {
    let why = shop.batch_execute(sql).expect_err(sql);
    why.as_db_error().map_or_else(|| why.to_string(), |why| why.message().to_owned())
}

#[test]
fn amounts_of_other_types_are_refused() {
    let database = Cluster::get().database();
    let mut shop = Cluster::get().shop(&database);
    let insert = "INSERT INTO takings_capture (order_id, reference, captured_amount) VALUES ('o', 'p',";
    for amount in ["60.5", "60.00", "NULL", "0", "-1", "200000001", "'NaN'", "'60.00'", "100.7"] {
        let why = refusal(&mut shop, &format!("{insert} {amount})"));
        assert!(why.contains("captured_amount must be a whole number"), "{amount}: {why}");
    }
    assert_eq!(shop.execute(&format!("{insert} 6000)"), &[]).unwrap(), 1);
    assert_eq!(shop.execute(&format!("{insert} 6000)"), &[]).unwrap(), 0, "the same again");
    let why = refusal(&mut shop, &format!("{insert} 7000)"));
    assert!(why.contains("another content"), "{why}");
    let why = refusal(&mut shop, &format!("{insert} 7000) ON CONFLICT DO NOTHING"));
    assert!(why.contains("another content"), "{why}");
}

#[test]
fn rows_are_kept() {
    let database = Cluster::get().database();
    let mut store = open(&database);
    store.enqueue(Kind::Capture, &[entry("o", "p", 1)]).unwrap();
    let mut shop = Cluster::get().shop(&database);
    let insert =
        |table: &str, columns: &str, values: &str| format!("INSERT INTO takings_{table} ({columns}) VALUES ({values})");
    let capture = |column: &str, value: &str| {
        insert("capture", &format!("order_id, reference, captured_amount, {column}"), &format!("'o', 'r', 1, {value}"))
    };
    let upper = "'F3392F8B-6116-4073-AB96-E330819E2C07', 'r', 1";
    for (sql, expected) in [
        ("UPDATE takings_capture SET captured_amount = 2".into(), "cannot be changed"),
        ("UPDATE takings_capture SET order_id = 'o'".into(), "cannot be changed"),
        ("UPDATE takings_capture SET enqueued_at = now()".into(), "cannot be changed"),
        ("UPDATE takings_capture SET request = '{}'".into(), "cannot be changed"),
        ("UPDATE takings_capture SET state = 'lost'".into(), "check"),
        ("UPDATE takings_capture SET state = 'captured'".into(), "check"),
        ("UPDATE takings_capture SET sends = -1".into(), "never set back"),
        ("UPDATE takings_capture SET maybe = true; UPDATE takings_capture SET maybe = false".into(), "never set back"),
        ("DELETE FROM takings_capture".into(), "accounted for"),
        (capture("state", "'stuck'"), "only account"),
        (capture("maybe", "true"), "only account"),
        (capture("enqueued_at", "'2020-01-01'"), "enqueued_at is the present time"),
        (capture("due_at", "NULL"), "due_at must be"),
        (capture("due_at", "'infinity'"), "due_at must be"),
        (capture("account", "'x'"), "no such account"),
        (capture("request", "'[]'"), "request must be"),
        (capture("request", "'{'"), "json"),
        (insert("refund", "order_id, reference, refunded_amount", "'o', '', 1"), "reference must be"),
        (insert("refund", "order_id, reference, refunded_amount", "'', 'r', 1"), "order_id must be"),
        (insert("refund", "order_id, reference, refunded_amount", upper), "small letters"),
    ] {
        let why = refusal(&mut shop, &sql);
        assert!(why.contains(expected), "{sql}: {why}");
    }
    let claim = store.claim("default", 1, LEASE).unwrap().remove(0);
    store.settle(&[done(&claim)]).unwrap();
    for sql in ["state = 'stuck', capture_id = NULL", "capture_id = 'd'"] {
        let why = refusal(&mut shop, &format!("UPDATE takings_capture SET {sql}"));
        assert!(why.contains("captured is final"), "{sql}: {why}");
    }
    shop.batch_execute("UPDATE takings_capture SET seen_at = now()").unwrap();
    let why = refusal(&mut shop, "DELETE FROM takings_capture");
    assert!(why.contains("takings purge leaves a stub"), "{why}");
}

/// A shop's role inserts and takes outcomes over; a worker's role works; neither can do more.
#[test]
fn roles_have_what_they_need() {
    let cluster = Cluster::get();
    let database = cluster.database();
    let (shop, worker) = (format!("{database}_shop"), format!("{database}_worker"));
    cluster.run(&database, &format!("CREATE ROLE {shop} LOGIN; CREATE ROLE {worker} LOGIN"));
    cluster.run(&database, &grants(Some(&shop), Some(&worker)));
    let as_role = |role: &str| cluster.url(&database).replace("user=owner", &format!("user={role}"));
    let mut client = postgres::Client::connect(&as_role(&shop), postgres::NoTls).unwrap();
    client
        .batch_execute(
            "INSERT INTO takings_capture (order_id, reference, captured_amount, request) VALUES ('o', 'p', 1, '{}');
             INSERT INTO takings_refund (order_id, reference, refunded_amount) VALUES ('o', 'p', 1);
             UPDATE takings_capture SET seen_at = now() WHERE settled_at IS NOT NULL AND seen_at IS NULL;
             SELECT state FROM takings_capture",
        )
        .unwrap();
    for sql in [
        "UPDATE takings_capture SET state = 'queued'",
        "DELETE FROM takings_capture",
        "UPDATE takings_account SET per_second = 1",
        "SELECT base_url FROM takings_account",
        "INSERT INTO takings_capture (order_id, reference, captured_amount, state) VALUES ('o', 'q', 1, 'queued')",
    ] {
        let why = client.batch_execute(sql).expect_err(sql);
        assert_eq!(why.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{sql}: {why}");
    }
    let mut store = Postgres::open(&as_role(&worker)).unwrap();
    store.become_worker().unwrap();
    store.bind("default", "https://api.klarna.com", "K1").unwrap();
    let claims = store.claim("default", 10, LEASE).unwrap();
    assert_eq!(claims.len(), 2);
    store.settle(&claims.iter().map(done).collect::<Vec<_>>()).unwrap();
    store.purge(Kind::Capture, Duration::ZERO, 0).unwrap();
    store.restored().unwrap();
    let why = client.batch_execute("DROP TABLE takings_capture").expect_err("the owner's table");
    assert_eq!(why.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{why}");
}

/// Of shops that enqueue one name at the same moment, those with another content fail, and no row is there twice.
#[test]
fn shops_race() {
    let database = Cluster::get().database();
    let failed = AtomicU64::new(0);
    thread::scope(|scope| {
        for shop in 0..8_i64 {
            let (database, failed) = (&database, &failed);
            scope.spawn(move || {
                let mut store = open(database);
                for n in 0..20 {
                    let amount = if shop == 7 { 2 } else { 1 };
                    match store.enqueue(Kind::Capture, &[entry(&format!("o-{n}"), "p", amount)]) {
                        Ok(_) => {}
                        Err(why) => {
                            assert!(why.message.contains("another content"), "{why}");
                            failed.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                }
            });
        }
    });
    let rows = Cluster::get()
        .shop(&database)
        .query("SELECT count(*), count(*) FILTER (WHERE captured_amount = 2) FROM takings_capture", &[])
        .unwrap();
    let (rows, twos): (i64, i64) = (rows[0].get(0), rows[0].get(1));
    assert_eq!(rows, 20);
    // Where the amount 2 came first, seven shops failed; elsewhere the one with the 2.
    assert_eq!(failed.load(Ordering::SeqCst), (twos * 7 + (20 - twos)).unsigned_abs());
}

/// A shop whose transactions are serializable inserts too, and its transaction decides on the row.
#[test]
fn a_serializable_shop() {
    let database = Cluster::get().database();
    let mut shop = Cluster::get().shop(&database);
    shop.batch_execute("SET default_transaction_isolation = serializable").unwrap();
    let insert = "INSERT INTO takings_capture (order_id, reference, captured_amount) VALUES ('o', 'p', 1)";
    let mut work = shop.transaction().unwrap();
    assert_eq!(work.execute(insert, &[]).unwrap(), 1);
    work.rollback().unwrap();
    let mut store = open(&database);
    assert_eq!(store.claim("default", 1, LEASE).unwrap(), []);
    let mut work = shop.transaction().unwrap();
    work.execute(insert, &[]).unwrap();
    work.commit().unwrap();
    assert_eq!(store.claim("default", 1, LEASE).unwrap().len(), 1);
    assert_eq!(shop.execute(insert, &[]).unwrap(), 0, "the same again");
}

/// Workers share the rows: none is claimed twice, and the rate is that of the account.
#[test]
fn workers_share_the_rate() {
    let database = Cluster::get().database();
    open(&database).enqueue(Kind::Capture, &entries(0..2000)).unwrap();
    let began = Instant::now();
    let claimed: Vec<i64> = thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let database = &database;
                scope.spawn(move || {
                    let mut store = open(database);
                    let mut claimed = Vec::new();
                    while began.elapsed() < Duration::from_secs(2) {
                        claimed.extend(store.claim("default", 20, LEASE).unwrap().into_iter().map(|claim| claim.id));
                    }
                    claimed
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let seconds = began.elapsed().as_secs_f64();
    let mut once = claimed.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), claimed.len(), "a row was claimed twice");
    let most = 15.0 + 180.0 * seconds + 1.0;
    assert!(claimed.len() as f64 <= most, "{} of at most {most}", claimed.len());
    assert!(claimed.len() >= 15);
}

/// Two workers settle the same row: the holder's word counts, and success always does.
#[test]
fn settled_in_batches() {
    let database = Cluster::get().database();
    let (mut first, mut second) = (open(&database), open(&database));
    first.enqueue(Kind::Capture, &entries(0..15)).unwrap();
    let claims = first.claim("default", 15, LEASE).unwrap();
    assert_eq!(claims.len(), 15);
    let ends: Vec<Settlement> = claims.iter().chain(&claims).map(done).collect();
    let kept = first.settle(&ends).unwrap();
    assert!(kept[..15].iter().all(|kept| *kept == Kept::Written) && kept[15..].iter().all(|kept| *kept == Kept::Stale));
    assert!(second.settle(&ends).unwrap().iter().all(|kept| *kept == Kept::Stale));
    let other = Settlement { done_as: Some("another".into()), ..done(&claims[3]) };
    assert_eq!(second.settle(&[other]).unwrap(), [Kept::AnotherId]);
    assert_eq!(second.find(Kind::Capture, "default", "o-3", "p").unwrap().unwrap().state, State::Done);
    assert_eq!(second.open_rows("default"), Ok(0));
}

/// A row that becomes due behind the place where the last claim ended is found within ten seconds.
#[test]
fn no_row_is_left_behind() {
    no_row_is_left(|_| {});
}

/// Where the look for such rows is slow, it has a connection of its own.
#[test]
fn no_row_is_left_behind_by_a_slow_look() {
    no_row_is_left(|database| {
        let clock = "CREATE OR REPLACE FUNCTION takings_now() RETURNS timestamptz LANGUAGE plpgsql STABLE
                     AS 'BEGIN PERFORM pg_sleep(0.02); RETURN now(); END'";
        Cluster::get().run(database, clock);
    });
}

fn no_row_is_left(prepare: impl Fn(&str)) {
    let database = Cluster::get().database();
    prepare(&database);
    let mut store = open(&database);
    store.enqueue(Kind::Capture, &[entry("o-1", "p", 1)]).unwrap();
    assert_eq!(store.claim("default", 1, LEASE).unwrap().len(), 1);
    Cluster::get().run(
        &database,
        "INSERT INTO takings_capture (order_id, reference, captured_amount, due_at) VALUES ('o-2', 'p', 1, '2001-01-01')",
    );
    found(&mut store, LEASE);
}

/// Claims a row that a look has to find first.
fn found(store: &mut Postgres, lease: Duration) -> Claim {
    let began = Instant::now();
    loop {
        if let Some(claim) = store.claim("default", 1, lease).unwrap().pop() {
            return claim;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "the row is not found");
        thread::sleep(Duration::from_millis(200));
    }
}

/// A row that is being sent keeps its place, which may lie behind every cursor. It is found once its lease ends: at once by
/// the worker that had it, and by the next look of any other.
#[test]
fn a_lease_ends_behind_the_cursor() {
    let database = Cluster::get().database();
    let (mut store, mut other) = (open(&database), open(&database));
    assert!(other.claim("default", 1, LEASE).unwrap().is_empty());
    Cluster::get().run(
        &database,
        "INSERT INTO takings_capture (order_id, reference, captured_amount, due_at) VALUES ('o', 'p', 1, '2001-01-01')",
    );
    let short = Duration::from_millis(300);
    assert_eq!(store.claim("default", 1, short).unwrap().len(), 1);
    assert!(store.claim("default", 1, short).unwrap().is_empty(), "it is being sent");
    thread::sleep(short);
    assert!(found(&mut store, short).row.maybe);
    found(&mut other, LEASE);
}

/// A claim writes no column that an index holds, so that the row's next version needs no new entries.
#[test]
fn a_claim_changes_no_index() {
    let database = Cluster::get().database();
    let indexes = "SELECT indexdef FROM pg_indexes WHERE tablename IN ('takings_capture', 'takings_refund')";
    let rows = Cluster::get().shop(&database).query(indexes, &[]).unwrap();
    assert!(rows.len() >= 12, "{}", rows.len());
    for row in &rows {
        let index: &str = row.get(0);
        let mut words = index.split(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
        assert!(!words.any(|word| ["due_at", "sends", "maybe", "last_sent_at", "state"].contains(&word)), "{index}");
    }
}

/// The place of a row follows each change that somebody makes by hand.
#[test]
fn a_place_follows_a_change_by_hand() {
    let database = Cluster::get().database();
    let mut store = open(&database);
    store.enqueue(Kind::Capture, &entries(0..1)).unwrap();
    let claim = store.claim("default", 1, LEASE).unwrap().remove(0);
    let later =
        Settlement { state: State::Unclear, done_as: None, due_in: Some(Duration::from_secs(3600)), ..done(&claim) };
    assert_eq!(store.settle(&[later]).unwrap(), [Kept::Written]);
    assert!(store.claim("default", 1, LEASE).unwrap().is_empty());
    let quiet = store.quiet("default").unwrap().unwrap();
    assert!(quiet > Duration::from_secs(3500), "{quiet:?}");
    let mut shop = Cluster::get().shop(&database);
    let run = |shop: &mut postgres::Client, sql: &str| assert_eq!(shop.execute(sql, &[]).unwrap(), 1, "{sql}");
    let place = |shop: &mut postgres::Client| shop.query_one("SELECT queue_at = due_at FROM takings_capture", &[]);
    run(&mut shop, "UPDATE takings_capture SET due_at = now() + interval '1 day'");
    assert!(place(&mut shop).unwrap().get::<_, bool>(0), "it follows to a later time");
    run(&mut shop, "UPDATE takings_capture SET due_at = now()");
    assert_eq!(store.claim("default", 1, LEASE).unwrap().len(), 1);
    run(&mut shop, "UPDATE takings_capture SET state = 'stuck', due_at = NULL, settled_at = now()");
    assert_eq!((store.open_rows("default"), store.quiet("default")), (Ok(0), Ok(None)));
    run(&mut shop, "UPDATE takings_capture SET state = 'queued', due_at = now(), settled_at = NULL");
    assert_eq!(store.claim("default", 1, LEASE).unwrap().len(), 1);
    let quiet = store.quiet("default").unwrap().unwrap();
    assert!(quiet > LEASE / 2 && quiet <= LEASE, "until the lease ends: {quiet:?}");
}

/// An old snapshot keeps the entries of all former versions of rows. No claim passes those of rows that ended long ago.
#[test]
fn a_held_snapshot_keeps_no_claim() {
    const OLD: i64 = 2000;
    let database = Cluster::get().database();
    let mut shop = Cluster::get().shop(&database);
    let mut holder = Cluster::get().shop(&database);
    let insert = "INSERT INTO takings_capture (order_id, reference, captured_amount, due_at)";
    let old = format!("{insert} SELECT 'old-' || n, 'p', 1, '2001-01-01' FROM generate_series(1, {OLD}) AS n");
    shop.batch_execute(&old).unwrap();
    holder.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM takings_capture LIMIT 1").unwrap();
    let mut store = open(&database);
    store.set_rate("default", 1e6, 1e6).unwrap();
    let mut ends = Vec::new();
    while ends.len() < 2000 {
        ends.extend(store.claim("default", 500, LEASE).unwrap().iter().map(done));
    }
    store.settle(&ends).unwrap();
    drop(store);
    let mut read = || {
        shop.query_one("SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'takings_capture_due'", &[])
            .unwrap()
            .get::<_, i64>(0)
    };
    while read() < OLD {
        thread::sleep(Duration::from_millis(50));
    }
    let before = read();
    let mut store = open(&database);
    for n in 0..20 {
        store.enqueue(Kind::Capture, &[entry(&format!("new-{n}"), "p", 1)]).unwrap();
        assert_eq!(store.claim("default", 1, LEASE).unwrap().len(), 1);
    }
    drop(store);
    // Its counts arrive with its end.
    while read() < before + 20 {
        thread::sleep(Duration::from_millis(50));
    }
    let passed = read() - before;
    assert!(passed < 10 * OLD, "{passed} entries for 20 rows");
    holder.batch_execute("ROLLBACK").unwrap();
}

/// Each account has its own place in the order of due rows: none waits for the other's looks.
#[test]
fn accounts_keep_their_own_places() {
    let database = Cluster::get().database();
    let mut store = open(&database);
    store.make_account("other", true).unwrap();
    Cluster::get().run(
        &database,
        "INSERT INTO takings_capture (account, order_id, reference, captured_amount, due_at) VALUES
           ('other', 'o-1', 'p', 1, '2001-01-01'), ('other', 'o-2', 'p', 1, '2001-01-02'),
           ('default', 'o-3', 'p', 1, '2001-01-03')",
    );
    for account in ["other", "default", "other"] {
        assert_eq!(store.claim(account, 1, LEASE).unwrap().len(), 1, "{account}");
    }
}

/// Another database behind the same address stops vouching: a restore, a failover.
#[test]
fn another_origin_is_looked_for_first() {
    let database = Cluster::get().database();
    let mut store = open(&database);
    store.enqueue(Kind::Capture, &entries(0..2)).unwrap();
    let before = store.claim("default", 1, LEASE).unwrap().remove(0);
    assert!(!before.row.unvouched);
    Cluster::get().run(&database, "UPDATE takings_ledger SET origin = '1/00000001'");
    let after = store.claim("default", 10, LEASE).unwrap();
    assert_eq!(after.len(), 2, "a worker that goes on sees it too");
    assert!(after.iter().all(|claim| claim.row.unvouched && claim.row.vouched_age.is_none()), "{after:?}");
    let refused = Settlement { state: State::Rejected, done_as: None, ..done(&before) };
    assert_eq!(store.settle(&[refused]).unwrap(), [Kept::Stale]);
    assert_eq!(store.settle(&[done(&before)]).unwrap(), [Kept::Written], "success always counts");
}

/// A standby that took over may lack a row and give its number to another: an end is never written into that.
#[test]
fn an_end_belongs_to_its_name() {
    let database = Cluster::get().database();
    let mut store = open(&database);
    store.enqueue(Kind::Capture, &entries(0..2)).unwrap();
    let claims = store.claim("default", 2, LEASE).unwrap();
    let lost = Settlement { order_id: "o-9".into(), ..done(&claims[0]) };
    let renamed = Settlement { reference: "another".into(), ..done(&claims[1]) };
    assert_eq!(store.settle(&[lost, renamed]).unwrap(), [Kept::Stale; 2]);
    let ends: Vec<_> = claims.iter().map(done).collect();
    assert_eq!(store.settle(&ends).unwrap(), [Kept::Written; 2]);
}

/// Tables may be upgraded while workers run. Those that are too old for them claim nothing more.
#[test]
fn tables_outgrow_a_worker() {
    let database = Cluster::get().database();
    let mut store = open(&database);
    store.enqueue(Kind::Capture, &entries(0..2)).unwrap();
    Cluster::get().run(&database, "UPDATE takings_ledger SET version = 2");
    assert_eq!(store.claim("default", 1, LEASE).unwrap().len(), 1, "they may bear it");
    Cluster::get().run(&database, "UPDATE takings_ledger SET oldest_worker = 2");
    let refused = store.claim("default", 1, LEASE).unwrap_err();
    assert!(!refused.retryable && refused.message.contains("use a newer one"), "{}", refused.message);
    assert!(!store.become_worker().unwrap_err().retryable);
}

/// A lost connection is an error that ends, and a claim that was not committed is none.
#[test]
fn a_lost_connection_comes_back() {
    let database = Cluster::get().database();
    let mut store = open(&database);
    store.enqueue(Kind::Capture, &[entry("o", "p", 1)]).unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    Cluster::get().run(&database, end);
    let why = store.claim("default", 1, LEASE).unwrap_err();
    assert!(why.retryable, "{why}");
    assert_eq!(store.claim("default", 1, LEASE).unwrap().len(), 1);
}

/// A claim reads what it takes from the index of what is due, also while the server knows nothing of the rows yet.
#[test]
fn a_claim_reads_an_index() {
    let database = Cluster::get().database();
    let mut shop = Cluster::get().shop(&database);
    shop.batch_execute(
        "ALTER TABLE takings_capture SET (autovacuum_enabled = false);
         INSERT INTO takings_capture (order_id, reference, captured_amount) SELECT 'o-' || n, 'p', 1 FROM generate_series(1, 20000) AS n",
    )
    .unwrap();
    let mut store = open(&database);
    store.set_rate("default", 1e6, 1e6).unwrap();
    for _ in 0..2 {
        assert_eq!(store.claim("default", 20, LEASE).unwrap().len(), 20);
    }
    // Its counts arrive with its end.
    drop(store);
    let mut count = |sql: &str| shop.query_one(sql, &[]).unwrap().get::<_, i64>(0);
    let index = "FROM pg_stat_user_indexes WHERE indexrelname = 'takings_capture_due'";
    while count(&format!("SELECT idx_scan {index}")) < 2 {
        thread::sleep(Duration::from_millis(50));
    }
    let read = count(&format!("SELECT idx_tup_read {index}"));
    // A search that sorts reads all 20,000 at each claim. A look from the start reads some hundred, and more often on a slow machine.
    assert!(read < 5000, "{read} entries for 40 rows");
    assert_eq!(count("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'takings_capture'"), 0);
}

/// A worker whom the rate lets nothing through keeps nobody from the account, and is kept by nobody.
#[test]
fn a_claim_of_nothing_takes_no_lock() {
    let database = Cluster::get().database();
    let mut store = open(&database);
    store.enqueue(Kind::Capture, &entries(0..100)).unwrap();
    store.set_rate("default", 0.001, 1.0).unwrap();
    assert_eq!(store.claim("default", 10, LEASE).unwrap().len(), 1);
    let mut other = Cluster::get().shop(&database);
    other.batch_execute("BEGIN; SELECT FROM takings_account FOR UPDATE").unwrap();
    assert_eq!(store.claim("default", 10, LEASE), Ok(vec![]));
}

#[test]
fn places_are_told_without_the_password() {
    let refused = |url: &str| Postgres::open(url).unwrap_err().message;
    let url = Cluster::get().url("nowhere").replace("user=owner", "user=owner password=geheim");
    let why = refused(&url);
    assert!(why.contains("does not exist") && !why.contains("geheim"), "{why}");
    let why = refused("postgres://u:geheim@db.example/x?sslmode=disable");
    assert!(why.contains("sslmode") && !why.contains("geheim"), "{why}");
    let why = refused("postgres://u:geheim@db.example/x?sslrootcert=/none/ca.pem");
    assert!(why.contains("/none/ca.pem") && !why.contains("geheim"), "{why}");
    let why = refused(&Cluster::get().url("postgres"));
    assert!(why.contains("run takings init"), "{why}");
    // A file that moves once would otherwise move into another server's database of the same name, too.
    assert_eq!(shown("postgres://u:geheim@db.example:5433/x"), "postgres://db.example:5433/x");
    assert_eq!(shown("postgres://u:geheim@db.example:5432/x"), shown("postgres://db.example/x"));
    for password in ["g@heim", "g/heim", "g?heim=1", "g@h/eim", "g#heim"] {
        let url = format!("postgres://u:{password}@127.0.0.1:1/x");
        let told = format!("{} {}", refused(&url), shown(&url));
        assert!(!told.contains("heim") && !told.contains("eim@"), "{told}");
        assert!(password.contains('#') || told.contains("%40"), "{told}");
    }
}

/// The statements for an administrator make the same tables as `takings init`, and the version of a newer program is
/// left alone.
#[test]
fn tables_for_an_administrator() {
    let cluster = Cluster::get();
    let database = cluster.database();
    cluster.run(&database, "CREATE SCHEMA by_hand");
    cluster.run(&database, &format!("SET search_path = by_hand; {}", schema(false)));
    cluster.run(
        &database,
        "SET search_path = by_hand;
         INSERT INTO takings_refund (order_id, reference, refunded_amount) VALUES ('o', 'p', 1)",
    );
    // Another search path does not lead a trigger astray.
    cluster.run(
        &database,
        "INSERT INTO by_hand.takings_refund (order_id, reference, refunded_amount) VALUES ('o', 'q', 1)",
    );
    cluster.run(&database, "UPDATE takings_ledger SET version = 2");
    Postgres::open(&cluster.url(&database)).expect("an old worker runs on the next version");
    cluster.run(&database, "UPDATE takings_ledger SET version = 3, oldest_worker = 2");
    let why = Postgres::open(&cluster.url(&database)).unwrap_err();
    assert!(why.message.contains("use a newer one"), "{why}");
}

/// A ledger moves from its file with all that is known of its rows, and the file is dead from then on.
#[test]
fn a_ledger_moves_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut file = Sqlite::open(&path, Options { first_ever: true, ..Options::default() }).unwrap();
    file.become_worker().unwrap();
    file.bind("default", "https://api.klarna.com", "K1").unwrap();
    file.make_account("other", false).unwrap();
    let with = Entry { request: Some(r#"{"description":"grün"}"#.into()), ..entry("o-0", "p", 6000) };
    file.enqueue(Kind::Capture, &[vec![with], entries(1..5)].concat()).unwrap();
    file.enqueue(Kind::Refund, &[entry("o-9", "r", 7)]).unwrap();
    let claims = file.claim("default", 3, LEASE).unwrap();
    let request = takings_ledger::store::Request {
        at: 1_700_000_000_123,
        took_ms: 12,
        sent: "POST".into(),
        came_back: "503".into(),
        http_status: Some(503),
        error_code: None,
        correlation_id: None,
    };
    let unclear = Settlement {
        state: State::Unclear,
        maybe: true,
        due_in: Some(LEASE),
        done_as: None,
        requests: vec![request.clone()],
        ..done(&claims[1])
    };
    file.settle(&[done(&claims[0]), unclear]).unwrap();
    let database = Cluster::get().database();
    let url = Cluster::get().url(&database);
    let mut store = Postgres::open(&url).unwrap();
    let why = store.take_over(&path).unwrap_err();
    assert!(why.message.contains("another worker"), "{why}");
    let before: Vec<_> = Kind::ALL.map(|kind| file.list(kind, &Wanted::default()).unwrap()).into();
    let accounts = file.accounts().unwrap();
    drop(file);
    assert_eq!(store.take_over(&path), Ok(6));
    let after: Vec<_> = Kind::ALL.map(|kind| store.list(kind, &Wanted::default()).unwrap()).into();
    // The claim that was under way is one that nobody has.
    let mut expected = before;
    for line in expected.iter_mut().flatten().filter(|line| line.state == State::Sending) {
        (line.state, line.maybe, line.last_sent_at) = (State::Unclear, true, line.due_at);
    }
    let due = |lines: &mut Vec<Vec<takings_ledger::office::Line>>| {
        lines.iter_mut().flatten().filter(|line| line.state == State::Unclear).for_each(|line| line.due_at = None);
    };
    let (mut expected, mut after) = (expected, after);
    due(&mut expected);
    due(&mut after);
    assert_eq!(after, expected);
    let moved = store.accounts().unwrap();
    assert_eq!(
        (moved.len(), &moved[0].base_url, moved[1].look_until),
        (2, &accounts[0].base_url, accounts[1].look_until)
    );
    assert_eq!(store.requests(Kind::Capture, claims[1].id).unwrap(), [request]);
    store.become_worker().unwrap();
    let claims = store.claim("default", 10, LEASE).unwrap();
    assert!(claims.iter().all(|claim| !claim.row.unvouched), "{claims:?}");
    assert_eq!(claims.len(), 4, "three that wait, and the one that was under way");
    assert_eq!(store.enqueue(Kind::Capture, &[entry("new", "p", 1)]), Ok(vec![true]), "its number is a new one");
    let why = Sqlite::open(&path, Options::default()).unwrap_err();
    assert!(why.message.contains("was moved to postgres://"), "{why}");
    let shop = rusqlite::Connection::open(&path).unwrap();
    let insert = "INSERT INTO takings_capture (order_id, reference, captured_amount) VALUES ('o', 'x', 1)";
    let why = shop.execute(insert, []).unwrap_err().to_string();
    assert!(why.contains("was moved"), "{why}");
    let why = store.take_over(&path).unwrap_err();
    assert!(why.message.contains("into a new one"), "{why}");
}

/// The server's last word to a connection says nothing of the next one.
#[test]
fn the_end_of_a_connection_is_not_the_end_of_a_worker() {
    let url = Cluster::get().url(&Cluster::get().database()).replace("user=owner", "user=nobody");
    let why = Postgres::open(&url).unwrap_err();
    assert!(why.retryable && why.message.contains("(28000)"), "{why}");
}

/// Klarna's words may have any letter, and a database that cannot take them could not take the captures beside them.
#[test]
fn a_database_has_every_letter() {
    let cluster = Cluster::get();
    cluster.run("postgres", "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0");
    let why = Postgres::init(&cluster.url("latin"), true).unwrap_err();
    assert!(!why.retryable && why.message.contains("ENCODING 'UTF8'"), "{why}");
    let why = cluster.shop("latin").batch_execute(&schema(true)).unwrap_err();
    assert!(why.as_db_error().is_some_and(|why| why.message().contains("ENCODING 'UTF8'")), "{why:?}");
}

/// A trigger looks into the tables of its own ledger, whatever else is in the database or in a session.
#[test]
fn two_ledgers_in_one_database() {
    let cluster = Cluster::get();
    let database = cluster.database();
    cluster.run(&database, "CREATE SCHEMA owner");
    cluster.run(&database, &format!("SET search_path = owner; {}", schema(true)));
    let mut shop = cluster.shop(&database);
    for ledger in ["owner", "public"] {
        let insert =
            format!("INSERT INTO {ledger}.takings_capture (order_id, reference, captured_amount) VALUES ('o', 'p', 1)");
        assert_eq!(shop.execute(&insert, &[]).unwrap(), 1, "{ledger}");
        shop.batch_execute(&format!("DELETE FROM {ledger}.takings_account")).unwrap();
        let why = refusal(&mut shop, &insert);
        assert!(why.contains("no such account"), "{why}");
    }
    shop.batch_execute("CREATE TEMP TABLE takings_account AS SELECT 'default' AS account").unwrap();
    let why =
        refusal(&mut shop, "INSERT INTO takings_capture (order_id, reference, captured_amount) VALUES ('o', 'q', 1)");
    assert!(why.contains("no such account"), "{why}");
}

/// After a failover the same name may lead to a server that takes no writes: a worker does not stay there.
#[test]
fn a_server_that_takes_no_writes_is_left() {
    let cluster = Cluster::get();
    let database = cluster.database();
    let mut store = open(&database);
    let mut shop = cluster.shop(&database);
    let sql = |body: &str| {
        format!("CREATE OR REPLACE FUNCTION takings_clock() RETURNS timestamptz LANGUAGE plpgsql AS $$ {body} $$")
    };
    store.enqueue(Kind::Capture, &entries(0..1)).unwrap();
    shop.batch_execute(&sql("BEGIN RAISE 'read only' USING ERRCODE = '25006'; END")).unwrap();
    let why = store.claim("default", 1, LEASE).unwrap_err();
    assert!(why.retryable, "{why}");
    shop.batch_execute(&sql("BEGIN RETURN clock_timestamp(); END")).unwrap();
    cluster.run("postgres", &format!("ALTER DATABASE {database} SET default_transaction_read_only = on"));
    let why = store.claim("default", 1, LEASE).unwrap_err();
    assert!(why.retryable && why.message.contains("does not allow writes"), "{why}");
    cluster.run("postgres", &format!("ALTER DATABASE {database} RESET default_transaction_read_only"));
    assert_eq!(store.claim("default", 1, LEASE).unwrap().len(), 1);
}

/// An idle worker notes that it is there, and waits for nobody to do so.
#[test]
fn an_idle_worker_takes_no_lock() {
    let database = Cluster::get().database();
    let mut store = open(&database);
    let mut other = Cluster::get().shop(&database);
    // A claim that waits for the row comes back once the server ends the row's holder.
    other
        .batch_execute("SET idle_in_transaction_session_timeout = '20s'; BEGIN; SELECT FROM takings_account FOR UPDATE")
        .unwrap();
    assert_eq!(store.claim("default", 10, LEASE), Ok(vec![]));
    other.batch_execute("COMMIT").expect("the claim came back before");
    assert_eq!(store.has_worker(), Ok(false));
    assert_eq!(store.claim("default", 10, LEASE), Ok(vec![]));
    assert_eq!(store.has_worker(), Ok(true));
}

/// A worker that the rate or a pause keeps from claiming is a worker all the same.
#[test]
fn a_worker_that_waits_is_there() {
    let database = Cluster::get().database();
    let mut store = open(&database);
    store.enqueue(Kind::Capture, &entries(0..5)).unwrap();
    store.set_rate("default", 0.001, 1.0).unwrap();
    assert_eq!(store.claim("default", 10, LEASE).unwrap().len(), 1);
    for trouble in ["tokens = 0", "tokens_at = now() + interval '1 hour'", "paused_until = 'infinity'"] {
        Cluster::get()
            .run(&database, &format!("UPDATE takings_account SET {trouble}, seen_at = now() - interval '1 hour'"));
        assert_eq!(store.has_worker(), Ok(false));
        for _ in 0..2 {
            assert_eq!(store.claim("default", 10, LEASE), Ok(vec![]));
        }
        assert_eq!(store.has_worker(), Ok(true), "{trouble}");
    }
}

/// A transaction that failed while it was begun is not gone on with.
#[test]
fn a_transaction_that_did_not_begin() {
    let cluster = Cluster::get();
    let database = cluster.database();
    cluster.run(
        &database,
        &format!(
            "CREATE TABLE is_broken (); CREATE SCHEMA before;
             CREATE FUNCTION before.current_setting(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
               IF EXISTS (SELECT FROM is_broken) THEN RAISE 'no' USING ERRCODE = '53000'; END IF;
               RETURN pg_catalog.current_setting($1);
             END $$;
             ALTER DATABASE {database} SET search_path = before, public, pg_catalog"
        ),
    );
    let mut store = open(&database);
    store.enqueue(Kind::Capture, &entries(0..1)).unwrap();
    cluster.run(&database, "INSERT INTO is_broken DEFAULT VALUES");
    let why = store.claim("default", 1, LEASE).unwrap_err();
    assert!(why.retryable, "{why}");
    cluster.run(&database, "DELETE FROM is_broken");
    assert_eq!(store.claim("default", 1, LEASE).unwrap().len(), 1);
}

/// A shop that locks one row keeps no other from being written, and no worker waiting.
#[test]
fn a_locked_row_is_left_for_later() {
    let database = Cluster::get().database();
    let mut store = open(&database);
    store.enqueue(Kind::Capture, &entries(0..3)).unwrap();
    let claims = store.claim("default", 3, LEASE).unwrap();
    let ends: Vec<_> = claims.iter().map(done).collect();
    let mut shop = Cluster::get().shop(&database);
    shop.batch_execute("BEGIN; SELECT FROM takings_capture WHERE order_id = 'o-1' FOR UPDATE").unwrap();
    let gone = Settlement { id: 1_000_000, ..ends[0].clone() };
    let kept = store.settle(&[vec![gone], ends.clone()].concat()).unwrap();
    assert_eq!(kept, [Kept::Stale, Kept::Written, Kept::Locked, Kept::Written]);
    shop.batch_execute("COMMIT").unwrap();
    assert_eq!(store.settle(&ends[1..2]).unwrap(), [Kept::Written]);
}
