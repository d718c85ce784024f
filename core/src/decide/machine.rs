//! The capture machine: what to send, what an answer means, when to retry, how long to wait,
//! when to stop. No socket, clock, random source, environment or log: they come in.
//!
//! The host drives: it calls [`Machine::step`] with an [`Event`] and does what the [`Step`]
//! says, until `Done`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::wire::answer::{Answer, ErrorBody};
use crate::wire::{Endpoint, HttpRequest};

/// One call of the API: what counts as success, what is read from the answer and what an end
/// means for its caller. Everything else is the machine's.
pub(crate) trait Task {
    /// What a success gives.
    type Output;
    /// Whether a lost attempt may have changed something. The failure of one that only reads
    /// says nothing about the money, so it is always `outcome_unknown`.
    const WRITES: bool;

    fn order_id(&self) -> &str;
    fn idempotency_key(&self) -> Option<&str>;

    /// Reads a 2xx answer, or says why it is none of this call's. A long one is read for no longer
    /// than `time`.
    fn read(&self, answer: &Answer, attempts: u32, time: Duration) -> Result<Self::Output, String>;

    /// Whether a refusal proves, after an attempt whose answer was lost, that the lost attempt
    /// did nothing either.
    fn settles(&self, status: u16, error_code: Option<&str>) -> bool;

    /// The line that tells a person what an end of `kind` means and what to do. `order` can be
    /// shown as it is; `status` is that of the last answer.
    fn message(&self, kind: ErrorKind, order: &str, why: &str, status: Option<u16>) -> String;
}

/// What the host tells an [`Operation`](crate::Operation).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The first step.
    Start,
    /// An answer whose head was complete, whatever its status.
    Answered(Answer),
    /// Nothing of the request can have left, since no connection was made (name look-up, refused,
    /// TLS handshake, proxy); why, for people.
    NotSent(String),
    /// The request may have left and no answer came (time-out, reset, a head that was cut), or it
    /// cannot be told; why, for people.
    MaybeSent(String),
    /// The pause is over.
    Waited,
}

/// What an [`Operation`](crate::Operation) tells its host.
#[derive(Debug)]
pub enum Step<T> {
    /// Send [`Operation::request`](crate::Operation::request) once, be done within this time, and
    /// tell how it went: `Answered`, `NotSent` or `MaybeSent`.
    Send(Duration),
    /// Pause, then tell [`Event::Waited`].
    Wait(Duration),
    /// The outcome; there is nothing more to do.
    Done(Result<T, Error>),
}

/// No attempt is given less, since no host's clock is finer.
const SHORTEST: Duration = Duration::from_millis(1);

/// What bounds a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub total: Duration,
    pub attempt: Duration,
    pub connect: Duration,
    pub attempts: u32,
    pub backoff: Duration,
    pub max_backoff: Duration,
}

/// What retries of all calls of a client draw on, so that an outage is not answered by a
/// storm. A bucket of tokens as in the AWS SDKs' standard mode: 500, a retry takes 5, a
/// success gives 1 back; beside that it refills by 10 in a second, two retries.
pub(crate) struct Budget(AtomicU64);

impl Budget {
    const FULL: u64 = 500;
    const RETRY: u64 = 5;
    const PER_SECOND: u64 = 10;

    pub fn new() -> Budget {
        Budget(AtomicU64::new(Budget::FULL))
    }

    // One word, time in milliseconds above 16 bits of tokens: no lock that a fork could leave
    // locked.
    fn change(&self, now: Duration, change: impl Fn(u64) -> Option<u64>) -> bool {
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX) & (u64::MAX >> 16);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
                let (since, tokens) = (word >> 16, word & 0xffff);
                let earned = now.saturating_sub(since).saturating_mul(Budget::PER_SECOND) / 1000;
                // time that earned no whole token stays to be counted
                let since = if earned == 0 { since } else { now };
                let tokens = change(tokens.saturating_add(earned).min(Budget::FULL))?;
                Some(since << 16 | tokens.min(Budget::FULL))
            })
            .is_ok()
    }

    fn take_retry(&self, now: Duration) -> bool {
        self.change(now, |tokens| tokens.checked_sub(Budget::RETRY))
    }

    fn success(&self, now: Duration) {
        self.change(now, |tokens| Some(tokens + 1));
    }
}

/// What a driver sees: a machine, or several one after the other.
pub(crate) trait Drive {
    type Output;

    /// `now`: any clock that only goes forward, the same for all calls of a client.
    fn step(&mut self, now: Duration, event: Event) -> Step<Self::Output>;

    /// What `Send` sends.
    fn request(&self) -> &HttpRequest;

    fn order_id(&self) -> &str;
    fn idempotency_key(&self) -> Option<&str>;

    /// The error for a bug of ours: what it means depends on whether anything was sent.
    fn internal(&self, what: &str) -> Error;

    /// The error for an outcome that cannot be believed, or not be waited for, from outside of
    /// the machine.
    fn unclear(&self, why: &str) -> Error;
}

/// What other calls with the same key did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Others {
    Nothing,
    /// One that ended, or is still running, may have done it.
    Unclear,
    /// One was answered with success: no refusal says that nothing was done.
    Done,
}

/// What a call that failed left behind at Klarna.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Trace {
    None,
    Refused,
    Unclear,
    /// It was answered with 201, without what was made.
    Agreed,
}

pub(crate) struct Machine<T> {
    task: T,
    request: HttpRequest,
    endpoint: Arc<Endpoint>,
    limits: Limits,
    budget: Arc<Budget>,
    random: u64,
    state: State,
    deadline: Duration,
    attempts: u32,
    /// An attempt may have reached Klarna and has not been answered.
    unclear: bool,
    /// An attempt was answered.
    reached: bool,
    /// One with 201, though it did not say what was made: no refusal says that nothing was.
    agreed: bool,
    /// What other calls with the same key did.
    others: Others,
    /// The rate limit, once it was met: from then on it is not true that nothing reached Klarna.
    limited: Option<Ending>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    New,
    Sending,
    Waiting,
    Done,
}

/// How the last attempt ended, for the error.
#[derive(Clone)]
struct Ending {
    kind: ErrorKind,
    why: String,
    answer: Option<(u16, ErrorBody, Option<String>)>,
}

/// How long to pause before the next attempt, at least.
#[derive(Clone, Copy)]
enum Pause {
    Jitter,
    /// Half of the range is certain: something else needs the time.
    Firm,
    Told(Duration),
}

impl<T: Task> Machine<T> {
    /// `seed` feeds the jitter; it need not be secret.
    pub fn new(
        task: T,
        request: HttpRequest,
        endpoint: Arc<Endpoint>,
        limits: Limits,
        budget: Arc<Budget>,
        seed: u64,
    ) -> Machine<T> {
        Machine {
            task,
            request,
            endpoint,
            limits,
            budget,
            random: seed,
            state: State::New,
            deadline: Duration::ZERO,
            attempts: 0,
            unclear: false,
            reached: false,
            agreed: false,
            others: Others::Nothing,
            limited: None,
        }
    }

    /// What other calls with the same key did so far, for whatever comes next.
    pub fn learn(&mut self, others: Others) {
        if T::WRITES {
            self.others = others;
        }
    }

    /// What this call did by itself, whatever others did.
    pub fn trace(&self) -> Trace {
        match (self.unclear, self.reached) {
            (true, _) if self.agreed => Trace::Agreed,
            (true, _) => Trace::Unclear,
            (false, true) => Trace::Refused,
            (false, false) => Trace::None,
        }
    }

    fn is_unclear(&self) -> bool {
        self.unclear || self.others != Others::Nothing
    }

    /// A machine for what follows within the same call: it begins now and ends with this one's
    /// deadline.
    pub fn continued<N: Task>(&self, task: N, request: HttpRequest) -> Machine<N> {
        Machine {
            task,
            request,
            endpoint: self.endpoint.clone(),
            limits: self.limits,
            budget: self.budget.clone(),
            random: self.random,
            state: State::New,
            deadline: self.deadline,
            attempts: 0,
            unclear: false,
            reached: false,
            agreed: false,
            others: Others::Nothing,
            limited: None,
        }
    }

    /// When the call has to be over, once it has begun.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    pub fn task(&self) -> &T {
        &self.task
    }

    fn send(&mut self, now: Duration) -> Step<T::Output> {
        self.state = State::Sending;
        self.attempts += 1;
        // a pause that took longer than told may have left nothing
        let left = self.deadline.saturating_sub(now).max(SHORTEST);
        Step::Send(self.limits.attempt.min(left))
    }

    fn answered(&mut self, now: Duration, mut answer: Answer) -> Step<T::Output> {
        let status = answer.status;
        self.reached = true;
        // An id that is one of our credentials is none, and would be logged and stored as one.
        answer.headers.retain(|(_, value)| !self.endpoint.is_echo(value));
        let ending = |kind, why: String, answer: &Answer| Ending {
            kind,
            why,
            answer: Some((status, answer.error(), answer.correlation_id().map(str::to_owned))),
        };
        let why = match status {
            200..=299 => match self.task.read(&answer, self.attempts, self.deadline.saturating_sub(now)) {
                Ok(output) => {
                    self.budget.success(now);
                    self.state = State::Done;
                    return Step::Done(Ok(output));
                }
                Err(why) => {
                    // any other of them may be a page
                    self.agreed |= T::WRITES && status == 201;
                    format!("Klarna answered {status} {why}")
                }
            },
            // not executed, so it leaves the outcome as clear or unclear as it was
            429 => {
                let pause = answer.retry_after().map_or(Pause::Jitter, Pause::Told);
                let ending = ending(ErrorKind::Rejected, String::new(), &answer);
                self.limited = Some(ending.clone());
                return self.retry(now, ending, pause);
            }
            408 | 409 | 425 | 500..=599 => format!("Klarna answered {status}, which leaves open what was done"),
            400..=499 => {
                let ending = ending(ErrorKind::Rejected, String::new(), &answer);
                let code = ending.answer.as_ref().and_then(|(_, body, _)| body.error_code.as_deref());
                if !self.agreed && self.others != Others::Done && self.task.settles(status, code) {
                    (self.unclear, self.others) = (false, Others::Nothing);
                }
                return self.fail(ending, None);
            }
            300..=399 => format!("Klarna's address answered with a redirect ({status}), which is never followed"),
            _ => format!("Klarna's address answered with status {status}, which means nothing here"),
        };
        self.unclear = T::WRITES;
        let pause = match (answer.retry_after(), status) {
            (Some(told), _) => Pause::Told(told),
            // the same key may be in flight elsewhere
            (None, 409) => Pause::Firm,
            (None, _) => Pause::Jitter,
        };
        self.retry(now, ending(ErrorKind::OutcomeUnknown, why, &answer), pause)
    }

    /// Begins a pause before another attempt, or ends the call.
    fn retry(&mut self, now: Duration, ending: Ending, pause: Pause) -> Step<T::Output> {
        if self.attempts >= self.limits.attempts {
            return self.fail(ending, None);
        }
        let wait = self.wait(pause);
        // As long as nothing can have been sent, an attempt that might be cut off while it
        // connects would only make a clear outcome unclear.
        let connecting =
            if self.is_unclear() { Duration::ZERO } else { self.limits.connect + self.limits.connect / 10 };
        let needed = connecting.max(SHORTEST);
        if now.saturating_add(wait).saturating_add(needed) >= self.deadline {
            return self.fail(ending, Some("no time was left for another attempt"));
        }
        if !self.budget.take_retry(now) {
            return self.fail(ending, Some("the client's budget for retries is used up for the moment"));
        }
        self.state = State::Waiting;
        Step::Wait(wait)
    }

    fn wait(&mut self, pause: Pause) -> Duration {
        let doubled = 1_u32.checked_shl(self.attempts - 1).unwrap_or(u32::MAX);
        let range = self.limits.backoff.saturating_mul(doubled).min(self.limits.max_backoff);
        let jitter = range.mul_f64(self.fraction());
        match pause {
            Pause::Jitter => jitter,
            Pause::Firm => range / 2 + jitter / 2,
            Pause::Told(told) => told.saturating_add(jitter),
        }
    }

    /// A number from 0 up to 1 (SplitMix64).
    fn fraction(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn fail(&mut self, mut ending: Ending, stopped: Option<&str>) -> Step<T::Output> {
        self.state = State::Done;
        if ending.kind == ErrorKind::NotSent
            && !self.is_unclear()
            && let Some(limited) = self.limited.take()
        {
            ending = limited;
        }
        // A definite "no" after an unclear attempt is not a definite "no".
        let kind = if self.is_unclear() || !T::WRITES { ErrorKind::OutcomeUnknown } else { ending.kind };
        let order = self.endpoint.scrub(self.task.order_id(), 255);
        let status = ending.answer.as_ref().map(|(status, ..)| *status);
        let mut body = ErrorBody::default();
        let mut correlation_id = None;
        if let Some((_, error, header)) = ending.answer {
            correlation_id = header.or(error.correlation_id.clone().filter(|id| crate::wire::answer::is_id(id)));
            body = error;
        }
        let scrub = |text: &String, max| self.endpoint.scrub(text, max);
        let error_code = body.error_code.as_ref().map(|code| scrub(code, 100));
        let error_messages: Vec<String> = body.error_messages.iter().map(|text| scrub(text, 500)).collect();
        let correlation_id = correlation_id.as_ref().map(|id| scrub(id, 255));

        let mut why = self.endpoint.scrub(&ending.why, 500);
        if ending.kind == ErrorKind::Rejected {
            why = format!("Klarna refused it with {}", status.unwrap_or_default());
            match &error_code {
                Some(code) => why.push_str(&format!(" {code}")),
                None => why.push_str(" and no error code"),
            }
        }
        if let (Some(code), true) = (&error_code, ending.kind != ErrorKind::Rejected) {
            why.push_str(&format!(" ({code})"));
        }
        if let Some(text) = error_messages.first() {
            why.push_str(&format!(": {}", self.endpoint.scrub(text, 200)));
        }
        if self.others == Others::Done {
            why.push_str("; another call with this key was answered with success");
        }
        if let Some(stopped) = stopped {
            why.push_str(&format!("; {stopped}"));
        }
        let retryable = match ending.kind {
            ErrorKind::Rejected => status == Some(429) || (self.is_unclear() && T::WRITES),
            _ => true,
        };
        let message = self.task.message(kind, &order, &why, status);
        Step::Done(Err(Error::new(kind, message).with(|fields| {
            fields.http_status = status;
            fields.error_code = error_code;
            fields.error_messages = error_messages;
            fields.correlation_id = correlation_id;
            fields.retryable = retryable;
            self.identify(fields);
        })))
    }

    fn identify(&self, fields: &mut crate::error::Fields) {
        fields.order_id = Some(self.task.order_id().to_owned());
        fields.idempotency_key = self.task.idempotency_key().map(str::to_owned);
        fields.attempts = self.attempts;
    }
}

impl<T: Task> Drive for Machine<T> {
    type Output = T::Output;

    fn step(&mut self, now: Duration, event: Event) -> Step<T::Output> {
        match (self.state, event) {
            (State::New, Event::Start) => {
                // one that continues a call has its deadline already
                if self.deadline.is_zero() {
                    self.deadline = now.saturating_add(self.limits.total);
                }
                self.send(now)
            }
            (State::Waiting, Event::Waited) => self.send(now),
            (State::Sending, Event::Answered(answer)) => self.answered(now, answer),
            (State::Sending, Event::NotSent(why)) => {
                self.retry(now, Ending { kind: ErrorKind::NotSent, why, answer: None }, Pause::Jitter)
            }
            (State::Sending, Event::MaybeSent(why)) => {
                self.unclear = T::WRITES;
                self.retry(now, Ending { kind: ErrorKind::OutcomeUnknown, why, answer: None }, Pause::Jitter)
            }
            _ => {
                self.state = State::Done;
                Step::Done(Err(self.internal("the driver told the machine something out of turn")))
            }
        }
    }

    fn request(&self) -> &HttpRequest {
        &self.request
    }

    fn order_id(&self) -> &str {
        self.task.order_id()
    }

    fn idempotency_key(&self) -> Option<&str> {
        self.task.idempotency_key()
    }

    fn unclear(&self, why: &str) -> Error {
        let order = self.endpoint.scrub(self.task.order_id(), 255);
        let message = self.task.message(ErrorKind::OutcomeUnknown, &order, why, None);
        Error::new(ErrorKind::OutcomeUnknown, message).with(|fields| {
            self.identify(fields);
            // a call that is not waited for may not have begun one yet
            fields.attempts = fields.attempts.max(1);
        })
    }

    fn internal(&self, what: &str) -> Error {
        let consequence = match self.attempts {
            0 => "nothing was sent",
            _ if T::WRITES => {
                "a request was begun, so treat the outcome as unknown and call again with the same idempotency key"
            }
            _ => "nothing was changed",
        };
        let message = format!("takings failed inside ({what}); {consequence}; please report it");
        Error::new(ErrorKind::Internal, message).with(|fields| {
            fields.retryable = self.attempts > 0;
            self.identify(fields);
        })
    }
}

#[cfg(test)]
mod tests;
