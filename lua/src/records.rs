//! Makes Lua tables of the core's records: replies, errors and attempts.
//!
//! Each record has a function in Lua that makes its table of values in order. Those functions are made from the names
//! of the fields. A table that is filled from Rust takes a protected call for each field, and another for each name.

use std::fmt::Write as _;
use std::time::UNIX_EPOCH;

use mlua::{Either, Function, Lua, Value, Variadic};
use takings::binding::{Fact, RecordInfo, milliseconds, name_in_milliseconds, operations};
use takings::{Attempt, Error, Reply};

/// The metatable of errors. `"failed: " .. err` is a text on purpose: a raised error in a shop's error path would hide
/// what happened to the money.
const ERRORS: &str = "local rawget, select, setmetatable, tostring = rawget, select, setmetatable, tostring
    local error_metatable = {
      __name = 'takings.error',
      __tostring = function(err) return tostring(rawget(err, 'message')) end,
      __concat = function(left, right) return tostring(left) .. tostring(right) end,
    }";

/// The functions that make tables: of attempts, of an error, and of the reply to each operation in turn.
struct Makers(Vec<Function>);

const ATTEMPTS: usize = 0;
const ERROR: usize = 1;
const REPLIES: usize = 2;

/// Makes the functions that make tables. Must run before a record becomes a table.
pub(crate) fn prepare(lua: &Lua) -> mlua::Result<()> {
    let (values, fields, count) = parts(&Attempt::INFO);
    let mut source = format!(
        "{ERRORS}
        local function attempt_log(...)
          local log = {{}}
          for at = 1, select('#', ...), {count} do
            local {values} = select(at, ...)
            log[#log + 1] = {{{fields}}}
          end
          return log
        end
        return attempt_log"
    );
    let replies = operations().iter().map(|operation| (operation.reply_info(), "nil"));
    for (record, metatable) in [(&Error::INFO, "error_metatable")].into_iter().chain(replies) {
        let (values, fields, _) = parts(record);
        let maker = format!(", function({values}, ...) return setmetatable({{{fields}}}, {metatable}) end");
        source.push_str(&maker);
    }
    let makers: Variadic<Function> = lua.load(source).set_name("=takings").eval()?;
    lua.set_app_data(Makers(makers.into()));
    Ok(())
}

/// The values of a record as Lua's parameters, the table that they make, and their number. The values of attempts
/// follow after all others.
fn parts(record: &RecordInfo) -> (String, String, usize) {
    let count = record.fields.len();
    let values: Vec<String> = (0..count).map(|index| format!("v{index}")).collect();
    let fields = record.fields.iter().zip(&values).fold(String::new(), |mut fields, (field, value)| {
        let name = field.name;
        _ = match field.kind {
            "attempts" => write!(fields, "['{name}'] = attempt_log(...), "),
            "texts" => write!(fields, "['{name}'] = {value} or {{}}, "),
            "duration" => write!(fields, "['{}'] = {value}, ", name_in_milliseconds(name, field.kind)),
            _ => write!(fields, "['{name}'] = {value}, "),
        };
        fields
    });
    (values.join(", "), fields, count)
}

/// A value as a function in Lua takes it. A text is passed without a [`Value`].
fn value<'a>(lua: &Lua, fact: Fact<'a>) -> mlua::Result<Either<&'a str, Value>> {
    Ok(Either::Right(match fact {
        Fact::Text(text) | Fact::Json(text) => return Ok(Either::Left(text)),
        Fact::Absent | Fact::Texts([]) | Fact::Attempts(_) => Value::Nil,
        Fact::Integer(number) => Value::Integer(number),
        Fact::Flag(flag) => Value::Boolean(flag),
        Fact::Texts(texts) => Value::Table(lua.create_sequence_from(texts.iter().map(String::as_str))?),
        // A clock before 1970 counts as no clock.
        Fact::Time(time) => Value::Number(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()),
        Fact::Duration(duration) => Value::Integer(milliseconds(duration)),
    }))
}

fn made<'a>(
    lua: &Lua,
    maker: usize,
    facts: impl IntoIterator<Item = Fact<'a>>,
    log: &'a [Attempt],
) -> mlua::Result<Value> {
    let mut values = Vec::with_capacity(32);
    for fact in facts.into_iter().chain(log.iter().flat_map(Attempt::facts)) {
        values.push(value(lua, fact)?);
    }
    let makers = lua.app_data_ref::<Makers>().expect("prepared when the module was loaded");
    makers.0[maker].call(Variadic::from(values))
}

pub(crate) fn reply(lua: &Lua, reply: &Reply) -> mlua::Result<Value> {
    let row = operations().iter().position(|operation| operation.name == reply.operation());
    let row = row.expect("a reply is one to an operation of the table");
    made(lua, REPLIES + row, reply.facts(), reply.attempt_log())
}

pub(crate) fn error(lua: &Lua, error: &Error) -> mlua::Result<Value> {
    made(lua, ERROR, error.facts(), error.attempt_log())
}

pub(crate) fn attempt_log(lua: &Lua, log: &[Attempt]) -> mlua::Result<Value> {
    made(lua, ATTEMPTS, [], log)
}

/// Makes the values of an outcome while the collector rests. Before Lua 5.4 a finaliser of the program's own (`__gc`)
/// may raise its error in any code that makes a value. Such an error would take the place of a capture that was made.
///
/// Lua 5.1 and LuaJIT do not say whether the program had stopped its collector, so the collector runs afterwards.
pub(crate) fn undisturbed<T>(lua: &Lua, make: impl FnOnce() -> T) -> T {
    let was_running = is_collecting(lua);
    lua.gc_stop();
    let made = make();
    if was_running {
        lua.gc_restart();
    }
    made
}

#[cfg(any(feature = "lua51", feature = "luajit"))]
fn is_collecting(_: &Lua) -> bool {
    true
}

#[cfg(not(any(feature = "lua51", feature = "luajit")))]
fn is_collecting(lua: &Lua) -> bool {
    lua.gc_is_running()
}
