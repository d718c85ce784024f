//! Python values as a serde source: the core reads them as strictly as it reads JSON.

use std::cell::RefCell;

use pyo3::exceptions::{PyException, PyMemoryError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyMapping, PyString};
use serde::de::value::{Error, MapDeserializer, SeqDeserializer};
use serde::de::{Deserializer, Error as _, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use takings::binding::string_for_python;

/// The exception that a mapping's own code raised while it was read. The exception goes on unchanged, since it may be a
/// KeyboardInterrupt.
pub type Raised = RefCell<Option<PyErr>>;

/// The text of an argument.
pub fn text<'a>(name: &str, value: &'a Bound<'_, PyAny>) -> Result<&'a str, takings::Error> {
    let got = match value.cast::<PyString>().map(|text| text.to_str()) {
        Ok(Ok(text)) => return Ok(text),
        Ok(Err(_)) => LONE_SURROGATE.to_owned(),
        Err(_) if value.is_none() => "None".to_owned(),
        Err(_) => kind(value),
    };
    Err(takings::Error::invalid_argument(name, &got, &string_for_python(&got)))
}

/// An argument of a function; None where it is missing, for the core to refuse.
pub fn given<'py>(py: Python<'py>, value: Option<Bound<'py, PyAny>>) -> Bound<'py, PyAny> {
    value.unwrap_or_else(|| py.None().into_bound(py))
}

/// An argument of a step, as it was read. The step may come after a request has left, so that none of takings' errors fits
/// an argument that cannot be read: it is a mistake of the program's, not an outcome.
pub fn told<T>(name: &str, value: &Bound<'_, PyAny>, allowed: &str, read: PyResult<T>) -> PyResult<T> {
    read.map_err(|raised| {
        if goes_on(value.py(), &raised) {
            return raised;
        }
        let refused = PyTypeError::new_err(format!("{name} is {}; it must be {allowed}", kind(value)));
        refused.set_cause(value.py(), Some(raised));
        refused
    })
}

/// A text of the program's HTTP client: any text will do.
pub fn host_text(value: &Bound<'_, PyAny>) -> PyResult<String> {
    Ok(value.cast::<PyString>()?.to_string_lossy().into_owned())
}

/// Whether the exception of a value's own code is an interrupt or a lack of memory, which pass through.
pub fn goes_on(py: Python<'_>, raised: &PyErr) -> bool {
    !raised.is_instance_of::<PyException>(py) || raised.is_instance_of::<PyMemoryError>(py)
}

const LONE_SURROGATE: &str = "a str with half of a surrogate pair";

/// `a Decimal`, for messages.
pub fn kind(value: &Bound<'_, PyAny>) -> String {
    let name = value.get_type().name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let article = if name.starts_with(['a', 'e', 'i', 'o', 'u', 'A', 'E', 'I', 'O', 'U']) { "an" } else { "a" };
    format!("{article} {}", name.chars().take(64).flat_map(char::escape_debug).collect::<String>())
}

pub type Pairs<'py> = Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)>;

/// A Python value to be read.
pub struct Value<'r, 'py> {
    value: Bound<'py, PyAny>,
    /// Pairs that are read behind those of a mapping.
    beside: Pairs<'py>,
    raised: &'r Raised,
}

impl<'r, 'py> Value<'r, 'py> {
    pub fn new(value: Bound<'py, PyAny>, raised: &'r Raised) -> Value<'r, 'py> {
        Value { value, beside: Vec::new(), raised }
    }

    pub fn beside(self, beside: Pairs<'py>) -> Value<'r, 'py> {
        Value { beside, ..self }
    }

    /// Visits pairs that were all taken beforehand: a mapping's own code may change it during the visit.
    fn visit_pairs<'de, V: Visitor<'de>>(self, pairs: Pairs<'py>, visitor: V) -> Result<V::Value, Error> {
        let value = |value| Value::new(value, self.raised);
        let pairs = pairs.into_iter().chain(self.beside).map(|(name, of)| (value(name), value(of)));
        visitor.visit_map(MapDeserializer::new(pairs))
    }
}

impl<'de> IntoDeserializer<'de, Error> for Value<'_, '_> {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Value<'_, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = &self.value;
        if value.is_none() {
            visitor.visit_unit()
        } else if let Ok(text) = value.cast::<PyString>() {
            match text.to_str() {
                Ok(text) => visitor.visit_str(text),
                Err(_) => Err(Error::invalid_type(Unexpected::Other(LONE_SURROGATE), &visitor)),
            }
        } else if let Ok(flag) = value.cast::<PyBool>() {
            // before the integers: Python's bool is one
            visitor.visit_bool(flag.is_true())
        } else if value.is_instance_of::<PyInt>() {
            if let Ok(number) = value.extract() {
                visitor.visit_i64(number)
            } else if let Ok(number) = value.extract() {
                visitor.visit_i128(number)
            } else {
                let endless = if value.lt(0).unwrap_or(false) { f64::NEG_INFINITY } else { f64::INFINITY };
                visitor.visit_f64(value.extract().unwrap_or(endless))
            }
        } else if let Ok(number) = value.cast::<PyFloat>() {
            visitor.visit_f64(number.value())
        } else if let Ok(items) = value.cast::<PyList>().map(PyListMethods::to_tuple).or_else(|_| value.cast().cloned())
        {
            visitor.visit_seq(SeqDeserializer::new(items.iter().map(|item| Value::new(item, self.raised))))
        } else if let Ok(dict) = value.cast::<PyDict>() {
            let pairs = dict.iter().collect();
            self.visit_pairs(pairs, visitor)
        } else if let Some(mapping) = as_mapping(value) {
            let pairs = || mapping.items()?.iter().map(|item| item.extract()).collect();
            match pairs() {
                Ok(pairs) => self.visit_pairs(pairs, visitor),
                Err(error) => {
                    self.raised.borrow_mut().get_or_insert(error);
                    Err(Error::custom("it could not be read"))
                }
            }
        } else {
            Err(Error::invalid_type(Unexpected::Other(&kind(value)), &visitor))
        }
    }

    /// Ignored values are not looked at: a list may contain itself.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier
    }
}

/// pyo3 looks the class of mappings up behind a lock. The module with that class is loaded first, outside of the lock: a
/// process that another thread forks meanwhile would find the lock held for ever.
fn as_mapping<'a, 'py>(value: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, PyMapping>> {
    value.py().import("collections.abc").ok()?;
    value.cast().ok()
}
