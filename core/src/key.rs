//! Idempotency keys: how they are made, and the memory that refuses one for two captures.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use crate::decide::machine::Others;
use crate::error::Error;

/// The longest idempotency key we send. Klarna documents no limit and recommends a UUID.
const MAX_KEY: usize = 255;

/// How long Klarna keeps a key (its retry policy promises 24 hours from the first attempt).
const KEY_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// How many used keys one client remembers beside those of calls that run; the oldest are forgotten first.
const REMEMBERED: usize = 10_000;

/// The namespace of derived keys. Any language can derive the same key:
/// UUID v5 of this namespace and the text `captures/{order_id}/{name}`.
const NAMESPACE: Uuid = Uuid::from_u128(0x8f0b_7c0e_51d4_4f0a_9c53_2b6f_d0a1_74e6);

/// Derives the idempotency key of the capture called `name` of an order: the same two texts
/// give the same key after a crash, on any host, in every language (a UUID v5).
///
/// `name` says which capture of the order it is, such as `"parcel-1"`: 1 to 255 characters
/// without control characters, which count byte for byte (`"parcel-1 "` is another name). Two
/// parcels need two names. Klarna answers a known key with
/// the first result whatever the body says, so one key for two parcels would lose the second.
///
/// The key is UUID v5 of the namespace `8f0b7c0e-51d4-4f0a-9c53-2b6fd0a174e6` and the UTF-8
/// text `captures/{order_id}/{name}`.
///
/// # Errors
///
/// `invalid_input` when the order id or the name cannot be one.
///
/// ```
/// let key = takings::idempotency_key("f3392f8b-6116-4073-ab96-e330819e2c07", "parcel-1")?;
/// assert_eq!(key, "e642b253-7331-5441-bb3d-c291abd550aa");
/// # Ok::<(), takings::Error>(())
/// ```
pub fn idempotency_key(order_id: &str, name: &str) -> Result<String, Error> {
    crate::wire::check_order_id(order_id)?;
    let length = name.chars().count();
    if length == 0 || length > 255 || name.chars().any(char::is_control) {
        return Err(Error::invalid(format!(
            "name is {}; it must be 1 to 255 characters without control characters, such as \"parcel-1\"",
            match length {
                0 => "empty".to_owned(),
                1..=255 => "a text with control characters".to_owned(),
                _ => format!("{length} characters long"),
            }
        )));
    }
    Ok(Uuid::new_v5(&NAMESPACE, format!("captures/{order_id}/{name}").as_bytes()).to_string())
}

/// A fresh random key (UUID v4), for a caller that wants to store it before the call.
///
/// # Errors
///
/// `internal` when the operating system gives no random bytes.
pub fn new_idempotency_key() -> Result<String, Error> {
    let mut bytes = [0; 16];
    fill_random(&mut bytes)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string())
}

/// A seed for the jitter of one call.
pub(crate) fn random_seed() -> Result<u64, Error> {
    let mut bytes = [0; 8];
    fill_random(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

// Straight from the system each time: a generator kept in memory is copied by fork, and
// parent and child would use one key for two captures.
fn fill_random(bytes: &mut [u8]) -> Result<(), Error> {
    getrandom::fill(bytes).map_err(|error| {
        Error::new(
            crate::ErrorKind::Internal,
            format!("the operating system gives no random bytes ({error}); nothing was sent"),
        )
    })
}

pub(crate) fn check_key(key: &str) -> Result<(), Error> {
    let got = if key.is_empty() {
        "empty".to_owned()
    } else if key.len() > MAX_KEY {
        format!("{} bytes long", key.len())
    } else if let Some(bad) = key.chars().find(|c| !c.is_ascii_graphic()) {
        format!("a text with {:?}", bad)
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!(
        "idempotency_key is {got}; it must be 1 to {MAX_KEY} printable ASCII characters without spaces, best a UUID \
         (idempotency_key(order_id, name) derives one)"
    )))
}

/// The keys a client used in the last 24 hours, each with a fingerprint of what it was used
/// for. Klarna looks at the key alone, so a key reused for another capture would silently
/// lose that capture; this memory notices.
#[derive(Clone, Default)]
pub(crate) struct KeyMemory {
    uses: HashMap<u64, Use>,
    /// The captures they were answered with, each with its key.
    captures: HashMap<u64, u64>,
    /// The keys that may be forgotten, in the order in which their calls ended. One that runs comes here when
    /// it ends: to look past those that run would cost each call as much as there are.
    ended: VecDeque<u64>,
}

#[derive(Clone)]
struct Use {
    fingerprint: u64,
    since: Duration,
    running: u32,
    /// It is among those that may be forgotten, where one that runs again stays until it is its turn.
    queued: bool,
    reached: bool,
    /// A call with it has captured, or may have: from then on no other "no" than Klarna's own
    /// about this request says that nothing was captured.
    unclear: bool,
    /// One was answered with success that named no capture.
    agreed: bool,
    capture: Option<u64>,
}

/// The capture that a call was answered with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Whose {
    /// The first with this key, or the same again.
    Ours,
    /// An earlier call with this key was answered with another one.
    Another,
    /// Another key was answered with it, so the answer is not this call's.
    Foreign,
}

/// How a call with a key ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    /// Nothing was sent.
    NotSent,
    /// Nothing was captured by this call.
    Refused,
    /// Nor by any before it: the refusal was Klarna's own, of the bytes that they all have.
    Settled,
    /// Captured, or nobody knows.
    Unclear,
    /// Klarna agreed, and nobody knows to which capture.
    Agreed,
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

/// The memory of a process's keys, for all its threads. There are two of it, which change one after the
/// other: whenever a thread forks, whatever the others do, one of them is whole, and the child has that.
#[derive(Default)]
pub(crate) struct Keys {
    /// Held for as long as the two differ.
    turn: Mutex<()>,
    copies: [Mutex<KeyMemory>; 2],
}

impl Keys {
    fn change<T>(&self, change: impl Fn(&mut KeyMemory) -> T) -> T {
        let _turn = held(&self.turn);
        let [first, second] = &self.copies;
        let told = change(&mut held(first));
        change(&mut held(second));
        told
    }

    /// As [`KeyMemory::begin`].
    pub fn begin(&self, key: u64, fingerprint: u64, now: Duration) -> bool {
        self.change(|memory| memory.begin(key, fingerprint, now))
    }

    /// As [`KeyMemory::others`].
    pub fn others(&self, key: u64) -> Others {
        let _turn = held(&self.turn);
        held(&self.copies[0]).others(key)
    }

    /// As [`KeyMemory::answer`].
    pub fn answer(&self, key: u64, capture: u64) -> Whose {
        self.change(|memory| memory.answer(key, capture))
    }

    /// As [`KeyMemory::end`].
    pub fn end(&self, key: u64, end: End) {
        self.change(|memory| memory.end(key, end));
    }

    /// As [`KeyMemory::end_elsewhere`].
    pub fn end_elsewhere(&self, key: u64, end: End) {
        self.change(|memory| memory.end_elsewhere(key, end));
    }

    /// For a forked process, in which nobody else gives back what was held at the fork.
    pub fn inherited(&self) -> Keys {
        let whole = self.copies.iter().find_map(|copy| copy.try_lock().ok());
        let memory = whole.map(|memory| memory.inherited()).unwrap_or_default();
        Keys { turn: Mutex::new(()), copies: [Mutex::new(memory.clone()), Mutex::new(memory)] }
    }
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl KeyMemory {
    /// What a forked process takes over: the calls that run here go on in the parent, and what
    /// becomes of them is never told.
    pub fn inherited(&self) -> KeyMemory {
        let mut memory = self.clone();
        let mut left = Vec::new();
        for (key, known) in memory.uses.iter_mut().filter(|(_, known)| known.running > 0) {
            (known.running, known.reached, known.unclear) = (0, true, true);
            if !mem::replace(&mut known.queued, true) {
                left.push((known.since, *key));
            }
        }
        left.sort_unstable();
        memory.ended.extend(left.iter().map(|(_, key)| key));
        memory
    }

    /// Notes that a call with `key` begins. `false`: the key stands for another capture.
    pub fn begin(&mut self, key: u64, fingerprint: u64, now: Duration) -> bool {
        self.forget(now);
        if let Some(known) = self.uses.get_mut(&key) {
            let is_same = known.fingerprint == fingerprint;
            known.running += u32::from(is_same);
            return is_same;
        }
        let first = Use {
            fingerprint,
            since: now,
            running: 1,
            queued: false,
            reached: false,
            unclear: false,
            agreed: false,
            capture: None,
        };
        self.uses.insert(key, first);
        // A map that forgets as much as it learns doubles once more later: whoever gets this far has
        // that memory taken now, and no more ever after.
        if self.uses.len() == REMEMBERED / 2 {
            self.uses.reserve(2 * REMEMBERED - self.uses.len());
            self.captures.reserve(2 * REMEMBERED - self.captures.len());
        }
        true
    }

    /// What a call that began is to make of its own answer: others with its key may have begun, and
    /// ended, since.
    pub fn others(&self, key: u64) -> Others {
        match self.uses.get(&key) {
            Some(known) if known.capture.is_some() || known.agreed => Others::Done,
            Some(known) if !known.unclear && known.running <= 1 => Others::Nothing,
            // one that is not known here began in the process this one was forked from
            Some(_) | None => Others::Unclear,
        }
    }

    /// Notes which capture a call was answered with.
    pub fn answer(&mut self, key: u64, capture: u64) -> Whose {
        if *self.captures.entry(capture).or_insert(key) != key {
            return Whose::Foreign;
        }
        match self.uses.get_mut(&key).map(|known| known.capture.replace(capture)) {
            Some(Some(other)) if other != capture => {
                self.captures.remove(&other);
                Whose::Another
            }
            Some(_) => Whose::Ours,
            // forgotten meanwhile
            None => {
                self.captures.remove(&capture);
                Whose::Ours
            }
        }
    }

    /// Notes that a call ended. A key with which nothing ever reached Klarna is free again.
    pub fn end(&mut self, key: u64, end: End) {
        if let Some(known) = self.uses.get_mut(&key) {
            known.running = known.running.saturating_sub(1);
        }
        self.end_elsewhere(key, end);
    }

    /// The same of a call that began in the process this one was forked from: it is none of those that run here.
    pub fn end_elsewhere(&mut self, key: u64, end: End) {
        let Some(known) = self.uses.get_mut(&key) else { return };
        known.reached |= end != End::NotSent;
        match end {
            End::NotSent | End::Refused => {}
            End::Settled => known.unclear = false,
            End::Unclear => known.unclear = true,
            End::Agreed => (known.unclear, known.agreed) = (true, true),
        }
        if known.running > 0 {
            return;
        }
        if !known.reached {
            // it was not queued: only one that reached Klarna is
            self.uses.remove(&key);
        } else if !mem::replace(&mut known.queued, true) {
            self.ended.push_back(key);
        }
    }

    fn forget(&mut self, now: Duration) {
        while let Some(key) = self.ended.front() {
            let is_due = |known: &Use| now.saturating_sub(known.since) >= KEY_LIFE;
            if self.ended.len() < REMEMBERED && !self.uses.get(key).is_some_and(is_due) {
                break;
            }
            self.forget_one();
        }
    }

    /// The one that ended first, unless it runs again: then it is kept, and queued anew at its end.
    fn forget_one(&mut self) {
        let Some(key) = self.ended.pop_front() else { return };
        match self.uses.get_mut(&key) {
            Some(known) if known.running > 0 => known.queued = false,
            _ => {
                if let Some(capture) = self.uses.remove(&key).and_then(|known| known.capture) {
                    self.captures.remove(&capture);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_key_stands_for_one_capture() {
        let mut memory = KeyMemory::default();
        assert!(memory.begin(1, 10, HOUR));
        memory.end(1, End::Refused);
        assert!(memory.begin(1, 10, HOUR), "the same capture again is the point of a key");
        assert_eq!(memory.others(1), Others::Nothing);
        assert!(!memory.begin(1, 11, HOUR), "another capture is not");
    }

    #[test]
    fn it_is_kept_for_24_hours() {
        let mut memory = KeyMemory::default();
        memory.begin(1, 10, HOUR);
        memory.end(1, End::Unclear);
        assert!(!memory.begin(1, 11, HOUR * 24));
        assert!(memory.begin(1, 11, HOUR * 25));
    }

    #[test]
    fn a_key_that_reached_nobody_is_free_again() {
        let mut memory = KeyMemory::default();
        memory.begin(1, 10, HOUR);
        memory.begin(1, 10, HOUR);
        assert_eq!(memory.others(1), Others::Unclear, "each may capture meanwhile");
        memory.end(1, End::NotSent);
        assert_eq!(memory.others(1), Others::Nothing, "it did not");
        assert!(!memory.begin(1, 11, HOUR), "one call is still running");
        memory.end(1, End::NotSent);
        assert!(memory.begin(1, 11, HOUR));
        memory.end(1, End::Refused);
        assert!(!memory.begin(1, 10, HOUR));
    }

    #[test]
    fn what_may_have_captured_is_not_forgotten_by_the_next_call() {
        let mut memory = KeyMemory::default();
        let mut next = |end| {
            memory.begin(1, 10, HOUR);
            let others = memory.others(1);
            memory.end(1, end);
            others
        };
        assert_eq!(next(End::Unclear), Others::Nothing);
        assert_eq!(next(End::NotSent), Others::Unclear);
        assert_eq!(next(End::Refused), Others::Unclear, "it speaks of that call alone");
        assert_eq!(next(End::Settled), Others::Unclear, "Klarna's own no settles it");
        assert_eq!(next(End::Refused), Others::Nothing);
    }

    #[test]
    fn a_capture_is_not_forgotten() {
        let mut memory = KeyMemory::default();
        memory.begin(1, 10, HOUR);
        assert_eq!(memory.answer(1, 100), Whose::Ours);
        memory.end(1, End::Unclear);
        for end in [End::Unclear, End::NotSent, End::Refused, End::Settled] {
            memory.begin(1, 10, HOUR);
            assert_eq!(memory.others(1), Others::Done);
            memory.end(1, end);
        }
    }

    #[test]
    fn a_forked_process_takes_running_calls_for_unclear() {
        let mut memory = KeyMemory::default();
        memory.begin(1, 10, HOUR);
        let mut child = memory.inherited();
        assert_eq!(child.others(1), Others::Unclear, "the call itself may go on in the parent");
        child.begin(1, 10, HOUR);
        assert_eq!(child.others(1), Others::Unclear);
        child.end(1, End::NotSent);
        assert!(!child.begin(1, 11, HOUR));
        assert_eq!(KeyMemory::default().others(1), Others::Unclear, "nor is anything known where it was lost");
    }

    #[test]
    fn the_end_of_a_parents_call_ends_none_of_the_childs() {
        let mut memory = KeyMemory::default();
        memory.begin(1, 10, HOUR);
        let mut child = memory.inherited();
        child.begin(1, 10, HOUR);
        child.end_elsewhere(1, End::Settled);
        assert_eq!(child.others(1), Others::Nothing, "but its own");
        assert!(!child.begin(1, 11, HOUR * 30), "which runs");
        child.end(1, End::Settled);
        assert!(child.begin(1, 11, HOUR * 30));
    }

    #[test]
    fn a_fork_finds_a_memory_that_is_whole() {
        let keys = Keys::default();
        assert!(keys.begin(1, 10, HOUR));
        for held in &keys.copies {
            let _held = held.lock().unwrap();
            let child = keys.inherited();
            assert!(!child.begin(1, 11, HOUR));
            assert_eq!(child.others(1), Others::Unclear);
        }
        let _turn = keys.turn.lock().unwrap();
        assert!(!keys.inherited().begin(1, 11, HOUR));
    }

    #[test]
    fn an_outage_does_not_push_used_keys_out() {
        let mut memory = KeyMemory::default();
        memory.begin(1, 10, HOUR);
        memory.end(1, End::Unclear);
        for _ in 0..2 * REMEMBERED {
            memory.begin(2, 20, HOUR);
            memory.end(2, End::NotSent);
        }
        assert!(!memory.begin(1, 11, HOUR));
        assert_eq!(memory.uses.len(), 1);
    }

    #[test]
    fn it_does_not_grow() {
        let mut memory = KeyMemory::default();
        let held = 7_000_000;
        memory.begin(held, 1, HOUR);
        let mut taken = 0;
        for key in 0..5 * REMEMBERED as u64 {
            assert!(memory.begin(key, 1, HOUR));
            memory.end(key, End::Unclear);
            if key == REMEMBERED as u64 {
                taken = memory.uses.capacity();
            }
        }
        assert!(memory.uses.len() <= REMEMBERED + 1, "beside the one that runs");
        assert!(memory.ended.len() <= REMEMBERED);
        assert!(memory.uses.capacity() <= taken, "nor is more memory taken");
        assert!(!memory.begin(5 * REMEMBERED as u64 - 2, 2, HOUR), "the newest are kept");
        assert!(!memory.begin(held, 2, HOUR * 30), "and what is running");
        assert!(memory.begin(1, 2, HOUR * 30), "which holds up nobody");
    }

    #[test]
    fn calls_that_run_are_not_gone_through_by_each_that_begins() {
        let mut memory = KeyMemory::default();
        for key in 0..2 * REMEMBERED as u64 {
            memory.begin(key, 1, HOUR);
            assert!(memory.ended.is_empty(), "none that runs stands in the way");
        }
        for key in 0..2 * REMEMBERED as u64 {
            memory.end(key, End::Unclear);
        }
        // all again: those in the queue are met once, not by each that begins
        for key in (0..2 * REMEMBERED as u64).rev() {
            assert!(memory.begin(key, 1, HOUR));
        }
        let queued = memory.ended.len();
        assert!(queued < REMEMBERED, "{queued} of them");
        for key in 2 * REMEMBERED as u64..2 * REMEMBERED as u64 + 10 {
            memory.begin(key, 1, HOUR * 30);
            assert!(memory.ended.is_empty());
        }
        assert!(memory.uses.values().all(|known| known.running == 1 && !known.queued));
    }

    #[test]
    fn what_ends_while_many_run_is_remembered() {
        let mut memory = KeyMemory::default();
        for key in 0..2 * REMEMBERED as u64 {
            memory.begin(key, 1, HOUR);
        }
        assert_eq!(memory.answer(5, 500), Whose::Ours);
        memory.end(5, End::Unclear);
        assert!(memory.begin(7_000_000, 1, HOUR));
        assert!(!memory.begin(5, 2, HOUR));
        assert_eq!(memory.others(5), Others::Done);
        // it runs again when it is its turn to be forgotten
        assert!(memory.begin(5, 1, HOUR));
        for key in 6..6 + REMEMBERED as u64 {
            memory.end(key, End::Unclear);
        }
        memory.begin(7_000_001, 1, HOUR);
        assert_eq!(memory.others(5), Others::Done, "it is kept");
        memory.end(5, End::Unclear);
        assert!(memory.begin(5, 2, HOUR * 25), "and forgotten in the end");
        assert_eq!(memory.captures.len(), 0, "with its capture");
    }

    #[test]
    fn what_ran_at_a_fork_is_forgotten_in_the_child() {
        let mut memory = KeyMemory::default();
        for key in [1, 2, 3] {
            memory.begin(key, 10, HOUR * key as u32);
        }
        memory.end(3, End::Unclear);
        memory.begin(3, 10, HOUR * 3);
        let mut child = memory.inherited();
        assert_eq!(child.ended, [3, 1, 2], "each once");
        assert!(child.begin(2, 11, HOUR * 27) && child.begin(1, 11, HOUR * 27));
        assert!(!memory.begin(1, 11, HOUR * 50), "in the parent they run");
    }

    #[test]
    fn a_capture_answers_one_key() {
        let mut memory = KeyMemory::default();
        memory.begin(1, 10, HOUR);
        memory.begin(2, 20, HOUR);
        assert_eq!(memory.answer(1, 100), Whose::Ours);
        assert_eq!(memory.answer(1, 100), Whose::Ours, "a replay");
        assert_eq!(memory.answer(2, 100), Whose::Foreign, "somebody else's answer");
        assert_eq!(memory.answer(2, 200), Whose::Ours);
        assert_eq!(memory.answer(2, 201), Whose::Another);
        memory.end(1, End::Unclear);
        memory.end(2, End::Unclear);
        for key in 3..3 + REMEMBERED as u64 {
            memory.begin(key, 1, HOUR);
            assert_eq!(memory.answer(key, key + 1000), Whose::Ours);
            memory.end(key, End::Unclear);
        }
        assert!(memory.captures.len() <= REMEMBERED, "they are forgotten with their keys");
    }

    #[test]
    fn fresh_keys_are_uuids_and_differ() {
        let (a, b) = (new_idempotency_key().unwrap(), new_idempotency_key().unwrap());
        assert_ne!(a, b);
        assert_eq!(Uuid::parse_str(&a).unwrap().get_version_num(), 4);
    }

    #[test]
    fn a_key_is_safe_as_a_header() {
        for bad in ["", " ", "a b", "a\r\nX: y", "ключ", "a\0", "\u{7f}", &"k".repeat(256)] {
            assert!(check_key(bad).is_err(), "{bad:?}");
        }
        assert!(check_key(&"k".repeat(255)).is_ok());
    }

    #[test]
    fn names_are_checked() {
        for bad in ["", "a\nb", &"n".repeat(256)] {
            assert!(idempotency_key("order", bad).is_err(), "{bad:?}");
        }
        assert_ne!(idempotency_key("o", "parcel-1").unwrap(), idempotency_key("o", "parcel-2").unwrap());
    }
}
