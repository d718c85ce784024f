//! The client: checks a call, notes its key, and makes the [`Call`] that sends it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Deserializer;

use crate::api::arguments::{Checked, Reading, ReconcileRequest};
use crate::api::ids;
use crate::api::operation::{Effect, FoundBy, Operation, Reply};
use crate::api::operations::{self, CAPTURE, RECONCILE};
use crate::api::options::Options;
use crate::api::reply::{Capture, Reconciliation};
use crate::api::request::CaptureRequest;
use crate::decide::doubt::Doubt;
use crate::decide::find::Identity;
use crate::decide::machine::{Machine, Purpose};
use crate::decide::memory::{Begun, MOST_OPEN, fingerprint};
use crate::decide::plan::{Course, Part};
use crate::decide::settle::Settlement;
use crate::drive::call::Call;
use crate::drive::log;
use crate::drive::session::{KeyUse, PerProcess, Session};
use crate::error::{Error, ErrorKind};
use crate::key;
use crate::settings::config::Config;
use crate::strict::{Field, Item, Reader, Voice};

/// The options' name in messages.
const OPTIONS: &str = "the options";

/// Makes calls for one merchant account.
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
///     Err(error) if matches!(error.kind(), ErrorKind::Rejected | ErrorKind::InvalidInput) => {
///         println!("nothing was captured by this call: {error}");
///     }
///     // it may have been captured
///     Err(error) => println!("ask again with {key}: {error}"),
/// }
/// # Ok::<(), takings::Error>(())
/// ```
#[derive(Clone)]
pub struct Client {
    session: Arc<Session>,
    /// In place of the session's settings.
    options: Options,
}

impl Client {
    /// Checks the settings and makes a client. Nothing is connected before
    /// the first call.
    ///
    /// # Errors
    ///
    /// `invalid_input`, naming the setting.
    pub fn new(config: Config) -> Result<Client, Error> {
        Ok(Client { session: Arc::new(Session::new(config)?), options: Options::default() })
    }

    /// The same client with other limits, for calls that have less time than others or more: it shares connections,
    /// credentials and the memory of keys. An option that is absent is as in this client.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use takings::{Client, Config, Credentials, Options, Region};
    /// # let client = Client::new(Config::playground(Region::Eu, Credentials::basic("PK0000_0a1b2c", "secret")))?;
    /// let quick = client.with_options(Options::default().timeout(Duration::from_secs(3)).max_attempts(1))?;
    /// # Ok::<(), takings::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `invalid_input`, naming the option.
    pub fn with_options(&self, options: Options) -> Result<Client, Error> {
        options.check(&Reader::in_seconds(OPTIONS).root(), &Options::RULE)?;
        Ok(Client { session: self.session.clone(), options: options.over(self.options) })
    }

    /// The same with the options as JSON text: `timeout_ms` and `max_attempts`.
    ///
    /// # Errors
    ///
    /// `invalid_input`, naming the option.
    pub fn with_options_json(&self, options: &str) -> Result<Client, Error> {
        self.with_options(Reader::new(OPTIONS, false).json(options, &Options::RULE)?)
    }

    /// For bindings: the same from any serde source, in the words and the unit of the client's language.
    ///
    /// # Errors
    ///
    /// As [`with_options`](Client::with_options).
    #[doc(hidden)]
    pub fn with_options_from<'de, D: Deserializer<'de>>(&self, options: D) -> Result<Client, Error> {
        let reader = Reader::new(OPTIONS, false).in_units_of(Voice::of(self.session.config.surface));
        self.with_options(reader.read_by_unit(options)?)
    }

    /// Captures `request` of the order, in full or in part, and waits for the outcome.
    ///
    /// Without a key a fresh one is made and kept over the retries of this call; it comes back
    /// in the capture and in every error. With a key of your own
    /// ([`idempotency_key`](crate::idempotency_key) derives one) the capture can be called
    /// again after a crash. takings then does not know whether an earlier call with it captured, so most refusals are
    /// `outcome_unknown`; [`Call::first_use`] says that there was none.
    ///
    /// # Errors
    ///
    /// Each [`ErrorKind`] says what it means for the money. `invalid_input` is found before
    /// anything is sent; a key that this client used for another call within 24 hours is
    /// refused, since Klarna would answer it with the other one.
    pub fn capture(
        &self,
        order_id: &str,
        request: &CaptureRequest,
        idempotency_key: Option<&str>,
    ) -> Result<Capture, Error> {
        self.prepare(order_id, request, idempotency_key)?.send_at_once()?.try_into()
    }

    /// The same with the request as JSON text, read as strictly as
    /// [`CaptureRequest::from_json`] does. Beside Klarna's fields it may hold `first_use`, `first_used`
    /// and `after_unclear`.
    ///
    /// # Errors
    ///
    /// As [`capture`](Client::capture).
    pub fn capture_json(&self, order_id: &str, request: &str, idempotency_key: Option<&str>) -> Result<Capture, Error> {
        self.prepare_json(order_id, request, idempotency_key)?.send_at_once()?.try_into()
    }

    /// The first half of [`capture`](Client::capture): everything that can be refused is refused
    /// here, and the key is known before anything is sent. The [`Call`] is the second half:
    /// it is sent over the client's connections, or step by step by the host.
    ///
    /// # Errors
    ///
    /// `invalid_input`.
    pub fn prepare(
        &self,
        order_id: &str,
        request: &CaptureRequest,
        idempotency_key: Option<&str>,
    ) -> Result<Call, Error> {
        self.prepare_built(&CAPTURE, order_id, request, idempotency_key)
    }

    /// The same with the request as JSON text, as [`capture_json`](Client::capture_json) takes it.
    ///
    /// # Errors
    ///
    /// `invalid_input`.
    pub fn prepare_json(&self, order_id: &str, request: &str, idempotency_key: Option<&str>) -> Result<Call, Error> {
        self.prepare_call(CAPTURE.name, order_id, request, idempotency_key)
    }

    /// Looks up the capture of an order with this reference and amount, for a shop that must know
    /// the outcome of a capture without capturing again.
    ///
    /// The result is only sound when each capture of an order has a `reference` of its own. No
    /// match means that there was none when Klarna was asked: a capture whose answer was lost a
    /// moment ago may still be on its way.
    ///
    /// # Errors
    ///
    /// The captures could not be read; what became of the capture stays unknown.
    pub fn reconcile(&self, order_id: &str, reference: &str, captured_amount: i64) -> Result<Reconciliation, Error> {
        self.prepare_reconcile(order_id, reference, captured_amount)?.send_at_once()?.try_into()
    }

    /// The first half of [`reconcile`](Client::reconcile); the [`Call`] is the second.
    ///
    /// # Errors
    ///
    /// `invalid_input`.
    pub fn prepare_reconcile(&self, order_id: &str, reference: &str, captured_amount: i64) -> Result<Call, Error> {
        let wanted = ReconcileRequest { reference: reference.to_owned(), captured_amount };
        self.prepare_built(&RECONCILE, order_id, &wanted, None)
    }

    /// Calls any operation by its name and waits for the outcome. `arguments` is a JSON object: what the operation
    /// takes beside the order id, and for one that changes something `first_use`, `first_used` and `after_unclear`.
    ///
    /// # Errors
    ///
    /// Each [`ErrorKind`] says what it means for the money.
    pub fn call(
        &self,
        operation: &str,
        order_id: &str,
        arguments: &str,
        idempotency_key: Option<&str>,
    ) -> Result<Reply, Error> {
        self.prepare_call(operation, order_id, arguments, idempotency_key)?.send_at_once()
    }

    /// The first half of [`call`](Client::call); the [`Call`] is the second.
    ///
    /// # Errors
    ///
    /// `invalid_input`.
    pub fn prepare_call(
        &self,
        operation: &str,
        order_id: &str,
        arguments: &str,
        idempotency_key: Option<&str>,
    ) -> Result<Call, Error> {
        self.prepare_text(operation, Ok(order_id), Ok(arguments), Ok(idempotency_key))
    }

    /// For programs that keep calls for later: whether [`prepare_call`](Client::prepare_call) would take these
    /// arguments. No key is used or remembered.
    ///
    /// # Errors
    ///
    /// `invalid_input`.
    #[doc(hidden)]
    pub fn check_call(&self, operation: &str, order_id: &str, arguments: &str) -> Result<(), Error> {
        self.begin(Ok(order_id), Ok(None), || {
            let checked = operations::read_json(operations::named(operation)?, arguments, self.reading());
            checked.and_then(|_| ids::check_order_id(order_id))
        })
    }

    /// For bindings: as `prepare_call`. An argument that could not be read comes as its error. The call is refused with that
    /// error, which then names the rest of the call.
    ///
    /// # Errors
    ///
    /// `invalid_input`.
    #[doc(hidden)]
    pub fn prepare_text(
        &self,
        operation: &str,
        order_id: Result<&str, Error>,
        arguments: Result<&str, Error>,
        idempotency_key: Result<Option<&str>, Error>,
    ) -> Result<Call, Error> {
        self.read(operation, order_id, idempotency_key, |operation| {
            operations::read_json(operation, arguments?, self.reading())
        })
    }

    /// As [`prepare_text`](Client::prepare_text), with the arguments from any serde source.
    ///
    /// # Errors
    ///
    /// `invalid_input`.
    #[doc(hidden)]
    pub fn prepare_from<'de, D: Deserializer<'de>>(
        &self,
        operation: &str,
        order_id: Result<&str, Error>,
        arguments: Result<D, Error>,
        idempotency_key: Result<Option<&str>, Error>,
    ) -> Result<Call, Error> {
        self.read(operation, order_id, idempotency_key, |operation| {
            operations::read(operation, arguments?, self.reading())
        })
    }

    /// Where requests go, without credentials.
    pub fn base_url(&self) -> &str {
        self.session.endpoint().base_url().as_str()
    }

    /// The proxy that this client's own connections go through, as its host and port: the setting
    /// `proxy`, or the environment's, whose exceptions (`NO_PROXY`) may still leave it out. A host
    /// that sends by itself goes the same way, or refuses.
    pub fn proxy(&self) -> Option<&str> {
        self.session.proxy()
    }

    /// The setting `ca_file`: the authorities that a host that sends by itself has to trust instead of the system's.
    pub fn ca_file(&self) -> Option<&Path> {
        self.session.config.ca_file.as_deref().map(Path::new)
    }

    /// For bindings: an error from before the call was made, with what is known of the call.
    #[doc(hidden)]
    pub fn refused(&self, error: Error, order_id: Option<&str>, idempotency_key: Option<&str>) -> Error {
        let error = error.with(|fields| {
            let shown = |text: &str| self.session.endpoint().scrub(text, 255);
            fields.order_id = fields.order_id.take().or_else(|| order_id.map(shown));
            fields.idempotency_key = fields.idempotency_key.take().or_else(|| idempotency_key.map(shown));
        });
        log::refused(&error);
        error
    }

    pub(crate) fn reading(&self) -> Reading {
        let config = &self.session.config;
        let voice = Voice::of(config.surface);
        Reading { accept_unknown_values: config.accept_unknown_values, check_lines: config.check_lines, voice }
    }

    /// Makes a call whose arguments are still to be read.
    fn read(
        &self,
        operation: &str,
        order_id: Result<&str, Error>,
        idempotency_key: Result<Option<&str>, Error>,
        arguments: impl FnOnce(&'static Operation) -> Result<Checked, Error>,
    ) -> Result<Call, Error> {
        self.begin(order_id.clone(), idempotency_key.clone(), || {
            let (order_id, idempotency_key) = (order_id?, idempotency_key?);
            let operation = operations::named(operation)?;
            self.checked(operation, order_id, arguments(operation)?, idempotency_key)
        })
    }

    /// Runs the first half of a call; its errors name the order and the key.
    pub(crate) fn begin<T>(
        &self,
        order_id: Result<&str, Error>,
        idempotency_key: Result<Option<&str>, Error>,
        half: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let half = catch_unwind(AssertUnwindSafe(half)).unwrap_or_else(|_| Err(Error::panicked()));
        half.map_err(|error| self.refused(error, order_id.ok(), idempotency_key.ok().flatten()))
    }

    pub(crate) fn checked(
        &self,
        operation: &'static Operation,
        order_id: &str,
        checked: Checked,
        idempotency_key: Option<&str>,
    ) -> Result<Call, Error> {
        #[cfg(takings_fault)]
        assert_ne!(order_id, "panic-before-sending", "a fault that was asked for");
        let session = &self.session;
        let own = session.own();
        ids::check_order_id(order_id)?;
        let options = &checked.options;
        let after_unclear = options.after_unclear == Some(true);
        if let Some(name) = options.of_the_key().filter(|_| !operation.writes()) {
            let got = format!("given to {}, which changes nothing", operation.name);
            return Err(Error::invalid_argument(name, &got, "left out there"));
        }
        let of_a_key = [("first_used", options.first_used.is_some()), ("after_unclear", after_unclear)];
        if let (None, Some((name, _))) = (idempotency_key, of_a_key.into_iter().find(|(_, given)| *given)) {
            let got = "given without an idempotency key";
            return Err(Error::invalid_argument(name, got, "given with the key that it speaks of"));
        }
        if let Effect::Follows(plan) = operation.effect {
            if idempotency_key.is_some() {
                let got = format!("given to {}, which makes its own", operation.name);
                return Err(Error::invalid_argument("idempotency_key", &got, "left out there"));
            }
            let arguments = serde_json::from_slice(&checked.body).unwrap_or_default();
            let endpoint = session.shared(own, session.config.limits_with(self.options)).endpoint;
            let mut course = Course::new(operation, plan, order_id, arguments, checked.warnings, endpoint);
            let limits = options.limits().over(self.options);
            let (settlement, key_use) = part(session, limits, own, order_id, course.first())?;
            let course = Some((Box::new(course), limits));
            return Ok(Call::new(session.clone(), own, settlement, key_use, course, part));
        }
        let looks_first = options.look_first == Some(true);
        if looks_first && !matches!(operation.found_by, FoundBy::Reference { .. }) {
            let got = format!("given to {}, which no reference finds again", operation.name);
            return Err(Error::invalid_argument("look_first", &got, "left out there"));
        }
        if looks_first && checked.identity.is_none() {
            return Err(Error::invalid_argument("look_first", "given without a reference", "given with one"));
        }
        let (first_use, first_used) = (options.first_use == Some(true), options.first_used);
        let (settlement, key_use) = self.settlement(own, operation, order_id, checked, Key::Given(idempotency_key))?;
        let settlement = settlement.looking_first(looks_first);
        let mut call = Call::new(session.clone(), own, settlement, key_use, None, part);
        if first_use {
            call = call.first_use();
        }
        if after_unclear {
            call = call.after_unclear();
        }
        if let Some(seconds) = first_used {
            call = call.first_used(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs()));
        }
        Ok(call)
    }

    /// A request with its retries, ready to begin.
    fn settlement(
        &self,
        own: &PerProcess,
        operation: &'static Operation,
        order_id: &str,
        checked: Checked,
        key: Key<'_>,
    ) -> Result<(Settlement, Option<KeyUse>), Error> {
        let session = &self.session;
        let parameter =
            |name: &str| checked.parameters.iter().find(|(known, _)| *known == name).map(|(_, id)| id.as_str());
        let path = ids::path(order_id, operation.path, parameter);
        // The pauses of calls that begin together need only differ: neither secrecy nor a system call is worth it.
        let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let seed = (clock.as_secs() << 32 | u64::from(own.process())) ^ u64::from(clock.subsec_nanos());
        let (idempotency_key, stands_for) = match key {
            Key::Given(given) => (given, &checked.body[..]),
            // The lines that Klarna lists may differ from one reading to the next; the key stands for the rest.
            Key::OfAmount(key) => (Some(key), key.as_bytes()),
        };
        let (key, key_use) = match operation.writes() {
            true => {
                if let (Key::Given(Some(key)), Some((reference, amount))) = (&key, &checked.identity) {
                    key::check_operation(key, operation, order_id, (reference, *amount))?;
                }
                let parts = [operation.method.as_str().as_bytes(), path.as_bytes(), stands_for];
                let (key, key_use) = self.note_key(own, operation.name, idempotency_key, fingerprint(&parts))?;
                (Some(key), Some(key_use))
            }
            false if idempotency_key.is_some() => {
                let got = format!("given to {}, which changes nothing", operation.name);
                return Err(Error::invalid_argument("idempotency_key", &got, "left out there"));
            }
            false => (None, None),
        };
        let limits = session.config.limits_with(checked.options.limits().over(self.options));
        let mut warnings = checked.warnings;
        warnings.extend(checked.cannot_be_found.filter(|_| idempotency_key.is_none()).map(str::to_owned));
        let request = operation.request(session.endpoint(), &path, key.as_deref(), checked.body);
        let purpose = Purpose {
            operation,
            order_id: order_id.to_owned(),
            idempotency_key: key,
            parameters: checked.parameters,
            identity: checked.identity.map(|(reference, amount)| Identity { reference, amount }),
            warnings,
        };
        let machine = Machine::new(purpose, request, session.shared(own, limits), seed);
        Ok((Settlement::new(machine, session.config.reconcile), key_use))
    }

    /// The key of a call, given or made, noted as one that begins.
    fn note_key(
        &self,
        own: &PerProcess,
        name: &str,
        given: Option<&str>,
        fingerprint_of_call: u64,
    ) -> Result<(String, KeyUse), Error> {
        let is_made = given.is_none();
        let text = match given {
            Some(text) => {
                key::check_key(text)?;
                text.to_owned()
            }
            None => key::new_idempotency_key()?,
        };
        let key = fingerprint(&[text.as_bytes()]);
        let now = self.session.moment();
        match own.memory().begin(key, fingerprint_of_call, now) {
            Begun::Ready => Ok((text, KeyUse::new(key, is_made, own, now))),
            Begun::OfAnotherCall(Doubt::Done(_)) => Err(Error::invalid(format!(
                "idempotency_key {text} was used for another {name}, or for another operation, which was carried out; Klarna \
                 would answer with that one and carry out nothing; if it is the same one, it is done; for a new one use \
                 another key (for a derived key, another name)"
            ))),
            Begun::OfAnotherCall(doubt) if doubt.is_open() => Err(Error::invalid(format!(
                "idempotency_key {text} was used for another {name}, or for another operation, which may have been carried \
                 out; settle that one first: call it again as it was, with this key, or search for it (reconcile)"
            ))),
            Begun::OfAnotherCall(_) => Err(Error::invalid(format!(
                "idempotency_key {text} was used for another {name}, or for another operation; Klarna would answer with \
                 that one and carry out nothing; use another key (for a derived key, another name)"
            ))),
            Begun::Full => Err(Error::new(
                ErrorKind::NotSent,
                format!(
                    "nothing was sent: this client remembers {MOST_OPEN} keys whose calls ended in outcome_unknown, and can \
                     remember no more; settle those first, by calling again with their keys, or by reading their orders \
                     (reconcile) and then making a new client"
                ),
            )),
        }
    }
}

/// The key of a request.
enum Key<'a> {
    /// Given by the caller, or to be made.
    Given(Option<&'a str>),
    /// Derived from the order and an amount, whatever else the body says.
    OfAmount(&'a str),
}

/// A request of a call that follows a plan.
fn part(
    session: &Arc<Session>,
    options: Options,
    own: &PerProcess,
    order_id: &str,
    part: Part,
) -> Result<(Settlement, Option<KeyUse>), Error> {
    let client = Client { session: session.clone(), options };
    let read = |text: &String| operations::read_json(part.operation, text, client.reading());
    let mut texts = part.arguments.iter();
    let first = read(texts.next().ok_or_else(Error::panicked)?);
    let checked = first.or_else(|refused| texts.next().map_or(Err(refused), read));
    let key = part.key.as_deref().map_or(Key::Given(None), Key::OfAmount);
    let made = checked.and_then(|checked| client.settlement(own, part.operation, order_id, checked, key));
    // The order was read by then, so nothing that the caller gave is at fault.
    made.map_err(|error| match error.kind() {
        ErrorKind::InvalidInput => {
            let message = format!("{}; nothing was sent", error.message());
            Error::new(ErrorKind::NotSent, message).with(|fields| fields.retryable = false)
        }
        _ => error,
    })
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base_url", &self.base_url()).finish_non_exhaustive()
    }
}
