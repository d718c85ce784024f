//! The audit: whether money moved as it was asked, once. Judged by the ledger alone, and not by the rules that let its
//! entries in.

use super::{Entry, Klarna, Operation};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Something that should not have happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The order it happened to.
    pub order_id: String,
    /// Its kind.
    pub problem: Problem,
    /// A sentence for people.
    pub message: String,
    /// [`Received::number`](crate::Received::number) of the requests that did it.
    pub request_numbers: Vec<u64>,
}

/// A kind of [`Finding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// The captures of an order are more than its amount.
    CapturedTooMuch,
    /// The refunds of an order are more than its captures.
    RefundedTooMuch,
    /// Two captures have the same reference and amount, or the same key.
    CapturedTwice,
    /// Two refunds have the same reference and amount, or the same key.
    RefundedTwice,
    /// The customer sees the same tracking twice.
    TrackingTwice,
    /// The due date of a capture was moved twice by as many days.
    FeeTwice,
    /// The customer got the mail of a capture twice.
    MailTwice,
    /// A request was answered with the success of another, since both had the same key. It did nothing.
    KeyOfAnotherCall,
}

/// The words for entries of which an order has no two alike.
struct Doubled {
    problem: Problem,
    noun: &'static str,
}

fn doubled(kind: Operation) -> Option<Doubled> {
    let (problem, noun) = match kind {
        Operation::Capture => (Problem::CapturedTwice, "capture"),
        Operation::Refund => (Problem::RefundedTwice, "refund"),
        Operation::ExtendDueDate => (Problem::FeeTwice, "move of a due date"),
        Operation::TriggerSendOut => (Problem::MailTwice, "mail"),
        _ => return None,
    };
    Some(Doubled { problem, noun })
}

/// Whether two entries of one order and kind are the same act, done twice.
fn alike(one: &Entry, other: &Entry) -> bool {
    if one.idempotency_key.is_some() && one.idempotency_key == other.idempotency_key {
        return true;
    }
    match one.kind {
        // Without a reference nobody can tell two equal parcels from one that was captured twice.
        Operation::Capture | Operation::Refund => {
            one.reference.as_ref().is_some_and(|reference| !reference.is_empty())
                && (&one.reference, one.captured_amount, one.amount)
                    == (&other.reference, other.captured_amount, other.amount)
        }
        _ => (&one.capture_id, one.number_of_days) == (&other.capture_id, other.number_of_days),
    }
}

/// Whether two entries of shipping info name the same parcel.
fn same_parcel(one: &Value, other: &Value) -> bool {
    let members = ["shipping_company", "tracking_number", "return_shipping_company", "return_tracking_number"];
    one == other
        || (one["tracking_number"].is_string() && members.iter().all(|member| one.get(*member) == other.get(*member)))
}

/// Findings about one order.
fn judge(order_id: &str, order_amount: Option<i64>, entries: &[&Entry]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |problem: Problem, message: String, entries: &[&Entry]| {
        let request_numbers = entries.iter().map(|entry| entry.request_number).collect();
        findings.push(Finding { order_id: order_id.into(), problem, message, request_numbers });
    };
    let of = |kind: Operation| entries.iter().copied().filter(move |entry| entry.kind == kind).collect::<Vec<_>>();
    let (captures, refunds) = (of(Operation::Capture), of(Operation::Refund));
    let captured: i64 = captures.iter().map(|entry| entry.captured_amount).sum();
    let refunded: i64 = refunds.iter().filter_map(|entry| entry.amount).sum();
    if let Some(amount) = order_amount.filter(|amount| captured > *amount) {
        find(Problem::CapturedTooMuch, format!("captured {captured} of an order over {amount}"), &captures);
    }
    if refunded > captured {
        find(Problem::RefundedTooMuch, format!("refunded {refunded} of captured {captured}"), &refunds);
    }
    for (index, entry) in entries.iter().copied().enumerate() {
        let before = || entries[..index].iter().copied();
        if let Some(Doubled { problem, noun }) = doubled(entry.kind)
            && let Some(first) = before().find(|other| other.kind == entry.kind && alike(other, entry))
        {
            let key = |entry: &Entry| entry.idempotency_key.clone().unwrap_or_else(|| "no key".into());
            let subject = entry.reference.as_deref().unwrap_or(&entry.capture_id);
            let message = format!("the {noun} {subject} was made twice, with {} and {}", key(first), key(entry));
            find(problem, message, &[first, entry]);
        }
        // Tracking of a capture is shown apart from that of the order.
        let repeated = before().filter(|other| other.capture_id == entry.capture_id).find(|other| {
            other.shipping_info.iter().any(|one| entry.shipping_info.iter().any(|two| same_parcel(one, two)))
        });
        if let Some(first) = repeated {
            let message = "the customer sees the same tracking twice".into();
            find(Problem::TrackingTwice, message, &[first, entry]);
        }
    }
    findings
}

impl Klarna {
    /// Judges every order; empty if money moved as it was asked, once.
    pub fn audit(&self) -> Vec<Finding> {
        let mut orders: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
        for entry in &self.ledger {
            orders.entry(&entry.order_id).or_default().push(entry);
        }
        let judged =
            orders.into_iter().flat_map(|(order_id, entries)| judge(order_id, self.order_amount(order_id), &entries));
        let mistaken = self.keys.mistaken.iter().map(|mistaken| Finding {
            order_id: mistaken.order_id.clone(),
            problem: Problem::KeyOfAnotherCall,
            message: format!(
                "{} with the key {} got the answer of another request, and did nothing",
                mistaken.operation.name(),
                mistaken.key
            ),
            request_numbers: mistaken.request_numbers.into(),
        });
        judged.chain(mistaken).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(kind: Operation, key: Option<&str>) -> Entry {
        Entry {
            capture_id: if kind == Operation::Refund { String::new() } else { "c".into() },
            idempotency_key: key.map(String::from),
            request_number: 1,
            ..Entry::new(kind, "o")
        }
    }

    fn capture(id: &str, amount: i64, reference: &str, key: &str) -> Entry {
        Entry {
            capture_id: id.into(),
            captured_amount: amount,
            reference: Some(reference.into()),
            ..entry(Operation::Capture, Some(key))
        }
    }

    fn problems(entries: &[Entry]) -> Vec<Problem> {
        let entries: Vec<&Entry> = entries.iter().collect();
        judge("o", Some(100), &entries).into_iter().map(|finding| finding.problem).collect()
    }

    #[test]
    fn what_was_asked_once_is_in_order() {
        let refund = Entry { amount: Some(60), reference: Some("r".into()), ..entry(Operation::Refund, Some("k3")) };
        let entries = [
            capture("c", 50, "a", "k1"),
            capture("d", 50, "b", "k2"),
            refund,
            Entry { capture_id: "d".into(), ..entry(Operation::TriggerSendOut, None) },
            entry(Operation::TriggerSendOut, None),
            Entry { number_of_days: Some(10), ..entry(Operation::ExtendDueDate, None) },
            Entry { number_of_days: Some(2), ..entry(Operation::ExtendDueDate, None) },
            entry(Operation::Acknowledge, None),
            entry(Operation::Acknowledge, None),
        ];
        assert_eq!(problems(&entries), []);
    }

    #[test]
    fn equal_parcels_without_a_reference_are_not_one() {
        let one = Entry { captured_amount: 5, reference: None, ..capture("c", 5, "", "k1") };
        let two = Entry { idempotency_key: Some("k2".into()), ..one.clone() };
        assert_eq!(problems(&[one, two]), []);
    }

    #[test]
    fn finds_what_was_done_twice() {
        let refund = |amount: i64, key: &str| Entry {
            amount: Some(amount),
            reference: Some("r".into()),
            ..entry(Operation::Refund, Some(key))
        };
        let tracking = |key: &str| Entry {
            shipping_info: vec![json!({"tracking_number": "t", "shipping_company": key.len()})],
            ..entry(Operation::AppendShippingInfo, Some(key))
        };
        let mail = |key: &str| entry(Operation::TriggerSendOut, Some(key));
        let fee = |key: Option<&str>| Entry { number_of_days: Some(10), ..entry(Operation::ExtendDueDate, key) };
        for (entries, problem) in [
            (vec![capture("c", 60, "a", "k1"), capture("d", 60, "b", "k2")], Problem::CapturedTooMuch),
            (vec![capture("c", 50, "a", "k1"), refund(60, "k")], Problem::RefundedTooMuch),
            (vec![capture("c", 5, "a", "k1"), capture("d", 5, "a", "k2")], Problem::CapturedTwice),
            (vec![capture("c", 5, "a", "k1"), capture("d", 6, "b", "k1")], Problem::CapturedTwice),
            (vec![capture("c", 50, "a", "k1"), refund(5, "k2"), refund(5, "k3")], Problem::RefundedTwice),
            (vec![tracking("k1"), tracking("k2")], Problem::TrackingTwice),
            (vec![mail("k1"), mail("k2")], Problem::MailTwice),
            (vec![fee(None), fee(None)], Problem::FeeTwice),
        ] {
            assert_eq!(problems(&entries), [problem]);
        }
    }
}
