//! The Python module `takings._takings`: the client, handed over to Python and nothing more.
//!
//! Everything that is decided, checked or worded is the core's. What belongs to Python is
//! here: its values ([`value`]), its settings ([`settings`]), its exceptions, calls on their way
//! ([`operation`]), the interpreter lock, Ctrl-C ([`wait`]) and the interpreter's end ([`gate`]).

#![forbid(unsafe_code)]

mod gate;
mod modules;
mod money;
mod operation;
mod outcome;
mod settings;
mod slot;
mod value;
mod wait;

use std::ffi::OsString;
use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};
use takings::{Config, Error};

use crate::gate::Inside;
use crate::modules::driving;
use crate::operation::{Operation, tell_refused};
use crate::outcome::{exception, exception_of};
use crate::slot::Slot;
use crate::value::{Value, text};

/// What a client has from its settings.
#[derive(Clone)]
struct Open {
    client: takings::Client,
    /// What sends instead of our own connections: a callable of `takings._transport`.
    transport: Option<Arc<Py<PyAny>>>,
}

/// Captures orders of one merchant account; see the stub, `_takings.pyi`, for its manual.
#[pyclass(module = "takings", subclass, frozen)]
struct Client {
    /// Empty before `__init__` and after `close`.
    open: Slot<Open>,
}

impl Client {
    fn opened(&self, py: Python<'_>) -> PyResult<Open> {
        self.open.look(Open::clone).ok_or_else(|| {
            let error = Error::invalid_argument("the client", "closed", "open: make a new one, and close it last");
            exception_of(py, &error)
        })
    }

    fn open(&self, py: Python<'_>, config: Config, transport: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        let beside = [("proxy", config.proxy.is_some()), ("ca_file", config.ca_file.is_some())];
        if let (true, Some((name, _))) = (transport.is_some(), beside.into_iter().find(|(_, given)| *given)) {
            let error = Error::invalid_argument(name, "given beside a transport", "a setting of that HTTP client");
            return Err(exception_of(py, &error));
        }
        let client = takings::Client::new(config.surface("python")).map_err(|error| exception_of(py, &error))?;
        let transport = match transport {
            None => None,
            Some(transport) => {
                let made = py.import("takings._transport")?.call_method1("over", (transport, client.base_url()))?;
                Some(Arc::new(made.unbind()))
            }
        };
        drop(self.open.replace(Some(Open { client, transport })));
        Ok(())
    }

    /// Sends a call and waits for its outcome.
    fn run<'py>(&self, py: Python<'py>, operation: Operation) -> PyResult<Bound<'py, PyAny>> {
        let _inside = Inside::new(py);
        let transport = self.opened(py)?.transport;
        let operation = Bound::new(py, operation)?;
        let arguments = (&operation, transport.as_ref().map(|transport| transport.bind(py)));
        let ended = driving(py)?.call_method1(intern!(py, "run"), arguments);
        ended.map_err(|raised| operation.get().because(py, raised))
    }
}

#[pymethods]
impl Client {
    // `__init__` takes the settings, so that a subclass may have arguments of its own.
    #[new]
    #[pyo3(
        signature = (*_arguments, **_settings),
        text_signature = "(username=None, password=None, *, api_key=None, auth=None, region=None, environment=None, \
                          base_url=None, timeout=25.0, connect_timeout=5.0, attempt_timeout=10.0, max_attempts=3, \
                          backoff=0.5, max_backoff=8.0, proxy=None, ca_file=None, user_agent_suffix=None, \
                          check_lines='warn', accept_unknown_values=False, reconcile=False, transport=None)"
    )]
    fn new(_arguments: &Bound<'_, PyTuple>, _settings: Option<&Bound<'_, PyDict>>) -> Client {
        Client { open: Slot::new(None) }
    }

    #[pyo3(signature = (username=None, password=None, *, transport=None, **settings))]
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
        self.open(py, settings::config(&settings)?, transport)
    }

    #[classmethod]
    #[pyo3(signature = (*, transport=None))]
    fn from_env<'py>(cls: &Bound<'py, PyType>, transport: Option<Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
        let py = cls.py();
        let config = Config::from_env().map_err(|error| exception_of(py, &error))?;
        let made = cls.call_method1("__new__", (cls,))?;
        made.cast::<Client>()?.get().open(py, config, transport)?;
        Ok(made)
    }

    #[pyo3(signature = (order_id, request=None, /, *, idempotency_key=None, **fields))]
    fn capture<'py>(
        &self,
        py: Python<'py>,
        order_id: &Bound<'py, PyAny>,
        request: Option<Bound<'py, PyAny>>,
        idempotency_key: Option<Bound<'py, PyAny>>,
        fields: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let operation = self.prepare(py, order_id, request, idempotency_key, fields)?;
        self.run(py, operation)
    }

    #[pyo3(signature = (order_id, /, **wanted))]
    fn reconcile<'py>(
        &self,
        py: Python<'py>,
        order_id: &Bound<'py, PyAny>,
        wanted: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let operation = self.prepare_reconcile(py, order_id, wanted)?;
        self.run(py, operation)
    }

    #[pyo3(signature = (order_id, request=None, /, *, idempotency_key=None, **fields))]
    fn prepare<'py>(
        &self,
        py: Python<'py>,
        order_id: &Bound<'py, PyAny>,
        request: Option<Bound<'py, PyAny>>,
        idempotency_key: Option<Bound<'py, PyAny>>,
        fields: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Operation> {
        let _inside = Inside::new(py);
        let prepare = || {
            let client = self.opened(py)?.client;
            let order_id = text("order_id", order_id);
            let idempotency_key = idempotency_key.as_ref().map(|key| text("idempotency_key", key)).transpose();
            let request = match (request, fields) {
                (Some(_), Some(_)) => {
                    Err(Error::invalid_argument("the request", "given as a mapping and as keywords", "one of them"))
                }
                (Some(request), None) => Ok(request),
                (None, fields) => Ok(fields.unwrap_or_else(|| PyDict::new(py)).into_any()),
            };
            let known = (order_id.as_ref().ok().copied(), idempotency_key.as_ref().ok().copied().flatten());
            let refused = |error| exception_of(py, &client.refused(error, known.0, known.1));
            let (order_id, idempotency_key) = (order_id.map_err(refused)?, idempotency_key.map_err(refused)?);
            let request = request.map_err(refused)?;
            value::read(py, |raised| client.prepare_from(order_id, Value::new(request, raised), idempotency_key))
        };
        prepare().map(Operation::new).map_err(|error| tell_refused(py, error))
    }

    #[pyo3(signature = (order_id, /, **wanted))]
    fn prepare_reconcile<'py>(
        &self,
        py: Python<'py>,
        order_id: &Bound<'py, PyAny>,
        wanted: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Operation> {
        let _inside = Inside::new(py);
        let prepare = || {
            let client = self.opened(py)?.client;
            let order_id = text("order_id", order_id).map_err(|error| exception_of(py, &error))?;
            let wanted = wanted.unwrap_or_else(|| PyDict::new(py)).into_any();
            value::read(py, |raised| client.prepare_reconcile_from(order_id, Value::new(wanted, raised)))
        };
        prepare().map(Operation::new).map_err(|error| tell_refused(py, error))
    }

    #[getter]
    fn base_url(&self, py: Python<'_>) -> PyResult<String> {
        let _inside = Inside::new(py);
        Ok(self.opened(py)?.client.base_url().to_owned())
    }

    fn close(&self, py: Python<'_>) {
        let inside = Inside::new(py);
        let client = self.open.replace(None);
        inside.detach(py, || drop(client.map(|open| open.client)));
    }

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        slf.get().opened(slf.py())?;
        Ok(slf)
    }

    #[pyo3(signature = (_exc_type, _exc_value, _traceback, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        _exc_type: &Bound<'_, PyAny>,
        _exc_value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) {
        self.close(py);
    }

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

#[pyfunction]
fn idempotency_key(py: Python<'_>, order_id: &Bound<'_, PyAny>, name: &Bound<'_, PyAny>) -> PyResult<String> {
    let key = || takings::idempotency_key(text("order_id", order_id)?, text("name", name)?);
    key().map_err(|error| exception_of(py, &error))
}

#[pyfunction]
fn new_idempotency_key(py: Python<'_>) -> PyResult<String> {
    takings::new_idempotency_key().map_err(|error| exception_of(py, &error))
}

/// `takings::diagnosis`.
#[pyfunction]
fn diagnosis() -> String {
    takings::diagnosis()
}

/// The program `takings-sandbox` with these flags, for `takings.__main__` alone; its exit code.
#[pyfunction]
fn sandbox(py: Python<'_>, flags: Vec<OsString>) -> u8 {
    u8::from(!py.detach(|| takings_sandbox::program(flags)))
}

/// For the half that is written in Python: an `InvalidInput` in the core's words.
#[pyfunction]
fn invalid_argument<'py>(py: Python<'py>, field: &str, got: &str, allowed: &str) -> PyResult<Bound<'py, PyAny>> {
    let error = Error::invalid_argument(field, got, allowed);
    exception(py, &error, error.message())
}

/// The compiled half of the package `takings`.
#[pymodule]
mod _takings {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::money::minor;
    #[pymodule_export]
    use super::operation::Operation;
    #[pymodule_export]
    use super::{Client, idempotency_key, invalid_argument, new_idempotency_key};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        // For the package itself: not in __all__, where `add` would put them.
        module.setattr("diagnosis", wrap_pyfunction!(super::diagnosis, module)?)?;
        module.setattr("sandbox", wrap_pyfunction!(super::sandbox, module)?)?;
        super::gate::open(module)?;
        module.add("__version__", takings::VERSION)
    }
}
