//! How a call ends when it goes well: the facts of a reply, and the typed faces over them, each field declared once.

use std::sync::Arc;
use std::time::SystemTime;

use crate::api::tree::{Document, DocumentInfo, Place};
use crate::record::{Attempt, Fact, IntoFact, RecordInfo, record};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub content: Content,
    pub order_id: String,
    pub idempotency_key: Option<String>,
    pub correlation_id: Option<String>,
    pub attempts: u32,
    pub attempt_log: Vec<Attempt>,
    pub warnings: Vec<String>,
    /// When it was answered, by the server's clock, or by this machine's where the server tells none.
    pub answered: Option<SystemTime>,
}

/// The part of a reply that its kind decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Klarna made something, and this is its id.
    Created(String),
    /// Klarna carried it out, and gives no details.
    Nothing,
    /// How an order was ended.
    Ended(&'static str),
    /// When an authorization ends: before the call, and after it where it was extended and could be read.
    Extended { old: String, new: Option<String>, is_extended: bool },
    /// A JSON object or list of Klarna's.
    Document(Document),
    /// The entries that a query found.
    Matches(Matches),
}

/// The ids of the listed entries with a reference, each once, in the list's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Matches {
    /// Those with the amount as well.
    pub ids: Vec<String>,
    /// Those with another amount.
    pub others: Vec<String>,
    /// How many have the amount and no id.
    pub without_id: usize,
    /// The document explains that Klarna refused the call, so an earlier one would be listed or was refused as well.
    pub explains: bool,
}

impl Matches {
    /// How many entries have the reference and the amount.
    pub fn count(&self) -> usize {
        self.ids.len() + self.without_id
    }
}

/// How often a capture was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// `once`: this is the capture.
    Once,
    /// `never`, when Klarna was asked. A capture whose answer was lost a moment ago may still be
    /// on its way: capture again with the same key, not with a new one.
    Never,
    /// `several`: the reference does not tell them apart.
    Several,
    /// `amount_differs`: the reference was found, with another amount alone. A person has to decide.
    AmountDiffers,
}

impl Found {
    pub(crate) fn of(finds: &Matches) -> Found {
        match (finds.count(), finds.others.len()) {
            (0, 0) => Found::Never,
            (0, _) => Found::AmountDiffers,
            (1, _) => Found::Once,
            _ => Found::Several,
        }
    }

    /// The name used on every surface: `once`, `never`, `several` or `amount_differs`.
    pub fn as_str(self) -> &'static str {
        match self {
            Found::Once => "once",
            Found::Never => "never",
            Found::Several => "several",
            Found::AmountDiffers => "amount_differs",
        }
    }
}

impl<'a> IntoFact<'a> for Found {
    const KIND: &'static str = "found";
    fn into_fact(self) -> Fact<'a> {
        Fact::Text(self.as_str())
    }
}

impl Facts {
    fn id(&self) -> &str {
        match &self.content {
            Content::Created(id) => id,
            _ => "",
        }
    }

    fn matches(&self) -> &Matches {
        const NONE: &Matches = &Matches { ids: Vec::new(), others: Vec::new(), without_id: 0, explains: false };
        match &self.content {
            Content::Matches(finds) => finds,
            _ => NONE,
        }
    }

    fn done(&self) -> &'static str {
        match self.content {
            Content::Ended(done) => done,
            _ => "",
        }
    }

    fn extension(&self) -> (&str, Option<&str>, bool) {
        match &self.content {
            Content::Extended { old, new, is_extended } => (old, new.as_deref(), *is_extended),
            _ => ("", None, false),
        }
    }

    fn key(&self) -> &str {
        self.idempotency_key.as_deref().unwrap_or_default()
    }

    /// The text of a document.
    fn raw(&self) -> &str {
        match &self.content {
            Content::Document(document) => &document.text,
            _ => "",
        }
    }

    /// A part of it.
    pub(crate) fn text_at(&self, place: Place) -> &str {
        place.within(self.raw())
    }
}

/// The fields of a reply as its operation names them.
pub struct Face {
    /// The names, types and documentation of the fields.
    pub info: &'static RecordInfo,
    /// The members beside them, of a document.
    pub document: Option<&'static DocumentInfo>,
    pub(crate) facts: for<'a> fn(&'a Facts) -> Vec<Fact<'a>>,
}

/// Declares the typed faces of replies.
macro_rules! faces {
    ($( $(#[doc = $doc:literal])* $Name:ident, $FACE:ident {
        $( $(#[doc = $field_doc:literal])* $field:ident: $T:ty = |$inner:ident| $get:expr; )*
    } )*) => { $(
        record! {
            $(#[doc = $doc])*
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub struct $Name(pub(crate) Arc<Facts>) {
                $( $(#[doc = $field_doc])* $field: $T = |$inner| $get; )*
            }
        }

        /// The fields of that name, for rows of the table.
        pub static $FACE: Face = {
            fn facts(facts: &Facts) -> Vec<Fact<'_>> {
                vec![$( {
                    let $inner = facts;
                    let value: $T = $get;
                    value.into_fact()
                } ),*]
            }
            Face { info: &$Name::INFO, document: None, facts }
        };
    )* };
}

faces! {
    /// Klarna captured it: ship.
    Capture, CAPTURE {
        /// Klarna's name for the capture.
        capture_id: &str = |facts| facts.id();
        /// The order it belongs to.
        order_id: &str = |facts| &facts.order_id;
        /// The key the call used, given or made.
        idempotency_key: &str = |facts| facts.key();
        /// Klarna's name for the answered request, where it gave one.
        correlation_id: Option<&str> = |facts| facts.correlation_id.as_deref();
        /// How many requests it took, 1 or more; 0 where a key past its 24 hours was known to have captured, and
        /// nothing was sent.
        attempts: u32 = |facts| facts.attempts;
        /// Order lines that do not add up (see the setting `check_lines`), though it was captured all the same; and
        /// that an earlier call of this client with the same key was answered with another capture.
        warnings: &[String] = |facts| &facts.warnings;
        /// Each request with its time, what came back and the pause after it. The requests that
        /// searched for the capture are among them.
        attempt_log: &[Attempt] = |facts| &facts.attempt_log;
    }

    /// The result of a query of an order's captures.
    Reconciliation, RECONCILIATION {
        /// How often: `once`, `never` or `several`; `amount_differs` if the reference was found with another amount
        /// alone. `never` says so only of the moment: a capture whose answer was lost may still be on its way, so
        /// capture again with the same key, not with a new one.
        found: Found = |facts| Found::of(facts.matches());
        /// The capture, if it was found once.
        capture_id: Option<&str> = |facts| match facts.matches().ids.as_slice() {
            [id] => Some(id.as_str()),
            _ => None,
        };
        /// Every capture with this reference and amount, as Klarna lists them.
        capture_ids: &[String] = |facts| &facts.matches().ids;
        /// The order whose captures were read.
        order_id: &str = |facts| &facts.order_id;
        /// Klarna's name for the answered request, where it gave one.
        correlation_id: Option<&str> = |facts| facts.correlation_id.as_deref();
        /// How many requests it took, 1 or more.
        attempts: u32 = |facts| facts.attempts;
        /// Each request with its time, what came back and the pause after it.
        attempt_log: &[Attempt] = |facts| &facts.attempt_log;
        /// Every capture with this reference and another amount.
        other_capture_ids: &[String] = |facts| &facts.matches().others;
    }

    /// Klarna gives the money back.
    Refund, REFUND {
        /// Klarna's name for the refund. It is absent only where a query found the refund in an order that names none.
        refund_id: Option<&str> = |facts| Some(facts.id()).filter(|id| !id.is_empty());
        /// The order it belongs to.
        order_id: &str = |facts| &facts.order_id;
        /// The key the call used, given or made.
        idempotency_key: &str = |facts| facts.key();
        /// Klarna's name for the answered request, where it gave one.
        correlation_id: Option<&str> = |facts| facts.correlation_id.as_deref();
        /// How many requests it took, 1 or more; 0 where a key past its 24 hours was known to have refunded, and nothing
        /// was sent.
        attempts: u32 = |facts| facts.attempts;
        /// Order lines that do not add up (see the setting `check_lines`), and that a refund cannot be found again.
        warnings: &[String] = |facts| &facts.warnings;
        /// Each request with its time, what came back and the pause after it. The requests that searched for the refund
        /// are among them.
        attempt_log: &[Attempt] = |facts| &facts.attempt_log;
    }

    /// The result of a query for a refund.
    RefundReconciliation, REFUND_RECONCILIATION {
        /// How often: `once`, `never` or `several`; `amount_differs` if the reference was found with another amount
        /// alone. `never` says so only of the moment: a refund whose answer was lost may still be on its way, so refund
        /// again with the same key, not with a new one.
        found: Found = |facts| Found::of(facts.matches());
        /// The refund, if it was found once and the order names its id.
        refund_id: Option<&str> = |facts| match facts.matches().ids.as_slice() {
            [id] => Some(id.as_str()),
            _ => None,
        };
        /// Every refund with this reference and amount, as Klarna lists them.
        refund_ids: &[String] = |facts| &facts.matches().ids;
        /// The order whose refunds were read.
        order_id: &str = |facts| &facts.order_id;
        /// Klarna's name for the answered request, where it gave one.
        correlation_id: Option<&str> = |facts| facts.correlation_id.as_deref();
        /// How many requests it took, 1 or more.
        attempts: u32 = |facts| facts.attempts;
        /// Each request with its time, what came back and the pause after it.
        attempt_log: &[Attempt] = |facts| &facts.attempt_log;
        /// Every refund with this reference and another amount.
        other_refund_ids: &[String] = |facts| &facts.matches().others;
    }

    /// A call that Klarna has carried out, and answers with nothing more.
    Confirmation, CONFIRMATION {
        /// The order it was for.
        order_id: &str = |facts| &facts.order_id;
        /// The key the call used, given or made.
        idempotency_key: &str = |facts| facts.key();
        /// Klarna's name for the answered request, where it gave one.
        correlation_id: Option<&str> = |facts| facts.correlation_id.as_deref();
        /// How many requests it took, 1 or more.
        attempts: u32 = |facts| facts.attempts;
        /// Warnings to be read by a person, though it was carried out.
        warnings: &[String] = |facts| &facts.warnings;
        /// Each request with its time, what came back and the pause after it.
        attempt_log: &[Attempt] = |facts| &facts.attempt_log;
    }

    /// How an order was ended.
    OrderEnd, ORDER_END {
        /// `cancelled`: the order is cancelled. `released`: what was not captured is released. `nothing`: nothing was
        /// left to cancel or to release, as of an order that is captured in full, expired or closed.
        done: &str = |facts| facts.done();
        /// The order it was for.
        order_id: &str = |facts| &facts.order_id;
        /// The key of the request that changed the order; none without one.
        idempotency_key: Option<&str> = |facts| facts.idempotency_key.as_deref();
        /// Klarna's name for the answered request, where it gave one.
        correlation_id: Option<&str> = |facts| facts.correlation_id.as_deref();
        /// How many requests it took, 1 or more.
        attempts: u32 = |facts| facts.attempts;
        /// Warnings to be read by a person.
        warnings: &[String] = |facts| &facts.warnings;
        /// Each request with its time, what came back and the pause after it.
        attempt_log: &[Attempt] = |facts| &facts.attempt_log;
    }

    /// The time until which an order can be captured.
    Extension, EXTENSION {
        /// Whether it was extended. It was not where enough time is left, or nothing is left to capture.
        extended: bool = |facts| facts.extension().2;
        /// When the authorization ended before the call, as Klarna wrote it.
        old_expires_at: &str = |facts| facts.extension().0;
        /// When it ends now, as Klarna wrote it. It is absent where it was extended and could not be read afterwards.
        expires_at: Option<&str> = |facts| facts.extension().1;
        /// The order it was for.
        order_id: &str = |facts| &facts.order_id;
        /// The key of the request that extended it; none where none was made.
        idempotency_key: Option<&str> = |facts| facts.idempotency_key.as_deref();
        /// Klarna's name for the answered request, where it gave one.
        correlation_id: Option<&str> = |facts| facts.correlation_id.as_deref();
        /// How many requests it took, 1 or more.
        attempts: u32 = |facts| facts.attempts;
        /// Warnings to be read by a person.
        warnings: &[String] = |facts| &facts.warnings;
        /// Each request with its time, what came back and the pause after it.
        attempt_log: &[Attempt] = |facts| &facts.attempt_log;
    }
}

record! {
    /// The fields of every document, beside its members.
    pub struct DocumentFacts(pub(crate) Arc<Facts>) {
        /// The order it was asked of.
        order_id: &str = |facts| &facts.order_id;
        /// Klarna's name for the answered request, where it gave one.
        correlation_id: Option<&str> = |facts| facts.correlation_id.as_deref();
        /// How many requests it took, 1 or more.
        attempts: u32 = |facts| facts.attempts;
        /// The members of the answer that were of another type, and so are absent.
        warnings: &[String] = |facts| &facts.warnings;
        /// Each request with its time, what came back and the pause after it.
        attempt_log: &[Attempt] = |facts| &facts.attempt_log;
        /// When it was answered, by the server's clock, or by this machine's where the server tells none.
        answered_at: Option<SystemTime> = |facts| facts.answered;
        /// The JSON text, exactly as Klarna wrote it, with all members that Klarna has added.
        raw: &str = |facts| facts.raw();
    }
}

/// The values of these fields.
pub(crate) const DOCUMENT_FACTS: for<'a> fn(&'a Facts) -> Vec<Fact<'a>> = |facts| {
    vec![
        facts.order_id.as_str().into_fact(),
        facts.correlation_id.as_deref().into_fact(),
        facts.attempts.into_fact(),
        facts.warnings.as_slice().into_fact(),
        facts.attempt_log.as_slice().into_fact(),
        facts.answered.into_fact(),
        facts.raw().into_fact(),
    ]
};
