//! Modules written in Python that calls need: each is looked up once, when it is needed first.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyModule, PyString};

pub struct Module(&'static str, PyOnceLock<Py<PyModule>>);

pub static OUTCOMES: Module = Module("takings.outcomes", PyOnceLock::new());
pub static STEPS: Module = Module("takings.steps", PyOnceLock::new());
pub static SENDING: Module = Module("takings._sending", PyOnceLock::new());
pub static LOG: Module = Module("takings._log", PyOnceLock::new());
static SYS: Module = Module("sys", PyOnceLock::new());
static THREADING: Module = Module("threading", PyOnceLock::new());

impl Module {
    /// The cell does not load the module itself: the cell is locked meanwhile, and would stay locked in a process that
    /// another thread forks.
    pub fn get<'py>(&'static self, py: Python<'py>) -> PyResult<&'py Bound<'py, PyModule>> {
        let Module(name, cell) = self;
        if cell.get(py).is_none() {
            // another thread may have been faster, with the same module
            let _ = cell.set(py, py.import(*name)?.unbind());
        }
        Ok(cell.get(py).expect("the module was put in above").bind(py))
    }
}

/// Whether the program has loaded the module of that name, which is interned: several are asked for in each call.
pub fn is_loaded(py: Python<'_>, name: &Bound<'_, PyString>) -> PyResult<bool> {
    SYS.get(py)?.getattr(intern!(py, "modules"))?.contains(name)
}

/// `None` in a program that has not loaded it.
pub fn threading(py: Python<'_>) -> PyResult<Option<&Bound<'_, PyModule>>> {
    // another thread may be about to load the module: `get` waits for that thread
    is_loaded(py, intern!(py, "threading"))?.then(|| THREADING.get(py)).transpose()
}
