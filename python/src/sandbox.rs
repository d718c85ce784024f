//! The stand-in Klarna, for `takings.testing`. It runs in the program's own process: every guess at an interpreter that
//! could run it in another is wrong in a frozen program, which would start itself, and where Python is embedded.

use std::ffi::OsString;
use std::process;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use takings_sandbox::{Options, Sandbox as Running};

use crate::gate::Inside;
use crate::slot::Slot;

/// A running sandbox. Its threads are Rust's and never enter Python.
#[pyclass(module = "takings._takings", frozen, weakref)]
pub struct Sandbox {
    #[pyo3(get)]
    url: String,
    process: u32,
    running: Slot<Running>,
}

#[pymethods]
impl Sandbox {
    #[new]
    fn new(py: Python<'_>) -> PyResult<Sandbox> {
        let _inside = Inside::new(py);
        let failed = |why| PyRuntimeError::new_err(format!("the sandbox did not start: {why}"));
        let running = Running::start(Options::default()).map_err(failed)?;
        Ok(Sandbox { url: running.url().to_owned(), process: process::id(), running: Slot::new(Some(running)) })
    }

    /// The sockets that a forked child has to close.
    fn inherited(&self) -> Vec<i32> {
        let sockets = if self.is_inherited() { self.running.look(Running::descriptors) } else { None };
        sockets.unwrap_or_default()
    }

    fn close(&self, py: Python<'_>) {
        let inside = Inside::new(py);
        let running = self.running.replace(None);
        inside.detach(py, || self.end(running));
    }
}

impl Sandbox {
    fn is_inherited(&self) -> bool {
        self.process != process::id()
    }

    /// A forked child has none of the threads that the end of a sandbox waits for.
    fn end(&self, running: Option<Running>) {
        if self.is_inherited() {
            std::mem::forget(running);
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.end(self.running.replace(None));
    }
}

/// The program `takings-sandbox` with these flags, for `takings.__main__` alone; its exit code.
#[pyfunction]
pub fn sandbox(py: Python<'_>, flags: Vec<OsString>) -> u8 {
    u8::from(!py.detach(|| takings_sandbox::program(flags)))
}
