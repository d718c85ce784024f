#!/usr/bin/env bash
# Installs what `make bench` compares and builds takings as it is shipped, all into target/bench/: nothing of it is
# needed for `make test`. The second run finds everything there.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
export CARGO_TARGET_DIR=$PWD/target/bench

# --- Debian packages ------------------------------------------------------------------------------------------

packages='
libcurl4-openssl-dev
libcjson-dev
lua-cjson
lua-curl
lua-sec
lua-socket
lua5.1
strace
valgrind
'
lacking=
for package in $packages; do
    dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || lacking+=" $package"
done
if [ -n "$lacking" ]; then
    echo "bench: installing$lacking"
    as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
    # shellcheck disable=SC2016,SC2086 # one word a package; the inner shell's own $@
    if ! as_root flock /var/lock/takings-set-up bash -c '
        export DEBIAN_FRONTEND=noninteractive
        install() { apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@"; }
        install "$@" || { apt-get -q update && install "$@"; }
    ' bench $lacking </dev/null; then
        echo "bench: type: apt-get install$lacking" >&2
        exit 1
    fi
fi

# --- takings, as it is shipped; the server; the contenders in Rust ------------------------------------------------

cargo build --locked --release --lib --bins --package takings-c --package takings-bench
built=$CARGO_TARGET_DIR/release
ln -sf libtakings.so "$built/libtakings.so.1"

# --- the contenders in Python -------------------------------------------------------------------------------------

venv=$CARGO_TARGET_DIR/venv
key=$({ "$PYTHON" -c 'import sys; print(sys.version, sys.executable)'; echo "$venv"; cat bench/requirements.txt; } | cksum)
if [ "$(cat "$venv/set-up-for" 2>/dev/null || true)" != "$key" ]; then
    "$PYTHON" -m venv --clear "$venv"
    "$venv/bin/python" -m pip install --quiet --requirement bench/requirements.txt
    printf '%s\n' "$key" >"$venv/set-up-for"
fi
rm -rf "$CARGO_TARGET_DIR/wheel"
"$venv/bin/python" -m maturin build --quiet --locked --release --auditwheel skip --interpreter "$venv/bin/python" \
    --manifest-path python/Cargo.toml --out "$CARGO_TARGET_DIR/wheel"
"$venv/bin/python" -m pip install --quiet --force-reinstall --no-deps --no-index "$CARGO_TARGET_DIR"/wheel/takings-*.whl

# --- those in C and Lua -------------------------------------------------------------------------------------------

compile() { ${CC:-cc} -std=gnu11 -O2 -Wall -Wextra -Werror -Iinclude "$@"; }
compile bench/measure.c -o "$built/bench-measure"
compile bench/contenders/with_takings.c -o "$built/bench-c-takings" \
    -L"$built" -ltakings -lcjson -lpthread -Wl,-rpath,"$built"
compile -DPRINTED bench/contenders/with_takings.c -o "$built/bench-c-takings-printed" \
    -L"$built" -ltakings -lcjson -lpthread -Wl,-rpath,"$built"
compile bench/contenders/with_curl_easy.c -o "$built/bench-c-curl-easy" -lcurl -lcjson -lpthread
compile -DPRINTED bench/contenders/with_curl_easy.c -o "$built/bench-c-curl-easy-printed" -lcurl -lcjson -lpthread
compile bench/contenders/with_curl_multi.c -o "$built/bench-c-curl-multi" -lcurl -lcjson -lpthread
lua/build.sh --release 5.1 jit >/dev/null
