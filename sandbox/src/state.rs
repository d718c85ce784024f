//! Everything the server's threads share: Klarna's state, the planned faults, the record of requests, the clock.

use crate::fault::{Fault, PlannedFault};
use crate::http::{Answer, Request, values};
use crate::klarna::{
    Circumstances, Key, KeyState, Klarna, Millis, Place, Refusal, Resource, error_answer, http_date, timestamp,
};
use crate::{Connections, Options, Received};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
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
    log: VecDeque<Received>,
    received: u64,
    ahead: Duration,
    /// Per merchant: a second, and the requests in it.
    rates: HashMap<String, (Millis, u32)>,
}

/// How far a request came before the commit.
pub(crate) enum Admission {
    /// The answer is known; there is nothing to commit.
    Answered(Outcome),
    /// The answer comes from a gateway before the API.
    Page(Answer),
    /// The request may go on, and its key is taken.
    Open { key: Option<Key>, rate: Vec<(String, String)> },
}

/// How the sandbox would answer without a fault.
pub(crate) struct Outcome {
    pub answer: Answer,
    /// The capture the request made or, for a known key, stands for.
    pub capture_id: Option<String>,
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        Self { answer, capture_id: None }
    }
}

impl Shared {
    pub fn new(options: Options, base: String) -> Self {
        let (sockets, state, stopping) = (Mutex::default(), Mutex::default(), Mutex::new(false));
        Self { options, base, sockets, state, stopping, stop: Condvar::new() }
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
    pub fn admit(&self, request: &Request, place: Option<&Place>, correlation_id: &str) -> Admission {
        let refuse = |status: u16, error_code: &str, message: String| {
            error_answer(status, error_code, &[message], correlation_id)
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
        let answered = |mut answer: Answer, capture_id: Option<String>| {
            answer.headers.extend(rate.iter().cloned());
            Admission::Answered(Outcome { answer, capture_id })
        };
        if !allowed {
            let message = "the quota of this second is used up".into();
            return answered(refuse(429, "TOO_MANY_REQUESTS", message), None);
        }
        let Some(resource) = place.and_then(|place| place.resource.as_ref()) else {
            let message = format!("the sandbox serves nothing at {}", request.path());
            return answered(refuse(404, "NOT_FOUND", message), None);
        };
        let allow = match resource {
            Resource::Captures => "GET, POST",
            _ => "GET",
        };
        if !allow.split(", ").any(|method| method == request.method) {
            let message = format!("{} is not possible here, only {allow}", request.method);
            let answer = refuse(405, "METHOD_NOT_ALLOWED", message).header("Allow", allow);
            return answered(answer, None);
        }
        if request.method == "GET" {
            return Admission::Open { key: None, rate };
        }
        let content_type = values(&request.headers, "content-type").next();
        let media_type = content_type.and_then(|value| value.split(';').next());
        if !media_type.is_some_and(|t| t.trim().eq_ignore_ascii_case("application/json")) {
            let message = format!("Content-Type is {}, not application/json", content_type.unwrap_or("absent"));
            return answered(refuse(415, "UNSUPPORTED_MEDIA_TYPE", message), None);
        }
        let key = values(&request.headers, "klarna-idempotency-key")
            .next()
            .filter(|key| !key.is_empty())
            .map(|key| (merchant, key.to_owned()));
        match key.as_ref().map(|key| state.klarna.reserve(key, now)) {
            None | Some(KeyState::Reserved) => Admission::Open { key, rate },
            Some(KeyState::InFlight) => {
                let message = "a request with this idempotency key is under way".into();
                answered(refuse(409, "CONFLICT", message), None)
            }
            Some(KeyState::Known { capture_id, location }) => {
                answered(created(&capture_id, &location), Some(capture_id))
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
    ) -> Outcome {
        let mut outcome = match admission {
            Admission::Answered(outcome) => outcome,
            Admission::Page(page) => {
                let date = http_date(self.state().now());
                return page.header("Date", date).into();
            }
            Admission::Open { key, rate } => {
                let mut state = self.state();
                let done = state.perform(&self.base_for(request), request, place, number, key.clone());
                if let Some(key) = key {
                    state.klarna.release(&key);
                }
                let mut outcome = done.unwrap_or_else(|refusal| refusal.answer(correlation_id).into());
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
            self.state().klarna.release(&key);
        }
    }
}

/// A path with one slash at its head.
fn fold(path: &str) -> &str {
    &path[path.bytes().take_while(|byte| *byte == b'/').count().saturating_sub(1)..]
}

/// Klarna's answer to a capture: an empty body.
fn created(capture_id: &str, location: &str) -> Answer {
    Answer::new(201).header("Capture-Id", capture_id).header("Location", location)
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

    /// Forgets all but the connections that are open. Request numbers go on, since a request may still be under way.
    pub fn reset(&mut self) {
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
    pub fn strike(&mut self, number: u64) -> Option<Fault> {
        let record = self.record(number)?;
        let (order_id, order_request) = (record.order_id.clone()?, record.order_request);
        let planned = self.faults.get_mut(&order_id)?;
        let named = planned.iter().position(|f| f.request == order_request);
        let at = named.or_else(|| planned.iter().position(|f| f.request.is_none()))?;
        let fault = planned.remove(at).fault;
        self.record(number)?.fault = Some(fault.name().into());
        Some(fault)
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

    fn perform(
        &mut self,
        base: &str,
        request: &Request,
        place: Option<&Place>,
        number: u64,
        key: Option<Key>,
    ) -> Result<Outcome, Refusal> {
        let now = self.now();
        let Some((place, resource)) = place.and_then(|p| p.resource.as_ref().map(|r| (p, r))) else {
            // `admit` opens only what has a resource.
            return Ok(Answer::new(404).into());
        };
        if request.method == "POST" {
            let about = Circumstances { base, key, request_number: number, now };
            let (capture_id, location) = self.klarna.capture(place, &request.body, about)?;
            if let Some(record) = self.record(number) {
                record.committed = true;
            }
            return Ok(Outcome { answer: created(&capture_id, &location), capture_id: Some(capture_id) });
        }
        let value = match resource {
            Resource::Order => self.klarna.order(&place.order_id, now)?,
            Resource::Captures => self.klarna.captures(&place.order_id)?,
            Resource::Capture(id) => self.klarna.capture_of(&place.order_id, id)?,
        };
        Ok(Answer::new(200).json(&value).into())
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
