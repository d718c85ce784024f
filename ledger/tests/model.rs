//! Every interleaving of two workers and one row, over the real policy: a Klarna that forgets keys, crashes, lost answers,
//! late requests, gateways that refuse, a clock that jumps, and a ledger restored from a backup.
//!
//! Each rule is then taken away, and the model must find the history in which money moves twice, or a row lies. A unit of
//! time is six hours.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use takings_ledger::policy::{
    Action, Claimed, End, Looked, Moments, State, Verdict, action, counts, is_fresh, maybe_when_claimed, settle,
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

/// A request under way: since when, and the worker that waits for its answer.
type Request = Option<(i8, Option<u8>)>;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct World {
    time: i8,
    offset: i8,
    row: Row,
    workers: [Worker; 2],
    net: [Request; 4],
    /// When Klarna carried it out, and how often.
    carried_out: Option<i8>,
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
}

struct Model {
    without: Without,
    last: i8,
}

impl Model {
    fn claim(&self, world: &World) -> (Row, Claim, Action) {
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
        let moments = match self.without {
            Without::Quiet => Moments { look_since: moments.look_since - i64::from(QUIET) * unit, ..moments },
            _ => moments,
        };
        let unvouched = moments.is_unvouched() && self.without != Without::DoubtAfterRestore;
        let state = if self.without == Without::Crash { State::Unclear } else { row.state };
        let maybe = maybe_when_claimed(state, row.maybe);
        let sends = if self.without == Without::RisingFence { 1 } else { row.sends + 1 };
        let age = moments.vouched_age();
        let age = if self.without == Without::TwelveHours { age.map(|age| age / 2) } else { age };
        let claimed = Claimed { maybe, unvouched, refused: row.refused, tries: 0, vouched_age: age, trouble: 0 };
        let row = Row { state: State::Sending, sends, maybe, ..row };
        (row, Claim { sends, maybe, unvouched, refused: row.refused, at: now }, action(&claimed))
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
        if w.time < self.last && w.net.iter().flatten().all(|(since, _)| w.time + 1 - since <= DELAY) {
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
                    net[free] = Some((w.time, Some(index as u8)));
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
                let row = Row {
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
        let Some((since, worker)) = w.net[index] else { return };
        let mut net = w.net;
        net[index] = None;
        let net = sorted(net);
        let gone = World { net, ..*w };
        let mut done = gone;
        let is_known = w.carried_out.is_some_and(|at| w.time - at < LIFE);
        let end = match is_known {
            true => Got::Done,
            false if w.times >= HOLDS => Got::Refused,
            false => {
                (done.carried_out, done.times) = (Some(w.time), w.times + 1);
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
            net[index] = Some((since, None));
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
            carried_out: None,
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

const NEW: Row =
    Row { state: State::Queued, sends: 0, maybe: false, refused: false, enqueued: Some(0), looked: None, since: 0 };

/// Requests have no order.
fn sorted(mut net: [Request; 4]) -> [Request; 4] {
    net.sort_unstable();
    net
}

fn broken(world: &World) -> Option<&'static str> {
    match (world.row.state, world.times) {
        (_, 2..) => Some("carried out twice"),
        (State::Rejected, 1..) => Some("booked as refused, and carried out"),
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

const CALM: Budget = Budget { crashes: 1, losses: 1, gateways: 1, jumps: 0, restores: 0 };

fn holds(last: i8, left: Budget) {
    match (Model { without: Without::Nothing, last }).search(left) {
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
    ] {
        match (Model { without, last }).search(left) {
            Err(history) => assert!(history.contains(" > "), "without {without:?}: {history}"),
            Ok(states) => panic!("without {without:?} all holds, in {states} states"),
        }
    }
}
