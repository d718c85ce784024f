//! A call that its host sends, step by step: takings decides, the host sends and waits.

use mlua::{
    Function, IntoLua, IntoLuaMulti, Lua, LuaString, MetaMethod, Table, UserData, UserDataFields, UserDataMethods,
    UserDataRefMut, Value,
};
use takings::binding::{Http1, milliseconds};
use takings::{Answer, Call, Event, HttpRequest, Step};

use crate::functions::{Argument, Arguments, Failure, Functions, kind};
use crate::records::{self, undisturbed};

/// The userdata of a call: nothing once it is done. Beside it is the exchange of a host that has bytes alone.
pub(crate) struct Handle(pub Option<Call>, pub Option<Http1>);

impl UserData for Handle {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field(MetaMethod::Type, "takings.call");
        fields.add_meta_field_with(MetaMethod::Index, methods);
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::ToString, |_, handle, ()| {
            let request = handle.0.as_ref().map(Call::request);
            let shown = request.map_or("done".to_owned(), |request| format!("{} {}", request.method(), request.url()));
            Ok(format!("takings.call ({shown})"))
        });
    }
}

fn methods(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let methods = Functions { lua, table, prefix: "call:", is_self: Some(|data| data.is::<Handle>()) };
    // A word that is there already takes no protected call.
    let words = ["send", "wait", "done"].map(|word| lua.create_string(word));
    let [send, wait, over] = words;
    let (send, wait, over) = (send?, wait?, over?);
    let event = |name: &str, takes: &[Argument], event: fn(&Lua, &Arguments) -> Result<Event, Failure>| {
        let (send, wait, over) = (send.clone(), wait.clone(), over.clone());
        methods.add(name, false, takes, move |lua, arguments| {
            let event = event(lua, arguments);
            let mut handle = arguments.this().borrow_mut::<Handle>()?;
            let Some(call) = &mut handle.0 else { return done(arguments) };
            let outcome = match call.step(event?) {
                Step::Send(timeout) => return Ok((&send, milliseconds(timeout)).into_lua_multi(lua)?),
                Step::Wait(pause) => return Ok((&wait, milliseconds(pause)).into_lua_multi(lua)?),
                Step::Done(outcome) => outcome,
            };
            let values = undisturbed(lua, || match &outcome {
                Ok(reply) => (&over, records::reply(lua, reply)?).into_lua_multi(lua),
                Err(error) => (&over, Value::Nil, records::error(lua, error)?).into_lua_multi(lua),
            })?;
            *handle = Handle(None, None);
            Ok(values)
        })
    };
    event("start", &[], |_, _| Ok(Event::Start))?;
    let takes = [("status", "any"), ("headers", "table"), ("body", "string?")];
    event("answered", &takes, |lua, arguments| {
        // The answer must reach the core, although a finaliser of the program's own may raise an error meanwhile.
        undisturbed(lua, || Ok(Event::Answered(answer(arguments)?)))
    })?;
    event("not_sent", &[("why", "string")], |_, arguments| Ok(Event::NotSent(arguments.lossy_text("why"))))?;
    event("maybe_sent", &[("why", "string")], |_, arguments| Ok(Event::MaybeSent(arguments.lossy_text("why"))))?;
    event("closed", &[("why", "string")], |_, arguments| {
        let why = arguments.lossy_text("why");
        Ok(match arguments.this().borrow_mut::<Handle>()?.1.take() {
            Some(exchange) => exchange.end(&why).map_or_else(Event::MaybeSent, Event::Answered),
            None => Event::MaybeSent(why),
        })
    })?;
    event("waited", &[], |_, _| Ok(Event::Waited))?;
    methods.add("bytes", false, &[], |lua, arguments| {
        let mut handle = arguments.this().borrow_mut::<Handle>()?;
        let Some(call) = &handle.0 else { return done(arguments) };
        let (exchange, bytes) = Http1::begin(call.request());
        handle.1 = Some(exchange);
        Ok(lua.create_string(&*bytes)?)
    })?;
    methods.add("received", false, &[("bytes", "string")], |_, arguments| {
        match &mut arguments.this().borrow_mut::<Handle>()?.1 {
            Some(exchange) => Ok((exchange.received(&arguments.bytes("bytes")), exchange.is_reusable())),
            None => arguments.misuse("nothing was sent; call:bytes() gives what to send first"),
        }
    })?;
    let fact = |name: &str, fact: fn(&Lua, &Call) -> mlua::Result<Value>| {
        methods.add(name, false, &[], move |lua, arguments| match &arguments.this().borrow::<Handle>()?.0 {
            Some(call) => Ok(fact(lua, call)?),
            None => done(arguments),
        })
    };
    fact("request", |lua, call| request_table(lua, call.request()))?;
    methods.add("address", false, &[], |lua, arguments| match &arguments.this().borrow::<Handle>()?.0 {
        Some(call) => {
            let request = call.request();
            Ok((lua.create_string(request.host())?, request.port(), request.is_tls()))
        }
        None => done(arguments),
    })?;
    fact("idempotency_key", |lua, call| call.idempotency_key().into_lua(lua))?;
    fact("connect_timeout", |lua, call| milliseconds(call.connect_timeout()).into_lua(lua))?;
    fact("time_left", |lua, call| milliseconds(call.time_left()).into_lua(lua))?;
    fact("attempt_log", |lua, call| records::attempt_log(lua, call.attempt_log()))?;
    fact("abandoned", |lua, call| undisturbed(lua, || records::error(lua, &call.abandoned())))?;
    Ok(methods.table)
}

/// The functions of a cosocket (`cosocket.lua`). Each gives at once what would take a program several methods of a call,
/// and checks nothing, since the program cannot reach it.
pub(crate) fn cosocket(lua: &Lua) -> mlua::Result<(Function, Function)> {
    let open = lua.create_function(|lua, mut handle: UserDataRefMut<Handle>| {
        let Some(call) = &handle.0 else { return Err(mlua::Error::runtime("the call is done")) };
        let request = call.request();
        let (exchange, bytes) = Http1::begin(request);
        let values = (
            lua.create_string(&*bytes)?,
            lua.create_string(request.host())?,
            request.port(),
            request.is_tls(),
            milliseconds(call.connect_timeout()),
            milliseconds(call.time_left()),
        );
        handle.1 = Some(exchange);
        Ok(values)
    })?;
    let take = lua.create_function(|_, (mut handle, bytes): (UserDataRefMut<Handle>, LuaString)| {
        let left = handle.0.as_ref().map(|call| milliseconds(call.time_left()));
        let Some(exchange) = &mut handle.1 else { return Err(mlua::Error::runtime("nothing was sent")) };
        Ok((exchange.received(&bytes.as_bytes()), exchange.is_reusable(), left))
    })?;
    Ok((open, take))
}

fn done<T>(arguments: &Arguments) -> Result<T, Failure> {
    arguments.misuse("the call is done")
}

fn answer(arguments: &Arguments) -> Result<Answer, Failure> {
    let given = arguments.value("status");
    let status = match given {
        Value::Integer(status) => u16::try_from(*status).ok(),
        Value::Number(status) if status.fract() == 0.0 && (0.0..=65535.0).contains(status) => Some(*status as u16),
        _ => None,
    };
    let Some(status) = status else {
        let got = kind(Some(given));
        return arguments.misuse(format!("status is {got}; it must be the number of an HTTP status"));
    };
    let mut headers = Vec::new();
    for pair in arguments.value("headers").as_table().into_iter().flat_map(Table::pairs::<Value, Value>) {
        let (name, value) = pair?;
        let Some(name) = name.as_string().map(|name| name.to_string_lossy()) else {
            return arguments.misuse(format!("headers has {} for a name; it must be a string", kind(Some(&name))));
        };
        let mut add = |value: Value| {
            let Some(text) = value.as_string() else {
                let got = kind(Some(&value));
                return arguments
                    .misuse(format!("headers has {got} for {name:?}; it must be a string, or a list of strings"));
            };
            headers.push((name.clone(), text.as_bytes().to_vec()));
            Ok(())
        };
        match value {
            // Values are read singly: mlua cannot hold a server's thousands.
            Value::Table(values) => values.sequence_values().try_for_each(|value| add(value?))?,
            value => add(value)?,
        }
    }
    Ok(Answer::new(status, headers, arguments.bytes("body")))
}

fn request_table(lua: &Lua, request: &HttpRequest) -> mlua::Result<Value> {
    let (method, url, host, target) = (request.method(), request.url(), request.host(), request.target());
    let table = lua.create_table_from([("method", method), ("url", url), ("host", host), ("target", target)])?;
    table.raw_set("tls", request.is_tls())?;
    table.raw_set("port", request.port())?;
    table.raw_set("headers", lua.create_table_from(request.headers())?)?;
    table.raw_set("body", lua.create_string(request.body())?)?;
    table.raw_set("most_answer", request.most_answer())?;
    Ok(Value::Table(table))
}
