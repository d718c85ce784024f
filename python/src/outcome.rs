//! The core's outcomes as the Python classes of `takings.outcomes`, found by name, with the values in the core's order.
//!
//! The classes are written in Python. Below 3.12 the stable ABI cannot make exception classes in Rust, and plain Python
//! classes can be pickled, copied and derived from as usual.

use std::time::UNIX_EPOCH;

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use takings::binding::{Fact, RecordInfo};
use takings::{Attempt, Error};

use crate::modules::OUTCOMES;
use crate::value::{goes_on, kind};

/// The value of one field.
fn value_of<'py>(py: Python<'py>, fact: &Fact<'_>) -> PyResult<Bound<'py, PyAny>> {
    match *fact {
        Fact::Absent => Ok(py.None().into_bound(py)),
        Fact::Text(text) => text.into_bound_py_any(py),
        Fact::Integer(number) => number.into_bound_py_any(py),
        Fact::Flag(flag) => flag.into_bound_py_any(py),
        Fact::Texts(texts) => Ok(PyTuple::new(py, texts)?.into_any()),
        Fact::Attempts(attempts) => Ok(attempts_of(py, attempts)?.into_any()),
        // a clock before 1970 has no time that Python would take
        Fact::Time(time) => time.max(UNIX_EPOCH).into_bound_py_any(py),
        Fact::Duration(duration) => duration.as_secs_f64().into_bound_py_any(py),
        Fact::Json(text) => py.import("json")?.call_method1("loads", (text,)),
    }
}

pub fn record_of<'py, 'a>(
    py: Python<'py>,
    info: &RecordInfo,
    facts: impl IntoIterator<Item = Fact<'a>>,
) -> PyResult<Bound<'py, PyAny>> {
    // the class has the only item of a list as a property
    let fields = info.fields.iter().zip(facts).filter(|(field, _)| info.only_item_of(field).is_none());
    // values are given in order: names would cost a dict for each call
    let values = fields.map(|(_, fact)| value_of(py, &fact)).collect::<PyResult<Vec<_>>>()?;
    OUTCOMES.get(py)?.getattr(info.name)?.call1(PyTuple::new(py, values)?)
}

pub fn attempt_of<'py>(py: Python<'py>, attempt: &Attempt) -> PyResult<Bound<'py, PyAny>> {
    record_of(py, &Attempt::INFO, attempt.facts())
}

pub fn attempts_of<'py>(py: Python<'py>, attempts: &[Attempt]) -> PyResult<Bound<'py, PyTuple>> {
    let attempts = attempts.iter().map(|attempt| attempt_of(py, attempt)).collect::<PyResult<Vec<_>>>()?;
    PyTuple::new(py, attempts)
}

pub fn exception_of(py: Python<'_>, error: &Error) -> PyErr {
    exception(py, error).map_or_else(|failed| failed, PyErr::from_value)
}

/// The exception for one that a value's own code raised: an interrupt and a lack of memory go on, as an error of takings'
/// does. Any other is the cause of a refusal.
pub fn of_a_value(py: Python<'_>, name: &str, raised: PyErr) -> PyErr {
    let own = OUTCOMES.get(py).and_then(|outcomes| outcomes.getattr("TakingsError"));
    if goes_on(py, &raised) || own.is_ok_and(|own| raised.matches(py, own).unwrap_or(false)) {
        return raised;
    }
    let got = format!("of a type whose own code raised {}", kind(raised.value(py)));
    let refused = exception_of(py, &Error::invalid_argument(name, &got, "a value that can be read"));
    refused.set_cause(py, Some(raised));
    refused
}

/// The exception as an object; `Err` holds an exception that Python raised while making it.
pub fn exception<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    let fields = PyDict::new(py);
    for (field, fact) in Error::INFO.fields.iter().zip(error.facts()) {
        // the class says the kind, and the message is its first argument
        if !matches!(field.name, "kind" | "message") {
            fields.set_item(field.name, value_of(py, &fact)?)?;
        }
    }
    // `outcome_unknown` is `OutcomeUnknown`
    let word = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    let name: String = error.kind().as_str().split('_').map(word).collect();
    let outcomes = OUTCOMES.get(py)?;
    // a kind that a later core may have is a bug, as seen from this version
    let class = outcomes.getattr(name).or_else(|_| outcomes.getattr("InternalError"))?;
    class.call((error.message(),), Some(&fields))
}
