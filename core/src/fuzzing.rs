//! The inside that the fuzz targets (`fuzz/` in the repository) reach: a capture without a transport, answers without a
//! server. This module is no part of the API and needs the feature `fuzzing`.

use std::sync::Arc;
use std::time::Duration;

use crate::api::ids::{self, created_id};
use crate::api::operations::CAPTURE;
use crate::api::reply::{Content, Found};
use crate::decide::find::{self, Identity};
use crate::decide::machine::{Event, Machine, Purpose, Shared};
use crate::decide::retry::Budget;
use crate::decide::settle::{Settlement, Step};
use crate::error::Error;
use crate::settings::config::Config;
use crate::wire::answer::Answer;
use crate::wire::{Endpoint, HttpRequest};

/// An answer as the transport hands it over.
pub struct Received(Answer);

impl Received {
    pub fn new(status: u16, headers: Vec<(String, Vec<u8>)>, body: Vec<u8>) -> Received {
        Received(Answer::new(status, headers, body))
    }

    /// The id of the capture that it names.
    pub fn capture(&self, order_id: &str) -> Result<String, String> {
        created_id(&self.0, order_id, "capture-id", "captures")
    }

    /// The captures with this reference and amount that it lists, and how often that is.
    pub fn list(&self, reference: &str, captured_amount: i64) -> Result<(Found, Vec<String>), String> {
        let identity = Identity { reference: reference.to_owned(), amount: captured_amount };
        if self.0.status != 200 {
            return Err("no list".into());
        }
        let finds = find::in_list(&self.0.body, &identity, "capture_id", "captured_amount", |_| true)?;
        Ok((Found::of(&finds), finds.ids))
    }

    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after()
    }

    pub fn correlation_id(&self) -> Option<&str> {
        self.0.correlation_id()
    }

    /// `error_code`, `error_messages` and `correlation_id` of the body.
    pub fn error(&self) -> (Option<String>, Vec<String>, Option<String>) {
        let body = self.0.error().clone();
        (body.error_code, body.error_messages, body.correlation_id)
    }

    /// The answer as an event.
    pub fn event(self) -> Event {
        Event::Answered(self.0)
    }
}

/// A capture without a transport.
pub struct Capture {
    settlement: Settlement,
    endpoint: Arc<Endpoint>,
}

impl Capture {
    /// A capture with its own retry budget, and the jitter of `seed`.
    ///
    /// # Errors
    ///
    /// The settings cannot be used.
    pub fn new(config: &Config, order_id: &str, idempotency_key: &str, seed: u64) -> Result<Capture, Error> {
        let (endpoint, limits) = (Arc::new(config.endpoint()?), config.limits()?);
        let path = ids::path(order_id, CAPTURE.path, |_| None);
        let body = br#"{"captured_amount":6000}"#.to_vec();
        let request = CAPTURE.request(&endpoint, &path, Some(idempotency_key), body);
        let purpose = Purpose {
            operation: &CAPTURE,
            order_id: order_id.to_owned(),
            idempotency_key: Some(idempotency_key.to_owned()),
            identity: Some(Identity { reference: "parcel-1".to_owned(), amount: 6000 }),
            warnings: Vec::new(),
        };
        let shared = Shared { endpoint: endpoint.clone(), limits, budget: Arc::new(Budget::new()) };
        let settlement = Settlement::new(Machine::new(purpose, request, shared, seed), config.reconcile);
        Ok(Capture { settlement, endpoint })
    }

    pub fn step(&mut self, now: Duration, event: Event) -> Step {
        self.settlement.step(now, event)
    }

    pub fn request(&self) -> &HttpRequest {
        self.settlement.request()
    }

    /// The content of a reply.
    pub fn id(reply: &crate::Reply) -> Option<&str> {
        match &reply.facts.content {
            Content::Created(id) => Some(id),
            _ => None,
        }
    }

    /// The error of a caller that stops waiting.
    pub fn abandoned(&self) -> Error {
        self.settlement.unclear("abandoned")
    }

    /// A server's text as an error shows it.
    pub fn scrub(&self, text: &str, max: usize) -> String {
        self.endpoint.scrub(text, max)
    }
}
