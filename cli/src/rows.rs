//! `list`, `show`, `settle`, `pause`, `resume`, `restored`, `purge`.

use serde_json::{Value, json};
use takings_ledger::office::{Line, Office, Said, Wanted};
use takings_ledger::policy::State;
use takings_ledger::store::{Kind, Request};

use crate::place::{ACCOUNT, Where, open};
use crate::say::{Ended, Exit, Failure, done, moment, number, result, why};

/// How many rows are read at once.
pub const PAGE: usize = 1000;

/// A row for programs.
pub fn row_json(line: &Line) -> Value {
    let kind = line.kind;
    json!({
        "kind": kind.operation(),
        "id": line.id,
        "account": line.account,
        "order_id": line.order_id,
        "reference": line.reference,
        kind.amount(): line.amount,
        "state": kind.word(line.state),
        format!("{}_id", kind.operation()): line.done_as,
        "enqueued_at": moment(line.enqueued_at),
        "due_at": line.due_at.map(moment),
        "last_sent_at": line.last_sent_at.map(moment),
        "looked_at": line.looked_at.map(moment),
        "settled_at": line.settled_at.map(moment),
        "settled_by": line.settled_by,
        "needs_a_person_since": line.alert_at.map(moment),
        "why": line.why,
        "sends": line.sends,
        "tries": line.tries,
        "maybe_sent": line.maybe,
        "idempotency_key": line.idempotency_key,
        "http_status": line.http_status,
        "error_code": line.error_code,
        "correlation_id": line.correlation_id,
        "note": line.note,
        "request_wiped": line.is_wiped,
    })
}

fn row_line(line: &Line) -> String {
    let reason = line.why.as_deref().map(why).unwrap_or_default();
    let end = line.done_as.as_deref().filter(|id| !id.is_empty()).or(line.error_code.as_deref()).unwrap_or(reason);
    format!(
        "{}  {:9}  {}  {:>12}  {}  {end}{}",
        moment(line.enqueued_at),
        line.kind.word(line.state),
        line.order_id,
        number(line.amount),
        line.reference,
        if line.account == ACCOUNT { String::new() } else { format!("  [{}]", line.account) }
    )
}

/// Which rows to list.
#[derive(Debug, Default)]
pub struct Filter {
    pub kind: Option<Kind>,
    pub state: Option<String>,
    pub account: Option<String>,
    pub order_id: Option<String>,
    pub needs_a_person: bool,
    pub most: usize,
}

pub fn list(store: &mut dyn Office, filter: &Filter, is_json: bool) -> Ended {
    let mut left = if filter.most == 0 { usize::MAX } else { filter.most };
    let mut is_known = filter.state.is_none();
    for kind in Kind::ALL.into_iter().filter(|kind| filter.kind.is_none_or(|wanted| wanted == *kind)) {
        let state = match &filter.state {
            None => None,
            Some(word) => match kind.state(word) {
                None => continue,
                state => state,
            },
        };
        is_known = true;
        let mut wanted = Wanted {
            account: filter.account.clone(),
            order_id: filter.order_id.clone(),
            state,
            needs_a_person: filter.needs_a_person,
            ..Wanted::default()
        };
        while left > 0 {
            wanted.most = left.min(PAGE);
            let lines = store.list(kind, &wanted)?;
            let Some(last) = lines.last() else { break };
            wanted.after = last.id;
            left -= lines.len();
            for line in &lines {
                // A line of JSON each, so that a million rows can be read as they come.
                if is_json { result(row_json(line))? } else { result(row_line(line))? }
            }
        }
    }
    match is_known {
        true => Ok(Exit::Done),
        false => Err(Failure::new(
            "--state must be queued, sending, unclear, captured, refunded, rejected, stuck or cancelled",
        )),
    }
}

/// The rows of an order, or those of a name; of one account, or of all.
pub fn find(
    store: &mut dyn Office,
    account: Option<&str>,
    order_id: &str,
    reference: Option<&str>,
) -> Result<Vec<Line>, Failure> {
    let wanted = Wanted {
        account: account.map(str::to_owned),
        order_id: Some(order_id.into()),
        reference: reference.map(str::to_owned),
        ..Wanted::default()
    };
    let mut lines = Vec::new();
    for kind in Kind::ALL {
        lines.extend(store.list(kind, &wanted)?);
    }
    Ok(lines)
}

pub fn show(place: &Where, order_id: &str, reference: Option<&str>, is_json: bool) -> Ended {
    let mut store = open(&place.ledger()?)?;
    let lines = find(&mut *store, place.account.as_deref(), order_id, reference)?;
    if lines.is_empty() {
        let name = reference.map(|reference| format!(" with the reference {reference:?}")).unwrap_or_default();
        return Err(Failure::new(format!("the ledger has nothing of order {order_id:?}{name}")));
    }
    for line in lines {
        let requests = store.requests(line.kind, line.id)?;
        if is_json {
            let mut row = row_json(&line);
            row["history"] = requests.iter().map(request_json).collect();
            result(row)?;
            continue;
        }
        result(explained(&line, &requests))?;
    }
    Ok(Exit::Done)
}

fn request_json(request: &Request) -> Value {
    json!({
        "at": moment(request.at),
        "took_ms": request.took_ms,
        "sent": request.sent,
        "came_back": request.came_back,
        "http_status": request.http_status,
        "error_code": request.error_code,
        "correlation_id": request.correlation_id,
    })
}

/// A row in words, with what a person can do about it.
fn explained(line: &Line, requests: &[Request]) -> String {
    let kind = line.kind;
    let mut text = format!(
        "{} of order {}, reference {}, {} minor units: {}",
        kind.operation(),
        line.order_id,
        line.reference,
        number(line.amount),
        kind.word(line.state)
    );
    let mut say = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            text.push_str(&format!("\n  {name:16} {value}"));
        }
    };
    let is_default = line.account == ACCOUNT;
    say("account", Some(line.account.clone()).filter(|_| !is_default));
    say("enqueued", Some(moment(line.enqueued_at)));
    say("last sent", line.last_sent_at.map(moment));
    say("looked for", line.looked_at.map(moment));
    say("due", line.due_at.map(moment));
    say(
        "settled",
        line.settled_at.map(|at| format!("{} by {}", moment(at), line.settled_by.as_deref().unwrap_or("?"))),
    );
    say("Klarna's id", line.done_as.clone());
    say("why", line.why.as_deref().map(|word| why(word).to_owned()));
    say("error code", line.error_code.clone());
    say("correlation id", line.correlation_id.clone());
    say("note", line.note.clone());
    say("key", line.idempotency_key.clone());
    for request in requests {
        say(&moment(request.at), Some(format!("{}: {}", request.sent, request.came_back)));
    }
    let account = if is_default { String::new() } else { format!("--account {} ", line.account) };
    let settle = format!("takings settle {account}{} {}", line.order_id, line.reference);
    say(
        "a person can",
        match line.state {
            State::Rejected | State::Stuck | State::Unclear => Some(format!(
                "look at the order in Klarna's portal, and then say one of\n    {settle} --captured ID --by NAME\n    \
                 {settle} --not-captured --by NAME\n    {settle} --send-again --by NAME"
            )),
            State::Queued if !line.maybe => Some(format!("{settle} --withdraw --by NAME")),
            _ => None,
        }
        .map(|text| {
            if kind == Kind::Refund {
                text.replace("-captured", "-refunded").replace("settle ", "settle --refund ")
            } else {
                text
            }
        }),
    );
    text
}

pub fn settle(place: &Where, kind: Kind, order_id: &str, reference: &str, said: &Said, is_json: bool) -> Ended {
    let mut store = open(&place.ledger()?)?;
    let state = store.say(kind, place.account(), order_id, reference, said)?;
    if is_json {
        let lines = find(&mut *store, Some(place.account()), order_id, Some(reference))?;
        let line = lines.iter().find(|line| line.kind == kind);
        return result(line.map(row_json).unwrap_or_default()).map(|()| Exit::Done);
    }
    let next = match state {
        State::Queued | State::Unclear => "; a worker looks for it first, and sends it if it is not there",
        _ => "",
    };
    result(format!("{} of order {order_id}, reference {reference}: {}{next}", kind.operation(), kind.word(state)))?;
    Ok(Exit::Done)
}

pub fn pause(store: &mut dyn Office, account: &str, is_json: bool) -> Ended {
    store.pause(account)?;
    let text = format!("account {account}: nothing new is sent; what is under way ends. takings resume goes on");
    done(is_json, &json!({"account": account, "paused": true}), text)
}

pub fn resume(store: &mut dyn Office, account: &str, nothing_lost: bool, is_json: bool) -> Ended {
    store.resume(account, nothing_lost)?;
    done(is_json, &json!({"account": account, "paused": false}), format!("account {account}: workers go on"))
}

pub fn restored(store: &mut dyn Office, is_json: bool) -> Ended {
    store.restored()?;
    let accounts = store.accounts()?;
    let until = accounts.iter().map(|account| account.look_until).max().map(moment);
    let text = "every row that is open now, or is enqueued in the next 30 days, is looked for before it is sent";
    done(is_json, &json!({"looks_first_until": until}), text)
}
