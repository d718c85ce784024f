//! Rules of fields, and their wording in refusals.

use std::fmt;

/// The values that a field may have. Texts stand first and numbers last, so that a single comparison
/// separates each of these groups from the rest.
pub(crate) enum Rule {
    /// A string: lengths in characters; control characters are refused.
    Text {
        min: usize,
        max: usize,
    },
    /// A text that identifies something: a reference, an id. Characters that nobody means are refused as well.
    Name {
        min: usize,
        max: usize,
    },
    /// A text with a URL. `Debug` hides a URL with `@`, which may hold a password.
    Url {
        min: usize,
        max: usize,
    },
    /// A string that no message and no `Debug` ever repeats.
    Secret,
    /// A word of these.
    Word(&'static [&'static str]),
    Bool,
    /// A list of at most `max` of something.
    List {
        max: usize,
        of: &'static str,
    },
    Object(&'static str),
    /// A whole number; `unit` explains it.
    Integer {
        min: i64,
        max: i64,
        unit: &'static str,
    },
    /// A time, given in the [`Unit`] of the reading.
    Time {
        min_ms: u64,
        max_ms: u64,
    },
}

/// The unit in which a source gives times. A field's name shows it: `timeout_ms`, or `timeout`
/// for seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Milliseconds,
    Seconds,
}

/// The end of a declared name that holds a time.
const MILLISECONDS_END: &str = "_ms";

impl Unit {
    /// The declared name as sources of this unit write it.
    pub fn name_of(self, declared: &str) -> &str {
        match self {
            Unit::Milliseconds => declared,
            Unit::Seconds => declared.strip_suffix(MILLISECONDS_END).unwrap_or(declared),
        }
    }

    /// Whether a key belongs to sources of the other unit.
    pub fn refuses(self, key: &str) -> bool {
        self == Unit::Seconds && key.ends_with(MILLISECONDS_END)
    }
}

/// A rule in words, as a source of the unit has to follow it.
pub(crate) struct Allowed<'a>(pub &'a Rule, pub Unit);

impl fmt::Display for Allowed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Rule::Text { min: 0, max } | Rule::Url { min: 0, max } => {
                write!(f, "a string of at most {max} characters, none of them a control character")
            }
            Rule::Text { min, max } | Rule::Url { min, max } => {
                write!(f, "a string of {min} to {max} characters, none of them a control character")
            }
            Rule::Name { min, max } => write!(
                f,
                "a string of {min} to {max} characters without blanks at its ends or characters that nobody sees"
            ),
            Rule::Secret => f.write_str("a string"),
            Rule::Integer { min, max: i64::MAX, unit } => write!(f, "a whole number, {min} or more ({unit})"),
            Rule::Integer { min: i64::MIN, max, unit } => write!(f, "a whole number of at most {max} ({unit})"),
            Rule::Integer { min, max, unit } => write!(f, "a whole number from {min} to {max} ({unit})"),
            Rule::Time { min_ms, max_ms } if self.1 == Unit::Milliseconds => {
                write!(f, "a whole number from {min_ms} to {max_ms} (milliseconds)")
            }
            Rule::Time { min_ms, max_ms } => {
                let least = if *min_ms == 0 { "0 or more" } else { "more than nothing" };
                write!(f, "a number of seconds, {least} and at most {}", max_ms / 1000)
            }
            Rule::Bool => f.write_str("true or false"),
            Rule::Word(words) => write!(f, "one of {}", words.join(", ")),
            Rule::List { max, of } => write!(f, "a list of at most {max} {of}"),
            Rule::Object(noun) => write!(f, "an object ({noun})"),
        }
    }
}
