//! How captures, reconciliations, errors and their attempts are told to Lua: their values, in the
//! order that `told.lua` makes tables of.

use std::time::{Duration, UNIX_EPOCH};

use mlua::{Function, IntoLua, IntoLuaMulti, Lua, MultiValue, Table, Value};
use takings::{Attempt, Capture, Error, Reconciliation};

const MAKERS: &str = include_str!("told.lua");

/// How often a value is made at most.
const TRIES: usize = 1000;

/// The functions of `told.lua`.
struct Makers {
    attempt_log: Function,
    capture: Function,
    reconciliation: Function,
    error: Function,
}

/// To be done before anything is told.
pub(crate) fn prepare(lua: &Lua) -> mlua::Result<()> {
    let (attempt_log, capture, reconciliation, error) = lua.load(MAKERS).set_name("=takings").eval()?;
    lua.set_app_data(Makers { attempt_log, capture, reconciliation, error });
    Ok(())
}

fn made(lua: &Lua, maker: fn(&Makers) -> &Function, values: impl IntoLuaMulti) -> mlua::Result<Table> {
    let makers = lua.app_data_ref::<Makers>().expect("prepared when the module was loaded");
    maker(&makers).call(values)
}

/// Makes a value of what is known by now, again where that fails. Before Lua 5.4 an error of a program's own finaliser
/// (`__gc`) is raised in whatever makes a value when the collector gets to it: here in place of a capture that was made.
/// An object's finaliser runs once, so another try gets further; what lacks memory would only lack it again.
pub(crate) fn surely<T>(make: impl Fn() -> mlua::Result<T>) -> mlua::Result<T> {
    for _ in 1..TRIES {
        match make() {
            Err(mlua::Error::MemoryError(_)) => break,
            Err(_) => {}
            made => return made,
        }
    }
    make()
}

/// What a call ends in when it goes well.
pub(crate) trait Told {
    fn told(&self, lua: &Lua) -> mlua::Result<Value>;
}

impl Told for Capture {
    fn told(&self, lua: &Lua) -> mlua::Result<Value> {
        // hardly ever is there one
        let warnings = Some(self.warnings()).filter(|warnings| !warnings.is_empty());
        let values = (
            self.capture_id(),
            self.order_id(),
            self.idempotency_key(),
            self.correlation_id(),
            self.attempts(),
            warnings,
            attempts(lua, self.attempt_log())?,
        );
        made(lua, |makers| &makers.capture, values).map(Value::Table)
    }
}

impl Told for Reconciliation {
    fn told(&self, lua: &Lua) -> mlua::Result<Value> {
        let values = (
            self.found().as_str(),
            self.capture_id(),
            self.capture_ids(),
            self.order_id(),
            self.correlation_id(),
            self.attempts(),
            attempts(lua, self.attempt_log())?,
        );
        made(lua, |makers| &makers.reconciliation, values).map(Value::Table)
    }
}

pub(crate) fn error_table(lua: &Lua, error: &Error) -> mlua::Result<Value> {
    let values = (
        error.kind().as_str(),
        error.message(),
        error.http_status(),
        error.error_code(),
        error.error_messages(),
        error.correlation_id(),
        error.order_id(),
        error.idempotency_key(),
        error.attempts(),
        error.retryable(),
        attempts(lua, error.attempt_log())?,
    );
    made(lua, |makers| &makers.error, values).map(Value::Table)
}

pub(crate) fn attempt_log(lua: &Lua, log: &[Attempt]) -> mlua::Result<Table> {
    made(lua, |makers| &makers.attempt_log, attempts(lua, log)?)
}

/// The values of one attempt after those of another.
fn attempts(lua: &Lua, log: &[Attempt]) -> mlua::Result<MultiValue> {
    let mut values = Vec::new();
    for attempt in log {
        // a clock before 1970 is as good as none
        let started = attempt.started().duration_since(UNIX_EPOCH).unwrap_or_default();
        values.extend([
            started.as_secs_f64().into_lua(lua)?,
            attempt.sent().into_lua(lua)?,
            milliseconds(attempt.took()).into_lua(lua)?,
            attempt.came_back().into_lua(lua)?,
            attempt.http_status().into_lua(lua)?,
            attempt.error_code().into_lua(lua)?,
            attempt.correlation_id().into_lua(lua)?,
            attempt.wait().map(milliseconds).into_lua(lua)?,
        ]);
    }
    Ok(MultiValue::from_vec(values))
}

/// Rounded up: a pause is never cut short.
pub(crate) fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}
