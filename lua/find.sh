#!/bin/sh
# Prints the path of the first Lua on this machine that the module can be built for, or fails.
for name in lua5.4 lua lua5.3 luajit lua5.2 lua5.1; do
    lua=$(command -v "$name") || continue
    case $("$lua" -e 'print(jit and "jit" or _VERSION)' 2>/dev/null) in
        jit | "Lua 5."[1-4]) echo "$lua"; exit ;;
    esac
done
echo "lua/find.sh: no Lua 5.1 to 5.4 or LuaJIT is there" >&2
exit 1
