//! The reader: walks a source, keeps the path, and words the first refusal.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, DeserializeSeed, MapAccess, Visitor};
use serde::{Deserializer, Serializer};

use super::copy::{Sink, Watch};
use super::plain::{Piece, Plain, Walk};
use super::rule::{Allowed, Rule, Unit};
use super::schema::{Kind, ObjectInfo};
use super::voice::Voice;
use crate::error::Error;
use crate::text::without_mark;

/// A reading: its first refusal, and how it treats open enumerations and times.
pub(crate) struct Reader {
    whole: &'static str,
    pub(super) accept_unknown_values: bool,
    pub(super) unit: Unit,
    pub(super) voice: Voice,
    /// Names that the outermost object may hold beside its own fields.
    pub(super) others: Cell<&'static [&'static str]>,
    problem: RefCell<Option<String>>,
    /// The first value that was read and breaks its rule. A source that cannot be read is refused for that first.
    broken: RefCell<Option<Error>>,
}

impl Reader {
    /// `whole` names the whole in messages: "the request". Times are in milliseconds.
    pub fn new(whole: &'static str, accept_unknown_values: bool) -> Reader {
        Reader {
            whole,
            accept_unknown_values,
            unit: Unit::Milliseconds,
            voice: Voice::Json,
            others: Cell::new(&[]),
            problem: RefCell::new(None),
            broken: RefCell::new(None),
        }
    }

    /// A reader of one flat object whose times are in seconds.
    pub fn in_seconds(whole: &'static str) -> Reader {
        Reader { unit: Unit::Seconds, ..Reader::new(whole, false) }
    }

    /// The reader, in the words and the unit of a language.
    pub fn in_units_of(self, voice: Voice) -> Reader {
        Reader { voice, unit: if voice == Voice::Python { Unit::Seconds } else { Unit::Milliseconds }, ..self }
    }

    /// The reader, in the words of a language.
    pub fn in_words_of(self, voice: Voice) -> Reader {
        Reader { voice, ..self }
    }

    /// Reads `T` from JSON text.
    pub fn json<T: Field>(&self, text: &str, rule: &Rule) -> Result<T, Error> {
        let mut source = serde_json::Deserializer::from_str(without_mark(text));
        let value = self.read_through(&mut source, rule)?;
        source.end().map_err(|error| self.trailing(&error, rule))?;
        self.kept(value)
    }

    /// Reads `T` from any serde source.
    pub fn read<'de, T: Field, D: Deserializer<'de>>(&self, source: D, rule: &Rule) -> Result<T, Error> {
        self.kept(self.read_through(source, rule)?)
    }

    /// Reads to the end of the value, and notes the first part that breaks its rule.
    fn read_through<'de, T: Field, D: Deserializer<'de>>(&self, source: D, rule: &Rule) -> Result<T, Error> {
        let root = self.root();
        T::read(source, &root, rule).map_err(|error| self.refusal(&root, &error, rule))
    }

    /// An object of a source that was read to its end, if its values keep their rules.
    pub(super) fn kept<T>(&self, value: T) -> Result<T, Error> {
        self.broken.take().map_or(Ok(value), Err)
    }

    pub fn root(&self) -> At<'_> {
        At { reader: self, up: None, segment: Segment::Root, is_optional: false }
    }

    pub(super) fn refusal(&self, root: &At<'_>, error: &impl fmt::Display, rule: &Rule) -> Error {
        root.note(error, rule);
        Error::invalid(self.problem.take().unwrap_or_default())
    }

    pub(super) fn trailing(&self, error: &serde_json::Error, rule: &Rule) -> Error {
        self.root().refuse(format_args!("not valid JSON: {error}"), rule)
    }
}

/// A place in the object being read: `order_lines[3].quantity`.
pub(crate) struct At<'a> {
    pub(super) reader: &'a Reader,
    up: Option<&'a At<'a>>,
    segment: Segment<'a>,
    /// The value need not be there.
    is_optional: bool,
}

/// The last part of a place.
enum Segment<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(up) = self.up else { return f.write_str(self.reader.whole) };
        if !matches!(up.segment, Segment::Root) {
            up.fmt(f)?;
        }
        match self.segment {
            Segment::Root => Ok(()),
            Segment::Key(key) => {
                let dot = if matches!(up.segment, Segment::Root) { "" } else { "." };
                write!(f, "{dot}{}", self.reader.unit.name_of(key))
            }
            Segment::Index(index) => write!(f, "[{index}]"),
        }
    }
}

impl<'a> At<'a> {
    pub fn key(&'a self, key: &'a str) -> At<'a> {
        At { reader: self.reader, up: Some(self), segment: Segment::Key(key), is_optional: false }
    }

    pub fn index(&'a self, index: usize) -> At<'a> {
        At { reader: self.reader, up: Some(self), segment: Segment::Index(index), is_optional: false }
    }

    /// The place of a value that may be left out.
    pub fn optional_key(&'a self, key: &'a str) -> At<'a> {
        At { reader: self.reader, up: Some(self), segment: Segment::Key(key), is_optional: true }
    }

    /// The rule in words, in the unit and the language of the reading.
    pub(super) fn allowed<'r>(&self, rule: &'r Rule) -> Allowed<'r> {
        Allowed(rule, self.reader.unit, self.reader.voice)
    }

    /// The refusal of nothing in the place of a value.
    pub(super) fn nothing(&self, rule: &Rule) -> String {
        let leave_out = if self.is_optional { "; leave an optional field out" } else { "" };
        format!("{self} is {}{leave_out}; it must be {}", self.reader.voice.null(), self.allowed(rule))
    }

    /// A refusal found while checking a value.
    pub fn refuse(&self, got: impl fmt::Display, rule: &Rule) -> Error {
        Error::invalid(format!("{self} is {got}; it must be {}", self.allowed(rule)))
    }

    /// Checks a value that was read, so that the object needs no second walk for it.
    pub(super) fn checked<T: Field>(&self, value: T, rule: &Rule) -> T {
        self.kept(value.check(self, rule));
        value
    }

    /// Notes the refusal of a value that was read.
    #[inline]
    pub(super) fn kept(&self, checked: Result<(), Error>) {
        if let Err(refused) = checked {
            self.reader.broken.borrow_mut().get_or_insert(refused);
        }
    }

    /// A refusal found while reading. The first one of a reading is kept.
    pub(super) fn fail<E: de::Error>(&self, message: impl fmt::Display) -> E {
        self.reader.problem.borrow_mut().get_or_insert_with(|| message.to_string());
        E::custom("refused")
    }

    pub(super) fn wrong<E: de::Error>(&self, got: impl fmt::Display, rule: &Rule) -> E {
        let got = got.to_string();
        self.fail(format_args!(
            "{self} is {got}; it must be {}{}",
            self.allowed(rule),
            rule.hint(&got, self.reader.voice)
        ))
    }

    /// An error of the source itself (broken JSON, a value of a foreign type) gets the path.
    pub(super) fn note<E: fmt::Display>(&self, error: &E, rule: &Rule) {
        if self.reader.problem.borrow().is_some() {
            return;
        }
        let text = error.to_string();
        let allowed = self.allowed(rule);
        // serde's own words for a value of the wrong type: "invalid type: map, expected ..."
        let message = match text.strip_prefix("invalid type: ") {
            Some(rest) => match kind_of(rest, self.reader.voice) {
                Ok(kind) if kind == self.reader.voice.null() => self.nothing(rule),
                // A namedtuple comes as a list.
                Ok(kind @ "a list") if self.reader.voice == Voice::Python && matches!(rule, Rule::Object(_)) => {
                    format!("{self} is {kind}; it must be {allowed}{}", rule.way_out(kind, self.reader.voice))
                }
                Ok(kind) => format!("{self} is {kind}; it must be {allowed}{}", rule.hint(kind, self.reader.voice)),
                Err(kind) => format!("{self} is {kind}; it must be {allowed}{}", rule.way_out(kind, self.reader.voice)),
            },
            None if self.up.is_none() => format!("{self} is not valid JSON: {text}; it must be {allowed}"),
            None => format!("{self} cannot be read: {text}; it must be {allowed}"),
        };
        *self.reader.problem.borrow_mut() = Some(message);
    }

    pub fn unknown<E: de::Error>(&self, key: &str, noun: &str, known: &'static [&'static str]) -> E {
        let unit = self.reader.unit;
        let shown: String = key.chars().take(64).collect();
        let name = self.key(&shown).to_string();
        // a key comes from outside: nothing in it may steer a terminal
        let name = name.escape_debug();
        let others = if self.up.is_none() { self.reader.others.get() } else { &[] };
        let candidates = known.iter().chain(others).map(|&known| unit.name_of(known));
        match nearest(key, candidates) {
            Some(near) => self.fail(format_args!("{name} is not a field of {noun}; did you mean {near}?")),
            None if known.is_empty() => self.fail(format_args!("{name} is not a field of {noun}, which has none")),
            None => {
                let known: Vec<&str> = known.iter().map(|&known| unit.name_of(known)).collect();
                self.fail(format_args!("{name} is not a field of {noun}; its fields are {}", known.join(", ")))
            }
        }
    }

    /// The refusal of a key with a unit that the source's language does not have.
    #[cold]
    pub(super) fn of_another_unit<E: de::Error>(&self, key: &str, noun: &str) -> E {
        let shown: String = key.chars().take(64).flat_map(char::escape_debug).collect();
        self.fail(format_args!("{shown} is not {noun}; it must be given in seconds, under a name without _ms"))
    }

    /// The refusal of a key that is no text.
    #[cold]
    fn odd_key<E: de::Error>(&self, error: E) -> E {
        match error.to_string().strip_prefix("invalid type: ") {
            Some(rest) => self.fail(format_args!(
                "{self} has {} as a key; its keys must be field names",
                kind_of(rest, self.reader.voice).unwrap_or_else(|kind| kind)
            )),
            None => error,
        }
    }

    pub fn duplicate<E: de::Error>(&self) -> E {
        self.fail(format_args!("{self} is given twice; it must stand once"))
    }

    pub fn missing<E: de::Error>(&self, rule: &Rule) -> E {
        self.fail(format_args!("{self} is missing; it must be {}", self.allowed(rule)))
    }
}

/// The kind in one of serde's "invalid type" texts, without the value. An error is a kind that is none of JSON's.
fn kind_of(text: &str, voice: Voice) -> Result<&str, &str> {
    let kinds: [(&str, &str); 9] = [
        ("map", voice.object()),
        ("sequence", "a list"),
        ("string", "a string"),
        ("integer", "a number"),
        ("floating point", "a number"),
        ("boolean", "a boolean"),
        ("null", voice.null()),
        ("unit", voice.nothing()),
        ("Option", voice.null()),
    ];
    match kinds.iter().find(|(word, _)| text.starts_with(word)) {
        Some(&(_, kind)) => Ok(kind),
        None => Err(text.split(", expected").next().unwrap_or(text)),
    }
}

/// A value that can be read strictly, checked against its rule, and written.
pub(crate) trait Field: Sized {
    /// The type, for descriptions.
    const KIND: Kind;
    /// A start for constructors, which then fill in the fields that have to be there.
    fn blank() -> Self;
    fn read<'de, D: Deserializer<'de>>(source: D, at: &At<'_>, rule: &Rule) -> Result<Self, D::Error>;
    fn check(&self, at: &At<'_>, rule: &Rule) -> Result<(), Error>;
    fn write<S: Serializer>(&self, sink: S) -> Result<S::Ok, S::Error>;

    /// Reads a value, checks it and writes it. Gives its value if it is a whole number.
    fn copy<'de, D: Deserializer<'de>, W: Watch>(
        source: D,
        at: &At<'_>,
        rule: &Rule,
        sink: &mut Sink<W>,
    ) -> Result<Option<i64>, D::Error> {
        sink.other(&Self::read(source, at, rule)?)?;
        Ok(None)
    }

    /// Passes over a plain value that keeps its rule, and gives its bytes; its value too if it is a whole number.
    fn plain<W: Watch>(_source: &mut Plain<'_>, _rule: &Rule, _watch: &mut W) -> Option<(Piece, Option<i64>)> {
        None
    }
}

/// An item of a list.
pub(crate) trait Item {
    const RULE: Rule;
}

/// An object that [`object!`](super::object!) declares, read field by field.
pub(crate) trait Object: Sized + Walk {
    const SCHEMA: ObjectInfo;
    /// The declared names, in the order in which they are written.
    const FIELDS: &'static [&'static str];

    /// Reads the object of the pairs of a source.
    fn pairs<'de, M: MapAccess<'de>>(map: M, at: &At<'_>) -> Result<Self, M::Error>;

    /// Reads the object of the pairs of a source and writes it.
    fn copy_pairs<'de, M: MapAccess<'de>, W: Watch>(map: M, at: &At<'_>, sink: &mut Sink<W>) -> Result<(), M::Error>;

    /// The fields read so far, where the pairs go to several objects.
    type Slots: Default;

    /// Reads the value of a field; `false` and nothing read if there is no field of that name.
    fn put<'de, M: MapAccess<'de>>(
        slots: &mut Self::Slots,
        key: &str,
        map: &mut M,
        at: &At<'_>,
    ) -> Result<bool, M::Error>;

    /// The object, if all fields are there that have to be.
    fn finish<E: de::Error>(slots: Self::Slots, at: &At<'_>) -> Result<Self, E>;
}

/// Reads an object of a source.
#[inline]
pub(crate) fn object<'de, T: Object, D: Deserializer<'de>>(source: D, at: &At<'_>, rule: &Rule) -> Result<T, D::Error> {
    struct Pairs<'a, T>(Seed<'a, T>);
    impl<'de, T: Object> Visitor<'de> for Pairs<'_, T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}", self.0.at.allowed(self.0.rule))
        }
        fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<T, M::Error> {
            T::pairs(map, self.0.at)
        }
    }
    source.deserialize_map(Pairs(Seed::new(at, rule)))
}

/// Reads an object of a source and writes it.
#[inline]
pub(crate) fn copy_object<'de, T: Object, D: Deserializer<'de>, W: Watch>(
    source: D,
    at: &At<'_>,
    rule: &Rule,
    sink: &mut Sink<W>,
) -> Result<(), D::Error> {
    struct Pairs<'a, T, W>(Seed<'a, T>, &'a mut Sink<W>);
    impl<'de, T: Object, W: Watch> Visitor<'de> for Pairs<'_, T, W> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}", self.0.at.allowed(self.0.rule))
        }
        fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<(), M::Error> {
            T::copy_pairs(map, self.0.at, self.1)
        }
    }
    source.deserialize_map(Pairs(Seed::<T>::new(at, rule), sink))
}

/// Hands a place and a rule to serde.
pub(crate) struct Seed<'a, T> {
    pub(super) at: &'a At<'a>,
    pub(super) rule: &'a Rule,
    result: PhantomData<T>,
}

impl<'a, T> Seed<'a, T> {
    pub fn new(at: &'a At<'a>, rule: &'a Rule) -> Seed<'a, T> {
        Seed { at, rule, result: PhantomData }
    }
}

impl<'de, T: Field> DeserializeSeed<'de> for Seed<'_, T> {
    type Value = T;
    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<T, D::Error> {
        T::read(source, self.at, self.rule).inspect_err(|error| self.at.note(error, self.rule))
    }
}

impl<W: Watch> Sink<W> {
    /// Writes a value of any kind.
    pub(super) fn other<T: Field, E: de::Error>(&mut self, value: &T) -> Result<(), E> {
        value.write(&mut serde_json::Serializer::new(&mut self.bytes)).map_err(E::custom)
    }
}

/// Hands a place, a rule and the sink to serde.
pub(crate) struct CopySeed<'a, T, W> {
    at: &'a At<'a>,
    rule: &'a Rule,
    sink: &'a mut Sink<W>,
    kind: PhantomData<T>,
}

impl<'a, T, W> CopySeed<'a, T, W> {
    pub fn new(at: &'a At<'a>, rule: &'a Rule, sink: &'a mut Sink<W>) -> CopySeed<'a, T, W> {
        CopySeed { at, rule, sink, kind: PhantomData }
    }
}

impl<'de, T: Field, W: Watch> DeserializeSeed<'de> for CopySeed<'_, T, W> {
    /// The value, if it is a whole number.
    type Value = Option<i64>;
    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Option<i64>, D::Error> {
        T::copy(source, self.at, self.rule, self.sink).inspect_err(|error| self.at.note(error, self.rule))
    }
}

/// The key of an object: a known one as `known` knows it, any other as text.
pub(crate) struct KeySeed<'a, F> {
    pub at: &'a At<'a>,
    pub known: F,
}

impl<'de, K, F: FnOnce(&str) -> Option<K>> DeserializeSeed<'de> for KeySeed<'_, F> {
    type Value = Result<K, String>;
    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Self::Value, D::Error> {
        struct Text<F>(F);
        impl<K, F: FnOnce(&str) -> Option<K>> Visitor<'_> for Text<F> {
            type Value = Result<K, String>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field name")
            }
            fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
                Ok((self.0)(value).ok_or_else(|| value.to_owned()))
            }
        }
        source.deserialize_str(Text(self.known)).map_err(|error| self.at.odd_key(error))
    }
}

pub(crate) fn nearest<'a>(got: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Comparing a huge key with the names would only cost time.
    if got.len() > 64 {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace(['_', '-', ' '], "");
    known
        .map(|name| (strsim::osa_distance(&plain(got), &plain(name)), name))
        .filter(|&(distance, name)| distance <= (name.len() / 3).max(1))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

/// The way from an unknown word to a known one.
pub(crate) fn suggestion(got: &str, known: &[&str]) -> String {
    match nearest(got, known.iter().copied()) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("it must be one of {}", known.join(", ")),
    }
}

/// A text in the place of a known word, for messages. A long text may be a credential in the wrong place.
pub(crate) fn shown_word(text: &str) -> String {
    match text.chars().count() {
        0..=16 => format!("{text:?}"),
        length => format!("a text of {length} characters"),
    }
}
