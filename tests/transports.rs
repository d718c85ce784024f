//! The same cases over HTTP clients that are not ours: the conformance kit for a transport.
//!
//! A host may send by itself (`takings::Call`). Its HTTP client decides whether "not sent" is
//! true, whether a late answer is taken for the next call's, whether a redirect gets the
//! credential. So each transport runs the cases in which that matters. Against the sandbox every
//! outcome must be the case's own; a transport that cannot recognise "not sent" may end as unknown.
//! Against a hostile server HTTP clients differ in what they accept. There every outcome has to be
//! true.
//!
//! `ADAPTER="program argument" cargo test --test conformance transports::host` runs them
//! over an adapter of your own, which reads and answers JSON lines as `README.md` says.

use serde_json::{Map, Value};

use crate::case::{Case, Outcome};
use crate::judge::{contains, shape};
use crate::run::Run;

/// Cases that do not depend on the transport: input, settings, and decisions about answers that every HTTP client reads
/// alike.
const OF_NO_CONCERN: [&str; 21] = [
    "any-operation/again-",
    "any-operation/config-",
    "any-operation/input-",
    "any-operation/key-",
    "capture/config-",
    "capture/input-",
    "capture/lines-",
    "capture/reconcile-reference-",
    "hostile/after-unclear-",
    "hostile/env-",
    "hostile/error-body-",
    "hostile/limit-",
    "hostile/limits-",
    "hostile/ratelimit-",
    "hostile/refused-4xx",
    "hostile/retry-after-",
    "hostile/unclear-5xx",
    // Some clients are older than the rule against it, and still go by the certificate's own name.
    "hostile/tls-nameless",
    // A client may unfold a line (RFC 9112, 5.2), and then there is a refusal.
    "hostile/answer-nonsense-refusal: folded",
    // A client may take this for a number of three digits: nothing shows that it was not.
    "hostile/answer-protocol: status 0404",
    "hostile/answer-protocol-always: status 0404",
];

pub fn concerns(name: &str, case: &Case) -> bool {
    let is_listed = OF_NO_CONCERN.iter().any(|beginning| name.starts_with(beginning));
    !case.has_own_process() && case.surfaces.is_none() && !is_listed
}

/// `loosely`: against a hostile server.
pub fn judge(outcome: &Outcome, answer: &Value, loosely: bool) -> Vec<String> {
    let without_message = outcome.without_message();
    let problems = without_message.judge(answer);
    if problems.is_empty() {
        return problems;
    }
    let error = &answer["error"];
    // `outcome_unknown` is never untrue. It is accepted against a hostile server, and in place of `not_sent`. A
    // transport that always ends so would be useless.
    let honest = error["kind"] == "outcome_unknown" && (loosely || without_message.may_be("not_sent"));
    // The ledger shows whether a reported capture is true. Where nothing may be sent (a wrong certificate), a reported
    // capture went to the wrong server.
    let captured = loosely && !answer["capture"].is_null() && !without_message.may_be("not_sent");
    let refused =
        loosely && ["rejected", "not_sent"].iter().any(|kind| error["kind"] == **kind && without_message.may_be(kind));
    if captured {
        Vec::new()
    } else if honest || refused {
        shape(error)
    } else {
        problems
    }
}

/// Compares the reported outcomes with the ledger.
pub fn judge_ledger(ledger: &[Value], answers: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    let of_key = |key: &Value| ledger.iter().filter(|entry| entry["idempotency_key"] == *key).collect::<Vec<_>>();
    for entry in ledger {
        if of_key(&entry["idempotency_key"]).len() != 1 {
            problems.push(format!("captured more than once: {entry}"));
        }
    }
    for answer in answers {
        if let Some(capture) = answer.get("capture") {
            let entry = of_key(&capture["idempotency_key"]);
            if entry.first().is_some_and(|entry| entry["capture_id"] != capture["capture_id"]) {
                problems.push(format!("told {capture}, the ledger is {entry:?}"));
            }
        }
    }
    for answer in answers {
        let error = &answer["error"];
        let key = &error["idempotency_key"];
        let certain = error["kind"] == "rejected" || error["kind"] == "not_sent";
        if certain && !of_key(key).is_empty() {
            problems.push(format!("told {error}, and it was captured"));
        }
    }
    problems
}

impl Outcome {
    /// The words are those of the HTTP client.
    fn without_message(&self) -> Outcome {
        match self {
            Outcome::Error(fields) => {
                let fields: Map<String, Value> =
                    fields.iter().filter(|(name, _)| *name != "message").map(|(k, v)| (k.clone(), v.clone())).collect();
                Outcome::Error(fields)
            }
            Outcome::OneOf(outcomes) => Outcome::OneOf(outcomes.iter().map(Outcome::without_message).collect()),
            other => other.clone(),
        }
    }

    fn may_be(&self, kind: &str) -> bool {
        match self {
            Outcome::Error(fields) => {
                contains(&Value::from(fields.clone()), &Map::from_iter([("kind".into(), kind.into())]))
            }
            Outcome::OneOf(outcomes) => outcomes.iter().any(|outcome| outcome.may_be(kind)),
            Outcome::Capture(_) | Outcome::Reconciliation(_) | Outcome::Reply(_) => false,
            Outcome::Check(_) | Outcome::Intent(_) => false,
        }
    }
}

/// A host that sends with an HTTP client of its own: Rust with `reqwest`, or the adapter that ADAPTER names.
#[test]
fn host() {
    Run::over("host").cases();
}

/// The Lua module inside nginx, over its cosockets.
#[test]
fn nginx() {
    Run::over("nginx").cases();
}

/// The C ABI, with the sending code of `examples/hosts/libcurl`.
#[test]
fn curl() {
    Run::over("curl").cases();
}

/// Python over HTTP clients of its programs, and its client for asyncio.
#[test]
fn httpx() {
    Run::over("httpx").cases();
}

#[test]
fn httpx_async() {
    Run::over("httpx-async").cases();
}

#[test]
fn requests() {
    Run::over("requests").cases();
}
