//! The memory of keys beside a model of it in plain maps: whatever calls do, both know the same.
//!
//! The memory packs its keys tightly. The model is the rules without that; it shares clocks and doubts with it,
//! and nothing else.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::decide::doubt::{Doubt, Ending, FirstUse};
use crate::decide::memory::{Begun, End, KeyState, Keys, MatchedTo, Moment, Most};

const HOUR: u64 = 60 * 60;
const DAY: Duration = Duration::from_secs(24 * HOUR);
const MINUTE: Duration = Duration::from_secs(60);
/// Little room, so that few keys fill it.
const MOST: Most = Most { decided: 4, open: 5 };

#[derive(Clone, Default)]
struct Model {
    uses: HashMap<u64, Use>,
    /// The key that each id was answered for.
    ids: HashMap<u64, u64>,
    ended: VecDeque<u64>,
}

#[derive(Clone)]
struct Use {
    fingerprint: u64,
    since: Moment,
    last: Moment,
    age: Duration,
    doubt: Doubt,
    opened: u32,
    running: u32,
    /// The key stands in `ended`.
    queued: bool,
    /// A call has ended since the key was queued.
    ended_since: bool,
    id: Option<u64>,
}

impl Use {
    fn new(fingerprint: u64, now: Moment) -> Use {
        Use {
            fingerprint,
            since: now,
            last: now,
            age: Duration::ZERO,
            doubt: Doubt::Untouched,
            opened: 0,
            running: 1,
            queued: false,
            ended_since: false,
            id: None,
        }
    }

    fn note(&mut self, ending: Ending) {
        if ending.is_open() {
            self.opened += 1;
        }
        self.doubt = self.doubt.clone().after(ending);
    }

    /// No request was sent with the key, or Klarna has forgotten it by both clocks.
    fn is_free(&self, now: Moment) -> bool {
        match self.doubt {
            _ if self.running > 0 => false,
            Doubt::Untouched => true,
            Doubt::Refused | Doubt::Done(_) => now.since(self.last).0 >= DAY + MINUTE,
            Doubt::EarlierUse | Doubt::Unclear | Doubt::Agreed => false,
        }
    }
}

impl Model {
    fn open(&self) -> usize {
        self.uses.values().filter(|known| !known.doubt.is_decided()).count()
    }

    fn begin(&mut self, key: u64, fingerprint: u64, now: Moment) -> Begun {
        if let Some(known) = self.uses.get_mut(&key) {
            let is_free = known.is_free(now);
            if known.fingerprint != fingerprint && !is_free {
                let is_decided = known.running == 0 && known.doubt.is_decided();
                let left = if is_decided { Doubt::Untouched } else { Doubt::Unclear };
                return Begun::OfAnotherCall(known.doubt.clone().after(Ending::Left(left)));
            }
            let begins_anew = is_free && !matches!(known.doubt, Doubt::Done(_));
            if known.fingerprint == fingerprint && !begins_anew {
                known.running += 1;
                return Begun::Ready;
            }
        }
        if self.open() >= MOST.open {
            return Begun::Full;
        }
        let queued = self.uses.get(&key).map(|known| known.queued);
        if queued.is_none() {
            self.make_room();
        }
        self.forget(key);
        self.uses.insert(key, Use { queued: queued.unwrap_or(false), ..Use::new(fingerprint, now) });
        Begun::Ready
    }

    fn make_room(&mut self) {
        while self.ended.len() >= MOST.decided {
            let key = self.ended.pop_front().unwrap();
            let known = self.uses.get_mut(&key).unwrap();
            if known.running > 0 || !known.doubt.is_decided() {
                (known.queued, known.ended_since) = (false, false);
            } else if known.ended_since {
                known.ended_since = false;
                self.ended.push_back(key);
            } else {
                self.forget(key);
            }
        }
    }

    fn forget(&mut self, key: u64) {
        self.uses.remove(&key);
        self.ids.retain(|_, of| *of != key);
    }

    fn first_used(&mut self, key: u64, age: Duration, now: Moment) {
        if let Some(known) = self.uses.get_mut(&key) {
            known.age = known.age.max(age.saturating_sub(now.since(known.since).0));
            known.note(Ending::Left(Doubt::EarlierUse));
        }
    }

    fn known(&self, key: u64, is_inherited: bool, now: Moment) -> KeyState {
        let Some(known) = self.uses.get(&key) else {
            return KeyState { doubt: Doubt::Unclear, first_use: FirstUse::Unknown, ..KeyState::FRESH };
        };
        let others = if is_inherited { known.running } else { known.running.saturating_sub(1) };
        let is_past = now.since(known.since).1 + known.age >= DAY - MINUTE;
        let may_be_done = others > 0 || !matches!(known.doubt, Doubt::Untouched | Doubt::Refused);
        KeyState {
            doubt: known.doubt.clone(),
            running: others > 0,
            first_use: FirstUse::Unknown,
            is_past,
            is_old: is_past && may_be_done,
            opened: known.opened,
        }
    }

    fn answered(&mut self, key: u64, id: u64) -> MatchedTo {
        if self.ids.get(&id).is_some_and(|of| *of != key) {
            return MatchedTo::AnotherKey;
        }
        let Some(known) = self.uses.get_mut(&key) else { return MatchedTo::ThisKey };
        let before = known.id.replace(id);
        self.ids.retain(|_, of| *of != key);
        self.ids.insert(id, key);
        if before.is_some_and(|before| before != id) { MatchedTo::ThisKeyAgain } else { MatchedTo::ThisKey }
    }

    fn end(&mut self, key: u64, end: &End) {
        let Some(known) = self.uses.get_mut(&key) else { return };
        known.last = end.now;
        if !end.is_inherited {
            known.running = known.running.saturating_sub(1);
        }
        known.note(end.ending.clone().of_key(known.opened == end.opened, end.first_use));
        if known.running > 0 || !known.doubt.is_decided() {
            return;
        }
        if known.queued {
            known.ended_since = true;
        } else if known.doubt == Doubt::Untouched {
            self.uses.remove(&key);
        } else {
            known.queued = true;
            self.ended.push_back(key);
        }
    }

    fn inherited(&self) -> Model {
        let mut child = self.clone();
        let mut left = Vec::new();
        for (key, known) in child.uses.iter_mut().filter(|(_, known)| known.running > 0) {
            known.running = 0;
            known.note(Ending::Left(Doubt::Unclear));
            if known.doubt.is_decided() && !known.queued {
                known.queued = true;
                left.push((known.since, *key));
            }
        }
        left.sort();
        child.ended.extend(left.into_iter().map(|(_, key)| key));
        child
    }
}

/// An event that the memory is told of. The process that goes on after a fork is the child.
#[derive(Clone, Debug)]
enum Told {
    Begin { fingerprint: u64 },
    FirstUsed { age: Duration },
    Answered { id: u64 },
    End { ending: Ending, is_inherited: bool, missed: u32, first_use: FirstUse },
    Fork,
}

fn told() -> impl Strategy<Value = Told> {
    let done = |id: &str| Ending::Left(Doubt::Done(id.into()));
    let endings = vec![
        Ending::Left(Doubt::Untouched),
        Ending::Left(Doubt::Refused),
        Ending::Left(Doubt::Refused),
        Ending::Left(Doubt::EarlierUse),
        Ending::Left(Doubt::Unclear),
        Ending::Left(Doubt::Agreed),
        Ending::Settled,
        Ending::Settled,
        done(""),
        done("4ba29b50-be7b-44f5-a492-113e6a865e22"),
        done("4BA29B50-be7b-44f5-a492-113e6a865e22"),
        done("4ba29b50be7b44f5a492113e6a865e22"),
        done("another"),
    ];
    let first_use = select(vec![FirstUse::Known, FirstUse::Known, FirstUse::Unknown]);
    prop_oneof![
        8 => (0_u64..8).prop_map(|of| Told::Begin { fingerprint: of / 6 }),
        1 => (0..30 * HOUR * 1000).prop_map(|age| Told::FirstUsed { age: Duration::from_millis(age) }),
        3 => (1_u64..9).prop_map(|id| Told::Answered { id }),
        8 => (select(endings), 0_u32..8, 0_u32..6, first_use).prop_map(|(ending, inherited, missed, first_use)| {
            Told::End { ending, is_inherited: inherited == 0, missed: u32::from(missed == 0), first_use }
        }),
        1 => Just(Told::Fork),
    ]
}

/// The seconds that the clocks go on by, each for itself. Somebody may set the one on the wall.
fn ticks() -> impl Strategy<Value = (i64, i64)> {
    let hour = HOUR.cast_signed();
    prop_oneof![
        10 => (0..60_i64).prop_map(|seconds| (seconds, seconds)),
        2 => (hour..13 * hour).prop_map(|seconds| (seconds, seconds)),
        1 => (0..30 * hour, -30 * hour..30 * hour),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn the_memory_knows_what_its_model_knows(events in vec((0_u64..12, told(), ticks()), 0..120)) {
        let (mut keys, mut model) = (Keys::with_room_for(MOST), Model::default());
        let (mut steady, mut wall) = (0_u64, 1000 * HOUR);
        for (key, told, (by_steady, by_wall)) in events {
            steady = steady.saturating_add_signed(by_steady);
            wall = wall.saturating_add_signed(by_wall);
            let now = Moment::new(Duration::from_secs(steady), Duration::from_secs(wall));
            match told {
                Told::Begin { fingerprint } => {
                    prop_assert_eq!(keys.begin(key, fingerprint, now), model.begin(key, fingerprint, now));
                }
                Told::FirstUsed { age } => {
                    keys.first_used(key, age, now);
                    model.first_used(key, age, now);
                }
                Told::Answered { id } => prop_assert_eq!(keys.answered(key, id), model.answered(key, id)),
                Told::End { ending, is_inherited, missed, first_use } => {
                    // A call that was answered with an id knows that something arrived.
                    let is_answered = model.ids.values().any(|of| *of == key);
                    let ending = match ending {
                        Ending::Left(Doubt::Untouched) if is_answered => Ending::Left(Doubt::Unclear),
                        ending => ending,
                    };
                    let opened = model.known(key, false, now).opened.saturating_sub(missed);
                    let end = End { ending, now, is_inherited, opened, first_use };
                    keys.end(key, &end);
                    model.end(key, &end);
                }
                Told::Fork => (keys, model) = (keys.inherited(), model.inherited()),
            }
            for key in 0..12 {
                for is_inherited in [false, true] {
                    prop_assert_eq!(keys.known(key, is_inherited, now), model.known(key, is_inherited, now));
                }
            }
            let (ended, uses, open, ids) = keys.inside();
            prop_assert_eq!(&ended, &Vec::from(model.ended.clone()));
            prop_assert_eq!((uses, open, ids), (model.uses.len(), model.open(), model.ids.len()));
            let queued: HashSet<u64> = model.uses.iter().filter(|(_, known)| known.queued).map(|(key, _)| *key).collect();
            prop_assert_eq!(queued, ended.into_iter().collect(), "each once, and no other");
        }
    }
}
