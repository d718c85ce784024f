//! The client, and the choice of a transport for its calls.

use mlua::{IntoLua, Lua, MetaMethod, Table, UserData, UserDataFields, UserDataMethods, Value};
use takings::binding::{Operation, operations, over_cosockets, word};
use takings::{Call, Client, Config};

use crate::call;
use crate::functions::{Argument, Arguments, Failure, Functions};
use crate::records::{self, undisturbed};
use crate::source::Source;

/// The words of the setting `transport`, which is Lua's own. `auto` means cosockets inside nginx and the core's own
/// connections elsewhere.
const TRANSPORTS: [&str; 3] = ["auto", "blocking", "cosocket"];

/// A client of these settings, over the environment or without it. `transport` is Lua's own; the rest is the core's.
pub(crate) fn make(lua: &Lua, settings: &Value, over_env: bool) -> Result<Handle, Failure> {
    let (mut transport, mut settings) = (TRANSPORTS[0], settings.clone());
    if let Value::Table(given) = &settings
        && let Some(chosen) = given.raw_get::<Option<Value>>("transport")?
    {
        transport = word("transport", &TRANSPORTS, Source(chosen))?;
        let rest = lua.create_table()?;
        given.for_each(|name: Value, value: Value| rest.raw_set(name, value))?;
        rest.raw_set("transport", Value::Nil)?;
        settings = Value::Table(rest);
    }
    let read = if over_env { Config::from_env_of_lua } else { Config::from_deserializer_of_lua };
    Ok(Handle { client: Some(Client::new(read(Source(settings))?.surface("lua"))?), transport })
}

/// The userdata of a client, empty once the client is closed. Lua's collector drops it.
pub(crate) struct Handle {
    client: Option<Client>,
    transport: &'static str,
}

impl UserData for Handle {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field(MetaMethod::Type, "takings.client");
        fields.add_meta_field_with(MetaMethod::Index, methods);
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::ToString, |_, handle, ()| {
            let where_to = handle.client.as_ref().map_or("closed", Client::base_url);
            Ok(format!("takings.client ({where_to})"))
        });
        #[cfg(feature = "lua54")]
        methods.add_meta_method_mut(MetaMethod::Close, |_, handle, _: mlua::MultiValue| {
            handle.client = None;
            Ok(())
        });
    }
}

fn methods(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let methods = Functions { lua, table, prefix: "client:", is_self: Some(|data| data.is::<Handle>()) };
    // Each operation of the core's table has methods of its own. The last methods take the operation's name instead.
    for operation in operations().iter().copied().map(Some).chain([None]) {
        let (name, takes) = (operation.map_or("call", |operation| operation.name), takes(operation));
        let first_half = operation.map_or("prepare_call".to_owned(), Operation::prepare_name);
        methods.add(name, true, &takes, move |lua, arguments| send(lua, arguments, operation))?;
        methods.add(&first_half, false, &takes, move |lua, arguments| {
            Ok(call::Handle(Some(prepare(lua, arguments, operation)?.1), None))
        })?;
    }
    methods.add("with_options", false, &[("options", "any")], |_, arguments| {
        let this = arguments.this().borrow::<Handle>()?;
        let Some(client) = &this.client else { return arguments.misuse("the client is closed") };
        let client = client.with_options_from(Source(arguments.value("options").clone()))?;
        Ok(Handle { client: Some(client), transport: this.transport })
    })?;
    methods.add("close", false, &[], |_, arguments| {
        arguments.this().borrow_mut::<Handle>()?.client = None;
        Ok(true)
    })?;
    Ok(methods.table)
}

/// The arguments of an operation's methods. An operation without a key takes its few arguments by position.
fn takes(operation: Option<&Operation>) -> Vec<Argument> {
    let (order_id, key) = (("order_id", "string"), ("idempotency_key", "string?"));
    match operation {
        None => vec![("operation", "string"), order_id, ("arguments", "any"), key],
        Some(operation) if operation.takes_key() => {
            vec![order_id, ("request", if operation.needs_arguments() { "any" } else { "any?" }), key]
        }
        Some(operation) => {
            let kind = |is_required| if is_required { "any" } else { "any?" };
            let names = operation.argument_names().map(|(name, is_required)| (name, kind(is_required)));
            [order_id].into_iter().chain(names).chain([("options", "table?")]).collect()
        }
    }
}

fn prepare(lua: &Lua, arguments: &Arguments, operation: Option<&Operation>) -> Result<(Client, Call), Failure> {
    let Some(client) = arguments.this().borrow::<Handle>()?.client.clone() else {
        return arguments.misuse("the client is closed");
    };
    let name = operation.map_or_else(|| arguments.lossy_text("operation"), |operation| operation.name.to_owned());
    let request = match operation {
        None => arguments.value("arguments").clone(),
        Some(operation) if operation.takes_key() => match arguments.value("request") {
            Value::Nil if !operation.needs_arguments() => Value::Table(lua.create_table()?),
            request => request.clone(),
        },
        Some(operation) => {
            let pairs = operation.argument_names().map(|(name, _)| (name, arguments.value(name)));
            let request = lua.create_table_from(pairs)?;
            if let Value::Table(options) = arguments.value("options") {
                options.for_each(|name: Value, value: Value| request.raw_set(name, value))?;
            }
            Value::Table(request)
        }
    };
    let (order_id, key) = (arguments.text("order_id"), arguments.optional_text("idempotency_key"));
    let order_id = order_id.as_deref().map_err(Clone::clone);
    let key = key.as_ref().map(Option::as_deref).map_err(Clone::clone);
    let call = client.prepare_from(&name, order_id, Ok(Source(request)), key)?;
    Ok((client, call))
}

/// Sends a call, or gives it to be sent over cosockets.
fn send(lua: &Lua, arguments: &Arguments, operation: Option<&Operation>) -> Result<Value, Failure> {
    let (client, call) = prepare(lua, arguments, operation)?;
    let transport = arguments.this().borrow::<Handle>()?.transport;
    let state = match &arguments.cosockets {
        Value::Nil => None,
        Value::String(why) => Some(Err(why.to_string_lossy())),
        _ => Some(Ok(())),
    };
    let is_over_cosockets = over_cosockets(&client, transport, state)
        .map_err(|error| client.refused(error, Some(call.order_id()), call.idempotency_key()))?;
    if is_over_cosockets {
        return Ok(call::Handle(Some(call), None).into_lua(lua)?);
    }
    let reply = call.send_at_once()?;
    Ok(undisturbed(lua, || records::reply(lua, &reply))?)
}
