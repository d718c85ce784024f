//! Sources whose keys are translated before an object can read them: names in another unit, and two objects in one
//! source. All other sources are read without this file.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserializer;
use serde::de::value::MapDeserializer;
use serde::de::{self, DeserializeSeed, Error as _, IntoDeserializer, MapAccess, Visitor};
use serde_json::Value;

use super::copy::{Sink, Watch};
use super::plain::Plain;
use super::reader::{At, Field, Item, KeySeed, Object, Reader};
use super::rule::{Rule, Unit};
use crate::error::Error;
use crate::text::without_mark;

impl Reader {
    /// Reads one object by the names of the reader's unit.
    pub fn read_by_unit<'de, T: Object + Item, D: Deserializer<'de>>(&self, source: D) -> Result<T, Error> {
        self.read_over(source, Value::Null)
    }

    /// The same, over an object with the declared names, whose fields count where the source has none.
    pub fn read_over<'de, T: Object + Item, D: Deserializer<'de>>(&self, source: D, below: Value) -> Result<T, Error> {
        let root = self.root();
        self.kept(by_unit(source, below, &root).map_err(|error| self.refusal(&root, &error, &T::RULE))?)
    }

    /// The same from JSON text.
    pub fn json_over<T: Object + Item>(&self, text: &str, below: Value) -> Result<T, Error> {
        let mut source = serde_json::Deserializer::from_str(without_mark(text));
        let value = self.read_over(&mut source, below)?;
        source.end().map_err(|error| self.trailing(&error, &T::RULE))?;
        Ok(value)
    }

    /// Reads two objects out of one flat source: the fields of `A` go to `A`, all others to `B`.
    pub fn read_two<'de, A: Object, B: Object + Item, D: Deserializer<'de>>(&self, source: D) -> Result<(A, B), Error> {
        self.read_both(source, Whole(PhantomData))
    }

    /// [`read_two`](Reader::read_two) from JSON text.
    pub fn json_two<A: Object, B: Object + Item>(&self, text: &str) -> Result<(A, B), Error> {
        self.json_both(text, Whole(PhantomData))
    }

    /// [`read_two`](Reader::read_two), where `second` says what becomes of the second object.
    pub fn read_both<'de, A: Object, S: Second, D: Deserializer<'de>>(
        &self,
        source: D,
        second: S,
    ) -> Result<(A, S::Taken), Error> {
        self.kept(self.read_both_through(source, second)?)
    }

    fn read_both_through<'de, A: Object, S: Second, D: Deserializer<'de>>(
        &self,
        source: D,
        second: S,
    ) -> Result<(A, S::Taken), Error> {
        let root = self.root();
        self.others.set(A::FIELDS);
        let both = source.deserialize_map(Both(&root, second, PhantomData));
        both.map_err(|error| self.refusal(&root, &error, &S::Object::RULE))
    }

    /// [`read_both`](Reader::read_both) from JSON text.
    pub fn json_both<A: Object, S: Second>(&self, text: &str, second: S) -> Result<(A, S::Taken), Error> {
        let mut source = serde_json::Deserializer::from_str(without_mark(text));
        let both = self.read_both_through(&mut source, second)?;
        source.end().map_err(|error| self.trailing(&error, &S::Object::RULE))?;
        self.kept(both)
    }

    /// The first object and the JSON of the second, from JSON text that is plain and breaks no rule.
    pub fn plain_two<A: Object + Field, B: Object>(&self, text: &str, watch: &mut impl Watch) -> Option<(A, Vec<u8>)> {
        let mut source = Plain::new(without_mark(text));
        let mut first = String::from("{");
        let whole = B::walk(&mut source, watch, |source, key| {
            let name = A::FIELDS.iter().find(|name| **name == key)?;
            let comma = if first.len() > 1 { "," } else { "" };
            first.push_str(&format!("{comma}\"{name}\":{}", source.short()?));
            Some(())
        })?;
        first.push('}');
        let body = source.end(whole)?;
        Some((self.json(&first, &Rule::Object("")).ok()?, body))
    }
}

/// The second of two objects of one source.
pub(crate) trait Second {
    type Object: Object + Item;
    /// That which is left of it.
    type Taken;
    fn take<'de, M: MapAccess<'de>>(self, map: M, at: &At<'_>) -> Result<Self::Taken, M::Error>;
}

/// The object itself.
struct Whole<B>(PhantomData<B>);

impl<B: Object + Item> Second for Whole<B> {
    type Object = B;
    type Taken = B;
    fn take<'de, M: MapAccess<'de>>(self, map: M, at: &At<'_>) -> Result<B, M::Error> {
        B::pairs(map, at)
    }
}

/// The object's JSON, in a sink.
pub(crate) struct Copied<B, W>(pub Sink<W>, pub PhantomData<B>);

impl<B: Object + Item, W: Watch> Second for Copied<B, W> {
    type Object = B;
    type Taken = (Vec<u8>, W);
    fn take<'de, M: MapAccess<'de>>(self, map: M, at: &At<'_>) -> Result<(Vec<u8>, W), M::Error> {
        let mut sink = self.0;
        B::copy_pairs(map, at, &mut sink)?;
        Ok(sink.into_parts())
    }
}

/// Reads an object by the names of the reader's unit.
fn by_unit<'de, T: Object + Item, D: Deserializer<'de>>(source: D, below: Value, at: &At<'_>) -> Result<T, D::Error> {
    struct Renamed<'a, T>(&'a At<'a>, Value, PhantomData<T>);
    impl<'de, T: Object + Item> Visitor<'de> for Renamed<'_, T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}", self.0.allowed(&T::RULE))
        }
        /// No settings at all, where there are others below.
        fn visit_unit<E: de::Error>(self) -> Result<T, E> {
            if self.1.is_null() {
                return Err(self.0.fail(self.0.nothing(&T::RULE)));
            }
            self.visit_map(MapDeserializer::new(std::iter::empty::<(&str, &str)>()))
        }
        fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<T, M::Error> {
            T::pairs(
                ByUnit { map, at: self.0, known: T::FIELDS, noun: T::SCHEMA.noun, below: self.1, value: None },
                self.0,
            )
        }
    }
    source.deserialize_map(Renamed(at, below, PhantomData))
}

/// Pairs whose keys become the declared names.
struct ByUnit<'a, M> {
    map: M,
    at: &'a At<'a>,
    known: &'static [&'static str],
    noun: &'static str,
    /// The object below the source: the fields that the source has not named.
    below: Value,
    /// The value of such a field, whose key was given.
    value: Option<Value>,
}

impl<M> ByUnit<'_, M> {
    /// The next field of the object below; a time in the unit of the reading.
    fn next_below(&mut self) -> Option<String> {
        let fields = self.below.as_object_mut()?;
        let key = fields.keys().next()?.clone();
        let value = fields.remove(&key)?;
        let is_time = self.at.reader.unit == Unit::Seconds && Unit::Seconds.refuses(&key);
        let seconds = value.as_f64().filter(|_| is_time).map(|value| Value::from(value / 1000.0));
        self.value = Some(seconds.unwrap_or(value));
        Some(key)
    }
}

impl<'de, M: MapAccess<'de>> MapAccess<'de> for ByUnit<'_, M> {
    type Error = M::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, M::Error> {
        let as_text = KeySeed { at: self.at, known: |_: &str| None::<Infallible> };
        let Some(Err(key)) = self.map.next_key_seed(as_text)? else {
            let Some(key) = self.next_below() else { return Ok(None) };
            return seed.deserialize(IntoDeserializer::<M::Error>::into_deserializer(key)).map(Some);
        };
        let unit = self.at.reader.unit;
        if unit.refuses(&key) {
            return Err(self.at.of_another_unit(&key, self.noun));
        }
        let declared = self.known.iter().find(|known| unit.name_of(known) == key);
        let key = declared.copied().unwrap_or(&key);
        if let Some(fields) = self.below.as_object_mut() {
            fields.remove(key);
        }
        seed.deserialize(IntoDeserializer::<M::Error>::into_deserializer(key)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, M::Error> {
        match self.value.take() {
            // Its refusal was noted with the place.
            Some(value) => seed.deserialize(value).map_err(|_| M::Error::custom("refused")),
            None => self.map.next_value_seed(seed),
        }
    }
}

/// Visits two objects of one source.
struct Both<'a, A, S>(&'a At<'a>, S, PhantomData<A>);

impl<'de, A: Object, S: Second> Visitor<'de> for Both<'_, A, S> {
    type Value = (A, S::Taken);
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.allowed(&S::Object::RULE))
    }
    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Self::Value, M::Error> {
        let mut first = A::Slots::default();
        let left = Split::<A, S::Object, M> { map, at: self.0, first: &mut first, second: PhantomData };
        let second = self.1.take(left, self.0)?;
        Ok((A::finish(first, self.0)?, second))
    }
}

/// The pairs that are left when an object `A` has taken its own.
struct Split<'a, A: Object, B, M> {
    map: M,
    at: &'a At<'a>,
    first: &'a mut A::Slots,
    second: PhantomData<B>,
}

impl<'de, A: Object, B: Object, M: MapAccess<'de>> MapAccess<'de> for Split<'_, A, B, M> {
    type Error = M::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, M::Error> {
        let known = |key: &str| B::FIELDS.iter().copied().find(|&name| name == key);
        while let Some(key) = self.map.next_key_seed(KeySeed { at: self.at, known })? {
            let key = match &key {
                Ok(known) => known,
                Err(other) if self.at.reader.unit.refuses(other) => {
                    return Err(self.at.of_another_unit(other, A::SCHEMA.noun));
                }
                Err(other) => {
                    let declared = A::FIELDS.iter().find(|name| self.at.reader.unit.name_of(name) == other);
                    if let Some(name) = declared
                        && A::put(self.first, name, &mut self.map, self.at)?
                    {
                        continue;
                    }
                    other.as_str()
                }
            };
            return seed.deserialize(IntoDeserializer::<M::Error>::into_deserializer(key)).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, M::Error> {
        self.map.next_value_seed(seed)
    }
}
