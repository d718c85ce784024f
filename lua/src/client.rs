//! The client, and the choice of what its calls are sent over.

use mlua::{Lua, MetaMethod, Table, UserData, UserDataFields, UserDataMethods, Value};
use takings::{Client, Config, Error, Operation, Outcome};

use crate::call::{Arguments, Failure, Signature, function, kind, sending};
use crate::operation;
use crate::source::Source;
use crate::told::{Told, surely};

/// The setting `transport`, which is Lua's own.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Transport {
    /// Cosockets inside nginx, the core's own connections elsewhere.
    Auto,
    Blocking,
    Cosocket,
}

/// Takes `transport` out of the settings; the rest is the core's.
pub(crate) fn settings(lua: &Lua, settings: Value) -> Result<(Config, Transport), Failure> {
    let transport = match &settings {
        Value::Table(table) => table.raw_get("transport")?,
        _ => Value::Nil,
    };
    let (transport, settings) = match (transport, settings) {
        (Value::Nil, settings) => (Transport::Auto, settings),
        (transport, settings) => (named(&transport)?, without_transport(lua, &settings)?),
    };
    Ok((Config::from_deserializer(Source(settings))?, transport))
}

fn named(transport: &Value) -> Result<Transport, Error> {
    let got = match transport {
        Value::String(text) => match &*text.to_string_lossy() {
            "auto" => return Ok(Transport::Auto),
            "blocking" => return Ok(Transport::Blocking),
            "cosocket" => return Ok(Transport::Cosocket),
            other => format!("{:?}", other.chars().take(50).collect::<String>()),
        },
        other => kind(Some(other)),
    };
    Err(Error::invalid_argument("transport", &got, "one of auto, blocking, cosocket"))
}

fn without_transport(lua: &Lua, settings: &Value) -> mlua::Result<Value> {
    let rest = lua.create_table()?;
    if let Value::Table(settings) = settings {
        settings.for_each(|name: Value, value: Value| rest.raw_set(name, value))?;
        rest.raw_set("transport", Value::Nil)?;
    }
    Ok(Value::Table(rest))
}

pub(crate) fn make(lua: &Lua, config: Config, transport: Transport) -> Result<Value, Failure> {
    let client = Some(Client::new(config.surface("lua"))?);
    Ok(Value::UserData(lua.create_userdata(Handle { client, transport })?))
}

/// What Lua holds as the client: nothing once it is closed. Lua's collector drops it.
pub(crate) struct Handle {
    client: Option<Client>,
    transport: Transport,
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

const CAPTURE: &[&str] = &["order_id", "request", "idempotency_key"];
const RECONCILE: &[&str] = &["order_id", "reference", "captured_amount"];

fn methods(lua: &Lua) -> mlua::Result<Table> {
    let methods = lua.create_table()?;
    methods.raw_set(
        "capture",
        sending(lua, Signature("client:capture", CAPTURE, 2), |lua, arguments, host| {
            send(lua, arguments, host, prepare_capture)
        })?,
    )?;
    methods.raw_set(
        "reconcile",
        sending(lua, Signature("client:reconcile", RECONCILE, 3), |lua, arguments, host| {
            send(lua, arguments, host, prepare_reconcile)
        })?,
    )?;
    methods.raw_set(
        "prepare",
        function(lua, Signature("client:prepare", CAPTURE, 2), |lua, arguments| {
            operation::make(lua, prepare_capture(lua, arguments, &open(arguments)?)?)
        })?,
    )?;
    methods.raw_set(
        "prepare_reconcile",
        function(lua, Signature("client:prepare_reconcile", RECONCILE, 3), |lua, arguments| {
            operation::make(lua, prepare_reconcile(lua, arguments, &open(arguments)?)?)
        })?,
    )?;
    methods.raw_set(
        "close",
        function(lua, Signature("client:close", &[], 0), |_, arguments| {
            arguments.this().borrow_mut::<Handle>()?.client = None;
            Ok(Value::Boolean(true))
        })?,
    )?;
    Ok(methods)
}

/// The client behind a method.
fn open(arguments: &Arguments) -> Result<Client, Failure> {
    match arguments.this().borrow::<Handle>()?.client.clone() {
        Some(client) => Ok(client),
        None => arguments.misuse("the client is closed"),
    }
}

fn prepare_capture(_: &Lua, arguments: &Arguments, client: &Client) -> Result<Operation<takings::Capture>, Failure> {
    let (order_id, key) = match (arguments.text(0), arguments.optional_text(2)) {
        (Ok(order_id), Ok(key)) => (order_id, key),
        (Ok(order_id), Err(failure)) => return Err(failure.of_call(client, Some(&order_id), None)),
        (Err(failure), key) => return Err(failure.of_call(client, None, key.ok().flatten().as_deref())),
    };
    Ok(client.prepare_from(&order_id, Source(arguments.value(1)), key.as_deref())?)
}

fn prepare_reconcile(
    lua: &Lua,
    arguments: &Arguments,
    client: &Client,
) -> Result<Operation<takings::Reconciliation>, Failure> {
    let wanted = lua.create_table()?;
    for index in [1, 2] {
        wanted.raw_set(arguments.name(index), arguments.value(index))?;
    }
    Ok(client.prepare_reconcile_from(&arguments.text(0)?, Source(Value::Table(wanted)))?)
}

/// Sends, or gives the operation to be driven over cosockets.
fn send<T: Outcome + Told + 'static>(
    lua: &Lua,
    arguments: &Arguments,
    host: Value,
    prepare: impl Fn(&Lua, &Arguments, &Client) -> Result<Operation<T>, Failure>,
) -> Result<Value, Failure> {
    let client = open(arguments)?;
    let transport = arguments.this().borrow::<Handle>()?.transport;
    let operation = prepare(lua, arguments, &client)?;
    let over_cosockets = over_cosockets(&client, transport, host)
        .map_err(|error| client.refused(error, Some(operation.order_id()), operation.idempotency_key()))?;
    if over_cosockets {
        return operation::make(lua, operation);
    }
    let outcome = operation.send()?;
    Ok(surely(|| outcome.told(lua))?)
}

/// `host` is nil outside of nginx, true where cosockets work, or else says why they do not.
fn over_cosockets(client: &Client, transport: Transport, host: Value) -> Result<bool, Error> {
    match (transport, host) {
        (Transport::Blocking, _) | (Transport::Auto, Value::Nil) => return Ok(false),
        (Transport::Cosocket, Value::Nil) => {
            return Err(Error::invalid_argument("transport", "cosocket outside of nginx", "auto or blocking there"));
        }
        (_, Value::String(why)) => {
            return Err(Error::invalid_argument(
                "the call",
                &format!("made where nginx's cosockets cannot wait ({})", why.to_string_lossy()),
                "made in a rewrite, access or content handler or from ngx.timer.at(0, ...), or transport = \"blocking\" \
                 stops the whole worker for as long as it takes",
            ));
        }
        _ => {}
    }
    if let Some(proxy) = client.proxy() {
        return Err(Error::invalid_argument(
            "proxy",
            &format!("{proxy} (from the setting, or HTTPS_PROXY)"),
            "left out, since cosockets go through no proxy; or transport = \"blocking\" in a worker thread \
             (ngx.run_worker_thread)",
        ));
    }
    if let Some(path) = client.ca_file() {
        return Err(Error::invalid_argument(
            "ca_file",
            &format!("{path:?}"),
            "left out, since cosockets trust what lua_ssl_trusted_certificate names in nginx.conf: name it there",
        ));
    }
    Ok(true)
}
