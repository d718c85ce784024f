//! The faults a test can order, as the library and the control endpoint spell them.

use crate::klarna::RefundMember;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Map, Value};
use std::time::Duration;

/// Whether something happens before the sandbox commits the call or after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// The call does not stand in the ledger yet.
    #[default]
    BeforeCommit,
    /// The call stands in the ledger.
    AfterCommit,
}

/// The end of the connection once a [`Raw`] answer is out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// An orderly end.
    #[default]
    Close,
    /// A TCP reset.
    Reset,
    /// Open for the next request.
    Keep,
    /// Open and silent until the client leaves.
    Stall,
}

/// A way in which one request goes wrong.
///
/// In JSON the variant is the member `"fault"` in snake case, the fields stand beside it:
/// `{"fault": "delay", "seconds": 2, "when": "after_commit"}`. Unknown faults and fields are errors.
///
/// "Commit" means that the request is handled as if nothing were wrong. A request that Klarna would refuse
/// commits nothing under any fault; a repeated idempotency key commits nothing a second time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case", deny_unknown_fields, remote = "Self")]
pub enum Fault {
    /// Commits, then closes without a byte.
    LostAnswer,
    /// Reads the request, then resets the connection; nothing is committed.
    ResetBeforeCommit,
    /// Commits, then resets the connection without a byte.
    ResetAfterCommit,
    /// Reads the request, then closes; nothing is committed.
    CloseBeforeCommit,
    /// Commits, sends a part of the answer, then resets.
    ResetMidAnswer {
        /// How many bytes of the answer go out; half of its head when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after_bytes: Option<usize>,
    },
    /// Commits, sends a part of the answer, then closes.
    CloseMidAnswer {
        /// How many bytes of the answer go out; half of its head when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after_bytes: Option<usize>,
    },
    /// Sends a complete head that promises more body than follows, then closes.
    CutBody {
        /// The status. Absent or 2xx: the normal answer under this status, `Capture-Id` included. Otherwise an
        /// error answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// Absent: after the commit if `status` is absent or 2xx, before it otherwise.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        when: Option<When>,
    },
    /// Waits, then answers as usual. The client leaving does not stop the commit.
    Delay {
        /// How long, in seconds, at most a day.
        seconds: f64,
        /// On which side of the commit. A key waiting before its commit is in flight: another request with it
        /// gets 409.
        #[serde(default)]
        when: When,
    },
    /// Never answers: silent until the client leaves or the seconds pass, then closes.
    Stall {
        /// The longest silence, in seconds; without end when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seconds: Option<f64>,
        /// On which side of the commit. Before it, nothing is ever committed and the key stays free.
        #[serde(default)]
        when: When,
    },
    /// 429 `TOO_MANY_REQUESTS`; nothing is committed.
    TooManyRequests {
        /// Value of `Retry-After`, sent as it stands; no such header when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<String>,
        /// Value of `X-Ratelimit-Reset`, sent as it stands; no such header when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ratelimit_reset: Option<String>,
    },
    /// A canned answer with any status.
    Status(Status),
    /// Commits, then answers 201 without `Capture-Id` (of a refund: `Refund-Id`) and `Location`. A call that makes
    /// neither gets its usual answer.
    CreatedWithoutId,
    /// Commits, then answers 201 with other headers than usual. A refused request, and a call that makes neither capture
    /// nor refund, gets its usual answer.
    Created(Created),
    /// Bytes instead of an answer.
    Raw(Raw),
    /// The usual answer with more bytes behind it, on a connection that stays open.
    Leftover {
        /// The bytes, with the substitutions of [`Raw::text`].
        text: String,
    },
    /// The usual answer, after which the connection is closed unannounced.
    CloseIdle,
    /// A read shows the order as it was; it waits for a read. Without fields: as before the last request.
    LaggingRead {
        /// So many seconds ago.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seconds: Option<f64>,
        /// Before the order's last so many requests.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        requests: Option<u64>,
    },
    /// Closes without a byte; the request is carried out later, as if it had come then. Without fields: after the order's
    /// next request.
    CommitLate {
        /// So many seconds later, by the sandbox's clock.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seconds: Option<f64>,
        /// After the order's next so many requests.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        requests: Option<u64>,
    },
    /// Commits, and answers an HTML page with 200 in place of 204. Any other answer stays.
    #[serde(rename = "no_content_as_200")]
    NoContentAs200,
    /// A read shows refunds without one of their members, as those of old orders; it waits for a read.
    RefundsWithout {
        /// The member that is not there.
        member: RefundMember,
    },
}

/// The canned answer of [`Fault::Status`].
///
/// `{base}`, `{order_id}` (percent-encoded) and `{capture_id}` (made up if there is none) are
/// substituted in `body` and in header values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// 100 to 999.
    pub status: u16,
    /// Whether the request is committed first.
    #[serde(default)]
    pub when: When,
    /// `error_code` of the JSON body; a fitting one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// `error_messages` of the JSON body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_messages: Option<Vec<String>>,
    /// An HTML page, as a gateway sends it, instead of JSON.
    #[serde(default)]
    pub html: bool,
    /// More headers. `Content-Type`, `Content-Length` and `Connection` replace the sandbox's own.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The body as it goes out. When absent: the error object, for 4xx and 5xx only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

impl Default for Status {
    /// A 500 before the commit.
    fn default() -> Self {
        Self {
            status: 500,
            when: When::BeforeCommit,
            error_code: None,
            error_messages: None,
            html: false,
            headers: Vec::new(),
            body: None,
        }
    }
}

pub(crate) const USUAL_LOCATION: &str = "{base}/ordermanagement/v1/orders/{order_id}/captures/{capture_id}";

/// The unusual 201 of [`Fault::Created`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Created {
    /// The name under which the capture id is sent; `None` (in JSON: null) leaves the header out. For a refund
    /// `Capture-Id` stands for `Refund-Id`.
    pub capture_id_header: Option<String>,
    /// `Location`, with `{base}`, `{order_id}`, `{capture_id}` and `{refund_id}` substituted; `None` (null) leaves it
    /// out. For a refund the usual one is the refund's.
    pub location: Option<String>,
    /// More headers, with the same substitutions.
    pub headers: Vec<(String, String)>,
}

impl Default for Created {
    /// The usual 201.
    fn default() -> Self {
        Self {
            capture_id_header: Some("Capture-Id".into()),
            location: Some(USUAL_LOCATION.into()),
            headers: Vec::new(),
        }
    }
}

/// The bytes of [`Fault::Raw`]: either `text` or `base64`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Raw {
    /// Whether the request is committed first.
    pub when: When,
    /// The answer, in which `{base}`, `{order_id}` and `{capture_id}` are substituted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The answer in base64, sent without substitution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// The end of the connection afterwards.
    pub then: Then,
    /// Sends byte by byte with this pause, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk_delay_ms: Option<u64>,
}

const DAY: f64 = 86_400.0;

/// Seconds that [`Fault::check`] let through.
pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}

impl Fault {
    /// The fault's name in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::LostAnswer => "lost_answer",
            Self::ResetBeforeCommit => "reset_before_commit",
            Self::ResetAfterCommit => "reset_after_commit",
            Self::CloseBeforeCommit => "close_before_commit",
            Self::ResetMidAnswer { .. } => "reset_mid_answer",
            Self::CloseMidAnswer { .. } => "close_mid_answer",
            Self::CutBody { .. } => "cut_body",
            Self::Delay { .. } => "delay",
            Self::Stall { .. } => "stall",
            Self::TooManyRequests { .. } => "too_many_requests",
            Self::Status(_) => "status",
            Self::CreatedWithoutId => "created_without_id",
            Self::Created(_) => "created",
            Self::Raw(_) => "raw",
            Self::Leftover { .. } => "leftover",
            Self::CloseIdle => "close_idle",
            Self::LaggingRead { .. } => "lagging_read",
            Self::CommitLate { .. } => "commit_late",
            Self::NoContentAs200 => "no_content_as_200",
            Self::RefundsWithout { .. } => "refunds_without",
        }
    }

    /// Checks the rules that the types cannot express: ranges, header text, exclusive fields.
    pub(crate) fn check(&self) -> Result<(), String> {
        let status = |status: u16| {
            if (100..=999).contains(&status) {
                Ok(())
            } else {
                Err(format!("status is {status}; 100 to 999 is possible"))
            }
        };
        let time = |seconds: f64| {
            if (0.0..=DAY).contains(&seconds) {
                Ok(())
            } else {
                Err(format!("seconds is {seconds}; 0 to {DAY} is possible"))
            }
        };
        match self {
            Self::CutBody { status: given, .. } => given.map_or(Ok(()), status),
            Self::Delay { seconds, .. } => time(*seconds),
            Self::LaggingRead { seconds: Some(_), requests: Some(_) }
            | Self::CommitLate { seconds: Some(_), requests: Some(_) } => {
                Err("seconds and requests exclude each other".into())
            }
            Self::LaggingRead { seconds, .. } | Self::CommitLate { seconds, .. } => seconds.map_or(Ok(()), time),
            Self::Stall { seconds, .. } => seconds.map_or(Ok(()), time),
            Self::TooManyRequests { retry_after, ratelimit_reset } => {
                line("retry_after", retry_after.as_deref())?;
                line("ratelimit_reset", ratelimit_reset.as_deref())
            }
            Self::Status(canned) => {
                status(canned.status)?;
                if canned.html && canned.body.is_some() {
                    return Err("html and body exclude each other".into());
                }
                lines(&canned.headers)
            }
            Self::Created(created) => {
                line("capture_id_header", created.capture_id_header.as_deref())?;
                line("location", created.location.as_deref())?;
                lines(&created.headers)
            }
            Self::Raw(raw) => match (&raw.text, &raw.base64) {
                (Some(_), None) => Ok(()),
                (None, Some(base64)) => {
                    STANDARD.decode(base64).map(drop).map_err(|e| format!("base64 does not decode: {e}"))
                }
                _ => Err("raw takes exactly one of text and base64".into()),
            },
            _ => Ok(()),
        }
    }

    fn has_fields(&self) -> bool {
        !matches!(
            self,
            Self::LostAnswer
                | Self::ResetBeforeCommit
                | Self::ResetAfterCommit
                | Self::CloseBeforeCommit
                | Self::CreatedWithoutId
                | Self::CloseIdle
                | Self::NoContentAs200
        )
    }
}

fn line(name: &str, value: Option<&str>) -> Result<(), String> {
    match value {
        Some(text) if text.contains(['\r', '\n', '\0']) => {
            Err(format!("{name} holds a line break or NUL; the fault raw can send such an answer"))
        }
        _ => Ok(()),
    }
}

fn lines(headers: &[(String, String)]) -> Result<(), String> {
    headers.iter().try_for_each(|(name, value)| line("headers", Some(name)).and_then(|()| line("headers", Some(value))))
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = Map::deserialize(deserializer)?;
        // The derived code overlooks members beside a variant without fields.
        let stray = members.keys().find(|name| *name != "fault").cloned();
        let fault = Self::deserialize(Value::Object(members)).map_err(D::Error::custom)?;
        if let (false, Some(stray)) = (fault.has_fields(), stray) {
            let name = fault.name();
            return Err(D::Error::custom(format!("unknown field `{stray}`: {name} takes none")));
        }
        fault.check().map_err(D::Error::custom)?;
        Ok(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::PlannedFault;
    use serde_json::json;

    fn read(value: Value) -> Result<PlannedFault, String> {
        serde_json::from_value(value).map_err(|e| e.to_string())
    }

    #[test]
    fn reads_what_it_writes() {
        for value in [
            json!({"fault": "lost_answer"}),
            json!({"fault": "lost_answer", "request": 3}),
            json!({"fault": "delay", "seconds": 1.5, "when": "after_commit"}),
            json!({"fault": "created", "capture_id_header": null, "location": "/x", "headers": [["A", "b"]]}),
        ] {
            let fault = read(value.clone()).unwrap();
            assert_eq!(serde_json::to_value(fault).unwrap(), value);
        }
    }

    #[test]
    fn a_name_alone_is_a_fault() {
        assert_eq!(read(json!("lost_answer")).unwrap(), Fault::LostAnswer.into());
    }

    #[test]
    fn null_leaves_a_header_out_and_absence_does_not() {
        let Fault::Created(created) = read(json!({"fault": "created", "location": null})).unwrap().fault else {
            panic!("not created");
        };
        assert_eq!(created.location, None);
        assert_eq!(created.capture_id_header.as_deref(), Some("Capture-Id"));
    }

    #[test]
    fn every_name_is_the_one_in_json() {
        for name in [
            "lost_answer",
            "reset_before_commit",
            "reset_after_commit",
            "close_before_commit",
            "reset_mid_answer",
            "close_mid_answer",
            "cut_body",
            "stall",
            "too_many_requests",
            "created_without_id",
            "created",
            "close_idle",
        ] {
            let fault = read(json!({"fault": name})).unwrap().fault;
            assert_eq!(fault.name(), name);
        }
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for (value, says) in [
            (json!({"fault": "lost_anwser"}), "lost_anwser"),
            (json!({"fault": "lost_answer", "seconds": 1}), "seconds"),
            (json!({"fault": "delay", "second": 1}), "second"),
            (json!({"fault": "delay"}), "seconds"),
            (json!({"fault": "delay", "seconds": -1}), "seconds is -1"),
            (json!({"fault": "status", "status": 99}), "status is 99"),
            (json!({"fault": "status", "status": 500, "wehn": 1}), "wehn"),
            (json!({"fault": "raw"}), "exactly one"),
            (json!({"fault": "raw", "text": "", "base64": ""}), "exactly one"),
            (json!({"fault": "raw", "base64": "?"}), "base64"),
            (json!({"fault": "created", "headers": [["A", "b\r\nC: d"]]}), "line break"),
            (json!({"fault": "close_idle", "request": 0}), "from 1"),
            (json!({"seconds": 1}), "fault"),
            (json!("lost_anwser"), "lost_anwser"),
            (json!("delay"), "seconds"),
            (json!(["lost_answer"]), "neither"),
            (json!(1), "neither"),
        ] {
            let error = read(value.clone()).unwrap_err();
            assert!(error.contains(says), "{value}: {error}");
        }
    }
}
