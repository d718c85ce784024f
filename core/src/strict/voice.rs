//! The words of the language that a value comes from. A Python programmer gives `None` and dicts, a Lua programmer nil and
//! tables, where JSON has null and objects.

/// The language of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Voice {
    #[default]
    Json,
    Python,
    Lua,
}

impl Voice {
    /// The language of a surface's values, by the name in its `User-Agent`.
    pub fn of(surface: &str) -> Voice {
        match surface {
            "python" => Voice::Python,
            "lua" => Voice::Lua,
            _ => Voice::Json,
        }
    }

    /// Of three words the one in this language.
    fn either(self, json: &'static str, python: &'static str, lua: &'static str) -> &'static str {
        match self {
            Voice::Json => json,
            Voice::Python => python,
            Voice::Lua => lua,
        }
    }

    /// A value that stands for nothing.
    pub fn null(self) -> &'static str {
        self.either("null", "None", "null (takings.null, cjson.null)")
    }

    /// No value at all, which Lua tells from a null.
    pub fn nothing(self) -> &'static str {
        self.either("null", "None", "nil")
    }

    pub fn object(self) -> &'static str {
        self.either("an object", "a dict", "a table")
    }

    pub fn boolean(self, value: bool) -> &'static str {
        if value { self.either("true", "True", "true") } else { self.either("false", "False", "false") }
    }

    pub fn booleans(self) -> &'static str {
        self.either("true or false", "True or False", "true or false")
    }
}
