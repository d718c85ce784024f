//! Functions about captures and refunds that need no client: reasons against one, and rows for a ledger.

use std::time::{Duration, UNIX_EPOCH};

use mlua::{FromLua, IntoLua, Lua, Table, Value};
use takings::{Intent, binding};

use crate::functions::{Arguments, Failure, Functions};
use crate::records;
use crate::source::Source;

pub(crate) fn add(module: &Functions) -> mlua::Result<()> {
    for (name, operation) in [("check_capture", "capture"), ("check_refund", "refund")] {
        let takes = [("order", "any"), ("request", "any")];
        module.add(name, false, &takes, move |_, arguments| check(arguments, operation))?;
    }
    let takes = [("order_id", "string"), ("request", "any"), ("operation", "string?")];
    module.add("intent", false, &takes, |lua, arguments| {
        let operation = arguments.optional_text("operation")?.unwrap_or_else(|| "capture".into());
        let request = Source(arguments.value("request").clone());
        let intent = Intent::read(&operation, &arguments.text("order_id")?, request, "lua")?;
        Ok(records::intent(lua, &intent)?)
    })?;
    module.add("insert", false, &[("intent", "table"), ("style", "string")], insert)
}

/// The reasons against a capture or a refund of an order: the table that `get_order` gave, or its text.
fn check(arguments: &Arguments, operation: &str) -> Result<Vec<String>, Failure> {
    let (order, answered_at) = match arguments.value("order") {
        Value::Table(order) => (order.raw_get("raw")?, order.raw_get::<Value>("answered_at")?),
        order => (order.clone(), Value::Nil),
    };
    let now = answered_at.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let now = now.and_then(|since| UNIX_EPOCH.checked_add(since));
    let request = Source(arguments.value("request").clone());
    Ok(binding::check(operation, &shown(&order), now, request, "lua")?)
}

/// The text of an intent's INSERT and its values: a list of `n`, where one may be nil, or by the names of the columns.
fn insert(lua: &Lua, arguments: &Arguments) -> Result<(String, Table), Failure> {
    let intent = Table::from_lua(arguments.value("intent").clone(), lua)?;
    let insert = binding::insert(&shown(&intent.raw_get("operation")?), &arguments.text("style")?)?;
    let values = lua.create_table()?;
    for (at, column) in (1..).zip(insert.columns) {
        let name = if insert.is_named { column.into_lua(lua)? } else { Value::Integer(at) };
        values.raw_set(name, intent.raw_get::<Value>(column)?)?;
    }
    if !insert.is_named {
        values.raw_set("n", insert.columns.len())?;
    }
    Ok((insert.sql, values))
}

/// A text of any encoding; empty for another value.
fn shown(value: &Value) -> String {
    value.as_string().map(|text| text.to_string_lossy()).unwrap_or_default()
}
