//! How the functions and methods of the module are called, and how they fail.

use mlua::{AnyUserData, Function, Lua, MultiValue, Value};
use takings::{Client, Error};

use crate::source::NOT_UTF8;
use crate::told::{error_table, surely};
use crate::{client, operation};

/// What is better said in Lua: the sending over cosockets, and the functions' wrappers.
const COSOCKET: &str = include_str!("cosocket.lua");
const WRAPPERS: &str = include_str!("wrappers.lua");

/// The wrappers' names in Lua's registry.
const RAISING: &str = "takings.raising";
const STEPPING: &str = "takings.stepping";
const SENDING: &str = "takings.sending";

/// To be done before any function is made.
pub(crate) fn prepare(lua: &Lua) -> mlua::Result<()> {
    let cosocket: MultiValue = lua.load(COSOCKET).set_name("=takings").eval()?;
    let wrappers: Function = lua.load(WRAPPERS).set_name("=takings").into_function()?;
    let (raising, stepping, sending): (Function, Function, Function) = wrappers.call(cosocket)?;
    lua.set_named_registry_value(RAISING, raising)?;
    lua.set_named_registry_value(STEPPING, stepping)?;
    lua.set_named_registry_value(SENDING, sending)
}

/// Why a function gives no value.
pub(crate) enum Failure {
    /// The program is wrong: raised as an error.
    Misuse(String),
    /// Returned as `nil, err`.
    Failed(Error),
    Lua(mlua::Error),
}

impl Failure {
    /// The same with what is known of the call.
    pub fn of_call(self, client: &Client, order_id: Option<&str>, key: Option<&str>) -> Failure {
        match self {
            Failure::Failed(error) => Failure::Failed(client.refused(error, order_id, key)),
            other => other,
        }
    }
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

/// How a function is called: its name (with a colon a method's, after what it is called on), the
/// names of its arguments, and how many it takes at least.
#[derive(Clone, Copy)]
pub(crate) struct Signature(pub &'static str, pub &'static [&'static str], pub usize);

/// A function that gives a value, or nil and an error.
pub(crate) fn function<F>(lua: &Lua, signature: Signature, call: F) -> mlua::Result<Function>
where
    F: Fn(&Lua, &Arguments) -> Result<Value, Failure> + 'static,
{
    wrapped(lua, RAISING, signature, move |lua, arguments| one(call(lua, arguments)?))
}

/// A function that gives several values.
pub(crate) fn stepping<F>(lua: &Lua, signature: Signature, call: F) -> mlua::Result<Function>
where
    F: Fn(&Lua, &Arguments) -> Result<MultiValue, Failure> + 'static,
{
    wrapped(lua, STEPPING, signature, call)
}

/// A function that sends. Its first argument is what the wrapper says of the host; it gives what
/// came of it, or an operation that the wrapper drives over cosockets.
pub(crate) fn sending<F>(lua: &Lua, signature: Signature, call: F) -> mlua::Result<Function>
where
    F: Fn(&Lua, &Arguments, Value) -> Result<Value, Failure> + 'static,
{
    let call = lua.create_function(move |lua, mut given: MultiValue| {
        let host = given.pop_front().unwrap_or(Value::Nil);
        let arguments = Arguments::new(signature, given);
        answer(lua, arguments.check().and_then(|()| one(call(lua, &arguments, host)?)))
    })?;
    lua.named_registry_value::<Function>(SENDING)?.call(call)
}

fn wrapped<F>(lua: &Lua, wrapper: &str, signature: Signature, call: F) -> mlua::Result<Function>
where
    F: Fn(&Lua, &Arguments) -> Result<MultiValue, Failure> + 'static,
{
    let call = lua.create_function(move |lua, given: MultiValue| {
        let arguments = Arguments::new(signature, given);
        answer(lua, arguments.check().and_then(|()| call(lua, &arguments)))
    })?;
    lua.named_registry_value::<Function>(wrapper)?.call(call)
}

fn one(value: Value) -> Result<MultiValue, Failure> {
    Ok(MultiValue::from_iter([value]))
}

/// What a wrapper is given: what to raise, then the values, or nil and an error.
fn answer(lua: &Lua, result: Result<MultiValue, Failure>) -> mlua::Result<MultiValue> {
    match result {
        Ok(mut values) => {
            values.push_front(Value::Nil);
            Ok(values)
        }
        Err(Failure::Misuse(message)) => Ok(MultiValue::from_iter([text(lua, &message)?])),
        Err(Failure::Failed(error)) => {
            let told = surely(|| error_table(lua, &error))?;
            Ok(MultiValue::from_iter([Value::Nil, Value::Nil, told]))
        }
        Err(Failure::Lua(error)) => Err(error),
    }
}

/// What a function was called with; what a method is called on comes first.
pub(crate) struct Arguments {
    signature: Signature,
    given: Vec<Value>,
}

impl Arguments {
    fn new(signature: Signature, given: MultiValue) -> Arguments {
        Arguments { signature, given: given.into_iter().collect() }
    }

    pub fn misuse<T>(&self, message: impl std::fmt::Display) -> Result<T, Failure> {
        Err(Failure::Misuse(format!("{}: {message}", self.signature.0)))
    }

    /// The name of argument `index`.
    pub fn name(&self, index: usize) -> &'static str {
        self.signature.1[index]
    }

    /// What a method is called on: the name before its colon.
    fn receiver(&self) -> Option<&'static str> {
        self.signature.0.split_once(':').map(|(receiver, _)| receiver)
    }

    fn check(&self) -> Result<(), Failure> {
        let Signature(_, names, least) = self.signature;
        if let Some(receiver) = self.receiver() {
            let is_one = match self.given.first() {
                Some(Value::UserData(data)) if receiver == "client" => data.is::<client::Handle>(),
                Some(Value::UserData(data)) => data.is::<operation::Handle>(),
                _ => false,
            };
            if !is_one {
                return self.misuse(format_args!(
                    "self is {}; it must be {} {receiver}: write {}({}) with a colon",
                    kind(self.given.first()),
                    if receiver.starts_with('o') { "an" } else { "a" },
                    self.signature.0,
                    names.join(", ")
                ));
            }
        }
        let (given, most) = (self.given.len() - usize::from(self.receiver().is_some()), names.len());
        if (least..=most).contains(&given) {
            return Ok(());
        }
        let takes = match (least, most) {
            (_, 0) => "no arguments".to_owned(),
            _ if least == most => format!("{most} ({})", names.join(", ")),
            _ => format!("{least} to {most} ({})", names.join(", ")),
        };
        self.misuse(format_args!("the number of arguments is {given}; it must be {takes}"))
    }

    /// What a method was called on.
    pub fn this(&self) -> &AnyUserData {
        match self.given.first() {
            Some(Value::UserData(data)) => data,
            _ => unreachable!("checked before the call"),
        }
    }

    /// The argument `index` (from 0, not counting what a method is called on).
    pub fn value(&self, index: usize) -> Value {
        self.given.get(index + usize::from(self.receiver().is_some())).cloned().unwrap_or(Value::Nil)
    }

    /// A string, or `None` where the argument is left out or nil.
    pub fn optional_text(&self, index: usize) -> Result<Option<String>, Failure> {
        let name = self.name(index);
        match self.value(index) {
            Value::Nil => Ok(None),
            Value::String(text) => match text.to_str() {
                Ok(text) => Ok(Some(text.to_owned())),
                Err(_) => Err(Error::invalid_argument(name, NOT_UTF8, "a text in UTF-8").into()),
            },
            other => self.misuse(format_args!("{name} is {}; it must be a string", kind(Some(&other)))),
        }
    }

    pub fn text(&self, index: usize) -> Result<String, Failure> {
        match self.optional_text(index)? {
            Some(text) => Ok(text),
            None => self.misuse(format_args!("{} is nil; it must be a string", self.name(index))),
        }
    }
}

/// A value's kind, for people.
pub(crate) fn kind(value: Option<&Value>) -> String {
    match value {
        None => "missing".to_owned(),
        Some(Value::Nil) => "nil".to_owned(),
        Some(Value::Integer(_)) => "a number".to_owned(),
        Some(Value::Other(_)) => "a cdata".to_owned(),
        Some(value) => format!("a {}", value.type_name()),
    }
}

pub(crate) fn text(lua: &Lua, text: &str) -> mlua::Result<Value> {
    lua.create_string(text).map(Value::String)
}
