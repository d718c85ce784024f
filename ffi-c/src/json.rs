//! Writing JSON text from C, for programs without a JSON library.

use std::ffi::c_char;
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::ptr;

use takings::Error;
use zeroize::Zeroizing;

use crate::{ErrorOut, Wiped, free, guard, null, takings_error_t, text};

/// The most steps a pointer may have. Deeper trees would be written and dropped by deeper
/// recursion, up to the end of the stack.
const DEEPEST: usize = 64;

/// Writes JSON text, for programs without a JSON library. A text put into it stays a text
/// whatever characters it holds, so a product's name can never become a field.
///
/// It begins as {}. A place in it is named by a JSON Pointer (RFC 6901), such as
/// "/order_lines/0/quantity", where ~1 stands for / and ~0 for ~ in a name. Objects and lists
/// on the way are made as needed: a list where the next step is a number or "-", an object
/// otherwise. A list grows by one at its end: by its length as index, or by "-". A value takes
/// the place of an earlier one, but never of an object or a list. Only one thread at a time
/// may use it. What it held is wiped from memory when it is replaced or freed: settings hold a
/// password.
///
///     takings_json_t *request = takings_json_new();
///     takings_json_set_integer(request, "/captured_amount", 6000, &error);
///     takings_json_set_string(request, "/order_lines/0/name", "Tomatoes", &error);
pub struct takings_json_t {
    root: Value,
    text: Option<Wiped>,
}

enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    String(Zeroizing<String>),
    List(Vec<Value>),
    /// In the order the members were set.
    Object(Vec<(String, Value)>),
}

impl Value {
    fn is_container(&self) -> bool {
        matches!(self, Value::List(_) | Value::Object(_))
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Value::Null => out.write_all(b"null"),
            Value::Bool(value) => write!(out, "{value}"),
            Value::Integer(value) => write!(out, "{value}"),
            Value::String(value) => write_string(value, out),
            Value::List(items) => {
                out.write_all(b"[")?;
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.write_all(b",")?;
                    }
                    item.write(out)?;
                }
                out.write_all(b"]")
            }
            Value::Object(members) => {
                out.write_all(b"{")?;
                for (index, (name, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.write_all(b",")?;
                    }
                    write_string(name, out)?;
                    out.write_all(b":")?;
                    value.write(out)?;
                }
                out.write_all(b"}")
            }
        }
    }

    /// Written at its full length at once: a text that grew would leave copies of itself behind.
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
        let written = self.write(&mut length).and_then(|()| {
            text.reserve_exact(length.0);
            self.write(&mut *text)
        });
        written.expect("neither a count nor memory refuses to be written");
        text
    }
}

fn write_string(text: &str, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(out, text).map_err(io::Error::from)
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

/// Where in a list of `length` items a step leads: to one of them, or behind the last.
fn index_of(step: &str, length: usize) -> Option<usize> {
    if step == "-" {
        return Some(length);
    }
    let canonical = names_an_item(step) && (step == "0" || !step.starts_with('0'));
    step.parse().ok().filter(|index| canonical && *index <= length)
}

/// Puts `value` at `pointer`, or changes nothing.
fn set(root: &mut Value, pointer: &str, value: Value) -> Result<(), Error> {
    let refuse = |got: &str, allowed: &str| Err(Error::invalid_argument("pointer", got, allowed));
    let Some(steps) = pointer.strip_prefix('/') else {
        return refuse(&format!("{pointer:?}"), "a JSON Pointer with a leading slash, such as \"/order_lines/0/name\"");
    };
    let Some(steps) = steps.split('/').map(unescape).collect::<Option<Vec<String>>>() else {
        return refuse(&format!("{pointer:?}"), "a JSON Pointer with ~ written as ~0");
    };
    if steps.len() > DEEPEST {
        return refuse(&format!("{} steps long", steps.len()), &format!("at most {DEEPEST} steps long"));
    }

    let mut place = root;
    let mut rest = steps.as_slice();
    while let Some((step, further)) = rest.split_first() {
        // Where the step leads to nothing yet, the rest of the way is laid out new.
        let lay_out = |value| lay_out(further, value, pointer);
        place = match place {
            Value::Object(members) => match members.iter().position(|(name, _)| name == step) {
                Some(index) => &mut members[index].1,
                None => {
                    members.push((step.clone(), lay_out(value)?));
                    return Ok(());
                }
            },
            Value::List(items) => match index_of(step, items.len()) {
                Some(index) if index < items.len() => &mut items[index],
                Some(_) => {
                    items.push(lay_out(value)?);
                    return Ok(());
                }
                None => {
                    return refuse(
                        &format!("{pointer:?} with {step:?} for a list of {}", items.len()),
                        "an index in that list, or its length or \"-\" to append",
                    );
                }
            },
            _ => {
                return refuse(
                    &format!("{pointer:?} with {step:?} below a value that is no object and no list"),
                    "a way through objects and lists",
                );
            }
        };
        rest = further;
    }
    if place.is_container() {
        let empty = match place {
            Value::List(items) => items.is_empty() && matches!(value, Value::List(_)),
            Value::Object(members) => members.is_empty() && matches!(value, Value::Object(_)),
            _ => false,
        };
        if !empty {
            return refuse(
                &format!("{pointer:?}, where an object or a list is"),
                "a place that is free or holds a plain value",
            );
        }
    }
    *place = value;
    Ok(())
}

/// `value` at the end of `steps`, in new objects and lists.
fn lay_out(steps: &[String], value: Value, pointer: &str) -> Result<Value, Error> {
    let mut value = value;
    for step in steps.iter().rev() {
        value = if !names_an_item(step) {
            Value::Object(vec![(step.clone(), value)])
        } else if index_of(step, 0).is_some() {
            Value::List(vec![value])
        } else {
            return Err(Error::invalid_argument(
                "pointer",
                &format!("{pointer:?} with {step:?} for a list of 0"),
                "an index in that list, or its length or \"-\" to append",
            ));
        };
    }
    Ok(value)
}

/// What all the setters do.
///
/// # Safety
///
/// As [`text`].
unsafe fn put(
    json: Option<&mut takings_json_t>,
    place: *const c_char,
    error: ErrorOut<'_>,
    value: impl FnOnce() -> Result<Value, Error>,
) -> bool {
    guard(error, || {
        let json = json.ok_or_else(|| null("json"))?;
        // SAFETY: the caller's promise.
        let place = unsafe { text("pointer", place) }?;
        set(&mut json.root, place, value()?)?;
        json.text = None;
        Ok(())
    })
    .is_some()
}

/// Begins with {}. Free it with takings_json_free. NULL only if takings itself is at fault.
#[unsafe(no_mangle)]
pub extern "C" fn takings_json_new() -> Option<Box<takings_json_t>> {
    guard(None, || Ok(Box::new(takings_json_t { root: Value::Object(Vec::new()), text: None })))
}

/// Puts a text at the pointer. false and an error: nothing was changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_json_set_string(
    json: Option<&mut takings_json_t>,
    pointer: *const c_char,
    value: *const c_char,
    error: Option<&mut MaybeUninit<Option<Box<takings_error_t>>>>,
) -> bool {
    // SAFETY: C strings or NULL, by the header's rules.
    unsafe { put(json, pointer, error, || Ok(Value::String(Zeroizing::new(text("value", value)?.to_owned())))) }
}

/// Puts a whole number at the pointer. false and an error: nothing was changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_json_set_integer(
    json: Option<&mut takings_json_t>,
    pointer: *const c_char,
    value: i64,
    error: Option<&mut MaybeUninit<Option<Box<takings_error_t>>>>,
) -> bool {
    // SAFETY: a C string or NULL, by the header's rules.
    unsafe { put(json, pointer, error, || Ok(Value::Integer(value))) }
}

/// Puts true or false at the pointer. false and an error: nothing was changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_json_set_bool(
    json: Option<&mut takings_json_t>,
    pointer: *const c_char,
    value: bool,
    error: Option<&mut MaybeUninit<Option<Box<takings_error_t>>>>,
) -> bool {
    // SAFETY: a C string or NULL, by the header's rules.
    unsafe { put(json, pointer, error, || Ok(Value::Bool(value))) }
}

/// Puts null at the pointer. false and an error: nothing was changed. (In a request, leave a
/// field out instead.)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_json_set_null(
    json: Option<&mut takings_json_t>,
    pointer: *const c_char,
    error: Option<&mut MaybeUninit<Option<Box<takings_error_t>>>>,
) -> bool {
    // SAFETY: a C string or NULL, by the header's rules.
    unsafe { put(json, pointer, error, || Ok(Value::Null)) }
}

/// Puts an empty list at the pointer: for a list that stays empty. false and an error: nothing
/// was changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_json_set_empty_list(
    json: Option<&mut takings_json_t>,
    pointer: *const c_char,
    error: Option<&mut MaybeUninit<Option<Box<takings_error_t>>>>,
) -> bool {
    // SAFETY: a C string or NULL, by the header's rules.
    unsafe { put(json, pointer, error, || Ok(Value::List(Vec::new()))) }
}

/// Puts an empty object at the pointer: for one that stays empty, or whose names are numbers.
/// false and an error: nothing was changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_json_set_empty_object(
    json: Option<&mut takings_json_t>,
    pointer: *const c_char,
    error: Option<&mut MaybeUninit<Option<Box<takings_error_t>>>>,
) -> bool {
    // SAFETY: a C string or NULL, by the header's rules.
    unsafe { put(json, pointer, error, || Ok(Value::Object(Vec::new()))) }
}

/// The JSON text so far, members in the order they were set. It stays valid until the next
/// change or takings_json_free.
#[unsafe(no_mangle)]
pub extern "C" fn takings_json_text(json: Option<&mut takings_json_t>) -> *const c_char {
    let text =
        guard(None, || Ok(json.map(|json| json.text.get_or_insert_with(|| Wiped::new(&json.root.text())).as_ptr())));
    text.flatten().unwrap_or(ptr::null())
}

/// Frees it and its text.
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
