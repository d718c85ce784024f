//! Settings as Python has them: keywords, `None` for "not set", seconds, paths.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use takings::Config;

use crate::outcome::exception_of;
use crate::value::{Raised, Value};

/// The configuration that the keywords of `Client` say, or those of `Client.from_env` over the environment.
pub fn config(settings: &Bound<'_, PyDict>, over_env: bool) -> PyResult<Config> {
    let raised = Raised::default();
    let read = if over_env { Config::from_env_with_in_seconds } else { Config::from_deserializer_in_seconds };
    read(Value::new(given(settings)?, &raised)).map_err(|error| exception_of(settings.py(), &error))
}

/// The keywords that are set.
pub fn given<'py>(settings: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyAny>> {
    let py = settings.py();
    let given = PyDict::new(py);
    for (name, value) in settings {
        if value.is_none() {
            continue;
        }
        let name = name.cast_into::<PyString>()?;
        let is_path = value.hasattr("__fspath__")?;
        let value = if is_path { py.import("os")?.call_method1("fspath", (value,))? } else { value };
        given.set_item(name.to_string_lossy(), value)?;
    }
    Ok(given.into_any())
}
