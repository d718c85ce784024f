//! This is the loop that sends a call over the client's own connections: [`Sending::go_on`] takes a step of the call,
//! sends or pauses as it says, and hands it what happened.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::api::operation::Reply;
use crate::decide::machine::Event;
use crate::decide::settle::Step;
use crate::drive::call::Call;
use crate::drive::http::{Exchange, Wish};
use crate::drive::session::{PerProcess, Session};
use crate::error::Error;
use crate::record::Attempt;

/// A call being sent over the client's own connections. Dropping it gives the call up; another thread
/// may wait on for it.
#[doc(hidden)]
pub struct Sending {
    /// The process that began the call, to which the connection belongs; none before that.
    process: Option<u32>,
    /// Apart from the stack, which small threads have little of.
    call: Box<Call>,
    /// How many attempts have been reported.
    reported: usize,
    stage: Stage,
}

enum Stage {
    New,
    Exchange(Exchange),
    Pause(Instant),
    Done(Result<Reply, Error>),
    Over,
}

/// The news of a wait.
#[doc(hidden)]
pub enum News<'a> {
    /// The patience ended first.
    Nothing,
    /// An attempt has ended; whether another follows, its [`wait`](Attempt::wait) says.
    Attempt(&'a Attempt),
    /// The outcome. Nothing more will come.
    Ended(Result<Reply, Error>),
}

impl Sending {
    fn of(call: Box<Call>) -> Sending {
        Sending { process: None, call, reported: 0, stage: Stage::New }
    }

    /// Waits for news, no longer than `patience`. Only while somebody waits does it go on.
    ///
    /// In a forked child it ends as [`abandoned`](Call::abandoned): it goes on in the parent.
    pub fn wait(&mut self, patience: Option<Duration>) -> News<'_> {
        self.wait_in(None, patience)
    }

    /// The same where the part of this process is known. Otherwise the first step asks for it, which is a system call.
    fn wait_in(&mut self, known: Option<&PerProcess>, patience: Option<Duration>) -> News<'_> {
        let until = patience.map(|patience| Instant::now() + patience);
        let session = self.call.session();
        let mut own = known;
        loop {
            if self.reported < self.call.attempt_log().len() {
                self.reported += 1;
                return News::Attempt(&self.call.attempt_log()[self.reported - 1]);
            }
            if let Stage::Done(_) | Stage::Over = self.stage {
                return match mem::replace(&mut self.stage, Stage::Over) {
                    Stage::Done(result) => News::Ended(result),
                    _ => News::Ended(Err(self.call.misused("it was waited for after its end"))),
                };
            }
            let own = *own.get_or_insert_with(|| session.own());
            match catch_unwind(AssertUnwindSafe(|| self.go_on(&session, own, until))) {
                Ok(true) => {}
                Ok(false) => return News::Nothing,
                Err(_) => {
                    let result = self.break_off();
                    self.stage = Stage::Done(result);
                }
            }
        }
    }

    /// The event that the call waits for, after a [`wait`](Sending::wait) without patience that had no news. An event loop
    /// waits for it in the place of a thread.
    pub fn wish(&self) -> Wish {
        let wish = match &self.stage {
            Stage::Exchange(exchange) => exchange.wish(),
            Stage::Pause(end) => Some(Wish::moment(*end)),
            _ => None,
        };
        wish.unwrap_or_else(|| Wish::moment(Instant::now()))
    }

    /// The end of a call in which a panic was caught. An outcome that is there stays.
    #[cold]
    #[inline(never)]
    fn break_off(&mut self) -> Result<Reply, Error> {
        if matches!(self.stage, Stage::Done(_))
            && let Stage::Done(result) = mem::replace(&mut self.stage, Stage::Over)
        {
            return result;
        }
        let error = self.call.misused("a panic was caught");
        self.call.finished(Err(error))
    }

    /// Takes one step; false if the wait ended before it.
    fn go_on(&mut self, session: &Session, own: &PerProcess, until: Option<Instant>) -> bool {
        if *self.process.get_or_insert(own.process()) != own.process() {
            self.leave_to_parent();
            return true;
        }
        let left = |until: Instant| until.saturating_duration_since(Instant::now());
        let event = match &mut self.stage {
            Stage::New => Event::Start,
            Stage::Exchange(exchange) => {
                let Some(event) = exchange.wait(until) else { return false };
                // A library built for the tests alone shows what a bug of ours would do.
                #[cfg(takings_fault)]
                assert!(!self.call.request().target().contains("/panic-after-sending/"), "a fault that was asked for");
                event
            }
            Stage::Pause(end) => {
                std::thread::sleep(left(until.map_or(*end, |until| until.min(*end))));
                if !left(*end).is_zero() {
                    return false;
                }
                Event::Waited
            }
            Stage::Done(_) | Stage::Over => return true,
        };
        self.advance(session, own, event);
        true
    }

    /// Tells the call of an event, and begins its next step. Apart from the wait, below which the stack is deepest.
    #[inline(never)]
    fn advance(&mut self, session: &Session, own: &PerProcess, event: Event) {
        self.stage = match self.call.advance(own, event) {
            Step::Send(timeout) => Stage::Exchange(match session.connections(own) {
                Ok(connections) => connections.exchange(self.call.request(), timeout),
                Err(why) => Exchange::Failed(why),
            }),
            Step::Wait(pause) => Stage::Pause(Instant::now() + pause),
            Step::Done(result) => Stage::Done(result),
        };
    }

    /// Leaves everything under way to the parent, in a forked child.
    #[cold]
    #[inline(never)]
    fn leave_to_parent(&mut self) {
        let error = self.call.abandoned();
        let result = self.call.finished(Err(error));
        mem::forget(mem::replace(&mut self.stage, Stage::Done(result)));
    }
}

impl Call {
    /// Sends it over the client's own connections and waits for the outcome, at most
    /// [`Config::timeout`](crate::Config::timeout).
    ///
    /// # Errors
    ///
    /// As [`Client::capture`](crate::Client::capture).
    pub fn send(self) -> Result<Reply, Error> {
        let session = self.session();
        Box::new(self).send_in(session.own())
    }

    /// For bindings: as [`send`](Call::send), by the function that has just prepared the call. So the process is the one
    /// that prepared it, and is not asked for again.
    ///
    /// # Errors
    ///
    /// As [`send`](Call::send).
    #[doc(hidden)]
    pub fn send_at_once(self) -> Result<Reply, Error> {
        Box::new(self).send_from_heap()
    }

    /// For bindings: as [`send_at_once`](Call::send_at_once), for threads with a small stack.
    ///
    /// # Errors
    ///
    /// As [`send`](Call::send).
    #[doc(hidden)]
    pub fn send_from_heap(self: Box<Self>) -> Result<Reply, Error> {
        let session = self.session();
        let own = session.own_of(self.process());
        self.send_in(own)
    }

    fn send_in(self: Box<Self>, own: &PerProcess) -> Result<Reply, Error> {
        let mut sending = Sending::of(self);
        // Attempts are not reported, so a single wait lasts to the outcome.
        sending.reported = usize::MAX;
        loop {
            if let News::Ended(result) = sending.wait_in(Some(own), None) {
                return result;
            }
        }
    }

    /// As [`send`](Call::send), and calls `tell` with each attempt as it ends. An attempt that is followed by another
    /// has its [`wait`](Attempt::wait).
    ///
    /// # Errors
    ///
    /// As [`send`](Call::send).
    pub fn send_and_tell(self, mut tell: impl FnMut(&Attempt)) -> Result<Reply, Error> {
        let mut sending = self.sending();
        loop {
            match sending.wait(None) {
                News::Ended(result) => return result,
                News::Attempt(attempt) => {
                    // A panic of `tell` says nothing about the money, so a call under way ends in an error.
                    if catch_unwind(AssertUnwindSafe(|| tell(attempt))).is_err() {
                        return sending.break_off();
                    }
                }
                News::Nothing => {}
            }
        }
    }

    /// For bindings: the same for a thread that has to look after something else while it waits.
    #[doc(hidden)]
    pub fn sending(self) -> Sending {
        Sending::of(Box::new(self))
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        // Of all stages only a connection belongs to a process.
        if matches!(self.stage, Stage::Exchange(_)) && self.process != Some(std::process::id()) {
            mem::forget(mem::replace(&mut self.stage, Stage::Over));
        }
    }
}
