//! The words of the language that a value comes from. A Python programmer gives `None` and dicts, where JSON has null and
//! objects.

/// The language of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Voice {
    #[default]
    Json,
    Python,
}

impl Voice {
    /// The language of a surface's values, by the name in its `User-Agent`.
    pub fn of(surface: &str) -> Voice {
        if surface == "python" { Voice::Python } else { Voice::Json }
    }

    /// Of two words the one in this language.
    fn either(self, json: &'static str, python: &'static str) -> &'static str {
        match self {
            Voice::Json => json,
            Voice::Python => python,
        }
    }

    pub fn null(self) -> &'static str {
        self.either("null", "None")
    }

    pub fn object(self) -> &'static str {
        self.either("an object", "a dict")
    }

    pub fn boolean(self, value: bool) -> &'static str {
        if value { self.either("true", "True") } else { self.either("false", "False") }
    }

    pub fn booleans(self) -> &'static str {
        self.either("true or false", "True or False")
    }
}
