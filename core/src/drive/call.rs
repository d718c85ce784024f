//! A call in flight: takings decides, and the host sends and waits.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::api::operation::{Reply, ReplyKind};
use crate::api::options::Options;
use crate::api::reply::Content;
use crate::decide::doubt::{Doubt, Ending};
use crate::decide::ending::Refusal;
use crate::decide::machine::Event;
use crate::decide::memory::MatchedTo;
use crate::decide::plan::{Course, Next, Part};
use crate::decide::settle::{Settlement, Step};
use crate::drive::log;
use crate::drive::session::{KeyUse, PerProcess, Session};
use crate::error::{Error, ErrorKind};
use crate::record::{Attempt, Noted};
use crate::wire::{Endpoint, HttpRequest};

/// A call that has been checked and has its key, ready to be sent:
/// a capture ([`Client::prepare`](crate::Client::prepare)), or any operation by its name
/// ([`Client::prepare_call`](crate::Client::prepare_call)).
///
/// [`send`](Call::send) sends it over the client's own connections and waits. A host with
/// an event loop or an HTTP client of its own sends it instead: it feeds [`step`](Call::step)
/// with events and does what the returned step says, until [`Step::Done`]. takings starts no
/// thread and calls nothing back for that. Retries, waits, the deadline and the meaning of each
/// answer stay with takings.
///
/// ```
/// use takings::{Answer, Capture, CaptureRequest, Client, Config, Credentials, Event, HttpRequest, Region, Step};
///
/// /// An HTTP client that follows no redirect, retries nothing and checks certificates.
/// fn exchange(request: &HttpRequest) -> Event {
///     assert_eq!(request.method(), "POST");
///     Event::Answered(Answer::new(201, [("Capture-Id", "4ba29b50-be7b-44f5-a492-113e6a865e22")], Vec::new()))
/// }
///
/// let client = Client::new(Config::playground(Region::Eu, Credentials::basic("PK0000_0a1b2c", "secret")))?;
/// let mut call = client.prepare("f3392f8b-6116-4073-ab96-e330819e2c07", &CaptureRequest::new(6000), None)?;
/// let mut step = call.step(Event::Start);
/// let result = loop {
///     step = match step {
///         Step::Send(_timeout) => {
///             let event = exchange(call.request());
///             call.step(event)
///         }
///         Step::Wait(pause) => {
///             std::thread::sleep(pause);
///             call.step(Event::Waited)
///         }
///         Step::Done(result) => break result,
///     }
/// };
/// let capture = Capture::try_from(result?)?;
/// assert_eq!(capture.capture_id(), "4ba29b50-be7b-44f5-a492-113e6a865e22");
/// # Ok::<(), takings::Error>(())
/// ```
///
/// # Duties of the host
///
/// * Send [`request`](Call::request) as it is: method, URL, headers and body, once for each
///   [`Step::Send`], and be done within its time-out. No redirect is followed and nothing is sent
///   again behind takings' back.
/// * Report [`Event::NotSent`] only where nothing of the request can have left: no connection was
///   made. When in doubt it is [`Event::MaybeSent`].
/// * After a time-out, an error, or bytes beyond an answer the connection is closed, so that a
///   late answer is not taken for the next call's.
///
/// Dropping a call before `Done` gives it up. A request that was sent may still be carried out, and
/// the key stays safe to use again. A call can be moved between threads. After a fork it goes on in one of the two
/// processes, and is dropped in the other.
pub struct Call {
    session: Arc<Session>,
    /// The process that prepared it.
    process: u32,
    settlement: Settlement,
    /// The use of its key; absent for a call that only reads.
    key_use: Option<KeyUse>,
    /// When the running attempt began, by both clocks, and how long it may take.
    sending: Option<(SystemTime, Duration, Duration)>,
    attempt_log: Vec<Attempt>,
    /// The end, for a host that asks again.
    ended: Option<Result<Reply, Error>>,
    /// The plan of a call that is made of several, and the limits of each.
    course: Option<(Box<Course>, Options)>,
    begin: Begin,
}

/// Makes a request of a call that follows a plan.
pub(crate) type Begin =
    fn(&Arc<Session>, Options, &PerProcess, &str, Part) -> Result<(Settlement, Option<KeyUse>), Error>;

impl Call {
    pub(crate) fn new(
        session: Arc<Session>,
        own: &PerProcess,
        settlement: Settlement,
        key_use: Option<KeyUse>,
        course: Option<(Box<Course>, Options)>,
        begin: Begin,
    ) -> Call {
        let process = own.process();
        Call {
            session,
            process,
            settlement,
            key_use,
            sending: None,
            attempt_log: Vec::new(),
            ended: None,
            course,
            begin,
        }
    }

    /// Says that nobody has sent this call's key before: no other process, no earlier run of this one, no earlier call.
    /// A refusal then means that nothing was captured. A key that takings made needs no such statement.
    #[must_use]
    pub fn first_use(mut self) -> Call {
        self.note_first_use(None);
        self
    }

    /// Says when this call's key was sent first. Past Klarna's 24 hours nothing is sent, since Klarna would carry it
    /// out again; the call then ends as `outcome_unknown`, or looks where the setting `reconcile` lets it.
    #[must_use]
    pub fn first_used(mut self, time: SystemTime) -> Call {
        self.note_first_use(Some(SystemTime::now().duration_since(time).unwrap_or_default()));
        self
    }

    /// Says that an earlier call with this key may have been carried out: in another process, on another host, or in this
    /// program before a crash. The call then ends as `rejected` only if Klarna refuses the bytes themselves, which were
    /// the same then. Any other refusal, and a request that was not sent, is `outcome_unknown`.
    ///
    /// For a program that keeps its own account of calls. It has to keep the key's 24 hours as well (see
    /// [`first_used`](Call::first_used)).
    #[must_use]
    pub fn after_unclear(mut self) -> Call {
        if let Some(key_use) = &mut self.key_use {
            key_use.after_unclear();
        }
        self
    }

    fn note_first_use(&mut self, age: Option<Duration>) {
        if let Some(key_use) = &mut self.key_use {
            key_use.first_use(&self.session, age);
        }
    }

    /// The name of its operation, such as `capture`.
    pub fn operation(&self) -> &'static str {
        let own = self.settlement.purpose().operation;
        self.course.as_ref().map_or(own, |(course, _)| course.operation()).name
    }

    /// The order it is for.
    pub fn order_id(&self) -> &str {
        &self.settlement.purpose().order_id
    }

    /// For bindings: the order id as a log may show it.
    #[doc(hidden)]
    pub fn shown_order_id(&self) -> String {
        self.endpoint().scrub(self.order_id(), 255)
    }

    /// The key it is sent with, given or made; none for a call that changes nothing.
    pub fn idempotency_key(&self) -> Option<&str> {
        match &self.course {
            Some((course, _)) => course.key().or(self.settlement.purpose().idempotency_key.as_deref()),
            None => self.settlement.purpose().idempotency_key.as_deref(),
        }
    }

    /// The request that [`Step::Send`] asks to send. With a query during the call the request changes, so read it for
    /// each `Send`.
    pub fn request(&self) -> &HttpRequest {
        self.settlement.request()
    }

    /// How long a connection may take to be made, within the time of [`Step::Send`].
    pub fn connect_timeout(&self) -> Duration {
        self.settlement.limits().connect
    }

    /// The rest of the time of the last [`Step::Send`], for a host that reads an answer piece by
    /// piece: a server may take a while for each. Zero while no request is being sent.
    pub fn time_left(&self) -> Duration {
        self.sending.map_or(Duration::ZERO, |(_, since, timeout)| (since + timeout).saturating_sub(self.session.now()))
    }

    /// The requests that ended so far, in order.
    pub fn attempt_log(&self) -> &[Attempt] {
        &self.attempt_log
    }

    /// The error for a caller that stops waiting (Ctrl-C, a cancelled task) while the call may go
    /// on elsewhere: `outcome_unknown`, with the key to ask again with.
    pub fn abandoned(&self) -> Error {
        let error = self.settlement.unclear("the wait for the answer was interrupted");
        let Some((course, _)) = &self.course else { return error };
        let (key, attempts) = (self.idempotency_key().map(str::to_owned), self.attempt_log.len());
        let is_write = self.settlement.purpose().operation.writes();
        let error = if is_write { course.said(error) } else { course.abandoned(error) };
        error.with(|fields| {
            fields.idempotency_key = key;
            fields.attempts = fields.attempts.max(u32::try_from(attempts).unwrap_or(u32::MAX));
        })
    }

    /// The outcome of a call that is stepped: after [`Step::Done`] its result, before it the error of
    /// [`abandoned`](Call::abandoned).
    ///
    /// # Errors
    ///
    /// Those of the call.
    pub fn result(&self) -> Result<Reply, Error> {
        self.ended.clone().unwrap_or_else(|| Err(self.abandoned()))
    }

    /// For bindings: the error for a host that asks a call for a result that it does not have.
    #[doc(hidden)]
    pub fn misused(&self, what: &str) -> Error {
        self.settlement.internal(what)
    }

    /// Takes an event and gives the next step. The first event is [`Event::Start`]. After [`Step::Done`] every event
    /// gives the outcome again.
    ///
    /// An event that does not fit the last step ends the call as `internal`: after a request was
    /// begun the outcome is then unknown.
    pub fn step(&mut self, event: Event) -> Step {
        if let Some(ended) = &self.ended {
            return Step::Done(ended.clone());
        }
        let session = self.session.clone();
        let step = self.advance(session.own(), event);
        if let Step::Done(result) = &step {
            self.ended = Some(result.clone());
        }
        step
    }

    /// As [`step`](Call::step), without keeping the end.
    pub(crate) fn advance(&mut self, own: &PerProcess, mut event: Event) -> Step {
        let now = self.session.now();
        match &mut event {
            Event::Answered(answer) => match if answer.is_checked { None } else { answer.nonsense() } {
                Some(what) => event = Event::MaybeSent(format!("the answer's head makes no sense: {what}")),
                None => {
                    answer.body.truncate(self.settlement.request().most_answer.of(answer.status));
                    answer.received = Some(SystemTime::now());
                }
            },
            Event::NotSent(why) | Event::MaybeSent(why) if why.is_empty() => {
                *why = "the host's HTTP client gave no reason".into();
            }
            _ => {}
        }
        if let Some((started, since, _)) = self.sending.take() {
            let request = self.settlement.request();
            let sent = format!("{} {}", request.method, request.url);
            let noted = noted(&event, self.endpoint(), started, sent, now.saturating_sub(since));
            self.attempt_log.push(Attempt(noted));
        }
        let step = catch_unwind(AssertUnwindSafe(|| self.decided(own, now, event)))
            .unwrap_or_else(|_| Step::Done(Err(self.broken("a panic was caught"))));
        match step {
            Step::Send(timeout) => {
                self.sending = Some((SystemTime::now(), now, timeout));
                Step::Send(timeout)
            }
            Step::Wait(pause) => {
                if let Some(attempt) = self.attempt_log.last_mut() {
                    attempt.0.wait = Some(pause);
                }
                if let Some(attempt) = self.attempt_log.last() {
                    log::retry(|| self.shown_order_id(), self.idempotency_key(), self.attempt_log.len(), attempt);
                }
                Step::Wait(pause)
            }
            Step::Done(result) => Step::Done(self.finished(result)),
        }
    }

    /// The error for a bug of ours, by all that was sent.
    fn broken(&self, what: &str) -> Error {
        let error = self.settlement.internal(what);
        match &self.course {
            Some((course, _)) if !self.settlement.purpose().operation.writes() => course.internal(error),
            _ => error,
        }
    }

    /// The decision, and where it ends a part of a plan, that of the next part.
    fn decided(&mut self, own: &PerProcess, now: Duration, event: Event) -> Step {
        let mut step = self.decided_alone(own, now, event);
        while let Step::Done(result) = step {
            let Some((course, options)) = &mut self.course else { return Step::Done(result) };
            let part = match course.next(result) {
                Next::End(result) => return Step::Done(result),
                Next::Call(part) => part,
            };
            let deadline = self.settlement.deadline();
            let begun = if now.saturating_add(self.settlement.needs()) >= deadline {
                let why = format!("no time was left to send it; nothing was {}", course.operation().nouns.done);
                Err(Error::new(ErrorKind::NotSent, why))
            } else {
                (self.begin)(&self.session, *options, own, self.settlement.purpose().order_id.as_str(), part)
            };
            step = match begun {
                Ok((settlement, key_use)) => {
                    (self.settlement, self.key_use) = (settlement.until(deadline), key_use);
                    self.decided_alone(own, now, Event::Start)
                }
                Err(error) => Step::Done(Err(error)),
            };
        }
        step
    }

    /// The decision, with everything that is known of the key. The memory learns how the call ends.
    fn decided_alone(&mut self, own: &PerProcess, now: Duration, event: Event) -> Step {
        let Some(key_use) = &mut self.key_use else { return self.settlement.step(now, event) };
        let known = key_use.known(&self.session, own, self.settlement.limits().attempt);
        self.settlement.learn(known);
        let step = self.settlement.step(now, event);
        let ending = self.settlement.ending();
        let unclear = || Ending::Left(Doubt::Unclear);
        let result = match step {
            Step::Done(result) => result.and_then(|reply| matched(reply, key_use, own, &self.settlement)),
            Step::Send(_) if !self.settlement.is_looking() => {
                key_use.goes_on(ending.then(unclear()));
                return step;
            }
            _ => {
                key_use.goes_on(ending);
                return step;
            }
        };
        let ending = match (&result, ending) {
            (Err(error), _) if error.attempts() == 0 => Ending::Left(Doubt::Untouched),
            // The id belongs to another key, so it proves nothing for this one.
            (Err(_), Ending::Left(Doubt::Done(_))) => unclear(),
            (Err(error), ending) if error.kind() == ErrorKind::Internal => ending.then(unclear()),
            (_, ending) => ending,
        };
        key_use.end(own, &ending);
        Step::Done(result)
    }

    pub(crate) fn session(&self) -> Arc<Session> {
        self.session.clone()
    }

    pub(crate) fn process(&self) -> u32 {
        self.process
    }

    fn endpoint(&self) -> &Endpoint {
        self.session.endpoint()
    }

    /// Adds the list of attempts to an outcome.
    pub(crate) fn finished(&mut self, result: Result<Reply, Error>) -> Result<Reply, Error> {
        let attempts = self.attempt_log.clone();
        // A call of several parts counts the requests of all.
        let count = self.course.as_ref().map(|_| u32::try_from(attempts.len()).unwrap_or(u32::MAX));
        let result = match result {
            Ok(mut reply) => {
                let facts = Arc::make_mut(&mut reply.facts);
                facts.attempts = count.unwrap_or(facts.attempts);
                facts.attempt_log = attempts;
                Ok(reply)
            }
            Err(error) => {
                let order_id = self.order_id().to_owned();
                Err(error.with(|fields| {
                    fields.attempts = count.unwrap_or(fields.attempts);
                    fields.order_id = fields.order_id.take().or(Some(order_id));
                    fields.attempt_log = attempts;
                }))
            }
        };
        log::end(|| self.shown_order_id(), self.idempotency_key(), &result);
        result
    }
}

/// Compares an id with those of other keys. A connection may deliver the answer to an earlier request, and not every
/// answer names its order.
fn matched(mut reply: Reply, key_use: &KeyUse, own: &PerProcess, settlement: &Settlement) -> Result<Reply, Error> {
    if settlement.is_found_before() {
        return Ok(reply);
    }
    let (Content::Created(id), ReplyKind::Created { collection, .. }) = (&reply.facts.content, reply.operation.reply)
    else {
        return Ok(reply);
    };
    match own.memory().answered(key_use.key(), collection, id) {
        MatchedTo::ThisKey => {}
        MatchedTo::ThisKeyAgain => Arc::make_mut(&mut reply.facts).warnings.push(format!(
            "an earlier call with this idempotency key was answered with another {}; look at the order: it may have been \
             {} twice",
            reply.operation.name, reply.operation.nouns.done
        )),
        MatchedTo::AnotherKey => {
            let what = reply.operation.name;
            return Err(settlement.unclear(&format!("the answer named a {what} that was made with another key")));
        }
    }
    Ok(reply)
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(key_use) = &mut self.key_use {
            key_use.give_up(&self.session);
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("operation", &self.operation())
            .field("order_id", &self.order_id())
            .field("idempotency_key", &self.idempotency_key())
            .field("attempt_log", &self.attempt_log)
            .finish_non_exhaustive()
    }
}

/// The record of an attempt that ended with `event`.
fn noted(event: &Event, endpoint: &Endpoint, started: SystemTime, sent: String, took: Duration) -> Noted {
    let mut noted = Noted {
        started,
        sent,
        took,
        came_back: String::new(),
        http_status: None,
        error_code: None,
        correlation_id: None,
        wait: None,
        asked_to_wait: None,
    };
    match event {
        Event::Answered(answer) => {
            noted.asked_to_wait = answer.retry_after();
            let refusal = Refusal::of(answer);
            noted.correlation_id = refusal.correlation_id.as_ref().map(|id| endpoint.scrub(id, 255));
            noted.error_code = refusal.code().map(|code| endpoint.scrub(code, 100));
            noted.http_status = Some(answer.status);
            noted.came_back = match &noted.error_code {
                Some(code) => format!("{} {code}", answer.status),
                None => answer.status.to_string(),
            };
        }
        Event::NotSent(why) => noted.came_back = format!("{}: {}", ErrorKind::NotSent, endpoint.scrub_report(why, 500)),
        Event::MaybeSent(why) => noted.came_back = endpoint.scrub_report(why, 500),
        Event::Start | Event::Waited => noted.came_back = "nothing was reported".into(),
    }
    noted
}
