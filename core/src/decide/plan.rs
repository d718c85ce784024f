//! Calls that are made of several: each answer decides the next request, or the end. The order is read first; where
//! Klarna refuses the write for the order's state, it is read once more. Each write has a key that stands for its amount,
//! so an answer from the past makes no second capture or refund.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use serde_json::{Map, Value, json};

use crate::api::operation::{Nouns, Operation, Plan, Reply};
use crate::api::operations::{
    CANCEL, CAPTURE, EXTEND_AUTHORIZATION_TIME, GET_ORDER, REFUND, RELEASE_REMAINING_AUTHORIZATION,
};
use crate::api::reply::{Content, Facts};
use crate::api::request::OrderLine;
use crate::error::{Error, ErrorKind};
use crate::key;
use crate::text::seconds_since_1970;
use crate::wire::Endpoint;

/// How often the order is read, at most, before a write.
const MOST_READS: u32 = 3;
/// For so many seconds Klarna surely answers a key of a refund with that refund: 24 hours, and one for clocks that differ.
const KEY_IS_SAFE: i64 = 23 * 3600;

/// A call that follows a plan.
pub(crate) struct Course {
    row: &'static Operation,
    plan: Plan,
    order_id: String,
    /// The arguments as they were given, after their check.
    arguments: Value,
    warnings: Vec<String>,
    endpoint: Arc<Endpoint>,
    stage: Stage,
    reads: u32,
    /// A request that may change something was begun.
    has_written: bool,
}

enum Stage {
    /// The order is read; `None` before the first write.
    Reading(Option<Tried>),
    Writing(Tried),
    /// The order is read after its extension, for the new end.
    Confirming {
        old: String,
        facts: Arc<Facts>,
    },
}

/// A write, and the order before it.
struct Tried {
    action: Action,
    key: Option<String>,
    /// The ids that the order listed.
    known: HashSet<String>,
    captured: i64,
    old_end: String,
    warnings: Vec<String>,
    /// Klarna's refusal, or the open end.
    error: Option<Error>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Capture(i64),
    Refund(i64),
    Cancel,
    Release,
    Extend,
}

impl Action {
    fn operation(self) -> &'static Operation {
        match self {
            Action::Capture(_) => &CAPTURE,
            Action::Refund(_) => &REFUND,
            Action::Cancel => &CANCEL,
            Action::Release => &RELEASE_REMAINING_AUTHORIZATION,
            Action::Extend => &EXTEND_AUTHORIZATION_TIME,
        }
    }
}

/// A request of the call.
pub(crate) struct Part {
    pub operation: &'static Operation,
    /// Its arguments as JSON text. The later ones stand in where Klarna's own lines cannot be sent back.
    pub arguments: Vec<String>,
    /// Its key, where that is derived.
    pub key: Option<String>,
}

/// The step after an answer.
pub(crate) enum Next {
    Call(Part),
    End(Result<Reply, Error>),
}

/// A capture or refund that an order lists.
struct Entry {
    id: String,
    reference: Option<String>,
    amount: Option<i64>,
    /// When it was made, in seconds since 1970.
    made: Option<i64>,
}

impl Entry {
    fn is_nameless(&self) -> bool {
        self.reference.as_deref().is_none_or(str::is_empty)
    }

    /// Whether it was made so long ago that Klarna may have forgotten its key.
    fn is_old(&self, now: i64) -> bool {
        self.made.is_none_or(|made| now.saturating_sub(made) >= KEY_IS_SAFE)
    }
}

impl Course {
    pub fn new(
        row: &'static Operation,
        plan: Plan,
        order_id: &str,
        arguments: Value,
        warnings: Vec<String>,
        endpoint: Arc<Endpoint>,
    ) -> Course {
        let order_id = order_id.to_owned();
        Course {
            row,
            plan,
            order_id,
            arguments,
            warnings,
            endpoint,
            stage: Stage::Reading(None),
            reads: 0,
            has_written: false,
        }
    }

    pub fn operation(&self) -> &'static Operation {
        self.row
    }

    /// The key of the last write; none before one.
    pub fn key(&self) -> Option<&str> {
        match &self.stage {
            Stage::Writing(tried) | Stage::Reading(Some(tried)) => tried.key.as_deref(),
            Stage::Confirming { facts, .. } => facts.idempotency_key.as_deref(),
            Stage::Reading(None) => None,
        }
    }

    /// The first request.
    pub fn first(&mut self) -> Part {
        self.reads += 1;
        Part { operation: &GET_ORDER, arguments: vec!["{}".into()], key: None }
    }

    /// Takes the end of the last request.
    pub fn next(&mut self, result: Result<Reply, Error>) -> Next {
        match (std::mem::replace(&mut self.stage, Stage::Reading(None)), result) {
            (Stage::Reading(tried), Ok(reply)) => self.decide(&reply.facts, tried),
            (Stage::Reading(Some(Tried { error: Some(error), .. })), Err(_)) => self.end(error),
            (Stage::Reading(_), Err(error)) => Next::End(Err(self.unread(error))),
            (Stage::Writing(tried), Ok(reply)) => self.written(tried, reply),
            (Stage::Writing(mut tried), Err(error)) => {
                let is_of_state = error.http_status().is_some_and(|status| {
                    tried.action != Action::Extend && tried.action.operation().is_of_state(status, error.error_code())
                });
                if !is_of_state || self.reads >= MOST_READS {
                    return self.end_of(tried, error);
                }
                tried.key = tried.key.or_else(|| error.idempotency_key().map(str::to_owned));
                tried.error = Some(error);
                self.stage = Stage::Reading(Some(tried));
                Next::Call(self.first())
            }
            (Stage::Confirming { old, facts }, read) => {
                let end = read.ok().and_then(|reply| text(&document(&reply.facts), "expires_at"));
                let mut facts = (*facts).clone();
                if end.is_none() {
                    facts.warnings.push("it was extended, but the new end could not be read".into());
                }
                facts.content = Content::Extended { old, new: end, is_extended: true };
                self.reply(facts)
            }
        }
    }

    /// The error for a bug of ours, or for a caller that stops waiting, in the words of this call.
    pub fn said(&self, error: Error) -> Error {
        let again = match error.kind() {
            ErrorKind::OutcomeUnknown => format!("; to do so call {} again as it was", self.row.name),
            _ => String::new(),
        };
        error.with(|fields| fields.message.push_str(&again))
    }

    /// The error for a caller that stops waiting while a read is under way: the call may go on elsewhere, and then write.
    pub fn abandoned(&self, error: Error) -> Error {
        let order = self.endpoint.scrub_report(&self.order_id, 255);
        let Nouns { done, .. } = self.row.nouns;
        self.said(error.with(|fields| {
            fields.message = format!(
                "order {order} may have been {done}: the wait for the answer was interrupted; do not book it as failed, but settle it \
                 first"
            );
        }))
    }

    /// The error for a bug of ours while a read is under way.
    pub fn internal(&self, error: Error) -> Error {
        if !self.has_written {
            return error;
        }
        let name = self.row.name;
        error.with(|fields| {
            fields.retryable = true;
            fields.message = format!(
                "takings failed inside; a request was begun, so treat the outcome as unknown and call {name} again as it \
                 was; please report it"
            );
        })
    }

    fn end(&self, error: Error) -> Next {
        Next::End(Err(self.said(error)))
    }

    /// The end by a write's error. A write that was not even begun has not used its key.
    fn end_of(&mut self, tried: Tried, error: Error) -> Next {
        let error = self.said(error);
        let key = tried.key.clone();
        self.stage = Stage::Writing(tried);
        Next::End(Err(error.with(|fields| fields.idempotency_key = fields.idempotency_key.take().or(key))))
    }

    fn reply(&self, facts: Facts) -> Next {
        Next::End(Ok(Reply { operation: self.row, facts: Arc::new(facts) }))
    }

    fn error(&self, kind: ErrorKind, why: &str) -> Next {
        let order = self.endpoint.scrub_report(&self.order_id, 255);
        let message = format!("{} of order {order}: {why}", self.row.nouns.call);
        Next::End(Err(Error::new(kind, message).with(|fields| fields.order_id = Some(self.order_id.clone()))))
    }

    /// The end where the order could not be read: nothing was sent that changes anything. An earlier call of this name
    /// may have been carried out, so only a refusal that would have met that one as well is the whole truth.
    fn unread(&self, error: Error) -> Error {
        if error.kind() == ErrorKind::Internal {
            return error;
        }
        let is_refused = error.kind() == ErrorKind::Rejected;
        let has_name = matches!(self.plan, Plan::CaptureRemaining | Plan::RefundRemaining | Plan::RefundCapture);
        let would_settle = error.http_status().is_some_and(|status| CAPTURE.is_settled_by(status, error.error_code()));
        let kind = if is_refused && (would_settle || !has_name) { ErrorKind::Rejected } else { ErrorKind::NotSent };
        let nouns = &self.row.nouns;
        error.with(|fields| {
            let why = &fields.message;
            fields.message =
                format!("{} was not begun, and nothing was {} by this call: {why}", nouns.call, nouns.done);
            fields.retryable = !is_refused || fields.retryable;
            fields.kind = kind;
        })
    }

    fn unreadable(&self, member: &str, tried: Option<Tried>) -> Next {
        let why =
            format!("Klarna's answer has no {member} that can be read, so nothing was sent; call again, or ask Klarna");
        self.unsent(&why, tried)
    }

    /// The end where the order does not show what to do. A write before it decides: it may have been carried out.
    fn unsent(&self, why: &str, tried: Option<Tried>) -> Next {
        match tried.and_then(|tried| tried.error) {
            Some(error) => self.end(error),
            None => self.error(ErrorKind::NotSent, why),
        }
    }

    /// Decides by the order as it was read.
    fn decide(&mut self, facts: &Facts, tried: Option<Tried>) -> Next {
        let order = document(facts);
        match self.plan {
            Plan::CaptureRemaining | Plan::RefundRemaining | Plan::RefundCapture => self.money(&order, facts, tried),
            Plan::CancelOrRelease => self.order_end(&order, facts, tried),
            Plan::ExtendIfNeeded => self.extension(&order, facts),
        }
    }

    fn money(&mut self, order: &Value, facts: &Facts, tried: Option<Tried>) -> Next {
        let (list, id, field) = match self.plan {
            Plan::CaptureRemaining => ("captures", "capture_id", "captured_amount"),
            _ => ("refunds", "refund_id", "refunded_amount"),
        };
        let entries = entries(order, list, id, field);
        let reference = self.arguments["reference"].as_str().unwrap_or_default().to_owned();
        let with = |amount: Option<i64>| -> Vec<&Entry> {
            let is_meant = |entry: &&Entry| {
                entry.reference.as_deref() == Some(&*reference) && (amount.is_none() || entry.amount == amount)
            };
            entries.iter().filter(is_meant).collect()
        };
        let given = self.arguments["refunded_amount"].as_i64();
        // A write that may have been carried out is found by its own amount, or stays open.
        if let Some(Tried {
            action: Action::Capture(amount) | Action::Refund(amount), known, error: Some(error), ..
        }) = &tried
            && error.kind() != ErrorKind::Rejected
        {
            let new: Vec<&Entry> = with(Some(*amount)).into_iter().filter(|entry| !known.contains(&entry.id)).collect();
            return match new.as_slice() {
                [found] => self.found(found, facts),
                _ => self.end(error.clone()),
            };
        }
        // Klarna may count a refund for another capture, so the rest of this one does not show whether it was made.
        if self.plan == Plan::RefundCapture {
            match with(given).as_slice() {
                [] => {}
                [found] => return self.found(found, facts),
                several => return self.several(several.len()),
            }
        }
        let capture = order["captures"].as_array().and_then(|captures| {
            captures.iter().find(|capture| {
                let asked = self.arguments["capture_id"].as_str().unwrap_or_default();
                capture["capture_id"].as_str().is_some_and(|id| id.eq_ignore_ascii_case(asked))
            })
        });
        let left = match self.plan {
            Plan::CaptureRemaining => order["remaining_authorized_amount"].as_i64(),
            Plan::RefundRemaining => left(order),
            _ => match capture {
                Some(capture) => left(capture),
                None => {
                    let why = "the order lists no capture with this capture_id, so nothing was sent; check it, and call \
                               again where the capture was made a moment ago";
                    return self.unsent(why, tried);
                }
            },
        };
        let Some(left) = left else {
            let member = match self.plan {
                Plan::CaptureRemaining => "remaining_authorized_amount",
                _ => "captured_amount or refunded_amount",
            };
            return self.unreadable(member, tried);
        };
        let wanted = given.unwrap_or(left);
        if left <= 0 || wanted > left {
            return self.nothing_left(order, &entries, &with(given), given, left, facts, tried);
        }
        let action = match self.plan {
            Plan::CaptureRemaining => Action::Capture(wanted),
            _ => Action::Refund(wanted),
        };
        // Its key no longer keeps a second refund from being made. A rest can be the same again, once more was captured.
        let now = answered(facts);
        if self.plan == Plan::RefundRemaining && tried.is_none() {
            let same = with(Some(wanted));
            match same.as_slice() {
                [found] if found.is_old(now) => return self.found(found, facts),
                several if several.iter().any(|entry| entry.is_old(now)) => return self.several(several.len()),
                _ => {}
            }
        }
        // A call without an amount may have refunded more, of which Klarna counted a part for another capture; that one had
        // another key.
        let most = given.or_else(|| capture.and_then(|capture| capture["captured_amount"].as_i64())).unwrap_or(wanted);
        let may_be_it = |entry: &Entry| {
            let amount = entry.amount.unwrap_or(wanted);
            let has_this_key = amount == wanted && !entry.is_old(now);
            entry.is_nameless() && (wanted..=most).contains(&amount) && !has_this_key
        };
        if self.plan != Plan::CaptureRemaining && tried.is_none() && entries.iter().any(may_be_it) {
            return self.error(
                ErrorKind::OutcomeUnknown,
                "the order lists a refund without a reference, which may be the one that an earlier call made, and whose \
                 key would not keep a second one from being made: check the order, and do not book it as failed; where it \
                 is another one, call refund",
            );
        }
        if let Some(Tried { action: before, error: Some(error), .. }) = &tried
            && *before == action
        {
            return self.end(error.clone());
        }
        let mut warnings = Vec::new();
        let captures = order["captures"].as_array().map_or(&[][..], Vec::as_slice);
        let lines = match self.plan {
            _ if self.arguments["order_lines"].is_array() => self.arguments["order_lines"].clone(),
            Plan::CaptureRemaining => lines_left(&[order], captures, wanted),
            Plan::RefundRemaining => lines_left(
                &captures.iter().collect::<Vec<_>>(),
                order["refunds"].as_array().map_or(&[][..], Vec::as_slice),
                wanted,
            ),
            _ => lines_left(&capture.into_iter().collect::<Vec<_>>(), &[], wanted),
        };
        let made = list_of(self.plan != Plan::CaptureRemaining).trim_end_matches('s');
        for other in with(None).iter().filter_map(|entry| entry.amount).filter(|amount| *amount != wanted) {
            warnings.push(format!("the order listed a {made} of {other} with this reference before this call, too"));
        }
        let has_lines = lines.as_array().is_some_and(|lines| !lines.is_empty());
        if self.plan == Plan::RefundCapture && captures.len() > 1 && !has_lines {
            warnings.push(
                "the refund has no order lines, and the order has several captures, so Klarna chooses the captures that it \
                 counts for"
                    .into(),
            );
        }
        let mut request = json!({field: wanted, "reference": reference});
        let plain = request.to_string();
        let mut texts = vec![plain];
        if has_lines {
            request["order_lines"] = lines;
            texts.insert(0, request.to_string());
        }
        let key =
            match key::of_amount(self.row, &self.order_id, self.arguments["capture_id"].as_str(), wanted, &reference) {
                Ok(key) => key,
                Err(error) => return Next::End(Err(error)),
            };
        let known = entries.into_iter().map(|entry| entry.id).collect();
        let captured = order["captured_amount"].as_i64().unwrap_or_default();
        self.write(
            action,
            Some(key),
            texts,
            Tried { action, key: None, known, captured, old_end: String::new(), warnings, error: None },
        )
    }

    fn write(&mut self, action: Action, key: Option<String>, arguments: Vec<String>, tried: Tried) -> Next {
        self.has_written = true;
        self.stage = Stage::Writing(Tried { key: key.clone(), ..tried });
        Next::Call(Part { operation: action.operation(), arguments, key })
    }

    /// The end where the amount that is wanted is not left.
    #[allow(clippy::too_many_arguments, reason = "one place calls it")]
    fn nothing_left(
        &mut self,
        order: &Value,
        entries: &[Entry],
        found: &[&Entry],
        given: Option<i64>,
        left: i64,
        facts: &Facts,
        tried: Option<Tried>,
    ) -> Next {
        let is_refund = self.plan != Plan::CaptureRemaining;
        let total = if is_refund { "refunded_amount" } else { "captured_amount" };
        // Klarna has left out the references of refunds.
        let nameless = || {
            let may_be_it = |entry: &Entry| entry.is_nameless() && (given.is_none() || entry.amount == given);
            is_refund && entries.iter().any(may_be_it)
        };
        match found {
            [found] if given.is_none() => return self.found(found, facts),
            [_, _, ..] => return self.several(found.len()),
            // A list that cannot be read shows nothing.
            [] if !order[list_of(is_refund)].is_array() && order[total].as_i64() != Some(0) => {
                return self.error(
                    ErrorKind::OutcomeUnknown,
                    &format!(
                        "not enough is left, and Klarna's answer has no {} that can be read, so an earlier call may have \
                         made it: check the order, and do not book it as failed",
                        list_of(is_refund)
                    ),
                );
            }
            _ if nameless() => {
                return self.error(
                    ErrorKind::OutcomeUnknown,
                    "not enough is left, and the order lists a refund without a reference, which may be the one that an \
                     earlier call made: check the order, and do not book it as failed",
                );
            }
            _ => {}
        }
        if let Some(Tried { error: Some(error), .. }) = tried {
            return self.end(error);
        }
        let nouns = &self.row.nouns;
        let of = if self.plan == Plan::RefundCapture { "capture" } else { "order" };
        let currency = order["purchase_currency"].as_str().filter(|code| code.len() == 3).unwrap_or("minor units");
        let why = match given {
            Some(given) if left > 0 => format!("{given} is more than the {left} ({currency}) that is left of the {of}"),
            _ => format!("nothing remains of the {of} to be {}", nouns.done),
        };
        self.error(
            ErrorKind::Rejected,
            &format!(
                "{why}, and none of the {} has this reference{}; nothing was {}",
                list_of(is_refund),
                if given.is_some() { " and amount" } else { "" },
                nouns.done
            ),
        )
    }

    fn several(&self, count: usize) -> Next {
        let is_refund = self.plan != Plan::CaptureRemaining;
        self.error(
            ErrorKind::OutcomeUnknown,
            &format!(
                "{count} {} of the order have this reference, so one of them may be the one that an earlier call made: check \
                 the order, give each later call a reference of its own, and do not book it as failed",
                list_of(is_refund)
            ),
        )
    }

    /// The end by something that the order lists already.
    fn found(&self, entry: &Entry, facts: &Facts) -> Next {
        let capture = self.arguments["capture_id"].as_str();
        let reference = self.arguments["reference"].as_str().unwrap_or_default();
        let amount = entry.amount.unwrap_or_default();
        let key = key::of_amount(self.row, &self.order_id, capture, amount, reference).ok();
        let made = if self.plan == Plan::CaptureRemaining { "capture" } else { "refund" };
        let warning = format!(
            "the order lists a {made} of {amount} with this reference, so it was taken for the result, and this call made none"
        );
        let warnings = self.warnings.iter().cloned().chain([warning]).collect();
        let content = Content::Created(entry.id.clone());
        self.reply(Facts { content, warnings, idempotency_key: key, ..facts.clone() })
    }

    fn order_end(&mut self, order: &Value, facts: &Facts, tried: Option<Tried>) -> Next {
        let ended = |done: &'static str, tried: &Option<Tried>| {
            let key = tried.as_ref().filter(|_| done != "nothing").and_then(|tried| tried.key.clone());
            Facts { content: Content::Ended(done), idempotency_key: key, ..facts.clone() }
        };
        let status = order["status"].as_str().unwrap_or_default();
        match status {
            "CANCELLED" => return self.reply(ended("cancelled", &tried)),
            "EXPIRED" | "CLOSED" => return self.reply(ended("nothing", &tried)),
            _ => {}
        }
        let amounts = (order["captured_amount"].as_i64(), order["remaining_authorized_amount"].as_i64());
        let (Some(captured), Some(left)) = amounts else {
            return self.unreadable("captured_amount and remaining_authorized_amount", tried);
        };
        let action = match (captured, left) {
            (..=0, _) => Action::Cancel,
            (_, 1..) => Action::Release,
            _ => {
                let is_ours = |tried: &Tried| {
                    let is_open = tried.error.as_ref().is_some_and(|error| error.kind() == ErrorKind::OutcomeUnknown);
                    tried.action == Action::Release && is_open && tried.captured == captured
                };
                let done = if tried.as_ref().is_some_and(is_ours) { "released" } else { "nothing" };
                return self.reply(ended(done, &tried));
            }
        };
        if let Some(Tried { action: before, error: Some(error), .. }) = &tried
            && *before == action
        {
            return self.end(error.clone());
        }
        self.write(
            action,
            None,
            vec!["{}".into()],
            Tried {
                action,
                key: None,
                known: HashSet::new(),
                captured,
                old_end: String::new(),
                warnings: Vec::new(),
                error: None,
            },
        )
    }

    fn extension(&mut self, order: &Value, facts: &Facts) -> Next {
        let Some((old, end)) =
            text(order, "expires_at").and_then(|text| seconds_since_1970(&text).map(|end| (text, end)))
        else {
            return self.unreadable("expires_at", None);
        };
        let now = answered(facts);
        let within = self.arguments["within"].as_i64().unwrap_or_default();
        let is_over = matches!(order["status"].as_str(), Some("CANCELLED" | "CLOSED" | "CAPTURED"));
        if is_over || order["remaining_authorized_amount"].as_i64() == Some(0) || end.saturating_sub(now) >= within {
            let content = Content::Extended { old: old.clone(), new: Some(old), is_extended: false };
            return self.reply(Facts { content, ..facts.clone() });
        }
        self.write(
            Action::Extend,
            None,
            vec!["{}".into()],
            Tried {
                action: Action::Extend,
                key: None,
                known: HashSet::new(),
                captured: 0,
                old_end: old,
                warnings: Vec::new(),
                error: None,
            },
        )
    }

    /// The end by a write that was carried out.
    fn written(&mut self, tried: Tried, reply: Reply) -> Next {
        let mut facts = (*reply.facts).clone();
        let done = match tried.action {
            Action::Extend => {
                self.stage = Stage::Confirming { old: tried.old_end, facts: reply.facts };
                return Next::Call(self.first());
            }
            Action::Cancel => Some("cancelled"),
            Action::Release => Some("released"),
            Action::Capture(_) | Action::Refund(_) => None,
        };
        if let Some(done) = done {
            facts.content = Content::Ended(done);
        }
        facts.warnings.extend(self.warnings.iter().cloned().chain(tried.warnings));
        if let Content::Created(id) = &facts.content
            && !id.is_empty()
            && tried.known.contains(id)
        {
            facts.warnings.push(
                "the order listed it before this call, so Klarna gave the answer to an earlier call with this reference and \
                 amount, and made nothing new; for another one give another reference"
                    .into(),
            );
        }
        self.reply(facts)
    }
}

fn list_of(is_refund: bool) -> &'static str {
    if is_refund { "refunds" } else { "captures" }
}

fn document(facts: &Facts) -> Value {
    match &facts.content {
        // As it was read: a member of another type, or one that stands twice, shows nothing.
        Content::Document(document) => json!(&*document.root),
        _ => Value::Null,
    }
}

/// When the answer came, in seconds since 1970.
fn answered(facts: &Facts) -> i64 {
    let since = facts.answered.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn text(order: &Value, member: &str) -> Option<String> {
    order[member].as_str().map(str::to_owned)
}

/// The amount that was captured and not refunded, of an order or of a capture. Both members have to be there: one that
/// was no amount, or stood twice, is absent too.
fn left(of: &Value) -> Option<i64> {
    of["captured_amount"].as_i64()?.checked_sub(of["refunded_amount"].as_i64()?)
}

fn entries(order: &Value, list: &str, id: &str, amount: &str) -> Vec<Entry> {
    let text = |entry: &Value, name: &str| entry[name].as_str().map(str::to_owned);
    let entries = order[list].as_array().map_or(&[][..], Vec::as_slice);
    entries
        .iter()
        .map(|entry| Entry {
            id: text(entry, id).filter(|id| crate::wire::answer::is_id(id)).unwrap_or_default(),
            reference: text(entry, "reference"),
            amount: entry[amount].as_i64(),
            made: entry["refunded_at"].as_str().and_then(seconds_since_1970),
        })
        .collect()
}

/// The lines that are in `of` and not in `without`, as a request takes them, if they add up to the amount.
fn lines_left(of: &[&Value], without: &[Value], amount: i64) -> Value {
    let lines = |holder: &Value| holder["order_lines"].as_array().cloned().unwrap_or_default();
    let mut left: Vec<Value> = of.iter().flat_map(|holder| lines(holder)).collect();
    for used in without.iter().flat_map(lines) {
        let is_it = |line: &Value| {
            ["reference", "name", "quantity", "total_amount"].iter().all(|member| line[*member] == used[*member])
        };
        let Some(at) = left.iter().position(is_it) else { return Value::Null };
        left.remove(at);
    }
    let sum = left.iter().try_fold(0_i64, |sum, line| sum.checked_add(line["total_amount"].as_i64()?));
    if sum != Some(amount) {
        return Value::Null;
    }
    let known = |line: Value| -> Value {
        let Value::Object(members) = line else { return Value::Null };
        let is_known = |name: &str, value: &Value| !value.is_null() && OrderLine::FIELDS.contains(&name);
        members.into_iter().filter(|(name, value)| is_known(name, value)).collect::<Map<_, _>>().into()
    };
    left.into_iter().map(known).collect()
}
