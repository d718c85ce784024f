//! Klarna's documents for C: a tree that is read by JSON Pointer, or member by member.

use std::ffi::{CString, c_char};
use std::mem::MaybeUninit;

use takings::binding::{Fact, milliseconds_since_1970};
use takings::{Node, Object, Reply};

use crate::call::{takings_call_t, typed};
use crate::generated::takings_document_t;
use crate::record::takings_reply_t;
use crate::{c_string, guard, pointer, takings_error_t, text};

/// The kinds of values. A later version may add kinds.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum takings_value_kind_t {
    /// There is no value: the kind of NULL.
    TAKINGS_VALUE_NONE = 0,
    /// JSON's null, in a member that takings does not know. A member that takings knows is absent instead.
    TAKINGS_VALUE_NULL = 1,
    /// Yes or no: takings_value_integer gives 1 or 0.
    TAKINGS_VALUE_BOOL = 2,
    /// A whole number. An amount is in minor units.
    TAKINGS_VALUE_INTEGER = 3,
    /// Any other number, in a member that takings does not know: takings_value_text has it as JSON.
    TAKINGS_VALUE_NUMBER = 4,
    /// A text; takings_value_time_ms tells whether it is a time.
    TAKINGS_VALUE_TEXT = 5,
    /// A list.
    TAKINGS_VALUE_LIST = 6,
    /// An object.
    TAKINGS_VALUE_OBJECT = 7,
}
use takings_value_kind_t::*;

/// A value of Klarna's document. It belongs to what it was asked of, and is valid until that is freed; nothing of it is
/// freed by itself. Any number of threads may read it. Every function takes NULL, which stands for a value that is
/// absent, so that calls can be nested.
pub struct takings_value_t {
    kind: takings_value_kind_t,
    text: Option<CString>,
    integer: i64,
    time_ms: Option<i64>,
    names: Vec<CString>,
    items: Vec<takings_value_t>,
}

impl takings_value_t {
    fn new(kind: takings_value_kind_t) -> takings_value_t {
        takings_value_t { kind, text: None, integer: 0, time_ms: None, names: Vec::new(), items: Vec::new() }
    }

    fn of_text(kind: takings_value_kind_t, text: &str) -> takings_value_t {
        takings_value_t { text: Some(c_string(text)), ..takings_value_t::new(kind) }
    }

    fn of_integer(kind: takings_value_kind_t, integer: i64) -> takings_value_t {
        takings_value_t { integer, ..takings_value_t::new(kind) }
    }

    pub(crate) fn of_object(reply: &Reply, object: &Object) -> takings_value_t {
        let (names, items) =
            object.members().map(|(name, node)| (c_string(name), takings_value_t::of(reply, node))).unzip();
        let raw = object.info().map(|_| c_string(reply.text_of(object)));
        takings_value_t { text: raw, names, items, ..takings_value_t::new(TAKINGS_VALUE_OBJECT) }
    }

    /// The values of an INSERT, under the names of its columns.
    pub(crate) fn of_columns(columns: [(&'static str, Fact<'_>); 5]) -> takings_value_t {
        let value = |fact| match fact {
            Fact::Text(text) => takings_value_t::of_text(TAKINGS_VALUE_TEXT, text),
            Fact::Integer(number) => takings_value_t::of_integer(TAKINGS_VALUE_INTEGER, number),
            _ => takings_value_t::new(TAKINGS_VALUE_NULL),
        };
        let (names, items) = columns.map(|(name, fact)| (c_string(name), value(fact))).into_iter().unzip();
        takings_value_t { names, items, ..takings_value_t::new(TAKINGS_VALUE_OBJECT) }
    }

    fn of(reply: &Reply, node: &Node) -> takings_value_t {
        match node {
            Node::Flag(flag) => takings_value_t::of_integer(TAKINGS_VALUE_BOOL, (*flag).into()),
            Node::Integer(number) => takings_value_t::of_integer(TAKINGS_VALUE_INTEGER, *number),
            Node::Number(number) => takings_value_t::of_text(TAKINGS_VALUE_NUMBER, &number.to_string()),
            Node::Text(text) => takings_value_t::of_text(TAKINGS_VALUE_TEXT, text),
            Node::Time(text, time) => takings_value_t {
                time_ms: Some(milliseconds_since_1970(*time)),
                ..takings_value_t::of_text(TAKINGS_VALUE_TEXT, text)
            },
            Node::List(items) => takings_value_t {
                items: items.iter().map(|item| takings_value_t::of(reply, item)).collect(),
                ..takings_value_t::new(TAKINGS_VALUE_LIST)
            },
            Node::Object(object) => takings_value_t::of_object(reply, object),
            _ => takings_value_t::new(TAKINGS_VALUE_NULL),
        }
    }

    fn member(&self, name: &str) -> Option<&takings_value_t> {
        self.items.get(self.names.iter().position(|known| known.as_bytes() == name.as_bytes())?)
    }

    fn at(&self, pointer: &str) -> Option<&takings_value_t> {
        let mut here = self;
        if pointer.is_empty() {
            return Some(here);
        }
        for step in pointer.strip_prefix('/')?.split('/') {
            here = match here.kind {
                TAKINGS_VALUE_LIST => here.items.get(step.parse::<usize>().ok().filter(|_| !step.starts_with('+'))?)?,
                _ => here.member(&step.replace("~1", "/").replace("~0", "~"))?,
            };
        }
        Some(here)
    }
}

/// The value at a JSON Pointer (RFC 6901), such as "/captures/0/captured_amount"; "" is the whole document. NULL where
/// there is none. The captures of takings_client_get_captures stand at "/captures". It belongs to the document.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_document_at(
    document: Option<&takings_document_t>,
    json_pointer: *const c_char,
) -> Option<&takings_value_t> {
    // SAFETY: a C string or NULL, by the header's rules.
    document?.0.document.as_ref()?.at(unsafe { text("json_pointer", json_pointer) }.ok()?)
}

/// The outcome of a call as takings_call_document gives it, where the document has to be of this type: Order, Captures,
/// CaptureDetails, RefundDetails or DueDateOptions. NULL and an error for a call that gives another.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_call_document_of(
    call: Option<&takings_call_t>,
    name: *const c_char,
    error: Option<&mut MaybeUninit<Option<Box<takings_error_t>>>>,
) -> Option<Box<takings_document_t>> {
    // SAFETY: a C string or NULL, by the header's rules.
    guard(error, || Ok(Box::new(takings_document_t(typed(call, unsafe { text("name", name) }?)?))))
}

/// The same of the reply to any operation that reads. It belongs to the reply.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_reply_at(
    reply: Option<&takings_reply_t>,
    json_pointer: *const c_char,
) -> Option<&takings_value_t> {
    // SAFETY: a C string or NULL, by the header's rules.
    reply?.record.document.as_ref()?.at(unsafe { text("json_pointer", json_pointer) }.ok()?)
}

/// The kind of a value; TAKINGS_VALUE_NONE for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn takings_value_kind(value: Option<&takings_value_t>) -> takings_value_kind_t {
    value.map_or(TAKINGS_VALUE_NONE, |value| value.kind)
}

/// The text of a text or a time; a number that is not whole, as JSON. Of an object whose members takings knows, such as a
/// capture, its JSON as Klarna wrote it. NULL for any other value.
#[unsafe(no_mangle)]
pub extern "C" fn takings_value_text(value: Option<&takings_value_t>) -> *const c_char {
    pointer(value.and_then(|value| value.text.as_ref()))
}

/// Puts a whole number, or 1 or 0 for yes or no, into *out. false: the value is none of these, and *out is as it was.
#[unsafe(no_mangle)]
pub extern "C" fn takings_value_integer(value: Option<&takings_value_t>, out: Option<&mut MaybeUninit<i64>>) -> bool {
    let value = value.filter(|value| matches!(value.kind, TAKINGS_VALUE_INTEGER | TAKINGS_VALUE_BOOL));
    value.zip(out).map(|(value, out)| out.write(value.integer)).is_some()
}

/// Puts a time such as expires_at, in milliseconds since 1970 (UTC), into *out. false: the value is no time, and *out is
/// as it was.
#[unsafe(no_mangle)]
pub extern "C" fn takings_value_time_ms(value: Option<&takings_value_t>, out: Option<&mut MaybeUninit<i64>>) -> bool {
    value.and_then(|value| value.time_ms).zip(out).map(|(time, out)| out.write(time)).is_some()
}

/// How many items a list has, or members an object; 0 for any other value.
#[unsafe(no_mangle)]
pub extern "C" fn takings_value_count(value: Option<&takings_value_t>) -> usize {
    value.map_or(0, |value| value.items.len())
}

/// An item of a list or a member of an object, counted from 0; NULL beyond the last.
#[unsafe(no_mangle)]
pub extern "C" fn takings_value_at(value: Option<&takings_value_t>, index: usize) -> Option<&takings_value_t> {
    value?.items.get(index)
}

/// The name of a member of an object, counted from 0; NULL beyond the last.
#[unsafe(no_mangle)]
pub extern "C" fn takings_value_name(value: Option<&takings_value_t>, index: usize) -> *const c_char {
    pointer(value.and_then(|value| value.names.get(index)))
}

/// The member of that name; NULL where the object has none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_value_member(
    value: Option<&takings_value_t>,
    name: *const c_char,
) -> Option<&takings_value_t> {
    // SAFETY: a C string or NULL, by the header's rules.
    value?.member(unsafe { text("name", name) }.ok()?)
}
