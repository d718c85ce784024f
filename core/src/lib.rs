//! Captures Klarna orders from inside your own program. Call it as often as you like: the
//! money moves once, and what you are told about it is true.
//!
//! ```no_run
//! use takings::{CaptureRequest, Client, Config, Credentials, Region};
//!
//! let config = Config::playground(Region::Eu, Credentials::basic("PK0000_0a1b2c", "secret"));
//! let client = Client::new(config)?;
//!
//! let mut request = CaptureRequest::new(6000); // 60.00 in the order's currency
//! request.reference = Some("parcel-1".into());
//! let key = takings::idempotency_key("f3392f8b-6116-4073-ab96-e330819e2c07", "parcel-1")?;
//! let capture = client.capture("f3392f8b-6116-4073-ab96-e330819e2c07", &request, Some(&key))?;
//! println!("{} captured", capture.capture_id());
//! # Ok::<(), takings::Error>(())
//! ```
//!
//! # Outcomes
//!
//! A call ends in a [`Capture`] or in an [`Error`] whose [`ErrorKind`] says what it means for
//! the money: nothing was sent, Klarna refused it, or it is not known. In the last case call
//! again with the same idempotency key: Klarna answers a known key with the first result.
//!
//! # What it does not do
//!
//! takings installs no panic hook, signal handler, logger or process-wide TLS provider, and prints
//! nothing. From the environment it reads `HTTPS_PROXY` and `NO_PROXY` (see [`Config::proxy`]) and
//! the variables of the platform's trust store (`SSL_CERT_FILE`, `SSL_CERT_DIR`). More is read only
//! when asked for, by [`Config::from_env`] and [`diagnosis`].

#![forbid(unsafe_code)]

mod api;
pub mod binding;
mod calls;
mod client;
mod decide;
mod diagnosis;
mod drive;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
#[allow(missing_docs, missing_debug_implementations)]
pub mod fuzzing;
mod intent;
mod key;
mod minor;
mod record;
mod settings;
mod strict;
mod text;
mod wire;

pub use api::documents::{
    CaptureDetails, Captures, Customer, DueDateOption, DueDateOptions, InitialPaymentMethod, Order, RefundDetails,
    SelectedShippingOption,
};
pub use api::lines::CheckLines;
pub use api::operation::Reply;
pub use api::options::Options;
pub use api::order_requests::{
    Address, AuthorizationRequest, CaptureArguments, CaptureShippingRequest, CustomerDetailsRequest, DueDateRequest,
    MerchantReferencesRequest, OrderArguments, OrderShippingRequest, RefundArguments, RefundRequest,
};
pub use api::planned_requests::RefundCaptureRequest;
pub use api::reply::{Capture, Confirmation, Extension, Found, OrderEnd, Reconciliation, Refund, RefundReconciliation};
pub use api::request::{
    CaptureRequest, Interval, OrderLine, OrderLineType, ProductIdentifiers, ShippingInfo, ShippingMethod, Subscription,
};
pub use api::tree::{Node, Object, Text};
pub use client::Client;
pub use decide::machine::Event;
pub use decide::settle::Step;
pub use diagnosis::diagnosis;
pub use drive::call::Call;
pub use error::{Error, ErrorKind};
pub use intent::{Insert, Intent};
pub use key::{idempotency_key, idempotency_key_for, new_idempotency_key};
pub use minor::minor;
pub use record::Attempt;
pub use settings::config::{Config, Credentials, Environment, Region};
pub use wire::HttpRequest;
pub use wire::answer::Answer;

/// The version of takings, as in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
