-- Builds from source: needs cargo (https://rustup.rs), version 1.89 or newer.
--
--     luarocks make lua/takings-0.1.0-1.rockspec       in a clone
rockspec_format = "3.0"
package = "takings"
version = "0.1.0-1"
source = {
   url = "git+https://github.com/takings/takings.git",
   tag = "v0.1.0",
}
description = {
   summary = "Captures Klarna orders from inside your own program",
   detailed = "Call it as often as you like: the money moves once, and what you are told about it is true.",
   homepage = "https://github.com/takings/takings",
   license = "MIT OR Apache-2.0",
   labels = { "klarna", "payments" },
}
supported_platforms = { "linux", "macosx" }
dependencies = { "lua >= 5.1, < 5.5" }
build = {
   type = "command",
   -- for the Lua that luarocks works for
   build_command = [[sh lua/build.sh --release --into "$(LIBDIR)" "$(LUA)"]],
}
