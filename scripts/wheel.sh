#!/usr/bin/env bash
# Builds the Python wheel, as target/wheel/takings-*.whl, and installs it in the virtual environment, as a user of it
# would have it.
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
# for maturin and the linker
export PATH=$target/venv/bin:$PATH
python=$target/venv/bin/python

# Unoptimised, since it is for the tests and the demo of this machine; but linked and named for old systems, like the
# one that is given away. Only the wheel's own library is linked that way: the crates below it are those of `make rust`.
promise=(--auditwheel skip) linker=()
if getconf GNU_LIBC_VERSION >/dev/null 2>&1; then
    promise=(--compatibility manylinux_2_17)
    linker=(-- -C "linker=$PWD/scripts/cc-for-old-glibc")
fi
# A folder of its own, so that no older wheel is installed in its place.
wheel=$(mktemp -d "$target/wheel.XXXXXX")
trap 'rm -rf "$wheel"' EXIT
python scripts/sbom.py "$target/takings.cdx.json"
python scripts/licences.py "$target/takings.cdx.json" python/LICENSE-THIRD-PARTY
python -m maturin build --quiet --locked --profile dev "${promise[@]}" --interpreter "$python" \
    --manifest-path python/Cargo.toml --sbom-include "$target/takings.cdx.json" --out "$wheel" "${linker[@]}"
python -m pip install --quiet --force-reinstall --no-deps --no-index "$wheel"/takings-*.whl
mkdir -p "$target/wheel"
rm -f "$target/wheel"/takings-*.whl
mv "$wheel"/takings-*.whl "$target/wheel"
