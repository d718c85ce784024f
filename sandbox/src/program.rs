//! The sandbox as a program, for `takings-sandbox` and for the Python package.

use crate::{NewOrder, Options, Sandbox};
use serde_json::{Value, json};
use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::thread;

const HELP: &str = "\
takings-sandbox: a stand-in for Klarna's Order Management API, for tests

usage: takings-sandbox [flags]

  --port N           port; 0, the default, takes a free one
  --bind ADDRESS     a loopback address; default 127.0.0.1
  --listen ADDRESS   an address that other machines or containers reach, such as 0.0.0.0; needs --token
  --token T          control requests have to carry it: \"Authorization: Bearer T\"; 16 characters or more
  --tls              HTTPS with a certificate made now
  --ca-out FILE      with --tls: writes the CA certificate (PEM) that clients have to trust
  --username U       Basic credentials; default sandbox
  --password P       default sandbox
  --api-key K        an API key that is accepted too, alone behind \"Basic\" or as the password
  --prefix /p        a path in front of the API's paths
  --json-401         answers wrong credentials with JSON; default: the page of Klarna's gateway
  --rate-limit N     429 beyond N requests a second; default: no limit
  --knob NAME=VALUE  a choice where Klarna's documentation is silent; may be repeated
  --order ID=AMOUNT  creates an order over AMOUNT minor units; may be repeated
  --parent-watch     ends when standard input does, so that no test leaves it behind
  --help, --version

Once it listens, it prints its base URL as one line on standard output.

API, below {base}/ordermanagement/v1/orders/{order_id}, with Basic credentials:
  GET   itself, /captures[/{capture_id}], /captures/{capture_id}/extend-due-date-options, /refunds/{refund_id}
  POST  /captures, /refunds, /cancel, /release-remaining-authorization, /extend-authorization-time, /acknowledge,
        /shipping-info, /captures/{capture_id}/shipping-info, /captures/{capture_id}/trigger-send-out
  PATCH /authorization, /customer-details, /merchant-references, /captures/{capture_id}/extend-due-date

control, below the base URL, without credentials but for a token:
  POST /sandbox/orders                {\"order_id\", \"order_amount\", \"expires_in\", \"status\", \"faults\", ...}
  GET, PATCH /sandbox/orders/{id}     {\"status\", \"fraud_status\"}
  POST, GET, DELETE /sandbox/orders/{id}/faults   one fault or a list, e.g. {\"fault\": \"lost_answer\"}
  GET  /sandbox/ledger                /sandbox/orders/{id}/ledger
  GET  /sandbox/audit                 /sandbox/orders/{id}/audit; empty if money moved as it was asked, once
  GET  /sandbox/orders/{id}/hidden    mails, fees and all else that the API does not show
  GET  /sandbox/requests              /sandbox/orders/{id}/requests
  GET, POST /sandbox/clock            {\"advance_seconds\": 86400}
  GET, PATCH /sandbox/knobs           {\"key_scope\": \"order\"}; an order takes its own as \"knobs\"
  GET  /sandbox/connections
  POST /sandbox/reset

faults; \"request\": n strikes the order's n-th request, otherwise each request takes the next;
\"on\": \"refund\" (or another operation, \"reads\", \"writes\") strikes such a request:
  lost_answer, reset_before_commit, reset_after_commit, close_before_commit,
  reset_mid_answer and close_mid_answer (after_bytes), cut_body (status, when),
  delay (seconds, when), stall (seconds, when), too_many_requests (retry_after, ratelimit_reset),
  status (status, when, error_code, error_messages, html, headers, body), created_without_id,
  created (capture_id_header, location, headers), raw (text or base64, when, then, chunk_delay_ms),
  leftover (text), close_idle, lagging_read and commit_late (seconds or requests),
  no_content_as_200, refunds_without (member)

knobs: key_scope (merchant, order, operation), store_refusals, second_cancel (refused, no_content),
  release (keeps_order_amount, lowers_order_amount), risk (accept, refuse), unknown_refund (404, 400),
  unknown_capture (NO_SUCH_ORDER, NO_SUCH_CAPTURE), max_captures, max_refunds, refunds_without (id, reference)

This is not a Klarna product. It does not imitate several merchants, checks of addresses and risks, or the portal;
where Klarna's documentation is silent, it guesses, and the knobs change the guess.
";

type Failure = Box<dyn Error + Send + Sync>;

/// The action that the flags ask for.
enum Wish {
    Print(String),
    Run(Box<Run>),
}

#[derive(Default)]
struct Run {
    options: Options,
    ca_out: Option<PathBuf>,
    orders: Vec<NewOrder>,
    parent_watch: bool,
}

fn wish(mut flags: lexopt::Parser) -> Result<Wish, lexopt::Error> {
    use lexopt::{Arg::Long, ValueExt};
    let mut run = Run::default();
    while let Some(flag) = flags.next()? {
        let Long(name) = flag else {
            return Err(flag.unexpected());
        };
        match name {
            "port" => run.options.port = flags.value()?.parse_with(port)?,
            "bind" => {
                run.options.bind = flags.value()?.parse()?;
                if !run.options.bind.is_loopback() {
                    return Err("--bind takes a loopback address; --listen takes any".into());
                }
            }
            "listen" => run.options.bind = flags.value()?.parse()?,
            "token" => run.options.token = Some(flags.value()?.string()?),
            "tls" => run.options.tls = true,
            "ca-out" => run.ca_out = Some(flags.value()?.into()),
            "username" => run.options.username = flags.value()?.string()?,
            "password" => run.options.password = flags.value()?.string()?,
            "api-key" => run.options.api_key = Some(flags.value()?.string()?),
            "prefix" => run.options.prefix = flags.value()?.string()?,
            "json-401" => run.options.json_unauthorized = true,
            "rate-limit" => run.options.rate_limit = Some(flags.value()?.parse()?),
            "knob" => {
                let change = flags.value()?.parse_with(knob)?;
                run.options.knobs.set(&change)?;
            }
            "order" => run.orders.push(flags.value()?.parse_with(order)?),
            "parent-watch" => run.parent_watch = true,
            "help" => return Ok(Wish::Print(HELP.into())),
            "version" => {
                let version = env!("CARGO_PKG_VERSION");
                return Ok(Wish::Print(format!("takings-sandbox {version}\n")));
            }
            _ => return Err(flag.unexpected()),
        }
    }
    if run.ca_out.is_some() && !run.options.tls {
        return Err("--ca-out needs --tls".into());
    }
    Ok(Wish::Run(Box::new(run)))
}

fn port(text: &str) -> Result<u16, &'static str> {
    text.parse().map_err(|_| "--port takes a number from 0 (a free one) to 65535")
}

/// A knob as an object. A value that is no JSON is a word.
fn knob(text: &str) -> Result<Value, &'static str> {
    let (name, value) = text.split_once('=').ok_or("it is not NAME=VALUE")?;
    let value: Value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok(json!({ name: value }))
}

fn order(text: &str) -> Result<NewOrder, String> {
    let (id, amount) = text.rsplit_once('=').ok_or("it is not ID=AMOUNT")?;
    Ok(NewOrder {
        order_id: Some(id.into()),
        order_amount: amount.parse().map_err(|_| "the amount is not an integer in minor units")?,
        ..NewOrder::default()
    })
}

fn run(run: Run) -> Result<(), Failure> {
    let address = run.options.bind;
    if !address.is_loopback() && run.options.token.is_none() {
        return Err(
            "--listen needs --token, without which anybody in the network could read and change everything".into()
        );
    }
    let sandbox = Sandbox::start(run.options)?;
    for order in run.orders {
        sandbox.try_create_order(order)?;
    }
    if let (Some(file), Some(pem)) = (run.ca_out, sandbox.ca_pem()) {
        std::fs::write(&file, pem).map_err(|why| format!("{}: {why}", file.display()))?;
    }
    let mut output = io::stdout().lock();
    writeln!(output, "{}", sandbox.url())?;
    output.flush()?;
    // A closed standard error is no reason to end.
    let _ = writeln!(
        io::stderr(),
        "takings-sandbox: a stand-in for Klarna's Order Management API, not a Klarna product; \
         --help lists what it can do"
    );
    if !address.is_loopback() {
        let _ = writeln!(
            io::stderr(),
            "takings-sandbox: WARNING: it listens at {address}, beyond this machine. Whoever reaches it can send API \
             requests, and plain http shows them all: use made-up data only"
        );
    }
    if run.parent_watch {
        io::copy(&mut io::stdin(), &mut io::sink())?;
        return Ok(());
    }
    loop {
        thread::park();
    }
}

/// Runs `takings-sandbox` with these flags, without the program's name, and says whether that went well. The program
/// prints the base URL as the one line on standard output. Then it runs until standard input closes
/// (`--parent-watch`) or the process ends.
pub fn program(flags: impl IntoIterator<Item = OsString>) -> bool {
    let done = match wish(lexopt::Parser::from_args(flags)) {
        Ok(Wish::Print(text)) => io::stdout().write_all(text.as_bytes()).map_err(Failure::from),
        Ok(Wish::Run(wanted)) => run(*wanted),
        Err(error) => Err(format!("{error}; see takings-sandbox --help").into()),
    };
    if let Err(error) = &done {
        let _ = writeln!(io::stderr(), "takings-sandbox: {error}");
    }
    done.is_ok()
}
