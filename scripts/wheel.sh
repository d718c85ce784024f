#!/usr/bin/env bash
# Builds the Python wheel, as target/wheel/takings-*.whl, and installs it in target/python, a virtual environment that
# was empty, as a user of it would have it. The tests run there.
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
# for maturin and the linker
export PATH=$target/venv/bin:$PATH
python=$target/venv/bin/python

# The wheel is unoptimised, since it serves the tests and the demo of this machine. It is linked and named for old
# systems, like the published wheel. Only its own library is linked that way: the crates below are those of `make rust`.
promise=(--auditwheel skip) linker=()
if getconf GNU_LIBC_VERSION >/dev/null 2>&1; then
    promise=(--compatibility manylinux_2_17)
    linker=(-- -C "linker=$PWD/scripts/cc-for-old-glibc")
fi
# A folder of its own, so that no older wheel is installed in its place.
wheel=$(mktemp -d "$target/wheel.XXXXXX")
trap 'rm -rf "$wheel"' EXIT
# Both files take longer than the wheel itself, and depend on these inputs alone.
bill=$target/takings.cdx.json licences=python/LICENSE-THIRD-PARTY
key=$({
    rustc -vV
    echo "${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || true)}"
    cat Cargo.lock Cargo.toml ./*/Cargo.toml LICENSE-MIT scripts/{sbom,licences}.py scripts/requirements.txt
} | cksum)
if [ ! -e "$bill" ] || [ ! -e "$licences" ] || [ "$(cat "$bill.of" 2>/dev/null || true)" != "$key" ]; then
    python scripts/sbom.py "$bill"
    python scripts/licences.py "$bill" "$licences"
    printf '%s\n' "$key" >"$bill.of"
fi
python -m maturin build --quiet --locked --profile dev "${promise[@]}" --interpreter "$python" \
    --manifest-path python/Cargo.toml --sbom-include "$bill" --out "$wheel" "${linker[@]}"
python -m venv --clear --without-pip "$target/python"
python -m pip --python "$target/python/bin/python" install --quiet --no-index "$wheel"/takings-*.whl
# The tests' other packages are found where set-up put them, after everything that the wheel has.
purelib='import sysconfig; print(sysconfig.get_path("purelib"))'
python -c "$purelib" >"$("$target/python/bin/python" -c "$purelib")/tools-of-the-tests.pth"
mkdir -p "$target/wheel"
rm -f "$target/wheel"/takings-*.whl
mv "$wheel"/takings-*.whl "$target/wheel"
