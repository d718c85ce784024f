//! `takings`: captures Klarna orders from files and tables, once each, whatever dies on the way.
#![forbid(unsafe_code)]

mod call;
mod check;
mod enqueue;
mod file;
mod place;
mod rows;
mod say;
mod status;
mod work;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use serde_json::json;
use takings_ledger::office::{Office, Said};
use takings_ledger::policy::Word;
use takings_ledger::store::{Kind, Store};
use takings_ledger::worker::Settings;

use crate::say::{Ended, Exit, Failure, note, number, result};
use crate::work::{DAY, Keeping, Progress};

const ABOUT: &str = "\
Captures Klarna orders from files and tables: each parcel once, whatever dies on the way.

A parcel is written into the ledger first, by a file or by a row that your shop inserts. A worker sends it, asks again \
after lost answers and outages, and shows you what needs a person. Say a command twice, or kill it: a parcel is captured \
once.";

const START: &str = "\
The first file:
  export KLARNA_USERNAME=… KLARNA_PASSWORD=… KLARNA_REGION=eu KLARNA_ENVIRONMENT=playground
  takings capture-file shipments.csv

  shipments.csv:  order_id,reference,amount,currency,tracking_number
                  f3392f8b-6116-4073-ab96-e330819e2c07,parcel-1,60.00,EUR,1Z999

Try it without Klarna:
  takings sandbox --order f3392f8b-6116-4073-ab96-e330819e2c07=6000     prints a URL
  export KLARNA_BASE_URL=URL KLARNA_USERNAME=sandbox KLARNA_PASSWORD=sandbox
  takings --ledger try.db capture-file shipments.csv

Exit codes: 0 all is done; 1 nothing was done; 2 something was refused or needs a person; \
3 something is not settled yet.";

const VARIABLES: &str = "\
Credentials come from the environment, never from flags, which other users see:
  KLARNA_USERNAME and KLARNA_PASSWORD, or KLARNA_API_KEY
  KLARNA_REGION (eu, na, oc) and KLARNA_ENVIRONMENT (live, playground), or KLARNA_BASE_URL
`takings doctor` says what is set.";

const COLUMNS: &str = "\
The file is CSV (comma, semicolon or tab, with a heading) or JSON lines; UTF-8. Columns:
  order_id                         Klarna's id of the order
  reference                        the parcel's own name, another for each capture of the order: parcel-1
  captured_amount                  minor units: 60.00 EUR is 6000  (refund-file: refunded_amount)
  amount, currency                 in place of that: 60.00 and EUR; nothing is rounded
  description, shipping_company, tracking_number, tracking_uri, shipping_method, …   may be left out
Order lines go into JSON lines alone. Columns with other names: --map reference=DELIVERY_NOTE.

The whole file is checked before anything is enqueued, and every bad cell is listed. The same file again goes \
on where it stopped. Beside the file lies the report afterwards: one line for each parcel.

Exit codes: 0 all are captured; 1 nothing was enqueued; 2 some were refused or need a person; 3 some are not settled yet, \
and `takings worker` goes on with them.";

const FINDINGS: &str = "\
Each capture and refund of these orders is a line of the report, with one of these findings:
  agrees                     the ledger and Klarna say the same
  open                       not settled yet; the worker goes on with it
  twice                      the order shows another one with the same reference
  by_somebody_else           the order shows it, and it is not this ledger's: the portal, or another program
  booked_but_not_there       the ledger has it as done, and the order does not show it
  there_but_not_booked       the order shows it, and the ledger has it as not done: takings settle
  amount_differs             the ledger and Klarna have different amounts
  booked_twice_under_one_id  two rows of the ledger stand for the same capture
  order_not_shown            Klarna does not show the order (it forgets orders after about three years)

Nothing is changed, neither here nor there. Interrupted, the same command goes on within 24 hours.
Exit codes: 0 all agrees or is open; 1 nothing was checked; 2 a person has to look; 3 it was interrupted.";

/// The program.
#[derive(Debug, Parser)]
#[command(name = "takings", version, about = ABOUT, after_help = START, max_term_width = 110)]
struct Cli {
    /// The ledger's file; else TAKINGS_LEDGER, else ~/.local/state/takings/ledger.db. One file for each merchant
    #[arg(long, global = true, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Writes results as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes the ledger, or prints the SQL that makes its tables
    Init {
        /// Prints the SQL, and makes nothing
        #[arg(long)]
        print: bool,
        /// No order of this shop can have been captured or refunded by other means, so nothing is looked for first. If
        /// that is said and not true, money may move twice
        #[arg(long)]
        first_ever: bool,
    },
    /// Enqueues one parcel, or a file of them, and leaves the sending to the worker
    #[command(after_help = COLUMNS)]
    Enqueue(Enqueue),
    /// Captures a file of parcels: checks it whole, enqueues it, works it off, reports
    #[command(after_help = COLUMNS)]
    CaptureFile(FromFile),
    /// Refunds a file, in the same way
    #[command(after_help = COLUMNS)]
    RefundFile(FromFile),
    /// Works off whatever is due, until it is told to stop (SIGTERM or Ctrl-C; a second one stops at once)
    #[command(after_help = VARIABLES)]
    Worker {
        /// How many requests are under way at once
        #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
        hands: u16,
        /// Ends once nothing is to be done for so many seconds
        #[arg(long, value_name = "SECONDS")]
        until_quiet: Option<u64>,
        /// Wipes the lines and addresses of requests so many days after their end
        #[arg(long, value_name = "DAYS", default_value_t = 7)]
        keep_requests: u32,
        /// Leaves a stub of rows so many days after their end: order, reference, amount, Klarna's id, times
        #[arg(long, value_name = "DAYS", default_value_t = 200)]
        keep_rows: u32,
    },
    /// Says how the ledger stands, and what needs a person
    #[command(after_help = "--check keeps the convention of Nagios and Icinga: 0 well, 1 a warning, 2 critical, 3 it \
                            cannot be told.")]
    Status {
        /// The text format of Prometheus, for its textfile collector
        #[arg(long, group = "form")]
        prometheus: bool,
        /// Writes a page that shows it
        #[arg(long, value_name = "FILE", group = "form")]
        html: Option<PathBuf>,
        /// A line and an exit code, for Nagios and Icinga
        #[arg(long, group = "form")]
        check: bool,
    },
    /// Lists rows
    List {
        /// queued, sending, unclear, captured, refunded, rejected, stuck or cancelled
        #[arg(long)]
        state: Option<String>,
        /// Rows that need a person
        #[arg(long)]
        needs_a_person: bool,
        /// Rows of one order
        #[arg(long, value_name = "ORDER")]
        order: Option<String>,
        /// Refunds alone
        #[arg(long)]
        refund: bool,
        /// No more than so many; 0 is all
        #[arg(long, value_name = "N", default_value_t = 100)]
        most: usize,
    },
    /// Shows all that is known of an order's rows, and what a person can do
    Show {
        /// Klarna's id of the order
        order: String,
        /// The row's own name in it
        reference: Option<String>,
    },
    /// Says how a row really stands, once a person knows (from Klarna's portal)
    Settle(Settle),
    /// Sends nothing more until `takings resume`
    Pause {
        /// The account
        #[arg(default_value = place::ACCOUNT)]
        account: String,
    },
    /// Goes on at once: after a pause, mended credentials, or a clock that was set right
    Resume {
        /// The account
        #[arg(default_value = place::ACCOUNT)]
        account: String,
        /// The ledger was neither restored nor replaced, so rows need not be looked for first. If that is said and not
        /// true, money may move twice
        #[arg(long)]
        nothing_lost: bool,
    },
    /// Say this after a backup took the ledger's place: for 30 days rows are looked for before they are sent
    Restored,
    /// Wipes old data now, as the worker does every hour
    Purge {
        /// Wipes the lines and addresses of requests so many days after their end
        #[arg(long, value_name = "DAYS", default_value_t = 7)]
        keep_requests: u32,
        /// Leaves a stub of rows so many days after their end
        #[arg(long, value_name = "DAYS", default_value_t = 200)]
        keep_rows: u32,
    },
    /// Compares the ledger with Klarna's account of its orders, and writes a report to sign
    #[command(after_help = FINDINGS)]
    Check {
        /// This order alone
        #[arg(long, value_name = "ORDER")]
        order: Option<String>,
        /// Orders with a row of the last so many days; else all of the ledger's orders
        #[arg(long, value_name = "DAYS")]
        days: Option<u32>,
        /// How many orders are read each second. With the worker's 180 it must stay below Klarna's 200
        #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=150))]
        per_second: u16,
        /// Where the report goes; until it is whole, it stands beside that as FILE.part
        #[arg(long, value_name = "FILE", default_value = "takings-check.csv")]
        report: PathBuf,
        /// Begins anew, where an earlier check was interrupted
        #[arg(long)]
        anew: bool,
    },
    /// Looks for what could be wrong here: settings, ledger, clocks. Sends nothing
    Doctor,
    /// Runs a stand-in Klarna on this machine: takings sandbox --help
    #[command(disable_help_flag = true)]
    Sandbox {
        /// Its flags
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
        flags: Vec<OsString>,
    },
}

/// How a file is read.
#[derive(Args, Debug)]
struct HowRead {
    /// A column that has another name in this file; may be repeated
    #[arg(long, value_name = "COLUMN=HEADING", value_parser = pair)]
    map: Vec<(String, String)>,
    /// Passes over columns that mean nothing here
    #[arg(long)]
    ignore_others: bool,
    /// The currency of the column `amount`, where the file has none
    #[arg(long, value_name = "CODE")]
    currency: Option<String>,
    /// The file is JSON lines; else its name and first character say so
    #[arg(long)]
    json_lines: bool,
    /// No order of this shop can have been captured or refunded by other means (in a new ledger): nothing is looked for
    /// first. If that is said and not true, money may move twice
    #[arg(long)]
    first_ever: bool,
    /// Refuses a file that is for more: 25000.00EUR, or minor units
    #[arg(long, value_name = "AMOUNT")]
    max_total: Option<String>,
}

#[derive(Args, Debug)]
struct FromFile {
    /// The file; - is standard input
    file: PathBuf,
    #[command(flatten)]
    how: HowRead,
    /// Does not ask
    #[arg(long)]
    yes: bool,
    /// Where the report goes; else beside the file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// How many requests are under way at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    hands: u16,
}

#[derive(Args, Debug)]
struct Enqueue {
    /// A file of parcels; - is standard input
    #[arg(required_unless_present = "order", conflicts_with_all = ["order", "reference", "amount"])]
    file: Option<PathBuf>,
    /// Klarna's id of the order, for a single parcel
    #[arg(long, requires_all = ["reference", "amount"])]
    order: Option<String>,
    /// The parcel's own name
    #[arg(long)]
    reference: Option<String>,
    /// Minor units (6000), or with --currency as people write it (60.00)
    #[arg(long)]
    amount: Option<String>,
    /// Other fields of Klarna's request, as a JSON object
    #[arg(long, value_name = "JSON", requires = "order")]
    request: Option<String>,
    /// Refunds in place of captures
    #[arg(long)]
    refund: bool,
    #[command(flatten)]
    how: HowRead,
}

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("word").required(true))]
struct Settle {
    /// Klarna's id of the order
    order: String,
    /// The row's own name in it
    reference: String,
    /// The entry is a refund
    #[arg(long)]
    refund: bool,
    /// Klarna has it, under this id of Klarna's
    #[arg(long, value_name = "ID", group = "word", visible_alias = "refunded")]
    captured: Option<String>,
    /// Klarna does not have it, and shall not
    #[arg(long, group = "word", visible_alias = "not-refunded")]
    not_captured: bool,
    /// Send it again, with a new key, once a worker has looked and not found it
    #[arg(long, group = "word")]
    send_again: bool,
    /// Do not send it. Only while nothing of it ever was
    #[arg(long, group = "word")]
    withdraw: bool,
    /// Your name, which is noted
    #[arg(long, value_name = "NAME")]
    by: String,
    /// Why, for those who read it later
    #[arg(long)]
    note: Option<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(column, heading)| !column.is_empty() && !heading.is_empty());
    parts.map(|(column, heading)| (column.to_owned(), heading.to_owned())).ok_or("it must be COLUMN=HEADING".to_owned())
}

impl HowRead {
    fn reading(&self, kind: Kind) -> file::Reading {
        file::Reading {
            kind,
            json_lines: self.json_lines.then_some(true),
            headings: self.map.iter().cloned().collect::<BTreeMap<String, String>>(),
            ignore_others: self.ignore_others,
            currency: self.currency.clone(),
        }
    }
}

impl Settle {
    fn said(&self) -> Result<Said, Failure> {
        let word = match (&self.captured, self.not_captured, self.send_again) {
            (Some(id), ..) => Word::Done(id.clone()),
            (None, true, _) => Word::NotDone,
            (None, false, true) => Word::SendAgain(takings::new_idempotency_key()?),
            (None, false, false) => Word::Withdraw,
        };
        Ok(Said { word, by: self.by.clone(), note: self.note.clone() })
    }
}

fn kind(is_refund: bool) -> Kind {
    if is_refund { Kind::Refund } else { Kind::Capture }
}

fn keeping(requests: u32, rows: u32) -> Keeping {
    Keeping { requests: DAY * requests, rows: DAY * rows }
}

fn main() -> ExitCode {
    // The sandbox reads its own flags, --help among them.
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == "sandbox") {
        return if takings_sandbox::program(words) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let operations: Vec<clap::Command> = call::commands().map(|command| command.next_help_heading("Options")).collect();
    let matches = Cli::command().subcommands(operations).try_get_matches();
    let matches = match matches {
        Ok(matches) => matches,
        Err(error) => {
            let is_help = !error.use_stderr();
            // Nobody may listen.
            let _ = error.print();
            return if is_help { ExitCode::SUCCESS } else { ExitCode::from(Exit::Nothing.code()) };
        }
    };
    let is_json = matches.get_flag("json");
    let called = matches.subcommand().and_then(|(name, matches)| call::run(name, matches, is_json));
    let ended = called.unwrap_or_else(|| match Cli::from_arg_matches(&matches) {
        Ok(cli) => run(cli),
        Err(error) => Err(Failure::new(error.to_string())),
    });
    match ended {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(failure) => {
            failure.tell(is_json);
            ExitCode::from(Exit::Nothing.code())
        }
    }
}

fn run(cli: Cli) -> Ended {
    let is_json = cli.json;
    let path = || place::path(cli.ledger.as_deref());
    let open = || place::open(&path()?);
    match cli.command {
        Command::Init { print: true, .. } => result(takings_ledger::sqlite::schema().trim_end()).map(|()| Exit::Done),
        Command::Init { first_ever, .. } => init(&path()?, first_ever, is_json),
        Command::Enqueue(Enqueue { order: Some(order), reference, amount, request, refund, how, .. }) => {
            let kind = kind(refund);
            let (reference, amount) = (reference.unwrap_or_default(), amount.unwrap_or_default());
            let mut object = json!({"order_id": order, "reference": reference});
            match (&how.currency, amount.parse::<i64>()) {
                (None, Ok(amount)) => object[kind.amount()] = amount.into(),
                (None, Err(_)) => object[kind.amount()] = amount.into(),
                (Some(_), _) => object["amount"] = amount.into(),
            }
            one(cli.ledger, kind, &object, request.as_deref(), how, is_json)
        }
        Command::Enqueue(Enqueue { file, refund, how, .. }) => {
            let from = FromFile { file: file.unwrap_or_default(), how, yes: true, report: None, hands: 1 };
            enqueue::file(order(cli.ledger, from, kind(refund), true, is_json))
        }
        Command::CaptureFile(from) => enqueue::file(order(cli.ledger, from, Kind::Capture, false, is_json)),
        Command::RefundFile(from) => enqueue::file(order(cli.ledger, from, Kind::Refund, false, is_json)),
        Command::Worker { hands, until_quiet, keep_requests, keep_rows } => {
            let settings = Settings {
                hands: hands.into(),
                until_quiet: until_quiet.map(Duration::from_secs),
                ..Settings::default()
            };
            worker(&path()?, settings, keeping(keep_requests, keep_rows), is_json)
        }
        Command::Status { check: true, .. } => Ok(Exit::Code(status::check(open(), &path()?)?)),
        Command::Status { prometheus, html, .. } => {
            let form = match &html {
                Some(file) => status::Form::Html(file),
                None if prometheus => status::Form::Prometheus,
                None if is_json => status::Form::Json,
                None => status::Form::Text,
            };
            status::status(&mut open()?, &path()?, form, is_json)
        }
        Command::List { state, needs_a_person, order, refund, most } => {
            let kind = refund.then_some(Kind::Refund);
            rows::list(&mut open()?, &rows::Filter { kind, state, order_id: order, needs_a_person, most }, is_json)
        }
        Command::Show { order, reference } => rows::show(&mut open()?, &order, reference.as_deref(), is_json),
        Command::Settle(settle) => {
            let said = settle.said()?;
            rows::settle(&mut open()?, kind(settle.refund), &settle.order, &settle.reference, &said, is_json)
        }
        Command::Pause { account } => rows::pause(&mut open()?, &account, is_json),
        Command::Resume { account, nothing_lost } => rows::resume(&mut open()?, &account, nothing_lost, is_json),
        Command::Restored => rows::restored(&mut open()?, is_json),
        Command::Purge { keep_requests, keep_rows } => {
            let (wiped, stubs) = work::keep(&mut open()?, keeping(keep_requests, keep_rows))?;
            match is_json {
                true => result(json!({"requests_wiped": wiped, "rows_purged": stubs}))?,
                false => result(format!("{} requests wiped, {} rows are stubs now", number(wiped), number(stubs)))?,
            }
            Ok(Exit::Done)
        }
        Command::Check { order, days, per_second, report, anew } => {
            let check = check::Check { order_id: order, days, per_second, report, anew, json: is_json };
            check::run(&mut open()?, &check)
        }
        Command::Doctor => doctor(&path()?, is_json),
        // Its flags were read before all others.
        Command::Sandbox { flags } => Ok(if takings_sandbox::program(flags) { Exit::Done } else { Exit::Nothing }),
    }
}

fn order(ledger: Option<PathBuf>, from: FromFile, kind: Kind, enqueue_only: bool, json: bool) -> enqueue::Order {
    enqueue::Order {
        ledger,
        file: from.file,
        reading: from.how.reading(kind),
        first_ever: from.how.first_ever,
        yes: from.yes,
        max_total: from.how.max_total,
        report: from.report,
        enqueue_only,
        hands: from.hands.into(),
        json,
    }
}

/// Enqueues a single parcel, as a file of one line.
fn one(
    ledger: Option<PathBuf>,
    kind: Kind,
    object: &serde_json::Value,
    request: Option<&str>,
    how: HowRead,
    is_json: bool,
) -> Ended {
    let line = object.to_string();
    let line = match request.map(str::trim) {
        None => line,
        Some(request) => match request.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(fields) if fields.trim().is_empty() => line,
            // A field that is given twice is refused when the line is read.
            Some(fields) => format!("{},{fields}}}", &line[..line.len() - 1]),
            None => return Err(Failure::new("--request must be a JSON object")),
        },
    };
    let from = FromFile { file: PathBuf::from("the parcel"), how, yes: true, report: None, hands: 1 };
    let mut order = order(ledger, from, kind, true, is_json);
    order.reading.json_lines = Some(true);
    enqueue::bytes_of(order, line.replace('\n', " ").as_bytes())
}

fn init(path: &Path, first_ever: bool, is_json: bool) -> Ended {
    let (_, is_new) = place::make(path, first_ever)?;
    if first_ever && !is_new {
        return Err(Failure::new(format!(
            "{} was made before, so --first-ever comes too late; takings resume --nothing-lost says the same",
            path.display()
        )));
    }
    match is_json {
        true => result(json!({"ledger": path.display().to_string(), "new": is_new}))?,
        false if is_new => result(format!("the ledger is {}", path.display()))?,
        false => result(format!("the ledger {} was made before, and is well", path.display()))?,
    }
    Ok(Exit::Done)
}

fn worker(path: &Path, settings: Settings, keeping: Keeping, is_json: bool) -> Ended {
    let klarna = place::klarna()?;
    let (mut store, _) = place::make(path, false)?;
    let stop = work::stop()?;
    note(format!("worker of {}: {}, {}", path.display(), klarna.base_url, klarna.merchant));
    let progress = Progress::new(store.open_rows(place::ACCOUNT)?, Kind::Capture, is_json);
    let tally = work::run(&mut store, path, &klarna, settings, progress, Some(keeping), &stop)?;
    match is_json {
        true => result(json!({
            "done": tally.done, "refused": tally.rejected, "needs_a_person": tally.stuck, "asked_again": tally.again,
        }))?,
        false => note(format!(
            "done {}  refused {}  for a person {}",
            number(tally.done),
            number(tally.rejected),
            number(tally.stuck)
        )),
    }
    Ok(Exit::Done)
}

/// A thing that was looked at.
struct Found {
    name: &'static str,
    is_well: bool,
    text: String,
}

fn doctor(path: &Path, is_json: bool) -> Ended {
    let mut all: Vec<Found> = Vec::new();
    let mut find = |name, found: Result<String, String>| {
        let is_well = found.is_ok();
        let (Ok(text) | Err(text)) = found;
        all.push(Found { name, is_well, text });
    };
    find(
        "settings",
        match place::klarna() {
            Ok(klarna) => Ok(format!("{}, {}", klarna.base_url, klarna.merchant)),
            Err(failure) => Err(failure.message),
        },
    );
    if path.exists() {
        match place::make(path, false).and_then(|(store, _)| Ok((store.well()?, store))) {
            Ok((facts, mut store)) => {
                find("ledger", facts);
                let runs = if store.has_worker()? { "runs" } else { "none runs; takings worker starts it" };
                find("worker", Ok(runs.into()));
                let now = store.time();
                for account in store.accounts()? {
                    let ahead = account.seen_at - now;
                    find(
                        "clock",
                        match ahead > 5 * 60 * 1000 {
                            true => Err(format!(
                                "it went back by {}; once it is right: takings resume {}",
                                say::span(ahead),
                                account.account
                            )),
                            false => Ok(say::moment(now)),
                        },
                    );
                }
            }
            Err(failure) => find("ledger", Err(failure.message)),
        }
    } else {
        find("ledger", Ok("none yet; the first command that needs one makes it".into()));
    }
    let diagnosis = takings::diagnosis();
    let is_well = all.iter().all(|found| found.is_well);
    if is_json {
        let all = all.iter().map(|found| json!({"name": found.name, "well": found.is_well, "text": found.text}));
        result(json!({
            "well": is_well,
            "ledger": path.display().to_string(),
            "found": all.collect::<Vec<serde_json::Value>>(),
            "diagnosis": diagnosis.trim_end().lines().collect::<Vec<&str>>(),
        }))?;
    } else {
        result(diagnosis.trim_end())?;
        result(format!("ledger {}", path.display()))?;
        for Found { name, is_well, text } in &all {
            result(format!("  {:5}  {name:14}  {text}", if *is_well { "ok" } else { "WRONG" }))?;
        }
    }
    Ok(if is_well { Exit::Done } else { Exit::Nothing })
}
