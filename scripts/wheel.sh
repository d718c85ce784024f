#!/usr/bin/env bash
# Builds the Python wheel and installs it in the virtual environment, as a user of it would have it.
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
python=$target/venv/bin/python

# The folder holds this one wheel, so that no older version is installed in its place.
rm -rf "$target/wheel"
# Unoptimised: this wheel is for the tests and the demo of this machine, so it need not run on older systems either.
"$python" -m maturin build --quiet --locked --profile dev --auditwheel skip --interpreter "$python" \
    --manifest-path python/Cargo.toml --out "$target/wheel"
"$python" -m pip install --quiet --force-reinstall --no-deps --no-index "$target"/wheel/takings-*.whl
