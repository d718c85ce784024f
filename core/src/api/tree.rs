//! Reads a document of Klarna's leniently, by the members that are declared for it. Nothing is coerced: a member of
//! another type is left out, and a warning names it. Members that are not declared are kept.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::ops::{Deref, Range};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;
use smol_str::SmolStr;

use crate::record::text_of;
use crate::strict::schema::{Kind, ObjectInfo};

/// A value of a document of Klarna's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Node {
    /// `null`, in a member that takings does not know. In one that it knows, `null` is an absent member.
    Null,
    /// `true` or `false`.
    Flag(bool),
    /// A whole number. An amount is in minor units.
    Integer(i64),
    /// Any other number, in a member that takings does not know.
    Number(serde_json::Number),
    /// A text.
    Text(Text),
    /// A point in time, as Klarna wrote it and as this machine's clock has it.
    Time(Box<str>, SystemTime),
    /// A list.
    List(Vec<Node>),
    /// An object.
    Object(Arc<Object>),
}

/// A text in a document of Klarna's. A short one has no memory of its own, since a document has hundreds.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(SmolStr);

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text(text.into())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

/// An object of a document of Klarna's.
#[derive(Debug, PartialEq, Eq)]
pub struct Object {
    pub(crate) info: Option<&'static DocumentInfo>,
    pub(crate) members: Vec<(Name, Node)>,
    pub(crate) place: Place,
}

/// Where the text of an object's document stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Whole,
    /// In this list of the whole document, which may be the document itself.
    Item {
        list: &'static str,
        index: usize,
    },
}

impl Place {
    /// The part of a whole document's text. Each call searches for it, since few programs ask.
    pub(crate) fn within(self, whole: &str) -> &str {
        let Place::Item { list, index } = self else { return whole };
        let list = match serde_json::from_str::<HashMap<Cow<'_, str>, &RawValue>>(whole) {
            Ok(members) => members.get(list).map_or("", |list| list.get()),
            // The document is the list.
            Err(_) => whole,
        };
        let items: Vec<&RawValue> = serde_json::from_str(list).unwrap_or_default();
        items.get(index).map_or("", |item| item.get())
    }
}

/// The name of a member: one that is declared, or any other.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Known(&'static str),
    Other(Box<str>),
}

impl Name {
    fn as_str(&self) -> &str {
        match self {
            Name::Known(name) => name,
            Name::Other(name) => name,
        }
    }
}

impl Object {
    /// The member of that name, if it is there.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.members.iter().find(|(known, _)| known.as_str() == name).map(|(_, node)| node)
    }

    /// All members with their names, in Klarna's order.
    pub fn members(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.members.iter().map(|(name, node)| (name.as_str(), node))
    }

    /// For bindings: the declaration of its members, if it has one.
    #[doc(hidden)]
    pub fn info(&self) -> Option<&'static DocumentInfo> {
        self.info
    }
}

impl Node {
    /// The text, if it is one; that of a time, too.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Node::Text(text) => Some(text),
            Node::Time(text, _) => Some(text),
            _ => None,
        }
    }

    /// The whole number, if it is one.
    pub fn as_integer(&self) -> Option<i64> {
        if let Node::Integer(number) = self { Some(*number) } else { None }
    }

    /// The items, if it is a list.
    pub fn as_list(&self) -> Option<&[Node]> {
        if let Node::List(items) = self { Some(items) } else { None }
    }

    /// The object, if it is one.
    pub fn as_object(&self) -> Option<&Object> {
        if let Node::Object(object) = self { Some(object) } else { None }
    }

    /// The value at a JSON Pointer (RFC 6901) below this one, such as `/captures/0/captured_amount`.
    pub fn at(&self, pointer: &str) -> Option<&Node> {
        let mut here = self;
        let steps = pointer.strip_prefix('/').or_else(|| pointer.is_empty().then_some(""))?;
        for step in steps.split('/').filter(|_| !pointer.is_empty()) {
            let step = step.replace("~1", "/").replace("~0", "~");
            here = match here {
                Node::Object(object) => object.get(&step)?,
                Node::List(items) => items.get(step.parse::<usize>().ok().filter(|_| !step.starts_with('+'))?)?,
                _ => return None,
            };
        }
        Some(here)
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, sink: S) -> Result<S::Ok, S::Error> {
        match self {
            Node::Null => sink.serialize_unit(),
            Node::Flag(flag) => sink.serialize_bool(*flag),
            Node::Integer(number) => sink.serialize_i64(*number),
            Node::Number(number) => number.serialize(sink),
            Node::Text(text) => sink.serialize_str(text),
            Node::Time(text, _) => sink.serialize_str(text),
            Node::List(items) => sink.collect_seq(items),
            Node::Object(object) => object.serialize(sink),
        }
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, sink: S) -> Result<S::Ok, S::Error> {
        let mut map = sink.serialize_map(Some(self.members.len()))?;
        for (name, node) in self.members() {
            map.serialize_entry(name, node)?;
        }
        map.end()
    }
}

/// The members that a document, or an object in it, is declared to have.
#[derive(Debug)]
pub struct DocumentInfo {
    /// The name of the type, such as `Order`.
    pub name: &'static str,
    pub(crate) doc: &'static [&'static str],
    /// Its members, in the order of the declaration.
    pub members: &'static [Member],
}

impl PartialEq for DocumentInfo {
    fn eq(&self, other: &DocumentInfo) -> bool {
        self.name == other.name
    }
}

impl Eq for DocumentInfo {}

/// A member as it is declared. Each may be absent; a list that is absent is empty.
#[derive(Debug)]
pub struct Member {
    /// Klarna's name for it.
    pub name: &'static str,
    pub(crate) doc: &'static [&'static str],
    /// Its type.
    pub kind: MemberKind,
}

/// The type of a member.
#[derive(Clone, Copy)]
pub enum MemberKind {
    /// A text.
    Text,
    /// A text of which these are known.
    Word(&'static [&'static str]),
    /// A whole number of this unit.
    Integer(&'static str),
    /// A point in time.
    Time,
    /// An object with members of its own.
    Object(&'static DocumentInfo),
    /// A list of such objects.
    Objects(&'static DocumentInfo),
    /// A list of objects that are replies as well, such as the captures of an order.
    Documents(&'static DocumentInfo),
    #[doc(hidden)]
    Request(RequestInfo),
    #[doc(hidden)]
    Requests(RequestInfo),
}

/// An object of requests, so that a program can send it back.
#[derive(Clone, Copy)]
pub struct RequestInfo(pub(crate) &'static ObjectInfo);

impl fmt::Debug for MemberKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl MemberKind {
    fn word(self) -> &'static str {
        match self {
            MemberKind::Text => "text",
            MemberKind::Word(_) => "word",
            MemberKind::Integer(_) => "integer",
            MemberKind::Time => "time",
            MemberKind::Object(_) | MemberKind::Request(_) => "object",
            MemberKind::Objects(_) | MemberKind::Requests(_) => "list",
            MemberKind::Documents(_) => "documents",
        }
    }

    /// Whether it is a list, which is empty where Klarna left it out.
    pub fn is_list(self) -> bool {
        matches!(self, MemberKind::Objects(_) | MemberKind::Documents(_) | MemberKind::Requests(_))
    }

    fn of(self) -> Option<&'static str> {
        match self {
            MemberKind::Object(info) | MemberKind::Objects(info) | MemberKind::Documents(info) => Some(info.name),
            MemberKind::Request(info) | MemberKind::Requests(info) => Some(info.0.name),
            _ => None,
        }
    }
}

impl DocumentInfo {
    pub(crate) fn schema(&self) -> serde_json::Value {
        let members: Vec<serde_json::Value> = self
            .members
            .iter()
            .map(|member| {
                let mut of = serde_json::json!({"kind": member.kind.word()});
                match member.kind {
                    MemberKind::Word(words) => of["words"] = words.into(),
                    MemberKind::Integer(unit) => of["unit"] = unit.into(),
                    kind => {
                        if let Some(name) = kind.of() {
                            of["of"] = name.into();
                        }
                    }
                }
                serde_json::json!({"name": member.name, "doc": text_of(member.doc), "type": of})
            })
            .collect();
        serde_json::json!({"name": self.name, "doc": text_of(self.doc), "fields": members})
    }

    /// All that it is made of, itself last.
    pub(crate) fn reachable(&'static self, found: &mut Vec<&'static DocumentInfo>) {
        for member in self.members {
            if let MemberKind::Object(info) | MemberKind::Objects(info) | MemberKind::Documents(info) = member.kind {
                info.reachable(found);
            }
        }
        if !found.contains(&self) {
            found.push(self);
        }
    }
}

/// A document that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    pub text: Arc<str>,
    pub root: Arc<Object>,
    pub warnings: Vec<String>,
}

/// The largest whole number that is exact in every language: that of a double, the only number of some Luas.
const MOST: u64 = 9_007_199_254_740_991;
/// More values than this are no order's: each takes far more memory than its text.
const MOST_VALUES: usize = 500_000;
const MOST_WARNINGS: usize = 20;

/// The shape of a whole document.
#[derive(Clone, Copy)]
pub(crate) enum Whole {
    /// An object, with the member that has the id of what was asked for.
    Object(Option<&'static str>),
    /// The list that is the only member of the declaration.
    List,
}

/// Reads JSON text in one pass, and gives the id of what it is about; none where it is absent. The text of anything else
/// than `whole`, or with an id that is no text or stands twice, is refused.
pub(crate) fn read(
    text: &str,
    info: &'static DocumentInfo,
    whole: Whole,
) -> Result<(Document, Option<String>), serde_json::Error> {
    let mut reading = Reading {
        path: Vec::new(),
        warnings: Vec::new(),
        more: 0,
        left: MOST_VALUES,
        own: Own { member: None, is_seen: false, id: None, is_spoiled: false },
    };
    let class = match whole {
        Whole::List => {
            reading.path.extend(info.members.first().map(|only| Step::Name(only.name)));
            Class::List(info.members.first().map_or(Item::ANY, |only| Shape::Member(only.kind).item()))
        }
        Whole::Object(member) => {
            reading.own.member = member;
            Class::Object(Fields::Document(info))
        }
    };
    let mut source = serde_json::Deserializer::from_str(text);
    let read = Seed { reading: &mut reading, class, place: Place::Whole }.deserialize(&mut source)?;
    source.end()?;
    // Without a value that was left out for the number of values, only another shape gives none.
    if reading.own.is_spoiled || (read.is_none() && reading.left > 0) {
        return Err(de::Error::custom("another document"));
    }
    let root = match read {
        Some(Node::Object(root)) => root,
        list => {
            let members = info.members.iter().zip(list).map(|(only, list)| (Name::Known(only.name), list)).collect();
            Arc::new(Object { info: Some(info), members, place: Place::Whole })
        }
    };
    let Reading { mut warnings, more, own, .. } = reading;
    if more > 0 {
        warnings.push(format!("{more} more members of the answer were left out"));
    }
    Ok((Document { text: text.into(), root, warnings }, own.id))
}

struct Reading {
    path: Vec<Step>,
    warnings: Vec<String>,
    /// How many warnings are not told.
    more: usize,
    /// How many values may still be kept.
    left: usize,
    own: Own,
}

/// The member that says whose document it is. The declaration may have it or not.
struct Own {
    member: Option<&'static str>,
    is_seen: bool,
    id: Option<String>,
    /// The id is no text, or stands twice.
    is_spoiled: bool,
}

enum Step {
    Name(&'static str),
    Index(usize),
}

impl Own {
    /// Takes a member that is not declared.
    fn note(&mut self, name: &str, value: &RawValue, is_of_the_whole: bool) {
        if !is_of_the_whole || self.member != Some(name) {
            return;
        }
        match serde_json::from_str(value.get()) {
            Ok(id) if !self.is_seen => self.id = id,
            _ => self.is_spoiled = true,
        }
        self.is_seen = true;
    }
}

impl Reading {
    /// Notes that the member at hand is left out. No value shows: it may be the customer's.
    fn leave_out(&mut self, got: &str, wanted: &str) {
        self.own.is_spoiled |= self.is_at_own();
        if self.warnings.len() >= MOST_WARNINGS {
            self.more += 1;
            return;
        }
        let mut told = String::new();
        for step in &self.path {
            let dot = if told.is_empty() { "" } else { "." };
            let written = match step {
                Step::Name(name) => write!(told, "{dot}{name}"),
                Step::Index(index) => write!(told, "[{index}]"),
            };
            debug_assert!(written.is_ok(), "a String takes any text");
        }
        self.warnings.push(format!("Klarna answered {told} as {got} where {wanted} belongs, so it was left out"));
    }

    fn is_at_own(&self) -> bool {
        matches!((&self.path[..], self.own.member), ([Step::Name(name)], Some(own)) if *name == own)
    }
}

/// The declaration of a value.
#[derive(Clone, Copy)]
enum Shape {
    Member(MemberKind),
    Request(&'static Kind),
}

#[derive(Clone, Copy)]
enum Fields {
    Document(&'static DocumentInfo),
    Request(&'static ObjectInfo),
}

#[derive(Clone, Copy)]
enum Class {
    /// Of a member that is not declared.
    Any,
    Text,
    Integer,
    Flag,
    Time,
    Object(Fields),
    List(Item),
}

/// The items of a list; of documents, the text is kept.
#[derive(Clone, Copy)]
struct Item {
    fields: Option<Fields>,
    is_document: bool,
}

impl Item {
    const ANY: Item = Item { fields: None, is_document: false };

    fn class(self) -> Class {
        self.fields.map_or(Class::Any, Class::Object)
    }
}

impl Shape {
    fn item(self) -> Item {
        let (fields, is_document) = match self {
            Shape::Member(MemberKind::Documents(info)) => (Some(Fields::Document(info)), true),
            Shape::Member(MemberKind::Objects(info)) => (Some(Fields::Document(info)), false),
            Shape::Member(MemberKind::Requests(info)) => (Some(Fields::Request(info.0)), false),
            Shape::Request(Kind::List(items)) => match items.kind {
                Kind::Object(info) => (Some(Fields::Request(info)), false),
                _ => (None, false),
            },
            _ => (None, false),
        };
        Item { fields, is_document }
    }

    fn class(self) -> Class {
        match self {
            Shape::Member(MemberKind::Text | MemberKind::Word(_)) | Shape::Request(Kind::Text | Kind::Word(_)) => {
                Class::Text
            }
            Shape::Member(MemberKind::Integer(_)) | Shape::Request(Kind::Integer | Kind::Duration) => Class::Integer,
            Shape::Request(Kind::Boolean) => Class::Flag,
            Shape::Member(MemberKind::Time) => Class::Time,
            Shape::Member(MemberKind::Object(info)) => Class::Object(Fields::Document(info)),
            Shape::Member(MemberKind::Request(info)) => Class::Object(Fields::Request(info.0)),
            Shape::Request(Kind::Object(info)) => Class::Object(Fields::Request(info)),
            Shape::Member(MemberKind::Objects(_) | MemberKind::Documents(_) | MemberKind::Requests(_))
            | Shape::Request(Kind::List(_)) => Class::List(self.item()),
        }
    }
}

impl Class {
    fn wanted(self) -> &'static str {
        match self {
            Class::Any => "anything",
            Class::Text => "a text",
            Class::Integer => "a whole number",
            Class::Flag => "true or false",
            Class::Time => "a time with its zone",
            Class::Object(_) => "an object",
            Class::List(_) => "a list",
        }
    }
}

impl Fields {
    fn name(self, at: usize) -> Option<&'static str> {
        match self {
            Fields::Document(info) => info.members.get(at).map(|member| member.name),
            Fields::Request(info) => info.fields.get(at).map(|field| field.name),
        }
    }

    fn class(self, at: usize) -> Class {
        match self {
            Fields::Document(info) => info.members.get(at).map(|member| Shape::Member(member.kind)),
            Fields::Request(info) => info.fields.get(at).map(|field| Shape::Request(&field.kind)),
        }
        .map_or(Class::Any, Shape::class)
    }

    fn count(self) -> usize {
        match self {
            Fields::Document(info) => info.members.len(),
            Fields::Request(info) => info.fields.len(),
        }
    }

    /// The number of the member of that name. The search begins at `next`, since most documents have one order.
    fn position(self, name: &str, next: usize) -> Option<usize> {
        let count = self.count();
        (next..count).chain(0..next.min(count)).find(|at| self.name(*at) == Some(name))
    }
}

/// Reads one value; none where it is left out.
struct Seed<'r> {
    reading: &'r mut Reading,
    class: Class,
    place: Place,
}

impl Seed<'_> {
    fn wrong<E>(self, got: &str) -> Result<Option<Node>, E> {
        self.reading.leave_out(got, self.class.wanted());
        Ok(None)
    }

    fn kept<E>(self, node: Node) -> Result<Option<Node>, E> {
        match self.reading.left.checked_sub(1) {
            Some(left) => self.reading.left = left,
            None => {
                self.reading.more += 1;
                return Ok(None);
            }
        }
        Ok(Some(node))
    }

    fn text<E>(self, text: &str) -> Result<Option<Node>, E> {
        if self.reading.is_at_own() {
            self.reading.own.id = Some(text.to_owned());
        }
        match self.class {
            Class::Any | Class::Text => self.kept(Node::Text(text.into())),
            Class::Time => match time_of(text) {
                Some(time) => self.kept(Node::Time(text.into(), time)),
                None => self.wrong("another text"),
            },
            _ => self.wrong("a text"),
        }
    }

    /// A value in text of its own.
    fn part<E: de::Error>(self, raw: &RawValue) -> Result<Option<Node>, E> {
        let mut source = serde_json::Deserializer::from_str(raw.get());
        self.deserialize(&mut source).map_err(E::custom)
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Option<Node>;
    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Option<Node>, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Option<Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.class.wanted())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Option<Node>, E> {
        self.text(text)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Option<Node>, E> {
        let is_exact = number.unsigned_abs() <= MOST;
        match self.class {
            Class::Any | Class::Integer if is_exact => self.kept(Node::Integer(number)),
            Class::Any => self.kept(Node::Number(number.into())),
            Class::Integer => self.wrong("a number beyond 9007199254740991"),
            _ => self.wrong("a number"),
        }
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Option<Node>, E> {
        match (i64::try_from(number), self.class) {
            (Ok(number), _) => self.visit_i64(number),
            (Err(_), Class::Any) => self.kept(Node::Number(number.into())),
            (Err(_), _) => self.wrong("a number beyond 9007199254740991"),
        }
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Option<Node>, E> {
        match (self.class, serde_json::Number::from_f64(number)) {
            (Class::Any, Some(number)) => self.kept(Node::Number(number)),
            _ => self.wrong("a number with a fraction, an exponent or more than 64 bits"),
        }
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Option<Node>, E> {
        match self.class {
            Class::Any | Class::Flag => self.kept(Node::Flag(flag)),
            _ => self.wrong("true or false"),
        }
    }

    fn visit_unit<E: de::Error>(self) -> Result<Option<Node>, E> {
        match self.class {
            Class::Any => self.kept(Node::Null),
            _ if matches!(self.reading.path.last(), Some(Step::Index(_))) => self.wrong("null"),
            _ => Ok(None),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Option<Node>, A::Error> {
        let item = match self.class {
            Class::List(item) => item,
            Class::Any => Item::ANY,
            _ => {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                return self.wrong("a list");
            }
        };
        let Seed { reading, place, .. } = self;
        let mut list = Vec::new();
        let name = match reading.path.last() {
            Some(Step::Name(name)) if item.is_document => Some(*name),
            _ => None,
        };
        for index in 0.. {
            reading.path.push(Step::Index(index));
            let place = name.map_or(place, |list| Place::Item { list, index });
            let node = items.next_element_seed(Seed { reading: &mut *reading, class: item.class(), place })?;
            reading.path.pop();
            match node {
                Some(node) => list.extend(node),
                None => break,
            }
        }
        Seed { reading, class: self.class, place }.kept(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<Node>, A::Error> {
        let fields = match self.class {
            Class::Object(fields) => Some(fields),
            Class::Any => None,
            _ => {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return self.wrong("an object");
            }
        };
        let Seed { reading, place, class } = self;
        let mut members = Vec::with_capacity(fields.map_or(0, |fields| fields.count().min(12)));
        let (mut seen, mut next) = (0_u64, 0);
        while let Some(key) = map.next_key_seed(Key { fields, next })? {
            match (key, fields) {
                (Ok(at), Some(fields)) => {
                    next = at + 1;
                    let name = fields.name(at).unwrap_or_default();
                    reading.path.push(Step::Name(name));
                    let node = map.next_value_seed(Seed { reading: &mut *reading, class: fields.class(at), place })?;
                    // Which of the two is meant cannot be known.
                    let bit = 1_u64.checked_shl(at.try_into().unwrap_or(u32::MAX)).unwrap_or_default();
                    if seen & bit != 0 {
                        reading.leave_out("two values", "one");
                        members.retain(|(known, _)| *known != Name::Known(name));
                    } else if let Some(node) = node {
                        members.push((Name::Known(name), node));
                    }
                    seen |= bit;
                    reading.path.pop();
                }
                // Such an object is sent back, and Klarna's requests have no other members.
                (Err(_), Some(Fields::Request(_))) => {
                    map.next_value::<IgnoredAny>()?;
                }
                (Err(name), None) => {
                    let seed = Seed { reading: &mut *reading, class: Class::Any, place };
                    members.extend(map.next_value_seed(seed)?.map(|node| (Name::Other(name), node)));
                }
                (Err(name), Some(Fields::Document(_))) => {
                    let raw = map.next_value::<&RawValue>()?;
                    reading.own.note(&name, raw, reading.path.is_empty());
                    // A value that is too deep stands in the text alone.
                    let seed = Seed { reading: &mut *reading, class: Class::Any, place };
                    if let Ok(Some(node)) = seed.part::<de::value::Error>(raw) {
                        members.push((Name::Other(name), node));
                    }
                }
                (Ok(_), None) => {}
            }
        }
        let info = match fields {
            Some(Fields::Document(info)) => Some(info),
            _ => None,
        };
        let object = Object { info, members, place };
        Seed { reading, class, place }.kept(Node::Object(Arc::new(object)))
    }
}

/// The number of a declared member, or the name of another.
struct Key {
    fields: Option<Fields>,
    next: usize,
}

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Result<usize, Box<str>>;
    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Self::Value, D::Error> {
        source.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Result<usize, Box<str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.fields.and_then(|fields| fields.position(name, self.next)).ok_or_else(|| name.into()))
    }
}

/// A time in the form of RFC 3339, from 1970 on: Klarna writes it with and without a fraction, and with `Z` or an offset.
pub(crate) fn time_of(text: &str) -> Option<SystemTime> {
    let bytes = text.as_bytes();
    if !text.is_ascii() || bytes.len() < 20 {
        return None;
    }
    let number = |range: Range<usize>| -> Option<i64> {
        let digits = bytes.get(range)?;
        digits.iter().all(u8::is_ascii_digit).then(|| digits.iter().fold(0, |sum, b| sum * 10 + i64::from(b - b'0')))
    };
    let is = |at: usize, allowed: &[u8]| bytes.get(at).is_some_and(|byte| allowed.contains(byte));
    if !(is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    let is_valid =
        (1970..9999).contains(&year) && (1..=days).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !is_valid {
        return None;
    }
    let mut rest = &text[19..];
    let mut nanos = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let end = fraction.find(|c: char| !c.is_ascii_digit())?;
        let digits = fraction.get(..end).filter(|digits| !digits.is_empty())?;
        nanos = format!("{digits:0<9}")[..9].parse().ok()?;
        rest = &fraction[end..];
    }
    let offset = match rest.as_bytes() {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), zone @ ..] => {
            let zone: Vec<i64> = zone
                .iter()
                .filter(|byte| **byte != b':')
                .map(|byte| byte.is_ascii_digit().then(|| i64::from(byte - b'0')))
                .collect::<Option<_>>()?;
            let [a, b, c, d] = zone[..] else { return None };
            let minutes = (a * 10 + b) * 60 + c * 10 + d;
            if minutes >= 24 * 60 || c > 5 {
                return None;
            }
            if *sign == b'+' { minutes * 60 } else { -minutes * 60 }
        }
        _ => return None,
    };
    // Years are counted from March, so that the leap day comes last.
    let (from_march, year) = if month > 2 { (month - 3, year) } else { (month + 9, year - 1) };
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    let since = 365 * year + year / 4 - year / 100 + year / 400 + of_year - 719_468;
    let seconds = since * 86_400 + hour * 3600 + minute * 60 + second - offset;
    UNIX_EPOCH.checked_add(Duration::new(u64::try_from(seconds).ok()?, nanos))
}
