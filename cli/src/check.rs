//! `check`: compares the ledger with Klarna's account of the same orders, for those who sign the books.
//!
//! Each order is read once, slowly enough to leave room for workers. The report grows beside its final place, so that a
//! check that was interrupted goes on with the same command.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use takings::Client;
use takings_ledger::office::{Account, Line, Office, Wanted};
use takings_ledger::policy::State;
use takings_ledger::store::Kind;

use crate::place::Where;
use crate::rows::{PAGE, find};
use crate::say::{Ended, Exit, Failure, guarded, many, moment, note, number, result};
use crate::work;

/// How many orders are read by one set of threads.
const PART: usize = 50;

/// How many orders are read at once.
const HANDS: usize = 8;

/// An order that does not agree is read again after so long: a worker may be busy with it, or Klarna's account may lag.
const AGAIN: Duration = Duration::from_secs(2);

/// A check that was interrupted longer ago is begun anew.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// How often somebody hears of the progress.
const SPEAK: Duration = Duration::from_secs(10);

const HEADING: [&str; 11] = [
    "finding",
    "order_id",
    "kind",
    "reference",
    "ledger_state",
    "ledger_amount",
    "ledger_id",
    "klarna_amount",
    "klarna_id",
    "klarna_at",
    "checked_at",
];

/// How a check is made.
#[derive(Debug)]
pub struct Check {
    pub place: Where,
    pub order_id: Option<String>,
    pub days: Option<u32>,
    pub per_second: u16,
    pub report: PathBuf,
    pub anew: bool,
    pub json: bool,
}

/// The relation of a row to Klarna's account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Both say the same.
    Agrees,
    /// The row is not settled yet.
    Open,
    /// The order shows it beside another with the same reference.
    Twice,
    /// The order shows it, and the ledger has no such row.
    SomebodyElse,
    /// The ledger has it as done, and the order does not show it.
    Missing,
    /// Both have it, with different amounts.
    AmountDiffers,
    /// The order shows it, and the ledger has the row as not done.
    NotBooked,
    /// Two rows are booked as the same.
    SameId,
    /// Klarna does not show the order.
    Unreadable,
}

impl Finding {
    const ALL: [Finding; 9] = [
        Finding::Agrees,
        Finding::Open,
        Finding::Twice,
        Finding::SomebodyElse,
        Finding::Missing,
        Finding::AmountDiffers,
        Finding::NotBooked,
        Finding::SameId,
        Finding::Unreadable,
    ];

    /// The word of the report.
    pub fn word(self) -> &'static str {
        match self {
            Finding::Agrees => "agrees",
            Finding::Open => "open",
            Finding::Twice => "twice",
            Finding::SomebodyElse => "by_somebody_else",
            Finding::Missing => "booked_but_not_there",
            Finding::AmountDiffers => "amount_differs",
            Finding::NotBooked => "there_but_not_booked",
            Finding::SameId => "booked_twice_under_one_id",
            Finding::Unreadable => "order_not_shown",
        }
    }

    /// Whether a person has to look at it.
    pub fn is_wrong(self) -> bool {
        !matches!(self, Finding::Agrees | Finding::Open)
    }

    fn meaning(self) -> &'static str {
        match self {
            Finding::Agrees => "the ledger and Klarna say the same",
            Finding::Open => "not settled yet",
            Finding::Twice => "the order shows another one with the same reference",
            Finding::SomebodyElse => "the order shows it, and it is not this ledger's",
            Finding::Missing => "the ledger has it as done, and the order does not show it",
            Finding::AmountDiffers => "the ledger and Klarna have different amounts",
            Finding::NotBooked => "the order shows it, and the ledger has it as not done",
            Finding::SameId => "another row of the ledger is booked under the same id",
            Finding::Unreadable => "Klarna does not show the order",
        }
    }
}

/// A capture or refund as the order shows it. Refunds of old orders may lack an id or a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub kind: Kind,
    pub id: String,
    pub reference: String,
    pub amount: Option<i64>,
    pub at: String,
}

/// A line of the report.
#[derive(Debug)]
pub struct Compared {
    pub finding: Finding,
    pub kind: Kind,
    pub row: Option<Line>,
    pub shown: Option<Shown>,
}

/// The captures and refunds that an order shows.
fn shown(document: &Value) -> Vec<Shown> {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        let entries = document[format!("{}s", kind.operation())].as_array();
        all.extend(entries.into_iter().flatten().map(|entry| Shown::read(kind, entry)));
    }
    all
}

impl Shown {
    /// Reads one of Klarna's entries.
    pub fn read(kind: Kind, entry: &Value) -> Shown {
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let at = text(&format!("{}_at", kind.word(State::Done)));
        let id = text(&format!("{}_id", kind.operation()));
        Shown { kind, id, reference: text("reference"), amount: entry[kind.amount()].as_i64(), at }
    }
}

/// Compares the rows of an order with all that the order shows.
pub fn compare(rows: Vec<Line>, mut shown: Vec<Shown>) -> Vec<Compared> {
    let mut found: Vec<Compared> = Vec::new();
    let (done, others): (Vec<Line>, Vec<Line>) = rows.into_iter().partition(|row| row.state == State::Done);
    let take = |shown: &mut Vec<Shown>, is_it: &dyn Fn(&Shown) -> bool| {
        let place = shown.iter().position(is_it)?;
        Some(shown.remove(place))
    };
    // Ids come first: a row without one must not take the capture of a row that has it.
    let (with_id, without): (Vec<Line>, Vec<Line>) =
        done.into_iter().partition(|row| row.done_as.as_deref().is_some_and(|id| !id.is_empty()));
    let mut unnamed = Vec::new();
    for row in with_id {
        let id = row.done_as.clone().unwrap_or_default();
        let is_booked = |other: &Compared| {
            other.kind == row.kind && other.row.as_ref().is_some_and(|other| other.done_as.as_ref() == Some(&id))
        };
        match take(&mut shown, &|one| one.kind == row.kind && one.id == id) {
            Some(one) => found.push(paired(row, one)),
            None if found.iter().any(is_booked) => {
                found.push(Compared { finding: Finding::SameId, kind: row.kind, row: Some(row), shown: None });
            }
            None => unnamed.push(row),
        }
    }
    for row in unnamed.into_iter().chain(without) {
        let has_id = row.done_as.as_deref().is_some_and(|id| !id.is_empty());
        let is_it = |one: &Shown| {
            let is_same = one.reference == row.reference || (one.kind == Kind::Refund && one.reference.is_empty());
            one.kind == row.kind && one.amount == Some(row.amount) && is_same && (one.id.is_empty() || !has_id)
        };
        match take(&mut shown, &is_it) {
            Some(one) => found.push(paired(row, one)),
            None => found.push(Compared { finding: Finding::Missing, kind: row.kind, row: Some(row), shown: None }),
        }
    }
    for row in others {
        let is_open = matches!(row.state, State::Queued | State::Sending | State::Unclear);
        let one = take(&mut shown, &|one| one.kind == row.kind && one.reference == row.reference);
        let finding = match &one {
            None if is_open => Finding::Open,
            None => Finding::Agrees,
            Some(one) if one.amount != Some(row.amount) => Finding::AmountDiffers,
            // A worker finds it.
            Some(_) if is_open => Finding::Open,
            Some(_) => Finding::NotBooked,
        };
        found.push(Compared { finding, kind: row.kind, row: Some(row), shown: one });
    }
    for one in shown {
        let has_its_name = |other: &Compared| {
            let name = other.row.as_ref().map(|row| &row.reference);
            other.kind == one.kind && other.shown.is_some() && name == Some(&one.reference)
        };
        let finding = if found.iter().any(has_its_name) { Finding::Twice } else { Finding::SomebodyElse };
        found.push(Compared { finding, kind: one.kind, row: None, shown: Some(one) });
    }
    found
}

fn paired(row: Line, one: Shown) -> Compared {
    let finding = if one.amount == Some(row.amount) { Finding::Agrees } else { Finding::AmountDiffers };
    Compared { finding, kind: row.kind, row: Some(row), shown: Some(one) }
}

/// How the reading of an order ended.
enum Read {
    Shown(Vec<Shown>),
    /// Klarna's own word that it does not show it.
    Refused,
    /// The reading failed, and why.
    Failed(String),
}

fn read(client: &Client, order_id: &str) -> Read {
    let sent = client.prepare_call("get_order", order_id, "{}", None).and_then(takings::Call::send);
    match sent {
        Ok(reply) => match takings::Order::try_from(reply).map(|order| serde_json::from_str::<Value>(order.raw())) {
            Ok(Ok(order)) => Read::Shown(shown(&order)),
            _ => Read::Failed("Klarna's answer is no order".into()),
        },
        Err(error) => match error.http_status() {
            Some(400 | 403 | 404 | 410) if error.error_code().is_some() => Read::Refused,
            _ => Read::Failed(error.message().to_owned()),
        },
    }
}

/// Reads orders, and begins no more than so many a second.
struct Reader<'a> {
    client: &'a Client,
    between: Duration,
    next: Mutex<Instant>,
    stop: &'a AtomicBool,
}

impl Reader<'_> {
    fn wait(&self) {
        let at = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let at = (*next).max(Instant::now());
            *next = at + self.between;
            at
        };
        thread::sleep(at.saturating_duration_since(Instant::now()));
    }

    /// Reads some orders. An order that was not begun has none.
    fn read_all(&self, part: &[&String]) -> Vec<Option<Read>> {
        let next = AtomicUsize::new(0);
        let is_broken = AtomicBool::new(false);
        let reads: Mutex<Vec<Option<Read>>> = Mutex::new(part.iter().map(|_| None).collect());
        thread::scope(|scope| {
            for _ in 0..HANDS.min(part.len()) {
                scope.spawn(|| {
                    loop {
                        let place = next.fetch_add(1, Ordering::SeqCst);
                        let Some(order) = part.get(place) else { return };
                        self.wait();
                        // Trouble with one order is mostly trouble with all.
                        if self.stop.load(Ordering::SeqCst) || is_broken.load(Ordering::SeqCst) {
                            return;
                        }
                        let read = read(self.client, order);
                        if matches!(read, Read::Failed(_)) {
                            is_broken.store(true, Ordering::SeqCst);
                        }
                        reads.lock().unwrap_or_else(PoisonError::into_inner)[place] = Some(read);
                    }
                });
            }
        });
        reads.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The report as it grows.
struct Report {
    place: PathBuf,
    part: PathBuf,
    file: File,
    /// The orders that it has already.
    done: BTreeSet<String>,
}

impl Report {
    fn open(place: &Path, anew: bool) -> Result<Report, Failure> {
        let mut part = place.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let failed = |why: std::io::Error| Failure::new(format!("{}: {why}", part.display()));
        let old = std::fs::metadata(&part).and_then(|facts| facts.modified()).ok();
        let age = old.and_then(|at| SystemTime::now().duration_since(at).ok());
        let goes_on = !anew && age.is_some_and(|age| age < STALE);
        let bytes = if goes_on { std::fs::read(&part).map_err(failed)? } else { Vec::new() };
        let (kept, done) = kept(&bytes);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&part).map_err(failed)?;
        file.set_len(kept as u64).map_err(failed)?;
        std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).map_err(failed)?;
        let mut report = Report { place: place.to_owned(), part, file, done };
        if kept == 0 {
            report.write(&[HEADING.map(str::to_owned).to_vec()])?;
        } else {
            note(format!(
                "goes on with a check that was interrupted ({} orders are done; --anew begins anew)",
                number(report.done.len())
            ));
        }
        Ok(report)
    }

    fn failed(&self, why: impl std::fmt::Display) -> Failure {
        Failure::new(format!("{}: {why}", self.part.display()))
    }

    /// Writes lines at once.
    fn write(&mut self, lines: &[Vec<String>]) -> Result<(), Failure> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for line in lines {
            writer.write_record(line).map_err(|why| self.failed(why))?;
        }
        let bytes = writer.into_inner().map_err(|why| self.failed(why))?;
        self.file.write_all(&bytes).map_err(|why| self.failed(why))
    }

    /// Moves it to its place, and counts the findings of all its lines.
    fn end(self) -> Result<(BTreeMap<String, u64>, Vec<csv::StringRecord>), Failure> {
        let failed = |why: &dyn std::fmt::Display| Failure::new(format!("{}: {why}", self.place.display()));
        self.file.sync_all().map_err(|why| failed(&why))?;
        std::fs::rename(&self.part, &self.place).map_err(|why| failed(&why))?;
        let mut counts = BTreeMap::new();
        let mut wrong = Vec::new();
        let mut reader = csv::Reader::from_path(&self.place).map_err(|why| failed(&why))?;
        for record in reader.records() {
            let record = record.map_err(|why| failed(&why))?;
            let word = record.get(0).unwrap_or_default().to_owned();
            let finding = Finding::ALL.into_iter().find(|finding| finding.word() == word);
            if finding.is_none_or(Finding::is_wrong) {
                wrong.push(record);
            }
            *counts.entry(word).or_insert(0) += 1;
        }
        Ok((counts, wrong))
    }
}

/// How many bytes of an interrupted report are whole orders, and which orders these are. The last order is read again:
/// its lines may have been cut.
fn kept(bytes: &[u8]) -> (usize, BTreeSet<String>) {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(&bytes[..whole]);
    let mut records = Vec::new();
    for record in reader.records() {
        let Ok(record) = record else { return (0, BTreeSet::new()) };
        records.push((usize::try_from(record.position().map_or(0, csv::Position::byte)).unwrap_or(0), record));
    }
    let is_ours = records.first().is_some_and(|(_, heading)| heading.iter().eq(HEADING));
    let Some((_, last)) = records.last().filter(|_| is_ours) else { return (0, BTreeSet::new()) };
    let order = |record: &csv::StringRecord| record.get(1).unwrap_or_default().to_owned();
    let last = order(last);
    let end = records.iter().skip(1).find(|(_, record)| order(record) == last).map_or(whole, |(place, _)| *place);
    let done = records.iter().skip(1).map(|(_, record)| order(record)).filter(|order| *order != last);
    (end, done.collect())
}

fn cells(order_id: &str, compared: &Compared, checked_at: i64) -> Vec<String> {
    let row = |of: &dyn Fn(&Line) -> String| compared.row.as_ref().map(of).unwrap_or_default();
    let shown = |of: &dyn Fn(&Shown) -> String| compared.shown.as_ref().map(of).unwrap_or_default();
    let reference = match (&compared.row, &compared.shown) {
        (Some(row), _) => &row.reference,
        (None, Some(one)) => &one.reference,
        (None, None) => "",
    };
    vec![
        compared.finding.word().to_owned(),
        order_id.to_owned(),
        compared.kind.operation().to_owned(),
        guarded(reference),
        row(&|row| row.kind.word(row.state).to_owned()),
        row(&|row| row.amount.to_string()),
        row(&|row| row.done_as.clone().unwrap_or_default()),
        shown(&|one| one.amount.map(|amount| amount.to_string()).unwrap_or_default()),
        shown(&|one| guarded(&one.id)),
        shown(&|one| guarded(&one.at)),
        moment(checked_at),
    ]
}

/// The orders to check, each once.
fn orders(store: &mut dyn Office, check: &Check) -> Result<BTreeSet<String>, Failure> {
    let now = store.time()?;
    let since = check.days.map(|days| now - i64::from(days) * 24 * 60 * 60 * 1000);
    let mut orders = BTreeSet::new();
    for kind in Kind::ALL {
        let mut wanted = Wanted {
            account: Some(check.place.account().to_owned()),
            order_id: check.order_id.clone(),
            most: PAGE,
            ..Wanted::default()
        };
        loop {
            let rows = store.list(kind, &wanted)?;
            let Some(last) = rows.last() else { break };
            wanted.after = last.id;
            let wanted = rows.into_iter().filter(|row| since.is_none_or(|since| row.enqueued_at >= since));
            orders.extend(wanted.map(|row| row.order_id));
        }
    }
    Ok(orders)
}

/// The result of an order that could be read: its lines of the report.
fn judged(rows: Vec<Line>, read_as: Read) -> Result<Vec<Compared>, String> {
    let unreadable = |row: Line| Compared {
        finding: match row.state {
            State::Done => Finding::Unreadable,
            State::Queued | State::Sending | State::Unclear => Finding::Open,
            // Klarna may have refused it because there is no such order.
            State::Rejected | State::Stuck | State::Cancelled => Finding::Agrees,
        },
        kind: row.kind,
        row: Some(row),
        shown: None,
    };
    match read_as {
        Read::Shown(shown) => Ok(compare(rows, shown)),
        Read::Refused => Ok(rows.into_iter().map(unreadable).collect()),
        Read::Failed(why) => Err(why),
    }
}

/// The orders of a part with their lines, as far as they could be read; and why no further.
type Part<'a> = (Vec<(&'a String, Vec<Compared>)>, Option<String>);

fn compared<'a>(
    store: &mut dyn Office,
    account: &str,
    reader: &Reader<'_>,
    part: &[&'a String],
) -> Result<Part<'a>, Failure> {
    // The ledger is read first: what is done meanwhile is then known as open, and not as somebody else's.
    let mut rows = Vec::with_capacity(part.len());
    for order in part {
        rows.push(find(store, Some(account), order, None)?);
    }
    let mut all = Vec::with_capacity(part.len());
    for ((order, rows), read_as) in part.iter().zip(rows).zip(reader.read_all(part)) {
        let Some(read_as) = read_as else { return Ok((all, None)) };
        match judged(rows, read_as) {
            Ok(lines) => all.push((*order, lines)),
            Err(why) => return Ok((all, Some(format!("order {order}: {why}")))),
        }
    }
    Ok((all, None))
}

/// The same; orders that do not agree were read twice.
fn compared_twice<'a>(
    store: &mut dyn Office,
    account: &str,
    reader: &Reader<'_>,
    part: &[&'a String],
) -> Result<Part<'a>, Failure> {
    let (mut all, broken) = compared(store, account, reader, part)?;
    let is_wrong = |lines: &[Compared]| lines.iter().any(|line| line.finding.is_wrong());
    let wrong: Vec<&String> = all.iter().filter(|(_, lines)| is_wrong(lines)).map(|(order, _)| *order).collect();
    if wrong.is_empty() || broken.is_some() {
        // Nobody knows of the wrong ones whether they are wrong for long. They are read when the check goes on.
        all.retain(|(_, lines)| !is_wrong(lines));
        return Ok((all, broken));
    }
    thread::sleep(AGAIN);
    let (again, broken) = compared(store, account, reader, &wrong)?;
    all.retain(|(_, lines)| !is_wrong(lines));
    all.extend(again);
    all.sort_by_key(|(order, _)| *order);
    Ok((all, broken))
}

/// Reads the orders and compares them.
pub fn run(store: &mut dyn Office, check: &Check) -> Ended {
    let klarna = check.place.klarna()?;
    // The ledger of another merchant, or of another place, would seem to be wrong in every line.
    let account = store.accounts()?.into_iter().find(|account| account.account == check.place.account());
    if let Some(Account { base_url: Some(url), merchant: Some(merchant), .. }) = &account
        && (url, merchant) != (&klarna.base_url, &klarna.merchant)
    {
        return Err(Failure::new(format!(
            "the ledger belongs to {merchant} at {url}, and the credentials to {} at {}; nothing was checked",
            klarna.merchant, klarna.base_url
        )));
    }
    let client = Client::new(klarna.config)?;
    let orders = orders(store, check)?;
    if orders.is_empty() {
        return Err(Failure::new("the ledger has no such orders, so nothing was checked"));
    }
    let mut report = Report::open(&check.report, check.anew)?;
    let left: Vec<&String> = orders.iter().filter(|order| !report.done.contains(*order)).collect();
    let stop = work::stop()?;
    let reader = Reader {
        client: &client,
        between: Duration::from_secs(1) / u32::from(check.per_second),
        next: Mutex::new(Instant::now()),
        stop: &stop,
    };
    let (mut count, mut spoke) = (orders.len() - left.len(), Instant::now());
    let mut broken = None;
    for part in left.chunks(PART) {
        let (done, why) = compared_twice(store, check.place.account(), &reader, part)?;
        let now = store.time()?;
        for (order, lines) in &done {
            let cells: Vec<Vec<String>> = lines.iter().map(|line| cells(order, line, now)).collect();
            report.write(&cells)?;
            for line in lines.iter().filter(|line| line.finding.is_wrong()) {
                let reference = line.row.as_ref().map(|row| row.reference.as_str()).unwrap_or_default();
                note(format!("order {order} {reference}: {}", line.finding.meaning()));
            }
        }
        count += done.len();
        broken = why;
        if done.len() < part.len() {
            break;
        }
        if spoke.elapsed() >= SPEAK {
            note(format!("  checked {} of {} orders", number(count), number(orders.len())));
            spoke = Instant::now();
        }
    }
    if count < orders.len() {
        report.file.sync_all()?;
        if let (0, Some(why)) = (count, &broken) {
            return Err(Failure::new(format!("{why}\nnothing was checked")));
        }
        let why = broken.map(|why| format!("{why}\n")).unwrap_or_default();
        note(format!(
            "{why}checked {} of {} orders; the same command again goes on",
            number(count),
            number(orders.len())
        ));
        if check.json {
            result(json!({"orders": orders.len(), "checked": count, "report": Value::Null}))?;
        }
        return Ok(Exit::Open);
    }
    let path = report.place.clone();
    let (counts, wrong) = report.end()?;
    tell(check, orders.len(), &path, &counts, &wrong)?;
    Ok(if wrong.is_empty() { Exit::Done } else { Exit::Person })
}

fn tell(
    check: &Check,
    orders: usize,
    path: &Path,
    counts: &BTreeMap<String, u64>,
    wrong: &[csv::StringRecord],
) -> Result<(), Failure> {
    let of = |finding: Finding| counts.get(finding.word()).copied().unwrap_or_default();
    if check.json {
        let record = |record: &csv::StringRecord| {
            let cells = HEADING.iter().zip(record).map(|(name, cell)| ((*name).to_owned(), Value::from(cell)));
            Value::Object(cells.collect())
        };
        let wrong: Vec<Value> = wrong.iter().map(record).collect();
        return result(json!({
            "orders": orders, "checked": orders, "counts": counts, "wrong": wrong, "report": path.display().to_string(),
        }));
    }
    result(format!("checked {} at Klarna", many(orders, "order")))?;
    for finding in Finding::ALL {
        if of(finding) > 0 {
            result(format!("  {:>9}  {:25}  {}", number(of(finding)), finding.word(), finding.meaning()))?;
        }
    }
    result(format!("report: {}", path.display()))
}
