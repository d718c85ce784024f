//! The inside that the fuzz targets reach (`fuzz/` in the repository): the capture machine
//! without its driver, answers without a server. No part of the API, and not there without
//! the feature `fuzzing`.

use std::sync::Arc;
use std::time::Duration;

use crate::capture::{Capture, CaptureMachine, CaptureTask};
use crate::decide::machine::{Budget, Drive, Event, Machine, Step, Task};
use crate::error::Error;
use crate::reconcile::{ListTask, Reconciliation, Wanted};
use crate::settings::config::{Config, Credentials};
use crate::wire::answer::Answer;
use crate::wire::{self, Endpoint};

/// An answer as the transport hands it over.
pub struct Received(Answer);

impl Received {
    pub fn new(status: u16, headers: Vec<(String, Vec<u8>)>, body: Vec<u8>) -> Received {
        Received(Answer { status, headers, body })
    }

    /// The capture it tells of.
    pub fn capture(&self, order_id: &str) -> Result<Capture, String> {
        let task = CaptureTask { order_id: order_id.into(), idempotency_key: "key".into(), warnings: Vec::new() };
        task.read(&self.0, 1, Duration::ZERO)
    }

    /// What it tells of the captures of an order.
    pub fn list(&self, reference: &str, captured_amount: i64) -> Result<Reconciliation, String> {
        let wanted = Wanted::new(reference, captured_amount).map_err(|error| error.message().to_owned())?;
        // too short to be found as an echo
        let endpoint = Config::at("http://127.0.0.1:1", Credentials::basic("u", "p")).endpoint();
        let endpoint = Arc::new(endpoint.map_err(|error| error.message().to_owned())?);
        ListTask { order_id: "order".into(), wanted, endpoint }.read(&self.0, 1, Duration::from_secs(60))
    }

    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after()
    }

    pub fn correlation_id(&self) -> Option<&str> {
        self.0.correlation_id()
    }

    /// `error_code`, `error_messages` and `correlation_id` of the body.
    pub fn error(&self) -> (Option<String>, Vec<String>, Option<String>) {
        let body = self.0.error();
        (body.error_code, body.error_messages, body.correlation_id)
    }
}

/// What a driver tells.
pub enum Told {
    Start,
    Answered(Received),
    NotSent(String),
    MaybeSent(String),
    Waited,
}

/// What a driver is asked for.
#[derive(Debug)]
pub enum Asked {
    Send { method: String, url: String, key: Option<String>, body: Vec<u8>, timeout: Duration },
    Wait(Duration),
    Done(Result<Capture, Error>),
}

/// A capture without its driver.
pub struct Call {
    machine: CaptureMachine,
    endpoint: Arc<Endpoint>,
}

impl Call {
    /// With a budget for retries of its own, and the jitter of `seed`.
    ///
    /// # Errors
    ///
    /// The settings cannot be used.
    pub fn new(config: &Config, order_id: &str, idempotency_key: &str, seed: u64) -> Result<Call, Error> {
        let (endpoint, limits) = (Arc::new(config.endpoint()?), config.limits()?);
        let path = wire::captures_path(order_id);
        let task =
            CaptureTask { order_id: order_id.into(), idempotency_key: idempotency_key.into(), warnings: Vec::new() };
        let settle = match config.reconcile {
            true => Some((
                ListTask {
                    order_id: order_id.into(),
                    wanted: Wanted::new("parcel-1", 6000)?,
                    endpoint: endpoint.clone(),
                },
                endpoint.get(&path),
            )),
            false => None,
        };
        let request = endpoint.post(&path, idempotency_key, br#"{"captured_amount":6000}"#.to_vec());
        let machine = Machine::new(task, request, endpoint.clone(), limits, Arc::new(Budget::new()), seed);
        Ok(Call { machine: CaptureMachine::new(machine, settle), endpoint })
    }

    pub fn step(&mut self, now: Duration, told: Told) -> Asked {
        let event = match told {
            Told::Start => Event::Start,
            Told::Answered(Received(answer)) => Event::Answered(answer),
            Told::NotSent(why) => Event::NotSent(why),
            Told::MaybeSent(why) => Event::MaybeSent(why),
            Told::Waited => Event::Waited,
        };
        match self.machine.step(now, event) {
            Step::Send(timeout) => {
                let request = self.machine.request();
                let key = request.headers.get("klarna-idempotency-key");
                Asked::Send {
                    method: request.method.to_string(),
                    url: request.url.to_string(),
                    key: key.map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned()),
                    body: request.body.to_vec(),
                    timeout,
                }
            }
            Step::Wait(pause) => Asked::Wait(pause),
            Step::Done(result) => Asked::Done(result),
        }
    }

    /// The error of a caller that stops waiting.
    pub fn abandoned(&self) -> Error {
        self.machine.unclear("abandoned")
    }

    /// A server's text as an error shows it.
    pub fn scrub(&self, text: &str, max: usize) -> String {
        self.endpoint.scrub(text, max)
    }
}
