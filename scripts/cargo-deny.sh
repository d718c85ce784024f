#!/usr/bin/env bash
# Licences, duplicates, sources and known holes of every crate in the graph, by deny.toml.
# cargo-deny itself is built from its crate: a minute, once for each version.
set -eu
cd "$(dirname "$0")/.."
version=0.20.2
tools=${CARGO_TARGET_DIR:-$PWD/target}/tools
deny=$tools/cargo-deny-$version/bin/cargo-deny

if [ ! -x "$deny" ]; then
    # Built without optimisation, in a third of the time: it runs for a second.
    cargo install --quiet --locked --debug --version "$version" --root "$tools/cargo-deny-$version" \
        --target-dir "$tools/build" cargo-deny
    rm -rf "$tools/build"
fi

"$deny" --workspace check bans licenses sources

# This check alone needs the network. The tree is not at fault when the network cannot be reached.
if timeout 120 "$deny" --log-level off --workspace fetch db >/dev/null 2>&1; then
    "$deny" --workspace check --disable-fetch advisories
else
    echo "advisories NOT CHECKED: the advisory database cannot be reached"
fi
