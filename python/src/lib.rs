//! The Python module `takings._takings`: the client for Python.
//!
//! The core decides, checks and words everything. This crate has the parts that belong to Python: values ([`value`]),
//! settings ([`settings`]), exceptions ([`outcome`]), calls in flight ([`call`]), the interpreter lock and Ctrl-C
//! ([`wait`]), and the interpreter's end ([`gate`]).

#![forbid(unsafe_code)]

mod arguments;
mod call;
mod gate;
mod modules;
mod money;
mod offline;
mod outcome;
mod report;
mod sandbox;
mod settings;
mod slot;
mod value;
mod wait;

use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};
use takings::{Config, Error};

use crate::arguments::prepare;
use crate::call::Call;
use crate::gate::Inside;
use crate::modules::{SENDING, is_loaded};
use crate::outcome::{exception, exception_of, of_a_value};
use crate::report::refused;
use crate::slot::Slot;
use crate::value::{Raised, Value, given, text};

/// The parts of a client that its settings make.
#[derive(Clone)]
struct Open {
    client: takings::Client,
    /// The callable of `takings._transport` that sends in place of takings' own connections.
    transport: Option<Arc<Py<PyAny>>>,
}

/// The client without the methods that are named after operations: `takings.Client` has both.
#[pyclass(module = "takings._takings", subclass, frozen)]
struct Client {
    /// Empty before `__init__` and after `close`.
    open: Slot<Open>,
}

impl Client {
    fn opened(&self) -> Result<Open, Error> {
        let closed = || Error::invalid_argument("the client", "closed", "open: make a new one, and close it last");
        self.open.look(Open::clone).ok_or_else(closed)
    }

    fn open(&self, settings: &Bound<'_, PyDict>, over_env: bool, transport: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        let opened =
            settings::config(settings, over_env).and_then(|config| self.make(settings.py(), config, transport));
        opened.map_err(|raised| of_a_value(settings.py(), "a setting", raised))
    }

    fn make(&self, py: Python<'_>, config: Config, transport: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        let beside = [("proxy", config.proxy.is_some()), ("ca_file", config.ca_file.is_some())];
        if let (true, Some((name, _))) = (transport.is_some(), beside.into_iter().find(|(_, given)| *given)) {
            let error = Error::invalid_argument(name, "given beside a transport", "a setting of that HTTP client");
            return Err(exception_of(py, &error));
        }
        let client = takings::Client::new(config.surface("python")).map_err(|error| exception_of(py, &error))?;
        let over = |transport| {
            let made = py.import("takings._transport")?.call_method1("over", (transport, client.base_url()))?;
            PyResult::Ok(Arc::new(made.unbind()))
        };
        let transport = transport.map(over).transpose()?;
        drop(self.open.replace(Some(Open { client, transport })));
        Ok(())
    }
}

#[pymethods]
impl Client {
    // `__init__` takes the settings, so that a subclass may have other arguments
    #[new]
    #[pyo3(signature = (*_arguments, **_settings))]
    fn new(_arguments: &Bound<'_, PyTuple>, _settings: Option<&Bound<'_, PyDict>>) -> Client {
        Client { open: Slot::new(None) }
    }

    /// Check the settings and make a client.
    #[pyo3(signature = (username: "Any"=None, password: "Any"=None, *, transport: "Any"=None, **settings: "Any"))]
    fn __init__(
        &self,
        py: Python<'_>,
        username: Option<Bound<'_, PyAny>>,
        password: Option<Bound<'_, PyAny>>,
        transport: Option<Bound<'_, PyAny>>,
        settings: Option<Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let settings = settings.unwrap_or_else(|| PyDict::new(py));
        settings.set_item("username", username)?;
        settings.set_item("password", password)?;
        self.open(&settings, false, transport)
    }

    /// Make a client from the environment, with these settings in place of it.
    ///
    /// Each setting has its variable: `KLARNA_USERNAME`, `KLARNA_PASSWORD`, `KLARNA_API_KEY`,
    /// `KLARNA_REGION`, `KLARNA_ENVIRONMENT`, `KLARNA_BASE_URL`, `KLARNA_INSECURE_HTTP_HOST`,
    /// `KLARNA_AUTH`, `KLARNA_CONNECT_TIMEOUT`, `KLARNA_ATTEMPT_TIMEOUT`, `KLARNA_TIMEOUT`,
    /// `KLARNA_MAX_ATTEMPTS`, `KLARNA_BACKOFF`, `KLARNA_MAX_BACKOFF`, `KLARNA_PROXY`,
    /// `KLARNA_CA_FILE`, `KLARNA_USER_AGENT_SUFFIX`, `KLARNA_CHECK_LINES`,
    /// `KLARNA_ACCEPT_UNKNOWN_VALUES`, `KLARNA_RECONCILE`.
    ///
    /// Times are in seconds, flags are `true` or `false`. An empty variable counts as absent. A
    /// subclass's `__init__` is not called.
    ///
    /// Raises `InvalidInput`, naming the variable or the setting.
    #[classmethod]
    #[pyo3(signature = (*, transport: "Transport | None"=None, **settings: "Unpack[Settings]") -> "Self")]
    fn from_env<'py>(
        cls: &Bound<'py, PyType>,
        transport: Option<Bound<'py, PyAny>>,
        settings: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = cls.py();
        let made = cls.call_method1("__new__", (cls,))?;
        made.cast::<Client>()?.get().open(&settings.unwrap_or_else(|| PyDict::new(py)), true, transport)?;
        Ok(made)
    }

    /// The body of every method that is named after an operation; without `send` the call is prepared alone. Python sends
    /// the call where there is a transport, or where the program traces.
    #[pyo3(signature = (operation: "Any", order_id: "Any", request: "Any", key: "Any", fields: "Any", send, /) -> "Any")]
    #[allow(clippy::too_many_arguments, reason = "positions cost less than names in every call")]
    fn _call<'py>(
        &self,
        py: Python<'py>,
        operation: &Bound<'py, PyAny>,
        order_id: Bound<'py, PyAny>,
        request: Option<Bound<'py, PyAny>>,
        key: Option<Bound<'py, PyAny>>,
        fields: Bound<'py, PyDict>,
        send: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _inside = Inside::new(py);
        let known = || Ok((self.opened()?, text("operation", operation)?));
        let (open, operation) = known().map_err(|error| refused(py, &error))?;
        let prepared = prepare(&open.client, operation, &order_id, request, key, fields);
        let call = Call::new(prepared.map_err(|raised| of_a_value(py, "the request", raised))?);
        if send && open.transport.is_none() && !is_loaded(py, intern!(py, "opentelemetry.trace"))? {
            return call.send(py);
        }
        let call = Bound::new(py, call)?;
        if !send {
            return Ok(call.into_any());
        }
        let arguments = (&call, open.transport.as_ref().map(|transport| transport.bind(py)));
        SENDING.get(py)?.call_method1(intern!(py, "run"), arguments).map_err(|raised| call.get().because(py, raised))
    }

    /// The same client with other limits, for calls that have less time than others or more: it
    /// shares connections, credentials and the memory of keys.
    ///
    /// An option that is absent is as in this client. Closing one of the two leaves the other open.
    ///
    /// Raises `InvalidInput`, naming the option.
    #[pyo3(signature = (**options: "Unpack[Options]") -> "Self")]
    fn with_options<'py>(slf: &Bound<'py, Self>, options: Option<Bound<'py, PyDict>>) -> PyResult<Bound<'py, PyAny>> {
        let (py, _inside) = (slf.py(), Inside::new(slf.py()));
        let open = slf.get().opened().map_err(|error| exception_of(py, &error))?;
        let (raised, options) = (Raised::default(), options.unwrap_or_else(|| PyDict::new(py)));
        let client = open.client.with_options_from(Value::new(settings::given(&options)?, &raised));
        let client = client.map_err(|error| exception_of(py, &error))?;
        let made = slf.get_type().call_method1("__new__", (slf.get_type(),))?;
        drop(made.cast::<Client>()?.get().open.replace(Some(Open { client, ..open })));
        Ok(made)
    }

    /// Where requests go, without credentials.
    #[getter]
    fn base_url(&self, py: Python<'_>) -> PyResult<String> {
        let _inside = Inside::new(py);
        let open = self.opened().map_err(|error| exception_of(py, &error))?;
        Ok(open.client.base_url().to_owned())
    }

    /// Close the connections. Calls that are under way end first in their own threads; later
    /// ones raise `InvalidInput`. Leaving a `with` block does the same.
    fn close(&self, py: Python<'_>) {
        let inside = Inside::new(py);
        let client = self.open.replace(None);
        inside.detach(py, || drop(client.map(|open| open.client)));
    }

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        slf.get().opened().map_err(|error| exception_of(slf.py(), &error))?;
        Ok(slf)
    }

    #[pyo3(signature = (*_raised: "object"))]
    fn __exit__(&self, py: Python<'_>, _raised: &Bound<'_, PyTuple>) {
        self.close(py);
    }

    /// Raise TypeError: a client holds credentials and connections.
    #[pyo3(signature = () -> "NoReturn")]
    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a takings.Client cannot be pickled or copied: it holds credentials and connections; make one where it is \
             needed (threads and forked processes may share one)",
        ))
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let name = slf.get_type().fully_qualified_name()?;
        let state = slf.get().open.look(|open| format!("base_url={:?}", open.client.base_url()));
        Ok(format!("<{name} {}>", state.as_deref().unwrap_or("closed")))
    }
}

/// Refuses the keywords that a function does not have, in the core's words, which name the nearest that it has.
pub fn no_others(function: &str, others: Option<&Bound<'_, PyDict>>) -> Result<(), Error> {
    let name = others.and_then(|others| others.keys().get_item(0).ok()).map(|name| name.to_string());
    name.map_or(Ok(()), |name| Err(takings::binding::unknown_argument(function, &name)))
}

/// Derive the idempotency key of the call named `name` of an order.
///
/// The same texts give the same key after a crash, on any host, in every language: a UUID v5
/// of the namespace `8f0b7c0e-51d4-4f0a-9c53-2b6fd0a174e6` and, for a capture,
/// `captures/{order_id}/{name}`. Other operations have words of their own there, and those on a
/// capture (`append_shipping_info`, `extend_due_date`, `trigger_send_out`) take its `capture_id`.
///
/// `name` says which capture of the order it is, such as `"parcel-1"`: 1 to 255 characters. Two
/// parcels need two names: Klarna answers a known key with the first result, whatever the body
/// says, so one key for two parcels would lose the second.
///
/// Raises `InvalidInput` when the order id or the name cannot be one, or the operation takes none.
#[pyfunction]
#[pyo3(
    signature = (
        order_id: "str"=None,
        name: "str"=None,
        operation: "str"=None,
        capture_id: "str | None"=None,
        **others
    ),
    text_signature = "(order_id, name, operation='capture', capture_id=None)"
)]
fn idempotency_key(
    py: Python<'_>,
    order_id: Option<Bound<'_, PyAny>>,
    name: Option<Bound<'_, PyAny>>,
    operation: Option<&Bound<'_, PyAny>>,
    capture_id: Option<&Bound<'_, PyAny>>,
    others: Option<&Bound<'_, PyDict>>,
) -> PyResult<String> {
    let key = || {
        no_others("idempotency_key", others)?;
        let operation = operation.map_or(Ok("capture"), |operation| text("operation", operation))?;
        takings::idempotency_key_for(
            operation,
            text("order_id", &given(py, order_id))?,
            capture_id.map(|id| text("capture_id", id)).transpose()?,
            text("name", &given(py, name))?,
        )
    };
    key().map_err(|error| exception_of(py, &error))
}

/// Make a fresh random key (UUID v4), to be stored before the call.
#[pyfunction]
#[pyo3(signature = (**others), text_signature = "()")]
fn new_idempotency_key(py: Python<'_>, others: Option<&Bound<'_, PyDict>>) -> PyResult<String> {
    let key = no_others("new_idempotency_key", others).and_then(|()| takings::new_idempotency_key());
    key.map_err(|error| exception_of(py, &error))
}

/// The text of `python -m takings`, about takings and its surroundings. No credential.
#[pyfunction]
fn diagnosis() -> String {
    takings::diagnosis()
}

/// The core's description of its operations, requests, replies and settings, as JSON.
#[pyfunction]
fn schema() -> String {
    takings::binding::schema()
}

/// An error of this package's own, in the core's words.
#[pyfunction]
#[pyo3(signature = (field, got, allowed) -> "InvalidInput")]
fn invalid_argument<'py>(py: Python<'py>, field: &str, got: &str, allowed: &str) -> PyResult<Bound<'py, PyAny>> {
    exception(py, &Error::invalid_argument(field, got, allowed))
}

/// The compiled half of the package `takings`.
#[pymodule]
mod _takings {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::call::Call;
    #[pymodule_export]
    use super::money::minor;
    #[pymodule_export]
    use super::offline::intent;
    #[pymodule_export]
    use super::{Client, idempotency_key, invalid_argument, new_idempotency_key};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        // functions for the package alone: `add` would put them in `__all__`
        module.setattr("diagnosis", wrap_pyfunction!(super::diagnosis, module)?)?;
        module.setattr("check", wrap_pyfunction!(super::offline::check, module)?)?;
        module.setattr("insert", wrap_pyfunction!(super::offline::insert, module)?)?;
        module.setattr("schema", wrap_pyfunction!(super::schema, module)?)?;
        module.setattr("Sandbox", module.py().get_type::<super::sandbox::Sandbox>())?;
        module.setattr("sandbox", wrap_pyfunction!(super::sandbox::sandbox, module)?)?;
        super::gate::open(module)?;
        module.add("__version__", takings::VERSION)
    }
}
