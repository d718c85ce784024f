//! The memory of idempotency keys: what each stands for, and what its calls have done.
//!
//! Klarna looks at the key alone, so a key reused for another call would silently lose that call. A call with a known
//! key is therefore judged by all calls with that key, not by its own answer alone.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, Hasher as _};
use std::mem;
use std::num::NonZeroU64;
use std::time::Duration;

use foldhash::quality::FixedState;
use hashbrown::HashTable;
use slab::Slab;
use uuid::Uuid;

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
/// 10^11 times. It holds for this process and its forks, as another version of foldhash may give another one.
pub(crate) fn fingerprint(parts: &[&[u8]]) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    for part in parts {
        // Two parts are told from the same bytes in one.
        hasher.write_usize(part.len());
        hasher.write(part);
    }
    hasher.finish()
}

/// The places in [`Keys::uses`] under a hash that each of them holds. A place takes five bytes, and no key is held twice.
#[derive(Clone, Default)]
struct Places(HashTable<u32>);

impl Places {
    /// The place under `hash` that `is_it` accepts.
    fn find(&self, hash: u64, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        self.0.find(hash, |place| is_it(*place as usize)).map(|place| *place as usize)
    }

    /// `hash_of` gives the hash of each place that is here.
    fn insert(&mut self, hash: u64, place: usize, hash_of: impl Fn(usize) -> u64) {
        let hash_of = |place: &u32| hash_of(*place as usize);
        let len = self.0.len();
        // The table would double for removed places alone, so it is made anew for those that remain.
        if self.0.capacity() == len {
            let mut table = HashTable::with_capacity(len + len / 8 + 1);
            for place in &self.0 {
                table.insert_unique(hash_of(place), *place, hash_of);
            }
            self.0 = table;
        }
        let place = u32::try_from(place).expect("MOST_OPEN and the running calls are fewer");
        self.0.insert_unique(hash, place, hash_of);
    }

    fn remove(&mut self, hash: u64, place: usize) {
        if let Ok(found) = self.0.find_entry(hash, |other| *other as usize == place) {
            found.remove();
        }
    }
}

/// The keys and all that is known of them.
///
/// A process holds two of these, each with up to [`MOST_DECIDED`] keys, for as long as it runs. So a key takes little.
#[derive(Clone, Default)]
pub(crate) struct Keys {
    uses: Slab<Use>,
    by_key: Places,
    /// The keys that were answered with an id.
    by_id: Places,
    /// The places of the keys that may be forgotten, in the order in which their calls ended. Keys of running calls are
    /// not queued, or every eviction would scan them all.
    ended: VecDeque<u32>,
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
    key: u64,
    fingerprint: u64,
    since: Moment,
    /// When the last call with the key ended.
    last: Moment,
    left: Left,
    /// The hash of the id that the key was answered with.
    id: Option<NonZeroU64>,
    /// The age of the key at `since` in seconds, if a caller gave the time of its first use.
    age: u32,
    opened: u32,
    running: u32,
    /// The key stands in `ended`. A key that runs again stays there until its turn comes.
    queued: bool,
    /// A call with the key has ended since it was queued, so its turn has not come yet.
    ended_since: bool,
}

/// A doubt as it is remembered, in the order of doubts. Klarna's ids are UUIDs, and need no memory of their own then.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Left {
    Doubt(Doubt),
    Done(Uuid),
}

impl From<Doubt> for Left {
    fn from(doubt: Doubt) -> Left {
        if let Doubt::Done(id) = &doubt
            && let Ok(uuid) = Uuid::try_parse(id)
            // A UUID has other spellings too, and the id is given back as it came.
            && *uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == **id
        {
            return Left::Done(uuid);
        }
        Left::Doubt(doubt)
    }
}

impl Left {
    fn doubt(&self) -> Doubt {
        match self {
            Left::Doubt(doubt) => doubt.clone(),
            Left::Done(id) => Doubt::Done((*id.hyphenated().encode_lower(&mut Uuid::encode_buffer())).into()),
        }
    }

    fn is_decided(&self) -> bool {
        match self {
            Left::Doubt(doubt) => doubt.is_decided(),
            Left::Done(_) => true,
        }
    }
}

impl Use {
    fn new(key: u64, fingerprint: u64, now: Moment) -> Use {
        Use {
            key,
            fingerprint,
            since: now,
            last: now,
            left: Left::Doubt(Doubt::Untouched),
            id: None,
            age: 0,
            opened: 0,
            running: 1,
            queued: false,
            ended_since: false,
        }
    }

    /// Notes an ending of the key.
    fn note(&mut self, ending: Ending) {
        self.opened += u32::from(matches!(&ending, Ending::Left(doubt) if doubt.is_open()));
        self.left = self.left.doubt().after(ending).into();
    }

    /// Whether Klarna may have forgotten the key: its 24 hours are over by one of the clocks.
    fn is_past(&self, now: Moment) -> bool {
        now.since(self.since).1.saturating_add(Duration::from_secs(self.age.into())) >= KEY_LIFE
    }

    /// Whether the key may stand for another call: nothing was sent with it, or Klarna has forgotten it by either clock.
    fn is_free(&self, now: Moment) -> bool {
        let is_forgotten = now.since(self.last).0 >= KEY_FORGOTTEN;
        self.running == 0 && self.left.is_decided() && (self.is_untouched() || is_forgotten)
    }

    fn is_untouched(&self) -> bool {
        self.left == Left::Doubt(Doubt::Untouched)
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
        let ended = self.ended.iter().map(|place| self.uses[*place as usize].key).collect();
        (ended, self.uses.len(), self.open, self.by_id.0.len())
    }

    /// The bytes that the keys take on the heap.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.uses.capacity() * size_of::<Use>()
            + self.by_key.0.allocation_size()
            + self.by_id.0.allocation_size()
            + self.ended.capacity() * size_of::<u32>()
    }

    fn place(&self, key: u64) -> Option<usize> {
        self.by_key.find(key, |place| self.uses[place].key == key)
    }

    fn at(&self, key: u64) -> Option<&Use> {
        Some(&self.uses[self.place(key)?])
    }

    pub fn inherited(&self) -> Keys {
        let mut keys = self.clone();
        let mut left = Vec::new();
        for (place, known) in keys.uses.iter_mut().filter(|(_, known)| known.running > 0) {
            // Running calls go on in the parent, and this process never learns how they end.
            known.running = 0;
            known.note(Ending::Left(Doubt::Unclear));
            // Only a decided key makes room for another.
            if known.left.is_decided() && !mem::replace(&mut known.queued, true) {
                left.push((known.since, known.key, place));
            }
        }
        keys.open = keys.uses.iter().filter(|(_, known)| !known.left.is_decided()).count();
        left.sort_unstable();
        keys.ended.extend(left.iter().map(|(_, _, place)| *place as u32));
        keys
    }

    pub fn begin(&mut self, key: u64, fingerprint: u64, now: Moment) -> Begun {
        let place = self.place(key);
        if let Some(place) = place {
            let known = &mut self.uses[place];
            let is_free = known.is_free(now);
            let is_same = known.fingerprint == fingerprint;
            if !is_same && !is_free {
                let is_decided = known.running == 0 && known.left.is_decided();
                let left = if is_decided { Doubt::Untouched } else { Doubt::Unclear };
                return Begun::OfAnotherCall(known.left.doubt().after(Ending::Left(left)));
            }
            // A refused key counts as new once Klarna has forgotten it. A key that was carried out never does.
            if is_same && !(is_free && known.left <= Left::Doubt(Doubt::Refused)) {
                known.running += 1;
                return Begun::Ready;
            }
        }
        if self.open >= self.most.open {
            return Begun::Full;
        }
        if let Some(place) = place {
            self.forget_id(place);
            let known = &mut self.uses[place];
            *known = Use { queued: known.queued, ..Use::new(key, fingerprint, now) };
            return Begun::Ready;
        }
        self.make_room();
        // A vector would double, for keys that never come.
        if self.uses.len() == self.uses.capacity() {
            self.uses.reserve_exact(self.uses.len() / 16 + 4);
        }
        let place = self.uses.insert(Use::new(key, fingerprint, now));
        self.by_key.insert(key, place, |place| self.uses[place].key);
        Begun::Ready
    }

    pub fn first_used(&mut self, key: u64, age: Duration, now: Moment) {
        if let Some(place) = self.place(key) {
            let known = &mut self.uses[place];
            let age = age.saturating_sub(now.since(known.since).0);
            // Moments have whole seconds, so the rest of one never counts.
            known.age = known.age.max(u32::try_from(age.as_secs()).unwrap_or(u32::MAX));
            let was_decided = known.left.is_decided();
            known.note(Ending::Left(Doubt::EarlierUse));
            self.open += usize::from(was_decided && !known.left.is_decided());
        }
    }

    pub fn known(&self, key: u64, is_inherited: bool, now: Moment) -> KeyState {
        match self.at(key) {
            Some(known) => {
                let running = known.running > u32::from(!is_inherited);
                let is_past = known.is_past(now);
                let may_be_done = running || known.left >= Left::Doubt(Doubt::EarlierUse);
                KeyState {
                    doubt: known.left.doubt(),
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
        // Zero stands for no id, and a hash of zero is as rare as two that are equal.
        let id = NonZeroU64::new(id).unwrap_or(NonZeroU64::MAX);
        if let Some(place) = self.by_id.find(id.get(), |place| self.uses[place].id == Some(id)) {
            return if self.uses[place].key == key { MatchedTo::ThisKey } else { MatchedTo::AnotherKey };
        }
        // The key was forgotten meanwhile.
        let Some(place) = self.place(key) else { return MatchedTo::ThisKey };
        let was_answered = self.forget_id(place);
        self.uses[place].id = Some(id);
        self.by_id.insert(id.get(), place, |place| self.uses[place].id.map_or(0, NonZeroU64::get));
        if was_answered { MatchedTo::ThisKeyAgain } else { MatchedTo::ThisKey }
    }

    pub fn end(&mut self, key: u64, end: &End) {
        let Some(place) = self.place(key) else { return };
        let known = &mut self.uses[place];
        known.last = end.now;
        if !end.is_inherited {
            known.running = known.running.saturating_sub(1);
        }
        let was_decided = known.left.is_decided();
        known.note(end.ending.clone().of_key(known.opened == end.opened, end.first_use));
        self.open = self.open + usize::from(!known.left.is_decided()) - usize::from(!was_decided);
        if known.running > 0 {
            return;
        }
        if known.is_untouched() && !known.queued {
            self.remove(place);
        } else if known.left.is_decided() {
            if known.queued {
                known.ended_since = true;
            } else {
                known.queued = true;
                self.ended.push_back(place as u32);
            }
        }
    }

    fn make_room(&mut self) {
        while self.ended.len() >= self.most.decided {
            let Some(place) = self.ended.pop_front() else { return };
            let known = &mut self.uses[place as usize];
            // The key is queued again when it ends decided.
            if known.running > 0 || !known.left.is_decided() {
                (known.queued, known.ended_since) = (false, false);
            } else if known.ended_since {
                known.ended_since = false;
                self.ended.push_back(place);
            } else {
                self.remove(place as usize);
            }
        }
    }

    /// Forgets a key that is not queued.
    fn remove(&mut self, place: usize) {
        self.forget_id(place);
        let known = self.uses.remove(place);
        self.by_key.remove(known.key, place);
    }

    /// Whether the key had been answered with an id.
    fn forget_id(&mut self, place: usize) -> bool {
        let id = self.uses[place].id.take();
        if let Some(id) = id {
            self.by_id.remove(id.get(), place);
        }
        id.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

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
        assert!(keys.place(others.start).is_none() && keys.place(others.end - 1).is_some());
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
        assert!(keys.place(1).is_none() && keys.ended.len() <= MOST_DECIDED && keys.uses.len() <= MOST_DECIDED + 1);
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
        assert!(keys.by_id.0.len() <= MOST_DECIDED, "they are forgotten with their keys");
    }

    #[test]
    fn a_fingerprint_depends_on_every_byte_and_on_the_parts() {
        let body: Vec<u8> = (0..1000_u32).map(|index| (index * 7 % 256) as u8).collect();
        let mut seen = HashSet::from([fingerprint(&[]), fingerprint(&[b""]), fingerprint(&[b"", b""])]);
        for length in 1..=body.len() {
            let body = &body[..length];
            assert!(seen.insert(fingerprint(&[body])), "{length}");
            for at in 0..length.min(100) {
                assert!(seen.insert(fingerprint(&[&body[..at], &body[at..]])), "{length}, in two parts at {at}");
                let mut other = body.to_vec();
                other[length - 1 - at] ^= 1;
                assert!(seen.insert(fingerprint(&[&other])), "{length}, another byte before the last {at}");
            }
        }
        assert_eq!(fingerprint(&[b"a", &body]), fingerprint(&[b"a", &body.clone()]));
    }

    #[test]
    fn a_remembered_key_takes_little() {
        let mut keys = Keys::default();
        let most = MOST_DECIDED as u64;
        for number in 1..=10 * most {
            let key = fingerprint(&[&number.to_le_bytes()]);
            begin(&mut keys, key, 1, hours(1));
            keys.answered(key, fingerprint(&[b"id", &number.to_le_bytes()]));
            end(&mut keys, key, &Ending::Left(Doubt::Done(Uuid::from_u64_pair(number, number).to_string().into())));
            assert!(number < 1000 || keys.bytes() <= 120 * keys.uses.len(), "{} at {number}", keys.bytes());
        }
        let ids_on_the_heap = keys.uses.iter().filter(|(_, known)| matches!(known.left, Left::Doubt(_))).count();
        assert_eq!((keys.uses.len(), ids_on_the_heap), (MOST_DECIDED, 0));
    }

    #[test]
    fn an_id_comes_back_as_it_was_spelt() {
        let uuid = Uuid::from_u64_pair(0x4ba2_9b50_be7b_44f5, 0xa492_113e_6a86_5e22);
        let spelt = uuid.to_string();
        assert_eq!(Left::from(Doubt::Done(spelt.as_str().into())), Left::Done(uuid));
        for id in [spelt.clone(), spelt.to_uppercase(), spelt.replace('-', ""), format!("{{{spelt}}}"), String::new()] {
            let done = Doubt::Done(id.into());
            assert_eq!(Left::from(done.clone()).doubt(), done);
        }
    }
}
