//! A shop that makes any calls on two orders, in any order, with any faults: money moves as it was asked, once, and each
//! outcome is true. The sandbox's audit and ledger judge, and not the core.
//!
//! The shop keeps to its part: a name stands for one call, a first use is not claimed twice, and a key of yesterday comes
//! with the time of its first use. The server keeps to its own: a refusal that speaks of the bytes is never made up, and
//! neither is a success.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};
use takings::{Client, Config, Error, Event, Step};
use takings_sandbox::{Entry, NewOrder, Options, PlannedFault, Received, Sandbox};

use super::{Verdict, check};
use crate::case::Call;
use crate::judge::header;
use crate::machine::{exchange, seen, whole};
use crate::run::Run;

/// The calls that change something, and those that read.
const CALLS: [&str; 23] = [
    "capture",
    "refund",
    "cancel",
    "release_remaining_authorization",
    "append_shipping_info",
    "append_order_shipping_info",
    "extend_due_date",
    "trigger_send_out",
    "update_authorization",
    "update_customer_details",
    "update_merchant_references",
    "extend_authorization_time",
    "acknowledge",
    "get_order",
    "get_captures",
    "get_capture",
    "get_refund",
    "get_extend_due_date_options",
    "capture_remaining",
    "refund_remaining",
    "refund_capture",
    "cancel_or_release",
    "extend_if_needed",
];
/// Calls that are made of several.
const HELPERS: usize = 18;
const WRITES: usize = 13;
/// Calls of which a repeat with another key does harm, beside the captures and refunds, which tell themselves apart by
/// their references.
const ONCE: [&str; 4] = ["append_shipping_info", "append_order_shipping_info", "extend_due_date", "trigger_send_out"];
const OF_A_CAPTURE: [&str; 6] = [
    "append_shipping_info",
    "extend_due_date",
    "trigger_send_out",
    "get_capture",
    "get_extend_due_date_options",
    "refund_capture",
];

/// The third order does not exist.
const ORDERS: [&str; 3] = ["f3392f8b-6116-4073-ab96-e330819e2c07", "order two", "nowhere"];
const ORDER_AMOUNT: i64 = 10_000;
const NO_CAPTURE: &str = "4ba29b50-be7b-44f5-a492-113e6a865e22";

/// A call that the shop wants.
#[derive(Clone)]
struct Wish {
    call: &'static str,
    order: usize,
    /// Which of the few names of such calls it has.
    name: usize,
    /// Which of the captures that the shop knows of.
    capture: usize,
    is_keyed: bool,
    says_first: bool,
    /// The attempts, counted from the lowest bit, for which no connection is made.
    unreachable: u8,
    faults: Vec<Value>,
}

/// In a line, since a failure shows many.
impl fmt::Debug for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Wish { call, order, name, capture, is_keyed, says_first, unreachable, faults } = self;
        write!(f, "{call} of order {order}, name {name}, capture {capture}, keyed {is_keyed}, first {says_first}, ")?;
        write!(f, "unreachable {unreachable:b}, faults {}", json!(faults))
    }
}

#[derive(Clone, Debug)]
enum Act {
    Call(Wish),
    /// The second call is made while the first one's n-th request is under way.
    During(Wish, usize, Wish),
    /// The shop's process ends when the n-th request of the call was sent.
    Crash(Wish, usize),
    NewClient(Settings),
    /// A day and an hour pass.
    Day,
}

#[derive(Clone, Debug)]
struct Settings {
    reconcile: bool,
    max_attempts: u32,
}

#[derive(Clone, Debug)]
struct Plan {
    knobs: Value,
    settings: Settings,
    acts: Vec<Act>,
}

/// How the calls reach the sandbox.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Over {
    /// Steps in this process, in virtual time.
    Steps,
    /// An adapter, by sockets. Faults that take time are left out.
    Sockets,
}

fn knobs() -> impl Strategy<Value = Value> {
    let scope = select(vec!["merchant", "order", "operation"]);
    let cancel = select(vec!["refused", "no_content"]);
    let release = select(vec!["keeps_order_amount", "lowers_order_amount"]);
    let capture = select(vec![Value::Null, "NO_SUCH_ORDER".into(), "NO_SUCH_CAPTURE".into()]);
    let most = select(vec![Value::Null, Value::Null, 1.into(), 2.into()]);
    let refunds = select(vec![Value::Null, Value::Null, "id".into(), "reference".into()]);
    (scope, any::<bool>(), cancel, release, any::<bool>(), capture, (most.clone(), most), refunds).prop_map(
        |(scope, store, cancel, release, refuses, capture, (captures, refunds), without)| {
            json!({
                "key_scope": scope, "store_refusals": store, "second_cancel": cancel, "release": release,
                "risk": if refuses { "refuse" } else { "accept" }, "unknown_capture": capture,
                "max_captures": captures, "max_refunds": refunds, "refunds_without": without,
            })
        },
    )
}

/// The faults of one call, for its requests one after the other.
fn faults(call: &'static str, over: Over) -> impl Strategy<Value = Vec<Value>> {
    let status = |status: u16, code: &str| json!({"fault": "status", "status": status, "error_code": code});
    let late = |status: u16| json!({"fault": "status", "status": status, "when": "after_commit"});
    let page = |status: u16| json!({"fault": "status", "status": status, "html": true});
    let (on, state) = match call {
        "capture" | "capture_remaining" => ("capture", "CAPTURE_NOT_ALLOWED"),
        "refund" | "refund_remaining" | "refund_capture" => ("refund", "REFUND_NOT_ALLOWED"),
        "cancel" | "cancel_or_release" => ("cancel", "CANCEL_NOT_ALLOWED"),
        "extend_if_needed" => ("extend_authorization_time", "NOT_ALLOWED"),
        _ => (call, "NOT_ALLOWED"),
    };
    let lost = json!({"fault": "lost_answer"});
    let mut any_of = vec![
        json!({"fault": "reset_before_commit"}),
        json!({"fault": "reset_after_commit"}),
        json!({"fault": "close_before_commit"}),
        json!({"fault": "reset_mid_answer"}),
        json!({"fault": "close_mid_answer", "after_bytes": 20}),
        json!({"fault": "cut_body"}),
        json!({"fault": "cut_body", "status": 500, "when": "after_commit"}),
        json!({"fault": "too_many_requests", "retry_after": "0"}),
        json!({"fault": "created_without_id"}),
        json!({"fault": "created", "capture_id_header": null}),
        json!({"fault": "close_idle"}),
        json!({"fault": "lagging_read"}),
        json!({"fault": "lagging_read", "requests": 4}),
        json!({"fault": "commit_late"}),
        json!({"fault": "commit_late", "requests": 2}),
        json!({"fault": "no_content_as_200"}),
        json!({"fault": "refunds_without", "member": "id"}),
        json!({"fault": "refunds_without", "member": "reference"}),
        json!({"fault": "raw", "text": "nonsense\r\n\r\n", "when": "after_commit"}),
        json!({"fault": "status", "status": 302, "headers": [["Location", "http://127.0.0.1:9/"]]}),
        page(200),
        page(404),
        page(401),
        page(503),
        late(500),
        late(409),
        late(202),
        status(401, "UNAUTHORIZED"),
        status(404, "NOT_FOUND"),
        status(404, "NO_SUCH_CAPTURE"),
        status(400, "SOMETHING_NEW"),
        status(423, "LOCKED"),
        status(500, "INTERNAL_SERVER_ERROR"),
    ];
    if over == Over::Steps {
        any_of.extend([
            json!({"fault": "stall", "when": "after_commit"}),
            json!({"fault": "stall"}),
            json!({"fault": "delay", "seconds": 4, "when": "after_commit"}),
        ]);
    }
    // Another of Klarna's machines may not know the capture yet.
    if OF_A_CAPTURE.contains(&call) && call != "refund_capture" {
        any_of.push(json!({"fault": "status", "status": 404, "error_code": "NO_SUCH_ORDER", "on": call}));
    }
    let refused = json!({"fault": "status", "status": 403, "error_code": state, "on": on});
    let some = vec(prop_oneof![3 => Just(lost.clone()), 7 => select(any_of)], 0..4);
    prop_oneof![3 => Just(Vec::new()), 6 => some, 2 => Just(vec![lost, refused.clone()]), 1 => Just(vec![refused])]
}

fn wish(calls: Vec<&'static str>, over: Over) -> impl Strategy<Value = Wish> {
    let order = prop_oneof![6 => Just(0_usize), 3 => Just(1), 1 => Just(2)];
    let unreachable = prop_oneof![8 => Just(0_u8), u32::from(over == Over::Steps) => 0..8_u8];
    (select(calls), order, 0..3_usize, 0..3_usize, any::<[bool; 2]>(), unreachable).prop_flat_map(
        move |(call, order, name, capture, [is_keyed, says_first], unreachable)| {
            faults(call, over).prop_map(move |faults| {
                let is_keyed = is_keyed || ONCE.contains(&call) || says_first;
                Wish { call, order, name, capture, is_keyed, says_first, unreachable, faults }
            })
        },
    )
}

fn settings() -> impl Strategy<Value = Settings> {
    (any::<bool>(), 1..4_u32).prop_map(|(reconcile, max_attempts)| Settings { reconcile, max_attempts })
}

fn plan(over: Over) -> impl Strategy<Value = Plan> {
    // Few calls in one plan meet each other more often. Most need a capture first.
    let calls = subsequence(&CALLS[1..], 1..4).prop_map(|calls| [vec!["capture"; calls.len()], calls].concat());
    calls.prop_flat_map(move |calls| {
        let one = || wish(calls.clone(), over);
        let steps = u32::from(over == Over::Steps);
        let act = prop_oneof![
            12 => one().prop_map(Act::Call),
            steps => (one(), 0..3_usize, one()).prop_map(|(first, at, second)| Act::During(first, at, second)),
            steps => (one(), 0..3_usize).prop_map(|(wish, at)| Act::Crash(wish, at)),
            2 => settings().prop_map(Act::NewClient),
            1 => Just(Act::Day),
        ];
        (knobs(), settings(), vec(act, 1..14)).prop_map(|(knobs, settings, acts)| Plan { knobs, settings, acts })
    })
}

/// A call as the shop makes it.
struct Made {
    wish: Wish,
    call: Call,
    /// It is the first with its key, and says so; keys that takings makes need it not.
    is_first: bool,
    /// Another call was made meanwhile, or before with the same key.
    is_alone: bool,
    /// The requests before it.
    before: usize,
}

/// The connection to the sandbox: a client in this process, or an adapter.
enum Line<'a> {
    Steps(Option<Client>),
    Sockets(&'a mut Run),
}

struct Shop<'a> {
    sandbox: Rc<Sandbox>,
    line: Line<'a>,
    settings: Settings,
    is_new: bool,
    /// How far the sandbox's clock is ahead.
    ahead: Duration,
    /// Each key with the time of its first use.
    used: HashMap<String, Duration>,
    /// What was wished by name, once each.
    wishes: Vec<Wish>,
    captures: [Vec<String>; 3],
    refunds: [Vec<String>; 3],
    /// Makes references that no other call has.
    serial: usize,
    /// Each key of a call that was said to have done nothing, with the number of the last request until then.
    denied: Vec<(String, u64, Value)>,
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970")
}

impl Shop<'_> {
    fn arguments(&mut self, wish: &Wish) -> (Value, Option<String>) {
        let Wish { call, order, name, .. } = *wish;
        let capture = self.captures[order].get(wish.capture).map_or(NO_CAPTURE, String::as_str);
        let capture = OF_A_CAPTURE.contains(&call).then(|| capture.to_owned());
        self.serial += 1;
        let own = if wish.is_keyed { format!("{name}") } else { format!("own-{}", self.serial) };
        let tracking = |of: &str| json!([{"shipping_company": "DHL", "tracking_number": format!("{of}{name}")}]);
        let mut request = match call {
            // Without a reference nobody finds it again, and nobody takes it for another.
            "capture" if name == 2 => json!({"captured_amount": 3000}),
            "capture" => json!({"captured_amount": ([2500, 6000][name]), "reference": format!("parcel-{own}")}),
            "refund" if name == 2 => json!({"refunded_amount": 700}),
            "refund" => json!({"refunded_amount": ([1000, 2500][name]), "reference": format!("return-{own}")}),
            "append_shipping_info" => json!({"shipping_info": tracking("C")}),
            "append_order_shipping_info" => json!({"shipping_info": tracking("O")}),
            "extend_due_date" => json!({"number_of_days": ([2, 10, 20][name])}),
            "update_authorization" => json!({"order_amount": ([6000, 9000, 12_000][name]), "order_lines": []}),
            "update_customer_details" => {
                json!({"shipping_address": {"city": (["Bremen", "Kiel", ""][name]), "country": (["DE", "Mars", "AT"][name])}})
            }
            "update_merchant_references" => ([
                json!({"merchant_reference1": "A"}),
                json!({"merchant_reference1": ""}),
                json!({"merchant_reference1": "B", "merchant_reference2": "C"}),
            ][name])
                .clone(),
            "get_refund" => json!({"refund_id": self.refunds[order].last().map_or("none", String::as_str)}),
            "capture_remaining" => json!({"reference": format!("rest-{own}")}),
            "refund_remaining" => json!({"reference": format!("back-{own}")}),
            // Each refund has a reference of its own.
            "refund_capture" => {
                let reference = format!("part-{own}-{}", capture.as_deref().unwrap_or_default());
                match name {
                    0 => json!({"reference": reference}),
                    _ => json!({"reference": reference, "refunded_amount": ([0, 1000, 2500][name])}),
                }
            }
            "extend_if_needed" => json!({"within": ([1, 86_400, 30_000_000][name])}),
            _ => json!({}),
        };
        if let Some(capture) = &capture {
            request["capture_id"] = capture.as_str().into();
        }
        // Some are looked for before they are made; without a reference none can be.
        if ["capture", "refund"].contains(&call) && name < 2 && wish.capture == 1 {
            request["look_first"] = true.into();
        }
        // Two mails about one capture are one too many, whatever their names.
        let name = if call == "trigger_send_out" { 0 } else { name };
        let is_write = CALLS[..WRITES].contains(&call);
        let key = (wish.is_keyed && is_write).then(|| {
            let name = format!("name {name}");
            takings::idempotency_key_for(call, ORDERS[order], capture.as_deref(), &name).expect("a key")
        });
        (request, key)
    }

    /// Makes the call ready, as a shop does that keeps the time of each key's first use.
    fn prepared(&mut self, wish: &Wish) -> Made {
        let (mut request, key) = self.arguments(wish);
        let time = now() + self.ahead;
        let mut is_first = key.is_none();
        let is_same = |known: &Wish| {
            (known.call, known.order, known.name, known.capture) == (wish.call, wish.order, wish.name, wish.capture)
        };
        if CALLS[HELPERS..].contains(&wish.call) && wish.is_keyed && !self.wishes.iter().any(is_same) {
            self.wishes.push(wish.clone());
        }
        if let Some(key) = &key {
            match self.used.get(key) {
                Some(first) if time - *first > Duration::from_secs(23 * 3600) => {
                    request["first_used"] = (now().as_secs() - (time - *first).as_secs()).into();
                }
                Some(_) => {}
                None => {
                    is_first = wish.says_first;
                    if is_first {
                        request["first_use"] = true.into();
                    }
                    self.used.insert(key.clone(), time);
                    self.wishes.push(wish.clone());
                }
            }
        }
        let call = Call {
            operation: Some(wish.call.into()),
            order_id: Some(ORDERS[wish.order].into()),
            request: Some(request),
            idempotency_key: key,
            ..Call::default()
        };
        let plan =
            wish.faults.iter().map(|fault| serde_json::from_value::<PlannedFault>(fault.clone()).expect("a fault"));
        plan.for_each(|fault| self.sandbox.fault(ORDERS[wish.order], fault));
        Made { wish: wish.clone(), call, is_first, is_alone: true, before: self.sandbox.requests().len() }
    }

    fn config(&self) -> Map<String, Value> {
        let config = json!({
            "base_url": self.sandbox.url(), "username": "sandbox", "password": "sandbox", "backoff_ms": 1,
            "max_backoff_ms": 2, "attempt_timeout_ms": 3000, "max_attempts": self.settings.max_attempts,
            "reconcile": self.settings.reconcile,
        });
        config.as_object().expect("an object").clone()
    }

    /// Makes a call to its end. `meanwhile` runs when its n-th request is under way; `false` ends the call there.
    fn send(&mut self, made: &Made, mut meanwhile: impl FnMut(&mut Self, usize) -> bool) -> Option<Value> {
        let config = std::mem::take(&mut self.is_new).then(|| self.config());
        let order = made.call.order_id.as_deref().expect("an order");
        if let Line::Sockets(run) = &mut self.line {
            return Some(run.surface.call(config.as_ref(), order, &made.call).expect("an adapter"));
        }
        if let (Line::Steps(client), Some(config)) = (&mut self.line, config) {
            let config = Config::from_json(&Value::from(config).to_string()).expect("settings");
            *client = Some(Client::new(config).expect("a client"));
        }
        let Line::Steps(Some(client)) = &self.line else { unreachable!("the first call makes a client") };
        let client = client.clone();
        let text = made.call.text();
        let begun = client.prepare_call(made.wish.call, order, &text, made.call.idempotency_key.as_deref());
        let told = |error: Error| Some(whole("error", &error.to_json()));
        let mut call = match begun {
            Ok(call) => call,
            Err(error) => return told(error),
        };
        let (mut event, mut requests) = (Event::Start, 0);
        loop {
            event = match call.step(event) {
                Step::Send(_) if requests < 8 && made.wish.unreachable >> requests & 1 == 1 => {
                    requests += 1;
                    Event::NotSent("nobody listens".into())
                }
                Step::Send(timeout) => {
                    let (event, _) = seen(&exchange(&self.sandbox, call.request()), timeout);
                    requests += 1;
                    if !meanwhile(self, requests - 1) {
                        return None;
                    }
                    event
                }
                Step::Wait(_) => Event::Waited,
                Step::Done(Ok(reply)) => return Some(whole("reply", &reply.to_json())),
                Step::Done(Err(error)) => return told(error),
            };
        }
    }

    fn act(&mut self, act: &Act) -> Verdict {
        match act {
            Act::Call(wish) => {
                let made = self.prepared(wish);
                let answer = self.send(&made, |_, _| true).expect("an end");
                self.judge(&made, &answer)
            }
            Act::During(first, at, second) => {
                let mut made = self.prepared(first);
                made.is_alone = false;
                let verdict = Cell::new(Ok(()));
                let answer = self.send(&made, |shop, request| {
                    if request == *at {
                        let mut made = shop.prepared(second);
                        made.is_alone = false;
                        let answer = shop.send(&made, |_, _| true).expect("an end");
                        verdict.set(shop.judge(&made, &answer));
                    }
                    true
                });
                verdict.into_inner()?;
                self.judge(&made, &answer.expect("an end"))
            }
            Act::Crash(wish, at) => {
                let made = self.prepared(wish);
                let answer = self.send(&made, |_, request| request != *at);
                self.is_new = true;
                answer.map_or(Ok(()), |answer| self.judge(&made, &answer))
            }
            Act::NewClient(settings) => {
                (self.settings, self.is_new) = (settings.clone(), true);
                Ok(())
            }
            Act::Day => {
                self.let_all_arrive();
                let day = Duration::from_secs(25 * 3600);
                self.sandbox.advance(day);
                self.ahead += day;
                Ok(())
            }
        }
    }

    /// Lets every request arrive that is still on its way. Klarna keeps a key no longer than a day, and no request
    /// travels for so long.
    fn let_all_arrive(&self) {
        for order in ORDERS {
            self.sandbox.clear_faults(order);
            for _ in 0..3 {
                let target = format!("/ordermanagement/v1/orders/{}", order.replace(' ', "%20"));
                self.sandbox.exchange("GET", &target, Vec::new(), Vec::new());
            }
        }
    }

    /// Compares an answer with what the sandbox has done.
    fn judge(&mut self, made: &Made, answer: &Value) -> Verdict {
        let Wish { call, order, .. } = made.wish;
        let requests = self.sandbox.requests().split_off(made.before);
        let (reads, writes): (Vec<&Received>, Vec<&Received>) =
            requests.iter().partition(|request| request.method == "GET");
        let is_write = CALLS[..WRITES].contains(&call);
        if CALLS[HELPERS..].contains(&call) {
            return self.judge_helper(made, answer, &writes);
        }
        let (kind, fields) = answer.as_object().and_then(|answer| answer.iter().next()).expect("an answer");
        let kind = if kind == "error" { fields["kind"].as_str().expect("a kind") } else { "success" };
        let key = fields["idempotency_key"].as_str();
        prop_assert!(!["invalid_input", "internal"].contains(&kind), "{}", answer);
        if made.is_alone {
            for write in &writes {
                prop_assert!(is_write && key.is_some(), "{} sent {} {}", call, write.method, write.target);
                prop_assert_eq!(header(write, "klarna-idempotency-key"), key, "{}", answer);
            }
        }
        if !is_write {
            let raw = fields["raw"].as_str().and_then(|text| serde_json::from_str(text).ok());
            let document: Value = raw.unwrap_or_default();
            let is_own = call != "get_order" || document["order_id"] == ORDERS[order];
            prop_assert!(kind != "success" || is_own, "{}", answer);
            return Ok(());
        }
        let ledger = self.sandbox.ledger();
        let has_key = |entry: &&Entry| entry.idempotency_key.as_deref() == key;
        let own: Vec<&Entry> = ledger.iter().filter(has_key).collect();
        for entry in &own {
            prop_assert_eq!((entry.kind.name(), &*entry.order_id), (call, ORDERS[order]));
        }
        match kind {
            "success" => {
                for (name, known) in [("capture_id", &mut self.captures), ("refund_id", &mut self.refunds)] {
                    let id = fields[name].as_str().filter(|id| !known[order].iter().any(|known| known == id));
                    known[order].extend(id.map(str::to_owned));
                }
                let id = fields["capture_id"].as_str().or(fields["refund_id"].as_str());
                let made_it = |entry: &&Entry| Some(&*entry.capture_id) == id || entry.refund_id.as_deref() == id;
                let is_done = match call {
                    "capture" | "refund" => own.iter().any(|entry| id.is_none() || made_it(entry)),
                    _ => !own.is_empty() || self.is_as_wished(made, &ledger),
                };
                prop_assert!(is_done, "not in the ledger: {}", answer);
            }
            // It speaks of this call, and not of an earlier one with its key.
            "not_sent" => prop_assert!(!made.is_alone || writes.is_empty(), "{:?} came, though {}", requests, answer),
            "rejected" => {
                // A look that shows the past does not explain the refusal, and decides nothing.
                prop_assert!(own.is_empty(), "{:?} stands in the ledger, though {}", own, answer);
                if let Some(last) = requests.last().filter(|_| reads.is_empty() && made.is_alone) {
                    self.denied.push((key.unwrap_or_default().to_owned(), last.number, answer.clone()));
                }
            }
            _ => {
                let is_known = made.is_first && made.is_alone && made.wish.unreachable == 0;
                let has_fault = requests.iter().any(|request| request.fault.is_some());
                prop_assert!(!is_known || has_fault, "without any fault: {}", answer);
            }
        }
        Ok(())
    }

    /// The same for a call that is made of several.
    fn judge_helper(&mut self, made: &Made, answer: &Value, writes: &[&Received]) -> Verdict {
        let Wish { call, order, .. } = made.wish;
        let (kind, fields) = answer.as_object().and_then(|answer| answer.iter().next()).expect("an answer");
        let kind = if kind == "error" { fields["kind"].as_str().expect("a kind") } else { "success" };
        let key = fields["idempotency_key"].as_str();
        prop_assert!(!["invalid_input", "internal"].contains(&kind), "{}", answer);
        let last = writes.last().and_then(|write| header(write, "klarna-idempotency-key"));
        // The key is that of the request that changed the order.
        let is_told = fields["done"] == "nothing" || last == key;
        prop_assert!(!made.is_alone || last.is_none() || is_told, "{:?} was sent, and told was {}", last, answer);
        let ledger = self.sandbox.ledger();
        let of = |kind: &'static str| {
            ledger.iter().filter(move |entry| entry.kind.name() == kind && entry.order_id == ORDERS[order])
        };
        let what = if call == "capture_remaining" { "capture" } else { "refund" };
        let reference = made.call.request.as_ref().and_then(|request| request["reference"].as_str());
        let own: Vec<&Entry> = of(what)
            .filter(|entry| reference.is_some() && entry.reference.as_deref() == reference)
            .filter(|entry| key.is_none() || entry.idempotency_key.as_deref() == key)
            .collect();
        match kind {
            "success" if reference.is_some() => {
                let id = fields["capture_id"].as_str().or(fields["refund_id"].as_str());
                let is_it = |entry: &&Entry| Some(&*entry.capture_id) == id || entry.refund_id.as_deref() == id;
                prop_assert!(own.iter().any(|entry| id.is_none() || is_it(entry)), "not in the ledger: {}", answer);
                for (name, known) in [("capture_id", &mut self.captures), ("refund_id", &mut self.refunds)] {
                    let id = fields[name].as_str().filter(|id| !known[order].iter().any(|known| known == id));
                    known[order].extend(id.map(str::to_owned));
                }
            }
            "success" if call == "cancel_or_release" => {
                let is_done = match fields["done"].as_str().expect("its end") {
                    "cancelled" => of("cancel").next().is_some(),
                    "released" => of("release_remaining_authorization").next().is_some(),
                    _ => true,
                };
                prop_assert!(is_done, "not in the ledger: {}", answer);
            }
            "success" => {
                let was_made = of("extend_authorization_time").next().is_some();
                prop_assert!(was_made || fields["extended"] == false, "not in the ledger: {}", answer);
            }
            "not_sent" if made.is_alone => {
                prop_assert!(writes.iter().all(|write| !write.committed), "{:?} came, though {}", writes, answer);
            }
            "rejected" => {
                prop_assert!(own.is_empty(), "{:?} stands in the ledger, though {}", own, answer);
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the order is as a call wants it that has no entry of its own.
    fn is_as_wished(&self, made: &Made, ledger: &[Entry]) -> bool {
        let Wish { call, order, name, .. } = made.wish;
        let of = |kind: &'static str| {
            ledger.iter().filter(move |entry| entry.kind.name() == kind && entry.order_id == ORDERS[order])
        };
        let captured: i64 = of("capture").map(|entry| entry.captured_amount).sum();
        let amount = of("update_authorization").next_back().and_then(|entry| entry.amount).unwrap_or(ORDER_AMOUNT);
        let is_released = of("release_remaining_authorization").next().is_some();
        let same = |request: &Received| {
            let sent: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            let wanted = made.call.request.clone().unwrap_or_default();
            let has = |name: &String| sent[name] == wanted[name];
            request.committed
                && request.order_id.as_deref() == Some(ORDERS[order])
                && sent.as_object().is_some_and(|sent| !sent.is_empty() && sent.keys().all(has))
                && wanted["capture_id"].as_str().is_none_or(|id| request.target.contains(id))
        };
        match call {
            "cancel" => of(call).next().is_some(),
            "release_remaining_authorization" => is_released || captured == amount,
            // A reference that was never set is empty.
            "update_merchant_references" if name == 1 => true,
            // A release may lower the amount.
            "update_authorization" if is_released && captured == [6000, 9000, 12_000][name] => true,
            _ => self.sandbox.requests().iter().any(same),
        }
    }

    /// Wishes everything once more, with a client that knows nothing and a server that makes no faults.
    fn finish(&mut self) -> Verdict {
        self.let_all_arrive();
        (self.settings, self.is_new) = (Settings { reconcile: true, max_attempts: 3 }, true);
        for wish in std::mem::take(&mut self.wishes) {
            let made = self.prepared(&Wish { faults: Vec::new(), unreachable: 0, ..wish });
            let answer = self.send(&made, |_, _| true).expect("an end");
            self.judge(&made, &answer)?;
        }
        let ledger = self.sandbox.ledger();
        for (key, last, answer) in &self.denied {
            let late = ledger
                .iter()
                .find(|entry| entry.idempotency_key.as_ref() == Some(key) && entry.request_number <= *last);
            prop_assert!(late.is_none(), "{:?} was done after {}", late, answer);
        }
        let audit = self.sandbox.audit();
        prop_assert!(audit.is_empty(), "{:?}", audit);
        Ok(())
    }
}

fn run(line: Line<'_>, sandbox: Sandbox, plan: &Plan) -> Verdict {
    for order in &ORDERS[..2] {
        let knobs = plan
            .knobs
            .as_object()
            .cloned()
            .map(|knobs| knobs.into_iter().filter(|(_, knob)| !knob.is_null()).collect::<Map<_, _>>());
        let order_id = Some((*order).to_owned());
        let line = |name: &str, amount: i64| json!({"name": name, "quantity": 1, "unit_price": amount, "total_amount": amount});
        let order_lines = Some(json!([line("Tomatoes", 6000), line("Bread", 4000)]));
        sandbox.create_order(NewOrder {
            order_id,
            order_amount: ORDER_AMOUNT,
            order_lines,
            knobs,
            ..NewOrder::default()
        });
    }
    let mut shop = Shop {
        sandbox: Rc::new(sandbox),
        line,
        settings: plan.settings.clone(),
        is_new: true,
        ahead: Duration::ZERO,
        used: HashMap::new(),
        wishes: Vec::new(),
        captures: Default::default(),
        refunds: Default::default(),
        serial: 0,
        denied: Vec::new(),
    };
    plan.acts.iter().try_for_each(|act| shop.act(act))?;
    shop.finish()
}

#[test]
fn machine() {
    check(1500, plan(Over::Steps), |plan| {
        run(Line::Steps(None), Sandbox::without_socket(Options::default()).expect("a sandbox"), &plan)
    });
}

macro_rules! surfaces {
    ($($test:ident = $name:literal),* $(,)?) => {
        $(#[test]
        fn $test() {
            let surface = RefCell::new(Run::new($name));
            check(40, plan(Over::Sockets), |plan| {
                let sandbox = Sandbox::start(Options::default()).expect("a sandbox");
                run(Line::Sockets(&mut surface.borrow_mut()), sandbox, &plan)
            });
        })*
    };
}

surfaces! {
    rust = "rust",
    c = "c",
    cpp = "cpp",
    python = "python",
    lua_5_4 = "lua5.4",
}
