//! Settings as Python has them: keywords, `None` for "not set", seconds, paths.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyString};
use takings::{Config, Error};

use crate::outcome::{exception_of, exception_saying};
use crate::value::{Raised, Value, kind};

/// Where the configuration keeps a time.
type Field = fn(&mut Config) -> &mut Duration;

/// The settings that are times.
const TIMES: [(&str, Field); 5] = [
    ("timeout", |config| &mut config.timeout),
    ("connect_timeout", |config| &mut config.connect_timeout),
    ("attempt_timeout", |config| &mut config.attempt_timeout),
    ("backoff", |config| &mut config.backoff),
    ("max_backoff", |config| &mut config.max_backoff),
];

/// The configuration that the keywords of `Client` say.
pub fn config(settings: &Bound<'_, PyDict>) -> PyResult<Config> {
    let py = settings.py();
    let others = PyDict::new(py);
    let mut times = Vec::new();
    for (name, value) in settings {
        let name = name.cast_into::<PyString>()?;
        let name = name.to_string_lossy();
        if value.is_none() {
            continue;
        }
        if let Some((name, field)) = TIMES.into_iter().find(|(time, _)| *time == name) {
            times.push((field, seconds(name, &value)?));
        } else if name.ends_with("_ms") {
            let error = Error::invalid_argument(&name, "not a setting", "given in seconds, under a name without _ms");
            return Err(exception_of(py, &error));
        } else if value.hasattr("__fspath__")? {
            others.set_item(name, py.import("os")?.call_method1("fspath", (value,))?)?;
        } else {
            others.set_item(name, value)?;
        }
    }
    let mut config = Config::from_deserializer(Value::new(others.into_any(), &Raised::default())).map_err(|error| {
        // where the core lists or suggests its names, these are in milliseconds
        let message = error.message().replace("timeout_ms", "timeout").replace("backoff_ms", "backoff");
        exception_saying(py, &error, &message)
    })?;
    for (field, duration) in times {
        *field(&mut config) = duration;
    }
    Ok(config)
}

/// A time in seconds, whole or with a fraction. Too short and too long are for the core to say.
fn seconds(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let is_number =
        !value.is_instance_of::<PyBool>() && (value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>());
    let number = if is_number { value.extract().unwrap_or(f64::INFINITY) } else { f64::NAN };
    Duration::try_from_secs_f64(number).map_err(|_| {
        let got = if is_number { format!("{number:?}") } else { kind(value) };
        let error = Error::invalid_argument(name, &got, "a number of seconds, more than nothing and at most 86400");
        exception_of(value.py(), &error)
    })
}
