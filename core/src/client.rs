//! The client: checks a capture, notes its key, and makes the operation that sends it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use once_cell::race::OnceBox;
use serde::Deserializer;

use crate::api::lines;
use crate::api::request::CaptureRequest;
use crate::capture::{Capture, CaptureMachine, CaptureTask};
use crate::decide::machine::{Budget, Drive, Event, Limits, Machine, Others, Step, Trace};
use crate::drive::call::Operation;
use crate::drive::http::{Connections, Transport};
use crate::error::{Error, ErrorKind};
use crate::key::{self, End, Keys, Whose, fingerprint};
use crate::reconcile::{ListTask, Reconciliation, Wanted};
use crate::settings::config::Config;
use crate::wire::{self, Endpoint, HttpRequest};

/// Klarna's limit for a request body is 1 MB.
const MOST_BODY: usize = 1_000_000;

/// Captures orders of one merchant account.
///
/// Make one and keep it: it reuses its connections. A clone is the same client. It may be
/// used from many threads at once, and in a process forked from the one that made it.
///
/// Calls block, for at most [`Config::timeout`] in all. Inside an async runtime, call it from
/// a thread made for blocking work.
///
/// ```no_run
/// use takings::{CaptureRequest, Client, Config, ErrorKind};
///
/// let client = Client::new(Config::from_env()?)?;
/// let key = takings::idempotency_key("f3392f8b-6116-4073-ab96-e330819e2c07", "parcel-1")?;
/// match client.capture("f3392f8b-6116-4073-ab96-e330819e2c07", &CaptureRequest::new(6000), Some(&key)) {
///     Ok(capture) => println!("captured as {}", capture.capture_id()),
///     Err(error) if error.kind() == ErrorKind::OutcomeUnknown => println!("ask again with {key}: {error}"),
///     Err(error) => println!("not captured: {error}"),
/// }
/// # Ok::<(), takings::Error>(())
/// ```
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    config: Config,
    endpoint: Arc<Endpoint>,
    limits: Limits,
    transport: Transport,
    /// A clock for all calls, the same in forked processes.
    start: Instant,
    /// One slot for each process the client was used in, the current one last.
    slots: OnceBox<Slot>,
}

/// What belongs to one process. A fork copies it without the threads that were using it, and its
/// sockets belong to the parent: in another process it is left alone and never dropped.
struct Slot {
    process: u32,
    mine: Option<Mine>,
    next: OnceBox<Slot>,
}

struct Mine {
    connections: OnceBox<Connections>,
    keys: Keys,
    budget: Arc<Budget>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            std::mem::forget(self.mine.take());
        }
    }
}

/// A capture that holds its key while it runs, learns what others with the key did meanwhile, and
/// tells the memory of keys how it ended.
struct KeyedCapture {
    machine: CaptureMachine,
    client: Client,
    key: u64,
    /// The process in which it is one of those that run.
    process: u32,
    /// How it ends if it is given up now; none once it has ended.
    end: Option<End>,
}

impl KeyedCapture {
    /// The memory of keys of the process it is driven in.
    fn keys(&self) -> &Keys {
        &self.client.mine().keys
    }

    /// A connection may hold an answer to an earlier request, and not each names its order.
    fn is_ours(&self, mut capture: Capture) -> Result<Capture, Error> {
        match self.keys().answer(self.key, fingerprint(&[capture.capture_id().as_bytes()])) {
            Whose::Ours => {}
            Whose::Another => capture.warnings.push(
                "an earlier call with this idempotency key was answered with another capture; look at the order: it \
                 may have been captured twice"
                    .into(),
            ),
            Whose::Foreign => return Err(self.unclear("the answer named a capture that was made with another key")),
        }
        Ok(capture)
    }

    /// Gives the key back, once.
    fn end(&mut self, end: End) {
        if self.end.take().is_none() {
            return;
        }
        if self.process == std::process::id() {
            self.keys().end(self.key, end);
        } else {
            self.keys().end_elsewhere(self.key, end);
        }
    }
}

impl Drive for KeyedCapture {
    type Output = Capture;

    fn step(&mut self, now: Duration, event: Event) -> Step<Capture> {
        let others = self.keys().others(self.key);
        self.machine.learn(others);
        let step = self.machine.step(now, event);
        let Step::Done(result) = step else {
            // A call that is given up from here on may have been sent.
            self.end = Some(if self.machine.trace() == Trace::Agreed { End::Agreed } else { End::Unclear });
            return step;
        };
        let end = match &result {
            Err(error) if error.attempts() == 0 => End::NotSent,
            // where others may have captured, nothing else is a "rejected"
            Err(error) if error.kind() == ErrorKind::Rejected && others != Others::Nothing => End::Settled,
            Err(error) if error.kind() == ErrorKind::Internal => End::Unclear,
            // the doubt that others leave is theirs
            Err(_) => match self.machine.trace() {
                Trace::None => End::NotSent,
                Trace::Refused => End::Refused,
                Trace::Unclear => End::Unclear,
                Trace::Agreed => End::Agreed,
            },
            Ok(_) => End::Unclear,
        };
        let result = result.and_then(|capture| self.is_ours(capture));
        self.end(end);
        Step::Done(result)
    }

    fn request(&self) -> &HttpRequest {
        self.machine.request()
    }

    fn order_id(&self) -> &str {
        self.machine.order_id()
    }

    fn idempotency_key(&self) -> Option<&str> {
        self.machine.idempotency_key()
    }

    fn internal(&self, what: &str) -> Error {
        self.machine.internal(what)
    }

    fn unclear(&self, why: &str) -> Error {
        self.machine.unclear(why)
    }
}

impl Drop for KeyedCapture {
    fn drop(&mut self) {
        if let Some(end) = self.end {
            self.end(end);
        }
    }
}

impl Client {
    /// Checks the settings and makes a client. Nothing is connected before
    /// the first call.
    ///
    /// # Errors
    ///
    /// `invalid_input`, naming the setting.
    pub fn new(config: Config) -> Result<Client, Error> {
        let limits = config.limits()?;
        let endpoint = config.endpoint()?;
        let transport = Transport::new(&config, &endpoint, &limits)?;
        Ok(Client(Arc::new(Inner {
            config,
            endpoint: Arc::new(endpoint),
            limits,
            transport,
            start: Instant::now(),
            slots: OnceBox::new(),
        })))
    }

    /// Captures `request` of the order, in full or in part, and waits for the outcome.
    ///
    /// Without a key a fresh one is made and kept over the retries of this call; it comes back
    /// in the capture and in every error. With a key of your own
    /// ([`idempotency_key`](crate::idempotency_key) derives one) the capture can be called
    /// again after a crash.
    ///
    /// # Errors
    ///
    /// Each [`ErrorKind`] says what it means for the money. `invalid_input` is found before
    /// anything is sent; a key that this client used for another capture within 24 hours is
    /// refused, since Klarna would answer it with the other capture.
    pub fn capture(
        &self,
        order_id: &str,
        request: &CaptureRequest,
        idempotency_key: Option<&str>,
    ) -> Result<Capture, Error> {
        self.prepare(order_id, request, idempotency_key)?.send()
    }

    /// The same with the request as JSON text, read as strictly as
    /// [`CaptureRequest::from_json`] does.
    ///
    /// # Errors
    ///
    /// As [`capture`](Client::capture).
    pub fn capture_json(&self, order_id: &str, request: &str, idempotency_key: Option<&str>) -> Result<Capture, Error> {
        self.prepare_json(order_id, request, idempotency_key)?.send()
    }

    /// The first half of [`capture`](Client::capture): everything that can be refused is refused
    /// here, and the key is known before anything is sent. The [`Operation`] is the second half:
    /// it is sent, or driven by the host.
    ///
    /// # Errors
    ///
    /// `invalid_input`.
    pub fn prepare(
        &self,
        order_id: &str,
        request: &CaptureRequest,
        idempotency_key: Option<&str>,
    ) -> Result<Operation<Capture>, Error> {
        self.begin(order_id, idempotency_key, || {
            request.check()?;
            self.checked(order_id, request, idempotency_key)
        })
    }

    /// The same with the request as JSON text, read as strictly as
    /// [`CaptureRequest::from_json`] does.
    ///
    /// # Errors
    ///
    /// `invalid_input`.
    pub fn prepare_json(
        &self,
        order_id: &str,
        request: &str,
        idempotency_key: Option<&str>,
    ) -> Result<Operation<Capture>, Error> {
        self.begin(order_id, idempotency_key, || {
            let request = CaptureRequest::from_json_with(request, self.0.config.accept_unknown_values)?;
            self.checked(order_id, &request, idempotency_key)
        })
    }

    /// The same with the request from any serde source, read as strictly.
    ///
    /// # Errors
    ///
    /// `invalid_input`.
    pub fn prepare_from<'de, D: Deserializer<'de>>(
        &self,
        order_id: &str,
        request: D,
        idempotency_key: Option<&str>,
    ) -> Result<Operation<Capture>, Error> {
        self.begin(order_id, idempotency_key, || {
            let request = CaptureRequest::from_deserializer(request, self.0.config.accept_unknown_values)?;
            self.checked(order_id, &request, idempotency_key)
        })
    }

    /// Looks into the captures of an order for the one with this reference and amount, for a
    /// shop that must know what became of a capture without capturing again.
    ///
    /// It is only sound when each capture of an order has a `reference` of its own. Finding
    /// none says that there was none when Klarna was asked: a capture whose answer was lost a
    /// moment ago may still be on its way.
    ///
    /// # Errors
    ///
    /// The captures could not be read; what became of the capture stays unknown.
    pub fn reconcile(&self, order_id: &str, reference: &str, captured_amount: i64) -> Result<Reconciliation, Error> {
        self.prepare_reconcile(order_id, reference, captured_amount)?.send()
    }

    /// The first half of [`reconcile`](Client::reconcile); the [`Operation`] is the second.
    ///
    /// # Errors
    ///
    /// `invalid_input`.
    pub fn prepare_reconcile(
        &self,
        order_id: &str,
        reference: &str,
        captured_amount: i64,
    ) -> Result<Operation<Reconciliation>, Error> {
        self.seek(order_id, || Wanted::new(reference, captured_amount))
    }

    /// The same with `reference` and `captured_amount` from any serde source, read as strictly
    /// as a request.
    ///
    /// # Errors
    ///
    /// `invalid_input`.
    pub fn prepare_reconcile_from<'de, D: Deserializer<'de>>(
        &self,
        order_id: &str,
        wanted: D,
    ) -> Result<Operation<Reconciliation>, Error> {
        self.seek(order_id, || Wanted::from_deserializer(wanted))
    }

    /// Where requests go, without credentials.
    pub fn base_url(&self) -> &str {
        self.0.endpoint.base_url().as_str()
    }

    /// The proxy that this client's own connections go through, as its host and port: the setting
    /// `proxy`, or the environment's, whose exceptions (`NO_PROXY`) may still leave it out. A host
    /// that sends by itself goes the same way, or refuses.
    pub fn proxy(&self) -> Option<&str> {
        self.0.transport.proxy()
    }

    /// The setting `ca_file`: whom a host that sends by itself has to trust instead of the system's
    /// authorities.
    pub fn ca_file(&self) -> Option<&Path> {
        self.0.config.ca_file.as_deref()
    }

    fn seek(
        &self,
        order_id: &str,
        wanted: impl FnOnce() -> Result<Wanted, Error>,
    ) -> Result<Operation<Reconciliation>, Error> {
        self.begin(order_id, None, || {
            wire::check_order_id(order_id)?;
            let (task, request) = self.list(order_id, wanted()?);
            let (endpoint, limits) = (self.0.endpoint.clone(), self.0.limits);
            let budget = self.mine().budget.clone();
            let machine = Machine::new(task, request, endpoint, limits, budget, key::random_seed()?);
            Ok(Operation::new(self.clone(), machine))
        })
    }

    /// Runs the first half of a call; its errors name the order and the key.
    fn begin<T>(
        &self,
        order_id: &str,
        idempotency_key: Option<&str>,
        half: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let half = catch_unwind(AssertUnwindSafe(half)).unwrap_or_else(|_| Err(Error::panicked()));
        half.map_err(|error| self.refused(error, Some(order_id), idempotency_key))
    }

    /// For bindings as well: an error from before there was an operation, with what is known of the
    /// call it belongs to.
    #[doc(hidden)]
    pub fn refused(&self, error: Error, order_id: Option<&str>, idempotency_key: Option<&str>) -> Error {
        let error = error.with(|fields| {
            let shown = |text: &str| self.0.endpoint.scrub(text, 255);
            fields.order_id = fields.order_id.take().or_else(|| order_id.map(shown));
            fields.idempotency_key = fields.idempotency_key.take().or_else(|| idempotency_key.map(shown));
        });
        #[cfg(feature = "tracing")]
        crate::drive::call::trace_refused(&error);
        error
    }

    fn checked(
        &self,
        order_id: &str,
        request: &CaptureRequest,
        idempotency_key: Option<&str>,
    ) -> Result<Operation<Capture>, Error> {
        let inner = &*self.0;
        #[cfg(takings_fault)]
        assert_ne!(order_id, "panic-before-sending", "a fault that was asked for");
        wire::check_order_id(order_id)?;
        let idempotency_key = match idempotency_key {
            Some(key) => {
                key::check_key(key)?;
                key.to_owned()
            }
            None => key::new_idempotency_key()?,
        };
        let warnings = lines::check(request, inner.config.check_lines)?;
        let body = serde_json::to_vec(request).expect("a request has no keys or numbers that JSON lacks");
        if body.len() > MOST_BODY {
            return Err(Error::invalid(format!(
                "the request is {} bytes of JSON; it must be at most {MOST_BODY}; shorten the texts of the order lines",
                body.len()
            )));
        }
        let seed = key::random_seed()?;
        let mine = self.mine();
        let key = fingerprint(&[idempotency_key.as_bytes()]);
        if !mine.keys.begin(key, fingerprint(&[order_id.as_bytes(), &body]), self.now()) {
            return Err(Error::invalid(format!(
                "idempotency_key {idempotency_key} was used for another capture within 24 hours; Klarna would answer \
                 with that one and capture nothing; use another key (for a derived key, another name)"
            )));
        }
        let reference = request.reference.as_deref().filter(|_| inner.config.reconcile);
        let settle = reference
            .and_then(|reference| Wanted::new(reference, request.captured_amount).ok())
            .map(|wanted| self.list(order_id, wanted));
        let request = inner.endpoint.post(&wire::captures_path(order_id), &idempotency_key, body);
        let task = CaptureTask { order_id: order_id.to_owned(), idempotency_key, warnings };
        let machine = Machine::new(task, request, inner.endpoint.clone(), inner.limits, mine.budget.clone(), seed);
        let machine = CaptureMachine::new(machine, settle);
        let (client, process, end) = (self.clone(), std::process::id(), Some(End::NotSent));
        Ok(Operation::new(self.clone(), KeyedCapture { machine, client, key, process, end }))
    }

    fn list(&self, order_id: &str, wanted: Wanted) -> (ListTask, HttpRequest) {
        let request = self.0.endpoint.get(&wire::captures_path(order_id));
        (ListTask { order_id: order_id.to_owned(), wanted, endpoint: self.0.endpoint.clone() }, request)
    }

    pub(crate) fn now(&self) -> Duration {
        self.0.start.elapsed()
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// The connections of this process, made when they are first needed: a host that sends by
    /// itself never gets them.
    pub(crate) fn connections(&self) -> Result<&Connections, String> {
        // Where another thread was quicker, its connections are the ones.
        self.mine().connections.get_or_try_init(|| self.0.transport.open().map(Box::new))
    }

    /// What belongs to this process, made at its first call. No lock is taken: one that was
    /// held during a fork would stay locked in the child.
    fn mine(&self) -> &Mine {
        let process = std::process::id();
        let mut inherited = None;
        let mut place = &self.0.slots;
        // Only the last slot can be this process's: process ids come around again.
        while let Some(slot) = place.get() {
            if let (true, None, Some(mine)) = (slot.process == process, slot.next.get(), &slot.mine) {
                return mine;
            }
            inherited = slot.mine.as_ref();
            place = &slot.next;
        }
        // The parent's keys still count.
        let keys = inherited.map(|mine| mine.keys.inherited()).unwrap_or_default();
        let mine = Mine { connections: OnceBox::new(), keys, budget: Arc::new(Budget::new()) };
        let slot = Slot { process, mine: Some(mine), next: OnceBox::new() };
        // Another thread may have been quicker; then its slot is the one.
        let _ = place.set(Box::new(slot));
        let slot = place.get().expect("it has just been filled");
        slot.mine.as_ref().expect("a slot is emptied only when dropped")
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base_url", &self.base_url()).finish_non_exhaustive()
    }
}
