//! The inside that the fuzz targets (`fuzz/` in the repository) reach: a call without a transport, answers without a
//! server. This module is no part of the API and needs the feature `fuzzing`.

use std::sync::Arc;
use std::time::Duration;

use crate::api::arguments::{Checked, Reading};
use crate::api::ids::{self, created_id};
use crate::api::lines::CheckLines;
use crate::api::operation::{Effect, FoundBy, Operation, ReplyKind};
use crate::api::operations::{self, CAPTURE, OPERATIONS, RECONCILE};
use crate::api::reply::{Content, Found};
use crate::decide::find::{self, Identity};
use crate::decide::machine::{Event, Machine, Purpose, Shared};
use crate::decide::retry::Budget;
use crate::decide::settle::{Settlement, Step};
use crate::error::Error;
use crate::settings::config::Config;
use crate::strict::Voice;
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
        self.created("capture", order_id)
    }

    /// The id of what a call of that name made.
    pub fn created(&self, operation: &str, order_id: &str) -> Result<String, String> {
        match operations::named(operation).map(|operation| operation.reply) {
            Ok(ReplyKind::Created { header, collection }) => created_id(&self.0, order_id, header, collection),
            _ => Err("it makes nothing".into()),
        }
    }

    /// The captures with this reference and amount that it lists, and how often that is.
    pub fn list(&self, reference: &str, captured_amount: i64) -> Result<(Found, Vec<String>), String> {
        let identity = Identity { reference: reference.to_owned(), amount: captured_amount };
        let ReplyKind::Matches(search) = RECONCILE.reply else { return Err("no query".into()) };
        if self.0.status != 200 {
            return Err("no list".into());
        }
        let finds = find::in_list(&self.0.body, &identity, search, None, |_| true)?;
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

/// A call without a transport.
pub struct Call {
    settlement: Settlement,
    endpoint: Arc<Endpoint>,
}

/// The knowledge that a second account of the rules has of an operation beside its name.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub name: &'static str,
    pub method: &'static str,
    /// Whether it may change something.
    pub writes: bool,
    /// The setting `reconcile` looks for it.
    pub has_look: bool,
}

/// Every operation of the table that is one request.
pub fn operations() -> impl ExactSizeIterator<Item = Facts> {
    let alone = OPERATIONS.iter().filter(|operation| !matches!(operation.effect, Effect::Follows(_)));
    let alone: Vec<Facts> = alone
        .map(|operation| Facts {
            name: operation.name,
            method: operation.method.as_str(),
            writes: operation.effect == Effect::Writes,
            has_look: !matches!(operation.found_by, FoundBy::Nothing),
        })
        .collect();
    alone.into_iter()
}

impl Call {
    /// The capture of parcel-1; with its own retry budget, and the jitter of `seed`.
    ///
    /// # Errors
    ///
    /// The settings cannot be used.
    pub fn capture(config: &Config, order_id: &str, idempotency_key: &str, seed: u64) -> Result<Call, Error> {
        let arguments = r#"{"captured_amount":6000,"reference":"parcel-1"}"#;
        Call::of(CAPTURE.name, config, (order_id, arguments), idempotency_key, seed)
    }

    /// A call by its operation's name, with its arguments as JSON text.
    ///
    /// # Errors
    ///
    /// The settings or the arguments cannot be used.
    pub fn of(
        name: &str,
        config: &Config,
        (order_id, arguments): (&str, &str),
        idempotency_key: &str,
        seed: u64,
    ) -> Result<Call, Error> {
        let operation: &'static Operation = operations::named(name)?;
        let (endpoint, limits) = (Arc::new(config.endpoint()?), config.limits()?);
        let reading = Reading { accept_unknown_values: false, check_lines: CheckLines::Off, voice: Voice::Json };
        let Checked { body, identity, parameters, .. } = operations::read_json(operation, arguments, reading)?;
        let own = |name: &str| parameters.iter().find(|(known, _)| *known == name).map(|(_, id)| id.as_str());
        let path = ids::path(order_id, operation.path, own);
        let key = operation.writes().then_some(idempotency_key);
        let request = operation.request(&endpoint, &path, key, body);
        let purpose = Purpose {
            operation,
            order_id: order_id.to_owned(),
            idempotency_key: key.map(str::to_owned),
            parameters,
            identity: identity.map(|(reference, amount)| Identity { reference, amount }),
            warnings: Vec::new(),
        };
        let shared = Shared { endpoint: endpoint.clone(), limits, budget: Arc::new(Budget::new()) };
        let settlement = Settlement::new(Machine::new(purpose, request, shared, seed), config.reconcile);
        Ok(Call { settlement, endpoint })
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
