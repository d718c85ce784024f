//! `status`: for a person, for programs and for Nagios. The page and the metrics stand in files of their own.

use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use takings_ledger::office::{Account, Alarm, Count, Office};
use takings_ledger::policy::State;
use takings_ledger::store::{Error, Kind};

use crate::metrics::prometheus;
use crate::page::html;
use crate::place::{Place, Where, open};
use crate::say::{Ended, Exit, Failure, moment, number, result, span, why};

pub const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

/// A row that is due for so long means that no worker runs, or that it is far too slow.
pub const LATE: i64 = 15 * MINUTE;

/// How the state is written.
#[derive(Clone, Copy, Debug)]
pub enum Form<'a> {
    Text,
    Json,
    /// Into a file, else to standard output.
    Prometheus(Option<&'a Path>),
    /// The file, and after how many seconds a browser reads it again.
    Html(&'a Path, u32),
}

/// An account with its rows.
pub struct Books {
    pub account: Account,
    pub counts: Vec<Count>,
    pub alarms: Vec<Alarm>,
}

/// The state of a ledger at a moment.
pub struct Picture {
    pub ledger: String,
    pub now: i64,
    pub has_worker: bool,
    pub accounts: Vec<Books>,
}

impl Books {
    pub fn rows(&self, state: State) -> u64 {
        self.counts.iter().filter(|count| count.state == state).map(|count| count.rows).sum()
    }

    pub fn amount(&self, states: &[State]) -> i64 {
        amount_of(self.counts.iter().filter(|count| states.contains(&count.state)).map(|count| count.amount))
    }

    pub fn lately(&self, kind: Kind) -> u64 {
        let done = self.counts.iter().filter(|count| count.kind == kind && count.state == State::Done);
        done.map(|count| count.lately).sum()
    }

    pub fn oldest(&self, states: &[State]) -> Option<i64> {
        self.counts.iter().filter(|count| states.contains(&count.state)).map(|count| count.oldest).min()
    }

    /// How long the row that waits longest is due. A pause is no lateness of the row.
    pub fn late(&self, now: i64) -> i64 {
        let due = self.counts.iter().filter_map(|count| count.next_due).min();
        due.map_or(0, |due| now - due.max(self.account.paused_until.min(now))).max(0)
    }

    /// How far the clock is behind the latest time that a worker saw.
    pub fn clock_went_back(&self, now: i64) -> i64 {
        self.account.seen_at.saturating_sub(now).max(0)
    }

    pub fn is_paused(&self, now: i64) -> bool {
        // Klarna's rate limit stops an account for seconds, which is no news.
        let is_short = self.account.paused_why.as_deref() == Some("limited");
        self.account.paused_until.saturating_sub(now) > if is_short { MINUTE } else { 0 }
    }
}

/// A sum of amounts. That of a strange ledger may be larger than any number.
pub fn amount_of(amounts: impl Iterator<Item = i64>) -> i64 {
    amounts.fold(0, i64::saturating_add)
}

/// How bad a pause is, as Nagios counts: 1 ends by itself or was a person's wish, and 2 does not end well alone.
pub fn level_of_pause(word: &str) -> u8 {
    if matches!(word, "person" | "no_answer" | "limited") { 1 } else { 2 }
}

fn look(store: &mut dyn Office, ledger: &Place, of: Option<&str>) -> Result<Picture, Failure> {
    let now = store.time()?;
    let has_worker = store.has_worker()?;
    let mut accounts = Vec::new();
    for account in store.accounts()?.into_iter().filter(|one| of.is_none_or(|name| name == one.account)) {
        let counts = store.counts(&account.account, now - now.rem_euclid(DAY))?;
        let alarms = store.alarms(&account.account)?;
        accounts.push(Books { account, counts, alarms });
    }
    if let (Some(name), true) = (of, accounts.is_empty()) {
        return Err(Error::no_account(name).into());
    }
    Ok(Picture { ledger: ledger.to_string(), now, has_worker, accounts })
}

pub fn status(place: &Where, form: Form<'_>, is_json: bool) -> Ended {
    let ledger = place.ledger()?;
    let picture = look(&mut *open(&ledger)?, &ledger, place.account.as_deref())?;
    match form {
        Form::Text => result(text(&picture).trim_end())?,
        Form::Json => result(to_json(&picture))?,
        Form::Prometheus(None) => result(prometheus(&picture).trim_end())?,
        Form::Prometheus(Some(file)) => {
            publish(file, &prometheus(&picture))?;
            if is_json {
                result(json!({"prometheus": file.display().to_string()}))?;
            }
        }
        Form::Html(file, refresh) => {
            publish(file, &html(&picture, refresh))?;
            if is_json {
                result(json!({"html": file.display().to_string()}))?;
            }
        }
    }
    Ok(Exit::Done)
}

/// Puts a text in a file's place, so that others read the old or the new one and never a part. A file that was there
/// keeps its mode, and a new one gets that of the umask: a web server or a collector runs as another user.
fn publish(path: &Path, text: &str) -> Result<(), Failure> {
    // Two runs may overlap, and the collector reads no name that ends so.
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.part", std::process::id()));
    let write = || {
        let mut file = std::fs::File::create(&beside)?;
        file.write_all(text.as_bytes())?;
        if let Ok(old) = std::fs::metadata(path) {
            file.set_permissions(old.permissions())?;
        }
        std::fs::rename(&beside, path)
    };
    write().map_err(|why| {
        // A part of a file is of no use, and the loss of it is no news.
        let _ = std::fs::remove_file(&beside);
        Failure::new(format!("{}: {why}", path.display()))
    })
}

fn text(picture: &Picture) -> String {
    let mut text =
        format!("ledger {}, {}\n", picture.ledger, if picture.has_worker { "a worker runs" } else { "NO WORKER RUNS" });
    let now = picture.now;
    for one in &picture.accounts {
        let account = &one.account;
        let mut say = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        let place = match (&account.base_url, &account.merchant) {
            (Some(url), Some(merchant)) => format!("{url} {merchant}"),
            _ => "no worker was here yet".to_owned(),
        };
        match (&account.paused_why, one.is_paused(now)) {
            (Some(word), true) => say(format!(
                "{}  {place}  PAUSED{}: {}. takings resume ends the pause",
                account.account,
                account.alert_at.map(|at| format!(" since {}", moment(at))).unwrap_or_default(),
                why(word)
            )),
            _ => say(format!(
                "{}  {place}  goes on, at most {}/s{}",
                account.account,
                account.per_second,
                if account.rate < account.per_second {
                    format!(", now {:.0}/s since Klarna asked for fewer", account.rate)
                } else {
                    String::new()
                }
            )),
        }
        let waits = |state: State, word: &str| {
            let oldest = one.oldest(&[state]).map(|at| format!(" (oldest {})", span(now - at))).unwrap_or_default();
            format!("{word} {}{oldest}", number(one.rows(state)))
        };
        say(format!(
            "  {}   {}   {}   captured today {}   refunded today {}",
            waits(State::Queued, "queued"),
            waits(State::Sending, "under way"),
            waits(State::Unclear, "asked again"),
            number(one.lately(Kind::Capture)),
            number(one.lately(Kind::Refund))
        ));
        if account.look_until > now {
            say(format!("  rows are looked for before they are sent, until {}", moment(account.look_until)));
        }
        let rows: u64 = one.alarms.iter().map(|alarm| alarm.rows).sum();
        if rows > 0 {
            let amount: i64 = one.alarms.iter().map(|alarm| alarm.amount).sum();
            say(format!(
                "  NEEDS A PERSON {}, {} minor units: takings list --needs-a-person",
                number(rows),
                number(amount)
            ));
        }
        for alarm in &one.alarms {
            say(format!(
                "    {} {}  {}  since {}  such as: takings show {} {}",
                number(alarm.rows),
                alarm.kind.word(alarm.state),
                alarm.error_code.as_deref().unwrap_or_else(|| alarm.why.as_deref().map(why).unwrap_or_default()),
                moment(alarm.since),
                alarm.order_id,
                alarm.reference
            ));
        }
    }
    text
}

fn to_json(picture: &Picture) -> Value {
    let now = picture.now;
    let accounts = picture.accounts.iter().map(|one| {
        let Account {
            account,
            base_url,
            merchant,
            bound_by,
            per_second,
            rate,
            trouble,
            paused_until,
            paused_why,
            look_until,
            ..
        } = &one.account;
        let paused = one.is_paused(now);
        let counts = one.counts.iter().map(|count| {
            json!({
                "kind": count.kind.operation(),
                "state": count.kind.word(count.state),
                "rows": count.rows,
                "minor_units": count.amount,
                "oldest": moment(count.oldest),
                "next_due": count.next_due.map(moment),
                "today": count.lately,
            })
        });
        let alarms = one.alarms.iter().map(|alarm| {
            json!({
                "kind": alarm.kind.operation(),
                "state": alarm.kind.word(alarm.state),
                "why": alarm.why,
                "error_code": alarm.error_code,
                "rows": alarm.rows,
                "minor_units": alarm.amount,
                "since": moment(alarm.since),
                "order_id": alarm.order_id,
                "reference": alarm.reference,
            })
        });
        json!({
            "account": account,
            "base_url": base_url,
            "merchant": merchant,
            "bound_by": bound_by,
            "per_second": per_second,
            "per_second_now": rate,
            "trouble": trouble,
            "paused": paused,
            "paused_why": paused_why.as_ref().filter(|_| paused),
            "paused_until": Some(*paused_until).filter(|until| paused && *until < i64::MAX).map(moment),
            "looks_first_until": Some(*look_until).filter(|until| *until > now).map(moment),
            "late_seconds": one.late(now) / 1000,
            "counts": counts.collect::<Vec<Value>>(),
            "needs_a_person": alarms.collect::<Vec<Value>>(),
        })
    });
    json!({
        "ledger": picture.ledger,
        "at": moment(now),
        "worker_runs": picture.has_worker,
        "accounts": accounts.collect::<Vec<Value>>(),
    })
}

/// A line for Nagios and Icinga, and its code: 0 well, 1 a warning, 2 critical, 3 it cannot be told.
pub fn check(place: &Where) -> Result<u8, Failure> {
    let picture = place.ledger().and_then(|ledger| look(&mut *open(&ledger)?, &ledger, place.account.as_deref()));
    let picture = match picture {
        Ok(picture) => picture,
        Err(failure) => {
            let first = failure.message.lines().next().unwrap_or_default().replace('|', "/");
            result(format!("TAKINGS UNKNOWN - {first}"))?;
            return Ok(3);
        }
    };
    let now = picture.now;
    let (mut code, mut words) = (0, Vec::new());
    let mut find = |level: u8, what: String| {
        code = code.max(level);
        words.push(what);
    };
    let (mut people, mut late, mut open) = (0, 0, 0);
    for one in &picture.accounts {
        let name = &one.account.account;
        let whose = if picture.accounts.len() > 1 { format!("{name}: ") } else { String::new() };
        if one.is_paused(now) {
            let word = one.account.paused_why.as_deref().unwrap_or_default();
            find(level_of_pause(word), format!("{name} paused: {}", why(word)));
        }
        let stuck: u64 = one.alarms.iter().filter(|alarm| alarm.state != State::Unclear).map(|alarm| alarm.rows).sum();
        let unclear: u64 =
            one.alarms.iter().filter(|alarm| alarm.state == State::Unclear).map(|alarm| alarm.rows).sum();
        if stuck > 0 {
            find(2, format!("{whose}{stuck} need a person"));
        }
        if unclear > 0 {
            find(1, format!("{whose}{unclear} unclear for hours"));
        }
        if one.late(now) > LATE && !one.is_paused(now) {
            let worker = if picture.has_worker { "" } else { ", and no worker runs" };
            find(2, format!("{whose}due for {}{worker}", span(one.late(now))));
        }
        people += stuck + unclear;
        late = late.max(one.late(now) / 1000);
        open += one.rows(State::Queued) + one.rows(State::Sending) + one.rows(State::Unclear);
    }
    let word = ["OK", "WARNING", "CRITICAL"][usize::from(code)];
    let words = if words.is_empty() { format!("{open} open") } else { words.join(", ") };
    result(format!("TAKINGS {word} - {words} | open={open} needs_a_person={people} late={late}s"))?;
    Ok(code)
}
