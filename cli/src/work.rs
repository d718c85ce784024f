//! The worker as a program: its signals, its progress, its housekeeping.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use takings_ledger::office::{Account, Office};
use takings_ledger::store::{Kind, Shared, usual_burst};
use takings_ledger::worker::{Hands, Settings, Tally, work};

use crate::place::{Klarna, Place, make};
use crate::say::{Failure, note, number, span, why};

/// How often somebody who is no terminal hears of the progress.
const LINE: Duration = Duration::from_secs(10);

/// How often the work is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// The open rows are not counted again for so many times the duration of a count, which reads an index of all of them.
const RARELY: u32 = 100;

/// How often a worker asks whether an account is paused. An idle one asks the ledger little.
const PAUSES: Duration = Duration::from_secs(2);

/// How often old rows are wiped.
const HOUSEKEEPING: Duration = Duration::from_secs(60 * 60);

/// Rows that are due for so long, and that nobody takes, are left alone.
const LEFT_ALONE: Duration = Duration::from_secs(60);

/// The threads of all accounts of a worker, beside the first of each. More would cost memory, and answers no faster.
const THREADS: usize = 256;

/// A day.
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long data is kept.
#[derive(Clone, Copy, Debug)]
pub struct Keeping {
    /// The fields of requests.
    pub requests: Duration,
    /// All but a stub.
    pub rows: Duration,
}

/// A flag that SIGTERM or Ctrl-C sets. A second signal ends the program at once.
pub fn stop() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        // In this order: the first signal finds the flag unset.
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    Ok(stop)
}

/// Shows how far the work is.
pub struct Progress {
    bar: Option<ProgressBar>,
    /// The work of each account.
    tally: Arc<Mutex<BTreeMap<String, Tally>>>,
    begun: Instant,
    spoke: Instant,
    last: Tally,
    told_of_stop: bool,
    kind: Kind,
    /// The rows that were open at the last count, and those that were settled before it.
    left: u64,
}

/// The rows that need nothing more of a worker.
fn settled(tally: &Tally) -> u64 {
    tally.done + tally.rejected + tally.stuck
}

impl Progress {
    pub fn new(open: u64, kind: Kind, quiet: bool) -> Progress {
        let bar = (std::io::stderr().is_terminal() && !quiet).then(|| {
            let bar = ProgressBar::with_draw_target(Some(open), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("  {msg}  ▕{bar:20}▏ {eta}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("█▉▊▋▌▍▎▏ "));
            bar
        });
        let now = Instant::now();
        Progress {
            bar,
            tally: Arc::default(),
            begun: now,
            spoke: now,
            last: Tally::default(),
            told_of_stop: false,
            kind,
            left: open,
        }
    }

    /// The end of the line of news of an account's worker.
    pub fn ear(&self, account: &str) -> takings_ledger::worker::Progress {
        let (tally, account) = (self.tally.clone(), account.to_owned());
        Arc::new(move |news| {
            tally.lock().unwrap_or_else(PoisonError::into_inner).insert(account.clone(), news.clone());
        })
    }

    /// Whether anything would be shown now: without a terminal there is only a line now and then.
    fn is_due(&self) -> bool {
        let is_line_due = || self.spoke.elapsed() >= LINE && self.tally() != self.last;
        self.bar.is_some() || is_line_due()
    }

    /// Takes a count of the open rows.
    fn counted(&mut self, left: u64) {
        let settled = settled(&self.tally());
        self.left = left + settled;
    }

    /// The work of all accounts.
    fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        self.tallies().values().for_each(|one| add(&mut sum, one));
        sum
    }

    fn tallies(&self) -> MutexGuard<'_, BTreeMap<String, Tally>> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the worker can write nothing.
    fn trouble(&self) -> Option<String> {
        self.tallies().values().find_map(|tally| tally.trouble.clone())
    }

    /// Says once that the work stops.
    fn stopping(&mut self) {
        if !self.told_of_stop {
            self.told_of_stop = true;
            self.say(
                "stopping: nothing new is sent, and what is under way ends (65 s at most). Once more stops at once",
            );
        }
    }

    /// Shows the present state.
    fn show(&mut self) {
        let tally = self.tally();
        let settled = settled(&tally);
        let left = self.left.saturating_sub(settled);
        let rate = settled as f64 / self.begun.elapsed().as_secs_f64().max(0.001);
        let line = format!(
            "{} {}  refused {}  for a person {}  looked for or asked again {}  left {}  {rate:.0}/s",
            self.kind.word(takings_ledger::policy::State::Done),
            number(tally.done),
            number(tally.rejected),
            number(tally.stuck),
            number(tally.again),
            number(left)
        );
        match &self.bar {
            Some(bar) => {
                bar.set_length(settled + left);
                bar.set_position(settled);
                bar.set_message(line);
            }
            None if self.spoke.elapsed() >= LINE => {
                if tally != self.last {
                    note(format!("  {line}"));
                }
                self.spoke = Instant::now();
                self.last = tally;
            }
            None => {}
        }
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| note(text)),
            None => note(text),
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// An account that a worker works for.
pub struct Served {
    pub account: String,
    pub klarna: Klarna,
}

/// Runs the worker, a loop for each account, and shows how far it is. The trouble of one account leaves the others alone;
/// that of the ledger ends all.
///
/// # Errors
///
/// No account could be served, or the ledger is lost. Accounts that could not be served beside others are told.
pub fn run(
    store: &mut dyn Office,
    ledger: &Place,
    served: &[Served],
    settings: &Settings,
    mut progress: Progress,
    keeping: Option<Keeping>,
    stop: &AtomicBool,
) -> Result<(Tally, bool), Failure> {
    store.become_worker()?;
    let (served, refused) = bound(store, served)?;
    // Looks at the same ledger; at a file by the same copy of SQLite.
    let (mut beside, _) = make(ledger, false)?;
    let is_over = AtomicBool::new(false);
    let together = Arc::new(Hands::new(THREADS.max(settings.hands)));
    let store = Mutex::new(store);
    let shared = Shared::new(&store);
    let ends = thread::scope(|scope| {
        let names: Vec<&str> = served.iter().map(|one| one.account.as_str()).collect();
        let ears: Vec<_> = names.iter().map(|name| progress.ear(name)).collect();
        let is_over = &is_over;
        let watcher = scope.spawn(move || {
            let mut kept: Option<Instant> = None;
            let mut paused: BTreeMap<&str, String> = BTreeMap::new();
            let [mut asked, mut looked, mut count_again] = [None::<Instant>; 3];
            let mut is_well = true;
            while !is_over.load(Ordering::SeqCst) {
                let is_stopped = stop.load(Ordering::SeqCst);
                if is_stopped {
                    progress.stopping();
                }
                if asked.is_none_or(|at| at.elapsed() >= Duration::from_secs(1)) || is_stopped {
                    asked = Some(Instant::now());
                    if progress.is_due() {
                        if count_again.is_none_or(|at| Instant::now() >= at) {
                            let begun = Instant::now();
                            // A count that fails is made again.
                            let left: Result<Vec<u64>, _> = names.iter().map(|name| beside.open_rows(name)).collect();
                            if let Ok(left) = left {
                                progress.counted(left.iter().sum());
                            }
                            count_again = Some(Instant::now() + begun.elapsed() * RARELY);
                        }
                        progress.show();
                    }
                }
                if looked.is_none_or(|at| at.elapsed() >= PAUSES) || is_stopped {
                    looked = Some(Instant::now());
                    // While they cannot be read, nothing is new.
                    let accounts = beside.accounts().ok();
                    for name in names.iter().filter(|_| accounts.is_some()) {
                        let whose = if names.len() > 1 { format!("account {name}: ") } else { String::new() };
                        match (trouble(accounts.as_deref().unwrap_or_default(), name), paused.get(name)) {
                            (Some(why), before) if before != Some(&why) => {
                                progress.say(&format!("{whose}PAUSED: {why}"));
                                paused.insert(name, why);
                            }
                            (None, Some(_)) => {
                                progress.say(&format!("{whose}goes on"));
                                paused.remove(name);
                            }
                            _ => {}
                        }
                    }
                }
                match progress.trouble() {
                    Some(why) if is_well => {
                        progress
                            .say(&format!("the ledger cannot be written, so nothing more is sent until it can: {why}"));
                        is_well = false;
                    }
                    None if !is_well => {
                        progress.say("the ledger can be written again");
                        is_well = true;
                    }
                    _ => {}
                }
                if let Some(keeping) = keeping.filter(|_| kept.is_none_or(|at| at.elapsed() >= HOUSEKEEPING)) {
                    kept = Some(Instant::now());
                    if let Err(failure) = keep(&mut *beside, keeping) {
                        progress.say(&format!("old rows could not be wiped: {}", failure.message));
                    }
                }
                thread::sleep(LOOK);
            }
            progress.end();
        });
        let loops = served.iter().zip(ears).map(|(one, ear)| {
            let settings = Settings {
                account: one.account.clone(),
                merchant: one.klarna.merchant.clone(),
                progress: Some(ear),
                together: Some(together.clone()),
                ..settings.clone()
            };
            let mut shared = shared;
            scope.spawn(move || {
                let end = work(&mut shared, one.klarna.config.clone(), &settings, stop);
                if end.is_err() {
                    // The ledger is lost for all of them.
                    stop.store(true, Ordering::SeqCst);
                }
                end
            })
        });
        let loops: Vec<_> = loops.collect();
        let ends: Vec<_> = loops.into_iter().map(thread::ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::SeqCst);
        let _ = watcher.join();
        ends
    });
    let mut sum = Tally::default();
    for end in ends {
        let tally = end.map_err(|_| Failure::new("a thread of the worker broke off"))??;
        add(&mut sum, &tally);
    }
    Ok((sum, refused))
}

/// Binds the accounts. Gives those that a worker may work for, and whether it may not for another.
fn bound<'a>(store: &mut dyn Office, served: &'a [Served]) -> Result<(Vec<&'a Served>, bool), Failure> {
    let mut all = Vec::new();
    let mut refused: Vec<Failure> = Vec::new();
    for one in served {
        match bind(store, one) {
            Ok(()) => all.push(one),
            Err(failure) => refused.push(failure),
        }
    }
    if all.is_empty() {
        return Err(refused.into_iter().next().unwrap_or_else(|| Failure::new("there is no account to work for")));
    }
    for failure in &refused {
        note(format!("NOT SERVED: {}", failure.message));
    }
    Ok((all, !refused.is_empty()))
}

fn bind(store: &mut dyn Office, one: &Served) -> Result<(), Failure> {
    let Klarna { base_url, merchant, rate, .. } = &one.klarna;
    store.bind(&one.account, base_url, merchant)?;
    if let (Some(per_second), burst) = rate {
        store.set_rate(&one.account, *per_second, burst.unwrap_or_else(|| usual_burst(*per_second)))?;
    }
    Ok(())
}

fn add(sum: &mut Tally, tally: &Tally) {
    sum.done += tally.done;
    sum.rejected += tally.rejected;
    sum.stuck += tally.stuck;
    sum.again += tally.again;
    sum.stale += tally.stale;
}

/// Why nothing is sent for the account now, in words; none if all is well.
pub fn trouble(accounts: &[Account], account: &str) -> Option<String> {
    let account = accounts.iter().find(|held| held.account == account)?;
    let now = account.at;
    let word = account.paused_why.as_deref().filter(|word| account.paused_until > now && *word != "limited")?;
    let until = match account.paused_until {
        i64::MAX => "until `takings resume`".to_owned(),
        until => format!("tries again in {}", span(until - now + 999)),
    };
    // The time goes down, which is no news.
    let until = if word == "person" { until } else { until.split(" in ").next().unwrap_or_default().to_owned() };
    Some(format!("{} ({until})", why(word)))
}

/// Wipes what need not be kept any longer. Gives the number of rows that were wiped, and of those that became stubs.
pub fn keep(store: &mut dyn Office, keeping: Keeping) -> Result<(u64, u64), Failure> {
    let (mut wiped, mut stubs) = (0, 0);
    for kind in Kind::ALL {
        let mut after = 0;
        loop {
            let swept = store.wipe(kind, keeping.requests, after)?;
            wiped += swept.rows;
            let purged = store.purge(kind, keeping.rows, after)?;
            stubs += purged.rows;
            match swept.last.max(purged.last) {
                Some(last) => after = last,
                None => break,
            }
        }
    }
    Ok((wiped, stubs))
}

/// Waits while another program works the account off, until nothing is to be done for so long.
///
/// # Errors
///
/// The ledger could not be read, or the other program leaves the account alone.
pub fn watch(
    store: &mut dyn Office,
    account: &str,
    mut progress: Progress,
    quiet: Duration,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    let begun = store.open_rows(account)?;
    let (mut before, mut since) = (begun, Instant::now());
    while !stop.load(Ordering::SeqCst) {
        let left = store.open_rows(account)?;
        let done = Tally { done: begun.saturating_sub(left), ..Tally::default() };
        progress.tallies().insert(account.to_owned(), done);
        progress.counted(left);
        progress.show();
        let next = store.quiet(account)?;
        if next.is_none_or(|time| time > quiet) || !store.has_worker()? {
            break;
        }
        if left != before || next != Some(Duration::ZERO) {
            (before, since) = (left, Instant::now());
        }
        if since.elapsed() >= LEFT_ALONE {
            progress.end();
            return Err(Failure::new(format!(
                "the rows are enqueued, and the worker that runs takes none of the account {account}: has it the \
                 credentials? takings doctor says more"
            )));
        }
        thread::sleep(LOOK);
    }
    progress.end();
    Ok(())
}
