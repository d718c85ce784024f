//! An operation: one of Klarna's endpoints in data, and the reply of a call to it.

use std::fmt;
use std::sync::Arc;

use http::Method;
use serde_json::json;

use crate::api::documents::{CaptureDetails, Captures, DueDateOptions, Order, RefundDetails};
use crate::api::reply::{
    Capture, Confirmation, Content, Extension, Face, Facts, Found, OrderEnd, Reconciliation, Refund,
    RefundReconciliation,
};
use crate::api::tree::{DocumentInfo, Object};
use crate::error::{Error, ErrorKind};
use crate::record::{Attempt, Fact, RecordInfo, text_of, to_json};
use crate::strict::schema::ObjectInfo;
use crate::wire::{Endpoint, HttpRequest, Most};

/// An endpoint of Klarna's, with everything in which it differs from the others: a row of `api/operations.rs`.
pub struct Operation {
    /// The name on every surface, such as `capture`.
    pub name: &'static str,
    pub(crate) doc: &'static [&'static str],
    pub(crate) method: Method,
    /// The path below the order. A part in braces stands for an argument of that name.
    pub(crate) path: &'static str,
    /// The arguments of a call, beside the order id and the key.
    pub(crate) arguments: &'static ObjectInfo,
    pub(crate) reply: ReplyKind,
    pub(crate) face: &'static Face,
    pub(crate) effect: Effect,
    /// The refusals that Klarna would have given to a lost attempt as well, since it had the same bytes. After any
    /// other refusal it stays open what the lost attempt did.
    pub(crate) settles: &'static [(u16, &'static str)],
    /// The refusals that speak of the order's state, which an earlier call with the same key may have changed.
    pub(crate) of_state: &'static [(u16, &'static str)],
    /// How to learn from the order whether this operation was carried out.
    pub(crate) found_by: FoundBy,
    /// The word that keeps the derived keys of operations apart.
    pub(crate) key_word: &'static str,
    pub(crate) nouns: Nouns,
}

/// The kinds of replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyKind {
    /// 2xx with the id of what was made, in a header of its own or at the end of `Location`.
    Created {
        /// The header, in lower case.
        header: &'static str,
        /// The segment before the id in `Location`.
        collection: &'static str,
    },
    /// 204 and nothing else.
    Nothing,
    /// 200 with a JSON object.
    Document {
        /// The member with the id of what was asked for, which stands in the path under the same name.
        id: Option<&'static str>,
    },
    /// 200 with a JSON list.
    List,
    /// 200 with a list, in which something is searched for by its reference and its amount.
    Matches(Search),
}

/// A list and the members of its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Search {
    /// The member with the list; none where the document itself is the list.
    pub list: Option<&'static str>,
    /// The member with the id.
    pub id: &'static str,
    /// The member with the amount.
    pub amount: &'static str,
    /// Klarna has left out ids and references of entries (seen in answers of 2017 and 2018).
    pub may_lack_names: bool,
    /// How the document beside the list explains that Klarna refuses a call for the order's state.
    pub explanation: Explanation,
}

/// How an order explains that Klarna refuses a call for the order's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Explanation {
    /// The document shows nothing of it.
    Nothing,
    /// The order has ended, or less remains than the call would capture.
    NotCapturable,
    /// Less of what was captured is left than the call would refund.
    NotRefundable,
}

/// How to learn whether an operation was carried out.
#[derive(Clone, Copy)]
pub enum FoundBy {
    /// No document that can be read shows it.
    Nothing,
    /// Operations that search for the call's reference and amount.
    Reference {
        /// The query for a call that may have been carried out.
        query: &'static Operation,
        /// The same after a refusal for the order's state: its document may explain the refusal.
        explaining: &'static Operation,
    },
    /// A document that Klarna shows, beside the body of the call: whether the call was carried out, if the two decide it.
    State(&'static Operation, fn(&serde_json::Value, &serde_json::Value) -> Option<bool>),
}

/// The effect of a request, and so the meaning of its failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Looks for what another call did: its own failure says nothing about that.
    Looks,
    /// Reads, and ends as its last attempt ended.
    Reads,
    /// May have changed something, even if its answer was lost.
    Writes,
    /// Reads, and then makes the calls that a plan decides.
    Follows(Plan),
}

/// The calls that are made of several: each answer decides the next call, or the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Captures what is left of the order.
    CaptureRemaining,
    /// Refunds what is left of all that was captured.
    RefundRemaining,
    /// Refunds of one capture.
    RefundCapture,
    /// Ends the order, whatever was captured of it.
    CancelOrRelease,
    /// Extends an authorization that ends soon.
    ExtendIfNeeded,
}

impl Effect {
    fn as_str(self) -> &'static str {
        match self {
            Effect::Looks => "looks",
            Effect::Reads => "reads",
            Effect::Writes => "writes",
            Effect::Follows(_) => "follows",
        }
    }
}

/// The words of messages.
#[derive(Clone, Copy, Debug)]
pub struct Nouns {
    /// The call, before "of order …": "the capture".
    pub call: &'static str,
    /// The order afterwards: "captured".
    pub done: &'static str,
    /// Before "could not be read": "the captures".
    pub subject: &'static str,
    /// For an operation that is refused where it is done already: the order as an earlier call may have left it, and how
    /// to see that.
    pub before: Option<&'static str>,
}

impl Operation {
    pub(crate) fn writes(&self) -> bool {
        self.effect == Effect::Writes
    }

    pub(crate) fn request(&self, endpoint: &Endpoint, path: &str, key: Option<&str>, body: Vec<u8>) -> HttpRequest {
        let most = match self.reply {
            ReplyKind::Created { .. } | ReplyKind::Nothing => Most::ERROR,
            ReplyKind::Document { .. } | ReplyKind::List | ReplyKind::Matches(_) => Most::DOCUMENT,
        };
        endpoint.request(&self.method, path, key, body, most)
    }

    pub(crate) fn is_settled_by(&self, status: u16, code: Option<&str>) -> bool {
        self.settles.iter().any(|known| (known.0, Some(known.1)) == (status, code))
    }

    pub(crate) fn is_of_state(&self, status: u16, code: Option<&str>) -> bool {
        self.of_state.iter().any(|known| (known.0, Some(known.1)) == (status, code))
    }

    /// Whether it changes something, and so takes an idempotency key.
    pub fn takes_key(&self) -> bool {
        self.writes()
    }

    /// The name of the method that makes a call without sending it. A capture has the short name.
    pub fn prepare_name(&self) -> String {
        if self.name == "capture" { "prepare".to_owned() } else { format!("prepare_{}", self.name) }
    }

    /// Whether a call has to give arguments beside the order id and the key.
    pub fn needs_arguments(&self) -> bool {
        self.arguments.fields.iter().any(|field| field.required)
    }

    /// The names of its arguments, beside the order id and the key, and whether each has to be given.
    pub fn argument_names(&self) -> impl Iterator<Item = (&'static str, bool)> {
        self.arguments.fields.iter().map(|field| (field.name, field.required))
    }

    /// The argument that stands in the path below the order: `capture_id`. None for an operation on the whole order.
    pub fn id_name(&self) -> Option<&'static str> {
        let (_, part) = self.path.split_once('{')?;
        let (part, _) = part.split_once('}')?;
        self.argument_names().map(|(name, _)| name).find(|name| *name == part)
    }

    /// The fields of its replies.
    pub fn reply_info(&self) -> &'static RecordInfo {
        self.face.info
    }

    pub(crate) fn schema(&self) -> serde_json::Value {
        json!({
            "name": self.name,
            "doc": text_of(self.doc),
            "method": self.method.as_str(),
            "path": self.path,
            "arguments": self.arguments.name,
            "id": self.id_name(),
            "reply": self.face.info.name,
            "effect": self.effect.as_str(),
            "takes_key": self.writes(),
            "looks_first": matches!(self.found_by, FoundBy::Reference { .. }),
            "prepare": self.prepare_name(),
        })
    }
}

impl PartialEq for Operation {
    fn eq(&self, other: &Operation) -> bool {
        self.name == other.name
    }
}

impl Eq for Operation {}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The good end of a call, whatever its operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub(crate) operation: &'static Operation,
    pub(crate) facts: Arc<Facts>,
}

impl Reply {
    /// The name of the operation, such as `capture`.
    pub fn operation(&self) -> &'static str {
        self.operation.name
    }

    /// The order it was for.
    pub fn order_id(&self) -> &str {
        &self.facts.order_id
    }

    /// The key the call used, given or made; none for one that only reads.
    pub fn idempotency_key(&self) -> Option<&str> {
        self.facts.idempotency_key.as_deref()
    }

    /// Klarna's name for the answered request, where it gave one.
    pub fn correlation_id(&self) -> Option<&str> {
        self.facts.correlation_id.as_deref()
    }

    /// How many requests it took.
    pub fn attempts(&self) -> u32 {
        self.facts.attempts
    }

    /// Each request with its time, what came back and the pause after it.
    pub fn attempt_log(&self) -> &[Attempt] {
        &self.facts.attempt_log
    }

    /// Warnings to be read by a person, though the call went well.
    pub fn warnings(&self) -> &[String] {
        &self.facts.warnings
    }

    /// Klarna's id of what a call made, such as a capture.
    pub fn created_id(&self) -> Option<&str> {
        match &self.facts.content {
            Content::Created(id) => Some(id),
            _ => None,
        }
    }

    /// The ids that a query found, with the reference and the amount; none for any other call.
    pub fn found_ids(&self) -> Option<&[String]> {
        match &self.facts.content {
            Content::Matches(finds) => Some(&finds.ids),
            _ => None,
        }
    }

    /// How a log names the end: `captured`, or how often a query found something.
    pub fn outcome(&self) -> &'static str {
        match &self.facts.content {
            Content::Matches(finds) => Found::of(finds).as_str(),
            _ => self.operation.nouns.done,
        }
    }

    /// For bindings: Klarna's document with the declaration of its members, of an operation that answers one.
    #[doc(hidden)]
    pub fn document(&self) -> Option<(&'static DocumentInfo, &Arc<Object>)> {
        match &self.facts.content {
            Content::Document(document) => Some((self.operation.face.document?, &document.root)),
            _ => None,
        }
    }

    /// For bindings: the text of a part of the document.
    #[doc(hidden)]
    pub fn text_of(&self, part: &Object) -> &str {
        self.facts.text_at(part.place)
    }

    /// All fields as a JSON object, under the names that the operation gives them, for a host that takes one text.
    /// Times of its own are whole milliseconds, and their names end in `_ms`; the members of a document are Klarna's.
    pub fn to_json(&self) -> String {
        let mut fields = serde_json::Map::new();
        fields.insert("operation".into(), self.operation().into());
        if let Some((info, root)) = self.document() {
            fields.extend(root.members().map(|(name, node)| (name.to_owned(), json!(node))));
            for list in info.members.iter().filter(|member| member.kind.is_list()) {
                fields.entry(list.name).or_insert_with(|| json!([]));
            }
        }
        fields.extend(to_json(self.info(), self.facts().into_iter()));
        serde_json::Value::Object(fields).to_string()
    }

    /// For bindings: the fields of this kind of reply.
    #[doc(hidden)]
    pub fn info(&self) -> &'static RecordInfo {
        self.operation.face.info
    }

    /// For bindings: the values of the fields, in the order of [`info`](Reply::info).
    #[doc(hidden)]
    pub fn facts(&self) -> Vec<Fact<'_>> {
        (self.operation.face.facts)(&self.facts)
    }
}

fn mistaken(reply: &Reply, name: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("a reply to {} was taken for a {name}", reply.operation.name))
}

/// The typed faces: a call to another operation ends in none of them.
macro_rules! typed {
    ($($Name:ident: $pattern:pat,)*) => { $(
        impl TryFrom<Reply> for $Name {
            type Error = Error;
            fn try_from(reply: Reply) -> Result<$Name, Error> {
                match &reply.facts.content {
                    $pattern if reply.info().name == $Name::INFO.name => Ok($Name(reply.facts)),
                    _ => Err(mistaken(&reply, stringify!($Name))),
                }
            }
        }
    )* };
}

typed! {
    Capture: Content::Created(_),
    Refund: Content::Created(_),
    Reconciliation: Content::Matches(_),
    RefundReconciliation: Content::Matches(_),
    Confirmation: Content::Nothing,
    OrderEnd: Content::Ended(_),
    Extension: Content::Extended { .. },
}

macro_rules! typed_documents {
    ($($Name:ident,)*) => { $(
        impl TryFrom<Reply> for $Name {
            type Error = Error;
            fn try_from(reply: Reply) -> Result<$Name, Error> {
                let read = $Name::of_reply(&reply.facts).filter(|_| reply.info().name == $Name::INFO.name);
                read.ok_or_else(|| mistaken(&reply, stringify!($Name)))
            }
        }
    )* };
}

typed_documents! { Order, Captures, CaptureDetails, RefundDetails, DueDateOptions, }
