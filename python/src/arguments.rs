//! The arguments of a call, as Python's keywords and mappings give them.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyString};
use takings::binding::{is_point_in_time, operations};
use takings::{Call, Client, Error};

use crate::report::refused;
use crate::value::{Pairs, Raised, Value, text};

/// Lets the core check the arguments and make a call; a refusal names the order and the key. `request` is the operation's
/// own arguments as one mapping, or the id below the order; `fields` are these arguments as keywords, and the options of
/// the call.
pub fn prepare<'py>(
    client: &Client,
    operation: &str,
    order_id: &Bound<'py, PyAny>,
    request: Option<Bound<'py, PyAny>>,
    idempotency_key: Option<Bound<'py, PyAny>>,
    fields: Bound<'py, PyDict>,
) -> PyResult<Call> {
    let py = fields.py();
    let key = idempotency_key.as_ref().map(|key| text("idempotency_key", key)).transpose();
    let raised = Raised::default();
    let arguments = arguments(operation, request, fields, &raised)?;
    let prepared = client.prepare_from(operation, text("order_id", order_id), arguments, key);
    prepared.map_err(|error| raised.take().unwrap_or_else(|| refused(py, &error)))
}

/// The arguments of an operation and the options beside them, from a mapping or from keywords.
pub fn arguments<'r, 'py>(
    operation: &str,
    mut request: Option<Bound<'py, PyAny>>,
    fields: Bound<'py, PyDict>,
    raised: &'r Raised,
) -> PyResult<Result<Value<'r, 'py>, Error>> {
    Ok(split(fields, operation, &mut request)?.and_then(|(fields, options)| match request {
        Some(_) if !fields.is_empty() => {
            Err(Error::invalid_argument("the request", "given as a mapping and as keywords", "one of them"))
        }
        request => Ok(Value::new(request.unwrap_or_else(|| fields.into_any()), raised).beside(options)),
    }))
}

/// The arguments of the operation, and the other keywords, which are options or are refused by the core.
fn split<'py>(
    fields: Bound<'py, PyDict>,
    operation: &str,
    request: &mut Option<Bound<'py, PyAny>>,
) -> PyResult<Result<(Bound<'py, PyDict>, Pairs<'py>), Error>> {
    let mut options = Vec::new();
    let Some(operation) = operations().iter().find(|known| known.name == operation) else {
        return Ok(Ok((fields, options)));
    };
    if let (Some(id), Some(given)) = (operation.id_name(), &request)
        && !(given.hasattr("keys")? || fields.contains(id)?)
    {
        fields.set_item(id, request.take())?;
    }
    for (name, value) in &fields {
        let known = name.cast::<PyString>()?.to_string_lossy();
        if operation.argument_names().all(|(argument, _)| argument != known) {
            match whole_seconds(&known, value)? {
                Ok(value) => options.push((name, value)),
                Err(error) => return Ok(Err(error)),
            }
        }
    }
    for (name, _) in &options {
        fields.del_item(name)?;
    }
    Ok(Ok((fields, options)))
}

/// A point in time as whole seconds since 1970, rounded down; any other value as it is.
fn whole_seconds<'py>(name: &str, value: Bound<'py, PyAny>) -> PyResult<Result<Bound<'py, PyAny>, Error>> {
    let seconds = if !is_point_in_time(name) {
        return Ok(Ok(value));
    } else if let Ok(number) = value.cast::<PyFloat>() {
        number.clone().into_any()
    } else if !value.hasattr("utcoffset")? {
        return Ok(Ok(value));
    } else if value.call_method0("utcoffset")?.is_none() {
        let allowed = "one with a time zone, such as datetime.now(timezone.utc)";
        return Ok(Err(Error::invalid_argument(name, "a datetime without a time zone", allowed)));
    } else {
        value.call_method0("timestamp")?
    };
    let number: f64 = seconds.extract()?;
    // NaN and infinity have no floor; the core refuses them
    if number.is_finite() { seconds.call_method0("__floor__").map(Ok) } else { Ok(Ok(seconds)) }
}
