//! `status --prometheus`: the text format of Prometheus, for the textfile collector of its node_exporter.
//!
//! Every series of an account is there from the first run on, since an alert cannot end on a series that is gone. Moments
//! are times since 1970 and no ages: a file that nobody writes any more must not look young.

use std::fmt::Write as _;

use takings_ledger::office::Alarm;
use takings_ledger::policy::{State, Why};
use takings_ledger::store::Kind;

use crate::status::{Books, Picture, amount_of};

/// Why an account can be paused.
const PAUSES: [Why; 6] = [Why::Credentials, Why::NotKlarna, Why::Clock, Why::NoAnswer, Why::Limited, Why::Person];

const STATES: [State; 7] =
    [State::Queued, State::Sending, State::Unclear, State::Done, State::Rejected, State::Stuck, State::Cancelled];

/// The states in which a row can need a person.
const ALARMING: [State; 3] = [State::Rejected, State::Stuck, State::Unclear];

struct Families<'a> {
    text: String,
    accounts: &'a [Books],
}

fn labels(pairs: &[(&str, &str)]) -> String {
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) }
}

/// Milliseconds as Prometheus wants them.
fn seconds(milliseconds: i64) -> String {
    format!("{:.3}", milliseconds as f64 / 1000.0)
}

impl Families<'_> {
    fn head(&mut self, name: &str, help: &str) {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(self.text, "# HELP takings_{name} {help}\n# TYPE takings_{name} {kind}");
    }

    fn sample(&mut self, name: &str, pairs: &[(&str, &str)], value: &str) {
        let _ = writeln!(self.text, "takings_{name}{} {value}", labels(pairs));
    }

    fn one(&mut self, name: &str, help: &str, value: &str) {
        self.head(name, help);
        self.sample(name, &[], value);
    }

    fn each(&mut self, name: &str, help: &str, value: impl Fn(&Books) -> String) {
        self.head(name, help);
        for one in self.accounts {
            self.sample(name, &[("account", &one.account.account)], &value(one));
        }
    }

    /// A family by account, kind and state. No value, no sample.
    fn by_state(
        &mut self,
        name: &str,
        help: &str,
        states: &[State],
        value: impl Fn(&Books, Kind, State) -> Option<String>,
    ) {
        self.head(name, help);
        for one in self.accounts {
            for kind in Kind::ALL {
                for state in states {
                    if let Some(value) = value(one, kind, *state) {
                        let account = one.account.account.as_str();
                        let pairs = [("account", account), ("kind", kind.operation()), ("state", kind.word(*state))];
                        self.sample(name, &pairs, &value);
                    }
                }
            }
        }
    }
}

/// The alarms of a kind in a state.
fn alarms(one: &Books, kind: Kind, state: State) -> impl Iterator<Item = &Alarm> {
    one.alarms.iter().filter(move |alarm| (alarm.kind, alarm.state) == (kind, state))
}

pub fn prometheus(picture: &Picture) -> String {
    let now = picture.now;
    let mut all = Families { text: String::new(), accounts: &picture.accounts };
    let count = |one: &Books, kind, state| {
        one.counts.iter().find(|count| (count.kind, count.state) == (kind, state)).map(|count| count.rows)
    };
    all.head("build_info", "The version of the program that wrote these metrics.");
    all.sample("build_info", &[("version", env!("CARGO_PKG_VERSION"))], "1");
    all.one("written_timestamp_seconds", "When these metrics were written, by the ledger's clock.", &seconds(now));
    all.one("worker_runs", "1 while a worker has the ledger.", &u8::from(picture.has_worker).to_string());
    all.each("worker_seen_timestamp_seconds", "The latest time that a worker saw here; 0 if none was here.", |one| {
        seconds(one.account.seen_at)
    });
    all.each(
        "clock_went_back_seconds",
        "How far the ledger's clock is behind the latest time that a worker saw.",
        |one| seconds(one.clock_went_back(now)),
    );
    all.head(
        "paused",
        "1 while nothing of the account is sent, by reason. Short waits for Klarna's rate limit are none.",
    );
    for one in &picture.accounts {
        let account = one.account.account.as_str();
        let word = one.account.paused_why.as_deref().filter(|_| one.is_paused(now));
        for pause in PAUSES {
            let is_so = word == Some(pause.as_str());
            let pairs = [("account", account), ("reason", pause.as_str())];
            all.sample("paused", &pairs, if is_so { "1" } else { "0" });
        }
    }
    all.each("rate_limit_requests_per_second", "The requests a second that the account's workers may make.", |one| {
        one.account.per_second.to_string()
    });
    all.each(
        "rate_now_requests_per_second",
        "The same now. It is lower after Klarna asked for fewer requests.",
        |one| format!("{:.3}", one.account.rate),
    );
    all.each("late_seconds", "For how long the row that waits longest is due. A pause is not counted.", |one| {
        seconds(one.late(now))
    });
    all.by_state("rows", "Rows by state.", &STATES, |one, kind, state| {
        Some(count(one, kind, state).unwrap_or_default().to_string())
    });
    let open = [State::Queued, State::Sending, State::Unclear];
    all.by_state(
        "oldest_row_timestamp_seconds",
        "When the oldest row of the state was enqueued. There is no sample without rows.",
        &open,
        |one, kind, state| {
            let count = one.counts.iter().find(|count| (count.kind, count.state) == (kind, state))?;
            Some(seconds(count.oldest))
        },
    );
    all.by_state("needs_a_person", "Rows that need a person, by state.", &ALARMING, |one, kind, state| {
        Some(alarms(one, kind, state).map(|alarm| alarm.rows).sum::<u64>().to_string())
    });
    all.by_state(
        "needs_a_person_minor_units",
        "Their amounts, in minor units of whichever currencies.",
        &ALARMING,
        |one, kind, state| Some(amount_of(alarms(one, kind, state).map(|alarm| alarm.amount)).to_string()),
    );
    let name = "done_total";
    all.head(name, "Captures and refunds that Klarna has carried out.");
    for one in &picture.accounts {
        for kind in Kind::ALL {
            let pairs = [("account", one.account.account.as_str()), ("kind", kind.operation())];
            all.sample(name, &pairs, &count(one, kind, State::Done).unwrap_or_default().to_string());
        }
    }
    all.text
}
