-- The standard library that 5.1, 5.2, 5.3, 5.4 and LuaJIT have in common
std = "min"
max_line_length = 120
max_comment_line_length = false
-- Declarations for editors: parameters and a class that no code uses
-- Run inside nginx alone
files["lua/src/cosocket.lua"] = {std = "ngx_lua"}
files["examples/hosts/nginx/*.lua"] = {std = "ngx_lua"}
files["bench/contenders/with_nginx.lua"] = {std = "ngx_lua"}
files["**/*.d.lua"] = {ignore = {"212", "241"}}
