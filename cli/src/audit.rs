//! `audit`: compares the ledger with that of a sandbox, after a test. A sandbox shows all that was done, by whomever.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use takings_ledger::office::{Line, Office, Wanted};
use takings_ledger::policy::State;
use takings_ledger::store::Kind;

use crate::check::{Compared, Finding, Shown, compare};
use crate::rows::PAGE;
use crate::say::{Ended, Exit, Failure, number, result};

/// How long the sandbox may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// Beside a worker a ledger that does not agree is read again after so long.
const AGAIN: Duration = Duration::from_secs(1);

/// How many differences are listed, where a person reads.
const LISTED: usize = 100;

/// The relation of a row to the sandbox's ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Ok,
    Open,
    Double,
    Lost,
    Phantom,
    Wrong,
    Stuck,
}

impl Verdict {
    const ALL: [Verdict; 7] =
        [Verdict::Ok, Verdict::Open, Verdict::Double, Verdict::Lost, Verdict::Phantom, Verdict::Wrong, Verdict::Stuck];

    fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Open => "open",
            Verdict::Double => "double",
            Verdict::Lost => "lost",
            Verdict::Phantom => "phantom",
            Verdict::Wrong => "wrong",
            Verdict::Stuck => "stuck",
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Verdict::Ok => "the ledger and the sandbox say the same",
            Verdict::Open => "not settled yet",
            Verdict::Double => "the sandbox has it more than once",
            Verdict::Lost => "the ledger has it as done, and the sandbox does not have it",
            Verdict::Phantom => "the sandbox has it, and the ledger has no such row",
            Verdict::Wrong => "the ledger and the sandbox say different things of it",
            Verdict::Stuck => "it waits for a person",
        }
    }

    fn of(compared: &Compared) -> Verdict {
        let is_stuck = compared.row.as_ref().is_some_and(|row| row.state == State::Stuck);
        match compared.finding {
            Finding::Twice => Verdict::Double,
            Finding::SomebodyElse => Verdict::Phantom,
            Finding::AmountDiffers | Finding::SameId => Verdict::Wrong,
            // A person will say whether it is done.
            Finding::Agrees | Finding::NotBooked if is_stuck => Verdict::Stuck,
            Finding::Agrees => Verdict::Ok,
            Finding::NotBooked => Verdict::Wrong,
            Finding::Open => Verdict::Open,
            Finding::Missing | Finding::Unreadable => Verdict::Lost,
        }
    }
}

/// An order's side in each of the two ledgers.
type Sides = (Vec<Line>, Vec<Shown>);

/// The answer to GET /sandbox/ledger at the sandbox of this URL.
fn fetched(url: &str) -> Result<Vec<u8>, Failure> {
    let failed = |why: &dyn std::fmt::Display| Failure::new(format!("the sandbox {url}: {why}; nothing was audited"));
    let Some(rest) = url.strip_prefix("http://") else {
        return Err(failed(&"only http:// is read here; for TLS: curl … /sandbox/ledger | takings audit --from -"));
    };
    let (host, path) = rest
        .trim_end_matches('/')
        .split_once('/')
        .map_or((rest, String::new()), |(host, path)| (host, format!("/{path}")));
    let host = host.trim_end_matches('/');
    let address = if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let mut stream = TcpStream::connect(address).map_err(|why| failed(&why))?;
    stream.set_read_timeout(Some(SILENCE)).map_err(|why| failed(&why))?;
    let request = format!("GET {path}/sandbox/ledger HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|why| failed(&why))?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(|why| failed(&why))?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let Some(end) = end else { return Err(failed(&"its answer is none of HTTP")) };
    let body = answer.split_off(end + 4);
    match String::from_utf8_lossy(&answer).split(' ').nth(1) {
        Some("200") => Ok(body),
        Some(status) => Err(failed(&format_args!("it answered {status}, as no sandbox does that is open to all"))),
        None => Err(failed(&"its answer is none of HTTP")),
    }
}

/// The captures and refunds of the sandbox, with their orders.
fn entries(from: &str) -> Result<Vec<(String, Shown)>, Failure> {
    let bytes = match from {
        "-" => {
            let mut bytes = Vec::new();
            std::io::stdin().lock().read_to_end(&mut bytes)?;
            bytes
        }
        url if url.contains("://") => fetched(url)?,
        file => std::fs::read(file).map_err(|why| Failure::new(format!("{file}: {why}")))?,
    };
    let read: Result<Vec<Value>, _> = serde_json::from_slice(&bytes);
    let all = read.map_err(|why| {
        Failure::new(format!(
            "{from}: this is no ledger of a sandbox (GET /sandbox/ledger): {why}; nothing was audited"
        ))
    })?;
    let entries = all.iter().filter_map(|entry| {
        let kind = Kind::ALL.into_iter().find(|kind| entry["kind"] == kind.operation())?;
        Some((entry["order_id"].as_str().unwrap_or_default().to_owned(), Shown::read(kind, entry)))
    });
    Ok(entries.collect())
}

/// Both sides of each order. The ledger is read first: a row that is done there is done at the sandbox too.
fn orders(
    store: &mut dyn Office,
    from: &dyn Fn() -> Result<Vec<(String, Shown)>, Failure>,
) -> Result<BTreeMap<String, Sides>, Failure> {
    let mut orders: BTreeMap<String, Sides> = BTreeMap::new();
    for kind in Kind::ALL {
        let mut wanted = Wanted { most: PAGE, ..Wanted::default() };
        loop {
            let rows = store.list(kind, &wanted)?;
            let Some(last) = rows.last() else { break };
            wanted.after = last.id;
            for row in rows {
                orders.entry(row.order_id.clone()).or_default().0.push(row);
            }
        }
    }
    for (order_id, one) in from()? {
        orders.entry(order_id).or_default().1.push(one);
    }
    Ok(orders)
}

fn audited(orders: BTreeMap<String, Sides>) -> Vec<(String, Verdict, Compared)> {
    let judged = orders.into_iter().flat_map(|(order_id, (rows, shown))| {
        let all = joined(compare(rows, shown)).into_iter();
        all.map(move |compared| (order_id.clone(), Verdict::of(&compared), compared))
    });
    judged.collect()
}

/// A row that is not there under its id, and a capture with the row's name, are one difference.
fn joined(mut all: Vec<Compared>) -> Vec<Compared> {
    for place in (0..all.len()).rev() {
        let Compared { finding: Finding::SomebodyElse, kind, shown: Some(one), .. } = &all[place] else { continue };
        let is_its_row = |other: &Compared| {
            let name = other.row.as_ref().map(|row| &row.reference);
            other.finding == Finding::Missing && other.kind == *kind && name == Some(&one.reference)
        };
        if let Some(row) = all.iter().position(is_its_row) {
            all[row].shown = Some(one.clone());
            all[row].finding = Finding::NotBooked;
            all.remove(place);
        }
    }
    all
}

/// Reads both ledgers and compares them.
pub fn run(store: &mut dyn Office, from: Option<&str>, is_json: bool) -> Ended {
    let from = match from {
        Some(from) => from.to_owned(),
        None => std::env::var("KLARNA_BASE_URL").ok().filter(|url| !url.is_empty()).ok_or_else(|| {
            Failure::new("which sandbox? Give --from URL, or set KLARNA_BASE_URL; nothing was audited")
        })?,
    };
    let read = || entries(&from);
    let mut all = audited(orders(store, &read)?);
    let is_wrong = |all: &[(String, Verdict, Compared)]| all.iter().any(|(_, verdict, _)| *verdict > Verdict::Open);
    if is_wrong(&all) && from.contains("://") && store.has_worker()? {
        // A worker may have written between the two readings.
        thread::sleep(AGAIN);
        all = audited(orders(store, &read)?);
    }
    let mut counts: BTreeMap<Verdict, u64> = BTreeMap::new();
    for (_, verdict, _) in &all {
        *counts.entry(*verdict).or_default() += 1;
    }
    let of = |verdict: &Verdict| counts.get(verdict).copied().unwrap_or_default();
    let others = all.iter().filter(|(_, verdict, _)| *verdict != Verdict::Ok);
    if is_json {
        let counts = Verdict::ALL.iter().map(|verdict| (verdict.word().to_owned(), of(verdict).into()));
        let found: Vec<Value> =
            others.map(|(order_id, verdict, compared)| found(order_id, *verdict, compared)).collect();
        result(json!({"counts": Value::Object(counts.collect()), "found": found}))?;
    } else {
        for verdict in Verdict::ALL {
            result(format!("{:>9}  {:8}  {}", number(of(&verdict)), verdict.word(), verdict.meaning()))?;
        }
        for (order_id, verdict, compared) in others.clone().take(LISTED) {
            let found = found(order_id, *verdict, compared);
            let text = |name: &str| found[name].as_str().unwrap_or("-").to_owned();
            let amount = |name: &str| found[name].as_i64().map_or("-".to_owned(), number);
            result(format!(
                "{:8} {order_id} {} {}: ledger {} {} {}, sandbox {} {}",
                verdict.word(),
                text("kind"),
                text("reference"),
                text("ledger_state"),
                amount("ledger_amount"),
                text("ledger_id"),
                amount("sandbox_amount"),
                text("sandbox_id"),
            ))?;
        }
        if others.clone().count() > LISTED {
            result(format!("and {} more; --json has them all", number(others.count() - LISTED)))?;
        }
    }
    Ok(match all.iter().map(|(_, verdict, _)| *verdict).max() {
        None | Some(Verdict::Ok) => Exit::Done,
        Some(Verdict::Open) => Exit::Open,
        Some(_) => Exit::Person,
    })
}

/// A difference for programs.
fn found(order_id: &str, verdict: Verdict, compared: &Compared) -> Value {
    let Compared { kind, row, shown, .. } = compared;
    let reference = row.as_ref().map(|row| &row.reference).or(shown.as_ref().map(|one| &one.reference));
    json!({
        "verdict": verdict.word(),
        "order_id": order_id,
        "kind": kind.operation(),
        "reference": reference,
        "ledger_state": row.as_ref().map(|row| kind.word(row.state)),
        "ledger_amount": row.as_ref().map(|row| row.amount),
        "ledger_id": row.as_ref().and_then(|row| row.done_as.as_deref()),
        "sandbox_amount": shown.as_ref().and_then(|one| one.amount),
        "sandbox_id": shown.as_ref().map(|one| one.id.as_str()),
        "sandbox_at": shown.as_ref().map(|one| one.at.as_str()),
    })
}
