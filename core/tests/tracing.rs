//! The events of the feature `tracing`.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use takings::{CaptureRequest, Client, Config, Credentials, ErrorKind};
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Level, Metadata, Subscriber};

/// Notes each event as one line.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<(Level, String)>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push_str(&format!("{}={value:?} ", field.name()));
    }
}

impl Notes {
    fn take(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push((*event.metadata().level(), line.0));
    }
}

/// A program's own subscriber, which calls a function for each event.
struct Hearing<F>(F);

impl<F: Fn(&Event<'_>) + Send + Sync + 'static> Subscriber for Hearing<F> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("takings")
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        (self.0)(event);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[test]
fn each_retry_and_each_outcome_is_told() {
    let notes = Notes::default();
    let heard = notes.clone();
    tracing::subscriber::with_default(Hearing(move |event: &Event<'_>| heard.take(event)), || {
        let mut config = Config::at("http://127.0.0.1:1", Credentials::basic("user", "a-long-password"));
        config.max_attempts = 2;
        config.backoff = Duration::from_millis(1);
        let client = Client::new(config).unwrap();
        client.capture("an-order", &CaptureRequest::new(6000), Some("a-key")).unwrap_err();
        client.capture("an-order", &CaptureRequest::new(0), Some("another-key")).unwrap_err();
    });
    let lines = notes.0.lock().unwrap();
    let [(Level::WARN, retry), (Level::INFO, end), (Level::INFO, refused)] = &lines[..] else { panic!("{lines:?}") };
    for part in ["order_id=an-order", "idempotency_key=\"a-key\"", "attempt=1", "outcome=\"not_sent: no connection"] {
        assert!(retry.contains(part), "{part}: {retry}");
    }
    for part in ["order_id=an-order", "idempotency_key=\"a-key\"", "attempts=2", "outcome=\"not_sent\""] {
        assert!(end.contains(part), "{part}: {end}");
    }
    assert!(refused.contains("outcome=\"invalid_input\"") && refused.contains("another-key"), "{refused}");
    assert!(lines.iter().all(|(_, line)| !line.contains("password")));
}

#[test]
fn a_subscriber_that_panics_takes_no_outcome_with_it() {
    tracing::subscriber::with_default(Hearing(|_: &Event<'_>| panic!("a bug of the program's")), || {
        let mut config = Config::at("http://127.0.0.1:1", Credentials::basic("user", "a-long-password"));
        config.max_attempts = 2;
        config.backoff = Duration::from_millis(1);
        let client = Client::new(config).unwrap();
        let error = client.capture("an-order", &CaptureRequest::new(6000), Some("a-key")).unwrap_err();
        assert_eq!((error.kind(), error.attempts()), (ErrorKind::NotSent, 2), "{error}");
        let error = client.capture("an-order", &CaptureRequest::new(0), Some("another-key")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    });
}
