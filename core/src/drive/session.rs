//! The state that the calls of one client share, and the part of it that belongs to one process.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use once_cell::race::OnceBox;

use crate::decide::doubt::{Doubt, Ending, FirstUse};
use crate::decide::machine::Shared;
use crate::decide::memory::{End, KeyState, Memory, Moment};
use crate::decide::retry::{Budget, Limits};
use crate::drive::http::{Connections, Transport};
use crate::drive::in_process::InProcess;
use crate::error::Error;
use crate::settings::config::Config;
use crate::wire::Endpoint;

pub(crate) struct Session {
    pub config: Config,
    endpoint: Arc<Endpoint>,
    transport: Transport,
    /// A clock for all calls, the same in forked processes.
    start: Instant,
    /// A slot for each process the client was used in, the current one last.
    slots: OnceBox<Slot>,
}

/// The part of one process. A fork copies the slot without the threads that were using it, and its sockets belong to
/// the parent. So another process neither uses nor drops it.
struct Slot {
    process: u32,
    own: Option<PerProcess>,
    next: OnceBox<Slot>,
}

pub(crate) struct PerProcess {
    process: u32,
    connections: OnceBox<Connections>,
    memory: Box<dyn Memory>,
    budget: Arc<Budget>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            std::mem::forget(self.own.take());
        }
    }
}

impl Session {
    pub fn new(config: Config) -> Result<Session, Error> {
        let limits = config.limits()?;
        let endpoint = config.endpoint()?;
        let transport = Transport::new(&config, &endpoint, &limits)?;
        Ok(Session { config, endpoint: Arc::new(endpoint), transport, start: Instant::now(), slots: OnceBox::new() })
    }

    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// The present moment, for the age of keys.
    pub fn moment(&self) -> Moment {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment::new(self.now(), wall)
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub fn proxy(&self) -> Option<&str> {
        self.transport.proxy()
    }

    pub fn shared(&self, own: &PerProcess, limits: Limits) -> Shared {
        Shared { endpoint: self.endpoint.clone(), limits, budget: own.budget.clone() }
    }

    /// The connections of this process, made when they are first needed: a host that sends by
    /// itself never gets them.
    pub fn connections<'a>(&self, own: &'a PerProcess) -> Result<&'a Connections, String> {
        // If another thread was quicker, its connections are used.
        own.connections.get_or_try_init(|| self.transport.open().map(Box::new))
    }

    /// The part of this process, made at its first call. No lock is taken, since a lock held during a fork stays locked
    /// in the child. The process id is a system call, so each call asks once and hands the part on.
    pub fn own(&self) -> &PerProcess {
        self.own_of(std::process::id())
    }

    /// The same for a caller that knows which process this is.
    pub fn own_of(&self, process: u32) -> &PerProcess {
        let mut inherited = None;
        let mut place = &self.slots;
        // Only the last slot can be this process's: process ids come around again.
        while let Some(slot) = place.get() {
            if let (true, None, Some(own)) = (slot.process == process, slot.next.get(), &slot.own) {
                return own;
            }
            inherited = slot.own.as_ref();
            place = &slot.next;
        }
        // The parent's keys still count.
        let memory = inherited
            .map_or_else(|| Box::new(InProcess::default()) as Box<dyn Memory>, |parent| parent.memory.inherited());
        let own = PerProcess { process, connections: OnceBox::new(), memory, budget: Arc::new(Budget::new()) };
        let slot = Slot { process, own: Some(own), next: OnceBox::new() };
        // If another thread was quicker, its slot is used.
        let _ = place.set(Box::new(slot));
        let slot = place.get().expect("it has just been filled");
        slot.own.as_ref().expect("a slot is emptied only when dropped")
    }
}

impl PerProcess {
    pub fn process(&self) -> u32 {
        self.process
    }

    pub fn memory(&self) -> &dyn Memory {
        self.memory.as_ref()
    }
}

/// The use of a key by one call, from its preparation to its end.
pub(crate) struct KeyUse {
    key: u64,
    /// The process in whose memory the call counts as running.
    process: u32,
    /// takings made the key for this call, or the caller says that nobody sent it before.
    is_first: bool,
    /// The caller says that a call elsewhere may have been carried out with it.
    after_unclear: bool,
    /// The state of the key as the call last read it, and when that was.
    known: KeyState,
    read: Moment,
    /// How the call ends if it is given up now; none once it has ended.
    pending: Option<Ending>,
}

impl KeyUse {
    /// For a key that the memory of this process has just noted.
    pub fn new(key: u64, is_made: bool, own: &PerProcess, now: Moment) -> KeyUse {
        let pending = Some(Ending::Left(Doubt::Untouched));
        KeyUse {
            key,
            process: own.process,
            is_first: is_made,
            after_unclear: false,
            known: KeyState::FRESH,
            read: now,
            pending,
        }
    }

    pub fn key(&self) -> u64 {
        self.key
    }

    /// Notes the first use of the key as its caller knows it: `age` ago, or by this very call. After the key was sent
    /// it is too late for that, and the word is ignored.
    pub fn first_use(&mut self, session: &Session, age: Option<Duration>) {
        if self.pending != Some(Ending::Left(Doubt::Untouched)) {
            return;
        }
        match age {
            None => self.is_first = true,
            Some(age) => session.own().memory.first_used(self.key, age, session.moment()),
        }
    }

    /// Notes that a call elsewhere may have been carried out with the key. This doubt is the call's alone: the caller keeps
    /// its own account of keys, and it must not fill the memory.
    pub fn after_unclear(&mut self) {
        self.after_unclear = true;
    }

    /// Reads the state of the key in the memory, as an attempt that begins now may find it.
    /// `attempt` is the longest time of an attempt.
    pub fn known(&mut self, session: &Session, own: &PerProcess, attempt: Duration) -> KeyState {
        let is_inherited = self.process != own.process;
        self.read = session.moment();
        // An attempt that begins now may take this long to arrive.
        let arrival = self.read.after(attempt);
        self.known = own.memory.known(self.key, is_inherited, arrival);
        if self.is_first && !is_inherited {
            self.known.first_use = FirstUse::Known;
        }
        if self.after_unclear {
            self.known.first_use = FirstUse::Unknown;
            self.known.doubt = std::mem::take(&mut self.known.doubt).max(Doubt::Unclear);
        }
        self.known.clone()
    }

    /// Notes how the call ends if its host gives it up from here on.
    pub fn goes_on(&mut self, pending: Ending) {
        self.pending = Some(pending);
    }

    /// Gives the key back, once.
    pub fn end(&mut self, own: &PerProcess, ending: &Ending) {
        if self.pending.take().is_none() {
            return;
        }
        let is_inherited = self.process != own.process;
        let KeyState { opened, first_use, .. } = self.known;
        let end = End { ending: ending.clone(), now: self.read, is_inherited, opened, first_use };
        own.memory.end(self.key, &end);
    }

    /// Gives the key back for a call that is given up.
    pub fn give_up(&mut self, session: &Session) {
        if let Some(pending) = self.pending.clone() {
            self.read = session.moment();
            self.end(session.own(), &pending);
        }
    }
}
