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
use crate::decide::retry::Limits;
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
}

impl Settlement {
    pub fn new(call: Machine, takes_matches: bool) -> Settlement {
        Settlement { call, takes_matches, look: None }
    }

    pub fn learn(&mut self, known: KeyState) {
        self.call.learn(known);
    }

    pub fn ending(&self) -> Ending {
        self.call.ending()
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
                    && matches!(operation.found_by, FoundBy::Reference(_))
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
            FoundBy::Reference(query) if purpose.identity.is_some() => query,
            FoundBy::State(query, _) => query,
            FoundBy::Reference(_) | FoundBy::Nothing => return self.unsettled(failure),
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
            Ok(Turn::Ended(found)) => found.ok(),
            // A host's event out of turn shows nothing about the call. The call's own error is kept, since it names the
            // key.
            Err(_) => None,
        };
        let (reason, failure) = (look.reason, look.failure.clone());
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

    /// The end by the entries with the call's reference.
    fn matched(&mut self, matches: Matches, correlation_id: Option<&str>, is_open: bool, failure: Failure) -> Step {
        let count = matches.count();
        let Matches { mut ids, others, without_id, explains } = matches;
        match count {
            1 if self.takes_matches => self.found(ids.pop().unwrap_or_default(), correlation_id),
            // Only a match decides: a capture that is not listed yet may still be on its way.
            _ if is_open => self.unsettled(failure),
            // If a copy of this request arrives late, Klarna refuses it for the same state of the order.
            0 if others.is_empty() && !explains => self.unsettled(failure),
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
