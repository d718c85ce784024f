//! From the end of a call to the error that its caller gets: what it means for the money, and in which words.

use std::borrow::Cow;

use crate::api::operation::{Effect, FoundBy, Operation};
use crate::error::{Error, ErrorKind};
use crate::wire::Endpoint;
use crate::wire::answer::{Answer, ErrorBody, is_id};
use crate::wire::stranger::Stranger;

/// Why a call ended without success.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// The end of the last attempt, by itself.
    pub kind: ErrorKind,
    pub why: String,
    pub refusal: Option<Refusal>,
    /// Why no further attempt was made.
    pub stopped: Option<&'static str>,
    /// Klarna showed afterwards that it is not done.
    pub is_shown_undone: bool,
}

/// The answer that a call ended with.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub status: u16,
    pub body: ErrorBody,
    pub correlation_id: Option<String>,
    /// The answer's account of itself, where it is no error of Klarna's API.
    pub stranger: Option<Box<Stranger>>,
}

impl Refusal {
    pub fn of(answer: &Answer) -> Refusal {
        let body = answer.error().clone();
        let correlation_id = answer.correlation_id().map(str::to_owned);
        let in_body = || body.correlation_id.clone().filter(|id| is_id(id));
        let correlation_id = correlation_id.or_else(in_body);
        Refusal { status: answer.status, correlation_id, body, stranger: None }
    }

    /// The same, with the sender of an answer that is no error of Klarna's API.
    pub fn with_sender(answer: &Answer) -> Refusal {
        Refusal { stranger: Stranger::of(answer).map(Box::new), ..Refusal::of(answer) }
    }

    pub fn code(&self) -> Option<&str> {
        self.body.error_code.as_deref()
    }
}

impl Failure {
    pub fn new(kind: ErrorKind, why: impl Into<String>) -> Failure {
        Failure { kind, why: why.into(), refusal: None, stopped: None, is_shown_undone: false }
    }

    pub fn refused(refusal: Refusal) -> Failure {
        Failure { refusal: Some(refusal), ..Failure::new(ErrorKind::Rejected, "") }
    }

    pub fn status(&self) -> Option<u16> {
        self.refusal.as_ref().map(|refusal| refusal.status)
    }
}

/// The meaning of a failed call, with everything that is known of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The last attempt's own meaning.
    AsEnded,
    /// This call, or another one with its key, may have been carried out. `is_agreed`: another one was answered
    /// with success.
    Open { is_agreed: bool },
    /// Klarna refused the call. An earlier call with its key, unknown to this client, may have been carried out.
    EarlierUse,
    /// As `EarlierUse`, refused for the order's state. The call has no reference by which takings could look it up.
    EarlierUseWithoutReference,
    /// As `EarlierUse`, refused for the order's state. The order was read, and shows neither the call nor why it was refused.
    EarlierUseUnexplained,
    /// As `EarlierUse`. The order has these entries with the call's reference, which shops may use twice, and with the
    /// call's amount or another one.
    EarlierUseFound { ids: Vec<String>, amount: &'static str },
    /// The key is past the time for which Klarna keeps it, so nothing was sent, or nothing more.
    Old,
}

/// The call that an error is about.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub operation: &'static Operation,
    pub order_id: &'a str,
    pub idempotency_key: Option<&'a str>,
    pub attempts: u32,
    pub endpoint: &'a Endpoint,
}

impl Subject<'_> {
    /// The error of a call that failed.
    pub fn error(&self, failure: Failure, meaning: &Meaning) -> Error {
        let kind = match (self.operation.effect, meaning) {
            (Effect::Looks, _) => ErrorKind::OutcomeUnknown,
            (_, Meaning::AsEnded) => failure.kind,
            _ => ErrorKind::OutcomeUnknown,
        };
        let scrub = |text: &String, max| self.endpoint.scrub(text, max);
        let status = failure.status();
        let refusal = failure.refusal.as_ref();
        let error_code = refusal.and_then(|refusal| refusal.body.error_code.as_ref()).map(|code| scrub(code, 100));
        let error_messages: Vec<String> = refusal
            .map(|refusal| refusal.body.error_messages.iter().map(|text| scrub(text, 500)).collect())
            .unwrap_or_default();
        let correlation_id = refusal.and_then(|refusal| refusal.correlation_id.as_ref()).map(|id| scrub(id, 255));

        let stranger = refusal.and_then(|refusal| refusal.stranger.as_deref());
        let mut why = match failure.kind {
            ErrorKind::Rejected => {
                let sender = stranger.map(|stranger| (stranger.is_page, self.traces(stranger)));
                refused(status.unwrap_or_default(), error_code.as_deref(), sender, meaning)
            }
            _ => {
                let mut why = self.endpoint.scrub_report(&failure.why, 500);
                if let Some(code) = &error_code {
                    why.push_str(&format!(" ({code})"));
                }
                match stranger.map(|stranger| (stranger.is_page, self.traces(stranger))) {
                    Some((true, traces)) => {
                        why.push_str(&format!(", with a page that is no answer of Klarna's API{traces}"))
                    }
                    Some((false, traces)) => why.push_str(&traces),
                    None => {}
                }
                why
            }
        };
        let texts = error_messages.first().map(|text| scrub(text, 200));
        let said = stranger.filter(|stranger| !stranger.texts.is_empty());
        let said = said.map(|said| said.texts.iter().map(|text| scrub(text, 200)).collect::<Vec<_>>().join(": "));
        if let Some(text) = texts.or(said) {
            why.push_str(&format!(": {text}"));
        }
        if *meaning == (Meaning::Open { is_agreed: true }) {
            why.push_str("; another call with this key was answered with success");
        }
        if let Some(stopped) = failure.stopped {
            why.push_str(&format!("; {stopped}"));
        }
        let is_of_state = refusal.is_some_and(|refusal| self.operation.is_of_state(refusal.status, refusal.code()));
        let before = self.operation.nouns.before.filter(|_| is_of_state && !failure.is_shown_undone);
        let retryable = match (meaning, failure.kind) {
            (Meaning::Old, _) => false,
            (Meaning::AsEnded, ErrorKind::Rejected) => status == Some(429),
            _ => true,
        };
        let message = self.message(kind, &why, refusal, before, meaning);
        self.named(Error::new(kind, message)).with(|fields| {
            fields.http_status = status;
            fields.error_code = error_code;
            fields.error_messages = error_messages;
            fields.correlation_id = correlation_id;
            fields.retryable = retryable;
        })
    }

    /// The marks that tell who sent an answer, in brackets.
    fn traces(&self, stranger: &Stranger) -> String {
        let title = stranger.title.as_ref().map(|title| format!("title \"{}\"", self.endpoint.scrub(title, 100)));
        let marks = stranger.marks.iter().map(|(name, value)| format!("{name} {}", self.endpoint.scrub(value, 100)));
        let traces: Vec<String> = title.into_iter().chain(marks).collect();
        if traces.is_empty() { String::new() } else { format!(" ({})", traces.join(", ")) }
    }

    /// The error for an outcome that cannot be believed, or not be waited for.
    pub fn unclear(&self, why: &str) -> Error {
        let message = self.message(ErrorKind::OutcomeUnknown, why, None, None, &Meaning::Open { is_agreed: false });
        // A caller may abandon a call before its first attempt.
        let error = Error::new(ErrorKind::OutcomeUnknown, message);
        self.named(error).with(|fields| fields.attempts = fields.attempts.max(1))
    }

    /// The error for a bug of ours.
    pub fn internal(&self, what: &str) -> Error {
        let consequence = match self.attempts {
            0 => "nothing was sent",
            _ if self.operation.writes() => {
                "a request was begun, so treat the outcome as unknown and call again with the same idempotency key"
            }
            _ => "nothing was changed",
        };
        let message = format!("takings failed inside ({what}); {consequence}; please report it");
        self.named(Error::new(ErrorKind::Internal, message)).with(|fields| fields.retryable = self.attempts > 0)
    }

    fn named(&self, error: Error) -> Error {
        error.with(|fields| {
            fields.order_id = Some(self.order_id.to_owned());
            fields.idempotency_key = self.idempotency_key.map(str::to_owned);
            fields.attempts = self.attempts;
        })
    }

    /// The way out of refusals that are not about the call itself.
    fn fix(&self, refusal: Option<&Refusal>) -> Option<Cow<'static, str>> {
        const CREDENTIALS: &str =
            "check the credentials, and that region and environment are the ones they were made for";
        let status = refusal.map(|refusal| refusal.status);
        let is_strange = refusal.is_some_and(|refusal| refusal.stranger.is_some());
        match (status, self.endpoint.credential_hint()) {
            (Some(401), Some(hint)) => Some(Cow::Owned(format!("{hint}: {CREDENTIALS}"))),
            (Some(401), None) => Some(Cow::Borrowed(CREDENTIALS)),
            (Some(404), _) if is_strange => Some(Cow::Owned(format!(
                "check that Klarna's API answers at {}, which was asked",
                self.endpoint.place()
            ))),
            (Some(404), _) => Some(Cow::Owned(format!(
                "check the order id, and that the order was made at {}, where it was searched for",
                self.endpoint.place()
            ))),
            (Some(429), _) => Some(Cow::Borrowed("this is the rate limit: call again later")),
            _ => None,
        }
    }

    /// The message of an end in one line: its meaning, and the way out.
    /// `before`: an earlier call may have done it.
    fn message(
        &self,
        kind: ErrorKind,
        why: &str,
        refusal: Option<&Refusal>,
        before: Option<&str>,
        meaning: &Meaning,
    ) -> String {
        let status = refusal.map(|refusal| refusal.status);
        let order = self.endpoint.scrub_report(self.order_id, 255);
        let nouns = &self.operation.nouns;
        let (call, done, key) = (nouns.call, nouns.done, self.idempotency_key.unwrap_or_default());
        if self.operation.effect != Effect::Writes {
            let consequence = match self.operation.effect {
                Effect::Looks => format!("; whether it was {done} stays unknown"),
                _ => String::new(),
            };
            let fix = self.fix(refusal);
            let advice = fix.as_deref().unwrap_or("reading changes nothing, so call again at any time");
            return format!("{} of order {order} could not be read: {why}{consequence}; {advice}", nouns.subject);
        }
        match (meaning, kind) {
            (Meaning::AsEnded, ErrorKind::NotSent) => format!(
                "{call} of order {order} was not sent: {why}; nothing of this call reached Klarna, call again at any time \
                 with the same key (within 24 hours of its first use, where an earlier call was sent)"
            ),
            (Meaning::AsEnded, ErrorKind::Rejected) => format!(
                "{call} of order {order} was rejected: {why}; nothing was {done}{} {}",
                before.map_or(";".to_owned(), |before| format!(" by this call, though {before}; otherwise")),
                match (self.fix(refusal), status) {
                    (Some(fix), Some(404)) => format!("{fix}, then call with a new idempotency key"),
                    (Some(fix), _) => fix.into_owned(),
                    (None, _) => "fix the cause, then call with a new idempotency key".to_owned(),
                }
            ),
            (Meaning::EarlierUse, _) => format!(
                "{why}; order {order} may have been {done} by an earlier call with the idempotency key {key}; {}, then \
                 call again with the same key within 24 hours of its first use, and do not book it as failed (where this \
                 is the key's first use, say so with first_use)",
                match status {
                    Some(429) => Cow::Borrowed("wait until the rate limit lets more through"),
                    _ => self.fix(refusal).unwrap_or(Cow::Borrowed("fix the cause")),
                }
            ),
            (Meaning::EarlierUseWithoutReference, _) => format!(
                "{why}; order {order} may have been {done} by an earlier call with the idempotency key {key}, and without \
                 a reference it cannot be searched for: check the order, give each later call a reference of its own, and \
                 do not book it as failed (where this is the key's first use, say so with first_use)"
            ),
            (Meaning::EarlierUseUnexplained, _) => format!(
                "{why}; order {order} may have been {done} by an earlier call with the idempotency key {key}, and the order as \
                 Klarna shows it does not rule that out, since it may be older than that call: read it again in a while \
                 (get_order), or call again with the same key within 24 hours of its first use, and do not book it as failed \
                 (where this is the key's first use, say so with first_use)"
            ),
            (Meaning::EarlierUseFound { ids, amount }, _) => format!(
                "{why}; order {order} has {} with this reference and {amount} ({}), so an earlier call with the idempotency \
                 key {key} may have {done} it: check the order, and do not book it as failed (where each call has a \
                 reference of its own, the setting reconcile takes what is found for the answer)",
                match ids.len() {
                    1 => "something".to_owned(),
                    several => format!("{several} entries"),
                },
                ids.iter().take(3).map(|id| self.endpoint.scrub(id, 255)).collect::<Vec<_>>().join(", ")
            ),
            (Meaning::Old, _) => format!(
                "order {order} may have been {done}: {why}; {}, since Klarna keeps a key for 24 hours and would carry the \
                 idempotency key {key} out again; {}, and do not book it as failed",
                if self.attempts == 0 { "nothing was sent" } else { "it was not sent again" },
                match self.operation.found_by {
                    FoundBy::Reference { query, .. } => format!("search for it ({})", query.name),
                    FoundBy::State(..) => "read whether it is done".to_owned(),
                    FoundBy::Nothing => "nothing that can be read shows it, so ask Klarna".to_owned(),
                }
            ),
            _ => format!(
                "order {order} may have been {done}: {why}; call again with the same idempotency key {key} within 24 \
                 hours of its first use, and do not book it as failed"
            ),
        }
    }
}

/// The refusal itself, in words. `sender` is that of an answer which is no error of Klarna's API: whether it is a page,
/// and the traces of whoever sent it.
fn refused(status: u16, code: Option<&str>, sender: Option<(bool, String)>, meaning: &Meaning) -> String {
    let about_credentials = status == 401 && *meaning == Meaning::EarlierUse;
    match sender {
        Some((is_page, traces)) => {
            let what = if about_credentials { "the credentials were" } else { "it was" };
            let by = if is_page { "by a page that is no error" } else { "without an error" };
            format!("{what} refused with {status} {by} of Klarna's API{traces}")
        }
        None => {
            let code = code.map_or_else(|| " and no error code".to_owned(), |code| format!(" {code}"));
            match about_credentials {
                true => format!("Klarna refused the credentials (401){code}"),
                false => format!("Klarna refused it with {status}{code}"),
            }
        }
    }
}
