//! Writing JSON text from C, for programs without a JSON library.

use std::ffi::c_char;
use std::io::{self, Write};
use std::ptr;

use serde::{Serialize, Serializer};
use takings::Error;
use zeroize::Zeroizing;

use crate::{ErrorOut, Wiped, free, guard, null, text};

/// The most steps a pointer may have. Deeper trees would be written and dropped by deeper
/// recursion, up to the end of the stack.
const DEEPEST: usize = 64;

/// Writes JSON text, for programs without a JSON library. A text put into it stays a text
/// whatever characters it holds, so a product's name can never become a field.
///
/// The text begins as {}. A place in it is named by a JSON Pointer (RFC 6901), such as
/// "/order_lines/0/quantity", where ~1 stands for / and ~0 for ~ in a name. Objects and lists
/// on the way are made as needed: a list where the next step is a number or "-", an object
/// otherwise. A list grows by one at its end: by its length as index, or by "-". A value takes
/// the place of an earlier one, but never of an object or a list. Only one thread at a time
/// may use it. Values are wiped from memory when they are replaced or freed: settings hold a
/// password.
///
///     takings_json_t *request = takings_json_new();
///     takings_json_set_integer(request, "/captured_amount", 6000, &error);
///     takings_json_set_string(request, "/order_lines/0/name", "Tomatoes", &error);
pub struct takings_json_t {
    root: Value,
    text: Option<Wiped>,
}

pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    String(Zeroizing<String>),
    List(Vec<Value>),
    /// The members, in the order in which they were set.
    Object(Vec<(String, Value)>),
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => out.serialize_unit(),
            Value::Bool(value) => out.serialize_bool(*value),
            Value::Integer(value) => out.serialize_i64(*value),
            Value::String(value) => out.serialize_str(value),
            Value::List(items) => out.collect_seq(items),
            Value::Object(members) => out.collect_map(members.iter().map(|(name, value)| (name, value))),
        }
    }
}

impl Value {
    /// The blank that the next step of a pointer needs: an empty list or object, or the place for a value.
    fn blank(next: Option<&String>) -> Value {
        match next {
            None => Value::Null,
            Some(step) if names_an_item(step) => Value::List(Vec::new()),
            Some(_) => Value::Object(Vec::new()),
        }
    }

    /// Whether `new` may stand in its place: an object or a list gives way to an empty one of its kind only, when it
    /// is empty as well.
    fn gives_way_to(&self, new: &Value) -> bool {
        match (self, new) {
            (Value::List(items), new) => items.is_empty() && matches!(new, Value::List(_)),
            (Value::Object(members), new) => members.is_empty() && matches!(new, Value::Object(_)),
            _ => true,
        }
    }

    /// The text, allocated at its full length: a text that grew would leave copies of itself behind.
    fn text(&self) -> Zeroizing<Vec<u8>> {
        struct Length(usize);
        impl Write for Length {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 += bytes.len();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut length = Length(0);
        let mut text = Zeroizing::new(Vec::new());
        let written = serde_json::to_writer(&mut length, self).and_then(|()| {
            text.reserve_exact(length.0);
            serde_json::to_writer(&mut *text, self)
        });
        written.expect("neither a count nor memory refuses to be written");
        text
    }
}

/// A step of a JSON Pointer with `~1` and `~0` undone.
fn unescape(step: &str) -> Option<String> {
    let mut parts = step.split('~');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        name.push(match part.as_bytes().first() {
            Some(b'0') => '~',
            Some(b'1') => '/',
            _ => return None,
        });
        name.push_str(&part[1..]);
    }
    Some(name)
}

fn names_an_item(step: &str) -> bool {
    step == "-" || (!step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The index that a step names in a list of `length` items: that of an item, or the place behind the last.
fn index_of(step: &str, length: usize) -> Option<usize> {
    if step == "-" {
        return Some(length);
    }
    let canonical = names_an_item(step) && (step == "0" || !step.starts_with('0'));
    step.parse().ok().filter(|index| canonical && *index <= length)
}

fn refused(got: &str, allowed: &str) -> Error {
    Error::invalid_argument("pointer", got, allowed)
}

/// Puts `value` at `pointer`, or changes nothing.
fn set(root: &mut Value, pointer: &str, value: Value) -> Result<(), Error> {
    let steps = pointer.strip_prefix('/').ok_or_else(|| {
        let allowed = "a JSON Pointer with a leading slash, such as \"/order_lines/0/name\"";
        refused(&format!("{pointer:?}"), allowed)
    })?;
    let steps = steps.split('/').map(unescape).collect::<Option<Vec<String>>>();
    let steps = steps.ok_or_else(|| refused(&format!("{pointer:?}"), "a JSON Pointer with ~ written as ~0"))?;
    match steps.len() {
        ..=DEEPEST => put_at(root, pointer, &steps, value),
        length => Err(refused(&format!("{length} steps long"), &format!("at most {DEEPEST} steps long"))),
    }
}

/// Puts `value` at the end of `steps`, which lead on from `place`, or changes nothing.
fn put_at(place: &mut Value, pointer: &str, steps: &[String], value: Value) -> Result<(), Error> {
    let Some((step, further)) = steps.split_first() else {
        if !place.gives_way_to(&value) {
            let got = format!("{pointer:?}, where an object or a list is");
            return Err(refused(&got, "a place that is free or holds a plain value"));
        }
        *place = value;
        return Ok(());
    };
    let next = match place {
        Value::Object(members) => members.iter_mut().find(|(name, _)| name == step).map(|(_, next)| next),
        Value::List(items) => {
            let (length, index) = (items.len(), index_of(step, items.len()));
            items.get_mut(index.ok_or_else(|| {
                let got = format!("{pointer:?} with {step:?} for a list of {length}");
                refused(&got, "an index in that list, or its length or \"-\" to append")
            })?)
        }
        _ => {
            let got = format!("{pointer:?} with {step:?} below a value that is no object and no list");
            return Err(refused(&got, "a way through objects and lists"));
        }
    };
    if let Some(next) = next {
        return put_at(next, pointer, further, value);
    }
    let mut new = Value::blank(further.first());
    put_at(&mut new, pointer, further, value)?;
    match place {
        Value::Object(members) => members.push((step.clone(), new)),
        Value::List(items) => items.push(new),
        _ => {}
    }
    Ok(())
}

/// Does the work of all setters.
///
/// # Safety
///
/// As [`text`].
pub(crate) unsafe fn put(
    json: Option<&mut takings_json_t>,
    place: *const c_char,
    error: ErrorOut<'_>,
    value: impl FnOnce() -> Result<Value, Error>,
) -> bool {
    guard(error, || {
        let json = json.ok_or_else(|| null("json"))?;
        // SAFETY: the caller's promise.
        set(&mut json.root, unsafe { text("pointer", place) }?, value()?)?;
        json.text = None;
        Ok(())
    })
    .is_some()
}

/// Makes a text that begins as {}. Free it with takings_json_free. NULL only for a fault inside takings.
#[unsafe(no_mangle)]
pub extern "C" fn takings_json_new() -> Option<Box<takings_json_t>> {
    guard(None, || Ok(Box::new(takings_json_t { root: Value::Object(Vec::new()), text: None })))
}

/// The JSON text so far, members in the order they were set. It stays valid until the next
/// change or takings_json_free.
#[unsafe(no_mangle)]
pub extern "C" fn takings_json_text(json: Option<&mut takings_json_t>) -> *const c_char {
    let text =
        guard(None, || Ok(json.map(|json| json.text.get_or_insert_with(|| Wiped::new(&json.root.text())).as_ptr())));
    text.flatten().unwrap_or(ptr::null())
}

/// Frees the object and its text.
#[unsafe(no_mangle)]
pub extern "C" fn takings_json_free(json: Option<Box<takings_json_t>>) {
    free(json);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(root: &Value) -> String {
        String::from_utf8(root.text().to_vec()).expect("UTF-8")
    }

    fn build(steps: &[(&str, i64)]) -> Result<String, String> {
        let mut root = Value::Object(Vec::new());
        let mut refused = None;
        for (pointer, value) in steps {
            if let Err(error) = set(&mut root, pointer, Value::Integer(*value)) {
                refused.get_or_insert(error.message().to_owned());
            }
        }
        let text = shown(&root);
        match refused {
            None => Ok(text),
            Some(message) => Err(format!("{text} {message}")),
        }
    }

    #[test]
    fn members_keep_their_order_and_lists_grow() {
        assert_eq!(
            build(&[("/z", 1), ("/list/0/b", 2), ("/list/0/a", 3), ("/list/1/b", 4), ("/list/-/b", 5), ("/z", 6)]),
            Ok(r#"{"z":6,"list":[{"b":2,"a":3},{"b":4},{"b":5}]}"#.into())
        );
        assert_eq!(build(&[("/l/-/-/0/x", 1), ("/l/0/-", 2)]), Ok(r#"{"l":[[[{"x":1}],2]]}"#.into()));
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(
            build(&[("/a~1b~0c~01", 1), ("/", 2), ("/q\"\\\n", 3)]),
            Ok(r#"{"a/b~c~1":1,"":2,"q\"\\\n":3}"#.into())
        );
    }

    #[test]
    fn what_cannot_be_changes_nothing() {
        let deep = "/a".repeat(DEEPEST + 1);
        for (pointer, word) in [
            ("", "leading slash"),
            ("a", "leading slash"),
            ("/a~", "~0"),
            ("/a~2", "~0"),
            ("/list", "object or a list"),
            ("/list/2", "list of 1"),
            ("/list/00", "list of 1"),
            ("/list/+0", "list of 1"),
            ("/list/x", "list of 1"),
            ("/list/99999999999999999999", "list of 1"),
            ("/list/0/x", "no object"),
            ("/new/1", "list of 0"),
            ("/new/a/0/1", "list of 0"),
            (deep.as_str(), "at most 64"),
        ] {
            let error = build(&[("/list/0", 1), (pointer, 2)]).unwrap_err();
            assert!(error.starts_with(r#"{"list":[1]} pointer is "#) && error.contains(word), "{pointer}: {error}");
        }
    }

    #[test]
    fn empty_containers_can_be_asked_for() {
        let mut root = Value::Object(Vec::new());
        set(&mut root, "/list", Value::List(Vec::new())).unwrap();
        set(&mut root, "/list", Value::List(Vec::new())).unwrap();
        set(&mut root, "/object", Value::Object(Vec::new())).unwrap();
        set(&mut root, "/object/1", Value::Null).unwrap();
        set(&mut root, "/list", Value::Object(Vec::new())).unwrap_err();
        set(&mut root, "/object", Value::Object(Vec::new())).unwrap_err();
        assert_eq!(shown(&root), r#"{"list":[],"object":{"1":null}}"#);
    }
}
