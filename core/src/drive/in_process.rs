//! The memory of keys in one process, for all its threads.

use std::sync::{Mutex, PoisonError, RwLock, TryLockError};
use std::time::Duration;

use crate::decide::memory::{Begun, End, KeyState, Keys, MatchedTo, Memory, Moment, fingerprint};

/// There are two copies, written one after the other: whenever a thread forks, one of them is consistent, and the child
/// takes that one over.
#[derive(Default)]
pub(super) struct InProcess {
    /// Locked while the two copies differ.
    writing: Mutex<()>,
    /// Children only read their parent's copies. So a child that forks while its threads read leaves no copy that the
    /// next child could not read.
    copies: [RwLock<Keys>; 2],
}

impl InProcess {
    fn change<T>(&self, change: impl Fn(&mut Keys) -> T) -> T {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let [first, second] =
            self.copies.each_ref().map(|copy| change(&mut copy.write().unwrap_or_else(PoisonError::into_inner)));
        drop(second);
        first
    }
}

impl Memory for InProcess {
    fn begin(&self, key: u64, fingerprint: u64, now: Moment) -> Begun {
        self.change(|keys| keys.begin(key, fingerprint, now))
    }

    fn first_used(&self, key: u64, age: Duration, now: Moment) {
        self.change(|keys| keys.first_used(key, age, now));
    }

    fn known(&self, key: u64, is_inherited: bool, now: Moment) -> KeyState {
        let copy = self.copies[0].read().unwrap_or_else(PoisonError::into_inner);
        copy.known(key, is_inherited, now)
    }

    fn answered(&self, key: u64, kind: &'static str, id: &str) -> MatchedTo {
        let id = fingerprint(&[kind.as_bytes(), id.as_bytes()]);
        self.change(|keys| keys.answered(key, id))
    }

    fn end(&self, key: u64, end: &End) {
        self.change(|keys| keys.end(key, end));
    }

    fn inherited(&self) -> Box<dyn Memory> {
        // A lock that another thread held at the fork would never be released in the child.
        let keys = self.copies.iter().find_map(|copy| match copy.try_read() {
            Ok(keys) => Some(keys.inherited()),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner().inherited()),
            Err(TryLockError::WouldBlock) => None,
        });
        let keys = keys.expect("a thread writes one copy at a time");
        Box::new(InProcess { writing: Mutex::new(()), copies: [RwLock::new(keys.clone()), RwLock::new(keys)] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::doubt::{Doubt, Ending, FirstUse};

    fn now() -> Moment {
        Moment::new(Duration::from_secs(3600), Duration::from_secs(3600))
    }

    /// A memory of one key whose call ended unclear.
    fn memory() -> InProcess {
        let memory = InProcess::default();
        assert_eq!(memory.begin(1, 10, now()), Begun::Ready);
        let end = End {
            ending: Ending::Left(Doubt::Unclear),
            now: now(),
            is_inherited: false,
            opened: 0,
            first_use: FirstUse::Known,
        };
        memory.end(1, &end);
        memory
    }

    #[test]
    fn one_copy_is_whole_at_any_fork() {
        let memory = memory();
        let _first = memory.copies[0].write();
        assert_eq!(memory.inherited().known(1, false, now()).doubt, Doubt::Unclear);
    }

    #[test]
    fn a_child_that_reads_leaves_the_copies_to_the_next_child() {
        let memory = memory();
        let _both = (memory.copies[0].read(), memory.copies[1].read());
        assert_eq!(memory.inherited().known(1, false, now()).doubt, Doubt::Unclear);
    }

    #[test]
    fn a_child_takes_over_a_poisoned_copy() {
        let memory = memory();
        for copy in &memory.copies {
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let _held = copy.write();
                panic!("for this test");
            }));
        }
        assert_eq!(memory.inherited().known(1, false, now()).doubt, Doubt::Unclear);
    }

    #[test]
    fn ids_of_two_kinds_may_be_alike() {
        let memory = InProcess::default();
        memory.begin(1, 1, now());
        memory.begin(2, 2, now());
        assert_eq!(memory.answered(1, "captures", "id"), MatchedTo::ThisKey);
        assert_eq!(memory.answered(2, "refunds", "id"), MatchedTo::ThisKey);
    }
}
