//! The Lua module `takings`: captures Klarna orders from Lua 5.1, 5.2, 5.3, 5.4 or LuaJIT,
//! whichever the one chosen feature names. `README.md` is its manual for Lua programmers.

#![forbid(unsafe_code)]

mod call;
mod client;
mod module;
mod operation;
mod source;
mod told;

/// What `require "takings"` calls.
#[mlua::lua_module]
fn takings(lua: &mlua::Lua) -> mlua::Result<mlua::Table> {
    module::open(lua)
}
