//! The functions of the module: how they take their arguments, and how they return or fail.

use mlua::{AnyUserData, Function, IntoLuaMulti, Lua, MultiValue, Table, Value};
use takings::Error;

use crate::call;
use crate::records::{self, undisturbed};
use crate::source::NOT_UTF8;

/// The parts in Lua: the sending over cosockets, and the functions around the Rust ones of this file.
const COSOCKET: &str = include_str!("cosocket.lua");
const WRAPPERS: &str = include_str!("wrappers.lua");

/// The function of `wrappers.lua`.
struct Wrapper(Function);

/// Loads the parts in Lua. Must run before any function is made.
pub(crate) fn prepare(lua: &Lua) -> mlua::Result<()> {
    let cosocket: MultiValue = lua.load(COSOCKET).set_name("=takings").call(call::cosocket(lua)?)?;
    lua.set_app_data(Wrapper(lua.load(WRAPPERS).set_name("=takings").call(cosocket)?));
    Ok(())
}

/// The reason why a function gives no value.
pub(crate) enum Failure {
    /// The program is wrong: raised as an error.
    Misuse(String),
    /// Returned as `nil, err`.
    Failed(Error),
    Lua(mlua::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Failed(error)
    }
}

impl From<mlua::Error> for Failure {
    fn from(error: mlua::Error) -> Failure {
        Failure::Lua(error)
    }
}

/// An argument: its name and the type of its value. `any` is any type. An argument with a `?` may be left out, or nil.
pub(crate) type Argument = (&'static str, &'static str);

/// Functions in a table. In messages their names have a prefix: `takings.`, or `client:` for methods.
pub(crate) struct Functions<'a> {
    pub lua: &'a Lua,
    pub table: Table,
    pub prefix: &'static str,
    /// Checks the value that a method is called on; absent for functions.
    pub is_self: Option<fn(&AnyUserData) -> bool>,
}

impl Functions<'_> {
    /// Adds a function. A function that `sends` gets the state of nginx's cosockets. If it returns a call, that call is
    /// sent over them.
    pub fn add<R: IntoLuaMulti, F>(&self, name: &str, sends: bool, takes: &[Argument], run: F) -> mlua::Result<()>
    where
        F: Fn(&Lua, &Arguments) -> Result<R, Failure> + 'static,
    {
        let (full_name, takes, is_self) = (format!("{}{name}", self.prefix), takes.to_vec(), self.is_self);
        let function = self.lua.create_function(move |lua, mut given: MultiValue| {
            let cosockets = given.pop_front().unwrap_or(Value::Nil);
            let this = if is_self.is_some() { given.pop_front() } else { None };
            let arguments = Arguments { name: &full_name, takes: &takes, cosockets, this, given };
            answer(lua, arguments.check(is_self).and_then(|()| run(lua, &arguments)))
        })?;
        let wrapper = self.lua.app_data_ref::<Wrapper>().expect("prepared when the module was loaded");
        self.table.raw_set(name, wrapper.0.call::<Function>((function, sends))?)
    }
}

/// The values for the wrapper: first a message to raise or nil, then the results, or nil and an error.
fn answer(lua: &Lua, result: Result<impl IntoLuaMulti, Failure>) -> mlua::Result<MultiValue> {
    match result {
        Ok(values) => (Value::Nil, values.into_lua_multi(lua)?).into_lua_multi(lua),
        Err(Failure::Misuse(message)) => message.into_lua_multi(lua),
        Err(Failure::Failed(error)) => {
            (Value::Nil, Value::Nil, undisturbed(lua, || records::error(lua, &error))?).into_lua_multi(lua)
        }
        Err(Failure::Lua(error)) => Err(error),
    }
}

/// The values that a function was called with.
pub(crate) struct Arguments<'a> {
    name: &'a str,
    takes: &'a [Argument],
    /// For a function that sends: nil outside of nginx, true where cosockets work, or else why they do not.
    pub cosockets: Value,
    this: Option<Value>,
    given: MultiValue,
}

impl Arguments<'_> {
    pub fn misuse<T>(&self, message: impl std::fmt::Display) -> Result<T, Failure> {
        Err(Failure::Misuse(format!("{}: {message}", self.name)))
    }

    fn check(&self, is_self: Option<fn(&AnyUserData) -> bool>) -> Result<(), Failure> {
        let names = || self.takes.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        if is_self.is_some_and(|is_self| !self.this.as_ref().and_then(Value::as_userdata).is_some_and(is_self)) {
            let (got, name, names) = (kind(self.this.as_ref()), self.name, names());
            let wanted = name.split(':').next().unwrap_or_default();
            return self.misuse(format!("self is {got}; it must be a {wanted}: write {name}({names}) with a colon"));
        }
        let (given, most) = (self.given.len(), self.takes.len());
        let least = self.takes.iter().filter(|(_, wanted)| !wanted.ends_with('?')).count();
        if !(least..=most).contains(&given) {
            let number = match (least, most) {
                (_, 0) => "no arguments".to_owned(),
                _ if least == most => format!("{most} ({})", names()),
                _ => format!("{least} to {most} ({})", names()),
            };
            return self.misuse(format_args!("the number of arguments is {given}; it must be {number}"));
        }
        for ((name, takes), value) in self.takes.iter().zip(&self.given) {
            let wanted = takes.trim_end_matches('?');
            let is_left_out = value.is_nil() && wanted != *takes;
            if !is_left_out && wanted != "any" && wanted != value.type_name() {
                let or_nil = if wanted == *takes { "" } else { " or nil" };
                return self.misuse(format_args!("{name} is {}; it must be a {wanted}{or_nil}", kind(Some(value))));
            }
        }
        Ok(())
    }

    /// The value that a method was called on.
    pub fn this(&self) -> &AnyUserData {
        self.this.as_ref().and_then(Value::as_userdata).expect("checked before the call")
    }

    /// The argument of that name; nil where it is left out, and where the function takes none of that name.
    pub fn value(&self, name: &str) -> &Value {
        let mut named = self.takes.iter().zip(&self.given);
        named.find(|((known, _), _)| *known == name).map_or(&Value::Nil, |(_, value)| value)
    }

    /// The bytes of a string; none where it is left out.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        self.value(name).as_string().map_or_else(Vec::new, |text| text.as_bytes().to_vec())
    }

    /// A text of any encoding.
    pub fn lossy_text(&self, name: &str) -> String {
        String::from_utf8_lossy(&self.bytes(name)).into_owned()
    }

    pub fn text(&self, name: &str) -> Result<String, Error> {
        let wrong = |_| Error::invalid_argument(name, NOT_UTF8, "a text in UTF-8");
        String::from_utf8(self.bytes(name)).map_err(wrong)
    }

    /// A text, or `None` where it is left out or nil.
    pub fn optional_text(&self, name: &str) -> Result<Option<String>, Error> {
        if self.value(name).is_nil() { Ok(None) } else { self.text(name).map(Some) }
    }
}

/// A value's kind, for people.
pub(crate) fn kind(value: Option<&Value>) -> String {
    match value {
        None => "missing".to_owned(),
        Some(Value::Nil) => "nil".to_owned(),
        Some(value) if value.is_null() => "null (takings.null, cjson.null)".to_owned(),
        Some(Value::Integer(_)) => "a number".to_owned(),
        Some(Value::Other(_)) => "a cdata".to_owned(),
        Some(value) => format!("a {}", value.type_name()),
    }
}
