//! The attempts of one request: what to send, what an answer means, when to try again, when to stop. No socket, clock,
//! random source, environment or log: they come in.

use std::sync::Arc;
use std::time::Duration;

use crate::api::ids::created_id;
use crate::api::operation::{Operation, ReplyKind};
use crate::api::reply::{Content, Facts};
use crate::decide::doubt::{Doubt, Ending, FirstUse};
use crate::decide::ending::{Failure, Meaning, Refusal, Subject};
use crate::decide::find::{self, Identity};
use crate::decide::memory::KeyState;
use crate::decide::retry::{Budget, Limits, Pause, Pauses, SHORTEST};
use crate::error::{Error, ErrorKind};
use crate::wire::answer::Answer;
use crate::wire::stranger::Stranger;
use crate::wire::{Endpoint, HttpRequest};

/// An event that the host reports to a [`Call`](crate::Call).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The first step.
    Start,
    /// An answer whose head was complete, whatever its status.
    Answered(Answer),
    /// No connection was made (name look-up, refused, TLS handshake, proxy), so nothing of the request
    /// can have left. The text says why, for people.
    NotSent(String),
    /// The request may have left and no answer came (time-out, reset, a head that was cut), or the
    /// HTTP client does not say. The text says why, for people.
    MaybeSent(String),
    /// The pause is over.
    Waited,
}

/// The bounds of a client's calls, and the state that they share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub endpoint: Arc<Endpoint>,
    pub limits: Limits,
    pub budget: Arc<Budget>,
}

/// The purpose of a call.
#[derive(Clone)]
pub(crate) struct Purpose {
    pub operation: &'static Operation,
    pub order_id: String,
    pub idempotency_key: Option<String>,
    /// The ids in its path, by name.
    pub parameters: Vec<(&'static str, String)>,
    /// The reference and amount that a query searches for, or by which it would find this call.
    pub identity: Option<Identity>,
    pub warnings: Vec<String>,
}

impl Purpose {
    /// An id that stands in the path.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let own = self.parameters.iter().find(|(known, _)| *known == name).map(|(_, id)| id.as_str());
        own.or_else(|| (name == "order_id").then_some(&self.order_id))
    }
}

/// The next thing to do.
pub(crate) enum Turn {
    /// Send the request, within this time.
    Send(Duration),
    Wait(Duration),
    Ended(Result<Facts, Failure>),
}

pub(crate) struct Machine {
    purpose: Purpose,
    request: HttpRequest,
    shared: Shared,
    pauses: Pauses,
    state: State,
    deadline: Duration,
    attempts: u32,
    /// How this call ends by its own attempts so far, and by the look-up after them.
    own: Ending,
    /// The memory's knowledge of the key from other calls.
    known: KeyState,
    /// The count of open ends with the key when the last attempt was sent.
    opened_before: u32,
    /// The failure of the last attempt, during the pause that follows.
    last: Option<Failure>,
    /// The refusal by a rate limit, once there was one. Its end must not say that nothing reached Klarna.
    limited: Option<Failure>,
}

const TOO_OLD: &str = "the 24 hours of its key are over";

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    New,
    Sending,
    Waiting,
    Ended,
}

impl Machine {
    /// `seed` feeds the jitter; it need not be secret.
    pub fn new(purpose: Purpose, request: HttpRequest, shared: Shared, seed: u64) -> Machine {
        Machine {
            purpose,
            request,
            shared,
            pauses: Pauses::new(seed),
            state: State::New,
            deadline: Duration::ZERO,
            attempts: 0,
            own: Ending::Left(Doubt::Untouched),
            known: KeyState::FRESH,
            opened_before: 0,
            last: None,
            limited: None,
        }
    }

    /// A machine for a further request within the same call. The new machine keeps the deadline of this one.
    pub fn continued(&self, purpose: Purpose, request: HttpRequest) -> Machine {
        let mut next = Machine::new(purpose, request, self.shared.clone(), 0);
        (next.pauses, next.deadline) = (self.pauses, self.deadline);
        next
    }

    /// Takes over what other calls with the same key did so far.
    pub fn learn(&mut self, known: KeyState) {
        self.known = known;
    }

    /// The ending to note in the memory, for other calls with the same key.
    pub fn ending(&self) -> Ending {
        self.own.clone()
    }

    /// Whether it is proven, for every call with the key so far, that nothing was done.
    fn is_settled(&self) -> bool {
        self.own == Ending::Settled
    }

    /// Notes a success that a look-up found.
    pub fn found(&mut self, id: &str) {
        self.note(Ending::Left(Doubt::Done(id.into())));
    }

    /// Notes that a look-up found nothing made by a call with the key.
    pub fn settle(&mut self) {
        self.note(Ending::Settled);
    }

    /// Whether this call, or another with its key, may have been carried out.
    pub fn is_open(&self) -> bool {
        let others = || self.purpose.operation.writes() && !self.is_settled() && self.known.is_open();
        self.own.is_open() || others()
    }

    /// Whether the key must not be sent any more.
    pub fn is_old(&self) -> bool {
        self.known.is_old || (self.known.is_past && self.own.is_open())
    }

    /// The id that the key is known to have made, where its time at Klarna is over.
    pub fn done_long_ago(&self) -> Option<&str> {
        match &self.known.doubt {
            Doubt::Done(id) if self.known.is_past => Some(id),
            _ => None,
        }
    }

    /// The meaning of a failure with everything that is known.
    pub fn meaning(&self, failure: &Failure) -> Meaning {
        if !self.purpose.operation.writes() {
            Meaning::AsEnded
        } else if self.is_old() && !self.is_settled() {
            Meaning::Old
        } else if self.is_open() {
            Meaning::Open { is_agreed: self.known.doubt >= Doubt::Agreed }
        } else if failure.kind == ErrorKind::Rejected && !self.is_settled() && self.known.first_use == FirstUse::Unknown
        {
            Meaning::EarlierUse
        } else {
            Meaning::AsEnded
        }
    }

    /// When the call has to be over, once it has begun.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    pub fn purpose(&self) -> &Purpose {
        &self.purpose
    }

    pub fn request(&self) -> &HttpRequest {
        &self.request
    }

    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    pub fn subject(&self) -> Subject<'_> {
        Subject {
            operation: self.purpose.operation,
            order_id: &self.purpose.order_id,
            idempotency_key: self.purpose.idempotency_key.as_deref(),
            attempts: self.attempts,
            endpoint: &self.shared.endpoint,
        }
    }

    /// A reply with `content`, after the attempts so far.
    pub fn reply(&self, content: Content, correlation_id: Option<&str>) -> Facts {
        let mut warnings = self.purpose.warnings.clone();
        if let Content::Document(document) = &content {
            warnings.extend_from_slice(&document.warnings);
        }
        Facts {
            content,
            order_id: self.purpose.order_id.clone(),
            idempotency_key: self.purpose.idempotency_key.clone(),
            correlation_id: correlation_id.map(str::to_owned),
            attempts: self.attempts,
            attempt_log: Vec::new(),
            warnings,
            answered: None,
        }
    }

    /// Ends by the deadline of an earlier request of the same call.
    pub fn until(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// Begins the call's time, if it has not begun.
    pub fn begin(&mut self, now: Duration) {
        if self.deadline.is_zero() {
            self.deadline = now.saturating_add(self.shared.limits.total);
        }
    }

    /// Takes an event. `now` is any clock that only goes forward, the same for all calls of a client. An error is a bug
    /// of the host's or of ours.
    pub fn step(&mut self, now: Duration, event: Event) -> Result<Turn, Error> {
        match (self.state, event) {
            (State::New, Event::Start) => {
                self.begin(now);
                Ok(self.send(now))
            }
            (State::Waiting, Event::Waited) => match self.last.take() {
                Some(failure) if self.is_old() => Ok(self.fail(failure, Some(TOO_OLD))),
                _ => Ok(self.send(now)),
            },
            (State::Sending, Event::Answered(answer)) => Ok(self.answered(now, answer)),
            (State::Sending, Event::NotSent(why)) => {
                Ok(self.retry(now, Failure::new(ErrorKind::NotSent, why), Pause::Jitter))
            }
            (State::Sending, Event::MaybeSent(why)) => {
                self.note(Ending::Left(Doubt::Unclear));
                Ok(self.retry(now, Failure::new(ErrorKind::OutcomeUnknown, why), Pause::Jitter))
            }
            _ => {
                self.state = State::Ended;
                Err(self.subject().internal("an event was reported out of turn"))
            }
        }
    }

    fn note(&mut self, ending: Ending) {
        if self.purpose.operation.writes() {
            self.own = self.own.clone().then(ending);
        }
    }

    fn send(&mut self, now: Duration) -> Turn {
        self.state = State::Sending;
        self.attempts += 1;
        self.opened_before = self.known.opened;
        // A pause may last longer than asked for and leave no time.
        let left = self.deadline.saturating_sub(now).max(SHORTEST);
        Turn::Send(self.shared.limits.attempt.min(left))
    }

    fn answered(&mut self, now: Duration, mut answer: Answer) -> Turn {
        let status = answer.status;
        // A server may echo one of our credentials in the place of an id. Such an id would be logged and stored.
        answer.headers.retain(|(_, value)| !self.shared.endpoint.is_echo(value));
        let why = match status {
            200..=299 => match self.read(&answer) {
                Ok(content) => {
                    self.note(Ending::Left(Doubt::Done(match &content {
                        Content::Created(id) => id.as_str().into(),
                        _ => "".into(),
                    })));
                    self.shared.budget.success(now);
                    self.state = State::Ended;
                    let answered = answer.date();
                    return Turn::Ended(Ok(Facts { answered, ..self.reply(content, answer.correlation_id()) }));
                }
                Err(why) => {
                    // Any other success may be a gateway's web page.
                    self.note(Ending::Left(if status == 201 { Doubt::Agreed } else { Doubt::Unclear }));
                    let is_page = Stranger::of(&answer).is_some_and(|sender| sender.is_page);
                    let whose = if is_page { "Klarna's address" } else { "Klarna" };
                    format!("{whose} answered {status} {why}")
                }
            },
            // A limited request is not executed, so the outcome stays as clear or unclear as it was.
            429 => {
                self.note(Ending::Left(Doubt::Refused));
                let pause = answer.retry_after().map_or(Pause::Jitter, Pause::Asked);
                let failure = Failure::refused(Refusal::with_sender(&answer));
                self.limited = Some(failure.clone());
                return self.retry(now, failure, pause);
            }
            408 | 409 | 425 | 500..=599 => {
                let whose = if answer.error().error_code.is_some() { "Klarna" } else { "Klarna's address" };
                format!("{whose} answered {status}, which leaves open what was done")
            }
            400..=499 => return self.refused(Refusal::with_sender(&answer)),
            300..=399 => format!("Klarna's address answered with a redirect ({status}), which is never followed"),
            _ => format!("Klarna's address answered with status {status}, which means nothing here"),
        };
        self.note(Ending::Left(Doubt::Unclear));
        let pause = match (answer.retry_after(), status) {
            (Some(asked), _) => Pause::Asked(asked),
            (None, 409) => Pause::Firm,
            (None, _) => Pause::Jitter,
        };
        let refusal = Some(Refusal::with_sender(&answer));
        self.retry(now, Failure { refusal, ..Failure::new(ErrorKind::OutcomeUnknown, why) }, pause)
    }

    /// Reads an answer of success, or says why it is none of this call's.
    fn read(&self, answer: &Answer) -> Result<Content, String> {
        let Purpose { operation, order_id, .. } = &self.purpose;
        let info = || operation.face.document.ok_or("which is no document");
        match operation.reply {
            ReplyKind::Created { header, collection } => {
                created_id(answer, order_id, header, collection).map(Content::Created)
            }
            ReplyKind::Nothing if answer.status == 204 => Ok(Content::Nothing),
            ReplyKind::Nothing => Err("where 204 is the only success".into()),
            // A part of a document (206) would look like a whole one.
            ReplyKind::Document { .. } | ReplyKind::List | ReplyKind::Matches(_) if answer.status != 200 => {
                Err("which is not how a document is answered".into())
            }
            // A cut document could be read as far as it came, but that takes time that the call may not have.
            ReplyKind::Document { .. } | ReplyKind::List | ReplyKind::Matches(_) if answer.is_cut => {
                Err("with a document that broke off".into())
            }
            ReplyKind::Document { id } => {
                let own = id.and_then(|id| Some((id, self.purpose.parameter(id)?)));
                find::object(&answer.body, info()?, own).map(Content::Document)
            }
            ReplyKind::List => find::list(&answer.body, info()?).map(Content::Document),
            ReplyKind::Matches(search) => {
                let identity = self.purpose.identity.as_ref().ok_or("though nothing was searched for")?;
                let is_believed = |id: &str| !self.shared.endpoint.is_echo(id.as_bytes());
                let own = Some(("order_id", order_id.as_str()));
                find::in_list(&answer.body, identity, search, own, is_believed).map(Content::Matches)
            }
        }
    }

    /// The end by Klarna's refusal.
    fn refused(&mut self, refusal: Refusal) -> Turn {
        let speaks_of_the_bytes = self.purpose.operation.is_settled_by(refusal.status, refusal.code());
        // Another call with the key may have met another answer: one that runs, or ended open since this attempt left.
        let is_alone = !self.known.running && self.known.opened == self.opened_before;
        let is_settled = speaks_of_the_bytes && is_alone && self.known.doubt <= Doubt::Unclear;
        self.note(if is_settled { Ending::Settled } else { Ending::Left(Doubt::Refused) });
        self.fail(Failure::refused(refusal), None)
    }

    /// Begins a pause before another attempt, or ends the call.
    fn retry(&mut self, now: Duration, failure: Failure, pause: Pause) -> Turn {
        let limits = self.shared.limits;
        if self.attempts >= limits.attempts {
            return self.fail(failure, None);
        }
        let wait = self.pauses.draw(&limits, self.attempts, pause);
        // As long as nothing can have been sent, an attempt needs time to connect. Cut off before that, the attempt
        // would only make a clear outcome unclear.
        let connecting = if self.is_open() { Duration::ZERO } else { limits.connect + limits.connect / 10 };
        let needed = connecting.max(SHORTEST);
        if now.saturating_add(wait).saturating_add(needed) >= self.deadline {
            return self.fail(failure, Some("no time was left for another attempt"));
        }
        if self.is_old() {
            return self.fail(failure, Some(TOO_OLD));
        }
        if !self.shared.budget.take_retry(now) {
            return self.fail(failure, Some("the client's budget for retries is used up for the moment"));
        }
        self.state = State::Waiting;
        self.last = Some(failure);
        Turn::Wait(wait)
    }

    fn fail(&mut self, mut failure: Failure, stopped: Option<&'static str>) -> Turn {
        self.state = State::Ended;
        if failure.kind == ErrorKind::NotSent
            && !self.is_open()
            && let Some(limited) = self.limited.take()
        {
            failure = limited;
        }
        failure.stopped = stopped;
        Turn::Ended(Err(failure))
    }
}
