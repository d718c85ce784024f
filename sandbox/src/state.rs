//! Everything the server's threads share: Klarna's state, the planned faults, the record of requests, the clock.

use crate::fault::Fault;
use crate::http::{Answer, Request, values};
use crate::klarna::{
    Asked, Circumstances, Key, KeyState, Klarna, Look, Made, Millis, Operation, Place, Stored, error_answer, has_body,
    http_date, timestamp,
};
use crate::plan::PlannedFault;
use crate::{Connections, Options, Received};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::collections::{HashMap, VecDeque};
use std::net::TcpStream;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// How many requests are remembered; the oldest are forgotten first.
const REMEMBERED: usize = 10_000;
/// The quota per second that Klarna documents for live order management.
const QUOTA: u32 = 200;

pub(crate) struct Shared {
    pub options: Options,
    /// Scheme, host, port and prefix.
    pub base: String,
    /// The connections that are open.
    pub sockets: Mutex<Vec<Weak<TcpStream>>>,
    state: Mutex<State>,
    stopping: Mutex<bool>,
    stop: Condvar,
}

/// The state behind the mutex.
#[derive(Default)]
pub(crate) struct State {
    pub klarna: Klarna,
    pub connections: Connections,
    faults: HashMap<String, Vec<PlannedFault>>,
    order_requests: HashMap<String, u64>,
    /// The same for each operation.
    operation_requests: HashMap<String, HashMap<Operation, u64>>,
    late: Vec<Late>,
    log: VecDeque<Received>,
    received: u64,
    ahead: Duration,
    /// Per merchant: a second, and the requests in it.
    rates: HashMap<String, (Millis, u32)>,
}

/// A request whose answer was lost and whose commit is still to come.
struct Late {
    due: Due,
    request: Request,
    place: Place,
    number: u64,
}

/// When a late commit comes.
pub(crate) enum Due {
    At(Millis),
    /// Once the order had so many requests.
    Requests(u64),
}

/// How far a request came before the commit.
pub(crate) enum Admission {
    /// The answer is known; there is nothing to commit.
    Answered(Outcome),
    /// The answer comes from a gateway before the API.
    Page(Answer),
    /// The request may go on, and its key is taken.
    Open { operation: Operation, key: Option<Key>, rate: Vec<(String, String)> },
}

/// How the sandbox would answer without a fault.
pub(crate) struct Outcome {
    pub answer: Answer,
    /// The capture or refund that the request made or, for a known key, stands for.
    pub made: Option<Made>,
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        Self { answer, made: None }
    }
}

impl Shared {
    pub fn new(options: Options, base: String) -> Self {
        let (sockets, state, stopping) = (Mutex::default(), Mutex::default(), Mutex::new(false));
        let shared = Self { options, base, sockets, state, stopping, stop: Condvar::new() };
        shared.reset();
        shared
    }

    /// Forgets all but the connections that are open.
    pub fn reset(&self) {
        let mut state = self.state();
        state.reset();
        state.klarna.knobs = self.options.knobs.clone();
    }

    /// Does the commits that were late and are due.
    pub fn catch_up(&self) {
        let next = || self.state().take_late();
        while let Some(Late { request, place, number, .. }) = next() {
            let correlation_id = Uuid::new_v4().to_string();
            let admission = self.admit(&request, Some(&place), number, &correlation_id);
            self.settle(admission, &request, Some(&place), number, &correlation_id, &Look::default());
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits; `false` when the sandbox stops meanwhile.
    pub fn wait(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let mut stopping = self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        while !*stopping {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            stopping = self.stop.wait_timeout(stopping, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }

    pub fn stop(&self) {
        *self.stopping.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.notify_all();
    }

    pub fn stopping(&self) -> bool {
        *self.stopping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A path without the prefix, if it has it. Several slashes at the head of either count as one, as at Klarna: the
    /// base URL of some shops ends with a slash.
    pub fn below_prefix<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = fold(path).strip_prefix(self.options.prefix.as_str())?;
        rest.starts_with('/').then(|| fold(rest))
    }

    /// The base URL under the host that the client called.
    pub fn base_for(&self, request: &Request) -> String {
        match (request.host(), self.base.split_once("://")) {
            (Some(host), Some((scheme, _))) => format!("{scheme}://{host}{}", self.options.prefix),
            _ => self.base.clone(),
        }
    }

    /// The headers that each answer of Klarna's has.
    pub fn signature(&self, correlation_id: &str) -> [(String, String); 3] {
        let transaction_id = Uuid::new_v4().to_string();
        [
            ("Date", http_date(self.state().now())),
            ("Klarna-Correlation-Id", correlation_id.into()),
            ("Transaction-Id", transaction_id),
        ]
        .map(|(name, value)| (name.into(), value))
    }

    /// The merchant who sends the request.
    fn merchant(&self, request: &Request) -> Option<String> {
        let authorization = values(&request.headers, "authorization").next()?;
        let (scheme, credentials) = authorization.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let credentials = credentials.trim();
        let Options { username, password, api_key, .. } = &self.options;
        if api_key.as_deref() == Some(credentials) {
            return Some(username.clone());
        }
        let pair = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
        let (user, secret) = pair.split_once(':')?;
        let known = (user, secret) == (username, password)
            || api_key.as_ref().is_some_and(|key| {
                // Klarna does not say where a lone key belongs, so both places are accepted.
                (secret == key && (user.is_empty() || user == username)) || (user == key && secret.is_empty())
            });
        known.then(|| username.clone())
    }

    /// Does everything that comes before the commit. The result must go to [`Shared::settle`] or [`Shared::abandon`].
    pub fn admit(&self, request: &Request, place: Option<&Place>, number: u64, correlation_id: &str) -> Admission {
        let refuse = |status: u16, error_code: &str, message: String| {
            error_answer(status, error_code, &[message], correlation_id)
        };
        let methods = place.map(Place::methods).unwrap_or_default();
        let Some(place) = place.filter(|_| !methods.is_empty()) else {
            // Seen at Klarna's gateway: a path that leads nowhere is refused before the credentials are read.
            let body = json!({"error_code": "NOT_FOUND", "error_message": "Not found"});
            return Admission::Page(Answer::new(404).json(&body));
        };
        let Some(merchant) = self.merchant(request) else {
            if self.options.json_unauthorized {
                return Admission::Answered(refuse(401, "UNAUTHORIZED", "the credentials are wrong".into()).into());
            }
            // Recorded at Klarna's gateway: a page with a challenge, without ids.
            let page = Answer::new(401).header("WWW-Authenticate", "Basic realm=\"Klarna\"").html(401);
            return Admission::Page(page);
        };

        let mut state = self.state();
        let now = state.now();
        let (allowed, rate) = state.count(&merchant, self.options.rate_limit, now);
        let answered = |answer: Answer| {
            let mut outcome = Outcome::from(answer);
            outcome.answer.headers.extend(rate.iter().cloned());
            Admission::Answered(outcome)
        };
        if !allowed {
            let message = "the quota of this second is used up".into();
            return answered(refuse(429, "TOO_MANY_REQUESTS", message));
        }
        let Some(operation) = place.operation(&request.method) else {
            let allow = methods.join(", ");
            let message = format!("{} is not possible here, only {allow}", request.method);
            return answered(refuse(405, "METHOD_NOT_ALLOWED", message).header("Allow", allow));
        };
        if !operation.writes() {
            return Admission::Open { operation, key: None, rate };
        }
        let content_type = values(&request.headers, "content-type").next();
        let media_type = content_type.and_then(|value| value.split(';').next());
        let is_json = media_type.is_some_and(|t| t.trim().eq_ignore_ascii_case("application/json"));
        if has_body(operation) && !is_json {
            let message = format!("Content-Type is {}, not application/json", content_type.unwrap_or("absent"));
            return answered(refuse(415, "UNSUPPORTED_MEDIA_TYPE", message));
        }
        let text = values(&request.headers, "klarna-idempotency-key").next().filter(|key| !key.is_empty());
        let scope = state.klarna.knobs_of(&place.order_id).key_scope;
        let key = text.map(|text| Key::new(merchant, scope, &place.order_id, operation, text));
        let asked = asked(operation, place, request, number);
        match key.as_ref().map(|key| state.klarna.keys.reserve(key, &asked, now)) {
            None | Some(KeyState::Reserved) => Admission::Open { operation, key, rate },
            Some(KeyState::InFlight) => {
                let message = "a request with this idempotency key is under way".into();
                answered(refuse(409, "CONFLICT", message))
            }
            Some(KeyState::Known(stored)) => {
                let mut outcome = outcome(stored, correlation_id);
                outcome.answer.headers.extend(rate);
                Admission::Answered(outcome)
            }
        }
    }

    /// Commits, or reads, and gives the key free.
    pub fn settle(
        &self,
        admission: Admission,
        request: &Request,
        place: Option<&Place>,
        number: u64,
        correlation_id: &str,
        look: &Look,
    ) -> Outcome {
        let mut outcome = match admission {
            Admission::Answered(outcome) => outcome,
            Admission::Page(page) => {
                let date = http_date(self.state().now());
                return page.header("Date", date).into();
            }
            Admission::Open { operation, key, rate } => {
                let mut state = self.state();
                let stored = match place {
                    Some(place) if operation.writes() => {
                        state.write(&self.base_for(request), request, (operation, place), number, key)
                    }
                    Some(place) => state.read((operation, place), look),
                    // `admit` opens only what has a place.
                    None => Stored::Done { answer: Answer::new(404), made: None },
                };
                drop(state);
                let mut outcome = outcome(stored, correlation_id);
                outcome.answer.headers.extend(rate);
                outcome
            }
        };
        outcome.answer.headers.extend(self.signature(correlation_id));
        outcome
    }

    /// Gives the key free; the request has no effect.
    pub fn abandon(&self, admission: Admission) {
        if let Admission::Open { key: Some(key), .. } = admission {
            self.state().klarna.keys.release(&key);
        }
    }
}

/// A path with one slash at its head.
fn fold(path: &str) -> &str {
    &path[path.bytes().take_while(|byte| *byte == b'/').count().saturating_sub(1)..]
}

fn asked(operation: Operation, place: &Place, request: &Request, number: u64) -> Asked {
    let Place { order_id, id, .. } = place.clone();
    let body = if has_body(operation) { request.body.clone() } else { Vec::new() };
    Asked { order_id, operation, id, body, number }
}

fn outcome(stored: Stored, correlation_id: &str) -> Outcome {
    match stored {
        Stored::Done { answer, made } => Outcome { answer, made },
        Stored::Refused(refusal) => refusal.answer(correlation_id).into(),
    }
}

impl State {
    /// The sandbox's time.
    pub fn now(&self) -> Millis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_add(self.ahead);
        Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
    }

    /// The sandbox's time, and how far it is ahead of the machine's.
    pub fn clock(&self) -> (String, Duration) {
        (timestamp(self.now()), self.ahead)
    }

    pub fn advance(&mut self, by: Duration) {
        // A thousand years reach every expiry and keep the year within four digits.
        let limit = Duration::from_secs(1000 * 365 * 86_400);
        self.ahead = self.ahead.saturating_add(by).min(limit);
    }

    /// Request numbers go on, since a request may still be under way.
    fn reset(&mut self) {
        let open = self.connections.open;
        *self = Self { received: self.received, connections: Connections { accepted: open, open }, ..Self::default() };
    }

    pub fn plan(&mut self, order_id: &str, faults: impl IntoIterator<Item = PlannedFault>) {
        let planned = self.faults.entry(order_id.into()).or_default();
        planned.extend(faults);
    }

    pub fn planned(&self, order_id: &str) -> &[PlannedFault] {
        self.faults.get(order_id).map_or(&[], Vec::as_slice)
    }

    pub fn clear_faults(&mut self, order_id: &str) {
        self.faults.remove(order_id);
    }

    /// Records a request and returns its number.
    pub fn receive(&mut self, request: &Request, place: Option<&Place>, connection: u64) -> u64 {
        self.received += 1;
        let order_request = place.map(|place| {
            let count = self.order_requests.entry(place.order_id.clone()).or_default();
            *count += 1;
            *count
        });
        if let Some((place, operation)) = place.and_then(|place| Some((place, place.operation(&request.method)?))) {
            let counts = self.operation_requests.entry(place.order_id.clone()).or_default();
            *counts.entry(operation).or_default() += 1;
        }
        if self.log.len() == REMEMBERED {
            self.log.pop_front();
        }
        self.log.push_back(Received {
            number: self.received,
            order_id: place.map(|place| place.order_id.clone()),
            order_request,
            method: request.method.clone(),
            target: request.target.clone(),
            version: request.version.into(),
            headers: request.headers.clone(),
            body: request.body.clone(),
            connection,
            committed: false,
            fault: None,
            answered_status: None,
        });
        self.received
    }

    /// Takes the fault for a request: a fault that names the request, else the first that names none.
    pub fn strike(&mut self, number: u64, operation: Option<Operation>) -> Option<Fault> {
        let record = self.record(number)?;
        let (order_id, order_request) = (record.order_id.clone()?, record.order_request);
        let counts = self.operation_requests.get(&order_id);
        // A fault for an operation counts the requests of that operation alone.
        let count = |planned: &PlannedFault| match planned.on {
            None => order_request,
            Some(on) => {
                let counts = counts.into_iter().flatten();
                Some(counts.filter(|(operation, _)| on.is(**operation)).map(|(_, count)| count).sum())
            }
        };
        let planned = self.faults.get_mut(&order_id)?;
        let named = planned.iter().position(|f| f.request.is_some() && f.request == count(f) && f.fits(operation));
        let at = named.or_else(|| planned.iter().position(|f| f.request.is_none() && f.fits(operation)))?;
        let fault = planned.remove(at).fault;
        self.record(number)?.fault = Some(fault.name().into());
        Some(fault)
    }

    /// How many requests an order had.
    pub fn requests_so_far(&self, order_id: &str) -> u64 {
        self.order_requests.get(order_id).copied().unwrap_or_default()
    }

    /// Puts a request's commit off.
    pub fn put_off(&mut self, due: Due, request: Request, place: Place, number: u64) {
        self.late.push(Late { due, request, place, number });
    }

    /// A late commit that is due.
    fn take_late(&mut self) -> Option<Late> {
        let now = self.now();
        let due = |late: &Late| match late.due {
            Due::At(time) => time <= now,
            Due::Requests(count) => self.requests_so_far(&late.place.order_id) >= count,
        };
        let at = self.late.iter().position(due)?;
        Some(self.late.remove(at))
    }

    pub fn requests(&self) -> impl Iterator<Item = &Received> {
        self.log.iter()
    }

    /// The record of a request, unless it is forgotten.
    fn record(&mut self, number: u64) -> Option<&mut Received> {
        let first = self.log.front()?.number;
        let index = usize::try_from(number.checked_sub(first)?).ok()?;
        self.log.get_mut(index)
    }

    pub fn answered(&mut self, number: u64, status: Option<u16>) {
        if let Some(record) = self.record(number) {
            record.answered_status = status;
        }
    }

    fn read(&self, (operation, place): (Operation, &Place), look: &Look) -> Stored {
        match self.klarna.read(operation, place, look, self.now()) {
            Ok(value) => Stored::Done { answer: Answer::new(200).json(&value), made: None },
            Err(refusal) => Stored::Refused(refusal),
        }
    }

    /// Carries a write out and settles its key.
    fn write(
        &mut self,
        base: &str,
        request: &Request,
        (operation, place): (Operation, &Place),
        request_number: u64,
        key: Option<Key>,
    ) -> Stored {
        let now = self.now();
        let text = key.as_ref().map(|key| key.text.clone());
        let order_requests = self.requests_so_far(&place.order_id);
        let about = Circumstances { base, key: text, request_number, order_requests, now };
        let (stored, keep) = match self.klarna.write(operation, place, &request.body, &about) {
            Ok(done) => {
                if let Some(record) = self.record(request_number) {
                    record.committed |= done.committed();
                }
                (Stored::Done { answer: done.answer, made: done.made }, true)
            }
            Err(refusal) => (Stored::Refused(refusal), self.klarna.knobs_of(&place.order_id).store_refusals),
        };
        if let Some(key) = key {
            self.klarna.keys.release(&key);
            if keep {
                self.klarna.keys.store(key, stored.clone(), asked(operation, place, request, request_number), now);
            }
        }
        stored
    }

    /// Counts a request against its second. Says whether it is within the limit, and the headers about it.
    fn count(&mut self, merchant: &str, limit: Option<u32>, now: Millis) -> (bool, Vec<(String, String)>) {
        let second = now.div_euclid(1000);
        let rate = self.rates.entry(merchant.into()).or_insert((second, 0));
        if rate.0 != second {
            *rate = (second, 0);
        }
        rate.1 = rate.1.saturating_add(1);
        let quota = limit.unwrap_or(QUOTA);
        let headers = [
            ("X-Ratelimit-Limit", format!("{quota}, {quota};w=1")),
            ("X-Ratelimit-Remaining", quota.saturating_sub(rate.1).to_string()),
            ("X-Ratelimit-Reset", "1".into()),
        ]
        .map(|(name, value)| (name.into(), value));
        (limit.is_none_or(|limit| rate.1 <= limit), headers.into())
    }
}
