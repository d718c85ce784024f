//! The answer to a request, well or badly, over whatever carries it.

use crate::fault::{Created, Fault, Raw, Status, Then, When, seconds};
use crate::http::{Answer, Request, percent_encode};
use crate::klarna::{Place, error_answer, http_date, place, usual_error_code};
use crate::state::{Admission, Outcome, Shared};
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
}

impl<'a> Exchange<'a> {
    /// Records the request, and takes the fault that is planned for it.
    pub fn received(shared: &'a Shared, wire: &'a mut dyn Wire, connection: u64, request: &'a Request) -> Self {
        let place = shared.below_prefix(request.path()).and_then(place);
        let mut state = shared.state();
        let number = state.receive(request, place.as_ref(), connection);
        let fault = state.strike(number);
        drop(state);
        Self { shared, wire, request, place, number, correlation_id: Uuid::new_v4().to_string(), fault }
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
                bytes.extend(self.fill_in(&text, outcome.capture_id.as_deref()).bytes());
                self.put(&bytes, outcome.answer.status, Next::Keep)
            }
            Fault::CloseIdle => {
                let outcome = self.commit();
                let bytes = outcome.answer.bytes(&self.request.method, false);
                self.put(&bytes, outcome.answer.status, Next::Drop)
            }
        }
    }

    fn admit(&self) -> Admission {
        let Self { request, correlation_id, .. } = self;
        self.shared.admit(request, self.place.as_ref(), correlation_id)
    }

    fn settle(&self, admission: Admission) -> Outcome {
        self.shared.settle(admission, self.request, self.place.as_ref(), self.number, &self.correlation_id)
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
        let error_code = error_code.unwrap_or_else(|| usual_error_code(status));
        error_answer(status, error_code, &messages, &self.correlation_id)
            .headers(self.shared.signature(&self.correlation_id))
    }

    fn status(&mut self, canned: Status) -> Next {
        let outcome = self.commit_if(canned.when);
        let capture_id = outcome.and_then(|outcome| outcome.capture_id);
        let id = Some(capture_id.unwrap_or_else(|| Uuid::new_v4().to_string()));
        let status = canned.status;
        let answer = if canned.html {
            Answer::new(status).header("Date", self.date()).html(status)
        } else if let Some(body) = &canned.body {
            let body = self.fill_in(body, id.as_deref());
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
        let answer = self.with_headers(answer, &canned.headers, id.as_deref());
        self.send(&answer)
    }

    fn created(&mut self, created: Created) -> Next {
        let outcome = self.commit();
        let Some(id) = outcome.capture_id.as_deref() else {
            return self.send(&outcome.answer);
        };
        let mut answer = outcome.answer.clone();
        answer.headers.retain(|(name, _)| name != "Capture-Id" && name != "Location");
        if let Some(name) = &created.capture_id_header {
            answer = answer.header(name, id);
        }
        if let Some(location) = &created.location {
            answer = answer.header("Location", self.fill_in(location, Some(id)));
        }
        let answer = self.with_headers(answer, &created.headers, Some(id));
        self.send(&answer)
    }

    fn raw(&mut self, raw: Raw) -> Next {
        let outcome = self.commit_if(raw.when);
        let capture_id = outcome.and_then(|outcome| outcome.capture_id);
        let bytes = match (&raw.text, &raw.base64) {
            (Some(text), _) => self.fill_in(text, capture_id.as_deref()).into_bytes(),
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
    fn with_headers(&self, mut answer: Answer, headers: &[(String, String)], capture_id: Option<&str>) -> Answer {
        let ours = |name: &str| {
            ["content-type", "date"].iter().any(|ours| name.eq_ignore_ascii_case(ours))
                && headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name))
        };
        answer.headers.retain(|(name, _)| !ours(name));
        for (name, value) in headers {
            answer = answer.header(name, self.fill_in(value, capture_id));
        }
        answer
    }

    /// Substitutes the names in braces of a fault's text. Without a capture its id is made up.
    fn fill_in(&self, text: &str, capture_id: Option<&str>) -> String {
        let place = self.place.as_ref();
        let segment = place.map_or(String::new(), |place| percent_encode(&place.order_id));
        let text = text.replace("{base}", &self.shared.base_for(self.request)).replace("{order_id}", &segment);
        match capture_id {
            Some(id) => text.replace("{capture_id}", id),
            None => text.replace("{capture_id}", &Uuid::new_v4().to_string()),
        }
    }
}
