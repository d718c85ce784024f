//! A place for a value that may be gone.

use std::sync::{Mutex, PoisonError};

/// The lock is held only while a value goes in or out, and no Python code runs meanwhile. Such code (a destructor, a
/// signal's handler, the making of an exception) may use the slot again, let another thread use it, or fork. The lock
/// would then be waited for without end.
pub struct Slot<T>(Mutex<Option<T>>);

impl<T> Slot<T> {
    pub fn new(value: Option<T>) -> Slot<T> {
        Slot(Mutex::new(value))
    }

    /// Puts a value in and gives back the former one.
    #[must_use = "it may hold what Python has to end, which is the caller's to choose the time of"]
    pub fn replace(&self, value: Option<T>) -> Option<T> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), value)
    }

    /// Looks at the value, without running Python code.
    pub fn look<R>(&self, look: impl FnOnce(&T) -> R) -> Option<R> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(look)
    }
}
