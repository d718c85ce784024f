//! The capture as a task of the machine, and its result.

use std::time::Duration;

use crate::decide::machine::{Drive, Event, Machine, Others, Step, Task, Trace};
use crate::drive::call::Attempt;
use crate::error::{Error, ErrorKind};
use crate::reconcile::{Found, ListTask, Reconciliation};
use crate::wire::HttpRequest;
use crate::wire::answer::{Answer, is_id};

/// Klarna captured it: ship.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capture {
    pub(crate) capture_id: String,
    pub(crate) order_id: String,
    pub(crate) idempotency_key: String,
    pub(crate) correlation_id: Option<String>,
    pub(crate) attempts: u32,
    pub(crate) attempt_log: Vec<Attempt>,
    pub(crate) warnings: Vec<String>,
}

impl Capture {
    /// Klarna's name for the capture.
    pub fn capture_id(&self) -> &str {
        &self.capture_id
    }

    /// The order it belongs to.
    pub fn order_id(&self) -> &str {
        &self.order_id
    }

    /// The key the call used, given or made.
    pub fn idempotency_key(&self) -> &str {
        &self.idempotency_key
    }

    /// Klarna's name for the answered request, where it gave one.
    pub fn correlation_id(&self) -> Option<&str> {
        self.correlation_id.as_deref()
    }

    /// How many requests it took, 1 or more.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Each request with its time, what came back and the pause after it. With the setting
    /// `reconcile` the looks that settled the capture are among them.
    pub fn attempt_log(&self) -> &[Attempt] {
        &self.attempt_log
    }

    /// What did not add up in the order lines (see
    /// [`Config::check_lines`](crate::Config::check_lines)): it was captured all the same. And that an
    /// earlier call of this client with the same key was answered with another capture.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

pub(crate) struct CaptureTask {
    pub order_id: String,
    pub idempotency_key: String,
    pub warnings: Vec<String>,
}

impl Task for CaptureTask {
    type Output = Capture;
    const WRITES: bool = true;

    fn order_id(&self) -> &str {
        &self.order_id
    }

    fn idempotency_key(&self) -> Option<&str> {
        Some(&self.idempotency_key)
    }

    fn read(&self, answer: &Answer, attempts: u32, _: Duration) -> Result<Capture, String> {
        Ok(Capture {
            capture_id: capture_id(answer, &self.order_id)?,
            order_id: self.order_id.clone(),
            idempotency_key: self.idempotency_key.clone(),
            correlation_id: answer.correlation_id().map(str::to_owned),
            attempts,
            attempt_log: Vec::new(),
            warnings: self.warnings.clone(),
        })
    }

    fn settles(&self, status: u16, error_code: Option<&str>) -> bool {
        // Only what Klarna would have said to the lost attempt as well, since it had the same
        // bytes. A 401 or a page may be a gateway speaking; a 403 speaks of the state of the order,
        // which the lost attempt may have changed (CAPTURE_NOT_ALLOWED is what a second capture
        // of the same money gets); a code that is not known here might say that the key is still
        // in flight.
        matches!(
            (status, error_code),
            (404, Some("NO_SUCH_ORDER"))
                | (400, Some("BAD_VALUE" | "BAD_REQUEST" | "INVALID_ORDER_ID"))
                | (413, Some("REQUEST_TOO_LARGE"))
                | (422, Some("UNPROCESSABLE_ENTITY"))
        )
    }

    fn message(&self, kind: ErrorKind, order: &str, why: &str, status: Option<u16>) -> String {
        match kind {
            ErrorKind::NotSent => {
                format!(
                    "the capture of order {order} was not sent: {why}; nothing reached Klarna, call again at any time with \
                     the same key"
                )
            }
            ErrorKind::Rejected => format!(
                "the capture of order {order} was rejected: {why}; nothing was captured; {}",
                match status {
                    Some(401) =>
                        "check the credentials, and that region and environment are the ones they were made for",
                    Some(429) => "this is the rate limit: call again later",
                    _ => "mend the cause, then call with a new idempotency key",
                }
            ),
            _ => format!(
                "order {order} may have been captured: {why}; call again with the same idempotency key {} within 24 hours, \
                 and do not book it as failed",
                self.idempotency_key
            ),
        }
    }
}

/// A capture, and where it is asked for the look into the order's captures that settles an
/// unclear one.
pub(crate) struct CaptureMachine {
    capture: Machine<CaptureTask>,
    /// What to look for, with the request that looks; none where it was not asked for or
    /// could not be told apart.
    settle: Option<(ListTask, HttpRequest)>,
    looking: Option<(Machine<ListTask>, Error)>,
}

impl CaptureMachine {
    pub fn new(capture: Machine<CaptureTask>, settle: Option<(ListTask, HttpRequest)>) -> CaptureMachine {
        CaptureMachine { capture, settle, looking: None }
    }

    /// What others with the same key did, for whatever the next answer is.
    pub fn learn(&mut self, others: Others) {
        self.capture.learn(others);
    }

    /// What the capture did by itself.
    pub fn trace(&self) -> Trace {
        self.capture.trace()
    }

    fn look(&mut self, now: Duration, unclear: Error) -> Step<Capture> {
        match self.settle.take() {
            Some((task, request)) if now < self.capture.deadline() => {
                let mut list = self.capture.continued(task, request);
                let first = list.step(now, Event::Start);
                self.looking = Some((list, unclear));
                match first {
                    Step::Send(timeout) => Step::Send(timeout),
                    _ => unreachable!("a machine begins by sending"),
                }
            }
            _ => Step::Done(Err(unclear)),
        }
    }
}

impl Drive for CaptureMachine {
    type Output = Capture;

    fn step(&mut self, now: Duration, event: Event) -> Step<Capture> {
        let Some((list, unclear)) = &mut self.looking else {
            return match self.capture.step(now, event) {
                Step::Done(Err(error)) if error.kind() == ErrorKind::OutcomeUnknown => self.look(now, error),
                step => step,
            };
        };
        let found = match list.step(now, event) {
            Step::Send(timeout) => return Step::Send(timeout),
            Step::Wait(pause) => return Step::Wait(pause),
            Step::Done(found) => found,
        };
        let task = self.capture.task();
        Step::Done(match found {
            // Only a find is certain: what is not there yet may still be on its way.
            Ok(Reconciliation { found: Found::Once, mut capture_ids, correlation_id, .. }) => Ok(Capture {
                capture_id: capture_ids.swap_remove(0),
                order_id: task.order_id.clone(),
                idempotency_key: task.idempotency_key.clone(),
                correlation_id,
                attempts: unclear.attempts(),
                attempt_log: Vec::new(),
                warnings: task.warnings.clone(),
            }),
            _ => Err(unclear.clone()),
        })
    }

    fn request(&self) -> &HttpRequest {
        match &self.looking {
            None => self.capture.request(),
            Some((list, _)) => list.request(),
        }
    }

    fn order_id(&self) -> &str {
        self.capture.order_id()
    }

    fn idempotency_key(&self) -> Option<&str> {
        self.capture.idempotency_key()
    }

    fn internal(&self, what: &str) -> Error {
        self.capture.internal(what)
    }

    fn unclear(&self, why: &str) -> Error {
        self.capture.unclear(why)
    }
}

/// The id of the capture, from `Capture-Id` or the end of `Location`. What does not fit
/// together is not an answer to this call: a kept-alive connection may hold somebody else's.
fn capture_id(answer: &Answer, order_id: &str) -> Result<String, String> {
    let mut found: Option<&str> = None;
    let mut agree = |id| match found {
        None => {
            found = Some(id);
            true
        }
        Some(other) => other == id,
    };
    for value in answer.all("capture-id") {
        match value {
            Some(id) if !is_id(id) => return Err("with a Capture-Id that cannot be one".into()),
            Some(id) if agree(id) => {}
            None => return Err("with a Capture-Id that cannot be one".into()),
            Some(_) => return Err("with two Capture-Ids".into()),
        }
    }
    for value in answer.all("location") {
        let Some(location) = value else { return Err("with a Location that is not ASCII".into()) };
        let location = location.split(['?', '#']).next().unwrap_or_default();
        // the last ones count: a path prefix may hold the same words
        let mut named = "";
        for segment in location.rsplit('/') {
            if segment.eq_ignore_ascii_case("orders") {
                if !is_same_order(named, order_id) {
                    return Err("with a Location of another order".into());
                }
                break;
            }
            named = segment;
        }
        let mut last = location.rsplit('/');
        if let (Some(id), Some("captures")) = (last.next(), last.next())
            && is_id(id)
            && !agree(id)
        {
            return Err("with a Location at odds with another id".into());
        }
    }
    found.map(str::to_owned).ok_or_else(|| "without a capture id".into())
}

fn is_same_order(segment: &str, order_id: &str) -> bool {
    let ours = crate::wire::order_path(order_id);
    let ours = ours.rsplit('/').next().unwrap_or_default();
    segment.eq_ignore_ascii_case(ours) || segment.eq_ignore_ascii_case(order_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(headers: &[(&str, &str)]) -> Option<String> {
        let headers = headers.iter().map(|(n, v)| (n.to_string(), v.as_bytes().to_vec())).collect();
        capture_id(&Answer { status: 201, headers, body: Vec::new() }, "order 1").ok()
    }

    #[test]
    fn ids_that_are_believed() {
        for headers in [
            &[("Capture-Id", "c1")][..],
            &[("capture-id", " c1 ")],
            &[("CAPTURE-ID", "c1"), ("Capture-ID", "c1")],
            &[("Location", "https://api.klarna.com/ordermanagement/v1/orders/order%201/captures/c1")],
            &[("location", "http://klarna/orders/order%201/captures/c1")],
            &[("Location", "/orders/x/orders/order%201/captures/c1?a=/orders/y#z")],
            &[("Location", "/captures/c1")],
            &[("Capture-Id", "c1"), ("Location", "/orders/order%201/captures/c1")],
            &[("Capture-Id", "c1"), ("Location", "/")],
            &[("Capture-Id", "c1"), ("Location", "")],
        ] {
            assert_eq!(id(headers).as_deref(), Some("c1"), "{headers:?}");
        }
    }

    #[test]
    fn ids_that_are_not() {
        let long = "c".repeat(256);
        for headers in [
            &[][..],
            &[("Capture-Id", "")],
            &[("Capture-Id", "a/b")],
            &[("Capture-Id", "a\\b")],
            &[("Capture-Id", "..")],
            &[("Capture-Id", "%2e%2e")],
            &[("Capture-Id", "c1,c2")],
            &[("Capture-Id", "\"c1\"")],
            &[("Capture-Id", "c1"), ("Location", "/Orders/other/captures/c1")],
            &[("Capture-Id", "a b")],
            &[("Capture-Id", "a\u{7f}")],
            &[("Capture-Id", "ö")],
            &[("Capture-Id", &long)],
            &[("Capture-Id", "c1"), ("Capture-Id", "c2")],
            &[("Capture-Id", "c1"), ("Capture-Id", "")],
            &[("Location", "/orders/order%201/captures/")],
            &[("Location", "/orders/order%201/captures")],
            &[("Location", "/orders/order%201")],
            &[("Location", "/login")],
            &[("Location", "/orders/other/captures/c1")],
            &[("Capture-Id", "c1"), ("Location", "/orders/other/captures/c1")],
            &[("Capture-Id", "c1"), ("Location", "/orders/order%201/captures/c2")],
        ] {
            assert_eq!(id(headers), None, "{headers:?}");
        }
    }

    #[test]
    fn only_klarna_speaking_of_this_request_settles_a_lost_answer() {
        let operation = CaptureTask { order_id: "o".into(), idempotency_key: "k".into(), warnings: Vec::new() };
        assert!(operation.settles(404, Some("NO_SUCH_ORDER")));
        assert!(operation.settles(422, Some("UNPROCESSABLE_ENTITY")));
        assert!(!operation.settles(404, None), "a gateway page");
        assert!(!operation.settles(401, Some("UNAUTHORIZED")));
        assert!(!operation.settles(403, Some("CAPTURE_NOT_ALLOWED")));
        assert!(!operation.settles(403, Some("NOT_ALLOWED")));
        assert!(!operation.settles(400, Some("IDEMPOTENCY_KEY_IN_FLIGHT")), "a code of a later day");
        assert!(!operation.settles(423, Some("LOCKED")));
    }
}
