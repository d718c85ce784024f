//! A call that its host drives, step by step: takings decides, the host sends and waits.

use mlua::{Lua, MetaMethod, MultiValue, Table, UserData, UserDataFields, UserDataMethods, Value};
use takings::{Answer, Event, HttpRequest, Operation, Outcome, Step};

use crate::call::{Arguments, Failure, Signature, function, kind, stepping, text};
use crate::told::{Told, attempt_log, error_table, milliseconds, surely};

/// An operation, whatever it ends in.
pub(crate) trait Driven {
    fn step(&mut self, lua: &Lua, event: Event) -> mlua::Result<(bool, MultiValue)>;
    fn request(&self) -> &HttpRequest;
    fn idempotency_key(&self) -> Option<&str>;
    fn connect_timeout(&self) -> u32;
    fn time_left(&self) -> u32;
    fn attempt_log(&self, lua: &Lua) -> mlua::Result<Table>;
    fn abandoned(&self, lua: &Lua) -> mlua::Result<Value>;
}

impl<T: Outcome + Told> Driven for Operation<T> {
    /// Whether it is done, and what Lua is told.
    fn step(&mut self, lua: &Lua, event: Event) -> mlua::Result<(bool, MultiValue)> {
        let timed =
            |step: &str, time: u32| Ok((false, MultiValue::from_iter([text(lua, step)?, Value::Integer(time.into())])));
        let step = Operation::step(self, event);
        surely(|| match &step {
            Step::Send(timeout) => timed("send", milliseconds(*timeout)),
            Step::Wait(pause) => timed("wait", milliseconds(*pause)),
            Step::Done(result) => {
                let (value, error) = match result {
                    Ok(outcome) => (outcome.told(lua)?, Value::Nil),
                    Err(error) => (Value::Nil, error_table(lua, error)?),
                };
                Ok((true, MultiValue::from_iter([text(lua, "done")?, value, error])))
            }
        })
    }

    fn request(&self) -> &HttpRequest {
        Operation::request(self)
    }

    fn idempotency_key(&self) -> Option<&str> {
        Operation::idempotency_key(self)
    }

    fn connect_timeout(&self) -> u32 {
        milliseconds(Operation::connect_timeout(self))
    }

    fn time_left(&self) -> u32 {
        milliseconds(Operation::time_left(self))
    }

    fn attempt_log(&self, lua: &Lua) -> mlua::Result<Table> {
        attempt_log(lua, Operation::attempt_log(self))
    }

    fn abandoned(&self, lua: &Lua) -> mlua::Result<Value> {
        error_table(lua, &Operation::abandoned(self))
    }
}

/// What Lua holds as the operation: nothing once it is done.
pub(crate) struct Handle(Option<Box<dyn Driven>>);

pub(crate) fn make<T: Outcome + Told + 'static>(lua: &Lua, operation: Operation<T>) -> Result<Value, Failure> {
    Ok(Value::UserData(lua.create_userdata(Handle(Some(Box::new(operation))))?))
}

impl UserData for Handle {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field(MetaMethod::Type, "takings.operation");
        fields.add_meta_field_with(MetaMethod::Index, methods);
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::ToString, |_, handle, ()| {
            let request = handle.0.as_ref().map(|operation| operation.request());
            Ok(match request {
                Some(request) => format!("takings.operation ({} {})", request.method(), request.url()),
                None => "takings.operation (done)".to_owned(),
            })
        });
    }
}

fn methods(lua: &Lua) -> mlua::Result<Table> {
    let methods = lua.create_table()?;
    let event = |name: &'static str,
                 arguments: &'static [&'static str],
                 least,
                 event: fn(&Arguments) -> Result<Event, Failure>| {
        let short = name.trim_start_matches("operation:");
        methods.raw_set(
            short,
            stepping(lua, Signature(name, arguments, least), move |lua, arguments| {
                // an answer that cannot be read for somebody else's error is no less an answer
                let event = surely(|| match event(arguments) {
                    Err(Failure::Lua(error)) => Err(error),
                    read => Ok(read),
                })?;
                step(lua, arguments, event?)
            })?,
        )
    };
    event("operation:start", &[], 0, |_| Ok(Event::Start))?;
    event("operation:answered", &["status", "headers", "body"], 2, |arguments| {
        Ok(Event::Answered(answer(arguments)?))
    })?;
    event("operation:not_sent", &["why"], 1, |arguments| Ok(Event::NotSent(why(arguments)?)))?;
    event("operation:maybe_sent", &["why"], 1, |arguments| Ok(Event::MaybeSent(why(arguments)?)))?;
    event("operation:waited", &[], 0, |_| Ok(Event::Waited))?;
    let fact = |name: &'static str, fact: fn(&Lua, &dyn Driven) -> mlua::Result<Value>| {
        let short = name.trim_start_matches("operation:");
        methods.raw_set(
            short,
            function(lua, Signature(name, &[], 0), move |lua, arguments| {
                let handle = arguments.this().borrow::<Handle>()?;
                match &handle.0 {
                    Some(operation) => Ok(fact(lua, &**operation)?),
                    None => done(arguments),
                }
            })?,
        )
    };
    fact("operation:request", |lua, operation| request_table(lua, operation.request()))?;
    fact("operation:idempotency_key", |lua, operation| {
        operation.idempotency_key().map_or(Ok(Value::Nil), |key| text(lua, key))
    })?;
    fact("operation:connect_timeout", |_, operation| Ok(Value::Integer(operation.connect_timeout().into())))?;
    fact("operation:time_left", |_, operation| Ok(Value::Integer(operation.time_left().into())))?;
    fact("operation:attempt_log", |lua, operation| operation.attempt_log(lua).map(Value::Table))?;
    fact("operation:abandoned", |lua, operation| surely(|| operation.abandoned(lua)))?;
    Ok(methods)
}

fn done<T>(arguments: &Arguments) -> Result<T, Failure> {
    arguments.misuse("the operation is done")
}

fn step(lua: &Lua, arguments: &Arguments, event: Event) -> Result<MultiValue, Failure> {
    let mut handle = arguments.this().borrow_mut::<Handle>()?;
    let Some(operation) = &mut handle.0 else { return done(arguments) };
    let (is_done, told) = operation.step(lua, event)?;
    if is_done {
        handle.0 = None;
    }
    Ok(told)
}

/// An HTTP client's words, which may be in any encoding.
fn why(arguments: &Arguments) -> Result<String, Failure> {
    match arguments.value(0) {
        Value::String(text) => Ok(text.to_string_lossy()),
        other => arguments.misuse(format_args!("why is {}; it must be a string", kind(Some(&other)))),
    }
}

fn answer(arguments: &Arguments) -> Result<Answer, Failure> {
    let status = match arguments.value(0) {
        Value::Integer(status) => u16::try_from(status).ok(),
        Value::Number(status) if status.fract() == 0.0 && (0.0..=65535.0).contains(&status) => Some(status as u16),
        _ => None,
    };
    let Some(status) = status else {
        return arguments.misuse(format_args!(
            "status is {}; it must be the number of an HTTP status",
            kind(Some(&arguments.value(0)))
        ));
    };
    let Value::Table(table) = arguments.value(1) else {
        return arguments.misuse(format_args!("headers is {}; it must be a table", kind(Some(&arguments.value(1)))));
    };
    let mut headers = Vec::new();
    for pair in table.pairs::<Value, Value>() {
        let (name, value) = pair?;
        let Value::String(name) = name else {
            return arguments.misuse(format_args!("headers has {} for a name; it must be a string", kind(Some(&name))));
        };
        let name = name.to_string_lossy();
        let mut add = |value: Value| match value {
            Value::String(value) => {
                headers.push((name.clone(), value.as_bytes().to_vec()));
                Ok(())
            }
            other => arguments.misuse(format_args!(
                "headers has {} for {name:?}; it must be a string, or a list of strings",
                kind(Some(&other))
            )),
        };
        match value {
            // one at a time: mlua cannot hold thousands of a server's
            Value::Table(values) => values.sequence_values().try_for_each(|value| add(value?))?,
            value => add(value)?,
        }
    }
    let body = match arguments.value(2) {
        Value::Nil => Vec::new(),
        Value::String(body) => body.as_bytes().to_vec(),
        other => return arguments.misuse(format_args!("body is {}; it must be a string", kind(Some(&other)))),
    };
    Ok(Answer::new(status, headers, body))
}

fn request_table(lua: &Lua, request: &HttpRequest) -> mlua::Result<Value> {
    let headers = lua.create_table()?;
    for (name, value) in request.headers() {
        headers.raw_set(name, value)?;
    }
    let table = lua.create_table()?;
    table.raw_set("method", request.method())?;
    table.raw_set("url", request.url())?;
    table.raw_set("tls", request.is_tls())?;
    table.raw_set("host", request.host())?;
    table.raw_set("port", request.port())?;
    table.raw_set("target", request.target())?;
    table.raw_set("headers", headers)?;
    table.raw_set("body", lua.create_string(request.body())?)?;
    table.raw_set("most_answer", request.most_answer())?;
    Ok(Value::Table(table))
}
