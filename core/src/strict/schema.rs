//! The description of objects and words, from which other languages make their own types.
//!
//! The library carries it as constants, so reading a request passes none of it.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::rule::Rule;
use crate::record::plain;

/// An object that `object!` declares.
pub(crate) struct ObjectInfo {
    pub name: &'static str,
    /// The object in messages: "an order line".
    pub noun: &'static str,
    pub doc: &'static str,
    pub fields: &'static [FieldInfo],
}

pub(crate) struct FieldInfo {
    /// The name in a source: `type`, `timeout_ms`.
    pub name: &'static str,
    pub required: bool,
    /// The value that a field has where a source leaves it out.
    pub default: Option<fn() -> Json>,
    pub doc: &'static str,
    pub kind: Kind,
    pub rule: Rule,
}

/// The type of a field. Its limits are in the rule.
pub(crate) enum Kind {
    Integer,
    Boolean,
    /// Also a secret, where the rule says so.
    Text,
    Duration,
    Word(&'static WordInfo),
    List(&'static ListInfo),
    Object(&'static ObjectInfo),
}

/// The items of a list.
pub(crate) struct ListInfo {
    pub kind: Kind,
    pub rule: Rule,
}

/// An enumeration that `words!` declares.
pub(crate) struct WordInfo {
    pub name: &'static str,
    pub doc: &'static str,
    /// Klarna adds words of its own.
    pub open: bool,
    pub words: &'static [Word],
}

pub(crate) struct Word {
    pub word: &'static str,
    /// The name of the word in Rust: `PickUpStore`.
    pub variant: &'static str,
    pub doc: &'static str,
}

/// All objects and words that some objects are made of, by name.
#[derive(Default)]
pub(crate) struct Reachable {
    pub objects: BTreeMap<&'static str, &'static ObjectInfo>,
    pub words: BTreeMap<&'static str, &'static WordInfo>,
}

impl Reachable {
    /// Adds an object with everything that its fields hold.
    pub fn add(&mut self, object: &'static ObjectInfo) {
        if self.objects.insert(object.name, object).is_none() {
            object.fields.iter().for_each(|field| self.add_kind(&field.kind));
        }
    }

    fn add_kind(&mut self, kind: &'static Kind) {
        match kind {
            Kind::Word(word) => {
                self.words.insert(word.name, word);
            }
            Kind::List(items) => self.add_kind(&items.kind),
            Kind::Object(object) => self.add(object),
            Kind::Integer | Kind::Boolean | Kind::Text | Kind::Duration => {}
        }
    }

    /// `{"objects": {name: …}, "words": {name: …}}`
    pub fn to_json(&self) -> Json {
        let objects: serde_json::Map<_, _> =
            self.objects.iter().map(|(name, info)| ((*name).to_owned(), info.to_json())).collect();
        let words: serde_json::Map<_, _> =
            self.words.iter().map(|(name, info)| ((*name).to_owned(), info.to_json())).collect();
        json!({"objects": objects, "words": words})
    }
}

impl ObjectInfo {
    /// The object and its fields, which name what they hold.
    pub fn to_json(&self) -> Json {
        let fields: Vec<Json> = self.fields.iter().map(FieldInfo::to_json).collect();
        json!({"name": self.name, "noun": self.noun, "doc": plain(self.doc), "fields": fields})
    }
}

impl FieldInfo {
    pub fn to_json(&self) -> Json {
        let mut field = json!({
            "name": self.name,
            "required": self.required,
            "type": type_of(&self.kind, &self.rule),
            "doc": plain(self.doc),
        });
        if let Some(default) = self.default {
            field["default"] = default();
        }
        field
    }
}

impl WordInfo {
    pub fn to_json(&self) -> Json {
        let words: Vec<Json> = self
            .words
            .iter()
            .map(|word| json!({"word": word.word, "variant": word.variant, "doc": plain(word.doc)}))
            .collect();
        json!({"name": self.name, "doc": plain(self.doc), "open": self.open, "words": words})
    }
}

fn type_of(kind: &Kind, rule: &Rule) -> Json {
    match (kind, rule) {
        (_, Rule::Secret) => json!({"kind": "secret"}),
        (Kind::Integer, &Rule::Integer { min, max, unit }) => {
            json!({"kind": "integer", "min": min, "max": max, "unit": unit})
        }
        (Kind::Duration, Rule::Time { min_ms, max_ms }) => {
            json!({"kind": "duration", "min_ms": min_ms, "max_ms": max_ms})
        }
        (Kind::Text, Rule::Text { min, max } | Rule::Name { min, max } | Rule::Url { min, max }) => {
            json!({"kind": "text", "min": min, "max": max})
        }
        (Kind::Boolean, _) => json!({"kind": "boolean"}),
        (Kind::Word(word), _) => json!({"kind": "word", "name": word.name}),
        (Kind::List(items), Rule::List { max, .. }) => {
            json!({"kind": "list", "max": max, "of": type_of(&items.kind, &items.rule)})
        }
        (Kind::Object(object), _) => json!({"kind": "object", "name": object.name}),
        (Kind::Integer | Kind::Duration | Kind::Text | Kind::List(_), _) => {
            unreachable!("a field's rule is one of its type")
        }
    }
}
