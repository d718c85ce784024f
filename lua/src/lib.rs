//! The Lua module `takings`: captures Klarna orders from Lua 5.1, 5.2, 5.3, 5.4 or LuaJIT,
//! whichever the one chosen feature names. `README.md` is its manual for Lua programmers.

#![forbid(unsafe_code)]

mod call;
mod client;
mod functions;
mod offline;
mod records;
mod source;

use mlua::{Lua, Table, Value};
use takings::Error;

use crate::functions::{Arguments, Failure, Functions};
use crate::source::{FLOATS_SKIP, HAS_INTEGERS};

/// `require "takings"` calls this.
#[mlua::lua_module]
fn takings(lua: &Lua) -> mlua::Result<Table> {
    functions::prepare(lua)?;
    records::prepare(lua)?;
    let module = Functions { lua, table: lua.create_table()?, prefix: "takings.", is_self: None };
    for (name, wanted, over_env) in [("client", "any", false), ("client_from_env", "table?", true)] {
        let make = move |lua: &_, arguments: &Arguments| client::make(lua, arguments.value("config"), over_env);
        module.add(name, false, &[("config", wanted)], make)?;
    }
    let takes = [("order_id", "string"), ("name", "string"), ("operation", "string?"), ("capture_id", "string?")];
    module.add("idempotency_key", false, &takes, |_, arguments| {
        let (order_id, name) = (arguments.text("order_id")?, arguments.text("name")?);
        let operation = arguments.optional_text("operation")?.unwrap_or_else(|| "capture".into());
        let capture_id = arguments.optional_text("capture_id")?;
        Ok(takings::idempotency_key_for(&operation, &order_id, capture_id.as_deref(), &name)?)
    })?;
    module.add("new_idempotency_key", false, &[], |_, _| Ok(takings::new_idempotency_key()?))?;
    module.add("minor", false, &[("amount", "string"), ("currency", "string")], minor)?;
    offline::add(&module)?;
    module.table.raw_set("null", Value::NULL)?;
    module.table.raw_set("_VERSION", takings::VERSION)?;
    Ok(module.table)
}

fn minor(_: &Lua, arguments: &Arguments) -> Result<i64, Failure> {
    let amount = arguments.text("amount")?;
    let minor = takings::minor(&amount, &arguments.text("currency")?)?;
    if HAS_INTEGERS || minor.unsigned_abs() < FLOATS_SKIP as u64 {
        return Ok(minor);
    }
    let got = format!("{amount:?} ({minor} in minor units)");
    let allowed = "less than 9007199254740992 in minor units, from where on this Lua's numbers skip some";
    Err(Error::invalid_argument("amount", &got, allowed).into())
}
