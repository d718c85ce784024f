//! The memory of idempotency keys: what each stands for, and what its calls have done.
//!
//! Klarna looks at the key alone, so a key reused for another call would silently lose that call. A call with a known
//! key is therefore judged by all calls with that key, not by its own answer alone.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::mem;
use std::time::Duration;

use super::doubt::{Doubt, Ending, FirstUse};

/// How long a key may be sent. Klarna's retry policy promises to keep it for 24 hours from the first attempt; a
/// request takes a while to arrive.
pub(crate) const KEY_LIFE: Duration = Duration::from_secs(24 * 60 * 60 - 60);

/// After this time without a call Klarna has forgotten a key, whenever its first request was sent.
const KEY_FORGOTTEN: Duration = Duration::from_secs(24 * 60 * 60 + 60);

/// How many keys with a decided end are remembered; those that ended first are forgotten first.
const MOST_DECIDED: usize = 10_000;

/// How many keys without a decided end are remembered. None of them is forgotten.
pub(crate) const MOST_OPEN: usize = 100_000;

/// Where the keys of calls are remembered.
pub(crate) trait Memory: Send + Sync {
    /// Notes that a call with `key` begins. `fingerprint` is a hash of its method, path and body.
    fn begin(&self, key: u64, fingerprint: u64, now: Moment) -> Begun;

    /// Notes the age of the first use of `key`, as its caller gives it. That use may have been carried out.
    fn first_used(&self, key: u64, age: Duration, now: Moment);

    /// The knowledge of `key` from other calls, for a call that runs. `is_inherited`: that call began in the process
    /// this one was forked from.
    fn known(&self, key: u64, is_inherited: bool, now: Moment) -> KeyState;

    /// Notes the id that a call was answered with.
    fn answered(&self, key: u64, kind: &'static str, id: &str) -> MatchedTo;

    /// Notes how a call ended. A key with which nothing ever reached Klarna is free again.
    fn end(&self, key: u64, end: &End);

    /// The memory for a forked process, which does not have the threads that were using this one.
    fn inherited(&self) -> Box<dyn Memory>;
}

/// A moment by two clocks, since neither is right alone. The steady clock stops while a machine sleeps, and the wall
/// clock may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    /// Seconds by the clock that only goes forward. Two moments are kept for each key, so they are small.
    steady: u32,
    /// Seconds by the wall clock.
    wall: u32,
}

impl Moment {
    pub fn new(steady: Duration, wall: Duration) -> Moment {
        let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        Moment { steady: seconds(steady), wall: seconds(wall) }
    }

    /// The moment after a while.
    pub fn after(self, time: Duration) -> Moment {
        let time = Moment::new(time, time);
        Moment { steady: self.steady.saturating_add(time.steady), wall: self.wall.saturating_add(time.wall) }
    }

    /// The least and the most time that can have passed since an earlier moment.
    pub(super) fn since(self, earlier: Moment) -> (Duration, Duration) {
        let steady = self.steady.saturating_sub(earlier.steady);
        let wall = self.wall.saturating_sub(earlier.wall);
        let seconds = |time: u32| Duration::from_secs(time.into());
        (seconds(steady.min(wall)), seconds(steady.max(wall)))
    }
}

/// The end of a call.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub ending: Ending,
    pub now: Moment,
    /// The call began in the process this one was forked from.
    pub is_inherited: bool,
    /// [`KeyState::opened`] as the call last read it. A call that ended open since then is not settled by this one.
    pub opened: u32,
    /// [`KeyState::first_use`] as the call last read it.
    pub first_use: FirstUse,
}

/// Whether a call may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    Ready,
    /// The key stands for another call, and its calls have left this.
    OfAnotherCall(Doubt),
    /// The memory has no room for another key.
    Full,
}

/// The knowledge of a key beside the asking call's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyState {
    pub doubt: Doubt,
    /// Other calls with the key run.
    pub running: bool,
    pub first_use: FirstUse,
    /// The key's 24 hours are over.
    pub is_past: bool,
    /// The key's 24 hours are over, and a call with it may have been carried out, in this process or before.
    pub is_old: bool,
    /// How often a call with the key has ended open. A change shows that this happened since an attempt was sent.
    pub opened: u32,
}

impl KeyState {
    /// A key that nobody else uses.
    pub const FRESH: KeyState = KeyState {
        doubt: Doubt::Untouched,
        running: false,
        first_use: FirstUse::Known,
        is_past: false,
        is_old: false,
        opened: 0,
    };

    /// Whether another call may have done, or may yet do, what the asking one was refused.
    pub fn is_open(&self) -> bool {
        self.running || self.doubt.is_open()
    }
}

/// The key to which an answer's id belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MatchedTo {
    /// The id is the first for this key, or the same again.
    ThisKey,
    /// An earlier call with this key was answered with another id.
    ThisKeyAgain,
    /// The id belongs to another key.
    AnotherKey,
}

/// A hash against accidents alone, since nobody gains by forging one. Among 10,000 hashes two are equal once in some
/// 10^11 times.
pub(crate) fn fingerprint(parts: &[&[u8]]) -> u64 {
    // Odd numbers with as many ones as zeros, without a pattern.
    const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;
    const SECOND: u64 = 0xd6e8_feb8_6659_fd93;
    // The halves of a product depend on every bit of both factors.
    let mixed = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        product as u64 ^ (product >> 64) as u64
    };
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let mut hash = FIRST;
    for part in parts {
        hash = mixed(hash ^ part.len() as u64, SECOND);
        let (blocks, rest) = part.as_chunks::<16>();
        for block in blocks {
            let block = u128::from_le_bytes(*block);
            hash = mixed(hash ^ block as u64, SECOND ^ (block >> 64) as u64);
        }
        let (low, high) = rest.split_at(rest.len().min(8));
        hash = mixed(hash ^ word(low), SECOND ^ word(high));
    }
    mixed(hash, FIRST)
}

/// Fingerprints are hashes already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only fingerprints are hashed")
    }

    fn write_u64(&mut self, fingerprint: u64) {
        self.0 = fingerprint;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Fingerprints<T> = HashMap<u64, T, BuildHasherDefault<Hashed>>;

/// The keys and all that is known of them.
#[derive(Clone, Default)]
pub(crate) struct Keys {
    uses: Fingerprints<Use>,
    /// The ids that keys were answered with, each with its key.
    ids: Fingerprints<u64>,
    /// The keys that may be forgotten, in the order in which their calls ended. Keys of running calls are not queued,
    /// or every eviction would scan them all.
    ended: VecDeque<u64>,
    /// How many keys have no decided end.
    open: usize,
    most: Most,
}

/// How many keys are remembered.
#[derive(Clone, Copy)]
pub(crate) struct Most {
    /// Keys with a decided end; those that ended first are forgotten first.
    pub decided: usize,
    /// Keys without a decided end. None of them is forgotten.
    pub open: usize,
}

impl Default for Most {
    fn default() -> Most {
        Most { decided: MOST_DECIDED, open: MOST_OPEN }
    }
}

#[derive(Clone)]
struct Use {
    fingerprint: u64,
    since: Moment,
    /// When the last call with the key ended.
    last: Moment,
    /// The age of the key at `since`, if a caller gave the time of its first use.
    age: Option<Duration>,
    doubt: Doubt,
    opened: u32,
    running: u32,
    /// The key stands in `ended`. A key that runs again stays there until its turn comes.
    queued: bool,
    /// A call with the key has ended since it was queued, so its turn has not come yet.
    ended_since: bool,
    id: Option<u64>,
}

impl Use {
    fn new(fingerprint: u64, now: Moment) -> Use {
        Use {
            fingerprint,
            since: now,
            last: now,
            age: None,
            doubt: Doubt::Untouched,
            opened: 0,
            running: 1,
            queued: false,
            ended_since: false,
            id: None,
        }
    }

    /// Notes an ending of the key.
    fn note(&mut self, ending: Ending) {
        self.opened += u32::from(matches!(&ending, Ending::Left(doubt) if doubt.is_open()));
        self.doubt = mem::take(&mut self.doubt).after(ending);
    }

    /// Whether Klarna may have forgotten the key: its 24 hours are over by one of the clocks.
    fn is_past(&self, now: Moment) -> bool {
        now.since(self.since).1.saturating_add(self.age.unwrap_or_default()) >= KEY_LIFE
    }

    /// Whether the key may stand for another call: nothing was sent with it, or Klarna has forgotten it by either clock.
    fn is_free(&self, now: Moment) -> bool {
        let is_forgotten = now.since(self.last).0 >= KEY_FORGOTTEN;
        self.running == 0 && self.doubt.is_decided() && (self.doubt == Doubt::Untouched || is_forgotten)
    }
}

impl Keys {
    /// A memory with less room, for tests.
    #[cfg(test)]
    pub fn with_room_for(most: Most) -> Keys {
        Keys { most, ..Keys::default() }
    }

    /// The keys that may be forgotten, in their order; how many keys there are, how many of them are open, and how many ids.
    #[cfg(test)]
    pub fn inside(&self) -> (Vec<u64>, usize, usize, usize) {
        (self.ended.iter().copied().collect(), self.uses.len(), self.open, self.ids.len())
    }

    pub fn inherited(&self) -> Keys {
        let mut keys = self.clone();
        let mut left = Vec::new();
        for (key, known) in keys.uses.iter_mut().filter(|(_, known)| known.running > 0) {
            // Running calls go on in the parent, and this process never learns how they end.
            known.running = 0;
            known.note(Ending::Left(Doubt::Unclear));
            // Only a decided key makes room for another.
            if known.doubt.is_decided() && !mem::replace(&mut known.queued, true) {
                left.push((known.since, *key));
            }
        }
        keys.open = keys.uses.values().filter(|known| !known.doubt.is_decided()).count();
        left.sort_unstable();
        keys.ended.extend(left.iter().map(|(_, key)| key));
        keys
    }

    pub fn begin(&mut self, key: u64, fingerprint: u64, now: Moment) -> Begun {
        if let Some(known) = self.uses.get_mut(&key) {
            let is_free = known.is_free(now);
            let is_same = known.fingerprint == fingerprint;
            if !is_same && !is_free {
                let is_decided = known.running == 0 && known.doubt.is_decided();
                let left = if is_decided { Doubt::Untouched } else { Doubt::Unclear };
                return Begun::OfAnotherCall(known.doubt.clone().after(Ending::Left(left)));
            }
            // A refused key counts as new once Klarna has forgotten it. A key that was carried out never does.
            if is_same && !(is_free && known.doubt <= Doubt::Refused) {
                known.running += 1;
                return Begun::Ready;
            }
        }
        if self.open >= self.most.open {
            return Begun::Full;
        }
        if let Some(known) = self.uses.get_mut(&key) {
            let new = Use { queued: known.queued, ..Use::new(fingerprint, now) };
            if let Some(id) = mem::replace(known, new).id {
                self.ids.remove(&id);
            }
            return Begun::Ready;
        }
        self.make_room();
        self.uses.insert(key, Use::new(fingerprint, now));
        // The final capacity is taken once, so that the memory of a process that runs for days stays flat.
        if self.uses.len() == MOST_DECIDED / 2 {
            self.uses.reserve(2 * MOST_DECIDED - self.uses.len());
            self.ids.reserve(2 * MOST_DECIDED - self.ids.len());
        }
        Begun::Ready
    }

    pub fn first_used(&mut self, key: u64, age: Duration, now: Moment) {
        if let Some(known) = self.uses.get_mut(&key) {
            let age = age.saturating_sub(now.since(known.since).0);
            known.age = known.age.max(Some(age));
            let was_decided = known.doubt.is_decided();
            known.note(Ending::Left(Doubt::EarlierUse));
            self.open += usize::from(was_decided && !known.doubt.is_decided());
        }
    }

    pub fn known(&self, key: u64, is_inherited: bool, now: Moment) -> KeyState {
        match self.uses.get(&key) {
            Some(known) => {
                let running = known.running > u32::from(!is_inherited);
                let is_past = known.is_past(now);
                let may_be_done = running || known.doubt >= Doubt::EarlierUse;
                KeyState {
                    doubt: known.doubt.clone(),
                    running,
                    first_use: FirstUse::Unknown,
                    is_past,
                    is_old: is_past && may_be_done,
                    opened: known.opened,
                }
            }
            // A call that this memory does not know began in the process this one was forked from.
            None => KeyState { doubt: Doubt::Unclear, first_use: FirstUse::Unknown, ..KeyState::FRESH },
        }
    }

    pub fn answered(&mut self, key: u64, id: u64) -> MatchedTo {
        if *self.ids.entry(id).or_insert(key) != key {
            return MatchedTo::AnotherKey;
        }
        match self.uses.get_mut(&key).map(|known| known.id.replace(id)) {
            Some(Some(other)) if other != id => {
                self.ids.remove(&other);
                MatchedTo::ThisKeyAgain
            }
            Some(_) => MatchedTo::ThisKey,
            // The key was forgotten meanwhile.
            None => {
                self.ids.remove(&id);
                MatchedTo::ThisKey
            }
        }
    }

    pub fn end(&mut self, key: u64, end: &End) {
        let Some(known) = self.uses.get_mut(&key) else { return };
        known.last = end.now;
        if !end.is_inherited {
            known.running = known.running.saturating_sub(1);
        }
        let was_decided = known.doubt.is_decided();
        known.note(end.ending.clone().of_key(known.opened == end.opened, end.first_use));
        self.open = self.open + usize::from(!known.doubt.is_decided()) - usize::from(!was_decided);
        if known.running > 0 {
            return;
        }
        if known.doubt == Doubt::Untouched && !known.queued {
            self.uses.remove(&key);
        } else if known.doubt.is_decided() {
            if known.queued {
                known.ended_since = true;
            } else {
                known.queued = true;
                self.ended.push_back(key);
            }
        }
    }

    fn make_room(&mut self) {
        while self.ended.len() >= self.most.decided {
            let Some(key) = self.ended.pop_front() else { return };
            match self.uses.get_mut(&key) {
                // The key is queued again when it ends decided.
                Some(known) if known.running > 0 || !known.doubt.is_decided() => {
                    (known.queued, known.ended_since) = (false, false);
                }
                Some(known) if known.ended_since => {
                    known.ended_since = false;
                    self.ended.push_back(key);
                }
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

    fn hours(count: u32) -> Moment {
        Moment::new(HOUR * count, HOUR * (1000 + count))
    }

    fn begin(keys: &mut Keys, key: u64, fingerprint: u64, now: Moment) -> bool {
        keys.begin(key, fingerprint, now) == Begun::Ready
    }

    fn done() -> Ending {
        Ending::Left(Doubt::Done("id".into()))
    }

    fn ended(ending: &Ending) -> End {
        End { ending: ending.clone(), now: hours(1), is_inherited: false, opened: 0, first_use: FirstUse::Known }
    }

    /// Ends a call that has read all that the memory knows.
    fn end(keys: &mut Keys, key: u64, ending: &Ending) {
        let opened = keys.known(key, false, hours(1)).opened;
        keys.end(key, &End { opened, ..ended(ending) });
    }

    /// Makes one whole call.
    fn run(keys: &mut Keys, key: u64, ending: &Ending) -> KeyState {
        assert!(begin(keys, key, 10, hours(1)));
        let known = keys.known(key, false, hours(1));
        end(keys, key, ending);
        known
    }

    #[test]
    fn a_key_stands_for_one_call() {
        let mut keys = Keys::default();
        run(&mut keys, 1, &Ending::Left(Doubt::Refused));
        assert!(begin(&mut keys, 1, 10, hours(1)), "the same call again is the point of a key");
        assert!(!keys.known(1, false, hours(1)).is_open());
        assert!(!begin(&mut keys, 1, 11, hours(1)), "another call is not");
    }

    #[test]
    fn an_open_key_is_kept_beyond_its_24_hours_and_is_old_then() {
        let mut keys = Keys::default();
        run(&mut keys, 1, &Ending::Left(Doubt::Unclear));
        assert!(begin(&mut keys, 1, 10, hours(24)));
        assert!(!keys.known(1, false, hours(24)).is_old);
        assert!(keys.known(1, false, hours(25)).is_old);
        end(&mut keys, 1, &Ending::Left(Doubt::Untouched));
        assert!(!begin(&mut keys, 1, 11, hours(100)), "it never stands for another call");
        assert!(begin(&mut keys, 1, 10, hours(100)));
        assert!(keys.known(1, false, hours(100)).is_old);
    }

    #[test]
    fn a_decided_key_is_free_after_24_hours() {
        let mut keys = Keys::default();
        run(&mut keys, 1, &Ending::Left(Doubt::Refused));
        assert!(!begin(&mut keys, 1, 11, hours(25)));
        assert!(begin(&mut keys, 1, 11, hours(26)));
        // Its first request may have been sent by the last of its calls.
        let mut keys = Keys::default();
        begin(&mut keys, 1, 10, hours(1));
        keys.end(1, &End { now: hours(6), ..ended(&Ending::Left(Doubt::Refused)) });
        assert!(!begin(&mut keys, 1, 11, hours(26)));
        assert!(begin(&mut keys, 1, 11, hours(31)));
        let mut keys = Keys::default();
        run(&mut keys, 1, &done());
        assert!(begin(&mut keys, 1, 10, hours(25)));
        assert!(keys.known(1, false, hours(25)).is_old, "the same call again would be carried out again");
    }

    #[test]
    fn a_first_use_that_was_told_ages() {
        let mut keys = Keys::default();
        keys.begin(1, 10, hours(1));
        assert!(!keys.known(1, false, hours(30)).is_old, "nothing is known of its age");
        keys.first_used(1, HOUR * 20, hours(1));
        assert!(!keys.known(1, false, hours(4)).is_old);
        assert!(keys.known(1, false, hours(5)).is_old);
        keys.first_used(1, HOUR * 23, hours(4));
        assert!(!keys.known(1, false, hours(4)).is_old, "the same moment, said three hours later");
        assert_eq!(keys.known(1, false, hours(1)).first_use, FirstUse::Unknown);
    }

    #[test]
    fn a_refusal_says_nothing_of_earlier_uses_that_are_not_known() {
        let refused = |first_use| End { first_use, ..ended(&Ending::Left(Doubt::Refused)) };
        for (end, is_in_doubt) in [
            (refused(FirstUse::Unknown), true),
            (refused(FirstUse::Known), false),
            (End { first_use: FirstUse::Unknown, ..ended(&Ending::Settled) }, false),
        ] {
            let mut keys = Keys::default();
            keys.begin(1, 10, hours(1));
            keys.end(1, &end);
            assert_eq!(keys.open, usize::from(is_in_doubt), "{end:?}");
            for key in 2..3 + MOST_DECIDED as u64 {
                run(&mut keys, key, &done());
            }
            assert_eq!(keys.begin(1, 10, hours(26)), Begun::Ready);
            assert_eq!(keys.known(1, false, hours(26)).is_old, is_in_doubt, "{end:?}");
            assert_eq!(keys.known(1, false, hours(26)).first_use, FirstUse::Unknown, "others may send it at any time");
        }
    }

    #[test]
    fn a_first_use_that_the_caller_knows_outlives_a_call_that_sent_nothing() {
        let mut keys = Keys::default();
        begin(&mut keys, 1, 10, hours(20));
        keys.first_used(1, HOUR * 20, hours(20));
        end(&mut keys, 1, &Ending::Left(Doubt::Untouched));
        assert_eq!(keys.open, 1);
        assert!(!begin(&mut keys, 1, 11, hours(21)), "it may stand for an earlier call");
        assert!(begin(&mut keys, 1, 10, hours(25)));
        assert!(keys.known(1, false, hours(25)).is_old);
        end(&mut keys, 1, &Ending::Settled);
        assert_eq!(keys.open, 0);
        assert!(!keys.known(1, false, hours(25)).is_old, "the earlier call was refused as well");
    }

    #[test]
    fn a_call_settles_only_what_it_knew() {
        let mut keys = Keys::default();
        begin(&mut keys, 1, 10, hours(1));
        begin(&mut keys, 1, 10, hours(1));
        end(&mut keys, 1, &Ending::Left(Doubt::Unclear));
        keys.end(1, &ended(&Ending::Settled));
        assert!(run(&mut keys, 1, &Ending::Left(Doubt::Untouched)).is_open());
    }

    #[test]
    fn a_key_whose_call_never_ended_grows_old() {
        let mut keys = Keys::default();
        begin(&mut keys, 1, 10, hours(1));
        begin(&mut keys, 1, 10, hours(26));
        assert!(keys.known(1, false, hours(26)).is_old);
        assert!(!keys.known(1, false, hours(24)).is_old);
    }

    #[test]
    fn a_clock_that_is_set_makes_no_key_younger_and_frees_none() {
        let moment = |steady, wall| Moment::new(HOUR * steady, HOUR * wall);
        let mut keys = Keys::default();
        begin(&mut keys, 1, 10, moment(1, 148));
        end(&mut keys, 1, &Ending::Left(Doubt::Unclear));
        begin(&mut keys, 1, 10, moment(26, 125));
        assert!(keys.known(1, false, moment(26, 125)).is_old, "the wall's clock was two days ahead");
        run(&mut keys, 2, &done());
        assert!(!begin(&mut keys, 2, 11, moment(2, 2000)), "the wall's clock was set forth");
        assert!(begin(&mut keys, 2, 10, moment(1, 1025)));
        assert!(keys.known(2, false, moment(1, 1025)).is_old, "the machine slept for a day");
    }

    #[test]
    fn a_key_that_reached_nobody_is_free_again() {
        let mut keys = Keys::default();
        begin(&mut keys, 1, 10, hours(1));
        begin(&mut keys, 1, 10, hours(1));
        assert!(keys.known(1, false, hours(1)).is_open(), "each may capture meanwhile");
        end(&mut keys, 1, &Ending::Left(Doubt::Untouched));
        assert!(!keys.known(1, false, hours(1)).is_open(), "it did not");
        assert!(!begin(&mut keys, 1, 11, hours(1)), "one call is still running");
        end(&mut keys, 1, &Ending::Left(Doubt::Untouched));
        assert!(begin(&mut keys, 1, 11, hours(1)));
        end(&mut keys, 1, &Ending::Left(Doubt::Refused));
        assert!(!begin(&mut keys, 1, 10, hours(1)));
    }

    #[test]
    fn the_next_call_knows_what_the_last_one_left() {
        let mut keys = Keys::default();
        for (ending, left) in [
            (Ending::Left(Doubt::Unclear), Doubt::Unclear),
            (Ending::Left(Doubt::Untouched), Doubt::Unclear),
            (Ending::Left(Doubt::Refused), Doubt::Unclear),
            (Ending::Settled, Doubt::Refused),
            (Ending::Left(Doubt::Agreed), Doubt::Agreed),
            (Ending::Settled, Doubt::Agreed),
            (done(), Doubt::Done("id".into())),
            (Ending::Settled, Doubt::Done("id".into())),
            (Ending::Left(Doubt::Untouched), Doubt::Done("id".into())),
        ] {
            run(&mut keys, 1, &ending);
            assert_eq!(run(&mut keys, 1, &Ending::Left(Doubt::Untouched)).doubt, left, "{ending:?}");
        }
    }

    #[test]
    fn decided_keys_make_room_and_open_ones_stay() {
        let mut keys = Keys::default();
        run(&mut keys, 1, &Ending::Left(Doubt::Unclear));
        run(&mut keys, 2, &Ending::Left(Doubt::Agreed));
        let others = 3..3 + 3 * MOST_DECIDED as u64;
        for key in others.clone() {
            run(&mut keys, key, if key % 2 == 0 { &Ending::Left(Doubt::Refused) } else { &Ending::Settled });
        }
        assert!(keys.uses.len() <= MOST_DECIDED + 2);
        assert!(!keys.uses.contains_key(&others.start) && keys.uses.contains_key(&(others.end - 1)));
        assert_eq!(keys.known(1, false, hours(1)).doubt, Doubt::Unclear);
        assert!(!begin(&mut keys, 1, 11, hours(1)) && !begin(&mut keys, 2, 11, hours(1)));
        // A key that is decided later makes room as well.
        run(&mut keys, 1, &Ending::Settled);
        for key in others.end..others.end + MOST_DECIDED as u64 {
            run(&mut keys, key, &done());
        }
        assert!(begin(&mut keys, 1, 11, hours(1)), "it is forgotten now");
    }

    #[test]
    fn keys_that_ended_first_are_forgotten_first() {
        let mut keys = Keys::default();
        let others = |keys: &mut Keys, from: u64, count: u64| {
            for key in from..from + count {
                run(keys, key, &Ending::Left(Doubt::Refused));
            }
        };
        let most = MOST_DECIDED as u64;
        run(&mut keys, 1, &Ending::Left(Doubt::Refused));
        others(&mut keys, 2, most - 2);
        run(&mut keys, 1, &done());
        others(&mut keys, most, most - 3);
        assert_eq!(keys.known(1, false, hours(1)).doubt, Doubt::Done("id".into()));
        // A key that begins anew has its place from its new end.
        begin(&mut keys, 1, 11, hours(26));
        keys.end(1, &End { now: hours(26), ..ended(&done()) });
        others(&mut keys, 2 * most, most - 3);
        assert_eq!(keys.known(1, false, hours(26)).doubt, Doubt::Done("id".into()));
        others(&mut keys, 3 * most, most);
        assert!(!keys.uses.contains_key(&1) && keys.ended.len() <= MOST_DECIDED && keys.uses.len() <= MOST_DECIDED + 1);
        for _ in 0..3 {
            run(&mut keys, 3 * most, &Ending::Left(Doubt::Refused));
        }
        assert!(keys.ended.len() <= MOST_DECIDED, "a key is queued once");
    }

    #[test]
    fn a_memory_that_is_full_says_so() {
        let mut keys = Keys::default();
        for key in 0..MOST_OPEN as u64 {
            run(&mut keys, key, &Ending::Left(Doubt::Unclear));
        }
        assert_eq!(keys.begin(u64::MAX, 1, hours(1)), Begun::Full);
        assert!(begin(&mut keys, 7, 10, hours(1)), "a known key can be settled");
        end(&mut keys, 7, &Ending::Settled);
        assert_eq!(keys.begin(u64::MAX, 1, hours(1)), Begun::Ready);
        assert!(
            keys.known(0, false, hours(1)).is_open() && keys.known(MOST_OPEN as u64 - 1, false, hours(1)).is_open()
        );
    }

    #[test]
    fn running_keys_are_not_forgotten() {
        let mut keys = Keys::default();
        begin(&mut keys, 1, 10, hours(1));
        run(&mut keys, 2, &Ending::Left(Doubt::Refused));
        begin(&mut keys, 2, 10, hours(1));
        for key in 3..3 + 2 * MOST_DECIDED as u64 {
            run(&mut keys, key, &Ending::Left(Doubt::Refused));
        }
        assert!(!begin(&mut keys, 1, 11, hours(1)) && !begin(&mut keys, 2, 11, hours(1)));
        end(&mut keys, 1, &Ending::Left(Doubt::Untouched));
        end(&mut keys, 2, &Ending::Left(Doubt::Untouched));
        assert!(begin(&mut keys, 1, 11, hours(1)), "nothing was sent with it");
        assert!(!begin(&mut keys, 2, 11, hours(1)));
    }

    #[test]
    fn a_child_knows_the_parents_calls_as_open() {
        let mut keys = Keys::default();
        begin(&mut keys, 1, 10, hours(1));
        run(&mut keys, 2, &Ending::Left(Doubt::Refused));
        let mut child = keys.inherited();
        assert!(!begin(&mut child, 1, 11, hours(1)));
        assert_eq!(run(&mut child, 1, &Ending::Left(Doubt::Untouched)).doubt, Doubt::Unclear);
        assert_eq!(run(&mut child, 2, &Ending::Left(Doubt::Untouched)).doubt, Doubt::Refused);
        assert_eq!(child.open, 1);
        assert!(!begin(&mut child, 1, 11, hours(72)), "an open key stays");
        // A call that the parent began and the child continues is in neither count.
        child.end(9, &End { is_inherited: true, ..ended(&Ending::Left(Doubt::Unclear)) });
        assert_eq!(child.known(9, false, hours(1)).doubt, Doubt::Unclear);
    }

    #[test]
    fn a_child_does_not_know_the_first_use() {
        let mut keys = Keys::default();
        run(&mut keys, 1, &Ending::Left(Doubt::Refused));
        let mut child = keys.inherited();
        assert!(begin(&mut child, 1, 10, hours(1)));
        assert_eq!(child.known(1, false, hours(1)).first_use, FirstUse::Unknown, "the parent may send it at any time");
        assert!(child.known(1, true, hours(1)).running, "a call of the parent sees one of the child");
    }

    #[test]
    fn an_id_answers_one_key() {
        let mut keys = Keys::default();
        begin(&mut keys, 1, 10, hours(1));
        begin(&mut keys, 2, 20, hours(1));
        assert_eq!(keys.answered(1, 100), MatchedTo::ThisKey);
        assert_eq!(keys.answered(1, 100), MatchedTo::ThisKey, "a replay");
        assert_eq!(keys.answered(2, 100), MatchedTo::AnotherKey, "somebody else's answer");
        assert_eq!(keys.answered(2, 200), MatchedTo::ThisKey);
        assert_eq!(keys.answered(2, 201), MatchedTo::ThisKeyAgain);
        end(&mut keys, 1, &done());
        end(&mut keys, 2, &done());
        for key in 3..3 + MOST_DECIDED as u64 {
            begin(&mut keys, key, 1, hours(1));
            assert_eq!(keys.answered(key, key + 1000), MatchedTo::ThisKey);
            end(&mut keys, key, &done());
        }
        assert!(keys.ids.len() <= MOST_DECIDED, "they are forgotten with their keys");
    }
}
