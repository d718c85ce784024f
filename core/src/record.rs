//! Declares what a caller reads of an outcome, an error or an attempt: each field once, with its documentation.
//!
//! From one list follow the getters of Rust, the JSON text, and what the bindings make their own values from.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

/// The value of one field, as every binding can take it over.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "each names its own type")]
pub enum Fact<'a> {
    /// An optional field that is absent.
    Absent,
    Text(&'a str),
    Integer(i64),
    Flag(bool),
    Texts(&'a [String]),
    Attempts(&'a [Attempt]),
    Time(SystemTime),
    Duration(Duration),
}

/// A type that a field can have.
pub(crate) trait IntoFact<'a> {
    /// The name of the type in the schema.
    const KIND: &'static str;
    const OPTIONAL: bool = false;
    fn into_fact(self) -> Fact<'a>;
}

macro_rules! into_fact {
    ($($T:ty, $kind:literal, |$value:ident| $fact:expr;)*) => {
        $(impl<'a> IntoFact<'a> for $T {
            const KIND: &'static str = $kind;
            fn into_fact(self) -> Fact<'a> {
                let $value = self;
                $fact
            }
        })*
    };
}

into_fact! {
    &'a str, "text", |text| Fact::Text(text);
    u32, "integer", |number| Fact::Integer(number.into());
    u16, "integer", |number| Fact::Integer(number.into());
    i64, "integer", |number| Fact::Integer(number);
    bool, "boolean", |flag| Fact::Flag(flag);
    &'a [String], "texts", |texts| Fact::Texts(texts);
    &'a [Attempt], "attempts", |attempts| Fact::Attempts(attempts);
    SystemTime, "time", |time| Fact::Time(time);
    Duration, "duration", |duration| Fact::Duration(duration);
}

impl<'a, T: IntoFact<'a>> IntoFact<'a> for Option<T> {
    const KIND: &'static str = T::KIND;
    const OPTIONAL: bool = true;
    fn into_fact(self) -> Fact<'a> {
        self.map_or(Fact::Absent, T::into_fact)
    }
}

/// A field as the schema describes it.
#[derive(Clone, Copy, Debug)]
pub struct FactInfo {
    /// The name that every surface has for it. A duration has `_ms` behind it where it is a number of milliseconds.
    pub name: &'static str,
    /// The type: `text`, `integer`, `boolean`, `texts`, `attempts`, `time`, `duration`, `error_kind` or `found`.
    pub kind: &'static str,
    /// Whether it may be absent.
    pub optional: bool,
    pub(crate) doc: &'static [&'static str],
}

/// A record as the schema describes it.
#[derive(Clone, Copy, Debug)]
pub struct RecordInfo {
    /// The name of the type, such as `Capture`.
    pub name: &'static str,
    pub(crate) doc: &'static [&'static str],
    /// Its fields, in the order in which their values are given.
    pub fields: &'static [FactInfo],
}

impl RecordInfo {
    /// The list whose only item a field is, such as `capture_ids` of `capture_id`. A class can have such a field as a
    /// property.
    pub fn only_item_of(&self, field: &FactInfo) -> Option<&'static str> {
        let is_list_of_it = |list: &&FactInfo| list.kind == "texts" && list.name.strip_suffix('s') == Some(field.name);
        self.fields.iter().find(is_list_of_it).map(|list| list.name)
    }

    pub(crate) fn schema(&self) -> Value {
        let fields: Vec<Value> = self
            .fields
            .iter()
            .map(|field| {
                json!({
                    "name": field.name,
                    "kind": field.kind,
                    "optional": field.optional,
                    "only_item_of": self.only_item_of(field),
                    "doc": text_of(field.doc),
                })
            })
            .collect();
        json!({"name": self.name, "doc": text_of(self.doc), "fields": fields})
    }
}

/// The lines of a doc comment as one text for readers of any language.
pub(crate) fn text_of(doc: &[&str]) -> String {
    plain(&doc.join("\n"))
}

/// A doc comment for readers of any language: without samples, which are Rust, and links.
pub(crate) fn plain(doc: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut in_sample = false;
    for line in doc.lines() {
        let line = line.strip_prefix(' ').unwrap_or(line);
        if line.starts_with("```") {
            in_sample = !in_sample;
            continue;
        }
        let doubled = line.is_empty() && lines.last().is_some_and(String::is_empty);
        if !in_sample && !doubled {
            lines.push(without_links(line));
        }
    }
    lines.join("\n").trim().to_owned()
}

/// ``[`Client`](crate::Client)`` and ``[`Client`]`` become `` `Client` ``.
fn without_links(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, name, after)) = rest.split_once("[`").and_then(|(before, link)| {
        let (name, after) = link.split_once("`]")?;
        Some((before, name, after))
    }) {
        text.push_str(&format!("{before}`{name}`"));
        let target = after.strip_prefix('(').and_then(|target| target.split_once(')'));
        rest = target.map_or(after, |(_, after)| after);
    }
    text + rest
}

/// Whole milliseconds since 1970; a clock before that counts as 1970.
pub fn milliseconds_since_1970(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, milliseconds)
}

/// Whole milliseconds, rounded up: a pause is never cut short.
pub fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX)
}

/// The name of a field where times are numbers of milliseconds.
pub fn name_in_milliseconds(name: &'static str, kind: &str) -> String {
    match kind {
        "duration" | "time" => format!("{name}_ms"),
        _ => name.to_owned(),
    }
}

/// The fields as a JSON object.
pub(crate) fn to_json<'a>(info: &RecordInfo, facts: impl Iterator<Item = Fact<'a>>) -> Map<String, Value> {
    info.fields
        .iter()
        .zip(facts)
        .map(|(field, fact)| {
            let value = match fact {
                Fact::Absent => Value::Null,
                Fact::Text(text) => text.into(),
                Fact::Integer(number) => number.into(),
                Fact::Flag(flag) => flag.into(),
                Fact::Texts(texts) => texts.into(),
                Fact::Attempts(attempts) => {
                    attempts.iter().map(|attempt| Value::Object(to_json(&Attempt::INFO, attempt.facts()))).collect()
                }
                Fact::Time(time) => milliseconds_since_1970(time).into(),
                Fact::Duration(duration) => milliseconds(duration).into(),
            };
            (name_in_milliseconds(field.name, field.kind), value)
        })
        .collect()
}

/// Declares a record over what holds its values: getters, schema and facts follow from one list.
macro_rules! record {
    (
        $(#[doc = $doc:literal])*
        $(#[derive($($derive:ident),*)])?
        pub struct $Name:ident($vis:vis $Inner:ty) {
            $( $(#[doc = $field_doc:literal])* $field:ident: $T:ty = |$inner:ident| $get:expr; )*
        }
    ) => {
        $(#[doc = $doc])*
        $(#[derive($($derive),*)])?
        pub struct $Name($vis $Inner);

        impl $Name {
            $( $(#[doc = $field_doc])* pub fn $field(&self) -> $T { let $inner = &self.0; $get } )*

            /// For bindings: the fields, in the order in which [`facts`](Self::facts) gives their values.
            #[doc(hidden)]
            pub const INFO: $crate::record::RecordInfo = $crate::record::RecordInfo {
                name: stringify!($Name),
                doc: &[$($doc),*],
                fields: &[$( $crate::record::FactInfo {
                    name: stringify!($field),
                    kind: <$T as $crate::record::IntoFact<'_>>::KIND,
                    optional: <$T as $crate::record::IntoFact<'_>>::OPTIONAL,
                    doc: &[$($field_doc),*],
                }, )*],
            };

            /// For bindings: the values of the fields, in order.
            #[doc(hidden)]
            pub fn facts(&self) -> impl Iterator<Item = $crate::record::Fact<'_>> {
                [$( $crate::record::IntoFact::into_fact(self.$field()) ),*].into_iter()
            }
        }
    };
}
pub(crate) use record;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Noted {
    pub started: SystemTime,
    pub sent: String,
    pub took: Duration,
    pub came_back: String,
    pub http_status: Option<u16>,
    pub error_code: Option<String>,
    pub correlation_id: Option<String>,
    pub wait: Option<Duration>,
    pub asked_to_wait: Option<Duration>,
}

record! {
    /// A request of a call, for a person who has to see afterwards what happened. No credential is in
    /// it, and a server's text is scrubbed.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Attempt(pub(crate) Noted) {
        /// When it was begun, by the system's clock.
        started: SystemTime = |noted| noted.started;
        /// Method and URL, such as `POST https://api.klarna.com/ordermanagement/v1/orders/…/captures`.
        sent: &str = |noted| &noted.sent;
        /// How long it took.
        took: Duration = |noted| noted.took;
        /// The answer or the failure, for people: `201`, `503 INTERNAL_ERROR`, `no answer within 10.0s`,
        /// `not_sent: no connection to …`.
        came_back: &str = |noted| &noted.came_back;
        /// The HTTP status, where there was an answer.
        http_status: Option<u16> = |noted| noted.http_status;
        /// Klarna's `error_code`, where the answer had one.
        error_code: Option<&str> = |noted| noted.error_code.as_deref();
        /// Klarna's name for the request, where the answer had one.
        correlation_id: Option<&str> = |noted| noted.correlation_id.as_deref();
        /// The pause after it, where another attempt followed.
        wait: Option<Duration> = |noted| noted.wait;
        /// The pause that the answer asked for: `Retry-After`, or Klarna's `X-Ratelimit-Reset` where its limit was met
        /// (429). A program that does its own retries waits for at least as long.
        asked_to_wait: Option<Duration> = |noted| noted.asked_to_wait;
    }
}
