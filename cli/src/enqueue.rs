//! `enqueue`, `capture-file` and `refund-file`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use takings_ledger::office::{Line, Office, Wanted};
use takings_ledger::policy::State;
use takings_ledger::store::{Entry, Error, Kind};
use takings_ledger::worker::Settings;

use crate::file::{Contents, Origin, Problem, Reading, read};
use crate::place::{self, Where};
use crate::say::{Ended, Exit, Failure, ask, guarded, many, moment, note, number, result, why};
use crate::work::{self, Progress, Served};

/// How many rows are enqueued in one transaction. A shop that inserts beside it waits for the length of one.
const AT_ONCE: usize = 5000;

/// A run over a file ends once nothing is to be done for so long; later tries are the worker's.
const QUIET: Duration = Duration::from_secs(60);

/// How a file is worked off.
#[derive(Debug)]
pub struct Order {
    pub place: Where,
    pub file: PathBuf,
    pub reading: Reading,
    pub first_ever: bool,
    pub yes: bool,
    pub max_total: Option<String>,
    pub report: Option<PathBuf>,
    pub enqueue_only: bool,
    pub hands: usize,
    pub json: bool,
}

/// Reads a file or standard input.
fn bytes(file: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().lock().read_to_end(&mut bytes).map(drop),
        false => std::fs::read(file).map(|read| bytes = read),
    };
    read.map_err(|why| Failure::new(format!("{}: {why}", file.display())))?;
    Ok(bytes)
}

/// Says all that is wrong, and that nothing was done.
fn refuse(problems: &[Problem], name: &str) -> Failure {
    let list: Vec<String> = problems.iter().map(Problem::to_string).collect();
    let lines: BTreeSet<u64> = problems.iter().map(|problem| problem.line).collect();
    let count = match lines.len() {
        1 => "a line is".to_owned(),
        count => format!("{} lines are", number(count)),
    };
    let json =
        problems.iter().map(|problem| json!({"line": problem.line, "column": problem.column, "problem": problem.what}));
    let json = json!({"enqueued": 0, "problems": json.collect::<Vec<Value>>()});
    let message = format!("{}\n{count} wrong, so nothing of {name} was enqueued", list.join("\n"));
    Failure { json: Some(json), ..Failure::new(message) }
}

/// The sum of the amounts by currency; none is the minor units of an unknown one.
fn totals(entries: &[Entry], origins: &[Origin]) -> BTreeMap<Option<String>, i64> {
    let mut written: BTreeMap<Option<&str>, i64> = BTreeMap::new();
    for (entry, origin) in entries.iter().zip(origins) {
        *written.entry(origin.currency.as_deref()).or_insert(0) += entry.amount;
    }
    let mut totals = BTreeMap::new();
    for (code, sum) in written {
        *totals.entry(code.map(str::to_ascii_uppercase)).or_insert(0) += sum;
    }
    totals
}

/// A sum as people write it.
fn amount(minor: i64, currency: Option<&str>) -> String {
    let Some(code) = currency else { return format!("{} minor units", number(minor)) };
    // A unit in minor units says how many decimals there are.
    let unit = takings::minor("1", code).unwrap_or(1);
    let decimals = usize::try_from(unit.ilog10()).unwrap_or_default();
    match decimals {
        0 => format!("{} {code}", number(minor)),
        _ => format!("{}.{:0decimals$} {code}", number(minor / unit), minor % unit),
    }
}

/// Checks the total against the most that was allowed.
fn check_total(totals: &BTreeMap<Option<String>, i64>, most: &str) -> Result<(), Failure> {
    let digits = most.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let code = Some(most[digits.len()..].to_ascii_uppercase()).filter(|code| !code.is_empty());
    let limit = match &code {
        Some(code) => takings::minor(digits.trim_end(), code)
            .map_err(|error| Failure::new(format!("--max-total {most}: {}", error.message())))?,
        None => digits.parse().map_err(|_| {
            Failure::new(format!("--max-total {most}: it must be an amount such as 25000.00EUR, or minor units"))
        })?,
    };
    for (currency, total) in totals {
        if code.is_some() && *currency != code {
            return Err(Failure::new(format!(
                "--max-total {most}: the file has {}, which cannot be compared; nothing was enqueued",
                amount(*total, currency.as_deref())
            )));
        }
    }
    let total: i64 = totals.values().sum();
    if total > limit {
        return Err(Failure::new(format!(
            "the file is for {} in all, more than --max-total {most}; nothing was enqueued",
            amount(total, code.as_deref())
        )));
    }
    Ok(())
}

/// Enqueues the file, and works it off unless that is left to the worker.
pub fn file(order: Order) -> Ended {
    // The settings are read first: a file that cannot be sent need not be checked.
    if !order.enqueue_only {
        order.place.klarna()?;
    }
    let bytes = bytes(&order.file)?;
    bytes_of(order, &bytes)
}

/// The same for a file that was read.
pub fn bytes_of(order: Order, bytes: &[u8]) -> Ended {
    let name = order.file.display().to_string();
    let kind = order.reading.kind;
    let klarna = if order.enqueue_only { None } else { Some(order.place.klarna()?) };
    let Contents { entries, origins, mut problems } = read(bytes, &name, &order.reading, place::checker)?;
    if entries.is_empty() && problems.is_empty() {
        return Err(Failure::new(format!("{name} has no parcels, so nothing was enqueued")));
    }
    let totals = totals(&entries, &origins);
    if let (Some(most), true) = (&order.max_total, problems.is_empty()) {
        check_total(&totals, most)?;
    }
    let ledger = order.place.ledger()?;
    let account = order.place.account().to_owned();
    if !problems.is_empty() && !ledger.is_there() {
        return Err(refuse(&problems, &name));
    }
    let (mut store, is_new) = place::make(&ledger, order.first_ever)?;
    let (known, others) = store.compare(kind, &entries)?;
    problems.extend(others.into_iter().map(|place| Problem {
        line: origins[place].line,
        column: order.reading.headings.get("reference").cloned().unwrap_or_else(|| "reference".into()),
        what: "it stands in the ledger already, with another amount or other fields; takings show has it".into(),
    }));
    if !problems.is_empty() {
        problems.sort_by_key(|problem| problem.line);
        return Err(refuse(&problems, &name));
    }
    let Some(held) = store.accounts()?.into_iter().find(|held| held.account == account) else {
        return Err(Error::no_account(&account).into());
    };
    if let Some(klarna) = &klarna {
        store.bind(&account, &klarna.base_url, &klarna.merchant)?;
    }
    let sums: Vec<String> = totals.iter().map(|(code, sum)| amount(*sum, code.as_deref())).collect();
    let to = klarna.as_ref().map(|klarna| format!(" ({}, {})", klarna.base_url, klarna.merchant)).unwrap_or_default();
    note(format!(
        "ledger {ledger}{}{to}: {}, {}",
        if account == place::ACCOUNT { String::new() } else { format!(", account {account}") },
        many(entries.len(), kind.operation()),
        sums.join(" and ")
    ));
    if known > 0 {
        note(format!("{} of them stand in the ledger already, and go on where they stopped", number(known)));
    }
    if order.first_ever && !is_new {
        note("--first-ever counts for a new ledger alone, and this one is there already: see takings resume --help");
    }
    if held.look_until > store.time()? {
        note(format!(
            "this ledger is new or was restored: each is looked for before it is sent (--first-ever with a new one, if \
             none of them can have been {} by other means)",
            kind.word(State::Done)
        ));
    }
    let question =
        format!("{} {}?", if order.enqueue_only { "Enqueue" } else { "Send" }, many(entries.len(), kind.operation()));
    if !order.yes && !order.enqueue_only {
        ask(&question, &format!("nothing of {name} was enqueued"))?;
    }
    let mut new = 0;
    for part in entries.chunks(AT_ONCE) {
        let enqueued = store.enqueue(kind, part).map_err(|error| {
            let before = if new > 0 { format!("; {} were enqueued before that", number(new)) } else { String::new() };
            Failure::new(format!("{}{before}; the same command again goes on", error.message))
        })?;
        new += enqueued.into_iter().filter(|is_new| *is_new).count();
    }
    let Some(klarna) = klarna else {
        let known = entries.len() - new;
        match order.json {
            true => result(json!({"enqueued": new, "known": known}))?,
            false => result(format!("enqueued {}, {} were there already", number(new), number(known)))?,
        }
        return Ok(Exit::Done);
    };
    work_off(&order, &mut *store, &ledger, klarna)?;
    report(&order, &mut *store, &entries, &origins)
}

fn work_off(
    order: &Order,
    store: &mut dyn Office,
    ledger: &place::Place,
    klarna: place::Klarna,
) -> Result<(), Failure> {
    let stop = work::stop()?;
    let account = order.place.account();
    store.probe(account)?;
    let progress = Progress::new(store.open_rows(account)?, order.reading.kind, order.json);
    if !store.shares_work() && store.has_worker()? {
        note("a worker runs on this ledger and does the work; this command looks on");
        return work::watch(store, account, progress, QUIET, &stop);
    }
    let settings = Settings { hands: order.hands, until_quiet: Some(QUIET), ..Settings::default() };
    let served = [Served { account: account.to_owned(), klarna }];
    work::run(store, ledger, &served, &settings, progress, None, &stop)?;
    Ok(())
}

/// Says how the file's parcels stand, and writes the report.
fn report(order: &Order, store: &mut dyn Office, entries: &[Entry], origins: &[Origin]) -> Ended {
    let kind = order.reading.kind;
    let path = order.report.clone().or_else(|| {
        let name = order.file.file_name().filter(|name| *name != "-")?;
        let mut name = name.to_owned();
        name.push(".report.csv");
        Some(order.file.with_file_name(name))
    });
    let (mut done, mut refused, mut person, mut open, mut next) = (0_u64, 0_u64, 0_u64, 0_u64, None::<i64>);
    let mut writer = csv::Writer::from_writer(Vec::new());
    let failed = |why: csv::Error| Failure::new(format!("the report: {why}"));
    let done_as = format!("{}_id", kind.operation());
    writer
        .write_record([
            "line",
            "order_id",
            "reference",
            kind.amount(),
            "state",
            done_as.as_str(),
            "settled_at",
            "due_at",
            "why",
            "http_status",
            "error_code",
            "note",
            "account",
        ])
        .map_err(failed)?;
    for (entry, Origin { line, .. }) in entries.iter().zip(origins) {
        let wanted = Wanted {
            account: Some(entry.account.clone()),
            order_id: Some(entry.order_id.clone()),
            reference: Some(entry.reference.clone()),
            ..Wanted::default()
        };
        let Some(row) = store.list(kind, &wanted)?.into_iter().next() else { continue };
        match row.state {
            State::Done => done += 1,
            State::Rejected => refused += 1,
            State::Stuck | State::Cancelled => person += 1,
            State::Queued | State::Sending | State::Unclear => {
                open += 1;
                next = [next, row.due_at].into_iter().flatten().min();
            }
        }
        writer.write_record(cells(*line, kind, &row)).map_err(failed)?;
    }
    if let Some(path) = &path {
        let bytes = writer.into_inner().map_err(|why| Failure::new(format!("the report: {why}")))?;
        write_whole(path, &bytes)?;
    }
    let trouble = work::trouble(&store.accounts().unwrap_or_default(), order.place.account());
    let word = kind.word(State::Done);
    if order.json {
        result(json!({
            "account": order.place.account(), word: done, "refused": refused, "needs_a_person": person, "open": open, "next_due": next.map(moment),
            "paused": trouble, "report": path.map(|path| path.display().to_string()),
        }))?;
    } else {
        let later = match next {
            Some(at) if open > 0 => format!(" (next {}; `takings worker` goes on with them)", moment(at)),
            _ => String::new(),
        };
        result(format!(
            "{word} {}   refused {}   need a person {}   asked again later {}{later}",
            number(done),
            number(refused),
            number(person),
            number(open)
        ))?;
        if let Some(trouble) = trouble {
            result(format!("PAUSED: {trouble}"))?;
        }
        if let Some(path) = path {
            result(format!("report: {}", path.display()))?;
        }
    }
    Ok(match (refused + person, open) {
        (0, 0) => Exit::Done,
        (0, _) => Exit::Open,
        _ => Exit::Person,
    })
}

fn cells(line: u64, kind: Kind, row: &Line) -> Vec<String> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    vec![
        line.to_string(),
        row.order_id.clone(),
        row.reference.clone(),
        row.amount.to_string(),
        kind.word(row.state).to_owned(),
        text(&row.done_as),
        row.settled_at.map(moment).unwrap_or_default(),
        row.due_at.map(moment).unwrap_or_default(),
        row.why.as_deref().map(why).unwrap_or_default().to_owned(),
        row.http_status.map(|status| status.to_string()).unwrap_or_default(),
        guarded(&text(&row.error_code)),
        guarded(&text(&row.note)),
        row.account.clone(),
    ]
}

/// Writes a file as a whole, or not at all. Only its owner can read it.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let write = || {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    write().map_err(|why| Failure::new(format!("{}: {why}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_as_people_write_them() {
        assert_eq!(amount(123_456_700, Some("EUR")), "1,234,567.00 EUR");
        assert_eq!(amount(5, Some("EUR")), "0.05 EUR");
        assert_eq!(amount(6000, Some("JPY")), "6,000 JPY");
        assert_eq!(amount(6000, None), "6,000 minor units");
        let totals = BTreeMap::from([(Some("EUR".to_owned()), 2_500_001)]);
        assert!(check_total(&totals, "25000.01EUR").is_ok() && check_total(&totals, "2500001").is_ok());
        for most in ["25000.00EUR", "2500000", "25000.01SEK", "25000,01EUR", "much"] {
            assert!(check_total(&totals, most).is_err(), "{most}");
        }
    }
}
