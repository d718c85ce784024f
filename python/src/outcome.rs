//! The core's outcomes as the Python classes of `takings.outcomes`, found by name, with the values in the core's order.
//!
//! The classes are written in Python. Below 3.12 the stable ABI cannot make exception classes in Rust, and plain Python
//! classes can be pickled, copied and derived from as usual.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use pyo3::IntoPyObjectExt;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};
use takings::binding::{DocumentInfo, Fact, MemberKind, RecordInfo};
use takings::{Attempt, Error, Node, Object, Reply};

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

/// A reply as Python has it.
pub fn reply_of<'py>(py: Python<'py>, reply: &Reply) -> PyResult<Bound<'py, PyAny>> {
    let document = reply.document().map(|(info, root)| (info, root.clone()));
    late(py, Late { reply: Arc::new(reply.clone()), document })
}

fn late(py: Python<'_>, values: Late) -> PyResult<Bound<'_, PyAny>> {
    let class = values.document.as_ref().map_or(values.reply.info().name, |(info, _)| info.name);
    OUTCOMES.get(py)?.getattr(class)?.call_method1(intern!(py, "_made_of"), (values,))
}

/// The values of a reply, or of a document in it. Python's objects for them are made when a program asks, since most are
/// never asked for.
#[pyclass(frozen)]
struct Late {
    reply: Arc<Reply>,
    document: Option<(&'static DocumentInfo, Arc<Object>)>,
}

#[pymethods]
impl Late {
    /// The value of the field of that name, among those that the class declares.
    fn __call__<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let of_document = self.document.as_ref();
        let found =
            of_document.and_then(|(info, object)| Some((info.members.iter().find(|of| of.name == name)?, object)));
        let Some((member, object)) = found else {
            // the text is that of each document's own part
            if let ("raw", Some((_, object))) = (name, of_document) {
                return self.reply.text_of(object).into_bound_py_any(py);
            }
            let fields = self.reply.info().fields.iter().zip(self.reply.facts());
            let mut found = fields.filter(|(field, _)| field.name == name);
            return found.next().map_or_else(|| Ok(py.None().into_bound(py)), |(_, fact)| value_of(py, &fact));
        };
        let node = object.get(name);
        match (member.kind, node) {
            (MemberKind::Documents(info), node) => {
                let items = node.and_then(Node::as_list).unwrap_or_default().iter().filter_map(|item| match item {
                    Node::Object(object) => {
                        let document = Some((info, object.clone()));
                        Some(late(py, Late { reply: self.reply.clone(), document }))
                    }
                    _ => None,
                });
                Ok(PyTuple::new(py, items.collect::<PyResult<Vec<_>>>()?)?.into_any())
            }
            (kind, None) if kind.is_list() => Ok(PyList::empty(py).into_any()),
            (_, node) => {
                node.map_or_else(|| Ok(py.None().into_bound(py)), |node| node_of(py, node, &mut Names::default()))
            }
        }
    }
}

/// The names of members as Python's texts, each made once: the lines of an order have the same ones, in one order.
#[derive(Default)]
struct Names<'a, 'py> {
    known: Vec<(&'a str, Bound<'py, PyString>)>,
    next: usize,
}

impl<'a, 'py> Names<'a, 'py> {
    const MOST: usize = 64;

    fn of(&mut self, py: Python<'py>, name: &'a str) -> Bound<'py, PyString> {
        let count = self.known.len();
        let begin = self.next.min(count);
        let found = (begin..count).chain(0..begin).find(|at| self.known[*at].0 == name);
        if let Some(at) = found {
            self.next = at + 1;
            return self.known[at].1.clone();
        }
        // Python keeps one of each as well
        let text = PyString::intern(py, name);
        if count < Self::MOST {
            self.known.push((name, text.clone()));
            self.next = count + 1;
        }
        text
    }
}

/// A value of a document, as json.loads would give it.
fn node_of<'a, 'py>(py: Python<'py>, node: &'a Node, names: &mut Names<'a, 'py>) -> PyResult<Bound<'py, PyAny>> {
    match node {
        Node::Flag(flag) => flag.into_bound_py_any(py),
        Node::Integer(number) => number.into_bound_py_any(py),
        Node::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => number.into_bound_py_any(py),
            (_, Some(number)) => number.into_bound_py_any(py),
            _ => number.as_f64().into_bound_py_any(py),
        },
        Node::Text(text) => (**text).into_bound_py_any(py),
        Node::Time(_, time) => time.into_bound_py_any(py),
        Node::List(items) => {
            let items = items.iter().map(|item| node_of(py, item, names)).collect::<PyResult<Vec<_>>>()?;
            Ok(PyList::new(py, items)?.into_any())
        }
        Node::Object(object) => {
            let dict = PyDict::new(py);
            for (name, node) in object.members() {
                dict.set_item(names.of(py, name), node_of(py, node, names)?)?;
            }
            Ok(dict.into_any())
        }
        _ => Ok(py.None().into_bound(py)),
    }
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
