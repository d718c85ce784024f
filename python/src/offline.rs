//! Functions about captures and refunds that need no client: reasons against one, and rows for a ledger.

use std::time::SystemTime;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use takings::{Error, Intent, binding};

use crate::arguments::arguments;
use crate::outcome::{exception_of, of_a_value, record_of};
use crate::value::{Raised, Value, given, text};

/// Reads the fields of an operation by `read`.
fn reading<'py, T>(
    operation: &str,
    request: Option<Bound<'py, PyAny>>,
    fields: Bound<'py, PyDict>,
    read: impl FnOnce(Value<'_, 'py>) -> Result<T, Error>,
) -> PyResult<T> {
    let (py, raised) = (fields.py(), Raised::default());
    let read = arguments(operation, request, fields, &raised)?.and_then(read);
    match raised.take() {
        Some(raised) => Err(of_a_value(py, "the request", raised)),
        None => read.map_err(|error| exception_of(py, &error)),
    }
}

/// The reasons against a capture or a refund of an order that was read.
#[pyfunction]
#[pyo3(signature = (operation: "str", order: "str", now: "datetime | None", request: "Any", fields: "Any") -> "list[str]")]
pub fn check(
    operation: &str,
    order: &str,
    now: Option<SystemTime>,
    request: Option<Bound<'_, PyAny>>,
    fields: Bound<'_, PyDict>,
) -> PyResult<Vec<String>> {
    reading(operation, request, fields, |given| binding::check(operation, order, now, given, "python"))
}

/// Make the row of a capture for a ledger in your own database, without a client or I/O.
///
/// It takes what `Client.capture` takes, as strictly; with `operation="refund"` what
/// `Client.refund` takes. `reference` is required: the idempotency key is derived from it.
/// `account` is the account of the ledger, for a program with several.
///
/// Raises `InvalidInput`, naming the field.
#[pyfunction]
#[pyo3(
    signature = (order_id: "str"=None, request: "Any"=None, operation: "str"=None, **fields: "Any") -> "Intent",
    text_signature = "(order_id, request=None, /, *, operation='capture', **fields)"
)]
pub fn intent<'py>(
    py: Python<'py>,
    order_id: Option<Bound<'py, PyAny>>,
    request: Option<Bound<'py, PyAny>>,
    operation: Option<&Bound<'py, PyAny>>,
    fields: Option<Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let order_id = given(py, order_id);
    let names = || Ok((text("order_id", &order_id)?, operation.map_or(Ok("capture"), |name| text("operation", name))?));
    let (order_id, operation) = names().map_err(|error: Error| exception_of(py, &error))?;
    let fields = fields.unwrap_or_else(|| PyDict::new(py));
    let intent = reading(operation, request, fields, |given| Intent::read(operation, order_id, given, "python"))?;
    record_of(py, &Intent::INFO, intent.facts())
}

/// The text of an intent's INSERT, and its parameters.
#[pyfunction]
#[pyo3(signature = (intent: "Intent", style: "str") -> "Any")]
pub fn insert<'py>(intent: &Bound<'py, PyAny>, style: &Bound<'py, PyAny>) -> PyResult<(String, Bound<'py, PyAny>)> {
    let (py, operation) = (intent.py(), intent.getattr("operation")?);
    let insert = text("operation", &operation).and_then(|operation| binding::insert(operation, text("style", style)?));
    let insert = insert.map_err(|error| exception_of(py, &error))?;
    let values = insert.columns.iter().map(|column| Ok((*column, intent.getattr(*column)?)));
    let values = values.collect::<PyResult<Vec<_>>>()?;
    if !insert.is_named {
        return Ok((insert.sql, PyTuple::new(py, values.into_iter().map(|(_, value)| value))?.into_any()));
    }
    let named = PyDict::new(py);
    for (column, value) in values {
        named.set_item(column, value)?;
    }
    Ok((insert.sql, named.into_any()))
}
