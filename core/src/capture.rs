//! The capture as an operation of the machine, and its result.

use crate::answer::{Answer, is_id};
use crate::machine::Operation;

/// Klarna captured it: ship.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capture {
    pub(crate) capture_id: String,
    pub(crate) order_id: String,
    pub(crate) idempotency_key: String,
    pub(crate) correlation_id: Option<String>,
    pub(crate) attempts: u32,
    pub(crate) warnings: Vec<String>,
}

impl Capture {
    /// Klarna's name for the capture.
    pub fn capture_id(&self) -> &str {
        &self.capture_id
    }

    /// The order it belongs to.
    pub fn order_id(&self) -> &str {
        &self.order_id
    }

    /// The key the call used, given or made.
    pub fn idempotency_key(&self) -> &str {
        &self.idempotency_key
    }

    /// Klarna's name for the answered request, where it gave one.
    pub fn correlation_id(&self) -> Option<&str> {
        self.correlation_id.as_deref()
    }

    /// How many requests it took, 1 or more.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// What did not add up in the order lines (see
    /// [`Config::check_lines`](crate::Config::check_lines)). It was captured all the same.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

pub(crate) struct CaptureOperation {
    pub order_id: String,
    pub idempotency_key: String,
    pub warnings: Vec<String>,
}

impl Operation for CaptureOperation {
    type Output = Capture;
    const NOUN: &'static str = "capture";
    const DONE: &'static str = "captured";

    fn order_id(&self) -> &str {
        &self.order_id
    }

    fn idempotency_key(&self) -> &str {
        &self.idempotency_key
    }

    fn read(&self, answer: &Answer, attempts: u32) -> Result<Capture, String> {
        Ok(Capture {
            capture_id: capture_id(answer, &self.order_id)?,
            order_id: self.order_id.clone(),
            idempotency_key: self.idempotency_key.clone(),
            correlation_id: answer.correlation_id().map(str::to_owned),
            attempts,
            warnings: self.warnings.clone(),
        })
    }

    fn settles(&self, status: u16, error_code: Option<&str>) -> bool {
        // Without Klarna's own code it may be a gateway speaking, 401 comes from one too, and
        // a 403 speaks of the state of the order, which the lost attempt may have changed:
        // CAPTURE_NOT_ALLOWED is what a second capture of the same money gets.
        error_code.is_some() && !matches!(status, 401 | 403 | 407)
    }
}

/// The id of the capture, from `Capture-Id` or the end of `Location`. What does not fit
/// together is not an answer to this call: a kept-alive connection may hold somebody else's.
fn capture_id(answer: &Answer, order_id: &str) -> Result<String, String> {
    let mut found: Option<&str> = None;
    let mut agree = |id| match found {
        None => {
            found = Some(id);
            true
        }
        Some(other) => other == id,
    };
    for value in answer.all("capture-id") {
        match value {
            Some(id) if !is_id(id) => return Err("with a Capture-Id that cannot be one".into()),
            Some(id) if agree(id) => {}
            None => return Err("with a Capture-Id that cannot be one".into()),
            Some(_) => return Err("with two Capture-Ids".into()),
        }
    }
    for value in answer.all("location") {
        let Some(location) = value else { return Err("with a Location that is not ASCII".into()) };
        let location = location.split(['?', '#']).next().unwrap_or_default();
        let segments: Vec<&str> = location.split('/').collect();
        // the last ones count: a path prefix may hold the same words
        if let Some(orders) = segments.iter().rposition(|segment| *segment == "orders") {
            let named = segments.get(orders + 1).copied().unwrap_or_default();
            if !is_same_order(named, order_id) {
                return Err("with a Location of another order".into());
            }
        }
        if let [.., "captures", id] = segments[..]
            && is_id(id)
            && !agree(id)
        {
            return Err("with a Location at odds with another id".into());
        }
    }
    found.map(str::to_owned).ok_or_else(|| "without a capture id".into())
}

fn is_same_order(segment: &str, order_id: &str) -> bool {
    let ours = crate::wire::order_path(order_id);
    let ours = ours.rsplit('/').next().unwrap_or_default();
    segment.eq_ignore_ascii_case(ours) || segment.eq_ignore_ascii_case(order_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(headers: &[(&str, &str)]) -> Option<String> {
        let headers = headers.iter().map(|(n, v)| (n.to_string(), v.as_bytes().to_vec())).collect();
        capture_id(&Answer { status: 201, headers, body: Vec::new() }, "order 1").ok()
    }

    #[test]
    fn ids_that_are_believed() {
        for headers in [
            &[("Capture-Id", "c1")][..],
            &[("capture-id", " c1 ")],
            &[("CAPTURE-ID", "c1"), ("Capture-ID", "c1")],
            &[("Location", "https://api.klarna.com/ordermanagement/v1/orders/order%201/captures/c1")],
            &[("location", "http://klarna/orders/order%201/captures/c1")],
            &[("Location", "/orders/x/orders/order%201/captures/c1?a=/orders/y#z")],
            &[("Location", "/captures/c1")],
            &[("Capture-Id", "c1"), ("Location", "/orders/order%201/captures/c1")],
            &[("Capture-Id", "c1"), ("Location", "/")],
            &[("Capture-Id", "c1"), ("Location", "")],
        ] {
            assert_eq!(id(headers).as_deref(), Some("c1"), "{headers:?}");
        }
    }

    #[test]
    fn ids_that_are_not() {
        let long = "c".repeat(256);
        for headers in [
            &[][..],
            &[("Capture-Id", "")],
            &[("Capture-Id", "a/b")],
            &[("Capture-Id", "a b")],
            &[("Capture-Id", "a\u{7f}")],
            &[("Capture-Id", "ö")],
            &[("Capture-Id", &long)],
            &[("Capture-Id", "c1"), ("Capture-Id", "c2")],
            &[("Capture-Id", "c1"), ("Capture-Id", "")],
            &[("Location", "/orders/order%201/captures/")],
            &[("Location", "/orders/order%201/captures")],
            &[("Location", "/orders/order%201")],
            &[("Location", "/login")],
            &[("Location", "/orders/other/captures/c1")],
            &[("Capture-Id", "c1"), ("Location", "/orders/other/captures/c1")],
            &[("Capture-Id", "c1"), ("Location", "/orders/order%201/captures/c2")],
        ] {
            assert_eq!(id(headers), None, "{headers:?}");
        }
    }

    #[test]
    fn only_klarna_speaking_of_this_request_settles_a_lost_answer() {
        let operation = CaptureOperation { order_id: "o".into(), idempotency_key: "k".into(), warnings: Vec::new() };
        assert!(operation.settles(404, Some("NO_SUCH_ORDER")));
        assert!(operation.settles(422, Some("UNPROCESSABLE_ENTITY")));
        assert!(!operation.settles(404, None), "a gateway page");
        assert!(!operation.settles(401, Some("UNAUTHORIZED")));
        assert!(!operation.settles(403, Some("CAPTURE_NOT_ALLOWED")));
        assert!(!operation.settles(403, Some("NOT_ALLOWED")));
    }
}
