//! Reading objects strictly, from any serde source: nothing is converted, nothing unknown is
//! passed over, and a refusal names the path, what it got and what is allowed.
//!
//! Each object is written down once, with [`object!`]: its fields, their types and their
//! [`Rule`]s. Reading, checking and writing follow from that.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::{self, Display as _};

use serde::Deserializer;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

use crate::error::Error;

/// What a field may hold.
pub(crate) enum Rule {
    /// A string: lengths in characters; control characters are refused.
    Text {
        min: usize,
        max: usize,
    },
    /// A string that no message ever repeats.
    Secret,
    /// A whole number; `unit` explains it.
    Integer {
        min: i64,
        max: i64,
        unit: &'static str,
    },
    Bool,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of at most `max` of something.
    List {
        max: usize,
        of: &'static str,
    },
    Object(&'static str),
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Text { min: 0, max } => {
                write!(f, "a string of at most {max} characters, none of them a control character")
            }
            Rule::Text { min, max } => {
                write!(f, "a string of {min} to {max} characters, none of them a control character")
            }
            Rule::Secret => f.write_str("a string"),
            Rule::Integer { min, max: i64::MAX, unit } => write!(f, "a whole number, {min} or more ({unit})"),
            Rule::Integer { min: i64::MIN, max, unit } => write!(f, "a whole number of at most {max} ({unit})"),
            Rule::Integer { min, max, unit } => write!(f, "a whole number from {min} to {max} ({unit})"),
            Rule::Bool => f.write_str("true or false"),
            Rule::Word(words) => write!(f, "one of {}", words.join(", ")),
            Rule::List { max, of } => write!(f, "a list of at most {max} {of}"),
            Rule::Object(noun) => write!(f, "an object ({noun})"),
        }
    }
}

/// One reading: what was wrong first, and how open enumerations are taken.
pub(crate) struct Reader {
    what: &'static str,
    accept_unknown_values: bool,
    problem: RefCell<Option<String>>,
}

impl Reader {
    /// `what` names the whole in messages: "the request".
    pub fn new(what: &'static str, accept_unknown_values: bool) -> Reader {
        Reader { what, accept_unknown_values, problem: RefCell::new(None) }
    }

    /// Reads `T` from JSON text.
    pub fn json<T: Field>(&self, text: &str, rule: &Rule) -> Result<T, Error> {
        let mut source = serde_json::Deserializer::from_str(text);
        let value = self.read(&mut source, rule)?;
        source.end().map_err(|error| self.root().refuse(format_args!("not valid JSON: {error}"), rule))?;
        Ok(value)
    }

    /// Reads `T` from any serde source.
    pub fn read<'de, T: Field, D: Deserializer<'de>>(&self, source: D, rule: &Rule) -> Result<T, Error> {
        let root = self.root();
        T::read(source, &root, rule).map_err(|error| {
            root.note(&error, rule);
            Error::invalid(self.problem.take().unwrap_or_default())
        })
    }

    pub fn root(&self) -> At<'_> {
        At { reader: self, up: None, step: Step::Root }
    }
}

/// A place in the object being read: `order_lines[3].quantity`.
pub(crate) struct At<'a> {
    reader: &'a Reader,
    up: Option<&'a At<'a>>,
    step: Step<'a>,
}

enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(up) = self.up else { return f.write_str(self.reader.what) };
        if !matches!(up.step, Step::Root) {
            up.fmt(f)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Key(key) if matches!(up.step, Step::Root) => f.write_str(key),
            Step::Key(key) => write!(f, ".{key}"),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

impl<'a> At<'a> {
    pub fn key(&'a self, key: &'a str) -> At<'a> {
        At { reader: self.reader, up: Some(self), step: Step::Key(key) }
    }

    pub fn index(&'a self, index: usize) -> At<'a> {
        At { reader: self.reader, up: Some(self), step: Step::Index(index) }
    }

    /// A refusal found while checking a value that could be read.
    pub fn refuse(&self, got: impl fmt::Display, rule: &Rule) -> Error {
        Error::invalid(format!("{self} is {got}; it must be {rule}"))
    }

    /// A refusal found while reading. The first one of a reading is kept.
    fn fail<E: de::Error>(&self, message: impl fmt::Display) -> E {
        self.reader.problem.borrow_mut().get_or_insert_with(|| message.to_string());
        E::custom("refused")
    }

    fn wrong<E: de::Error>(&self, got: impl fmt::Display, rule: &Rule) -> E {
        self.fail(format_args!("{self} is {got}; it must be {rule}"))
    }

    /// An error of the source itself (broken JSON, a value of a foreign type) gets the path.
    fn note<E: fmt::Display>(&self, error: &E, rule: &Rule) {
        if self.reader.problem.borrow().is_some() {
            return;
        }
        let text = error.to_string();
        // serde's own words for a value of the wrong type: "invalid type: map, expected ..."
        let message = match text.strip_prefix("invalid type: ") {
            Some(rest) => format!("{self} is {}; it must be {rule}", kind_of(rest)),
            None if self.up.is_none() => format!("{self} is not valid JSON: {text}; it must be {rule}"),
            None => format!("{self} cannot be read: {text}; it must be {rule}"),
        };
        *self.reader.problem.borrow_mut() = Some(message);
    }
}

/// The kind in one of serde's "invalid type" texts, without the value.
fn kind_of(text: &str) -> &str {
    const KINDS: [(&str, &str); 9] = [
        ("map", "an object"),
        ("sequence", "a list"),
        ("string", "a string"),
        ("integer", "a number"),
        ("floating point", "a number"),
        ("boolean", "a boolean"),
        ("null", "null"),
        ("unit", "null"),
        ("Option", "null"),
    ];
    KINDS
        .iter()
        .find(|(word, _)| text.starts_with(word))
        .map(|&(_, kind)| kind)
        .unwrap_or_else(|| text.split(", expected").next().unwrap_or(text))
}

/// A value that can be read strictly and checked against its rule.
pub(crate) trait Field: Sized {
    fn read<'de, D: Deserializer<'de>>(source: D, at: &At<'_>, rule: &Rule) -> Result<Self, D::Error>;
    fn check(&self, at: &At<'_>, rule: &Rule) -> Result<(), Error>;
}

/// Hands a place and a rule to serde.
pub(crate) struct Seed<'a, T> {
    at: &'a At<'a>,
    rule: &'a Rule,
    result: std::marker::PhantomData<T>,
}

impl<'a, T> Seed<'a, T> {
    pub fn new(at: &'a At<'a>, rule: &'a Rule) -> Seed<'a, T> {
        Seed { at, rule, result: std::marker::PhantomData }
    }
}

impl<'de, T: Field> DeserializeSeed<'de> for Seed<'_, T> {
    type Value = T;
    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<T, D::Error> {
        T::read(source, self.at, self.rule).inspect_err(|error| self.at.note(error, self.rule))
    }
}

/// Visits a scalar; whatever does not fit is refused with its kind.
struct Scalar<'a> {
    at: &'a At<'a>,
    rule: &'a Rule,
}

/// What a scalar can be.
enum Value {
    Integer(i64),
    Bool(bool),
    Text(String),
}

impl Scalar<'_> {
    fn wants_text(&self) -> bool {
        matches!(self.rule, Rule::Text { .. } | Rule::Secret | Rule::Word(_))
    }

    /// A number where it does not belong. Its digits help with numbers, and could be a
    /// secret elsewhere.
    fn number<E: de::Error>(&self, got: impl fmt::Display) -> E {
        match self.rule {
            Rule::Integer { .. } => self.at.wrong(format_args!("the number {got}"), self.rule),
            _ => self.at.wrong("a number", self.rule),
        }
    }
}

impl<'de> Visitor<'de> for Scalar<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rule.fmt(f)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        match self.rule {
            Rule::Integer { .. } => Ok(Value::Integer(value)),
            _ => Err(self.number(value)),
        }
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => Err(self.number(value)),
        }
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Value, E> {
        Err(self.number(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Err(self.number(format_args!("{value:?} with a fraction, an exponent or more than 64 bits")))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        match self.rule {
            Rule::Bool => Ok(Value::Bool(value)),
            _ => Err(self.at.wrong(value, self.rule)),
        }
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        if self.wants_text() {
            return Ok(Value::Text(value.to_owned()));
        }
        let looks_numeric = value.len() <= 20 && value.bytes().all(|b| b.is_ascii_digit() || b"+-., eE".contains(&b));
        Err(if looks_numeric && matches!(self.rule, Rule::Integer { .. }) {
            self.at.wrong(format_args!("the string {value:?}"), self.rule)
        } else {
            self.at.wrong("a string", self.rule)
        })
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Err(self.at.fail(format_args!("{} is null; leave an optional field out; it must be {}", self.at, self.rule)))
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Err(self.at.wrong("a list", self.rule))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Err(self.at.wrong("an object", self.rule))
    }
}

fn scalar<'de, D: Deserializer<'de>>(source: D, at: &At<'_>, rule: &Rule) -> Result<Value, D::Error> {
    source.deserialize_any(Scalar { at, rule })
}

impl Field for i64 {
    fn read<'de, D: Deserializer<'de>>(source: D, at: &At<'_>, rule: &Rule) -> Result<i64, D::Error> {
        match scalar(source, at, rule)? {
            Value::Integer(value) => Ok(value),
            _ => unreachable!("an integer rule admits integers only"),
        }
    }

    fn check(&self, at: &At<'_>, rule: &Rule) -> Result<(), Error> {
        match rule {
            Rule::Integer { min, max, .. } if self < min || self > max => Err(at.refuse(self, rule)),
            _ => Ok(()),
        }
    }
}

impl Field for bool {
    fn read<'de, D: Deserializer<'de>>(source: D, at: &At<'_>, rule: &Rule) -> Result<bool, D::Error> {
        match scalar(source, at, rule)? {
            Value::Bool(value) => Ok(value),
            _ => unreachable!("a boolean rule admits booleans only"),
        }
    }

    fn check(&self, _: &At<'_>, _: &Rule) -> Result<(), Error> {
        Ok(())
    }
}

impl Field for String {
    fn read<'de, D: Deserializer<'de>>(source: D, at: &At<'_>, rule: &Rule) -> Result<String, D::Error> {
        match scalar(source, at, rule)? {
            Value::Text(value) => Ok(value),
            _ => unreachable!("a text rule admits strings only"),
        }
    }

    fn check(&self, at: &At<'_>, rule: &Rule) -> Result<(), Error> {
        let Rule::Text { min, max } = rule else { return Ok(()) };
        // with one of these bytes each of them begins: most strings have none and need no closer look
        let suspect = self.bytes().fold(false, |found, byte| found | (byte < 0x20) | (byte == 0x7f) | (byte == 0xc2));
        if suspect && let Some(bad) = self.chars().find(|c| c.is_control()) {
            return Err(at.refuse(format_args!("a string with the control character U+{:04X}", bad as u32), rule));
        }
        // a string of n bytes has at most n characters
        if self.len() > *max || self.len() < *min {
            let length = self.chars().count();
            if length > *max || length < *min {
                return Err(at.refuse(format_args!("a string of {length} characters"), rule));
            }
        }
        Ok(())
    }
}

/// A text that is wiped when it goes.
impl Field for Zeroizing<String> {
    fn read<'de, D: Deserializer<'de>>(source: D, at: &At<'_>, rule: &Rule) -> Result<Self, D::Error> {
        String::read(source, at, rule).map(Zeroizing::new)
    }

    fn check(&self, at: &At<'_>, rule: &Rule) -> Result<(), Error> {
        (**self).check(at, rule)
    }
}

impl<T: Field + Item> Field for Vec<T> {
    fn read<'de, D: Deserializer<'de>>(source: D, at: &At<'_>, rule: &Rule) -> Result<Vec<T>, D::Error> {
        struct Items<'a, T>(Seed<'a, T>);
        impl<'de, T: Field + Item> Visitor<'de> for Items<'_, T> {
            type Value = Vec<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.rule.fmt(f)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
                let Seed { at, rule, .. } = self.0;
                let mut list = Vec::new();
                loop {
                    if list.len() >= max_of(rule) {
                        // one more shows whether the list ends in time
                        return match items.next_element::<de::IgnoredAny>()? {
                            None => Ok(list),
                            Some(_) => Err(at.wrong(format_args!("a list of more than {}", list.len()), rule)),
                        };
                    }
                    let item = at.index(list.len());
                    match items.next_element_seed(Seed::new(&item, &T::RULE))? {
                        Some(value) => list.push(value),
                        None => return Ok(list),
                    }
                }
            }
        }
        source.deserialize_seq(Items(Seed::new(at, rule)))
    }

    fn check(&self, at: &At<'_>, rule: &Rule) -> Result<(), Error> {
        if self.len() > max_of(rule) {
            return Err(at.refuse(format_args!("a list of {}", self.len()), rule));
        }
        self.iter().enumerate().try_for_each(|(index, item)| item.check(&at.index(index), &T::RULE))
    }
}

fn max_of(rule: &Rule) -> usize {
    match rule {
        Rule::List { max, .. } => *max,
        _ => usize::MAX,
    }
}

/// What can stand in a list.
pub(crate) trait Item {
    const RULE: Rule;
}

/// The key of an object, as text. One of the known names is not copied.
pub(crate) struct Key<'a> {
    pub at: &'a At<'a>,
    pub known: &'static [&'static str],
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Cow<'static, str>;
    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Self::Value, D::Error> {
        struct Text(&'static [&'static str]);
        impl Visitor<'_> for Text {
            type Value = Cow<'static, str>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field name")
            }
            fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
                let known = self.0.iter().copied().find(|&name| name == value);
                Ok(known.map_or_else(|| Cow::Owned(value.to_owned()), Cow::Borrowed))
            }
        }
        source.deserialize_str(Text(self.known)).map_err(|error| {
            match error.to_string().strip_prefix("invalid type: ") {
                Some(rest) => self.at.fail(format_args!(
                    "{} has {} as a key; its keys must be field names",
                    self.at,
                    kind_of(rest)
                )),
                None => error,
            }
        })
    }
}

impl At<'_> {
    pub fn unknown<E: de::Error>(&self, key: &str, noun: &str, known: &[&str]) -> E {
        let shown: String = key.chars().take(64).collect();
        let name = self.key(&shown).to_string();
        // a key comes from outside: nothing in it may steer a terminal
        let name = name.escape_debug();
        match nearest(key, known) {
            Some(near) => self.fail(format_args!("{name} is not a field of {noun}; did you mean {near}?")),
            None => self.fail(format_args!("{name} is not a field of {noun}; its fields are {}", known.join(", "))),
        }
    }

    pub fn duplicate<E: de::Error>(&self) -> E {
        self.fail(format_args!("{self} is given twice; it must stand once"))
    }

    pub fn missing<E: de::Error>(&self, rule: &Rule) -> E {
        self.fail(format_args!("{self} is missing; it must be {rule}"))
    }
}

fn nearest<'a>(got: &str, known: &[&'a str]) -> Option<&'a str> {
    // a huge key would only cost time
    if got.len() > 64 {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace(['_', '-', ' '], "");
    known
        .iter()
        .map(|&name| (strsim::osa_distance(&plain(got), &plain(name)), name))
        .filter(|&(distance, name)| distance <= (name.len() / 3).max(1))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

/// What stands where a word of ours belongs. A long one may be a credential that went astray.
pub(crate) fn shown_word(text: &str) -> String {
    match text.chars().count() {
        0..=16 => format!("{text:?}"),
        length => format!("a text of {length} characters"),
    }
}

/// Reads one of an enumeration's words. `open`: Klarna adds words of its own.
pub(crate) fn word<'de, D: Deserializer<'de>, T>(
    source: D,
    at: &At<'_>,
    rule: &Rule,
    known: &[&str],
    make: impl FnOnce(String) -> T,
    open: bool,
) -> Result<T, D::Error> {
    let text = String::read(source, at, rule)?;
    if known.contains(&text.as_str()) || (open && at.reader.accept_unknown_values) {
        return Ok(make(text));
    }
    let shown = if open { format!("{:?}", text.chars().take(40).collect::<String>()) } else { shown_word(&text) };
    let hint = match nearest(&text, known) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("it must be one of {}", known.join(", ")),
    };
    let opt_in = if open { " (accept_unknown_values lets a value pass that Klarna added later)" } else { "" };
    Err(at.fail(format_args!("{at} is {shown}, which is not known; {hint}{opt_in}")))
}

/// Writes down an object once: documentation, fields, rules. From it follow the struct, the
/// strict reader, the check and the compact writer, all in the order given here.
macro_rules! object {
    (
        $(#[$meta:meta])*
        $vis:vis struct $Name:ident: $noun:literal {
            $( $(#[$doc:meta])* $need:ident $field:ident $wire:literal: $T:ty, $rule:expr; )*
        }
    ) => {
        $(#[$meta])*
        #[non_exhaustive]
        #[derive(Clone, Debug, PartialEq)]
        $vis struct $Name {
            $( $(#[$doc])* pub $field: $crate::strict::object!(@type $need $T), )*
        }

        impl $Name {
            /// The names of the fields, in the order in which they are written.
            pub const FIELDS: &'static [&'static str] = &[$($wire),*];
        }

        impl $crate::strict::Item for $Name {
            const RULE: $crate::strict::Rule = $crate::strict::Rule::Object($noun);
        }

        impl $crate::strict::Field for $Name {
            fn read<'de, D: serde::Deserializer<'de>>(
                source: D,
                at: &$crate::strict::At<'_>,
                rule: &$crate::strict::Rule,
            ) -> Result<Self, D::Error> {
                struct Fields<'a>(&'a $crate::strict::At<'a>, &'a $crate::strict::Rule);
                impl<'de> serde::de::Visitor<'de> for Fields<'_> {
                    type Value = $Name;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        std::fmt::Display::fmt(self.1, f)
                    }
                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$Name, A::Error> {
                        let at = self.0;
                        $( let mut $field: Option<$T> = None; )*
                        while let Some(key) = map.next_key_seed($crate::strict::Key { at, known: $Name::FIELDS })? {
                            match key.as_ref() {
                                $( $wire => {
                                    let here = at.key($wire);
                                    if $field.is_some() {
                                        return Err(here.duplicate());
                                    }
                                    $field = Some(map.next_value_seed($crate::strict::Seed::<$T>::new(&here, &$rule))?);
                                } )*
                                unknown => return Err(at.unknown(unknown, $noun, $Name::FIELDS)),
                            }
                        }
                        Ok($Name { $( $field: $crate::strict::object!(@take $need $field, at.key($wire), $rule), )* })
                    }
                }
                source.deserialize_map(Fields(at, rule))
            }

            fn check(&self, at: &$crate::strict::At<'_>, _: &$crate::strict::Rule) -> Result<(), $crate::Error> {
                $( $crate::strict::object!(@check $need self.$field, at.key($wire), $rule); )*
                Ok(())
            }
        }

        impl serde::Serialize for $Name {
            fn serialize<S: serde::Serializer>(&self, sink: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let mut map = sink.serialize_map(None)?;
                $( $crate::strict::object!(@write $need self.$field, map, $wire); )*
                map.end()
            }
        }
    };

    (@type required $T:ty) => { $T };
    (@type optional $T:ty) => { Option<$T> };
    (@take required $value:ident, $at:expr, $rule:expr) => {
        match $value { Some(value) => value, None => return Err($at.missing(&$rule)) }
    };
    (@take optional $value:ident, $at:expr, $rule:expr) => { $value };
    (@check required $value:expr, $at:expr, $rule:expr) => {
        $crate::strict::Field::check(&$value, &$at, &$rule)?
    };
    (@check optional $value:expr, $at:expr, $rule:expr) => {
        if let Some(value) = &$value { $crate::strict::Field::check(value, &$at, &$rule)? }
    };
    (@write required $value:expr, $map:ident, $wire:literal) => { $map.serialize_entry($wire, &$value)? };
    (@write optional $value:expr, $map:ident, $wire:literal) => {
        if let Some(value) = &$value { $map.serialize_entry($wire, value)? }
    };
}
pub(crate) use object;

/// Writes down an enumeration of words. `open` ones have `Other`, for words Klarna adds.
macro_rules! words {
    ($(#[$meta:meta])* $vis:vis enum $Name:ident: $open:ident { $( $(#[$doc:meta])* $Variant:ident = $word:literal, )* }) => {
        $crate::strict::words!(@enum $open [$(#[$meta])*] $vis $Name { $( $(#[$doc])* $Variant = $word, )* });

        impl $Name {
            /// Every known word.
            pub const KNOWN: &'static [&'static str] = &[$($word),*];
            pub(crate) const RULE: $crate::strict::Rule = $crate::strict::Rule::Word(Self::KNOWN);
        }

        impl std::fmt::Display for $Name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $Name {
            fn serialize<S: serde::Serializer>(&self, sink: S) -> Result<S::Ok, S::Error> {
                sink.serialize_str(self.as_str())
            }
        }
    };

    (@enum open [$(#[$meta:meta])*] $vis:vis $Name:ident { $( $(#[$doc:meta])* $Variant:ident = $word:literal, )* }) => {
        $(#[$meta])*
        #[non_exhaustive]
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis enum $Name {
            $( $(#[$doc])* #[doc = concat!("`", $word, "`")] $Variant, )*
            /// A value that takings does not know, sent as it is: choosing it is the opt-in.
            Other(String),
        }

        impl $Name {
            /// Klarna's word for it.
            pub fn as_str(&self) -> &str {
                match self { $( $Name::$Variant => $word, )* $Name::Other(word) => word }
            }
        }

        impl $crate::strict::Field for $Name {
            fn read<'de, D: serde::Deserializer<'de>>(
                source: D,
                at: &$crate::strict::At<'_>,
                rule: &$crate::strict::Rule,
            ) -> Result<Self, D::Error> {
                let make = |word: String| match word.as_str() {
                    $( $word => $Name::$Variant, )*
                    _ => $Name::Other(word),
                };
                $crate::strict::word(source, at, rule, $Name::KNOWN, make, true)
            }

            fn check(&self, at: &$crate::strict::At<'_>, _: &$crate::strict::Rule) -> Result<(), $crate::Error> {
                match self {
                    $Name::Other(word) => word.check(at, &$crate::strict::Rule::Text { min: 1, max: 255 }),
                    _ => Ok(()),
                }
            }
        }
    };

    (@enum closed [$(#[$meta:meta])*] $vis:vis $Name:ident { $( $(#[$doc:meta])* $Variant:ident = $word:literal, )* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $Name {
            $( $(#[$doc])* #[doc = concat!("`", $word, "`")] $Variant, )*
        }

        impl $Name {
            /// The word for it.
            pub fn as_str(&self) -> &'static str {
                match self { $( $Name::$Variant => $word, )* }
            }

            #[allow(dead_code, reason = "some words are also read from plain text")]
            pub(crate) fn from_word(word: &str) -> Option<$Name> {
                match word { $( $word => Some($Name::$Variant), )* _ => None }
            }
        }

        impl $crate::strict::Field for $Name {
            fn read<'de, D: serde::Deserializer<'de>>(
                source: D,
                at: &$crate::strict::At<'_>,
                rule: &$crate::strict::Rule,
            ) -> Result<Self, D::Error> {
                let make = |word: String| $Name::from_word(&word).expect("a known word");
                $crate::strict::word(source, at, rule, $Name::KNOWN, make, false)
            }

            fn check(&self, _: &$crate::strict::At<'_>, _: &$crate::strict::Rule) -> Result<(), $crate::Error> {
                Ok(())
            }
        }
    };
}
pub(crate) use words;
