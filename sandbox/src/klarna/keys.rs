//! Idempotency keys: a single store for all writes, and the key alone decides.

use super::time::{DAY, Millis};
use super::{KeyScope, Made, Operation, Refusal};
use crate::http::Answer;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// The time Klarna promises to know a key.
const KEY_LIFE: Millis = DAY;

/// A known key: its owner, its place within the scope, and itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    merchant: String,
    place: String,
    pub text: String,
}

impl Key {
    pub fn new(merchant: String, scope: KeyScope, order_id: &str, operation: Operation, text: &str) -> Self {
        let place = match scope {
            KeyScope::Merchant => String::new(),
            KeyScope::Order => order_id.into(),
            KeyScope::Operation => operation.name().into(),
        };
        Self { merchant, place, text: text.into() }
    }
}

/// The result of a write, without the headers that each answer has of its own.
#[derive(Clone, Debug)]
pub(crate) enum Stored {
    Done { answer: Answer, made: Option<Made> },
    Refused(Refusal),
}

/// The parts of a request that a key should stand for. Klarna does not compare them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub order_id: String,
    pub operation: Operation,
    pub id: String,
    pub body: Vec<u8>,
    pub number: u64,
}

impl Asked {
    fn is(&self, other: &Self) -> bool {
        let json = |body: &[u8]| serde_json::from_slice::<Value>(body).ok();
        let same_body = self.body == other.body
            || json(&self.body).is_some_and(|own| json(&other.body).is_some_and(|other| own == other));
        same_body && (&self.order_id, self.operation, &self.id) == (&other.order_id, other.operation, &other.id)
    }
}

/// A request that was answered with the success of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistaken {
    pub order_id: String,
    pub operation: Operation,
    pub key: String,
    pub request_numbers: [u64; 2],
}

struct Known {
    stored: Stored,
    asked: Asked,
    until: Millis,
}

/// The state of an idempotency key.
pub(crate) enum KeyState {
    /// Never seen, or forgotten; now it is in flight and must be released.
    Reserved,
    /// Another request with the key is under way.
    InFlight,
    /// The key had this result.
    Known(Stored),
}

#[derive(Default)]
pub(crate) struct Keys {
    known: HashMap<Key, Known>,
    in_flight: HashSet<Key>,
    pub mistaken: Vec<Mistaken>,
}

impl Keys {
    /// Looks a key up and, if it is free, takes it.
    pub fn reserve(&mut self, key: &Key, asked: &Asked, now: Millis) -> KeyState {
        // Only this key is checked for its age. A scan of all keys would take longer with every capture.
        if let Some(known) = self.known.get(key).filter(|known| now < known.until) {
            if matches!(known.stored, Stored::Done { .. }) && !known.asked.is(asked) {
                self.mistaken.push(Mistaken {
                    order_id: asked.order_id.clone(),
                    operation: asked.operation,
                    key: key.text.clone(),
                    request_numbers: [known.asked.number, asked.number],
                });
            }
            KeyState::Known(known.stored.clone())
        } else if self.in_flight.insert(key.clone()) {
            KeyState::Reserved
        } else {
            KeyState::InFlight
        }
    }

    pub fn release(&mut self, key: &Key) {
        self.in_flight.remove(key);
    }

    pub fn store(&mut self, key: Key, stored: Stored, asked: Asked, now: Millis) {
        self.known.insert(key, Known { stored, asked, until: now.saturating_add(KEY_LIFE) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(body: &[u8]) -> Asked {
        let (order_id, id, body) = ("o".into(), String::new(), body.to_vec());
        Asked { order_id, operation: Operation::Capture, id, body, number: 1 }
    }

    fn key(merchant: &str, scope: KeyScope, order: &str, operation: Operation) -> Key {
        Key::new(merchant.into(), scope, order, operation, "k")
    }

    #[test]
    fn a_key_is_free_then_in_flight_then_known_then_forgotten() {
        let mut keys = Keys::default();
        let one = key("m", KeyScope::Merchant, "o", Operation::Capture);
        assert!(matches!(keys.reserve(&one, &asked(b""), 0), KeyState::Reserved));
        assert!(matches!(keys.reserve(&one, &asked(b""), 0), KeyState::InFlight));
        let other = key("n", KeyScope::Merchant, "o", Operation::Capture);
        assert!(matches!(keys.reserve(&other, &asked(b""), 0), KeyState::Reserved));
        keys.store(one.clone(), Stored::Done { answer: Answer::new(204), made: None }, asked(b""), 0);
        keys.release(&one);
        assert!(matches!(keys.reserve(&one, &asked(b""), KEY_LIFE - 1), KeyState::Known(_)));
        assert!(keys.mistaken.is_empty());
        let other_body = asked(br#"{"a": 1, "b": 2}"#);
        assert!(other_body.is(&asked(br#"{"b":2,"a":1}"#)) && !other_body.is(&asked(br#"{"a":1}"#)));
        assert!(matches!(keys.reserve(&one, &asked(b"x"), KEY_LIFE - 1), KeyState::Known(_)));
        assert_eq!(keys.mistaken.len(), 1, "the answer was that of another request");
        assert!(matches!(keys.reserve(&one, &asked(b""), KEY_LIFE), KeyState::Reserved));
    }

    #[test]
    fn a_scope_says_who_shares_a_key() {
        for (scope, order, operation, shared) in [
            (KeyScope::Merchant, "p", Operation::Refund, true),
            (KeyScope::Order, "o", Operation::Refund, true),
            (KeyScope::Order, "p", Operation::Capture, false),
            (KeyScope::Operation, "p", Operation::Capture, true),
            (KeyScope::Operation, "o", Operation::Refund, false),
        ] {
            let same = key("m", scope, "o", Operation::Capture) == key("m", scope, order, operation);
            assert_eq!(same, shared, "{scope:?} {order} {operation:?}");
        }
    }
}
