//! Makes Lua tables of the core's records: replies, errors and attempts.
//!
//! Each record has a function in Lua that makes its table of values in order. Those functions are made from the names
//! of the fields. A table that is filled from Rust takes a protected call for each field, and another for each name.
//! A text takes one as well, which in Lua 5.1 costs more than all the rest. So the texts of a record come as one.

use std::collections::{BTreeMap, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

use mlua::{Function, Lua, Table, Value, Variadic};
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

/// Makes the list of attempts. As all makers do, it takes the texts as one text, and the values in order.
const ATTEMPTS: &str = "local select, sub, attempt = select, string.sub
    local function attempts(texts, count, ...)
      local list = {}
      for number = 1, count do
        list[number] = attempt(texts, select((number - 1) * WIDTH + 1, ...))
      end
      return list
    end";

/// The name of the maker of a list of attempts.
const LIST: &str = "attempts";

/// A longer text is handed over as it is: as a part of the texts it would be copied twice.
const LONG: usize = 1024;

/// The functions that make tables, by the names of the records.
struct Makers(HashMap<String, Function>);

/// Makes the functions that make tables. Must run before a record becomes a table.
pub(crate) fn prepare(lua: &Lua) -> mlua::Result<()> {
    let replies = operations().iter().map(|operation| operation.reply_info());
    let records: BTreeMap<_, _> =
        [&Error::INFO, &Intent::INFO].into_iter().chain(replies).map(|record| (record.name, record)).collect();
    let width = Attempt::INFO.fields.len() + Attempt::INFO.fields.iter().filter(|field| is_text(field)).count();
    let before = [ATTEMPTS.replace("WIDTH", &width.to_string()), ERRORS.to_owned(), maker(&Attempt::INFO)];
    let makers = records.values().map(|record| maker(record)).collect::<String>();
    let entries = records.keys().map(|name| format!(", {name} = {name}")).collect::<String>();
    let source = format!("{} attempt = Attempt {makers} return {{{LIST} = {LIST}{entries}}}", before.join(" "));
    lua.set_app_data(Makers(lua.load(source).set_name("=takings").eval()?));
    Ok(())
}

/// Whether a field holds a text. It then takes two values: where the text begins and ends among the texts.
fn is_text(field: &FactInfo) -> bool {
    !matches!(field.kind, "attempts" | "texts" | "time" | "duration" | "integer" | "boolean")
}

/// Lua that declares the function for a record, by its name.
fn maker(record: &RecordInfo) -> String {
    let list = |part: fn(&FactInfo) -> String| record.fields.iter().map(part).collect::<Vec<_>>();
    let mut values = list(|field| {
        let name = field.name;
        if is_text(field) { format!("v_{name}, e_{name}") } else { format!("v_{name}") }
    });
    if record.fields.iter().any(|field| field.kind == "attempts") {
        values.push("...".to_owned());
    }
    let reads = list(|field| {
        let name = field.name;
        match field.kind {
            "attempts" => format!("v_{name} = attempts(texts, v_{name}, ...) "),
            "texts" => format!("v_{name} = v_{name} or {{}} "),
            _ if is_text(field) => format!("if e_{name} then v_{name} = sub(texts, v_{name}, e_{name}) end "),
            _ => String::new(),
        }
    });
    let fields = list(|field| {
        // A time is a number of seconds, as os.time has it.
        let kind = if field.kind == "time" { "" } else { field.kind };
        format!("['{}'] = v_{}", name_in_milliseconds(field.name, kind), field.name)
    });
    let make = if record.name == Error::INFO.name { "failure" } else { "" };
    let (name, values, reads, fields) = (record.name, values.join(", "), reads.concat(), fields.join(", "));
    format!("local function {name}(texts, {values}) {reads} return {make}({{{fields}}}) end ")
}

/// The values of a record as its function takes them, and the texts among them as one. Those of its attempts follow.
#[derive(Default)]
struct Values {
    texts: String,
    values: Vec<Value>,
}

impl Values {
    /// Adds the values of a record; gives its attempts, whose values come behind.
    fn add<'a>(
        &mut self,
        lua: &Lua,
        record: &RecordInfo,
        facts: impl IntoIterator<Item = Fact<'a>>,
    ) -> mlua::Result<&'a [Attempt]> {
        let mut attempts: &[Attempt] = &[];
        for (field, fact) in record.fields.iter().zip(facts) {
            let mut end = Value::Nil;
            let value = match fact {
                Fact::Text(text) if text.len() > LONG => Value::String(lua.create_string(text)?),
                Fact::Text(text) => {
                    let begin = self.texts.len() + 1;
                    self.texts.push_str(text);
                    end = Value::Integer(self.texts.len() as _);
                    Value::Integer(begin as _)
                }
                Fact::Attempts(log) => {
                    attempts = log;
                    Value::Integer(log.len() as _)
                }
                Fact::Integer(number) => Value::Integer(number),
                Fact::Flag(flag) => Value::Boolean(flag),
                Fact::Absent | Fact::Texts([]) => Value::Nil,
                Fact::Texts(texts) => Value::Table(lua.create_sequence_from(texts.iter().map(String::as_str))?),
                Fact::Time(time) => Value::Number(seconds(time)),
                Fact::Duration(duration) => Value::Integer(milliseconds(duration)),
            };
            self.values.push(value);
            if is_text(field) {
                self.values.push(end);
            }
        }
        Ok(attempts)
    }

    /// Adds attempts, and makes a record of all values.
    fn made(mut self, lua: &Lua, name: &str, attempts: &[Attempt]) -> mlua::Result<Value> {
        for attempt in attempts {
            self.add(lua, &Attempt::INFO, attempt.facts())?;
        }
        let makers = lua.app_data_ref::<Makers>().expect("prepared when the module was loaded");
        makers.0[name].call((self.texts, Variadic::from(self.values)))
    }
}

fn made<'a>(lua: &Lua, record: &RecordInfo, facts: impl IntoIterator<Item = Fact<'a>>) -> mlua::Result<Value> {
    let mut values = Values::default();
    let attempts = values.add(lua, record, facts)?;
    values.made(lua, record.name, attempts)
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
    let values = Values { texts: String::new(), values: vec![Value::Integer(log.len() as _)] };
    values.made(lua, LIST, log)
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
