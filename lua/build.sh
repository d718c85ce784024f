#!/bin/sh
# Builds the module for each Lua named, or for all of them, as target/lua/NAME/takings.so.
#
#   lua/build.sh [--release] [--into DIR] [5.1|5.2|5.3|5.4|jit|INTERPRETER]...
#
# INTERPRETER is the path of a Lua program; the module is built for the Lua it is.
# --into DIR: as DIR/takings.so instead, for the one Lua named.
set -eu
into=
cd "$(dirname "$0")/.."

profile=dev folder=debug luas=
while [ $# -gt 0 ]; do
    case $1 in
        --release) profile=release folder=release ;;
        --into) into=${2:?"lua/build.sh: --into needs a folder"}; shift ;;
        5.1 | 5.2 | 5.3 | 5.4 | jit) luas="$luas $1" ;;
        */*)
            [ -x "$1" ] || { echo "lua/build.sh: $1 is not a program" >&2; exit 2; }
            luas="$luas $("$1" -e 'print(jit and "jit" or _VERSION:match("%d%.%d"))')" ;;
        *)
            echo "lua/build.sh: $1 is not known; it must be --release, --into DIR, 5.1, 5.2, 5.3, 5.4, jit or a path" >&2
            exit 2 ;;
    esac
    shift
done
luas=${luas:-5.1 5.2 5.3 5.4 jit}
target=${CARGO_TARGET_DIR:-target}
case $(uname) in Darwin) built=libtakings_lua.dylib ;; *) built=libtakings_lua.so ;; esac

mkdir -p "$target/lua"
# The builds run one at a time: cargo gives all five the same file name.
if command -v flock >/dev/null; then
    exec 9>"$target/lua/.lock"
    flock 9
fi

for lua in $luas; do
    case $lua in jit) feature=luajit ;; *) feature=lua$(echo "$lua" | tr -d .) ;; esac
    kept=$target/$folder/lua-$lua.so
    # Cargo knows a fresh build by its file, whichever Lua that was last made for: give it
    # back the one for this Lua, with its date.
    rm -f "$target/$folder/deps/$built"
    [ ! -f "$kept" ] || cp -p "$kept" "$target/$folder/deps/$built"
    cargo build --locked --quiet --profile "$profile" -p takings-lua --no-default-features --features "$feature"
    for copy in "$kept" "${into:-$target/lua/$lua}/takings.so"; do
        mkdir -p "$(dirname "$copy")"
        # A program may have the old one loaded: never write into it.
        cp -p "$target/$folder/deps/$built" "$copy.new"
        mv -f "$copy.new" "$copy"
    done
    echo "${into:-$target/lua/$lua}/takings.so"
done
