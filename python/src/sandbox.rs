//! The stand-in Klarna, for `takings.testing`. It runs in the program's own process: every guess at an interpreter that
//! could run it in another is wrong in a frozen program, which would start itself, and where Python is embedded.

use std::ffi::OsString;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use takings_sandbox::{Options, Sandbox as Running};

use crate::gate::Inside;
use crate::slot::Slot;

/// The stand-in Klarna, running in this process until `close`.
#[pyclass(module = "takings._takings", frozen, weakref)]
pub struct Sandbox {
    // Its threads are Rust's and never enter Python.
    #[pyo3(get)]
    url: String,
    running: Slot<Running>,
}

#[pymethods]
impl Sandbox {
    #[new]
    fn new(py: Python<'_>) -> PyResult<Sandbox> {
        let _inside = Inside::new(py);
        let failed = |why| PyRuntimeError::new_err(format!("the sandbox did not start: {why}"));
        let running = Running::start(Options::default()).map_err(failed)?;
        Ok(Sandbox { url: running.url().to_owned(), running: Slot::new(Some(running)) })
    }

    /// The file descriptors of its sockets, in a forked child; none elsewhere.
    fn inherited(&self) -> Vec<i32> {
        self.running.look(Running::inherited).unwrap_or_default()
    }

    fn close(&self, py: Python<'_>) {
        let inside = Inside::new(py);
        let running = self.running.replace(None);
        inside.detach(py, || drop(running));
    }
}

/// Be the program `takings-sandbox` and give its exit code. It handles no signals.
#[pyfunction]
pub fn sandbox(py: Python<'_>, flags: Vec<OsString>) -> u8 {
    u8::from(!py.detach(|| takings_sandbox::program(flags)))
}
