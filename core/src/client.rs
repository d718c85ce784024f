//! The client: checks a capture, then drives the machine with the blocking transport.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use once_cell::race::OnceBox;
use serde::Deserializer;

use crate::capture::{Capture, CaptureMachine, CaptureOperation};
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::http::{Connections, Transport};
use crate::key::{self, End, KeyMemory, Known, fingerprint};
use crate::lines;
use crate::machine::{Budget, Drive, Event, Limits, Machine, Step};
use crate::reconcile::{ListOperation, Reconciliation, Wanted};
use crate::request::CaptureRequest;
use crate::wire::{self, Endpoint, Request};

/// Klarna's limit for a request body is 1 MB.
const MOST_BODY: usize = 1_000_000;

/// Captures orders of one merchant account.
///
/// Make one and keep it: it reuses its connections. A clone is the same client. It may be
/// used from many threads at once, and in a process forked from the one that made it; the
/// first call in a process starts the thread that serves its connections.
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

/// What belongs to one process. A fork copies it without the thread that serves it, and its
/// sockets belong to the parent: in another process it is left alone and never dropped.
struct Slot {
    process: u32,
    mine: Option<Mine>,
    next: OnceBox<Slot>,
}

struct Mine {
    connections: Connections,
    keys: Arc<Mutex<KeyMemory>>,
    budget: Arc<Budget>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            std::mem::forget(self.mine.take());
        }
    }
}

/// A capture that has been checked and has its key, ready to be sent.
pub struct Call {
    machine: CaptureMachine,
    key_use: KeyUse,
}

impl Call {
    /// The order to be captured.
    pub fn order_id(&self) -> &str {
        &self.machine.operation().order_id
    }

    /// The key it will be sent with, given or made.
    pub fn idempotency_key(&self) -> &str {
        &self.machine.operation().idempotency_key
    }

    /// For bindings: the error for a caller that stops waiting (Ctrl-C) while the call is sent
    /// by another thread.
    #[doc(hidden)]
    pub fn abandoned(&self) -> Error {
        self.machine.unclear("the wait for the answer was interrupted")
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("order_id", &self.order_id())
            .field("idempotency_key", &self.idempotency_key())
            .finish_non_exhaustive()
    }
}

/// A look into an order's captures, ready to be done.
pub struct Look(Machine<ListOperation>);

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Look").field("order_id", &self.0.operation().order_id).finish_non_exhaustive()
    }
}

/// Holds the key of a running call; tells the memory of keys how it ended.
struct KeyUse {
    keys: Arc<Mutex<KeyMemory>>,
    key: u128,
    end: End,
}

impl KeyUse {
    /// Whether the capture can be the answer to this key: a connection may hold an answer to an
    /// earlier request, and not each names its order.
    fn answered_by(&self, capture: &Capture) -> bool {
        let capture = fingerprint(&[capture.capture_id().as_bytes()]);
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).answer(self.key, capture)
    }
}

impl Drop for KeyUse {
    fn drop(&mut self) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).end(self.key, self.end);
    }
}

impl Client {
    /// Checks the settings and makes a client. Nothing is connected and no thread is started
    /// before the first call.
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
        self.begin(order_id, idempotency_key, || {
            request.check()?;
            self.checked(order_id, request, idempotency_key)
        })
        .and_then(|call| self.send(call))
    }

    /// The same with the request as JSON text, read as strictly as
    /// [`CaptureRequest::from_json`] does.
    ///
    /// # Errors
    ///
    /// As [`capture`](Client::capture).
    pub fn capture_json(&self, order_id: &str, request: &str, idempotency_key: Option<&str>) -> Result<Capture, Error> {
        self.begin(order_id, idempotency_key, || {
            let request = CaptureRequest::from_json_with(request, self.0.config.accept_unknown_values)?;
            self.checked(order_id, &request, idempotency_key)
        })
        .and_then(|call| self.send(call))
    }

    /// The first half of a capture, with the request from any serde source: everything that
    /// can be refused is refused here, and the key is known before anything is sent.
    /// [`send`](Client::send) is the second half.
    ///
    /// # Errors
    ///
    /// `invalid_input`.
    pub fn prepare<'de, D: Deserializer<'de>>(
        &self,
        order_id: &str,
        request: D,
        idempotency_key: Option<&str>,
    ) -> Result<Call, Error> {
        self.begin(order_id, idempotency_key, || {
            let request = CaptureRequest::from_deserializer(request, self.0.config.accept_unknown_values)?;
            self.checked(order_id, &request, idempotency_key)
        })
    }

    /// Sends a prepared capture and waits for the outcome.
    ///
    /// # Errors
    ///
    /// As [`capture`](Client::capture).
    pub fn send(&self, call: Call) -> Result<Capture, Error> {
        let Call { mut machine, mut key_use } = call;
        let result = catch_unwind(AssertUnwindSafe(|| self.drive(&mut machine)))
            .unwrap_or_else(|_| Err(machine.internal("a panic was caught")))
            .and_then(|capture| match key_use.answered_by(&capture) {
                true => Ok(capture),
                false => Err(machine.unclear("the answer named a capture that was made with another key")),
            });
        key_use.end = match result.as_ref().map_err(|error| (error.kind(), error.attempts())) {
            Ok(_) => End::Unclear,
            Err((_, 0) | (ErrorKind::NotSent, _)) => End::NotSent,
            Err((ErrorKind::Rejected, _)) => End::Refused,
            Err(_) => End::Unclear,
        };
        result
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
        self.seek(order_id, || Wanted::new(reference, captured_amount)).and_then(|look| self.look(look))
    }

    /// The same with `reference` and `captured_amount` from any serde source, read as strictly
    /// as a request.
    ///
    /// # Errors
    ///
    /// As [`reconcile`](Client::reconcile).
    pub fn prepare_reconcile<'de, D: Deserializer<'de>>(&self, order_id: &str, wanted: D) -> Result<Look, Error> {
        self.seek(order_id, || Wanted::from_deserializer(wanted))
    }

    /// Where requests go, without credentials.
    pub fn base_url(&self) -> &str {
        self.0.endpoint.base_url().as_str()
    }

    /// Does a prepared look and waits for its result.
    ///
    /// # Errors
    ///
    /// As [`reconcile`](Client::reconcile).
    pub fn look(&self, look: Look) -> Result<Reconciliation, Error> {
        let Look(mut machine) = look;
        catch_unwind(AssertUnwindSafe(|| self.drive(&mut machine)))
            .unwrap_or_else(|_| Err(machine.internal("a panic was caught")))
    }

    fn seek(&self, order_id: &str, wanted: impl FnOnce() -> Result<Wanted, Error>) -> Result<Look, Error> {
        self.begin(order_id, None, || {
            wire::check_order_id(order_id)?;
            let (operation, request) = self.list(order_id, wanted()?);
            let (endpoint, limits) = (self.0.endpoint.clone(), self.0.limits);
            let budget = self.mine()?.budget.clone();
            Ok(Look(Machine::new(operation, request, endpoint, limits, budget, key::random_seed()?)))
        })
    }

    /// Runs the first half of a call; its errors name the order and the key.
    fn begin<T>(
        &self,
        order_id: &str,
        idempotency_key: Option<&str>,
        half: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        catch_unwind(AssertUnwindSafe(half)).unwrap_or_else(|_| Err(Error::panicked())).map_err(|error| {
            error.with(|fields| {
                let shown = |text: &str| self.0.endpoint.scrub(text, 255);
                fields.order_id.get_or_insert_with(|| shown(order_id));
                fields.idempotency_key = fields.idempotency_key.take().or_else(|| idempotency_key.map(shown));
            })
        })
    }

    fn checked(&self, order_id: &str, request: &CaptureRequest, idempotency_key: Option<&str>) -> Result<Call, Error> {
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
        let mine = self.mine()?;
        let key = fingerprint(&[idempotency_key.as_bytes()]);
        let known = mine.keys.lock().unwrap_or_else(PoisonError::into_inner).begin(
            key,
            fingerprint(&[order_id.as_bytes(), &body]),
            self.now(),
        );
        if known == Known::Taken {
            return Err(Error::invalid(format!(
                "idempotency_key {idempotency_key} was used for another capture within 24 hours; Klarna would answer \
                 with that one and capture nothing; use another key (for a derived key, another name)"
            )));
        }
        let key_use = KeyUse { keys: mine.keys.clone(), key, end: End::NotSent };
        let reference = request.reference.as_deref().filter(|_| inner.config.reconcile);
        let settle = reference
            .and_then(|reference| Wanted::new(reference, request.captured_amount).ok())
            .map(|wanted| self.list(order_id, wanted));
        let request = inner.endpoint.post(&wire::captures_path(order_id), &idempotency_key, body);
        let operation = CaptureOperation { order_id: order_id.to_owned(), idempotency_key, warnings };
        let machine = Machine::new(
            operation,
            request,
            inner.endpoint.clone(),
            inner.limits,
            mine.budget.clone(),
            key::random_seed()?,
        );
        let machine = if known == Known::Unclear { machine.after_unclear() } else { machine };
        Ok(Call { machine: CaptureMachine::new(machine, settle), key_use })
    }

    fn list(&self, order_id: &str, wanted: Wanted) -> (ListOperation, Request) {
        let request = self.0.endpoint.get(&wire::captures_path(order_id));
        (ListOperation { order_id: order_id.to_owned(), wanted, endpoint: self.0.endpoint.clone() }, request)
    }

    /// Does what a machine says until it is done.
    fn drive<M: Drive>(&self, machine: &mut M) -> Result<M::Output, Error> {
        let connections = &self.mine()?.connections;
        let mut event = Event::Start;
        loop {
            match machine.step(self.now(), event) {
                Step::Send(timeout) => {
                    event = connections.exchange(machine.request(), timeout);
                    // a library built for the tests alone shows what a bug of ours would do
                    #[cfg(takings_fault)]
                    assert!(
                        !machine.request().url.path().contains("/panic-after-sending/"),
                        "a fault that was asked for"
                    );
                }
                Step::Wait(pause) => {
                    std::thread::sleep(pause);
                    event = Event::Waited;
                }
                Step::Done(result) => return result,
            }
        }
    }

    fn now(&self) -> Duration {
        self.0.start.elapsed()
    }

    /// What belongs to this process, made at its first call. No lock is taken: one that was
    /// held during a fork would stay locked in the child.
    fn mine(&self) -> Result<&Mine, Error> {
        let process = std::process::id();
        let mut inherited = None;
        let mut place = &self.0.slots;
        // Only the last slot can be this process's: process ids come around again.
        while let Some(slot) = place.get() {
            if let (true, None, Some(mine)) = (slot.process == process, slot.next.get(), &slot.mine) {
                return Ok(mine);
            }
            inherited = slot.mine.as_ref();
            place = &slot.next;
        }
        // The parent's keys still count, unless another of its threads held them at the fork.
        let keys =
            inherited.and_then(|mine| mine.keys.try_lock().ok().map(|keys| keys.inherited())).unwrap_or_default();
        let mine = Mine {
            connections: self.0.transport.open()?,
            keys: Arc::new(Mutex::new(keys)),
            budget: Arc::new(Budget::new()),
        };
        let slot = Slot { process, mine: Some(mine), next: OnceBox::new() };
        // Another thread may have been quicker; then its slot is the one.
        let _ = place.set(Box::new(slot));
        let slot = place.get().expect("it has just been filled");
        Ok(slot.mine.as_ref().expect("a slot is emptied only when dropped"))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base_url", &self.base_url()).finish_non_exhaustive()
    }
}
