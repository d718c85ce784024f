//! Reading objects strictly, from any serde source: nothing is converted, nothing unknown is
//! passed over, and a refusal names the path, what it got and what is allowed.
//!
//! Each object is written down once, with [`object!`]: its fields, their types, their
//! [`Rule`]s and their documentation. Reading, checking, writing, `Debug` and the description
//! for other languages follow from that.

mod fields;
mod object;
mod reader;
mod route;
mod rule;
pub(crate) mod schema;
#[cfg(test)]
mod tests;
mod voice;

pub(crate) use fields::{Written, word};
pub(crate) use object::{Hidden, doc_line, object, words};
pub(crate) use reader::{At, Field, Item, KeySeed, Object, Reader, Seed, object, shown_word, suggestion};
pub(crate) use rule::{Rule, Unit};
pub(crate) use voice::Voice;
