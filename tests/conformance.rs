//! The same cases (`cases/`) for every surface: Rust, C, C++, Python and each Lua. They run against
//! the built artefacts, over real HTTP, with the sandbox as Klarna, or the hostile server before
//! it. The format of a case is described in `README.md`.
//!
//! A surface that has not been built fails. `CASE=text` runs the cases whose folder and name,
//! `folder/name: variant`, hold that text.

#![allow(clippy::print_stderr, reason = "a test runner")]

mod case;
mod hostile;
mod judge;
mod limits;
mod machine;
mod properties;
mod run;
mod scripted;
mod surface;
mod transports;

macro_rules! surfaces {
    ($($test:ident = $name:literal),* $(,)?) => {
        $(#[test]
        fn $test() {
            run::Run::new($name).cases();
        })*
    };
}

surfaces! {
    rust = "rust",
    c = "c",
    cpp = "cpp",
    python = "python",
    python_async = "async",
    lua_5_1 = "lua5.1",
    lua_5_2 = "lua5.2",
    lua_5_3 = "lua5.3",
    lua_5_4 = "lua5.4",
    luajit = "luajit",
}

/// The machine in this very process, in virtual time.
#[test]
fn machine() {
    machine::all();
}
