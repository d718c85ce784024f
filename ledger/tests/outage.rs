//! An outage of ten hours with 100,000 captures due, by a clock of the test's own: requests are counted, not time.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use takings::{Config, Credentials};
use takings_ledger::sqlite::{Clock, Options, Sqlite, system_clock};
use takings_ledger::worker::{Settings, work};

const ROWS: i64 = 100_000;
const TEN_HOURS: i64 = 10 * 60 * 60 * 1000;
const PATIENCE: Duration = Duration::from_secs(300);

/// Answers each request with 503, and counts it.
fn answer(mut connection: TcpStream, requests: &AtomicU64) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match connection.read(&mut chunk)? {
            0 => return Ok(()),
            read => bytes.extend_from_slice(&chunk[..read]),
        }
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        let Some(head) = text.find("\r\n\r\n") else { continue };
        let length = text.split("content-length:").nth(1).and_then(|rest| rest.split("\r\n").next());
        let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
        if bytes.len() < head + 4 + length {
            continue;
        }
        requests.fetch_add(1, Ordering::SeqCst);
        connection.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        return Ok(());
    }
}

/// Passes time whenever nothing is under way and nothing due, until ten hours are over.
fn pass_time(path: &Path, offset: &AtomicI64, clock: &Clock, stop: &AtomicBool) {
    let db = Connection::open(path).unwrap();
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    let begun = Instant::now();
    while offset.load(Ordering::SeqCst) < TEN_HOURS && begun.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(5));
        let (is_sending, paused): (bool, i64) = db
            .query_row(
                "SELECT EXISTS (SELECT 1 FROM takings_capture WHERE state = 'sending'),
                   (SELECT paused_until FROM takings_account)",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .unwrap();
        let wait = paused - clock();
        if !is_sending && wait > 0 {
            offset.fetch_add(wait, Ordering::SeqCst);
        }
    }
    stop.store(true, Ordering::SeqCst);
}

#[test]
fn an_outage_of_ten_hours_costs_few_requests_however_much_is_due() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let offset = Arc::new(AtomicI64::new(0));
    let clock: Clock = {
        let offset = offset.clone();
        Arc::new(move || system_clock() + offset.load(Ordering::SeqCst))
    };
    let mut store = Sqlite::open(&path, Options { first_ever: true, clock: clock.clone() }).unwrap();
    let shop = Connection::open(&path).unwrap();
    shop.execute(
        "WITH RECURSIVE row (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM row WHERE n < ?)
         INSERT INTO takings_capture (order_id, reference, captured_amount) SELECT 'order-' || n, 'p', 100 FROM row",
        [ROWS],
    )
    .unwrap();
    drop(shop);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (requests, stop, is_over) = (AtomicU64::new(0), AtomicBool::new(false), AtomicBool::new(false));
    let tally = thread::scope(|scope| {
        scope.spawn(|| {
            for connection in listener.incoming().flatten() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let requests = &requests;
                scope.spawn(move || answer(connection, requests));
            }
        });
        scope.spawn(|| pass_time(&path, &offset, &clock, &stop));
        let settings = Settings {
            merchant: "sandbox".into(),
            idle: Duration::from_millis(20),
            clock: clock.clone(),
            ..Settings::default()
        };
        let config = Config::at(&url, Credentials::basic("sandbox", "sandbox"));
        let tally = work(&mut store, config, &settings, &stop);
        is_over.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(listener.local_addr().unwrap());
        tally.unwrap()
    });
    assert!(offset.load(Ordering::SeqCst) >= TEN_HOURS, "ten hours passed");
    let requests = requests.load(Ordering::SeqCst);
    // A probe every five minutes, and the requests that were under way when it began.
    assert!((100..2000).contains(&requests), "{requests} requests");
    assert_eq!((tally.done, tally.rejected, tally.stuck), (0, 0, 0));
    let db = Connection::open(&path).unwrap();
    let count = |condition: &str| -> i64 {
        let sql = format!("SELECT count(*) FROM takings_capture WHERE {condition}");
        db.query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(count("due_at IS NOT NULL"), ROWS, "each is still asked for");
    assert!(count("maybe = 0 AND state = 'queued'") > ROWS - 1000, "nearly all were never sent");
}
