//! Lua values as a serde source, for the core's strict reader. Tables are read raw: no
//! metamethod runs, so no Lua code runs while a request is read.

use mlua::{FromLua, Table, Value};
use serde::Deserializer;
use serde::de::value::{Error, MapDeserializer, SeqDeserializer};
use serde::de::{Error as _, Expected, IntoDeserializer, Unexpected, Visitor};

/// A Lua value to be read.
pub(crate) struct Source(pub Value);

/// The first float that stands for several whole numbers: 2^53 + 1 arrives as 2^53.
pub(crate) const FLOATS_SKIP: f64 = 9_007_199_254_740_992.0;

/// Before 5.3 every number of Lua is a float, also those that mlua hands over as integers.
pub(crate) const HAS_INTEGERS: bool = cfg!(any(feature = "lua53", feature = "lua54"));

/// More entries than any object has fields. The keys of a table differ, so among this many the reader refuses one and
/// asks for no later one. The number also bounds how many values exist at once, of which mlua can hold some thousands.
const MOST_ENTRIES: usize = 64;

pub(crate) const NOT_UTF8: &str = "a string that is not UTF-8";

fn wrong(got: &str, allowed: &dyn Expected) -> Error {
    Error::invalid_type(Unexpected::Other(got), allowed)
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

/// Visits each entry of a table, and finds whether the table can be a list and whether it can be an object. An empty
/// table can be both; a table with holes, or with other keys beside 1, 2, 3, neither. The reader of a list's items
/// refuses a nil.
///
/// `for_each` goes through a table within one protected call; `pairs` would make one for each entry, which costs more
/// than all the rest.
fn walk<V: FromLua>(table: &Table, mut visit: impl FnMut(Value, V)) -> Result<(bool, bool), Error> {
    let (mut count, mut has_positions) = (0, false);
    let walked = table.for_each(|key: Value, value: V| {
        count += 1;
        has_positions |= matches!(key, Value::Integer(1..));
        visit(key, value);
        Ok(())
    });
    walked.map_err(|error| wrong(&format!("a table that Lua cannot read ({error})"), &"a plain table"))?;
    Ok((count == 0 || has_positions && table.raw_len() == count, !has_positions))
}

/// As [`walk`] without the entries: converting each value to a bool keeps none of Lua's values.
fn shape(table: &Table) -> Result<(bool, bool), Error> {
    walk(table, |_, _: bool| {})
}

/// The entries of a table whose keys are names, such as every request has; `None` of any other table. A name is copied,
/// which costs less than holding Lua's value.
fn named(table: &Table) -> Option<Vec<(String, Source)>> {
    let mut entries = Vec::with_capacity(16);
    let walked = table.for_each(|name: String, value: Value| {
        // mlua makes a text of a number: only a text that can be none is known to be a name.
        let may_be_number = ["inf", "nan"].iter().any(|beginning| name.starts_with(beginning));
        let is_name = name.starts_with(|first: char| first.is_ascii_lowercase()) && !may_be_number;
        if !is_name || entries.len() == MOST_ENTRIES {
            return Err(mlua::Error::runtime("another table"));
        }
        entries.push((name, Source(value)));
        Ok(())
    });
    walked.ok().map(|()| entries)
}

impl<'de> Deserializer<'de> for Source {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Nil => visitor.visit_unit(),
            // takings.null, and cjson.null
            Value::LightUserData(pointer) if pointer.0.is_null() => visitor.visit_none(),
            Value::Boolean(value) => visitor.visit_bool(value),
            Value::Integer(n) if HAS_INTEGERS => visitor.visit_i64(n as _),
            Value::Integer(n) => number(n as f64, visitor),
            Value::Number(n) => number(n, visitor),
            Value::String(text) => match text.to_str() {
                Ok(text) => visitor.visit_str(&text),
                Err(_) => Err(wrong(NOT_UTF8, &visitor)),
            },
            // Every reader that takes a table asks for a list or for an object.
            Value::Table(table) => Err(match shape(&table)? {
                (true, false) => Error::invalid_type(Unexpected::Seq, &visitor),
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
        if let Some(entries) = named(table) {
            return visitor.visit_map(MapDeserializer::new(entries.into_iter()));
        }
        let mut entries = Vec::new();
        let (can_be_list, can_be_object) = walk(table, |key, value| {
            if entries.len() < MOST_ENTRIES {
                entries.push((Source(key), Source(value)));
            }
        })?;
        if can_be_list && !can_be_object {
            return self.deserialize_any(visitor);
        }
        // In a mixed table the reader names the first key that is no field.
        visitor.visit_map(MapDeserializer::new(entries.into_iter()))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Value::Table(table) = &self.0 else { return self.deserialize_any(visitor) };
        // An item that cannot be read becomes a value that every reader refuses.
        let item = |index| Source(table.raw_get(index).unwrap_or_else(|error| Value::Error(Box::new(error))));
        match shape(table)? {
            (true, _) => visitor.visit_seq(SeqDeserializer::new((1..=table.raw_len()).map(item))),
            (false, true) => self.deserialize_any(visitor),
            (false, false) => Err(wrong("a table with holes, or with other keys beside 1, 2, 3", &visitor)),
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

impl IntoDeserializer<'_> for Source {
    type Deserializer = Source;

    fn into_deserializer(self) -> Source {
        self
    }
}
