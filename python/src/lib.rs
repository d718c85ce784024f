//! The Python module `takings._takings`: the client, handed over to Python and nothing more.
//!
//! Everything that is decided, checked or worded is the core's. What belongs to Python is
//! here: its values ([`value`]), its settings ([`settings`]), its exceptions, the interpreter
//! lock, and Ctrl-C.

#![forbid(unsafe_code)]

mod outcome;
mod settings;
mod value;
mod wait;

use std::ffi::OsString;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};
use takings::{Config, Error};

use crate::outcome::{capture_of, exception_of, reconciliation_of};
use crate::value::{Value, text};

/// Captures orders of one merchant account; see the stub, `_takings.pyi`, for its manual.
#[pyclass(module = "takings", subclass, frozen)]
struct Client {
    /// `None` before `__init__` and after `close`. Locked only while the interpreter is held,
    /// so that no thread can hold it when another one forks.
    open: Mutex<Option<takings::Client>>,
}

impl Client {
    fn slot(&self) -> MutexGuard<'_, Option<takings::Client>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self, py: Python<'_>) -> PyResult<takings::Client> {
        self.slot().clone().ok_or_else(|| {
            let error = Error::invalid_argument("the client", "closed", "open: make a new one, and close it last");
            exception_of(py, &error)
        })
    }

    fn open(&self, py: Python<'_>, config: Config) -> PyResult<()> {
        let client = takings::Client::new(config.surface("python")).map_err(|error| exception_of(py, &error))?;
        *self.slot() = Some(client);
        Ok(())
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
                          check_lines='warn', accept_unknown_values=False, reconcile=False)"
    )]
    fn new(_arguments: &Bound<'_, PyTuple>, _settings: Option<&Bound<'_, PyDict>>) -> Client {
        Client { open: Mutex::new(None) }
    }

    #[pyo3(signature = (username=None, password=None, **settings))]
    fn __init__(
        &self,
        py: Python<'_>,
        username: Option<Bound<'_, PyAny>>,
        password: Option<Bound<'_, PyAny>>,
        settings: Option<Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let settings = settings.unwrap_or_else(|| PyDict::new(py));
        settings.set_item("username", username)?;
        settings.set_item("password", password)?;
        self.open(py, settings::config(&settings)?)
    }

    #[classmethod]
    fn from_env<'py>(cls: &Bound<'py, PyType>) -> PyResult<Bound<'py, PyAny>> {
        let py = cls.py();
        let config = Config::from_env().map_err(|error| exception_of(py, &error))?;
        let made = cls.call_method1("__new__", (cls,))?;
        made.cast::<Client>()?.get().open(py, config)?;
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
        let client = self.opened(py)?;
        let order_id = text("order_id", order_id)?;
        let idempotency_key = idempotency_key.as_ref().map(|key| text("idempotency_key", key)).transpose()?;
        let request = match (request, fields) {
            (Some(_), Some(_)) => {
                let error = Error::invalid_argument("the request", "given as a mapping and as keywords", "one of them");
                return Err(exception_of(py, &error));
            }
            (Some(request), None) => request,
            (None, fields) => fields.unwrap_or_else(|| PyDict::new(py)).into_any(),
        };
        let operation =
            value::read(py, |raised| client.prepare_from(order_id, Value::new(request, raised), idempotency_key))?;
        let abandoned = operation.abandoned();
        wait::until(py, move || operation.send(), capture_of, Some(abandoned))
    }

    #[pyo3(signature = (order_id, /, **wanted))]
    fn reconcile<'py>(
        &self,
        py: Python<'py>,
        order_id: &Bound<'py, PyAny>,
        wanted: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let client = self.opened(py)?;
        let order_id = text("order_id", order_id)?;
        let wanted = wanted.unwrap_or_else(|| PyDict::new(py)).into_any();
        let operation = value::read(py, |raised| client.prepare_reconcile_from(order_id, Value::new(wanted, raised)))?;
        wait::until(py, move || operation.send(), reconciliation_of, None)
    }

    #[getter]
    fn base_url(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.opened(py)?.base_url().to_owned())
    }

    fn close(&self, py: Python<'_>) {
        let client = self.slot().take();
        // the last one waits for its thread to end
        py.detach(|| drop(client));
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
        let state = match &*slf.get().slot() {
            Some(client) => format!("base_url={:?}", client.base_url()),
            None => "closed".to_owned(),
        };
        Ok(format!("<{name} {state}>"))
    }
}

#[pyfunction]
fn idempotency_key(py: Python<'_>, order_id: &Bound<'_, PyAny>, name: &Bound<'_, PyAny>) -> PyResult<String> {
    takings::idempotency_key(text("order_id", order_id)?, text("name", name)?).map_err(|error| exception_of(py, &error))
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

/// The compiled half of the package `takings`.
#[pymodule]
mod _takings {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::{Client, idempotency_key, new_idempotency_key};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        // What a call needs is imported now: a process without a free descriptor cannot do so later.
        module.py().import("threading")?;
        // For the package itself: not in __all__, where `add` would put them.
        module.setattr("diagnosis", wrap_pyfunction!(super::diagnosis, module)?)?;
        module.setattr("sandbox", wrap_pyfunction!(super::sandbox, module)?)?;
        module.add("__version__", takings::VERSION)
    }
}
