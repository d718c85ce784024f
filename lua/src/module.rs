//! The functions of the module, the client, and how captures and errors look in Lua.

use mlua::{
    AnyUserData, Function, Lua, MetaMethod, MultiValue, Table, UserData, UserDataFields, UserDataMethods, Value,
};
use takings::{Capture, Client, Config, Error, Reconciliation};

use crate::source::{NOT_UTF8, Source};

/// Names in Lua's registry.
const RAISING: &str = "takings.raising";
const ERROR: &str = "takings.error";

/// What is better said in Lua: a function from another that gives what to raise, a value and
/// an error, since an error raised from Rust reaches Lua as a userdata without a position; and
/// the metatable of errors. That `"not captured: " .. err` is a text too is on purpose: a
/// mistake in a shop's error path would hide what happened to the money.
const PRELUDE: &str = r#"
local error, rawget, tostring = error, rawget, tostring
local function raising(call)
  return function(...)
    local misuse, value, err = call(...)
    if misuse then error(misuse, 2) end
    if value == nil then return nil, err end
    return value
  end
end
return raising, {
  __name = "takings.error",
  __tostring = function(err) return tostring(rawget(err, "message")) end,
  __concat = function(left, right) return tostring(left) .. tostring(right) end,
}
"#;

/// Why a function gives no value.
enum Failure {
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

pub(crate) fn open(lua: &Lua) -> mlua::Result<Table> {
    let (raising, error): (Function, Table) = lua.load(PRELUDE).set_name("=takings").eval()?;
    lua.set_named_registry_value(RAISING, raising)?;
    lua.set_named_registry_value(ERROR, error)?;
    let module = lua.create_table()?;
    module.raw_set("client", function(lua, "takings.client", &["config"], 1, client)?)?;
    module.raw_set("client_from_env", function(lua, "takings.client_from_env", &[], 0, client_from_env)?)?;
    module.raw_set(
        "idempotency_key",
        function(lua, "takings.idempotency_key", &["order_id", "name"], 2, idempotency_key)?,
    )?;
    module.raw_set(
        "new_idempotency_key",
        function(lua, "takings.new_idempotency_key", &[], 0, |lua, _| text(lua, &takings::new_idempotency_key()?))?,
    )?;
    module.raw_set("null", Value::NULL)?;
    module.raw_set("_VERSION", takings::VERSION)?;
    Ok(module)
}

/// A function of the module or, with a colon in its name, a method of the client.
fn function<F>(
    lua: &Lua,
    name: &'static str,
    names: &'static [&'static str],
    least: usize,
    call: F,
) -> mlua::Result<Function>
where
    F: Fn(&Lua, &Arguments) -> Result<Value, Failure> + 'static,
{
    let call = lua.create_function(move |lua, given: MultiValue| {
        let arguments = Arguments { function: name, names, given: given.into_iter().collect() };
        match arguments.check(least).and_then(|()| call(lua, &arguments)) {
            Ok(value) => Ok((Value::Nil, value, Value::Nil)),
            Err(Failure::Misuse(message)) => Ok((text_value(lua, &message)?, Value::Nil, Value::Nil)),
            Err(Failure::Failed(error)) => Ok((Value::Nil, Value::Nil, error_table(lua, &error)?)),
            Err(Failure::Lua(error)) => Err(error),
        }
    })?;
    lua.named_registry_value::<Function>(RAISING)?.call(call)
}

/// What a function was called with; a method's client comes first.
struct Arguments {
    function: &'static str,
    names: &'static [&'static str],
    given: Vec<Value>,
}

impl Arguments {
    fn misuse<T>(&self, message: impl std::fmt::Display) -> Result<T, Failure> {
        Err(Failure::Misuse(format!("{}: {message}", self.function)))
    }

    fn is_method(&self) -> bool {
        self.function.contains(':')
    }

    fn check(&self, least: usize) -> Result<(), Failure> {
        if self.is_method() {
            self.client()?;
        }
        let (given, most) = (self.given.len() - usize::from(self.is_method()), self.names.len());
        if (least..=most).contains(&given) {
            return Ok(());
        }
        let takes = match (least, most) {
            (_, 0) => "no arguments".to_owned(),
            _ if least == most => format!("{most} ({})", self.names.join(", ")),
            _ => format!("{least} to {most} ({})", self.names.join(", ")),
        };
        self.misuse(format_args!("the number of arguments is {given}; it must be {takes}"))
    }

    /// The client a method was called on.
    fn client(&self) -> Result<&AnyUserData, Failure> {
        match self.given.first() {
            Some(Value::UserData(client)) if client.is::<Handle>() => Ok(client),
            other => self.misuse(format_args!(
                "self is {}; it must be a client: write {}({}) with a colon",
                kind(other),
                self.function,
                self.names.join(", ")
            )),
        }
    }

    /// The argument `index` (from 0, not counting the client).
    fn value(&self, index: usize) -> Value {
        self.given.get(index + usize::from(self.is_method())).cloned().unwrap_or(Value::Nil)
    }

    /// A string, or `None` where the argument is left out or nil.
    fn optional_text(&self, index: usize) -> Result<Option<String>, Failure> {
        let name = self.names[index];
        match self.value(index) {
            Value::Nil => Ok(None),
            Value::String(text) => match text.to_str() {
                Ok(text) => Ok(Some(text.to_owned())),
                Err(_) => Err(Error::invalid_argument(name, NOT_UTF8, "a text in UTF-8").into()),
            },
            other => self.misuse(format_args!("{name} is {}; it must be a string", kind(Some(&other)))),
        }
    }

    fn text(&self, index: usize) -> Result<String, Failure> {
        match self.optional_text(index)? {
            Some(text) => Ok(text),
            None => self.misuse(format_args!("{} is nil; it must be a string", self.names[index])),
        }
    }
}

fn kind(value: Option<&Value>) -> String {
    match value {
        None => "missing".to_owned(),
        Some(Value::Nil) => "nil".to_owned(),
        Some(Value::Integer(_)) => "a number".to_owned(),
        Some(Value::Other(_)) => "a cdata".to_owned(),
        Some(value) => format!("a {}", value.type_name()),
    }
}

fn client(lua: &Lua, arguments: &Arguments) -> Result<Value, Failure> {
    make(lua, Config::from_deserializer(Source(arguments.value(0)))?)
}

fn client_from_env(lua: &Lua, _: &Arguments) -> Result<Value, Failure> {
    make(lua, Config::from_env()?)
}

fn make(lua: &Lua, config: Config) -> Result<Value, Failure> {
    let client = Client::new(config.surface("lua"))?;
    Ok(Value::UserData(lua.create_userdata(Handle(Some(client)))?))
}

fn idempotency_key(lua: &Lua, arguments: &Arguments) -> Result<Value, Failure> {
    text(lua, &takings::idempotency_key(&arguments.text(0)?, &arguments.text(1)?)?)
}

/// What Lua holds as the client: nothing once it is closed. Lua's collector drops it.
struct Handle(Option<Client>);

impl UserData for Handle {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field(MetaMethod::Type, "takings.client");
        fields.add_meta_field_with(MetaMethod::Index, |lua| {
            let methods = lua.create_table()?;
            methods.raw_set(
                "capture",
                function(lua, "client:capture", &["order_id", "request", "idempotency_key"], 2, capture)?,
            )?;
            methods.raw_set(
                "reconcile",
                function(lua, "client:reconcile", &["order_id", "reference", "captured_amount"], 3, reconcile)?,
            )?;
            methods.raw_set("close", function(lua, "client:close", &[], 0, close)?)?;
            Ok(methods)
        });
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::ToString, |_, handle, ()| {
            let where_to = handle.0.as_ref().map_or("closed", Client::base_url);
            Ok(format!("takings.client ({where_to})"))
        });
        #[cfg(feature = "lua54")]
        methods.add_meta_method_mut(MetaMethod::Close, |_, handle, _: MultiValue| {
            handle.0 = None;
            Ok(())
        });
    }
}

/// The client behind a method's first argument.
fn open_client(arguments: &Arguments) -> Result<Client, Failure> {
    match arguments.client()?.borrow::<Handle>()?.0.clone() {
        Some(client) => Ok(client),
        None => arguments.misuse("the client is closed"),
    }
}

fn capture(lua: &Lua, arguments: &Arguments) -> Result<Value, Failure> {
    let client = open_client(arguments)?;
    let order_id = arguments.text(0)?;
    let key = arguments.optional_text(2)?;
    let operation = client.prepare_from(&order_id, Source(arguments.value(1)), key.as_deref())?;
    capture_table(lua, &operation.send()?).map_err(Failure::Lua)
}

fn reconcile(lua: &Lua, arguments: &Arguments) -> Result<Value, Failure> {
    let client = open_client(arguments)?;
    let wanted = lua.create_table()?;
    for index in [1, 2] {
        wanted.raw_set(arguments.names[index], arguments.value(index))?;
    }
    let operation = client.prepare_reconcile_from(&arguments.text(0)?, Source(Value::Table(wanted)))?;
    reconciliation_table(lua, &operation.send()?).map_err(Failure::Lua)
}

fn close(_: &Lua, arguments: &Arguments) -> Result<Value, Failure> {
    arguments.client()?.borrow_mut::<Handle>()?.0 = None;
    Ok(Value::Boolean(true))
}

fn text_value(lua: &Lua, text: &str) -> mlua::Result<Value> {
    lua.create_string(text).map(Value::String)
}

fn text(lua: &Lua, text: &str) -> Result<Value, Failure> {
    Ok(text_value(lua, text)?)
}

fn capture_table(lua: &Lua, capture: &Capture) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    table.raw_set("capture_id", capture.capture_id())?;
    table.raw_set("order_id", capture.order_id())?;
    table.raw_set("idempotency_key", capture.idempotency_key())?;
    table.raw_set("correlation_id", capture.correlation_id())?;
    table.raw_set("attempts", capture.attempts())?;
    table.raw_set("warnings", capture.warnings())?;
    Ok(Value::Table(table))
}

fn reconciliation_table(lua: &Lua, reconciliation: &Reconciliation) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    table.raw_set("found", reconciliation.found().as_str())?;
    table.raw_set("capture_id", reconciliation.capture_id())?;
    table.raw_set("capture_ids", reconciliation.capture_ids())?;
    table.raw_set("order_id", reconciliation.order_id())?;
    table.raw_set("correlation_id", reconciliation.correlation_id())?;
    table.raw_set("attempts", reconciliation.attempts())?;
    Ok(Value::Table(table))
}

fn error_table(lua: &Lua, error: &Error) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    table.raw_set("kind", error.kind().as_str())?;
    table.raw_set("message", error.message())?;
    table.raw_set("http_status", error.http_status())?;
    table.raw_set("error_code", error.error_code())?;
    table.raw_set("error_messages", error.error_messages())?;
    table.raw_set("correlation_id", error.correlation_id())?;
    table.raw_set("order_id", error.order_id())?;
    table.raw_set("idempotency_key", error.idempotency_key())?;
    table.raw_set("attempts", error.attempts())?;
    table.raw_set("retryable", error.retryable())?;
    table.set_metatable(Some(lua.named_registry_value(ERROR)?))?;
    Ok(Value::Table(table))
}
