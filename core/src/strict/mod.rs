//! Reading objects strictly, from any serde source: nothing is converted, nothing unknown is
//! passed over, and a refusal names the path, what it got and what is allowed.
//!
//! Each object is written down once, with [`object!`]: its fields, their types, their
//! [`Rule`]s and their documentation. Reading, checking, writing, `Debug` and the description
//! for other languages follow from that.

mod copy;
mod fields;
mod object;
mod plain;
mod reader;
mod route;
mod rule;
pub(crate) mod schema;
#[cfg(test)]
mod tests;
mod voice;

pub(crate) use copy::{Open, Sink, Watch};
pub(crate) use fields::{Written, copy_word, word};
pub(crate) use object::{Hidden, doc_line, object, words};
pub(crate) use plain::{Key, Name, Piece, Plain, Walk};
pub(crate) use reader::{
    At, CopySeed, Field, Item, KeySeed, Object, Reader, Seed, copy_object, object, shown_word, suggestion,
};
pub(crate) use route::Copied;
pub(crate) use rule::{Rule, Unit};
pub(crate) use voice::Voice;
