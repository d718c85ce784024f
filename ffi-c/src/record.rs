//! Replies, errors and attempts for C: one structure for all of them, whose getters stand in `generated.rs`. The reply
//! of an operation without typed getters is read by the names of its fields.

use std::ffi::{CString, c_char};
use std::mem::MaybeUninit;

use takings::binding::{Fact, RecordInfo, milliseconds, milliseconds_since_1970, name_in_milliseconds};
use takings::{Attempt, Error, Reply};

use crate::value::takings_value_t;
use crate::{c_string, free, pointer, takings_attempt_t, takings_error_t, text};

/// The value of a field, as C reads it.
enum Held {
    Absent,
    Text(CString),
    /// A number, a yes or no, or a time or duration in milliseconds.
    Integer(i64),
    Texts(Vec<CString>),
    Attempts(Vec<takings_attempt_t>),
}

/// The fields of a reply, an error or an attempt, in the order of the core's description.
pub(crate) struct Record {
    info: &'static RecordInfo,
    fields: Vec<Held>,
    json: CString,
    /// Klarna's document, of an operation that answers one.
    pub(crate) document: Option<takings_value_t>,
}

impl Record {
    pub(crate) fn new<'a>(info: &'static RecordInfo, facts: impl IntoIterator<Item = Fact<'a>>, json: &str) -> Record {
        let held = |fact| match fact {
            Fact::Absent => Held::Absent,
            Fact::Text(text) => Held::Text(c_string(text)),
            Fact::Integer(number) => Held::Integer(number),
            Fact::Flag(flag) => Held::Integer(flag.into()),
            Fact::Texts(texts) => Held::Texts(texts.iter().map(|text| c_string(text)).collect()),
            Fact::Attempts(attempts) => Held::Attempts(attempts.iter().map(takings_attempt_t::from).collect()),
            Fact::Time(time) => Held::Integer(milliseconds_since_1970(time)),
            Fact::Duration(duration) => Held::Integer(milliseconds(duration)),
        };
        Record { info, fields: facts.into_iter().map(held).collect(), json: c_string(json), document: None }
    }

    fn held(record: Option<&Record>, index: usize) -> &Held {
        record.and_then(|record| record.fields.get(index)).unwrap_or(&Held::Absent)
    }
}

impl From<&Reply> for Record {
    fn from(reply: &Reply) -> Record {
        let document = reply.document().map(|(_, root)| takings_value_t::of_object(reply, root));
        Record { document, ..Record::new(reply.info(), reply.facts(), &reply.to_json()) }
    }
}

impl From<Error> for takings_error_t {
    fn from(error: Error) -> takings_error_t {
        takings_error_t(Record::new(&Error::INFO, error.facts(), &error.to_json()))
    }
}

impl From<&Attempt> for takings_attempt_t {
    fn from(attempt: &Attempt) -> takings_attempt_t {
        takings_attempt_t(Record::new(&Attempt::INFO, attempt.facts(), ""))
    }
}

// Helpers of the getters. NULL has no field; an absent field of a record counts the same.

pub(crate) fn text_of(record: Option<&Record>, index: usize) -> Option<&CString> {
    if let Held::Text(text) = Record::held(record, index) { Some(text) } else { None }
}

pub(crate) fn word_of(record: Option<&Record>, index: usize) -> Option<&str> {
    text_of(record, index).and_then(|word| word.to_str().ok())
}

pub(crate) fn number_of(record: Option<&Record>, index: usize) -> Option<i64> {
    if let Held::Integer(number) = Record::held(record, index) { Some(*number) } else { None }
}

/// A number in the type that its getter has; `absent` where there is none.
pub(crate) fn number<T: TryFrom<i64>>(record: Option<&Record>, index: usize, absent: T) -> T {
    number_of(record, index).and_then(|number| number.try_into().ok()).unwrap_or(absent)
}

pub(crate) fn count_of(record: Option<&Record>, index: usize) -> usize {
    match Record::held(record, index) {
        Held::Texts(texts) => texts.len(),
        Held::Attempts(attempts) => attempts.len(),
        _ => 0,
    }
}

pub(crate) fn item_of(record: Option<&Record>, index: usize, at: usize) -> Option<&CString> {
    if let Held::Texts(texts) = Record::held(record, index) { texts.get(at) } else { None }
}

pub(crate) fn attempt_of(record: Option<&Record>, index: usize, at: usize) -> Option<&takings_attempt_t> {
    if let Held::Attempts(attempts) = Record::held(record, index) { attempts.get(at) } else { None }
}

pub(crate) fn json_of(record: Option<&Record>) -> *const c_char {
    pointer(record.map(|record| &record.json))
}

/// The outcome of a call to any operation. Its fields are read by name, such as "capture_id", or as
/// one JSON text; the operation decides which there are. Any number of threads may read it.
pub struct takings_reply_t {
    pub(crate) record: Record,
    operation: CString,
}

impl takings_reply_t {
    pub(crate) fn new(reply: &Reply) -> Box<takings_reply_t> {
        Box::new(takings_reply_t { record: reply.into(), operation: c_string(reply.operation()) })
    }
}

/// The record of a reply, and the field of that name in it.
///
/// # Safety
///
/// As [`text`].
unsafe fn field(reply: Option<&takings_reply_t>, name: *const c_char) -> (Option<&Record>, usize) {
    let record = reply.map(|reply| &reply.record);
    // SAFETY: the caller's promise.
    let name = unsafe { text("name", name) }.unwrap_or_default();
    let fields = record.map_or(&[] as &[_], |record| record.info.fields);
    let index = fields.iter().position(|field| name_in_milliseconds(field.name, field.kind) == name);
    (record, index.unwrap_or(usize::MAX))
}

/// The name of the operation, such as "capture".
#[unsafe(no_mangle)]
pub extern "C" fn takings_reply_operation(reply: Option<&takings_reply_t>) -> *const c_char {
    pointer(reply.map(|reply| &reply.operation))
}

/// The text of that name, such as "capture_id"; NULL where the reply has none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_reply_text(reply: Option<&takings_reply_t>, name: *const c_char) -> *const c_char {
    // SAFETY: a C string or NULL, by the header's rules.
    let (record, index) = unsafe { field(reply, name) };
    pointer(text_of(record, index))
}

/// Puts the number of that name, such as "attempts", into *value; yes and no are 1 and 0. false:
/// the reply has none, and *value is as it was.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_reply_integer(
    reply: Option<&takings_reply_t>,
    name: *const c_char,
    value: Option<&mut MaybeUninit<i64>>,
) -> bool {
    // SAFETY: a C string or NULL, by the header's rules.
    let (record, index) = unsafe { field(reply, name) };
    number_of(record, index).zip(value).map(|(number, value)| value.write(number)).is_some()
}

/// How many texts the list of that name holds, such as "warnings", or how many requests
/// "attempt_log" does; 0 where the reply has no such list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_reply_count(reply: Option<&takings_reply_t>, name: *const c_char) -> usize {
    // SAFETY: a C string or NULL, by the header's rules.
    let (record, index) = unsafe { field(reply, name) };
    count_of(record, index)
}

/// A text of the list of that name, counted from 0; NULL beyond the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn takings_reply_text_at(
    reply: Option<&takings_reply_t>,
    name: *const c_char,
    index: usize,
) -> *const c_char {
    // SAFETY: a C string or NULL, by the header's rules.
    let (record, list) = unsafe { field(reply, name) };
    pointer(item_of(record, list, index))
}

/// All fields as a JSON object. Times are whole milliseconds, and their names end in _ms.
#[unsafe(no_mangle)]
pub extern "C" fn takings_reply_json(reply: Option<&takings_reply_t>) -> *const c_char {
    json_of(reply.map(|reply| &reply.record))
}

/// Frees a reply and its strings.
#[unsafe(no_mangle)]
pub extern "C" fn takings_reply_free(reply: Option<Box<takings_reply_t>>) {
    free(reply);
}
