#!/usr/bin/env bash
# Installs the packages that a part of the project needs, and checks the toolchains that it does not install. It removes no
# package. The second run finds everything there. PYTHON names the interpreter the virtual environment is made from.
#
#   scripts/setup.sh rust     a Rust toolchain and a C compiler: for the libraries and the Lua modules; installs nothing
#   scripts/setup.sh wheel    Python too, with the tools that build the wheel
#   scripts/setup.sh demo     and C++ and any Lua
#   scripts/setup.sh          everything that the tests need
set -eu
cd "$(dirname "$0")/.."
part=${1:-tests}
case $part in
    rust | wheel | demo | tests) ;;
    *) echo "set-up: $part is no part; it must be rust, wheel, demo or tests" >&2; exit 2 ;;
esac
for_tests() { [ "$part" = tests ]; }
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
elif for_tests && ! { cargo fmt --version && cargo clippy --version; } >/dev/null 2>&1; then
    wanting+=("cargo fmt and cargo clippy: type: rustup component add rustfmt clippy")
fi
compilers=("${CC:-cc}")
case $part in demo | tests) compilers+=("${CXX:-c++}") ;; esac
for compiler in "${compilers[@]}"; do
    have "$compiler" || wanting+=("a C and C++ compiler ($compiler): on Debian, type: apt-get install g++")
done
python_found=
if [ "$part" = rust ]; then
    :
elif ! have "$PYTHON"; then
    wanting+=("Python 3.10 or newer: $PYTHON is not there; name another with PYTHON=...")
elif ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    wanting+=("Python 3.10 or newer: $PYTHON is $("$PYTHON" --version || echo one that does not start); name another with PYTHON=...")
else
    python_found=yes
fi

# --- Debian packages ------------------------------------------------------------------------------------------

# command, Debian package. The Lua modules need the interpreters but no headers. LuaJIT's first package is wanted where
# nginx is: beside its Lua no other LuaJIT can be installed.
programs=
! for_tests || programs='
lua5.1 lua5.1
lua5.2 lua5.2
lua5.3 lua5.3
lua5.4 lua5.4
luajit luajit2
luacheck lua-check
valgrind valgrind
strace strace
curl curl
curl-config libcurl4-openssl-dev
pkg-config pkgconf
cmake cmake
php php-cli
cobc gnucobol3
nginx nginx
luarocks luarocks
sqlite3 sqlite3
pg_config libpq-dev
mariadbd mariadb-server-core
mysql mariadb-client-core
pgbouncer pgbouncer
tc iproute2
'
lacking() {
    local program package names=
    while read -r program package; do
        [ -z "$program" ] || have "$program" || names+=" $package"
    done <<<"$programs"
    if for_tests; then
        # nginx's Lua, which has no program of its own.
        [ -e /usr/lib/nginx/modules/ngx_http_lua_module.so ] || names+=" libnginx-mod-http-lua"
        # bench/'s contenders in C and Lua encode with these; neither has a program.
        echo '#include <cjson/cJSON.h>' | "${CC:-cc}" -fsyntax-only -x c - 2>/dev/null || names+=" libcjson-dev"
        lua5.1 -e 'require "cjson"' 2>/dev/null || names+=" lua-cjson"
        # Programs in C and Lua that insert into the ledger, on the pages of docs/ledger.
        echo '#include <sqlite3.h>' | "${CC:-cc}" -fsyntax-only -x c - 2>/dev/null || names+=" libsqlite3-dev"
        lua5.4 -e 'require "luasql.sqlite3"' 2>/dev/null || names+=" lua-sql-sqlite3"
        # The ledger's other engine, whose server Debian keeps out of PATH, and what speaks to it.
        compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || have initdb || names+=" postgresql"
        compgen -G '/usr/lib/php/*/pdo_pgsql.so' >/dev/null || names+=" php-pgsql"
        echo '#include <sql.h>' | "${CC:-cc}" -fsyntax-only -x c - 2>/dev/null || names+=" unixodbc-dev"
        compgen -G '/usr/lib/*/odbc/psqlodbcw.so' >/dev/null || names+=" odbc-postgresql"
    elif [ "$part" = demo ]; then
        lua/find.sh >/dev/null 2>&1 || names+=" lua5.4"
    fi
    # Debian's own python3 comes without it.
    if [ -n "$python_found" ] && ! "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; then
        names+=" python3-venv"
    fi
    printf '%s' "${names# }"
}

packages=$(lacking)
container='type: docker run --rm -it -v "$PWD:/takings" -w /takings rust:trixie bash'
may_install() { have apt-get && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

# The lock lets two set-ups on one machine take turns: apt-get only waits by itself for dpkg's.
install_packages() {
    as_root flock /var/lock/takings-set-up bash -c '
        set -eu
        export DEBIAN_FRONTEND=noninteractive
        install() { apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-remove --no-install-recommends "$@"; }
        # The tests start an nginx and a PostgreSQL of their own; as services nobody asked for them.
        policy=/usr/sbin/policy-rc.d
        cluster=/etc/postgresql-common/createcluster.d/takings.conf
        mkdir -p "${cluster%/*}"
        echo "create_main_cluster = false" >"$cluster"
        trap "rm -f $cluster" EXIT
        if [ ! -e "$policy" ]; then
            trap "rm -f $policy $cluster" EXIT
            printf "#!/bin/sh\nexit 101\n" >"$policy"
            chmod +x "$policy"
        fi
        known() { apt-cache show "$@" >/dev/null 2>&1; }
        known lua5.4 || apt-get -q update
        # Not every release has luajit2.
        known luajit2 || set -- "${@/%luajit2/luajit}"
        install "$@" && exit
        apt-get -q update
        install "$@" && exit
        # A package that cannot be installed does not keep the others away.
        for package in "$@"; do install "$package" || true; done
    ' set-up "$@" </dev/null
}

# The installed packages that a package would remove, as apt-get tells without doing it.
removed_by() { apt-get -s install --no-install-recommends "$1" 2>/dev/null | sed -n 's/^Remv \([^ ]*\).*/\1/p' | tr '\n' ' '; }

if [ -n "$packages" ] && may_install; then
    echo "set-up: installing $packages"
    # shellcheck disable=SC2086 # one word a package
    install_packages $packages || true
    hash -r
    packages=$(lacking)
    for package in $packages; do
        conflicts=$(removed_by "$package")
        if [ -n "$conflicts" ]; then
            wanting+=("$package, which Debian would install only if it removed ${conflicts% }: set-up removes nothing.
    Type: apt-get install $package, if you can do without; otherwise work in a container:
    $container
    \`make demo\` and the builds of single languages do not need $package")
        else
            wanting+=("$package, which could not be installed: type: apt-get install $package")
        fi
    done
elif [ -n "$packages" ] && have apt-get; then
    wanting+=("packages this user may not install: type: sudo apt-get install $packages")
elif [ -n "$packages" ]; then
    wanting+=("packages of Debian, which this system is not: install the same programs its way, or work in a container:
    $container
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

if [ "$part" != rust ]; then
    tools=(scripts/requirements.txt)
    tests=(python/requirements-dev.txt tests/{process,hosts,fleet}/requirements.txt)
    tests+=(tests/dist/requirements.txt docs/requirements.txt)
    key() { cat "$@" | cksum; }
    # A virtual environment belongs to one interpreter and one place.
    place=$({ "$PYTHON" -c 'import sys; print(sys.version, sys.executable)'; echo "$venv"; } | cksum)
    # Whether packages of another set-up are in it: such a virtual environment is made anew.
    stale() { [ "$(cat "$venv/$1" 2>/dev/null || true)" != "$2" ]; }
    if stale set-up-for "$place $(key "${tools[@]}")" || { [ -e "$venv/set-up-for-tests" ] && stale set-up-for-tests "$(key "${tests[@]}")"; }; then
        echo "set-up: making $venv from ${tools[*]}"
        "$PYTHON" -m venv --clear "$venv"
        "$venv/bin/python" -m pip install --quiet "${tools[@]/#/--requirement=}"
        printf '%s\n' "$place $(key "${tools[@]}")" >"$venv/set-up-for"
    fi
    if for_tests && stale set-up-for-tests "$(key "${tests[@]}")"; then
        echo "set-up: adding ${tests[*]} to $venv"
        "$venv/bin/python" -m pip install --quiet "${tests[@]/#/--requirement=}"
        printf '%s\n' "$(key "${tests[@]}")" >"$venv/set-up-for-tests"
    fi
fi
echo "set-up: everything is there"
