//! The declaring macros: an object or an enumeration is written down once.

use std::fmt;

use super::rule::Rule;

/// A value for `Debug`, unless its rule keeps it to itself.
pub(crate) struct Hidden<'a, T>(pub &'a T, pub &'a Rule);

impl<T: fmt::Debug> fmt::Debug for Hidden<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Rule::Secret => "hidden".fmt(f),
            Rule::Url { .. } if format!("{:?}", self.0).contains('@') => "hidden".fmt(f),
            _ => self.0.fmt(f),
        }
    }
}

/// A line of a doc comment; nothing of any other attribute.
macro_rules! doc_line {
    (doc = $line:literal) => {
        concat!($line, "\n")
    };
    ($($other:tt)*) => {
        ""
    };
}
pub(crate) use doc_line;

/// Writes down an object once: documentation, fields, rules, defaults. From it follow the struct,
/// the strict reader, the check, the compact writer, `Debug` and the description, all in the
/// order given here.
///
/// A field is `required`, `optional` (an `Option`) or has a `default`, which stands last. It is
/// public; `optional(crate)` keeps it in this crate.
///
/// Fields of the program's own follow under `beside`: no source gives them. Such an object is not
/// `Serialize`, since these fields would be missing.
macro_rules! object {
    (
        $(#[$($meta:tt)*])*
        $vis:vis struct $Name:ident: $noun:literal { $($fields:tt)* }
    ) => {
        $crate::strict::object! { @declare
            $(#[$($meta)*])*
            $vis struct $Name: $noun { $($fields)* }
            beside {}
        }

        impl serde::Serialize for $Name {
            fn serialize<S: serde::Serializer>(&self, sink: S) -> Result<S::Ok, S::Error> {
                $crate::strict::Field::write(self, sink)
            }
        }
    };
    (
        $(#[$($meta:tt)*])*
        $vis:vis struct $Name:ident: $noun:literal { $($fields:tt)* }
        beside { $($own:tt)* }
    ) => {
        $crate::strict::object! { @declare
            $(#[$($meta)*])*
            $vis struct $Name: $noun { $($fields)* }
            beside { $($own)* }
        }
    };
    (@declare
        $(#[$($meta:tt)*])*
        $vis:vis struct $Name:ident: $noun:literal {
            $(
                $(#[$($doc:tt)*])*
                $need:ident $(($scope:ident))? $field:ident $wire:literal: $T:ty, $rule:expr $(, $default:expr)?;
            )*
        }
        beside { $( $own_vis:vis $own:ident: $Own:ty = $initial:expr; )* }
    ) => {
        $(#[$($meta)*])*
        #[non_exhaustive]
        #[derive(Clone, PartialEq)]
        $vis struct $Name {
            $( $(#[$($doc)*])* pub $(($scope))? $field: $crate::strict::object!(@type $need $T), )*
            $( $own_vis $own: $Own, )*
        }

        impl $Name {
            /// The names of the fields, in the order in which they are written.
            pub const FIELDS: &'static [&'static str] = &[$($wire),*];
        }

        impl $crate::strict::Item for $Name {
            const RULE: $crate::strict::Rule = $crate::strict::Rule::Object($noun);
        }

        const _: () = {
            #[derive(Default)]
            pub struct Slots { $( $field: Option<$T>, )* }

            #[allow(unused_variables, unused_mut, unreachable_code, reason = "an object may be without fields")]
            impl $crate::strict::Walk for $Name {
                fn straight<W: $crate::strict::Watch>(
                    source: &mut $crate::strict::Plain<'_>,
                    watch: &mut W,
                ) -> Option<Option<$crate::strict::Piece>> {
                    let object = source.begin()?;
                    let mut goes_on = true;
                    $(
                        if goes_on && source.takes($crate::strict::object!(@bytes concat!("\"", $wire, "\":"))) {
                            let from = source.place();
                            let (piece, number) = <$T as $crate::strict::Field>::plain(source, &$rule, watch)?;
                            watch.saw(stringify!($Name), $wire, number, source.bytes(piece));
                            match source.follows(from, piece) {
                                Some(more) => goes_on = more,
                                None => return Some(None),
                            }
                        } else {
                            $crate::strict::object!(@straight $need);
                        }
                    )*
                    if goes_on {
                        return Some(None);
                    }
                    watch.ended(stringify!($Name));
                    Some(Some(source.since(object)))
                }

                fn walk<W: $crate::strict::Watch>(
                    source: &mut $crate::strict::Plain<'_>,
                    watch: &mut W,
                    mut other: impl FnMut(&mut $crate::strict::Plain<'_>, &str) -> Option<()>,
                ) -> Option<$crate::strict::Piece> {
                    #[allow(non_camel_case_types, reason = "the names of the fields")]
                    #[derive(Clone, Copy)]
                    enum Known { $( $field, )* }
                    const COUNT: usize = $Name::FIELDS.len();
                    static NAMES: [$crate::strict::Name; COUNT] =
                        [$( $crate::strict::Name::new(concat!("\"", $wire, "\"")) ),*];
                    const ALL: [Known; COUNT] = [$( Known::$field ),*];
                    let mut object = source.open::<COUNT>()?;
                    loop {
                        let index = match source.key(&NAMES, &object)? {
                            $crate::strict::Key::End => break,
                            $crate::strict::Key::Known(index) => index,
                            $crate::strict::Key::Other(key) => {
                                other(source, key)?;
                                object.passed();
                                continue;
                            }
                        };
                        match ALL[index] { $(
                            Known::$field => {
                                let (piece, number) = <$T as $crate::strict::Field>::plain(source, &$rule, watch)?;
                                watch.saw(stringify!($Name), $wire, number, source.bytes(piece));
                                object.put(index, &NAMES[index], piece)?;
                            }
                        )* }
                    }
                    $( $crate::strict::object!(@plain $need object.has(Known::$field as usize)); )*
                    watch.ended(stringify!($Name));
                    Some(source.close(&NAMES, &object))
                }
            }

            #[allow(unused_variables, unused_mut, unreachable_code, reason = "an object may be without fields")]
        impl $crate::strict::Object for $Name {
                const SCHEMA: $crate::strict::schema::ObjectInfo = $crate::strict::schema::ObjectInfo {
                    name: stringify!($Name),
                    noun: $noun,
                    doc: concat!($( $crate::strict::doc_line!($($meta)*) ),*),
                    fields: &[$( $crate::strict::schema::FieldInfo {
                        name: $wire,
                        required: $crate::strict::object!(@required $need),
                        default: $crate::strict::object!(@default $need $T $(, $default)?),
                        doc: concat!($( $crate::strict::doc_line!($($doc)*) ),*),
                        kind: <$T as $crate::strict::Field>::KIND,
                        rule: $rule,
                    } ),*],
                };
                const FIELDS: &'static [&'static str] = $Name::FIELDS;
                type Slots = Slots;

                fn pairs<'de, M: serde::de::MapAccess<'de>>(
                    mut map: M,
                    at: &$crate::strict::At<'_>,
                ) -> Result<$Name, M::Error> {
                    #[allow(non_camel_case_types, reason = "the names of the fields")]
                    enum Known { $( $field, )* }
                    $( let mut $field: Option<$T> = None; )*
                    loop {
                        // The name is compared once, and then known by its number.
                        let known = |key: &str| -> Option<Known> { match key { $( $wire => Some(Known::$field), )* _ => None } };
                        match map.next_key_seed($crate::strict::KeySeed { at, known })? {
                            None => break,
                            $( Some(Ok(Known::$field)) => $crate::strict::object!(
                                @put $field, $T, $rule, map, $crate::strict::object!(@at $need at, $wire)
                            ), )*
                            Some(Err(unknown)) => return Err(at.unknown(&unknown, $noun, $Name::FIELDS)),
                        }
                    }
                    Ok($Name {
                        $( $field: $crate::strict::object!(@take $need $field, at.key($wire), $rule $(, $default)?), )*
                        $( $own: $initial, )*
                    })
                }

                fn copy_pairs<'de, M: serde::de::MapAccess<'de>, W: $crate::strict::Watch>(
                    mut map: M,
                    at: &$crate::strict::At<'_>,
                    sink: &mut $crate::strict::Sink<W>,
                ) -> Result<(), M::Error> {
                    #[allow(non_camel_case_types, reason = "the names of the fields")]
                    #[derive(Clone, Copy)]
                    enum Known { $( $field, )* }
                    let mut object: $crate::strict::Open<{ $Name::FIELDS.len() }> = sink.open();
                    loop {
                        let known = |key: &str| -> Option<Known> { match key { $( $wire => Some(Known::$field), )* _ => None } };
                        match map.next_key_seed($crate::strict::KeySeed { at, known })? {
                            None => break,
                            $( Some(Ok(Known::$field)) => {
                                let here = $crate::strict::object!(@at $need at, $wire);
                                if object.has(Known::$field as usize) {
                                    return Err(here.duplicate());
                                }
                                let name = concat!(",\"", $wire, "\":");
                                sink.name(&mut object, Known::$field as usize, name);
                                let seed = $crate::strict::CopySeed::<$T, W>::new(&here, &$rule, sink);
                                let number = map.next_value_seed(seed)?;
                                sink.value(&mut object, Known::$field as usize, (stringify!($Name), $wire, name), number);
                            } )*
                            Some(Err(unknown)) => return Err(at.unknown(&unknown, $noun, $Name::FIELDS)),
                        }
                    }
                    $( $crate::strict::object!(@there $need object.has(Known::$field as usize), at.key($wire), $rule); )*
                    sink.close(&object, stringify!($Name));
                    Ok(())
                }

                fn put<'de, M: serde::de::MapAccess<'de>>(
                    slots: &mut Slots,
                    key: &str,
                    map: &mut M,
                    at: &$crate::strict::At<'_>,
                ) -> Result<bool, M::Error> {
                    match key {
                        $( $wire => $crate::strict::object!(@put slots.$field, $T, $rule, map, $crate::strict::object!(@at $need at, $wire)), )*
                        _ => return Ok(false),
                    }
                    Ok(true)
                }

                fn finish<E: serde::de::Error>(slots: Slots, at: &$crate::strict::At<'_>) -> Result<$Name, E> {
                    // only required fields need the place
                    let _ = at;
                    Ok($Name {
                        $(
                            $field: $crate::strict::object!(
                                @take $need slots.$field, at.key($wire), $rule $(, $default)?
                            ),
                        )*
                        $( $own: $initial, )*
                    })
                }
            }
        };

        #[allow(unused_variables, unused_mut, reason = "an object may be without fields")]
        impl $crate::strict::Field for $Name {
            const KIND: $crate::strict::schema::Kind =
                $crate::strict::schema::Kind::Object(&<$Name as $crate::strict::Object>::SCHEMA);

            fn blank() -> $Name {
                $Name {
                    $( $field: $crate::strict::object!(@blank $need $T $(, $default)?), )*
                    $( $own: $initial, )*
                }
            }

            fn read<'de, D: serde::Deserializer<'de>>(
                source: D,
                at: &$crate::strict::At<'_>,
                rule: &$crate::strict::Rule,
            ) -> Result<Self, D::Error> {
                $crate::strict::object(source, at, rule)
            }

            fn copy<'de, D: serde::Deserializer<'de>, W: $crate::strict::Watch>(
                source: D,
                at: &$crate::strict::At<'_>,
                rule: &$crate::strict::Rule,
                sink: &mut $crate::strict::Sink<W>,
            ) -> Result<Option<i64>, D::Error> {
                $crate::strict::copy_object::<$Name, D, W>(source, at, rule, sink)?;
                Ok(None)
            }

            fn plain<W: $crate::strict::Watch>(
                source: &mut $crate::strict::Plain<'_>,
                _: &$crate::strict::Rule,
                watch: &mut W,
            ) -> Option<($crate::strict::Piece, Option<i64>)> {
                use $crate::strict::Walk;
                let (place, written) = (source.place(), source.written());
                if let Some(piece) = <$Name as Walk>::straight(source, watch)? {
                    return Some((piece, None));
                }
                source.back(place, written);
                Some((<$Name as Walk>::walk(source, watch, |_, _| None)?, None))
            }

            fn check(&self, at: &$crate::strict::At<'_>, _: &$crate::strict::Rule) -> Result<(), $crate::Error> {
                $( $crate::strict::object!(@check $need self.$field, at.key($wire), $rule); )*
                Ok(())
            }

            fn write<S: serde::Serializer>(&self, sink: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let mut map = sink.serialize_map(None)?;
                $( $crate::strict::object!(@write $need self.$field, map, $wire $(, $default)?); )*
                map.end()
            }
        }

        impl std::fmt::Debug for $Name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let mut all = f.debug_struct(stringify!($Name));
                $( $crate::strict::object!(@show $need all, $field, self.$field, $rule); )*
                $crate::strict::object!(@shown all $($own)*)
            }
        }
    };

    (@type optional $T:ty) => { Option<$T> };
    (@type $need:ident $T:ty) => { $T };

    (@required required) => { true };
    (@required $need:ident) => { false };

    (@default default $T:ty, $default:expr) => {
        Some(|| $crate::strict::Written::<$T>(&$default).to_json())
    };
    (@default $need:ident $T:ty) => { None };

    (@at required $at:ident, $wire:literal) => { $at.key($wire) };
    (@at $need:ident $at:ident, $wire:literal) => { $at.optional_key($wire) };

    (@put $slot:expr, $T:ty, $rule:expr, $map:ident, $at:expr) => {{
        let here = $at;
        if $slot.is_some() {
            return Err(here.duplicate());
        }
        $slot = Some($map.next_value_seed($crate::strict::Seed::<$T>::new(&here, &$rule))?);
    }};

    (@take required $value:expr, $at:expr, $rule:expr) => {
        match $value { Some(value) => value, None => return Err($at.missing(&$rule)) }
    };
    (@take optional $value:expr, $at:expr, $rule:expr) => { $value };
    (@take default $value:expr, $at:expr, $rule:expr, $default:expr) => { $value.unwrap_or($default) };

    (@there required $there:expr, $at:expr, $rule:expr) => { if !$there { return Err($at.missing(&$rule)) } };
    (@there $need:ident $there:expr, $at:expr, $rule:expr) => {};

    // A field that is left out where it has to be, or that is written only beside its default.
    (@plain required $there:expr) => { if !$there { return None } };
    (@plain optional $there:expr) => {};
    (@plain default $there:expr) => { return None };

    (@bytes $text:expr) => {{
        const TEXT: &str = $text;
        const BYTES: &[u8; TEXT.len()] = TEXT.as_bytes().first_chunk().unwrap();
        BYTES
    }};

    (@straight required) => { return Some(None) };
    (@straight optional) => {};
    (@straight default) => { return Some(None) };

    (@blank required $T:ty) => { <$T as $crate::strict::Field>::blank() };
    (@blank optional $T:ty) => { None };
    (@blank default $T:ty, $default:expr) => { $default };

    (@check optional $value:expr, $at:expr, $rule:expr) => {
        if let Some(value) = &$value { $crate::strict::Field::check(value, &$at, &$rule)? }
    };
    (@check $need:ident $value:expr, $at:expr, $rule:expr) => {
        $crate::strict::Field::check(&$value, &$at, &$rule)?
    };

    (@write required $value:expr, $map:ident, $wire:literal) => {
        $map.serialize_entry($wire, &$crate::strict::Written(&$value))?
    };
    (@write optional $value:expr, $map:ident, $wire:literal) => {
        if let Some(value) = &$value { $map.serialize_entry($wire, &$crate::strict::Written(value))? }
    };
    (@write default $value:expr, $map:ident, $wire:literal, $default:expr) => {
        if $value != $default { $map.serialize_entry($wire, &$crate::strict::Written(&$value))? }
    };

    (@show optional $all:ident, $field:ident, $value:expr, $rule:expr) => {
        $all.field(stringify!($field), &$value.as_ref().map(|value| $crate::strict::Hidden(value, &$rule)))
    };
    (@show $need:ident $all:ident, $field:ident, $value:expr, $rule:expr) => {
        $all.field(stringify!($field), &$crate::strict::Hidden(&$value, &$rule))
    };
    (@shown $all:ident) => { $all.finish() };
    (@shown $all:ident $($own:ident)+) => { $all.finish_non_exhaustive() };
}
pub(crate) use object;

/// Writes down an enumeration of words. `open` enumerations have `Other`, for words Klarna adds.
macro_rules! words {
    (
        $(#[$($meta:tt)*])*
        $vis:vis enum $Name:ident: $open:ident { $( $(#[$($doc:tt)*])* $Variant:ident = $word:literal, )* }
    ) => {
        $crate::strict::words!(@enum $open [$(#[$($meta)*])*] $vis $Name { $( $(#[$($doc)*])* $Variant = $word, )* });

        impl $Name {
            #[inline]
            fn is_known(word: &str) -> bool {
                matches!(word, $($word)|*)
            }

            /// Every known word.
            pub const KNOWN: &'static [&'static str] = &[$($word),*];
            pub(crate) const RULE: $crate::strict::Rule = $crate::strict::Rule::Word(Self::KNOWN);
            pub(crate) const SCHEMA: $crate::strict::schema::WordInfo = $crate::strict::schema::WordInfo {
                name: stringify!($Name),
                doc: concat!($( $crate::strict::doc_line!($($meta)*) ),*),
                open: $crate::strict::words!(@open $open),
                words: &[$( $crate::strict::schema::Word {
                    word: $word,
                    variant: stringify!($Variant),
                    doc: concat!($( $crate::strict::doc_line!($($doc)*) ),*),
                } ),*],
            };
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

        impl $crate::strict::Field for $Name {
            const KIND: $crate::strict::schema::Kind = $crate::strict::schema::Kind::Word(&$Name::SCHEMA);

            fn blank() -> $Name {
                $Name::made(Self::KNOWN[0].to_owned())
            }

            fn read<'de, D: serde::Deserializer<'de>>(
                source: D,
                at: &$crate::strict::At<'_>,
                rule: &$crate::strict::Rule,
            ) -> Result<Self, D::Error> {
                let open = $crate::strict::words!(@open $open);
                $crate::strict::word(source, at, rule, $Name::KNOWN, $Name::made, open)
            }

            fn copy<'de, D: serde::Deserializer<'de>, W: $crate::strict::Watch>(
                source: D,
                at: &$crate::strict::At<'_>,
                rule: &$crate::strict::Rule,
                sink: &mut $crate::strict::Sink<W>,
            ) -> Result<Option<i64>, D::Error> {
                let open = $crate::strict::words!(@open $open);
                $crate::strict::copy_word(source, at, rule, $Name::KNOWN, $Name::made, open, sink)?;
                Ok(None)
            }

            fn plain<W: $crate::strict::Watch>(
                source: &mut $crate::strict::Plain<'_>,
                _: &$crate::strict::Rule,
                _: &mut W,
            ) -> Option<($crate::strict::Piece, Option<i64>)> {
                Some((source.text(|text, _| $Name::is_known(text))?, None))
            }

            fn check(&self, at: &$crate::strict::At<'_>, _: &$crate::strict::Rule) -> Result<(), $crate::Error> {
                $crate::strict::words!(@check $open self, at)
            }

            fn write<S: serde::Serializer>(&self, sink: S) -> Result<S::Ok, S::Error> {
                sink.serialize_str(self.as_str())
            }
        }
    };

    (@open open) => { true };
    (@open closed) => { false };

    (@check open $word:ident, $at:ident) => {
        match $word {
            Self::Other(word) => {
                $crate::strict::Field::check(word, $at, &$crate::strict::Rule::Text { min: 1, max: 255 })
            }
            _ => Ok(()),
        }
    };
    (@check closed $word:ident, $at:ident) => {{
        let _ = $at;
        Ok(())
    }};

    (@enum open [$($meta:tt)*] $vis:vis $Name:ident { $( $(#[$($doc:tt)*])* $Variant:ident = $word:literal, )* }) => {
        $($meta)*
        #[non_exhaustive]
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis enum $Name {
            $( $(#[$($doc)*])* #[doc = concat!("`", $word, "`")] $Variant, )*
            /// A value that takings does not know, sent as it is: choosing it is the opt-in.
            Other(String),
        }

        impl $Name {
            /// Klarna's word for it.
            pub fn as_str(&self) -> &str {
                match self { $( $Name::$Variant => $word, )* $Name::Other(word) => word }
            }

            fn made(word: String) -> $Name {
                match word.as_str() { $( $word => $Name::$Variant, )* _ => $Name::Other(word) }
            }
        }
    };

    (@enum closed [$($meta:tt)*] $vis:vis $Name:ident { $( $(#[$($doc:tt)*])* $Variant:ident = $word:literal, )* }) => {
        $($meta)*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $Name {
            $( $(#[$($doc)*])* #[doc = concat!("`", $word, "`")] $Variant, )*
        }

        impl $Name {
            /// The word for it.
            pub fn as_str(&self) -> &'static str {
                match self { $( $Name::$Variant => $word, )* }
            }

            pub(crate) fn from_word(word: &str) -> Option<$Name> {
                match word { $( $word => Some($Name::$Variant), )* _ => None }
            }

            fn made(word: String) -> $Name {
                $Name::from_word(&word).expect("a known word")
            }
        }
    };
}
pub(crate) use words;
