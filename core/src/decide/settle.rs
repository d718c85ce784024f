//! A call with the look-up that settles it. Where the call's own attempts leave open whether it was carried out,
//! takings reads from the order whether it was.

use std::sync::Arc;
use std::time::Duration;

use crate::api::ids;
use crate::api::operation::{FoundBy, Operation, Reply, ReplyKind};
use crate::api::reply::{Content, Facts, Matches};
use crate::decide::doubt::Ending;
use crate::decide::ending::{Failure, Meaning};
use crate::decide::machine::{Event, Machine, Purpose, Turn};
use crate::decide::memory::KeyState;
use crate::decide::retry::{Limits, SHORTEST};
use crate::error::{Error, ErrorKind};
use crate::wire::HttpRequest;

/// The next thing that a [`Call`](crate::Call) asks of its host.
#[derive(Debug)]
pub enum Step {
    /// Send [`Call::request`](crate::Call::request) once, be done within this time, and
    /// report how it went: `Answered`, `NotSent` or `MaybeSent`.
    Send(Duration),
    /// Pause, then report [`Event::Waited`].
    Wait(Duration),
    /// The outcome; there is nothing more to do.
    Done(Result<Reply, Error>),
}

pub(crate) struct Settlement {
    call: Machine,
    /// The setting `reconcile`: an open call is looked up, and a single match is its answer.
    takes_matches: bool,
    /// The call is looked up before its first attempt.
    looks_first: bool,
    /// Such a look found it, so that its key was not used.
    is_found_before: bool,
    look: Option<Look>,
}

/// A look-up under way.
struct Look {
    machine: Machine,
    reason: Reason,
    failure: Failure,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Reason {
    /// The call may have been carried out: only a match decides.
    Open,
    /// Klarna refused a key whose first use is not known, for the order's state.
    EarlierUse,
    /// The call was not sent yet: a match is the result, and without one the call is made.
    First,
}

impl Settlement {
    pub fn new(call: Machine, takes_matches: bool) -> Settlement {
        Settlement { call, takes_matches, looks_first: false, is_found_before: false, look: None }
    }

    /// The same, looked up before its first attempt or not.
    pub fn looking_first(self, looks_first: bool) -> Settlement {
        Settlement { looks_first, ..self }
    }

    /// The same as a part of a call that has begun.
    pub fn until(mut self, deadline: Duration) -> Settlement {
        self.call.until(deadline);
        self
    }

    pub fn learn(&mut self, known: KeyState) {
        self.call.learn(known);
    }

    pub fn ending(&self) -> Ending {
        self.call.ending()
    }

    /// Whether it was found before it was made.
    pub fn is_found_before(&self) -> bool {
        self.is_found_before
    }

    /// Whether the current request is that of a look-up, which changes nothing.
    pub fn is_looking(&self) -> bool {
        self.look.is_some()
    }

    /// The limits of this call.
    pub fn limits(&self) -> &Limits {
        &self.call.shared().limits
    }

    pub fn purpose(&self) -> &Purpose {
        self.call.purpose()
    }

    /// The request that `Send` sends.
    pub fn request(&self) -> &HttpRequest {
        self.look.as_ref().map_or(&self.call, |look| &look.machine).request()
    }

    /// When the call has to be over, once it has begun.
    pub fn deadline(&self) -> Duration {
        self.call.deadline()
    }

    /// The time that a first attempt needs: cut off before it is connected, it would only make a clear outcome unclear.
    pub fn needs(&self) -> Duration {
        let connect = self.call.shared().limits.connect;
        (connect + connect / 10).max(SHORTEST)
    }

    /// The error for a bug of ours: its meaning depends on whether anything was sent.
    pub fn internal(&self, what: &str) -> Error {
        self.call.subject().internal(what)
    }

    /// The error for an outcome that cannot be believed, or not be waited for.
    pub fn unclear(&self, why: &str) -> Error {
        self.call.subject().unclear(why)
    }

    pub fn step(&mut self, now: Duration, event: Event) -> Step {
        if self.look.is_some() {
            return self.looked(now, event);
        }
        if matches!(event, Event::Start)
            && let Some(step) = self.before_the_first_attempt(now)
        {
            return step;
        }
        self.step_alone(now, event)
    }

    fn step_alone(&mut self, now: Duration, event: Event) -> Step {
        match self.call.step(now, event) {
            Ok(Turn::Send(timeout)) => Step::Send(timeout),
            Ok(Turn::Wait(pause)) => Step::Wait(pause),
            Ok(Turn::Ended(Ok(facts))) => self.done(facts),
            Ok(Turn::Ended(Err(failure))) => self.failed(now, failure),
            Err(error) => Step::Done(Err(error)),
        }
    }

    /// A key past its 24 hours is never sent: Klarna would carry it out again.
    fn before_the_first_attempt(&mut self, now: Duration) -> Option<Step> {
        if let Some(id) = self.call.done_long_ago() {
            let mut facts = self.call.reply(self.content(id.to_owned()), None);
            facts.warnings.push(
                "an earlier call of this client made it more than 24 hours ago with this idempotency key; nothing was \
                 sent now"
                    .into(),
            );
            return Some(self.done(facts));
        }
        if self.looks_first {
            self.call.begin(now);
            let why = "the look before the call decided nothing";
            return Some(self.look(now, Reason::First, Failure::new(ErrorKind::NotSent, why)));
        }
        self.when_old(now)
    }

    /// The step of a key that is too old to be sent.
    fn when_old(&mut self, now: Duration) -> Option<Step> {
        if !self.call.is_old() {
            return None;
        }
        let why = "the idempotency key was first used more than 24 hours ago, and its outcome is not known";
        let failure = Failure::new(ErrorKind::OutcomeUnknown, why);
        self.call.begin(now);
        Some(match self.takes_matches {
            true => self.look(now, Reason::Open, failure),
            false => self.unsettled(failure),
        })
    }

    fn failed(&mut self, now: Duration, failure: Failure) -> Step {
        let meaning = self.call.meaning(&failure);
        let refusal = failure.refusal.as_ref();
        let operation = self.call.purpose().operation;
        let is_of_state = refusal.is_some_and(|refusal| operation.is_of_state(refusal.status, refusal.code()));
        match meaning {
            Meaning::EarlierUse
                if is_of_state
                    && matches!(operation.found_by, FoundBy::Reference { .. })
                    && self.call.purpose().identity.is_none() =>
            {
                self.fail(failure, &Meaning::EarlierUseWithoutReference)
            }
            Meaning::EarlierUse if is_of_state => self.look(now, Reason::EarlierUse, failure),
            Meaning::Open { .. } | Meaning::Old | Meaning::EarlierUse if self.takes_matches => {
                self.look(now, Reason::Open, failure)
            }
            _ => self.fail(failure, &meaning),
        }
    }

    /// Begins the operation's look-up, if it has one and there is time left.
    fn look(&mut self, now: Duration, reason: Reason, failure: Failure) -> Step {
        let purpose = self.call.purpose();
        let operation = match purpose.operation.found_by {
            FoundBy::Reference { explaining, .. } if purpose.identity.is_some() && reason == Reason::EarlierUse => {
                explaining
            }
            FoundBy::Reference { query, .. } if purpose.identity.is_some() => query,
            FoundBy::State(query, _) => query,
            FoundBy::Reference { .. } | FoundBy::Nothing => return self.unsettled(failure),
        };
        if now >= self.call.deadline() {
            return self.unsettled(failure);
        }
        let look = Purpose {
            operation,
            order_id: purpose.order_id.clone(),
            idempotency_key: None,
            parameters: purpose.parameters.clone(),
            identity: purpose.identity.clone(),
            warnings: Vec::new(),
        };
        let path = ids::path(&look.order_id, operation.path, |name| look.parameter(name));
        let request = operation.request(&self.call.shared().endpoint, &path, None, Vec::new());
        let machine = self.call.continued(look, request);
        self.look = Some(Look { machine, reason, failure });
        self.looked(now, Event::Start)
    }

    fn looked(&mut self, now: Duration, event: Event) -> Step {
        let Some(look) = &mut self.look else { return Step::Done(Err(self.internal("no look is under way"))) };
        let found = match look.machine.step(now, event) {
            Ok(Turn::Send(timeout)) => return Step::Send(timeout),
            Ok(Turn::Wait(pause)) => return Step::Wait(pause),
            Ok(Turn::Ended(Err(failure))) if look.reason == Reason::First => {
                // Klarna would say the same of the call, which then says it itself.
                if let Some(refusal) = &failure.refusal
                    && self.call.purpose().operation.is_settled_by(refusal.status, refusal.code())
                {
                    return self.made_after_all(now);
                }
                let why = failure.why.clone();
                let why = if why.is_empty() { "Klarna refused the look before it".to_owned() } else { why };
                return self.unsettled(Failure { kind: ErrorKind::NotSent, why, ..failure });
            }
            Ok(Turn::Ended(found)) => found.ok(),
            // A host's event out of turn shows nothing about the call. The call's own error is kept, since it names the
            // key.
            Err(_) => None,
        };
        let (reason, failure) = (look.reason, look.failure.clone());
        if reason == Reason::First {
            return self.looked_before(now, found, failure);
        }
        // Another call with the key may have begun, or ended open, meanwhile.
        let is_open = reason != Reason::EarlierUse || self.call.is_open();
        match found {
            Some(Facts { content: Content::Matches(matches), correlation_id, .. }) => {
                self.matched(matches, correlation_id.as_deref(), is_open, failure)
            }
            Some(Facts { content: Content::Document(document), correlation_id, .. }) => {
                self.shown(&document.text, correlation_id.as_deref(), is_open, failure)
            }
            _ => self.unsettled(failure),
        }
    }

    /// The step after a look before the first attempt.
    fn looked_before(&mut self, now: Duration, found: Option<Facts>, failure: Failure) -> Step {
        let Some(Facts { content: Content::Matches(mut matches), correlation_id, attempts, .. }) = found else {
            return self.unsettled(failure);
        };
        match matches.count() {
            1 => {
                self.is_found_before = true;
                let content = self.content(matches.ids.pop().unwrap_or_default());
                let mut facts = Facts { attempts, ..self.call.reply(content, correlation_id.as_deref()) };
                facts.warnings.push(
                    "it was found by its reference and amount before it was made, so nothing was made now".into(),
                );
                self.done(facts)
            }
            0 => self.made_after_all(now),
            _ => {
                let why = "the order has several with this reference and amount, so one of them may be this one";
                self.fail(Failure::new(ErrorKind::OutcomeUnknown, why), &Meaning::Open { is_agreed: false })
            }
        }
    }

    /// The first attempt after a look that found nothing.
    fn made_after_all(&mut self, now: Duration) -> Step {
        self.look = None;
        if let Some(step) = self.when_old(now) {
            return step;
        }
        if now.saturating_add(self.needs()) >= self.call.deadline() {
            return self.unsettled(Failure::new(ErrorKind::NotSent, "no time was left after the look before it"));
        }
        self.step_alone(now, Event::Start)
    }

    /// The end by the entries with the call's reference.
    fn matched(&mut self, matches: Matches, correlation_id: Option<&str>, is_open: bool, failure: Failure) -> Step {
        let count = matches.count();
        let Matches { mut ids, others, without_id, explains } = matches;
        match count {
            1 if self.takes_matches => self.found(ids.pop().unwrap_or_default(), correlation_id),
            // Only a match decides: a capture that is not listed yet may still be on its way.
            _ if is_open => self.unsettled(failure),
            // An older document may lack what an earlier call with the key made.
            0 if others.is_empty() && !explains => self.fail(failure, &Meaning::EarlierUseUnexplained),
            // If a copy of this request arrives late, Klarna refuses it for the same state of the order.
            0 if others.is_empty() => {
                self.call.settle();
                self.fail(failure, &Meaning::AsEnded)
            }
            // The key may have been used for another amount, by an order that was changed since.
            0 => self.fail(failure, &Meaning::EarlierUseFound { ids: others, amount: "another amount" }),
            _ => {
                ids.extend(std::iter::repeat_n("without an id".to_owned(), without_id));
                self.fail(failure, &Meaning::EarlierUseFound { ids, amount: "amount" })
            }
        }
    }

    /// The end by a document that shows whether the call was carried out.
    fn shown(&mut self, document: &str, correlation_id: Option<&str>, is_open: bool, failure: Failure) -> Step {
        let FoundBy::State(_, is_done) = self.call.purpose().operation.found_by else { return self.unsettled(failure) };
        // A document that was read as JSON before, and a body of ours.
        let document = serde_json::from_str(document).unwrap_or_default();
        let body = serde_json::from_slice(&self.call.request().body).unwrap_or_default();
        match is_done(&document, &body) {
            Some(true) => self.found(String::new(), correlation_id),
            Some(false) if !is_open => {
                self.call.settle();
                self.fail(Failure { is_shown_undone: true, ..failure }, &Meaning::AsEnded)
            }
            _ => self.unsettled(failure),
        }
    }

    /// The success of a call that a query found.
    fn found(&mut self, id: String, correlation_id: Option<&str>) -> Step {
        self.call.found(&id);
        let facts = self.call.reply(self.content(id), correlation_id);
        self.done(facts)
    }

    /// The content of a reply that no answer gave: what was made is known by its id.
    fn content(&self, id: String) -> Content {
        match self.call.purpose().operation.reply {
            ReplyKind::Nothing => Content::Nothing,
            _ => Content::Created(id),
        }
    }

    /// The end of a call whose look-up decided nothing.
    fn unsettled(&mut self, failure: Failure) -> Step {
        let meaning = self.call.meaning(&failure);
        self.fail(failure, &meaning)
    }

    fn done(&self, facts: Facts) -> Step {
        let operation: &'static Operation = self.call.purpose().operation;
        Step::Done(Ok(Reply { operation, facts: Arc::new(facts) }))
    }

    fn fail(&self, failure: Failure, meaning: &Meaning) -> Step {
        Step::Done(Err(self.call.subject().error(failure, meaning)))
    }
}
