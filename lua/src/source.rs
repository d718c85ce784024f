//! Lua values as a serde source, for the core's strict reader. Tables are read raw: no
//! metamethod runs, so no Lua code runs while a request is read.

use std::fmt::Display;
use std::{mem, vec};

use mlua::{Table, Value};
use serde::Deserializer;
use serde::de::value::Error;
use serde::de::{DeserializeSeed, Error as _, Expected, MapAccess, SeqAccess, Unexpected, Visitor};

/// A Lua value to be read.
pub(crate) struct Source(pub Value);

/// From here on a float stands for several whole numbers: 2^53 + 1 arrives as 2^53.
pub(crate) const FLOATS_SKIP: f64 = 9_007_199_254_740_992.0;

/// Before 5.3 every number of Lua is a float, also those that mlua hands over as integers.
const HAS_INTEGERS: bool = cfg!(any(feature = "lua53", feature = "lua54"));

/// More entries than any object has fields. The keys of a table differ, so among as many as this
/// there is one that the reader refuses, and what comes after it is never asked for. It also bounds
/// how many values are held at once, which mlua can do with some thousands only.
const MOST_ENTRIES: usize = 64;

pub(crate) const NOT_UTF8: &str = "a string that is not UTF-8";

fn wrong(got: &str, allowed: &dyn Expected) -> Error {
    Error::invalid_type(Unexpected::Other(got), allowed)
}

fn unreadable(error: impl Display) -> Error {
    wrong(&format!("a table that Lua cannot read ({error})"), &"a plain table")
}

fn number<'de, V: Visitor<'de>>(n: f64, visitor: V) -> Result<V::Value, Error> {
    if n.fract() != 0.0 || !n.is_finite() {
        visitor.visit_f64(n)
    } else if n.abs() < FLOATS_SKIP {
        visitor.visit_i64(n as i64)
    } else {
        Err(wrong("a float of 2^53 or more (there floats skip whole numbers)", &visitor))
    }
}

/// What a table is: Lua has one kind for both.
enum Shape {
    Empty,
    List(usize),
    Object,
    /// Holes, or other keys beside 1, 2, 3
    Mixed,
}

/// Finds out the shape from the keys, one after another.
#[derive(Default)]
struct Keys {
    entries: usize,
    positions: usize,
    last: usize,
}

impl Keys {
    fn add(&mut self, key: &Value) {
        self.entries += 1;
        if let &Value::Integer(key) = key
            && let Ok(key @ 1..) = usize::try_from(key)
        {
            self.positions += 1;
            self.last = self.last.max(key);
        }
    }

    fn shape(&self) -> Shape {
        match (self.entries, self.positions) {
            (0, _) => Shape::Empty,
            (_, 0) => Shape::Object,
            _ if self.entries == self.positions && self.positions == self.last => Shape::List(self.last),
            _ => Shape::Mixed,
        }
    }
}

// `for_each` goes through a table within one protected call; `pairs` would make one for each entry,
// which costs more than all else that is done with it.

fn shape(table: &Table) -> Result<Shape, Error> {
    let mut keys = Keys::default();
    // whatever a value is, as a bool nothing is made of it
    let walked = table.for_each(|key: Value, _: bool| {
        keys.add(&key);
        Ok(())
    });
    walked.map(|()| keys.shape()).map_err(unreadable)
}

/// The shape, and the first entries.
fn entries(table: &Table) -> Result<(Shape, Vec<(Value, Value)>), Error> {
    let (mut keys, mut entries) = (Keys::default(), Vec::new());
    let walked = table.for_each(|key: Value, value: Value| {
        keys.add(&key);
        if entries.len() < MOST_ENTRIES {
            entries.push((key, value));
        }
        Ok(())
    });
    walked.map(|()| (keys.shape(), entries)).map_err(unreadable)
}

impl<'de> Deserializer<'de> for Source {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Nil => visitor.visit_unit(),
            // takings.null, and cjson.null
            Value::LightUserData(pointer) if pointer.0.is_null() => visitor.visit_unit(),
            Value::Boolean(value) => visitor.visit_bool(value),
            Value::Integer(n) if HAS_INTEGERS => visitor.visit_i64(n as _),
            Value::Integer(n) => number(n as f64, visitor),
            Value::Number(n) => number(n, visitor),
            Value::String(text) => match text.to_str() {
                Ok(text) => visitor.visit_str(&text),
                Err(_) => Err(wrong(NOT_UTF8, &visitor)),
            },
            // nobody asks for a table without saying which kind
            Value::Table(table) => Err(match shape(&table)? {
                Shape::List(_) => Error::invalid_type(Unexpected::Seq, &visitor),
                _ => Error::invalid_type(Unexpected::Map, &visitor),
            }),
            Value::Function(_) => Err(wrong("a function", &visitor)),
            Value::Thread(_) => Err(wrong("a coroutine", &visitor)),
            Value::LightUserData(_) | Value::UserData(_) | Value::Error(_) => Err(wrong("a userdata", &visitor)),
            // LuaJIT's 5000LL and the like
            Value::Other(_) => Err(wrong("a cdata (tonumber makes a number of it)", &visitor)),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Value::Table(table) = &self.0 else { return self.deserialize_any(visitor) };
        match entries(table)? {
            (Shape::List(_), _) => Err(Error::invalid_type(Unexpected::Seq, &visitor)),
            // of a mixed table, the reader names the first key that is no field
            (_, entries) => visitor.visit_map(Entries { entries: entries.into_iter(), value: Value::Nil }),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Value::Table(table) = &self.0 else { return self.deserialize_any(visitor) };
        match shape(table)? {
            Shape::Empty => visitor.visit_seq(Items { table, next: 1, last: 0 }),
            Shape::List(last) => visitor.visit_seq(Items { table, next: 1, last }),
            Shape::Object => Err(Error::invalid_type(Unexpected::Map, &visitor)),
            Shape::Mixed => Err(wrong("a table with holes, or with other keys beside 1, 2, 3", &visitor)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct tuple tuple_struct struct enum identifier
    }
}

struct Entries {
    entries: vec::IntoIter<(Value, Value)>,
    value: Value,
}

impl<'de> MapAccess<'de> for Entries {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = value;
        seed.deserialize(Source(key)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(Source(mem::replace(&mut self.value, Value::Nil)))
    }
}

struct Items<'a> {
    table: &'a Table,
    next: usize,
    last: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if self.next > self.last {
            return Ok(None);
        }
        let item: Value = self.table.raw_get(self.next).map_err(unreadable)?;
        self.next += 1;
        seed.deserialize(Source(item)).map(Some)
    }
}
