//! The memory of idempotency keys: what each stands for, and what its calls have done.
//!
//! Klarna looks at the key alone, so a key reused for another call would silently lose that call. And a call with a
//! known key is judged by all calls with it, not by its own answer alone.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::doubt::{Doubt, Ending, FirstUse};

/// How long a key may be sent. Klarna's retry policy promises to keep it for 24 hours from the first attempt; a
/// request takes a while to arrive.
pub(crate) const KEY_LIFE: Duration = Duration::from_secs(24 * 60 * 60 - 60);

/// How many keys with a decided end are remembered; those that ended first are forgotten first.
const MOST_DECIDED: usize = 10_000;

/// How many keys without a decided end are remembered. None of them is forgotten.
pub(crate) const MOST_OPEN: usize = 100_000;

/// Where the keys of calls are remembered. `now` is a clock that only goes forward, the same for all calls.
pub(crate) trait Memory: Send + Sync {
    /// Notes that a call with `key` begins.
    fn begin(&self, key: u64, first: First, now: Duration) -> Begun;

    /// Notes what a caller knows of the first use of `key`: when it was (the age of that), or that it is this one.
    fn first_use(&self, key: u64, age: Option<Duration>);

    /// Says what other calls with `key` did, while one runs.
    fn known(&self, key: u64, now: Duration) -> Known;

    /// Notes the id that a call was answered with.
    fn answered(&self, key: u64, kind: &'static str, id: &str) -> MatchedTo;

    /// Notes how a call ended. A key with which nothing ever reached Klarna is free again.
    fn end(&self, key: u64, ending: &Ending);

    /// The same of a call that began in the process this one was forked from.
    fn end_inherited(&self, key: u64, ending: &Ending);
}

/// The use of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct First {
    /// A hash of method, path and body.
    pub fingerprint: u64,
    pub first_use: FirstUse,
}

/// Whether a call may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    Ready,
    /// The key stands for another call.
    OfAnotherCall,
    /// No key more can be remembered.
    Full,
}

/// The knowledge of a key beside the asking call's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub doubt: Doubt,
    /// Other calls with the key run.
    pub running: bool,
    pub first_use: FirstUse,
    /// Its 24 hours are over.
    pub is_past: bool,
    /// Its 24 hours are over, and it may have been carried out, or its caller gave the time of its first use.
    pub is_old: bool,
    /// How often a call with the key has ended open. A change shows that a call did since an attempt was sent.
    pub opened: u32,
}

impl Known {
    /// A key that nobody else uses.
    pub const FRESH: Known = Known {
        doubt: Doubt::Untouched,
        running: false,
        first_use: FirstUse::Here,
        is_past: false,
        is_old: false,
        opened: 0,
    };

    /// Whether another call may have done, or may yet do, what the asking one was refused.
    pub fn is_open(&self) -> bool {
        self.running || self.doubt.is_open()
    }
}

/// Whose id an answer named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MatchedTo {
    /// The first with this key, or the same again.
    ThisKey,
    /// An earlier call with this key was answered with another one.
    ThisKeyAgain,
    /// The id belongs to another key.
    AnotherKey,
}

/// A hash for telling accidents apart: among 10,000 of them two are alike once in some 10^11 times, and
/// nobody gains by forging one.
pub(crate) fn fingerprint(parts: &[&[u8]]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for part in parts {
        hasher.write_usize(part.len());
        hasher.write(part);
    }
    hasher.finish()
}

/// The memory of one process, for all its threads.
///
/// There are two copies, written one after the other: whenever a thread forks, one of them is consistent, and the
/// child takes that one over.
#[derive(Default)]
pub(crate) struct InProcess {
    /// Held while the two copies differ.
    writing: Mutex<()>,
    copies: [Mutex<Keys>; 2],
}

impl InProcess {
    fn change<T>(&self, change: impl Fn(&mut Keys) -> T) -> T {
        let _writing = lock(&self.writing);
        let [first, second] = &self.copies;
        let result = change(&mut lock(first));
        change(&mut lock(second));
        result
    }

    /// The memory of a forked process, in which no other thread gives back what was locked at the fork.
    pub fn inherited(&self) -> InProcess {
        let whole = self.copies.iter().find_map(|copy| copy.try_lock().ok());
        let keys = whole.map(|keys| keys.inherited()).unwrap_or_default();
        InProcess { writing: Mutex::new(()), copies: [Mutex::new(keys.clone()), Mutex::new(keys)] }
    }
}

impl Memory for InProcess {
    fn begin(&self, key: u64, first: First, now: Duration) -> Begun {
        self.change(|keys| keys.begin(key, first, now))
    }

    fn first_use(&self, key: u64, age: Option<Duration>) {
        self.change(|keys| keys.first_use(key, age));
    }

    fn known(&self, key: u64, now: Duration) -> Known {
        let _writing = lock(&self.writing);
        lock(&self.copies[0]).known(key, now)
    }

    fn answered(&self, key: u64, kind: &'static str, id: &str) -> MatchedTo {
        let id = fingerprint(&[kind.as_bytes(), id.as_bytes()]);
        self.change(|keys| keys.answered(key, id))
    }

    fn end(&self, key: u64, ending: &Ending) {
        self.change(|keys| keys.end(key, ending));
    }

    fn end_inherited(&self, key: u64, ending: &Ending) {
        self.change(|keys| keys.end_inherited(key, ending));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone, Default)]
struct Keys {
    uses: HashMap<u64, Use>,
    /// The ids that keys were answered with, each with its key.
    ids: HashMap<u64, u64>,
    /// The keys that may be forgotten, in the order in which their calls ended. Keys of running calls are not queued:
    /// to skip them would cost each call as much as there are.
    ended: VecDeque<u64>,
    /// How many keys have no decided end.
    open: usize,
}

#[derive(Clone)]
struct Use {
    fingerprint: u64,
    since: Duration,
    /// How old its first use was when it began here, where the caller said so.
    age: Option<Duration>,
    first_use: FirstUse,
    doubt: Doubt,
    opened: u32,
    running: u32,
    /// The key stands in `ended`. A key that runs again stays there until it is its turn.
    queued: bool,
    id: Option<u64>,
}

impl Use {
    fn is_decided(&self) -> bool {
        !matches!(self.doubt, Doubt::Unclear | Doubt::Agreed)
    }

    fn is_past(&self, life: Duration, now: Duration) -> bool {
        now.saturating_sub(self.since).saturating_add(self.age.unwrap_or_default()) >= life
    }
}

impl Keys {
    fn inherited(&self) -> Keys {
        let mut keys = self.clone();
        let mut left = Vec::new();
        for (key, known) in keys.uses.iter_mut().filter(|(_, known)| known.running > 0) {
            // These calls go on in the parent, and their ends are never known here.
            known.running = 0;
            known.doubt = mem::take(&mut known.doubt).after(Ending::Unclear);
            known.opened += 1;
            if !mem::replace(&mut known.queued, true) {
                left.push((known.since, *key));
            }
        }
        keys.open = keys.uses.values().filter(|known| !known.is_decided()).count();
        left.sort_unstable();
        keys.ended.extend(left.iter().map(|(_, key)| key));
        keys
    }

    fn begin(&mut self, key: u64, first: First, now: Duration) -> Begun {
        if let Some(known) = self.uses.get_mut(&key) {
            let is_over = known.running == 0 && known.is_decided() && known.is_past(KEY_LIFE, now);
            let is_same = known.fingerprint == first.fingerprint;
            if !is_same && !is_over {
                return Begun::OfAnotherCall;
            }
            // A refused key begins a life of its own after Klarna has forgotten it; one that was carried out does not.
            if is_same && !(is_over && known.doubt == Doubt::Refused) {
                known.running += 1;
                return Begun::Ready;
            }
            self.remove(key);
        }
        if self.open >= MOST_OPEN {
            return Begun::Full;
        }
        self.make_room();
        let known = Use {
            fingerprint: first.fingerprint,
            since: now,
            age: None,
            first_use: first.first_use,
            doubt: Doubt::Untouched,
            opened: 0,
            running: 1,
            queued: false,
            id: None,
        };
        self.uses.insert(key, known);
        // The final capacity is taken once, so that the memory of a process that runs for days stays flat.
        if self.uses.len() == MOST_DECIDED / 2 {
            self.uses.reserve(2 * MOST_DECIDED - self.uses.len());
            self.ids.reserve(2 * MOST_DECIDED - self.ids.len());
        }
        Begun::Ready
    }

    fn first_use(&mut self, key: u64, age: Option<Duration>) {
        if let Some(known) = self.uses.get_mut(&key) {
            match age {
                None => known.first_use = FirstUse::Here,
                Some(age) => known.age = known.age.max(Some(age)),
            }
        }
    }

    fn known(&self, key: u64, now: Duration) -> Known {
        match self.uses.get(&key) {
            Some(known) => {
                let is_past = known.is_past(KEY_LIFE, now);
                Known {
                    doubt: known.doubt.clone(),
                    running: known.running > 1,
                    first_use: known.first_use,
                    is_past,
                    is_old: is_past && (known.doubt.is_open() || known.age.is_some()),
                    opened: known.opened,
                }
            }
            // A call that is not known here began in the process this one was forked from.
            None => Known { doubt: Doubt::Unclear, first_use: FirstUse::Unknown, ..Known::FRESH },
        }
    }

    fn answered(&mut self, key: u64, id: u64) -> MatchedTo {
        if *self.ids.entry(id).or_insert(key) != key {
            return MatchedTo::AnotherKey;
        }
        match self.uses.get_mut(&key).map(|known| known.id.replace(id)) {
            Some(Some(other)) if other != id => {
                self.ids.remove(&other);
                MatchedTo::ThisKeyAgain
            }
            Some(_) => MatchedTo::ThisKey,
            // forgotten meanwhile
            None => {
                self.ids.remove(&id);
                MatchedTo::ThisKey
            }
        }
    }

    fn end(&mut self, key: u64, ending: &Ending) {
        if let Some(known) = self.uses.get_mut(&key) {
            known.running = known.running.saturating_sub(1);
        }
        self.end_inherited(key, ending);
    }

    fn end_inherited(&mut self, key: u64, ending: &Ending) {
        let Some(known) = self.uses.get_mut(&key) else { return };
        let was_decided = known.is_decided();
        known.doubt = mem::take(&mut known.doubt).after(ending.clone());
        match ending {
            Ending::Settled if !known.doubt.is_open() => known.first_use = FirstUse::Here,
            Ending::Unclear | Ending::Agreed | Ending::Done(_) => known.opened += 1,
            _ => {}
        }
        self.open = self.open + usize::from(!known.is_decided()) - usize::from(!was_decided);
        if known.running > 0 {
            return;
        }
        if known.doubt == Doubt::Untouched {
            // An untouched key was never queued.
            self.uses.remove(&key);
        } else if known.is_decided() && !mem::replace(&mut known.queued, true) {
            self.ended.push_back(key);
        }
    }

    fn make_room(&mut self) {
        while self.ended.len() >= MOST_DECIDED {
            let Some(key) = self.ended.pop_front() else { return };
            match self.uses.get_mut(&key) {
                // The key is queued again when it ends decided.
                Some(known) if known.running > 0 || !known.is_decided() => known.queued = false,
                _ => self.remove(key),
            }
        }
    }

    fn remove(&mut self, key: u64) {
        if let Some(id) = self.uses.remove(&key).and_then(|known| known.id) {
            self.ids.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn call(fingerprint: u64) -> First {
        First { fingerprint, first_use: FirstUse::Here }
    }

    fn begin(keys: &mut Keys, key: u64, fingerprint: u64, now: Duration) -> bool {
        keys.begin(key, call(fingerprint), now) == Begun::Ready
    }

    fn done() -> Ending {
        Ending::Done("id".into())
    }

    /// Makes one whole call.
    fn run(keys: &mut Keys, key: u64, ending: &Ending) -> Known {
        assert!(begin(keys, key, 10, HOUR));
        let known = keys.known(key, HOUR);
        keys.end(key, ending);
        known
    }

    #[test]
    fn a_key_stands_for_one_call() {
        let mut keys = Keys::default();
        run(&mut keys, 1, &Ending::Refused);
        assert!(begin(&mut keys, 1, 10, HOUR), "the same call again is the point of a key");
        assert!(!keys.known(1, HOUR).is_open());
        assert!(!begin(&mut keys, 1, 11, HOUR), "another call is not");
    }

    #[test]
    fn an_open_key_is_kept_beyond_its_24_hours_and_is_old_then() {
        let mut keys = Keys::default();
        run(&mut keys, 1, &Ending::Unclear);
        assert!(begin(&mut keys, 1, 10, HOUR * 24));
        assert!(!keys.known(1, HOUR * 24).is_old);
        assert!(keys.known(1, HOUR * 25).is_old);
        keys.end(1, &Ending::NotSent);
        assert!(!begin(&mut keys, 1, 11, HOUR * 100), "it never stands for another call");
        assert!(begin(&mut keys, 1, 10, HOUR * 100));
        assert!(keys.known(1, HOUR * 100).is_old);
    }

    #[test]
    fn a_decided_key_is_free_after_24_hours() {
        let mut keys = Keys::default();
        run(&mut keys, 1, &Ending::Refused);
        assert!(!begin(&mut keys, 1, 11, HOUR * 24));
        assert!(begin(&mut keys, 1, 11, HOUR * 25));
        let mut keys = Keys::default();
        run(&mut keys, 1, &done());
        assert!(begin(&mut keys, 1, 10, HOUR * 25));
        assert!(keys.known(1, HOUR * 25).is_old, "the same call again would be carried out again");
    }

    #[test]
    fn a_first_use_that_was_told_ages() {
        let mut keys = Keys::default();
        keys.begin(1, First { fingerprint: 10, first_use: FirstUse::Unknown }, HOUR);
        assert!(!keys.known(1, HOUR * 30).is_old, "nothing is known of its age");
        keys.first_use(1, Some(HOUR * 20));
        assert!(!keys.known(1, HOUR * 4).is_old);
        assert!(keys.known(1, HOUR * 5).is_old);
        assert_eq!(keys.known(1, HOUR).first_use, FirstUse::Unknown);
        keys.first_use(1, None);
        assert_eq!(keys.known(1, HOUR).first_use, FirstUse::Here);
    }

    #[test]
    fn a_refusal_of_the_bytes_settles_earlier_uses_elsewhere() {
        let unknown = First { fingerprint: 10, first_use: FirstUse::Unknown };
        for (ending, left) in [
            (Ending::Settled, FirstUse::Here),
            (Ending::Refused, FirstUse::Unknown),
            (Ending::Unclear, FirstUse::Unknown),
        ] {
            let mut keys = Keys::default();
            keys.begin(1, unknown, HOUR);
            keys.end(1, &ending);
            keys.begin(1, unknown, HOUR);
            assert_eq!(keys.known(1, HOUR).first_use, left, "{ending:?}");
        }
    }

    #[test]
    fn a_key_that_reached_nobody_is_free_again() {
        let mut keys = Keys::default();
        begin(&mut keys, 1, 10, HOUR);
        begin(&mut keys, 1, 10, HOUR);
        assert!(keys.known(1, HOUR).is_open(), "each may capture meanwhile");
        keys.end(1, &Ending::NotSent);
        assert!(!keys.known(1, HOUR).is_open(), "it did not");
        assert!(!begin(&mut keys, 1, 11, HOUR), "one call is still running");
        keys.end(1, &Ending::NotSent);
        assert!(begin(&mut keys, 1, 11, HOUR));
        keys.end(1, &Ending::Refused);
        assert!(!begin(&mut keys, 1, 10, HOUR));
    }

    #[test]
    fn the_next_call_knows_what_the_last_one_left() {
        let mut keys = Keys::default();
        for (ending, left) in [
            (Ending::Unclear, Doubt::Unclear),
            (Ending::NotSent, Doubt::Unclear),
            (Ending::Refused, Doubt::Unclear),
            (Ending::Settled, Doubt::Refused),
            (Ending::Agreed, Doubt::Agreed),
            (Ending::Settled, Doubt::Agreed),
            (done(), Doubt::Done("id".into())),
            (Ending::Settled, Doubt::Done("id".into())),
            (Ending::NotSent, Doubt::Done("id".into())),
        ] {
            run(&mut keys, 1, &ending);
            assert_eq!(run(&mut keys, 1, &Ending::NotSent).doubt, left, "{ending:?}");
        }
    }

    #[test]
    fn decided_keys_make_room_and_open_ones_stay() {
        let mut keys = Keys::default();
        run(&mut keys, 1, &Ending::Unclear);
        run(&mut keys, 2, &Ending::Agreed);
        let others = 3..3 + 3 * MOST_DECIDED as u64;
        for key in others.clone() {
            run(&mut keys, key, if key % 2 == 0 { &Ending::Refused } else { &Ending::Settled });
        }
        assert!(keys.uses.len() <= MOST_DECIDED + 2);
        assert!(!keys.uses.contains_key(&others.start) && keys.uses.contains_key(&(others.end - 1)));
        assert_eq!(keys.known(1, HOUR).doubt, Doubt::Unclear);
        assert!(!begin(&mut keys, 1, 11, HOUR) && !begin(&mut keys, 2, 11, HOUR));
        // A key that is decided later makes room as well.
        run(&mut keys, 1, &Ending::Settled);
        for key in others.end..others.end + MOST_DECIDED as u64 {
            run(&mut keys, key, &done());
        }
        assert!(begin(&mut keys, 1, 11, HOUR), "it is forgotten now");
    }

    #[test]
    fn a_memory_that_is_full_says_so() {
        let mut keys = Keys::default();
        for key in 0..MOST_OPEN as u64 {
            run(&mut keys, key, &Ending::Unclear);
        }
        assert_eq!(keys.begin(u64::MAX, call(1), HOUR), Begun::Full);
        assert!(begin(&mut keys, 7, 10, HOUR), "a known key can be settled");
        keys.end(7, &Ending::Settled);
        assert_eq!(keys.begin(u64::MAX, call(1), HOUR), Begun::Ready);
        assert!(keys.known(0, HOUR).is_open() && keys.known(MOST_OPEN as u64 - 1, HOUR).is_open());
    }

    #[test]
    fn running_keys_are_not_forgotten() {
        let mut keys = Keys::default();
        begin(&mut keys, 1, 10, HOUR);
        run(&mut keys, 2, &Ending::Refused);
        begin(&mut keys, 2, 10, HOUR);
        for key in 3..3 + 2 * MOST_DECIDED as u64 {
            run(&mut keys, key, &Ending::Refused);
        }
        assert!(!begin(&mut keys, 1, 11, HOUR) && !begin(&mut keys, 2, 11, HOUR));
        keys.end(1, &Ending::NotSent);
        keys.end(2, &Ending::NotSent);
        assert!(begin(&mut keys, 1, 11, HOUR), "nothing was sent with it");
        assert!(!begin(&mut keys, 2, 11, HOUR));
    }

    #[test]
    fn a_child_knows_the_parents_calls_as_open() {
        let mut keys = Keys::default();
        begin(&mut keys, 1, 10, HOUR);
        run(&mut keys, 2, &Ending::Refused);
        let mut child = keys.inherited();
        assert!(!begin(&mut child, 1, 11, HOUR));
        assert_eq!(run(&mut child, 1, &Ending::NotSent).doubt, Doubt::Unclear);
        assert_eq!(run(&mut child, 2, &Ending::NotSent).doubt, Doubt::Refused);
        assert_eq!(child.open, 1);
        assert!(!begin(&mut child, 1, 11, DAY * 3), "an open key stays");
        // A call that the parent began and the child drives on is known by neither count.
        child.end_inherited(9, &Ending::Unclear);
        assert_eq!(child.known(9, HOUR).doubt, Doubt::Unclear);
    }

    #[test]
    fn one_copy_is_whole_at_any_fork() {
        let memory = InProcess::default();
        assert_eq!(memory.begin(1, call(10), HOUR), Begun::Ready);
        memory.end(1, &Ending::Unclear);
        let _first = lock(&memory.copies[0]);
        assert_eq!(memory.inherited().known(1, HOUR).doubt, Doubt::Unclear);
    }

    #[test]
    fn an_id_answers_one_key() {
        let mut keys = Keys::default();
        begin(&mut keys, 1, 10, HOUR);
        begin(&mut keys, 2, 20, HOUR);
        assert_eq!(keys.answered(1, 100), MatchedTo::ThisKey);
        assert_eq!(keys.answered(1, 100), MatchedTo::ThisKey, "a replay");
        assert_eq!(keys.answered(2, 100), MatchedTo::AnotherKey, "somebody else's answer");
        assert_eq!(keys.answered(2, 200), MatchedTo::ThisKey);
        assert_eq!(keys.answered(2, 201), MatchedTo::ThisKeyAgain);
        keys.end(1, &done());
        keys.end(2, &done());
        for key in 3..3 + MOST_DECIDED as u64 {
            begin(&mut keys, key, 1, HOUR);
            assert_eq!(keys.answered(key, key + 1000), MatchedTo::ThisKey);
            keys.end(key, &done());
        }
        assert!(keys.ids.len() <= MOST_DECIDED, "they are forgotten with their keys");
        let memory = InProcess::default();
        memory.begin(1, call(1), HOUR);
        memory.begin(2, call(2), HOUR);
        assert_eq!(memory.answered(1, "captures", "id"), MatchedTo::ThisKey);
        assert_eq!(memory.answered(2, "refunds", "id"), MatchedTo::ThisKey, "ids of two kinds may be alike");
    }
}
