//! How captures, reconciliations, errors and their attempts look in Lua.

use std::time::{Duration, UNIX_EPOCH};

use mlua::{Lua, Table, Value};
use takings::{Attempt, Capture, Error, Reconciliation};

use crate::call::ERROR;

/// What a call ends in when it goes well.
pub(crate) trait Told {
    fn told(&self, lua: &Lua) -> mlua::Result<Value>;
}

impl Told for Capture {
    fn told(&self, lua: &Lua) -> mlua::Result<Value> {
        let table = lua.create_table()?;
        table.raw_set("capture_id", self.capture_id())?;
        table.raw_set("order_id", self.order_id())?;
        table.raw_set("idempotency_key", self.idempotency_key())?;
        table.raw_set("correlation_id", self.correlation_id())?;
        table.raw_set("attempts", self.attempts())?;
        table.raw_set("attempt_log", attempt_log(lua, self.attempt_log())?)?;
        table.raw_set("warnings", self.warnings())?;
        Ok(Value::Table(table))
    }
}

impl Told for Reconciliation {
    fn told(&self, lua: &Lua) -> mlua::Result<Value> {
        let table = lua.create_table()?;
        table.raw_set("found", self.found().as_str())?;
        table.raw_set("capture_id", self.capture_id())?;
        table.raw_set("capture_ids", self.capture_ids())?;
        table.raw_set("order_id", self.order_id())?;
        table.raw_set("correlation_id", self.correlation_id())?;
        table.raw_set("attempts", self.attempts())?;
        table.raw_set("attempt_log", attempt_log(lua, self.attempt_log())?)?;
        Ok(Value::Table(table))
    }
}

pub(crate) fn error_table(lua: &Lua, error: &Error) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    table.raw_set("kind", error.kind().as_str())?;
    table.raw_set("message", error.message())?;
    table.raw_set("http_status", error.http_status())?;
    table.raw_set("error_code", error.error_code())?;
    table.raw_set("error_messages", error.error_messages())?;
    table.raw_set("correlation_id", error.correlation_id())?;
    table.raw_set("order_id", error.order_id())?;
    table.raw_set("idempotency_key", error.idempotency_key())?;
    table.raw_set("attempts", error.attempts())?;
    table.raw_set("attempt_log", attempt_log(lua, error.attempt_log())?)?;
    table.raw_set("retryable", error.retryable())?;
    table.set_metatable(Some(lua.named_registry_value(ERROR)?))?;
    Ok(Value::Table(table))
}

pub(crate) fn attempt_log(lua: &Lua, attempts: &[Attempt]) -> mlua::Result<Table> {
    let list = lua.create_table()?;
    for attempt in attempts {
        let table = lua.create_table()?;
        // a clock before 1970 is as good as none
        let started = attempt.started().duration_since(UNIX_EPOCH).unwrap_or_default();
        table.raw_set("started", started.as_secs_f64())?;
        table.raw_set("sent", attempt.sent())?;
        table.raw_set("took_ms", milliseconds(attempt.took()))?;
        table.raw_set("came_back", attempt.came_back())?;
        table.raw_set("http_status", attempt.http_status())?;
        table.raw_set("error_code", attempt.error_code())?;
        table.raw_set("correlation_id", attempt.correlation_id())?;
        table.raw_set("wait_ms", attempt.wait().map(milliseconds))?;
        list.raw_push(table)?;
    }
    Ok(list)
}

/// Rounded up: a pause is never cut short.
pub(crate) fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}
