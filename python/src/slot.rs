//! A place for what may be gone.

use std::sync::{Mutex, PoisonError};

/// It is locked for as long as a value goes in or out, while the interpreter is held and runs nothing: what it runs
/// (a destructor, a signal's handler, the making of an exception) may come here again, let another thread come here, or
/// fork, and the lock would be waited for without end.
pub struct Slot<T>(Mutex<Option<T>>);

impl<T> Slot<T> {
    pub fn new(value: Option<T>) -> Slot<T> {
        Slot(Mutex::new(value))
    }

    /// What was there before.
    #[must_use = "it may hold what Python has to end, which is the caller's to choose the time of"]
    pub fn replace(&self, value: Option<T>) -> Option<T> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), value)
    }

    /// A look at it that runs nothing of Python's.
    pub fn look<R>(&self, look: impl FnOnce(&T) -> R) -> Option<R> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(look)
    }
}
