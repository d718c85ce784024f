//! The functions of the module.

use mlua::{Lua, Table, Value};
use takings::{Config, Error};

use crate::call::{self, Arguments, Failure, Signature, function, text};
use crate::client;
use crate::source::FLOATS_SKIP;
use crate::told;

pub(crate) fn open(lua: &Lua) -> mlua::Result<Table> {
    call::prepare(lua)?;
    told::prepare(lua)?;
    let module = lua.create_table()?;
    module.raw_set("client", function(lua, Signature("takings.client", &["config"], 1), client)?)?;
    module.raw_set(
        "client_from_env",
        function(lua, Signature("takings.client_from_env", &[], 0), |lua, _| {
            client::make(lua, Config::from_env()?, client::Transport::Auto)
        })?,
    )?;
    module.raw_set(
        "idempotency_key",
        function(lua, Signature("takings.idempotency_key", &["order_id", "name"], 2), |lua, arguments| {
            Ok(text(lua, &takings::idempotency_key(&arguments.text(0)?, &arguments.text(1)?)?)?)
        })?,
    )?;
    module.raw_set(
        "new_idempotency_key",
        function(lua, Signature("takings.new_idempotency_key", &[], 0), |lua, _| {
            Ok(text(lua, &takings::new_idempotency_key()?)?)
        })?,
    )?;
    module.raw_set("minor", function(lua, Signature("takings.minor", &["amount", "currency"], 2), minor)?)?;
    module.raw_set("null", Value::NULL)?;
    module.raw_set("_VERSION", takings::VERSION)?;
    Ok(module)
}

fn client(lua: &Lua, arguments: &Arguments) -> Result<Value, Failure> {
    let (config, transport) = client::settings(lua, arguments.value(0))?;
    client::make(lua, config, transport)
}

fn minor(_: &Lua, arguments: &Arguments) -> Result<Value, Failure> {
    let (amount, currency) = (arguments.text(0)?, arguments.text(1)?);
    let minor = takings::minor(&amount, &currency)?;
    if cfg!(not(any(feature = "lua53", feature = "lua54"))) && minor.unsigned_abs() >= FLOATS_SKIP as u64 {
        return Err(Error::invalid_argument(
            "amount",
            &format!("{amount:?} ({minor} in minor units)"),
            "less than 9007199254740992 in minor units, from where on this Lua's numbers skip some",
        )
        .into());
    }
    Ok(Value::Integer(minor))
}
