//! Modules written in Python that calls need: each is looked up once, when it is needed first.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyModule;

/// Not loaded by the cell itself: that is locked meanwhile, and would be for ever in a process that another thread forks.
fn found<'py>(
    py: Python<'py>,
    cell: &'static PyOnceLock<Py<PyModule>>,
    name: &str,
) -> PyResult<&'py Bound<'py, PyModule>> {
    if cell.get(py).is_none() {
        let loaded = py.import(name)?.unbind();
        // another thread may have been faster, with the same
        let _ = cell.set(py, loaded);
    }
    Ok(cell.get(py).expect("it is there now").bind(py))
}

pub fn outcomes(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static OUTCOMES: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    found(py, &OUTCOMES, "takings.outcomes")
}

pub fn steps(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static STEPS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    found(py, &STEPS, "takings.steps")
}

pub fn sending(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static SENDING: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    found(py, &SENDING, "takings._sending")
}

pub fn log(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static LOG: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    found(py, &LOG, "takings._log")
}

/// Whether the program has loaded the module of that name.
pub fn is_loaded(py: Python<'_>, name: &str) -> PyResult<bool> {
    static SYS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    found(py, &SYS, "sys")?.getattr(intern!(py, "modules"))?.contains(name)
}

/// `None` in a program that has not loaded it.
pub fn threading(py: Python<'_>) -> PyResult<Option<&Bound<'_, PyModule>>> {
    static THREADING: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    if THREADING.get(py).is_none() && !is_loaded(py, "threading")? {
        return Ok(None);
    }
    // another thread may be just about to load it: this waits for that
    found(py, &THREADING, "threading").map(Some)
}
