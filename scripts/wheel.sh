#!/usr/bin/env bash
# Builds the Python wheel and installs it in the virtual environment, as a user of it would have it.
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
python=$target/venv/bin/python

# A folder of its own, so that no older wheel is installed in its place.
wheel=$(mktemp -d "$target/wheel.XXXXXX")
trap 'rm -rf "$wheel"' EXIT
# Unoptimised: this wheel is for the tests and the demo of this machine, so it need not run on older systems either.
"$python" -m maturin build --quiet --locked --profile dev --auditwheel skip --interpreter "$python" \
    --manifest-path python/Cargo.toml --out "$wheel"
"$python" -m pip install --quiet --force-reinstall --no-deps --no-index "$wheel"/takings-*.whl
