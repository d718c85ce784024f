//! The types that fields can have: numbers, booleans, texts, times, paths, lists, words.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::copy::{Sink, Watch};
use super::plain::{Piece, Plain};
use super::reader::{At, CopySeed, Field, Item, Reader, Seed, shown_word, suggestion};
use super::rule::{MOST_SECONDS, Rule, Unit};
use super::schema::{Kind, ListInfo};
use crate::error::Error;
use crate::text::{is_plain, oddity};

/// A field's value, written as its source would give it in milliseconds.
pub(crate) struct Written<'a, T>(pub &'a T);

impl<T: Field> Serialize for Written<'_, T> {
    #[inline]
    fn serialize<S: Serializer>(&self, sink: S) -> Result<S::Ok, S::Error> {
        self.0.write(sink)
    }
}

impl<T: Field> Written<'_, T> {
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("a default can be written")
    }
}

/// Visits a scalar; every other kind is refused by its name.
struct ScalarVisitor<'a, F> {
    at: &'a At<'a>,
    rule: &'a Rule,
    /// Takes a text.
    take: F,
}

/// A value without parts. A text was taken, and `T` is left of it.
enum Scalar<T> {
    Integer(i64),
    Bool(bool),
    Text(T),
}

impl<F> ScalarVisitor<'_, F> {
    fn wants_text(&self) -> bool {
        matches!(self.rule, Rule::Text { .. } | Rule::Name { .. } | Rule::Url { .. } | Rule::Secret | Rule::Word(_))
    }

    fn wants_number(&self) -> bool {
        matches!(self.rule, Rule::Integer { .. } | Rule::Time { .. })
    }

    /// The refusal of a number. Its digits are shown only where a number is expected; elsewhere they could be a secret.
    fn number<E: de::Error>(&self, got: impl fmt::Display) -> E {
        if self.wants_number() { self.at.wrong(got, self.rule) } else { self.at.wrong("a number", self.rule) }
    }
}

impl<'de, T, F: FnOnce(&str) -> T> Visitor<'de> for ScalarVisitor<'_, F> {
    type Value = Scalar<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.at.allowed(self.rule))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Scalar<T>, E> {
        if self.wants_number() {
            Ok(Scalar::Integer(value))
        } else {
            Err(self.number(format_args!("the number {value}")))
        }
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Scalar<T>, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => Err(self.number(format_args!("the number {value}"))),
        }
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Scalar<T>, E> {
        Err(self.number(format_args!("the number {value}")))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Scalar<T>, E> {
        Err(self.number(self.rule.fraction(value, self.at.reader.voice)))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Scalar<T>, E> {
        match self.rule {
            Rule::Bool => Ok(Scalar::Bool(value)),
            _ => Err(self.at.wrong(self.at.reader.voice.boolean(value), self.rule)),
        }
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Scalar<T>, E> {
        if self.wants_text() {
            return Ok(Scalar::Text((self.take)(value)));
        }
        let looks_numeric = value.len() <= 20 && value.bytes().all(|b| b.is_ascii_digit() || b"+-., eE".contains(&b));
        Err(if looks_numeric && self.wants_number() {
            self.at.wrong(format_args!("the string {value:?}"), self.rule)
        } else {
            self.at.wrong("a string", self.rule)
        })
    }

    fn visit_unit<E: de::Error>(self) -> Result<Scalar<T>, E> {
        Err(self.at.fail(self.at.nothing(self.rule)))
    }

    fn visit_none<E: de::Error>(self) -> Result<Scalar<T>, E> {
        self.visit_unit()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Scalar<T>, A::Error> {
        Err(self.at.wrong("a list", self.rule))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Scalar<T>, A::Error> {
        Err(self.at.wrong(self.at.reader.voice.object(), self.rule))
    }
}

#[inline]
fn scalar<'de, D: Deserializer<'de>, T>(
    source: D,
    at: &At<'_>,
    rule: &Rule,
    take: impl FnOnce(&str) -> T,
) -> Result<Scalar<T>, D::Error> {
    source.deserialize_any(ScalarVisitor { at, rule, take })
}

/// The text of a source, which `take` takes.
#[inline]
fn text<'de, D: Deserializer<'de>, T>(
    source: D,
    at: &At<'_>,
    rule: &Rule,
    take: impl FnOnce(&str) -> T,
) -> Result<T, D::Error> {
    match scalar(source, at, rule, take)? {
        Scalar::Text(taken) => Ok(taken),
        _ => unreachable!("a text rule admits strings only"),
    }
}

impl Field for i64 {
    const KIND: Kind = Kind::Integer;

    fn blank() -> i64 {
        0
    }

    fn read<'de, D: Deserializer<'de>>(source: D, at: &At<'_>, rule: &Rule) -> Result<i64, D::Error> {
        match scalar(source, at, rule, |_| ())? {
            Scalar::Integer(value) => Ok(at.checked(value, rule)),
            _ => unreachable!("an integer rule admits integers only"),
        }
    }

    #[inline]
    fn copy<'de, D: Deserializer<'de>, W: Watch>(
        source: D,
        at: &At<'_>,
        rule: &Rule,
        sink: &mut Sink<W>,
    ) -> Result<Option<i64>, D::Error> {
        let value = i64::read(source, at, rule)?;
        sink.integer(value);
        Ok(Some(value))
    }

    #[inline(always)]
    fn plain<W: Watch>(source: &mut Plain<'_>, rule: &Rule, _: &mut W) -> Option<(Piece, Option<i64>)> {
        let (piece, value) = source.integer()?;
        let Rule::Integer { min, max, .. } = rule else { return None };
        (*min..=*max).contains(&value).then_some((piece, Some(value)))
    }

    fn check(&self, at: &At<'_>, rule: &Rule) -> Result<(), Error> {
        match rule {
            Rule::Integer { min, max, .. } if self < min || self > max => Err(at.refuse(self, rule)),
            _ => Ok(()),
        }
    }

    fn write<S: Serializer>(&self, sink: S) -> Result<S::Ok, S::Error> {
        sink.serialize_i64(*self)
    }
}

/// A small count. Its rule keeps within its type.
impl Field for u32 {
    const KIND: Kind = Kind::Integer;

    fn blank() -> u32 {
        0
    }

    fn read<'de, D: Deserializer<'de>>(source: D, at: &At<'_>, rule: &Rule) -> Result<u32, D::Error> {
        let value = i64::read(source, at, rule)?;
        u32::try_from(value).map_err(|_| at.wrong(value, rule))
    }

    fn check(&self, at: &At<'_>, rule: &Rule) -> Result<(), Error> {
        i64::from(*self).check(at, rule)
    }

    fn write<S: Serializer>(&self, sink: S) -> Result<S::Ok, S::Error> {
        sink.serialize_u32(*self)
    }
}

impl Field for bool {
    const KIND: Kind = Kind::Boolean;

    fn blank() -> bool {
        false
    }

    fn read<'de, D: Deserializer<'de>>(source: D, at: &At<'_>, rule: &Rule) -> Result<bool, D::Error> {
        match scalar(source, at, rule, |_| ())? {
            Scalar::Bool(value) => Ok(value),
            _ => unreachable!("a boolean rule admits booleans only"),
        }
    }

    fn check(&self, _: &At<'_>, _: &Rule) -> Result<(), Error> {
        Ok(())
    }

    fn write<S: Serializer>(&self, sink: S) -> Result<S::Ok, S::Error> {
        sink.serialize_bool(*self)
    }
}

/// Times are refused while they are read: a `Duration` holds no negative one to refuse later.
impl Field for Duration {
    const KIND: Kind = Kind::Duration;

    fn blank() -> Duration {
        Duration::ZERO
    }

    fn read<'de, D: Deserializer<'de>>(source: D, at: &At<'_>, rule: &Rule) -> Result<Duration, D::Error> {
        if at.reader.unit == Unit::Seconds {
            return source.deserialize_any(SecondsVisitor { at, rule });
        }
        let value = i64::read(source, at, rule)?;
        match u64::try_from(value).map(Duration::from_millis) {
            Ok(time) if time_fits(time, rule) => Ok(time),
            _ => Err(at.wrong(value, rule)),
        }
    }

    fn check(&self, at: &At<'_>, rule: &Rule) -> Result<(), Error> {
        if time_fits(*self, rule) { Ok(()) } else { Err(at.refuse(format_args!("{self:?}"), rule)) }
    }

    /// Writes milliseconds, rounded up: a short time must not become 0.
    fn write<S: Serializer>(&self, sink: S) -> Result<S::Ok, S::Error> {
        let milliseconds = self.as_nanos().div_ceil(1_000_000);
        sink.serialize_u64(u64::try_from(milliseconds).unwrap_or(u64::MAX))
    }
}

fn time_fits(time: Duration, rule: &Rule) -> bool {
    match *rule {
        Rule::Time { min_ms, max_ms } => {
            (Duration::from_millis(min_ms)..=Duration::from_millis(max_ms)).contains(&time)
        }
        _ => true,
    }
}

/// Visits a time in seconds, whole or with a fraction.
struct SecondsVisitor<'a> {
    at: &'a At<'a>,
    rule: &'a Rule,
}

impl SecondsVisitor<'_> {
    /// The refusal of a value that is no number.
    fn refuse<E: de::Error>(
        &self,
        visited: impl FnOnce(ScalarVisitor<'_, fn(&str)>) -> Result<Scalar<()>, E>,
    ) -> Result<Duration, E> {
        visited(ScalarVisitor { at: self.at, rule: self.rule, take: |_| () })
            .map(|_| unreachable!("no other kind is a time"))
    }
}

impl<'de> Visitor<'de> for SecondsVisitor<'_> {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.at.allowed(self.rule))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Duration, E> {
        match Duration::try_from_secs_f64(value) {
            Ok(time) if time > Duration::from_secs(MOST_SECONDS) && time_fits(time, self.rule) => {
                let meant = value / 1000.0;
                let got = format_args!(
                    "{value:?}; times are in seconds here, not in milliseconds: write {meant} for {meant} s"
                );
                Err(self.at.wrong(got, self.rule))
            }
            Ok(time) if time_fits(time, self.rule) => Ok(time),
            // Such a time is more than nothing, so the rule alone would let it pass.
            Ok(time) if value > 0.0 && time < Duration::from_millis(1) => {
                Err(self.at.wrong(format_args!("{value:?}, less than a millisecond"), self.rule))
            }
            _ => Err(self.at.wrong(format_args!("{value:?}"), self.rule)),
        }
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Duration, E> {
        self.visit_f64(value as f64)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Duration, E> {
        self.visit_f64(value as f64)
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Duration, E> {
        self.visit_f64(value as f64)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Duration, E> {
        self.refuse(|scalar| scalar.visit_bool(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Duration, E> {
        self.refuse(|scalar| scalar.visit_str(value))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Duration, E> {
        self.refuse(|scalar| scalar.visit_unit())
    }

    fn visit_none<E: de::Error>(self) -> Result<Duration, E> {
        self.visit_unit()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Duration, A::Error> {
        self.refuse(|scalar| scalar.visit_seq(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, pairs: A) -> Result<Duration, A::Error> {
        self.refuse(|scalar| scalar.visit_map(pairs))
    }
}

impl Field for String {
    const KIND: Kind = Kind::Text;

    fn blank() -> String {
        String::new()
    }

    fn read<'de, D: Deserializer<'de>>(source: D, at: &At<'_>, rule: &Rule) -> Result<String, D::Error> {
        Ok(at.checked(text(source, at, rule, str::to_owned)?, rule))
    }

    #[inline]
    fn copy<'de, D: Deserializer<'de>, W: Watch>(
        source: D,
        at: &At<'_>,
        rule: &Rule,
        sink: &mut Sink<W>,
    ) -> Result<Option<i64>, D::Error> {
        text(source, at, rule, |text| {
            at.kept(check_text(text, at, rule));
            sink.text(text);
        })?;
        Ok(None)
    }

    #[inline(always)]
    fn plain<W: Watch>(source: &mut Plain<'_>, rule: &Rule, _: &mut W) -> Option<(Piece, Option<i64>)> {
        let (Rule::Text { min, max } | Rule::Name { min, max } | Rule::Url { min, max }) = rule else { return None };
        let (min, max) = (*min, *max);
        let piece = source.text(|text, is_printable| {
            let bytes = text.as_bytes();
            let has_blanks = bytes.first() == Some(&b' ') || bytes.last() == Some(&b' ');
            is_printable && !has_blanks && (min..=max).contains(&bytes.len())
                || check_closely(text, &Reader::new("", true).root(), rule, (min, max)).is_ok()
        })?;
        Some((piece, None))
    }

    fn check(&self, at: &At<'_>, rule: &Rule) -> Result<(), Error> {
        check_text(self, at, rule)
    }

    fn write<S: Serializer>(&self, sink: S) -> Result<S::Ok, S::Error> {
        sink.serialize_str(self)
    }
}

#[inline]
fn check_text(text: &str, at: &At<'_>, rule: &Rule) -> Result<(), Error> {
    let (Rule::Text { min, max } | Rule::Name { min, max } | Rule::Url { min, max }) = rule else { return Ok(()) };
    // A string of n bytes has at most n characters, and n of them where it is plain.
    match (*min..=*max).contains(&text.len()) && is_plain(text) {
        true => Ok(()),
        false => check_closely(text, at, rule, (*min, *max)),
    }
}

/// Checks a text that is not plain, or has more bytes than it may have characters.
#[inline(never)]
fn check_closely(text: &str, at: &At<'_>, rule: &Rule, (min, max): (usize, usize)) -> Result<(), Error> {
    let control = text.chars().find(|c| c.is_control());
    if matches!(rule, Rule::Name { .. })
        && let Some(oddity) = oddity(text)
    {
        return Err(match control {
            Some(_) => at.refuse(format_args!("a string that {oddity}, a control character"), rule),
            None => Error::odd(&at.to_string(), &oddity, &at.allowed(rule).to_string()),
        });
    }
    if let Some(bad) = control {
        return Err(at.refuse(format_args!("a string with the control character U+{:04X}", bad as u32), rule));
    }
    match text.chars().count() {
        length if length < min || length > max => Err(at.refuse(format_args!("a string of {length} characters"), rule)),
        _ => Ok(()),
    }
}

/// A text that is wiped when dropped.
impl Field for Zeroizing<String> {
    const KIND: Kind = Kind::Text;

    fn blank() -> Self {
        Zeroizing::default()
    }

    fn read<'de, D: Deserializer<'de>>(source: D, at: &At<'_>, rule: &Rule) -> Result<Self, D::Error> {
        String::read(source, at, rule).map(Zeroizing::new)
    }

    fn check(&self, at: &At<'_>, rule: &Rule) -> Result<(), Error> {
        check_text(self, at, rule)
    }

    fn write<S: Serializer>(&self, sink: S) -> Result<S::Ok, S::Error> {
        sink.serialize_str(self)
    }
}

impl Field for PathBuf {
    const KIND: Kind = Kind::Text;

    fn blank() -> PathBuf {
        PathBuf::new()
    }

    fn read<'de, D: Deserializer<'de>>(source: D, at: &At<'_>, rule: &Rule) -> Result<PathBuf, D::Error> {
        String::read(source, at, rule).map(PathBuf::from)
    }

    fn check(&self, at: &At<'_>, rule: &Rule) -> Result<(), Error> {
        self.to_str().map_or(Ok(()), |text| check_text(text, at, rule))
    }

    fn write<S: Serializer>(&self, sink: S) -> Result<S::Ok, S::Error> {
        match self.to_str() {
            Some(text) => sink.serialize_str(text),
            None => Err(serde::ser::Error::custom("a path that is not UTF-8")),
        }
    }
}

impl<T: Field + Item> Field for Vec<T> {
    const KIND: Kind = Kind::List(&ListInfo { kind: T::KIND, rule: T::RULE });

    fn blank() -> Vec<T> {
        Vec::new()
    }

    fn read<'de, D: Deserializer<'de>>(source: D, at: &At<'_>, rule: &Rule) -> Result<Vec<T>, D::Error> {
        struct Items<'a, T>(Seed<'a, T>);
        impl<'de, T: Field + Item> Visitor<'de> for Items<'_, T> {
            type Value = Vec<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0.at.allowed(self.0.rule))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
                let Seed { at, rule, .. } = self.0;
                // Most orders have a line or two; room for the usual four would be a large block of memory.
                let mut list = Vec::with_capacity(1);
                loop {
                    if list.len() >= max_of(rule) {
                        // Another item is read to learn whether the list ends at its limit.
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

    fn copy<'de, D: Deserializer<'de>, W: Watch>(
        source: D,
        at: &At<'_>,
        rule: &Rule,
        sink: &mut Sink<W>,
    ) -> Result<Option<i64>, D::Error> {
        struct Items<'a, T, W>(Seed<'a, T>, &'a mut Sink<W>);
        impl<'de, T: Field + Item, W: Watch> Visitor<'de> for Items<'_, T, W> {
            type Value = ();
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0.at.allowed(self.0.rule))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
                let Items(Seed { at, rule, .. }, sink) = self;
                sink.byte(b'[');
                for index in 0..max_of(rule) {
                    let (item, before) = (at.index(index), sink.length());
                    if index > 0 {
                        sink.byte(b',');
                    }
                    if items.next_element_seed(CopySeed::<T, W>::new(&item, &T::RULE, sink))?.is_none() {
                        sink.shorten(before);
                        sink.byte(b']');
                        return Ok(());
                    }
                }
                match items.next_element::<de::IgnoredAny>()? {
                    None => {
                        sink.byte(b']');
                        Ok(())
                    }
                    Some(_) => Err(at.wrong(format_args!("a list of more than {}", max_of(rule)), rule)),
                }
            }
        }
        source.deserialize_seq(Items(Seed::<T>::new(at, rule), sink))?;
        Ok(None)
    }

    fn plain<W: Watch>(source: &mut Plain<'_>, rule: &Rule, watch: &mut W) -> Option<(Piece, Option<i64>)> {
        Some((source.list(max_of(rule), |source| Some(T::plain(source, &T::RULE, watch)?.0))?, None))
    }

    fn write<S: Serializer>(&self, sink: S) -> Result<S::Ok, S::Error> {
        sink.collect_seq(self.iter().map(Written))
    }
}

fn max_of(rule: &Rule) -> usize {
    match rule {
        Rule::List { max, .. } => *max,
        _ => usize::MAX,
    }
}

/// Words of other libraries for regions and environments.
const OTHER_WORDS: [(&str, &str); 10] = [
    ("us", "na"),
    ("usa", "na"),
    ("au", "oc"),
    ("europe", "eu"),
    ("prod", "live"),
    ("production", "live"),
    ("test", "playground"),
    ("testing", "playground"),
    ("staging", "playground"),
    ("sandbox", "playground"),
];

/// Reads one of an enumeration's words, those of regions and environments in any case of letters. `open`: Klarna adds words of its own.
pub(crate) fn word<'de, D: Deserializer<'de>, T: Field>(
    source: D,
    at: &At<'_>,
    rule: &Rule,
    known: &[&str],
    make: impl FnOnce(String) -> T,
    open: bool,
) -> Result<T, D::Error> {
    let text = text(source, at, rule, str::to_owned)?;
    if known.contains(&text.as_str()) || (open && at.reader.accept_unknown_values) {
        return Ok(at.checked(make(text), rule));
    }
    another_word(text, at, rule, known, make, open)
}

/// Reads one of an enumeration's words and writes it.
#[inline]
pub(crate) fn copy_word<'de, D: Deserializer<'de>, T: Field, W: Watch>(
    source: D,
    at: &At<'_>,
    rule: &Rule,
    known: &[&str],
    make: impl FnOnce(String) -> T,
    open: bool,
    sink: &mut Sink<W>,
) -> Result<(), D::Error> {
    let other = text(source, at, rule, |text| {
        if known.contains(&text) {
            sink.text(text);
            return None;
        }
        Some(text.to_owned())
    })?;
    match other {
        None => Ok(()),
        Some(text) if open && at.reader.accept_unknown_values => sink.other(&at.checked(make(text), rule)),
        Some(text) => sink.other(&another_word(text, at, rule, known, make, open)?),
    }
}

/// A text that is none of an enumeration's words.
#[cold]
fn another_word<T: Field, E: de::Error>(
    text: String,
    at: &At<'_>,
    rule: &Rule,
    known: &[&str],
    make: impl FnOnce(String) -> T,
    open: bool,
) -> Result<T, E> {
    // These words are takings' own; those of Klarna's fields go out as they are.
    let is_place = OTHER_WORDS.iter().any(|(_, word)| known.contains(word));
    if let Some(same) = known.iter().find(|word| is_place && word.eq_ignore_ascii_case(&text)) {
        return Ok(at.checked(make((*same).to_owned()), rule));
    }
    let shown = if open { format!("{:?}", text.chars().take(40).collect::<String>()) } else { shown_word(&text) };
    let other = OTHER_WORDS.iter().find(|(other, word)| other.eq_ignore_ascii_case(&text) && known.contains(word));
    let hint = suggestion(other.map_or(&text, |(_, word)| word), known);
    let opt_in = if open { " (accept_unknown_values lets a value pass that Klarna added later)" } else { "" };
    Err(at.fail(format_args!("{at} is {shown}, which is not known; {hint}{opt_in}")))
}
