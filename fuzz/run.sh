#!/usr/bin/env bash
# Fuzzes every reader: fuzz/run.sh [SECONDS_EACH (600)] [TARGET…]. Needs `rustup toolchain install nightly` and `cargo install cargo-fuzz`.
# What it finds is in fuzz/artifacts; fix it and put the input into fuzz/regressions/TARGET, which the ordinary tests run.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-600}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(gguf safetensors checkpoint config tokenizer imatrix onnx)

# The same versions of dependencies as in the program.
cp Cargo.lock fuzz/Cargo.lock
cargo +nightly fuzz build
# SQLite, which no target uses, is instrumented too and has two tables with the same name.
export ASAN_OPTIONS=detect_odr_violation=0
triple=$(rustc -vV | sed -n 's/^host: //p')
"fuzz/target/$triple/release/seeds" fuzz/corpus
for target in "${targets[@]}"; do
    mkdir -p "fuzz/regressions/$target"
    # The dictionary holds words of the formats that a mutation of bytes seldom finds.
    cargo +nightly fuzz run "$target" "fuzz/corpus/$target" "fuzz/regressions/$target" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -dict=fuzz/words.dict -print_final_stats=1
done
