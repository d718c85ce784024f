//! Makes Lua tables of the core's records: replies, errors and attempts.
//!
//! Each record has a function in Lua that makes its table of values in order. Those functions are made from the names
//! of the fields. A table that is filled from Rust takes a protected call for each field, and another for each name.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use mlua::{Either, Function, Lua, Table, Value, Variadic};
use takings::binding::{DocumentInfo, Fact, FactInfo, RecordInfo, milliseconds, name_in_milliseconds, operations};
use takings::{Attempt, Error, Intent, Node, Object, Reply};

/// Makes errors. `"failed: " .. err` is a text on purpose: a raised error in a shop's error path would hide what happened
/// to the money.
const ERRORS: &str = "local pcall, rawget, setmetatable, tostring, type = pcall, rawget, setmetatable, tostring, type
    local function text(v) local able, shown = pcall(tostring, v) return able and shown or type(v) end
    local metatable = {
      __name = 'takings.error',
      __tostring = function(err) return tostring(rawget(err, 'message')) end,
      __concat = function(left, right) return text(left) .. text(right) end,
    }
    local function failure(err) return setmetatable(err, metatable) end";

/// The functions that make tables, by the names of the records.
struct Makers(HashMap<&'static str, Function>);

/// Makes the functions that make tables. Must run before a record becomes a table.
pub(crate) fn prepare(lua: &Lua) -> mlua::Result<()> {
    let replies = operations().iter().map(|operation| operation.reply_info());
    let maker = |record: &RecordInfo| Ok((record.name, lua.load(source(record)).set_name("=takings").eval()?));
    let makers = [&Attempt::INFO, &Error::INFO, &Intent::INFO].into_iter().chain(replies).map(maker);
    lua.set_app_data(Makers(makers.collect::<mlua::Result<_>>()?));
    Ok(())
}

/// Lua that gives the function for a record.
fn source(record: &RecordInfo) -> String {
    let list = |part: fn(&FactInfo) -> String| record.fields.iter().map(part).collect::<Vec<_>>().join(", ");
    let values = list(|field| format!("v_{}", field.name));
    let fields = list(|field| {
        // A time is a number of seconds, as os.time has it.
        let kind = if field.kind == "time" { "" } else { field.kind };
        format!("['{}'] = v_{}", name_in_milliseconds(field.name, kind), field.name)
    });
    let (before, make) = if record.name == Error::INFO.name { (ERRORS, "failure") } else { ("", "") };
    format!("{before} return function({values}) return {make} {{{fields}}} end")
}

/// A value as a function in Lua takes it. A text is passed without a [`Value`].
fn value<'a>(lua: &Lua, fact: Fact<'a>) -> mlua::Result<Either<&'a str, Value>> {
    Ok(Either::Right(match fact {
        Fact::Text(text) => return Ok(Either::Left(text)),
        Fact::Absent => Value::Nil,
        Fact::Attempts(log) => attempt_log(lua, log)?,
        Fact::Integer(number) => Value::Integer(number),
        Fact::Flag(flag) => Value::Boolean(flag),
        Fact::Texts(texts) => Value::Table(lua.create_sequence_from(texts.iter().map(String::as_str))?),
        Fact::Time(time) => Value::Number(seconds(time)),
        Fact::Duration(duration) => Value::Integer(milliseconds(duration)),
    }))
}

fn made<'a>(lua: &Lua, record: &RecordInfo, facts: impl IntoIterator<Item = Fact<'a>>) -> mlua::Result<Value> {
    let values = facts.into_iter().map(|fact| value(lua, fact)).collect::<mlua::Result<Vec<_>>>()?;
    let makers = lua.app_data_ref::<Makers>().expect("prepared when the module was loaded");
    makers.0[record.name].call(Variadic::from(values))
}

pub(crate) fn reply(lua: &Lua, reply: &Reply) -> mlua::Result<Value> {
    let made = made(lua, reply.info(), reply.facts())?;
    if let (Some((info, root)), Value::Table(table)) = (reply.document(), &made) {
        fill(lua, table, Some(info), root)?;
    }
    Ok(made)
}

/// Puts the members of an object into a table. A field of the reply goes before a member of its name.
fn fill(lua: &Lua, table: &Table, info: Option<&'static DocumentInfo>, object: &Object) -> mlua::Result<()> {
    for (name, node) in object.members() {
        if !table.contains_key(name)? {
            table.raw_set(name, node_of(lua, node)?)?;
        }
        if let Node::Time(_, time) = node {
            table.raw_set(format!("{name}_time"), seconds(*time))?;
        }
    }
    for list in info.into_iter().flat_map(|info| info.members).filter(|member| member.kind.is_list()) {
        if !table.contains_key(list.name)? {
            table.raw_set(list.name, lua.create_table()?)?;
        }
    }
    Ok(())
}

/// A value of a document. A member that is null is absent.
fn node_of(lua: &Lua, node: &Node) -> mlua::Result<Value> {
    Ok(match node {
        Node::Flag(flag) => Value::Boolean(*flag),
        Node::Integer(number) => Value::Integer(*number),
        Node::Number(number) => Value::Number(number.as_f64().unwrap_or(f64::NAN)),
        Node::Text(text) => Value::String(lua.create_string(text.as_bytes())?),
        Node::Time(text, _) => Value::String(lua.create_string(text.as_bytes())?),
        Node::List(items) => {
            let items = items.iter().map(|item| node_of(lua, item)).collect::<mlua::Result<Vec<_>>>()?;
            Value::Table(lua.create_sequence_from(items)?)
        }
        Node::Object(object) => {
            let table = lua.create_table_with_capacity(0, object.members().count())?;
            fill(lua, &table, object.info(), object)?;
            Value::Table(table)
        }
        _ => Value::Nil,
    })
}

/// Seconds since 1970, as os.time has them. A clock before 1970 counts as no clock.
fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

pub(crate) fn error(lua: &Lua, error: &Error) -> mlua::Result<Value> {
    made(lua, &Error::INFO, error.facts())
}

pub(crate) fn intent(lua: &Lua, intent: &Intent) -> mlua::Result<Value> {
    made(lua, &Intent::INFO, intent.facts())
}

pub(crate) fn attempt_log(lua: &Lua, log: &[Attempt]) -> mlua::Result<Value> {
    let log = log.iter().map(|attempt| made(lua, &Attempt::INFO, attempt.facts()));
    Ok(Value::Table(lua.create_sequence_from(log.collect::<mlua::Result<Vec<_>>>()?)?))
}

/// Makes the values of an outcome while the collector rests. Before Lua 5.4 a finaliser of the program's own (`__gc`)
/// may raise its error in any code that makes a value. Such an error would take the place of a capture that was made.
///
/// Lua 5.1 and LuaJIT do not say whether the program had stopped its collector, so the collector runs afterwards.
pub(crate) fn undisturbed<T>(lua: &Lua, make: impl FnOnce() -> T) -> T {
    #[cfg(any(feature = "lua51", feature = "luajit"))]
    let was_running = true;
    #[cfg(not(any(feature = "lua51", feature = "luajit")))]
    let was_running = lua.gc_is_running();
    lua.gc_stop();
    let made = make();
    if was_running {
        lua.gc_restart();
    }
    made
}
