//! `takings`: captures Klarna orders from files and tables, once each, whatever dies on the way.
#![forbid(unsafe_code)]

mod audit;
mod call;
mod check;
mod enqueue;
mod file;
mod metrics;
mod page;
mod place;
mod rows;
mod say;
mod status;
mod work;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use serde_json::json;
use takings_ledger::office::Said;
use takings_ledger::policy::Word;
use takings_ledger::store::{Kind, usual_burst};
use takings_ledger::worker::Settings;

use crate::place::Where;
use crate::say::{Ended, Exit, Failure, many, note, number, result};
use crate::work::{DAY, Keeping, Progress, Served};

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

const ACCOUNTS: &str = "\
The account default has the credentials of the environment. Others stand in takings.toml, which holds no secret itself:
  [account.kustom-se]
  username = \"PK0000_0a1b2c\"             or username_env, username_file
  password_env = \"SE_PASSWORD\"           or password_file; or api_key_env, api_key_file
  region = \"eu\"                          or base_url
  environment = \"live\"
  per_second = 180                       may be left out; burst too
A file without a folder is looked for where systemd puts credentials (LoadCredential=), else beside takings.toml.

takings account add kustom-se makes the account; rows name it in their column account. A worker serves the accounts that \
it has credentials for. Each belongs to the merchant and the address of its first worker; others are refused.";

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

const WATCH: &str = "\
--check keeps the convention of Nagios and Icinga: 0 well, 1 a warning, 2 critical, 3 it cannot be told.

Files are put in place whole, and one that was there keeps its mode. Each minute, by cron:
  * * * * *  takings status --prometheus /var/lib/prometheus/node-exporter/takings.prom
  * * * * *  takings status --html /var/www/html/takings.html
The page names orders, references and amounts. It has no script, fetches nothing, and can be opened as a file.";

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

const AUDIT: &str = "\
Each row of the ledger, and each capture and refund of the sandbox, is one of these:
  ok       both say the same; or the row was refused or withdrawn, and the sandbox has nothing of it
  open     not settled yet; the worker goes on with it
  double   the sandbox has more than one of that name: money moved twice
  lost     the ledger has it as done, and the sandbox does not have it
  phantom  the sandbox has it, and the ledger has no such row: something beside the ledger did it
  wrong    both have it, with another amount or under another id, or the ledger has it as not done
  stuck    the row waits for a person

A sandbox with TLS or a token is read by other means:
  curl … URL/sandbox/ledger | takings audit --from -

Exit codes: 0 all is ok; 1 nothing was audited; 2 something else was found; 3 something is open, and all else ok.";

/// The program.
#[derive(Debug, Parser)]
#[command(name = "takings", version, about = ABOUT, after_help = START, max_term_width = 110)]
struct Cli {
    /// The ledger's file; else TAKINGS_LEDGER, else ~/.local/state/takings/ledger.db
    #[arg(long, global = true, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// The file with the accounts' credentials; else TAKINGS_CONFIG, else takings.toml in /etc/takings (the unit's folder)
    /// or beside the ledger
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The account; else default (list, show and status: all, worker: those it has credentials for)
    #[arg(long, global = true, value_name = "NAME")]
    account: Option<String>,
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
        /// In PostgreSQL: gives this role what a shop needs, INSERT and SELECT
        #[arg(long, value_name = "ROLE")]
        shop_role: Option<String>,
        /// In PostgreSQL: gives this role what a worker needs
        #[arg(long, value_name = "ROLE")]
        worker_role: Option<String>,
    },
    /// Moves the ledger from a file into PostgreSQL (--ledger postgres://…), once no worker runs on it
    Move {
        /// The file
        #[arg(value_name = "FILE")]
        from: PathBuf,
    },
    /// Makes an account for another merchant or region, or changes one
    #[command(after_help = ACCOUNTS)]
    Account {
        #[command(subcommand)]
        what: OfAccount,
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
    #[command(after_help = WATCH)]
    Status {
        /// The text format of Prometheus; with FILE into that, for the textfile collector
        #[arg(long, value_name = "FILE", num_args = 0..=1, group = "form")]
        prometheus: Option<Option<PathBuf>>,
        /// Writes a page for a browser, which needs no server
        #[arg(long, value_name = "FILE", group = "form")]
        html: Option<PathBuf>,
        /// After how many seconds a browser reads the page again; 0 is never
        #[arg(long, value_name = "SECONDS", default_value_t = 60, requires = "html", value_parser = clap::value_parser!(u32).range(..=86_400))]
        refresh: u32,
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
        /// The account; else that of --account
        #[arg(value_name = "ACCOUNT")]
        name: Option<String>,
    },
    /// Goes on at once: after a pause, mended credentials, or a clock that was set right
    Resume {
        /// The account; else that of --account
        #[arg(value_name = "ACCOUNT")]
        name: Option<String>,
        /// The ledger was neither restored nor replaced, so rows need not be looked for first. If that is said and not
        /// true, money may move twice
        #[arg(long)]
        nothing_lost: bool,
    },
    /// Say this after a backup took the ledger's place: rows that are open, or enqueued in the next 30 days, are looked for
    /// before they are sent
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
    /// Compares the ledger with that of a sandbox, after a test: done twice, lost, or wrongly booked
    #[command(after_help = AUDIT)]
    Audit {
        /// The sandbox's URL, or a file with its answer to GET /sandbox/ledger (- is standard input); else KLARNA_BASE_URL
        #[arg(long, value_name = "URL|FILE")]
        from: Option<String>,
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

#[derive(Debug, Subcommand)]
enum OfAccount {
    /// Makes an account, so that rows can name it
    Add {
        /// Its name: letters, digits and - _ .
        #[arg(value_name = "ACCOUNT")]
        name: String,
        /// No order of this merchant can have been captured or refunded by other means, so nothing is looked for first.
        /// If that is said and not true, money may move twice
        #[arg(long)]
        first_ever: bool,
    },
    /// Sets how many requests a second its workers may make. Klarna allows 200 for a merchant
    Rate {
        /// Its name
        #[arg(value_name = "ACCOUNT")]
        name: String,
        /// Requests a second
        #[arg(long, value_name = "N")]
        per_second: f64,
        /// Requests at once, after a time without any; else a twelfth of the rate
        #[arg(long, value_name = "N")]
        burst: Option<f64>,
    },
    /// Binds it to the credentials that are there now: a new API key of the same merchant, or Klarna's new address.
    /// At another address its rows are looked for before they are sent. Stop the worker first
    Rebind {
        /// Its name
        #[arg(value_name = "ACCOUNT")]
        name: String,
        /// Your name, which is noted
        #[arg(long, value_name = "NAME")]
        by: String,
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
    fn reading(&self, kind: Kind, account: &str) -> file::Reading {
        file::Reading {
            account: account.to_owned(),
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
            if is_help {
                return ExitCode::SUCCESS;
            }
            // The flags could not be read, so whether the caller is a program is read from the words.
            if std::env::args_os().any(|word| word == "--json") {
                let text = error.render().to_string();
                let first = text.split("\n\n").next().unwrap_or_default().replace('\n', " ");
                let _ = result(json!({"error": first.strip_prefix("error: ").unwrap_or(&first)}));
            }
            return ExitCode::from(Exit::Nothing.code());
        }
    };
    let is_json = matches.get_flag("json");
    let place = Where {
        ledger: matches.get_one("ledger").cloned(),
        config: matches.get_one("config").cloned(),
        account: matches.get_one("account").cloned(),
    };
    let called = matches.subcommand().and_then(|(name, matches)| call::run(&place, name, matches, is_json));
    let ended = called.unwrap_or_else(|| match Cli::from_arg_matches(&matches) {
        Ok(cli) => run(cli, place),
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

fn run(cli: Cli, place: Where) -> Ended {
    let is_json = cli.json;
    let open = || place::open(&place.ledger()?);
    match cli.command {
        Command::Init { print, first_ever, shop_role, worker_role } => {
            let roles = place::Roles { shop: shop_role, worker: worker_role };
            match print {
                true => result(place::script(&place.ledger()?, first_ever, &roles)?.trim_end()).map(|()| Exit::Done),
                false => init(&place, first_ever, &roles, is_json),
            }
        }
        Command::Move { from } => {
            let ledger = place.ledger()?;
            let rows = place::take_over(&ledger, &from)?;
            let text =
                format!("{} rows of {} are in {ledger} now; the file takes no more", number(rows), from.display());
            say::done(is_json, &json!({"ledger": ledger.to_string(), "rows": rows}), text)
        }
        Command::Account { what } => account(&place, what, is_json),
        Command::Enqueue(Enqueue { order: Some(order), reference, amount, request, refund, how, .. }) => {
            let kind = kind(refund);
            let (reference, amount) = (reference.unwrap_or_default(), amount.unwrap_or_default());
            let mut object = json!({"order_id": order, "reference": reference});
            match (&how.currency, amount.parse::<i64>()) {
                (None, Ok(amount)) => object[kind.amount()] = amount.into(),
                (None, Err(_)) => object[kind.amount()] = amount.into(),
                (Some(_), _) => object["amount"] = amount.into(),
            }
            one(place, kind, &object, request.as_deref(), how, is_json)
        }
        Command::Enqueue(Enqueue { file, refund, how, .. }) => {
            let from = FromFile { file: file.unwrap_or_default(), how, yes: true, report: None, hands: 1 };
            enqueue::file(order(place, from, kind(refund), true, is_json))
        }
        Command::CaptureFile(from) => enqueue::file(order(place, from, Kind::Capture, false, is_json)),
        Command::RefundFile(from) => enqueue::file(order(place, from, Kind::Refund, false, is_json)),
        Command::Worker { hands, until_quiet, keep_requests, keep_rows } => {
            let settings = Settings {
                hands: hands.into(),
                until_quiet: until_quiet.map(Duration::from_secs),
                ..Settings::default()
            };
            worker(&place, &settings, keeping(keep_requests, keep_rows), is_json)
        }
        Command::Status { check: true, .. } => Ok(Exit::Code(status::check(&place)?)),
        Command::Status { prometheus, html, refresh, .. } => {
            let form = match (&html, &prometheus) {
                (Some(file), _) => status::Form::Html(file, refresh),
                (None, Some(file)) => status::Form::Prometheus(file.as_deref()),
                (None, None) if is_json => status::Form::Json,
                (None, None) => status::Form::Text,
            };
            status::status(&place, form, is_json)
        }
        Command::List { state, needs_a_person, order, refund, most } => {
            let kind = refund.then_some(Kind::Refund);
            let account = place.account.clone();
            let filter = rows::Filter { kind, state, account, order_id: order, needs_a_person, most };
            rows::list(&mut *open()?, &filter, is_json)
        }
        Command::Show { order, reference } => rows::show(&place, &order, reference.as_deref(), is_json),
        Command::Settle(settle) => {
            let said = settle.said()?;
            rows::settle(&place, kind(settle.refund), &settle.order, &settle.reference, &said, is_json)
        }
        Command::Pause { name } => rows::pause(&mut *open()?, name.as_deref().unwrap_or(place.account()), is_json),
        Command::Resume { name, nothing_lost } => {
            rows::resume(&mut *open()?, name.as_deref().unwrap_or(place.account()), nothing_lost, is_json)
        }
        Command::Restored => rows::restored(&mut *open()?, is_json),
        Command::Purge { keep_requests, keep_rows } => {
            let (wiped, stubs) = work::keep(&mut *open()?, keeping(keep_requests, keep_rows))?;
            match is_json {
                true => result(json!({"requests_wiped": wiped, "rows_purged": stubs}))?,
                false => result(format!(
                    "wiped the fields of {}, and made stubs of {}",
                    many(wiped, "request"),
                    many(stubs, "row")
                ))?,
            }
            Ok(Exit::Done)
        }
        Command::Check { order, days, per_second, report, anew } => {
            let check =
                check::Check { place: place.clone(), order_id: order, days, per_second, report, anew, json: is_json };
            check::run(&mut *open()?, &check)
        }
        Command::Audit { from } => audit::run(&mut *open()?, from.as_deref(), is_json),
        Command::Doctor => doctor(&place, is_json),
        // Its flags were read before all others.
        Command::Sandbox { flags } => Ok(if takings_sandbox::program(flags) { Exit::Done } else { Exit::Nothing }),
    }
}

fn order(place: Where, from: FromFile, kind: Kind, enqueue_only: bool, json: bool) -> enqueue::Order {
    enqueue::Order {
        file: from.file,
        reading: from.how.reading(kind, place.account()),
        place,
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
    place: Where,
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
    let mut order = order(place, from, kind, true, is_json);
    order.reading.json_lines = Some(true);
    enqueue::bytes_of(order, line.replace('\n', " ").as_bytes())
}

fn init(place: &Where, first_ever: bool, roles: &place::Roles, is_json: bool) -> Ended {
    let accounts = place.accounts()?;
    let ledger = &place.ledger()?;
    let (mut store, is_new) = place::init(ledger, first_ever, roles)?;
    if first_ever && !is_new {
        return Err(Failure::new(format!(
            "{ledger} was made before, so --first-ever comes too late; takings resume --nothing-lost says the same"
        )));
    }
    let mut made = Vec::new();
    for name in accounts.names() {
        if store.make_account(name, first_ever)? {
            made.push(name);
            note(format!("the account {name} was made"));
        }
    }
    match is_json {
        true => result(json!({"ledger": ledger.to_string(), "new": is_new, "accounts": made}))?,
        false if is_new => result(format!("the ledger is {ledger}"))?,
        false => result(format!("the ledger {ledger} was made before, and is well"))?,
    }
    Ok(Exit::Done)
}

fn account(place: &Where, what: OfAccount, is_json: bool) -> Ended {
    let mut store = place::open(&place.ledger()?)?;
    let (json, text) = match what {
        OfAccount::Add { name, first_ever } => {
            let is_new = store.make_account(&name, first_ever)?;
            if first_ever && !is_new {
                return Err(Failure::new(format!(
                    "the account {name} was made before, so --first-ever comes too late"
                )));
            }
            let text = if is_new { "was made" } else { "was made before" };
            (json!({"account": name, "new": is_new}), format!("account {name}: it {text}"))
        }
        OfAccount::Rate { name, per_second, burst } => {
            let burst = burst.unwrap_or_else(|| usual_burst(per_second));
            store.set_rate(&name, per_second, burst)?;
            let text = format!("account {name}: {per_second} requests a second, {burst} at once");
            (json!({"account": name, "per_second": per_second, "burst": burst}), text)
        }
        OfAccount::Rebind { name, by } => {
            let place::Klarna { base_url, merchant, .. } = place.accounts()?.klarna(&name)?;
            store.rebind(&name, &base_url, &merchant, &by)?;
            let text = format!("account {name}: it belongs to {merchant} at {base_url}");
            (json!({"account": name, "base_url": base_url, "merchant": merchant, "by": by}), text)
        }
    };
    say::done(is_json, &json, text)
}

fn worker(place: &Where, settings: &Settings, keeping: Keeping, is_json: bool) -> Ended {
    let ledger = &place.ledger()?;
    let accounts = place.accounts()?;
    let names = place.account.as_ref().map_or_else(|| accounts.served(), |name| vec![name.clone()]);
    let mut served = Vec::new();
    let mut failures = Vec::new();
    for name in names {
        match accounts.klarna(&name) {
            Ok(klarna) => served.push(Served { account: name, klarna }),
            Err(failure) => failures.push(failure),
        }
    }
    if served.is_empty() {
        return Err(failures.into_iter().next().unwrap_or_else(|| Failure::new("there is no account to work for")));
    }
    for failure in &failures {
        note(format!("NOT SERVED: {}", failure.message));
    }
    let (mut store, _) = place::make(ledger, false)?;
    let stop = work::stop()?;
    let mut open = 0;
    for Served { account, klarna } in &served {
        let whose = if account == place::ACCOUNT { String::new() } else { format!(", account {account}") };
        note(format!("worker of {ledger}{whose}: {}, {}", klarna.base_url, klarna.merchant));
        open += store.open_rows(account)?;
    }
    let progress = Progress::new(open, Kind::Capture, is_json);
    let (tally, refused) = work::run(&mut *store, ledger, &served, settings, progress, Some(keeping), &stop)?;
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
    // A person has to see to the accounts that were not served.
    Ok(if refused || !failures.is_empty() { Exit::Person } else { Exit::Done })
}

/// A thing that was looked at.
struct Found {
    name: &'static str,
    is_well: bool,
    text: String,
}

fn doctor(place: &Where, is_json: bool) -> Ended {
    let ledger = &place.ledger()?;
    let mut all: Vec<Found> = Vec::new();
    let mut find = |name, found: Result<String, String>| {
        let is_well = found.is_ok();
        let (Ok(text) | Err(text)) = found;
        all.push(Found { name, is_well, text });
    };
    let mut known = BTreeMap::new();
    match place.accounts() {
        Ok(accounts) => {
            for name in accounts.served() {
                let whose = if name == place::ACCOUNT { String::new() } else { format!("account {name}: ") };
                let found = match accounts.klarna(&name) {
                    Ok(klarna) => {
                        let text = format!("{whose}{}, {}", klarna.base_url, klarna.merchant);
                        known.insert(name, (klarna.base_url, klarna.merchant));
                        Ok(text)
                    }
                    // The failure names its account.
                    Err(failure) => Err(failure.message),
                };
                find("settings", found);
            }
        }
        Err(failure) => find("settings", Err(failure.message)),
    }
    if ledger.is_there() {
        match place::make(ledger, false).and_then(|(mut store, _)| Ok((store.well()?, store))) {
            Ok((facts, mut store)) => {
                find("ledger", facts);
                let runs = if store.has_worker()? { "runs" } else { "none runs; takings worker starts it" };
                find("worker", Ok(runs.into()));
                let now = store.time()?;
                let held = store.accounts()?;
                for name in known.keys().filter(|name| held.iter().all(|account| account.account != **name)) {
                    find(
                        "account",
                        Err(format!("the ledger has no account {name}; takings account add {name} makes it")),
                    );
                }
                for account in held {
                    if let (Some(url), Some(merchant), Some(ours)) =
                        (&account.base_url, &account.merchant, known.get(&account.account))
                        && (url, merchant) != (&ours.0, &ours.1)
                    {
                        find(
                            "account",
                            Err(format!(
                                "{} belongs to {merchant} at {url}, and the credentials to {} at {}; if they are new ones \
                                 of the same merchant: takings account rebind {}",
                                account.account, ours.1, ours.0, account.account
                            )),
                        );
                    }
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
            "ledger": ledger.to_string(),
            "found": all.collect::<Vec<serde_json::Value>>(),
            "diagnosis": diagnosis.trim_end().lines().collect::<Vec<&str>>(),
        }))?;
    } else {
        result(diagnosis.trim_end())?;
        result(format!("ledger {ledger}"))?;
        for Found { name, is_well, text } in &all {
            result(format!("  {:5}  {name:14}  {text}", if *is_well { "ok" } else { "WRONG" }))?;
        }
    }
    Ok(if is_well { Exit::Done } else { Exit::Nothing })
}
