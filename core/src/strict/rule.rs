//! Rules of fields, and their wording in refusals.

use std::fmt;

use super::voice::Voice;

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

impl Rule {
    /// A number where a whole one is wanted.
    pub fn fraction(&self, value: f64, voice: Voice) -> String {
        // An integer of Python's that is larger than 64 bits comes as such a number too.
        if voice == Voice::Json || !value.is_finite() || value.abs() > i64::MAX as f64 {
            return format!("the number {value:?} with a fraction, an exponent or more than 64 bits");
        }
        let way_out = if self.is_amount() { "; write 6000 for 60.00" } else { "" };
        format!("{value:?}, a float{way_out}")
    }

    fn is_amount(&self) -> bool {
        matches!(self, Rule::Integer { unit, .. } if unit.starts_with("minor units"))
    }

    /// The way from a value of another of JSON's types to the value that the rule wants, in Lua, where texts, numbers
    /// and tables are easily taken for each other.
    pub fn hint(&self, got: &str, voice: Voice) -> &'static str {
        if voice != Voice::Lua {
            return "";
        }
        match self {
            Rule::Integer { .. } if self.is_amount() && got.starts_with("the string") => {
                ": takings.minor(…, currency) makes it of a decimal number in a string"
            }
            Rule::Integer { .. } | Rule::Time { .. } if got.starts_with("the string") => {
                ": tonumber(…) makes one of it"
            }
            Rule::Text { .. } | Rule::Name { .. } if got == "a number" => ": tostring(…) makes one of it",
            Rule::List { .. } if got == "a table" => " with the keys 1, 2, 3: {…} around a single one makes the list",
            Rule::Object(_) if got == "a list" => " with names for keys",
            _ => "",
        }
    }

    /// The way from a value of a type that is none of JSON's to the value that the rule wants.
    pub fn way_out(&self, kind: &str, voice: Voice) -> &'static str {
        if voice != Voice::Python {
            return "";
        }
        match self {
            Rule::Text { .. } | Rule::Name { .. } | Rule::Url { .. } | Rule::Secret | Rule::Word(_) => match kind {
                "a bytes" | "a bytearray" => ": .decode() makes a str of it",
                // Neither of them is of another type.
                "None" | "a str with half of a surrogate pair" => "",
                _ => ": str(…) makes one of it, and .value gives that of an Enum",
            },
            Rule::Integer { unit, .. } if unit.starts_with("minor units") && kind == "a Decimal" => {
                ": takings.minor(…, currency) makes it of a Decimal"
            }
            Rule::Integer { .. } => ": int(…) makes one of a number",
            Rule::Time { .. } => ": float(…) makes one, and .total_seconds() that of a timedelta",
            Rule::Bool => ": bool(…) makes one of it",
            Rule::List { .. } => ": list(…) makes one of it",
            Rule::Object(_) if kind == "a list" => ": ._asdict() makes a dict of a namedtuple",
            Rule::Object(_) => ": dataclasses.asdict(…), .model_dump() or ._asdict() makes a dict of it",
        }
    }
}

/// The unit in which a source gives times. A field's name shows it: `timeout_ms`, or `timeout`
/// for seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Milliseconds,
    Seconds,
}

/// The longest time in seconds. A longer one was meant in milliseconds, which other languages give.
pub(crate) const MOST_SECONDS: u64 = 3600;

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

/// A rule in words, as a source of the unit and the language has to follow it.
pub(crate) struct Allowed<'a>(pub &'a Rule, pub Unit, pub Voice);

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
                let most = (max_ms / 1000).min(MOST_SECONDS);
                write!(f, "a number of seconds, {least} and at most {most}")
            }
            Rule::Bool => f.write_str(self.2.booleans()),
            Rule::Word(words) => write!(f, "one of {}", words.join(", ")),
            Rule::List { max, of } => write!(f, "a list of at most {max} {of}"),
            Rule::Object(noun) => write!(f, "{} ({noun})", self.2.object()),
        }
    }
}
