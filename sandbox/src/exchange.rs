//! The answer to a request, well or badly, over whatever carries it.

use crate::fault::{Created, Fault, Raw, Status, Then, USUAL_LOCATION, When, seconds};
use crate::http::{Answer, Request, percent_encode};
use crate::klarna::{Lag, Look, Made, Millis, Operation, Place, error_answer, http_date, place, usual_error_code};
use crate::state::{Admission, Due, Outcome, Shared};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::time::Duration;
use uuid::Uuid;

/// The fate of a connection.
#[derive(Clone, Copy)]
pub(crate) enum Next {
    Keep,
    /// An announced end.
    Close,
    /// An unannounced end, over TLS without `close_notify`.
    Drop,
    Reset,
}

/// The way back to the client, and the time on it.
pub(crate) trait Wire {
    /// Whether the bytes went out.
    fn send(&mut self, bytes: &[u8]) -> bool;
    /// Lets the time pass; `false` when the sandbox stops meanwhile.
    fn wait(&mut self, time: Duration) -> bool;
    /// Stays silent until the client leaves, the time is over or the sandbox stops.
    fn stall(&mut self, limit: Option<Duration>);
}

/// A request and its answer.
pub(crate) struct Exchange<'a> {
    shared: &'a Shared,
    wire: &'a mut dyn Wire,
    request: &'a Request,
    place: Option<Place>,
    number: u64,
    correlation_id: String,
    fault: Option<Fault>,
    /// How a read is answered.
    look: Look,
}

/// The ids that stand for the names in braces of a fault's text.
struct Ids {
    capture: String,
    refund: String,
}

fn millis(seconds: f64) -> Millis {
    Millis::try_from(self::seconds(seconds).as_millis()).unwrap_or(Millis::MAX)
}

impl<'a> Exchange<'a> {
    /// Records the request, and takes the fault that is planned for it.
    pub fn received(shared: &'a Shared, wire: &'a mut dyn Wire, connection: u64, request: &'a Request) -> Self {
        shared.catch_up();
        let place = shared.below_prefix(request.path()).and_then(place);
        let mut state = shared.state();
        let number = state.receive(request, place.as_ref(), connection);
        let fault = state.strike(number, place.as_ref().and_then(|place| place.operation(&request.method)));
        drop(state);
        let correlation_id = Uuid::new_v4().to_string();
        Self { shared, wire, request, place, number, correlation_id, fault, look: Look::default() }
    }

    pub fn answer(mut self) -> Next {
        let Some(fault) = self.fault.take() else {
            let outcome = self.commit();
            return self.send(&outcome.answer);
        };
        match fault {
            Fault::LostAnswer => {
                self.commit();
                Next::Drop
            }
            Fault::ResetBeforeCommit => Next::Reset,
            Fault::ResetAfterCommit => {
                self.commit();
                Next::Reset
            }
            Fault::CloseBeforeCommit => Next::Drop,
            Fault::ResetMidAnswer { after_bytes } => self.part(after_bytes, Next::Reset),
            Fault::CloseMidAnswer { after_bytes } => self.part(after_bytes, Next::Drop),
            Fault::CutBody { status, when } => self.cut_body(status, when),
            Fault::Delay { seconds: time, when } => self.delay(seconds(time), when),
            Fault::Stall { seconds: time, when } => {
                self.stall(time.map(seconds), when);
                Next::Drop
            }
            Fault::TooManyRequests { retry_after, ratelimit_reset } => {
                let message = "the quota of this second is used up".into();
                let mut answer = self
                    .error(429, None, vec![message])
                    .header("X-Ratelimit-Limit", "200, 200;w=1")
                    .header("X-Ratelimit-Remaining", "0");
                for (name, value) in [("Retry-After", retry_after), ("X-Ratelimit-Reset", ratelimit_reset)] {
                    if let Some(value) = value {
                        answer = answer.header(name, value);
                    }
                }
                self.send(&answer)
            }
            Fault::Status(status) => self.status(status),
            Fault::CreatedWithoutId => {
                self.created(Created { capture_id_header: None, location: None, headers: Vec::new() })
            }
            Fault::Created(created) => self.created(created),
            Fault::Raw(raw) => self.raw(raw),
            Fault::Leftover { text } => {
                let outcome = self.commit();
                let mut bytes = outcome.answer.bytes(&self.request.method, false);
                bytes.extend(self.fill_in(&text, &self.ids(outcome.made.as_ref())).bytes());
                self.put(&bytes, outcome.answer.status, Next::Keep)
            }
            Fault::CloseIdle => {
                let outcome = self.commit();
                let bytes = outcome.answer.bytes(&self.request.method, false);
                self.put(&bytes, outcome.answer.status, Next::Drop)
            }
            Fault::LaggingRead { seconds, requests } => {
                self.look.lag = Some(self.lag(seconds, requests));
                let outcome = self.commit();
                self.send(&outcome.answer)
            }
            Fault::RefundsWithout { member } => {
                self.look.without = Some(member);
                let outcome = self.commit();
                self.send(&outcome.answer)
            }
            Fault::CommitLate { seconds, requests } => {
                self.put_off(seconds, requests);
                Next::Drop
            }
            Fault::NoContentAs200 => {
                let mut answer = self.commit().answer;
                if answer.status == 204 {
                    answer = Answer::new(200).header("Date", self.date()).html(200);
                }
                self.send(&answer)
            }
        }
    }

    fn lag(&self, seconds: Option<f64>, requests: Option<u64>) -> Lag {
        let state = self.shared.state();
        match seconds {
            Some(seconds) => Lag::Until(state.now().saturating_sub(millis(seconds))),
            None => {
                let order_id = self.place.as_ref().map_or("", |place| place.order_id.as_str());
                Lag::BeforeRequest(state.requests_so_far(order_id).saturating_sub(requests.unwrap_or(1)))
            }
        }
    }

    fn put_off(&self, seconds: Option<f64>, requests: Option<u64>) {
        let Some(place) = self.place.clone() else { return };
        let mut state = self.shared.state();
        let due = match seconds {
            Some(seconds) => Due::At(state.now().saturating_add(millis(seconds))),
            None => Due::Requests(state.requests_so_far(&place.order_id).saturating_add(requests.unwrap_or(1))),
        };
        state.put_off(due, self.request.clone(), place, self.number);
    }

    fn operation(&self) -> Option<Operation> {
        self.place.as_ref().and_then(|place| place.operation(&self.request.method))
    }

    fn admit(&self) -> Admission {
        let Self { request, correlation_id, .. } = self;
        self.shared.admit(request, self.place.as_ref(), self.number, correlation_id)
    }

    fn settle(&self, admission: Admission) -> Outcome {
        let place = self.place.as_ref();
        self.shared.settle(admission, self.request, place, self.number, &self.correlation_id, &self.look)
    }

    fn commit(&self) -> Outcome {
        self.settle(self.admit())
    }

    fn commit_if(&self, when: When) -> Option<Outcome> {
        (when == When::AfterCommit).then(|| self.commit())
    }

    /// Writes an answer and then does as the client asked.
    fn send(&mut self, answer: &Answer) -> Next {
        let last = self.request.last();
        let bytes = answer.bytes(&self.request.method, last);
        let next = if last { Next::Close } else { Next::Keep };
        self.put(&bytes, answer.status, next)
    }

    /// Records the status, then writes: a client that has the answer finds the status in the record.
    fn put(&mut self, bytes: &[u8], status: u16, next: Next) -> Next {
        self.note(Some(status));
        if self.wire.send(bytes) { next } else { Next::Drop }
    }

    fn note(&self, status: Option<u16>) {
        self.shared.state().answered(self.number, status);
    }

    fn part(&mut self, after_bytes: Option<usize>, next: Next) -> Next {
        let answer = self.commit().answer;
        let bytes = answer.bytes(&self.request.method, self.request.last());
        let half = (bytes.len() - answer.body.len()) / 2;
        let count = after_bytes.unwrap_or(half).min(bytes.len());
        if count == 0 {
            return next;
        }
        self.put(&bytes[..count], answer.status, next)
    }

    fn cut_body(&mut self, status: Option<u16>, when: Option<When>) -> Next {
        let success = status.is_none_or(|status| (200..300).contains(&status));
        let usual = if success { When::AfterCommit } else { When::BeforeCommit };
        let outcome = self.commit_if(when.unwrap_or(usual));
        let answer = match (outcome, status) {
            (Some(outcome), _) if success => {
                let mut answer = outcome.answer;
                if let (Some(status), 200..=299) = (status, answer.status) {
                    answer.status = status;
                }
                answer
            }
            (_, Some(status)) if !success => self.error(status, None, Vec::new()),
            (_, status) => Answer::new(status.unwrap_or(200)),
        };
        let promised = answer.body.len() + 100;
        let answer = answer.header("Content-Length", promised.to_string());
        let bytes = answer.bytes(&self.request.method, self.request.last());
        self.put(&bytes, answer.status, Next::Drop)
    }

    fn delay(&mut self, time: Duration, when: When) -> Next {
        let outcome = match when {
            When::BeforeCommit => {
                let admission = self.admit();
                if !self.wire.wait(time) {
                    self.shared.abandon(admission);
                    return Next::Drop;
                }
                self.settle(admission)
            }
            When::AfterCommit => {
                let outcome = self.commit();
                if !self.wire.wait(time) {
                    return Next::Drop;
                }
                outcome
            }
        };
        self.send(&outcome.answer)
    }

    /// Before the commit not even the key is taken. A client may give up and repeat the request at once, before the
    /// sandbox notices that it left.
    fn stall(&mut self, limit: Option<Duration>, when: When) {
        self.commit_if(when);
        self.wire.stall(limit);
    }

    fn error(&self, status: u16, error_code: Option<&str>, messages: Vec<String>) -> Answer {
        let error_code = error_code.unwrap_or_else(|| usual_error_code(status, self.operation()));
        error_answer(status, error_code, &messages, &self.correlation_id)
            .headers(self.shared.signature(&self.correlation_id))
    }

    fn status(&mut self, canned: Status) -> Next {
        let outcome = self.commit_if(canned.when);
        let ids = self.ids(outcome.and_then(|outcome| outcome.made).as_ref());
        let status = canned.status;
        let answer = if canned.html {
            Answer::new(status).header("Date", self.date()).html(status)
        } else if let Some(body) = &canned.body {
            let body = self.fill_in(body, &ids);
            let content_type = match body.trim_start().chars().next() {
                Some('{' | '[') => "application/json",
                _ => "text/plain",
            };
            Answer::new(status).header("Date", self.date()).body(content_type, body)
        } else if (400..600).contains(&status) || canned.error_code.is_some() || canned.error_messages.is_some() {
            let messages = canned.error_messages.unwrap_or_default();
            self.error(status, canned.error_code.as_deref(), messages)
        } else {
            Answer::new(status).headers(self.shared.signature(&self.correlation_id))
        };
        let answer = self.with_headers(answer, &canned.headers, &ids);
        self.send(&answer)
    }

    fn created(&mut self, created: Created) -> Next {
        let outcome = self.commit();
        let Some(made) = &outcome.made else {
            return self.send(&outcome.answer);
        };
        let ids = self.ids(Some(made));
        let refund = matches!(made, Made::Refund(_));
        let mut answer = outcome.answer.clone();
        answer.headers.retain(|(name, _)| !["Capture-Id", "Refund-Id", "Location"].contains(&name.as_str()));
        if let Some(name) = &created.capture_id_header {
            let name = if refund && name == "Capture-Id" { "Refund-Id" } else { name };
            answer = answer.header(name, made.id());
        }
        if let Some(location) = &created.location {
            let refunds = USUAL_LOCATION.replace("capture", "refund");
            let location = if refund && location == USUAL_LOCATION { &refunds } else { location };
            answer = answer.header("Location", self.fill_in(location, &ids));
        }
        let answer = self.with_headers(answer, &created.headers, &ids);
        self.send(&answer)
    }

    fn raw(&mut self, raw: Raw) -> Next {
        let outcome = self.commit_if(raw.when);
        let ids = self.ids(outcome.and_then(|outcome| outcome.made).as_ref());
        let bytes = match (&raw.text, &raw.base64) {
            (Some(text), _) => self.fill_in(text, &ids).into_bytes(),
            // The fault was checked when it was planned.
            (None, base64) => base64.as_ref().and_then(|base64| STANDARD.decode(base64).ok()).unwrap_or_default(),
        };
        let status = bytes
            .get(9..12)
            .filter(|_| bytes.starts_with(b"HTTP/1."))
            .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        self.note(status);
        let sent = match raw.chunk_delay_ms {
            None => self.wire.send(&bytes),
            Some(pause) => bytes.iter().all(|byte| {
                let pause = Duration::from_millis(pause);
                self.wire.send(&[*byte]) && self.wire.wait(pause)
            }),
        };
        if !sent {
            return Next::Drop;
        }
        match raw.then {
            Then::Close => Next::Close,
            Then::Reset => Next::Reset,
            Then::Keep => Next::Keep,
            Then::Stall => {
                self.wire.stall(None);
                Next::Drop
            }
        }
    }

    fn date(&self) -> String {
        http_date(self.shared.state().now())
    }

    /// Adds a fault's headers. `Date` and those about the body's framing and type replace ours.
    fn with_headers(&self, mut answer: Answer, headers: &[(String, String)], ids: &Ids) -> Answer {
        let ours = |name: &str| {
            ["content-type", "date"].iter().any(|ours| name.eq_ignore_ascii_case(ours))
                && headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name))
        };
        answer.headers.retain(|(name, _)| !ours(name));
        for (name, value) in headers {
            answer = answer.header(name, self.fill_in(value, ids));
        }
        answer
    }

    /// Ids for a fault's text: of what was made, else of the path, else made up.
    fn ids(&self, made: Option<&Made>) -> Ids {
        let place = self.place.as_ref();
        let id = |found: Option<&str>| found.map_or_else(|| Uuid::new_v4().to_string(), String::from);
        let (capture, refund) = match made {
            Some(Made::Capture(id)) => (Some(id.as_str()), None),
            Some(Made::Refund(id)) => (None, Some(id.as_str())),
            None => (None, None),
        };
        Ids {
            capture: id(capture.or_else(|| place.and_then(Place::capture_id))),
            refund: id(refund.or_else(|| place.and_then(Place::refund_id))),
        }
    }

    /// Substitutes the names in braces of a fault's text.
    fn fill_in(&self, text: &str, ids: &Ids) -> String {
        let segment = self.place.as_ref().map_or(String::new(), |place| percent_encode(&place.order_id));
        text.replace("{base}", &self.shared.base_for(self.request))
            .replace("{order_id}", &segment)
            .replace("{capture_id}", &ids.capture)
            .replace("{refund_id}", &ids.refund)
    }
}
