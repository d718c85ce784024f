//! A call that its host drives: takings decides, the host sends and waits.

use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant, SystemTime};

use crate::capture::Capture;
use crate::client::Client;
use crate::decide::machine::{Drive, Event, Step};
use crate::drive::http::Exchange;
use crate::error::{Error, ErrorKind};
use crate::reconcile::Reconciliation;
use crate::wire::answer::is_id;
use crate::wire::{Endpoint, HttpRequest};

/// A call that has been checked and has its key, ready to be sent:
/// a capture ([`Client::prepare`]) or a look into an order's captures
/// ([`Client::prepare_reconcile`]).
///
/// [`send`](Operation::send) sends it over the client's own connections and waits. A host with
/// an event loop or an HTTP client of its own drives it instead: it feeds [`step`](Operation::step)
/// with what happened and does what it says, until [`Step::Done`]. takings starts no thread and
/// calls nothing back for that; retries, waits, the deadline and the meaning of each answer stay
/// its own.
///
/// ```
/// use takings::{Answer, CaptureRequest, Client, Config, Credentials, Event, HttpRequest, Region, Step};
///
/// /// An HTTP client that follows no redirect, retries nothing and checks certificates.
/// fn exchange(request: &HttpRequest) -> Event {
///     assert_eq!(request.method(), "POST");
///     Event::Answered(Answer::new(201, [("Capture-Id", "4ba29b50-be7b-44f5-a492-113e6a865e22")], Vec::new()))
/// }
///
/// let client = Client::new(Config::playground(Region::Eu, Credentials::basic("PK0000_0a1b2c", "secret")))?;
/// let mut operation = client.prepare("f3392f8b-6116-4073-ab96-e330819e2c07", &CaptureRequest::new(6000), None)?;
/// let mut step = operation.step(Event::Start);
/// let result = loop {
///     step = match step {
///         Step::Send(_timeout) => {
///             let event = exchange(operation.request());
///             operation.step(event)
///         }
///         Step::Wait(pause) => {
///             std::thread::sleep(pause);
///             operation.step(Event::Waited)
///         }
///         Step::Done(result) => break result,
///     }
/// };
/// assert_eq!(result?.capture_id(), "4ba29b50-be7b-44f5-a492-113e6a865e22");
/// # Ok::<(), takings::Error>(())
/// ```
///
/// # What the host owes it
///
/// * Send [`request`](Operation::request) as it is: method, URL, headers and body, once for each
///   [`Step::Send`], and be done within its time-out. No redirect is followed and nothing is sent
///   again behind takings' back.
/// * Tell [`Event::NotSent`] only where nothing of the request can have left: no connection was
///   made. When in doubt it is [`Event::MaybeSent`].
/// * After a time-out, an error, or bytes beyond an answer the connection is closed, so that a
///   late answer is not taken for the next call's.
///
/// Dropping it before `Done` gives up the call; what was sent may still be captured, and its key
/// stays safe to use again. It can be moved between threads. In a forked child it may be driven
/// on, or dropped.
pub struct Operation<T> {
    client: Client,
    drive: Box<dyn Drive<Output = T> + Send>,
    /// When the attempt that runs was begun, by both clocks, and how long it may take.
    sending: Option<(SystemTime, Duration, Duration)>,
    attempt_log: Vec<Attempt>,
}

/// What an [`Operation`] ends in when it goes well: a [`Capture`] or a [`Reconciliation`], and
/// nothing else.
#[allow(private_bounds, reason = "nobody else's type can be one")]
pub trait Outcome: Ended {}

impl Outcome for Capture {}
impl Outcome for Reconciliation {}

pub(crate) trait Ended: Sized {
    fn log(&mut self, attempts: Vec<Attempt>);

    /// Its name in a log, the correlation id, the number of attempts.
    #[cfg(feature = "tracing")]
    fn facts(&self) -> (&'static str, Option<&str>, u32);
}

impl Ended for Capture {
    fn log(&mut self, attempts: Vec<Attempt>) {
        self.attempt_log = attempts;
    }

    #[cfg(feature = "tracing")]
    fn facts(&self) -> (&'static str, Option<&str>, u32) {
        ("captured", self.correlation_id(), self.attempts)
    }
}

impl Ended for Reconciliation {
    fn log(&mut self, attempts: Vec<Attempt>) {
        self.attempt_log = attempts;
    }

    #[cfg(feature = "tracing")]
    fn facts(&self) -> (&'static str, Option<&str>, u32) {
        (self.found.as_str(), self.correlation_id(), self.attempts)
    }
}

impl<T> Operation<T> {
    pub(crate) fn new(client: Client, drive: impl Drive<Output = T> + Send + 'static) -> Operation<T> {
        Operation { client, drive: Box::new(drive), sending: None, attempt_log: Vec::new() }
    }

    /// The order it is for.
    pub fn order_id(&self) -> &str {
        self.drive.order_id()
    }

    /// For bindings: the order id as a log may show it.
    #[doc(hidden)]
    pub fn shown_order_id(&self) -> String {
        self.client.endpoint().scrub(self.order_id(), 255)
    }

    /// The key it is sent with, given or made; none for a look, which changes nothing.
    pub fn idempotency_key(&self) -> Option<&str> {
        self.drive.idempotency_key()
    }

    /// What [`Step::Send`] asks to send. With the setting `reconcile` it changes during a call:
    /// read it for each `Send`.
    pub fn request(&self) -> &HttpRequest {
        self.drive.request()
    }

    /// How long a connection may take to be made, within the time of [`Step::Send`].
    pub fn connect_timeout(&self) -> Duration {
        self.client.limits().connect
    }

    /// What is left of the time of the last [`Step::Send`], for a host that reads an answer piece by
    /// piece: a server may take a while for each. Nothing, where nothing is being sent.
    pub fn time_left(&self) -> Duration {
        self.sending.map_or(Duration::ZERO, |(_, since, timeout)| (since + timeout).saturating_sub(self.client.now()))
    }

    /// The requests that ended so far, in order.
    pub fn attempt_log(&self) -> &[Attempt] {
        &self.attempt_log
    }

    /// The error for a caller that stops waiting (Ctrl-C, a cancelled task) while the call may go
    /// on elsewhere: `outcome_unknown`, with the key to ask again with.
    pub fn abandoned(&self) -> Error {
        self.drive.unclear("the wait for the answer was interrupted")
    }

    /// For bindings: the error for a host that asks a call for what it does not have.
    #[doc(hidden)]
    pub fn misused(&self, what: &str) -> Error {
        self.drive.internal(what)
    }
}

impl<T: Outcome> Operation<T> {
    /// Tells what happened and gives what to do next. The first event is [`Event::Start`].
    ///
    /// An event that does not fit the last step ends the call as `internal`: after a request was
    /// begun the outcome is then unknown.
    pub fn step(&mut self, mut event: Event) -> Step<T> {
        let now = self.client.now();
        match &mut event {
            Event::Answered(answer) => match answer.nonsense() {
                Some(what) => event = Event::MaybeSent(format!("the answer's head makes no sense: {what}")),
                None => answer.body.truncate(self.drive.request().most_answer.of(answer.status)),
            },
            Event::NotSent(why) | Event::MaybeSent(why) if why.is_empty() => {
                *why = "the host's HTTP client gave no reason".into();
            }
            _ => {}
        }
        if let Some((started, since, _)) = self.sending.take() {
            let request = self.drive.request();
            self.attempt_log.push(Attempt {
                started,
                sent: format!("{} {}", request.method, request.url),
                took: now.saturating_sub(since),
                wait: None,
                ..Attempt::ended(&event, self.client.endpoint())
            });
        }
        let drive = &mut self.drive;
        let step = catch_unwind(AssertUnwindSafe(|| drive.step(now, event)))
            .unwrap_or_else(|_| Step::Done(Err(self.drive.internal("a panic was caught"))));
        match step {
            Step::Send(timeout) => {
                self.sending = Some((SystemTime::now(), now, timeout));
                Step::Send(timeout)
            }
            Step::Wait(pause) => {
                if let Some(attempt) = self.attempt_log.last_mut() {
                    attempt.wait = Some(pause);
                }
                #[cfg(feature = "tracing")]
                traced(|| self.trace_retry());
                Step::Wait(pause)
            }
            Step::Done(result) => Step::Done(self.ended(result)),
        }
    }

    /// Sends it over the client's own connections and waits for the outcome, at most
    /// [`Config::timeout`](crate::Config::timeout).
    ///
    /// # Errors
    ///
    /// As [`Client::capture`] and [`Client::reconcile`].
    pub fn send(self) -> Result<T, Error> {
        self.send_and_tell(|_| {})
    }

    /// The same, and tells of each attempt as it ends; one that is followed by another has its
    /// [`wait`](Attempt::wait).
    ///
    /// # Errors
    ///
    /// As [`send`](Operation::send).
    pub fn send_and_tell(self, mut tell: impl FnMut(&Attempt)) -> Result<T, Error> {
        let mut sending = self.sending();
        loop {
            match sending.wait(None) {
                News::Ended(result) => return result,
                News::Attempt(attempt) => {
                    // A panic of `tell` says nothing about the money: it ends in an error as every
                    // other failure.
                    if catch_unwind(AssertUnwindSafe(|| tell(attempt))).is_err() {
                        let error = sending.operation.drive.internal("a panic was caught");
                        return sending.operation.ended(Err(error));
                    }
                }
                News::Nothing => {}
            }
        }
    }

    /// For bindings: the same for a thread that has to look after something else while it waits.
    #[doc(hidden)]
    pub fn sending(self) -> Sending<T> {
        Sending { process: std::process::id(), operation: self, told: 0, state: State::New }
    }

    /// Gives an end the list of its attempts.
    fn ended(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        let attempts = self.attempt_log.clone();
        let result = match result {
            Ok(mut outcome) => {
                outcome.log(attempts);
                Ok(outcome)
            }
            Err(error) => Err(error.with(|fields| fields.attempt_log = attempts)),
        };
        #[cfg(feature = "tracing")]
        traced(|| self.trace_end(&result));
        result
    }

    #[cfg(feature = "tracing")]
    fn trace_retry(&self) {
        let Some(attempt) = self.attempt_log.last() else { return };
        tracing::warn!(
            order_id = %self.shown_order_id(),
            idempotency_key = self.idempotency_key(),
            correlation_id = attempt.correlation_id(),
            attempt = self.attempt_log.len(),
            outcome = attempt.came_back(),
            wait_ms = attempt.wait.map(|wait| wait.as_millis() as u64),
            "takings tries again"
        );
    }

    #[cfg(feature = "tracing")]
    fn trace_end(&self, result: &Result<T, Error>) {
        let (outcome, correlation_id, attempts, message) = match result {
            Ok(outcome) => {
                let (told, correlation_id, attempts) = outcome.facts();
                (told, correlation_id, attempts, None)
            }
            Err(error) => (error.kind().as_str(), error.correlation_id(), error.attempts(), Some(error.message())),
        };
        tracing::info!(
            order_id = %self.shown_order_id(),
            idempotency_key = self.idempotency_key(),
            correlation_id,
            attempts,
            outcome,
            error = message,
            "takings is done"
        );
    }
}

/// A call being sent over the client's own connections. Dropping it gives the call up; another thread
/// may wait on for it.
#[doc(hidden)]
pub struct Sending<T> {
    /// What is under way belongs to the process that began it.
    process: u32,
    operation: Operation<T>,
    /// The attempts that were told.
    told: usize,
    state: State<T>,
}

enum State<T> {
    New,
    Exchange(Exchange),
    Pause(Instant),
    Done(Result<T, Error>),
    Over,
}

/// What became of a wait.
#[doc(hidden)]
pub enum News<'a, T> {
    /// It took longer than the patience.
    Nothing,
    /// An attempt has ended; whether another follows, its [`wait`](Attempt::wait) says.
    Attempt(&'a Attempt),
    /// The outcome; there is nothing more to wait for.
    Ended(Result<T, Error>),
}

impl<T: Outcome> Sending<T> {
    /// Waits for news, no longer than `patience`. Only while somebody waits does it go on.
    ///
    /// In a forked child it ends as [`abandoned`](Operation::abandoned): it goes on in the parent.
    pub fn wait(&mut self, patience: Option<Duration>) -> News<'_, T> {
        let until = patience.map(|patience| Instant::now() + patience);
        loop {
            if self.told < self.operation.attempt_log.len() {
                self.told += 1;
                return News::Attempt(&self.operation.attempt_log[self.told - 1]);
            }
            if let State::Done(_) | State::Over = self.state {
                return match mem::replace(&mut self.state, State::Over) {
                    State::Done(result) => News::Ended(result),
                    _ => News::Ended(Err(self.operation.misused("it was waited for after its end"))),
                };
            }
            match catch_unwind(AssertUnwindSafe(|| self.go_on(until))) {
                Ok(true) => {}
                Ok(false) => return News::Nothing,
                Err(_) => {
                    let error = self.operation.drive.internal("a panic was caught");
                    self.state = State::Done(self.operation.ended(Err(error)));
                }
            }
        }
    }

    /// One step; false if it has not come that far by then.
    fn go_on(&mut self, until: Option<Instant>) -> bool {
        let operation = &mut self.operation;
        if self.process != std::process::id() {
            self.leave_to_parent();
            return true;
        }
        let left = |until: Instant| until.saturating_duration_since(Instant::now());
        let event = match &mut self.state {
            State::New => Event::Start,
            State::Exchange(exchange) => {
                let Some(event) = exchange.drive(until.map(left)) else { return false };
                // a library built for the tests alone shows what a bug of ours would do
                #[cfg(takings_fault)]
                assert!(
                    !operation.drive.request().url.path().contains("/panic-after-sending/"),
                    "a fault that was asked for"
                );
                event
            }
            State::Pause(end) => {
                std::thread::sleep(left(until.map_or(*end, |until| until.min(*end))));
                if !left(*end).is_zero() {
                    return false;
                }
                Event::Waited
            }
            State::Done(_) | State::Over => return true,
        };
        self.state = match operation.step(event) {
            Step::Send(timeout) => State::Exchange(match operation.client.connections() {
                Ok(connections) => connections.exchange(operation.drive.request(), timeout),
                Err(why) => Exchange::Failed(why),
            }),
            Step::Wait(pause) => State::Pause(Instant::now() + pause),
            Step::Done(result) => State::Done(result),
        };
        true
    }

    /// In a forked child: what is under way is left alone, as all that was made in the parent.
    fn leave_to_parent(&mut self) {
        let error = self.operation.abandoned();
        let error = self.operation.ended(Err(error));
        mem::forget(mem::replace(&mut self.state, State::Done(error)));
    }
}

impl<T> Drop for Sending<T> {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            mem::forget(mem::replace(&mut self.state, State::Over));
        }
    }
}

/// The end of a call that was refused before there was an operation.
#[cfg(feature = "tracing")]
pub(crate) fn trace_refused(error: &Error) {
    traced(|| {
        tracing::info!(
            order_id = error.order_id(),
            idempotency_key = error.idempotency_key(),
            attempts = 0,
            outcome = error.kind().as_str(),
            error = error.message(),
            "takings is done"
        );
    });
}

/// A program's subscriber that panics must not take the outcome with it.
#[cfg(feature = "tracing")]
fn traced(tell: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(tell));
}

impl<T> fmt::Debug for Operation<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation")
            .field("order_id", &self.order_id())
            .field("idempotency_key", &self.idempotency_key())
            .field("attempt_log", &self.attempt_log)
            .finish_non_exhaustive()
    }
}

/// One request of a call, for whoever has to see afterwards what happened. It holds no
/// credential, and a server's text only scrubbed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    started: SystemTime,
    sent: String,
    took: Duration,
    came_back: String,
    http_status: Option<u16>,
    error_code: Option<String>,
    correlation_id: Option<String>,
    wait: Option<Duration>,
}

impl Attempt {
    fn ended(event: &Event, endpoint: &Endpoint) -> Attempt {
        let mut attempt = Attempt {
            started: SystemTime::UNIX_EPOCH,
            sent: String::new(),
            took: Duration::ZERO,
            came_back: String::new(),
            http_status: None,
            error_code: None,
            correlation_id: None,
            wait: None,
        };
        match event {
            Event::Answered(answer) => {
                let scrub = |text: &str, max| endpoint.scrub(text, max);
                let body = answer.error();
                let correlation_id = answer.correlation_id().or(body.correlation_id.as_deref().filter(|id| is_id(id)));
                attempt.correlation_id = correlation_id.map(|id| scrub(id, 255));
                attempt.error_code = body.error_code.map(|code| scrub(&code, 100));
                attempt.http_status = Some(answer.status);
                attempt.came_back = match &attempt.error_code {
                    Some(code) => format!("{} {code}", answer.status),
                    None => answer.status.to_string(),
                };
            }
            Event::NotSent(why) => {
                attempt.came_back = format!("{}: {}", ErrorKind::NotSent, endpoint.scrub(why, 500));
            }
            Event::MaybeSent(why) => attempt.came_back = endpoint.scrub(why, 500),
            Event::Start | Event::Waited => attempt.came_back = "nothing was told".into(),
        }
        attempt
    }

    /// When it was begun, by the system's clock.
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// Method and URL, such as `POST https://api.klarna.com/ordermanagement/v1/orders/…/captures`.
    pub fn sent(&self) -> &str {
        &self.sent
    }

    /// How long it took.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// What came back, for people: `201`, `503 INTERNAL_ERROR`, `no answer within 10.0s`,
    /// `not_sent: no connection to …`.
    pub fn came_back(&self) -> &str {
        &self.came_back
    }

    /// The HTTP status, where there was an answer.
    pub fn http_status(&self) -> Option<u16> {
        self.http_status
    }

    /// Klarna's `error_code`, where the answer had one.
    pub fn error_code(&self) -> Option<&str> {
        self.error_code.as_deref()
    }

    /// Klarna's name for the request, where the answer had one.
    pub fn correlation_id(&self) -> Option<&str> {
        self.correlation_id.as_deref()
    }

    /// The pause after it, where another attempt followed.
    pub fn wait(&self) -> Option<Duration> {
        self.wait
    }
}
