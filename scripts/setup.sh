#!/usr/bin/env bash
# Installs the packages that the build and the tests need, and checks the toolchains that it does not install.
# The second run finds everything there. PYTHON names the interpreter the virtual environment is made from.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
target=${CARGO_TARGET_DIR:-$PWD/target}
venv=$target/venv

# Debian has servers where not every user looks.
export PATH=$PATH:/usr/sbin

have() { command -v "$1" >/dev/null 2>&1; }

# Faults that only the user can fix, for one message at the end.
wanting=()

# --- toolchains -----------------------------------------------------------------------------------------------

rust_wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
rust_found=$(rustc --version 2>/dev/null | cut -d ' ' -f 2 || true)
if ! have cargo || [ -z "$rust_found" ]; then
    wanting+=("Rust $rust_wanted or newer (cargo, rustc): install rustup, then type: rustup default stable")
elif [ "$(printf '%s\n' "$rust_wanted" "$rust_found" | sort -V | head -n 1)" != "$rust_wanted" ]; then
    wanting+=("Rust $rust_wanted or newer; rustc is $rust_found: type: rustup update stable")
elif ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
    wanting+=("cargo fmt and cargo clippy: type: rustup component add rustfmt clippy")
fi
for compiler in "${CC:-cc}" "${CXX:-c++}"; do
    have "$compiler" || wanting+=("a C and C++ compiler ($compiler): on Debian, type: apt-get install g++")
done
python_found=
if ! have "$PYTHON"; then
    wanting+=("Python 3.10 or newer: $PYTHON is not there; name another with PYTHON=...")
elif ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    wanting+=("Python 3.10 or newer: $PYTHON is $("$PYTHON" --version || echo one that does not start); name another with PYTHON=...")
else
    python_found=yes
fi

# --- Debian packages ------------------------------------------------------------------------------------------

# command, Debian package. The Lua modules need the interpreters but no headers.
programs='
lua5.1 lua5.1
lua5.2 lua5.2
lua5.3 lua5.3
lua5.4 lua5.4
luajit luajit2
luacheck lua-check
valgrind valgrind
curl curl
curl-config libcurl4-openssl-dev
pkg-config pkgconf
cmake cmake
php php-cli
cobc gnucobol3
nginx nginx
luarocks luarocks
'
lacking() {
    local program package names=
    while read -r program package; do
        [ -z "$program" ] || have "$program" || names+=" $package"
    done <<<"$programs"
    # nginx's Lua, which has no program of its own.
    [ -e /usr/lib/nginx/modules/ngx_http_lua_module.so ] || names+=" libnginx-mod-http-lua"
    # bench/'s contenders in C and Lua encode with these; neither has a program.
    echo '#include <cjson/cJSON.h>' | "${CC:-cc}" -fsyntax-only -x c - 2>/dev/null || names+=" libcjson-dev"
    lua5.1 -e 'require "cjson"' 2>/dev/null || names+=" lua-cjson"
    # Debian's own python3 comes without it.
    if [ -n "$python_found" ] && ! "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; then
        names+=" python3-venv"
    fi
    printf '%s' "${names# }"
}

packages=$(lacking)
may_install() { have apt-get && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

# The lock lets two set-ups on one machine take turns: apt-get only waits by itself for dpkg's.
install_packages() {
    as_root flock /var/lock/takings-set-up bash -c '
        set -eu
        export DEBIAN_FRONTEND=noninteractive
        install() { apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@"; }
        # The tests start an nginx of their own; as a service nobody asked for it.
        policy=/usr/sbin/policy-rc.d
        if [ ! -e "$policy" ]; then
            trap "rm -f $policy" EXIT
            printf "#!/bin/sh\nexit 101\n" >"$policy"
            chmod +x "$policy"
        fi
        known() { apt-cache show "$@" >/dev/null 2>&1; }
        known lua5.4 || apt-get -q update
        # Beside nginx only luajit2 can be installed, and not every release has it.
        known luajit2 || set -- "${@/%luajit2/luajit}"
        install "$@" || { apt-get -q update; install "$@"; }
    ' set-up "$@" </dev/null
}

if [ -n "$packages" ] && may_install; then
    echo "set-up: installing $packages"
    # shellcheck disable=SC2086 # one word a package
    install_packages $packages || true
    hash -r
    packages=$(lacking)
    [ -z "$packages" ] || wanting+=("packages that could not be installed: type: apt-get install $packages")
elif [ -n "$packages" ] && have apt-get; then
    wanting+=("packages this user may not install: type: sudo apt-get install $packages")
elif [ -n "$packages" ]; then
    wanting+=("packages of Debian, which this system is not: install the same programs its way, or work in a container:
    type: docker run --rm -it -v \"\$PWD:/takings\" -w /takings rust:trixie bash
    They are: $packages")
fi

if [ ${#wanting[@]} -gt 0 ]; then
    {
        echo "set-up: this is missing, and has to come from you:"
        printf '  * %s\n' "${wanting[@]}"
        echo "Then type the same make command again."
    } >&2
    exit 1
fi

# --- Python packages, in a virtual environment ----------------------------------------------------------------

requirements=(scripts/requirements.txt python/requirements-dev.txt)
requirements+=(tests/process/requirements.txt tests/hosts/requirements.txt tests/dist/requirements.txt docs/requirements.txt)
# A virtual environment belongs to one interpreter and one place.
key=$({ "$PYTHON" -c 'import sys; print(sys.version, sys.executable)'; echo "$venv"; cat "${requirements[@]}"; } | cksum)
stamp=$venv/set-up-for
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$key" ]; then
    echo "set-up: making $venv from ${requirements[*]}"
    "$PYTHON" -m venv --clear "$venv"
    "$venv/bin/python" -m pip install --quiet "${requirements[@]/#/--requirement=}"
    printf '%s\n' "$key" >"$stamp"
fi
echo "set-up: everything is there"
