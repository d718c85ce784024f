//! Every interleaving of two workers and one row, over the real policy: a Klarna that forgets keys, crashes, lost answers,
//! late requests, gateways that refuse, a clock that jumps, a ledger restored from a backup, and a person who has looked
//! at the order and says how it stands.
//!
//! Each rule is then taken away, and the model must find the history in which money moves twice, or a row lies. A unit of
//! time is six hours.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use takings_ledger::policy::{
    Action, Claimed, End, Looked, Moments, Standing, State, Verdict, Word, action, counts, heed, is_fresh,
    maybe_when_claimed, settle,
};

const UNIT: Duration = Duration::from_secs(6 * 60 * 60);
/// Klarna remembers a key this long after it was first carried out.
const LIFE: i8 = 4;
/// A request is under way for at most this long.
const DELAY: i8 = 1;
/// A look counts against the requests of a lost ledger after this time: longer than any request is under way.
const QUIET: i8 = 2;
/// So many captures fit into the order.
const HOLDS: u8 = 2;
const MOST_CLAIMS: u8 = 5;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Row {
    state: State,
    sends: u8,
    maybe: bool,
    refused: bool,
    /// When it was enqueued, in a ledger that can vouch for that.
    enqueued: Option<i8>,
    /// When a look that did not find it began.
    looked: Option<i8>,
    /// When the ledger stopped to vouch for earlier rows.
    since: i8,
    /// The latest time at which a request of it may have been begun. Kept where a person speaks.
    sent: Option<i8>,
    /// The key: 1 is the one that a person gave it.
    key: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Worker {
    Idle,
    /// It has the row, and has done nothing yet. `since` by the true clock.
    Has {
        claim: Claim,
        action: Action,
        since: i8,
    },
    Waits {
        claim: Claim,
    },
    Got {
        claim: Claim,
        end: Got,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Claim {
    sends: u8,
    maybe: bool,
    unvouched: bool,
    refused: bool,
    key: u8,
    /// By the ledger's clock.
    at: i8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Got {
    Done,
    Refused,
    Lost,
    HandedBack,
    Once,
    Never,
    Several,
}

/// A request under way: since when, the worker that waits for its answer, and its key.
type Request = Option<(i8, Option<u8>, u8)>;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct World {
    time: i8,
    offset: i8,
    row: Row,
    workers: [Worker; 2],
    net: [Request; 4],
    /// When Klarna carried it out under each key, and how often in all.
    carried_out: [Option<i8>; 2],
    times: u8,
    left: Budget,
    backup: Option<Row>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Budget {
    crashes: u8,
    losses: u8,
    gateways: u8,
    jumps: u8,
    restores: u8,
    /// How often a person speaks.
    words: u8,
}

/// The rule that is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    Nothing,
    /// A row is sent for 24 hours.
    TwelveHours,
    /// A worker that was frozen sends when it wakes.
    FreshClaims,
    /// A refusal counts although an earlier request may have been carried out.
    Maybe,
    /// The claim of a worker that died is forgotten.
    Crash,
    /// Every word of every worker counts.
    Fence,
    /// The fence does not rise.
    RisingFence,
    /// A look that found nothing clears the doubt.
    StayingMaybe,
    /// Refused and not found counts as refused.
    Person,
    /// A restored ledger vouches for its rows.
    LookAfterRestore,
    /// The rows of a restored ledger count as never sent.
    DoubtAfterRestore,
    /// A look right after a restore counts.
    Quiet,
    /// Claims from before a restore count after it.
    ForgottenClaims,
    /// A person's word counts while a request may be under way.
    PatientPerson,
    /// A row is sent under a new key without a look.
    LookBeforeNewKey,
    /// A row is withdrawn although it may have been sent.
    WithdrawUnsent,
    /// A row is withdrawn although a lost ledger may have sent it.
    WithdrawVouched,
}

struct Model {
    without: Without,
    last: i8,
    /// A person may speak.
    has_person: bool,
    /// And may have a row sent again under a new key.
    has_new_keys: bool,
}

impl Model {
    /// The moments of the row, in the ledger's milliseconds.
    fn moments(&self, world: &World) -> Moments {
        let row = world.row;
        let now = world.time + world.offset;
        // The ledger has vouched for rows since the beginning of time, or for none that was enqueued before a restore.
        let unit = UNIT.as_millis() as i64;
        let (look_until, look_since) = (if row.enqueued.is_some() { i64::MIN } else { i64::MAX }, row.since + QUIET);
        let moments = Moments {
            now: i64::from(now) * unit,
            enqueued_at: row.enqueued.map_or(i64::MIN, |at| i64::from(at) * unit),
            looked_at: row.looked.map(|at| i64::from(at) * unit),
            look_until,
            look_since: i64::from(look_since) * unit - takings_ledger::policy::QUIET.as_millis() as i64,
        };
        match self.without {
            Without::Quiet => Moments { look_since: moments.look_since - i64::from(QUIET) * unit, ..moments },
            _ => moments,
        }
    }

    fn claim(&self, world: &World) -> (Row, Claim, Action) {
        let row = world.row;
        let now = world.time + world.offset;
        let moments = self.moments(world);
        let unvouched = moments.is_unvouched() && self.without != Without::DoubtAfterRestore;
        let state = if self.without == Without::Crash { State::Unclear } else { row.state };
        let maybe = maybe_when_claimed(state, row.maybe);
        let sends = if self.without == Without::RisingFence { 1 } else { row.sends + 1 };
        let age = moments.vouched_age();
        let age = if self.without == Without::TwelveHours { age.map(|age| age / 2) } else { age };
        let claimed = Claimed { maybe, unvouched, refused: row.refused, tries: 0, vouched_age: age, trouble: 0 };
        // The lease of the claim before it ends now.
        let sent = if row.state == State::Sending { self.sent(now) } else { row.sent };
        let row = Row { state: State::Sending, sends, maybe, sent, ..row };
        (row, Claim { sends, maybe, unvouched, refused: row.refused, key: row.key, at: now }, action(&claimed))
    }

    /// The time of a request, where a person may speak. Elsewhere no decision rests on it.
    fn sent(&self, now: i8) -> Option<i8> {
        Some(now).filter(|_| self.has_person)
    }

    /// A person looks at the order and says what it shows, or has the row sent again, or withdraws it.
    fn person(&self, w: &World, tell: &mut impl FnMut(&'static str, World)) {
        let now = w.time + w.offset;
        let moments = self.moments(w);
        // By a clock on which a request is under way for as long as the policy thinks.
        let scaled = |at: i8| i64::from(at) * (takings_ledger::policy::QUIET.as_millis() as i64 / i64::from(QUIET));
        let quiet = Moments {
            now: scaled(now),
            looked_at: w.row.looked.map(scaled),
            look_since: scaled(w.row.since),
            ..moments
        };
        let quiet = quiet.quiet(w.row.sent.map(scaled));
        let is_patient = self.without != Without::PatientPerson;
        let standing = Standing {
            state: if is_patient || w.row.state != State::Sending { w.row.state } else { State::Unclear },
            maybe: w.row.maybe && self.without != Without::WithdrawUnsent,
            unvouched: moments.is_unvouched() && self.without != Without::WithdrawVouched,
            quiet: quiet.filter(|_| is_patient),
            done_as: Some("id".to_owned()).filter(|_| w.row.state == State::Done),
            is_wiped: false,
        };
        let standing = match self.without {
            Without::WithdrawUnsent if !w.row.state.is_settled() => Standing { state: State::Queued, ..standing },
            _ => standing,
        };
        let shown = if w.times == 0 { Word::NotDone } else { Word::Done("id".into()) };
        for (name, word) in [
            ("a person looks and says so", shown),
            ("a person has it sent again", Word::SendAgain("key".into())),
            ("a person withdraws it", Word::Withdraw),
        ] {
            if matches!(word, Word::SendAgain(_)) && (w.row.key == 1 || !self.has_new_keys) {
                continue;
            }
            let Ok(state) = heed(&standing, &word) else { continue };
            let row = match word {
                // The look of long ago vouches for nothing.
                Word::SendAgain(_) if self.without != Without::LookBeforeNewKey => {
                    Row { state, refused: false, key: 1, looked: Some(LONG_AGO), ..w.row }
                }
                Word::SendAgain(_) => Row { state, refused: false, key: 1, looked: Some(now), ..w.row },
                _ => Row { state, ..w.row },
            };
            let left = Budget { words: w.left.words - 1, ..w.left };
            tell(name, World { row, left, ..*w });
        }
    }

    fn settled(&self, claim: Claim, end: Got) -> Verdict {
        let end = match end {
            Got::Done => End::Done("id".into()),
            Got::Refused => End::Refused { settles: false },
            Got::Lost => End::Unclear,
            Got::HandedBack => End::HandedBack,
            Got::Once => End::Looked(Looked::Once("id".into())),
            Got::Never => End::Looked(Looked::Never),
            Got::Several => End::Looked(Looked::Several),
        };
        let is_never = end == End::Looked(Looked::Never);
        let forgets = self.without == Without::Maybe && matches!(end, End::Refused { .. });
        let Claim { maybe, unvouched, refused, .. } = claim;
        let maybe = maybe && !forgets;
        let row = Claimed { maybe, unvouched, refused, tries: 0, vouched_age: None, trouble: 0 };
        let mut verdict = settle(&row, end);
        if is_never && self.without == Without::StayingMaybe {
            verdict.maybe = false;
        }
        if is_never && claim.refused && self.without == Without::Person {
            verdict.state = State::Rejected;
        }
        verdict
    }

    fn next(&self, world: &World, tell: &mut impl FnMut(&'static str, World)) {
        let w = *world;
        let now = w.time + w.offset;
        if w.time < self.last && w.net.iter().flatten().all(|(since, ..)| w.time + 1 - since <= DELAY) {
            tell("six hours pass", World { time: w.time + 1, ..w });
        }
        if w.left.jumps > 0 {
            let left = Budget { jumps: w.left.jumps - 1, ..w.left };
            tell("the ledger's clock goes back", World { offset: w.offset - 1, left, ..w });
            tell("the ledger's clock jumps on", World { offset: w.offset + 1, left, ..w });
        }
        if w.left.restores > 0 {
            self.restore(&w, now, tell);
        }
        if w.left.words > 0 {
            self.person(&w, tell);
        }
        for index in 0..2 {
            self.work(&w, index, tell);
        }
        for index in 0..w.net.len() {
            if w.net[index].is_some() {
                self.arrive(&w, index, tell);
            }
        }
    }

    fn restore(&self, w: &World, now: i8, tell: &mut impl FnMut(&'static str, World)) {
        let Some(backup) = w.backup else {
            if !w.row.state.is_settled() {
                tell("a backup is made", World { backup: Some(w.row), ..*w });
            }
            return;
        };
        let left = Budget { restores: w.left.restores - 1, ..w.left };
        let mut after = World { left, backup: None, ..*w };
        if self.without != Without::ForgottenClaims {
            after.workers = [Worker::Idle; 2];
            after.net.iter_mut().flatten().for_each(|request| request.1 = None);
        }
        let vouches = self.without == Without::LookAfterRestore;
        let row = Row { enqueued: backup.enqueued.filter(|_| vouches), since: now, ..backup };
        tell("the backup is restored", World { row, ..after });
        let again = Row { enqueued: vouches.then_some(now), since: now, ..NEW };
        tell("the ledger is lost, and the shop enqueues again", World { row: again, ..after });
    }

    fn work(&self, w: &World, index: usize, tell: &mut impl FnMut(&'static str, World)) {
        let with = |worker: Worker| {
            let mut workers = w.workers;
            workers[index] = worker;
            World { workers, ..*w }
        };
        if w.workers[index] == Worker::Idle {
            // A lease may end at any moment: that is the worst.
            if !w.row.state.is_settled() && w.row.sends < MOST_CLAIMS {
                let (row, claim, action) = self.claim(w);
                tell("a worker claims", World { row, ..with(Worker::Has { claim, action, since: w.time }) });
            }
            return;
        }
        if w.left.crashes > 0 {
            let mut net = w.net;
            for request in net.iter_mut().flatten().filter(|request| request.1 == Some(index as u8)) {
                request.1 = None;
            }
            let left = Budget { crashes: w.left.crashes - 1, ..w.left };
            tell("a worker dies", World { net: sorted(net), left, ..with(Worker::Idle) });
        }
        match w.workers[index] {
            Worker::Has { claim, action: Action::Send, since } => {
                let waited = UNIT * u32::from((w.time - since).unsigned_abs());
                if !is_fresh(2 * UNIT, waited, Some(waited)) && self.without != Without::FreshClaims {
                    tell("a worker gives its claim back", with(Worker::Got { claim, end: Got::HandedBack }));
                } else if let Some(free) = w.net.iter().position(Option::is_none) {
                    let mut net = w.net;
                    net[free] = Some((w.time, Some(index as u8), claim.key));
                    tell("a worker sends", World { net: sorted(net), ..with(Worker::Waits { claim }) });
                }
            }
            Worker::Has { claim, action: Action::Look, .. } => {
                let end = [Got::Never, Got::Once, Got::Several][usize::from(w.times.min(2))];
                tell("a worker looks", with(Worker::Got { claim, end }));
            }
            Worker::Got { claim, end } => {
                let verdict = self.settled(claim, end);
                let Row { state, sends, .. } = w.row;
                let counts = counts(state, sends.into(), claim.sends.into(), verdict.state);
                if !counts && self.without != Without::Fence {
                    tell("a worker comes too late", with(Worker::Idle));
                    return;
                }
                let was_sent = matches!(end, Got::Done | Got::Refused | Got::Lost);
                let row = Row {
                    sent: if was_sent { self.sent(w.time + w.offset) } else { w.row.sent },
                    state: verdict.state,
                    maybe: verdict.maybe,
                    refused: verdict.refused,
                    looked: if verdict.vouches { Some(claim.at) } else { w.row.looked },
                    ..w.row
                };
                tell("a worker settles", World { row, ..with(Worker::Idle) });
            }
            Worker::Idle | Worker::Waits { .. } => {}
        }
    }

    fn arrive(&self, w: &World, index: usize, tell: &mut impl FnMut(&'static str, World)) {
        let Some((since, worker, key)) = w.net[index] else { return };
        let mut net = w.net;
        net[index] = None;
        let net = sorted(net);
        let gone = World { net, ..*w };
        let mut done = gone;
        let is_known = w.carried_out[usize::from(key)].is_some_and(|at| w.time - at < LIFE);
        let end = match is_known {
            true => Got::Done,
            false if w.times >= HOLDS => Got::Refused,
            false => {
                (done.carried_out[usize::from(key)], done.times) = (Some(w.time), w.times + 1);
                Got::Done
            }
        };
        let waiting = worker.map(usize::from).and_then(|worker| match w.workers[worker] {
            Worker::Waits { claim } => Some((worker, claim)),
            _ => None,
        });
        let Some((worker, claim)) = waiting else {
            tell("a request that nobody waits for arrives", done);
            tell("a request that nobody waits for is lost", gone);
            return;
        };
        let got = |mut world: World, end| {
            world.workers[worker] = Worker::Got { claim, end };
            world
        };
        tell("Klarna answers", got(done, end));
        if w.left.losses > 0 {
            let left = Budget { losses: w.left.losses - 1, ..w.left };
            tell("an answer is lost", got(World { left, ..done }, Got::Lost));
            tell("a request is lost", got(World { left, ..gone }, Got::Lost));
            let mut net = w.net;
            net[index] = Some((since, None, key));
            tell("a worker stops waiting", got(World { left, net: sorted(net), ..*w }, Got::Lost));
        }
        if w.left.gateways > 0 {
            let left = Budget { gateways: w.left.gateways - 1, ..w.left };
            tell("a gateway refuses", got(World { left, ..gone }, Got::Refused));
        }
    }

    /// The shortest history that breaks a promise, or the number of states in which all hold.
    fn search(&self, left: Budget) -> Result<usize, String> {
        let start = World {
            time: 0,
            offset: 0,
            row: NEW,
            workers: [Worker::Idle; 2],
            net: [None; 4],
            carried_out: [None; 2],
            times: 0,
            left,
            backup: None,
        };
        // Millions of states at a time are enough for the memory of a small machine.
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut worlds = vec![(start, 0_u32, "")];
        let mut known: HashMap<World, (), BuildHasherDefault<Quick>> = HashMap::default();
        known.insert(start, ());
        let mut at = 0;
        while at < worlds.len() {
            let world = worlds[at].0;
            if let Some(what) = broken(&world) {
                let mut path = Vec::new();
                let mut step = at;
                while step > 0 {
                    path.push(worlds[step].2);
                    step = worlds[step].1 as usize;
                }
                path.reverse();
                return Err(format!("{what}: {}", path.join(" > ")));
            }
            self.next(&world, &mut |name, next| {
                if known.insert(next, ()).is_none() {
                    worlds.push((next, at as u32, name));
                }
            });
            at += 1;
        }
        Ok(worlds.len())
    }
}

/// A look that vouches for nothing.
const LONG_AGO: i8 = -100;

const NEW: Row = Row {
    state: State::Queued,
    sends: 0,
    maybe: false,
    refused: false,
    enqueued: Some(0),
    looked: None,
    since: 0,
    sent: None,
    key: 0,
};

/// Requests have no order.
fn sorted(mut net: [Request; 4]) -> [Request; 4] {
    net.sort_unstable();
    net
}

fn broken(world: &World) -> Option<&'static str> {
    match (world.row.state, world.times) {
        (_, 2..) => Some("carried out twice"),
        (State::Rejected, 1..) => Some("booked as refused, and carried out"),
        (State::Cancelled, 1..) => Some("booked as withdrawn, and carried out"),
        (State::Done, 0) => Some("booked as carried out, and not"),
        _ => None,
    }
}

/// A quick hash: nobody attacks a model.
#[derive(Default)]
struct Quick(u64);

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u8(*byte));
    }

    fn write_u8(&mut self, byte: u8) {
        self.0 = (self.0.rotate_left(5) ^ u64::from(byte)).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn write_i8(&mut self, byte: i8) {
        self.write_u8(byte as u8);
    }

    fn write_isize(&mut self, discriminant: isize) {
        self.write_u8(discriminant as u8);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }
}

const CALM: Budget = Budget { crashes: 1, losses: 1, gateways: 1, jumps: 0, restores: 0, words: 0 };

fn model(without: Without, last: i8, left: Budget) -> Model {
    Model { without, last, has_person: left.words > 0, has_new_keys: left.words > 0 && left.restores == 0 }
}

fn holds(last: i8, left: Budget) {
    match model(Without::Nothing, last, left).search(left) {
        Ok(states) => assert!(states > 100_000, "{states} states are no model"),
        Err(history) => panic!("{history}"),
    }
}

#[test]
fn holds_with_crashes_losses_and_a_gateway() {
    holds(5, CALM);
}

#[test]
fn holds_when_the_clock_jumps() {
    holds(5, Budget { jumps: 1, losses: 0, ..CALM });
    holds(5, Budget { jumps: 1, crashes: 0, gateways: 0, ..CALM });
}

#[test]
fn holds_after_a_restore() {
    let restored = Budget { crashes: 0, restores: 1, ..CALM };
    holds(3, restored);
    holds(6, Budget { gateways: 0, losses: 0, ..restored });
}

#[test]
fn holds_when_a_person_speaks() {
    holds(5, Budget { gateways: 0, words: 1, ..CALM });
    holds(5, Budget { crashes: 0, words: 1, ..CALM });
    holds(4, Budget { crashes: 0, gateways: 0, words: 2, ..CALM });
}

#[test]
fn holds_when_a_person_speaks_after_a_restore() {
    holds(5, Budget { crashes: 0, losses: 0, gateways: 1, jumps: 0, restores: 1, words: 1 });
}

/// A lost ledger takes the memory of a new key with it. SECURITY.md says that the promise ends there.
#[test]
fn a_new_key_is_lost_with_its_ledger() {
    let left = Budget { crashes: 0, losses: 0, gateways: 0, jumps: 0, restores: 1, words: 1 };
    let history = Model { has_new_keys: true, ..model(Without::Nothing, 4, left) }.search(left).unwrap_err();
    assert!(history.starts_with("carried out twice") && history.contains("a person has it sent again"), "{history}");
}

#[test]
fn every_rule_is_needed() {
    let without_gateways = Budget { gateways: 0, ..CALM };
    let jumping = Budget { jumps: 1, ..CALM };
    let restored = Budget { crashes: 0, restores: 1, ..CALM };
    for (without, last, left) in [
        (Without::TwelveHours, 7, without_gateways),
        (Without::FreshClaims, 6, without_gateways),
        (Without::Maybe, 5, CALM),
        (Without::Crash, 5, CALM),
        (Without::Fence, 5, CALM),
        (Without::RisingFence, 5, CALM),
        (Without::StayingMaybe, 5, jumping),
        (Without::Person, 5, jumping),
        (Without::LookAfterRestore, 7, Budget { gateways: 0, ..restored }),
        (Without::DoubtAfterRestore, 5, restored),
        (Without::Quiet, 5, restored),
        (Without::ForgottenClaims, 4, restored),
        (Without::PatientPerson, 4, Budget { words: 1, ..without_gateways }),
        (Without::LookBeforeNewKey, 4, Budget { words: 1, ..without_gateways }),
        (Without::WithdrawUnsent, 4, Budget { words: 1, ..without_gateways }),
        (Without::WithdrawVouched, 4, Budget { words: 1, losses: 0, gateways: 0, ..restored }),
    ] {
        match model(without, last, left).search(left) {
            Err(history) => assert!(history.contains(" > "), "without {without:?}: {history}"),
            Ok(states) => panic!("without {without:?} all holds, in {states} states"),
        }
    }
}
