#!/usr/bin/env bash
# Runs the fuzz targets, one after the other, and adds what they find to the corpus: called by `make fuzz`.
#
#     fuzz/run.sh 600              every target for 600 s
#     fuzz/run.sh 600 machine      one of them
#
# Neither cargo-fuzz nor a nightly compiler is needed: the flags that instrument the code are stable. A crash is written
# to fuzz/artifacts/ and ends the run; target/fuzz/<triple>/release/<target> <file> shows it again.
set -eu
cd "$(dirname "$0")"
seconds=${1:-60}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(from_json config machine plan answer http1 reconcile c_abi)

triple=$(rustc -vV | sed -n 's/^host: //p')
built=${CARGO_TARGET_DIR:-$PWD/../target}/fuzz
flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
flags+=" -Cllvm-args=-sanitizer-coverage-trace-compares"
# With a named target cargo keeps the flags from build scripts.
RUSTFLAGS=$flags cargo build --locked --release --features libfuzzer --target "$triple" --target-dir "$built"

mkdir -p artifacts
for target in "${targets[@]}"; do
    echo "=== $target for $seconds s"
    grown=$(mktemp -d)
    program=$built/$triple/release/$target
    "$program" "$grown" "corpus/$target" -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=1024 \
        -dict=json.dict -artifact_prefix="artifacts/$target-" -print_final_stats=1 -verbosity=1
    # An input is kept only if it reaches code that the corpus does not reach yet.
    "$program" -merge=1 -use_counters=0 -max_len=4096 "corpus/$target" "$grown" 2>/dev/null
    rm -r "$grown"
done
