//! `status`: for a person, for programs, for Prometheus, for Nagios, and as a page.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use takings_ledger::office::{Account, Alarm, Count, Office};
use takings_ledger::policy::State;
use takings_ledger::store::Kind;

use crate::enqueue::write_whole;
use crate::place::{Place, Where, open};
use crate::say::{Ended, Exit, Failure, moment, number, result, span, why};

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

/// A row that is due for so long means that no worker runs, or that it is far too slow.
const LATE: i64 = 15 * MINUTE;

/// How the state is written.
#[derive(Clone, Copy, Debug)]
pub enum Form<'a> {
    Text,
    Json,
    Prometheus,
    Html(&'a Path),
}

/// An account with its rows.
struct Books {
    account: Account,
    counts: Vec<Count>,
    alarms: Vec<Alarm>,
}

/// The state of a ledger at a moment.
struct Picture {
    ledger: String,
    now: i64,
    has_worker: bool,
    accounts: Vec<Books>,
}

impl Books {
    fn rows(&self, state: State) -> u64 {
        self.counts.iter().filter(|count| count.state == state).map(|count| count.rows).sum()
    }

    fn lately(&self, kind: Kind) -> u64 {
        let done = self.counts.iter().filter(|count| count.kind == kind && count.state == State::Done);
        done.map(|count| count.lately).sum()
    }

    fn oldest(&self, states: &[State]) -> Option<i64> {
        self.counts.iter().filter(|count| states.contains(&count.state)).map(|count| count.oldest).min()
    }

    /// How long the row that waits longest is due. A pause is no lateness of the row.
    fn late(&self, now: i64) -> i64 {
        let due = self.counts.iter().filter_map(|count| count.next_due).min();
        due.map_or(0, |due| now - due.max(self.account.paused_until.min(now))).max(0)
    }

    fn is_paused(&self, now: i64) -> bool {
        // Klarna's rate limit stops an account for seconds, which is no news.
        let is_short = self.account.paused_why.as_deref() == Some("limited");
        self.account.paused_until.saturating_sub(now) > if is_short { MINUTE } else { 0 }
    }
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
        return Err(Failure::new(format!("the ledger has no account {name}")));
    }
    Ok(Picture { ledger: ledger.to_string(), now, has_worker, accounts })
}

pub fn status(place: &Where, form: Form<'_>, is_json: bool) -> Ended {
    let ledger = place.ledger()?;
    let picture = look(&mut *open(&ledger)?, &ledger, place.account.as_deref())?;
    match form {
        Form::Text => result(text(&picture).trim_end())?,
        Form::Json => result(to_json(&picture))?,
        Form::Prometheus => result(prometheus(&picture).trim_end())?,
        Form::Html(file) => {
            write_whole(file, html(&picture).as_bytes())?;
            if is_json {
                result(json!({"html": file.display().to_string()}))?;
            }
        }
    }
    Ok(Exit::Done)
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

/// The text format of Prometheus, for its textfile collector.
fn prometheus(picture: &Picture) -> String {
    let mut text = String::new();
    let mut family = |name: &str, help: &str, values: Vec<(String, String)>| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP takings_{name} {help}\n# TYPE takings_{name} gauge");
        for (labels, value) in values {
            let _ = writeln!(text, "takings_{name}{labels} {value}");
        }
    };
    let labels = |pairs: &[(&str, &str)]| {
        let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        format!("{{{}}}", pairs.join(","))
    };
    let now = picture.now;
    let each = |value: &dyn Fn(&Books) -> String| -> Vec<(String, String)> {
        let accounts = picture.accounts.iter();
        accounts.map(|one| (labels(&[("account", &one.account.account)]), value(one))).collect()
    };
    family(
        "worker_runs",
        "1 while a worker has the ledger.",
        vec![(String::new(), u8::from(picture.has_worker).to_string())],
    );
    family("paused", "1 while nothing is sent.", each(&|one| u8::from(one.is_paused(now)).to_string()));
    family(
        "late_seconds",
        "How long the row that waits longest is due.",
        each(&|one| (one.late(now) / 1000).to_string()),
    );
    let mut rows = Vec::new();
    let mut people = Vec::new();
    for one in &picture.accounts {
        let account = one.account.account.as_str();
        for count in &one.counts {
            let pairs =
                [("account", account), ("kind", count.kind.operation()), ("state", count.kind.word(count.state))];
            rows.push((labels(&pairs), count.rows.to_string()));
        }
        for kind in Kind::ALL {
            let alarms = one.alarms.iter().filter(|alarm| alarm.kind == kind);
            let count: u64 = alarms.map(|alarm| alarm.rows).sum();
            people.push((labels(&[("account", account), ("kind", kind.operation())]), count.to_string()));
        }
    }
    family("rows", "Rows by state.", rows);
    family("needs_a_person", "Rows that need a person.", people);
    text
}

fn html(picture: &Picture) -> String {
    let escaped = text(picture).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"60\">\n\
         <title>takings</title></head>\n<body><h1>takings</h1><p>as of {}</p>\n<pre>{escaped}</pre></body></html>\n",
        moment(picture.now)
    )
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
            let level = if matches!(word, "person" | "no_answer" | "limited") { 1 } else { 2 };
            find(level, format!("{name} paused: {}", why(word)));
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
