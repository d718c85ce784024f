#!/usr/bin/env bash
# Every check there is, in four rows side by side; called by `make test`. With the argument `check`, the few that find
# most faults in little time, one after another; called by `make check`. A failed check does not hide the next one: the
# summary at the end names them all.
set -u
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
venv=$target/venv/bin
# the wheel, alone: scripts/wheel.sh
python=$target/python/bin/python
# Caches of the checks stay out of the sources.
export RUFF_CACHE_DIR=$target/ruff MYPY_CACHE_DIR=$target/mypy PYTHONPYCACHEPREFIX=$target/pycache
export PYTEST_ADDOPTS="-p no:cacheprovider"
# Hundreds of Python programs start here. Without compiled files on disk each would compile all its imports.
unset PYTHONDONTWRITEBYTECODE
# The tests must not use the Klarna account of the user's environment.
unset KLARNA_USERNAME KLARNA_PASSWORD KLARNA_API_KEY KLARNA_REGION KLARNA_ENVIRONMENT KLARNA_BASE_URL ORDER_ID FILE
began=$SECONDS
tree=
notes=$(mktemp -d)
results=$notes/results
: >"$results"
rows=()
groups=()
# When this script ends, even by a signal, the rows beside it end too.
end_all() {
    local group
    for group in ${groups[@]+"${groups[@]}"}; do kill -- "-$group" 2>/dev/null; done
    rm -rf "$notes"
}
trap end_all EXIT

step() {
    local name=$1 start=$SECONDS verdict=ok
    shift
    printf '\n=== %s\n' "$name"
    if ! "$@" </dev/null; then
        verdict=FAILED
        printf '=== %s FAILED: %s\n' "$name" "$*"
    fi
    printf '%-8s%5d s  %s\n' "$verdict" $((SECONDS - start)) "$name" >>"$results"
    [ "$verdict" = ok ]
}

# The sources as they are, with whatever installs the checks' programs; empty without git, and then no check is spared.
sources() {
    { git ls-files --cached --others --exclude-standard -z | sort -z | xargs -0 sha256sum; rustc --version; } 2>/dev/null |
        sha256sum
}

# A check whose verdict depends on the sources alone. Where nothing has changed since it passed, it would say
# the same again.
lint() {
    local name=$1 stamp
    stamp=$target/passed/$(tr -c 'a-z\n' - <<<"$name")
    if [ -n "$tree" ] && [ "$tree" = "$(cat "$stamp" 2>/dev/null)" ]; then
        printf '%-8s%5s    %s\n' same '' "$name" >>"$results"
        return
    fi
    if step "$@" && [ -n "$tree" ]; then
        mkdir -p "${stamp%/*}" && echo "$tree" >"$stamp"
    fi
}

# Starts a row of steps, whose output `gather` shows.
beside() {
    set -m # in a group of its own, which can be ended as a whole
    { "$1" && echo "$1" >>"$notes/ended"; } >"$notes/$1" 2>&1 </dev/null &
    set +m
    rows+=("$1")
    groups+=($!)
}

gather() {
    local row
    for row in "${rows[@]}"; do
        printf '\n=== waiting for %s\n' "$row"
        wait "${groups[0]}"
        groups=("${groups[@]:1}")
        cat "$notes/$row"
        # A row that was killed did not report its remaining steps.
        grep -qsx "$row" "$notes/ended" || step "$row: to its end" false
    done
}

finish() {
    local failed
    failed=$(grep -c ^FAILED "$results")
    printf '\n'
    cat "$results"
    printf '%-8s%5d s\n' '' $((SECONDS - began))
    printf 'checks: %d passed, %d failed\n' $(($(wc -l <"$results") - failed)) "$failed"
    [ "$failed" = 0 ]
    exit
}

# Every process that a test starts inherits this variable, which shows those that outlive the tests.
export TAKINGS_TEST_RUN=$$-$RANDOM

# For tests that mostly wait. A file stays in one process: its floods come one after the other, its builds once.
side_by_side=(-n 4 --dist loadfile)

# --- what cargo runs, one after another ------------------------------------------------------------------------

clippy_lua() {
    local lua
    for lua in lua51 lua52 lua53 lua54 luajit; do
        cargo clippy --locked --package takings-lua --no-default-features --features "$lua" -- --deny warnings || return
    done
}
fuzz_sources() {
    cargo fmt --manifest-path fuzz/Cargo.toml --check &&
        cargo clippy --locked --manifest-path fuzz/Cargo.toml --target-dir "$target" --all-targets -- --deny warnings
}
bench_tests() {
    cargo build --locked --package takings-bench --bins && "$python" -m pytest --quiet bench
}

of_cargo() {
    step "rustfmt" cargo fmt --all --check
    step "generated files" "$venv/python" scripts/generate.py --check
    step "clippy" cargo clippy --locked --all-targets -- --deny warnings
    # By name, as it is run
    step "clippy: cases" cargo clippy --locked --test conformance -- --deny warnings
    step "clippy: tracing" cargo clippy --locked --package takings --features tracing --all-targets -- --deny warnings
    step "clippy: Python" cargo clippy --locked --package takings-python --all-targets -- --deny warnings
    step "clippy: each Lua" clippy_lua
    step "clippy: bench" cargo clippy --locked --package takings-bench --all-targets -- --deny warnings
    step "rustfmt, clippy: fuzz targets" fuzz_sources
    step "rustdoc" env RUSTDOCFLAGS="--deny warnings" cargo doc --locked --no-deps
    # Most of these tests wait for servers that take their time, so more of them run than there are processors.
    step "cargo test" env RUST_TEST_THREADS=16 cargo test --locked --no-fail-fast
    step "cargo test: tracing" cargo test --locked --package takings --features tracing --test tracing
    # The stored corpus of `make fuzz` and mutations of it: 20 s with all targets side by side.
    step "fuzz corpus" cargo test --locked --manifest-path fuzz/Cargo.toml --target-dir "$target"
    step "docs" make --silent docs
    step "docs tests" "$python" -m pytest --quiet tests/docs
    step "demo: its own tests" "$python" -m pytest --quiet scripts
}

# --- what runs beside it ----------------------------------------------------------------------------------------

# Each run has a cache of its own: mypy throws away what another run with other options has left.
mypy() {
    local name=$1 cache
    shift
    cache=$target/mypy/$(tr -c 'a-z\n' - <<<"$name")
    lint "mypy: $name" env MYPY_CACHE_DIR="$cache" "$python" -m mypy "$@"
}

of_python_and_lua() {
    step "ruff" "$venv/ruff" check
    step "ruff format" "$venv/ruff" format --check
    mypy "the package" --config-file python/pyproject.toml
    mypy scripts --strict scripts
    MYPYPATH=scripts:tests/process:tests/hosts mypy "package tests" --strict --follow-imports=silent tests/dist
    MYPYPATH=tests/process mypy "ledger tests" --strict --follow-imports=silent tests/ledger
    MYPYPATH=tests/process:tests/ledger mypy "fleet tests" --strict --follow-imports=silent tests/fleet
    MYPYPATH=tests/process:tests/ledger:tests/fleet mypy docs --strict --follow-imports=silent docs tests/docs
    # The packages that `make bench` compares are not installed here.
    MYPYPATH=tests/process:tests/ledger:tests/fleet \
        mypy bench --strict --ignore-missing-imports --follow-imports=silent bench
    lint "pyright" "$venv/pyright" --project python
    lint "stubtest" "$python" -m mypy.stubtest --allowlist python/stubtest.txt takings pytest_takings
    lint "luacheck" luacheck --quiet --no-color lua examples tests bench
    step "Python tests" "$python" -m pytest --quiet "${side_by_side[@]}" python
    step "Lua tests" lua/tests/run
    return 0
}

# Nearly half of all the time that cargo's tests take, most of it waiting for servers. This row has the time for a program
# that is linked with optimisation over all crates.
of_cases() {
    step "cases" env RUST_TEST_THREADS=16 cargo test --locked --test conformance
    step "bench: takings' own contenders" bench_tests
    lint "bench: instructions" "$venv/python" bench/instructions.py
    return 0
}

of_packages() {
    # An optimised build shares no files with the other builds.
    step "C library" make --silent library
    until [ -e "$notes/built" ]; do sleep 0.5; done
    step "host tests" "$python" -m pytest --quiet "${side_by_side[@]}" tests/hosts
    # These packages are made of the builds above: `make dist` would build everything anew, which takes minutes.
    step "package tests" "$venv/python" -m pytest --quiet tests/dist
    step "process tests" "$python" -m pytest --quiet "${side_by_side[@]}" tests/process
    step "ledger tests" "$python" -m pytest --quiet "${side_by_side[@]}" tests/ledger
    # Tests of one file have nothing in common but a server that each row starts.
    step "fleet tests" "$python" -m pytest --quiet -n 4 --dist worksteal tests/fleet
    lint "cargo deny" scripts/cargo-deny.sh
    return 0
}

# --- whether something broke ------------------------------------------------------------------------------------

of_check() {
    # Only the surfaces that are built here are tested below.
    step "build" make rust wheel || finish
    step "rustfmt" cargo fmt --all --check
    step "ruff" "$venv/ruff" check
    step "ruff format" "$venv/ruff" format --check
    step "generated files" "$venv/python" scripts/generate.py --check
    step "clippy: core" cargo clippy --locked --package takings --all-targets -- --deny warnings
    step "cargo test: core" cargo test --locked --package takings
    step "cases: machine, rust, c, python" env CASE='capture/|any-operation/' \
        cargo test --locked --test conformance -- --exact machine rust c python
}

if [ "${1-}" = check ]; then
    of_check
    finish
fi

# Without these two steps no other can run.
step "set-up" make setup || finish
git rev-parse HEAD >/dev/null 2>&1 && tree=$(sources)
beside of_packages
step "build" make build || finish
: >"$notes/built"
beside of_python_and_lua
beside of_cases
of_cargo
gather

# Runs alone, since it builds and installs files that other steps use.
step "demo" make demo

left_behind() {
    local environment process found=0
    # Programs that watch for their parent's end need a moment to end.
    sleep 1
    for environment in /proc/[0-9]*/environ; do
        process=${environment%/environ}
        if grep -qs "TAKINGS_TEST_RUN=$TAKINGS_TEST_RUN" "$environment"; then
            found=1
            printf 'left behind: %s: %s\n' "${process#/proc/}" "$(tr '\0' ' ' <"$process/cmdline")"
        fi
    done
    return "$found"
}
step "no process left behind" left_behind

finish
