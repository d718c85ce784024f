//! Amounts as Python has them.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyInt, PyString};
use takings::Error;

use crate::no_others;
use crate::outcome::{exception_of, of_a_value};
use crate::value::{given, kind, text};

/// A `Decimal` with more digits than this before or after its point is no amount, and may take
/// more memory than there is when it is written out.
const MOST_DIGITS: u64 = 50;

/// `minor("60.00", "EUR")` is `6000`: an amount in the minor units that Klarna counts in,
/// exactly or not at all.
///
/// `currency` is a code of ISO 4217, whose number of decimals counts: 2 for `EUR`, 0 for `JPY`. A
/// `float` is refused, and so is what would have to be rounded.
///
/// Raises `InvalidInput`, naming the argument.
#[pyfunction]
#[pyo3(
    signature = (amount: "str | int | Decimal"=None, currency: "str"=None, **others),
    text_signature = "(amount, currency)"
)]
pub fn minor(
    py: Python<'_>,
    amount: Option<Bound<'_, PyAny>>,
    currency: Option<Bound<'_, PyAny>>,
    others: Option<&Bound<'_, PyDict>>,
) -> PyResult<i64> {
    no_others("minor", others).map_err(|error| exception_of(py, &error))?;
    let amount = written(&given(py, amount)).map_err(|raised| of_a_value(py, "amount", raised))?;
    let minor = || takings::minor(text("amount", &amount)?, text("currency", &given(py, currency))?);
    minor().map_err(|error| exception_of(py, &error))
}

/// The amount as a decimal number: a string as it is, an int and a `Decimal` written out.
fn written<'py>(amount: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = amount.py();
    let refuse = |got: &str| {
        let allowed = "a str, an int or a decimal.Decimal, such as \"60.00\": a float is not exact";
        Err(exception_of(py, &Error::invalid_argument("amount", got, allowed)))
    };
    if amount.is_instance_of::<PyString>() {
        return Ok(amount.clone());
    }
    if amount.is_instance_of::<PyInt>() && !amount.is_instance_of::<PyBool>() {
        return match amount.extract::<i128>() {
            Ok(whole) => Ok(PyString::new(py, &whole.to_string()).into_any()),
            Err(_) => refuse("an int beyond every amount"),
        };
    }
    if !amount.is_instance(&py.import("decimal")?.getattr("Decimal")?)? {
        return refuse(&if amount.is_none() { "None".to_owned() } else { kind(amount) });
    }
    let magnitude: i64 = amount.call_method0("adjusted")?.extract()?;
    // the core refuses an amount with an exponent, and a value such as NaN
    let form = if magnitude.unsigned_abs() > MOST_DIGITS { "" } else { "f" };
    amount.call_method1("__format__", (form,))
}
